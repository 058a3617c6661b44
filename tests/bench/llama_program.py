"""llama.cpp's own programs, as found on PATH: llama-server and llama-speculative-simple.

They are asked for the same tokens as everything else of suite.py and tell their own times, with all
that belongs to their loops. A server is a process per setting, as it takes its draft's settings when
it starts; llama-speculative-simple is one per generation, greedy only. Options that a program's
--help does not name have older names, or are left out.
"""
import functools
import http.client
import json
import re
import shutil
import socket
import subprocess
import tempfile
import time

SERVER, SIMPLE = "llama-server", "llama-speculative-simple"
START_S = 120  # until a server has loaded its models
ANSWER_S = 600


@functools.cache
def help_of(program):
    done = subprocess.run([program, "--help"], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@functools.cache
def version(program):
    """The line that says it; empty where it does not."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"version: *(.+)", done.stdout + done.stderr)
    return found.group(1).strip() if found else ""


def draft_options(program, draft, window, least, n_threads):
    """For chains of up to `window` tokens that the draft gives the probability `least` or more."""
    known = help_of(program)
    wanted = [(["--spec-type"], "draft-simple"), (["--model-draft"], draft),
              (["--spec-draft-n-max", "--draft-max", "--draft"], str(window)),
              (["--spec-draft-n-min", "--draft-min"], "0"),
              (["--spec-draft-p-min", "--draft-p-min"], f"{least:g}"),
              (["--threads-draft"], str(n_threads)), (["--threads-batch-draft"], str(n_threads))]
    options = []
    for names, value in wanted:
        name = next((name for name in names if re.search(re.escape(name) + r"\b(?!-)", known)), None)
        if name:
            options += [name, value]
        elif names[0] == "--model-draft":
            raise RuntimeError(f"{program} has no draft model")
    return options


class Server:
    """One llama-server with one slot; `draft` None: the target alone."""

    def __init__(self, target, n_threads, n_ctx, draft=None, window=0, least=0.0, draft_threads=1):
        with socket.socket() as one:  # free a moment ago
            one.bind(("127.0.0.1", 0))
            self.port = one.getsockname()[1]
        command = [SERVER, "--host", "127.0.0.1", "--port", str(self.port), "--model", target,
                   "--threads", str(n_threads), "--threads-batch", str(n_threads),
                   "--ctx-size", str(n_ctx), "--parallel", "1", "--n-gpu-layers", "0"]
        if draft:
            command += draft_options(SERVER, draft, window, least, draft_threads)
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=subprocess.STDOUT)
        self.wait()

    def said(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")[-2000:]

    def request(self, method, path, body=None):
        """(status, answer)"""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_S)
        try:
            connection.request(method, path, body and json.dumps(body),
                               {"Content-Type": "application/json"} if body else {})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def wait(self):
        for _ in range(START_S * 10):
            if self.process.poll() is not None:
                break
            try:
                if self.request("GET", "/health")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        state = f"is not ready after {START_S} s" if self.process.poll() is None else "ended"
        said = self.said()
        self.close()
        raise RuntimeError(f"{SERVER} {state}: {said}")

    def run(self, prompt, n_tokens, temperature, seed):
        """What one generation was, see `measured`."""
        status, answer = self.request("POST", "/completion", {
            "prompt": list(prompt), "n_predict": n_tokens, "temperature": temperature, "seed": seed,
            "samplers": ["temperature"] if temperature > 0 else ["top_k"], "top_k": 1,
            "ignore_eos": True, "cache_prompt": True, "return_tokens": True, "stream": False})
        if status != 200:
            raise RuntimeError(f"{SERVER} answers {status}: {answer[:500]}")
        return measured(json.loads(answer))

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()


def measured(answer):
    """Of an answer to /completion: tokens, tokens/s behind the first one, drafted, accepted. The
    first is of the prompt's pass, and the time begins behind it."""
    times = answer["timings"]
    n = times["predicted_n"]
    if n < 2 or times["predicted_ms"] <= 0:
        raise RuntimeError(f"{SERVER} made {n} tokens in {times['predicted_ms']} ms")
    return {"tokens": answer.get("tokens", []),
            "tokens_per_s": (n - 1) * 1000.0 / times["predicted_ms"],
            "drafted": times.get("draft_n", 0), "accepted": times.get("draft_n_accepted", 0)}


class Simple:
    """llama-speculative-simple: what it takes is a text, and it loads the models each time."""

    def __init__(self, target, n_threads, n_ctx, draft, window, least=0.0, draft_threads=1):
        self.command = [SIMPLE, "--model", target, "--threads", str(n_threads), "--ctx-size",
                        str(n_ctx), "--n-gpu-layers", "0", "--temp", "0", "--top-k", "1",
                        "--ignore-eos", *draft_options(SIMPLE, draft, window, least, draft_threads)]

    def run(self, text, n_tokens):
        done = subprocess.run([*self.command, "--n-predict", str(n_tokens), "--prompt", text],
                              capture_output=True, text=True, errors="replace", check=False,
                              stdin=subprocess.DEVNULL, timeout=ANSWER_S)
        if done.returncode != 0:
            raise RuntimeError(f"{SIMPLE}: {done.stderr[-500:]}")
        return printed(done.stdout + done.stderr)

    def close(self):
        pass


def printed(text):
    """Of what llama-speculative-simple prints: tokens/s, drafted, accepted."""
    rate = re.search(r"decoded +(\d+) tokens in +([\d.]+) seconds", text)
    counts = [re.search(rf"{name} *= *(\d+)", text) for name in ("n_drafted", "n_accept")]
    if not rate or not all(counts) or float(rate.group(2)) <= 0:
        raise RuntimeError(f"{SIMPLE} does not say its times: {text[-500:]}")
    return {"tokens_per_s": int(rate.group(1)) / float(rate.group(2)),
            "drafted": int(counts[0].group(1)), "accepted": int(counts[1].group(1))}


def found():
    """Those of the programs that are on PATH."""
    return [program for program in (SERVER, SIMPLE) if shutil.which(program)]
