/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * chronyd: judging its tracking report and its list of sources, asked of it through chronyc. Where
 * its word is known to be optimistic, as long after it has lost its servers, the judgement says so
 * rather than pass it on. Its files are read elsewhere (sync_chronyd_conf.c).
 */
#include "clock/sync_daemon.h"

#include "base/program.h"
#include "timehandoff/gap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define OUTPUT_SIZE 1024
#define SOURCES_SIZE 16384
/* chronyc gives up at once where nobody listens, and after its own retries, a second at least,
 * where somebody does and doesn't answer. */
#define NOBODY_LISTENS_NS (TH_NS_PER_S / 2)

/* chronyd's report, in the order of its fields. */
enum tracking_field {
    TRACKING_REFERENCE_ID,
    TRACKING_NAME,
    TRACKING_STRATUM,
    TRACKING_REFERENCE_S,
    TRACKING_CORRECTION_S,
    TRACKING_LAST_OFFSET_S,
    TRACKING_RMS_OFFSET_S,
    TRACKING_FREQUENCY_PPM,
    TRACKING_RESIDUAL_PPM,
    TRACKING_SKEW_PPM,
    TRACKING_ROOT_DELAY_S,
    TRACKING_ROOT_DISPERSION_S,
    TRACKING_INTERVAL_S,
    TRACKING_LEAP,
    TRACKING_FIELDS
};

#define TRACKING_MOST_SIZE 512
/* What chronyd calls its own clock when it serves it for want of a better one. */
#define LOCAL_REFERENCE_ID "7F7F0101"

/* ---- state ---- */

/* Cuts the line at its commas. Returns whether there are exactly as many fields as there should. */
static bool split_fields(char *line, char *fields[TRACKING_FIELDS]) {
    size_t n = 0;

    line[strcspn(line, "\r\n")] = '\0';
    for (char *at = line; at; n++) {
        char *comma = strchr(at, ',');

        if (n == TRACKING_FIELDS) {
            return false;
        }
        if (comma) {
            *comma++ = '\0';
        }
        fields[n] = at;
        at = comma;
    }
    return n == TRACKING_FIELDS;
}

/* The numbers of a report that count here. */
struct tracking {
    unsigned stratum;
    int64_t reference_ns; /* last update, wall clock; 0: never */
    int64_t correction_ns;
    int64_t root_delay_ns;
    int64_t root_dispersion_ns;
    int64_t interval_ns;
};

static int parse_tracking(char *const fields[TRACKING_FIELDS], struct tracking *ret_tracking) {
    struct tracking *t = ret_tracking;

    if (th_sync_text_count(fields[TRACKING_STRATUM], 255, &t->stratum) < 0 ||
        th_sync_text_number(fields[TRACKING_REFERENCE_S], TH_NS_PER_S, &t->reference_ns) < 0 ||
        th_sync_text_number(fields[TRACKING_CORRECTION_S], TH_NS_PER_S, &t->correction_ns) < 0 ||
        th_sync_text_number(fields[TRACKING_ROOT_DELAY_S], TH_NS_PER_S, &t->root_delay_ns) < 0 ||
        th_sync_text_number(fields[TRACKING_ROOT_DISPERSION_S], TH_NS_PER_S,
                            &t->root_dispersion_ns) < 0 ||
        th_sync_text_number(fields[TRACKING_INTERVAL_S], TH_NS_PER_S, &t->interval_ns) < 0) {
        return -EBADMSG;
    }
    return strlen(fields[TRACKING_REFERENCE_ID]) == 8 && fields[TRACKING_LEAP][0] != '\0'
               ? 0
               : -EBADMSG;
}

static int64_t absolute_ns(int64_t value_ns) {
    return value_ns < 0 ? -value_ns : value_ns;
}

static void judge_tracking(char *const fields[TRACKING_FIELDS], const struct tracking *tracking,
                           int64_t real_ns, struct th_sync *sync) {
    int64_t age_ns;

    if (strcmp(fields[TRACKING_LEAP], "Not synchronised") == 0 || tracking->reference_ns <= 0) {
        th_sync_text_say(sync, TH_NO, "chronyd is not synchronised");
        return;
    }
    if (strcmp(fields[TRACKING_REFERENCE_ID], LOCAL_REFERENCE_ID) == 0) {
        th_sync_text_say(sync, TH_NO,
                         "chronyd has no source and serves its own clock (local reference)");
        return;
    }
    age_ns = real_ns - tracking->reference_ns;
    /* A clock that was stepped back since then. Without an age, there is no bound either. */
    if (age_ns < 0) {
        sync->age_ns = -1;
        th_sync_text_say(sync, TH_UNKNOWN,
                         "chronyd's last update lies in the future of this clock");
        return;
    }
    sync->age_ns = age_ns;
    sync->stratum = tracking->stratum;
    sync->error_ns = th_sync_text_sum(
        absolute_ns(tracking->correction_ns), absolute_ns(tracking->root_delay_ns) / 2 + 1,
        absolute_ns(tracking->root_dispersion_ns), th_sync_text_drift(age_ns));
    (void)th_text_clean(fields[TRACKING_NAME], sync->source, sizeof(sync->source));
    if (th_sync_text_is_stale(age_ns, tracking->interval_ns)) {
        th_sync_text_say_age(sync, TH_NO, "chronyd has lost its sources: last update", "ago");
        return;
    }
    th_sync_text_say_age(sync, TH_YES, "chronyd is synchronised, last update", "ago");
}

int th_sync_from_tracking(const char *line, int64_t real_ns, struct th_sync *ret_sync) {
    struct th_sync sync = {.from = TH_SYNC_FROM_CHRONYD,
                           .error_ns = -1,
                           .age_ns = -1,
                           .slew_ppm = TH_GAP_RATE_UNKNOWN_PPM};
    char copy[TRACKING_MOST_SIZE];
    char *fields[TRACKING_FIELDS];
    struct tracking tracking = {0};
    size_t length = strnlen(line, sizeof(copy));

    if (length == sizeof(copy)) {
        return -EBADMSG;
    }
    memcpy(copy, line, length + 1);
    if (!split_fields(copy, fields) || parse_tracking(fields, &tracking) < 0) {
        return -EBADMSG;
    }
    judge_tracking(fields, &tracking, real_ns, &sync);
    *ret_sync = sync;
    return 0;
}

static bool read_state(const char *root, pid_t pid, const struct th_sync_kernel *kernel,
                       int64_t timeout_ns, struct th_sync *ret_sync) {
    static const char *const command[] = {"chronyc", "-n", "-c", "tracking", NULL};
    char output[OUTPUT_SIZE];
    int64_t start_ns = th_now_mono_ns();
    int status = th_program_run(command, timeout_ns, output, sizeof(output));

    (void)root;
    (void)kernel;
    if (status == 0) {
        if (th_sync_from_tracking(output, th_now_real_ns(), ret_sync) < 0) {
            *ret_sync = th_sync_text_silent(TH_SYNC_FROM_CHRONYD,
                                            "chronyc said something other than a tracking report");
        }
        return true;
    }
    /* With too few descriptors left one that runs may not have been found. */
    if (status < 0 && status != -ENOENT && status != -ETIMEDOUT) {
        *ret_sync = th_sync_text_silent(TH_SYNC_FROM_CHRONYD, "chronyc cannot be run");
        return true;
    }
    if (pid > 0 || status == -ETIMEDOUT ||
        (status > 0 && th_now_mono_ns() - start_ns > NOBODY_LISTENS_NS)) {
        *ret_sync = th_sync_text_silent(TH_SYNC_FROM_CHRONYD, status == -ENOENT
                                                                  ? "there is no chronyc"
                                                                  : "chronyd does not answer");
        return true;
    }
    return false;
}

/* ---- sources ---- */

enum source_field {
    SOURCE_MODE,
    SOURCE_STATE,
    SOURCE_NAME,
    SOURCE_STRATUM,
    SOURCE_POLL,
    SOURCE_REACH,
    SOURCE_HEARD_S,
    SOURCE_FIELDS = 10
};

#define NEVER_HEARD_S UINT32_MAX

static enum th_ntp_use use_of(char state, int reach) {
    switch (state) {
    case '*': return TH_NTP_SELECTED;
    case '+': return TH_NTP_COMBINED;
    case '-': return TH_NTP_SPARE;
    case 'x':
    case '~': return TH_NTP_REJECTED;
    default: return reach == 0 ? TH_NTP_UNREACHABLE : TH_NTP_WAITING;
    }
}

static enum th_ntp_kind kind_of(char mode) {
    return mode == '#' ? TH_NTP_REFCLOCK : mode == '=' ? TH_NTP_PEER : TH_NTP_SERVER;
}

static size_t split_source(char *line, char *fields[SOURCE_FIELDS]) {
    char *rest = line;
    size_t n = 0;

    for (char *field = strsep(&rest, ","); field; field = strsep(&rest, ",")) {
        if (n == SOURCE_FIELDS) {
            return 0;
        }
        fields[n++] = field;
    }
    return n;
}

static int parse_source(char *line, struct th_ntp_source *ret_source) {
    struct th_ntp_source source = {.heard_ns = -1};
    char *fields[SOURCE_FIELDS], *end = NULL;
    unsigned heard_s;
    unsigned long reach;

    if (split_source(line, fields) != SOURCE_FIELDS || strlen(fields[SOURCE_MODE]) != 1 ||
        strlen(fields[SOURCE_STATE]) != 1 ||
        th_sync_text_count(fields[SOURCE_HEARD_S], UINT32_MAX, &heard_s) < 0) {
        return -EBADMSG;
    }
    reach = strtoul(fields[SOURCE_REACH], &end, 8);
    if (*end != '\0' || reach > 255) {
        return -EBADMSG;
    }
    source.kind = kind_of(fields[SOURCE_MODE][0]);
    source.reach = (int)reach;
    source.use = use_of(fields[SOURCE_STATE][0], source.reach);
    if (heard_s != NEVER_HEARD_S) {
        source.heard_ns = heard_s * TH_NS_PER_S;
    }
    (void)th_text_clean(fields[SOURCE_NAME], source.name, sizeof(source.name));
    *ret_source = source;
    return 0;
}

static int parse_sources(const char *text, struct th_ntp_sources *ret_sources) {
    th_auto_free char *copy = strdup(text);
    char *rest = copy;

    if (!copy) {
        return -ENOMEM;
    }
    ret_sources->n = 0;
    for (char *line = strsep(&rest, "\n"); line; line = strsep(&rest, "\n")) {
        if (*line == '\0') {
            continue;
        }
        if (ret_sources->n == TH_NTP_MAX_SERVERS) {
            break;
        }
        if (parse_source(line, &ret_sources->sources[ret_sources->n]) < 0) {
            return -EBADMSG;
        }
        ret_sources->n++;
    }
    return 0;
}

int th_sync_chronyd_sources(const char *names, const char *addresses,
                            struct th_ntp_sources *ret_sources) {
    struct th_ntp_sources named, numbered;
    int r = parse_sources(names, &named);

    r = r < 0 ? r : parse_sources(addresses, &numbered);
    if (r < 0) {
        return r;
    }
    /* Both have the same order; if one came or went between the two, no address is better than a
     * wrong one. "ID#..." stands for one that isn't known yet. */
    for (size_t i = 0; named.n == numbered.n && i < named.n; i++) {
        if (named.sources[i].kind != TH_NTP_REFCLOCK && numbered.sources[i].name[0] != 'I') {
            (void)th_text_clean(numbered.sources[i].name, named.sources[i].address,
                                sizeof(named.sources[i].address));
        }
    }
    *ret_sources = named;
    return 0;
}

/* Sources that are in no file were added by somebody with chronyc. */
static int add_runtime(const struct th_ntp_sources *sources, struct th_ntp_servers *servers) {
    for (size_t i = 0; i < sources->n; i++) {
        const struct th_ntp_source *source = &sources->sources[i];
        int r = 0;

        if (source->kind != TH_NTP_REFCLOCK && !th_ntp_servers_find(servers, source->name)) {
            r = th_ntp_servers_add(servers, source->kind, source->name, "runtime");
        }
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

static bool read_sources(const char *root, pid_t pid, int64_t timeout_ns,
                         struct th_ntp_servers *servers, struct th_ntp_sources *ret_sources) {
    static const char *const by_name[] = {"chronyc", "-N", "-c", "sources", NULL};
    static const char *const by_number[] = {"chronyc", "-n", "-c", "sources", NULL};
    int64_t deadline_ns = th_now_mono_ns() + timeout_ns;
    char names[SOURCES_SIZE], addresses[SOURCES_SIZE];

    (void)root;
    (void)pid;
    if (th_program_run(by_name, timeout_ns, names, sizeof(names)) != 0 ||
        th_program_run(by_number, deadline_ns - th_now_mono_ns(), addresses, sizeof(addresses)) !=
            0 ||
        th_sync_chronyd_sources(names, addresses, ret_sources) < 0) {
        return false;
    }
    return add_runtime(ret_sources, servers) == 0;
}

const struct th_sync_daemon th_sync_chronyd = {
    .from = TH_SYNC_FROM_CHRONYD,
    .process = "chronyd",
    .program = "/usr/sbin/chronyd",
    .read_state = read_state,
    .read_servers = th_sync_chronyd_servers,
    .read_sources = read_sources,
};
