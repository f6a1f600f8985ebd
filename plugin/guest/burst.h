/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A burst of readings of a guest's clock, reduced to the one that says most: that of the least
 * round trip. Pure: readings in, one offset with its bound out. See burst.c for what the bound
 * holds.
 */
#ifndef TIMEHANDOFF_GUEST_BURST_H
#define TIMEHANDOFF_GUEST_BURST_H

#include "timehandoff/base.h"
#include "timehandoff/decision.h"

struct th_burst {
    unsigned n_readings;
    struct th_offset best;
    int64_t round_trip_ns; /* of the best */
    /* The host's real clock minus its raw one at the best, and that raw clock: by these the next
     * burst can tell whether it was the host's clock that moved. */
    int64_t host_phase_ns;
    int64_t host_raw_ns;
    int64_t right_mono_ns; /* end of the first reading within target; 0: none */
};

/* Adds one reading to a burst that began as all zero. target_ns is what counts as right. */
void th_burst_add(struct th_burst *burst, int64_t guest_ns, const struct th_now *sent,
                  const struct th_now *received, int64_t target_ns);

/*
 * How far the host's real clock ran away from its raw one between two bursts, or between a burst
 * and now (round trip 0): 0 if it can be explained by the rate that a synchronised host corrects
 * its clock with and by what the readings cannot tell.
 */
int64_t th_burst_host_moved_ns(const struct th_burst *before, const struct th_burst *after);

#endif
