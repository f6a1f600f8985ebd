/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * State files as files: opened, and removed. Opening is apart from reading because the checker
 * opens as root and reads after it has given root up. The caller may rely on the descriptor being
 * of a regular file that no link led to.
 */
#include "timehandoff/state.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

/* The path of a file in a folder; 0 or -ENAMETOOLONG. */
static int join(const char *folder, const char *file, char path[PATH_MAX]) {
    int n = snprintf(path, PATH_MAX, "%s/%s", folder, file);

    return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

int th_state_open(const char *folder, const char *file) {
    th_auto_close int fd = -1;
    char path[PATH_MAX];
    struct stat status;
    int r = join(folder, file, path);

    if (r < 0) {
        return r;
    }
    /* Not blocking: an unprivileged writer could have put a pipe there. */
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &status) < 0) {
        return -errno;
    }
    return S_ISREG(status.st_mode) ? th_take_fd(&fd) : -EINVAL;
}

int th_state_override_clear(const char *folder) {
    char path[PATH_MAX];
    int r = join(folder, TH_STATE_OVERRIDE_FILE, path);

    if (r < 0) {
        return r;
    }
    return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}
