/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The verdict: from what was found out about source and destination to allow, warn or block, with
 * the one reason that decided. Pure; the table of design and documentation is this function.
 *
 * What it does not know: report mode and overrides. The caller applies them to the verdict, and
 * keeps the verdict beside what it made of it.
 */
#ifndef TIMEHANDOFF_VERDICT_H
#define TIMEHANDOFF_VERDICT_H

#include "timehandoff/base.h"
#include "timehandoff/gap.h"

enum th_action { TH_ALLOW = 1, TH_WARN, TH_BLOCK };

/* "allow", "warn", "block". Never NULL; the reverse is 0 for anything else. */
const char *th_action_name(enum th_action action);
enum th_action th_action_parse(const char *text);

/* The fixed reasons, used alike in text, JSON, journal and metrics. */
enum th_reason {
    TH_REASON_GAP_OK = 1,         /* proven within the warn limit */
    TH_REASON_GAP_OVER_WARN,      /* proven over warn */
    TH_REASON_GAP_OVER_BLOCK,     /* proven over block */
    TH_REASON_GAP_SOURCE_WRONG,   /* over block, but it is the source that is wrong */
    TH_REASON_GAP_UNCERTAIN,      /* not provably under a limit: cannot tell */
    TH_REASON_SOURCE_UNKNOWN,     /* no stamp and no peer says where the guest comes from */
    TH_REASON_SOURCE_UNREACHABLE, /* the source does not answer */
    TH_REASON_UNAUTHENTICATED,    /* a key is configured, the answer came without */
    TH_REASON_SOURCE_UNSYNCHRONISED,
    TH_REASON_DESTINATION_UNSYNCHRONISED,
    TH_REASON_OFFLINE,    /* the domain does not run: no guest clock is in play */
    TH_REASON_OVERRIDDEN, /* an override is in force. Never from th_verdict_decide: the caller's */
    TH_REASONS
};

/* "gap-ok", "gap-over-block", "source-unknown", …: lower case with dashes. Never NULL; "unknown"
 * for what is no reason. */
const char *th_reason_name(enum th_reason reason);

struct th_verdict_policy {
    int64_t warn_ns;                           /* default 50 ms; 0 <= warn <= block */
    int64_t block_ns;                          /* default 500 ms */
    enum th_action source_unknown;             /* default warn */
    enum th_action source_unreachable;         /* default warn */
    enum th_action unauthenticated;            /* default block */
    enum th_action source_unsynchronised;      /* default warn */
    enum th_action destination_unsynchronised; /* default warn */
    enum th_action gap_source_wrong;           /* default block; in place of gap-over-block */
};

void th_verdict_policy_init(struct th_verdict_policy *policy);

enum th_source_state {
    TH_SOURCE_UNKNOWN = 1,
    TH_SOURCE_UNREACHABLE,
    TH_SOURCE_OFFLINE, /* nobody runs the domain, and somebody who should know says so */
    TH_SOURCE_MEASURED,
};

struct th_verdict_input {
    enum th_source_state source;
    struct th_gap gap;  /* with TH_SOURCE_MEASURED */
    bool key_expected;  /* a configured key, or the stamp's, was used first */
    bool authenticated; /* with TH_SOURCE_MEASURED: the answers came under it */
    enum th_ternary source_synchronised;
    enum th_ternary destination_synchronised;
};

struct th_verdict {
    enum th_action action;
    enum th_reason reason;
};

/*
 * Decides. A source that is TH_SOURCE_OFFLINE is allowed, whatever else is known: no guest clock is
 * in play. Otherwise there is a first finding:
 *
 *   source unknown, unreachable   the policy of that name
 *   |g| - b > block               block, gap-over-block; but gap-source-wrong and its policy where
 *                                 the destination is synchronised and the source is not (TH_YES and
 *                                 TH_NO: not knowing is no proof)
 *   else |g| - b > warn           warn, gap-over-warn
 *   else |g| + b > warn           warn, gap-uncertain: not provably under a limit
 *   else                          allow, gap-ok
 *
 * A gap that is over warn, and may be over block as well, is gap-over-warn: that much is proven. A
 * bound below zero is no bound, and such a gap is uncertain. Then every side rule that applies is
 * looked at: unauthenticated (key_expected, measured, not authenticated), destination and source
 * unsynchronised (TH_NO; the source's only if measured). The severest action wins, and among equals
 * the order: gap over block or source unknown or unreachable, unauthenticated, gap over warn, gap
 * uncertain, destination unsynchronised, source unsynchronised. A side rule whose policy is allow
 * changes nothing, so the reason of an allow is always the first finding's.
 */
struct th_verdict th_verdict_decide(const struct th_verdict_policy *policy,
                                    const struct th_verdict_input *input);

#endif
