"""Running `hsd batch` from tests, with bytes: a file of prompts, a file of results."""
import json
import os
import subprocess
import tempfile

from cli_case import HSD, TIMEOUT_S, CliCase


def line_of(value):
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


def lines_of(values):
    return b"".join(line_of(value) for value in values)


class BatchCase(CliCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="hsd-batch-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.input = os.path.join(self.folder, "prompts.jsonl")
        self.output = os.path.join(self.folder, "results.jsonl")

    def write_input(self, text):
        with open(self.input, "wb") as file:
            file.write(text)

    def write_output(self, text):
        with open(self.output, "wb") as file:
            file.write(text)

    def read_output(self):
        with open(self.output, "rb") as file:
            return file.read()

    def batch(self, *args, **kwargs):
        """Run `hsd batch args...` to its end; both streams are bytes."""
        kwargs.setdefault("stdout", subprocess.PIPE)
        if "input" not in kwargs:
            kwargs.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run([HSD, "batch", *map(str, args)], stderr=subprocess.PIPE,
                              timeout=TIMEOUT_S, check=False, **kwargs)

    def text(self, lines, *args):
        """Results of a run that must succeed, as bytes."""
        done = self.batch(*args, input=lines)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def results(self, lines, *args):
        return [json.loads(line) for line in self.text(lines, *args).splitlines()]
