/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Random numbers for tests that throw many cases at the code. The seed is printed, and can be given
 * in the environment as TH_TEST_SEED, so that a case that failed once can be had again.
 */
#ifndef TIMEHANDOFF_TESTS_SEEDED_H
#define TIMEHANDOFF_TESTS_SEEDED_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct seeded {
    uint64_t state;
};

/* Begins with the seed from the environment, else with one from the time of day; prints it. */
static inline struct seeded seeded_start(const char *test) {
    const char *given = getenv("TH_TEST_SEED");
    struct seeded seeded = {given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL)};

    printf("# %s: TH_TEST_SEED=%" PRIu64 "\n", test, seeded.state);
    return seeded;
}

/* How many random cases to try: as many as the test wants, or TH_TEST_CASES if that is fewer, for
 * runs where every case costs fifty times as much. */
static inline int seeded_cases(int wanted) {
    const char *given = getenv("TH_TEST_CASES");
    int most = given ? atoi(given) : wanted;

    return most > 0 && most < wanted ? most : wanted;
}

/* 64 random bits: a counter, well mixed (the finaliser is that of MurmurHash3). */
static inline uint64_t seeded_bits(struct seeded *seeded) {
    uint64_t x = seeded->state += UINT64_C(0x9E3779B97F4A7C15);

    x = (x ^ x >> 33) * UINT64_C(0xFF51AFD7ED558CCD);
    x = (x ^ x >> 33) * UINT64_C(0xC4CEB9FE1A85EC53);
    return x ^ x >> 33;
}

/* least to most, both included. */
static inline int64_t seeded_between(struct seeded *seeded, int64_t least, int64_t most) {
    uint64_t width = (uint64_t)most - (uint64_t)least + 1;

    return (int64_t)((uint64_t)least + (width ? seeded_bits(seeded) % width : seeded_bits(seeded)));
}

/* 0 to most, each order of magnitude equally likely, the ends more so than the rest. */
static inline int64_t seeded_magnitude(struct seeded *seeded, int64_t most) {
    int64_t limit = 1;
    int64_t orders = seeded_between(seeded, 0, 19);

    if (orders == 0) {
        return 0;
    }
    if (orders == 1) {
        return most;
    }
    for (int64_t i = 2; i < orders && limit < most / 10; i++) {
        limit *= 10;
    }
    return seeded_between(seeded, 0, limit * 10 < most && limit < most / 10 ? limit * 10 : most);
}

#endif
