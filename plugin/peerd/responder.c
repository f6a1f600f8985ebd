/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The responder's sockets. Everything that can be decided is decided by th_answer_decide; here
 * bytes come in, the clock is read, and bytes go out. What has come is taken in one call, and
 * looked at after that, so that one look at the published files is younger than each of the
 * questions. When a question came the kernel says, or else one reading of the clock for all of
 * them: without the kernel's stamp the time until this program runs would look to the asker as if
 * the way there were longer than the way back.
 */
#include "peerd/responder.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock/socket.h"

#define PORT_DISCARD 9
/* Questions taken at a time, and answered before the loop may look at other things. */
#define BATCH 32
#define CONTROL_SIZE (TH_SOCKET_STAMP_SPACE + 64)
/* Between the stamp and the answer this host's clock should not be stepped, or the two are of
 * different clocks: an older stamp is not used. */
#define STAMP_AGE_NS TH_NS_PER_MS

/* A datagram, with room for one byte more than the longest that is looked at. */
struct datagram {
    uint8_t bytes[TH_PACKET_MAX_SIZE + 1];
    struct sockaddr_storage from;
    struct iovec data;
    uint8_t control[CONTROL_SIZE] __attribute__((aligned(sizeof(size_t))));
};

struct th_responder {
    struct th_knowledge *knowledge;
    struct th_responder_counts *counts;
    bool kernel_stamps;
    int fds[TH_RESPONDER_SOCKETS];
    int proven_fds[TH_RESPONDER_SOCKETS]; /* to answer who proved a key; -1: with the others */
    struct datagram datagrams[BATCH];
    struct mmsghdr messages[BATCH];
};

static int set_flag(int fd, int level, int option) {
    int one = 1;

    return setsockopt(fd, level, option, &one, sizeof(one)) < 0 ? -errno : 0;
}

static int configure(int fd, int family) {
    int r;

    if (family == AF_INET) {
        return set_flag(fd, IPPROTO_IP, IP_PKTINFO);
    }
    r = set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY);
    return r < 0 ? r : set_flag(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO);
}

static int bind_to_port(int fd, int family, unsigned port) {
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    const struct sockaddr *address =
        family == AF_INET ? (const struct sockaddr *)&v4 : (const struct sockaddr *)&v6;
    socklen_t size = family == AF_INET ? sizeof(v4) : sizeof(v6);

    return bind(fd, address, size) < 0 ? -errno : 0;
}

/* Others may bind to the port only while this is set, and only if they set it, too. */
static int set_shared(int fd, int shared) {
    return setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &shared, sizeof(shared)) < 0 ? -errno : 0;
}

static int open_socket(int family, unsigned port, int *ret_fd) {
    th_auto_close int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int r;

    if (fd < 0) {
        return -errno;
    }
    r = configure(fd, family);
    if (r == 0) {
        r = set_shared(fd, 1);
    }
    if (r == 0) {
        r = bind_to_port(fd, family, port);
    }
    if (r < 0) {
        return r;
    }
    *ret_fd = th_take_fd(&fd);
    return 0;
}

/* Has a socket receive nothing: to it belongs only what the discard port of this host sends. */
static int deafen(int fd, int family) {
    struct sockaddr_in v4 = {.sin_family = AF_INET,
                             .sin_port = htons(PORT_DISCARD),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6,
                              .sin6_port = htons(PORT_DISCARD),
                              .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    const struct sockaddr *address =
        family == AF_INET ? (const struct sockaddr *)&v4 : (const struct sockaddr *)&v6;

    return connect(fd, address, family == AF_INET ? sizeof(v4) : sizeof(v6)) < 0 ? -errno : 0;
}

/*
 * Opens a socket to ask at, and a second one of the same port that only sends, to who has proven a
 * key. An answer to an address where nobody is waits for seconds in the socket that it left by, and
 * some hundred of them fill it: who forges such addresses must not silence us for the others.
 */
static int open_pair(int family, unsigned port, int *ret_fd, int *ret_proven_fd) {
    th_auto_close int fd = -1, proven_fd = -1;
    int r = open_socket(family, port, &fd);

    if (r == 0 && (open_socket(family, port, &proven_fd) < 0 || deafen(proven_fd, family) < 0)) {
        th_cleanup_close(&proven_fd);
        proven_fd = -1;
    }
    if (r == 0) {
        r = set_shared(fd, 0);
    }
    if (r < 0) {
        return r;
    }
    *ret_fd = th_take_fd(&fd);
    *ret_proven_fd = th_take_fd(&proven_fd);
    return 0;
}

/* Receiving and answering changes what describes the room for it: made anew for the first n. */
static void make_room(struct th_responder *responder, size_t n) {
    for (size_t i = 0; i < n; i++) {
        struct datagram *datagram = &responder->datagrams[i];

        datagram->data =
            (struct iovec){.iov_base = datagram->bytes, .iov_len = sizeof(datagram->bytes)};
        responder->messages[i].msg_hdr = (struct msghdr){.msg_name = &datagram->from,
                                                         .msg_namelen = sizeof(datagram->from),
                                                         .msg_iov = &datagram->data,
                                                         .msg_iovlen = 1,
                                                         .msg_control = datagram->control,
                                                         .msg_controllen = CONTROL_SIZE};
    }
}

int th_responder_new(unsigned port, bool kernel_stamps, struct th_knowledge *knowledge,
                     struct th_responder_counts *counts, struct th_responder **ret_responder) {
    static const int families[TH_RESPONDER_SOCKETS] = {AF_INET, AF_INET6};
    struct th_responder *responder = calloc(1, sizeof(*responder));
    int r, missing = 0;

    if (!responder) {
        return -ENOMEM;
    }
    responder->knowledge = knowledge;
    responder->counts = counts;
    responder->kernel_stamps = kernel_stamps;
    make_room(responder, BATCH);
    for (size_t i = 0; i < TH_RESPONDER_SOCKETS; i++) {
        responder->fds[i] = responder->proven_fds[i] = -1;
    }
    for (size_t i = 0; i < TH_RESPONDER_SOCKETS; i++) {
        r = open_pair(families[i], port, &responder->fds[i], &responder->proven_fds[i]);
        missing += r < 0;
        if (r == 0) {
            th_socket_ask_for_stamps(responder->fds[i]);
        }
        if (r < 0 &&
            ((r != -EAFNOSUPPORT && r != -EADDRNOTAVAIL) || missing == TH_RESPONDER_SOCKETS)) {
            th_responder_free(responder);
            return r;
        }
    }
    *ret_responder = responder;
    return 0;
}

struct th_responder *th_responder_free(struct th_responder *responder) {
    if (responder) {
        for (size_t i = 0; i < TH_RESPONDER_SOCKETS; i++) {
            th_cleanup_close(&responder->fds[i]);
            th_cleanup_close(&responder->proven_fds[i]);
        }
        free(responder);
    }
    return NULL;
}

const int *th_responder_fds(const struct th_responder *responder) {
    return responder->fds;
}

void th_responder_use(struct th_responder *responder, bool kernel_stamps,
                      struct th_knowledge *knowledge) {
    responder->kernel_stamps = kernel_stamps;
    responder->knowledge = knowledge;
}

static bool is_own_address(const struct cmsghdr *part) {
    return (part->cmsg_level == IPPROTO_IP && part->cmsg_type == IP_PKTINFO) ||
           (part->cmsg_level == IPPROTO_IPV6 && part->cmsg_type == IPV6_PKTINFO);
}

/* Leaves the interface to routing: an answer may leave by another one. */
static void free_of_interface(struct cmsghdr *own) {
    struct in_pktinfo v4;
    struct in6_pktinfo v6;

    if (own->cmsg_level == IPPROTO_IP) {
        memcpy(&v4, CMSG_DATA(own), sizeof(v4));
        v4.ipi_ifindex = 0;
        v4.ipi_spec_dst = v4.ipi_addr;
        memcpy(CMSG_DATA(own), &v4, sizeof(v4));
        return;
    }
    memcpy(&v6, CMSG_DATA(own), sizeof(v6));
    /* Link-local answers need the interface they came by. */
    if (!IN6_IS_ADDR_LINKLOCAL(&v6.ipi6_addr)) {
        v6.ipi6_ifindex = 0;
        memcpy(CMSG_DATA(own), &v6, sizeof(v6));
    }
}

/* Keeps of the received control data only the address that was asked, in the form that sendmsg
 * takes to answer from it. */
static void keep_own_address(struct msghdr *message) {
    struct cmsghdr *own = CMSG_FIRSTHDR(message);

    while (own && !is_own_address(own)) {
        own = CMSG_NXTHDR(message, own);
    }
    if (!own) {
        message->msg_control = NULL;
        message->msg_controllen = 0;
        return;
    }
    message->msg_controllen = CMSG_ALIGN(own->cmsg_len);
    memmove(message->msg_control, own, own->cmsg_len);
    free_of_interface(message->msg_control);
}

/* When a question had arrived, if it was read at that time. */
static int64_t arrived_ns(const struct th_responder *responder, struct msghdr *message,
                          int64_t read_ns) {
    int64_t stamp_ns = responder->kernel_stamps ? th_socket_kernel_stamp_ns(message) : 0;

    return stamp_ns <= read_ns && read_ns - stamp_ns <= STAMP_AGE_NS ? stamp_ns : read_ns;
}

/* Where an answer leaves that belongs to a question on this socket. */
static int answering_fd(const struct th_responder *responder, int fd, bool proven) {
    for (size_t i = 0; proven && i < TH_RESPONDER_SOCKETS; i++) {
        if (responder->fds[i] == fd && responder->proven_fds[i] >= 0) {
            return responder->proven_fds[i];
        }
    }
    return fd;
}

static void answer(struct th_responder *responder, int fd, struct mmsghdr *question,
                   int64_t read_ns) {
    struct msghdr *message = &question->msg_hdr;
    uint8_t *bytes = message->msg_iov->iov_base;
    enum th_answer_outcome outcome = TH_ANSWER_MALFORMED;
    const struct th_key *key = NULL;
    struct th_packet packet;

    if (!(message->msg_flags & MSG_TRUNC) && question->msg_len <= TH_PACKET_MAX_SIZE) {
        outcome = th_answer_decide(
            th_knowledge_context(responder->knowledge), bytes, question->msg_len, message->msg_name,
            th_ntp64_from_unix_ns(arrived_ns(responder, message, read_ns)), &packet, &key);
    }
    atomic_fetch_add_explicit(&responder->counts->by_outcome[outcome], 1, memory_order_relaxed);
    if (outcome != TH_ANSWER_SEND) {
        return;
    }
    keep_own_address(message);
    packet.transmit = th_ntp64_from_unix_ns(th_now_real_ns());
    message->msg_iov->iov_len = th_packet_encode(&packet, key, bytes);
    /* A full queue loses this answer; the asker asks again. */
    (void)sendmsg(answering_fd(responder, fd, key), message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void th_responder_dispatch(struct th_responder *responder, int fd) {
    int64_t read_ns;
    int n;

    n = recvmmsg(fd, responder->messages, BATCH, MSG_DONTWAIT, NULL);
    read_ns = th_now_real_ns();
    if (n <= 0) {
        return;
    }
    /* They may be about a guest that has left just now. */
    th_knowledge_refresh(responder->knowledge);
    for (int i = 0; i < n; i++) {
        answer(responder, fd, &responder->messages[i], read_ns);
    }
    make_room(responder, (size_t)n);
}
