/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The responder's sockets: one for IPv4, one for IPv6, each answering from the address it was asked
 * at. Who proves a key is answered by a socket of its own, which others can't fill.
 */
#ifndef TH_PEERD_RESPONDER_H
#define TH_PEERD_RESPONDER_H

#include <stdatomic.h>
#include <stdint.h>

#include "peerd/knowledge.h"

#define TH_RESPONDER_SOCKETS 2

struct th_responder;

/* How many questions ended in which outcome, since this program started. Any thread may read it. */
struct th_responder_counts {
    _Atomic uint64_t by_outcome[TH_ANSWER_OUTCOMES];
};

/* Opens the sockets on the port; with kernel_stamps, questions are stamped where they arrive. A
 * family that this host does not have is left out; one that is taken is an error. knowledge and
 * counts are borrowed. 0 or negative errno. */
int th_responder_new(unsigned port, bool kernel_stamps, struct th_knowledge *knowledge,
                     struct th_responder_counts *counts, struct th_responder **ret_responder);
struct th_responder *th_responder_free(struct th_responder *responder);
/* The descriptors, -1 where a family is missing. */
const int *th_responder_fds(const struct th_responder *responder);
/* Answers what has come on this descriptor, at most a batch; call again while it is readable. */
void th_responder_dispatch(struct th_responder *responder, int fd);
/* From the next question on it answers out of this knowledge, which is borrowed, and believes the
 * kernel's stamps or does not. */
void th_responder_use(struct th_responder *responder, bool kernel_stamps,
                      struct th_knowledge *knowledge);

#endif
