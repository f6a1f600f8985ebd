#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A whole Debian, booted under emulation: the package under a running systemd, under AppArmor.

What the test hosts cannot have is here: units started by systemd in their sandboxes, libvirtd in
its profile when it calls the guard, logind's own word of the machine's sleep, dpkg at work while
libvirt runs. The machine runs one script, step by step; its words come back over a serial port. The
guests on it are empty, since one emulated machine in another is slow.
"""

import os
import pathlib
import re
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "hosts"))

import bed  # noqa: E402
from test_packages import ENV, PACKAGING, ROOM, run  # noqa: E402

TREE = bed.CACHE / "machine"
PACKAGES = ("systemd-sysv dbus apparmor chrony libvirt-daemon-system libvirt-clients "
            "qemu-system-x86 linux-image-cloud-amd64 initramfs-tools iproute2 procps kmod "
            "libinih1 libjson-c5")
BOOT_S, STEPS_S = 300, 900

HOOK = "/etc/libvirt/hooks/qemu.d/50-timehandoff"
BUS = "org.timehandoff1 /org/timehandoff1 org.timehandoff1.Manager"
UNITS = "timehandoffd timehandoff-peerd"
GUEST = """<domain type='qemu'><name>web1</name><memory unit='MiB'>32</memory>
<os><type arch='x86_64' machine='pc'>hvm</type></os><devices>
<emulator>/usr/bin/qemu-system-x86_64</emulator></devices></domain>"""

# Waits up to a minute for a command to succeed.
SOON = "soon() { for _ in $(seq 60); do eval \"$1\" && return; sleep 1; done; eval \"$1\"; }; "
STEPS = {
    "apparmor": "aa-enabled && aa-status",
    "guest": f"soon 'virsh list' && echo \"{GUEST}\" >/root/web1.xml && "
             "virsh define /root/web1.xml && virsh start web1",
    "install": "dpkg -i /root/timehandoff.deb",
    "active": f"soon 'systemctl is-active {UNITS}'",
    "answers": "soon 'timehandoff measure --json 127.0.0.1'",
    "labels": "ps -eo user:20,label,args | grep -E '[t]imehandoff|[l]ibvirtd'",
    "stamped": "soon 'virsh dumpxml web1 | grep -F urn:timehandoff:origin'",
    "hook": f"virsh dumpxml web1 >/root/live.xml; "
            f"aa-exec -p libvirtd -- {HOOK} web1 migrate begin - </root/live.xml",
    "hook-copied": f"rm {HOOK}; cp /usr/sbin/timehandoff-guard {HOOK}; "
                   f"aa-exec -p libvirtd -- {HOOK} web1 migrate begin - </root/live.xml; s=$?; "
                   f"ln -sf /usr/sbin/timehandoff-guard {HOOK}; exit $s",
    "saved": "virsh save web1 /root/web1.save && virsh restore /root/web1.save && "
             "virsh domstate web1",
    "libvirtd-restarted": "systemctl restart libvirtd && soon 'virsh domstate web1'",
    "reloaded": f"systemctl reload {UNITS} && sleep 2 && systemctl is-active {UNITS}",
    "killed": f"kill -KILL $(systemctl show -p MainPID --value timehandoffd); sleep 2; "
              f"soon 'systemctl is-active {UNITS}'",
    "slept": "echo now-asleep >/dev/ttyS1; systemctl suspend; sleep 5; "
             "soon 'journalctl -u timehandoffd | grep -F \"this host woke up\"'",
    # Behind sleep, as logind may be gone for good with its bus.
    "bus-restarted": f"systemctl restart dbus; soon 'busctl get-property {BUS} HostName'",
    "denied": "journalctl -k | grep -iE 'apparmor=.DENIED.*timehandoff'; true",
    "history": "timehandoff history",
    "again": f"dpkg -i /root/timehandoff.deb && systemctl is-active {UNITS} && readlink {HOOK}",
    "removed": f"dpkg -r timehandoff; ls {HOOK}; pgrep -a timehandoff; "
               f"systemctl is-active {UNITS}; virsh domstate web1",
    "without": "virsh destroy web1 && virsh start web1 && virsh domstate web1",
    "purged": "dpkg -P timehandoff; "
              "ls -d /etc/timehandoff /run/timehandoff /var/lib/timehandoff; true",
}


def prepare():
    """The machine's files, out of the archive that this machine has its packages from."""
    os_release = pathlib.Path("/etc/os-release").read_text()
    codename = re.search(r"(?m)^VERSION_CODENAME=(\w+)", os_release)[1]
    wanted = f"{codename} {PACKAGES}\n"
    noted = TREE / "root/packages"
    if noted.exists() and noted.read_text() == wanted:
        return
    shown = subprocess.run(["apt-get", "indextargets", "--format",
                            "$(CODENAME) $(COMPONENT) $(REPO_URI)"], capture_output=True,
                           text=True, check=True).stdout
    archive = re.search(rf"(?m)^{codename} main (http\S+)", shown)
    new = TREE.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    shutil.rmtree(TREE, ignore_errors=True)
    script = ("exec >&2; set -e; tree=$1; shift; "
              "debootstrap --variant=minbase \"$1\" \"$tree\" ${2:-}; "
              "mount -t proc proc \"$tree/proc\"; chroot \"$tree\" apt-get -q -y "
              f"--no-install-recommends install {PACKAGES}; chroot \"$tree\" apt-get clean")
    subprocess.run(["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script,
                    "sh", new, codename, *([archive[1]] if archive else [])],
                   env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"},
                   stdin=subprocess.DEVNULL, check=True)
    (new / "usr/sbin/policy-rc.d").unlink(missing_ok=True)
    noted = new / "root/packages"
    noted.write_text(wanted)
    new.rename(TREE)


def furnish(root):
    """What makes the tree this machine: its name, its package, its script."""
    script = ["#!/bin/bash", "exec >/dev/ttyS0 2>&1 </dev/null", "ip link set dev eth0 up",
              "ip addr add 10.0.2.15/24 dev eth0", "echo"]
    for name, command in STEPS.items():
        script += [f"echo '<<<{name}'", f"bash -c {shlex.quote(SOON + command)}",
                   f"echo \">>>{name} $?\""]
    script += ["sync", "poweroff -f", ""]
    files = {
        "etc/hostname": "hv1\n",
        "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 hv1\n",
        "etc/fstab": "/dev/vda / ext4 defaults 0 1\n",
        "root/steps": "\n".join(script),
        "etc/systemd/system/steps.service":
            "[Unit]\nAfter=multi-user.target\n[Service]\nType=exec\nExecStart=/root/steps\n",
    }
    for name, text in files.items():
        (root / name).write_text(text)
    (root / "root/steps").chmod(0o755)
    wants = root / "etc/systemd/system/graphical.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / "steps.service").symlink_to("../steps.service")
    default = root / "etc/systemd/system/default.target"
    default.unlink(missing_ok=True)
    default.symlink_to("/lib/systemd/system/graphical.target")


def wake_when_asleep(port, monitor):
    """Wakes the machine once it has said that it goes to sleep, and is."""
    def listen(wire, words, ask=b""):
        text = b""
        while words not in text:
            if ask:
                time.sleep(0.5)
                wire.sendall(ask)
            heard = wire.recv(4096)
            if not heard:
                return
            text += heard

    with socket.socket(socket.AF_UNIX) as said, socket.socket(socket.AF_UNIX) as control:
        said.connect(str(port))
        control.connect(str(monitor))
        listen(said, b"now-asleep")
        listen(control, b"(suspended)", b"info status\n")
        control.sendall(b"system_wakeup\n")
        listen(control, b"never")


def boot(image):
    """Runs the machine to its end; returns what it said."""
    serial, port, monitor = (ROOM / name for name in ("serial", "port", "monitor"))
    kernel, = (TREE / "boot").glob("vmlinuz-*")
    initrd, = (TREE / "boot").glob("initrd.img-*")
    machine = subprocess.Popen(
        ["qemu-system-x86_64", "-machine", "pc,accel=tcg", "-cpu", "max", "-smp", "2", "-m", "2048",
         "-display", "none", "-no-reboot", "-drive",
         f"file={image},format=raw,if=virtio,cache=unsafe", "-kernel", kernel, "-initrd", initrd,
         # The other serial port is for what has to be seen at once.
         "-append", "root=/dev/vda rw console=ttyS0 quiet systemd.show_status=0 "
         "systemd.mask=serial-getty@ttyS0.service net.ifnames=0",
         "-nic", "user,restrict=on,model=virtio-net-pci", "-serial", f"file:{serial}",
         "-serial", f"unix:{port},server=on,wait=off", "-monitor",
         f"unix:{monitor},server=on,wait=off"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        bed.wait_until("the machine's ports", lambda: port.exists() and monitor.exists())
        threading.Thread(target=wake_when_asleep, args=(port, monitor), daemon=True).start()
        machine.wait(BOOT_S + STEPS_S)
    except subprocess.TimeoutExpired:
        pass
    finally:
        machine.kill()
        said = machine.communicate()[0]
    return said + serial.read_text(errors="replace").replace("\r", "")


def setUpModule():
    bed.call("mount", "-t", "tmpfs", "-o", "mode=755,size=6g", "tmpfs", ROOM)
    run("nice", PACKAGING / "build-deb", ROOM / "out", "-b",
        env={**ENV, "DEB_BUILD_OPTIONS": "noautodbgsym nocheck"})
    package, = (ROOM / "out").glob("timehandoff_*.deb")
    root = ROOM / "root"
    for folder in ("upper", "work", "root"):
        (ROOM / folder).mkdir()
    bed.call("mount", "-t", "overlay", "overlay", root, "-o",
             f"lowerdir={TREE},upperdir={ROOM}/upper,workdir={ROOM}/work")
    shutil.copy(package, root / "root/timehandoff.deb")
    furnish(root)
    image = ROOM / "image"
    run("mke2fs", "-q", "-t", "ext4", "-d", root, image, "3G")
    Machine.said = boot(image)
    Machine.steps = {name: (int(status), text) for name, text, status in re.findall(
        r"^<<<(\S+)\n(.*?)^>>>\1 (\d+)$", Machine.said, re.M | re.S)}


class Machine(unittest.TestCase):
    def step(self, name, status=0):
        self.assertIn(name, self.steps, self.said[-3000:])
        found, text = self.steps[name]
        self.assertEqual(found, status, text)
        return text

    def test_apparmor_is_on(self):
        self.assertRegex(self.step("apparmor"), r"(?m)^ +libvirtd$")
        labels = self.step("labels")
        self.assertRegex(labels, r"(?m)^root +libvirtd \(enforce\) +/usr/sbin/libvirtd")
        self.assertRegex(labels, r"(?m)^timehandoff +timehandoff-peerd \(enforce\) +/usr/sbin/")
        self.assertEqual(self.step("denied"), "")

    def test_units_run_in_their_sandboxes(self):
        self.step("install")
        self.assertEqual(self.step("active"), "active\nactive\n")
        self.assertRegex(self.step("answers"), r'"answered": ?[1-8],')
        self.assertIn("origin", self.step("stamped"))
        self.assertEqual(self.step("reloaded"), "active\nactive\n")
        self.assertIn("active\nactive\n", self.step("killed"))

    def test_libvirts_profile_lets_the_guard_decide(self):
        for name in ("hook", "hook-copied"):
            self.assertEqual(self.step(name), "")
        self.assertEqual(self.step("history").count("migration of web1"), 2, self.step("history"))

    def test_guests_are_left_alone(self):
        for name in ("saved", "libvirtd-restarted", "removed", "without"):
            with self.subTest(name):
                self.assertIn("\nrunning\n", f"\n{self.step(name)}")

    def test_bus(self):
        self.assertIn('s "hv1"', self.step("bus-restarted"))

    def test_sleep_is_heard_of(self):
        self.assertIn("this host woke up, looking at the guests' clocks", self.step("slept"))

    def test_package(self):
        self.assertTrue(self.step("again").endswith(
            "active\nactive\n/usr/sbin/timehandoff-guard\n"))
        removed = self.step("removed")
        self.assertIn(f"'{HOOK}': No such file", removed)
        self.assertIn("\ninactive\ninactive\n", removed)
        self.assertNotIn("/usr/sbin/timehandoff", removed)
        self.assertNotIn("Warning", removed)
        self.assertEqual(self.step("purged").count("No such file"), 3)


if __name__ == "__main__":
    if not bed.is_inside():
        prepare()
    bed.enter()
    unittest.main()
