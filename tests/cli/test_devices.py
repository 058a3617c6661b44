#!/usr/bin/env python3
"""Proves: `hsd devices` lists the CPU first, as a table and as JSON; a name that is no device is
        refused with what would be one; where there is an OpenCL device, `hsd run --device` prints
        the same text in modes ar, serial and mirror; without a loader's drivers it says why not.
Does not prove: what a device computes (tests/devices, tests/engine).
"""
import os
import unittest

from cli_case import PROMPT, CliCase, hsd


class Devices(CliCase):
    def opencl(self):
        ids = [item["id"] for item in self.json("devices")["devices"] if item["id"] != "cpu"]
        if not ids and "HSD_TEST_OPENCL" in os.environ:
            self.fail("there is no OpenCL device")
        if not ids:
            self.skipTest("there is no OpenCL device")
        return ids[0]

    def test_the_cpu_is_always_there(self):
        devices = self.json("devices")["devices"]
        self.assertEqual((devices[0]["id"], devices[0]["type"]), ("cpu", "cpu"))
        self.assertGreater(devices[0]["memory_bytes"], 0)
        for item in devices:
            self.assertEqual(set(item),
                             {"id", "type", "name", "driver", "memory_bytes", "n_units", "pci",
                              "uuid", "features", "unusable"})

    def test_the_table_has_the_same_devices(self):
        lines = self.ok("devices").splitlines()
        devices = self.json("devices")["devices"]
        self.assertEqual([line.split()[0] for line in lines[1:]], [item["id"] for item in devices])

    def test_a_name_that_is_no_device_is_refused(self):
        line = self.failure("run", "--device", "gpu", "--prompt", "x")
        self.assertIn("target_device", line)
        self.assertIn('"gpu" is none of cpu, cpu:0-3, opencl', line)
        line = self.failure("bench", "--draft-device", "opencl:x", "--modes", "none")
        self.assertIn("draft_device", line)

    def test_without_drivers_the_cpu_works_and_opencl_says_why_not(self):
        env = {**os.environ, "OCL_ICD_VENDORS": "/nonexistent"}
        done = hsd("devices", env=env)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(done.stdout.splitlines()), 2)
        done = hsd("run", "--device", "opencl", "--prompt", "x", env=env)
        self.assertEqual(done.returncode, 1)
        self.assertIn("(EDEVICE)", done.stderr)
        self.assertEqual(done.stdout, "")

    def test_every_mode_prints_the_same_on_opencl(self):
        device = self.opencl()
        texts = {self.ok("run", "--device", device, "--prompt", PROMPT, "--tokens", 24, "--mode",
                         mode) for mode in ["ar", "serial", "mirror"]}
        self.assertEqual(len(texts), 1)
        self.assertGreater(len(texts.pop()), 20)

    def test_bench_on_opencl_finds_equal_texts(self):
        result = self.json("bench", "--device", self.opencl(), "--repeats", 1, "--tokens", 8,
                           "--prefill", 0, "--rendezvous", 0, "--modes", "ar,serial")
        self.assertTrue(result["equal"])


if __name__ == "__main__":
    unittest.main()
