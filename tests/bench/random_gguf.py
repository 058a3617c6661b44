#!/usr/bin/env python3
"""Write a llama or gpt2 of any size with random weights: its text is noise, its passes cost what they would.

    pip install gguf numpy
    python3 tests/bench/random_gguf.py --type Q8_0 shape-1b-q8_0.gguf      # the 1.1B shape
    python3 tests/bench/random_gguf.py --type F16 --layers 4 --width 1024 --ff 2816 --heads 16 --kv-heads 2 small.gguf
    python3 tests/bench/random_gguf.py --arch gpt2 --layers 12 --width 768 --ff 3072 --heads 12 --context 8192 gpt2.gguf

All matrices have the type, norms are F32; the vocabulary has the bytes and made-up words.
"""
import argparse
import sys
from pathlib import Path

import gguf
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "reference"))
from fixture_gguf import EOT, MERGES, T, encode, vocabulary  # noqa: E402

SAMPLE = 1 << 22  # numbers that are really drawn; a tensor repeats them from a place of its own


class Writer:
    def __init__(self, args):
        self.args = args
        self.kind = T[args.type]
        self.random = np.random.default_rng(args.seed)
        self.out = gguf.GGUFWriter(args.out, args.arch)
        self.samples = {}

    def sample(self, n_in):
        """Rows of n_in encoded random weights."""
        if n_in not in self.samples:
            rows = self.random.standard_normal((SAMPLE // n_in, n_in), dtype=np.float32) * 0.02
            self.samples[n_in] = encode(rows, self.kind, self.random)[0]
        return self.samples[n_in]

    def matrix(self, name, n_out, n_in):
        rows = self.sample(n_in)
        pick = (np.arange(n_out) + self.random.integers(len(rows))) % len(rows)
        self.out.add_tensor(name, rows[pick], raw_dtype=self.kind)

    def norm(self, name, n):
        self.out.add_tensor(name, np.ones(n, dtype=np.float32))

    def metadata(self):
        a, w = self.args, self.out
        w.add_context_length(a.context)
        w.add_embedding_length(a.width)
        w.add_block_count(a.layers)
        w.add_feed_forward_length(a.ff)
        w.add_head_count(a.heads)
        w.add_head_count_kv(a.kv_heads if a.arch == "llama" else a.heads)
        if a.arch == "llama":
            w.add_layer_norm_rms_eps(1e-5)
            w.add_rope_dimension_count(a.width // a.heads)
        else:
            w.add_layer_norm_eps(1e-5)
        words = vocabulary()[:-1]
        words += [f"w{i}" for i in range(a.vocab - len(words) - 1)] + [EOT]
        w.add_vocab_size(a.vocab)
        w.add_tokenizer_model("gpt2")
        w.add_tokenizer_pre("gpt-2")
        w.add_token_list(words)
        w.add_token_types([gguf.TokenType.NORMAL] * (a.vocab - 1) + [gguf.TokenType.CONTROL])
        w.add_token_merges(MERGES)
        w.add_bos_token_id(a.vocab - 1)
        w.add_eos_token_id(a.vocab - 1)
        w.add_add_bos_token(False)

    def vector(self, name, n, value):
        self.out.add_tensor(name, np.full(n, value, dtype=np.float32))

    def both(self, name, n_out, n_in):
        """A matrix with a bias; n_out 0: a norm with one."""
        if n_out:
            self.matrix(f"{name}.weight", n_out, n_in)
        else:
            self.norm(f"{name}.weight", n_in)
        self.vector(f"{name}.bias", n_out or n_in, 0.01)

    def tensors_gpt2(self):
        a = self.args
        self.matrix("token_embd.weight", a.vocab, a.width)
        rows = self.random.standard_normal((a.context, a.width), dtype=np.float32) * 0.02
        self.out.add_tensor("position_embd.weight", rows)
        for i in range(a.layers):
            self.both(f"blk.{i}.attn_norm", 0, a.width)
            self.both(f"blk.{i}.attn_qkv", 3 * a.width, a.width)
            self.both(f"blk.{i}.attn_output", a.width, a.width)
            self.both(f"blk.{i}.ffn_norm", 0, a.width)
            self.both(f"blk.{i}.ffn_up", a.ff, a.width)
            self.both(f"blk.{i}.ffn_down", a.width, a.ff)
        self.both("output_norm", 0, a.width)

    def tensors(self):
        a = self.args
        if a.arch == "gpt2":
            return self.tensors_gpt2()
        kv = a.width // a.heads * a.kv_heads
        self.matrix("token_embd.weight", a.vocab, a.width)
        for i in range(a.layers):
            self.norm(f"blk.{i}.attn_norm.weight", a.width)
            self.matrix(f"blk.{i}.attn_q.weight", a.width, a.width)
            self.matrix(f"blk.{i}.attn_k.weight", kv, a.width)
            self.matrix(f"blk.{i}.attn_v.weight", kv, a.width)
            self.matrix(f"blk.{i}.attn_output.weight", a.width, a.width)
            self.norm(f"blk.{i}.ffn_norm.weight", a.width)
            self.matrix(f"blk.{i}.ffn_gate.weight", a.ff, a.width)
            self.matrix(f"blk.{i}.ffn_up.weight", a.ff, a.width)
            self.matrix(f"blk.{i}.ffn_down.weight", a.width, a.ff)
        self.norm("output_norm.weight", a.width)
        self.matrix("output.weight", a.vocab, a.width)
        return None

    def write(self):
        self.metadata()
        self.tensors()
        self.out.write_header_to_file()
        self.out.write_kv_data_to_file()
        self.out.write_tensors_to_file()
        self.out.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out")
    parser.add_argument("--type", default="Q8_0",
                        choices=["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_K", "Q5_K", "Q6_K"])
    parser.add_argument("--arch", default="llama", choices=["llama", "gpt2"])
    parser.add_argument("--layers", type=int, default=22)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--ff", type=int, default=5632)
    parser.add_argument("--heads", type=int, default=32)
    parser.add_argument("--kv-heads", type=int, default=4)
    parser.add_argument("--vocab", type=int, default=32000)
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--seed", type=int, default=0)
    Writer(parser.parse_args()).write()


if __name__ == "__main__":
    main()
