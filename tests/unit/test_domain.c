/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Domain XML, good and hostile. Cases named y_ are accepted, those named n_ are refused; whatever
 * the bytes, nothing is read from disk, nothing is printed, and the time taken stays small.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "domain/xml.h"
#include "seeded.h"
#include "timehandoff/domain.h"
#include "timehandoff/probe.h"

#define UUID "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
#define KEY "00112233445566778899aabbccddeeff"
#define TH "xmlns:th='urn:timehandoff:1'"
#define THO "xmlns:tho='urn:timehandoff:origin:1'"
#define ORIGIN                                                                                     \
    "<tho:origin " THO " host='hv1' uuid='" UUID "' since='1764000000000000000'"                   \
    " key-id='3735928559' key='HEX:" KEY "'>"                                                      \
    "<tho:address>10.0.0.1:10123</tho:address><tho:address>[fd00::1]:10124</tho:address>"          \
    "</tho:origin>"
#define POLICY "<th:policy " TH " warn='1ms' block='5ms' handoff='report' backward='yes'/>"
#define AROUND(metadata)                                                                           \
    "<domain type='kvm'><name>web1</name><uuid>" UUID "</uuid><metadata>" metadata                 \
    "</metadata><devices/></domain>"

static const char full[] =
    "<?xml version='1.0' encoding='UTF-8'?>\n"
    "<!-- > '\" <domain> -->\n"
    "<domain type='kvm' id='3'>\n <name>web1</name>\n <uuid>" UUID "</uuid>\n"
    " <metadata>\n  <x:other xmlns:x='urn:x'><name>no</name></x:other>\n  " POLICY "\n  " ORIGIN
    "\n </metadata>\n <memory unit='KiB'>1024</memory>\n"
    " <devices>\n  <channel type='unix'>\n   <source mode='bind' path='/a&amp;b'/>\n"
    "   <target type='virtio' name='org.qemu.guest_agent.0'/>\n  </channel>\n </devices>\n"
    "</domain>\n";

static int parse(const char *xml, struct th_domain *ret_domain) {
    char error[160] = "";
    int r = th_domain_parse(xml, strlen(xml), ret_domain, error, sizeof(error));

    assert_true(r == 0 || error[0] != '\0');
    return r;
}

static struct th_domain must_parse(const char *xml) {
    struct th_domain domain;

    memset(&domain, 0x5a, sizeof(domain));
    assert_int_equal(parse(xml, &domain), 0);
    return domain;
}

static void is_uuid(const struct th_uuid *uuid, const char *wanted) {
    char text[TH_UUID_TEXT_SIZE];

    assert_string_equal(th_uuid_format(uuid, text), wanted);
}

static void is_address(const struct sockaddr_storage *address, const char *wanted) {
    char text[TH_ADDRESS_TEXT_SIZE];

    assert_string_equal(th_address_format(address, text), wanted);
}

/* ---- what is read ---- */

static void y_full(void **state) {
    struct th_domain domain = must_parse(full);
    char hex[33];

    (void)state;
    assert_string_equal(domain.name, "web1");
    is_uuid(&domain.uuid, UUID);
    assert_true(domain.has_agent);
    assert_string_equal(domain.complaint, "");
    assert_true(domain.has_policy);
    assert_int_equal(domain.policy.warn_ns, TH_NS_PER_MS);
    assert_int_equal(domain.policy.block_ns, 5 * TH_NS_PER_MS);
    assert_int_equal(domain.policy.handoff, TH_HANDOFF_REPORT);
    assert_int_equal(domain.policy.backward, TH_YES);
    assert_true(domain.has_origin);
    assert_string_equal(domain.origin.host, "hv1");
    is_uuid(&domain.origin.uuid, UUID);
    assert_int_equal(domain.origin.since_ns, INT64_C(1764000000000000000));
    assert_int_equal(domain.origin.key.id, 3735928559u);
    assert_int_equal(domain.origin.key.type, TH_KEY_AES128);
    assert_string_equal(th_hex_encode(domain.origin.key.bytes, 16, hex), KEY);
    assert_int_equal(domain.origin.n_addresses, 2);
    is_address(&domain.origin.addresses[0], "10.0.0.1:10123");
    is_address(&domain.origin.addresses[1], "[fd00::1]:10124");
}

static void y_least(void **state) {
    struct th_domain domain = must_parse("<domain/>");

    (void)state;
    assert_string_equal(domain.name, "");
    assert_true(th_uuid_is_none(&domain.uuid));
    assert_false(domain.has_agent || domain.has_origin || domain.has_policy);
    assert_int_equal(domain.policy.warn_ns, -1);
    assert_int_equal(domain.policy.block_ns, -1);
}

static void y_names(void **state) {
    static const struct {
        const char *xml, *name;
    } cases[] = {
        {"<domain><name>Gr\xc3\xbc\xc3\x9f \xe2\x82\xac</name></domain>",
         "Gr\xc3\xbc\xc3\x9f \xe2\x82\xac"},
        {"<domain><name>a&amp;b&lt;c&gt;&quot;&apos;</name></domain>", "a&b<c>\"'"},
        {"<domain><name><![CDATA[a<b>]]>c</name></domain>", "a<b>c"},
        {"<domain><name>a&#10;b</name></domain>", "a?b"},
        {"<domain><name>-rf</name></domain>", "-rf"},
        {"<domain><name>one</name><name>two</name></domain>", "one"},
        {"<domain><x><name>deep</name></x></domain>", ""},
        {"<domain><name xmlns='urn:x'>foreign</name></domain>", ""},
        {"<domain><name>a<b>inner</b>c</name></domain>", "ac"},
        {"<domain><title>t</title><metadata><name>m</name></metadata></domain>", ""},
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        assert_string_equal(must_parse(cases[i].xml).name, cases[i].name);
    }
}

static void y_name_cut(void **state) {
    for (size_t length = 250; length < 1100; length++) {
        char xml[1200] = "<domain><name>";
        struct th_domain domain;

        memset(xml + 14, 'x', length);
        strcpy(xml + 14 + length, "</name></domain>");
        domain = must_parse(xml);
        assert_int_equal(strlen(domain.name), length < 255 ? length : 255);
    }
    (void)state;
}

static void y_broken_uuid_is_none(void **state) {
    struct th_domain domain = must_parse("<domain><uuid>what</uuid></domain>");

    (void)state;
    assert_true(th_uuid_is_none(&domain.uuid));
    domain = must_parse("<domain><uuid>\n " UUID "\n</uuid></domain>");
    is_uuid(&domain.uuid, UUID);
}

static void y_agent_only_where_it_counts(void **state) {
    static const struct {
        const char *xml;
        bool has_agent;
    } cases[] = {
        {"<domain><devices><channel><target name='org.qemu.guest_agent.0'/></channel></devices>"
         "</domain>",
         true},
        {"<domain><devices><channel><target name='a'/></channel><channel><target type='virtio' "
         "name='org.qemu.guest_agent.0'/></channel><channel><target name='b'/></channel></devices>"
         "</domain>",
         true},
        {"<domain><devices><channel><target name='org.qemu.guest_agent.01'/></channel></devices>"
         "</domain>",
         false},
        {"<domain><devices><channel name='org.qemu.guest_agent.0'/></devices></domain>", false},
        {"<domain><metadata><channel><target name='org.qemu.guest_agent.0'/></channel></metadata>"
         "</domain>",
         false},
        {"<domain><devices><disk><target name='org.qemu.guest_agent.0'/></disk></devices></domain>",
         false},
        {"<domain><devices><channel><a><target name='org.qemu.guest_agent.0'/></a></channel>"
         "</devices></domain>",
         false},
        {"<domain xmlns:x='urn:x'><devices><channel><target x:name='org.qemu.guest_agent.0'/>"
         "</channel></devices></domain>",
         false},
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        assert_int_equal(must_parse(cases[i].xml).has_agent, cases[i].has_agent);
    }
}

/* ---- our elements ---- */

static void y_any_prefix(void **state) {
    struct th_domain domain =
        must_parse(AROUND("<policy xmlns='urn:timehandoff:1' warn='2ms'/>"
                          "<q:origin xmlns:q='urn:timehandoff:origin:1' uuid='" UUID "'>"
                          "<z:address xmlns:z='urn:timehandoff:origin:1'> 10.1.2.3 </z:address>"
                          "</q:origin>"));

    (void)state;
    assert_true(domain.has_policy && domain.has_origin);
    assert_int_equal(domain.policy.warn_ns, 2 * TH_NS_PER_MS);
    assert_int_equal(domain.origin.key.id, 0);
    assert_int_equal(domain.origin.since_ns, 0);
    is_address(&domain.origin.addresses[0], "10.1.2.3:10123");
}

static void y_elsewhere_is_foreign(void **state) {
    static const char *const cases[] = {
        AROUND("<x:a xmlns:x='urn:x'>" ORIGIN POLICY "</x:a>"),
        AROUND("<policy warn='1ms'/><origin uuid='" UUID "'/>"),
        AROUND("<th:policy xmlns:th='urn:timehandoff:2' warn='1ms'/>"),
        AROUND("<th:policy xmlns:th='urn:timehandoff:1x' warn='1ms'/>"),
        "<domain>" ORIGIN POLICY "</domain>",
        "<domain><devices>" ORIGIN POLICY "</devices></domain>",
        "<domain><metadata xmlns='urn:x'>" ORIGIN POLICY "</metadata></domain>",
        "<domain><x><metadata>" ORIGIN POLICY "</metadata></x></domain>",
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        struct th_domain domain = must_parse(cases[i]);

        assert_false(domain.has_origin || domain.has_policy);
        assert_string_equal(domain.complaint, "");
    }
}

/* One of our elements is left out whole, or used with a word about it; the domain is read. */
static void y_complaints(void **state) {
    static const struct {
        const char *xml;
        bool has_origin, has_policy;
        const char *words;
    } cases[] = {
        {AROUND(ORIGIN ORIGIN POLICY), false, true, "origin ignored: there are 2"},
        {AROUND(ORIGIN POLICY POLICY), true, false, "policy ignored: there are 2"},
        {AROUND("<th:policy " TH " warn='6ms' block='5ms'/>"), false, false, "greater than block"},
        {AROUND("<th:policy " TH " warn='5ms' block='5ms'/>"), false, true, ""},
        {AROUND("<th:policy " TH " block='5'/>"), false, false, "block is not a duration"},
        {AROUND("<th:policy " TH " warn='-1ms'/>"), false, false, "warn is not a duration"},
        {AROUND("<th:policy " TH " handoff='Step'/>"), false, false, "handoff is not step"},
        {AROUND("<th:policy " TH " backward='unknown'/>"), false, false, "backward is not yes"},
        {AROUND("<th:policy " TH " backward=''/>"), false, false, "backward is not yes"},
        {AROUND("<th:policy " TH " blok='5ms'/>"), false, true, "unknown attribute 'blok'"},
        {AROUND("<th:policy " TH " xml:lang='de'/>"), false, true, ""},
        {AROUND("<th:polisy " TH "/>"), false, false, "unknown element 'polisy'"},
        {AROUND("<th:origin " TH "/>"), false, false, "unknown element 'origin'"},
        {AROUND("<tho:origin " THO " uuid='" UUID "'/>"), false, false, "no address"},
        {AROUND("<tho:origin " THO "><tho:address>10.0.0.1</tho:address></tho:origin>"), false,
         false, "no UUID"},
        {AROUND("<tho:origin " THO " uuid='x'/>"), false, false, "uuid is not a UUID"},
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        struct th_domain domain = must_parse(cases[i].xml);

        assert_int_equal(domain.has_origin, cases[i].has_origin);
        assert_int_equal(domain.has_policy, cases[i].has_policy);
        if (!strstr(domain.complaint, cases[i].words) ||
            (cases[i].words[0] == '\0') != (domain.complaint[0] == '\0')) {
            fail_msg("case %zu: '%s'", i, domain.complaint);
        }
    }
}

static void y_half_a_policy_is_none(void **state) {
    struct th_domain domain = must_parse(AROUND("<th:policy " TH " warn='1ms' block='soon'/>"));

    (void)state;
    assert_int_equal(domain.policy.warn_ns, -1);
    assert_int_equal(domain.policy.block_ns, -1);
}

static void n_stamps(void **state) {
    static const char *const addresses[] = {
        "",           "hv1:10123",       "10.0.0.1:0",    "10.0.0.1:65536",  "0.0.0.0:1",
        "224.0.0.1",  "255.255.255.255", "[::]:10123",    "[ff02::1]:10123", "0.1.2.3",
        "10.0.0.256", "10.0.0.1 x",      "10.0.0.1:1 :2", "240.0.0.1",       "[::ffff:224.0.0.1]:1",
    };
    static const char *const attributes[] = {
        "key-id='3735928559'",
        "key='HEX:" KEY "'",
        "key-id='1' key='HEX:" KEY "'",
        "key-id='2147483647' key='HEX:" KEY "'",
        "key-id='4294967296' key='HEX:" KEY "'",
        "key-id='-559038737' key='HEX:" KEY "'",
        "key-id=' 3735928559' key='HEX:" KEY "'",
        "key-id='3735928559x' key='HEX:" KEY "'",
        "key-id='3735928559' key='" KEY "'",
        "key-id='3735928559' key='HEX:" KEY "0'",
        "key-id='3735928559' key='HEX:" KEY KEY "'",
        "key-id='3735928559' key='HEX:'",
        "since='-1'",
        "since='9223372036854775808'",
        "since='now'",
    };
    char xml[1024];

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(addresses); i++) {
        struct th_origin origin;

        snprintf(xml, sizeof(xml), "<origin uuid='" UUID "'><address>%s</address></origin>",
                 addresses[i]);
        if (th_origin_parse(xml, &origin) != -EBADMSG) {
            fail_msg("address '%s' was accepted", addresses[i]);
        }
    }
    for (size_t i = 0; i < TH_ELEMENTS(attributes); i++) {
        struct th_origin origin;

        snprintf(xml, sizeof(xml),
                 "<origin uuid='" UUID "' %s><address>10.0.0.1</address></origin>", attributes[i]);
        if (th_origin_parse(xml, &origin) != -EBADMSG) {
            fail_msg("attributes %s were accepted", attributes[i]);
        }
    }
}

static void n_too_many_addresses(void **state) {
    struct th_origin origin;
    char xml[1024];

    (void)state;
    for (unsigned n = 8; n <= 9; n++) {
        int used = snprintf(xml, sizeof(xml), "<origin uuid='" UUID "'>");

        for (unsigned i = 0; i < n; i++) {
            used +=
                snprintf(xml + used, sizeof(xml) - (size_t)used, "<address>10.0.0.%u</address>", i);
        }
        snprintf(xml + used, sizeof(xml) - (size_t)used, "</origin>");
        assert_int_equal(th_origin_parse(xml, &origin), n == 8 ? 0 : -EBADMSG);
    }
}

/* However a stamp is broken, no digit of its key gets into words. */
static void y_complaint_holds_no_key(void **state) {
    static const char *const cases[] = {
        AROUND("<tho:origin " THO " uuid='" UUID "' key='HEX:" KEY "'/>"),
        AROUND("<tho:origin " THO " uuid='" UUID "' key-id='1' key='HEX:" KEY "'/>"),
        AROUND("<tho:origin " THO " uuid='" UUID "' key-id='3735928559' key='" KEY "'/>"),
        AROUND("<tho:origin " THO " uuid='" UUID "' kee='HEX:" KEY "'/>"),
        AROUND("<tho:origin " THO " uuid='" UUID "' key-id='" KEY "'/>"),
        AROUND("<tho:origin " THO "><tho:address>" KEY "</tho:address></tho:origin>"),
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        struct th_domain domain = must_parse(cases[i]);

        assert_string_not_equal(domain.complaint, "");
        assert_null(strstr(domain.complaint, "0011"));
        assert_false(domain.has_origin);
    }
}

/* ---- writing ---- */

static struct th_origin make_origin(void) {
    struct th_origin origin = {.since_ns = 5, .n_addresses = 2};

    assert_int_equal(th_uuid_parse(UUID, &origin.uuid), 0);
    assert_int_equal(th_address_parse("192.0.2.7", 123, &origin.addresses[0]), 0);
    assert_int_equal(th_address_parse("[2001:db8::7]:9", 123, &origin.addresses[1]), 0);
    assert_int_equal(th_key_random(&origin.key), 0);
    return origin;
}

static void y_round_trip(void **state) {
    static const char *const hosts[] = {"",      "hv1",          "a\"b'c<d>e&f",       "&#38;&amp;",
                                        "]]>",   " edges ",      "Gr\xc3\xbc\xc3\x9f", "--><x/>",
                                        "%s%n%", "\"><evil a=\""};

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(hosts); i++) {
        struct th_origin origin = make_origin(), back;
        char document[2048];
        struct th_domain domain;
        char *xml = NULL;

        strcpy(origin.host, hosts[i]);
        assert_int_equal(th_origin_format(&origin, &xml), 0);
        assert_null(strchr(xml, '\n'));
        assert_null(strstr(xml, "xmlns"));
        assert_int_equal(th_origin_parse(xml, &back), 0);
        assert_string_equal(back.host, hosts[i]);
        assert_true(th_uuid_equal(&back.uuid, &origin.uuid));
        assert_int_equal(back.since_ns, 5);
        assert_int_equal(back.key.id, origin.key.id);
        assert_memory_equal(back.key.bytes, origin.key.bytes, 16);
        assert_int_equal(back.n_addresses, 2);
        is_address(&back.addresses[0], "192.0.2.7:123");
        is_address(&back.addresses[1], "[2001:db8::7]:9");

        /* As libvirt would put it into a document: in our namespace. */
        snprintf(
            document, sizeof(document),
            "<domain><metadata><origin xmlns='urn:timehandoff:origin:1' %s</metadata></domain>",
            xml + strlen("<origin "));
        domain = must_parse(document);
        assert_true(domain.has_origin);
        assert_string_equal(domain.origin.host, hosts[i]);
        free(xml);
    }
}

static void n_unreadable_stamps_are_not_written(void **state) {
    struct th_origin origin = make_origin();
    char *xml = NULL;

    (void)state;
    origin.n_addresses = 0;
    assert_int_equal(th_origin_format(&origin, &xml), -EINVAL);
    origin = make_origin();
    memset(&origin.uuid, 0, sizeof(origin.uuid));
    assert_int_equal(th_origin_format(&origin, &xml), -EINVAL);
    origin = make_origin();
    origin.key.type = TH_KEY_AES256;
    assert_int_equal(th_origin_format(&origin, &xml), -EINVAL);
    origin = make_origin();
    origin.key.id = 7;
    assert_int_equal(th_origin_format(&origin, &xml), -EINVAL);
    origin = make_origin();
    origin.n_addresses = 9;
    assert_int_equal(th_origin_format(&origin, &xml), -EINVAL);
    assert_null(xml);
}

static void mode_names(void **state) {
    (void)state;
    for (enum th_handoff_mode mode = TH_HANDOFF_STEP; mode <= TH_HANDOFF_OFF; mode++) {
        assert_int_equal(th_handoff_mode_parse(th_handoff_mode_name(mode)), mode);
    }
    assert_int_equal(th_handoff_mode_parse("on"), 0);
    assert_int_equal(th_handoff_mode_parse(""), 0);
    assert_string_equal(th_handoff_mode_name(0), "unknown");
    assert_string_equal(th_handoff_mode_name(TH_HANDOFF_OFF + 1), "unknown");
}

/* ---- hostile documents ---- */

static const char *const refused[] = {
    "",
    " ",
    "domain",
    "<domain>",
    "<domain",
    "<domain a=\"",
    "</domain>",
    "<domain></domai>",
    "<domain/><domain/>",
    "<domain/>x",
    "<network/>",
    "<domain xmlns='urn:x'/>",
    "<x:domain xmlns:x='urn:x'/>",
    "<y:domain/>",
    "<domain a='1' a='2'/>",
    "<domain>&unknown;</domain>",
    "<domain>&#0;</domain>",
    "<domain>\x01</domain>",
    "<domain><name>\xff\xfe</name></domain>",
    "<domain><metadata><th:policy warn='1ms'/></metadata></domain>",
    "<!DOCTYPE domain><domain/>",
    "<!DOCTYPE domain SYSTEM 'file:///etc/hostname'><domain/>",
    "<!DOCTYPE domain PUBLIC 'a' 'http://127.0.0.1:9/x'><domain/>",
    "<!DOCTYPE domain [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>"
    "<domain><name>&x;</name></domain>",
    "<!DOCTYPE domain [<!ENTITY % x SYSTEM 'file:///etc/passwd'>%x;]><domain/>",
    "<!DOCTYPE domain [<!ATTLIST domain a CDATA 'b'>]><domain/>",
    "<?xml version='1.0'?>\n<!-- c -->\n<!DOCTYPE domain [<!ENTITY x 'y'>]>"
    "<domain><name>&x;</name></domain>",
    "<!DOCTYPE d [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;'>"
    "<!ENTITY c '&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;'><!ENTITY d '&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;'>"
    "<!ENTITY e '&d;&d;&d;&d;&d;&d;&d;&d;&d;&d;'><!ENTITY f '&e;&e;&e;&e;&e;&e;&e;&e;&e;&e;'>"
    "<!ENTITY g '&f;&f;&f;&f;&f;&f;&f;&f;&f;&f;'>]><domain><name>&g;</name></domain>",
};

static void n_documents(void **state) {
    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(refused); i++) {
        struct th_domain domain = {.name = "before"};

        if (parse(refused[i], &domain) != -EBADMSG) {
            fail_msg("accepted: %s", refused[i]);
        }
        assert_string_equal(domain.name, "before");
    }
}

/* The first look alone: libxml2 behind it would hide what it misses. */
static void scan(void **state) {
    static const struct {
        const char *xml;
        bool refused;
    } cases[] = {
        {"<!DOCTYPE a><a/>", true},
        {"<?xml version='1.0'?> <!-- <!DOCTYPE a> --> <!DOCTYPE a><a/>", true},
        {"<a b='>'><!DOCTYPE a>", true},
        {"<?a <!DOCTYPE ?><!ENTITY", true},
        {"<a>]]><!DOCTYPE", true},
        {"<!-- <!DOCTYPE a> --><a/>", false},
        {"<!-- > -> -- <!DOCTYPE a> --><a/>", false},
        {"<a><![CDATA[<!DOCTYPE a> ]] > ]]></a>", false},
        {"<a b='<!DOCTYPE a>' c=\"<!DOCTYPE a>'\"/>", false},
        {"<?a <!DOCTYPE a> > ?><a/>", false},
        {"<!-- <!DOCTYPE a>", false},
        {"<a b='<!DOCTYPE a>", false},
        {"", false},
        {"<", false},
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        if ((th_xml_scan(cases[i].xml, strlen(cases[i].xml)) != NULL) != cases[i].refused) {
            fail_msg("%s", cases[i].xml);
        }
    }
}

/* The parser's words may not quote the document: there are passwords in it. */
static void n_errors_quote_nothing(void **state) {
    static const char *const cases[] = {
        "<domain><graphics passwd='secret'></secret></domain>",
        "<domain><secret></domain>",
        "<domain secret='1' secret='2'/>",
        "<domain>&secret;</domain>",
        "<secret/>",
        "<!DOCTYPE secret><domain/>",
        "<domain><secret:a/></domain>",
    };
    struct th_domain domain;
    char error[200];

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        error[0] = '\0';
        assert_int_equal(th_domain_parse(cases[i], strlen(cases[i]), &domain, error, sizeof(error)),
                         -EBADMSG);
        assert_null(strstr(error, "secret"));
        assert_string_not_equal(error, "");
        assert_null(strchr(error, '\n'));
    }
}

static void n_truncated(void **state) {
    struct th_domain domain;
    char error[160];
    size_t size = strlen(full);

    (void)state;
    for (size_t length = 0; length < size - 1; length++) {
        char *copy = malloc(length + 1); /* of its very size, so that a read beyond it shows */

        assert_non_null(copy);
        memcpy(copy, full, length);
        assert_int_equal(th_domain_parse(copy, length, &domain, error, sizeof(error)), -EBADMSG);
        free(copy);
    }
    assert_int_equal(th_domain_parse(full, size - 1, &domain, error, sizeof(error)), 0);
}

static void random_damage(void **state) {
    struct seeded seeded = seeded_start("random_damage");
    char copy[sizeof(full)];

    (void)state;
    for (int i = 0; i < seeded_cases(20000); i++) {
        struct th_domain domain = {.has_origin = false};
        char error[160];
        int64_t changes = seeded_between(&seeded, 1, 6);

        memcpy(copy, full, sizeof(full));
        for (int64_t j = 0; j < changes; j++) {
            static const char likely[] = "<>&;'\"/=! :-[]?x\x00\xff";

            copy[seeded_between(&seeded, 0, sizeof(full) - 2)] =
                likely[seeded_between(&seeded, 0, sizeof(likely) - 1)];
        }
        if (th_domain_parse(copy, sizeof(full) - 1, &domain, error, sizeof(error)) == 0) {
            assert_non_null(memchr(domain.name, '\0', sizeof(domain.name)));
            assert_non_null(memchr(domain.complaint, '\0', sizeof(domain.complaint)));
            assert_true(domain.origin.n_addresses <= TH_ORIGIN_MAX_ADDRESSES);
            assert_true(!domain.has_origin || domain.origin.n_addresses > 0);
        }
    }
}

/* Encodings other than UTF-8 would have iconv load a module of the document's choice. */
static void encodings(void **state) {
    static const char utf16[] = "\xff\xfe<\0d\0o\0m\0a\0i\0n\0/\0>\0";
    struct th_domain domain;
    char error[160];

    (void)state;
    assert_int_equal(th_domain_parse(utf16, sizeof(utf16) - 1, &domain, error, sizeof(error)),
                     -EBADMSG);
    domain = must_parse("<?xml version='1.0' encoding='ISO-2022-CN-EXT'?>"
                        "<domain><name>\xc3\xa4</name></domain>");
    assert_string_equal(domain.name, "\xc3\xa4");
    domain = must_parse("\xef\xbb\xbf<domain><name>bom</name></domain>");
    assert_string_equal(domain.name, "bom");
}

/* ---- large documents ---- */

static double seconds(void) {
    return (double)th_now_mono_ns() / 1e9;
}

/* begin, then as many repeats as make size bytes, then end. */
static char *make_large(const char *begin, const char *repeat, const char *end, size_t size,
                        size_t *ret_size) {
    size_t unit = strlen(repeat), used = strlen(begin);
    char *xml = malloc(size + unit + strlen(begin) + strlen(end) + 1);

    assert_non_null(xml);
    strcpy(xml, begin);
    while (used < size) {
        memcpy(xml + used, repeat, unit);
        used += unit;
    }
    strcpy(xml + used, end);
    *ret_size = used + strlen(end);
    return xml;
}

static void large(void **state) {
    static const struct {
        const char *what, *begin, *repeat, *end;
        int result;
    } cases[] = {
        {"elements", "<domain><name>big</name><metadata><x>", "<a b='c'>d</a>\n",
         "</x></metadata></domain>", 0},
        {"policies", "<domain><name>big</name><metadata>", "<th:policy " TH " warn='1ms'/>",
         "</metadata></domain>", 0},
        {"unknown", "<domain><name>big</name><metadata>", "<th:polisy " TH " warn='1ms'/>",
         "</metadata></domain>", 0},
        {"comments", "<domain><name>big</name>", "<!-- '\" < > -->", "</domain>", 0},
        {"attributes", "<domain ", "a='' ", "/>", -EBADMSG},
        {"attributes-not-equal", "<domain ", "a ", "/>", -EBADMSG},
        {"attributes-with-brackets", "<domain ", "a='>' ", "/>", -EBADMSG},
        {"depth", "<domain>", "<a>", "", -EBADMSG},
        {"unclosed-comment", "<domain><!-- ", "- - > ", "", -EBADMSG},
        {"open-brackets", "<domain>", "<", "", -EBADMSG},
        {"open-tags", "<domain>", "<a ", "", -EBADMSG},
        {"bad-references", "<domain>", "&a;", "</domain>", -EBADMSG},
        {"control-bytes", "<domain>", "\x01", "</domain>", -EBADMSG},
        {"unbound-prefixes", "<domain>", "<a:b/>", "</domain>", -EBADMSG},
        {"late-error", "<domain>", "<a b='c'>d</a>", "<a", -EBADMSG},
        {"one-value", "<domain a='", "> ", "'/>", -EBADMSG},
        {"quotes", "<domain a=", "'\"", "", -EBADMSG},
        {"instructions", "<domain><name>big</name>", "<?a?>", "</domain>", 0},
        {"cdata", "<domain><name>big</name>", "<![CDATA[]]>", "</domain>", 0},
        {"references", "<domain><name>big", "&#0000000000065;", "</name></domain>", 0},
    };

    (void)state;
    if (getenv("TH_TEST_CASES")) {
        skip(); /* valgrind would take minutes, and speed is what this is about */
    }
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        struct th_domain domain;
        char error[160];
        size_t size;
        char *xml = make_large(cases[i].begin, cases[i].repeat, cases[i].end, 10u << 20, &size);
        double start = seconds();
        int r = th_domain_parse(xml, size, &domain, error, sizeof(error));
        double took = seconds() - start;

        printf("# 10 MB of %s: %.3f s\n", cases[i].what, took);
        free(xml);
        assert_int_equal(r, cases[i].result);
        assert_true(r < 0 || strncmp(domain.name, "big", 3) == 0);
        /* Generous: sanitizers and valgrind run this too. What it must catch took minutes. */
        assert_true(took < 30);
    }
}

/* Attributes that differ are the slow case: each is compared with all others. */
static void attribute_limit(void **state) {
    (void)state;
    for (unsigned n = 127; n <= 130; n++) {
        char xml[4096] = "<domain";
        size_t used = strlen(xml);
        struct th_domain domain;

        for (unsigned i = 0; i < n; i++) {
            used += (size_t)snprintf(xml + used, sizeof(xml) - used, " a%u='=>'", i);
        }
        snprintf(xml + used, sizeof(xml) - used, "/>");
        assert_int_equal(parse(xml, &domain), n <= 128 ? 0 : -EBADMSG);
    }
}

static void size_limit(void **state) {
    struct th_domain domain;
    char error[160] = "";
    size_t size;
    char *xml = make_large("<domain>", "<a/>", "", TH_DOMAIN_XML_MAX_SIZE + 16, &size);

    (void)state;
    memcpy(xml + TH_DOMAIN_XML_MAX_SIZE - 12, "   </domain> ", 13);
    assert_int_equal(th_domain_parse(xml, TH_DOMAIN_XML_MAX_SIZE, &domain, error, sizeof(error)),
                     0);
    assert_int_equal(
        th_domain_parse(xml, TH_DOMAIN_XML_MAX_SIZE + 1, &domain, error, sizeof(error)), -EFBIG);
    assert_string_not_equal(error, "");
    free(xml);
}

/* libxml2 prints to stderr unless told not to. */
static void nothing_is_printed(void **state) {
    FILE *file = tmpfile();
    int saved = dup(STDERR_FILENO);
    off_t printed;

    (void)state;
    assert_true(file && saved >= 0);
    assert_true(dup2(fileno(file), STDERR_FILENO) >= 0);
    for (size_t i = 0; i < TH_ELEMENTS(refused); i++) {
        struct th_domain domain;
        char error[160];

        (void)th_domain_parse(refused[i], strlen(refused[i]), &domain, error, sizeof(error));
    }
    fflush(stderr);
    printed = lseek(STDERR_FILENO, 0, SEEK_END);
    dup2(saved, STDERR_FILENO);
    close(saved);
    fclose(file);
    assert_int_equal(printed, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(y_full),
        cmocka_unit_test(y_least),
        cmocka_unit_test(y_names),
        cmocka_unit_test(y_name_cut),
        cmocka_unit_test(y_broken_uuid_is_none),
        cmocka_unit_test(y_agent_only_where_it_counts),
        cmocka_unit_test(y_any_prefix),
        cmocka_unit_test(y_elsewhere_is_foreign),
        cmocka_unit_test(y_complaints),
        cmocka_unit_test(y_half_a_policy_is_none),
        cmocka_unit_test(n_stamps),
        cmocka_unit_test(n_too_many_addresses),
        cmocka_unit_test(y_complaint_holds_no_key),
        cmocka_unit_test(y_round_trip),
        cmocka_unit_test(n_unreadable_stamps_are_not_written),
        cmocka_unit_test(mode_names),
        cmocka_unit_test(n_documents),
        cmocka_unit_test(scan),
        cmocka_unit_test(n_errors_quote_nothing),
        cmocka_unit_test(n_truncated),
        cmocka_unit_test(random_damage),
        cmocka_unit_test(encodings),
        cmocka_unit_test(large),
        cmocka_unit_test(attribute_limit),
        cmocka_unit_test(size_limit),
        cmocka_unit_test(nothing_is_printed),
    };

    return cmocka_run_group_tests_name("domain", tests, NULL, NULL);
}
