/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A lock per domain by flock, which the kernel lets go when its holder dies, however it dies. The
 * file is removed on release, so the folder holds what is in flight and nothing else; who got hold
 * of a file that was removed meanwhile notices by its inode and starts over.
 */
#define _GNU_SOURCE 1

#include "guest/domain_lock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_TRIES 16

static const char mark[] = "in flight\n";

/* Opens the folder of locks; nobody but us may be able to hold a domain up. */
static int open_folder(const char *folder, bool create) {
    int fd;

    if (create && mkdir(folder, 0700) < 0 && errno != EEXIST) {
        return -errno;
    }
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* Whether the name still leads to the open file. */
static bool is_current(int folder_fd, const char *name, int fd) {
    struct stat ours, named;

    return fstat(fd, &ours) == 0 && fstatat(folder_fd, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           ours.st_dev == named.st_dev && ours.st_ino == named.st_ino;
}

/* Opens and locks one file. -ESTALE: it was removed between the two. */
static int open_locked(int folder_fd, const char *name, int flags) {
    th_auto_close int fd =
        openat(folder_fd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | flags, 0600);

    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0) {
        return -errno;
    }
    if (!is_current(folder_fd, name, fd)) {
        return -ESTALE;
    }
    return th_take_fd(&fd);
}

int th_domain_lock_take(struct th_domain_lock *lock, const char *folder,
                        const struct th_uuid *uuid) {
    th_auto_close int folder_fd = open_folder(folder, true);
    char name[TH_UUID_TEXT_SIZE];
    int fd = -ESTALE;

    if (folder_fd < 0) {
        return folder_fd;
    }
    th_uuid_format(uuid, name);
    for (unsigned i = 0; i < MAX_TRIES && fd == -ESTALE; i++) {
        fd = open_locked(folder_fd, name, O_CREAT);
    }
    if (fd < 0) {
        return fd;
    }
    lock->folder_fd = th_take_fd(&folder_fd);
    lock->fd = fd;
    memcpy(lock->name, name, sizeof(name));
    return 0;
}

int th_domain_lock_mark(struct th_domain_lock *lock) {
    ssize_t size = pwrite(lock->fd, mark, sizeof(mark) - 1, 0);

    if (size < 0) {
        return -errno;
    }
    return size == (ssize_t)(sizeof(mark) - 1) ? 0 : -ENOSPC;
}

void th_domain_lock_release(struct th_domain_lock *lock, bool clean) {
    if (lock->fd < 0) {
        return;
    }
    /* Removed while still locked, so that nobody can have taken the name in between. */
    if (clean) {
        (void)unlinkat(lock->folder_fd, lock->name, 0);
    }
    close(lock->fd);
    close(lock->folder_fd);
    *lock = TH_DOMAIN_LOCK_NONE;
}

static bool is_marked(int fd) {
    struct stat status;

    return fstat(fd, &status) == 0 && status.st_size > 0;
}

/* One file of the folder: 1 if a mark was removed, else 0. */
static int sweep_one(int folder_fd, const char *name,
                     bool (*undo)(void *context, const struct th_uuid *uuid), void *context) {
    struct th_uuid uuid;
    th_auto_close int fd = -1;
    bool marked;

    if (strlen(name) != TH_UUID_TEXT_SIZE - 1 || th_uuid_parse(name, &uuid) < 0) {
        return 0;
    }
    /* Held: its holder lives and will see to it. */
    fd = open_locked(folder_fd, name, 0);
    if (fd < 0) {
        return 0;
    }
    marked = is_marked(fd);
    if (marked && !undo(context, &uuid)) {
        return 0;
    }
    (void)unlinkat(folder_fd, name, 0);
    return marked;
}

int th_domain_lock_sweep(const char *folder,
                         bool (*undo)(void *context, const struct th_uuid *uuid), void *context) {
    int folder_fd = open_folder(folder, false);
    const struct dirent *entry;
    DIR *stream;
    int n_removed = 0;

    if (folder_fd < 0) {
        return folder_fd == -ENOENT ? 0 : folder_fd;
    }
    stream = fdopendir(folder_fd);
    if (!stream) {
        int r = -errno;

        close(folder_fd);
        return r;
    }
    while ((entry = readdir(stream))) {
        n_removed += sweep_one(dirfd(stream), entry->d_name, undo, context);
    }
    closedir(stream);
    return n_removed;
}
