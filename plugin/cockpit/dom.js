/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The only way anything gets onto the page: elements made one by one, and text as text nodes, so
 * that a name that looks like HTML is shown as it is. What is shown already stays the same element
 * when it is shown again, which keeps the keyboard's focus and a screen reader's place.
 */
const SVG = "http://www.w3.org/2000/svg";

function made(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes ?? {})) {
        if (value !== null && value !== undefined && value !== false) {
            node.setAttribute(name, value === true ? "" : value);
        }
    }
    node.append(...children.flat(Infinity).filter(child => child !== null && child !== undefined));
    return node;
}

export function element(name, attributes, ...children) {
    return made(document.createElement(name), attributes, children);
}

export function svg(name, attributes, ...children) {
    return made(document.createElementNS(SVG, name), attributes, children);
}

function becomes(shown, wanted) {
    if (shown.isEqualNode(wanted)) {
        return;
    }
    if (shown.nodeName !== wanted.nodeName || shown.nodeType !== Node.ELEMENT_NODE) {
        shown.replaceWith(wanted);
        return;
    }
    for (const name of shown.getAttributeNames()) {
        if (!wanted.hasAttribute(name)) {
            shown.removeAttribute(name);
        }
    }
    for (const name of wanted.getAttributeNames()) {
        shown.setAttribute(name, wanted.getAttribute(name));
    }
    show(shown, ...wanted.childNodes);
}

/* Makes these the children of a place; changes no more than has to be. */
export function show(place, ...wanted) {
    const shown = [...place.childNodes];
    const nodes = wanted.flat(Infinity).filter(node => node).map(
        node => typeof node === "string" ? document.createTextNode(node) : node);

    nodes.forEach((node, i) => shown[i] ? becomes(shown[i], node) : place.append(node));
    shown.slice(nodes.length).forEach(node => node.remove());
}

/* A number and its exact value in ns beside what a person reads. */
export function value(ns, text) {
    return element("data", {value: ns}, text);
}

/* On a narrow screen each row stands as a block of its own, and its cells name their column. The
 * roles are said, as a browser forgets those of a table that is laid out as something else. */
export function table(label, columns, rows) {
    return element(
        "table", {role: "table", "aria-label": label},
        element("thead", {role: "rowgroup"},
                element("tr", {role: "row"}, columns.map(
                    name => element("th", {role: "columnheader", scope: "col"}, name)))),
        element("tbody", {role: "rowgroup"}, rows.map(
            cells => element("tr", {role: "row"}, cells.map(
                (cell, i) => i === 0
                    ? element("th", {role: "rowheader", scope: "row"}, cell)
                    : element("td", {role: "cell", "data-column": columns[i]}, cell))))));
}
