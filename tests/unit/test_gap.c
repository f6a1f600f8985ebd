/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tests of the gap arithmetic. The property test simulates two clocks and a network in picoseconds
 * of true time, with everything that may go wrong between them, and holds the result against the
 * truth that only a simulation knows; the others fix single cases and the conversions.
 */
#include "timehandoff/gap.h"

#include "base/wide.h"
#include "seeded.h"
#include "timehandoff/base.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define CASES 100000
#define PS_PER_NS 1000
#define ERA_CHANGE_NS (INT64_C(2085978496) * TH_NS_PER_S)
#define YEAR_NS (INT64_C(31557600) * TH_NS_PER_S)

/* A clock: an offset to true time, a rate until an instant, another rate after it, a step there. */
struct clock {
    th_int128 start_ps;
    int64_t rate_ppb_before;
    int64_t rate_ppb_after;
    int64_t change_ps;
    th_int128 step_ps;
    int64_t resolution_ns;
};

static th_int128 clock_at(const struct clock *clock, int64_t true_ps) {
    bool after = true_ps > clock->change_ps;
    int64_t first_ps = after ? clock->change_ps : true_ps;
    th_int128 reading = clock->start_ps + true_ps;

    reading += (th_int128)first_ps * clock->rate_ppb_before / 1000000000;
    if (after) {
        reading += (th_int128)(true_ps - first_ps) * clock->rate_ppb_after / 1000000000;
        reading += clock->step_ps;
    }
    return reading;
}

/* What a program reads: cut to the clock's resolution. */
static int64_t read_ns(const struct clock *clock, int64_t true_ps) {
    th_int128 unit_ps = (th_int128)clock->resolution_ns * PS_PER_NS;
    th_int128 reading = clock_at(clock, true_ps);
    th_int128 rest = reading % unit_ps;

    return (int64_t)((reading - (rest < 0 ? rest + unit_ps : rest)) / PS_PER_NS);
}

/* One simulated exchange. */
struct scene {
    struct clock source, destination, raw;
    int64_t t1_ps, t2_ps, t3_ps, t4_ps;
    int64_t raw_start_ps, raw_end_ps; /* when the raw clock was read, around the others */
    int64_t rate_ppm;                 /* that the source admits to */
};

static int64_t random_resolution_ns(struct seeded *seeded) {
    static const int64_t resolutions_ns[] = {1, 1, 1, 10, 30, 280, 1000, 4000000};

    return resolutions_ns[seeded_between(seeded, 0, TH_ELEMENTS(resolutions_ns) - 1)];
}

/* A rate of up to limit, often the limit itself. */
static int64_t random_rate_ppb(struct seeded *seeded, int64_t limit_ppb) {
    switch (seeded_between(seeded, 0, 3)) {
    case 0: return limit_ppb;
    case 1: return -limit_ppb;
    case 2: return 0;
    default: return seeded_between(seeded, -limit_ppb, limit_ppb);
    }
}

static int64_t random_date_ns(struct seeded *seeded) {
    switch (seeded_between(seeded, 0, 2)) {
    case 0: return ERA_CHANGE_NS + seeded_between(seeded, -2 * TH_NS_PER_S, 2 * TH_NS_PER_S);
    case 1: return seeded_between(seeded, 20 * YEAR_NS, 100 * YEAR_NS);
    default: return ERA_CHANGE_NS + seeded_between(seeded, -TH_NS_PER_MS, TH_NS_PER_MS);
    }
}

static int64_t random_gap_ns(struct seeded *seeded) {
    int64_t gap_ns = seeded_magnitude(seeded, 60 * YEAR_NS);

    return seeded_bits(seeded) & 1 ? gap_ns : -gap_ns;
}

/* The destination is slewed one way by up to 10 %, from or until some instant, or stepped. */
static void move_destination(struct seeded *seeded, struct clock *clock) {
    int64_t rate_ppb = random_rate_ppb(seeded, 100000000);
    int64_t step_ps = seeded_magnitude(seeded, INT64_C(3600) * TH_NS_PER_S * PS_PER_NS);

    switch (seeded_between(seeded, 0, 3)) {
    case 0: break;
    case 1: clock->rate_ppb_before = rate_ppb; break;
    case 2: clock->rate_ppb_after = rate_ppb; break;
    default:
        clock->step_ps = seeded_bits(seeded) & 1 ? step_ps : -step_ps;
        clock->rate_ppb_after = clock->step_ps < 0 ? -llabs(rate_ppb) : llabs(rate_ppb);
    }
}

static struct scene random_scene(struct seeded *seeded) {
    static const int64_t rates_ppm[] = {0, 1, 20, 100, 500, 10000, 100000, 100000};
    int64_t most_ps = TH_NS_PER_S * PS_PER_NS;
    int64_t destination_ns = random_date_ns(seeded);
    struct scene s = {.rate_ppm = rates_ppm[seeded_between(seeded, 0, TH_ELEMENTS(rates_ppm) - 1)]};

    s.t1_ps = seeded_between(seeded, 1, most_ps);
    s.t2_ps = s.t1_ps + seeded_magnitude(seeded, most_ps);
    s.t3_ps = s.t2_ps + seeded_magnitude(seeded, most_ps);
    s.t4_ps = s.t3_ps + seeded_magnitude(seeded, most_ps);
    s.raw_start_ps = s.t1_ps - seeded_magnitude(seeded, s.t1_ps);
    s.raw_end_ps = s.t4_ps + seeded_magnitude(seeded, TH_NS_PER_MS * PS_PER_NS);
    if (seeded_bits(seeded) & 1) {
        s.raw_start_ps = s.t1_ps;
        s.raw_end_ps = s.t4_ps;
    }

    s.destination.start_ps = (th_int128)destination_ns * PS_PER_NS;
    s.destination.resolution_ns = random_resolution_ns(seeded);
    s.destination.change_ps = seeded_between(seeded, s.t1_ps, s.t4_ps);
    move_destination(seeded, &s.destination);

    s.source.start_ps = s.destination.start_ps + (th_int128)random_gap_ns(seeded) * PS_PER_NS;
    s.source.start_ps += seeded_between(seeded, 0, PS_PER_NS);
    s.source.resolution_ns = random_resolution_ns(seeded);
    s.source.change_ps = seeded_between(seeded, s.t1_ps, s.t4_ps);
    s.source.rate_ppb_before = random_rate_ppb(seeded, s.rate_ppm * 1000);
    s.source.rate_ppb_after = random_rate_ppb(seeded, s.rate_ppm * 1000);

    s.raw.resolution_ns = s.destination.resolution_ns;
    s.raw.start_ps = seeded_between(seeded, 0, most_ps);
    s.raw.change_ps = most_ps * 10;
    s.raw.rate_ppb_before = random_rate_ppb(seeded, TH_GAP_RATE_CRYSTAL_PPM * 1000);
    return s;
}

static struct th_exchange exchange_of(const struct scene *s) {
    return (struct th_exchange){
        .t1 = th_ntp64_from_unix_ns(read_ns(&s->destination, s->t1_ps)),
        .t2 = th_ntp64_from_unix_ns(read_ns(&s->source, s->t2_ps)),
        .t3 = th_ntp64_from_unix_ns(read_ns(&s->source, s->t3_ps)),
        .t4 = th_ntp64_from_unix_ns(read_ns(&s->destination, s->t4_ps)),
        .raw_ns = read_ns(&s->raw, s->raw_end_ps) - read_ns(&s->raw, s->raw_start_ps),
        .local_precision_ns = s->destination.resolution_ns,
        .remote_precision_ns = s->source.resolution_ns,
        .remote_rate_ppm = s->rate_ppm,
    };
}

/* How far the truth at that instant is from the offset, as a share of the bound; over 1 is wrong.
 */
static double share_of_bound(const struct scene *s, const struct th_gap *gap, int64_t true_ps) {
    th_int128 truth_ps = clock_at(&s->source, true_ps) - clock_at(&s->destination, true_ps);
    th_int128 error_ps = truth_ps - (th_int128)gap->offset_ns * PS_PER_NS;

    return fabs((double)error_ps) / ((double)gap->bound_ns * PS_PER_NS);
}

/* The most that the bound may be, computed another way: from the readings, in floating point. */
static double fair_bound_ns(const struct scene *s) {
    double real_ns =
        (double)(read_ns(&s->destination, s->t4_ps) - read_ns(&s->destination, s->t1_ps));
    double remote_ns = (double)(read_ns(&s->source, s->t3_ps) - read_ns(&s->source, s->t2_ps));
    double raw_ns = (double)(read_ns(&s->raw, s->raw_end_ps) - read_ns(&s->raw, s->raw_start_ps));
    double rate = (double)(s->rate_ppm + TH_GAP_RATE_CRYSTAL_PPM) * 1e-6;

    return fmax(raw_ns - remote_ns, 0) / 2 + fabs(real_ns - raw_ns) + raw_ns * 1.0002 * rate +
           2 * (double)s->destination.resolution_ns + (double)s->source.resolution_ns + 5;
}

static void y_truth_lies_within_the_bound_in_every_case(void **state) {
    struct seeded seeded = seeded_start("gap");
    double worst = 0;

    (void)state;
    for (int i = 0; i < CASES; i++) {
        struct scene s = random_scene(&seeded);
        struct th_exchange exchange = exchange_of(&s);
        int64_t instants_ps[] = {s.t1_ps,
                                 s.t2_ps,
                                 s.t3_ps,
                                 s.t4_ps,
                                 s.destination.change_ps,
                                 s.destination.change_ps + 1,
                                 seeded_between(&seeded, s.t1_ps, s.t4_ps)};
        struct th_gap gap;

        assert_int_equal(th_gap_compute(&exchange, &gap), 0);
        assert_true(gap.bound_ns > 0);
        assert_true(gap.delay_ns >= 0);
        for (size_t k = 0; k < TH_ELEMENTS(instants_ps); k++) {
            int64_t at_ps = instants_ps[k] > s.t4_ps ? s.t4_ps : instants_ps[k];
            double share = share_of_bound(&s, &gap, at_ps);

            if (share > 1) {
                fail_msg("case %d, instant %zu: off by %.9f of the bound %" PRId64 " ns", i, k,
                         share, gap.bound_ns);
            }
            worst = fmax(worst, share);
        }
        if ((double)gap.bound_ns > fair_bound_ns(&s)) {
            fail_msg("case %d: bound %" PRId64 " ns is needlessly wide, %.1f ns would do", i,
                     gap.bound_ns, fair_bound_ns(&s));
        }
    }
    /* Were no case near the edge, the test would not try the bound. */
    printf("# gap: the worst of %d cases used %.6f of its bound\n", CASES, worst);
    assert_true(worst > 0.98);
}

/* ---- single cases ---- */

static const int64_t noon_ns = INT64_C(1750000000) * TH_NS_PER_S;

/* An exchange of two perfect clocks that are gap_ns apart. */
static struct th_exchange plain_exchange(int64_t gap_ns, int64_t there_ns, int64_t inside_ns,
                                         int64_t back_ns) {
    return (struct th_exchange){
        .t1 = th_ntp64_from_unix_ns(noon_ns),
        .t2 = th_ntp64_from_unix_ns(noon_ns + gap_ns + there_ns),
        .t3 = th_ntp64_from_unix_ns(noon_ns + gap_ns + there_ns + inside_ns),
        .t4 = th_ntp64_from_unix_ns(noon_ns + there_ns + inside_ns + back_ns),
        .raw_ns = there_ns + inside_ns + back_ns,
        .local_precision_ns = 1,
        .remote_precision_ns = 1,
    };
}

static void y_symmetric_delays_give_the_gap_itself(void **state) {
    struct th_exchange exchange = plain_exchange(5 * TH_NS_PER_S, 40000, 10000, 40000);
    struct th_gap gap;

    (void)state;
    assert_int_equal(th_gap_compute(&exchange, &gap), 0);
    assert_in_range(gap.offset_ns, 5 * TH_NS_PER_S - 1, 5 * TH_NS_PER_S + 1);
    assert_in_range(gap.delay_ns, 79999, 80001);
    /* 40 us of delay, 3 ns of precision, 100 ppm of 90 us, and the rounding. */
    assert_in_range(gap.bound_ns, 40000, 40020);
}

static void y_a_source_behind_gives_a_negative_gap(void **state) {
    struct th_exchange exchange = plain_exchange(-3 * YEAR_NS, 1000, 0, 1000);
    struct th_gap gap;

    (void)state;
    assert_int_equal(th_gap_compute(&exchange, &gap), 0);
    assert_true(llabs(gap.offset_ns + 3 * YEAR_NS) <= 1);
}

static void y_a_step_of_the_destination_widens_the_bound_by_it(void **state) {
    struct th_exchange exchange = plain_exchange(0, 40000, 10000, 40000);
    struct th_gap gap;

    (void)state;
    exchange.t4 = th_ntp64_from_unix_ns(noon_ns + 90000 - TH_NS_PER_S);
    assert_int_equal(th_gap_compute(&exchange, &gap), 0);
    assert_in_range(gap.bound_ns, TH_NS_PER_S, TH_NS_PER_S + 50000);
    assert_in_range(gap.delay_ns, 79999, 80001);
}

static void y_a_fast_source_may_seem_slower_than_the_exchange(void **state) {
    struct th_exchange exchange = plain_exchange(0, 0, 105000, 0);
    struct th_gap gap;

    (void)state;
    exchange.raw_ns = 100000;
    exchange.t4 = th_ntp64_from_unix_ns(noon_ns + 100000);
    exchange.remote_rate_ppm = TH_GAP_RATE_UNKNOWN_PPM;
    assert_int_equal(th_gap_compute(&exchange, &gap), 0);
    assert_int_equal(gap.delay_ns, 0);
    assert_in_range(gap.bound_ns, 10000, 10100);
}

static void n_a_source_slower_than_the_exchange_is_impossible(void **state) {
    struct th_exchange exchange = plain_exchange(0, 0, 120000, 0);
    struct th_gap gap = {.offset_ns = 42};

    (void)state;
    exchange.raw_ns = 100000;
    exchange.remote_rate_ppm = TH_GAP_RATE_UNKNOWN_PPM;
    assert_int_equal(th_gap_compute(&exchange, &gap), -EPROTO);
    assert_int_equal(gap.offset_ns, 42);
}

static void n_a_source_that_answers_before_it_was_asked(void **state) {
    struct th_exchange exchange = plain_exchange(0, 50000, -5000, 50000);
    struct th_gap gap;

    (void)state;
    assert_int_equal(th_gap_compute(&exchange, &gap), -EPROTO);
}

static void n_negative_fields(void **state) {
    struct th_gap gap;

    (void)state;
    for (int i = 0; i < 4; i++) {
        struct th_exchange exchange = plain_exchange(0, 1000, 0, 1000);
        int64_t *fields[] = {&exchange.raw_ns, &exchange.local_precision_ns,
                             &exchange.remote_precision_ns, &exchange.remote_rate_ppm};

        *fields[i] = -1;
        assert_int_equal(th_gap_compute(&exchange, &gap), -EPROTO);
    }
}

static void y_extreme_fields_do_not_overflow(void **state) {
    static const uint64_t stamps[] = {0, 1, UINT64_MAX, UINT64_C(1) << 63, (UINT64_C(1) << 63) - 1};
    static const int64_t numbers[] = {0, 1, INT64_MAX};
    size_t computed = 0;

    (void)state;
    for (size_t i = 0; i < 625; i++) {
        for (size_t k = 0; k < 81; k++) {
            struct th_exchange exchange = {
                .t1 = stamps[i % 5],
                .t2 = stamps[i / 5 % 5],
                .t3 = stamps[i / 25 % 5],
                .t4 = stamps[i / 125],
                .raw_ns = numbers[k % 3],
                .local_precision_ns = numbers[k / 3 % 3],
                .remote_precision_ns = numbers[k / 9 % 3],
                .remote_rate_ppm = numbers[k / 27] / 2,
            };
            struct th_gap gap;

            if (th_gap_compute(&exchange, &gap) == 0) {
                assert_true(gap.bound_ns > 0);
                computed++;
            }
        }
    }
    assert_true(computed > 1000);
}

/* ---- conversions ---- */

static void y_known_instants_convert(void **state) {
    (void)state;
    assert_int_equal(th_ntp64_from_unix_ns(0), UINT64_C(2208988800) << 32);
    assert_int_equal(th_ntp64_from_unix_ns(TH_NS_PER_S / 2),
                     UINT64_C(2208988800) << 32 | UINT64_C(0x80000000));
    assert_int_equal(th_ntp64_from_unix_ns(-1), (UINT64_C(2208988799) << 32) + 0xFFFFFFFB);
    /* 2036-02-07 06:28:16 UTC. */
    assert_int_equal(th_ntp64_from_unix_ns(ERA_CHANGE_NS), 0);
    assert_int_equal(th_ntp64_from_unix_ns(ERA_CHANGE_NS - TH_NS_PER_S), UINT64_C(0xFFFFFFFF)
                                                                             << 32);
}

/* ---- several samples ---- */

static void y_better_is_the_smaller_bound(void **state) {
    struct th_gap a = {.offset_ns = 9, .bound_ns = 10};
    struct th_gap b = {.offset_ns = 0, .bound_ns = 11};

    (void)state;
    assert_true(th_gap_better(&a, &b));
    assert_false(th_gap_better(&b, &a));
    assert_false(th_gap_better(&a, &a));
}

static void y_samples_agree_where_they_overlap(void **state) {
    struct th_gap touching[] = {{100, 10, 0}, {121, 11, 0}};
    struct th_gap apart[] = {{100, 10, 0}, {122, 11, 0}};
    struct th_gap ends[] = {{INT64_MIN, INT64_MAX, 0}, {INT64_MAX, INT64_MAX, 0}};
    struct th_gap gap;

    (void)state;
    assert_int_equal(th_gap_combine(touching, 2, &gap), 2);
    assert_int_equal(th_gap_combine(apart, 2, &gap), 1);
    assert_int_equal(th_gap_combine(ends, 2, &gap), 1);
}

static void y_agreeing_samples_combine_to_the_best(void **state) {
    struct th_gap samples[] = {{0, 100, 200}, {5, 10, 20}, {-3, 50, 100}};
    struct th_gap gap;

    (void)state;
    assert_int_equal(th_gap_combine(samples, 3, &gap), 3);
    assert_int_equal(gap.offset_ns, 5);
    assert_int_equal(gap.bound_ns, 10);
    assert_int_equal(gap.delay_ns, 20);
}

static void y_a_contradiction_widens_the_result(void **state) {
    struct th_gap samples[] = {{0, 10, 20}, {1000, 20, 40}, {1, 30, 60}};
    struct th_gap gap;

    (void)state;
    assert_int_equal(th_gap_combine(samples, 3, &gap), 2);
    assert_true(gap.offset_ns - gap.bound_ns <= -10);
    assert_true(gap.offset_ns + gap.bound_ns >= 1020);
    assert_in_range(gap.bound_ns, 515, 517);
}

int main(void) {
    const struct CMUnitTest bound[] = {
        cmocka_unit_test(y_truth_lies_within_the_bound_in_every_case),
        cmocka_unit_test(y_symmetric_delays_give_the_gap_itself),
        cmocka_unit_test(y_a_source_behind_gives_a_negative_gap),
        cmocka_unit_test(y_a_step_of_the_destination_widens_the_bound_by_it),
        cmocka_unit_test(y_a_fast_source_may_seem_slower_than_the_exchange),
        cmocka_unit_test(n_a_source_slower_than_the_exchange_is_impossible),
        cmocka_unit_test(n_a_source_that_answers_before_it_was_asked),
        cmocka_unit_test(n_negative_fields),
        cmocka_unit_test(y_extreme_fields_do_not_overflow),
    };
    const struct CMUnitTest conversion[] = {
        cmocka_unit_test(y_known_instants_convert),
    };
    const struct CMUnitTest samples[] = {
        cmocka_unit_test(y_better_is_the_smaller_bound),
        cmocka_unit_test(y_samples_agree_where_they_overlap),
        cmocka_unit_test(y_agreeing_samples_combine_to_the_best),
        cmocka_unit_test(y_a_contradiction_widens_the_result),
    };

    return cmocka_run_group_tests_name("gap bound", bound, NULL, NULL) +
           cmocka_run_group_tests_name("ntp64 conversion", conversion, NULL, NULL) +
           cmocka_run_group_tests_name("several samples", samples, NULL, NULL);
}
