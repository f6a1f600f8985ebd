#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""NTP servers: shown, compared and applied on hosts with real time daemons.

chronyd, NTPsec's ntpd, systemd-timesyncd and ptp4l are the real programs, none of which can set a
clock on a test host. What is applied is checked with the daemon's own client, not with ours.
TH_STAGE names a staged install.
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import hostkit  # noqa: E402
from hostkit import HUB, Case  # noqa: E402
from hosts import wait_until  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
CACHE = hostkit.bed_of_hosts.bed.CACHE
HUB6, DEAF = "fd77::fe", "10.77.0.99"
CHRONY_CONF = "/etc/chrony/chrony.conf"
FOLDER = "/etc/chrony/sources.d"
DROP_IN = f"{FOLDER}/timehandoff.sources"
BASE = """\
cmdport 323
bindcmdaddress /run/chrony/chronyd.sock
pidfile /run/chrony/chronyd.pid
"""
LIST = f"[ntp]\nserver = {HUB}\nserver = {HUB6}\nserver = {DEAF}\n"


def setUpModule():
    hostkit.bring_up("hv1", "hv2")


class NtpCase(Case):
    """hv1 with a chronyd that is configured anew for every test."""

    config = f"server {HUB} iburst minpoll -2 maxpoll -2\nsourcedir {FOLDER}\n"

    def setUp(self):
        super().setUp()
        self.host = self.hv1
        self.run_chronyd(self.config)
        self.host.wait_synced()
        self.addCleanup(self.clear)

    def run_chronyd(self, config):
        if self.host.is_running("chronyd"):
            self.host.stop_chronyd()
        self.host.path(FOLDER).mkdir(exist_ok=True)
        self.host.path(CHRONY_CONF).write_text(config + BASE)
        self.host.start("chronyd", ["/usr/sbin/chronyd", "-x", "-d", "-u", "root",
                                    "-f", CHRONY_CONF])
        wait_until("chronyd answers", lambda: self.host.leap_status() is not None)

    def clear(self):
        for path in self.host.path(FOLDER).iterdir():
            path.unlink()

    def ntp(self, *words, user=None):
        began = time.monotonic()
        done = self.host.run(["timehandoff", "ntp", *words], check=False, user=user)
        self.took_s = time.monotonic() - began
        return done

    def json(self, *words, status=0):
        done = self.ntp(*words, "--json")
        self.assertEqual((done.returncode, done.stderr), (status, ""), done)
        return json.loads(done.stdout)

    def findings(self, status):
        found = self.json("check", status=status)
        self.assertEqual(found["differs"], status == 1)
        return {(one["finding"], one.get("name", "")) for one in found["findings"]}

    def drop_in(self):
        path = self.host.path(DROP_IN)
        return path.read_text() if path.exists() else None

    def chronyd_has(self):
        """The sources by chronyc's own account."""
        lines = self.host.run(["chronyc", "-c", "-N", "sources"]).stdout.splitlines()
        return {line.split(",")[2] for line in lines}


class Show(NtpCase):
    def test_what_is_configured_and_what_is_in_use(self):
        found = self.json("show")
        self.assertEqual((found["daemon"], found["running"], found["answered"]),
                         ("chronyd", True, True))
        self.assertEqual(found["servers"],
                         [{"kind": "server", "name": HUB, "where": f"{CHRONY_CONF}:1"}])
        source, = found["sources"]
        self.assertEqual((source["name"], source["address"], source["use"]),
                         (HUB, HUB, "selected"))
        self.assertRegex(found["digest"], "^[0-9a-f]{32}$")
        text = self.ntp("show").stdout
        self.assertIn(f"{HUB}, {CHRONY_CONF}:1\n", text)
        self.assertRegex(text, rf"selected +{re.escape(HUB)}, heard ")

    def test_the_digest_is_that_of_the_names(self):
        before = self.json("show")["digest"]
        self.run_chronyd(f"pool {HUB} iburst\npeer hv2\n")
        self.assertEqual(self.json("show")["digest"], before)
        self.run_chronyd(f"server {HUB6}\n")
        self.assertNotEqual(self.json("show")["digest"], before)

    def test_a_server_added_at_run_time(self):
        self.host.run(["chronyc", "add", "server", DEAF])
        self.assertIn({"kind": "server", "name": DEAF, "where": "runtime"},
                      self.json("show")["servers"])

    def test_an_export_is_a_configuration_that_changes_nothing(self):
        self.run_chronyd(f"server {HUB}\npool {HUB6}\npeer hv2\nrefclock SHM 0\n"
                         f"sourcedir {FOLDER}\n")
        exported = self.ntp("export").stdout
        self.assertEqual([line for line in exported.splitlines() if not line.startswith("#")],
                         ["[ntp]", f"server = {HUB}", f"pool = {HUB6}"])
        self.set_config(self.host, exported)
        self.assertEqual({kind for kind, _ in self.findings(0)} - {"unreachable"}, set())
        done = self.ntp("apply")
        self.assertEqual((done.returncode, self.drop_in()), (0, None), done)

    def test_an_ordinary_user(self):
        done = self.ntp("show", user="timehandoff")
        self.assertEqual(done.returncode, 0, done)
        self.assertIn(HUB, done.stdout)


class Check(NtpCase):
    def test_no_list(self):
        self.assertEqual(self.findings(0), {("one-server", "")})
        self.assertIn("no list to compare with", self.ntp("check").stdout)
        done = self.ntp("apply")
        self.assertEqual(done.returncode, 2, done)
        self.assertIn("no list to apply", done.stderr)

    def test_a_host_that_differs(self):
        self.set_config(self.host, f"[ntp]\nserver = {HUB6}\nserver = {DEAF}\n")
        self.assertEqual(self.findings(1), {("missing", HUB6), ("missing", DEAF), ("extra", HUB),
                                            ("one-server", "")})
        done = self.ntp("check")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, rf"extra +{re.escape(HUB)} \({CHRONY_CONF}:1\): not in the "
                         r"list; take it out there")


class Apply(NtpCase):
    def setUp(self):
        super().setUp()
        self.set_config(self.host, LIST)

    def test_the_list_is_in_use_then(self):
        done = self.ntp("apply")
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        self.assertEqual(self.drop_in().splitlines()[1:],
                         [f"server {HUB6} iburst", f"server {DEAF} iburst"])
        self.assertEqual(self.chronyd_has(), {HUB, HUB6, DEAF})
        self.assertIn(f"wrote {DROP_IN}\n", done.stdout)
        self.assertEqual(self.findings(0) - {("unreachable", DEAF), ("unreachable", HUB6)}, set())

    def test_an_unreachable_server_is_configured_and_reported(self):
        self.assertEqual(self.ntp("apply").returncode, 0)
        wait_until("an answer from the hub", lambda: ("unreachable", HUB6) not in self.findings(0))
        self.assertEqual(self.findings(0), {("unreachable", DEAF)})

    def test_twice_is_as_good_as_once(self):
        self.assertEqual(self.ntp("apply").returncode, 0)
        before = self.host.path(DROP_IN).stat()
        for words in (["apply"], ["apply", "--dry-run"]):
            done = self.ntp(*words)
            self.assertEqual((done.returncode, done.stdout, done.stderr),
                             (0, "nothing to change\n", ""), done)
        after = self.host.path(DROP_IN).stat()
        self.assertEqual((before.st_ino, before.st_mtime_ns), (after.st_ino, after.st_mtime_ns))
        self.assertEqual([p.name for p in self.host.path(FOLDER).iterdir()],
                         ["timehandoff.sources"])

    def test_a_change_by_hand_is_found_and_put_right(self):
        self.assertEqual(self.ntp("apply").returncode, 0)
        self.host.path(DROP_IN).write_text(f"server {HUB6}\nserver 10.77.0.98\n")
        self.assertEqual({f for f in self.findings(1) if f[0] != "unreachable"},
                         {("missing", DEAF), ("extra", "10.77.0.98"),
                          ("not-in-use", "10.77.0.98")})
        done = self.ntp("apply")
        self.assertEqual(done.returncode, 0, done)
        self.assertEqual(self.chronyd_has(), {HUB, HUB6, DEAF})
        self.assertEqual(self.host.path(DROP_IN + ".bak").read_text(),
                         f"server {HUB6}\nserver 10.77.0.98\n")

    def test_a_dry_run_shows_and_changes_nothing(self):
        done = self.ntp("apply", "--dry-run")
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        self.assertIn(f"--- /dev/null\n+++ {DROP_IN}\n@@ -0,0 +1,3 @@\n", done.stdout)
        self.assertIn(f"+server {HUB6} iburst\n", done.stdout)
        self.assertIsNone(self.drop_in())
        self.assertEqual(self.chronyd_has(), {HUB})
        patched = self.host.run(["sh", "-c", "cd / && patch -p1 --dry-run"], input=done.stdout,
                                check=False)
        if patched.returncode != 127:
            self.assertEqual(patched.returncode, 0, patched)

    def test_servers_of_others_stay(self):
        self.set_config(self.host, f"[ntp]\nserver = {HUB6}\n")
        done = self.ntp("apply")
        self.assertEqual(done.returncode, 0, done)
        self.assertIn(f"also configured: {HUB}, {CHRONY_CONF}:1; left as it is\n", done.stdout)
        self.assertIn("fewer than three", done.stderr)
        self.assertEqual(self.chronyd_has(), {HUB, HUB6})

    def test_a_broken_list_is_refused_whole(self):
        self.assertEqual(self.ntp("apply").returncode, 0)
        before = self.drop_in()
        for bad in ("http://ntp.example.com", "10.77.0.300", "ntp_1", f"{HUB} iburst", HUB):
            self.host.write_config(LIST + f"server = {bad}\n")
            for words in (["apply"], ["check"], ["apply", "--dry-run"]):
                done = self.ntp(*words)
                self.assertEqual((done.returncode, done.stdout), (2, ""), done)
                self.assert_one_line(done.stderr, r"timehandoff\.conf:5: \[ntp\] server: '")
        self.assertEqual(self.drop_in(), before)
        self.assertEqual(self.chronyd_has(), {HUB, HUB6, DEAF})

    def test_a_folder_that_cannot_be_written(self):
        self.host.run(["mount", "--bind", FOLDER, FOLDER])
        self.host.run(["mount", "-o", "remount,ro,bind", FOLDER])
        try:
            done = self.ntp("apply")
        finally:
            self.host.run(["umount", FOLDER])
        self.assertEqual((done.returncode, done.stdout), (1, ""), done)
        self.assert_one_line(done.stderr, "cannot write .*: Read-only file system; nothing has "
                             "changed")
        self.assertEqual(list(self.host.path(FOLDER).iterdir()), [])

    def test_an_ordinary_user(self):
        done = self.ntp("apply", user="timehandoff")
        self.assertEqual(done.returncode, 1, done)
        self.assert_one_line(done.stderr, r"nothing has changed \(run it as root\)")

    def test_a_daemon_that_does_not_answer(self):
        program = self.host._programs["chronyd"]
        program.send_signal(signal.SIGSTOP)
        try:
            found = self.findings(1)
            self.assertLess(self.took_s, 5)
            done = self.ntp("apply")
            self.assertLess(self.took_s, 15)
        finally:
            program.send_signal(signal.SIGCONT)
        self.assertIn(("no-answer", "chronyd"), found)
        self.assertEqual(done.returncode, 1, done)
        self.assertIn("was told to read", done.stderr)
        self.assertIn("the list is in place", done.stderr)
        self.assertIsNotNone(self.drop_in())
        done = self.ntp("apply")
        self.assertEqual(done.returncode, 0, done)
        self.assertEqual(self.chronyd_has(), {HUB, HUB6, DEAF})

    def test_a_daemon_that_does_not_run(self):
        self.host.stop_chronyd()
        self.assertIn(("not-running", "chronyd"), self.findings(1))
        done = self.ntp("apply")
        self.assertEqual(done.returncode, 1, done)
        self.assertIn("chronyd reads it when it runs again", done.stderr)
        self.run_chronyd(self.config)
        self.assertEqual(self.ntp("apply").stdout, "nothing to change\n")
        self.assertEqual(self.chronyd_has(), {HUB, HUB6, DEAF})

    def test_a_chronyd_without_a_folder_for_sources(self):
        self.run_chronyd(f"server {HUB}\n")
        done = self.ntp("apply")
        self.assertEqual(done.returncode, 1, done)
        self.assertIn(f"add the line 'sourcedir {FOLDER}' to {CHRONY_CONF}", done.stderr)
        self.run_chronyd(f"server {HUB}\nsourcedir {FOLDER}\n")
        self.assertEqual(self.ntp("apply").returncode, 0)
        self.assertEqual(self.chronyd_has(), {HUB, HUB6, DEAF})


class Usage(NtpCase):
    def test_bad_words(self):
        for words in ([], ["shew"], ["show", "check"], ["apply", "--json"], ["check", "--dry-run"],
                      ["show", "--no-such"]):
            done = self.ntp(*words)
            self.assertEqual((done.returncode, done.stdout), (2, ""), words)
            self.assertNotEqual(done.stderr, "")
        self.assertEqual(self.ntp("--help").returncode, 0)


class OtherDaemon(NtpCase):
    """hv2, whose chronyd makes room for another daemon."""

    def setUp(self):
        Case.setUp(self)
        self.host = self.hv2
        self.host.stop_chronyd()
        self.addCleanup(self.host.start_chronyd)

    def unpacked(self, package):
        """Puts an unpacked package into the host's own layer of /usr."""
        folder = CACHE / package / "usr"
        if not folder.exists():
            self.skipTest(f"{folder} is not there: run tests/hosts/install")
        self.host.run(["cp", "-a", f"{folder}/.", "/usr/"])

    def published(self):
        """What the daemon says of this host's clock and servers."""
        self.host.start_daemon()
        path = self.host.path("/run/timehandoff/host")
        try:
            return wait_until("what the daemon knows",
                              lambda: path.exists() and "sync-from=" in path.read_text()
                              and path.read_text(), 25)
        finally:
            self.host.stop_daemon()
            path.unlink(missing_ok=True)

    def test_ntpd(self):
        self.unpacked("ntpsec")
        self.host.path("/etc/ntpsec").mkdir(exist_ok=True)
        self.host.path("/etc/ntpsec/ntp.conf").write_text(
            f"server {HUB} iburst minpoll 0 maxpoll 3\nserver {DEAF}\n"
            "restrict default nomodify noquery limited\nrestrict 127.0.0.1\nrestrict ::1\n")
        self.host.start("ntpd", ["/usr/sbin/ntpd", "-n", "-c", "/etc/ntpsec/ntp.conf"])
        self.addCleanup(self.host.stop, "ntpd")

        def selected():
            found = self.json("show")
            return {s["name"] for s in found["sources"] if s["use"] == "selected"} and found

        found = wait_until("ntpd selects the hub", selected, 30, [self.host.log("ntpd")])
        self.assertEqual(found["daemon"], "ntpd")
        self.assertEqual([(s["name"], s["where"]) for s in found["servers"]],
                         [(HUB, "/etc/ntpsec/ntp.conf:1"), (DEAF, "/etc/ntpsec/ntp.conf:2")])
        uses = {s["name"]: s["use"] for s in found["sources"]}
        self.assertEqual(uses, {HUB: "selected", DEAF: "unreachable"})
        text = self.published()
        self.assertIn("\nsync-from=ntpd\n", text)
        self.assertIn("\nsynchronised=yes\n", text)
        self.assertIn(f"[ntp]\nkind=server\nname={HUB}\n", text)
        self.set_config(self.host, LIST)
        self.assertIn(("missing", HUB6), self.findings(1))
        done = self.ntp("apply")
        self.assertEqual(done.returncode, 1, done)
        self.assert_one_line(done.stderr, "for chronyd and timesyncd, not for ntpd")

    def start_timesyncd(self):
        shim = self.host.path("/run/timesyncd-shim.so")
        subprocess.run(["cc", "-std=gnu11", "-D_GNU_SOURCE", "-shared", "-fPIC", "-o", shim,
                        HERE / "timesyncd_shim.c"], check=True)
        program, = (CACHE / "timesyncd").glob("**/systemd/systemd-timesyncd")
        self.host.start("timesyncd", [program],
                        env={"LD_PRELOAD": "/run/timesyncd-shim.so"})

    def test_timesyncd(self):
        self.unpacked("timesyncd")
        # Its user is another one here than its package's policy of the bus allows.
        self.host.path("/etc/dbus-1/system.d").mkdir(parents=True, exist_ok=True)
        self.host.path("/etc/dbus-1/system.d/timesync.conf").write_text(
            '<busconfig><policy user="root"><allow own="org.freedesktop.timesync1"/>'
            '<allow send_destination="org.freedesktop.timesync1"/></policy></busconfig>')
        self.host.path("/etc/systemd/timesyncd.conf").write_text(f"[Time]\nNTP={DEAF}\n")
        self.host.path("/run/systemd/timesync").mkdir(parents=True, exist_ok=True)
        self.host.start_dbus()
        self.addCleanup(self.host.stop, "dbus")
        self.start_timesyncd()
        self.addCleanup(lambda: self.host.is_running("timesyncd") and self.host.stop("timesyncd"))

        def answered():
            found = self.json("show")
            return found["answered"] and found

        found = wait_until("timesyncd answers", answered, 20, [self.host.log("timesyncd")])
        self.assertEqual(found["daemon"], "timesyncd")
        self.assertEqual(found["servers"], [{"kind": "server", "name": DEAF,
                                             "where": "/etc/systemd/timesyncd.conf:2"}])
        self.set_config(self.host, f"[ntp]\nserver = {HUB}\nserver = {HUB6}\nserver = {DEAF}\n")
        self.assertEqual({f for f in self.findings(1) if f[0] == "missing"},
                         {("missing", HUB), ("missing", HUB6)})
        done = self.ntp("apply")
        # There is no systemd on a test host that could restart it.
        self.assertEqual(done.returncode, 1, done)
        self.assertIn("restart timesyncd to have it read /etc/systemd/timesyncd.conf.d/"
                      "50-timehandoff.conf", done.stderr)
        self.assertEqual({f for f in self.findings(1) if f[0] == "not-in-use"},
                         {("not-in-use", HUB), ("not-in-use", HUB6)})
        self.host.stop("timesyncd")
        self.start_timesyncd()
        wait_until("timesyncd follows the hub", lambda: any(
            s["use"] == "selected" and s["address"] == HUB for s in self.json("show")["sources"]),
            20, [self.host.log("timesyncd")])
        self.assertEqual(self.findings(0), set())
        done = self.ntp("apply")
        self.assertEqual((done.returncode, done.stdout), (0, "nothing to change\n"), done)
        self.assertIn("\nsync-from=timesyncd\n", self.published())

    def test_ptp4l(self):
        self.unpacked("linuxptp")
        folder = CACHE / "linuxptp" / "usr"
        self.hv1.run(["cp", "-a", f"{folder}/.", "/usr/"])
        for host, extra in ((self.hv1, "priority1 10\n"), (self.hv2, "slaveOnly 1\n"
                                                          "free_running 1\n")):
            host.path("/etc/linuxptp").mkdir(exist_ok=True)
            host.path("/etc/linuxptp/ptp4l.conf").write_text(
                "[global]\ntime_stamping software\ndomainNumber 24\nlogSyncInterval -2\n"
                f"logAnnounceInterval -2\n{extra}[eth0]\n")
            host.start("ptp4l", ["/usr/sbin/ptp4l", "-m", "-f", "/etc/linuxptp/ptp4l.conf"])
            self.addCleanup(host.stop, "ptp4l")

        def follows():
            found = self.json("show")
            return found["sources"] and found

        found = wait_until("ptp4l follows hv1", follows, 30, [self.host.log("ptp4l")])
        self.assertEqual((found["daemon"], found["answered"]), ("ptp4l", True))
        self.assertEqual(found["servers"], [{"kind": "refclock", "name": "ptp:24",
                                             "where": "/etc/linuxptp/ptp4l.conf (eth0)"}])
        self.assertRegex(found["sources"][0]["name"], r"^[0-9a-f]{6}\.[0-9a-f]{4}\.[0-9a-f]{6}$")
        text = self.published()
        self.assertIn("\nsync-from=ptp4l\n", text)
        # It may not set the clock here, so the host's clock isn't synchronised by it.
        self.assertNotIn("\nsynchronised=yes\n", text)


if __name__ == "__main__":
    hostkit.enter()
    unittest.main()
