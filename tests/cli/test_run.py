#!/usr/bin/env python3
"""Proves: `hsd run` streams, reads prompts from everywhere, prints the promised JSON, makes the
        same tokens in every mode, and reports failures with exit code 1 and one line.
Does not prove: equality over many settings (tests/pipelines and tests/engine draw hundreds).
"""
import json
import os
import signal
import subprocess
import tempfile
import time
import unittest

from cli_case import DRAFT, HSD, OTHER, PROMPT, TARGET, TIMEOUT_S, CliCase, hsd

STATS = {
    "mode": str, "draft_kind": str, "prompt_tokens_reused": int, "n_tokens": int, "steps": int, "drafted": int,
    "accepted": int, "hits": int, "misses": int, "own_hits": int, "proxy_hits": int,
    "carried": int, "paused": int, "tree": int, "late": int,
    "workers_lost": int, "replans": int, "prefill_s": float, "decode_s": float,
    "tokens_per_s": float,
    "cache_bytes": int, "cache_token_bytes": int, "el_layers": int, "wait_s": float, "step_overhead_us": float, "window": int, "roots": int, "exit_layer": int,
    "threads": int, "draft_threads": int, "tokens_per_step": float,
}


class Output(CliCase):
    def test_json_is_one_object_of_the_promised_shape(self):
        result = self.json("run", "--prompt", PROMPT, "--tokens", 20)
        self.assertEqual(set(result), {"prompt_tokens", "tokens", "text", "stats"})
        self.assertEqual({key: type(value) for key, value in result["stats"].items()}, STATS)
        self.assertTrue(all(isinstance(token, int) for token in result["tokens"]))
        self.assertGreater(len(result["prompt_tokens"]), 0)
        self.assertLessEqual(len(result["tokens"]), 20)
        self.assertEqual(len(result["tokens"]), result["stats"]["n_tokens"])

    def test_the_streamed_text_is_the_text_of_the_json_and_a_newline(self):
        text = self.ok("run", "--prompt", PROMPT, "--tokens", 20)
        result = self.json("run", "--prompt", PROMPT, "--tokens", 20)
        self.assertEqual(text.removesuffix("\n"), result["text"].removesuffix("\n"))
        self.assertTrue(text.endswith("\n"))

    def test_stdout_has_nothing_but_text_and_stderr_is_silent(self):
        done = hsd("run", "--prompt", PROMPT, "--tokens", 8)
        self.assertEqual(done.stderr, "")

    def test_verbose_prints_statistics_on_stderr(self):
        done = hsd("run", "--prompt", PROMPT, "--tokens", 8, "--verbose", "--mode", "mirror")
        self.assertRegex(done.stderr, r"hsd: \d+ tokens in .* tokens/s; mode mirror")

    def test_tokens_come_one_by_one(self):
        with subprocess.Popen([HSD, "run", "--prompt", PROMPT, "--tokens", "0", "--ignore-eos"],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            self.assertNotEqual(process.stdout.read(4), b"")
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=TIMEOUT_S)


class Prompts(CliCase):
    def test_prompt_option_file_and_stdin_are_the_same(self):
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
            file.write(PROMPT)
            file.flush()
            texts = {
                self.ok("run", "--prompt", PROMPT, "--tokens", 8),
                self.ok("run", "--prompt-file", file.name, "--tokens", 8),
                self.ok("run", "--prompt-file", "-", "--tokens", 8, input=PROMPT),
                self.ok("run", "--tokens", 8, input=PROMPT),
            }
        self.assertEqual(len(texts), 1, texts)

    def test_any_bytes_are_a_prompt(self):
        for prompt in [b"\xff\xfe\x00 odd \xc3", "Größe — 中文 🙂".encode()]:
            done = subprocess.run([HSD, "run", "--json", "--tokens", "4"], input=prompt,
                                  capture_output=True, timeout=TIMEOUT_S, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(len(json.loads(done.stdout)["tokens"]), 4)


class Modes(CliCase):
    def test_every_mode_makes_the_targets_own_tokens(self):
        for sampling in [[], ["--temp", 0.8, "--seed", 11], ["--temp", 0.8, "--top-k", 40,
                                                             "--top-p", 0.95, "--seed", 3],
                         ["--repeat-penalty", 1.2, "--repeat-last-n", 20,
                          "--no-repeat-ngram", 3]]:
            expected = self.json("run", "--prompt", PROMPT, "--tokens", 48, "--mode", "ar",
                                 *sampling)
            self.assertEqual(expected["stats"]["mode"], "ar")
            for mode in ["auto", "serial", "mirror"]:
                got = self.json("run", "--prompt", PROMPT, "--tokens", 48, "--mode", mode,
                                *sampling)
                self.assertEqual(got["tokens"], expected["tokens"], (mode, sampling))
                self.assertEqual(got["text"], expected["text"])

    def test_every_cache_type_makes_the_targets_own_tokens(self):
        sizes = {}
        for cache in "f32", "f16", "q8_0":
            how = ["run", "--prompt", PROMPT, "--tokens", 24, "--ignore-eos", "--cache", "kv",
                   "--cache-type", cache, "--draft-cache-type", cache]
            want = self.json(*how, "--mode", "ar")
            sizes[cache] = want["stats"]["cache_token_bytes"]
            self.assertEqual(want["stats"]["cache_bytes"] % sizes[cache], 0)
            for mode in "serial", "mirror", "async":
                self.assertEqual(self.json(*how, "--mode", mode)["tokens"], want["tokens"], mode)
        self.assertEqual(sizes["f32"], 2 * sizes["f16"])
        self.assertEqual(sizes["f32"] * 34, 128 * sizes["q8_0"])

    def test_every_draft_kind_makes_the_targets_own_tokens(self):
        expected = self.json("run", "--prompt", PROMPT, "--tokens", 40, "--mode", "ar")["tokens"]
        for mode in ["serial", "mirror"]:
            for kind in ["model", "ngram", "early_exit"]:
                got = self.json("run", "--prompt", PROMPT, "--tokens", 40, "--mode", mode,
                                "--draft-kind", kind)
                self.assertEqual(got["tokens"], expected, (mode, kind))
                self.assertEqual(got["stats"]["draft_kind"], kind)

    def test_settings_are_in_force(self):
        stats = self.json("run", "--prompt", PROMPT, "--tokens", 24, "--mode", "mirror",
                          "--window", 3, "--roots", 5, "--exit", 2, "--threads", 1,
                          "--draft-threads", 1)["stats"]
        self.assertEqual([stats[key] for key in ["mode", "window", "roots", "exit_layer",
                                                 "threads", "draft_threads"]],
                         ["mirror", 3, 5, 2, 1, 1])

    def test_seeds_differ_at_temperature_and_repeat(self):
        texts = [self.json("run", "--prompt", PROMPT, "--tokens", 40, "--temp", 1, "--seed",
                           seed)["tokens"] for seed in [1, 2, 1]]
        self.assertNotEqual(texts[0], texts[1])
        self.assertEqual(texts[0], texts[2])

    def test_rules_on_the_text_are_in_force(self):
        got = self.json("run", "--prompt", PROMPT, "--tokens", 100, "--no-repeat-ngram", 2)
        text = got["prompt_tokens"] + got["tokens"]
        pairs = list(zip(text, text[1:]))
        first_new = len(got["prompt_tokens"]) - 1
        for i, pair in enumerate(pairs[first_new:], first_new):
            self.assertNotIn(pair, pairs[:i])
        plain = self.json("run", "--prompt", PROMPT, "--tokens", 100)["tokens"]
        self.assertLess(len(set(zip(plain, plain[1:]))), len(plain) - 1)
        for rule in [["--repeat-penalty", 1.5], ["--repeat-penalty", 1.5, "--repeat-last-n", -1]]:
            other = self.json("run", "--prompt", PROMPT, "--tokens", 100, *rule)["tokens"]
            self.assertNotEqual(other, plain)

    def test_a_cache_of_inputs_is_half_as_large_and_modes_agree(self):
        kv = self.json("run", "--prompt", PROMPT, "--tokens", 40, "--mode", "ar", "--cache", "kv")["stats"]
        el = self.json("run", "--prompt", PROMPT, "--tokens", 40, "--mode", "ar", "--cache", "el")
        self.assertEqual(kv["cache_bytes"], 2 * el["stats"]["cache_bytes"])
        self.assertEqual(kv["el_layers"], 0)
        self.assertGreater(el["stats"]["el_layers"], 0)
        for mode in ["serial", "mirror", "async"]:
            got = self.json("run", "--prompt", PROMPT, "--tokens", 40, "--mode", mode, "--cache",
                            "el", "--draft-cache", "el")
            self.assertEqual(got["tokens"], el["tokens"], mode)

    def test_a_bounded_memory_is_kept_or_refused_with_the_context_that_fits(self):
        bounded = self.json("run", "--prompt", PROMPT, "--tokens", 8, "--cache-memory", "6MiB")["stats"]
        self.assertLessEqual(bounded["cache_bytes"], 6 << 20)
        self.assertGreater(bounded["el_layers"], 0)
        small = ["--mode", "ar", "--cache-memory", "3MiB"]
        line = self.failure("run", "--prompt", PROMPT, *small)
        self.assertIn("cache_memory", line)
        self.assertIn("(ENOMEM)", line)
        fits = int(line.split(":")[-1].split("would fit")[0])
        got = self.json("run", "--prompt", PROMPT, "--tokens", 4, *small, "--ctx", fits)
        self.assertLessEqual(got["stats"]["cache_bytes"], 3 << 20)
        self.failure("run", "--prompt", PROMPT, *small, "--ctx", fits + 1)

    def test_the_pair_may_be_named(self):
        named = self.json("run", "--prompt", PROMPT, "--tokens", 16, "--target", TARGET,
                          "--draft", DRAFT, "--mode", "mirror")
        shipped = self.json("run", "--prompt", PROMPT, "--tokens", 16)
        self.assertEqual(named["tokens"], shipped["tokens"])

    def test_a_target_without_draft_still_speculates(self):
        expected = self.json("run", "--prompt", "abcabcabc", "--tokens", 24, "--target", OTHER,
                             "--mode", "ar")
        got = self.json("run", "--prompt", "abcabcabc", "--tokens", 24, "--target", OTHER,
                        "--mode", "serial")
        self.assertEqual(got["tokens"], expected["tokens"])
        self.assertEqual(got["stats"]["draft_kind"], "ngram")


class Failures(CliCase):
    def test_a_cache_of_inputs_is_refused_where_it_would_be_wrong(self):
        rotary = os.path.join(os.path.dirname(OTHER), "llama-gqa.gguf")
        line = self.failure("run", "--target", rotary, "--cache", "el", "--prompt", "x")
        self.assertIn("rotary", line)
        self.assertIn("(EUNSUPPORTED)", line)

    def test_a_layout_that_is_none_is_wrong_usage(self):
        for option in ["--cache", "--draft-cache"]:
            result = hsd("run", "--prompt", "x", option, "maybe")
            self.assertEqual(result.returncode, 2)
            self.assertIn("'maybe'", result.stderr)

    def test_a_missing_file_is_named(self):
        line = self.failure("run", "--target", "/no/such.gguf", "--prompt", "x")
        self.assertIn("/no/such.gguf", line)
        self.assertIn("(EIO)", line)
        line = self.failure("run", "--prompt-file", "/no/such.txt")
        self.assertIn("/no/such.txt", line)

    def test_a_draft_of_another_vocabulary_is_refused(self):
        line = self.failure("run", "--target", TARGET, "--draft", OTHER, "--prompt", "x")
        self.assertIn("(EVOCAB", line)

    def test_a_truncated_model_names_field_and_byte(self):
        with tempfile.TemporaryDirectory() as folder:
            for size in [100, 5000, 900000]:
                path = os.path.join(folder, f"cut{size}.gguf")
                with open(DRAFT, "rb") as whole, open(path, "wb") as cut:
                    cut.write(whole.read(size))
                line = self.failure("run", "--target", path, "--prompt", "x")
                self.assertRegex(line, r"\(EFORMAT, byte \d+\)$")

    def test_a_prompt_beyond_the_context_is_refused(self):
        line = self.failure("run", input=PROMPT * 5000)
        self.assertIn("(ETOOLONG", line)

    def test_a_full_disk_is_reported(self):
        for extra in [[], ["--json"]]:
            with open("/dev/full", "w", encoding="utf-8") as full:
                line = self.failure("run", "--prompt", PROMPT, "--tokens", 8, *extra, stdout=full)
            self.assertIn("standard output: No space left on device", line)

    def test_a_closed_pipe_is_reported(self):
        read_end, write_end = os.pipe()
        os.close(read_end)
        with os.fdopen(write_end, "w") as closed:
            line = self.failure("run", "--prompt", PROMPT, "--tokens", 8, stdout=closed)
        self.assertIn("standard output: Broken pipe", line)

    def test_an_interrupt_ends_with_130(self):
        for mode in ["ar", "mirror"]:
            with subprocess.Popen([HSD, "run", "--prompt", PROMPT, "--mode", mode, "--tokens",
                                   "0", "--ignore-eos"], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE) as process:
                process.stdout.read(1)
                process.send_signal(signal.SIGINT)
                begin = time.monotonic()
                _, said = process.communicate(timeout=TIMEOUT_S)
                self.assertLess(time.monotonic() - begin, 60)
            self.assertEqual(process.returncode, 130, said)


if __name__ == "__main__":
    unittest.main()
