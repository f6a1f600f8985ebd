/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The names of those who may say how this host's clock is: the same words in state files, JSON and
 * lines for people. Apart from the rest, so that a program that only reads such a file links no
 * more than this.
 */
#include "timehandoff/sync.h"

const char *th_sync_from_name(enum th_sync_from from) {
    switch (from) {
    case TH_SYNC_FROM_CHRONYD: return "chronyd";
    case TH_SYNC_FROM_NTPD: return "ntpd";
    case TH_SYNC_FROM_TIMESYNCD: return "timesyncd";
    case TH_SYNC_FROM_PTP4L: return "ptp4l";
    case TH_SYNC_FROM_KERNEL: return "adjtimex";
    case TH_SYNC_FROM_NOTHING: break;
    }
    return "none";
}
