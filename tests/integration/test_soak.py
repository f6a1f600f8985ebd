#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A long run of everything at once, by chance, and the promises that have to hold all the time.

Guests are migrated, paused, saved and started while rubbish is sent to the responders and daemons
are killed at any moment. After each of these the guest in question has to be right, or its host
has to have said why it is not; no start may have been refused; no clock may have been stepped to
anything but the truth; and what the daemons use must not grow.

Needs root, what tests/hosts/install fetches, and in TH_STAGE a staged install. TH_SOAK_MINUTES
says for how long, TH_SOAK_SEED what happens; TH_SOAK_REPORT names a file for the figures.
"""

import collections
import os
import pathlib
import random
import signal
import socket
import sys
import threading
import time
import unittest

sys.dont_write_bytecode = True

import scene  # noqa: E402

if __name__ == "__main__":
    scene.enter()

import libvirt  # noqa: E402

from flows import Flow  # noqa: E402
from hosts import wait_until  # noqa: E402
from scene import DAEMONS, HANDOFF, IMPROVED_S, VERDICT, Records  # noqa: E402

MINUTES = float(os.environ.get("TH_SOAK_MINUTES", "2"))
SEED = int(os.environ.get("TH_SOAK_SEED") or random.SystemRandom().randrange(10**9))
PORT = 10123
GUESTS = 3
# A gap that must block, in seconds; and the limit for it.
FAR_S, LIMIT_S = 5, 0.5
# Until when a handoff has to have come to its end, with everything running again.
SETTLED_S = 90.0
# What a daemon may grow by after its first minute.
GROWTH_KIB, GROWTH_FDS = 1024, 4
# What a handoff may end with besides a guest that is right. The daemon was not there, so that it
# can't know why the guest is wrong; or a later event made this one's handoff pointless.
REASONS = {"no-event"}


def setUpModule():
    scene.bring_up("hv1", "hv2")


def used(pid):
    """(resident KiB, open files) of a process, or None when it is gone."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        files = len(os.listdir(f"/proc/{pid}/fd"))
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(status.partition("VmRSS:")[2].split()[0]), files


class Usage(threading.Thread):
    """Samples what the daemons use, for as long as each of them lives."""

    def __init__(self, hosts):
        super().__init__(daemon=True)
        self.hosts, self.over, self.samples = hosts, threading.Event(), {}

    def run(self):
        while not self.over.wait(5):
            for host in self.hosts:
                for name in DAEMONS:
                    pid = host.pid_of(name)
                    sample = pid and used(pid)
                    if sample:
                        self.samples.setdefault((host.name, name, pid), []).append(sample)

    def grown(self):
        """Who has grown beyond what is allowed: (who, first minute's end, now)."""
        for who, samples in self.samples.items():
            warm, last = samples[12:13], samples[-1]
            if warm and (last[0] > warm[0][0] + GROWTH_KIB or last[1] > warm[0][1] + GROWTH_FDS):
                yield who, warm[0], last


class Soak(Flow):
    """Everything at once."""

    def setUp(self):
        super().setUp()
        self.chance = random.Random(SEED)
        self.guests = [self.guest] + [
            self.hosts.guest(f"soak{index}", self.chance.choice((self.hv1, self.hv2)),
                             memory_mib=96) for index in range(1, GUESTS)]
        for guest in self.guests[1:]:
            self.addCleanup(guest.destroy)
        self.counts = collections.Counter()
        self.problems = []
        # Held by whoever must not have a daemon or libvirtd killed meanwhile.
        self.quiet = {"libvirtd": threading.Lock(), "daemons": threading.Lock()}
        self.end = time.monotonic() + 60 * MINUTES

    def problem(self, text):
        self.problems.append(f"{time.strftime('%H:%M:%S')} {text}")
        print(self.problems[-1], file=sys.stderr, flush=True)

    # What goes wrong

    def flood(self, chance):
        """Some thousand datagrams of rubbish for a responder."""
        host = chance.choice((self.hv1, self.hv2))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for _ in range(100):
                for _ in range(30):
                    first = bytes([chance.choice((0x23, 0x1b, 0xe3, chance.randrange(256)))])
                    sock.sendto(first + chance.randbytes(chance.choice((47, 67, 111, 1200))),
                                (host.address, PORT))
                time.sleep(0.01)
        self.counts["floods"] += 1

    def kill(self, chance):
        """Kills one of the daemons, and has another one come a while later."""
        # The second host's are left alone in the second half: they grow old.
        is_late = time.monotonic() > self.end - 30 * MINUTES
        host = self.hv1 if is_late else chance.choice((self.hv1, self.hv2))
        name = chance.choice(tuple(DAEMONS))
        with self.quiet["daemons"]:
            host.stop(name, signal.SIGKILL)
            time.sleep(chance.choice((0, 0.1, 1, 3)))
            getattr(host, DAEMONS[name])()
        self.counts[f"kills of {name}"] += 1

    def kill_libvirtd(self, chance):
        host = chance.choice((self.hv1, self.hv2))
        with self.quiet["libvirtd"]:
            host.restart_libvirtd(signal.SIGKILL)
        self.counts["kills of libvirtd"] += 1

    def disturb(self):
        chance = random.Random(SEED + 1)
        while time.monotonic() < self.end:
            time.sleep(chance.uniform(2, 12))
            try:
                chance.choice((self.flood, self.kill, self.kill, self.kill_libvirtd))(chance)
            except Exception as error:  # whatever breaks here must not pass for success
                self.problem(f"disturbing failed: {error!r}")

    # What is done to guests

    def do_migrate(self):
        to = self.hv2 if self.guest.host is self.hv1 else self.hv1
        self.guest.step_clock(-self.chance.choice((0, 0.5, 3)))
        # libvirt itself gives a migration up when it is killed, which is not our matter.
        with self.quiet["libvirtd"]:
            done = self.guest.migrate(to)
        if done.returncode != 0:
            self.problem(f"migration of {self.guest.name} to {to.name} refused: {done.stderr}")

    def do_migrate_over_a_gap(self):
        """The source is far off: the migration is refused, unless that could not be told."""
        to = self.hv2 if self.guest.host is self.hv1 else self.hv1
        source = self.guest.host
        with self.quiet["libvirtd"], self.quiet["daemons"]:
            # Whose daemon was killed while it came has still to say that it is there.
            self.wait_stamped()
            verdicts = Records(to, VERDICT)
            source.set_shift(FAR_S)
            try:
                done = self.guest.migrate(to)
            finally:
                source.set_shift(0)
                # It distrusts a clock that was stepped, and rightly steps no guest by it for a while.
                self.restart(source, "daemon")
        if "timehandoff: blocked" in done.stderr:
            return
        # In a flood, say: by default a warning lets it pass.
        verdict = verdicts.one()
        self.counts[f"gaps let through as {verdict['TIMEHANDOFF_REASON']}"] += 1
        if verdict["TIMEHANDOFF_VERDICT"] != "warn" or "TIMEHANDOFF_GAP_NS" in verdict:
            self.problem(f"migration over {FAR_S} s let through: {verdict['MESSAGE']}")

    def do_pause(self):
        domain = self.guest.domain()
        domain.suspend()
        time.sleep(self.chance.uniform(0.1, 2))
        domain.resume()

    def do_save(self):
        with self.quiet["libvirtd"]:
            self.guest.host.virsh("save", self.guest.name, "/run/soak.save")
            time.sleep(self.chance.uniform(0.1, 3))
            done = self.guest.host.virsh("restore", "/run/soak.save", check=False)
            self.guest.drop_channel()
        if done.returncode != 0:
            self.problem(f"restore of {self.guest.name} refused: {done.stderr}")
            raise RuntimeError("a guest is lost")

    def do_start(self):
        """Starts of other guests, under whatever is going on."""
        host = self.chance.choice((self.hv1, self.hv2))
        with self.quiet["libvirtd"]:
            for index in range(3):
                try:
                    self.hosts.guest(f"other{index}", host, wait=False, agent=False,
                                     transient=True, memory_mib=64).destroy()
                except libvirt.libvirtError as error:
                    self.problem(f"start on {host.name} refused: {error}")
                self.counts["starts"] += 1

    # What has to hold

    def records(self, since):
        """What was said of handoffs of the guest, on its host, from that entry on."""
        return [entry for entry in self.guest.host.journal(MESSAGE_ID=HANDOFF)[since:]
                if entry["TIMEHANDOFF_DOMAIN_NAME"] == self.guest.name]

    def check(self, operation, since):
        with self.quiet["libvirtd"], self.quiet["daemons"]:
            offset_s = bound_s = None

            def is_settled():
                nonlocal offset_s, bound_s
                if self.is_due() or self.lock().exists():
                    return False
                offset_s, bound_s = self.guest.reading()
                return abs(offset_s) + bound_s < IMPROVED_S or self.records(since)

            what = f"{operation} of {self.guest.name} on {self.guest.host.name}"
            try:
                wait_until(what, is_settled, SETTLED_S)
            except Exception as error:
                self.problem(f"{what}: lost: wrong by {offset_s} s, and nothing said: {error}")
                return
            is_right = abs(offset_s) - bound_s < IMPROVED_S
            last = (self.records(since) or [{}])[-1]
            self.counts[f"{operation}: {last.get('TIMEHANDOFF_OUTCOME', 'nothing to do')}"] += 1
            if not is_right and last.get("TIMEHANDOFF_DECISION") not in REASONS:
                self.problem(f"{what}: wrong by {offset_s:+.6f} s: {last.get('MESSAGE')}")
            for record in self.records(since):
                if int(record["TIMEHANDOFF_STEPS"]) and is_right is False:
                    self.problem(f"{what}: stepped wrongly: {record['MESSAGE']}")
            if not is_right:
                self.guest.set_clock(0)

    def test_soak(self):
        operations = {self.do_migrate: 8, self.do_migrate_over_a_gap: 1, self.do_pause: 6,
                      self.do_save: 3, self.do_start: 2}
        usage = Usage(self.hosts)
        usage.start()
        disturber = threading.Thread(target=self.disturb)
        disturber.start()
        try:
            while time.monotonic() < self.end:
                operation = self.chance.choices(*zip(*operations.items()))[0]
                self.guest = self.chance.choice(self.guests)
                to_host = {host: len(host.journal(MESSAGE_ID=HANDOFF)) for host in self.hosts}
                try:
                    operation()
                except libvirt.libvirtError as error:
                    # Killed in the middle of our question: the next one starts anew.
                    self.counts["questions that libvirtd's end cut off"] += 1
                    print(f"{operation.__name__}: {error}", file=sys.stderr)
                    with self.quiet["libvirtd"]:
                        domain = self.guest.domain()
                        if domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED:
                            domain.resume()
                self.check(operation.__name__.removeprefix("do_"), to_host[self.guest.host])
                self.counts["operations"] += 1
        finally:
            self.end = 0
            disturber.join()
            usage.over.set()
            usage.join()
            self.report(usage)
        self.assertEqual(self.problems, [])
        self.assertEqual(list(usage.grown()), [])
        for host in self.hosts:
            locks = host.path("/run/timehandoff/locks")
            self.assertEqual([path.name for path in locks.iterdir() if path.name != "daemon"], [])

    def report(self, usage):
        lines = [f"{MINUTES:g} minutes, seed {SEED}"]
        lines += [f"{count:6} {name}" for name, count in sorted(self.counts.items())]
        for (host, name, pid), samples in usage.samples.items():
            if len(samples) > 12:
                lines.append(f"{name} {pid} on {host}: {samples[12]} after a minute, "
                             f"{samples[-1]} after {5 * len(samples)} s (KiB, open files)")
        lines += self.problems or ["no problem found"]
        text = "\n".join(lines) + "\n"
        print(text, file=sys.stderr)
        if os.environ.get("TH_SOAK_REPORT"):
            pathlib.Path(os.environ["TH_SOAK_REPORT"]).write_text(text)


if __name__ == "__main__":
    unittest.main(verbosity=2)
