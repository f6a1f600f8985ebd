/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * UUIDs of hosts and domains. libvirt writes them with dashes and lower case; people and other
 * managers paste them without, or in capitals. All of these are read, and one form is written. The
 * dashes are either all there, at their places, or not at all.
 */
#include "timehandoff/base.h"

#include <errno.h>
#include <string.h>

#define UUID_DIGITS 32
#define UUID_TEXT_LENGTH (TH_UUID_TEXT_SIZE - 1)

static bool is_dash_place(size_t place) {
    return place == 8 || place == 13 || place == 18 || place == 23;
}

int th_uuid_parse(const char *text, struct th_uuid *ret_uuid) {
    char digits[UUID_DIGITS + 1];
    size_t length = text ? strnlen(text, UUID_TEXT_LENGTH + 1) : 0;
    size_t n = 0;

    if (length == UUID_DIGITS) {
        return th_hex_decode(text, ret_uuid->bytes, sizeof(ret_uuid->bytes));
    }
    if (length != UUID_TEXT_LENGTH) {
        return -EINVAL;
    }
    for (size_t i = 0; i < UUID_TEXT_LENGTH; i++) {
        if (!is_dash_place(i)) {
            digits[n++] = text[i];
        } else if (text[i] != '-') {
            return -EINVAL;
        }
    }
    digits[n] = '\0';
    return th_hex_decode(digits, ret_uuid->bytes, sizeof(ret_uuid->bytes));
}

char *th_uuid_format(const struct th_uuid *uuid, char text[TH_UUID_TEXT_SIZE]) {
    char digits[UUID_DIGITS + 1];
    size_t n = 0;

    (void)th_hex_encode(uuid->bytes, sizeof(uuid->bytes), digits);
    for (size_t i = 0; i < UUID_TEXT_LENGTH; i++) {
        text[i] = '-';
        if (!is_dash_place(i)) {
            text[i] = digits[n++];
        }
    }
    text[UUID_TEXT_LENGTH] = '\0';
    return text;
}

bool th_uuid_equal(const struct th_uuid *a, const struct th_uuid *b) {
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

bool th_uuid_is_none(const struct th_uuid *uuid) {
    static const struct th_uuid none;

    return th_uuid_equal(uuid, &none);
}
