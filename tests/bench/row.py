# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the rows of the suite share: each is a program with hosts of its own that writes one file.

A row's file holds tables for people, claims (what was aimed at, and whether it was met), series
for plots, and the values that these are made of, so that they can be looked at another way.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import sys

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "hosts"))

import bed  # noqa: E402
from hosts import Hosts, wait_until  # noqa: E402

TOOLS = pathlib.Path(os.environ.get("TH_BENCH_TOOLS", ""))
# What other hosts' NTP questions go to, besides timehandoff-peerd: a chronyd that serves.
SERVING = """\
local stratum 3
allow
port 123
cmdport 0
bindcmdaddress /
pidfile /run/chronyd-serving.pid
{more}
"""


class Row:
    """One row of the suite, while it is measured."""

    def __init__(self, title, about):
        self.title, self.about = title, " ".join(about.split())
        self.tables, self.claims, self.series, self.values = [], [], {}, {}

    def table(self, title, columns, rows):
        """A table: the first column is what a line is about."""
        self.tables.append({"title": title, "columns": columns, "rows": rows})
        print(f"\n{title}: {' | '.join(columns[1:])}", file=sys.stderr)
        for line in rows:
            print("  " + " | ".join(line), file=sys.stderr)

    def claim(self, what, ours, against, aim, met):
        """What a reader wants to know in one line.

        met is True, False, stats.EVEN, or None where nothing was aimed at.
        """
        self.claims.append({"what": what, "ours": ours, "against": against, "aim": aim,
                            "met": met})

    def plot(self, name, **series):
        """What a plot of that name is drawn from; see plots.py."""
        self.series[name] = series

    def keep(self, **values):
        """Single values, by name."""
        self.values.update(values)

    def write(self, path):
        pathlib.Path(path).write_text(json.dumps(vars(self)))


def say(words):
    """Progress, for who waits."""
    print(f"bench: {words}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def hosts(*names, **options):
    """Test hosts with ours installed, and without the shim that shifts clocks for tests.

    Nothing here shifts one; and what links statically would look faster for not loading it.
    """
    with Hosts(names, os.environ["TH_STAGE"], **options) as made:
        for host in made:
            host.path("/etc/ld.so.preload").unlink()
        yield made


@contextlib.contextmanager
def two_hosts_with_daemons():
    """hv1 and hv2, with libvirt and both daemons."""
    with hosts("hv1", "hv2") as made:
        for host in made:
            host.start_peerd()
            host.start_daemon()
        yield made


def wait_stamped(guest):
    """Waits until the guest's host has stamped it and says so to others."""
    host = guest.host
    wait_until("the origin stamp", lambda: "urn:timehandoff:origin" in host.virsh(
        "dumpxml", guest.name).stdout and f"uuid={guest.uuid}" in host.path(
            "/run/timehandoff/host").read_text())


def instructions(*argv, run):
    """How many instructions a command takes; run carries out an argv and returns what it said."""
    done = run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
                *map(str, argv)])
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not found:
        sys.exit(f"bench: {argv[0]}: status {done.returncode}\n{done.stderr[-1000:]}")
    return int(found.group(1))


def main(measure):
    """Runs a row as a program: measure(options) makes a Row, in namespaces of its own.

    A row that for the most part waits makes the file that options.steady names when it begins to.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--steady", type=pathlib.Path)
    parser.add_argument("out")
    options = parser.parse_args()
    bed.enter()
    measure(options).write(options.out)


def take_turns(host, rows):
    """Runs commands on a host in turns; returns for each a list of (ms, exit status, output).

    rows are (argv, count[, path of stdin on the host]); those with lower counts are spread evenly
    among the others, so that whatever else the machine does falls on all of them alike.
    """
    spec = json.dumps([{"argv": [str(word) for word in row[0]], "count": row[1],
                        "stdin": row[2] if len(row) > 2 else "/dev/null"} for row in rows])
    done = host.run(["/usr/bin/python3", HERE / "turns.py"], input=spec, timeout=900)
    return [[tuple(turn) for turn in turns] for turns in json.loads(done.stdout)]


def serve_time(host, more=""):
    """Starts a chronyd on a host that answers questions on port 123, and never touches a clock."""
    path = host.path("/run/chronyd-serving.conf")
    path.write_text(SERVING.format(more=more))
    return host.start("chronyd-serving", ["/usr/sbin/chronyd", "-x", "-d", "-u", "root", "-f",
                                          "/run/chronyd-serving.conf"],
                      ready=host.path("/run/chronyd-serving.pid").exists)


def install_ntpdig(host):
    """Puts the unpacked ntpdig where its package would have it."""
    for path in ("bin/ntpdig", "lib/python3/dist-packages/ntp", "lib/x86_64-linux-gnu/ntp"):
        host.path(f"/usr/{path}").symlink_to(bed.CACHE / "ntpdig/usr" / path)


def cpu_s(pid):
    """Processor time a program has used, all its threads together."""
    return sum(int(path.read_text().split()[0]) for path in
               pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def children_cpu_s(pid):
    """Processor time of the programs that a program has started and waited for."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def wakeups(pid):
    """How often the threads of a program have slept, and so been woken."""
    return sum(int(path.read_text().partition("\nvoluntary_ctxt_switches:")[2].split()[0])
               for path in pathlib.Path(f"/proc/{pid}/task").glob("*/status"))


def memory_mb(pid):
    """What of a program is in memory."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("\nVmRSS:")[2].split()[0]) / 1024
