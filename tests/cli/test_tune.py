#!/usr/bin/env python3
"""Proves: `hsd tune` measures, prints a table or JSON and keeps what it found, which the next
        `hsd run` says it uses, with the same text as before; devices and types that cannot be tuned
        are refused with the reason.
Does not prove: what is kept (tests/engine/test_tune.c).
"""
import os
import tempfile
import unittest

from cli_case import PROMPT, CliCase, hsd

QUICK = ("--type", "Q8_0", "--channels", "64", "--repeats", "1")


class Tune(CliCase):
    def device(self):
        ids = [item["id"] for item in self.json("devices")["devices"]
               if item["id"].startswith("opencl:")]
        if not ids and "HSD_TEST_OPENCL" in os.environ:
            self.fail("there is no OpenCL device")
        if not ids:
            self.skipTest("there is no OpenCL device")
        return os.environ.get("HSD_TEST_OPENCL_DEVICE", ids[0].split(":")[1])

    def test_a_device_is_tuned_and_says_so(self):
        device = "opencl:" + self.device()
        run = ("run", "--device", device, "--prompt", PROMPT, "-n", "8", "--mode", "ar", "-v")
        with tempfile.TemporaryDirectory() as folder:
            env = {**os.environ, "HSD_CACHE_DIR": folder}
            before = hsd(*run, env=env)
            self.assertEqual(before.returncode, 0, before.stderr)
            self.assertNotIn("tuned sizes", before.stderr)
            table = hsd("tune", "--device", device, *QUICK, env=env)
            self.assertEqual(table.returncode, 0, table.stderr)
            lines = table.stdout.splitlines()
            self.assertEqual(lines[0].split()[:3], ["type", "rows", "before"])
            self.assertEqual([line.split()[0] for line in lines[1:]], ["Q8_0"] * 4)
            self.assertNotIn("wrong", table.stdout)
            after = hsd(*run, env=env)
            self.assertIn("tuned sizes", after.stderr)
            self.assertEqual(after.stdout, before.stdout)
            names = [name for name in os.listdir(folder) if name.startswith("tiles-")]
            self.assertEqual(len(names), 1)
            with open(os.path.join(folder, names[0]), "r+b") as file:
                file.truncate(100)
            damaged = hsd(*run, env=env)
            self.assertIn("ignored", damaged.stderr)
            self.assertEqual(damaged.stdout, before.stdout)

    def test_json_has_the_same(self):
        device = "opencl:" + self.device()
        with tempfile.TemporaryDirectory() as folder:
            env = {**os.environ, "HSD_CACHE_DIR": folder}
            tuned = self.json("tune", "--device", device, *QUICK, env=env)["tuned"]
        self.assertEqual([(t["type"], t["n_rows"], t["last_rows"]) for t in tuned],
                         [("Q8_0", 1, 1), ("Q8_0", 4, 4), ("Q8_0", 8, 8), ("Q8_0", 32, 0)])
        for t in tuned:
            self.assertEqual(t["n_wrong"], 0)
            self.assertGreater(t["before_us"], 0)

    def test_what_cannot_be_tuned(self):
        self.assertIn("has no sizes", self.failure("tune", "--device", "cpu"))
        self.assertIn("no tensor type", self.failure("tune", "--type", "Q9_0"))
        self.assertIn("none of cpu", self.failure("tune", "--device", "tube"))
        self.assertIn("--repeats", self.usage_error("tune", "--repeats", "0"))


if __name__ == "__main__":
    unittest.main()
