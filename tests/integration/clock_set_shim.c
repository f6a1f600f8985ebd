/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Loaded into timehandoffd of a test host. The kernel tells whoever holds a timer on CLOCK_REALTIME
 * that the clock was set; a test host's clock is never set but shifted, which the kernel knows
 * nothing of. Here such a timer is the pipe /run/clock-set: the test writes a byte to it with each
 * shift, and reading the timer then ends as the kernel would have it end. Other timers are real.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static int pipe_fd = -1;

int timerfd_create(clockid_t clock, int flags) {
    if (clock == CLOCK_REALTIME && pipe_fd < 0) {
        /* For writing, too: then there is never an end of file. */
        pipe_fd = open("/run/clock-set", O_RDWR | O_NONBLOCK | O_CLOEXEC);
        return pipe_fd;
    }
    return (int)syscall(SYS_timerfd_create, clock, flags);
}

int timerfd_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old) {
    return fd == pipe_fd ? 0 : (int)syscall(SYS_timerfd_settime, fd, flags, new, old);
}

ssize_t read(int fd, void *buffer, size_t size) {
    ssize_t n = syscall(SYS_read, fd, buffer, fd == pipe_fd ? 1 : size);

    if (fd == pipe_fd && n == 1) {
        errno = ECANCELED;
        return -1;
    }
    return n;
}
