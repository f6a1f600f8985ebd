/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * chronyd's files: which servers chrony.conf names, with all it includes, and in which folder it
 * looks for more. Read as chronyd 4 reads them: whole-line comments only, words without regard to
 * case, and in *.sources files no line without its newline. Nothing here runs or changes anything.
 */
#include "clock/sync_daemon.h"

#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_WORDS 16
#define MAX_DEPTH 10 /* chronyd's own */

static const char *const mains[] = {"/etc/chrony/chrony.conf", "/etc/chrony.conf"};

struct walk {
    const char *root;
    struct th_ntp_servers *servers;
    char *folder; /* of *.sources, below /etc; 256 bytes */
    unsigned depth;
};

static int read_one(void *userdata, const char *path);
static int read_sources_file(void *userdata, const char *path);

/* The patterns of "include" are expanded below root. */
static int include(struct walk *walk, const char *pattern) {
    char full[PATH_MAX];
    glob_t found;
    int r = 0;

    (void)snprintf(full, sizeof(full), "%s%s", walk->root, pattern);
    if (glob(full, 0, NULL, &found) != 0) {
        return 0;
    }
    for (size_t i = 0; r == 0 && i < found.gl_pathc; i++) {
        r = read_one(walk, found.gl_pathv[i] + strlen(walk->root));
    }
    globfree(&found);
    return r;
}

static int add_server(struct walk *walk, char *words[], size_t n, const char *where) {
    enum th_ntp_kind kind = strcasecmp(words[0], "server") == 0 ? TH_NTP_SERVER
                            : strcasecmp(words[0], "pool") == 0 ? TH_NTP_POOL
                                                                : TH_NTP_PEER;

    return n > 1 ? th_ntp_servers_add(walk->servers, kind, words[1], where) : 0;
}

static int add_refclock(struct walk *walk, char *words[], size_t n, const char *where) {
    char name[TH_NTP_NAME_SIZE];

    (void)snprintf(name, sizeof(name), "%s:%s", n > 1 ? words[1] : "", n > 2 ? words[2] : "");
    return th_ntp_servers_add(walk->servers, TH_NTP_REFCLOCK, name, where);
}

static bool is_server(const char *word) {
    return strcasecmp(word, "server") == 0 || strcasecmp(word, "pool") == 0 ||
           strcasecmp(word, "peer") == 0;
}

static bool is_comment(const char *line) {
    line += strspn(line, " \t\r\v\f");
    return *line == '\0' || strchr("!;#%", *line);
}

static int on_sources_line(void *userdata, char *line, const char *where) {
    char *words[MAX_WORDS];
    size_t n = is_comment(line) ? 0 : th_sync_file_words(line, words, MAX_WORDS);

    return n > 0 && is_server(words[0]) ? add_server(userdata, words, n, where) : 0;
}

/* Whether the path of a file in there can be told whole as where a server comes from. */
static bool is_tellable(const char *folder) {
    char clean[TH_NTP_WHERE_SIZE - 32];

    return strcmp(th_text_clean(folder, clean, sizeof(clean)), folder) == 0;
}

/* chronyd writes new sources into none of them; the first that belongs to the administrator is
 * where a file of ours would go. */
static void note_folder(struct walk *walk, char *words[], size_t n) {
    for (size_t i = 1; i < n && walk->folder && !*walk->folder; i++) {
        if (strncmp(words[i], "/etc/", 5) == 0 && is_tellable(words[i])) {
            (void)snprintf(walk->folder, 256, "%.200s", words[i]);
        }
    }
}

static int on_line(void *userdata, char *line, const char *where) {
    struct walk *walk = userdata;
    char *words[MAX_WORDS];
    size_t n = is_comment(line) ? 0 : th_sync_file_words(line, words, MAX_WORDS);
    const char *const *folders = (const char *const *)words + 1;

    if (n < 2) {
        return 0;
    }
    if (is_server(words[0])) {
        return add_server(walk, words, n, where);
    }
    if (strcasecmp(words[0], "refclock") == 0) {
        return add_refclock(walk, words, n, where);
    }
    if (strcasecmp(words[0], "include") == 0) {
        return include(walk, words[1]);
    }
    if (strcasecmp(words[0], "confdir") == 0) {
        return th_sync_file_drop_ins(walk->root, folders, n - 1, ".conf", read_one, walk);
    }
    if (strcasecmp(words[0], "sourcedir") == 0) {
        note_folder(walk, words, n);
        return th_sync_file_drop_ins(walk->root, folders, n - 1, ".sources", read_sources_file,
                                     walk);
    }
    return 0;
}

static int read_one(void *userdata, const char *path) {
    struct walk *walk = userdata;
    int r;

    if (walk->depth == MAX_DEPTH) {
        return 0;
    }
    walk->depth++;
    r = th_sync_file_lines(walk->root, path, false, on_line, walk, walk->servers);
    walk->depth--;
    return r;
}

static int read_sources_file(void *userdata, const char *path) {
    struct walk *walk = userdata;

    return th_sync_file_lines(walk->root, path, true, on_sources_line, walk, walk->servers);
}

/* The file it was started with, or the distribution's. */
static void find_main(const char *root, pid_t pid, char ret_main[256]) {
    if (th_sync_process_option(pid, 'f', 0, ret_main, 256) && *ret_main == '/') {
        return;
    }
    for (size_t i = 0; i < TH_ELEMENTS(mains); i++) {
        char full[PATH_MAX];
        glob_t found;

        (void)snprintf(full, sizeof(full), "%s%s", root, mains[i]);
        (void)snprintf(ret_main, 256, "%s", mains[i]);
        if (glob(full, 0, NULL, &found) == 0) {
            globfree(&found);
            return;
        }
    }
    (void)snprintf(ret_main, 256, "%s", mains[0]);
}

int th_sync_chronyd_servers(const char *root, pid_t pid, struct th_ntp_servers *servers) {
    struct walk walk = {.root = root, .servers = servers};
    char main_file[256];

    find_main(root, pid, main_file);
    return read_one(&walk, main_file);
}

int th_sync_chronyd_folder(const char *root, pid_t pid, char ret_folder[256], char ret_main[256]) {
    th_auto_ntp_servers struct th_ntp_servers servers = {.n = 0};
    struct walk walk = {.root = root, .servers = &servers, .folder = ret_folder};

    *ret_folder = '\0';
    find_main(root, pid, ret_main);
    return read_one(&walk, ret_main);
}
