/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Random bytes for cookies and keys, from the kernel alone: no generator of our own, no seed, no
 * file to be missing in a chroot. Waits early in the boot until the kernel has gathered entropy.
 */
#include "timehandoff/base.h"

#include <errno.h>
#include <sys/random.h>

int th_random(void *buffer, size_t size) {
    uint8_t *at = buffer;

    while (size > 0) {
        ssize_t got = getrandom(at, size, 0);

        if (got > 0) {
            at += got;
            size -= (size_t)got;
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}
