/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From what is known of the host to what stands on the page. Every function here takes facts and
 * returns elements; none asks anything, and none keeps anything.
 */
import {element, table, value} from "./dom.js";
import {age, duration, localTime, offset} from "./format.js";
import {plot} from "./plot.js";

function mark(kind, ...children) {
    return element("span", {class: `mark ${kind}`}, ...children);
}

function ternary(word) {
    return mark(word === "yes" ? "good" : word === "no" ? "bad" : "warn", word);
}

function time(realNs, text) {
    return element("time", {datetime: new Date(realNs / 1e6).toISOString()},
                   text ?? localTime(realNs));
}

function ago(nowNs, realNs) {
    return time(realNs, `${age(nowNs - realNs)} ago`);
}

function note(...children) {
    return element("p", {class: "note"}, ...children);
}

function gap(offsetNs, boundNs) {
    return value(offsetNs, offset(offsetNs, boundNs));
}

function quoted(command) {
    return element("code", {}, command);
}

/* ---- this host ---- */

export function trouble(facts) {
    if (!facts?.why) {
        return [];
    }
    const [title, ...rest] = facts.absent
        ? ["timehandoffd is not running on this host.",
           " Guests are not handed the time and peers raise no alerts. Start it with ",
           quoted("systemctl enable --now timehandoffd"), "; why it ended is in ",
           quoted("journalctl -u timehandoffd"), "."]
        : ["timehandoffd cannot be asked.", ` ${facts.why}`];

    return [element("p", {class: "banner bad"}, element("strong", {}, title), ...rest)];
}

export function rights(allowed) {
    return allowed === false
        ? [element("p", {class: "banner info"}, element("strong", {}, "You may look, not act."),
                   " Measuring, handing off and applying the NTP list are for administrators: " +
                   "turn on administrative access at the top of Cockpit's page. The journal and " +
                   "parts of the NTP configuration may be hidden, too.")]
        : [];
}

export function override(facts, status) {
    const untilNs = facts.OverrideUntilRealNs;

    return untilNs > 0
        ? [element("p", {class: "banner warn"}, element("strong", {}, "Override in force:"),
                   ` migrations from ${status?.override?.source || "any host"} pass unchecked ` +
                   "until ", time(untilNs), ".")]
        : [];
}

export function clock(facts, status) {
    const sync = status?.host?.sync ?? {};
    const rows = [
        ["Synchronised", [ternary(facts.Synchronised), ` says ${facts.SyncFrom}`]],
        ["Bound", [facts.ErrorBoundNs < 0 ? "not known"
            : value(facts.ErrorBoundNs, `within ${duration(facts.ErrorBoundNs)} of UTC`)]],
        ["Source", [facts.SyncSource || "none"]],
        ["NTP servers", [facts.NtpServers.join(", ") || "none"]],
    ];

    if (sync.reason) {
        rows.splice(1, 0, ["Why", [sync.reason]]);
    }
    return rows.map(([term, told]) => element("div", {}, element("dt", {}, term),
                                              element("dd", {}, ...told)));
}

const USES = {selected: "good", combined: "good", rejected: "bad", unreachable: "bad"};

export function ntp(found) {
    if (!found.value) {
        return [note(`The NTP configuration cannot be read: ${found.why}`)];
    }
    const {daemon, servers = [], sources = [], complaint} = found.value;
    const use = server => sources.find(
        source => source.name === server.name || source.address === server.name)?.use;
    const rows = servers.map(server => [
        server.name, server.kind, server.where,
        mark(USES[use(server)] ?? "plain", use(server) ?? "not in use"),
    ]);

    return [
        rows.length ? table("NTP servers", ["Server", "Kind", "Configured in", "Use"], rows)
            : note(`${daemon === "none" ? "No time daemon" : daemon} has no server.`),
        complaint ? note(`Not everything could be read: ${complaint}`) : null,
    ];
}

/* ---- alerts ---- */

/* With no age, as a screen reader would be told of each second. */
export function alerts(facts) {
    return facts.Alerts.length === 0 ? [note(mark("good", "none"))]
        : [element("ul", {class: "alerts"}, facts.Alerts.map(
            ([kind, peer, sinceNs, reason]) => element(
                "li", {}, mark("warn", kind), peer ? element("strong", {}, peer) : null,
                element("span", {}, reason), element("span", {class: "note"}, "since ",
                                                     time(sinceNs)))))];
}

/* ---- peers ---- */

function words(text) {
    return (text ?? "").split(" ").filter(word => word);
}

/* What a peer's list has more or less than this host's, if that is known. */
function servers(facts, peer) {
    const there = words(peer.NtpServers);

    if (peer.NtpServers === undefined) {
        return ["not known"];
    }
    const more = there.filter(name => !facts.NtpServers.includes(name));
    const less = facts.NtpServers.filter(name => !there.includes(name));

    return [
        there.join(", ") || "none",
        more.length ? mark("warn", `only there: ${more.join(", ")}`) : null,
        less.length ? mark("warn", `only here: ${less.join(", ")}`) : null,
    ];
}

/* In the words of `timehandoff status`; only that knows of answers without the key. */
function answers(peer, more) {
    return peer.Answered ? mark("good", peer.Authenticated ? "key" : "no key")
        : more?.answers_without_key ? mark("bad", "wrong key")
        : peer.SeenRealNs ? mark("bad", "silent") : mark("warn", "not yet");
}

export function peers(facts, status, points, nowNs) {
    if (facts.Peers.length === 0) {
        return [note(status && !status.peers
            ? "timehandoff-peerd does not run here, so nothing is measured."
            : "No peers: name them under [peers] in /etc/timehandoff/timehandoff.conf.")];
    }
    const rows = facts.Peers.map(peer => [
        [element("strong", {}, peer.Host), peer.Group ? ` ${peer.Group}` : null,
         peer.Found === "stamp" ? " a guest came from there" : null,
         facts.Alerts.filter(([, host]) => host === peer.Host).map(
             ([kind, , , reason]) => mark("warn", `${kind}: ${reason}`))],
        peer.SeenRealNs ? gap(peer.OffsetNs, peer.BoundNs) : "never measured",
        points.get(peer.Host)?.length ? plot(peer.Host, points.get(peer.Host)) : "",
        peer.SeenRealNs ? ago(nowNs, peer.SeenRealNs) : "",
        peer.Synchronised ? ternary(peer.Synchronised) : "not known",
        answers(peer, status?.peers?.find(more => more.host === peer.Host)),
        servers(facts, peer),
    ]);

    return [table("Peers", ["Peer", "Gap (peer − here)", "Lately", "Measured", "Synchronised",
                            "Answers", "NTP servers"], rows)];
}

/* ---- guests ---- */

const GOOD = new Set(["stepped", "improved", "not-needed"]);

function handOffButton(guest, busy, allowed) {
    const words = busy ? "Handing off…" : "Hand off now";

    return element("button", {type: "button", "data-act": "handoff", "data-guest": guest.uuid,
                              "data-name": guest.name, "aria-label": `${words}: ${guest.name}`,
                              "aria-disabled": busy || !allowed ? "true" : null}, words);
}

/* Those that run here, and those of the last handoffs that don't any more. */
function everyGuest(facts, running) {
    const guests = new Map(facts.Handoffs.map(
        last => [last.Uuid, {uuid: last.Uuid, name: last.Domain, last, here: !running}]));

    for (const {uuid, name} of running ?? []) {
        guests.set(uuid, {...guests.get(uuid), uuid, name, here: true});
    }
    return [...guests.values()].sort((a, b) => a.name < b.name ? -1 : 1);
}

export function guests(facts, running, busy, allowed, nowNs) {
    const rows = everyGuest(facts, running.value).map(guest => {
        const last = guest.last;

        return [
            guest.name,
            last ? [mark(GOOD.has(last.Outcome) ? "good" : "warn", last.Outcome),
                    ` ${last.Trigger}`, last.FromHost ? ` from ${last.FromHost}` : null, " ",
                    ago(nowNs, last.EndedRealNs)] : "none yet",
            last && "BeforeNs" in last ? gap(last.BeforeNs, last.BeforeBoundNs) : "",
            last?.SteppedNs ? value(last.SteppedNs, (last.SteppedNs > 0 ? "+" : "") +
                                                    duration(last.SteppedNs)) : "",
            last && "ResidualNs" in last ? gap(last.ResidualNs, last.ResidualBoundNs) : "",
            guest.here ? handOffButton(guest, busy.has(guest.name), allowed) : "not running here",
        ];
    });

    return [
        rows.length ? table("Guests", ["Guest", "Last handoff", "Before (guest − here)", "Step",
                                       "Residual", "Action"], rows) : note("No guest runs here."),
        running.why
            ? note(`Only guests that were handed the time are shown: ${running.why}`) : null,
    ];
}

/* ---- history ---- */

export function history(found) {
    if (!found.value) {
        return [note(`The history cannot be read: ${found.why}`)];
    }
    if (found.value.length === 0) {
        return [note("Nothing yet.")];
    }
    return [table("History", ["Time", "Guest", "What"], [...found.value].reverse().map(
        record => [time(record.time_ns), record.domain || "-", record.message]))];
}

/* ---- what was done ---- */

export function measured({peer, answered, offset_ns: offsetNs, bound_ns: boundNs, why}) {
    if (why || !answered) {
        return `${peer}: ${why || "no answer"}.`;
    }
    return `${peer} is ${duration(Math.abs(offsetNs), boundNs)} ` +
        `${offsetNs < 0 ? "behind" : "ahead of"} this host, ±${duration(boundNs)}.`;
}

export function handedOff([domain, , outcome, hasResidual, residualNs, boundNs]) {
    const residual = hasResidual ? `, residual ${offset(residualNs, boundNs)}` : "";

    return `${domain}: ${outcome}${residual}.`;
}
