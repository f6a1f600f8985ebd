/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writing a state file: into a temporary one beside it, which takes its place in one step when it
 * is whole. Failures are remembered and returned by the last call, so that callers can simply
 * write.
 */
#ifndef TIMEHANDOFF_CONFIG_STATE_WRITER_H
#define TIMEHANDOFF_CONFIG_STATE_WRITER_H

#include <sys/types.h>

#include "timehandoff/base.h"

struct th_state_writer {
    int folder; /* descriptor */
    char name[64];
    char temporary[96];
    FILE *file;
    char buffer[4096]; /* the stream's; wiped at the end, as keys pass through it */
};

/*
 * Creates the temporary file and writes the [file] section. file is relative to folder and may lie
 * in a folder below it. 0 or negative errno; the writer needs a commit only after 0.
 */
int th_state_writer_open(struct th_state_writer *writer, const char *folder, const char *file,
                         mode_t mode, int group, const struct th_now *now, int64_t refresh_ns);

void th_state_writer_section(struct th_state_writer *writer, const char *name);
void th_state_writer_number(struct th_state_writer *writer, const char *key, int64_t number);
/* A word that needs no encoding: a name, a UUID, hexadecimal digits. */
void th_state_writer_word(struct th_state_writer *writer, const char *key, const char *word);
/* Any text, encoded; several lines with the same key if it is long, none if it is empty. */
void th_state_writer_text(struct th_state_writer *writer, const char *key, const char *text);

/* Puts the file in its place, or removes it if anything failed. 0 or negative errno. */
int th_state_writer_commit(struct th_state_writer *writer);

#endif
