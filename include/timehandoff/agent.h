/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The agent in a guest as the handoff sees it: three calls that block and can fail in the ways
 * libvirt can tell apart. libvirt's agent is one implementation; tests have another.
 */
#ifndef TIMEHANDOFF_AGENT_H
#define TIMEHANDOFF_AGENT_H

#include "timehandoff/base.h"

enum th_agent_outcome {
    TH_AGENT_OK = 0,
    TH_AGENT_NOT_CONNECTED = 1, /* there is a channel, nobody answers yet: wait */
    TH_AGENT_ABSENT,            /* no channel in the domain's XML: give up */
    TH_AGENT_TIMED_OUT,         /* asked, no answer in time: a set may still happen */
    TH_AGENT_REFUSED,           /* answered with an error (blocked command, hwclock failed) */
    TH_AGENT_NOT_RUNNING,       /* the guest is paused or gone */
    TH_AGENT_BUSY,              /* another client holds the agent, or a job is in the way */
    TH_AGENT_CONNECTION_LOST,   /* libvirtd went away */
};

/* "ok", "not-connected", …. Never NULL. */
const char *th_agent_outcome_name(enum th_agent_outcome outcome);

struct th_agent_ops {
    /* guest-get-time. ret_guest_ns: nanoseconds since 1970. */
    enum th_agent_outcome (*get_time)(void *agent, int64_t *ret_guest_ns);
    /* guest-set-time. The outcome says nothing certain about the clock: read it back. */
    enum th_agent_outcome (*set_time)(void *agent, int64_t guest_ns);
    /* Words of the last failure, for people; "" if none. Lives until the next call. */
    const char *(*last_error)(void *agent);
};

struct th_agent {
    const struct th_agent_ops *ops;
    void *self;
};

#endif
