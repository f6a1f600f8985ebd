/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tests of lists of NTP servers: names, the set that hosts compare, findings, and what would be
 * written for each time daemon, into a folder of the test's own that stands for the root.
 */
#include "timehandoff/ntp.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "folder.h"

/* ---- lists ---- */

static void add(struct th_ntp_servers *servers, enum th_ntp_kind kind, const char *name,
                const char *where) {
    assert_int_equal(th_ntp_servers_add(servers, kind, name, where), 0);
}

static void names_that_are_good_and_bad(void **state) {
    static const char *const good[] = {"ntp1.example.com",
                                       "a",
                                       "localhost",
                                       "1.de.pool.ntp.org",
                                       "x-1.example.",
                                       "3com.com",
                                       "192.0.2.1",
                                       "2001:db8::1",
                                       "::1",
                                       "xn--bcher-kva.example"};
    static const char *const bad[] = {"",
                                      ".",
                                      "http://a.example",
                                      "a b",
                                      "a_b",
                                      "-a",
                                      "a-",
                                      "a..b",
                                      ".a",
                                      "192.0.2.300",
                                      "192.0.2",
                                      "1",
                                      "a.example:123",
                                      "[2001:db8::1]",
                                      "fe80::1%eth0",
                                      "a\nserver b",
                                      "a;b",
                                      "b\303\274cher.example",
                                      "*.example"};
    char label[80], name[300] = "";

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(good); i++) {
        assert_true(th_ntp_name_is_good(good[i]));
    }
    for (size_t i = 0; i < TH_ELEMENTS(bad); i++) {
        assert_false(th_ntp_name_is_good(bad[i]));
    }
    memset(label, 'a', 63);
    label[63] = '\0';
    assert_true(th_ntp_name_is_good(label));
    strcat(label, "a");
    assert_false(th_ntp_name_is_good(label));
    for (size_t i = 0; i < 126; i++) {
        strcat(name, "a.");
    }
    strcat(name, "b");
    assert_int_equal(strlen(name), 253);
    assert_true(th_ntp_name_is_good(name));
    strcat(name, "b");
    assert_false(th_ntp_name_is_good(name));
}

static void names_that_are_equal(void **state) {
    (void)state;
    assert_true(th_ntp_name_equal("NTP1.Example.com.", "ntp1.example.COM"));
    assert_true(th_ntp_name_equal("2001:DB8:0::1", "2001:db8::1"));
    assert_false(th_ntp_name_equal("ntp1.example.com", "ntp2.example.com"));
    assert_false(th_ntp_name_equal("192.0.2.1", "192.0.2.10"));
    assert_true(th_ntp_name_equal("", ""));
}

static void what_hosts_compare(void **state) {
    th_auto_ntp_servers struct th_ntp_servers a = {.n = 0}, b = {.n = 0}, none = {.n = 0};
    /* The first half of: printf 'a.example b.example' | sha256sum */
    static const char wanted[] = "c4898a59a7d3da8dc57cf8be10991c9a";
    uint8_t first[TH_NTP_DIGEST_SIZE], second[TH_NTP_DIGEST_SIZE];
    uint8_t zeros[TH_NTP_DIGEST_SIZE] = {0};
    char hex[2 * TH_NTP_DIGEST_SIZE + 1];
    th_auto_free char *text = NULL;

    (void)state;
    add(&a, TH_NTP_SERVER, "B.example", "x:1");
    add(&a, TH_NTP_POOL, "a.example", "x:2");
    add(&a, TH_NTP_SERVER, "b.example.", "x:3");
    add(&a, TH_NTP_PEER, "hv2", "x:4");
    add(&a, TH_NTP_REFCLOCK, "PHC:/dev/ptp0", "x:5");
    assert_int_equal(th_ntp_text(&a, &text), 0);
    assert_string_equal(text, "a.example b.example");
    assert_int_equal(th_ntp_digest(&a, first), 0);
    assert_string_equal(th_hex_encode(first, sizeof(first), hex), wanted);
    add(&b, TH_NTP_SERVER, "a.example", "elsewhere");
    add(&b, TH_NTP_SERVER, "b.example", "");
    assert_int_equal(th_ntp_digest(&b, second), 0);
    assert_memory_equal(first, second, sizeof(first));
    add(&b, TH_NTP_SERVER, "c.example", "");
    assert_int_equal(th_ntp_digest(&b, second), 0);
    assert_memory_not_equal(first, second, sizeof(first));
    assert_int_equal(th_ntp_digest(&none, second), 0);
    assert_memory_equal(second, zeros, sizeof(zeros));
}

static void clocks_of_its_own_count_alone(void **state) {
    th_auto_ntp_servers struct th_ntp_servers servers = {.n = 0};
    th_auto_free char *text = NULL;

    (void)state;
    add(&servers, TH_NTP_REFCLOCK, "ptp:24", "x");
    add(&servers, TH_NTP_PEER, "hv2", "x");
    assert_int_equal(th_ntp_text(&servers, &text), 0);
    assert_string_equal(text, "ptp:24");
}

static void a_list_is_limited_cleaned_and_copied(void **state) {
    th_auto_ntp_servers struct th_ntp_servers servers = {.n = 0}, copy = {.n = 0};
    char name[16];

    (void)state;
    add(&servers, TH_NTP_SERVER, "a\x1b[31m\n", "b\n");
    assert_string_equal(servers.servers[0].name, "a?[31m?");
    assert_string_equal(servers.servers[0].where, "b?");
    for (int i = 1; i < 2 * TH_NTP_MAX_SERVERS; i++) {
        (void)snprintf(name, sizeof(name), "n%d", i);
        add(&servers, TH_NTP_SERVER, name, "");
        assert_int_equal(servers.complaint[0] != '\0', i >= TH_NTP_MAX_SERVERS);
    }
    assert_int_equal(servers.n, TH_NTP_MAX_SERVERS);
    assert_int_equal(th_ntp_servers_dup(&servers, &copy), 0);
    assert_int_equal(copy.n, servers.n);
    assert_memory_equal(copy.servers, servers.servers, servers.n * sizeof(*servers.servers));
    assert_string_equal(copy.complaint, servers.complaint);
    th_ntp_servers_deinit(NULL);
    assert_null(th_ntp_servers_find(&servers, "n64"));
    assert_non_null(th_ntp_servers_find(&servers, "N63."));
}

static void words_of_kinds(void **state) {
    (void)state;
    for (enum th_ntp_kind kind = TH_NTP_SERVER; kind <= TH_NTP_REFCLOCK; kind++) {
        assert_int_equal(th_ntp_kind_parse(th_ntp_kind_name(kind)), kind);
    }
    assert_int_equal(th_ntp_kind_parse("unknown"), 0);
    assert_string_equal(th_ntp_kind_name((enum th_ntp_kind)99), "unknown");
    assert_string_equal(th_ntp_use_name((enum th_ntp_use)99), "waiting");
    assert_string_equal(th_ntp_finding_name((enum th_ntp_finding_kind)99), "unknown");
}

/* ---- findings ---- */

/* "missing:a extra:b ..." in the order found. */
static const char *findings_of(const struct th_ntp_servers *wanted,
                               const struct th_ntp_status *status, bool differs) {
    static char text[1024];
    th_auto_ntp_findings struct th_ntp_findings findings = {.n = 0};

    text[0] = '\0';
    assert_int_equal(th_ntp_check(wanted, status, &findings), 0);
    for (size_t i = 0; i < findings.n; i++) {
        size_t used = strlen(text);

        (void)snprintf(text + used, sizeof(text) - used, "%s%s:%s", used ? " " : "",
                       th_ntp_finding_name(findings.findings[i].kind), findings.findings[i].name);
    }
    assert_int_equal(findings.differs, differs);
    return text;
}

static struct th_ntp_status chronyd_with(const char *const names[]) {
    struct th_ntp_status status = {.from = TH_SYNC_FROM_CHRONYD, .running = true, .answered = true};

    for (; *names; names++) {
        struct th_ntp_source *source = &status.sources.sources[status.sources.n++];

        add(&status.servers, TH_NTP_SERVER, *names, "/etc/chrony/chrony.conf:1");
        (void)snprintf(source->name, sizeof(source->name), "%s", *names);
        source->kind = TH_NTP_SERVER;
        source->use = TH_NTP_COMBINED;
    }
    return status;
}

static void a_host_as_it_should_be(void **state) {
    static const char *const names[] = {"a", "b", "c", NULL};
    th_auto_ntp_status struct th_ntp_status status = chronyd_with(names);
    th_auto_ntp_servers struct th_ntp_servers wanted = {.n = 0}, nothing = {.n = 0};

    (void)state;
    add(&wanted, TH_NTP_SERVER, "C", "");
    add(&wanted, TH_NTP_POOL, "a.", "");
    add(&wanted, TH_NTP_SERVER, "b", "");
    add(&status.servers, TH_NTP_REFCLOCK, "PPS:/dev/pps0", "x:1");
    add(&status.servers, TH_NTP_PEER, "hv2", "x:2");
    assert_string_equal(findings_of(&wanted, &status, false), "");
    assert_string_equal(findings_of(&nothing, &status, false), "");
}

static void a_host_that_differs(void **state) {
    static const char *const names[] = {"a", "b", "x", "a", NULL};
    th_auto_ntp_status struct th_ntp_status status = chronyd_with(names);
    th_auto_ntp_servers struct th_ntp_servers wanted = {.n = 0};

    (void)state;
    add(&wanted, TH_NTP_SERVER, "a", "");
    add(&wanted, TH_NTP_SERVER, "b", "");
    add(&wanted, TH_NTP_SERVER, "c", "");
    assert_string_equal(findings_of(&wanted, &status, true), "missing:c extra:x twice:a");
    status.sources.sources[1].use = TH_NTP_UNREACHABLE;
    status.sources.sources[2].name[0] = 'y';
    assert_string_equal(findings_of(&wanted, &status, true),
                        "missing:c extra:x twice:a not-in-use:x unreachable:b");
    (void)snprintf(status.servers.complaint, sizeof(status.servers.complaint), "no such thing");
    status.answered = false;
    assert_string_equal(findings_of(&wanted, &status, true),
                        "no-answer:chronyd missing:c extra:x twice:a incomplete:no such thing");
}

static void what_is_there_at_run_time_only(void **state) {
    static const char *const names[] = {"a", "b", "c", NULL};
    th_auto_ntp_status struct th_ntp_status status = chronyd_with(names);
    th_auto_ntp_servers struct th_ntp_servers wanted = {.n = 0};

    (void)state;
    add(&wanted, TH_NTP_SERVER, "a", "");
    add(&wanted, TH_NTP_SERVER, "b", "");
    add(&wanted, TH_NTP_SERVER, "c", "");
    strcpy(status.servers.servers[2].where, "runtime");
    assert_string_equal(findings_of(&wanted, &status, true), "missing:c");
    th_ntp_servers_deinit(&wanted);
    add(&wanted, TH_NTP_SERVER, "a", "");
    add(&wanted, TH_NTP_SERVER, "b", "");
    assert_string_equal(findings_of(&wanted, &status, true), "extra:c");
}

static void too_few_servers(void **state) {
    static const char *const two[] = {"a", "b", NULL}, *const one[] = {"a", NULL},
                             *const none[] = {NULL};
    th_auto_ntp_status struct th_ntp_status status = chronyd_with(two), single = chronyd_with(one),
                                            empty = chronyd_with(none);
    struct th_ntp_status nothing = {.from = TH_SYNC_FROM_NOTHING};
    th_auto_ntp_servers struct th_ntp_servers wanted = {.n = 0};

    (void)state;
    assert_string_equal(findings_of(&wanted, &status, false), "few-servers:");
    assert_string_equal(findings_of(&wanted, &single, false), "one-server:");
    assert_string_equal(findings_of(&wanted, &empty, false), "no-server:");
    assert_string_equal(findings_of(&wanted, &nothing, false), "no-daemon: no-server:");
    single.servers.servers[0].kind = TH_NTP_POOL;
    assert_string_equal(findings_of(&wanted, &single, false), "");
    single.running = single.answered = false;
    assert_string_equal(findings_of(&wanted, &single, false), "not-running:chronyd");
}

/* ---- what would be written ---- */

static struct th_ntp_status read_host(void) {
    struct th_ntp_status status;

    assert_int_equal(th_ntp_read(folder, 0, &status), 0);
    assert_false(status.running);
    assert_false(status.answered);
    return status;
}

static enum th_ntp_plan_outcome plan(const struct th_ntp_servers *wanted,
                                     struct th_ntp_change *ret_change) {
    th_auto_ntp_status struct th_ntp_status status = read_host();
    int r = th_ntp_plan(folder, &status, wanted, ret_change);

    assert_true(r >= 0);
    return (enum th_ntp_plan_outcome)r;
}

static const char header[] =
    "# Written by 'timehandoff ntp apply' from [ntp] of timehandoff.conf(5): change it there.\n";

static void chronyd_gets_what_it_lacks(void **state) {
    static const char path[] = "/etc/chrony/sources.d/timehandoff.sources";
    th_auto_ntp_servers struct th_ntp_servers wanted = {.n = 0};
    th_auto_ntp_change struct th_ntp_change change = {.path = ""}, again = {.path = ""};
    th_auto_free char *diff = NULL;

    (void)state;
    folder_put("/usr/sbin/chronyd", "");
    folder_put("/etc/chrony/chrony.conf", "pool a.example iburst\nsourcedir /run/chrony-dhcp\n"
                                          "sourcedir /etc/chrony/sources.d\n");
    add(&wanted, TH_NTP_POOL, "a.example", "");
    add(&wanted, TH_NTP_SERVER, "b.example", "");
    assert_int_equal(plan(&wanted, &change), TH_NTP_PLAN_CHANGE);
    assert_string_equal(change.path, path);
    assert_null(change.old_text);
    assert_string_equal(change.add_line, "");
    assert_string_equal(change.new_text + strlen(header), "server b.example iburst\n");
    assert_memory_equal(change.new_text, header, strlen(header));
    assert_int_equal(th_ntp_diff(&change, &diff), 0);
    assert_non_null(strstr(diff, "--- /dev/null\n+++ /etc/chrony/sources.d/timehandoff.sources\n"
                                 "@@ -0,0 +1,2 @@\n+# Written"));
    assert_int_equal(th_ntp_write(folder, &change), 0);
    assert_string_equal(folder_get(path), change.new_text);
    assert_null(folder_get("/etc/chrony/sources.d/timehandoff.sources.bak"));
    assert_int_equal(plan(&wanted, &again), TH_NTP_PLAN_NOTHING);
}

static void the_file_before_is_kept(void **state) {
    static const char path[] = "/etc/chrony/sources.d/timehandoff.sources";
    th_auto_ntp_servers struct th_ntp_servers wanted = {.n = 0};
    th_auto_ntp_change struct th_ntp_change change = {.path = ""};
    th_auto_free char *diff = NULL;
    char full[FOLDER_PATH_SIZE];
    struct stat about;

    (void)state;
    folder_put("/usr/sbin/chronyd", "");
    folder_put("/etc/chrony/chrony.conf", "sourcedir /etc/chrony/sources.d\n");
    folder_put(path, "server old.example iburst\nserver b.example iburst\n");
    add(&wanted, TH_NTP_SERVER, "b.example", "");
    assert_int_equal(plan(&wanted, &change), TH_NTP_PLAN_CHANGE);
    assert_int_equal(th_ntp_diff(&change, &diff), 0);
    assert_non_null(strstr(diff, "@@ -1,2 +1,2 @@\n-server old.example iburst\n+# Written"));
    assert_non_null(strstr(diff, "\n server b.example iburst\n"));
    assert_int_equal(th_ntp_write(folder, &change), 0);
    assert_string_equal(folder_get("/etc/chrony/sources.d/timehandoff.sources.bak"),
                        "server old.example iburst\nserver b.example iburst\n");
    assert_string_equal(folder_get(path), change.new_text);
    assert_null(folder_get("/etc/chrony/sources.d/timehandoff.sources.new"));
    assert_int_equal(stat(folder_path(path, full), &about), 0);
    assert_int_equal(about.st_mode & 07777, 0644);
}

static void nothing_changes_when_writing_fails(void **state) {
    th_auto_ntp_servers struct th_ntp_servers wanted = {.n = 0};
    th_auto_ntp_change struct th_ntp_change change = {.path = ""};

    (void)state;
    folder_put("/usr/sbin/chronyd", "");
    folder_put("/etc/chrony/chrony.conf", "");
    folder_put("/etc/chrony/sources.d", "a file where the folder would be\n");
    add(&wanted, TH_NTP_SERVER, "b.example", "");
    /* What is no folder can't be read below either. */
    {
        th_auto_ntp_status struct th_ntp_status status = read_host();

        assert_int_equal(th_ntp_plan(folder, &status, &wanted, &change), -ENOTDIR);
    }
    (void)snprintf(change.path, sizeof(change.path), "/etc/chrony/sources.d/timehandoff.sources");
    change.new_text = strdup("server b.example iburst\n");
    assert_int_equal(th_ntp_write(folder, &change), -ENOTDIR);
    assert_string_equal(folder_get("/etc/chrony/sources.d"), "a file where the folder would be\n");
}

static void a_folder_that_chronyd_does_not_read(void **state) {
    th_auto_ntp_servers struct th_ntp_servers wanted = {.n = 0};
    th_auto_ntp_change struct th_ntp_change change = {.path = ""};

    (void)state;
    folder_put("/usr/sbin/chronyd", "");
    folder_put("/etc/chrony.conf", "sourcedir /run/chrony-dhcp\n");
    add(&wanted, TH_NTP_SERVER, "b.example", "");
    assert_int_equal(plan(&wanted, &change), TH_NTP_PLAN_CHANGE);
    assert_string_equal(change.add_line, "sourcedir /etc/chrony/sources.d");
    assert_string_equal(change.add_to, "/etc/chrony.conf");
}

static void timesyncd_gets_all_of_it(void **state) {
    static const char path[] = "/etc/systemd/timesyncd.conf.d/50-timehandoff.conf";
    th_auto_ntp_servers struct th_ntp_servers wanted = {.n = 0};
    th_auto_ntp_change struct th_ntp_change change = {.path = ""}, again = {.path = ""};

    (void)state;
    folder_put("/lib/systemd/systemd-timesyncd", "");
    folder_put("/etc/systemd/timesyncd.conf", "[Time]\nNTP=old.example\n");
    add(&wanted, TH_NTP_SERVER, "a.example", "");
    add(&wanted, TH_NTP_SERVER, "b.example", "");
    assert_int_equal(plan(&wanted, &change), TH_NTP_PLAN_CHANGE);
    assert_string_equal(change.path, path);
    assert_non_null(strstr(change.new_text, "[Time]\nNTP=\nNTP=a.example\nNTP=b.example\n"));
    assert_int_equal(th_ntp_write(folder, &change), 0);
    assert_int_equal(plan(&wanted, &again), TH_NTP_PLAN_NOTHING);
    {
        th_auto_ntp_status struct th_ntp_status status = read_host();

        assert_string_equal(findings_of(&wanted, &status, false),
                            "not-running:timesyncd few-servers:");
    }
}

static void timesyncd_that_has_it_already(void **state) {
    th_auto_ntp_servers struct th_ntp_servers wanted = {.n = 0};
    th_auto_ntp_change struct th_ntp_change change = {.path = ""};

    (void)state;
    folder_put("/lib/systemd/systemd-timesyncd", "");
    folder_put("/etc/systemd/timesyncd.conf", "[Time]\nNTP=a.example b.example\n");
    add(&wanted, TH_NTP_SERVER, "A.example", "");
    add(&wanted, TH_NTP_SERVER, "b.example", "");
    assert_int_equal(plan(&wanted, &change), TH_NTP_PLAN_NOTHING);
    assert_null(change.new_text);
}

static void daemons_that_cannot_be_configured(void **state) {
    th_auto_ntp_servers struct th_ntp_servers wanted = {.n = 0};
    struct th_ntp_change change = {.path = "untouched"};

    (void)state;
    add(&wanted, TH_NTP_SERVER, "a.example", "");
    assert_int_equal(plan(&wanted, &change), TH_NTP_PLAN_NO_DAEMON);
    folder_put("/usr/sbin/ntpd", "");
    assert_int_equal(plan(&wanted, &change), TH_NTP_PLAN_UNSUPPORTED);
    assert_string_equal(change.path, "untouched");
    assert_int_equal(th_ntp_reload(TH_SYNC_FROM_NTPD, TH_NS_PER_S), -EOPNOTSUPP);
}

static void a_diff_of_lines_without_an_end(void **state) {
    struct th_ntp_change change = {
        .path = "/x", .old_text = (char[]){"a\nb"}, .new_text = (char[]){"a\nb\n"}};
    th_auto_free char *diff = NULL;

    (void)state;
    assert_int_equal(th_ntp_diff(&change, &diff), 0);
    assert_string_equal(diff, "--- /x\n+++ /x\n@@ -1,2 +1,2 @@\n a\n-b\n"
                              "\\ No newline at end of file\n+b\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_that_are_good_and_bad),
        cmocka_unit_test(names_that_are_equal),
        cmocka_unit_test(what_hosts_compare),
        cmocka_unit_test(clocks_of_its_own_count_alone),
        cmocka_unit_test(a_list_is_limited_cleaned_and_copied),
        cmocka_unit_test(words_of_kinds),
        cmocka_unit_test(a_host_as_it_should_be),
        cmocka_unit_test(a_host_that_differs),
        cmocka_unit_test(what_is_there_at_run_time_only),
        cmocka_unit_test(too_few_servers),
        cmocka_unit_test_setup_teardown(chronyd_gets_what_it_lacks, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(the_file_before_is_kept, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(nothing_changes_when_writing_fails, folder_make,
                                        folder_remove),
        cmocka_unit_test_setup_teardown(a_folder_that_chronyd_does_not_read, folder_make,
                                        folder_remove),
        cmocka_unit_test_setup_teardown(timesyncd_gets_all_of_it, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(timesyncd_that_has_it_already, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(daemons_that_cannot_be_configured, folder_make,
                                        folder_remove),
        cmocka_unit_test(a_diff_of_lines_without_an_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
