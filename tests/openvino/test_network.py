#!/usr/bin/env python3
"""Proves: networks written by `hsd export` and run by OpenVINO's CPU plugin give the logits of
          hsd's CPU device: the shipped draft in f16 and i8 within 1e-3, every architecture and
          tensor type in f32 within 1e-4, also with cells in any order, chunks of any size, and
          trees.
          They also give the stored logits of Hugging Face transformers.
          The shapes and types written at each layer are those that OpenVINO works out.
          A model cut into networks of layers gives the same as a whole one.
          Greedy text of networks is that of `hsd run`, but for near ties where the CPU device rounds
          activations to 8 bits.
   Does not prove: anything about an NPU, nor about arithmetic in f16: the plugin computes in f32
          with weights in f16.
"""
import json
import os
import struct
import subprocess
import sys
import tempfile
import unittest

try:
    import numpy as np
    from network import HSD, CpuDevice, Network, Row, chain, export, worst
except ImportError as error:
    print(f"skipped: {error}; see tests/openvino/README.md")
    sys.exit(77)

ROOT = os.environ["HSD_ROOT"]
DRAFT = os.path.join(ROOT, "models", "hsd-story-draft.gguf")
FIXTURES = os.path.join(ROOT, "tests", "reference", "fixtures")
PLAIN = ["llama-gqa", "llama-tied", "llama-linear", "llama-llama3", "llama-yarn", "mistral", "qwen2",
         "qwen3", "gpt2", "llama-f16", "llama-bf16"]
QUANTISED = ["gpt2-q8_0", "llama256-q8_0", "llama256-q4_0", "llama256-q4_k", "llama256-q5_k",
             "llama256-q6_k", "gpt2-256-kmix"]
N_VOCAB = 4096  # of the shipped draft
PROMPT = "Once upon a time there was a little girl who"


def scattered(n):
    """Cells in an order that no text has."""
    return [int(c) for c in np.random.default_rng(7).permutation(n)]


def with_tree(tokens, cells, sizes):
    """Passes over a text in chunks of these sizes, then a tree of rows on it, then a row on the
    tree's deepest branch, whose path lies in an earlier pass."""
    passes, at = [], 0
    while at < len(tokens):
        n = sizes[len(passes) % len(sizes)]
        passes.append(chain(tokens[at:at + n], at, cells))
        at += n
    trunk, free = cells[:at], cells[at:]
    a, b, c, d, e, f = free[:6]
    t = tokens[:6]
    tree = [Row(t[0], at, a, [a]), Row(t[1], at, b, [b]), Row(t[2], at + 1, c, [a, c]),
            Row(t[3], at + 1, d, [b, d]), Row(t[4], at + 2, e, [a, c, e])]
    return passes + [(trunk, tree), (trunk, [Row(t[5], at + 3, f, [a, c, e, f])])]


def hsd_run(model, n_tokens):
    """What the program makes of PROMPT with this model alone."""
    done = subprocess.run([HSD, "run", "--target", model, "--mode", "ar", "--json", "--ignore-eos",
                           "--prompt", PROMPT, "--tokens", str(n_tokens)],
                          capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def run_all(place, passes):
    """Logits of all rows of all passes by a Network or a CpuDevice."""
    return np.concatenate([place.run(*p) for p in passes])


def greedy(place, prompt, n_tokens, cells):
    """The most likely token again and again: (tokens, the logits behind each)."""
    text, seen = list(prompt), []
    passes = [chain(text[at:at + 8], at, cells) for at in range(0, len(text), 8)]
    last = run_all(place, passes)[-1]
    for _ in range(n_tokens):
        seen.append(last)
        text.append(int(last.argmax()))
        last = place.run(*chain(text[-1:], len(text) - 1, cells))[-1]
    return text[len(prompt):], seen


def rotated(gguf, key, n_rot):
    """A GGUF file with a u32 key changed, or put before the others with one that keeps the file's
    tensors at multiples of 32 bytes."""
    def entry(name):
        return struct.pack("<Q", len(name)) + name.encode() + struct.pack("<II", 4, n_rot)

    at = gguf.find(key.encode())
    if at >= 0:
        at += len(key) + 4
        return gguf[:at] + struct.pack("<I", n_rot) + gguf[at + 4:]
    entries = entry(key)
    entries += entry("p" * ((-len(entries) - 17) % 32 + 1))
    n_keys = struct.unpack_from("<Q", gguf, 16)[0]
    return gguf[:16] + struct.pack("<Q", n_keys + 2) + entries + gguf[24:]


class NetworkCase(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="hsd-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def within(self, bound, error, what):
        print(f"{what}: relative error {error:.2e} (at most {bound:g})")
        self.assertLessEqual(error, bound, what)

    def fixture(self, name):
        with open(os.path.join(FIXTURES, name + ".json"), encoding="utf-8") as file:
            stored = json.load(file)
        return (os.path.join(FIXTURES, name + ".gguf"), stored["tokens"],
                np.array(stored["logits"], np.float32))

    def compare(self, name, unpacked, sizes, kind="f32", bound=1e-4):
        model, tokens, stored = self.fixture(name)
        about = export(self.folder, model, "--rows", 5, "--context", 32, "--type", kind)
        network = Network(self.folder)
        passes = with_tree(tokens, scattered(32), sizes)
        got = run_all(network, passes)
        with CpuDevice(model, about["n_vocab"], unpacked) as cpu:
            self.within(bound, worst(got, run_all(cpu, passes)), f"{name}, {kind}, CPU device")
        self.within(bound, worst(got[:len(stored)], stored), f"{name}, {kind}, transformers")

    def test_the_shipped_draft_gives_the_logits_of_the_cpu_device(self):
        run = hsd_run(DRAFT, 120)
        passes = with_tree(run["prompt_tokens"] + run["tokens"], scattered(512), [8, 3, 1, 7])
        with CpuDevice(DRAFT, N_VOCAB, unpacked=True) as cpu:
            exact = run_all(cpu, passes)
        with CpuDevice(DRAFT, N_VOCAB) as cpu:
            packed = run_all(cpu, passes)
        for kind, bound in [("f16", 1e-3), ("i8", 1e-3), ("f32", 1e-4)]:
            export(self.folder, DRAFT, "--type", kind)
            got = run_all(Network(self.folder), passes)
            self.within(bound, worst(got, exact), f"shipped draft, {kind}, {len(got)} rows")
            # For Q8_0 the CPU device rounds activations to 8 bits; the network does not.
            print(f"against Q8_0 as packed: {worst(got, packed):.2e}; "
                  f"that against unpacked: {worst(packed, exact):.2e}")

    def test_every_architecture_in_f32_gives_the_logits_of_the_cpu_device(self):
        for name in PLAIN:
            with self.subTest(name):
                self.compare(name, False, [5, 2, 4, 1])

    def test_quantised_files_give_what_their_weights_say(self):
        for name in QUANTISED:
            with self.subTest(name):
                self.compare(name, True, [5, 3])
        # gpt2 has a position table besides, F32 in the file and then f16.
        for name, bound in [("gpt2-q8_0", 1e-3), ("llama256-q8_0", 1e-4)]:
            with self.subTest(name, type="i8"):
                self.compare(name, True, [4], "i8", bound)

    def test_heads_that_are_rotated_in_part_give_the_logits_of_the_cpu_device(self):
        for name in ["llama-gqa", "qwen2"]:
            model, tokens, _ = self.fixture(name)
            part = os.path.join(self.folder, name + ".gguf")
            with open(model, "rb") as file, open(part, "wb") as copy:
                copy.write(rotated(file.read(), name.split("-")[0] + ".rope.dimension_count", 6))
            about = export(self.folder, part, "--type", "f32", "--context", 32)
            passes = with_tree(tokens, scattered(32), [8])
            with CpuDevice(part, about["n_vocab"]) as cpu:
                want = run_all(cpu, passes)
            with CpuDevice(model, about["n_vocab"]) as cpu:
                self.assertGreater(worst(run_all(cpu, passes), want), 1e-2, "the key has a meaning")
            self.within(1e-4, worst(run_all(Network(self.folder), passes), want),
                        f"{name}, 6 of 16 rotated")

    def chained(self, model, tokens, n_layers):
        """Logits by a network for each layer."""
        parts, got = [], []
        for begin in range(n_layers):
            folder = os.path.join(self.folder, str(begin))
            about = export(folder, model, "--rows", 4, "--context", 32, "--type", "f32",
                           "--layers", f"{begin}-{begin + 1}")
            self.assertEqual((about["from"], about["to"]),
                             ("hidden" if begin else "tokens",
                              "hidden" if begin + 1 < n_layers else "logits"))
            parts.append(Network(folder))
        for at in range(0, len(tokens), 4):
            trunk, rows = chain(tokens[at:at + 4], at, scattered(32))
            hidden = None
            for part in parts:
                hidden = part.run(trunk, rows, hidden)
            got.append(hidden)
        return np.concatenate(got)

    def test_layers_one_after_the_other_give_what_the_whole_gives(self):
        for name in ["llama-gqa", "qwen2", "gpt2"]:
            model, tokens, stored = self.fixture(name)
            self.within(1e-4, worst(self.chained(model, tokens, 2), stored), f"{name}, 2 networks")
        tokens = hsd_run(DRAFT, 16)["tokens"]
        with CpuDevice(DRAFT, N_VOCAB, unpacked=True) as cpu:
            want = cpu.run(*chain(tokens, 0, scattered(512)))
        self.within(1e-4, worst(self.chained(DRAFT, tokens, 3), want), "shipped draft, 3 networks")

    def test_greedy_text_is_that_of_the_program(self):
        for name in ["llama-f16", "llama-gqa", "qwen2", "qwen3"]:
            model = os.path.join(FIXTURES, name + ".gguf")
            run = hsd_run(model, 64)
            export(self.folder, model, "--context", 128,
                   "--type", "f16" if name == "llama-f16" else "f32")
            own, _ = greedy(Network(self.folder), run["prompt_tokens"], 64, scattered(128))
            self.assertEqual(own, run["tokens"], name)

    def test_greedy_text_of_the_shipped_draft_differs_in_near_ties_only(self):
        run = hsd_run(DRAFT, 64)
        export(self.folder, DRAFT)
        cells = scattered(512)
        own, logits = greedy(Network(self.folder), run["prompt_tokens"], 64, cells)
        with CpuDevice(DRAFT, N_VOCAB, unpacked=True) as cpu:
            self.assertEqual(own, greedy(cpu, run["prompt_tokens"], 64, cells)[0],
                             "with weights unpacked, no activation rounded to 8 bits")
        same = next((i for i in range(64) if own[i] != run["tokens"][i]), 64)
        print(f"greedy: the first {same} of 64 tokens are those of `hsd run`")
        if same < 64:
            there = logits[same]
            gap = float(there.max() - there[run["tokens"][same]]) / float(np.abs(there).max())
            print(f"token {same}: the program's choice is {gap:.2e} behind, relative")
            self.assertLess(gap, 1e-2)


if __name__ == "__main__":
    unittest.main(verbosity=2)
