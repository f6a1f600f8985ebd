/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The handoff machine where it must hold back: policy, direction, the late path, a host whose own
 * clock moves, readings that can't tell, and handoffs that become void half way. See handoff_sim.h
 * for the host, guest and agent that it is played against.
 */
#include "handoff_sim.h"

#include <string.h>

#include "guest/burst.h"
#include "seeded.h"

/* ---- what must not be stepped ---- */

static void test_off_is_not_even_read(void **state) {
    struct sim sim;

    (void)state;
    sim_init(&sim, -3 * S);
    sim.config.policy.mode = TH_HANDOFF_OFF;
    assert_outcome(sim_run(&sim), TH_HANDOFF_REPORTED);
    assert_int_equal(sim.get_calls, 0);
    sim_end(&sim);
}

static void test_backward(void **state) {
    struct sim sim;

    (void)state;
    sim_init(&sim, 3 * S);
    assert_outcome(sim_run(&sim), TH_HANDOFF_REPORTED);
    assert_int_equal(th_handoff_record(sim.handoff)->decision, TH_DECIDE_BACKWARD);
    assert_int_equal(sim.set_tries, 0);
    sim_end(&sim);

    sim_init(&sim, 3 * S);
    sim.config.policy.backward = true;
    sim_run(&sim);
    assert_stepped(&sim, 1, -3 * S);
    sim_end(&sim);
}

/* It comes out ahead, by little or by much: without leave to go back it stays there. */
static void test_no_backward_correction(void **state) {
    static const struct {
        int64_t by_ns;
        bool backward;
        enum th_handoff_outcome outcome;
        unsigned steps;
    } cases[] = {
        {5 * MS, false, TH_HANDOFF_IMPROVED, 1},
        {5 * MS, true, TH_HANDOFF_IMPROVED, 1},
        {10 * S, false, TH_HANDOFF_FAILED, 1},
        {10 * S, true, TH_HANDOFF_STEPPED, 2},
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        struct sim sim;
        const struct th_handoff_record *record;

        sim_init(&sim, -3 * S);
        sim.config.policy.backward = cases[i].backward;
        sim.event = EVENT_GUEST_STEP;
        sim.event_at_ns = sim.t_ns + 50 * MS; /* while the agent is in hwclock */
        sim.event_by_ns = cases[i].by_ns;
        record = sim_run(&sim);
        assert_outcome(record, cases[i].outcome);
        assert_int_equal(record->steps, cases[i].steps);
        assert_int_equal(record->stepped_by_other, cases[i].by_ns > S);
        sim_end(&sim);
    }
}

static void test_unsynchronised_host(void **state) {
    struct sim sim;

    (void)state;
    sim_init(&sim, -3 * S);
    sim.synchronised = TH_UNKNOWN;
    assert_outcome(sim_run(&sim), TH_HANDOFF_REPORTED);
    assert_int_equal(th_handoff_record(sim.handoff)->decision, TH_DECIDE_UNSYNCHRONISED);
    assert_true(th_handoff_record(sim.handoff)->has_before);
    sim_end(&sim);
}

/* It loses its synchronisation between the reading and the step. */
static void test_synchronisation_lost_before_the_step(void **state) {
    struct sim sim;
    struct th_now now;

    (void)state;
    sim_init(&sim, -3 * S);
    sim_start(&sim);
    sim_turn(&sim);
    now = sim_now(&sim);
    assert_int_equal(th_handoff_next(sim.handoff, &now).what, TH_DO_SET);
    sim.synchronised = TH_NO;
    th_handoff_synchronised(sim.handoff, TH_NO);
    assert_int_equal(th_handoff_next(sim.handoff, &now).what, TH_DO_READ);
    assert_outcome(sim_run(&sim), TH_HANDOFF_REPORTED);
    assert_int_equal(sim.set_tries, 0);
    sim_end(&sim);
}

/* A caller that dawdles between reading and step has to read again. */
static void test_stale_reading(void **state) {
    struct sim sim;
    struct th_now now;

    (void)state;
    sim_init(&sim, -3 * S);
    sim_start(&sim);
    sim_turn(&sim);
    now = sim_now(&sim);
    assert_int_equal(th_handoff_next(sim.handoff, &now).what, TH_DO_SET);
    pass(&sim, 2 * S);
    now = sim_now(&sim);
    assert_int_equal(th_handoff_next(sim.handoff, &now).what, TH_DO_READ);
    sim_run(&sim);
    assert_stepped(&sim, 1, 3 * S);
    sim_end(&sim);
}

/* ---- the late path ---- */

static void test_late_and_steady(void **state) {
    struct sim sim;

    (void)state;
    sim_init(&sim, -3 * S);
    sim.config.event_mono_ns -= 60 * S;
    sim_run(&sim);
    assert_stepped(&sim, 1, 3 * S);
    assert_true(sim.first_set_t_ns - sim.config.event_mono_ns >= 60 * S + TH_DECISION_SLOPE_NS);
    sim_end(&sim);
}

static void test_late_and_slewing(void **state) {
    struct sim sim;
    const struct th_handoff_record *record;

    (void)state;
    sim_init(&sim, -3 * S);
    sim.config.event_mono_ns -= 60 * S;
    sim.guest_ppm = 5000;
    record = sim_run(&sim);
    assert_outcome(record, TH_HANDOFF_REPORTED);
    assert_int_equal(record->decision, TH_DECIDE_SLEWING);
    assert_false(record->stepped_by_other);
    assert_int_equal(sim.set_tries, 0);
    sim_end(&sim);
}

/* Somebody steps the guest between the two readings: said, and looked at anew. */
static void test_late_and_stepped_by_other(void **state) {
    static const int64_t rest_ns[] = {0, -S};

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(rest_ns); i++) {
        struct sim sim;
        const struct th_handoff_record *record;

        sim_init(&sim, -5 * S);
        sim.config.event_mono_ns -= 60 * S;
        sim.event = EVENT_GUEST_STEP;
        sim.event_at_ns = sim.t_ns + 3 * S;
        sim.event_by_ns = 5 * S + rest_ns[i];
        record = sim_run(&sim);
        assert_true(record->stepped_by_other);
        assert_outcome(record, rest_ns[i] ? TH_HANDOFF_STEPPED : TH_HANDOFF_NOT_NEEDED);
        assert_int_equal(sim.set_calls, rest_ns[i] ? 1 : 0);
        sim_end(&sim);
    }
}

/* Somebody steps it again and again: it is not waited for without end. */
static void test_late_and_never_at_rest(void **state) {
    const struct th_handoff_record *record;
    struct sim sim;
    unsigned turns = 0;

    (void)state;
    sim_init(&sim, -5 * S);
    sim.config.event_mono_ns -= 60 * S;
    sim_start(&sim);
    while (sim_turn(&sim)) {
        /* Reading and wait take turns. */
        if (++turns % 2 == 0) {
            set_guest(&sim, guest_clock_ns(&sim) + (turns % 4 == 0 ? 3 * S : -3 * S));
        }
        assert_true(turns < 100);
    }
    record = th_handoff_record(sim.handoff);
    assert_outcome(record, TH_HANDOFF_REPORTED);
    assert_int_equal(record->decision, TH_DECIDE_WAIT);
    assert_true(record->stepped_by_other);
    assert_int_equal(sim.set_tries, 0);
    sim_end(&sim);
}

/* ---- the host's own clock ---- */

static void test_host_steps(void **state) {
    static const struct {
        int64_t late_ns, at_ns;
        enum th_handoff_outcome outcome;
        unsigned steps;
    } cases[] = {
        {60 * S, 5 * S, TH_HANDOFF_REPORTED, 0}, /* between the readings of the late path */
        {0, 100 * MS, TH_HANDOFF_FAILED, 1},     /* while the agent is in hwclock */
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        for (int64_t by_ns = -5 * S; by_ns <= 5 * S; by_ns += 10 * S) {
            struct sim sim;
            const struct th_handoff_record *record;

            sim_init(&sim, -3 * S);
            sim.config.event_mono_ns -= cases[i].late_ns;
            sim.event = EVENT_HOST_STEP;
            sim.event_at_ns = sim.t_ns + cases[i].at_ns;
            sim.event_by_ns = by_ns;
            record = sim_run(&sim);
            assert_outcome(record, cases[i].outcome);
            assert_int_equal(record->steps, cases[i].steps);
            assert_false(record->stepped_by_other);
            assert_non_null(strstr(record->detail, "host's clock moved"));
            sim_end(&sim);
        }
    }
}

/* Within a burst: its best reading may be of before, so it is thrown away. */
static void test_host_steps_within_a_burst(void **state) {
    (void)state;
    for (int64_t at_ns = 100000; at_ns < 4 * MS; at_ns += 300000) {
        struct sim sim;

        sim_init(&sim, -3 * S);
        sim.event = EVENT_HOST_STEP;
        sim.event_at_ns = sim.t_ns + at_ns;
        sim.event_by_ns = 500 * MS;
        sim_run(&sim);
        assert_stepped(&sim, 1, 3500 * MS);
        sim_end(&sim);
    }
}

/* After the reading and before the step, were it by no more than it takes to send it: what would be
 * sent is the new clock, on grounds of the old one. */
static void test_host_steps_before_the_step(void **state) {
    (void)state;
    for (int64_t by_ns = -300 * MS; by_ns <= 300 * MS; by_ns += 600 * MS) {
        struct th_handoff_action action;
        struct sim sim;
        struct th_now now;

        sim_init(&sim, -3 * S);
        sim_start(&sim);
        do {
            now = sim_now(&sim);
            action = th_handoff_next(sim.handoff, &now);
        } while (action.what != TH_DO_SET && sim_turn(&sim));
        assert_int_equal(action.what, TH_DO_SET);
        sim.host_ns += by_ns;
        now = sim_now(&sim);
        assert_int_equal(th_handoff_next(sim.handoff, &now).what, TH_DO_READ);
        assert_outcome(sim_run(&sim), TH_HANDOFF_REPORTED);
        assert_int_equal(sim.set_tries, 0);
        assert_non_null(strstr(th_handoff_record(sim.handoff)->detail, "host's clock moved"));
        sim_end(&sim);
    }
}

/* ---- bounds ---- */

/* A busy guest: bound wider than the offset, then calm. */
static void test_uncertain_then_calm(void **state) {
    struct sim sim;

    (void)state;
    sim_init(&sim, -30 * MS);
    sim.there_ns = sim.back_ns = 50 * MS;
    sim_start(&sim);
    sim_turn(&sim);
    assert_int_equal(th_handoff_record(sim.handoff)->decision, TH_DECIDE_UNCERTAIN);
    sim.there_ns = sim.back_ns = 400000;
    sim_run(&sim);
    assert_stepped(&sim, 1, 30 * MS);
    sim_end(&sim);
}

/* Late, and the ways so long that a slew could hide for ten seconds, but not for forty. */
static void test_uncertain_slope(void **state) {
    struct sim sim;

    (void)state;
    sim_init(&sim, -41 * MS);
    sim.config.event_mono_ns -= 60 * S;
    sim.there_ns = sim.back_ns = 4700000;
    sim_run(&sim);
    assert_stepped(&sim, 1, 41 * MS);
    assert_true(sim.first_set_t_ns - sim.config.event_mono_ns > 60 * S + 2 * TH_DECISION_SLOPE_NS);
    sim_end(&sim);
}

static void test_uncertain_slope_for_ever(void **state) {
    struct sim sim;

    (void)state;
    sim_init(&sim, -60 * MS);
    sim.config.event_mono_ns -= 60 * S;
    sim.there_ns = sim.back_ns = 40 * MS;
    assert_outcome(sim_run(&sim), TH_HANDOFF_REPORTED);
    assert_int_equal(th_handoff_record(sim.handoff)->decision, TH_DECIDE_UNCERTAIN);
    assert_int_equal(sim.set_tries, 0);
    sim_end(&sim);
}

static void test_uncertain_for_ever(void **state) {
    struct sim sim;

    (void)state;
    sim_init(&sim, -30 * MS);
    sim.there_ns = sim.back_ns = 50 * MS;
    assert_outcome(sim_run(&sim), TH_HANDOFF_REPORTED);
    assert_int_equal(sim.set_tries, 0);
    sim_end(&sim);
}

static struct seeded seeded;

static int64_t random_below(int64_t limit) {
    return seeded_between(&seeded, 0, limit - 1);
}

/* Whatever the ways and the host's clock do, the truth at the reading lies within the bound. */
static void test_bound_holds_the_truth(void **state) {
    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        struct th_burst burst = {0};
        int64_t offset_ns = random_below(20 * S) - 10 * S;

        for (unsigned k = 0; k < 5; k++) {
            int64_t at_ns = REAL_BASE_NS + random_below(S);
            int64_t there_ns = random_below(5 * MS), back_ns = random_below(5 * MS);
            int64_t step_ns = random_below(10) == 0 ? random_below(20 * MS) - 10 * MS : 0;
            struct th_now sent = {.real_ns = at_ns, .mono_ns = at_ns, .raw_ns = at_ns};
            struct th_now received = {.real_ns = at_ns + there_ns + back_ns + step_ns,
                                      .mono_ns = at_ns + there_ns + back_ns,
                                      .raw_ns = at_ns + there_ns + back_ns};
            int64_t guest_ns = (at_ns + there_ns + offset_ns) / 1000 * 1000;

            th_burst_add(&burst, guest_ns, &sent, &received, MS);
        }
        assert_int_equal(burst.n_readings, 5);
        assert_near(burst.best.offset_ns, offset_ns, burst.best.bound_ns);
    }
}

/* A guest may say any number. */
static void test_absurd_guest_time(void **state) {
    static const int64_t times_ns[] = {INT64_MIN, -1, 0, INT64_MAX};

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(times_ns); i++) {
        struct sim sim;
        struct th_now now, later;

        sim_init(&sim, 0);
        sim_start(&sim);
        now = later = sim_now(&sim);
        later.real_ns += MS;
        later.mono_ns += MS;
        later.raw_ns += MS;
        th_handoff_reading(sim.handoff, times_ns[i], &now, &later);
        th_handoff_read_done(sim.handoff, TH_AGENT_OK, "", &later);
        assert_true(th_handoff_record(sim.handoff)->has_before);
        assert_int_equal(th_handoff_record(sim.handoff)->before.offset_ns > 0, times_ns[i] > 0);
        sim_end(&sim);
    }
}

/* ---- void ---- */

static void test_void_before_anything(void **state) {
    struct sim sim;

    (void)state;
    sim_init(&sim, -3 * S);
    sim.get_outcome = TH_AGENT_NOT_CONNECTED;
    sim.get_fails_until_ns = INT64_MAX;
    sim.event = EVENT_VOID;
    sim.event_at_ns = sim.t_ns + 10 * S;
    assert_outcome(sim_run(&sim), TH_HANDOFF_VOID);
    assert_string_equal(th_handoff_record(sim.handoff)->detail, "rebooted");
    sim_end(&sim);
}

/* While the set-time is under way: it may have been done, and nobody will look. */
static void test_void_during_the_step(void **state) {
    struct sim sim;
    const struct th_handoff_record *record;

    (void)state;
    sim_init(&sim, -3 * S);
    sim.event = EVENT_VOID;
    sim.event_at_ns = sim.t_ns + 100 * MS;
    record = sim_run(&sim);
    assert_outcome(record, TH_HANDOFF_IN_DOUBT);
    assert_int_equal(record->steps, 1);
    assert_int_equal(sim.set_calls, 1);
    assert_near(record->stepped_ns, 3 * S, MS);
    sim_end(&sim);
}

static void test_void_between_step_and_reading(void **state) {
    struct sim sim;
    struct th_now now;

    (void)state;
    sim_init(&sim, -3 * S);
    sim_start(&sim);
    sim_turn(&sim);
    sim_turn(&sim);
    assert_int_equal(sim.set_calls, 1);
    now = sim_now(&sim);
    th_handoff_void(sim.handoff, "newer trigger", &now);
    assert_outcome(sim_run(&sim), TH_HANDOFF_IN_DOUBT);
    assert_int_equal(th_handoff_record(sim.handoff)->steps, 1);
    sim_end(&sim);
}

/* Verified, and waiting to be corrected: it is as good as it got. */
static void test_void_before_a_correction(void **state) {
    static const struct {
        int64_t extra_ns;
        enum th_handoff_outcome outcome;
    } cases[] = {{5 * MS, TH_HANDOFF_IMPROVED}, {500 * MS, TH_HANDOFF_VOID}};

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        struct sim sim;
        struct th_now now;

        sim_init(&sim, -3 * S);
        sim.set_extra_ns = cases[i].extra_ns;
        sim_start(&sim);
        for (int turns = 0; turns < 3; turns++) {
            sim_turn(&sim);
        }
        now = sim_now(&sim);
        assert_int_equal(th_handoff_next(sim.handoff, &now).what, TH_DO_WAIT);
        th_handoff_void(sim.handoff, "rebooted", &now);
        assert_outcome(sim_run(&sim), cases[i].outcome);
        assert_int_equal(sim.set_calls, 1);
        sim_end(&sim);
    }
}

static void test_void_afterwards(void **state) {
    struct sim sim;
    struct th_now now;

    (void)state;
    sim_init(&sim, -3 * S);
    sim_run(&sim);
    now = sim_now(&sim);
    th_handoff_void(sim.handoff, "rebooted", &now);
    assert_stepped(&sim, 1, 3 * S);
    sim_end(&sim);
}

/* ---- around it ---- */

static void test_record_from_outside(void **state) {
    const struct th_gap gap = {.offset_ns = 42, .bound_ns = 7, .delay_ns = 9};
    const struct th_offset offset = {.offset_ns = -200000, .bound_ns = 300000, .at_mono_ns = 5};
    const struct th_handoff_record *record;
    struct sim sim;

    (void)state;
    sim_init(&sim, -3 * S);
    sim.config.name = "evil\nname";
    record = sim_run(&sim);
    assert_string_equal(record->name, "evil?name");
    th_handoff_set_arrival(sim.handoff, "hv\x1b[1", &gap);
    assert_string_equal(record->from_host, "hv?[1");
    assert_true(record->has_gap && record->gap.offset_ns == 42);
    th_handoff_recheck(sim.handoff, 1, &offset);
    th_handoff_recheck(sim.handoff, 2, &offset);
    assert_false(record->has_recheck[0]);
    assert_true(record->has_recheck[1] && record->recheck[1].offset_ns == -200000);
    sim_end(&sim);
}

static void assert_names(const char *(*name)(int value), int first, int last) {
    for (int a = first; a <= last; a++) {
        assert_string_not_equal(name(a), name(last + 1));
        for (int b = first; b < a; b++) {
            assert_string_not_equal(name(a), name(b));
        }
    }
}

static const char *outcome_name(int value) {
    return th_handoff_outcome_name((enum th_handoff_outcome)value);
}

static const char *agent_name(int value) {
    return th_agent_outcome_name((enum th_agent_outcome)value);
}

static void test_names(void **state) {
    (void)state;
    assert_names(outcome_name, TH_HANDOFF_PENDING, TH_HANDOFF_VOID);
    assert_names(agent_name, TH_AGENT_OK, TH_AGENT_CONNECTION_LOST);
    assert_string_equal(outcome_name(TH_HANDOFF_IN_DOUBT), "in-doubt");
    assert_string_equal(agent_name(TH_AGENT_NOT_CONNECTED), "not-connected");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_off_is_not_even_read),
        cmocka_unit_test(test_backward),
        cmocka_unit_test(test_no_backward_correction),
        cmocka_unit_test(test_unsynchronised_host),
        cmocka_unit_test(test_synchronisation_lost_before_the_step),
        cmocka_unit_test(test_stale_reading),
        cmocka_unit_test(test_late_and_steady),
        cmocka_unit_test(test_late_and_slewing),
        cmocka_unit_test(test_late_and_stepped_by_other),
        cmocka_unit_test(test_late_and_never_at_rest),
        cmocka_unit_test(test_host_steps),
        cmocka_unit_test(test_host_steps_within_a_burst),
        cmocka_unit_test(test_host_steps_before_the_step),
        cmocka_unit_test(test_uncertain_then_calm),
        cmocka_unit_test(test_uncertain_slope),
        cmocka_unit_test(test_uncertain_slope_for_ever),
        cmocka_unit_test(test_uncertain_for_ever),
        cmocka_unit_test(test_bound_holds_the_truth),
        cmocka_unit_test(test_absurd_guest_time),
        cmocka_unit_test(test_void_before_anything),
        cmocka_unit_test(test_void_during_the_step),
        cmocka_unit_test(test_void_between_step_and_reading),
        cmocka_unit_test(test_void_before_a_correction),
        cmocka_unit_test(test_void_afterwards),
        cmocka_unit_test(test_record_from_outside),
        cmocka_unit_test(test_names),
    };

    seeded = seeded_start("handoff_limits");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
