# SPDX-License-Identifier: LGPL-2.1-or-later
"""What both daemons cost while nothing happens, with more and more peers, and with guests.

Each host watches peers that another host answers for, so that the cost of asking is seen alone.
Programs that a daemon runs, as timehandoffd does chronyc, count as its own.
"""

import time

import row
from host import NTP_HUB
from hosts import wait_until
from stats import figure

PEERS = (0, 10, 100, 1000)
GUESTS = 5
INTERVAL_S = 60
# A cost for each peer grows by no more than this, from some peers to many, where it is linear; and
# by how much one host's share of a core may differ from another's for no reason.
GROWTH = 1.25
NOISE_PERCENT = 0.01
# That of the test hosts polls every quarter of a second; this one is set up as it comes.
CHRONYD = "chronyd-serving"
PROGRAMS = {"peerd": "timehandoff-peerd", "daemon": "timehandoffd", CHRONYD: "chronyd"}
FIELD = "10.79"


def field_of_peers(far, hosts):
    """Gives one host a whole network of addresses, and has the others reach it there."""
    far.run(["ip", "route", "add", "local", f"{FIELD}.0.0/16", "dev", "lo"])
    far.write_config("[responder]\nallow = 10.0.0.0/8\n")
    far.start_peerd()
    for host in hosts:
        host.run(["ip", "route", "add", f"{FIELD}.0.0/16", "via", far.address])


def peers_of(number, n):
    return "".join(f"peer = {FIELD}.{number * 8 + i // 250}.{1 + i % 250}\n" for i in range(n))


def start_watching(host, number, n):
    host.write_config(f"[peers]\ninterval = {INTERVAL_S}s\n{peers_of(number, n)}")
    row.serve_time(host, f"server {NTP_HUB} iburst\n")
    host.start_peerd()
    host.start_daemon()
    published = host.path("/run/timehandoff/peers/peers")
    wait_until(f"{n} peers", lambda: n == 0 or published.exists() and
               published.read_text().count("answered=yes") == n, 60)


def look(host):
    """By program: processor time, that of programs it ran included, and wake-ups."""
    pids = {name: host.pid_of(name) for name in PROGRAMS}
    return {name: (row.cpu_s(pid) + row.children_cpu_s(pid), row.wakeups(pid))
            for name, pid in pids.items()}


def measure(options):
    sheet = row.Row("Watching, and doing nothing", __doc__)
    # In the first interval the peers are looked up and spread.
    settle_s, wait_s = (10, 30) if options.quick else (INTERVAL_S, 300)
    names = [f"peers{n}" for n in PEERS]
    with row.hosts(*names, "far") as hosts:
        watching = [hosts[name] for name in names]
        field_of_peers(hosts["far"], watching)
        guests = [hosts.guest(f"vm{i}", host=watching[1], wait=False) for i in range(GUESTS)]
        for guest in guests:
            guest.wait_ready(120)
        for number, (host, n) in enumerate(zip(watching, PEERS)):
            start_watching(host, number, n)
        if options.steady:
            options.steady.touch()
        row.say(f"watch: {settle_s} s until all is steady, then {wait_s} s")
        time.sleep(settle_s)
        before, began = [look(host) for host in watching], time.monotonic()
        time.sleep(wait_s)
        took_s = time.monotonic() - began
        tell(sheet, watching, before, [look(host) for host in watching], took_s)
    return sheet


def tell(sheet, hosts, before, after, took_s):
    percent, woken, memory = {}, {}, {}
    for n, host, earlier, later in zip(PEERS, hosts, before, after):
        for name in PROGRAMS:
            percent[n, name] = 100 * (later[name][0] - earlier[name][0]) / took_s
            woken[n, name] = (later[name][1] - earlier[name][1]) / took_s * 60
            memory[n, name] = row.memory_mb(host.pid_of(name))
    sheet.table(f"{took_s:.0f} s of nothing but watching",
                ["", "peers", "guests", "% of a core", "wake-ups a minute", "MB resident"],
                [[PROGRAMS[name], str(n), str(GUESTS if n == PEERS[1] else 0),
                  figure(percent[n, name]), figure(woken[n, name]), figure(memory[n, name])]
                 for n in PEERS for name in PROGRAMS if name != CHRONYD or n == 0])
    both = {n: percent[n, "peerd"] + percent[n, "daemon"] for n in PEERS}
    sheet.claim("both daemons at rest, no peers", f"{figure(both[0])} % of a core",
                f"chronyd: {figure(percent[0, CHRONYD])} %", "at most 0.1 % of a core",
                both[0] <= 0.1)
    few, most = PEERS[-2:]
    for name in ("peerd", "daemon"):
        each_of_few, each_of_most = ((percent[n, name] - percent[0, name]) / n
                                     for n in (few, most))
        sheet.claim(f"{PROGRAMS[name]}, for each of {most:,} peers",
                    f"{each_of_most * 1e4:.2f} millionths of a core",
                    f"for each of {few}: {each_of_few * 1e4:.2f}", "linear",
                    each_of_most <= GROWTH * (each_of_few + NOISE_PERCENT / few))
    sheet.claim(f"timehandoff-peerd with {most:,} peers", f"{figure(percent[most, 'peerd'])} % of "
                f"a core, {figure(memory[most, 'peerd'])} MB", "", "under 2 % and 16 MB",
                percent[most, "peerd"] < 2 and memory[most, "peerd"] < 16)
    sheet.plot("fleet", peers=list(PEERS), names=[PROGRAMS["peerd"], PROGRAMS["daemon"]],
               percent=[[percent[n, name] for n in PEERS] for name in ("peerd", "daemon")])
    sheet.keep(percent={f"{name}, {n}": value for (n, name), value in percent.items()},
               wakeups_per_minute={f"{name}, {n}": value for (n, name), value in woken.items()})


if __name__ == "__main__":
    row.main(measure)
