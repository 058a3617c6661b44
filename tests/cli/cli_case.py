"""Running the built `hsd` from tests: the program is $HSD, the source tree $HSD_ROOT."""
import json
import os
import signal
import subprocess
import tempfile
import unittest

HSD = os.environ["HSD"]
ROOT = os.environ["HSD_ROOT"]
TARGET = os.path.join(ROOT, "models", "hsd-story-target.gguf")
DRAFT = os.path.join(ROOT, "models", "hsd-story-draft.gguf")
OTHER = os.path.join(ROOT, "tests", "reference", "fixtures", "gpt2.gguf")  # another vocabulary
PROMPT = "Once upon a time there was a little girl who"
TIMEOUT_S = 240  # generous: sanitizers and busy machines
TRIES = 20  # of what a busy machine may keep from happening


def hsd(*args, **kwargs):
    """Run `hsd args...` to its end; text mode, both streams captured."""
    kwargs.setdefault("stdout", subprocess.PIPE)
    kwargs.setdefault("stdin", None if "input" in kwargs else subprocess.DEVNULL)
    if kwargs["stdin"] is None:
        del kwargs["stdin"]
    return subprocess.run([HSD, *map(str, args)], stderr=subprocess.PIPE, text=True,
                          timeout=TIMEOUT_S, check=False, **kwargs)


class Worker:
    """`hsd worker` on an ipc:// endpoint of its own, ready when the block begins."""

    def __init__(self, *args, endpoint=None, program=(HSD,)):
        self.folder = tempfile.TemporaryDirectory(prefix="hsd-")
        self.endpoint = endpoint or f"ipc://{self.folder.name}/worker"
        self.args = args
        self.program = program

    def __enter__(self):
        read_end, write_end = os.pipe()
        self.process = subprocess.Popen(
            [*self.program, "worker", "--listen", self.endpoint, "--ready-fd", str(write_end), *self.args],
            stderr=subprocess.PIPE, text=True, pass_fds=[write_end])
        os.close(write_end)
        with os.fdopen(read_end) as pipe:
            self.ready = pipe.read()
        if self.ready != "ready\n":
            raise RuntimeError(f"the worker did not start: {self.stop(signal.SIGKILL)}")
        return self

    def stop(self, number=signal.SIGTERM):
        """Send a signal, wait; (exit code, stderr)."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        _, said = self.process.communicate(timeout=TIMEOUT_S)
        return self.process.returncode, said

    def __exit__(self, *exc):
        if self.process.poll() is None:
            self.stop(signal.SIGKILL)
        self.process.stderr.close()
        self.folder.cleanup()


class CliCase(unittest.TestCase):
    maxDiff = None

    def ok(self, *args, **kwargs):
        """Run, expect exit code 0, return stdout."""
        done = hsd(*args, **kwargs)
        self.assertEqual(done.returncode, 0, f"hsd {args}\nstderr: {done.stderr}")
        return done.stdout

    def json(self, *args, **kwargs):
        return json.loads(self.ok(*args, "--json", **kwargs))

    def helped(self, expected, *args):
        """A run with workers, the expected tokens and help from all of them. On a busy machine a
        worker may be late or not answer in time, so that this takes some runs."""
        for _ in range(TRIES):
            done = hsd(*args, "--json")
            self.assertEqual(done.returncode, 0, f"hsd {args}\nstderr: {done.stderr}")
            got = json.loads(done.stdout)
            self.assertEqual(got["tokens"], expected)
            if not done.stderr and got["stats"]["accepted"] > 0 and \
                    got["stats"]["workers_lost"] == 0:
                return got
        self.fail(f"hsd {args}: no help in {TRIES} runs\n{got['stats']}\nstderr: {done.stderr}")

    def usage_error(self, *args):
        """Run, expect exit code 2 and nothing on stdout, return stderr."""
        done = hsd(*args)
        self.assertEqual(done.returncode, 2, f"hsd {args}\nstderr: {done.stderr}")
        self.assertEqual(done.stdout, "")
        return done.stderr

    def failure(self, *args, **kwargs):
        """Run, expect exit code 1 and one error line, return that line."""
        done = hsd(*args, **kwargs)
        self.assertEqual(done.returncode, 1, f"hsd {args}\nstderr: {done.stderr}")
        errors = [line for line in done.stderr.splitlines() if " warning: " not in line]
        self.assertEqual(len(errors), 1, done.stderr)
        self.assertRegex(errors[0], r"^hsd: .+ \(E[A-Z]+(, (byte|line) \d+)?(, column \d+)?\)$")
        return errors[0]
