/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the fuzz harnesses share: stopping where a property does not hold, taking an input apart,
 * and files for readers that take a path. A harness is one function over bytes; libFuzzer calls it
 * with inputs that it makes up, corpus.c with those of the tree.
 */
#ifndef TIMEHANDOFF_TESTS_FUZZ_H
#define TIMEHANDOFF_TESTS_FUZZ_H

#include <fcntl.h>
#include <ftw.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "timehandoff/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Also in builds without assertions. */
#define must(condition)                                                                            \
    ((condition) ? (void)0 : fuzz_stop(__FILE__, (unsigned)__LINE__, #condition))

static inline void fuzz_stop(const char *file, unsigned line, const char *condition) {
    fprintf(stderr, "%s:%u: does not hold: %s\n", file, line, condition);
    abort();
}

/* ---- inputs ---- */

struct fuzz_bytes {
    const uint8_t *at;
    size_t left;
};

/* The next size bytes as a number, zeros where there are none left. */
static inline uint64_t fuzz_number(struct fuzz_bytes *bytes, unsigned size) {
    uint64_t number = 0;

    for (; size > 0; size--) {
        number = number << 8 | (bytes->left > 0 ? *bytes->at : 0U);
        bytes->at += bytes->left > 0;
        bytes->left -= bytes->left > 0;
    }
    return number;
}

/* -2^63..2^63-1, each order of magnitude within reach of a mutated byte. */
static inline int64_t fuzz_signed(struct fuzz_bytes *bytes) {
    unsigned shift = (unsigned)fuzz_number(bytes, 1) % 64;

    return (int64_t)fuzz_number(bytes, 8) >> shift;
}

/* What is left, up to the next NUL, terminated; the caller frees it. */
static inline char *fuzz_text(struct fuzz_bytes *bytes) {
    size_t length = strnlen((const char *)bytes->at, bytes->left);
    char *text = strndup((const char *)bytes->at, length);

    must(text);
    bytes->at += length;
    bytes->left -= length;
    (void)fuzz_number(bytes, 1);
    return text;
}

/* ---- outputs ---- */

/* One line, or a part of one, that may be shown to people as it is. */
static inline bool fuzz_is_line(const char *text) {
    size_t size = strlen(text) + 1;
    char *clean = malloc(size);
    bool same;

    must(clean);
    same = strcmp(th_text_clean(text, clean, size), text) == 0;
    free(clean);
    return same;
}

/* Whole lines of that kind. */
static inline bool fuzz_is_text(char *text) {
    char *rest = text;
    bool good = true;

    for (char *line = strsep(&rest, "\n"); line; line = strsep(&rest, "\n")) {
        good = good && fuzz_is_line(line) && (rest || *line == '\0');
    }
    return good;
}

/* In strict mode json-c 0.18 takes no letter beyond ASCII; before and after it does. */
#if JSON_C_MINOR_VERSION == 18
#define FUZZ_JSON_STRICT 0
#else
#define FUZZ_JSON_STRICT JSON_TOKENER_STRICT
#endif

/* One document that a strict reader takes. */
static inline bool fuzz_is_json(const char *text, size_t size) {
    struct json_tokener *tokener = json_tokener_new();
    struct json_object *document;
    bool good;

    must(tokener);
    json_tokener_set_flags(tokener, FUZZ_JSON_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    document = json_tokener_parse_ex(tokener, text, (int)size);
    good = document && json_tokener_get_error(tokener) == json_tokener_success;
    json_object_put(document);
    json_tokener_free(tokener);
    return good;
}

/* ---- files ---- */

static char fuzz_folder_path[256];

static inline int fuzz_remove_one(const char *path, const struct stat *status, int kind,
                                  struct FTW *at) {
    (void)status;
    (void)kind;
    (void)at;
    return remove(path);
}

static inline void fuzz_remove_folder(void) {
    (void)nftw(fuzz_folder_path, fuzz_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* A folder of this process's own, gone when it ends in peace; in memory unless TMPDIR is set. */
static inline const char *fuzz_folder(void) {
    const char *parent = getenv("TMPDIR");

    if (fuzz_folder_path[0] == '\0') {
        must(snprintf(fuzz_folder_path, sizeof(fuzz_folder_path), "%s/timehandoff-fuzz.XXXXXX",
                      parent ? parent : "/dev/shm") < (int)sizeof(fuzz_folder_path));
        must(mkdtemp(fuzz_folder_path));
        must(atexit(fuzz_remove_folder) == 0);
    }
    return fuzz_folder_path;
}

static inline const char *fuzz_path(const char *name, char path[PATH_MAX]) {
    must(snprintf(path, PATH_MAX, "%s/%s", fuzz_folder(), name) < PATH_MAX);
    return path;
}

/* Writes a file of that name, which may lie in a folder below that is there. */
static inline void fuzz_put(const char *name, const void *bytes, size_t size) {
    char path[PATH_MAX];
    int fd = open(fuzz_path(name, path), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);

    must(fd >= 0 && write(fd, bytes, size) == (ssize_t)size && close(fd) == 0);
}

#endif
