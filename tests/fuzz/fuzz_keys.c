/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Key files. A second reader, as plain as can be, says which keys the text holds; the real one must
 * find exactly these or refuse the file, so that no key is ever taken from a line that is not one.
 * What it says about a bad file names no key.
 */
#include "fuzz.h"

#include <ctype.h>

#include "timehandoff/key.h"

static bool is_digits(const char *text) {
    return *text != '\0' && strspn(text, "0123456789") == strlen(text);
}

/* "HEX:..." into bytes; their number, 0 if it is none. */
static size_t read_hex(const char *text, uint8_t bytes[TH_KEY_MAX_SIZE]) {
    size_t length = strlen(text);

    if (length % 2 != 0 || length / 2 > TH_KEY_MAX_SIZE ||
        strspn(text, "0123456789abcdefABCDEF") != length) {
        return 0;
    }
    for (size_t i = 0; i < length / 2; i++) {
        char pair[3] = {text[2 * i], text[2 * i + 1], '\0'};

        bytes[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return length / 2;
}

static size_t read_bytes(const char *text, uint8_t bytes[TH_KEY_MAX_SIZE]) {
    if (strncmp(text, "HEX:", 4) == 0) {
        return read_hex(text + 4, bytes);
    }
    text += strncmp(text, "ASCII:", 6) == 0 ? 6 : 0;
    memcpy(bytes, text, strnlen(text, TH_KEY_MAX_SIZE));
    return strlen(text);
}

/* One line that holds a key: the ring has it. */
static void check_line(char *line, const struct th_keyring *ring) {
    static const char blanks[] = " \t\r\v\f";
    char *words[4] = {NULL}, *rest = NULL;
    uint8_t bytes[TH_KEY_MAX_SIZE] = {0};
    const struct th_key *key;
    unsigned long id;
    size_t n = 0;

    for (char *word = strtok_r(line, blanks, &rest); word && n < 4;
         word = strtok_r(NULL, blanks, &rest)) {
        words[n++] = word;
    }
    must(n == 3 && is_digits(words[0]));
    id = strtoul(words[0], NULL, 10);
    must(id > 0 && id < TH_KEY_DOMAIN_BIT);
    key = th_keyring_find(ring, (uint32_t)id);
    must(key && key->id == id);
    must(strcmp(words[1], key->type == TH_KEY_AES256 ? "AES256" : "AES128") == 0);
    must(read_bytes(words[2], bytes) == th_key_size(key));
    must(memcmp(key->bytes, bytes, sizeof(bytes)) == 0);
}

static void check_ring(char *text, const struct th_keyring *ring) {
    size_t n = 0;

    for (char *line = strsep(&text, "\n"); line; line = strsep(&text, "\n")) {
        line += strspn(line, " \t\r\v\f");
        if (*line != '\0' && !strchr("!;#%", *line)) {
            check_line(line, ring);
            n++;
        }
    }
    must(n == th_keyring_size(ring));
    must((n == 0) == (th_keyring_first(ring) == NULL));
}

/* The shortest key has 16 characters; none of our own words has. */
static void check_error(const char *error, const char *path) {
    size_t length = 0;

    must(strncmp(error, path, strlen(path)) == 0);
    error += strlen(path);
    must(*error == ':' && fuzz_is_line(error));
    for (; *error; error++) {
        length = isspace((unsigned char)*error) ? 0 : length + 1;
        must(length < 16);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_bytes input = {data, size};
    struct th_keyring *ring = NULL;
    char path[PATH_MAX], error[256] = "";

    fuzz_put("keys", data, size);
    if (th_keyring_load(fuzz_path("keys", path), &ring, error, sizeof(error)) < 0) {
        must(!ring);
        check_error(error, path);
        return 0;
    }
    th_auto_free char *text = fuzz_text(&input);

    must(strlen(text) == size);
    check_ring(text, ring);
    (void)th_keyring_free(ring);
    return 0;
}
