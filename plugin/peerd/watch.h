/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The watch over the peers, configured ones and those that guests came from: a thread that resolves
 * their names, probes each every interval and publishes what it learned.
 */
#ifndef TH_PEERD_WATCH_H
#define TH_PEERD_WATCH_H

#include "peerd/responder.h"
#include "timehandoff/config.h"
#include "timehandoff/key.h"

struct th_watch;

/* Starts the thread. config and keys are borrowed until free returns NULL; counts, which are
 * published with what it learns, for ever. 0 or negative errno. */
int th_watch_new(const struct th_config *config, const struct th_keyring *keys,
                 const struct th_responder_counts *counts, struct th_watch **ret_watch);
/* Has the peer of that name probed now, and the result published at once. A newer request takes the
 * place of one that was not begun; a name that is no peer's is ignored. */
void th_watch_request(struct th_watch *watch, const char *peer);
/* Has the thread end; nothing is published by it from then on. */
void th_watch_stop(struct th_watch *watch);
/* Stops the thread, waits for it for up to wait_ns, and frees the watch; returns NULL. A thread
 * that still hangs in a look-up of a name is left at it: then it returns the watch, and this is to
 * be called again before what it borrows is freed. */
struct th_watch *th_watch_free(struct th_watch *watch, int64_t wait_ns);

#endif
