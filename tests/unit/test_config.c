/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The configuration from real files in a folder of the test's own: every key with good values and
 * with bad ones, what is said about the bad ones, how files add up, and what one domain gets.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "folder.h"
#include "seeded.h"
#include "timehandoff/config.h"

#define MS TH_NS_PER_MS
#define S TH_NS_PER_S
#define UUID "6ba7b810-9dad-11d1-80b4-00c04fd430c8"

static char last_error[512];

static void take_away(const char *file) {
    char path[256];

    (void)unlink(folder_path(file, path));
}

static int load(struct th_config **ret_config) {
    int r;

    last_error[0] = '\0';
    r = th_config_load(folder, ret_config, last_error, sizeof(last_error));
    assert_int_equal(r == 0, last_error[0] == '\0');
    assert_null(strchr(last_error, '\n'));
    return r;
}

static int load_text(const char *text, struct th_config **ret_config) {
    folder_put("timehandoff.conf", text);
    return load(ret_config);
}

static struct th_config *must_load(const char *text) {
    struct th_config *config = NULL;

    if (load_text(text, &config) < 0) {
        fail_msg("refused: %s", last_error);
    }
    return config;
}

static void must_refuse(const char *text, const char *words) {
    struct th_config *config = NULL;

    if (load_text(text, &config) != -EBADMSG) {
        fail_msg("accepted: %s", text);
    }
    assert_null(config);
    if (!strstr(last_error, words)) {
        fail_msg("'%s' does not say '%s'", last_error, words);
    }
}

/* ---- defaults ---- */

static void is_default(const struct th_config *config) {
    assert_int_equal(config->verdict.warn_ns, 50 * MS);
    assert_int_equal(config->verdict.block_ns, 500 * MS);
    assert_false(config->report_only);
    assert_int_equal(config->port, 10123);
    assert_int_equal(config->questions, 8);
    assert_int_equal(config->timeout_ns, 300 * MS);
    assert_true(config->kernel_stamps);
    assert_true(config->answer);
    assert_int_equal(config->listen_port, 10123);
    assert_false(config->require_key);
    assert_true(config->allow_own_networks);
    assert_int_equal(config->n_announce, 0);
    assert_int_equal(config->handoff, TH_HANDOFF_STEP);
    assert_false(config->backward);
    assert_int_equal(config->deadband_ns, 20 * MS);
    assert_int_equal(config->target_ns, MS);
    assert_int_equal(config->max_step_migration_ns, 3600 * S);
    assert_int_equal(config->max_step_unpause_ns, 3600 * S);
    assert_int_equal(config->agent_timeout_ns, 30 * S);
    assert_int_equal(config->give_up_ns, 300 * S);
    assert_int_equal(config->recheck_ns[0], 10 * S);
    assert_int_equal(config->recheck_ns[1], 60 * S);
    assert_int_equal(config->n_peers, 0);
    assert_int_equal(config->peer_interval_ns, 60 * S);
    assert_int_equal(config->ntp.n, 0);
    assert_true(config->alerts);
    assert_int_equal(config->alert_gap_ns, 50 * MS);
    assert_null(config->textfile);
    assert_string_equal(config->libvirt_uri, "qemu:///system");
    assert_null(config->libvirt_user);
    assert_null(config->libvirt_password_file);
    assert_int_equal(config->n_domains, 0);
}

static bool allows(const struct th_config *config, const char *address) {
    struct th_network one;
    bool allowed = false;

    assert_int_equal(th_network_parse(address, &one), 0);
    for (size_t i = 0; i < config->n_allowed && !allowed; i++) {
        const struct th_network *network = &config->allowed[i];
        unsigned bytes = network->prefix / 8, bits = network->prefix % 8;

        allowed =
            memcmp(&one.address, &network->address, bytes) == 0 &&
            (bits == 0 ||
             (one.address.s6_addr[bytes] ^ network->address.s6_addr[bytes]) >> (8 - bits) == 0);
    }
    return allowed;
}

static void y_no_file_at_all(void **state) {
    static const char *const allowed[] = {"10.1.2.3", "172.31.0.1", "192.168.7.7", "127.0.0.1",
                                          "::1",      "fd00::1",    "169.254.1.1", "fe80::1"};
    static const char *const refused[] = {"11.0.0.1", "172.32.0.1",  "192.169.0.1",
                                          "8.8.8.8",  "2001:db8::1", "::2"};
    struct th_config *config = NULL;
    char error[64];

    (void)state;
    take_away("timehandoff.conf");
    assert_int_equal(load(&config), 0);
    is_default(config);
    for (size_t i = 0; i < TH_ELEMENTS(allowed); i++) {
        assert_true(allows(config, allowed[i]));
    }
    for (size_t i = 0; i < TH_ELEMENTS(refused); i++) {
        assert_false(allows(config, refused[i]));
    }
    assert_null(th_config_free(config));
    assert_int_equal(th_config_load("/nonexistent/folder", &config, error, sizeof(error)), 0);
    is_default(config);
    th_config_free(config);
    assert_null(th_config_free(NULL));
}

static void y_empty_and_comments(void **state) {
    static const char *const texts[] = {
        "",
        "\n\n",
        "# a comment\n; another\n   # indented\n",
        "\xef\xbb\xbf# with a mark\n",
        "[gap]\n",
        "[gap]\r\n\r\n",
        "[ gap ] ; said\n[probe] # said\n",
        "# a long comment "
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx = = [[[\n",
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(texts); i++) {
        struct th_config *config = must_load(texts[i]);

        is_default(config);
        th_config_free(config);
    }
}

/* ---- every key: where it goes, and what it refuses ---- */

#define AT(field) offsetof(struct th_config, field)

enum kind { INT64, UNSIGNED, BOOL, ACTION, MODE, STRING };

static const struct key {
    const char *section, *key;
    enum kind kind;
    size_t offset;
    const char *good;
    int64_t value;
    const char *bad[6];
} keys[] = {
    {"gap",
     "warn",
     INT64,
     AT(verdict.warn_ns),
     "7ms",
     7 * MS,
     {"7", "x", "", "-1ms", "1y", "366d"}},
    {"gap", "block", INT64, AT(verdict.block_ns), "1.5s", 1500 * MS, {"7", "x", "", "-1ms"}},
    {"gap", "mode", BOOL, AT(report_only), "report", 1, {"yes", "Report", "", "off"}},
    {"gap", "source-unknown", ACTION, AT(verdict.source_unknown), "block", TH_BLOCK, {"yes", ""}},
    {"gap", "source-unreachable", ACTION, AT(verdict.source_unreachable), "allow", TH_ALLOW, {"a"}},
    {"gap", "unauthenticated", ACTION, AT(verdict.unauthenticated), "warn", TH_WARN, {"deny"}},
    {"gap",
     "source-unsynchronised",
     ACTION,
     AT(verdict.source_unsynchronised),
     "block",
     TH_BLOCK,
     {"BLOCK"}},
    {"gap",
     "destination-unsynchronised",
     ACTION,
     AT(verdict.destination_unsynchronised),
     "block",
     TH_BLOCK,
     {"no"}},
    {"gap", "gap-source-wrong", ACTION, AT(verdict.gap_source_wrong), "warn", TH_WARN, {"unknown"}},
    {"probe", "port", UNSIGNED, AT(port), "123", 123, {"0", "65536", "-1", "x", "", "0x7b"}},
    {"probe", "questions", UNSIGNED, AT(questions), "1", 1, {"0", "9", "1.5", "+1", " ", "1 2"}},
    {"probe", "timeout", INT64, AT(timeout_ns), "10s", 10 * S, {"11s", "0.5ms", "1", "0s"}},
    {"probe", "kernel-stamps", BOOL, AT(kernel_stamps), "no", 0, {"0", "false", "unknown", ""}},
    {"responder", "enabled", BOOL, AT(answer), "no", 0, {"off", "1", ""}},
    {"responder", "port", UNSIGNED, AT(listen_port), "65535", 65535, {"0", "65536"}},
    {"responder", "require-key", BOOL, AT(require_key), "yes", 1, {"true", "YES"}},
    {"handoff", "mode", MODE, AT(handoff), "report", TH_HANDOFF_REPORT, {"enforce", "no", ""}},
    {"handoff", "backward", BOOL, AT(backward), "yes", 1, {"on"}},
    {"handoff", "deadband", INT64, AT(deadband_ns), "0s", 0, {"0", "61min"}},
    {"handoff", "target", INT64, AT(target_ns), "1us", TH_NS_PER_US, {"0s", "999ns", "2s"}},
    {"handoff", "max-step-migration", INT64, AT(max_step_migration_ns), "none", -1, {"-1", "all"}},
    {"handoff", "max-step-unpause", INT64, AT(max_step_unpause_ns), "2h", 7200 * S, {"2", "off"}},
    {"handoff", "agent-timeout", INT64, AT(agent_timeout_ns), "1s", S, {"999ms", "61min"}},
    {"handoff", "give-up", INT64, AT(give_up_ns), "1d", 86400 * S, {"0s", "25h"}},
    {"handoff", "recheck-first", INT64, AT(recheck_ns[0]), "off", 0, {"500ms", "none"}},
    {"handoff", "recheck-second", INT64, AT(recheck_ns[1]), "0s", 0, {"0", "2d"}},
    {"peers", "interval", INT64, AT(peer_interval_ns), "5min", 300 * S, {"0s", "5", "5m", "2d"}},
    {"alert", "enabled", BOOL, AT(alerts), "no", 0, {"off", ""}},
    {"alert", "gap", INT64, AT(alert_gap_ns), "1us", TH_NS_PER_US, {"0s", "50", "366d"}},
    {"alert", "textfile", STRING, AT(textfile), "/a/b.prom", 0, {"b.prom", ""}},
    {"libvirt", "uri", STRING, AT(libvirt_uri), "qemu:///session", 0, {""}},
    {"libvirt", "user", STRING, AT(libvirt_user), "vdsm@ovirt", 0, {""}},
    {"libvirt", "password-file", STRING, AT(libvirt_password_file), "/etc/x", 0, {"x", "", "~/x"}},
};

static int64_t value_of(const struct th_config *config, const struct key *key) {
    const char *at = (const char *)config + key->offset;

    switch (key->kind) {
    case INT64: return *(const int64_t *)(const void *)at;
    case UNSIGNED: return *(const unsigned *)(const void *)at;
    case BOOL: return *(const bool *)(const void *)at;
    case ACTION: return *(const enum th_action *)(const void *)at;
    case MODE: return *(const enum th_handoff_mode *)(const void *)at;
    case STRING: return strcmp(*(char *const *)(const void *)at, key->good);
    }
    return -77;
}

static void y_every_key(void **state) {
    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(keys); i++) {
        struct th_config *config;
        char text[256];

        snprintf(text, sizeof(text), "[%s]\n\t%s =  %s ; why\n", keys[i].section, keys[i].key,
                 keys[i].good);
        config = must_load(text);
        if (value_of(config, &keys[i]) != keys[i].value) {
            fail_msg("[%s] %s", keys[i].section, keys[i].key);
        }
        th_config_free(config);
    }
}

/* All at once, so that no key writes to another's place. */
static void y_all_keys(void **state) {
    struct th_config *config;
    char text[4096];
    int used = 0;

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(keys); i++) {
        used += snprintf(text + used, sizeof(text) - (size_t)used, "[%s]\n%s=%s\n", keys[i].section,
                         keys[i].key, keys[i].good);
    }
    config = must_load(text);
    for (size_t i = 0; i < TH_ELEMENTS(keys); i++) {
        assert_int_equal(value_of(config, &keys[i]), keys[i].value);
    }
    th_config_free(config);
}

static void n_every_key(void **state) {
    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(keys); i++) {
        const struct key *key = &keys[i];
        char text[256], words[256];

        snprintf(words, sizeof(words), "%s/timehandoff.conf:3: [%s] %s: ", folder, key->section,
                 key->key);
        for (size_t j = 0; j < TH_ELEMENTS(key->bad) && key->bad[j]; j++) {
            snprintf(text, sizeof(text), "# first\n[%s]\n%s = %s\n", key->section, key->key,
                     key->bad[j]);
            must_refuse(text, words);
            assert_non_null(strstr(last_error, "; write "));
        }
        snprintf(text, sizeof(text), "[%s]\n%s = %s\n%s = %s\n", key->section, key->key, key->good,
                 key->key, key->good);
        must_refuse(text, "set twice");
        snprintf(text, sizeof(text), "[%s]\n%ss = %s\n", key->section, key->key, key->good);
        must_refuse(text, ":2: ");
        must_refuse(text, "unknown key");
        assert_non_null(strstr(last_error, key->key));
    }
}

static void y_ntp_servers_add_up(void **state) {
    static const char more[] = "[ntp]\nserver = 2001:db8::1\n";
    struct th_config *config;

    (void)state;
    folder_put("conf.d/z.conf", more);
    config = must_load("[ntp]\nserver = ntp1.example.com\npool = pool.example.com\n");
    take_away("conf.d/z.conf");
    assert_int_equal(config->ntp.n, 3);
    assert_int_equal(config->ntp.servers[0].kind, TH_NTP_SERVER);
    assert_string_equal(config->ntp.servers[0].name, "ntp1.example.com");
    assert_int_equal(config->ntp.servers[1].kind, TH_NTP_POOL);
    assert_string_equal(config->ntp.servers[1].name, "pool.example.com");
    assert_string_equal(config->ntp.servers[2].name, "2001:db8::1");
    th_config_free(config);
}

static void n_files(void **state) {
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"warn = 1ms\n", ":1: [] warn: stands before any section"},
        {"[gaps]\n", ":1: [gaps]: unknown section"},
        {"[ntps]\n", ":1: [ntps]: unknown section"},
        {"[ntp]\nserver = http://ntp.example.com/\n", ":2: [ntp] server: 'http://ntp"},
        {"[ntp]\nserver = a b\n", "one host name or numeric address"},
        {"[ntp]\nserver = 192.0.2.300\n", "one host name or numeric address"},
        {"[ntp]\nserver = a.example\npool = A.Example.\n",
         ":3: [ntp] pool: 'A.Example.' is not possible; write each server once"},
        {"[alerts]\n", ":1: [alerts]: unknown section"},
        {"[Gap]\n", "unknown section"},
        {"[gap\nwarn=1ms\n", ":1: a section's name does not end"},
        {"[gap] warn=1ms\n", ":1: text after ']'"},
        {"[domain web[0-9]*]\n", ":1: text after ']'"},
        {"[gap]\nwarn\n", ":2: neither a section nor a setting"},
        {"[gap]\nwarn\n[gap]\nblock=x\n", ":2: neither"},
        {"[gap]\n\n\nwarn 1ms\n", ":4: neither"},
        {"[gap]\nwarn=1ms\n block=5\n", ":3: [gap] block: '5'"},
        {"[gap]\nwarn=1ms # no\n", ":2: [gap] warn: "},
        {"[gap]\nwarn=\x01\n", ":2: a control character"},
        {"[gap]\nwarn=\x1b[31m\n", ":2: a control character"},
        {"[gap]\nw\xff\xfern=1ms\n", ":2: [gap] w??rn: unknown key"},
        {"[gap]\nwarn=600ms\n", "[gap] warn: 600 ms is greater than block, which is 500 ms"},
        {"[gap]\nwarn=2ms\nblock=1ms\n", "[gap] warn: 2 ms is greater"},
        {"[handoff]\nrecheck-first=60s\n", "[handoff] recheck-second: not later"},
        {"[domain x]\nwarn=501ms\n", "[domain x] warn: 501 ms is greater"},
        {"[domain x]\nwarn=2ms\nblock=1ms\n", "[domain x] warn: 2 ms is greater"},
        {"[domain x]\nwarn=2\n", ":2: [domain x] warn: '2'"},
        {"[domain x]\nmode=step\n", ":2: [domain x] mode: unknown key; warn, block"},
        {"[domain x]\nhandoff=on\n", ":2: [domain x] handoff: 'on'"},
        {"[domain x]\nbackward=1\n", ":2: [domain x] backward: '1'"},
        {"[domain x]\nwarn=1ms\n[gap]\n[domain  x ]\nwarn=1ms\n",
         ":5: [domain  x] warn: set twice"},
        {"[domain x]\nhandoff=off\nhandoff=off\n", "set twice"},
        {"[domain x]\nbackward=no\nbackward=no\n", "set twice"},
        {"[domain ]\n", "unknown section"},
        {"[domain]\n", "unknown section"},
        {"[domainx]\n", "unknown section"},
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        must_refuse(cases[i].text, cases[i].words);
        assert_memory_equal(last_error, folder, strlen(folder));
    }
}

/* A line is read whole or refused: never cut, with its rest taken for another line. */
static void n_long_lines(void **state) {
    static const char limit[] = ":2: the line is too long; at most ";
    struct th_config *config = NULL;
    size_t longest = 0, refused = 0;

    (void)state;
    for (size_t length = 100; length < 2000; length++) {
        char text[2200] = "[libvirt]\nuri = qemu+";
        size_t begin = strlen(text) - strlen("qemu+");
        int r;

        memset(text + strlen(text), 'x', length - strlen("qemu+"));
        strcpy(text + begin + length, "\n[peers]\ninterval = 17s\n");
        r = load_text(text, &config);
        assert_true(r == 0 || r == -EBADMSG);
        if (r == 0) {
            assert_int_equal(refused, 0);
            assert_int_equal(strlen(config->libvirt_uri), length);
            assert_int_equal(config->peer_interval_ns, 17 * TH_NS_PER_S);
            th_config_free(config);
            longest = length + strlen("uri = ");
            continue;
        }
        refused++;
        assert_non_null(strstr(last_error, limit));
        assert_int_equal(strtoul(strstr(last_error, limit) + strlen(limit), NULL, 10), longest);
    }
    assert_true(refused > 0);
}

static void n_zero_byte(void **state) {
    static const char text[] = "[gap]\nwarn=1ms\0\nblock=2s\n";
    struct th_config *config = NULL;

    (void)state;
    folder_put_bytes("timehandoff.conf", text, sizeof(text) - 1);
    assert_int_equal(load(&config), -EBADMSG);
    assert_non_null(strstr(last_error, ":2: a control character"));
}

static void n_too_large(void **state) {
    size_t size = (1u << 20) + 1;
    char *text = malloc(size);
    struct th_config *config = NULL;

    (void)state;
    assert_non_null(text);
    memset(text, '\n', size);
    folder_put_bytes("timehandoff.conf", text, size - 1);
    assert_int_equal(load(&config), 0);
    th_config_free(config);
    folder_put_bytes("timehandoff.conf", text, size);
    assert_int_equal(load(&config), -EFBIG);
    free(text);
}

static void n_no_regular_file(void **state) {
    struct th_config *config = NULL;
    char path[256];

    (void)state;
    take_away("timehandoff.conf");
    folder_path("timehandoff.conf", path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(load(&config), -EINVAL);
    assert_non_null(strstr(last_error, path));
    take_away("timehandoff.conf");
}

/* ---- lists ---- */

static void y_allow(void **state) {
    struct th_config *config =
        must_load("[responder]\nallow = 203.0.113.0/24\nallow=2001:db8::/32\n");

    (void)state;
    assert_int_equal(config->n_allowed, 2);
    assert_false(config->allow_own_networks);
    assert_true(allows(config, "203.0.113.9"));
    assert_true(allows(config, "2001:db8::9"));
    assert_false(allows(config, "10.0.0.1"));
    th_config_free(config);
    must_refuse("[responder]\nallow = lan\n", ":2: [responder] allow: 'lan'");
    must_refuse("[responder]\nallow = 10.0.0.0/33\n", ":2: [responder] allow");
    must_refuse("[responder]\nallow =\n", ":2: [responder] allow");
}

static void y_announce(void **state) {
    struct th_config *config =
        must_load("[responder]\nannounce = 10.0.0.1\nannounce=[fd00::1]:99\nannounce=fd00::2\n");

    (void)state;
    assert_int_equal(config->n_announce, 3);
    assert_string_equal(config->announce[1], "[fd00::1]:99");
    th_config_free(config);
    must_refuse("[responder]\nannounce = hv1\n", ":2: [responder] announce: 'hv1'");
    must_refuse("[responder]\nannounce=10.0.0.1\nannounce=10.0.0.2\nannounce=10.0.0.3\n"
                "announce=10.0.0.4\nannounce=10.0.0.5\nannounce=10.0.0.6\nannounce=10.0.0.7\n"
                "announce=10.0.0.8\nannounce=10.0.0.9\n",
                ":10: [responder] announce: too many");
}

static void y_peers(void **state) {
    static const struct {
        const char *text, *host, *group;
        unsigned port;
        uint32_t key_id;
    } cases[] = {
        {"hv2", "hv2", "", 4000, 0},
        {"hv-2.example.org:123", "hv-2.example.org", "", 123, 0},
        {"10.0.0.2:10123 group=rack1 key=7", "10.0.0.2", "rack1", 10123, 7},
        {"10.0.0.3\tkey=2147483647\tgroup=a.b_c-d", "10.0.0.3", "a.b_c-d", 4000, 2147483647u},
        {"[fd00::2]:99", "fd00::2", "", 99, 0},
        {"[fd00::3]", "fd00::3", "", 4000, 0},
        {"fd00::4 group=r", "fd00::4", "r", 4000, 0},
        {"hv2:124", "hv2", "", 124, 0},
    };
    struct th_config *config;
    char text[1024] = "[peers]\n";

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "peer = %s\n", cases[i].text);
    }
    strcat(text, "[probe]\nport = 4000\n");
    config = must_load(text);
    assert_int_equal(config->n_peers, TH_ELEMENTS(cases));
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        assert_string_equal(config->peers[i].host, cases[i].host);
        assert_string_equal(config->peers[i].group, cases[i].group);
        assert_int_equal(config->peers[i].port, cases[i].port);
        assert_int_equal(config->peers[i].key_id, cases[i].key_id);
    }
    th_config_free(config);
}

static void n_peers(void **state) {
    static const char *const cases[] = {
        "",
        "hv2:",
        "hv2:0",
        "hv2:65536",
        "hv2:x",
        ":123",
        "hv2 rack1",
        "hv2 group=",
        "hv2 group=a;b",
        "hv2 key=0",
        "hv2 key=x",
        "hv2 key=2147483648",
        "hv/2",
        "hv2,hv3",
        "-hv2",
        "[fd00::2",
        "[fd00::2]123",
        "[hv2]",
        "[10.0.0.1]",
        "fd00::2::1",
        "fd00:2:x",
        "hv2 key=-1",
        "hv2 Group=a",
        "h\xc3\xb6st",
        "hv2 hv3",
        "[]",
        "[]:1",
        "$(reboot)",
        "hv2 group=\xff",
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        char text[256];

        snprintf(text, sizeof(text), "[peers]\npeer = %s\n", cases[i]);
        must_refuse(text, ":2: [peers] peer: ");
        assert_non_null(strstr(last_error, "HOST[:PORT] [group=NAME] [key=ID]"));
    }
    must_refuse("[peers]\npeer=a\npeer=b\npeer=A group=x\n", ":4: [peers] peer: 'A group=x'");
    /* The port of those that name none is known only when all is read. */
    must_refuse("[peers]\npeer=a\npeer=A:10123\n", ": [peers] peer: 'A' with port 10123");
    must_refuse("[peers]\npeer=a\npeer=b:99\npeer=a:99\n[probe]\nport=99\n",
                ": [peers] peer: 'a' with port 99");
}

static void n_too_many_peers(void **state) {
    size_t size = 64 * (TH_CONFIG_MAX_PEERS + 1);
    char *text = malloc(size);
    struct th_config *config;
    int used;

    (void)state;
    assert_non_null(text);
    used = snprintf(text, size, "[peers]\n");
    for (int i = 0; i < TH_CONFIG_MAX_PEERS; i++) {
        used += snprintf(text + used, size - (size_t)used, "peer = hv%d\n", i);
    }
    config = must_load(text);
    assert_int_equal(config->n_peers, TH_CONFIG_MAX_PEERS);
    assert_string_equal(config->peers[1000].host, "hv1000");
    th_config_free(config);
    snprintf(text + used, size - (size_t)used, "peer = more\n");
    must_refuse(text, ":1026: [peers] peer: too many");
    free(text);
}

/* ---- several files ---- */

static void put_drop_in(const char *name, const char *text) {
    char file[128];

    snprintf(file, sizeof(file), "conf.d/%s", name);
    folder_put(file, text);
}

static void take_drop_in(const char *name) {
    char file[128];

    snprintf(file, sizeof(file), "conf.d/%s", name);
    take_away(file);
}

static void y_files_add_up(void **state) {
    struct th_config *config;

    (void)state;
    put_drop_in("20-b.conf", "[gap]\nwarn=3ms\n[peers]\npeer=b\n[responder]\nallow=10.2.0.0/16\n");
    put_drop_in("10-a.conf", "[gap]\nwarn=2ms\nblock=9ms\n[peers]\npeer=a\n");
    put_drop_in("Z.conf", "[peers]\npeer=z\n");
    put_drop_in(".hidden.conf", "nonsense");
    put_drop_in("30-c.conf~", "nonsense");
    put_drop_in("README", "nonsense");
    put_drop_in(".conf", "nonsense");
    config = must_load("[gap]\nwarn=1ms\nblock=5ms\n[peers]\npeer=main\n"
                       "[responder]\nallow=10.1.0.0/16\n");
    assert_int_equal(config->verdict.warn_ns, 3 * MS);
    assert_int_equal(config->verdict.block_ns, 9 * MS);
    assert_int_equal(config->n_peers, 4);
    assert_string_equal(config->peers[0].host, "main");
    assert_string_equal(config->peers[1].host, "a");
    assert_string_equal(config->peers[2].host, "b");
    assert_string_equal(config->peers[3].host, "z");
    assert_int_equal(config->n_allowed, 2);
    th_config_free(config);

    put_drop_in("20-b.conf", "[gap]\nwarn=3\n");
    must_refuse("", "/conf.d/20-b.conf:2: [gap] warn: ");
    put_drop_in("20-b.conf", "[gap]\nwarn=10ms\n");
    must_refuse("", "[gap] warn: 10 ms is greater than block, which is 9 ms");
    take_drop_in("20-b.conf");
    take_drop_in("10-a.conf");
    take_drop_in("Z.conf");
    take_drop_in(".hidden.conf");
    take_drop_in("30-c.conf~");
    take_drop_in("README");
    take_drop_in(".conf");
}

static void n_dangling_drop_in(void **state) {
    struct th_config *config = NULL;
    char path[256];

    (void)state;
    folder_path("conf.d/x.conf", path);
    assert_int_equal(symlink("/nonexistent/x", path), 0);
    assert_int_equal(load_text("", &config), -ENOENT);
    assert_non_null(strstr(last_error, "conf.d/x.conf"));
    take_drop_in("x.conf");
    assert_int_equal(mkdir(path, 0700), 0);
    config = must_load("");
    th_config_free(config);
    assert_int_equal(rmdir(path), 0);
}

/* ---- one domain's policy ---- */

static struct th_domain_policy policy_of(const struct th_config *config, const char *name,
                                         const struct th_domain_policy *xml) {
    struct th_uuid uuid;

    assert_int_equal(th_uuid_parse(UUID, &uuid), 0);
    return th_config_domain_policy(config, &uuid, name, xml);
}

static void y_domain_policy(void **state) {
    struct th_config *config = must_load("[domain web*]\nwarn=10ms\nblock=100ms\n"
                                         "[domain web?]\nblock=5ms\nhandoff=report\n"
                                         "[domain db\\*]\nbackward=yes\n"
                                         "[handoff]\nmode=off\n");
    struct th_domain_policy policy, xml;

    (void)state;
    policy = policy_of(config, "mail", NULL);
    assert_int_equal(policy.warn_ns, 50 * MS);
    assert_int_equal(policy.block_ns, 500 * MS);
    assert_int_equal(policy.handoff, TH_HANDOFF_OFF);
    assert_int_equal(policy.backward, TH_NO);

    policy = policy_of(config, "web10", NULL);
    assert_int_equal(policy.warn_ns, 10 * MS);
    assert_int_equal(policy.block_ns, 100 * MS);

    /* The last glob only, not both; and warn is pulled down to block. */
    policy = policy_of(config, "web1", NULL);
    assert_int_equal(policy.warn_ns, 5 * MS);
    assert_int_equal(policy.block_ns, 5 * MS);
    assert_int_equal(policy.handoff, TH_HANDOFF_REPORT);

    assert_int_equal(policy_of(config, "db*", NULL).backward, TH_YES);
    assert_int_equal(policy_of(config, "db1", NULL).backward, TH_NO);
    assert_int_equal(policy_of(config, "", NULL).handoff, TH_HANDOFF_OFF);
    policy = th_config_domain_policy(config, NULL, NULL, NULL);
    assert_int_equal(policy.block_ns, 500 * MS);

    th_domain_policy_init(&xml);
    xml.backward = TH_YES;
    xml.block_ns = 2 * S;
    policy = policy_of(config, "web1", &xml);
    assert_int_equal(policy.backward, TH_YES);
    assert_int_equal(policy.block_ns, 2 * S);
    assert_int_equal(policy.warn_ns, 50 * MS);
    assert_int_equal(policy.handoff, TH_HANDOFF_REPORT);
    th_config_free(config);
}

static void y_uuid_wins(void **state) {
    struct th_config *config = must_load("[domain 6BA7B810-9DAD-11D1-80B4-00C04FD430C8]\n"
                                         "block=7ms\nwarn=0s\n[domain *]\nblock=8ms\nwarn=8ms\n");
    struct th_uuid other = {{1}};
    struct th_domain_policy policy = policy_of(config, "web1", NULL);

    (void)state;
    assert_int_equal(policy.block_ns, 7 * MS);
    assert_int_equal(policy.warn_ns, 0);
    policy = th_config_domain_policy(config, &other, "web1", NULL);
    assert_int_equal(policy.block_ns, 8 * MS);
    policy = th_config_domain_policy(config, NULL, UUID, NULL);
    assert_int_equal(policy.block_ns, 8 * MS);
    th_config_free(config);

    config = must_load("[domain 00000000-0000-0000-0000-000000000000]\nblock=7ms\n");
    memset(&other, 0, sizeof(other));
    assert_int_equal(th_config_domain_policy(config, &other, "x", NULL).block_ns, 500 * MS);
    th_config_free(config);
}

static void y_domain_sections_add_up(void **state) {
    struct th_config *config;
    struct th_domain_policy policy;

    (void)state;
    put_drop_in("10.conf", "[domain web*]\nblock=9ms\n");
    config = must_load("[domain web*]\nwarn=1ms\nblock=5ms\n[domain *1]\nblock=3ms\n"
                       "[domain web*]\nhandoff=report\n");
    assert_int_equal(config->n_domains, 2);
    policy = policy_of(config, "web1", NULL);
    assert_int_equal(policy.warn_ns, MS);
    assert_int_equal(policy.block_ns, 9 * MS);
    assert_int_equal(policy.handoff, TH_HANDOFF_REPORT);
    th_config_free(config);
    take_drop_in("10.conf");

    config = must_load("[domain web*]\nwarn=1ms\nblock=5ms\n[domain *1]\nblock=3ms\n");
    assert_int_equal(policy_of(config, "web1", NULL).block_ns, 3 * MS);
    th_config_free(config);
}

/* ---- damage ---- */

static void random_damage(void **state) {
    static const char good[] = "[gap]\nwarn = 7ms\nblock=1s\n[peers]\npeer = hv2:99 group=a key=7\n"
                               "[domain web*]\nblock=9ms\n[responder]\nallow=10.0.0.0/8\n"
                               "announce=[fd00::1]:9\n[libvirt]\nuri=qemu:///system\n";
    static const char likely[] = "\n[]=:; #\t\r\"\x00\xff*0\x7f";
    struct seeded seeded = seeded_start("random_damage");
    unsigned accepted = 0;

    (void)state;
    for (int i = 0; i < seeded_cases(5000); i++) {
        struct th_config *config = NULL;
        char text[sizeof(good)];
        int r;

        memcpy(text, good, sizeof(good));
        for (int64_t j = seeded_between(&seeded, 1, 4); j > 0; j--) {
            text[seeded_between(&seeded, 0, sizeof(good) - 2)] =
                likely[seeded_between(&seeded, 0, sizeof(likely) - 2)];
        }
        folder_put_bytes("timehandoff.conf", text, sizeof(good) - 1);
        r = load(&config);
        assert_true(r == 0 || r == -EBADMSG);
        if (r == 0) {
            accepted++;
            assert_true(config->verdict.warn_ns <= config->verdict.block_ns);
            assert_true(config->questions >= 1 && config->questions <= 8);
        }
        th_config_free(config);
    }
    assert_true(accepted < 5000);
}

/* ---- */

static int make_folders(void **state) {
    char path[FOLDER_PATH_SIZE];

    return folder_make(state) < 0 ? -1 : mkdir(folder_path("conf.d", path), 0700);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(y_no_file_at_all),
        cmocka_unit_test(y_empty_and_comments),
        cmocka_unit_test(y_every_key),
        cmocka_unit_test(y_all_keys),
        cmocka_unit_test(n_every_key),
        cmocka_unit_test(y_ntp_servers_add_up),
        cmocka_unit_test(n_files),
        cmocka_unit_test(n_long_lines),
        cmocka_unit_test(n_zero_byte),
        cmocka_unit_test(n_too_large),
        cmocka_unit_test(n_no_regular_file),
        cmocka_unit_test(y_allow),
        cmocka_unit_test(y_announce),
        cmocka_unit_test(y_peers),
        cmocka_unit_test(n_peers),
        cmocka_unit_test(n_too_many_peers),
        cmocka_unit_test(y_files_add_up),
        cmocka_unit_test(n_dangling_drop_in),
        cmocka_unit_test(y_domain_policy),
        cmocka_unit_test(y_uuid_wins),
        cmocka_unit_test(y_domain_sections_add_up),
        cmocka_unit_test(random_damage),
    };

    return cmocka_run_group_tests_name("config", tests, make_folders, folder_remove);
}
