/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The handoff machine where it is to step: clocks that come right in one step or a few, replies
 * that prove nothing, time-outs, and agents that come late or never. See handoff_sim.h for the
 * host, guest and agent that it is played against.
 */
#include "handoff_sim.h"
#include "seeded.h"

/* ---- the good course ---- */

static void test_constant_offset(void **state) {
    static const int64_t offsets_ns[] = {-3 * S, -150 * MS, -21 * MS, -3600 * S};

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(offsets_ns); i++) {
        struct sim sim;
        const struct th_handoff_record *record;

        sim_init(&sim, offsets_ns[i]);
        record = sim_run(&sim);
        assert_stepped(&sim, 1, -offsets_ns[i]);
        assert_near(record->before.offset_ns, offsets_ns[i], record->before.bound_ns);
        assert_int_equal(record->decision, TH_DECIDE_STEP);
        assert_int_equal(record->readings, sim.get_calls);
        /* The first step goes at once; hwclock takes the rest of the time. */
        assert_true(sim.first_set_t_ns - sim.config.event_mono_ns < 10 * MS);
        assert_true(record->right_mono_ns - sim.config.event_mono_ns < 1100 * MS);
        sim_end(&sim);
    }
}

static void test_inside_the_deadband(void **state) {
    static const int64_t offsets_ns[] = {0, -19 * MS, 19 * MS};

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(offsets_ns); i++) {
        struct sim sim;
        const struct th_handoff_record *record;

        sim_init(&sim, offsets_ns[i]);
        record = sim_run(&sim);
        assert_outcome(record, TH_HANDOFF_NOT_NEEDED);
        assert_int_equal(sim.set_tries, 0);
        assert_true(record->right_mono_ns > 0 && record->stepped_ns == 0);
        sim_end(&sim);
    }
}

static void test_uneven_ways(void **state) {
    struct sim sim;

    (void)state;
    sim_init(&sim, -3 * S);
    /* It can't see the difference between the ways, and says so: that is what the bound is for. */
    for (int slow_there = 0; slow_there < 2; slow_there++) {
        const struct th_handoff_record *record;

        sim_init(&sim, -3 * S);
        sim.there_ns = slow_there ? 4 * MS : MS / 2;
        sim.back_ns = slow_there ? MS / 2 : 4 * MS;
        record = sim_run(&sim);
        assert_outcome(record, TH_HANDOFF_STEPPED);
        assert_int_equal(record->steps, 1);
        assert_near(record->residual.offset_ns, true_offset_ns(&sim), record->residual.bound_ns);
        assert_near(true_offset_ns(&sim), slow_there ? -1750000 : 1750000, 50000);
        sim_end(&sim);
    }
}

/* Steps that always take five milliseconds longer than readings: once two agree, it is believed. */
static void test_slow_steps_are_learned(void **state) {
    struct sim sim;

    (void)state;
    sim_init(&sim, -3 * S);
    sim.set_extra_ns = 5 * MS;
    sim_run(&sim);
    assert_stepped(&sim, 3, 3 * S);
    assert_true(sim.last_set_took_ns < 150 * MS);
    sim_end(&sim);
}

/* All readings were slow, and then the host has time: the guest must not land ahead by as much as
 * the readings took, for there it would stay. */
static void test_slow_readings_and_a_quick_step(void **state) {
    (void)state;
    for (int64_t way_ns = 5 * MS; way_ns <= 60 * MS; way_ns += 5 * MS) {
        const struct th_handoff_record *record;
        struct sim sim;
        struct th_now now;

        sim_init(&sim, -3 * S);
        sim.there_ns = sim.back_ns = way_ns;
        sim_start(&sim);
        do {
            now = sim_now(&sim);
        } while (th_handoff_next(sim.handoff, &now).what != TH_DO_SET && sim_turn(&sim));
        sim.there_ns = sim.back_ns = MS / 5;
        record = sim_run(&sim);
        assert_true(record->outcome == TH_HANDOFF_STEPPED ||
                    record->outcome == TH_HANDOFF_IMPROVED);
        assert_true(true_offset_ns(&sim) <= sim.config.policy.deadband_ns / 2);
        sim_end(&sim);
    }
}

/* Ways that are different at every turn, as on a host that is busy: however it ends, the guest is
 * never put ahead by more than is left alone. */
static void test_busy_host_never_puts_a_guest_far_ahead(void **state) {
    struct seeded chance = seeded_start("busy");

    (void)state;
    for (int i = 0; i < seeded_cases(5000); i++) {
        struct sim sim;

        sim_init(&sim, -3 * S);
        sim_start(&sim);
        do {
            sim.there_ns = seeded_between(&chance, MS / 10, 30 * MS);
            sim.back_ns = seeded_between(&chance, MS / 10, 30 * MS);
            sim.set_extra_ns = seeded_between(&chance, 0, 3) ? 0 : 80 * MS;
            assert_true(true_offset_ns(&sim) <= sim.config.policy.deadband_ns);
        } while (sim_turn(&sim));
        sim_end(&sim);
    }
}

/* One step that was slow by accident must not throw the next one ahead. */
static void test_one_slow_step_is_not_believed(void **state) {
    struct sim sim;

    (void)state;
    sim_init(&sim, -150 * MS);
    sim.set_extra_ns = 8 * MS;
    sim.n_slow_sets = 1;
    sim_run(&sim);
    assert_stepped(&sim, 2, 150 * MS);
    assert_true(true_offset_ns(&sim) < MS / 2);
    sim_end(&sim);
}

/* A correction that was held up and made it worse is not the last word while steps are left. */
static void test_correction_that_makes_it_worse(void **state) {
    struct sim sim;

    (void)state;
    sim_init(&sim, -3 * S);
    sim.set_extra_ns = MS + MS / 2;
    sim.n_slow_sets = 2;
    sim_start(&sim);
    while (sim.set_calls == 0) {
        assert_true(sim_turn(&sim));
    }
    sim.set_extra_ns = 40 * MS;
    sim_run(&sim);
    assert_stepped(&sim, 3, 3 * S);
    sim_end(&sim);
}

/* Every correction is worse than the one before: it ends, and says what it left. */
static void test_corrections_that_only_make_it_worse(void **state) {
    struct sim sim;
    unsigned turns = 0;

    (void)state;
    sim_init(&sim, -3 * S);
    sim.set_extra_ns = 8 * MS;
    sim.n_slow_sets = 10;
    sim_start(&sim);
    while (sim_turn(&sim)) {
        sim.set_extra_ns = (8 + 30 * (int64_t)sim.set_calls * sim.set_calls) * MS;
        assert_true(++turns < MAX_ACTIONS);
    }
    assert_outcome(th_handoff_record(sim.handoff), TH_HANDOFF_FAILED);
    assert_int_equal(sim.set_calls, 4);
    assert_near(th_handoff_record(sim.handoff)->residual.offset_ns, true_offset_ns(&sim), MS);
    sim_end(&sim);
}

/* Behind, but by less than the reading can tell: no jolt for what may be nothing. */
static void test_residual_within_its_bound(void **state) {
    struct sim sim;

    (void)state;
    sim_init(&sim, -3 * S);
    sim.there_ns = sim.back_ns = 3 * MS;
    sim.set_extra_ns = 2 * MS;
    assert_outcome(sim_run(&sim), TH_HANDOFF_IMPROVED);
    assert_int_equal(sim.set_calls, 1);
    assert_near(th_handoff_record(sim.handoff)->residual.offset_ns, -2 * MS, MS / 10);
    sim_end(&sim);
}

/* The caller oversleeps and misses the moment for the correction: it waits for the next. */
static void test_missed_placement(void **state) {
    struct sim sim;
    struct th_now now;

    (void)state;
    sim_init(&sim, -3 * S);
    sim.set_extra_ns = 5 * MS;
    sim.n_slow_sets = 1;
    sim_start(&sim);
    for (int turns = 0; turns < 3; turns++) {
        sim_turn(&sim);
    }
    now = sim_now(&sim);
    pass_until(&sim, th_handoff_next(sim.handoff, &now).until_mono_ns + 200 * MS);
    sim_run(&sim);
    assert_stepped(&sim, 2, 3 * S);
    assert_true(sim.last_set_took_ns < 150 * MS);
    sim_end(&sim);
}

static void test_hwclock_at_every_fraction(void **state) {
    (void)state;
    for (int64_t at_ns = 0; at_ns < S; at_ns += 50 * MS) {
        struct sim sim;

        sim_init(&sim, -2 * S);
        sim.t_ns += at_ns;
        sim.config.event_mono_ns += at_ns;
        sim.set_extra_ns = 2 * MS;
        sim.n_slow_sets = 1;
        sim_run(&sim);
        assert_stepped(&sim, 2, 2 * S);
        assert_true(sim.last_set_took_ns < 150 * MS);
        sim_end(&sim);
    }
}

static void test_drift(void **state) {
    static const int64_t rates_ppm[] = {50, -50, 100, -100};

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(rates_ppm); i++) {
        struct sim sim;

        sim_init(&sim, -3 * S);
        sim.guest_ppm = rates_ppm[i];
        sim_run(&sim);
        assert_stepped(&sim, 1, 3 * S);
        sim_end(&sim);
    }
}

/* ---- replies that prove nothing ---- */

static void test_refused_after_the_clock_was_set(void **state) {
    struct sim sim;

    (void)state;
    sim_init(&sim, -3 * S);
    sim.plan[0] = SET_REFUSED_AFTER;
    assert_string_equal(sim_run(&sim)->detail, "set words");
    assert_stepped(&sim, 1, 3 * S);
    sim_end(&sim);
}

static void test_refused_before(void **state) {
    struct sim sim;
    const struct th_handoff_record *record;

    (void)state;
    sim_init(&sim, -3 * S);
    sim.plan[0] = SET_REFUSED_BEFORE;
    record = sim_run(&sim);
    assert_outcome(record, TH_HANDOFF_FAILED);
    assert_string_equal(record->detail, "set words");
    assert_int_equal(sim.set_tries, 1);
    assert_int_equal(record->steps, 1);
    assert_int_equal(record->stepped_ns, 0);
    assert_near(record->residual.offset_ns, -3 * S, MS);
    sim_end(&sim);
}

static void test_says_done_and_is_not(void **state) {
    struct sim sim;
    const struct th_handoff_record *record;

    (void)state;
    sim_init(&sim, -3 * S);
    sim.plan[0] = SET_IGNORED;
    record = sim_run(&sim);
    assert_outcome(record, TH_HANDOFF_FAILED);
    assert_int_equal(sim.set_tries, 1);
    assert_int_equal(record->right_mono_ns, 0);
    sim_end(&sim);
}

static void test_busy_then_free(void **state) {
    struct sim sim;

    (void)state;
    sim_init(&sim, -3 * S);
    sim.plan[0] = SET_BUSY;
    sim.plan[1] = SET_UNCONNECTED;
    sim_run(&sim);
    assert_stepped(&sim, 1, 3 * S);
    assert_int_equal(sim.set_tries, 3);
    sim_end(&sim);
}

static void test_busy_for_ever(void **state) {
    struct sim sim;
    const struct th_handoff_record *record;

    (void)state;
    sim_init(&sim, -300 * S);
    for (size_t i = 0; i < TH_ELEMENTS(sim.plan); i++) {
        sim.plan[i] = SET_BUSY;
    }
    record = sim_run(&sim);
    assert_outcome(record, TH_HANDOFF_FAILED);
    assert_int_equal(record->steps, 0);
    assert_false(record->has_residual);
    assert_in_range(sim.set_tries, 2, 10);
    sim_end(&sim);
}

/* libvirt sets the clock and then waits in vain for a job: the step is seen, and counted. */
static void test_busy_after_the_clock_was_set(void **state) {
    struct sim sim;

    (void)state;
    sim_init(&sim, -3 * S);
    sim.plan[0] = SET_BUSY_AFTER;
    sim_run(&sim);
    assert_stepped(&sim, 1, 3 * S);
    sim_end(&sim);
}

/* ---- time-outs ---- */

/* Carried out before the agent answers again: late by as much, and corrected. */
static void test_set_carried_out_late(void **state) {
    struct sim sim;

    (void)state;
    sim_init(&sim, -3 * S);
    sim.plan[0] = SET_LATE;
    sim.late_ns = 25 * S;
    sim_run(&sim);
    assert_stepped(&sim, 2, 3 * S);
    sim_end(&sim);
}

/* A correction that came late is no measure of what corrections achieve. */
static void test_correction_carried_out_late(void **state) {
    struct sim sim;

    (void)state;
    sim_init(&sim, -3 * S);
    sim.set_extra_ns = 5 * MS;
    sim.n_slow_sets = 1;
    sim.plan[1] = SET_LATE;
    sim.late_ns = 10 * S;
    sim_run(&sim);
    assert_stepped(&sim, 3, 3 * S);
    sim_end(&sim);
}

/* The agent answers a reading, with the old time, and only then carries the set-time out. */
static void test_set_carried_out_after_an_answer(void **state) {
    struct sim sim;

    (void)state;
    sim_init(&sim, -3 * S);
    sim.plan[0] = SET_LATE;
    sim.late_ns = sim.timeout_ns + 3 * S;
    sim_run(&sim);
    assert_stepped(&sim, 2, 3 * S);
    assert_false(th_handoff_record(sim.handoff)->stepped_by_other);
    assert_true(sim.last_set_t_ns > sim.first_set_t_ns + sim.late_ns);
    sim_end(&sim);
}

static void test_set_lost(void **state) {
    struct sim sim;

    (void)state;
    sim_init(&sim, -30 * S);
    sim.plan[0] = SET_LOST;
    sim_run(&sim);
    assert_stepped(&sim, 2, 30 * S);
    /* Some seconds were spent on watching before it was sent again. */
    assert_true(sim.last_set_t_ns - sim.first_set_t_ns > sim.timeout_ns + 5 * S);
    sim_end(&sim);
}

/* An agent that answers readings and never steps: it is not asked without end. */
static void test_every_set_lost(void **state) {
    const struct th_handoff_record *record;
    struct sim sim;

    (void)state;
    sim_init(&sim, -300 * S);
    for (size_t i = 0; i < TH_ELEMENTS(sim.plan); i++) {
        sim.plan[i] = SET_LOST;
    }
    record = sim_run(&sim);
    assert_outcome(record, TH_HANDOFF_FAILED);
    assert_int_equal(record->steps, 4);
    assert_int_equal(sim.set_calls, 4);
    assert_int_equal(record->stepped_ns, 0);
    sim_end(&sim);
}

static void test_frozen_from_the_beginning(void **state) {
    struct sim sim;
    const struct th_handoff_record *record;
    int64_t began_ns;

    (void)state;
    sim_init(&sim, -3 * S);
    began_ns = sim.t_ns;
    sim.get_outcome = TH_AGENT_TIMED_OUT;
    sim.get_fails_until_ns = INT64_MAX;
    sim.get_fail_ns = 5 * S;
    record = sim_run(&sim);
    assert_outcome(record, TH_HANDOFF_NO_AGENT);
    assert_int_equal(sim.set_tries, 0);
    assert_true(sim.t_ns - began_ns <= sim.config.give_up_ns + sim.get_fail_ns);
    assert_string_equal(record->detail, "get words");
    sim_end(&sim);
}

static void test_frozen_after_the_step(void **state) {
    struct sim sim;
    const struct th_handoff_record *record;

    (void)state;
    sim_init(&sim, -3 * S);
    sim.plan[0] = SET_LOST;
    sim.config.give_up_ns = 20 * S;
    sim.get_outcome = TH_AGENT_TIMED_OUT;
    sim.get_fail_ns = 5 * S;
    sim_start(&sim);
    sim_turn(&sim);
    sim.get_fails_until_ns = INT64_MAX;
    record = sim_run(&sim);
    assert_outcome(record, TH_HANDOFF_IN_DOUBT);
    assert_int_equal(record->steps, 1);
    assert_near(record->stepped_ns, 3 * S, MS);
    assert_false(record->has_residual);
    sim_end(&sim);
}

/* ---- no agent, or not yet ---- */

static void test_absent(void **state) {
    struct sim sim;
    const struct th_handoff_record *record;

    (void)state;
    sim_init(&sim, -3 * S);
    sim.get_outcome = TH_AGENT_ABSENT;
    sim.get_fails_until_ns = INT64_MAX;
    record = sim_run(&sim);
    assert_outcome(record, TH_HANDOFF_NO_AGENT);
    assert_int_equal(record->attempts, 1);
    assert_int_equal(record->readings, 0);
    sim_end(&sim);
}

static void test_a_request_does_not_wait(void **state) {
    struct sim sim;

    (void)state;
    sim_init(&sim, -3 * S);
    sim.config.wait_for_agent = false;
    sim.get_outcome = TH_AGENT_NOT_CONNECTED;
    sim.get_fails_until_ns = INT64_MAX;
    assert_outcome(sim_run(&sim), TH_HANDOFF_NO_AGENT);
    assert_int_equal(sim.get_calls, 1);
    sim_end(&sim);
}

static void test_nobody_ever_connects(void **state) {
    struct sim sim;
    int64_t began_ns;

    (void)state;
    sim_init(&sim, -3 * S);
    began_ns = sim.t_ns;
    sim.get_outcome = TH_AGENT_NOT_CONNECTED;
    sim.get_fails_until_ns = INT64_MAX;
    assert_outcome(sim_run(&sim), TH_HANDOFF_NO_AGENT);
    assert_near(sim.t_ns - began_ns, sim.config.give_up_ns, S);
    assert_true(sim.get_calls < 80);
    sim_end(&sim);
}

/* Told that the agent is there, it reads at once; untold, it finds out soon after. */
static void test_connects_late(void **state) {
    (void)state;
    for (int told = 0; told < 2; told++) {
        struct sim sim;

        sim_init(&sim, -3 * S);
        sim.get_outcome = TH_AGENT_NOT_CONNECTED;
        sim.get_fails_until_ns = sim.t_ns + 32 * MS;
        if (told) {
            sim.event = EVENT_CONNECT;
            sim.event_at_ns = sim.get_fails_until_ns;
        }
        sim_run(&sim);
        assert_stepped(&sim, 1, 3 * S);
        assert_true(sim.first_set_t_ns - sim.get_fails_until_ns < (told ? 10 * MS : 60 * MS));
        sim_end(&sim);
    }
}

/* The news comes between the failed call and its report: no sleep over it. */
static void test_connects_while_it_reads(void **state) {
    struct sim sim;

    (void)state;
    sim_init(&sim, -3 * S);
    sim.get_outcome = TH_AGENT_NOT_CONNECTED;
    sim.get_fail_ns = 10 * MS;
    sim.get_fails_until_ns = sim.t_ns + 5 * MS;
    sim.event = EVENT_CONNECT;
    sim.event_at_ns = sim.t_ns + 6 * MS;
    sim_run(&sim);
    assert_stepped(&sim, 1, 3 * S);
    assert_true(sim.first_set_t_ns - sim.get_fails_until_ns < 15 * MS);
    sim_end(&sim);
}

static void test_paused_for_ever(void **state) {
    struct sim sim;

    (void)state;
    sim_init(&sim, -3 * S);
    sim.get_outcome = TH_AGENT_NOT_RUNNING;
    sim.get_fails_until_ns = INT64_MAX;
    assert_outcome(sim_run(&sim), TH_HANDOFF_VOID);
    sim_end(&sim);
}

/* Frozen file systems: the agent refuses for a while. */
static void test_refused_readings(void **state) {
    struct sim sim;

    (void)state;
    sim_init(&sim, -3 * S);
    sim.get_outcome = TH_AGENT_REFUSED;
    sim.get_fails_until_ns = sim.t_ns + 3 * S;
    sim_run(&sim);
    assert_stepped(&sim, 1, 3 * S);
    sim_end(&sim);

    sim_init(&sim, -3 * S);
    sim.get_outcome = TH_AGENT_REFUSED;
    sim.get_fails_until_ns = INT64_MAX;
    assert_outcome(sim_run(&sim), TH_HANDOFF_FAILED);
    assert_string_equal(th_handoff_record(sim.handoff)->detail, "get words");
    assert_int_equal(sim.set_tries, 0);
    sim_end(&sim);
}

static void test_lost_connection_comes_back(void **state) {
    struct sim sim;

    (void)state;
    sim_init(&sim, -300 * S);
    sim.get_outcome = TH_AGENT_CONNECTION_LOST;
    sim.get_fails_until_ns = sim.t_ns + 20 * S;
    sim_run(&sim);
    assert_stepped(&sim, 1, 300 * S);
    sim_end(&sim);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_constant_offset),
        cmocka_unit_test(test_inside_the_deadband),
        cmocka_unit_test(test_uneven_ways),
        cmocka_unit_test(test_slow_steps_are_learned),
        cmocka_unit_test(test_slow_readings_and_a_quick_step),
        cmocka_unit_test(test_busy_host_never_puts_a_guest_far_ahead),
        cmocka_unit_test(test_one_slow_step_is_not_believed),
        cmocka_unit_test(test_correction_that_makes_it_worse),
        cmocka_unit_test(test_corrections_that_only_make_it_worse),
        cmocka_unit_test(test_residual_within_its_bound),
        cmocka_unit_test(test_missed_placement),
        cmocka_unit_test(test_hwclock_at_every_fraction),
        cmocka_unit_test(test_drift),
        cmocka_unit_test(test_refused_after_the_clock_was_set),
        cmocka_unit_test(test_refused_before),
        cmocka_unit_test(test_says_done_and_is_not),
        cmocka_unit_test(test_busy_then_free),
        cmocka_unit_test(test_busy_for_ever),
        cmocka_unit_test(test_busy_after_the_clock_was_set),
        cmocka_unit_test(test_set_carried_out_late),
        cmocka_unit_test(test_correction_carried_out_late),
        cmocka_unit_test(test_set_carried_out_after_an_answer),
        cmocka_unit_test(test_set_lost),
        cmocka_unit_test(test_every_set_lost),
        cmocka_unit_test(test_frozen_from_the_beginning),
        cmocka_unit_test(test_frozen_after_the_step),
        cmocka_unit_test(test_absent),
        cmocka_unit_test(test_a_request_does_not_wait),
        cmocka_unit_test(test_nobody_ever_connects),
        cmocka_unit_test(test_connects_late),
        cmocka_unit_test(test_connects_while_it_reads),
        cmocka_unit_test(test_paused_for_ever),
        cmocka_unit_test(test_refused_readings),
        cmocka_unit_test(test_lost_connection_comes_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
