/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The connection to libvirt. A thread of its own runs libvirt's event loop; what it hears is copied
 * into a queue for the daemon's loop, where everything is decided. A lost connection is made again,
 * for ever, with a growing pause; events that were missed meanwhile are made up by listing.
 */
#include "daemon/daemon.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <syslog.h>
#include <unistd.h>

#include "domain/capabilities.h"
#include "timehandoff/agent_libvirt.h"
#include "timehandoff/report.h"

#define RETRY_FIRST_NS (500 * TH_NS_PER_MS)
#define RETRY_LAST_NS (30 * TH_NS_PER_S)

#define N_CALLBACKS 3

/* A connection with what has to be undone before it is closed: registered callbacks hold
 * references, and with them the connection's memory and descriptor. */
struct link {
    virConnectPtr connection;
    int callbacks[N_CALLBACKS]; /* -1: none */
    bool has_close_callback;
};

struct th_hypervisor {
    struct th_daemon *daemon;
    char *uri, *user, *password_file; /* as configured at the start; workers read them */
    struct link link;                 /* no connection: not connected */
    int64_t retry_ns;
    bool complained; /* about the present failure, once */
    sd_event_source *retry;
    pthread_t thread;
    int wake_timer; /* libvirt's: gets its loop to turn */
    int fd;         /* eventfd: events queued */
    sd_event_source *source;
    pthread_mutex_t lock;
    struct th_event *first, **end; /* under lock */
    bool stop;                     /* under lock */
};

struct connect_job {
    struct th_job job;
    struct th_hypervisor *hypervisor;
    struct th_virt_login login; /* borrowed from the hypervisor */
    struct link link;
    struct th_uuid host_uuid;
    int result;
    char error[300];
};

/* ---- in libvirt's thread ---- */

static bool stopping(struct th_hypervisor *hypervisor) {
    bool stop;

    pthread_mutex_lock(&hypervisor->lock);
    stop = hypervisor->stop;
    pthread_mutex_unlock(&hypervisor->lock);
    return stop;
}

static void *run_events(void *argument) {
    struct th_hypervisor *hypervisor = argument;

    while (!stopping(hypervisor)) {
        if (hypervisor->daemon->virt->virEventRunDefaultImpl() < 0) {
            break;
        }
    }
    return NULL;
}

static void on_wake(int timer, void *opaque) {
    (void)timer;
    (void)opaque;
}

static void queue_event(struct th_hypervisor *hypervisor, enum th_event_kind kind,
                        virDomainPtr domain, int event, int detail) {
    const struct th_virt *virt = hypervisor->daemon->virt;
    struct th_event *queued = calloc(1, sizeof(*queued));
    const char *name = domain ? virt->virDomainGetName(domain) : "";
    uint64_t one = 1;

    if (!queued) {
        return;
    }
    queued->kind = kind;
    queued->event = event;
    queued->detail = detail;
    queued->mono_ns = th_now_mono_ns();
    th_text_clean(name ? name : "", queued->name, sizeof(queued->name));
    if (domain && virt->virDomainGetUUID(domain, queued->uuid.bytes) < 0) {
        free(queued);
        return;
    }
    pthread_mutex_lock(&hypervisor->lock);
    *hypervisor->end = queued;
    hypervisor->end = &queued->next;
    pthread_mutex_unlock(&hypervisor->lock);
    (void)!write(hypervisor->fd, &one, sizeof(one));
}

static int on_lifecycle(virConnectPtr connection, virDomainPtr domain, int event, int detail,
                        void *opaque) {
    (void)connection;
    queue_event(opaque, TH_EVENT_LIFECYCLE, domain, event, detail);
    return 0;
}

static void on_agent(virConnectPtr connection, virDomainPtr domain, int state, int reason,
                     void *opaque) {
    (void)connection;
    queue_event(opaque, TH_EVENT_AGENT, domain, state, reason);
}

static void on_reboot(virConnectPtr connection, virDomainPtr domain, void *opaque) {
    (void)connection;
    queue_event(opaque, TH_EVENT_REBOOT, domain, 0, 0);
}

static void on_closed(virConnectPtr connection, int reason, void *opaque) {
    (void)connection;
    queue_event(opaque, TH_EVENT_CLOSED, NULL, reason, 0);
}

/* ---- in a worker ---- */

static void link_close(const struct th_virt *virt, struct link *link) {
    if (!link->connection) {
        return;
    }
    for (size_t i = 0; i < N_CALLBACKS; i++) {
        if (link->callbacks[i] >= 0) {
            (void)virt->virConnectDomainEventDeregisterAny(link->connection, link->callbacks[i]);
        }
    }
    if (link->has_close_callback) {
        (void)virt->virConnectUnregisterCloseCallback(link->connection, on_closed);
    }
    virt->virConnectClose(link->connection);
    link->connection = NULL;
}

/* As VIR_DOMAIN_EVENT_CALLBACK, by way of a type that compilers let any function be cast to. */
#define CALLBACK(function) ((virConnectDomainEventGenericCallback)(void (*)(void))(function))

static int register_events(const struct th_virt *virt, struct link *link,
                           struct th_hypervisor *hypervisor) {
    const struct {
        int id;
        virConnectDomainEventGenericCallback callback;
        bool needed;
    } wanted[N_CALLBACKS] = {
        {VIR_DOMAIN_EVENT_ID_LIFECYCLE, CALLBACK(on_lifecycle), true},
        {VIR_DOMAIN_EVENT_ID_REBOOT, CALLBACK(on_reboot), true},
        /* Not every driver has agent events; handoffs then wait by asking now and again. */
        {VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, CALLBACK(on_agent), false},
    };

    for (size_t i = 0; i < N_CALLBACKS; i++) {
        link->callbacks[i] = virt->virConnectDomainEventRegisterAny(
            link->connection, NULL, wanted[i].id, wanted[i].callback, hypervisor, NULL);
        if (link->callbacks[i] < 0 && wanted[i].needed) {
            return -EIO;
        }
    }
    link->has_close_callback =
        virt->virConnectRegisterCloseCallback(link->connection, on_closed, hypervisor, NULL) == 0;
    return link->has_close_callback ? 0 : -EIO;
}

static int ask_host_uuid(const struct th_virt *virt, virConnectPtr connection,
                         struct th_uuid *ret_uuid) {
    th_auto_free char *xml = virt->virConnectGetCapabilities(connection);

    return xml ? th_capabilities_host_uuid(xml, ret_uuid) : -EIO;
}

static void connect_work(struct th_job *job) {
    struct connect_job *connect = (struct connect_job *)job;
    const struct th_virt *virt = connect->hypervisor->daemon->virt;
    struct link *link = &connect->link;
    int r = th_virt_open(virt, &connect->login, &link->connection, connect->error,
                         sizeof(connect->error));

    if (r == 0) {
        r = ask_host_uuid(virt, link->connection, &connect->host_uuid);
        if (r == 0) {
            r = register_events(virt, link, connect->hypervisor);
        }
        if (r < 0) {
            th_virt_last_error(virt, connect->error, sizeof(connect->error));
            link_close(virt, link);
        } else {
            /* What a crash of ours left behind: agent time-outs that others depend on. */
            (void)th_agent_libvirt_undo(virt, link->connection,
                                        TH_STATE_FOLDER "/" TH_STATE_LOCKS_FOLDER);
        }
    }
    connect->result = r;
}

struct close_job {
    struct th_job job;
    const struct th_virt *virt;
    struct link link;
};

static void close_work(struct th_job *job) {
    struct close_job *closing = (struct close_job *)job;

    link_close(closing->virt, &closing->link);
}

/* ---- in the loop ---- */

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata);

static void retry_later(struct th_hypervisor *hypervisor) {
    hypervisor->retry = sd_event_source_disable_unref(hypervisor->retry);
    (void)sd_event_add_time_relative(hypervisor->daemon->event, &hypervisor->retry, CLOCK_MONOTONIC,
                                     (uint64_t)(hypervisor->retry_ns / TH_NS_PER_US), 0, on_retry,
                                     hypervisor);
    hypervisor->retry_ns *= 2;
    if (hypervisor->retry_ns > RETRY_LAST_NS) {
        hypervisor->retry_ns = RETRY_LAST_NS;
    }
}

static void close_done(struct th_job *job) {
    free(job);
}

/* By a worker: taking callbacks off is a call to a libvirtd that may be gone. */
static void close_link(struct th_hypervisor *hypervisor, struct link *link) {
    struct close_job *closing = calloc(1, sizeof(*closing));

    if (closing) {
        closing->job = (struct th_job){.work = close_work, .done = close_done};
        closing->virt = hypervisor->daemon->virt;
        closing->link = *link;
        th_pool_submit(hypervisor->daemon->pool, &closing->job);
    }
    *link = (struct link){.connection = NULL};
}

static bool is_alive(const struct th_hypervisor *hypervisor, const struct link *link) {
    return link->connection && hypervisor->daemon->virt->virConnectIsAlive(link->connection) == 1;
}

static void connect_done(struct th_job *job) {
    struct connect_job *connect = (struct connect_job *)job;
    struct th_hypervisor *hypervisor = connect->hypervisor;
    struct th_daemon *daemon = hypervisor->daemon;

    /* It may have died before we knew that we had it; its last word then came too early. */
    if (connect->result == 0 && is_alive(hypervisor, &connect->link)) {
        hypervisor->link = connect->link;
        hypervisor->retry_ns = RETRY_FIRST_NS;
        hypervisor->complained = false;
        daemon->host_uuid = connect->host_uuid;
        th_report(LOG_INFO, TH_MESSAGE_SERVICE, "timehandoffd: connected to libvirt (%s)",
                  connect->login.uri);
        th_inspect_all(daemon);
    } else if (!daemon->ending) {
        if (!hypervisor->complained) {
            th_report(LOG_WARNING, TH_MESSAGE_SERVICE,
                      "timehandoffd: cannot connect to libvirt (%s), trying again: %s",
                      connect->login.uri,
                      connect->error[0] ? connect->error : strerror(-connect->result));
        }
        hypervisor->complained = true;
        close_link(hypervisor, &connect->link);
        retry_later(hypervisor);
    }
    free(connect);
}

static void connect_now(struct th_hypervisor *hypervisor) {
    struct connect_job *connect = calloc(1, sizeof(*connect));

    if (!connect) {
        retry_later(hypervisor);
        return;
    }
    connect->job = (struct th_job){.work = connect_work, .done = connect_done};
    connect->hypervisor = hypervisor;
    connect->result = -ECANCELED;
    connect->login = (struct th_virt_login){
        .uri = hypervisor->uri,
        .user = hypervisor->user,
        .password_file = hypervisor->password_file,
        .keepalive = true,
    };
    th_pool_submit(hypervisor->daemon->pool, &connect->job);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata) {
    (void)source;
    (void)usec;
    connect_now(userdata);
    return 0;
}

static void on_connection_lost(struct th_hypervisor *hypervisor) {
    struct th_daemon *daemon = hypervisor->daemon;

    /* Other connections' last words come here too: ours is lost only if it is. */
    if (!hypervisor->link.connection || is_alive(hypervisor, &hypervisor->link)) {
        return;
    }
    th_report(LOG_WARNING, TH_MESSAGE_SERVICE,
              "timehandoffd: connection to libvirt lost, connecting again");
    close_link(hypervisor, &hypervisor->link);
    daemon->domains_known = false;
    th_publish(daemon);
    retry_later(hypervisor);
}

void th_hypervisor_look(struct th_daemon *daemon) {
    on_connection_lost(daemon->hypervisor);
}

static struct th_event *take_events(struct th_hypervisor *hypervisor) {
    struct th_event *first;

    pthread_mutex_lock(&hypervisor->lock);
    first = hypervisor->first;
    hypervisor->first = NULL;
    hypervisor->end = &hypervisor->first;
    pthread_mutex_unlock(&hypervisor->lock);
    return first;
}

static int on_events(sd_event_source *source, int fd, uint32_t events, void *userdata) {
    struct th_hypervisor *hypervisor = userdata;
    struct th_event *event;
    uint64_t count;

    (void)source;
    (void)events;
    (void)!read(fd, &count, sizeof(count));
    event = take_events(hypervisor);
    while (event) {
        struct th_event *next = event->next;

        if (event->kind == TH_EVENT_CLOSED) {
            on_connection_lost(hypervisor);
        } else {
            th_event_handle(hypervisor->daemon, event);
        }
        free(event);
        event = next;
    }
    return 0;
}

virConnectPtr th_hypervisor_connection(struct th_daemon *daemon) {
    virConnectPtr connection = daemon->hypervisor->link.connection;

    if (!connection || daemon->virt->virConnectRef(connection) < 0) {
        return NULL;
    }
    return connection;
}

/* The thread takes no signals: those belong to the daemon's loop. */
static int start_thread(struct th_hypervisor *hypervisor) {
    sigset_t all, old;
    int r;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    r = pthread_create(&hypervisor->thread, NULL, run_events, hypervisor);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return -r;
}

int th_hypervisor_start(struct th_daemon *daemon) {
    struct th_hypervisor *hypervisor = calloc(1, sizeof(*hypervisor));
    int r;

    if (!hypervisor || th_text_dup(daemon->config->libvirt_uri, &hypervisor->uri) < 0 ||
        th_text_dup(daemon->config->libvirt_user, &hypervisor->user) < 0 ||
        th_text_dup(daemon->config->libvirt_password_file, &hypervisor->password_file) < 0) {
        return -ENOMEM;
    }
    hypervisor->daemon = daemon;
    hypervisor->retry_ns = RETRY_FIRST_NS;
    hypervisor->end = &hypervisor->first;
    pthread_mutex_init(&hypervisor->lock, NULL);
    daemon->hypervisor = hypervisor;
    hypervisor->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (hypervisor->fd < 0) {
        return -errno;
    }
    r = sd_event_add_io(daemon->event, &hypervisor->source, hypervisor->fd, EPOLLIN, on_events,
                        hypervisor);
    if (r < 0) {
        return r;
    }
    if (daemon->virt->virEventRegisterDefaultImpl() < 0) {
        return -EIO;
    }
    /* libvirt's loop sleeps until one of its own sources stirs; this one lets us stop it. */
    hypervisor->wake_timer = daemon->virt->virEventAddTimeout(-1, on_wake, NULL, NULL);
    r = start_thread(hypervisor);
    if (r == 0) {
        connect_now(hypervisor);
    }
    return r;
}

void th_hypervisor_stop(struct th_daemon *daemon) {
    struct th_hypervisor *hypervisor = daemon->hypervisor;

    if (!hypervisor) {
        return;
    }
    pthread_mutex_lock(&hypervisor->lock);
    hypervisor->stop = true;
    pthread_mutex_unlock(&hypervisor->lock);
    hypervisor->retry = sd_event_source_disable_unref(hypervisor->retry);
    hypervisor->source = sd_event_source_disable_unref(hypervisor->source);
    /* The thread and the queue stay until the process ends, which is next: libvirt may still be
     * calling back. */
}
