/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Domain XML, read for the few things that matter here. Position is everything: an element counts
 * only where libvirt itself would look for it, so that foreign metadata, however it is named, can't
 * pose as the domain's name or as a stamp.
 *
 * What the caller may rely on: every text in the result is cleaned and terminated, a stamp is there
 * only whole, and nothing is changed where the document is refused.
 */
#include "timehandoff/domain.h"

#include <string.h>

#include "domain/domain_policy.h"
#include "domain/origin.h"
#include "domain/xml.h"

#define AGENT_CHANNEL "org.qemu.guest_agent.0"
#define DEEPEST 4

/* Where we are. */
enum place {
    ELSEWHERE = 0,
    AT_TOP,
    AT_DOMAIN,
    AT_NAME,
    AT_UUID,
    AT_METADATA,
    AT_DEVICES,
    AT_CHANNEL,
    AT_TARGET,
    AT_ORIGIN,
    AT_ADDRESS,
    AT_POLICY,
};

static const struct th_xml_step steps[] = {
    {AT_TOP, NULL, "domain", AT_DOMAIN},
    {AT_DOMAIN, NULL, "name", AT_NAME},
    {AT_DOMAIN, NULL, "uuid", AT_UUID},
    {AT_DOMAIN, NULL, "metadata", AT_METADATA},
    {AT_DOMAIN, NULL, "devices", AT_DEVICES},
    {AT_DEVICES, NULL, "channel", AT_CHANNEL},
    {AT_CHANNEL, NULL, "target", AT_TARGET},
    {AT_METADATA, TH_ORIGIN_NAMESPACE, "origin", AT_ORIGIN},
    {AT_METADATA, TH_DOMAIN_NAMESPACE, "policy", AT_POLICY},
    {AT_ORIGIN, TH_ORIGIN_NAMESPACE, "address", AT_ADDRESS},
};

struct reader {
    enum place places[DEEPEST + 1]; /* by depth; [0] is above the root */
    unsigned depth;
    struct th_domain domain;
    struct th_complaint complaint;
    struct th_xml_text text; /* of the name or UUID being read */
    unsigned n_names, n_uuids, n_origins, n_policies;
    struct th_origin_reader origin; /* the last one */
};

static void enter(struct reader *reader, enum place place,
                  const struct th_xml_attributes *attributes) {
    if (place == AT_NAME || place == AT_UUID) {
        reader->text = (struct th_xml_text){.size = 0};
    } else if (place == AT_TARGET) {
        reader->domain.has_agent |= th_xml_attribute_is(attributes, "name", AGENT_CHANNEL);
    } else if (place == AT_ORIGIN) {
        reader->n_origins++;
        th_origin_reader_open(&reader->origin, attributes, &reader->complaint);
    } else if (place == AT_POLICY) {
        reader->n_policies++;
        reader->domain.has_policy =
            th_domain_policy_read(&reader->domain.policy, attributes, &reader->complaint);
    }
}

/* A misspelt element of ours would otherwise be a policy that silently isn't there. */
static void complain_unknown(struct reader *reader, enum place from, const char *uri,
                             const char *name) {
    bool ours = th_xml_uri_is(uri, TH_DOMAIN_NAMESPACE) || th_xml_uri_is(uri, TH_ORIGIN_NAMESPACE);

    if (ours && (from == AT_METADATA || from == AT_ORIGIN || from == AT_POLICY)) {
        th_complaint_add(&reader->complaint, "unknown element '%.32s'", name);
    }
}

static bool on_open(void *userdata, unsigned depth, const char *uri, const char *name,
                    const struct th_xml_attributes *attributes) {
    struct reader *reader = userdata;
    enum place from, place;

    reader->depth = depth;
    if (depth > DEEPEST) {
        return true;
    }
    from = reader->places[depth - 1];
    place = (enum place)th_xml_step_to(steps, TH_ELEMENTS(steps), from, uri, name);
    reader->places[depth] = place;
    if (place == ELSEWHERE) {
        complain_unknown(reader, from, uri, name);
    }
    enter(reader, place, attributes);
    return depth > 1 || place == AT_DOMAIN;
}

static enum place current_place(const struct reader *reader) {
    return reader->depth <= DEEPEST ? reader->places[reader->depth] : ELSEWHERE;
}

static void on_text(void *userdata, const char *bytes, size_t size) {
    struct reader *reader = userdata;
    enum place place = current_place(reader);

    if (place == AT_NAME || place == AT_UUID) {
        th_xml_text_add(&reader->text, bytes, size);
    } else if (place == AT_ADDRESS) {
        th_xml_text_add(&reader->origin.address, bytes, size);
    }
}

static void leave_uuid(struct reader *reader) {
    if (reader->text.cut ||
        th_uuid_parse(th_xml_text_trim(&reader->text), &reader->domain.uuid) < 0) {
        memset(&reader->domain.uuid, 0, sizeof(reader->domain.uuid));
    }
}

/* libvirt takes the first name and the first UUID, should there ever be more. */
static void leave(struct reader *reader, enum place place) {
    struct th_domain *domain = &reader->domain;

    if (place == AT_NAME && reader->n_names++ == 0) {
        th_text_clean(reader->text.bytes, domain->name, sizeof(domain->name));
    } else if (place == AT_UUID && reader->n_uuids++ == 0) {
        leave_uuid(reader);
    } else if (place == AT_ADDRESS) {
        th_origin_reader_address(&reader->origin, &reader->complaint);
    } else if (place == AT_ORIGIN) {
        domain->has_origin = th_origin_reader_close(&reader->origin, &reader->complaint);
    }
}

static void on_close(void *userdata, unsigned depth) {
    struct reader *reader = userdata;

    if (depth <= DEEPEST) {
        leave(reader, reader->places[depth]);
    }
    reader->depth = depth - 1;
}

/* libvirt keeps one element of each namespace, so a second one is somebody's mistake or trick;
 * which of the two was meant, nobody knows. */
static void finish(struct reader *reader) {
    struct th_domain *domain = &reader->domain;

    if (reader->n_origins > 1) {
        th_complaint_add(&reader->complaint, "origin ignored: there are %u", reader->n_origins);
        domain->has_origin = false;
    }
    if (reader->n_policies > 1) {
        th_complaint_add(&reader->complaint, "policy ignored: there are %u", reader->n_policies);
        th_domain_policy_init(&domain->policy);
        domain->has_policy = false;
    }
    if (domain->has_origin) {
        domain->origin = reader->origin.origin;
    }
}

int th_domain_parse(const char *xml, size_t size, struct th_domain *ret_domain, char *ret_error,
                    size_t error_size) {
    static const struct th_xml_ops ops = {on_open, on_text, on_close, "domain"};
    struct reader reader = {.places = {AT_TOP}};
    int r;

    reader.complaint =
        (struct th_complaint){reader.domain.complaint, sizeof(reader.domain.complaint)};
    th_domain_policy_init(&reader.domain.policy);
    r = th_xml_read(xml, size, &ops, &reader, ret_error, error_size);
    if (r == 0) {
        finish(&reader);
        *ret_domain = reader.domain;
    }
    th_key_wipe(&reader.origin.origin.key);
    th_key_wipe(&reader.domain.origin.key);
    return r;
}
