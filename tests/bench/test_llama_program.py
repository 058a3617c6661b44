"""Proves: what llama-server and llama-speculative-simple say of their times is read as they mean it (from
        answers that version 0.5.0-dev gave for the shipped pair), options follow what a program's
        --help names, older names included, and a program that ends or answers with an error is an
        error with its words; with the programs on PATH, that they start, make the number of tokens
        asked for, the same with a draft as without, and count drafted tokens.
Does not prove: anything about speed. Without the programs on PATH the second half is skipped.
"""
import os
import shutil
import stat
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

ROOT = Path(os.environ["HSD_ROOT"])
sys.path.insert(0, str(ROOT / "tests" / "bench"))
import llama_program  # noqa: E402

TARGET, DRAFT = (str(ROOT / "models" / f"hsd-story-{name}.gguf") for name in ("target", "draft"))
PROMPT = [5, 6, 7, 8, 100]
ANSWER = {"tokens": [78, 3091, 1340, 12, 446, 350, 597, 260], "timings": {
    "cache_n": 2, "prompt_n": 1, "prompt_ms": 1.476, "predicted_n": 8, "predicted_ms": 35.816,
    "predicted_per_second": 195.44337726155908, "draft_n": 15, "draft_n_accepted": 3}}
PRINTED = """encoded    4 tokens in    0.011 seconds, speed:  370.370 t/s
decoded   33 tokens in    0.462 seconds, speed:   71.428 t/s

n_draft   = 5
n_predict = 33
n_drafted = 51
n_accept  = 26
accept    = 50.980%
"""
NEW = "-md, --model-draft FNAME\n--spec-type none,draft-simple\n--spec-draft-n-max N\n" \
      "--spec-draft-p-min, --draft-p-min P\n-td, --threads-draft N\n"
OLD = "-md, --model-draft FNAME\n--draft-max, --draft, --draft-n N\n--draft-min N\n--draft-p-min P\n"


class Read(unittest.TestCase):
    def test_a_server_s_rate_is_of_the_tokens_behind_the_first(self):
        got = llama_program.measured(ANSWER)
        self.assertAlmostEqual(got["tokens_per_s"], ANSWER["timings"]["predicted_per_second"])
        self.assertEqual((got["drafted"], got["accepted"]), (15, 3))
        self.assertEqual(got["tokens"], ANSWER["tokens"])

    def test_an_answer_without_times_is_an_error(self):
        for n, ms in [(1, 3.0), (0, 0.0), (8, 0.0)]:
            times = {"predicted_n": n, "predicted_ms": ms}
            with self.assertRaisesRegex(RuntimeError, f"made {n} tokens"):
                llama_program.measured({"timings": times})

    def test_the_printed_rate_is_read(self):
        got = llama_program.printed(PRINTED)
        self.assertAlmostEqual(got["tokens_per_s"], 33 / 0.462)
        self.assertEqual((got["drafted"], got["accepted"]), (51, 26))
        with self.assertRaisesRegex(RuntimeError, "does not say its times: nothing"):
            llama_program.printed("nothing")

    def options(self, text):
        with mock.patch.object(llama_program, "help_of", lambda _: text):
            return llama_program.draft_options("a-program", "d.gguf", 16, 0.75, 1)

    def test_options_have_the_names_that_help_has(self):
        self.assertEqual(self.options(NEW), [
            "--spec-type", "draft-simple", "--model-draft", "d.gguf", "--spec-draft-n-max", "16",
            "--spec-draft-p-min", "0.75", "--threads-draft", "1"])
        self.assertEqual(self.options(OLD), [
            "--model-draft", "d.gguf", "--draft-max", "16", "--draft-min", "0", "--draft-p-min",
            "0.75"])
        with self.assertRaisesRegex(RuntimeError, "a-program has no draft model"):
            self.options("--threads N")

    def test_a_server_that_ends_is_an_error_with_its_words(self):
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder) / llama_program.SERVER
            program.write_text("#!/bin/sh\necho no such model >&2\nexit 3\n")
            program.chmod(program.stat().st_mode | stat.S_IXUSR)
            with mock.patch.object(llama_program, "SERVER", str(program)):
                with self.assertRaisesRegex(RuntimeError, "ended: no such model"):
                    llama_program.Server("t.gguf", 1, 64)


@unittest.skipUnless(shutil.which(llama_program.SERVER), "no llama-server on PATH")
class RealServer(unittest.TestCase):
    def test_a_draft_changes_no_token(self):
        texts = []
        for draft in [{}, {"draft": DRAFT, "window": 5}]:
            server = llama_program.Server(TARGET, 1, 256, **draft)
            try:
                got = server.run(PROMPT, 24, 0, 1)
                with self.assertRaisesRegex(RuntimeError, "answers 4"):
                    server.run([10 ** 6], 4, 0, 1)
            finally:
                server.close()
            self.assertEqual(len(got["tokens"]), 24)
            self.assertGreater(got["tokens_per_s"], 0)
            self.assertEqual(got["drafted"] > 0, bool(draft))
            texts.append(got["tokens"])
        self.assertEqual(*texts)


@unittest.skipUnless(shutil.which(llama_program.SIMPLE), "no llama-speculative-simple on PATH")
class RealSimple(unittest.TestCase):
    def test_it_says_its_times(self):
        got = llama_program.Simple(TARGET, 1, 256, DRAFT, 5).run("Once upon a time", 24)
        self.assertGreater(got["tokens_per_s"], 0)
        self.assertGreaterEqual(got["drafted"], got["accepted"])


if __name__ == "__main__":
    unittest.main(verbosity=1)
