#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Real migrations of a real guest between real libvirt hosts, with everything as installed.

Needs root, what tests/hosts/install fetches, and in TH_STAGE a staged install. Which host's clock
is off, and by how much, is each test's to say; what the guest's clock then shows is read by a
channel of the test's own, which none of the programs under test knows of.
"""

import json
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

from guests import MIGRATE_DEADLINE_S  # noqa: E402
from hosts import Guest, wait_until  # noqa: E402
from scene import (HANDOFF, HOOK, IMPROVED_S, ORIGIN_URI, OVERRIDE,  # noqa: E402
                   POLICY_URI, RIGHT_S, VERDICT, Lifecycle, Records, Scene)

MARKER = "swordfish-in-the-XML"


def setUpModule():
    scene.bring_up("hv1", "hv2", "hv3")


class Gap(Scene):
    """The verdict on a gap, and what it does to a migration."""

    def test_allowed_direct_and_peer_to_peer(self):
        self.begin(self.hv1)
        uid = self.hv2.run(["id", "-u", "timehandoff"]).stdout.strip()
        for source, to, options in ((self.hv1, self.hv2, {"p2p": True}), (self.hv2, self.hv1, {})):
            with self.subTest(options=options):
                self.wait_stamped()
                done, record = self.migrate(to, **options)
                self.assert_passed(done, to)
                self.assert_fields(record, verdict="allow", reason="gap-ok", stamp="used",
                                   source_found_by="stamp", source_host=source.name,
                                   source_uuid=source.uuid, authenticated="yes", clock="system",
                                   domain_name="web1", domain_uuid=self.guest.uuid)
                self.assert_gap(record, 0)
                # The checker had given root up when it said so.
                self.assertEqual(record["_UID"], uid)

    def test_warned_of_100_ms_and_let_through(self):
        self.begin(self.hv1)
        self.hv1.set_shift(0.1)
        done, record = self.migrate(self.hv2)
        self.assert_passed(done, self.hv2)
        self.assert_fields(record, verdict="warn", reason="gap-over-warn")
        self.assert_gap(record, 0.1)

    def test_blocked_at_5_s_with_the_guest_left_alone(self):
        self.begin(self.hv1)
        calls, state = self.guest.set_time_calls(), self.guest.domain().state()
        before_s, before_bound_s = self.guest.reading()
        lifecycle = Lifecycle(self.guest)
        for host, shift_s, words in ((self.hv1, 5, "s ahead of this host"),
                                     (self.hv1, -5, "s behind this host"),
                                     (self.hv2, 5, "s behind this host"),
                                     (self.hv2, -5, "s ahead of this host")):
            for p2p in (False, True):
                with self.subTest(host=host.name, shift_s=shift_s, p2p=p2p):
                    host.set_shift(shift_s)
                    done, record = self.migrate(self.hv2, p2p=p2p)
                    host.set_shift(0)
                    self.assert_gap(record, shift_s if host is self.hv1 else -shift_s)
                    self.assert_fields(record, verdict="block", reason="gap-over-block")
                    self.assert_blocked(done, "source hv1 is ", words, "limit 500 ms",
                                        "'timehandoff override")
        lifecycle.settle()
        self.assertEqual(lifecycle.events, [])
        lifecycle.close()
        self.assertEqual(self.guest.domain().state(), state)
        after_s, after_bound_s = self.guest.reading()
        self.assertAlmostEqual(after_s, before_s, delta=before_bound_s + after_bound_s + 0.005)
        self.assertEqual(self.guest.set_time_calls(), calls)
        self.assertNotIn("web1", self.hv2.virsh("list", "--all", "--name").stdout)

    def test_report_mode_says_what_it_would_have_done(self):
        self.begin(self.hv1)
        self.configure(self.hv2, "[gap]\nmode = report\n")
        self.hv1.set_shift(5)
        done, record = self.migrate(self.hv2)
        self.assert_passed(done, self.hv2)
        self.assert_fields(record, verdict="allow", would_verdict="block",
                           would_reason="gap-over-block")
        self.assertIn("report mode; would have been block", record["MESSAGE"])
        self.assert_gap(record, 5)

    def test_limits_of_one_domain_in_its_metadata_survive_the_way(self):
        self.begin(self.hv1)
        self.addCleanup(lambda: self.set_metadata(POLICY_URI, None))
        self.set_metadata(POLICY_URI, f"<policy warn='1ms' block='5ms' note='{MARKER}'/>")
        self.hv1.set_shift(0.02)
        done, record = self.migrate(self.hv2)
        self.assert_blocked(done, "limit 5 ms")
        self.assert_fields(record, warn_ns="1000000", block_ns="5000000")
        self.hv1.set_shift(0)
        done, record = self.migrate(self.hv2)
        self.assert_passed(done, self.hv2)
        self.assert_fields(record, verdict="allow", warn_ns="1000000")
        self.wait_stamped()
        self.assertIn("5ms", self.metadata(POLICY_URI))
        # Nothing of the XML but what is reported is in any journal.
        for host in self.hosts:
            self.assertNotIn(MARKER, json.dumps(host.journal()))

    def test_limits_of_one_domain_in_the_configuration(self):
        self.begin(self.hv1)
        self.hv1.set_shift(0.02)
        for pattern, verdict in (("other*", "allow"), ("we?1", "block"),
                                 (self.guest.uuid, "block")):
            with self.subTest(pattern=pattern):
                self.configure(self.hv2, f"[domain {pattern}]\nblock = 5ms\n")
                status, document = self.dry_run(self.hv2, self.migratable_xml())
                self.assertEqual(document["verdict"]["action"], verdict)
                self.assertEqual(status, {"allow": 0, "block": 1}[verdict])
        done, record = self.migrate(self.hv2)
        self.assert_blocked(done, "limit 5 ms")
        self.assert_fields(record, reason="gap-over-block", block_ns="5000000")


class Override(Scene):
    """The way out at 3 a.m."""

    def setUp(self):
        super().setUp()
        self.begin(self.hv1)
        self.addCleanup(self.timehandoff, self.hv2, "override", "--clear")
        self.hv1.set_shift(5)

    def override(self, *argv):
        records = Records(self.hv2, OVERRIDE)
        self.timehandoff(self.hv2, "override", *argv, check=True)
        # The end of the last test's may be told only now.
        said = "ended" if "--clear" in argv else "override by"
        record, = wait_until("its record", lambda: [record for record in records.new()
                                                    if said in record["MESSAGE"]])
        return record

    def test_lets_through_and_logs_what_would_have_been(self):
        self.assertIn("any host pass unchecked until", self.override("--for", "1h")["MESSAGE"])
        done, record = self.migrate(self.hv2)
        self.assert_passed(done, self.hv2)
        self.assert_fields(record, verdict="allow", reason="overridden", would_verdict="block",
                           would_reason="gap-over-block")
        self.assertIn("override in force; would have been block", record["MESSAGE"])
        self.assertEqual(record["PRIORITY"], "4")

    def test_cleared_it_blocks_again(self):
        self.override("--for", "1h")
        self.assertIn("override ended", self.override("--clear")["MESSAGE"])
        done, record = self.migrate(self.hv2)
        self.assert_blocked(done, "s ahead of")
        self.assert_fields(record, reason="gap-over-block")

    def test_for_one_source_only(self):
        self.override("--for", "1h", "--source", "hv3")
        self.assert_blocked(self.migrate(self.hv2)[0], "s ahead of")
        self.override("--for", "1h", "--source", "hv1")
        done, record = self.migrate(self.hv2)
        self.assert_passed(done, self.hv2)
        self.assert_fields(record, reason="overridden", source_host="hv1")

    def test_ends_by_itself(self):
        self.override("--for", "1s")
        status, document = self.dry_run(self.hv2, self.migratable_xml())
        self.assertEqual((status, document["overridden"]), (0, True))
        time.sleep(1.1)
        self.assert_blocked(self.migrate(self.hv2)[0], "s ahead of")


class Source(Scene):
    """Which host it comes from, and how far what is said about that is believed."""

    def test_unknown_without_a_stamp(self):
        self.begin(self.hv1)
        self.spoil_stamp()
        self.hv1.set_shift(5)
        self.configure(self.hv2, "[gap]\nsource-unknown = block\n")
        done, record = self.migrate(self.hv2)
        self.assert_blocked(done, "source host not known", "no origin stamp")
        self.assert_fields(record, reason="source-unknown", stamp="absent", gap_ns=None)
        self.hv2.path("/etc/timehandoff/timehandoff.conf").unlink()
        done, record = self.migrate(self.hv2)
        self.assert_passed(done, self.hv2)
        self.assert_fields(record, verdict="warn", reason="source-unknown")
        # From here on it is known.
        self.wait_stamped()

    def test_unreachable_when_nobody_answers_there(self):
        self.begin(self.hv1)
        self.stop(self.hv1, "peerd")
        self.configure(self.hv2, "[gap]\nsource-unreachable = block\n")
        done, record = self.migrate(self.hv2)
        self.assert_blocked(done, "source hv1 does not answer")
        self.assert_fields(record, reason="source-unreachable", stamp="silent", gap_ns=None)
        self.hv2.path("/etc/timehandoff/timehandoff.conf").unlink()
        done, record = self.migrate(self.hv2)
        self.assert_passed(done, self.hv2)
        self.assert_fields(record, verdict="warn", reason="source-unreachable")

    def test_peers_are_asked_when_there_is_no_stamp(self):
        self.begin(self.hv1)
        self.configure_peers(*self.hosts)
        self.spoil_stamp()
        self.hv1.set_shift(-5)
        done, record = self.migrate(self.hv2)
        self.assert_blocked(done, "s behind this host")
        self.assert_fields(record, reason="gap-over-block", stamp="absent",
                           source_found_by="peers", source_uuid=self.hv1.uuid)
        self.assert_gap(record, -5)
        self.hv1.set_shift(0)
        done, record = self.migrate(self.hv2)
        self.assert_passed(done, self.hv2)
        self.assert_fields(record, verdict="allow", source_found_by="peers", authenticated="no")
        self.assert_gap(record, 0)

    def test_two_peers_that_claim_it_are_as_good_as_none(self):
        self.begin(self.hv1)
        double = Guest("web1", self.hv3, self.guest.uuid)
        self.hv3.connection().createXML(double.xml(), libvirt.VIR_DOMAIN_START_PAUSED)
        self.addCleanup(double.destroy)
        wait_until("the double", lambda: self.published_domains(self.hv3).get(self.guest.uuid) ==
                   "paused")
        self.configure_peers(*self.hosts)
        self.spoil_stamp()
        self.hv1.set_shift(5)
        status, document = self.dry_run(self.hv2, self.migratable_xml())
        self.assertEqual((status, document["verdict"]["reason"],
                          document["source"]["peers_running"]), (3, "source-unknown", 2))
        done, record = self.migrate(self.hv2)
        self.assert_passed(done, self.hv2)
        self.assert_fields(record, verdict="warn", reason="source-unknown", gap_ns=None)
        self.assertIn("2 peers say that they run it", record["MESSAGE"])

    def offline_migrate(self, name):
        guest = self.hosts.guest(name, "hv1", wait=False)
        guest.domain().destroy()
        for host in (self.hv1, self.hv2):
            self.addCleanup(host.virsh, "undefine", name, check=False)
        wait_until("its end", lambda: self.published_domains(self.hv1).get(guest.uuid) in
                   (None, "inactive"))
        verdicts = Records(self.hv2, VERDICT)
        done = guest.migrate(self.hv2, live=False, extra=("--offline", "--persistent"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(name, self.hv2.virsh("list", "--all", "--name").stdout)
        return verdicts.one()

    def test_offline_is_not_believed_without_a_witness(self):
        self.begin(self.hv1)
        self.assert_fields(self.offline_migrate("off1"), verdict="warn", reason="source-unknown")

    def test_offline_is_allowed_when_peers_say_that_it_does_not_run(self):
        self.begin(self.hv1)
        self.configure_peers(*self.hosts)
        self.assert_fields(self.offline_migrate("off2"), verdict="allow", reason="offline")

    def test_answers_under_another_key_are_not_believed(self):
        self.begin(self.hv1)
        self.hv1.set_shift(0.02)

        def change(stamp):
            key = stamp.get("key")
            stamp.set("key", key[:-1] + ("0" if key[-1] != "0" else "1"))

        self.spoil_stamp(change)
        done, record = self.migrate(self.hv2)
        self.assert_blocked(done, "source hv1 answers, but not under the key expected")
        self.assert_fields(record, reason="unauthenticated", stamp="silent", authenticated="no")
        self.configure(self.hv2, "[gap]\nunauthenticated = warn\n")
        done, record = self.migrate(self.hv2)
        self.assert_passed(done, self.hv2)
        self.assert_fields(record, verdict="warn", reason="unauthenticated", authenticated="no")
        self.assert_gap(record, 0.02)

    def test_answers_of_another_host_than_the_stamp_names_are_not_believed(self):
        self.begin(self.hv1)
        self.spoil_stamp(lambda stamp: stamp.set("uuid", self.hv3.uuid))
        self.hv1.set_shift(5)
        done, record = self.migrate(self.hv2)
        self.assert_passed(done, self.hv2)
        self.assert_fields(record, verdict="warn", reason="source-unknown", stamp="other-host",
                           gap_ns=None)

    def test_back_at_once_after_an_arrival_never_measures_itself(self):
        self.begin(self.hv1)
        self.configure_peers(self.hv1, self.hv2)
        self.hv1.set_shift(0.1)
        for number in range(6):
            to = (self.hv2, self.hv1)[number % 2]
            done, record = self.migrate(to, p2p=bool(number & 2))
            self.assert_passed(done, to)
            # A host that asks itself finds no gap.
            self.assert_fields(record, verdict="warn", reason="gap-over-warn")
            self.assert_gap(record, 0.1 if to is self.hv2 else -0.1)
        # And whatever the many handoffs were at when it left: it is right in the end.
        wait_until("the clock to be handed over",
                   lambda: abs(self.guest.reading(self.hv1)[0]) < 0.005, 20.0,
                   [self.hv1.log("daemon")])

    def test_xml_of_the_caller_without_our_metadata_is_no_stamp(self):
        self.begin(self.hv1)
        xml = scene.ElementTree.fromstring(self.migratable_xml())
        xml.remove(xml.find("metadata"))
        self.hv1.path("/run/bare.xml").write_text(scene.ElementTree.tostring(xml, "unicode"))
        self.hv1.set_shift(5)
        done, record = self.migrate(self.hv2, extra=["--xml", "/run/bare.xml"])
        self.assert_passed(done, self.hv2)
        self.assert_fields(record, verdict="warn", reason="source-unknown", stamp="absent")

    def test_cancelled_migration_changes_nothing_about_where_it_runs(self):
        self.begin(self.hv1)
        verdicts = Records(self.hv2, VERDICT)
        virsh = self.migrate_slowly(self.hv2)
        self.assert_fields(verdicts.one(), verdict="allow")
        # Until it runs there, its clock is the source's.
        wait_until("the domain on its way in", lambda: self.published_domains(self.hv2)
                   .get(self.guest.uuid) == "unknown", logs=[self.hv2.log("daemon")])
        self.assertEqual(self.published_domains(self.hv1)[self.guest.uuid], "running")
        self.guest.domain().abortJob()
        self.assertNotEqual(virsh.wait(MIGRATE_DEADLINE_S), 0)
        wait_until("its end there", lambda: self.published_domains(self.hv2)
                   [self.guest.uuid] == "inactive")
        self.wait_stamped()
        self.hv1.set_shift(0.1)
        done, record = self.migrate(self.hv2)
        self.assert_passed(done, self.hv2)
        self.assert_fields(record, reason="gap-over-warn", stamp="used", authenticated="yes")
        self.assert_gap(record, 0.1)


class StaleStamp(Scene):
    """hv1 to hv2, whose daemon is down and doesn't restamp the guest, and on to hv3."""

    def setUp(self):
        super().setUp()
        self.begin(self.hv1)
        self.configure_peers(*self.hosts)
        self.configure(self.hv3, self.hv3.path("/etc/timehandoff/timehandoff.conf").read_text() +
                       "[gap]\nsource-unknown = block\n")
        # As after a boot at which the daemon didn't come up.
        self.stop(self.hv2, "daemon", "peerd")
        self.hv2.path("/run/timehandoff/host").unlink()
        self.hv2.start_peerd()
        done, _ = self.migrate(self.hv2, extra=["--persistent"])
        self.assert_passed(done, self.hv2)
        wait_until("hv1 to see it go", lambda: self.published_domains(self.hv1)
                   .get(self.guest.uuid) == "inactive")
        self.assertEqual(self.stamp().get("uuid"), self.hv1.uuid)

    def check_not_measured(self, to, stamp):
        for host in (self.hv1, self.hv2):
            with self.subTest(off=host.name):
                host.set_shift(5)
                done, record = self.migrate(to)
                host.set_shift(0)
                self.assert_blocked(done, "source host not known")
                self.assert_fields(record, reason="source-unknown", stamp=stamp, gap_ns=None)

    def test_is_not_measured_from_the_host_before(self):
        self.check_not_measured(self.hv3, "stale")

    def test_is_not_measured_from_the_host_before_whose_daemon_was_restarted(self):
        self.restart(self.hv1, "daemon")
        self.check_not_measured(self.hv3, "stale")

    def test_back_again_is_not_measured_from_the_destination_itself(self):
        self.configure(self.hv1, self.hv1.path("/etc/timehandoff/timehandoff.conf").read_text() +
                       "[gap]\nsource-unknown = block\n")
        self.check_not_measured(self.hv1, "names-us")

    def test_a_daemon_that_starts_late_restamps_it_and_makes_up_for_the_handoff(self):
        self.guest.set_clock(-30)
        handoffs = Records(self.hv2, HANDOFF)
        self.restart(self.hv2, "daemon")
        self.wait_stamped()
        record = handoffs.one(10)
        self.assert_fields(record, trigger="reconcile", source_host="hv1")
        self.assert_stepped(record)
        self.assert_right(record)
        self.hv1.set_shift(5)
        done, record = self.migrate(self.hv3)
        self.assert_passed(done, self.hv3)
        self.assert_fields(record, verdict="allow", source_uuid=self.hv2.uuid, stamp="used")
        self.assert_gap(record, 0)


class Keys(Scene):
    """Keys that somebody configured."""

    RING = "7 AES128 HEX:000102030405060708090a0b0c0d0e0f\n"

    def install_keys(self, host, text):
        self.addCleanup(host.path("/etc/timehandoff/keys").unlink)
        host.write_config(text, "keys")
        host.run(["chown", "root:timehandoff", "/etc/timehandoff/keys"])
        host.run(["chmod", "0640", "/etc/timehandoff/keys"])

    def setUp(self):
        super().setUp()
        self.begin(self.hv1)
        for host in (self.hv1, self.hv2):
            self.install_keys(host, self.RING)
        self.install_keys(self.hv3, self.RING.replace("0f\n", "0e\n"))
        self.configure_peers(*self.hosts)
        self.configure(self.hv1, self.hv1.path("/etc/timehandoff/timehandoff.conf").read_text() +
                       "[responder]\nrequire-key = yes\n", "peerd")

    def measure(self, host):
        done = self.timehandoff(host, "measure", "--json", self.hv1.address)
        return done.returncode, json.loads(done.stdout) if done.stdout else None

    def test_required_key(self):
        status, document = self.measure(self.hv2)
        self.assertEqual(status, 0)
        self.assertIs(document["authenticated"], True)
        # One bit of the key off: no answer under it, and none without, as one is required.
        self.assertEqual(self.measure(self.hv3)[0], 1)
        done, record = self.migrate(self.hv2)
        self.assert_passed(done, self.hv2)
        self.assert_fields(record, verdict="allow", stamp="used", authenticated="yes")

    def test_peers_are_asked_under_it(self):
        self.spoil_stamp()
        self.hv1.set_shift(0.1)
        done, record = self.migrate(self.hv3)
        self.assert_passed(done, self.hv3)
        self.assert_fields(record, verdict="warn", reason="source-unknown", gap_ns=None)
        self.begin(self.hv1)
        self.spoil_stamp()
        done, record = self.migrate(self.hv2)
        self.assert_passed(done, self.hv2)
        self.assert_fields(record, reason="gap-over-warn", source_found_by="peers",
                           authenticated="yes")
        self.assert_gap(record, 0.1)


class Synchronisation(Scene):
    """Hosts that are known to be wrong."""

    def test_no_guest_is_stepped_to_a_host_that_is_not_synchronised(self):
        self.begin(self.hv1)
        self.unsynchronise(self.hv2)
        calls, before_s = self.guest.set_time_calls(), -3.0
        self.guest.set_clock(before_s)
        handoffs = Records(self.hv2, HANDOFF)
        done, record = self.migrate(self.hv2)
        self.assert_passed(done, self.hv2)
        self.assert_fields(record, verdict="warn", reason="destination-unsynchronised",
                           destination_synchronised="no", source_synchronised="yes")
        self.assert_fields(handoffs.one(20), outcome="reported", decision="unsynchronised",
                           steps="0", trigger="migrated")
        self.assertEqual(self.guest.set_time_calls(), calls)
        self.assertLess(self.guest.reading()[0], before_s + 0.01)

    def test_source_that_is_wrong_and_knows_it(self):
        self.begin(self.hv1)
        self.unsynchronise(self.hv1)
        self.hv1.set_shift(5)
        done, record = self.migrate(self.hv2)
        self.assert_blocked(done, "hv1 is not synchronised", "chronyc makestep' there")
        self.assert_fields(record, reason="gap-source-wrong", source_synchronised="no",
                           destination_synchronised="yes")
        self.configure(self.hv2, "[gap]\ngap-source-wrong = allow\n"
                                 "source-unsynchronised = allow\n")
        done, record = self.migrate(self.hv2)
        self.assert_passed(done, self.hv2)
        self.assert_fields(record, verdict="allow", reason="gap-source-wrong")
        self.assert_gap(record, 5)


class Handoff(Scene):
    """What a guest's clock shows after it has arrived."""

    def check_right(self, record):
        """The guest is right by a reading of our own, and the record says the same as that."""
        self.assert_right(record)
        self.assert_stepped(record)

    def migrate_and_wait(self, to):
        handoffs, calls = Records(to, HANDOFF), self.guest.set_time_calls()
        done, verdict = self.migrate(to)
        self.assert_passed(done, to)
        record = handoffs.one(20)
        self.assertEqual(int(record["TIMEHANDOFF_STEPS"]), self.guest.set_time_calls() - calls)
        return verdict, record

    def test_guest_that_lost_time_is_stepped_and_the_record_is_true(self):
        self.begin(self.hv1)
        for to, lost_s in ((self.hv2, 0.3), (self.hv1, 40.0)):
            with self.subTest(lost_s=lost_s):
                self.wait_stamped()
                source = self.guest.host
                self.guest.set_clock(-lost_s)
                verdict, record = self.migrate_and_wait(to)
                self.assert_fields(record, trigger="migrated", source_host=source.name,
                                   stepped_by_other="no", gap_ns=verdict["TIMEHANDOFF_GAP_NS"])
                self.assertLess(int(record["TIMEHANDOFF_OFFSET_BEFORE_NS"]), -(lost_s - 0.01) * 1e9)
                self.assertGreater(int(record["TIMEHANDOFF_STEPPED_NS"]), (lost_s - 0.01) * 1e9)
                self.check_right(record)

    def test_guest_follows_the_destination_when_the_two_differ(self):
        self.begin(self.hv1)
        self.guest.set_clock(0)
        self.hv2.set_shift(0.2)
        _, record = self.migrate_and_wait(self.hv2)
        self.assert_stepped(record)
        self.assert_right(record, host=self.hv2)

    def test_guest_that_is_ahead_is_stepped_back_only_where_that_is_allowed(self):
        self.begin(self.hv1)
        self.guest.set_clock(5)
        _, record = self.migrate_and_wait(self.hv2)
        self.assert_fields(record, outcome="reported", decision="backward", steps="0")
        self.assertGreater(self.guest.reading()[0], 3)
        self.begin(self.hv2)
        self.addCleanup(lambda: self.set_metadata(POLICY_URI, None))
        self.set_metadata(POLICY_URI, "<policy backward='yes'/>")
        _, record = self.migrate_and_wait(self.hv1)
        self.check_right(record)

    def test_policy_of_a_domain_may_keep_its_guest_from_being_touched(self):
        self.begin(self.hv1)
        self.addCleanup(lambda: self.set_metadata(POLICY_URI, None))
        self.set_metadata(POLICY_URI, "<policy handoff='report'/>")
        self.guest.set_clock(-7)
        _, record = self.migrate_and_wait(self.hv2)
        self.assert_fields(record, outcome="reported", decision="report-only", steps="0")
        self.assertLess(self.guest.reading()[0], -6.9)

    def test_guest_that_arrives_paused_is_stepped_when_it_runs(self):
        self.begin(self.hv1)
        handoffs, calls = Records(self.hv2, HANDOFF), self.guest.set_time_calls()
        self.guest.domain().suspend()
        wait_until("hv1 to say so", lambda: self.published_domains(self.hv1)
                   [self.guest.uuid] == "paused")
        self.hv1.set_shift(0.1)
        done, record = self.migrate(self.hv2)
        self.assert_passed(done, self.hv2)
        self.assert_fields(record, reason="gap-over-warn", stamp="used", authenticated="yes")
        self.assertEqual(self.guest.domain().state()[0], libvirt.VIR_DOMAIN_PAUSED)
        wait_until("its stamp", lambda: self.stamp().get("uuid") == self.hv2.uuid)
        wait_until("hv2 to say so", lambda: self.published_domains(self.hv2)
                   [self.guest.uuid] == "paused")
        time.sleep(0.5)
        self.assertEqual(handoffs.new(), [])
        self.guest.domain().resume()
        record = handoffs.one(20)
        self.assertGreater(-int(record["TIMEHANDOFF_OFFSET_BEFORE_NS"]), 500e6)
        self.assertEqual(int(record["TIMEHANDOFF_STEPS"]), self.guest.set_time_calls() - calls)
        self.check_right(record)

    def test_post_copy_migration(self):
        self.begin(self.hv1)
        self.guest.set_clock(-3)
        handoffs, calls = Records(self.hv2, HANDOFF), self.guest.set_time_calls()
        lifecycle = Lifecycle(self.guest)
        self.addCleanup(lifecycle.close)
        virsh = self.migrate_slowly(self.hv2, "--postcopy")
        self.guest.domain().migrateStartPostCopy()
        self.assertEqual(virsh.wait(MIGRATE_DEADLINE_S), 0)
        self.guest.drop_channel()
        self.guest.host = self.hv2
        # It did run there before all of its memory had come.
        self.assertIn((libvirt.VIR_DOMAIN_EVENT_SUSPENDED,
                       libvirt.VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY), lifecycle.events)
        # It is resumed twice: at the switch, and when the last of its memory has come.
        wait_until("a handoff that comes to an end", lambda: any(
            record["TIMEHANDOFF_OUTCOME"] != "void" for record in handoffs.new()), 20.0,
                   [self.hv2.log("daemon")])
        self.assertEqual(sum(int(record["TIMEHANDOFF_STEPS"]) for record in handoffs.new()),
                         self.guest.set_time_calls() - calls)
        self.check_right(handoffs.new()[-1])

    def test_plain_boot_is_none_of_our_business(self):
        handoffs = Records(self.hv3, HANDOFF)
        guest = self.hosts.guest("web2", "hv3", memory_mib=96)
        self.addCleanup(guest.destroy)
        guest.step_clock(-30)
        wait_until("its stamp", lambda: ORIGIN_URI in guest.domain().XMLDesc())
        time.sleep(1)
        self.assertEqual(handoffs.new(), [])
        self.assertNotIn("guest-get-time", guest.agent_log())
        self.assertEqual(guest.set_time_calls(), 0)


class Sync(Scene):
    """`timehandoff sync`."""

    def sync(self, host):
        done = self.timehandoff(host, "sync", "--json", "web1")
        return done, json.loads(done.stdout) if done.stdout else None

    def test_steps_verifies_and_then_has_nothing_to_do(self):
        self.begin(self.hv1)
        self.guest.set_clock(-30)
        calls = self.guest.set_time_calls()
        done, document = self.sync(self.hv1)
        right = abs(document["residual"]["offset_ns"]) <= scene.TARGET_NS
        self.assertEqual((done.returncode, document["outcome"], document["trigger"]),
                         (0, "stepped" if right else "improved", "request"))
        offset_s, bound_s = self.guest.reading()
        self.assertLess(abs(offset_s) + bound_s, RIGHT_S if right else IMPROVED_S)
        self.assertEqual(self.guest.set_time_calls() - calls, document["steps"])
        done, document = self.sync(self.hv1)
        self.assertEqual((done.returncode, document["outcome"]), (0, "not-needed"))
        self.assertEqual(document["steps"], 0)

    def test_never_from_a_host_that_is_not_synchronised(self):
        self.begin(self.hv1)
        self.addCleanup(self.hv1.set_synced, True)
        self.hv1.set_synced(False)
        self.guest.set_clock(-30)
        calls = self.guest.set_time_calls()
        done, document = self.sync(self.hv1)
        self.assertEqual((done.returncode, document["outcome"], document["decision"]),
                         (1, "reported", "unsynchronised"))
        self.assertEqual(self.guest.set_time_calls(), calls)
        self.assertLess(self.guest.reading()[0], -29.9)

    def test_refused_while_the_daemon_is_at_it(self):
        self.begin(self.hv1)
        lock = self.hv1.path(f"/run/timehandoff/locks/{self.guest.uuid}")
        handoffs = Records(self.hv1, HANDOFF)
        agent = self.guest.agent_pid()
        self.guest.exec(["kill", "-STOP", agent])
        try:
            self.guest.domain().suspend()
            time.sleep(0.2)
            self.guest.domain().resume()
            wait_until("the daemon's handoff", lock.exists, 5.0, [self.hv1.log("daemon")])
            done = self.timehandoff(self.hv1, "sync", "web1")
        finally:
            self.guest.exec(["kill", "-CONT", agent])
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertEqual(done.stderr.count("\n"), 1)
        self.assertIn("'web1' is under way", done.stderr)
        record = handoffs.one(20)
        self.assert_fields(record, trigger="unpaused")
        self.assert_stepped(record)


class Hook(Scene):
    """The installed hook, called as libvirt calls it."""

    PASSWORD = "hunter2-for-vnc"

    def call(self, xml):
        verdicts = Records(self.hv2, VERDICT)
        done = self.hv2.run([HOOK, "web1", "migrate", "begin", "-"], check=False, input=xml)
        # libvirt takes stdout for a new domain.
        self.assertEqual(done.stdout, "")
        return done, verdicts.one()

    def test_writes_no_secret_of_the_domain_anywhere(self):
        self.begin(self.hv1)
        graphics = f"<graphics type='vnc' port='5999' passwd='{self.PASSWORD}'/></devices>"
        xml = self.migratable_xml().replace("</devices>", graphics)
        self.assertIn(self.PASSWORD, xml)
        key = self.stamp().get("key").removeprefix("HEX:")
        for shift_s, status in ((0, 0), (5, 1)):
            self.hv1.set_shift(shift_s)
            done, record = self.call(xml)
            self.assertEqual(done.returncode, status, done.stderr)
            self.assert_fields(record, stamp="used", authenticated="yes")
            for secret in (self.PASSWORD, key):
                self.assertNotIn(secret, json.dumps(self.hv2.journal()))
                self.assertNotIn(secret, done.stderr)

    def test_xml_that_says_nothing_is_a_source_unknown(self):
        for xml in ("", "<domain", "<domain><name>web1</name></domain>", "\0" * 100):
            with self.subTest(xml=xml):
                done, record = self.call(xml)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assert_fields(record, verdict="warn", reason="source-unknown", gap_ns=None)


class Restart(Scene):
    """Daemons that end and come back."""

    def test_libvirtd_comes_back_under_the_daemon(self):
        for number in (signal.SIGTERM, signal.SIGKILL):
            with self.subTest(number=number):
                self.begin(self.hv1)
                lost = len(self.hv1.journal())
                self.hv1.restart_libvirtd(number)
                wait_until("the daemon to notice", lambda: any(
                    "connected to libvirt" in entry["MESSAGE"]
                    for entry in self.hv1.journal()[lost:]), 10.0, [self.hv1.log("journal")])
                self.wait_published(self.hv1)
                self.assertEqual(self.published_domains(self.hv1)[self.guest.uuid], "running")
                self.hv1.set_shift(0.1)
                done, record = self.migrate(self.hv2)
                self.assert_passed(done, self.hv2)
                self.assert_fields(record, reason="gap-over-warn", stamp="used",
                                   authenticated="yes")
                self.hv1.set_shift(0)
                self.guest.set_clock(-30)
                # And the other way: it sees a guest arrive on the connection that it made anew.
                self.wait_stamped()
                handoffs = Records(self.hv1, HANDOFF)
                done, _ = self.migrate(self.hv1)
                self.assert_passed(done, self.hv1)
                record = handoffs.one(20)
                self.assert_fields(record, trigger="migrated", source_host="hv2")
                self.assert_stepped(record)

    def test_stamp_is_answered_all_through_a_restart_of_the_daemon(self):
        self.begin(self.hv1)
        xml, stamp = self.migratable_xml(), self.metadata(ORIGIN_URI)
        for number in (signal.SIGTERM, signal.SIGKILL):
            with self.subTest(number=number):
                restart = threading.Thread(target=self.restart, args=(self.hv1, "daemon"),
                                           kwargs={"number": number})
                restart.start()
                documents = []
                while restart.is_alive() or len(documents) < 5:
                    documents.append(self.dry_run(self.hv2, xml)[1])
                restart.join()
                self.assertLessEqual(
                    {(d["verdict"]["reason"], d["source"]["stamp"]) for d in documents},
                    {("gap-ok", "used"), ("gap-uncertain", "used")},
                    f"in {len(documents)} dry runs")
                done, record = self.migrate(self.hv2)
                self.assert_passed(done, self.hv2)
                self.assert_fields(record, stamp="used", authenticated="yes")
                self.begin(self.hv1)
                self.assertEqual(self.stamp().get("key"), self.key_of(stamp))

    @staticmethod
    def key_of(xml):
        return scene.ElementTree.fromstring(xml).get("key")

    def test_time_is_handed_over_by_a_daemon_that_was_killed_in_a_handoff(self):
        self.begin(self.hv1)
        lock = self.hv1.path(f"/run/timehandoff/locks/{self.guest.uuid}")
        agent = self.guest.agent_pid()
        self.guest.exec(["kill", "-STOP", agent])
        try:
            self.guest.domain().suspend()
            self.guest.domain().resume()
            wait_until("the daemon's handoff", lock.exists, 5.0, [self.hv1.log("daemon")])
            self.restart(self.hv1, "daemon", number=signal.SIGKILL)
        finally:
            self.guest.exec(["kill", "-CONT", agent])
        # What the dead one had changed about the agent is undone, and its lock is nobody's.
        wait_until("the lock to go", lambda: not lock.exists())
        self.guest.set_clock(-30)
        self.timehandoff(self.hv1, "sync", "web1")
        offset_s, bound_s = self.guest.reading()
        self.assertLess(abs(offset_s) + bound_s, IMPROVED_S)


if __name__ == "__main__":
    unittest.main(verbosity=2)
