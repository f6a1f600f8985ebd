/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ntpd, of NTP's reference implementation or of NTPsec: its system variables and its peers, asked
 * through ntpq on the loopback address, and its files. Its own leap indicator stays good long after
 * its servers have gone, so the age of its last update counts.
 */
#include "clock/sync_daemon.h"

#include "base/program.h"
#include "timehandoff/gap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OUTPUT_SIZE 16384
#define VALUE_SIZE 64
#define NTP_TO_UNIX_S INT64_C(2208988800)
#define ERA_S (INT64_C(1) << 32)
#define MOST_TC 17
#define LEAP_ALARM "11"
#define MAX_WORDS 16
#define MAX_DEPTH 5 /* ntpd's own */

/* ---- state ---- */

/* The value of "name=value" in a list with commas; quotes are left out. False if there is none. */
static bool variable(const char *text, const char *name, char ret_value[VALUE_SIZE]) {
    size_t length = strlen(name);

    for (const char *at = strstr(text, name); at; at = strstr(at + 1, name)) {
        bool whole = (at == text || strchr(" ,\n\t", at[-1])) && at[length] == '=';

        if (whole) {
            const char *value = at + length + 1;

            (void)snprintf(ret_value, VALUE_SIZE, "%.*s", (int)strcspn(value, ",\r\n"), value);
            return *ret_value != '\0';
        }
    }
    return false;
}

static int number(const char *text, const char *name, int64_t *ret_ns) {
    char value[VALUE_SIZE];

    return variable(text, name, value) ? th_sync_text_number(value, TH_NS_PER_MS, ret_ns)
                                       : -EBADMSG;
}

static int count(const char *text, const char *name, unsigned max, unsigned *ret_count) {
    char value[VALUE_SIZE];

    return variable(text, name, value) ? th_sync_text_count(value, max, ret_count) : -EBADMSG;
}

/* "eeae3bda.8fbdc4f4 ...": seconds and fraction, in the era that is nearest to now. */
static int reference_time(const char *text, int64_t real_ns, int64_t *ret_ns) {
    char value[VALUE_SIZE], *end = NULL;
    int64_t seconds, now_s = real_ns / TH_NS_PER_S;
    unsigned long fraction;

    if (!variable(text, "reftime", value)) {
        return -EBADMSG;
    }
    seconds = (int64_t)strtoul(value, &end, 16);
    if (end != value + 8 || *end != '.') {
        return -EBADMSG;
    }
    fraction = strtoul(end + 1, &end, 16);
    if (fraction > UINT32_MAX) {
        return -EBADMSG;
    }
    if (seconds == 0 && fraction == 0) {
        *ret_ns = 0;
        return 0;
    }
    seconds -= NTP_TO_UNIX_S;
    while (seconds < now_s - ERA_S / 2) {
        seconds += ERA_S;
    }
    *ret_ns = seconds * TH_NS_PER_S + (int64_t)(fraction * (uint64_t)TH_NS_PER_S >> 32);
    return 0;
}

struct variables {
    char leap[VALUE_SIZE];
    unsigned stratum, tc;
    int64_t root_delay_ns, root_dispersion_ns, offset_ns, reference_ns;
};

static int read_variables(const char *text, int64_t real_ns, struct variables *ret_variables) {
    struct variables *v = ret_variables;

    if (!variable(text, "leap", v->leap) || count(text, "stratum", 255, &v->stratum) < 0 ||
        count(text, "tc", MOST_TC, &v->tc) < 0 ||
        number(text, "rootdelay", &v->root_delay_ns) < 0 ||
        number(text, "rootdisp", &v->root_dispersion_ns) < 0 ||
        number(text, "offset", &v->offset_ns) < 0 ||
        reference_time(text, real_ns, &v->reference_ns) < 0) {
        return -EBADMSG;
    }
    return 0;
}

static void judge(const struct variables *v, int64_t real_ns, struct th_sync *sync) {
    int64_t age_ns = real_ns - v->reference_ns;

    if (strcmp(v->leap, LEAP_ALARM) == 0 || v->reference_ns == 0 || v->stratum == 0 ||
        v->stratum > 15) {
        th_sync_text_say(sync, TH_NO, "ntpd is not synchronised");
        return;
    }
    if (strncmp(sync->source, "127.127.1.", 10) == 0 || strcmp(sync->source, "LOCAL") == 0 ||
        strcmp(sync->source, "LOCL") == 0) {
        th_sync_text_say(sync, TH_NO, "ntpd has no source and serves its own clock (local clock)");
        return;
    }
    if (age_ns < 0) {
        th_sync_text_say(sync, TH_UNKNOWN, "ntpd's last update lies in the future of this clock");
        return;
    }
    sync->age_ns = age_ns;
    sync->stratum = v->stratum;
    sync->error_ns = th_sync_text_sum(v->offset_ns < 0 ? -v->offset_ns : v->offset_ns,
                                      (v->root_delay_ns < 0 ? 0 : v->root_delay_ns) / 2 + 1,
                                      v->root_dispersion_ns < 0 ? 0 : v->root_dispersion_ns,
                                      th_sync_text_drift(age_ns));
    if (th_sync_text_is_stale(age_ns, (INT64_C(1) << v->tc) * TH_NS_PER_S)) {
        th_sync_text_say_age(sync, TH_NO, "ntpd has lost its sources: last update", "ago");
        return;
    }
    th_sync_text_say_age(sync, TH_YES, "ntpd is synchronised, last update", "ago");
}

int th_sync_ntpd_state(const char *text, int64_t real_ns, struct th_sync *ret_sync) {
    struct th_sync sync = {.from = TH_SYNC_FROM_NTPD,
                           .error_ns = -1,
                           .age_ns = -1,
                           .slew_ppm = TH_GAP_RATE_UNKNOWN_PPM};
    struct variables variables;
    char reference[VALUE_SIZE] = "";

    if (read_variables(text, real_ns, &variables) < 0) {
        return -EBADMSG;
    }
    if (variable(text, "refid", reference)) {
        (void)th_text_clean(reference, sync.source, sizeof(sync.source));
    }
    judge(&variables, real_ns, &sync);
    *ret_sync = sync;
    return 0;
}

static bool read_state(const char *root, pid_t pid, const struct th_sync_kernel *kernel,
                       int64_t timeout_ns, struct th_sync *ret_sync) {
    static const char *const command[] = {"ntpq", "-n", "-c", "rv", "127.0.0.1", NULL};
    char output[OUTPUT_SIZE];
    int status = th_program_run(command, timeout_ns, output, sizeof(output));

    (void)root;
    (void)pid;
    if (status != 0 || th_sync_ntpd_state(output, th_now_real_ns(), ret_sync) < 0) {
        *ret_sync = th_sync_text_silent(
            TH_SYNC_FROM_NTPD, status == -ENOENT ? "there is no ntpq" : "ntpd does not answer");
    }
    /* Its loop hands the kernel what is still to be slewed. */
    if (ret_sync->error_ns >= 0) {
        ret_sync->error_ns =
            th_sync_text_sum(ret_sync->error_ns, th_sync_kernel_pending(kernel), 0, 0);
    }
    return true;
}

/* ---- sources ---- */

enum peer_field {
    PEER_REMOTE,
    PEER_REFERENCE,
    PEER_STRATUM,
    PEER_TYPE,
    PEER_WHEN,
    PEER_POLL,
    PEER_REACH,
    PEER_FIELDS = 10
};

static enum th_ntp_use use_of(char tally, unsigned long reach) {
    switch (tally) {
    case '*':
    case 'o': return TH_NTP_SELECTED;
    case '+': return TH_NTP_COMBINED;
    case '#': return TH_NTP_SPARE;
    case 'x':
    case '-':
    case '.': return TH_NTP_REJECTED;
    default: return reach == 0 ? TH_NTP_UNREACHABLE : TH_NTP_WAITING;
    }
}

/* "12", "12m", "3h", "2d", or "-" for never. */
static int64_t heard_ns(const char *when) {
    static const struct {
        const char *unit;
        int64_t factor_s;
    } units[] = {{"", 1}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};
    char *end = NULL;
    unsigned long value = strtoul(when, &end, 10);

    for (size_t i = 0; end != when && i < TH_ELEMENTS(units); i++) {
        int64_t factor_ns = units[i].factor_s * TH_NS_PER_S;

        if (strcmp(end, units[i].unit) == 0 && *when != '-' &&
            value <= (uint64_t)(INT64_MAX / factor_ns)) {
            return (int64_t)value * factor_ns;
        }
    }
    return -1;
}

static int read_peer(char tally, char *words[], struct th_ntp_sources *sources) {
    struct th_ntp_source *source = &sources->sources[sources->n];
    struct in6_addr address;
    char *end = NULL;
    unsigned long reach = strtoul(words[PEER_REACH], &end, 8);

    if (*end != '\0' || reach > 255) {
        return -EBADMSG;
    }
    /* What stands for a pool is no source itself. */
    if (strcmp(words[PEER_REFERENCE], ".POOL.") == 0) {
        return 0;
    }
    *source = (struct th_ntp_source){
        .reach = (int)reach, .use = use_of(tally, reach), .heard_ns = heard_ns(words[PEER_WHEN])};
    source->kind = *words[PEER_TYPE] == 'l'   ? TH_NTP_REFCLOCK
                   : *words[PEER_TYPE] == 's' ? TH_NTP_PEER
                                              : TH_NTP_SERVER;
    (void)th_text_clean(words[PEER_REMOTE], source->name, sizeof(source->name));
    if (inet_pton(AF_INET, source->name, &address) == 1 ||
        inet_pton(AF_INET6, source->name, &address) == 1) {
        (void)th_text_clean(source->name, source->address, sizeof(source->address));
    }
    sources->n++;
    return 0;
}

/* Lines behind the rule of "="; a name too long for its column has a line of its own. */
static int read_peers(char *text, struct th_ntp_sources *sources) {
    char *words[2 * PEER_FIELDS];
    char *rest = text, *remote = NULL;
    bool begun = false;
    char tally = ' ';

    for (char *line = strsep(&rest, "\n"); line; line = strsep(&rest, "\n")) {
        size_t n;

        if (!begun || *line == '\0') {
            begun = begun || *line == '=';
            continue;
        }
        if (!remote) {
            tally = *line++;
        }
        words[0] = remote;
        n = th_sync_file_words(line, words + (remote ? 1 : 0), PEER_FIELDS + 1) + (remote ? 1 : 0);
        remote = n == 1 ? words[0] : NULL;
        if (remote) {
            continue;
        }
        if (n != PEER_FIELDS ||
            (sources->n < TH_NTP_MAX_SERVERS && read_peer(tally, words, sources) < 0)) {
            return -EBADMSG;
        }
    }
    return begun ? 0 : -EBADMSG;
}

int th_sync_ntpd_sources(const char *text, struct th_ntp_sources *ret_sources) {
    th_auto_free char *copy = strdup(text);
    struct th_ntp_sources sources = {.n = 0};
    int r;

    if (!copy) {
        return -ENOMEM;
    }
    r = read_peers(copy, &sources);
    if (r == 0) {
        *ret_sources = sources;
    }
    return r;
}

static bool read_sources(const char *root, pid_t pid, int64_t timeout_ns,
                         struct th_ntp_servers *servers, struct th_ntp_sources *ret_sources) {
    static const char *const command[] = {"ntpq", "-n", "-w", "-p", "127.0.0.1", NULL};
    char output[OUTPUT_SIZE];

    (void)root;
    (void)pid;
    (void)servers;
    return th_program_run(command, timeout_ns, output, sizeof(output)) == 0 &&
           th_sync_ntpd_sources(output, ret_sources) == 0;
}

/* ---- files ---- */

struct walk {
    const char *root;
    struct th_ntp_servers *servers;
    unsigned depth;
};

static int read_one(void *userdata, const char *path);

static int add(struct walk *walk, char *words[], size_t n, const char *where) {
    enum th_ntp_kind kind = th_ntp_kind_parse(words[0]);
    char name[TH_NTP_NAME_SIZE];
    size_t i = 1;

    while (i < n && *words[i] == '-') {
        i++;
    }
    if (i == n) {
        return 0;
    }
    if (kind == TH_NTP_REFCLOCK) {
        (void)snprintf(name, sizeof(name), "%s:%s", words[i],
                       n > i + 2 && strcmp(words[i + 1], "unit") == 0 ? words[i + 2] : "0");
        return th_ntp_servers_add(walk->servers, kind, name, where);
    }
    if (strncmp(words[i], "127.127.", 8) == 0) {
        kind = TH_NTP_REFCLOCK;
    }
    return th_ntp_servers_add(walk->servers, kind, words[i], where);
}

static int on_line(void *userdata, char *line, const char *where) {
    struct walk *walk = userdata;
    char *words[MAX_WORDS];
    size_t n;

    line[strcspn(line, "#")] = '\0';
    n = th_sync_file_words(line, words, MAX_WORDS);
    if (n < 2) {
        return 0;
    }
    if (th_ntp_kind_parse(words[0]) != 0) {
        return add(walk, words, n, where);
    }
    return strcmp(words[0], "includefile") == 0 ? read_one(walk, words[1]) : 0;
}

static int read_one(void *userdata, const char *path) {
    struct walk *walk = userdata;
    int r;

    if (walk->depth == MAX_DEPTH) {
        return 0;
    }
    walk->depth++;
    r = th_sync_file_lines(walk->root, path, false, on_line, walk, walk->servers);
    walk->depth--;
    return r;
}

/* The file it was started with, or NTPsec's of Debian, or everybody's. */
static void find_main(const char *root, pid_t pid, char path[256]) {
    char full[PATH_MAX];

    if (th_sync_process_option(pid, 'c', 0, path, 256) && *path == '/') {
        return;
    }
    (void)snprintf(path, 256, "/etc/ntpsec/ntp.conf");
    (void)snprintf(full, sizeof(full), "%s%s", root, path);
    if (access(full, F_OK) < 0) {
        (void)snprintf(path, 256, "/etc/ntp.conf");
    }
}

static int read_servers(const char *root, pid_t pid, struct th_ntp_servers *servers) {
    struct walk walk = {.root = root, .servers = servers};
    char path[256], folder[256];
    const char *const folders[] = {folder};
    size_t length;
    int r;

    find_main(root, pid, path);
    r = read_one(&walk, path);
    /* NTPsec goes on with the folder of that name: ntp.conf, ntp.d. */
    length = strlen(path);
    if (r < 0 || length < 5 || strcmp(path + length - 5, ".conf") != 0) {
        return r;
    }
    (void)snprintf(folder, sizeof(folder), "%.*s.d", (int)length - 5, path);
    return th_sync_file_drop_ins(root, folders, 1, ".conf", read_one, &walk);
}

const struct th_sync_daemon th_sync_ntpd = {
    .from = TH_SYNC_FROM_NTPD,
    .process = "ntpd",
    .program = "/usr/sbin/ntpd",
    .read_state = read_state,
    .read_servers = read_servers,
    .read_sources = read_sources,
};
