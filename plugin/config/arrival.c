/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Arrival notes as small files named by the domain's UUID. The folder can be written by the
 * unprivileged user, so reading takes care: no link is followed, nothing but a small regular file
 * is opened, every field is checked, and nothing in it can make a decision.
 */
#include "config/arrival.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/state_field.h"

#define NOTE_MAX_SIZE 512

int th_arrival_write(int folder, const struct th_arrival *arrival) {
    char uuid[TH_UUID_TEXT_SIZE], temporary[TH_UUID_TEXT_SIZE + 24], text[NOTE_MAX_SIZE];
    th_auto_close int fd = -1;
    int size, error;

    th_uuid_format(&arrival->uuid, uuid);
    snprintf(temporary, sizeof(temporary), ".%s.%ld", uuid, (long)getpid());
    size = snprintf(text, sizeof(text), "%d %" PRId64 " %" PRId64 " %" PRId64 "\n%s\n",
                    arrival->has_gap ? 1 : 0, arrival->gap.offset_ns, arrival->gap.bound_ns,
                    arrival->gap.delay_ns, arrival->host);
    fd = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640);
    if (fd < 0) {
        return -errno;
    }
    if (write(fd, text, (size_t)size) == size && renameat(folder, temporary, folder, uuid) == 0) {
        return 0;
    }
    error = errno ? errno : EIO;
    unlinkat(folder, temporary, 0);
    return -error;
}

/* Whether there is a gap, and the gap: four numbers with one blank between two. */
static int parse_numbers(char *text, struct th_arrival *arrival) {
    static const int64_t least[] = {0, INT64_MIN, 0, 0},
                         most[] = {1, INT64_MAX, INT64_MAX, INT64_MAX};
    int64_t numbers[TH_ELEMENTS(least)];

    for (size_t i = 0; i < TH_ELEMENTS(least); i++) {
        const char *word = strsep(&text, " ");

        if (!word || th_state_field_number(word, least[i], most[i], &numbers[i]) < 0) {
            return -EBADMSG;
        }
    }
    arrival->has_gap = numbers[0] == 1;
    arrival->gap =
        (struct th_gap){.offset_ns = numbers[1], .bound_ns = numbers[2], .delay_ns = numbers[3]};
    return text || (arrival->has_gap && arrival->gap.bound_ns == 0) ? -EBADMSG : 0;
}

/* Two lines: numbers, then the host's name. */
static int parse(char *text, const struct th_uuid *uuid, struct th_arrival *ret_arrival) {
    struct th_arrival arrival = {.uuid = *uuid};
    char *numbers = strsep(&text, "\n"), *host = strsep(&text, "\n");

    if (!host || parse_numbers(numbers, &arrival) < 0) {
        return -EBADMSG;
    }
    th_text_clean(host, arrival.host, sizeof(arrival.host));
    *ret_arrival = arrival;
    return 0;
}

int th_arrival_take(int folder, const struct th_uuid *uuid, int64_t real_ns,
                    struct th_arrival *ret_arrival) {
    char name[TH_UUID_TEXT_SIZE], text[NOTE_MAX_SIZE + 1];
    th_auto_close int fd = -1;
    struct stat about;
    ssize_t size;

    th_uuid_format(uuid, name);
    fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    unlinkat(folder, name, 0);
    if (fstat(fd, &about) < 0) {
        return -errno;
    }
    if (!S_ISREG(about.st_mode) || about.st_size > NOTE_MAX_SIZE) {
        return -EBADMSG;
    }
    if (about.st_mtim.tv_sec < (real_ns - TH_ARRIVAL_MAX_AGE_NS) / TH_NS_PER_S) {
        return -ENOENT;
    }
    size = read(fd, text, NOTE_MAX_SIZE);
    if (size < 0) {
        return -errno;
    }
    text[size] = '\0';
    return parse(text, uuid, ret_arrival);
}

int th_arrival_sweep(int folder, int64_t real_ns,
                     bool (*is_here)(void *userdata, const struct th_uuid *uuid), void *userdata) {
    /* The caller's descriptor may be one that nothing can be read from. */
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;

    if (!entries) {
        int error = errno;

        th_cleanup_close(&fd);
        return -error;
    }
    while ((entry = readdir(entries))) {
        struct th_uuid uuid;
        struct stat about;
        int64_t age_s;

        if (fstatat(folder, entry->d_name, &about, AT_SYMLINK_NOFOLLOW) < 0 ||
            S_ISDIR(about.st_mode)) {
            continue;
        }
        age_s = real_ns / TH_NS_PER_S - about.st_mtim.tv_sec;
        if (age_s > TH_ARRIVAL_MAX_AGE_NS / TH_NS_PER_S ||
            (age_s > TH_ARRIVAL_WAIT_NS / TH_NS_PER_S &&
             (th_uuid_parse(entry->d_name, &uuid) < 0 || !is_here(userdata, &uuid)))) {
            unlinkat(folder, entry->d_name, 0);
        }
    }
    closedir(entries);
    return 0;
}
