#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The past read back: `timehandoff history` against what really logged, and against journalctl.

hv2 and hv3 run the real journald. On hv2 the real hook, guard and commands write to it, and what
none of them writes without a guest is put there by logger; hv3 is for what nobody should write.
hv1 has no journal, only what its timehandoffd keeps of a real guest. TH_STAGE names a staged
install.
"""

import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import time
import unittest
import uuid

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import hostkit  # noqa: E402
from hostkit import Case, Key, publish  # noqa: E402
from hosts import wait_until  # noqa: E402

HOOK = "/etc/libvirt/hooks/qemu.d/50-timehandoff"
PROGRAM = "/usr/bin/timehandoff"
JOURNAL = "/run/log/journal"
KEPT = "/run/timehandoff/history"
STRANGER = "libvirt-qemu"

KINDS = {"afe8100e7f144f3c78a3a5f1614874a4": "verdict",
         "b50a2fdfa4b6eefaaf8e046e0108abb8": "handoff",
         "1c97dcdb1818c62fdbaaac44c5fdc683": "recheck",
         "ef400fc88fc4cab6b456656dd1b7d12e": "override",
         "dd99b5875ce698a965fa36df4bcc2532": "check-failed"}
IDS = {kind: number for number, kind in KINDS.items()}
NAMES = {"TIMEHANDOFF_DOMAIN_NAME": "domain", "TIMEHANDOFF_DOMAIN_UUID": "uuid",
         "MESSAGE": "message", "_UID": "uid"}
NUMBER = re.compile(r".*_(ns|ppb)|steps|attempts|uid")
FLAGS = ("authenticated", "stepped_by_other")

DOMAIN = uuid.UUID("6c5cd5c2-6a1d-4f65-9d0e-0b6e6b1f7a11")
STAMP_KEY = Key(0x9a000001)
LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (\S+) (.+)")
CONTROLS = "[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u200b-\u200f]"


def setUpModule():
    hosts = hostkit.bring_up("hv1", "hv2", "hv3")
    publish(hosts["hv1"], domains=[(DOMAIN, "running", STAMP_KEY)])
    hosts["hv1"].start_peerd()
    for name in ("hv2", "hv3"):
        hosts[name].start_journald()
        publish(hosts[name])
    write_all_kinds(hosts["hv1"], hosts["hv2"])


def xml(name, stamp=True):
    """As much of a domain as the checker looks at."""
    origin = (f'<o:origin xmlns:o="urn:timehandoff:origin:1" host="hv1" '
              f'uuid="{Case.hosts["hv1"].uuid}" key-id="{STAMP_KEY.number}" '
              f'key="HEX:{STAMP_KEY.secret.hex()}"><o:address>10.77.0.1:10123</o:address>'
              "</o:origin>") if stamp else ""
    return (f"<domain type='kvm'><name>{name}</name><uuid>{DOMAIN}</uuid>"
            f"<metadata>{origin}</metadata></domain>")


def log(host, user=None, **fields):
    """A record as a program would log it, whatever is in the fields."""
    with subprocess.Popen([*host.entering(user), "logger", "--journald"],
                          stdin=subprocess.PIPE) as logger:
        # No value may have a newline in it here: logger has no way to say so.
        logger.stdin.write(b"".join(name.encode() + b"=" + (value if isinstance(value, bytes)
                                                            else str(value).encode()) + b"\n"
                                    for name, value in fields.items()))
    assert logger.returncode == 0


def run_hook(host, name, status=0, **options):
    done = host.run([HOOK, name, "migrate", "begin", "-"], input=xml(name, **options), check=False)
    assert done.returncode == status, done


def log_handoff(host, name, **fields):
    log(host, MESSAGE_ID=IDS["handoff"], PRIORITY=6, TIMEHANDOFF_DOMAIN_NAME=name,
        MESSAGE=f"timehandoff: guest {name} (migrated): stepped", TIMEHANDOFF_STEPS=1,
        TIMEHANDOFF_STEPPED_NS=3000000000, TIMEHANDOFF_RESIDUAL_NS=-120000,
        TIMEHANDOFF_STEPPED_BY_OTHER="no", TIMEHANDOFF_OUTCOME="stepped", **fields)


def write_all_kinds(source, host):
    """One record at least of each kind, in a known order; those of web1 to web4 are different."""
    run_hook(host, "web1")
    source.set_shift(5)
    run_hook(host, "web2", status=1)
    source.set_shift(0)
    run_hook(host, "web3", stamp=False)
    host.write_config("[gap]\nnonsense = 1\n")
    run_hook(host, "web4")
    host.path("/etc/timehandoff/timehandoff.conf").unlink()
    host.run([PROGRAM, "override", "--for", "1h"])
    host.run([PROGRAM, "override", "--clear"])
    log_handoff(host, "web1")
    log(host, MESSAGE_ID=IDS["recheck"], TIMEHANDOFF_DOMAIN_NAME="web1", TIMEHANDOFF_DRIFT_PPB=-17,
        MESSAGE="timehandoff: guest web1, 10 s after its handoff: clock is right",
        TIMEHANDOFF_AFTER_NS=10000000000)
    settle(host)


def settle(host):
    """Returns when journald has taken everything that was sent before."""
    mark = str(uuid.uuid4())
    log(host, MARK=mark, MESSAGE="mark")
    wait_until("journald", lambda: host.journal(MARK=mark), every_s=0.1)


def expected(record):
    """What a record of journalctl should be in the JSON document."""
    made = {"time_ns": int(record["__REALTIME_TIMESTAMP"]) * 1000,
            "kind": KINDS[record["MESSAGE_ID"]]}
    for field, value in record.items():
        name = NAMES.get(field)
        if not name and field.startswith("TIMEHANDOFF_"):
            name = field.removeprefix("TIMEHANDOFF_").lower()
        if name:
            made[name] = (int(value) if NUMBER.fullmatch(name) else
                          value == "yes" if name in FLAGS else value)
    return made


class HistoryCase(Case):
    def setUp(self):
        super().setUp()
        self.hv3 = self.hosts["hv3"]

    def history(self, *options, host=None, status=0, **more):
        done = (host or self.hv2).run([PROGRAM, "history", *options], check=False, **more)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done

    def records(self, *options, **more):
        """The JSON document; stderr has to be empty."""
        done = self.history("--json", *options, **more)
        self.assertEqual(done.stderr, "")
        return json.loads(done.stdout)

    def journalctl(self, *options):
        """The same query to journalctl, by root and by the checker's user."""
        user = self.hv2.run(["id", "-u", "timehandoff"]).stdout.strip()
        matches = [f"MESSAGE_ID={number}" for number in KINDS]
        lines = self.hv2.run(["journalctl", "--no-pager", "--all", "--output=json", *options,
                              *matches, "_UID=0", f"_UID={user}"]).stdout
        return [json.loads(line) for line in lines.splitlines()]


class RealJournal(HistoryCase):
    def test_every_record_as_journalctl_has_it(self):
        there = self.journalctl()
        here = self.records()
        self.assertEqual(here, [expected(record) for record in there])
        self.assertEqual({record["kind"] for record in here}, set(KINDS.values()))
        self.assertGreaterEqual(len(here), 8)

    def test_what_the_programs_wrote(self):
        """By the words of the tests themselves, not by what journalctl says."""
        web2, = self.records("--domain", "web2")
        self.assertEqual((web2["kind"], web2["verdict"], web2["reason"]),
                         ("verdict", "block", "gap-over-block"))
        self.assertAlmostEqual(web2["gap_ns"], 5e9, delta=1e9)
        self.assertLess(abs(web2["gap_ns"] - 5e9), web2["gap_bound_ns"])
        self.assertIs(web2["authenticated"], True)
        self.assertEqual(web2["uuid"], str(DOMAIN))
        self.assertEqual(web2["block_ns"], 500000000)
        self.assertLess(abs(time.time_ns() - web2["time_ns"]), 600e9)
        web3, = self.records("--domain", "web3")
        self.assertEqual((web3["verdict"], web3["reason"]), ("warn", "source-unknown"))
        self.assertNotIn("gap_ns", web3)
        web4, = self.records("--domain", "web4")
        self.assertEqual((web4["kind"], web4["uid"]), ("check-failed", 0))
        web1 = self.records("--domain", "web1")
        self.assertEqual([record["kind"] for record in web1], ["verdict", "handoff", "recheck"])
        self.assertEqual((web1[1]["stepped_ns"], web1[1]["steps"], web1[1]["stepped_by_other"]),
                         (3000000000, 1, False))
        self.assertEqual((web1[2]["drift_ppb"], web1[2]["after_ns"]), (-17, 10000000000))
        overrides = [r for r in self.records() if r["kind"] == "override"]
        self.assertEqual([bool(re.search(words, record["message"])) for words, record in
                          zip(("pass unchecked until", "override ended"), overrides)],
                         [True, True])

    def test_lines(self):
        records = self.records()
        for zone, hours in (("UTC", 0), ("XXX-9", 9)):
            done = self.history(env={"TZ": zone})
            self.assertEqual(done.stderr, "")
            lines = done.stdout.splitlines()
            self.assertEqual(len(lines), len(records))
            for line, record in zip(lines, records):
                when, domain, words = LINE.fullmatch(line).groups()
                moment = time.gmtime(record["time_ns"] // 10**9 + hours * 3600)
                self.assertEqual(when, time.strftime("%Y-%m-%d %H:%M:%S", moment))
                self.assertEqual(domain, record.get("domain", "-"))
                self.assertEqual("timehandoff: " + words, record["message"])
        self.assertIn(" web2 blocked migration of web2: source hv1 is ", done.stdout)

    def test_the_last_ones(self):
        everything = self.records()
        for count in (1, 3, len(everything), 10000):
            self.assertEqual(self.records("--lines", str(count)), everything[-count:])
        web1 = self.records("--domain", "web1")
        self.assertEqual(self.records("--domain", "web1", "--lines", "2"), web1[-2:])
        for number in range(105):
            log_handoff(self.hv3, "many", TIMEHANDOFF_DETAIL=number)
        settle(self.hv3)
        self.assertEqual([int(record["detail"]) for record in
                          self.records("--domain", "many", host=self.hv3)], list(range(5, 105)))

    def test_since(self):
        self.assertEqual(self.records("--since", "1d"), self.records())
        time.sleep(3)
        log_handoff(self.hv2, "late")
        settle(self.hv2)
        self.assertEqual([record["domain"] for record in self.records("--since", "2s")], ["late"])
        done = self.history("--since", "1ms")
        self.assertEqual((done.stdout, done.stderr), ("", "timehandoff: no records\n"))
        self.assertEqual(self.records("--since", "1ms"), [])

    def test_no_such_domain(self):
        self.assertEqual(self.records("--domain", "nobody"), [])
        self.assertEqual(self.records("--domain", "web"), [])

    def test_bad_input(self):
        for options in (["--lines", "0"], ["--lines", "10001"], ["--lines", "-1"],
                        ["--lines", "1x"], ["--lines", ""], ["--since", "2"], ["--since", "0s"],
                        ["--since", "yesterday"], ["--since", "-2h"], ["--domain", ""],
                        ["word"], ["--other"], ["--lines"]):
            with self.subTest(options):
                done = self.history(*options, status=2)
                self.assertEqual(done.stdout, "")
                self.assert_one_line(done.stderr, "^timehandoff history: ")
        self.assertIn("--directory", self.history("--help").stdout)

    def test_the_checker_knows_no_libsystemd(self):
        linked = self.hv2.run(["ldd", PROGRAM]).stdout
        self.assertIn("libxml2", linked)
        self.assertNotIn("libsystemd", linked)


class Hostile(HistoryCase):
    """Records that no program of ours would write."""

    def test_values(self):
        values = {"escape": "\x1b[2J\x1b]0;title\x07", "c1": "\x9b31m", "turned": "\u202egnp.exe",
                  "carriage": "x\rtimehandoff: allowed", "tab": "a\tb", "json": '","kind":"x"}',
                  "percent": "%s%n%s", "long": "y" * 5000, "unicode": "gäst-日本"}
        for name, value in values.items():
            log_handoff(self.hv3, name, TIMEHANDOFF_SOURCE_HOST=value, TIMEHANDOFF_DETAIL=value,
                        TIMEHANDOFF_GAP_NS=value)
            log(self.hv3, MESSAGE_ID=IDS["verdict"], TIMEHANDOFF_DOMAIN_NAME=f"bad-{name}",
                MESSAGE=value)
        log(self.hv3, MESSAGE_ID=IDS["verdict"], TIMEHANDOFF_DOMAIN_NAME="bytes",
            MESSAGE=b"\xff\xfe\xc3(\x00\x01z")
        settle(self.hv3)
        document = self.history("--json", "--lines", "19", host=self.hv3).stdout
        text = self.history("--lines", "19", host=self.hv3).stdout
        for output in (document, text):
            self.assertNotRegex(output, CONTROLS)
        self.assertEqual(len(text.splitlines()), 19)
        records = {record["domain"]: record for record in json.loads(document)}
        for name, value in values.items():
            clean = re.sub(CONTROLS, "?", value)[:1023]
            self.assertEqual(records[name]["source_host"], clean)
            self.assertEqual(records[name]["steps"], 1)
            self.assertNotIn("gap_ns", records[name])
            self.assertEqual(records[f"bad-{name}"]["message"], clean)

    def test_domain_names(self):
        """Found again by the name that was typed, though it was logged without its escapes."""
        for name in ("a\x1b[31mb", "it's \"q\"", "a b", "gäst", "=", "a=b", "-h"):
            run_hook(self.hv3, name, stamp=False)
            settle(self.hv3)
            record = self.records("--domain", name, host=self.hv3)[-1]
            self.assertEqual(record["domain"], name.replace("\x1b", "?"))

    def test_names_and_types(self):
        log_handoff(self.hv3, "fields", TIMEHANDOFF_TIME_NS=5, TIMEHANDOFF_KIND="verdict",
                    TIMEHANDOFF_MESSAGE="x", TIMEHANDOFF_UID=0, OTHER_FIELD="x",
                    TIMEHANDOFF_GAP_BOUND_NS="1e9", TIMEHANDOFF_AUTHENTICATED="perhaps",
                    TIMEHANDOFF_NEW_NS="9223372036854775807", TIMEHANDOFF_NEW="7")
        settle(self.hv3)
        record, = self.records("--domain", "fields", host=self.hv3)
        self.assertEqual((record["kind"], record["message"]),
                         ("handoff", "timehandoff: guest fields (migrated): stepped"))
        self.assertGreater(record["time_ns"], 5)
        self.assertEqual((record["new_ns"], record["new"]), (2**63 - 1, "7"))
        for name in ("gap_bound_ns", "authenticated", "other_field"):
            self.assertNotIn(name, record)

    def test_records_by_strangers(self):
        """Anybody may log with our message id; here they pass for nothing."""
        log_handoff(self.hv3, "forged")
        log(self.hv3, user=STRANGER, MESSAGE_ID=IDS["verdict"], TIMEHANDOFF_DOMAIN_NAME="forged",
            MESSAGE="timehandoff: allowed migration of forged: all is well")
        settle(self.hv3)
        self.assertEqual(len(self.hv3.journal(TIMEHANDOFF_DOMAIN_NAME="forged")), 2)
        known = self.records("--domain", "forged", host=self.hv3)
        self.assertEqual([record["kind"] for record in known], ["handoff"])
        # In files of whatever host nobody can tell who is who: there they are shown, with the uid.
        stranger = int(self.hv3.run(["id", "-u", STRANGER]).stdout)
        both = self.records("--domain", "forged", "--directory", JOURNAL, host=self.hv3)
        self.assertEqual([record["uid"] for record in both], [0, stranger])


class Directory(HistoryCase):
    """Journal files that lie somewhere."""

    def setUp(self):
        super().setUp()
        self.copy = self.hv2.path("/run/copy")
        shutil.rmtree(self.copy, ignore_errors=True)
        settle(self.hv2)
        shutil.copytree(self.hv2.path(JOURNAL), self.copy)
        self.addCleanup(shutil.rmtree, self.copy, ignore_errors=True)

    def files(self):
        return sorted(self.copy.rglob("*.journal"))

    def test_copied(self):
        there = self.journalctl("--directory", "/run/copy")
        self.assertEqual(self.records("--directory", "/run/copy", "--lines", "10000"),
                         [expected(record) for record in there])
        # The folder of the machine itself is as good as the one above.
        folder = self.files()[0].parent.relative_to(self.copy)
        self.assertEqual(self.records("--directory", f"/run/copy/{folder}", "--domain", "web2"),
                         self.records("--domain", "web2"))

    def test_another_hosts(self):
        """On a host without a journal, as another user, who may read this one."""
        target = self.hv1.path("/run/copy")
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.copy, target)
        self.addCleanup(shutil.rmtree, target)
        for path in [target, *target.rglob("*")]:
            path.chmod(0o755)
        self.assertEqual(self.records("--directory", "/run/copy", "--domain", "web2", host=self.hv1,
                                      user=STRANGER), self.records("--domain", "web2"))

    def test_nothing_there(self):
        empty = self.hv2.path("/run/empty")
        empty.mkdir(exist_ok=True)
        self.addCleanup(shutil.rmtree, empty)
        for directory, words in (("/run/empty", "there is none that can be read"),
                                 ("/run/nowhere", "No such file or directory"),
                                 ("/etc/passwd", "Not a directory")):
            for options in ((), ("--json",)):
                done = self.history("--directory", directory, *options, status=1)
                self.assertEqual(done.stdout, "")
                self.assert_one_line(done.stderr, f"cannot read the journal in {directory}: {words}")
        (empty / "system.journal").write_text("no journal")
        self.history("--directory", "/run/empty", status=1)

    def test_corrupted(self):
        """Cut anywhere, or with bytes changed: it ends by itself, and what it prints is whole."""
        chance = random.Random(11)
        good = {path: path.read_bytes() for path in self.files()}
        outcomes = {}
        everything = {record["time_ns"] for record in
                      self.records("--directory", "/run/copy", "--lines", "10000")}
        for case in range(60):
            path = chance.choice(list(good))
            data = bytearray(good[path])
            if case % 3 == 0:
                del data[chance.randrange(len(data)):]
            else:
                # The header, or anything before the zeros at the end.
                area = chance.choice((272, len(good[path].rstrip(b"\0"))))
                for _ in range(chance.choice((1, 20, 2000))):
                    data[chance.randrange(area)] = chance.randrange(256)
            path.write_bytes(data)
            done = self.hv2.run([PROGRAM, "history", "--json", "--lines", "10000", "--directory",
                                 "/run/copy"], check=False, timeout=30)
            path.write_bytes(good[path])
            with self.subTest(case):
                self.assertIn(done.returncode, (0, 1), done.stderr)
                if done.returncode == 0:
                    found = json.loads(done.stdout)
                    self.assertNotRegex(done.stdout, CONTROLS)
                    less = len(found) < len(everything)
                    key = ("less, said" if done.stderr else "less, not said") if less else "all"
                else:
                    self.assertEqual(done.stdout, "")
                    self.assert_one_line(done.stderr, "cannot read the journal")
                    key = "refused"
                outcomes[key] = outcomes.get(key, 0) + 1
        print(f"\ncorrupted journals: {outcomes}", file=sys.stderr)
        self.assertGreater(outcomes.get("refused", 0) + outcomes.get("less, said", 0), 5)


class WithoutAJournal(HistoryCase):
    """hv1, where only timehandoffd keeps something."""

    def keep(self, *lines, mode=0o644):
        path = self.hv1.path(KEPT)
        path.write_bytes(b"".join(line.encode() + b"\n" for line in lines))
        path.chmod(mode)
        self.addCleanup(path.unlink, missing_ok=True)

    @staticmethod
    def line(number, domain="web1", **fields):
        return json.dumps({"time_ns": number * 10**9, "kind": "handoff", "domain": domain,
                           "message": f"timehandoff: guest {domain}: {number}"} | fields)

    def test_nothing_at_all(self):
        done = self.history(host=self.hv1, status=1)
        self.assertEqual(done.stdout, "")
        self.assert_one_line(done.stderr, "cannot read the journal: there is none$")

    def test_what_was_kept(self):
        self.keep(*(self.line(number, f"web{number % 2}") for number in range(150)))
        done = self.history("--json", host=self.hv1)
        self.assert_one_line(done.stderr, "there is none; showing the handoffs that timehandoffd ")
        self.assertEqual([r["time_ns"] // 10**9 for r in json.loads(done.stdout)],
                         list(range(50, 150)))
        done = self.history("--domain", "web1", "--lines", "2", host=self.hv1, user=STRANGER)
        self.assertEqual(done.stdout, "1970-01-01 00:02:27 web1 guest web1: 147\n"
                                      "1970-01-01 00:02:29 web1 guest web1: 149\n")
        self.assertEqual(json.loads(self.history("--json", "--since", "1h", host=self.hv1).stdout),
                         [])

    def test_broken_lines(self):
        self.keep(self.line(1), "", "nonsense", self.line(2)[:-5], "[" * 100000,
                  self.line(3, "a\x1b[31m", detail="\x1b[2J"), '{"kind":"handoff"}', self.line(4))
        done = self.history(host=self.hv1)
        self.assertEqual(done.stdout.splitlines(),
                         ["1970-01-01 00:00:01 web1 guest web1: 1",
                          "1970-01-01 00:00:03 a?[31m guest a?[31m: 3",
                          "1970-01-01 00:00:04 web1 guest web1: 4"])
        self.assertEqual(len(json.loads(self.history("--json", host=self.hv1).stdout)), 3)

    def test_a_user_who_may_not_read_the_journal(self):
        # As journald's folder is where systemd-tmpfiles has set it up.
        folder = self.hv2.path(JOURNAL)
        for path in folder.rglob("*.journal"):
            path.chmod(0o640)
        done = self.history(user=STRANGER, status=1)
        self.assert_one_line(done.stderr, "none that this user may read; run it as root")
        self.assertEqual(done.stdout, "")

    def test_what_the_daemon_keeps(self):
        """A real guest, paused and resumed: its handoff and the two looks afterwards."""
        self.hv1.start_libvirtd()
        self.addCleanup(self.hv1.stop_libvirtd)
        self.set_config(self.hv1, "[handoff]\nrecheck-first = 1s\nrecheck-second = 2s\n")
        guest = self.hosts.guest("web9", "hv1")
        self.addCleanup(guest.destroy)
        self.hv1.start_daemon()
        self.addCleanup(self.hv1.stop_daemon)
        guest.set_clock(0)
        guest.domain().suspend()
        time.sleep(1.5)
        guest.domain().resume()
        path = self.hv1.path(KEPT)
        wait_until("three records", lambda: path.exists() and path.read_text().count("\n") >= 3,
                   30, [self.hv1.log("daemon"), self.hv1.log("journal")])
        self.addCleanup(path.unlink)
        self.assertEqual((path.stat().st_mode & 0o7777, path.stat().st_uid), (0o644, 0))
        records = json.loads(self.history("--json", host=self.hv1).stdout)
        self.assertEqual([record["kind"] for record in records], ["handoff", "recheck", "recheck"])
        logged = [record for record in self.hv1.journal(TIMEHANDOFF_DOMAIN_NAME="web9")
                  if KINDS.get(record.get("MESSAGE_ID")) in ("handoff", "recheck")]
        for record, entry in zip(records, logged, strict=True):
            entry = dict(entry, __REALTIME_TIMESTAMP=record["time_ns"] // 1000)
            del entry["_UID"]
            made = expected(entry) | {"time_ns": record["time_ns"]}
            self.assertEqual(record, made)
        self.assertEqual(records[0]["trigger"], "unpaused")
        self.assertLess(abs(time.time_ns() - records[-1]["time_ns"]), 60e9)


if __name__ == "__main__":
    hostkit.enter()
    unittest.main()
