#!/usr/bin/env python3
"""hsd's modes and llama.cpp, plain and speculative, on real acceptance at real cost: one run.

    python3 -m venv build/venv && build/venv/bin/pip install llama-cpp-python gguf numpy
    P=build/venv/bin/python
    $P tests/bench/suite.py models --models build/wide --sizes 1.1B --types Q8_0
    $P tests/bench/suite.py run --hsd build/gcc-release/cli/hsd --models build/wide --seconds 200
    $P tests/bench/suite.py run ...            # again: what is missing, until it says that all is there
    $P tests/bench/suite.py render --docs      # into docs/benchmarks.md, with a picture

Targets are widened copies of the shipped one (widen_gguf.py), the draft is the shipped one, for
both programs. Prompts: the six families of tasks_dev.jsonl in ../shared (left out where it is
absent) and stories that begin in suite_run.py; a fixed number of tokens each, also past an end of
text. Each round runs all contenders one after the other on the same prompt, pinned to the same
processors. Contenders: ar, serial, mirror, async, auto (hsd), llama (plain), llama-3, -5, -7
(chains of so many drafted tokens), llama-16p75 (up to 16, ended before the first token that the
draft gives less than 75 %). hsd: decode rate of whole generations, sampling and messages included.
llama.cpp: only llama_decode is timed. Its programs, where they are on PATH: llama-server (plain),
llama-server-3 and so on, and llama-simple-3 (llama-speculative-simple, greedy), with the times that
they tell. Results of one machine and one build are a file; nothing is judged but that hsd's modes
give equal tokens (exit code 1).

`agree` counts how far a target's text is the shipped one's.
"""
import argparse
import json
import os
import shlex
import sys
import time
from pathlib import Path

import llama_program
import suite_picture
import suite_report
import suite_run

RESULTS = "build/suite.json"


def words(text):
    return text.split(",")


def load(path):
    if Path(path).exists():
        return json.loads(Path(path).read_text())
    return {"pieces": [], "rows": []}


def store(path, data):
    """A row a line."""
    def lines(some):
        return ",\n".join(json.dumps(one) for one in some)
    text = (f'{{"name": {json.dumps(data.get("name", ""))},\n"pieces": [\n{lines(data["pieces"])}\n],\n'
            f'"rows": [\n{lines(data["rows"])}\n]}}\n')
    Path(path + ".part").write_text(text)
    os.replace(path + ".part", path)


def make_models(args):
    import gguf
    import widen_gguf
    os.makedirs(args.models, exist_ok=True)
    for size in args.sizes:
        for kind in args.types:
            path = suite_run.model_of(args, size, kind)
            if size == "shipped" or os.path.exists(path):
                continue
            copies, layers = widen_gguf.SHAPES[size]
            source = gguf.GGUFReader(str(suite_run.ROOT / "models" / "hsd-story-target.gguf"))
            widener = widen_gguf.Widener(source, copies, widen_gguf.T[kind], 0)
            widen_gguf.write(path + ".part", source, widener, layers)
            os.rename(path + ".part", path)
            print(path)
    return 0


def run(args):
    data = load(args.results)
    piece = {"command": "suite.py " + " ".join(map(shlex.quote, sys.argv[1:])),
             "began": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()),
             "machine": suite_run.machine(), "hsd": suite_run.hsd_version(args),
             "note": args.note, "peer": peers(args.contenders)}
    others = {p["hsd"] for p in data["pieces"]} - {piece["hsd"]}
    if others or any(p["machine"] != piece["machine"] for p in data["pieces"]):
        sys.exit(f"suite.py: {args.results} is of another machine or build ({', '.join(others)})")
    data["name"] = args.name or data.get("name", "")
    args.until = args.seconds and time.monotonic() + args.seconds
    args.cache = os.path.abspath(args.results) + ".cache"  # auto measures this machine once
    number = len(data["pieces"])

    def save(rows):
        if number == len(data["pieces"]):
            data["pieces"].append(piece)
        data["rows"] += [{"piece": number, **row} for row in rows]
        store(args.results, data)
        print(".", end="", flush=True)

    failures, whole = suite_run.run(args, list(data["rows"]), save)
    print(" all there" if whole else " not all there yet: run it again")
    return 1 if failures else 0 if whole else 3


def peers(contenders):
    said = []
    if any(suite_run.is_program(name) for name in contenders):
        said += [f"{program} {llama_program.version(program)}" for program in llama_program.found()]
    if any(name.startswith("llama") and not suite_run.is_program(name) for name in contenders):
        import llama_peer
        said.append(llama_peer.version())
    return ", ".join(said)


def agree(args):
    """For each prompt the number of tokens until the target's text leaves the shipped one's."""
    args.cache = os.path.abspath(args.results) + ".cache"
    for size in args.sizes:
        for kind in args.types:
            counts = []
            pair = [suite_run.Hsd(args, suite_run.model_of(args, s, kind)) for s in ["shipped", size]]
            for family in args.families:
                for _, text, _ in suite_run.fitting_prompts(args, pair[0], family, suite_run.N_CTX):
                    a, b = (h.run(text, "ar", args.tokens, 0, 0)["tokens"] for h in pair)
                    same = [x == y for x, y in zip(a, b)] + [False]
                    counts.append(same.index(False))
            for hsd in pair:
                hsd.close()
            whole = sum(n == args.tokens for n in counts)
            print(f"{size} {kind}: {whole} of {len(counts)} texts of {args.tokens} tokens are the "
                  f"same; the others part after {sorted(n for n in counts if n < args.tokens)}")
    return 0


def render(args):
    data = [load(path) for path in args.results.split(",")]
    if not any(one["rows"] for one in data):
        sys.exit(f"suite.py: {args.results} has no results")
    text = suite_report.markdown(data)
    if not args.docs:
        print(text)
        return 0
    docs = suite_run.ROOT / "docs"
    suite_report.insert(docs / "benchmarks.md", text)
    (docs / "benchmarks.svg").write_text(suite_picture.picture(data), encoding="utf-8")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True, dest="command")
    for name, what in [("models", make_models), ("run", run), ("agree", agree), ("render", render)]:
        command = commands.add_parser(name)
        command.set_defaults(what=what)
        command.add_argument("--results", default=RESULTS)
        if name == "render":
            command.add_argument("--docs", action="store_true",
                                 help="write docs/benchmarks.md and docs/benchmarks.svg")
            continue
        command.add_argument("--models", default="build/wide", help="folder of widened targets")
        command.add_argument("--sizes", type=words, default=["1.1B"],
                             help="of 100M, 400M, 1.1B, 3B, shipped")
        command.add_argument("--types", type=words, default=["Q8_0"], help="F32, F16, Q8_0, Q4_0")
        if name == "models":
            continue
        command.add_argument("--hsd", required=True, help="the program, as built")
        command.add_argument("--draft", default=suite_run.DRAFT)
        command.add_argument("--threads", type=int, default=2)
        command.add_argument("--families", type=words, default=suite_run.FAMILIES)
        command.add_argument("--prompts", type=int, default=2, help="of each family")
        command.add_argument("--longest", type=int, default=400, help="tokens of a prompt, at most")
        command.add_argument("--tokens", type=int, default=32)
        command.add_argument("--hsd-options", type=shlex.split, default=[], help="more, for hsd")
        if name == "run":
            command.add_argument("--modes", "--contenders", type=words, dest="contenders", default=[
                "ar", "serial", "mirror", "auto", "llama", "llama-3", "llama-5", "llama-7",
                "llama-16p75"])
            command.add_argument("--temps", type=lambda t: [float(x) for x in t.split(",")],
                                 default=[0.0, 1.0])
            command.add_argument("--repeats", type=int, default=3)
            command.add_argument("--llama-draft-threads", type=int, default=1)
            command.add_argument("--note", default="", help="what else ran on the machine")
            command.add_argument("--name", default="", help="what these results are called")
            command.add_argument("--seconds", type=float, default=0,
                                 help="begin no round after so many; exit code 3 where some are left")
    args = parser.parse_args()
    return args.what(args)


if __name__ == "__main__":
    sys.exit(main())
