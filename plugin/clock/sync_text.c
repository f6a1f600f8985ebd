/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What all judgements of a time daemon's words share: numbers read exactly and whatever the locale,
 * reasons put into words, sums that do not overflow, and one opinion on when an update is too long
 * ago. Pure.
 */
#include "clock/sync_daemon.h"

#include "base/wide.h"
#include "timehandoff/duration.h"
#include "timehandoff/gap.h"

#include <errno.h>
#include <stdlib.h>

#define STALE_INTERVALS 8
#define STALE_LEAST_NS (1024 * TH_NS_PER_S)
/* How fast a clock may have gone astray since its last update. */
#define DRIFT_PPM 50

int th_sync_text_number(const char *text, int64_t unit_ns, int64_t *ret_ns) {
    bool negative = *text == '-';
    int64_t digit_ns = unit_ns;
    int64_t ns = 0;
    size_t digits = 0;

    if (*text == '-' || *text == '+') {
        text++;
    }
    for (; *text >= '0' && *text <= '9'; text++, digits++) {
        if (ns > INT64_MAX / 10 / unit_ns - 1) {
            return -EBADMSG;
        }
        ns = ns * 10 + (*text - '0');
    }
    ns *= unit_ns;
    if (digits > 0 && *text == '.') {
        for (text++; *text >= '0' && *text <= '9'; text++) {
            digit_ns /= 10;
            ns += (*text - '0') * digit_ns;
        }
    }
    if (digits == 0 || *text != '\0') {
        return -EBADMSG;
    }
    *ret_ns = negative ? -ns : ns;
    return 0;
}

int th_sync_text_count(const char *text, unsigned max, unsigned *ret_count) {
    char *end = NULL;
    unsigned long count = strtoul(text, &end, 10);

    if (*text < '0' || *text > '9' || *end != '\0' || count > max) {
        return -EBADMSG;
    }
    *ret_count = (unsigned)count;
    return 0;
}

void th_sync_text_say(struct th_sync *sync, enum th_ternary synchronised, const char *reason) {
    sync->synchronised = synchronised;
    (void)snprintf(sync->reason, sizeof(sync->reason), "%s", reason);
}

void th_sync_text_say_age(struct th_sync *sync, enum th_ternary synchronised, const char *before,
                          const char *after) {
    char age[TH_DURATION_TEXT_SIZE];

    sync->synchronised = synchronised;
    (void)snprintf(sync->reason, sizeof(sync->reason), "%s %s %s", before,
                   th_duration_format(sync->age_ns, age), after);
}

struct th_sync th_sync_text_silent(enum th_sync_from from, const char *reason) {
    struct th_sync sync = {
        .from = from, .error_ns = -1, .age_ns = -1, .slew_ppm = TH_GAP_RATE_UNKNOWN_PPM};

    th_sync_text_say(&sync, TH_UNKNOWN, reason);
    return sync;
}

int64_t th_sync_text_sum(int64_t a_ns, int64_t b_ns, int64_t c_ns, int64_t d_ns) {
    th_int128 sum = (th_int128)a_ns + b_ns + c_ns + d_ns;

    return sum > INT64_MAX ? INT64_MAX : (int64_t)sum;
}

int64_t th_sync_text_drift(int64_t age_ns) {
    return age_ns / (1000000 / DRIFT_PPM) + 1;
}

bool th_sync_text_is_stale(int64_t age_ns, int64_t interval_ns) {
    return age_ns > STALE_LEAST_NS && age_ns > (th_int128)interval_ns * STALE_INTERVALS;
}
