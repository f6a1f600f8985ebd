/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A simulated host, guest and agent for the tests of the handoff machine: clocks that step and
 * drift, ways that are slow one way, an agent that spins in hwclock, fails after it has set the
 * clock, or carries out a set-time half a minute late. sim_run() plays the loop around the machine,
 * and checks in every run that no step is asked for but straight after a good reading, by a
 * synchronised host, and not backward.
 */
#ifndef TIMEHANDOFF_TESTS_HANDOFF_SIM_H
#define TIMEHANDOFF_TESTS_HANDOFF_SIM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdlib.h>

#include "timehandoff/handoff.h"

#define MS TH_NS_PER_MS
#define S TH_NS_PER_S
#define REAL_BASE_NS (INT64_C(1790000000) * S)
#define MAX_ACTIONS 3000

/* ---- the simulation ---- */

enum set_plan {
    SET_GOOD = 0,
    SET_REFUSED_AFTER,  /* the clock is set, then hwclock fails */
    SET_REFUSED_BEFORE, /* no hwclock: nothing done */
    SET_IGNORED,        /* says done, does nothing */
    SET_LATE,           /* times out, is carried out late_ns after it was sent */
    SET_LOST,           /* times out, is never carried out */
    SET_BUSY,           /* never sent */
    SET_BUSY_AFTER,     /* set, then another job is in the way */
    SET_UNCONNECTED,
};

enum event { EVENT_NONE = 0, EVENT_CONNECT, EVENT_HOST_STEP, EVENT_GUEST_STEP, EVENT_VOID };

struct sim {
    int64_t t_ns;     /* true time: monotonic and raw clock alike */
    int64_t host_ns;  /* host's real clock minus REAL_BASE_NS + t */
    int64_t guest_ns; /* guest's clock at guest_since_ns, minus REAL_BASE_NS */
    int64_t guest_since_ns;
    int64_t guest_ppm;

    int64_t there_ns, back_ns; /* one-way latencies */
    int64_t set_extra_ns;      /* more for a set-time to take effect */
    unsigned n_slow_sets;      /* ... for so many of them */
    int64_t hwclock_start_ns;
    int64_t held_until_ns;
    int64_t timeout_ns;

    enum th_agent_outcome get_outcome; /* until get_fails_until_ns */
    int64_t get_fails_until_ns;
    int64_t get_fail_ns; /* what a failed call takes */
    enum set_plan plan[12];
    int64_t late_ns;
    int64_t queued_at_ns, queued_value_ns; /* a set-time that is carried out later; 0: none */

    enum event event;
    int64_t event_at_ns, event_by_ns;

    struct th_handoff *handoff;
    struct th_handoff_config config;
    enum th_ternary synchronised;
    bool last_was_good; /* the last event was a good burst */
    unsigned set_calls; /* those that reached the guest's agent */
    unsigned set_tries, get_calls;
    int64_t last_set_took_ns, first_set_t_ns, last_set_t_ns;
};

static inline void sim_init(struct sim *sim, int64_t offset_ns) {
    *sim = (struct sim){
        .t_ns = 1000 * S + 123 * MS,
        .there_ns = 500000,
        .back_ns = 400000,
        .n_slow_sets = 100,
        .hwclock_start_ns = 20 * MS,
        .timeout_ns = 30 * S,
        .get_fail_ns = 200000,
        .synchronised = TH_YES,
    };
    sim->guest_since_ns = sim->t_ns;
    sim->guest_ns = sim->t_ns + offset_ns;
    sim->config = (struct th_handoff_config){
        .name = "web1",
        .trigger = TH_TRIGGER_MIGRATED,
        .event_mono_ns = sim->t_ns,
        .policy = {.mode = TH_HANDOFF_STEP, .deadband_ns = 20 * MS, .max_step_ns = -1},
        .target_ns = MS,
        .give_up_ns = 300 * S,
        .wait_for_agent = true,
    };
}

static inline struct th_now sim_now(const struct sim *sim) {
    return (struct th_now){
        .real_ns = REAL_BASE_NS + sim->t_ns + sim->host_ns,
        .mono_ns = sim->t_ns,
        .raw_ns = sim->t_ns + 7 * S,
        .boot_ns = sim->t_ns + 9 * S,
    };
}

static inline int64_t guest_clock_ns(const struct sim *sim) {
    int64_t since_ns = sim->t_ns - sim->guest_since_ns;

    return sim->guest_ns + since_ns + since_ns / 1000000 * sim->guest_ppm;
}

static inline void set_guest(struct sim *sim, int64_t clock_ns) {
    sim->guest_ns = clock_ns;
    sim->guest_since_ns = sim->t_ns;
}

/* The truth that the machine is after. */
static inline int64_t true_offset_ns(const struct sim *sim) {
    return guest_clock_ns(sim) - sim->t_ns - sim->host_ns;
}

static inline void fire(struct sim *sim) {
    enum event event = sim->event;
    struct th_now now = sim_now(sim);

    sim->event = EVENT_NONE;
    switch (event) {
    case EVENT_NONE: break;
    case EVENT_CONNECT: th_handoff_connected(sim->handoff, &now); break;
    case EVENT_HOST_STEP: sim->host_ns += sim->event_by_ns; break;
    case EVENT_GUEST_STEP: set_guest(sim, guest_clock_ns(sim) + sim->event_by_ns); break;
    case EVENT_VOID: th_handoff_void(sim->handoff, "rebooted", &now); break;
    }
}

/* Lets time pass until t_ns, with what was planned in between. */
static inline void pass_until(struct sim *sim, int64_t t_ns) {
    if (sim->event != EVENT_NONE && sim->event_at_ns <= t_ns) {
        sim->t_ns = sim->event_at_ns > sim->t_ns ? sim->event_at_ns : sim->t_ns;
        fire(sim);
    }
    if (sim->queued_at_ns != 0 && sim->queued_at_ns <= t_ns) {
        sim->t_ns = sim->queued_at_ns > sim->t_ns ? sim->queued_at_ns : sim->t_ns;
        set_guest(sim, sim->queued_value_ns);
        sim->queued_at_ns = 0;
    }
    sim->t_ns = t_ns > sim->t_ns ? t_ns : sim->t_ns;
}

static inline void pass(struct sim *sim, int64_t ns) {
    pass_until(sim, sim->t_ns + ns);
}

static inline enum th_agent_outcome sim_get(struct sim *sim, int64_t *ret_guest_ns) {
    sim->get_calls++;
    if (sim->t_ns < sim->get_fails_until_ns) {
        pass(sim, sim->get_fail_ns);
        return sim->get_outcome;
    }
    pass(sim, sim->there_ns);
    pass_until(sim, sim->held_until_ns);
    *ret_guest_ns = (REAL_BASE_NS + guest_clock_ns(sim)) / 1000 * 1000;
    pass(sim, sim->back_ns);
    return TH_AGENT_OK;
}

/* hwclock spins until the guest's clock is half way through a second. */
static inline void hold_for_hwclock(struct sim *sim) {
    int64_t at_ns;

    pass(sim, sim->hwclock_start_ns);
    at_ns = (REAL_BASE_NS + guest_clock_ns(sim)) % S;
    pass(sim, at_ns <= S / 2 ? S / 2 - at_ns : S + S / 2 - at_ns);
    pass(sim, 2 * MS);
}

static inline enum th_agent_outcome sim_set(struct sim *sim, int64_t guest_ns) {
    enum set_plan plan = sim->plan[sim->set_tries < 11 ? sim->set_tries : 11];
    int64_t sent_ns = sim->t_ns;

    sim->set_tries++;
    if (plan == SET_BUSY || plan == SET_UNCONNECTED) {
        pass(sim, MS);
        return plan == SET_BUSY ? TH_AGENT_BUSY : TH_AGENT_NOT_CONNECTED;
    }
    sim->set_calls++;
    sim->first_set_t_ns = sim->first_set_t_ns ? sim->first_set_t_ns : sent_ns;
    sim->last_set_t_ns = sent_ns;
    if (plan == SET_LATE || plan == SET_LOST) {
        sim->queued_at_ns = plan == SET_LATE ? sent_ns + sim->late_ns : 0;
        sim->queued_value_ns = guest_ns - REAL_BASE_NS;
        pass(sim, sim->timeout_ns);
        return TH_AGENT_TIMED_OUT;
    }
    pass(sim, sim->there_ns + (sim->set_calls <= sim->n_slow_sets ? sim->set_extra_ns : 0));
    if (plan != SET_REFUSED_BEFORE && plan != SET_IGNORED) {
        set_guest(sim, (guest_ns - REAL_BASE_NS) / 1000 * 1000);
        hold_for_hwclock(sim);
    }
    pass(sim, plan == SET_BUSY_AFTER ? sim->timeout_ns : sim->back_ns);
    sim->last_set_took_ns = sim->t_ns - sent_ns;
    if (plan == SET_BUSY_AFTER) {
        return TH_AGENT_BUSY;
    }
    return plan == SET_REFUSED_AFTER || plan == SET_REFUSED_BEFORE ? TH_AGENT_REFUSED : TH_AGENT_OK;
}

static inline void do_read(struct sim *sim, unsigned count) {
    enum th_agent_outcome outcome = TH_AGENT_OK;
    struct th_now now;

    assert_in_range(count, 1, 10);
    for (unsigned i = 0; i < count && outcome == TH_AGENT_OK; i++) {
        struct th_now sent = sim_now(sim);
        int64_t guest_ns = 0;

        outcome = sim_get(sim, &guest_ns);
        now = sim_now(sim);
        if (outcome == TH_AGENT_OK) {
            th_handoff_reading(sim->handoff, guest_ns, &sent, &now);
        }
    }
    sim->last_was_good = outcome == TH_AGENT_OK;
    now = sim_now(sim);
    th_handoff_read_done(sim->handoff, outcome, outcome == TH_AGENT_OK ? "" : "get words", &now);
}

static inline void do_set(struct sim *sim, int64_t lead_ns) {
    struct th_now sent = sim_now(sim), now;
    enum th_agent_outcome outcome;
    int64_t guest_ns = sent.real_ns + lead_ns;

    assert_true(sim->last_was_good);
    assert_int_equal(sim->synchronised, TH_YES);
    /* True, that is, not as measured: a reading may be off by as much as its way is uneven. */
    if (!sim->config.policy.backward) {
        assert_true(true_offset_ns(sim) <= lead_ns + sim->there_ns + sim->back_ns);
    }
    outcome = sim_set(sim, guest_ns);
    sim->last_was_good = false;
    now = sim_now(sim);
    th_handoff_set_done(sim->handoff, outcome, outcome == TH_AGENT_OK ? "" : "set words", guest_ns,
                        &sent, &now);
}

static inline void sim_start(struct sim *sim) {
    struct th_now now = sim_now(sim);

    sim->config.host_synchronised = sim->synchronised;
    assert_int_equal(th_handoff_new(&sim->config, &now, &sim->handoff), 0);
}

/* One turn of the loop; false once the machine has finished. */
static inline bool sim_turn(struct sim *sim) {
    struct th_now now = sim_now(sim);
    struct th_handoff_action action = th_handoff_next(sim->handoff, &now);
    struct th_handoff_action again = th_handoff_next(sim->handoff, &now);

    assert_int_equal(action.what, again.what);
    assert_int_equal(action.count, again.count);
    assert_true(action.lead_ns == again.lead_ns && action.until_mono_ns == again.until_mono_ns);
    switch (action.what) {
    case TH_DO_READ: do_read(sim, action.count); break;
    case TH_DO_SET: do_set(sim, action.lead_ns); break;
    case TH_DO_WAIT: {
        int64_t until_ns = action.until_mono_ns;

        assert_true(until_ns > sim->t_ns);
        assert_true(until_ns < sim->t_ns + 400 * S);
        /* An event is what may end a wait early. */
        if (sim->event != EVENT_NONE && sim->event_at_ns < until_ns) {
            until_ns = sim->event_at_ns;
        }
        pass_until(sim, until_ns);
        break;
    }
    case TH_DO_FINISH: return false;
    }
    return true;
}

static inline const struct th_handoff_record *sim_run(struct sim *sim) {
    unsigned turns = 0;

    if (!sim->handoff) {
        sim_start(sim);
    }
    while (sim_turn(sim)) {
        assert_true(++turns < MAX_ACTIONS);
    }
    return th_handoff_record(sim->handoff);
}

static inline void sim_end(struct sim *sim) {
    sim->handoff = th_handoff_free(sim->handoff);
}

static inline void assert_outcome(const struct th_handoff_record *record,
                                  enum th_handoff_outcome outcome) {
    assert_string_equal(th_handoff_outcome_name(record->outcome), th_handoff_outcome_name(outcome));
}

static inline void assert_near(int64_t value_ns, int64_t wanted_ns, int64_t by_ns) {
    if (llabs(value_ns - wanted_ns) > by_ns) {
        fail_msg("%" PRId64 " is not within %" PRId64 " of %" PRId64, value_ns, by_ns, wanted_ns);
    }
}

/* What a good handoff must look like, to the machine and in truth. */
static inline void assert_stepped(const struct sim *sim, unsigned steps, int64_t added_ns) {
    const struct th_handoff_record *record = th_handoff_record(sim->handoff);

    assert_outcome(record, TH_HANDOFF_STEPPED);
    assert_int_equal(record->steps, steps);
    assert_int_equal(sim->set_calls, steps);
    assert_true(record->has_residual && record->has_before);
    assert_near(record->residual.offset_ns, true_offset_ns(sim), record->residual.bound_ns + 50000);
    assert_near(true_offset_ns(sim), 0, MS + record->residual.bound_ns);
    assert_near(record->stepped_ns, added_ns, 3 * MS);
    assert_true(record->right_mono_ns > sim->config.event_mono_ns);
    assert_true(record->right_mono_ns <= sim->t_ns);
}

#endif
