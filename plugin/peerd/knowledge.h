/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the responder may say: configuration and keys, the daemon's published state, and the peers'
 * addresses, gathered into one th_answer_context and kept fresh.
 */
#ifndef TH_PEERD_KNOWLEDGE_H
#define TH_PEERD_KNOWLEDGE_H

#include "timehandoff/answer.h"
#include "timehandoff/config.h"

struct th_knowledge;

/* config and keys are borrowed until free. 0 or negative errno. */
int th_knowledge_new(const struct th_config *config, const struct th_keyring *keys,
                     struct th_knowledge **ret_knowledge);
struct th_knowledge *th_knowledge_free(struct th_knowledge *knowledge);

/* Looks whether the published files have changed (two stat calls) and reads them if so. */
void th_knowledge_refresh(struct th_knowledge *knowledge);
/* The context as the last refresh has left it, empty before the first. Valid until the next one. */
const struct th_answer_context *th_knowledge_context(const struct th_knowledge *knowledge);

#endif
