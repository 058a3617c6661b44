#!/usr/bin/env python3
"""Single-row decode and prefill of hsd beside llama.cpp: same GGUF, same threads, one run.

llama.cpp comes from the PyPI package `llama-cpp-python` (pip builds it from source for this
machine). Repeats of both are interleaved; medians and the median of the repeats' ratios are
printed as a Markdown table. Only llama_decode is timed on its side, without sampling; on the side
of hsd the decode rate is that of whole generations in mode ar, sampling and delivery included.

    pip install llama-cpp-python
    python3 tests/bench/compare_llama_cpp.py --hsd build/gcc-release/cli/hsd [--passes] FILE.gguf ...

With --passes: milliseconds of passes of 1 and of 8 rows (logits of all rows) behind 64 tokens, and
of a prefill. Without files the shipped pair is measured. Nothing is judged: look at the ratios.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

import llama_peer

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SHIPPED = [os.path.join(ROOT, "models", f"hsd-story-{name}.gguf") for name in ["target", "draft"]]
PROMPT = "Once upon a time there was"


def llama_measure(llama, n_prompt, n_tokens, n_prefill):
    """(decode tokens per second, prefill tokens per second)"""
    tokens = llama.any_tokens(n_prompt + n_tokens)
    llama.forget(0)
    prefill = n_prefill / llama.decode(llama.any_tokens(n_prefill), 0)
    llama.forget(0)
    llama.decode(tokens[:n_prompt], 0)
    seconds = sum(llama.decode(tokens[n_prompt + i:][:1], n_prompt + i) for i in range(n_tokens))
    return n_tokens / seconds, prefill


def llama_passes(llama, n_past, n_prefill, inner_repeats):
    """Milliseconds of a pass of 1 row and of 8 with the logits of all, and of a prefill."""
    prefill = []
    for _ in range(2):
        llama.forget(0)
        prefill.append(llama.decode(llama.any_tokens(n_prefill), 0))
    llama.forget(n_past)
    times = []
    for n in [1, 8]:
        some = []
        for _ in range(inner_repeats):
            some.append(llama.decode(llama.any_tokens(n), n_past, n))
            llama.forget(n_past)
        times.append(statistics.median(some))
    return [1e3 * x for x in times + [statistics.median(prefill)]]


def hsd_passes(program, path, n_threads, n_past, n_prefill, inner_repeats):
    """The same of hsd."""
    done = subprocess.run(
        [program, "bench", "--target", path, "--modes", "none", "--rendezvous", "0", "--rows",
         "1,8", "--past", str(n_past), "--prefill", str(n_prefill), "--threads", str(n_threads),
         "--repeats", str(inner_repeats), "--json"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    result = json.loads(done.stdout)
    return [row["ms"] for row in result["rows"]] + [
        1e3 * result["prefill"]["tokens"] / result["prefill"]["tokens_per_s"]]


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
    llama = llama_peer.LlamaCpp(path, n_threads, 2048)
    n_tokens = min(args.tokens, llama.n_ctx - n_prompt - 1)
    n_prefill = min(args.prefill, llama.n_ctx - 1)
    ours, theirs = [], []
    for repeat in range(args.repeats + 1):
        both = (hsd_measure(args.hsd, path, n_threads, n_tokens, n_prefill, 3),
                tuple(map(statistics.median, zip(*(
                    llama_measure(llama, n_prompt, n_tokens, n_prefill) for _ in range(3))))))
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


def compare_passes(args, path, n_threads):
    """The lines of one model: 1 row, 8 rows, prefill. Ratios are llama.cpp's time over hsd's."""
    llama = llama_peer.LlamaCpp(path, n_threads, 2048)
    n_past, n_prefill = 64, min(args.prefill, llama.n_ctx - 1)
    ours, theirs = [], []
    for repeat in range(args.repeats + 1):
        both = (hsd_passes(args.hsd, path, n_threads, n_past, n_prefill, 7),
                llama_passes(llama, n_past, n_prefill, 7))
        if repeat > 0:  # the first one warms up
            ours.append(both[0])
            theirs.append(both[1])
    llama.close()
    for i, what in enumerate(["1 row", "8 rows, logits of all", f"prefill of {n_prefill}"]):
        a, b = [x[i] for x in ours], [x[i] for x in theirs]
        ratios = [y / x for x, y in zip(a, b)]
        print(f"| {os.path.basename(path)} | {n_threads} | {what} | {statistics.median(a):.1f} | "
              f"{statistics.median(b):.1f} | {statistics.median(ratios):.2f} | {min(ratios):.2f} to "
              f"{max(ratios):.2f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hsd", required=True, help="the program, as built")
    parser.add_argument("--threads", default="1,2", help="comma-separated (default 1,2)")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=128, help="generated per measurement")
    parser.add_argument("--prefill", type=int, default=128)
    parser.add_argument("--passes", action="store_true",
                        help="times of single passes of 1 and 8 rows instead of whole generations")
    parser.add_argument("models", nargs="*", default=SHIPPED)
    args = parser.parse_args()
    llama_peer.begin()
    if args.passes:
        print(f"{llama_peer.version()}; milliseconds, medians of {args.repeats} repeats\n")
        print("| model | threads | pass | hsd | llama.cpp | ratio | from, to |")
        print("|---|---|---|---|---|---|---|")
        for path in args.models:
            for n_threads in map(int, args.threads.split(",")):
                compare_passes(args, path, n_threads)
        return 0
    print(f"{llama_peer.version()}; tokens per second, medians of {args.repeats} repeats\n")
    print("| model | threads | decode hsd | decode llama.cpp | ratio | prefill hsd | "
          "prefill llama.cpp | ratio | prefill tokens |")
    print("|---|---|---|---|---|---|---|---|---|")
    for path in args.models:
        for n_threads in map(int, args.threads.split(",")):
            print("| " + " | ".join(compare(args, path, n_threads)) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
