/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading a file's content into memory. A read may be short or interrupted, and half a file must
 * never pass for a whole one; the caller may rely on fewer bytes meaning the file's end.
 */
#include <errno.h>
#include <unistd.h>

#include "timehandoff/base.h"

ssize_t th_file_read(int fd, char *text, size_t size) {
    size_t used = 0;

    while (used < size) {
        ssize_t n = pread(fd, text + used, size - used, (off_t)used);

        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n == 0) {
            break;
        }
        used += n > 0 ? (size_t)n : 0;
    }
    return (ssize_t)used;
}
