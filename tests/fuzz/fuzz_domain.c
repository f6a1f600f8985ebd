/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Domain XML of another host: what is read out of it, the stamp written and read back, and the
 * findings of the lint with their remedies. A remedy is put into the document, as a person would
 * do it, and the finding must then be gone.
 */
#include "fuzz.h"

#include <errno.h>

#include <libxml/parser.h>
#include <libxml/tree.h>

#include "timehandoff/lint.h"
#include "timehandoff/probe.h"

#define XML_FLAGS (XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_IGNORE_ENC)

static const xmlChar *as_xml(const char *text) {
    return (const xmlChar *)text;
}

/* ---- what is read ---- */

static void check_origin(const struct th_origin *origin) {
    th_auto_free char *xml = NULL;
    struct th_origin again;

    must(origin->n_addresses >= 1 && origin->n_addresses <= TH_ORIGIN_MAX_ADDRESSES);
    must(!th_uuid_is_none(&origin->uuid) && fuzz_is_line(origin->host));
    must(origin->key.id == 0 || origin->key.id & TH_KEY_DOMAIN_BIT);
    must(origin->since_ns >= 0);
    must(th_origin_format(origin, &xml) == 0 && th_origin_parse(xml, &again) == 0);
    must(strcmp(origin->host, again.host) == 0 && th_uuid_equal(&origin->uuid, &again.uuid));
    must(origin->since_ns == again.since_ns && origin->n_addresses == again.n_addresses);
    must(origin->key.id == again.key.id &&
         memcmp(origin->key.bytes, again.key.bytes, sizeof(again.key.bytes)) == 0);
    for (size_t i = 0; i < origin->n_addresses; i++) {
        char before[TH_ADDRESS_TEXT_SIZE], after[TH_ADDRESS_TEXT_SIZE];

        must(strcmp(th_address_format(&origin->addresses[i], before),
                    th_address_format(&again.addresses[i], after)) == 0);
    }
}

static void check_domain(const struct th_domain *domain) {
    const struct th_domain_policy *policy = &domain->policy;

    must(fuzz_is_line(domain->name) && fuzz_is_line(domain->complaint));
    if (domain->has_origin) {
        check_origin(&domain->origin);
    }
    must(policy->warn_ns >= -1 && policy->block_ns >= -1);
    must(policy->block_ns < 0 || policy->warn_ns <= policy->block_ns);
    must(domain->has_policy || (policy->warn_ns == -1 && policy->handoff == 0));
}

/* Also the stamp alone, as virDomainGetMetadata hands it out. */
static void check_stamp(const char *xml) {
    struct th_origin origin;

    if (th_origin_parse(xml, &origin) == 0) {
        check_origin(&origin);
    }
}

/* ---- remedies ---- */

/* Where the elements of remedies belong. */
static const char *const places[][4] = {
    {"domain"},
    {"clock", "domain"},
    {"timer", "clock", "domain"},
    {"kvm", "features", "domain"},
    {"hyperv", "features", "domain"},
    {"vpindex", "hyperv", "features", "domain"},
    {"synic", "hyperv", "features", "domain"},
    {"stimer", "hyperv", "features", "domain"},
    {"relaxed", "hyperv", "features", "domain"},
    {"hidden", "kvm", "features", "domain"},
    {"cpu", "domain"},
    {"feature", "cpu", "domain"},
    {"suspend-to-mem", "pm", "domain"},
    {"suspend-to-disk", "pm", "domain"},
    {"channel", "devices", "domain"},
    {"policy", "metadata", "domain"},
    {"commandline", "domain"},
};

static bool same_namespace(const xmlNode *a, const xmlNode *b) {
    return a->ns && b->ns ? xmlStrEqual(a->ns->href, b->ns->href) : a->ns == b->ns;
}

static bool is_plain(const xmlNode *node, const char *name) {
    return node->type == XML_ELEMENT_NODE && !node->ns && xmlStrEqual(node->name, as_xml(name));
}

static bool same_name(xmlNode *a, xmlNode *b) {
    xmlChar *first = xmlGetNoNsProp(a, as_xml("name")), *second = xmlGetNoNsProp(b, as_xml("name"));
    bool same = xmlStrEqual(first, second);

    xmlFree(first);
    xmlFree(second);
    return same;
}

/* Whether a remedy takes this element's place rather than to stand beside it. */
static bool is_replaced(xmlNode *node, xmlNode *remedy) {
    bool named =
        xmlStrEqual(remedy->name, as_xml("timer")) || xmlStrEqual(remedy->name, as_xml("feature"));
    bool added = xmlStrEqual(remedy->name, as_xml("channel")) ||
                 xmlStrEqual(remedy->name, as_xml("commandline"));

    return node->type == XML_ELEMENT_NODE && !added && xmlStrEqual(node->name, remedy->name) &&
           same_namespace(node, remedy) && (!named || same_name(node, remedy));
}

static void copy_attributes(xmlNode *node, xmlNode *remedy) {
    for (xmlAttr *next, *old = node->properties; old; old = next) {
        next = old->next;
        if (!old->ns) {
            (void)xmlRemoveProp(old);
        }
    }
    for (xmlAttr *new = remedy->properties; new; new = new->next) {
        xmlChar *value = xmlNodeGetContent((xmlNode *)new);

        (void)xmlNewProp(node, new->name, value);
        xmlFree(value);
    }
}

/* Puts it below a parent; returns whether it took the place of another. */
static bool put_below(xmlNode *parent, xmlNode *remedy) {
    bool done = false;

    for (xmlNode *next, *node = parent->children; node; node = next) {
        next = node->next;
        if (!is_replaced(node, remedy)) {
            continue;
        }
        /* There can be one policy only. */
        if (done && node->ns) {
            xmlUnlinkNode(node);
            xmlFreeNode(node);
            continue;
        }
        copy_attributes(node, remedy);
        done = true;
    }
    return done;
}

/* Every element along the path, the last name first; below the last, the remedy. */
static bool put_everywhere(xmlNode *node, const char *const *path, size_t depth, xmlNode *remedy) {
    bool done = false;

    if (depth == 0) {
        return put_below(node, remedy);
    }
    for (xmlNode *child = node->children; child; child = child->next) {
        if (is_plain(child, path[depth])) {
            done |= put_everywhere(child, path, depth - 1, remedy);
        }
    }
    return done;
}

/* The first element along the path, made where there is none. */
static xmlNode *make_parent(xmlNode *node, const char *const *path, size_t depth) {
    for (; depth > 0; depth--) {
        xmlNode *child = node->children;

        while (child && !is_plain(child, path[depth])) {
            child = child->next;
        }
        node = child ? child : xmlNewChild(node, NULL, as_xml(path[depth]), NULL);
    }
    return node;
}

static void put_one(xmlNode *root, xmlNode *remedy, const char *const *path) {
    size_t depth = 0;

    while (depth < 3 && path[depth + 1]) {
        depth++;
    }
    if (depth == 0) {
        copy_attributes(root, remedy);
    } else if (!put_everywhere(root, path, depth - 1, remedy)) {
        (void)xmlAddChild(make_parent(root, path, depth - 1), xmlDocCopyNode(remedy, root->doc, 1));
    }
}

static void put_remedy(xmlDoc *document, xmlNode *remedy) {
    xmlNode *root = xmlDocGetRootElement(document);

    for (size_t i = 0; i < TH_ELEMENTS(places); i++) {
        if (xmlStrEqual(remedy->name, as_xml(places[i][0]))) {
            put_one(root, remedy, places[i]);
            for (xmlNode *child = remedy->children; i > 0 && child; child = child->next) {
                put_remedy(document, child);
            }
            return;
        }
    }
}

/* The remedy's elements; what is only opened in it ("<clock offset='utc'>") is closed. */
static xmlDoc *parse_remedy(const char *line) {
    static const char form[] = "<x xmlns:th='" TH_DOMAIN_NAMESPACE "' xmlns:qemu='"
                               "http://libvirt.org/schemas/domain/qemu/1.0'>%.*s%s</x>";
    int length = (int)strlen(line);
    char text[1024];
    xmlDoc *document;

    must(snprintf(text, sizeof(text), form, length, line, "") < (int)sizeof(text));
    document = xmlReadMemory(text, (int)strlen(text), NULL, NULL, XML_FLAGS);
    if (!document) {
        (void)snprintf(text, sizeof(text), form, length - 1, line, "/>");
        document = xmlReadMemory(text, (int)strlen(text), NULL, NULL, XML_FLAGS);
    }
    must(document);
    return document;
}

static bool is_found(const char *xml, size_t size, const char *id) {
    struct th_lint_finding findings[TH_LINT_MAX_FINDINGS];
    struct th_guest_facts facts;
    char error[160];
    size_t n;

    must(th_guest_facts_read(xml, size, &facts, error, sizeof(error)) == 0);
    n = th_lint_find(&facts, findings);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(findings[i].id, id) == 0) {
            return true;
        }
    }
    return false;
}

static void check_remedy(const char *xml, size_t size, const struct th_lint_finding *finding) {
    xmlDoc *document = xmlReadMemory(xml, (int)size, NULL, NULL, XML_FLAGS);
    xmlDoc *remedy = parse_remedy(finding->line);
    xmlChar *text = NULL;
    int length = 0;

    /* A tree has a limit of depth; a reader that builds none has not. */
    if (document) {
        for (xmlNode *node = xmlDocGetRootElement(remedy)->children; node; node = node->next) {
            put_remedy(document, node);
        }
        xmlDocDumpMemoryEnc(document, &text, &length, "UTF-8");
        if (!text || is_found((const char *)text, (size_t)length, finding->id)) {
            fuzz_stop(__FILE__, __LINE__, finding->id);
        }
    }
    xmlFree(text);
    xmlFreeDoc(remedy);
    xmlFreeDoc(document);
}

/* ---- the lint ---- */

/* What is to be taken out by hand has no line that would do it. */
static bool has_remedy(const struct th_lint_finding *finding) {
    return finding->line[0] != '\0' && strcmp(finding->id, "qemu-rtc-argument") != 0;
}

static void check_report(const struct th_guest_facts *facts, const struct th_lint_finding *findings,
                         size_t n) {
    char *text = NULL, *json = NULL;
    size_t text_size = 0, json_size = 0;
    FILE *out = open_memstream(&text, &text_size);

    must(out);
    th_report_lint_text(facts, findings, n, out);
    must(fclose(out) == 0 && fuzz_is_text(text));
    out = open_memstream(&json, &json_size);
    must(out && th_report_lint_json(facts, findings, n, out) == 0 && fclose(out) == 0);
    must(fuzz_is_json(json, json_size));
    free(text);
    free(json);
}

static void check_lint(const char *xml, size_t size, const struct th_guest_facts *facts) {
    struct th_lint_finding findings[TH_LINT_MAX_FINDINGS];
    size_t n = th_lint_find(facts, findings);

    for (size_t i = 0; i < n; i++) {
        must(findings[i].why[0] != '\0' && fuzz_is_line(findings[i].why));
        must(findings[i].severity >= TH_LINT_ERROR && findings[i].severity <= TH_LINT_HINT);
        must(i == 0 || findings[i].severity >= findings[i - 1].severity);
    }
    check_report(facts, findings, n);
    /* One of them: each costs three readings. */
    if (n > 0 && has_remedy(&findings[size % n])) {
        check_remedy(xml, size, &findings[size % n]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_bytes input = {data, size};
    const char *xml = (const char *)data;
    struct th_guest_facts facts;
    struct th_domain domain;
    char error[160] = "", words[160] = "";
    int r = th_domain_parse(xml, size, &domain, error, sizeof(error));

    if (r < 0) {
        must(r == -EBADMSG && *error && fuzz_is_line(error));
        must(th_guest_facts_read(xml, size, &facts, words, sizeof(words)) == r);
    } else {
        check_domain(&domain);
        r = th_guest_facts_read(xml, size, &facts, words, sizeof(words));
        must(r == 0 || (r == -EBADMSG && *words));
        if (r == 0) {
            must(strcmp(domain.name, facts.name) == 0);
            check_lint(xml, size, &facts);
        }
    }
    th_auto_free char *text = fuzz_text(&input);

    check_stamp(text);
    return 0;
}
