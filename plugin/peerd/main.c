/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * timehandoff-peerd: answers other hosts' questions about this host's clock, and watches the
 * peers'. It faces the network, so it has no privilege, no libvirt and nothing to write to but its
 * one file; started as root, it gives root up before it opens a socket.
 */
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <syslog.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "base/privilege.h"
#include "build-config.h"
#include "peerd/knowledge.h"
#include "peerd/responder.h"
#include "peerd/watch.h"
#include "timehandoff/report.h"
#include "timehandoff/state.h"

static const char usage[] =
    "Usage: timehandoff-peerd [--help | --version]\n"
    "\n"
    "Answers other hosts' questions about this host's clock (UDP port 10123) and watches the "
    "peers\n"
    "of /etc/timehandoff/timehandoff.conf. Runs in the foreground; SIGHUP reloads, SIGTERM ends.\n";

/* What ending waits for: a round of probes, but not a name server. */
#define END_WAIT_NS TH_NS_PER_S
/* How often a watch of before a reload is looked at, whether its thread has ended. */
#define RETIRED_LOOK_NS TH_NS_PER_S

/* All that a reload replaces. */
struct peerd {
    struct th_config *config;
    struct th_keyring *keys;
    struct th_knowledge *knowledge;
    struct th_responder *responder;
    struct th_watch *watch;
    sd_event_source *sources[TH_RESPONDER_SOCKETS];
    sd_event *event;
};

/* Static, because the watch's thread may still look at it while the process ends. */
static struct th_responder_counts counts;

/* All but what the watch's thread may still look at. */
static void stop_answering(struct peerd *peerd) {
    for (size_t i = 0; i < TH_ELEMENTS(peerd->sources); i++) {
        peerd->sources[i] = sd_event_source_disable_unref(peerd->sources[i]);
    }
    peerd->responder = th_responder_free(peerd->responder);
    peerd->knowledge = th_knowledge_free(peerd->knowledge);
}

/* False: the watch's thread still hangs in a look-up of a name. */
static bool free_watch(struct peerd *peerd, int64_t wait_ns) {
    peerd->watch = th_watch_free(peerd->watch, wait_ns);
    if (peerd->watch) {
        return false;
    }
    peerd->keys = th_keyring_free(peerd->keys);
    peerd->config = th_config_free(peerd->config);
    return true;
}

static int on_retired(sd_event_source *source, uint64_t usec, void *userdata) {
    struct peerd *retired = userdata;

    (void)usec;
    if (!free_watch(retired, 0)) {
        (void)sd_event_source_set_time_relative(source, RETIRED_LOOK_NS / TH_NS_PER_US);
        return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
    }
    sd_event_source_disable_unref(source);
    free(retired);
    return 0;
}

/* Takes what was before a reload: nobody waits for its watch to end, least of all who asks. */
static void retire(struct peerd *old) {
    struct peerd *retired = malloc(sizeof(*retired));
    sd_event_source *source;

    stop_answering(old);
    if (old->watch) {
        th_watch_stop(old->watch);
    }
    if (retired) {
        *retired = *old;
        if (sd_event_add_time_relative(old->event, &source, CLOCK_MONOTONIC, 0, 0, on_retired,
                                       retired) < 0) {
            free(retired); /* the rest is lost, which is better than freed under a thread */
        }
    }
}

static int on_question(sd_event_source *source, int fd, uint32_t events, void *userdata) {
    (void)source;
    (void)events;
    th_responder_dispatch(userdata, fd);
    return 0;
}

static int load(struct th_config **ret_config, struct th_keyring **ret_keys) {
    struct th_config *config = NULL;
    struct th_keyring *keys = NULL;
    char error[400] = "";
    int r = th_config_load(TH_CONFIG_FOLDER, &config, error, sizeof(error));

    if (r == 0) {
        r = th_keyring_load(TH_CONFIG_FOLDER "/keys", &keys, error, sizeof(error));
    }
    if (r < 0) {
        th_report(LOG_ERR, TH_MESSAGE_SERVICE, "timehandoff-peerd: %s",
                  error[0] ? error : strerror(-r));
        if (r == -EACCES) {
            th_report(LOG_ERR, NULL,
                      "timehandoff-peerd: the key file has to be readable by this user: chown "
                      "root:" TH_USER " and chmod 0640 it");
        }
        th_config_free(config);
        return r;
    }
    *ret_config = config;
    *ret_keys = keys;
    return 0;
}

static int start_responder(struct peerd *peerd) {
    int r = th_responder_new(peerd->config->listen_port, peerd->config->kernel_stamps,
                             peerd->knowledge, &counts, &peerd->responder);
    const int *fds;

    if (r < 0) {
        th_report(LOG_ERR, TH_MESSAGE_SERVICE, "timehandoff-peerd: cannot open UDP port %u: %s; %s",
                  peerd->config->listen_port, strerror(-r),
                  r == -EACCES
                      ? "peerd has no privilege: set [responder] port to 1024 or more, or lower "
                        "the sysctl net.ipv4.ip_unprivileged_port_start"
                      : "is another one running, or is [responder] port wrong?");
        return r;
    }
    fds = th_responder_fds(peerd->responder);
    for (size_t i = 0; r >= 0 && i < TH_RESPONDER_SOCKETS; i++) {
        if (fds[i] >= 0) {
            r = sd_event_add_io(peerd->event, &peerd->sources[i], fds[i], EPOLLIN, on_question,
                                peerd->responder);
        }
    }
    return r;
}

/* config and keys are there. With has_sockets a responder will be handed to it. */
static int start(struct peerd *peerd, bool has_sockets) {
    int r = th_knowledge_new(peerd->config, peerd->keys, &peerd->knowledge);

    if (r >= 0 && peerd->config->answer && !has_sockets) {
        r = start_responder(peerd);
    }
    if (r >= 0) {
        r = th_watch_new(peerd->config, peerd->keys, &counts, &peerd->watch);
    }
    return r;
}

/* The daemon wrote a request: files appear in this folder whole, by a rename. */
static int on_request(sd_event_source *source, const struct inotify_event *event, void *userdata) {
    struct peerd *peerd = userdata;
    th_auto_close int fd = -1;
    struct th_now now;
    char peer[256];

    (void)source;
    if (!event->len || strcmp(event->name, TH_STATE_REQUEST_FILE) != 0 || !peerd->watch) {
        return 0;
    }
    fd = th_state_open(TH_STATE_FOLDER, TH_STATE_REQUEST_FILE);
    now = th_now();
    if (fd >= 0 && th_state_request_read(fd, &now, peer) == 0) {
        th_watch_request(peerd->watch, peer);
    }
    return 0;
}

/* The same sockets go on, so that no question is lost on the way. */
static void hand_sockets_over(struct peerd *old, struct peerd *next) {
    next->responder = old->responder;
    memcpy(next->sources, old->sources, sizeof(next->sources));
    th_responder_use(next->responder, next->config->kernel_stamps, next->knowledge);
    old->responder = NULL;
    memset(old->sources, 0, sizeof(old->sources));
}

/* The new takes the place of the old once all of it is there. */
static int reload(struct peerd *peerd) {
    struct peerd next = {.event = peerd->event};
    bool keeps_sockets;
    int r = load(&next.config, &next.keys);

    if (r < 0) {
        return r;
    }
    keeps_sockets = peerd->responder && next.config->answer &&
                    next.config->listen_port == peerd->config->listen_port;
    r = start(&next, keeps_sockets);
    if (r < 0) {
        retire(&next);
        return r;
    }
    if (keeps_sockets) {
        hand_sockets_over(peerd, &next);
    }
    retire(peerd);
    *peerd = next;
    return 0;
}

static int on_hangup(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata) {
    (void)source;
    (void)info;
    sd_notify(0, "RELOADING=1");
    if (reload(userdata) == 0) {
        th_report(LOG_INFO, TH_MESSAGE_SERVICE, "timehandoff-peerd: configuration reloaded");
    } else {
        th_report(LOG_WARNING, TH_MESSAGE_SERVICE,
                  "timehandoff-peerd: going on with the old configuration");
    }
    sd_notify(0, "READY=1");
    return 0;
}

/* Where there is no systemd to make the folder for us; as root only, and before root is given up.
 */
static int make_folder(void) {
    const struct passwd *user = getpwnam(TH_USER);
    int r;

    if (geteuid() != 0) {
        return 0;
    }
    if (!user) {
        th_report(LOG_ERR, TH_MESSAGE_SERVICE,
                  "timehandoff-peerd: there is no user '" TH_USER "': run systemd-sysusers, or "
                  "useradd --system " TH_USER);
        return -ESRCH;
    }
    r = mkdir(TH_STATE_FOLDER, 0755) < 0 && errno != EEXIST ? -errno : 0;
    if (r == 0 && mkdir(TH_STATE_FOLDER "/peers", 0755) < 0 && errno != EEXIST) {
        r = -errno;
    }
    if (r == 0 && chown(TH_STATE_FOLDER "/peers", user->pw_uid, user->pw_gid) < 0) {
        r = -errno;
    }
    return r;
}

static int block_signals(void) {
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    return sigprocmask(SIG_BLOCK, &signals, NULL) < 0 ? -errno : 0;
}

static int prepare_loop(struct peerd *peerd) {
    int r = sd_event_default(&peerd->event);

    if (r >= 0) {
        r = sd_event_add_signal(peerd->event, NULL, SIGTERM, NULL, NULL);
    }
    if (r >= 0) {
        r = sd_event_add_signal(peerd->event, NULL, SIGINT, NULL, NULL);
    }
    if (r >= 0) {
        r = sd_event_add_signal(peerd->event, NULL, SIGHUP, on_hangup, peerd);
    }
    /* Without the folder there is no daemon that could ask for anything. */
    if (r >= 0) {
        (void)sd_event_add_inotify(peerd->event, NULL, TH_STATE_FOLDER, IN_MOVED_TO | IN_ONLYDIR,
                                   on_request, peerd);
    }
    return r >= 0 ? sd_event_set_watchdog(peerd->event, 1) : r;
}

static int run(struct peerd *peerd) {
    const struct th_config *config;
    int r = load(&peerd->config, &peerd->keys);

    if (r >= 0) {
        r = start(peerd, false);
    }
    if (r < 0) {
        return r;
    }
    config = peerd->config;
    if (config->answer) {
        th_report(LOG_INFO, TH_MESSAGE_SERVICE,
                  "timehandoff-peerd: answering on UDP port %u, watching %zu peers",
                  config->listen_port, config->n_peers);
    } else {
        th_report(LOG_INFO, TH_MESSAGE_SERVICE,
                  "timehandoff-peerd: not answering ([responder] enabled), watching %zu peers",
                  config->n_peers);
    }
    sd_notify(0, "READY=1");
    return sd_event_loop(peerd->event);
}

int main(int argc, char **argv) {
    struct peerd peerd = {.config = NULL};
    int r;

    if (argc > 1) {
        bool help = strcmp(argv[1], "--help") == 0;

        if (strcmp(argv[1], "--version") == 0) {
            printf("timehandoff-peerd %s\n", TH_VERSION);
            return EXIT_SUCCESS;
        }
        fputs(usage, help ? stdout : stderr);
        return help ? EXIT_SUCCESS : 2;
    }
    th_report_init("timehandoff-peerd", getenv("JOURNAL_STREAM") ? NULL : stderr);
    r = make_folder();
    if (r == 0) {
        r = th_privilege_drop(TH_USER);
    }
    if (r == 0) {
        r = block_signals();
    }
    if (r == 0) {
        r = prepare_loop(&peerd);
    }
    if (r >= 0) {
        r = run(&peerd);
    } else {
        th_report(LOG_ERR, TH_MESSAGE_SERVICE, "timehandoff-peerd: cannot start: %s", strerror(-r));
    }
    stop_answering(&peerd);
    (void)free_watch(&peerd, END_WAIT_NS);
    sd_event_unref(peerd.event);
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
