#!/usr/bin/env python3
"""Machines that are not here: simulates them with `hsd simulate` and draws docs/img/scaling-*.svg (docs/scaling.md).

    python3 tests/bench/scaling.py --hsd build/release/cli/hsd --out docs/img

Prints every figure that is drawn. Needs nothing but Python; a minute or two. Equal figures on every machine.
"""
import argparse
import html
import json
import math
import os
import subprocess
import tempfile

ROWS = (1, 2, 4, 8, 16, 32, 64)

# Latency of a message in microseconds, gigabytes per second.
#   NVLink 4    450 GB/s each way (data sheet of the H100: 900 both ways); 2 us assumed. Frames over it are imagined:
#               hsd has no such transport
#   PCIe 4 x16  24 GB/s of 31.5 arrive, 10 us a submission: as topology/machine.c assumes for PCIe 3, twice the rate
#   100 GbE     11.8 GB/s of 12.5, 15 us: kernel network code on both sides, nothing on the wire
#   10 GbE      1.18 GB/s of 1.25, 45 us
#   1 GbE       0.118 GB/s, 56 us (topology/machine.c)
LINKS = (("NVLink", 2, 450), ("PCIe 4", 10, 24), ("100 GbE", 15, 11.8), ("10 GbE", 45, 1.18), ("1 GbE", 56, 0.118))

# How often the outcome is among the best 1, 2, 4, .. 64 roots: the shipped pair's, docs/benchmarks.md.
BOTH = (0.392, 0.548, 0.689, 0.821, 0.922, 0.953, 0.956)
OWN = (0.341, 0.476, 0.608, 0.757, 0.853, 0.891, 0.892)
N_LAYERS, N_DRAFT_LAYERS = 32, 8


def numbers(values):
    return "[" + ", ".join(f"{v:.6g}" for v in values) + "]"


def model(layers):
    return ("{fingerprint: \"0000000000000000\", layers: %d, embd: 4096, vocab: 128000, ctx: 8192, layer_bytes: 0, "
            "head_bytes: 0, embedding_bytes: 0, cache_bytes: 0, layer_ops: 0, head_ops: 0, int8: false}" % layers)


def table(role, device, layers, call_ns, row, head):
    """A call of n rows takes call_ns * (1 + row * (n - 1)), a part `head` of it in the LM head."""
    costs = [call_ns * (1 + row * (n - 1)) for n in ROWS]
    return (f"  - role: {role}\n    device: {device}\n    threads: 0\n    past: 128\n    measured: true\n"
            f"    fixed_ns: 0\n    layer_ns: {numbers(c * (1 - head) / layers for c in costs)}\n"
            f"    head_ns: {numbers(c * head for c in costs)}\n")


class Machine:
    """A target on an accelerator, and drafts on theirs: beside it, or two a host behind links."""

    def __init__(self, folder, hsd, pass_ms, draft, row, n_drafts=1, link=None, accept=0.75, own=OWN, both=BOTH):
        self.hsd, self.args = hsd, []
        pass_ns = pass_ms * 1e6
        lines = ["topology: 1", "name: imagined", "hosts:", "  - {name: here, here: true, cores: 16}"]
        devices = ["devices:", "  - {name: target, type: accelerator, host: here, memory: 80 GiB}"]
        # Times of calls include copies to and from a device; messages are between hosts.
        links, workers = ["links:", "  - {from: target, to: here, latency: 1 ns, rate: 450 GB/s}"], ["workers:"]
        for i in range(n_drafts):
            host = f"host{i // 2}" if link else "here"
            devices.append(f"  - {{name: draft{i}, type: accelerator, host: {host}, memory: 80 GiB}}")
            links.append(f"  - {{from: draft{i}, to: {host}, latency: 1 ns, rate: 450 GB/s}}")
            if link and i % 2 == 0:
                lines.append(f"  - {{name: {host}, cores: 16}}")
                links.append(f"  - {{from: here, to: {host}, latency: {link[1]} us, rate: {link[2]} GB/s}}")
            if link:
                workers.append(f"  - {{name: worker{i}, device: draft{i}, endpoint: \"tcp://10.0.0.{i + 1}:5555\"}}")
        self.topology, self.profile = os.path.join(folder, "machine.yaml"), os.path.join(folder, "profile.yaml")
        with open(self.topology, "w", encoding="utf-8") as file:
            file.write("\n".join(lines + devices + links + (workers if link else [])) + "\n")
        with open(self.profile, "w", encoding="utf-8") as file:
            file.write("version: 1\nfingerprint: \"0000000000000000\"\ncache: kv-f32\n"
                       f"target: {model(N_LAYERS)}\ndraft: {model(N_DRAFT_LAYERS)}\ndevices:\n"
                       "  - {name: target, id: none}\n" +
                       "".join(f"  - {{name: draft{i}, id: none{i}}}\n" for i in range(n_drafts)) + "tables:\n" +
                       table("target", "target", N_LAYERS, pass_ns, 0.005, 0.05) +
                       "".join(table("draft", f"draft{i}", N_DRAFT_LAYERS, draft * pass_ns, row, 0.1)
                               for i in range(n_drafts)) +
                       # hsd's own messages between threads, docs/benchmarks.md; by ipc and tcp those of links
                       "rendezvous: {inproc_ns: 18000, ipc_ns: 94000, tcp_ns: 130000, serial_extra_ns: 54000}\n"
                       f"acceptance:\n  seen: 0\n  accept: {numbers([accept])}\n  own: {numbers(own)}\n"
                       f"  both: {numbers(both)}\n")

    def run(self, mode, *args):
        """Speed over the target alone."""
        command = [self.hsd, "simulate", "--topology", self.topology, "--profile", self.profile, "--mode", mode,
                   "--json", *map(str, args)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
        return json.loads(done.stdout)["modes"][0]["ratio_to_ar"]


# ---- drawing ----

COLOURS = ("#1b6ca8", "#d1495b", "#2e8b57", "#e08e0b", "#6a4c93", "#444444")
PLACES = {"serial": 0, "async": 1, "mirror": 2, "mirror,\u00a02\u00a0streams": 3}  # the same in every picture
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 590, 340, 58, 126, 46, 50


class Panel:
    def __init__(self, title, x_label, y_label, x_ticks, y_ticks, x_names=None):
        self.title, self.x_label, self.y_label = title, x_label, y_label
        self.x_ticks, self.y_ticks, self.x_names = x_ticks, y_ticks, x_names or [f"{x:g}" for x in x_ticks]
        self.lines, self.marks = [], []

    def x(self, value):
        low, high = math.log(self.x_ticks[0]), math.log(self.x_ticks[-1])
        return LEFT + (math.log(value) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(self, value):
        low, high = self.y_ticks[0], self.y_ticks[-1]
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def svg(self, left):
        out = [f'<g transform="translate({left},0)">',
               f'<text x="{LEFT}" y="20" class="title">{html.escape(self.title)}</text>',
               f'<text x="{LEFT}" y="37" class="label">{html.escape(self.y_label)}</text>',
               f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 10}" text-anchor="middle" class="label">'
               f'{html.escape(self.x_label)}</text>']
        for tick in self.y_ticks:
            strong = ' style="stroke:#888"' if abs(tick - 1) < 1e-9 else ""
            out.append(f'<path d="M{LEFT},{self.y(tick):.1f}H{WIDTH - RIGHT}" class="grid"{strong}/>'
                       f'<text x="{LEFT - 8}" y="{self.y(tick) + 4:.1f}" text-anchor="end" class="tick">{tick:g}</text>')
        for tick, name in zip(self.x_ticks, self.x_names):
            out.append(f'<path d="M{self.x(tick):.1f},{HEIGHT - BOTTOM}v5" class="axis"/>'
                       f'<text x="{self.x(tick):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle" class="tick">'
                       f'{html.escape(name)}</text>')
        for value, text in self.marks:
            out.append(f'<path d="M{LEFT},{self.y(value):.1f}H{WIDTH - RIGHT}" class="mark"/>'
                       f'<text x="{LEFT + 6}" y="{self.y(value) - 5:.1f}" class="tick">{html.escape(text)}</text>')
        out += self.curves()
        return "\n".join(out + ["</g>"])

    def curves(self):
        """Lines, and their names at the right, apart from each other."""
        out, places = [], []
        for i, (name, points) in enumerate(self.lines):
            path = "L".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
            dots = "".join(f'<circle cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="2.6"/>' for x, y in points)
            colour = COLOURS[PLACES.get(name, i)]
            out.append(f'<g style="stroke:{colour};fill:{colour}"><path d="M{path}" class="line"/>{dots}</g>')
            places.append([self.y(points[-1][1]), colour, name])
        places.sort()
        for before, after in zip(places, places[1:]):
            after[0] = max(after[0], before[0] + 15)
        excess = max(0, places[-1][0] - (HEIGHT - BOTTOM))
        for place, colour, name in places:
            out.append(f'<text x="{WIDTH - RIGHT + 8}" y="{place - excess + 4:.1f}" class="label" '
                       f'style="fill:{colour}">{html.escape(name)}</text>')
        return out


def draw(path, *panels):
    width = WIDTH * len(panels)
    with open(path, "w", encoding="utf-8") as file:
        file.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{HEIGHT}" '
                   f'viewBox="0 0 {width} {HEIGHT}" font-family="sans-serif">\n'
                   "<style>.title{font-size:15px;font-weight:bold}.label{font-size:12px;fill:#222}"
                   ".tick{font-size:11px;fill:#444}.grid{stroke:#e3e3e3}.axis{stroke:#888}"
                   ".mark{stroke:#888;stroke-dasharray:5 4}.line{fill:none;stroke-width:2}</style>\n"
                   f'<rect width="{width}" height="{HEIGHT}" fill="#ffffff"/>\n')
        file.write("\n".join(panel.svg(i * WIDTH) for i, panel in enumerate(panels)) + "\n</svg>\n")


def show(title, panel):
    """The figures that are drawn, as a table."""
    xs = sorted({x for _, points in panel.lines for x, _ in points})
    print(f"\n{title}: {panel.title}\n| {panel.x_label} | " + " | ".join(f"{x:g}" for x in xs) + " |")
    print("|---" * (len(xs) + 1) + "|")
    for name, points in panel.lines:
        at = dict(points)
        print(f"| {name} | " + " | ".join(f"{at[x]:.2f}" if x in at else "" for x in xs) + " |", flush=True)


# ---- what is simulated ----

def workers(hsd, folder):
    """64 branches on 1 to 64 workers, whose rows are dear: a draft on a few cores each."""
    panels = []
    for pass_ms in 20, 1:
        panel = Panel(f"A pass of {pass_ms} ms", "draft workers", "speed, target alone = 1", (1, 2, 4, 8, 16, 32, 64),
                      (0, 0.5, 1, 1.5, 2, 2.5, 3))
        for link in LINKS:
            points = []
            for n in panel.x_ticks:
                machine = Machine(folder, hsd, pass_ms, 0.05, 0.5, n, link)
                args = ("--window", 5, "--roots", 64, "--tokens", 600)
                points.append((n, machine.run("mirror", *args)))
            panel.lines.append((link[0], points))
        show("workers", panel)
        panels.append(panel)
    return panels


def passes(hsd, folder):
    """From small targets to large ones, with one accelerator as the draft's, all of it in proportion."""
    panels = []
    for mode in "mirror", "serial":
        panel = Panel(f"mode {mode}", "time of a pass of the target, ms", "speed, target alone = 1",
                      (0.2, 0.5, 1, 2, 5, 10, 20, 50), (0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5))
        for link in LINKS:
            points = [(ms, Machine(folder, hsd, ms, 0.05, 0.005, 1, link).run(mode, "--window", 5, "--roots", 16,
                                                                               "--tokens", 1500))
                      for ms in panel.x_ticks]
            panel.lines.append((link[0], points))
        show("passes", panel)
        panels.append(panel)
    return panels


def drafts(hsd, folder):
    """From drafts that cost nothing to those as slow as the target; lengths of windows adapt."""
    panels = []
    for accept in 0.6, 0.85:
        panel = Panel(f"Acceptance {accept:g}", "a draft's token over a pass of the target", "speed, target alone = 1",
                      (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1), (0, 1, 2, 3, 4, 5) if accept > 0.7 else (0, 0.5, 1, 1.5, 2, 2.5))
        for name, mode, streams in (("serial", "serial", 1), ("async", "async", 1), ("mirror", "mirror", 1),
                                    ("mirror,\u00a02\u00a0streams", "mirror", 2)):
            points = [(draft, Machine(folder, hsd, 20, draft, 0.01, accept=accept).run(
                mode, "--roots", 16, "--streams", streams, "--tokens", 3000)) for draft in panel.x_ticks]
            panel.lines.append((name, points))
        show("drafts", panel)
        panels.append(panel)
    return panels


def paper(hsd, folder):
    """Mirror Speculative Decoding: windows of 7, 8 proxies a row, exit at half, roots by the proxies alone."""
    accepts = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98)
    panel = Panel("The paper's setting, simulated", "acceptance of a drafted token", "speed, target alone = 1",
                  (0.5, 0.6, 0.7, 0.8, 0.9, 0.98), (0, 1, 2, 3, 4, 5, 6, 7))
    panel.marks = [(3.8, "3.8: its mean over tasks"), (5.8, "5.8: its best, mathematics")]
    sure = (1,) * 7
    for name, mode, streams in (("serial", "serial", 1), ("mirror", "mirror", 1), ("mirror,\u00a02\u00a0streams", "mirror", 2)):
        points = [(a, Machine(folder, hsd, 20, 0.113, 0, accept=a, own=sure, both=sure).run(
            mode, "--window", 7, "--roots", 64, "--roots-from", "exit", "--streams", streams, "--tokens", 6000))
            for a in accepts]
        panel.lines.append((name, points))
    show("paper", panel)
    for wanted in 3.8, 5.8:
        for name, points in panel.lines:
            for (x0, y0), (x1, y1) in zip(points, points[1:]):
                if y0 <= wanted < y1:
                    print(f"{wanted} in {name}: acceptance {x0 + (x1 - x0) * (wanted - y0) / (y1 - y0):.3f}")
    return [panel]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hsd", default="build/release/cli/hsd", help="the program")
    parser.add_argument("--out", default="docs/img", help="folder of the pictures")
    parser.add_argument("--only", help="one of workers, passes, drafts, paper")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for what in workers, passes, drafts, paper:
            if args.only in (None, what.__name__):
                draw(os.path.join(args.out, f"scaling-{what.__name__}.svg"), *what(os.path.abspath(args.hsd), folder))


if __name__ == "__main__":
    main()
