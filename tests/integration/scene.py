# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests with real hosts and a real guest share: one scene, many tests.

A test module calls enter() before anything else and bring_up() in its setUpModule; the hosts, with
both daemons, and the guest web1 then serve all its tests. Every test says with begin() where the
guest is to run, changes what it likes through the methods below, which undo it afterwards, and
finds the tails of all logs on stderr if it fails.
"""

import json
import os
import pathlib
import signal
import sys
import threading
import unittest
import xml.etree.ElementTree as ElementTree

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "hosts"))

import libvirt  # noqa: E402

from hostkit import LoggedCase, enter  # noqa: E402, F401
from hosts import Hosts, wait_until  # noqa: E402

# Message ids, as in include/timehandoff/report.h.
VERDICT = "afe8100e7f144f3c78a3a5f1614874a4"
HANDOFF = "b50a2fdfa4b6eefaaf8e046e0108abb8"
OVERRIDE = "ef400fc88fc4cab6b456656dd1b7d12e"

ORIGIN_URI = "urn:timehandoff:origin:1"
POLICY_URI = "urn:timehandoff:1"
HOOK = "/etc/libvirt/hooks/qemu.d/50-timehandoff"
# Over this a residual is corrected again: [handoff] target.
TARGET_NS = 1000000
# A guest is right when no more than this is wrong with it, by an independent reading. One that
# answered too unevenly for corrections to help is still within the deadband, and said to be.
RIGHT_S = 0.005
IMPROVED_S = 0.02
# What a guest may drift between two looks at its clock.
DRIFT_S = 0.001
DAEMONS = {"peerd": "start_peerd", "daemon": "start_daemon"}


def _run_events():
    while True:
        libvirt.virEventRunDefaultImpl()


def bring_up(*names):
    """For setUpModule: hosts with daemons and the guest web1 on the first; down with the module."""
    # Before the first connection, or there are no events on it.
    libvirt.virEventRegisterDefaultImpl()
    threading.Thread(target=_run_events, daemon=True).start()
    Scene.hosts = unittest.enterModuleContext(Hosts(names, os.environ["TH_STAGE"]))
    for host in Scene.hosts:
        host.start_peerd()
        host.start_daemon()
    Scene.guest = Scene.hosts.guest("web1", names[0])


class Records:
    """The journal records of one kind that a host gets from now on."""

    def __init__(self, host, message_id):
        self._host, self._id = host, message_id
        self._before = len(self._all())

    def _all(self):
        return self._host.journal(MESSAGE_ID=self._id)

    def new(self):
        return self._all()[self._before:]

    def one(self, deadline_s=5.0):
        """Waits for a record and returns it; it is an error if it is not the only one."""
        found = wait_until(f"a record {self._id} on {self._host.name}", self.new, deadline_s,
                           [self._host.log("journal"), self._host.log("daemon")])
        if len(found) != 1:
            raise AssertionError(f"{len(found)} records where one was due: {found}")
        return found[0]


class Lifecycle:
    """What libvirt tells of the life of one domain, from now on."""

    MARK = "urn:timehandoff:test:mark"

    def __init__(self, guest):
        self.events, self._marks = [], 0
        self._connection = libvirt.open(guest.host.uri)
        self._domain = self._connection.lookupByName(guest.name)
        for kind, callback in ((libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._on_event),
                               (libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, self._on_mark)):
            self._connection.domainEventRegisterAny(self._domain, kind, callback, None)

    def _on_event(self, _connection, _domain, event, detail, _opaque):
        self.events.append((event, detail))

    def _on_mark(self, _connection, _domain, _kind, uri, _opaque):
        self._marks += uri == self.MARK

    def settle(self):
        """Returns when everything has been told that happened up to now."""
        # Events come in their order: when these have come, no earlier one is still on its way.
        for xml in ("<mark/>", None):
            self._domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, xml, "mark", self.MARK,
                                     libvirt.VIR_DOMAIN_AFFECT_LIVE)
        wait_until("libvirt's events", lambda: self._marks == 2)

    def close(self):
        self._connection.close()


class Scene(LoggedCase):
    """Base of the tests; hosts and guest are there once bring_up() has run."""

    guest = None

    def setUp(self):
        self.hv1, self.hv2, self.hv3 = self.hosts
        for host in self.hosts:
            self.addCleanup(host.set_shift, 0)

    # The guest

    def begin(self, host):
        """Has the guest run on that host, stamped by it, with nothing under way."""
        if self.guest.host is not host:
            done = self.guest.migrate(host)
            self.assertEqual(done.returncode, 0, done.stderr)
        self.wait_stamped()
        wait_until("the end of handoffs",
                   lambda: not host.path(f"/run/timehandoff/locks/{self.guest.uuid}").exists(),
                   40.0, [host.log("journal"), host.log("daemon")])

    def metadata(self, uri, host=None):
        """An element of the guest's live metadata, or None."""
        try:
            return self.guest.domain(host).metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, uri,
                                                    libvirt.VIR_DOMAIN_AFFECT_LIVE)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_METADATA:
                return None
            raise

    def set_metadata(self, uri, xml, prefix="th"):
        """Replaces an element of the guest's live metadata; None removes it."""
        self.guest.domain().setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, xml, prefix, uri,
                                        libvirt.VIR_DOMAIN_AFFECT_LIVE)

    def stamp(self):
        xml = self.metadata(ORIGIN_URI)
        return ElementTree.fromstring(xml) if xml else None

    def wait_stamped(self):
        """Waits until the guest's host has stamped it and says to others that it runs there."""
        host = self.guest.host

        def is_stamped():
            stamp = self.stamp()
            return (stamp is not None and stamp.get("uuid") == host.uuid and
                    self.published_domains(host).get(self.guest.uuid) == "running")

        wait_until(f"a stamp by {host.name}", is_stamped, 10.0,
                   [host.log("journal"), host.log("daemon")])

    def spoil_stamp(self, change=None):
        """Changes the live stamp, or removes it, behind the daemon's back; undone afterwards."""
        self.addCleanup(self.restore_stamp, self.guest.host, self.metadata(ORIGIN_URI))
        stamp = self.stamp()
        if change is None:
            self.set_metadata(ORIGIN_URI, None, "tho")
            return
        change(stamp)
        # libvirt adds prefix and namespace itself.
        self.set_metadata(ORIGIN_URI, ElementTree.tostring(stamp, encoding="unicode"), "tho")

    def restore_stamp(self, host, xml):
        if self.guest.host is host:
            self.set_metadata(ORIGIN_URI, xml, "tho")

    def migrate(self, to, **options):
        """(virsh's result, the record of the one verdict that it led to)."""
        verdicts = Records(to, VERDICT)
        done = self.guest.migrate(to, **options)
        return done, verdicts.one()

    def migrate_slowly(self, to, *extra):
        """A virsh that is at it, with most of the guest's memory still to go; ended afterwards."""
        domain = self.guest.domain()
        virsh = self.guest.host.spawn(["virsh", "migrate", "--live", "--bandwidth", "1", *extra,
                                       self.guest.name, f"qemu+tcp://{to.address}/system"],
                                      "virsh")
        self.addCleanup(virsh.wait)
        self.addCleanup(lambda: virsh.poll() is None and domain.abortJob())
        wait_until("memory on its way", lambda: domain.jobStats().get("memory_processed"), 10.0,
                   [self.guest.host.log("virsh")])
        return virsh

    # The hosts

    def configure(self, host, text, *restart):
        """Writes a host's configuration and restarts the daemons named; undone afterwards."""
        self.addCleanup(self.restart, host, *restart)
        self.addCleanup(host.path("/etc/timehandoff/timehandoff.conf").unlink, missing_ok=True)
        host.write_config(text)
        self.restart(host, *restart)

    def configure_peers(self, *hosts, keys=""):
        """Has these hosts know each other as peers; returns when they do."""
        for host in hosts:
            lines = [f"peer = {peer.address}{keys}" for peer in hosts if peer is not host]
            host.path("/run/timehandoff/peers/peers").unlink(missing_ok=True)
            self.configure(host, "\n".join(["[peers]", *lines, ""]), "peerd")
        for host in hosts:
            path = host.path("/run/timehandoff/peers/peers")
            wait_until(f"peers of {host.name}", path.exists, 5.0, [host.log("journal")])

    def restart(self, host, *names, number=signal.SIGTERM):
        """Restarts daemons; the one that holds libvirt has looked around when this returns."""
        for name in names:
            if host.is_running(name):
                host.stop(name, number)
            published = self.published_when(host)
            getattr(host, DAEMONS[name])()
            if name == "daemon":
                self.wait_published(host, published)

    def stop(self, host, *names, number=signal.SIGTERM):
        """Stops daemons until the test is over."""
        for name in names:
            self.addCleanup(self.start_again, host, name)
            host.stop(name, number)

    def start_again(self, host, name):
        if not host.is_running(name):
            self.restart(host, name)

    def published(self, host):
        """What the daemon of a host publishes, as a list of (section, fields)."""
        try:
            text = host.path("/run/timehandoff/host").read_text()
        except FileNotFoundError:
            return []
        sections = []
        for line in text.splitlines():
            if line.startswith("["):
                sections.append((line.strip("[]"), {}))
            elif "=" in line:
                name, value = line.split("=", 1)
                sections[-1][1][name.strip()] = value.strip()
        return sections

    def published_host(self, host):
        return next((fields for section, fields in self.published(host) if section == "host"), {})

    def published_domains(self, host):
        """State by UUID."""
        return {fields["uuid"]: fields["state"] for section, fields in self.published(host)
                if section == "domain"}

    @staticmethod
    def published_when(host):
        path = host.path("/run/timehandoff/host")
        return path.stat().st_mtime_ns if path.exists() else None

    def wait_published(self, host, earlier=None):
        """Waits until the daemon of a host knows its domains and whether it is synchronised.

        earlier is the time of what was published by a daemon before it.
        """
        def is_known():
            fields = self.published_host(host)
            return (self.published_when(host) != earlier and
                    fields.get("domains-known") == "yes" and
                    fields.get("synchronised") != "unknown")

        wait_until(f"the daemon of {host.name}", is_known, 10.0,
                   [host.log("journal"), host.log("daemon")])

    def unsynchronise(self, host):
        """Takes a host's time source away, and has its daemon see it; undone afterwards."""
        self.addCleanup(self.restart, host, "daemon")
        self.addCleanup(host.set_synced, True)
        host.set_synced(False)
        self.restart(host, "daemon")
        self.assertEqual(self.published_host(host)["synchronised"], "no")

    def timehandoff(self, host, *argv, check=False, **options):
        return host.run(["timehandoff", *argv], check=check, **options)

    def dry_run(self, to, xml, *argv):
        """(exit status, document) of a dry run on a host, with the XML on standard input."""
        done = self.timehandoff(to, "dry-run", "--json", *argv, "-", input=xml)
        return done.returncode, json.loads(done.stdout) if done.stdout else None

    def migratable_xml(self):
        return self.guest.host.virsh("dumpxml", "--migratable", self.guest.name).stdout

    # What is true

    def assert_fields(self, record, **fields):
        """The record's TIMEHANDOFF_ fields are these; None: there is no such field."""
        wish = {f"TIMEHANDOFF_{name.upper()}": value for name, value in fields.items()}
        self.assertEqual({name: record.get(name) for name in wish}, wish, record["MESSAGE"])

    def assert_gap(self, record, truth_s):
        """The true gap is within the bound that the record claims, and the bound is a tight one."""
        gap_ns, bound_ns = (int(record[f"TIMEHANDOFF_GAP_{n}"]) for n in ("NS", "BOUND_NS"))
        self.assertLessEqual(abs(gap_ns - round(truth_s * 1e9)), bound_ns, record["MESSAGE"])
        self.assertLess(bound_ns, 50e6, record["MESSAGE"])

    def assert_stepped(self, record):
        """The guest was stepped, and the record says truly whether the target was reached."""
        # On a busy machine a guest may answer too unevenly for the target.
        right = abs(int(record["TIMEHANDOFF_RESIDUAL_NS"])) <= TARGET_NS
        self.assert_fields(record, outcome="stepped" if right else "improved")
        self.assertGreater(int(record["TIMEHANDOFF_STEPS"]), 0)

    def assert_right(self, record=None, guest=None, host=None):
        """The guest's clock is right by a reading of our own, or as right as its record says.

        Right is the clock of the host that is named, if there is one, or else the machine's.
        """
        offset_s, bound_s = (guest or self.guest).reading(host)
        within_s = RIGHT_S
        if record:
            residual_s, residual_bound_s = self.offset_of(record, "RESIDUAL")
            self.assertAlmostEqual(residual_s, offset_s, msg=record["MESSAGE"],
                                   delta=residual_bound_s + bound_s + DRIFT_S)
            # On a busy machine the daemon's own reading was a wide one, too.
            within_s = IMPROVED_S if record["TIMEHANDOFF_OUTCOME"] == "improved" else \
                RIGHT_S + min(residual_bound_s, IMPROVED_S)
        self.assertLess(abs(offset_s) + bound_s, within_s, record and record["MESSAGE"])
        return offset_s, bound_s

    @staticmethod
    def offset_of(record, name):
        """(offset, bound) in seconds, out of a record."""
        return tuple(int(record[f"TIMEHANDOFF_{name}_{unit}"]) / 1e9 for unit in ("NS", "BOUND_NS"))

    def assert_passed(self, done, to):
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIs(self.guest.host, to)

    def assert_blocked(self, done, *words):
        """libvirt gave up, and its client saw our one line, which holds these words."""
        self.assertNotEqual(done.returncode, 0)
        start = f"timehandoff: blocked migration of {self.guest.name}: "
        lines = [line for line in done.stderr.splitlines() if start in line]
        self.assertEqual(len(lines), 1, done.stderr)
        self.assertEqual(done.stderr.count("timehandoff: "), 1, done.stderr)
        for word in words:
            self.assertIn(word, lines[0].split(start)[1])
        self.assertEqual(self.guest.domain().state()[0], libvirt.VIR_DOMAIN_RUNNING)
