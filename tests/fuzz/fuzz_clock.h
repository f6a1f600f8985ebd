/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * In place of plugin/base/now.c: clocks that a harness turns itself. It gives true time and what
 * its host's clock is ahead of that, and time passes only when it says so; whatever reads a clock
 * in between sees these, so that a run costs microseconds and repeats.
 */
#ifndef TH_FUZZ_CLOCK_H
#define TH_FUZZ_CLOCK_H

#include "timehandoff/base.h"

#define REAL_BASE_NS (INT64_C(1764000000) * TH_NS_PER_S)

static int64_t fuzz_true_ns(void);
static int64_t fuzz_host_ahead_ns(void);

struct th_now th_now(void) {
    int64_t t_ns = fuzz_true_ns();

    return (struct th_now){
        .real_ns = REAL_BASE_NS + t_ns + fuzz_host_ahead_ns(),
        .mono_ns = t_ns,
        .raw_ns = t_ns,
        .boot_ns = t_ns,
    };
}

void th_now_pair_start(int64_t *ret_real_ns, int64_t *ret_raw_ns) {
    *ret_real_ns = th_now().real_ns;
    *ret_raw_ns = fuzz_true_ns();
}

void th_now_pair_end(int64_t *ret_real_ns, int64_t *ret_raw_ns) {
    th_now_pair_start(ret_real_ns, ret_raw_ns);
}

int64_t th_now_mono_ns(void) {
    return fuzz_true_ns();
}

int64_t th_now_real_ns(void) {
    return th_now().real_ns;
}

int64_t th_now_precision_ns(void) {
    return 1;
}

#endif
