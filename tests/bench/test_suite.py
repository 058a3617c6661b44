"""Proves: suite.py's tables have the ratios that its definition gives for made-up results (median over
        repeats, geometric mean over prompts, the best setting of llama.cpp in each family, mean over
        families), results of two machines are never in one figure, runs under 0.98 of the target
        alone are named, the picture is XML with a mark for each contender, results go between a
        document's markers and nowhere else; with hsd alone a run on the shipped pair collects what
        was asked for, a second one only what is missing, and results of another build are refused.
Does not prove: anything about speed; llama.cpp's side, which needs its package.
"""
import json
import os
import subprocess
import sys
import tempfile
import unittest
import xml.dom.minidom
from pathlib import Path

ROOT = Path(os.environ["HSD_ROOT"])
sys.path.insert(0, str(ROOT / "tests" / "bench"))
import suite_picture  # noqa: E402
import suite_report  # noqa: E402


def rows_of(family, repeat, rates, prompt=0):
    return [{"piece": 0, "size": "1.1B", "type": "Q8_0", "family": family, "temp": 0.0,
             "prompt": prompt, "repeat": repeat, "contender": name, "tokens_per_s": rate,
             "drafted": 10, "accepted": 4, "steps": 8, "as": "serial"}
            for name, rate in rates.items()]


def file_of(rows, machine="a machine"):
    return {"pieces": [{"began": "then", "machine": machine, "note": "quiet", "peer": "a peer 1",
                        "command": "suite.py", "hsd": "hsd 0.1.0 abc"}], "rows": rows}


DATA = file_of(rows_of("qa", 0, {"llama": 10, "llama-3": 20, "llama-7": 5, "ar": 15, "auto": 40})
               + rows_of("qa", 1, {"llama": 20, "llama-3": 30, "llama-7": 5, "ar": 20, "auto": 100})
               + rows_of("math", 0, {"llama": 10, "llama-3": 8, "llama-7": 9, "ar": 10, "auto": 20})
               + rows_of("math", 0, {"llama": 10, "llama-3": 8, "llama-7": 9, "ar": 10, "auto": 80}, 1))


def markdown(*data):
    return suite_report.markdown(list(data))


class Report(unittest.TestCase):
    def test_a_prompt_s_ratio_is_the_median_of_its_repeats(self):
        qa = suite_report.groups_of(DATA)["1.1B", "Q8_0", 0.0]["qa"]
        for got, expected in zip(qa.ratio("auto", "llama"), (4.5, 4.0, 5.0)):
            self.assertAlmostEqual(got, expected)
        self.assertEqual(qa.best_draft(), "llama-3")
        self.assertIsNone(qa.ratio("mirror", "llama"))
        self.assertEqual(qa.acceptance("auto"), 0.4)
        self.assertEqual(qa.tokens_per_pass("auto"), 1.5)

    def test_prompts_are_averaged_geometrically(self):
        math = suite_report.groups_of(DATA)["1.1B", "Q8_0", 0.0]["math"]
        for got, expected in zip(math.ratio("auto", "llama"), (4.0, 2.0, 8.0)):
            self.assertAlmostEqual(got, expected)
        self.assertEqual(math.best_draft(), "llama-7")

    def test_the_tables_say_so(self):
        text = markdown(DATA)
        self.assertIn("| qa | 15.0 | 1.75 (3) | 1.25 | 4.50 | 2.67 (2.00 to 3.33) |", text)
        self.assertIn("| **mean** |  | 1.32 | 1.12 | 4.25 |", text)
        self.assertIn("| qa | 1 x 2 | 40 % | 40 % | 1.50 | 1.50 | ar | 3.83 | serial |", text)
        self.assertIn("a machine; hsd 0.1.0, a peer 1; quiet. Pieces:", text)
        self.assertIn("* then UTC: `suite.py`", text)
        self.assertIn("times `ar` in a family (qa), 2.00 in a single run. `auto` is at least", text)
        self.assertNotIn("under 0.98", text)

    def test_programs_have_columns_of_their_own(self):
        rates = {"llama": 10, "llama-3": 20, "llama-server": 8, "llama-server-3": 25,
                 "llama-simple-5": 30, "ar": 10, "auto": 60}
        text = markdown(file_of(rows_of("qa", 0, rates)))
        self.assertIn("| qa | 10.0 | 3.00 (simple-5) | 0.80 | 2.50 | 1.00 | 6.00 | 2.00 (", text)

    def test_runs_below_the_target_alone_are_named(self):
        slow = file_of(rows_of("qa", 0, {"llama": 10, "ar": 10, "auto": 9.7})
                       + rows_of("qa", 1, {"llama": 9, "ar": 10, "auto": 11})
                       + rows_of("rag", 0, {"llama": 5, "ar": 10, "auto": 9.9}))
        text = markdown(slow)
        self.assertIn("at least 0.99 times `ar` in a family (rag), 0.97 in a single run; "
                      "**under 0.98** in runs of qa (0.97). `auto`", text)

    def test_machines_are_not_mixed(self):
        other = file_of(rows_of("qa", 0, {"llama": 10, "ar": 10, "auto": 10}), "another")
        text = markdown(DATA, other)
        self.assertIn("### a machine", text)
        self.assertIn("### another", text)
        self.assertIn("| a machine | 1.1B Q8_0, greedy | 2, 4 | 1.12 | 1.32 | 4.25 |", text)
        self.assertIn("| another | 1.1B Q8_0, greedy | 1, 1 | 1.00 | - | 1.00 |", text)

    def test_the_picture_has_a_mark_for_each(self):
        document = xml.dom.minidom.parseString(suite_picture.picture([DATA]))
        titles = [t.firstChild.data for t in document.getElementsByTagName("title")]
        shown = [t for t in titles if ": " in t]
        self.assertEqual(len(shown), 3 * 3)  # two families and their mean
        self.assertIn("qa, hsd auto: 4.50", shown)
        self.assertIn("mean, llama.cpp, best draft setting: 1.32", shown)

    def test_results_go_between_the_markers(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.md"
            for old in ["", "old\n"]:
                path.write_text(f"a\n{suite_report.BEGIN}\n{old}{suite_report.END}\nb\n")
                suite_report.insert(path, "new\n")
                self.assertEqual(path.read_text(),
                                 f"a\n{suite_report.BEGIN}\nnew\n{suite_report.END}\nb\n")
            path.write_text("no place\n")
            with self.assertRaises(SystemExit):
                suite_report.insert(path, "new\n")

    def test_the_document_has_a_place_for_results(self):
        text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
        self.assertEqual((text.count(suite_report.BEGIN), text.count(suite_report.END)), (1, 1))


class Run(unittest.TestCase):
    def suite(self, results, *more):
        command = [sys.executable, str(ROOT / "tests" / "bench" / "suite.py"), "run", "--hsd",
                   os.environ["HSD"], "--results", results, "--sizes", "shipped", "--families",
                   "story", "--prompts", "2", "--tokens", "6", "--temps", "0,1", "--modes",
                   "ar,serial,auto", *more]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done, json.loads(Path(results).read_text())

    def test_hsd_alone_collects_what_was_asked_for_and_what_is_missing(self):
        with tempfile.TemporaryDirectory() as folder:
            results = os.path.join(folder, "r.json")
            for repeats, n_rows, n_pieces in [(1, 12, 1), (2, 24, 2), (2, 24, 2)]:
                done, data = self.suite(results, "--repeats", str(repeats))
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual((len(data["rows"]), len(data["pieces"])), (n_rows, n_pieces))
            self.assertEqual({row["contender"] for row in data["rows"]}, {"ar", "serial", "auto"})
            self.assertTrue(all(row["tokens_per_s"] > 0 for row in data["rows"]))
            done, _ = self.suite(results, "--repeats", "3", "--seconds", "1e-9")
            self.assertEqual(done.returncode, 3, done.stderr)
            data["pieces"][0]["hsd"] = "hsd 0.0.1"
            Path(results).write_text(json.dumps(data))
            done, _ = self.suite(results)
            self.assertIn("is of another machine or build (hsd 0.0.1)", done.stderr)
            self.assertEqual(done.returncode, 1)


if __name__ == "__main__":
    unittest.main(verbosity=1)
