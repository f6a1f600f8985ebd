/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Cristian's method over the guest agent. The guest read its clock somewhere between the call and
 * its reply, so against the middle of the two the reading is wrong by half the round trip at most,
 * however unequal the ways are; one microsecond more is the agent's resolution. A host clock that
 * moved meanwhile shows as a round trip that is longer or shorter on the raw clock; the difference
 * is added, whole. The caller may rely on: the true offset at the time of the reading lies within
 * the bound.
 */
#include "guest/burst.h"

/* The agent cuts the guest's clock to microseconds; so do most guests' own clocks. */
#define RESOLUTION_NS TH_NS_PER_US
/* What a guest says is taken up to here (the year 2116): so that differences can't overflow. */
#define GUEST_MAX_NS (INT64_C(1) << 62)
/* A disciplined clock is corrected by 500 ppm at most, and the crystal is off by less than that. */
#define HOST_RATE_PPM 1000
/* Below this the host's movement is no step but the noise of reading two clocks in a row. */
#define HOST_NOISE_NS TH_NS_PER_MS

static int64_t distance_ns(int64_t a_ns, int64_t b_ns) {
    return a_ns > b_ns ? a_ns - b_ns : b_ns - a_ns;
}

static int64_t tame_ns(int64_t guest_ns) {
    if (guest_ns < 0) {
        return 0;
    }
    return guest_ns < GUEST_MAX_NS ? guest_ns : GUEST_MAX_NS;
}

void th_burst_add(struct th_burst *burst, int64_t guest_ns, const struct th_now *sent,
                  const struct th_now *received, int64_t target_ns) {
    int64_t real_ns = received->real_ns - sent->real_ns;
    int64_t raw_ns = received->raw_ns - sent->raw_ns;
    int64_t round_trip_ns = real_ns > raw_ns ? real_ns : raw_ns;
    int64_t offset_ns = tame_ns(guest_ns) - (sent->real_ns + real_ns / 2);

    if (burst->right_mono_ns == 0 && distance_ns(offset_ns, 0) <= target_ns) {
        burst->right_mono_ns = received->mono_ns;
    }
    burst->n_readings++;
    if (burst->n_readings > 1 && round_trip_ns >= burst->round_trip_ns) {
        return;
    }
    burst->round_trip_ns = round_trip_ns;
    burst->best.offset_ns = offset_ns;
    burst->best.bound_ns = round_trip_ns / 2 + RESOLUTION_NS + distance_ns(real_ns, raw_ns);
    burst->best.at_mono_ns = received->mono_ns;
    burst->host_phase_ns = sent->real_ns - sent->raw_ns;
    burst->host_raw_ns = sent->raw_ns;
}

int64_t th_burst_host_moved_ns(const struct th_burst *before, const struct th_burst *after) {
    int64_t moved_ns = after->host_phase_ns - before->host_phase_ns;
    int64_t between_ns = distance_ns(after->host_raw_ns, before->host_raw_ns);
    int64_t explained_ns = HOST_NOISE_NS + between_ns / 1000000 * HOST_RATE_PPM +
                           before->round_trip_ns + after->round_trip_ns;

    return distance_ns(moved_ns, 0) > explained_ns ? moved_ns : 0;
}
