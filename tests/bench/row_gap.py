# SPDX-License-Identifier: LGPL-2.1-or-later
"""One gap measurement: how long it takes, how wrong it is, and whether its bound is true.

All hosts share one clock, so the true gap is zero and whatever a program prints is its error;
chronyd and ntpdig print whole microseconds.
"""

import json
import re

import row
from stats import Spread, figure, no_more, times

MEASURE, PLAIN = "timehandoff measure", "timehandoff measure, of a chronyd"
ONCE, BURST, DIG = "chronyd -Q, maxsamples 1", "chronyd -Q, iburst", "ntpdig"
FLOOR, NOTHING = "one exchange in C", "/bin/true"
# Name of the link, then delay to and from the server and jitter, in ms; None: a virtual cable.
LINKS = (("same machine", None, 0),
         ("0.2 ms each way, 0.1 ms of jitter", (0.2, 0.2), 0.1),
         ("2 ms there and 0.5 ms back, 0.5 ms of jitter", (2.0, 0.5), 0.5))


def commands(address, quick):
    """What is compared, and how often each is run: chronyd's burst takes four seconds."""
    chronyd = ["/usr/sbin/chronyd", "-Q", "-u", "root", "-f", "/dev/null"]
    many, some, few = (12, 6, 1) if quick else (60, 20, 6)
    return {
        NOTHING: (["/bin/true"], many),
        FLOOR: ([row.TOOLS / "exchange", address, 10123], many),
        MEASURE: (["/usr/bin/timehandoff", "measure", "--json", address], many),
        PLAIN: (["/usr/bin/timehandoff", "measure", "--json", f"{address}:123"], many),
        ONCE: ([*chronyd, f"server {address} iburst maxsamples 1"], some),
        BURST: ([*chronyd, f"server {address} iburst"], few),
        DIG: (["/usr/bin/ntpdig", address], some),
    }


def read_offset(name, text):
    """(offset, bound) in us out of what a program printed; the bound is None where none is."""
    if name in (MEASURE, PLAIN):
        gap = json.loads(text)
        return gap["offset_ns"] / 1e3, gap["bound_ns"] / 1e3
    if name == FLOOR:
        return int(text) / 1e3, None
    if name == DIG:
        offset_s, bound_s = re.search(r"([+-][\d.]+) \+/- ([\d.]+) ", text).groups()
        return float(offset_s) * 1e6, float(bound_s) * 1e6
    return float(re.search(r"System clock wrong by (\S+) seconds", text).group(1)) * 1e6, None


def measure_link(host, address, quick):
    """For each program (times in ms, offsets in us, bounds in us or None)."""
    rows = commands(address, quick)
    results = {}
    for name, turns in zip(rows, row.take_turns(host, rows.values())):
        bad = [turn for turn in turns if turn[1] != 0]
        assert not bad, f"{name}: status {bad[0][1]}: {bad[0][2]}"
        read = [read_offset(name, turn[2]) for turn in turns] if name != NOTHING else []
        results[name] = ([turn[0] for turn in turns], [offset for offset, _ in read],
                         [bound for _, bound in read])
    return results


def tell_times(sheet, link, results):
    took = {name: Spread(ms) for name, (ms, _, _) in results.items()}
    ours = took[MEASURE].median
    sheet.table(f"Wall time of one measurement, {link}", ["", "ms", "times ours", "runs"],
                [[name, str(spread), times(spread.median, ours), str(spread.n)]
                 for name, spread in took.items()])
    return took


def tell_errors(sheet, link, results):
    lines, errors = [], {}
    for name, (_, offsets, bounds) in results.items():
        if not offsets:
            continue
        error = errors[name] = Spread([abs(offset) for offset in offsets])
        inside = [abs(offset) <= bound for offset, bound in zip(offsets, bounds)
                  if bound is not None]
        lines.append([name, str(error), figure(error.most),
                      str(Spread(bounds)) if inside else "none given",
                      f"{100 * sum(inside) / len(inside):.0f} %" if inside else "-"])
    sheet.table(f"Error of one measurement, {link}",
                ["", "error µs", "largest µs", "bound µs", "truth inside the bound"], lines)
    return errors


def claim(sheet, took, errors, results):
    first = LINKS[0][0]
    ours, floor = took[first][MEASURE], took[first][FLOOR]
    for name, aim in ((ONCE, "20 times faster"), (BURST, "20 times faster"), (DIG, "")):
        theirs = took[first][name].median
        sheet.claim("one gap measurement, wall time", f"{figure(ours.median)} ms",
                    f"{name}: {figure(theirs)} ms, {times(theirs, ours.median)}", aim,
                    theirs >= 20 * ours.median if aim else None)
    sheet.claim("one gap measurement, over the floor", f"{figure(ours.median)} ms",
                f"{FLOOR}: {figure(floor.median)} ms", "at most 3 times",
                ours.median <= 3 * floor.median)
    for link, seen in errors.items():
        theirs, best = min((seen[name].median, name) for name in (ONCE, BURST, DIG))
        met, sure = no_more(*([abs(offset) for offset in results[link][name][1]]
                              for name in (MEASURE, best)))
        sheet.claim(f"error of one measurement, {link}", f"{figure(seen[MEASURE].median)} µs",
                    f"best of the others, {best}: {figure(theirs)} µs ({sure})", "no larger", met)
    bounds = [(abs(offset), bound) for result in results.values() for name in (MEASURE, PLAIN)
              for offset, bound in zip(*result[name][1:])]
    inside = sum(error <= bound for error, bound in bounds)
    sheet.claim("truth inside the bound", f"{inside} of {len(bounds)}", "", "all",
                inside == len(bounds))


def measure(options):
    sheet = row.Row("One gap measurement", __doc__)
    took, errors, results = {}, {}, {}
    with row.hosts("hv1", "hv2", libvirtd=False) as hosts:
        hosts["hv2"].start_peerd()
        row.serve_time(hosts["hv2"])
        row.install_ntpdig(hosts["hv1"])
        link = hosts.link("hv1", "hv2", seed=7)
        for name, delay_ms, jitter_ms in LINKS:
            row.say(f"gap: {name}")
            address = hosts["hv2"].address
            if delay_ms:
                link.set(delay_ms=delay_ms, jitter_ms=jitter_ms)
                address = link.address_b
            results[name] = measure_link(hosts["hv1"], address, options.quick)
            took[name] = tell_times(sheet, name, results[name])
            errors[name] = tell_errors(sheet, name, results[name])
    claim(sheet, took, errors, results)
    shown = {name: spread for name, spread in took[LINKS[0][0]].items() if name != NOTHING}
    sheet.plot("gap", names=list(shown), ours=[MEASURE, PLAIN],
               ms=[spread.median for spread in shown.values()],
               low=[spread.low for spread in shown.values()],
               high=[spread.high for spread in shown.values()])
    sheet.keep(ms={link: {n: r[0] for n, r in result.items()} for link, result in results.items()},
               offset_us={link: {n: r[1] for n, r in result.items()}
                          for link, result in results.items()})
    return sheet


if __name__ == "__main__":
    row.main(measure)
