"""Proves: what widen_gguf.py makes of a layer's matrices is the old function: over the copies of an
        input the weights add up to the old ones, to 0 in layers that add nothing, as the package
        gguf reads them back; no row, no piece of one and next to no weight is there twice or zero;
        a widened F32 model's logits are the small one's, and its text is token for token.
Does not prove: that rounding to Q8_0 or Q4_0 leaves a text as it is: it is bounded per sum, and
        suite.py agree counts tokens.
Skipped (77) without the packages numpy and gguf.
"""
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

try:
    import gguf
    import numpy as np
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

ROOT = Path(os.environ["HSD_ROOT"])
sys.path.insert(0, str(ROOT / "tests" / "bench"))
import widen_gguf  # noqa: E402

T = gguf.GGMLQuantizationType
TARGET = str(ROOT / "models" / "hsd-story-target.gguf")
COPIES = 4
PROMPTS = ["Once upon a time there was", "### User:\nWhat is 12 + 30?\n### Assistant:\n",
           "The old man looked at the sea and"]


def widener(kind):
    return widen_gguf.Widener(gguf.GGUFReader(TARGET), COPIES, kind, 3)


def read_back(rows, kind):
    return gguf.quants.dequantize(rows.view(np.float32) if kind == T.F32 else
                                  rows.view(np.float16) if kind == T.F16 else rows, kind)


class Matrices(unittest.TestCase):
    """Of one layer, in every type."""

    def sums(self, kind, name, adds):
        """The old weights, the new [copies out, n_out, copies in, n_in], summed over inputs."""
        w = widener(kind)
        old = w.read(name)
        wide = read_back(w.matrix(old, 1, adds), kind).astype(np.float64)
        wide = wide.reshape(COPIES, old.shape[0], COPIES, old.shape[1])
        return old.astype(np.float64), wide, wide.sum(axis=2)

    def test_weights_add_up_to_the_old_ones(self):
        most = {T.F32: 1e-6, T.F16: 2e-3, T.Q8_0: 0.02, T.Q4_0: 0.25}  # of the mean weight
        for kind, bound in most.items():
            old, _, sums = self.sums(kind, "blk.3.ffn_up.weight", True)
            error = np.abs(sums - old).mean() / np.abs(old).mean()
            self.assertLess(error, bound, f"{kind.name}")

    def test_layers_that_add_nothing_have_weights_that_add_up_to_nothing(self):
        for kind in widen_gguf.BYTES:
            _, wide, sums = self.sums(kind, "blk.3.ffn_down.weight", False)
            self.assertLess(np.abs(sums).max(), 1e-6 * np.abs(wide).max(), f"{kind.name}")

    def test_weights_are_neither_zero_nor_there_twice(self):
        for kind in widen_gguf.BYTES:
            for adds in [True, False]:
                _, wide, _ = self.sums(kind, "blk.3.ffn_up.weight", adds)
                zeros = (wide == 0).mean()
                self.assertLess(zeros, 0.2 if kind == T.Q4_0 else 0.02, f"{kind.name} {adds}")
                rows = wide.reshape(-1, wide.shape[3])  # each copy's part of each row
                self.assertEqual(len(np.unique(rows, axis=0)), len(rows), f"{kind.name} {adds}")

    def test_query_key_and_value_are_widened_one_by_one(self):
        w = widener(T.F32)
        old = w.read("blk.0.attn_qkv.weight")
        wide = read_back(w.matrix(old, 3, True), T.F32)
        n, n_in = old.shape[0] // 3, old.shape[1]
        for group in range(3):
            for copy in range(COPIES):
                begin = (group * COPIES + copy) * n
                sums = wide[begin:begin + n].reshape(n, COPIES, n_in).sum(axis=1)
                np.testing.assert_allclose(sums, old[group * n:group * n + n], atol=1e-5)


class Models(unittest.TestCase):
    """The shipped target as F32, and the same twice as wide with two layers more."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.paths = {}
        for copies, layers in [(1, 8), (2, 10)]:
            path = os.path.join(cls.folder.name, f"{copies}.gguf")
            source = gguf.GGUFReader(TARGET)
            widen_gguf.write(path, source, widen_gguf.Widener(source, copies, T.F32, 1), layers)
            cls.paths[copies] = path

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def run_hsd(self, copies, *more):
        done = subprocess.run([os.environ["HSD"], "run", "--json", "--mode", "ar", "--ignore-eos",
                               "-n", "40", "--target", self.paths[copies], *more],
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_the_text_is_token_for_token_the_small_one_s(self):
        for prompt in PROMPTS:
            for more in [[], ["--temp", "1", "--seed", "5"]]:
                small, big = (self.run_hsd(copies, "--prompt", prompt, *more) for copies in [1, 2])
                self.assertEqual(small["tokens"], big["tokens"], f"{prompt!r} {more}")

    def test_logits_are_the_small_one_s(self):
        if "CPU_LOGITS" not in os.environ:
            self.skipTest("cpu_logits is not built")
        cells = list(range(24))
        rows = [[24, 0]] + [[100 + 7 * i, i, i, i + 1, *cells[:i + 1]] for i in cells]
        text = " ".join(str(x) for row in rows for x in row)
        small, big = (np.frombuffer(subprocess.run(
            [os.environ["CPU_LOGITS"], self.paths[copies]], input=text.encode(),
            capture_output=True, check=True).stdout, dtype=np.float32) for copies in [1, 2])
        self.assertEqual(small.size, 24 * 4096)
        np.testing.assert_allclose(big, small, atol=2e-3)


if __name__ == "__main__":
    unittest.main(verbosity=1)
