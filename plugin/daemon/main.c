/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * timehandoffd: watches this host's libvirt, stamps every running domain with where it runs, hands
 * the host's time to guests that begin to run again, and publishes what peerd and the checker may
 * know. It opens no socket to the network. One a host: a lock on a file under /run sees to that.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <syslog.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/privilege.h"
#include "build-config.h"
#include "daemon/agents.h"
#include "daemon/fleet.h"
#include "timehandoff/report.h"

static const char usage[] =
    "Usage: timehandoffd [--help | --version]\n"
    "\n"
    "Hands this host's time to guests that arrive, are restored or resumed here, and stamps every\n"
    "running domain with where it runs. Runs in the foreground; SIGTERM ends it.\n";

/* A folder under /run, with exactly this owner and mode, whoever made it. */
static int make_folder(const char *path, mode_t mode, int group) {
    if (mkdir(path, mode) < 0 && errno != EEXIST) {
        return -errno;
    }
    if (chown(path, 0, group >= 0 ? (gid_t)group : 0) < 0 || chmod(path, mode) < 0) {
        return -errno;
    }
    return 0;
}

static int make_folders(struct th_daemon *daemon) {
    const struct group *group = getgrnam(TH_USER);
    int r;

    daemon->group = group ? (int)group->gr_gid : -1;
    r = make_folder(TH_STATE_FOLDER, 0755, -1);
    if (r == 0) {
        r = make_folder(TH_STATE_FOLDER "/" TH_STATE_LOCKS_FOLDER, 0700, -1);
    }
    /* The checker writes its notes here, unprivileged. */
    if (r == 0) {
        r = make_folder(TH_STATE_FOLDER "/" TH_STATE_ARRIVALS_FOLDER, 01770, daemon->group);
    }
    if (r < 0) {
        th_report(LOG_ERR, TH_MESSAGE_SERVICE,
                  "timehandoffd: cannot make folders under %s: %s (it has to run as root)",
                  TH_STATE_FOLDER, strerror(-r));
        return r;
    }
    daemon->arrivals = open(TH_STATE_FOLDER "/" TH_STATE_ARRIVALS_FOLDER,
                            O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return 0;
}

/* Held until the process ends. */
static int lock_host(void) {
    int fd = open(TH_STATE_FOLDER "/" TH_STATE_LOCKS_FOLDER "/daemon",
                  O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0) {
        return -errno;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        th_report(LOG_ERR, TH_MESSAGE_SERVICE,
                  "timehandoffd: another timehandoffd runs on this host");
        close(fd);
        return -EBUSY;
    }
    return 0;
}

static int load_config(struct th_daemon *daemon) {
    char error[400] = "";
    int r = th_config_load(TH_CONFIG_FOLDER, &daemon->config, error, sizeof(error));

    if (r < 0) {
        th_report(LOG_ERR, TH_MESSAGE_SERVICE, "timehandoffd: %s", error[0] ? error : strerror(-r));
    }
    return r;
}

static int load_libvirt(struct th_daemon *daemon) {
    char error[300] = "";
    int r = th_virt_load(&daemon->virt, error, sizeof(error));

    if (r < 0) {
        th_report(LOG_ERR, TH_MESSAGE_SERVICE, "timehandoffd: cannot load libvirt: %s",
                  error[0] ? error : strerror(-r));
    }
    return r;
}

/* Values are read when they are needed, in this thread, so only the pointer has to change. The
 * connection keeps the address it began with. */
static int on_hangup(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata) {
    struct th_daemon *daemon = userdata;
    struct th_config *old = daemon->config;
    char error[400] = "";
    int r;

    (void)source;
    (void)info;
    sd_notify(0, "RELOADING=1");
    r = th_config_load(TH_CONFIG_FOLDER, &daemon->config, error, sizeof(error));
    if (r < 0) {
        daemon->config = old;
        th_report(LOG_ERR, TH_MESSAGE_SERVICE,
                  "timehandoffd: going on with the old configuration: %s",
                  error[0] ? error : strerror(-r));
    } else {
        th_config_free(old);
        th_report(LOG_INFO, TH_MESSAGE_SERVICE, "timehandoffd: configuration reloaded");
    }
    sd_notify(0, "READY=1");
    return 0;
}

static int prepare_loop(struct th_daemon *daemon) {
    sigset_t signals;
    int r;

    sigemptyset(&signals);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0) {
        return -errno;
    }
    r = sd_event_default(&daemon->event);
    if (r >= 0) {
        r = sd_event_add_signal(daemon->event, NULL, SIGTERM, NULL, NULL);
    }
    if (r >= 0) {
        r = sd_event_add_signal(daemon->event, NULL, SIGINT, NULL, NULL);
    }
    if (r >= 0) {
        r = sd_event_add_signal(daemon->event, NULL, SIGHUP, on_hangup, daemon);
    }
    return r >= 0 ? sd_event_set_watchdog(daemon->event, 1) : r;
}

static int start(struct th_daemon *daemon) {
    int r = th_privilege_hide_memory();

    if (r == 0) {
        r = make_folders(daemon);
    }
    if (r == 0) {
        r = lock_host();
    }
    if (r == 0) {
        th_report_handoff_keep(TH_STATE_FOLDER);
        r = load_config(daemon);
    }
    if (r == 0) {
        r = load_libvirt(daemon);
    }
    if (r == 0) {
        th_domains_take_over(daemon);
        r = prepare_loop(daemon);
    }
    if (r >= 0) {
        r = th_pool_new(daemon->event, TH_DAEMON_WORKERS, &daemon->pool);
    }
    if (r >= 0) {
        r = th_pool_new(daemon->event, TH_DAEMON_STAMP_WORKERS, &daemon->stamp_pool);
    }
    if (r >= 0) {
        r = th_pool_new(daemon->event, TH_DAEMON_AGENT_WORKERS, &daemon->agent_pool);
    }
    if (r >= 0) {
        r = th_agents_new(daemon->virt, daemon->config, &daemon->agents);
    }
    if (r >= 0) {
        r = th_fleet_start(daemon);
    }
    if (r >= 0) {
        r = th_publish_start(daemon);
    }
    if (r >= 0) {
        r = th_reconcile_start(daemon);
    }
    if (r >= 0) {
        r = th_clock_step_start(daemon);
    }
    if (r >= 0) {
        th_system_bus_keep(daemon);
    }
    return r >= 0 ? th_hypervisor_start(daemon) : r;
}

static void stop(struct th_daemon *daemon) {
    daemon->ending = true;
    th_hypervisor_stop(daemon);
    daemon->refresh = sd_event_source_disable_unref(daemon->refresh);
    daemon->reconcile = sd_event_source_disable_unref(daemon->reconcile);
    daemon->wake_timer = sd_event_source_disable_unref(daemon->wake_timer);
    th_system_bus_stop(daemon);
    th_domains_deinit(daemon);
    th_fleet_stop(daemon);
    daemon->agent_pool = th_pool_free(daemon->agent_pool);
    daemon->stamp_pool = th_pool_free(daemon->stamp_pool);
    daemon->pool = th_pool_free(daemon->pool);
    th_ntp_servers_deinit(&daemon->ntp);
    th_cleanup_close(&daemon->arrivals);
}

int main(int argc, char **argv) {
    /* Static, because libvirt's thread may still look at it while the process ends. */
    static struct th_daemon daemon = {.group = -1, .arrivals = -1};
    int r;

    if (argc > 1) {
        bool help = strcmp(argv[1], "--help") == 0;

        if (strcmp(argv[1], "--version") == 0) {
            printf("timehandoffd %s\n", TH_VERSION);
            return EXIT_SUCCESS;
        }
        fputs(usage, help ? stdout : stderr);
        return help ? EXIT_SUCCESS : 2;
    }
    th_report_init("timehandoffd", getenv("JOURNAL_STREAM") ? NULL : stderr);
    if (gethostname(daemon.host_name, sizeof(daemon.host_name) - 1) < 0) {
        strcpy(daemon.host_name, "host");
    }
    r = start(&daemon);
    if (r >= 0) {
        sd_notify(0, "READY=1");
        r = sd_event_loop(daemon.event);
        th_report(LOG_INFO, TH_MESSAGE_SERVICE, "timehandoffd: ending");
        sd_notify(0, "STOPPING=1");
    } else {
        th_report(LOG_ERR, TH_MESSAGE_SERVICE, "timehandoffd: cannot start: %s", strerror(-r));
    }
    stop(&daemon);
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
