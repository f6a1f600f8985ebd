/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a dry run tells besides the verdict: whose word the handoff goes by, whether the two hosts
 * have the same NTP servers, what live XML says of the agent, which findings concern a migration;
 * and the verdict's line as it reads on the source.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "folder.h"
#include "timehandoff/dry_run.h"
#include "timehandoff/handoff.h"
#include "timehandoff/report.h"

#define MS TH_NS_PER_MS

/* ---- who says what is to be done ---- */

static struct th_config *load(const char *text) {
    struct th_config *config = NULL;
    char error[400] = "", path[FOLDER_PATH_SIZE];
    FILE *file = fopen(folder_path("timehandoff.conf", path), "we");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0 && fclose(file) == 0);
    if (th_config_load(folder, &config, error, sizeof(error)) < 0) {
        fail_msg("%s", error);
    }
    return config;
}

static void the_handoff_goes_by_the_nearest_word(void **state) {
    static const struct {
        const char *text;
        enum th_handoff_mode in_metadata;
        const char *from;
        enum th_handoff_mode mode;
    } rows[] = {
        {"", 0, "handoff", TH_HANDOFF_STEP},
        {"[handoff]\nmode = off\n", 0, "handoff", TH_HANDOFF_OFF},
        {"[domain web*]\nwarn = 1ms\n", 0, "handoff", TH_HANDOFF_STEP},
        {"[domain db*]\nhandoff = off\n", 0, "handoff", TH_HANDOFF_STEP},
        {"[domain web*]\nhandoff = report\n", 0, "domain", TH_HANDOFF_REPORT},
        {"[domain web*]\nhandoff = report\n", TH_HANDOFF_OFF, "metadata", TH_HANDOFF_OFF},
        {"[handoff]\nmode = off\n", TH_HANDOFF_STEP, "metadata", TH_HANDOFF_STEP},
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(rows); i++) {
        struct th_config *config = load(rows[i].text);
        struct th_domain_policy xml;

        th_domain_policy_init(&xml);
        xml.handoff = rows[i].in_metadata;
        assert_string_equal(
            th_policy_from_name(th_config_domain_handoff_from(config, NULL, "web1", &xml)),
            rows[i].from);
        assert_int_equal(th_config_domain_policy(config, NULL, "web1", &xml).handoff, rows[i].mode);
        th_config_free(config);
    }
}

static void the_limits_are_those_of_the_trigger(void **state) {
    struct th_config *config = load("[handoff]\nmax-step-migration = 2h\nmax-step-unpause = 3h\n"
                                    "deadband = 7ms\n");
    struct th_domain_policy domain = th_config_domain_policy(config, NULL, "web1", NULL);
    struct th_decision_policy policy = th_handoff_policy(config, &domain, TH_TRIGGER_MIGRATED);

    (void)state;
    assert_int_equal(policy.mode, TH_HANDOFF_STEP);
    assert_false(policy.backward);
    assert_int_equal(policy.deadband_ns, 7 * MS);
    assert_int_equal(policy.max_step_ns, 7200 * TH_NS_PER_S);
    assert_int_equal(th_handoff_policy(config, &domain, TH_TRIGGER_UNPAUSED).max_step_ns,
                     10800 * TH_NS_PER_S);
    assert_int_equal(th_handoff_policy(config, &domain, TH_TRIGGER_RESTORED).max_step_ns, -1);
    assert_int_equal(th_handoff_policy(config, &domain, TH_TRIGGER_REQUEST).max_step_ns, -1);
    domain.backward = TH_YES;
    assert_true(th_handoff_policy(config, &domain, TH_TRIGGER_MIGRATED).backward);
    th_config_free(config);
}

/* ---- NTP servers ---- */

/* This host with the servers a and b, and one peer that may be the other host. */
static struct {
    struct th_check check;
    struct th_state_host host;
    struct th_state_peers peers;
    struct th_state_peer peer[2];
    char reason[TH_CHECK_NTP_SIZE];
} fleet;

static int two_hosts(void **state) {
    (void)state;
    memset(&fleet, 0, sizeof(fleet));
    strcpy(fleet.check.this_host, "hv2");
    strcpy(fleet.check.source.host, "hv1");
    assert_int_equal(th_address_parse("10.0.0.1", 10123, &fleet.check.source.address), 0);
    fleet.check.source.probe = (struct th_probe_result){
        .outcome = TH_PROBE_ANSWERED,
        .has_identity = true,
    };
    assert_int_equal(th_ntp_servers_add(&fleet.host.ntp, TH_NTP_SERVER, "a", ""), 0);
    assert_int_equal(th_ntp_servers_add(&fleet.host.ntp, TH_NTP_SERVER, "b", ""), 0);
    fleet.host.ntp_known = true;
    assert_int_equal(th_ntp_digest(&fleet.host.ntp, fleet.host.ntp_digest), 0);
    fleet.peers = (struct th_state_peers){.peers = fleet.peer, .n_peers = 2};
    fleet.peer[0].own = true;
    fleet.peer[1].answered = true;
    fleet.peer[1].n_addresses = 1;
    fleet.peer[1].addresses[0] = fleet.check.source.address;
    memset(fleet.peer[1].ntp_digest, 7, sizeof(fleet.peer[1].ntp_digest));
    fleet.peer[1].has_ntp_servers = true;
    strcpy(fleet.peer[1].ntp_servers, "a c");
    return 0;
}

static int two_hosts_end(void **state) {
    (void)state;
    th_ntp_servers_deinit(&fleet.host.ntp);
    return 0;
}

static void compares(const struct th_state_host *host, const struct th_state_peers *peers,
                     enum th_ternary differ, const char *reason) {
    assert_int_equal(th_check_ntp_differs(&fleet.check, host, peers, fleet.reason), differ);
    assert_string_equal(fleet.reason, reason);
}

static void servers_as_the_source_says_them(void **state) {
    struct th_identity *identity = &fleet.check.source.probe.identity;

    (void)state;
    compares(&fleet.host, NULL, TH_UNKNOWN, "those of hv1 are not known");
    memcpy(identity->ntp_digest, fleet.host.ntp_digest, sizeof(identity->ntp_digest));
    compares(&fleet.host, NULL, TH_NO, "hv1 has the same NTP servers");
    compares(NULL, NULL, TH_UNKNOWN, "those of this host are not known");
    memset(identity->ntp_digest, 7, sizeof(identity->ntp_digest));
    compares(&fleet.host, NULL, TH_YES, "NTP servers differ: which is not known");
    th_ntp_servers_deinit(&fleet.host.ntp);
    memset(fleet.host.ntp_digest, 0, sizeof(fleet.host.ntp_digest));
    compares(&fleet.host, NULL, TH_UNKNOWN, "this host has none");
}

static void names_are_those_of_the_digest(void **state) {
    struct th_identity *identity = &fleet.check.source.probe.identity;

    (void)state;
    memset(identity->ntp_digest, 7, sizeof(identity->ntp_digest));
    compares(&fleet.host, &fleet.peers, TH_YES,
             "NTP servers differ: only on hv2: b; only on hv1: c");
    memset(identity->ntp_digest, 8, sizeof(identity->ntp_digest));
    compares(&fleet.host, &fleet.peers, TH_YES, "NTP servers differ: which is not known");
}

static void servers_as_peerd_knows_them(void **state) {
    (void)state;
    fleet.check.source.probe.has_identity = false;
    compares(&fleet.host, NULL, TH_UNKNOWN, "those of hv1 are not known");
    compares(&fleet.host, &fleet.peers, TH_YES,
             "NTP servers differ: only on hv2: b; only on hv1: c");
    strcpy(fleet.peer[1].group, "rack2");
    compares(&fleet.host, &fleet.peers, TH_UNKNOWN, "hv1 is of another group");
    strcpy(fleet.peer[0].group, "rack2");
    compares(&fleet.host, &fleet.peers, TH_YES,
             "NTP servers differ: only on hv2: b; only on hv1: c");
    /* Another host at another port of that address is another host. */
    assert_int_equal(th_address_parse("10.0.0.1:1", 10123, &fleet.peer[1].addresses[0]), 0);
    compares(&fleet.host, &fleet.peers, TH_UNKNOWN, "those of hv1 are not known");
    fleet.check.source.uuid.bytes[0] = fleet.peer[1].uuid.bytes[0] = 1;
    fleet.peer[1].has_identity = true;
    compares(&fleet.host, &fleet.peers, TH_YES,
             "NTP servers differ: only on hv2: b; only on hv1: c");
}

/* ---- the domain ---- */

#define DOMAIN(channel)                                                                            \
    "<domain type='kvm'><name>web1</name><os><type arch='x86_64'>hvm</type></os>"                  \
    "<devices>" channel "</devices></domain>"
#define CHANNEL(type, state)                                                                       \
    "<channel type='" type "'><target type='virtio' name='org.qemu.guest_agent.0'" state           \
    "/></channel>"

static struct th_guest_facts facts_of(const char *xml) {
    struct th_guest_facts facts;
    char error[160] = "";

    if (th_guest_facts_read(xml, strlen(xml), &facts, error, sizeof(error)) < 0) {
        fail_msg("%s", error);
    }
    return facts;
}

static void what_live_xml_says_of_the_agent(void **state) {
    (void)state;
    assert_int_equal(facts_of(DOMAIN(CHANNEL("unix", " state='connected'"))).agent_connected,
                     TH_YES);
    assert_int_equal(facts_of(DOMAIN(CHANNEL("unix", " state='disconnected'"))).agent_connected,
                     TH_NO);
    assert_int_equal(facts_of(DOMAIN(CHANNEL("unix", ""))).agent_connected, TH_UNKNOWN);
    assert_int_equal(facts_of(DOMAIN("")).agent_connected, TH_UNKNOWN);
    /* Of a channel that libvirt cannot use it says nothing. */
    assert_int_equal(facts_of(DOMAIN(CHANNEL("pty", " state='connected'"))).agent_connected,
                     TH_UNKNOWN);
}

static void the_clock_that_stands_still(void **state) {
    struct th_guest_facts facts = facts_of(DOMAIN(""));

    (void)state;
    assert_string_equal(th_lint_guest_clock(&facts), "kvmclock");
    facts.timers[TH_GUEST_TIMER_KVMCLOCK].present = TH_NO;
    assert_string_equal(th_lint_guest_clock(&facts), "TSC or emulated timers");
    facts.timers[TH_GUEST_TIMER_HYPERVCLOCK].present = TH_YES;
    assert_string_equal(th_lint_guest_clock(&facts), "Hyper-V reference time");
    facts.arch = TH_GUEST_ARCH_ARM64;
    assert_string_equal(th_lint_guest_clock(&facts), "virtual counter");
    facts.kvm = false;
    assert_string_equal(th_lint_guest_clock(&facts), "emulated timers");
}

static void some_findings_concern_a_migration(void **state) {
    size_t n = 0, rules = 0;

    (void)state;
    for (const char *id; (id = th_lint_rule_id(rules)); rules++) {
        n += th_lint_is_about_migration(id);
    }
    /* As many as are listed there: one that is misspelt is nobody's. */
    assert_int_equal(n, 18);
    assert_true(th_lint_is_about_migration("agent-missing"));
    assert_true(th_lint_is_about_migration("invtsc-unpinned"));
    assert_false(th_lint_is_about_migration("rtc-localtime"));
}

/* ---- the line ---- */

static struct th_check outgoing(void) {
    struct th_check check = {
        .name = "web1",
        .outgoing = true,
        .policy = {.warn_ns = 50 * MS, .block_ns = 500 * MS},
        .source = {.state = TH_SOURCE_MEASURED,
                   .host = "hv2",
                   .probe = {.outcome = TH_PROBE_ANSWERED, .gap = {.offset_ns = 5 * TH_NS_PER_S}}},
        .source_synchronised = TH_YES,
        .destination_synchronised = TH_YES,
        .verdict = {TH_BLOCK, TH_REASON_GAP_OVER_BLOCK},
        .would = {TH_BLOCK, TH_REASON_GAP_OVER_BLOCK},
    };

    return check;
}

static void is_line(const struct th_check *check, const char *wanted) {
    char line[TH_REPORT_LINE_SIZE];

    assert_string_equal(th_report_check_line(check, line), wanted);
}

static void the_line_on_the_source(void **state) {
    struct th_check check = outgoing();

    (void)state;
    is_line(&check, "timehandoff: blocked migration of web1 to hv2: this host is 5 s ahead of hv2 "
                    "(\u00b10 ns), limit 500 ms; compare 'chronyc sources' on both hosts, or "
                    "'timehandoff override --for 1h' there");
    check.source_synchronised = TH_NO;
    is_line(&check, "timehandoff: blocked migration of web1 to hv2: this host is 5 s ahead of hv2 "
                    "(\u00b10 ns), limit 500 ms; this host is not synchronised: run 'chronyc "
                    "makestep' here, or 'timehandoff override --for 1h' there");
    check.source_synchronised = TH_YES;
    check.destination_synchronised = TH_NO;
    is_line(&check, "timehandoff: blocked migration of web1 to hv2: this host is 5 s ahead of hv2 "
                    "(\u00b10 ns), limit 500 ms; hv2 is not synchronised: run 'chronyc makestep' "
                    "there, or 'timehandoff override --for 1h' there");
    check.verdict = check.would = (struct th_verdict){TH_WARN, TH_REASON_UNAUTHENTICATED};
    is_line(&check, "timehandoff: warning for migration of web1 to hv2: hv2 answers, but not under "
                    "the key expected; check that timehandoffd runs there and "
                    "/etc/timehandoff/keys agree, or 'timehandoff override --for 1h' there");
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_handoff_goes_by_the_nearest_word, folder_make,
                                        folder_remove),
        cmocka_unit_test_setup_teardown(the_limits_are_those_of_the_trigger, folder_make,
                                        folder_remove),
        cmocka_unit_test_setup_teardown(servers_as_the_source_says_them, two_hosts, two_hosts_end),
        cmocka_unit_test_setup_teardown(names_are_those_of_the_digest, two_hosts, two_hosts_end),
        cmocka_unit_test_setup_teardown(servers_as_peerd_knows_them, two_hosts, two_hosts_end),
        cmocka_unit_test(what_live_xml_says_of_the_agent),
        cmocka_unit_test(the_clock_that_stands_still),
        cmocka_unit_test(some_findings_concern_a_migration),
        cmocka_unit_test(the_line_on_the_source),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
