/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * State files in a folder of the test's own: what is written comes back, and what is old, of
 * another boot, from the future, cut short, damaged or not a file at all does not.
 */
#define _GNU_SOURCE 1 /* unshare */

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "folder.h"
#include "seeded.h"
#include "timehandoff/config.h"
#include "timehandoff/probe.h"
#include "timehandoff/state.h"

#define S TH_NS_PER_S
#define UUID "6ba7b810-9dad-11d1-80b4-00c04fd430c8"

static const struct th_now now = {.boot_ns = 1000 * S};

static struct th_now later(int64_t by_ns) {
    return (struct th_now){.boot_ns = now.boot_ns + by_ns};
}

static int read_host(const struct th_now *at, struct th_state_host *ret_host) {
    int fd = th_state_open(folder, TH_STATE_HOST_FILE);
    int r = fd < 0 ? fd : th_state_host_read(fd, at, TH_STATE_FRESH, ret_host);

    if (fd >= 0) {
        close(fd);
    }
    return r;
}

static int read_peers(const struct th_now *at, struct th_state_peers *ret_peers) {
    int fd = th_state_open(folder, TH_STATE_PEERS_FILE);
    int r = fd < 0 ? fd : th_state_peers_read(fd, at, TH_STATE_FRESH, ret_peers);

    if (fd >= 0) {
        close(fd);
    }
    return r;
}

static int read_override(const struct th_now *at, struct th_state_override *ret_override) {
    int fd = th_state_open(folder, TH_STATE_OVERRIDE_FILE);
    int r = fd < 0 ? fd : th_state_override_read(fd, at, ret_override);

    if (fd >= 0) {
        close(fd);
    }
    return r;
}

/* ---- the host ---- */

static struct th_answer_domain domains[3];

static struct th_state_host make_host(void) {
    struct th_state_host host = {
        .name = "hv1",
        .sync = {.synchronised = TH_YES,
                 .from = TH_SYNC_FROM_CHRONYD,
                 .error_ns = 123,
                 .age_ns = -1,
                 .stratum = 3,
                 .slew_ppm = UINT32_MAX,
                 .source = "ntp1; or so",
                 .reason = " 100% sure ; \"quoted\" = yes # no [x] \xe2\x82\xac "},
        .domains_known = true,
        .domains = domains,
        .n_domains = TH_ELEMENTS(domains),
    };

    memset(domains, 0, sizeof(domains));
    assert_int_equal(th_uuid_parse(UUID, &host.uuid), 0);
    for (size_t i = 0; i < TH_ELEMENTS(domains); i++) {
        domains[i].uuid = host.uuid;
        domains[i].uuid.bytes[0] = (uint8_t)i;
        domains[i].state = (enum th_domain_state)(TH_DOMAIN_INACTIVE + i);
        assert_int_equal(th_key_random(&domains[i].key), 0);
    }
    domains[1].due = true;
    domains[1].key.type = TH_KEY_AES256;
    memset(domains[1].key.bytes, 0xA5, TH_KEY_MAX_SIZE);
    memset(&domains[2].key, 0, sizeof(domains[2].key));
    return host;
}

static void put_host(void) {
    struct th_state_host host = make_host();

    assert_int_equal(th_state_host_write(folder, &host, &now, 10 * S, -1), 0);
}

static void is_host(const struct th_state_host *host) {
    struct th_state_host wanted = make_host();

    assert_true(th_uuid_equal(&host->uuid, &wanted.uuid));
    assert_string_equal(host->name, wanted.name);
    assert_int_equal(host->sync.synchronised, TH_YES);
    assert_int_equal(host->sync.from, TH_SYNC_FROM_CHRONYD);
    assert_int_equal(host->sync.error_ns, 123);
    assert_int_equal(host->sync.age_ns, -1);
    assert_int_equal(host->sync.stratum, 3);
    assert_int_equal(host->sync.slew_ppm, UINT32_MAX);
    assert_string_equal(host->sync.source, wanted.sync.source);
    assert_string_equal(host->sync.reason, wanted.sync.reason);
    assert_true(host->domains_known);
    assert_int_equal(host->n_domains, TH_ELEMENTS(domains));
}

static void y_host(void **state) {
    struct th_answer_domain written[TH_ELEMENTS(domains)];
    struct th_state_host host = make_host(), back;

    (void)state;
    memcpy(written, domains, sizeof(domains));
    assert_int_equal(th_state_host_write(folder, &host, &now, 10 * S, -1), 0);
    assert_int_equal(read_host(&now, &back), 0);
    is_host(&back);
    for (size_t i = 0; i < back.n_domains; i++) {
        assert_true(th_uuid_equal(&back.domains[i].uuid, &written[i].uuid));
        assert_int_equal(back.domains[i].state, written[i].state);
        assert_int_equal(back.domains[i].due, i == 1);
        assert_int_equal(back.domains[i].key.id, written[i].key.id);
        assert_int_equal(back.domains[i].key.type, written[i].key.type);
        assert_memory_equal(back.domains[i].key.bytes, written[i].key.bytes, TH_KEY_MAX_SIZE);
    }
    th_state_host_deinit(&back);
    assert_null(back.domains);
    th_state_host_deinit(&back);
    th_state_host_deinit(NULL);
}

static void y_host_with_ntp_servers(void **state) {
    struct th_state_host host = make_host(), back;

    (void)state;
    host.ntp_known = true;
    assert_int_equal(th_ntp_servers_add(&host.ntp, TH_NTP_POOL, "a;b = 100%", "/etc/x:1"), 0);
    assert_int_equal(th_ntp_servers_add(&host.ntp, TH_NTP_REFCLOCK, "ptp:0", ""), 0);
    assert_int_equal(th_ntp_digest(&host.ntp, host.ntp_digest), 0);
    assert_int_equal(th_state_host_write(folder, &host, &now, 10 * S, -1), 0);
    assert_int_equal(read_host(&now, &back), 0);
    is_host(&back);
    assert_true(back.ntp_known);
    assert_memory_equal(back.ntp_digest, host.ntp_digest, sizeof(host.ntp_digest));
    assert_int_equal(back.ntp.n, 2);
    assert_memory_equal(back.ntp.servers, host.ntp.servers, 2 * sizeof(*host.ntp.servers));
    th_ntp_servers_deinit(&host.ntp);
    th_state_host_deinit(&back);
    assert_int_equal(back.ntp.n, 0);
}

static void y_host_without_anything(void **state) {
    struct th_state_host host = {.sync = {.error_ns = -1, .age_ns = -1}}, back;

    (void)state;
    assert_int_equal(th_state_host_write(folder, &host, &now, 10 * S, -1), 0);
    assert_int_equal(read_host(&now, &back), 0);
    assert_true(th_uuid_is_none(&back.uuid));
    assert_false(back.domains_known);
    assert_int_equal(back.n_domains, 0);
    assert_int_equal(back.sync.synchronised, TH_UNKNOWN);
    assert_int_equal(back.sync.from, TH_SYNC_FROM_NOTHING);
    th_state_host_deinit(&back);
}

/* Every length of text, with bytes that must be encoded at every place of a line. */
static void y_any_text(void **state) {
    static const char *const units[] = {"x", " ", ";", "%", "\xe2\x82\xac", "\xf0\x9f\x95\x90",
                                        "= "};

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(units); i++) {
        size_t unit = strlen(units[i]);

        for (size_t n = 0; n * unit < 128; n++) {
            struct th_state_host host = {.domains = NULL}, back;

            for (size_t j = 0; j < n; j++) {
                strcat(host.sync.reason, units[i]);
            }
            assert_int_equal(th_state_host_write(folder, &host, &now, 0, -1), 0);
            assert_int_equal(read_host(&now, &back), 0);
            assert_string_equal(back.sync.reason, host.sync.reason);
            th_state_host_deinit(&back);
        }
    }
}

static void y_many_domains(void **state) {
    struct th_state_host host = {.domains_known = true, .n_domains = 5000}, back;

    (void)state;
    host.domains = calloc(host.n_domains, sizeof(*host.domains));
    assert_non_null(host.domains);
    for (size_t i = 0; i < host.n_domains; i++) {
        memcpy(host.domains[i].uuid.bytes + 8, &i, sizeof(i));
        host.domains[i].uuid.bytes[0] = 1;
        host.domains[i].state = TH_DOMAIN_RUNNING;
        host.domains[i].key.id = TH_KEY_DOMAIN_BIT + (uint32_t)i;
        host.domains[i].key.type = TH_KEY_AES128;
    }
    assert_int_equal(th_state_host_write(folder, &host, &now, 10 * S, -1), 0);
    assert_int_equal(read_host(&now, &back), 0);
    assert_int_equal(back.n_domains, host.n_domains);
    assert_memory_equal(back.domains, host.domains, host.n_domains * sizeof(*host.domains));
    th_state_host_deinit(&back);
    host.n_domains = TH_STATE_MAX_DOMAINS + 1;
    assert_int_equal(th_state_host_write(folder, &host, &now, 10 * S, -1), -E2BIG);
    free(host.domains);
}

/* ---- who may read ---- */

static void modes(void **state) {
    static struct th_state_peers none;
    struct th_state_override override = {.until_boot_ns = 2000 * S};
    struct stat status;
    mode_t mask = umask(0777);
    char path[256];

    (void)state;
    put_host();
    assert_int_equal(th_state_peers_write(folder, &none, &now, 0), 0);
    assert_int_equal(th_state_override_write(folder, &override, &now), 0);
    umask(mask);
    folder_path(TH_STATE_HOST_FILE, path);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0640);
    folder_path(TH_STATE_PEERS_FILE, path);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0644);
    folder_path(TH_STATE_OVERRIDE_FILE, path);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0644);
}

static void group(void **state) {
    struct th_state_host host = make_host();
    struct stat status;
    char path[256];

    (void)state;
    if (geteuid() != 0) {
        skip();
    }
    assert_int_equal(th_state_host_write(folder, &host, &now, 10 * S, 12345), 0);
    folder_path(TH_STATE_HOST_FILE, path);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_gid, 12345);
}

/* ---- freshness ---- */

static void ages(void **state) {
    static const struct {
        int64_t by_ns;
        int result;
    } rows[] = {
        {0, 0},      {30 * S, 0}, {30 * S + 1, -ESTALE}, {300 * S, -ESTALE},
        {-S / 2, 0}, {-S, 0},     {-S - 1, -ESTALE},     {-999 * S, -ESTALE},
    };

    (void)state;
    put_host();
    for (size_t i = 0; i < TH_ELEMENTS(rows); i++) {
        struct th_now at = later(rows[i].by_ns);
        struct th_state_host host = {.n_domains = 77};

        assert_int_equal(read_host(&at, &host), rows[i].result);
        if (rows[i].result < 0) {
            assert_int_equal(host.n_domains, 77);
        } else {
            th_state_host_deinit(&host);
        }
    }
}

/* What a daemon left behind: any age will do, but no other boot and nothing from the future. */
static void y_old_but_of_this_boot(void **state) {
    static const struct {
        int64_t by_ns;
        int result;
    } rows[] = {{0, 0}, {30 * S + 1, 0}, {INT64_C(1000000) * S, 0}, {-S - 1, -ESTALE}};

    (void)state;
    put_host();
    for (size_t i = 0; i < TH_ELEMENTS(rows); i++) {
        struct th_now at = later(rows[i].by_ns);
        struct th_state_host host;
        int fd = th_state_open(folder, TH_STATE_HOST_FILE);

        assert_true(fd >= 0);
        assert_int_equal(th_state_host_read(fd, &at, TH_STATE_ANY_AGE, &host), rows[i].result);
        close(fd);
        if (rows[i].result == 0) {
            is_host(&host);
            th_state_host_deinit(&host);
        }
    }
}

static void never_stale_by_age(void **state) {
    struct th_state_host host = make_host(), back;
    struct th_now at = later(INT64_C(86400) * 365 * S);

    (void)state;
    assert_int_equal(th_state_host_write(folder, &host, &now, 0, -1), 0);
    assert_int_equal(read_host(&at, &back), 0);
    th_state_host_deinit(&back);
}

static void n_other_boot(void **state) {
    struct th_state_host host;
    char boot_id[64];

    (void)state;
    put_host();
    assert_int_equal(sscanf(strstr(folder_get(TH_STATE_HOST_FILE), "boot-id="), "%63s", boot_id),
                     1);
    folder_change(TH_STATE_HOST_FILE, boot_id, "boot-id=" UUID);
    assert_int_equal(read_host(&now, &host), -ESTALE);
}

/* What is wrong with the file itself. */
static void n_host_files(void **state) {
    static const struct {
        const char *old, *new;
    } cases[] = {
        {"version=1", "version=2"},
        {"version=1", "version=x"},
        {"version=1\n", ""},
        {"boot-time-ns=", "boot-time-ns=-"},
        {"boot-time-ns=", "boot-time-ns=9999999999999999999"},
        {"refresh-ns=", "refresh-ns=-"},
        {"refresh-ns=10000000000", "refresh-ns=86400000000001"},
        {"refresh-ns=10000000000\n", ""},
        {"[file]", "[fyle]"},
        {"[host]", "[other]"},
        {"[end]\n", ""},
        {"[end]\n", "[end]\n[host]\n"},
        {"[end]\n", "[end]\nname=x\n"},
        {"[end]\n", "[end]\n[end]\n"},
        {"name=hv1", "name=" UUID UUID},
        {"name=hv1", "name=%0"},
        {"name=hv1", "name=%00"},
        {"name=hv1", "name=%zz"},
        {"uuid=", "uuid=x"},
        {"stratum=3", "stratum=256"},
        {"stratum=3", "stratum=-1"},
        {"stratum=3", "stratum="},
        {"slew-ppm=4294967295", "slew-ppm=4294967296"},
        {"sync-error-ns=123", "sync-error-ns=-2"},
        {"sync-from=chronyd", "sync-from=chrony"},
        {"domains-known=yes", "domains-known=maybe"},
        {"[domain]", "[domain]\n[domain]"},
        {"[domain]", "[domain]\nkey-id=1"},
        {"[domain]", "[domain]\nkey=00"},
        {"\nkey=", "\nkex="},
        {"\nkey=", "\nkey=0"},
        {"\nkey-id=", "\nkeyid="},
        {"[host]", "[host]\nnonsense"},
        {"[host]", "[host"},
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        struct th_state_host host;

        put_host();
        folder_change(TH_STATE_HOST_FILE, cases[i].old, cases[i].new);
        if (read_host(&now, &host) != -EBADMSG) {
            fail_msg("'%s' for '%s' was accepted", cases[i].new, cases[i].old);
        }
    }
}

static void y_newer_writer(void **state) {
    struct th_state_host host;

    (void)state;
    put_host();
    folder_change(TH_STATE_HOST_FILE, "refresh-ns=", "writer=newer\nrefresh-ns=");
    folder_change(TH_STATE_HOST_FILE, "[host]\n",
                  "[new]\nname=no\nstratum=-7\n[host]\nmood=good\n");
    folder_change(TH_STATE_HOST_FILE, "[domain]\n", "[domain]\nmood=bad\n");
    assert_int_equal(read_host(&now, &host), 0);
    is_host(&host);
    th_state_host_deinit(&host);
}

static void n_truncated(void **state) {
    const char *text;
    size_t size;

    (void)state;
    put_host();
    text = folder_get(TH_STATE_HOST_FILE);
    size = strlen(text);
    for (size_t length = 0; length < size - 1; length++) {
        struct th_state_host host;

        folder_put_bytes(TH_STATE_HOST_FILE, text, length);
        assert_int_equal(read_host(&now, &host), -EBADMSG);
    }
}

static void random_damage(void **state) {
    static const char likely[] = "\n[]=:; #%\t\r\"\x00\xff-0\x7f";
    struct seeded seeded = seeded_start("random_damage");
    const char *text;
    size_t size;

    (void)state;
    put_host();
    text = folder_get(TH_STATE_HOST_FILE);
    size = strlen(text);
    for (int i = 0; i < seeded_cases(5000); i++) {
        char damaged[FOLDER_TEXT_SIZE];
        struct th_state_host host;
        int r;

        memcpy(damaged, text, size);
        for (int64_t j = seeded_between(&seeded, 1, 4); j > 0; j--) {
            damaged[seeded_between(&seeded, 0, (int64_t)size - 1)] =
                likely[seeded_between(&seeded, 0, sizeof(likely) - 2)];
        }
        folder_put_bytes(TH_STATE_HOST_FILE, damaged, size);
        r = read_host(&now, &host);
        assert_true(r == 0 || r == -EBADMSG || r == -ESTALE);
        if (r == 0) {
            assert_true(host.n_domains <= TH_ELEMENTS(domains) + 1);
            assert_non_null(memchr(host.sync.reason, '\0', sizeof(host.sync.reason)));
            th_state_host_deinit(&host);
        }
    }
}

static void n_too_large(void **state) {
    struct th_state_host host;
    char path[256];

    (void)state;
    put_host();
    folder_path(TH_STATE_HOST_FILE, path);
    assert_int_equal(truncate(path, 64 << 20), 0);
    assert_int_equal(read_host(&now, &host), -EBADMSG);
}

/* ---- what lies in the way ---- */

static void n_no_file(void **state) {
    char path[256];

    (void)state;
    folder_path(TH_STATE_HOST_FILE, path);
    (void)unlink(path);
    assert_int_equal(th_state_open(folder, TH_STATE_HOST_FILE), -ENOENT);
    assert_int_equal(th_state_open("/nonexistent", TH_STATE_HOST_FILE), -ENOENT);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(th_state_open(folder, TH_STATE_HOST_FILE), -EINVAL);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(th_state_open(folder, TH_STATE_HOST_FILE), -EINVAL);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(symlink("override", path), 0);
    assert_int_equal(th_state_open(folder, TH_STATE_HOST_FILE), -ELOOP);
    assert_int_equal(unlink(path), 0);
}

/* Links where the file or its temporary one should be: replaced, and what they point to untouched.
 */
static void links_are_not_followed(void **state) {
    struct th_state_host host;
    char path[256], temporary[64];
    struct stat status;

    (void)state;
    folder_put("victim", "precious");
    snprintf(temporary, sizeof(temporary), ".host.%ld", (long)getpid());
    folder_path(temporary, path);
    assert_int_equal(symlink("victim", path), 0);
    folder_path(TH_STATE_HOST_FILE, path);
    (void)unlink(path);
    assert_int_equal(symlink("victim", path), 0);
    put_host();
    assert_int_equal(lstat(path, &status), 0);
    assert_true(S_ISREG(status.st_mode));
    assert_string_equal(folder_get("victim"), "precious");
    folder_path(temporary, path);
    assert_int_equal(lstat(path, &status), -1);
    assert_int_equal(read_host(&now, &host), 0);
    th_state_host_deinit(&host);
}

static void old_file_stays(void **state) {
    struct th_state_host host = make_host(), back;
    char temporary[64], path[256];

    (void)state;
    put_host();
    /* A folder in place of the temporary file: it can be neither created nor removed. */
    snprintf(temporary, sizeof(temporary), ".host.%ld", (long)getpid());
    folder_path(temporary, path);
    assert_int_equal(mkdir(path, 0700), 0);
    strcpy(host.name, "changed");
    assert_true(th_state_host_write(folder, &host, &now, 10 * S, -1) < 0);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(read_host(&now, &back), 0);
    assert_string_equal(back.name, "hv1");
    th_state_host_deinit(&back);
    assert_int_equal(th_state_host_write("/nonexistent", &host, &now, 10 * S, -1), -ENOENT);
}

/* A file system of one page, in a mount namespace of this process's own: the error of the very last
 * write must not be lost. */
static void full_device(void **state) {
    struct th_state_host host = make_host(), back;
    char path[256];
    int fd;

    (void)state;
    folder_path("small", path);
    assert_int_equal(mkdir(path, 0700), 0);
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("none", path, "tmpfs", 0, "size=4k,nr_inodes=8") < 0) {
        skip();
    }
    assert_int_equal(th_state_host_write(path, &host, &now, 0, -1), 0);
    strcpy(host.name, "changed");
    assert_int_equal(th_state_host_write(path, &host, &now, 0, -1), -ENOSPC);
    fd = th_state_open(path, TH_STATE_HOST_FILE);
    assert_true(fd >= 0);
    assert_int_equal(th_state_host_read(fd, &now, TH_STATE_FRESH, &back), 0);
    assert_string_equal(back.name, "hv1");
    th_state_host_deinit(&back);
    close(fd);
    assert_int_equal(umount(path), 0);
}

/* ---- peers ---- */

static struct th_state_peer peers[2];

static struct th_state_peers make_peers(void) {
    memset(peers, 0, sizeof(peers));
    peers[0] = (struct th_state_peer){
        .host = "hv2.example.org",
        .group = "rack 1",
        .key_id = 7,
        .n_addresses = 2,
        .answered = true,
        .authenticated = true,
        .gap = {.offset_ns = INT64_MIN, .bound_ns = 5, .delay_ns = 7},
        .seen_real_ns = INT64_C(1764000000000000000),
        .has_identity = true,
        .synchronised = TH_NO,
    };
    assert_int_equal(th_uuid_parse(UUID, &peers[0].uuid), 0);
    assert_int_equal(th_address_parse("10.0.0.2:123", 1, &peers[0].addresses[0]), 0);
    assert_int_equal(th_address_parse("[fd00::2]:124", 1, &peers[0].addresses[1]), 0);
    memset(peers[1].host, 'y', sizeof(peers[1].host) - 1);
    return (struct th_state_peers){.peers = peers, .n_peers = TH_ELEMENTS(peers)};
}

static void put_peers(void) {
    struct th_state_peers all = make_peers();

    assert_int_equal(th_state_peers_write(folder, &all, &now, 60 * S), 0);
}

static void y_peers(void **state) {
    struct th_state_peers back;
    struct th_now at = later(180 * S + 1);
    char text[TH_ADDRESS_TEXT_SIZE];

    (void)state;
    put_peers();
    assert_int_equal(read_peers(&now, &back), 0);
    assert_int_equal(back.n_peers, 2);
    assert_string_equal(back.peers[0].host, "hv2.example.org");
    assert_string_equal(back.peers[0].group, "rack 1");
    assert_int_equal(back.peers[0].key_id, 7);
    assert_true(back.peers[0].answered && back.peers[0].authenticated);
    assert_true(back.peers[0].gap.offset_ns == INT64_MIN);
    assert_int_equal(back.peers[0].gap.bound_ns, 5);
    assert_int_equal(back.peers[0].gap.delay_ns, 7);
    assert_int_equal(back.peers[0].seen_real_ns, INT64_C(1764000000000000000));
    assert_true(back.peers[0].has_identity);
    assert_int_equal(back.peers[0].synchronised, TH_NO);
    assert_true(th_uuid_equal(&back.peers[0].uuid, &peers[0].uuid));
    assert_int_equal(back.peers[0].n_addresses, 2);
    assert_string_equal(th_address_format(&back.peers[0].addresses[0], text), "10.0.0.2:123");
    assert_string_equal(th_address_format(&back.peers[0].addresses[1], text), "[fd00::2]:124");
    assert_string_equal(back.peers[1].host, peers[1].host);
    assert_false(back.peers[1].answered);
    assert_int_equal(back.peers[1].n_addresses, 0);
    th_state_peers_deinit(&back);
    th_state_peers_deinit(&back);
    th_state_peers_deinit(NULL);
    assert_int_equal(read_peers(&at, &back), -ESTALE);
}

static void y_all_of_a_peer(void **state) {
    struct th_state_peers all = make_peers(), back;
    struct th_now much_later = later(TH_STATE_MAX_HISTORY * 3600 * S);
    int fd;

    (void)state;
    peers[0].own = true;
    peers[0].answers_without_key = true;
    peers[0].probed_boot_ns = 77;
    peers[0].ntp_digest[15] = 9;
    peers[0].has_ntp_servers = true;
    memset(peers[0].ntp_servers, 'n', sizeof(peers[0].ntp_servers) - 1);
    peers[0].ntp_servers[56] = ' ';
    peers[1].found_by_stamp = true;
    peers[1].n_history = TH_STATE_MAX_HISTORY;
    for (size_t i = 0; i < TH_STATE_MAX_HISTORY; i++) {
        peers[1].history[i] = (struct th_state_gap){INT64_MIN + (int64_t)i, 1, INT64_MAX};
    }
    assert_int_equal(th_state_peers_write(folder, &all, &now, 60 * S), 0);
    assert_int_equal(read_peers(&much_later, &back), -ESTALE);
    fd = th_state_open(folder, TH_STATE_PEERS_FILE);
    assert_true(fd >= 0);
    assert_int_equal(th_state_peers_read(fd, &much_later, TH_STATE_ANY_AGE, &back), 0);
    close(fd);
    assert_true(back.peers[0].own && back.peers[0].answers_without_key);
    assert_int_equal(back.peers[0].probed_boot_ns, 77);
    assert_memory_equal(back.peers[0].ntp_digest, peers[0].ntp_digest, 16);
    assert_true(back.peers[0].has_ntp_servers);
    assert_string_equal(back.peers[0].ntp_servers, peers[0].ntp_servers);
    assert_false(back.peers[0].found_by_stamp);
    assert_true(back.peers[1].found_by_stamp);
    assert_int_equal(back.peers[1].n_history, TH_STATE_MAX_HISTORY);
    assert_memory_equal(back.peers[1].history, peers[1].history, sizeof(peers[1].history));
    th_state_peers_deinit(&back);
}

static void y_questions(void **state) {
    struct th_state_peers all = make_peers(), back;

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(all.questions); i++) {
        all.questions[i] = INT64_MAX - (int64_t)i;
    }
    assert_int_equal(th_state_peers_write(folder, &all, &now, 60 * S), 0);
    assert_int_equal(read_peers(&now, &back), 0);
    assert_memory_equal(back.questions, all.questions, sizeof(all.questions));
    th_state_peers_deinit(&back);
    folder_change(TH_STATE_PEERS_FILE, "bad-key=9223372036854775802", "bad-key=-1");
    assert_int_equal(read_peers(&now, &back), -EBADMSG);
}

static void n_histories_and_digests(void **state) {
    static const char *const lines[] = {
        "history=\n",      "history=1\n",      "history=1 2\n",       "history=1 2 3 4\n",
        "history=1 0 3\n", "history=1 2 -1\n", "history=1  2 3\n",    "history=x 2 3\n",
        "ntp-digest=00\n", "ntp-digest=0g\n",  "has-ntp-servers=?\n", "probed-boot-ns=-1\n",
        "own=maybe\n",     "history=1 2 3x\n",
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(lines); i++) {
        struct th_state_peers back;
        char with[64];

        put_peers();
        snprintf(with, sizeof(with), "%s[end]", lines[i]);
        folder_change(TH_STATE_PEERS_FILE, "[end]", with);
        if (read_peers(&now, &back) != -EBADMSG) {
            fail_msg("accepted: %s", lines[i]);
        }
    }
}

static void y_origins(void **state) {
    struct th_state_host host = make_host(), back;

    (void)state;
    host.n_origins = TH_STATE_MAX_ORIGINS;
    for (size_t i = 0; i < host.n_origins; i++) {
        struct th_state_origin *origin = &host.origins[i];

        snprintf(origin->host, sizeof(origin->host), "hv%zu", i);
        origin->uuid = host.uuid;
        origin->n_addresses = 1 + i % TH_STATE_MAX_ADDRESSES;
        for (size_t j = 0; j < origin->n_addresses; j++) {
            assert_int_equal(th_address_parse("[fd00::9]:99", 1, &origin->addresses[j]), 0);
        }
    }
    assert_int_equal(th_state_host_write(folder, &host, &now, 10 * S, -1), 0);
    assert_int_equal(read_host(&now, &back), 0);
    assert_int_equal(back.n_origins, host.n_origins);
    for (size_t i = 0; i < host.n_origins; i++) {
        assert_string_equal(back.origins[i].host, host.origins[i].host);
        assert_int_equal(back.origins[i].n_addresses, host.origins[i].n_addresses);
        assert_memory_equal(&back.origins[i].addresses[0], &host.origins[i].addresses[0],
                            sizeof(back.origins[i].addresses[0]));
    }
    th_state_host_deinit(&back);
    host.n_origins++;
    assert_int_equal(th_state_host_write(folder, &host, &now, 10 * S, -1), -E2BIG);
}

static void n_origins(void **state) {
    static const char *const sections[] = {
        "[origin]\nhost=a\n",
        "[origin]\naddress=10.0.0.1:1\n",
        "[origin]\nhost=a\naddress=name:1\n",
        "[origin]\nhost=a\nuuid=x\naddress=10.0.0.1:1\n",
        ("[origin]\nhost=a\naddress=1.1.1.1\naddress=1.1.1.1\naddress=1.1.1.1\n"
         "address=1.1.1.1\naddress=1.1.1.1\n"),
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(sections); i++) {
        struct th_state_host back;
        char with[256];

        put_host();
        snprintf(with, sizeof(with), "%s[end]", sections[i]);
        folder_change(TH_STATE_HOST_FILE, "[end]", with);
        if (read_host(&now, &back) != -EBADMSG) {
            fail_msg("accepted: %s", sections[i]);
        }
    }
}

static void y_and_n_requests(void **state) {
    struct th_now at = later(4 * S);
    char peer[256] = "untouched", long_name[300];
    int fd;

    (void)state;
    memset(long_name, 'l', sizeof(long_name));
    long_name[sizeof(long_name) - 1] = '\0';
    assert_int_equal(th_state_request_write(folder, long_name, &now), 0);
    fd = th_state_open(folder, TH_STATE_REQUEST_FILE);
    assert_true(fd >= 0);
    assert_int_equal(th_state_request_read(fd, &at, peer), -ESTALE);
    assert_string_equal(peer, "untouched");
    assert_int_equal(th_state_request_read(fd, &now, peer), 0);
    assert_int_equal(strlen(peer), 255);
    close(fd);
    assert_int_equal(th_state_request_write(folder, "", &now), 0);
    fd = th_state_open(folder, TH_STATE_REQUEST_FILE);
    assert_int_equal(th_state_request_read(fd, &now, peer), -EBADMSG);
    close(fd);
}

static void y_no_peers(void **state) {
    struct th_state_peers none = {.n_peers = 0}, back;

    (void)state;
    assert_int_equal(th_state_peers_write(folder, &none, &now, 60 * S), 0);
    assert_int_equal(read_peers(&now, &back), 0);
    assert_int_equal(back.n_peers, 0);
    th_state_peers_deinit(&back);
}

static void n_peers_files(void **state) {
    static const struct {
        const char *old, *new;
    } cases[] = {
        {"host=hv2.example.org\n", ""},
        {"bound-ns=5", "bound-ns=0"},
        {"bound-ns=5", "bound-ns=-5"},
        {"bound-ns=5\n", ""},
        {"delay-ns=7", "delay-ns=-7"},
        {"offset-ns=-9223372036854775808", "offset-ns=-9223372036854775809"},
        {"seen-real-ns=1764000000000000000", "seen-real-ns=0"},
        {"key-id=7", "key-id=2147483648"},
        {"answered=yes", "answered=1"},
        {"address=10.0.0.2:123", "address=hv2:123"},
        {"address=10.0.0.2:123", "address=10.0.0.2:1\naddress=10.0.0.2:2\naddress=10.0.0.2:3\n"
                                 "address=10.0.0.2:4"},
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        struct th_state_peers back;

        put_peers();
        folder_change(TH_STATE_PEERS_FILE, cases[i].old, cases[i].new);
        if (read_peers(&now, &back) != -EBADMSG) {
            fail_msg("'%s' for '%s' was accepted", cases[i].new, cases[i].old);
        }
    }
}

static void y_peers_words_are_cleaned(void **state) {
    struct th_state_peers back;

    (void)state;
    put_peers();
    folder_change(TH_STATE_PEERS_FILE, "group=rack 1", "group=a%0ab%1b[31m");
    assert_int_equal(read_peers(&now, &back), 0);
    assert_string_equal(back.peers[0].group, "a?b?[31m");
    th_state_peers_deinit(&back);
}

static void too_many_peers(void **state) {
    struct th_state_peers all = {.n_peers = TH_STATE_MAX_PEERS}, back;
    char path[256];
    FILE *stream;

    (void)state;
    all.peers = calloc(TH_STATE_MAX_PEERS + 1, sizeof(*all.peers));
    assert_non_null(all.peers);
    for (size_t i = 0; i <= TH_STATE_MAX_PEERS; i++) {
        snprintf(all.peers[i].host, sizeof(all.peers[i].host), "hv%zu", i);
    }
    assert_int_equal(th_state_peers_write(folder, &all, &now, 60 * S), 0);
    assert_int_equal(read_peers(&now, &back), 0);
    assert_int_equal(back.n_peers, TH_STATE_MAX_PEERS);
    assert_string_equal(back.peers[1023].host, "hv1023");
    th_state_peers_deinit(&back);
    all.n_peers++;
    assert_int_equal(th_state_peers_write(folder, &all, &now, 60 * S), -E2BIG);
    free(all.peers);

    folder_path(TH_STATE_PEERS_FILE, path);
    stream = fopen(path, "r+");
    assert_non_null(stream);
    assert_int_equal(fseek(stream, -(long)strlen("[end]\n"), SEEK_END), 0);
    fputs("[peer]\nhost=more\n[end]\n", stream);
    assert_int_equal(fclose(stream), 0);
    assert_int_equal(read_peers(&now, &back), -EBADMSG);
}

/* ---- the override ---- */

static void y_override(void **state) {
    struct th_state_override override = {.until_real_ns = 55, .until_boot_ns = 1100 * S}, back;
    struct th_now at = later(100 * S - 1);

    (void)state;
    strcpy(override.source, "hv2; the [wrong] one");
    assert_int_equal(th_state_override_write(folder, &override, &now), 0);
    assert_int_equal(read_override(&now, &back), 0);
    assert_int_equal(back.until_real_ns, 55);
    assert_int_equal(back.until_boot_ns, 1100 * S);
    assert_string_equal(back.source, override.source);
    assert_int_equal(read_override(&at, &back), 0);
    at = later(100 * S);
    assert_int_equal(read_override(&at, &back), -ESTALE);

    folder_change(TH_STATE_OVERRIDE_FILE, "until-boot-ns=", "until-boot-ms=");
    assert_int_equal(read_override(&now, &back), -EBADMSG);
    assert_int_equal(th_state_override_clear(folder), 0);
    assert_int_equal(read_override(&now, &back), -ENOENT);
    assert_int_equal(th_state_override_clear(folder), 0);
    assert_int_equal(th_state_override_clear("/nonexistent/folder"), 0);
}

/* A program may have read elsewhere in the file before; and the descriptor stays usable. */
static void a_descriptor_can_be_read_again(void **state) {
    struct th_state_override override = {.until_boot_ns = 1100 * S}, back;
    int fd;

    (void)state;
    assert_int_equal(th_state_override_write(folder, &override, &now), 0);
    fd = th_state_open(folder, TH_STATE_OVERRIDE_FILE);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(th_state_override_read(fd, &now, &back), 0);
    assert_int_equal(th_state_override_read(fd, &now, &back), 0);
    close(fd);
    assert_int_equal(th_state_override_read(fd, &now, &back), -EBADF);
}

/* ---- */

static int make_folders(void **state) {
    char path[FOLDER_PATH_SIZE];

    return folder_make(state) < 0 ? -1 : mkdir(folder_path("peers", path), 0700);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(y_host),
        cmocka_unit_test(y_host_with_ntp_servers),
        cmocka_unit_test(y_host_without_anything),
        cmocka_unit_test(y_any_text),
        cmocka_unit_test(y_many_domains),
        cmocka_unit_test(modes),
        cmocka_unit_test(group),
        cmocka_unit_test(ages),
        cmocka_unit_test(y_old_but_of_this_boot),
        cmocka_unit_test(never_stale_by_age),
        cmocka_unit_test(n_other_boot),
        cmocka_unit_test(n_host_files),
        cmocka_unit_test(y_newer_writer),
        cmocka_unit_test(n_truncated),
        cmocka_unit_test(random_damage),
        cmocka_unit_test(n_too_large),
        cmocka_unit_test(n_no_file),
        cmocka_unit_test(links_are_not_followed),
        cmocka_unit_test(old_file_stays),
        cmocka_unit_test(full_device),
        cmocka_unit_test(y_peers),
        cmocka_unit_test(y_all_of_a_peer),
        cmocka_unit_test(y_questions),
        cmocka_unit_test(n_histories_and_digests),
        cmocka_unit_test(y_origins),
        cmocka_unit_test(n_origins),
        cmocka_unit_test(y_and_n_requests),
        cmocka_unit_test(y_no_peers),
        cmocka_unit_test(n_peers_files),
        cmocka_unit_test(y_peers_words_are_cleaned),
        cmocka_unit_test(too_many_peers),
        cmocka_unit_test(y_override),
        cmocka_unit_test(a_descriptor_can_be_read_again),
    };

    return cmocka_run_group_tests_name("state", tests, make_folders, folder_remove);
}
