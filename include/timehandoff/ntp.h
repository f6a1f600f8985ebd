/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The NTP servers of a host: those its time daemon is configured with, those the daemon has in use,
 * and the organisation's own list; how lists are compared, and how one is written into the time
 * daemon's configuration. Names are compared without regard to case, addresses by value.
 */
#ifndef TIMEHANDOFF_NTP_H
#define TIMEHANDOFF_NTP_H

#include "timehandoff/base.h"
#include "timehandoff/sync.h"

#define TH_NTP_MAX_SERVERS 64
#define TH_NTP_NAME_SIZE 256
#define TH_NTP_WHERE_SIZE 192
#define TH_NTP_DIGEST_SIZE 16

enum th_ntp_kind {
    TH_NTP_SERVER = 1,
    TH_NTP_POOL, /* a name with several servers behind it */
    TH_NTP_PEER,
    TH_NTP_REFCLOCK, /* a clock of the host's own, a PTP domain too: "ptp:0" */
};

/* "server", "pool", "peer", "refclock"; "unknown" for what is none. Never NULL. */
const char *th_ntp_kind_name(enum th_ntp_kind kind);
/* The reverse; 0 for anything else. */
enum th_ntp_kind th_ntp_kind_parse(const char *text);

/* ---- lists ---- */

struct th_ntp_server {
    enum th_ntp_kind kind;
    char name[TH_NTP_NAME_SIZE];   /* name or address as written, cleaned */
    char where[TH_NTP_WHERE_SIZE]; /* "FILE:LINE", "dhcp", "runtime", "fallback", or "" */
};

/* Zeroed is an empty list. */
struct th_ntp_servers {
    struct th_ntp_server *servers;
    size_t n;
    char complaint[TH_NTP_WHERE_SIZE]; /* why it is not all there is; "" if it is */
};

/* Appends one. 0 or -ENOMEM; beyond TH_NTP_MAX_SERVERS it is 0 with a complaint. */
int th_ntp_servers_add(struct th_ntp_servers *servers, enum th_ntp_kind kind, const char *name,
                       const char *where);
/* A deep copy. 0 or -ENOMEM. */
int th_ntp_servers_dup(const struct th_ntp_servers *servers, struct th_ntp_servers *ret_servers);
/* Frees and empties; takes NULL. */
void th_ntp_servers_deinit(struct th_ntp_servers *servers);
#define th_auto_ntp_servers __attribute__((cleanup(th_ntp_servers_deinit)))

/* Whether both are the same name (case and a dot at the end do not matter) or the same address. */
bool th_ntp_name_equal(const char *a, const char *b);
/* Whether it can stand in a configuration: a numeric address, or a host name as in RFC 1123. */
bool th_ntp_name_is_good(const char *name);
/* The entry of that name, or NULL; points into the list. */
const struct th_ntp_server *th_ntp_servers_find(const struct th_ntp_servers *servers,
                                                const char *name);

/*
 * The set that two hosts compare: the names of servers and pools, lower-cased, addresses in
 * canonical form, sorted, each once, with one blank between two. Peers are left out, because two
 * hosts that name each other never have the same list; clocks of the host's own count only where
 * there is nothing else. On the heap; "" if nothing is left. 0 or -ENOMEM.
 */
int th_ntp_text(const struct th_ntp_servers *servers, char **ret_text);
/* The first half of the SHA-256 of that text; all zeros if it is empty. 0 or -ENOMEM. */
int th_ntp_digest(const struct th_ntp_servers *servers, uint8_t ret_digest[TH_NTP_DIGEST_SIZE]);

/* ---- what a host has ---- */

/* How a daemon treats a source of time. */
enum th_ntp_use {
    TH_NTP_WAITING = 0, /* not enough heard yet to tell, or the daemon doesn't say */
    TH_NTP_SELECTED,    /* the clock follows it */
    TH_NTP_COMBINED,    /* and this one too */
    TH_NTP_SPARE,       /* good, and not needed */
    TH_NTP_REJECTED,    /* it contradicts the others, or is too noisy */
    TH_NTP_UNREACHABLE, /* none of the last eight questions was answered, or none was asked yet */
};

/* "waiting", "selected", "combined", "spare", "rejected", "unreachable". Never NULL. */
const char *th_ntp_use_name(enum th_ntp_use use);

struct th_ntp_source {
    enum th_ntp_kind kind;
    enum th_ntp_use use;
    char name[TH_NTP_NAME_SIZE]; /* as the daemon calls it, cleaned */
    char address[64];            /* numeric; "" if it has none, or it isn't known */
    int reach;                   /* the last eight polls as bits; -1: not known */
    int64_t heard_ns;            /* since its last answer; -1: never, or not known */
};

struct th_ntp_sources {
    struct th_ntp_source sources[TH_NTP_MAX_SERVERS];
    size_t n;
};

struct th_ntp_status {
    enum th_sync_from from; /* whose configuration this is; TH_SYNC_FROM_NOTHING: none found */
    bool running;
    struct th_ntp_servers servers; /* configured */
    bool answered;                 /* the daemon was asked and answered: sources are what it has */
    struct th_ntp_sources sources;
};

/*
 * Reads what the time daemon that runs is configured with, from its files below root ("" but in
 * tests), and asks it what it has in use. If none runs, the files of the one that is installed.
 * timeout_ns is for the asking, which starts no daemon; 0: do not ask. May block that long; call it
 * from a worker. Returns 0 or negative errno; a file that cannot be read is a complaint.
 */
int th_ntp_read(const char *root, int64_t timeout_ns, struct th_ntp_status *ret_status);
/* Frees; takes NULL. */
void th_ntp_status_deinit(struct th_ntp_status *status);
#define th_auto_ntp_status __attribute__((cleanup(th_ntp_status_deinit)))

/* ---- comparing ---- */

enum th_ntp_finding_kind {
    TH_NTP_MISSING = 1,   /* in the organisation's list, not configured */
    TH_NTP_EXTRA,         /* configured, not in the list */
    TH_NTP_NO_DAEMON,     /* nothing here could use a list */
    TH_NTP_NOT_RUNNING,   /* there is a daemon, and it doesn't run */
    TH_NTP_NO_ANSWER,     /* it runs and doesn't answer */
    TH_NTP_NOT_IN_USE,    /* configured, and the daemon doesn't have it: not reloaded */
    TH_NTP_TWICE,         /* configured more than once */
    TH_NTP_NO_ANSWER_NOW, /* the daemon hears nothing from this one */
    TH_NTP_NONE,          /* no server at all */
    TH_NTP_ONE,           /* a single server: nobody notices when it is wrong */
    TH_NTP_FEW,           /* two: nobody can tell which one is wrong */
    TH_NTP_INCOMPLETE,    /* not everything could be read: name is the complaint */
};

/* "missing", "extra", "no-daemon", "not-running", "no-answer", "not-in-use", "twice",
 * "unreachable", "no-server", "one-server", "few-servers", "incomplete". Never NULL. */
const char *th_ntp_finding_name(enum th_ntp_finding_kind kind);

struct th_ntp_finding {
    enum th_ntp_finding_kind kind;
    char name[TH_NTP_NAME_SIZE];   /* the server; "" if it is about none */
    char where[TH_NTP_WHERE_SIZE]; /* where it is configured, or "" */
};

struct th_ntp_findings {
    struct th_ntp_finding *findings;
    size_t n;
    bool differs; /* the host is not as the list says; all else is a warning */
};

/*
 * Compares a host with the organisation's list: servers and pools by name; what is there at run
 * time only is not configured. Clocks of the host's own and peers may be there besides. An empty
 * list differs from nothing. 0 or -ENOMEM.
 */
int th_ntp_check(const struct th_ntp_servers *wanted, const struct th_ntp_status *status,
                 struct th_ntp_findings *ret_findings);
/* Frees and empties; takes NULL. */
void th_ntp_findings_deinit(struct th_ntp_findings *findings);
#define th_auto_ntp_findings __attribute__((cleanup(th_ntp_findings_deinit)))

/* ---- applying ---- */

enum th_ntp_plan_outcome {
    TH_NTP_PLAN_CHANGE = 0,
    TH_NTP_PLAN_NOTHING = 1, /* the file is as it should be, or none is needed */
    TH_NTP_PLAN_NO_DAEMON,   /* nothing to configure */
    TH_NTP_PLAN_UNSUPPORTED, /* a daemon that has no drop-in that we could write */
};

/* One file to be written. */
struct th_ntp_change {
    char path[256];
    char *old_text;     /* NULL: there is none yet */
    char *new_text;     /* ends in a newline; NULL: no file is needed */
    char add_line[288]; /* a line that its main configuration lacks for the file to count; or "" */
    char add_to[256];   /* the main configuration */
};

/*
 * What would have to be written for the host to have the wanted list, beside what others have
 * configured: chronyd gets those that are not configured elsewhere (it takes no server twice),
 * timesyncd, which asks one after the other, all of them, in place of what stands in other files.
 * Returns an enum th_ntp_plan_outcome, or negative errno. ret_change is set on CHANGE and NOTHING.
 */
int th_ntp_plan(const char *root, const struct th_ntp_status *status,
                const struct th_ntp_servers *wanted, struct th_ntp_change *ret_change);
/*
 * Puts the file in its place in one step, and makes its folder. The file it replaces is kept as
 * PATH.bak, which the daemon does not read. 0 or negative errno; nothing has changed then.
 */
int th_ntp_write(const char *root, const struct th_ntp_change *change);
/* Has the daemon read it: chronyd by reloading its sources, timesyncd by a restart through
 * systemctl. 0; -EOPNOTSUPP if there is no way (no systemd); -EIO if it was refused; -ETIMEDOUT; or
 * another negative errno. */
int th_ntp_reload(enum th_sync_from from, int64_t timeout_ns);
/* The change as a unified diff on the heap. 0 or -ENOMEM. */
int th_ntp_diff(const struct th_ntp_change *change, char **ret_text);
/* Frees and empties; takes NULL. */
void th_ntp_change_deinit(struct th_ntp_change *change);
#define th_auto_ntp_change __attribute__((cleanup(th_ntp_change_deinit)))

#endif
