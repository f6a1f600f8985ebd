/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The daemon's pool of workers, and handoffs run by it: many guests at once, whose agents answer
 * from several threads while the loop voids, reconnects and resumes them. Made to be run under
 * ThreadSanitizer, which sees a machine or an agent that two threads hold; without it, the test
 * still sees one that is held twice, lost, or never given back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/agents.h"
#include "daemon/fleet.h"
#include "seeded.h"
#include "timehandoff/handoff.h"
#include "timehandoff/report.h"

#define GUESTS 40
#define WORKERS 8
#define JOBS 2000
/* Over what even a late handoff steps without looking twice. */
#define OFFSET_NS (-30 * TH_NS_PER_S)

/* ThreadSanitizers of before 2023 do not know this one, and take all after it for a race. */
int pthread_clockjoin_np(pthread_t thread, void **ret_value, clockid_t clock,
                         const struct timespec *until) {
    (void)clock;
    (void)until;
    return pthread_join(thread, ret_value);
}

/* ---- the pool alone ---- */

struct count_job {
    struct th_job job;
    unsigned works; /* not atomic: in one worker, then in the loop */
    unsigned *done;
};

static void count_work(struct th_job *job) {
    struct count_job *count = (struct count_job *)job;

    count->works++;
}

static void count_done(struct th_job *job) {
    struct count_job *count = (struct count_job *)job;

    assert_true(count->works <= 1);
    (*count->done)++;
    free(count);
}

static void submit_counts(struct th_pool *pool, unsigned *done) {
    for (unsigned i = 0; i < JOBS; i++) {
        struct count_job *count = calloc(1, sizeof(*count));

        assert_non_null(count);
        count->job = (struct th_job){.work = count_work, .done = count_done};
        count->done = done;
        th_pool_submit(pool, &count->job);
    }
}

static void test_every_job_is_done_once(void **state) {
    unsigned done = 0;
    struct th_pool *pool;
    sd_event *event;

    (void)state;
    assert_int_equal(sd_event_new(&event), 0);
    assert_int_equal(th_pool_new(event, WORKERS, &pool), 0);
    submit_counts(pool, &done);
    while (done < JOBS) {
        assert_true(sd_event_run(event, UINT64_MAX) >= 0);
    }
    /* Those that no worker has taken by then are done with as well. */
    done = 0;
    submit_counts(pool, &done);
    assert_null(th_pool_free(pool));
    assert_int_equal(done, JOBS);
    sd_event_unref(event);
}

/* ---- agents that answer ---- */

struct guest {
    struct th_daemon_domain domain;
    int64_t offset_ns; /* not atomic: of whoever holds the agent */
    atomic_int held;   /* how many hold it */
    unsigned records;  /* the loop's, as all below */
    unsigned steps;
};

struct th_held_agent {
    struct guest *guest;
};

static struct guest guests[GUESTS];

static struct guest *guest_of(const struct th_uuid *uuid) {
    return &guests[uuid->bytes[0]];
}

/* Long enough for others to come in between. */
static void dawdle(void) {
    static const struct timespec some = {.tv_nsec = 50000};

    (void)nanosleep(&some, NULL);
}

static enum th_agent_outcome get_time(void *self, int64_t *ret_guest_ns) {
    struct guest *guest = self;

    dawdle();
    *ret_guest_ns = th_now_real_ns() + guest->offset_ns;
    return TH_AGENT_OK;
}

static enum th_agent_outcome set_time(void *self, int64_t guest_ns) {
    struct guest *guest = self;

    dawdle();
    guest->offset_ns = guest_ns - th_now_real_ns();
    return TH_AGENT_OK;
}

static const char *last_error(void *self) {
    (void)self;
    return "";
}

int th_agents_hold(struct th_agents *agents, const struct th_uuid *uuid, int timeout_s,
                   struct th_held_agent **ret_held) {
    struct th_held_agent *held = malloc(sizeof(*held));

    (void)agents;
    (void)timeout_s;
    if (!held || atomic_fetch_add(&guest_of(uuid)->held, 1) != 0) {
        abort(); /* a worker can't fail a test */
    }
    held->guest = guest_of(uuid);
    *ret_held = held;
    return 0;
}

struct th_agent th_agents_agent(struct th_held_agent *held) {
    static const struct th_agent_ops ops = {get_time, set_time, last_error};

    return (struct th_agent){&ops, held->guest};
}

struct th_held_agent *th_agents_release(struct th_agents *agents, struct th_held_agent *held) {
    (void)agents;
    if (held) {
        atomic_fetch_sub(&held->guest->held, 1);
        free(held);
    }
    return NULL;
}

int th_agents_timeout_s(const struct th_config *config) {
    (void)config;
    return 30;
}

/* ---- the rest of the daemon ---- */

struct th_daemon_domain *th_domains_find(struct th_daemon *daemon, const struct th_uuid *uuid) {
    (void)daemon;
    return &guest_of(uuid)->domain;
}

int th_publish(struct th_daemon *daemon) {
    (void)daemon;
    return 0;
}

void th_fleet_handed_off(struct th_daemon *daemon, const struct th_handoff_record *record) {
    (void)daemon;
    (void)record;
}

/* As it would end with libvirt's word that the guest runs; its policy is another one by then. */
static const struct th_domain_policy policy_now = {.handoff = TH_HANDOFF_STEP};

void th_inspect(struct th_daemon *daemon, const struct th_uuid *uuid, enum th_inspect_why why,
                int64_t event_mono_ns) {
    struct th_daemon_domain *domain = &guest_of(uuid)->domain;
    struct th_handoff_start start = domain->deferred_start;

    assert_int_equal(why, TH_INSPECT_DEFERRED);
    assert_true(event_mono_ns == start.event_mono_ns);
    start.policy = policy_now;
    th_handoffs_begin(daemon, domain, &start);
}

void th_recheck_begin(struct th_daemon *daemon, struct th_daemon_domain *domain,
                      struct th_handoff *handoff) {
    (void)daemon;
    (void)domain;
    th_handoff_free(handoff);
}

void th_recheck_void(struct th_daemon_domain *domain) {
    (void)domain;
}

void th_report_handoff_journal(const struct th_handoff_record *record) {
    struct guest *guest = guest_of(&record->uuid);

    guest->records++;
    guest->steps += record->steps;
}

/* ---- handoffs ---- */

static struct th_config config = {
    .deadband_ns = 20 * TH_NS_PER_MS,
    .target_ns = TH_NS_PER_MS,
    .max_step_migration_ns = -1,
    .max_step_unpause_ns = -1,
    .give_up_ns = 300 * TH_NS_PER_S,
};

static void begin(struct th_daemon *daemon, struct guest *guest) {
    const struct th_handoff_start start = {
        .trigger = TH_TRIGGER_UNPAUSED,
        .event_mono_ns = th_now_mono_ns(),
        .policy = {.handoff = TH_HANDOFF_STEP, .backward = TH_YES},
    };

    th_handoffs_begin(daemon, &guest->domain, &start);
}

static void set_up(struct th_daemon *daemon) {
    memset(guests, 0, sizeof(guests));
    for (unsigned i = 0; i < GUESTS; i++) {
        guests[i].domain.uuid.bytes[0] = (uint8_t)i;
        guests[i].domain.state = TH_DOMAIN_RUNNING;
        guests[i].offset_ns = OFFSET_NS;
    }
    *daemon = (struct th_daemon){.config = &config, .arrivals = -1, .sync_mono_ns = 1};
    daemon->sync.synchronised = TH_YES;
    assert_int_equal(sd_event_new(&daemon->event), 0);
    assert_int_equal(th_pool_new(daemon->event, WORKERS, &daemon->agent_pool), 0);
}

static bool all_ended(void) {
    for (unsigned i = 0; i < GUESTS; i++) {
        if (guests[i].domain.handoff) {
            return false;
        }
    }
    return true;
}

/* What libvirt may say while a handoff is under way. */
static void disturb(struct th_daemon *daemon, struct seeded *chance) {
    struct guest *guest = &guests[seeded_between(chance, 0, GUESTS - 1)];

    switch (seeded_between(chance, 0, 2)) {
    case 0: th_handoffs_connected(&guest->domain); break;
    case 1: th_handoffs_void(&guest->domain, "the guest was rebooted"); break;
    default: begin(daemon, guest); break;
    }
}

static void run_loop(struct th_daemon *daemon, bool (*ended)(void)) {
    while (!ended()) {
        assert_true(sd_event_run(daemon->event, UINT64_MAX) >= 0);
    }
}

static void test_guests_are_handed_off_together(void **state) {
    struct seeded chance = seeded_start("workers");
    struct th_daemon daemon;

    (void)state;
    set_up(&daemon);
    for (unsigned i = 0; i < GUESTS; i++) {
        begin(&daemon, &guests[i]);
    }
    for (unsigned i = 0; i < 20 * GUESTS; i++) {
        disturb(&daemon, &chance);
        assert_true(sd_event_run(daemon.event, 500) >= 0);
    }
    run_loop(&daemon, all_ended);
    /* Once more, and left in peace. */
    for (unsigned i = 0; i < GUESTS; i++) {
        begin(&daemon, &guests[i]);
    }
    run_loop(&daemon, all_ended);
    assert_null(th_pool_free(daemon.agent_pool));
    for (unsigned i = 0; i < GUESTS; i++) {
        assert_int_equal(atomic_load(&guests[i].held), 0);
        assert_true(guests[i].records > 0 && guests[i].steps > 0);
        assert_true(guests[i].offset_ns > OFFSET_NS / 2);
    }
    sd_event_unref(daemon.event);
}

/* The daemon ends in the middle: agents are given back, and nothing is lost. */
static void test_the_end_in_the_middle(void **state) {
    struct th_daemon daemon;

    (void)state;
    set_up(&daemon);
    for (unsigned i = 0; i < GUESTS; i++) {
        begin(&daemon, &guests[i]);
    }
    for (unsigned i = 0; i < GUESTS; i++) {
        assert_true(sd_event_run(daemon.event, 1000) >= 0);
    }
    daemon.ending = true;
    for (unsigned i = 0; i < GUESTS; i++) {
        th_handoffs_void(&guests[i].domain, "the daemon ends");
    }
    assert_null(th_pool_free(daemon.agent_pool));
    for (unsigned i = 0; i < GUESTS; i++) {
        assert_int_equal(atomic_load(&guests[i].held), 0);
        assert_null(guests[i].domain.handoff);
    }
    sd_event_unref(daemon.event);
}

/* ---- handoffs that wait for this host's own clock ---- */

/* One guest, of a host that is not synchronised when it resumes: it is looked at and left. */
static struct guest *resume_unsynchronised(struct th_daemon *daemon, enum th_trigger trigger) {
    struct guest *guest = &guests[0];
    const struct th_handoff_start start = {
        .trigger = trigger,
        .event_mono_ns = th_now_mono_ns(),
        .policy = {.handoff = TH_HANDOFF_STEP},
    };

    set_up(daemon);
    daemon->domains = &guest->domain;
    daemon->sync.synchronised = TH_UNKNOWN;
    th_handoffs_begin(daemon, &guest->domain, &start);
    run_loop(daemon, all_ended);
    assert_int_equal(guest->records, 1);
    assert_int_equal(guest->steps, 0);
    return guest;
}

/* Tells that synchronisation was looked at, and lets what comes of it come to its end. */
static void look_at_sync(struct th_daemon *daemon, enum th_ternary synchronised) {
    daemon->sync.synchronised = synchronised;
    th_handoffs_synchronised(daemon);
    run_loop(daemon, all_ended);
}

static void tear_down(struct th_daemon *daemon) {
    assert_null(th_pool_free(daemon->agent_pool));
    sd_event_unref(daemon->event);
}

static void test_handed_off_once_the_host_is_right(void **state) {
    static const enum th_trigger triggers[] = {TH_TRIGGER_MIGRATED, TH_TRIGGER_RESTORED,
                                               TH_TRIGGER_UNPAUSED, TH_TRIGGER_HOST_WAKEUP};

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(triggers); i++) {
        struct th_daemon daemon;
        struct guest *guest = resume_unsynchronised(&daemon, triggers[i]);

        assert_true(guest->domain.due);
        look_at_sync(&daemon, TH_NO);
        look_at_sync(&daemon, TH_UNKNOWN);
        assert_int_equal(guest->records, 1);
        look_at_sync(&daemon, TH_YES);
        assert_int_equal(guest->records, 2);
        assert_true(guest->steps > 0);
        assert_true(guest->offset_ns > OFFSET_NS / 2);
        assert_false(guest->domain.due);
        look_at_sync(&daemon, TH_YES);
        assert_int_equal(guest->records, 2);
        tear_down(&daemon);
    }
}

/* Who asks, or only looks, gets an answer and no promise. */
static void test_what_does_not_wait_for_the_host(void **state) {
    static const enum th_trigger triggers[] = {TH_TRIGGER_REQUEST, TH_TRIGGER_RECONCILE};

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(triggers); i++) {
        struct th_daemon daemon;
        struct guest *guest = resume_unsynchronised(&daemon, triggers[i]);

        assert_false(guest->domain.due);
        look_at_sync(&daemon, TH_YES);
        assert_int_equal(guest->records, 1);
        assert_int_equal(guest->steps, 0);
        tear_down(&daemon);
    }
}

/* And one that comes to nothing takes nothing from who is owed; one that does not, settles it. */
static void test_asked_for_while_one_waits(void **state) {
    static const struct th_handoff_start request = {.trigger = TH_TRIGGER_REQUEST,
                                                    .policy = {.handoff = TH_HANDOFF_STEP}};

    (void)state;
    for (int right = 0; right < 2; right++) {
        struct th_daemon daemon;
        struct guest *guest = resume_unsynchronised(&daemon, TH_TRIGGER_RESTORED);

        daemon.sync.synchronised = right ? TH_YES : TH_NO;
        th_handoffs_begin(&daemon, &guest->domain, &request);
        run_loop(&daemon, all_ended);
        assert_int_equal(guest->records, 2);
        assert_int_equal(guest->domain.due, !right);
        look_at_sync(&daemon, TH_YES);
        assert_int_equal(guest->records, right ? 2 : 3);
        assert_true(guest->steps > 0);
        tear_down(&daemon);
    }
}

static void test_gone_while_the_host_was_wrong(void **state) {
    (void)state;
    for (int when = 0; when < 3; when++) {
        struct th_daemon daemon;
        struct guest *guest = resume_unsynchronised(&daemon, TH_TRIGGER_RESTORED);

        if (when == 0) {
            th_handoffs_void(&guest->domain, "the guest was rebooted");
            assert_false(guest->domain.due);
        } else {
            /* Nobody could say so: libvirt was away. */
            guest->domain.state = when == 1 ? TH_DOMAIN_PAUSED : TH_DOMAIN_RUNNING;
            guest->domain.incoming = when == 2;
        }
        look_at_sync(&daemon, TH_YES);
        assert_int_equal(guest->records, 1);
        assert_int_equal(guest->steps, 0);
        tear_down(&daemon);
    }
}

/* While its agent is being given back, when all is decided. */
static void test_rebooted_at_the_end_of_a_look(void **state) {
    struct guest *guest = &guests[0];
    struct th_daemon daemon;

    (void)state;
    set_up(&daemon);
    daemon.domains = &guest->domain;
    daemon.sync.synchronised = TH_NO;
    begin(&daemon, guest);
    th_handoffs_void(&guest->domain, "the guest was rebooted");
    run_loop(&daemon, all_ended);
    assert_false(guest->domain.due);
    look_at_sync(&daemon, TH_YES);
    assert_int_equal(guest->steps, 0);
    tear_down(&daemon);
}

static void test_the_host_is_wrong_for_too_long(void **state) {
    (void)state;
    for (int right = 0; right < 2; right++) {
        struct th_daemon daemon;
        struct guest *guest = resume_unsynchronised(&daemon, TH_TRIGGER_RESTORED);

        guest->domain.deferred_start.owed_until_mono_ns = th_now_mono_ns() - 1;
        /* At the last moment is in time. */
        look_at_sync(&daemon, right ? TH_YES : TH_NO);
        assert_false(guest->domain.due);
        assert_int_equal(guest->records, right ? 2 : 1);
        look_at_sync(&daemon, TH_YES);
        assert_int_equal(guest->records, right ? 2 : 1);
        tear_down(&daemon);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_job_is_done_once),
        cmocka_unit_test(test_guests_are_handed_off_together),
        cmocka_unit_test(test_the_end_in_the_middle),
        cmocka_unit_test(test_handed_off_once_the_host_is_right),
        cmocka_unit_test(test_what_does_not_wait_for_the_host),
        cmocka_unit_test(test_asked_for_while_one_waits),
        cmocka_unit_test(test_gone_while_the_host_was_wrong),
        cmocka_unit_test(test_rebooted_at_the_end_of_a_look),
        cmocka_unit_test(test_the_host_is_wrong_for_too_long),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
