/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Giving up root for good.
 */
#ifndef TH_BASE_PRIVILEGE_H
#define TH_BASE_PRIVILEGE_H

/*
 * Becomes the named unprivileged user (nobody where that user is missing): no groups beyond its
 * own, no capabilities, no way back, not even by executing a set-uid program. Checks that it
 * worked; hides its memory. As another user than root: only the last two. 0 or negative errno.
 */
int th_privilege_drop(const char *user);

/* Keeps the keys in this process's memory out of core dumps, and from debuggers of the same user.
 * Until the next change of user. 0 or negative errno. */
int th_privilege_hide_memory(void);

#endif
