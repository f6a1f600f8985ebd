# SPDX-License-Identifier: LGPL-2.1-or-later
"""The plots of the page, drawn by gnuplot as SVG, each out of the series that a row left for it."""

import subprocess

from stats import figure

HEAD = """\
set terminal svg size 760,{height} font "sans-serif,13" background "white"
set output "{path}"
set style fill solid 0.9 noborder
set border 3
set tics nomirror
set key top left Left reverse
"""
OURS, THEIRS = "#0066cc", "#8a8d90"
COLOURS = (OURS, THEIRS, "#f0ab00", "#3e8635")
# Room below the smallest bar of a logarithmic plot, and beyond the largest, as factors.
BELOW, BEYOND = 3, 6


def quoted(text):
    return '"' + text.replace('"', "'") + '"'


def block(name, lines):
    return f"${name} << EOD\n" + "\n".join(lines) + "\nEOD\n"


def bars(series):
    """One lying bar a name, logarithmic; those that are ours stand out, and lines show spreads."""
    names, ms = series["names"], series["ms"]
    low, high = series.get("low", ms), series.get("high", ms)
    rows = [f"{i} {value} {at_least} {at_most} "
            f"{int((OURS if name in series['ours'] else THEIRS)[1:], 16)} {quoted(name)} "
            f"{quoted('  ' + figure(value))}"
            for i, (name, value, at_least, at_most) in enumerate(zip(names, ms, low, high))]
    least, most = min(low) / BELOW, max(high) * BEYOND
    return (block("bars", rows) + f'set logscale x\nset xrange [{least}:{most}]\n'
            f"set yrange [{len(names) - 0.4}:-0.6]\nset grid xtics lc rgb \"#d0d0d0\"\nunset key\n"
            'set xlabel "ms, logarithmic"\n'
            f"plot $bars using ({least}):1:({least}):2:($1-0.36):($1+0.36):5:ytic(6) "
            "with boxxyerror lc rgb variable, "
            "$bars using 3:1:($4-$3):(0) with vectors nohead lc rgb \"black\" lw 1.5, "
            "$bars using 4:1:7 with labels left\n")


def lines(x_name, x, y_label, names, values, more=""):
    rows = [" ".join([str(at), *(str(series[i]) for series in values)]) for i, at in enumerate(x)]
    drawn = ", ".join(f"$points using 1:{i + 2} with linespoints pt 7 lw 2 "
                      f"lc rgb {quoted(colour)} title {quoted(name)}"
                      for i, (name, colour) in enumerate(zip(names, COLOURS)))
    return (block("points", rows) + f'set xlabel {quoted(x_name)}\nset ylabel {quoted(y_label)}\n'
            f'set grid ytics lc rgb "#d0d0d0"\n{more}plot {drawn}\n')


# Row, series, file, caption, height, and how it is drawn.
PLOTS = (
    ("gap", "gap", "gap.svg", "Wall time of one gap measurement on one machine", 300, bars),
    ("hook", "hook", "hook.svg", "One call of a hook", 280, bars),
    ("guest", "residual", "residual.svg", "What a guest's clock is off by after a handoff", 240,
     bars),
    ("guest", "mass", "mass.svg",
     "Guests that resume at once: until the last is right; 120 s is for never", 340,
     lambda s: lines("guests", s["sizes"], "seconds", s["names"], s["s"], "set yrange [0:*]\n")),
    ("watch", "fleet", "fleet.svg", "Watching peers", 340,
     lambda s: lines("peers", s["peers"], "% of a core", s["names"], s["percent"],
                     "set yrange [0:*]\n")),
)


def draw(results, folder):
    """Draws what there is; returns (row, file name, caption) of each."""
    drawn = []
    for row, name, file, caption, height, script in PLOTS:
        series = results.get(row, {}).get("series", {}).get(name)
        if not series:
            continue
        text = HEAD.format(path=folder / file, height=height) + script(series)
        subprocess.run(["gnuplot"], input=text, text=True, check=True)
        drawn.append((row, file, caption))
    return drawn
