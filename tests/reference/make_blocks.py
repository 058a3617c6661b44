#!/usr/bin/env python3
"""Make dequant.json: random blocks of each tensor type and the float32 values they stand for.

Besides ordinary blocks each type has edge blocks: all bits zero, all quants at their extremes, a
negative scale, a subnormal scale. The values are those of `gguf.quants.dequantize`.
"""
import argparse
import json
import pathlib

import gguf
import numpy as np
from gguf.quants import dequantize, quantize

from fixture_gguf import T, f16_bytes, random_k_blocks

KINDS = [T.F16, T.BF16, T.Q8_0, T.Q4_0, T.Q4_K, T.Q5_K, T.Q6_K]
SCALE_AT = {T.Q8_0: [0], T.Q4_0: [0], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208]}


def ordinary(rng, kind, n):
    size, n_bytes = gguf.GGML_QUANT_SIZES[kind]
    if kind in (T.F16, T.BF16):
        return quantize(rng.normal(0, 1, (n, 32)).astype(np.float32), kind).view(np.uint8)
    if kind in (T.Q4_K, T.Q5_K, T.Q6_K):
        return random_k_blocks(rng, n, kind, 0.06)
    return quantize(rng.normal(0, 1, (n, size)).astype(np.float32), kind).reshape(n, n_bytes)


def with_scale(block, kind, values):
    block = block.copy()
    for at, v in zip(SCALE_AT[kind], values):
        block[at : at + 2] = f16_bytes([v])[0]
    return block


def edges(rng, kind):
    if kind == T.F16:
        bits = [0, 0x8000, 0x3C00, 0xBC00, 1, 0x8001, 0x03FF, 0x0400, 0x7BFF, 0xFBFF, 0x3555, 0x7C00]
        return [np.array((bits * 3)[:32], dtype="<u2").view(np.uint8)]
    if kind == T.BF16:
        bits = [0, 0x8000, 0x3F80, 0xBF80, 0x0080, 0x7F7F, 0xFF7F, 0x3EAB, 0x0001, 0x7F80]
        return [np.array((bits * 4)[:32], dtype="<u2").view(np.uint8)]
    _, n_bytes = gguf.GGML_QUANT_SIZES[kind]
    noise = rng.integers(0, 256, n_bytes, dtype=np.uint8)
    return [
        np.zeros(n_bytes, np.uint8),
        with_scale(np.full(n_bytes, 0xFF, np.uint8), kind, [0.5, 0.25]),
        with_scale(np.full(n_bytes, 0x80, np.uint8), kind, [1.0, 1.0]),
        with_scale(noise, kind, [-0.0123, 0.5]),
        with_scale(noise, kind, [3e-7, -2e-6]),
    ]


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--out", default=str(pathlib.Path(__file__).parent / "fixtures/dequant.json"))
    args = ap.parse_args()
    rng = np.random.default_rng(20)
    rows = []
    for kind in KINDS:
        size, n_bytes = gguf.GGML_QUANT_SIZES[kind]
        for block in [*ordinary(rng, kind, 4), *edges(rng, kind)]:
            values = dequantize(block.view(np.float16) if kind == T.F16 else block, kind)
            values = values.astype(np.float32).ravel()
            # JSON has no infinity: such a value is written as null.
            shown = ",".join(str(v) if np.isfinite(v) else "null" for v in values)
            rows.append(f'{{"type":"{kind.name}","ggml_type":{kind.value},"n_block":{size},'
                        f'"hex":"{block.tobytes().hex()}","values":[{shown}]}}')
    pathlib.Path(args.out).write_text("[\n" + ",\n".join(rows) + "\n]\n")
    json.loads(pathlib.Path(args.out).read_text())
    print(f"{len(rows)} blocks")


if __name__ == "__main__":
    main()
