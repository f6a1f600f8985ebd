/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Preloaded into the guest agent of the test guest, it stops the agent in the very moment in which
 * the guest's clock is set, which no test could hit from outside: before the clock is set if there
 * is a file /run/hold-before, after it if there is a file /run/hold-after. Each file serves once
 * and is removed; whoever wants the agent to go on sends it SIGCONT. Every time that the clock was
 * really set is a line in /run/steps, so a test can count what happened instead of what was asked.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

static void hold(const char *path) {
    if (unlink(path) == 0) {
        raise(SIGSTOP);
    }
}

static void count(void) {
    int fd = open("/run/steps", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

    if (fd >= 0) {
        (void)!write(fd, "step\n", 5);
        close(fd);
    }
}

int settimeofday(const struct timeval *time, const struct timezone *zone) {
    int r;

    hold("/run/hold-before");
    r = (int)syscall(SYS_settimeofday, time, zone);
    if (r == 0) {
        count();
    }
    hold("/run/hold-after");
    return r;
}
