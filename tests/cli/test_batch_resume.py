#!/usr/bin/env python3
"""Proves: `hsd batch` goes on where it was killed, interrupted or cut: the final file equals that
        of an undisturbed run, byte for byte; results of another input, of other settings or of
        something else are refused with file and line.
Does not prove: that a disk keeps what it was told to keep.

HSD_TEST_SEED sets the points of the kills.
"""
import json
import os
import random
import re
import signal
import subprocess
import time
import unittest

from batch_case import BatchCase, lines_of
from cli_case import HSD, PROMPT, TIMEOUT_S

N_LINES = 36
N_KILLS = 4
SEED = int(os.environ.get("HSD_TEST_SEED", "1"))
LINES = [{"id": i, "prompt": f"{PROMPT} {i}", "tokens": 3 + 3 * (i % 5), "temp": i % 3 * 0.5}
         for i in range(N_LINES)]
LINES[23] = {"id": 23, "text": "this line has no prompt"}
TEXT = lines_of(LINES)


class Resume(BatchCase):
    def setUp(self):
        super().setUp()
        self.write_input(TEXT)
        self.args = ["--in", self.input, "--out", self.output, "--no-stats", "--sessions", 3]

    @classmethod
    def setUpClass(cls):
        done = subprocess.run([HSD, "batch", "--no-stats"], input=TEXT, capture_output=True,
                              timeout=TIMEOUT_S, check=False)
        cls.whole = done.stdout
        cls.lines = cls.whole.splitlines(keepends=True)

    def finish(self, *args):
        """Go on to the end; the file must then be that of an undisturbed run. Lines kept."""
        done = self.batch(*self.args, *args)
        self.assertEqual(done.returncode, 1, done.stderr)  # line 24 is a bad one
        self.assertEqual(self.read_output(), self.whole)
        return int(re.search(rb"(\d+) kept from before", done.stderr).group(1))

    def refused(self, *args):
        """Refused, and nothing of the results is touched. Returns the line on stderr."""
        before = self.read_output()
        said = self.failure("batch", *self.args, *args)
        self.assertEqual(self.read_output(), before)
        return said

    def end_at(self, n_bytes, number):
        """Start, and send a signal once the results have n_bytes; the exit code."""
        with subprocess.Popen([HSD, "batch", *map(str, self.args)], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as process:
            while process.poll() is None:
                if os.path.exists(self.output) and os.path.getsize(self.output) >= n_bytes:
                    process.send_signal(number)
                    break
                time.sleep(0.0005)
            return process.wait(TIMEOUT_S)

    def test_the_undisturbed_run_has_a_result_per_line(self):
        self.assertEqual(len(self.lines), N_LINES)
        self.assertEqual([json.loads(line)["id"] for line in self.lines[:23]], list(range(23)))

    def test_kills_at_random_points_leave_a_prefix_and_the_end_is_the_same(self):
        draw = random.Random(SEED)
        points = sorted(draw.randrange(len(self.whole)) for _ in range(N_KILLS))
        n_killed = 0
        for point in points:
            n_killed += self.end_at(point, signal.SIGKILL) == -signal.SIGKILL
            left = self.read_output() if os.path.exists(self.output) else b""
            self.assertTrue(self.whole.startswith(left), (SEED, points, point))
        self.assertGreater(n_killed, 0, (SEED, points))
        self.finish()

    def test_interrupts_leave_whole_lines_and_the_end_is_the_same(self):
        for share in [0.1, 0.5]:
            code = self.end_at(int(len(self.whole) * share), signal.SIGINT)
            self.assertEqual(code, 130)
            left = self.read_output()
            self.assertTrue(self.whole.startswith(left))
            self.assertTrue(left.endswith(b"\n"))
        self.finish()

    def test_a_half_written_last_line_is_dropped_wherever_it_was_cut(self):
        draw = random.Random(SEED)
        cuts = [0, 1, len(self.lines[0]) - 1, len(self.lines[0]), len(self.whole) - 1]
        for cut in cuts + [draw.randrange(len(self.whole)) for _ in range(2)]:
            self.write_output(self.whole[:cut])
            self.assertEqual(self.finish(), self.whole[:cut].count(b"\n"), (SEED, cut))

    def test_a_finished_file_is_left_as_it_is(self):
        self.write_output(self.whole)
        self.assertEqual(self.finish(), N_LINES)

    def test_prompts_from_a_pipe_are_resumed_too(self):
        self.write_output(b"".join(self.lines[:25]))
        self.batch("--out", self.output, "--no-stats", input=TEXT)
        self.assertEqual(self.read_output(), self.whole)

    def test_settings_that_change_only_the_speed_may_change(self):
        self.write_output(b"".join(self.lines[:30]))
        self.assertEqual(self.finish("--mode", "mirror", "--window", 2, "--sessions", 2), 30)

    def test_lines_may_be_added_to_the_input(self):
        self.write_output(self.whole)
        self.write_input(TEXT + lines_of([{"prompt": "one more", "tokens": 2}]))
        self.batch(*self.args)
        text = self.read_output()
        self.assertTrue(text.startswith(self.whole))
        self.assertEqual(json.loads(text[len(self.whole):])["index"], N_LINES)

    def test_a_changed_line_of_the_input_is_named(self):
        self.write_output(b"".join(self.lines[:10]))
        self.write_input(TEXT.replace(b'"id": 7,', b'"id": 77,'))
        said = self.refused()
        self.assertIn(f"{self.output}: it was not made from line 8 of {self.input}", said)
        self.assertTrue(said.endswith("(EINVAL, line 8)"), said)

    def test_a_shorter_input_is_refused(self):
        self.write_output(b"".join(self.lines[:10]))
        self.write_input(lines_of(LINES[:6]))
        self.assertIn("has only 6 prompts", self.refused())

    def test_other_settings_are_refused(self):
        self.write_output(b"".join(self.lines[:10]))
        for args in [["--temp", 0.3], ["--tokens", 5], ["--seed", 1], ["--ctx", 128]]:
            self.assertIn("other settings", self.refused(*args))

    def test_what_is_no_result_is_refused(self):
        for text in [TEXT, b"\n", b"{}\n", b"\0\0\0\0\n", self.lines[1],
                     self.lines[0] + b"rest\n", self.lines[0] + self.lines[0],
                     self.lines[0].replace(b'"hash": "', b'"hash": "x'), b"\xff\xfe\n"]:
            self.write_output(text)
            self.assertRegex(self.refused(), r"results.jsonl: .* \(EFORMAT, line [12]\)$")

    def test_overwrite_begins_again(self):
        self.write_output(b"something else\n" * 10000)
        self.assertEqual(self.finish("--overwrite"), 0)

    def test_two_processes_do_not_write_one_file(self):
        with subprocess.Popen([HSD, "batch", "--out", self.output], stdin=subprocess.PIPE,
                              stderr=subprocess.DEVNULL) as first:
            first.stdin.write(lines_of([{"prompt": "a", "tokens": 1}]))
            first.stdin.flush()
            while not os.path.exists(self.output) or os.path.getsize(self.output) == 0:
                self.assertIsNone(first.poll())
                time.sleep(0.01)
            self.assertIn("another process is writing", self.refused())
            first.stdin.close()
            self.assertEqual(first.wait(TIMEOUT_S), 0)


if __name__ == "__main__":
    unittest.main()
