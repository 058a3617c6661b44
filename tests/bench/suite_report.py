"""What suite.py measured, as a Markdown table and a picture. See there.

A ratio is of one prompt in one repeat; those of a repeat are averaged over prompts (geometrically),
and the median over repeats is told, with the least and the most. Families are averaged as they are.
"""
import math
import statistics
from collections import defaultdict
from html import escape

BEGIN, END = "<!-- suite: begin -->", "<!-- suite: end -->"
ORDER = ["ar", "serial", "mirror", "async", "auto"]
COLOURS = {"llama": "#b8b8b8", "best": "#7d7d7d", "ar": "#9ecae1", "serial": "#4292c6",
           "mirror": "#2171b5", "async": "#6baed6", "auto": "#e6550d"}
PLAIN = "llama"


class Group:
    """Rows of one size, type, temperature and family."""

    def __init__(self, rows):
        self.rates = defaultdict(dict)  # (piece, repeat) -> {(contender, prompt): tokens/s}
        self.counts = defaultdict(lambda: [0, 0])  # contender -> drafted, accepted
        self.ended_as = set()
        for row in rows:
            key = (row["contender"], row["prompt"])
            self.rates[row["piece"], row["repeat"]][key] = row["tokens_per_s"]
            self.counts[row["contender"]][0] += row["drafted"]
            self.counts[row["contender"]][1] += row["accepted"]
            if row["contender"] == "auto":
                self.ended_as.add(row["as"])
        self.contenders = {row["contender"] for row in rows}

    def rate(self, contender):
        """Median tokens per second; None: it did not run."""
        rates = [rate for one in self.rates.values() for (name, _), rate in one.items()
                 if name == contender]
        return statistics.median(rates) if rates else None

    def ratio(self, over, under):
        """(median, least, most) over repeats; None where one of them did not run."""
        means = []
        for one in self.rates.values():
            logs = [math.log(rate / one[under, prompt]) for (name, prompt), rate in one.items()
                    if name == over and (under, prompt) in one]
            if logs:
                means.append(math.exp(statistics.mean(logs)))
        return (statistics.median(means), min(means), max(means)) if means else None

    def best_speculative(self):
        """The setting of llama.cpp's speculation that is fastest in this family; None: none ran."""
        settings = [name for name in self.contenders if name.startswith("llama-")]
        return max(settings, key=lambda name: (self.ratio(name, PLAIN) or (0,))[0], default=None)

    def acceptance(self, contender):
        drafted, accepted = self.counts[contender]
        return accepted / drafted if drafted else None


def groups_of(data):
    """{(size, type, temp): {family: Group}}, in the order of the rows."""
    rows = defaultdict(lambda: defaultdict(list))
    for row in data["rows"]:
        rows[row["size"], row["type"], row["temp"]][row["family"]].append(row)
    return {key: {family: Group(some) for family, some in families.items()}
            for key, families in rows.items()}


def times(ratio, with_spread=False):
    if ratio is None:
        return "-"
    return f"{ratio[0]:.2f}" + (f" ({ratio[1]:.2f} to {ratio[2]:.2f})" if with_spread else "")


def mean_of(ratios):
    """The mean of medians, without spread."""
    known = [ratio[0] for ratio in ratios if ratio is not None]
    return (statistics.mean(known),) if known else None


def percent(share):
    return "-" if share is None else f"{100 * share:.0f} %"


def table(families):
    """The lines of one size, type and temperature."""
    modes = [mode for mode in ORDER if any(mode in g.contenders for g in families.values())]
    head = ["family", "llama.cpp, tokens/s", "its best draft setting", *modes, "auto to that setting",
            "auto to `ar`", "auto ended as", "accepted by llama.cpp, auto"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    columns = defaultdict(list)
    for family, g in families.items():
        best = g.best_speculative()
        cells = [family, f"{g.rate(PLAIN):.1f}" if g.rate(PLAIN) else "-"]
        ratios = {"best": g.ratio(best, PLAIN) if best else None,
                  **{mode: g.ratio(mode, PLAIN) for mode in modes},
                  "to best": g.ratio("auto", best) if best else None, "to ar": g.ratio("auto", "ar")}
        for name, ratio in ratios.items():
            columns[name].append(ratio)
        cells.append(f"{times(ratios['best'])} ({best.partition('-')[2]})" if best else "-")
        cells += [times(ratios[mode]) for mode in modes]
        cells += [times(ratios["to best"], True), times(ratios["to ar"], True),
                  ", ".join(sorted(g.ended_as)) or "-",
                  f"{percent(g.acceptance(best) if best else None)}, {percent(g.acceptance('auto'))}"]
        lines.append("| " + " | ".join(cells) + " |")
    means = [times(mean_of(columns[name])) for name in ["best", *modes, "to best", "to ar"]]
    lines.append("| **mean** | | " + " | ".join(means) + " | | |")
    return lines


def markdown(data):
    out = []
    for (size, kind, temp), families in groups_of(data).items():
        what = "the shipped target" if size == "shipped" else f"{size} {kind}"
        out += [f"**{what}, {'greedy' if temp == 0 else f'temperature {temp:g}'}**", ""]
        out += table(families) + [""]
    out += ["Figures are times llama.cpp's plain decoding, but for those named otherwise; in brackets "
            "the drafted tokens of llama.cpp's best setting, and the least and the most of the "
            "repeats.", ""]
    for piece in data["pieces"]:
        note = f" ({piece['note']})" if piece["note"] else ""
        out.append(f"* {piece['began']} UTC, {piece['machine']}, {piece.get('peer', 'without a peer')}"
                   f"{note}: `{piece['command']}`")
    return "\n".join(out) + "\n"


def insert(path, text):
    """Put text between the markers of a document."""
    document = path.read_text(encoding="utf-8")
    if document.count(BEGIN) != 1 or document.count(END) != 1:
        raise SystemExit(f"suite.py: {path} has no place for results: {BEGIN} .. {END}")
    before, rest = document.split(BEGIN)
    path.write_text(f"{before}{BEGIN}\n{text}{END}{rest.split(END)[1]}", encoding="utf-8")


def bars(families):
    """(family, [(name, ratio)]) of the picture."""
    for family, g in families.items():
        best = g.best_speculative()
        named = [("llama.cpp, best draft setting", "best", g.ratio(best, PLAIN) if best else None)]
        named += [(f"hsd {mode}", mode, g.ratio(mode, PLAIN)) for mode in ORDER
                  if mode in g.contenders]
        yield family, [(name, key, ratio) for name, key, ratio in named if ratio]


def picture(data):
    """Bars: times llama.cpp's plain decoding, with the least and the most of the repeats."""
    width, left, bar, y = 860, 210, 11, 30
    shown = [(key, list(bars(families))) for key, families in groups_of(data).items()]
    most = max((r[2] for _, some in shown for _, b in some for *_, r in b), default=1.0)
    scale = (width - left - 60) / max(1.0, most)
    body = []
    for (size, kind, temp), some in shown:
        title = f"{size} {kind}, {'greedy' if temp == 0 else f'temperature {temp:g}'}"
        body.append(f'<text x="8" y="{y}" font-weight="bold">{escape(title)}</text>')
        y += 10
        for family, named in some:
            body.append(f'<text x="8" y="{y + 10}">{escape(family)}</text>')
            for name, key, ratio in named:
                body.append(
                    f'<text x="{left - 6}" y="{y + 9}" text-anchor="end" font-size="9">{escape(name)}'
                    f'</text><rect x="{left}" y="{y}" width="{ratio[0] * scale:.1f}" '
                    f'height="{bar - 2}" fill="{COLOURS[key]}"/><line x1="{left + ratio[1] * scale:.1f}"'
                    f' x2="{left + ratio[2] * scale:.1f}" y1="{y + bar / 2 - 1}" y2="{y + bar / 2 - 1}" '
                    f'stroke="#333"/><text x="{left + ratio[2] * scale + 4:.1f}" y="{y + 9}" '
                    f'font-size="9">{ratio[0]:.2f}</text>')
                y += bar
            y += 6
        y += 24
    body.append(f'<line x1="{left + scale:.1f}" x2="{left + scale:.1f}" y1="36" y2="{y - 24}" '
                f'stroke="#999" stroke-dasharray="3 3"/><text x="{left + scale:.1f}" y="{y - 12}" '
                f'text-anchor="middle" font-size="9">llama.cpp, plain = 1</text>')
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y}" font-size="11" '
            f'font-family="sans-serif"><rect width="100%" height="100%" fill="white"/>'
            + "\n".join(body) + "</svg>\n")
