#!/usr/bin/env python3
"""Make a bigger model that says what a small one says: real acceptance at the cost of a larger size.

    pip install gguf numpy
    python3 tests/bench/widen_gguf.py models/hsd-story-target.gguf big.gguf --copies 4 --layers 16

Every unit of the residual stream, every head and every feed-forward unit is there `copies` times.
Equal units get different weights: a share of the old one plus noise that adds up to zero over the
copies, so no weight is zero and all sums stay. Layers beyond the model's own add nothing: what
leads back to the stream has opposite signs for equal units. LayerNorm sees the same mean and
variance, the LM head (which is the token embedding) is evened out by the last norm.

Sums come out the same up to rounding, not bit for bit: where two tokens are nearly equally likely
the text may go another way. Only for models like the shipped pair: gpt2, one tied LM head, Q8_0.

--garble permutes the tokens of the embedding instead: a draft of the same cost that is never right.
"""
import argparse

import gguf
import numpy as np

Q8_0 = gguf.GGMLQuantizationType.Q8_0


class Widener:
    def __init__(self, source, copies, seed):
        self.copies = copies
        self.random = np.random.default_rng(seed)
        self.tensors = {t.name: t for t in source.tensors}

    def read(self, name):
        """The tensor as float32, [n_out, n_in] or [n]."""
        tensor = self.tensors[name]
        return gguf.quants.dequantize(tensor.data, tensor.tensor_type)

    def spread(self, weights, total):
        """[n_out, n_in] -> [n_out, copies * n_in]: weights that add up to total * weights over the
        copies of an input. Pairs of copies get opposite noise."""
        k, scale = self.copies, np.abs(weights).mean() / max(1, self.copies)
        shares = []
        for i in range(0, k - 1, 2):
            noise = scale * self.random.standard_normal(weights.shape, dtype=np.float32)
            shares += [total * weights / k + noise, total * weights / k - noise]
        if k % 2:
            shares.append(total * weights / k)
        return np.concatenate(shares, axis=1)

    def matrix(self, weights, groups=1, total=1.0):
        """Replicate the outputs of each group (query, key and value lie one behind the other)."""
        out = []
        for group in np.split(weights, groups):
            out += [self.spread(group, total) for _ in range(self.copies)]
        return np.concatenate(out)

    def vector(self, values, groups=1):
        return np.concatenate([np.tile(group, self.copies) for group in np.split(values, groups)])

    def widened(self, name, source, adds):
        """The tensor `name` in wide; `adds` is False in a layer that adds nothing."""
        values = self.read(source)
        groups = 3 if "attn_qkv" in name else 1
        leads_back = "attn_output" in name or "ffn_down" in name
        if values.ndim == 1:
            wide = self.vector(values, groups)
            if name.startswith("output_norm."):
                wide = wide / self.copies
            return wide if adds or not leads_back else np.zeros_like(wide)
        if name in ("token_embd.weight", "position_embd.weight"):
            return np.tile(values, (1, self.copies))
        return self.matrix(values, groups, 1.0 if adds or not leads_back else 0.0)


def write(path, source, widener, n_layers, garble):
    arch = source.fields["general.architecture"].contents()
    old_layers = source.fields[f"{arch}.block_count"].contents()
    writer = gguf.GGUFWriter(path, arch)
    times = {f"{arch}.{name}": widener.copies for name in
             ("embedding_length", "feed_forward_length", "attention.head_count")}
    for name, field in source.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value = field.contents()
        value = n_layers if name == f"{arch}.block_count" else value * times.get(name, 1)
        sub = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, value, field.types[0], sub)
    for name, tensor in widener.tensors.items():
        parts = name.split(".")
        old = int(parts[1]) if parts[0] == "blk" else 0
        layers = range(old, n_layers, old_layers) if parts[0] == "blk" else [0]
        for layer in layers:
            new = ".".join(["blk", str(layer)] + parts[2:]) if parts[0] == "blk" else name
            values = widener.widened(new, name, layer < old_layers).astype(np.float32)
            if garble and name == "token_embd.weight":
                values = values[widener.random.permutation(len(values))]
            if tensor.tensor_type == Q8_0:
                writer.add_tensor(new, gguf.quants.quantize(values, Q8_0), raw_dtype=Q8_0)
            else:
                writer.add_tensor(new, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source")
    parser.add_argument("out")
    parser.add_argument("--copies", type=int, default=1, help="times the width; default 1")
    parser.add_argument("--layers", type=int, default=0, help="layers in all; default the model's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--garble", action="store_true", help="a model that is never right")
    args = parser.parse_args()
    source = gguf.GGUFReader(args.source)
    arch = source.fields["general.architecture"].contents()
    old_layers = source.fields[f"{arch}.block_count"].contents()
    if arch != "gpt2" or args.copies < 1 or (args.layers and args.layers < old_layers):
        parser.error(f"a gpt2 model, 1 copy or more and {old_layers} layers or more are wanted")
    if args.layers > old_layers and args.copies < 2:
        parser.error("layers that add nothing need pairs: --copies 2 or more")
    write(args.out, source, Widener(source, args.copies, args.seed), args.layers or old_layers,
          args.garble)


if __name__ == "__main__":
    main()
