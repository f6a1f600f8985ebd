/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * systemd-timesyncd: its properties on the system bus, read with busctl, which is told to start
 * nothing; and its files. It publishes no bound, so one is made of its last exchange with the
 * server; and it goes on showing that exchange after the server has gone, so its age counts.
 */
#include "clock/sync_daemon.h"

#include "base/program.h"
#include "timehandoff/gap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <json-c/json.h>
#include <string.h>
#include <sys/socket.h>

#define OUTPUT_SIZE 16384
#define LEAP_NOT_SYNCHRONISED 3
#define STRATUM_LAST 15
#define MAX_WORDS 64

/* The fields of NTPMessage, in their order. */
enum message_field {
    MESSAGE_LEAP,
    MESSAGE_VERSION,
    MESSAGE_MODE,
    MESSAGE_STRATUM,
    MESSAGE_PRECISION,
    MESSAGE_ROOT_DELAY_US,
    MESSAGE_ROOT_DISPERSION_US,
    MESSAGE_REFERENCE,
    MESSAGE_ORIGIN_US,
    MESSAGE_RECEIVE_US,
    MESSAGE_TRANSMIT_US,
    MESSAGE_DESTINATION_US,
    MESSAGE_SPIKE,
    MESSAGE_COUNT,
    MESSAGE_JITTER_US,
    MESSAGE_FIELDS
};

/* ---- what busctl prints ---- */

static void put_json(struct json_object **object) {
    json_object_put(*object);
}

#define auto_json __attribute__((cleanup(put_json)))

static struct json_object *member(struct json_object *object, const char *name) {
    struct json_object *value = NULL;

    return object && json_object_object_get_ex(object, name, &value) ? value : NULL;
}

/* The table of properties in {"type":"a{sv}","data":[{...}]}, or NULL. */
static struct json_object *properties(struct json_object *reply) {
    struct json_object *data = member(reply, "data");

    return json_object_is_type(data, json_type_array) ? json_object_array_get_idx(data, 0) : NULL;
}

static struct json_object *property(struct json_object *table, const char *name,
                                    enum json_type type) {
    struct json_object *data = member(member(table, name), "data");

    return json_object_is_type(data, type) ? data : NULL;
}

static const char *text_of(struct json_object *table, const char *name) {
    struct json_object *value = property(table, name, json_type_string);

    return value ? json_object_get_string(value) : "";
}

/* Microseconds that would not fit as nanoseconds are no time that anybody measured. */
static bool is_possible(const int64_t message[MESSAGE_FIELDS]) {
    for (size_t i = 0; i < MESSAGE_FIELDS; i++) {
        if (message[i] > INT64_MAX / TH_NS_PER_US / 4 ||
            message[i] < INT64_MIN / TH_NS_PER_US / 4) {
            return false;
        }
    }
    return true;
}

/* The last exchange with a server; false if it has another form. Before the first one its times
 * mean nothing, and then its count is 0. */
static bool read_message(struct json_object *table, int64_t ret_fields[MESSAGE_FIELDS]) {
    struct json_object *message = property(table, "NTPMessage", json_type_array);

    if (!message || json_object_array_length(message) != MESSAGE_FIELDS) {
        return false;
    }
    for (size_t i = 0; i < MESSAGE_FIELDS; i++) {
        ret_fields[i] = json_object_get_int64(json_object_array_get_idx(message, i));
    }
    return ret_fields[MESSAGE_COUNT] <= 0 || is_possible(ret_fields);
}

/* ---- state ---- */

/* Half the round trip, what the server says of itself, what is still to be slewed, and drift. */
static int64_t bound_ns(const int64_t message[MESSAGE_FIELDS], const struct th_sync_kernel *kernel,
                        int64_t age_ns) {
    int64_t delay_us = message[MESSAGE_DESTINATION_US] - message[MESSAGE_ORIGIN_US] -
                       (message[MESSAGE_TRANSMIT_US] - message[MESSAGE_RECEIVE_US]);
    int64_t root_us = message[MESSAGE_ROOT_DELAY_US] / 2 + message[MESSAGE_ROOT_DISPERSION_US] + 1;

    return th_sync_text_sum(((delay_us > 0 ? delay_us : 0) / 2 + 1) * TH_NS_PER_US,
                            (root_us > 0 ? root_us : 0) * TH_NS_PER_US,
                            th_sync_kernel_pending(kernel), th_sync_text_drift(age_ns));
}

/* 0: not known, or more than can be. */
static int64_t interval_ns(struct json_object *table) {
    struct json_object *interval = property(table, "PollIntervalUSec", json_type_int);
    int64_t interval_us = interval ? json_object_get_int64(interval) : 0;

    return interval_us > 0 && interval_us < INT64_MAX / TH_NS_PER_US ? interval_us * TH_NS_PER_US
                                                                     : 0;
}

static void judge(struct json_object *table, const int64_t message[MESSAGE_FIELDS],
                  const struct th_sync_kernel *kernel, int64_t real_ns, struct th_sync *sync) {
    int64_t stratum = message[MESSAGE_STRATUM];

    if (message[MESSAGE_COUNT] <= 0 || message[MESSAGE_LEAP] == LEAP_NOT_SYNCHRONISED) {
        th_sync_text_say(sync, TH_NO, "timesyncd has had no answer from a server");
        return;
    }
    if (!th_sync_kernel_is_set(kernel)) {
        th_sync_text_say(sync, TH_NO, "timesyncd has not set the kernel's clock (adjtimex)");
        return;
    }
    /* The kernel's own count survives a step of the clock; the message's time does not. */
    sync->age_ns = th_sync_kernel_age(kernel);
    if (sync->age_ns < 0) {
        sync->age_ns = real_ns - message[MESSAGE_DESTINATION_US] * TH_NS_PER_US;
    }
    if (sync->age_ns < 0) {
        sync->age_ns = -1;
        th_sync_text_say(sync, TH_UNKNOWN, "timesyncd's last update lies in the future");
        return;
    }
    sync->stratum = stratum >= 0 && stratum < STRATUM_LAST ? (unsigned)stratum + 1 : 0;
    sync->error_ns = bound_ns(message, kernel, sync->age_ns);
    if (th_sync_text_is_stale(sync->age_ns, interval_ns(table))) {
        th_sync_text_say_age(sync, TH_NO, "timesyncd has lost its server: last update", "ago");
        return;
    }
    th_sync_text_say_age(sync, TH_YES, "timesyncd is synchronised, last update", "ago");
}

int th_sync_timesyncd_state(const char *json, const struct th_sync_kernel *kernel, int64_t real_ns,
                            struct th_sync *ret_sync) {
    auto_json struct json_object *reply = json_tokener_parse(json);
    struct json_object *table = properties(reply);
    struct th_sync sync = {.from = TH_SYNC_FROM_TIMESYNCD,
                           .error_ns = -1,
                           .age_ns = -1,
                           .slew_ppm = TH_GAP_RATE_UNKNOWN_PPM};
    int64_t message[MESSAGE_FIELDS];

    if (!table || !read_message(table, message)) {
        return -EBADMSG;
    }
    (void)th_text_clean(text_of(table, "ServerName"), sync.source, sizeof(sync.source));
    judge(table, message, kernel, real_ns, &sync);
    *ret_sync = sync;
    return 0;
}

/* ---- sources ---- */

/* {2, [192,0,2,1]}: family and bytes. */
static void format_address(struct json_object *table, char *text, size_t size) {
    struct json_object *pair = property(table, "ServerAddress", json_type_array);
    struct json_object *bytes = pair ? json_object_array_get_idx(pair, 1) : NULL;
    size_t n = json_object_is_type(bytes, json_type_array) ? json_object_array_length(bytes) : 0;
    uint8_t address[16] = {0};

    text[0] = '\0';
    if (n != 4 && n != 16) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        address[i] = (uint8_t)json_object_get_int(json_object_array_get_idx(bytes, i));
    }
    (void)inet_ntop(n == 4 ? AF_INET : AF_INET6, address, text, (socklen_t)size);
}

static int add_list(struct json_object *table, const char *name, const char *where,
                    struct th_ntp_servers *servers) {
    struct json_object *list = property(table, name, json_type_array);
    size_t n = list ? json_object_array_length(list) : 0;

    for (size_t i = 0; i < n; i++) {
        const char *server = json_object_get_string(json_object_array_get_idx(list, i));
        int r = 0;

        if (server && *server && !th_ntp_servers_find(servers, server)) {
            r = th_ntp_servers_add(servers, TH_NTP_SERVER, server, where);
        }
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

/* The fallback list counts only where there is nothing else: so timesyncd has it. */
static int add_others(struct json_object *table, struct th_ntp_servers *servers) {
    int r = add_list(table, "LinkNTPServers", "dhcp", servers);

    r = r < 0 ? r : add_list(table, "RuntimeNTPServers", "runtime", servers);
    return r < 0 || servers->n > 0 ? r : add_list(table, "FallbackNTPServers", "fallback", servers);
}

/* timesyncd asks one at a time; the others of its list stand by. */
static void add_source(const char *name, enum th_ntp_use use, struct th_ntp_sources *sources) {
    struct th_ntp_source *source = &sources->sources[sources->n];

    for (size_t i = 0; i < sources->n; i++) {
        if (th_ntp_name_equal(sources->sources[i].name, name)) {
            return;
        }
    }
    if (!*name || sources->n == TH_NTP_MAX_SERVERS) {
        return;
    }
    *source =
        (struct th_ntp_source){.kind = TH_NTP_SERVER, .use = use, .reach = -1, .heard_ns = -1};
    (void)th_text_clean(name, source->name, sizeof(source->name));
    sources->n++;
}

static void add_spares(struct json_object *table, const char *list_name,
                       struct th_ntp_sources *sources) {
    struct json_object *list = property(table, list_name, json_type_array);
    size_t n = list ? json_object_array_length(list) : 0;

    for (size_t i = 0; i < n; i++) {
        const char *name = json_object_get_string(json_object_array_get_idx(list, i));

        add_source(name ? name : "", TH_NTP_SPARE, sources);
    }
}

int th_sync_timesyncd_sources(const char *json, struct th_ntp_servers *servers,
                              struct th_ntp_sources *ret_sources) {
    static const char *const lists[] = {"SystemNTPServers", "LinkNTPServers", "RuntimeNTPServers"};
    auto_json struct json_object *reply = json_tokener_parse(json);
    struct json_object *table = properties(reply);
    int64_t message[MESSAGE_FIELDS];
    int r;

    if (!table || !read_message(table, message)) {
        return -EBADMSG;
    }
    r = add_others(table, servers);
    if (r < 0) {
        return r;
    }
    ret_sources->n = 0;
    add_source(text_of(table, "ServerName"),
               message[MESSAGE_COUNT] > 0 ? TH_NTP_SELECTED : TH_NTP_WAITING, ret_sources);
    if (ret_sources->n > 0) {
        format_address(table, ret_sources->sources[0].address,
                       sizeof(ret_sources->sources[0].address));
    }
    for (size_t i = 0; i < TH_ELEMENTS(lists); i++) {
        add_spares(table, lists[i], ret_sources);
    }
    return 0;
}

/* ---- asking ---- */

static int ask(int64_t timeout_ns, char *ret_output, size_t size) {
    static const char *const command[] = {"busctl",
                                          "--auto-start=no",
                                          "--json=short",
                                          "call",
                                          "org.freedesktop.timesync1",
                                          "/org/freedesktop/timesync1",
                                          "org.freedesktop.DBus.Properties",
                                          "GetAll",
                                          "s",
                                          "org.freedesktop.timesync1.Manager",
                                          NULL};

    return th_program_run(command, timeout_ns, ret_output, size);
}

static bool read_state(const char *root, pid_t pid, const struct th_sync_kernel *kernel,
                       int64_t timeout_ns, struct th_sync *ret_sync) {
    char output[OUTPUT_SIZE];

    (void)root;
    (void)pid;
    if (ask(timeout_ns, output, sizeof(output)) != 0) {
        *ret_sync = th_sync_text_silent(TH_SYNC_FROM_TIMESYNCD, "timesyncd does not answer");
    } else if (th_sync_timesyncd_state(output, kernel, th_now_real_ns(), ret_sync) < 0) {
        *ret_sync = th_sync_text_silent(TH_SYNC_FROM_TIMESYNCD,
                                        "busctl said something other than timesyncd's properties");
    }
    return true;
}

static bool read_sources(const char *root, pid_t pid, int64_t timeout_ns,
                         struct th_ntp_servers *servers, struct th_ntp_sources *ret_sources) {
    char output[OUTPUT_SIZE];

    (void)root;
    (void)pid;
    return ask(timeout_ns, output, sizeof(output)) == 0 &&
           th_sync_timesyncd_sources(output, servers, ret_sources) == 0;
}

/* ---- files ---- */

struct reader {
    const char *root;
    struct th_ntp_servers *servers;
    bool in_time; /* in section [Time] */
};

static int on_line(void *userdata, char *line, const char *where) {
    struct reader *reader = userdata;
    char *words[MAX_WORDS], *value;
    size_t n;
    int r = 0;

    line += strspn(line, " \t");
    if (*line == '[') {
        reader->in_time = strncmp(line, "[Time]", 6) == 0;
        return 0;
    }
    value = strchr(line, '=');
    if (!reader->in_time || !value || *line == '#' || *line == ';') {
        return 0;
    }
    *value++ = '\0';
    line[strcspn(line, " \t")] = '\0';
    if (strcmp(line, "NTP") != 0) {
        return 0;
    }
    n = th_sync_file_words(value, words, MAX_WORDS);
    if (n == 0) {
        /* An empty assignment empties the list. */
        th_ntp_servers_deinit(reader->servers);
    }
    for (size_t i = 0; r == 0 && i < n; i++) {
        r = th_ntp_servers_add(reader->servers, TH_NTP_SERVER, words[i], where);
    }
    return r;
}

static int on_file(void *userdata, const char *path) {
    struct reader *reader = userdata;

    reader->in_time = false;
    return th_sync_file_lines(reader->root, path, false, on_line, reader, reader->servers);
}

static int read_servers(const char *root, pid_t pid, struct th_ntp_servers *servers) {
    static const char *const folders[] = {
        "/etc/systemd/timesyncd.conf.d",
        "/run/systemd/timesyncd.conf.d",
        "/usr/local/lib/systemd/timesyncd.conf.d",
        "/usr/lib/systemd/timesyncd.conf.d",
    };
    struct reader reader = {.root = root, .servers = servers};
    int r = on_file(&reader, "/etc/systemd/timesyncd.conf");

    (void)pid;
    return r < 0 ? r
                 : th_sync_file_drop_ins(root, folders, TH_ELEMENTS(folders), ".conf", on_file,
                                         &reader);
}

const struct th_sync_daemon th_sync_timesyncd = {
    .from = TH_SYNC_FROM_TIMESYNCD,
    .process = "systemd-timesyn",
    .program = "/lib/systemd/systemd-timesyncd",
    .read_state = read_state,
    .read_servers = read_servers,
    .read_sources = read_sources,
};
