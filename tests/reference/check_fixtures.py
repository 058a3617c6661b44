#!/usr/bin/env python3
"""Recompute every fixture's logits from its GGUF file alone, in numpy float64.

An independent second opinion: it reads the file as an engine does (interleaved RoPE for llama,
half-split for qwen, metadata for the scaling) and knows nothing of Hugging Face.
"""
import argparse
import json
import math
import pathlib
import sys

import gguf
import numpy as np
from gguf.quants import dequantize


class File:
    def __init__(self, path):
        r = gguf.GGUFReader(path)
        self.arch = r.get_field("general.architecture").contents()
        self.fields = r.fields
        self.tensors = {}
        for t in r.tensors:
            shape = tuple(int(n) for n in reversed(t.shape))
            a = dequantize(t.data, t.tensor_type).reshape(shape)
            self.tensors[t.name] = a.astype(np.float64)

    def get(self, key, default=None):
        f = self.fields.get(f"{self.arch}.{key}")
        return default if f is None else f.contents()

    def __getitem__(self, name):
        return self.tensors[name]

    def linear(self, x, name):
        y = x @ self.tensors[f"{name}.weight"].T
        b = self.tensors.get(f"{name}.bias")
        return y if b is None else y + b


def rms_norm(x, w, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * w


def layer_norm(x, w, b, eps):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * w + b


def rope_angles(f, n_rot, n_tok):
    """(angles [n_tok, n_rot / 2], factor on cos and sin)."""
    base = f.get("rope.freq_base", 10000.0)
    freq = base ** (-np.arange(0, n_rot, 2) / n_rot)
    if "rope_freqs.weight" in f.tensors:
        freq = freq / f["rope_freqs.weight"]
    kind = f.get("rope.scaling.type", "none")
    factor = f.get("rope.scaling.factor", 1.0)
    if kind == "linear":
        return np.outer(np.arange(n_tok), freq / factor), 1.0
    if kind != "yarn":
        return np.outer(np.arange(n_tok), freq), 1.0
    n_orig = f.get("rope.scaling.original_context_length")
    dim = lambda beta: n_rot * math.log(n_orig / (beta * 2 * math.pi)) / (2 * math.log(base))
    low, high = max(0, math.floor(dim(32))), min(n_rot - 1, math.ceil(dim(1)))
    ramp = 1 - np.clip((np.arange(n_rot // 2) - low) / max(0.001, high - low), 0, 1)
    freq = freq / factor * (1 - ramp) + freq * ramp
    return np.outer(np.arange(n_tok), freq), 1 + 0.1 * math.log(factor)


def rotate(x, angles, scale, interleaved):
    """x [n_tok, n_head, head_dim]."""
    cos, sin = np.cos(angles)[:, None] * scale, np.sin(angles)[:, None] * scale
    half = x.shape[-1] // 2
    a, b = (x[..., ::2], x[..., 1::2]) if interleaved else (x[..., :half], x[..., half:])
    y = np.empty_like(x)
    if interleaved:
        y[..., ::2], y[..., 1::2] = a * cos - b * sin, a * sin + b * cos
    else:
        y[..., :half], y[..., half:] = a * cos - b * sin, a * sin + b * cos
    return y


def attention(q, k, v):
    """Causal; q [n_tok, n_head, d], k and v [n_tok, n_head_kv, d] -> [n_tok, n_head * d]."""
    n_tok, n_head, d = q.shape
    group = n_head // k.shape[1]
    k, v = k.repeat(group, axis=1), v.repeat(group, axis=1)
    s = np.einsum("qhd,khd->hqk", q, k) / math.sqrt(d)
    s = np.where(np.tril(np.ones((n_tok, n_tok), bool)), s, -np.inf)
    p = np.exp(s - s.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    return np.einsum("hqk,khd->qhd", p, v).reshape(n_tok, -1)


def run_gpt2(f, tokens):
    n_tok, eps, n_head = len(tokens), f.get("attention.layer_norm_epsilon"), f.get("attention.head_count")
    norm = lambda x, n: layer_norm(x, f[n + ".weight"], f[n + ".bias"], eps)
    x = f["token_embd.weight"][tokens] + f["position_embd.weight"][:n_tok]
    for i in range(f.get("block_count")):
        b = f"blk.{i}."
        q, k, v = np.split(f.linear(norm(x, b + "attn_norm"), b + "attn_qkv"), 3, axis=1)
        heads = [a.reshape(n_tok, n_head, -1) for a in (q, k, v)]
        x = x + f.linear(attention(*heads), b + "attn_output")
        u = f.linear(norm(x, b + "ffn_norm"), b + "ffn_up")
        u = 0.5 * u * (1 + np.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3)))
        x = x + f.linear(u, b + "ffn_down")
    return norm(x, "output_norm") @ f["token_embd.weight"].T


def run_llama(f, tokens):
    n_tok, eps = len(tokens), f.get("attention.layer_norm_rms_epsilon")
    n_head, n_kv = f.get("attention.head_count"), f.get("attention.head_count_kv")
    head_dim = f.get("attention.key_length", f.get("embedding_length") // n_head)
    angles, scale = rope_angles(f, head_dim, n_tok)
    norm = lambda x, n: rms_norm(x, f[n + ".weight"], eps)
    x = f["token_embd.weight"][tokens]
    for i in range(f.get("block_count")):
        b = f"blk.{i}."
        h = norm(x, b + "attn_norm")
        q = f.linear(h, b + "attn_q").reshape(n_tok, n_head, head_dim)
        k = f.linear(h, b + "attn_k").reshape(n_tok, n_kv, head_dim)
        v = f.linear(h, b + "attn_v").reshape(n_tok, n_kv, head_dim)
        if b + "attn_q_norm.weight" in f.tensors:
            q, k = norm(q, b + "attn_q_norm"), norm(k, b + "attn_k_norm")
        q, k = (rotate(a, angles, scale, f.arch == "llama") for a in (q, k))
        x = x + f.linear(attention(q, k, v), b + "attn_output")
        h = norm(x, b + "ffn_norm")
        g = f.linear(h, b + "ffn_gate")
        x = x + f.linear(g / (1 + np.exp(-g)) * f.linear(h, b + "ffn_up"), b + "ffn_down")
    head = "output.weight" if "output.weight" in f.tensors else "token_embd.weight"
    return norm(x, "output_norm") @ f[head].T


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--fixtures", default=str(pathlib.Path(__file__).parent / "fixtures"))
    ap.add_argument("--tolerance", type=float, default=1e-3)
    args = ap.parse_args()
    bad = 0
    for path in sorted(pathlib.Path(args.fixtures).glob("*.gguf")):
        f = File(path)
        want = json.loads(path.with_suffix(".json").read_text())
        got = (run_gpt2 if f.arch == "gpt2" else run_llama)(f, want["tokens"])
        worst = float(np.abs(got - np.array(want["logits"])).max())
        bad += worst > args.tolerance
        print(f"{path.stem:16s} largest difference {worst:.2e}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
