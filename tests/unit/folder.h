/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A folder of the test's own, with what tests do to the files in it. It is made by folder_make and
 * taken away with all that is in it by folder_remove, which are fixtures for a test or a group.
 */
#ifndef TIMEHANDOFF_TESTS_FOLDER_H
#define TIMEHANDOFF_TESTS_FOLDER_H

#include <dirent.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define FOLDER_PATH_SIZE 256
#define FOLDER_TEXT_SIZE 16384

static char folder[] = "/tmp/timehandoff-test-XXXXXX";

static inline int folder_make(void **state) {
    (void)state;
    memset(folder + strlen(folder) - 6, 'X', 6);
    return mkdtemp(folder) ? 0 : -1;
}

static inline int folder_remove_one(const char *path, const struct stat *about, int type,
                                    struct FTW *where) {
    (void)about;
    (void)type;
    (void)where;
    return remove(path);
}

static inline int folder_remove(void **state) {
    (void)state;
    return nftw(folder, folder_remove_one, 8, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

static inline char *folder_path(const char *file, char path[FOLDER_PATH_SIZE]) {
    assert_in_range(snprintf(path, FOLDER_PATH_SIZE, "%s/%s", folder, file), 0,
                    FOLDER_PATH_SIZE - 1);
    return path;
}

/* How many files and folders are in it: a file that nobody expects is one that was forgotten. */
static inline int folder_count(void) {
    struct dirent **entries = NULL;
    int n = scandir(folder, &entries, NULL, NULL);

    assert_true(n >= 2);
    for (int i = 0; i < n; i++) {
        free(entries[i]);
    }
    free(entries);
    return n - 2; /* without "." and ".." */
}

/* Writes a file, with the folders above it. */
static inline void folder_put_bytes(const char *file, const void *bytes, size_t size) {
    char path[FOLDER_PATH_SIZE];
    FILE *stream;

    folder_path(file, path);
    for (char *slash = path + strlen(folder) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        (void)mkdir(path, 0755);
        *slash = '/';
    }
    stream = fopen(path, "w");
    assert_non_null(stream);
    assert_int_equal(fwrite(bytes, 1, size, stream), size);
    assert_int_equal(fclose(stream), 0);
}

static inline void folder_put(const char *file, const char *text) {
    folder_put_bytes(file, text, strlen(text));
}

/* A file's text, good until the next call; NULL if there is no such file. */
static inline char *folder_get(const char *file) {
    static char text[FOLDER_TEXT_SIZE];
    char path[FOLDER_PATH_SIZE];
    FILE *stream = fopen(folder_path(file, path), "r");
    size_t size;

    if (!stream) {
        return NULL;
    }
    size = fread(text, 1, sizeof(text), stream);
    assert_int_equal(fclose(stream), 0);
    assert_true(size < sizeof(text));
    text[size] = '\0';
    return text;
}

/* Changes the one place where the file says old. */
static inline void folder_change(const char *file, const char *old, const char *new) {
    static char changed[2 * FOLDER_TEXT_SIZE];
    const char *text = folder_get(file);
    const char *at;

    assert_non_null(text);
    at = strstr(text, old);
    assert_non_null(at);
    snprintf(changed, sizeof(changed), "%.*s%s%s", (int)(at - text), text, new, at + strlen(old));
    folder_put(file, changed);
}

#endif
