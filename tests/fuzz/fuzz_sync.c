/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What chronyc, busctl, ntpq and pmc print, of daemons that may say anything. Two characters say
 * which parser and which state of the kernel, the rest is the text. A judgement that comes out of
 * it makes sense, can be shown, and can be published: the state file that the daemon writes with it
 * is one that the others can read.
 */
#include "fuzz.h"

#include <errno.h>
#include <sys/timex.h>

#include "clock/sync_daemon.h"
#include "timehandoff/state.h"

#define REAL_NS (INT64_C(1764000000) * TH_NS_PER_S)

static const struct th_now now = {REAL_NS, TH_NS_PER_S, TH_NS_PER_S, TH_NS_PER_S};

static const struct th_sync_kernel kernels[] = {
    {.maxerror_us = 16000000, .status = STA_UNSYNC, .tick_us = 10000},
    {.maxerror_us = 1000, .tick_us = 10000},
    {.maxerror_us = 31234, .tick_us = 9000, .offset = -500000, .status = STA_NANO, .constant = 7},
    {.maxerror_us = 0, .tick_us = 11000, .offset = 1000, .adjtime_us = -5000000},
};

/* Publishes a host with these and reads it back. */
static void check_published(const struct th_sync *sync, const struct th_ntp_servers *servers) {
    struct th_state_host host = {.uuid = {{1}}, .name = "hv1", .sync = *sync}, again;
    int fd;

    host.ntp_known = servers != NULL;
    host.ntp = servers ? *servers : host.ntp;
    must(th_state_host_write(fuzz_folder(), &host, &now, TH_NS_PER_S, -1) == 0);
    fd = th_state_open(fuzz_folder(), TH_STATE_HOST_FILE);
    must(fd >= 0 && th_state_host_read(fd, &now, TH_STATE_FRESH, &again) == 0);
    must(again.sync.synchronised == sync->synchronised && again.sync.from == sync->from);
    must(again.sync.error_ns == sync->error_ns && again.sync.age_ns == sync->age_ns);
    must(again.sync.stratum == sync->stratum && strcmp(again.sync.reason, sync->reason) == 0);
    must(strcmp(again.sync.source, sync->source) == 0 && again.ntp.n == host.ntp.n);
    th_state_host_deinit(&again);
    (void)close(fd);
}

static void check_state(int r, const struct th_sync *sync) {
    must(r == 0 || r == -EBADMSG);
    if (r < 0) {
        return;
    }
    must(sync->error_ns >= -1 && sync->age_ns >= -1 && sync->stratum <= 255);
    must(sync->synchronised != TH_YES || sync->age_ns >= 0);
    must(sync->synchronised != TH_UNKNOWN || sync->error_ns < 0);
    must(*sync->reason && fuzz_is_line(sync->reason) && fuzz_is_line(sync->source));
    check_published(sync, NULL);
}

static void check_sources(int r, const struct th_ntp_sources *sources) {
    must(r == 0 || r == -EBADMSG);
    must(r < 0 || sources->n <= TH_NTP_MAX_SERVERS);
    for (size_t i = 0; r == 0 && i < sources->n; i++) {
        const struct th_ntp_source *source = &sources->sources[i];

        must(fuzz_is_line(source->name) && fuzz_is_line(source->address));
        must(source->kind >= TH_NTP_SERVER && source->kind <= TH_NTP_REFCLOCK);
        must(source->use <= TH_NTP_UNREACHABLE);
        must(source->reach >= -1 && source->reach <= 255 && source->heard_ns >= -1);
    }
}

static void check_timesyncd_sources(const char *text, struct th_ntp_sources *sources) {
    th_auto_ntp_servers struct th_ntp_servers servers = {.n = 0};
    struct th_sync sync = {.from = TH_SYNC_FROM_TIMESYNCD, .reason = "-"};
    int r = th_sync_timesyncd_sources(text, &servers, sources);

    check_sources(r, sources);
    for (size_t i = 0; i < servers.n; i++) {
        must(servers.servers[i].name[0] && fuzz_is_line(servers.servers[i].name));
    }
    check_published(&sync, &servers);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct th_ntp_sources sources;
    struct fuzz_bytes input = {data, size};
    unsigned which = (unsigned)fuzz_number(&input, 1) % 8;
    const struct th_sync_kernel *kernel = &kernels[fuzz_number(&input, 1) % TH_ELEMENTS(kernels)];
    th_auto_free char *text = fuzz_text(&input), *more = fuzz_text(&input);
    struct th_sync sync;

    switch (which) {
    case 0: check_state(th_sync_from_tracking(text, REAL_NS, &sync), &sync); break;
    case 1: check_sources(th_sync_chronyd_sources(text, more, &sources), &sources); break;
    case 2: check_state(th_sync_timesyncd_state(text, kernel, REAL_NS, &sync), &sync); break;
    case 3: check_timesyncd_sources(text, &sources); break;
    case 4: check_state(th_sync_ntpd_state(text, REAL_NS, &sync), &sync); break;
    case 5: check_sources(th_sync_ntpd_sources(text, &sources), &sources); break;
    case 6: check_state(th_sync_ptp4l_state(text, kernel, size % 2, &sync), &sync); break;
    default: check_sources(th_sync_ptp4l_sources(text, &sources), &sources); break;
    }
    return 0;
}
