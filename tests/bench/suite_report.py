"""What suite.py measured, as Markdown tables. See there; suite_picture.py draws the same.

A ratio is of one prompt in one repeat. The median over repeats counts for a prompt, the geometric
mean over prompts for a family, the plain mean for all families. The least and the most are those of
single runs. Results of two machines or builds are never in one figure: each file has its own tables.
"""
import math
import statistics
from collections import defaultdict

BEGIN, END = "<!-- suite: begin -->", "<!-- suite: end -->"
MODES = ["ar", "serial", "mirror", "async", "auto"]
PLAIN, SERVER = "llama", "llama-server"
ENOUGH = 0.98  # of the target alone: what auto may cost


class Group:
    """Rows of one size, type, temperature and family."""

    def __init__(self, rows):
        self.rates = defaultdict(dict)  # (prompt, repeat) -> {contender: tokens/s}
        self.counts = defaultdict(lambda: [0, 0, 0])  # contender -> drafted, accepted, passes
        self.runs = defaultdict(int)
        self.ended_as = set()
        self.n_tokens = 0
        for row in rows:
            name = row["contender"]
            self.rates[row["prompt"], row["repeat"]][name] = row["tokens_per_s"]
            self.runs[name] += 1
            for i, key in enumerate(("drafted", "accepted", "steps")):
                self.counts[name][i] += row.get(key, 0)
            if name == "auto":
                self.ended_as.add(row["as"])
        self.contenders = set(self.runs)

    def rate(self, contender):
        """Median tokens per second; None: it did not run."""
        rates = [one[contender] for one in self.rates.values() if contender in one]
        return statistics.median(rates) if rates else None

    def ratio(self, over, under):
        """(of the family, least run, most); None where one of them did not run."""
        runs = defaultdict(list)  # prompt -> a ratio for each repeat
        for (prompt, _), one in self.rates.items():
            if over in one and under in one:
                runs[prompt].append(one[over] / one[under])
        if not runs:
            return None
        single = [ratio for some in runs.values() for ratio in some]
        logs = [math.log(statistics.median(some)) for some in runs.values()]
        return math.exp(statistics.mean(logs)), min(single), max(single)

    def best_draft(self, program=""):
        """The setting of llama.cpp's speculation that is fastest in this family; None: none ran.
        With a program: of that one's settings."""
        settings = [name for name in self.contenders - {PLAIN, SERVER}
                    if name.startswith(program or "llama")]
        return max(settings, key=lambda name: (self.ratio(name, PLAIN) or (0,))[0], default=None)

    def best_mode(self):
        """The fixed mode of hsd that is fastest."""
        return max((m for m in MODES if m in self.contenders and m != "auto"),
                   key=lambda name: (self.ratio(name, "ar") or (0,))[0], default=None)

    def acceptance(self, contender):
        drafted, accepted, _ = self.counts[contender]
        return accepted / drafted if drafted else None

    def tokens_per_pass(self, contender):
        """Accepted ones and the target's own; None where nobody counted."""
        _, accepted, passes = self.counts[contender]
        return (accepted + passes) / passes if passes else None


def groups_of(data):
    """{(size, type, temp): {family: Group}} of one file, in the order of the rows."""
    rows = defaultdict(lambda: defaultdict(list))
    for row in data["rows"]:
        rows[row["size"], row["type"], row["temp"]][row["family"]].append(row)
    return {key: {family: Group(some) for family, some in families.items()}
            for key, families in rows.items()}


def title_of(key):
    size, kind, temp = key
    what = "the shipped target" if size == "shipped" else f"{size} {kind}"
    return f"{what}, {'greedy' if temp == 0 else f'temperature {temp:g}'}"


def times(ratio, with_spread=False):
    if ratio is None:
        return "-"
    return f"{ratio[0]:.2f}" + (f" ({ratio[1]:.2f} to {ratio[2]:.2f})" if with_spread else "")


def mean_of(ratios):
    """The mean over families, with the least and the most of single runs."""
    known = [ratio for ratio in ratios if ratio is not None]
    if not known:
        return None
    return statistics.mean(r[0] for r in known), min(r[1] for r in known), max(r[2] for r in known)


def percent(share):
    return "-" if share is None else f"{100 * share:.0f} %"


def number(value):
    return "-" if value is None else f"{value:.2f}"


def setting(name):
    return name.removeprefix("llama-") if name else "-"


def lines_of(head, rows):
    return ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]]


def ratios_of(g):
    """What the table and the picture show of a family: {column: ratio or None}."""
    best = g.best_draft()
    ratios = {"best": g.ratio(best, PLAIN) if best else None}
    if SERVER in g.contenders:
        server = g.best_draft(SERVER)
        ratios["server"] = g.ratio(SERVER, PLAIN)
        ratios["server best"] = g.ratio(server, PLAIN) if server else None
    ratios.update({mode: g.ratio(mode, PLAIN) for mode in MODES if mode in g.contenders})
    ratios["to best"] = g.ratio("auto", best) if best else None
    ratios["to ar"] = g.ratio("auto", "ar")
    return ratios


NAMES = {"best": "its best draft setting", "server": "`llama-server`",
         "server best": "its best draft setting", "to best": "auto to llama.cpp's best",
         "to ar": "auto to `ar`"}


def speeds(families):
    """Times llama.cpp's plain decoding."""
    of = {family: ratios_of(g) for family, g in families.items()}
    columns = [c for c in ["best", "server", "server best", *MODES, "to best", "to ar"]
               if any(c in ratios for ratios in of.values())]
    head = ["family", "llama.cpp, tokens/s", *[NAMES.get(c, c) for c in columns]]
    rows = []
    for family, ratios in of.items():
        rate = families[family].rate(PLAIN)
        cells = [times(ratios.get(c), c.startswith("to ")) for c in columns]
        if ratios["best"]:
            cells[0] += f" ({setting(families[family].best_draft())})"
        rows.append([family, f"{rate:.1f}" if rate else "-", *cells])
    means = [mean_of([ratios.get(c) for ratios in of.values()]) for c in columns]
    rows.append(["**mean**", "", *[times(m, c.startswith("to ")) for m, c in zip(means, columns)]])
    return lines_of(head, rows)


def reasons(families):
    """Why: what was accepted, and tokens per pass of the target."""
    modes = [m for m in ("serial", "mirror", "async", "auto")
             if any(m in g.contenders for g in families.values())]
    head = ["family", "prompts x repeats", "accepted: llama.cpp", *modes,
            "tokens a pass: llama.cpp", *modes, "fastest fixed mode", "auto to it", "auto ended as"]
    rows = []
    for family, g in families.items():
        best, mode = g.best_draft(), g.best_mode()
        prompts, repeats = ({key[i] for key in g.rates} for i in (0, 1))
        rows.append([family, f"{len(prompts)} x {len(repeats)}",
                     percent(g.acceptance(best)), *[percent(g.acceptance(m)) for m in modes],
                     number(g.tokens_per_pass(best)), *[number(g.tokens_per_pass(m)) for m in modes],
                     mode or "-", times(g.ratio("auto", mode)) if mode else "-",
                     ", ".join(sorted(g.ended_as)) or "-"])
    return lines_of(head, rows)


def least(families):
    """A sentence about the least of auto to ar and to llama.cpp's plain decoding."""
    said = []
    for under, name in (("ar", "`ar`"), (PLAIN, "llama.cpp's plain decoding")):
        ratios = {family: g.ratio("auto", under) for family, g in families.items()}
        ratios = {family: ratio for family, ratio in ratios.items() if ratio}
        if not ratios:
            continue
        worst = min(ratios, key=lambda family: ratios[family][0])
        low = {family: ratio for family, ratio in ratios.items() if ratio[1] < ENOUGH}
        text = (f"`auto` is at least {ratios[worst][0]:.2f} times {name} in a family ({worst}), "
                f"{min(r[1] for r in ratios.values()):.2f} in a single run")
        if low:
            text += f"; **under {ENOUGH}** in runs of " + ", ".join(
                f"{family} ({ratio[1]:.2f})" for family, ratio in low.items())
        said.append(text)
    return ". ".join(said) + "." if said else ""


def summary(data):
    """A line for each table of all files."""
    head = ["machine", "target", "families, runs", "`ar`", "llama.cpp's best draft setting",
            "`auto`", "`auto` to that setting", "`auto` to `ar`", "least run of `auto` to `ar`"]
    rows = []
    for one in data:
        for key, families in groups_of(one).items():
            of = [ratios_of(g) for g in families.values()]
            means = {c: mean_of([ratios.get(c) for ratios in of])
                     for c in ("ar", "best", "auto", "to best", "to ar")}
            runs = sum(g.runs["auto"] for g in families.values())
            rows.append([one.get("name") or one["pieces"][0]["machine"], title_of(key),
                         f"{len(families)}, {runs}", *[times(m) for m in means.values()],
                         f"{means['to ar'][1]:.2f}" if means["to ar"] else "-"])
    return lines_of(head, rows)


def pieces(data):
    """When, with what, and the commands; equal ones in one line."""
    first, began = data["pieces"][0], defaultdict(list)
    notes = sorted({piece["note"] for piece in data["pieces"] if piece["note"]})
    for piece in data["pieces"]:
        began[piece["command"]].append(piece["began"])
    lines = [f"{first['machine']}; {first['hsd'].split(' ')[0]} {first['hsd'].split(' ')[1]}, "
             f"{max((p['peer'] for p in data['pieces']), key=len) or 'without a peer'}"
             + "".join(f"; {note}" for note in notes) + ". Pieces:", ""]
    for command, times_of in began.items():
        many = f" to {times_of[-1]}, {len(times_of)} times" if len(times_of) > 1 else ""
        lines.append(f"* {times_of[0]}{many} UTC: `{command}`")
    return lines


def markdown(data):
    """Of a list of files."""
    data = [one for one in data if one["rows"]]
    out = summary(data) + [""]
    for one in data:
        out += [f"### {one.get('name') or one['pieces'][0]['machine']}", ""]
        for key, families in groups_of(one).items():
            out += [f"**{title_of(key)}**", "", *speeds(families), "", least(families), "",
                    *reasons(families), ""]
        out += [*pieces(one), ""]
    return "\n".join(out)


def insert(path, text):
    """Put text between the markers of a document."""
    document = path.read_text(encoding="utf-8")
    if document.count(BEGIN) != 1 or document.count(END) != 1:
        raise SystemExit(f"suite.py: {path} has no place for results: {BEGIN} .. {END}")
    before, rest = document.split(BEGIN)
    path.write_text(f"{before}{BEGIN}\n{text}{END}{rest.split(END)[1]}", encoding="utf-8")
