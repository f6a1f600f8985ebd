/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The agent in a guest, through libvirt: two calls, and what libvirt's errors mean for a clock.
 *
 * libvirt's errors are told apart by code, domain and duration, never by text, which is translated
 * and changes. What matters most is whether a set-time may still be carried out: where that can't
 * be known the outcome is one after which the clock is read back.
 */
#include "timehandoff/agent_libvirt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "guest/domain_lock.h"

/* Codes that are newer than the headers we build with (libvirt 11.2). */
#define ERROR_AGENT_COMMAND_TIMEOUT 112
#define ERROR_AGENT_COMMAND_FAILED 113

/* libvirt gives the agent five seconds for its greeting, whatever the time-out for commands is. */
#define GREETING_S 5

struct th_agent_libvirt {
    const struct th_virt *virt;
    virDomainPtr domain;
    struct th_uuid uuid;
    struct th_domain_lock lock;
    bool has_timeout; /* libvirt's time-out is ours now */
    int timeout_s;
    char words[200];
};

enum th_agent_outcome th_agent_libvirt_outcome(int code, int domain, int64_t call_ns,
                                               int timeout_s) {
    int64_t least_ns = (timeout_s < GREETING_S ? timeout_s : GREETING_S) * TH_NS_PER_S / 10 * 9;

    /* The client library's own errors: it has lost libvirtd. */
    if ((domain == VIR_FROM_RPC || domain == VIR_FROM_REMOTE) && code != VIR_ERR_NO_SUPPORT) {
        return TH_AGENT_CONNECTION_LOST;
    }
    switch (code) {
    case VIR_ERR_AGENT_UNRESPONSIVE:
    case ERROR_AGENT_COMMAND_TIMEOUT:
        /* Not connected, or gone in the middle, fails at once, whichever of the two it is called;
         * one that was asked and kept silent takes its time. */
        return call_ns >= least_ns ? TH_AGENT_TIMED_OUT : TH_AGENT_NOT_CONNECTED;
    case ERROR_AGENT_COMMAND_FAILED: return TH_AGENT_REFUSED;
    case VIR_ERR_ARGUMENT_UNSUPPORTED: return TH_AGENT_ABSENT;
    case VIR_ERR_OPERATION_INVALID:
    case VIR_ERR_NO_DOMAIN: return TH_AGENT_NOT_RUNNING;
    case VIR_ERR_OPERATION_TIMEOUT:
    case VIR_ERR_RESOURCE_BUSY: return TH_AGENT_BUSY;
    default: return TH_AGENT_REFUSED;
    }
}

/* Reads libvirt's error of a call that began at began_mono_ns. */
static enum th_agent_outcome outcome_of_failure(struct th_agent_libvirt *agent,
                                                int64_t began_mono_ns) {
    const struct th_virt *virt = agent->virt;
    virErrorPtr error = virt->virGetLastError();
    int code = error ? error->code : VIR_ERR_INTERNAL_ERROR;
    int domain = error ? error->domain : VIR_FROM_NONE;
    int64_t call_ns = th_now_mono_ns() - began_mono_ns;

    th_virt_last_error(virt, agent->words, sizeof(agent->words));
    if (virt->virConnectIsAlive(virt->virDomainGetConnect(agent->domain)) != 1) {
        return TH_AGENT_CONNECTION_LOST;
    }
    return th_agent_libvirt_outcome(code, domain, call_ns, agent->timeout_s);
}

static enum th_agent_outcome get_time(void *self, int64_t *ret_guest_ns) {
    struct th_agent_libvirt *agent = self;
    int64_t began_mono_ns = th_now_mono_ns();
    long long seconds;
    unsigned nanoseconds;

    agent->words[0] = '\0';
    if (agent->virt->virDomainGetTime(agent->domain, &seconds, &nanoseconds, 0) < 0) {
        return outcome_of_failure(agent, began_mono_ns);
    }
    if (seconds < 0 || seconds >= INT64_MAX / TH_NS_PER_S || nanoseconds >= TH_NS_PER_S) {
        strcpy(agent->words, "the guest's agent gave a time that can't be");
        return TH_AGENT_REFUSED;
    }
    *ret_guest_ns = seconds * TH_NS_PER_S + nanoseconds;
    return TH_AGENT_OK;
}

static enum th_agent_outcome set_time(void *self, int64_t guest_ns) {
    struct th_agent_libvirt *agent = self;
    int64_t began_mono_ns = th_now_mono_ns();

    agent->words[0] = '\0';
    if (agent->virt->virDomainSetTime(agent->domain, guest_ns / TH_NS_PER_S,
                                      (unsigned)(guest_ns % TH_NS_PER_S), 0) < 0) {
        return outcome_of_failure(agent, began_mono_ns);
    }
    return TH_AGENT_OK;
}

static const char *last_error(void *self) {
    const struct th_agent_libvirt *agent = self;

    return agent->words;
}

static const struct th_agent_ops libvirt_ops = {
    .get_time = get_time,
    .set_time = set_time,
    .last_error = last_error,
};

int th_agent_libvirt_new(const struct th_virt *virt, virDomainPtr domain,
                         struct th_agent_libvirt **ret_agent) {
    th_auto_free struct th_agent_libvirt *agent = calloc(1, sizeof(*agent));

    if (!agent) {
        return -ENOMEM;
    }
    agent->virt = virt;
    agent->domain = domain;
    agent->lock = TH_DOMAIN_LOCK_NONE;
    agent->timeout_s = GREETING_S;
    if (virt->virDomainGetUUID(domain, agent->uuid.bytes) < 0 || virt->virDomainRef(domain) < 0) {
        return -EINVAL;
    }
    *ret_agent = th_take(agent);
    return 0;
}

struct th_agent_libvirt *th_agent_libvirt_free(struct th_agent_libvirt *agent) {
    if (agent) {
        th_agent_libvirt_end(agent);
        (void)agent->virt->virDomainFree(agent->domain);
        free(agent);
    }
    return NULL;
}

struct th_agent th_agent_libvirt_agent(struct th_agent_libvirt *agent) {
    return (struct th_agent){.ops = &libvirt_ops, .self = agent};
}

/* 0, or an outcome. Where there is no such time-out to be had, 0 too. */
static int set_timeout(const struct th_virt *virt, virDomainPtr domain, int timeout_s,
                       bool *ret_is_set) {
    virErrorPtr error;

    *ret_is_set = false;
    if (!virt->virDomainAgentSetResponseTimeout) {
        return 0;
    }
    if (virt->virDomainAgentSetResponseTimeout(domain, timeout_s, 0) == 0) {
        *ret_is_set = true;
        return 0;
    }
    error = virt->virGetLastError();
    if (error && error->code == VIR_ERR_NO_SUPPORT) {
        return 0;
    }
    return (int)th_agent_libvirt_outcome(error ? error->code : VIR_ERR_INTERNAL_ERROR,
                                         error ? error->domain : VIR_FROM_NONE, 0, timeout_s);
}

int th_agent_libvirt_begin(struct th_agent_libvirt *agent, const char *folder, int timeout_s) {
    int r = th_domain_lock_take(&agent->lock, folder, &agent->uuid);

    if (r == -EWOULDBLOCK) {
        th_text_clean("another handoff of this domain is under way", agent->words,
                      sizeof(agent->words));
        return TH_AGENT_BUSY;
    }
    if (r < 0) {
        return r;
    }
    /* The mark must be there before the time-out is: a crash in between costs nothing this way. */
    r = th_domain_lock_mark(&agent->lock);
    if (r == 0) {
        agent->timeout_s = timeout_s;
        r = set_timeout(agent->virt, agent->domain, timeout_s, &agent->has_timeout);
        if (r > 0) {
            th_virt_last_error(agent->virt, agent->words, sizeof(agent->words));
        }
    }
    if (r != 0) {
        th_domain_lock_release(&agent->lock, true);
    }
    return r;
}

/* Whether a domain's time-out is back at the default, or is nobody's concern any more. */
static bool set_back(const struct th_virt *virt, virDomainPtr domain) {
    bool is_set;
    int r = set_timeout(virt, domain, VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK, &is_set);

    return r == 0 || r == TH_AGENT_NOT_RUNNING || r == TH_AGENT_ABSENT;
}

void th_agent_libvirt_end(struct th_agent_libvirt *agent) {
    bool is_back = true;

    if (agent->has_timeout) {
        is_back = set_back(agent->virt, agent->domain);
        agent->has_timeout = false;
    }
    th_domain_lock_release(&agent->lock, is_back);
}

/* What undo carries through the folder. */
struct undo {
    const struct th_virt *virt;
    virConnectPtr connection;
};

/* True: the mark can go. */
static bool undo_one(void *context, const struct th_uuid *uuid) {
    const struct undo *undo = context;
    const struct th_virt *virt = undo->virt;
    virDomainPtr domain = virt->virDomainLookupByUUID(undo->connection, uuid->bytes);
    bool is_back;

    if (!domain) {
        virErrorPtr error = virt->virGetLastError();

        return error && error->code == VIR_ERR_NO_DOMAIN;
    }
    is_back = set_back(virt, domain);
    (void)virt->virDomainFree(domain);
    return is_back;
}

int th_agent_libvirt_undo(const struct th_virt *virt, virConnectPtr connection,
                          const char *folder) {
    struct undo undo = {.virt = virt, .connection = connection};

    return th_domain_lock_sweep(folder, undo_one, &undo);
}
