#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The guest's side, as it is installed: lint, cloud-init, dhcp and ptp.

What is generated is given to those it is for: cloud-init's own schema and its own module, libvirtd,
the dnsmasq that libvirtd starts and the DHCP clients that ask it, chronyd's own parser. The host
hv1 stands for any host; TH_STAGE names a staged install.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import hostkit  # noqa: E402
import bed  # noqa: E402
from hostkit import publish  # noqa: E402
from hosts import Hosts, wait_until  # noqa: E402

TIMEHANDOFF = "/usr/bin/timehandoff"
DOMAINS = pathlib.Path(__file__).resolve().parent.parent / "data" / "domains"
CLOUD_INIT = bed.CACHE / "cloud-init" / "usr/lib/python3/dist-packages"
DNSMASQ = bed.CACHE / "dnsmasq/usr/sbin/dnsmasq"
CHRONYD = bed.CACHE / "chrony/usr/sbin/chronyd"
DNSMASQ_NS = "http://libvirt.org/schemas/network/dnsmasq/1.0"

DOMAIN = """\
<domain type='qemu'>
  <name>vm1</name>
  <memory unit='MiB'>64</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <clock offset='utc'><timer name='rtc' track='guest'/></clock>
  <devices><emulator>/usr/bin/qemu-system-x86_64</emulator></devices>
</domain>
"""

# No <forward>, or libvirtd wants a firewall, which has nothing to do with this.
NETWORK = """\
<network>
  <name>lab</name>
  <forward mode='open'/>
  <bridge name='virbr-lab' stp='off' delay='0'/>
  <!-- kept as it is -->
  <ip address='10.79.0.1' netmask='255.255.255.0'>
    <dhcp>
      <range start='10.79.0.10' end='10.79.0.20'/>
    </dhcp>
  </ip>
  <ip family='ipv6' address='fd79::1' prefix='64'>
    <dhcp>
      <range start='fd79::10' end='fd79::20'/>
    </dhcp>
  </ip>
</network>
"""

# Runs cloud-init's module on a configuration, with these programs in the image; prints what it did.
CLOUD_INIT_RUN = """\
import inspect, json, logging, sys
from unittest import mock
import yaml
from cloudinit import distros, subp
from cloudinit.config import cc_ntp
config, present = yaml.safe_load(sys.stdin), sys.argv[1].split(",")
distro = mock.Mock(preferred_ntp_clients=list(distros.PREFERRED_NTP_CLIENTS),
                   get_option=lambda name, default=None: default)
distro.name = "debian"
cloud = mock.Mock(distro=distro)
with mock.patch.object(subp, "which", lambda name: name in present), \\
        mock.patch.object(cc_ntp, "rename_ntp_conf"), \\
        mock.patch.object(cc_ntp, "write_ntp_config_template") as write:
    # Older ones are given a logger.
    loggers = [logging.getLogger()] * (len(inspect.signature(cc_ntp.handle).parameters) - 4)
    cc_ntp.handle("ntp", config, cloud, *loggers, [])
packages = [name for call in distro.install_packages.call_args_list for name in call.args[0]]
given = write.call_args.kwargs
json.dump({"service": given["service_name"], "servers": given["servers"], "pools": given["pools"],
           "installed": packages}, sys.stdout)
"""


def setUpModule():
    Case.hosts = unittest.enterModuleContext(Hosts(("hv1",), os.environ["TH_STAGE"]))


class Case(unittest.TestCase):
    hosts = None
    maxDiff = None

    def setUp(self):
        self.host = self.hosts["hv1"]
        publish(self.host)

    def guest(self, *words, input=None, status=0):
        """Runs `timehandoff guest …`; returns what it printed on stdout and on stderr."""
        done = self.host.run([TIMEHANDOFF, "guest", *words], check=False, input=input)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout, done.stderr

    def configure(self, text):
        self.host.write_config(text)
        self.addCleanup(self.host.path("/etc/timehandoff/timehandoff.conf").unlink)


class Lint(Case):
    def lint(self, xml, *options, status=0):
        return self.guest("lint", *options, "-", input=xml, status=status)[0]

    def test_corpus_is_clean(self):
        files = sorted(DOMAINS.glob("*.xml"))
        self.assertGreaterEqual(len(files), 10)
        for path in files:
            with self.subTest(path.name):
                text, complaint = self.guest("lint", str(path))
                self.assertRegex(text, r"errors 0, warnings 0, hints \d+\n\Z")
                self.assertEqual(complaint, "")

    def test_finding_in_text_and_json(self):
        xml = (DOMAINS / "linux-virt-install.xml").read_text()
        xml = xml.replace("org.qemu.guest_agent.0", "org.example")
        text = self.lint(xml, status=1)
        found = json.loads(self.lint(xml, "--json", status=1))
        self.assertEqual((found["domain"], found["os"], found["arch"]), ("web1", "Linux", "x86"))
        self.assertEqual((found["errors"], found["warnings"], found["hints"]), (1, 0, 1))
        self.assertEqual([f["id"] for f in found["findings"]],
                         ["agent-missing", "ptp-kvm-possible"])
        first = found["findings"][0]
        self.assertEqual(first["severity"], "error")
        self.assertNotIn("line", found["findings"][1])
        self.assertTrue(text.startswith(
            f"error: agent-missing: {first['why']}\n    {first['line']}\n"), text)

    def test_line_puts_it_right(self):
        """The lines are XML that libvirt takes: here with one of them, the fault is gone."""
        xml = DOMAIN.replace(" track='guest'", "")
        line = json.loads(self.lint(xml, "--json", status=1))["findings"][0]["line"]
        repaired = xml.replace("</devices>", line + "</devices>")
        self.assertNotIn("agent-", self.lint(repaired))
        self.host.path("/run/repaired.xml").write_text(repaired)
        self.host.virsh("define", "/run/repaired.xml")
        self.host.virsh("undefine", "vm1")

    def test_domain_of_libvirt(self):
        self.host.path("/run/vm1.xml").write_text(DOMAIN)
        self.host.virsh("define", "/run/vm1.xml")
        self.addCleanup(self.host.virsh, "undefine", "vm1")
        text, _ = self.guest("lint", "vm1", status=1)
        self.assertIn("error: agent-missing: ", text)
        self.assertIn("error: rtc-track-guest: ", text)
        self.assertIn("hint: kvm-missing: ", text)

    def test_libvirt_refuses_what_is_called_unsupported(self):
        for timer in ("name='rtc' tickpolicy='discard'", "name='rtc' tickpolicy='merge'",
                      "name='rtc' track='boot'", "name='pit' tickpolicy='merge'",
                      "name='platform'", "name='armvtimer' tickpolicy='delay'"):
            with self.subTest(timer):
                xml = DOMAIN.replace("name='rtc' track='guest'", timer)
                self.assertIn("error: timer-unsupported: ", self.lint(xml, status=1))
                self.host.path("/run/refused.xml").write_text(xml)
                done = self.host.virsh("create", "/run/refused.xml", "--paused", check=False)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn("unsupported configuration", done.stderr)

    def test_bad_input(self):
        for words, xml in ((("lint", "-"), "<domain>"), (("lint", "-"), "<network/>"),
                           (("lint", "-"), "<domain type='lxc'/>"), (("lint", "-"), ""),
                           (("lint", "/no/such.xml"), None), (("lint", "no-such-domain"), None),
                           (("lint",), None), (("lint", "a", "b"), None),
                           (("lint", "--server", "a.b", "-"), None), ((), None),
                           (("link", "-"), None)):
            with self.subTest(words=words, xml=xml):
                text, complaint = self.guest(*words, input=xml, status=2)
                self.assertEqual(text, "")
                self.assertRegex(complaint, r"\Atimehandoff[^\n]*: [^\n]+\n\Z")


class Servers(Case):
    WORDS = ("cloud-init", "dhcp", "ptp")

    def test_refused_without_servers(self):
        for word in self.WORDS:
            text, complaint = self.guest(word, status=2)
            self.assertEqual(text, "")
            self.assertIn("there are no NTP servers", complaint)

    def test_configured_list(self):
        self.configure("[ntp]\nserver = 192.0.2.1\nserver = fd00::7\n")
        for word in self.WORDS:
            text, _ = self.guest(word)
            for server in ("192.0.2.1", "fd00::7"):
                self.assertIn(server, text)
            text, _ = self.guest(word, "--server", "192.0.2.9")
            self.assertIn("192.0.2.9", text)
            self.assertNotIn("192.0.2.1", text)

    def test_bad_names(self):
        for name in ("", "a b", "a'b", "<x>", "-x", "10.0.0.256", "a;reboot", "x" * 300, "a\nb"):
            for word in self.WORDS:
                text, _ = self.guest(word, f"--server={name}", status=2)
                self.assertEqual(text, "")

    def test_warns_unless_synchronised(self):
        for word in self.WORDS:
            for state, warned in (("yes", ""), ("no", "is not known to be synchronised"),
                                  ("unknown", "is not known to be synchronised")):
                publish(self.host, synchronised=state)
                text, complaint = self.guest(word, "--server", "192.0.2.1")
                self.assertIn("192.0.2.1", text)
                self.assertEqual("synchronised" in complaint, bool(warned), complaint)
                self.assertIn(warned, complaint)
        self.host.path("/run/timehandoff/host").unlink()
        _, complaint = self.guest("cloud-init", "--server", "192.0.2.1")
        self.assertIn("is not known", complaint)


class CloudInit(Case):
    def setUp(self):
        super().setUp()
        self.configure("[ntp]\nserver = ntp1.example\nserver = 192.0.2.1\nserver = fd00::7\n"
                       "pool = pool.example\n")
        self.text, _ = self.guest("cloud-init")

    def python(self, *argv, input=None):
        return subprocess.run(["/usr/bin/python3", *argv], input=input, text=True,
                              capture_output=True, check=False,
                              env={"PYTHONPATH": str(CLOUD_INIT), "PATH": "/usr/bin:/bin",
                                   "PYTHONDONTWRITEBYTECODE": "1"})

    def test_schema(self):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(self.text)
            file.flush()
            done = self.python("-m", "cloudinit.cmd.main", "schema", "-c", file.name)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertRegex(done.stdout + done.stderr, "Valid (cloud-config|schema)")
            # Or the schema would take anything.
            file.write("  servres: []\n")
            file.flush()
            done = self.python("-m", "cloudinit.cmd.main", "schema", "-c", file.name)
            self.assertNotEqual(done.returncode, 0)

    def module(self, *present, text=None):
        done = self.python("-c", CLOUD_INIT_RUN, ",".join(present), input=text or self.text)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_client_in_the_image_is_configured(self):
        for program, service in (("chronyd", "chrony"), ("ntpd", "ntp"),
                                 ("/lib/systemd/systemd-timesyncd", "systemd-timesyncd")):
            done = self.module(program)
            self.assertEqual(done["service"], service)
            self.assertEqual(done["servers"], ["ntp1.example", "192.0.2.1", "fd00::7"])
            self.assertEqual(done["pools"], ["pool.example"])
            self.assertEqual(done["installed"], [])

    def test_nothing_is_installed(self):
        self.assertEqual(self.module("sh")["installed"], [])
        # Without the two lines that say so, cloud-init would.
        text = self.text.replace("  config:\n    packages: []\n", "")
        self.assertNotEqual(text, self.text)
        self.assertNotEqual(self.module("sh", text=text)["installed"], [])


class Ptp(Case):
    SERVERS = ("--server", "192.0.2.1", "--server", "ntp2.example", "--server", "fd00::7")

    def apply(self, root):
        script, _ = self.guest("ptp", *self.SERVERS)
        done = subprocess.run(["sh"], input=script, text=True, capture_output=True, check=False,
                              env={"DESTDIR": str(root), "PATH": "/usr/bin:/bin"})
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))

    def parsed(self, path):
        done = subprocess.run([CHRONYD, "-p", "-f", path], text=True, capture_output=True,
                              check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout.splitlines()

    def test_debian(self):
        with tempfile.TemporaryDirectory() as root:
            conf = pathlib.Path(root) / "etc/chrony/conf.d"
            conf.mkdir(parents=True)
            self.apply(root)
            lines = self.parsed(conf / "timehandoff-ptp.conf")
            self.assertIn("refclock PHC /dev/ptp_kvm poll 2 dpoll -2 offset 0 refid KVM stratum 2",
                          lines)
            for line in ("server 192.0.2.1 iburst", "server ntp2.example iburst",
                         "server fd00::7 iburst", "makestep 1 -1"):
                self.assertIn(line, lines)
            etc = pathlib.Path(root) / "etc"
            self.assertEqual((etc / "modules-load.d/ptp_kvm.conf").read_text(), "ptp_kvm\n")
            rule = (etc / "udev/rules.d/60-ptp-kvm.rules").read_text()
            self.assertIn('ATTR{clock_name}=="KVM virtual PTP", SYMLINK+="ptp_kvm"', rule)
            self.assertFalse((etc / "chrony.d").exists())

    def test_one_file_chrony_conf(self):
        with tempfile.TemporaryDirectory() as root:
            etc = pathlib.Path(root) / "etc"
            etc.mkdir()
            (etc / "chrony.conf").write_text("driftfile /var/lib/chrony/drift\n")
            self.apply(root)
            self.apply(root)
            self.assertEqual((etc / "chrony.conf").read_text(),
                             "driftfile /var/lib/chrony/drift\nconfdir /etc/chrony.d\n")
            self.assertIn("makestep 1 -1", self.parsed(etc / "chrony.d/timehandoff-ptp.conf"))

    def test_parser_refuses_nonsense(self):
        with tempfile.NamedTemporaryFile("w") as file:
            file.write("refclock PHC\nmakestep -1 x\n")
            file.flush()
            self.assertNotEqual(subprocess.run([CHRONYD, "-p", "-f", file.name], check=False,
                                               capture_output=True).returncode, 0)

    def test_warns_of_too_few_servers(self):
        self.assertIn("cannot outvote", self.guest("ptp", "--server", "192.0.2.1")[1])
        self.assertNotIn("cannot outvote", self.guest("ptp", *self.SERVERS)[1])


class Dhcp(Case):
    def update(self, xml, *servers):
        words = [word for server in servers for word in ("--server", server)]
        return self.guest("dhcp", *words, "-", input=xml)[0]

    def test_rest_is_kept_and_twice_is_once(self):
        once = self.update(NETWORK, "192.0.2.1", "fd00::7")
        self.assertEqual(re.sub(r"  <dnsmasq:options.*</dnsmasq:options>\n", "", once,
                                flags=re.S), NETWORK)
        self.assertEqual(self.update(once, "192.0.2.1", "fd00::7"), once)
        other = self.update(once, "192.0.2.2")
        self.assertIn("ntp-server,192.0.2.2'", other)
        self.assertNotIn("192.0.2.1", other)

    def test_element_alone(self):
        text, _ = self.guest("dhcp", "--server", "192.0.2.1")
        self.assertEqual(text, f"<dnsmasq:options xmlns:dnsmasq='{DNSMASQ_NS}'>\n"
                               "  <dnsmasq:option value='dhcp-option=option:ntp-server,192.0.2.1'/>"
                               "\n</dnsmasq:options>\n")

    def test_names_are_looked_up_for_ipv4(self):
        text, complaint = self.guest("dhcp", "--server", "hv1", "--server", "no-such.invalid")
        self.assertIn(f"option:ntp-server,{self.host.address}'", text)
        self.assertIn("option6:ntp-server,hv1,no-such.invalid'", text)
        self.assertIn(f"hv1 is {self.host.address} in DHCP option 42", complaint)
        self.assertIn("no-such.invalid is left out of DHCP option 42", complaint)

    def test_remarks(self):
        bare = "<network>\n  <name>lab</name>\n</network>\n"
        text, complaint = self.guest("dhcp", "--server", "192.0.2.1", "-", input=bare)
        self.assertEqual(text, bare)
        self.assertIn("serves no DHCP", complaint)
        _, complaint = self.guest("dhcp", "--server", "fd00::7", "-", input=NETWORK)
        self.assertIn("option 42 is not set", complaint)
        _, complaint = self.guest("dhcp", "--server", "192.0.2.1", "-", input=NETWORK)
        self.assertIn("option 56 is not set", complaint)

    def test_bad_input(self):
        for xml in ("", "<network/>", "<network>", "<domain type='kvm'/>",
                    "<!DOCTYPE network><network></network>"):
            text, complaint = self.guest("dhcp", "--server", "192.0.2.1", "-", input=xml, status=2)
            self.assertEqual(text, "")
            self.assertIn("is no XML of a libvirt network", complaint)


class RealNetwork(Case):
    """libvirtd starts a dnsmasq with the result, and DHCP clients ask it."""

    def setUp(self):
        super().setUp()
        self.host.run(["cp", DNSMASQ, "/usr/sbin/dnsmasq"])
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))

    def start(self, xml):
        """Defines and starts the network; returns it as libvirt has it."""
        self.host.path("/run/lab.xml").write_text(xml)
        self.host.virsh("net-define", "/run/lab.xml", "--validate")
        self.addCleanup(self.host.virsh, "net-undefine", "lab")
        self.host.virsh("net-start", "lab")
        self.addCleanup(self.host.virsh, "net-destroy", "lab")
        return self.host.virsh("net-dumpxml", "--inactive", "lab").stdout

    def client(self):
        """A network namespace with eth0 on the network's bridge; returns how to enter it."""
        holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        self.addCleanup(holder.wait)
        self.addCleanup(holder.kill)
        own = os.readlink("/proc/self/ns/net")
        wait_until("the client's namespace",
                   lambda: os.readlink(f"/proc/{holder.pid}/ns/net") != own)
        bed.call("ip", "link", "add", "client", "netns", self.host.pid, "type", "veth",
                 "peer", "name", "eth0", "netns", holder.pid)
        self.host.run(["ip", "link", "set", "client", "master", "virbr-lab", "up"])
        inside = ["nsenter", "-t", str(holder.pid), "-n", "--"]
        bed.call(*inside, "ip", "link", "set", "eth0", "addrgenmode", "eui64", "up")
        wait_until("a link-local address that is tried", lambda: re.search(
            r"inet6 fe80[^\n]*scope link(?! tentative)",
            bed.call(*inside, "ip", "-6", "addr", "show", "eth0", "-tentative")))
        return inside

    def ask4(self, inside):
        """What udhcpc gets for option 42."""
        script = self.folder / "udhcpc"
        script.write_text(f'#!/bin/sh\n[ "$1" != bound ] || echo "$ntpsrv" >{self.folder}/4\n')
        script.chmod(0o755)
        bed.call(*inside, "busybox", "udhcpc", "-i", "eth0", "-f", "-n", "-q", "-t", "3", "-T", "5",
                 "-O", "ntpsrv", "-s", script)
        return (self.folder / "4").read_text().split()

    def ask6(self, inside):
        """The bytes that dhclient gets for option 56."""
        program, = (bed.CACHE / "dhclient").glob("**/sbin/dhclient")
        conf, leases = self.folder / "conf", self.folder / "leases"
        conf.write_text("option dhcp6.ntp code 56 = string;\nalso request dhcp6.ntp;\n")
        leases.touch()
        client = subprocess.Popen([*inside, program, "-6", "-1", "-d", "-cf", conf, "-lf", leases,
                                   "-pf", self.folder / "pid", "-sf", "/bin/true", "eth0"],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)
        try:
            lease = wait_until("a DHCPv6 lease", lambda: re.search(
                r"option dhcp6\.ntp ([^;]+);", leases.read_text()), 30, [leases])
        finally:
            client.kill()
            client.wait()
        return _bytes(lease[1])

    def test_clients_get_the_servers(self):
        xml, _ = self.guest("dhcp", "--server", "192.0.2.1", "--server", "192.0.2.2",
                            "--server", "fd00::7", "--server", "hv1", "-", input=NETWORK)
        kept = self.start(xml)
        # What libvirt has made of it is what the next update begins with.
        again, _ = self.guest("dhcp", "--server", "192.0.2.1", "--server", "192.0.2.2",
                              "--server", "fd00::7", "--server", "hv1", "-", input=kept)
        self.assertEqual(again, kept)
        inside = self.client()
        self.assertEqual(self.ask4(inside), ["192.0.2.1", "192.0.2.2", self.host.address])
        self.assertEqual(self.ask6(inside),
                         b"\0\1\0\x10" + bytes.fromhex("fd00") + bytes(13) + b"\7"
                         + b"\0\3\0\5\3hv1\0")

    def test_names_alone(self):
        xml, _ = self.guest("dhcp", "--server", "hv1", "--server", "ntp2.invalid", "-",
                            input=NETWORK)
        self.start(xml)
        self.assertEqual(self.ask6(self.client()),
                         b"\0\3\0\5\3hv1\0" b"\0\3\0\x0e\4ntp2\7invalid\0")


def _bytes(text):
    """A string as dhclient writes it: hexadecimal with colons, or quoted."""
    if text.startswith('"'):
        return text[1:-1].encode().decode("unicode_escape").encode("latin-1")
    return bytes(int(part, 16) for part in text.split(":"))


if __name__ == "__main__":
    hostkit.enter()
    unittest.main()
