# SPDX-License-Identifier: LGPL-2.1-or-later
"""Stands in for journald on one test host: keeps what programs log as a list of dictionaries.

It listens on the host's /run/systemd/journal/socket, understands the journal's native protocol
with binary fields and entries that are too large for a datagram and come as a file, and on the
socket behind /dev/log. Fields that journald itself would add are added: _PID, _UID, _TRANSPORT.
"""

import array
import os
import pathlib
import re
import select
import socket
import struct
import threading

SYSLOG_LINE = re.compile(r"<(\d+)>(?:\w{3} [ \d]\d [\d:]{8} )?"
                         r"(?:([^:\[\s]+)(?:\[\d+\])?: )?(.*)", re.S)


def parse_native(data):
    """One entry in the native protocol as a dictionary; a field that comes twice is a list."""
    entry = {}
    while data:
        line, _, rest = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            if not line:
                data = rest
                continue
            size = struct.unpack_from("<Q", rest)[0]
            value, rest = rest[8:8 + size], rest[8 + size + 1:]
        _add(entry, name.decode(), value.decode(errors="surrogateescape"))
        data = rest
    return entry


def _add(entry, name, value):
    if name not in entry:
        entry[name] = value
    elif isinstance(entry[name], list):
        entry[name].append(value)
    else:
        entry[name] = [entry[name], value]


def parse_syslog(data):
    """One datagram of /dev/log as a dictionary with the journal's names."""
    match = SYSLOG_LINE.match(data.decode(errors="surrogateescape"))
    if not match:
        return {"MESSAGE": data.decode(errors="surrogateescape")}
    entry = {"PRIORITY": str(int(match[1]) & 7), "MESSAGE": match[3].rstrip("\n\0")}
    if match[2]:
        entry["SYSLOG_IDENTIFIER"] = match[2]
    return entry


class Journal:
    """Collects in a thread until close(); entries() may be called from any thread."""

    def __init__(self, run_folder, log_path):
        folder = pathlib.Path(run_folder) / "systemd/journal"
        folder.mkdir(parents=True, exist_ok=True)
        self._sockets = {self._listen(folder / "socket"): ("journal", parse_native),
                         self._listen(folder / "dev-log"): ("syslog", parse_syslog)}
        self._entries = []
        self._lock = threading.Lock()
        self._log = open(log_path, "a", encoding="utf-8", errors="surrogateescape")
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()

    @staticmethod
    def _listen(path):
        path.unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        sock.bind(str(path))
        path.chmod(0o666)
        return sock

    def _collect(self):
        while True:
            ready, _, _ = select.select([self._stop_read, *self._sockets], [], [])
            if self._stop_read in ready:
                return
            for sock in ready:
                self._receive(sock)

    def _receive(self, sock):
        size = sock.recv_into(bytearray(1), 1, socket.MSG_PEEK | socket.MSG_TRUNC)
        data, controls, _, _ = sock.recvmsg(max(size, 1), 4096)
        transport, parse = self._sockets[sock]
        added = {"_TRANSPORT": transport}
        for level, kind, payload in controls:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                pid, uid, _ = struct.unpack("3i", payload[:12])
                added |= {"_PID": str(pid), "_UID": str(uid)}
            elif (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                data = self._read_files(payload)
        try:
            entry = parse(data) | added
        except (ValueError, struct.error):
            entry = {"MALFORMED": data.hex()} | added
        with self._lock:
            self._entries.append(entry)
        self._log.write(f"{entry.get('SYSLOG_IDENTIFIER', '?')}[{entry.get('_PID')}] "
                        f"<{entry.get('PRIORITY', '?')}> {entry.get('MESSAGE', entry)}\n")
        self._log.flush()

    @staticmethod
    def _read_files(payload):
        """An entry that didn't fit a datagram comes as a descriptor of a file that holds it."""
        fds = array.array("i")
        fds.frombytes(payload[:len(payload) - len(payload) % fds.itemsize])
        data = b""
        for fd in fds:
            with open(fd, "rb") as file:
                file.seek(0)
                data += file.read()
        return data

    def entries(self, **fields):
        """The entries so far, in order; with fields only those where all of them are equal."""
        with self._lock:
            return [dict(e) for e in self._entries
                    if all(e.get(name) == value for name, value in fields.items())]

    def close(self):
        os.write(self._stop_write, b"x")
        self._thread.join()
        for sock in self._sockets:
            sock.close()
        self._log.close()
        os.close(self._stop_read)
        os.close(self._stop_write)
