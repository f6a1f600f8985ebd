/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The names of actions and reasons. They are an interface: text, JSON, journal, metrics and
 * people's scripts use them, so a name is never changed once released. Callers may keep the
 * pointers.
 */
#include <string.h>

#include "timehandoff/verdict.h"

static const char *const actions[] = {
    [TH_ALLOW] = "allow",
    [TH_WARN] = "warn",
    [TH_BLOCK] = "block",
};

static const char *const reasons[] = {
    [TH_REASON_GAP_OK] = "gap-ok",
    [TH_REASON_GAP_OVER_WARN] = "gap-over-warn",
    [TH_REASON_GAP_OVER_BLOCK] = "gap-over-block",
    [TH_REASON_GAP_SOURCE_WRONG] = "gap-source-wrong",
    [TH_REASON_GAP_UNCERTAIN] = "gap-uncertain",
    [TH_REASON_SOURCE_UNKNOWN] = "source-unknown",
    [TH_REASON_SOURCE_UNREACHABLE] = "source-unreachable",
    [TH_REASON_UNAUTHENTICATED] = "unauthenticated",
    [TH_REASON_SOURCE_UNSYNCHRONISED] = "source-unsynchronised",
    [TH_REASON_DESTINATION_UNSYNCHRONISED] = "destination-unsynchronised",
    [TH_REASON_OFFLINE] = "offline",
    [TH_REASON_OVERRIDDEN] = "overridden",
};

_Static_assert(TH_ELEMENTS(reasons) == TH_REASONS, "every reason needs a name");

const char *th_action_name(enum th_action action) {
    return action >= TH_ALLOW && action <= TH_BLOCK ? actions[action] : "unknown";
}

enum th_action th_action_parse(const char *text) {
    for (enum th_action action = TH_ALLOW; action <= TH_BLOCK; action++) {
        if (strcmp(actions[action], text) == 0) {
            return action;
        }
    }
    return 0;
}

const char *th_reason_name(enum th_reason reason) {
    return reason >= TH_REASON_GAP_OK && reason < TH_REASONS ? reasons[reason] : "unknown";
}
