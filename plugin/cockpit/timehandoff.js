/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The page at work: it asks the host every few seconds and whenever the daemon says that something
 * has changed, shows what came, and carries out what the buttons say. What cannot be read is named
 * where it would stand; nothing old is left standing as if it were still so.
 */
import {show} from "./dom.js";
import {Host} from "./host.js";
import {ntpDialog} from "./ntp.js";
import * as view from "./view.js";

const REFRESH_MS = 5000;
/* What only commands know is asked for every so many refreshes. */
const SLOW_EVERY = 6;
const MOST_POINTS = 120;
/* A handoff that was asked for ends within its time, or the daemon did. */
const HANDOFF_MOST_MS = 120000;

const $ = id => document.getElementById(id);
const permission = cockpit.permission({admin: true});
const host = new Host(onSignal);
const dialog = ntpDialog($("plan"), host, () => refresh(true));

/* Gaps by peer, and the guests whose handoff was asked for here. */
const points = new Map();
const busy = new Map();
let known = {};
let refreshing = null, again = false;

function remember(status) {
    for (const peer of status?.peers ?? []) {
        const all = points.get(peer.host) ?? [];
        const newest = all[all.length - 1]?.at_real_ns ?? -Infinity;

        all.push(...(peer.history ?? []).filter(point => point.at_real_ns > newest));
        points.set(peer.host, all.slice(-MOST_POINTS));
    }
}

async function read(slow) {
    const [facts, status, guests, ...rest] = await Promise.all([
        host.facts(), host.status(), host.guests(),
        ...(slow ? [host.ntp(), host.history()] : []),
    ]);

    known = {...known, facts, status, guests};
    if (slow) {
        [known.ntp, known.history] = rest;
    }
    remember(status.value);
    render();
}

function render() {
    const {facts, ntp, history} = known;
    const status = known.status?.value, nowNs = status?.now_real_ns ?? Date.now() * 1e6;

    document.body.classList.toggle("absent", !facts?.value);
    document.body.classList.toggle("looking", permission.allowed === false);
    show($("trouble"), view.trouble(facts));
    show($("rights"), view.rights(permission.allowed),
         facts?.value ? view.override(facts.value, status) : []);
    if (facts?.value) {
        show($("host"), facts.value.HostName);
        show($("alert-list"), view.alerts(facts.value));
        show($("clock-facts"), view.clock(facts.value, status));
        show($("peer-list"), view.peers(facts.value, status, points, nowNs));
        show($("guest-list"), view.guests(facts.value, known.guests, busy, permission.allowed,
                                          nowNs));
    }
    if (ntp) {
        show($("ntp-servers"), view.ntp(ntp));
    }
    if (history) {
        show($("history-list"), view.history(history));
    }
    for (const button of document.querySelectorAll("main .bar button")) {
        button.setAttribute("aria-disabled", String(!permission.allowed));
    }
}

/* One at a time; what is asked for meanwhile comes after it. */
async function refresh(slow) {
    if (refreshing) {
        again ||= slow;
        return refreshing;
    }
    refreshing = read(slow).finally(() => refreshing = null);
    await refreshing;
    if (again) {
        again = false;
        return refresh(true);
    }
}

function say(text) {
    show($("said"), text);
}

function onSignal(signal, args) {
    if (signal === "HandoffFinished" && busy.has(args[0])) {
        done(args[0], view.handedOff(args));
    }
    refresh(true);
}

function done(name, words) {
    clearTimeout(busy.get(name));
    busy.delete(name);
    say(words);
    render();
}

async function measure() {
    const peers = known.facts.value.Peers.map(peer => peer.Host);

    say("Measuring…");
    say((await host.measure(peers)).map(view.measured).join(" ") || "There is no peer to measure.");
    await refresh(false);
}

async function handOff(uuid, name) {
    busy.set(name, setTimeout(() => done(name, `${name}: no word of its end yet.`),
                              HANDOFF_MOST_MS));
    say(`Handing the time to ${name}…`);
    render();
    try {
        await host.handOff(uuid);
    } catch (error) {
        done(name, `${name}: ${error.message || error.problem}`);
    }
}

document.querySelector("main").addEventListener("click", event => {
    const button = event.target.closest("button[data-act]");

    if (!button || button.getAttribute("aria-disabled") === "true") {
        return;
    }
    if (button.dataset.act === "measure") {
        measure();
    } else if (button.dataset.act === "handoff") {
        handOff(button.dataset.guest, button.dataset.name);
    } else {
        dialog.open();
    }
});

/* Light or dark as Cockpit is set, by the same names as its own pages. */
function dress(event) {
    const style = event?.detail?.style ?? localStorage.getItem("shell:style") ?? "auto";
    const dark = style === "dark" ||
        (style === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);

    document.documentElement.classList.toggle("dark", dark);
}

dress();
addEventListener("cockpit-style", dress);
addEventListener("storage", dress);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", dress);

permission.addEventListener("changed", () => refresh(true));
document.addEventListener("visibilitychange", () => document.hidden || refresh(true));

let ticks = 0;

setInterval(() => document.hidden || refresh(++ticks % SLOW_EVERY === 0), REFRESH_MS);
refresh(true);
