#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Measuring a gap, over real sockets between test hosts whose true gap is known.

All hosts share one kernel, so the truth is 0, or what a host's clock was shifted by. That truth has
to lie in offset +- bound of every single measurement, whatever the network does, whoever answers.
TH_STAGE names a staged install; TH_BUILD the build folder with tests/measure_many in it.
"""

import json
import os
import pathlib
import random
import re
import signal
import socket
import sys
import threading
import time
import unittest
import uuid

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import hostkit  # noqa: E402
from hostkit import HUB, PORT, Case, Key, ask, extension, header, identity, publish  # noqa: E402
from hosts import wait_until  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get("TH_BUILD", HERE.parent.parent / "build" / "gcc")).resolve()
MANY = BUILD / "tests" / "measure_many"
NTPDIG = hostkit.bed_of_hosts.bed.CACHE / "ntpdig"

AES128, AES256 = Key(7, "AES128"), Key(9, "AES256", seed=3)
REFRESH_S = 10.0  # of timehandoffd; its state counts for three of them

# Measurements while a clock is stepped: of a millisecond each, with a step every ten.
STEPPED_COUNT = 3000
FIGURES = []


def setUpModule():
    hosts = hostkit.bring_up("hv1", "hv2", "hv3")
    Staleness.watch = Watch(hosts["hv3"])
    unittest.addModuleCleanup(Staleness.watch.join)


def tearDownModule():
    print("\n".join(["", "measurements:", *FIGURES, ""]), file=sys.stderr)


class Result:
    """One line of measure_many."""

    def __init__(self, line):
        words = line.split()
        self.begin_ns, self.end_ns = int(words[0]), int(words[1])
        self.answered = len(words) > 3
        if self.answered:
            self.offset_ns, self.bound_ns, self.delay_ns = map(int, words[2:5])
            self.agreed, self.samples, self.clock = int(words[5]), int(words[6]), words[7]

    def error_ns(self, truth_s):
        return abs(self.offset_ns - round(truth_s * 1e9))

    def holds(self, truth_s):
        return self.error_ns(truth_s) <= self.bound_ns

    def __repr__(self):
        return str(vars(self))


def many(host, address, count, *options, env=None):
    """Measures so often on that host; the results."""
    done = host.run([MANY, *options, address, count], env=env, timeout=120)
    results = [Result(line) for line in done.stdout.splitlines()]
    assert len(results) == count, f"{len(results)} results of {count}: {done.stderr}"
    return results


def note(what, results, truth_s):
    """Keeps the distribution for the log."""
    answered = [r for r in results if r.answered]
    middle = len(answered) // 2
    delay_ns = sorted(r.delay_ns for r in answered)[middle]
    bound_ns = sorted(r.bound_ns for r in answered)[middle]
    error_ns = sorted(r.error_ns(truth_s) for r in answered)[middle]
    worst = max(r.error_ns(truth_s) / r.bound_ns for r in answered)
    FIGURES.append(f"  {what:58} {len(results):5} asked {len(answered):5} answered; "
                   f"median delay {delay_ns / 1e3:8.1f} us bound {bound_ns / 1e3:8.1f} us error "
                   f"{error_ns / 1e3:7.1f} us; worst error/bound {worst:.2f}")


class MeasureCase(Case):
    """With a responder on hv1 that says that it is synchronised."""

    def setUp(self):
        super().setUp()
        publish(self.hv1)

    def measure(self, *words, host=None, user=None):
        """The command on hv2, and how long it took."""
        began = time.monotonic()
        done = (host or self.hv2).run(["timehandoff", "measure", *words], check=False, user=user)
        return done, time.monotonic() - began

    def measured(self, *words, host=None):
        """What the command prints as JSON."""
        done, _ = self.measure("--json", *words, host=host)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        return json.loads(done.stdout)

    def assert_true(self, results, truth_s, least_answered=1.0):
        """The truth lies in every result, and enough of them are answers."""
        answered = [r for r in results if r.answered]
        self.assertGreaterEqual(len(answered), least_answered * len(results))
        wrong = [r for r in answered if not r.holds(truth_s)]
        self.assertEqual(wrong, [], f"{len(wrong)} of {len(answered)} do not hold {truth_s} s")

    def assert_gap(self, found, truth_s):
        self.assertLessEqual(abs(found["offset_ns"] - truth_s * 1e9), found["bound_ns"], found)


class Questioned(MeasureCase):
    """Other people's programs ask our responder."""

    def chronyd(self, *directives, timeout_s=3, address="10.77.0.1"):
        """Seconds that a real chronyd finds between the clocks, or None with what it said."""
        done = self.hv2.run(["/usr/sbin/chronyd", "-x", "-Q", "-t", timeout_s, "-d", "-u", "root",
                             *directives], check=False)
        found = re.search(r"System clock wrong by (-?[\d.]+) seconds", done.stderr)
        if found is None:
            self.assertNotEqual(done.returncode, 0, done)
        return float(found[1]) if found else None, done.stderr

    def server(self, key="", address="10.77.0.1"):
        return f"server {address} port {PORT} iburst maxsamples 1 {key}"

    def test_chronyd_without_a_key(self):
        self.start_peerd(self.hv1)
        for shift_s in (0, 5, -0.25):
            self.hv1.set_shift(shift_s)
            found_s, said = self.chronyd(self.server())
            self.assertIsNotNone(found_s, said)
            self.assertAlmostEqual(found_s, shift_s, delta=0.005)
        found_s, said = self.chronyd(self.server(address="fd77::1"))
        self.assertAlmostEqual(found_s, -0.25, delta=0.005, msg=said)

    def test_chronyd_with_keys(self):
        self.set_keys(self.hv1, AES128, AES256)
        self.start_peerd(self.hv1)
        self.hv1.set_shift(2)
        for key in (AES128, AES256):
            path = self.hv2.path("/run/chrony.keys")
            path.write_text(key.line)
            self.addCleanup(path.unlink, missing_ok=True)
            found_s, said = self.chronyd("keyfile /run/chrony.keys",
                                         self.server(f"key {key.number}"))
            self.assertIsNotNone(found_s, said)
            self.assertAlmostEqual(found_s, 2, delta=0.005)
        # The same id with another secret is nobody we know.
        path.write_text(Key(7, "AES128", seed=5).line)
        found_s, said = self.chronyd("keyfile /run/chrony.keys", self.server("key 7"), timeout_s=1)
        self.assertIsNone(found_s, said)

    def test_chronyd_refuses_what_is_not_synchronised(self):
        self.start_peerd(self.hv1)
        for state in ("no", "unknown"):
            publish(self.hv1, synchronised=state)
            found_s, said = self.chronyd(self.server(), timeout_s=1)
            self.assertIsNone(found_s, said)
            answer = ask(header(), self.hv1.address)
            self.assertEqual((answer.leap, answer.stratum), (3, 16))

    @unittest.skipUnless(NTPDIG.is_dir(), f"no ntpsec-ntpdig and python3-ntp unpacked in {NTPDIG}")
    def test_ntpdig(self):
        folder = NTPDIG / "usr/lib"
        env = {"PYTHONPATH": str(folder / "python3/dist-packages"),
               "LD_LIBRARY_PATH": str(next(folder.glob("*/ntp")))}
        # It asks NTP's own port only, so the responder takes that, where it may.
        self.hv1.run(["sh", "-c", "echo 123 >/proc/sys/net/ipv4/ip_unprivileged_port_start"])
        self.set_config(self.hv1, "[responder]\nport = 123\n")
        self.start_peerd(self.hv1)
        self.hv1.set_shift(3)
        done = self.hv2.run(["/usr/bin/python3", NTPDIG / "usr/bin/ntpdig", "-j", "-t", "2",
                             self.hv1.address], env=env)
        self.assertAlmostEqual(json.loads(done.stdout)["offset"], 3, delta=0.01)


class Questioning(MeasureCase):
    """Our command asks other people's servers, and ours."""

    def start_server(self, *directives):
        """A chronyd on hv1 that serves its time on port 123."""
        self.hv1.path("/run/server.conf").write_text("\n".join(
            ["allow", "port 123", "cmdport 0", "bindcmdaddress /", "pidfile /run/server.pid",
             *directives, ""]))
        self.hv1.start("server", ["/usr/sbin/chronyd", "-x", "-d", "-u", "root", "-f",
                                  "/run/server.conf"],
                       ready=lambda: ask(header(), self.hv1.address, 123, 0.05))
        self.addCleanup(self.hv1.stop, "server")

    def server_keys(self, *keys):
        path = self.hv1.path("/run/server.keys")
        path.write_text("".join(key.line for key in keys))
        path.chmod(0o600)
        return "keyfile /run/server.keys"

    def test_chronyd(self):
        self.start_server("local stratum 3")
        # chronyd sees no shift: the gap is all the asking host's.
        self.hv2.set_shift(1.5)
        found = self.measured("10.77.0.1:123")
        self.assert_gap(found, -1.5)
        self.assertEqual((found["clock"], found["authenticated"], found["stratum"], found["leap"]),
                         ("ntp", False, 3, 0))
        self.assertNotIn("host_uuid", found)
        self.assertLess(found["bound_ns"], 50e6)
        text, _ = self.measure("10.77.0.1:123")
        self.assertRegex(text.stdout, r"\A10\.77\.0\.1:123 \(10\.77\.0\.1:123\) is "
                                      r"1\.(5|499\d+|500\d+) s behind this host, "
                                      r"±[\d.]+ (us|ms)\n")
        self.assertRegex(text.stdout, r"(?m)^ntp clock, authenticated: no, stratum 3$")
        self.assert_gap(self.measured("[fd77::1]:123"), -1.5)
        self.assert_gap(self.measured("hv1:123"), -1.5)

    def test_chronyd_with_keys(self):
        self.start_server("local stratum 3", self.server_keys(AES128, AES256))
        self.set_keys(self.hv2, AES128, AES256)
        for words in ((), ("--key", "7"), ("--key", "9")):
            found = self.measured(*words, "10.77.0.1:123")
            self.assert_gap(found, 0)
            self.assertEqual((found["clock"], found["authenticated"]), ("ntp", True))

    def test_chronyd_that_does_not_know_our_key(self):
        self.start_server("local stratum 3", self.server_keys(AES256))
        self.set_keys(self.hv2, AES128)
        found = self.measured("10.77.0.1:123")
        self.assert_gap(found, 0)
        self.assertFalse(found["authenticated"])

    def test_chronyd_that_is_not_synchronised(self):
        self.start_server()
        found = self.measured("10.77.0.1:123")
        self.assert_gap(found, 0)
        self.assertEqual(found["leap"], 3)
        text, _ = self.measure("10.77.0.1:123")
        self.assertIn("not synchronised", text.stdout)

    def test_peerd_tells_who_it_is_to_who_proves_a_key(self):
        self.set_keys(self.hv1, AES128, AES256)
        self.set_keys(self.hv2, AES256)
        publish(self.hv1, synchronised="no")
        self.start_peerd(self.hv1)
        self.hv1.set_shift(-7)
        found = self.measured("hv1")
        self.assert_gap(found, -7)
        self.assertEqual({k: type(v) for k, v in found.items()},
                         {"host": str, "address": str, "offset_ns": int, "bound_ns": int,
                          "delay_ns": int, "clock": str, "authenticated": bool, "stratum": int,
                          "leap": int, "asked": int, "answered": int, "took_ns": int,
                          "host_uuid": str, "synchronised": str})
        self.assertEqual(found | {"offset_ns": 0, "bound_ns": 0, "delay_ns": 0, "took_ns": 0,
                                  "address": ""},
                         {"host": "hv1", "address": "", "offset_ns": 0, "bound_ns": 0,
                          "delay_ns": 0, "clock": "system", "authenticated": True, "stratum": 16,
                          "leap": 3, "asked": 8, "answered": 8, "took_ns": 0,
                          "host_uuid": self.hv1.uuid, "synchronised": "no"})
        self.assertIn(found["address"], ("10.77.0.1:10123", "[fd77::1]:10123"))
        self.assertGreater(found["bound_ns"], 0)
        self.assertGreater(found["took_ns"], found["delay_ns"])

    def test_peerd_without_keys_tells_a_peer_only(self):
        self.start_peerd(self.hv1)
        found = self.measured("10.77.0.1")
        self.assertEqual((found["clock"], found["authenticated"]), ("ntp", False))
        self.assertNotIn("host_uuid", found)
        self.hv1.stop_peerd()
        self.set_config(self.hv1, "[peers]\npeer = 10.77.0.2\n")
        self.hv1.start_peerd()
        found = wait_until("hv1 to know its peer", lambda: next(
            (f for f in [self.measured("10.77.0.1")] if f["clock"] == "system"), None), 5)
        self.assertEqual((found["clock"], found["authenticated"], found.get("host_uuid"),
                          found.get("synchronised")), ("system", False, self.hv1.uuid, "yes"))

    def test_addresses_and_names(self):
        self.start_peerd(self.hv1)
        self.hv1.set_shift(0.5)
        for host in ("10.77.0.1", "10.77.0.1:10123", "hv1", "hv1:10123", "fd77::1", "[fd77::1]",
                     "[fd77::1]:10123"):
            with self.subTest(host):
                found = self.measured(host)
                self.assertEqual(found["host"], host)
                self.assert_gap(found, 0.5)
        self.assert_gap(self.measured("127.0.0.1", host=self.hv1), 0)

    def test_each_address_of_a_name_until_one_answers(self):
        self.start_peerd(self.hv1)
        # A silent one and one where nobody listens, in either order: resolvers sort as they like.
        ways = (("10.77.0.99", "10.77.0.1"), ("10.77.0.1", "10.77.0.99"),
                ("10.77.0.2", "10.77.0.1"), ("10.77.0.1", "10.77.0.2"))
        path = self.hv2.path("/etc/hosts")
        self.addCleanup(path.write_text, path.read_text())
        with path.open("a") as hosts:
            for number, addresses in enumerate(ways):
                hosts.writelines(f"{address} ways{number}\n" for address in addresses)
            hosts.write("10.77.0.99 nowhere\n10.77.0.2 nowhere\n")
        for number in range(len(ways)):
            with self.subTest(number):
                self.assertEqual(self.measured(f"ways{number}")["address"], "10.77.0.1:10123")
        done, _ = self.measure("nowhere")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assert_one_line(done.stderr, r"no answer from nowhere \(.*, the last of 2\)")

    def test_another_port_by_configuration(self):
        self.set_config(self.hv1, "[responder]\nport = 4123\n")
        self.set_config(self.hv2, "[probe]\nport = 4123\nquestions = 3\n")
        self.start_peerd(self.hv1)
        found = self.measured("hv1")
        self.assertEqual(found["asked"], 3)
        self.assertTrue(found["address"].endswith(":4123"), found)

    def test_nobody_listens(self):
        self.set_keys(self.hv2, AES128)
        self.set_config(self.hv2, "[probe]\ntimeout = 10s\n")
        for host in ("10.77.0.1", "[fd77::1]:99", "hv3:98"):
            with self.subTest(host):
                # After a few words of refusal a kernel has no more for a second.
                time.sleep(1.1)
                done, took_s = self.measure(host)
                self.assertEqual((done.returncode, done.stdout), (1, ""))
                self.assert_one_line(done.stderr, "no answer from .*: nothing listens there")
                self.assertLess(took_s, 5)  # not waited for

    def test_everything_is_dropped(self):
        link = self.hosts.link("hv1", "hv2", loss=1.0)
        self.start_peerd(self.hv1)
        for key in (None, AES128):
            if key:
                self.set_keys(self.hv2, key)
            done, took_s = self.measure(link.address_a)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assert_one_line(done.stderr, f"no answer from {link.address_a}")
            self.assertLess(took_s, 1.5)
        link.set()
        self.assert_gap(self.measured(link.address_a), 0)

    def test_a_long_way(self):
        link = self.hosts.link("hv1", "hv2", delay_ms=(300, 100))
        self.start_peerd(self.hv1)
        done, _ = self.measure(link.address_a)
        self.assertEqual(done.returncode, 1)
        self.set_config(self.hv2, "[probe]\ntimeout = 1s\n")
        found = self.measured(link.address_a)
        self.assert_gap(found, 0)
        self.assertGreater(found["bound_ns"], 199e6)

    def test_bad_input(self):
        self.set_keys(self.hv2, AES128)
        bad = [[], ["a", "b"], ["--nope"], ["--nope", "hv1"], ["--key"], ["--key", "0", "hv1"],
               ["--key", "x", "hv1"], ["--key", "8", "hv1"], ["--key", "-7", "hv1"],
               ["--key", "99999999999", "hv1"], ["--key", "2147483649", "hv1"], [""], ["::::"],
               [":10123"], ["hv1:"], ["hv1:0"], ["hv1:70000"], ["hv1:99999999"], ["hv1:-1"],
               ["hv1: 123"], ["hv1:123x"], ["hv1:1:2"], ["10.77.0.1:0"], ["10.77.0.1:65536"],
               ["10.77.0.256"], ["[fd77::1"], ["[fd77::1]:0"], ["fd77::1]"], ["nosuch.invalid"],
               ["x" * 300], ["hv1\n"], ["hv1\x1b[31m"], ["hv1\nhv2"]]
        for words in bad:
            with self.subTest(words):
                done, took_s = self.measure(*words)
                self.assertEqual((done.returncode, done.stdout), (2, ""), done.stderr)
                self.assert_one_line(done.stderr, r"\Atimehandoff( measure)?: ")
                self.assertNotRegex(done.stderr[:-1], r"[\x00-\x1f\x7f]")
                self.assertLess(took_s, 2)

    def test_bad_configuration_and_keys(self):
        self.set_config(self.hv2, "[gap]\nwarn = 50\n")
        done, _ = self.measure("hv1")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assert_one_line(done.stderr, r"/etc/timehandoff/timehandoff\.conf:2: ")
        self.set_config(self.hv2, "")
        self.set_keys(self.hv2, AES128, mode=0o644)
        done, _ = self.measure("hv1")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assert_one_line(done.stderr, r"/etc/timehandoff/keys: others can read")

    def test_keys_that_cannot_be_read(self):
        self.set_keys(self.hv2, AES128)
        for words, user in (("no key 8 in /etc/timehandoff/keys", None), (
                "cannot read /etc/timehandoff/keys: Permission denied", "libvirt-qemu")):
            done, _ = self.measure("--key", "8", "hv1", user=user)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assert_one_line(done.stderr, words)

    def test_help(self):
        done, _ = self.measure("--help")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, r"\AUsage: timehandoff measure ")

    def test_anybody_may_measure(self):
        self.set_keys(self.hv2, AES128)
        self.start_peerd(self.hv1)
        done, _ = self.measure("--json", "hv1", user="libvirt-qemu")
        self.assertEqual(done.returncode, 0, done)
        self.assertFalse(json.loads(done.stdout)["authenticated"])


class Truth(MeasureCase):
    """The truth is in every result, thousands of times."""

    SHIFTS_S = (0, 5, -0.1)

    def proven(self):
        """Options of measure_many to ask under a key: then the bound is the tightest."""
        self.set_keys(self.hv1, AES128)
        self.set_keys(self.hv2, AES128)
        return ("--identity", "--keys", "/etc/timehandoff/keys")

    def test_loopback_10000(self):
        proven = self.proven()
        self.start_peerd(self.hv1)
        total = 0
        for shift_s in self.SHIFTS_S:
            self.hv1.set_shift(shift_s)
            for stamps in ((), ("--user-stamps",)):
                for key in ((), proven):
                    results = []
                    for together, count in (("1", 60), ("16", 780)):
                        # Not shifted, as a host of its own with the machine's clock.
                        results += many(self.hv1, "127.0.0.1", count, "--together", together,
                                        *stamps, *key, env={"TH_CLOCK_SHIFT": "off"})
                    total += len(results)
                    note(f"loopback, shift {shift_s} s{', user stamps' if stamps else ''}"
                         f"{', proven' if key else ''}", results, shift_s)
                    self.assert_true(results, shift_s)
                    self.assertEqual({r.clock for r in results}, {"system" if key else "ntp"})
        self.assertGreaterEqual(total, 10000)

    def test_bad_links_1000(self):
        proven = self.proven()
        self.start_peerd(self.hv1)
        link = self.hosts.link("hv1", "hv2", seed=4711)
        ways = [{"delay_ms": (1, 4), "jitter_ms": 2, "loss": 0.1},
                {"delay_ms": (0, 8)}, {"delay_ms": (6, 0.2), "jitter_ms": 1, "loss": 0.3}]
        total = 0
        for shift_s, way in zip(self.SHIFTS_S, ways):
            link.set(**way)
            self.hv1.set_shift(shift_s)
            for address, key in ((link.address_a, ()), (link.address_a, proven),
                                 (f"[{link.address6_a}]", proven)):
                for stamps in ((), ("--user-stamps",)):
                    results = many(self.hv2, address, 60, "--together", "12", *stamps, *key)
                    total += len(results)
                    self.assert_true(results, shift_s, least_answered=0.95)
                    note(f"link {way} shift {shift_s} s{', user stamps' if stamps else ''}"
                         f"{', proven' if key else ''}", results, shift_s)
        self.assertGreaterEqual(total, 1000)

    def test_both_clocks_are_off(self):
        self.start_peerd(self.hv1)
        for here_s, there_s in ((3600, -3600), (-0.1, 0.1), (1e8, 1e8)):
            self.hv1.set_shift(there_s)
            self.hv2.set_shift(here_s)
            for stamps in ((), ("--user-stamps",)):
                results = many(self.hv2, self.hv1.address, 200, "--together", "8", *stamps)
                note(f"hub, asking {here_s} s, asked {there_s} s", results, there_s - here_s)
                self.assert_true(results, there_s - here_s)

    def test_across_the_end_of_the_era(self):
        """7 February 2036, when NTP's seconds begin again at zero."""
        to_the_end_s = 2085978496 - time.time()
        self.start_peerd(self.hv1)
        for here_s, there_s in ((to_the_end_s - 2, to_the_end_s + 2),
                                (to_the_end_s + 2, to_the_end_s - 2)):
            self.hv1.set_shift(round(there_s, 6))
            self.hv2.set_shift(round(here_s, 6))
            self.assert_true(many(self.hv2, self.hv1.address, 50, "--together", "8"),
                             self.hv1.shift - self.hv2.shift)

    def test_the_command(self):
        self.proven()
        self.start_peerd(self.hv1)
        for i in range(36):
            shift_s = self.SHIFTS_S[i % 3]
            self.hv1.set_shift(shift_s)
            if i == 18:
                self.set_config(self.hv2, "[probe]\nkernel-stamps = no\n")
            self.assert_gap(self.measured(("10.77.0.1", "[fd77::1]", "hv1")[i // 3 % 3]), shift_s)

    def test_a_source_that_is_slewed(self):
        """The clock asked runs 0.05 % fast, as chronyd may have it, and says so."""
        proven = self.proven()
        publish(self.hv1, **{"slew-ppm": 1000})
        self.start_peerd(self.hv1)
        link = self.hosts.link("hv1", "hv2", delay_ms=(5, 1))
        with Slewing(self.hv1, 500e-6) as slewing:
            results = many(self.hv2, link.address_a, 60, "--together", "2", *proven)
        self.assertTrue(all(r.answered for r in results))
        for result in results:
            # Wherever the truth was while it was asked, somewhere in there.
            low_s, high_s = slewing.between(result.begin_ns, result.end_ns)
            self.assertLess(result.offset_ns - result.bound_ns, high_s * 1e9, result)
            self.assertGreater(result.offset_ns + result.bound_ns, low_s * 1e9, result)


class Slewing:
    """Moves a host's clock a little every half millisecond."""

    def __init__(self, host, rate):
        self._host, self._rate = host, rate
        self._stop = threading.Event()
        self._history = []
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        began_ns = time.monotonic_ns()
        while not self._stop.wait(0.0005):
            shift_s = (time.monotonic_ns() - began_ns) * self._rate / 1e9
            before_ns = time.monotonic_ns()
            self._host.set_shift(shift_s)
            self._history.append((before_ns, time.monotonic_ns(), shift_s))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def between(self, begin_ns, end_ns):
        """The least and greatest shift that may have been in force then."""
        shifts = [0.0]
        for before_ns, after_ns, shift_s in self._history:
            if after_ns < begin_ns:
                shifts = [shift_s]
            elif before_ns <= end_ns:
                shifts.append(shift_s)
        return min(shifts), max(shifts)


class Stepped(MeasureCase):
    """A clock is stepped while it is measured."""

    def check(self, stepped, sign, seed):
        """Steps that host's clock at random while hv2 measures hv1, one after the other."""
        chance = random.Random(seed)
        self.start_peerd(self.hv1)
        steps = [(0, 0, 0.0)]
        log = self.hv2.log("many")
        log.unlink(missing_ok=True)
        with self.hv2.spawn([MANY, "--timeout-ms", "100", self.hv1.address,
                             str(STEPPED_COUNT)], "many") as program:
            while program.poll() is None:
                time.sleep(chance.uniform(0.001, 0.02))
                shift_s = chance.choice((0, 0.01, -0.02, 0.3, -0.3, 5, -5, 100))
                before_ns = time.monotonic_ns()
                stepped.set_shift(shift_s)
                steps.append((before_ns, time.monotonic_ns(), shift_s))
        self.assertEqual(program.returncode, 0)
        results = [Result(line) for line in log.read_text().splitlines()]
        self.assertEqual(len(results), STEPPED_COUNT)
        struck = widened = silent = 0
        for result in results:
            truths = []
            for before_ns, after_ns, shift_s in steps:
                if after_ns < result.begin_ns:
                    truths = [sign * shift_s]
                elif before_ns <= result.end_ns:
                    truths.append(sign * shift_s)
            struck += len(set(truths)) > 1
            if not result.answered:
                silent += 1
                continue
            widened += sum(result.holds(truth_s) for truth_s in set(truths)) > 1
            self.assertTrue(any(result.holds(truth_s) for truth_s in truths),
                            f"{result} holds none of {truths}, seed {seed}")
            if len(set(truths)) == 1:
                self.assertEqual(result.agreed, result.samples, f"{result}, seed {seed}")
        self.assertGreater(struck, 50)
        self.assertGreater(widened, 20)
        self.assertLess(silent, STEPPED_COUNT // 10)
        FIGURES.append(f"  stepped {stepped.name}: {len(results)} measurements, {struck} with a "
                       f"step inside, {widened} hold more than one truth, "
                       f"{silent} without an answer")

    def test_the_source_is_stepped(self):
        self.check(self.hv1, 1, seed=20361)

    def test_the_asking_host_is_stepped(self):
        self.check(self.hv2, -1, seed=20362)


class Responder(MeasureCase):
    """What the responder does with questions, and with what is none."""

    def pid(self):
        return int((self.hv1.base / "programs" / "peerd").read_text())

    def proc_status(self):
        text = pathlib.Path(f"/proc/{self.pid()}/status").read_text()
        return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)

    def test_it_is_nobody(self):
        self.set_keys(self.hv1, AES128)
        self.start_peerd(self.hv1)
        status = self.proc_status()
        self.assertTrue(all(int(word) != 0 for word in status["Uid"].split()), status["Uid"])
        self.assertTrue(all(int(word) != 0 for word in status["Gid"].split()), status["Gid"])
        self.assertEqual(status["Groups"].split(), [])
        for name in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
            self.assertEqual(int(status[name], 16), 0, name)
        self.assertEqual(status["NoNewPrivs"].strip(), "1")
        # Its memory is not for others of its user either.
        self.assertEqual(os.stat(f"/proc/{self.pid()}/mem").st_uid, 0)

    def test_sizes(self):
        """No answer is longer than its question, and each has the form of its question."""
        publish(self.hv1, domains=[(uuid.UUID(int=5), "running", Key(0x80000005))])
        self.set_keys(self.hv1, AES128, AES256)
        self.start_peerd(self.hv1)
        plain = header()
        known = header() + identity(uuid.UUID(int=5))
        foreign = header() + extension(0x1234, 28) + extension(0x5678, 64)
        domain_key = Key(0x80000005)
        sizes = {}
        for name, question in {
                "plain": plain, "identity": known, "foreign": foreign,
                "mac128": plain + AES128.mac(plain), "mac256": plain + AES256.mac(plain),
                "identity+mac128": known + AES128.mac(known),
                "identity+mac256": known + AES256.mac(known),
                "identity+domain": known + domain_key.mac(known),
                "foreign+mac": foreign + AES128.mac(foreign)}.items():
            answer = ask(question, self.hv1.address)
            self.assertIsNotNone(answer, name)
            self.assertLessEqual(len(answer.data), len(question), name)
            self.assertEqual((answer.mode, answer.version, answer.origin),
                             (4, 4, question[40:48]), name)
            self.assertAlmostEqual(answer.transmit, time.time(), delta=1)
            sizes[name] = (len(question), len(answer.data))
            if "+domain" in name:
                self.assertEqual(domain_key.mac(answer.data[:-20]), answer.data[-20:])
            elif "256" in name:
                self.assertEqual(AES256.mac(answer.data[:-20]), answer.data[-20:], name)
            elif "mac" in name:
                self.assertEqual(AES128.mac(answer.data[:-20]), answer.data[-20:], name)
            if answer.identity:
                self.assertEqual(answer.identity,
                                 {"domain": uuid.UUID(int=5), "host": uuid.UUID(self.hv1.uuid),
                                  "state": 2, "synchronised": 2, "clock": 1}, name)
            self.assertEqual(answer.identity is not None, "identity+" in name, name)
        self.assertEqual(sizes["plain"], (48, 48))
        self.assertEqual(sizes["identity"], (112, 48))
        self.assertEqual(sizes["mac128"], (68, 68))
        self.assertEqual(sizes["identity+mac256"], (132, 132))

    def test_a_domains_key_opens_that_domain_only(self):
        mine, other = uuid.UUID(int=5), uuid.UUID(int=6)
        key = Key(0x80000005)
        publish(self.hv1, domains=[(mine, "paused", key), (other, "running", Key(0x80000006))])
        self.set_keys(self.hv1, AES128)
        self.start_peerd(self.hv1)
        for domain, told in ((mine, True), (other, False), (uuid.UUID(int=0), False)):
            question = header() + identity(domain)
            answer = ask(question + key.mac(question), self.hv1.address)
            self.assertEqual(answer.identity is not None, told, domain)

    def test_silence(self):
        """What is no proper question gets no answer at all."""
        self.set_keys(self.hv1, AES128)
        self.start_peerd(self.hv1)
        question = header()
        good = question + AES128.mac(question)
        silent = {f"mode {mode}": header(mode=mode) for mode in (0, 1, 2, 4, 5, 6, 7)}
        silent |= {f"version {v}": header(version=v) for v in (0, 5, 7)}
        silent |= {"empty": b"", "one byte": b"#", "47": question[:47], "49": question + b"\0",
                   "zero transmit": header(cookie=bytes(8)),
                   "crypto-NAK": question + bytes(4), "wrong MAC": good[:-1] + b"\xff",
                   "MAC of another packet": header() + AES128.mac(question),
                   "unknown key": question + Key(8).mac(question),
                   "key 0": question + Key(0).mac(question),
                   "cut MAC": good[:-4], "long MAC": good + bytes(4),
                   "short field": question + extension(1, 16), "huge": question + bytes(60000)}
        for name, data in silent.items():
            with self.subTest(name):
                self.assertIsNone(ask(data, self.hv1.address, timeout_s=0.1))
        for version in (1, 2, 3, 4):
            self.assertEqual(ask(header(version=version), self.hv1.address).version, version)
        self.assertEqual(len(ask(good, self.hv1.address).data), 68)

    def test_answers_come_from_the_address_asked(self):
        self.hv1.add_addresses("eth0", "10.77.0.101/24", "fd77::101/64")
        self.start_peerd(self.hv1)
        for address in ("10.77.0.1", "10.77.0.101", "fd77::1", "fd77::101"):
            answer = ask(header(), address)
            self.assertIsNotNone(answer, address)
            self.assertEqual(answer.sender, address)
            shown = f"[{address}]" if ":" in address else address
            self.assert_gap(self.measured(shown), 0)
        link_local = self.hv1.run(["ip", "-6", "-o", "addr", "show", "dev", "eth0", "scope",
                                   "link"]).stdout.split()[3].partition("/")[0]
        answer = wait_until("an answer on the link",
                            lambda: ask(header(), f"{link_local}%hub"), 5)
        self.assertEqual(answer.sender.partition("%")[0], link_local)

    def test_networks(self):
        for allow, answered in (("192.168.7.0/24", set()), ("10.77.0.2", {"hv2"}),
                                (f"{HUB}/32", {"hub"}), ("fd77::/64", {"hub6"}),
                                ("10.0.0.0/8", {"hub", "hv2"}), ("::/0", {"hub6"})):
            with self.subTest(allow):
                self.set_config(self.hv1, f"[responder]\nallow = {allow}\n")
                self.hv1.start_peerd()
                try:
                    found = {name for name, address in (("hub", "10.77.0.1"), ("hub6", "fd77::1"))
                             if ask(header(), address)}
                    if self.measure("10.77.0.1")[0].returncode == 0:
                        found.add("hv2")
                    self.assertEqual(found, answered)
                finally:
                    self.hv1.stop_peerd()

    def test_ports_that_it_cannot_have(self):
        self.start_peerd(self.hv1)
        done = self.hv1.run(["/usr/sbin/timehandoff-peerd"], check=False)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"(?m)^.*cannot open UDP port 10123: .* another one running")
        self.set_config(self.hv1, "[responder]\nport = 7\n")
        done = self.hv1.run(["/usr/sbin/timehandoff-peerd"], check=False)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"(?m)^.*cannot open UDP port 7: .* to 1024 or more")

    def test_require_key(self):
        self.set_keys(self.hv1, AES128)
        self.set_config(self.hv1, "[responder]\nrequire-key = yes\n")
        self.start_peerd(self.hv1)
        question = header()
        self.assertIsNone(ask(question, self.hv1.address))
        self.assertIsNone(ask(question + identity(), self.hv1.address))
        self.assertEqual(len(ask(question + AES128.mac(question), self.hv1.address).data), 68)
        done, _ = self.measure("hv1")
        self.assertEqual(done.returncode, 1)
        self.set_keys(self.hv2, AES128)
        self.assertTrue(self.measured("hv1")["authenticated"])

    def test_keys_are_read_again(self):
        self.start_peerd(self.hv1)
        question = header()
        self.assertIsNone(ask(question + AES128.mac(question), self.hv1.address, timeout_s=0.1))
        path = self.set_keys(self.hv1, AES128)
        pid = self.pid()
        os.kill(pid, signal.SIGHUP)
        wait_until(
            "the key", lambda: ask(question + AES128.mac(question), self.hv1.address,
                                   timeout_s=0.1), 5)
        # What is broken changes nothing.
        path.write_text("7 AES128 HEX:00\n")
        os.kill(pid, signal.SIGHUP)
        wait_until(
            "the complaint", lambda: [r for r in self.hv1.journal()
                                      if "/etc/timehandoff/keys:1:" in r["MESSAGE"]], 5)
        self.assertEqual(len(ask(question + AES128.mac(question), self.hv1.address).data), 68)
        self.assertEqual(self.pid(), pid)

    def test_flood(self):
        """Ten thousand datagrams of rubbish: the answers to others stay right."""
        chance = random.Random(99)
        self.set_keys(self.hv1, AES128)
        self.start_peerd(self.hv1)
        many(self.hv2, self.hv1.address, 20)
        before_kib = int(self.proc_status()["VmRSS"].split()[0])
        self.hv1.set_shift(-2)
        with self.hv2.spawn([MANY, self.hv1.address, "150"], "flooded") as program:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sent = 0
                while sent < 10000 or program.poll() is None:
                    for _ in range(40):
                        question = header()
                        rubbish = chance.choice((
                            chance.randbytes(chance.randrange(1400)),
                            header(mode=chance.randrange(8)) + chance.randbytes(20),
                            question + identity(uuid.UUID(int=chance.getrandbits(128)))
                            + chance.randbytes(20),
                            question + AES128.mac(question)[:-1] + b"x"))
                        sock.sendto(rubbish, (self.hv1.address, PORT))
                        sent += 1
                    time.sleep(0.002)
        results = [Result(line) for line in self.hv2.log("flooded").read_text().splitlines()]
        self.assertEqual(len(results), 150)
        self.assert_true(results, -2, least_answered=0.9)
        note(f"during {sent} datagrams of rubbish", results, -2)
        self.assert_gap(self.measured("hv1"), -2)
        self.assertLess(int(self.proc_status()["VmRSS"].split()[0]), before_kib + 1024)

    def test_killed_while_asked(self):
        self.start_peerd(self.hv1)
        self.hv1.set_shift(5)
        log = self.hv2.log("killed")
        with self.hv2.spawn([MANY, "--timeout-ms", "50", self.hv1.address, "10000000"],
                            "killed") as program:
            for _ in range(6):
                size = log.stat().st_size
                wait_until("measurements", lambda s=size: log.stat().st_size > s + 1000)
                self.hv1.stop_peerd(signal.SIGKILL)
                done, took_s = self.measure("10.77.0.1")
                self.assertEqual((done.returncode, done.stdout), (1, ""))
                self.assert_one_line(done.stderr, "no answer from 10.77.0.1")
                self.assertLess(took_s, 1.5)
                self.hv1.start_peerd()
            self.assertIsNone(program.poll())
            program.terminate()
        results = [Result(line) for line in log.read_text().splitlines()[:-1]]
        self.assertTrue(any(not r.answered for r in results))
        self.assert_true([r for r in results if r.answered], 5)
        self.assert_gap(self.measured("hv1"), 5)

    def test_state_that_is_rubbish(self):
        """Whatever the file says, the time is answered, and nothing more is claimed."""
        good = hostkit.state_file([("host", [("uuid", self.hv1.uuid), ("synchronised", "yes"),
                                             ("domains-known", "yes")])])
        self.start_peerd(self.hv1)
        hostkit.write_state(self.hv1, "host", good)
        self.assertEqual(ask(header(), self.hv1.address).leap, 0)
        boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        old = hostkit.state_file([("host", [("synchronised", "yes")])], 10**9,
                                 boot_ns - 31 * 10**8)
        for text in ("", "[file]\n", good[:-8], good.replace("version=1", "version=2"),
                     good.replace("boot-id=", "boot-id=0"), old, "\0" * 1000,
                     random.Random(3).randbytes(5000), good.replace("yes", "perhaps")):
            with self.subTest(text[:30]):
                hostkit.write_state(self.hv1, "host", good)
                self.assertEqual(ask(header(), self.hv1.address).leap, 0)
                hostkit.write_state(self.hv1, "host", text)
                answer = ask(header(), self.hv1.address)
                self.assertEqual((answer.leap, answer.stratum), (3, 16))
                self.assertAlmostEqual(answer.transmit, time.time(), delta=1)


class Watch:
    """Kills a host's daemon, and notes what its responder says of the clock from then on."""

    def __init__(self, host):
        self.seen = []
        self.killed_s = None
        self._host = host
        self._end = threading.Event()
        host.start_daemon()
        host.start_peerd()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        while True:
            answer = ask(header(), self._host.address)
            if answer and answer.leap == 0:
                break
            if self._end.wait(0.1):
                return
        self._host.stop_daemon(signal.SIGKILL)
        self.killed_s = time.monotonic()
        while time.monotonic() < self.killed_s + 3 * REFRESH_S + 3 and not self._end.wait(0.25):
            answer = ask(header(), self._host.address)
            self.seen.append((time.monotonic() - self.killed_s, answer))

    def done(self):
        self._thread.join()

    def join(self):
        self._end.set()
        self._thread.join()


class Staleness(Case):
    """The daemon is dead: its word counts for three refreshes, then nothing is known."""

    watch = None

    def test_daemon_killed(self):
        self.watch.done()
        self.assertIsNotNone(self.watch.killed_s, "the daemon never said that it is synchronised")
        self.assertTrue(all(answer for _, answer in self.watch.seen))
        leaps = [(at_s, answer.leap, answer.stratum) for at_s, answer in self.watch.seen]
        # The file was up to a refresh old when the daemon died, and is looked at every second.
        self.assertEqual({leap for at_s, leap, _ in leaps if at_s < 2 * REFRESH_S - 1}, {0})
        self.assertEqual({(leap, stratum) for at_s, leap, stratum in leaps
                          if at_s > 3 * REFRESH_S + 1.5}, {(3, 16)})
        changes = sum(a[1] != b[1] for a, b in zip(leaps, leaps[1:]))
        self.assertEqual(changes, 1)


if __name__ == "__main__":
    hostkit.enter()
    unittest.main()
