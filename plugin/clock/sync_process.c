/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether a time daemon runs, and how it was started, from /proc: this neither starts the daemon
 * nor waits for it, as asking it would. A process of a container, which shows in the host's /proc
 * too, is told apart by its namespaces.
 */
#include "clock/sync_daemon.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COMMAND_LINE_SIZE 4096
#define STATUS_SIZE 4096

static ssize_t read_proc(const char *pid, const char *what, char *text, size_t size) {
    th_auto_close int fd = -1;
    char path[64];
    ssize_t n;

    (void)snprintf(path, sizeof(path), "/proc/%.20s/%s", pid, what);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, text, size - 1);
    text[n > 0 ? n : 0] = '\0';
    return n;
}

static bool has_name(const char *pid, const char *name) {
    char comm[32];

    if (read_proc(pid, "comm", comm, sizeof(comm)) < 0) {
        return false;
    }
    comm[strcspn(comm, "\n")] = '\0';
    return strcmp(comm, name) == 0;
}

/* Whether it has a number of its own in a namespace below; everybody may see that. */
static bool is_contained(const char *pid) {
    char status[STATUS_SIZE];
    const char *numbers;

    if (read_proc(pid, "status", status, sizeof(status)) < 0) {
        return false;
    }
    numbers = strstr(status, "\nNSpid:\t");
    return numbers && strcspn(numbers + 8, "\t") < strcspn(numbers + 8, "\n");
}

/* One whose network namespace may not be seen counts as ours: that needs a privilege. */
static bool is_ours(const char *pid) {
    struct stat own, other;
    char path[64];

    if (is_contained(pid)) {
        return false;
    }
    (void)snprintf(path, sizeof(path), "/proc/%.20s/ns/net", pid);
    return stat("/proc/self/ns/net", &own) < 0 || stat(path, &other) < 0 ||
           (own.st_ino == other.st_ino && own.st_dev == other.st_dev);
}

/* A process that has ended and not been waited for keeps its name, but has no command line. */
static bool is_alive(const char *pid) {
    char byte[2];

    return read_proc(pid, "cmdline", byte, sizeof(byte)) > 0;
}

pid_t th_sync_process_find(const char *name) {
    DIR *proc = opendir("/proc");
    pid_t found = 0;

    if (!proc) {
        return -errno;
    }
    for (struct dirent *entry = readdir(proc); entry && !found; entry = readdir(proc)) {
        const char *pid = entry->d_name;

        if (*pid >= '1' && *pid <= '9' && has_name(pid, name) && is_alive(pid) && is_ours(pid)) {
            found = (pid_t)strtol(pid, NULL, 10);
        }
    }
    (void)closedir(proc);
    return found;
}

/* The option's argument in a word or the one behind it; NULL if it isn't that option. */
static const char *argument(const char *word, const char *next, char option) {
    if (word[0] != '-' || word[1] != option) {
        return NULL;
    }
    return word[2] ? word + 2 : next;
}

bool th_sync_process_option(pid_t pid, char option, unsigned n, char *ret_value, size_t size) {
    char line[COMMAND_LINE_SIZE], number[24];
    ssize_t length;

    (void)snprintf(number, sizeof(number), "%ld", (long)pid);
    length = pid > 0 ? read_proc(number, "cmdline", line, sizeof(line)) : 0;
    for (const char *word = line; length > 0 && word < line + length; word += strlen(word) + 1) {
        const char *next = word + strlen(word) + 1;
        const char *value = argument(word, next < line + length ? next : NULL, option);

        if (value && n-- == 0) {
            return snprintf(ret_value, size, "%s", value) < (int)size;
        }
    }
    return false;
}
