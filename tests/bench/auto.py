#!/usr/bin/env python3
"""Mode auto beside every setting: exhaustive runs, repeats interleaved, as a Markdown table.

    python3 tests/bench/auto.py --hsd build/gcc-release/cli/hsd [--target F --draft F] [--repeats 5]

Each run is a process of its own that continues a prompt; its decode rate is what `hsd run --json`
reports. Of each setting the medians over the prompts' medians are printed, and the ratio of auto to
the best setting and to mode ar, from the ratios of each repeat. The tokens of all settings must be
equal (exit code 1). Nothing else is judged; use an idle machine, or say what else ran.
"""
import argparse
import json
import statistics
import subprocess
import sys

PROMPTS = ["Once upon a time there was a little girl who",
           "### User:\nWhat is 12 + 30?\n\n### Assistant:\n",
           "The old man looked at the sea and said that"]


def settings_of(args):
    """(name, options) of every setting; auto first, then ar."""
    yield "auto", ["--mode", "auto"]
    yield "ar", ["--mode", "ar"]
    for mode in ["serial", "async"]:
        for window in args.windows:
            yield f"{mode} {window or 'adaptive'}", ["--mode", mode, *window_of(window)]
    for window in args.windows:
        for roots in args.roots:
            for layer in args.exits:
                yield (f"mirror {window or 'adaptive'}, {roots} roots, exit {layer or 'middle'}",
                       ["--mode", "mirror", "--roots", str(roots), *window_of(window),
                        *(["--exit", str(layer)] if layer else [])])


def window_of(window):
    return ["--window", str(window)] if window else []


def run(args, prompt, options):
    """Tokens and decode rate of one process, with the mode it ended in."""
    models = [x for name in ["target", "draft"] if getattr(args, name)
              for x in [f"--{name}", getattr(args, name)]]
    done = subprocess.run([args.hsd, "run", "--json", "--ignore-eos", "-n", str(args.tokens), *models,
                           "--prompt", prompt, *options, *args.extra],
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"hsd run {' '.join(options)}: {done.stderr.strip()}")
    out = json.loads(done.stdout)
    stats = out.get("stats", out)
    return out.get("tokens", out.get("text")), stats["tokens_per_s"], stats


def integers(text):
    return [int(x) for x in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hsd", required=True)
    parser.add_argument("--target")
    parser.add_argument("--draft")
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--windows", type=integers, default=[0, 1, 2, 3, 5, 7], help="0: adaptive")
    parser.add_argument("--roots", type=integers, default=[2, 8, 16])
    parser.add_argument("--exits", type=integers, default=[0], help="early exits; 0: the middle")
    parser.add_argument("extra", nargs="*", help="more options of `hsd run', behind --")
    args = parser.parse_args()
    settings = list(settings_of(args))
    rates = {name: [[] for _ in range(args.repeats)] for name, _ in settings}
    ends, texts = {}, {}
    for repeat in range(args.repeats):
        for prompt in PROMPTS:
            for name, options in settings:
                text, rate, stats = run(args, prompt, options)
                rates[name][repeat].append(rate)
                ends[name] = f"{stats['mode']}, {stats['replans']} changes"
                if texts.setdefault(prompt, text) != text:
                    sys.exit(f"{name}: other tokens than {settings[0][0]}")
    per_repeat = {name: [statistics.median(r) for r in rows] for name, rows in rates.items()}
    middle = {name: statistics.median(rows) for name, rows in per_repeat.items()}
    best = max((name for name in middle if name != "auto"), key=middle.get)
    print("| setting | tokens/s | x ar |\n|---|---|---|")
    for name in sorted(middle, key=middle.get, reverse=True):
        shown = f"**auto** ({ends[name]})" if name == "auto" else name
        print(f"| {shown} | {middle[name]:.1f} | {middle[name] / middle['ar']:.2f} |")

    def ratio(other):
        return statistics.median(a / b for a, b in zip(per_repeat["auto"], per_repeat[other]))

    print(f"\nauto is {ratio(best):.3f} of the best setting ({best}) and {ratio('ar'):.3f} of ar; "
          f"{args.repeats} repeats of {len(PROMPTS)} prompts, {args.tokens} tokens each")


if __name__ == "__main__":
    main()
