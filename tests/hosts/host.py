# SPDX-License-Identifier: LGPL-2.1-or-later
"""One test host: a libvirtd, a chronyd and our programs in mount, network and uts namespaces.

The host's clock, as our programs on it see it, is the machine's plus a shift that a test sets
(clock-shift.c says how). QEMU, libvirtd and chronyd on it see the machine's clock.
"""

import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import time
import uuid

import libvirt

import bed
from journal import Journal

START_DEADLINE_S = 30.0
STOP_DEADLINE_S = 10.0
NTP_HUB = "10.77.0.254"
# Handed on from the caller's environment, as sanitizers and coverage are steered by them.
PASSED_ON = ("ASAN_", "UBSAN_", "LSAN_", "TSAN_", "LLVM_", "GCOV_", "G_")

LIBVIRTD_CONF = """\
host_uuid = "{uuid}"
listen_tls = 0
listen_tcp = 1
auth_tcp = "none"
auth_unix_ro = "none"
auth_unix_rw = "none"
log_outputs = "{log_level}:stderr"
"""

QEMU_CONF = """\
stdio_handler = "file"
security_driver = "none"
namespaces = []
cgroup_controllers = []
user = "root"
group = "root"
remember_owner = 0
migration_host = "{address}"
"""

# Polls several times a second, so that a host is synchronised about as soon as it asks.
CHRONY_CONF = """\
{source}
bindcmdaddress /run/chrony/chronyd.sock
cmdport 323
pidfile /run/chrony/chronyd.pid
"""
CHRONY_SOURCE = f"server {NTP_HUB} iburst minpoll -2 maxpoll -2 xleave"


class Host:
    """Made by Hosts; attach() makes one for a host that another process brought up."""

    def __init__(self, name, index, workdir):
        self.name = name
        self.index = index
        self.workdir = pathlib.Path(workdir)
        self.address = f"10.77.0.{index}"
        self.address6 = f"fd77::{index}"
        self.uuid = str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.hosts.timehandoff.test"))
        self.base = bed.STATE / name
        self.pid = None
        self._holder = None
        self._journal = None
        self._programs = {}
        self._connection = None

    # Bringing up and taking down

    def create(self, stage, shim, all_hosts):
        """Makes the namespaces and everything in them, without any daemon yet."""
        run = self.base / "run"
        run.mkdir(parents=True)
        (run / "clock-shift").write_bytes(struct.pack("=q", 0))
        (run / "clock-shift.so").write_bytes(pathlib.Path(shim).read_bytes())
        lines = ["127.0.0.1 localhost", "::1 localhost"]
        for host in all_hosts:
            lines += [f"{host.address} {host.name}", f"{host.address6} {host.name}"]
        (self.base / "machine-id").write_text(uuid.UUID(self.uuid).hex + "\n")
        (self.base / "hosts").write_text("\n".join(lines) + "\n")
        (self.base / "programs").mkdir()
        with open(self.log("setup"), "w", encoding="utf-8") as log:
            self._holder = subprocess.Popen(
                ["unshare", "--mount", "--net", "--uts", "--", str(bed.HERE / "host-setup"),
                 self.name, str(self.base), str(stage or ""), str(bed.CACHE)],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True)
        self.pid = self._holder.pid

    def finish_create(self):
        """Waits for create() and plugs the host into the hub."""
        if self._holder.stdout.readline() != "ready\n":
            raise bed.Failure(f"setting up host {self.name}:\n{bed.tail(self.log('setup'))}")
        (self.base / "pid").write_text(f"{self.pid} {self.index}\n")
        port = f"hub-{self.name}"
        bed.call("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0",
                 "netns", self.pid)
        bed.call("ip", "link", "set", port, "master", "hub", "up")
        self.add_addresses("eth0", f"{self.address}/24", f"{self.address6}/64")
        self._journal = Journal(self.base / "run", self.log("journal"))

    @classmethod
    def attach(cls, name, workdir):
        """A host that is up already; its journal stays with the process that brought it up."""
        pid, index = (bed.STATE / name / "pid").read_text().split()
        host = cls(name, int(index), workdir)
        host.pid = int(pid)
        return host

    def close(self):
        """Ends what this object started here; the rest goes with the namespaces."""
        if self._connection:
            self._connection.close()
        for name in reversed(list(self._programs)):
            self._programs[name].kill()
            self._programs[name].wait()
        if self._holder:
            self._holder.kill()
            self._holder.wait()
            self._holder.stdout.close()
        if self._journal:
            self._journal.close()

    def add_addresses(self, device, *addresses, peer=None):
        """Gives a device addresses; with no wait for duplicates, so that they work at once."""
        for address in addresses:
            extra = ["nodad"] if ":" in address else []
            bed.call(*self.entering(), "ip", "addr", "add", address, "dev", device, *extra)
        bed.call(*self.entering(), "ip", "link", "set", device, "up")

    # Running things on the host

    def path(self, path):
        """A path of this host, as one that the test itself can open."""
        return pathlib.Path(f"/proc/{self.pid}/root") / str(path).lstrip("/")

    def log(self, what):
        """Where the output of a program of this host goes."""
        return self.workdir / f"{self.name}.{what}.log"

    def logs(self):
        """Every log of this host, for those who report a failure."""
        return sorted(self.workdir.glob(f"{self.name}.*.log")) + \
            sorted(self.path("/var/log/libvirt/qemu").glob("*.log"))

    def entering(self, user=None):
        """The beginning of an argv that runs the rest of it on this host."""
        argv = ["nsenter", "-t", str(self.pid), "-m", "-n", "-u"]
        if user:
            fields = self._passwd(user)
            argv += ["-S", fields[2], "-G", fields[3]]
        return argv + ["--"]

    def _passwd(self, user):
        for line in self.path("/etc/passwd").read_text().splitlines():
            fields = line.split(":")
            if fields[0] == user:
                return fields
        raise bed.Failure(f"no user {user} on {self.name}")

    def _environment(self, env):
        kept = {k: v for k, v in os.environ.items() if k.startswith(PASSED_ON)}
        return kept | {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                       "HOME": "/run/home", "LC_ALL": "C.UTF-8", "TZ": "UTC"} | (env or {})

    def run(self, argv, check=True, input=None, env=None, user=None, timeout=60):
        """Runs a command on this host to its end; output is captured as text."""
        done = subprocess.run(self.entering(user) + [str(a) for a in argv], input=input, text=True,
                              stdin=None if input is not None else subprocess.DEVNULL,
                              capture_output=True, env=self._environment(env), timeout=timeout)
        if check and done.returncode:
            raise bed.Failure(f"on {self.name}: {' '.join(map(str, argv))}: status "
                              f"{done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def spawn(self, argv, log, env=None, user=None):
        """Starts a program on this host; stdout and stderr are added to the log of that name."""
        with open(self.log(log), "a", encoding="utf-8") as out:
            return subprocess.Popen(self.entering(user) + [str(a) for a in argv], stdout=out,
                                    stderr=out, stdin=subprocess.DEVNULL,
                                    env=self._environment(env))

    def start(self, name, argv, env=None, user=None, ready=None, deadline_s=START_DEADLINE_S):
        """Starts a daemon that stop(name) ends, and waits until ready() is true."""
        if name in self._programs:
            raise bed.Failure(f"{name} is already started on {self.name}")
        program = self._programs[name] = self.spawn(argv, name, env, user)
        (self.base / "programs" / name).write_text(str(program.pid))

        def is_ready():
            if program.poll() is not None:
                del self._programs[name]
                raise bed.Failure(f"{name} on {self.name} ended with status {program.returncode}"
                                  f"\n{bed.tail(self.log(name))}")
            return ready is None or ready()

        bed.wait_until(f"{name} on {self.name} ready", is_ready, deadline_s, [self.log(name)])
        return program

    def stop(self, name, number=signal.SIGTERM):
        """Ends a daemon by a signal and returns its exit status, negative for a signal."""
        program = self._programs.pop(name, None) or self._foreign(name)
        program.send_signal(number)
        try:
            return program.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()
            raise bed.Failure(f"{name} on {self.name} didn't end by signal {number}\n"
                              f"{bed.tail(self.log(name))}") from None

    def is_running(self, name):
        program = self._programs.get(name) or self._foreign(name)
        return program is not None and program.poll() is None

    def pid_of(self, name):
        """The process of a daemon, or None."""
        program = self._programs.get(name)
        return program.pid if program else None

    def _foreign(self, name):
        """A daemon that another process started on this host, or None."""
        try:
            return _Foreign(int((self.base / "programs" / name).read_text()))
        except FileNotFoundError:
            return None

    # The clock

    @property
    def shift(self):
        """Seconds by which this host's clock is ahead of the machine's."""
        return struct.unpack("=q", (self.base / "run/clock-shift").read_bytes())[0] / 1e9

    def set_shift(self, seconds):
        """Moves the clock of this host; at once, in running programs too."""
        # In place and in one write: running programs have this very file mapped.
        fd = os.open(self.base / "run/clock-shift", os.O_WRONLY)
        try:
            os.pwrite(fd, struct.pack("=q", round(seconds * 1e9)), 0)
        finally:
            os.close(fd)

    # chronyd

    def start_chronyd(self, synced=True, wait=True):
        """Starts chronyd, which never touches a clock; unsynced it has no source to follow."""
        self.path("/etc/chrony/chrony.conf").write_text(
            CHRONY_CONF.format(source=CHRONY_SOURCE if synced else ""))
        self.start("chronyd", ["/usr/sbin/chronyd", "-x", "-d", "-u", "root", "-f",
                               "/etc/chrony/chrony.conf"])
        if wait:
            self.wait_synced(synced)

    def wait_synced(self, synced=True):
        """Waits until chronyd answers and says that it is synchronised, or that it is not."""
        wish = "Normal" if synced else "Not synchronised"
        bed.wait_until(f"chronyd on {self.name}: {wish}", lambda: self.leap_status() == wish,
                       START_DEADLINE_S, [self.log("chronyd")], every_s=0.1)

    def leap_status(self):
        """What `chronyc tracking` says last: Normal, Not synchronised, or None with no answer."""
        done = self.run(["/usr/bin/chronyc", "-c", "tracking"], check=False)
        return done.stdout.strip().split(",")[-1] if done.returncode == 0 else None

    def stop_chronyd(self):
        return self.stop("chronyd")

    def set_synced(self, synced):
        """Starts chronyd anew, with a source or without one."""
        if self.is_running("chronyd"):
            self.stop_chronyd()
        self.start_chronyd(synced)

    # libvirtd

    @property
    def uri(self):
        """How the test itself reaches this host's libvirtd; on the host it is qemu:///system."""
        return f"qemu+unix:///system?socket={self.base}/run/libvirt/libvirt-sock"

    def start_libvirtd(self, wait=True, log_level=3):
        """Starts libvirtd; log_level 1 is debug, 3 is warnings, on the log named libvirtd."""
        self.path("/etc/libvirt/libvirtd.conf").write_text(
            LIBVIRTD_CONF.format(uuid=self.uuid, log_level=log_level))
        self.path("/etc/libvirt/qemu.conf").write_text(QEMU_CONF.format(address=self.address))
        self.start("libvirtd", ["/usr/sbin/libvirtd", "--listen", "--pid-file",
                                "/run/libvirt/libvirtd.pid"])
        if wait:
            self.wait_libvirtd()

    def wait_libvirtd(self):
        def answers():
            with socket.socket(socket.AF_UNIX) as sock:
                return sock.connect_ex(f"{self.base}/run/libvirt/libvirt-sock") == 0

        bed.wait_until(f"libvirtd on {self.name}", answers, START_DEADLINE_S,
                       [self.log("libvirtd")])
        self.connection()

    def connection(self):
        """A python3-libvirt connection from the test itself; the same one while it lives."""
        if self._connection is None or not self._connection.isAlive():
            self._connection = libvirt.open(self.uri)
        return self._connection

    def stop_libvirtd(self, number=signal.SIGTERM):
        """Ends libvirtd; its guests run on, as QEMU is not its child."""
        if self._connection:
            self._connection.close()
            self._connection = None
        return self.stop("libvirtd", number)

    def restart_libvirtd(self, number=signal.SIGTERM):
        self.stop_libvirtd(number)
        self.start_libvirtd()

    def reload_libvirtd(self):
        """Has libvirtd look for hooks again (SIGHUP)."""
        self._programs["libvirtd"].send_signal(signal.SIGHUP)

    def virsh(self, *args, check=True, timeout=120):
        return self.run(["virsh", *args], check=check, timeout=timeout)

    # Our programs

    def write_config(self, text, name="timehandoff.conf"):
        """Writes the configuration (or, with another name, a file below /etc/timehandoff)."""
        path = self.path("/etc/timehandoff") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def _start_notifying(self, name, argv, user=None, env=None, wait=True):
        """Starts a daemon and waits for its READY=1, as systemd would."""
        path = self.base / "run" / f"notify.{name}"
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.bind(str(path))
            path.chmod(0o666)
            sock.setblocking(False)
            self.start(name, argv, user=user, ready=(lambda: _says_ready(sock)) if wait else None,
                       env={"NOTIFY_SOCKET": f"/run/{path.name}"} | (env or {}))

    def start_peerd(self, *args, wait=True, env=None):
        """Starts timehandoff-peerd (it gives up root itself); waits for its READY=1."""
        self._start_notifying("peerd", ["/usr/sbin/timehandoff-peerd", *args],
                              env=env, wait=wait)

    def start_daemon(self, *args, wait=True, env=None):
        self._start_notifying("daemon", ["/usr/sbin/timehandoffd", *args],
                              env=env, wait=wait)

    def stop_peerd(self, number=signal.SIGTERM):
        return self.stop("peerd", number)

    def stop_daemon(self, number=signal.SIGTERM):
        return self.stop("daemon", number)

    def start_dbus(self):
        """Starts a system bus, with the policy files of the staged install."""
        self.path("/run/dbus/system_bus_socket").unlink(missing_ok=True)
        self.start("dbus", ["dbus-daemon", "--system", "--nofork", "--nopidfile"],
                   ready=self.path("/run/dbus/system_bus_socket").exists)

    # What was logged

    def start_journald(self):
        """Has the real journald take the logs from now on, for who reads its files."""
        self._journal.close()
        self._journal = None
        # It won't start where it can't see the control groups of those who log.
        self.run(["mount", "-t", "cgroup2", "none", "/sys/fs/cgroup"])
        self.start("journald", ["/lib/systemd/systemd-journald"],
                   ready=self.path("/run/systemd/journal/stdout").exists)

    def journal(self, **fields):
        """What was logged on this host, oldest first; with fields, only matching entries."""
        if self._journal:
            return self._journal.entries(**fields)
        if not self.is_running("journald"):
            raise bed.Failure(f"the journal of {self.name} is with who brought it up")
        matches = [f"{name}={value}" for name, value in fields.items()]
        lines = self.run(["journalctl", "--no-pager", "--all", "--output=json", *matches]).stdout
        return [json.loads(line) for line in lines.splitlines()]


class _Foreign:
    """As much of a Popen as stop() needs, for a process that isn't our child."""

    def __init__(self, pid):
        self.pid = pid

    def send_signal(self, number):
        os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def poll(self):
        """None while it runs; its exit status is its parent's to know, so 0 when it has ended."""
        try:
            stat = pathlib.Path(f"/proc/{self.pid}/stat").read_text()
        except OSError:
            return 0
        return 0 if stat.rpartition(")")[2].split()[0] == "Z" else None

    def wait(self, deadline_s=STOP_DEADLINE_S):
        end = time.monotonic() + deadline_s
        while self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(str(self.pid), deadline_s)
            time.sleep(0.02)
        return 0


def _says_ready(sock):
    try:
        return b"READY=1" in sock.recv(4096).split(b"\n")
    except BlockingIOError:
        return False
