/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guard: what libvirt itself runs, at every step of every domain's life. For libvirt a hook
 * that fails, crashes or lacks a library blocks the start of a domain, and in `reconnect` kills a
 * running one; a hook that hangs, hangs libvirt. So this file needs libc and nothing else,
 * leaves at once unless a migration arrives, and keeps the real work in another program, the
 * checker, behind a process boundary and a deadline.
 *
 * What the caller may rely on: the exit status is 1 only if the checker exited with
 * TH_GUARD_STATUS_BLOCKED and printed its marked line among its first TH_GUARD_OUTPUT_MAX bytes,
 * or if the check failed and TH_GUARD_FAIL_CLOSED_PATH exists; it is 0 otherwise. The guard is
 * gone TH_GUARD_DEADLINE_MS after it came, whatever the checker does. It never writes to stdout,
 * and never reads stdin: the XML there holds passwords.
 */
#define _GNU_SOURCE 1

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef TH_CHECKER_PATH
#define TH_CHECKER_PATH "/usr/bin/timehandoff"
#endif
#define TH_GUARD_FAIL_CLOSED_PATH "/etc/timehandoff/fail-closed"
#define TH_GUARD_DEADLINE_MS 3000
#define TH_GUARD_STATUS_BLOCKED 86  /* a status that nothing returns by accident */
#define TH_GUARD_STATUS_NOT_RUN 127 /* what a shell, the loader and this file's child return */
#define TH_GUARD_MARK "timehandoff: blocked "
#define TH_GUARD_OUTPUT_MAX 4096 /* of the checker's stderr, from its beginning, in bytes */
#define TH_GUARD_LINE_MAX 1024   /* without its newline; a longer one is not the checker's */
#define TH_GUARD_NAME_MAX 256
#define TH_GUARD_WHY_MAX 256
#define TH_GUARD_MESSAGE_ID "dd99b5875ce698a965fa36df4bcc2532"

struct th_guard {
    int64_t deadline_ms; /* on CLOCK_MONOTONIC */
    char name[TH_GUARD_NAME_MAX];
    sigset_t wait_mask; /* what is blocked while waiting */
    pid_t pid;
    int output_fd; /* the reading end, non-blocking */
    size_t n_output;
    char output[TH_GUARD_OUTPUT_MAX];
};

/* The guard includes nothing of the project, so it has to read the clock for itself. */
static int64_t now_ms(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int64_t left_ms(const struct th_guard *guard) {
    int64_t left = guard->deadline_ms - now_ms();

    return left > 0 ? left : 0;
}

/*
 * Whatever ends up in a log or on somebody's terminal goes through here: no control character may
 * start a second line, a second journal field or an escape sequence. A text that is too long ends
 * in dots, and not in the middle of a UTF-8 sequence.
 */
static void copy_clean(const char *from, size_t n, size_t size, char *ret_text) {
    const char *dots = "";

    if (n >= size) {
        n = size - sizeof("...");
        while (n > 0 && ((unsigned char)from[n] & 0xc0) == 0x80)
            n--;
        dots = "...";
    }
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)from[i];

        ret_text[i] = c < 0x20 || c == 0x7f ? '?' : from[i];
    }
    memcpy(ret_text + n, dots, strlen(dots) + 1);
}

/* A full or missing socket must not cost more than the message: neither of the two calls waits. */
static bool send_datagram(const char *path, const char *text, size_t n) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return false;
    memcpy(to.sun_path, path, strlen(path) + 1);
    ssize_t sent =
        sendto(fd, text, n, MSG_DONTWAIT | MSG_NOSIGNAL, (const struct sockaddr *)&to, sizeof(to));
    close(fd);
    return sent >= 0;
}

/*
 * Not sd_journal_send() and not syslog(): the one is another library that may be missing, the
 * other may wait for the daemon. The syslog form leaves out the time, which every receiver fills
 * in, because local time would mean reading the zone file.
 */
static void log_warning(const struct th_guard *guard, const char *message) {
    char text[TH_GUARD_LINE_MAX + TH_GUARD_NAME_MAX + 256];
    int n = snprintf(text, sizeof(text),
                     "MESSAGE=%s\nPRIORITY=4\nSYSLOG_IDENTIFIER=timehandoff-guard\n"
                     "MESSAGE_ID=" TH_GUARD_MESSAGE_ID "\nTIMEHANDOFF_DOMAIN_NAME=%s\n",
                     message, guard->name);

    if (send_datagram("/run/systemd/journal/socket", text, (size_t)n))
        return;
    n = snprintf(text, sizeof(text), "<28>timehandoff-guard[%d]: %s", (int)getpid(), message);
    send_datagram("/dev/log", text, (size_t)n);
}

/*
 * libvirt reads the pipe that is our stderr, but nothing says so of whoever else calls us: even the
 * last words have the deadline, and go to the log if nobody takes them. One write does, since a
 * pipe takes a line of this length whole or not at all.
 */
static void write_stderr(const struct th_guard *guard, const char *line) {
    struct pollfd pfd = {.fd = STDERR_FILENO, .events = POLLOUT};
    char text[TH_GUARD_LINE_MAX + 2];
    int n = snprintf(text, sizeof(text), "%s\n", line);

    if (poll(&pfd, 1, (int)left_ms(guard)) <= 0 || write(STDERR_FILENO, text, (size_t)n) < 0)
        log_warning(guard, line);
}

/*
 * If the caller closed one of 0 to 2, the next descriptor opened would become the checker's stdin
 * or stdout, or get the line meant for stderr. The lowest number is always taken first, so opening
 * until one lands above 2 fills every hole; that last one is the checker's stdout.
 */
static int open_null(void) {
    int fd;

    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    return fd < 0 ? -errno : fd;
}

static void on_child(int sig) {
    (void)sig; /* there only to end ppoll() */
}

/*
 * The caller's habits are inherited: with SIGCHLD ignored the checker's status would be lost and
 * its process id free for reuse, with SIGCHLD blocked nobody would be woken, and SIGPIPE would turn
 * a verdict into a crash. SIGCHLD is let in during ppoll() only, so it can't slip by between the
 * look at the checker and the wait. A pidfd would do the same on new kernels, but this does it
 * on all of them.
 */
static void prepare_signals(struct th_guard *guard) {
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    struct sigaction wake = {.sa_handler = on_child, .sa_flags = SA_NOCLDSTOP};
    sigset_t child;

    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(SIGCHLD, &wake, NULL);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, &guard->wait_mask);
    sigdelset(&guard->wait_mask, SIGCHLD);
}

/*
 * libvirt waits for the end of its pipes: a copy of one in a checker that outlives the guard would
 * hang it. Kernels before 5.9 get a loop, with an end of its own because the limit on descriptors
 * may be a thousand million.
 */
static void close_above_stderr(void) {
#ifdef SYS_close_range
    if (syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, 0) == 0)
        return;
#endif
    for (int fd = STDERR_FILENO + 1; fd < 65536; fd++)
        close(fd);
}

/*
 * Runs in the child. argv is handed on unread, since a name may begin with a dash. Ignored and
 * blocked signals outlive exec, and would keep the checker's own alarm from reaching it.
 */
static _Noreturn void become_checker(int null_fd, int error_fd, char **argv) {
    const char *extra = argv[3] ? argv[4] : NULL;
    sigset_t none;

    setpgid(0, 0);
    dup2(null_fd, STDOUT_FILENO);
    dup2(error_fd, STDERR_FILENO);
    close_above_stderr();
    for (int sig = 1; sig < NSIG; sig++)
        signal(sig, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execl(TH_CHECKER_PATH, "timehandoff", "hook", argv[1], argv[2], argv[3], extra, (char *)NULL);
    dprintf(STDERR_FILENO, "cannot execute " TH_CHECKER_PATH ": %s\n", strerror(errno));
    _exit(TH_GUARD_STATUS_NOT_RUN);
}

/* Fork and not vfork: a /usr that hangs in exec must not take the guard along past its deadline. */
static int start_checker(struct th_guard *guard, char **argv) {
    int ends[2];
    int null_fd = open_null();

    if (null_fd < 0)
        return null_fd;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    guard->pid = fork();
    if (guard->pid < 0)
        return -errno;
    if (guard->pid == 0)
        become_checker(null_fd, ends[1], argv);
    /* Said by both sides: whichever runs first, the group is there before anybody signals it. */
    setpgid(guard->pid, guard->pid);
    close(ends[1]);
    close(null_fd);
    guard->output_fd = ends[0];
    return 0;
}

/*
 * One read and no more, so that a checker that never stops writing can't hold us past the deadline.
 * What doesn't fit is read all the same: a full pipe would stop the checker. Returns whether there
 * may be more, now or later.
 */
static bool take_output(struct th_guard *guard) {
    char dropped[TH_GUARD_OUTPUT_MAX];
    size_t room = sizeof(guard->output) - guard->n_output;
    ssize_t n = room > 0 ? read(guard->output_fd, guard->output + guard->n_output, room)
                         : read(guard->output_fd, dropped, sizeof(dropped));

    if (n > 0 && room > 0)
        guard->n_output += (size_t)n;
    return n > 0 || (n < 0 && errno == EINTR);
}

/*
 * Waits for the checker's exit and not for the end of its output, since a process it left behind
 * may hold the pipe. WNOWAIT leaves it a zombie: until it is reaped its number, which is the
 * group's too, can't belong to anybody else, and may safely be killed. Returns false when the
 * deadline came first; waitid() itself can't fail for a child that nobody else reaps.
 */
static bool wait_for_exit(struct th_guard *guard, siginfo_t *ret_info) {
    struct pollfd pfd = {.fd = guard->output_fd, .events = POLLIN};

    for (;;) {
        siginfo_t info = {0};
        if (waitid(P_PID, (id_t)guard->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
            info.si_pid != 0) {
            *ret_info = info;
            return true;
        }
        int64_t left = left_ms(guard);
        if (left == 0)
            return false;
        struct timespec timeout = {.tv_sec = left / 1000, .tv_nsec = left % 1000 * 1000000};
        /* A pipe that polls as ready and has nothing was closed by the checker: look no more. */
        if (ppoll(&pfd, 1, &timeout, &guard->wait_mask) > 0 && !take_output(guard))
            pfd.fd = -1;
    }
}

/*
 * Leaves nothing of the checker behind, a process that it forgot included, and waits for none of
 * them, since a process stuck in the kernel doesn't die. What was written last is fetched until the
 * pipe is empty or the buffer full, so that no survivor can prolong it. The zombie is reaped if
 * there is one, because in a container process 1 may not do it.
 */
static void end_checker(struct th_guard *guard) {
    kill(-guard->pid, SIGKILL);
    /* It can't have left its session, but it may have joined another group there. */
    kill(guard->pid, SIGKILL);
    while (guard->n_output < sizeof(guard->output) && take_output(guard))
        ;
    waitpid(guard->pid, NULL, WNOHANG);
}

/*
 * Only a whole line counts, and only one that begins with the mark: another program's message that
 * merely quotes it, or the half of one, blocks nothing.
 */
static bool find_blocked_line(const struct th_guard *guard, char *ret_line) {
    const char *line = guard->output;
    const char *stop = line + guard->n_output;
    const size_t n_mark = strlen(TH_GUARD_MARK);
    const char *end;

    for (; (end = memchr(line, '\n', (size_t)(stop - line))); line = end + 1) {
        size_t n = (size_t)(end - line);

        if (n >= n_mark && n <= TH_GUARD_LINE_MAX && memcmp(line, TH_GUARD_MARK, n_mark) == 0) {
            copy_clean(line, n, TH_GUARD_LINE_MAX + 1, ret_line);
            return true;
        }
    }
    return false;
}

/*
 * The checker's own words are repeated for one status only. It means that the checker never ran,
 * mostly for want of a library, and the loader's first line names that library. Any later words
 * might quote the XML.
 */
static void describe_exit(const struct th_guard *guard, const siginfo_t *info, char *ret_why) {
    const char *end = memchr(guard->output, '\n', guard->n_output);
    char words[TH_GUARD_WHY_MAX - 64] = "";

    if (info->si_code != CLD_EXITED) {
        snprintf(ret_why, TH_GUARD_WHY_MAX, "the checker died of signal %d, %s", info->si_status,
                 strsignal(info->si_status));
        return;
    }
    if (info->si_status == TH_GUARD_STATUS_BLOCKED)
        snprintf(words, sizeof(words), "it gave no reason");
    if (info->si_status == TH_GUARD_STATUS_NOT_RUN && end)
        copy_clean(guard->output, (size_t)(end - guard->output), sizeof(words), words);
    snprintf(ret_why, TH_GUARD_WHY_MAX, "the checker exited with status %d%s%s", info->si_status,
             words[0] ? ": " : "", words);
}

/* A check that failed is no reason to hold up a guest, unless the owner of this host said so. */
static int answer_failure(const struct th_guard *guard, const char *why) {
    bool closed = access(TH_GUARD_FAIL_CLOSED_PATH, F_OK) == 0;
    char text[TH_GUARD_LINE_MAX + 1];

    snprintf(text, sizeof(text),
             "timehandoff: %s migration of %s: the clock check itself failed (%s)%s",
             closed ? "blocked" : "allowed", guard->name, why,
             closed ? " and " TH_GUARD_FAIL_CLOSED_PATH
                      " exists; run 'timehandoff dry-run' here to see why, or remove that file"
                    : "; run 'timehandoff dry-run' here to see why");
    log_warning(guard, text);
    if (!closed)
        return EXIT_SUCCESS;
    write_stderr(guard, text);
    return EXIT_FAILURE;
}

static int answer_exit(const struct th_guard *guard, const siginfo_t *info) {
    char line[TH_GUARD_LINE_MAX + 1];
    char why[TH_GUARD_WHY_MAX];

    if (info->si_code == CLD_EXITED && info->si_status == 0)
        return EXIT_SUCCESS;
    if (info->si_code == CLD_EXITED && info->si_status == TH_GUARD_STATUS_BLOCKED &&
        find_blocked_line(guard, line)) {
        write_stderr(guard, line);
        return EXIT_FAILURE;
    }
    describe_exit(guard, info, why);
    return answer_failure(guard, why);
}

static int check_migration(char **argv) {
    struct th_guard guard = {.deadline_ms = now_ms() + TH_GUARD_DEADLINE_MS};
    siginfo_t info = {0};
    char why[TH_GUARD_WHY_MAX];

    copy_clean(argv[1], strlen(argv[1]), sizeof(guard.name), guard.name);
    prepare_signals(&guard);
    int r = start_checker(&guard, argv);
    if (r < 0) {
        snprintf(why, sizeof(why), "the checker cannot be started: %s", strerror(-r));
        return answer_failure(&guard, why);
    }
    bool exited = wait_for_exit(&guard, &info);
    end_checker(&guard);
    if (exited)
        return answer_exit(&guard, &info);
    snprintf(why, sizeof(why), "the checker did not finish in %d ms", TH_GUARD_DEADLINE_MS);
    return answer_failure(&guard, why);
}

/*
 * libvirt calls this for every start and stop of every domain, and a user's own session daemon
 * calls it as that user. The way out for all of these comes first, before anything can fail. argv
 * is compared and never parsed: a domain may be called "-h".
 */
int main(int argc, char **argv) {
    if (argc < 3 || strcmp(argv[2], "migrate") != 0 || getuid() != 0 || geteuid() != 0)
        return EXIT_SUCCESS;
    return check_migration(argv);
}
