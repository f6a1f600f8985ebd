/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tests of the status: what is written comes back and what is damaged does not; and what people and
 * machines are shown of it, with the longest names and the largest numbers.
 */
#include "timehandoff/report.h"

#include "folder.h"
#include "seeded.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <json-c/json.h>

#define S TH_NS_PER_S
#define NOW_NS (INT64_C(1764000000) * S)

static const struct th_now now = {.real_ns = NOW_NS, .boot_ns = 1000 * S};

static struct {
    struct th_status status;
    struct th_status_host host;
    struct th_alert alerts[2];
    struct th_status_handoff handoffs[2];
    struct th_state_peers peers;
    struct th_state_peer peer[3];
    struct th_state_override override;
    struct th_status_counts counts;
} bed;

static void fill_host(void) {
    bed.host = (struct th_status_host){
        .name = "hv1",
        .sync = {.synchronised = TH_YES,
                 .from = TH_SYNC_FROM_CHRONYD,
                 .error_ns = 1234567,
                 .age_ns = 3 * S,
                 .stratum = 3,
                 .source = "ntp1.example.org",
                 .reason = "said the test"},
        .has_ntp_servers = true,
        .ntp_servers = "ntp1.example.org ntp2.example.org",
        .n_alerts = 2,
        .alerts = bed.alerts,
        .n_handoffs = 2,
        .handoffs = bed.handoffs,
    };
    bed.alerts[0] = (struct th_alert){.kind = TH_ALERT_GAP,
                                      .peer = "hv2",
                                      .since_real_ns = NOW_NS - 90 * S,
                                      .reason = "hv2 is 1 s ahead of this host (\u00b12 us)",
                                      .has_gap = true,
                                      .gap = {.offset_ns = S, .bound_ns = 2000},
                                      .limit_ns = 50000000};
    bed.alerts[1] = (struct th_alert){
        .kind = TH_ALERT_NTP_UNCONFIGURED, .since_real_ns = 1, .reason = "100% \"quoted\"; # x"};
}

static void fill_handoffs(void) {
    bed.handoffs[0] = (struct th_status_handoff){.uuid = {{1}},
                                                 .domain = "web1",
                                                 .trigger = "migrated",
                                                 .outcome = "stepped",
                                                 .from_host = "hv3",
                                                 .ended_real_ns = NOW_NS - 5 * S,
                                                 .has_before = true,
                                                 .before_ns = -3 * S,
                                                 .before_bound_ns = 1000,
                                                 .stepped_ns = 3 * S,
                                                 .has_residual = true,
                                                 .residual_ns = -120000,
                                                 .residual_bound_ns = 410000};
    bed.handoffs[1] = (struct th_status_handoff){
        .uuid = {{2}}, .domain = "db1", .trigger = "restored", .outcome = "no-agent"};
}

static void fill_peers(void) {
    bed.peers = (struct th_state_peers){
        .peers = bed.peer, .n_peers = 3, .questions = {[TH_ANSWER_BAD_KEY] = 11}};
    bed.peer[0] = (struct th_state_peer){.host = "hv1", .own = true, .probed_boot_ns = 1};
    bed.peer[1] = (struct th_state_peer){.host = "hv2",
                                         .group = "rack1",
                                         .probed_boot_ns = 900 * S,
                                         .answered = true,
                                         .authenticated = true,
                                         .gap = {.offset_ns = -1500000001, .bound_ns = 2000},
                                         .seen_real_ns = NOW_NS - 30 * S,
                                         .has_identity = true,
                                         .synchronised = TH_NO,
                                         .has_ntp_servers = true,
                                         .ntp_servers = "a b",
                                         .n_history = 1,
                                         .history = {{-1500000001, 2000, NOW_NS - 30 * S}}};
    bed.peer[2] = (struct th_state_peer){
        .host = "a\"b\\c", .found_by_stamp = true, .probed_boot_ns = 900 * S};
}

static int prepare(void **state) {
    (void)state;
    memset(&bed, 0, sizeof(bed));
    fill_host();
    fill_handoffs();
    fill_peers();
    bed.counts.handoffs[TH_HANDOFF_STEPPED] = 7;
    bed.counts.arrivals_checked = 5;
    bed.override = (struct th_state_override){.until_real_ns = NOW_NS + S, .source = "hv9"};
    bed.status = (struct th_status){.now_real_ns = NOW_NS,
                                    .host = &bed.host,
                                    .peers = &bed.peers,
                                    .override = &bed.override,
                                    .counts = &bed.counts};
    return 0;
}

/* ---- the file ---- */

static int read_back(const struct th_now *at, struct th_status_host *ret_host) {
    int fd = th_state_open(folder, TH_STATE_STATUS_FILE);
    int r = fd < 0 ? fd : th_status_read(fd, at, TH_STATE_FRESH, ret_host);

    if (fd >= 0) {
        close(fd);
    }
    return r;
}

static void y_what_is_written_comes_back(void **state) {
    struct th_now later = {.boot_ns = now.boot_ns + 31 * S};
    struct th_status_host back;

    (void)state;
    assert_int_equal(th_status_write(folder, &bed.host, &now, 10 * S), 0);
    assert_int_equal(read_back(&now, &back), 0);
    assert_string_equal(back.name, "hv1");
    assert_int_equal(back.sync.synchronised, TH_YES);
    assert_int_equal(back.sync.error_ns, 1234567);
    assert_string_equal(back.sync.reason, "said the test");
    assert_true(back.has_ntp_servers);
    assert_string_equal(back.ntp_servers, bed.host.ntp_servers);
    assert_int_equal(back.n_alerts, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(back.alerts[i].kind, bed.alerts[i].kind);
        assert_string_equal(back.alerts[i].peer, bed.alerts[i].peer);
        assert_string_equal(back.alerts[i].reason, bed.alerts[i].reason);
        assert_int_equal(back.alerts[i].since_real_ns, bed.alerts[i].since_real_ns);
        assert_int_equal(back.alerts[i].gap.offset_ns, bed.alerts[i].gap.offset_ns);
        assert_int_equal(back.alerts[i].limit_ns, bed.alerts[i].limit_ns);
    }
    assert_int_equal(back.n_handoffs, 2);
    assert_memory_equal(&back.handoffs[0], &bed.handoffs[0], sizeof(bed.handoffs[0]));
    assert_memory_equal(&back.handoffs[1], &bed.handoffs[1], sizeof(bed.handoffs[1]));
    th_status_host_deinit(&back);
    th_status_host_deinit(&back);
    th_status_host_deinit(NULL);
    assert_int_equal(read_back(&later, &back), -ESTALE);
}

static void y_the_longest_texts(void **state) {
    struct th_status_host back;

    (void)state;
    memset(bed.alerts[0].reason, 'r', sizeof(bed.alerts[0].reason) - 1);
    memset(bed.alerts[0].peer, ';', sizeof(bed.alerts[0].peer) - 1);
    memset(bed.host.ntp_servers, 's', sizeof(bed.host.ntp_servers) - 1);
    bed.host.ntp_servers[500] = ' ';
    assert_int_equal(th_status_write(folder, &bed.host, &now, 10 * S), 0);
    assert_int_equal(read_back(&now, &back), 0);
    assert_string_equal(back.alerts[0].reason, bed.alerts[0].reason);
    assert_string_equal(back.alerts[0].peer, bed.alerts[0].peer);
    assert_string_equal(back.ntp_servers, bed.host.ntp_servers);
    th_status_host_deinit(&back);
}

/* The file as written, with what begins at a line taken out or put in its place. */
static void n_broken_files(void **state) {
    static const struct {
        const char *old, *new;
    } cases[] = {
        {"[host]", "[guest]"},
        {"kind=gap\n", ""},
        {"kind=gap\n", "kind=flood\n"},
        {"since-real-ns=1\n", "since-real-ns=-1\n"},
        {"has-gap=yes\n", "has-gap=2\n"},
        {"stratum=3", "stratum=256"},
        {"[end]", ""},
        {"uuid=01000000-0000-0000-0000-000000000000\n", ""},
        {"bound-ns=2000", "bound-ns=-2000"},
        {"residual-ns=-120000", "residual-ns=1e5"},
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        struct th_status_host back = {.n_alerts = 42};

        assert_int_equal(th_status_write(folder, &bed.host, &now, 10 * S), 0);
        folder_change(TH_STATE_STATUS_FILE, cases[i].old, cases[i].new);
        if (read_back(&now, &back) != -EBADMSG || back.n_alerts != 42) {
            fail_msg("accepted: %s for %s", cases[i].new, cases[i].old);
        }
    }
}

static void y_a_record_becomes_an_entry(void **state) {
    struct th_handoff_record record = {.uuid = {{3}},
                                       .name = "web1",
                                       .trigger = TH_TRIGGER_MIGRATED,
                                       .from_host = "hv2",
                                       .has_before = true,
                                       .before = {.offset_ns = 5, .bound_ns = 6},
                                       .stepped_ns = 7,
                                       .has_residual = true,
                                       .residual = {.offset_ns = 8, .bound_ns = 9},
                                       .outcome = TH_HANDOFF_IMPROVED};
    struct th_status_handoff handoff;

    (void)state;
    th_status_handoff_from(&record, 99, &handoff);
    assert_string_equal(handoff.domain, "web1");
    assert_string_equal(handoff.trigger, "migrated");
    assert_string_equal(handoff.outcome, "improved");
    assert_string_equal(handoff.from_host, "hv2");
    assert_int_equal(handoff.ended_real_ns, 99);
    assert_int_equal(handoff.before_ns, 5);
    assert_int_equal(handoff.before_bound_ns, 6);
    assert_int_equal(handoff.stepped_ns, 7);
    assert_int_equal(handoff.residual_ns, 8);
    assert_int_equal(handoff.residual_bound_ns, 9);
}

/* ---- what is shown ---- */

static char *shown;
static size_t shown_size;

static const char *as_text(void) {
    FILE *out = open_memstream(&shown, &shown_size);

    th_report_status_text(&bed.status, out);
    assert_int_equal(fclose(out), 0);
    return shown;
}

static const char *as_metrics(void) {
    FILE *out = open_memstream(&shown, &shown_size);

    th_report_metrics(&bed.status, out);
    assert_int_equal(fclose(out), 0);
    return shown;
}

static int tidy(void **state) {
    (void)state;
    free(shown);
    shown = NULL;
    return 0;
}

static void has(const char *text, const char *line) {
    if (!strstr(text, line)) {
        fail_msg("no '%s' in:\n%s", line, text);
    }
}

static void y_text(void **state) {
    const char *text = as_text();

    (void)state;
    has(text, "host          hv1\n");
    has(text, "synchronised  yes, says chronyd: within 1.235 ms of UTC, from ntp1.example.org\n");
    has(text, "NTP servers   ntp1.example.org ntp2.example.org\n");
    has(text, "OVERRIDE      migrations from hv9 pass unchecked until 20");
    has(text, "ALERT         gap: hv2 is 1 s ahead of this host (\u00b12 us) (for 90 s)\n");
    has(text, "ALERT         ntp-unconfigured: 100% \"quoted\"; # x (for ");
    has(text, "hv2                   -1.5 s \u00b12 us                30 s    no      key\n");
    has(text, "a\"b\\c                 never measured ");
    has(text, " silent, stamp\n");
    has(text,
        "web1                 migrated    stepped     5 s     residual -0.12 ms \u00b10.41 ms\n");
    assert_null(strstr(text, "\nhv1 "));
}

static void y_text_without_daemons(void **state) {
    const char *text;

    (void)state;
    bed.status = (struct th_status){.now_real_ns = NOW_NS};
    text = as_text();
    has(text, "alerts        not known: timehandoffd does not run here");
    has(text, "peers         not known: timehandoff-peerd does not run here");
}

static int columns(const char *line, size_t size) {
    int n = 0;

    for (size_t i = 0; i < size; i++) {
        n += ((unsigned char)line[i] & 0xC0) != 0x80;
    }
    return n;
}

static void y_text_keeps_to_80_columns(void **state) {
    (void)state;
    memset(bed.peer[1].host, 'p', sizeof(bed.peer[1].host) - 1);
    bed.peer[1].gap.offset_ns = INT64_MIN + 1;
    bed.peer[1].gap.bound_ns = INT64_MAX;
    bed.peer[1].found_by_stamp = true;
    bed.peer[1].authenticated = false;
    bed.handoffs[1].has_before = true;
    bed.handoffs[1].before_ns = -INT64_MAX;
    bed.handoffs[1].before_bound_ns = INT64_MAX;
    bed.peer[2].probed_boot_ns = 0;
    memset(bed.handoffs[0].domain, 'd', sizeof(bed.handoffs[0].domain) - 1);
    bed.host.sync.synchronised = TH_NO;
    for (size_t i = 0; i + 1 < sizeof(bed.host.ntp_servers); i++) {
        bed.host.ntp_servers[i] = i % 30 == 29 ? ' ' : 's';
    }
    for (const char *line = as_text(); *line;) {
        size_t size = strcspn(line, "\n");

        if (columns(line, size) > 80) {
            fail_msg("%d columns: %.*s", columns(line, size), (int)size, line);
        }
        line += size + (line[size] == '\n');
    }
}

static void y_json(void **state) {
    struct json_object *root, *list, *object;
    FILE *out = open_memstream(&shown, &shown_size);

    (void)state;
    assert_int_equal(th_report_status_json(&bed.status, out), 0);
    assert_int_equal(fclose(out), 0);
    root = json_tokener_parse(shown);
    assert_non_null(root);
    assert_true(json_object_object_get_ex(root, "peers", &list));
    assert_int_equal(json_object_array_length(list), 2);
    object = json_object_array_get_idx(list, 0);
    assert_string_equal(json_object_get_string(json_object_object_get(object, "host")), "hv2");
    object = json_object_object_get(object, "gap");
    assert_true(json_object_get_int64(json_object_object_get(object, "offset_ns")) == -1500000001);
    object = json_object_array_get_idx(list, 1);
    assert_string_equal(json_object_get_string(json_object_object_get(object, "host")), "a\"b\\c");
    assert_string_equal(json_object_get_string(json_object_object_get(object, "found")), "stamp");
    assert_null(json_object_object_get(object, "gap"));
    assert_true(json_object_object_get_ex(root, "alerts", &list));
    assert_int_equal(json_object_array_length(list), 2);
    assert_true(json_object_object_get_ex(root, "handoffs", &list));
    assert_int_equal(json_object_array_length(list), 2);
    assert_true(json_object_object_get_ex(root, "override", NULL));
    json_object_put(root);
}

static void y_metrics(void **state) {
    const char *text = as_metrics();

    (void)state;
    has(text, "# TYPE timehandoff_gap_seconds gauge\n");
    has(text, "timehandoff_gap_seconds{peer=\"hv2\"} -1.500000001\n");
    has(text, "timehandoff_gap_bound_seconds{peer=\"hv2\"} 0.000002000\n");
    has(text, "timehandoff_peer_up{peer=\"a\\\"b\\\\c\"} 0\n");
    has(text, "timehandoff_peer_synchronised{peer=\"hv2\"} 0\n");
    has(text, "timehandoff_synchronised 1\n");
    has(text, "timehandoff_questions_total{outcome=\"answered\"} 0\n");
    has(text, "timehandoff_questions_total{outcome=\"bad-key\"} 11\n");
    has(text, "timehandoff_alert{kind=\"gap\",peer=\"hv2\"} 1\n");
    has(text, "timehandoff_alert{kind=\"gap\",peer=\"a\\\"b\\\\c\"} 0\n");
    has(text, "timehandoff_alert{kind=\"ntp-unconfigured\",peer=\"\"} 1\n");
    has(text, "timehandoff_handoffs_total{outcome=\"stepped\"} 7\n");
    has(text, "timehandoff_arrivals_total{checked=\"yes\"} 5\n");
    has(text, "timehandoff_guest_residual_seconds{domain=\"web1\",uuid=\"01000000-0000-0000-0000-"
              "000000000000\"} -0.000120000\n");
    has(text, "timehandoff_override 1\n");
    /* No last value of what is not measured any more, and nothing of this host's own line. */
    assert_null(strstr(text, "timehandoff_gap_seconds{peer=\"a"));
    assert_null(strstr(text, "peer=\"hv1\""));
}

static void y_metrics_are_headed_once_and_together(void **state) {
    char last[64] = "";
    const char *text;

    (void)state;
    bed.peer[2].answered = true;
    bed.peer[2].gap.bound_ns = 1;
    bed.peer[2].seen_real_ns = 1;
    text = as_metrics();
    for (const char *line = text; *line; line += strcspn(line, "\n") + 1) {
        char name[64], pattern[96];

        if (sscanf(line, "# TYPE %63s", name) == 1) {
            strcpy(last, name);
            snprintf(pattern, sizeof(pattern), "# TYPE %s ", name);
            assert_null(strstr(strstr(text, pattern) + 1, pattern));
        } else if (*line != '#') {
            assert_int_equal(sscanf(line, "%63[a-z_]", name), 1);
            assert_string_equal(name, last);
        }
    }
}

static void y_metrics_of_unknown_and_extreme_values(void **state) {
    const char *text;

    (void)state;
    bed.host.sync.synchronised = TH_UNKNOWN;
    bed.host.sync.error_ns = -1;
    bed.peer[1].gap.offset_ns = INT64_MIN;
    bed.peer[1].gap.bound_ns = INT64_MAX;
    text = as_metrics();
    has(text, "timehandoff_synchronised NaN\n");
    has(text, "} -9223372036.854775808\n");
    has(text, "} 9223372036.854775807\n");
    assert_null(strstr(text, "utc_error"));
    tidy(state);
    bed.status = (struct th_status){.now_real_ns = NOW_NS};
    assert_string_equal(as_metrics(),
                        "# HELP timehandoff_override Whether an override of the checks is in "
                        "force.\n# TYPE timehandoff_override gauge\ntimehandoff_override 0\n");
}

static void y_metrics_are_replaced_in_one_step(void **state) {
    char path[FOLDER_PATH_SIZE];
    struct stat about;
    int others = folder_count();

    (void)state;
    folder_path("x.prom", path);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(th_report_metrics_write(&bed.status, path), 0);
        assert_int_equal(stat(path, &about), 0);
        assert_int_equal(about.st_mode & 0777, 0644);
        assert_true(about.st_size > 1000);
        assert_int_equal(folder_count(), others + 1);
    }
    assert_int_equal(th_report_metrics_write(&bed.status, "/nowhere/x.prom"), -ENOENT);
}

static void y_alert_lines(void **state) {
    char line[TH_REPORT_LINE_SIZE];

    (void)state;
    assert_string_equal(th_report_alert_line(&bed.alerts[0], true, line),
                        "timehandoff: alert gap set: hv2 is 1 s ahead of this host (\u00b12 us)");
    assert_string_equal(th_report_alert_line(&bed.alerts[1], false, line),
                        "timehandoff: alert ntp-unconfigured cleared: 100% \"quoted\"; # x");
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, prepare, tidy)
    const struct CMUnitTest tests[] = {
        CASE(y_what_is_written_comes_back),
        CASE(y_the_longest_texts),
        CASE(n_broken_files),
        CASE(y_a_record_becomes_an_entry),
        CASE(y_text),
        CASE(y_text_without_daemons),
        CASE(y_text_keeps_to_80_columns),
        CASE(y_json),
        CASE(y_metrics),
        CASE(y_metrics_are_headed_once_and_together),
        CASE(y_metrics_of_unknown_and_extreme_values),
        CASE(y_metrics_are_replaced_in_one_step),
        CASE(y_alert_lines),
    };

    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
