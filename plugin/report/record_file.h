/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The daemon's own last records, one line of JSON each, in a file under /run/timehandoff: what is
 * left to read where there is no journal. Only one process may write it.
 */
#ifndef TH_REPORT_RECORD_FILE_H
#define TH_REPORT_RECORD_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "report/journal.h"

#define TH_RECORD_FILE "history"
/* So many are always kept; up to so many more gather before the oldest are taken out. */
#define TH_RECORD_FILE_KEPT 200
#define TH_RECORD_FILE_SLACK 50

/* Adds one line, without its newline, to the file in the folder. Readers see the file with it or
 * without. 0 or negative errno; the file then is as it was, or ends in a part of the line that
 * readers pass over and the next call takes out. */
int th_record_file_append(const char *folder, const char *line);
/* The same for a journal record. */
int th_record_file_keep(const char *folder, const struct th_journal *journal, int64_t time_ns);
/* Reads the whole file; caller frees. 0, -ENOENT, -EFBIG (none of ours) or another negative errno.
 */
int th_record_file_read(const char *folder, char **ret_text, size_t *ret_size);

#endif
