# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two or three libvirt hosts and real guests on one machine, for the tests.

A program calls enter() first, which runs it again in namespaces of its own, then:

    with Hosts(("hv1", "hv2"), stage=PATH) as hosts:
        guest = hosts.guest("web1", host="hv1")
        hosts["hv1"].set_shift(+5)
        done = guest.migrate(hosts["hv2"])

Each host has its own libvirtd (real), chronyd (real, never touching a clock), install of
timehandoff, configuration, journal, address and clock shift; they share a network whose far end,
the hub, serves time. PATH is what `DESTDIR=PATH meson install` left.
"""

import os
import pathlib
import random
import subprocess
import sys
import tempfile

import libvirt

import bed
from bed import Failure, enter, tail, wait_until
from guests import Guest
from host import NTP_HUB, Host

__all__ = ["Failure", "Guest", "Host", "Hosts", "Link", "enter", "tail", "wait_until"]

HUB_CONF = """\
local stratum 1
allow
cmdport 0
bindcmdaddress /
pidfile /run/hub-chronyd.pid
"""


class Link:
    """A second way between two hosts, with delay, jitter and loss of its own; see relay.c.

    address_a and address_b (and the IPv6 ones, address6_a and address6_b) are the two ends.
    """

    def __init__(self, host_a, host_b, index, seed):
        self.address_a, self.address_b = f"10.78.{index}.1", f"10.78.{index}.2"
        self.address6_a, self.address6_b = f"fd78:{index}::1", f"fd78:{index}::2"
        self.seed = seed
        device = f"link{index}"
        self._relay = subprocess.Popen(
            [bed.build_tool("relay"), str(host_a.pid), str(host_b.pid), device, str(seed)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if not self._relay.stdout.readline().startswith("ready"):
            raise Failure(f"no link between {host_a.name} and {host_b.name}")
        host_a.add_addresses(device, f"{self.address_a}/30", f"{self.address6_a}/64")
        host_b.add_addresses(device, f"{self.address_b}/30", f"{self.address6_b}/64")

    def set(self, delay_ms=(0.0, 0.0), jitter_ms=0.0, loss=0.0):
        """Changes the link, at once: delay from a to b and from b to a, loss from 0 to 1."""
        self._relay.stdin.write(f"{delay_ms[0] * 1e3} {delay_ms[1] * 1e3} "
                                f"{jitter_ms * 1e3} {loss}\n")
        self._relay.stdin.flush()
        if self._relay.stdout.readline() != "set\n":
            raise Failure("the link's relay has ended")

    def close(self):
        self._relay.stdin.close()
        self._relay.wait()
        self._relay.stdout.close()


class Hosts:
    """The hosts as a mapping by name; a context manager that brings them up and down."""

    def __init__(self, names=("hv1", "hv2"), stage=None, workdir=None, libvirtd=True,
                 chronyd=True):
        self._stage = pathlib.Path(stage).resolve() if stage else None
        workdir = workdir or os.environ.get("TH_HOSTS_WORKDIR")
        self.workdir = pathlib.Path(workdir or tempfile.mkdtemp(dir=bed.STATE, prefix="work."))
        self.workdir.mkdir(parents=True, exist_ok=True)
        self._with = (libvirtd, chronyd)
        self._hosts = {name: Host(name, 1 + i, self.workdir) for i, name in enumerate(names)}
        self._links = []
        self._guests = []
        self._hub = None

    def __getitem__(self, name):
        return self._hosts[name]

    def __iter__(self):
        return iter(self._hosts.values())

    def __enter__(self):
        if not bed.is_inside():
            raise Failure("call enter() first")
        libvirt.registerErrorHandler(lambda _context, _error: None, None)
        try:
            self._start_hub()
            self._create_hosts()
            self._start_daemons()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, kind, error, trace):
        if kind and not issubclass(kind, (KeyboardInterrupt, SystemExit)):
            self.print_logs()
        for guest in self._guests:
            guest.drop_channel()
        for closing in [*self._links, *self]:
            closing.close()
        if self._hub:
            self._hub.kill()
            self._hub.wait()
        # It is not there when bringing up failed early.
        subprocess.run(["ip", "link", "del", "hub"], stderr=subprocess.DEVNULL, check=False)

    def print_logs(self):
        """Prints the tail of every log, for one who looks at a failed test."""
        for host in self:
            for log in host.logs() if host.pid else ():
                print(tail(log), file=sys.stderr)

    def _start_hub(self):
        bed.call("ip", "link", "add", "hub", "type", "bridge", "forward_delay", "0",
                 "mcast_snooping", "0")
        bed.call("ip", "addr", "add", f"{NTP_HUB}/24", "dev", "hub")
        bed.call("ip", "addr", "add", "fd77::fe/64", "dev", "hub", "nodad")
        bed.call("ip", "link", "set", "hub", "up")
        config = self.workdir / "hub.chrony.conf"
        config.write_text(HUB_CONF)
        with open(self.workdir / "hub.chronyd.log", "w", encoding="utf-8") as log:
            self._hub = subprocess.Popen(
                [bed.CACHE / "chrony/usr/sbin/chronyd", "-x", "-d", "-u", "root", "-f", config],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def _create_hosts(self):
        shim = bed.build_tool("clock-shift.so", "-shared", "-fPIC")
        for host in self:
            host.create(self._stage, shim, list(self))
        for host in self:
            host.finish_create()

    def _start_daemons(self):
        libvirtd, chronyd = self._with
        for host in self:
            if libvirtd:
                host.start_libvirtd(wait=False)
            if chronyd:
                host.start_chronyd(wait=False)
        for host in self:
            if libvirtd:
                host.wait_libvirtd()
            if chronyd:
                host.wait_synced()

    def guest(self, name, host, clock_offset_s=None, wait=True, **definition):
        """Starts a guest and waits for its agents; see Guest.start() for the definition.

        With clock_offset_s its clock is stepped to that much ahead of the machine's.
        """
        guest = Guest(name, self[host] if isinstance(host, str) else host)
        self._guests.append(guest)
        guest.start(**definition)
        if wait:
            guest.wait_ready()
        if clock_offset_s is not None:
            guest.set_clock(clock_offset_s)
        return guest

    def link(self, a, b, delay_ms=(0.0, 0.0), jitter_ms=0.0, loss=0.0, seed=None):
        """Adds a bad link between two hosts; its addresses are other ones than the hub's."""
        if seed is None:
            seed = random.getrandbits(32)
        link = Link(self[a], self[b], len(self._links) + 1, seed)
        self._links.append(link)
        print(f"link {a} {b}: seed {seed}", file=sys.stderr)
        link.set(delay_ms, jitter_ms, loss)
        return link
