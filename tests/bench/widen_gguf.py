#!/usr/bin/env python3
"""Make a bigger model that says what a small one says: real acceptance at the cost of a larger size.

    pip install gguf numpy
    python3 tests/bench/widen_gguf.py models/hsd-story-target.gguf big.gguf --shape 1.1B --type Q8_0
    python3 tests/bench/widen_gguf.py models/hsd-story-target.gguf big.gguf --copies 4 --layers 16

Every unit of the residual stream, every head and every feed-forward unit is there `copies` times.
Equal units get different weights: a share of the old one plus noise that adds up to zero over the
copies, so no weight is zero, nothing is there twice and all sums stay. What rounding to the type
takes from one copy is given to the next. Layers beyond the model's own add nothing: what leads back
to the stream has opposite signs for equal units. LayerNorm sees the same mean and variance, the LM
head (which is the token embedding) is evened out by the last norm.

Sums come out the same up to rounding, not bit for bit: where two tokens are nearly equally likely
the text may go another way (--agree compares). Only for models like the shipped pair: gpt2, one
tied LM head. The embedding stays as it is where --type has less than 8 bits. Written piece by
piece: 3B takes less than 1 GiB of memory.

--garble permutes the tokens of the embedding instead: a draft of the same cost that is never right.
"""
import argparse
import concurrent.futures
import os

import gguf
import numpy as np

T = gguf.GGMLQuantizationType
BLOCK = 32
BYTES = {T.F32: 4 * BLOCK, T.F16: 2 * BLOCK, T.Q8_0: 34, T.Q4_0: 18}  # of 32 elements
FILE_TYPE = {T.F32: 0, T.F16: 1, T.Q4_0: 2, T.Q8_0: 7}
SHAPES = {"100M": (4, 8), "400M": (6, 14), "1.1B": (8, 22), "3B": (12, 26)}  # copies, layers
POOL = 1 << 22  # numbers that are really drawn; each piece begins at a place of its own
PIECE = 64  # rows at a time: what they need stays in the caches
QUIET = 1.0 / 16.0  # noise of what leads back from layers that add nothing: equal units differ a
#                     little once they are rounded, and noise of full size would make that audible


def encode(x, kind):
    """[n, m] f32 -> bytes [n, m / 32 * BYTES[kind]] and what they say, f32 [n, m]."""
    n = len(x)
    if kind == T.F32:
        return x.view(np.uint8), x
    if kind == T.F16:
        half = x.astype(np.float16)
        return half.view(np.uint8), half.astype(np.float32)
    blocks = x.reshape(-1, BLOCK)
    out = np.empty((len(blocks), BYTES[kind]), dtype=np.uint8)
    most, least = blocks.max(axis=1), blocks.min(axis=1)
    if kind == T.Q8_0:
        d = np.maximum(most, -least) / np.float32(127)
        low, high = -127, 127
    else:  # the element that is farthest from zero becomes -8
        d = np.where(-least > most, least, most) / np.float32(-8)
        low, high = -8, 7
    scale = d.astype(np.float16)
    inverse = np.divide(1, d, out=np.zeros_like(d), where=d != 0)
    q = np.clip(np.rint(blocks * inverse[:, None]), low, high)
    said = q * scale.astype(np.float32)[:, None]
    out[:, :2] = scale.view(np.uint8).reshape(-1, 2)
    if kind == T.Q8_0:
        out[:, 2:] = q.astype(np.int8).view(np.uint8)
    else:
        q = (q + 8).astype(np.uint8)
        out[:, 2:] = q[:, :16] | q[:, 16:] << np.uint8(4)
    return out.reshape(n, -1), said.reshape(x.shape)


class Widener:
    def __init__(self, source, copies, kind, seed):
        self.copies = copies
        self.kind = kind
        self.random = np.random.default_rng(seed)
        self.pool = self.random.standard_normal(POOL, dtype=np.float32)
        self.tensors = {t.name: t for t in source.tensors}
        self.workers = concurrent.futures.ThreadPoolExecutor(os.cpu_count())

    def read(self, name):
        """The tensor as float32, [n_out, n_in] or [n]."""
        tensor = self.tensors[name]
        return gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)

    def spread(self, weights, total, scale, at, out):
        """Fill out [n_out, copies, bytes] with weights that add up to total * weights over the
        copies of an input. Pairs of copies get opposite noise, from the pool's place `at`."""
        k, left = self.copies, weights * np.float32(total)
        for i in range(0, k - 1, 2):
            pair = left * np.float32(2.0 / (k - i))
            start = (at + i * weights.size) % (POOL - weights.size)
            noise = self.pool[start:start + weights.size].reshape(weights.shape)
            out[:, i], first = encode(pair * np.float32(0.5) + noise * scale, self.kind)
            out[:, i + 1], second = encode(pair - first, self.kind)
            left = left - first - second
        if k % 2:
            out[:, k - 1], _ = encode(left, self.kind)

    def matrix(self, weights, groups, adds):
        """Replicate the outputs of each group (query, key and value lie one behind the other).
        Rows of bytes."""
        n_out, n_in = weights.shape
        row_bytes = n_in // BLOCK * BYTES[self.kind]
        n = n_out // groups
        out = np.empty((groups, self.copies, n, self.copies, row_bytes), dtype=np.uint8)
        scale = np.float32(np.abs(weights).mean() / self.copies * (1.0 if adds else QUIET))
        jobs = []
        for group in range(groups):
            for copy in range(self.copies):
                for row in range(0, n, PIECE):
                    rows = slice(group * n + row, group * n + min(n, row + PIECE))
                    jobs.append(self.workers.submit(
                        self.spread, weights[rows], 1.0 if adds else 0.0, scale,
                        int(self.random.integers(POOL)), out[group, copy, row:row + PIECE]))
        for job in jobs:
            job.result()
        return out.reshape(n_out * self.copies, -1)

    def vector(self, values, groups=1):
        return np.concatenate([np.tile(group, self.copies) for group in np.split(values, groups)])

    def embedding_kind(self):
        return self.kind if self.kind != T.Q4_0 else T.Q8_0

    def kind_of(self, source):
        """Type and shape of what `widened` gives for a tensor."""
        tensor = self.tensors[source]
        shape = [int(n) for n in reversed(tensor.shape)]
        if len(shape) == 1:
            return T.F32, [shape[0] * self.copies]
        if source == "position_embd.weight":
            return T.F32, [shape[0], shape[1] * self.copies]
        if source == "token_embd.weight":
            return self.embedding_kind(), [shape[0], shape[1] * self.copies]
        return self.kind, [n * self.copies for n in shape]

    def widened(self, name, source, adds, garble):
        """The bytes of tensor `name`; `adds` is False in a layer that adds nothing."""
        values = self.read(source)
        groups = 3 if "attn_qkv" in name else 1
        leads_back = "attn_output" in name or "ffn_down" in name
        if values.ndim == 1:
            wide = self.vector(values, groups)
            if name.startswith("output_norm."):
                wide = wide / np.float32(self.copies)
            return wide if adds or not leads_back else np.zeros_like(wide)
        if name == "position_embd.weight":
            return np.tile(values, (1, self.copies))
        if name == "token_embd.weight":
            if garble:
                values = values[self.random.permutation(len(values))]
            return np.tile(encode(values, self.embedding_kind())[0], (1, self.copies))
        return self.matrix(values, groups, adds or not leads_back)


def metadata(writer, source, arch, copies, n_layers, kind):
    times = {f"{arch}.{name}": copies for name in
             ("embedding_length", "feed_forward_length", "attention.head_count")}
    instead = {f"{arch}.block_count": n_layers, "general.file_type": FILE_TYPE[kind]}
    for name, field in source.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value = instead.get(name, field.contents())
        sub = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, value * times[name] if name in times else value,
                             field.types[0], sub)


def write(path, source, widener, n_layers, garble=False):
    arch = source.fields["general.architecture"].contents()
    old_layers = source.fields[f"{arch}.block_count"].contents()
    writer = gguf.GGUFWriter(path, arch)
    metadata(writer, source, arch, widener.copies, n_layers, widener.kind)
    plan = []
    for name in widener.tensors:
        parts = name.split(".")
        is_layer = parts[0] == "blk"
        for layer in range(int(parts[1]), n_layers, old_layers) if is_layer else [0]:
            new = ".".join(["blk", str(layer)] + parts[2:]) if is_layer else name
            kind, shape = widener.kind_of(name)
            n_bytes = int(np.prod(shape)) // BLOCK * BYTES[kind]
            writer.add_tensor_info(new, shape, np.dtype(np.float32), n_bytes, raw_dtype=kind)
            plan.append((new, name, layer < old_layers))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for new, name, adds in plan:
        writer.write_tensor_data(widener.widened(new, name, adds, garble))
    writer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source")
    parser.add_argument("out")
    parser.add_argument("--shape", choices=list(SHAPES), help="copies and layers for this size")
    parser.add_argument("--type", default="Q8_0", choices=["F32", "F16", "Q8_0", "Q4_0"])
    parser.add_argument("--copies", type=int, default=1, help="times the width; default 1")
    parser.add_argument("--layers", type=int, default=0, help="layers in all; default the model's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--garble", action="store_true", help="a model that is never right")
    args = parser.parse_args()
    copies, layers = SHAPES[args.shape] if args.shape else (args.copies, args.layers)
    source = gguf.GGUFReader(args.source)
    arch = source.fields["general.architecture"].contents()
    old_layers = source.fields[f"{arch}.block_count"].contents()
    if arch != "gpt2" or copies < 1 or (layers and layers < old_layers):
        parser.error(f"a gpt2 model, 1 copy or more and {old_layers} layers or more are wanted")
    if layers > old_layers and copies < 2:
        parser.error("layers that add nothing need pairs: --copies 2 or more")
    write(args.out, source, Widener(source, copies, T[args.type], args.seed), layers or old_layers,
          args.garble)


if __name__ == "__main__":
    main()
