/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guest-step: moves the clock of the test guest by a given number of nanoseconds, forward or
 * backward, in one relative kernel call. Tests use it over the independent channel to make a
 * guest wrong by a known amount: unlike guest-set-time of the agent it adds no latency of its own
 * to the step, and it leaves the guest's RTC alone. It refuses to run anywhere but as a program
 * of a guest that has /modules.list, so that it can't move the clock of the machine it is built on.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct timex step = {.modes = ADJ_SETOFFSET | ADJ_NANO};
    long long by_ns;
    char *end;

    if (argc != 2 || access("/modules.list", R_OK) < 0) {
        fprintf(stderr, "usage, in the test guest: guest-step NANOSECONDS\n");
        return 2;
    }
    errno = 0;
    by_ns = strtoll(argv[1], &end, 10);
    if (errno || *end || end == argv[1]) {
        fprintf(stderr, "guest-step: not a number of nanoseconds: %s\n", argv[1]);
        return 2;
    }

    /* The kernel wants a fraction that is never negative. */
    step.time.tv_sec = by_ns / 1000000000;
    step.time.tv_usec = by_ns % 1000000000;
    if (step.time.tv_usec < 0) {
        step.time.tv_sec--;
        step.time.tv_usec += 1000000000;
    }
    if (clock_adjtime(CLOCK_REALTIME, &step) < 0) {
        perror("guest-step: clock_adjtime");
        return 1;
    }
    return 0;
}
