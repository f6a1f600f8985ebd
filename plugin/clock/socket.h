/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The probe's socket: UDP, connected, and able to say when a datagram had arrived, by the kernel's
 * stamp where it has one that can be believed, else by the program's own clock reading. And the
 * kernel's stamps for other sockets.
 */
#ifndef TIMEHANDOFF_CLOCK_SOCKET_H
#define TIMEHANDOFF_CLOCK_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* One datagram and the clocks when it came. */
struct th_arrival {
    size_t size;
    int64_t real_ns; /* the program's reading of both clocks after it had the datagram */
    int64_t raw_ns;
    int64_t kernel_ns; /* the kernel's stamp, CLOCK_REALTIME; 0: none */
};

/* Whether an errno says that the network or the far end refuses, rather than that we failed. */
bool th_socket_is_refusal(int error);

/*
 * Opens a non-blocking socket connected to the address from a fresh port. With kernel_stamps, asks
 * for receive stamps; a kernel that can't is no failure. Returns the descriptor or negative errno.
 */
int th_socket_open(const struct sockaddr_storage *address, bool kernel_stamps);

/* Has the kernel stamp what a socket receives; one that can't does not. While any program of a host
 * has asked for them, the stamps are there from the first datagram on. */
void th_socket_ask_for_stamps(int fd);
/* The kernel's stamp among the control data of a received message, in ns of CLOCK_REALTIME; 0:
 * none. The message needs TH_SOCKET_STAMP_SPACE of room for it. */
int64_t th_socket_kernel_stamp_ns(struct msghdr *message);
#define TH_SOCKET_STAMP_SPACE 64

/* Reads one datagram of at most size bytes; longer ones are cut and reported with their full size.
 * Returns 0 or negative errno: -EAGAIN when there is none, or a refusal. */
int th_socket_receive(int fd, void *bytes, size_t size, struct th_arrival *ret_arrival);

#endif
