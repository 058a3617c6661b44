#!/usr/bin/env python3
"""Proves: with the shipped pair and real `hsd worker` processes that are killed and started again,
        and stopped and continued, at random times in the middle of generations - all modes, chains
        and trees, 1 to 3 workers, greedy and sampled - every generation has the tokens of mode
        ar; each lost worker is reported; once the
        faults end the workers are used again; every process ends cleanly and leaves no socket.
Does not prove: damaged messages (tests/pipelines/test_soak.c); any time.

HSD_TEST_FAULTS: how many faults at least; HSD_TEST_SEED: another schedule.
"""
import collections
import json
import os
import random
import signal
import subprocess
import threading
import time
import unittest

from cli_case import HSD, TIMEOUT_S, CliCase, Worker

FAULTS = int(os.environ.get("HSD_TEST_FAULTS", "40"))
SEED = int(os.environ.get("HSD_TEST_SEED", "1"))
TOKENS = 250
PROMPTS = ["Once upon a time there was a little girl who", "The old man", "One day, a big dog",
           "Lily and Tom went to the park", "The sea"]
GENERATIONS = 4  # with faults, per setting
RETURNS, RETURN_S = 200, 60  # generations, and as long at least, until one that is back is used


class Batch:
    """One `hsd batch` process that is given line after line."""

    def __init__(self, *args):
        self.process = subprocess.Popen(
            [HSD, "batch", "--sessions", "1", "--ignore-eos", "--tokens", str(TOKENS),
             *map(str, args)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.warnings = []
        self.reader = threading.Thread(target=self.warnings.extend, args=[self.process.stderr])
        self.reader.start()

    def generate(self, line):
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        code = self.process.wait(timeout=TIMEOUT_S)
        self.release()
        return code

    def release(self):
        """Also when a check failed half-way."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.reader.join()
        for stream in [self.process.stdin, self.process.stdout, self.process.stderr]:
            stream.close()


class Injector(threading.Thread):
    """Faults at random times until `end`, which mends everything."""

    def __init__(self, workers, draw, counts):
        super().__init__()
        self.workers, self.draw, self.counts = workers, draw, counts
        self.is_over = threading.Event()
        self.present = {}  # worker: (fault, end)
        self.error = None

    def mend(self, worker):
        fault, _ = self.present.pop(worker)
        if fault == "stopped":
            worker.process.send_signal(signal.SIGCONT)
        else:
            worker.__enter__()

    def spoil(self, worker):
        fault = self.draw.choice(["killed", "stopped"])
        if fault == "stopped":
            worker.process.send_signal(signal.SIGSTOP)
        else:
            worker.stop(signal.SIGKILL)
            worker.process.stderr.close()
        self.counts[fault] += 1
        self.present[worker] = fault, time.monotonic() + self.draw.uniform(0.0, 0.3)

    def run(self):
        try:
            while not self.is_over.wait(self.draw.uniform(0.005, 0.08)):
                for worker in [w for w, (_, end) in self.present.items()
                               if end < time.monotonic()]:
                    self.mend(worker)
                worker = self.draw.choice(self.workers)
                if worker not in self.present:
                    self.spoil(worker)
            for worker in list(self.present):
                self.mend(worker)
        except Exception as error:  # reported by end()
            self.error = error

    def end(self):
        self.is_over.set()
        self.join()
        if self.error:
            raise self.error


class Soak(CliCase):
    def draw_line(self, draw):
        line = {"prompt": draw.choice(PROMPTS), "mode": draw.choice(["serial", "mirror", "async"])}
        if draw.random() < 0.5:
            line["window"] = draw.randint(3, 8)
            if draw.random() < 0.5:
                line["tree"] = line["window"] + draw.randint(0, 10)
        if draw.random() < 0.5:
            line.update(temp=0.8, seed=draw.randint(0, 999))
        return line

    def check(self, got, line, reference):
        setting = f"seed {SEED}, {line}"
        self.assertNotIn("error", got, setting)
        self.assertEqual(len(got["tokens"]), TOKENS, setting)
        alone = {k: v for k, v in line.items() if k in ["prompt", "temp", "seed"]}
        expected = reference.generate(dict(alone, mode="ar"))
        self.assertEqual(got["tokens"], expected["tokens"], setting)

    def batch(self, *args):
        batch = Batch("--threads", "1", *args)
        self.addCleanup(batch.release)
        return batch

    def run_setting(self, draw, n_workers, reference, counts):
        workers = [Worker("--threads", "1") for _ in range(n_workers)]
        for worker in workers:
            worker.__enter__()
            self.addCleanup(worker.__exit__)
        batch = self.batch(*[x for w in workers for x in ["--worker", w.endpoint]])
        n_lost = 0
        for _ in range(GENERATIONS):
            line = self.draw_line(draw)
            injector = Injector(workers, draw, counts)
            injector.start()
            try:
                got = batch.generate(line)
            finally:
                injector.end()
            self.check(got, line, reference)
            counts["generations"] += 1
            counts["tokens"] += len(got["tokens"])
            n_lost += got["stats"]["workers_lost"]
        n_after, end = 0, time.monotonic() + RETURN_S
        while n_after < RETURNS or time.monotonic() < end:
            n_after += 1
            line = {"prompt": PROMPTS[0], "mode": "mirror", "window": 5}
            got = batch.generate(line)
            self.check(got, line, reference)
            n_lost += got["stats"]["workers_lost"]
            if got["stats"]["workers_lost"] == 0 and got["stats"]["accepted"] > 0:
                break
        else:
            self.fail(f"seed {SEED}: the workers are not used again in {n_after} generations: "
                      f"{got['stats']}; exit codes {[w.process.poll() for w in workers]}; "
                      f"{batch.warnings}")
        self.assertEqual(batch.close(), 0, batch.warnings)
        reports = [line for line in batch.warnings if "going on without it" in line]
        self.assertGreaterEqual(len(reports), n_lost, batch.warnings)
        counts["lost"] += n_lost
        for worker in workers:
            code, said = worker.stop()
            self.assertEqual(code, 0, said)
            self.assertFalse(os.path.exists(worker.endpoint[len("ipc://"):]))

    def test_faults_in_the_middle_of_generations_change_no_token(self):
        draw, counts = random.Random(SEED), collections.Counter()
        begin = time.monotonic()
        reference = self.batch()
        n_settings = 0
        while counts["killed"] + counts["stopped"] < FAULTS:
            self.run_setting(draw, 1 + n_settings % 3, reference, counts)
            n_settings += 1
        self.assertEqual(reference.close(), 0)
        print(f"{n_settings} settings, {time.monotonic() - begin:.1f} s:", dict(counts))


if __name__ == "__main__":
    unittest.main()
