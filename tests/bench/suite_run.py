"""The contenders of suite.py and one interleaved run of them. See there."""
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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
        self.cache = tempfile.TemporaryDirectory()  # auto measures this machine itself
        command = [args.hsd, "batch", "--sessions", "1", "--ignore-eos", "--target", target,
                   "--draft", str(args.draft), "--threads", str(args.threads), *args.hsd_options]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, bufsize=1, env={**os.environ, "HSD_CACHE_DIR": self.cache.name})

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
        self.cache.cleanup()


class Llama:
    """llama.cpp's target and draft, and the texts that they have in their caches."""

    def __init__(self, args, target):
        import llama_peer
        self.peer = llama_peer
        llama_peer.begin()
        self.target = llama_peer.LlamaCpp(target, args.threads, 512)
        self.draft = llama_peer.LlamaCpp(str(args.draft), args.llama_draft_threads, 512)

    def run(self, prompt_tokens, name, n_tokens, temperature, seed):
        """Tokens, seconds, drafted, accepted. The name says the setting."""
        window, _, percent = name.partition("-")[2].partition("p")
        choice = self.peer.Choice(temperature, seed)
        if not window:
            _, seconds = self.peer.plain(self.target, prompt_tokens, n_tokens, choice)
            return n_tokens - 1, seconds, 0, 0
        tokens, seconds, drafted, accepted = self.peer.speculative(
            self.target, self.draft, prompt_tokens, n_tokens, int(window), choice,
            int(percent or 0) / 100)
        return len(tokens) - 1, seconds, drafted, accepted

    def close(self):
        self.target.close()
        self.draft.close()


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


def contend(name, hsd, llama, prompt, args, temperature, seed):
    """One contender on one prompt: what goes into the results."""
    _, text, tokens = prompt
    if name in HSD_MODES:
        result = hsd.run(text, name, args.tokens, temperature, seed)
        stats = result["stats"]
        return {"tokens_per_s": stats["tokens_per_s"], "drafted": stats["drafted"],
                "accepted": stats["accepted"], "steps": stats["steps"], "as": stats["mode"],
                "text": result["tokens"]}
    n, seconds, drafted, accepted = llama.run(tokens, name, args.tokens, temperature, seed)
    return {"tokens_per_s": n / seconds, "drafted": drafted, "accepted": accepted}


def run_family(args, hsd, llama, prompts, family, temperature, where):
    """All contenders in turn on each prompt, `repeats` times, another one first each time."""
    results, failures = [], 0
    for prompt in prompts:
        for repeat in range(args.repeats):
            texts = []
            shift = repeat % len(args.contenders)
            for name in args.contenders[shift:] + args.contenders[:shift]:
                time.sleep(REST_S)
                one = contend(name, hsd, llama, prompt, args, temperature, 1)
                if "text" in one:
                    texts.append(one.pop("text"))
                results.append({**where, "family": family, "temp": temperature,
                                "prompt": prompt[0], "repeat": repeat, "contender": name, **one})
            if any(text != texts[0] for text in texts):
                print(f"{family}: hsd's modes give different tokens", file=sys.stderr)
                failures += 1
    return results, failures


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


def run(args):
    """The rows of all that was asked for, and how many texts differed."""
    rows, failures = [], 0
    piece = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
    pin(args.threads)
    needs_llama = any(name not in HSD_MODES for name in args.contenders)
    counter = Hsd(args, model_of(args, "shipped", None))
    prompts = {family: fitting_prompts(args, counter, family, 512) for family in args.families}
    counter.close()
    for size, kind in itertools.product(args.sizes, args.types):
        target = model_of(args, size, kind)
        hsd = Hsd(args, target)
        llama = Llama(args, target) if needs_llama else None
        where = {"piece": piece, "size": size, "type": kind}
        try:
            for mode in [name for name in args.contenders if name in HSD_MODES]:
                hsd.run(STORIES[0], mode, 8, 0, 0)  # what is made on first use
            for temperature, family in itertools.product(args.temps, args.families):
                more, failed = run_family(args, hsd, llama, prompts[family], family,
                                          temperature, where)
                rows += more
                failures += failed
                args.save(rows)
        finally:
            hsd.close()
            if llama:
                llama.close()
    return failures
