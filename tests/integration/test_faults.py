#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Everything around a migration fails in turn: network, checker, disk, memory, descriptors, clocks.

Two hosts, a real guest and real migrations. Whatever fails, a migration that is not proven wrong
goes through, a guest is put right when that is possible and is never put wrong, nobody hangs, the
log says what happened, and once it is over nothing is left of it: every test ends with a look for
processes, descriptors, files and locks. Clock questions between the hosts take a link of their own.
"""

import concurrent.futures
import contextlib
import os
import pathlib
import signal
import sys
import threading
import time
import unittest

sys.dont_write_bytecode = True

import scene  # noqa: E402

if __name__ == "__main__":
    scene.enter()

import libvirt  # noqa: E402

from flows import DEADLINE_S, IS_LONG, Flow  # noqa: E402
from hosts import Guest, wait_until  # noqa: E402
from scene import HOOK, IMPROVED_S, VERDICT, Records  # noqa: E402

GUARD, CHECKER = "/usr/sbin/timehandoff-guard", "/usr/bin/timehandoff"
HOOKS_AT_ONCE = 1000 if IS_LONG else 60
# Of a check that nothing hinders; a machine that is very busy may do it a little less well.
CHECKED = ("gap-ok", "gap-uncertain", "source-unreachable")
SILENT, UNCERTAIN = ("warn", "source-unreachable"), ("warn", "gap-uncertain")
# What a daemon may keep open for its next handoff.
SPARE_DESCRIPTORS = 8
# Of a processor's time: a loop that spins takes all that it gets.
BUSY_S, WATCHED_S = 0.3, 1.0


def setUpModule():
    scene.bring_up("hv1", "hv2")
    Fault.link = Flow.hosts.link("hv1", "hv2", seed=815)
    for host, address in zip(Flow.hosts, (Fault.link.address_a, Fault.link.address_b)):
        Fault.config[host.name] = f"[responder]\nannounce = {address}\n"
        host.write_config(Fault.config[host.name])
        host.stop_daemon()
        host.start_daemon()


def processes(*names):
    """The processes whose first argument ends in one of these names, with all arguments."""
    found = {}
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().decode(errors="replace").split("\0")
            if words[0].rpartition("/")[2] in names:
                found[int(path.parent.name)] = words
    return found


def checker():
    """The process that checks web1's migration, or None."""
    return next((pid for pid, words in processes("timehandoff").items()
                 if words[1:3] == ["hook", "web1"]), None)


class Fault(Flow):
    """From the host where the guest is to the other one, whichever that is."""

    link = None
    config = {}

    def setUp(self):
        super().setUp()
        self.link.set()
        self.settle(self.guest.host)
        # However the test before it ended: a guest that is ahead would not be put right.
        self.guest.set_clock(0)
        self.source = self.guest.host
        self.to = self.hv2 if self.source is self.hv1 else self.hv1
        self.before = {name: len(self.descriptors(host, name)) for host in self.hosts
                       for name in (f"{host.name} peerd", f"{host.name} daemon")}
        self.arrived = self.handoffs(self.to)
        self.logged = {host.name: len(host.journal()) for host in self.hosts}
        self.addCleanup(self.assert_nothing_left)
        self.addCleanup(self.link.set)

    # What must be true after every fault

    @staticmethod
    def pid_of(host, name):
        return int((host.base / "programs" / name.rpartition(" ")[2]).read_text())

    def descriptors(self, host, name):
        with contextlib.suppress(OSError):
            return os.listdir(f"/proc/{self.pid_of(host, name)}/fd")
        return []

    def left(self):
        """What is still there of a fault that is over."""
        found = [f"process {words}" for words in processes(
            "timehandoff", "timehandoff-guard", "50-timehandoff").values()]
        for host in self.hosts:
            for name in (f"{host.name} peerd", f"{host.name} daemon"):
                open_now = len(self.descriptors(host, name))
                if not 0 < open_now <= self.before[name] + SPARE_DESCRIPTORS:
                    found.append(f"{open_now} descriptors of {name}, {self.before[name]} before")
            folder = host.path("/run/timehandoff")
            found += [str(path) for path in folder.rglob(".*") if not path.is_dir()]
            found += [str(path) for path in (folder / "locks").iterdir() if path.name != "daemon"]
            found += [str(path) for path in (folder / "arrivals").iterdir()]
        return found

    def assert_nothing_left(self):
        end, left = time.monotonic() + DEADLINE_S, self.left()
        while left and time.monotonic() < end:
            time.sleep(0.05)
            left = self.left()
        self.assertEqual(left, [])

    def said(self, host, words):
        """Whether a host has logged that in this test."""
        return [r for r in host.journal()[self.logged[host.name]:] if words in r["MESSAGE"]]

    def pass_through(self, *reasons):
        """Migrates; the verdict's record, or None where none was to be expected."""
        verdicts = Records(self.to, VERDICT)
        done = self.guest.migrate(self.to)
        self.assert_passed(done, self.to)
        if not reasons:
            self.assertEqual(verdicts.new(), [])
            return None
        record = verdicts.one()
        self.assertIn(record["TIMEHANDOFF_REASON"], reasons, record["MESSAGE"])
        return record

    def is_right(self):
        offset_s, bound_s = self.guest.reading(self.to)
        return abs(offset_s) + bound_s < IMPROVED_S

    def assert_handed_over(self):
        """In the end the guest shows the time of the host that it came to, and has its stamp.

        Where that could not be done, this is said, and a person can have it put right.
        """
        logs = [self.to.log("journal"), self.to.log("daemon")]
        wait_until("the guest to be right", lambda: self.is_right() or any(
            r["TIMEHANDOFF_OUTCOME"] in ("failed", "reported")
            for r in self.arrived.new()), DEADLINE_S, logs)
        wait_until("somebody to put it right", lambda: self.is_right() or self.timehandoff(
            self.to, "sync", self.guest.name) and self.is_right(), DEADLINE_S, logs)
        wait_until("the stamp", lambda: self.stamp().get("uuid") == self.to.uuid, DEADLINE_S, logs)
        self.wait_stamped()
        self.wait_idle()

    def dry_runs(self, count=8):
        """What the check says on the other host, so often: the verdicts and the sources."""
        xml = self.migratable_xml()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            return [document for _, document in
                    pool.map(lambda _: self.dry_run(self.to, xml), range(count))]


class Network(Fault):
    """Between the two hosts' clocks; the migration itself has another way."""

    def reasons(self, truth_s, count=8):
        """Why it would be decided so, while the source is that far ahead; no verdict is wrong."""
        self.source.set_shift(truth_s)
        found = set()
        for document in self.dry_runs(count):
            gap = document.get("gap")
            if gap:
                self.assertLessEqual(abs(gap["offset_ns"] - truth_s * 1e9), gap["bound_ns"])
            found.add((document["verdict"]["action"], document["verdict"]["reason"]))
        self.source.set_shift(0)
        return found

    def test_half_of_all_packets_are_lost(self):
        self.link.set(loss=0.5)
        self.assertLessEqual(self.reasons(5), {("block", "gap-over-block"), SILENT})
        self.assertLessEqual(self.reasons(0), {("allow", "gap-ok"), UNCERTAIN, SILENT})
        self.pass_through(*CHECKED)
        self.assert_handed_over()

    def test_200_ms_of_delay(self):
        self.link.set(delay_ms=(200, 0))
        for truth_s, reason in ((0, UNCERTAIN), (5, ("block", "gap-over-block"))):
            found = self.reasons(truth_s, 4)
            self.assertIn(reason, found)
            self.assertLessEqual(found, {reason, SILENT})
        self.pass_through("gap-uncertain", "source-unreachable")
        self.assert_handed_over()
        self.link.set(delay_ms=(200, 200))
        self.source, self.to = self.to, self.source
        self.assertEqual(self.reasons(5, 3), {SILENT})

    def in_the_middle_of_the_check(self, run):
        """Runs that once the checker has asked, and before it has an answer."""
        self.link.set(delay_ms=(80, 80))

        def is_asking(pid):
            # One socket is the journal's.
            with contextlib.suppress(OSError):
                return sum(os.readlink(path).startswith("socket:")
                           for path in pathlib.Path(f"/proc/{pid}/fd").iterdir()) > 1
            return False

        def meanwhile():
            pid = wait_until("the checker", checker, DEADLINE_S, every_s=0.002)
            wait_until("its questions", lambda: is_asking(pid), every_s=0.002)
            run(pid)

        thread = threading.Thread(target=meanwhile)
        thread.start()
        self.addCleanup(thread.join)

    def test_the_way_ends_in_the_middle_of_the_check(self):
        self.in_the_middle_of_the_check(lambda _: self.link.set(loss=1))
        self.pass_through("source-unreachable")
        self.link.set()
        self.assert_handed_over()

    def test_the_checker_is_killed_in_the_middle(self):
        self.guest.set_clock(-3)
        self.in_the_middle_of_the_check(lambda pid: os.kill(pid, signal.SIGKILL))
        self.pass_through()
        wait_until("the guard's word", lambda: self.said(self.to, "died of signal 9"))
        self.assert_handed_over()

    def test_the_source_is_stepped_in_the_middle(self):
        """It says one time or the other, or both; the verdict is true of one of them."""
        self.in_the_middle_of_the_check(lambda _: self.source.set_shift(-0.2))
        record = self.pass_through(*CHECKED, "gap-over-warn")
        if record["TIMEHANDOFF_REASON"] == "source-unreachable":
            return
        gap_ns, bound_ns = (int(record[f"TIMEHANDOFF_GAP_{n}"]) for n in ("NS", "BOUND_NS"))
        self.assertTrue(any(abs(gap_ns - truth_s * 1e9) <= bound_ns for truth_s in (0, -0.2)),
                        record["MESSAGE"])
        self.assert_handed_over()


class Resources(Fault):
    """Of the host that the guest comes to."""

    def mount_small(self):
        """Has both daemons of the host begin on a disk of a few pages."""
        host = self.to

        def undo():
            for name in ("daemon", "peerd"):
                if host.is_running(name):
                    host.stop(name)
            host.run(["umount", "/run/timehandoff"])
            host.start_peerd()
            self.restart(host, "daemon")

        self.configure(host, self.config[host.name] +
                       "[alert]\ntextfile = /run/timehandoff/metrics.prom\n")
        self.addCleanup(host.write_config, self.config[host.name])
        for name in ("daemon", "peerd"):
            host.stop(name)
        host.run(["mount", "-t", "tmpfs", "-o", "size=96k,mode=755", "tmpfs", "/run/timehandoff"])
        self.addCleanup(undo)
        host.start_peerd()
        self.restart(host, "daemon")

    def test_the_disk_is_full(self):
        """That of the state files and the metrics."""
        self.mount_small()
        folder = self.to.path("/run/timehandoff")
        wait_until("the metrics", (folder / "metrics.prom").exists, DEADLINE_S)
        filler = folder / "filler"
        with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        self.guest.set_clock(-3)
        self.pass_through(*CHECKED)
        for words in ("cannot write /run/timehandoff/host", "cannot leave an arrival note"):
            wait_until(words, lambda w=words: self.said(self.to, w), DEADLINE_S)
        # What was there before is whole, and there is no stamp that nobody could answer for.
        self.assertTrue((folder / "host").read_text().endswith("[end]\n"))
        self.assertTrue((folder / "metrics.prom").read_text().endswith("\n"))
        self.assertEqual(self.stamp().get("uuid"), self.source.uuid)
        self.assertTrue(all(self.to.is_running(name) for name in ("peerd", "daemon")))
        # With that stamp it may leave again.
        self.assertEqual(self.dry_run(self.source, self.migratable_xml())[1]["verdict"]["action"],
                         "warn")
        filler.unlink()
        self.assert_handed_over()

    def limit(self, name, what, soft):
        """Sets a limit of a running program of the host, until the end of the test."""
        user = "timehandoff" if name == "peerd" else None
        self.to.run(["prlimit", "--pid", self.pid_of(self.to, name), f"--{what}={soft}:"],
                    user=user)

    def starve(self, name):
        """From now on that program can open nothing."""
        taken = {int(fd) for fd in os.listdir(f"/proc/{self.pid_of(self.to, name)}/fd")}
        self.limit(name, "nofile", next(fd for fd in range(len(taken) + 1) if fd not in taken))

    @staticmethod
    def cpu_s(pid):
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

    def test_no_descriptor_is_left(self):
        self.guest.set_clock(-3)
        names = ("peerd", "daemon")
        for name in names:
            self.starve(name)
        self.pass_through(*CHECKED)
        before_s = [self.cpu_s(self.pid_of(self.to, name)) for name in names]
        time.sleep(WATCHED_S)
        for name, earlier_s in zip(names, before_s):
            self.assertLess(self.cpu_s(self.pid_of(self.to, name)) - earlier_s, BUSY_S,
                            f"{name} spins")
        # The responder needs nothing more to answer.
        done = self.timehandoff(self.source, "measure", self.to.address)
        self.assertEqual(done.returncode, 0, done.stderr)
        wait_until("a word about it", lambda: self.said(self.to, "Too many open files"),
                   DEADLINE_S)
        # Nobody could be asked, and so nobody has said that it is not.
        self.assertEqual(self.said(self.to, "synchronised: no"), [])
        for name in names:
            self.limit(name, "nofile", 1024)
        self.assert_handed_over()
        # Nobody could open the checker's note in time. It is swept when it is old.
        self.to.path(f"/run/timehandoff/arrivals/{self.guest.uuid}").unlink(missing_ok=True)

    def test_no_memory_for_the_check(self):
        """However little there is, the guest is let in; with enough, it is checked."""
        path, aside = self.to.path(CHECKER), self.to.path(CHECKER + ".aside")
        path.rename(aside)
        self.addCleanup(aside.rename, path)
        xml, records = self.migratable_xml(), Records(self.to, VERDICT)
        for kib in (100, 1000, 4000, 12000, 20000, 40000, 400000):
            path.write_text(f"#!/bin/bash\nulimit -v {kib}\nexec -a timehandoff {CHECKER}.aside "
                            '"$@"\n')
            path.chmod(0o755)
            done = self.to.run([HOOK, "web1", "migrate", "begin", "-"], input=xml, check=False)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""), kib)
        wait_until("the guard's word", lambda: self.said(self.to, "the clock check itself failed"))
        wait_until("a verdict", records.new)
        self.pass_through(*CHECKED)
        self.assert_handed_over()

    def test_no_memory_for_the_daemons(self):
        """They may end, as libvirt's library does then; who starts them anew finds all to do."""
        self.guest.set_clock(-3)
        for name in ("peerd", "daemon"):
            pid = self.pid_of(self.to, name)
            pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[0])
            self.limit(name, "as", pages * os.sysconf("SC_PAGE_SIZE"))
        self.pass_through(*CHECKED)
        for name in ("peerd", "daemon"):
            if self.to.is_running(name):
                self.limit(name, "as", "unlimited")
            else:
                with contextlib.suppress(FileNotFoundError):
                    self.to.stop(name)
                self.restart(self.to, name)
        self.assert_handed_over()


class Clock(Fault):
    """The host's own clock is stepped while it hands it over."""

    def test_stepped_in_the_middle_of_a_handoff(self):
        """The guest has its host's time from before or after, or else the record says so.

        A handoff that the step ended before the guest was touched is made up for.
        """
        for shift_s, after_s in ((0.3, 0), (-0.3, 0.05)):
            with self.subTest(shift_s=shift_s):
                handoffs = self.handoffs()
                self.guest.set_clock(-3)
                self.pause()
                wait_until("the handoff", lambda: self.lock().exists() or handoffs.new(),
                           DEADLINE_S, every_s=0.002)
                time.sleep(after_s)
                self.source.set_shift(shift_s)
                wait_until("its record", handoffs.new, DEADLINE_S)
                self.wait_idle()
                *earlier, record = handoffs.new()
                self.assertLessEqual({r["TIMEHANDOFF_OUTCOME"] for r in earlier}, {"reported"})
                outcome = record["TIMEHANDOFF_OUTCOME"]
                offset_s, bound_s = self.guest.reading()
                if outcome in ("stepped", "improved", "not-needed"):
                    wrong_s = min(abs(offset_s), abs(offset_s - shift_s))
                    self.assertLess(wrong_s + bound_s, IMPROVED_S, record["MESSAGE"])
                    self.assertLess(abs(int(record.get("TIMEHANDOFF_RESIDUAL_NS", 0))),
                                    IMPROVED_S * 1e9, record["MESSAGE"])
                else:
                    self.assertIn(outcome, ("reported", "failed"), record["MESSAGE"])
                self.source.set_shift(0)
                self.timehandoff(self.source, "sync", self.guest.name)


class Hooks(Fault):
    """The hook's own path."""

    def test_very_many_at_once(self):
        """And a real migration in the midst of them."""
        xml = self.migratable_xml().encode()

        def one(number):
            done = self.to.run([HOOK, f"vm{number}", "migrate", "begin", "-"], check=False,
                               input=xml.decode(), timeout=120)
            return done.returncode, done.stdout, done.stderr

        with concurrent.futures.ThreadPoolExecutor(HOOKS_AT_ONCE) as pool:
            calls = [pool.submit(one, number) for number in range(HOOKS_AT_ONCE)]
            done = self.guest.migrate(self.to)
            self.assertEqual({call.result() for call in calls}, {(0, "", "")})
        self.assert_passed(done, self.to)
        self.assert_handed_over()

    # A package is installed, replaced and removed

    def write(self, path, data, mode=0o755):
        self.to.path(path).unlink(missing_ok=True)
        self.to.path(path).write_bytes(data)
        self.to.path(path).chmod(mode)

    def put(self, path, files):
        """Brings one file as dpkg does: beside the old one, which is kept until all is well."""
        place, new, old = (self.to.path(path + suffix) for suffix in ("", ".dpkg-new", ".dpkg-tmp"))
        if path == HOOK:
            new.symlink_to(GUARD)
        else:
            self.write(path + ".dpkg-new", files[path][:len(files[path]) // 2])
            yield f"{path} half unpacked"
            self.write(path + ".dpkg-new", files[path])
        yield f"{path} unpacked"
        if os.path.lexists(place):
            os.link(place, old, follow_symlinks=False)
        new.rename(place)
        yield f"{path} replaced"
        old.unlink(missing_ok=True)

    def states(self):
        """Takes the files through all that an installation may leave; yields at each."""
        files = {path: self.to.path(path).read_bytes() for path in (CHECKER, GUARD)}
        order = (HOOK, CHECKER, GUARD)

        def restore():
            for path in (CHECKER, GUARD):
                self.write(path, files[path])
            for suffix in ("", ".dpkg-new", ".dpkg-tmp"):
                self.to.path(HOOK + suffix).unlink(missing_ok=True)
            self.to.path(HOOK).symlink_to(GUARD)

        self.addCleanup(restore)
        for path in order:
            yield from self.put(path, files)
        for data, mode, name in ((files[CHECKER][:5000], 0o755, "cut"), (b"", 0o755, "empty"),
                                 (files[CHECKER], 0o644, "not executable")):
            self.write(CHECKER, data, mode)
            yield f"checker {name}"
        self.write(CHECKER, files[CHECKER])
        with open(self.to.path(CHECKER), "ab"):
            yield "checker being written"
        for path in reversed(order):
            self.to.path(path).unlink()
            yield f"{path} removed"
        for path in order:
            yield from self.put(path, files)

    def test_while_the_package_is_replaced(self):
        """In every state of its files guests start, and a check that can't be made is said."""
        starter = Guest("starter", self.to)
        xml, seen = self.migratable_xml(), set()
        for state in self.states():
            with self.subTest(state):
                # What libvirt may see when a guest starts; then nothing looks at the checker.
                sight = tuple(os.path.lexists(self.to.path(path + suffix)) for path in (HOOK, GUARD)
                              for suffix in ("", ".dpkg-new", ".dpkg-tmp"))
                if sight not in seen:
                    seen.add(sight)
                    self.to.connection().createXML(starter.xml(memory_mib=32),
                                                   libvirt.VIR_DOMAIN_START_PAUSED).destroy()
                if os.access(self.to.path(GUARD), os.X_OK) and self.to.path(HOOK).is_symlink():
                    done = self.to.run([HOOK, "web1", "migrate", "begin", "-"], input=xml,
                                       check=False)
                    self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
                    if state.startswith("checker"):
                        wait_until("the guard's word", lambda: self.said(
                            self.to, "allowed migration of web1"), DEADLINE_S)
                        self.logged[self.to.name] = len(self.to.journal())
        self.pass_through(*CHECKED)
        self.assert_handed_over()


if __name__ == "__main__":
    unittest.main(verbosity=2)
