# SPDX-License-Identifier: LGPL-2.1-or-later
"""A real guest on the test hosts: a Linux kernel in QEMU without KVM, with the real guest agent.

The guest has no disk, no network and no NTP, so that nothing but a handoff, or the test, moves
its clock. It carries two agents: libvirt's, and the test's own (see channel.py).
"""

import base64
import functools
import pathlib
import subprocess
import time
import uuid
import xml.etree.ElementTree as ElementTree
from xml.sax.saxutils import escape, quoteattr

import libvirt

import bed
from channel import Channel

BOOT_DEADLINE_S = 60.0
MIGRATE_DEADLINE_S = 240.0

DOMAIN = """\
<domain type='qemu'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  {metadata}
  <memory unit='MiB'>{memory_mib}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>{folder}/vmlinuz</kernel>
    <initrd>{folder}/initrd</initrd>
    <cmdline>console=ttyS0 quiet panic=1 {cmdline}</cmdline>
  </os>
  <features><acpi/><apic/><tcg><tb-cache unit='MiB'>32</tb-cache></tcg></features>
  {clock}
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <pm><suspend-to-mem enabled='yes'/></pm>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    <serial type='file'><source path='/run/guests/{name}.console' append='on'/></serial>
    {agent}
    <channel type='unix'>
      <source mode='bind' path='/run/guests/{name}.test'/>
      <target type='virtio' name='org.timehandoff.test.0'/>
    </channel>
  </devices>
</domain>
"""

AGENT = """<channel type='unix'>
      <target type='virtio' name='org.qemu.guest_agent.0'/>
    </channel>"""


@functools.cache
def image():
    """The folder with the guest's kernel and initrd, built when need be."""
    return pathlib.Path(bed.call(bed.HERE / "guest").strip())


class Guest:
    """A guest and the host it is on; made and started by Hosts.guest()."""

    def __init__(self, name, host, identity=None):
        self.name = name
        self.host = host
        self.uuid = identity or str(uuid.uuid4())
        self._channel = None

    def xml(self, metadata=None, memory_mib=128, agent=True, cmdline="",
            clock="<clock offset='utc'/>"):
        """The definition; metadata is the XML that goes inside <metadata>."""
        return DOMAIN.format(name=escape(self.name), uuid=self.uuid, memory_mib=memory_mib,
                             metadata=f"<metadata>{metadata}</metadata>" if metadata else "",
                             folder=image(), cmdline=cmdline, clock=clock,
                             agent=AGENT if agent else "")

    def start(self, transient=False, **definition):
        """Defines (or, as a transient one, creates) and starts the guest; doesn't wait."""
        connection = self.host.connection()
        if transient:
            connection.createXML(self.xml(**definition))
        else:
            connection.defineXML(self.xml(**definition)).create()

    def domain(self, host=None):
        """The libvirt domain on its host, or on another one."""
        return (host or self.host).connection().lookupByName(self.name)

    def wait_ready(self, deadline_s=BOOT_DEADLINE_S):
        """Waits until the guest's own channel answers and libvirt's agent, if any, is there.

        Its clock is right then: on a busy machine a kernel may be seconds off by the time it is up.
        """
        logs = [self.host.path(f"/run/guests/{self.name}.console"),
                self.host.path(f"/var/log/libvirt/qemu/{self.name}.log"),
                self.host.log("libvirtd")]
        end = time.monotonic() + deadline_s
        self.drop_channel()
        try:
            self._channel = Channel(self._channel_path(self.host), deadline_s)
        except (OSError, ValueError) as error:
            raise bed.Failure("\n".join([f"guest {self.name} on {self.host.name} did not come up "
                                         f"in {deadline_s} s: {error}", *map(bed.tail, logs)])) \
                from error
        if self.agent_state():
            bed.wait_until(f"agent of {self.name}", lambda: self.agent_state() == "connected",
                           max(1.0, end - time.monotonic()), logs)
        self.set_clock(0)

    def agent_state(self):
        """What libvirt knows of its agent: connected, disconnected, or None without a channel."""
        tree = ElementTree.fromstring(self.domain().XMLDesc())
        for target in tree.iter("target"):
            if target.get("name") == "org.qemu.guest_agent.0":
                return target.get("state", "disconnected")
        return None

    def _channel_path(self, host):
        return host.base / "run/guests" / f"{self.name}.test"

    def channel(self):
        """The independent channel; connects again after a migration or a restart."""
        if self._channel is None:
            self._channel = Channel(self._channel_path(self.host))
        return self._channel

    def drop_channel(self):
        """To be called when QEMU has ended or moved; the next use connects again."""
        if self._channel:
            self._channel.close()
            self._channel = None

    def _ask(self, question):
        """Asks over the channel, on a new connection if the old one is of an ended QEMU."""
        if self._channel is not None:
            try:
                return question(self._channel)
            except (ConnectionError, BrokenPipeError):
                self.drop_channel()
        return question(self.channel())

    # The clock

    def reading(self, host=None, samples=12):
        """(offset_s, bound_s): guest minus the machine's clock; with a host, minus that host's.

        The truth is within offset_s +- bound_s: it comes from the round trip of least delay on
        the independent channel.
        """
        offset_s, bound_s = self._ask(lambda channel: channel.reading(samples))
        return offset_s - (host.shift if host else 0), bound_s

    def set_clock(self, offset_s):
        """Steps the guest's clock to that many seconds ahead of the machine's clock."""
        now_s, _ = self.reading()
        self.step_clock(offset_s - now_s)

    def step_clock(self, by_s):
        """Steps the guest's clock by exactly that much, leaving its RTC alone."""
        self.exec(["guest-step", str(round(by_s * 1e9))])

    # In the guest

    def exec(self, argv, check=True, deadline_s=30.0):
        """Runs a command in the guest, by the independent channel; output as text."""
        pid = self._ask(lambda channel: channel.ask(
            "guest-exec", path=argv[0], arg=[str(a) for a in argv[1:]], capture_output=True))["pid"]

        def ended():
            status = self._ask(lambda channel: channel.ask("guest-exec-status", pid=pid))
            return status if status["exited"] else None

        status = bed.wait_until(f"{argv} in {self.name}", ended, deadline_s)
        code = status.get("exitcode", -status.get("signal", 0))
        out, err = (base64.b64decode(status.get(key, "")).decode(errors="replace")
                    for key in ("out-data", "err-data"))
        if check and code:
            raise bed.Failure(f"in {self.name}: {argv}: status {code}\n{out}{err}")
        return subprocess.CompletedProcess(argv, code, out, err)

    def reboot(self):
        """Restarts the guest's system, at once, and waits until it is up again."""
        channel = self.channel()
        # A moment later, as the agent has to answer first.
        channel.ask("guest-exec", path="sh", arg=["-c", "sleep 1; reboot -f"])
        try:
            # The port closes under us when the agent dies; a later answer is the new agent's.
            bed.wait_until(f"reboot of {self.name}", lambda: not channel.is_served())
        finally:
            self.drop_channel()
        self.wait_ready()

    def agent_pid(self):
        """The process in the guest that is libvirt's agent, or None in between two of them."""
        for line in self.exec(["ps"]).stdout.splitlines():
            if "-p /dev/org.qemu.guest_agent.0" in line:
                return int(line.split()[0])
        return None

    def agent_log(self):
        """What libvirt's agent logged in the guest, with every command it was sent."""
        return self.exec(["cat", "/run/agent.log"]).stdout

    def set_time_calls(self):
        """How often libvirt's agent was told to set the clock."""
        return self.agent_log().count('"execute":"guest-set-time"')

    # Moving

    def migrate(self, to, live=True, p2p=False, extra=(), address=None, check=False):
        """Migrates with virsh on the guest's host, to another host; returns virsh's result.

        address names another way to that host, say the far end of a Link.
        """
        where = address or to.address
        where = f"[{where}]" if ":" in where else where
        argv = ["migrate", self.name, f"qemu+tcp://{where}/system", *extra]
        argv += ["--live"] if live else []
        argv += ["--p2p"] if p2p else []
        argv += ["--migrateuri", f"tcp://{where}"] if address else []
        done = self.host.virsh(*argv, check=check, timeout=MIGRATE_DEADLINE_S)
        if done.returncode == 0 and "--offline" not in extra:
            self.drop_channel()
            self.host = to
        return done

    def destroy(self):
        """Ends the guest and removes its definition where it has one."""
        self.drop_channel()
        domain = self.domain()
        persistent = domain.isPersistent()
        if domain.isActive():
            try:
                domain.destroy()
            except libvirt.libvirtError as error:
                # A transient one may be gone before its end is answered.
                if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                    raise
        if persistent:
            domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE |
                                 libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA)
