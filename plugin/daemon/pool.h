/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Workers for calls that block. A job's work runs in some worker thread, its done function later in
 * the loop's thread, so the loop owns everything that jobs don't carry with them.
 */
#ifndef TH_DAEMON_POOL_H
#define TH_DAEMON_POOL_H

#include <systemd/sd-event.h>

struct th_job {
    void (*work)(struct th_job *job); /* in a worker; must not touch what the loop owns */
    void (*done)(struct th_job *job); /* in the loop; frees the job */
    struct th_job *next;              /* the pool's own */
};

struct th_pool;

/* Starts the workers. 0 or negative errno. */
int th_pool_new(sd_event *event, unsigned workers, struct th_pool **ret_pool);
/* Queues a job; never blocks. The job belongs to the pool until done is called. */
void th_pool_submit(struct th_pool *pool, struct th_job *job);
/* Ends: workers finish the call they are in, at most until the deadline; a worker that is still in
 * a call then is left behind (the program is about to exit). Jobs not begun are dropped by calling
 * done without work. */
struct th_pool *th_pool_free(struct th_pool *pool);

#endif
