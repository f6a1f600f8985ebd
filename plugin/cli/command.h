/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The commands of `timehandoff`, one function a command, and what they share: exit statuses, the
 * configuration with its complaint on stderr, and names turned into addresses.
 */
#ifndef TH_CLI_COMMAND_H
#define TH_CLI_COMMAND_H

#include <sys/socket.h>

#include "timehandoff/config.h"
#include "timehandoff/key.h"
#include "timehandoff/state.h"

/* Exit status for bad input, everywhere. */
#define TH_EXIT_USAGE 2

/* Each gets argv from its own name on and returns an exit status. */
int th_command_hook(int argc, char **argv);
int th_command_dry_run(int argc, char **argv);
int th_command_measure(int argc, char **argv);
int th_command_ntp(int argc, char **argv);
int th_command_override(int argc, char **argv);
int th_command_status(int argc, char **argv);
int th_command_sync(int argc, char **argv);
int th_command_guest(int argc, char **argv);
int th_command_history(int argc, char **argv);

/* Configuration and keys from /etc/timehandoff. Complains on stderr and returns false if they are
 * broken. A key file that this user may not read is no error: the keys are then none. */
struct th_setup {
    struct th_config *config;
    struct th_keyring *keys;
};

bool th_setup_load(struct th_setup *ret_setup);
void th_setup_deinit(struct th_setup *setup);
#define th_auto_setup __attribute__((cleanup(th_setup_deinit)))

/* What the daemons have published; each part NULL-able by its flag. */
struct th_published {
    bool has_host, has_peers, has_override;
    struct th_state_host host;
    struct th_state_peers peers;
    struct th_state_override override;
};

/* Descriptors of the state files, -1 where there is none; opened while the program may. */
struct th_published_fds {
    int host, peers, override;
};

struct th_published_fds th_published_open(void);
/* Reads and closes. What is stale, broken or missing is left out. */
void th_published_read(struct th_published_fds *fds, struct th_published *ret_published);
void th_published_deinit(struct th_published *published);
#define th_auto_published __attribute__((cleanup(th_published_deinit)))

/* Finds the addresses of HOST[:PORT], at most max, names allowed (a person typed it). Returns how
 * many; 0 after a complaint on stderr. */
size_t th_resolve(const char *host, unsigned default_port, struct sockaddr_storage *ret_addresses,
                  size_t max);

/* One usage line on stderr: "timehandoff COMMAND: what; see 'timehandoff COMMAND --help'". Returns
 * TH_EXIT_USAGE. */
int th_usage_error(const char *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Reads all of a descriptor, at most max bytes, until end of file or the deadline. Caller frees;
 * the text is NUL-terminated. 0, -EFBIG, -ETIME or another negative errno. */
int th_read_all(int fd, size_t max, int64_t deadline_mono_ns, char **ret_text, size_t *ret_size);

/* Reads a file, or standard input for "-", of at most max bytes. Complains on stderr and returns
 * false. Caller frees. */
bool th_read_input(const char *path, size_t max, char **ret_text, size_t *ret_size);

#endif
