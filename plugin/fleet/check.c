/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The whole check of one migration. The checker, in libvirt's path, and the dry run, at a person's
 * prompt, call this one function, so that what the dry run shows is what the hook will do. The dry
 * run can also be made on the source: then the same measurement is looked at from the other end.
 */
#include "timehandoff/check.h"

#include <string.h>

/* Host numbers that the policy section of a domain may narrow or widen. */
static struct th_verdict_policy limits_for(const struct th_config *config,
                                           const struct th_domain_policy *domain) {
    struct th_verdict_policy policy = config->verdict;

    if (domain->warn_ns >= 0) {
        policy.warn_ns = domain->warn_ns;
    }
    if (domain->block_ns >= 0) {
        policy.block_ns = domain->block_ns;
    }
    /* One of the two may come from the domain and the other from the host: keep them in order, on
     * the stricter side. */
    if (policy.warn_ns > policy.block_ns) {
        policy.warn_ns = policy.block_ns;
    }
    return policy;
}

static void read_domain(const struct th_check_input *input, struct th_check *check) {
    const struct th_domain_policy *from_xml = NULL;

    if (input->xml) {
        check->has_domain = th_domain_parse(input->xml, input->xml_size, &check->domain,
                                            check->xml_error, sizeof(check->xml_error)) == 0;
    }
    if (check->has_domain) {
        check->uuid = check->domain.uuid;
        from_xml = check->domain.has_policy ? &check->domain.policy : NULL;
    }
    th_text_clean(input->name ? input->name : check->domain.name, check->name, sizeof(check->name));
    check->handoff = th_config_domain_policy(input->config, &check->uuid, check->name, from_xml);
    check->policy = limits_for(input->config, &check->handoff);
}

static enum th_ternary know_this_host(const struct th_check_input *input, struct th_check *check) {
    struct th_sync sync;

    if (input->host) {
        check->this_uuid = input->host->uuid;
        check->sync_from = input->host->sync.from;
        th_text_clean(input->host->sync.reason, check->sync_reason, sizeof(check->sync_reason));
        th_text_clean(input->host->name, check->this_host, sizeof(check->this_host));
        return input->host->sync.synchronised;
    }
    /* Without the daemon nobody has asked chronyd; the kernel can still say that nothing steers
     * this clock. It can't vouch for the opposite: a daemon that died looks synchronised for hours.
     */
    if (th_sync_read_kernel(&sync) == 0 && sync.synchronised == TH_NO) {
        check->sync_from = sync.from;
        th_text_clean(sync.reason, check->sync_reason, sizeof(check->sync_reason));
        return TH_NO;
    }
    th_text_clean("no news of timehandoffd here: is it running, and are you root?",
                  check->sync_reason, sizeof(check->sync_reason));
    return TH_UNKNOWN;
}

static enum th_ternary other_synchronised(const struct th_source *source) {
    const struct th_probe_result *probe = &source->probe;

    if (source->state != TH_SOURCE_MEASURED) {
        return TH_UNKNOWN;
    }
    if (probe->has_identity) {
        return probe->identity.synchronised;
    }
    /* A plain answer: the leap indicator says "unsynchronised" (RFC 5905 section 7.3), or it claims
     * to be synchronised, which an NTP server knows of its own clock. A peerd that doesn't know us
     * says 3 also where it doesn't know itself. */
    return probe->leap == TH_LEAP_UNSYNCHRONISED ? TH_UNKNOWN : TH_YES;
}

/* Seen from the source, an override of this host says nothing: the destination's counts. */
static bool override_applies(const struct th_check_input *input, const struct th_source *source) {
    const struct th_state_override *override = input->outgoing ? NULL : input->override;

    return override && (!override->source[0] || strcmp(override->source, source->host) == 0);
}

static void make_verdict(const struct th_check_input *input, struct th_check *check) {
    const struct th_source *source = &check->source;
    struct th_verdict_input facts = {
        .source = source->state,
        .gap = source->probe.gap,
        .key_expected = source->key_expected,
        .authenticated = source->authenticated,
        .source_synchronised = check->source_synchronised,
        .destination_synchronised = check->destination_synchronised,
    };

    check->would = th_verdict_decide(&check->policy, &facts);
    check->verdict = check->would;
    check->report_only = input->config->report_only;
    check->overridden = override_applies(input, source);
    if (check->overridden) {
        check->verdict = (struct th_verdict){TH_ALLOW, TH_REASON_OVERRIDDEN};
    } else if (check->report_only) {
        check->verdict.action = TH_ALLOW;
    }
}

const char *th_check_told_by_name(const struct th_check *check) {
    const struct th_probe_result *probe = &check->source.probe;

    return probe->outcome != TH_PROBE_ANSWERED ? "none" : probe->has_identity ? "identity" : "ntp";
}

/* The same measurement, as it looks from the other end. */
static void turn_around(struct th_source *source, bool offline) {
    struct th_gap *gap = &source->probe.gap;

    gap->offset_ns = gap->offset_ns == INT64_MIN ? INT64_MAX : -gap->offset_ns;
    source->how = TH_SOURCE_BY_BEING_HERE;
    if (offline) {
        source->state = TH_SOURCE_OFFLINE;
    }
}

static void know_both(enum th_ternary here, struct th_check *check) {
    enum th_ternary there = other_synchronised(&check->source);

    check->source_synchronised = check->outgoing ? here : there;
    check->destination_synchronised = check->outgoing ? there : here;
}

int th_check_run(const struct th_check_input *input, struct th_check *ret_check) {
    int64_t began_ns = th_now_mono_ns();
    struct th_check check = {.source = {.state = TH_SOURCE_UNKNOWN}};
    struct th_source_request request = {
        .config = input->config,
        .keys = input->keys,
        .peers = input->peers,
        .given = input->given,
        .given_name = input->given_name,
        .given_key_id = input->given_key_id,
        .deadline_mono_ns = input->deadline_mono_ns,
    };
    enum th_ternary here = know_this_host(input, &check);
    int r;

    read_domain(input, &check);
    check.outgoing = input->outgoing;
    request.domain = check.has_domain ? &check.domain : NULL;
    request.this_host = check.this_uuid;
    r = th_source_find(&request, &check.source);
    th_key_wipe(&check.domain.origin.key);
    if (r < 0) {
        return r;
    }
    know_both(here, &check);
    if (input->outgoing) {
        turn_around(&check.source, input->offline);
    }
    make_verdict(input, &check);
    check.took_ns = th_now_mono_ns() - began_ns;
    *ret_check = check;
    return 0;
}
