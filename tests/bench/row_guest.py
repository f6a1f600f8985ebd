# SPDX-License-Identifier: LGPL-2.1-or-later
"""How right a guest's clock is after a handoff, and how soon, by ways that people use.

Every guest is read on a channel of the suite's own, never by what a way says of itself. Where many
guests resume at once, each has stood still for some seconds before.
"""

import concurrent.futures
import statistics
import threading
import time

import libvirt

import row
from channel import Channel
from hosts import wait_until
from stats import Spread, figure, times

# How far a guest's clock is off before a handoff, and from when on it is called right.
WRONG_S = 3.0
RIGHT_S = 0.005
# How long a guest's clock is watched after its migration: hwclock and corrections take seconds.
WATCH_S = 5.0
# How long guests stand still before they resume together, after how long a guest that is not right
# counts as never, and how long after the last word of a way that corrects nothing.
STILL_S = 3.0
MASS_RIGHT_S = 0.02  # the deadband: twenty emulated guests can't be read any better on two cores
HEAL_S = 120.0
HOPE_S = 2.0


# One guest that migrates

class Watch:
    """The clock of a guest that is on its way to a host, by the independent channel."""

    def __init__(self, guest, host):
        self._path = host.base / "run/guests" / f"{guest.name}.test"
        self._connection = libvirt.open(host.uri)
        self.name = guest.name
        self.resumed = threading.Event()
        self.resumed_s = self.connected_s = None
        self.readings = []  # (when, guest minus machine), by the monotonic clock
        self._callbacks = [
            self._connection.domainEventRegisterAny(None, kind, callback, None)
            for kind, callback in ((libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._on_lifecycle),
                                   (libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, self._on_agent))]
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _on_lifecycle(self, _connection, domain, event, _detail, _opaque):
        if domain.name() == self.name and event == libvirt.VIR_DOMAIN_EVENT_RESUMED:
            self.resumed_s = time.monotonic()
            self.resumed.set()

    def _on_agent(self, _connection, domain, state, _reason, _opaque):
        if (domain.name() == self.name and self.connected_s is None and self.resumed_s and
                state == libvirt.VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED):
            self.connected_s = time.monotonic()

    def _read(self):
        self.resumed.wait(60)
        channel = Channel(self._path)
        end_s = time.monotonic() + WATCH_S
        while time.monotonic() < end_s:
            offset_s, bound_s = channel.reading(samples=1)
            if bound_s < RIGHT_S:
                self.readings.append((time.monotonic(), offset_s))
            # Watching costs the guest, too, and delays what is watched.
            time.sleep(0.01)
        self.residual_s = channel.reading()[0]
        channel.close()

    def close(self):
        self._thread.join()
        for callback in self._callbacks:
            self._connection.domainEventDeregisterAny(callback)
        self._connection.close()

    def first(self, is_so):
        """When a reading first was so, in ms after the guest was resumed; None: never."""
        return next(((when_s - self.resumed_s) * 1e3 for when_s, offset_s in self.readings
                     if is_so(offset_s)), None)

    @property
    def connected_ms(self):
        return (self.connected_s - self.resumed_s) * 1e3 if self.connected_s else None

    @property
    def set_ms(self):
        return self.first(lambda offset_s: offset_s > -WRONG_S / 2)

    @property
    def right_ms(self):
        return self.first(lambda offset_s: abs(offset_s) < RIGHT_S)

    def after_agent_ms(self, at_ms):
        return None if at_ms is None or self.connected_ms is None else at_ms - self.connected_ms


def domtime(option):
    """virsh domtime on the guest's new host, tried again until the agent is there."""
    def run(watch, host):
        watch.resumed.wait(60)
        wait_until("virsh domtime", lambda: host.virsh(
            "domtime", watch.name, option, check=False).returncode == 0, every_s=0.05)
    return run


def set_time(domain):
    """The host's time as it is now, without more; whether the agent took it."""
    now_ns = time.time_ns()
    try:
        domain.setTime({"seconds": now_ns // 10**9, "nseconds": now_ns % 10**9})
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_AGENT_UNRESPONSIVE:
            raise
        return False
    return True


def set_time_each_second(domain, began_s):
    """What KubeVirt does: each second the host's time, until it is taken."""
    for count in range(1, 61):
        time.sleep(max(0.0, began_s + count - time.monotonic()))
        if set_time(domain):
            return


def tick(watch, host):
    connection = libvirt.open(host.uri)
    watch.resumed.wait(60)
    set_time_each_second(connection.lookupByName(watch.name), watch.resumed_s)
    connection.close()


OURS, NOW, SYNC, TICK = ("timehandoff", "virsh domtime --now", "virsh domtime --sync",
                         "SetTime(now) each second")
WAYS = {OURS: None, NOW: domtime("--now"), SYNC: domtime("--sync"), TICK: tick}


def hand_over(guest, destination, way):
    """One live migration of a guest whose clock is off, and a way to put that right."""
    if way is None:
        destination.start_daemon()
    guest.set_clock(-WRONG_S)
    watch = Watch(guest, destination)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        setting = pool.submit(way, watch, destination) if way else None
        done = guest.migrate(destination)
        assert done.returncode == 0, done.stderr
        watch.close()
        if setting:
            setting.result()
    if way is None:
        destination.stop_daemon()
    return watch


def some(values):
    """The spread of those that there are, and how many there are not."""
    there = [value for value in values if value is not None]
    if not there:
        return "never"
    missing = len(values) - len(there)
    return f"{Spread(there)}" + (f", {missing} of {len(values)} never" if missing else "")


def compare_ways(sheet, hosts, guest, rounds):
    """Ways to hand the time over, each after live migrations of its own, in turns."""
    seen = {name: [] for name in WAYS}
    for host in hosts:
        host.stop_daemon()
    for turn in range(rounds):
        row.say(f"guest: ways, {turn + 1} of {rounds}")
        for name, way in WAYS.items():
            destination = next(h for h in hosts if h is not guest.host)
            seen[name].append(hand_over(guest, destination, way))
    residuals = {name: Spread([abs(watch.residual_s) * 1e3 for watch in watches])
                 for name, watches in seen.items()}
    ours = residuals[OURS].median
    sheet.table(
        f"Guest {WRONG_S:g} s behind, live migration, {rounds} each",
        ["", "residual ms", "times ours", "agent connected, ms after resume", "clock set, ms",
         f"right within {RIGHT_S * 1e3:g} ms, ms", "right, ms after the agent"],
        [[name, str(residuals[name]), times(residuals[name].median, ours),
          some([w.connected_ms for w in watches]), some([w.set_ms for w in watches]),
          some([w.right_ms for w in watches]),
          some([w.after_agent_ms(w.right_ms) for w in watches])]
         for name, watches in seen.items()])
    tell_ways(sheet, seen, residuals)
    sheet.keep(ways={name: [{"residual_ms": w.residual_s * 1e3, "connected_ms": w.connected_ms,
                             "set_ms": w.set_ms, "right_ms": w.right_ms} for w in watches]
                     for name, watches in seen.items()})
    sheet.plot("residual", names=list(residuals), ours=[OURS],
               ms=[s.median for s in residuals.values()],
               low=[s.low for s in residuals.values()], high=[s.high for s in residuals.values()])


def tell_ways(sheet, seen, residuals):
    ours = residuals[OURS].median
    for name, aim in ((NOW, 100), (SYNC, 100), (TICK, 5)):
        theirs = residuals[name].median
        sheet.claim("guest clock after a live migration, residual", f"{figure(ours)} ms",
                    f"{name}: {figure(theirs)} ms, {times(theirs, ours)}", f"{aim} times smaller",
                    theirs >= aim * ours)
    after = {name: [w.after_agent_ms(w.right_ms) for w in watches]
             for name, watches in seen.items()}
    sheet.claim("clock right, after the agent's connection", f"{some(after[OURS])} ms",
                f"{TICK}: {some(after[TICK])} ms", "within 50 ms",
                None not in after[OURS] and statistics.median(after[OURS]) <= 50)


# Many guests that resume together

class Mass:
    """The clocks of many guests from when they resume until they are right."""

    def __init__(self, guests):
        self.guests = guests
        self.right_s = {}
        self._began_s = self._end_s = None

    def _watch(self, guest):
        while time.monotonic() < self._end_s:
            offset_s, bound_s = guest.channel().reading(samples=1)
            if abs(offset_s) + bound_s < MASS_RIGHT_S:
                self.right_s[guest.name] = time.monotonic() - self._began_s
                return
            # As seldom as will do: the machine is busy with what is watched.
            time.sleep(0.01 * len(self.guests))

    def run(self, way):
        """Stops them all, has them all resume, and lets a way put them right.

        Returns for each guest when it was right, in s, or None.
        """
        for guest in self.guests:
            guest.domain().suspend()
        time.sleep(STILL_S)
        self._began_s = time.monotonic()
        self._end_s = self._began_s + HEAL_S
        for guest in self.guests:
            guest.domain().resume()
        with concurrent.futures.ThreadPoolExecutor(2 * len(self.guests)) as pool:
            setting = [pool.submit(*call) for call in way(self.guests)]
            watching = [pool.submit(self._watch, guest) for guest in self.guests]
            for call in setting:
                call.result()
            if setting:
                self._end_s = time.monotonic() + HOPE_S
            for call in watching:
                call.result()
        return [self.right_s.get(guest.name) for guest in self.guests]


# Each returns what is to be done, as calls that may run side by side.

def by_daemon(_guests):
    return []


def one_by_one(guests):
    """One loop over all guests, as a script would."""
    def run():
        for guest in guests:
            wait_until("the agent", lambda g=guest: set_time(g.domain()), every_s=0.05)
    return [(run,)]


def each_for_itself(guests):
    """As KubeVirt has it, which runs a libvirt a guest; here they have at least a connection each,
    of which libvirt takes five calls at a time."""
    began_s = time.monotonic()
    return [(set_time_each_second, libvirt.open(guest.host.uri).lookupByName(guest.name), began_s)
            for guest in guests]


ONE_BY_ONE, EACH = "SetTime(now), one guest after the other", "SetTime(now) each second, all at once"
MASS_WAYS = {OURS: by_daemon, ONE_BY_ONE: one_by_one, EACH: each_for_itself}


def settle(host, guests):
    """Waits until nobody is at the guests any more, and puts their clocks right."""
    locks = host.path("/run/timehandoff/locks")
    wait_until("the end of handoffs",
               lambda: not any((locks / guest.uuid).exists() for guest in guests), 90)
    for guest in guests:
        guest.set_clock(0)


def last_of(right_s):
    """When the last guest was right; one that never was counts as long as was waited."""
    return max(HEAL_S if at_s is None else at_s for at_s in right_s)


def explain(host, guests, right_s):
    """Says what the daemon has to say of guests that it did not put right."""
    for guest, at_s in zip(guests, right_s):
        if at_s is None:
            for record in host.journal(TIMEHANDOFF_DOMAIN_NAME=guest.name)[-3:]:
                row.say(f"guest: {record['MESSAGE']}")


def resume_together(sheet, host, guests, rounds):
    """rounds: how often with each number of guests."""
    seen = {name: {n: [] for n in rounds} for name in MASS_WAYS}
    for n, times_over in rounds.items():
        for _ in range(times_over):
            for name, way in MASS_WAYS.items():
                row.say(f"guest: {n} resume at once, {name}")
                settle(host, guests[:n])
                if name == OURS:
                    host.start_daemon()
                seen[name][n].append(Mass(guests[:n]).run(way))
                if name == OURS:
                    explain(host, guests[:n], seen[name][n][-1])
                    settle(host, guests[:n])
                    host.stop_daemon()
    last_s = {name: {n: statistics.median(map(last_of, found)) for n, found in by_n.items()}
              for name, by_n in seen.items()}
    never = {name: {n: sum(right_s.count(None) for right_s in found)
                    for n, found in by_n.items()} for name, by_n in seen.items()}
    sheet.table(
        f"{STILL_S:g} s of pause, guests resume at once, until the last is right "
        f"(within {MASS_RIGHT_S * 1e3:g} ms), in s; a guest that never is counts {HEAL_S:g} s",
        ["", *(f"{n} guest{'s' if n > 1 else ''}, {times_over} times"
               for n, times_over in rounds.items())],
        [[name, *(figure(last_s[name][n]) +
                  (f" ({never[name][n]} of {n * rounds[n]} never right)" if never[name][n] else "")
                  for n in rounds)] for name in MASS_WAYS])
    claim_mass(sheet, list(rounds), last_s, never)
    sheet.plot("mass", sizes=list(rounds), names=list(last_s),
               s=[list(by_n.values()) for by_n in last_s.values()])
    sheet.keep(mass_s=seen)


def claim_mass(sheet, sizes, last_s, never):
    n, most = sizes[-2:]
    ours_s = last_s[OURS][most]
    sheet.claim(f"{most} guests resume at once, until all are right", f"{figure(ours_s)} s",
                f"{n} guests: {figure(last_s[OURS][n])} s", "less than linear",
                ours_s < last_s[OURS][n] * most / n and not never[OURS][most])
    for name in (ONE_BY_ONE, EACH):
        missed = never[name][most]
        sheet.claim(f"{most} guests resume at once, until all are right", f"{figure(ours_s)} s",
                    f"{name}: " + (f"{missed} never right" if missed else
                                   f"{figure(last_s[name][most])} s"), "", None)


def run_events():
    while True:
        libvirt.virEventRunDefaultImpl()


def measure(options):
    # Before the first connection, or there are no events on it.
    libvirt.virEventRegisterDefaultImpl()
    threading.Thread(target=run_events, daemon=True).start()
    sheet = row.Row("The guest's clock", __doc__)
    with row.two_hosts_with_daemons() as hosts:
        guest = hosts.guest("web1", host="hv1")
        compare_ways(sheet, hosts, guest, 1 if options.quick else 4)
        guest.destroy()
        rounds = {1: 1, 5: 1} if options.quick else {1: 3, 5: 2, 20: 1}
        row.say(f"guest: booting {max(rounds)}")
        guests = [hosts.guest(f"vm{number}", host="hv1", wait=False)
                  for number in range(max(rounds))]
        for guest in guests:
            guest.wait_ready(240)
        resume_together(sheet, hosts["hv1"], guests, rounds)
    return sheet


if __name__ == "__main__":
    row.main(measure)
