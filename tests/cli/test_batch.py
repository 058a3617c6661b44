#!/usr/bin/env python3
"""Proves: `hsd batch` gives every line the tokens of `hsd run`, in the order of the input; bad
        lines have a result that says where and why; files of any bytes are defined; a full disk,
        a closed pipe and an interrupt end it cleanly.
Does not prove: what is left after a kill (test_batch_resume.py), nor any speed.
"""
import json
import os
import pty
import resource
import signal
import subprocess
import tempfile
import time
import unittest

from batch_case import BatchCase, line_of, lines_of
from cli_case import HSD, PROMPT, ROOT, TIMEOUT_S, hsd

LLAMA = os.path.join(ROOT, "tests", "reference", "fixtures", "llama-f16.gguf")
LINES = [
    {"id": "plain", "prompt": PROMPT},
    {"id": "short", "prompt": "The old man", "tokens": 3},
    {"id": "warm", "prompt": PROMPT, "temp": 0.8, "seed": 11, "tokens": 30},
    {"id": "rules", "prompt": PROMPT, "temp": 0.9, "top_k": 40, "top_p": 0.9, "min_p": 0.02,
     "seed": 3},
    {"id": 5, "prompt": "Größe — 中文 🙂", "ignore_eos": True},
    {"id": 6, "prompt": "The sea", "mode": "mirror", "window": 5, "roots": 3, "exit": 2},
    {"id": 7, "prompt": "The sea", "mode": "serial", "draft_kind": "ngram"},
    {"id": 8, "prompt": PROMPT, "repeat_penalty": 1.3, "repeat_last_n": -1, "no_repeat_ngram": 3},
    {"prompt": "a\u0000b"},
    {"prompt": ""},
    {"id": -9, "prompt": "A king", "seed": 2 ** 63 - 1, "temp": 1},
]


def run_args(line):
    """The options of `hsd run` that a line of the input stands for."""
    args = []
    for key, value in line.items():
        if key not in ["id", "prompt"]:
            args += [f"--{key.replace('_', '-')}"] + ([] if value is True else [str(value)])
    return args


class Results(BatchCase):
    def test_every_line_has_the_tokens_and_the_text_of_run(self):
        for base in [["--tokens", 12], ["--tokens", 9, "--temp", 0.7, "--seed", 5]]:
            results = self.results(lines_of(LINES), *base, "--sessions", 3)
            self.assertEqual(len(results), len(LINES))
            for index, (line, got) in enumerate(zip(LINES, results)):
                done = subprocess.run(
                    [HSD, "run", "--json", *map(str, base), *run_args(line)],
                    input=line["prompt"].encode(), capture_output=True, timeout=TIMEOUT_S,
                    check=True)
                expected = json.loads(done.stdout)
                self.assertEqual(got["index"], index)
                self.assertEqual(got.get("id"), line.get("id"))
                for key in ["prompt_tokens", "tokens", "text"]:
                    self.assertEqual(got[key], expected[key], (base, line, key))
                self.assertEqual(set(got["stats"]), set(expected["stats"]))

    def test_another_kind_of_tokenizer_gives_the_text_of_run_too(self):
        prompts = ["abc", "hello world", "x"]
        results = self.results(lines_of([{"prompt": p} for p in prompts]), "--target", LLAMA,
                               "--tokens", 10)
        for prompt, got in zip(prompts, results):
            expected = self.json("run", "--prompt", prompt, "--target", LLAMA, "--tokens", 10)
            self.assertEqual([got["tokens"], got["text"]], [expected["tokens"], expected["text"]])

    def test_the_number_of_sessions_and_the_mode_change_nothing(self):
        lines = lines_of([{"id": i, "prompt": f"{PROMPT} {i}", "tokens": 1 + i % 7,
                           "temp": i % 3 * 0.4} for i in range(24)])
        texts = {self.text(lines, "--no-stats", "--sessions", n, "--mode", mode)
                 for n, mode in [(1, "ar"), (2, "mirror"), (7, "ar"), (4, "serial")]}
        self.assertEqual(len(texts), 1, texts)

    def test_files_and_standard_streams_are_the_same(self):
        lines = lines_of([{"prompt": "The old man"}, {"prompt": "The sea"}])
        piped = self.text(lines, "--no-stats", "--tokens", 5)
        self.write_input(lines)
        done = self.batch("--in", self.input, "--out", self.output, "--no-stats", "--tokens", 5)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.read_output(), piped)

    def test_finish_says_why_it_ended(self):
        chat = "### User:\nWhat is 12 plus 30?\n\n### Assistant:\n"
        lines = [{"prompt": PROMPT, "tokens": 4}, {"prompt": chat, "tokens": 200},
                 {"prompt": PROMPT, "tokens": 0, "ignore_eos": True}]
        results = self.results(lines_of(lines), "--ctx", 256)
        self.assertEqual([r["finish"] for r in results], ["length", "stop", "context"])
        self.assertLess(len(results[1]["tokens"]), 200)
        self.assertEqual(len(results[2]["prompt_tokens"]) + len(results[2]["tokens"]), 256)

    def test_one_line_at_the_end_when_stderr_is_no_terminal(self):
        done = self.batch("--tokens", 2, input=lines_of([{"prompt": "a"}, {"prompt": "b"}]))
        self.assertRegex(done.stderr.decode(), r"^hsd: 2 lines done, 0 of them failed, 0 kept from "
                         r"before; 4 tokens in [\d.]+ s, [\d.]+ tokens/s, 4 sessions\n$")

    def test_a_terminal_sees_how_far_it_is(self):
        self.write_input(lines_of([{"prompt": f"{PROMPT} {i}"} for i in range(40)]))
        leader, follower = pty.openpty()
        with subprocess.Popen([HSD, "batch", "--in", self.input, "--out", self.output, "--tokens",
                               "120", "--mode", "ar"], stderr=follower) as process:
            os.close(follower)
            said = b""
            try:
                while part := os.read(leader, 4096):
                    said += part
            except OSError:  # how Linux says that the other end is closed
                pass
            process.wait(TIMEOUT_S)
        os.close(leader)
        self.assertEqual(process.returncode, 0, said)
        self.assertRegex(said.decode(), r"\rhsd: \[#* *\] \d+/40, [\d.]+ tokens/s")
        self.assertRegex(said.decode(), r"hsd: 40 lines done, 0 of them failed")


class BadLines(BatchCase):
    def test_a_bad_line_has_a_result_that_says_where_and_why(self):
        bad = [
            (b"not json", None, "it is not JSON"),
            (b'{"prompt": "x"} y', None, "it is not JSON"),
            (b'{"prompt": "x"', None, "it is not JSON"),
            (b'{"prompt": "\xff\xfe"}', None, "it is not JSON"),
            (b'{"prompt": "a\x00b"}', None, "it is not JSON"),
            (b"\x00", None, "it is not JSON"),
            (b'{"prompt": "x", "prompt": "y"}', None, "it is not JSON"),
            (b'{"prompt": "x", "temp": 1e999}', None, "it is not JSON"),
            (b"[" * 100000, None, "it is not JSON"),
            (b'["x"]', None, "it is not a JSON object"),
            (b'"x"', None, "it is not a JSON object"),
            (b"{}", "prompt", "it is missing"),
            (b'{"prompt": 3}', "prompt", "it is not a text"),
            (b'{"prompt": null}', "prompt", "it is not a text"),
            (b'{"prompt": "x", "id": [1]}', "id", "neither a text nor a whole number"),
            (b'{"prompt": "x", "id": 1.5}', "id", "neither a text nor a whole number"),
            (b'{"prompt": "x", "tokens": -1}', "tokens", "-1 is not in 0..2147483647"),
            (b'{"prompt": "x", "tokens": 1.5}', "tokens", "it is not a whole number"),
            (b'{"prompt": "x", "temp": "hot"}', "temp", "it is not a number"),
            (b'{"prompt": "x", "temp": 101}', "temp", "101 is not in 0..100"),
            (b'{"prompt": "x", "top_k": 99999999999}', "top_k", "is not in 0..2147483647"),
            (b'{"prompt": "x", "top_p": 0}', "top_p", "0 is not in 1e-06..1"),
            (b'{"prompt": "x", "seed": -1}', "seed", "-1 is negative"),
            (b'{"prompt": "x", "ignore_eos": 1}', "ignore_eos", "neither true nor false"),
            (b'{"prompt": "x", "mode": "fast"}', "mode", "none of auto, ar, serial, mirror"),
            (b'{"prompt": "x", "draft_kind": 1}', "draft_kind", "none of auto, model"),
            (b'{"prompt": "x", "exit": 99}', "exit_layer", "99 is not between 1 and"),
            (b'{"prompt": "x", "tmep": 1}', "tmep", "there is no such field"),
            (('{"prompt": "x", "%s": 1}' % ("ü" * 100)).encode(), "ü" * 31, "no such field"),
            (json.dumps({"prompt": PROMPT * 500}).encode(), "prompt", "leave no room in a context"),
        ]
        good = b'{"prompt": "The sea", "tokens": 2}'
        text = b"\n".join(part for line, _, _ in bad for part in [good, b"", line]) + b"\n"
        done = self.batch(input=text)
        results = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr.decode(), rf"standard input: {len(bad)} bad lines, .* "
                         r"\(EFORMAT, line 3\)\n$")
        self.assertEqual(len(results), 2 * len(bad))
        for i, (line, field, message) in enumerate(bad):
            self.assertEqual(len(results[2 * i]["tokens"]), 2)
            error = results[2 * i + 1]["error"]
            self.assertEqual([error["line"], error["field"]], [3 * i + 3, field], line[:80])
            self.assertIn(message, error["message"], line[:80])
            self.assertNotIn("tokens", results[2 * i + 1])

    def test_a_failed_line_keeps_its_id(self):
        for line in ['{"id": "a", "temp": -1, "prompt": "x"}', '{"temp": -1, "id": "a"}']:
            done = self.batch(input=line.encode())
            self.assertEqual(json.loads(done.stdout)["id"], "a")

    def test_strict_stops_at_the_first_bad_line(self):
        lines = [{"prompt": f"number {i}", "tokens": 2} for i in range(30)]
        lines[17]["temp"] = "hot"
        done = self.batch("--strict", input=lines_of(lines))
        self.assertEqual(done.returncode, 1)
        self.assertEqual(len(done.stdout.splitlines()), 17)
        self.assertIn("hsd: standard input: temp: it is not a number (EFORMAT, line 18)\n",
                      done.stderr.decode())

    def test_options_that_no_session_can_have_are_refused_before_the_work(self):
        line = self.failure("batch", "--exit", 99, input="")
        self.assertIn("exit_layer", line)


class Files(BatchCase):
    def test_an_empty_file_has_no_results(self):
        for text in [b"", b"\n", b"\n \r\n\t\n"]:
            self.assertEqual(self.text(text), b"")
        self.write_input(b"")
        self.assertEqual(self.batch("--in", self.input, "--out", self.output).returncode, 0)
        self.assertEqual(self.read_output(), b"")

    def test_a_missing_last_newline_and_carriage_returns_change_nothing(self):
        lines = lines_of([{"prompt": "a", "tokens": 2}, {"prompt": "b", "tokens": 2}])
        texts = [[(r["index"], r["tokens"]) for r in self.results(text)]
                 for text in [lines, lines[:-1], lines.replace(b"\n", b"\r\n")]]
        self.assertEqual(texts[1:], texts[:1] * 2)

    def test_lines_of_many_mib_are_read_or_refused_and_the_next_line_is_found(self):
        good = line_of({"prompt": "The sea", "tokens": 2})
        for size, message in [(3 << 20, "leave no room"), (17 << 20, "it is longer than 16 MiB")]:
            huge = b'{"prompt": "' + b"ab " * (size // 3) + b'"}\n'
            done = self.batch(input=good + huge + good)
            results = [json.loads(line) for line in done.stdout.splitlines()]
            self.assertEqual(done.returncode, 1)
            self.assertIn(message, results[1]["error"]["message"])
            self.assertEqual(results[0]["tokens"], results[2]["tokens"])

    def test_a_missing_input_and_folders_are_refused(self):
        self.assertIn("/no/such.jsonl: cannot open", self.failure("batch", "--in", "/no/such.jsonl"))
        self.assertIn("cannot open", self.failure("batch", "--out", "/no/such/out", input=""))
        self.assertIn("cannot open", self.failure("batch", "--out", self.folder, input=""))
        done = self.batch("--in", self.folder)
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot read: Is a directory (EIO)", done.stderr.decode())

    def test_input_and_results_may_not_be_one_file(self):
        self.write_input(lines_of([{"prompt": "a"}]))
        line = self.failure("batch", "--in", self.input, "--out", self.input)
        self.assertIn("same file (EINVAL)", line)
        with open(self.input, "rb") as file:
            self.assertEqual(file.read(), lines_of([{"prompt": "a"}]))


class Ends(BatchCase):
    LINES = lines_of([{"prompt": f"{PROMPT} {i}", "tokens": 40} for i in range(12)])

    def test_a_full_disk_is_reported(self):
        with open("/dev/full", "wb") as full:
            done = self.batch(input=self.LINES, stdout=full)
        self.assertEqual(done.returncode, 1)
        self.assertIn("hsd: standard output: cannot write: No space left on device (EIO)\n",
                      done.stderr.decode())
        done = self.batch("--out", "/dev/full", input=self.LINES)
        self.assertEqual(done.returncode, 1)
        self.assertIn("hsd: /dev/full: cannot write: No space left", done.stderr.decode())

    def test_a_disk_that_fills_up_leaves_whole_lines_and_the_rest_follows_later(self):
        whole = self.text(self.LINES, "--no-stats")
        self.write_input(self.LINES)
        bound = len(whole) // 2

        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the bound fails instead
            resource.setrlimit(resource.RLIMIT_FSIZE, (bound, bound))

        args = ["--in", self.input, "--out", self.output, "--no-stats"]
        done = self.batch(*args, preexec_fn=limit)
        self.assertEqual(done.returncode, 1)
        self.assertIn("results.jsonl: cannot write: File too large (EIO)", done.stderr.decode())
        part = self.read_output()
        self.assertTrue(whole.startswith(part))
        self.assertTrue(part.endswith(b"\n"))
        self.assertGreater(len(part), bound // 2)
        self.assertEqual(self.batch(*args).returncode, 0)
        self.assertEqual(self.read_output(), whole)

    def test_a_closed_pipe_is_reported(self):
        read_end, write_end = os.pipe()
        os.close(read_end)
        with os.fdopen(write_end, "wb") as closed:
            done = self.batch(input=self.LINES, stdout=closed)
        self.assertEqual(done.returncode, 1)
        self.assertIn("hsd: standard output: cannot write: Broken pipe (EIO)\n",
                      done.stderr.decode())

    def test_a_pipe_closed_in_the_middle_is_reported(self):
        self.write_input(self.LINES * 20)
        with subprocess.Popen([HSD, "batch", "--in", self.input], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as process:
            first = process.stdout.readline()
            process.stdout.close()
            said = process.stderr.read()
            process.wait(TIMEOUT_S)
        self.assertEqual(json.loads(first)["index"], 0)
        self.assertEqual(process.returncode, 1)
        self.assertIn(b"Broken pipe (EIO)", said)

    def test_an_interrupt_ends_with_130_also_while_a_pipe_is_silent(self):
        for text in [b"", line_of({"prompt": PROMPT, "tokens": 0, "ignore_eos": True})]:
            with subprocess.Popen([HSD, "batch"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE) as process:
                process.stdin.write(text + line_of({"prompt": "a", "tokens": 1}) * (not text))
                process.stdin.flush()
                if text:
                    time.sleep(0.3)  # long enough to be generating, or not: both must end
                else:
                    process.stdout.readline()
                process.send_signal(signal.SIGINT)
                said = process.stderr.read()
                process.wait(TIMEOUT_S)
                process.stdin.close()
            self.assertEqual(process.returncode, 130, said)

    def test_an_interrupt_ends_with_130_also_while_nobody_reads_the_results(self):
        lines = lines_of([{"prompt": PROMPT, "tokens": 60}] * 300)  # more than a pipe holds
        self.write_input(lines)
        with subprocess.Popen([HSD, "batch", "--in", self.input, "--mode", "ar"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            process.stdout.read(1)
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            said = process.stderr.read()
            process.wait(TIMEOUT_S)
        self.assertEqual(process.returncode, 130, said)

    def test_wrong_usage_is_named(self):
        self.assertIn("--sessions:", self.usage_error("batch", "--sessions", "0"))
        self.assertIn("--sessions:", self.usage_error("batch", "--sessions", "257"))
        self.assertIn("--in and --out", self.usage_error("batch", "prompts.jsonl"))
        leader, follower = os.openpty()
        try:
            done = hsd("batch", stdin=follower, stdout=subprocess.PIPE)
        finally:
            os.close(leader)
            os.close(follower)
        self.assertEqual(done.returncode, 2)
        self.assertIn("prompts are missing", done.stderr)

    def test_the_example_works(self):
        example = os.path.join(ROOT, "examples", "prompts.jsonl")
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "results.jsonl")
            self.ok("batch", "--in", example, "--out", out, "--tokens", 8)
            with open(example, "rb") as prompts, open(out, "rb") as results:
                self.assertEqual(len(prompts.readlines()), len(results.readlines()))


if __name__ == "__main__":
    unittest.main()
