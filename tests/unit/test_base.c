/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tests of the small values that everything else is built from: UUIDs, ternaries, foreign text,
 * hexadecimal, random bytes, files, ownership, clocks, and running another program within its
 * limits.
 */
#include "timehandoff/base.h"

#include "base/program.h"
#include "seeded.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- uuid ---- */

#define UUID_TEXT "0123abcd-4567-89ef-fedc-ba9876543210"

static void y_uuid_forms(void **state) {
    static const char *const forms[] = {UUID_TEXT, "0123ABCD-4567-89EF-FEDC-BA9876543210",
                                        "0123abcd456789effedcba9876543210"};
    char text[TH_UUID_TEXT_SIZE];

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(forms); i++) {
        struct th_uuid uuid;

        assert_int_equal(th_uuid_parse(forms[i], &uuid), 0);
        assert_int_equal(uuid.bytes[0], 0x01);
        assert_int_equal(uuid.bytes[15], 0x10);
        assert_string_equal(th_uuid_format(&uuid, text), UUID_TEXT);
    }
}

static void n_uuid_forms(void **state) {
    static const char *const forms[] = {
        NULL,
        "",
        "0123abcd-4567-89ef-fedc-ba987654321",
        "0123abcd-4567-89ef-fedc-ba98765432100",
        "0123abcd-4567-89ef-fedc-ba987654321g",
        "0123abcd-4567-89ef-fedcba98765432100",
        "0123abcd4567-89ef-fedc-ba9876543210-",
        "0123abcd456789effedcba987654321",
        "0123abcd456789effedcba98765432100",
        " 0123abcd456789effedcba987654321",
        "{0123abcd-4567-89ef-fedc-ba987654321}",
    };
    struct th_uuid uuid = {{42}};

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(forms); i++) {
        assert_int_equal(th_uuid_parse(forms[i], &uuid), -EINVAL);
        assert_int_equal(uuid.bytes[0], 42);
    }
}

static void y_uuid_compares(void **state) {
    struct th_uuid none = {{0}};
    struct th_uuid last = {.bytes = {[15] = 1}};

    (void)state;
    assert_true(th_uuid_is_none(&none));
    assert_false(th_uuid_is_none(&last));
    assert_true(th_uuid_equal(&last, &last));
    assert_false(th_uuid_equal(&last, &none));
}

/* ---- ternary ---- */

static void y_ternary_words_round_trip(void **state) {
    (void)state;
    for (int i = TH_UNKNOWN; i <= TH_YES; i++) {
        assert_int_equal(th_ternary_parse(th_ternary_name((enum th_ternary)i)), i);
    }
    assert_string_equal(th_ternary_name((enum th_ternary)77), "unknown");
    assert_int_equal(th_ternary_parse("Yes"), TH_UNKNOWN);
    assert_int_equal(th_ternary_parse(""), TH_UNKNOWN);
    assert_int_equal(th_ternary_parse(NULL), TH_UNKNOWN);
}

/* ---- text ---- */

static void y_text_is_cleaned(void **state) {
    static const struct {
        const char *text, *clean;
    } cases[] = {
        {NULL, ""},
        {"", ""},
        {"web1", "web1"},
        {"B\xC3\xBCro \xE2\x82\xAC \xF0\x9F\x95\x92", "B\xC3\xBCro \xE2\x82\xAC \xF0\x9F\x95\x92"},
        {"a\nb\tc\x1B[31m\x7F", "a?b?c?[31m?"},
        {"\xC2\x85"
         "x",
         "?x"}, /* next line, a C1 control */
        {"\xE2\x80\xAE"
         "evil",
         "?evil"}, /* right-to-left override */
        {"\xE2\x80\xA8"
         "line",
         "?line"}, /* line separator */
        {"\xE2\x81\xA6"
         "x",
         "?x"},                       /* isolate */
        {"\xC0\x80", "??"},           /* overlong NUL */
        {"\xE0\x80\xAF", "???"},      /* overlong slash */
        {"\xED\xA0\x80", "?"},        /* half of a pair */
        {"\xF4\x90\x80\x80", "????"}, /* beyond Unicode */
        {"\xFF\xFE"
         "ab",
         "??ab"},
        {"cut\xE2\x82", "cut??"}, /* ends within a character */
        {"\x80"
         "stray",
         "?stray"},
    };
    char buffer[64];

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        assert_string_equal(th_text_clean(cases[i].text, buffer, sizeof(buffer)), cases[i].clean);
    }
}

static void y_text_is_cut_between_characters(void **state) {
    char buffer[8];

    (void)state;
    assert_string_equal(th_text_clean("1234567", buffer, sizeof(buffer)), "1234567");
    assert_string_equal(th_text_clean("12345678", buffer, sizeof(buffer)), "1234567");
    assert_string_equal(th_text_clean("12345\xE2\x82\xAC", buffer, sizeof(buffer)), "12345");
    assert_string_equal(th_text_clean("x", buffer, 1), "");
    buffer[0] = 'k';
    assert_ptr_equal(th_text_clean("x", buffer, 0), buffer);
    assert_int_equal(buffer[0], 'k');
}

static void y_any_text_comes_out_clean(void **state) {
    struct seeded seeded = seeded_start("text");

    (void)state;
    for (int i = 0; i < seeded_cases(20000); i++) {
        char text[24], once[24], twice[24];
        size_t length = (size_t)seeded_between(&seeded, 0, sizeof(text) - 1);

        for (size_t k = 0; k < length; k++) {
            text[k] = (char)seeded_between(&seeded, 1, 255);
        }
        text[length] = '\0';
        (void)th_text_clean(text, once, sizeof(once));
        assert_string_equal(th_text_clean(once, twice, sizeof(twice)), once);
        for (const char *at = once; *at; at++) {
            assert_true((unsigned char)*at >= 0x20 && *at != 0x7F);
        }
    }
}

/* ---- hexadecimal and random ---- */

static void y_hex_round_trip(void **state) {
    uint8_t bytes[256], back[256];
    char text[513];

    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)i;
    }
    (void)th_hex_encode(bytes, sizeof(bytes), text);
    assert_memory_equal(text, "000102030405060708090a0b", 24);
    assert_int_equal(th_hex_decode(text, back, sizeof(back)), 0);
    assert_memory_equal(back, bytes, sizeof(back));
    assert_int_equal(th_hex_decode("aAfF", back, 2), 0);
    assert_memory_equal(back, "\xAA\xFF", 2);
    assert_int_equal(th_hex_decode("", back, 0), 0);
}

static void n_hex_texts(void **state) {
    uint8_t bytes[2] = {7, 7};
    char text[] = "0000";

    (void)state;
    assert_int_equal(th_hex_decode(NULL, bytes, 2), -EINVAL);
    assert_int_equal(th_hex_decode("000", bytes, 2), -EINVAL);
    assert_int_equal(th_hex_decode("00000", bytes, 2), -EINVAL);
    /* Every other character, at every place. */
    for (int c = 1; c < 256; c++) {
        for (size_t place = 0; place < 4; place++) {
            memcpy(text, "0000", 4);
            text[place] = (char)c;
            if (!strchr("0123456789abcdefABCDEF", c)) {
                assert_int_equal(th_hex_decode(text, bytes, 2), -EINVAL);
                assert_int_equal(bytes[0], 7);
            }
        }
    }
}

static void y_random_fills_all_of_the_buffer(void **state) {
    uint8_t bytes[600];
    uint8_t seen[600] = {0};

    (void)state;
    /* A byte that stays zero sixteen times has a chance of 2^-128. */
    for (int i = 0; i < 16; i++) {
        assert_int_equal(th_random(bytes, sizeof(bytes)), 0);
        for (size_t k = 0; k < sizeof(bytes); k++) {
            seen[k] |= bytes[k];
        }
    }
    for (size_t k = 0; k < sizeof(seen); k++) {
        assert_int_not_equal(seen[k], 0);
    }
    assert_int_equal(th_random(bytes, 0), 0);
}

/* ---- files ---- */

static void y_files_are_read_from_their_beginning(void **state) {
    FILE *file = tmpfile();
    char text[8];

    (void)state;
    assert_non_null(file);
    assert_int_equal(fputs("abcdef", file), 1);
    assert_int_equal(fflush(file), 0);
    assert_int_equal(th_file_read(fileno(file), text, sizeof(text)), 6);
    assert_memory_equal(text, "abcdef", 6);
    assert_int_equal(th_file_read(fileno(file), text, 4), 4);
    assert_memory_equal(text, "abcd", 4);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(th_file_read(-1, text, sizeof(text)), -EBADF);
}

/* ---- ownership ---- */

static void y_owned_things_are_let_go(void **state) {
    int kept = -1;
    int copy;

    (void)state;
    {
        th_auto_free char *block = malloc(10);
        th_auto_free char *nothing = NULL;
        th_auto_close int none = -1;
        th_auto_close int closed = open("/dev/null", O_RDONLY | O_CLOEXEC);
        th_auto_close int moved = open("/dev/null", O_RDONLY | O_CLOEXEC);
        th_auto_fclose FILE *file = fopen("/dev/null", "r");
        th_auto_fclose FILE *no_file = NULL;

        assert_non_null(block);
        assert_null(nothing);
        assert_int_equal(none, -1);
        assert_non_null(file);
        assert_null(no_file);
        copy = closed;
        kept = th_take_fd(&moved);
        assert_int_equal(moved, -1);
        errno = 4711;
    }
    assert_int_equal(errno, 4711);
    assert_int_equal(fcntl(copy, F_GETFD), -1);
    assert_int_not_equal(fcntl(kept, F_GETFD), -1);
    assert_int_equal(close(kept), 0);
}

static void y_take_leaves_null(void **state) {
    th_auto_free char *from = malloc(1);
    th_auto_free char *to = NULL;
    const char *block = from;

    (void)state;
    to = th_take(from);
    assert_null(from);
    assert_ptr_equal(to, block);
}

/* ---- clocks ---- */

static void y_pairs_enclose(void **state) {
    int64_t start_real_ns, start_raw_ns, end_real_ns, end_raw_ns;
    struct th_now before, after;

    (void)state;
    before = th_now();
    th_now_pair_start(&start_real_ns, &start_raw_ns);
    th_now_pair_end(&end_real_ns, &end_raw_ns);
    after = th_now();
    assert_true(before.raw_ns <= start_raw_ns && start_raw_ns <= end_raw_ns);
    assert_true(end_raw_ns <= after.raw_ns);
    assert_true(before.mono_ns <= after.mono_ns && before.boot_ns <= after.boot_ns);
    assert_true(after.mono_ns <= th_now_mono_ns());
    /* After 2020; a machine older than that can't build this. */
    assert_true(th_now_real_ns() > INT64_C(1577836800) * TH_NS_PER_S);
    assert_true(start_real_ns > INT64_C(1577836800) * TH_NS_PER_S);
}

static void y_precision_is_sane(void **state) {
    int64_t precision_ns = th_now_precision_ns();

    (void)state;
    assert_in_range(precision_ns, 1, TH_NS_PER_MS);
}

/* ---- programs ---- */

static void y_output_and_status_come_back(void **state) {
    const char *const say[] = {"echo", "-n", "a  b", NULL};
    const char *const fail[] = {"/bin/sh", "-c", "echo out; echo err >&2; exit 7", NULL};
    const char *const closed[] = {"cat", NULL};
    const char *const environment[] = {"env", NULL};
    char output[128];

    (void)state;
    assert_int_equal(th_program_run(say, TH_NS_PER_S * 20, output, sizeof(output)), 0);
    assert_string_equal(output, "a  b");
    assert_int_equal(th_program_run(fail, TH_NS_PER_S * 20, output, sizeof(output)), 7);
    assert_string_equal(output, "out\n");
    assert_int_equal(th_program_run(closed, TH_NS_PER_S * 20, output, sizeof(output)), 0);
    assert_string_equal(output, "");
    assert_int_equal(th_program_run(environment, TH_NS_PER_S * 20, output, sizeof(output)), 0);
    assert_string_equal(output, "LC_ALL=C\nPATH=/usr/bin:/usr/sbin:/bin\n");
}

static void n_a_program_that_is_not_there(void **state) {
    const char *const nowhere[] = {"timehandoff-no-such-program", NULL};
    const char *const absolute[] = {"/nonexistent/program", NULL};
    char output[8] = "as was";

    (void)state;
    assert_int_equal(th_program_run(nowhere, TH_NS_PER_S, output, sizeof(output)), -ENOENT);
    assert_int_equal(th_program_run(absolute, TH_NS_PER_S, output, sizeof(output)), -ENOENT);
    assert_string_equal(output, "as was");
}

/* The process that wrote its id into the output is gone, or a zombie that nobody has waited for. */
static bool is_dead(long pid) {
    char path[64], line[256] = "";
    th_auto_fclose FILE *file = NULL;

    (void)snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
    file = fopen(path, "r");
    return !file || !fgets(line, sizeof(line), file) || strstr(line, ") Z ");
}

static void n_a_program_that_hangs_is_killed_with_its_children(void **state) {
    char file[] = "/tmp/th-test-XXXXXX";
    char script[128];
    const char *const hang[] = {"/bin/sh", "-c", script, NULL};
    char output[64] = "as was";
    int64_t start_ns = th_now_mono_ns();
    long pid = 0;

    (void)state;
    assert_int_not_equal(close(mkstemp(file)), -1);
    (void)snprintf(script, sizeof(script), "sleep 600 & echo $! > %s; trap '' TERM; wait", file);
    assert_int_equal(th_program_run(hang, TH_NS_PER_S / 2, output, sizeof(output)), -ETIMEDOUT);
    assert_true(th_now_mono_ns() - start_ns < 20 * TH_NS_PER_S);
    {
        th_auto_fclose FILE *written = fopen(file, "r");

        assert_non_null(written);
        assert_int_equal(fscanf(written, "%ld", &pid), 1);
    }
    (void)unlink(file);
    for (int i = 0; i < 200 && !is_dead(pid); i++) {
        (void)usleep(10000);
    }
    assert_true(is_dead(pid));
}

static void n_endless_output_is_cut(void **state) {
    const char *const endless[] = {"yes", NULL};
    char output[9];

    (void)state;
    /* It dies of the closed pipe or is killed; its output is bounded either way. */
    assert_int_not_equal(th_program_run(endless, TH_NS_PER_S / 2, output, sizeof(output)), 0);
    assert_int_equal(strnlen(output, sizeof(output)), 8);
}

int main(void) {
    const struct CMUnitTest values[] = {
        cmocka_unit_test(y_uuid_forms),
        cmocka_unit_test(n_uuid_forms),
        cmocka_unit_test(y_uuid_compares),
        cmocka_unit_test(y_ternary_words_round_trip),
        cmocka_unit_test(y_text_is_cleaned),
        cmocka_unit_test(y_text_is_cut_between_characters),
        cmocka_unit_test(y_any_text_comes_out_clean),
        cmocka_unit_test(y_hex_round_trip),
        cmocka_unit_test(n_hex_texts),
        cmocka_unit_test(y_random_fills_all_of_the_buffer),
        cmocka_unit_test(y_files_are_read_from_their_beginning),
    };
    const struct CMUnitTest ownership[] = {
        cmocka_unit_test(y_owned_things_are_let_go),
        cmocka_unit_test(y_take_leaves_null),
    };
    const struct CMUnitTest clocks[] = {
        cmocka_unit_test(y_pairs_enclose),
        cmocka_unit_test(y_precision_is_sane),
    };
    const struct CMUnitTest programs[] = {
        cmocka_unit_test(y_output_and_status_come_back),
        cmocka_unit_test(n_a_program_that_is_not_there),
        cmocka_unit_test(n_a_program_that_hangs_is_killed_with_its_children),
        cmocka_unit_test(n_endless_output_is_cut),
    };

    return cmocka_run_group_tests_name("small values", values, NULL, NULL) +
           cmocka_run_group_tests_name("ownership", ownership, NULL, NULL) +
           cmocka_run_group_tests_name("clocks", clocks, NULL, NULL) +
           cmocka_run_group_tests_name("programs", programs, NULL, NULL);
}
