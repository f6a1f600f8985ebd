/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The override: a file that lets every migration through until it runs out. Its end is kept in boot
 * time, so that a step of the very clock that is in trouble neither ends nor prolongs it; the
 * wall-clock time beside it is only for people to read.
 */
#include <errno.h>
#include <string.h>

#include "config/state_field.h"
#include "config/state_reader.h"
#include "config/state_writer.h"
#include "timehandoff/state.h"

static const struct th_state_field fields[] = {
    TH_STATE_NUMBER(struct th_state_override, until_real_ns, "until-real-ns", TH_STATE_INT64, 0,
                    INT64_MAX),
    TH_STATE_NUMBER(struct th_state_override, until_boot_ns, "until-boot-ns", TH_STATE_INT64, 0,
                    INT64_MAX),
    TH_STATE_FIELD(struct th_state_override, source, "source", TH_STATE_TEXT),
};

int th_state_override_write(const char *folder, const struct th_state_override *override,
                            const struct th_now *now) {
    struct th_state_writer writer;
    int r = th_state_writer_open(&writer, folder, TH_STATE_OVERRIDE_FILE, 0644, -1, now, 0);

    if (r < 0) {
        return r;
    }
    th_state_writer_section(&writer, "override");
    th_state_field_write_all(fields, TH_ELEMENTS(fields), override, &writer);
    return th_state_writer_commit(&writer);
}

static int on_entry(void *userdata, const char *section, const char *key, const char *value,
                    char *why) {
    (void)why;
    if (!key || strcmp(section, "override") != 0) {
        return 0;
    }
    return th_state_field_read(fields, TH_ELEMENTS(fields), userdata, key, value);
}

int th_state_override_read(int fd, const struct th_now *now,
                           struct th_state_override *ret_override) {
    struct th_state_override override = {.until_boot_ns = -1};
    int r = th_state_reader_read(fd, now, TH_STATE_FRESH, on_entry, &override);

    if (r < 0) {
        return r;
    }
    if (override.until_boot_ns < 0) {
        return -EBADMSG;
    }
    if (now->boot_ns >= override.until_boot_ns) {
        return -ESTALE;
    }
    *ret_override = override;
    return 0;
}
