/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The agent in a guest, through libvirt. Calls must lie between begin and end: between them the
 * domain is locked against other handoffs, of other processes too, and the agent's time-out is one
 * that ends; outside, libvirt waits for a frozen agent for ever, and other people's file system
 * freezes depend on that time-out being as they expect.
 *
 * Calls block: use it on a worker thread. One object serves one thread at a time.
 */
#ifndef TIMEHANDOFF_AGENT_LIBVIRT_H
#define TIMEHANDOFF_AGENT_LIBVIRT_H

#include "timehandoff/agent.h"
#include "timehandoff/virt.h"

struct th_agent_libvirt;

/* Takes references: virt must outlive it, the domain is held. 0, -ENOMEM, or -EINVAL. */
int th_agent_libvirt_new(const struct th_virt *virt, virDomainPtr domain,
                         struct th_agent_libvirt **ret_agent);
/* Ends what was begun, lets go of the domain. NULL is fine; returns NULL. */
struct th_agent_libvirt *th_agent_libvirt_free(struct th_agent_libvirt *agent);

/* The agent as the handoff wants it; valid as long as the object. */
struct th_agent th_agent_libvirt_agent(struct th_agent_libvirt *agent);

/*
 * Locks the domain by a file in folder (made if missing, 0700; the parent must exist) and has
 * libvirt end agent calls after timeout_s seconds (1 or more; at least 5 for the agent's own
 * greeting). The file marks the domain as in flight until end. A libvirt or driver without such
 * time-outs is used without.
 * Returns 0; TH_AGENT_BUSY if another handoff has the domain; another enum th_agent_outcome if
 * libvirt fails; or negative errno of the lock file. Nothing is held unless 0.
 */
int th_agent_libvirt_begin(struct th_agent_libvirt *agent, const char *folder, int timeout_s);
/* Sets the time-out back to libvirt's default (wait for ever), takes the mark off and unlocks. If
 * the time-out can't be set back the mark stays, for th_agent_libvirt_undo(). */
void th_agent_libvirt_end(struct th_agent_libvirt *agent);

/*
 * After a crash: sets the time-outs back of all domains marked in folder that no living process
 * holds, and takes the marks off. Returns the number of marks taken off, or negative errno. Domains
 * that libvirt doesn't know any more need nothing; where libvirt fails the mark stays.
 */
int th_agent_libvirt_undo(const struct th_virt *virt, virConnectPtr connection, const char *folder);

/*
 * What an error of libvirt means. call_ns is how long the call took and timeout_s the agent's
 * time-out: before libvirt 11.2, "not connected" and "timed out" are one code. Exposed for tests.
 */
enum th_agent_outcome th_agent_libvirt_outcome(int code, int domain, int64_t call_ns,
                                               int timeout_s);

#endif
