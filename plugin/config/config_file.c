/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finding and reading the configuration's files: the main one, then those in conf.d in byte order.
 * Whatever goes wrong is described in one line that begins with the file's path. The caller may
 * rely on a folder or file that isn't there being no error: everything has a default.
 */
#define _GNU_SOURCE 1 /* asprintf */

#include "config/config_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAIN_FILE "timehandoff.conf"
#define DROP_IN_FOLDER "conf.d"
#define DROP_IN_SUFFIX ".conf"

static int fail(int r, const char *path, char *ret_error, size_t error_size) {
    snprintf(ret_error, error_size, "%s: %s", path, strerror(-r));
    return r;
}

static int parse(struct th_config_loader *loader, const char *path, const char *text, size_t size,
                 char *ret_error, size_t error_size) {
    char why[TH_INI_TEXT_WHY_SIZE];
    unsigned line = 0;
    int r;

    memset(loader->seen, 0, sizeof(loader->seen));
    r = th_ini_text_read(text, size, th_config_key_entry, loader, &line, why);
    if (r == -EBADMSG) {
        snprintf(ret_error, error_size, "%s:%u: %s", path, line, why);
        return r;
    }
    if (r == 0) {
        r = th_config_domain_merge(loader, why);
    }
    if (r == -EBADMSG) {
        snprintf(ret_error, error_size, "%s: [domain]: %s", path, why);
        return r;
    }
    return r < 0 ? fail(r, path, ret_error, error_size) : 0;
}

static int read_fd(struct th_config_loader *loader, int fd, const char *path, char *ret_error,
                   size_t error_size) {
    th_auto_free char *text = malloc(TH_CONFIG_MAX_FILE_SIZE + 1);
    ssize_t size;

    if (!text) {
        return fail(-ENOMEM, path, ret_error, error_size);
    }
    size = th_file_read(fd, text, TH_CONFIG_MAX_FILE_SIZE + 1);
    if (size < 0) {
        return fail((int)size, path, ret_error, error_size);
    }
    if ((size_t)size > TH_CONFIG_MAX_FILE_SIZE) {
        return fail(-EFBIG, path, ret_error, error_size);
    }
    return parse(loader, path, text, (size_t)size, ret_error, error_size);
}

static int read_file(struct th_config_loader *loader, const char *path, bool must_exist,
                     char *ret_error, size_t error_size) {
    /* Not blocking: what is no regular file must not hold us up. */
    th_auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat status;

    if (fd < 0) {
        return errno == ENOENT && !must_exist ? 0 : fail(-errno, path, ret_error, error_size);
    }
    if (fstat(fd, &status) < 0) {
        return fail(-errno, path, ret_error, error_size);
    }
    if (!S_ISREG(status.st_mode)) {
        return must_exist ? 0 : fail(-EINVAL, path, ret_error, error_size);
    }
    return read_fd(loader, fd, path, ret_error, error_size);
}

/* Hidden files are what editors and package managers leave behind. */
static int is_drop_in(const struct dirent *entry) {
    size_t length = strlen(entry->d_name);
    size_t suffix = strlen(DROP_IN_SUFFIX);

    return entry->d_name[0] != '.' && length > suffix &&
           strcmp(entry->d_name + length - suffix, DROP_IN_SUFFIX) == 0;
}

/* Not alphasort: its order depends on the locale. */
static int by_bytes(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int read_drop_in(struct th_config_loader *loader, const char *folder, const char *name,
                        char *ret_error, size_t error_size) {
    th_auto_free char *path = NULL;

    if (asprintf(&path, "%s/%s", folder, name) < 0) {
        path = NULL;
        return fail(-ENOMEM, name, ret_error, error_size);
    }
    return read_file(loader, path, true, ret_error, error_size);
}

static int read_drop_ins(struct th_config_loader *loader, const char *folder, char *ret_error,
                         size_t error_size) {
    struct dirent **entries = NULL;
    int n = scandir(folder, &entries, is_drop_in, by_bytes);
    int r = 0;

    if (n < 0) {
        return errno == ENOENT ? 0 : fail(-errno, folder, ret_error, error_size);
    }
    for (int i = 0; i < n; i++) {
        if (r == 0) {
            r = read_drop_in(loader, folder, entries[i]->d_name, ret_error, error_size);
        }
        free(entries[i]);
    }
    free(entries);
    return r;
}

int th_config_file_read_all(struct th_config_loader *loader, const char *folder, char *ret_error,
                            size_t error_size) {
    th_auto_free char *path = NULL;
    th_auto_free char *drop_ins = NULL;
    int r;

    if (asprintf(&path, "%s/%s", folder, MAIN_FILE) < 0) {
        path = NULL;
        return fail(-ENOMEM, folder, ret_error, error_size);
    }
    if (asprintf(&drop_ins, "%s/%s", folder, DROP_IN_FOLDER) < 0) {
        drop_ins = NULL;
        return fail(-ENOMEM, folder, ret_error, error_size);
    }
    r = read_file(loader, path, false, ret_error, error_size);
    return r < 0 ? r : read_drop_ins(loader, drop_ins, ret_error, error_size);
}
