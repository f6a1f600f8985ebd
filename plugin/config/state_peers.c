/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What peerd learnt of its peers. peerd faces the network and has no privilege, so whoever reads
 * this file may be root and reads a stranger's words: every number has a range, every text is
 * cleaned, and peers and addresses are limited in number.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "config/state_field.h"
#include "config/state_reader.h"
#include "config/state_writer.h"
#include "timehandoff/config.h"
#include "timehandoff/probe.h"
#include "timehandoff/state.h"

static const struct th_state_field fields[] = {
    TH_STATE_FIELD(struct th_state_peer, host, "host", TH_STATE_TEXT),
    TH_STATE_FIELD(struct th_state_peer, group, "group", TH_STATE_TEXT),
    TH_STATE_NUMBER(struct th_state_peer, key_id, "key-id", TH_STATE_UINT32, 0,
                    TH_KEY_DOMAIN_BIT - 1),
    TH_STATE_FIELD(struct th_state_peer, own, "own", TH_STATE_BOOL),
    TH_STATE_FIELD(struct th_state_peer, found_by_stamp, "found-by-stamp", TH_STATE_BOOL),
    TH_STATE_NUMBER(struct th_state_peer, probed_boot_ns, "probed-boot-ns", TH_STATE_INT64, 0,
                    INT64_MAX),
    TH_STATE_FIELD(struct th_state_peer, answered, "answered", TH_STATE_BOOL),
    TH_STATE_FIELD(struct th_state_peer, answers_without_key, "answers-without-key", TH_STATE_BOOL),
    TH_STATE_FIELD(struct th_state_peer, authenticated, "authenticated", TH_STATE_BOOL),
    TH_STATE_NUMBER(struct th_state_peer, gap.offset_ns, "offset-ns", TH_STATE_INT64, INT64_MIN,
                    INT64_MAX),
    TH_STATE_NUMBER(struct th_state_peer, gap.bound_ns, "bound-ns", TH_STATE_INT64, 0, INT64_MAX),
    TH_STATE_NUMBER(struct th_state_peer, gap.delay_ns, "delay-ns", TH_STATE_INT64, 0, INT64_MAX),
    TH_STATE_NUMBER(struct th_state_peer, seen_real_ns, "seen-real-ns", TH_STATE_INT64, 0,
                    INT64_MAX),
    TH_STATE_FIELD(struct th_state_peer, has_identity, "has-identity", TH_STATE_BOOL),
    TH_STATE_FIELD(struct th_state_peer, uuid, "uuid", TH_STATE_UUID),
    TH_STATE_FIELD(struct th_state_peer, synchronised, "synchronised", TH_STATE_TERNARY),
    TH_STATE_FIELD(struct th_state_peer, ntp_digest, "ntp-digest", TH_STATE_DIGEST),
    TH_STATE_FIELD(struct th_state_peer, has_ntp_servers, "has-ntp-servers", TH_STATE_BOOL),
    TH_STATE_FIELD(struct th_state_peer, ntp_servers, "ntp-servers", TH_STATE_TEXT),
};

/* ---- out ---- */

static void write_peer(struct th_state_writer *writer, const struct th_state_peer *peer) {
    th_state_writer_section(writer, "peer");
    th_state_field_write_all(fields, TH_ELEMENTS(fields), peer, writer);
    for (size_t i = 0; i < peer->n_addresses; i++) {
        char address[TH_ADDRESS_TEXT_SIZE];

        th_state_writer_word(writer, "address", th_address_format(&peer->addresses[i], address));
    }
    for (size_t i = 0; i < peer->n_history; i++) {
        const struct th_state_gap *gap = &peer->history[i];
        char text[72];

        snprintf(text, sizeof(text), "%" PRId64 " %" PRId64 " %" PRId64, gap->offset_ns,
                 gap->bound_ns, gap->at_real_ns);
        th_state_writer_word(writer, "history", text);
    }
}

int th_state_peers_write(const char *folder, const struct th_state_peers *peers,
                         const struct th_now *now, int64_t refresh_ns) {
    struct th_state_writer writer;
    int r;

    if (peers->n_peers > TH_STATE_MAX_PEERS) {
        return -E2BIG;
    }
    r = th_state_writer_open(&writer, folder, TH_STATE_PEERS_FILE, 0644, -1, now, refresh_ns);
    if (r < 0) {
        return r;
    }
    th_state_writer_section(&writer, "questions");
    for (size_t i = 0; i < TH_ELEMENTS(peers->questions); i++) {
        th_state_writer_number(&writer, th_answer_outcome_name((enum th_answer_outcome)i),
                               peers->questions[i]);
    }
    for (size_t i = 0; i < peers->n_peers; i++) {
        write_peer(&writer, &peers->peers[i]);
    }
    return th_state_writer_commit(&writer);
}

/* ---- in ---- */

struct reader {
    struct th_state_peers peers;
    struct th_state_peer *peer; /* being read */
};

static int finish_peer(struct reader *reader) {
    const struct th_state_peer *peer = reader->peer;

    reader->peer = NULL;
    if (!peer) {
        return 0;
    }
    /* An answer is a gap with a bound, at a time; anything else would be a gap made of zeros. */
    return peer->host[0] == '\0' ||
                   (peer->answered && (peer->gap.bound_ns == 0 || peer->seen_real_ns == 0))
               ? -EBADMSG
               : 0;
}

static int begin(struct reader *reader, const char *section) {
    struct th_state_peers *peers = &reader->peers;
    int r = finish_peer(reader);

    if (r < 0 || strcmp(section, "peer") != 0) {
        return r;
    }
    if (peers->n_peers == TH_STATE_MAX_PEERS) {
        return -EBADMSG;
    }
    if (peers->n_peers % 16 == 0) {
        void *grown = reallocarray(peers->peers, peers->n_peers + 16, sizeof(*peers->peers));

        if (!grown) {
            return -ENOMEM;
        }
        peers->peers = grown;
    }
    reader->peer = &peers->peers[peers->n_peers++];
    memset(reader->peer, 0, sizeof(*reader->peer));
    return 0;
}

static int read_address(struct th_state_peer *peer, const char *value) {
    if (peer->n_addresses == TH_ELEMENTS(peer->addresses) ||
        th_address_parse(value, TH_PACKET_DEFAULT_PORT, &peer->addresses[peer->n_addresses]) < 0) {
        return -EBADMSG;
    }
    peer->n_addresses++;
    return 0;
}

/* Three numbers with one blank between two. */
static int read_history(struct th_state_peer *peer, const char *value) {
    static const int64_t least[] = {INT64_MIN, 1, 0};
    int64_t numbers[TH_ELEMENTS(least)];
    char text[72], *rest = text;

    if (peer->n_history == TH_ELEMENTS(peer->history) || strlen(value) >= sizeof(text)) {
        return -EBADMSG;
    }
    strcpy(text, value);
    for (size_t i = 0; i < TH_ELEMENTS(least); i++) {
        const char *word = strsep(&rest, " ");

        if (!word || th_state_field_number(word, least[i], INT64_MAX, &numbers[i]) < 0) {
            return -EBADMSG;
        }
    }
    if (rest) {
        return -EBADMSG;
    }
    peer->history[peer->n_history++] = (struct th_state_gap){numbers[0], numbers[1], numbers[2]};
    return 0;
}

static int read_questions(struct th_state_peers *peers, const char *key, const char *value) {
    for (size_t i = 0; i < TH_ELEMENTS(peers->questions); i++) {
        if (strcmp(key, th_answer_outcome_name((enum th_answer_outcome)i)) == 0) {
            return th_state_field_number(value, 0, INT64_MAX, &peers->questions[i]);
        }
    }
    return 0;
}

static int on_entry(void *userdata, const char *section, const char *key, const char *value,
                    char *why) {
    struct reader *reader = userdata;

    (void)why;
    if (!key) {
        return begin(reader, section);
    }
    if (strcmp(section, "questions") == 0) {
        return read_questions(&reader->peers, key, value);
    }
    if (!reader->peer) {
        return 0;
    }
    if (strcmp(key, "address") == 0) {
        return read_address(reader->peer, value);
    }
    return strcmp(key, "history") == 0
               ? read_history(reader->peer, value)
               : th_state_field_read(fields, TH_ELEMENTS(fields), reader->peer, key, value);
}

int th_state_peers_read(int fd, const struct th_now *now, enum th_state_age age,
                        struct th_state_peers *ret_peers) {
    struct reader reader = {.peer = NULL};
    int r = th_state_reader_read(fd, now, age, on_entry, &reader);

    if (r < 0) {
        th_state_peers_deinit(&reader.peers);
        return r;
    }
    *ret_peers = reader.peers;
    return 0;
}

void th_state_peers_deinit(struct th_state_peers *peers) {
    if (!peers) {
        return;
    }
    free(peers->peers);
    peers->peers = NULL;
    peers->n_peers = 0;
}
