# SPDX-License-Identifier: LGPL-2.1-or-later
"""Somebody between two hosts, who sees every question and answer and sends what he likes.

A Middle has an address of its own on the hub. Whoever asks there is an asker whose packets all pass
through the attacker's hands; it hands the questions on to the real responder and then lets the
attack decide what comes back. What he can not do is make a MAC, as he has no key of the asker's.
"""

import random
import socket
import struct
import threading
import time

from hostkit import HUB, PORT, header

# By how much the attacker would have the asked host's clock wrong.
LIE_S = 5
# Packets that a sniffer looks at: two hosts that answer each other would not end.
TOO_MANY = 1000


def now_ntp(shift_s=0.0):
    """The machine's time, or one that is wrong by so much, as an NTP timestamp."""
    return round((time.time() + 2208988800 + shift_s) * 2**32).to_bytes(8, "big")


def lie(question, shift_s=LIE_S, mode=4, version=4, stratum=2, reference=0, cookie=None):
    """An answer without a MAC that is right but for the time; and for what is said here."""
    stamp = now_ntp(shift_s)
    return struct.pack(">BBbbIII", version << 3 | mode, stratum, 0, -20, 0, 0, reference) \
        + stamp + (question[40:48] if cookie is None else cookie) + stamp + stamp


class Middle:
    """Takes questions on a port of the hub's until close(), as the host that the asker believes in.

    attack(middle, question, answer) yields the datagrams that go to the asker. answer is what the
    responder of the host says, or None if it says nothing.
    """

    def __init__(self, attack, host, wait_s=0.1):
        self.questions, self.sent = [], []
        self.asker = None
        self.chance = random.Random(4711)
        self._attack, self._wait_s, self._host = attack, wait_s, host
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind((HUB, 0))
        self._sock.settimeout(0.1)
        self.address = f"{HUB}:{self._sock.getsockname()[1]}"
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def redirect(self, host):
        """From now on another host is asked in place of the one that the asker means."""
        self._host = host

    def _run(self):
        while not self._end.is_set():
            try:
                question, self.asker = self._sock.recvfrom(65536)
            except TimeoutError:
                continue
            self.questions.append((question, self.asker))
            for data in self._attack(self, question, self.ask(question)):
                self._sock.sendto(data, self.asker)

    def ask(self, question):
        """What the host answers to that."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(self._wait_s)
            sock.connect((self._host.address, PORT))
            try:
                sock.send(question)
                return sock.recv(65536)
            except OSError:
                return None

    def send_from_elsewhere(self, data):
        """To the asker, from a port that it did not ask."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((HUB, 0))
            sock.sendto(data, self.asker)

    def send_unreachable(self):
        """Word to the asker, as if from the network, that nobody listens where it asks."""
        port = int(self.address.partition(":")[2])
        theirs = datagram(self.asker[0], HUB, self.asker[1], port, header())
        send_raw(self.asker[0], packet(HUB, self.asker[0], socket.IPPROTO_ICMP,
                                       with_checksum(struct.pack(">BBHI", 3, 3, 0, 0) + theirs)))

    def close(self):
        self._end.set()
        self._thread.join()
        self._sock.close()


# Packets from any address

def with_checksum(icmp):
    """An ICMP message with its checksum at its place."""
    padded = icmp + bytes(len(icmp) % 2)
    total = sum(struct.unpack(f">{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return icmp[:2] + struct.pack(">H", ~total & 0xffff) + icmp[4:]


def packet(source, to, protocol, payload):
    """An IPv4 packet; the kernel fills in the checksum."""
    return struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0,
                       socket.inet_aton(source), socket.inet_aton(to)) + payload


def datagram(source, to, source_port, port, data):
    """A UDP datagram as a whole IPv4 packet; it carries no checksum, which UDP allows."""
    return packet(source, to, socket.IPPROTO_UDP,
                  struct.pack(">HHHH", source_port, port, 8 + len(data), 0) + data)


def send_raw(to, *packets):
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        for data in packets:
            sock.sendto(data, (to, 0))


class Sniffer:
    """The UDP datagrams that pass a host's port of the hub, in either direction."""

    def __init__(self, host):
        self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self._sock.bind((f"hub-{host.name}", 0))
        self._sock.settimeout(0.05)

    def until_quiet(self, quiet_s=0.3):
        """[(source, source port, destination, port, size)], when none has passed for a while."""
        found, heard_s = [], time.monotonic()
        while time.monotonic() < heard_s + quiet_s and len(found) < TOO_MANY:
            try:
                frame = self._sock.recv(65536)
            except TimeoutError:
                continue
            if frame[12:14] == b"\x08\x00" and frame[23] == socket.IPPROTO_UDP:
                source, to = (socket.inet_ntoa(frame[at:at + 4]) for at in (26, 30))
                ports = struct.unpack(">HHH", frame[34:40])
                if PORT in ports[:2]:
                    found.append((source, ports[0], to, ports[1], ports[2] - 8))
                    heard_s = time.monotonic()
        return found

    def close(self):
        self._sock.close()
