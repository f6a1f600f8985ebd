/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What `timehandoff ntp` prints: the servers with where they are configured and what the daemon
 * makes of them, as text and as JSON; the section for other hosts; and findings, each with what to
 * do about it. All names in it were cleaned where they were read.
 */
#include <errno.h>
#include <json-c/json.h>
#include <string.h>

#include "cli/ntp.h"
#include "report/json.h"
#include "timehandoff/duration.h"

/* ---- show ---- */

static void print_source(const struct th_ntp_source *source, FILE *out) {
    char heard[TH_DURATION_TEXT_SIZE];
    bool numbered = source->address[0] && strcmp(source->address, source->name) != 0;

    fprintf(out, "  %-11s %s%s%s%s", th_ntp_use_name(source->use), source->name,
            numbered ? " (" : "", numbered ? source->address : "", numbered ? ")" : "");
    if (source->heard_ns >= 0) {
        fprintf(out, ", heard %s ago", th_duration_format(source->heard_ns, heard));
    }
    fputc('\n', out);
}

static void print_sources(const struct th_ntp_status *status, FILE *out) {
    const char *daemon = th_sync_from_name(status->from);

    if (!status->running) {
        fprintf(out, "%s does not run\n", daemon);
        return;
    }
    if (!status->answered) {
        fprintf(out, "%s does not answer\n", daemon);
        return;
    }
    fprintf(out, "%s has%s\n", daemon, status->sources.n ? ":" : " no source");
    for (size_t i = 0; i < status->sources.n; i++) {
        print_source(&status->sources.sources[i], out);
    }
}

void th_ntp_show_text(const struct th_ntp_status *status, FILE *out) {
    if (status->from == TH_SYNC_FROM_NOTHING) {
        fprintf(out, "no time daemon that is known here: chronyd, ntpd, timesyncd or ptp4l\n");
        return;
    }
    fprintf(out, "%s is configured with%s\n", th_sync_from_name(status->from),
            status->servers.n ? ":" : " no server");
    for (size_t i = 0; i < status->servers.n; i++) {
        const struct th_ntp_server *server = &status->servers.servers[i];

        fprintf(out, "  %-11s %s, %s\n", th_ntp_kind_name(server->kind), server->name,
                server->where);
    }
    if (status->servers.complaint[0]) {
        fprintf(out, "  not all of it: %s\n", status->servers.complaint);
    }
    print_sources(status, out);
}

/* Opens an object in a list. NULL when out of memory. */
static struct json_object *add_object(struct json_object *list, bool *failed) {
    struct json_object *object = json_object_new_object();

    if (!list || !object || json_object_array_add(list, object) < 0) {
        json_object_put(object);
        *failed = true;
        return NULL;
    }
    return object;
}

static struct json_object *add_list(struct json_object *object, const char *field, bool *failed) {
    struct json_object *list = json_object_new_array();

    if (!object || !list || json_object_object_add(object, field, list) < 0) {
        json_object_put(list);
        *failed = true;
        return NULL;
    }
    return list;
}

static void add_server(struct json_object *list, const struct th_ntp_server *server, bool *failed) {
    struct json_object *object = add_object(list, failed);

    th_json_text(object, "kind", th_ntp_kind_name(server->kind), failed);
    th_json_text(object, "name", server->name, failed);
    th_json_text(object, "where", server->where, failed);
}

static void add_source(struct json_object *list, const struct th_ntp_source *source, bool *failed) {
    struct json_object *object = add_object(list, failed);

    th_json_text(object, "kind", th_ntp_kind_name(source->kind), failed);
    th_json_text(object, "name", source->name, failed);
    th_json_text(object, "address", source->address[0] ? source->address : NULL, failed);
    th_json_text(object, "use", th_ntp_use_name(source->use), failed);
    if (source->reach >= 0) {
        th_json_number(object, "reach", source->reach, failed);
    }
    if (source->heard_ns >= 0) {
        th_json_number(object, "heard_ns", source->heard_ns, failed);
    }
}

static void add_digest(struct json_object *object, const struct th_ntp_servers *servers,
                       bool *failed) {
    uint8_t digest[TH_NTP_DIGEST_SIZE];
    char text[2 * TH_NTP_DIGEST_SIZE + 1];

    if (th_ntp_digest(servers, digest) < 0) {
        *failed = true;
        return;
    }
    th_json_text(object, "digest", th_hex_encode(digest, sizeof(digest), text), failed);
}

int th_ntp_show_json(const struct th_ntp_status *status, FILE *out) {
    struct json_object *object = json_object_new_object();
    struct json_object *list;
    bool failed = !object;

    th_json_text(object, "daemon", th_sync_from_name(status->from), &failed);
    th_json_flag(object, "running", status->running, &failed);
    th_json_flag(object, "answered", status->answered, &failed);
    add_digest(object, &status->servers, &failed);
    list = add_list(object, "servers", &failed);
    for (size_t i = 0; i < status->servers.n; i++) {
        add_server(list, &status->servers.servers[i], &failed);
    }
    list = add_list(object, "sources", &failed);
    for (size_t i = 0; i < status->sources.n; i++) {
        add_source(list, &status->sources.sources[i], &failed);
    }
    th_json_text(object, "complaint",
                 status->servers.complaint[0] ? status->servers.complaint : NULL, &failed);
    return th_json_print(object, &failed, out);
}

/* ---- export ---- */

void th_ntp_export(const struct th_ntp_status *status, FILE *out) {
    const struct th_ntp_servers *servers = &status->servers;

    fprintf(out,
            "# NTP servers of %s, for /etc/timehandoff/conf.d/ntp.conf on other hosts.\n[ntp]\n",
            th_sync_from_name(status->from));
    for (size_t i = 0; i < servers->n; i++) {
        const struct th_ntp_server *server = &servers->servers[i];
        bool shared = server->kind == TH_NTP_SERVER || server->kind == TH_NTP_POOL;

        if (th_ntp_servers_find(servers, server->name) != server) {
            continue;
        }
        if (!shared || !th_ntp_name_is_good(server->name)) {
            fprintf(out, "# left out: %s %s (%s)\n", th_ntp_kind_name(server->kind), server->name,
                    server->where);
            continue;
        }
        fprintf(out, "%s = %s\n", th_ntp_kind_name(server->kind), server->name);
    }
}

/* ---- check ---- */

/* What it means and what to do. */
static const char *explanation(enum th_ntp_finding_kind kind) {
    switch (kind) {
    case TH_NTP_MISSING: return "not configured; run 'timehandoff ntp apply'";
    case TH_NTP_EXTRA: return "not in the list; take it out there, or add it to [ntp]";
    case TH_NTP_NO_DAEMON: return "no time daemon here; install chrony";
    case TH_NTP_NOT_RUNNING: return "does not run; start it";
    case TH_NTP_NO_ANSWER: return "does not answer; see its log";
    case TH_NTP_NOT_IN_USE:
        return "configured, but the daemon does not have it; reload or restart it";
    case TH_NTP_TWICE: return "configured more than once; one of the lines is of no use";
    case TH_NTP_NO_ANSWER_NOW: return "does not answer the daemon; see firewall and name";
    case TH_NTP_NONE: return "no server is configured";
    case TH_NTP_ONE: return "a single server: nobody notices when it is wrong; have three or more";
    case TH_NTP_FEW: return "two servers: nobody can tell which one is wrong; have three or more";
    case TH_NTP_INCOMPLETE: return "not everything could be read";
    }
    return "";
}

static void print_finding(const struct th_ntp_finding *finding, FILE *out) {
    fprintf(out, "%-12s", th_ntp_finding_name(finding->kind));
    if (finding->name[0]) {
        fprintf(out, " %s", finding->name);
        if (finding->where[0] && strcmp(finding->where, finding->name) != 0) {
            fprintf(out, " (%s)", finding->where);
        }
        fputc(':', out);
    }
    fprintf(out, " %s\n", explanation(finding->kind));
}

void th_ntp_check_text(const struct th_ntp_findings *findings, const struct th_ntp_servers *wanted,
                       FILE *out) {
    for (size_t i = 0; i < findings->n; i++) {
        print_finding(&findings->findings[i], out);
    }
    if (wanted->n == 0) {
        fprintf(out, "no list to compare with: name servers under [ntp] in timehandoff.conf(5), or "
                     "begin with 'timehandoff ntp export' on a host that is right\n");
    } else if (!findings->differs) {
        fprintf(out, "this host's NTP servers are those of [ntp]\n");
    }
}

int th_ntp_check_json(const struct th_ntp_findings *findings, FILE *out) {
    struct json_object *object = json_object_new_object();
    struct json_object *list;
    bool failed = !object;

    th_json_flag(object, "differs", findings->differs, &failed);
    list = add_list(object, "findings", &failed);
    for (size_t i = 0; i < findings->n; i++) {
        const struct th_ntp_finding *finding = &findings->findings[i];
        struct json_object *inside = add_object(list, &failed);

        th_json_text(inside, "finding", th_ntp_finding_name(finding->kind), &failed);
        th_json_text(inside, "name", finding->name[0] ? finding->name : NULL, &failed);
        th_json_text(inside, "where", finding->where[0] ? finding->where : NULL, &failed);
        th_json_text(inside, "detail", explanation(finding->kind), &failed);
    }
    return th_json_print(object, &failed, out);
}
