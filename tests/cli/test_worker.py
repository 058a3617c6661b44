#!/usr/bin/env python3
"""Proves: a draft in a process of its own (`hsd worker`, ipc://) changes no token, greedy or
        sampled, alive, killed, stopped, absent or of another vocabulary; a worker serves one
        engine after the other and ends cleanly on SIGTERM and SIGINT. Its caches have the layout,
        type, length and limit that it is told; what does not fit is refused, at its start or for as
        long as a session needs too much, and an engine goes on without it.
Does not prove: keys (test_keys.py); damaged messages (tests/pipelines, tests/fuzz).
"""
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import unittest

from cli_case import HSD, OTHER, PROMPT, ROOT, TARGET, TIMEOUT_S, CliCase, Worker, hsd

# An adapting window may pause, and then nothing is asked of a worker.
ARGS = ["run", "--prompt", PROMPT, "--ignore-eos", "--window", "4"]


class WorkerProcess(CliCase):
    def expected(self, *args):
        return self.json(*ARGS, "--mode", "ar", *args)["tokens"]

    def test_mirror_with_a_worker_equals_ar(self):
        with Worker() as worker:
            for sampling in [[], ["--temp", 0.8, "--seed", 5]]:
                got = self.helped(self.expected("--tokens", 64, *sampling), *ARGS, "--tokens", 64,
                                  "--mode", "mirror", "--worker", worker.endpoint, *sampling)
                self.assertEqual(got["stats"]["mode"], "mirror")

    def test_serial_with_a_worker_equals_ar(self):
        with Worker() as worker:
            got = self.json(*ARGS, "--tokens", 48, "--mode", "serial", "--worker", worker.endpoint)
            self.assertEqual(got["tokens"], self.expected("--tokens", 48))

    def test_a_worker_on_the_loopback_address_equals_ar(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            endpoint = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        with Worker(endpoint=endpoint) as worker:
            self.helped(self.expected("--tokens", 32), *ARGS, "--tokens", 32, "--mode", "mirror",
                        "--worker", worker.endpoint)

    def test_workers_on_other_devices_equal_ar(self):
        accelerators = [item["id"] for item in self.json("devices")["devices"][1:]
                        if not item["unusable"]][:1]
        for device in ["cpu:0"] + accelerators:
            with Worker("--device", device) as worker:
                self.helped(self.expected("--tokens", 32), *ARGS, "--tokens", 32, "--mode",
                            "mirror", "--worker", worker.endpoint)
        line = self.failure("worker", "--listen", "ipc:///nowhere", "--device", "gpu")
        self.assertIn("device: \"gpu\" is none of", line)

    def test_two_workers_equal_ar(self):
        with Worker("--threads", "1") as one, Worker("--threads", "1") as two:
            got = self.json(*ARGS, "--tokens", 48, "--mode", "mirror", "--worker", one.endpoint,
                            "--worker", two.endpoint)
            self.assertEqual(got["tokens"], self.expected("--tokens", 48))

    def broken_run(self, number):
        """Tokens of a run whose worker gets a signal after the first text."""
        with Worker() as worker, subprocess.Popen(
                [HSD, *ARGS, "--tokens", "200", "--mode", "mirror", "--worker", worker.endpoint],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            first = process.stdout.read(1)
            worker.process.send_signal(number)
            rest = process.stdout.read()  # not communicate(), which would lose what is buffered
            self.assertEqual(process.wait(timeout=TIMEOUT_S), 0, process.stderr.read())
        return first + rest

    def test_a_killed_worker_costs_no_token(self):
        self.assertEqual(self.broken_run(signal.SIGKILL),
                         self.ok(*ARGS, "--tokens", 200, "--mode", "ar"))

    def test_a_stalled_worker_costs_no_token(self):
        self.assertEqual(self.broken_run(signal.SIGSTOP),
                         self.ok(*ARGS, "--tokens", 200, "--mode", "ar"))

    def test_an_absent_worker_costs_no_token_or_is_reported(self):
        with tempfile.TemporaryDirectory() as folder:
            done = hsd(*ARGS, "--tokens", 24, "--mode", "mirror", "--json", "--worker",
                       f"ipc://{folder}/nobody")
        if done.returncode == 0:
            self.assertEqual(json.loads(done.stdout)["tokens"], self.expected("--tokens", 24))
        else:
            self.assertEqual(done.returncode, 1)
            self.assertIn("nobody", done.stderr)

    def test_a_worker_of_another_vocabulary_is_refused_with_the_first_differing_token(self):
        with Worker("--draft", OTHER) as worker:
            line = self.failure(*ARGS, "--tokens", 24, "--mode", "mirror", "--worker",
                                worker.endpoint)
        self.assertIn("(EVOCAB", line)
        self.assertRegex(line, r'token \d+ is ".*" in the target and ".*" in the draft')
        local = self.failure("run", "--target", TARGET, "--draft", OTHER, "--prompt", "x")
        differing = re.search(r"token (\d+) is", local).group(1)
        self.assertIn(f"token {differing} is", line)

    def test_a_worker_serves_one_engine_after_the_other(self):
        expected = self.expected("--tokens", 16)
        with Worker() as worker:
            for _ in range(3):
                self.helped(expected, *ARGS, "--tokens", 16, "--mode", "mirror", "--worker",
                            worker.endpoint)

    def test_a_worker_ends_cleanly_on_signals(self):
        for number in [signal.SIGTERM, signal.SIGINT]:
            with Worker() as worker:
                code, said = worker.stop(number)
                self.assertEqual(code, 0, said)
                self.assertIn(f"hsd: listening on {worker.endpoint}\n", said)

    def test_caches_of_a_worker_change_no_token(self):
        expected = self.expected("--tokens", 32)
        for caches in (["--cache", "el"], ["--cache", "kv", "--cache-type", "f16"],
                       ["--cache", "el", "--cache-type", "q8_0"], ["--cache-memory", "64MiB"],
                       ["--ctx", 40]):
            with Worker(*map(str, caches)) as worker:
                self.helped(expected, *ARGS, "--tokens", 32, "--mode", "mirror", "--worker", worker.endpoint)

    def test_auto_of_a_worker_makes_caches_as_small_as_its_memory_wants(self):
        small, plain = "0.7MiB", ["--listen", "ipc:///nowhere/x", "--ctx", 256]
        line = self.failure("worker", *plain, "--cache", "kv", "--cache-memory", small)
        self.assertRegex(line, r"cache_memory: a context of 256 takes .* would fit \(ENOMEM\)")
        with Worker("--ctx", "256", "--cache-memory", small, "--verbose") as worker:
            code, said = worker.stop()
        self.assertEqual(code, 0)
        self.assertRegex(said, r"[1-9]\d* of \d+ layers cache their input")
        self.assertIn("(ENOMEM)", self.failure("worker", *plain, "--cache-memory", "10kB"))

    def test_a_worker_refuses_a_session_that_needs_too_much_and_the_engine_goes_on(self):
        with Worker("--cache-memory", "2.6MiB", "--cache", "kv", "--verbose") as worker:
            wide = self.json("run", "--prompt", PROMPT, "--ignore-eos", "--tokens", 24, "--mode", "mirror", "--window", 16,
                             "--roots", 64, "--worker", worker.endpoint)
            self.assertEqual(wide["tokens"], self.expected("--tokens", 24))
            self.assertEqual(wide["stats"]["accepted"], 0)
            self.helped(self.expected("--tokens", 24), *ARGS, "--roots", 4, "--tokens", 24, "--mode", "mirror", "--worker",
                        worker.endpoint)  # a smaller one fits, and nothing is left of the other
            _, said = worker.stop()
        self.assertRegex(said, r"a text of 512 tokens needs .* MiB of caches, and of 2\.60 MiB 0\.00 are promised")

    def test_wrong_caches_of_a_worker_are_refused_like_those_of_a_run(self):
        here = ["worker", "--listen", "ipc:///nowhere/x"]
        self.assertIn("--cache: 'x' is none of auto, kv, el", self.usage_error(*here, "--cache", "x"))
        self.assertIn("--cache-type", self.usage_error(*here, "--cache-type", "q4"))
        for size in ("12x", "-3MiB", ""):
            self.assertIn("--cache-memory", self.usage_error(*here, "--cache-memory", size))
        self.assertIn("--ctx", self.usage_error(*here, "--ctx", "1"))
        rotary = os.path.join(ROOT, "tests", "reference", "fixtures", "llama-gqa.gguf")
        self.assertRegex(self.failure(*here, "--draft", rotary, "--cache", "el"), r"rotary positions.*\(EUNSUPPORTED\)")

    def test_bad_endpoints_and_files_are_named(self):
        self.assertIn("nonsense", self.failure("worker", "--listen", "nonsense"))
        line = self.failure("worker", "--listen", "ipc:///no/such/folder/socket")
        self.assertIn("ipc:///no/such/folder/socket", line)
        with tempfile.TemporaryDirectory() as folder:
            endpoint = f"ipc://{folder}/w"
            line = self.failure("worker", "--listen", endpoint, "--draft", "/no/such.gguf")
            self.assertIn("/no/such.gguf", line)
            self.assertFalse(os.path.exists(os.path.join(folder, "w")))


if __name__ == "__main__":
    unittest.main()
