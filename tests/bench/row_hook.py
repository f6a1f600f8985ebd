# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the hook costs: called as libvirt calls it, and in real migrations.

The hook runs at every step of every guest's life, so the first question is what it costs where it
has nothing to do; the second what the check of a migration costs; the third whether a migration
takes any longer for it.
"""

import statistics
import time

import row
from hosts import wait_until
from stats import SIGNIFICANT, Spread, chance, chance_in_words, figure, times

HOOK = "/etc/libvirt/hooks/qemu.d/50-timehandoff"
NOTHING, GUARD, CHECK = "/bin/true", "timehandoff-guard", "timehandoff-guard and checker"
BASH, PYTHON, CHRONY = "a hook in bash", "a hook in python", "bash with chronyd -Q"
SCRIPTS = {
    "bash": "#!/bin/bash\n[ \"$2\" = migrate ] || exit 0\n",
    "python": "#!/usr/bin/python3\nimport sys\nif sys.argv[2] != 'migrate':\n    sys.exit(0)\n",
    # What is found on the web, more or less: one sample, and the number out of the text.
    "chrony": """#!/bin/bash
[ "$2" = migrate ] || exit 0
cat >/dev/null
wrong=$(/usr/sbin/chronyd -Q -u root -f /dev/null 'server {address} iburst maxsamples 1' 2>&1 |
    sed -n 's/.*wrong by \\([-0-9.]*\\) seconds.*/\\1/p')
awk -v w="$wrong" 'BEGIN { exit w > 0.5 || w < -0.5 }'
""",
}


def write_scripts(host, address):
    for name, text in SCRIPTS.items():
        path = host.path(f"/run/hook-{name}")
        path.write_text(text.replace("{address}", address))
        path.chmod(0o755)


def call_hooks(sheet, source, destination, guest, quick):
    xml = destination.path("/run/guest.xml")
    xml.write_text(source.virsh("dumpxml", "--migratable", guest.name).stdout)
    row.serve_time(source)
    write_scripts(destination, source.address)
    idle, move = ([guest.name, op, "begin", "-"] for op in ("start", "migrate"))
    many, some = (60, 10) if quick else (300, 40)
    rows = {(NOTHING, "-"): (["/bin/true"], many),
            (GUARD, "start"): ([HOOK, *idle], many),
            (BASH, "start"): (["/run/hook-bash", *idle], many),
            (PYTHON, "start"): (["/run/hook-python", *idle], some),
            (CHECK, "migrate"): ([HOOK, *move], many),
            (CHRONY, "migrate"): (["/run/hook-chrony", *move], some)}
    rows = {name: (*what, "/run/guest.xml") for name, what in rows.items()}
    ms = {}
    for name, turns in zip(rows, row.take_turns(destination, rows.values())):
        bad = [turn for turn in turns if turn[1] != 0]
        assert not bad, f"{name}: status {bad[0][1]}: {bad[0][2]}"
        ms[name] = [turn[0] for turn in turns]
    spreads = {name: Spread(values) for name, values in ms.items()}
    base = spreads[NOTHING, "-"].median
    sheet.table("One call of the hook", ["", "op", "ms", "beyond /bin/true", "times it", "calls"],
                [[name, op, str(spread), f"{spread.median - base:+.2f}",
                  times(spread.median, base), str(spread.n)]
                 for (name, op), spread in spreads.items()])
    ours, check = spreads[GUARD, "start"].median, spreads[CHECK, "migrate"].median
    sheet.claim("hook, an op that is none of ours", f"{figure(ours)} ms",
                f"/bin/true: {figure(base)} ms; bash: {figure(spreads[BASH, 'start'].median)} ms; "
                f"python: {figure(spreads[PYTHON, 'start'].median)} ms",
                "within 1.3 times of /bin/true", ours <= 1.3 * base)
    sheet.claim("hook, check of a migration", f"{figure(check)} ms",
                f"/bin/true: {figure(base)} ms; bash with chronyd -Q: "
                f"{figure(spreads[CHRONY, 'migrate'].median)} ms",
                "at most 5 ms beyond /bin/true", check - base <= 5)
    named = {name if op == "-" else f"{name}, {op}": spread
             for (name, op), spread in spreads.items()}
    sheet.plot("hook", names=list(named), ours=[f"{GUARD}, start", f"{CHECK}, migrate"],
               ms=[spread.median for spread in named.values()],
               low=[spread.low for spread in named.values()],
               high=[spread.high for spread in named.values()])
    sheet.keep(hook_ms={f"{name}, {op}": values for (name, op), values in ms.items()})


def count_instructions(sheet, host):
    """Of the guard that has nothing to do, and of what it is compared with."""
    counts = {name: row.instructions(*argv, run=host.run) for name, argv in (
        (NOTHING, ["/bin/true"]), (GUARD, [HOOK, "web1", "start", "begin", "-"]),
        (BASH, ["/run/hook-bash", "web1", "start", "begin", "-"]))}
    sheet.table("Instructions of one call with nothing to do", ["", "instructions", "times ours"],
                [[name, f"{n:,}", times(n, counts[GUARD])] for name, n in counts.items()])
    sheet.keep(instructions=counts)


def migrate(guest, hosts, with_hook):
    destination = next(host for host in hosts if host is not guest.host)
    links = [host.path(HOOK) for host in hosts]
    # The guest that has just come is still being looked at.
    lock = guest.host.path(f"/run/timehandoff/locks/{guest.uuid}")
    wait_until("the last handoff", lambda: not lock.exists(), 60)
    for link in links if not with_hook else ():
        link.unlink()
    began = time.monotonic()
    done = guest.migrate(destination)
    took_s = time.monotonic() - began
    for link in links if not with_hook else ():
        link.symlink_to("/usr/sbin/timehandoff-guard")
    assert done.returncode == 0, done.stderr
    return took_s * 1e3


def compare_migrations(sheet, hosts, guest, quick):
    took = {True: [], False: []}
    for number in range(3 if quick else 12):
        for with_hook in (True, False) if number % 2 else (False, True):
            took[with_hook].append(migrate(guest, hosts, with_hook))
    p = chance(took[True], took[False])
    with_hook, without = Spread(took[True]), Spread(took[False])
    sheet.table("A live migration, as virsh sees it", ["", "ms", "migrations"],
                [["with the hook", str(with_hook), str(with_hook.n)],
                 ["without", str(without), str(without.n)]])
    sheet.claim("live migration, with the hook and without", f"{figure(with_hook.median)} ms",
                f"without: {figure(without.median)} ms ({chance_in_words(p)})",
                "no difference that statistics show", None if p is None else p > SIGNIFICANT)
    sheet.keep(migration_ms={"with": took[True], "without": took[False]},
               migration_difference_ms=statistics.median(took[True]) -
               statistics.median(took[False]), migration_p=p)


def measure(options):
    sheet = row.Row("The hook", __doc__)
    with row.two_hosts_with_daemons() as hosts:
        guest = hosts.guest("web1", host="hv1")
        row.wait_stamped(guest)
        row.say("hook: calls")
        call_hooks(sheet, hosts["hv1"], hosts["hv2"], guest, options.quick)
        count_instructions(sheet, hosts["hv2"])
        row.say("hook: migrations with it and without")
        compare_migrations(sheet, hosts, guest, options.quick)
    return sheet


if __name__ == "__main__":
    row.main(measure)
