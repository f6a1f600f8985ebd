/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the kernel says of this host's clock (adjtimex, in its reading modes alone): asked where no
 * time daemon can be, and besides one, because only the kernel knows how fast the clock is being
 * slewed just now. Needs no privilege, blocks never, and pulls in nothing of the daemons' files.
 */
#include "clock/sync_daemon.h"

#include "base/wide.h"

#include <errno.h>
#include <sys/timex.h>

#define KERNEL_MAXERROR_LIMIT_US 16000000
#define KERNEL_MAXERROR_PER_S_US 500
#define KERNEL_TICK_US 10000
#define KERNEL_PPM_PER_TICK 100
#define KERNEL_FREQ_ONE_PPM 65536
#define KERNEL_LOOP_SHIFT 2
#define KERNEL_ADJTIME_PPM 500

static th_int128 magnitude(long value) {
    th_int128 wide = value;

    return wide < 0 ? -wide : wide;
}

static th_int128 divide_up(th_int128 dividend, th_int128 divisor) {
    return (dividend + divisor - 1) / divisor;
}

static th_int128 pending_offset_ns(const struct th_sync_kernel *kernel) {
    return magnitude(kernel->offset) * (kernel->status & STA_NANO ? 1 : TH_NS_PER_US);
}

bool th_sync_kernel_is_set(const struct th_sync_kernel *kernel) {
    return kernel->maxerror_us >= 0 && kernel->maxerror_us < KERNEL_MAXERROR_LIMIT_US;
}

int64_t th_sync_kernel_age(const struct th_sync_kernel *kernel) {
    if (!th_sync_kernel_is_set(kernel) || kernel->maxerror_us % KERNEL_MAXERROR_PER_S_US != 0) {
        return -1;
    }
    return kernel->maxerror_us / KERNEL_MAXERROR_PER_S_US * TH_NS_PER_S;
}

int64_t th_sync_kernel_pending(const struct th_sync_kernel *kernel) {
    th_int128 pending_ns = pending_offset_ns(kernel) + magnitude(kernel->adjtime_us) * TH_NS_PER_US;

    return pending_ns > INT64_MAX ? INT64_MAX : (int64_t)pending_ns;
}

/* The kernel's loop works off offset / 2^(2 + constant) every second. */
static th_int128 loop_ppm(const struct th_sync_kernel *kernel) {
    long constant = kernel->constant < 0 ? 0 : kernel->constant > 10 ? 10 : kernel->constant;

    return divide_up(pending_offset_ns(kernel),
                     (th_int128)TH_NS_PER_US << (KERNEL_LOOP_SHIFT + constant));
}

uint32_t th_sync_slew_ppm(const struct th_sync_kernel *kernel) {
    /* Tick and frequency are one correction in two parts, and may well cancel each other. */
    th_int128 rate =
        ((th_int128)kernel->tick_us - KERNEL_TICK_US) * KERNEL_PPM_PER_TICK * KERNEL_FREQ_ONE_PPM +
        kernel->freq_scaled_ppm;
    th_int128 ppm = divide_up(rate < 0 ? -rate : rate, KERNEL_FREQ_ONE_PPM) + loop_ppm(kernel);

    if (kernel->adjtime_us != 0) {
        ppm += KERNEL_ADJTIME_PPM;
    }
    return ppm > UINT32_MAX ? UINT32_MAX : (uint32_t)ppm;
}

struct th_sync th_sync_from_kernel(const struct th_sync_kernel *kernel) {
    struct th_sync sync = {.from = TH_SYNC_FROM_KERNEL,
                           .error_ns = -1,
                           .age_ns = -1,
                           .slew_ppm = th_sync_slew_ppm(kernel)};

    if (!th_sync_kernel_is_set(kernel)) {
        th_sync_text_say(&sync, TH_NO,
                         "no time daemon has set the kernel's clock for hours (adjtimex maxerror)");
        return sync;
    }
    sync.age_ns = th_sync_kernel_age(kernel);
    if (sync.age_ns >= 0) {
        th_sync_text_say_age(&sync, TH_YES, "some time daemon set the kernel's clock",
                             "ago (adjtimex)");
        return sync;
    }
    sync.error_ns =
        th_sync_text_sum(kernel->maxerror_us * TH_NS_PER_US, th_sync_kernel_pending(kernel), 0, 0);
    th_sync_text_say(&sync, TH_YES,
                     "some time daemon keeps the kernel's clock (adjtimex maxerror)");
    return sync;
}

int th_sync_ask_kernel(struct th_sync_kernel *ret_kernel) {
    struct timex clock = {.modes = 0};
    struct timex adjtime = {.modes = ADJ_OFFSET_SS_READ};

    if (adjtimex(&clock) < 0) {
        return -errno;
    }
    /* Some sandboxes allow only the plain read; nothing pending is then the best guess. */
    if (adjtimex(&adjtime) < 0) {
        adjtime.offset = 0;
    }
    *ret_kernel = (struct th_sync_kernel){
        .maxerror_us = clock.maxerror,
        .status = clock.status,
        .tick_us = clock.tick,
        .freq_scaled_ppm = clock.freq,
        .offset = clock.offset,
        .constant = clock.constant,
        .adjtime_us = adjtime.offset,
    };
    return 0;
}

int th_sync_read_kernel(struct th_sync *ret_sync) {
    struct th_sync_kernel kernel;
    int r = th_sync_ask_kernel(&kernel);

    if (r == 0) {
        *ret_sync = th_sync_from_kernel(&kernel);
    }
    return r;
}
