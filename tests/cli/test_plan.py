#!/usr/bin/env python3
"""Proves: `hsd plan` prints a plan of every described example without models there, as text with a
        timeline and reasons, and as JSON with the same plan; the objective and pins of a file are
        followed; what does not fit a memory or the limit of caches is not
        chosen, and both figures are told; what plan finds to fit, run opens with; a machine of
        unknown speed and a broken file are refused in one line; `hsd run`
        in mode auto prints the text of mode ar and says what it did.
Does not prove: that a plan is the fastest (tests/bench/auto.py).
"""
import glob
import os
import tempfile
import unittest

from cli_case import PROMPT, ROOT, CliCase

EXAMPLES = [path for path in sorted(glob.glob(os.path.join(ROOT, "examples", "topology", "*.yaml")))
            if ".profile" not in path]

CORES = """topology: 1
name: test
hosts:
  - {name: here, here: true}
devices:
  - name: cores
    type: cpu
    host: here
    id: cpu
    units: 2
    read: 20 GB/s
    f32: 200 Gop/s
"""


class Plan(CliCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="hsd-")
        self.addCleanup(self.folder.cleanup)
        self.env = {**os.environ, "HSD_CACHE_DIR": os.path.join(self.folder.name, "cache"),
                    "OCL_ICD_VENDORS": "/nonexistent", "ZE_ENABLE_ALT_DRIVERS": "/nonexistent"}

    def file(self, text):
        path = os.path.join(self.folder.name, "machine.yaml")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def test_every_example_has_a_plan_with_reasons(self):
        self.assertGreater(len(EXAMPLES), 2)
        for path in EXAMPLES:
            profile = path.replace(".yaml", ".profile.yaml")
            has_times = os.path.exists(profile)
            args = ["--topology", path, *(["--profile", profile] if has_times else [])]
            out = self.json("plan", *args, env=self.env)
            self.assertGreaterEqual(out["plan"]["tokens_per_s"], out["alone"]["tokens_per_s"])
            self.assertEqual(out["plan"]["estimated"], not has_times)
            self.assertGreater(len(out["reasons"]), 2)
            text = self.ok("plan", *args, "--why", env=self.env)
            self.assertIn(f"mode     {out['plan']['mode']}\n", text)
            self.assertIn(f"target   {out['plan']['target']}", text)
            self.assertEqual("(estimated, not measured)" in text, not has_times)
            self.assertRegex(text, r"target [PXS.]{64}\n")
            for reason in out["reasons"]:
                self.assertIn(reason + "\n", text)
            short = self.ok("plan", *args, env=self.env)
            self.assertNotIn("not used:", short)

    def test_pins_and_objectives_are_followed(self):
        path = self.file(CORES)
        latency = self.json("plan", "--topology", path, "--objective", "latency", env=self.env)
        self.assertEqual(latency["plan"]["mode"], "ar")
        self.assertEqual(latency["break_even"], -1)
        error = self.failure("plan", "--topology", path, "--objective", "energy", env=self.env)
        self.assertIn("EUNSUPPORTED", error)
        self.assertIn("nonsense", self.usage_error("plan", "--objective", "nonsense"))
        self.usage_error("plan", "--margin", "0.5")

    def test_what_is_not_known_or_broken_is_said_in_one_line(self):
        unknown = self.file(CORES.split("    read")[0])
        self.assertIn("measure", self.failure("plan", "--topology", unknown, env=self.env))
        broken = self.file(CORES.replace("20 GB/s", "20 bananas"))
        self.assertIn("line", self.failure("plan", "--topology", broken, env=self.env))
        self.assertIn("EIO", self.failure("plan", "--topology", "/nonexistent.yaml", env=self.env))
        path = self.file(CORES)
        self.assertIn("EIO", self.failure("plan", "--topology", path, "--target",
                                          "/nonexistent.gguf", env=self.env))

    def test_memory_keeps_models_out_and_is_told_with_both_figures(self):
        gpu = """  - name: gpu
    type: gpu
    host: here
    id: opencl:0
    memory: %s
    read: 900 GB/s
    f32: 20000 Gop/s
"""
        small, large = CORES + gpu % "1 MiB", CORES + gpu % "8 GiB"
        out = self.json("plan", "--topology", self.file(large), env=self.env)
        self.assertEqual(out["plan"]["target"], "gpu")
        need = [m for m in out["memory"] if m["name"] == "gpu"][0]
        self.assertEqual(need["have_bytes"], 8 << 30)
        self.assertEqual(need["need_bytes"], need["weights_bytes"] + need["cache_bytes"] +
                         need["rows_bytes"])
        out = self.json("plan", "--topology", self.file(small), env=self.env)
        self.assertEqual(out["plan"]["target"], "cores")
        self.assertNotIn("gpu", [m["name"] for m in out["memory"]])
        told = [r for r in out["reasons"] if r.startswith("gpu not used: ")]
        self.assertEqual(len(told), 1)
        self.assertRegex(told[0], r"the target needs [0-9.]+ MiB there, it has 1\.0 MiB")

    def test_caches_are_reckoned_as_run_makes_them(self):
        path = self.file(CORES)
        sizes = {}
        for layout in ("kv", "el"):
            for kind in ("f32", "f16", "q8_0"):
                out = self.json("plan", "--topology", path, "--cache", layout, "--cache-type", kind,
                                "--objective", "latency", env=self.env)
                self.assertEqual(out["plan"]["mode"], "ar")
                sizes[layout, kind] = out["limited_cache_bytes"]
        for kind in ("f32", "f16", "q8_0"):
            self.assertEqual(sizes["kv", kind], 2 * sizes["el", kind])
        self.assertEqual(sizes["kv", "f32"], 2 * sizes["kv", "f16"])
        # The least that a plan needs is what run opens with, and less is refused by both.
        run = ["run", "--prompt", PROMPT, "-n", "8", "--mode", "ar"]
        least = sizes["el", "f32"]
        for limit, fits in ((least, True), (least // 2, False)):
            plan = ["plan", "--topology", path, "--cache-memory", str(limit)]
            if fits:
                out = self.json(*plan, env=self.env)
                self.assertLessEqual(out["limited_cache_bytes"], limit)
                self.assertEqual(out["cache_limit_bytes"], limit)
                self.assertIn("EL", out["cache"])
                self.json(*run, "--cache-memory", str(limit), env=self.env)
            else:
                self.assertRegex(self.failure(*plan, env=self.env), r"need .* the limit is ")
                self.failure(*run, "--cache-memory", str(limit), env=self.env)
        self.usage_error("plan", "--cache-memory", "many")
        self.assertIn("positions", self.failure("plan", "--topology", path, "--ctx", "9999999",
                                                env=self.env))

    def test_auto_prints_the_text_of_ar(self):
        args = ["run", "--prompt", PROMPT, "-n", "96", "--ignore-eos"]
        alone = self.json(*args, "--mode", "ar", env=self.env)
        planned = self.json(*args, env=self.env)
        self.assertEqual(planned["tokens"], alone["tokens"])
        self.assertIn(planned["stats"]["mode"], ["ar", "serial", "mirror", "async"])
        self.assertGreaterEqual(planned["stats"]["replans"], 0)


if __name__ == "__main__":
    unittest.main()
