"""Proves: suite.py's table has the ratios that its definition gives for made-up results (per prompt
        and repeat, the best setting of llama.cpp in each family, mean over families), the picture
        is XML with a bar for each, results go between a document's markers and nowhere else; and
        with hsd alone a run on the shipped pair collects what was asked for.
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
import suite_report  # noqa: E402


def rows_of(family, repeat, rates, prompt=0):
    return [{"piece": "now", "size": "1.1B", "type": "Q8_0", "family": family, "temp": 0.0,
             "prompt": prompt, "repeat": repeat, "contender": name, "tokens_per_s": rate,
             "drafted": 10, "accepted": 4, "as": "serial"} for name, rate in rates.items()]


DATA = {"pieces": [{"began": "then", "machine": "a machine", "note": "quiet", "command": "suite.py"}],
        "rows": rows_of("qa", 0, {"llama": 10, "llama-3": 20, "llama-7": 5, "ar": 15, "auto": 40})
        + rows_of("qa", 1, {"llama": 20, "llama-3": 30, "llama-7": 5, "ar": 20, "auto": 100})
        + rows_of("math", 0, {"llama": 10, "llama-3": 8, "llama-7": 9, "ar": 10, "auto": 20})
        + rows_of("math", 0, {"llama": 10, "llama-3": 8, "llama-7": 9, "ar": 10, "auto": 80}, 1)}


class Report(unittest.TestCase):
    def test_ratios_are_those_of_each_repeat(self):
        qa = suite_report.groups_of(DATA)["1.1B", "Q8_0", 0.0]["qa"]
        for got, expected in zip(qa.ratio("auto", "llama"), (4.5, 4.0, 5.0)):
            self.assertAlmostEqual(got, expected)
        self.assertEqual(qa.best_speculative(), "llama-3")
        self.assertIsNone(qa.ratio("mirror", "llama"))
        self.assertEqual(qa.acceptance("auto"), 0.4)

    def test_prompts_are_averaged_geometrically(self):
        math = suite_report.groups_of(DATA)["1.1B", "Q8_0", 0.0]["math"]
        self.assertAlmostEqual(math.ratio("auto", "llama")[0], 4.0)
        self.assertEqual(math.best_speculative(), "llama-7")

    def test_the_table_says_so(self):
        text = suite_report.markdown(DATA)
        self.assertIn("| qa | 15.0 | 1.75 (3) | 1.25 | 4.50 | 2.67 (2.00 to 3.33) |", text)
        self.assertIn("| **mean** | | 1.32 | 1.12 | 4.25 |", text)
        self.assertIn("then UTC, a machine, without a peer (quiet): `suite.py`", text)

    def test_the_picture_has_a_bar_for_each(self):
        document = xml.dom.minidom.parseString(suite_report.picture(DATA))
        self.assertEqual(len(document.getElementsByTagName("rect")), 1 + 2 * 3)

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
    def test_hsd_alone_collects_what_was_asked_for(self):
        with tempfile.TemporaryDirectory() as folder:
            results = os.path.join(folder, "r.json")
            command = [sys.executable, str(ROOT / "tests" / "bench" / "suite.py"), "run", "--hsd",
                       os.environ["HSD"], "--results", results, "--sizes", "shipped", "--families",
                       "story", "--prompts", "2", "--tokens", "6", "--repeats", "1", "--temps",
                       "0,1", "--modes", "ar,serial,auto"]
            for n in [1, 2]:  # the second adds to the first
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                self.assertEqual(done.returncode, 0, done.stderr)
                data = json.loads(Path(results).read_text())
                self.assertEqual(len(data["rows"]), n * 2 * 2 * 3)
                self.assertEqual(len(data["pieces"]), n)
            self.assertEqual({row["contender"] for row in data["rows"]}, {"ar", "serial", "auto"})
            self.assertTrue(all(row["tokens_per_s"] > 0 for row in data["rows"]))


if __name__ == "__main__":
    unittest.main(verbosity=1)
