# SPDX-License-Identifier: LGPL-2.1-or-later
"""A small fleet: three hosts that watch each other, and what each says of the others.

Alerts begin once and end once, whatever happens to peers; servers that are added on one host are
noticed on the others; status, D-Bus and metrics say the same as the journal. One guest migrates at
the end. The hosts' real daemons and a real chronyd run; NTP servers are addresses of the hub's.
"""

import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest
import xml.etree.ElementTree as ElementTree

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "hosts"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import bed  # noqa: E402
from busname import BusName  # noqa: E402
from hostkit import Key, LoggedCase, enter, group_of  # noqa: E402
from hosts import Failure, Hosts, wait_until  # noqa: E402

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
ALERT = "6ed4cce4d7f298ff8c6dc7c96a0c3491"
NAMES = ("hv1", "hv2", "hv3")
NTP_SERVERS = ("10.77.0.251", "10.77.0.252", "10.77.0.253")
TEXTFILE = "/run/metrics.prom"
INTERVAL_S = 1.0
# The time daemon is asked this often.
REFRESH_S = 10.0
BUS = ("org.timehandoff1", "/org/timehandoff1")
MANAGER = "org.timehandoff1.Manager"

hosts = None


def config(names=NAMES, extra=""):
    peers = "".join(f"peer = {name} group=lab\n" for name in names)
    return f"[peers]\ninterval = 1s\n{peers}[alert]\ntextfile = {TEXTFILE}\n{extra}"


def setUpModule():
    global hosts
    # As systemd sets it at boot: else a journal that nobody reads yet takes eleven records.
    pathlib.Path("/proc/sys/net/unix/max_dgram_qlen").write_text("512\n")
    Case.hosts = hosts = unittest.enterModuleContext(Hosts(NAMES, os.environ["TH_STAGE"]))
    for address in NTP_SERVERS:
        bed.call("ip", "addr", "add", f"{address}/24", "dev", "hub")
    for host in hosts:
        host.write_config(config())
    hosts["hv1"].start_dbus()
    for host in hosts:
        host.start_peerd()
        host.start_daemon()
    for host in hosts:
        wait_until(f"{host.name} knows the others", lambda: all_answer(host), 20.0,
                   [host.log("daemon"), host.log("peerd")])


def status(host):
    """(exit status, document) of `timehandoff status`."""
    done = host.run(["timehandoff", "status", "--json"], check=False)
    return done.returncode, json.loads(done.stdout)


def peer_of(host, name):
    return next((p for p in status(host)[1].get("peers", []) if p["host"] == name), None)


def all_answer(host):
    peers = status(host)[1].get("peers", [])
    return len(peers) == 2 and all(p["answered"] and "ntp_servers" in p for p in peers)


class Alerts:
    """The records of one kind of alert that a host gets from now on."""

    def __init__(self, host, kind, peer=None):
        self._host, self._kind, self._peer = host, kind, peer
        self._before = len(self._all())

    def _all(self):
        return [r for r in self._host.journal(MESSAGE_ID=ALERT)
                if r["TIMEHANDOFF_ALERT"] == self._kind
                and r.get("TIMEHANDOFF_PEER") == self._peer]

    def states(self):
        return [r["TIMEHANDOFF_ALERT_STATE"] for r in self.records()]

    def records(self):
        return self._all()[self._before:]

    def wait(self, *states, deadline_s=8.0):
        wait_until(f"{self._kind} about {self._peer} on {self._host.name}: {states}",
                   lambda: self.states() == list(states), deadline_s,
                   [self._host.log("journal"), self._host.log("daemon")])
        return self.records()[-1]


def set_servers(host, *extra):
    """Gives the host's chronyd more servers than the hub, and starts it anew."""
    host.stop_chronyd()
    path = host.path("/etc/chrony/chrony.conf")
    lines = [line for line in path.read_text().splitlines()
             if not any(address in line for address in NTP_SERVERS)]
    lines += [f"server {address} iburst minpoll -2 maxpoll -2" for address in extra]
    path.write_text("\n".join(lines) + "\n")
    host.start("chronyd", ["/usr/sbin/chronyd", "-x", "-d", "-u", "root", "-f",
                           "/etc/chrony/chrony.conf"])
    host.wait_synced()


class Case(LoggedCase):
    def setUp(self):
        self.hv1, self.hv2, self.hv3 = (hosts[name] for name in NAMES)
        for host in hosts:
            self.addCleanup(host.set_shift, 0)

    def restart_peerd(self, host):
        if host.is_running("peerd"):
            host.stop_peerd()
        host.start_peerd()

    def stop_peerd(self, host, number=signal.SIGTERM):
        self.addCleanup(lambda: host.is_running("peerd") or host.start_peerd())
        host.stop_peerd(number)

    def wait_quiet(self, host):
        """No alert is set on the host."""
        wait_until(f"no alert on {host.name}", lambda: status(host)[0] == 0, 20.0,
                   [host.log("journal")])

    def bus(self, host, *argv, user=None, check=True):
        return host.run(["busctl", "--json=short", *argv], user=user, check=check)

    def get(self, host, name, user=None):
        done = self.bus(host, "get-property", *BUS, MANAGER, name, user=user)
        return json.loads(done.stdout)["data"]

    def monitor(self, host, rule):
        """A function that tells what signals there were on the host's bus since now."""
        name = f"monitor-{self._testMethodName}"
        monitor = host.spawn(["stdbuf", "-oL", "dbus-monitor", "--system",
                              f"type='signal',{rule}"], name)
        self.addCleanup(monitor.wait)
        self.addCleanup(monitor.terminate)
        # It loses its own name when it sees all.
        wait_until("the monitor", lambda: "member=NameLost" in host.log(name).read_text())
        return host.log(name).read_text


class TestAlerts(Case):
    def test_gap_is_told_once_and_ends_once(self):
        for host in (self.hv1, self.hv3):
            self.wait_quiet(host)
        gap, other = Alerts(self.hv1, "gap", "hv2"), Alerts(self.hv1, "gap", "hv3")
        began = time.monotonic()
        self.hv2.set_shift(1.0)
        record = gap.wait("set")
        self.assertLess(time.monotonic() - began, 4 * INTERVAL_S + 1.0)
        self.assertRegex(record["MESSAGE"], r"^timehandoff: alert gap set: hv2 is (1(\.0+\d*)? s|"
                                            r"999\.9\d* ms) ahead of this host \(±.*\), limit 50 ms")
        self.assertEqual(record["PRIORITY"], "4")
        offset, bound = (int(record[f"TIMEHANDOFF_GAP_{n}"]) for n in ("NS", "BOUND_NS"))
        self.assertLessEqual(abs(offset - 10**9), bound)
        code, document = status(self.hv1)
        self.assertEqual(code, 1)
        self.assertEqual([(a["kind"], a["peer"]) for a in document["alerts"]], [("gap", "hv2")])
        # Not once an interval.
        time.sleep(3.5 * INTERVAL_S)
        self.assertEqual(gap.states(), ["set"])
        self.hv2.set_shift(0)
        record = gap.wait("set", "clear")
        self.assertEqual(record["PRIORITY"], "5")
        time.sleep(2.5 * INTERVAL_S)
        self.assertEqual(gap.states(), ["set", "clear"])
        self.assertEqual(other.states(), [])
        self.assertEqual(status(self.hv1)[0], 0)

    def test_a_restart_tells_nothing_anew(self):
        self.wait_quiet(self.hv1)
        gap = Alerts(self.hv1, "gap", "hv3")
        self.hv3.set_shift(-2.0)
        gap.wait("set")
        since = status(self.hv1)[1]["alerts"][0]["since_real_ns"]
        self.hv1.stop_daemon()
        self.hv1.start_daemon()
        time.sleep(4.5 * INTERVAL_S)
        self.assertEqual(gap.states(), ["set"])
        self.assertEqual(status(self.hv1)[1]["alerts"][0]["since_real_ns"], since)
        self.hv3.set_shift(0)
        gap.wait("set", "clear")

    def test_servers_added_on_one_host_are_noticed_on_the_others(self):
        self.wait_quiet(self.hv1)
        self.addCleanup(set_servers, self.hv2)
        alerts = [Alerts(self.hv1, "ntp-differs", "hv2"), Alerts(self.hv3, "ntp-differs", "hv2"),
                  Alerts(self.hv2, "ntp-differs", "hv1")]
        set_servers(self.hv2, *NTP_SERVERS)
        wait_until("hv2 to see its own servers",
                   lambda: NTP_SERVERS[0] in status(self.hv2)[1]["host"]["ntp_servers"],
                   REFRESH_S + 3, [self.hv2.log("daemon")])
        began = time.monotonic()
        record = alerts[0].wait("set")
        # Two observations, at most an interval and a tenth apart, after the first one.
        self.assertLess(time.monotonic() - began, 4 * INTERVAL_S)
        self.assertTrue(record["MESSAGE"].endswith(
            f"NTP servers differ: only on hv2: {', '.join(NTP_SERVERS)}"), record["MESSAGE"])
        alerts[1].wait("set")
        record = alerts[2].wait("set")
        self.assertIn(f"only on hv2: {', '.join(NTP_SERVERS)}", record["MESSAGE"])
        self.assertEqual(sorted(peer_of(self.hv1, "hv2")["ntp_servers"]),
                         sorted([*NTP_SERVERS, "10.77.0.254"]))
        set_servers(self.hv2)
        for alert in alerts:
            alert.wait("set", "clear", deadline_s=REFRESH_S + 8)

    def test_servers_that_are_not_the_organisations(self):
        alert = Alerts(self.hv3, "ntp-unconfigured")
        self.hv3.write_config(config(extra=f"[ntp]\nserver = {NTP_SERVERS[0]}\n"))
        self.hv3.stop_daemon(signal.SIGTERM)
        self.hv3.start_daemon()
        record = alert.wait("set", deadline_s=2 * REFRESH_S + 5)
        self.assertIn(f"only on hv3: 10.77.0.254; only on [ntp]: {NTP_SERVERS[0]}",
                      record["MESSAGE"])
        self.hv3.write_config(config())
        self.hv3.stop_daemon()
        self.hv3.start_daemon()
        alert.wait("set", "clear", deadline_s=2 * REFRESH_S + 5)

    def test_a_host_that_is_not_synchronised(self):
        self.wait_quiet(self.hv1)
        self.addCleanup(self.hv3.set_synced, True)
        here, there = Alerts(self.hv3, "host-unsynchronised"), \
            Alerts(self.hv1, "peer-unsynchronised", "hv3")
        self.hv3.set_synced(False)
        record = here.wait("set", deadline_s=3 * REFRESH_S)
        self.assertEqual(record["PRIORITY"], "4")
        there.wait("set", deadline_s=REFRESH_S)
        self.assertEqual(peer_of(self.hv1, "hv3")["synchronised"], "no")
        self.hv3.set_synced(True)
        here.wait("set", "clear", deadline_s=3 * REFRESH_S)
        there.wait("set", "clear", deadline_s=REFRESH_S)


class TestPeers(Case):
    def test_an_unreachable_peer_and_its_return(self):
        self.wait_quiet(self.hv1)
        silent = Alerts(self.hv1, "peer-silent", "hv2")
        self.stop_peerd(self.hv2)
        record = silent.wait("set")
        self.assertTrue(record["MESSAGE"].endswith("hv2 does not answer"), record["MESSAGE"])
        peer = peer_of(self.hv1, "hv2")
        self.assertFalse(peer["answered"])
        # What was measured last is kept, with its age.
        self.assertIn("offset_ns", peer["gap"])
        self.hv2.start_peerd()
        silent.wait("set", "clear")

    def test_a_quick_restart_is_not_told(self):
        self.wait_quiet(self.hv1)
        silent = Alerts(self.hv1, "peer-silent", "hv2")
        for _ in range(3):
            self.restart_peerd(self.hv2)
            time.sleep(1.2 * INTERVAL_S)
        self.assertEqual(silent.states(), [])

    def test_a_peerd_that_restarts_goes_on_where_it_was(self):
        wait_until("a history", lambda: len(peer_of(self.hv1, "hv2")["history"]) == 10, 20.0)
        self.restart_peerd(self.hv1)
        wait_until("peers again", lambda: all_answer(self.hv1), 5.0)
        history = peer_of(self.hv1, "hv2")["history"]
        self.assertEqual(len(history), 10)
        times = [gap["at_real_ns"] for gap in history]
        self.assertEqual(times, sorted(times))
        self.assertLess(times[-1] - times[0], 30e9)

    def test_a_peer_with_a_wrong_key(self):
        self.wait_quiet(self.hv1)
        silent = Alerts(self.hv1, "peer-silent", "hv2")
        for host, seed in ((self.hv1, 1), (self.hv2, 2), (self.hv3, 1)):
            host.write_config(Key(1, seed=seed).line, "keys")
            path = host.path("/etc/timehandoff/keys")
            os.chown(path, 0, group_of(host))
            path.chmod(0o640)
        try:
            for host in hosts:
                self.restart_peerd(host)
            record = silent.wait("set", deadline_s=12.0)
            self.assertIn("hv2 answers, but not under the key", record["MESSAGE"])
            self.assertTrue(peer_of(self.hv1, "hv3")["authenticated"])
            self.assertTrue(peer_of(self.hv1, "hv2")["answers_without_key"])
            text = self.hv1.run(["timehandoff", "status"], check=False).stdout
            self.assertRegex(text, r"(?m)^hv2 .* wrong key$")
            self.assertRegex(text, r"(?m)^hv3 .* key$")
        finally:
            for host in hosts:
                host.path("/etc/timehandoff/keys").unlink(missing_ok=True)
                self.restart_peerd(host)
        silent.wait("set", "clear", deadline_s=12.0)

    def test_a_peer_that_is_renamed(self):
        self.wait_quiet(self.hv1)
        old, new = Alerts(self.hv1, "gap", "hv2"), Alerts(self.hv1, "gap", "10.77.0.2")
        self.hv2.set_shift(1.0)
        old.wait("set")
        self.hv1.write_config(config(("hv1", "10.77.0.2", "hv3")))
        self.restart_peerd(self.hv1)
        record = old.wait("set", "clear")
        self.assertIn("no longer among the peers", record["MESSAGE"])
        new.wait("set")
        self.hv2.set_shift(0)
        new.wait("set", "clear")
        self.hv1.write_config(config())
        self.restart_peerd(self.hv1)
        wait_until("hv2 under its name", lambda: peer_of(self.hv1, "hv2"))


class TestStatus(Case):
    def test_a_page_of_80_columns(self):
        self.wait_quiet(self.hv1)
        done = self.hv1.run(["timehandoff", "status"], check=False)
        self.assertEqual(done.returncode, 0, done.stdout)
        for line in done.stdout.splitlines():
            self.assertLessEqual(len(line), 80, line)
        self.assertRegex(done.stdout, r"(?m)^host +hv1$")
        self.assertRegex(done.stdout, r"(?m)^synchronised +yes, says chronyd: within .* of UTC")
        self.assertRegex(done.stdout, r"(?m)^NTP servers +10\.77\.0\.254$")
        self.assertRegex(done.stdout, r"(?m)^alerts +none$")
        self.assertRegex(done.stdout, r"(?m)^hv2 +\S+ \S+ ±\S+ \S+ +\d+ s +yes +no key$")

    def test_anybody_may_look(self):
        done = self.hv1.run(["timehandoff", "status", "--json"], user="timehandoff", check=False)
        self.assertEqual(json.loads(done.stdout)["host"]["name"], "hv1")

    def test_an_override_is_shown(self):
        self.addCleanup(self.hv1.run, ["timehandoff", "override", "--clear"])
        self.hv1.run(["timehandoff", "override", "--for", "1h", "--source", "hv9"])
        self.assertEqual(status(self.hv1)[1]["override"]["source"], "hv9")
        text = self.hv1.run(["timehandoff", "status"], check=False).stdout
        self.assertRegex(text, r"(?m)^OVERRIDE +migrations from hv9 pass unchecked until 2")

    def test_without_daemons_it_says_so(self):
        self.addCleanup(lambda: self.hv3.is_running("daemon") or self.hv3.start_daemon())
        self.hv3.stop_daemon()
        self.hv3.path("/run/timehandoff/status").unlink()
        done = self.hv3.run(["timehandoff", "status"], check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("timehandoffd does not run here", done.stdout)

    def test_over_ssh(self):
        ssh = self.hv1.path("/usr/local/bin/ssh")
        ssh.parent.mkdir(parents=True, exist_ok=True)
        ssh.write_text('#!/bin/sh\necho "ssh $*"; exit 7\n')
        ssh.chmod(0o755)
        self.addCleanup(ssh.unlink)
        done = self.hv1.run(["timehandoff", "status", "-H", "root@hv2", "--json"], check=False)
        self.assertEqual((done.returncode, done.stdout),
                         (7, "ssh -- root@hv2 timehandoff status --json\n"))
        done = self.hv1.run(["timehandoff", "status", "--host", "-oProxyCommand=x"], check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("is no host", done.stderr)

    def test_metrics(self):
        wait_until("metrics", lambda: self.hv1.path(TEXTFILE).exists())
        text = self.hv1.path(TEXTFILE).read_text()
        self.assertRegex(text, r'(?m)^timehandoff_gap_seconds\{peer="hv2"\} -?0\.\d{9}$')
        self.assertRegex(text, r"(?m)^timehandoff_synchronised 1$")
        self.assertRegex(text, r'(?m)^timehandoff_alert\{kind="gap",peer="hv3"\} 0$')
        self.assertEqual(self.hv1.path(TEXTFILE).stat().st_mode & 0o777, 0o644)
        promtool = bed.CACHE / "prometheus/usr/bin/promtool"
        if not promtool.exists():
            self.skipTest("promtool is not here: run tests/hosts/install")
        done = subprocess.run([promtool, "check", "metrics"], input=text, text=True,
                              capture_output=True, check=False)
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))


class TestExamples(unittest.TestCase):
    """What is given with the product for Prometheus and Grafana: it speaks of metrics there are."""

    PROMETHEUS = TOP / "examples/prometheus"

    @staticmethod
    def metrics():
        source = (TOP / "plugin/report/metrics.c").read_text()
        return set(re.findall(r'"(timehandoff_\w+?)"', source))

    def promtool(self, *argv):
        tool = bed.CACHE / "prometheus/usr/bin/promtool"
        if not tool.exists():
            self.skipTest("promtool is not here: run tests/hosts/install")
        return subprocess.run([tool, *argv], cwd=self.PROMETHEUS, text=True, capture_output=True,
                              check=False)

    def test_rules(self):
        for argv in (("check", "rules", "timehandoff.rules.yml"),
                     ("test", "rules", "timehandoff.test.yml")):
            done = self.promtool(*argv)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_names_of_metrics(self):
        known = self.metrics()
        self.assertGreater(len(known), 10)
        dashboard = (TOP / "examples/grafana/timehandoff.json").read_text()
        queries = re.findall(r'"expr": "((?:[^"\\]|\\.)*)"', dashboard)
        rules = (self.PROMETHEUS / "timehandoff.rules.yml").read_text()
        self.assertGreater(len(queries), 8)
        for text in (*queries, *re.findall(r"expr: (.*)", rules)):
            used = set(re.findall(r"timehandoff_\w+", text))
            self.assertLessEqual(used, known, text)
        page = (TOP / "docs/man/timehandoffd.8.scd").read_text()
        for name in known:
            self.assertRegex(page, rf"\b{name}\b")
        for name in re.findall(r"timehandoff_\w+", page):
            self.assertIn(name, known)

    def test_the_dashboard_is_whole(self):
        dashboard = json.loads((TOP / "examples/grafana/timehandoff.json").read_text())
        numbers = [panel["id"] for panel in dashboard["panels"]]
        self.assertEqual(len(numbers), len(set(numbers)))
        for panel in dashboard["panels"]:
            self.assertTrue(panel["title"] and panel["description"] and panel["targets"])
            place = panel["gridPos"]
            self.assertLessEqual(place["x"] + place["w"], 24)


class TestBus(Case):
    def test_introspection_is_as_the_installed_file_says(self):
        live = self.bus(self.hv1, "introspect", "--xml-interface", *BUS).stdout
        installed = self.hv1.path("/usr/share/dbus-1/interfaces/org.timehandoff1.xml").read_text()
        self.assertEqual(self.facts(live), self.facts(installed))

    @staticmethod
    def facts(text):
        """Members of our interface, with their types, names and annotations."""
        interface = next(i for i in ElementTree.fromstring(text).iter("interface")
                         if i.get("name") == MANAGER)
        change = "org.freedesktop.DBus.Property.EmitsChangedSignal"

        def about(member):
            notes = {a.get("name"): a.get("value") for a in member.findall("annotation")}
            arguments = [(a.get("type"), a.get("name"),
                          a.get("direction") if member.tag == "method" else None)
                         for a in member.findall("arg")]
            return (member.tag, member.get("name"), member.get("type"), member.get("access"),
                    arguments, notes.get(change, "true"))

        return sorted(map(about, list(interface)))

    def test_everybody_may_read(self):
        self.wait_quiet(self.hv1)
        self.assertEqual(self.get(self.hv1, "HostName", user="timehandoff"), "hv1")
        self.assertEqual(self.get(self.hv1, "Synchronised", user="timehandoff"), "yes")
        self.assertEqual(self.get(self.hv1, "SyncFrom"), "chronyd")
        self.assertEqual(self.get(self.hv1, "NtpServers"), ["10.77.0.254"])
        self.assertGreater(self.get(self.hv1, "ErrorBoundNs"), 0)
        self.assertEqual(self.get(self.hv1, "OverrideUntilRealNs"), 0)
        self.assertEqual(self.get(self.hv1, "Alerts"), [])
        peers = {p["Host"]["data"]: p for p in self.get(self.hv1, "Peers", user="timehandoff")}
        self.assertEqual(sorted(peers), ["hv2", "hv3"])
        self.assertLessEqual(abs(peers["hv2"]["OffsetNs"]["data"]),
                             peers["hv2"]["BoundNs"]["data"])
        self.assertEqual(peers["hv2"]["Synchronised"]["data"], "yes")

    def test_only_root_may_act(self):
        for method in ("Measure", "Handoff"):
            done = self.bus(self.hv1, "call", *BUS, MANAGER, method, "s", "hv2",
                            user="timehandoff", check=False)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("ccess denied", done.stderr)

    def test_measure(self):
        # An interval in which nothing comes by itself.
        self.hv1.write_config(config().replace("interval = 1s", "interval = 1h"))
        self.restart_peerd(self.hv1)
        self.hv1.stop_daemon()
        self.hv1.start_daemon()
        try:
            wait_until("peers", lambda: len(self.get(self.hv1, "Peers")) == 2)
            self.hv2.set_shift(0.25)
            began = time.monotonic()
            done = self.bus(self.hv1, "call", *BUS, MANAGER, "Measure", "s", "hv2")
            took_s = time.monotonic() - began
            answered, offset_ns, bound_ns, authenticated = json.loads(done.stdout)["data"]
            self.assertLess(took_s, 2.0)
            self.assertTrue(answered)
            self.assertFalse(authenticated)
            self.assertLessEqual(abs(offset_ns - 250000000), bound_ns)
            done = self.bus(self.hv1, "call", *BUS, MANAGER, "Measure", "s", "hv9", check=False)
            self.assertIn("hv9 is no peer", done.stderr)
            self.stop_peerd(self.hv1)
            began = time.monotonic()
            done = self.bus(self.hv1, "call", *BUS, MANAGER, "Measure", "s", "hv2", check=False)
            self.assertIn("did not measure hv2 in time", done.stderr)
            self.assertLess(time.monotonic() - began, 4.0)
        finally:
            self.hv2.set_shift(0)
            self.hv1.write_config(config())
            self.restart_peerd(self.hv1)
            self.hv1.stop_daemon()
            self.hv1.start_daemon()

    def test_signals(self):
        self.wait_quiet(self.hv1)
        told = self.monitor(self.hv1, "path='/org/timehandoff1'")
        gap = Alerts(self.hv1, "gap", "hv3")
        self.hv3.set_shift(1.0)
        gap.wait("set")
        time.sleep(2.5 * INTERVAL_S)
        self.hv3.set_shift(0)
        gap.wait("set", "clear")
        wait_until("both signals", lambda: told().count("member=AlertChanged") >= 2)
        time.sleep(2.5 * INTERVAL_S)
        text = told()
        self.assertEqual(text.count("member=AlertChanged"), 2, text)
        # Of the alerts twice; measurements alone are no change.
        changes = re.findall(r'member=PropertiesChanged.*\n.*\n(?:.*\n)*?.*string "(\w+)"', text)
        self.assertEqual([name for name in changes if name == "Alerts"], ["Alerts"] * 2, text)
        self.assertNotIn("Peers", changes)

    def wait_named(self, host):
        wait_until("the daemon on the bus", lambda: self.bus(
            host, "get-property", *BUS, MANAGER, "HostName", check=False).returncode == 0,
            2 * REFRESH_S, [host.log("daemon"), host.log("dbus")])

    @contextlib.contextmanager
    def deaf_bus(self, host):
        """In place of the host's bus one that hangs up at once; yields the calls that it had."""
        calls = []
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            path = host.base / "run/dbus/system_bus_socket"
            path.unlink(missing_ok=True)
            listener.bind(str(path))
            listener.listen()

            def hang_up():
                with contextlib.suppress(OSError):
                    while True:
                        calls.append(listener.accept()[0].close())

            thread = threading.Thread(target=hang_up)
            thread.start()
            try:
                yield calls
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                thread.join()

    def bus_lines(self, logged):
        return [r["MESSAGE"] for r in self.hv1.journal()[logged:] if "system bus" in r["MESSAGE"]]

    def test_the_bus_goes_and_comes_back(self):
        logged = len(self.hv1.journal())
        self.hv1.stop("dbus")
        with self.deaf_bus(self.hv1) as calls:
            wait_until("two tries", lambda: len(calls) >= 2, 3 * REFRESH_S,
                       [self.hv1.log("daemon")])
            self.assertTrue(all_answer(self.hv1))
        self.hv1.start_dbus()
        self.wait_named(self.hv1)
        told = self.monitor(self.hv1, "path='/org/timehandoff1'")
        gap = Alerts(self.hv1, "gap", "hv3")
        self.hv3.set_shift(1.0)
        gap.wait("set")
        wait_until("the signal", lambda: "member=AlertChanged" in told())
        self.hv3.set_shift(0)
        gap.wait("set", "clear")
        self.assertEqual(self.bus_lines(logged), [
            "timehandoffd: no system bus, so this host's own sleep goes unnoticed: "
            "the connection to it was closed",
            "timehandoffd: org.timehandoff1 is on the system bus"])

    def test_the_name_is_taken(self):
        self.hv1.stop_daemon()
        other = BusName(self.hv1, BUS[0])
        logged = len(self.hv1.journal())
        try:
            self.hv1.start_daemon()
            wait_until("word of it", lambda: self.bus_lines(logged), logs=[self.hv1.log("daemon")])
        finally:
            other.close()
        self.wait_named(self.hv1)
        wait_until("word of that", lambda: len(self.bus_lines(logged)) > 1)
        self.assertEqual(self.bus_lines(logged), [
            "timehandoffd: cannot be org.timehandoff1 on the system bus: another program has that "
            "name",
            "timehandoffd: org.timehandoff1 is on the system bus"])

    def test_without_a_bus_the_daemon_runs_the_same(self):
        self.assertFalse(self.hv2.is_running("dbus"))
        self.assertTrue(self.hv2.is_running("daemon"))
        self.assertTrue(all_answer(self.hv2))


class TestGuest(Case):
    """Last, since a guest takes its time to boot."""

    def test_handoffs_are_shown_and_an_origin_becomes_a_peer(self):
        self.wait_quiet(self.hv1)
        # hv3 is none of hv1's peers here.
        self.hv1.write_config(config(("hv1", "hv2")))
        self.restart_peerd(self.hv1)
        self.hv1.stop_daemon()
        self.hv1.start_daemon()
        guest = hosts.guest("web1", "hv3")
        wait_until("a stamp", lambda: self.is_stamped(guest), 20.0, [self.hv3.log("daemon")])
        told = self.monitor(self.hv1, f"interface='{MANAGER}'")
        done = guest.migrate(self.hv1)
        self.assertEqual(done.returncode, 0, done.stderr)
        handoff = wait_until("the handoff in the status",
                             lambda: self.handoff("migrated"), 30.0, [self.hv1.log("daemon")])
        self.assertEqual(handoff["domain"], "web1")
        self.assertEqual(handoff["from_host"], "hv3")
        peer = wait_until("hv3 as a peer", lambda: peer_of(self.hv1, "hv3"), 10.0,
                          [self.hv1.log("peerd")])
        self.assertEqual(peer["found"], "stamp")
        wait_until("its gap", lambda: "gap" in peer_of(self.hv1, "hv3"), 10.0)
        self.bus(self.hv1, "call", *BUS, MANAGER, "Handoff", "s", "web1")
        wait_until("the handoff on request", lambda: self.handoff("request"), 40.0,
                   [self.hv1.log("daemon")])
        handoffs = self.get(self.hv1, "Handoffs")
        self.assertEqual([h["Domain"]["data"] for h in handoffs], ["web1"])
        wait_until("both signals", lambda: told().count("member=HandoffFinished") >= 2)
        self.assertEqual(told().count("member=HandoffFinished"), 2, told())
        metrics = self.hv1.path(TEXTFILE).read_text()
        self.assertIn('timehandoff_arrivals_total{checked="yes"} 1\n', metrics)
        done = self.bus(self.hv1, "call", *BUS, MANAGER, "Handoff", "s", "web9", check=False)
        self.assertIn("no domain web9 runs here", done.stderr)

    def handoff(self, trigger):
        return next((h for h in status(self.hv1)[1].get("handoffs", [])
                     if h["trigger"] == trigger), None)

    @staticmethod
    def is_stamped(guest):
        return "urn:timehandoff:origin:1" in guest.host.virsh("dumpxml", guest.name).stdout


def load_tests(loader, _tests, _pattern):
    suite = unittest.TestSuite()
    for case in (TestExamples, TestAlerts, TestPeers, TestStatus, TestBus, TestGuest):
        suite.addTests(loader.loadTestsFromTestCase(case))
    return suite


if __name__ == "__main__":
    enter()
    unittest.main()
