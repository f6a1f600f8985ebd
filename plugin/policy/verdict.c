/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The verdict on a gap. Everything is compared as unsigned magnitudes, so that no gap or bound, not
 * even one made up by a liar, overflows into a milder answer. The caller may rely on this: with the
 * default policy a gap proven over block is never allowed, and a larger gap never judged milder.
 */
#include "timehandoff/verdict.h"

/* Findings of equal severity: the lower one gives the reason. */
enum rank {
    RANK_FIRST = 0, /* over block, and all that is known without a gap */
    RANK_UNAUTHENTICATED,
    RANK_OVER_WARN,
    RANK_UNCERTAIN,
    RANK_DESTINATION,
    RANK_SOURCE,
    RANK_OK,
};

struct finding {
    struct th_verdict verdict;
    enum rank rank;
};

void th_verdict_policy_init(struct th_verdict_policy *policy) {
    *policy = (struct th_verdict_policy){
        .warn_ns = 50 * TH_NS_PER_MS,
        .block_ns = 500 * TH_NS_PER_MS,
        .source_unknown = TH_WARN,
        .source_unreachable = TH_WARN,
        .unauthenticated = TH_BLOCK,
        .source_unsynchronised = TH_WARN,
        .destination_unsynchronised = TH_WARN,
        .gap_source_wrong = TH_BLOCK,
    };
}

static struct finding find(enum th_action action, enum th_reason reason, enum rank rank) {
    return (struct finding){.verdict = {.action = action, .reason = reason}, .rank = rank};
}

static uint64_t magnitude(int64_t value) {
    return value < 0 ? -(uint64_t)value : (uint64_t)value;
}

/* Both limits are at least 0 here, and no sum of two magnitudes reaches 2^64. */
static bool proven_over(const struct th_gap *gap, int64_t limit_ns) {
    uint64_t size_ns = magnitude(gap->offset_ns);
    uint64_t bound_ns = magnitude(gap->bound_ns);

    return gap->bound_ns >= 0 && size_ns > bound_ns && size_ns - bound_ns > (uint64_t)limit_ns;
}

static bool proven_within(const struct th_gap *gap, int64_t limit_ns) {
    return gap->bound_ns >= 0 &&
           magnitude(gap->offset_ns) + magnitude(gap->bound_ns) <= (uint64_t)limit_ns;
}

static struct finding judge_gap(const struct th_verdict_policy *policy,
                                const struct th_verdict_input *input) {
    bool source_wrong =
        input->source_synchronised == TH_NO && input->destination_synchronised == TH_YES;

    if (proven_over(&input->gap, policy->block_ns)) {
        return source_wrong ? find(policy->gap_source_wrong, TH_REASON_GAP_SOURCE_WRONG, RANK_FIRST)
                            : find(TH_BLOCK, TH_REASON_GAP_OVER_BLOCK, RANK_FIRST);
    }
    if (proven_over(&input->gap, policy->warn_ns)) {
        return find(TH_WARN, TH_REASON_GAP_OVER_WARN, RANK_OVER_WARN);
    }
    if (!proven_within(&input->gap, policy->warn_ns)) {
        return find(TH_WARN, TH_REASON_GAP_UNCERTAIN, RANK_UNCERTAIN);
    }
    return find(TH_ALLOW, TH_REASON_GAP_OK, RANK_OK);
}

static struct finding judge_source(const struct th_verdict_policy *policy,
                                   const struct th_verdict_input *input) {
    if (input->source == TH_SOURCE_MEASURED) {
        return judge_gap(policy, input);
    }
    if (input->source == TH_SOURCE_UNREACHABLE) {
        return find(policy->source_unreachable, TH_REASON_SOURCE_UNREACHABLE, RANK_FIRST);
    }
    return find(policy->source_unknown, TH_REASON_SOURCE_UNKNOWN, RANK_FIRST);
}

static void consider(struct finding *worst, bool applies, struct finding other) {
    enum th_action action = other.verdict.action;

    if (!applies || action <= TH_ALLOW) {
        return;
    }
    if (action > worst->verdict.action ||
        (action == worst->verdict.action && other.rank < worst->rank)) {
        *worst = other;
    }
}

struct th_verdict th_verdict_decide(const struct th_verdict_policy *policy,
                                    const struct th_verdict_input *input) {
    bool measured = input->source == TH_SOURCE_MEASURED;
    struct finding worst;

    if (input->source == TH_SOURCE_OFFLINE) {
        return (struct th_verdict){.action = TH_ALLOW, .reason = TH_REASON_OFFLINE};
    }
    worst = judge_source(policy, input);
    consider(&worst, measured && input->key_expected && !input->authenticated,
             find(policy->unauthenticated, TH_REASON_UNAUTHENTICATED, RANK_UNAUTHENTICATED));
    consider(&worst, input->destination_synchronised == TH_NO,
             find(policy->destination_unsynchronised, TH_REASON_DESTINATION_UNSYNCHRONISED,
                  RANK_DESTINATION));
    consider(&worst, measured && input->source_synchronised == TH_NO,
             find(policy->source_unsynchronised, TH_REASON_SOURCE_UNSYNCHRONISED, RANK_SOURCE));
    return worst.verdict;
}
