/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Giving up root for good: the checker does this before it reads a byte of domain XML or of the
 * network, since both come from outside. The order matters: groups can only be set while still
 * root, and the user id last. Memory is hidden after that, because a change of user sets anew
 * whether a core may be dumped (to 2 where systemd-coredump collects them).
 */
#include "base/privilege.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <unistd.h>

/* The ids of "nobody" by kernel convention (overflow ids), where the package's user is missing. */
#define NOBODY 65534

static int become(uid_t uid, gid_t gid) {
    uid_t real, effective, saved;

    if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0) {
        return -errno;
    }
    /* setresuid can succeed in ways that leave a way back (user namespaces, seccomp): look. */
    if (getresuid(&real, &effective, &saved) < 0 || real != uid || effective != uid ||
        saved != uid || setuid(0) == 0) {
        return -EPERM;
    }
    return 0;
}

int th_privilege_hide_memory(void) {
    return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? -errno : 0;
}

int th_privilege_drop(const char *name) {
    const struct passwd *user;
    int r = 0;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        return -errno;
    }
    if (geteuid() == 0) {
        user = getpwnam(name);
        if (user && user->pw_uid == 0) {
            return -EPERM;
        }
        r = user ? become(user->pw_uid, user->pw_gid) : become(NOBODY, NOBODY);
    }
    return r < 0 ? r : th_privilege_hide_memory();
}
