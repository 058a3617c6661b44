"""The contenders of suite.py and one interleaved run of them. See there."""
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import llama_program

ROOT = Path(__file__).resolve().parent.parent.parent
DRAFT = ROOT / "models" / "hsd-story-draft.gguf"
TASKS = ROOT.parent / "shared" / "data" / "corpus" / "tasks_dev.jsonl"
FAMILIES = ["multi_turn", "translation", "summarization", "qa", "math", "rag", "story"]
STORIES = ["Once upon a time there was a little girl who lived with her grandmother at the edge of "
           "a great forest. One morning",
           "The old man looked at the sea and said that no boat had come for seven days. \"But "
           "tonight,\" he went on,",
           "When the king had heard this he was very angry, and he sent for the youngest of his "
           "three sons, who",
           "There lived in that town a tailor who owned nothing in the world but a needle, a goose "
           "and a song; and"]
HSD_MODES = ["ar", "serial", "mirror", "async", "auto"]
SERVER, SIMPLE = "llama-server", "llama-simple"  # how contenders that are programs begin
N_CTX = 512
REST_S = 0.05  # between contenders: threads that still look for work fall asleep


def prompts_of(family):
    """Of the six families of the tasks, or stories that this file begins. Empty where there are
    none."""
    if family == "story":
        return STORIES
    if not TASKS.exists():
        return []
    lines = [json.loads(line) for line in TASKS.read_text(encoding="utf-8").splitlines()]
    return [line["prompt"] for line in lines if line["family"] == family]


def model_of(args, size, kind):
    """The file of a target; 'shipped' is the shipped one."""
    if size == "shipped":
        return str(ROOT / "models" / "hsd-story-target.gguf")
    return os.path.join(args.models, f"hsd-story-{size}-{kind}.gguf")


class Hsd:
    """One `hsd batch`, one prompt at a time: the models are loaded once."""

    def __init__(self, args, target):
        command = [args.hsd, "batch", "--sessions", "1", "--ignore-eos", "--target", target,
                   "--draft", str(args.draft), "--threads", str(args.threads), *args.hsd_options]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, bufsize=1, env={**os.environ, "HSD_CACHE_DIR": args.cache})

    def ask(self, line):
        """The result of a line, also of one that failed."""
        self.process.stdin.write(json.dumps(line) + "\n")
        answer = self.process.stdout.readline()
        return json.loads(answer) if answer else {"error": "hsd batch has ended"}

    def run(self, prompt, mode, n_tokens, temperature, seed):
        result = self.ask({"prompt": prompt, "mode": mode, "tokens": n_tokens, "temp": temperature,
                           "seed": seed})
        if "stats" not in result:
            raise RuntimeError(f"hsd batch: {result}")
        return result

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def setting_of(name):
    """(drafted tokens at most, least probability) of llama-7, llama-server-16p75; 0: no draft."""
    window, _, percent = name.rpartition("-")[2].partition("p")
    return (int(window), int(percent or 0) / 100) if window.isdigit() else (0, 0.0)


class Llama:
    """llama.cpp's target and draft, and the texts that they have in their caches."""

    def __init__(self, args, target):
        import llama_peer
        self.peer = llama_peer
        llama_peer.begin()
        self.target = llama_peer.LlamaCpp(target, args.threads, N_CTX)
        self.draft = llama_peer.LlamaCpp(str(args.draft), args.llama_draft_threads, N_CTX)

    def run(self, name, prompt, n_tokens, temperature, seed):
        window, least = setting_of(name)
        choice = self.peer.Choice(temperature, seed)
        if not window:
            _, seconds = self.peer.plain(self.target, prompt[2], n_tokens, choice)
            return {"tokens_per_s": (n_tokens - 1) / seconds, "steps": n_tokens - 1}
        tokens, seconds, drafted, accepted, passes = self.peer.speculative(
            self.target, self.draft, prompt[2], n_tokens, window, choice, least)
        return {"tokens_per_s": (len(tokens) - 1) / seconds, "drafted": drafted,
                "accepted": accepted, "steps": passes}

    def close(self):
        self.target.close()
        self.draft.close()


class Programs:
    """llama.cpp's own programs, a process for each setting."""

    def __init__(self, args, target, names):
        self.running = {}
        try:
            for name in names:
                window, least = setting_of(name)
                draft = str(args.draft) if window else None
                kind = llama_program.Simple if name.startswith(SIMPLE) else llama_program.Server
                self.running[name] = kind(target, args.threads, N_CTX, draft, window, least,
                                          args.llama_draft_threads)
        except BaseException:
            self.close()
            raise

    def run(self, name, prompt, n_tokens, temperature, seed):
        if name.startswith(SIMPLE):
            return self.running[name].run(prompt[1], n_tokens)
        result = self.running[name].run(prompt[2], n_tokens, temperature, seed)
        del result["tokens"]
        return result

    def close(self):
        for program in self.running.values():
            program.close()


class Contenders:
    """All that run on one target."""

    def __init__(self, args, target):
        names = args.contenders
        self.args = args
        self.hsd = Hsd(args, target)
        programs = [name for name in names if is_program(name)]
        self.programs = self.llama = None
        try:
            self.programs = Programs(args, target, programs) if programs else None
            if any(name.startswith("llama") and name not in programs for name in names):
                self.llama = Llama(args, target)
            for mode in [name for name in names if name in HSD_MODES]:
                self.hsd.run(STORIES[0], mode, 8, 0, 0)  # what is made on first use
            for name in programs:
                if not name.startswith(SIMPLE):
                    self.programs.run(name, (0, "", [1, 2, 3]), 8, 0, 0)
        except BaseException:
            self.close()
            raise

    def one(self, name, prompt, temperature, seed):
        """One generation: what goes into the results, and hsd's tokens (None: not hsd)."""
        n = self.args.tokens
        if name in HSD_MODES:
            result = self.hsd.run(prompt[1], name, n, temperature, seed)
            stats = result["stats"]
            kept = {key: stats[key] for key in ("tokens_per_s", "drafted", "accepted", "steps")}
            return {**kept, "as": stats["mode"]}, result["tokens"]
        peer = self.programs if is_program(name) else self.llama
        return peer.run(name, prompt, n, temperature, seed), None

    def close(self):
        for one in (self.hsd, self.programs, self.llama):
            if one:
                one.close()


def is_program(name):
    return name.startswith((SERVER, SIMPLE))


def fitting_prompts(args, hsd, family, n_ctx):
    """(number, text, tokens) of the first prompts of a family that leave room for what is made. Any
    target of the vocabulary counts tokens; the shipped one does at once."""
    found = []
    for number, text in enumerate(prompts_of(family)):
        if len(found) == args.prompts:
            break
        result = hsd.ask({"prompt": text, "mode": "ar", "tokens": 1, "temp": 0})
        tokens = result.get("prompt_tokens", [0] * n_ctx)  # none: too long
        if len(tokens) + args.tokens + 20 <= n_ctx and len(tokens) <= args.longest:
            found.append((number, text, tokens))
    if len(found) < args.prompts:
        print(f"{family}: only {len(found)} prompts fit", file=sys.stderr)
    return found


def run_round(args, contenders, prompt, family, temperature, repeat):
    """All contenders in turn on a prompt, another one first in each repeat. (rows, failed)"""
    results, texts = [], []
    shift = repeat % len(args.contenders)
    for name in args.contenders[shift:] + args.contenders[:shift]:
        if name.startswith(SIMPLE) and temperature > 0:
            continue  # greedy only
        time.sleep(REST_S)
        one, text = contenders.one(name, prompt, temperature, 1)
        texts += [text] if text else []
        one["tokens_per_s"] = float(f"{one['tokens_per_s']:.5g}")
        results.append({"family": family, "temp": temperature, "prompt": prompt[0],
                        "repeat": repeat, "contender": name, "drafted": 0, "accepted": 0, **one})
    failed = any(text != texts[0] for text in texts)
    if failed:
        print(f"{family}, prompt {prompt[0]}: hsd's modes give different tokens", file=sys.stderr)
    return results, failed


def pin(n_threads):
    """This process and what it starts, on the first processors it may use."""
    cpus = sorted(os.sched_getaffinity(0))[:n_threads]
    os.sched_setaffinity(0, cpus)
    return cpus


def machine():
    name = "a processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            name = line.partition(":")[2].strip()
            break
    flags = Path("/proc/cpuinfo").read_text()
    known = [flag for flag in ["avx2", "avx512f", "avx512_vnni", "avx512_bf16"] if flag in flags]
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / (1 << 20)
    return f"{os.cpu_count()} processors of {name} ({', '.join(known)}), {memory:.0f} GiB"


def hsd_version(args):
    """What the program says, and the commit that lies here, where there is git."""
    said = subprocess.run([args.hsd, "--version"], capture_output=True, text=True, check=True)
    commit = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"],
                            capture_output=True, text=True, check=False)
    return f"{said.stdout.split(chr(10))[0].strip()} {commit.stdout.strip()}".strip()


def rounds(args, prompts, done):
    """(temperature, repeat, family, prompt) that are not there yet: all families first, then
    another prompt of each, then the next repeat."""
    for temperature, repeat, i in itertools.product(args.temps, range(args.repeats),
                                                    range(args.prompts)):
        for family in args.families:
            if i < len(prompts[family]):
                prompt = prompts[family][i]
                if (family, temperature, prompt[0], repeat) not in done:
                    yield temperature, repeat, family, prompt


def run_target(args, size, kind, prompts, known, save):
    """What is missing of one target until the time is over. (failures, whether all is there)"""
    done = {(row["family"], row["temp"], row["prompt"], row["repeat"]) for row in known
            if (row["size"], row["type"]) == (size, kind)}
    missing = list(rounds(args, prompts, done))
    if not missing:
        return 0, True
    if args.until and time.monotonic() > args.until:
        return 0, False
    failures = 0
    contenders = Contenders(args, model_of(args, size, kind))
    try:
        for temperature, repeat, family, prompt in missing:
            if args.until and time.monotonic() > args.until:
                return failures, False
            rows, failed = run_round(args, contenders, prompt, family, temperature, repeat)
            save([{"size": size, "type": kind, **row} for row in rows])
            failures += failed
    finally:
        contenders.close()
    return failures, True


def run(args, known, save):
    """All that was asked for and is not in `known`. (texts that differed, whether all is there)"""
    pin(args.threads)
    counter = Hsd(args, model_of(args, "shipped", None))
    prompts = {family: fitting_prompts(args, counter, family, N_CTX) for family in args.families}
    counter.close()
    failures, whole = 0, True
    for size, kind in itertools.product(args.sizes, args.types):
        failed, all_there = run_target(args, size, kind, prompts, known, save)
        failures, whole = failures + failed, whole and all_there
    return failures, whole
