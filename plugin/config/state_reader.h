/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading a state file: all of it, in memory, with the [file] section checked before anything else
 * is believed and the [end] section demanded, so that half a file never passes for a whole one.
 */
#ifndef TIMEHANDOFF_CONFIG_STATE_READER_H
#define TIMEHANDOFF_CONFIG_STATE_READER_H

#include "config/ini_text.h"
#include "timehandoff/state.h"

#define TH_STATE_MAX_SIZE (8u << 20)

/* entry sees every section but [file], begins of sections with
 * key NULL, and [end] at last. 0; -ESTALE; -EBADMSG; or another negative errno. What was read is
 * wiped. */
int th_state_reader_read(int fd, const struct th_now *now, enum th_state_age age,
                         th_ini_text_entry *entry, void *userdata);

/* This boot's id. 0 or negative errno. */
int th_state_reader_boot_id(struct th_uuid *ret_boot_id);

/* Undoes th_state_writer_text's encoding and appends to a text of size bytes. 0 or -EBADMSG. */
int th_state_reader_append(const char *value, char *text, size_t size);

#endif
