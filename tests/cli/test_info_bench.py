#!/usr/bin/env python3
"""Proves: `hsd info` describes the shipped pair and the fixtures and refuses damage with a place;
        `hsd bench` prints what it promises, as a table and as JSON.
Does not prove: that any figure is good: timings are printed, never judged.
"""
import json
import math
import os
import tempfile
import unittest

from cli_case import DRAFT, OTHER, ROOT, TARGET, CliCase, hsd

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
        self.assertEqual([mode["mode"] for mode in result["modes"]],
                         ["ar", "serial", "mirror", "async"])
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
        overlap = result["overlap"]
        self.assertTrue(0 < overlap["delta_ms"] < overlap["beside_ms"])
        self.assertTrue(0 < overlap["draft_token_ms"] < overlap["draft_step_ms"])

    def test_trees_and_the_ratio_rule_run_beside_the_modes(self):
        result = self.json(*QUICK, "--modes", "ar,serial", "--temp", 0.8, "--with-tree", 10,
                           "--with-ratio")
        self.assertEqual([(mode["mode"], mode["rule"], mode["tree"] > mode["window"])
                          for mode in result["modes"]],
                         [("ar", "coupled", False), ("serial", "coupled", False),
                          ("serial", "coupled", True), ("serial", "ratio", False)])
        self.assertIn("--temp", self.usage_error(*QUICK, "--with-ratio"))

    def coverage(self, lines, *args):
        """The object that --coverage prints, and the exit code, which must be 0 or 4."""
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
            file.write("".join(json.dumps(line) + "\n" for line in lines))
            file.flush()
            done = hsd("bench", "--coverage", file.name, "--json", *args)
        self.assertIn(done.returncode, [0, 4], done.stderr)
        return json.loads(done.stdout), done.returncode

    def test_coverage_is_a_share_that_grows_with_the_roots(self):
        lines = [{"prompt": "Once upon a time", "family": "a"}, {"prompt": "The old man"}]
        result, _ = self.coverage(lines, "--tokens", 32, "--hits", "none")
        self.assertEqual([item["family"] for item in result["coverage"]],
                         ["a", "all", "all families"])
        for item in result["coverage"]:
            self.assertGreater(item["commits"], 0)
            for source in ["exit", "draft", "both"]:
                shares = [item[source][str(2 ** i)] for i in range(7)]
                self.assertEqual(shares, sorted(shares))
                self.assertLessEqual(shares[-1], 1)
                self.assertEqual(item["hit_rate"][source], {})
        result, _ = self.coverage(lines, "--tokens", 8, "--hits", "none", "--families", "b,a")
        self.assertEqual([item["family"] for item in result["coverage"]], ["a"])

    def test_the_verdict_follows_from_the_counts(self):
        lines = [{"prompt": f"{start} {who}", "family": start}
                 for start in ["Once there was", "The old"] for who in ["a king", "man", "dog and"]]
        for kind in ["model", "ngram"]:
            result, code = self.coverage(lines, "--tokens", 64, "--hits", "none", "--draft-kind",
                                         kind)
            listed = {(item["family"], str(item["roots"]), item["source"])
                      for item in result["losses"]}
            self.assertEqual(listed, {(item["family"], n, source) for item in result["coverage"]
                                      for source in ["exit", "draft"] for n in item["both"]
                                      if item["both"][n] < item[source][n]})
            self.assertEqual(result["comparisons"], 2 * 7 * 2)
            for item in result["losses"]:
                n, lost = item["gained"] + item["lost"], item["lost"]
                p = sum(math.comb(n, k) for k in range(lost, n + 1)) / 2 ** n
                self.assertAlmostEqual(item["p"], p, places=9)
                self.assertGreater(lost, item["gained"])
                self.assertEqual(item["worse"], item["family"] == "all families" or
                                 p * result["comparisons"] < 0.05)
            self.assertEqual(result["worse"], any(item["worse"] for item in result["losses"]))
            self.assertEqual(code, 4 if result["worse"] else 0)

    def test_hits_are_counted_by_source_and_budget(self):
        lines = [{"prompt": "Once upon a time"}, {"prompt": "The old man opened the door"}]
        result, _ = self.coverage(lines, "--tokens", 48, "--hits", "1,32")
        item = result["coverage"][0]
        for key in ["hit_rate", "hit_rate_completed"]:
            self.assertEqual(sorted(item[key]), ["both", "draft", "exit"])
            for rates in item[key].values():
                self.assertEqual(sorted(rates), ["1", "32"])
                self.assertTrue(all(0 <= rate <= 1 for rate in rates.values()))
        for source, rates in item["hit_rate_completed"].items():
            self.assertLess(rates["1"], rates["32"], source)  # far apart in every run
        self.assertGreater(item["hit_rate_completed"]["both"]["32"], 0.5)
        self.assertIn("--hits", self.usage_error("bench", "--hits", "0"))

    def test_a_damaged_file_of_prompts_is_refused_with_its_place(self):
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
            file.write('{"prompt": "a", "family": "b"}\nnonsense\n')
            file.flush()
            args = ["bench", "--coverage", file.name, "--tokens", 2, "--hits", "none"]
            self.assertIn("line 2", self.failure(*args))
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
            file.write('{"prompt": "a", "family": "b"}\n')
            file.flush()
            self.assertIn("families c", self.failure("bench", "--coverage", file.name, "--families",
                                                     "c"))
        with tempfile.NamedTemporaryFile("wb", suffix=".jsonl") as file:
            file.write(b'{"prompt": "a"}\0\n')
            file.flush()
            self.assertIn("byte 15", self.failure("bench", "--coverage", file.name))

    def test_the_table_has_a_line_per_mode(self):
        text = self.ok(*QUICK, "--modes", "ar,mirror", "--prompt", "Once upon a time")
        self.assertRegex(text, r"\nar +-")
        self.assertRegex(text, r"\nmirror +model")
        self.assertNotIn("\nserial", text)
        self.assertIn("step of the pipelines alone, inproc", text)

    def test_sessions_at_once_have_throughput_and_latency(self):
        args = [*QUICK, "--modes", "ar,mirror", "--sessions", "1,3,6"]
        items = self.json(*args)["sessions"]
        self.assertEqual([(item["mode"], item["sessions"]) for item in items],
                         [(mode, n) for mode in ["ar", "mirror"] for n in [1, 3, 6]])
        for item in items:
            self.assertIs(item["equal_to_ar"], True)
            self.assertGreater(item["tokens_per_s"], 0)
            for key in ["first_token", "token"]:
                self.assertGreaterEqual(item[f"{key}_p95_ms"], item[f"{key}_ms"])
        self.assertGreater(min(item["first_token_ms"] for item in items), 0)
        text = self.ok(*QUICK, "--modes", "ar", "--sessions", "2")
        self.assertIn("the tokens of each equal those of its own run in mode ar", text)
        self.assertRegex(text, r"\nar +2 +[\d.]+ +1.00 ")

    def test_sessions_need_a_mode_and_are_read_strictly(self):
        self.assertIn("--sessions needs a mode",
                      self.usage_error("bench", "--modes", "none", "--sessions", "2"))
        for counts in ["0", "1,,2", "257", "x"]:
            self.assertIn("--sessions:", self.usage_error("bench", "--sessions", counts))

    def test_parts_can_be_left_out(self):
        result = self.json("bench", "--modes", "none", "--prefill", 0, "--rendezvous", 0, "--rows",
                           "1", "--repeats", 1)
        self.assertEqual([result[key] for key in ["modes", "rendezvous"]], [[], []])
        self.assertEqual(len(result["rows"]), 1)

    def test_attention_alone_is_timed_by_context_type_and_rows(self):
        result = self.json("bench", "--attention", "0,300", "--types", "f16,q8_0", "--rows", "1,3",
                           "--repeats", 1, "--threads", 1)
        seen = [(x["type"], x["past"], x["n"]) for x in result["attention"]]
        self.assertEqual(seen, [(t, p, n) for t in ("f16", "q8_0") for p in (0, 300)
                                for n in (1, 3)])
        self.assertTrue(all(x["ms"] > 0 for x in result["attention"]))
        self.assertNotIn("rows", result)
        self.assertEqual(result["modes"], [])

    def test_passes_behind_a_long_context_are_timed_in_every_type(self):
        for cache in "f32", "f16", "q8_0":
            result = self.json("bench", "--rows", "1,2", "--past", 400, "--repeats", 1,
                               "--threads", 1, "--cache-type", cache)
            self.assertEqual([x["n"] for x in result["rows"]], [1, 2])
            self.assertEqual(result["rows_past"], 400)

    def test_rows_alone_are_all_that_is_measured(self):
        result = self.json("bench", "--rows", "1,2", "--repeats", 1, "--threads", 1)
        self.assertEqual([item["n"] for item in result["rows"]], [1, 2])
        self.assertTrue(all(item["ms"] > 0 for item in result["rows"]))
        self.assertEqual([result[key] for key in ["modes", "rendezvous"]], [[], []])
        self.assertEqual(result["prefill"]["tokens"], 0)
        result = self.json("bench", "--rows", "1", "--repeats", 1, "--modes", "ar", "--prefill", 16,
                           "--tokens", 4)
        self.assertEqual([mode["mode"] for mode in result["modes"]], ["ar"])

    def test_kernels_are_measured_without_a_model(self):
        result = self.json("bench", "--kernels", "--device", "cpu", "--repeats", 1, "--target",
                           "/no/such.gguf")
        (device,) = result["devices"]
        self.assertEqual(device["device"], "cpu")
        self.assertTrue(device["read_gbps"] > 0 and device["launch_us"] > 0)
        self.assertEqual([item["type"] for item in device["types"]],
                         ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_K", "Q5_K", "Q6_K"])
        for item in device["types"]:
            self.assertAlmostEqual(item["share"], item["gbps"] / device["read_gbps"], places=6)
            self.assertGreater(item["rows8_cost"], 0)
        self.assertIn("nonsense", self.failure("bench", "--kernels", "--device", "nonsense"))


if __name__ == "__main__":
    unittest.main()
