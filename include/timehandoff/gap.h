/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Gap arithmetic: four timestamps of one NTP exchange in, offset and proven bound out. Pure
 * numbers; no socket, no clock, no policy.
 *
 * The gap is source minus destination: positive means that the source's clock is ahead. The
 * destination asks, so it is the NTP client and owns T1 and T4; the source owns T2 and T3 (RFC 5905
 * section 8, figure 16).
 *
 * The promise: if each clock was read no later (T1, T3) and no earlier (T2, T4) than the packet
 * passed, the true gap at every instant of the exchange lies in offset_ns +- bound_ns, whatever the
 * asymmetry of the network, and whether or not the destination's clock is slewed or stepped
 * meanwhile. What it takes for granted: the source's clock keeps within remote_rate_ppm (a step of
 * it inside one exchange can't be seen, only in that the next sample disagrees); the destination's
 * raw clock keeps within TH_GAP_RATE_CRYSTAL_PPM; and the destination's clock is not pushed one way
 * and back again within one exchange.
 */
#ifndef TIMEHANDOFF_GAP_H
#define TIMEHANDOFF_GAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An NTP timestamp: seconds since 1900 modulo 2^32 and 2^-32 s fractions (RFC 5905 section 6).
 * Only differences modulo 2^64 are ever used, so eras (next: 2036-02-07) do not matter while the
 * hosts are less than 68 years apart. */
typedef uint64_t th_ntp64;

/* Nanoseconds since 1970 to NTP, rounded down to 2^-32 s; any era. */
th_ntp64 th_ntp64_from_unix_ns(int64_t unix_ns);

/* One exchange as seen by the asking host. */
struct th_exchange {
    th_ntp64 t1;                 /* destination's clock just before sending */
    th_ntp64 t2;                 /* source's clock when the question had arrived */
    th_ntp64 t3;                 /* source's clock just before answering */
    th_ntp64 t4;                 /* destination's clock when the answer had arrived */
    int64_t raw_ns;              /* T1 to T4 on the destination's raw monotonic clock, >= 0 */
    int64_t local_precision_ns;  /* resolution of the destination's clock reading, >= 0 */
    int64_t remote_precision_ns; /* of the source's, >= 0 */
    int64_t remote_rate_ppm;     /* most that the source's clock may run off true rate, >= 0 */
};

struct th_gap {
    int64_t offset_ns; /* source minus destination */
    int64_t bound_ns;  /* half-width that holds the truth, > 0 */
    int64_t delay_ns;  /* round trip without the source's own time, on the raw clock; >= 0 */
};

/* What the source's clock may do where it does not tell: the kernel's limit on slewing, 10 %
 * (adjtimex tick 9000..11000). Costs a tenth of the round trip in the bound and keeps it true. */
#define TH_GAP_RATE_UNKNOWN_PPM 100000
/* For a source that says how fast it is being slewed: crystal error on top of that. */
#define TH_GAP_RATE_CRYSTAL_PPM 100

/*
 * Computes one gap. With the exchange's raw interval d, and the source's own time p = T3-T2:
 *
 *   offset = ((T2-T1) + (T3-T4)) / 2
 *   delay  = d - p, or 0 where a fast source makes p the longer one
 *   bound  = delay/2 + both precisions + |(T4-T1) - d| + (remote rate + crystal) * d, rounded up
 *
 * The local precision counts twice, since the destination reads two clocks.
 * The delay is taken from the raw clock because a step of the destination's own clock would make
 * T4-T1 meaningless; |(T4-T1) - d| then is what that clock was moved by. Bounds beyond INT64_MAX
 * are cut to it. Returns 0, or -EPROTO if the exchange is impossible: the source took longer than
 * the whole exchange, or less than no time, by more than the terms allow; or a field is negative.
 */
int th_gap_compute(const struct th_exchange *exchange, struct th_gap *ret_gap);

/* True if a is the better sample: the smaller bound. */
bool th_gap_better(const struct th_gap *a, const struct th_gap *b);

/*
 * What n samples (at least one) of one pair of clocks say together: the best one, and, if others
 * disagree with it, as intervals that do not touch (a clock was stepped between them, or somebody
 * lies), an interval wide enough to hold those as well. Returns the number of samples that agree
 * with the best, itself included.
 */
size_t th_gap_combine(const struct th_gap *samples, size_t n, struct th_gap *ret_gap);

#endif
