/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lists of NTP servers as values: filled, copied, searched, and turned into the digest by which two
 * hosts see at a glance whether they follow the same servers. Pure; whatever is put into a list is
 * cleaned on the way in, since file contents and daemons' answers are shown to people.
 */
#include "timehandoff/ntp.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <nettle/sha2.h>
#include <stdlib.h>
#include <string.h>

#define LABEL_MAX 63
#define NAME_MAX_LENGTH 253

const char *th_ntp_kind_name(enum th_ntp_kind kind) {
    switch (kind) {
    case TH_NTP_SERVER: return "server";
    case TH_NTP_POOL: return "pool";
    case TH_NTP_PEER: return "peer";
    case TH_NTP_REFCLOCK: return "refclock";
    }
    return "unknown";
}

enum th_ntp_kind th_ntp_kind_parse(const char *text) {
    for (enum th_ntp_kind kind = TH_NTP_SERVER; kind <= TH_NTP_REFCLOCK; kind++) {
        if (strcmp(th_ntp_kind_name(kind), text) == 0) {
            return kind;
        }
    }
    return 0;
}

const char *th_ntp_use_name(enum th_ntp_use use) {
    switch (use) {
    case TH_NTP_SELECTED: return "selected";
    case TH_NTP_COMBINED: return "combined";
    case TH_NTP_SPARE: return "spare";
    case TH_NTP_REJECTED: return "rejected";
    case TH_NTP_UNREACHABLE: return "unreachable";
    case TH_NTP_WAITING: break;
    }
    return "waiting";
}

/* ---- lists ---- */

int th_ntp_servers_add(struct th_ntp_servers *servers, enum th_ntp_kind kind, const char *name,
                       const char *where) {
    struct th_ntp_server *server;

    if (servers->n == TH_NTP_MAX_SERVERS) {
        (void)snprintf(servers->complaint, sizeof(servers->complaint),
                       "there are more than %d servers", TH_NTP_MAX_SERVERS);
        return 0;
    }
    if (servers->n % 8 == 0) {
        server = reallocarray(servers->servers, servers->n + 8, sizeof(*server));
        if (!server) {
            return -ENOMEM;
        }
        servers->servers = server;
    }
    server = &servers->servers[servers->n++];
    *server = (struct th_ntp_server){.kind = kind};
    (void)th_text_clean(name, server->name, sizeof(server->name));
    (void)th_text_clean(where, server->where, sizeof(server->where));
    return 0;
}

int th_ntp_servers_dup(const struct th_ntp_servers *servers, struct th_ntp_servers *ret_servers) {
    th_auto_ntp_servers struct th_ntp_servers copy = {.n = 0};

    for (size_t i = 0; i < servers->n; i++) {
        const struct th_ntp_server *server = &servers->servers[i];
        int r = th_ntp_servers_add(&copy, server->kind, server->name, server->where);

        if (r < 0) {
            return r;
        }
    }
    memcpy(copy.complaint, servers->complaint, sizeof(copy.complaint));
    *ret_servers = copy;
    copy = (struct th_ntp_servers){.n = 0};
    return 0;
}

void th_ntp_servers_deinit(struct th_ntp_servers *servers) {
    if (servers) {
        free(servers->servers);
        servers->servers = NULL;
        servers->n = 0;
    }
}

/* ---- names ---- */

/* Any spelling of one server as the same text. */
static void canonical(const char *name, char text[TH_NTP_NAME_SIZE]) {
    struct in6_addr address;
    size_t length;

    if (inet_pton(AF_INET, name, &address) == 1) {
        (void)inet_ntop(AF_INET, &address, text, TH_NTP_NAME_SIZE);
        return;
    }
    if (inet_pton(AF_INET6, name, &address) == 1) {
        (void)inet_ntop(AF_INET6, &address, text, TH_NTP_NAME_SIZE);
        return;
    }
    (void)snprintf(text, TH_NTP_NAME_SIZE, "%s", name);
    length = strlen(text);
    if (length > 1 && text[length - 1] == '.') {
        text[length - 1] = '\0';
    }
    for (char *c = text; *c; c++) {
        *c = (char)(*c >= 'A' && *c <= 'Z' ? *c - 'A' + 'a' : *c);
    }
}

bool th_ntp_name_equal(const char *a, const char *b) {
    char first[TH_NTP_NAME_SIZE], second[TH_NTP_NAME_SIZE];

    canonical(a, first);
    canonical(b, second);
    return strcmp(first, second) == 0;
}

static bool is_letter_or_digit(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_label(const char *label, size_t length) {
    if (length == 0 || length > LABEL_MAX || label[0] == '-' || label[length - 1] == '-') {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        if (!is_letter_or_digit(label[i]) && label[i] != '-') {
            return false;
        }
    }
    return true;
}

bool th_ntp_name_is_good(const char *name) {
    struct in6_addr address;
    const char *label = name;
    size_t length = strlen(name);

    if (inet_pton(AF_INET, name, &address) == 1 || inet_pton(AF_INET6, name, &address) == 1) {
        return true;
    }
    if (length > 0 && name[length - 1] == '.') {
        length--;
    }
    if (length == 0 || length > NAME_MAX_LENGTH) {
        return false;
    }
    for (const char *end; label < name + length; label = end + 1) {
        end = memchr(label, '.', (size_t)(name + length - label));
        end = end ? end : name + length;
        if (!is_label(label, (size_t)(end - label))) {
            return false;
        }
        /* A last label of digits alone is an address with a mistake in it. */
        if (end == name + length) {
            return strspn(label, "0123456789") < (size_t)(end - label);
        }
    }
    return false;
}

const struct th_ntp_server *th_ntp_servers_find(const struct th_ntp_servers *servers,
                                                const char *name) {
    for (size_t i = 0; i < servers->n; i++) {
        if (th_ntp_name_equal(servers->servers[i].name, name)) {
            return &servers->servers[i];
        }
    }
    return NULL;
}

/* ---- the set that hosts compare ---- */

static int compare(const void *a, const void *b) {
    return strcmp(a, b);
}

/* The names that count, canonical, in their order. Returns their number. */
static size_t select_names(const struct th_ntp_servers *servers, bool own_clocks,
                           char (*names)[TH_NTP_NAME_SIZE]) {
    size_t n = 0;

    for (size_t i = 0; i < servers->n; i++) {
        enum th_ntp_kind kind = servers->servers[i].kind;

        if (own_clocks ? kind == TH_NTP_REFCLOCK : kind == TH_NTP_SERVER || kind == TH_NTP_POOL) {
            canonical(servers->servers[i].name, names[n++]);
        }
    }
    return n;
}

int th_ntp_text(const struct th_ntp_servers *servers, char **ret_text) {
    th_auto_free char(*names)[TH_NTP_NAME_SIZE] = calloc(servers->n + 1, sizeof(*names));
    th_auto_free char *text = calloc(servers->n + 1, TH_NTP_NAME_SIZE);
    char *end = text;
    size_t n;

    if (!names || !text) {
        return -ENOMEM;
    }
    n = select_names(servers, false, names);
    n = n > 0 ? n : select_names(servers, true, names);
    qsort(names, n, sizeof(*names), compare);
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || strcmp(names[i - 1], names[i]) != 0) {
            end = stpcpy(i > 0 ? stpcpy(end, " ") : end, names[i]);
        }
    }
    *ret_text = th_take(text);
    return 0;
}

int th_ntp_digest(const struct th_ntp_servers *servers, uint8_t ret_digest[TH_NTP_DIGEST_SIZE]) {
    th_auto_free char *text = NULL;
    struct sha256_ctx hash;
    int r = th_ntp_text(servers, &text);

    if (r < 0) {
        return r;
    }
    memset(ret_digest, 0, TH_NTP_DIGEST_SIZE);
    if (*text) {
        sha256_init(&hash);
        sha256_update(&hash, strlen(text), (const uint8_t *)text);
        sha256_digest(&hash, TH_NTP_DIGEST_SIZE, ret_digest);
    }
    return 0;
}
