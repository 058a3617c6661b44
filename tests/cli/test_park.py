#!/usr/bin/env python3
"""Proves: `hsd run --park` and `--resume` give the tokens of one run in one piece, also where the
        first was interrupted; what was parked is not computed again; damaged files, other models and
        options that do not go together are refused with one line; `--park-as` makes files of other lengths and the same tokens; `--cache-memory` and
        `--no-prefix-reuse` do what they say.
Does not prove: every mode and every stop, see tests/engine/test_park.c.
"""
import os
import signal
import subprocess
import tempfile
import unittest

from cli_case import HSD, OTHER, PROMPT, TIMEOUT_S, CliCase, hsd

N = 60


class Park(CliCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="hsd-")
        self.file = os.path.join(self.folder.name, "tale.hsd")

    def tearDown(self):
        self.folder.cleanup()

    def test_a_text_in_pieces_is_the_text_in_one_piece(self):
        for sampling in ([], ["--temp", 1, "--seed", 5, "--repeat-penalty", 1.2]):
            whole = self.json("run", "--prompt", PROMPT, "--tokens", N, "--mode", "ar", "--ignore-eos", *sampling)
            first = self.json("run", "--prompt", PROMPT, "--tokens", 10, "--mode", "mirror", "--ignore-eos", *sampling,
                              "--park", self.file)
            tokens, text, known = first["tokens"], first["text"], first["prompt_tokens"]
            for mode, n in (("serial", 7), ("async", 23), ("ar", 20)):
                more = self.json("run", "--resume", self.file, "--tokens", n, "--mode", mode, "--park", self.file)
                self.assertEqual(more["prompt_tokens"], known + tokens)
                self.assertEqual(more["stats"]["prompt_tokens_reused"], len(known + tokens) - 1)
                tokens += more["tokens"]
                text += more["text"]
            self.assertEqual(tokens, whole["tokens"])
            self.assertEqual(text, whole["text"])
            self.assertEqual(os.listdir(self.folder.name), ["tale.hsd"])

    def test_a_text_parked_in_any_form_goes_on_the_same(self):
        whole = self.json("run", "--prompt", PROMPT, "--tokens", 30, "--mode", "ar", "--ignore-eos", "--cache", "kv")
        sizes = {}
        for form in ("kv", "h", "auto"):
            first = self.json("run", "--prompt", PROMPT, "--tokens", 10, "--mode", "ar", "--ignore-eos", "--cache", "kv",
                              "--park", self.file, "--park-as", form)
            sizes[form] = os.path.getsize(self.file)
            more = self.json("run", "--resume", self.file, "--tokens", 20, "--mode", "serial", "--cache", "kv")
            self.assertEqual(first["tokens"] + more["tokens"], whole["tokens"])
            self.assertEqual(more["stats"]["prompt_tokens_reused"], len(more["prompt_tokens"]) - 1)
        self.assertLess(sizes["h"], 0.5 * sizes["kv"])
        self.assertEqual(sizes["auto"], sizes["h"])
        self.assertIn("none of auto, kv, h", self.usage_error("run", "--prompt", "x", "--park", self.file, "--park-as", "el"))
        self.assertIn("--park", self.usage_error("run", "--prompt", "x", "--park-as", "h"))

    def test_an_interrupted_run_is_parked(self):
        run = subprocess.Popen([HSD, "run", "--prompt", PROMPT, "--tokens", "0", "--ignore-eos", "--mode", "ar",
                                "--park", self.file], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        run.stdout.read(20)
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=TIMEOUT_S)
        self.assertIn(run.returncode, (0, 130))  # 0: the context was full before
        more = hsd("run", "--resume", self.file, "--tokens", 5, "--json")
        self.assertIn(more.returncode, (0, 1), more.stderr)
        if more.returncode == 1:
            self.assertIn("ETOOLONG", more.stderr)

    def test_what_cannot_be_resumed_is_said(self):
        self.ok("run", "--prompt", PROMPT, "--tokens", 4, "--park", self.file)
        self.assertIn("EUNSUPPORTED", self.failure("run", "--resume", self.file, "--target", OTHER))
        with open(self.file, "r+b") as file:
            file.truncate(700)
        self.assertRegex(self.failure("run", "--resume", self.file), r"tale\.hsd: .*\(EFORMAT, byte 700\)")
        self.assertIn("EIO", self.failure("run", "--resume", self.file + "x"))
        self.assertIn("EIO", self.failure("run", "--prompt", PROMPT, "--tokens", 4, "--park", "/nowhere/x"))

    def test_options_that_do_not_go_together_are_wrong_usage(self):
        self.assertIn("--resume", self.usage_error("run", "--resume", self.file, "--prompt", "x"))
        self.assertIn("sampling", self.usage_error("run", "--resume", self.file, "--temp", 1))
        self.assertIn("sampling", self.usage_error("run", "--resume", self.file, "--rule", "ratio"))


class Memory(CliCase):
    def test_nothing_begins_that_does_not_fit(self):
        said = self.failure("run", "--prompt", PROMPT, "--tokens", 0, "--cache-memory", "300kB", "--mode", "serial")
        self.assertRegex(said, r"^hsd: .*cache_memory: a context of \d+ (tokens needs|takes) .* MiB .* \(ENOMEM\)$")

    def test_a_short_context_fits_where_a_long_one_does_not(self):
        plain = self.json("run", "--prompt", PROMPT, "--tokens", 8, "--mode", "ar", "--ctx", 200, "--cache", "kv")
        self.assertIn("ENOMEM", self.failure("run", "--prompt", PROMPT, "--tokens", 8, "--mode", "ar", "--ctx", 200, "--cache", "kv",
                                             "--cache-memory", plain["stats"]["cache_bytes"] - 1))
        small = self.json("run", "--prompt", PROMPT, "--tokens", 8, "--mode", "ar", "--ctx", 60, "--cache", "kv",
                          "--cache-memory", plain["stats"]["cache_bytes"] - 1)
        self.assertEqual(small["tokens"], plain["tokens"])
        self.assertLess(small["stats"]["cache_bytes"], plain["stats"]["cache_bytes"])

    def test_sizes_are_read_in_full(self):
        for wrong in ("12x", "-3MiB", "MiB", "1e30GiB", ""):
            self.assertIn("--cache-memory", self.usage_error("run", "--prompt", "x", "--cache-memory", wrong))

    def test_a_batch_reuses_what_prompts_share_unless_told_not_to(self):
        with tempfile.TemporaryDirectory(prefix="hsd-") as folder:
            prompts = os.path.join(folder, "prompts")
            with open(prompts, "w", encoding="utf-8") as file:
                for word in ("lived", "said", "went"):
                    file.write('{"prompt": "%s %s"}\n' % (PROMPT, word))
            out, other = os.path.join(folder, "a"), os.path.join(folder, "b")
            shared = ["batch", "--in", prompts, "--sessions", 1, "--tokens", 4, "--mode", "ar"]
            self.ok(*shared, "--out", out)
            self.ok(*shared, "--out", other, "--no-prefix-reuse")
            with open(out, encoding="utf-8") as a, open(other, encoding="utf-8") as b:
                a, b = a.read(), b.read()
            self.assertRegex(a, r'"prompt_tokens_reused": [1-9]')
            self.assertNotRegex(b, r'"prompt_tokens_reused": [1-9]')


if __name__ == "__main__":
    unittest.main()
