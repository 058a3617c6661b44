"""Writing of the small GGUF fixtures: metadata, a byte-level vocabulary, tensors of any type."""
import gguf
import numpy as np
from gguf.quants import dequantize, quantize

T = gguf.GGMLQuantizationType
EOT = "<|endoftext|>"
MERGES = ["Ġ t", "h e", "Ġt he"]


def byte_symbols():
    """GPT-2's printable stand-in for each byte, in byte order."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    symbols, n = {}, 0
    for b in range(256):
        if b in plain:
            symbols[b] = chr(b)
        else:
            symbols[b] = chr(256 + n)
            n += 1
    return [symbols[b] for b in range(256)]


def vocabulary():
    """256 bytes, three merges, one control token: 260 entries."""
    return byte_symbols() + [m.replace(" ", "") for m in MERGES] + [EOT]


N_VOCAB = 260


def add_vocabulary(w, pre):
    tokens = vocabulary()
    eot = len(tokens) - 1
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre(pre)
    w.add_token_list(tokens)
    w.add_token_types([gguf.TokenType.NORMAL] * eot + [gguf.TokenType.CONTROL])
    w.add_token_merges(MERGES)
    w.add_bos_token_id(eot)
    w.add_eos_token_id(eot)
    w.add_add_bos_token(False)


def f16_bytes(values):
    return np.asarray(values, dtype=np.float16).view(np.uint8).reshape(-1, 2)


def random_k_blocks(rng, n, kind, std):
    """n valid random blocks [n, size_bytes] u8 whose weights have about the deviation `std`.

    gguf has no quantiser for these types, so the bits are random and the scales are chosen.
    Layouts: ggml-common.h block_q4_K, block_q5_K, block_q6_K.
    """
    u8 = lambda k: rng.integers(0, 256, (n, k), dtype=np.uint8)
    spread = rng.uniform(0.6, 1.4, n)
    if kind == T.Q6_K:
        # ql[128] qh[64] scales[16] i8, d: weight = d * scale * (q - 32), scales kept in +-40
        scales = rng.integers(-40, 41, (n, 16), dtype=np.int8).view(np.uint8)
        d = spread * std / (23.7 * 18.5)
        return np.concatenate([u8(128), u8(64), scales, f16_bytes(d)], axis=1)
    # d, dmin, scales[12], (qh[32],) qs[128]: weight = d * scale * q - dmin * min
    top = 15 if kind == T.Q4_K else 31
    d = spread * std / (36.4 * top * 0.43)
    dmin = d * top / 2
    head = [f16_bytes(d), f16_bytes(dmin), u8(12)]
    return np.concatenate(head + ([u8(32)] if kind == T.Q5_K else []) + [u8(128)], axis=1)


def encode(a, kind, rng):
    """Return (data for the file, the float32 weights that this data stands for)."""
    a = np.ascontiguousarray(a, dtype=np.float32)
    if kind == T.F32:
        return a, a
    if kind in (T.Q4_K, T.Q5_K, T.Q6_K):
        rows, cols = a.shape
        blocks = random_k_blocks(rng, rows * cols // 256, kind, float(a.std()))
        data = blocks.reshape(rows, -1)
    else:
        data = quantize(a, kind)
    return data, dequantize(data, kind).reshape(a.shape).astype(np.float32)
