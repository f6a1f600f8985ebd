/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bytes as hexadecimal text and back: keys in stamps and key files, digests in state files.
 * Decoding works without branches or table look-ups that depend on a digit's value, since the
 * digits may be a key's, and leaves the output untouched unless all of the text was right.
 */
#include "timehandoff/base.h"

#include <errno.h>
#include <string.h>

/* The digit's value, or -1; the same steps for each character. */
static int digit_value(unsigned char character) {
    int c = character;
    int letter = c | 0x20;
    /* All bits set where the character lies in the range, else zero. */
    int is_digit = (('0' - 1 - c) & (c - '9' - 1)) >> 8;
    int is_letter = (('a' - 1 - letter) & (letter - 'f' - 1)) >> 8;

    return (is_digit & (c - '0' + 1)) + (is_letter & (letter - 'a' + 11)) - 1;
}

int th_hex_decode(const char *text, void *ret_bytes, size_t size) {
    uint8_t *bytes = ret_bytes;
    int bad = 0;

    if (!text || strlen(text) != 2 * size) {
        return -EINVAL;
    }
    for (size_t i = 0; i < 2 * size; i++) {
        bad |= digit_value((unsigned char)text[i]);
    }
    if (bad < 0) {
        return -EINVAL;
    }
    for (size_t i = 0; i < size; i++) {
        int high = digit_value((unsigned char)text[2 * i]);
        int low = digit_value((unsigned char)text[2 * i + 1]);

        bytes[i] = (uint8_t)(high << 4 | low);
    }
    return 0;
}

static char digit_text(unsigned value) {
    return (char)(value < 10 ? '0' + value : 'a' + value - 10);
}

char *th_hex_encode(const void *bytes, size_t size, char *text) {
    const uint8_t *byte = bytes;

    for (size_t i = 0; i < size; i++) {
        text[2 * i] = digit_text(byte[i] >> 4);
        text[2 * i + 1] = digit_text(byte[i] & 15U);
    }
    text[2 * size] = '\0';
    return text;
}
