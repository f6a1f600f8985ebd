/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The fixed names of a handoff's outcomes, as text, JSON, journal and metrics show them. They are
 * part of the interface to people's scripts: a name once released stays.
 */
#include "timehandoff/handoff.h"

const char *th_handoff_outcome_name(enum th_handoff_outcome outcome) {
    switch (outcome) {
    case TH_HANDOFF_PENDING: return "pending";
    case TH_HANDOFF_NOT_NEEDED: return "not-needed";
    case TH_HANDOFF_STEPPED: return "stepped";
    case TH_HANDOFF_IMPROVED: return "improved";
    case TH_HANDOFF_REPORTED: return "reported";
    case TH_HANDOFF_FAILED: return "failed";
    case TH_HANDOFF_IN_DOUBT: return "in-doubt";
    case TH_HANDOFF_NO_AGENT: return "no-agent";
    case TH_HANDOFF_VOID: return "void";
    }
    return "unknown";
}
