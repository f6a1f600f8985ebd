/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * XML from strangers, read element by element without ever building a tree: no DTD, no entities but
 * the five predefined ones, no files, no network, nothing printed, time linear in the size.
 */
#ifndef TIMEHANDOFF_DOMAIN_XML_H
#define TIMEHANDOFF_DOMAIN_XML_H

#include <stdbool.h>
#include <stddef.h>

#include "domain/complaint.h"

/* The attributes of one element, as libxml2 hands them out; valid during the call only. */
struct th_xml_attributes {
    const unsigned char **fields;
    int n;
};

struct th_xml_ops {
    /* An element begins. depth 1 is the root; uri is NULL outside any namespace. False stops the
     * reading, and th_xml_read returns -EBADMSG with "not <wanted>". */
    bool (*open)(void *userdata, unsigned depth, const char *uri, const char *name,
                 const struct th_xml_attributes *attributes);
    /* A piece of text directly in the innermost open element. Not terminated. */
    void (*text)(void *userdata, const char *bytes, size_t size);
    void (*close)(void *userdata, unsigned depth);
    const char *wanted; /* name of the root */
};

/*
 * Reads a document of size bytes. Returns 0; -EBADMSG or -EFBIG with one line in ret_error; or
 * -ENOMEM. The callbacks may have run whatever is returned.
 */
int th_xml_read(const char *xml, size_t size, const struct th_xml_ops *ops, void *userdata,
                char *ret_error, size_t error_size);

/*
 * Looks for what libxml2 would be slow or careless with, in one pass over the bytes: a DTD, or an
 * element with more than TH_DOMAIN_XML_MAX_ATTRIBUTES attributes. Returns NULL if there is none,
 * else what it is, for people.
 */
const char *th_xml_scan(const char *xml, size_t size);

/* A step down a document. Places are numbers of the reader's own; 0 is where nothing is read. */
struct th_xml_step {
    unsigned from;
    const char *uri; /* NULL: no namespace */
    const char *name;
    unsigned to;
};

/* Where an element of this name leads from a place; 0 if no step is for it. */
unsigned th_xml_step_to(const struct th_xml_step *steps, size_t n, unsigned from, const char *uri,
                        const char *name);

/* Both are the same namespace, or both none. */
bool th_xml_uri_is(const char *uri, const char *wanted);

/* How one attribute of an element of ours is read: 0, or negative errno if value is not wanted. */
struct th_xml_field {
    const char *name;
    const char *wanted; /* "a duration such as 5ms" */
    int (*read)(const char *value, void *target);
};

/*
 * Reads all attributes by the table into target. Unknown ones are named in complaint; so is the
 * first one with a bad value, and then it returns false. Values are never quoted. Attributes of
 * other namespaces are skipped.
 */
bool th_xml_fields_read(const struct th_xml_attributes *attributes, const char *element,
                        const struct th_xml_field *fields, size_t n_fields, void *target,
                        struct th_complaint *complaint);

/* Whether an attribute in no namespace has exactly that value. */
bool th_xml_attribute_is(const struct th_xml_attributes *attributes, const char *name,
                         const char *value);

/* Text that is gathered from pieces. */
struct th_xml_text {
    char bytes[1024]; /* terminated */
    size_t size;
    bool cut; /* there was more */
};

void th_xml_text_add(struct th_xml_text *text, const char *bytes, size_t size);
/* The text without white space around it; changes it in place. */
const char *th_xml_text_trim(struct th_xml_text *text);

#endif
