/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tests of reading time daemons' own words: chronyd's and ntpd's sources, ntpd's variables,
 * timesyncd's properties, ptp4l's data sets, as the real programs print them (chrony 4.3, NTPsec
 * 1.2.2, systemd 252, linuxptp 3.1.1), cut, damaged and made up; and their configuration files,
 * from a folder that stands for the root.
 */
#include "clock/sync_daemon.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <unistd.h>

#include <cmocka.h>

#include "folder.h"
#include "seeded.h"

#define S TH_NS_PER_S
#define US TH_NS_PER_US

static const struct th_sync_kernel fresh = {.maxerror_us = 500, .tick_us = 10000};
static const struct th_sync_kernel unset = {.maxerror_us = 16000000, .status = STA_UNSYNC};

/* ---- chronyd ---- */

static const char chrony_names[] =
    "#,?,GPS,0,4,0,4294967295,0.000000000,0.000000000,0.000000000\n"
    "^,*,ntp1.example.com,1,-2,377,0,0.000000002,-0.000000011,0.000002931\n"
    "^,?,2.debian.pool.ntp.org,0,6,0,4294967295,0.000000000,0.000000000,0.000000000\n"
    "=,-,hv2,3,6,17,42,0.000100000,0.000100000,0.002000000\n"
    "^,x,ntp2.example.com,2,6,377,12,5.000000000,5.000000000,0.002000000\n";
static const char chrony_addresses[] =
    "#,?,GPS,0,4,0,4294967295,0.000000000,0.000000000,0.000000000\n"
    "^,*,192.0.2.1,1,-2,377,0,0.000000002,-0.000000011,0.000002931\n"
    "^,?,ID#0000000003,0,6,0,4294967295,0.000000000,0.000000000,0.000000000\n"
    "=,-,2001:db8::2,3,6,17,42,0.000100000,0.000100000,0.002000000\n"
    "^,x,192.0.2.2,2,6,377,12,5.000000000,5.000000000,0.002000000\n";

static void chronyd_sources(void **state) {
    struct th_ntp_sources found;

    (void)state;
    assert_int_equal(th_sync_chronyd_sources(chrony_names, chrony_addresses, &found), 0);
    assert_int_equal(found.n, 5);
    assert_int_equal(found.sources[0].kind, TH_NTP_REFCLOCK);
    assert_string_equal(found.sources[0].address, "");
    assert_int_equal(found.sources[0].heard_ns, -1);
    assert_string_equal(found.sources[1].name, "ntp1.example.com");
    assert_string_equal(found.sources[1].address, "192.0.2.1");
    assert_int_equal(found.sources[1].use, TH_NTP_SELECTED);
    assert_int_equal(found.sources[1].reach, 255);
    assert_int_equal(found.sources[1].heard_ns, 0);
    assert_string_equal(found.sources[2].address, "");
    assert_int_equal(found.sources[2].use, TH_NTP_UNREACHABLE);
    assert_int_equal(found.sources[3].kind, TH_NTP_PEER);
    assert_int_equal(found.sources[3].use, TH_NTP_SPARE);
    assert_int_equal(found.sources[3].heard_ns, 42 * S);
    assert_int_equal(found.sources[4].use, TH_NTP_REJECTED);
}

static void chronyd_sources_that_changed_in_between(void **state) {
    struct th_ntp_sources found;

    (void)state;
    assert_int_equal(th_sync_chronyd_sources(chrony_names, "", &found), 0);
    assert_int_equal(found.n, 5);
    for (size_t i = 0; i < found.n; i++) {
        assert_string_equal(found.sources[i].address, "");
    }
}

static void chronyd_sources_that_are_none(void **state) {
    static const char *const bad[] = {
        "506 Cannot talk to daemon\n",        "^,*,a,1,6,377,0,0.0,0.0\n",
        "^,*,a,1,6,377,0,0.0,0.0,0.0,0.0\n",  "^,*,a,1,6,400,0,0.0,0.0,0.0\n",
        "^,*,a,1,6,9,0,0.0,0.0,0.0\n",        "^,*,a,1,6,377,-1,0.0,0.0,0.0\n",
        "^^,*,a,1,6,377,0,0.0,0.0,0.0\n",     "^,,a,1,6,377,0,0.0,0.0,0.0\n",
        "^,*,a,1,6,377,0,0.0,0.0,0.0\n^,*\n",
    };
    struct th_ntp_sources found;

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(bad); i++) {
        assert_int_equal(th_sync_chronyd_sources(bad[i], "", &found), -EBADMSG);
        assert_int_equal(th_sync_chronyd_sources("", bad[i], &found), -EBADMSG);
    }
    assert_int_equal(th_sync_chronyd_sources("", "", &found), 0);
    assert_int_equal(found.n, 0);
}

/* A name longer than an address is cut where a character ends. */
static void chronyd_addresses_that_are_none(void **state) {
    static const char names[] = "^,*,a,1,6,377,0,0.0,0.0,0.0\n";
    char addresses[256], text[128];
    struct th_ntp_sources found;

    (void)state;
    (void)snprintf(addresses, sizeof(addresses), "^,*,%062d\u00e9\u00e9,1,6,377,0,0.0,0.0,0.0\n",
                   0);
    assert_int_equal(th_sync_chronyd_sources(names, addresses, &found), 0);
    assert_int_equal(strlen(found.sources[0].address), 62);
    assert_string_equal(th_text_clean(found.sources[0].address, text, sizeof(text)),
                        found.sources[0].address);
}

/* ---- ntpd ---- */

/* NTPsec's; 2026-11-23T04:13:14.561Z. */
static const char ntpsec_variables[] =
    "associd=0 status=0014 leap_none, sync_unspec, 1 event, freq_mode,\n"
    "leap=00, stratum=2, precision=-24, rootdelay=0.033, rootdisp=187.55,\n"
    "refid=10.1.1.2, reftime=eeae3bda.8fbdc4f4 2026-11-23T04:13:14.561Z, tc=3,\n"
    "peer=17767, offset=0.009206, frequency=0.0, sys_jitter=0.0,\n"
    "clk_jitter=0.003057, clock=eeae3bdb.c6ad9afb 2026-11-23T04:13:15.776Z,\n"
    "processor=\"x86_64\", system=\"Linux/6.18.44-fc-v669\",\n"
    "version=\"ntpd ntpsec-1.2.2\", clk_wander=0.0, mintc=0\n";
/* The same in the form of NTP 4.2.8: another order, and a date that has commas in it. */
static const char classic_variables[] =
    "associd=0 status=0615 leap_none, sync_ntp, 1 event, clock_sync,\n"
    "version=\"ntpd 4.2.8p15@1.3728-o\", processor=\"x86_64\",\n"
    "system=\"Linux/5.10.0\", leap=00, stratum=2, precision=-24,\n"
    "rootdelay=0.033, rootdisp=187.550, refid=10.1.1.2,\n"
    "reftime=eeae3bda.8fbdc4f4  Mon, Nov 23 2026  4:13:14.561,\n"
    "clock=eeae3bdb.c6ad9afb  Mon, Nov 23 2026  4:13:15.776, peer=17767, tc=3,\n"
    "mintc=3, offset=0.009206, frequency=0.000, sys_jitter=0.000000,\n"
    "clk_jitter=0.003, clk_wander=0.000\n";
#define NTPD_UPDATE_NS (INT64_C(1795407194) * S + INT64_C(561489400))

static struct th_sync ntpd_state(const char *text, int64_t age_ns) {
    struct th_sync sync;

    assert_int_equal(th_sync_ntpd_state(text, NTPD_UPDATE_NS + age_ns, &sync), 0);
    assert_int_equal(sync.from, TH_SYNC_FROM_NTPD);
    return sync;
}

static void ntpd_that_is_synchronised(void **state) {
    const char *const texts[] = {ntpsec_variables, classic_variables};

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(texts); i++) {
        struct th_sync sync = ntpd_state(texts[i], 100 * S);

        assert_int_equal(sync.synchronised, TH_YES);
        assert_int_equal(sync.stratum, 2);
        assert_in_range(sync.age_ns, 100 * S - 10, 100 * S + 10);
        /* 9.2 us to go, half of 33 us, 187.55 ms, and 50 ppm of 100 s. */
        assert_in_range(sync.error_ns, 9206 + 16500 + 187550000 + 5000000,
                        9206 + 16500 + 187550000 + 5000000 + 10);
        assert_string_equal(sync.source, "10.1.1.2");
    }
}

static void ntpd_that_lost_its_servers(void **state) {
    struct th_sync sync;

    (void)state;
    sync = ntpd_state(ntpsec_variables, 1000 * S);
    assert_int_equal(sync.synchronised, TH_YES);
    sync = ntpd_state(ntpsec_variables, 1100 * S);
    assert_int_equal(sync.synchronised, TH_NO);
    assert_non_null(strstr(sync.reason, "lost its sources"));
    sync = ntpd_state(ntpsec_variables, -10 * S);
    assert_int_equal(sync.synchronised, TH_UNKNOWN);
    assert_int_equal(sync.error_ns, -1);
}

/* A copy of the text with a part of it replaced. */
static char *changed(const char *text, const char *old, const char *new) {
    static char copy[16384];
    const char *at = strstr(text, old);

    assert_non_null(at);
    (void)snprintf(copy, sizeof(copy), "%.*s%s%s", (int)(at - text), text, new, at + strlen(old));
    return copy;
}

static void ntpd_that_is_not_synchronised(void **state) {
    static const char *const changes[][2] = {
        {"leap=00", "leap=11"},
        {"stratum=2", "stratum=16"},
        {"stratum=2", "stratum=0"},
        {"reftime=eeae3bda.8fbdc4f4", "reftime=00000000.00000000"},
        {"refid=10.1.1.2", "refid=127.127.1.0"},
        {"refid=10.1.1.2", "refid=LOCAL"},
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(changes); i++) {
        struct th_sync sync =
            ntpd_state(changed(ntpsec_variables, changes[i][0], changes[i][1]), 10 * S);

        assert_int_equal(sync.synchronised, TH_NO);
        assert_int_equal(sync.error_ns, -1);
    }
}

static void ntpd_variables_that_are_none(void **state) {
    static const char *const changes[][2] = {
        {"leap=00, ", ""},
        {"stratum=2", "stratum=two"},
        {"rootdelay=0.033", "rootdelay="},
        {"offset=", "offsets="},
        {"tc=3", "tc=99"},
        {"reftime=e", "reftime="},
        {"reftime=eeae3bda.", "reftime=eeae3bda "},
        {"rootdisp=187.55", "rootdisp=1e9"},
        {"offset=0.009206", "offset=99999999999999999999"},
    };
    struct th_sync sync;

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(changes); i++) {
        assert_int_equal(th_sync_ntpd_state(changed(ntpsec_variables, changes[i][0], changes[i][1]),
                                            NTPD_UPDATE_NS, &sync),
                         -EBADMSG);
    }
    assert_int_equal(th_sync_ntpd_state("", 0, &sync), -EBADMSG);
    assert_int_equal(th_sync_ntpd_state("ntpq: read: Connection refused\n", 0, &sync), -EBADMSG);
}

static const char ntpd_peers[] =
    "     remote           refid      st t when poll reach   delay   offset   jitter\n"
    "===============================================================================\n"
    "*10.1.1.2        ....             1 u    1    8    1   0.0333   0.0084   0.0042\n"
    " pool.example    .POOL.          16 p    -  256    0   0.0000   0.0000   0.0001\n"
    " 10.9.9.8        .INIT.          16 u    -   64    0   0.0000   0.0000   0.0001\n"
    "+2001:db8:1234:5678:9abc:def0:1234:5678\n"
    "                 10.0.0.1         2 u   3m   64  377   0.0000   0.0000   0.0001\n"
    "x10.9.9.7        10.0.0.1         2 s   2h   64   17   0.0000   0.0000   0.0001\n"
    "o127.127.22.0    .PPS.            0 l   12   16  377   0.0000   0.0000   0.0001\n";

static void ntpd_sources(void **state) {
    struct th_ntp_sources found;

    (void)state;
    assert_int_equal(th_sync_ntpd_sources(ntpd_peers, &found), 0);
    assert_int_equal(found.n, 5);
    assert_string_equal(found.sources[0].name, "10.1.1.2");
    assert_int_equal(found.sources[0].use, TH_NTP_SELECTED);
    assert_int_equal(found.sources[0].heard_ns, S);
    assert_int_equal(found.sources[1].use, TH_NTP_UNREACHABLE);
    assert_int_equal(found.sources[1].heard_ns, -1);
    assert_string_equal(found.sources[2].name, "2001:db8:1234:5678:9abc:def0:1234:5678");
    assert_string_equal(found.sources[2].address, found.sources[2].name);
    assert_int_equal(found.sources[2].use, TH_NTP_COMBINED);
    assert_int_equal(found.sources[2].heard_ns, 180 * S);
    assert_int_equal(found.sources[3].kind, TH_NTP_PEER);
    assert_int_equal(found.sources[3].use, TH_NTP_REJECTED);
    assert_int_equal(found.sources[3].heard_ns, 7200 * S);
    assert_int_equal(found.sources[4].kind, TH_NTP_REFCLOCK);
    assert_int_equal(found.sources[4].reach, 255);
}

static void ntpd_source_not_heard_for_longer_than_a_clock_counts(void **state) {
    struct th_ntp_sources found;

    (void)state;
    assert_int_equal(th_sync_ntpd_sources(changed(ntpd_peers, "  3m ", "200000d "), &found), 0);
    assert_int_equal(found.sources[2].heard_ns, -1);
    assert_int_equal(th_sync_ntpd_sources(changed(ntpd_peers, "  3m ", "100000d "), &found), 0);
    assert_true(found.sources[2].heard_ns == INT64_C(100000) * 86400 * S);
}

static void ntpd_sources_that_are_none(void **state) {
    struct th_ntp_sources found;

    (void)state;
    assert_int_equal(th_sync_ntpd_sources("", &found), -EBADMSG);
    assert_int_equal(th_sync_ntpd_sources("No association IDs returned\n", &found), -EBADMSG);
    assert_int_equal(th_sync_ntpd_sources(changed(ntpd_peers, "377", "999"), &found), -EBADMSG);
    assert_int_equal(th_sync_ntpd_sources(changed(ntpd_peers, "0.0042", "0.0042 x"), &found),
                     -EBADMSG);
}

/* ---- timesyncd ---- */

static const char timesyncd_properties[] =
    "{\"type\":\"a{sv}\",\"data\":[{\"LinkNTPServers\":{\"type\":\"as\",\"data\":[\"192.0.2.9\"]},"
    "\"SystemNTPServers\":{\"type\":\"as\",\"data\":[\"127.0.0.2\"]},"
    "\"RuntimeNTPServers\":{\"type\":\"as\",\"data\":[]},"
    "\"FallbackNTPServers\":{\"type\":\"as\",\"data\":[\"a.example\",\"b.example\"]},"
    "\"ServerName\":{\"type\":\"s\",\"data\":\"ntp1.example.com\"},"
    "\"ServerAddress\":{\"type\":\"(iay)\",\"data\":[2,[192,0,2,1]]},"
    "\"RootDistanceMaxUSec\":{\"type\":\"t\",\"data\":5000000},"
    "\"PollIntervalMinUSec\":{\"type\":\"t\",\"data\":32000000},"
    "\"PollIntervalMaxUSec\":{\"type\":\"t\",\"data\":2048000000},"
    "\"PollIntervalUSec\":{\"type\":\"t\",\"data\":64000000},"
    "\"NTPMessage\":{\"type\":\"(uuuuittayttttbtt)\",\"data\":[0,4,4,1,-26,2000,500,[127,127,1,1],"
    "1795407178849000,1795407178849739,1795407178849921,1795407178850182,false,1,0]},"
    "\"Frequency\":{\"type\":\"x\",\"data\":0}}]}\n";
#define TIMESYNCD_UPDATE_NS (INT64_C(1795407178850182) * US)

static struct th_sync timesyncd_state(const char *json, const struct th_sync_kernel *kernel,
                                      int64_t age_ns) {
    struct th_sync sync;

    assert_int_equal(th_sync_timesyncd_state(json, kernel, TIMESYNCD_UPDATE_NS + age_ns, &sync), 0);
    assert_int_equal(sync.from, TH_SYNC_FROM_TIMESYNCD);
    return sync;
}

static void timesyncd_that_is_synchronised(void **state) {
    struct th_sync_kernel kernel = {.maxerror_us = 50 * 500, .offset = 300, .tick_us = 10000};
    struct th_sync sync = timesyncd_state(timesyncd_properties, &kernel, 49 * S);

    (void)state;
    assert_int_equal(sync.synchronised, TH_YES);
    assert_string_equal(sync.source, "ntp1.example.com");
    assert_int_equal(sync.stratum, 2);
    assert_int_equal(sync.age_ns, 50 * S);
    /* Half of 1 ms round trip, half of 2 ms, 0.5 ms, 0.3 ms to go, and 50 ppm of 50 s. */
    assert_in_range(sync.error_ns, 500000 + 1000000 + 500000 + 300000 + 2500000,
                    500000 + 1000000 + 500000 + 300000 + 2500000 + 3000);
}

static void timesyncd_that_is_not(void **state) {
    struct th_sync_kernel old = {.maxerror_us = 1100 * 500, .tick_us = 10000};
    struct th_sync_kernel others = {.maxerror_us = 12345, .tick_us = 10000};
    struct th_sync sync;

    (void)state;
    sync = timesyncd_state(timesyncd_properties, &unset, 0);
    assert_int_equal(sync.synchronised, TH_NO);
    sync = timesyncd_state(timesyncd_properties, &old, 0);
    assert_int_equal(sync.synchronised, TH_NO);
    assert_non_null(strstr(sync.reason, "lost its server"));
    sync = timesyncd_state(timesyncd_properties, &others, -S);
    assert_int_equal(sync.synchronised, TH_UNKNOWN);
    sync = timesyncd_state(timesyncd_properties, &others, S);
    assert_int_equal(sync.synchronised, TH_YES);
    assert_int_equal(sync.age_ns, S);
    sync = timesyncd_state(changed(timesyncd_properties, "false,1,0]", "false,0,0]"), &fresh, 0);
    assert_int_equal(sync.synchronised, TH_NO);
    sync = timesyncd_state(changed(timesyncd_properties, "[0,4,4,", "[3,4,4,"), &fresh, 0);
    assert_int_equal(sync.synchronised, TH_NO);
    assert_int_equal(sync.error_ns, -1);
}

/* What it shows before any server has answered. */
static void timesyncd_that_has_heard_nothing(void **state) {
    th_auto_ntp_servers struct th_ntp_servers servers = {.n = 0};
    char json[sizeof(timesyncd_properties) + 128];
    struct th_ntp_sources found;
    struct th_sync sync;

    (void)state;
    strcpy(json, timesyncd_properties);
    strcpy(strstr(json, "[0,4,4,1"),
           "[0,0,0,0,0,0,0,[0,0,0,0],0,18444535084909551616,18444535084909551616,0,false,0,0]},"
           "\"Frequency\":{\"type\":\"x\",\"data\":0}}]}\n");
    sync = timesyncd_state(json, &fresh, 0);
    assert_int_equal(sync.synchronised, TH_NO);
    assert_int_equal(sync.error_ns, -1);
    assert_int_equal(sync.age_ns, -1);
    assert_int_equal(th_sync_timesyncd_sources(json, &servers, &found), 0);
    assert_int_equal(found.n, 3);
    assert_int_equal(found.sources[0].use, TH_NTP_WAITING);
}

static void timesyncd_servers_and_sources(void **state) {
    th_auto_ntp_servers struct th_ntp_servers servers = {.n = 0}, others = {.n = 0};
    struct th_ntp_sources found;

    (void)state;
    assert_int_equal(th_sync_timesyncd_sources(timesyncd_properties, &servers, &found), 0);
    assert_int_equal(found.n, 3);
    assert_string_equal(found.sources[0].name, "ntp1.example.com");
    assert_string_equal(found.sources[0].address, "192.0.2.1");
    assert_int_equal(found.sources[0].use, TH_NTP_SELECTED);
    assert_string_equal(found.sources[1].name, "127.0.0.2");
    assert_string_equal(found.sources[2].name, "192.0.2.9");
    assert_int_equal(found.sources[2].use, TH_NTP_SPARE);
    assert_int_equal(servers.n, 1);
    assert_string_equal(servers.servers[0].name, "192.0.2.9");
    assert_string_equal(servers.servers[0].where, "dhcp");
    assert_int_equal(th_sync_timesyncd_sources(
                         changed(timesyncd_properties, "[\"192.0.2.9\"]", "[]"), &others, &found),
                     0);
    assert_int_equal(others.n, 2);
    assert_string_equal(others.servers[1].name, "b.example");
    assert_string_equal(others.servers[1].where, "fallback");
}

/* timesyncd shows unset times as the largest number, and a server may say any stratum. */
static void timesyncd_values_beyond_all_measure(void **state) {
    static const char *const changes[][2] = {
        {"[0,4,4,1,", "[0,4,4,255,"},
        {"[0,4,4,1,", "[0,4,4,-1,"},
        {"\"data\":64000000", "\"data\":9223372036854775807"},
        {"\"data\":64000000", "\"data\":-9223372036854775808"},
        {"1795407178850182,false,1,", "18446744073709551615,false,0,"},
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(changes); i++) {
        struct th_sync sync = timesyncd_state(
            changed(timesyncd_properties, changes[i][0], changes[i][1]), &fresh, 10 * S);

        assert_int_equal(sync.synchronised, i < 4 ? TH_YES : TH_NO);
        assert_int_equal(sync.stratum, i == 2 || i == 3 ? 2 : 0);
    }
}

/* A server without a name would make the whole list unreadable for the others. */
static void timesyncd_server_without_a_name(void **state) {
    th_auto_ntp_servers struct th_ntp_servers servers = {.n = 0};
    struct th_ntp_sources found;

    (void)state;
    assert_int_equal(th_sync_timesyncd_sources(
                         changed(timesyncd_properties, "[\"192.0.2.9\"]", "[\"\",\"192.0.2.9\"]"),
                         &servers, &found),
                     0);
    assert_int_equal(servers.n, 1);
    assert_string_equal(servers.servers[0].name, "192.0.2.9");
}

static void timesyncd_properties_that_are_none(void **state) {
    static const char *const bad[] = {"",
                                      "{",
                                      "[]",
                                      "{\"data\":[]}",
                                      "{\"data\":{}}",
                                      "{\"data\":[1]}",
                                      "null",
                                      "{\"data\":[{\"NTPMessage\":{\"data\":[0,4,4]}}]}",
                                      "{\"data\":[{\"NTPMessage\":{\"data\":\"x\"}}]}",
                                      "Call failed: no such name\n"};
    th_auto_ntp_servers struct th_ntp_servers servers = {.n = 0};
    struct th_ntp_sources found;
    struct th_sync sync;

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(bad); i++) {
        assert_int_equal(th_sync_timesyncd_state(bad[i], &fresh, 0, &sync), -EBADMSG);
        assert_int_equal(th_sync_timesyncd_sources(bad[i], &servers, &found), -EBADMSG);
    }
    assert_int_equal(th_sync_timesyncd_state(
                         changed(timesyncd_properties, "1795407178850182", "9223372036854775807"),
                         &fresh, 0, &sync),
                     -EBADMSG);
}

/* ---- ptp4l ---- */

static const char ptp4l_answers[] =
    "sending: GET TIME_STATUS_NP\n"
    "sending: GET PORT_DATA_SET\n"
    "\tca45e0.fffe.3f6e7e-0 seq 0 RESPONSE MANAGEMENT TIME_STATUS_NP \n"
    "\t\tmaster_offset              111\n"
    "\t\tingress_time               1795407757269305622\n"
    "\t\tgmPresent                  true\n"
    "\t\tgmIdentity                 2204f3.fffe.5b0d90\n"
    "\tca45e0.fffe.3f6e7e-1 seq 1 RESPONSE MANAGEMENT PORT_DATA_SET \n"
    "\t\tportIdentity            ca45e0.fffe.3f6e7e-1\n"
    "\t\tportState               PASSIVE\n"
    "\tca45e0.fffe.3f6e7e-2 seq 1 RESPONSE MANAGEMENT PORT_DATA_SET \n"
    "\t\tportState               SLAVE\n"
    "\tca45e0.fffe.3f6e7e-0 seq 2 RESPONSE MANAGEMENT PARENT_DATA_SET \n"
    "\t\tgm.ClockClass                         6\n"
    "\t\tgm.ClockAccuracy                      0x21\n"
    "\tca45e0.fffe.3f6e7e-0 seq 3 RESPONSE MANAGEMENT CURRENT_DATA_SET \n"
    "\t\tstepsRemoved     1\n"
    "\t\toffsetFromMaster -111.0\n"
    "\t\tmeanPathDelay    2133.0\n"
    "\tca45e0.fffe.3f6e7e-0 seq 4 RESPONSE MANAGEMENT TIME_PROPERTIES_DATA_SET \n"
    "\t\tcurrentUtcOffset      37\n"
    "\t\tcurrentUtcOffsetValid 1\n"
    "\t\tptpTimescale          1\n"
    "\t\ttimeTraceable         1\n";

static struct th_sync ptp4l_state(const char *text, long maxerror_us, bool with_phc2sys) {
    struct th_sync_kernel kernel = {.maxerror_us = maxerror_us, .tick_us = 10000};
    struct th_sync sync;

    assert_int_equal(th_sync_ptp4l_state(text, &kernel, with_phc2sys, &sync), 0);
    assert_int_equal(sync.from, TH_SYNC_FROM_PTP4L);
    return sync;
}

static void ptp4l_that_is_synchronised(void **state) {
    struct th_sync sync = ptp4l_state(ptp4l_answers, 500, false);

    (void)state;
    assert_int_equal(sync.synchronised, TH_YES);
    assert_string_equal(sync.source, "2204f3.fffe.5b0d90");
    assert_int_equal(sync.age_ns, S);
    /* The master's 100 ns, what is to go, the whole path, and 50 ppm of a second. */
    assert_in_range(sync.error_ns, 100 + 111 + 2133 + 50000, 100 + 111 + 2133 + 50000 + 5);
    sync = ptp4l_state(ptp4l_answers, 0, true);
    assert_int_equal(sync.synchronised, TH_YES);
    assert_int_equal(sync.error_ns, -1);
    assert_non_null(strstr(sync.reason, "phc2sys"));
    sync = ptp4l_state(changed(ptp4l_answers, "0x21", "0xfe"), 500, false);
    assert_int_equal(sync.synchronised, TH_YES);
    assert_int_equal(sync.error_ns, -1);
    sync = ptp4l_state(changed(ptp4l_answers, "timeTraceable         1", "timeTraceable  0"), 500,
                       false);
    assert_int_equal(sync.error_ns, -1);
}

static void ptp4l_that_is_not(void **state) {
    (void)state;
    assert_int_equal(
        ptp4l_state(changed(ptp4l_answers, "SLAVE", "UNCALIBRATED"), 500, false).synchronised,
        TH_NO);
    assert_int_equal(ptp4l_state(changed(ptp4l_answers, "true", "false"), 500, false).synchronised,
                     TH_NO);
    assert_int_equal(ptp4l_state(ptp4l_answers, 16000000, true).synchronised, TH_NO);
    /* phc2sys ended a minute ago and more. */
    assert_int_equal(ptp4l_state(ptp4l_answers, 61 * 500, true).synchronised, TH_NO);
    assert_int_equal(ptp4l_state(ptp4l_answers, 12345, true).synchronised, TH_UNKNOWN);
    assert_int_equal(
        ptp4l_state(changed(ptp4l_answers, "currentUtcOffsetValid 1", "currentUtcOffsetValid 0"),
                    500, false)
            .synchronised,
        TH_UNKNOWN);
}

static void ptp4l_sources(void **state) {
    struct th_ntp_sources found;
    struct th_sync sync;

    (void)state;
    assert_int_equal(th_sync_ptp4l_sources(ptp4l_answers, &found), 0);
    assert_int_equal(found.n, 1);
    assert_int_equal(found.sources[0].kind, TH_NTP_REFCLOCK);
    assert_int_equal(found.sources[0].use, TH_NTP_SELECTED);
    assert_int_equal(th_sync_ptp4l_sources(changed(ptp4l_answers, "true", "false"), &found), 0);
    assert_int_equal(found.n, 0);
    /* No answer: pmc prints what it sent and ends well. */
    assert_int_equal(th_sync_ptp4l_sources("sending: GET TIME_STATUS_NP\n", &found), -EBADMSG);
    assert_int_equal(th_sync_ptp4l_state("sending: GET TIME_STATUS_NP\n", &fresh, false, &sync),
                     -EBADMSG);
}

/* ---- damage ---- */

/* Whatever a daemon's client prints, reading it ends, and what comes out is in range. */
static void damaged_words(void **state) {
    static const char *const texts[] = {chrony_names, ntpsec_variables, ntpd_peers,
                                        timesyncd_properties, ptp4l_answers};
    struct seeded seeded = seeded_start("damaged_words");
    int cases = seeded_cases(2000);

    (void)state;
    for (int i = 0; i < cases; i++) {
        th_auto_ntp_servers struct th_ntp_servers servers = {.n = 0};
        th_auto_free char *text = strdup(texts[(size_t)i % TH_ELEMENTS(texts)]);
        size_t size = strlen(text);
        struct th_ntp_sources found = {.n = 0};
        struct th_sync sync = {.error_ns = -1, .age_ns = -1};

        for (int j = 0; j < 1 + i % 4; j++) {
            text[seeded_bits(&seeded) % size] = (char)seeded_bits(&seeded);
        }
        text[seeded_bits(&seeded) % (size + 1)] = '\0';
        (void)th_sync_chronyd_sources(text, text, &found);
        assert_true(found.n <= TH_NTP_MAX_SERVERS);
        (void)th_sync_ntpd_sources(text, &found);
        (void)th_sync_timesyncd_sources(text, &servers, &found);
        (void)th_sync_ptp4l_sources(text, &found);
        assert_true(found.n <= TH_NTP_MAX_SERVERS);
        (void)th_sync_ntpd_state(text, NTPD_UPDATE_NS, &sync);
        assert_true(sync.error_ns >= -1 && sync.age_ns >= -1);
        (void)th_sync_timesyncd_state(text, &fresh, TIMESYNCD_UPDATE_NS, &sync);
        assert_true(sync.error_ns >= -1 && sync.age_ns >= -1);
        (void)th_sync_ptp4l_state(text, &fresh, false, &sync);
        assert_true(sync.error_ns >= -1 && sync.age_ns >= -1);
    }
}

/* ---- files ---- */

/* "kind name where; kind name where". */
static const char *servers_of(const struct th_sync_daemon *daemon) {
    static char text[4096];
    th_auto_ntp_servers struct th_ntp_servers servers = {.n = 0};

    text[0] = '\0';
    assert_int_equal(daemon->read_servers(folder, 0, &servers), 0);
    for (size_t i = 0; i < servers.n; i++) {
        size_t used = strlen(text);

        (void)snprintf(text + used, sizeof(text) - used, "%s%s %s %s", used ? "; " : "",
                       th_ntp_kind_name(servers.servers[i].kind), servers.servers[i].name,
                       servers.servers[i].where);
    }
    if (servers.complaint[0]) {
        strcat(strcat(text, "! "), servers.complaint);
    }
    return text;
}

static void chrony_files(void **state) {
    char sources[256], main_file[256];

    (void)state;
    assert_string_equal(servers_of(&th_sync_chronyd), "");
    folder_put("/etc/chrony/chrony.conf",
               "# server x\n! server x\n; server x\n  % server x\n"
               "  SERVER\ta.example  iburst # no comment\n"
               "pool 2.debian.pool.ntp.org iburst\npeer hv2\nserver\n"
               "refclock PHC /dev/ptp0 poll 0\nkeyfile /etc/chrony/keys\n"
               "confdir /etc/chrony/conf.d /usr/lib/chrony\n"
               "sourcedir /run/chrony-dhcp\n"
               "sourcedir /etc/chrony/sources.d\n"
               "include /etc/chrony/more*\ninclude /etc/chrony/chrony.conf");
    folder_put("/etc/chrony/conf.d/b.conf", "server b.example\n");
    folder_put("/etc/chrony/conf.d/b.conf.bak", "server x\n");
    folder_put("/usr/lib/chrony/b.conf", "server x\n");
    folder_put("/usr/lib/chrony/a.conf", "server c.example\n");
    folder_put("/run/chrony-dhcp/eth0.sources", "server 192.0.2.7\n");
    folder_put("/etc/chrony/sources.d/o.sources", "refclock X\nserver d.example\nserver x");
    folder_put("/etc/chrony/more1", "server e.example\n");
    folder_put("/etc/chrony/more2", "");
    assert_memory_equal(
        servers_of(&th_sync_chronyd),
        "server a.example /etc/chrony/chrony.conf:5; "
        "pool 2.debian.pool.ntp.org /etc/chrony/chrony.conf:6; "
        "peer hv2 /etc/chrony/chrony.conf:7; refclock PHC:/dev/ptp0 /etc/chrony/chrony.conf:9; "
        "server c.example /usr/lib/chrony/a.conf:1; server b.example /etc/chrony/conf.d/b.conf:1; "
        "server 192.0.2.7 dhcp; server d.example /etc/chrony/sources.d/o.sources:2; "
        "server e.example /etc/chrony/more1:1; server a.example",
        400);
    assert_null(strstr(servers_of(&th_sync_chronyd), " x "));
    assert_int_equal(th_sync_chronyd_folder(folder, 0, sources, main_file), 0);
    assert_string_equal(sources, "/etc/chrony/sources.d");
    assert_string_equal(main_file, "/etc/chrony/chrony.conf");
}

/* A file of ours is known again by its path, so it must not be one that is cut or cleaned. */
static void chrony_folders_without_a_good_name(void **state) {
    char sources[256], main_file[256], text[512];

    (void)state;
    (void)snprintf(text, sizeof(text), "sourcedir /etc/\xe8 /etc/%0170d /etc/b\n", 0);
    folder_put("/etc/chrony/chrony.conf", text);
    assert_int_equal(th_sync_chronyd_folder(folder, 0, sources, main_file), 0);
    assert_string_equal(sources, "/etc/b");
}

static void files_that_cannot_be_read(void **state) {
    char *large = malloc(300000);

    (void)state;
    assert_non_null(large);
    memset(large, '#', 299999);
    large[299999] = '\0';
    folder_put("/etc/chrony.conf", large);
    free(large);
    assert_string_equal(servers_of(&th_sync_chronyd), "! /etc/chrony.conf: File too large");
    folder_put("/etc/ntp.conf/x", "");
    assert_string_equal(servers_of(&th_sync_ntpd), "! /etc/ntp.conf: Invalid argument");
}

static void timesyncd_files(void **state) {
    (void)state;
    folder_put("/etc/systemd/timesyncd.conf", "NTP=x\n[Time]\n#NTP=x\n NTP = a.example b.example\n"
                                              "FallbackNTP=x\n[Other]\nNTP=x\n");
    assert_string_equal(servers_of(&th_sync_timesyncd),
                        "server a.example /etc/systemd/timesyncd.conf:4; "
                        "server b.example /etc/systemd/timesyncd.conf:4");
    folder_put("/etc/systemd/timesyncd.conf.d/20.conf", "[Time]\nNTP=c.example\n");
    folder_put("/usr/lib/systemd/timesyncd.conf.d/20.conf", "[Time]\nNTP=x\n");
    folder_put("/run/systemd/timesyncd.conf.d/10.conf", "[Time]\nNTP=\nNTP=d.example\n");
    assert_string_equal(servers_of(&th_sync_timesyncd),
                        "server d.example /run/systemd/timesyncd.conf.d/10.conf:3; "
                        "server c.example /etc/systemd/timesyncd.conf.d/20.conf:2");
}

static void ntpd_files(void **state) {
    (void)state;
    folder_put("/etc/ntp.conf", "server x\n");
    folder_put("/etc/ntpsec/ntp.conf",
               "driftfile /x\nserver -4 a.example iburst # b\n#server x\n"
               "pool p.example\npeer hv2\nserver 127.127.22.0\n"
               "refclock shm unit 1 refid GPS\nincludefile /etc/ntpsec/more\n"
               "includefile /etc/ntpsec/ntp.conf\nrestrict server\n");
    folder_put("/etc/ntpsec/more", "server m.example\n");
    folder_put("/etc/ntpsec/ntp.d/a.conf", "server d.example\n");
    assert_memory_equal(
        servers_of(&th_sync_ntpd),
        "server a.example /etc/ntpsec/ntp.conf:2; pool p.example /etc/ntpsec/ntp.conf:4; "
        "peer hv2 /etc/ntpsec/ntp.conf:5; refclock 127.127.22.0 /etc/ntpsec/ntp.conf:6; "
        "refclock shm:1 /etc/ntpsec/ntp.conf:7; server m.example /etc/ntpsec/more:1; server a.exa",
        240);
    assert_non_null(strstr(servers_of(&th_sync_ntpd), "; server d.example /etc/ntpsec/ntp.d/a.c"));
    assert_null(strstr(servers_of(&th_sync_ntpd), " x "));
}

static void ptp4l_files(void **state) {
    (void)state;
    folder_put("/etc/linuxptp/ptp4l.conf", "[global]\n# domainNumber 1\ndomainNumber\t24\n"
                                           "[unicast_master_table]\ntable_id 1\n[eth0]\n[eth1]\n");
    assert_string_equal(servers_of(&th_sync_ptp4l),
                        "refclock ptp:24 /etc/linuxptp/ptp4l.conf (eth0 eth1)");
}

/* ---- processes ---- */

static void a_process_by_its_name(void **state) {
    char name[32] = "";
    FILE *comm = fopen("/proc/self/comm", "r");

    (void)state;
    assert_non_null(comm);
    assert_non_null(fgets(name, sizeof(name), comm));
    assert_int_equal(fclose(comm), 0);
    name[strcspn(name, "\n")] = '\0';
    assert_true(th_sync_process_find(name) > 0);
    assert_int_equal(th_sync_process_find("no such process"), 0);
    assert_false(th_sync_process_option(getpid(), 'f', 0, name, sizeof(name)));
    assert_false(th_sync_process_option(0, 'f', 0, name, sizeof(name)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chronyd_sources),
        cmocka_unit_test(chronyd_sources_that_changed_in_between),
        cmocka_unit_test(chronyd_sources_that_are_none),
        cmocka_unit_test(chronyd_addresses_that_are_none),
        cmocka_unit_test(ntpd_that_is_synchronised),
        cmocka_unit_test(ntpd_that_lost_its_servers),
        cmocka_unit_test(ntpd_that_is_not_synchronised),
        cmocka_unit_test(ntpd_variables_that_are_none),
        cmocka_unit_test(ntpd_sources),
        cmocka_unit_test(ntpd_source_not_heard_for_longer_than_a_clock_counts),
        cmocka_unit_test(ntpd_sources_that_are_none),
        cmocka_unit_test(timesyncd_that_is_synchronised),
        cmocka_unit_test(timesyncd_that_is_not),
        cmocka_unit_test(timesyncd_that_has_heard_nothing),
        cmocka_unit_test(timesyncd_servers_and_sources),
        cmocka_unit_test(timesyncd_values_beyond_all_measure),
        cmocka_unit_test(timesyncd_server_without_a_name),
        cmocka_unit_test(timesyncd_properties_that_are_none),
        cmocka_unit_test(ptp4l_that_is_synchronised),
        cmocka_unit_test(ptp4l_that_is_not),
        cmocka_unit_test(ptp4l_sources),
        cmocka_unit_test(damaged_words),
        cmocka_unit_test_setup_teardown(chrony_files, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(chrony_folders_without_a_good_name, folder_make,
                                        folder_remove),
        cmocka_unit_test_setup_teardown(files_that_cannot_be_read, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(timesyncd_files, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(ntpd_files, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(ptp4l_files, folder_make, folder_remove),
        cmocka_unit_test(a_process_by_its_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
