/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The files below /run/timehandoff, most of which an unprivileged program writes and root reads.
 * The first character says which one; "@" stands for this boot's id, which no mutation would find.
 * What is read is written, and what was written is read and written to the very same bytes; what
 * people and programs are shown of it is clean text and whole JSON.
 */
#include "fuzz.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "config/arrival.h"
#include "config/state_reader.h"
#include "timehandoff/report.h"

#define REAL_NS (INT64_C(1764000000) * TH_NS_PER_S)
#define BOOT_NS (1000 * TH_NS_PER_S)

static const struct th_now now = {REAL_NS, BOOT_NS, BOOT_NS, BOOT_NS};

/* The rest of the input as a file, the boot's id put in. */
static int open_input(const struct fuzz_bytes *input) {
    static char boot[TH_UUID_TEXT_SIZE];
    const uint8_t *mark = memchr(input->at, '@', input->left);
    size_t before = mark ? (size_t)(mark - input->at) : input->left;
    size_t after = mark ? input->left - before - 1 : 0;
    int fd = memfd_create("state", MFD_CLOEXEC);
    struct th_uuid id;

    if (!*boot) {
        must(th_state_reader_boot_id(&id) == 0);
        (void)th_uuid_format(&id, boot);
    }
    must(fd >= 0 && write(fd, input->at, before) == (ssize_t)before);
    must(!mark || (write(fd, boot, strlen(boot)) > 0 && write(fd, mark + 1, after) >= 0));
    return fd;
}

/* The whole of a file of the folder. */
static char *read_back(const char *name) {
    char path[PATH_MAX], *text = NULL;
    FILE *file = fopen(fuzz_path(name, path), "re");
    size_t room = 0;
    ssize_t size;

    must(file);
    size = getdelim(&text, &room, '\0', file);
    must(size > 0 && strlen(text) == (size_t)size && fclose(file) == 0);
    return text;
}

/* ---- what people and programs see ---- */

static void check_shown(const struct th_status *status) {
    static void (*const writers[])(const struct th_status *status,
                                   FILE *out) = {th_report_status_text, th_report_metrics};
    char *text = NULL;
    size_t size = 0;
    FILE *out;

    for (size_t i = 0; i < TH_ELEMENTS(writers); i++) {
        out = open_memstream(&text, &size);
        must(out);
        writers[i](status, out);
        must(fclose(out) == 0 && fuzz_is_text(text));
        free(text);
    }
    out = open_memstream(&text, &size);
    must(out && th_report_status_json(status, out) == 0 && fclose(out) == 0);
    must(fuzz_is_json(text, size));
    free(text);
}

/* ---- each of the files ---- */

#define CHECK(kind, file, shown)                                                                   \
    static void check_##kind(int fd) {                                                             \
        struct th_##kind first, second;                                                            \
        int again;                                                                                 \
                                                                                                   \
        if (read_##kind(fd, &first) < 0) {                                                         \
            return;                                                                                \
        }                                                                                          \
        shown;                                                                                     \
        must(write_##kind(&first) == 0);                                                           \
        th_auto_free char *once = read_back(file);                                                 \
                                                                                                   \
        again = th_state_open(fuzz_folder(), file);                                                \
        must(again >= 0 && read_##kind(again, &second) == 0 && close(again) == 0);                 \
        must(write_##kind(&second) == 0);                                                          \
        th_auto_free char *twice = read_back(file);                                                \
                                                                                                   \
        must(strcmp(once, twice) == 0);                                                            \
        deinit_##kind(&first);                                                                     \
        deinit_##kind(&second);                                                                    \
    }

static const struct th_status nothing = {.now_real_ns = REAL_NS, .now_boot_ns = BOOT_NS};

static void show(const struct th_status_host *host, const struct th_state_peers *peers,
                 const struct th_state_override *override) {
    struct th_status status = nothing;

    status.host = host;
    status.peers = peers;
    status.override = override;
    check_shown(&status);
}

static void check_peers(const struct th_state_peers *peers) {
    for (size_t i = 0; i < peers->n_peers; i++) {
        const struct th_state_peer *peer = &peers->peers[i];

        must(*peer->host && fuzz_is_line(peer->host) && fuzz_is_line(peer->ntp_servers));
        must(peer->gap.bound_ns >= 0 && peer->gap.delay_ns >= 0);
        must(!peer->answered || peer->gap.bound_ns > 0);
        for (size_t j = 0; j < peer->n_history; j++) {
            must(peer->history[j].bound_ns > 0);
        }
    }
    show(NULL, peers, NULL);
}

static void check_keys(const struct th_state_host *host) {
    for (size_t i = 0; i < host->n_domains; i++) {
        const struct th_key *key = &host->domains[i].key;

        must(key->id == 0 || (key->id & TH_KEY_DOMAIN_BIT && key->type != 0));
        must(!th_uuid_is_none(&host->domains[i].uuid));
    }
    must(fuzz_is_line(host->name) && fuzz_is_line(host->sync.reason));
}

static void check_status(const struct th_status_host *host) {
    for (size_t i = 0; i < host->n_alerts; i++) {
        must(host->alerts[i].kind < TH_ALERT_KINDS && host->alerts[i].gap.bound_ns >= 0);
    }
    show(host, NULL, NULL);
}

static void check_override(const struct th_state_override *override) {
    must(override->until_boot_ns > BOOT_NS && fuzz_is_line(override->source));
    show(NULL, NULL, override);
}

#define FRESH TH_STATE_FRESH
#define read_state_host(fd, ret) th_state_host_read(fd, &now, FRESH, ret)
#define read_state_peers(fd, ret) th_state_peers_read(fd, &now, FRESH, ret)
#define read_state_override(fd, ret) th_state_override_read(fd, &now, ret)
#define read_status_host(fd, ret) th_status_read(fd, &now, FRESH, ret)
#define write_state_host(host) th_state_host_write(fuzz_folder(), host, &now, TH_NS_PER_S, -1)
#define write_state_peers(peers) th_state_peers_write(fuzz_folder(), peers, &now, TH_NS_PER_S)
#define write_state_override(override) th_state_override_write(fuzz_folder(), override, &now)
#define write_status_host(host) th_status_write(fuzz_folder(), host, &now, TH_NS_PER_S)
#define deinit_state_host th_state_host_deinit
#define deinit_state_peers th_state_peers_deinit
#define deinit_state_override(override) (void)0
#define deinit_status_host th_status_host_deinit

CHECK(state_host, TH_STATE_HOST_FILE, check_keys(&first))
CHECK(state_peers, TH_STATE_PEERS_FILE, check_peers(&first))
CHECK(state_override, TH_STATE_OVERRIDE_FILE, check_override(&first))
CHECK(status_host, TH_STATE_STATUS_FILE, check_status(&first))

static void check_request(int fd) {
    char peer[256], again[256];
    int other;

    if (th_state_request_read(fd, &now, peer) < 0) {
        return;
    }
    must(*peer && fuzz_is_line(peer));
    must(th_state_request_write(fuzz_folder(), peer, &now) == 0);
    other = th_state_open(fuzz_folder(), TH_STATE_REQUEST_FILE);
    must(other >= 0 && th_state_request_read(other, &now, again) == 0 && close(other) == 0);
    must(strcmp(peer, again) == 0);
}

static void check_arrival(const struct fuzz_bytes *input) {
    static const struct th_uuid uuid = {{0xAB}};
    char name[TH_UUID_TEXT_SIZE];
    struct th_arrival note, again;
    int folder = open(fuzz_folder(), O_PATH | O_DIRECTORY | O_CLOEXEC);

    fuzz_put(th_uuid_format(&uuid, name), input->at, input->left);
    must(folder >= 0);
    if (th_arrival_take(folder, &uuid, REAL_NS, &note) == 0) {
        must(fuzz_is_line(note.host));
        must(!note.has_gap || (note.gap.bound_ns > 0 && note.gap.delay_ns >= 0));
        must(th_arrival_write(folder, &note) == 0);
        must(th_arrival_take(folder, &uuid, REAL_NS, &again) == 0);
        must(strcmp(note.host, again.host) == 0 && note.has_gap == again.has_gap);
        must(note.gap.offset_ns == again.gap.offset_ns && note.gap.bound_ns == again.gap.bound_ns &&
             note.gap.delay_ns == again.gap.delay_ns);
    }
    must(close(folder) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_bytes input = {data, size};
    unsigned which = (unsigned)fuzz_number(&input, 1);
    char path[PATH_MAX];
    int fd = open_input(&input);

    must(mkdir(fuzz_path("peers", path), 0755) == 0 || errno == EEXIST);
    switch (which) {
    case 'h': check_state_host(fd); break;
    case 'p': check_state_peers(fd); break;
    case 's': check_status_host(fd); break;
    case 'o': check_state_override(fd); break;
    case 'r': check_request(fd); break;
    default: check_arrival(&input); break;
    }
    must(close(fd) == 0);
    return 0;
}
