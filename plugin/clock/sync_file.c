/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Time daemons' configuration files, read line by line as these daemons do. Read only, whole and in
 * memory; whatever cannot be read becomes a complaint in the list of servers, because a list that
 * is silently short would pass for a difference between hosts.
 */
#include "clock/sync_daemon.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_FILE_SIZE (256u << 10)
#define MAX_DROP_INS 256

static void complain(struct th_ntp_servers *servers, const char *path, const char *why) {
    char text[sizeof(servers->complaint)];

    (void)snprintf(text, sizeof(text), "%.120s: %s", path, why);
    (void)th_text_clean(text, servers->complaint, sizeof(servers->complaint));
}

/* Reads it all. Returns the size, or negative errno. */
static ssize_t read_file(const char *path, char *text) {
    th_auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat about;
    ssize_t used;

    if (fd < 0 || fstat(fd, &about) < 0) {
        return -errno;
    }
    if (!S_ISREG(about.st_mode)) {
        return -EINVAL;
    }
    used = th_file_read(fd, text, MAX_FILE_SIZE + 1);
    return used > (ssize_t)MAX_FILE_SIZE ? -EFBIG : used;
}

static void say_where(const char *path, unsigned line, char where[TH_NTP_WHERE_SIZE]) {
    const char *name = strrchr(path, '/');

    if (strstr(path, "dhcp") && name && strncmp(path, "/run/", 5) == 0) {
        (void)snprintf(where, TH_NTP_WHERE_SIZE, "dhcp");
        return;
    }
    (void)snprintf(where, TH_NTP_WHERE_SIZE, "%.*s:%u", TH_NTP_WHERE_SIZE - 12, path, line);
}

int th_sync_file_lines(const char *root, const char *path, bool complete_only,
                       th_sync_line *on_line, void *userdata, struct th_ntp_servers *servers) {
    th_auto_free char *text = malloc(MAX_FILE_SIZE + 2);
    char full[PATH_MAX], where[TH_NTP_WHERE_SIZE];
    unsigned number = 1;
    ssize_t size;

    if (!text) {
        return -ENOMEM;
    }
    if (snprintf(full, sizeof(full), "%s%s", root, path) >= (int)sizeof(full)) {
        complain(servers, path, strerror(ENAMETOOLONG));
        return 0;
    }
    size = read_file(full, text);
    if (size < 0) {
        if (size != -ENOENT) {
            complain(servers, path, strerror((int)-size));
        }
        return 0;
    }
    text[size] = '\0';
    for (char *line = text, *end; line < text + size; line = end + 1, number++) {
        int r;

        end = memchr(line, '\n', (size_t)(text + size - line));
        if (!end && complete_only) {
            break;
        }
        end = end ? end : text + size;
        *end = '\0';
        say_where(path, number, where);
        r = on_line(userdata, line, where);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

/* ---- drop-ins ---- */

struct drop_in {
    char name[NAME_MAX + 1];
    size_t folder;
};

struct drop_ins {
    struct drop_in *files;
    size_t n;
};

static bool is_wanted(const struct drop_ins *drop_ins, const char *name, const char *suffix) {
    size_t length = strlen(name), end = strlen(suffix);

    if (*name == '.' || length <= end || strcmp(name + length - end, suffix) != 0 ||
        drop_ins->n == MAX_DROP_INS) {
        return false;
    }
    for (size_t i = 0; i < drop_ins->n; i++) {
        if (strcmp(drop_ins->files[i].name, name) == 0) {
            return false;
        }
    }
    return true;
}

static void collect(const char *root, const char *folder, size_t number, const char *suffix,
                    struct drop_ins *drop_ins) {
    char path[PATH_MAX];
    DIR *stream;

    (void)snprintf(path, sizeof(path), "%s%s", root, folder);
    stream = opendir(path);
    if (!stream) {
        return;
    }
    for (struct dirent *entry = readdir(stream); entry; entry = readdir(stream)) {
        if (is_wanted(drop_ins, entry->d_name, suffix)) {
            struct drop_in *file = &drop_ins->files[drop_ins->n++];

            (void)snprintf(file->name, sizeof(file->name), "%s", entry->d_name);
            file->folder = number;
        }
    }
    (void)closedir(stream);
}

static int compare(const void *a, const void *b) {
    const struct drop_in *first = a, *second = b;

    return strcmp(first->name, second->name);
}

int th_sync_file_drop_ins(const char *root, const char *const folders[], size_t n_folders,
                          const char *suffix, th_sync_path *on_path, void *userdata) {
    th_auto_free struct drop_in *files = calloc(MAX_DROP_INS, sizeof(*files));
    struct drop_ins drop_ins = {.files = files};
    int r = 0;

    if (!files) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < n_folders; i++) {
        collect(root, folders[i], i, suffix, &drop_ins);
    }
    qsort(files, drop_ins.n, sizeof(*files), compare);
    for (size_t i = 0; r == 0 && i < drop_ins.n; i++) {
        char path[PATH_MAX];

        if (snprintf(path, sizeof(path), "%s/%s", folders[files[i].folder], files[i].name) <
            (int)sizeof(path)) {
            r = on_path(userdata, path);
        }
    }
    return r;
}

size_t th_sync_file_words(char *line, char *words[], size_t max) {
    static const char white[] = " \t\r\v\f";
    char *rest = NULL;
    size_t n = 0;

    for (char *word = strtok_r(line, white, &rest); word && n < max;
         word = strtok_r(NULL, white, &rest)) {
        words[n++] = word;
    }
    return n;
}
