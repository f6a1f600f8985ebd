/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A key file in chrony's format, so that hosts that have one need no second. Stricter than chrony:
 * a line that can't be used is an error that names it instead of a key that is silently missing,
 * and a file that others may read is refused. Copies of the text are wiped before they are freed.
 */
#include "timehandoff/key.h"

#include "timehandoff/base.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Thousands of keys; beyond that it is some other file. */
#define FILE_MOST_SIZE (256 * 1024)
#define BLANKS " \t\r\v\f"

struct th_keyring {
    struct th_key *keys; /* sorted by id */
    size_t n;
};

/* Where in which file we are, and where to put the sentence about what is wrong there. */
struct place {
    const char *path;
    unsigned line;
    char *error;
    size_t error_size;
};

/* Says what is wrong; returns the code, so that callers can return it in one statement. */
__attribute__((format(printf, 3, 4))) static int complain(const struct place *place, int code,
                                                          const char *format, ...) {
    char where[16] = "";
    char what[160];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(what, sizeof(what), format, arguments);
    va_end(arguments);
    if (place->line > 0) {
        (void)snprintf(where, sizeof(where), ":%u", place->line);
    }
    if (place->error_size > 0) {
        (void)snprintf(place->error, place->error_size, "%s%s: %s", place->path, where, what);
    }
    return code;
}

static int parse_id(const struct place *place, const char *text, uint32_t *ret_id) {
    uint64_t id = 0;

    for (const char *at = text; *at; at++) {
        if (*at < '0' || *at > '9' || id > UINT32_MAX) {
            return complain(place, -EBADMSG, "the line does not start with a key id, 1 to %u",
                            TH_KEY_DOMAIN_BIT - 1);
        }
        id = id * 10 + (unsigned)(*at - '0');
    }
    if (id == 0 || id >= TH_KEY_DOMAIN_BIT) {
        return complain(place, -EBADMSG, "key id out of range, use 1 to %u", TH_KEY_DOMAIN_BIT - 1);
    }
    *ret_id = (uint32_t)id;
    return 0;
}

static int parse_type(const struct place *place, const char *text, enum th_key_type *ret_type) {
    if (strcmp(text, "AES128") == 0) {
        *ret_type = TH_KEY_AES128;
    } else if (strcmp(text, "AES256") == 0) {
        *ret_type = TH_KEY_AES256;
    } else {
        /* The word is not repeated: it may be the key of a line that lacks its type. */
        return complain(place, -EBADMSG,
                        "key type must be AES128 or AES256, as in '1 AES128 HEX:...'");
    }
    return 0;
}

static int parse_bytes(const struct place *place, const char *text, struct th_key *key) {
    size_t size = th_key_size(key);

    if (strncmp(text, "HEX:", 4) == 0) {
        if (th_hex_decode(text + 4, key->bytes, size) < 0) {
            return complain(place, -EBADMSG, "this type needs exactly %zu hexadecimal digits",
                            2 * size);
        }
        return 0;
    }
    if (strncmp(text, "ASCII:", 6) == 0) {
        text += 6;
    }
    if (strlen(text) != size) {
        return complain(place, -EBADMSG,
                        "this type needs exactly %zu characters, or HEX: and %zu digits", size,
                        2 * size);
    }
    memcpy(key->bytes, text, size);
    return 0;
}

/* Parses a line that is neither blank nor a comment; cuts it into words on the way. */
static int parse_line(const struct place *place, char *line, struct th_key *ret_key) {
    char *rest = NULL;
    const char *id = strtok_r(line, BLANKS, &rest);
    const char *type = strtok_r(NULL, BLANKS, &rest);
    const char *bytes = strtok_r(NULL, BLANKS, &rest);
    struct th_key key = {0};
    int r;

    r = parse_id(place, id, &key.id);
    if (r < 0) {
        return r;
    }
    if (!bytes && type) {
        return complain(place, -EBADMSG,
                        "no key type (chrony then takes MD5): write '%u AES128 KEY' or AES256",
                        key.id);
    }
    if (!bytes || strtok_r(NULL, BLANKS, &rest)) {
        return complain(place, -EBADMSG, "not three words: ID TYPE KEY");
    }
    r = parse_type(place, type, &key.type);
    if (r == 0) {
        r = parse_bytes(place, bytes, &key);
    }
    if (r == 0) {
        *ret_key = key;
    }
    th_key_wipe(&key);
    return r;
}

/* Puts the key at its place among the others. There is room for it. */
static int insert_key(const struct place *place, struct th_keyring *ring,
                      const struct th_key *key) {
    size_t at = ring->n;

    if (th_keyring_find(ring, key->id)) {
        return complain(place, -EBADMSG, "key id %u is there twice, remove one", key->id);
    }
    while (at > 0 && ring->keys[at - 1].id > key->id) {
        ring->keys[at] = ring->keys[at - 1];
        at--;
    }
    ring->keys[at] = *key;
    ring->n++;
    return 0;
}

static size_t count_lines(const char *text) {
    size_t n = 1;

    while ((text = strchr(text, '\n'))) {
        text++;
        n++;
    }
    return n;
}

static int parse_text(struct place *place, char *text, struct th_keyring *ring) {
    ring->keys = calloc(count_lines(text), sizeof(*ring->keys));
    if (!ring->keys) {
        return -ENOMEM;
    }
    for (char *line = text, *next; line; line = next) {
        struct th_key key = {0};
        int r;

        next = strchr(line, '\n');
        if (next) {
            *next++ = '\0';
        }
        place->line++;
        line += strspn(line, BLANKS);
        if (*line == '\0' || strchr("!;#%", *line)) {
            continue;
        }
        r = parse_line(place, line, &key);
        if (r == 0) {
            r = insert_key(place, ring, &key);
        }
        th_key_wipe(&key);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

/* Opens the file and sees to it that it is one, that others can't touch it and that it is small. */
static int open_checked(const struct place *place, int *ret_fd, size_t *ret_size) {
    struct stat status;
    /* O_NONBLOCK: a FIFO in its place must not hang us. */
    th_auto_close int fd = open(place->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

    if (fd < 0 || fstat(fd, &status) < 0) {
        int code = -errno;

        return complain(place, code, "%s",
                        code == -ELOOP ? "is a symbolic link, name the file itself"
                                       : strerrordesc_np(-code));
    }
    if (!S_ISREG(status.st_mode)) {
        return complain(place, -EBADMSG, "is not a regular file");
    }
    if (status.st_mode & 07U) {
        return complain(place, -EACCES, "others can read or change it, run 'chmod o= %s'",
                        place->path);
    }
    if (status.st_size > FILE_MOST_SIZE) {
        return complain(place, -EBADMSG, "is over %d bytes, no key file", FILE_MOST_SIZE);
    }
    *ret_size = (size_t)status.st_size;
    *ret_fd = th_take_fd(&fd);
    return 0;
}

/* Reads up to size bytes, fewer if the file has become shorter, and puts a NUL behind them. */
static int read_text(const struct place *place, int fd, size_t size, char *text) {
    ssize_t n = th_file_read(fd, text, size);

    if (n < 0) {
        return complain(place, (int)n, "%s", strerrordesc_np((int)-n));
    }
    text[n] = '\0';
    return strlen(text) == (size_t)n ? 0
                                     : complain(place, -EBADMSG, "holds a NUL byte, no key file");
}

static int load_file(struct place *place, struct th_keyring *ring) {
    th_auto_close int fd = -1;
    th_auto_free char *text = NULL;
    size_t size = 0;
    int r;

    r = open_checked(place, &fd, &size);
    if (r < 0) {
        return r;
    }
    text = malloc(size + 1);
    if (!text) {
        return -ENOMEM;
    }
    r = read_text(place, fd, size, text);
    if (r == 0) {
        r = parse_text(place, text, ring);
    }
    explicit_bzero(text, size + 1);
    return r;
}

int th_keyring_load(const char *path, struct th_keyring **ret_ring, char *ret_error,
                    size_t error_size) {
    struct place place = {.path = path, .error = ret_error, .error_size = error_size};
    struct th_keyring *ring = calloc(1, sizeof(*ring));
    int r;

    if (!ring) {
        return -ENOMEM;
    }
    r = load_file(&place, ring);
    if (r < 0 && r != -ENOENT) {
        (void)th_keyring_free(ring);
        return r;
    }
    *ret_ring = ring;
    return 0;
}

struct th_keyring *th_keyring_free(struct th_keyring *ring) {
    if (!ring) {
        return NULL;
    }
    for (size_t i = 0; i < ring->n; i++) {
        th_key_wipe(&ring->keys[i]);
    }
    free(ring->keys);
    free(ring);
    return NULL;
}

const struct th_key *th_keyring_find(const struct th_keyring *ring, uint32_t id) {
    for (size_t i = 0; i < th_keyring_size(ring); i++) {
        if (ring->keys[i].id == id) {
            return &ring->keys[i];
        }
    }
    return NULL;
}

size_t th_keyring_size(const struct th_keyring *ring) {
    return ring ? ring->n : 0;
}

const struct th_key *th_keyring_first(const struct th_keyring *ring) {
    return th_keyring_size(ring) > 0 ? &ring->keys[0] : NULL;
}
