#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Handoffs with everything going wrong that can: agents, libvirtd and our daemon at bad moments.

Needs root, what tests/hosts/install fetches, and in TH_STAGE a staged install. In the guest, the
agent is stopped in the moment in which it sets the clock (see agent_hold.c), so that what happens
then happens there and nowhere else.
"""

import base64
import pathlib
import signal
import sys
import tempfile
import time
import unittest

sys.dont_write_bytecode = True

import scene  # noqa: E402

if __name__ == "__main__":
    scene.enter()

import bed  # noqa: E402
from flows import DEADLINE_S, Flow  # noqa: E402
from hosts import wait_until  # noqa: E402
from scene import IMPROVED_S  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
# Longer than the real hwclock takes, and short enough to wait for.
AGENT_TIMEOUT_S = 4
CONFIG = f"[handoff]\nagent-timeout = {AGENT_TIMEOUT_S}s\n"
# Message id of the looks at a clock some time after a handoff, as in include/timehandoff/report.h.
RECHECK = "1c97dcdb1818c62fdbaaac44c5fdc683"
# In place of the agent: the agent, with what the test adds.
WRAPPER = """#!/bin/sh
LD_PRELOAD=/agent_hold.so exec /usr/sbin/qemu-ga.real "$@" $(cat /run/agent.arguments)
"""


def setUpModule():
    scene.bring_up("hv1", "hv2")
    host = Flow.hosts["hv1"]
    host.write_config(CONFIG)
    host.stop_daemon()
    host.start_daemon()


class NoAgent(Flow):
    """A guest that has no channel for an agent."""

    def test_is_said_once_and_nothing_waits_for_it(self):
        self.guest = self.hosts.guest("web2", "hv1", agent=False, memory_mib=96)
        self.addCleanup(self.guest.destroy)
        self.settle()
        handoffs, logged = self.handoffs(), len(self.hv1.journal())
        self.guest.step_clock(-3)
        for _ in range(3):
            self.pause()
            time.sleep(0.5)
            self.wait_idle()
        record = handoffs.one()
        self.assert_fields(record, outcome="no-agent", trigger="unpaused", steps="0",
                           offset_before_ns=None)
        lines = [entry for entry in self.hv1.journal()[logged:] if "web2" in entry["MESSAGE"]]
        self.assertEqual(lines, [record])
        # One handoff that ends before its time, by the next pause, doesn't start it all over.
        for _ in range(8):
            self.pause()
        time.sleep(0.5)
        self.wait_idle()
        outcomes = {record["TIMEHANDOFF_OUTCOME"] for record in handoffs.new()[1:]}
        self.assertLessEqual(outcomes, {"void"})


class Fault(Flow):
    """Faults of the guest's agent and around it; the guest is on hv1."""

    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory() as folder:
            bed.call("cc", "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-shared",
                     "-fPIC", "-o", f"{folder}/hold.so", HERE / "agent_hold.c")
            cls.write("/agent_hold.so", pathlib.Path(folder, "hold.so").read_bytes())
        cls.guest.exec(["mv", "/usr/sbin/qemu-ga", "/usr/sbin/qemu-ga.real"])
        cls.write("/usr/sbin/qemu-ga", WRAPPER.encode())
        cls.guest.exec(["cp", "/sbin/hwclock", "/sbin/hwclock.real"])
        cls.guest.exec(["sh", "-c", "chmod 755 /usr/sbin/qemu-ga; : >/run/agent.arguments; "
                                    ": >/run/steps"])
        cls.renew_agent()

    @classmethod
    def write(cls, path, data):
        """Writes a file in the guest."""
        channel = cls.guest.channel()
        handle = channel.ask("guest-file-open", path=path, mode="w")
        channel.ask("guest-file-write", handle=handle, buf_b64=base64.b64encode(data).decode())
        channel.ask("guest-file-close", handle=handle)

    @classmethod
    def renew_agent(cls):
        """Ends the agent; its supervisor starts another one."""
        old = cls.guest.agent_pid()
        cls.guest.exec(["kill", "-KILL", old])
        wait_until("another agent", lambda: cls.guest.agent_pid() not in (None, old), DEADLINE_S)
        wait_until("libvirt to see it", lambda: cls.guest.agent_state() == "connected", DEADLINE_S)

    def setUp(self):
        super().setUp()
        self.settle()
        self.guest.set_clock(0)
        self.guest.exec(["sh", "-c", ": >/run/steps"])
        self.logged = len(self.hv1.journal())

    def steps(self):
        """How often the agent has really set the clock in this test."""
        return self.guest.exec(["cat", "/run/steps"]).stdout.count("step")

    def hold(self, where):
        """Stops the agent the next time it sets the clock, before or after it has."""
        path = f"/run/hold-{where}"
        self.guest.exec(["touch", path])
        self.addCleanup(self.guest.exec, ["rm", "-f", path])

    def wait_held(self):
        """Waits until the agent is stopped, and returns its process."""
        agent = self.guest.agent_pid()

        def is_stopped():
            stat = self.guest.exec(["cat", f"/proc/{agent}/stat"]).stdout
            return stat.rpartition(")")[2].split()[0] == "T"

        wait_until("the agent to be held", is_stopped, DEADLINE_S, [self.hv1.log("journal")])
        return agent

    def release(self, agent):
        self.guest.exec(["kill", "-CONT", agent])

    def ended(self, handoffs):
        """The one record of a handoff, once all is over; nothing else was said of the guest."""
        record = handoffs.one(2 * DEADLINE_S)
        self.wait_idle()
        said = [entry for entry in self.hv1.journal()[self.logged:]
                if self.guest.name in entry["MESSAGE"] and entry.get("MESSAGE_ID") != RECHECK]
        self.assertEqual(said, [record])
        return record

    def check_ended(self, handoffs, **fields):
        """The guest is right, and the one record tells truly of what was done."""
        record = self.ended(handoffs)
        self.assert_stepped(record)
        self.assert_fields(record, **fields)
        self.assertEqual(int(record["TIMEHANDOFF_STEPS"]), self.steps())
        if record["TIMEHANDOFF_STEPPED_BY_OTHER"] == "no":
            # However many steps it took: together no more than was lost.
            before_s, residual_s = (self.offset_of(record, name)[0]
                                    for name in ("OFFSET_BEFORE", "RESIDUAL"))
            self.assertAlmostEqual(int(record["TIMEHANDOFF_STEPPED_NS"]) / 1e9,
                                   residual_s - before_s, delta=0.02, msg=record["MESSAGE"])
        self.assert_right(record)
        self.assert_timeout_is_default()
        return record

    def check_failed(self, handoffs, wrong_s):
        """It failed once, the clock is where it was, and nobody tries for ever."""
        record = self.ended(handoffs)
        logged = len(self.hv1.journal())
        self.assert_fields(record, outcome="failed")
        self.assertEqual(record["PRIORITY"], "3")
        self.assertTrue(record["TIMEHANDOFF_DETAIL"])
        self.assertEqual(self.steps(), 0)
        self.assertAlmostEqual(self.guest.reading()[0], wrong_s, delta=1)
        time.sleep(3)
        self.assertEqual(self.hv1.journal()[logged:], [])
        self.assert_timeout_is_default()

    # The agent is not there

    def test_agent_that_starts_late(self):
        self.guest.exec(["mv", "/usr/sbin/qemu-ga", "/usr/sbin/qemu-ga.away"])
        handoffs = self.handoffs()
        try:
            self.guest.exec(["kill", "-KILL", self.guest.agent_pid()])
            wait_until("libvirt to see it go",
                       lambda: self.guest.agent_state() == "disconnected", DEADLINE_S)
            self.pause(lost_s=1)
            resumed_s = time.monotonic()
            time.sleep(5)
            self.assertEqual(handoffs.new(), [])
        finally:
            self.guest.exec(["mv", "/usr/sbin/qemu-ga.away", "/usr/sbin/qemu-ga"])
        self.check_ended(handoffs)
        # That the guest doesn't correct itself had to be seen first.
        self.assertGreater(time.monotonic() - resumed_s, 15)

    # The agent goes away in the middle

    def check_killed(self, where):
        self.hold(where)
        handoffs = self.handoffs()
        self.pause(lost_s=1)
        self.guest.exec(["kill", "-KILL", self.wait_held()])
        self.check_ended(handoffs)

    def test_agent_killed_before_it_set_the_clock(self):
        self.check_killed("before")

    def test_agent_killed_after_it_set_the_clock(self):
        self.check_killed("after")

    # The agent hangs

    def test_frozen_agent_that_sets_the_clock_late(self):
        self.hold("before")
        handoffs = self.handoffs()
        self.pause(lost_s=1)
        agent = self.wait_held()
        self.assertEqual(self.status_timeout(), AGENT_TIMEOUT_S)
        time.sleep(AGENT_TIMEOUT_S + 2)
        self.assertEqual(handoffs.new(), [])
        self.release(agent)
        wait_until("the late step", self.steps, DEADLINE_S)
        self.check_ended(handoffs)
        self.assertGreaterEqual(self.steps(), 2)

    def test_agent_frozen_before_it_was_asked(self):
        handoffs = self.handoffs()
        self.guest.step_clock(-30)
        with self.stopped_agent():
            self.pause()
            time.sleep(AGENT_TIMEOUT_S + 2)
        self.check_ended(handoffs)

    def test_others_have_their_own_time_out_back(self):
        handoffs = self.handoffs()
        self.pause(lost_s=1)
        self.ended(handoffs)
        self.assert_timeout_is_default()
        with self.stopped_agent():
            virsh = self.hv1.spawn(["virsh", "domtime", self.guest.name], "domtime")
            self.addCleanup(virsh.wait)
            time.sleep(AGENT_TIMEOUT_S + 2)
            self.assertIsNone(virsh.poll())
        self.assertEqual(virsh.wait(DEADLINE_S), 0)

    # The agent refuses

    def test_agent_that_must_not_set_the_clock(self):
        self.addCleanup(self.renew_agent)
        self.addCleanup(self.guest.exec, ["sh", "-c", ": >/run/agent.arguments"])
        self.guest.exec(["sh", "-c", "echo -b guest-set-time >/run/agent.arguments"])
        self.renew_agent()
        handoffs = self.handoffs()
        self.guest.step_clock(-3)
        self.pause()
        self.check_failed(handoffs, -3)

    def put_back_hwclock(self):
        self.guest.exec(["cp", "/sbin/hwclock.real", "/sbin/hwclock.new"])
        self.guest.exec(["mv", "/sbin/hwclock.new", "/sbin/hwclock"])

    def test_without_hwclock(self):
        self.addCleanup(self.renew_agent)
        self.addCleanup(self.put_back_hwclock)
        self.guest.exec(["rm", "/sbin/hwclock"])
        # It looks for it once, the first time that it is needed.
        self.renew_agent()
        handoffs = self.handoffs()
        self.guest.step_clock(-3)
        self.pause()
        # An agent of QEMU 7.2 looks before it sets the clock, one of QEMU 10 when it has.
        wait_until("the handoff", handoffs.new, DEADLINE_S)
        if self.steps():
            self.assertIn("hwclock", self.check_ended(handoffs)["TIMEHANDOFF_DETAIL"])
        else:
            self.check_failed(handoffs, -3)

    def test_hwclock_that_fails_after_the_clock_was_set(self):
        self.addCleanup(self.put_back_hwclock)
        self.guest.exec(["sh", "-c", "printf '#!/bin/sh\\nexit 1\\n' >/sbin/hwclock.new; "
                                     "chmod 755 /sbin/hwclock.new"])
        self.guest.exec(["mv", "/sbin/hwclock.new", "/sbin/hwclock"])
        handoffs = self.handoffs()
        self.guest.step_clock(-3)
        self.pause()
        self.check_ended(handoffs)

    # Somebody else

    def test_step_by_somebody_else_is_noticed(self):
        self.hold("after")
        handoffs = self.handoffs()
        self.pause(lost_s=1)
        agent = self.wait_held()
        self.guest.step_clock(-20)
        self.release(agent)
        self.check_ended(handoffs, stepped_by_other="yes")

    # Daemons that end in the middle

    def kill_daemon(self, where):
        """Has another daemon come after one that was killed in the middle of a step."""
        self.hold(where)
        handoffs = self.handoffs()
        self.pause(lost_s=1)
        agent = self.wait_held()
        self.restart(self.hv1, "daemon", number=signal.SIGKILL)
        self.release(agent)
        return handoffs

    def check_reconciled(self, *records):
        self.assert_timeout_is_default()
        for record in records:
            self.assert_fields(record, trigger="reconcile")
        # The dead one sent one of them.
        self.assertEqual(self.steps(),
                         1 + sum(int(record["TIMEHANDOFF_STEPS"]) for record in records))

    def test_daemon_killed_with_a_step_on_its_way(self):
        record = self.ended(self.kill_daemon("before"))
        self.assert_stepped(record)
        self.assert_right(record)
        self.check_reconciled(record)

    def test_daemon_killed_when_the_step_was_done(self):
        handoffs = self.kill_daemon("after")
        self.wait_idle()
        records = handoffs.new()
        self.check_reconciled(*records)
        # The step was good, and nobody repeats it; only one that landed badly may be corrected.
        for record in records:
            offset_s, bound_s = self.offset_of(record, "OFFSET_BEFORE")
            self.assertTrue(record["TIMEHANDOFF_STEPS"] == "0" or
                            abs(offset_s) + bound_s > IMPROVED_S, record["MESSAGE"])
        # A machine so busy that nothing can be told of a slew is not what this is about.
        if "uncertain" not in [record["TIMEHANDOFF_DECISION"] for record in records]:
            offset_s, bound_s = self.guest.reading()
            self.assertLess(abs(offset_s) + bound_s, IMPROVED_S)

    def check_libvirtd_killed(self, where):
        self.hold(where)
        handoffs = self.handoffs()
        self.pause(lost_s=1)
        agent = self.wait_held()
        self.hv1.restart_libvirtd(signal.SIGKILL)
        self.release(agent)
        self.check_ended(handoffs)

    def test_libvirtd_killed_with_a_step_on_its_way(self):
        self.check_libvirtd_killed("before")

    def test_libvirtd_killed_when_the_step_was_done(self):
        self.check_libvirtd_killed("after")


class Reboot(Flow):
    """A guest that is started anew while its handoff is due."""

    def test_is_not_stepped(self):
        self.guest = self.hosts.guest("web3", "hv1", memory_mib=96)
        self.addCleanup(self.guest.destroy)
        self.settle()
        handoffs = self.handoffs()
        self.guest.exec(["kill", "-STOP", self.guest.agent_pid()])
        self.guest.step_clock(-3)
        self.pause()
        wait_until("the handoff", self.lock().exists, DEADLINE_S, [self.hv1.log("journal")])
        self.guest.reboot()
        self.guest.set_clock(-5)
        record = handoffs.one(DEADLINE_S)
        self.assert_fields(record, outcome="void", steps="0", trigger="unpaused")
        self.wait_idle()
        time.sleep(1)
        self.assertEqual(len(handoffs.new()), 1)
        self.assertEqual(self.guest.set_time_calls(), 0)
        self.assertAlmostEqual(self.guest.reading()[0], -5, delta=1)
        self.assert_timeout_is_default()


if __name__ == "__main__":
    unittest.main(verbosity=2)
