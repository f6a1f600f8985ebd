/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A step of this host's own clock is noticed and said, and nothing else: whether the old time or
 * the new one was right is not ours to know, and copying it into every guest would turn one mistake
 * into a hundred. The kernel wakes us at the moment of a step; what slipped past that shows at the
 * next refresh as real time that ran away from boot time.
 */
#include "daemon/daemon.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <syslog.h>
#include <unistd.h>

#include "timehandoff/duration.h"
#include "timehandoff/report.h"

/* Between two looks a time daemon may slew by a tenth of the time at most (the kernel's limit);
 * what is more than that, and more than this, was a step. */
#define SMALLEST_STEP_NS (10 * TH_NS_PER_MS)

static void look(struct th_daemon *daemon, bool signalled) {
    struct th_now now = th_now();
    int64_t ahead_ns = now.real_ns - now.boot_ns;
    int64_t moved_ns = ahead_ns - daemon->clock_ahead_ns;
    /* The kernel says when the clock was set; then no slewing has to be allowed for. */
    int64_t slewed_ns =
        (signalled ? 0 : (now.boot_ns - daemon->clock_boot_ns) / 10) + SMALLEST_STEP_NS;
    char text[TH_DURATION_TEXT_SIZE];

    if (daemon->clock_boot_ns && (moved_ns > slewed_ns || moved_ns < -slewed_ns)) {
        th_report(LOG_WARNING, TH_MESSAGE_SERVICE,
                  "timehandoffd: this host's clock was stepped by %s%s; guests are not touched",
                  moved_ns > 0 ? "+" : "", th_duration_format(moved_ns, text));
        th_sync_distrust(daemon, moved_ns);
    }
    daemon->clock_ahead_ns = ahead_ns;
    daemon->clock_boot_ns = now.boot_ns;
}

void th_clock_step_look(struct th_daemon *daemon) {
    look(daemon, false);
}

/* Far enough away never to come; what matters is that setting the clock cancels it. */
static int arm(int fd) {
    const struct itimerspec never = {
        .it_value = {.tv_sec = (time_t)(th_now_real_ns() / TH_NS_PER_S) + 10 * 365 * 24 * 3600}};

    return timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) < 0
               ? -errno
               : 0;
}

static int on_step(sd_event_source *source, int fd, uint32_t events, void *userdata) {
    uint64_t count;

    (void)source;
    (void)events;
    /* ECANCELED: the clock was set. */
    if (read(fd, &count, sizeof(count)) < 0 && errno == ECANCELED) {
        look(userdata, true);
    }
    return arm(fd);
}

int th_clock_step_start(struct th_daemon *daemon) {
    th_auto_close int fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    sd_event_source *source = NULL;
    int r = fd < 0 ? -errno : arm(fd);

    th_clock_step_look(daemon);
    if (r < 0) {
        return r;
    }
    r = sd_event_add_io(daemon->event, &source, fd, EPOLLIN, on_step, daemon);
    if (r < 0) {
        return r;
    }
    (void)th_take_fd(&fd);
    (void)sd_event_source_set_io_fd_own(source, 1);
    (void)sd_event_source_set_floating(source, 1);
    sd_event_source_unref(source);
    return 0;
}
