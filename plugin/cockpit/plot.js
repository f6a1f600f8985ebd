/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The gaps to one peer over time, as a picture of a few centimetres: for each measurement the
 * interval that holds the truth, as an upright line, and its middle, as a dot. Zero is in the
 * middle.
 */
import {svg} from "./dom.js";
import {duration, offset} from "./format.js";

const WIDTH = 160, HEIGHT = 44, EDGE = 4;

/* points: {at_real_ns, offset_ns, bound_ns}, oldest first, at least one. */
export function plot(host, points) {
    const first = points[0].at_real_ns, last = points[points.length - 1];
    const top = Math.max(1, ...points.map(p => Math.abs(p.offset_ns) + p.bound_ns));
    const spanNs = last.at_real_ns - first;
    const x = p => round(spanNs ? EDGE + (WIDTH - 2 * EDGE) * (p.at_real_ns - first) / spanNs
        : WIDTH / 2);
    const y = ns => round(HEIGHT / 2 - (HEIGHT / 2 - EDGE) * ns / top);
    const label = `${host}: ${points.length} gaps in ${duration(spanNs)}, within ±` +
        `${duration(top)}, the last one ${offset(last.offset_ns, last.bound_ns)}`;

    return svg(
        "svg", {class: "plot", role: "img", "aria-label": label, width: WIDTH, height: HEIGHT,
                viewBox: `0 0 ${WIDTH} ${HEIGHT}`},
        svg("line", {class: "zero", x1: 0, x2: WIDTH, y1: HEIGHT / 2, y2: HEIGHT / 2}),
        points.map(p => svg("line", {class: "bound", x1: x(p), x2: x(p),
                                     y1: y(p.offset_ns - p.bound_ns),
                                     y2: y(p.offset_ns + p.bound_ns)})),
        points.map(p => svg("circle", {cx: x(p), cy: y(p.offset_ns), r: 2})));
}

function round(number) {
    return Math.round(number * 100) / 100;
}
