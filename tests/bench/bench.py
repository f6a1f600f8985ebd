# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs the rows of the suite, and makes of them one page for people and one document for programs.

Every row is a program with hosts of its own (row_*.py) and says what was aimed at and whether it
was met; nothing is asserted. All that is compared is measured in one run, in turns.
"""

import argparse
import json
import os
import pathlib
import platform
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True

import plots  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parent.parent
# In this order on the page.
ROWS = ("gap", "hook", "guest", "serve", "watch")
# The row that for minutes only waits, and the one that is measured beside it once it does.
WAITS, BESIDE = "watch", "gap"
MARKS = {True: "yes", False: "**no**", None: ""}


def start(name, folder, quick, *more):
    """Starts a row as a program that ends with this one, however that ends."""
    argv = ["setpriv", "--pdeathsig", "KILL", "/usr/bin/python3", HERE / f"row_{name}.py",
            *(["--quick"] if quick else []), *more, folder / f"{name}.json"]
    return subprocess.Popen([str(word) for word in argv], stdin=subprocess.DEVNULL)


def finish(name, program, folder):
    status = program.wait()
    if status:
        sys.exit(f"bench: row '{name}' ended with {status}")
    return json.loads((folder / f"{name}.json").read_text())


def run_rows(names, quick, folder):
    """What each row measured, by name; exits if one could not be measured."""
    results, waiting, steady = {}, None, folder / "steady"
    if WAITS in names:
        waiting = start(WAITS, folder, quick, "--steady", steady)
        while waiting.poll() is None and not steady.exists():
            time.sleep(0.1)
    if BESIDE in names:
        results[BESIDE] = finish(BESIDE, start(BESIDE, folder, quick), folder)
    if waiting:
        results[WAITS] = finish(WAITS, waiting, folder)
    for name in names:
        if name not in (WAITS, BESIDE):
            results[name] = finish(name, start(name, folder, quick), folder)
    return {name: results[name] for name in names}


def machine():
    """What the figures are of."""
    cpu = next((line.partition(":")[2].strip() for line in
                pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), platform.machine())
    release = next(line.partition("=")[2].strip('"\n') for line in open("/etc/os-release")
                   if line.startswith("PRETTY_NAME="))
    return f"{os.cpu_count()} processors ({cpu}), {release}, Linux {platform.release().partition('-')[0]}"


def markdown(columns, rows):
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def summary(results):
    """The claims of all rows as one table."""
    return markdown(["", "timehandoff", "against", "aim", "met"],
                    [[claim["what"], claim["ours"], claim["against"], claim["aim"],
                      MARKS.get(claim["met"], claim["met"])]
                     for result in results.values() for claim in result["claims"]])


PAGE = """\
<!-- SPDX-License-Identifier: LGPL-2.1-or-later -->
<!-- Written by tests/bench/run; what is changed here by hand is lost with the next run. -->
# Figures

All of this was measured in one run by `tests/bench/run{option}`, {took:.0f} minutes on {machine};
the hosts are namespaces of one machine, the guests are emulated. What is compared takes turns, so
that whatever else the machine does falls on all of it alike. Figures are medians, in brackets where
the middle four fifths of the values lie, of fewer than ten all. *even*: ours is the worse one, by no
more than chance explains. On another machine seconds will differ, ratios less so.

{summary}
"""


def page(results, quick, took_s, pictures):
    text = [PAGE.format(option=" --quick" if quick else "", took=took_s / 60, machine=machine(),
                        summary=summary(results))]
    for name, result in results.items():
        text.append(f"## {result['title']}\n\n{result['about']}\n")
        text += [f"![{caption}]({file})\n" for row, file, caption in pictures if row == name]
        for table in result["tables"]:
            text.append(f"{table['title']}:\n\n{markdown(table['columns'], table['rows'])}\n")
        notes = HERE / "notes" / f"{name}.md"
        if notes.exists():
            text.append(notes.read_text())
    return "\n".join(text)


def write(out, results, quick, took_s):
    """Figures, plots and page: the figures first, as they took the time; the page when all is there."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "figures.json").write_text(json.dumps(
        {"machine": machine(), "quick": quick, "took_s": round(took_s), "rows": results},
        indent=1) + "\n")
    pictures = plots.draw(results, out)
    (out / "README.md").write_text(page(results, quick, took_s, pictures))


def main():
    # The programs that were started end with this one.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parser = argparse.ArgumentParser(prog="tests/bench/run", description=(
        "Measures timehandoff beside what people would use instead, and writes a page with tables "
        "and plots."))
    parser.add_argument("--quick", action="store_true",
                        help="fewer rounds, under three minutes; figures are rougher")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON, too")
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR",
                        help="where page and plots go (default: docs/benchmarks, and with --quick "
                             "or ROW: build/bench/page)")
    parser.add_argument("rows", nargs="*", metavar="ROW",
                        help=f"only these of {', '.join(ROWS)}")
    options = parser.parse_args()
    unknown = [name for name in options.rows if name not in ROWS]
    if unknown:
        parser.error(f"no row '{unknown[0]}'; there are {', '.join(ROWS)}")
    names = [name for name in ROWS if not options.rows or name in options.rows]
    is_whole = not options.quick and not options.rows
    out = options.out or TOP / ("docs/benchmarks" if is_whole else "build/bench/page")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        results = run_rows(names, options.quick, pathlib.Path(folder))
    took_s = time.monotonic() - began
    write(out, results, options.quick, took_s)
    if options.json:
        print((out / "figures.json").read_text(), end="")
    else:
        print(f"\n{summary(results)}\n")
    print(f"bench: {took_s:.0f} s; the page is {out / 'README.md'}", file=sys.stderr)


if __name__ == "__main__":
    main()
