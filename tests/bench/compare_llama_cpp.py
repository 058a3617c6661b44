#!/usr/bin/env python3
"""Single-row decode and prefill of hsd beside llama.cpp: same GGUF, same threads, one run.

llama.cpp comes from the PyPI package `llama-cpp-python` (pip builds it from source for this
machine). Repeats of both are interleaved; medians and the median of the repeats' ratios are
printed as a Markdown table. Only llama_decode is timed on its side, without sampling; on the side
of hsd the decode rate is that of whole generations in mode ar, sampling and delivery included.

    pip install llama-cpp-python
    python3 tests/bench/compare_llama_cpp.py --hsd build/gcc-release/cli/hsd FILE.gguf ...

Without files the shipped pair is measured. Nothing is judged: look at the ratios.
"""
import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import time

import llama_cpp

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SHIPPED = [os.path.join(ROOT, "models", f"hsd-story-{name}.gguf") for name in ["target", "draft"]]
PROMPT = "Once upon a time there was"


class LlamaCpp:
    """A model in llama.cpp with its default settings, driven through its low-level API."""

    def __init__(self, path, n_threads, n_ctx):
        model_params = llama_cpp.llama_model_default_params()
        model_params.n_gpu_layers = 0
        self.model = llama_cpp.llama_model_load_from_file(path.encode(), model_params)
        if not self.model:
            raise RuntimeError(f"llama.cpp cannot load {path}")
        n_train = llama_cpp.llama_model_n_ctx_train(self.model)
        self.n_ctx = min(n_ctx, n_train)
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = self.n_ctx
        params.n_batch = params.n_ubatch = max(512, self.n_ctx)
        params.n_threads = params.n_threads_batch = n_threads
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        vocab = llama_cpp.llama_model_get_vocab(self.model)
        self.n_vocab = llama_cpp.llama_vocab_n_tokens(vocab)
        self.batch = llama_cpp.llama_batch_init(self.n_ctx, 0, 1)

    def close(self):
        llama_cpp.llama_batch_free(self.batch)
        llama_cpp.llama_free(self.context)
        llama_cpp.llama_model_free(self.model)

    def clear(self):
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)

    def decode(self, first, n_tokens):
        """Seconds of one llama_decode of n_tokens from position `first`, logits of the last."""
        self.batch.n_tokens = n_tokens
        for i in range(n_tokens):
            self.batch.token[i] = (first + i) % (self.n_vocab - 4) + 3
            self.batch.pos[i] = first + i
            self.batch.n_seq_id[i] = 1
            self.batch.seq_id[i][0] = 0
            self.batch.logits[i] = i == n_tokens - 1
        begin = time.perf_counter()
        status = llama_cpp.llama_decode(self.context, self.batch)
        llama_cpp.llama_synchronize(self.context)
        seconds = time.perf_counter() - begin
        if status != 0:
            raise RuntimeError(f"llama_decode: {status}")
        return seconds

    def measure(self, n_prompt, n_tokens, n_prefill):
        """(decode tokens per second, prefill tokens per second)"""
        self.clear()
        prefill = n_prefill / self.decode(0, n_prefill)
        self.clear()
        self.decode(0, n_prompt)
        seconds = sum(self.decode(n_prompt + i, 1) for i in range(n_tokens))
        return n_tokens / seconds, prefill


def hsd_measure(program, path, n_threads, n_tokens, n_prefill, inner_repeats):
    """(decode tokens per second, prefill tokens per second) of `hsd bench` in mode ar."""
    done = subprocess.run(
        [program, "bench", "--target", path, "--draft-kind", "auto", "--modes", "ar", "--prompt",
         PROMPT, "--tokens", str(n_tokens), "--ignore-eos", "--prefill", str(n_prefill),
         "--rendezvous", "0", "--threads", str(n_threads), "--repeats", str(inner_repeats),
         "--json"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    result = json.loads(done.stdout)
    return result["modes"][0]["tokens_per_s"], result["prefill"]["tokens_per_s"]


def n_prompt_of(program, path):
    done = subprocess.run([program, "run", "--target", path, "--prompt", PROMPT, "--tokens", "1",
                           "--mode", "ar", "--json"], capture_output=True, text=True, check=True)
    return len(json.loads(done.stdout)["prompt_tokens"])


def compare(args, path, n_threads):
    """One line of the table."""
    n_prompt = n_prompt_of(args.hsd, path)
    llama = LlamaCpp(path, n_threads, 2048)
    n_tokens = min(args.tokens, llama.n_ctx - n_prompt - 1)
    n_prefill = min(args.prefill, llama.n_ctx - 1)
    ours, theirs = [], []
    for repeat in range(args.repeats + 1):
        both = (hsd_measure(args.hsd, path, n_threads, n_tokens, n_prefill, 3),
                tuple(map(statistics.median, zip(*(
                    llama.measure(n_prompt, n_tokens, n_prefill) for _ in range(3))))))
        if repeat > 0:  # the first one warms up
            ours.append(both[0])
            theirs.append(both[1])
    llama.close()
    cells = [os.path.basename(path), str(n_threads)]
    for what in [0, 1]:
        a, b = [pair[what] for pair in ours], [pair[what] for pair in theirs]
        ratio = statistics.median(x / y for x, y in zip(a, b))
        cells += [f"{statistics.median(a):,.0f}", f"{statistics.median(b):,.0f}", f"{ratio:.2f}"]
    return cells + [str(n_prefill)]


@llama_cpp.llama_log_callback
def quiet(_level, _text, _user):
    """llama.cpp's log lines are not wanted here."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hsd", required=True, help="the program, as built")
    parser.add_argument("--threads", default="1,2", help="comma-separated (default 1,2)")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=128, help="generated per measurement")
    parser.add_argument("--prefill", type=int, default=128)
    parser.add_argument("models", nargs="*", default=SHIPPED)
    args = parser.parse_args()
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    print(f"llama-cpp-python {llama_cpp.__version__}; tokens per second, medians of "
          f"{args.repeats} repeats\n")
    print("| model | threads | decode hsd | decode llama.cpp | ratio | prefill hsd | "
          "prefill llama.cpp | ratio | prefill tokens |")
    print("|---|---|---|---|---|---|---|---|---|")
    for path in args.models:
        for n_threads in map(int, args.threads.split(",")):
            print("| " + " | ".join(compare(args, path, n_threads)) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
