# SPDX-License-Identifier: LGPL-2.1-or-later
"""Answering questions: what an answer costs timehandoff-peerd, and what it costs chronyd.

Both are asked the same questions by the same program, in turns: one at a time, and with many under
way. What counts is processor time, as the asker uses a good deal of the machine itself.
"""

import os
import statistics

import row
from stats import Spread, figure, no_more, times

OURS, CHRONYD = "timehandoff-peerd", "chronyd"
# How many are under way: in words, and which part of the questions are asked so.
WINDOWS = {1: ("one at a time", 1 / 4), 100: ("100 under way", 1)}
KINDS = {"plain": [], "AES128": ["/run/keys"]}
KEY = "1 AES128 HEX:000102030405060708090a0b0c0d0e0f\n"


def ask(hosts, port, pid, count, window, keys):
    """Processor time an answer, in us, of the server with that process."""
    address = f"{hosts['hv2'].address}:{port}"
    before_s = row.cpu_s(pid)
    done = hosts["hv1"].run([row.TOOLS / "load", address, count, window, *keys], timeout=300)
    answered, lost = map(int, done.stdout.split())
    assert lost <= count * 0.01, f"{address}: {lost} of {count} questions were lost"
    return (row.cpu_s(pid) - before_s) / answered * 1e6


def compare(sheet, hosts, servers, kind, window, count, rounds):
    words, _ = WINDOWS[window]
    costs = {name: [] for name in servers}
    for turn in range(rounds):
        for name in list(servers)[::-1 if turn % 2 else 1]:
            port, pid = servers[name]
            costs[name].append(ask(hosts, port, pid, count, window, KINDS[kind]))
    medians = {name: statistics.median(us) for name, us in costs.items()}
    sheet.table(f"{kind[0].upper()}{kind[1:]} questions, {words}",
                ["", "µs of a processor an answer", "times ours", "answers a processor second"],
                [[name, str(Spread(us)), times(medians[name], medians[OURS]),
                  f"{1e6 / medians[name]:,.0f}"] for name, us in costs.items()])
    met, sure = no_more(costs[OURS], costs[CHRONYD])
    sheet.claim(f"answers a processor second, {kind} questions, {words}",
                f"{1e6 / medians[OURS]:,.0f}",
                f"{CHRONYD}: {1e6 / medians[CHRONYD]:,.0f} ({sure})", "at least chronyd's", met)
    sheet.keep(**{f"{kind}_{window}_us": costs})


def start_servers(server):
    """Both on one host, under the same key; (port, process) by name."""
    server.write_config(KEY, "keys")
    path = server.path("/etc/timehandoff/keys")
    group = next(line.split(":")[2] for line in server.path("/etc/group").read_text().splitlines()
                 if line.startswith("timehandoff:"))
    os.chown(path, 0, int(group))
    path.chmod(0o640)
    server.start_peerd()
    server.start_daemon()
    row.serve_time(server, "keyfile /run/keys\n")
    return {OURS: (10123, server.pid_of("peerd")), CHRONYD: (123, server.pid_of("chronyd-serving"))}


def measure(options):
    sheet = row.Row("Answering", __doc__)
    count, rounds = (20000, 3) if options.quick else (60000, 9)
    with row.hosts("hv1", "hv2", libvirtd=False) as hosts:
        for host in hosts:
            host.path("/run/keys").write_text(KEY)
            host.path("/run/keys").chmod(0o640)
        servers = start_servers(hosts["hv2"])
        for kind in KINDS:
            for window, (words, part) in WINDOWS.items():
                row.say(f"serve: {kind} questions, {words}")
                compare(sheet, hosts, servers, kind, window, int(count * part), rounds)
        rss = {name: row.memory_mb(pid) for name, (_, pid) in servers.items()}
        sheet.table("Memory after that", ["", "MB resident"],
                    [[name, figure(mb)] for name, mb in rss.items()])
        sheet.claim("memory of the responder", f"{figure(rss[OURS])} MB",
                    f"{CHRONYD}: {figure(rss[CHRONYD])} MB", "at most twice chronyd's",
                    rss[OURS] <= 2 * rss[CHRONYD])
        sheet.keep(memory_mb=rss)
    return sheet


if __name__ == "__main__":
    row.main(measure)
