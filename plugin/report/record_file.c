/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A file of lines that never grows beyond a limit. Mostly a line is appended; once there are more
 * than enough, or the file is damaged, it is written anew with its last lines and put in place of
 * the old one. No state is kept between calls: the file is small, and a daemon that starts finds
 * what the one before it left, torn last line and all.
 */
#define _GNU_SOURCE 1 /* asprintf, memrchr */

#include "report/record_file.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report/history_record.h"
#include "timehandoff/state.h"

#define MAX_SIZE ((off_t)4 << 20)

int th_record_file_read(const char *folder, char **ret_text, size_t *ret_size) {
    th_auto_close int fd = th_state_open(folder, TH_RECORD_FILE);
    th_auto_free char *text = NULL;
    struct stat status;
    ssize_t n;

    if (fd < 0) {
        return fd;
    }
    if (fstat(fd, &status) < 0) {
        return -errno;
    }
    if (status.st_size > MAX_SIZE) {
        return -EFBIG;
    }
    text = malloc((size_t)status.st_size + 1);
    if (!text) {
        return -ENOMEM;
    }
    n = th_file_read(fd, text, (size_t)status.st_size);
    if (n < 0) {
        return (int)n;
    }
    text[n] = '\0';
    *ret_text = th_take(text);
    *ret_size = (size_t)n;
    return 0;
}

/* All of it, or an error. */
static int write_all(int fd, const char *text, size_t size) {
    while (size) {
        ssize_t n = write(fd, text, size);

        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n > 0) {
            text += n;
            size -= (size_t)n;
        }
    }
    return 0;
}

static size_t count_lines(const char *text, size_t size) {
    size_t lines = 0;

    for (size_t i = 0; i < size; i++) {
        lines += text[i] == '\n';
    }
    return lines;
}

/* The last lines of a text that ends with a newline. */
static const char *last_lines(const char *text, size_t size, size_t lines) {
    const char *start = text + size;

    while (start > text && lines--) {
        const char *newline = memrchr(text, '\n', (size_t)(start - text) - 1);

        start = newline ? newline + 1 : text;
    }
    return start;
}

static int append(const char *path, const char *line, size_t size) {
    th_auto_close int fd = open(path, O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC);

    return fd < 0 ? -errno : write_all(fd, line, size);
}

static int replace(const char *path, const char *kept, size_t kept_size, const char *line,
                   size_t line_size) {
    th_auto_free char *temporary = NULL;
    th_auto_close int fd = -1;
    int r;

    if (asprintf(&temporary, "%s.new", path) < 0) {
        temporary = NULL;
        return -ENOMEM;
    }
    unlink(temporary); /* of a process that died in here */
    fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0) {
        return -errno;
    }
    r = fchmod(fd, 0644) < 0 ? -errno : write_all(fd, kept, kept_size);
    r = r < 0 ? r : write_all(fd, line, line_size);
    if (r == 0 && rename(temporary, path) < 0) {
        r = -errno;
    }
    if (r < 0) {
        unlink(temporary);
    }
    return r;
}

int th_record_file_append(const char *folder, const char *line) {
    th_auto_free char *path = NULL, *text = NULL, *whole = NULL;
    size_t size = 0, usable, line_size = strlen(line) + 1;
    const char *kept, *end;
    int r = th_record_file_read(folder, &text, &size);

    if (r == -ENOMEM) {
        return r;
    }
    if (asprintf(&path, "%s/%s", folder, TH_RECORD_FILE) < 0) {
        path = NULL;
        return -ENOMEM;
    }
    if (asprintf(&whole, "%s\n", line) < 0) {
        whole = NULL;
        return -ENOMEM;
    }
    if (r == 0 && (!size || text[size - 1] == '\n') &&
        count_lines(text, size) < TH_RECORD_FILE_KEPT + TH_RECORD_FILE_SLACK) {
        return append(path, whole, line_size);
    }
    /* Whatever is there and cannot be read is none of ours, or of no use any more. */
    end = text ? memrchr(text, '\n', size) : NULL;
    usable = end ? (size_t)(end - text) + 1 : 0;
    kept = usable ? last_lines(text, usable, TH_RECORD_FILE_KEPT - 1) : "";
    return replace(path, kept, usable ? (size_t)(text + usable - kept) : 0, whole, line_size);
}

int th_record_file_keep(const char *folder, const struct th_journal *journal, int64_t time_ns) {
    struct json_object *record = th_history_record_from_journal(journal, time_ns);
    const char *line = NULL;
    int r = -ENOMEM;

    if (record) {
        line = json_object_to_json_string_ext(record, JSON_C_TO_STRING_PLAIN |
                                                          JSON_C_TO_STRING_NOSLASHESCAPE);
    }
    if (line) {
        r = th_record_file_append(folder, line);
    }
    json_object_put(record);
    return r;
}
