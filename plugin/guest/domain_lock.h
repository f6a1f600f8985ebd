/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One handoff of a domain at a time, across processes: a lock on a file named after the domain's
 * UUID. The file also says whether the domain is in flight, so that what a crashed process left
 * behind can be found and undone.
 */
#ifndef TIMEHANDOFF_GUEST_DOMAIN_LOCK_H
#define TIMEHANDOFF_GUEST_DOMAIN_LOCK_H

#include "timehandoff/base.h"

struct th_domain_lock {
    int folder_fd; /* -1: nothing is held */
    int fd;
    char name[TH_UUID_TEXT_SIZE];
};

#define TH_DOMAIN_LOCK_NONE ((struct th_domain_lock){.folder_fd = -1, .fd = -1})

/* Locks, without waiting. lock must hold nothing. 0, -EWOULDBLOCK if somebody has it, or other
 * negative errno. */
int th_domain_lock_take(struct th_domain_lock *lock, const char *folder,
                        const struct th_uuid *uuid);
/* Marks the domain as in flight. 0 or negative errno. */
int th_domain_lock_mark(struct th_domain_lock *lock);
/* Unlocks; removes the file, and with it the mark, if clean. Nothing held: nothing done. */
void th_domain_lock_release(struct th_domain_lock *lock, bool clean);

/* Calls undo for every marked domain that nobody holds, under its lock, and removes its mark if
 * that returns true. Returns the number of marks removed, or negative errno. No folder: 0. */
int th_domain_lock_sweep(const char *folder,
                         bool (*undo)(void *context, const struct th_uuid *uuid), void *context);

#endif
