/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Journal records by the native protocol. libsystemd's own sender waits when journald's queue is
 * full, and a checker that waits for a stuck journald would miss the guard's deadline and with it
 * the verdict; this one sends a single datagram with MSG_DONTWAIT or not at all. Records are small
 * and bounded, so the memfd detour for large ones is never needed.
 */
#include "report/journal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include "timehandoff/base.h"

#define JOURNAL_SOCKET "/run/systemd/journal/socket"
#define SYSLOG_SOCKET "/dev/log"

/* Kept open: when descriptors have run out there is something to say. */
static int socket_fd = -1;

static void append(struct th_journal *journal, const void *bytes, size_t size) {
    memcpy(journal->bytes + journal->size, bytes, size);
    journal->size += size;
}

/* Values with a newline need the length form: FIELD \n 64-bit little-endian size, value, \n. */
void th_journal_text(struct th_journal *journal, const char *field, const char *value) {
    size_t field_size = strlen(field), value_size = strlen(value);
    uint8_t length[8];

    if (field_size + value_size + 16 > sizeof(journal->bytes) - journal->size) {
        journal->overflow = true;
        return;
    }
    append(journal, field, field_size);
    if (strchr(value, '\n')) {
        for (unsigned i = 0; i < sizeof(length); i++) {
            length[i] = (uint8_t)((uint64_t)value_size >> (8 * i));
        }
        append(journal, "\n", 1);
        append(journal, length, sizeof(length));
    } else {
        append(journal, "=", 1);
    }
    append(journal, value, value_size);
    append(journal, "\n", 1);
}

void th_journal_number(struct th_journal *journal, const char *field, int64_t value) {
    char text[24];

    snprintf(text, sizeof(text), "%" PRId64, value);
    th_journal_text(journal, field, text);
}

void th_journal_begin(struct th_journal *journal, const char *identifier, int priority,
                      const char *message_id) {
    journal->size = 0;
    journal->overflow = false;
    th_journal_number(journal, "PRIORITY", priority);
    th_journal_text(journal, "SYSLOG_IDENTIFIER", identifier);
    if (message_id) {
        th_journal_text(journal, "MESSAGE_ID", message_id);
    }
}

bool th_journal_next(const struct th_journal *journal, size_t *position,
                     struct th_journal_field *ret_field) {
    const char *at = journal->bytes + *position;
    const char *end = journal->bytes + journal->size;
    size_t name_size = 0;
    uint64_t size = 0;

    if (at == end) {
        return false;
    }
    /* Every field was written by th_journal_text, so it is whole. */
    name_size = strcspn(at, "=\n");
    snprintf(ret_field->name, sizeof(ret_field->name), "%.*s", (int)name_size, at);
    ret_field->value = at + name_size + 1;
    if (at[name_size] == '=') {
        size = (uint64_t)((const char *)memchr(ret_field->value, '\n',
                                               (size_t)(end - ret_field->value)) -
                          ret_field->value);
    } else {
        for (unsigned i = 0; i < 8; i++) {
            size |= (uint64_t)(unsigned char)ret_field->value[i] << (8 * i);
        }
        ret_field->value += 8;
    }
    ret_field->value_size = (size_t)size;
    *position = (size_t)(ret_field->value + size + 1 - journal->bytes);
    return true;
}

void th_journal_open(void) {
    if (socket_fd < 0) {
        socket_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    }
}

static bool send_to(const char *path, const void *bytes, size_t size) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    th_journal_open();
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    return sendto(socket_fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL,
                  (const struct sockaddr *)&address, sizeof(address)) == (ssize_t)size;
}

void th_journal_send(struct th_journal *journal, const char *message) {
    char line[1200];
    int size;

    th_journal_text(journal, "MESSAGE", message);
    if (send_to(JOURNAL_SOCKET, journal->bytes, journal->size)) {
        return;
    }
    size = snprintf(line, sizeof(line), "<%d>%s", LOG_DAEMON | LOG_NOTICE, message);
    if (size > 0) {
        send_to(SYSLOG_SOCKET, line, (size_t)size < sizeof(line) ? (size_t)size : sizeof(line) - 1);
    }
}
