/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What every time daemon's file gives, so that sync_read.c can ask any of them the same questions;
 * and what these files share: finding a process, walking configuration files, numbers in text. The
 * functions that make structures of text are pure, and are here for the tests as well.
 */
#ifndef TIMEHANDOFF_CLOCK_SYNC_DAEMON_H
#define TIMEHANDOFF_CLOCK_SYNC_DAEMON_H

#include <sys/types.h>

#include "timehandoff/ntp.h"
#include "timehandoff/sync.h"

struct th_sync_daemon {
    enum th_sync_from from;
    const char *process; /* as /proc/PID/comm has it: 15 bytes at most */
    const char *program; /* where it is if it is installed */
    /* Its judgement, with what the kernel says at hand. Returns false if it is not there to be
     * asked; a daemon that doesn't answer is true with TH_UNKNOWN. */
    bool (*read_state)(const char *root, pid_t pid, const struct th_sync_kernel *kernel,
                       int64_t timeout_ns, struct th_sync *ret_sync);
    /* Appends the configured servers; pid is 0 if it doesn't run. 0 or negative errno. */
    int (*read_servers)(const char *root, pid_t pid, struct th_ntp_servers *servers);
    /* Asks what it has in use, and appends servers that are in no file (DHCP, set at run time).
     * Returns false if it doesn't answer. */
    bool (*read_sources)(const char *root, pid_t pid, int64_t timeout_ns,
                         struct th_ntp_servers *servers, struct th_ntp_sources *ret_sources);
};

extern const struct th_sync_daemon th_sync_chronyd;
extern const struct th_sync_daemon th_sync_ntpd;
extern const struct th_sync_daemon th_sync_timesyncd;
extern const struct th_sync_daemon th_sync_ptp4l;

/* ---- processes: sync_process.c ---- */

/* A process of that name in this network namespace (a container's is not ours); 0: there is none;
 * negative errno: /proc cannot be read. */
pid_t th_sync_process_find(const char *name);
/* The argument of an option of its command line, "-f FILE" or "-fFILE". Returns false if it has
 * none. The n-th such option, from 0. */
bool th_sync_process_option(pid_t pid, char option, unsigned n, char *ret_value, size_t size);

/* ---- configuration files: sync_file.c ---- */

/* One line without its newline, which the function may change. where is "FILE:LINE", or "dhcp" for
 * a file that DHCP clients write. 0 or negative errno, which ends the walk. */
typedef int th_sync_line(void *userdata, char *line, const char *where);

/*
 * Calls on_line for each line of root/path; complete_only leaves out a last line that has no
 * newline. A file that is not there has no lines; one that cannot be read, or holds over 256 KiB,
 * is a complaint. 0 or negative errno.
 */
int th_sync_file_lines(const char *root, const char *path, bool complete_only,
                       th_sync_line *on_line, void *userdata, struct th_ntp_servers *servers);

/* One file of several folders. 0 or negative errno. */
typedef int th_sync_path(void *userdata, const char *path);

/* Calls on_path for the files with that suffix in the folders, in byte order of their names; of
 * several with one name, the one of the first folder counts. 0 or negative errno. */
int th_sync_file_drop_ins(const char *root, const char *const folders[], size_t n_folders,
                          const char *suffix, th_sync_path *on_path, void *userdata);

/* Cuts a line into words at white space; at most max, the rest is left out. Returns their number.
 */
size_t th_sync_file_words(char *line, char *words[], size_t max);

/* ---- text: sync_text.c ---- */

/* "-12.000123456", in units of unit_ns, as nanoseconds; digits beyond them are dropped. 0 or
 * -EBADMSG. */
int th_sync_text_number(const char *text, int64_t unit_ns, int64_t *ret_ns);
/* A whole number with nothing around it, 0..max. 0 or -EBADMSG. */
int th_sync_text_count(const char *text, unsigned max, unsigned *ret_count);
/* Sets the state and its reason. */
void th_sync_text_say(struct th_sync *sync, enum th_ternary synchronised, const char *reason);
/* The same with the age between two parts of the reason. */
void th_sync_text_say_age(struct th_sync *sync, enum th_ternary synchronised, const char *before,
                          const char *after);
/* A daemon that is there but doesn't say how it is. */
struct th_sync th_sync_text_silent(enum th_sync_from from, const char *reason);
/* The sum, INT64_MAX if it is more. */
int64_t th_sync_text_sum(int64_t a_ns, int64_t b_ns, int64_t c_ns, int64_t d_ns);
/* How far a clock may have gone astray since its last update that long ago. */
int64_t th_sync_text_drift(int64_t age_ns);
/* Whether a daemon that updates at that interval must have lost its sources. */
bool th_sync_text_is_stale(int64_t age_ns, int64_t interval_ns);

/* ---- what the kernel still has to tell when a daemon speaks: sync_kernel.c ---- */

/* Whether the kernel believes in its clock (maxerror below 16 s). */
bool th_sync_kernel_is_set(const struct th_sync_kernel *kernel);
/* Since a daemon last reset maxerror to zero, as timesyncd and linuxptp do; -1 if it has another
 * value. */
int64_t th_sync_kernel_age(const struct th_sync_kernel *kernel);
/* What it has yet to slew, without its sign. */
int64_t th_sync_kernel_pending(const struct th_sync_kernel *kernel);

/* ---- one by one: text in, structures out ---- */

/* `chronyc -c -N sources` and `chronyc -c -n sources`, each a line a source. 0 or -EBADMSG. */
int th_sync_chronyd_sources(const char *names, const char *addresses,
                            struct th_ntp_sources *ret_sources);
/* The folder of *.sources files that chronyd's configuration names: the first one below /etc, or ""
 * if there is none; and the configuration's own path. 0 or negative errno. */
int th_sync_chronyd_folder(const char *root, pid_t pid, char ret_folder[256], char ret_main[256]);
/* chronyd's files alone. */
int th_sync_chronyd_servers(const char *root, pid_t pid, struct th_ntp_servers *servers);

/* timesyncd's properties, as busctl prints them in JSON. 0 or -EBADMSG. */
int th_sync_timesyncd_state(const char *json, const struct th_sync_kernel *kernel, int64_t real_ns,
                            struct th_sync *ret_sync);
int th_sync_timesyncd_sources(const char *json, struct th_ntp_servers *servers,
                              struct th_ntp_sources *ret_sources);

/* `ntpq -c rv` and `ntpq -w -p`. 0 or -EBADMSG. */
int th_sync_ntpd_state(const char *text, int64_t real_ns, struct th_sync *ret_sync);
int th_sync_ntpd_sources(const char *text, struct th_ntp_sources *ret_sources);

/* pmc's answers to GET TIME_STATUS_NP and the data sets. with_phc2sys: something besides ptp4l
 * steers the clock. 0 or -EBADMSG. */
int th_sync_ptp4l_state(const char *text, const struct th_sync_kernel *kernel, bool with_phc2sys,
                        struct th_sync *ret_sync);
int th_sync_ptp4l_sources(const char *text, struct th_ntp_sources *ret_sources);

#endif
