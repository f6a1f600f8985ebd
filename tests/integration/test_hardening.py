#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the installed programs, units and policies are, without running any of them.

Binaries are read with readelf; units are judged by systemd-analyze; our AppArmor profile and libvirt's
are read by apparmor_parser, our SELinux module is compiled against the distribution's policy. TH_STAGE
names a staged install; the profiles and the policy are in what tests/hosts/install unpacked.
"""

import functools
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
DOCS = HERE.parent.parent / "docs"
STAGE = pathlib.Path(os.environ.get("TH_STAGE", ""))
CACHE = pathlib.Path(os.environ.get("TH_TESTS_CACHE", "/var/cache/timehandoff-tests"))
APPARMOR = CACHE / "apparmor"
SELINUX = CACHE / "selinux" / "usr/share/selinux/devel/include"

GUARD, PEERD, DAEMON = (f"usr/sbin/{name}" for name in
                        ("timehandoff-guard", "timehandoff-peerd", "timehandoffd"))
COMMAND = "usr/bin/timehandoff"
ENDBR64 = b"\xf3\x0f\x1e\xfa"
# Of systemd-analyze, which goes from 0 to 10.
EXPOSURE_MOST = 2.0


def run(*argv, **options):
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True,
                          check=False, **options)
    return done.returncode, done.stdout, done.stderr


class Binary:
    def __init__(self, name):
        self.path = STAGE / name
        self.name = name

    @functools.cache
    def readelf(self, option):
        status, text, said = run("readelf", "--wide", option, self.path)
        assert status == 0, said
        return text

    def needed(self):
        return set(re.findall(r"\(NEEDED\).*\[(.*?)\.so", self.readelf("--dynamic")))

    def segment_flags(self, name):
        found = re.search(rf"^\s+{name}\s(?:.*?0x\w+){{5}}\s+([RWE ]+?)\s+0x", self.readelf("--segments"),
                          re.M)
        return found and found[1].replace(" ", "")

    def calls(self):
        return set(re.findall(r"FUNC .* (__\w+)@", self.readelf("--dyn-syms")))


class Binaries(unittest.TestCase):
    def test_all(self):
        for name in (GUARD, PEERD, DAEMON, COMMAND):
            with self.subTest(name):
                binary = Binary(name)
                dynamic = binary.readelf("--dynamic")
                self.assertRegex(binary.readelf("--file-header"), r"Type:\s+DYN")
                self.assertRegex(dynamic, r"\(FLAGS_1\).*\bPIE\b")
                self.assertEqual(binary.segment_flags("GNU_STACK"), "RW")
                self.assertEqual(binary.segment_flags("GNU_RELRO"), "R")
                self.assertRegex(dynamic, r"BIND_NOW|\(FLAGS_1\).*\bNOW\b")
                for word in ("RPATH", "RUNPATH", "TEXTREL"):
                    self.assertNotIn(word, dynamic)
                self.assertEqual(re.findall(r"LOAD .* RWE ", binary.readelf("--segments")), [])
                # What would run with more rights than its caller.
                self.assertEqual(binary.path.stat().st_mode & 0o7777, 0o755)

    def test_checked_by_the_compiler(self):
        for name in (PEERD, DAEMON, COMMAND):
            with self.subTest(name):
                binary = Binary(name)
                self.assertIn("__stack_chk_fail", binary.calls())
                self.assertGreaterEqual(len([c for c in binary.calls() if c.endswith("_chk")]), 5)
                # Where an indirect call may land; the distribution's own start files have no mark.
                if "X86-64" in binary.readelf("--file-header"):
                    self.assertGreater(binary.path.read_bytes().count(ENDBR64), 100)

    def test_the_guard_needs_nothing(self):
        guard = Binary(GUARD)
        self.assertEqual(guard.needed(), set())
        self.assertIsNone(re.search(r"\bINTERP\b", guard.readelf("--segments")))

    def test_libraries(self):
        """What faces the network holds neither libvirt nor what reads XML or JSON."""
        self.assertLessEqual(Binary(PEERD).needed(), {"libc", "libm", "libnettle", "libinih",
                                                      "libsystemd", "libgcc_s"})
        for word in (b"libvirt.so", b"virConnect", b"libxml2"):
            self.assertNotIn(word, Binary(PEERD).path.read_bytes())
        self.assertIn(b"libvirt.so", Binary(DAEMON).path.read_bytes())
        self.assertNotIn("libsystemd", Binary(COMMAND).needed())


class Units(unittest.TestCase):
    NAMES = ("timehandoffd.service", "timehandoff-peerd.service")

    def unit(self, name):
        return next(STAGE.rglob(f"systemd/system/{name}"))

    def test_exposure(self):
        for name in self.NAMES:
            with self.subTest(name):
                status, table, said = run(
                    "systemd-analyze", "security", "--offline=true", "--no-pager",
                    f"--threshold={EXPOSURE_MOST * 10:.0f}", self.unit(name))
                self.assertEqual(status, 0, table + said)
                found = re.search(r"exposure level for .*: ([\d.]+)", table)
                self.assertLessEqual(float(found[1]), EXPOSURE_MOST, table)

    def test_systemd_understands_every_line(self):
        with tempfile.TemporaryDirectory() as folder:
            # With the programs where the machine has none of ours.
            units = []
            for name in self.NAMES:
                text = self.unit(name).read_text().replace("=/usr/sbin/timehandoff",
                                                           f"={STAGE}/usr/sbin/timehandoff")
                units.append(pathlib.Path(folder, name))
                units[-1].write_text(text)
            status, out, said = run("systemd-analyze", "verify", "--man=no",
                                    "--recursive-errors=no", *units)
            self.assertEqual((status, out, said), (0, "", ""))


# AppArmor

@functools.cache
def parser_options():
    """apparmor_parser on the unpacked files, with the local additions that no package brings."""
    folder = tempfile.TemporaryDirectory()
    unittest.addModuleCleanup(folder.cleanup)
    local = pathlib.Path(folder.name, "local")
    local.mkdir()
    for profile in profiles_of_libvirt():
        (local / profile.name).touch()
    conf = pathlib.Path(folder.name, "parser.conf")
    conf.touch()
    base = APPARMOR / "etc/apparmor.d"
    parser, = APPARMOR.glob("**/sbin/apparmor_parser")
    return (parser, "--config-file", conf, "--skip-kernel-load",
            "--skip-cache", "--base", base, "-I", base, "-I", folder.name)


def profiles_of_libvirt():
    folder = CACHE / "libvirt-profiles" / "etc/apparmor.d"
    return [path for name in ("libvirtd", "virtqemud")
            for path in folder.glob(f"usr.sbin.{name}")]


def pattern_of(glob):
    """A regular expression of AppArmor's file globs."""
    words = {"**": ".*", "*": "[^/]*", "?": "[^/]", "{": "(?:", "}": ")", ",": "|"}
    return "".join(words.get(word) or (word if word[0] == "[" else re.escape(word))
                   for word in re.findall(r"\*\*|\[[^]]*\]|.", glob))


class Profile:
    """The rules about files of a profile's outermost block, its includes read in."""

    def __init__(self, path):
        status, text, said = run(*parser_options(), "--preprocess", path)
        assert status == 0, said
        variables = dict(re.findall(r"^\s*@\{(\w+)\}\s*=\s*(.*?)\s*$", text, re.M))
        body = re.search(r"^profile .*?\{\n(.*?)^(?:  profile |\})", text, re.M | re.S)[1]
        self.rules = []
        for deny, glob, rights in re.findall(
                r"^\s*(?:audit )?(deny )?(?:owner )?([/@]\S*)\s+([a-zA-Z]+)(?: -> \S+)?,", body, re.M):
            for name, value in variables.items():
                choice = "{" + ",".join(word.strip("/") for word in value.split()) + "}"
                glob = glob.replace(f"@{{{name}}}", ("/" if value.startswith("/") else "") + choice)
            self.rules.append((re.compile(pattern_of(glob)), glob, rights, bool(deny)))

    def matching(self, path):
        return [rule for rule in self.rules if rule[0].fullmatch(path)]

    def allows(self, path, right):
        found = [rule for rule in self.matching(path) if right in rule[2]]
        return bool(found) and not any(denied for *_, denied in found)

    def executes(self, path):
        """How the profile lets a program be executed: a rule without a glob beats one with."""
        found = [(glob == path, re.sub(r"[^PCUipucx]", "", rights)) for _, glob, rights, _ in
                 self.matching(path) if "x" in rights]
        exact = [how for is_exact, how in found if is_exact]
        return set(exact or [how for _, how in found])


class AppArmor(unittest.TestCase):
    def test_libvirts_profiles_let_the_guard_run(self):
        """Whatever way the hook is installed: executed, and for a link with a profile of its own."""
        profiles = profiles_of_libvirt()
        self.assertIn("usr.sbin.libvirtd", [path.name for path in profiles])
        for path in profiles:
            with self.subTest(path.name):
                profile = Profile(path)
                # The link is judged by where it leads to: with a profile of that name, or none.
                self.assertEqual(os.readlink(STAGE / "etc/libvirt/hooks/qemu.d/50-timehandoff"),
                                 f"/{GUARD}")
                self.assertEqual(profile.executes(f"/{GUARD}"), {"PUx"})
                # A copy in the folder stays in libvirtd's profile, and may run the checker.
                self.assertEqual(profile.executes("/etc/libvirt/hooks/qemu.d/50-timehandoff"), {"ix"})
                self.assertEqual(profile.executes(f"/{COMMAND}"), {"PUx"})
                # Where a hook would block every guest.
                self.assertEqual(profile.executes("/usr/libexec/timehandoff/guard"), set())

    def test_the_parser_takes_our_profile(self):
        status, out, said = run(*parser_options(), DOCS / "apparmor" / f"usr.sbin.{PEERD[9:]}")
        self.assertEqual((status, out), (0, ""), said)
        self.assertNotIn("error", said)

    def test_our_profile(self):
        profile = Profile(DOCS / "apparmor" / f"usr.sbin.{PEERD[9:]}")
        for path in ("/run/timehandoff/peers/peers", "/run/timehandoff/peers/.peers.77",
                     "/run/systemd/notify", "/run/systemd/journal/socket"):
            self.assertTrue(profile.allows(path, "w"), path)
        for path in ("/etc/timehandoff/keys", "/etc/timehandoff/conf.d/10.conf", "/etc/hosts",
                     "/run/timehandoff/host", "/run/timehandoff/request",
                     "/proc/sys/kernel/random/boot_id", f"/{PEERD}"):
            self.assertTrue(profile.allows(path, "r"), path)
        for path in ("/run/libvirt/libvirt-sock", "/run/timehandoff/host", "/etc/timehandoff/keys",
                     "/run/timehandoff/arrivals/x", "/etc/passwd", "/usr/sbin/x", "/tmp/x"):
            self.assertFalse(profile.allows(path, "w"), path)
        self.assertFalse(profile.allows("/etc/shadow", "r"))
        for path in ("/bin/sh", "/usr/bin/dash", "/usr/bin/chronyc"):
            self.assertEqual(profile.executes(path), set(), path)


class SELinux(unittest.TestCase):
    def test_module_compiles(self):
        self.assertTrue(SELINUX.is_dir(), SELINUX)
        with tempfile.TemporaryDirectory() as folder:
            for path in (DOCS / "selinux").iterdir():
                pathlib.Path(folder, path.name).write_bytes(path.read_bytes())
            status, out, said = run(
                "make", "-f", SELINUX / "Makefile", f"HEADERDIR={SELINUX}", "NAME=default",
                "AWK=awk", "SEMODULE=true", "timehandoff.pp", cwd=folder)
            self.assertEqual((status, said), (0, ""), out)
            # Nothing that the policy does not know was left standing as text.
            self.assertTrue(pathlib.Path(folder, "timehandoff.pp").stat().st_size)

    def test_every_installed_program_has_a_label(self):
        contexts = [line.split() for line in (DOCS / "selinux/timehandoff.fc").read_text().splitlines()
                    if line.startswith("/")]
        def label(path):
            found = [words[-1] for words in contexts if re.fullmatch(words[0], path)]
            return found and re.search(r":(\w+_t),", found[-1])[1]
        self.assertEqual({path: label(f"/{path}") for path in (GUARD, PEERD, DAEMON)},
                         {GUARD: "timehandoff_hook_exec_t", PEERD: "timehandoff_peerd_exec_t",
                          DAEMON: "timehandoff_daemon_exec_t"})
        for path, kind in (("/etc/timehandoff/keys", "timehandoff_key_t"),
                           ("/run/timehandoff/host", "timehandoff_state_t"),
                           ("/run/timehandoff/peers/peers", "timehandoff_peers_t"),
                           ("/run/timehandoff/arrivals/x", "timehandoff_arrivals_t")):
            self.assertEqual(label(path), kind)

    def test_documented_boolean(self):
        defined = set(re.findall(r"gen_tunable\((\w+),", (DOCS / "selinux/timehandoff.te").read_text()))
        self.assertEqual(defined, set(re.findall(r"setsebool -P (timehandoff_\w+)",
                                                 (DOCS / "security.md").read_text())))


if __name__ == "__main__":
    if not (STAGE / COMMAND).exists():
        sys.exit("TH_STAGE must name what 'DESTDIR=$TH_STAGE meson install' left")
    unittest.main()
