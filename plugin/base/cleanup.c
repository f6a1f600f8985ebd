/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the ownership attributes of base.h call when a variable goes out of scope. Each of them
 * leaves errno as it was, so that a function may return -errno after its cleanups have run.
 */
#include "timehandoff/base.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void th_cleanup_free(void *pointer_to_pointer) {
    void *block;

    /* Copied bytewise because the variable may be a pointer to anything. */
    memcpy(&block, pointer_to_pointer, sizeof(block));
    free(block);
}

void th_cleanup_close(const int *fd) {
    int saved = errno;

    if (*fd >= 0) {
        (void)close(*fd);
    }
    errno = saved;
}

void th_cleanup_fclose(FILE **file) {
    int saved = errno;

    if (*file) {
        (void)fclose(*file);
    }
    errno = saved;
}
