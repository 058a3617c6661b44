#!/usr/bin/env python3
"""Instructions of hsd's hot loops, counted by callgrind and compared with counts.json.

Proves: no loop of loops.c takes 15 % more instructions a call than it did with this compiler. It
        needs no clock and no quiet machine.
Does not prove: times. Waiting for memory is no instruction; valgrind knows no AVX-512, so the sets
        ref and avx2 are counted; steps of the pipelines are those of a simulation.
Fails where a loop takes 15 % more, and where one takes 30 % less: then the file is to be renewed,
for it would hide as much of a slow-down later. Skipped (77) without valgrind, and where the file
has nothing of this compiler.

    counts.py --program build/gcc-release/tests/counts/count_loops --models models \\
              --compiler "GNU 12.2.0" --build Release [--update] [--print]
"""
import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FILE = Path(__file__).resolve().parent / "counts.json"
MORE, LESS = 0.15, 0.30
SETS = ["avx2", "ref"]
STEPS = (200, 600)  # tokens; the difference is without what comes before the first step


def callgrind(arguments, folder, *options):
    """stdout of the program and the counts of its results, in order."""
    base = Path(folder) / "out"
    for old in Path(folder).glob("out*"):
        old.unlink()
    done = subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={base}", *options,
                           *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return done.returncode, done.stderr, []
    files = sorted(Path(folder).glob("out.*"), key=lambda f: int(f.suffix[1:])) or [base]
    totals = [int(re.search(r"^totals: (\d+)", f.read_text(), re.M).group(1)) for f in files]
    return 0, done.stdout, totals


def count_loops(args, part, isa, folder):
    """{loop: instructions a call}; None where this machine has no such instruction set."""
    code, text, totals = callgrind(
        [args.program, part, isa, args.models], folder,
        "--toggle-collect=counted_region", "--dump-after=counted_region")
    if code == 77:
        return None
    lines = [line.split("\t") for line in text.splitlines()]
    if code != 0 or not lines or len(totals) < len(lines):
        raise SystemExit(f"counts: {part} {isa}: exit code {code}, {len(totals)} results: {text}")
    return {f"{name}, {isa}": total // int(n) for (name, n), total in zip(lines, totals)}


def count_steps(args, mode, folder):
    """Instructions of all threads in a step."""
    runs = []
    for n_tokens in STEPS:
        code, text, totals = callgrind([args.program, mode, str(n_tokens)], folder)
        if code != 0:
            raise SystemExit(f"counts: {mode}: exit code {code}: {text}")
        runs.append((int(text.split("\t")[1]), totals[0]))
    (steps_a, all_a), (steps_b, all_b) = runs
    return (all_b - all_a) // (steps_b - steps_a)


def count_all(args):
    counts = {}
    with tempfile.TemporaryDirectory() as folder:
        for isa in SETS:
            for part in ["kernels", "engine"]:
                counts.update(count_loops(args, part, isa, folder) or {})
        for mode in ["serial", "mirror"]:
            counts[f"step of {mode}"] = count_steps(args, mode, folder)
    return counts


def compare(counts, known, compiler):
    """Sentences about what has changed too much."""
    wrong = []
    for loop, now in counts.items():
        if loop not in known:
            wrong.append(f"{loop}: nothing is recorded for {compiler}; counts.py --update does")
            continue
        change = now / known[loop] - 1
        if change > MORE:
            wrong.append(f"{loop}: {now:,} instructions a call, {change:.0%} more than the "
                         f"{known[loop]:,} that are recorded for {compiler}")
        elif change < -LESS:
            wrong.append(f"{loop}: {now:,} instructions a call, {-change:.0%} less than the "
                         f"{known[loop]:,} that are recorded for {compiler}: record it, by "
                         "counts.py --update")
    return wrong


def self_test():
    """The comparison says what it should."""
    known = {"a": 1000, "b": 1000, "c": 1000}
    assert compare({"a": 1149, "b": 701, "c": 1000}, known, "x") == []
    more, less, new = compare({"a": 1200, "b": 600, "d": 1}, known, "x")
    assert more == "a: 1,200 instructions a call, 20% more than the 1,000 that are recorded for x"
    assert less.startswith("b: 600 instructions a call, 40% less") and "--update" in less
    assert new.startswith("d: nothing is recorded")


def update(file, compiler, counts):
    file[compiler] = {**file.get(compiler, {}), **counts}
    gone = [loop for loop in file[compiler] if loop not in counts
            and not (loop.endswith(", avx2") and not any(c.endswith(", avx2") for c in counts))]
    for loop in gone:
        del file[compiler][loop]
    FILE.write_text(json.dumps(file, indent=1, sort_keys=True) + "\n")
    print(f"counts: {len(counts)} loops of {compiler} are recorded in {FILE}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", required=True, help="count_loops, as built")
    parser.add_argument("--models", required=True, help="the folder of the shipped pair")
    parser.add_argument("--compiler", required=True, help="name and version, as CMake says them")
    parser.add_argument("--build", default="Release", help="CMake's build type")
    parser.add_argument("--update", action="store_true", help="record instead of comparing")
    parser.add_argument("--print", action="store_true", help="all counts, also those that fit")
    args = parser.parse_args()
    self_test()
    file = json.loads(FILE.read_text()) if FILE.exists() else {}
    if not shutil.which("valgrind"):
        print("skipped: valgrind is not installed")
        return 77
    if args.build != "Release":
        print(f"skipped: counts are those of release builds, this is {args.build or 'another'}")
        return 77
    if args.compiler not in file and not args.update:
        print(f"skipped: nothing is recorded for {args.compiler}, only for {', '.join(file)}; "
              "counts.py --update does")
        return 77
    counts = count_all(args)
    if not any(loop.endswith(", avx2") for loop in counts):
        print("not counted: avx2, which this machine has not")
    if args.update:
        update(file, args.compiler, counts)
    if args.print:
        for loop, now in counts.items():
            print(f"{now:12,}  {loop}")
    wrong = [] if args.update else compare(counts, file[args.compiler], args.compiler)
    print("\n".join(wrong) if wrong else f"{len(counts)} loops, {args.compiler}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
