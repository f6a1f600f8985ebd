# SPDX-License-Identifier: LGPL-2.1-or-later
"""What others rely on of a host whose responder goes on while something else of it does not.

A daemon that died before the responder began, a name server that is silent, a fleet of more peers
than are asked side by side; and what an operator sees of the questions that were refused.
TH_STAGE names a staged install.
"""

import json
import os
import signal
import socket
import sys
import threading
import time
import unittest
import uuid

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import hostkit  # noqa: E402
from hostkit import HUB, Case, Key, ask, header, identity, publish  # noqa: E402
from hosts import wait_until  # noqa: E402

DOMAIN = uuid.UUID("3f0e3c0a-51f2-4a26-8d0b-3f6a4f3c2d10")
STAMP_KEY = Key(0x9b000001)
KEY, OTHER_KEY = Key(7), Key(8, seed=2)
REFRESH_NS = 10 * 10**9
STATES = {"unknown": 0, "inactive": 1, "running": 2}
# One more than are asked side by side.
MANY = 65
DEADLINE_S = 20.0
# Time enough for an answer on any machine; what is not answered then was lost.
LOST_S = 5.0


def setUpModule():
    hosts = hostkit.bring_up("hv1", "hv2", "hv3")
    for number in range(1, MANY):
        hosts["hv1"].add_addresses("eth0", f"10.77.0.{100 + number}/24")


class PeerdCase(Case):
    """hv1 answers, hv2 asks."""

    def setUp(self):
        super().setUp()
        self.hv3 = self.hosts["hv3"]
        for host in self.hosts:
            publish(host)

    def dry_run(self, stamp=""):
        """The document of a dry run on hv2, for a domain with this in its metadata."""
        xml = (f"<domain type='kvm'><name>web1</name><uuid>{DOMAIN}</uuid>"
               f"<metadata>{stamp}</metadata></domain>")
        done = self.hv2.run(["timehandoff", "dry-run", "--json", "-"], input=xml, check=False)
        self.assertEqual(done.stderr, "")
        return json.loads(done.stdout)

    def stamp(self):
        return ('<o:origin xmlns:o="urn:timehandoff:origin:1" host="hv1" '
                f'uuid="{self.hv1.uuid}" key-id="{STAMP_KEY.number}" '
                f'key="HEX:{STAMP_KEY.secret.hex()}">'
                f"<o:address>{self.hv1.address}:10123</o:address></o:origin>")

    @staticmethod
    def ask_under(key, number=DOMAIN):
        question = header() + identity(number)
        return ask(question + key.mac(question), "10.77.0.1", timeout_s=LOST_S)

    def peers(self, host):
        """What a host's responder has learnt, as a list of sections."""
        path = host.path("/run/timehandoff/peers/peers")
        sections = []
        for line in path.read_text().splitlines() if path.exists() else ():
            if line.startswith("["):
                sections.append((line, {}))
            else:
                key, _, value = line.partition("=")
                sections[-1][1].setdefault(key, value)
        return sections

    def answering(self, host):
        """The names of the peers that answered a host last time."""
        return {fields["host"] for name, fields in self.peers(host)
                if name == "[peer]" and fields["answered"] == "yes"}


class DeadDaemon(PeerdCase):
    """The responder begins when the daemon's last word is stale already."""

    def setUp(self):
        super().setUp()
        stale_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - 4 * REFRESH_NS
        publish(self.hv1, domains=[(DOMAIN, "running", STAMP_KEY)], refresh_ns=REFRESH_NS,
                boot_ns=stale_ns)

    def assert_nothing_is_claimed(self, answer):
        self.assertEqual((answer.leap, answer.stratum), (3, 16))
        self.assertEqual((answer.identity["state"], answer.identity["synchronised"]),
                         (STATES["unknown"], 0))
        self.assertEqual(answer.identity["host"], uuid.UUID(self.hv1.uuid))

    def test_keys_open_what_they_did(self):
        self.set_keys(self.hv1, KEY)
        self.start_peerd(self.hv1)
        for key in (STAMP_KEY, KEY):
            with self.subTest(key.number):
                self.assert_nothing_is_claimed(self.ask_under(key))
        # It is the same one second later, when the file has been looked at again.
        time.sleep(1.1)
        self.assert_nothing_is_claimed(self.ask_under(STAMP_KEY))

    def test_a_stamp_leads_to_a_source_that_is_not_known(self):
        self.start_peerd(self.hv1)
        found = self.dry_run(self.stamp())
        self.assertEqual((found["verdict"]["reason"], found["source"]["stamp"]),
                         ("source-unknown", "stale"))
        # With the daemon back, all is well again.
        publish(self.hv1, domains=[(DOMAIN, "running", STAMP_KEY)])
        found = self.dry_run(self.stamp())
        self.assertEqual((found["verdict"]["reason"], found["source"]["stamp"]),
                         ("gap-ok", "used"))


class ManyPeers(PeerdCase):
    """More peers than are asked side by side: 64 addresses of hv1, and hv3 behind them."""

    def setUp(self):
        super().setUp()
        peers = [f"10.77.0.{100 + number}" for number in range(1, MANY)] + [self.hv3.address]
        for host in self.hosts:
            self.set_keys(host, KEY)
        self.set_config(self.hv2, "[peers]\n" + "".join(f"peer = {p} key=7\n" for p in peers))
        for host in self.hosts:
            self.start_peerd(host)
        wait_until("all peers to answer", lambda: self.answering(self.hv2) == set(peers),
                   DEADLINE_S, [self.hv2.log("peerd")])

    def check(self, reason, running, inactive):
        found = self.dry_run()
        source = found["source"]
        self.assertEqual((found["verdict"]["reason"], source["peers_asked"],
                          source["peers_running"], source["peers_inactive"]),
                         (reason, MANY, running, inactive))
        return found

    def test_the_last_one_counts(self):
        publish(self.hv3, domains=[(DOMAIN, "running", None)])
        self.hv3.set_shift(0.1)
        found = self.check("gap-over-warn", 1, MANY - 1)
        self.assertEqual(found["source"]["uuid"], self.hv3.uuid)
        publish(self.hv3)
        self.check("offline", 0, MANY)
        self.hv3.stop_peerd()
        self.check("source-unknown", 0, MANY - 1)

    def test_status_shows_them_all(self):
        done = self.hv2.run(["timehandoff", "status", "--json"], check=False)
        self.assertEqual(sum(peer["answered"] for peer in json.loads(done.stdout)["peers"]), MANY)


class SilentNameServer:
    """A name server on the hub that takes questions and says nothing, for one host."""

    def __init__(self, case, host):
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        case.addCleanup(self._sock.close)
        self._sock.bind((HUB, 53))
        self._sock.settimeout(DEADLINE_S)
        path = host.path("/etc/resolv.conf")
        before = path.read_bytes() if path.exists() else b""
        case.addCleanup(path.write_bytes, before)
        path.unlink(missing_ok=True)
        # Far longer than a test would wait.
        path.write_text(f"nameserver {HUB}\noptions timeout:30 attempts:5\n")

    def wait_asked(self):
        self._sock.recv(512)


class Asker:
    """Asks a host all the time, as many others would; counts what was not answered."""

    def __init__(self, host):
        self.asked, self.lost = 0, 0
        self._host, self._end = host, threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(4)]
        for thread in self._threads:
            thread.start()

    def _run(self):
        while not self._end.is_set():
            self.asked += 1
            self.lost += ask(header(), self._host.address, timeout_s=LOST_S) is None

    def end(self):
        self._end.set()
        for thread in self._threads:
            thread.join()


class NameServer(PeerdCase):
    """A peer's name is being looked up, and the name server does not answer."""

    def setUp(self):
        super().setUp()
        self.name_server = SilentNameServer(self, self.hv1)
        self.set_config(self.hv1, "[peers]\npeer = peer.timehandoff.test\n")
        self.start_peerd(self.hv1)
        self.name_server.wait_asked()

    def reload(self, config):
        said = len(self.reloads())
        self.hv1.write_config(config)
        os.kill(int((self.hv1.base / "programs/peerd").read_text()), signal.SIGHUP)
        wait_until("the reload", lambda: len(self.reloads()) > said, DEADLINE_S,
                   [self.hv1.log("peerd")])

    def reloads(self):
        return [r for r in self.hv1.journal() if "configuration reloaded" in r["MESSAGE"]]

    def test_a_reload_happens_and_no_question_is_lost(self):
        self.hv2.start_peerd()
        self.addCleanup(self.hv2.stop_peerd)
        asker = Asker(self.hv1)
        try:
            for _ in range(3):
                self.reload("[peers]\npeer = 10.77.0.2\n")
                wait_until("the new peer", lambda: self.answering(self.hv1) == {"10.77.0.2"},
                           DEADLINE_S, [self.hv1.log("peerd")])
                self.reload("[peers]\npeer = other.timehandoff.test\n")
                self.name_server.wait_asked()
        finally:
            asker.end()
        self.assertEqual(asker.lost, 0, f"of {asker.asked}")
        self.assertGreater(asker.asked, 20)

    def test_the_end_does_not_wait_for_it(self):
        # stop() gives up, and says so, long before the name server's time is over.
        self.assertEqual(self.hv1.stop_peerd(), 0)


class Reload(PeerdCase):
    """Another port by SIGHUP."""

    def hang_up(self, config, words):
        before = len(self.hv1.journal())
        self.set_config(self.hv1, config)
        os.kill(int((self.hv1.base / "programs/peerd").read_text()), signal.SIGHUP)
        wait_until(words, lambda: any(words in r["MESSAGE"] for r in self.hv1.journal()[before:]),
                   DEADLINE_S, [self.hv1.log("peerd")])

    def answers(self, *ports):
        return [ask(header(), self.hv1.address, port, timeout_s=0.5) is not None for port in ports]

    def test_the_port_moves_or_all_stays(self):
        self.start_peerd(self.hv1)
        self.hang_up("[responder]\nport = 4123\n", "configuration reloaded")
        self.assertEqual(self.answers(10123, 4123), [False, True])
        self.hang_up("[responder]\nport = 7\n", "going on with the old configuration")
        self.assertEqual(self.answers(4123), [True])
        self.hang_up("[responder]\nenabled = no\n", "configuration reloaded")
        self.assertEqual(self.answers(4123, 10123), [False, False])
        self.hang_up("", "configuration reloaded")
        self.assertEqual(self.answers(10123), [True])
        self.assertEqual(self.hv1.stop_peerd(), 0)


class Refused(PeerdCase):
    """What is refused shows on the host that refuses."""

    TEXTFILE = "/run/metrics.prom"

    def metrics(self):
        path = self.hv1.path(self.TEXTFILE)
        lines = path.read_text().splitlines() if path.exists() else ()
        return {line.split('"')[1]: int(line.split()[-1]) for line in lines
                if line.startswith("timehandoff_questions_total{")}

    def test_a_wrong_key_shows_in_the_metrics(self):
        self.set_keys(self.hv1, KEY)
        self.set_config(self.hv1, f"[peers]\ninterval = 1s\n[alert]\n"
                                  f"textfile = {self.TEXTFILE}\n")
        self.start_peerd(self.hv1)
        self.hv1.start_daemon()
        self.addCleanup(self.hv1.stop_daemon)
        self.assertIsNotNone(self.ask_under(KEY))
        question = header()
        for _ in range(3):
            ask(question + OTHER_KEY.mac(question), self.hv1.address, timeout_s=0.05)
        # A reload starts nothing anew.
        os.kill(int((self.hv1.base / "programs/peerd").read_text()), signal.SIGHUP)
        ask(b"x" * 60, self.hv1.address, timeout_s=0.05)
        wait_until("the metrics", lambda: self.metrics() ==
                   {"answered": 1, "malformed": 1, "not-a-question": 0, "not-allowed": 0,
                    "no-key": 0, "bad-key": 3}, DEADLINE_S, [self.hv1.log("daemon")])


if __name__ == "__main__":
    hostkit.enter()
    unittest.main()
