#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every way in which a real guest comes to run again, on real libvirt hosts: it ends up right.

Needs root, what tests/hosts/install fetches, and in TH_STAGE a staged install. With TH_LONG=1 a
guest is also migrated a hundred times, and twenty guests are resumed at once instead of eight.
"""

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

from busname import LOGIND_POLICY, Logind  # noqa: E402
from flows import DEADLINE_S, IS_LONG, Flow, Handoffs  # noqa: E402
from guests import MIGRATE_DEADLINE_S  # noqa: E402
from hosts import Guest, wait_until  # noqa: E402
from scene import (DRIFT_S, HANDOFF, ORIGIN_URI, POLICY_URI, Lifecycle,  # noqa: E402
                   Records)

RESUMED_MIGRATED = (libvirt.VIR_DOMAIN_EVENT_RESUMED, libvirt.VIR_DOMAIN_EVENT_RESUMED_MIGRATED)

DISK = """<disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='{path}'/>
      <target dev='hda' bus='ide'/>
    </disk>
  </devices>"""


def setUpModule():
    scene.bring_up("hv1", "hv2")


class DiskGuest(Guest):
    """A guest with a disk that takes snapshots of its memory; it doesn't know of the disk."""

    def xml(self, **definition):
        path = f"/run/guests/{self.name}.qcow2"
        self.host.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "16M"])
        return super().xml(**definition).replace("</devices>", DISK.format(path=path))


class Migration(Flow):
    """A guest that comes from another host, or that was to go there."""

    def test_pre_copy(self):
        self.settle(self.hv1)
        self.guest.set_clock(-3)
        handoffs, calls = self.handoffs(self.hv2), self.guest.set_time_calls()
        self.assert_passed(self.guest.migrate(self.hv2, p2p=True), self.hv2)
        record = handoffs.one(DEADLINE_S)
        self.assert_fields(record, source_host="hv1", stepped_by_other="no")
        self.check(record, calls, "migrated", lost_s=3)

    def test_post_copy(self):
        self.settle(self.hv1)
        self.guest.set_clock(-3)
        handoffs, calls = self.handoffs(self.hv2), self.guest.set_time_calls()
        virsh = self.migrate_slowly(self.hv2, "--postcopy", "--timeout", "1",
                                    "--timeout-postcopy")
        self.assertEqual(virsh.wait(MIGRATE_DEADLINE_S), 0)
        self.guest.drop_channel()
        self.guest.host = self.hv2
        # It is resumed twice: at the switch, and when the last of its memory has come.
        self.wait_idle()
        records = handoffs.new()
        self.assertEqual(records[0]["TIMEHANDOFF_TRIGGER"], "migrated")
        steps = sum(int(record["TIMEHANDOFF_STEPS"]) for record in records)
        self.assertGreater(steps, 0, records)
        self.assertEqual(steps, self.guest.set_time_calls() - calls)
        self.assert_right([record for record in records if "TIMEHANDOFF_RESIDUAL_NS" in record][-1])
        self.assert_timeout_is_default()

    def test_paused_on_the_way_and_resumed_later(self):
        self.settle(self.hv1)
        self.guest.set_clock(0)
        handoffs, calls = self.handoffs(self.hv2), self.guest.set_time_calls()
        self.guest.domain().suspend()
        self.assert_passed(self.guest.migrate(self.hv2), self.hv2)
        time.sleep(0.5)
        self.assertEqual(handoffs.new(), [])
        self.guest.domain().resume()
        self.check(handoffs.one(DEADLINE_S), calls, "unpaused", lost_s=0.5)

    def stop_in_the_middle(self, stop):
        """A migration that had already paused the guest is stopped; it goes on where it was."""
        self.settle(self.hv1)
        self.guest.set_clock(0)
        here, there = self.handoffs(self.hv1), self.handoffs(self.hv2)
        calls = self.guest.set_time_calls()
        lifecycle = Lifecycle(self.guest)
        self.addCleanup(lifecycle.close)
        virsh = self.migrate_slowly(self.hv2, "--timeout", "1", "--timeout-suspend")
        wait_until("the guest to be paused", lambda: self.guest.domain().state()[0] ==
                   libvirt.VIR_DOMAIN_PAUSED, 20.0, [self.hv1.log("virsh")])
        time.sleep(0.5)
        stop()
        self.assertNotEqual(virsh.wait(MIGRATE_DEADLINE_S), 0)
        wait_until("the source to resume", lambda: RESUMED_MIGRATED in lifecycle.events, 10.0)
        self.check(here.one(DEADLINE_S), calls, "migrated", lost_s=0.5)
        self.assertEqual(there.new(), [])

    def test_cancelled(self):
        self.stop_in_the_middle(lambda: self.guest.domain().abortJob())

    def test_failed_as_the_destination_died(self):
        def kill():
            pid = self.hv2.path(f"/run/libvirt/qemu/{self.guest.name}.pid").read_text()
            os.kill(int(pid), signal.SIGKILL)

        self.stop_in_the_middle(kill)

    def test_cancelled_before_it_paused_costs_nothing(self):
        self.settle(self.hv1)
        self.guest.set_clock(0)
        records = [self.handoffs(host) for host in self.hosts]
        calls = self.guest.set_time_calls()
        virsh = self.migrate_slowly(self.hv2)
        self.guest.domain().abortJob()
        self.assertNotEqual(virsh.wait(MIGRATE_DEADLINE_S), 0)
        self.settle()
        self.assertEqual([found.new() for found in records], [[], []])
        self.assertEqual(self.guest.set_time_calls(), calls)
        self.assert_right()

    @unittest.skipUnless(IS_LONG, "a hundred migrations, with TH_LONG=1")
    def test_a_hundred_leave_nothing_behind(self):
        self.settle(self.hv1)
        used = []
        for index in range(100):
            to = self.hv2 if self.guest.host is self.hv1 else self.hv1
            handoffs, calls = self.handoffs(to), self.guest.set_time_calls()
            self.guest.set_clock(-1)
            self.assert_passed(self.guest.migrate(to), to)
            record = handoffs.one(DEADLINE_S)
            self.wait_stamped()
            self.check(record, calls, "migrated")
            # The log lives in the guest's memory.
            self.guest.exec(["sh", "-c", ": >/run/agent.log"])
            if index % 10 == 9:
                used.append([self.use(host) for host in self.hosts])
                print(index + 1, used[-1], file=sys.stderr)
        for (first_kib, first_fds), (last_kib, last_fds) in zip(used[2], used[-1]):
            self.assertLess(last_kib, first_kib + 1024)
            self.assertLessEqual(last_fds, first_fds + 2)

    @staticmethod
    def use(host):
        """(resident memory in KiB, open descriptors) of the daemon of a host."""
        pid = (host.base / "programs/daemon").read_text()
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        return (int(status.split("VmRSS:")[1].split()[0]),
                len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir())))


class Pause(Flow):
    """A guest that was paused and resumed."""

    def setUp(self):
        super().setUp()
        self.settle(self.hv1)
        self.guest.set_clock(0)

    def test_lost_time_is_put_right(self):
        handoffs, calls = self.handoffs(), self.guest.set_time_calls()
        self.pause(lost_s=1)
        self.check(handoffs.one(DEADLINE_S), calls, "unpaused", lost_s=1)

    def test_inside_the_deadband_nothing_is_done(self):
        self.configure(self.hv1, "[handoff]\ndeadband = 800ms\n", "daemon")
        handoffs, calls = self.handoffs(), self.guest.set_time_calls()
        self.guest.set_clock(-0.1)
        self.pause()
        record = handoffs.one(DEADLINE_S)
        self.assert_fields(record, outcome="not-needed", decision="nothing", steps="0",
                           trigger="unpaused")
        self.assertEqual(self.guest.set_time_calls(), calls)
        offset_s, bound_s = self.guest.reading()
        before_s, before_bound_s = self.offset_of(record, "OFFSET_BEFORE")
        self.assertAlmostEqual(before_s, offset_s, delta=bound_s + before_bound_s + DRIFT_S)

    def test_never_back_unless_that_is_allowed(self):
        handoffs, calls = self.handoffs(), self.guest.set_time_calls()
        self.guest.set_clock(3)
        self.pause()
        self.check_untouched(handoffs, calls, 3, outcome="reported", decision="backward")
        self.addCleanup(lambda: self.set_metadata(POLICY_URI, None))
        self.set_metadata(POLICY_URI, "<policy backward='yes'/>")
        handoffs = self.handoffs()
        self.pause()
        self.check(handoffs.one(DEADLINE_S), calls, "unpaused")

    def test_never_from_a_host_that_is_not_synchronised(self):
        self.unsynchronise(self.hv1)
        self.wait_idle()
        handoffs, calls = self.handoffs(), self.guest.set_time_calls()
        self.guest.set_clock(-3)
        self.pause()
        self.check_untouched(handoffs, calls, -3, outcome="reported", decision="unsynchronised")
        # What it is owed it gets when the host is right again.
        self.assertTrue(self.is_due())
        handoffs = self.handoffs()
        self.hv1.set_synced(True)
        self.check(handoffs.one(DEADLINE_S), calls, "unpaused", lost_s=2.5)
        self.wait_idle()

    def test_further_than_max_step_is_only_reported(self):
        handoffs, calls = self.handoffs(), self.guest.set_time_calls()
        self.guest.step_clock(-7200)
        self.pause()
        self.check_untouched(handoffs, calls, -7200, outcome="reported", decision="too-far")


class OneHost(Flow):
    """What a guest goes through without leaving its host; this one has a disk for snapshots."""

    @classmethod
    def setUpClass(cls):
        host = cls.hosts["hv1"]
        cls.guest = DiskGuest("web2", host)
        records = Handoffs(host, cls.guest)
        cls.guest.start(memory_mib=96)
        cls.guest.wait_ready()
        cls.addClassCleanup(cls.guest.destroy)
        cls.guest.step_clock(-30)
        wait_until("its stamp", lambda: ORIGIN_URI in cls.guest.domain().XMLDesc(), DEADLINE_S)
        time.sleep(0.5)
        cls.after_boot = records.new(), cls.guest.agent_log()

    def setUp(self):
        super().setUp()
        self.settle()
        self.guest.set_clock(0)

    def virsh(self, *argv):
        """A command of virsh on the guest that ends one QEMU or starts another."""
        done = self.hv1.virsh(argv[0], *argv[1:], check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.guest.drop_channel()

    def test_plain_boot_is_no_trigger(self):
        records, log = self.after_boot
        self.assertEqual(records, [])
        self.assertNotIn("guest-get-time", log)
        self.assertNotIn("guest-set-time", log)

    def test_saved_and_restored(self):
        handoffs, calls = self.handoffs(), self.guest.set_time_calls()
        self.guest.step_clock(-7200)
        path = "/run/guests/web2.save"
        self.addCleanup(self.hv1.path(path).unlink, missing_ok=True)
        self.virsh("save", "web2", path)
        self.virsh("restore", path)
        # There is no limit for a guest that was stored away: nobody knows for how long it was.
        self.check(handoffs.one(DEADLINE_S), calls, "restored", lost_s=7200)

    def test_managed_save_and_start(self):
        handoffs, calls = self.handoffs(), self.guest.set_time_calls()
        self.guest.step_clock(-3)
        self.virsh("managedsave", "web2")
        self.virsh("start", "web2")
        self.check(handoffs.one(DEADLINE_S), calls, "restored", lost_s=3)

    def test_saved_while_paused_is_put_right_when_it_runs(self):
        handoffs, calls = self.handoffs(), self.guest.set_time_calls()
        self.guest.domain().suspend()
        self.virsh("managedsave", "web2")
        self.virsh("start", "web2")
        time.sleep(0.5)
        self.assertEqual(handoffs.new(), [])
        self.virsh("resume", "web2")
        self.check(handoffs.one(DEADLINE_S), calls, "unpaused", lost_s=0.5)

    def test_snapshot_and_revert(self):
        handoffs, calls = self.handoffs(), self.guest.set_time_calls()
        self.guest.step_clock(-3)
        self.virsh("snapshot-create-as", "web2", "one")
        self.addCleanup(self.virsh, "snapshot-delete", "web2", "one")
        # Its memory was written while it stood still.
        self.check(handoffs.one(DEADLINE_S), calls, "unpaused", lost_s=3)
        self.wait_idle()
        handoffs = self.handoffs()
        self.virsh("snapshot-revert", "web2", "one")
        # Its log went back, too: to before the steps that the snapshot itself led to.
        self.check(handoffs.one(DEADLINE_S), calls, "snapshot", lost_s=3)

    def test_asleep_and_woken_up(self):
        handoffs, calls = self.handoffs(), self.guest.set_time_calls()
        self.guest.step_clock(-3)
        self.virsh("dompmsuspend", "web2", "mem")
        wait_until("the guest to sleep", lambda: self.guest.domain().state()[0] ==
                   libvirt.VIR_DOMAIN_PMSUSPENDED, DEADLINE_S)
        time.sleep(0.5)
        self.virsh("dompmwakeup", "web2")
        self.check(handoffs.one(DEADLINE_S), calls, "wakeup")

    def test_host_asleep_and_woken_up(self):
        if not self.hv1.is_running("dbus"):
            self.hv1.path("/etc/dbus-1/system.d").mkdir(parents=True, exist_ok=True)
            self.hv1.path("/etc/dbus-1/system.d/logind-of-the-test.conf").write_text(LOGIND_POLICY)
            self.hv1.start_dbus()
        looks = self.guest.agent_log().count("guest-get-time")
        self.restart(self.hv1, "daemon")
        # A daemon that starts looks at every guest once; this is about what comes after.
        wait_until("the first look", lambda: self.guest.agent_log().count("guest-get-time") > looks,
                   DEADLINE_S)
        self.wait_idle()
        logind = Logind(self.hv1)
        self.addCleanup(logind.close)
        handoffs, calls = self.handoffs(), self.guest.set_time_calls()
        self.guest.step_clock(-7200)
        logind.prepare_for_sleep(True)
        time.sleep(0.5)
        self.assertEqual(handoffs.new(), [])
        logind.prepare_for_sleep(False)
        self.check(handoffs.one(DEADLINE_S), calls, "host-wakeup", lost_s=7200)

    def slow_down_chronyc(self):
        """What says whether the host is synchronised takes a second for it; undone afterwards."""
        path, real = (self.hv1.path(f"/usr/bin/chronyc{suffix}") for suffix in ("", ".real"))
        path.rename(real)
        self.addCleanup(real.rename, path)
        path.write_text("#!/bin/sh\nsleep 1\nexec /usr/bin/chronyc.real \"$@\"\n")
        path.chmod(0o755)

    def test_paused_and_resumed_while_nobody_looked(self):
        # The decision has to wait for it, or the guest would never be put right.
        self.slow_down_chronyc()
        calls = self.guest.set_time_calls()
        self.guest.domain().suspend()
        wait_until("the daemon to see it", lambda: self.published_domains(self.hv1)
                   [self.guest.uuid] == "paused")
        self.hv1.stop_daemon(signal.SIGKILL)
        time.sleep(0.5)
        self.guest.domain().resume()
        handoffs = self.handoffs()
        self.restart(self.hv1, "daemon")
        record = handoffs.one(DEADLINE_S)
        self.check(record, calls, "reconcile", lost_s=0.5)

    def test_wrong_when_the_daemon_comes_back_but_nothing_was_missed(self):
        for name, restart in (("daemon", lambda: self.restart(self.hv1, "daemon")),
                              ("killed", lambda: self.restart(self.hv1, "daemon",
                                                              number=signal.SIGKILL)),
                              ("libvirtd", self.hv1.restart_libvirtd)):
            with self.subTest(name):
                self.settle()
                handoffs, calls = self.handoffs(), self.guest.set_time_calls()
                self.guest.set_clock(-30)
                restart()
                self.check_untouched(handoffs, calls, -30, trigger="reconcile",
                                     outcome="reported", decision="no-event")
                # Being right in between makes it news if it is wrong again.
                self.guest.set_clock(0)
                self.pause()

    def test_booted_while_nobody_looked(self):
        self.hv1.stop_daemon()
        self.addCleanup(self.start_again, self.hv1, "daemon")
        self.guest = self.hosts.guest("web3", "hv1", memory_mib=96, clock_offset_s=-30)
        self.addCleanup(self.guest.destroy)
        handoffs, calls = self.handoffs(), self.guest.set_time_calls()
        self.restart(self.hv1, "daemon")
        self.check_untouched(handoffs, calls, -30, trigger="reconcile", outcome="reported",
                             decision="no-event")

    def test_paused_and_resumed_with_libvirtd_away_in_between(self):
        handoffs, calls = self.handoffs(), self.guest.set_time_calls()
        self.guest.domain().suspend()
        self.hv1.restart_libvirtd(signal.SIGKILL)
        time.sleep(0.5)
        self.guest.domain().resume()
        record = handoffs.one(DEADLINE_S)
        self.check(record, calls, record["TIMEHANDOFF_TRIGGER"], lost_s=0.5)
        self.assertIn(record["TIMEHANDOFF_TRIGGER"], ("unpaused", "reconcile"))


class Many(Flow):
    """Guests that are resumed all at once."""

    COUNT = 20 if IS_LONG else 8

    def setUp(self):
        super().setUp()
        host = self.hv1
        guests = [self.hosts.guest(f"many{index}", host, wait=False, transient=True,
                                   memory_mib=96) for index in range(self.COUNT)]
        self.many = guests
        for guest in guests:
            self.addCleanup(guest.destroy)
        for guest in guests:
            guest.wait_ready(120)

    def locks(self):
        """How many guests' agents are held for handoffs just now."""
        folder = self.hv1.path("/run/timehandoff/locks")
        return sum(folder.joinpath(guest.uuid).exists() for guest in self.many)

    def test_all_are_put_right_and_none_waits_for_the_others(self):
        calls = [guest.set_time_calls() for guest in self.many]
        handoffs = Records(self.hv1, HANDOFF)
        domains = [guest.domain() for guest in self.many]
        for domain in domains:
            domain.suspend()
        time.sleep(1)
        at_once = [0]
        over = threading.Event()

        def watch():
            while not over.wait(0.01):
                at_once.append(self.locks())

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            for domain in domains:
                domain.resume()
            wait_until("all the records", lambda: len(handoffs.new()) >= self.COUNT,
                       10.0 * self.COUNT, [self.hv1.log("journal"), self.hv1.log("daemon")])
        finally:
            over.set()
            watcher.join()
        records = {record["TIMEHANDOFF_DOMAIN_NAME"]: record for record in handoffs.new()}
        self.assertEqual(len(handoffs.new()), self.COUNT)
        after_s = []
        for guest, before in zip(self.many, calls):
            with self.subTest(guest=guest.name):
                record = records[guest.name]
                self.assert_right(record, guest)
                self.assert_fields(record, trigger="unpaused")
                self.assert_stepped(record)
                self.assertEqual(int(record["TIMEHANDOFF_STEPS"]),
                                 guest.set_time_calls() - before)
                after_s.append(int(record.get("TIMEHANDOFF_RIGHT_AFTER_NS", 0)) / 1e9)
        print(f"{self.COUNT} guests: at most {max(at_once)} at once, right after "
              f"{sorted(after_s)}", file=sys.stderr)
        self.assertGreaterEqual(max(at_once), min(self.COUNT, 16) - 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
