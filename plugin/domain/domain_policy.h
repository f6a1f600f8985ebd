/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The policy element while a domain's document is being read. It is apart from the reader of the
 * document because it has rules of its own about what is wrong in it.
 */
#ifndef TIMEHANDOFF_DOMAIN_POLICY_H
#define TIMEHANDOFF_DOMAIN_POLICY_H

#include "domain/xml.h"
#include "timehandoff/domain.h"

/* Fills policy from the element's attributes. False, and the reason in complaint, if it is broken;
 * policy then says nothing. */
bool th_domain_policy_read(struct th_domain_policy *policy,
                           const struct th_xml_attributes *attributes,
                           struct th_complaint *complaint);

#endif
