/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Numbers as the command writes them, so that what is read here can be looked for in the journal:
 * durations with four digits, or as many as their bound is worth, and ages in whole units.
 */
const UNITS = [
    /* name, its ns, written in it from here on */
    ["d", 86400e9, 172800e9],
    ["h", 3600e9, 3600e9],
    ["min", 60e9, 120e9],
    ["s", 1e9, 1e9],
    ["ms", 1e6, 1e4],
    ["us", 1e3, 1e3],
    ["ns", 1, 0],
];

function unitFor(magnitudeNs) {
    return UNITS.find(([, , leastNs]) => magnitudeNs >= leastNs);
}

function decimalsFor(magnitudeNs, unitNs, boundNs) {
    let decimals = unitNs === 1 ? 0 : 3;

    for (let whole = Math.floor(magnitudeNs / unitNs); whole >= 10 && decimals > 0;
         whole = Math.floor(whole / 10)) {
        decimals--;
    }
    while (unitNs % 10 ** (decimals + 1) === 0 && unitNs / 10 ** decimals > boundNs / 4 + 1) {
        decimals++;
    }
    return decimals;
}

/* The number in a unit, in units of its last decimal. */
function rounded(magnitudeNs, boundNs) {
    const [name, unitNs] = unitFor(magnitudeNs);
    const decimals = decimalsFor(magnitudeNs, unitNs, boundNs);
    const placeNs = unitNs / 10 ** decimals;
    const places = Math.round(magnitudeNs / placeNs);

    return {name, text: String(Number((places / 10 ** decimals).toFixed(decimals))),
            ns: places * placeNs};
}

/* "8.1 us", "-3.084 s". */
export function duration(ns, boundNs = Infinity) {
    let shown = rounded(Math.abs(ns), boundNs);

    /* 999.96 ms rounds up to 1 s: the unit is chosen again for what will be shown. */
    if (unitFor(shown.ns)[0] !== shown.name) {
        shown = rounded(shown.ns, boundNs);
    }
    return `${ns < 0 ? "-" : ""}${shown.text} ${shown.name}`;
}

/* "+8.1 us ±0.012 ms" */
export function offset(ns, boundNs) {
    return `${ns > 0 ? "+" : ""}${duration(ns, boundNs)} ±${duration(boundNs)}`;
}

/* "12 s": how long ago something was, by the clock of the host that noted it. */
export function age(ns) {
    const s = Math.max(0, Math.floor(ns / 1e9));

    return s < 120 ? `${s} s` : s < 7200 ? `${Math.floor(s / 60)} min`
        : s < 172800 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} d`;
}

/* "2026-03-01 09:58:41", where the browser is. */
export function localTime(realNs) {
    const time = new Date(realNs / 1e6), two = number => String(number).padStart(2, "0");

    return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())} ` +
        `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
}
