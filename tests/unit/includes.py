# SPDX-License-Identifier: LGPL-2.1-or-later
"""Includes point one way, and the rules that a grep can hold.

A room may include its own headers, the public contracts, and rooms below it. Exactly one file
reads the clock. Files open with the licence and a paragraph.
"""

import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
PLUGIN = TOP / "plugin"

# From the ground up: what each room may include of the others.
ROOMS = {
    "base": set(),
    "clock": {"base"},
    "domain": {"base"},
    "policy": {"base", "clock", "domain"},
    "lint": {"base", "domain", "policy"},
    "config": {"base", "clock", "domain", "policy"},
    "guest": {"base", "policy", "config"},
    "fleet": {"base", "clock", "domain", "policy", "config"},
    "report": {"base", "clock", "domain", "policy", "lint", "config", "guest", "fleet"},
}
PROGRAMS = {"cli", "peerd", "daemon"}
CLOCK_READERS = {"plugin/base/now.c"}
MIN_OPENING_WORDS = 25


def includes(path):
    return re.findall(r'^\s*#\s*include\s*["<]([^">]+)[">]', path.read_text(), re.M)


def room_faults(path):
    room = path.relative_to(PLUGIN).parts[0]
    may = set(ROOMS) | {room} if room in PROGRAMS else ROOMS[room] | {room}
    for name in includes(path):
        first = name.split("/")[0]
        if first in set(ROOMS) | PROGRAMS and first not in may:
            yield f"{path.relative_to(TOP)} includes {name}: {room} lies below {first}"
        if "/" not in name and (path.parent / name).exists():
            yield f"{path.relative_to(TOP)} includes {name} without its room"


def contract_faults(path):
    for name in includes(path):
        if name.split("/")[0] in set(ROOMS) | PROGRAMS:
            yield f"{path.relative_to(TOP)} includes {name}: contracts stand on contracts only"


def guard_faults(path):
    for name in includes(path):
        if "/" in name and (TOP / "include" / name).exists() or (PLUGIN / name).exists():
            yield f"{path.relative_to(TOP)} includes {name}: the guard stands alone"


def clock_faults(path):
    own = str(path.relative_to(TOP))
    reads = re.search(r"\b(clock_gettime|gettimeofday|time\(NULL\))", path.read_text())
    if reads and own not in CLOCK_READERS and path.parts[-2] != "hooks":
        yield f"{own} calls {reads.group(1)}: only plugin/base/now.c reads clocks"


def opening_faults(path):
    text = path.read_text()
    own = path.relative_to(TOP)
    if not text.startswith("/* SPDX-License-Identifier: LGPL-2.1-or-later */\n/*\n"):
        yield f"{own} does not open with its licence and a paragraph"
        return
    paragraph = text.split("/*\n", 1)[1].split("*/", 1)[0]
    if path.suffix == ".c" and len(re.findall(r"[A-Za-z']+", paragraph)) < MIN_OPENING_WORDS:
        yield f"{own}: the opening paragraph says too little"


def main():
    rooms = sorted(PLUGIN.rglob("*.[ch]"))
    contracts = sorted((TOP / "include").rglob("*.h"))
    guard = sorted((TOP / "hooks").rglob("*.[ch]"))
    faults = [fault for path in rooms for fault in room_faults(path)]
    faults += [fault for path in contracts for fault in contract_faults(path)]
    faults += [fault for path in guard for fault in guard_faults(path)]
    for path in rooms + contracts + guard:
        faults += list(clock_faults(path)) + list(opening_faults(path))
    if len(rooms) < 20 or not contracts or not guard:
        faults.append("sources not found: is this the right folder?")
    print("\n".join(faults) or f"{len(rooms) + len(contracts) + len(guard)} files, no fault")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
