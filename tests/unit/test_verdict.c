/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The verdict: every rule as a row of a table, every limit to the nanosecond, and as properties
 * over random inputs what must hold whatever the rules: a proven gap is never allowed, a larger gap
 * is never judged milder, and what is worse known is never judged milder either.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "seeded.h"
#include "timehandoff/verdict.h"

#define MS TH_NS_PER_MS
#define CASES 100000

static struct th_verdict_policy defaults(void) {
    struct th_verdict_policy policy;

    th_verdict_policy_init(&policy);
    return policy;
}

static struct th_verdict_input measured(int64_t offset_ns, int64_t bound_ns) {
    return (struct th_verdict_input){
        .source = TH_SOURCE_MEASURED,
        .gap = {.offset_ns = offset_ns, .bound_ns = bound_ns},
        .source_synchronised = TH_YES,
        .destination_synchronised = TH_YES,
    };
}

static void is_verdict(struct th_verdict verdict, enum th_action action, enum th_reason reason) {
    if (verdict.action != action || verdict.reason != reason) {
        fail_msg("%s %s instead of %s %s", th_action_name(verdict.action),
                 th_reason_name(verdict.reason), th_action_name(action), th_reason_name(reason));
    }
}

static void default_policy(void **state) {
    struct th_verdict_policy policy = defaults();

    (void)state;
    assert_int_equal(policy.warn_ns, 50 * MS);
    assert_int_equal(policy.block_ns, 500 * MS);
    assert_int_equal(policy.unauthenticated, TH_BLOCK);
    assert_int_equal(policy.gap_source_wrong, TH_BLOCK);
    assert_int_equal(policy.source_unknown, TH_WARN);
    assert_int_equal(policy.source_unreachable, TH_WARN);
    assert_int_equal(policy.source_unsynchronised, TH_WARN);
    assert_int_equal(policy.destination_unsynchronised, TH_WARN);
}

/* Each limit at the nanosecond before, on and after it, on both sides of zero. */
static void limits(void **state) {
    static const struct {
        int64_t offset_ns, bound_ns;
        enum th_action action;
        enum th_reason reason;
    } rows[] = {
        {0, 1, TH_ALLOW, TH_REASON_GAP_OK},
        {0, 50 * MS, TH_ALLOW, TH_REASON_GAP_OK},
        {0, 50 * MS + 1, TH_WARN, TH_REASON_GAP_UNCERTAIN},
        {49 * MS, MS - 1, TH_ALLOW, TH_REASON_GAP_OK},
        {49 * MS, MS, TH_ALLOW, TH_REASON_GAP_OK},
        {49 * MS, MS + 1, TH_WARN, TH_REASON_GAP_UNCERTAIN},
        {51 * MS, MS, TH_WARN, TH_REASON_GAP_UNCERTAIN},
        {51 * MS, MS - 1, TH_WARN, TH_REASON_GAP_OVER_WARN},
        {499 * MS, MS, TH_WARN, TH_REASON_GAP_OVER_WARN},
        {499 * MS, 2 * MS, TH_WARN, TH_REASON_GAP_OVER_WARN},
        {501 * MS, MS + 1, TH_WARN, TH_REASON_GAP_OVER_WARN},
        {501 * MS, MS, TH_WARN, TH_REASON_GAP_OVER_WARN},
        {501 * MS, MS - 1, TH_BLOCK, TH_REASON_GAP_OVER_BLOCK},
        {500 * MS, 0, TH_WARN, TH_REASON_GAP_OVER_WARN},
        {500 * MS + 1, 0, TH_BLOCK, TH_REASON_GAP_OVER_BLOCK},
        {500 * MS, 480 * MS, TH_WARN, TH_REASON_GAP_UNCERTAIN},
        {INT64_MAX, 0, TH_BLOCK, TH_REASON_GAP_OVER_BLOCK},
        {INT64_MAX, INT64_MAX, TH_WARN, TH_REASON_GAP_UNCERTAIN},
        {INT64_MAX, INT64_MAX - 500 * MS - 1, TH_BLOCK, TH_REASON_GAP_OVER_BLOCK},
        {INT64_MAX, -1, TH_WARN, TH_REASON_GAP_UNCERTAIN},
        {0, -1, TH_WARN, TH_REASON_GAP_UNCERTAIN},
        {0, INT64_MIN, TH_WARN, TH_REASON_GAP_UNCERTAIN},
        {0, INT64_MAX, TH_WARN, TH_REASON_GAP_UNCERTAIN},
    };
    struct th_verdict_policy policy = defaults();

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(rows); i++) {
        struct th_verdict_input input = measured(rows[i].offset_ns, rows[i].bound_ns);

        is_verdict(th_verdict_decide(&policy, &input), rows[i].action, rows[i].reason);
        input.gap.offset_ns = -rows[i].offset_ns;
        is_verdict(th_verdict_decide(&policy, &input), rows[i].action, rows[i].reason);
    }
}

static void least_gap(void **state) {
    struct th_verdict_policy policy = defaults();
    struct th_verdict_input input = measured(INT64_MIN, INT64_MAX);

    (void)state;
    is_verdict(th_verdict_decide(&policy, &input), TH_WARN, TH_REASON_GAP_UNCERTAIN);
    input.gap.bound_ns = 0;
    is_verdict(th_verdict_decide(&policy, &input), TH_BLOCK, TH_REASON_GAP_OVER_BLOCK);
    policy.warn_ns = 0;
    policy.block_ns = 0;
    input = measured(0, 0);
    is_verdict(th_verdict_decide(&policy, &input), TH_ALLOW, TH_REASON_GAP_OK);
    input = measured(1, 0);
    is_verdict(th_verdict_decide(&policy, &input), TH_BLOCK, TH_REASON_GAP_OVER_BLOCK);
}

/* Everything that isn't the gap, under the default policy. */
static void circumstances(void **state) {
    enum { OK = 0, WARN = 100, UNSURE = 40, BLOCK = 1000 };
    static const struct {
        enum th_source_state source;
        int64_t gap_ms;
        bool key_expected, authenticated;
        enum th_ternary source_synchronised, destination_synchronised;
        enum th_action action;
        enum th_reason reason;
    } rows[] = {
        {TH_SOURCE_UNKNOWN, OK, false, false, TH_UNKNOWN, TH_YES, TH_WARN,
         TH_REASON_SOURCE_UNKNOWN},
        {TH_SOURCE_UNKNOWN, OK, true, false, TH_NO, TH_NO, TH_WARN, TH_REASON_SOURCE_UNKNOWN},
        {TH_SOURCE_UNREACHABLE, BLOCK, true, false, TH_NO, TH_YES, TH_WARN,
         TH_REASON_SOURCE_UNREACHABLE},
        {TH_SOURCE_OFFLINE, BLOCK, true, false, TH_NO, TH_NO, TH_ALLOW, TH_REASON_OFFLINE},
        {TH_SOURCE_MEASURED, OK, true, true, TH_YES, TH_YES, TH_ALLOW, TH_REASON_GAP_OK},
        {TH_SOURCE_MEASURED, OK, false, false, TH_YES, TH_YES, TH_ALLOW, TH_REASON_GAP_OK},
        {TH_SOURCE_MEASURED, OK, false, false, TH_UNKNOWN, TH_UNKNOWN, TH_ALLOW, TH_REASON_GAP_OK},
        {TH_SOURCE_MEASURED, OK, true, false, TH_YES, TH_YES, TH_BLOCK, TH_REASON_UNAUTHENTICATED},
        {TH_SOURCE_MEASURED, BLOCK, true, false, TH_YES, TH_YES, TH_BLOCK,
         TH_REASON_GAP_OVER_BLOCK},
        {TH_SOURCE_MEASURED, OK, false, false, TH_NO, TH_YES, TH_WARN,
         TH_REASON_SOURCE_UNSYNCHRONISED},
        {TH_SOURCE_MEASURED, OK, false, false, TH_YES, TH_NO, TH_WARN,
         TH_REASON_DESTINATION_UNSYNCHRONISED},
        {TH_SOURCE_MEASURED, OK, false, false, TH_NO, TH_NO, TH_WARN,
         TH_REASON_DESTINATION_UNSYNCHRONISED},
        {TH_SOURCE_MEASURED, UNSURE, false, false, TH_NO, TH_NO, TH_WARN, TH_REASON_GAP_UNCERTAIN},
        {TH_SOURCE_MEASURED, WARN, false, false, TH_NO, TH_NO, TH_WARN, TH_REASON_GAP_OVER_WARN},
        {TH_SOURCE_MEASURED, BLOCK, false, false, TH_NO, TH_YES, TH_BLOCK,
         TH_REASON_GAP_SOURCE_WRONG},
        {TH_SOURCE_MEASURED, BLOCK, false, false, TH_NO, TH_UNKNOWN, TH_BLOCK,
         TH_REASON_GAP_OVER_BLOCK},
        {TH_SOURCE_MEASURED, BLOCK, false, false, TH_UNKNOWN, TH_YES, TH_BLOCK,
         TH_REASON_GAP_OVER_BLOCK},
        {TH_SOURCE_MEASURED, BLOCK, false, false, TH_NO, TH_NO, TH_BLOCK, TH_REASON_GAP_OVER_BLOCK},
        {TH_SOURCE_MEASURED, BLOCK, true, false, TH_NO, TH_YES, TH_BLOCK,
         TH_REASON_GAP_SOURCE_WRONG},
    };
    struct th_verdict_policy policy = defaults();

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(rows); i++) {
        struct th_verdict_input input = measured(rows[i].gap_ms * MS, 20 * MS);

        input.source = rows[i].source;
        input.key_expected = rows[i].key_expected;
        input.authenticated = rows[i].authenticated;
        input.source_synchronised = rows[i].source_synchronised;
        input.destination_synchronised = rows[i].destination_synchronised;
        is_verdict(th_verdict_decide(&policy, &input), rows[i].action, rows[i].reason);
    }
}

/* What each policy does when it isn't the default. */
static void policies(void **state) {
    struct th_verdict_policy policy = defaults();
    struct th_verdict_input input = measured(1000 * MS, MS);

    (void)state;
    input.source_synchronised = TH_NO;
    policy.gap_source_wrong = TH_ALLOW;
    is_verdict(th_verdict_decide(&policy, &input), TH_WARN, TH_REASON_SOURCE_UNSYNCHRONISED);
    policy.source_unsynchronised = TH_ALLOW;
    is_verdict(th_verdict_decide(&policy, &input), TH_ALLOW, TH_REASON_GAP_SOURCE_WRONG);
    policy.gap_source_wrong = TH_WARN;
    is_verdict(th_verdict_decide(&policy, &input), TH_WARN, TH_REASON_GAP_SOURCE_WRONG);
    policy.source_unsynchronised = TH_BLOCK;
    is_verdict(th_verdict_decide(&policy, &input), TH_BLOCK, TH_REASON_SOURCE_UNSYNCHRONISED);

    policy = defaults();
    input = measured(100 * MS, MS);
    input.destination_synchronised = TH_NO;
    policy.destination_unsynchronised = TH_BLOCK;
    is_verdict(th_verdict_decide(&policy, &input), TH_BLOCK, TH_REASON_DESTINATION_UNSYNCHRONISED);
    input.source = TH_SOURCE_UNKNOWN;
    is_verdict(th_verdict_decide(&policy, &input), TH_BLOCK, TH_REASON_DESTINATION_UNSYNCHRONISED);
    policy.source_unknown = TH_BLOCK;
    is_verdict(th_verdict_decide(&policy, &input), TH_BLOCK, TH_REASON_SOURCE_UNKNOWN);
    policy.destination_unsynchronised = TH_ALLOW;
    policy.source_unknown = TH_ALLOW;
    is_verdict(th_verdict_decide(&policy, &input), TH_ALLOW, TH_REASON_SOURCE_UNKNOWN);
    input.source = TH_SOURCE_UNREACHABLE;
    policy.source_unreachable = TH_BLOCK;
    is_verdict(th_verdict_decide(&policy, &input), TH_BLOCK, TH_REASON_SOURCE_UNREACHABLE);

    /* What is said of a source that didn't answer is nobody's knowledge. */
    policy = defaults();
    policy.source_unsynchronised = TH_BLOCK;
    input.source_synchronised = TH_NO;
    input.destination_synchronised = TH_YES;
    is_verdict(th_verdict_decide(&policy, &input), TH_WARN, TH_REASON_SOURCE_UNREACHABLE);
    policy.unauthenticated = TH_BLOCK;
    input.key_expected = true;
    is_verdict(th_verdict_decide(&policy, &input), TH_WARN, TH_REASON_SOURCE_UNREACHABLE);

    policy = defaults();
    input = measured(0, MS);
    input.key_expected = true;
    policy.unauthenticated = TH_WARN;
    is_verdict(th_verdict_decide(&policy, &input), TH_WARN, TH_REASON_UNAUTHENTICATED);
    policy.unauthenticated = TH_ALLOW;
    is_verdict(th_verdict_decide(&policy, &input), TH_ALLOW, TH_REASON_GAP_OK);
}

/* ---- properties ---- */

static int64_t random_ns(struct seeded *seeded) {
    int64_t size_ns = seeded_magnitude(seeded, INT64_MAX);

    /* Half of them near a limit, where mistakes live. */
    if (seeded_bits(seeded) & 1) {
        size_ns = (seeded_bits(seeded) & 1 ? 50 : 500) * MS + seeded_between(seeded, -3, 3);
    }
    return seeded_bits(seeded) & 1 ? size_ns : -size_ns;
}

static struct th_verdict_input random_input(struct seeded *seeded) {
    struct th_verdict_input input = measured(random_ns(seeded), 0);

    input.gap.bound_ns = seeded_magnitude(seeded, seeded_bits(seeded) & 1 ? MS : INT64_MAX);
    input.key_expected = seeded_bits(seeded) & 1;
    input.authenticated = seeded_bits(seeded) & 1;
    input.source_synchronised = (enum th_ternary)seeded_between(seeded, TH_UNKNOWN, TH_YES);
    input.destination_synchronised = (enum th_ternary)seeded_between(seeded, TH_UNKNOWN, TH_YES);
    return input;
}

static uint64_t magnitude(int64_t value) {
    return value < 0 ? -(uint64_t)value : (uint64_t)value;
}

static void proven_gaps_are_never_allowed(void **state) {
    struct seeded seeded = seeded_start("proven_gaps_are_never_allowed");
    struct th_verdict_policy policy = defaults();
    unsigned blocked = 0, allowed = 0;

    (void)state;
    for (int i = 0; i < CASES; i++) {
        struct th_verdict_input input = random_input(&seeded);
        struct th_verdict verdict = th_verdict_decide(&policy, &input);
        uint64_t size_ns = magnitude(input.gap.offset_ns);
        uint64_t bound_ns = (uint64_t)input.gap.bound_ns;

        if (size_ns > bound_ns && size_ns - bound_ns > 500u * (uint64_t)MS) {
            assert_int_equal(verdict.action, TH_BLOCK);
            blocked++;
        }
        if (verdict.action == TH_ALLOW) {
            assert_true(size_ns + bound_ns <= 50u * (uint64_t)MS);
            assert_int_equal(verdict.reason, TH_REASON_GAP_OK);
            allowed++;
        }
    }
    /* The inputs must have reached both ends, or this has tested nothing. */
    assert_true(blocked > CASES / 100 && allowed > CASES / 1000);
}

static enum th_action random_action(struct seeded *seeded) {
    return (enum th_action)seeded_between(seeded, TH_ALLOW, TH_BLOCK);
}

static void larger_is_never_milder(void **state) {
    struct seeded seeded = seeded_start("larger_is_never_milder");

    (void)state;
    for (int i = 0; i < CASES; i++) {
        struct th_verdict_policy policy = {
            .warn_ns = seeded_magnitude(&seeded, 50 * MS),
            .block_ns = 50 * MS + seeded_magnitude(&seeded, 500 * MS),
            .source_unknown = random_action(&seeded),
            .source_unreachable = random_action(&seeded),
            .unauthenticated = random_action(&seeded),
            .source_unsynchronised = random_action(&seeded),
            .destination_unsynchronised = random_action(&seeded),
            /* allow is the exception by design: moving away from a wrong host heals. */
            .gap_source_wrong = (enum th_action)seeded_between(&seeded, TH_WARN, TH_BLOCK),
        };
        struct th_verdict_input small = random_input(&seeded), large = small;
        struct th_verdict a, b;

        large.gap.offset_ns = random_ns(&seeded);
        if (magnitude(large.gap.offset_ns) < magnitude(small.gap.offset_ns)) {
            int64_t swap_ns = small.gap.offset_ns;

            small.gap.offset_ns = large.gap.offset_ns;
            large.gap.offset_ns = swap_ns;
        }
        a = th_verdict_decide(&policy, &small);
        b = th_verdict_decide(&policy, &large);
        assert_true(b.action >= a.action);
        assert_true(a.action >= TH_ALLOW && b.action <= TH_BLOCK);
        assert_true(a.reason >= TH_REASON_GAP_OK && a.reason < TH_REASON_OFFLINE);
    }
}

/* A wider bound may turn block to warn, but never anything to allow. */
static void wider_is_never_allowed_sooner(void **state) {
    struct seeded seeded = seeded_start("wider_is_never_allowed_sooner");
    struct th_verdict_policy policy = defaults();

    (void)state;
    for (int i = 0; i < CASES; i++) {
        struct th_verdict_input narrow = random_input(&seeded), wide = narrow;

        wide.gap.bound_ns =
            narrow.gap.bound_ns + seeded_magnitude(&seeded, INT64_MAX - narrow.gap.bound_ns);
        if (th_verdict_decide(&policy, &wide).action == TH_ALLOW) {
            assert_int_equal(th_verdict_decide(&policy, &narrow).action, TH_ALLOW);
        }
    }
}

static void names(void **state) {
    (void)state;
    for (enum th_action action = TH_ALLOW; action <= TH_BLOCK; action++) {
        assert_int_equal(th_action_parse(th_action_name(action)), action);
    }
    assert_int_equal(th_action_parse("Allow"), 0);
    assert_int_equal(th_action_parse(""), 0);
    assert_string_equal(th_action_name(0), "unknown");
    assert_string_equal(th_action_name(TH_BLOCK + 1), "unknown");
    for (enum th_reason reason = TH_REASON_GAP_OK; reason < TH_REASONS; reason++) {
        const char *name = th_reason_name(reason);

        assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz-"), strlen(name));
        assert_string_not_equal(name, "unknown");
        for (enum th_reason other = TH_REASON_GAP_OK; other < reason; other++) {
            assert_string_not_equal(name, th_reason_name(other));
        }
    }
    assert_string_equal(th_reason_name(0), "unknown");
    assert_string_equal(th_reason_name(TH_REASONS), "unknown");
    assert_string_equal(th_reason_name(TH_REASON_GAP_OVER_BLOCK), "gap-over-block");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(default_policy),
        cmocka_unit_test(limits),
        cmocka_unit_test(least_gap),
        cmocka_unit_test(circumstances),
        cmocka_unit_test(policies),
        cmocka_unit_test(proven_gaps_are_never_allowed),
        cmocka_unit_test(larger_is_never_milder),
        cmocka_unit_test(wider_is_never_allowed_sooner),
        cmocka_unit_test(names),
    };

    return cmocka_run_group_tests_name("verdict", tests, NULL, NULL);
}
