/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The names of what can become of a call to a guest's agent, as they are shown in text, JSON and
 * journal alike. Kept apart from the agents themselves so that tests and reports need no libvirt.
 */
#include "timehandoff/agent.h"

const char *th_agent_outcome_name(enum th_agent_outcome outcome) {
    switch (outcome) {
    case TH_AGENT_OK: return "ok";
    case TH_AGENT_NOT_CONNECTED: return "not-connected";
    case TH_AGENT_ABSENT: return "absent";
    case TH_AGENT_TIMED_OUT: return "timed-out";
    case TH_AGENT_REFUSED: return "refused";
    case TH_AGENT_NOT_RUNNING: return "not-running";
    case TH_AGENT_BUSY: return "busy";
    case TH_AGENT_CONNECTION_LOST: return "connection-lost";
    }
    return "unknown";
}
