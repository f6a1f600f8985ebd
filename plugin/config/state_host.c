/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the daemon knows of this host and its domains, for peerd and the checker. It holds the
 * domains' keys, so only root and one group may read it, and every copy that is made here is wiped.
 * The caller may rely on a host that was read being complete: a domain left out would pass for one
 * that isn't here.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config/state_field.h"
#include "config/state_reader.h"
#include "config/state_writer.h"
#include "timehandoff/probe.h"
#include "timehandoff/state.h"

static const struct th_state_field host_fields[] = {
    TH_STATE_FIELD(struct th_state_host, uuid, "uuid", TH_STATE_UUID),
    TH_STATE_FIELD(struct th_state_host, name, "name", TH_STATE_TEXT),
    TH_STATE_SYNC(struct th_state_host, sync),
    TH_STATE_NUMBER(struct th_state_host, sync.slew_ppm, "slew-ppm", TH_STATE_UINT32, 0,
                    UINT32_MAX),
    TH_STATE_FIELD(struct th_state_host, ntp_known, "ntp-known", TH_STATE_BOOL),
    TH_STATE_FIELD(struct th_state_host, ntp_digest, "ntp-digest", TH_STATE_DIGEST),
    TH_STATE_FIELD(struct th_state_host, domains_known, "domains-known", TH_STATE_BOOL),
};

static const struct th_state_field domain_fields[] = {
    TH_STATE_FIELD(struct th_answer_domain, uuid, "uuid", TH_STATE_UUID),
    TH_STATE_FIELD(struct th_answer_domain, state, "state", TH_STATE_DOMAIN),
    TH_STATE_FIELD(struct th_answer_domain, due, "handoff-due", TH_STATE_BOOL),
    TH_STATE_NUMBER(struct th_answer_domain, key.id, "key-id", TH_STATE_UINT32, TH_KEY_DOMAIN_BIT,
                    UINT32_MAX),
};

static const struct th_state_field origin_fields[] = {
    TH_STATE_FIELD(struct th_state_origin, host, "host", TH_STATE_TEXT),
    TH_STATE_FIELD(struct th_state_origin, uuid, "uuid", TH_STATE_UUID),
};

static const struct th_state_field ntp_fields[] = {
    TH_STATE_FIELD(struct th_ntp_server, name, "name", TH_STATE_TEXT),
    TH_STATE_FIELD(struct th_ntp_server, where, "where", TH_STATE_TEXT),
};

/* ---- out ---- */

static void write_ntp(struct th_state_writer *writer, const struct th_ntp_server *server) {
    th_state_writer_section(writer, "ntp");
    th_state_writer_word(writer, "kind", th_ntp_kind_name(server->kind));
    th_state_field_write_all(ntp_fields, TH_ELEMENTS(ntp_fields), server, writer);
}

static void write_origin(struct th_state_writer *writer, const struct th_state_origin *origin) {
    th_state_writer_section(writer, "origin");
    th_state_field_write_all(origin_fields, TH_ELEMENTS(origin_fields), origin, writer);
    for (size_t i = 0; i < origin->n_addresses; i++) {
        char address[TH_ADDRESS_TEXT_SIZE];

        th_state_writer_word(writer, "address", th_address_format(&origin->addresses[i], address));
    }
}

static void write_domain(struct th_state_writer *writer, const struct th_answer_domain *domain) {
    char hex[2 * TH_KEY_MAX_SIZE + 1];

    th_state_writer_section(writer, "domain");
    if (domain->key.id == 0) {
        th_state_field_write_all(domain_fields, TH_ELEMENTS(domain_fields) - 1, domain, writer);
        return;
    }
    th_state_field_write_all(domain_fields, TH_ELEMENTS(domain_fields), domain, writer);
    th_hex_encode(domain->key.bytes, th_key_size(&domain->key), hex);
    th_state_writer_word(writer, "key", hex);
    explicit_bzero(hex, sizeof(hex));
}

int th_state_host_write(const char *folder, const struct th_state_host *host,
                        const struct th_now *now, int64_t refresh_ns, int group) {
    struct th_state_writer writer;
    int r;

    if (host->n_domains > TH_STATE_MAX_DOMAINS || host->n_origins > TH_STATE_MAX_ORIGINS) {
        return -E2BIG;
    }
    r = th_state_writer_open(&writer, folder, TH_STATE_HOST_FILE, 0640, group, now, refresh_ns);
    if (r < 0) {
        return r;
    }
    th_state_writer_section(&writer, "host");
    th_state_field_write_all(host_fields, TH_ELEMENTS(host_fields), host, &writer);
    for (size_t i = 0; i < host->ntp.n; i++) {
        write_ntp(&writer, &host->ntp.servers[i]);
    }
    for (size_t i = 0; i < host->n_domains; i++) {
        write_domain(&writer, &host->domains[i]);
    }
    for (size_t i = 0; i < host->n_origins; i++) {
        write_origin(&writer, &host->origins[i]);
    }
    return th_state_writer_commit(&writer);
}

/* ---- in ---- */

struct reader {
    struct th_state_host host;
    bool has_host;
    bool has_key; /* of the domain being read */
    struct th_answer_domain *domain;
    struct th_state_origin *origin;
    struct th_ntp_server *ntp; /* the one being read */
};

/* The domain before a new section is whole, or the file is broken. */
static int finish_domain(struct reader *reader) {
    const struct th_answer_domain *domain = reader->domain;
    bool has_key = reader->has_key;

    reader->domain = NULL;
    reader->has_key = false;
    return domain && (th_uuid_is_none(&domain->uuid) || has_key != (domain->key.id != 0)) ? -EBADMSG
                                                                                          : 0;
}

/* Not by realloc: it could leave copies of the keys in freed memory. */
static int grow(struct th_state_host *host) {
    struct th_answer_domain *grown;
    size_t size = host->n_domains * sizeof(*grown);

    if (host->n_domains == TH_STATE_MAX_DOMAINS) {
        return -EBADMSG;
    }
    /* Room doubles: whenever the number is a power of two, or nothing yet. */
    if ((host->n_domains & (host->n_domains - 1)) != 0) {
        return 0;
    }
    grown = calloc(host->n_domains > 0 ? 2 * host->n_domains : 1, sizeof(*grown));
    if (!grown) {
        return -ENOMEM;
    }
    if (size > 0) {
        memcpy(grown, host->domains, size);
        explicit_bzero(host->domains, size);
    }
    free(host->domains);
    host->domains = grown;
    return 0;
}

/* An origin without a name or an address is nothing to ask. */
static int finish_origin(struct reader *reader) {
    const struct th_state_origin *origin = reader->origin;

    reader->origin = NULL;
    return origin && (origin->host[0] == '\0' || origin->n_addresses == 0) ? -EBADMSG : 0;
}

static int begin_origin(struct reader *reader) {
    struct th_state_host *host = &reader->host;

    if (host->n_origins == TH_STATE_MAX_ORIGINS) {
        return -EBADMSG;
    }
    reader->origin = &host->origins[host->n_origins++];
    return 0;
}

/* A server has a kind and a name. */
static int finish_ntp(struct reader *reader) {
    const struct th_ntp_server *ntp = reader->ntp;

    reader->ntp = NULL;
    return ntp && (ntp->kind == 0 || ntp->name[0] == '\0') ? -EBADMSG : 0;
}

static int begin_ntp(struct reader *reader) {
    struct th_ntp_servers *servers = &reader->host.ntp;
    size_t n = servers->n;
    int r = th_ntp_servers_add(servers, 0, "", "");

    if (r == 0) {
        r = servers->n == n ? -EBADMSG : 0;
        reader->ntp = &servers->servers[n];
    }
    return r;
}

static int read_ntp(struct th_ntp_server *ntp, const char *key, const char *value) {
    if (strcmp(key, "kind") != 0) {
        return th_state_field_read(ntp_fields, TH_ELEMENTS(ntp_fields), ntp, key, value);
    }
    ntp->kind = th_ntp_kind_parse(value);
    return ntp->kind == 0 ? -EBADMSG : 0;
}

static int begin(struct reader *reader, const char *section) {
    int r = finish_domain(reader);

    if (r == 0) {
        r = finish_origin(reader);
    }
    if (r == 0) {
        r = finish_ntp(reader);
    }
    if (r < 0) {
        return r;
    }
    if (strcmp(section, "host") == 0) {
        reader->has_host = true;
    } else if (strcmp(section, "domain") == 0) {
        r = grow(&reader->host);
        if (r == 0) {
            reader->domain = &reader->host.domains[reader->host.n_domains++];
            memset(reader->domain, 0, sizeof(*reader->domain));
        }
    } else if (strcmp(section, "origin") == 0) {
        r = begin_origin(reader);
    } else if (strcmp(section, "ntp") == 0) {
        r = begin_ntp(reader);
    }
    return r;
}

static int read_origin(struct th_state_origin *origin, const char *key, const char *value) {
    if (strcmp(key, "address") != 0) {
        return th_state_field_read(origin_fields, TH_ELEMENTS(origin_fields), origin, key, value);
    }
    if (origin->n_addresses == TH_ELEMENTS(origin->addresses) ||
        th_address_parse(value, TH_PACKET_DEFAULT_PORT, &origin->addresses[origin->n_addresses]) <
            0) {
        return -EBADMSG;
    }
    origin->n_addresses++;
    return 0;
}

/* The key's type shows in its length. */
static int read_key(struct reader *reader, const char *value) {
    struct th_key *key = &reader->domain->key;

    key->type = strlen(value) == 2 * TH_KEY_MAX_SIZE ? TH_KEY_AES256 : TH_KEY_AES128;
    reader->has_key = true;
    return th_hex_decode(value, key->bytes, th_key_size(key)) < 0 ? -EBADMSG : 0;
}

static int on_entry(void *userdata, const char *section, const char *key, const char *value,
                    char *why) {
    struct reader *reader = userdata;

    (void)why;
    if (!key) {
        return begin(reader, section);
    }
    if (strcmp(section, "host") == 0) {
        return th_state_field_read(host_fields, TH_ELEMENTS(host_fields), &reader->host, key,
                                   value);
    }
    if (reader->ntp) {
        return read_ntp(reader->ntp, key, value);
    }
    if (reader->origin) {
        return read_origin(reader->origin, key, value);
    }
    if (!reader->domain) {
        return 0;
    }
    return strcmp(key, "key") == 0 ? read_key(reader, value)
                                   : th_state_field_read(domain_fields, TH_ELEMENTS(domain_fields),
                                                         reader->domain, key, value);
}

int th_state_host_read(int fd, const struct th_now *now, enum th_state_age age,
                       struct th_state_host *ret_host) {
    struct reader reader = {.has_host = false};
    int r;

    reader.host.sync.error_ns = -1;
    reader.host.sync.age_ns = -1;
    r = th_state_reader_read(fd, now, age, on_entry, &reader);
    if (r == 0 && !reader.has_host) {
        r = -EBADMSG;
    }
    if (r < 0) {
        th_state_host_deinit(&reader.host);
        return r;
    }
    *ret_host = reader.host;
    return 0;
}

void th_state_host_deinit(struct th_state_host *host) {
    if (!host) {
        return;
    }
    if (host->domains) {
        explicit_bzero(host->domains, host->n_domains * sizeof(*host->domains));
    }
    free(host->domains);
    host->domains = NULL;
    host->n_domains = 0;
    th_ntp_servers_deinit(&host->ntp);
}
