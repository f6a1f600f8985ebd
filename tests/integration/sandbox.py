# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs a program as its systemd unit would, on a host where no systemd runs.

usage: sandbox.py UNIT            becomes the program of the unit, within the unit's limits
       sandbox.py --try [UNIT]    tries within them what must not work; prints how each ended

Carried out: User=, Group=, SupplementaryGroups=, CapabilityBoundingSet=, NoNewPrivileges=, UMask=,
LimitCORE=, ProtectSystem=strict, ReadWritePaths=, RuntimeDirectory=, InaccessiblePaths=,
NoExecPaths=, ExecPaths=, SystemCallFilter= (with systemd's own sets; a program that makes a call
beyond them is killed here, so that no refusal passes unseen), SystemCallErrorNumber= (with --try),
RestrictAddressFamilies=, RestrictNamespaces=, RestrictSUIDSGID=, MemoryDenyWriteExecute=. Left
out, for want of a systemd: the user namespace, control groups, devices, hidden processes.
"""

import collections
import contextlib
import ctypes
import errno
import functools
import grp
import json
import mmap
import os
import pathlib
import pwd
import resource
import socket
import subprocess
import sys

import seccomp

LIBC = ctypes.CDLL(None, use_errno=True)
MS_RDONLY, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 8, 32, 4096, 16384, 1 << 18
CLONE_NEWNS = 0x20000
NAMESPACES = (0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38
PTRACE_SEIZE = 0x4206
CAPABILITY_VERSION_3 = 0x20080522
LAST_FAMILY = 45
# libnuma, which libvirt brings along, tries whether the kernel has it.
IN_VAIN = ("set_mempolicy",)
# Kernel file systems, which ProtectSystem=strict leaves as they are.
API_FOLDERS = ("/proc", "/sys", "/dev")


def checked(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def read_unit(path):
    """The [Service] section: every directive with all its words, in order; an empty one resets."""
    found = collections.defaultdict(list)
    section = pathlib.Path(path).read_text().partition("[Service]\n")[2].partition("\n[")[0]
    for line in section.splitlines():
        name, is_setting, value = line.partition("=")
        if is_setting and not line.startswith("#"):
            # What a "~" stands before counts for its whole line.
            inverted = "~" if value.startswith("~") else ""
            words = [inverted + word for word in value.removeprefix("~").split()]
            found[name] = found[name] + words if words else []
    return found


# System calls

@functools.cache
def calls_of(word):
    """The system calls of a name: itself, or what systemd puts into a set."""
    if not word.startswith("@"):
        return frozenset([word])
    lines = subprocess.run(["systemd-analyze", "--no-pager", "syscall-filter", word], check=True,
                           capture_output=True, text=True).stdout.splitlines()[1:]
    words = [line.strip() for line in lines if not line.strip().startswith("#")]
    return frozenset().union(*(calls_of(word) for word in words if word))


def allowed_calls(words):
    allowed = set(calls_of("@default")) | {"execve"}
    for word in words:
        if word.startswith("~"):
            allowed -= calls_of(word[1:])
        else:
            allowed |= calls_of(word)
    return allowed


def masked(number, bits):
    return seccomp.Arg(number, seccomp.MASKED_EQ, bits, bits)


def restrictions(unit):
    """What is refused with an error, as opposed to what ends the process."""
    refused = seccomp.SyscallFilter(seccomp.ALLOW)
    families = {int(getattr(socket, name)) for name in unit["RestrictAddressFamilies"]}
    for family in set(range(LAST_FAMILY + 1)) - families:
        refused.add_rule(seccomp.ERRNO(errno.EAFNOSUPPORT), "socket",
                         seccomp.Arg(0, seccomp.EQ, family))
    denied = seccomp.ERRNO(errno.EPERM)
    if unit["MemoryDenyWriteExecute"] == ["yes"]:
        refused.add_rule(denied, "mmap", masked(2, mmap.PROT_WRITE | mmap.PROT_EXEC))
        refused.add_rule(denied, "mprotect", masked(2, mmap.PROT_EXEC))
    if unit["RestrictNamespaces"] == ["yes"]:
        refused.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")
        for flag in NAMESPACES:
            for call in ("clone", "unshare"):
                refused.add_rule(denied, call, masked(0, flag))
        refused.add_rule(denied, "setns")
    if unit["RestrictSUIDSGID"] == ["yes"]:
        for call, number in (("chmod", 1), ("fchmod", 1), ("fchmodat", 2)):
            for bit in (0o4000, 0o2000):
                refused.add_rule(denied, call, masked(number, bit))
    return refused


def filter_calls(unit, is_strict):
    refused = seccomp.ERRNO(getattr(errno, unit["SystemCallErrorNumber"][0]))
    only = seccomp.SyscallFilter(seccomp.KILL_PROCESS if is_strict else refused)
    allowed = allowed_calls(unit["SystemCallFilter"])
    for name in IN_VAIN if is_strict else ():
        only.add_rule(refused, name)
        allowed.discard(name)
    for name in allowed:
        # Negative: known to systemd, but not a call of this machine's.
        if seccomp.resolve_syscall(seccomp.Arch(), name) >= 0:
            only.add_rule(seccomp.ALLOW, name)
    restrictions(unit).load()
    only.load()


# Files

def mount(source, target, kind=None, flags=0):
    encoded = [word and word.encode() for word in (source, target, kind)]
    checked(LIBC.mount(*encoded, flags, None))


def below(path, folders):
    return any(path == folder or path.startswith(f"{folder.rstrip('/')}/") for folder in folders)


def existing(words):
    """Those of the paths that are there; a "-" before one says that it need not be."""
    for word in words:
        path = os.path.realpath(word.removeprefix("-"))
        if os.path.exists(path):
            yield path
        elif not word.startswith("-"):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def protect_files(unit):
    writable = list(existing(unit["ReadWritePaths"]))
    writable += [f"/run/{name}" for name in unit["RuntimeDirectory"]]
    executable = list(existing(unit["ExecPaths"]))
    checked(LIBC.unshare(CLONE_NEWNS))
    mount(None, "/", flags=MS_REC | MS_PRIVATE)
    for path in [*writable, *executable]:
        mount(path, path, flags=MS_BIND | MS_REC)
    if unit["PrivateTmp"] == ["yes"]:
        mount("tmpfs", "/tmp", "tmpfs")
        writable.append("/tmp")
    points = {line.split()[4] for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()}
    for point in sorted(points):
        if not below(point, API_FOLDERS):
            flags = 0 if below(point, writable) or not unit["ProtectSystem"] else MS_RDONLY
            if unit["NoExecPaths"] == ["/"] and not below(point, executable):
                flags |= MS_NOEXEC
            # One that another mount hides can't be reached, and need not be.
            with contextlib.suppress(FileNotFoundError):
                mount(None, point, flags=MS_REMOUNT | MS_BIND | flags)
    for path in existing(unit["InaccessiblePaths"]):
        mount("/run/systemd-inaccessible", path, flags=MS_BIND)


def make_folders(unit):
    """As systemd would before it closes the door: those of the service, and one without rights."""
    os.makedirs("/run/systemd-inaccessible", 0o000, exist_ok=True)
    user = pwd.getpwnam(unit["User"][0]) if unit["User"] else None
    for name in unit["RuntimeDirectory"]:
        path = f"/run/{name}"
        os.makedirs(path, 0o755, exist_ok=True)
        os.chmod(path, 0o755)
        os.chown(path, user.pw_uid if user else 0, user.pw_gid if user else 0)


# Identity

def become(unit):
    groups = [grp.getgrnam(name).gr_gid for name in unit["SupplementaryGroups"]]
    user = pwd.getpwnam(unit["User"][0]) if unit["User"] else None
    last = int(pathlib.Path("/proc/sys/kernel/cap_last_cap").read_text())
    # The units leave none.
    assert unit["CapabilityBoundingSet"] == []
    for capability in range(last + 1):
        checked(LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0))
    os.setgroups(groups + ([user.pw_gid] if user else []))
    if user:
        os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
        os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    # A program that is executed starts with none, but --try goes on in this one.
    checked(LIBC.capset((ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)()))
    os.umask(int(unit["UMask"][0], 8))
    core = int(unit["LimitCORE"][0])
    resource.setrlimit(resource.RLIMIT_CORE, (core, core))
    if unit["NoNewPrivileges"] == ["yes"]:
        checked(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def enter(unit, is_strict):
    make_folders(unit)
    # Asked for while systemd-analyze may still be run.
    allowed_calls(unit["SystemCallFilter"])
    protect_files(unit)
    become(unit)
    filter_calls(unit, is_strict)


# What must not work

def write_below(folder):
    def attempt():
        path = f"{folder}/sandbox-test"
        with open(path, "w", encoding="ascii"):
            pass
        os.unlink(path)
    return attempt


def connect(path):
    def attempt():
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(path)
    return attempt


def set_clock():
    """With nowhere to read the time from: EFAULT for all to whom the call is not refused."""
    number = seccomp.resolve_syscall(seccomp.Arch(), "clock_settime")
    checked(LIBC.syscall(number, ctypes.c_long(0), None))


ATTEMPTS = {
    **{f"write {folder}": write_below(folder)
       for folder in ("/run/timehandoff/peers", "/run/timehandoff/arrivals", "/run/timehandoff/locks",
                      "/run/timehandoff", "/run", "/etc/timehandoff", "/etc/libvirt/hooks/qemu.d",
                      "/usr/sbin", "/var/lib")},
    "read a note": lambda: pathlib.Path("/run/timehandoff/arrivals/note").read_bytes(),
    "read keys": lambda: pathlib.Path("/etc/timehandoff/keys").read_bytes(),
    "read shadow": lambda: pathlib.Path("/etc/shadow").read_bytes(),
    "libvirt": connect("/run/libvirt/libvirt-sock"),
    "execute": lambda: os.execv("/usr/bin/true", ["true"]),
    "become root": lambda: os.setresuid(0, 0, 0),
    "packet socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close(),
    "raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).close(),
    "writable code": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC).close(),
    "user namespace": lambda: checked(LIBC.unshare(0x10000000)),
    "set the clock": set_clock,
    "mount": lambda: mount("tmpfs", "/run/home", "tmpfs"),
    "trace": lambda: checked(LIBC.ptrace(PTRACE_SEIZE, os.getppid(), None, None)),
}


def outcome(attempt):
    """In a child: "works" or the name of an error."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.set_inheritable(writing, False)
            attempt()
            word = "works"
        except OSError as error:
            word = errno.errorcode[error.errno]
        os.write(writing, word.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        word = pipe.read()
    # One that became another program says nothing.
    assert os.waitpid(child, 0)[1] == 0
    return word or "works"


def main(argv):
    trying = argv[0] == "--try"
    path = argv[-1] if argv[-1] != "--try" else None
    unit = read_unit(path) if path else None
    if unit:
        enter(unit, is_strict=not trying)
    if trying:
        print(json.dumps({name: outcome(attempt) for name, attempt in ATTEMPTS.items()}))
    else:
        program = unit["ExecStart"][0]
        os.execv(program, [program])


if __name__ == "__main__":
    main(sys.argv[1:])
