/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One attribute of an element, by name, out of what the XML reader of plugin/domain hands over.
 */
#ifndef TH_LINT_ATTRIBUTE_H
#define TH_LINT_ATTRIBUTE_H

#include "domain/xml.h"

/* Copies the value of the attribute in no namespace: "" if there is none, "?" if it does not fit.
 * Returns value. */
char *th_attribute_get(const struct th_xml_attributes *attributes, const char *name, char *value,
                       size_t size);

#endif
