/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A request of the daemon to peerd: probe this peer now. The daemon opens no socket to the network
 * and peerd takes no commands, so this is a file like the others, that peerd watches; a request
 * that is missed, or old, is only a measurement that comes at its usual time.
 */
#include <errno.h>
#include <string.h>

#include "config/state_field.h"
#include "config/state_reader.h"
#include "config/state_writer.h"
#include "timehandoff/state.h"

/* Stale after three times this. */
#define REFRESH_NS TH_NS_PER_S

struct request {
    char peer[256];
};

static const struct th_state_field fields[] = {
    TH_STATE_FIELD(struct request, peer, "peer", TH_STATE_TEXT),
};

int th_state_request_write(const char *folder, const char *peer, const struct th_now *now) {
    struct th_state_writer writer;
    struct request request;
    int r = th_state_writer_open(&writer, folder, TH_STATE_REQUEST_FILE, 0644, -1, now, REFRESH_NS);

    if (r < 0) {
        return r;
    }
    th_text_clean(peer, request.peer, sizeof(request.peer));
    th_state_writer_section(&writer, "request");
    th_state_field_write_all(fields, TH_ELEMENTS(fields), &request, &writer);
    return th_state_writer_commit(&writer);
}

static int on_entry(void *userdata, const char *section, const char *key, const char *value,
                    char *why) {
    (void)why;
    if (!key || strcmp(section, "request") != 0) {
        return 0;
    }
    return th_state_field_read(fields, TH_ELEMENTS(fields), userdata, key, value);
}

int th_state_request_read(int fd, const struct th_now *now, char *ret_peer) {
    struct request request = {.peer = ""};
    int r = th_state_reader_read(fd, now, TH_STATE_FRESH, on_entry, &request);

    if (r < 0) {
        return r;
    }
    if (!request.peer[0]) {
        return -EBADMSG;
    }
    memcpy(ret_peer, request.peer, sizeof(request.peer));
    return 0;
}
