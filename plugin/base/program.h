/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Running another program for what it prints: no shell, no search path from the environment, a
 * limit on time and on output, and nothing of ours inherited but stdout.
 */
#ifndef TIMEHANDOFF_BASE_PROGRAM_H
#define TIMEHANDOFF_BASE_PROGRAM_H

#include <stddef.h>
#include <stdint.h>

/*
 * Runs arguments[0], found in /usr/bin, /usr/sbin or /bin unless it is an absolute path, with a
 * NULL after the last argument. Its first output_size - 1 bytes of output are put into ret_output
 * with a NUL behind; if there is more it is ended. Returns its exit status (0..255), 256 if a
 * signal ended it or it closed its output without ending, or negative errno: -ENOENT if there is no
 * such program, -ETIMEDOUT if it had to be killed; ret_output is then untouched. It comes back
 * within timeout_ns and 100 ms. Not for a caller that ignores SIGCHLD: the status is lost then
 * (-ECHILD).
 */
int th_program_run(const char *const arguments[], int64_t timeout_ns, char *ret_output,
                   size_t output_size);

#endif
