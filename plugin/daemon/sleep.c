/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * This host's own sleep: logind says when it is over (PrepareForSleep with false), and every
 * running guest has then lost as much time as the host did, or has not, depending on its clock
 * source; a handoff measures before it decides.
 */
#include "daemon/daemon.h"

#include <syslog.h>
#include <systemd/sd-bus.h>

#include "timehandoff/report.h"

/* A handoff decides once, and this host's clock is not known to be right before its time daemon has
 * looked again: so the guests wait for that, up to a while. */
#define WAIT_NS TH_NS_PER_S
#define WAIT_MOST_NS (300 * TH_NS_PER_S)

static void hand_off_all(struct th_daemon *daemon) {
    int64_t mono_ns = th_now_mono_ns();

    for (struct th_daemon_domain *domain = daemon->domains; domain; domain = domain->next) {
        if (domain->state == TH_DOMAIN_RUNNING && !domain->incoming) {
            th_inspect(daemon, &domain->uuid, TH_INSPECT_HOST_WOKE, mono_ns);
        }
    }
}

static int on_wait(sd_event_source *source, uint64_t usec, void *userdata) {
    struct th_daemon *daemon = userdata;

    (void)usec;
    if (daemon->distrust_mono_ns && th_now_mono_ns() - daemon->woke_mono_ns < WAIT_MOST_NS) {
        (void)sd_event_source_set_time_relative(source, WAIT_NS / TH_NS_PER_US);
        return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
    }
    hand_off_all(daemon);
    return 0;
}

static int on_prepare_for_sleep(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    struct th_daemon *daemon = userdata;
    int begins = 0;

    (void)error;
    if (sd_bus_message_read(message, "b", &begins) < 0 || begins) {
        return 0;
    }
    th_report(LOG_INFO, TH_MESSAGE_SERVICE,
              "timehandoffd: this host woke up, looking at the guests' clocks");
    daemon->woke_mono_ns = th_now_mono_ns();
    th_sync_distrust(daemon, 0);
    daemon->wake_timer = sd_event_source_disable_unref(daemon->wake_timer);
    return sd_event_add_time_relative(daemon->event, &daemon->wake_timer, CLOCK_MONOTONIC,
                                      WAIT_NS / TH_NS_PER_US, 0, on_wait, daemon);
}

/* A bus that does not let us listen is none the worse for the rest. */
static int on_watching(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const sd_bus_error *refused = sd_bus_message_get_error(reply);
    struct th_daemon *daemon = userdata;

    (void)error;
    if (refused && sd_bus_is_open(daemon->bus) > 0) {
        th_report(LOG_NOTICE, TH_MESSAGE_SERVICE,
                  "timehandoffd: the system bus does not tell of this host's own sleep: %s",
                  refused->message ? refused->message : refused->name);
    }
    return 0;
}

int th_sleep_watch(struct th_daemon *daemon) {
    return sd_bus_match_signal_async(daemon->bus, NULL, "org.freedesktop.login1",
                                     "/org/freedesktop/login1", "org.freedesktop.login1.Manager",
                                     "PrepareForSleep", on_prepare_for_sleep, on_watching, daemon);
}
