/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The loop for programs that have none: drives any number of probes to their ends with one poll.
 * Only probes that have input or whose time has come are dispatched, so that a slow host among
 * sixty-four costs nothing but its place in the list.
 */
#include "timehandoff/probe.h"

#include "timehandoff/base.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>

static int wait_for_input(struct pollfd *polls, size_t n, int64_t wait_ns) {
    struct timespec timeout;

    if (wait_ns < 0) {
        wait_ns = 0;
    }
    timeout.tv_sec = (time_t)(wait_ns / TH_NS_PER_S);
    timeout.tv_nsec = (long)(wait_ns % TH_NS_PER_S);
    if (ppoll(polls, n, &timeout, NULL) < 0 && errno != EINTR) {
        return -errno;
    }
    return 0;
}

/* Dispatches what is due and prepares the next poll. Returns how many still run. */
static size_t dispatch_due(struct th_probe **probes, struct pollfd *polls, size_t n, int64_t now_ns,
                           int64_t *next_ns) {
    size_t running = 0;

    for (size_t i = 0; i < n; i++) {
        bool due = polls[i].revents != 0 || th_probe_wake_ns(probes[i]) <= now_ns;

        polls[i].revents = 0;
        if (polls[i].events == 0) {
            continue;
        }
        if (due && th_probe_dispatch(probes[i]) != TH_PROBE_RUNNING) {
            polls[i] = (struct pollfd){.fd = -1};
            continue;
        }
        if (th_probe_wake_ns(probes[i]) < *next_ns) {
            *next_ns = th_probe_wake_ns(probes[i]);
        }
        running++;
    }
    return running;
}

int th_probe_run_all(struct th_probe **probes, size_t n, int64_t deadline_mono_ns) {
    th_auto_free struct pollfd *polls = calloc(n > 0 ? n : 1, sizeof(*polls));
    int64_t now_ns = th_now_mono_ns();

    if (!polls) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        polls[i] = (struct pollfd){.fd = th_probe_fd(probes[i]), .events = POLLIN};
    }
    while (now_ns < deadline_mono_ns) {
        int64_t next_ns = deadline_mono_ns;
        int r;

        if (dispatch_due(probes, polls, n, now_ns, &next_ns) == 0) {
            return 0;
        }
        r = wait_for_input(polls, n, next_ns - th_now_mono_ns());
        if (r < 0) {
            return r;
        }
        now_ns = th_now_mono_ns();
    }
    return 0;
}
