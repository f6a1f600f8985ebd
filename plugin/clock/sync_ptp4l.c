/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ptp4l, alone or with phc2sys: what ptp4l says of its master, asked through pmc on its Unix
 * socket, and what the kernel says of when its clock was last set, because phc2sys publishes
 * nothing. With phc2sys in between, how far the host's clock is from ptp4l's is not known, so
 * neither is a bound.
 */
#include "clock/sync_daemon.h"

#include "base/program.h"
#include "timehandoff/gap.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OUTPUT_SIZE 16384
#define VALUE_SIZE 64
#define MAIN_FILE "/etc/linuxptp/ptp4l.conf"
#define OTHER_MAIN_FILE "/etc/ptp4l.conf"
/* Both set the clock several times a minute at least. */
#define SET_WITHIN_NS (60 * TH_NS_PER_S)

/* ---- pmc's answers ---- */

/* Takes a line "name value" out of the text, the first from at on. Returns where it ends, or NULL.
 */
static const char *field(const char *at, const char *name, char ret_value[VALUE_SIZE]) {
    size_t length = strlen(name);

    for (; at && *at; at = strchr(at, '\n'), at = at ? at + 1 : NULL) {
        const char *word = at + strspn(at, " \t");

        if (strncmp(word, name, length) == 0 && (word[length] == ' ' || word[length] == '\t')) {
            const char *value = word + length + strspn(word + length, " \t");

            (void)snprintf(ret_value, VALUE_SIZE, "%.*s", (int)strcspn(value, " \t\r\n"), value);
            return value;
        }
    }
    return NULL;
}

static bool is(const char *text, const char *name, const char *wanted) {
    char value[VALUE_SIZE];

    return field(text, name, value) && strcmp(value, wanted) == 0;
}

static bool has_port_state(const char *text, const char *state) {
    char value[VALUE_SIZE];

    for (const char *at = field(text, "portState", value); at; at = field(at, "portState", value)) {
        if (strcmp(value, state) == 0) {
            return true;
        }
    }
    return false;
}

/* How far a grandmaster of that class of accuracy may be from UTC (IEEE 1588, clockAccuracy); -1:
 * it doesn't say. */
static int64_t accuracy_ns(const char *text) {
    static const int64_t classes_ns[] = {25,
                                         100,
                                         250,
                                         1000,
                                         2500,
                                         10000,
                                         25000,
                                         100000,
                                         250000,
                                         1000000,
                                         2500000,
                                         10000000,
                                         25000000,
                                         100000000,
                                         250000000,
                                         1000000000,
                                         INT64_C(10000000000)};
    char value[VALUE_SIZE];
    unsigned long class;

    if (!field(text, "gm.ClockAccuracy", value)) {
        return -1;
    }
    class = strtoul(value, NULL, 16);
    return class >= 0x20 && class - 0x20 < TH_ELEMENTS(classes_ns) ? classes_ns[class - 0x20] : -1;
}

/* ---- state ---- */

/* A bound needs a master that knows UTC, and nobody between ptp4l and the clock. */
static int64_t bound_ns(const char *text, int64_t age_ns, bool with_phc2sys) {
    char offset[VALUE_SIZE], path[VALUE_SIZE];
    int64_t offset_ns, path_ns, master_ns = accuracy_ns(text);

    if (with_phc2sys || master_ns < 0 || !is(text, "timeTraceable", "1") ||
        !field(text, "offsetFromMaster", offset) || !field(text, "meanPathDelay", path) ||
        th_sync_text_number(offset, 1, &offset_ns) < 0 ||
        th_sync_text_number(path, 1, &path_ns) < 0) {
        return -1;
    }
    /* What the way there and the way back differ by is less than the two together. */
    return th_sync_text_sum(master_ns, (offset_ns < 0 ? -offset_ns : offset_ns) + 1,
                            (path_ns < 0 ? -path_ns : path_ns) + 1, th_sync_text_drift(age_ns));
}

static void judge(const char *text, const struct th_sync_kernel *kernel, bool with_phc2sys,
                  struct th_sync *sync) {
    sync->age_ns = th_sync_kernel_age(kernel);
    if (!is(text, "gmPresent", "true") || !has_port_state(text, "SLAVE")) {
        sync->age_ns = -1;
        th_sync_text_say(sync, TH_NO, "ptp4l does not follow a master");
        return;
    }
    if (!th_sync_kernel_is_set(kernel)) {
        th_sync_text_say(sync, TH_NO, "ptp4l follows a master, but nothing sets the host's clock");
        return;
    }
    if (sync->age_ns < 0) {
        th_sync_text_say(sync, TH_UNKNOWN,
                         "ptp4l follows a master, but something else sets the host's clock");
        return;
    }
    if (sync->age_ns > SET_WITHIN_NS) {
        th_sync_text_say_age(sync, TH_NO,
                             "ptp4l follows a master, but the host's clock was last set", "ago");
        return;
    }
    if (is(text, "ptpTimescale", "1") && !is(text, "currentUtcOffsetValid", "1")) {
        th_sync_text_say(sync, TH_UNKNOWN,
                         "ptp4l's master does not know how far its time is from UTC");
        return;
    }
    sync->error_ns = bound_ns(text, sync->age_ns, with_phc2sys);
    th_sync_text_say_age(sync, TH_YES,
                         with_phc2sys ? "ptp4l follows a master, phc2sys set the clock"
                                      : "ptp4l follows a master and set the clock",
                         "ago");
}

int th_sync_ptp4l_state(const char *text, const struct th_sync_kernel *kernel, bool with_phc2sys,
                        struct th_sync *ret_sync) {
    struct th_sync sync = {.from = TH_SYNC_FROM_PTP4L,
                           .error_ns = -1,
                           .age_ns = -1,
                           .slew_ppm = TH_GAP_RATE_UNKNOWN_PPM};
    char value[VALUE_SIZE] = "";

    if (!field(text, "gmPresent", value) || !field(text, "portState", value)) {
        return -EBADMSG;
    }
    if (field(text, "gmIdentity", value)) {
        (void)th_text_clean(value, sync.source, sizeof(sync.source));
    }
    judge(text, kernel, with_phc2sys, &sync);
    *ret_sync = sync;
    return 0;
}

/* ---- sources ---- */

int th_sync_ptp4l_sources(const char *text, struct th_ntp_sources *ret_sources) {
    struct th_ntp_source *source = &ret_sources->sources[0];
    char value[VALUE_SIZE] = "";

    if (!field(text, "gmPresent", value) || !field(text, "portState", value)) {
        return -EBADMSG;
    }
    ret_sources->n = 0;
    if (!is(text, "gmPresent", "true") || !field(text, "gmIdentity", value)) {
        return 0;
    }
    *source = (struct th_ntp_source){.kind = TH_NTP_REFCLOCK, .reach = -1, .heard_ns = -1};
    source->use = has_port_state(text, "SLAVE") ? TH_NTP_SELECTED : TH_NTP_WAITING;
    (void)th_text_clean(value, source->name, sizeof(source->name));
    ret_sources->n = 1;
    return 0;
}

/* ---- files ---- */

/* What the configuration says, and where it was found. */
struct setting {
    char domain[8];
    char socket[128];
    char interfaces[96];
};

static void add_interface(struct setting *setting, const char *name) {
    size_t used = strlen(setting->interfaces);

    (void)snprintf(setting->interfaces + used, sizeof(setting->interfaces) - used, "%s%s",
                   used ? " " : "", name);
}

static int on_line(void *userdata, char *line, const char *where) {
    struct setting *setting = userdata;
    char *words[2];

    (void)where;
    line += strspn(line, " \t");
    if (*line == '[') {
        line[strcspn(line, "]")] = '\0';
        if (strcmp(line + 1, "global") != 0 && !strstr(line, "_table")) {
            add_interface(setting, line + 1);
        }
        return 0;
    }
    if (*line == '#' || th_sync_file_words(line, words, 2) != 2) {
        return 0;
    }
    if (strcmp(words[0], "domainNumber") == 0) {
        (void)snprintf(setting->domain, sizeof(setting->domain), "%.7s", words[1]);
    } else if (strcmp(words[0], "uds_ro_address") == 0 ||
               (strcmp(words[0], "uds_address") == 0 && !*setting->socket)) {
        (void)snprintf(setting->socket, sizeof(setting->socket), "%.127s", words[1]);
    }
    return 0;
}

static int read_setting(const char *root, pid_t pid, struct th_ntp_servers *servers,
                        struct setting *ret_setting, char ret_path[256]) {
    struct setting setting = {.domain = "0"};
    char value[64];
    int r;

    if (!th_sync_process_option(pid, 'f', 0, ret_path, 256)) {
        char full[PATH_MAX];

        (void)snprintf(full, sizeof(full), "%s" MAIN_FILE, root);
        (void)snprintf(ret_path, 256, "%s",
                       pid == 0 && access(full, F_OK) < 0 ? OTHER_MAIN_FILE : MAIN_FILE);
    }
    r = th_sync_file_lines(root, ret_path, false, on_line, &setting, servers);
    for (unsigned i = 0; i < 8 && th_sync_process_option(pid, 'i', i, value, sizeof(value)); i++) {
        add_interface(&setting, value);
    }
    if (r == 0) {
        *ret_setting = setting;
    }
    return r;
}

static int read_servers(const char *root, pid_t pid, struct th_ntp_servers *servers) {
    struct setting setting;
    char path[256], name[32], where[TH_NTP_WHERE_SIZE];
    int r = read_setting(root, pid, servers, &setting, path);

    if (r < 0 || !*setting.interfaces) {
        return r;
    }
    (void)snprintf(name, sizeof(name), "ptp:%s", setting.domain);
    (void)snprintf(where, sizeof(where), "%.80s (%s)", path, setting.interfaces);
    return th_ntp_servers_add(servers, TH_NTP_REFCLOCK, name, where);
}

/* ---- asking ---- */

/* The read-only socket of linuxptp 4 where there is one. */
static const char *find_socket(const struct setting *setting) {
    static const char *const sockets[] = {"/var/run/ptp4lro", "/var/run/ptp/ptp4lro",
                                          "/var/run/ptp/ptp4l"};

    if (*setting->socket) {
        return setting->socket;
    }
    for (size_t i = 0; i < TH_ELEMENTS(sockets); i++) {
        if (access(sockets[i], F_OK) == 0) {
            return sockets[i];
        }
    }
    return "/var/run/ptp4l";
}

/* pmc binds a socket of its own, in a folder that a confined daemon may write to. */
static int ask(pid_t pid, int64_t timeout_ns, char *ret_output, size_t size) {
    th_auto_ntp_servers struct th_ntp_servers unused = {.n = 0};
    struct setting setting;
    char path[256], own[96];
    int r = read_setting("", pid, &unused, &setting, path);
    const char *folder = access("/run/timehandoff", W_OK) == 0 ? "/run/timehandoff" : "/run";

    (void)snprintf(own, sizeof(own), "%s/pmc.%ld", folder, (long)getpid());
    const char *const command[] = {"pmc",
                                   "-u",
                                   "-b",
                                   "0",
                                   "-d",
                                   setting.domain,
                                   "-i",
                                   own,
                                   "-s",
                                   find_socket(&setting),
                                   "GET TIME_STATUS_NP",
                                   "GET PORT_DATA_SET",
                                   "GET PARENT_DATA_SET",
                                   "GET CURRENT_DATA_SET",
                                   "GET TIME_PROPERTIES_DATA_SET",
                                   NULL};

    return r < 0 ? r : th_program_run(command, timeout_ns, ret_output, size);
}

static bool read_state(const char *root, pid_t pid, const struct th_sync_kernel *kernel,
                       int64_t timeout_ns, struct th_sync *ret_sync) {
    bool with_phc2sys = th_sync_process_find("phc2sys") > 0;
    char output[OUTPUT_SIZE];

    (void)root;
    if (ask(pid, timeout_ns, output, sizeof(output)) != 0 ||
        th_sync_ptp4l_state(output, kernel, with_phc2sys, ret_sync) < 0) {
        *ret_sync = th_sync_text_silent(TH_SYNC_FROM_PTP4L, "ptp4l does not answer");
    }
    return true;
}

static bool read_sources(const char *root, pid_t pid, int64_t timeout_ns,
                         struct th_ntp_servers *servers, struct th_ntp_sources *ret_sources) {
    char output[OUTPUT_SIZE];

    (void)root;
    (void)servers;
    return ask(pid, timeout_ns, output, sizeof(output)) == 0 &&
           th_sync_ptp4l_sources(output, ret_sources) == 0;
}

const struct th_sync_daemon th_sync_ptp4l = {
    .from = TH_SYNC_FROM_PTP4L,
    .process = "ptp4l",
    .program = "/usr/sbin/ptp4l",
    .read_state = read_state,
    .read_servers = read_servers,
    .read_sources = read_sources,
};
