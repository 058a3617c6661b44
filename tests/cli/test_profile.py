#!/usr/bin/env python3
"""Proves: `hsd profile` measures target and draft on every device and thread count that is named,
        alone and beside each other, messages and acceptance; file, JSON and kept copy say the same;
        a whole pass is what its table says; a driver that aborts or never returns is the device's
        reason, and the rest is measured; one that aborts when it is listed is left out; processes
        that measure end with the one that asked; what is wrong with a profile is told with its line;
        `--report` writes one page without any address in it, whose numbers in a browser without a
        network are those of the trace.
Does not prove: that a time is right, nor how the page looks.
"""
import html
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

from cli_case import DRAFT, HSD, OTHER, PROMPT, TARGET, TIMEOUT_S, CliCase, hsd

QUICK = ["--quick", "--seconds", "2", "--tokens", "48"]
SOON_S = 60
FAULTS = os.environ.get("HSD_OPENCL_FAULTS", "")


class ProfileCase(CliCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="hsd-profile-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = os.path.join(self.folder, "profile.yaml")
        self.env = {**os.environ, "HSD_CACHE_DIR": os.path.join(self.folder, "cache")}

    def profile(self, *args, env=None):
        """(profile as JSON, what was said) of a run that must succeed."""
        done = hsd("profile", *QUICK, "--json", "--out", self.path, *args,
                   env={**self.env, **(env or {})})
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout), done.stderr

    def read(self, path=None):
        with open(path or self.path, encoding="utf-8", errors="replace") as file:
            return file.read()


class Measuring(ProfileCase):
    def check(self, got, threads):
        rows = [1, 2, 4, 8, 16]
        keys = {(p["role"], p["threads"], p["part"], p["rows"]) for p in got["passes"]}
        for role in ["target", "draft"]:
            for n in threads:
                for part in ["whole", "prefix", "exit_head", "suffix"]:
                    for count in rows[:2]:  # beyond that a slow machine may run out of time
                        self.assertIn((role, n, part, count), keys)
            places = [(t["threads"], t["past"]) for t in got["tables"] if t["role"] == role]
            self.assertEqual(sorted({n for n, _ in places}), threads)
            self.assertEqual(len(places), len(set(places)), places)
        self.assertIn("rollout", {p["part"] for p in got["passes"] if p["role"] == "draft"})
        for p in got["passes"]:
            self.assertGreater(p["low_ns"], 0, p)
            self.assertLessEqual(p["low_ns"], p["median_ns"], p)
            self.assertLessEqual(p["median_ns"], p["high_ns"], p)
            self.assertGreaterEqual(p["times"], 3, p)
        self.check_tables(got)

    def check_tables(self, got):
        """Fixed part, layers and head add up to the whole pass, as far as none of them is cut."""
        for t in got["tables"]:
            self.assertEqual((len(t["layer_ns"]), len(t["head_ns"])), (7, 7))
            layers = got[t["role"]]["layers"]
            whole = {p["rows"]: p["mean_ns"] for p in got["passes"]
                     if (p["role"], p["device"], p["threads"], p["past"], p["part"]) ==
                     (t["role"], t["device"], t["threads"], t["past"], "whole")}
            for i, count in enumerate([1, 2, 4, 8, 16, 32, 64]):
                self.assertGreater(t["layer_ns"][i], 0, t)
                if count in whole and t["head_ns"][i] > 0:
                    self.assertAlmostEqual(t["fixed_ns"] + layers * t["layer_ns"][i] +
                                           t["head_ns"][i], whole[count], delta=1.0)

    def test_the_cpu_is_measured_and_all_copies_are_one(self):
        got, said = self.profile("--device", "cpu", "--threads", "1")
        self.assertRegex(said, r"target on \S+ beside draft on \S+")
        self.check(got, [1])
        self.assertEqual([d["id"] for d in got["devices"]], ["cpu"])
        self.assertEqual(got["devices"][0]["failure"], "")
        for key in ["inproc_ns", "ipc_ns", "tcp_ns"]:
            self.assertGreater(got["rendezvous"][key], 0)
        a = got["acceptance"]
        self.assertGreater(a["seen"], 0)
        for name in ["accept", "own", "both"]:
            self.assertTrue(a[name] and all(0 <= x <= 1 for x in a[name]), a)
        for name in ["own", "both"]:
            self.assertEqual(a[name], sorted(a[name]))
        self.assertRegex(a["trail"], r"\A[0-9 -]+\Z")
        self.assertEqual([(t["target_threads"], t["draft_threads"]) for t in got["turns"]], [(1, 1)])
        for t in got["turns"]:
            self.assertGreaterEqual(min(t["step_ns"], t["call_ns"]), 0)
        yaml = self.read()
        kept = os.listdir(self.env["HSD_CACHE_DIR"])
        kept = [name for name in kept if name.startswith("profile")]
        self.assertEqual(len(kept), 2, kept)  # of the machine with and without its drivers
        for name in kept:
            self.assertIn(yaml, self.read(os.path.join(self.env["HSD_CACHE_DIR"], name)))
        self.assertEqual(yaml.count("role: target") + yaml.count("role: draft"),
                         len(got["tables"]) + len(got["slowdowns"]) + len(got["passes"]))
        self.assertIn("fingerprint: " + got["fingerprint"], yaml)

    def test_pairs_are_measured_beside_each_other(self):
        if len(os.sched_getaffinity(0)) < 2:
            self.skipTest("one processor")
        got, _ = self.profile("--device", "cpu", "--threads", "2", "--threads", "1")
        self.check(got, [1, 2])
        pairs = {(s["role"], s["threads"], s["beside_threads"]) for s in got["slowdowns"]}
        self.assertEqual(pairs, {("target", 1, 1), ("draft", 1, 1)})
        self.assertEqual({(t["target_threads"], t["draft_threads"]) for t in got["turns"]},
                         {(1, 1), (1, 2), (2, 1), (2, 2)})
        for s in got["slowdowns"]:
            self.assertGreaterEqual(s["factor"], 1)
            self.assertLessEqual(s["low"], s["high"])

    def test_without_a_draft_only_the_target_is_measured(self):
        got, said = self.profile("--target", TARGET, "--device", "cpu", "--threads", "1")
        self.assertNotIn("draft", got)
        self.assertEqual({p["role"] for p in got["passes"]}, {"target"})
        self.assertEqual(got["slowdowns"], [])
        self.assertEqual(got["turns"], [])
        self.assertEqual(got["acceptance"]["accept"], [])

    def test_a_table_for_people_is_printed(self):
        done = hsd("profile", *QUICK, "--out", self.path, "--device", "cpu", "--threads", "1",
                   env=self.env)
        self.assertEqual(done.returncode, 0, done.stderr)
        for words in ["Whole passes, ms", "target on cpu0, 1 thread", "draft  on cpu0, 1 thread",
                      "Messages of a mirror step", "Acceptance by depth"]:
            self.assertIn(words, done.stdout)

    def test_what_is_wrong_is_said(self):
        self.assertIn("is none of", self.failure("profile", "--device", "gpu", env=self.env))
        self.assertIn("/no/such", self.failure("profile", "--target", "/no/such", env=self.env))
        line = self.failure("profile", *QUICK, "--device", "cpu", "--threads", "1", "--target",
                            TARGET, "--out", "/no/such/profile.yaml", env=self.env)
        self.assertIn("/no/such/profile.yaml", line.splitlines()[-1])

    def failure(self, *args, **kwargs):
        """Progress is no error."""
        done = hsd(*args, **kwargs)
        self.assertEqual(done.returncode, 1, done.stderr)
        return done.stderr

    def children_of(self, pid):
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(word) for word in file.read().split()]

    def is_running(self, pid):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                return file.read().rpartition(")")[2].split()[0] not in "ZX"
        except OSError:
            return False

    def test_what_measures_ends_with_who_asked(self):
        pipe = os.path.join(self.folder, "never.yaml")  # a file that never ends
        os.mkfifo(pipe)
        parent = subprocess.Popen([HSD, "profile", "--topology", pipe, "--out", self.path],
                                  env=self.env, stderr=subprocess.DEVNULL)
        self.addCleanup(parent.wait)
        self.addCleanup(parent.kill)
        end, writer = time.monotonic() + TIMEOUT_S, -1
        while writer < 0 and time.monotonic() < end:
            try:
                writer = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)  # as soon as it is read
            except OSError:
                time.sleep(0.01)
        self.assertGreaterEqual(writer, 0)
        self.addCleanup(os.close, writer)
        child, = self.children_of(parent.pid)
        parent.kill()
        parent.wait()
        end = time.monotonic() + SOON_S
        while self.is_running(child) and time.monotonic() < end:
            time.sleep(0.01)
        is_running = self.is_running(child)
        if is_running:
            os.kill(child, signal.SIGKILL)
        self.assertFalse(is_running)

    def test_a_child_whose_parent_is_gone_does_nothing(self):
        done = hsd("profile", "--piece", "begin", "--parent", "1", "--device", "cpu", env=self.env)
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(done.stdout, "")

    def test_usage_errors(self):
        self.assertIn("--seconds", self.usage_error("profile", "--seconds", "x"))
        self.assertIn("--report", self.usage_error("profile", "--report", "x", "-p", "a", "-p", "b"))
        self.assertIn("--trace", self.usage_error("profile", "--trace", "x"))

    def test_a_broken_profile_is_told_with_its_line(self):
        begin = hsd("profile", "--piece", "begin", "--device", "cpu", env=self.env)
        self.assertEqual(begin.returncode, 0, begin.stderr)
        broken = begin.stdout.replace("cache: kv-f32", "cache: kv-f32\ncolour: red")
        number = broken.splitlines().index("colour: red") + 1
        done = hsd("profile", "--piece", "0", "--device", "cpu", input=broken, env=self.env)
        self.assertEqual(done.returncode, 1)
        self.assertIn("Unexpected key: colour", done.stderr)
        self.assertRegex(done.stderr, rf"\(EFORMAT, line ({number - 1}|{number})\)")

    def test_drafts_of_another_vocabulary_end_acceptance_only(self):
        got, said = self.profile("--target", TARGET, "--draft", OTHER, "--device", "cpu",
                                 "--threads", "1")
        self.assertIn("warning: acceptance: not measured", said)
        self.assertEqual(got["acceptance"]["seen"], 0)
        self.assertEqual({p["role"] for p in got["passes"]}, {"target", "draft"})


@unittest.skipUnless(FAULTS, "no layer for OpenCL faults in this build")
class Crashes(ProfileCase):
    def faulty(self, fault, *args):
        env = {"OPENCL_LAYERS": FAULTS, "HSD_TEST_CL_FAULT": fault, "HSD_CACHE_DIR":
               self.env["HSD_CACHE_DIR"]}
        listed = hsd("devices", "--json", env={**self.env, "OPENCL_LAYERS": FAULTS})
        if "opencl:0" not in listed.stdout:
            self.skipTest("there is no OpenCL device")
        return self.profile("--device", "cpu", "--device", "opencl:0", "--threads", "1", *args,
                            env=env)

    def check(self, got, why):
        devices = {d["id"]: d for d in got["devices"]}
        self.assertEqual(devices["cpu"]["failure"], "")
        self.assertIn(why, devices["opencl:0"]["failure"])
        cpu = {devices["cpu"]["name"]}
        self.assertEqual({t["device"] for t in got["tables"]}, cpu)
        self.assertEqual({(t["role"], t["device"]) for t in got["tables"]},
                         {("target", "cpu0"), ("draft", "cpu0")})
        self.assertEqual({s["device"] for s in got["slowdowns"]} - cpu, set())
        self.assertIn("failure: ", self.read())

    def test_a_driver_that_aborts_is_the_devices_reason(self):
        got, said = self.faulty("clBuildProgram abort")
        self.check(got, "it crashed, signal 6 (Aborted)")
        self.assertRegex(said, r"warning: target on \S+: not measured: it crashed")

    def test_a_driver_that_aborts_when_it_is_listed_is_left_out(self):
        if "opencl:0" not in hsd("devices", "--json", env=self.env).stdout:
            self.skipTest("there is no OpenCL device")
        env = {"OPENCL_LAYERS": FAULTS, "HSD_TEST_CL_FAULT": "clGetDeviceIDs abort"}
        crashed = hsd("devices", env={**self.env, **env})
        self.assertEqual(crashed.returncode, -signal.SIGABRT, crashed.stderr)
        got, said = self.profile("--target", TARGET, env=env)
        self.assertIn("warning: devices of OpenCL are left out, asking for them: it crashed, "
                      "signal 6", said)
        self.assertNotIn("opencl", " ".join(d["id"] for d in got["devices"]))
        self.assertIn("cpu", [d["id"] for d in got["devices"]])
        self.assertTrue(got["tables"])

    def test_a_driver_that_never_returns_is_the_devices_reason(self):
        got, _ = self.faulty("clBuildProgram stop", "--patience", "20")
        hung, = [d for d in got["devices"] if d["id"] == "opencl:0"]
        self.assertIn("it did not end within 20 s", hung["failure"])
        self.assertFalse([t for t in got["tables"] if t["device"] == hung["name"]])


def chromium():
    for name in ["chromium", "chromium-browser", "google-chrome"]:
        path = shutil.which(name)
        if path:
            return path
    return None


class Reports(ProfileCase):
    def report(self, *args):
        """(page, trace) of a run."""
        page, trace = (os.path.join(self.folder, n) for n in ["run.html", "trace.json"])
        done = hsd("profile", "--report", page, "--trace", trace, *args, env=self.env)
        self.assertEqual(done.returncode, 0, done.stderr)
        return self.read(page), json.loads(self.read(trace))

    def data_of(self, page):
        inside, = re.findall(r'<script id="data" type="application/json">(.*?)</script>', page, re.S)
        return json.loads(inside)

    def test_a_page_holds_its_data_and_no_address(self):
        nasty = "</script><script>alert(1)</script><!-- & \u2028 \"quoted\" \u00e9"
        page, trace = self.report("--prompt", nasty, "--tokens", "24", "--mode", "serial",
                                  "--window", "3")
        self.assertEqual(page.count("<script"), 2)
        self.assertEqual(page.count("</script>"), 2)
        self.assertNotIn("@DATA@", page)
        data = self.data_of(page)
        self.assertEqual(data["prompt"], nasty)
        self.assertEqual(data["trace"], trace)
        without = page.replace("http://www.w3.org/2000/svg", "")  # a name, not an address
        self.assertNotRegex(without.split('<script id="data"')[0], r"(src|href)=|https?://|url\(")
        self.assertNotRegex(without.split("</script>")[-2], r"https?://|fetch\(|XMLHttp|import\(")

    def test_what_cannot_be_written_is_an_error(self):
        for path in ["/no/such/run.html", "/dev/full"]:
            done = hsd("profile", "--report", path, "--tokens", "4", env=self.env)
            self.assertEqual(done.returncode, 1)
            self.assertIn(path, done.stderr)

    def dom(self, page):
        """The page's document after its script ran, without a network."""
        browser = chromium()
        if not browser:
            self.skipTest("there is no chromium")
        path = os.path.join(self.folder, "again.html")
        with open(path, "w", encoding="utf-8") as file:
            file.write(page)
        command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom",
                   "--virtual-time-budget=20000", "--proxy-server=127.0.0.1:9", "--proxy-bypass-list=<-loopback>",
                   "--disable-background-networking", "--disable-component-update",
                   f"--user-data-dir={self.folder}/chromium", "file://" + path]
        offline = ["unshare", "-n"]
        if subprocess.run([*offline, "true"], capture_output=True, check=False).returncode == 0:
            command = offline + command
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S,
                              check=False)
        if done.returncode != 0 or "<html" not in done.stdout:
            self.skipTest(f"chromium does not run here: {done.stderr[-300:]}")
        self.assertIn('data-drawn="1"', done.stdout, "the script did not reach its end")
        return done.stdout.split('<script id="data"')[0]

    def text_of(self, dom, name):
        found = re.search(rf'<(\w+)[^>]*\bid="{name}"[^>]*>(.*?)</\1>', dom, re.S)
        self.assertTrue(found, name)
        return html.unescape(re.sub(r"<[^>]*>", " ", found.group(2))).split()

    @staticmethod
    def quantile(values, q):
        values = sorted(values)
        at = q * (len(values) - 1)
        i = int(at)
        return values[i] + (at - i) * (values[min(i + 1, len(values) - 1)] - values[i])

    def check_latency(self, dom, name, ns):
        words = self.text_of(dom, "lat-" + name)
        numbers = [float(word.replace(",", "")) for word in words[-6:]]
        expected = [len(ns), sum(ns) / len(ns) / 1e3, *(self.quantile(ns, q) / 1e3 for q in
                                                       [0.5, 0.95, 0.99]), max(ns) / 1e3]
        for got, want in zip(numbers, expected):
            self.assertAlmostEqual(got, want, delta=0.051 + 1e-9 * want, msg=f"{name}: {words}")

    def check_page(self, page, trace):
        stats = self.data_of(page)["stats"]
        dom = self.dom(page)
        spans = [e for e in trace["traceEvents"] if e["ph"] == "X"]
        steps = sorted((e for e in spans if e["name"] == "step"), key=lambda e: e["ts"])
        self.assertEqual(len(steps), stats["steps"])
        self.assertEqual(self.text_of(dom, "n-tokens"), [f"{stats['n_tokens']:,}"])
        self.assertEqual(self.text_of(dom, "per-step"),
                         [f"{stats['n_tokens'] / stats['steps']:.2f}"])
        self.check_latency(dom, "step", [e["args"]["dur_ns"] for e in steps])
        self.check_latency(dom, "suffix", [e["args"]["dur_ns"] for e in spans
                                           if e["name"] == "suffix"])
        emitted = {e["args"]["step"]: e["args"]["tokens"] for e in spans if e["name"] == "emit"}
        self.check_latency(dom, "token", [e["args"]["dur_ns"] / emitted[e["args"]["step"]]
                                          for e in steps for _ in range(emitted[e["args"]["step"]])])
        reached, accepted = {}, {}
        for e in steps:
            n, good = e["args"]["rows"] - 1, e["args"]["accepted"]
            for d in range(1, min(n, good + 1) + 1):
                reached[d] = reached.get(d, 0) + 1
                accepted[d] = accepted.get(d, 0) + (d <= good)
        for name, counts in [("reached", reached), ("accepted", accepted)]:
            words = self.text_of(dom, "depth-" + name)
            self.assertEqual(words, [name] + [f"{counts[d]:,}" for d in sorted(counts)])
        if stats["mode"] == "mirror":
            for key, want in [("own", "own_hits"), ("proxy", "proxy_hits"), ("fresh", "misses")]:
                words = self.text_of(dom, "hits-" + key)
                self.assertIn(f"{stats[want]:,}", words, (key, words))
        return dom

    def test_a_browser_without_a_network_shows_the_traces_numbers(self):
        page, trace = self.report("--prompt", PROMPT, "--tokens", "64", "--mode", "mirror",
                                  "--window", "4", "--ignore-eos")
        dom = self.check_page(page, trace)
        self.assertIn("draft: branches", dom)

    def test_a_browser_shows_runs_without_a_draft(self):
        page, trace = self.report("--prompt", PROMPT, "--tokens", "16", "--mode", "ar")
        dom = self.dom(page)
        self.assertIn("no windows were verified", dom)
        self.check_latency(dom, "step", [e["args"]["dur_ns"] for e in trace["traceEvents"]
                                         if e["name"] == "step"])


if __name__ == "__main__":
    unittest.main()
