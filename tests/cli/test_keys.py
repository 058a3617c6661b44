#!/usr/bin/env python3
"""Proves: `hsd keygen` makes private files and overwrites nothing; a worker with keys on tcp://
        serves who is on its list, with the tokens of mode ar; a stranger, one without a key and
        one that expects another worker cost no token and are told why; other hosts are refused
        without keys, and what is wrong with a key file is named with its line.
Does not prove: what happens between hosts when the cable is pulled (tests/engine/test_hosts.c).
"""
import os
import shutil
import socket
import stat
import tempfile
import unittest

from cli_case import PROMPT, CliCase, Worker, hsd

ARGS = ["run", "--prompt", PROMPT, "--ignore-eos", "--tokens", 40, "--window", 4]


def free_endpoint():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{free.getsockname()[1]}"


class KeyCase(CliCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="hsd-keys-")
        self.addCleanup(shutil.rmtree, self.folder)

    def path(self, name):
        return os.path.join(self.folder, name)

    def read(self, name):
        with open(self.path(name), encoding="ascii") as file:
            return file.read()

    def write(self, name, text, mode=0o600):
        with open(self.path(name), "w", encoding="ascii") as file:
            file.write(text)
        os.chmod(self.path(name), mode)
        return self.path(name)

    def keygen(self, *names):
        for name in names:
            self.ok("keygen", self.path(name))


class Keygen(KeyCase):
    def test_it_makes_a_private_and_a_public_file(self):
        said = self.ok("keygen", self.path("gpu"))
        self.assertIn("gpu.key  secret", said)
        self.assertEqual(stat.S_IMODE(os.stat(self.path("gpu.key")).st_mode), 0o600)
        key, name = self.read("gpu.pub").split()
        self.assertEqual((len(key), name), (40, "gpu"))
        self.assertIn(f"public {key}\n", self.read("gpu.key"))
        self.assertRegex(self.read("gpu.key"), r"\nsecret \S{40}\n")

    def test_it_overwrites_nothing_and_makes_no_pair_twice(self):
        self.keygen("gpu", "other")
        self.assertNotEqual(self.read("gpu.pub").split()[0], self.read("other.pub").split()[0])
        before = self.read("gpu.key"), self.read("gpu.pub")
        self.assertIn("gpu.pub: cannot be made", self.failure("keygen", self.path("gpu")))
        self.assertEqual((self.read("gpu.key"), self.read("gpu.pub")), before)

    def test_wrong_names_and_usage_are_errors(self):
        self.assertIn("(EINVAL)", self.failure("keygen", self.path("a b")))
        self.assertIn("no/such", self.failure("keygen", "/no/such/folder"))
        self.assertIn("is missing", self.usage_error("keygen"))
        self.assertIn("more than one", self.usage_error("keygen", "a", "b"))


class Keys(KeyCase):
    def setUp(self):
        super().setUp()
        self.keygen("gpu", "alice", "stranger")
        self.write("clients", "# who may\n" + self.read("alice.pub"))

    def worker(self, endpoint):
        return Worker("--key", self.path("gpu.key"), "--clients", self.path("clients"),
                      endpoint=endpoint)

    def run_with(self, worker, own, its_key):
        """The finished `hsd run --json` with these key files; None: without."""
        keys = ["--worker-key", self.path(its_key)] if its_key else []
        keys += ["--key", self.path(own)] if own else []
        return hsd(*ARGS, "--mode", "mirror", "--json", "--worker", worker.endpoint, *keys)

    def test_who_is_listed_gets_the_tokens_of_mode_ar_with_help(self):
        with self.worker(free_endpoint()) as worker:
            for sampling in [[], ["--temp", 0.8, "--seed", 5]]:
                expected = self.json(*ARGS, "--mode", "ar", *sampling)["tokens"]
                self.helped(expected, *ARGS, "--mode", "mirror", "--worker", worker.endpoint,
                            "--worker-key", self.path("gpu.pub"), "--key", self.path("alice.key"),
                            *sampling)

    def test_who_is_not_listed_is_told_why_and_loses_no_token(self):
        expected = self.json(*ARGS, "--mode", "ar")
        with self.worker(free_endpoint()) as worker:
            for own, its_key, why in [("stranger.key", "gpu.pub", "it refused our key"),
                                      (None, None, "asks for a key"),
                                      ("alice.key", "stranger.pub", "is not its own")]:
                done = self.run_with(worker, own, its_key)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn(why, done.stderr)
                self.assertIn('"drafted": 0', done.stdout)
                self.assertIn(str(expected["tokens"]), done.stdout)
            code, said = worker.stop()
            self.assertEqual(code, 0, said)
            stranger = self.read("stranger.pub").split()[0]
            self.assertIn(f"with key {stranger}: it is not on the list of clients", said)

    def test_two_workers_have_keys_of_their_own(self):
        self.keygen("npu")
        with self.worker(free_endpoint()) as one, Worker(
                "--key", self.path("npu.key"), "--clients", self.path("clients"),
                endpoint=free_endpoint()) as two:
            self.helped(self.json(*ARGS, "--mode", "ar")["tokens"], *ARGS, "--mode", "mirror",
                        "--key", self.path("alice.key"), "--worker", one.endpoint, "--worker-key",
                        self.path("gpu.pub"), "--worker", two.endpoint, "--worker-key",
                        self.path("npu.pub"))

    def test_every_address_may_be_listened_on_with_keys(self):
        port = free_endpoint().rsplit(":", 1)[1]
        with self.worker(f"tcp://*:{port}") as worker:
            self.helped(self.json(*ARGS, "--mode", "ar")["tokens"], *ARGS, "--mode", "mirror",
                        "--worker", f"tcp://127.0.0.1:{port}", "--worker-key",
                        self.path("gpu.pub"), "--key", self.path("alice.key"))

    def test_other_hosts_are_refused_without_keys(self):
        for endpoint in ["tcp://0.0.0.0:5555", "tcp://*:5555", "tcp://[::]:5555"]:
            line = self.failure("worker", "--listen", endpoint)
            self.assertIn("hsd keygen", line)
            self.assertIn("(EINVAL)", line)
        for keys in [[], ["--key", self.path("alice.key")]]:
            line = self.failure(*ARGS, "--worker", "tcp://192.0.2.1:5555", *keys)
            self.assertIn("hsd keygen", line)
        line = self.failure(*ARGS, "--worker", "tcp://192.0.2.1:5555", "--worker-key",
                            self.path("gpu.pub"))
        self.assertIn("a key of our own is needed", line)

    def test_bad_key_files_are_named_with_line_and_reason(self):
        good = self.read("alice.key")
        public, secret = good.splitlines(keepends=True)[1:]
        for text, place, why in [
                (public + secret[:20], "(EFORMAT, line 2)", "this word has 13"),
                (public, "(EFORMAT, line 1)", "was cut"),
                (public + secret.upper(), "(EFORMAT, line 2)", "`public KEY' or `secret KEY'"),
                (self.read("gpu.pub"), "(EFORMAT, line 1)", "this is a public key"),
                ("", "(EFORMAT", "missing")]:
            line = self.failure(*ARGS, "--key", self.write("bad.key", text))
            self.assertIn("bad.key: ", line)
            self.assertIn(place, line)
            self.assertIn(why, line)
            self.assertNotIn(secret.split()[1][:8], line)
        line = self.failure(*ARGS, "--key", self.write("open.key", good, 0o644))
        self.assertIn("chmod 600", line)
        self.assertIn("a folder", self.failure(*ARGS, "--key", self.folder))
        self.assertIn("/no/such.key", self.failure(*ARGS, "--key", "/no/such.key"))
        line = self.failure("worker", "--listen", "tcp://*:5555", "--key", self.path("gpu.key"),
                            "--clients", self.write("list", self.read("alice.pub") + "bob\n"))
        self.assertIn("(EFORMAT, line 2)", line)

    def test_options_that_belong_together_are_asked_for(self):
        said = self.usage_error("worker", "--listen", "tcp://*:5555", "--key", "gpu.key")
        self.assertIn("--key and --clients go together", said)
        for args in [["--worker-key", "x", "--worker", "ipc://y"],
                     ["--worker", "ipc://y", "--worker-key", "x", "--worker-key", "z"]]:
            self.assertIn("--worker-key:", self.usage_error(*ARGS, *args))


if __name__ == "__main__":
    unittest.main()
