/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * INI text in memory, read through inih but without what inih does silently: cut long lines and
 * section names, join indented lines to the one before, skip what follows a section's bracket.
 */
#ifndef TIMEHANDOFF_CONFIG_INI_TEXT_H
#define TIMEHANDOFF_CONFIG_INI_TEXT_H

#include <stddef.h>

#define TH_INI_TEXT_REASON_SIZE 192 /* what an entry function may say */
#define TH_INI_TEXT_WHY_SIZE 320    /* the same with section and key before it */

/*
 * One line. key is NULL when a section begins; section is "" before the first one. Returns 0 or a
 * negative errno; -EBADMSG with the reason in why, of TH_INI_TEXT_REASON_SIZE bytes.
 */
typedef int th_ini_text_entry(void *userdata, const char *section, const char *key,
                              const char *value, char *why);

/*
 * Reads size bytes and calls entry for every section and every key. Stops at the first fault.
 * Returns 0; -EBADMSG with the line's number in ret_line and "[section] key: reason" in ret_why; or
 * what else entry returned. Lines may be indented; comments are lines that begin with # or ;, and
 * whatever follows a ; after white space.
 */
int th_ini_text_read(const char *text, size_t size, th_ini_text_entry *entry, void *userdata,
                     unsigned *ret_line, char ret_why[TH_INI_TEXT_WHY_SIZE]);

#endif
