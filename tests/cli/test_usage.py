#!/usr/bin/env python3
"""Proves: help texts are complete and fit a terminal; wrong usage gives exit code 2 and names the
        option; numbers are read strictly; docs/cli.md has every option.
Does not prove: that the options do what they say (test_run.py, test_batch.py, ..).
"""
import os
import re
import subprocess
import unittest

from cli_case import ROOT, CliCase, hsd

COMMANDS = ["run", "batch", "worker", "info", "bench", "keygen", "devices", "topo", "export",
            "profile", "plan", "simulate", "tune"]


class Help(CliCase):
    def test_help_names_all_commands_and_the_exit_codes(self):
        text = self.ok("--help")
        for command in COMMANDS:
            self.assertRegex(text, rf"\n  {command} +\w")
        self.assertIn("Exit codes: 0 success", text)
        self.assertIn("Examples:\n  hsd run", text)

    def test_each_command_has_help_with_examples(self):
        for command in COMMANDS:
            text = self.ok(command, "--help")
            self.assertIn(f"Examples:\n  hsd {command}", text)
            self.assertIn("130 interrupted", text)

    def test_help_fits_into_80_columns(self):
        for args in [[], *([command] for command in COMMANDS)]:
            for line in self.ok(*args, "--help").splitlines():
                self.assertLess(len(line), 80, line)

    def test_examples_are_not_wrapped(self):
        for command in COMMANDS:
            examples = self.ok(command, "--help").split("Examples:\n")[1].split("\n\n")[0]
            for line in examples.splitlines():
                self.assertRegex(line, r"^  (hsd|echo) ")

    def test_version_is_the_projects(self):
        with open(os.path.join(ROOT, "CMakeLists.txt"), encoding="utf-8") as file:
            version = re.search(r"project\(hsd VERSION ([\d.]+)", file.read()).group(1)
        self.assertEqual(self.ok("--version"), f"hsd {version}\n")

    def test_the_manual_has_every_option(self):
        with open(os.path.join(ROOT, "docs", "cli.md"), encoding="utf-8") as file:
            manual = file.read()
        for command in COMMANDS:
            for option in re.findall(r"--[a-z][a-z-]+", self.ok(command, "--help")):
                self.assertIn(f"`{option}", manual, f"{command} {option}")

    def test_the_manual_has_no_option_that_is_not_there(self):
        with open(os.path.join(ROOT, "docs", "cli.md"), encoding="utf-8") as file:
            in_manual = set(re.findall(r"^\| `(--[a-z-]+)", file.read(), re.MULTILINE))
        there = set()
        for command in [*COMMANDS, "topo"]:
            there.update(re.findall(r"--[a-z][a-z-]+", self.ok(command, "--help")))
        self.assertGreater(len(in_manual), 20)
        self.assertEqual(in_manual - there, set())

    def test_help_reports_a_full_disk(self):
        for args in [["--help"], ["run", "--help"], ["--version"]]:
            with open("/dev/full", "w", encoding="utf-8") as full:
                done = hsd(*args, stdout=full)
            self.assertEqual(done.returncode, 1)
            self.assertIn("No space left on device", done.stderr)


class Usage(CliCase):
    def test_no_command_and_unknown_command_are_errors(self):
        self.assertIn("a command is missing", self.usage_error())
        self.assertIn("no command 'walk'", self.usage_error("walk"))

    def test_unknown_options_and_stray_words_are_errors(self):
        self.assertIn("--bogus", self.usage_error("run", "--bogus"))
        self.assertIn("'word'", self.usage_error("run", "--prompt", "x", "word"))
        self.assertIn("'word'", self.usage_error("bench", "word"))
        self.assertIn("more than one file", self.usage_error("info", "a", "b"))

    def test_what_is_required_is_asked_for(self):
        self.assertIn("--listen is missing", self.usage_error("worker"))
        self.assertIn("a model file is missing", self.usage_error("info"))

    def test_prompt_and_prompt_file_exclude_each_other(self):
        self.assertIn("exclude", self.usage_error("run", "-p", "x", "-f", "y"))

    def test_numbers_are_read_strictly(self):
        for option, values in {
            "--tokens": ["12x", "", " 5", "-1", "1.5", "99999999999999999999", "0x10"],
            "--window": ["17", "-1", "x"],
            "--roots": ["65", "1e1"],
            "--temp": ["-0.1", "nan", "inf", "0.8y", ""],
            "--top-p": ["0", "1.1"],
            "--min-p": ["-1", "2"],
            "--repeat-penalty": ["0", "-1", "101", "nan"],
            "--repeat-last-n": ["-2", "1.5"],
            "--no-repeat-ngram": ["-1", "x"],
            "--seed": ["-1", "18446744073709551616", "+1", "1 "],
            "--threads": ["many"],
            "--draft-threads": ["1,2"],
            "--exit": ["-3"],
            "--ctx": ["4k"],
        }.items():
            for value in values:
                said = self.usage_error("run", "--prompt", "x", f"{option}={value}")
                self.assertIn(f"{option}:", said)

    def test_names_are_read_strictly(self):
        self.assertIn("auto, ar, serial, mirror", self.usage_error("run", "--mode", "Mirror"))
        self.assertIn("early_exit", self.usage_error("run", "--draft-kind", "early"))

    def test_lists_are_read_strictly(self):
        for rows in ["1,,2", "1,2,", "0", "1;2"]:
            self.assertIn("--rows:", self.usage_error("bench", "--rows", rows))
        for modes in ["ar,ar", "ar,,mirror", ""]:
            self.assertIn("--modes:", self.usage_error("bench", "--modes", modes))

    def test_types_of_caches_are_read_strictly(self):
        for option in "--cache-type", "--draft-cache-type":
            said = self.usage_error("run", "--prompt", "x", option, "q4_0")
            self.assertIn("none of f32, f16, q8_0", said)
        self.assertIn("--types:", self.usage_error("bench", "--attention", "8", "--types", "f32,"))

    def test_a_terminal_is_not_read_as_a_prompt(self):
        leader, follower = os.openpty()
        try:
            done = hsd("run", stdin=follower, stdout=subprocess.PIPE)
        finally:
            os.close(leader)
            os.close(follower)
        self.assertEqual(done.returncode, 2)
        self.assertIn("a prompt is missing", done.stderr)


if __name__ == "__main__":
    unittest.main()
