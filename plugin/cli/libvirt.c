/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libvirt for the commands that need it. It is loaded here and not linked, so that `measure`,
 * `override` and above all the checker neither wait for it nor break with it.
 */
#include "cli/libvirt.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"

/* How long libvirt may take to say who it is and what it has. */
#define ANSWER_S 10

/* Written before the alarm is set, since little may be called when it rings. */
static char no_answer[400];
static int no_answer_status;

static void on_alarm(int number) {
    (void)number;
    (void)!write(STDERR_FILENO, no_answer, strlen(no_answer));
    _exit(no_answer_status);
}

void th_cli_libvirt_within(int seconds, int status, const char *format, ...) {
    struct sigaction action = {.sa_handler = on_alarm};
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(no_answer, sizeof(no_answer) - 1, format, arguments);
    va_end(arguments);
    strcat(no_answer, "\n");
    no_answer_status = status;
    (void)sigaction(SIGALRM, &action, NULL);
    (void)alarm((unsigned)seconds);
}

static bool connect_libvirt(const struct th_config *config, struct th_cli_domain *domain) {
    struct th_virt_login login = {
        .uri = config->libvirt_uri,
        .user = config->libvirt_user,
        .password_file = config->libvirt_password_file,
    };
    char error[300] = "";
    int r = th_virt_load(&domain->virt, error, sizeof(error));

    if (r == 0) {
        r = th_virt_open(domain->virt, &login, &domain->connection, error, sizeof(error));
    }
    if (r < 0) {
        fprintf(stderr, "timehandoff: cannot reach libvirt (%s): %s\n", config->libvirt_uri,
                error[0] ? error : strerror(-r));
    }
    return r == 0;
}

static void find_domain(const char *name, struct th_cli_domain *domain) {
    struct th_uuid uuid;

    domain->domain = domain->virt->virDomainLookupByName(domain->connection, name);
    if (!domain->domain && th_uuid_parse(name, &uuid) == 0) {
        domain->domain = domain->virt->virDomainLookupByUUID(domain->connection, uuid.bytes);
    }
    if (!domain->domain) {
        fprintf(stderr, "timehandoff: no domain '%s' on this host; see 'virsh list --all'\n", name);
    }
}

bool th_cli_domain_open(const struct th_config *config, const char *name,
                        struct th_cli_domain *ret_domain) {
    *ret_domain = (struct th_cli_domain){.virt = NULL};
    th_cli_libvirt_within(ANSWER_S, TH_EXIT_USAGE,
                          "timehandoff: cannot reach libvirt (%.200s): no answer for %d s",
                          config->libvirt_uri, ANSWER_S);
    if (connect_libvirt(config, ret_domain)) {
        find_domain(name, ret_domain);
    }
    alarm(0);
    return ret_domain->domain != NULL;
}

void th_cli_domain_deinit(struct th_cli_domain *domain) {
    if (domain->domain) {
        domain->virt->virDomainFree(domain->domain);
    }
    if (domain->connection) {
        domain->virt->virConnectClose(domain->connection);
    }
    domain->virt = th_virt_free(domain->virt);
}
