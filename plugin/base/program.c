/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Running another program for what it prints. Made for programs that may hang because the daemon
 * they talk to is stopped: the caller is back in time in every case, and the program and whatever
 * it started are dead. Its environment is a fixed one, so its output has a fixed language.
 */
#include "base/program.h"

#include "timehandoff/base.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STATUS_OTHER 256
/* How long a killed process, or one that has closed its output, gets to be gone. */
#define REAP_NS (100 * TH_NS_PER_MS)
#define REAP_STEP_NS (TH_NS_PER_MS / 4)

static const char *const folders[] = {"/usr/bin/", "/usr/sbin/", "/bin/"};

/* Finds the program; path must hold size bytes. */
static int find_program(const char *name, char *path, size_t size) {
    if (*name == '/') {
        int length = snprintf(path, size, "%s", name);

        return length < (int)size && access(path, X_OK) == 0 ? 0 : -ENOENT;
    }
    for (size_t i = 0; i < TH_ELEMENTS(folders); i++) {
        int length = snprintf(path, size, "%s%s", folders[i], name);

        if (length < (int)size && access(path, X_OK) == 0) {
            return 0;
        }
    }
    return -ENOENT;
}

/* Its own process group, so that all of it can be killed; every signal as a program expects it. */
static int set_attributes(posix_spawnattr_t *attributes) {
    short flags = POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    sigset_t none, all;
    int r;

    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    r = posix_spawnattr_setflags(attributes, flags);
    r = r ? r : posix_spawnattr_setpgroup(attributes, 0);
    r = r ? r : posix_spawnattr_setsigmask(attributes, &none);
    return r ? r : posix_spawnattr_setsigdefault(attributes, &all);
}

static int set_files(posix_spawn_file_actions_t *files, int output) {
    int r = posix_spawn_file_actions_addopen(files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);

    r = r ? r : posix_spawn_file_actions_adddup2(files, output, STDOUT_FILENO);
    return r ? r : posix_spawn_file_actions_addopen(files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
}

/* Starts the program with output as its stdout. */
static int start(const char *path, const char *const arguments[], int output, pid_t *ret_pid) {
    static const char *const environment[] = {"LC_ALL=C", "PATH=/usr/bin:/usr/sbin:/bin", NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    char *const *argv, *const *envp;
    int r;

    /* posix_spawn takes pointers to non-const but does not write through them. */
    memcpy(&argv, &arguments, sizeof(argv));
    memcpy(&envp, &(const char *const *){environment}, sizeof(envp));
    r = posix_spawn_file_actions_init(&files);
    if (r) {
        return -r;
    }
    r = posix_spawnattr_init(&attributes);
    if (r) {
        (void)posix_spawn_file_actions_destroy(&files);
        return -r;
    }
    r = set_attributes(&attributes);
    r = r ? r : set_files(&files, output);
    r = r ? r : posix_spawn(ret_pid, path, &files, &attributes, argv, envp);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&files);
    return -r;
}

/* Reads until the end of the output, a full buffer or the deadline. */
static int read_output(int fd, int64_t deadline_ns, char *output, size_t size) {
    size_t n = 0;

    while (n + 1 < size) {
        struct pollfd input = {.fd = fd, .events = POLLIN};
        int64_t left_ns = deadline_ns - th_now_mono_ns();
        struct timespec timeout;
        ssize_t got;

        if (left_ns <= 0) {
            return -ETIMEDOUT;
        }
        timeout.tv_sec = (time_t)(left_ns / TH_NS_PER_S);
        timeout.tv_nsec = (long)(left_ns % TH_NS_PER_S);
        if (ppoll(&input, 1, &timeout, NULL) <= 0) {
            continue;
        }
        got = read(fd, output + n, size - 1 - n);
        if (got < 0 && errno != EINTR && errno != EAGAIN) {
            return -errno;
        }
        if (got == 0) {
            break;
        }
        n += got > 0 ? (size_t)got : 0;
    }
    output[n] = '\0';
    return 0;
}

/* Waits for its end till the deadline. Returns the status as th_program_run does, or -ETIMEDOUT. */
static int reap(pid_t pid, int64_t deadline_ns) {
    static const struct timespec step = {.tv_nsec = (long)REAP_STEP_NS};

    for (;;) {
        int status;
        pid_t ended = waitpid(pid, &status, WNOHANG);

        if (ended == pid) {
            return WIFEXITED(status) ? WEXITSTATUS(status) : STATUS_OTHER;
        }
        if (ended < 0 && errno != EINTR) {
            return -errno;
        }
        if (th_now_mono_ns() >= deadline_ns) {
            return -ETIMEDOUT;
        }
        (void)nanosleep(&step, NULL);
    }
}

/* Ends the process group. One that even this does not end within REAP_NS, because it hangs in the
 * kernel, is left behind: to be back in time matters more. */
static void end_group(pid_t pid) {
    (void)kill(-pid, SIGKILL);
    (void)reap(pid, th_now_mono_ns() + REAP_NS);
}

int th_program_run(const char *const arguments[], int64_t timeout_ns, char *ret_output,
                   size_t output_size) {
    int64_t deadline_ns = th_now_mono_ns() + timeout_ns;
    th_auto_close int reading = -1;
    th_auto_close int writing = -1;
    char path[256];
    int ends[2];
    pid_t pid;
    int r;

    r = find_program(arguments[0], path, sizeof(path));
    if (r < 0) {
        return r;
    }
    if (pipe2(ends, O_CLOEXEC) < 0) {
        return -errno;
    }
    reading = ends[0];
    writing = ends[1];
    r = start(path, arguments, writing, &pid);
    if (r < 0) {
        return r;
    }
    th_cleanup_close(&writing);
    writing = -1;
    r = read_output(reading, deadline_ns, ret_output, output_size);
    if (r == 0) {
        r = reap(pid, deadline_ns);
    }
    if (r == -ETIMEDOUT) {
        end_group(pid);
    }
    return r;
}
