/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The host that the page is about: what its daemon says on D-Bus, and what only the command knows.
 * Nothing is decided or shown here. Reading is asked as whoever is logged in, or as root where that
 * person has taken the right; acting is always asked as root.
 */
const NAME = "org.timehandoff1";
const PATH = "/org/timehandoff1";
const MANAGER = "org.timehandoff1.Manager";
const PROPERTIES = "org.freedesktop.DBus.Properties";
/* The daemon takes no more than 32 calls at once, from all that ask. */
const MEASURED_AT_ONCE = 8;
/* A daemon that runs answers at once, after a measurement in two seconds. */
const ANSWER_MS = 5000;

/* Cockpit's {t, v} around each variant taken off. */
function plain(value) {
    if (Array.isArray(value)) {
        return value.map(plain);
    }
    if (value === null || typeof value !== "object") {
        return value;
    }
    if ("t" in value && "v" in value) {
        return plain(value.v);
    }
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, plain(inner)]));
}

/* A program to its end; never rejects. code is null when it could not be run. */
function run(argv, superuser, stderr = "message") {
    return new Promise(resolve => {
        cockpit.spawn(argv, {superuser, err: stderr, environ: ["LC_ALL=C.UTF-8"]})
            .then(out => resolve({code: 0, out, why: ""}))
            .catch((error, out) => resolve({code: error.exit_status ?? null, out: out ?? "",
                                            why: error.message || error.problem || ""}));
    });
}

/* {value} or {why}: the document that a command prints. */
async function document_of(argv, superuser) {
    const done = await run(argv, superuser);

    try {
        return {value: JSON.parse(done.out)};
    } catch {
        return {why: done.why || "no answer"};
    }
}

export class Host {
    /* told(signal, arguments) for every signal of the daemon, with its name. */
    constructor(told) {
        this.told = told;
        this.bus = null;
    }

    open() {
        if (!this.bus) {
            const bus = cockpit.dbus(NAME, {bus: "system"});

            bus.subscribe({path: PATH},
                          (_path, _interface, signal, args) => this.told(signal, plain(args)));
            bus.addEventListener("close", () => {
                if (this.bus === bus) {
                    this.bus = null;
                }
            });
            this.bus = bus;
        }
        return this.bus;
    }

    /* {value} or {why, absent}: the properties; absent: the daemon does not run. */
    async facts() {
        try {
            const [properties] = await this.open().call(PATH, PROPERTIES, "GetAll", [MANAGER],
                                                        {type: "s", timeout: ANSWER_MS});

            return {value: plain(properties)};
        } catch (error) {
            const absent = /ServiceUnknown|NameHasNoOwner/.test(error.name ?? "") ||
                error.problem === "not-found";
            return {absent, why: error.message || error.problem || String(error)};
        }
    }

    status() {
        return document_of(["timehandoff", "status", "--json"], null);
    }

    ntp() {
        return document_of(["timehandoff", "ntp", "show", "--json"], "try");
    }

    history() {
        return document_of(["timehandoff", "history", "--json", "--lines", "30"], "try");
    }

    /* {value: [{uuid, name}]} or {why}: the guests that run here, as libvirt says. */
    async guests() {
        const done = await run(["timeout", "5", "virsh", "-q", "-r", "-c", "qemu:///system", "list",
                                "--uuid", "--name"], "try");

        if (done.code !== 0) {
            return {why: done.why};
        }
        return {value: done.out.split("\n").filter(line => line).map(line => (
            {uuid: line.slice(0, 36), name: line.slice(36).trim()}))};
    }

    async act(method, argument) {
        const bus = cockpit.dbus(NAME, {bus: "system", superuser: "require"});

        try {
            return await bus.call(PATH, MANAGER, method, [argument],
                                  {type: "s", timeout: ANSWER_MS});
        } finally {
            bus.close();
        }
    }

    /* [{peer, answered, offset_ns, bound_ns} or {peer, why}] */
    async measure(peers) {
        const results = [];

        for (let i = 0; i < peers.length; i += MEASURED_AT_ONCE) {
            results.push(...await Promise.all(peers.slice(i, i + MEASURED_AT_ONCE).map(
                peer => this.act("Measure", peer).then(
                    ([answered, offset_ns, bound_ns]) => ({peer, answered, offset_ns, bound_ns}),
                    error => ({peer, why: error.message || error.problem})))));
        }
        return results;
    }

    handOff(domain) {
        return this.act("Handoff", domain);
    }

    /* What applying the organisation's NTP list would change: {code, out}, out a diff and notes. */
    planNtp() {
        return run(["timehandoff", "ntp", "apply", "--dry-run"], "require", "out");
    }

    applyNtp() {
        return run(["timehandoff", "ntp", "apply"], "require", "out");
    }
}
