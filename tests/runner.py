# SPDX-License-Identifier: LGPL-2.1-or-later
"""Builds, runs every part of the tests, counts.

A part is a function that yields results: a name, and None or the reason it failed or was skipped.
The integration tests are about time and the machine is small, so only two of them run at a time;
beside them, at the lowest priority, run the parts that only compile and compute.
"""

import argparse
import collections
import functools
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import time

TOP = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("TH_TEST_BUILD", TOP / "build"))
INTEGRATION = TOP / "tests" / "integration"

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


# What runs beside the rest, and the priority it gives way with.
BESIDE = ("style", "clang", "sanitizers", "tsan", "valgrind", "fuzz", "instructions")
# What runs only when asked for, by name or with --long: minutes of building, or of chance.
LONG = ("rollout", "soak", "machine", "bench")
# What runs one after the other while the rest does: guests whose clocks are watched. Two of these
# at a time would take the processor from each other's guests, which are emulated.
GUESTS = ("migration", "handoff", "agent_faults", "daemon", "faults", "soak")
# What runs when all else has ended: how soon an answer comes is what it looks at.
ALONE = ("hook", "measure", "machine", "bench")
GIVE_WAY = threading.local()
# Held by who takes a part or prints its results.
TURN = threading.Lock()
# How much of why a test failed is said again at the end.
RECAP_LINES = 14
# The line of a traceback that names an exception.
RAISED = re.compile(r"[\w.]*(Error|Failure|Expired|Exception)\b")


# What the unit tests' random cases begin with: always the same, so that a change is not blamed for
# what it found by chance. With --long they begin anew each time.
SEED = "20261127"


class Result:
    def __init__(self, name, outcome, why=""):
        self.name, self.outcome, self.why = name, outcome, why


def run(argv, timeout=900, env=None, cwd=TOP):
    """Runs a command to its end; returns its status and everything it printed."""
    # What this starts ends with it, however it ends.
    argv = ["setpriv", "--pdeathsig", "KILL", *argv]
    if getattr(GIVE_WAY, "on", False):
        argv = ["nice", "-n", "19", *argv]
    try:
        done = subprocess.run([str(word) for word in argv], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=cwd,
                              timeout=timeout, env={**os.environ, **(env or {})},
                              encoding="utf-8", errors="replace", check=False)
        return done.returncode, done.stdout
    except subprocess.TimeoutExpired as expired:
        printed = expired.stdout or b""
        return 124, (printed.decode(errors="replace") if isinstance(printed, bytes) else printed) \
            + f"\nstopped after {timeout} s\n"


def one(name, argv, **options):
    """A command that is one test: it passes if it exits 0."""
    status, output = run(argv, **options)
    return Result(name, PASSED if status == 0 else FAILED, output)


BUILT = {}
BUILDING = threading.Lock()


def build(kind, *options, compiler="gcc"):
    """A build tree below build/, made once; returns its folder and the result."""
    if kind != "gcc":
        return make_build(kind, *options, compiler=compiler)
    with BUILDING:
        if kind not in BUILT:
            BUILT[kind] = make_build(kind, "-Dbench=true", *options, compiler=compiler)
        return BUILT[kind]


def make_build(kind, *options, compiler):
    tree = BUILD / kind
    env = {"CC": compiler}
    if not (tree / "build.ninja").exists():
        status, output = run(["meson", "setup", "--werror", *options, tree, TOP], env=env)
        if status != 0:
            shutil.rmtree(tree, ignore_errors=True)
            return tree, Result(f"configure {kind}", FAILED, output)
    elif options:
        # A tree of before may lack an option that there is now.
        run(["meson", "configure", *options, tree])
    status, output = run(["ninja", "-C", tree], env=env)
    return tree, Result(f"build {kind} ({compiler}, warnings are errors)",
                        PASSED if status == 0 else FAILED, output)


def unit_results(tree, suffix, wrapper=(), env=None):
    """Every case of every unit test program of a build tree."""
    for program in sorted((tree / "tests").glob("test_*")):
        if program.is_dir() or not os.access(program, os.X_OK):
            continue
        status, output = run([*wrapper, program],
                             env={"CMOCKA_MESSAGE_OUTPUT": "TAP", **(env or {})})
        cases = re.findall(r"^(ok|not ok) \d+ - (\S+)(.*)$", output, re.M)
        for verdict, case, rest in cases:
            skipped = "SKIP" in rest
            outcome = SKIPPED if skipped else PASSED if verdict == "ok" else FAILED
            yield Result(f"{program.name}.{case}{suffix}", outcome,
                         rest if skipped else output if outcome == FAILED else "")
        failed_cases = any(verdict == "not ok" for verdict, _, _ in cases)
        if not cases or (status != 0 and not failed_cases):
            yield Result(f"{program.name}{suffix} exits with {status}", FAILED, output)


def part_style():
    """Formatting, include direction, documentation against the sources."""
    version = re.search(r"version (\d+)", run(["clang-format", "--version"])[1])
    sources = [path for folder in ("include", "plugin", "hooks", "tests")
               for path in sorted((TOP / folder).rglob("*.[ch]"))]
    if version and int(version.group(1)) == 14:
        yield one("clang-format finds nothing to change",
                  ["clang-format", "--dry-run", "--Werror", *sources])
    else:
        yield Result("clang-format finds nothing to change", SKIPPED,
                     "the sources are formatted with clang-format 14, which is not here")
    for script in ("includes.py", "docs.py"):
        yield one(f"tests/unit/{script}", ["/usr/bin/python3", TOP / "tests" / "unit" / script])


def part_unit():
    """Unit tests of the build that is installed."""
    tree, result = build("gcc")
    yield result
    if result.outcome == PASSED:
        yield from unit_results(tree, "")


def part_clang():
    """Builds with clang, and its unit tests."""
    tree, result = build("clang", "-Dman=disabled", compiler="clang")
    yield result
    if result.outcome == PASSED:
        yield from unit_results(tree, " [clang]")


def part_sanitizers():
    """Unit tests under AddressSanitizer and UndefinedBehaviorSanitizer."""
    tree, result = build("sanitizers", "-Db_sanitize=address,undefined", "-Db_lundef=false",
                         "-Dman=disabled", "-Doptimization=1")
    yield result
    if result.outcome == PASSED:
        yield from unit_results(tree, " [sanitizers]",
                                env={"UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
                                     "ASAN_OPTIONS": "detect_stack_use_after_return=1"})


def part_tsan():
    """Unit tests under ThreadSanitizer: the daemon's workers above all."""
    tree, result = build("tsan", "-Db_sanitize=thread", "-Db_lundef=false", "-Dman=disabled",
                         "-Doptimization=1")
    yield result
    if result.outcome == PASSED:
        # Its runtime finds no place for itself where addresses are too random.
        yield from unit_results(tree, " [tsan]", wrapper=["setarch", "--addr-no-randomize"],
                                env={"TH_TEST_CASES": "500", "TSAN_OPTIONS": "halt_on_error=1"})


def part_valgrind():
    """Unit tests under valgrind, with fewer random cases."""
    tree, result = build("gcc")
    if result.outcome != PASSED:
        yield result
        return
    yield from unit_results(tree, " [valgrind]", env={"TH_TEST_CASES": "500"},
                            wrapper=["valgrind", "--quiet", "--error-exitcode=99",
                                     "--leak-check=full", "--errors-for-leak-kinds=definite"])


def part_fuzz():
    """Each fuzz harness for some five seconds, with the same inputs every time."""
    status, output = run([TOP / "tests" / "fuzz" / "run"], timeout=1800)
    harnesses = re.findall(r"^(ok  |FAIL) (\w+): (.*)$", output, re.M)
    for verdict, name, words in harnesses:
        yield Result(f"fuzz {name}", PASSED if verdict == "ok  " else FAILED,
                     "" if verdict == "ok  " else f"{words}\n{output}")
    if not harnesses or (status != 0 and all(verdict == "ok  " for verdict, _, _ in harnesses)):
        yield Result(f"tests/fuzz/run ends with {status}", FAILED, output)


def part_instructions():
    """The hot paths, counted in instructions, against the counts that are known."""
    tree, result = build("gcc")
    if result.outcome != PASSED:
        yield result
        return
    status, output = run(["/usr/bin/python3", TOP / "tests" / "bench" / "instructions.py"],
                         env={"TH_BENCH_TOOLS": str(tree / "tests" / "bench")})
    words = {"ok  ": PASSED, "FAIL": FAILED, "skip": SKIPPED}
    found = re.findall(r"^(ok  |FAIL|skip) (\w+): (.*)$", output, re.M)
    for verdict, name, why in found:
        yield Result(f"instructions of {name}", words[verdict], why)
    if not found or (status != 0 and all(verdict != "FAIL" for verdict, _, _ in found)):
        yield Result(f"instructions.py ends with {status}", FAILED, output)


def part_bench():
    """The benchmarks, quickly: that they run to their end and leave a page, plots and figures."""
    out = BUILD / "bench-page"
    shutil.rmtree(out, ignore_errors=True)
    yield one("tests/bench/run --quick", [TOP / "tests" / "bench" / "run", "--quick", "--out", out])
    there = {path.name for path in out.glob("*")}
    missing = {"README.md", "figures.json", "gap.svg", "hook.svg", "residual.svg", "mass.svg",
               "fleet.svg"} - there
    yield Result("the page, its plots and its figures", FAILED if missing else PASSED,
                 f"not there: {missing}")


STAGING = threading.Lock()


def staged():
    """The installed tree that the hosts run, or the result that says why there is none."""
    with STAGING:
        return install()


@functools.cache
def install():
    tree, result = build("gcc")
    stage = BUILD / "stage"
    if result.outcome != PASSED:
        return None, result
    shutil.rmtree(stage, ignore_errors=True)
    status, output = run(["meson", "install", "-C", tree, "--no-rebuild", "--quiet"],
                         env={"DESTDIR": str(stage)})
    return stage, Result("install into a stage", PASSED if status == 0 else FAILED, output)


def unittest_results(script, env, timeout):
    """Every method of a file of unittest tests."""
    status, output = run(["/usr/bin/python3", script, "-v"], env=env, timeout=timeout)
    pattern = r"^(\w+) \([\w.]+\)(?:\n.*?)? \.\.\. (?:.*\n)*?.*?\b(ok|FAIL|ERROR|skipped .*)$"
    cases = re.findall(pattern, output, re.M)
    names = {"ok": PASSED, "FAIL": FAILED, "ERROR": FAILED}
    for case, word in cases:
        outcome = names.get(word, SKIPPED)
        yield Result(f"{script.stem}.{case}", outcome,
                     word if outcome == SKIPPED else output if outcome == FAILED else "")
    ran = re.search(r"^Ran (\d+) test", output, re.M)
    failed_cases = any(names.get(word) == FAILED for _, word in cases)
    if not ran or len(cases) != int(ran.group(1)) or (status != 0 and not failed_cases):
        yield Result(f"{script.stem} ends with {status}, {len(cases)} results of "
                     f"{ran.group(1) if ran else 'no'} tests", FAILED, output)


def integration(script):
    """A part out of a file below tests/integration."""
    def part():
        stage, result = staged()
        if not stage or result.outcome != PASSED:
            yield result
            return
        env = {"TH_STAGE": str(stage), "TH_BUILD": str(BUILD / "gcc"),
               "TH_GUARD": str(BUILD / "gcc" / "hooks" / "timehandoff-guard"),
               "TH_HOSTS_TOOLS": str(BUILD / "gcc" / "tests")}
        yield from unittest_results(INTEGRATION / script, env,
                                    timeout=3600 if os.environ.get("TH_LONG") else 900)
    part.__doc__ = f"tests/integration/{script}"
    return part


def part_hosts():
    """The test hosts themselves."""
    yield one("tests/hosts/selftest.py", ["/usr/bin/python3", TOP / "tests/hosts/selftest.py"])


PARTS = {
    "style": part_style,
    "unit": part_unit,
    "clang": part_clang,
    "sanitizers": part_sanitizers,
    "tsan": part_tsan,
    "valgrind": part_valgrind,
    "fuzz": part_fuzz,
    "instructions": part_instructions,
    "bench": part_bench,
    "hosts": part_hosts,
} | {script.stem.removeprefix("test_"): integration(script.name)
     for script in sorted(INTEGRATION.glob("test_*.py"))}


def show(result):
    marks = {PASSED: "ok  ", FAILED: "FAIL", SKIPPED: "skip"}
    print(f"{marks[result.outcome]} {result.name}"
          + (f": {result.why}" if result.outcome == SKIPPED else ""), flush=True)
    if result.outcome == FAILED and result.why:
        print("\n".join("     | " + line for line in result.why.splitlines()[-200:]), flush=True)


class Lane(threading.Thread):
    """Runs parts out of a list, one after the other, and adds their results to another list."""

    def __init__(self, names, results, gives_way):
        super().__init__(daemon=True)
        self.names, self.results, self.gives_way = names, results, gives_way

    def run(self):
        GIVE_WAY.on = self.gives_way
        while True:
            with TURN:
                if not self.names:
                    return
                name = self.names.pop(0)
            began = time.monotonic()
            try:
                found = list(PARTS[name]())
            except Exception as error:  # what breaks a part must not pass for its success
                found = [Result(f"{name} ran", FAILED, repr(error))]
            with TURN:
                self.results += show_part(name, found, time.monotonic() - began)


def run_lanes(lanes):
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()


def show_part(name, results, took_s):
    """Prints a part's results; returns them, the same name counted once if it passed."""
    print(f"== {name}: {PARTS[name].__doc__.splitlines()[0]}", flush=True)
    seen, shown = set(), []
    for result in results:
        if result.name in seen and result.outcome == PASSED:
            continue
        seen.add(result.name)
        show(result)
        shown.append(result)
    print(f"== {name}: {took_s:.0f} s", flush=True)
    return shown


def reason(result):
    """The lines of a failed result that say why: of its own traceback, or else the last ones."""
    method = re.escape(result.name.rpartition(".")[2])
    trace = re.search(rf"^=+\n(?:FAIL|ERROR): {method} .*?(?=^=+\n|^-+\nRan |\Z)", result.why,
                      re.M | re.S)
    lines = (trace.group() if trace else result.why).splitlines()
    lines = [line for line in lines if line.strip("=- ")]
    # What was raised; behind it there may be long tails of logs.
    raised = next((i for i, line in enumerate(lines) if trace and RAISED.match(line)), len(lines))
    return lines[max(0, raised - RECAP_LINES // 2):][:RECAP_LINES] if raised < len(lines) else \
        lines[-RECAP_LINES:]


def main():
    parser = argparse.ArgumentParser(prog="tests/run", description="Runs the tests.")
    parser.add_argument("--long", action="store_true", help="also what takes longer")
    parser.add_argument("--list", action="store_true", help="name the parts and stop")
    parser.add_argument("parts", nargs="*", metavar="PART")
    options = parser.parse_args()
    if options.list:
        for name, part in PARTS.items():
            print(f"{name:12} {part.__doc__.splitlines()[0]}"
                  + (" (with --long)" if name in LONG else ""))
        return 0
    unknown = [name for name in options.parts if name not in PARTS]
    if unknown:
        parser.error(f"no part '{unknown[0]}'; see tests/run --list")
    if options.long:
        os.environ["TH_LONG"] = "1"
    else:
        os.environ.setdefault("TH_TEST_SEED", SEED)
    chosen = options.parts or [name for name in PARTS if options.long or name not in LONG]
    results = []
    beside = [name for name in chosen if name in BESIDE]
    guests, alone = ([name for name in chosen if name in some] for some in (GUESTS, ALONE))
    others = [name for name in chosen if name not in BESIDE + GUESTS + ALONE]
    run_lanes([Lane(beside, results, True), Lane(guests, results, False),
               Lane(others, results, False)])
    run_lanes([Lane(alone, results, False)])
    # Once more at the end, in short: what is printed above is long, and a log may be cut.
    for result in results:
        if result.outcome == FAILED:
            print(f"FAIL {result.name}", *reason(result), sep="\n     | ")
    counts = collections.Counter(result.outcome for result in results)
    line = f"{counts[PASSED]} passed, {counts[FAILED]} failed"
    if counts[SKIPPED]:
        line += f", {counts[SKIPPED]} skipped"
    print(line)
    return 1 if counts[FAILED] or not counts[PASSED] else 0


if __name__ == "__main__":
    sys.exit(main())
