/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether this host's clock is synchronised, and how far from UTC it may be: a claim about UTC,
 * never part of a gap. Three values, because a time daemon that doesn't answer tells us nothing.
 */
#ifndef TIMEHANDOFF_SYNC_H
#define TIMEHANDOFF_SYNC_H

#include "timehandoff/base.h"

enum th_sync_from {
    TH_SYNC_FROM_NOTHING = 0,
    TH_SYNC_FROM_CHRONYD,
    TH_SYNC_FROM_NTPD, /* of NTP's reference implementation, or of NTPsec */
    TH_SYNC_FROM_TIMESYNCD,
    TH_SYNC_FROM_PTP4L,  /* with phc2sys or without */
    TH_SYNC_FROM_KERNEL, /* adjtimex alone: some time daemon, or none */
};

/* "none", "chronyd", "ntpd", "timesyncd", "ptp4l", "adjtimex". Never NULL. */
const char *th_sync_from_name(enum th_sync_from from);

struct th_sync {
    enum th_ternary synchronised;
    enum th_sync_from from;
    int64_t error_ns;  /* the clock is within this of UTC; -1: not known */
    int64_t age_ns;    /* since the clock was last updated; -1: not known */
    unsigned stratum;  /* 0: not known */
    uint32_t slew_ppm; /* how far the clock is being run off true rate just now, at most */
    char source[64];   /* the NTP source in use, cleaned; "" if none */
    char reason[128];  /* why the state is what it is, for people */
};

/*
 * Judges chronyd's tracking report: one line of comma-separated values as `chronyc -c tracking`
 * prints it. real_ns is the host's clock now, for the age. Synchronised means: leap status not
 * "Not synchronised", a source that is not chronyd's own local reference, and an update not older
 * than eight update intervals (at least 1024 s) - chronyd goes on saying "Normal" after it has lost
 * its sources. error_ns is the remaining correction + root delay / 2 + root dispersion, and 50 ppm
 * of the age. slew_ppm is TH_GAP_RATE_UNKNOWN_PPM: only the kernel knows it. Returns 0 or -EBADMSG
 * if the line isn't such a report.
 */
int th_sync_from_tracking(const char *line, int64_t real_ns, struct th_sync *ret_sync);

/* What the kernel says of its clock (adjtimex with modes 0), in its own units. */
struct th_sync_kernel {
    long maxerror_us;
    int status;           /* STA_* */
    long tick_us;         /* 10000 is true rate */
    long freq_scaled_ppm; /* 2^-16 ppm */
    long offset;          /* being slewed by the kernel's loop: ns with STA_NANO, else us */
    long constant;        /* of that loop */
    long adjtime_us;      /* left over from adjtime(3), worked off at 500 ppm */
};

/*
 * Judges what the kernel said. maxerror below 16 s means synchronised whatever STA_UNSYNC says
 * (chronyd without rtcsync never clears it). The kernel adds 500 us to it every second; a maxerror
 * that is a multiple of that was reset to zero by its writer (timesyncd, phc2sys) and is only an
 * age, so error_ns is then unknown.
 */
struct th_sync th_sync_from_kernel(const struct th_sync_kernel *kernel);

/* How far the kernel runs the clock off its own counter's rate, at most: tick, frequency, loop and
 * adjtime together, rounded up. With the counter's crystal error on top it bounds the clock's rate.
 */
uint32_t th_sync_slew_ppm(const struct th_sync_kernel *kernel);

/* Asks the kernel, for a judgement or for the slew alone: two system calls that need no privilege
 * and do not block. 0 or negative errno. */
int th_sync_ask_kernel(struct th_sync_kernel *ret_kernel);

/*
 * Reads the state now: finds the time daemon that runs (chronyd, ntpd, timesyncd, ptp4l, in this
 * order) and asks it through its own client, and the kernel where there is none; slew_ppm is the
 * kernel's in every case. Starts no daemon. May block for up to timeout_ns and 100 ms (a daemon
 * that is stopped); call it from a worker. Returns 0 or negative errno; a daemon that is there but
 * silent is 0 with TH_UNKNOWN.
 */
int th_sync_read(int64_t timeout_ns, struct th_sync *ret_sync);

/* Asks the kernel alone (adjtimex, reading only): for programs that may not run others. At once. 0
 * or negative errno. */
int th_sync_read_kernel(struct th_sync *ret_sync);

#endif
