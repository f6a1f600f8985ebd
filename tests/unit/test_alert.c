/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tests of alerts: which observation is bad, good or neither, as tables; that each condition is
 * told once when it begins and once when it ends; and that nothing ever flaps.
 */
#include "timehandoff/alert.h"

#include "seeded.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define MS TH_NS_PER_MS

/* ---- a host with one peer, observed as often as a test likes ---- */

static struct {
    struct th_alerts *alerts;
    struct th_alert_rules rules;
    struct th_alert_host host;
    struct th_state_peer peers[3];
    size_t n_peers;
    int64_t now_ns;
    unsigned n_set, n_cleared;
    struct th_alert last;
} bed;

static void on_changed(void *userdata, const struct th_alert *alert, bool set) {
    (void)userdata;
    bed.n_set += set;
    bed.n_cleared += !set;
    bed.last = *alert;
}

static int prepare(void **state) {
    (void)state;
    memset(&bed, 0, sizeof(bed));
    bed.rules = (struct th_alert_rules){.enabled = true, .gap_ns = 50 * MS, .ntp_configured = ""};
    bed.host = (struct th_alert_host){.name = "hv1",
                                      .synchronised = TH_YES,
                                      .sync_reason = "said the test",
                                      .ntp_servers = "a b",
                                      .ntp_digest = {1}};
    bed.n_peers = 1;
    for (size_t i = 0; i < TH_ELEMENTS(bed.peers); i++) {
        struct th_state_peer *peer = &bed.peers[i];

        snprintf(peer->host, sizeof(peer->host), "hv%zu", i + 2);
        peer->n_addresses = 1;
        peer->answered = peer->authenticated = peer->has_identity = true;
        peer->gap = (struct th_gap){.offset_ns = 0, .bound_ns = 1000, .delay_ns = 2000};
        peer->synchronised = TH_YES;
        peer->ntp_digest[0] = 1;
        peer->has_ntp_servers = true;
        strcpy(peer->ntp_servers, "a b");
    }
    return th_alerts_new(&bed.alerts);
}

static int tidy(void **state) {
    (void)state;
    bed.alerts = th_alerts_free(bed.alerts);
    return 0;
}

static void look(void) {
    struct th_state_peers peers = {.peers = bed.peers, .n_peers = bed.n_peers};

    bed.now_ns += TH_NS_PER_S;
    assert_int_equal(th_alerts_observe_peers(bed.alerts, &bed.rules, &bed.host, &peers, bed.now_ns,
                                             on_changed, NULL),
                     0);
}

/* A look after every peer was probed. */
static void probe(void) {
    for (size_t i = 0; i < bed.n_peers; i++) {
        bed.peers[i].probed_boot_ns += TH_NS_PER_S;
    }
    look();
}

static void look_at_host(void) {
    bed.now_ns += TH_NS_PER_S;
    assert_int_equal(
        th_alerts_observe_host(bed.alerts, &bed.rules, &bed.host, bed.now_ns, on_changed, NULL), 0);
}

static void told(unsigned n_set, unsigned n_cleared) {
    assert_int_equal(bed.n_set, n_set);
    assert_int_equal(bed.n_cleared, n_cleared);
}

static bool is_set(enum th_alert_kind kind) {
    const struct th_alert *list[16];
    size_t n = th_alerts_list(bed.alerts, list, TH_ELEMENTS(list));

    for (size_t i = 0; i < n; i++) {
        if (list[i]->kind == kind) {
            return true;
        }
    }
    return false;
}

/* ---- gaps ---- */

static void y_and_n_gaps(void **state) {
    enum { GOOD, NEITHER, BAD };
    static const struct {
        int64_t offset_ns, bound_ns, limit_ns;
        int seen;
    } cases[] = {
        {0, 1, 50 * MS, GOOD},
        {50 * MS, 1, 50 * MS, NEITHER},
        {50 * MS + 2, 1, 50 * MS, BAD},
        {-50 * MS - 2, 1, 50 * MS, BAD},
        {50 * MS + 1, 1, 50 * MS, NEITHER},
        /* The bound counts against both. */
        {60 * MS, 11 * MS, 50 * MS, NEITHER},
        {60 * MS, 9 * MS, 50 * MS, BAD},
        {0, 41 * MS, 50 * MS, NEITHER},
        {0, 39 * MS, 50 * MS, GOOD},
        /* 80 % of the limit. */
        {40 * MS, 1, 50 * MS, NEITHER},
        {40 * MS - 1, 1, 50 * MS, NEITHER},
        {40 * MS - 2, 1, 50 * MS, GOOD},
        {-40 * MS + 2, 1, 50 * MS, GOOD},
        {INT64_MIN, 1, 50 * MS, BAD},
        {INT64_MAX, INT64_MAX, 50 * MS, NEITHER},
        {0, INT64_MAX, INT64_MAX, NEITHER},
    };

    tidy(state);
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        /* What sets it. */
        prepare(state);
        bed.rules.gap_ns = cases[i].limit_ns;
        bed.peers[0].gap.offset_ns = cases[i].offset_ns;
        bed.peers[0].gap.bound_ns = cases[i].bound_ns;
        probe();
        probe();
        if (is_set(TH_ALERT_GAP) != (cases[i].seen == BAD)) {
            fail_msg("case %zu: set is %d", i, is_set(TH_ALERT_GAP));
        }
        tidy(state);
        /* What ends it. */
        prepare(state);
        bed.rules.gap_ns = cases[i].limit_ns;
        bed.peers[0].gap.offset_ns = cases[i].offset_ns;
        bed.peers[0].gap.bound_ns = cases[i].bound_ns;
        assert_int_equal(
            th_alerts_restore(bed.alerts, &(struct th_alert){.kind = TH_ALERT_GAP, .peer = "hv2"}),
            0);
        probe();
        probe();
        if (is_set(TH_ALERT_GAP) != (cases[i].seen != GOOD)) {
            fail_msg("case %zu: after set, set is %d", i, is_set(TH_ALERT_GAP));
        }
        tidy(state);
    }
    prepare(state);
}

static void y_a_gap_is_told_once(void **state) {
    (void)state;
    bed.peers[0].gap.offset_ns = TH_NS_PER_S;
    probe();
    told(0, 0);
    probe();
    told(1, 0);
    assert_int_equal(bed.last.kind, TH_ALERT_GAP);
    assert_string_equal(bed.last.peer, "hv2");
    assert_string_equal(bed.last.reason, "hv2 is 1 s ahead of this host (\u00b11 us), limit 50 ms");
    assert_true(bed.last.has_gap);
    assert_int_equal(bed.last.since_real_ns, bed.now_ns);
    assert_int_equal(bed.last.limit_ns, 50 * MS);
    for (int i = 0; i < 100; i++) {
        probe();
    }
    told(1, 0);
    bed.peers[0].gap.offset_ns = 0;
    probe();
    told(1, 0);
    probe();
    told(1, 1);
    assert_false(is_set(TH_ALERT_GAP));
    for (int i = 0; i < 100; i++) {
        probe();
    }
    told(1, 1);
}

static void y_without_a_new_probe_there_is_no_observation(void **state) {
    (void)state;
    bed.peers[0].gap.offset_ns = -TH_NS_PER_S;
    probe();
    for (int i = 0; i < 10; i++) {
        look();
    }
    told(0, 0);
    probe();
    told(1, 0);
    assert_non_null(strstr(bed.last.reason, "behind this host"));
}

static void y_while_silent_a_gap_stays_as_it_was(void **state) {
    (void)state;
    bed.peers[0].gap.offset_ns = TH_NS_PER_S;
    probe();
    probe();
    bed.peers[0].answered = false;
    bed.peers[0].gap.offset_ns = 0;
    for (int i = 0; i < 10; i++) {
        probe();
    }
    told(2, 0); /* the gap, and the silence */
    assert_true(is_set(TH_ALERT_GAP));
    assert_true(is_set(TH_ALERT_PEER_SILENT));
    bed.peers[0].answered = true;
    probe();
    probe();
    told(2, 2);
}

/* ---- the other kinds ---- */

static void y_silence_takes_three(void **state) {
    (void)state;
    bed.peers[0].answered = false;
    probe();
    probe();
    told(0, 0);
    probe();
    told(1, 0);
    assert_int_equal(bed.last.kind, TH_ALERT_PEER_SILENT);
    assert_string_equal(bed.last.reason, "hv2 does not answer");
    bed.peers[0].answered = true;
    probe();
    told(1, 0);
    probe();
    told(1, 1);
    assert_string_equal(bed.last.reason, "hv2 answers");
}

static void y_silence_says_why(void **state) {
    (void)state;
    bed.peers[0].answered = false;
    bed.peers[0].answers_without_key = true;
    bed.n_peers = 2;
    bed.peers[1].answered = false;
    bed.peers[1].n_addresses = 0;
    for (int i = 0; i < 3; i++) {
        probe();
    }
    told(2, 0);
    assert_string_equal(bed.last.reason, "hv3 has no address: its name is not found");
}

static void n_a_host_that_a_guest_came_from_may_be_silent(void **state) {
    (void)state;
    bed.peers[0].answered = false;
    bed.peers[0].found_by_stamp = true;
    for (int i = 0; i < 10; i++) {
        probe();
    }
    told(0, 0);
}

static void y_peers_that_are_not_synchronised(void **state) {
    (void)state;
    bed.peers[0].synchronised = TH_NO;
    probe();
    probe();
    told(1, 0);
    assert_int_equal(bed.last.kind, TH_ALERT_PEER_UNSYNCHRONISED);
    bed.peers[0].synchronised = TH_UNKNOWN;
    probe();
    probe();
    probe();
    told(1, 0);
    bed.peers[0].synchronised = TH_YES;
    probe();
    probe();
    told(1, 1);
}

static void n_a_peer_that_does_not_say(void **state) {
    (void)state;
    bed.peers[0].has_identity = false;
    bed.peers[0].synchronised = TH_NO;
    probe();
    probe();
    probe();
    told(0, 0);
}

static void y_this_host(void **state) {
    (void)state;
    bed.host.synchronised = TH_NO;
    look_at_host();
    told(0, 0);
    look_at_host();
    told(1, 0);
    assert_int_equal(bed.last.kind, TH_ALERT_HOST_UNSYNCHRONISED);
    assert_string_equal(bed.last.peer, "");
    assert_string_equal(bed.last.reason, "this host is not synchronised: said the test");
    bed.host.synchronised = TH_UNKNOWN;
    look_at_host();
    look_at_host();
    told(1, 0);
    bed.host.synchronised = TH_YES;
    look_at_host();
    look_at_host();
    told(1, 1);
}

static void y_servers_that_differ(void **state) {
    (void)state;
    bed.peers[0].ntp_digest[0] = 2;
    strcpy(bed.peers[0].ntp_servers, "b c d");
    probe();
    probe();
    told(1, 0);
    assert_int_equal(bed.last.kind, TH_ALERT_NTP_DIFFERS);
    assert_string_equal(bed.last.reason, "NTP servers differ: only on hv1: a; only on hv2: c, d");
    bed.peers[0].ntp_digest[0] = 1;
    probe();
    probe();
    told(1, 1);
}

static void y_servers_that_differ_but_were_not_told(void **state) {
    (void)state;
    bed.peers[0].ntp_digest[0] = 2;
    bed.peers[0].has_ntp_servers = false;
    probe();
    probe();
    told(1, 0);
    assert_string_equal(bed.last.reason, "NTP servers differ: which is not known");
}

static void n_servers_that_are_not_known(void **state) {
    (void)state;
    bed.peers[0].ntp_digest[0] = 0;
    probe();
    probe();
    probe();
    bed.peers[0].ntp_digest[0] = 2;
    bed.host.ntp_digest[0] = 0;
    probe();
    probe();
    told(0, 0);
}

static void y_and_n_servers_within_and_across_groups(void **state) {
    (void)state;
    bed.n_peers = 3;
    for (size_t i = 0; i < 2; i++) {
        bed.peers[i].ntp_digest[0] = 2;
        strcpy(bed.peers[i].group, i == 0 ? "rack1" : "rack2");
    }
    /* This host's own line tells which group it is of. */
    bed.peers[2].own = true;
    bed.peers[2].answered = false;
    strcpy(bed.peers[2].group, "rack2");
    for (int i = 0; i < 5; i++) {
        probe();
    }
    told(1, 0);
    assert_string_equal(bed.last.peer, "hv3");
    /* Moved to another group: over. */
    strcpy(bed.peers[2].group, "rack3");
    probe();
    probe();
    told(1, 1);
}

static void y_servers_that_are_not_the_organisations(void **state) {
    (void)state;
    bed.rules.ntp_configured = "a c";
    look_at_host();
    look_at_host();
    told(1, 0);
    assert_int_equal(bed.last.kind, TH_ALERT_NTP_UNCONFIGURED);
    assert_string_equal(bed.last.reason, "NTP servers are not those of the configuration: only on "
                                         "hv1: b; only on [ntp]: c");
    bed.rules.ntp_configured = "b a";
    look_at_host();
    look_at_host();
    told(1, 1);
    bed.rules.ntp_configured = "x";
    bed.host.ntp_servers = NULL;
    look_at_host();
    look_at_host();
    told(1, 1);
}

/* ---- the set ---- */

static void y_a_peer_that_is_no_longer_one(void **state) {
    (void)state;
    bed.n_peers = 2;
    bed.peers[0].gap.offset_ns = TH_NS_PER_S;
    bed.peers[1].gap.offset_ns = TH_NS_PER_S;
    probe();
    probe();
    told(2, 0);
    /* Renamed: the alert under the old name ends, and begins anew under the new one. */
    strcpy(bed.peers[0].host, "hv2.example.org");
    probe();
    told(2, 1);
    assert_string_equal(bed.last.peer, "hv2");
    assert_string_equal(bed.last.reason, "no longer among the peers");
    probe();
    told(3, 1);
    assert_string_equal(bed.last.peer, "hv2.example.org");
}

static void y_switched_off(void **state) {
    (void)state;
    bed.peers[0].gap.offset_ns = TH_NS_PER_S;
    bed.host.synchronised = TH_NO;
    probe();
    probe();
    look_at_host();
    look_at_host();
    told(2, 0);
    bed.rules.enabled = false;
    look_at_host();
    probe();
    told(2, 2);
    probe();
    probe();
    look_at_host();
    told(2, 2);
    assert_int_equal(th_alerts_list(bed.alerts, NULL, 0), 0);
}

static void y_restored_alerts_are_not_told_again(void **state) {
    struct th_alert alert = {.kind = TH_ALERT_GAP, .peer = "hv2", .since_real_ns = 77};
    const struct th_alert *list[2];

    (void)state;
    assert_int_equal(th_alerts_restore(bed.alerts, &alert), 0);
    assert_int_equal(th_alerts_restore(bed.alerts, &alert), 0);
    bed.peers[0].gap.offset_ns = TH_NS_PER_S;
    probe();
    probe();
    told(0, 0);
    assert_int_equal(th_alerts_list(bed.alerts, list, TH_ELEMENTS(list)), 1);
    assert_int_equal(list[0]->since_real_ns, 77);
    /* Its words follow what is seen. */
    assert_non_null(strstr(list[0]->reason, "hv2 is 1 s ahead"));
    bed.peers[0].gap.offset_ns = 0;
    probe();
    probe();
    told(0, 1);
}

/* A condition that alternates is never told. */
static void y_nothing_flaps(void **state) {
    (void)state;
    for (int i = 0; i < 200; i++) {
        bed.peers[0].gap.offset_ns = i % 2 ? TH_NS_PER_S : 0;
        bed.peers[0].synchronised = i % 2 ? TH_NO : TH_YES;
        bed.peers[0].ntp_digest[0] = (uint8_t)(1 + i % 2);
        bed.peers[0].answered = i % 3 != 0;
        bed.host.synchronised = i % 2 ? TH_NO : TH_UNKNOWN;
        probe();
        look_at_host();
    }
    /* Answered on two of three probes: no silence, and no two in a row of the rest that agree. */
    told(0, 0);
}

/* Whatever is seen: at most one change an observation, set and cleared take turns, and never less
 * than two observations lie between a change and the next. */
static void y_whatever_is_seen(void **state) {
    struct seeded seeded = seeded_start("alerts");
    unsigned since_change = 100, n_changes = 0;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        unsigned before = bed.n_set + bed.n_cleared;
        int64_t dice = seeded_between(&seeded, 0, 9);

        if (dice < 4) {
            bed.peers[0].gap.offset_ns = dice < 2 ? 60 * MS : 0;
            bed.peers[0].gap.bound_ns = seeded_between(&seeded, 1, 45 * MS);
        }
        probe();
        since_change++;
        if (bed.n_set + bed.n_cleared != before) {
            assert_int_equal(bed.n_set + bed.n_cleared, before + 1);
            assert_true(since_change >= 2);
            since_change = 0;
            n_changes++;
        }
        assert_true(bed.n_set == bed.n_cleared || bed.n_set == bed.n_cleared + 1);
        assert_int_equal(is_set(TH_ALERT_GAP), bed.n_set - bed.n_cleared);
    }
    assert_true(n_changes > 100);
}

/* ---- words ---- */

static void y_names(void **state) {
    enum th_alert_kind back = TH_ALERT_KINDS;

    (void)state;
    for (int kind = 0; kind < TH_ALERT_KINDS; kind++) {
        assert_int_equal(th_alert_kind_parse(th_alert_kind_name((enum th_alert_kind)kind), &back),
                         0);
        assert_int_equal(back, kind);
    }
    assert_string_equal(th_alert_kind_name(TH_ALERT_KINDS), "unknown");
    assert_int_equal(th_alert_kind_parse("unknown", &back), -EINVAL);
    assert_int_equal(th_alert_kind_parse("", &back), -EINVAL);
}

static void y_differences(void **state) {
    static const struct {
        const char *a, *b, *text;
    } cases[] = {
        {"", "", ""},
        {"x", "x", ""},
        {"x y", "y x", ""},
        {"x", "", "only on A: x"},
        {"", "x y", "only on B: x, y"},
        {"ab", "a", "only on A: ab; only on B: a"},
        {"x y z", "w y", "only on A: x, z; only on B: w"},
    };
    char text[64];

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        assert_string_equal(
            th_alert_difference("A", cases[i].a, "B", cases[i].b, text, sizeof(text)),
            cases[i].text);
    }
    /* Cut, never overrun. */
    for (size_t size = 1; size < 20; size++) {
        memset(text, '!', sizeof(text));
        th_alert_difference("A", "x yy", "B", "zzz", text, size);
        assert_true(strlen(text) < size);
        assert_int_equal(text[size], '!');
    }
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, prepare, tidy)
    const struct CMUnitTest alerts[] = {
        CASE(y_and_n_gaps),
        CASE(y_a_gap_is_told_once),
        CASE(y_without_a_new_probe_there_is_no_observation),
        CASE(y_while_silent_a_gap_stays_as_it_was),
        CASE(y_silence_takes_three),
        CASE(y_silence_says_why),
        CASE(n_a_host_that_a_guest_came_from_may_be_silent),
        CASE(y_peers_that_are_not_synchronised),
        CASE(n_a_peer_that_does_not_say),
        CASE(y_this_host),
        CASE(y_servers_that_differ),
        CASE(y_servers_that_differ_but_were_not_told),
        CASE(n_servers_that_are_not_known),
        CASE(y_and_n_servers_within_and_across_groups),
        CASE(y_servers_that_are_not_the_organisations),
        CASE(y_a_peer_that_is_no_longer_one),
        CASE(y_switched_off),
        CASE(y_restored_alerts_are_not_told_again),
        CASE(y_nothing_flaps),
        CASE(y_whatever_is_seen),
    };
    const struct CMUnitTest words[] = {
        cmocka_unit_test(y_names),
        cmocka_unit_test(y_differences),
    };

    return cmocka_run_group_tests_name("alerts", alerts, NULL, NULL) +
           cmocka_run_group_tests_name("words", words, NULL, NULL);
}
