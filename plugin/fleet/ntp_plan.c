/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What file of ours would give this host's time daemon the organisation's list, and what it holds
 * now. Only files that bear our name are ever planned, so nothing of anybody else's is lost; reads
 * files and changes none.
 */
#include "timehandoff/ntp.h"

#include "clock/sync_daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HEADER                                                                                     \
    "# Written by 'timehandoff ntp apply' from [ntp] of timehandoff.conf(5): change it there.\n"
#define CHRONY_FOLDER "/etc/chrony/sources.d"
#define CHRONY_FILE "timehandoff.sources"
#define TIMESYNCD_PATH "/etc/systemd/timesyncd.conf.d/50-timehandoff.conf"
#define MAX_OLD_SIZE (64u << 10)

void th_ntp_change_deinit(struct th_ntp_change *change) {
    if (change) {
        free(change->old_text);
        free(change->new_text);
        change->old_text = change->new_text = NULL;
    }
}

/* The file as it is; NULL if there is none. */
static int read_old(const char *root, const char *path, char **ret_text) {
    th_auto_free char *text = malloc(MAX_OLD_SIZE + 1);
    th_auto_close int fd = -1;
    char full[PATH_MAX];
    ssize_t size;

    if (!text) {
        return -ENOMEM;
    }
    (void)snprintf(full, sizeof(full), "%s%s", root, path);
    fd = open(full, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 && errno == ENOENT) {
        *ret_text = NULL;
        return 0;
    }
    size = fd < 0 ? -1 : read(fd, text, MAX_OLD_SIZE);
    if (size < 0) {
        return -errno;
    }
    text[size] = '\0';
    *ret_text = th_take(text);
    return 0;
}

/* Whether another file than ours has it already: chronyd refuses a server that it has. */
static bool is_elsewhere(const struct th_ntp_servers *have, const char *name, const char *path) {
    size_t length = strlen(path);

    for (size_t i = 0; i < have->n; i++) {
        const struct th_ntp_server *server = &have->servers[i];
        bool ours = strncmp(server->where, path, length) == 0 && server->where[length] == ':';

        if (!ours && strcmp(server->where, "runtime") != 0 &&
            th_ntp_name_equal(server->name, name)) {
            return true;
        }
    }
    return false;
}

static int write_chrony(const struct th_ntp_status *status, const struct th_ntp_servers *wanted,
                        struct th_ntp_change *change) {
    char *text = NULL;
    size_t size = 0, n = 0;
    FILE *out = open_memstream(&text, &size);

    if (!out) {
        return -errno;
    }
    fputs(HEADER, out);
    for (size_t i = 0; i < wanted->n; i++) {
        const struct th_ntp_server *server = &wanted->servers[i];

        if (!is_elsewhere(&status->servers, server->name, change->path)) {
            fprintf(out, "%s %s iburst\n", th_ntp_kind_name(server->kind), server->name);
            n++;
        }
    }
    if (fclose(out) != 0) {
        free(text);
        return -ENOMEM;
    }
    if (n == 0 && !change->old_text) {
        free(text);
        text = NULL;
    }
    change->new_text = text;
    return 0;
}

static int plan_chrony(const char *root, const struct th_ntp_status *status,
                       const struct th_ntp_servers *wanted, struct th_ntp_change *change) {
    char folder[256];
    int r = th_sync_chronyd_folder(root, *root ? 0 : th_sync_process_find("chronyd"), folder,
                                   change->add_to);

    if (r < 0) {
        return r;
    }
    if (!*folder) {
        (void)snprintf(folder, sizeof(folder), CHRONY_FOLDER);
        (void)snprintf(change->add_line, sizeof(change->add_line), "sourcedir %s", folder);
    }
    (void)snprintf(change->path, sizeof(change->path), "%.200s/" CHRONY_FILE, folder);
    r = read_old(root, change->path, &change->old_text);
    return r < 0 ? r : write_chrony(status, wanted, change);
}

/* Whether it is as wanted, without a file of ours; the order counts, the first that answers is it.
 */
static bool is_so(const struct th_ntp_servers *have, const struct th_ntp_servers *wanted) {
    if (have->n != wanted->n) {
        return false;
    }
    for (size_t i = 0; i < have->n; i++) {
        if (!strchr(have->servers[i].where, ':') ||
            !th_ntp_name_equal(have->servers[i].name, wanted->servers[i].name)) {
            return false;
        }
    }
    return true;
}

static int plan_timesyncd(const char *root, const struct th_ntp_status *status,
                          const struct th_ntp_servers *wanted, struct th_ntp_change *change) {
    size_t size = 0;
    FILE *out;
    int r;

    (void)snprintf(change->path, sizeof(change->path), TIMESYNCD_PATH);
    r = read_old(root, change->path, &change->old_text);
    if (r < 0 || (!change->old_text && is_so(&status->servers, wanted))) {
        return r;
    }
    out = open_memstream(&change->new_text, &size);
    if (!out) {
        return -errno;
    }
    fputs(HEADER "# The empty NTP= lets this list stand in place of those of other files.\n"
                 "[Time]\nNTP=\n",
          out);
    for (size_t i = 0; i < wanted->n; i++) {
        fprintf(out, "NTP=%s\n", wanted->servers[i].name);
    }
    return fclose(out) != 0 ? -ENOMEM : 0;
}

int th_ntp_plan(const char *root, const struct th_ntp_status *status,
                const struct th_ntp_servers *wanted, struct th_ntp_change *ret_change) {
    th_auto_ntp_change struct th_ntp_change change = {.path = ""};
    bool same;
    int r;

    switch (status->from) {
    case TH_SYNC_FROM_CHRONYD: r = plan_chrony(root, status, wanted, &change); break;
    case TH_SYNC_FROM_TIMESYNCD: r = plan_timesyncd(root, status, wanted, &change); break;
    case TH_SYNC_FROM_NTPD:
    case TH_SYNC_FROM_PTP4L: return TH_NTP_PLAN_UNSUPPORTED;
    case TH_SYNC_FROM_KERNEL:
    case TH_SYNC_FROM_NOTHING:
    default: return TH_NTP_PLAN_NO_DAEMON;
    }
    if (r < 0) {
        return r;
    }
    same = !change.new_text || (change.old_text && strcmp(change.old_text, change.new_text) == 0);
    *ret_change = change;
    change = (struct th_ntp_change){.path = ""};
    return same ? TH_NTP_PLAN_NOTHING : TH_NTP_PLAN_CHANGE;
}
