/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The reading half of state files. A file is believed only if it is whole, of this boot and fresh:
 * otherwise "unknown" is the honest answer. The caller may rely on it that nothing of the content
 * has been handed over before boot and age were checked.
 */
#include "config/state_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/state_field.h"

#define BOOT_ID_FILE "/proc/sys/kernel/random/boot_id"
#define MAX_REFRESH_NS (24 * 3600 * TH_NS_PER_S)
#define MAX_FUTURE_NS TH_NS_PER_S /* two processes read their clocks one after the other */
#define REFRESHES 3

struct header {
    int64_t version;
    struct th_uuid boot_id;
    int64_t boot_time_ns;
    int64_t refresh_ns;
};

struct reader {
    const struct th_now *now;
    enum th_state_age age;
    th_ini_text_entry *entry;
    void *userdata;
    struct header header;
    bool believed; /* the header is complete and good */
    bool ended;
};

int th_state_reader_boot_id(struct th_uuid *ret_boot_id) {
    th_auto_close int fd = open(BOOT_ID_FILE, O_RDONLY | O_CLOEXEC);
    char text[TH_UUID_TEXT_SIZE] = "";

    if (fd < 0) {
        return -errno;
    }
    if (read(fd, text, sizeof(text) - 1) < 0) {
        return -errno;
    }
    return th_uuid_parse(text, ret_boot_id) < 0 ? -EIO : 0;
}

static int read_header(struct header *header, const char *key, const char *value) {
    static const struct th_state_field fields[] = {
        TH_STATE_NUMBER(struct header, version, "version", TH_STATE_INT64, 1, INT64_MAX),
        TH_STATE_FIELD(struct header, boot_id, "boot-id", TH_STATE_UUID),
        TH_STATE_NUMBER(struct header, boot_time_ns, "boot-time-ns", TH_STATE_INT64, 0, INT64_MAX),
        TH_STATE_NUMBER(struct header, refresh_ns, "refresh-ns", TH_STATE_INT64, 0, MAX_REFRESH_NS),
    };

    return th_state_field_read(fields, TH_ELEMENTS(fields), header, key, value);
}

static int believe(const struct header *header, const struct th_now *now, enum th_state_age age) {
    struct th_uuid boot_id;
    int r;

    /* Keys may be added within version 1; a change of their meaning makes another version. */
    if (header->version != 1 || header->boot_time_ns < 0 || header->refresh_ns < 0) {
        return -EBADMSG;
    }
    r = th_state_reader_boot_id(&boot_id);
    if (r < 0) {
        return r;
    }
    if (!th_uuid_equal(&boot_id, &header->boot_id) ||
        header->boot_time_ns - MAX_FUTURE_NS > now->boot_ns) {
        return -ESTALE;
    }
    return age == TH_STATE_FRESH && header->refresh_ns > 0 &&
                   now->boot_ns - header->boot_time_ns > REFRESHES * header->refresh_ns
               ? -ESTALE
               : 0;
}

static int on_entry(void *userdata, const char *section, const char *key, const char *value,
                    char *why) {
    struct reader *reader = userdata;

    if (reader->ended) {
        return -EBADMSG;
    }
    if (strcmp(section, "file") == 0 && !reader->believed) {
        return key ? read_header(&reader->header, key, value) : 0;
    }
    if (!reader->believed) {
        int r = believe(&reader->header, reader->now, reader->age);

        if (r < 0) {
            return r;
        }
        reader->believed = true;
    }
    reader->ended = strcmp(section, "end") == 0;
    return reader->entry(reader->userdata, section, key, value, why);
}

static int parse(struct reader *reader, const char *text, size_t size) {
    char why[TH_INI_TEXT_WHY_SIZE];
    unsigned line;
    int r = th_ini_text_read(text, size, on_entry, reader, &line, why);

    return r == 0 && !reader->ended ? -EBADMSG : r;
}

int th_state_reader_read(int fd, const struct th_now *now, enum th_state_age age,
                         th_ini_text_entry *entry, void *userdata) {
    struct reader reader = {.now = now, .age = age, .entry = entry, .userdata = userdata};
    struct stat status;
    ssize_t size;
    size_t room;
    char *text;
    int r;

    reader.header.boot_time_ns = -1;
    reader.header.refresh_ns = -1;
    if (fstat(fd, &status) < 0) {
        return -errno;
    }
    if (!S_ISREG(status.st_mode) || status.st_size > TH_STATE_MAX_SIZE) {
        return -EBADMSG;
    }
    room = (size_t)status.st_size + 1; /* so that a file that grew shows */
    text = malloc(room);
    if (!text) {
        return -ENOMEM;
    }
    size = th_file_read(fd, text, room);
    if (size < 0) {
        r = (int)size;
    } else {
        /* A file that grows while it is read is none of ours: ours are complete when they appear.
         */
        r = (size_t)size == room ? -EBADMSG : parse(&reader, text, (size_t)size);
    }
    explicit_bzero(text, room);
    free(text);
    return r;
}

static int digit(char c) {
    static const char digits[] = "0123456789abcdef";
    const char *found = c != '\0' ? strchr(digits, c) : NULL;

    return found ? (int)(found - digits) : -1;
}

int th_state_reader_append(const char *value, char *text, size_t size) {
    size_t used = strlen(text);

    for (; *value != '\0'; value++) {
        char c = *value;

        if (c == '%') {
            int high = digit(value[1]);
            int low = high < 0 ? -1 : digit(value[2]);

            if (low < 0 || (high == 0 && low == 0)) {
                return -EBADMSG;
            }
            c = (char)(high * 16 + low);
            value += 2;
        }
        if (used + 1 == size) {
            return -EBADMSG;
        }
        text[used++] = c;
        text[used] = '\0';
    }
    return 0;
}
