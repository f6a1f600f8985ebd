/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Records read back: fields of the journal become typed JSON and lines that are fit for a terminal
 * whatever was in them, a history keeps the newest that were asked for, and the daemon's file stays
 * bounded and readable whatever happened to it.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <json-c/json.h>

#include "folder.h"
#include "report/history.h"
#include "report/history_record.h"
#include "report/record_file.h"
#include "seeded.h"
#include "timehandoff/report.h"

#define S TH_NS_PER_S
/* 2026-11-23 03:57:32 UTC. */
#define WHEN_NS (INT64_C(1795406252) * S)

static void add(struct json_object *record, const char *name, const char *value) {
    assert_int_equal(th_history_record_add(record, name, value, strlen(value)), 0);
}

static struct json_object *make(const char *message_id, const char *domain, int64_t time_ns,
                                const char *message) {
    struct json_object *record = th_history_record_new(time_ns);

    assert_non_null(record);
    add(record, "MESSAGE_ID", message_id);
    if (domain) {
        add(record, "TIMEHANDOFF_DOMAIN_NAME", domain);
    }
    add(record, "MESSAGE", message);
    return record;
}

static struct json_object *field(const struct json_object *record, const char *name) {
    struct json_object *value = NULL;

    json_object_object_get_ex(record, name, &value);
    return value;
}

static void assert_text(const struct json_object *record, const char *name, const char *text) {
    assert_true(json_object_is_type(field(record, name), json_type_string));
    assert_string_equal(json_object_get_string(field(record, name)), text);
}

static void assert_number(const struct json_object *record, const char *name, int64_t number) {
    assert_true(json_object_is_type(field(record, name), json_type_int));
    assert_int_equal(json_object_get_int64(field(record, name)), number);
}

/* ---- records ---- */

static void a_journal_record(void **state) {
    struct th_journal journal;
    struct json_object *record;

    (void)state;
    th_journal_begin(&journal, "timehandoffd", LOG_INFO, TH_MESSAGE_HANDOFF);
    th_journal_text(&journal, "TIMEHANDOFF_DOMAIN_NAME", "web1");
    th_journal_text(&journal, "TIMEHANDOFF_DOMAIN_UUID", "6c5cd5c2-6a1d-4f65-9d0e-0b6e6b1f7a11");
    th_journal_text(&journal, "TIMEHANDOFF_OUTCOME", "stepped");
    th_journal_number(&journal, "TIMEHANDOFF_RESIDUAL_NS", -120000);
    th_journal_number(&journal, "TIMEHANDOFF_STEPS", 2);
    th_journal_text(&journal, "TIMEHANDOFF_STEPPED_BY_OTHER", "no");
    th_journal_text(&journal, "TIMEHANDOFF_DETAIL", "two\nlines = here");
    th_journal_text(&journal, "TIMEHANDOFF_EMPTY", "");
    th_journal_text(&journal, "MESSAGE", "timehandoff: guest web1: stepped");
    record = th_history_record_from_journal(&journal, WHEN_NS);
    assert_non_null(record);
    assert_true(th_history_record_is_whole(record));
    assert_number(record, "time_ns", WHEN_NS);
    assert_text(record, "kind", "handoff");
    assert_text(record, "domain", "web1");
    assert_text(record, "uuid", "6c5cd5c2-6a1d-4f65-9d0e-0b6e6b1f7a11");
    assert_text(record, "outcome", "stepped");
    assert_number(record, "residual_ns", -120000);
    assert_number(record, "steps", 2);
    assert_true(json_object_is_type(field(record, "stepped_by_other"), json_type_boolean));
    assert_false(json_object_get_boolean(field(record, "stepped_by_other")));
    assert_text(record, "detail", "two?lines = here");
    assert_text(record, "empty", "");
    assert_text(record, "message", "timehandoff: guest web1: stepped");
    assert_int_equal(json_object_object_length(record), 11);
    json_object_put(record);
}

static void kinds(void **state) {
    static const char *const names[] = {"verdict", "handoff", "recheck", "override",
                                        "check-failed"};
    size_t n = 0;

    (void)state;
    for (; th_history_record_message_id(n); n++) {
        struct json_object *record =
            make(th_history_record_message_id(n), NULL, WHEN_NS, "timehandoff: x");

        assert_text(record, "kind", names[n]);
        assert_true(th_history_record_is_whole(record));
        json_object_put(record);
    }
    assert_int_equal(n, 5);
    for (unsigned i = 0; i < 2; i++) {
        struct json_object *record =
            make(i ? TH_MESSAGE_SERVICE : "verdict", NULL, WHEN_NS, "timehandoff: x");

        assert_false(th_history_record_is_whole(record));
        json_object_put(record);
    }
}

static void numbers_are_numbers(void **state) {
    static const struct {
        const char *text;
        bool good;
        int64_t number;
    } cases[] = {
        {"0", true, 0},
        {"-5", true, -5},
        {"9223372036854775807", true, INT64_MAX},
        {"-9223372036854775808", true, INT64_MIN},
        {"9223372036854775808", false, 0},
        {"", false, 0},
        {" 1", false, 0},
        {"1 ", false, 0},
        {"+1", false, 0},
        {"1e3", false, 0},
        {"0x10", false, 0},
        {"1.5", false, 0},
        {"nan", false, 0},
        {"12\n", false, 0},
        {"1,\"x\":2", false, 0},
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        struct json_object *record = th_history_record_new(WHEN_NS);

        add(record, "TIMEHANDOFF_GAP_NS", cases[i].text);
        if (cases[i].good) {
            assert_number(record, "gap_ns", cases[i].number);
        } else {
            assert_null(field(record, "gap_ns"));
        }
        json_object_put(record);
    }
}

static void types_follow_names(void **state) {
    struct json_object *record = th_history_record_new(WHEN_NS);

    (void)state;
    add(record, "TIMEHANDOFF_DRIFT_PPB", "7");
    add(record, "TIMEHANDOFF_ATTEMPTS", "3");
    add(record, "_UID", "998");
    add(record, "TIMEHANDOFF_SOURCE_HOST", "42");
    add(record, "TIMEHANDOFF_DOMAIN_NAME", "43");
    add(record, "TIMEHANDOFF_AUTHENTICATED", "yes");
    add(record, "TIMEHANDOFF_STEPPED_BY_OTHER", "maybe");
    add(record, "TIMEHANDOFF_SOURCE_SYNCHRONISED", "yes");
    assert_number(record, "drift_ppb", 7);
    assert_number(record, "attempts", 3);
    assert_number(record, "uid", 998);
    assert_text(record, "source_host", "42");
    assert_text(record, "domain", "43");
    assert_true(json_object_get_boolean(field(record, "authenticated")));
    assert_null(field(record, "stepped_by_other"));
    assert_text(record, "source_synchronised", "yes");
    json_object_put(record);
}

static void fields_that_are_not_ours(void **state) {
    static const char *const names[] = {
        "",
        "=",
        "TIMEHANDOFF_",
        "TIMEHANDOFF_lower",
        "TIMEHANDOFF_A B",
        "TIMEHANDOFF_\x1b[31m",
        "TIMEHANDOFF_TIME_NS",
        "TIMEHANDOFF_KIND",
        "TIMEHANDOFF_DOMAIN",
        "TIMEHANDOFF_UUID",
        "TIMEHANDOFF_MESSAGE",
        "TIMEHANDOFF_UID",
        "PRIORITY",
        "_PID",
        "timehandoff_gap_ns",
        "TIMEHANDOFF_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    };
    struct json_object *record = th_history_record_new(WHEN_NS);

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(names); i++) {
        add(record, names[i], "1");
        assert_int_equal(json_object_object_length(record), 1);
    }
    /* The first of two counts, and there is an end to it. */
    add(record, "TIMEHANDOFF_REASON", "gap-ok");
    add(record, "TIMEHANDOFF_REASON", "offline");
    assert_text(record, "reason", "gap-ok");
    for (unsigned i = 0; i < 5000; i++) {
        char name[32];

        snprintf(name, sizeof(name), "TIMEHANDOFF_X%u", i);
        add(record, name, "1");
    }
    assert_in_range(json_object_object_length(record), 40, 64);
    json_object_put(record);
}

static char *printed(const struct json_object *record) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    th_history_record_print(record, out);
    fclose(out);
    return text;
}

static void assert_printed(const char *domain, const char *message, const char *line) {
    struct json_object *record = make(TH_MESSAGE_VERDICT, domain, WHEN_NS, message);
    char *text = printed(record);

    assert_string_equal(text, line);
    free(text);
    json_object_put(record);
}

static void lines_for_people(void **state) {
    (void)state;
    assert_printed("web1", "timehandoff: blocked migration of web1: x",
                   "2026-11-23 04:57:32 web1 blocked migration of web1: x\n");
    assert_printed(NULL, "timehandoff: override ended by root",
                   "2026-11-23 04:57:32 - override ended by root\n");
    assert_printed("a\x1b]0;b\x07", "\x1b[2Jx\r\n2026 y \xc2\x9b \xff\xe2\x80\xae",
                   "2026-11-23 04:57:32 a?]0;b? ?[2Jx??2026 y ? ??\n");
    assert_printed("g\xc3\xa4st",
                   "\xc2\xb1"
                   "1 ms",
                   "2026-11-23 04:57:32 g\xc3\xa4st \xc2\xb1"
                   "1 ms\n");
}

/* A file of ours that somebody else wrote: the line is as safe as one from the journal. */
static void lines_from_a_file(void **state) {
    static const char line[] = "{\"time_ns\":1,\"kind\":\"verdict\",\"domain\":\"a\\u001b[31m\","
                               "\"message\":\"timehandoff: \\u001b[2J\\nx\"}";
    struct json_object *record = th_history_record_parse(line, strlen(line));
    char *text;

    (void)state;
    assert_non_null(record);
    text = printed(record);
    assert_string_equal(text, "1970-01-01 01:00:00 a?[31m ?[2J?x\n");
    free(text);
    json_object_put(record);
}

static void lines_that_are_no_records(void **state) {
    static const char *const lines[] = {
        "",
        "{}",
        "[]",
        "null",
        "1",
        "\"x\"",
        "{\"time_ns\":1,\"kind\":\"verdict\"}",
        "{\"time_ns\":1,\"message\":\"x\"}",
        "{\"time_ns\":\"1\",\"kind\":\"verdict\",\"message\":\"x\"}",
        "{\"time_ns\":1.5,\"kind\":\"verdict\",\"message\":\"x\"}",
        "{\"time_ns\":1,\"kind\":\"other\",\"message\":\"x\"}",
        "{\"time_ns\":1,\"kind\":7,\"message\":\"x\"}",
        "{\"time_ns\":1,\"kind\":\"verdict\",\"message\":{}}",
        "{\"time_ns\":1,\"kind\":\"verdict\",\"message\":\"x\"",
        "{\"time_ns\":1,\"kind\":\"verdict\",\"message\":\"x\"}}",
        "{\"time_ns\":1,\"kind\":\"verdict\",\"message\":\"x\"}{",
        "{\"time_ns\":1,\"kind\":\"verdict\",\"message\":\"x\",\"y\":[[[[[[1]]]]]]}",
        "{\"time_ns\":1,\"kind\":\"verdict\",\"message\":\"\xff\"}",
    };
    static const char good[] = "{\"time_ns\":1,\"kind\":\"verdict\",\"message\":\"caf\xc3\xa9\"}";
    struct json_object *record;

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(lines); i++) {
        assert_null(th_history_record_parse(lines[i], strlen(lines[i])));
    }
    record = th_history_record_parse(good, strlen(good));
    assert_non_null(record);
    json_object_put(record);
}

/* Any bytes under any of our names: what comes out is JSON that reads back as the same, and a line
 * without control characters. */
static void any_bytes(void **state) {
    static const char *const names[] = {"MESSAGE", "TIMEHANDOFF_DOMAIN_NAME",
                                        "TIMEHANDOFF_SOURCE_HOST", "TIMEHANDOFF_GAP_NS",
                                        "TIMEHANDOFF_AUTHENTICATED"};
    struct seeded seeded = seeded_start("any_bytes");
    int cases = seeded_cases(20000);

    (void)state;
    for (int i = 0; i < cases; i++) {
        struct json_object *record = th_history_record_new(WHEN_NS), *again;
        char bytes[1500], *text;
        const char *json;

        add(record, "MESSAGE_ID", TH_MESSAGE_VERDICT);
        for (size_t n = 0; n < TH_ELEMENTS(names); n++) {
            size_t size = (size_t)seeded_magnitude(&seeded, sizeof(bytes));

            for (size_t b = 0; b < size; b++) {
                bytes[b] = (char)seeded_between(&seeded, 1, 255);
            }
            assert_int_equal(th_history_record_add(record, names[n], bytes, size), 0);
        }
        json = json_object_to_json_string_ext(record, JSON_C_TO_STRING_PLAIN);
        assert_null(strchr(json, '\n'));
        again = th_history_record_parse(json, strlen(json));
        assert_int_equal(again != NULL, th_history_record_is_whole(record));
        assert_true(!again || json_object_equal(record, again));
        text = printed(record);
        for (char *c = text; *c; c++) {
            assert_true((unsigned char)*c >= ' ' ? *c != 0x7f : c[0] == '\n' && !c[1]);
        }
        free(text);
        json_object_put(again);
        json_object_put(record);
    }
}

/* ---- histories ---- */

static struct json_object *numbered(const char *domain, int number) {
    char message[32];

    snprintf(message, sizeof(message), "timehandoff: %d", number);
    return make(TH_MESSAGE_VERDICT, domain, number * S, message);
}

static void assert_history(const struct th_history *history, int first, int last) {
    assert_int_equal(history->count, last - first + 1);
    for (int i = first; i <= last; i++) {
        assert_number(history->records[i - first], "time_ns", i * S);
    }
}

static void the_newest_are_kept(void **state) {
    struct th_history_query query = {.since_real_ns = INT64_MIN, .max = 10};
    th_auto_history struct th_history back = {.records = NULL}, forth = {.records = NULL};
    bool more = true;
    int i = 30;

    (void)state;
    assert_int_equal(th_history_init(&back, &query), 0);
    while (more) {
        more = th_history_add_older(&back, numbered("web1", i--));
    }
    assert_history(&back, 21, 30);
    assert_false(th_history_add_older(&back, numbered("web1", i)));
    assert_history(&back, 21, 30);
    assert_int_equal(th_history_init(&forth, &query), 0);
    for (i = 1; i <= 30; i++) {
        th_history_add_newer(&forth, numbered("web1", i));
        assert_history(&forth, i < 10 ? 1 : i - 9, i);
    }
}

static void only_what_was_asked_for(void **state) {
    struct th_history_query query = {.domain = "web1", .since_real_ns = 5 * S, .max = 100};
    th_auto_history struct th_history history = {.records = NULL};

    (void)state;
    assert_int_equal(th_history_init(&history, &query), 0);
    for (int i = 1; i <= 9; i++) {
        th_history_add_newer(&history, numbered("web1", i));
        th_history_add_newer(&history, numbered("web11", i));
        th_history_add_newer(&history, numbered(NULL, i));
        th_history_add_newer(&history, NULL);
        th_history_add_newer(&history, make(TH_MESSAGE_STAMP, "web1", i * S, "x"));
    }
    assert_history(&history, 5, 9);
}

static void a_document(void **state) {
    struct th_history_query query = {.since_real_ns = INT64_MIN, .max = 3};
    th_auto_history struct th_history history = {.records = NULL};
    struct json_object *array;
    char *text = NULL;
    size_t size = 0;

    (void)state;
    assert_int_equal(th_history_init(&history, &query), 0);
    for (int i = 0; i < 4; i++) {
        FILE *out = open_memstream(&text, &size);

        assert_int_equal(th_history_print_json(&history, out), 0);
        fclose(out);
        array = json_tokener_parse(text);
        assert_true(json_object_is_type(array, json_type_array));
        assert_int_equal(json_object_array_length(array), i);
        for (int j = 0; j < i; j++) {
            assert_true(
                json_object_equal(json_object_array_get_idx(array, (size_t)j), history.records[j]));
        }
        json_object_put(array);
        free(text);
        th_history_add_newer(&history, numbered("web1", i));
    }
}

/* ---- the file ---- */

static void append_number(int number) {
    struct json_object *record = numbered("web1", number);

    assert_int_equal(th_record_file_append(
                         folder, json_object_to_json_string_ext(record, JSON_C_TO_STRING_PLAIN)),
                     0);
    json_object_put(record);
}

/* What a reader finds: all that there is of the numbers. */
static void load(struct th_history *ret_history) {
    char *text = NULL;
    size_t size = 0;

    assert_int_equal(
        th_history_init(ret_history,
                        &(struct th_history_query){.since_real_ns = INT64_MIN, .max = 1000}),
        0);
    assert_int_equal(th_record_file_read(folder, &text, &size), 0);
    th_history_add_lines(ret_history, text, size);
    free(text);
}

static void assert_file(int first, int last) {
    th_auto_history struct th_history history = {.records = NULL};

    load(&history);
    assert_history(&history, first, last);
}

static void a_file_grows_to_its_limit(void **state) {
    struct stat status;
    char path[FOLDER_PATH_SIZE], *text;
    size_t size;
    int first = 1;
    mode_t mask = umask(0027);

    (void)state;
    assert_int_equal(th_record_file_read(folder, &text, &size), -ENOENT);
    for (int i = 1; i <= 1000; i++) {
        append_number(i);
        if (i - first + 1 > TH_RECORD_FILE_KEPT + TH_RECORD_FILE_SLACK) {
            first = i - TH_RECORD_FILE_KEPT + 1;
        }
        assert_file(first, i);
    }
    assert_true(first > 700);
    umask(mask);
    folder_path(TH_RECORD_FILE, path);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode, S_IFREG | 0644);
}

static void a_torn_file_heals(void **state) {
    static const char torn[] = "{\"time_ns\":3000000000,\"kind\":\"verd";
    char text[4096], *read;
    size_t size;

    (void)state;
    append_number(1);
    append_number(2);
    assert_int_equal(th_record_file_read(folder, &read, &size), 0);
    snprintf(text, sizeof(text), "%s%s", read, torn);
    free(read);
    folder_put(TH_RECORD_FILE, text);
    assert_file(1, 2);
    append_number(3);
    assert_file(1, 3);
    append_number(4);
    assert_file(1, 4);
    /* Nothing but a torn line; nothing at all; a blank one. */
    folder_put(TH_RECORD_FILE, torn);
    append_number(1);
    assert_file(1, 1);
    folder_put(TH_RECORD_FILE, "");
    append_number(1);
    assert_file(1, 1);
    folder_put(TH_RECORD_FILE, "\n\n");
    append_number(1);
    assert_file(1, 1);
}

static void a_file_of_somebody_else(void **state) {
    static char zeros[5 << 20];
    char path[FOLDER_PATH_SIZE];
    char *read;
    size_t size;

    (void)state;
    folder_put_bytes(TH_RECORD_FILE, zeros, sizeof(zeros));
    assert_int_equal(th_record_file_read(folder, &read, &size), -EFBIG);
    append_number(1);
    assert_file(1, 1);
    /* A link is taken away, and what it led to is left alone. */
    folder_path(TH_RECORD_FILE, path);
    folder_put("other", "other");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("other", path), 0);
    assert_int_equal(th_record_file_read(folder, &read, &size), -ELOOP);
    append_number(1);
    assert_file(1, 1);
    assert_string_equal(folder_get("other"), "other");
    /* A folder cannot be replaced by a file. */
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(th_record_file_append(folder, "{}"), -EISDIR);
    assert_int_equal(folder_count(), 2);
    assert_int_equal(th_record_file_append("/nonexistent", "{}"), -ENOENT);
}

static void a_full_disk(void **state) {
    struct rlimit before, small;
    void (*old)(int) = signal(SIGXFSZ, SIG_IGN);
    char *text;
    size_t size;
    int number = 1;

    (void)state;
    for (; number <= 20; number++) {
        append_number(number);
    }
    assert_int_equal(th_record_file_read(folder, &text, &size), 0);
    free(text);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = size + 10;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_int_equal(th_record_file_append(folder, "{\"time_ns\":21000000000,\"kind\":\"x\"}"),
                     -EFBIG);
    assert_file(1, 20);
    assert_int_equal(th_record_file_append(folder, "{\"time_ns\":21000000000,\"kind\":\"x\"}"),
                     -EFBIG);
    assert_file(1, 20);
    assert_int_equal(folder_count(), 1);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, old);
    append_number(21);
    assert_file(1, 21);
}

static void a_journal_record_is_kept(void **state) {
    th_auto_history struct th_history history = {.records = NULL};
    struct th_journal journal;
    struct json_object *expected;

    (void)state;
    th_journal_begin(&journal, "timehandoffd", LOG_INFO, TH_MESSAGE_RECHECK);
    th_journal_text(&journal, "TIMEHANDOFF_DOMAIN_NAME", "a \"quoted\"\n\x1b name/\\");
    th_journal_number(&journal, "TIMEHANDOFF_OFFSET_NS", 17);
    th_journal_text(&journal, "MESSAGE", "timehandoff: guest x");
    expected = th_history_record_from_journal(&journal, WHEN_NS);
    assert_int_equal(th_record_file_keep(folder, &journal, WHEN_NS), 0);
    load(&history);
    assert_int_equal(history.count, 1);
    assert_true(json_object_equal(history.records[0], expected));
    assert_text(history.records[0], "domain", "a \"quoted\"?? name/\\");
    json_object_put(expected);
}

static int start(void **state) {
    (void)state;
    setenv("TZ", "UTC-1", 1);
    tzset();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_journal_record),
        cmocka_unit_test(kinds),
        cmocka_unit_test(numbers_are_numbers),
        cmocka_unit_test(types_follow_names),
        cmocka_unit_test(fields_that_are_not_ours),
        cmocka_unit_test(lines_for_people),
        cmocka_unit_test(lines_from_a_file),
        cmocka_unit_test(lines_that_are_no_records),
        cmocka_unit_test(any_bytes),
        cmocka_unit_test(the_newest_are_kept),
        cmocka_unit_test(only_what_was_asked_for),
        cmocka_unit_test(a_document),
        cmocka_unit_test_setup_teardown(a_file_grows_to_its_limit, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(a_torn_file_heals, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(a_file_of_somebody_else, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(a_full_disk, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(a_journal_record_is_kept, folder_make, folder_remove),
    };

    return cmocka_run_group_tests(tests, start, NULL);
}
