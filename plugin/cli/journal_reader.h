/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading our records back from the systemd journal, where there is one.
 */
#ifndef TH_CLI_JOURNAL_READER_H
#define TH_CLI_JOURNAL_READER_H

#include "report/history.h"

/* Fills the history by its query from this host's journal, or from the journal files in a folder
 * (directory not NULL). Of this host's records only those are taken that were logged by root or by
 * our own user, since anybody may log; in a folder, who that is on another host is not known.
 * ret_damaged: a part could not be read, records may be missing. 0, or negative errno with the
 * reason in ret_error: -ENOENT if there is no journal, -EACCES if there is none for this user. */
int th_journal_reader_read(const char *directory, struct th_history *history, bool *ret_damaged,
                           char *ret_error, size_t error_size);

#endif
