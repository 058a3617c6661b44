#!/usr/bin/env python3
"""Proves: `hsd devices` lists the CPU first, as a table and as JSON; a name that is no device is
        refused with what would be one; where there is an OpenCL or Level Zero device, `hsd run
        --device` prints the same text in modes ar, serial and mirror; without a loader's drivers it
        says why not. An NPU is listed with what it can do and needs, and refused with that.
Does not prove: what a device computes (tests/devices, tests/engine).
"""
import json
import os
import tempfile
import unittest

from cli_case import PROMPT, CliCase, hsd


class Devices(CliCase):
    def first(self, kind):
        """The id of the first usable device of a kind."""
        ids = [item["id"] for item in self.json("devices")["devices"]
               if item["id"].startswith(kind + ":") and not item["unusable"]]
        if not ids and f"HSD_TEST_{kind.upper()}" in os.environ:
            self.fail(f"there is no {kind} device")
        if not ids:
            self.skipTest(f"there is no {kind} device")
        return ids[0]

    def test_the_cpu_is_always_there(self):
        devices = self.json("devices")["devices"]
        self.assertEqual((devices[0]["id"], devices[0]["type"]), ("cpu", "cpu"))
        self.assertGreater(devices[0]["memory_bytes"], 0)
        for item in devices:
            self.assertEqual(set(item),
                             {"id", "type", "name", "driver", "memory_bytes", "n_units", "pci",
                              "uuid", "features", "unusable", "read_gbps", "f32_gops",
                              "f16_gops", "int8_gops", "launch_us"})

    def test_measured_speeds_are_kept(self):
        with tempfile.TemporaryDirectory() as folder:
            env = {**os.environ, "HSD_CACHE_DIR": folder, "OCL_ICD_VENDORS": "/nonexistent",
                   "ZE_ENABLE_ALT_DRIVERS": "/nonexistent"}
            before = json.loads(hsd("devices", "--json", env=env).stdout)["devices"]
            done = hsd("devices", "--measure", "--json", env=env)
            self.assertEqual(done.returncode, 0, done.stderr)
            measured = json.loads(done.stdout)["devices"]
            after = json.loads(hsd("devices", "--json", env=env).stdout)["devices"]
            for key in ["read_gbps", "f32_gops", "f16_gops", "int8_gops", "launch_us"]:
                self.assertEqual(before[0][key], 0)
                self.assertGreater(measured[0][key], 0)
            self.assertEqual(after, measured)
            os.chmod(folder, 0o700)
            env["HSD_CACHE_DIR"] = os.path.join(folder, "file")
            with open(env["HSD_CACHE_DIR"], "w") as file:
                file.write("no folder")
            done = hsd("devices", "--measure", env=env)
            self.assertEqual(done.returncode, 1)
            self.assertIn("(EIO)", done.stderr)

    def test_the_table_has_the_same_devices(self):
        lines = self.ok("devices").splitlines()
        devices = self.json("devices")["devices"]
        self.assertEqual([line.split()[0] for line in lines[1:]], [item["id"] for item in devices])

    def test_a_name_that_is_no_device_is_refused(self):
        line = self.failure("run", "--device", "gpu", "--prompt", "x")
        self.assertIn("target_device", line)
        self.assertIn('"gpu" is none of cpu, cpu:0-3, opencl, opencl:0, .., level_zero', line)
        line = self.failure("bench", "--draft-device", "opencl:x", "--modes", "none")
        self.assertIn("draft_device", line)

    def test_without_drivers_the_cpu_works_and_the_others_say_why_not(self):
        env = {**os.environ, "OCL_ICD_VENDORS": "/nonexistent",
               "ZE_ENABLE_ALT_DRIVERS": "/nonexistent"}
        done = hsd("devices", env=env)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(done.stdout.splitlines()), 2)
        for device in ["opencl", "level_zero"]:
            done = hsd("run", "--device", device, "--prompt", "x", env=env)
            self.assertEqual(done.returncode, 1)
            self.assertIn("(EDEVICE)", done.stderr)
            self.assertEqual(done.stdout, "")

    def test_every_mode_prints_the_same(self):
        for kind in ["opencl", "level_zero"]:
            with self.subTest(kind):
                device = self.first(kind)
                texts = {self.ok("run", "--device", device, "--prompt", PROMPT, "--tokens", 24,
                                 "--mode", mode) for mode in ["ar", "serial", "mirror"]}
                self.assertEqual(len(texts), 1)
                self.assertGreater(len(texts.pop()), 20)

    def test_bench_finds_equal_texts(self):
        for kind in ["opencl", "level_zero"]:
            with self.subTest(kind):
                result = self.json("bench", "--device", self.first(kind), "--repeats", 1,
                                   "--tokens", 8, "--prefill", 0, "--rendezvous", 0, "--modes",
                                   "ar,serial")
                self.assertTrue(result["equal"])

    def test_an_npu_is_listed_and_refused(self):
        npus = [item for item in self.json("devices")["devices"] if item["type"] == "npu"]
        if not npus:
            self.skipTest("there is no NPU")
        for item in npus:
            self.assertIn("needs the vendor driver's graph extension", item["unusable"])
            self.assertIn(item["unusable"], self.ok("devices"))
            line = self.failure("run", "--device", item["id"], "--prompt", "x")
            self.assertIn(item["unusable"], line)
            self.assertIn("(EUNSUPPORTED)", line)


if __name__ == "__main__":
    unittest.main()
