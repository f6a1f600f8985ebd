/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Loaded into the real systemd-timesyncd of a test host. timesyncd insists on the capability to set
 * the clock, which nothing on a test host has; here it is spared the insisting, and what it would
 * set is dropped. No clock is touched: the capability stays away.
 */
#include <string.h>
#include <sys/timex.h>

int drop_privileges(unsigned uid, unsigned gid, unsigned long long keep);

/* Called once at its start: change user, keep CAP_SYS_TIME. */
int drop_privileges(unsigned uid, unsigned gid, unsigned long long keep) {
    (void)uid;
    (void)gid;
    (void)keep;
    return 0;
}

/* Called for every update: answers with what the kernel has. */
int clock_adjtime(int clock, struct timex *change) {
    struct timex reading;

    (void)clock;
    memset(&reading, 0, sizeof(reading));
    (void)adjtimex(&reading);
    change->freq = reading.freq;
    return 0;
}
