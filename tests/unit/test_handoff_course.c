/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The handoff machine against a hundred thousand random courses of events: readings, replies,
 * errors, clocks and news in any order. Whatever comes, it ends within a bounded number of actions,
 * asks for no step that its rules forbid, and its record agrees with what was done.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "guest/burst.h"
#include "seeded.h"
#include "timehandoff/handoff.h"

#define MS TH_NS_PER_MS
#define S TH_NS_PER_S
#define REAL_BASE_NS (INT64_C(1790000000) * S)
#define MAX_ACTIONS 3000

static struct seeded seeded;

static int64_t random_below(int64_t limit) {
    return seeded_between(&seeded, 0, limit - 1);
}

static const char *outcome_name(int value) {
    return th_handoff_outcome_name((enum th_handoff_outcome)value);
}

struct course {
    struct th_now now;
    struct th_handoff *handoff;
    struct th_handoff_config config;
    int64_t offset_ns;
    struct th_burst burst; /* the last one, judged independently of the machine's */
    bool last_was_good;
    unsigned sent, actions;
};

static int64_t random_offset_ns(void) {
    static const int64_t sizes_ns[] = {MS, 15 * MS, 200 * MS, 3 * S, 20 * S, 7200 * S};
    int64_t size_ns = sizes_ns[random_below(TH_ELEMENTS(sizes_ns))];

    return random_below(2 * size_ns) - size_ns;
}

static void course_pass(struct course *course, int64_t ns) {
    course->now.real_ns += ns;
    course->now.mono_ns += ns;
    course->now.raw_ns += ns;
    course->now.boot_ns += ns;
    if (random_below(200) == 0) {
        course->now.real_ns += random_offset_ns();
    }
    if (random_below(50) == 0) {
        course->offset_ns = random_offset_ns();
    }
}

static int64_t random_pass_ns(void) {
    return random_below(8) == 0 ? random_below(40 * S) : random_below(3 * MS);
}

static enum th_agent_outcome random_outcome(unsigned good_of_16) {
    if (random_below(16) < good_of_16) {
        return TH_AGENT_OK;
    }
    return (enum th_agent_outcome)(1 + random_below(TH_AGENT_CONNECTION_LOST));
}

static void course_event(struct course *course) {
    switch (random_below(12)) {
    case 0: th_handoff_connected(course->handoff, &course->now); break;
    case 1:
        course->config.host_synchronised = (enum th_ternary)random_below(3);
        th_handoff_synchronised(course->handoff, course->config.host_synchronised);
        break;
    case 2:
        if (random_below(20) == 0) {
            th_handoff_void(course->handoff, "void", &course->now);
        }
        break;
    default: break;
    }
}

static void course_read(struct course *course, unsigned count) {
    enum th_agent_outcome outcome = TH_AGENT_OK;

    course->burst = (struct th_burst){0};
    for (unsigned i = 0; i < count && outcome == TH_AGENT_OK; i++) {
        struct th_now sent = course->now;
        int64_t guest_ns;

        outcome = random_outcome(15);
        course_pass(course, random_pass_ns() / 16);
        guest_ns = course->now.real_ns + course->offset_ns;
        course_pass(course, random_pass_ns() / 16);
        course_event(course);
        if (outcome == TH_AGENT_OK) {
            th_handoff_reading(course->handoff, guest_ns, &sent, &course->now);
            th_burst_add(&course->burst, guest_ns, &sent, &course->now, MS);
        }
    }
    course->last_was_good = outcome == TH_AGENT_OK;
    th_handoff_read_done(course->handoff, outcome, "words", &course->now);
}

static void course_set(struct course *course, int64_t lead_ns) {
    struct th_now sent = course->now;
    enum th_agent_outcome outcome = random_outcome(10);

    assert_true(course->last_was_good);
    assert_int_equal(course->config.host_synchronised, TH_YES);
    assert_int_equal(course->config.policy.mode, TH_HANDOFF_STEP);
    assert_true(course->config.policy.backward || lead_ns >= course->burst.best.offset_ns);
    assert_true(lead_ns >= 0);
    course->last_was_good = false;
    course_pass(course, random_pass_ns());
    course_event(course);
    if (random_below(4) != 0) {
        course->offset_ns = lead_ns - random_below(random_below(2) ? MS : 40 * MS);
    }
    course->sent++;
    th_handoff_set_done(course->handoff, outcome, "words", sent.real_ns + lead_ns, &sent,
                        &course->now);
}

static bool course_turn(struct course *course) {
    struct th_handoff_action action = th_handoff_next(course->handoff, &course->now);

    switch (action.what) {
    case TH_DO_READ: course_read(course, action.count); break;
    case TH_DO_SET: course_set(course, action.lead_ns); break;
    case TH_DO_WAIT:
        assert_true(action.until_mono_ns > course->now.mono_ns);
        assert_true(action.until_mono_ns < course->now.mono_ns + 400 * S);
        course_event(course);
        if (random_below(4) != 0) {
            course_pass(course, action.until_mono_ns - course->now.mono_ns);
        }
        break;
    case TH_DO_FINISH: return false;
    }
    return true;
}

static void course_start(struct course *course) {
    *course = (struct course){
        .now = {.real_ns = REAL_BASE_NS, .mono_ns = 500 * S, .raw_ns = 400 * S, .boot_ns = 600 * S},
        .offset_ns = random_offset_ns(),
        .config =
            {
                .name = "web1",
                .trigger = (enum th_trigger)(1 + random_below(TH_TRIGGER_REQUEST)),
                .event_mono_ns = random_below(3) == 0 ? 0 : 500 * S - random_below(10 * S),
                .policy =
                    {
                        .mode = (enum th_handoff_mode)(random_below(8) == 0 ? 1 + random_below(3)
                                                                            : TH_HANDOFF_STEP),
                        .backward = random_below(4) == 0,
                        .deadband_ns = 20 * MS,
                        .max_step_ns = random_below(2) == 0 ? -1 : 3600 * S,
                    },
                .target_ns = MS,
                .give_up_ns = random_below(300 * S),
                .host_synchronised = random_below(8) == 0 ? TH_NO : TH_YES,
                .missed_event = random_below(2) == 0,
                .wait_for_agent = random_below(2) == 0,
            },
    };
    assert_int_equal(th_handoff_new(&course->config, &course->now, &course->handoff), 0);
}

static void assert_record(const struct course *course) {
    const struct th_handoff_record *record = th_handoff_record(course->handoff);
    bool touched = record->outcome == TH_HANDOFF_STEPPED ||
                   record->outcome == TH_HANDOFF_IMPROVED || record->outcome == TH_HANDOFF_IN_DOUBT;

    assert_int_not_equal(record->outcome, TH_HANDOFF_PENDING);
    assert_true(record->steps <= course->sent && record->steps <= 4);
    assert_true(course->sent <= 10);
    if (course->sent == 0) {
        assert_false(touched);
        assert_int_equal(record->stepped_ns, 0);
    }
    if (record->outcome == TH_HANDOFF_STEPPED) {
        assert_true(record->has_residual && record->steps > 0);
        assert_true(llabs(record->residual.offset_ns) <= course->config.target_ns);
        assert_true(record->right_mono_ns > 0);
    }
}

static void test_any_course_ends_well(void **state) {
    unsigned outcomes[TH_HANDOFF_VOID + 1] = {0};
    unsigned most_actions = 0;

    (void)state;
    for (unsigned i = 0; i < 100000; i++) {
        struct course course;

        course_start(&course);
        while (course_turn(&course)) {
            assert_true(++course.actions < MAX_ACTIONS);
        }
        assert_record(&course);
        outcomes[th_handoff_record(course.handoff)->outcome]++;
        most_actions = course.actions > most_actions ? course.actions : most_actions;
        th_handoff_free(course.handoff);
    }
    print_message("most actions: %u;", most_actions);
    for (int i = TH_HANDOFF_NOT_NEEDED; i <= TH_HANDOFF_VOID; i++) {
        print_message(" %s %u", outcome_name(i), outcomes[i]);
        /* A course that is never taken would mean that this test does not test it. */
        assert_true(outcomes[i] > 0);
    }
    print_message("\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_course_ends_well),
    };

    seeded = seeded_start("handoff_course");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
