/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Drives libxml2's SAX interface over a document in memory. What the caller may rely on: whatever
 * the bytes are, memory stays within a few times their size, time is linear in it, nothing is
 * opened or printed, and no word of the document gets into an error text.
 *
 * The document is taken as UTF-8 even if it declares something else: libvirt writes nothing else,
 * and a declared encoding would make iconv load a module that a stranger has chosen.
 */
#include "domain/xml.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <libxml/parser.h>
#include <libxml/parserInternals.h>
#include <libxml/xmlerror.h>

#include "timehandoff/domain.h"

struct reader {
    const struct th_xml_ops *ops;
    void *userdata;
    xmlParserCtxtPtr parser;
    unsigned depth;
    bool refused; /* ops->open said no */
    bool has_dtd; /* second net behind th_xml_scan */
    int fault;    /* libxml2's number of the first error */
    int fault_line;
};

static void on_open(void *context, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri,
                    int n_namespaces, const xmlChar **namespaces, int n_attributes, int n_defaulted,
                    const xmlChar **fields) {
    struct reader *reader = context;
    struct th_xml_attributes attributes = {.fields = fields, .n = n_attributes};

    (void)prefix;
    (void)n_namespaces;
    (void)namespaces;
    (void)n_defaulted;
    reader->depth++;
    if (!reader->ops->open(reader->userdata, reader->depth, (const char *)uri, (const char *)name,
                           &attributes)) {
        reader->refused = true;
        xmlStopParser(reader->parser);
    }
}

static void on_close(void *context, const xmlChar *name, const xmlChar *prefix,
                     const xmlChar *uri) {
    struct reader *reader = context;

    (void)name;
    (void)prefix;
    (void)uri;
    reader->ops->close(reader->userdata, reader->depth);
    reader->depth--;
}

static void on_text(void *context, const xmlChar *bytes, int size) {
    struct reader *reader = context;

    reader->ops->text(reader->userdata, (const char *)bytes, (size_t)size);
}

static void on_dtd(void *context, const xmlChar *name, const xmlChar *external,
                   const xmlChar *system) {
    struct reader *reader = context;

    (void)name;
    (void)external;
    (void)system;
    reader->has_dtd = true;
    xmlStopParser(reader->parser);
}

/* The message would quote the document, so only its number and line are kept. */
#if LIBXML_VERSION >= 21200
static void on_fault(void *context, const xmlError *fault) {
#else
static void on_fault(void *context, xmlError *fault) {
#endif
    struct reader *reader = context;

    if (reader->fault == 0 && fault->level >= XML_ERR_ERROR) {
        reader->fault = fault->code;
        reader->fault_line = fault->line;
    }
}

static int describe(const struct reader *reader, char *ret_error, size_t error_size) {
    if (reader->refused) {
        snprintf(ret_error, error_size, "the root element is not <%s>", reader->ops->wanted);
    } else if (reader->has_dtd) {
        snprintf(ret_error, error_size, "has a document type declaration");
    } else {
        snprintf(ret_error, error_size, "not well-formed XML at line %d (libxml2 error %d)",
                 reader->fault_line, reader->fault);
    }
    return -EBADMSG;
}

/* After an error libxml2 parses on for more of them, at up to half a microsecond a byte. So it is
 * given pieces: large enough that looking again for the end of a long token costs little. */
#define PIECE ((size_t)512 << 10)

static void feed(struct reader *reader, const char *xml, size_t size) {
    bool done = false;

    while (!done) {
        size_t piece = size < PIECE ? size : PIECE;

        done = piece == size;
        xmlParseChunk(reader->parser, xml, (int)piece, done);
        xml += piece;
        size -= piece;
        /* A namespace error leaves the document well-formed, yet means other names than it seems.
         */
        done = done || reader->fault != 0 || reader->refused || reader->has_dtd;
    }
}

static int run(struct reader *reader, const char *xml, size_t size, char *ret_error,
               size_t error_size) {
    static const char mark[] = {'\xef', '\xbb', '\xbf'};
    xmlParserCtxtPtr parser = reader->parser;

    xmlCtxtUseOptions(parser, XML_PARSE_NONET | XML_PARSE_NOCDATA | XML_PARSE_NOERROR |
                                  XML_PARSE_NOWARNING | XML_PARSE_IGNORE_ENC);
    xmlSwitchEncoding(parser, XML_CHAR_ENCODING_UTF8);
    if (size >= sizeof(mark) && memcmp(xml, mark, sizeof(mark)) == 0) {
        xml += sizeof(mark);
        size -= sizeof(mark);
    }
    feed(reader, xml, size);
    if (reader->fault == XML_ERR_NO_MEMORY) {
        return -ENOMEM;
    }
    if (!parser->wellFormed || reader->fault != 0 || reader->refused || reader->has_dtd) {
        return describe(reader, ret_error, error_size);
    }
    return 0;
}

int th_xml_read(const char *xml, size_t size, const struct th_xml_ops *ops, void *userdata,
                char *ret_error, size_t error_size) {
    struct reader reader = {.ops = ops, .userdata = userdata};
    xmlSAXHandler handler = {
        .initialized = XML_SAX2_MAGIC,
        .startElementNs = on_open,
        .endElementNs = on_close,
        .characters = on_text,
        .internalSubset = on_dtd,
        .serror = on_fault,
    };
    const char *found;
    int r;

    if (size > TH_DOMAIN_XML_MAX_SIZE) {
        snprintf(ret_error, error_size, "larger than %u MiB", TH_DOMAIN_XML_MAX_SIZE >> 20);
        return -EFBIG;
    }
    found = th_xml_scan(xml, size);
    if (found) {
        snprintf(ret_error, error_size, "has %s", found);
        return -EBADMSG;
    }
    reader.parser = xmlCreatePushParserCtxt(&handler, &reader, NULL, 0, NULL);
    if (!reader.parser) {
        return -ENOMEM;
    }
    r = run(&reader, xml, size, ret_error, error_size);
    xmlFreeParserCtxt(reader.parser);
    return r;
}

bool th_xml_uri_is(const char *uri, const char *wanted) {
    return uri && wanted ? strcmp(uri, wanted) == 0 : uri == wanted;
}

unsigned th_xml_step_to(const struct th_xml_step *steps, size_t n, unsigned from, const char *uri,
                        const char *name) {
    for (size_t i = 0; from != 0 && i < n; i++) {
        if (steps[i].from == from && strcmp(steps[i].name, name) == 0 &&
            th_xml_uri_is(uri, steps[i].uri)) {
            return steps[i].to;
        }
    }
    return 0;
}
