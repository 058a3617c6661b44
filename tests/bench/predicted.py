#!/usr/bin/env python3
"""Predicted against measured: profiles this machine, simulates settings from that, runs them, and prints both.

    python3 tests/bench/predicted.py --hsd build/release/cli/hsd
    python3 tests/bench/predicted.py --hsd build/release/cli/hsd --profile profile.yaml --target big.gguf --draft small.gguf

Needs a machine with nothing else on it, and some three minutes. Each repeat profiles anew, then runs all settings. What
disturbs a machine makes it slower, never quicker: the upper quartile of the repeats counts, of predictions and of runs
alike. Judges nothing: the table is for people.
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

PROMPT_TOKENS = 11  # nearly, of each

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


def measure(options, models, repeat):
    """Tokens per second and per step of each setting."""
    rates, steps = {}, {}
    for at in range(len(SETTINGS)):
        mode, args = setting = SETTINGS[(at + repeat) % len(SETTINGS)]
        tokens = seconds = passes = 0
        for prompt in PROMPTS:
            stats = json.loads(call(options.hsd, "run", "--json", "--prompt", prompt, "-n", options.tokens,
                                    "--ignore-eos", "--mode", mode, *args, *models))["stats"]
            tokens += stats["n_tokens"]
            seconds += stats["decode_s"]
            passes += stats["steps"]
        rates[setting], steps[setting] = tokens / seconds, tokens / passes
    return rates, steps


def predict(options, profile):
    """Of each setting tokens per second, the same by the law, and tokens per step: of simulations as long as the runs,
    one from each prompt's text."""
    out = {}
    for mode, args in SETTINGS:
        came = [json.loads(call(options.hsd, "simulate", "--profile", profile, "--json", "--mode", mode, "--seed", seed,
                                "--tokens", options.tokens, "--prompt-tokens", PROMPT_TOKENS, *args,
                                *options.machine))["modes"][0] for seed in range(len(PROMPTS))]
        tokens = sum(c["stats"]["n_tokens"] for c in came)
        out[mode, args] = (tokens / sum(c["stats"]["decode_s"] for c in came), came[0]["law_tokens_per_s"],
                           tokens / sum(c["stats"]["steps"] for c in came))
    return out


def make_profile(options, models, path):
    prompts = [x for prompt in PROMPTS for x in ("--prompt", prompt)]
    call(options.hsd, "profile", "--out", path, "--device", "cpu", "--seconds", options.seconds,
         "--tokens", options.tokens * len(PROMPTS), *prompts, *models)
    return path


def undisturbed(values):
    """Upper quartile, on a line between the two values beside it."""
    values = sorted(values)
    at = 0.75 * (len(values) - 1)
    low = int(at)
    high = min(low + 1, len(values) - 1)
    return values[low] + (at - low) * (values[high] - values[low])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hsd", default="build/release/cli/hsd", help="the program")
    parser.add_argument("--target", help="GGUF file; default: the shipped pair")
    parser.add_argument("--draft", help="GGUF file")
    parser.add_argument("--profile", help="a profile of this machine and these models; default: one is made for each repeat")
    parser.add_argument("--topology", help="a description of this machine; default: what is found")
    parser.add_argument("--seconds", type=int, default=12, help="for each profile")
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=160, help="of each of three runs")
    options = parser.parse_args()
    options.hsd = os.path.abspath(options.hsd)
    options.machine = ("--topology", options.topology) if options.topology else ()
    models = [x for name in ("target", "draft") if getattr(options, name) for x in (f"--{name}", getattr(options, name))]
    began = time.monotonic()
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(options.repeats):
            profile = options.profile or make_profile(options, models, os.path.join(folder, "profile.yaml"))
            rounds.append((predict(options, profile), *measure(options, models, repeat)))
            print(f"predicted.py: repeat {repeat + 1} of {options.repeats}", file=sys.stderr)
    print("| setting | predicted tokens/s | measured | ratio | by the law | measured, least and most | tokens/step "
          "predicted | measured |\n|---|---|---|---|---|---|---|---|")
    near = 0
    for setting in SETTINGS:
        predicted, law, rate = (undisturbed([of(r) for r in rounds])
                                for of in (lambda r: r[0][setting][0], lambda r: r[0][setting][1], lambda r: r[1][setting]))
        tokens = [statistics.median([r[i][setting][2] if i == 0 else r[2][setting] for r in rounds]) for i in (0, 2)]
        near += 1 / 1.15 <= predicted / rate <= 1.15
        rates = [r[1][setting] for r in rounds]
        print(f"| {setting[0]} {' '.join(a.lstrip('-') for a in setting[1])} | {predicted:.0f} | {rate:.0f} "
              f"| {predicted / rate:.2f} | {law / rate:.2f} | {min(rates):.0f} to {max(rates):.0f} "
              f"| {tokens[0]:.2f} | {tokens[1]:.2f} |")
    print(f"\n{near} of {len(SETTINGS)} within 15 %; {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
