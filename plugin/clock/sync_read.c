/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which time daemon keeps this host's clock, and asking that one. The order is that of who steers:
 * chronyd and ntpd come first because they may have ptp4l's clock as one of their sources. Nothing
 * is started and nothing is changed.
 */
#include "clock/sync_daemon.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct th_sync_daemon *const daemons[] = {
    &th_sync_chronyd,
    &th_sync_ntpd,
    &th_sync_ptp4l,
    &th_sync_timesyncd,
};

/* The one that runs, or NULL. */
static const struct th_sync_daemon *find_running(pid_t *ret_pid) {
    for (size_t i = 0; i < TH_ELEMENTS(daemons); i++) {
        *ret_pid = th_sync_process_find(daemons[i]->process);
        if (*ret_pid > 0) {
            return daemons[i];
        }
    }
    return NULL;
}

/* A chronyd that /proc doesn't show, because it hides processes or is a container's own, may still
 * answer on the loopback address. */
static bool ask(const struct th_sync_kernel *kernel, int64_t timeout_ns, struct th_sync *ret_sync) {
    pid_t pid = 0;
    const struct th_sync_daemon *daemon = find_running(&pid);

    if (pid < 0) {
        *ret_sync = th_sync_text_silent(TH_SYNC_FROM_NOTHING, "/proc cannot be read");
        return true;
    }
    return (daemon ? daemon : &th_sync_chronyd)->read_state("", pid, kernel, timeout_ns, ret_sync);
}

int th_sync_read(int64_t timeout_ns, struct th_sync *ret_sync) {
    struct th_sync_kernel kernel;
    struct th_sync sync;
    int r = th_sync_ask_kernel(&kernel);

    if (r < 0) {
        return r;
    }
    if (!ask(&kernel, timeout_ns, &sync)) {
        sync = th_sync_from_kernel(&kernel);
    }
    sync.slew_ppm = th_sync_slew_ppm(&kernel);
    *ret_sync = sync;
    return 0;
}

static const struct th_sync_daemon *find_installed(const char *root) {
    for (size_t i = 0; i < TH_ELEMENTS(daemons); i++) {
        char path[512];

        (void)snprintf(path, sizeof(path), "%s%s", root, daemons[i]->program);
        if (access(path, F_OK) == 0) {
            return daemons[i];
        }
    }
    return NULL;
}

int th_ntp_read(const char *root, int64_t timeout_ns, struct th_ntp_status *ret_status) {
    struct th_ntp_status status = {.from = TH_SYNC_FROM_NOTHING};
    pid_t pid = 0;
    const struct th_sync_daemon *daemon = *root ? NULL : find_running(&pid);
    int r;

    status.running = daemon != NULL;
    daemon = daemon ? daemon : find_installed(root);
    if (daemon) {
        status.from = daemon->from;
        r = daemon->read_servers(root, pid, &status.servers);
        if (r < 0) {
            th_ntp_servers_deinit(&status.servers);
            return r;
        }
        status.answered =
            status.running && timeout_ns > 0 &&
            daemon->read_sources(root, pid, timeout_ns, &status.servers, &status.sources);
    }
    *ret_status = status;
    return 0;
}

void th_ntp_status_deinit(struct th_ntp_status *status) {
    if (status) {
        th_ntp_servers_deinit(&status->servers);
    }
}
