# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of handoffs share: a guest that is put wrong, a flow, and the proof of what came.

The proof never rests on the record alone: the guest's clock is read on the test's own channel, and
the steps are counted in the log that the agent keeps in the guest.
"""

import contextlib
import os
import re
import signal
import time

import libvirt

from hosts import Failure, wait_until
from scene import HANDOFF, RIGHT_S, Records, Scene

DEADLINE_S = 40.0
# What an emulated guest may lose by itself.
LOST_NS = 1_000_000_000
# A daemon that starts looks at a guest sooner, unless something keeps it from that.
FIRST_LOOK_S = 1.0
IS_LONG = bool(os.environ.get("TH_LONG"))


class Handoffs(Records):
    """The records of one guest's handoffs that a host gets from now on.

    A regular look that found the guest a little behind is none: a guest that is emulated on a busy
    machine loses time.
    """

    def __init__(self, host, guest):
        self._name = guest.name
        super().__init__(host, HANDOFF)

    def _all(self):
        return [entry for entry in self._host.journal(MESSAGE_ID=self._id,
                                                      TIMEHANDOFF_DOMAIN_NAME=self._name)
                if entry["TIMEHANDOFF_DECISION"] != "no-event" or
                abs(int(entry["TIMEHANDOFF_OFFSET_BEFORE_NS"])) >= LOST_NS]


class Flow(Scene):
    """Base of the tests that take a guest through something on two hosts."""

    def setUp(self):
        self.hv1, self.hv2 = self.hosts
        for host in self.hosts:
            self.addCleanup(host.set_shift, 0)

    def settle(self, host=None):
        """Brings the guest to a host and waits until no handoff of it is due there."""
        if host and self.guest.host is not host:
            done = self.guest.migrate(host)
            self.assertEqual(done.returncode, 0, done.stderr)
        self.wait_stamped()
        self.wait_idle()

    def is_due(self):
        """Whether the daemon of the guest's host has still to do a handoff of it."""
        return any(fields.get("handoff-due") == "yes" for section, fields
                   in self.published(self.guest.host)
                   if section == "domain" and fields["uuid"] == self.guest.uuid)

    def lock(self):
        """What is there while the guest's agent is held for a handoff."""
        return self.guest.host.path(f"/run/timehandoff/locks/{self.guest.uuid}")

    def wait_idle(self):
        host = self.guest.host
        wait_until("the end of handoffs", lambda: not self.is_due() and not self.lock().exists(),
                   DEADLINE_S, [host.log("journal"), host.log("daemon")])

    def begin(self, host):
        self.settle(host)

    def looks(self):
        """How often the guest's clock was read through its agent; None if it does not run."""
        with contextlib.suppress(libvirt.libvirtError):
            if self.guest.domain().state()[0] == libvirt.VIR_DOMAIN_RUNNING:
                return self.guest.agent_log().count('"execute":"guest-get-time"')
        return None

    def restart(self, host, *names, number=signal.SIGTERM):
        """The same; and the daemon's first look at the guest has begun, as a rule.

        Else that look would find what a test does to the guest next.
        """
        looks = self.looks() if "daemon" in names and self.guest.host is host else None
        super().restart(host, *names, number=number)
        if looks is not None:
            with contextlib.suppress(Failure):
                wait_until("the first look", lambda: self.looks() != looks, FIRST_LOOK_S)

    def handoffs(self, host=None):
        """The records of the guest's handoffs on a host (its own, if none is named) from now on."""
        return Handoffs(host or self.guest.host, self.guest)

    def pause(self, lost_s=None):
        """Suspends the guest, and resumes it when its clock has fallen behind by so much."""
        domain = self.guest.domain()
        domain.suspend()
        if lost_s:
            time.sleep(lost_s)
        domain.resume()

    @contextlib.contextmanager
    def stopped_agent(self):
        """The guest's agent does not run meanwhile: what is sent to it waits."""
        agent = self.guest.agent_pid()
        self.guest.exec(["kill", "-STOP", agent])
        try:
            yield
        finally:
            self.guest.exec(["kill", "-CONT", agent])

    def status_timeout(self):
        """libvirt's time-out for the guest's agent as in its own state; None: never changed."""
        text = self.guest.host.path(f"/run/libvirt/qemu/{self.guest.name}.xml").read_text()
        found = re.search(r"<agentTimeout>(-?\d+)</agentTimeout>", text)
        return int(found.group(1)) if found else None

    def assert_timeout_is_default(self):
        """Other users of the agent have libvirt's own time-out, which is none."""
        # A moment after the record.
        wait_until("libvirt's own time-out", lambda: self.status_timeout() in
                   (None, libvirt.VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK))

    # The proof

    def check(self, record, calls, trigger, lost_s=None):
        """The guest is right, and the record tells the truth about how it came to be.

        calls is how often its agent had been told to set the clock before.
        """
        self.assert_fields(record, trigger=trigger)
        self.assert_stepped(record)
        self.assert_right(record)
        self.assertEqual(int(record["TIMEHANDOFF_STEPS"]), self.guest.set_time_calls() - calls)
        if lost_s is not None:
            before_s, _ = self.offset_of(record, "OFFSET_BEFORE")
            self.assertLess(before_s, -lost_s + RIGHT_S, record["MESSAGE"])
            stepped_s = int(record["TIMEHANDOFF_STEPPED_NS"]) / 1e9
            self.assertAlmostEqual(stepped_s, -before_s, delta=0.02, msg=record["MESSAGE"])
        self.assert_timeout_is_default()

    def check_untouched(self, records, calls, wrong_s, **fields):
        """The one record says that nothing was done, and nothing was: the clock is still wrong."""
        record = records.one(DEADLINE_S)
        self.assert_fields(record, steps="0", stepped_ns="0", residual_ns=None, **fields)
        self.assertEqual(self.guest.set_time_calls(), calls)
        self.assertAlmostEqual(self.guest.reading()[0], wrong_s, delta=1.0)
        self.assert_timeout_is_default()
        return record
