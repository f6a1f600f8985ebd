/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Records of the past: fields out of a journal that may come from anywhere, and lines of JSON out
 * of a file. Whatever is taken over is shown as one clean line and as JSON, and a line that is
 * written is read back to the same. The first byte says which of the two the rest is.
 */
#include "fuzz.h"

#include "report/history.h"
#include "report/history_record.h"

static char *print(void (*printer)(const void *what, FILE *out), const void *what) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    must(out);
    printer(what, out);
    must(fclose(out) == 0);
    return text;
}

static void print_text(const void *history, FILE *out) {
    th_history_print_text(history, out);
}

static void print_json(const void *history, FILE *out) {
    must(th_history_print_json(history, out) == 0);
}

static void check_history(const struct th_history *history) {
    th_auto_free char *text = print(print_text, history), *json = print(print_json, history);

    must(fuzz_is_text(text) && fuzz_is_json(json, strlen(json)));
    for (size_t i = 0; i < history->count; i++) {
        const char *line = json_object_to_json_string_ext(
            history->records[i], JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
        struct json_object *again = th_history_record_parse(line, strlen(line));

        must(again && json_object_equal(again, history->records[i]));
        json_object_put(again);
    }
}

/* "NAME\0VALUE\0NAME\0VALUE\0…" */
static struct json_object *make_record(struct fuzz_bytes *input) {
    struct json_object *record = th_history_record_new(fuzz_signed(input));

    must(record);
    while (input->left > 0) {
        th_auto_free char *name = fuzz_text(input), *value = fuzz_text(input);

        must(th_history_record_add(record, name, value, strlen(value)) == 0);
    }
    return record;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct th_history_query query = {.since_real_ns = INT64_MIN, .max = 8};
    th_auto_history struct th_history history = {.count = 0};
    struct fuzz_bytes input = {data, size};
    bool is_journal = fuzz_number(&input, 1) % 2 == 0;

    must(th_history_init(&history, &query) == 0);
    if (is_journal) {
        (void)th_history_add_older(&history, make_record(&input));
    } else {
        th_history_add_lines(&history, (const char *)input.at, input.left);
    }
    check_history(&history);
    return 0;
}
