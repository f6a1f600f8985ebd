# SPDX-License-Identifier: LGPL-2.1-or-later
"""What goes wrong around the daemon while a guest needs it: libvirt, its own start, the clock.

One real guest on a real libvirtd. Where the order of things matters that happen within a
millisecond, the daemon reaches libvirtd through a relay that cuts, or holds answers back, at the
very message that a test is about. TH_STAGE names a staged install.
"""

import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import unittest
import uuid

sys.dont_write_bytecode = True

import scene  # noqa: E402

if __name__ == "__main__":
    scene.enter()

import libvirt  # noqa: E402

import hostkit  # noqa: E402
from busname import LOGIND_POLICY, Logind  # noqa: E402
from flows import DEADLINE_S, IS_LONG, Flow  # noqa: E402
from hosts import wait_until  # noqa: E402
from scene import ORIGIN_URI  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
# Of libvirt's wire (src/remote/remote_protocol.x, src/rpc/virnetprotocol.x).
REMOTE_PROGRAM, LIFECYCLE = 0x20008086, 318
REPLY = 1
# Looks at the time daemon follow one another this often while its word is not trusted.
DISTRUST_REFRESH_S = 2.0


def setUpModule():
    scene.bring_up("hv1", "hv2")


class Way:
    """One connection through the relay."""

    def __init__(self, client, server, cut_after):
        self.replies, self.cut_after = 0, cut_after
        self.sockets = (client, server)

    def close(self):
        for sock in self.sockets:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Relay:
    """Between the daemon of a host and libvirtd, message by message."""

    PATH = "/run/libvirt-relay.sock"

    def __init__(self, host):
        self.ways, self.events = [], []
        self._target = str(host.base / "run/libvirt/libvirt-sock")
        self._cuts, self._held = iter(()), None
        self._lock = threading.Lock()
        path = host.base / self.PATH.lstrip("/")
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, *after):
        """Cuts the connections to come, each after that many answers; those after them never."""
        self._cuts = iter(after)

    def drop(self):
        """Cuts what there is."""
        for way in self.ways:
            way.close()

    def hold(self):
        """Holds libvirtd's answers back, but not its events, until release()."""
        with self._lock:
            self._held = []

    def held(self):
        return len(self._held)

    def release(self):
        with self._lock:
            held, self._held = self._held, None
            for sock, message in held:
                sock.sendall(message)

    def close(self):
        self._listener.close()
        self.drop()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._target)
            way = Way(client, server, next(self._cuts, None))
            self.ways.append(way)
            for run, *sockets in ((self._up, client, server), (self._down, server, client)):
                threading.Thread(target=self._run, args=(run, way, *sockets), daemon=True).start()

    @staticmethod
    def _run(run, way, *sockets):
        try:
            run(way, *sockets)
        except OSError:
            pass
        way.close()

    @staticmethod
    def _up(_way, client, server):
        while data := client.recv(65536):
            server.sendall(data)

    def _down(self, way, server, client):
        stream = server.makefile("rb")
        while head := stream.read(4):
            message = head + stream.read(struct.unpack(">I", head)[0] - 4)
            program, _, procedure, kind = struct.unpack(">IIIi", message[4:20])
            if program == REMOTE_PROGRAM and kind == REPLY:
                way.replies += 1
            if program == REMOTE_PROGRAM and procedure == LIFECYCLE:
                self.events.append(struct.unpack(">ii", message[-8:]))
            with self._lock:
                if self._held is not None and program == REMOTE_PROGRAM and kind == REPLY:
                    self._held.append((client, message))
                else:
                    client.sendall(message)
            if way.replies == way.cut_after:
                return


class DaemonCase(Flow):
    """The guest is on hv1, at rest."""

    def setUp(self):
        super().setUp()
        self.settle(self.hv1)
        self.guest.set_clock(0)

    def messages(self, words):
        return [r["MESSAGE"] for r in self.hv1.journal() if words in r["MESSAGE"]]

    def wait_message(self, words, before=0):
        return wait_until(words, lambda: self.messages(words)[before:], DEADLINE_S,
                          [self.hv1.log("daemon")])

    def wait_state(self, state):
        wait_until(f"the daemon to see it {state}", lambda: self.published_domains(self.hv1)
                   .get(self.guest.uuid) == state, DEADLINE_S, [self.hv1.log("daemon")])

    def relay(self):
        """Has the daemon reach libvirtd through a relay, until the end of the test."""
        relay = Relay(self.hv1)
        self.addCleanup(relay.close)
        self.configure(self.hv1, "[libvirt]\n"
                       f"uri = qemu+unix:///system?socket={Relay.PATH}\n", "daemon")
        self.wait_idle()
        return relay

    def redefine(self):
        self.hv1.connection().defineXML(
            self.guest.domain().XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))

    def check_handed_off(self, change, trigger="unpaused"):
        """The guest loses time, and change() is what has to be noticed."""
        handoffs, calls = self.handoffs(), self.guest.set_time_calls()
        self.guest.step_clock(-3)
        change()
        self.check(handoffs.one(DEADLINE_S), calls, trigger, lost_s=3)
        self.wait_idle()


class Connection(DaemonCase):
    """libvirt's connection ends while it is made."""

    def is_connected(self):
        """By the daemon's last word of it."""
        return "connected to libvirt" in [line for line in self.messages("libvirt") if
                                          "connected to libvirt" in line or
                                          "connection to libvirt lost" in line][-1]

    def test_cut_after_each_answer(self):
        relay = self.relay()
        # All answers that it takes to be connected, and some that follow.
        wait_until("its questions", lambda: relay.ways[-1].replies > 5, DEADLINE_S)
        time.sleep(1)
        answers = relay.ways[-1].replies
        for after in range(1, answers + 1):
            with self.subTest(after):
                ways = len(relay.ways)
                published = self.published_when(self.hv1)
                # Something to be undone for a daemon that died: these calls fail, and yet there is
                # a connection, of whose end the news came before there was one.
                self.lock().write_text("in flight")
                relay.cut(after)
                relay.drop()
                wait_until("another connection", lambda: len(relay.ways) >= ways + 2 and
                           self.is_connected(), DEADLINE_S, [self.hv1.log("daemon")])
                self.wait_published(self.hv1, published)
        self.check_handed_off(self.pause)

    def test_command_that_libvirtd_does_not_answer(self):
        pid = int((self.hv1.base / "programs/libvirtd").read_text())
        os.kill(pid, signal.SIGSTOP)
        self.addCleanup(os.kill, pid, signal.SIGCONT)
        done = self.timehandoff(self.hv1, "sync", "web1")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertRegex(done.stderr, r"\Atimehandoff: cannot reach libvirt \(qemu:///system\): "
                                      r"no answer for \d+ s\n\Z")


    @unittest.skipUnless(IS_LONG, "a minute and more of waiting, with TH_LONG=1")
    def test_libvirtd_that_stops_in_the_middle_of_a_command(self):
        self.configure(self.hv1, "[handoff]\nagent-timeout = 5s\n", "daemon")
        pid = int((self.hv1.base / "programs/libvirtd").read_text())
        with self.stopped_agent():
            program = self.hv1.spawn(["timehandoff", "sync", "web1"], "sync")
            wait_until("the lock", self.lock().exists, DEADLINE_S, every_s=0.002)
            os.kill(pid, signal.SIGSTOP)
            try:
                self.assertEqual(program.wait(90), 1)
            finally:
                os.kill(pid, signal.SIGCONT)
        self.assertIn("libvirt does not answer any more", self.hv1.log("sync").read_text())


class Definition(DaemonCase):
    """A definition that changes says nothing about a guest that was just resumed."""

    def test_while_the_daemon_asks_about_the_guest(self):
        relay = self.relay()
        handoffs, calls = self.handoffs(), self.guest.set_time_calls()
        self.guest.step_clock(-3)
        self.guest.domain().suspend()
        self.wait_state("paused")
        relay.events.clear()
        relay.hold()
        self.guest.domain().resume()
        wait_until("its question", relay.held, DEADLINE_S, [self.hv1.log("daemon")])
        self.redefine()
        wait_until("libvirt's word of it", lambda: any(
            event == libvirt.VIR_DOMAIN_EVENT_DEFINED for event, _ in relay.events), DEADLINE_S)
        # The answers come when it has heard of the definition.
        time.sleep(0.5)
        relay.release()
        self.check(handoffs.one(DEADLINE_S), calls, "unpaused", lost_s=3)

    def test_while_the_handoff_is_under_way(self):
        def change():
            with self.stopped_agent():
                self.pause()
                wait_until("the handoff", self.lock().exists, DEADLINE_S,
                           [self.hv1.log("daemon")])
                self.redefine()
                time.sleep(0.5)

        self.check_handed_off(change)


class Stamping(DaemonCase):
    """The stamp that says where the guest comes from."""

    def test_waits_for_an_address(self):
        """As a host that boots may have guests before its network."""
        before = len(self.messages("cannot write the origin stamp"))
        self.hv1.stop_daemon()
        self.hv1.run(["ip", "addr", "flush", "dev", "eth0", "scope", "global"])
        try:
            self.set_metadata(ORIGIN_URI, None, "tho")
            self.restart(self.hv1, "daemon")
            self.assertEqual(self.wait_message("cannot write the origin stamp", before), [
                f"timehandoffd: cannot write the origin stamp of {self.guest.name}, trying again: "
                "no address is up that another host could ask this one at; see announce in "
                "timehandoff.conf(5)"])
            self.assertIsNone(self.stamp())
        finally:
            self.hv1.add_addresses("eth0", f"{self.hv1.address}/24",
                                   f"{self.hv1.address6}/64")
            self.start_again(self.hv1, "daemon")
        self.wait_stamped()
        self.assertEqual(len(self.messages("cannot write the origin stamp")), before + 1)


class Start(DaemonCase):
    """What a daemon makes of guests that ran before it did."""

    def begin_again(self, with_record):
        """The next daemon; without a record, as after a boot."""
        if not with_record:
            self.hv1.path("/run/timehandoff/host").unlink()
        handoffs = self.handoffs()
        self.restart(self.hv1, "daemon")
        return handoffs

    def stop_daemon(self):
        self.stop(self.hv1, "daemon", number=signal.SIGKILL)

    def save_and_start(self):
        self.hv1.virsh("managedsave", self.guest.name)
        self.guest.drop_channel()
        self.hv1.virsh("start", self.guest.name)

    def test_restored_at_boot_is_put_right_however_far_off(self):
        self.stop_daemon()
        self.save_and_start()
        self.guest.set_clock(-7200)
        calls = self.guest.set_time_calls()
        handoffs = self.begin_again(with_record=False)
        self.check(handoffs.one(DEADLINE_S), calls, "reconcile", lost_s=7200)

    def test_resumed_or_booted_before_the_daemon_is_left_alone(self):
        for name, come in (("resumed", self.pause), ("booted", self.boot)):
            with self.subTest(name):
                self.wait_idle()
                self.stop_daemon()
                come()
                self.guest.set_clock(-30)
                calls = self.guest.set_time_calls()
                handoffs = self.begin_again(with_record=False)
                self.check_untouched(handoffs, calls, -30, trigger="reconcile",
                                     outcome="reported", decision="no-event")
                # Being right in between makes it news if it is wrong again.
                self.guest.set_clock(0)
                self.pause()

    def boot(self):
        self.guest.domain().destroy()
        self.guest.drop_channel()
        self.guest.domain().create()
        self.guest.wait_ready()

    def test_limit_of_what_was_missed_applies(self):
        self.guest.domain().suspend()
        self.wait_state("paused")
        self.stop_daemon()
        self.guest.domain().resume()
        self.guest.set_clock(-7200)
        calls = self.guest.set_time_calls()
        handoffs = self.begin_again(with_record=True)
        self.check_untouched(handoffs, calls, -7200, trigger="reconcile", outcome="reported",
                             decision="too-far")

    def test_notes_that_nobody_will_take_are_swept(self):
        arrivals = self.hv1.path("/run/timehandoff/arrivals")
        here, gone, young = self.guest.uuid, str(uuid.uuid4()), str(uuid.uuid4())
        for name, age_s in ((here, 3600), (gone, 3600), (young, 60)):
            note = arrivals / name
            note.write_text("0 0 0 0\nhv2\n")
            os.utime(note, (time.time() - age_s,) * 2)
        self.restart(self.hv1, "daemon")
        self.assertFalse((arrivals / gone).exists())
        self.assertTrue((arrivals / young).exists())
        # The guest's own note is its handoff's to take.
        (arrivals / young).unlink()
        (arrivals / here).unlink(missing_ok=True)


class HostClock(DaemonCase):
    """This host's clock is stepped, or stood still: its time daemon has to speak first."""

    def setUp(self):
        super().setUp()
        shim = self.hv1.path("/run/clock-set-shim.so")
        if not shim.exists():
            subprocess.run(["cc", "-std=gnu11", "-D_GNU_SOURCE", "-shared", "-fPIC", "-o", shim,
                            HERE / "clock_set_shim.c"], check=True)
            os.mkfifo(self.hv1.path("/run/clock-set"))
            self.hv1.path("/etc/dbus-1/system.d").mkdir(parents=True, exist_ok=True)
            self.hv1.path("/etc/dbus-1/system.d/logind-of-the-test.conf").write_text(LOGIND_POLICY)
            self.hv1.start_dbus()
        self.hv1.stop_daemon()
        self.addCleanup(self.restart, self.hv1, "daemon")
        published = self.published_when(self.hv1)
        self.hv1.start_daemon(env={"LD_PRELOAD": "/run/clock-set-shim.so"})
        self.wait_published(self.hv1, published)
        self.wait_idle()

    def chronyc(self, *words):
        self.hv1.run(["chronyc", *words])

    def silence(self):
        """From now on chronyd has nothing new to say."""
        self.addCleanup(self.chronyc, "online")
        self.chronyc("offline")
        time.sleep(1)

    def set_clock(self, shift_s):
        """What a person does with date -s, with all that the kernel makes of it."""
        self.hv1.set_shift(shift_s)
        with self.hv1.path("/run/clock-set").open("wb") as pipe:
            pipe.write(b"x")

    def synchronised(self):
        return self.published_host(self.hv1)["synchronised"]

    def wait_synchronised(self, state):
        wait_until(f"synchronised: {state}", lambda: self.synchronised() == state, DEADLINE_S,
                   [self.hv1.log("journal")])

    def check_distrusted(self, for_s):
        """It is said that it is not known, for so long, and that guests are left alone."""
        self.wait_synchronised("unknown")
        handoffs, calls = self.handoffs(), self.guest.set_time_calls()
        self.guest.step_clock(-3)
        self.pause()
        self.assert_fields(handoffs.one(DEADLINE_S), decision="unsynchronised", steps="0")
        end = time.monotonic() + for_s
        while time.monotonic() < end:
            self.assertEqual(self.synchronised(), "unknown")
            time.sleep(0.1)
        self.assertEqual(self.guest.set_time_calls(), calls)

    def check_trusted_again(self, shift_s):
        """And then the guest gets what it was owed."""
        handoffs = self.handoffs()
        self.chronyc("online")
        self.wait_synchronised("yes")
        self.assert_stepped(handoffs.one(DEADLINE_S))
        self.assertAlmostEqual(self.guest.reading()[0], shift_s, delta=0.1)

    def check_step(self, shift_s, words, for_s):
        self.silence()
        # Before the daemon of the next test begins.
        self.addCleanup(self.hv1.set_shift, 0)
        self.set_clock(shift_s)
        self.wait_message(f"this host's clock was stepped by {words}")
        self.check_distrusted(for_s)

    def test_small_step(self):
        # The kernel says so: it is too small to be told from slewing by looking now and then.
        self.check_step(0.3, "+300", 2 * DISTRUST_REFRESH_S)
        self.check_trusted_again(0.3)

    def test_step_back(self):
        # chronyd's last look now seems to be younger than it is, and than the step.
        self.guest.set_clock(-30)
        self.check_step(-8, "-8", 8 + 2 * DISTRUST_REFRESH_S)
        # The chronyd here never sees the host's clock, so all that it says lies in the future.
        self.set_clock(0)
        self.check_trusted_again(0)

    def test_after_the_hosts_sleep_guests_wait_for_the_time_daemon(self):
        logind = Logind(self.hv1)
        self.addCleanup(logind.close)
        self.silence()
        handoffs, calls = self.handoffs(), self.guest.set_time_calls()
        self.guest.step_clock(-30)
        logind.prepare_for_sleep(True)
        logind.prepare_for_sleep(False)
        self.wait_synchronised("unknown")
        time.sleep(3 * DISTRUST_REFRESH_S)
        self.assertEqual(self.synchronised(), "unknown")
        self.assertEqual((handoffs.new(), self.guest.set_time_calls()), ([], calls))
        self.chronyc("online")
        self.check(handoffs.one(DEADLINE_S), calls, "host-wakeup", lost_s=30)


if __name__ == "__main__":
    unittest.main(verbosity=2)
