#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every example of the README, the operator's manual and the manual pages, typed on the test hosts.

One test is one chapter: its examples run in their order, on the host that the prompt names, with
the clocks as the chapter has them. A command has to end as the text says, and what it prints to
have the shape of what is shown: numbers, times and addresses aside, and "..." is anything. Examples
of configuration are read by the real parser. What cannot be typed here is in NOT_HERE, with why.
"""

import os
import pathlib
import re
import sys
import textwrap
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import scene  # noqa: E402
from host import NTP_HUB  # noqa: E402
from hosts import Hosts, wait_until  # noqa: E402
from scene import Scene  # noqa: E402

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
DOCUMENTS = [TOP / "README.md", TOP / "docs/operations.md",
             *sorted((TOP / "docs/man").glob("*.scd"))]
LOOK_AGAIN_S = 60.0
PROMPT = re.compile(r"(\w+)# (.*)")

# How a command begins that is not typed here, and why.
NOT_HERE = {
    "apt install": "installs packages; tests/hosts/install does",
    "apt remove": "removes packages; test_packages.py does",
    "apt purge": "removes packages; test_packages.py does",
    "examples/packaging/build-deb": "builds packages; test_packages.py does",
    "meson setup": "builds; every part of these tests does",
    "systemd-sysusers": "the test hosts have no systemd",
    "systemctl": "the test hosts have no systemd",
    "examples/demo": "makes hosts of its own",
    "tests/run": "is this",
    "chronyc makestep": "steps a clock, which no test may",
    "firewall-cmd": "the test hosts have no firewall",
    "nft add rule": "the test hosts have no firewall",
    "setsebool": "the test hosts have no SELinux",
    "rm -rf /etc/timehandoff": "takes away what the other chapters need",
    "timehandoff guest ptp | ssh web1": "the test guest has no network; see test_guest.py",
}

# What the manual says of exit statuses other than 0: how a command begins -> status by its output.
STATUS = {
    "timehandoff status": {"ALERT": 1},
    "timehandoff dry-run": {"timehandoff: blocked ": 1, "timehandoff: warning ": 3},
    "virsh migrate": {"error: ": 1},
    # As grep has it.
    "journalctl -g": {"-- No entries --": 1, r"\A\Z": 1},
}
# What changes by itself meanwhile, so that one may look again.
LOOKS = ("timehandoff status", "timehandoff history", "journalctl")

SSH = """\
#!/bin/sh
# Reaches the other host without a network: enters its namespaces.
while [ "${1#-}" != "$1" ]; do
    case $1 in
    --) shift; break ;;
    -e | -l | -o | -p) shift 2 ;;
    *) shift ;;
    esac
done
case $1 in
PIDS
*) echo "ssh: Could not resolve hostname $1" >&2; exit 255 ;;
esac
shift
[ "${1-}" != -- ] || shift
exec nsenter -t "$pid" -m -n -u -- sh -c "$*"
"""

NETWORK = """\
<network><name>default</name><forward mode='open'/><bridge name='virbr0'/>
<ip address='10.79.0.1' netmask='255.255.255.0'><dhcp><range start='10.79.0.10' end='10.79.0.20'/>
</dhcp></ip></network>
"""
PEERS = "[peers]\npeer = hv1\npeer = hv2\n"


def setUpModule():
    # As systemd sets it at boot: else a journal that nobody reads yet takes eleven records.
    pathlib.Path("/proc/sys/net/unix/max_dgram_qlen").write_text("512\n")
    Scene.hosts = hosts = unittest.enterModuleContext(Hosts(("hv1", "hv2"), os.environ["TH_STAGE"]))
    furnish(hosts)
    for host in hosts:
        host.start_peerd()
        host.start_daemon()
    Scene.guest = hosts.guest("web1", "hv1")


def furnish(hosts):
    """A system bus, the real journald, and a way from host to host."""
    hosts["hv1"].start_dbus()
    pids = "\n".join(f"{host.name}) pid={host.pid} ;;" for host in hosts)
    for host in hosts:
        host.start_journald()
        path = host.path("/usr/local/bin/ssh")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SSH.replace("PIDS", pids))
        path.chmod(0o755)


# ---- what is in the documents ----

class Command:
    """A command, the host it is typed on, and what the text shows of its output."""

    def __init__(self, host, line):
        self.host, self.line, self.shown = host, line, []


def blocks(path):
    """(heading, kind, text) of every literal block."""
    text = path.read_text()
    heading = path.stem
    for match in re.finditer(r"^#+ ([^\n]+)$|^( *)```(\w*)\n(.*?)^\2```$", text, re.M | re.S):
        if match[1]:
            heading = match[1]
        elif path.suffix == ".scd":
            literal = re.sub(r"\\(.)", r"\1", match[4])
            yield heading, kind_of(literal), literal
        else:
            yield heading, match[3] or "untagged", textwrap.dedent(match[4])


def kind_of(literal):
    """A literal block of a manual page has no tag."""
    if literal.startswith("["):
        return "ini"
    if literal.startswith("<"):
        return "xml"
    if literal.startswith("MESSAGE_ID"):
        return "text"
    return "console" if PROMPT.match(literal) else "sh"


def commands(kind, text):
    found = []
    lines = iter(text.replace("\\\n", " ").splitlines())
    for line in lines:
        prompt = PROMPT.match(line)
        if kind == "sh" and line.strip():
            line = re.sub(r"\s+# .*", "", line)
            # Who asks about hv1 sits on hv2, and web1 runs on hv1.
            found.append(Command("hv2" if "hv1" in line else "hv1", line))
        elif kind == "console" and prompt:
            found.append(Command(*prompt.groups()))
        elif kind == "console" and line.strip():
            found[-1].shown.append(line)
    return found


def chapters():
    """(document, heading) -> list of Command and of (kind, text), in their order."""
    found = {}
    for path in DOCUMENTS:
        for heading, kind, text in blocks(path):
            examples = found.setdefault((path.stem, heading), [])
            if kind in ("sh", "console"):
                examples += commands(kind, text)
            elif kind != "text":
                examples.append((kind, text))
    return found


CHAPTERS = chapters()


def is_typed(example):
    return not (isinstance(example, Command) and example.line.startswith(tuple(NOT_HERE)))


# ---- shapes ----

def shape(text):
    """The text without what differs each time, and with single blanks."""
    for pattern, word in (
            (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "WHEN"),
            (r"(\d+\.){3}\d+|\[[0-9a-f:]+\]", "ADDRESS"),
            # One in the last column of a table may be cut off.
            (r"[-+]?\b\d+(\.\d+)?( (ns|us|ms|s|min|h|d)\b| ?\w*~)", "TIME"),
            (r"\b(ahead( of)?|behind)\b", "BESIDE"),
            # On a busy machine a guest may answer too unevenly for the target.
            (r"\b(stepped|improved)\b", "STEPPED"), (", right TIME after the event", ""),
            (r"(?<![\w.])[-+]?\d+(\.\d+)?", "NUMBER")):
        text = re.sub(pattern, word, text)
    return " ".join(text.split())


def has_shape(output, shown):
    wanted = re.escape(shape(shown)).replace(r"\.\.\.", ".*")
    # A line of nothing but dots stands for no line, too.
    wanted = wanted.replace(r"\ .*", "(?: .*)?").replace(r".*\ ", "(?:.* )?")
    return re.fullmatch(wanted, shape(output)) is not None


# ---- the tests ----

class Examples(Scene):
    def setUp(self):
        self.hv1, self.hv2 = self.hosts
        self.begin(self.hv1)
        for host in self.hosts:
            self.keep(host, scene.HOOK)
            self.addCleanup(host.set_shift, 0)
            self.addCleanup(host.path("/run/timehandoff/override").unlink, missing_ok=True)
            self.addCleanup(host.path("/etc/timehandoff/keys").unlink, missing_ok=True)

    def keep(self, host, link):
        """Puts a symbolic link back that an example removes."""
        path, target = host.path(link), os.readlink(host.path(link))

        def restore():
            path.unlink(missing_ok=True)
            path.symlink_to(target)

        self.addCleanup(restore)

    # What chapters want to find

    def blocked(self):
        """hv1 is far ahead and knows that it follows nobody."""
        self.configure(self.hv2, PEERS, "peerd", "daemon")
        self.unsynchronise(self.hv1)
        self.hv1.set_shift(5)

    def arrived_then_blocked(self):
        """On hv1 a guest that was behind has arrived, and then the same."""
        self.configure(self.hv1, "[handoff]\nrecheck-first = off\nrecheck-second = off\n", "daemon")
        self.begin(self.hv2)
        self.guest.step_clock(-3)
        self.begin(self.hv1)
        # A daemon that is restarted would look at the guest once more.
        self.addCleanup(self.restart, self.hv1, "daemon")
        self.addCleanup(self.hv1.set_synced, True)
        self.hv1.set_synced(False)
        wait_until("hv1 is unsynchronised",
                   lambda: self.published_host(self.hv1)["synchronised"] == "no", 30.0)
        self.hv1.set_shift(5)

    def slow_guest(self):
        """The guest is behind, as after a long pause."""
        self.guest.step_clock(-3)

    def peers(self):
        """Everything as the chapter about rolling out has it, and a list of NTP servers."""
        self.hv1.path("/etc/chrony/sources.d").mkdir(exist_ok=True)
        for host in self.hosts:
            self.configure(host, PEERS + f"[ntp]\nserver = {NTP_HUB}\n", "peerd", "daemon")

    def network(self):
        """A network for DHCP, and the NTP servers that it is to hand out."""
        self.configure(self.hv1, f"[ntp]\nserver = {NTP_HUB}\n")
        network = self.hv1.connection().networkDefineXML(NETWORK)
        self.addCleanup(network.undefine)

    def last(self):
        """The guest is stamped again afterwards."""
        self.addCleanup(self.restart, self.hv1, "daemon")

    SCENES = {
        ("README", "timehandoff"): "arrived_then_blocked",
        ("operations", "A migration was blocked"): "blocked",
        ("operations", "An evacuation at 3 a.m."): "blocked",
        ("operations", "Rolling it out"): "peers",
        ("operations", "Every day"): "peers",
        ("operations", "Removal"): "last",
        ("timehandoff.1", "timehandoff guest"): "network",
        ("timehandoffd.8", "DESCRIPTION"): "slow_guest",
        ("timehandoffd.8", "D-Bus"): "peers",
    }

    # Running them

    def run_chapter(self, document, heading):
        if (document, heading) in self.SCENES:
            getattr(self, self.SCENES[document, heading])()
        for example in filter(is_typed, CHAPTERS[document, heading]):
            if isinstance(example, Command):
                self.type(example)
            else:
                getattr(self, f"read_{example[0]}")(example[1])

    def type(self, command):
        """Types it, and again where that is only a look, or where it says so itself."""
        deadline_s = time.monotonic() + LOOK_AGAIN_S
        while True:
            done = self.hosts[command.host].run(["bash", "-c", f"cd; exec 2>&1; {command.line}"],
                                                check=False, timeout=120)
            if (done.returncode == self.status_of(command.line, done.stdout) and
                    (not command.shown or has_shape(done.stdout, "\n".join(command.shown)))):
                break
            once = not command.line.startswith(LOOKS) and "; try again\n" not in done.stdout
            if once or time.monotonic() > deadline_s:
                self.fail(f"not as the text has it:\n{command.host}# {command.line}\n"
                          f"{done.stdout}({done.returncode})")
            time.sleep(0.5)
        # It may have been a migration.
        self.guest.host = next(host for host in self.hosts if self.guest.name in
                               host.virsh("list", "--name").stdout.split())

    @staticmethod
    def status_of(line, output):
        for begin, statuses in STATUS.items():
            if line.startswith(begin):
                return next((status for words, status in statuses.items()
                             if re.search(words, output)), 0)
        return 0

    def read_ini(self, text):
        """The configuration as an example has it, read by the command."""
        path = self.hv2.path("/etc/timehandoff/timehandoff.conf")
        before = path.read_text() if path.exists() else ""
        path.write_text(text)
        done = self.timehandoff(self.hv2, "measure", "localhost")
        path.write_text(before)
        self.assertEqual(done.returncode, 0, done.stderr)

    def read_xml(self, text):
        """Elements of ours, read by a dry run."""
        text = text.replace("<domain>", f"<domain><name>web1</name><uuid>{self.guest.uuid}</uuid>")
        _, document = self.dry_run(self.hv2, text, "--source", "hv1")
        self.assertNotIn("complaint", document["domain"])
        self.assertEqual((document["warn_ns"], document["block_ns"]), (10**6, 5 * 10**6))

    # The list of what is not typed

    def test_every_exception_still_occurs(self):
        lines = [example.line for examples in CHAPTERS.values() for example in examples
                 if isinstance(example, Command)]
        self.assertGreater(len(lines), 50)
        for begin in NOT_HERE:
            self.assertTrue([line for line in lines if line.startswith(begin)], begin)
        for chapter in self.SCENES:
            self.assertIn(chapter, CHAPTERS)

    def test_shapes(self):
        shown = "hv1 (10.77.0.1:1) is 1.5 ms behind this host, ±3 us\n..."
        for more in ("", "\n", "\nx y"):
            self.assertTrue(has_shape("hv1 ([fd77::1]:2) is 9 us ahead of this  host, ±2 s" + more,
                                      shown), more)
        for other in ("hv2 (10.77.0.1:1) is 1.5 ms behind this host, ±3 us",
                      "hv1 (10.77.0.1:1) is 1.5 ms behind this host",
                      "hv1 (10.77.0.1:1) is 1.5 behind this host, ±3 us", ""):
            self.assertFalse(has_shape(other, shown), other)


def add_tests():
    for (document, heading), examples in CHAPTERS.items():
        if not any(map(is_typed, examples)):
            continue
        name = re.sub(r"\W+", "_", f"test_{document}_{heading}".lower()).strip("_")

        def test(self, chapter=(document, heading)):
            self.run_chapter(*chapter)

        assert not hasattr(Examples, name)
        setattr(Examples, name, test)


add_tests()

if __name__ == "__main__":
    scene.enter()
    unittest.main()
