/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is foretold of a guest: each thing that keeps it from being put right as a row of a table,
 * the limits to the nanosecond, and over random inputs that whatever offset a guest arrives with,
 * the daemon's decision is one of those that were foretold.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "seeded.h"
#include "timehandoff/afterwards.h"

#define MS TH_NS_PER_MS
#define S TH_NS_PER_S
#define CASES 20000

#define STEP TH_AFTERWARDS_BIT(TH_DECIDE_STEP)
#define NOTHING TH_AFTERWARDS_BIT(TH_DECIDE_NOTHING)
#define BACKWARD TH_AFTERWARDS_BIT(TH_DECIDE_BACKWARD)
#define TOO_FAR TH_AFTERWARDS_BIT(TH_DECIDE_TOO_FAR)
#define UNSYNCHRONISED TH_AFTERWARDS_BIT(TH_DECIDE_UNSYNCHRONISED)
#define STOP(name) TH_AFTERWARDS_BIT(TH_STOP_##name)

/* Seen from the destination, all as it should be: a gap of nothing, and 300 ms of blackout. */
static struct th_afterwards_input good(void) {
    return (struct th_afterwards_input){
        .policy = {.mode = TH_HANDOFF_STEP, .deadband_ns = 20 * MS, .max_step_ns = 3600 * S},
        .daemon = TH_YES,
        .host_synchronised = TH_YES,
        .agent_channel = true,
        .agent_connected = TH_YES,
        .has_gap = true,
        .blackout_ns = 300 * MS,
    };
}

static void is(const char *name, const struct th_afterwards_input *input, unsigned decisions,
               enum th_ternary stepped, unsigned stops, unsigned may_stop) {
    struct th_afterwards afterwards = th_afterwards_make(input);

    if (afterwards.decisions != decisions || afterwards.stepped != stepped ||
        afterwards.stops != stops || afterwards.may_stop != may_stop) {
        fail_msg("%s: decisions %#x, stepped %s, stops %#x, may stop %#x", name,
                 afterwards.decisions, th_ternary_name(afterwards.stepped), afterwards.stops,
                 afterwards.may_stop);
    }
}

/* One thing is not as it should be; offset of the gap in ms, and what is changed. */
static void what_stops_it(void **state) {
    static const struct {
        const char *name;
        int64_t gap_ms;
        enum th_handoff_mode mode;
        enum th_ternary daemon, synchronised, connected;
        bool elsewhere, no_channel, backward;
        unsigned decisions;
        enum th_ternary stepped;
        unsigned stops, may_stop;
    } rows[] = {
        {"behind for certain", -1000, TH_HANDOFF_STEP, TH_YES, TH_YES, TH_YES, false, false, false,
         STEP, TH_YES, 0, STOP(SET_TIME_UNKNOWN)},
        {"as the blackout is", 0, TH_HANDOFF_STEP, TH_YES, TH_YES, TH_YES, false, false, false,
         STEP | NOTHING, TH_UNKNOWN, 0, STOP(SET_TIME_UNKNOWN)},
        {"ahead for certain", 1000, TH_HANDOFF_STEP, TH_YES, TH_YES, TH_YES, false, false, false,
         BACKWARD, TH_NO, STOP(BACKWARD), 0},
        {"ahead, allowed", 1000, TH_HANDOFF_STEP, TH_YES, TH_YES, TH_YES, false, false, true, STEP,
         TH_YES, 0, STOP(SET_TIME_UNKNOWN)},
        {"ahead or behind", 100, TH_HANDOFF_STEP, TH_YES, TH_YES, TH_YES, false, false, false,
         STEP | NOTHING | BACKWARD, TH_UNKNOWN, 0, STOP(SET_TIME_UNKNOWN) | STOP(BACKWARD)},
        {"off", -1000, TH_HANDOFF_OFF, TH_YES, TH_YES, TH_YES, false, false, false,
         TH_AFTERWARDS_BIT(TH_DECIDE_OFF), TH_NO, STOP(HANDOFF_OFF), 0},
        {"report", -1000, TH_HANDOFF_REPORT, TH_YES, TH_YES, TH_YES, false, false, false,
         TH_AFTERWARDS_BIT(TH_DECIDE_REPORT_ONLY), TH_NO, STOP(HANDOFF_REPORT), 0},
        {"no channel", -1000, TH_HANDOFF_STEP, TH_YES, TH_YES, TH_UNKNOWN, false, true, false, STEP,
         TH_NO, STOP(NO_AGENT_CHANNEL), 0},
        {"nobody connected", -1000, TH_HANDOFF_STEP, TH_YES, TH_YES, TH_NO, false, false, false,
         STEP, TH_YES, 0, STOP(SET_TIME_UNKNOWN) | STOP(AGENT_NOT_CONNECTED)},
        {"agent not known", -1000, TH_HANDOFF_STEP, TH_YES, TH_YES, TH_UNKNOWN, false, false, false,
         STEP, TH_YES, 0, STOP(SET_TIME_UNKNOWN) | STOP(AGENT_UNKNOWN)},
        {"host wrong", -1000, TH_HANDOFF_STEP, TH_YES, TH_NO, TH_YES, false, false, false,
         UNSYNCHRONISED, TH_NO, STOP(HOST_UNSYNCHRONISED), 0},
        {"host not known, and its daemon does not know either", -1000, TH_HANDOFF_STEP, TH_YES,
         TH_UNKNOWN, TH_YES, false, false, false, UNSYNCHRONISED, TH_NO, STOP(HOST_SYNC_UNKNOWN),
         0},
        {"no daemon", -1000, TH_HANDOFF_STEP, TH_NO, TH_UNKNOWN, TH_YES, false, false, false, STEP,
         TH_NO, STOP(NO_TIMEHANDOFFD), 0},
        {"no daemon, host wrong", -1000, TH_HANDOFF_STEP, TH_NO, TH_NO, TH_YES, false, false, false,
         UNSYNCHRONISED, TH_NO, STOP(NO_TIMEHANDOFFD) | STOP(HOST_UNSYNCHRONISED), 0},
        {"daemon not known", -1000, TH_HANDOFF_STEP, TH_UNKNOWN, TH_UNKNOWN, TH_YES, false, false,
         false, STEP, TH_YES, 0,
         STOP(SET_TIME_UNKNOWN) | STOP(NO_TIMEHANDOFFD) | STOP(HOST_SYNC_UNKNOWN)},
        {"elsewhere", -1000, TH_HANDOFF_STEP, TH_YES, TH_YES, TH_YES, true, false, false, STEP,
         TH_YES, 0, STOP(SET_TIME_UNKNOWN) | STOP(CONFIGURATION_UNKNOWN)},
        {"elsewhere, host not known", -1000, TH_HANDOFF_STEP, TH_YES, TH_UNKNOWN, TH_YES, true,
         false, false, STEP, TH_YES, 0,
         STOP(SET_TIME_UNKNOWN) | STOP(CONFIGURATION_UNKNOWN) | STOP(HOST_SYNC_UNKNOWN)},
        {"elsewhere, host wrong", -1000, TH_HANDOFF_STEP, TH_YES, TH_NO, TH_YES, true, false, false,
         UNSYNCHRONISED, TH_NO, STOP(HOST_UNSYNCHRONISED), 0},
        {"too far", -3601 * 1000, TH_HANDOFF_STEP, TH_YES, TH_YES, TH_YES, false, false, false,
         TOO_FAR, TH_NO, STOP(TOO_FAR), 0},
        {"perhaps too far", -3600 * 1000 + 150, TH_HANDOFF_STEP, TH_YES, TH_YES, TH_YES, false,
         false, false, STEP | TOO_FAR, TH_UNKNOWN, 0, STOP(SET_TIME_UNKNOWN) | STOP(TOO_FAR)},
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(rows); i++) {
        struct th_afterwards_input input = good();

        input.gap.offset_ns = rows[i].gap_ms * MS;
        input.policy.mode = rows[i].mode;
        input.policy.backward = rows[i].backward;
        input.daemon = rows[i].daemon;
        input.host_synchronised = rows[i].synchronised;
        input.agent_connected = rows[i].connected;
        input.elsewhere = rows[i].elsewhere;
        input.agent_channel = !rows[i].no_channel;
        is(rows[i].name, &input, rows[i].decisions, rows[i].stepped, rows[i].stops,
           rows[i].may_stop);
    }
}

static void inside_the_deadband_nothing_has_to_be_done(void **state) {
    struct th_afterwards_input input = good();

    (void)state;
    input.blackout_ns = 15 * MS;
    input.gap = (struct th_gap){.offset_ns = -3 * MS, .bound_ns = 2 * MS};
    is("20 ms behind at the most", &input, NOTHING, TH_NO, 0, 0);
    input.blackout_ns++;
    is("a nanosecond more", &input, NOTHING | STEP, TH_UNKNOWN, 0, STOP(SET_TIME_UNKNOWN));
}

static void what_is_not_known_may_be_anything(void **state) {
    struct th_afterwards_input input = good();
    struct th_afterwards afterwards;

    (void)state;
    input.blackout_ns = -1;
    afterwards = th_afterwards_make(&input);
    assert_int_equal(afterwards.decisions, NOTHING | STEP);
    assert_true(afterwards.has_most && !afterwards.has_least);
    input.has_gap = false;
    afterwards = th_afterwards_make(&input);
    assert_int_equal(afterwards.decisions, NOTHING | STEP | BACKWARD | TOO_FAR);
    assert_int_equal(afterwards.stepped, TH_UNKNOWN);
    assert_false(afterwards.has_most || afterwards.has_least);
    input.policy.mode = TH_HANDOFF_OFF;
    is("off all the same", &input, TH_AFTERWARDS_BIT(TH_DECIDE_OFF), TH_NO, STOP(HANDOFF_OFF), 0);
}

static void offsets_on_arrival(void **state) {
    struct th_afterwards_input input = good();
    struct th_afterwards afterwards;

    (void)state;
    input.gap = (struct th_gap){.offset_ns = 7 * MS, .bound_ns = 2 * MS};
    afterwards = th_afterwards_make(&input);
    assert_true(afterwards.has_least && afterwards.has_most);
    assert_int_equal(afterwards.least_ns, 7 * MS - 2 * MS - 300 * MS);
    assert_int_equal(afterwards.most_ns, 9 * MS);
    /* What a liar may make up does not run over. */
    input.gap = (struct th_gap){.offset_ns = INT64_MIN, .bound_ns = INT64_MAX};
    input.blackout_ns = INT64_MAX;
    afterwards = th_afterwards_make(&input);
    assert_true(afterwards.least_ns == INT64_MIN && afterwards.most_ns == -1);
    input.gap.offset_ns = INT64_MAX;
    assert_true(th_afterwards_make(&input).most_ns == INT64_MAX);
}

static void the_rule(void **state) {
    struct th_afterwards_input input = good();
    struct th_afterwards afterwards = th_afterwards_make(&input);

    (void)state;
    assert_int_equal(afterwards.inside, TH_DECIDE_NOTHING);
    assert_int_equal(afterwards.behind, TH_DECIDE_STEP);
    assert_int_equal(afterwards.ahead, TH_DECIDE_BACKWARD);
    assert_int_equal(afterwards.beyond, TH_DECIDE_TOO_FAR);
    input.policy.backward = true;
    input.policy.max_step_ns = -1;
    afterwards = th_afterwards_make(&input);
    assert_int_equal(afterwards.ahead, TH_DECIDE_STEP);
    assert_int_equal(afterwards.beyond, TH_DECIDE_STEP);
}

static void the_decision_is_among_those_foretold(void **state) {
    struct seeded seeded = seeded_start("the_decision_is_among_those_foretold");

    (void)state;
    for (int i = 0; i < seeded_cases(CASES); i++) {
        struct th_afterwards_input input = good();
        struct th_afterwards afterwards;

        input.policy.mode =
            (enum th_handoff_mode)seeded_between(&seeded, TH_HANDOFF_STEP, TH_HANDOFF_OFF);
        input.policy.backward = seeded_between(&seeded, 0, 1);
        input.policy.deadband_ns = seeded_between(&seeded, 0, 50 * MS);
        input.policy.max_step_ns = seeded_between(&seeded, -1, 3) * S;
        input.host_synchronised = (enum th_ternary)seeded_between(&seeded, TH_UNKNOWN, TH_YES);
        input.gap.offset_ns = seeded_between(&seeded, -2 * S, 2 * S);
        input.gap.bound_ns = seeded_between(&seeded, 0, 100 * MS);
        input.blackout_ns = seeded_between(&seeded, 0, 4 * S);
        afterwards = th_afterwards_make(&input);
        for (unsigned j = 0; j < 20; j++) {
            int64_t offset_ns = input.gap.offset_ns -
                                seeded_between(&seeded, 0, input.blackout_ns) +
                                seeded_between(&seeded, -input.gap.bound_ns, input.gap.bound_ns);
            struct th_decision_input guest = {
                .trigger = TH_TRIGGER_MIGRATED,
                .host_synchronised = input.host_synchronised,
                .event_age_ns = seeded_between(&seeded, 0, TH_DECISION_FAST_NS),
                .now = {.offset_ns = offset_ns},
            };
            enum th_decision decision = th_decision_make(&input.policy, &guest);

            if (!(afterwards.decisions & TH_AFTERWARDS_BIT(decision))) {
                fail_msg("%s at %lld was not foretold (%#x)", th_decision_name(decision),
                         (long long)offset_ns, afterwards.decisions);
            }
            assert_true(decision == TH_DECIDE_STEP || afterwards.stepped != TH_YES);
            assert_true(decision != TH_DECIDE_STEP || afterwards.stepped != TH_NO);
        }
    }
}

static void names(void **state) {
    (void)state;
    for (unsigned stop = 0; stop < TH_STOPS; stop++) {
        const char *name = th_afterwards_stop_name((enum th_afterwards_stop)stop);

        assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz-"), strlen(name));
        for (unsigned other = 0; other < stop; other++) {
            assert_string_not_equal(name, th_afterwards_stop_name((enum th_afterwards_stop)other));
        }
    }
    assert_string_equal(th_afterwards_stop_name(TH_STOPS), "unknown");
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_stops_it),
        cmocka_unit_test(inside_the_deadband_nothing_has_to_be_done),
        cmocka_unit_test(what_is_not_known_may_be_anything),
        cmocka_unit_test(offsets_on_arrival),
        cmocka_unit_test(the_rule),
        cmocka_unit_test(the_decision_is_among_those_foretold),
        cmocka_unit_test(names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
