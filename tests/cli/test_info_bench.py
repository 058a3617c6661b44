#!/usr/bin/env python3
"""Proves: `hsd info` describes the shipped pair and the fixtures and refuses damage with a place;
        `hsd bench` prints what it promises, as a table and as JSON.
Does not prove: that any figure is good: timings are printed, never judged.
"""
import os
import unittest

from cli_case import DRAFT, OTHER, ROOT, TARGET, CliCase

QUICK = ["bench", "--repeats", 1, "--tokens", 12, "--prefill", 16, "--rendezvous", 50]


class Info(CliCase):
    def test_the_shipped_pair_shares_one_vocabulary(self):
        target, draft = self.json("info", TARGET), self.json("info", DRAFT)
        for info in [target, draft]:
            self.assertTrue(info["supported"], info)
            self.assertEqual(info["architecture"], "gpt2")
            self.assertEqual(info["n_vocab"], 4096)
            self.assertGreater(sum(kind["tensors"] for kind in info["types"]), 0)
        self.assertEqual(target["vocab_hash"], draft["vocab_hash"])
        self.assertNotEqual(target["fingerprint"], draft["fingerprint"])
        self.assertGreater(target["n_parameters"], 5 * draft["n_parameters"])
        self.assertEqual(target["file_bytes"], os.path.getsize(TARGET))

    def test_the_table_has_the_same_facts(self):
        text = self.ok("info", TARGET)
        info = self.json("info", TARGET)
        self.assertIn(info["vocab_hash"], text)
        self.assertIn(f"{info['n_layers']} layers", text)

    def test_another_vocabulary_has_another_hash(self):
        self.assertNotEqual(self.json("info", OTHER)["vocab_hash"],
                            self.json("info", TARGET)["vocab_hash"])

    def test_what_is_no_model_is_refused(self):
        line = self.failure("info", os.path.join(ROOT, "LICENSE"))
        self.assertRegex(line, r"\(EFORMAT, byte \d+\)$")
        self.assertIn("/no/such.gguf", self.failure("info", "/no/such.gguf"))
        self.failure("info", ROOT)


class Bench(CliCase):
    def test_json_has_modes_prefill_rendezvous_and_rows(self):
        result = self.json(*QUICK, "--rows", "1,2,4")
        self.assertEqual([mode["mode"] for mode in result["modes"]], ["ar", "serial", "mirror"])
        self.assertTrue(result["equal"])
        for mode in result["modes"]:
            self.assertGreater(mode["tokens_per_s"], 0)
            self.assertEqual(len(mode["samples_tokens_per_s"]), 1)
        self.assertEqual(result["modes"][0]["ratio_to_ar"], 1)
        self.assertEqual(result["prefill"]["tokens"], 16)
        self.assertGreater(result["prefill"]["tokens_per_s"], 0)
        self.assertEqual([item["transport"] for item in result["rendezvous"]], ["inproc", "ipc"])
        self.assertEqual([item["n"] for item in result["rows"]], [1, 2, 4])
        self.assertTrue(all(item["ms"] > 0 for item in result["rows"]))

    def test_the_table_has_a_line_per_mode(self):
        text = self.ok(*QUICK, "--modes", "ar,mirror", "--prompt", "Once upon a time")
        self.assertRegex(text, r"\nar +-")
        self.assertRegex(text, r"\nmirror +model")
        self.assertNotIn("\nserial", text)
        self.assertIn("step of the pipelines alone, inproc", text)

    def test_parts_can_be_left_out(self):
        result = self.json("bench", "--modes", "none", "--prefill", 0, "--rendezvous", 0, "--rows",
                           "1", "--repeats", 1)
        self.assertEqual([result[key] for key in ["modes", "rendezvous"]], [[], []])
        self.assertEqual(len(result["rows"]), 1)


if __name__ == "__main__":
    unittest.main()
