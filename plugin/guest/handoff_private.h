/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The inside of the handoff machine, shared by its three files: handoff.c takes events and gives
 * actions, handoff_decide.c says what a reading before a step leads to, handoff_verify.c what one
 * after a step does. Nobody else includes this.
 */
#ifndef TIMEHANDOFF_GUEST_HANDOFF_PRIVATE_H
#define TIMEHANDOFF_GUEST_HANDOFF_PRIVATE_H

#include "guest/burst.h"
#include "guest/step.h"
#include "timehandoff/handoff.h"

#define TH_HANDOFF_MAX_STEPS 4    /* that reach the guest: one, and three corrections */
#define TH_HANDOFF_MAX_TRIES 10   /* set-times asked for, also those that never got there */
#define TH_HANDOFF_MAX_BURSTS 500 /* a flood of events must not keep us going */
#define TH_HANDOFF_VERIFY_NS                                                                       \
    (60 * TH_NS_PER_S) /* at least this long we try to read a step back                            \
                        */

enum th_handoff_phase { TH_PHASE_READ = 1, TH_PHASE_SET, TH_PHASE_WAIT, TH_PHASE_FINISHED };

/* What a burst is read for: the one under way, the one after the wait, or the one that led to the
 * step that is due. */
enum th_handoff_purpose { TH_PURPOSE_DECIDE = 1, TH_PURPOSE_VERIFY, TH_PURPOSE_CORRECT };

struct th_handoff {
    struct th_handoff_config config; /* its name is NULL: the record has it */
    struct th_handoff_record record;
    enum th_handoff_phase phase;
    enum th_handoff_purpose purpose;
    int64_t deadline_mono_ns; /* when waiting for an agent ends */

    int64_t wait_until_mono_ns;
    bool wait_for_agent;     /* a connected agent ends this wait */
    bool connected_in_burst; /* it got connected while a burst was under way */
    int64_t poll_ns;         /* the next wait for an agent that nobody announces */

    struct th_burst burst;
    struct th_burst last; /* the good one before; no readings: none */
    bool set_since_last;  /* a set-time was tried between the two */
    int64_t read_mono_ns; /* when the last burst ended */
    unsigned refusals;    /* in a row, of readings */
    unsigned unsteady;    /* bursts in a row that the host's clock moved in */

    bool has_earlier; /* late path: the reading to compare with */
    struct th_offset earlier;
    unsigned slopes;
    unsigned uncertain;

    struct th_step step; /* the last one tried */
    bool step_sent;      /* it has reached the guest, as far as known */
    bool in_doubt;       /* what came of it is not known yet */
    bool watched;        /* it timed out, and we have looked again after a while */
    unsigned tries;
    unsigned effective; /* steps that were seen to move the clock */
    struct th_way way;
    int64_t lead_ns; /* for the next step */
    unsigned placements;
    int64_t corrected_ns; /* size of the residual that the last step was to correct; 0: none */
};

/* Asks for a burst now, or at a time. */
void th_handoff_read_now(struct th_handoff *handoff, enum th_handoff_purpose purpose);
void th_handoff_read_at(struct th_handoff *handoff, enum th_handoff_purpose purpose,
                        int64_t mono_ns);

/* Ends it. detail may be NULL to leave what is there; it may come from a guest. */
void th_handoff_finish(struct th_handoff *handoff, enum th_handoff_outcome outcome,
                       const char *detail);

/* What a failed burst leads to. */
void th_handoff_read_failed(struct th_handoff *handoff, enum th_agent_outcome outcome,
                            const char *words, const struct th_now *now);

/* What a good burst leads to, by purpose. */
void th_handoff_decide(struct th_handoff *handoff, const struct th_now *now);
void th_handoff_verify(struct th_handoff *handoff, const struct th_now *now);
void th_handoff_correct(struct th_handoff *handoff, const struct th_now *now);

/* The last look before a step: what holds for the first one and for every correction. */
bool th_handoff_may_step(const struct th_handoff *handoff);

/* Sets the lead for the next step, by all that is known of the way. */
void th_handoff_aim(struct th_handoff *handoff);

/* What the steps that were read back have come to: STEPPED, IMPROVED or FAILED. */
enum th_handoff_outcome th_handoff_verified(const struct th_handoff *handoff);

/* Adds to what our steps did, all together. */
void th_handoff_note_stepped(struct th_handoff *handoff, int64_t added_ns);

/* The host's clock moved by that much between two bursts: ends it. */
void th_handoff_host_moved(struct th_handoff *handoff, int64_t moved_ns);

/* Ends it because nothing can be read any more: otherwise is the outcome if the guest's clock was
 * never touched. */
void th_handoff_give_up(struct th_handoff *handoff, enum th_handoff_outcome otherwise,
                        const char *detail);

#endif
