# SPDX-License-Identifier: LGPL-2.1-or-later
"""The private namespaces that all test hosts live in, and the waiting that all tests do.

enter() runs the calling program again below one `unshare`: own mounts, network, process ids and a
fresh /run. When the program ends, or is killed, the kernel ends every process in there and drops
every mount, so nothing can be left behind. CAP_SYS_TIME is gone in there: nothing a test starts
can set the machine's clock.
"""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

INSIDE = "TH_HOSTS_INSIDE"
HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path(os.environ.get("TH_TESTS_CACHE", "/var/cache/timehandoff-tests"))
STATE = pathlib.Path("/run/hosts")
TAIL_LINES = 25
# How many times longer than its deadline a wait may take.
PATIENCE = 3


class Failure(Exception):
    """A step of the test bed didn't work; the text holds the tail of the log that says why."""


def tail(path, lines=TAIL_LINES):
    """The last lines of a log, headed by its name; says so when there is none."""
    try:
        text = pathlib.Path(path).read_text(errors="replace")
    except OSError as error:
        return f"--- {path}: {error.strerror}"
    return "\n".join([f"--- {path}:"] + text.splitlines()[-lines:])


def wait_until(what, condition, deadline_s=10.0, logs=(), every_s=0.02):
    """Calls condition until it returns something true, and returns that.

    Long after the deadline, as the machine may be a busy one and a wait that ends well costs
    nothing, raises Failure, which names what was waited for and shows the logs.
    """
    end = time.monotonic() + PATIENCE * deadline_s
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise Failure("\n".join([f"{what}: not within {PATIENCE * deadline_s:g} s", *map(tail, logs)]))
        time.sleep(every_s)


def call(*argv, **options):
    """Runs a command of the bed itself; raises Failure with its words when it fails."""
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, **options)
    if done.returncode:
        raise Failure(f"{' '.join(map(str, argv))}: status {done.returncode}: {done.stderr}")
    return done.stdout


def build_tool(name, *flags):
    """The path of a helper of the tests, written in C: NAME from NAME.c, or NAME.so from it.

    It is in TH_HOSTS_TOOLS, where a build put it, or else compiled into the cache when need be.
    """
    tools = os.environ.get("TH_HOSTS_TOOLS")
    if tools:
        return pathlib.Path(tools) / name
    source = HERE / f"{name.removesuffix('.so')}.c"
    target = CACHE / "tools" / f"{source.stat().st_mtime_ns}-{name}"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            call("cc", "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", *flags,
                 "-o", f"{folder}/{name}", source)
            os.rename(f"{folder}/{name}", target)
    return target


def is_inside():
    return INSIDE in os.environ


def enter(argv=None):
    """Returns at once when already inside; otherwise never: argv (this program) runs inside."""
    if is_inside():
        return
    if os.geteuid() != 0:
        sys.exit("the test hosts need root: they make mounts and network namespaces")
    # unshare itself ignores SIGTERM, so that it needs somebody who doesn't. Whichever of the two
    # is killed, the kernel kills the first process in there, and with it all others.
    child = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "--bounding-set=-sys_time", "unshare", "--mount",
         "--net", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable,
         str(HERE / "bed.py"), *(argv or sys.orig_argv)])
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: child.kill())
    # A terminal sends it to those inside as well, and they are to say what they were at.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    code = child.wait()
    sys.exit(code if code >= 0 else 128 - code)


def _furnish():
    call("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    STATE.mkdir()
    call("ip", "link", "set", "lo", "up")


def _run_as_init(argv):
    """Runs argv and reaps every orphan until it ends; what is left then, the kernel ends."""
    child = os.fork()
    if child == 0:
        os.environ[INSIDE] = "1"
        os.execvp(argv[0], argv)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda caught, _frame: os.kill(child, caught))
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


if __name__ == "__main__":
    if os.getpid() != 1:
        sys.exit("bed.py is started by enter(), in namespaces of its own")
    _furnish()
    sys.exit(_run_as_init(sys.argv[1:]))
