/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The origin stamp while a document is being read: what the reader of a whole domain and the reader
 * of one element share.
 */
#ifndef TIMEHANDOFF_DOMAIN_ORIGIN_H
#define TIMEHANDOFF_DOMAIN_ORIGIN_H

#include "domain/xml.h"
#include "timehandoff/domain.h"

struct th_origin_reader {
    struct th_origin origin;
    bool has_key;
    bool broken; /* and has said so */
    struct th_xml_text address;
};

/* The element begins. */
void th_origin_reader_open(struct th_origin_reader *reader,
                           const struct th_xml_attributes *attributes,
                           struct th_complaint *complaint);
/* One of its address elements ends; its text is in reader->address, which is emptied. */
void th_origin_reader_address(struct th_origin_reader *reader, struct th_complaint *complaint);
/* The element ends: true if reader->origin is a whole stamp; else complaint says why not. */
bool th_origin_reader_close(struct th_origin_reader *reader, struct th_complaint *complaint);

#endif
