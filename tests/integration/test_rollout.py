#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The roll-out examples, tried: the Ansible role on two test hosts, the cloud-config by its schema.

The real ansible-playbook runs the role on hosts that have a libvirtd and nothing of ours: hv1
builds from this source tree, hv2 gets a package made of TH_STAGE. Its connection is the local one,
with a shell that enters the host. There is no systemd in there; a stand-in for systemctl, which
records what it is told, takes its place in one test.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import hostkit  # noqa: E402
from hostkit import Case, Key, group_of  # noqa: E402
from hosts import Hosts  # noqa: E402

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
ANSIBLE = TOP / "examples" / "ansible"
CLOUD_CONFIG = TOP / "examples" / "cloud-init" / "host.yaml"
CLOUD_INIT = hostkit.bed_of_hosts.bed.CACHE / "cloud-init"
PLAYBOOK = "/usr/bin/ansible-playbook"
# A tmpfs there is seen by all hosts, and gone with them.
ROOM = pathlib.Path("/mnt")
CONFIG = "/etc/timehandoff/timehandoff.conf"
HOOK = "/etc/libvirt/hooks/qemu.d/50-timehandoff"
VERDICT = "afe8100e7f144f3c78a3a5f1614874a4"
PLAIN_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Play:
    """What a run of ansible-playbook came to."""

    def __init__(self, done):
        self.status, self.output = done.returncode, done.stdout + done.stderr
        pattern = r"^(\w+) +: ok=(\d+) +changed=(\d+) +unreachable=(\d+) +failed=(\d+)"
        self.counts = {host: {"ok": int(ok), "changed": int(changed), "failed": int(failed)}
                       for host, ok, changed, _, failed in re.findall(pattern, self.output, re.M)}
        self.complaints = [json.loads(f'"{text}"') for text in
                           re.findall(r'^fatal: .*"msg": "((?:[^"\\]|\\.)*)"', self.output, re.M)]

    def changed(self):
        return {host: counts["changed"] for host, counts in self.counts.items()}


def write_inventory(hosts, **variables):
    """The test hosts as an inventory group; each is entered by a shell of its own."""
    entries = {}
    for host in hosts:
        shell = ROOM / f"sh-{host.name}"
        shell.write_text(f'#!/bin/sh\nexec {" ".join(host.entering())} /bin/sh "$@"\n')
        shell.chmod(0o755)
        entries[host.name] = {"ansible_connection": "local", "ansible_shell_executable": str(shell),
                              "ansible_python_interpreter": "/usr/bin/python3",
                              "timehandoff_address": host.address,
                              "timehandoff_group": "rack1",
                              "timehandoff_libvirt_pid_files": ["/run/none.pid",
                                                                "/run/libvirt/libvirtd.pid"]}
        entries[host.name] |= {name: value[host.name] for name, value in variables.items()}
    (ROOM / "inventory.json").write_text(json.dumps({"hypervisors": {"hosts": entries}}))


def play(*options, **variables):
    """Runs the example's playbook; variables win over those of the inventory."""
    env = {"PATH": PLAIN_PATH, "HOME": str(ROOM), "LC_ALL": "C.UTF-8", "TZ": "UTC",
           "ANSIBLE_HOME": str(ROOM / "ansible"), "ANSIBLE_REMOTE_TEMP": str(ROOM / "remote"),
           "ANSIBLE_LOCAL_TEMP": str(ROOM / "local"), "ANSIBLE_PIPELINING": "1",
           "ANSIBLE_NOCOLOR": "1", "TMPDIR": str(ROOM)}
    # Whoever runs the tests is root already, and need not have sudo.
    argv = [PLAYBOOK, "-i", ROOM / "inventory.json", ANSIBLE / "site.yml", *options,
            "-e", json.dumps({"ansible_become": False} | variables)]
    return Play(subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, capture_output=True,
                               text=True, timeout=400, check=False))


def make_package():
    """A package of the staged install, made by the distribution's own program."""
    tree = ROOM / "package"
    shutil.copytree(os.environ["TH_STAGE"], tree, symlinks=True)
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN" / "control").write_text(
        "Package: timehandoff\nVersion: 0.1.0\nArchitecture: amd64\n"
        "Maintainer: timehandoff tests <root@localhost>\nDescription: staged install\n")
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "-b", tree,
                    ROOM / "timehandoff.deb"], check=True, stdout=subprocess.DEVNULL)


def forget_user(host):
    """Takes the system user away again that test hosts have: making it is the role's work."""
    for name in ("/etc/passwd", "/etc/group"):
        path = host.path(name)
        path.write_text("".join(line for line in path.read_text().splitlines(keepends=True)
                                if not line.startswith("timehandoff:")))


def setUpModule():
    if not os.path.exists(PLAYBOOK):
        raise unittest.SkipTest(f"no {PLAYBOOK}: the package ansible-core is not installed")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", ROOM], check=True)
    unittest.addModuleCleanup(subprocess.run, ["umount", "-l", ROOM], check=True)
    make_package()
    Case.hosts = hosts = unittest.enterModuleContext(Hosts(("hv1", "hv2")))
    for host in hosts:
        forget_user(host)
    write_inventory(hosts, timehandoff_install={"hv1": "source", "hv2": "package"},
                    timehandoff_source_tree={"hv1": str(TOP), "hv2": ""},
                    timehandoff_package={"hv1": "", "hv2": str(ROOM / "timehandoff.deb")})
    FirstRun.dry = play("--check")
    FirstRun.left_by_dry = [f"{host.name}:{path}" for host in hosts
                            for path in (CONFIG, HOOK, "/usr/bin/timehandoff")
                            if os.path.lexists(host.path(path))]
    # Nothing starts the daemons here, so nobody answers yet.
    FirstRun.real = play(timehandoff_peers_must_answer=False, timehandoff_peer_tries=1)
    if FirstRun.real.status == 0:
        for host in hosts:
            host.start_peerd()
            host.start_daemon()


class RolloutCase(Case):
    """On hosts that were rolled out once."""

    def setUp(self):
        super().setUp()
        if FirstRun.real.status != 0:
            self.skipTest("the first run failed, see FirstRun")

    def assert_played(self, run, changed=None):
        """It went well; changed: on each host so many tasks changed something, handlers too."""
        self.assertEqual(run.status, 0, run.output)
        self.assertEqual(set(run.counts), {"hv1", "hv2"}, run.output)
        if changed is not None:
            self.assertEqual(run.changed(), {"hv1": changed, "hv2": changed}, run.output)

    def assert_refused(self, run, *words, hosts=("hv1", "hv2")):
        """Each host has one failure, a sentence that holds these words, and nothing was changed."""
        self.assertNotEqual(run.status, 0, run.output)
        self.assertEqual(len(run.complaints), len(hosts), run.output)
        self.assertEqual({h: run.counts[h]["failed"] for h in hosts}, dict.fromkeys(hosts, 1))
        self.assertEqual(set(run.changed().values()), {0}, run.output)
        for complaint in run.complaints:
            for word in words:
                self.assertIn(word, complaint)

    def reload_by_signal(self):
        """Variables that have the role reload the daemons that run here."""
        pids = {host.name: " ".join((host.base / "programs" / name).read_text()
                                    for name in ("peerd", "daemon")) for host in self.hosts}
        return "kill -HUP {{ {" + ", ".join(f"'{n}': '{p}'" for n, p in pids.items()) + \
            "}[inventory_hostname] }}"


class FirstRun(RolloutCase):
    """From nothing."""

    dry = real = left_by_dry = None

    def setUp(self):
        Case.setUp(self)

    def test_dry_run(self):
        self.assert_played(self.dry)
        self.assertEqual(self.left_by_dry, [])

    def test_run(self):
        self.assert_played(self.real)
        for count in self.real.changed().values():
            self.assertGreater(count, 5, self.real.output)
        self.assertEqual(self.real.output.count("timehandoff: no answer from 10.77.0."), 2)

    def test_files(self):
        self.assertEqual(self.real.status, 0, self.real.output)
        for host, peer in ((self.hv1, self.hv2), (self.hv2, self.hv1)):
            with self.subTest(host.name):
                self.assertEqual(os.readlink(host.path(HOOK)), "/usr/sbin/timehandoff-guard")
                wish = {"/etc/timehandoff": "755 root:root",
                        CONFIG: "644 root:root",
                        "/usr/sbin/timehandoff-guard": "755 root:root",
                        "/usr/sbin/timehandoffd": "755 root:root",
                        "/usr/bin/timehandoff": "755 root:root",
                        "/run/timehandoff/peers": "755 timehandoff:timehandoff",
                        "/run/timehandoff/arrivals": "1770 root:timehandoff",
                        "/run/timehandoff/locks": "700 root:root"}
                found = host.run(["stat", "-c", "%n %a %U:%G", *wish]).stdout
                self.assertEqual(dict(line.split(" ", 1) for line in found.splitlines()), wish)
                text = host.path(CONFIG).read_text()
                for line in ("[gap]\nmode = report\nwarn = 50ms\nblock = 500ms\n",
                             "[handoff]\nmode = report\n",
                             f"[peers]\npeer = {peer.address} group=rack1\n"):
                    self.assertIn(line, text)
                self.assertFalse(host.path("/etc/timehandoff/keys").exists())


class SecondRun(RolloutCase):
    """Again, with other wishes or without."""

    def test_nothing_changes(self):
        run = play()
        self.assert_played(run, changed=0)
        for address in (self.hv1.address, self.hv2.address):
            self.assertRegex(run.output, rf"{re.escape(address)} .* (ahead of|behind) this host")
        self.assert_played(play("--check"), changed=0)

    def test_enforce_and_back(self):
        """A guest migrates by libvirt: what the hook says is what the role was told."""
        guest = self.hosts.guest("web1", "hv1")
        self.hv1.set_shift(5)
        before = len(self.hv2.journal(MESSAGE_ID=VERDICT))
        done = guest.migrate(self.hv2)
        self.assertEqual(done.returncode, 0, done.stderr)
        record = self.hv2.journal(MESSAGE_ID=VERDICT)[before]
        self.assertEqual((record["TIMEHANDOFF_VERDICT"], record["TIMEHANDOFF_WOULD_VERDICT"]),
                         ("allow", "block"), record["MESSAGE"])
        self.assert_played(play(timehandoff_mode="enforce",
                                timehandoff_restart_command=self.reload_by_signal()), changed=2)
        for host in self.hosts:
            self.assertIn("[handoff]\nmode = step\n", host.path(CONFIG).read_text())
        done = guest.migrate(self.hv1)
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stderr, "timehandoff: blocked migration of web1: source hv2 is "
                                      "[45][.0-9]* s behind this host ")
        self.assert_played(play(timehandoff_restart_command=self.reload_by_signal()), changed=2)
        done = guest.migrate(self.hv1)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_keys(self):
        keys = [Key(7), Key(9, "AES256", seed=3)]
        variables = {"timehandoff_keys": [{"id": key.number, "type": key.kind,
                                           "hex": key.secret.hex()} for key in keys],
                     "timehandoff_require_key": True,
                     "timehandoff_restart_command": self.reload_by_signal()}
        self.addCleanup(play, timehandoff_restart_command=self.reload_by_signal())
        for host in self.hosts:
            self.addCleanup(host.path("/etc/timehandoff/keys").unlink, missing_ok=True)
        run = play("-vv", "--diff", **variables)
        self.assert_played(run, changed=3)
        for key in keys:
            self.assertNotIn(key.secret.hex(), run.output)
            for host in self.hosts:
                self.assertNotIn(key.secret.hex(), host.log("journal").read_text(errors="replace"))
        for host, peer in ((self.hv1, self.hv2), (self.hv2, self.hv1)):
            path = host.path("/etc/timehandoff/keys")
            about = path.stat()
            self.assertEqual((about.st_mode & 0o7777, about.st_uid, about.st_gid),
                             (0o640, 0, group_of(host)))
            self.assertTrue(path.read_text().endswith("".join(key.line for key in keys)))
            self.assertIn("require-key = yes\n", host.path(CONFIG).read_text())
            found = json.loads(host.run(["timehandoff", "measure", "--json", peer.address]).stdout)
            self.assertTrue(found["authenticated"])
        self.assert_played(play(**variables), changed=0)

    def test_settings(self):
        settings = {"gap": {"source-unknown": "block", "warn": "20ms"},
                    "responder": {"allow": ["10.77.0.0/24", "127.0.0.0/8"], "require-key": False},
                    "domain db*": {"block": "5ms", "handoff": "off"}}
        self.addCleanup(play)
        run = play("--limit", "hv1", timehandoff_settings=settings)
        self.assertEqual((run.status, run.changed()), (0, {"hv1": 1}), run.output)
        text = self.hv1.path(CONFIG).read_text()
        for line in ("warn = 20ms\nblock = 500ms\nsource-unknown = block\n",
                     "allow = 10.77.0.0/24\nallow = 127.0.0.0/8\nrequire-key = no\n",
                     "[domain db*]\nblock = 5ms\nhandoff = off\n"):
            self.assertIn(line, text)


    def test_ntp_servers(self):
        """The list reaches the time daemon, once."""
        drop_in = "/etc/chrony/sources.d/timehandoff.sources"
        servers = {"timehandoff_ntp_servers": [hostkit.HUB]}
        for host in self.hosts:
            host.stop_chronyd()
            self.addCleanup(host.set_synced, True)
            self.addCleanup(host.path(drop_in).unlink, missing_ok=True)
            host.start_chronyd(synced=False)
            with open(host.path("/etc/chrony/chrony.conf"), "a", encoding="utf-8") as config:
                config.write("sourcedir /etc/chrony/sources.d\n")
            host.path("/etc/chrony/sources.d").mkdir(exist_ok=True)
            host.stop_chronyd()
            host.start("chronyd", ["/usr/sbin/chronyd", "-x", "-d", "-u", "root", "-f",
                                   "/etc/chrony/chrony.conf"])
            host.wait_synced(False)
        self.addCleanup(play)
        self.assert_played(play(**servers), changed=2)
        for host in self.hosts:
            self.assertIn(f"[ntp]\nserver = {hostkit.HUB}\n", host.path(CONFIG).read_text())
            self.assertRegex(host.path(drop_in).read_text(), rf"(?m)^server {hostkit.HUB}\b")
            host.wait_synced()
        self.assert_played(play(**servers), changed=0)


class WrongVariables(RolloutCase):
    """One clear failure, and the hosts stay as they were."""

    def setUp(self):
        super().setUp()
        self.before = [host.path(CONFIG).read_bytes() for host in self.hosts]

    def tearDown(self):
        self.assertEqual([host.path(CONFIG).read_bytes() for host in self.hosts], self.before)

    def test_values(self):
        secret = Key(7).secret.hex()
        for variables, *words in (
                ({"timehandoff_mode": "enforced"}, "timehandoff_mode is 'enforced'",
                 "report, enforce"),
                ({"timehandoff_block": 500}, "timehandoff_block is '500'", "500ms"),
                ({"timehandoff_install": "magic"}, "timehandoff_install is 'magic'"),
                ({"timehandoff_peers_from": "hypervizors"}, "'hypervizors'", "no group"),
                ({"timehandoff_settings": {"gap": "report"}}, "timehandoff_settings"),
                ({"timehandoff_require_key": True}, "timehandoff_require_key needs"),
                ({"timehandoff_keys": [{"id": 7, "type": "AES256", "hex": secret}]},
                 "key 7 of timehandoff_keys is not 64 hexadecimal digits")):
            with self.subTest(variables):
                run = play("--limit", "hv1", **variables)
                self.assert_refused(run, *words, hosts=("hv1",))
                self.assertNotIn(secret, run.output)

    def test_settings_that_the_command_refuses(self):
        for settings, *words in (({"gap": {"wran": "1ms"}}, "timehandoff.conf:", "wran"),
                                 ({"gap": {"warn": "2s"}}, "[gap] warn")):
            with self.subTest(settings):
                self.assert_refused(play(timehandoff_settings=settings), *words)

    def test_a_peer_is_silent(self):
        self.hv2.stop_peerd()
        self.addCleanup(self.hv2.start_peerd)
        run = play("--limit", "hv1", timehandoff_peer_tries=2)
        self.assert_refused(run, "no answer from 10.77.0.2", "UDP port", hosts=("hv1",))
        run = play("--limit", "hv1", timehandoff_peer_tries=1, timehandoff_peers_must_answer=False)
        self.assertEqual((run.status, run.counts["hv1"]["changed"]), (0, 0), run.output)

    def test_the_hook_is_gone(self):
        path = self.hv1.path(HOOK)
        aside = path.with_name("aside")
        path.rename(aside)
        self.addCleanup(aside.rename, path)
        self.assert_refused(play("--limit", "hv1"), HOOK, "has to be a link to", hosts=("hv1",))


SYSTEMCTL = """\
#!/bin/sh
# Stands in for systemd: keeps which units are enabled and active, and writes down what it is told.
state=/run/stand-in
mkdir -p $state
for word; do case $word in *.service) unit=$word ;; esac; done
case $1 in
show)
    active=inactive
    [ ! -e "$state/active.$unit" ] || active=active
    printf 'LoadState=loaded\\nActiveState=%s\\n' $active
    exit ;;
is-enabled) [ -e "$state/enabled.$unit" ] && echo enabled || { echo disabled; exit 1; } ;;
is-active) [ "$unit" = libvirtd.service ] || [ -e "$state/active.$unit" ] ;;
enable) : >"$state/enabled.$unit" ;;
start) : >"$state/active.$unit" ;;
esac || exit
case $1 in is-*) exit ;; esac
echo "$@" >>$state/told
"""


class Systemd(RolloutCase):
    """What systemd would be told, by a stand-in for systemctl."""

    def setUp(self):
        super().setUp()
        for host in self.hosts:
            path = host.path("/usr/local/sbin/systemctl")
            path.write_text(SYSTEMCTL)
            path.chmod(0o755)
            self.addCleanup(host.run, ["rm", "-rf", "/run/stand-in"])
            self.addCleanup(path.unlink)

    def told(self, host):
        path = host.path("/run/stand-in/told")
        text = path.read_text() if path.exists() else ""
        path.unlink(missing_ok=True)
        return [line for line in text.splitlines() if line != "daemon-reload"]

    def test_units(self):
        self.assert_played(play(timehandoff_systemd=True))
        for host in self.hosts:
            self.assertEqual(self.told(host), [f"{verb} {unit}" for unit in
                                               ("timehandoff-peerd.service", "timehandoffd.service")
                                               for verb in ("enable", "start")])
        self.assert_played(play(timehandoff_systemd=True), changed=0)
        for host in self.hosts:
            self.assertEqual(self.told(host), [])
        # hv1 has to build anew, which ends in restarts and libvirt's reload.
        self.hv1.path("/usr/local/src/timehandoff/installed").write_text("other\n")
        self.assert_played(play(timehandoff_systemd=True))
        self.assertEqual(self.told(self.hv1), ["restart timehandoff-peerd.service",
                                               "restart timehandoffd.service",
                                               "reload libvirtd.service"])
        self.assertEqual(self.told(self.hv2), [])
        self.addCleanup(play)
        self.assert_played(play(timehandoff_systemd=True, timehandoff_warn="10ms"), changed=2)
        for host in self.hosts:
            self.assertEqual(self.told(host), ["reload timehandoff-peerd.service",
                                               "reload timehandoffd.service"])


class Examples(Case):
    """The files as they are shipped."""

    def test_syntax_with_the_example_inventory(self):
        done = subprocess.run([PLAYBOOK, "-i", ANSIBLE / "inventory/hosts.yml", "--syntax-check",
                               ANSIBLE / "site.yml"], capture_output=True, text=True, check=False,
                              env={"PATH": PLAIN_PATH, "HOME": str(ROOM)})
        self.assertEqual(done.returncode, 0, done.stderr)

    def schema(self, path):
        """cloud-init's own verdict on a cloud-config."""
        argv = ["/usr/bin/python3", CLOUD_INIT / "usr/bin/cloud-init", "schema", "--config-file",
                path]
        env = {"PATH": PLAIN_PATH, "HOME": str(ROOM), "LC_ALL": "C.UTF-8",
               "PYTHONPATH": str(CLOUD_INIT / "usr/lib/python3/dist-packages")}
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env=env)
        if "ModuleNotFoundError" in done.stderr:
            self.skipTest(f"cloud-init cannot run here: {done.stderr.splitlines()[-1]}")
        return done.returncode, done.stdout + done.stderr

    @unittest.skipUnless(CLOUD_INIT.is_dir(), f"no cloud-init unpacked in {CLOUD_INIT}")
    def test_cloud_config_against_the_schema(self):
        status, said = self.schema(CLOUD_CONFIG)
        self.assertEqual(status, 0, said)
        self.assertNotIn("Error", said)
        broken = ROOM / "broken.yaml"
        text = CLOUD_CONFIG.read_text().replace("write_files:\n", "write_files: no\nother:\n")
        broken.write_text(text)
        status, said = self.schema(broken)
        self.assertNotEqual(status, 0, said)

    def test_cloud_config_on_a_host(self):
        """Its configuration loads, and its commands name things that are installed."""
        if FirstRun.real.status != 0:
            self.skipTest("the first run failed, see FirstRun")
        import yaml
        config = yaml.safe_load(CLOUD_CONFIG.read_text())
        files = {file["path"]: file for file in config["write_files"]}
        before = self.hv1.path(CONFIG).read_text()
        self.addCleanup(self.hv1.write_config, before)
        self.hv1.write_config(files[CONFIG]["content"])
        done = self.hv1.run(["timehandoff", "measure", "127.0.0.1"], check=False)
        self.assertNotIn(CONFIG, done.stderr)
        self.assertEqual(done.returncode, 0, done.stderr)
        keys = files.get("/etc/timehandoff/keys")
        if keys:
            self.assertEqual((keys["permissions"], keys["owner"], keys["defer"]),
                             ("0640", "root:timehandoff", True))
        units = {word for line in config["runcmd"] if isinstance(line, list)
                 for word in line if re.fullmatch(r"timehandoff.*[.]service", word)}
        self.assertEqual(units, {"timehandoff-peerd.service", "timehandoffd.service"})
        for unit in units:
            self.assertTrue((pathlib.Path(os.environ["TH_STAGE"]) / "lib/systemd/system" / unit)
                            .exists(), unit)


if __name__ == "__main__":
    hostkit.enter()
    unittest.main()
