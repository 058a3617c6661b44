#!/usr/bin/env python3
"""Draw one step of a trace as SVG: the target's lane, a lane for each draft worker, and the
messages between them as arrows.

    hsd run --mode mirror --trace trace.json --prompt "Once upon a time"
    step_svg.py trace.json > step.svg                  # a typical step
    step_svg.py --step 12 trace.json > step.svg        # step 12
    step_svg.py trace.json worker.json > step.svg      # with a worker that wrote its own

A typical step is the one of median length among those whose commit had a branch ready. The
drawing goes from the begin of the step to the begin of the next prefix. Needs Python alone.
"""
import argparse
import json
import sys
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT = 1080, 96, 24
LANE_TOP, LANE_HEIGHT, LANE_GAP = 56, 44, 96
COLOURS = {  # white text is readable on all of them
    "prefix": "#1f5fa8", "exit head": "#6b3fa0", "suffix": "#12417a", "wait for windows": "#8a8f98",
    "verify": "#a03b3b", "commit": "#a03b3b", "emit": "#57606a",
    "glue": "#0b6e4f", "roots": "#6b3fa0", "branches": "#2a7d2e", "fresh rollout": "#a15c00",
    "lengthen branch": "#7a6a00", "catch up": "#a15c00", "ahead": "#2a7d2e", "sleep": "#c4c9d0",
}
OTHER = "#57606a"
MESSAGES = {"STEP": "#12417a", "PROXIES": "#6b3fa0", "COMMIT": "#a03b3b", "WINDOW": "#2a7d2e"}


def fail(text):
    sys.exit(f"step_svg.py: {text}")


def load(paths):
    """{(pid, tid): (name, [event])}, events by begin."""
    tracks = {}
    for path in paths:
        try:
            with open(path, encoding="utf-8") as file:
                events = json.load(file)["traceEvents"]
            known = {name for name, _ in tracks.values()}
            for e in events:
                # A run's file has its workers' tracks already.
                if e["name"] == "thread_name" and e["args"]["name"] not in known:
                    tracks.setdefault((e["pid"], e["tid"]), (e["args"]["name"], []))
            for e in events:
                if e["ph"] == "X" and (e["pid"], e["tid"]) in tracks:
                    tracks[e["pid"], e["tid"]][1].append(e)
        except (OSError, ValueError, KeyError, TypeError) as why:
            fail(f"{path}: no trace of hsd: {why!r}")
    for _, events in tracks.values():
        events.sort(key=lambda e: (e["ts"], -e["dur"]))
    return tracks


def end_of(event):
    return event["ts"] + event["dur"]


def following(steps, i):
    """The step after steps[i] in the same generation, or None."""
    step = steps[i]["args"]
    for e in steps[i + 1:]:
        if e["args"]["session"] == step["session"]:
            return e if e["args"]["step"] == step["step"] + 1 else None
    return None


def choose(target, number):
    """(step, next step) to draw."""
    steps = [e for e in target if e["name"] == "step"]
    pairs = [(e, following(steps, i)) for i, e in enumerate(steps)]
    if number is not None:
        for step, after in pairs:
            if step["args"]["step"] == number:
                return step, after
        fail(f"the trace has no step {number}")
    hits = [(step, after) for step, after in pairs
            if after and step["args"]["step"] > 0
            and after["args"].get("source") in ("own", "proxy")]
    if not hits:
        fail("the trace has no step whose commit had a branch ready: was the mode mirror?")
    hits.sort(key=lambda pair: pair[0]["dur"])
    return hits[len(hits) // 2]


def visible(events, begin, end):
    """Events to draw as blocks: no containers, cut to the range."""
    out = []
    for e in events:
        if e["name"] == "step" or e["ts"] >= end or end_of(e) <= begin:
            continue
        out.append((max(e["ts"], begin), min(end_of(e), end), e))
    return out


def messages(tracks, begin, end):
    """(kind, sender, time, receiver, time) of what was sent and taken within the range."""
    found = []
    for sender, (_, events) in tracks.items():
        for e in events:
            if not e["name"].startswith("send ") or not begin <= end_of(e) <= end:
                continue
            kind = e["name"][5:]
            for receiver, (_, others) in tracks.items():
                if receiver == sender:
                    continue
                for other in others:
                    if (other["name"] == f"take {kind}" and other["ts"] >= e["ts"]
                            and other["args"]["step"] == e["args"]["step"]
                            and other["args"]["session"] == e["args"]["session"]):
                        if other["ts"] <= end:
                            found.append((kind, sender, e["ts"], receiver, other["ts"]))
                        break
    return found


class Drawing:
    def __init__(self, begin, end, n_lanes):
        self.begin, self.scale = begin, (WIDTH - LEFT - RIGHT) / (end - begin)
        self.bottom = LANE_TOP + n_lanes * LANE_HEIGHT + (n_lanes - 1) * LANE_GAP
        self.out = []

    def x(self, ts):
        return LEFT + (ts - self.begin) * self.scale

    @staticmethod
    def y(lane):
        return LANE_TOP + lane * (LANE_HEIGHT + LANE_GAP)

    def text(self, x, y, text, colour="#1f2328", anchor="start", size=12):
        self.out.append(f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" font-size="{size}" '
                        f'text-anchor="{anchor}">{escape(text)}</text>')

    def block(self, lane, begin, end, event):
        name, args = event["name"], event["args"]
        x, width = self.x(begin), max((end - begin) * self.scale, 0.7)
        is_message = name.startswith(("send ", "take "))
        inset = 12 if is_message or name == "sleep" else 0
        colour = MESSAGES.get(name[5:], OTHER) if is_message else COLOURS.get(name, OTHER)
        detail = ", ".join(f"{key} {args[key]}" for key in args if key not in ("session", "step", "begin_ns", "dur_ns"))
        self.out.append(
            f'<rect x="{x:.1f}" y="{self.y(lane) + inset}" width="{width:.1f}" '
            f'height="{LANE_HEIGHT - 2 * inset}" fill="{colour}" stroke="#f6f8fa" '
            f'stroke-width="0.5"><title>{escape(name)}: {event["dur"]:.1f} us; '
            f'{escape(detail)}</title></rect>')
        label = {"wait for windows": "wait", "fresh rollout": "fresh"}.get(name, name)
        if not inset and width > 6.6 * len(label) + 6:
            self.text(x + width / 2, self.y(lane) + 19, label, "#ffffff", "middle")
            rows = f'{args["rows"]} row{"s"[args["rows"] == 1:]}' if "rows" in args else ""
            if width > 6 * len(rows) + 6:
                self.text(x + width / 2, self.y(lane) + 34, rows, "#ffffff", "middle", 10)

    def arrow(self, kind, lane, ts, other_lane, other_ts, level):
        down = other_lane > lane
        y = self.y(lane) + (LANE_HEIGHT if down else 0)
        other_y = self.y(other_lane) + (0 if down else LANE_HEIGHT)
        x, other_x, colour = self.x(ts), self.x(other_ts), MESSAGES[kind]
        self.out.append(f'<line x1="{x:.1f}" y1="{y}" x2="{other_x:.1f}" y2="{other_y}" '
                        f'stroke="{colour}" stroke-width="1.6" marker-end="url(#{kind})"/>')
        part = 0.25 + 0.25 * (level % 3)
        # An answer's name lies before its arrow: the next message down begins right behind it.
        before = max(x, other_x) > WIDTH - RIGHT - 70 or (not down and min(x, other_x) > LEFT + 60)
        self.text(x + (other_x - x) * part + (-6 if before else 6), y + (other_y - y) * part + 4,
                  kind, colour, "end" if before else "start", 11)

    def axis(self, end):
        unit = next(u for u in [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 1e5, 1e6]
                    if (end - self.begin) / u <= 14)
        y, ts = self.bottom + 18, 0.0
        while self.begin + ts <= end:
            x = self.x(self.begin + ts)
            self.out.append(f'<line x1="{x:.1f}" y1="{y}" x2="{x:.1f}" y2="{y + 5}" '
                            f'stroke="#57606a"/>')
            self.text(x, y + 17, f"{ts:g}", "#57606a", "middle", 10)
            ts += unit
        self.text(LEFT - 10, y + 17, "us", "#57606a", "end", 10)

    def legend(self, lines):
        for i, line in enumerate(lines):
            self.text(16, self.bottom + 62 + 17 * i, line, "#1f2328")
        return self.bottom + 62 + 17 * len(lines)


def totals(name, blocks):
    """`name: prefix 120 us, ...`, longest first."""
    sums = {}
    for begin, end, e in blocks:
        if not e["name"].startswith("take WINDOW"):  # it lies within the wait
            sums[e["name"]] = sums.get(e["name"], 0) + end - begin
    if "commit" in sums:
        sums["commit"] -= sums.get("send COMMIT", 0)
    parts = sorted(sums.items(), key=lambda item: -item[1])
    return f"{name}: " + ", ".join(f"{key} {value:.0f}" for key, value in parts if value >= 1)


def lane_name(name):
    return name.split()[0] if not name.startswith("draft") else "draft"


def draw(tracks, step, after):
    begin = step["ts"]
    end = end_of(step)
    for _, events in tracks.values():
        for e in events:
            if after and e["name"] == "prefix" and e["ts"] >= after["ts"] and e["ts"] > end:
                end = e["ts"] + min(e["dur"], 0.05 * (e["ts"] - begin))
                break
    lanes = [key for key, (name, _) in tracks.items() if name.startswith("target")]
    lanes += [key for key, (name, events) in tracks.items()
              if not name.startswith("target") and visible(events, begin, end)]
    drawing = Drawing(begin, end, len(lanes))
    args = step["args"]
    drawing.text(16, 28, f'Step {args["step"]}: {args["rows"]} rows verified, {args["accepted"]} '
                 f'draft tokens accepted; the step took {step["dur"]:.0f} us', size=14)
    lines = []
    for lane, key in enumerate(lanes):
        name, events = tracks[key]
        blocks = visible(events, begin, end)
        drawing.text(LEFT - 10, drawing.y(lane) + 27, lane_name(name), anchor="end", size=13)
        for block in sorted(blocks, key=lambda b: b[2]["name"].startswith(("send", "take"))):
            drawing.block(lane, *block)
        lines.append(totals(lane_name(name), blocks) + " us")
    found = sorted(messages({key: tracks[key] for key in lanes}, begin, end), key=lambda m: m[2])
    for level, (kind, sender, ts, receiver, other_ts) in enumerate(found):
        drawing.arrow(kind, lanes.index(sender), ts, lanes.index(receiver), other_ts, level)
    drawing.axis(end)
    return drawing, drawing.legend(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("traces", nargs="+", metavar="TRACE", help="files of --trace, one host's")
    parser.add_argument("--step", type=int, help="number of the step (default: a typical one)")
    options = parser.parse_args()
    tracks = load(options.traces)
    target = [e for name, events in tracks.values() if name.startswith("target") for e in events]
    drawing, height = draw(tracks, *choose(target, options.step))
    heads = "".join(
        f'<marker id="{kind}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        f'markerHeight="7" orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="{colour}"/></marker>'
        for kind, colour in MESSAGES.items())
    print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
          f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">')
    print(f"<defs>{heads}</defs>")
    # A card of its own: readable wherever it is shown.
    print(f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8" '
          f'fill="#f6f8fa" stroke="#c4c9d0"/>')
    print("\n".join(drawing.out))
    print("</svg>")


if __name__ == "__main__":
    main()
