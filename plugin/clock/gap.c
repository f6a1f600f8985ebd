/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Gap arithmetic. The offset is exact to half a 2^-32 s, everything that goes into the bound is
 * rounded up, and no intermediate can overflow: timestamps are subtracted as integers modulo 2^64
 * first, the rest happens in 128 bits.
 *
 * Why the bound holds. Let the readings happen at true instants t1 <= t2 <= t3 <= t4, let I =
 * t4-t1, let the source's clock run within a rate r of true time, and let the destination's clock
 * be moved by B between t1 and t4, in one direction. At any instant of the exchange
 *
 *   gap - offset  <=  ((t2-t1) + (t4-t3))/2  +  |B|/2  +  r ((|t-t2| + |t-t3|)/2)
 *
 * in absolute value: the first term is the network's possible asymmetry, the others are what each
 * clock moved since it was read. The network's share is (I - (t3-t2))/2, and t3-t2 differs from the
 * T3-T2 that we are told by at most r (t3-t2); so
 *
 *   bound  =  (I - (T3-T2))/2  +  |B|/2  +  r I
 *
 * (the two rate terms add up to t3-t1 or t4-t2 at worst, which is no more than I). The raw clock
 * measures I to within its crystal's error c: I <= d + cI. And |B| <= |(T4-T1) - d| + cI. If the
 * raw readings enclose the others by a stretch s, d is too long by s, which can hide at most s of
 * B, and s/2 in the first term pays for the s/2 hidden in the second. Each reading is cut to its
 * clock's resolution: that shifts either edge of the interval by at most the source's and twice the
 * destination's, whose raw clock is read as well.
 */
#include "timehandoff/gap.h"

#include "base/wide.h"
#include "timehandoff/base.h"

#include <errno.h>

#define NTP_FRACTION_BITS 32
#define UNIX_EPOCH_IN_NTP_S UINT64_C(2208988800)
#define PPM INT64_C(1000000)
/* Four stamps cut to 2^-32 s, the halving and the final rounding make less than this. */
#define ROUNDING_NS 2

/* Divides, rounding towards minus infinity; the divisor is positive. */
static th_int128 divide_down(th_int128 dividend, th_int128 divisor) {
    th_int128 quotient = dividend / divisor;

    return dividend % divisor < 0 ? quotient - 1 : quotient;
}

static th_int128 divide_up(th_int128 dividend, th_int128 divisor) {
    return -divide_down(-dividend, divisor);
}

static int64_t cut_to_int64(th_int128 value) {
    if (value > INT64_MAX) {
        return INT64_MAX;
    }
    return value < INT64_MIN ? INT64_MIN : (int64_t)value;
}

/* later - earlier in units of 2^-32 s; right while they are less than 68 years apart. */
static int64_t stamp_difference(th_ntp64 later, th_ntp64 earlier) {
    uint64_t difference = later - earlier;

    return difference > INT64_MAX ? -(int64_t)(~difference) - 1 : (int64_t)difference;
}

/* A number of 2^-(32+halvings) s in ns, to the nearest. */
static int64_t units_to_ns(th_int128 units, unsigned halvings) {
    th_int128 unit = (th_int128)1 << (NTP_FRACTION_BITS + halvings);

    return cut_to_int64(divide_down(units * TH_NS_PER_S + unit / 2, unit));
}

th_ntp64 th_ntp64_from_unix_ns(int64_t unix_ns) {
    int64_t seconds = (int64_t)divide_down(unix_ns, TH_NS_PER_S);
    uint64_t fraction_ns = (uint64_t)(unix_ns - seconds * TH_NS_PER_S);
    uint64_t fraction = (fraction_ns << NTP_FRACTION_BITS) / (uint64_t)TH_NS_PER_S;

    return ((uint64_t)seconds + UNIX_EPOCH_IN_NTP_S) << NTP_FRACTION_BITS | fraction;
}

/* The part that a rate of ppm makes of an interval, rounded up. */
static th_int128 rate_share_ns(th_int128 interval_ns, int64_t ppm) {
    return divide_up(interval_ns * ppm, PPM);
}

int th_gap_compute(const struct th_exchange *exchange, struct th_gap *ret_gap) {
    const struct th_exchange *x = exchange;
    int64_t there = stamp_difference(x->t2, x->t1);
    int64_t back = stamp_difference(x->t3, x->t4);
    int64_t real_ns = units_to_ns(stamp_difference(x->t4, x->t1), 0);
    int64_t remote_ns = units_to_ns(stamp_difference(x->t3, x->t2), 0);
    th_int128 longest_ns, drift_ns, terms_ns, delay_ns, moved_ns;

    if (x->raw_ns < 0 || x->local_precision_ns < 0 || x->remote_precision_ns < 0 ||
        x->remote_rate_ppm < 0) {
        return -EPROTO;
    }
    /* The longest true interval that the raw clock can have shown as raw_ns. */
    longest_ns = divide_up((th_int128)x->raw_ns * PPM, PPM - TH_GAP_RATE_CRYSTAL_PPM);
    drift_ns = rate_share_ns(longest_ns, x->remote_rate_ppm + TH_GAP_RATE_CRYSTAL_PPM);
    terms_ns =
        (th_int128)x->local_precision_ns * 2 + x->remote_precision_ns + drift_ns + ROUNDING_NS;
    delay_ns = (th_int128)x->raw_ns - remote_ns;
    if (delay_ns < -terms_ns || remote_ns < -(th_int128)x->remote_precision_ns - ROUNDING_NS) {
        return -EPROTO;
    }
    if (delay_ns < 0) {
        delay_ns = 0;
    }
    moved_ns = (th_int128)real_ns - x->raw_ns;
    ret_gap->offset_ns = units_to_ns((th_int128)there + back, 1);
    ret_gap->delay_ns = cut_to_int64(delay_ns);
    ret_gap->bound_ns =
        cut_to_int64(divide_up(delay_ns, 2) + (moved_ns < 0 ? -moved_ns : moved_ns) + terms_ns);
    return 0;
}

bool th_gap_better(const struct th_gap *a, const struct th_gap *b) {
    return a->bound_ns < b->bound_ns;
}

/* Both may be true of one pair of clocks. */
static bool overlap(const struct th_gap *a, const struct th_gap *b) {
    th_int128 apart = (th_int128)a->offset_ns - b->offset_ns;

    return (apart < 0 ? -apart : apart) <= (th_int128)a->bound_ns + b->bound_ns;
}

size_t th_gap_combine(const struct th_gap *samples, size_t n, struct th_gap *ret_gap) {
    const struct th_gap *best = &samples[0];
    th_int128 low, high;
    size_t agree = 0;

    for (size_t i = 1; i < n; i++) {
        if (th_gap_better(&samples[i], best)) {
            best = &samples[i];
        }
    }
    low = (th_int128)best->offset_ns - best->bound_ns;
    high = (th_int128)best->offset_ns + best->bound_ns;
    for (size_t i = 0; i < n; i++) {
        th_int128 sample_low = (th_int128)samples[i].offset_ns - samples[i].bound_ns;
        th_int128 sample_high = (th_int128)samples[i].offset_ns + samples[i].bound_ns;

        if (overlap(&samples[i], best)) {
            agree++;
            continue;
        }
        low = sample_low < low ? sample_low : low;
        high = sample_high > high ? sample_high : high;
    }
    ret_gap->delay_ns = best->delay_ns;
    ret_gap->offset_ns = best->offset_ns;
    ret_gap->bound_ns = best->bound_ns;
    if (agree < n) {
        ret_gap->offset_ns = cut_to_int64(divide_down(low + high, 2));
        ret_gap->bound_ns = cut_to_int64(divide_up(high - low, 2) + 1);
    }
    return agree;
}
