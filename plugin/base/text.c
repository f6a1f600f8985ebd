/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making foreign text fit to be shown. Domain names, host names and NTP server names come from the
 * network and from guests' XML; shown as they are they could forge log lines or steer a terminal.
 * What leaves here is printable, valid UTF-8 on one line and fits the buffer it is meant for.
 */
#include "timehandoff/base.h"

#include <errno.h>
#include <string.h>

/* The length that the first byte promises, or 0; with the bits of the code point that it holds. */
static size_t lead_length(unsigned char lead, uint32_t *ret_bits) {
    if (lead < 0x80) {
        *ret_bits = lead;
        return 1;
    }
    if (lead >= 0xC2 && lead < 0xE0) {
        *ret_bits = lead & 0x1FU;
        return 2;
    }
    if (lead >= 0xE0 && lead < 0xF0) {
        *ret_bits = lead & 0x0FU;
        return 3;
    }
    if (lead >= 0xF0 && lead < 0xF5) {
        *ret_bits = lead & 0x07U;
        return 4;
    }
    return 0;
}

/* Reads one character. Returns its length, or 0 where it is no UTF-8; stops at the NUL. */
static size_t read_character(const char *text, uint32_t *ret_point) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t point = 0;
    size_t length = lead_length((unsigned char)text[0], &point);

    for (size_t i = 1; i < length; i++) {
        unsigned char next = (unsigned char)text[i];

        if ((next & 0xC0U) != 0x80) {
            return 0;
        }
        point = point << 6 | (next & 0x3FU);
    }
    if (length == 0 || point < least[length] || point > 0x10FFFF) {
        return 0;
    }
    *ret_point = point;
    return length;
}

/* Controls, halves of pairs, and the invisible ones that break lines or turn the reading direction.
 */
static bool is_showable(uint32_t point) {
    if (point < 0x20 || (point >= 0x7F && point < 0xA0)) {
        return false;
    }
    if ((point >= 0xD800 && point < 0xE000) || point == 0xFEFF) {
        return false;
    }
    if (point >= 0x200B && point <= 0x200F) {
        return false;
    }
    return !(point >= 0x2028 && point <= 0x202E) && !(point >= 0x2066 && point <= 0x2069);
}

char *th_text_clean(const char *text, char *buffer, size_t buffer_size) {
    size_t used = 0;

    if (buffer_size == 0) {
        return buffer;
    }
    while (text && *text) {
        uint32_t point = 0;
        size_t length = read_character(text, &point);
        bool good = length > 0 && is_showable(point);
        size_t width = good ? length : 1;

        if (used + width >= buffer_size) {
            break;
        }
        if (good) {
            memcpy(buffer + used, text, length);
        } else {
            buffer[used] = '?';
        }
        used += width;
        text += length > 0 ? length : 1;
    }
    buffer[used] = '\0';
    return buffer;
}

int th_text_dup(const char *text, char **ret_text) {
    char *copy = text ? strdup(text) : NULL;

    if (text && !copy) {
        return -ENOMEM;
    }
    *ret_text = copy;
    return 0;
}
