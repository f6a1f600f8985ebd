/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The one file that reads clocks. Everything else is handed the time as an argument, so that tests
 * can run a year in a millisecond. The callers may rely on these never failing: the clocks asked
 * for exist on every kernel since 2.6.39, and a read of one that does not would be a bug worth a
 * crash.
 */
#include "timehandoff/base.h"

#include <stdlib.h>
#include <time.h>

/* Steps looked at for the precision. Few, because each costs two readings. */
#define PRECISION_STEPS 16
/* Where a clock stands still for so long, its readings are no use below this anyway. */
#define PRECISION_WORST_NS TH_NS_PER_MS

static int64_t read_ns(clockid_t clock) {
    struct timespec time;

    if (clock_gettime(clock, &time) != 0) {
        abort();
    }
    return (int64_t)time.tv_sec * TH_NS_PER_S + time.tv_nsec;
}

struct th_now th_now(void) {
    struct th_now now;

    now.real_ns = read_ns(CLOCK_REALTIME);
    now.mono_ns = read_ns(CLOCK_MONOTONIC);
    now.raw_ns = read_ns(CLOCK_MONOTONIC_RAW);
    now.boot_ns = read_ns(CLOCK_BOOTTIME);
    return now;
}

void th_now_pair_start(int64_t *ret_real_ns, int64_t *ret_raw_ns) {
    *ret_raw_ns = read_ns(CLOCK_MONOTONIC_RAW);
    *ret_real_ns = read_ns(CLOCK_REALTIME);
}

void th_now_pair_end(int64_t *ret_real_ns, int64_t *ret_raw_ns) {
    *ret_real_ns = read_ns(CLOCK_REALTIME);
    *ret_raw_ns = read_ns(CLOCK_MONOTONIC_RAW);
}

int64_t th_now_mono_ns(void) {
    return read_ns(CLOCK_MONOTONIC);
}

int64_t th_now_real_ns(void) {
    return read_ns(CLOCK_REALTIME);
}

int64_t th_now_precision_ns(void) {
    int64_t least_ns = PRECISION_WORST_NS;
    int64_t start_ns = read_ns(CLOCK_MONOTONIC);
    int64_t last_ns = read_ns(CLOCK_REALTIME);

    for (int steps = 0; steps < PRECISION_STEPS;) {
        int64_t next_ns = read_ns(CLOCK_REALTIME);

        if (next_ns > last_ns && next_ns - last_ns < least_ns) {
            least_ns = next_ns - last_ns;
        }
        if (next_ns != last_ns) {
            steps++;
        } else if (read_ns(CLOCK_MONOTONIC) - start_ns > PRECISION_WORST_NS) {
            break;
        }
        last_ns = next_ns;
    }
    return least_ns;
}
