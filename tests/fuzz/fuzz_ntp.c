/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The organisation's list of NTP servers against the files of a time daemon. The input is a
 * character for the daemon, then texts with a NUL between two: the list, the daemon's main file,
 * and a drop-in beside it. What `ntp apply` would write is written; the daemon then has the list,
 * and nothing more is to be done.
 */
#include "fuzz.h"

#include <errno.h>
#include <sys/stat.h>

#include "timehandoff/ntp.h"

static const struct daemon {
    const char *program, *main, *drop_in;
    const char *const folders[6];
} daemons[] = {
    {"chrony/usr/sbin/chronyd",
     "chrony/etc/chrony/chrony.conf",
     "chrony/etc/chrony/sources.d/other.sources",
     {"chrony/usr", "chrony/usr/sbin", "chrony/etc", "chrony/etc/chrony",
      "chrony/etc/chrony/sources.d"}},
    {"timesyncd/lib/systemd/systemd-timesyncd",
     "timesyncd/etc/systemd/timesyncd.conf",
     "timesyncd/etc/systemd/timesyncd.conf.d/10-other.conf",
     {"timesyncd/lib", "timesyncd/lib/systemd", "timesyncd/etc", "timesyncd/etc/systemd",
      "timesyncd/etc/systemd/timesyncd.conf.d"}},
    {"ntpd/usr/sbin/ntpd",
     "ntpd/etc/ntpsec/ntp.conf",
     "ntpd/etc/ntpsec/ntp.d/other.conf",
     {"ntpd/usr", "ntpd/usr/sbin", "ntpd/etc", "ntpd/etc/ntpsec", "ntpd/etc/ntpsec/ntp.d"}},
    {"ptp4l/usr/sbin/ptp4l",
     "ptp4l/etc/linuxptp/ptp4l.conf",
     "ptp4l/etc/linuxptp/other.conf",
     {"ptp4l/usr", "ptp4l/usr/sbin", "ptp4l/etc", "ptp4l/etc/linuxptp"}},
};

/* The host's tree, once. Returns its root. */
static const char *make_root(const struct daemon *daemon, char root[PATH_MAX]) {
    char path[PATH_MAX];
    size_t length = strcspn(daemon->program, "/");

    must(snprintf(root, PATH_MAX, "%s/%.*s", fuzz_folder(), (int)length, daemon->program) > 0);
    if (mkdir(root, 0755) == 0) {
        for (size_t i = 0; i < TH_ELEMENTS(daemon->folders) && daemon->folders[i]; i++) {
            must(mkdir(fuzz_path(daemon->folders[i], path), 0755) == 0);
        }
        fuzz_put(daemon->program, "", 0);
    }
    return root;
}

/* As [ntp] would take them: good names, each once. */
static void read_list(char *text, struct th_ntp_servers *list) {
    for (char *word = strsep(&text, " \n"); word; word = strsep(&text, " \n")) {
        bool is_pool = *word == '~';

        word += is_pool;
        if (th_ntp_name_is_good(word) && !th_ntp_servers_find(list, word)) {
            must(th_ntp_servers_add(list, is_pool ? TH_NTP_POOL : TH_NTP_SERVER, word, "") == 0);
        }
    }
}

static void check_servers(const struct th_ntp_servers *servers) {
    th_auto_free char *text = NULL;

    must(servers->n <= TH_NTP_MAX_SERVERS && fuzz_is_line(servers->complaint));
    for (size_t i = 0; i < servers->n; i++) {
        must(servers->servers[i].name[0] && fuzz_is_line(servers->servers[i].name));
        must(fuzz_is_line(servers->servers[i].where));
    }
    must(th_ntp_text(servers, &text) == 0 && fuzz_is_line(text));
}

/* Whether one of the list is configured in no way. One that is a peer already can be no server. */
static bool is_missing(const struct th_ntp_servers *list, const struct th_ntp_status *status) {
    th_auto_ntp_findings struct th_ntp_findings findings = {.n = 0};
    bool missing = false;

    must(th_ntp_check(list, status, &findings) == 0);
    for (size_t i = 0; i < findings.n; i++) {
        must(fuzz_is_line(findings.findings[i].name));
        missing = missing || (findings.findings[i].kind == TH_NTP_MISSING &&
                              !th_ntp_servers_find(&status->servers, findings.findings[i].name));
    }
    return missing;
}

/* The list is in its place: the same question again finds nothing to do. */
static void check_applied(const char *root, const struct th_ntp_servers *list) {
    th_auto_ntp_status struct th_ntp_status status = {.from = 0};
    th_auto_ntp_change struct th_ntp_change change = {.path = ""};

    must(th_ntp_read(root, 0, &status) == 0);
    /* More than anybody can have is cut, and says so. */
    if (!*status.servers.complaint) {
        must(th_ntp_plan(root, &status, list, &change) == TH_NTP_PLAN_NOTHING);
        must(!is_missing(list, &status));
    }
}

/* The root is a folder of this file's and no prison; and each folder has one name here. */
static bool has_odd_path(const char *text) {
    return strstr(text, "..") || strstr(text, "//") || strstr(text, "/./");
}

static void remove_below(const char *root, const char *name, const char *suffix) {
    char path[PATH_MAX];

    must(snprintf(path, sizeof(path), "%s%s%s", root, name, suffix) < PATH_MAX);
    (void)unlink(path);
}

static void apply(const char *root, const struct daemon *daemon, const char *main_text,
                  const struct th_ntp_change *change, const struct th_ntp_servers *list) {
    th_auto_free char *difference = NULL, *with_line = NULL;

    must(change->new_text && *change->new_text && th_ntp_diff(change, &difference) == 0);
    if (*change->add_line) {
        must(asprintf(&with_line, "%s\n%s\n", main_text, change->add_line) > 0);
        fuzz_put(daemon->main, with_line, strlen(with_line));
        /* With that line the daemon reads what nobody asked about before. */
        fuzz_put(daemon->drop_in, "", 0);
    }
    if (th_ntp_write(root, change) == 0) {
        check_applied(root, list);
    }
    remove_below(root, change->path, "");
    remove_below(root, change->path, ".bak");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_bytes input = {data, size};
    const struct daemon *daemon = &daemons[fuzz_number(&input, 1) % TH_ELEMENTS(daemons)];
    th_auto_free char *names = fuzz_text(&input), *main_text = fuzz_text(&input),
                      *drop_in = fuzz_text(&input);
    th_auto_ntp_servers struct th_ntp_servers list = {.n = 0};
    th_auto_ntp_status struct th_ntp_status status = {.from = 0};
    th_auto_ntp_change struct th_ntp_change change = {.path = ""};
    char root[PATH_MAX];
    int r;

    if (has_odd_path(main_text) || has_odd_path(drop_in)) {
        return 0;
    }
    (void)make_root(daemon, root);
    fuzz_put(daemon->main, main_text, strlen(main_text));
    fuzz_put(daemon->drop_in, drop_in, strlen(drop_in));
    read_list(names, &list);
    check_servers(&list);
    must(th_ntp_read(root, 0, &status) == 0);
    check_servers(&status.servers);
    (void)is_missing(&list, &status);
    r = th_ntp_plan(root, &status, &list, &change);
    must(r == TH_NTP_PLAN_UNSUPPORTED || r == TH_NTP_PLAN_CHANGE || r == TH_NTP_PLAN_NOTHING);
    if (r == TH_NTP_PLAN_CHANGE && !*status.servers.complaint) {
        apply(root, daemon, main_text, &change, &list);
    }
    return 0;
}
