#!/usr/bin/env python3
"""Make the seed corpora of the fuzzers: small valid and nearly valid inputs. Deterministic."""
import pathlib
import re
import struct
import zlib

HERE = pathlib.Path(__file__).resolve().parent
SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<B", 10: "<Q",
           11: "<q", 12: "<d"}


def text(s):
    s = s.encode() if isinstance(s, str) else s
    return struct.pack("<Q", len(s)) + s


def value(kind, v):
    return text(v) if kind == 8 else struct.pack(SCALARS[kind], v)


def kv(key, kind, v):
    return text(key) + struct.pack("<I", kind) + value(kind, v)


def array(key, kind, values):
    body = b"".join(value(kind, v) for v in values)
    return text(key) + struct.pack("<IIQ", 9, kind, len(values)) + body


def tensor(name, ne, kind, offset):
    dims = b"".join(struct.pack("<Q", n) for n in ne)
    return text(name) + struct.pack("<I", len(ne)) + dims + struct.pack("<IQ", kind, offset)


def gguf(kvs, tensors=(), data=b"", version=3, alignment=32):
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(kvs))
    head += b"".join(kvs) + b"".join(tensors)
    return head + b"\0" * (-len(head) % alignment) + data if tensors else head


def gguf_seeds():
    every_type = [kv(f"t{k}", k, 1) for k in SCALARS] + [kv("t8", 8, "text")]
    arrays = [array(f"a{k}", k, [0, 1, 1]) for k in SCALARS] + [array("a8", 8, ["", "x", "yz"])]
    spm = [kv("tokenizer.ggml.model", 8, "llama"),
           array("tokenizer.ggml.tokens", 8,
                 ["<unk>", "<s>", "</s>", "<0x41>", "\u2581", "h", "e", "he", "\u2581he", "[u]"]),
           array("tokenizer.ggml.token_type", 5, [2, 3, 3, 6, 1, 1, 1, 1, 5, 4]),
           array("tokenizer.ggml.scores", 6, [0, 0, 0, 0, 0, -1, -2, -3, -4, 0]),
           kv("tokenizer.ggml.bos_token_id", 4, 1), kv("tokenizer.ggml.add_bos_token", 7, 1)]
    words = ["a", "b", "ab", "\u0120", "\u0120a", "\u00c3\u00a9", "<|im_end|>", "1", "l", "o"]
    seeds = {"empty": gguf([]), "types": gguf(every_type), "arrays": gguf(arrays), "spm": gguf(spm),
             "version2": gguf(every_type, version=2),
             "tensors": gguf([kv("general.architecture", 8, "llama")],
                             [tensor("a", [32, 2], 8, 0), tensor("b", [3], 0, 96),
                              tensor("c", [32], 6, 128), tensor("d", [1, 2, 3, 1], 1, 160)],
                             bytes(range(172))),
             "alignment": gguf([kv("general.alignment", 4, 8)], [tensor("a", [2], 0, 8)],
                               bytes(16), alignment=8)}
    for pre in ("default", "gpt-2", "llama-bpe", "qwen2", "smollm"):
        seeds[f"bpe-{pre}"] = gguf(
            [kv("tokenizer.ggml.model", 8, "gpt2"), kv("tokenizer.ggml.pre", 8, pre),
             array("tokenizer.ggml.tokens", 8, words),
             array("tokenizer.ggml.token_type", 5, [1] * 6 + [3, 1, 1, 1]),
             array("tokenizer.ggml.merges", 8, ["a b", "\u0120 a", "l l", "ll o"]),
             kv("tokenizer.ggml.eos_token_id", 4, 6)])
    whole = seeds["tensors"]
    seeds["cut"] = whole[: len(whole) // 2]
    seeds["huge"] = b"GGUF" + struct.pack("<IQQ", 3, 1 << 63, 1 << 63)
    return seeds


def tokenizer_seeds():
    texts = ["hello hello", "  hello\n\n world 12345 it's", "<|im_end|><|im[[user]]</s>", "aaaaaaa",
             "caf\u00e9 \u00e9 \u2581\u2581 \U0001f600 \u0661\u0662", "\u0085\u3000 \t\r\n x",
             b"\xff\xc3\xe2\x96\xf0\x9f\x98 \xed\xa0\x80", b"", b"\0\0 \0"]
    seeds = {}
    for i, t in enumerate(texts):
        t = t.encode() if isinstance(t, str) else t
        for tok in range(7):
            seeds[f"{i}-{tok}"] = bytes([tok, (i + tok) % 8]) + t
    return seeds


def key_seeds():
    # The example keys of ZeroMQ's manual, zmq_curve(7): not anybody's.
    public = b"Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"
    secret = b"D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"
    other = b"rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
    pair = b"# key pair\npublic " + public + b"\nsecret " + secret + b"\n"
    clients = public + b" alice\n# bob left\n\n" + other + b" carol at work\n"
    return {"pair": pair, "pair-cut": pair[:-12], "pair-crlf": pair.replace(b"\n", b"\r\n"),
            "pair-twice": pair + pair, "pair-mixed": pair.replace(public, other), "list": clients,
            "list-long": public + b" " + b"x" * 100, "list-high": public[:-1] + b"\xff",
            "list-nul": public[:-3] + b"\0\0\0", "one": public, "empty": b"", "comment": b"#" * 40}


def topology_seeds():
    """The examples (without comments), and small files with one thing wrong each."""
    examples = HERE.parent.parent / "examples" / "topology"
    seeds = {path.stem: "\n".join(re.sub(r"\s*#.*", "", line)
                                  for line in path.read_text().splitlines()).encode()
             for path in examples.glob("*.yaml") if ".profile" not in path.name}
    head = "topology: 1\nhosts: [{name: h}]\ndevices:\n  - {name: a, type: cpu, host: h%s}\n%s"
    small = {"small": ("", ""), "unit": (", read: 3 GB", ""), "negative": (", launch: -3 us", ""),
             "unknown": (", x: 1", ""), "itself": (", same_as: a", ""),
             "loop": ("", "links: [{from: a, to: a}]"), "twice": ("", "devices: []"),
             "dangling": ("", "choices: {draft: b}"),
             "worker": ("", 'workers: [{name: w, device: a, endpoint: "ipc:///w"}]'),
             "documents": ("", "---\nx"), "deep": (", model: " + "[" * 64, ""),
             "quoted": (', model: "\\u00e9\\t"', "")}
    seeds.update({key: (head % parts).encode() for key, parts in small.items()})
    seeds["alias"] = b"topology: 1\nhosts: &h [{name: h}, *h]\n"
    return seeds


def tile_seeds():
    def table(records, tile):
        lines = ["hsd tiles 1", f"records {records}"]
        for t in ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_K", "Q5_K", "Q6_K"):
            lines += [f"{t} {rows} {tile(t, min(rows, 8))}" for rows in (1, 4, 8, 64)]
        return ("\n".join(lines) + "\n").encode()

    lanes = table(1, lambda t, rows: f"lanes {rows}x1 64")
    dot = table(0, lambda t, rows: f"dot {rows}x2 256" if t[0] == "Q" else "subgroup 1x4 16")
    return {"lanes": lanes, "dot": dot, "dot-f32": table(1, lambda t, rows: "dot 1x1 64"),
            "cut": lanes[:-1], "long": lanes + b"\n", "nul": lanes.replace(b"lanes", b"lan\0s"),
            "huge": lanes.replace(b"8x1", b"800000000000x1"), "empty": b""}


def parked_seeds():
    """Parked texts; the last byte says whether the fuzzer mends the sums."""
    def text(n_tokens, n_cells, cell_bytes, version=1, kind=b"keys and values in f32, 1 layers of 2",
             form=0, n_draft=0):
        tokens = b"".join(struct.pack("<i", i % 7) for i in range(n_tokens))
        body = tokens + struct.pack("<I", zlib.crc32(tokens))
        for count, size in ((n_cells, sum(cell_bytes)), (n_draft, 12)):
            for first in range(0, count, 64):
                cells = bytes(1) * (min(64, count - first) * size)
                body += cells + struct.pack("<I", zlib.crc32(cells))
        head = struct.pack("<8sIIQQQIIIII", b"hsd-park", version, 512, 512 + len(body), 11, 12, 9, n_tokens, n_cells, 64,
                           len(cell_bytes))
        head += b"".join(struct.pack("<I", n) for n in cell_bytes).ljust(32, b"\0")
        head += struct.pack("<fiffQfiiII", 1.0, 40, 0.9, 0.0, 5, 1.1, -1, 3, 0, 1)
        if version > 1:
            head += struct.pack("<IIIIQ", form, n_draft, 12 if n_draft else 0, 13, 14)
        head = (head.ljust(256, b"\0") + kind).ljust(508, b"\0")
        return head + struct.pack("<I", zlib.crc32(head)) + body

    whole = text(70, 69, [16])
    return {"whole": whole + b"\0", "two-places": text(5, 4, [16, 8]) + b"\0", "no-cells": text(1, 0, [16]) + b"\1",
            "cut": whole[:900] + b"\0", "mended-cut": whole[:900] + b"\1", "version": text(3, 2, [4], version=3) + b"\0",
            "inputs": text(70, 69, [8], version=2, form=1) + b"\0", "only-tokens": text(3, 2, [0], version=2, form=1) + b"\1",
            "draft": text(70, 69, [16], version=2, n_draft=66) + b"\1", "form": text(3, 2, [4], version=2, form=2) + b"\1",
            "huge": text(2, 0, [0xffffffff]) + b"\1", "endless": text(3, 2, [4], kind=b"x" * 192) + b"\1",
            "head": whole[:512] + b"\1", "empty": b""}


for name, seeds in (("parked", parked_seeds()), ("gguf", gguf_seeds()), ("tokenizer", tokenizer_seeds()),
                    ("keys", key_seeds()), ("topology", topology_seeds()), ("tiles", tile_seeds())):
    folder = HERE / "corpus" / name
    folder.mkdir(parents=True, exist_ok=True)
    for seed, data in seeds.items():
        (folder / seed).write_bytes(data)
