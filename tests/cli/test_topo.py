#!/usr/bin/env python3
"""Proves: `hsd topo` prints this machine as a tree, also with nothing measured, as YAML that it
        reads again as the same machine, as JSON with the processors of `hsd devices`, and as a
        picture; the examples are printed in all four ways, and a recording of lstopo too;
        --measure fills in rates, which later programs find, but not on a machine that changed; a
        mistake in a file is one line with file, field, line and column; wrong usage is refused.
        The workers of a description, and no forbidden ones, draft for `run`, `batch` and `bench`
        with --topology, and the tokens are those of mode ar.
Does not prove: what the machine is made of (tests/topology).
"""
import glob
import json
import os
import tempfile
import unittest
import xml.etree.ElementTree as ET

from cli_case import PROMPT, ROOT, CliCase, Worker, hsd

EXAMPLES = sorted(glob.glob(os.path.join(ROOT, "examples", "topology", "*.yaml")))
RECORDED = os.path.join(ROOT, "tests", "topology", "fixtures", "server.xml")


def write_recording(path, model):
    """A machine as hwloc records it, with the processors that this process may use."""
    cpus = sorted(os.sched_getaffinity(0))[:2]

    def sets(some):
        words = [f"0x{sum(1 << c for c in some if c // 32 == w) >> 32 * w:08x}"
                 for w in range(max(cpus) // 32, -1, -1)]
        return "".join(f' {name}="{value}"' for name, value in
                       [("cpuset", ",".join(words)), ("complete_cpuset", ",".join(words)),
                        ("nodeset", "0x1"), ("complete_nodeset", "0x1")])

    cores = "".join(f'<object type="Core" os_index="{c}"{sets([c])} gp_index="{10 + 2 * i}">'
                    f'<object type="PU" os_index="{c}"{sets([c])} gp_index="{11 + 2 * i}"/></object>'
                    for i, c in enumerate(cpus))
    with open(path, "w") as file:
        file.write('<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE topology SYSTEM "hwloc2.dtd">\n'
                   f'<topology version="2.0"><object type="Machine" os_index="0"{sets(cpus)} '
                   f'allowed_cpuset{sets(cpus).split(" cpuset")[1].split(" ")[0]} '
                   f'allowed_nodeset="0x1" gp_index="1"><object type="Package" os_index="0"'
                   f'{sets(cpus)} gp_index="2"><info name="CPUModel" value="{model}"/>'
                   f'<object type="NUMANode" os_index="0"{sets(cpus)} gp_index="3" '
                   f'local_memory="1073741824"/>{cores}</object></object></topology>\n')


class Topo(CliCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="hsd-")
        self.addCleanup(self.folder.cleanup)
        # No drivers, and nothing that another program measured.
        self.env = {**os.environ, "HSD_CACHE_DIR": self.path("cache"),
                    "OCL_ICD_VENDORS": "/nonexistent", "ZE_ENABLE_ALT_DRIVERS": "/nonexistent"}

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def test_this_machine_is_printed_as_a_tree_with_nothing_measured(self):
        text = self.ok("topo", env=self.env)
        self.assertIn("cpu0: cpu, id cpu", text)
        self.assertIn("(here)", text)
        self.assertIn("not measured yet: hsd topo --measure", text)

    def test_this_machine_survives_its_own_description(self):
        file = self.path("m.yaml")
        self.assertEqual(self.ok("topo", "--yaml", "--out", file, env=self.env), "")
        with open(file) as text:
            self.assertEqual(self.ok("topo", "--topology", file, "--yaml"), text.read())

    def test_json_has_the_processors_of_the_list_of_devices(self):
        machine = json.loads(self.ok("topo", "--json", env=self.env))
        cpu = json.loads(self.ok("devices", "--json", env=self.env))["devices"][0]
        whole = machine["devices"][0]
        self.assertEqual((whole["id"], whole["units"]), ("cpu", cpu["n_units"]))
        self.assertEqual(machine["hosts"][0]["memory_bytes"], cpu["memory_bytes"])
        self.assertTrue(machine["hosts"][0]["here"])

    def test_examples_and_recordings_are_printed_in_every_way(self):
        self.assertGreaterEqual(len(EXAMPLES), 3)
        for file in [*EXAMPLES, RECORDED]:
            names = [d["name"] for d in
                     json.loads(self.ok("topo", "--topology", file, "--json"))["devices"]]
            self.assertGreater(len(names), 0)
            tree = self.ok("topo", "--topology", file)
            yaml = self.ok("topo", "--topology", file, "--yaml")
            picture = self.ok("topo", "--topology", file, "--svg")
            self.assertEqual(ET.fromstring(picture).tag, "{http://www.w3.org/2000/svg}svg")
            for name in names:
                for text in (tree, yaml, picture):
                    self.assertIn(name, text)

    def test_what_is_measured_is_kept(self):
        before = json.loads(self.ok("topo", "--json", env=self.env))
        measured = json.loads(self.ok("topo", "--measure", "--json", env=self.env))
        after = json.loads(self.ok("topo", "--json", env=self.env))
        self.assertEqual(after, measured)
        self.assertEqual(before["fingerprint"], measured["fingerprint"])
        for was, now in zip(before["devices"], measured["devices"]):
            self.assertNotIn("read_gbps", was)
            for key in ("read_gbps", "f32_gops", "f16_gops", "int8_gops", "launch_ns"):
                self.assertGreater(now[key], 0)
        files = os.listdir(self.path("cache"))
        self.assertEqual(self.ok("topo", "--measure", "--json", env=self.env),
                         self.ok("topo", "--json", env=self.env))
        self.assertEqual(files, os.listdir(self.path("cache")))

    def test_a_changed_machine_is_measured_anew(self):
        # hwloc reads a recording of "this" machine: the same processors, but of another make.
        def rates(model):
            env = {**self.env, "HWLOC_THISSYSTEM": "1", "HWLOC_XMLFILE": self.path(model + ".xml")}
            write_recording(env["HWLOC_XMLFILE"], model)
            return env

        first = json.loads(self.ok("topo", "--measure", "--json", env=rates("one")))
        again = json.loads(self.ok("topo", "--json", env=rates("one")))
        other = json.loads(self.ok("topo", "--json", env=rates("two")))
        self.assertEqual(again, first)
        self.assertGreater(first["devices"][0]["read_gbps"], 0)
        self.assertNotIn("read_gbps", other["devices"][0])
        self.assertNotEqual(other["fingerprint"], first["fingerprint"])
        listed = json.loads(self.ok("devices", "--json", env=rates("two")))["devices"][0]
        self.assertEqual(listed["read_gbps"], 0)

    def test_a_mistake_in_a_file_has_a_place(self):
        file = self.path("bad.yaml")
        with open(file, "w") as text:
            text.write("topology: 1\nhosts:\n  - name: h\n    memory: 8 GB/s\n")
        line = self.failure("topo", "--topology", file)
        self.assertEqual(line, f'hsd: {file}: hosts[0].memory: "8 GB/s" has another unit: an amount '
                               'of memory is wanted, such as "8 GiB" (EFORMAT, line 4, column 13)')
        self.assertIn("(EIO)", self.failure("topo", "--topology", self.path("none.yaml")))
        self.assertIn("(EIO)", self.failure("topo", "--out", self.path("no/folder")))
        with open(self.path("bad.xml"), "w") as text:
            text.write("<a/>")
        self.assertIn("(EFORMAT)", self.failure("topo", "--topology", self.path("bad.xml")))

    def test_wrong_usage_is_refused(self):
        self.usage_error("topo", "--yaml", "--svg")
        self.usage_error("topo", "file")

    def test_a_full_disk_is_reported(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("there is no /dev/full")
        self.assertIn("(EIO)", self.failure("topo", "--out", "/dev/full"))


class Workers(CliCase):
    OPTIONS = ["--prompt", PROMPT, "--ignore-eos", "--tokens", 40, "--window", 4]

    def describe(self, folder, endpoint, device=""):
        file = os.path.join(folder, "m.yaml")
        with open(file, "w") as text:
            text.write("topology: 1\nhosts: [{name: h, here: true}]\ndevices:\n"
                       f"  - {{name: d, type: cpu, host: h, id: cpu{device}}}\n"
                       f"workers: [{{name: w, device: d, endpoint: \"{endpoint}\"}}]\n")
        return file

    def test_a_described_worker_drafts(self):
        alone = self.json("run", *self.OPTIONS, "--mode", "ar")["tokens"]
        with Worker("--verbose") as worker, tempfile.TemporaryDirectory() as folder:
            file = self.describe(folder, worker.endpoint)
            made = self.json("run", *self.OPTIONS, "--mode", "mirror", "--topology", file)
            self.assertEqual(made["tokens"], alone)
            self.assertGreater(made["stats"]["drafted"], 0)
            done = hsd("batch", "--mode", "mirror", "--ignore-eos", "--tokens", 40, "--topology",
                       file, input=json.dumps({"prompt": PROMPT}) + "\n")
            self.assertEqual(json.loads(done.stdout)["tokens"], alone, done.stderr)
            self.ok("bench", "--modes", "mirror", "--repeats", 1, "--tokens", 8, "--prefill", 0,
                    "--rendezvous", 0, "--topology", file)
            code, said = worker.stop()
            self.assertEqual(code, 0, said)

    def test_a_worker_that_is_not_there_costs_no_token(self):
        alone = self.json("run", *self.OPTIONS, "--mode", "ar")["tokens"]
        with tempfile.TemporaryDirectory() as folder:
            file = self.describe(folder, f"ipc://{folder}/nobody")
            done = hsd("run", *self.OPTIONS, "--mode", "mirror", "--json", "--topology", file)
            self.assertEqual(json.loads(done.stdout)["tokens"], alone)
            self.assertIn(f"{folder}/nobody", done.stderr)
            # A forbidden one is not even looked for: the engine's own draft works.
            file = self.describe(folder, f"ipc://{folder}/nobody", ", forbidden: true")
            done = hsd("run", *self.OPTIONS, "--mode", "mirror", "--json", "--topology", file)
            made = json.loads(done.stdout)
            self.assertEqual(made["tokens"], alone)
            self.assertGreater(made["stats"]["drafted"], 0)
            self.assertEqual(done.stderr, "")

    def test_other_hosts_need_keys_and_mistakes_have_a_place(self):
        with tempfile.TemporaryDirectory() as folder:
            file = self.describe(folder, "tcp://10.255.255.1:5555")
            self.assertIn("(EINVAL)", self.failure("run", *self.OPTIONS, "--topology", file))
            file = self.describe(folder, "ipc:///x", ", launch: 3")
            for command in (["run", *self.OPTIONS], ["batch"], ["bench"]):
                self.assertIn("devices[0].launch: \"3\" has no unit",
                              self.failure(*command, "--topology", file))


if __name__ == "__main__":
    unittest.main()
