/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tests of durations in text: what is read and refused, how values are written, and that what is
 * written means the same when it is read again.
 */
#include "timehandoff/duration.h"

#include "seeded.h"
#include "timehandoff/base.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void y_durations(void **state) {
    static const struct {
        const char *text;
        int64_t ns;
    } cases[] = {
        {"0s", 0},
        {"1ns", 1},
        {"500ms", 500000000},
        {"500 ms", 500000000},
        {"1.5s", 1500000000},
        {"0.000000001s", 1},
        {"0.5ns", 1},
        {"0.4ns", 0},
        {"42us", 42000},
        {"2min", INT64_C(120000000000)},
        {"2h", INT64_C(7200000000000)},
        {"1d", INT64_C(86400000000000)},
        {"00010ms", 10000000},
        {"106751d", INT64_C(106751) * 86400 * TH_NS_PER_S},
        {"9223372036854775807ns", INT64_MAX},
        {"9223372036.854775807s", INT64_MAX},
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        int64_t ns = -1;

        assert_int_equal(th_duration_parse(cases[i].text, &ns), 0);
        assert_int_equal(ns, cases[i].ns);
    }
}

static void n_durations(void **state) {
    static const char *const no_durations[] = {
        NULL,   "",      " ",      "5",     "s",     "ms",    "-5ms",
        "+5ms", " 5ms",  "5ms ",   "5  ms", "5\tms", "5 ",    ".5s",
        "5.s",  "5..5s", "5.5.5s", "5,5s",  "5m",    "5sec",  "5MS",
        "5msx", "1e3s",  "0x10s",  "inf s", "nan",   "5 m s", "1.0000000000000001s",
    };
    static const char *const too_long[] = {"106752d", "9223372036854775808ns", "9223372036.9s",
                                           "99999999999999999999999999s", "9999999999999999999d"};
    int64_t ns = 42;

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(no_durations); i++) {
        assert_int_equal(th_duration_parse(no_durations[i], &ns), -EINVAL);
    }
    for (size_t i = 0; i < TH_ELEMENTS(too_long); i++) {
        assert_int_equal(th_duration_parse(too_long[i], &ns), -ERANGE);
    }
    assert_int_equal(ns, 42);
}

static void y_durations_are_written(void **state) {
    static const struct {
        int64_t ns;
        const char *text;
    } cases[] = {
        {0, "0 ns"},
        {1, "1 ns"},
        {-999, "-999 ns"},
        {1000, "1 us"},
        {1234, "1.234 us"},
        {9876, "9.876 us"},
        {10000, "0.01 ms"},
        {-40000, "-0.04 ms"},
        {42345, "0.042 ms"},
        {999600, "1 ms"},
        {500000000, "500 ms"},
        {12345678, "12.35 ms"},
        {999960000, "1 s"},
        {INT64_C(5012345678), "5.012 s"},
        {INT64_C(90000000000), "90 s"},
        {INT64_C(300000000000), "5 min"},
        {INT64_C(3600000000000), "1 h"},
        {INT64_C(5400000000000), "1.5 h"},
        {INT64_C(86400000000000), "24 h"},
        {INT64_C(172800000000000), "2 d"},
        {INT64_MAX, "106752 d"},
        {INT64_MIN, "-106752 d"},
    };
    char text[TH_DURATION_TEXT_SIZE];

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        assert_string_equal(th_duration_format(cases[i].ns, text), cases[i].text);
    }
}

static void y_what_is_written_is_read_again(void **state) {
    struct seeded seeded = seeded_start("duration");

    (void)state;
    for (int i = 0; i < 100000; i++) {
        int64_t ns = seeded_magnitude(&seeded, INT64_MAX / 2);
        char text[TH_DURATION_TEXT_SIZE], again[TH_DURATION_TEXT_SIZE];
        int64_t back_ns = -1;

        assert_int_equal(th_duration_parse(th_duration_format(ns, text), &back_ns), 0);
        /* Four digits, or a thousandth of a millisecond just above 10 us. */
        assert_true(fabs((double)back_ns - (double)ns) <= fmax((double)ns * 0.0005, 0.5) ||
                    (ns < 1000000 && llabs(back_ns - ns) <= 500));
        assert_string_equal(th_duration_format(back_ns, again), text);
    }
}

/* Value and bound, as printed, hold the truth. */
static void within_a_bound(void **state) {
    static const struct {
        int64_t ns, bound_ns;
        const char *text;
    } cases[] = {
        {INT64_C(5002626000), 2626000, "5.0026 s"},
        {INT64_C(5000016402), 28284, "5.000016 s"},
        {-INT64_C(265947291), 333105, "-265.95 ms"},
        {500000000, 1000, "500 ms"},
        {6920, 13000, "6.92 us"},
        {INT64_C(3600000000001), 1, "1 h"},
        {-7, 1, "-7 ns"},
    };
    char text[TH_DURATION_TEXT_SIZE];

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        assert_string_equal(th_duration_format_within(cases[i].ns, cases[i].bound_ns, text),
                            cases[i].text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(y_durations),
        cmocka_unit_test(n_durations),
        cmocka_unit_test(y_durations_are_written),
        cmocka_unit_test(y_what_is_written_is_read_again),
        cmocka_unit_test(within_a_bound),
    };

    return cmocka_run_group_tests_name("duration", tests, NULL, NULL);
}
