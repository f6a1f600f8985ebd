/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A bounded pool of worker threads. libvirt's calls block, some for as long as a guest's agent
 * likes, and the loop must go on feeding the watchdog, publishing state and taking events
 * meanwhile. Results come back through an eventfd, so that no lock is ever held while anything
 * decides.
 */
#include "daemon/pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "timehandoff/base.h"

#define MAX_WORKERS 32
/* How long ending waits for a worker that is in a call. */
#define END_WAIT_S 2

struct queue {
    struct th_job *first, **end;
};

struct th_pool {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct queue waiting, finished; /* under lock */
    bool stop;                      /* under lock */
    pthread_t threads[MAX_WORKERS];
    unsigned n_threads;
    int fd; /* eventfd: something finished */
    sd_event_source *source;
};

static void queue_init(struct queue *queue) {
    queue->first = NULL;
    queue->end = &queue->first;
}

static void queue_put(struct queue *queue, struct th_job *job) {
    job->next = NULL;
    *queue->end = job;
    queue->end = &job->next;
}

static struct th_job *queue_take(struct queue *queue) {
    struct th_job *job = queue->first;

    if (job) {
        queue->first = job->next;
        if (!queue->first) {
            queue->end = &queue->first;
        }
    }
    return job;
}

static struct th_job *next_job(struct th_pool *pool) {
    struct th_job *job = NULL;

    pthread_mutex_lock(&pool->lock);
    while (!pool->stop && !(job = queue_take(&pool->waiting))) {
        pthread_cond_wait(&pool->wake, &pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
    return job;
}

static void *worker(void *argument) {
    struct th_pool *pool = argument;
    struct th_job *job;

    while ((job = next_job(pool))) {
        uint64_t one = 1;

        job->work(job);
        pthread_mutex_lock(&pool->lock);
        queue_put(&pool->finished, job);
        pthread_mutex_unlock(&pool->lock);
        (void)!write(pool->fd, &one, sizeof(one));
    }
    return NULL;
}

static int on_finished(sd_event_source *source, int fd, uint32_t events, void *userdata) {
    struct th_pool *pool = userdata;
    uint64_t count;

    (void)source;
    (void)events;
    (void)!read(fd, &count, sizeof(count));
    for (;;) {
        struct th_job *job;

        pthread_mutex_lock(&pool->lock);
        job = queue_take(&pool->finished);
        pthread_mutex_unlock(&pool->lock);
        if (!job) {
            return 0;
        }
        job->done(job);
    }
}

/* Workers take no signals: those belong to the loop. */
static int start_workers(struct th_pool *pool, unsigned workers) {
    sigset_t all, old;
    int r = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    for (; r == 0 && pool->n_threads < workers; pool->n_threads += r == 0) {
        r = pthread_create(&pool->threads[pool->n_threads], NULL, worker, pool);
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return -r;
}

int th_pool_new(sd_event *event, unsigned workers, struct th_pool **ret_pool) {
    struct th_pool *pool = calloc(1, sizeof(*pool));
    int r;

    if (!pool) {
        return -ENOMEM;
    }
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    queue_init(&pool->waiting);
    queue_init(&pool->finished);
    pool->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r = pool->fd < 0 ? -errno : 0;
    if (r >= 0) {
        r = sd_event_add_io(event, &pool->source, pool->fd, EPOLLIN, on_finished, pool);
    }
    if (r >= 0) {
        r = start_workers(pool, workers < MAX_WORKERS ? workers : MAX_WORKERS);
    }
    if (r < 0) {
        th_pool_free(pool);
        return r;
    }
    *ret_pool = pool;
    return 0;
}

void th_pool_submit(struct th_pool *pool, struct th_job *job) {
    pthread_mutex_lock(&pool->lock);
    queue_put(&pool->waiting, job);
    pthread_cond_signal(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
}

/* True when every worker ended in time. */
static bool join_workers(struct th_pool *pool) {
    int64_t until_ns = th_now_mono_ns() + END_WAIT_S * TH_NS_PER_S;
    struct timespec until = {.tv_sec = until_ns / TH_NS_PER_S, .tv_nsec = until_ns % TH_NS_PER_S};
    bool all = true;

    for (unsigned i = 0; i < pool->n_threads; i++) {
        all &= pthread_clockjoin_np(pool->threads[i], NULL, CLOCK_MONOTONIC, &until) == 0;
    }
    return all;
}

struct th_pool *th_pool_free(struct th_pool *pool) {
    struct th_job *job;

    if (!pool) {
        return NULL;
    }
    pthread_mutex_lock(&pool->lock);
    pool->stop = true;
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    if (!join_workers(pool)) {
        /* A call still blocks in a worker, which will touch the pool when it returns: leave it all
         * to the end of the process. */
        sd_event_source_disable_unref(pool->source);
        return NULL;
    }
    while ((job = queue_take(&pool->finished)) || (job = queue_take(&pool->waiting))) {
        job->done(job);
    }
    sd_event_source_disable_unref(pool->source);
    th_cleanup_close(&pool->fd);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
    return NULL;
}
