/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bridge to inih. inih reads into a buffer of fixed size (200 bytes in Debian's build, and it
 * is told to us only by the size that it asks for) and leaves the rest of a longer line for the
 * next call, as if it were a line of its own; it cuts section names at 49 bytes. So this file hands
 * over the lines itself, one a call, and keeps count and section itself. The caller may rely on it
 * that each line was either taken whole or refused with its number.
 */
#include "config/ini_text.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <ini.h>

#include "timehandoff/base.h"

#define SECTION_SIZE 256

struct reader {
    const char *at;
    const char *limit;
    th_ini_text_entry *entry;
    void *userdata;
    unsigned line;
    char section[SECTION_SIZE];
    int result; /* the first fault: everything ends there */
    char why[TH_INI_TEXT_WHY_SIZE];
};

static void refuse(struct reader *reader, const char *reason) {
    reader->result = -EBADMSG;
    snprintf(reader->why, sizeof(reader->why), "%s", reason);
}

static void pass_on(struct reader *reader, const char *key, const char *value) {
    char reason[TH_INI_TEXT_REASON_SIZE] = "";
    char words[TH_INI_TEXT_WHY_SIZE];

    reader->result = reader->entry(reader->userdata, reader->section, key, value, reason);
    if (reader->result == -EBADMSG) {
        snprintf(words, sizeof(words), "[%.64s]%s%.48s: %s", reader->section, key ? " " : "",
                 key ? key : "", reason);
        th_text_clean(words, reader->why, sizeof(reader->why));
    }
}

static bool is_white(char c) {
    return c == ' ' || c == '\t';
}

/* Tabs are white space; no other control byte has a place in such a file. */
static bool is_text(const char *line, size_t size) {
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)line[i];

        if ((c < ' ' && c != '\t') || c == 0x7f) {
            return false;
        }
    }
    return true;
}

/* A line "[name]": the name without white space around it. */
static void begin_section(struct reader *reader, const char *line, size_t size) {
    const char *end = memchr(line, ']', size);
    const char *name = line + 1;
    const char *rest;

    if (!end) {
        refuse(reader, "a section's name does not end; write [name]");
        return;
    }
    for (rest = end + 1; rest < line + size && is_white(*rest); rest++) {
    }
    if (rest < line + size && *rest != ';' && *rest != '#') {
        refuse(reader,
               "text after ']'; a section stands alone on its line, without ']' in its name");
        return;
    }
    while (name < end && is_white(*name)) {
        name++;
    }
    while (end > name && is_white(end[-1])) {
        end--;
    }
    if ((size_t)(end - name) >= sizeof(reader->section)) {
        refuse(reader, "a section's name is too long; at most 255 bytes");
        return;
    }
    memcpy(reader->section, name, (size_t)(end - name));
    reader->section[end - name] = '\0';
    pass_on(reader, NULL, NULL);
}

/* The next line without its end and indentation. */
static bool next_line(struct reader *reader, const char **ret_line, size_t *ret_size) {
    const char *line = reader->at;
    const char *end;
    size_t size;

    if (line == reader->limit) {
        return false;
    }
    end = memchr(line, '\n', (size_t)(reader->limit - line));
    size = (size_t)((end ? end : reader->limit) - line);
    reader->at = end ? end + 1 : reader->limit;
    reader->line++;
    if (size > 0 && line[size - 1] == '\r') {
        size--;
    }
    for (; size > 0 && is_white(*line); size--) {
        line++;
    }
    *ret_line = line;
    *ret_size = size;
    return true;
}

/* inih's fgets: str has room for num bytes. From version 56 on it takes a line that fills them, and
 * does not end as fgets leaves it, for the beginning of a longer one, and drops what follows. */
static char *give_line(char *str, int num, void *stream) {
    struct reader *reader = stream;
    const char *line;
    size_t size;

    if (reader->result < 0 || !next_line(reader, &line, &size)) {
        return NULL;
    }
    if (size > 0 && (*line == '#' || *line == ';')) {
        size = 0; /* a comment may be as long as it likes */
    }
    if (!is_text(line, size)) {
        refuse(reader, "a control character; the file must be plain text");
    } else if (size + 2 > (size_t)num) {
        snprintf(reader->why, sizeof(reader->why), "the line is too long; at most %d bytes",
                 num - 2);
        reader->result = -EBADMSG;
    } else if (size > 0 && *line == '[') {
        begin_section(reader, line, size);
    }
    if (reader->result < 0) {
        return NULL;
    }
    memcpy(str, line, size);
    str[size] = '\0';
    return str;
}

static int take_entry(void *user, const char *section, const char *name, const char *value) {
    struct reader *reader = user;

    (void)section; /* may be cut */
    if (reader->result == 0) {
        pass_on(reader, name, value);
    }
    return reader->result == 0;
}

/* inih calls its handler with the handler's own pointer and its reader with the stream's: both are
 * ours. A line that inih doesn't understand it counts, goes on, and returns the first one's number.
 */
int th_ini_text_read(const char *text, size_t size, th_ini_text_entry *entry, void *userdata,
                     unsigned *ret_line, char ret_why[TH_INI_TEXT_WHY_SIZE]) {
    struct reader reader = {.at = text, .limit = text + size, .entry = entry, .userdata = userdata};
    int bad_line = ini_parse_stream(give_line, &reader, take_entry, &reader);

    if (bad_line < 0) {
        return -ENOMEM;
    }
    if (bad_line > 0 && (reader.result == 0 || (unsigned)bad_line < reader.line)) {
        reader.line = (unsigned)bad_line;
        refuse(&reader, "neither a section nor a setting; write [name] or key = value");
    }
    if (reader.result == -EBADMSG) {
        *ret_line = reader.line;
        memcpy(ret_why, reader.why, sizeof(reader.why));
    }
    return reader.result;
}
