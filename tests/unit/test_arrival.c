/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Arrival notes in a folder of the test's own: what the checker writes the daemon takes, once, and
 * what nobody will take any more is swept away, as a guest that never came would otherwise leave
 * its note for the next migration to find.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "config/arrival.h"

#define S TH_NS_PER_S
#define HERE "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
#define GONE "6ba7b811-9dad-11d1-80b4-00c04fd430c8"

static char path[] = "/tmp/test-arrival-XXXXXX";
static int folder; /* as the daemon has it: nothing can be read from it */

static struct th_uuid uuid_of(const char *text) {
    struct th_uuid uuid;

    assert_int_equal(th_uuid_parse(text, &uuid), 0);
    return uuid;
}

static void set_age(const char *name, int64_t age_ns) {
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}};

    times[1].tv_sec = (time_t)((th_now_real_ns() - age_ns) / S);
    assert_int_equal(utimensat(folder, name, times, AT_SYMLINK_NOFOLLOW), 0);
}

static void put(const char *uuid, int64_t age_ns) {
    struct th_arrival arrival = {.uuid = uuid_of(uuid), .host = "hv1"};

    assert_int_equal(th_arrival_write(folder, &arrival), 0);
    set_age(uuid, age_ns);
}

static bool there(const char *name) {
    return faccessat(folder, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool is_here(void *userdata, const struct th_uuid *uuid) {
    struct th_uuid here = uuid_of(HERE);

    (void)userdata;
    return th_uuid_equal(uuid, &here);
}

static void sweep(void) {
    assert_int_equal(th_arrival_sweep(folder, th_now_real_ns(), is_here, NULL), 0);
}

static void taken_once(void **state) {
    struct th_arrival arrival = {.uuid = uuid_of(HERE),
                                 .host = "hv1\x1b",
                                 .has_gap = true,
                                 .gap = {.offset_ns = -5 * S, .bound_ns = 7, .delay_ns = 9}};
    struct th_arrival back;

    (void)state;
    assert_int_equal(th_arrival_write(folder, &arrival), 0);
    assert_int_equal(th_arrival_take(folder, &arrival.uuid, th_now_real_ns(), &back), 0);
    assert_true(back.has_gap);
    assert_true(back.gap.offset_ns == -5 * S && back.gap.bound_ns == 7 && back.gap.delay_ns == 9);
    assert_string_equal(back.host, "hv1?");
    assert_int_equal(th_arrival_take(folder, &arrival.uuid, th_now_real_ns(), &back), -ENOENT);
}

/* Clocks can be half a century apart: one that starts in 1970 is. */
static void any_gap_comes_back(void **state) {
    struct th_arrival arrival = {
        .uuid = uuid_of(HERE),
        .has_gap = true,
        .gap = {.offset_ns = INT64_MIN, .bound_ns = INT64_MAX, .delay_ns = INT64_MAX}};
    struct th_arrival back;

    (void)state;
    assert_int_equal(th_arrival_write(folder, &arrival), 0);
    assert_int_equal(th_arrival_take(folder, &arrival.uuid, th_now_real_ns(), &back), 0);
    assert_memory_equal(&back.gap, &arrival.gap, sizeof(back.gap));
}

static void no_notes(void **state) {
    static const char *const bad[] = {
        "",
        "1 2 3 4",
        "1 1 -5 4\nhv1\n",
        "1 1 0 4\nhv1\n",
        "1 1 5 -4\nhv1\n",
        "1 9999999999999999999 5 4\nhv1\n",
        "2 1 5 4\nhv1\n",
        "1 1 5\nhv1\n",
        "1 1 5 4 3\nhv1\n",
        "1 1 5 4x\nhv1\n",
        "1  1 5 4\nhv1\n",
    };
    struct th_uuid uuid = uuid_of(HERE);
    struct th_arrival back;

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(bad); i++) {
        int fd = openat(folder, HERE, O_WRONLY | O_CREAT | O_TRUNC, 0640);

        assert_true(fd >= 0 && write(fd, bad[i], strlen(bad[i])) == (ssize_t)strlen(bad[i]));
        assert_int_equal(close(fd), 0);
        assert_int_equal(th_arrival_take(folder, &uuid, th_now_real_ns(), &back), -EBADMSG);
    }
}

static void old_ones_are_not_taken(void **state) {
    struct th_uuid uuid = uuid_of(HERE);
    struct th_arrival back;

    (void)state;
    put(HERE, TH_ARRIVAL_MAX_AGE_NS + 5 * S);
    assert_int_equal(th_arrival_take(folder, &uuid, th_now_real_ns(), &back), -ENOENT);
    assert_false(there(HERE));
}

/* The guest may be on its way: its check was a moment ago. */
static void young_ones_stay(void **state) {
    (void)state;
    put(HERE, 0);
    put(GONE, TH_ARRIVAL_WAIT_NS - 30 * S);
    sweep();
    assert_true(there(HERE) && there(GONE));
}

/* One that arrived paused has its handoff when it runs. */
static void stays_with_its_domain(void **state) {
    (void)state;
    put(HERE, TH_ARRIVAL_WAIT_NS + 30 * S);
    put(GONE, TH_ARRIVAL_WAIT_NS + 30 * S);
    sweep();
    assert_true(there(HERE));
    assert_false(there(GONE));
    set_age(HERE, TH_ARRIVAL_MAX_AGE_NS + 30 * S);
    sweep();
    assert_false(there(HERE));
}

/* What a checker that was killed left, and what is no note at all. A folder is nobody's here. */
static void other_things(void **state) {
    int fd = openat(folder, "." HERE ".77", O_CREAT | O_WRONLY, 0600);

    (void)state;
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(symlinkat("/etc/passwd", folder, HERE), 0);
    assert_int_equal(mkdirat(folder, GONE, 0700), 0);
    set_age("." HERE ".77", TH_ARRIVAL_WAIT_NS + 30 * S);
    set_age(HERE, TH_ARRIVAL_MAX_AGE_NS + 30 * S);
    set_age(GONE, TH_ARRIVAL_MAX_AGE_NS + 30 * S);
    sweep();
    assert_false(there("." HERE ".77"));
    assert_false(there(HERE));
    assert_true(there(GONE));
    assert_int_equal(unlinkat(folder, GONE, AT_REMOVEDIR), 0);
    assert_int_equal(access("/etc/passwd", F_OK), 0);
}

static void no_folder(void **state) {
    (void)state;
    assert_int_equal(th_arrival_sweep(-1, th_now_real_ns(), is_here, NULL), -EBADF);
}

static int make_folder(void **state) {
    (void)state;
    folder = mkdtemp(path) ? open(path, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    return folder < 0 ? -1 : 0;
}

static int remove_notes(void **state) {
    (void)state;
    (void)unlinkat(folder, HERE, 0);
    (void)unlinkat(folder, GONE, 0);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    close(folder);
    return rmdir(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(taken_once),
        cmocka_unit_test(any_gap_comes_back),
        cmocka_unit_test(no_notes),
        cmocka_unit_test(old_ones_are_not_taken),
        cmocka_unit_test_teardown(young_ones_stay, remove_notes),
        cmocka_unit_test_teardown(stays_with_its_domain, remove_notes),
        cmocka_unit_test(other_things),
        cmocka_unit_test(no_folder),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
