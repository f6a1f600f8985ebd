/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The decision on a step: every row of its table, every limit to the nanosecond, and over random
 * inputs what must hold whatever else does: no step against a host that isn't known to be right,
 * none backward or farther than allowed, none where the policy says no.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "seeded.h"
#include "timehandoff/decision.h"

#define MS TH_NS_PER_MS
#define S TH_NS_PER_S
#define CASES 100000

/* The default policy and a guest half a second behind, one second after it arrived. */
struct scene {
    struct th_decision_policy policy;
    struct th_decision_input input;
};

static struct scene arrived(void) {
    return (struct scene){
        .policy = {.mode = TH_HANDOFF_STEP, .deadband_ns = 20 * MS, .max_step_ns = 3600 * S},
        .input = {.trigger = TH_TRIGGER_MIGRATED,
                  .host_synchronised = TH_YES,
                  .event_age_ns = S,
                  .now = {.offset_ns = -500 * MS, .bound_ns = MS, .at_mono_ns = 1000 * S}},
    };
}

static struct scene late(int64_t offset_ns) {
    struct scene scene = arrived();

    scene.input.event_age_ns = 60 * S;
    scene.input.now.offset_ns = offset_ns;
    return scene;
}

static void is(const struct scene *scene, enum th_decision wanted) {
    enum th_decision decision = th_decision_make(&scene->policy, &scene->input);

    if (decision != wanted) {
        fail_msg("%s instead of %s", th_decision_name(decision), th_decision_name(wanted));
    }
}

static void known_events_step(void **state) {
    (void)state;
    for (enum th_trigger trigger = TH_TRIGGER_MIGRATED; trigger <= TH_TRIGGER_HOST_WAKEUP;
         trigger++) {
        struct scene scene = arrived();

        scene.input.trigger = trigger;
        is(&scene, TH_DECIDE_STEP);
    }
}

static void policy_comes_first(void **state) {
    struct scene scene = arrived();

    (void)state;
    scene.policy.mode = TH_HANDOFF_REPORT;
    is(&scene, TH_DECIDE_REPORT_ONLY);
    scene.policy.mode = TH_HANDOFF_OFF;
    is(&scene, TH_DECIDE_OFF);
    scene.input.host_synchronised = TH_NO;
    is(&scene, TH_DECIDE_OFF);
    scene.policy.mode = 0;
    is(&scene, TH_DECIDE_UNSYNCHRONISED);
    scene.input.host_synchronised = TH_YES;
    is(&scene, TH_DECIDE_REPORT_ONLY);

    /* Report mode says what it would have been, if it would have been anything else. */
    scene = arrived();
    scene.policy.mode = TH_HANDOFF_REPORT;
    scene.input.now.offset_ns = MS;
    is(&scene, TH_DECIDE_NOTHING);
    scene.input.now.offset_ns = 500 * MS;
    is(&scene, TH_DECIDE_BACKWARD);
    scene = late(-500 * MS);
    scene.policy.mode = TH_HANDOFF_REPORT;
    is(&scene, TH_DECIDE_WAIT);
}

static void requests_obey_policy(void **state) {
    struct scene scene = arrived();

    (void)state;
    scene.input.trigger = TH_TRIGGER_REQUEST;
    is(&scene, TH_DECIDE_STEP);
    scene.input.event_age_ns = -1;
    is(&scene, TH_DECIDE_WAIT);
    scene.input.now.offset_ns = -60 * S;
    is(&scene, TH_DECIDE_STEP);
    scene.policy.mode = TH_HANDOFF_REPORT;
    is(&scene, TH_DECIDE_REPORT_ONLY);
    scene.policy.mode = TH_HANDOFF_OFF;
    is(&scene, TH_DECIDE_OFF);
}

static void unsynchronised_hosts_never_step(void **state) {
    struct scene scene = arrived();

    (void)state;
    scene.input.host_synchronised = TH_NO;
    is(&scene, TH_DECIDE_UNSYNCHRONISED);
    scene.input.host_synchronised = TH_UNKNOWN;
    is(&scene, TH_DECIDE_UNSYNCHRONISED);
    scene.input.now.offset_ns = 0;
    is(&scene, TH_DECIDE_UNSYNCHRONISED);
}

static void deadband(void **state) {
    static const struct {
        int64_t offset_ns, bound_ns;
        enum th_decision decision;
    } rows[] = {
        {0, 0, TH_DECIDE_NOTHING},
        {-20 * MS, MS, TH_DECIDE_NOTHING},
        {20 * MS, MS, TH_DECIDE_NOTHING},
        {20 * MS, 20 * MS, TH_DECIDE_NOTHING},
        {20 * MS, 20 * MS + 1, TH_DECIDE_UNCERTAIN},
        {0, 20 * MS + 1, TH_DECIDE_UNCERTAIN},
        {-20 * MS - 1, 20 * MS, TH_DECIDE_STEP},
        {-20 * MS - 1, 20 * MS + 1, TH_DECIDE_UNCERTAIN},
        {20 * MS + 1, 20 * MS, TH_DECIDE_BACKWARD},
        {-S, S - 1, TH_DECIDE_STEP},
        {-S, S, TH_DECIDE_UNCERTAIN},
        {-S, INT64_MAX, TH_DECIDE_UNCERTAIN},
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(rows); i++) {
        struct scene scene = arrived();

        scene.input.now.offset_ns = rows[i].offset_ns;
        scene.input.now.bound_ns = rows[i].bound_ns;
        is(&scene, rows[i].decision);
    }
}

static void backward(void **state) {
    struct scene scene = arrived();

    (void)state;
    scene.input.now.offset_ns = 500 * MS;
    is(&scene, TH_DECIDE_BACKWARD);
    scene.policy.backward = true;
    is(&scene, TH_DECIDE_STEP);
    scene = late(60 * S);
    is(&scene, TH_DECIDE_BACKWARD);
    scene.policy.backward = true;
    is(&scene, TH_DECIDE_STEP);
}

static void max_step(void **state) {
    struct scene scene = arrived();

    (void)state;
    scene.input.now.offset_ns = -3600 * S;
    is(&scene, TH_DECIDE_STEP);
    scene.input.now.offset_ns = -3600 * S - 1;
    is(&scene, TH_DECIDE_TOO_FAR);
    scene.input.now.offset_ns = INT64_MIN;
    is(&scene, TH_DECIDE_TOO_FAR);
    scene.policy.max_step_ns = -1;
    is(&scene, TH_DECIDE_STEP);
    scene.policy.max_step_ns = 0;
    scene.input.now.offset_ns = -21 * MS;
    is(&scene, TH_DECIDE_TOO_FAR);
}

static void age_of_an_event(void **state) {
    static const struct {
        int64_t age_ns;
        enum th_decision decision;
    } rows[] = {
        {0, TH_DECIDE_STEP},         {5 * S - 1, TH_DECIDE_STEP}, {5 * S, TH_DECIDE_STEP},
        {5 * S + 1, TH_DECIDE_WAIT}, {-1, TH_DECIDE_WAIT},        {INT64_MAX, TH_DECIDE_WAIT},
        {INT64_MIN, TH_DECIDE_WAIT},
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(rows); i++) {
        struct scene scene = arrived();

        scene.input.event_age_ns = rows[i].age_ns;
        is(&scene, rows[i].decision);
    }
}

static void reconcile(void **state) {
    struct scene scene = arrived();

    (void)state;
    scene.input.trigger = TH_TRIGGER_RECONCILE;
    is(&scene, TH_DECIDE_NO_EVENT);
    scene.input.now.offset_ns = -60 * S;
    is(&scene, TH_DECIDE_NO_EVENT);
    scene.input.now.offset_ns = 10 * MS;
    is(&scene, TH_DECIDE_NOTHING);

    /* Even a provable event took place at an unknown time: no fast path. */
    scene.input.missed_event = true;
    scene.input.now.offset_ns = -500 * MS;
    is(&scene, TH_DECIDE_WAIT);
    scene.input.now.offset_ns = -60 * S;
    is(&scene, TH_DECIDE_STEP);
}

static void late_beyond_any_slewing(void **state) {
    struct scene scene = late(-10 * S - MS);

    (void)state;
    is(&scene, TH_DECIDE_WAIT);
    scene.input.now.offset_ns = -10 * S - MS - 1;
    is(&scene, TH_DECIDE_STEP);
}

/* Earlier and present reading: distance in time, in offset, their bounds. */
static void slope(void **state) {
    static const struct {
        int64_t apart_ns, change_ns, bound_ns;
        enum th_decision decision;
    } rows[] = {
        {0, 0, MS, TH_DECIDE_WAIT},
        {10 * S - 1, 0, MS, TH_DECIDE_WAIT},
        {-10 * S, 0, MS, TH_DECIDE_WAIT},
        {10 * S, 0, MS, TH_DECIDE_STEP},
        /* Two bounds, 100 ppm of ten seconds, and one for rounding. */
        {10 * S, 3 * MS + 1, MS, TH_DECIDE_STEP},
        {10 * S, -3 * MS - 1, MS, TH_DECIDE_STEP},
        {10 * S, 3 * MS + 2, MS, TH_DECIDE_SLEWING},
        {10 * S, -3 * MS - 2, MS, TH_DECIDE_SLEWING},
        {10 * S, MS + 1, 0, TH_DECIDE_STEP},
        {10 * S, MS + 2, 0, TH_DECIDE_SLEWING},
        {100 * S, 12 * MS + 1, MS, TH_DECIDE_STEP},
        {100 * S, 12 * MS + 2, MS, TH_DECIDE_SLEWING},
        /* Bounds of 2 ms would hide 500 ppm over ten seconds, but not over a hundred. */
        {10 * S, 0, 2 * MS - 1, TH_DECIDE_STEP},
        {10 * S, 0, 2 * MS, TH_DECIDE_UNCERTAIN},
        {10 * S, 400 * MS, 2 * MS, TH_DECIDE_UNCERTAIN},
        {100 * S, 0, 2 * MS, TH_DECIDE_STEP},
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(rows); i++) {
        struct scene scene = late(-500 * MS);

        scene.input.now.bound_ns = rows[i].bound_ns;
        scene.input.has_earlier = true;
        scene.input.earlier = scene.input.now;
        scene.input.earlier.at_mono_ns -= rows[i].apart_ns;
        scene.input.earlier.offset_ns -= rows[i].change_ns;
        is(&scene, rows[i].decision);
    }
}

/* Where the bounds explain just as much as a slew would make, nothing can be told. */
static void slope_at_the_edge(void **state) {
    struct scene scene = late(-500 * MS);

    (void)state;
    scene.input.has_earlier = true;
    scene.input.earlier = scene.input.now;
    scene.input.earlier.at_mono_ns -= 10 * S;
    scene.input.now.bound_ns = 2 * MS;
    scene.input.earlier.bound_ns = 2 * MS - 2;
    is(&scene, TH_DECIDE_STEP);
    scene.input.earlier.bound_ns = 2 * MS - 1;
    is(&scene, TH_DECIDE_UNCERTAIN);
}

static void slope_is_for_the_late_path_only(void **state) {
    struct scene scene = arrived();

    (void)state;
    scene.input.has_earlier = true;
    scene.input.earlier = scene.input.now;
    scene.input.earlier.at_mono_ns -= 20 * S;
    scene.input.earlier.offset_ns += 400 * MS;
    is(&scene, TH_DECIDE_STEP);
    scene.input.event_age_ns = -1;
    is(&scene, TH_DECIDE_SLEWING);
}

/* ---- properties ---- */

static int64_t random_ns(struct seeded *seeded) {
    int64_t size_ns = seeded_magnitude(seeded, seeded_bits(seeded) & 1 ? 100 * S : INT64_MAX);

    return seeded_bits(seeded) & 1 ? size_ns : -size_ns;
}

static struct scene random_scene(struct seeded *seeded) {
    return (struct scene){
        .policy = {.mode = (enum th_handoff_mode)seeded_between(seeded, TH_HANDOFF_STEP,
                                                                TH_HANDOFF_OFF),
                   .backward = seeded_bits(seeded) & 1,
                   .deadband_ns = seeded_magnitude(seeded, S),
                   .max_step_ns = seeded_between(seeded, 0, 3) == 0
                                      ? -1
                                      : seeded_magnitude(seeded, INT64_MAX)},
        .input = {.trigger = (enum th_trigger)seeded_between(seeded, TH_TRIGGER_MIGRATED,
                                                             TH_TRIGGER_REQUEST),
                  .host_synchronised = (enum th_ternary)seeded_between(seeded, 0, TH_YES),
                  .missed_event = seeded_bits(seeded) & 1,
                  .event_age_ns = random_ns(seeded),
                  .now = {random_ns(seeded), seeded_magnitude(seeded, S), random_ns(seeded)},
                  .has_earlier = seeded_bits(seeded) & 1,
                  .earlier = {random_ns(seeded), seeded_magnitude(seeded, S), random_ns(seeded)}},
    };
}

static uint64_t magnitude(int64_t value) {
    return value < 0 ? -(uint64_t)value : (uint64_t)value;
}

static void steps_are_never_forbidden_ones(void **state) {
    struct seeded seeded = seeded_start("steps_are_never_forbidden_ones");
    unsigned steps = 0;

    (void)state;
    for (int i = 0; i < CASES; i++) {
        struct scene scene = random_scene(&seeded);
        const struct th_decision_policy *policy = &scene.policy;
        const struct th_decision_input *input = &scene.input;
        enum th_decision decision = th_decision_make(policy, input);
        uint64_t size_ns = magnitude(input->now.offset_ns);

        assert_true(decision >= TH_DECIDE_STEP && decision <= TH_DECIDE_UNCERTAIN);
        if (decision != TH_DECIDE_STEP) {
            continue;
        }
        steps++;
        assert_int_equal(policy->mode, TH_HANDOFF_STEP);
        assert_int_equal(input->host_synchronised, TH_YES);
        assert_true(policy->backward || input->now.offset_ns < 0);
        assert_true(policy->max_step_ns < 0 || size_ns <= (uint64_t)policy->max_step_ns);
        assert_true(size_ns > (uint64_t)policy->deadband_ns);
        assert_true(size_ns > (uint64_t)input->now.bound_ns);
        assert_true(input->trigger != TH_TRIGGER_RECONCILE || input->missed_event);
    }
    assert_true(steps > CASES / 200);
}

/* Whatever the mode, it only ever turns a step into a report or everything off. */
static void mode_changes_steps_only(void **state) {
    struct seeded seeded = seeded_start("mode_changes_steps_only");

    (void)state;
    for (int i = 0; i < CASES; i++) {
        struct scene scene = random_scene(&seeded);
        enum th_decision step, report;

        scene.policy.mode = TH_HANDOFF_STEP;
        step = th_decision_make(&scene.policy, &scene.input);
        scene.policy.mode = TH_HANDOFF_REPORT;
        report = th_decision_make(&scene.policy, &scene.input);
        assert_int_equal(report, step == TH_DECIDE_STEP ? TH_DECIDE_REPORT_ONLY : step);
    }
}

static void names(void **state) {
    (void)state;
    for (enum th_decision decision = TH_DECIDE_STEP; decision <= TH_DECIDE_UNCERTAIN; decision++) {
        assert_string_not_equal(th_decision_name(decision), "unknown");
        for (enum th_decision other = TH_DECIDE_STEP; other < decision; other++) {
            assert_string_not_equal(th_decision_name(decision), th_decision_name(other));
        }
    }
    for (enum th_trigger trigger = TH_TRIGGER_MIGRATED; trigger <= TH_TRIGGER_REQUEST; trigger++) {
        assert_string_not_equal(th_trigger_name(trigger), "unknown");
        for (enum th_trigger other = TH_TRIGGER_MIGRATED; other < trigger; other++) {
            assert_string_not_equal(th_trigger_name(trigger), th_trigger_name(other));
        }
    }
    assert_string_equal(th_decision_name(0), "unknown");
    assert_string_equal(th_decision_name(TH_DECIDE_UNCERTAIN + 1), "unknown");
    assert_string_equal(th_trigger_name(0), "unknown");
    assert_string_equal(th_trigger_name(TH_TRIGGER_REQUEST + 1), "unknown");
    assert_string_equal(th_trigger_name(TH_TRIGGER_HOST_WAKEUP), "host-wakeup");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_events_step),
        cmocka_unit_test(policy_comes_first),
        cmocka_unit_test(requests_obey_policy),
        cmocka_unit_test(unsynchronised_hosts_never_step),
        cmocka_unit_test(deadband),
        cmocka_unit_test(backward),
        cmocka_unit_test(max_step),
        cmocka_unit_test(age_of_an_event),
        cmocka_unit_test(reconcile),
        cmocka_unit_test(late_beyond_any_slewing),
        cmocka_unit_test(slope),
        cmocka_unit_test(slope_at_the_edge),
        cmocka_unit_test(slope_is_for_the_late_path_only),
        cmocka_unit_test(steps_are_never_forbidden_ones),
        cmocka_unit_test(mode_changes_steps_only),
        cmocka_unit_test(names),
    };

    return cmocka_run_group_tests_name("decision", tests, NULL, NULL);
}
