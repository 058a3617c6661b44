"""Proves: `--trace` writes JSON that Python reads; on every thread spans nest and do not overlap
        otherwise; in every mode each step has one prefix, suffix, verify and commit, in this order
        and inside the step; counts and sums of the spans are those of the statistics; what the
        draft says of its windows is what the target says; a worker process writes a trace of its
        own on the same clock, and its spans are in the run's file too, on the run's clock also
        where its own is another (time and network namespaces), within the uncertainty that the
        file states; a worker that was killed costs spans and nothing else; a file that cannot be written is an error after the output;
        tests/bench/step_svg.py draws a step as well-formed SVG and refuses what is no trace.
Does not prove: that a span's length is right, nor what clocks of two real hosts do.
"""
import collections
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

from cli_case import HSD, PROMPT, ROOT, TIMEOUT_S, CliCase, Worker, hsd

DRAW = os.path.join(ROOT, "tests", "bench", "step_svg.py")
COMPUTING = ["catch up", "fresh rollout", "lengthen branch", "glue", "branches", "ahead"]


def read(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def spans_of(trace, track):
    """Complete events of the tracks whose name begins with `track`, by begin, outermost first."""
    tids = {(e["pid"], e["tid"]) for e in trace["traceEvents"]
            if e["name"] == "thread_name" and e["args"]["name"].startswith(track)}
    events = [e for e in trace["traceEvents"]
              if e["ph"] == "X" and (e["pid"], e["tid"]) in tids]
    return sorted(events, key=lambda e: (e["ts"], -e["dur"]))


def named(spans, name):
    return [e for e in spans if e["name"] == name]


class TraceCase(CliCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="hsd-")
        self.addCleanup(self.folder.cleanup)
        self.path = os.path.join(self.folder.name, "trace.json")

    def run_traced(self, *args):
        """(trace, stats) of a run."""
        got = self.json("run", "--prompt", PROMPT, "--trace", self.path, *args)
        return read(self.path), got["stats"]

    def check_nesting(self, trace):
        """Of two spans of a thread one holds the other or they have nothing in common."""
        threads = collections.defaultdict(list)
        for e in trace["traceEvents"]:
            if e["ph"] == "X":
                self.assertGreaterEqual(e["dur"], 0, e)
                threads[e["pid"], e["tid"]].append(
                    (round(e["ts"] * 1000), round((e["ts"] + e["dur"]) * 1000), e["name"]))
        self.assertTrue(threads)
        for spans in threads.values():
            open_spans = []
            for begin, end, name in sorted(spans, key=lambda s: (s[0], -s[1])):
                while open_spans and open_spans[-1][1] <= begin:
                    open_spans.pop()
                if open_spans:
                    self.assertLessEqual(end, open_spans[-1][1], (name, open_spans[-1]))
                open_spans.append((begin, end, name))

    def check_steps(self, spans, n_steps):
        """Each step of the target's spans has its parts inside, in order."""
        steps = named(spans, "step")
        self.assertEqual(len(steps), n_steps)
        self.assertEqual([e["args"]["step"] for e in steps], list(range(n_steps)))
        parts = collections.defaultdict(list)
        for e in spans:
            if e["name"] in ["prefix", "suffix", "verify", "commit", "emit"]:
                parts[e["args"]["step"]].append(e)
        for step in steps:
            of_step = parts[step["args"]["step"]]
            self.assertEqual([e["name"] for e in of_step],
                             ["prefix", "suffix", "verify", "commit", "emit"])
            for e in of_step:
                self.assertGreaterEqual(e["ts"], step["ts"])
                self.assertLessEqual(e["ts"] + e["dur"], step["ts"] + step["dur"] + 0.002)
                if e["name"] != "emit":
                    self.assertEqual(e["args"]["rows"], step["args"]["rows"])

    def check_sums(self, spans, stats):
        """The target's spans add up to the statistics."""
        steps, commits = named(spans, "step"), named(spans, "commit")
        for events in [steps, commits]:
            self.assertEqual(sum(e["args"]["accepted"] for e in events), stats["accepted"])
            self.assertEqual(sum(e["args"]["rows"] - 1 for e in events), stats["drafted"])
        self.assertEqual(sum(e["args"]["tokens"] for e in named(spans, "emit")), stats["n_tokens"])
        wants = [e["args"]["want"] if stats["mode"] != "ar" else 0 for e in steps]
        self.assertEqual(len(named(spans, "send STEP")), sum(w > 0 for w in wants))
        self.assertEqual(len(named(spans, "send COMMIT")), sum(w > 0 for w in wants[:-1]))
        self.assertEqual(len(named(spans, "send ALONE")),
                         sum(a == 0 and b > 0 for a, b in zip(wants, wants[1:])))
        if stats["mode"] == "mirror":
            sources = collections.Counter(e["args"].get("source") for e in commits[1:])
            self.assertEqual(sources["own"], stats["own_hits"])
            self.assertEqual(sources["proxy"], stats["proxy_hits"])
            self.assertEqual(sources["fresh"], stats["misses"])


class Runs(TraceCase):
    def test_each_step_is_whole_and_the_sums_are_the_statistics(self):
        for args in [["--mode", "ar"], ["--mode", "serial", "--window", 3],
                     ["--mode", "mirror", "--window", 4], ["--mode", "mirror", "--tree", 12],
                     ["--mode", "mirror"], ["--mode", "async"],
                     ["--mode", "mirror", "--with-ngram", "--draft-kind", "early_exit"],
                     ["--mode", "mirror", "--temp", 0.8, "--seed", 5]]:
            with self.subTest(args):
                trace, stats = self.run_traced("--tokens", 48, *args)
                spans = spans_of(trace, "target")
                self.assertEqual(trace["otherData"]["spans_dropped"], 0)
                self.check_nesting(trace)
                self.check_steps(spans, stats["steps"])
                self.check_sums(spans, stats)
                n_exit = sum(e["args"]["want"] > 0 for e in named(spans, "step")) \
                    if stats["mode"] == "mirror" else 0
                self.assertEqual(len(named(spans, "exit head")), n_exit)
                self.assertEqual(len(named(spans, "send PROXIES")), n_exit)

    def test_the_draft_takes_what_the_target_sends(self):
        trace, stats = self.run_traced("--tokens", 48, "--mode", "mirror", "--window", 4)
        target, draft = spans_of(trace, "target"), spans_of(trace, "draft worker")
        self.assertEqual(len({e["args"]["session"] for e in target + draft
                              if "session" in e["args"]}), 1)
        self.assertTrue(any(named(draft, name) for name in COMPUTING))
        sent = {(e["args"]["step"], e["args"]["source"]) for e in named(draft, "send WINDOW")}
        taken = {(e["args"]["step"], e["args"]["source"]) for e in named(target, "take WINDOW")}
        self.assertLessEqual(taken, sent)
        for kind, value in [("STEP", "tokens"), ("COMMIT", "want")]:
            out = {e["args"]["step"]: e for e in named(target, f"send {kind}")}
            n_taken = 0
            for e in named(draft, f"take {kind}"):
                n_taken += 1
                self.assertEqual(e["args"][value], out[e["args"]["step"]]["args"][value])
                self.assertGreaterEqual(e["ts"], out[e["args"]["step"]]["ts"])
            self.assertGreater(n_taken, 0)
            self.assertLessEqual(n_taken, stats["steps"])

    def test_a_target_that_goes_alone_tells_nothing(self):
        # The first steps of a session try every kind of length, also none.
        trace, stats = self.run_traced("--tokens", 100, "--mode", "serial", "--ignore-eos")
        target, draft = spans_of(trace, "target"), spans_of(trace, "draft worker")
        wants = {e["args"]["step"]: e["args"]["want"] for e in named(target, "step")}
        told = {e["args"]["step"] for name in ["send STEP", "send COMMIT"]
                for e in named(target, name)}
        self.assertGreater(list(wants.values()).count(0), 0)
        self.assertFalse([step for step in told if wants[step] == 0])
        self.assertGreater(len(named(target, "send ALONE")), 0)
        taken = named(draft, "take ALONE")
        self.assertTrue(taken)
        for e in taken:
            first, n = e["args"]["step"], e["args"]["tokens"]
            self.assertEqual([wants[i] for i in range(first, first + n)], [0] * n)

    def test_the_text_is_the_same_with_and_without(self):
        args = ["run", "--prompt", PROMPT, "--tokens", 40, "--mode", "mirror"]
        self.assertEqual(self.ok(*args), self.ok(*args, "--trace", self.path))


class Workers(TraceCase):
    def test_a_worker_process_writes_its_own_on_the_same_clock(self):
        theirs = os.path.join(self.folder.name, "worker.json")
        with Worker("--trace", theirs) as worker:
            trace, stats = self.run_traced("--tokens", 32, "--mode", "mirror", "--window", 4,
                                           "--worker", worker.endpoint)
            code, said = worker.stop(signal.SIGTERM)
            self.assertEqual(code, 0, said)
        other = read(theirs)
        self.check_nesting(other)
        # The run's own file has the session's spans of it as well.
        self.check_nesting(trace)
        theirs, ours = ([(e["name"], e["args"]) for e in spans_of(t, "draft worker")
                         if "session" in e["args"]] for t in [other, trace])
        without = [(name, {k: v for k, v in args.items() if k not in ("begin_ns", "dur_ns")})
                   for name, args in theirs]
        self.assertGreater(len(ours), 0)
        self.assertLessEqual(len(ours), len(theirs))
        self.assertEqual([(name, {k: v for k, v in args.items()
                                  if k not in ("begin_ns", "dur_ns")})
                          for name, args in ours], without[:len(ours)])
        target, draft = spans_of(trace, "target"), spans_of(other, "draft worker")
        self.check_steps(target, stats["steps"])
        self.check_sums(target, stats)
        self.assertNotEqual(target[0]["pid"], draft[0]["pid"])
        sent = {e["args"]["step"]: e["ts"] for e in named(target, "send STEP")}
        steps = named(draft, "take STEP")
        self.assertGreater(len(steps), 0)
        for e in steps:
            self.assertGreaterEqual(e["ts"], sent[e["args"]["step"]])


def can(*command):
    try:
        return subprocess.run([*command, "true"], capture_output=True, check=False,
                              timeout=TIMEOUT_S).returncode == 0
    except FileNotFoundError:
        return False


class Clocks(TraceCase):
    SHIFT_S = 5000

    def check_clock(self, trace, shift_s):
        """The offset that the file states is right within its uncertainty, and so are the spans."""
        clock, = trace["otherData"]["clocks"]
        self.assertEqual(clock["points"], 2)
        self.assertGreaterEqual(clock["uncertainty_ns"], 0)
        self.assertLessEqual(abs(clock["offset_ns"] + shift_s * 10**9), clock["uncertainty_ns"])
        target, draft = spans_of(trace, "target"), spans_of(trace, "draft worker")
        self.check_nesting(trace)
        slack = clock["uncertainty_ns"] / 1000 + 0.001
        for kind, here, there in [("STEP", target, draft), ("WINDOW", draft, target)]:
            sent = {e["args"]["step"]: e for e in named(here, f"send {kind}")}
            taken = named(there, f"take {kind}")
            self.assertTrue(taken)
            for e in taken:
                if kind == "STEP":  # one per step; windows may be several
                    self.assertGreaterEqual(e["ts"] + slack, sent[e["args"]["step"]]["ts"])
                else:
                    self.assertIn(e["args"]["step"], sent)
        for e in target + draft:
            self.assertEqual(round(e["ts"] * 1000), e["args"]["begin_ns"], e)
            self.assertEqual(round(e["dur"] * 1000), e["args"]["dur_ns"], e)
        everything = [e for e in target if e["name"] == "step"]
        begin, end = everything[0]["ts"], everything[-1]["ts"] + everything[-1]["dur"]
        inside = [e for e in named(draft, "take STEP") if begin - slack <= e["ts"] <= end + slack]
        self.assertTrue(inside, "the worker's steps lie elsewhere")

    def shifted(self, command):
        """`command` with a clock that is SHIFT_S ahead."""
        prefix = ["unshare", "-T", "--monotonic", str(self.SHIFT_S)]
        if not can(*prefix):
            self.skipTest("time namespaces cannot be made here")
        return [*prefix, *command]

    def test_a_worker_with_another_clock_is_aligned(self):
        args = self.shifted([HSD])
        with Worker(program=args) as worker:
            trace, _ = self.run_traced("--tokens", 48, "--mode", "mirror", "--window", 4,
                                       "--worker", worker.endpoint)
        self.check_clock(trace, self.SHIFT_S)

    def test_a_worker_with_our_clock_has_none_beyond_the_uncertainty(self):
        with Worker() as worker:
            trace, _ = self.run_traced("--tokens", 48, "--mode", "serial", "--window", 4,
                                       "--worker", worker.endpoint)
        self.check_clock(trace, 0)

    def test_a_worker_in_another_network_is_aligned(self):
        name = f"hsd{os.getpid()}"
        inside = ["ip", "netns", "exec", name]

        def ip(*args):
            done = subprocess.run(["ip", *args], capture_output=True, check=False, text=True,
                                  timeout=TIMEOUT_S)
            if done.returncode != 0:
                self.skipTest(f"no network namespace can be made here: {done.stderr.strip()}")

        if not shutil.which("ip"):
            self.skipTest("no ip")
        ip("netns", "add", name)
        self.addCleanup(subprocess.run, ["ip", "netns", "del", name], check=False)
        net = f"10.{77 + os.getpid() % 100}.{os.getpid() // 100 % 250}"
        ip("link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b", "netns", name)
        self.addCleanup(subprocess.run, ["ip", "link", "del", f"{name}a"], check=False,
                        stderr=subprocess.DEVNULL)
        ip("addr", "add", f"{net}.1/24", "dev", f"{name}a")
        ip("link", "set", f"{name}a", "up")
        ip("-n", name, "addr", "add", f"{net}.2/24", "dev", f"{name}b")
        ip("-n", name, "link", "set", f"{name}b", "up")
        ip("-n", name, "link", "set", "lo", "up")
        keys = {}
        for who in ["worker", "client"]:
            keys[who] = os.path.join(self.folder.name, who)
            self.ok("keygen", keys[who])
        args = [*inside, *self.shifted([HSD])]
        with Worker("--key", keys["worker"] + ".key", "--clients", keys["client"] + ".pub",
                    endpoint=f"tcp://{net}.2:5577", program=args) as worker:
            trace, _ = self.run_traced("--tokens", 48, "--mode", "mirror", "--window", 4,
                                       "--worker", worker.endpoint, "--worker-key",
                                       keys["worker"] + ".pub", "--key", keys["client"] + ".key")
        self.check_clock(trace, self.SHIFT_S)

    def test_a_worker_that_is_killed_costs_spans_only(self):
        expected = self.ok("run", "--prompt", PROMPT, "--tokens", 400, "--ignore-eos", "--ctx", 512)
        with Worker() as worker:
            run = subprocess.Popen(
                [HSD, "run", "--prompt", PROMPT, "--tokens", "400", "--ignore-eos", "--ctx", "512",
                 "--mode", "serial", "--window", "4", "--worker", worker.endpoint, "--trace",
                 self.path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            worker.stop(signal.SIGKILL)
            out, said = run.communicate(timeout=TIMEOUT_S)
        self.assertEqual(run.returncode, 0, said)
        self.assertEqual(out, expected)
        self.assertTrue(named(spans_of(read(self.path), "target"), "step"))


class Drawings(TraceCase):
    def draw(self, *args):
        return subprocess.run([sys.executable, DRAW, *args], capture_output=True, text=True,
                              timeout=TIMEOUT_S, check=False)

    def test_a_step_is_drawn_with_both_lanes(self):
        self.run_traced("--tokens", 48, "--mode", "mirror", "--window", 4)
        done = self.draw("--step", "1", self.path)
        self.assertEqual(done.returncode, 0, done.stderr)
        svg = "{http://www.w3.org/2000/svg}"
        root = xml.etree.ElementTree.fromstring(done.stdout)
        self.assertEqual(root.tag, svg + "svg")
        texts = [text.text for text in root.iter(svg + "text")]
        self.assertTrue(texts[0].startswith("Step 1: "), texts)
        self.assertLessEqual({"target", "draft"}, set(texts))
        blocks = {title.text.split(":")[0] for title in root.iter(svg + "title")}
        self.assertLessEqual({"prefix", "exit head", "suffix", "commit"}, blocks)

    def test_what_is_no_trace_is_refused(self):
        for content in ["", "[]", "{}", '{"traceEvents": 3}', '{"traceEvents": [{}]}',
                        '{"traceEvents": []}']:
            with open(self.path, "w", encoding="utf-8") as file:
                file.write(content)
            done = self.draw(self.path)
            self.assertEqual(done.returncode, 1, content)
            self.assertEqual((done.stdout, done.stderr.count("\n")), ("", 1), done.stderr)
        self.assertIn("/no/such", self.draw("/no/such").stderr)


class Failures(TraceCase):
    def test_a_trace_that_cannot_be_written_costs_no_output(self):
        expected = self.ok("run", "--prompt", PROMPT, "--tokens", 8)
        for path, why in [("/no/such/trace.json", "No such file or directory"),
                          ("/dev/full", "No space left on device")]:
            done = hsd("run", "--prompt", PROMPT, "--tokens", 8, "--trace", path)
            self.assertEqual(done.returncode, 1)
            self.assertEqual(done.stdout, expected)
            self.assertEqual(done.stderr,
                             f"hsd: {path}: the trace cannot be written: {why} (EIO)\n")
            done = hsd("run", "--prompt", PROMPT, "--tokens", 8, "--json", "--trace", path)
            self.assertEqual(done.returncode, 1)
            self.assertEqual(json.loads(done.stdout)["text"], expected[:-1])

    def test_a_run_that_fails_says_so_and_nothing_of_the_trace(self):
        line = self.failure("run", "--target", "/no/such.gguf", "--prompt", "x", "--trace",
                            self.path)
        self.assertIn("/no/such.gguf", line)
        self.assertEqual(spans_of(read(self.path), "target"), [])


if __name__ == "__main__":
    unittest.main()
