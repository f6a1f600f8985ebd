#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""`timehandoff dry-run` on real libvirt hosts: what it foretells is what happens, and it does nothing.

Made on the destination and on the source, with each thing that could keep a guest from being put
right. Every JSON document is held against the installed schema. Needs root, what tests/hosts/install
fetches, and in TH_STAGE a staged install.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import unittest

sys.dont_write_bytecode = True

import scene  # noqa: E402

if __name__ == "__main__":
    scene.enter()

import jsonschema  # noqa: E402

import bed  # noqa: E402
from flows import DEADLINE_S, Flow  # noqa: E402
from hosts import Guest, wait_until  # noqa: E402
from scene import HANDOFF, POLICY_URI, Records  # noqa: E402

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
SCHEMA = "usr/share/doc/timehandoff/timehandoff-dry-run.schema.json"
OTHER_SERVER = "10.77.0.251"
# A gap with a wider bound is not looked at; well below the warning limit.
WIDE_NS = 20e6
CHANNEL = re.compile(r"<channel type='unix'>(?:(?!</channel>).)*guest_agent.*?</channel>", re.S)


def setUpModule():
    text = (pathlib.Path(os.environ["TH_STAGE"]) / SCHEMA).read_text()
    DryRun.schema = jsonschema.Draft202012Validator(json.loads(text))
    DryRun.schema.check_schema(DryRun.schema.schema)
    scene.bring_up("hv1", "hv2")


class DryRun(Flow):
    """Base: dry runs whose documents are as the schema says."""

    schema = None

    def document(self, host, *argv, xml=None, **options):
        """The document of a dry run on a host; with XML, that on standard input."""
        if xml is not None:
            argv += ("-",)
        # On a busy machine a measurement may come out too wide to prove anything.
        for _ in range(50):
            done = self.timehandoff(host, "dry-run", "--json", *argv, input=xml, **options)
            self.assertTrue(done.stdout, done.stderr)
            document = json.loads(done.stdout)
            if document.get("gap", {}).get("bound_ns", 0) < WIDE_NS:
                break
        self.assertEqual(done.stderr, "")
        self.schema.validate(document)
        action = document["verdict"]["action"]
        self.assertEqual(done.returncode, {"allow": 0, "warn": 3, "block": 1}[action])
        return document

    def shift(self, host, seconds):
        """Shifts the clock of a host, which its daemon distrusts from then on, and starts anew."""
        self.addCleanup(self.restart, host, "daemon")
        self.addCleanup(host.set_shift, 0)
        host.set_shift(seconds)

    def live_xml(self):
        return self.guest.host.virsh("dumpxml", self.guest.name).stdout

    def on_destination(self, xml=None):
        return self.document(self.hv2, xml=xml or self.migratable_xml())

    def on_source(self, *argv):
        return self.document(self.hv1, "--to", "hv2", *(argv or ("web1",)))

    def set_policy(self, xml):
        self.addCleanup(lambda: self.set_metadata(POLICY_URI, None))
        self.set_metadata(POLICY_URI, xml)

    @staticmethod
    def stops(document, certain):
        return {stop["id"] for stop in document["afterwards"]["stops"] if
                stop["certain"] is certain}

    def assert_stopped(self, document, *ids):
        """These keep the guest from being stepped, for certain, and no others do."""
        self.assertEqual(self.stops(document, True), set(ids))
        self.assertEqual(document["afterwards"]["stepped"], "no")
        self.assertEqual(self.stops(document, False), set())

    def assert_gap_is(self, document, truth_s):
        gap = document["gap"]
        self.assertLessEqual(abs(gap["offset_ns"] - round(truth_s * 1e9)), gap["bound_ns"])
        self.assertLess(gap["bound_ns"], WIDE_NS)


class Destination(DryRun):
    """Where the hook will run."""

    def traces(self):
        """All that a dry run could leave behind, on the host that it runs on or in the guest."""
        folder = self.hv2.path("/run/timehandoff")
        # The daemons renew these three; the rest changes only when something happens.
        files = {path: path.stat().st_mtime_ns for path in folder.rglob("*")
                 if path.is_file() and path.name not in ("host", "peers", "status")
                 and not path.name.startswith(".")}
        return (files, self.hv2.journal(SYSLOG_IDENTIFIER="timehandoff"), self.guest.set_time_calls(),
                self.guest.domain().XMLDesc())

    def check_same_as_the_hook(self, shift_s, verdict):
        self.settle(self.hv1)
        self.shift(self.hv1, shift_s)
        before = self.traces()
        document = self.on_destination()
        self.assertEqual(self.traces(), before)
        self.assertEqual(document["verdict"]["action"], verdict, document["message"])
        self.assertEqual(document["seen_from"], "destination")
        self.assert_gap_is(document, shift_s)
        done, record = self.migrate(self.hv2)
        self.assertEqual(done.returncode, 1 if verdict == "block" else 0, done.stderr)
        self.assert_fields(record, verdict=verdict, reason=document["verdict"]["reason"],
                           stamp=document["source"]["stamp"],
                           source_found_by=document["source"]["found_by"],
                           source_host=document["source"]["host"])

    def test_it_blocks_as_the_hook_does_and_leaves_no_trace(self):
        self.check_same_as_the_hook(5, "block")

    def test_it_warns_as_the_hook_does_and_leaves_no_trace(self):
        self.check_same_as_the_hook(0.1, "warn")

    def test_it_allows_as_the_hook_does_and_leaves_no_trace(self):
        self.check_same_as_the_hook(0, "allow")

    def check_foretold(self, shift_s, policy, decision, *outcomes):
        """A guest that is right by hv1, which is that far off, comes to hv2; returns its record."""
        self.settle(self.hv1)
        self.configure(self.hv2, "[gap]\nwarn = 1h\nblock = 1h\n", "daemon")
        self.addCleanup(self.guest.set_clock, 0)
        self.shift(self.hv1, shift_s)
        self.guest.set_clock(shift_s)
        self.set_policy(policy)
        document = self.on_destination()
        afterwards, gap = document["afterwards"], document["gap"]
        self.assertEqual(afterwards["decisions"], [decision])
        self.assertEqual(afterwards["stepped"], "yes" if decision == "step" else "no")
        self.assertEqual(afterwards["most_ns"], gap["offset_ns"] + gap["bound_ns"])
        handoffs = Records(self.hv2, HANDOFF)
        self.assert_passed(self.guest.migrate(self.hv2), self.hv2)
        record = handoffs.one(DEADLINE_S)
        self.assert_fields(record, decision=decision, trigger="migrated")
        self.assertIn(record["TIMEHANDOFF_OUTCOME"], outcomes)
        if decision != "off":
            # It is late by the blackout, and ahead of what was foretold by nothing.
            before_s, bound_s = self.offset_of(record, "OFFSET_BEFORE")
            self.assertLess(before_s - bound_s, afterwards["most_ns"] / 1e9 + 0.05)

    def test_a_guest_that_is_behind_is_stepped(self):
        self.check_foretold(-30, None, "step", "stepped", "improved")

    def test_a_guest_that_is_ahead_is_not(self):
        self.check_foretold(30, None, "backward", "reported")

    def test_one_that_is_to_be_reported_is_not(self):
        self.check_foretold(-30, "<policy handoff='report'/>", "report-only", "reported")

    def test_one_that_is_off_is_not(self):
        self.check_foretold(-30, "<policy handoff='off'/>", "off", "reported")

    def test_text_for_people(self):
        self.settle(self.hv1)
        self.shift(self.hv1, -5)
        done = self.timehandoff(self.hv2, "dry-run", "-", input=self.migratable_xml())
        self.assertEqual(done.returncode, 1)
        head, page = done.stdout.split("\n\n", 1)
        self.assertRegex(head, "^timehandoff: blocked migration of web1: [^\n]*$")
        for line in ("verdict       block (gap-over-block)", "limits        warn 50 ms, block 500 ms",
                     "source        hv1 (", "              found by: stamp; origin stamp: used",
                     "destination   this host, hv2", "NTP servers   hv1 has the same NTP servers",
                     "afterwards    guest measured, then stepped",
                     "rule          handoff = step, from [handoff]"):
            self.assertIn("\n" + line, "\n" + page)
        self.assertLessEqual(max(map(len, page.splitlines())), 80)
        self.assertIn("guest-set-time", page)
        self.assertIn("timehandoff guest lint web1", page)

    def test_an_override_and_report_mode(self):
        self.settle(self.hv1)
        self.shift(self.hv1, 5)
        self.configure(self.hv2, "[gap]\nmode = report\n")
        document = self.on_destination()
        self.assertEqual((document["verdict"]["action"], document["would"]["action"],
                          document["report_only"]), ("allow", "block", True))
        self.addCleanup(self.timehandoff, self.hv2, "override", "--clear")
        self.timehandoff(self.hv2, "override", "--for", "1h", check=True)
        document = self.on_destination()
        self.assertEqual((document["verdict"]["reason"], document["overridden"]),
                         ("overridden", True))
        self.timehandoff(self.hv2, "override", "--for", "1h", "--source", "hv9", check=True)
        done = self.timehandoff(self.hv2, "dry-run", "-", input=self.migratable_xml())
        self.assertIn("the override in force here is for hv9 only", done.stdout)

    def test_on_the_wrong_host(self):
        self.settle(self.hv1)
        document = self.document(self.hv1, "web1")
        self.assertEqual((document["verdict"]["reason"], document["source"]["stamp"]),
                         ("source-unknown", "names-us"))
        self.assertEqual(document["afterwards"]["stepped"], "unknown")
        self.assertNotIn("gap", document)
        self.assertIn("use --to HOST here", self.timehandoff(self.hv1, "dry-run", "web1").stdout)


class Source(DryRun):
    """Before migrating, where the guest still is."""

    def check_gap(self, shift_s, action):
        self.settle(self.hv1)
        self.shift(self.hv1, shift_s)
        here, there = self.on_source(), self.on_destination()
        for document in (here, there):
            self.assertEqual(document["verdict"]["action"], action, document["message"])
            self.assert_gap_is(document, shift_s)
        # As measured it is the other way round: the other host minus this one.
        done = self.timehandoff(self.hv1, "measure", "--json", "hv2", check=True)
        measured = json.loads(done.stdout)
        bound_ns = measured["bound_ns"] + here["gap"]["bound_ns"]
        self.assertLessEqual(abs(measured["offset_ns"] + here["gap"]["offset_ns"]), bound_ns)

    def test_no_gap_is_none_from_both_sides(self):
        self.check_gap(0, "allow")

    def test_a_source_ahead_is_ahead_from_both_sides(self):
        self.check_gap(0.1, "warn")

    def test_a_source_behind_is_behind_from_both_sides(self):
        self.check_gap(-5, "block")

    def test_it_says_that_it_is_seen_from_here(self):
        self.settle(self.hv1)
        self.shift(self.hv1, 5)
        document = self.on_source()
        self.assertEqual((document["seen_from"], document["source"]["host"],
                          document["source"]["found_by"], document["destination"]["host"]),
                         ("source", "hv1", "this-host", "hv2"))
        self.assertTrue(document["message"].startswith(
            "timehandoff: blocked migration of web1 to hv2: this host is "), document["message"])
        self.assertIn(" s ahead of hv2 (", document["message"])
        self.assertIn("'timehandoff override --for 1h' there", document["message"])
        done = self.timehandoff(self.hv1, "dry-run", "--to", "hv2", "web1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("\nSeen from here, by this host's configuration; hv2 may decide otherwise by "
                      "its own.\n", done.stdout)
        self.assertLessEqual(max(map(len, done.stdout.split("\n\n", 1)[1].splitlines())), 80)

    def test_a_live_domain_is_asked_for_what_only_it_knows(self):
        self.settle(self.hv1)
        domain = self.guest.domain()
        domain.migrateSetMaxDowntime(250)
        self.addCleanup(domain.migrateSetMaxDowntime, 300)
        for argv in (("web1",), ("--domain", "web1"), (self.guest.uuid,)):
            document = self.on_source(*argv)
            afterwards = document["afterwards"]
            self.assertEqual(document["domain"]["agent_connected"], "yes")
            self.assertEqual(afterwards["downtime_limit_ns"], 250_000_000)
            gap = document["gap"]
            self.assertEqual(afterwards["most_ns"], gap["offset_ns"] + gap["bound_ns"])
            self.assertEqual(afterwards["least_ns"],
                             gap["offset_ns"] - gap["bound_ns"] - 250_000_000)
            self.assertEqual(afterwards["decisions"], ["step", "nothing"])
            self.assertEqual(afterwards["stepped"], "unknown")
            self.assertIn("configuration-unknown", self.stops(document, False))
        document = self.on_destination()
        self.assertNotIn("downtime_limit_ns", document["afterwards"])
        self.assertNotIn("least_ns", document["afterwards"])

    def test_a_domain_that_does_not_run_has_no_clock(self):
        guest = Guest("off1", self.hv1)
        self.hv1.connection().defineXML(guest.xml())
        self.addCleanup(self.hv1.virsh, "undefine", "off1")
        document = self.on_source("off1")
        self.assertEqual(document["verdict"], {"action": "allow", "reason": "offline"})
        self.assertNotIn("afterwards", document)
        self.assertIn("gap", document)
        done = self.timehandoff(self.hv1, "dry-run", "--to", "hv2", "off1")
        self.assertIn("no running guest moves", done.stdout)

    def test_a_destination_that_does_not_answer(self):
        self.settle(self.hv1)
        self.stop(self.hv2, "peerd")
        document = self.on_source()
        self.assertEqual(document["verdict"], {"action": "warn", "reason": "source-unreachable"})
        self.assertIn("to hv2: hv2 does not answer", document["message"])
        self.assertEqual((document["destination"]["synchronised"],
                          document["destination"]["synchronised_from"]), ("unknown", "none"))
        self.assertNotIn("gap", document)

    def test_asked_as_a_peer_it_tells_more(self):
        self.settle(self.hv1)
        document = self.on_source()
        self.assertEqual(document["destination"]["synchronised_from"], "ntp")
        self.assertEqual(self.stops(document, False) - {"set-time-unknown"},
                         {"no-timehandoffd", "configuration-unknown"})
        self.configure_peers(self.hv1, self.hv2)
        document = self.on_source()
        self.assertEqual((document["destination"]["synchronised_from"],
                          document["destination"]["synchronised"],
                          document["destination"]["uuid"], document["gap"]["clock"]),
                         ("identity", "yes", self.hv2.uuid, "system"))
        self.assertEqual(self.stops(document, False), {"set-time-unknown", "configuration-unknown"})

    def install_keys(self, host, text):
        self.addCleanup(host.path("/etc/timehandoff/keys").unlink)
        host.write_config(text, "keys")
        host.run(["chown", "root:timehandoff", "/etc/timehandoff/keys"])
        host.run(["chmod", "0640", "/etc/timehandoff/keys"])

    def test_keys_are_those_of_peers(self):
        self.settle(self.hv1)
        for host in self.hosts:
            self.addCleanup(self.restart, host, "peerd")
        # hv1 would ask under key 1, which hv2 does not have, but for what it has of its peer.
        self.install_keys(self.hv1, f"1 AES128 HEX:{'11' * 16}\n7 AES128 HEX:{'77' * 16}\n")
        self.install_keys(self.hv2, f"7 AES128 HEX:{'77' * 16}\n")
        self.restart(self.hv2, "peerd")
        document = self.on_source()
        self.assertEqual(document["verdict"], {"action": "block", "reason": "unauthenticated"})
        self.assertFalse(document["gap"]["authenticated"])
        self.configure(self.hv1, "[peers]\npeer = hv2 key=7\n", "peerd")
        for name in ("hv2", "10.77.0.2:10123"):
            document = self.document(self.hv1, "--to", name, "web1")
            self.assertEqual(document["verdict"]["reason"], "gap-ok", name)
            self.assertTrue(document["gap"]["authenticated"], name)
        # A key that is named and missing proves nothing.
        self.configure(self.hv1, "[peers]\npeer = hv2 key=8\n")
        self.assertEqual(self.on_source()["verdict"]["reason"], "unauthenticated")


class Afterwards(DryRun):
    """Each thing that could keep a guest from being put right."""

    def test_nothing_does(self):
        self.settle(self.hv1)
        self.shift(self.hv1, -5)
        document = self.document(self.hv2, xml=self.live_xml())
        self.assertEqual(document["afterwards"]["stepped"], "yes")
        self.assertEqual(self.stops(document, True), set())
        self.assertEqual(self.stops(document, False), {"set-time-unknown"})
        self.assertEqual(document["afterwards"]["rule"],
                         {"deadband_ns": 20_000_000, "inside": "nothing", "behind": "step",
                          "ahead": "backward", "max_step_ns": 3600 * 10**9, "beyond": "too-far"})

    def test_agent(self):
        self.settle(self.hv1)
        self.shift(self.hv1, -5)
        xml = self.live_xml()
        self.assertIn("state='connected'", xml)
        document = self.on_destination(xml.replace("state='connected'", "state='disconnected'"))
        self.assertEqual(document["domain"]["agent_connected"], "no")
        self.assertEqual(self.stops(document, False), {"set-time-unknown", "agent-not-connected"})
        document = self.on_destination()
        self.assertEqual(document["domain"]["agent_connected"], "unknown")
        self.assertEqual(self.stops(document, False), {"set-time-unknown", "agent-unknown"})
        without, n = CHANNEL.subn("", xml)
        self.assertEqual(n, 1)
        document = self.on_destination(without)
        self.assertFalse(document["domain"]["agent_channel"])
        self.assert_stopped(document, "no-agent-channel")
        self.assertEqual([finding["id"] for finding in document["lint"]["findings"]],
                         ["agent-missing"])
        done = self.timehandoff(self.hv2, "dry-run", "-", input=without)
        self.assertIn("\nNOT STEPPED   the guest keeps the clock", done.stdout)
        self.assertIn("(no-agent-channel)", done.stdout)
        self.assertIn("\nlint          error: agent-missing: ", done.stdout)

    def test_policy(self):
        self.settle(self.hv1)
        document = self.on_destination()
        self.assertEqual((document["domain"]["handoff"], document["domain"]["handoff_from"]),
                         ("step", "handoff"))
        self.configure(self.hv2, "[domain we*]\nhandoff = report\n")
        document = self.on_destination()
        self.assertEqual((document["domain"]["handoff"], document["domain"]["handoff_from"]),
                         ("report", "domain"))
        self.set_policy("<policy handoff='off'/>")
        document = self.on_destination()
        self.assertEqual((document["domain"]["handoff"], document["domain"]["handoff_from"]),
                         ("off", "metadata"))
        self.assert_stopped(document, "handoff-off")
        self.set_metadata(POLICY_URI, None)
        self.shift(self.hv1, -5)
        self.assert_stopped(self.on_destination(), "handoff-report")

    def test_direction_and_distance(self):
        self.settle(self.hv1)
        self.shift(self.hv1, 30)
        self.assert_stopped(self.on_destination(), "backward")
        self.set_policy("<policy backward='yes'/>")
        self.assertEqual(self.on_destination()["afterwards"]["stepped"], "yes")
        self.configure(self.hv2, "[handoff]\nmax-step-migration = 1s\n")
        self.assert_stopped(self.on_destination(), "too-far")

    def test_a_host_that_is_not_synchronised(self):
        self.settle(self.hv1)
        self.unsynchronise(self.hv2)
        document = self.on_destination()
        self.assert_stopped(document, "host-unsynchronised")
        self.assertEqual((document["destination"]["synchronised"],
                          document["destination"]["synchronised_from"]), ("no", "chronyd"))
        self.configure_peers(self.hv1, self.hv2)
        document = self.on_source()
        self.assertEqual((document["destination"]["synchronised"],
                          document["destination"]["synchronised_from"]), ("no", "identity"))
        self.assertEqual((document["source"]["synchronised"],
                          document["source"]["synchronised_from"]), ("yes", "chronyd"))
        self.assert_stopped(document, "host-unsynchronised")

    def test_nobody_there_to_do_it(self):
        self.settle(self.hv1)
        self.stop(self.hv2, "daemon")
        self.hv2.path("/run/timehandoff/host").unlink(missing_ok=True)
        self.assertIn("no-timehandoffd", self.stops(self.on_destination(), True))

    def test_who_may_not_look(self):
        self.settle(self.hv1)
        self.shift(self.hv1, -5)
        document = self.document(self.hv2, xml=self.migratable_xml(), user="nobody")
        self.assertNotIn("no-timehandoffd", self.stops(document, True))
        if "host-unsynchronised" not in self.stops(document, True):
            self.assertLessEqual({"no-timehandoffd", "host-sync-unknown"},
                                 self.stops(document, False))


class Servers(DryRun):
    """NTP servers that are not the same on both hosts, as the alert has it."""

    def set_server(self, host, address):
        host.stop_chronyd()
        path = host.path("/etc/chrony/chrony.conf")
        path.write_text(path.read_text() + f"server {address} iburst minpoll -2 maxpoll -2\n")
        host.start("chronyd", ["/usr/sbin/chronyd", "-x", "-d", "-u", "root", "-f",
                               "/etc/chrony/chrony.conf"])
        host.wait_synced()

    def test_they_differ(self):
        self.settle(self.hv1)
        document = self.on_destination()
        self.assertEqual(document["ntp"], {"differ": "no", "reason": "hv1 has the same NTP servers"})
        self.assertEqual(self.on_source()["ntp"]["differ"], "unknown")
        bed.call("ip", "addr", "add", f"{OTHER_SERVER}/24", "dev", "hub")
        self.addCleanup(bed.call, "ip", "addr", "del", f"{OTHER_SERVER}/24", "dev", "hub")
        self.addCleanup(self.restart, self.hv2, "daemon")
        self.addCleanup(self.hv2.set_synced, True)
        self.set_server(self.hv2, OTHER_SERVER)
        self.restart(self.hv2, "daemon")
        # The names are peerd's to know.
        peers = "".join(f"peer = {host.address} group=lab\n" for host in self.hosts)
        for host in self.hosts:
            self.configure(host, f"[peers]\ninterval = 1s\n{peers}", "peerd")
        wait_until("the names", lambda: "only on" in self.on_source()["ntp"]["reason"], 20.0,
                   [self.hv1.log("peerd"), self.hv2.log("peerd")])
        document = self.on_source()
        self.assertEqual(document["ntp"], {
            "differ": "yes", "reason": f"NTP servers differ: only on hv2: {OTHER_SERVER}"})
        done = self.timehandoff(self.hv1, "dry-run", "--to", "hv2", "web1")
        self.assertIn(f"\nNTP DIFFERS   NTP servers differ: only on hv2: {OTHER_SERVER}",
                      done.stdout)
        # The destination has it from the answer under the stamp's key.
        self.assertEqual(self.on_destination()["ntp"]["differ"], "yes")


class Input(DryRun):
    """What cannot be made a dry run of."""

    def test_bad_input_is_one_line(self):
        cases = ((["-"], "this is no XML", "standard input is no domain XML: "),
                 (["-"], "", "standard input is no domain XML: "),
                 (["/etc/passwd"], None, "/etc/passwd is no domain XML: "),
                 (["/nowhere.xml"], None, "cannot open /nowhere.xml: No such file"),
                 ([], None, "say which domain"),
                 (["--domain", "nobody"], None, "no domain 'nobody' on this host"),
                 (["nobody"], None, "no domain 'nobody' on this host"),
                 (["--to", "hv1", "--source", "hv2"], None, "give one of them"),
                 (["--to", "hv2", "web1"], None, "'hv2' is this very host"),
                 (["--source", "10.77.0.2", "-"], "<domain/>", "'10.77.0.2' is this very host"),
                 (["--to", "hv1:0", "-"], "<domain/>", "'hv1:0' is not HOST or HOST:PORT"),
                 (["--to", "no.such.host", "-"], "<domain/>", "cannot find host 'no.such.host'"),
                 (["--domain", "web1", "-"], "<domain/>", "name one domain, file or '-'"),
                 (["--what", "-"], "<domain/>", "--what"))
        self.settle(self.hv2)
        for argv, text, words in cases:
            with self.subTest(argv=argv, text=text):
                done = self.timehandoff(self.hv2, "dry-run", *argv, input=text)
                self.assertEqual((done.returncode, done.stdout), (2, ""))
                self.assertIn(words, done.stderr)
                self.assertRegex(done.stderr, r"\Atimehandoff[ :][^\n]+\n\Z")

    def test_a_host_alone_will_do(self):
        for host, argv in ((self.hv1, ("--to", "hv2")), (self.hv2, ("--source", "hv1"))):
            document = self.document(host, *argv)
            self.assert_gap_is(document, 0)
            self.assertNotIn("afterwards", document)
            self.assertNotIn("lint", document)

    def test_a_domain_of_another_kind(self):
        document = self.document(self.hv2, "--source", "hv1",
                                 xml="<domain type='xen'><name>x</name></domain>")
        self.assertNotIn("lint", document)
        self.assert_stopped(document, "no-agent-channel")


class Schema(unittest.TestCase):
    """What the schema says is what the sources say."""

    def test_words_descriptions_and_manual(self):
        done = subprocess.run(["/usr/bin/python3", TOP / "tests/unit/schema.py"],
                              capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)


if __name__ == "__main__":
    unittest.main()
