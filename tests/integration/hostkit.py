# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests share that need hosts but neither libvirt nor guests.

State that a daemon would publish is written by hand here, so that a test can say exactly what a
host knows; and questions are asked by a client of the tests' own, which shares no line with the
product: header, fields and MAC are put together from the RFCs, the MAC by OpenSSL.
"""

import ctypes
import functools
import os
import pathlib
import secrets
import socket
import struct
import sys
import time
import unittest
import uuid

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "hosts"))

import hosts as bed_of_hosts  # noqa: E402
from hosts import Hosts  # noqa: E402

PORT = 10123
HUB = "10.77.0.254"

KEY_BYTES = {"AES128": 16, "AES256": 32}


def enter():
    """Returns inside the namespaces of the test hosts, and only with an install to test."""
    if not os.path.exists(os.path.join(os.environ.get("TH_STAGE", ""), "usr/bin/timehandoff")):
        sys.exit("TH_STAGE must name what 'DESTDIR=$TH_STAGE meson install' left")
    bed_of_hosts.enter()


def bring_up(*names):
    """For setUpModule: hosts with chronyd and nothing else; down with the module."""
    # As systemd sets it at boot: else a journal that nobody reads yet takes eleven records.
    pathlib.Path("/proc/sys/net/unix/max_dgram_qlen").write_text("512\n")
    Case.hosts = unittest.enterModuleContext(
        Hosts(names, os.environ["TH_STAGE"], libvirtd=False))
    return Case.hosts


class Key:
    """A key with a fixed secret, so that a failure can be tried again by hand."""

    def __init__(self, number, kind="AES128", seed=1):
        self.number, self.kind = number, kind
        self.secret = bytes((seed * 29 + i * 7) & 0xff for i in range(KEY_BYTES[kind]))

    @property
    def line(self):
        """As a key file has it, ours or chrony's."""
        return f"{self.number} {self.kind} HEX:{self.secret.hex()}\n"

    def mac(self, data):
        """AES-CMAC by OpenSSL, with the key id before it, as it trails a packet."""
        crypto = _libcrypto()
        cipher = crypto.EVP_aes_128_cbc() if self.kind == "AES128" else crypto.EVP_aes_256_cbc()
        context = crypto.CMAC_CTX_new()
        out, size = ctypes.create_string_buffer(16), ctypes.c_size_t()
        crypto.CMAC_Init(context, self.secret, len(self.secret), cipher, None)
        crypto.CMAC_Update(context, data, len(data))
        crypto.CMAC_Final(context, out, ctypes.byref(size))
        crypto.CMAC_CTX_free(context)
        assert size.value == 16
        return struct.pack(">I", self.number) + out.raw


@functools.cache
def _libcrypto():
    crypto = ctypes.CDLL("libcrypto.so.3")
    for name in ("CMAC_CTX_new", "EVP_aes_128_cbc", "EVP_aes_256_cbc"):
        getattr(crypto, name).restype = ctypes.c_void_p
    size, pointer = ctypes.c_size_t, ctypes.c_void_p
    crypto.CMAC_Init.argtypes = [pointer, ctypes.c_char_p, size, pointer, pointer]
    crypto.CMAC_Update.argtypes = [pointer, ctypes.c_char_p, size]
    crypto.CMAC_Final.argtypes = [pointer, ctypes.c_char_p, pointer]
    crypto.CMAC_CTX_free.argtypes = [pointer]
    return crypto


# Questions

IDENTITY_TYPE = 0xF74D


def header(mode=3, version=4, cookie=None, leap=0):
    """The 48 bytes of a question; its transmit field is the cookie."""
    cookie = secrets.token_bytes(8) if cookie is None else cookie
    return struct.pack(">BBbb", leap << 6 | version << 3 | mode, 0, 0, 32) + bytes(36) + cookie


def identity(domain=uuid.UUID(int=0)):
    """The extension field that asks a host who it is, and what it knows of a domain."""
    return struct.pack(">HHBBH", IDENTITY_TYPE, 64, 1, 1, 0) + domain.bytes + bytes(40)


def extension(kind, size, fill=b"\0"):
    """An extension field of another kind, in the layout of RFC 7822."""
    return struct.pack(">HH", kind, size) + fill * (size - 4)


class Answer:
    """What came back: bytes, where from, and the fields that tests look at."""

    def __init__(self, data, sender):
        self.data, self.sender = data, sender
        flags, self.stratum = data[0], data[1]
        self.leap, self.version, self.mode = flags >> 6, flags >> 3 & 7, flags & 7
        self.origin = data[24:32]
        self.receive, self.transmit = (_seconds(data[at:at + 8]) for at in (32, 40))
        self.identity = None
        if len(data) >= 112 and struct.unpack(">HH", data[48:52]) == (IDENTITY_TYPE, 64):
            field = data[52:112]
            self.identity = {"domain": uuid.UUID(bytes=field[4:20]),
                             "host": uuid.UUID(bytes=field[20:36]), "state": field[36],
                             "synchronised": field[37], "clock": field[38]}


def _seconds(stamp):
    """An NTP timestamp as seconds since 1970."""
    whole, fraction = struct.unpack(">II", stamp)
    return whole - 2208988800 + fraction / 2**32


def ask(question, address, port=PORT, timeout_s=0.3):
    """Sends a datagram from the hub and returns the first Answer, or None; from any address."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(timeout_s)
        sock.sendto(question, (address, port))
        try:
            data, sender = sock.recvfrom(65536)
        except OSError:
            return None
    return Answer(data, sender[0])


# What a host knows

def _encoded(text):
    """A text in the form of the state files."""
    return "".join(c if " " < c < "\x7f" and c not in "%;" else f"%{ord(c):02x}" for c in text)


def group_of(host):
    for line in host.path("/etc/group").read_text().splitlines():
        name, _, number, *_ = line.split(":")
        if name == "timehandoff":
            return int(number)
    raise AssertionError("no group timehandoff")


def state_file(sections, refresh_ns=0, boot_ns=None):
    """The text of a file below /run/timehandoff: whole, of this boot, and of now."""
    boot_id = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    if boot_ns is None:
        boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    lines = ["[file]", "version=1", f"boot-id={boot_id}", f"boot-time-ns={boot_ns}",
             f"refresh-ns={refresh_ns}"]
    for name, fields in sections:
        lines.append(f"[{name}]")
        lines += [f"{key}={value}" for key, value in fields]
    return "\n".join(lines + ["[end]", ""])


def write_state(host, name, text):
    """Puts a file below /run/timehandoff of that host, as the daemon would, all at once."""
    folder = host.path("/run/timehandoff")
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f".{path.name}.test")
    temporary.write_bytes(text if isinstance(text, bytes) else text.encode())
    os.chown(temporary, 0, group_of(host))
    temporary.chmod(0o640)
    temporary.rename(path)


def publish(host, synchronised="yes", domains=(), refresh_ns=0, boot_ns=None, **fields):
    """What timehandoffd of that host would say; domains are (UUID, state, Key or None)."""
    about = {"uuid": host.uuid, "name": host.name, "synchronised": synchronised,
             "sync-from": "chronyd", "sync-error-ns": 1000000, "sync-age-ns": 1000000000,
             "stratum": 3, "slew-ppm": 0, "sync-reason": _encoded("said the test"),
             "domains-known": "yes"} | fields
    sections = [("host", about.items())]
    for number, state, key in domains:
        entry = [("uuid", number), ("state", state)]
        if key:
            entry += [("key-id", key.number), ("key", key.secret.hex())]
        sections.append(("domain", entry))
    write_state(host, "host", state_file(sections, refresh_ns, boot_ns))


class LoggedCase(unittest.TestCase):
    """Prints what the hosts logged after a test that failed; hosts is set with the module."""

    hosts = None
    maxDiff = None

    def run(self, result=None):
        bad = len(result.failures) + len(result.errors)
        super().run(result)
        if len(result.failures) + len(result.errors) > bad:
            print(f"\n=== logs after {self.id()}", file=sys.stderr)
            self.hosts.print_logs()


class Case(LoggedCase):
    """Base of the tests; the hosts are there once bring_up() has run."""

    def setUp(self):
        for name in ("hv1", "hv2"):
            host = self.hosts[name]
            setattr(self, name, host)
            self.addCleanup(host.set_shift, 0)

    def set_keys(self, host, *keys, mode=0o640):
        """The key file of a host, until the end of the test; no key: none."""
        path = host.path("/etc/timehandoff/keys")
        host.write_config("".join(key.line for key in keys), "keys")
        os.chown(path, 0, group_of(host))
        path.chmod(mode)
        self.addCleanup(path.unlink, missing_ok=True)
        return path

    def set_config(self, host, text):
        """The configuration of a host, until the end of the test."""
        host.write_config(text)
        self.addCleanup(host.path("/etc/timehandoff/timehandoff.conf").unlink, missing_ok=True)

    def start_peerd(self, host):
        """A responder that has read keys and configuration just now, until the end of the test."""
        host.start_peerd()
        self.addCleanup(lambda: host.is_running("peerd") and host.stop_peerd())

    def assert_one_line(self, text, pattern=""):
        """For a person: one line, with its newline, and matching."""
        self.assertRegex(text, r"\A[^\n]+\n\Z")
        self.assertRegex(text, pattern)
