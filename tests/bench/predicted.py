#!/usr/bin/env python3
"""Predicted against measured: profiles this machine, simulates settings from that, runs them, and prints both.

    python3 tests/bench/predicted.py --hsd build/release/cli/hsd
    python3 tests/bench/predicted.py --hsd build/release/cli/hsd --profile profile.yaml --target big.gguf --draft small.gguf

Needs a machine with nothing else on it, and some three minutes: one for `hsd profile`, the rest for the runs. Runs of
all settings are interleaved, their order rotates, and medians count. Judges nothing: the table is for people.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

PROMPTS = ("Once upon a time there was a little girl who", "The old man went to the sea because",
           "One day a fox and a rabbit met in the wood, and")

# Mode, and options that both `hsd run` and `hsd simulate` take.
SETTINGS = (
    ("ar", ()),
    ("serial", ("--window", "1")), ("serial", ("--window", "2")), ("serial", ("--window", "3")),
    ("serial", ("--window", "5")), ("serial", ("--window", "8")),
    ("mirror", ("--window", "2", "--roots", "8")), ("mirror", ("--window", "3", "--roots", "4")),
    ("mirror", ("--window", "3", "--roots", "8")), ("mirror", ("--window", "3", "--roots", "16")),
    ("mirror", ("--window", "5", "--roots", "8")), ("mirror", ("--window", "8", "--roots", "8")),
    ("async", ("--window", "1")), ("async", ("--window", "3")), ("async", ("--window", "6")),
)


def call(hsd, *args, timeout=600):
    done = subprocess.run([hsd, *map(str, args)], capture_output=True, text=True, check=False, timeout=timeout)
    if done.returncode != 0:
        raise SystemExit(f"{hsd} {' '.join(map(str, args))}\n{done.stderr}")
    return done.stdout


def measure(options, models):
    """Medians over the repeats of tokens and seconds, per setting."""
    rates, steps = [[] for _ in SETTINGS], [[] for _ in SETTINGS]
    for repeat in range(options.repeats + 1):  # the first one warms up
        for at in range(len(SETTINGS)):
            i = (at + repeat) % len(SETTINGS)
            mode, args = SETTINGS[i]
            tokens = seconds = passes = 0
            for prompt in PROMPTS:
                stats = json.loads(call(options.hsd, "run", "--json", "--prompt", prompt, "-n", options.tokens,
                                        "--ignore-eos", "--mode", mode, *args, *models))["stats"]
                tokens += stats["n_tokens"]
                seconds += stats["decode_s"]
                passes += stats["steps"]
            if repeat > 0:
                rates[i].append(tokens / seconds)
                steps[i].append(tokens / passes)
        print(f"\rpredicted.py: repeat {repeat} of {options.repeats}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return [statistics.median(r) for r in rates], [statistics.median(s) for s in steps]


def predict(options, profile):
    out = []
    for mode, args in SETTINGS:
        out.append(json.loads(call(options.hsd, "simulate", "--profile", profile, "--json", "--mode", mode, "--tokens",
                                   options.simulated, *args, *options.machine))["modes"][0])
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hsd", default="build/release/cli/hsd", help="the program")
    parser.add_argument("--target", help="GGUF file; default: the shipped pair")
    parser.add_argument("--draft", help="GGUF file")
    parser.add_argument("--profile", help="a profile of this machine and these models; default: one is made")
    parser.add_argument("--topology", help="a description of this machine; default: what is found")
    parser.add_argument("--seconds", type=int, default=60, help="for the profile")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=160, help="of each of three runs")
    parser.add_argument("--simulated", type=int, default=3000, help="tokens of a simulation")
    options = parser.parse_args()
    options.hsd = os.path.abspath(options.hsd)
    options.machine = ("--topology", options.topology) if options.topology else ()
    models = [x for name in ("target", "draft") if getattr(options, name) for x in (f"--{name}", getattr(options, name))]
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        profile = options.profile or os.path.join(folder, "profile.yaml")
        if not options.profile:
            prompts = [x for prompt in PROMPTS for x in ("--prompt", prompt)]
            call(options.hsd, "profile", "--out", profile, "--device", "cpu", "--seconds", options.seconds, *prompts,
                 *models)
        predicted = predict(options, profile)
        measured, steps = measure(options, models)
    print("| setting | predicted tokens/s | measured | ratio | by the law | tokens/step predicted | measured |\n"
          "|---|---|---|---|---|---|---|")
    near = 0
    for (mode, args), p, rate, per_step in zip(SETTINGS, predicted, measured, steps):
        ratio = p["stats"]["tokens_per_s"] / rate
        near += 1 / 1.15 <= ratio <= 1.15
        print(f"| {mode} {' '.join(a.lstrip('-') for a in args)} | {p['stats']['tokens_per_s']:.0f} | {rate:.0f} | "
              f"{ratio:.2f} | {p['law_tokens_per_s'] / rate:.2f} | {p['stats']['tokens_per_step']:.2f} | {per_step:.2f} |")
    print(f"\n{near} of {len(SETTINGS)} within 15 %; {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
