"""The picture of suite.py's results: a panel for each table, a row for each family, a mark for each
contender at its speed over llama.cpp's plain decoding. See suite_report.py."""
from html import escape

from suite_report import groups_of, mean_of, ratios_of, title_of

WIDTH, LEFT, GAP, ROW, TOP, FOOT = 460, 104, 24, 19, 44, 24
COLUMNS = 2
STYLES = [("best", "llama.cpp, best draft setting", "#777777", "square"),
          ("ar", "hsd ar", "#8cb8dc", "dot"), ("serial", "hsd serial", "#3f8fc5", "dot"),
          ("mirror", "hsd mirror", "#174f8f", "dot"), ("async", "hsd async", "#6a51a3", "dot"),
          ("auto", "hsd auto", "#e6550d", "diamond")]


def mark(x, y, colour, shape, title):
    """One contender; a square, a dot or a diamond, so that colour is not all that tells."""
    inside = f"<title>{escape(title)}</title>"
    if shape == "dot":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}">{inside}</circle>'
    if shape == "square":
        return (f'<path d="M{x - 4:.1f} {y - 4:.1f}h8v8h-8z" fill="none" stroke="{colour}" '
                f'stroke-width="2">{inside}</path>')
    return f'<path d="M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6 -6z" fill="{colour}">{inside}</path>'


def ticks(most):
    step = next(s for s in (0.5, 1, 2, 5, 10, 20) if most / s <= 8)
    return [i * step for i in range(int(most / step) + 1)]


def family_row(name, ratios, y, scale, bold):
    """A line of a panel, y its middle."""
    weight = ' font-weight="bold"' if bold else ""
    out = [f'<text x="{LEFT - 10}" y="{y + 4}" text-anchor="end"{weight}>'
           f'{escape(name.replace("_", " "))}</text>']
    shown = [(ratios[key], label, colour, shape) for key, label, colour, shape in STYLES
             if ratios.get(key)]
    if ratios.get("auto"):
        _, low, high = ratios["auto"]
        out.append(f'<line x1="{LEFT + low * scale:.1f}" x2="{LEFT + high * scale:.1f}" y1="{y}" '
                   f'y2="{y}" stroke="#e6550d" stroke-width="1.5" stroke-opacity="0.5"/>')
        out.append(f'<text x="{WIDTH - 4}" y="{y + 4}" text-anchor="end" fill="#b8430a"{weight}>'
                   f'{ratios["auto"][0]:.2f}</text>')
    out += [mark(LEFT + ratio[0] * scale, y, colour, shape, f"{name}, {label}: {ratio[0]:.2f}")
            for ratio, label, colour, shape in shown]
    return out


def panel(title, families, most):
    """The body of one table, at the origin; its height."""
    scale = (WIDTH - LEFT - 44) / most
    of = {family: ratios_of(g) for family, g in families.items()}
    mean = {key: mean_of([ratios.get(key) for ratios in of.values()]) for key, *_ in STYLES}
    bottom = TOP + ROW * (len(of) + 1)
    out = [f'<text x="4" y="16" font-size="13" font-weight="bold">{escape(title)}</text>',
           f'<text x="{WIDTH - 4}" y="{TOP - 14}" text-anchor="end" fill="#b8430a">auto</text>']
    for tick in ticks(most):
        x = LEFT + tick * scale
        dash = ' stroke-dasharray="4 3"' if tick == 1 else ""
        out.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 6}" y2="{bottom}" '
                   f'stroke="{"#333" if tick == 1 else "#e2e2e2"}"{dash}/>'
                   f'<text x="{x:.1f}" y="{bottom + 14}" text-anchor="middle" fill="#555" '
                   f'font-size="10">{tick:g}</text>')
    for i, (family, ratios) in enumerate([*of.items(), ("mean", mean)]):
        out += family_row(family, ratios, TOP + ROW * i + 8, scale, family == "mean")
    return out, bottom + FOOT


def legend(used):
    out, x = [], 10
    for key, label, colour, shape in STYLES:
        if key in used:
            out += [mark(x, 40, colour, shape, label), f'<text x="{x + 9}" y="44">{label}</text>']
            x += 28 + 6.2 * len(label)
    return out


def picture(data):
    """Of a list of files; panels from left to right."""
    shown = [(one.get("name") or one["pieces"][0]["machine"], groups_of(one))
             for one in data if one["rows"]]
    every = [ratios_of(g) for _, groups in shown for families in groups.values()
             for g in families.values()]
    used = {key for ratios in every for key, *_ in STYLES if ratios.get(key)}
    most = max([ratios[key][0 if key != "auto" else 2] for ratios in every for key in used
                if ratios.get(key)] + [1.0]) * 1.03
    width = COLUMNS * WIDTH + (COLUMNS - 1) * GAP + 16
    body = ['<text x="8" y="22" font-size="14">Tokens per second, times llama.cpp\'s plain decoding '
            '(dashed: 1). Line: least and most of single runs of auto.</text>', *legend(used)]
    y = 62
    for name, groups in shown:
        body.append(f'<text x="8" y="{y + 14}" font-size="13" fill="#555">{escape(name)}</text>')
        y += 26
        panels = [panel(title_of(key), families, most) for key, families in groups.items()]
        for i in range(0, len(panels), COLUMNS):
            some = panels[i:i + COLUMNS]
            for column, (lines, _) in enumerate(some):
                body += [f'<g transform="translate({8 + column * (WIDTH + GAP)} {y})">', *lines, "</g>"]
            y += max(height for _, height in some) + 10
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y}" '
            f'viewBox="0 0 {width} {y}" font-size="11" font-family="sans-serif">'
            f'<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(body) + "\n</svg>\n")
