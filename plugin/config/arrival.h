/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The arrival note: what the checker found out about a migration, left for the daemon that will
 * hand the guest's clock off a moment later. It is written without privilege, so the daemon reads
 * it as it would a stranger's: it informs the report and decides nothing.
 */
#ifndef TH_CONFIG_ARRIVAL_H
#define TH_CONFIG_ARRIVAL_H

#include "timehandoff/base.h"
#include "timehandoff/gap.h"

/* Older notes are of another migration. */
#define TH_ARRIVAL_MAX_AGE_NS (24 * 3600 * TH_NS_PER_S)
/* A guest that is not here so long after its check does not come any more. */
#define TH_ARRIVAL_WAIT_NS (600 * TH_NS_PER_S)

struct th_arrival {
    struct th_uuid uuid; /* of the domain */
    char host[64];       /* where it comes from; "" if not known */
    bool has_gap;
    struct th_gap gap;
};

/* Writes or replaces the note in the folder (a descriptor). 0 or negative errno. */
int th_arrival_write(int folder, const struct th_arrival *arrival);

/* Takes the domain's note out of the folder: reads and removes it. real_ns is the host's clock now.
 * 0, -ENOENT (none, or too old), -EBADMSG for what is no note, or another negative errno. */
int th_arrival_take(int folder, const struct th_uuid *uuid, int64_t real_ns,
                    struct th_arrival *ret_arrival);

/* Removes what is of no use any more: what is older than TH_ARRIVAL_MAX_AGE_NS, and what is older
 * than TH_ARRIVAL_WAIT_NS and no note of a domain that is here. 0 or negative errno. */
int th_arrival_sweep(int folder, int64_t real_ns,
                     bool (*is_here)(void *userdata, const struct th_uuid *uuid), void *userdata);

#endif
