/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a domain's XML says to us: name, UUID, whether there is an agent channel, and two elements
 * in its metadata: the per-domain policy, which people write, and the origin stamp, which the
 * daemon writes. The XML may come from another host or another manager: it is hostile input.
 *
 * The two have a namespace each, because virDomainSetMetadata replaces every element of the
 * namespace that it is given: in one namespace, each new stamp would delete the policy.
 */
#ifndef TIMEHANDOFF_DOMAIN_H
#define TIMEHANDOFF_DOMAIN_H

#include <sys/socket.h>

#include "timehandoff/base.h"
#include "timehandoff/key.h"

#define TH_DOMAIN_NAMESPACE "urn:timehandoff:1" /* <th:policy> */
#define TH_DOMAIN_PREFIX "th"
#define TH_ORIGIN_NAMESPACE "urn:timehandoff:origin:1" /* <tho:origin> */
#define TH_ORIGIN_PREFIX "tho"
#define TH_ORIGIN_MAX_ADDRESSES 8
#define TH_DOMAIN_XML_MAX_SIZE (32u << 20)
/* libvirt's own elements have a dozen at most; libxml2 may need time quadratic in this number. */
#define TH_DOMAIN_XML_MAX_ATTRIBUTES 128

/*
 * The origin stamp: which host runs the domain, whom to ask there, and under which key. Example
 * (one line in the XML):
 * <tho:origin xmlns:tho="urn:timehandoff:origin:1" host="hv1" uuid="…" since="1764000000000000000"
 *   key-id="3735928559" key="HEX:…"><tho:address>10.0.0.1:10123</tho:address></tho:origin>
 * A stamp needs a UUID and 1 to 8 usable addresses (no multicast, broadcast or unspecified address,
 * no port 0); key-id and key come together or not at all, key-id has TH_KEY_DOMAIN_BIT and key is
 * "HEX:" and 32 digits (AES128).
 */
struct th_origin {
    char host[64]; /* for people; cleaned */
    struct th_uuid uuid;
    int64_t since_ns;  /* the origin's clock when it was stamped; 0: not said */
    struct th_key key; /* key.id 0: none */
    size_t n_addresses;
    struct sockaddr_storage addresses[TH_ORIGIN_MAX_ADDRESSES]; /* numeric, with port */
};

/* What to do with a guest's clock. */
enum th_handoff_mode { TH_HANDOFF_STEP = 1, TH_HANDOFF_REPORT, TH_HANDOFF_OFF };

/* "step", "report", "off". Never NULL; the reverse is 0 for anything else. */
const char *th_handoff_mode_name(enum th_handoff_mode mode);
enum th_handoff_mode th_handoff_mode_parse(const char *text);

/* What a domain's policy element overrides; -1, 0 or TH_UNKNOWN: not said. Example:
 * <th:policy xmlns:th="urn:timehandoff:1" warn="1ms" block="5ms" handoff="report" backward="no"/>
 */
struct th_domain_policy {
    int64_t warn_ns;
    int64_t block_ns;
    enum th_handoff_mode handoff;
    enum th_ternary backward;
};

struct th_domain {
    char name[256];      /* cleaned, cut if it is longer; "" if the XML has none */
    struct th_uuid uuid; /* none if the XML has none, or a broken one */
    bool has_agent;      /* a channel named org.qemu.guest_agent.0 */
    bool has_origin;
    struct th_origin origin;
    bool has_policy;
    struct th_domain_policy policy;
    char complaint[160]; /* what was ignored in our elements, and why; "" if nothing */
};

/* Fills policy with "nothing said". */
void th_domain_policy_init(struct th_domain_policy *policy);

/*
 * Reads domain XML of size bytes (at most TH_DOMAIN_XML_MAX_SIZE) as UTF-8, whatever encoding it
 * declares. No entity is expanded, no file and no network is touched, nothing is printed; a
 * document with a DTD is refused, and one with more than TH_DOMAIN_XML_MAX_ATTRIBUTES attributes in
 * one element. Our elements count directly below /domain/metadata only. A stamp or policy that is
 * broken, or there twice, is left out whole and named in complaint; unknown attributes and elements
 * of our namespaces are named there too, and otherwise ignored. The complaint holds no key.
 *
 * Returns 0; -EBADMSG with one line (our words, never the XML's) in ret_error; -EFBIG, described
 * there as well, if the XML is too large; or -ENOMEM. The caller wipes ret_domain->origin.key.
 */
int th_domain_parse(const char *xml, size_t size, struct th_domain *ret_domain, char *ret_error,
                    size_t error_size);

/*
 * Writes the origin element as virDomainSetMetadata takes it: without prefix and namespace, since
 * libvirt adds those given as key (TH_ORIGIN_PREFIX) and uri (TH_ORIGIN_NAMESPACE) and refuses an
 * element that declares the prefix itself. The caller wipes and frees the text: it holds the key.
 * Returns 0; -EINVAL if th_origin_parse would not take it back; or -ENOMEM.
 */
int th_origin_format(const struct th_origin *origin, char **ret_xml);
/* Reads one such element as virDomainGetMetadata gives it: in no namespace or in its own. 0,
 * -EBADMSG or -ENOMEM. Unknown attributes are ignored. */
int th_origin_parse(const char *xml, struct th_origin *ret_origin);

#endif
