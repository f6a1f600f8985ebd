/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The probe's socket. Stamps are asked for with SO_TIMESTAMPING, software receive only: they are
 * taken when the driver hands the datagram to the stack, so neither the wait for the CPU nor that
 * for a busy program counts as network delay. The kernel switches them on lazily and a program's
 * clock may be shifted against the kernel's, so whoever uses a stamp must check it first.
 */
#include "clock/socket.h"

#include "timehandoff/base.h"

#include <assert.h>
#include <errno.h>
#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <netinet/in.h>
#include <string.h>
#include <time.h>

bool th_socket_is_refusal(int error) {
    switch (error) {
    case ECONNREFUSED:
    case EHOSTUNREACH:
    case EHOSTDOWN:
    case ENETUNREACH:
    case ENETDOWN:
    case EADDRNOTAVAIL:
    case ENOPROTOOPT: /* ICMP "protocol unreachable" */
    case EACCES:
    case EPERM: return true; /* these two: a packet filter's "reject" */
    default: return false;
    }
}

void th_socket_ask_for_stamps(int fd) {
    int flags = SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE;

    (void)setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &flags, sizeof(flags));
}

int th_socket_open(const struct sockaddr_storage *address, bool kernel_stamps) {
    socklen_t size =
        address->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    th_auto_close int fd = -1;

    if (address->ss_family != AF_INET && address->ss_family != AF_INET6) {
        return -EAFNOSUPPORT;
    }
    fd = socket(address->ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_UDP);
    if (fd < 0) {
        return -errno;
    }
    if (kernel_stamps) {
        th_socket_ask_for_stamps(fd);
    }
    if (connect(fd, (const struct sockaddr *)address, size) < 0) {
        return -errno;
    }
    return th_take_fd(&fd);
}

int64_t th_socket_kernel_stamp_ns(struct msghdr *message) {
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part; part = CMSG_NXTHDR(message, part)) {
        struct timespec stamp;

        if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_TIMESTAMPING &&
            part->cmsg_len >= CMSG_LEN(sizeof(struct scm_timestamping))) {
            /* The first of three is the software stamp. */
            memcpy(&stamp, CMSG_DATA(part), sizeof(stamp));
            return (int64_t)stamp.tv_sec * TH_NS_PER_S + stamp.tv_nsec;
        }
    }
    return 0;
}

static_assert(CMSG_SPACE(sizeof(struct scm_timestamping)) <= TH_SOCKET_STAMP_SPACE,
              "there is room for a stamp");

int th_socket_receive(int fd, void *bytes, size_t size, struct th_arrival *ret_arrival) {
    union {
        char bytes[TH_SOCKET_STAMP_SPACE + 64];
        struct cmsghdr alignment;
    } control;
    struct iovec part = {.iov_base = bytes, .iov_len = size};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    struct th_arrival arrival;
    ssize_t got;

    do {
        got = recvmsg(fd, &message, MSG_DONTWAIT | MSG_TRUNC);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return -errno;
    }
    th_now_pair_end(&arrival.real_ns, &arrival.raw_ns);
    arrival.size = (size_t)got;
    arrival.kernel_ns = th_socket_kernel_stamp_ns(&message);
    *ret_arrival = arrival;
    return 0;
}
