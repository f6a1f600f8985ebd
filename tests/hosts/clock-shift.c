/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * clock-shift: makes the programs of one test host see a wall clock that is off by the number of
 * nanoseconds in the file /run/clock-shift (one native 64-bit integer), as if the clock of that
 * host were wrong. The test host names it in its own /etc/ld.so.preload, so it needs nothing from
 * the environment and reaches hooks that libvirtd starts. The file is mapped when a program
 * starts: a new value counts at once, in running programs as well, and a program that has given up
 * its privileges or closed every descriptor still follows it. CLOCK_REALTIME in all its spellings
 * is shifted, and so are the kernel's receive stamps on sockets; monotonic clocks, file times and
 * absolute waits are not (a wait until a CLOCK_REALTIME instant ends at the unshifted one). QEMU,
 * libvirtd and chronyd are left alone: the guest's RTC, libvirt's own time-outs and the
 * synchronisation state have to stay true. TH_CLOCK_SHIFT=off does so for any other program. A
 * program with gcc's address sanitizer wants ASAN_OPTIONS=verify_asan_link_order=0, as it insists
 * on being loaded first; clang's does not.
 *
 * Why not libfaketime: it needs environment variables that libvirt does not hand to hooks to keep
 * its hands off the monotonic clocks, reads its file again only after ten seconds, alters file
 * times and timed waits, and leaves the receive stamps as they are.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SHIFT_FILE "/run/clock-shift"
#define SECOND_NS INT64_C(1000000000)

static const char *const unshifted[] = {
    "qemu-", "libvirtd", "virtqemud", "virtlogd", "virtlockd", "chronyd",
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const volatile int64_t *shared_shift_ns;
static int (*real_clock_gettime)(clockid_t, struct timespec *);
static ssize_t (*real_recvmsg)(int, struct msghdr *, int);
static int (*real_recvmmsg)(int, struct mmsghdr *, unsigned int, int, struct timespec *);

static bool is_unshifted(void) {
    const char *wish = getenv("TH_CLOCK_SHIFT"), *name;
    char path[PATH_MAX];
    ssize_t n;

    if (wish && strcmp(wish, "off") == 0) {
        return true;
    }
    n = readlink("/proc/self/exe", path, sizeof(path) - 1);
    if (n < 0) {
        return true;
    }
    path[n] = '\0';
    name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    for (size_t i = 0; i < sizeof(unshifted) / sizeof(*unshifted); i++) {
        if (strncmp(name, unshifted[i], strlen(unshifted[i])) == 0) {
            return true;
        }
    }
    return false;
}

static void initialise(void) {
    void *map;
    int fd;

    *(void **)&real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    *(void **)&real_recvmsg = dlsym(RTLD_NEXT, "recvmsg");
    *(void **)&real_recvmmsg = dlsym(RTLD_NEXT, "recvmmsg");
    if (is_unshifted()) {
        return;
    }
    fd = open(SHIFT_FILE, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    map = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (map != MAP_FAILED) {
        shared_shift_ns = map;
    }
}

/* Other libraries' constructors may ask for the time before this one has run. */
__attribute__((constructor)) static void prepare(void) {
    pthread_once(&once, initialise);
}

static int64_t shift_ns(void) {
    prepare();
    return shared_shift_ns ? *shared_shift_ns : 0;
}

static void add_ns(struct timespec *ts, int64_t ns) {
    int64_t fraction = ts->tv_nsec + ns % SECOND_NS;

    ts->tv_sec += ns / SECOND_NS;
    if (fraction < 0) {
        fraction += SECOND_NS;
        ts->tv_sec--;
    } else if (fraction >= SECOND_NS) {
        fraction -= SECOND_NS;
        ts->tv_sec++;
    }
    ts->tv_nsec = fraction;
}

int clock_gettime(clockid_t id, struct timespec *ts) {
    int64_t ns = shift_ns();
    int r = real_clock_gettime(id, ts);

    if (r == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE || id == CLOCK_TAI)) {
        add_ns(ts, ns);
    }
    return r;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone) {
    struct timespec ts;

    (void)zone;
    clock_gettime(CLOCK_REALTIME, &ts);
    tv->tv_sec = ts.tv_sec;
    tv->tv_usec = ts.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *ret_now) {
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME_COARSE, &ts);
    if (ret_now) {
        *ret_now = ts.tv_sec;
    }
    return ts.tv_sec;
}

int timespec_get(struct timespec *ts, int base) {
    if (base != TIME_UTC) {
        return 0;
    }
    return clock_gettime(CLOCK_REALTIME, ts) == 0 ? base : 0;
}

/* All stamps that a socket option can ask for begin with the software stamp. */
static void shift_stamps(struct msghdr *message) {
    int64_t ns = shift_ns();

    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); ns != 0 && c; c = CMSG_NXTHDR(message, c)) {
        struct timespec ts;
        struct timeval tv;

        if (c->cmsg_level != SOL_SOCKET) {
            continue;
        }
        if (c->cmsg_type == SCM_TIMESTAMPNS || c->cmsg_type == SCM_TIMESTAMPING) {
            memcpy(&ts, CMSG_DATA(c), sizeof(ts));
            /* Zero says that the kernel has no stamp. */
            if (ts.tv_sec != 0) {
                add_ns(&ts, ns);
                memcpy(CMSG_DATA(c), &ts, sizeof(ts));
            }
        } else if (c->cmsg_type == SCM_TIMESTAMP) {
            memcpy(&tv, CMSG_DATA(c), sizeof(tv));
            ts = (struct timespec){.tv_sec = tv.tv_sec, .tv_nsec = tv.tv_usec * 1000};
            add_ns(&ts, ns);
            tv = (struct timeval){.tv_sec = ts.tv_sec, .tv_usec = ts.tv_nsec / 1000};
            memcpy(CMSG_DATA(c), &tv, sizeof(tv));
        }
    }
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
    ssize_t n;

    prepare();
    n = real_recvmsg(fd, message, flags);
    if (n >= 0) {
        shift_stamps(message);
    }
    return n;
}

int recvmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags,
             struct timespec *timeout) {
    int n;

    prepare();
    n = real_recvmmsg(fd, messages, count, flags, timeout);
    for (int i = 0; i < n; i++) {
        shift_stamps(&messages[i].msg_hdr);
    }
    return n;
}
