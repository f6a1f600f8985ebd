/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Carrying out a planned change: the file first complete beside its place, then the old one kept,
 * then the new one moved into its place in one step; and the time daemon told. Whoever reads the
 * folder meanwhile sees the old file or the new one, never half of one.
 */
#include "timehandoff/ntp.h"

#include "base/program.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Neither daemon reads files with these endings. */
#define NEW_SUFFIX ".new"
#define BACKUP_SUFFIX ".bak"

/* Makes the last folder of the path; those above it are the daemon's own. */
static int make_folder(const char *root, const char *path, int *ret_folder) {
    char full[PATH_MAX];
    int fd;

    (void)snprintf(full, sizeof(full), "%s%.*s", root, (int)(strrchr(path, '/') - path), path);
    if (mkdir(full, 0755) < 0 && errno != EEXIST) {
        return -errno;
    }
    fd = open(full, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    *ret_folder = fd;
    return 0;
}

static int write_text(int fd, const char *text) {
    size_t size = strlen(text);

    for (size_t used = 0; used < size;) {
        ssize_t n = write(fd, text + used, size - used);

        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        used += n > 0 ? (size_t)n : 0;
    }
    /* To be read by the daemon's own user, whatever the caller's mask is. */
    return fchmod(fd, 0644) < 0 || fsync(fd) < 0 ? -errno : 0;
}

/* A file in the folder, whole and on the disk under a passing name, then moved to its own. */
static int put(int folder, const char *name, const char *text) {
    th_auto_close int fd = -1;
    char passing[NAME_MAX + 1];
    int r;

    (void)snprintf(passing, sizeof(passing), "%.200s" NEW_SUFFIX, name);
    (void)unlinkat(folder, passing, 0); /* left by one that was ended */
    fd = openat(folder, passing, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    r = fd < 0 ? -errno : write_text(fd, text);
    if (r == 0 && renameat(folder, passing, folder, name) < 0) {
        r = -errno;
    }
    if (r < 0 && fd >= 0) {
        (void)unlinkat(folder, passing, 0);
    }
    return r;
}

int th_ntp_write(const char *root, const struct th_ntp_change *change) {
    th_auto_close int folder = -1;
    const char *name = strrchr(change->path, '/') + 1;
    char backup[NAME_MAX + 1];
    int r = make_folder(root, change->path, &folder);

    if (r == 0 && change->old_text) {
        (void)snprintf(backup, sizeof(backup), "%.200s" BACKUP_SUFFIX, name);
        r = put(folder, backup, change->old_text);
    }
    if (r == 0) {
        r = put(folder, name, change->new_text);
    }
    if (r == 0) {
        (void)fsync(folder);
    }
    return r;
}

int th_ntp_reload(enum th_sync_from from, int64_t timeout_ns) {
    static const char *const chrony[] = {"chronyc", "reload", "sources", NULL};
    static const char *const timesyncd[] = {"systemctl", "try-restart", "systemd-timesyncd.service",
                                            NULL};
    const char *const *command = from == TH_SYNC_FROM_CHRONYD ? chrony : timesyncd;
    char output[512];
    int status;

    if (from != TH_SYNC_FROM_CHRONYD &&
        (from != TH_SYNC_FROM_TIMESYNCD || access("/run/systemd/system", F_OK) < 0)) {
        return -EOPNOTSUPP;
    }
    status = th_program_run(command, timeout_ns, output, sizeof(output));
    return status > 0 ? -EIO : status;
}
