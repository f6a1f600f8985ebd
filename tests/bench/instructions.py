# SPDX-License-Identifier: LGPL-2.1-or-later
"""Instruction counts of the hot paths, held against those in instructions.json: a ratchet.

Seconds are noise on a shared machine; instructions repeat to a few in a million. A path that got
more than TOLERANCE longer fails, and one that got that much shorter is asked to be written down
(--write), so that it stays so. Counts are those of one compiler and of the libraries, which choose
their code by what the processor can: elsewhere there is nothing to hold them against, and that is
said.
"""

import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys

import row

HERE = pathlib.Path(__file__).resolve().parent
KNOWN = HERE / "instructions.json"
TOLERANCE = 0.05
# How often a path is run for its count: the one less the other is free of the process's start.
FEW, MANY = 20, 120
PATHS = ("packet", "mac", "answer", "gap", "probe")
# What glibc and nettle look at to choose, of what valgrind lets them see.
ABILITIES = ("aes", "avx2")


def run(argv):
    """A command in an environment that is the same everywhere, as the C library reads it through."""
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          env={"PATH": os.defpath}, check=False)


def count(tools, guard):
    hot = tools / "hot"
    counts = {path: (row.instructions(hot, path, MANY, run=run) -
                     row.instructions(hot, path, FEW, run=run)) // (MANY - FEW) for path in PATHS}
    return counts | {"guard": row.instructions(guard, "web1", "start", "begin", "-", run=run)}


def toolchain():
    compiler, nettle, valgrind = (run(argv).stdout.strip().rpartition("-")[2] for argv in (
        ["cc", "-dumpfullversion"], ["pkg-config", "--modversion", "nettle"],
        ["valgrind", "--version"]))
    flags = next((line.split() for line in open("/proc/cpuinfo", encoding="ascii")
                  if line.startswith("flags")), [])
    able = " ".join(word for word in ABILITIES if word in flags)
    return (f"{platform.machine()} ({able}), gcc {compiler}, {' '.join(platform.libc_ver())}, "
            f"nettle {nettle}, valgrind {valgrind}")


def judge(counts, known):
    """(name, words, whether it is as it was) of each path."""
    for name, now in counts.items():
        was = known.get(name)
        if was is None:
            yield name, f"{now:,}, not known yet: run with --write", False
        else:
            change = now / was - 1
            yield name, f"{now:,} instructions, {was:,} known ({change:+.1%})", \
                abs(change) <= TOLERANCE


def main():
    parser = argparse.ArgumentParser(prog="tests/bench/run instructions", description=__doc__)
    parser.add_argument("--write", action="store_true", help="take today's counts as known")
    options = parser.parse_args()
    tools = pathlib.Path(os.environ["TH_BENCH_TOOLS"])
    counts = count(tools, tools.parent.parent / "hooks" / "timehandoff-guard")
    if options.write:
        KNOWN.write_text(json.dumps({"toolchain": toolchain(), "counts": counts}, indent=1) + "\n")
    known = json.loads(KNOWN.read_text())
    if known["toolchain"] != toolchain():
        print(f"skip instructions: known for {known['toolchain']}, this is {toolchain()}")
        return 0
    bad = False
    for name, words, is_so in judge(counts, known["counts"]):
        print(f"{'ok  ' if is_so else 'FAIL'} {name}: {words}")
        bad |= not is_so
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
