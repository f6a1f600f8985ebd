/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A libvirt network's XML with the settings for NTP servers put into it: what comes out is a
 * network that serves what it served, doing it twice is doing it once, and with nothing to set not
 * a byte changes.
 */
#include "fuzz.h"

#include <errno.h>

#include "lint/dhcp.h"

static const char option4[] = "dhcp-option=option:ntp-server,10.0.0.1,10.0.0.2";
static const char option6[] = "dhcp-option=option6:ntp-server,[2001:db8::1]";

static char *update(const char *xml, size_t size, const char *four, const char *six,
                    struct th_dhcp_network *ret_network) {
    char error[160] = "", *text = NULL;
    int r = th_dhcp_network_update(xml, size, four, six, ret_network, &text, error, sizeof(error));

    must(r == 0 || (r == -EBADMSG && *error && fuzz_is_line(error) && !text));
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *xml = (const char *)data;
    struct th_dhcp_network before, after;
    th_auto_free char *once = update(xml, size, option4, option6, &before);

    if (!once) {
        return 0;
    }
    th_auto_free char *twice = update(once, strlen(once), option4, option6, &after);

    must(twice && strcmp(once, twice) == 0);
    must(before.serves4 == after.serves4 && before.serves6 == after.serves6);
    must(before.has_tagged == after.has_tagged);
    must((strstr(once, option4) != NULL) >= before.serves4);
    must((strstr(once, option6) != NULL) >= before.serves6);

    th_auto_free char *same = update(xml, size, "", "", &after);

    must(same && strlen(same) == size && memcmp(same, xml, size) == 0);
    return 0;
}
