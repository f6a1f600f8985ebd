/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guests' agents, held one domain at a time: locked against other handoffs, with an agent time-out
 * that ends, over a connection that nobody else waits on.
 */
#ifndef TH_DAEMON_AGENTS_H
#define TH_DAEMON_AGENTS_H

#include "daemon/daemon.h"
#include "timehandoff/agent_libvirt.h"

struct th_held_agent;

/* virt is borrowed, what is needed of config is copied. Lives as long as the program. 0 or -ENOMEM.
 */
int th_agents_new(const struct th_virt *virt, const struct th_config *config,
                  struct th_agents **ret_agents);

/* Gets hold of a domain's agent; blocks, so in a worker only. 0; an enum th_agent_outcome (BUSY,
 * NOT_RUNNING, CONNECTION_LOST, …); or negative errno. */
int th_agents_hold(struct th_agents *agents, const struct th_uuid *uuid, int timeout_s,
                   struct th_held_agent **ret_held);
struct th_agent th_agents_agent(struct th_held_agent *held);
/* Gives it back. NULL is fine; returns NULL. May block. */
struct th_held_agent *th_agents_release(struct th_agents *agents, struct th_held_agent *held);

/* The configured time-out as libvirt takes it. */
int th_agents_timeout_s(const struct th_config *config);

#endif
