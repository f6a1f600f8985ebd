#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The packages: built, then installed, upgraded, broken, removed, purged by the real dpkg and rpm.

Each test has a root of its own: the machine's, with an overlay in memory, so that package database
and libraries are there and every change is thrown away. libvirt's part is played by Root.hook(),
which does with the folder of hooks what libvirt does with it. No systemd runs in there: stand-ins
write down what systemctl is told, and make what tmpfiles.d says.
"""

import ctypes
import os
import pathlib
import re
import shutil
import stat
import struct
import subprocess
import sys
import threading
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "hosts"))

import bed  # noqa: E402

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
PACKAGING = TOP / "examples" / "packaging"
LONG = bool(os.environ.get("TH_LONG"))
# A file system in memory, since an overlay's upper folder must not be below its lower one.
ROOM = pathlib.Path("/mnt")
NAME = "timehandoff"
QEMU_D = "etc/libvirt/hooks/qemu.d"
HOOK = "50-timehandoff"
GUARD = "timehandoff-guard"
UUID = "6a9f1e4c-3a1d-4d53-9a0c-0f3c3d0a7b11"
XML = f"<domain type='qemu'><name>web1</name><uuid>{UUID}</uuid></domain>"
ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive",
       "HOME": "/root"}

SYSTEMCTL = f"""\
#!/bin/sh
wants=/etc/systemd/system/multi-user.target.wants
for unit; do :; done
case $* in
*preset*) mkdir -p $wants && ln -sf /lib/systemd/system/"$unit" $wants/"$unit" ;;
*is-enabled*) [ -L $wants/"$unit" ] && echo enabled ;;
*is-active*) [ -e /run/active/"$unit" ] ;;
*daemon-reload*) ;;
*) [ -L /{QEMU_D}/{HOOK} ] && link=linked || link=unlinked
   echo "$* $link" | sed 's/--quiet //; s/--system //' >>/run/told ;;
esac
"""
TMPFILES = """\
#!/bin/sh
grep '^d' "/usr/lib/tmpfiles.d/$2" | while read -r _ path mode user group _; do
    mkdir -p "$path" && chmod "$mode" "$path" && chown "$user:$group" "$path" || exit
done
"""


def run(*argv, **options):
    """Runs a command; what it printed is in its failure."""
    done = subprocess.run([str(word) for word in argv], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, **options)
    if done.returncode != 0:
        raise bed.Failure(f"{argv} ended with {done.returncode}:\n{done.stdout[-6000:]}")
    return done.stdout


class Watch:
    """What happens to the names in some folders, in order: (folder, what, name)."""

    EVENTS = {0x40: "moved away", 0x80: "moved in", 0x100: "created", 0x200: "deleted"}
    LIBC = ctypes.CDLL(None, use_errno=True)

    def __init__(self, *folders):
        self.fd = self.LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self.folders = {self.LIBC.inotify_add_watch(self.fd, os.fsencode(path), 0x3c0): path.name
                        for path in folders}
        if self.fd < 0 or -1 in self.folders:
            raise OSError(ctypes.get_errno(), "inotify")

    def close(self):
        """Ends the watch; returns what was seen."""
        seen = []
        while True:
            try:
                data = os.read(self.fd, 65536)
            except BlockingIOError:
                break
            while data:
                number, mask, _, size = struct.unpack_from("iIII", data)
                name = os.fsdecode(data[16:16 + size].rstrip(b"\0"))
                seen += [(self.folders[number], word, name)
                         for bit, word in self.EVENTS.items() if mask & bit]
                data = data[16 + size:]
        os.close(self.fd)
        return seen


class Root:
    """A root file system over the machine's own, or over that of another Root."""

    def __init__(self, name, below=None):
        self.upper, self.path = ROOM / f"{name}.upper", ROOM / f"{name}.root"
        work = ROOM / f"{name}.work"
        for folder in (self.upper, self.path, work):
            folder.mkdir()
        self.lower = f"{below.upper}:{below.lower}" if below else "/"
        bed.call("mount", "-t", "overlay", "overlay", self.path, "-o",
                 f"lowerdir={self.lower},upperdir={self.upper},workdir={work}")
        for folder in ("proc", "dev"):
            bed.call("mount", "--rbind", f"/{folder}", self.path / folder)
        for folder in ("run", "tmp"):
            bed.call("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", self.path / folder)
        (self.path / "run/systemd/system").mkdir(parents=True)
        (self.path / "run/active").mkdir()
        if not below:
            self.furnish()

    def furnish(self):
        for name, text in (("systemctl", SYSTEMCTL), ("systemd-tmpfiles", TMPFILES)):
            path = self.path / "usr/bin" / name
            path.unlink(missing_ok=True)
            path.write_text(text)
            path.chmod(0o755)
        # What a machine may have: a word against starting anything, and something of ours.
        (self.path / "usr/sbin/policy-rc.d").unlink(missing_ok=True)
        shutil.rmtree(self.path / "etc/timehandoff", ignore_errors=True)
        shutil.rmtree(self.path / "etc/libvirt/hooks", ignore_errors=True)

    def close(self):
        bed.call("umount", "--recursive", "--lazy", self.path)
        shutil.rmtree(self.upper)

    def call(self, *argv):
        """Runs a command in there; returns what became of it, with all its output."""
        return subprocess.run(["chroot", self.path, *argv], stdin=subprocess.DEVNULL, env=ENV,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False)

    def dpkg(self, *argv, fails=False):
        # Triggers are of others: all manual pages are not to be indexed each time.
        done = self.call("dpkg", "--no-triggers", *argv)
        if (done.returncode != 0) != fails:
            raise bed.Failure(f"dpkg {argv} ended with {done.returncode}:\n{done.stdout}")

    @property
    def status(self):
        return self.call("dpkg-query", "-W", "-f", "${db:Status-Status}", NAME).stdout

    @property
    def hooks(self):
        """What libvirt would run: regular files, links followed, that are executable, by name."""
        folder = self.path / QEMU_D
        found = []
        for name in sorted(os.listdir(folder)) if folder.is_dir() else []:
            link = folder / name
            # Links are those of the root, not of the machine.
            at = self.path / os.readlink(link).lstrip("/") if link.is_symlink() else link
            if at.is_file() and stat.S_IMODE(at.stat().st_mode) & 0o111:
                found.append(name)
        return found

    def hook(self, operation):
        """Calls the hooks as libvirt does; returns those that were run, each with its status."""
        return [(name, subprocess.run(["chroot", self.path, f"/{QEMU_D}/{name}", "web1", operation,
                                       "begin", "-"], input=XML, env=ENV, capture_output=True,
                                      text=True, check=False).returncode)
                for name in self.hooks]

    def told(self):
        """What systemctl was told since the last look, and whether the link was there then."""
        path = self.path / "run/told"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def watch(self):
        return Watch(self.path / QEMU_D, self.path / "usr/sbin")


class Calls(threading.Thread):
    """Calls the hook again and again, as a busy libvirt would."""

    def __init__(self, root):
        super().__init__(daemon=True)
        self.root, self.results, self.ends = root, [], threading.Event()

    def run(self):
        while not self.ends.is_set():
            for operation in ("prepare", "migrate", "started"):
                self.results.append((operation, *self.root.hook(operation)))

    def __enter__(self):
        self.start()
        bed.wait_until("some calls before", lambda: len(self.results) >= 3)
        return self

    def __exit__(self, *_):
        seen = len(self.results)
        bed.wait_until("some calls after", lambda: len(self.results) >= seen + 3 or
                       not self.is_alive())
        self.ends.set()
        self.join()


def repack(name, scripts=None, **fields):
    """A copy of the package in which fields and maintainer scripts differ; the guard does, too."""
    folder, package = ROOM / f"{name}.d", ROOM / f"{name}.deb"
    shutil.copytree(Packages.unpacked, folder, symlinks=True)
    control = folder / "DEBIAN/control"
    text = control.read_text()
    for field, value in fields.items():
        text = re.sub(rf"(?m)^{field}: .*\n|\Z", f"{field}: {value}\n", text, count=1)
    control.write_text(text)
    for script, words in (scripts or {}).items():
        path = folder / "DEBIAN" / script
        path.write_text(path.read_text() + words)
    with open(folder / "usr/sbin" / GUARD, "ab") as guard:
        guard.write(name.encode())
    (folder / "DEBIAN/md5sums").unlink()
    run("dpkg-deb", "--root-owner-group", "-Znone", "-b", folder, package)
    return package


class Packages(unittest.TestCase):
    """Has a root in which the package is installed, and newer versions of it."""

    n_roots = 0

    @classmethod
    def build(cls):
        Packages.out = ROOM / "out"
        run("nice", PACKAGING / "build-deb", cls.out, "-b",
            env={**ENV, "DEB_BUILD_OPTIONS": "noautodbgsym" + ("" if LONG else " nocheck")})
        Packages.package, = cls.out.glob(f"{NAME}_*.deb")
        Packages.unpacked = ROOM / "unpacked"
        run("dpkg-deb", "-R", cls.package, cls.unpacked)
        Packages.newer = repack("newer", Version="9")
        Packages.machine = Root("machine")
        # The machine may have it, or remember it.
        cls.machine.call("dpkg", "--no-triggers", "--force-all", "--purge", NAME)
        Packages.installed = Root("installed", cls.machine)
        for unit in ("libvirtd", "timehandoffd", "timehandoff-peerd"):
            (cls.installed.path / f"run/active/{unit}.service").touch()
        shutil.copy(cls.package, cls.installed.path / "tmp/package.deb")
        cls.installed.dpkg("-i", "/tmp/package.deb")

    def root(self, below=None):
        Packages.n_roots += 1
        root = Root(f"root{self.n_roots}", below or self.installed)
        self.addCleanup(root.close)
        for unit in ("libvirtd", "timehandoffd", "timehandoff-peerd"):
            (root.path / f"run/active/{unit}.service").touch()
        if not below:
            # What the package made in memory.
            root.call("systemd-tmpfiles", "--create", f"{NAME}.conf")
        return root

    def put(self, root, package):
        """The path, in there, of a copy of a package."""
        shutil.copy(package, root.path / "tmp" / package.name)
        return f"/tmp/{package.name}"

    def assert_works(self, root):
        for operation in ("prepare", "migrate", "reconnect"):
            self.assertEqual(root.hook(operation), [(HOOK, 0)], operation)

    def assert_absent(self, root):
        self.assertEqual(os.listdir(root.path / QEMU_D) if (root.path / QEMU_D).exists() else [],
                         [])

    def assert_no_call_failed(self, calls):
        self.assertEqual([result for result in calls.results if result[1:] != ((HOOK, 0),)], [])


class Contents(Packages):
    """What is in the packages."""

    def test_lintian(self):
        """Finds nothing to warn of."""
        changes, = self.out.glob("*.changes")
        run("lintian", "--allow-root", "--fail-on", "error,warning", changes)

    def test_versions(self):
        """Both kinds of packages have the version of the project."""
        wish = re.search(r"version: '([\d.]+)'", (TOP / "meson.build").read_text())[1]
        spec = (PACKAGING / "rpm/timehandoff.spec").read_text()
        self.assertEqual(run("dpkg-deb", "-f", self.package, "Version").strip(), wish)
        self.assertEqual(re.search(r"^Version: +(\S+)$", spec, re.M)[1], wish)

    def test_nothing_in_the_folder_of_hooks(self):
        """dpkg would put more names there while it upgrades, and libvirt would run them."""
        self.assertEqual(os.listdir(self.unpacked / QEMU_D), [])

    def test_guard_needs_no_library(self):
        self.assertNotIn("NEEDED", run("readelf", "-d", self.unpacked / "usr/sbin" / GUARD))

    def test_firewalld_opens_the_port(self):
        text = (self.unpacked / "usr/lib/firewalld/services/timehandoff.xml").read_text()
        self.assertIn('protocol="udp" port="10123"', text)
        self.assertIn("#port = 10123", (TOP / "docs/timehandoff.conf.example").read_text())


class Installing(Packages):

    def test_unpack_then_configure(self):
        """No hook before everything is in place; then the daemons; then the hook, then libvirt."""
        root = self.root(self.machine)
        path = self.put(root, self.package)
        root.dpkg("--unpack", path)
        self.assert_absent(root)
        self.assertEqual(root.told(), [])
        root.dpkg("--configure", NAME)
        self.assertEqual(root.told(), [
            "start timehandoff-peerd.service timehandoffd.service unlinked",
            "reload libvirtd.service linked"])
        self.assert_works(root)
        self.assertTrue((root.path / "run/timehandoff/arrivals" / UUID).exists())

    def test_files(self):
        root = self.root()
        wish = {"/etc/timehandoff": "755 root:root",
                "/etc/timehandoff/conf.d": "755 root:root",
                "/usr/sbin/timehandoff-guard": "755 root:root",
                "/usr/sbin/timehandoff-peerd": "755 root:root",
                "/usr/sbin/timehandoffd": "755 root:root",
                "/usr/bin/timehandoff": "755 root:root",
                "/run/timehandoff/peers": "755 timehandoff:timehandoff",
                "/run/timehandoff/arrivals": "1770 root:timehandoff",
                "/run/timehandoff/locks": "700 root:root"}
        found = root.call("stat", "-c", "%n %a %U:%G", *wish).stdout
        self.assertEqual(dict(line.split(" ", 1) for line in found.splitlines()), wish)
        self.assertEqual(os.readlink(root.path / QEMU_D / HOOK), f"/usr/sbin/{GUARD}")

    def test_libvirt_does_not_run(self):
        """It is not started for that: it looks for hooks when it begins."""
        root = self.root(self.machine)
        (root.path / "run/active/libvirtd.service").unlink()
        root.dpkg("-i", self.put(root, self.package))
        self.assertEqual([line for line in root.told() if "libvirtd" in line], [])

    def test_a_configuration_is_there_before(self):
        """As the manual says to begin; dpkg has nothing to ask."""
        root = self.root(self.machine)
        config = root.path / "etc/timehandoff/timehandoff.conf"
        config.parent.mkdir()
        config.write_text("[gap]\nmode = report\n")
        root.dpkg("-i", self.put(root, self.package))
        self.assertEqual(config.read_text(), "[gap]\nmode = report\n")

    def test_a_link_of_others_is_theirs(self):
        for target in ("/dev/null", "/usr/local/sbin/timehandoff-guard"):
            with self.subTest(target):
                root = self.root(self.machine)
                (root.path / QEMU_D).mkdir(parents=True)
                (root.path / QEMU_D / HOOK).symlink_to(target)
                root.dpkg("-i", self.put(root, self.package))
                root.dpkg("--remove", NAME)
                self.assertEqual(os.readlink(root.path / QEMU_D / HOOK), target)


class Upgrading(Packages):

    def test_while_hooks_run(self):
        """Every call in all that time is right, and libvirt never sees another name."""
        root = self.root()
        folder = root.path / "etc/timehandoff"
        config, keys = folder / "timehandoff.conf", folder / "keys"
        config.write_text("[gap]\nmode = report\n")
        keys.write_text("1 AES128 HEX:00112233445566778899aabbccddeeff\n")
        keys.chmod(0o640)
        profile = root.path / "etc/apparmor.d/usr.sbin.timehandoff-peerd"
        profile.write_text(profile.read_text() + "# of the operator's\n")
        before = [(path.read_text(), path.stat().st_mode) for path in (config, keys, profile)]
        watch = root.watch()
        with Calls(root) as calls:
            root.dpkg("-i", self.put(root, self.newer))
        seen = watch.close()
        self.assert_no_call_failed(calls)
        self.assertEqual([event for event in seen if event[0] == "qemu.d"], [])
        self.assertEqual([event[1] for event in seen if event[2] == GUARD], ["moved in"])
        self.assertTrue((root.path / "usr/sbin" / GUARD).read_bytes().endswith(b"newer"))
        self.assertEqual(root.told(), [
            "restart timehandoff-peerd.service timehandoffd.service linked"])
        self.assertEqual([(path.read_text(), path.stat().st_mode)
                          for path in (config, keys, profile)], before)

    def test_halfway(self):
        """The hook works in whatever state dpkg leaves the package."""
        root = self.root()
        with Calls(root) as calls:
            for name, script, status in (("no-preinst", "preinst", "installed"),
                                         ("no-postinst", "postinst", "half-configured")):
                bad = repack(name, {script: "exit 1\n"}, Version="8")
                root.dpkg("-i", self.put(root, bad), fails=True)
                self.assertEqual(root.status, status)
                self.assert_works(root)
            root.dpkg("--unpack", self.put(root, self.newer))
            self.assertEqual(root.status, "unpacked")
            self.assert_works(root)
            root.dpkg("--configure", NAME)
            self.assertEqual(root.status, "installed")
        self.assert_no_call_failed(calls)

    def test_deconfigured(self):
        root = self.root()
        other = repack("other", {}, Package="other", Breaks=NAME, Conflicts="none")
        root.dpkg("--auto-deconfigure", "--force-overwrite", "--unpack", self.put(root, other))
        self.assertNotEqual(root.status, "installed")
        self.assert_works(root)

    def test_link_taken_away(self):
        """An operator who did that does not get it back, until they install anew."""
        root = self.root()
        (root.path / QEMU_D / HOOK).unlink()
        path = self.put(root, self.newer)
        root.dpkg("-i", path)
        self.assert_absent(root)
        root.dpkg("--remove", NAME)
        root.dpkg("-i", path)
        self.assert_works(root)


class Removing(Packages):

    def test_remove_and_purge(self):
        root = self.root()
        config = root.path / "etc/timehandoff/timehandoff.conf"
        config.write_text("[gap]\nmode = report\n")
        watch = root.watch()
        root.dpkg("--remove", NAME)
        seen = [event for event in watch.close() if event[2] in (HOOK, GUARD)]
        self.assertEqual(seen, [("qemu.d", "deleted", HOOK), ("sbin", "deleted", GUARD)])
        self.assertEqual(root.told()[0],
                         "stop timehandoff-peerd.service timehandoffd.service unlinked")
        self.assert_absent(root)
        root.dpkg("--purge", NAME)
        self.assertEqual(config.read_text(), "[gap]\nmode = report\n")
        self.assertFalse((root.path / "run/timehandoff").exists())

    def test_nothing_is_left(self):
        root = self.root(self.machine)
        root.dpkg("-i", self.put(root, self.package))
        root.dpkg("--purge", NAME)
        left = run("find", root.upper, "-name", "*timehandoff*", "-not", "-type", "c")
        self.assertEqual(left, "")

    def test_between_unpacking_and_configuring(self):
        """No prerm is run there; link and daemons go all the same."""
        root = self.root()
        root.dpkg("--unpack", self.put(root, self.newer))
        root.dpkg("--remove", NAME)
        self.assert_absent(root)
        self.assertEqual(root.told(), [
            "stop timehandoffd.service timehandoff-peerd.service unlinked"])

    def test_that_fails(self):
        """The hook is back, and the daemons are."""
        root = self.root()
        with open(root.path / f"var/lib/dpkg/info/{NAME}.prerm", "a", encoding="utf-8") as script:
            script.write("exit 1\n")
        root.dpkg("--remove", NAME, fails=True)
        self.assertEqual(root.status, "installed")
        self.assert_works(root)
        self.assertIn("start timehandoff-peerd.service timehandoffd.service unlinked", root.told())


# What Fedora's packages bring, as far as it matters here.
MACROS = """\
%_unitdir {units}
%_sysusersdir /usr/lib/sysusers.d
%_tmpfilesdir /usr/lib/tmpfiles.d
%_journalcatalogdir /usr/lib/systemd/catalog
%debug_package %{nil}
%systemd_post() systemctl preset %{?*}
%systemd_preun() if [ $1 -eq 0 ]; then systemctl stop %{?*}; fi
%systemd_postun_with_restart() if [ $1 -ge 1 ]; then systemctl restart %{?*}; fi
"""
MESON = """\
%meson meson setup --buildtype=plain --prefix=/usr --sysconfdir=/etc --sbindir=%{_sbindir} build
%meson_build ninja -C build
%meson_install DESTDIR=%{buildroot} meson install -C build --no-rebuild
%meson_test meson test -C build --no-rebuild
"""
# What was built for the other kind of packages.
NO_MESON = """\
%meson :
%meson_build :
%meson_install \
    mkdir -p %{buildroot}; cp -a {built}/. %{buildroot}; rm -r %{buildroot}/etc/apparmor.d; \
    cd %{buildroot}/usr/share/zsh; mv vendor-completions site-functions; cd - \
%{nil}
"""


class Rpm(Packages):
    """The same with the other kind, as far as it goes on Debian."""

    @classmethod
    def setUpClass(cls):
        spec, top = PACKAGING / "rpm/timehandoff.spec", ROOM / "rpm"
        tree, = (path for path in cls.out.iterdir() if path.is_dir())
        (top / "SOURCES").mkdir(parents=True)
        run("tar", "-cJf", top / f"SOURCES/{tree.name}.tar.xz", "-C", cls.out, "--exclude=obj-*",
            f"--exclude={tree.name}/debian", tree.name)
        macros = ROOM / "macros"
        units = run("pkg-config", "--variable=systemdsystemunitdir", "systemd").strip()
        macros.write_text(MACROS.replace("{units}", units) + (MESON if LONG else
                                    NO_MESON.replace("{built}", str(tree / "debian/tmp"))))
        cls.packages = []
        for dist in (".a", ".b"):
            run("nice", "rpmbuild", "-bb", "--nodeps", "--load", macros, "--define", f"dist {dist}",
                "--define", f"_topdir {top}", *([] if LONG else ["--without", "tests"]), spec)
            cls.packages += (top / "RPMS").glob(f"*/{NAME}-[0-9]*{dist}.*.rpm")
        cls.all = sorted((top / "RPMS").glob("*/*.rpm"))

    def rpm(self, root, *argv):
        # Debian's rpm wanted this until Debian 13, where it does not know it any more.
        forced = ["--force-debian"] * (root.call("rpm", "--force-debian", "--version").returncode == 0)
        done = root.call("rpm", *forced, *argv)
        if done.returncode != 0:
            raise bed.Failure(f"rpm {argv} ended with {done.returncode}:\n{done.stdout}")

    def test_contents(self):
        """The same files as in the other kind, but for what distributions differ about."""
        own, other = set(), set()
        for package in self.all:
            own |= set(run("rpm", "-qp", "--qf", r"[%{FILEMODES:perms} %{FILENAMES}\n]",
                           package).splitlines())
        for package in self.out.glob("*.deb"):
            other |= {f"{line.split()[0]} {line.split()[5][1:]}"
                      for line in run("dpkg-deb", "-c", package).splitlines()}
        own, other = ({line.replace("vendor-completions", "site-functions") for line in lines
                       if line[0] == "-" and not re.search(
                           r" /usr/(share/(man|licenses|lintian|doc)|lib/.build-id|lib/debug)/"
                           r"| /etc/apparmor.d/", line)} for lines in (own, other))
        self.assertEqual(own, other)
        self.assertGreater(len(own), 20)

    def test_rpmlint(self):
        """Finds no error in the spec."""
        run("rpmlint", "--strict", "-r", PACKAGING / "rpm/timehandoff.rpmlintrc",
            PACKAGING / "rpm/timehandoff.spec")

    def test_life(self):
        """Installed, upgraded while hooks run, removed."""
        root = self.root(self.machine)
        old, new = (self.put(root, package) for package in self.packages)
        self.rpm(root, "-i", "--nodeps", old)
        self.assertEqual(root.told()[-1], "reload libvirtd.service linked")
        self.assert_works(root)
        watch = root.watch()
        with Calls(root) as calls:
            self.rpm(root, "-U", "--nodeps", new)
        seen = watch.close()
        self.assert_no_call_failed(calls)
        self.assertEqual([event for event in seen if event[0] == "qemu.d"], [])
        self.assertNotIn(("sbin", "deleted", GUARD), seen)
        self.assertEqual(root.told(),
                         ["restart timehandoff-peerd.service timehandoffd.service linked"])
        watch = root.watch()
        self.rpm(root, "-e", "--nodeps", NAME)
        seen = [event for event in watch.close() if event[2] in (HOOK, GUARD)]
        self.assertEqual(seen, [("qemu.d", "deleted", HOOK), ("sbin", "deleted", GUARD)])
        self.assertEqual(root.told(),
                         ["stop timehandoff-peerd.service timehandoffd.service unlinked"])

    def test_link_taken_away_rpm(self):
        root = self.root(self.machine)
        old, new = (self.put(root, package) for package in self.packages)
        self.rpm(root, "-i", "--nodeps", old)
        (root.path / QEMU_D / HOOK).unlink()
        self.rpm(root, "-U", "--nodeps", new)
        self.assert_absent(root)


def setUpModule():
    bed.call("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", ROOM)
    Packages.build()


if __name__ == "__main__":
    bed.enter()
    unittest.main()
