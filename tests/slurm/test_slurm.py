#!/usr/bin/env python3
"""Proves: examples/slurm under Debian's Slurm, with nodes made of network namespaces: workers of the
        other nodes get keys of their own and are found by the description that the job makes; the
        tokens are those of mode ar on one machine; a node whose cable is pulled, and a worker that
        is killed, cost no token, are reported, and help again when they are back; nothing secret
        lies in the shared folder, and the job leaves no process and no secret behind.
Does not prove: anything about real networks, or about clusters without a shared file system.

Needs root, slurm-wlm, munge, iproute2: exit code 77 (skipped) without, with the reason.
"""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.environ["HSD_ROOT"], "tests", "cli"))
from cli_case import HSD, ROOT, hsd  # noqa: E402
from cluster import ENV, Cluster, Unable, run  # noqa: E402

SKIP = 77
TRIES = 150  # prompts until something must have happened; each takes some tenths of a second
OPTIONS = ["--tokens", "48", "--ignore-eos", "--temp", "0.8", "--top-k", "20", "--seed", "5"]


def prompt(i):
    return {"id": i, "prompt": f"Once upon a time there were {i} little"}


class Job:
    """`hsd batch` in a job; prompts go in one by one, results come out."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.fifo = cluster.path("prompts")
        self.results = cluster.path("results.jsonl")
        self.folder = cluster.path("job")
        self.n = 0
        os.mkfifo(self.fifo)
        os.mkdir(cluster.path("tmp"))
        ENV.update(HSD=HSD, HSD_FOLDER=self.folder, TMPDIR=cluster.path("tmp"))
        self.id = run("sbatch", "--parsable", f"--nodes={len(cluster.nodes)}", f"--output={self.log}",
                      os.path.join(ROOT, "examples", "slurm", "hsd.sbatch"), "batch", "--in",
                      self.fifo, "--out", self.results, "--mode", "mirror", "--window", "4",
                      "--sessions", "1", *OPTIONS, cwd=cluster.folder).strip()
        self.pipe = os.open(self.fifo, os.O_RDWR)  # does not wait for the reader

    @property
    def log(self):
        return self.cluster.path("job.log")

    def said(self):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def is_running(self):
        return run("squeue", "-h", "-j", self.id, "-o", "%t").strip() != ""

    def next(self):
        """Give one prompt, wait for its result."""
        os.write(self.pipe, (json.dumps(prompt(self.n)) + "\n").encode())
        self.n += 1
        while True:
            lines = self.lines()
            if len(lines) >= self.n:
                return lines[self.n - 1]["stats"]
            if not self.is_running():
                sys.exit(f"the job ended:\n{self.said()}")
            time.sleep(0.05)

    def lines(self):
        if not os.path.exists(self.results):
            return []
        with open(self.results, encoding="utf-8") as file:
            return [json.loads(line) for line in file.read().split("\n")[:-1]]

    def until(self, what, holds):
        for _ in range(TRIES):
            stats = self.next()
            if holds(stats):
                print(f"{what}: after {self.n} prompts, {stats['accepted']} of {stats['drafted']} "
                      f"accepted, {stats['workers_lost']} lost", flush=True)
                return
        sys.exit(f"{what} did not happen in {TRIES} prompts:\n{self.said()}")

    def end(self):
        os.write(self.pipe, b"")
        os.close(self.pipe)
        while self.is_running():
            time.sleep(0.1)


def worker_pids(folder):
    """Processes `hsd worker` of a job, by the list of clients on their command lines."""
    pids = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                words = file.read().decode(errors="replace").split("\0")
        except OSError:
            continue
        if "worker" in words[1:2] and os.path.join(folder, "clients") in words:
            key = words[words.index("--key") + 1]
            pids[os.path.basename(key).removesuffix(".key")] = int(name)
    return pids


def helps(stats):
    return stats["drafted"] > 0 and stats["accepted"] > 0 and stats["workers_lost"] == 0


def check_description(job, cluster):
    machine = json.loads(hsd("topo", "--json", "--topology",
                             os.path.join(job.folder, "topology.yaml")).stdout)
    assert [h["name"] for h in machine["hosts"]] == cluster.nodes, machine
    assert machine["hosts"][0]["here"] and machine["hosts"][1]["cpus"] == 2, machine
    assert [w["name"] for w in machine["workers"]] == cluster.nodes[1:], machine
    for path, _, names in os.walk(job.folder):
        for name in names:
            with open(os.path.join(path, name), encoding="utf-8") as file:
                assert "secret" not in file.read(), name
    assert os.stat(job.folder).st_mode & 0o077 == 0


def check_tokens(job):
    """The same prompts here, by the target alone."""
    with tempfile.TemporaryDirectory() as folder:
        prompts = os.path.join(folder, "prompts")
        with open(prompts, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(prompt(i)) + "\n" for i in range(job.n))
        done = hsd("batch", "--in", prompts, "--mode", "ar", *OPTIONS)
        assert done.returncode == 0, done.stderr
        alone = [json.loads(line) for line in done.stdout.splitlines()]
    ours = job.lines()
    assert len(alone) == len(ours) == job.n
    for a, b in zip(alone, ours):
        assert a["tokens"] == b["tokens"], (a["id"], a["tokens"], b["tokens"])
    print(f"{job.n} prompts, {sum(len(a['tokens']) for a in alone)} tokens: equal")


def check(cluster):
    far = cluster.nodes[1:]
    job = Job(cluster)
    job.until("workers help", helps)
    check_description(job, cluster)
    for node in far:
        cluster.plug(node, False)
    job.until("cables are pulled: lost", lambda s: s["workers_lost"] > 0)
    assert "going on without it" in job.said(), job.said()
    job.until("the target goes on alone", lambda s: s["drafted"] == 0)
    for node in far:
        cluster.plug(node, True)
    job.until("cables are back: workers help again", helps)

    before = worker_pids(job.folder)
    assert sorted(before) == far, before
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    job.until("workers are killed: lost", lambda s: s["workers_lost"] > 0 or s["drafted"] == 0)
    job.until("new workers help", helps)
    after = worker_pids(job.folder)
    assert sorted(after) == far and not set(after.values()) & set(before.values()), after

    os.write(job.pipe, b"")
    job.end()
    check_tokens(job)
    assert worker_pids(job.folder) == {}, worker_pids(job.folder)
    assert os.listdir(cluster.path("tmp")) == [], os.listdir(cluster.path("tmp"))


def main():
    try:
        with Cluster(3) as cluster:
            check(cluster)
    except Unable as why:
        print(f"skipped: {why}")
        return 1 if "HSD_TEST_SLURM" in os.environ else SKIP
    except subprocess.CalledProcessError as failed:
        sys.exit(f"{failed.cmd}: {failed.stderr}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
