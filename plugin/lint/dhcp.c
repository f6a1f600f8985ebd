/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Settings put into a libvirt network's XML without disturbing the rest of it. The XML reader says
 * what the elements are, in which order and namespace; a walk over the tags, which are known to be
 * well-formed by then, says where each of them lies. So bytes can be cut out and put in at their
 * places, and whoever compares before and after sees the settings and nothing else.
 */
#include "lint/dhcp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "domain/xml.h"
#include "lint/attribute.h"

/* An element's bytes. */
struct element {
    size_t open, content; /* begin and end of the opening tag */
    size_t close, end;    /* of the closing tag; both are content where there is none ("<x/>") */
};

struct reader {
    struct th_dhcp_network network;
    const char *option4, *option6;
    unsigned opened;  /* elements so far */
    unsigned options; /* the number, from 1, of <dnsmasq:options>; 0: there is none */
    unsigned child;   /* the number of its first child that stays; 0: there is none */
    bool in_options, in_ip, ip_is_6;
    unsigned n_old; /* earlier settings that are to go */
    unsigned old[64];
    bool too_many;
};

/* ---- what the elements are ---- */

/* What follows the kind of a setting for all guests: "42,10.0.0.1" of "dhcp-option=42,10.0.0.1".
 * NULL if it is no DHCP option. */
static const char *dhcp_option(const char *value) {
    static const char *const kinds[] = {"dhcp-option=", "dhcp-option-force="};

    value += strspn(value, " \t");
    for (size_t i = 0; i < TH_ELEMENTS(kinds); i++) {
        if (strncmp(value, kinds[i], strlen(kinds[i])) == 0) {
            return value + strlen(kinds[i]);
        }
    }
    return NULL;
}

static bool names(const char *option, const char *name) {
    size_t length = strlen(name);

    return strncmp(option, name, length) == 0 && (!option[length] || option[length] == ',');
}

static bool is_ntp4(const char *option) {
    return names(option, "42") || names(option, "option:ntp-server");
}

static bool is_ntp6(const char *option) {
    return names(option, "option6:56") || names(option, "option6:ntp-server");
}

static void on_option(struct reader *reader, const struct th_xml_attributes *attributes) {
    char value[TH_DHCP_OPTION_SIZE + 64];
    const char *option = dhcp_option(th_attribute_get(attributes, "value", value, sizeof(value)));
    const char *bare = option;

    while (bare && strncmp(bare, "tag:", 4) == 0 && strchr(bare, ',')) {
        bare = strchr(bare, ',') + 1;
    }
    if (bare != option) {
        reader->network.has_tagged |= is_ntp4(bare) || is_ntp6(bare);
    } else if (option && ((is_ntp4(option) && reader->network.serves4 && reader->option4[0]) ||
                          (is_ntp6(option) && reader->network.serves6 && reader->option6[0]))) {
        if (reader->n_old == TH_ELEMENTS(reader->old)) {
            reader->too_many = true;
            return;
        }
        reader->old[reader->n_old++] = reader->opened;
    }
}

static void on_child(struct reader *reader, bool is_option,
                     const struct th_xml_attributes *attributes) {
    unsigned n_old = reader->n_old;

    if (is_option) {
        on_option(reader, attributes);
    }
    if (reader->n_old == n_old && !reader->child) {
        reader->child = reader->opened;
    }
}

static bool on_open(void *userdata, unsigned depth, const char *uri, const char *name,
                    const struct th_xml_attributes *attributes) {
    struct reader *reader = userdata;
    bool dnsmasq = uri && strcmp(uri, TH_DHCP_NAMESPACE) == 0;

    reader->opened++;
    if (depth == 1) {
        return !uri && strcmp(name, "network") == 0;
    }
    if (depth == 2) {
        reader->in_options = dnsmasq && strcmp(name, "options") == 0 && !reader->options;
        reader->options = reader->in_options ? reader->opened : reader->options;
        reader->in_ip = !uri && strcmp(name, "ip") == 0;
        reader->ip_is_6 = th_xml_attribute_is(attributes, "family", "ipv6");
    } else if (depth == 3 && reader->in_options) {
        on_child(reader, dnsmasq && strcmp(name, "option") == 0, attributes);
    } else if (depth == 3 && reader->in_ip && !uri && strcmp(name, "dhcp") == 0) {
        reader->network.serves4 |= !reader->ip_is_6;
        reader->network.serves6 |= reader->ip_is_6;
    }
    return true;
}

static void on_text(void *userdata, const char *bytes, size_t size) {
    (void)userdata;
    (void)bytes;
    (void)size;
}

static void on_close(void *userdata, unsigned depth) {
    (void)userdata;
    (void)depth;
}

/* Twice, since libvirt may have options before the addresses: the first time shows what is served.
 */
static int read_network(const char *xml, size_t size, struct reader *reader, char *ret_error,
                        size_t error_size) {
    static const struct th_xml_ops ops = {on_open, on_text, on_close, "network"};
    int r = 0;

    for (unsigned pass = 0; pass < 2 && r == 0; pass++) {
        *reader = (struct reader){
            .network = reader->network, .option4 = reader->option4, .option6 = reader->option6};
        r = th_xml_read(xml, size, &ops, reader, ret_error, error_size);
    }
    if (r == 0 && reader->too_many) {
        snprintf(ret_error, error_size, "has too many options for NTP servers");
        r = -EBADMSG;
    }
    return r;
}

/* ---- where the elements are ---- */

static size_t after(const char *xml, size_t at, size_t size, const char *end) {
    const char *found = memmem(xml + at, size - at, end, strlen(end));

    return found ? (size_t)(found - xml) + strlen(end) : size;
}

static size_t after_tag(const char *xml, size_t at, size_t size) {
    char quote = 0;

    for (; at < size; at++) {
        if (quote) {
            quote = xml[at] == quote ? 0 : quote;
        } else if (xml[at] == '"' || xml[at] == '\'') {
            quote = xml[at];
        } else if (xml[at] == '>') {
            return at + 1;
        }
    }
    return size;
}

static bool begins(const char *xml, size_t at, size_t size, const char *with) {
    return size - at >= strlen(with) && memcmp(xml + at, with, strlen(with)) == 0;
}

/* Elements that are open, innermost last. */
struct stack {
    unsigned *numbers;
    size_t n;
};

static void on_tag(const char *xml, size_t at, size_t end, struct element *elements, unsigned *n,
                   unsigned n_max, struct stack *stack) {
    if (xml[at + 1] == '/') {
        if (stack->n > 0) {
            elements[stack->numbers[--stack->n]].close = at;
            elements[stack->numbers[stack->n]].end = end;
        }
    } else if (*n < n_max) {
        elements[*n] = (struct element){at, end, end, end};
        if (xml[end - 2] != '/') {
            stack->numbers[stack->n++] = *n;
        }
        ++*n;
    }
}

/* Fills elements with those of a well-formed document, in the order of their opening tags. */
static int locate(const char *xml, size_t size, struct element *elements, unsigned n_elements) {
    th_auto_free unsigned *numbers = calloc(n_elements, sizeof(*numbers));
    struct stack stack = {.numbers = numbers};
    unsigned n = 0;
    size_t at = 0;

    if (!numbers) {
        return -ENOMEM;
    }
    while (at < size && xml[at] != '<') {
        at++;
    }
    while (at + 2 < size) {
        const char *next;
        size_t end;

        if (begins(xml, at, size, "<!--")) {
            end = after(xml, at + 4, size, "-->");
        } else if (begins(xml, at, size, "<![CDATA[")) {
            end = after(xml, at, size, "]]>");
        } else if (begins(xml, at, size, "<?")) {
            end = after(xml, at, size, "?>");
        } else {
            end = after_tag(xml, at, size);
            on_tag(xml, at, end, elements, &n, n_elements, &stack);
        }
        next = end < size ? memchr(xml + end, '<', size - end) : NULL;
        at = next ? (size_t)(next - xml) : size;
    }
    return n == n_elements && stack.n == 0 ? 0 : -EBADMSG;
}

/* ---- cutting and pasting ---- */

/* Where the white space before an offset begins. */
static size_t before_space(const char *xml, size_t at) {
    while (at > 0 && strchr(" \t\r\n", xml[at - 1])) {
        at--;
    }
    return at;
}

/* The same, but no further than the last line break: what goes when a whole line goes. */
static size_t before_indent(const char *xml, size_t at) {
    size_t space = before_space(xml, at), line = at;

    while (line > space && xml[line - 1] != '\n') {
        line--;
    }
    if (line == space) {
        return at; /* no line of its own */
    }
    line--;
    return line > space && xml[line - 1] == '\r' ? line - 1 : line;
}

struct indent {
    int length;
    const char *bytes; /* line break and blanks */
};

static struct indent indent_of(const char *xml, size_t at) {
    size_t begin = before_indent(xml, at);

    return (struct indent){(int)(at - begin), xml + begin};
}

static void put_setting(FILE *out, struct indent indent, const char *deeper, const char *prefix,
                        int prefix_length, const char *setting) {
    if (setting[0]) {
        fprintf(out, "%.*s%s<%.*soption value='%s'/>", indent.length, indent.bytes,
                indent.length ? deeper : "", prefix_length, prefix, setting);
    }
}

static void put_settings(FILE *out, const struct reader *reader, struct indent indent,
                         const char *deeper, const char *prefix, int prefix_length) {
    put_setting(out, indent, deeper, prefix, prefix_length,
                reader->network.serves4 ? reader->option4 : "");
    put_setting(out, indent, deeper, prefix, prefix_length,
                reader->network.serves6 ? reader->option6 : "");
}

/* A new <dnsmasq:options> at the end of the network. */
static void put_element(FILE *out, const char *xml, size_t size, const struct element *root,
                        const struct reader *reader) {
    static const char prefix[] = "dnsmasq:";
    struct indent indent = indent_of(xml, root->close);
    size_t at = before_space(xml, root->close);

    fwrite(xml, 1, at, out);
    fprintf(out, "%.*s%s<dnsmasq:options xmlns:dnsmasq='%s'>", indent.length, indent.bytes,
            indent.length ? "  " : "", TH_DHCP_NAMESPACE);
    put_settings(out, reader, indent, "    ", prefix, sizeof(prefix) - 1);
    fprintf(out, "%.*s%s</dnsmasq:options>", indent.length, indent.bytes,
            indent.length ? "  " : "");
    fwrite(xml + at, 1, size - at, out);
}

/* How the settings are set off in a <dnsmasq:options>: like the child that stays, else two blanks
 * deeper than their parent; not at all in one that is written on one line. */
static struct indent settings_indent(const char *xml, const struct element *elements,
                                     const struct reader *reader, bool empty) {
    const struct element *options = &elements[reader->options - 1];

    if (reader->child) {
        return indent_of(xml, elements[reader->child - 1].open);
    }
    return empty || indent_of(xml, options->close).length ? indent_of(xml, options->open)
                                                          : (struct indent){0, xml};
}

/* Everything but the earlier settings. */
static void put_rest(FILE *out, const char *xml, size_t size, const struct element *elements,
                     const struct reader *reader) {
    size_t at = 0;

    for (unsigned i = 0; i < reader->n_old; i++) {
        const struct element *old = &elements[reader->old[i] - 1];

        fwrite(xml + at, 1, before_indent(xml, old->open) - at, out);
        at = old->end;
    }
    fwrite(xml + at, 1, size - at, out);
}

/* The settings at the end of a <dnsmasq:options> that is there. */
static void put_into(FILE *out, const char *xml, size_t size, const struct element *elements,
                     const struct reader *reader) {
    const struct element *options = &elements[reader->options - 1];
    const char *name = xml + options->open + 1;
    int name_length = (int)strcspn(name, " \t\r\n/>");
    const char *colon = memchr(name, ':', (size_t)name_length);
    int prefix_length = colon ? (int)(colon - name) + 1 : 0;
    bool empty = options->close == options->content && xml[options->content - 2] == '/';
    struct indent indent = settings_indent(xml, elements, reader, empty);
    size_t at = empty ? options->content - 2 : before_space(xml, options->close);

    fwrite(xml, 1, at, out);
    if (empty) {
        fputc('>', out);
        at = options->content;
    }
    put_settings(out, reader, indent, reader->child ? "" : "  ", name, prefix_length);
    if (empty) {
        fprintf(out, "%.*s</%.*s>", indent.length, indent.bytes, name_length, name);
    }
    fwrite(xml + at, 1, size - at, out);
}

/* With earlier settings only these go: what stood beside them is then where it is going to stay. */
static int write_update(const char *xml, size_t size, const struct element *elements,
                        const struct reader *reader, char **ret_xml, size_t *ret_size) {
    bool nothing = !(reader->network.serves4 && reader->option4[0]) &&
                   !(reader->network.serves6 && reader->option6[0]);
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);

    if (!out) {
        return -ENOMEM;
    }
    if (nothing) {
        fwrite(xml, 1, size, out);
    } else if (reader->n_old) {
        put_rest(out, xml, size, elements, reader);
    } else if (reader->options) {
        put_into(out, xml, size, elements, reader);
    } else {
        put_element(out, xml, size, &elements[0], reader);
    }
    if (ferror(out) | fclose(out)) {
        free(text);
        return -ENOMEM;
    }
    *ret_xml = text;
    *ret_size = length;
    return 0;
}

int th_dhcp_network_update(const char *xml, size_t size, const char *option4, const char *option6,
                           struct th_dhcp_network *ret_network, char **ret_xml, char *ret_error,
                           size_t error_size) {
    struct reader reader = {.option4 = option4, .option6 = option6};
    th_auto_free struct element *elements = NULL;
    th_auto_free char *text = NULL;
    size_t length = 0;
    int r = -EFBIG;

    if (size > TH_DHCP_MAX_SIZE) {
        snprintf(ret_error, error_size, "larger than %u MiB", TH_DHCP_MAX_SIZE >> 20);
        return r;
    }
    r = read_network(xml, size, &reader, ret_error, error_size);
    if (r < 0) {
        return r;
    }
    elements = calloc(reader.opened, sizeof(*elements));
    r = elements ? locate(xml, size, elements, reader.opened) : -ENOMEM;
    if (r == 0 && elements[0].close == elements[0].content) {
        r = -EBADMSG;
    }
    if (r == -EBADMSG) {
        snprintf(ret_error, error_size, "the network is empty");
    }
    r = r < 0 ? r : write_update(xml, size, elements, &reader, &text, &length);
    if (r == 0 && reader.n_old) {
        return th_dhcp_network_update(text, length, option4, option6, ret_network, ret_xml,
                                      ret_error, error_size);
    }
    if (r == 0) {
        *ret_network = reader.network;
        *ret_xml = text;
        text = NULL;
    }
    return r;
}
