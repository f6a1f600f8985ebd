/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tests of judging sync states: chronyd's tracking report in the form in which chronyc prints it,
 * the kernel's numbers, and the reading of both on whatever machine this runs on.
 */
#include "timehandoff/sync.h"

#include "timehandoff/gap.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/timex.h>
#include <unistd.h>

#include <cmocka.h>

#define NOW_NS (INT64_C(1800000000) * TH_NS_PER_S)

/* ---- chronyd ---- */

/* A report with the given reference, time of last update, interval and leap status. */
static const char *tracking(const char *reference, const char *last_update, const char *interval,
                            const char *leap) {
    static char line[256];

    (void)snprintf(line, sizeof(line),
                   "%s,3,%s,-0.000123456,0.000001000,0.000002000,-12.345,0.001,0.050,"
                   "0.002000000,0.001500000,%s,%s\n",
                   reference, last_update, interval, leap);
    return line;
}

static void y_a_synchronised_chronyd(void **state) {
    struct th_sync sync;

    (void)state;
    assert_int_equal(th_sync_from_tracking(
                         tracking("C0000201,192.0.2.1", "1799999900.250000000", "64.2", "Normal"),
                         NOW_NS, &sync),
                     0);
    assert_int_equal(sync.synchronised, TH_YES);
    assert_int_equal(sync.from, TH_SYNC_FROM_CHRONYD);
    assert_int_equal(sync.stratum, 3);
    assert_int_equal(sync.age_ns, INT64_C(99750000000));
    /* 0.123456 ms to go, 1 ms of half root delay, 1.5 ms dispersion, and 50 ppm of 99.75 s. */
    assert_in_range(sync.error_ns, 123456 + 1000000 + 1500000 + 4987500, 7610956 + 10);
    assert_string_equal(sync.source, "192.0.2.1");
    assert_non_null(strstr(sync.reason, "99.75 s"));
    assert_int_equal(sync.slew_ppm, TH_GAP_RATE_UNKNOWN_PPM);
}

static void y_leap_seconds_are_synchronised_too(void **state) {
    static const char *const leaps[] = {"Insert second", "Delete second"};

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(leaps); i++) {
        struct th_sync sync;

        assert_int_equal(
            th_sync_from_tracking(tracking("50505300,PPS", "1799999999.0", "16.0", leaps[i]),
                                  NOW_NS, &sync),
            0);
        assert_int_equal(sync.synchronised, TH_YES);
        assert_string_equal(sync.source, "PPS");
    }
}

static void n_chronyd_says_that_it_is_not(void **state) {
    struct th_sync sync;

    (void)state;
    assert_int_equal(
        th_sync_from_tracking("00000000,,0,0.000000000,0.000000000,0.000000000,0.000000000,0.000,"
                              "0.000,0.000,1.000000000,1.000000000,0.0,Not synchronised\n",
                              NOW_NS, &sync),
        0);
    assert_int_equal(sync.synchronised, TH_NO);
    assert_int_equal(sync.error_ns, -1);
    assert_int_equal(sync.age_ns, -1);
    assert_int_equal(sync.stratum, 0);
    assert_string_equal(sync.source, "");
    assert_int_not_equal(sync.reason[0], '\0');
}

static void n_chronyd_serves_its_own_clock(void **state) {
    struct th_sync sync;

    (void)state;
    assert_int_equal(
        th_sync_from_tracking(tracking("7F7F0101,127.127.1.1", "1799999999.0", "0.0", "Normal"),
                              NOW_NS, &sync),
        0);
    assert_int_equal(sync.synchronised, TH_NO);
    assert_non_null(strstr(sync.reason, "local reference"));
}

static void y_and_n_old_updates(void **state) {
    static const struct {
        const char *last_update, *interval;
        enum th_ternary synchronised;
    } cases[] = {
        {"1799998977.0", "64.0", TH_YES},  /* 1023 s: always fresh enough */
        {"1799998975.0", "64.0", TH_NO},   /* 1025 s, over 8 x 64 */
        {"1799998975.0", "128.2", TH_YES}, /* 8 x 128.2 is 1025.6 */
        {"1799998974.0", "128.2", TH_NO},
        {"1799991810.0", "1024.0", TH_YES},
        {"1799991807.0", "1024.0", TH_NO},
        {"1799998975.0", "-64.0", TH_NO},
        {"1800000100.0", "64.0", TH_UNKNOWN}, /* from the future */
        {"0.0", "64.0", TH_NO},
        {"-5.0", "64.0", TH_NO},
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        struct th_sync sync;

        assert_int_equal(th_sync_from_tracking(tracking("C0000201,192.0.2.1", cases[i].last_update,
                                                        cases[i].interval, "Normal"),
                                               NOW_NS, &sync),
                         0);
        assert_int_equal(sync.synchronised, cases[i].synchronised);
    }
}

static void n_an_update_before_all_time(void **state) {
    struct th_sync sync;

    (void)state;
    assert_int_equal(
        th_sync_from_tracking(tracking("C0000201,192.0.2.1", "-9000000000.0", "64.2", "Normal"),
                              NOW_NS, &sync),
        0);
    assert_int_equal(sync.synchronised, TH_NO);
    assert_int_equal(sync.age_ns, -1);
}

static void n_lines_that_are_no_report(void **state) {
    static const char *const lines[] = {
        "",
        "\n",
        "506 Cannot talk to daemon\n",
        "501 Not authorised\n",
        ",,,,,,,,,,,,,",
        "C0000201,192.0.2.1,3,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,64.0",
        "C0000201,192.0.2.1,3,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,64.0,Normal,more",
        "C0000201,192.0.2.1,x,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,64.0,Normal",
        "C0000201,192.0.2.1,256,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,64.0,Normal",
        "C0000201,192.0.2.1,-3,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,64.0,Normal",
        "C0000201,192.0.2.1,3,,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,64.0,Normal",
        "C0000201,192.0.2.1,3,1.0,nan,0.0,0.0,0.0,0.0,0.0,0.0,0.0,64.0,Normal",
        "C0000201,192.0.2.1,3,1.0,1e3,0.0,0.0,0.0,0.0,0.0,0.0,0.0,64.0,Normal",
        "C0000201,192.0.2.1,3,1.0,.5,0.0,0.0,0.0,0.0,0.0,0.0,0.0,64.0,Normal",
        "C0000201,192.0.2.1,3,99999999999999999999.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,64.0,Normal",
        "C0000201,192.0.2.1,3,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,64.0,",
        "C00002,192.0.2.1,3,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,64.0,Normal",
    };
    char too_long[600];
    struct th_sync sync = {.stratum = 42};

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(lines); i++) {
        assert_int_equal(th_sync_from_tracking(lines[i], NOW_NS, &sync), -EBADMSG);
    }
    memset(too_long, '1', sizeof(too_long));
    too_long[sizeof(too_long) - 1] = '\0';
    assert_int_equal(th_sync_from_tracking(too_long, NOW_NS, &sync), -EBADMSG);
    assert_int_equal(sync.stratum, 42);
}

static void y_a_strange_source_name_is_cleaned(void **state) {
    struct th_sync sync;

    (void)state;
    assert_int_equal(
        th_sync_from_tracking(tracking("C0000201,evil\x1B[31m", "1799999999.0", "64.0", "Normal"),
                              NOW_NS, &sync),
        0);
    assert_string_equal(sync.source, "evil?[31m");
}

static void y_huge_numbers_do_not_overflow(void **state) {
    static const char line[] = "C0000201,a,3,8000000000.0,-8000000000.999999999999,0,0,0,0,0,"
                               "8000000000,8000000000,8000000000,Normal";
    struct th_sync sync;

    (void)state;
    assert_int_equal(th_sync_from_tracking(line, INT64_MAX, &sync), 0);
    assert_int_equal(sync.synchronised, TH_YES);
    assert_int_equal(sync.error_ns, INT64_MAX);
}

/* ---- the kernel ---- */

static void y_and_n_what_the_kernel_says(void **state) {
    static const struct {
        struct th_sync_kernel kernel;
        enum th_ternary synchronised;
        int64_t error_ns, age_ns;
    } cases[] = {
        /* Never set, and the daemon gone for 8.9 hours. */
        {{.maxerror_us = 16000000, .status = STA_UNSYNC, .tick_us = 10000}, TH_NO, -1, -1},
        {{.maxerror_us = 17000000, .tick_us = 10000}, TH_NO, -1, -1},
        {{.maxerror_us = -1, .tick_us = 10000}, TH_NO, -1, -1},
        {{.maxerror_us = 15999999, .tick_us = 10000}, TH_YES, INT64_C(15999999000), -1},
        /* chronyd without rtcsync. */
        {{.maxerror_us = 1234, .status = STA_UNSYNC, .tick_us = 10000}, TH_YES, 1234000, -1},
        /* Set to zero by its writer, 64 s ago. */
        {{.maxerror_us = 32000, .tick_us = 10000}, TH_YES, -1, 64 * TH_NS_PER_S},
        {{.maxerror_us = 0, .tick_us = 10000}, TH_YES, -1, 0},
        /* What is still being worked off belongs to the error. */
        {{.maxerror_us = 1, .tick_us = 10000, .offset = -7, .adjtime_us = 5}, TH_YES, 13000, -1},
        {{.maxerror_us = 1, .tick_us = 10000, .offset = -7, .status = STA_NANO}, TH_YES, 1007, -1},
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        struct th_sync sync = th_sync_from_kernel(&cases[i].kernel);

        assert_int_equal(sync.from, TH_SYNC_FROM_KERNEL);
        assert_int_equal(sync.synchronised, cases[i].synchronised);
        assert_int_equal(sync.error_ns, cases[i].error_ns);
        assert_int_equal(sync.age_ns, cases[i].age_ns);
        assert_int_not_equal(sync.reason[0], '\0');
        assert_int_equal(sync.slew_ppm, th_sync_slew_ppm(&cases[i].kernel));
    }
}

static void y_slewing_is_seen_however_it_is_done(void **state) {
    static const struct {
        struct th_sync_kernel kernel;
        uint32_t slew_ppm;
    } cases[] = {
        {{.tick_us = 10000}, 0},
        {{.tick_us = 10001}, 100},
        {{.tick_us = 9999}, 100},
        {{.tick_us = 11000}, 100000},
        {{.tick_us = 9000, .freq_scaled_ppm = -500L * 65536}, 100500},
        {{.tick_us = 10000, .freq_scaled_ppm = 1}, 1},
        {{.tick_us = 10000, .freq_scaled_ppm = -65537}, 2},
        {{.tick_us = 10000, .freq_scaled_ppm = 12L * 65536}, 12},
        /* Tick and frequency that all but cancel each other. */
        {{.tick_us = 10001, .freq_scaled_ppm = -99L * 65536}, 1},
        /* 400 ms at a time constant of 7: 400 ms / 2^9 a second; in either unit. */
        {{.tick_us = 10000, .offset = 400000, .constant = 7}, 782},
        {{.tick_us = 10000, .offset = -400000000, .constant = 7, .status = STA_NANO}, 782},
        {{.tick_us = 10000, .offset = 500000, .constant = 0}, 125000},
        {{.tick_us = 10000, .offset = 500000, .constant = -3}, 125000},
        {{.tick_us = 10000, .offset = 1, .constant = 99}, 1},
        {{.tick_us = 10000, .adjtime_us = -1}, 500},
        {{.tick_us = 10002, .freq_scaled_ppm = 65536, .offset = 4, .adjtime_us = 1}, 702},
        {{.tick_us = INT64_MAX, .freq_scaled_ppm = INT64_MAX}, UINT32_MAX},
        {{.tick_us = INT64_MIN, .freq_scaled_ppm = INT64_MIN, .offset = INT64_MIN}, UINT32_MAX},
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        assert_int_equal(th_sync_slew_ppm(&cases[i].kernel), cases[i].slew_ppm);
    }
}

/* ---- this machine ---- */

static void y_this_machine_can_be_asked(void **state) {
    struct th_sync_kernel kernel;
    struct th_sync sync = {.reason = ""};
    int64_t start_ns = th_now_mono_ns();

    (void)state;
    assert_int_equal(th_sync_ask_kernel(&kernel), 0);
    assert_in_range(kernel.tick_us, 9000, 11000);
    assert_int_equal(th_sync_read_kernel(&sync), 0);
    assert_int_equal(sync.from, TH_SYNC_FROM_KERNEL);
    assert_int_not_equal(sync.synchronised, TH_UNKNOWN);
    assert_int_equal(th_sync_read(2 * TH_NS_PER_S, &sync), 0);
    assert_int_not_equal(sync.from, TH_SYNC_FROM_NOTHING);
    assert_int_not_equal(sync.reason[0], '\0');
    assert_true(th_now_mono_ns() - start_ns < 30 * TH_NS_PER_S);
}

/* Whoever can't ask the time daemon must not take the kernel's word in its place. */
static void n_without_descriptors_nothing_is_known(void **state) {
    struct rlimit before, none;
    struct th_sync sync;
    int r, least = dup(STDERR_FILENO);

    (void)state;
    assert_true(least >= 0);
    close(least);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = (rlim_t)least;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    r = th_sync_read(2 * TH_NS_PER_S, &sync);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(r, 0);
    assert_int_equal(sync.synchronised, TH_UNKNOWN);
}

static void y_names(void **state) {
    (void)state;
    assert_string_equal(th_sync_from_name(TH_SYNC_FROM_NOTHING), "none");
    assert_string_equal(th_sync_from_name(TH_SYNC_FROM_CHRONYD), "chronyd");
    assert_string_equal(th_sync_from_name(TH_SYNC_FROM_KERNEL), "adjtimex");
    assert_string_equal(th_sync_from_name((enum th_sync_from)99), "none");
}

int main(void) {
    const struct CMUnitTest chronyd[] = {
        cmocka_unit_test(y_a_synchronised_chronyd),
        cmocka_unit_test(y_leap_seconds_are_synchronised_too),
        cmocka_unit_test(n_chronyd_says_that_it_is_not),
        cmocka_unit_test(n_chronyd_serves_its_own_clock),
        cmocka_unit_test(y_and_n_old_updates),
        cmocka_unit_test(n_an_update_before_all_time),
        cmocka_unit_test(n_lines_that_are_no_report),
        cmocka_unit_test(y_a_strange_source_name_is_cleaned),
        cmocka_unit_test(y_huge_numbers_do_not_overflow),
    };
    const struct CMUnitTest kernel[] = {
        cmocka_unit_test(y_and_n_what_the_kernel_says),
        cmocka_unit_test(y_slewing_is_seen_however_it_is_done),
    };
    const struct CMUnitTest machine[] = {
        cmocka_unit_test(y_this_machine_can_be_asked),
        cmocka_unit_test(n_without_descriptors_nothing_is_known),
        cmocka_unit_test(y_names),
    };

    return cmocka_run_group_tests_name("chronyd", chronyd, NULL, NULL) +
           cmocka_run_group_tests_name("kernel", kernel, NULL, NULL) +
           cmocka_run_group_tests_name("this machine", machine, NULL, NULL);
}
