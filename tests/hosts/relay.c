/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * relay: a bad link between two test hosts. It makes a TUN device in each of two network
 * namespaces and hands packets from one to the other with a delay of its own for each direction, a
 * uniform jitter on top, and random loss; a packet with less jitter may overtake another, as on a
 * real network. It stands in for the netem queue, which many kernels are built without, and works
 * the same everywhere. Random numbers come from a seed, which is printed, so that a run can be
 * repeated. The settings come in lines on stdin, so that a link can change while it is in use; at
 * end of input, so also when the parent dies, the relay ends, and both devices vanish with it.
 *
 * usage: relay PID_A PID_B DEVICE SEED, then lines DELAY_AB_US DELAY_BA_US JITTER_US LOSS
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define PACKET_MAX 65536
#define QUEUED_MAX 10000
#define SECOND_NS INT64_C(1000000000)

struct packet {
    struct packet *next;
    int64_t due_ns;
    size_t size;
    unsigned char bytes[];
};

/* One direction: packets read from one device, sorted by the time they leave by the other. */
struct way {
    int from_fd;
    int to_fd;
    int64_t delay_ns;
    struct packet *first;
    unsigned queued;
};

struct relay {
    struct way ways[2];
    int64_t jitter_ns;
    double loss;
    uint64_t random_state;
    char line[256];
    size_t line_used;
};

static void die(const char *what) {
    fprintf(stderr, "relay: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now_ns(void) {
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * SECOND_NS + ts.tv_nsec;
}

/* A step of a Weyl sequence through a mixing function; returns a number in [0, 1). */
static double next_random(struct relay *relay) {
    uint64_t x = relay->random_state += UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ (x >> 32)) * UINT64_C(0xd6e8feb86659fd93);
    x = (x ^ (x >> 32)) * UINT64_C(0xd6e8feb86659fd93);
    x ^= x >> 32;
    return (double)(x >> 11) / (double)(UINT64_C(1) << 53);
}

/* A device belongs to the namespace its descriptor was opened in, wherever it is used later. */
static int open_device(const char *pid, const char *name) {
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    char path[64];
    int namespace_fd, fd;

    snprintf(path, sizeof(path), "/proc/%s/ns/net", pid);
    namespace_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (namespace_fd < 0 || setns(namespace_fd, CLONE_NEWNET) < 0) {
        die(path);
    }
    close(namespace_fd);

    fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        die("/dev/net/tun");
    }
    snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
    if (ioctl(fd, TUNSETIFF, &request) < 0) {
        die(name);
    }
    return fd;
}

static void enqueue(struct relay *relay, struct way *way, const void *bytes, size_t size) {
    struct packet *packet, **at = &way->first;

    if (way->queued >= QUEUED_MAX || next_random(relay) < relay->loss) {
        return;
    }
    packet = malloc(sizeof(*packet) + size);
    if (!packet) {
        die("malloc");
    }
    packet->due_ns =
        now_ns() + way->delay_ns + (int64_t)(next_random(relay) * (double)relay->jitter_ns);
    packet->size = size;
    memcpy(packet->bytes, bytes, size);
    while (*at && (*at)->due_ns <= packet->due_ns) {
        at = &(*at)->next;
    }
    packet->next = *at;
    *at = packet;
    way->queued++;
}

static void receive(struct relay *relay, struct way *way) {
    static unsigned char buffer[PACKET_MAX];
    ssize_t n;

    while ((n = read(way->from_fd, buffer, sizeof(buffer))) > 0) {
        enqueue(relay, way, buffer, (size_t)n);
    }
}

static void deliver(struct way *way) {
    while (way->first && way->first->due_ns <= now_ns()) {
        struct packet *packet = way->first;

        way->first = packet->next;
        way->queued--;
        /* A device that is still down refuses the packet, which is then lost like any other. */
        if (write(way->to_fd, packet->bytes, packet->size) < 0 && errno == EBADFD) {
            die("write");
        }
        free(packet);
    }
}

static void apply_line(struct relay *relay) {
    double ab_us, ba_us, jitter_us, loss;

    if (sscanf(relay->line, "%lf %lf %lf %lf", &ab_us, &ba_us, &jitter_us, &loss) != 4) {
        fprintf(stderr, "relay: not a setting: %s\n", relay->line);
        exit(2);
    }
    relay->ways[0].delay_ns = (int64_t)(ab_us * 1000);
    relay->ways[1].delay_ns = (int64_t)(ba_us * 1000);
    relay->jitter_ns = (int64_t)(jitter_us * 1000);
    relay->loss = loss;
    printf("set\n");
    fflush(stdout);
}

static void read_settings(struct relay *relay) {
    char c;

    if (read(STDIN_FILENO, &c, 1) != 1) {
        exit(0);
    }
    if (c == '\n') {
        relay->line[relay->line_used] = '\0';
        relay->line_used = 0;
        apply_line(relay);
    } else if (relay->line_used < sizeof(relay->line) - 1) {
        relay->line[relay->line_used++] = c;
    }
}

static void wait_for_work(struct relay *relay, struct pollfd fds[3]) {
    struct timespec left = {.tv_sec = 60};
    int64_t due_ns = INT64_MAX, now = now_ns();

    for (int i = 0; i < 2; i++) {
        if (relay->ways[i].first && relay->ways[i].first->due_ns < due_ns) {
            due_ns = relay->ways[i].first->due_ns;
        }
    }
    if (due_ns != INT64_MAX) {
        int64_t left_ns = due_ns > now ? due_ns - now : 0;

        left = (struct timespec){.tv_sec = left_ns / SECOND_NS, .tv_nsec = left_ns % SECOND_NS};
    }
    if (ppoll(fds, 3, &left, NULL) < 0 && errno != EINTR) {
        die("ppoll");
    }
}

int main(int argc, char **argv) {
    struct relay relay = {0};
    struct pollfd fds[3];

    if (argc != 5) {
        fprintf(stderr, "usage: relay PID_A PID_B DEVICE SEED\n");
        return 2;
    }
    /* The kernel may otherwise wake us 50 us late. */
    prctl(PR_SET_TIMERSLACK, 1);
    relay.random_state = strtoull(argv[4], NULL, 10);
    relay.ways[0].from_fd = relay.ways[1].to_fd = open_device(argv[1], argv[3]);
    relay.ways[1].from_fd = relay.ways[0].to_fd = open_device(argv[2], argv[3]);
    printf("ready, seed %s\n", argv[4]);
    fflush(stdout);

    fds[0] = (struct pollfd){.fd = relay.ways[0].from_fd, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = relay.ways[1].from_fd, .events = POLLIN};
    fds[2] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
    for (;;) {
        wait_for_work(&relay, fds);
        if (fds[2].revents) {
            read_settings(&relay);
        }
        for (int i = 0; i < 2; i++) {
            receive(&relay, &relay.ways[i]);
            deliver(&relay.ways[i]);
        }
    }
}
