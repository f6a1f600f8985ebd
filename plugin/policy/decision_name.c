/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The names of triggers and decisions, used alike in text, JSON, journal and metrics; once released
 * they don't change. Callers may keep the pointers: they are static.
 */
#include "timehandoff/decision.h"

static const char *const triggers[] = {
    [TH_TRIGGER_MIGRATED] = "migrated",   [TH_TRIGGER_RESTORED] = "restored",
    [TH_TRIGGER_SNAPSHOT] = "snapshot",   [TH_TRIGGER_UNPAUSED] = "unpaused",
    [TH_TRIGGER_WAKEUP] = "wakeup",       [TH_TRIGGER_HOST_WAKEUP] = "host-wakeup",
    [TH_TRIGGER_RECONCILE] = "reconcile", [TH_TRIGGER_REQUEST] = "request",
};

static const char *const decisions[] = {
    [TH_DECIDE_STEP] = "step",
    [TH_DECIDE_NOTHING] = "nothing",
    [TH_DECIDE_WAIT] = "wait",
    [TH_DECIDE_OFF] = "off",
    [TH_DECIDE_REPORT_ONLY] = "report-only",
    [TH_DECIDE_UNSYNCHRONISED] = "unsynchronised",
    [TH_DECIDE_BACKWARD] = "backward",
    [TH_DECIDE_TOO_FAR] = "too-far",
    [TH_DECIDE_SLEWING] = "slewing",
    [TH_DECIDE_NO_EVENT] = "no-event",
    [TH_DECIDE_UNCERTAIN] = "uncertain",
};

const char *th_trigger_name(enum th_trigger trigger) {
    return trigger >= TH_TRIGGER_MIGRATED && trigger <= TH_TRIGGER_REQUEST ? triggers[trigger]
                                                                           : "unknown";
}

const char *th_decision_name(enum th_decision decision) {
    return decision >= TH_DECIDE_STEP && decision <= TH_DECIDE_UNCERTAIN ? decisions[decision]
                                                                         : "unknown";
}
