#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tests the test hosts themselves: two libvirt hosts, a real guest, and nothing left afterwards.

Run as root. First, from outside, that hosts which end or are killed leave no process, mount,
namespace or file; then, among hosts of its own, everything that other tests rely on.
"""

import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import uuid

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import bed  # noqa: E402
from hosts import Failure, Hosts, enter, wait_until  # noqa: E402

MARK = "TH_HOSTS_SELFTEST"
WITH = pathlib.Path(__file__).resolve().with_name("with")

# Records each call with the time it saw, and vetoes on demand.
RECORDER = """\
#!/bin/sh
echo "$(date +%s.%N) $*" >>/run/hook.log
if [ -e /run/veto ] && [ "$2" = migrate ]; then
    echo "selftest: vetoed" >&2
    exit 1
fi
"""

# Stands where the installed programs will, behind the same symlink.
STAGED = """\
#!/bin/sh
echo "$0 $*" >>/run/staged.log
"""

# Answers each line of input with its wall clock and its monotonic clock.
CLOCKS = """\
import sys, time
for line in sys.stdin:
    print(time.time(), time.monotonic(), flush=True)
"""

# Prints the time before, the kernel's receive stamp and the time after.
STAMP = """\
import socket, struct, time
a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
a.bind(("127.0.0.1", 0))
a.setsockopt(socket.SOL_SOCKET, 35, 1)
for _ in range(5):
    before = time.time()
    a.sendto(b"x", a.getsockname())
    _, controls, _, _ = a.recvmsg(10, 100)
    after = time.time()
    time.sleep(0.05)
s, ns = struct.unpack("qq", controls[0][2])
print(before, s + ns / 1e9, after)
"""

LOG = """\
import ctypes
log = ctypes.CDLL("libsystemd.so.0").sd_journal_send
log(b"MESSAGE=two\\nlines", b"PRIORITY=4", b"SIZE=small", None)
log(b"MESSAGE=%s", b"x" * 20000000, b"SIZE=large", None)
"""


# Does what a daemon does towards who started it.
DAEMON = """\
#!/usr/bin/python3
import os, socket, sys, time
print("uid", os.getuid(), *sys.argv[1:], flush=True)
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.connect(os.environ["NOTIFY_SOCKET"])
notify.send(b"STATUS=here\\nREADY=1")
time.sleep(600)
"""


def make_stage(folder):
    hooks = folder / "etc/libvirt/hooks/qemu.d"
    hooks.mkdir(parents=True)
    (hooks / "10-record").write_text(RECORDER)
    (folder / "usr/sbin").mkdir(parents=True)
    (folder / "usr/sbin/timehandoff-guard").write_text(STAGED)
    for name in ("timehandoff-peerd", "timehandoffd"):
        (folder / "usr/sbin" / name).write_text(DAEMON)
    for program in (hooks / "10-record", *(folder / "usr/sbin").iterdir()):
        program.chmod(0o755)
    (hooks / "50-timehandoff").symlink_to("/usr/sbin/timehandoff-guard")


class NothingLeft(unittest.TestCase):
    """Runs outside: starts hosts as a child and looks at the machine after their end."""

    def setUp(self):
        self.mark = uuid.uuid4().hex
        self.before = self.machine()

    @staticmethod
    def machine():
        """What must be the same before and after."""
        devices = sorted(os.listdir("/sys/class/net"))
        mounts = pathlib.Path("/proc/self/mountinfo").read_text()
        folders = [sorted(os.listdir(f)) for f in ("/run", "/etc", "/etc/libvirt", "/var/lib",
                                                   "/var/log") if os.path.isdir(f)]
        return devices, mounts, folders

    def marked(self):
        """Every process that descends from the hosts: they hand on a mark in the environment."""
        found = []
        for environment in pathlib.Path("/proc").glob("[0-9]*/environ"):
            try:
                if self.mark.encode() in environment.read_bytes():
                    found.append(environment.parent.name)
            except OSError:
                continue
        return found

    @staticmethod
    def network(pid):
        """The network namespace of a process; None when the process is gone."""
        try:
            return os.readlink(f"/proc/{pid}/ns/net")
        except OSError:
            return None

    def used(self, namespaces):
        """Whether any process at all lives in one of them."""
        return any(self.network(p) in namespaces for p in os.listdir("/proc") if p.isdigit())

    def start(self, *argv):
        return subprocess.Popen([sys.executable, __file__, *argv], text=True,
                                stdout=subprocess.PIPE, env=os.environ | {MARK: self.mark})

    def check_nothing_left(self):
        wait_until("the end of every process", lambda: not self.marked(), 5.0)
        self.assertEqual(self.before, self.machine())

    def check_end(self, number):
        with self.start("--stay") as child:
            self.assertEqual(child.stdout.readline(), "up\n")
            # libvirtd and QEMU don't show the mark, but they live in the same namespaces.
            namespaces = {self.network(p) for p in self.marked()} - {self.network("self"), None}
            self.assertEqual(len(namespaces), 3)
            self.assertTrue(self.used(namespaces))
            child.send_signal(number)
        self.check_nothing_left()
        wait_until("the end of the namespaces", lambda: not self.used(namespaces), 5.0)

    def test_kill(self):
        self.check_end(signal.SIGKILL)

    def test_terminate(self):
        self.check_end(signal.SIGTERM)

    def test_with(self):
        done = subprocess.run([WITH, "--hosts", "a1,a2,a3", "--", "sh", "-c", "on a1 hostname;"
                               "on a3 hostname; clock a2 +3600; on a2 date +%s; exit 7"],
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 7, done.stderr)
        first, third, seconds = done.stdout.split()
        self.assertEqual((first, third), ("a1", "a3"))
        self.assertAlmostEqual(int(seconds), time.time() + 3600, delta=10)
        self.check_nothing_left()


class Inside(unittest.TestCase):
    """Shares two hosts and a guest; each test leaves them as it found them."""

    @classmethod
    def setUpClass(cls):
        stage = pathlib.Path(tempfile.mkdtemp(dir="/run"))
        make_stage(stage)
        start = time.monotonic()
        cls.hosts = cls.enterClassContext(Hosts(("hv1", "hv2"), stage))
        middle = time.monotonic()
        cls.hv1, cls.hv2 = cls.hosts
        cls.guest = cls.hosts.guest("web1", "hv1", memory_mib=112)
        print(f"two hosts in {middle - start:.1f} s, a guest in {time.monotonic() - middle:.1f} s")

    def tearDown(self):
        for host in self.hosts:
            host.set_shift(0)
            host.path("/run/hook.log").unlink(missing_ok=True)

    def hook_calls(self, host):
        """The argv of each hook call on a host so far, as lists."""
        log = host.path("/run/hook.log")
        return [line.split()[1:] for line in log.read_text().splitlines()] if log.exists() else []

    def migrate(self, to, **options):
        done = self.guest.migrate(to, **options)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_migrate_there_and_back(self):
        start_s, start_bound_s = self.guest.reading()
        for to, options in ((self.hv2, {}), (self.hv1, {"p2p": True}), (self.hv2, {"p2p": True}),
                            (self.hv1, {"address": self.hv1.address6})):
            self.migrate(to, **options)
            offset_s, bound_s = self.guest.reading()
            self.assertLess(bound_s, 0.01)
            # Its clock stood still meanwhile, so a guest can only arrive late.
            self.assertLess(offset_s, start_s + start_bound_s + bound_s)
            start_s, start_bound_s = offset_s, bound_s
        self.assertIn("running", self.hv1.virsh("domstate", "web1").stdout)
        self.assertEqual(self.hook_calls(self.hv2)[0], ["web1", "migrate", "begin", "-"])
        self.assertEqual([c[1] for c in self.hook_calls(self.hv1)][:2], ["stopped", "release"])
        self.assertIn("50-timehandoff web1 migrate begin -",
                      self.hv2.path("/run/staged.log").read_text())

    def test_veto(self):
        self.hv2.path("/run/veto").touch()
        self.addCleanup(self.hv2.path("/run/veto").unlink)
        done = self.guest.migrate(self.hv2)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("selftest: vetoed", done.stderr)
        self.assertIs(self.guest.host, self.hv1)
        self.guest.reading()

    def test_shift_is_seen_on_one_host_only(self):
        for shift_s in (5.0, -3600.0, 0.1, 0):
            self.hv1.set_shift(shift_s)
            self.assertEqual(self.hv1.shift, shift_s)
            for host, wish_s in ((self.hv1, shift_s), (self.hv2, 0)):
                # The answer is later than the question and earlier than the end.
                before = time.time()
                seen = float(host.run(["date", "+%s.%N"]).stdout)
                self.assertLessEqual(before + wish_s, seen + 1e-6)
                self.assertLessEqual(seen, time.time() + wish_s + 1e-6)

    def test_shift_reaches_a_running_program_but_no_monotonic_clock(self):
        with subprocess.Popen(self.hv1.entering() + ["/usr/bin/python3", "-c", CLOCKS], text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
            for shift_s in (0, 77.5, -2):
                self.hv1.set_shift(shift_s)
                program.stdin.write("\n")
                program.stdin.flush()
                wall_s, monotonic_s = map(float, program.stdout.readline().split())
                self.assertAlmostEqual(wall_s, time.time() + shift_s, delta=1)
                self.assertAlmostEqual(monotonic_s, time.monotonic(), delta=1)
            program.stdin.close()

    def test_shift_covers_receive_stamps(self):
        self.hv1.set_shift(1000)
        before_s, stamp_s, after_s = map(
            float, self.hv1.run(["/usr/bin/python3", "-c", STAMP]).stdout.split())
        self.assertAlmostEqual(before_s, time.time() + 1000, delta=30)
        self.assertTrue(before_s - 1e-6 <= stamp_s <= after_s + 1e-6, (before_s, stamp_s, after_s))

    def test_shift_is_seen_by_hooks_and_not_by_libvirt_chrony_or_qemu(self):
        self.hv2.set_shift(7200)
        self.migrate(self.hv2)
        seen_s = float(self.hv2.path("/run/hook.log").read_text().split()[0])
        self.assertAlmostEqual(seen_s, time.time() + 7200, delta=30)
        rtc = self.guest.exec(["sh", "-c", "cat /sys/class/rtc/rtc0/since_epoch"]).stdout
        self.assertAlmostEqual(int(rtc), time.time(), delta=30)
        unshifted = set()
        for maps in pathlib.Path("/proc").glob("[0-9]*/maps"):
            name = os.path.basename(os.path.realpath(maps.with_name("exe")))
            if name.startswith(("qemu-system", "libvirtd", "chronyd")):
                unshifted.add(name)
                self.assertNotRegex(maps.read_text(), "(?m) /run/clock-shift$|clock-shift$")
        self.assertEqual(unshifted, {"qemu-system-x86_64", "libvirtd", "chronyd"})
        self.migrate(self.hv1)

    def test_guest_clock(self):
        before_s, _ = self.guest.reading()
        self.addCleanup(self.guest.set_clock, before_s)
        for wish_s in (3.25, -40, 0):
            self.guest.set_clock(wish_s)
            offset_s, bound_s = self.guest.reading()
            # Besides the bound: what the guest drifts between two readings.
            self.assertAlmostEqual(offset_s, wish_s, delta=2 * bound_s + 0.005)
        self.hv1.set_shift(10)
        self.assertAlmostEqual(self.guest.reading(self.hv1)[0], -10, delta=0.1)

    def test_agent_counts_and_comes_back(self):
        calls = self.guest.set_time_calls()
        self.hv1.virsh("domtime", "web1", "--now")
        self.assertEqual(self.guest.set_time_calls(), calls + 1)
        old = self.guest.agent_pid()
        self.guest.exec(["kill", old])
        wait_until("another agent", lambda: self.guest.agent_pid() not in (None, old))
        wait_until("libvirt to see it", lambda: self.guest.agent_state() == "connected")
        self.hv1.virsh("qemu-agent-command", "web1", '{"execute":"guest-ping"}')

    def test_reboot(self):
        guest = self.hosts.guest("web2", "hv2", clock_offset_s=100, transient=True)
        self.assertAlmostEqual(guest.reading()[0], 100, delta=0.1)
        guest.reboot()
        self.assertAlmostEqual(guest.reading()[0], 0, delta=3)
        guest.destroy()
        self.assertNotIn("web2", self.hv2.virsh("list", "--all", "--name").stdout)

    def test_metadata_and_no_agent(self):
        guest = self.hosts.guest("web3", "hv2", wait=False, agent=False,
                                 metadata="<t:x xmlns:t='urn:t' a='1'/>")
        self.assertEqual(self.hv2.virsh("metadata", "web3", "--uri", "urn:t").stdout.strip(),
                         '<x a="1"/>')
        self.assertIsNone(guest.agent_state())
        guest.destroy()

    def test_chrony_states(self):
        self.assertEqual(self.hv1.leap_status(), "Normal")
        self.hv1.set_synced(False)
        self.assertEqual(self.hv1.leap_status(), "Not synchronised")
        self.assertEqual(self.hv2.leap_status(), "Normal")
        self.hv1.stop_chronyd()
        self.assertIsNone(self.hv1.leap_status())
        self.hv1.set_synced(True)
        self.assertEqual(self.hv1.leap_status(), "Normal")

    def ping(self, address, count):
        """The round trips in milliseconds, of those that came back."""
        done = self.hv1.run(["ping", "-n", "-i", "0.05", "-W", "1", "-c", str(count), address],
                            check=False)
        return [float(t) for t in re.findall(r"time=([\d.]+) ms", done.stdout)]

    def test_link(self):
        link = self.hosts.link("hv1", "hv2", delay_ms=(20, 40), jitter_ms=10, seed=1)
        times_ms = self.ping(link.address_b, 10) + self.ping(link.address6_b, 10)
        self.assertEqual(len(times_ms), 20)
        self.assertGreaterEqual(min(times_ms), 60)
        self.assertLess(sorted(times_ms)[10], 90)
        self.assertGreater(max(times_ms) - min(times_ms), 2)
        link.set(loss=0.5)
        self.assertTrue(2 <= len(self.ping(link.address_b, 40)) <= 30)
        link.set(loss=1)
        self.assertEqual(self.ping(link.address_b, 2), [])
        link.set()
        self.assertLess(min(self.ping(link.address_b, 5)), 10)
        self.assertLess(min(self.ping(self.hv2.address, 2)), 10)

    def test_migrate_over_a_link(self):
        link = self.hosts.link("hv1", "hv2", delay_ms=(5, 5))
        self.migrate(self.hv2, address=link.address_b)
        self.migrate(self.hv1, address=link.address6_a, p2p=True)

    def test_journal(self):
        self.hv1.run(["/usr/bin/python3", "-c", LOG], user="timehandoff")
        self.hv1.run(["logger", "-p", "user.err", "-t", "selftest", "plain words"])
        small, = wait_until("the entry", lambda: self.hv1.journal(SIZE="small"))
        self.assertEqual(small["MESSAGE"], "two\nlines")
        self.assertEqual(small["PRIORITY"], "4")
        self.assertEqual(small["_UID"], self.hv1.run(["id", "-u", "timehandoff"]).stdout.strip())
        large, = wait_until("the large entry", lambda: self.hv1.journal(SIZE="large"))
        self.assertEqual(large["MESSAGE"], "x" * 20000000)
        plain, = wait_until("the line", lambda: self.hv1.journal(SYSLOG_IDENTIFIER="selftest"))
        self.assertEqual((plain["MESSAGE"], plain["PRIORITY"]), ("plain words", "3"))
        self.assertEqual(self.hv2.journal(SYSLOG_IDENTIFIER="selftest"), [])

    def test_real_journald(self):
        self.hv2.start_journald()
        self.hv2.run(["/usr/bin/python3", "-c", LOG])
        small, = wait_until("the entry", lambda: self.hv2.journal(SIZE="small"))
        self.assertEqual((small["MESSAGE"], small["_HOSTNAME"]), ("two\nlines", "hv2"))

    def test_daemons(self):
        self.hv1.start_peerd("--more")
        self.hv1.start_daemon()
        self.assertTrue(self.hv1.is_running("peerd") and self.hv1.is_running("daemon"))
        self.assertEqual(self.hv1.log("peerd").read_text(), "uid 0 --more\n")
        self.assertEqual(self.hv1.log("daemon").read_text(), "uid 0\n")
        self.assertEqual(self.hv1.stop_peerd(), -signal.SIGTERM)
        self.assertEqual(self.hv1.stop_daemon(signal.SIGKILL), -signal.SIGKILL)
        self.assertFalse(self.hv1.is_running("peerd"))

    def test_hosts_are_apart(self):
        self.hv1.write_config("[gap]\nwarn = 1ms\n")
        self.assertTrue(self.hv1.path("/etc/timehandoff/timehandoff.conf").exists())
        self.assertFalse(self.hv2.path("/etc/timehandoff/timehandoff.conf").exists())
        self.assertEqual(self.hv1.run(["hostname"]).stdout, "hv1\n")
        self.assertNotEqual(self.hv1.uuid, self.hv2.uuid)
        for host in self.hosts:
            self.assertIn(host.uuid, host.virsh("capabilities").stdout)

    def test_nothing_can_set_the_real_clock(self):
        done = self.hv1.run(["date", "-s", f"@{int(time.time())}"], check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("Operation not permitted", done.stderr)

    def test_a_daemon_that_fails_is_told_with_its_log(self):
        with self.assertRaisesRegex(Failure, "(?s)status 3.*last words"):
            self.hv1.start("dying", ["sh", "-c", "echo last words; exit 3"], ready=lambda: False)
        with self.assertRaisesRegex(Failure, "(?s)not within 0.9 s.*still here"):
            self.hv1.start("hanging", ["sh", "-c", "echo still here; exec sleep 60"],
                           ready=lambda: False, deadline_s=0.3)
        self.assertEqual(self.hv1.stop("hanging"), -signal.SIGTERM)

    def test_libvirtd_restarts_under_a_running_guest(self):
        self.hv1.restart_libvirtd(signal.SIGKILL)
        wait_until("the guest", lambda: self.guest.agent_state() == "connected")
        wait_until("the hook", lambda: ["web1", "reconnect", "begin", "-"]
                   in self.hook_calls(self.hv1))
        self.hv1.reload_libvirtd()
        self.guest.reading()

    def test_dbus(self):
        self.hv1.start_dbus()
        self.hv1.run(["dbus-send", "--system", "--print-reply", "--dest=org.freedesktop.DBus", "/",
                      "org.freedesktop.DBus.ListNames"])
        self.assertFalse(self.hv2.path("/run/dbus/system_bus_socket").exists())
        self.hv1.stop("dbus")


def stay():
    """What NothingLeft starts: hosts with a guest that stay up until they are killed."""
    enter()
    with Hosts() as hosts:
        hosts.guest("web1", "hv1", wait=False)
        print("up", flush=True)
        time.sleep(600)


def main():
    if sys.argv[1:] == ["--stay"]:
        return stay()
    if not bed.is_inside():
        if not any(arg.startswith("Inside") for arg in sys.argv[1:]):
            names = [a for a in sys.argv[1:] if a.startswith("NothingLeft")] or ["NothingLeft"]
            if not unittest.main(argv=["selftest", *names], exit=False).result.wasSuccessful():
                return 1
            if sys.argv[1:]:
                return 0
        enter()
    names = [a for a in sys.argv[1:] if a.startswith("Inside")] or ["Inside"]
    return not unittest.main(argv=["selftest", *names], exit=False).result.wasSuccessful()


if __name__ == "__main__":
    sys.exit(main())
