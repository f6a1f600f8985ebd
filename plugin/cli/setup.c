/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What every command needs before it can start: configuration, keys, what the daemons have
 * published, names turned into addresses, input read within a deadline. All complaints are one line
 * on stderr.
 */
#include "cli/command.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "timehandoff/probe.h"

bool th_setup_load(struct th_setup *ret_setup) {
    struct th_setup setup = {.config = NULL};
    char error[400] = "";
    int r = th_config_load(TH_CONFIG_FOLDER, &setup.config, error, sizeof(error));

    if (r < 0) {
        fprintf(stderr, "timehandoff: %s\n", error[0] ? error : strerror(-r));
        return false;
    }
    r = th_keyring_load(TH_CONFIG_FOLDER "/keys", &setup.keys, error, sizeof(error));
    if (r < 0 && !(r == -EACCES && geteuid() != 0)) {
        fprintf(stderr, "timehandoff: %s\n", error[0] ? error : strerror(-r));
        th_config_free(setup.config);
        return false;
    }
    *ret_setup = setup;
    return true;
}

void th_setup_deinit(struct th_setup *setup) {
    setup->config = th_config_free(setup->config);
    setup->keys = th_keyring_free(setup->keys);
}

struct th_published_fds th_published_open(void) {
    return (struct th_published_fds){
        .host = th_state_open(TH_STATE_FOLDER, TH_STATE_HOST_FILE),
        .peers = th_state_open(TH_STATE_FOLDER, TH_STATE_PEERS_FILE),
        .override = th_state_open(TH_STATE_FOLDER, TH_STATE_OVERRIDE_FILE),
    };
}

static void close_fd(int *fd) {
    th_cleanup_close(fd);
    *fd = -1;
}

void th_published_read(struct th_published_fds *fds, struct th_published *ret_published) {
    struct th_published published = {.has_host = false};
    struct th_now now = th_now();

    published.has_host =
        fds->host >= 0 && th_state_host_read(fds->host, &now, TH_STATE_FRESH, &published.host) == 0;
    published.has_peers = fds->peers >= 0 && th_state_peers_read(fds->peers, &now, TH_STATE_FRESH,
                                                                 &published.peers) == 0;
    published.has_override =
        fds->override >= 0 && th_state_override_read(fds->override, &now, &published.override) == 0;
    close_fd(&fds->host);
    close_fd(&fds->peers);
    close_fd(&fds->override);
    *ret_published = published;
}

void th_published_deinit(struct th_published *published) {
    if (published->has_host) {
        th_state_host_deinit(&published->host);
    }
    if (published->has_peers) {
        th_state_peers_deinit(&published->peers);
    }
    published->has_host = published->has_peers = false;
}

int th_usage_error(const char *command, const char *format, ...) {
    va_list arguments;

    fprintf(stderr, "timehandoff %s: ", command);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "; see 'timehandoff %s --help'\n", command);
    return TH_EXIT_USAGE;
}

/* getaddrinfo takes any number for a port, and then cuts it to 16 bits. */
static bool is_port(const char *text) {
    char *end = NULL;
    unsigned long port = strtoul(text, &end, 10);

    return *text >= '0' && *text <= '9' && *end == '\0' && strlen(text) <= 5 && port > 0 &&
           port <= UINT16_MAX;
}

/* Splits "NAME:PORT" at the colon; a name has none itself, and IPv6 addresses went elsewhere. */
static bool split_port(const char *host, unsigned default_port, char *name, size_t name_size,
                       char *port, size_t port_size) {
    const char *colon = strchr(host, ':');
    size_t length = colon ? (size_t)(colon - host) : strlen(host);

    if (!length || length >= name_size || (colon && !is_port(colon + 1))) {
        return false;
    }
    memcpy(name, host, length);
    name[length] = '\0';
    if (colon) {
        snprintf(port, port_size, "%s", colon + 1);
    } else {
        snprintf(port, port_size, "%u", default_port);
    }
    return true;
}

size_t th_resolve(const char *host, unsigned default_port, struct sockaddr_storage *ret_addresses,
                  size_t max) {
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG};
    struct addrinfo *list = NULL;
    char name[256], port[8], shown[256];
    size_t n = 0;
    int r;

    if (th_address_parse(host, default_port, ret_addresses) == 0) {
        return 1;
    }
    if (!split_port(host, default_port, name, sizeof(name), port, sizeof(port))) {
        fprintf(stderr, "timehandoff: '%s' is not HOST or HOST:PORT\n",
                th_text_clean(host, shown, sizeof(shown)));
        return 0;
    }
    r = getaddrinfo(name, port, &hints, &list);
    if (r != 0) {
        fprintf(stderr, "timehandoff: cannot find host '%s': %s\n",
                th_text_clean(host, shown, sizeof(shown)), gai_strerror(r));
        return 0;
    }
    for (const struct addrinfo *i = list; i && n < max; i = i->ai_next) {
        memset(&ret_addresses[n], 0, sizeof(ret_addresses[n]));
        memcpy(&ret_addresses[n++], i->ai_addr, i->ai_addrlen);
    }
    freeaddrinfo(list);
    return n;
}

/* Waits for input. 1: there is some or the end; 0: the deadline passed. */
static int wait_input(int fd, int64_t deadline_mono_ns) {
    struct pollfd input = {.fd = fd, .events = POLLIN};

    for (;;) {
        int64_t left_ns = deadline_mono_ns - th_now_mono_ns();
        struct timespec left = {.tv_sec = left_ns / TH_NS_PER_S, .tv_nsec = left_ns % TH_NS_PER_S};
        int r;

        if (left_ns <= 0) {
            return 0;
        }
        r = ppoll(&input, 1, &left, NULL);
        if (r >= 0) {
            return r;
        }
        if (errno != EINTR) {
            return -errno;
        }
    }
}

int th_read_all(int fd, size_t max, int64_t deadline_mono_ns, char **ret_text, size_t *ret_size) {
    th_auto_free char *text = NULL;
    size_t size = 0, room = 0;

    for (;;) {
        ssize_t n;
        int r;

        if (size + 1 >= room) {
            char *more;

            room = room ? room * 2 : 65536;
            more = realloc(text, room);
            if (!more) {
                return -ENOMEM;
            }
            text = more;
        }
        r = wait_input(fd, deadline_mono_ns);
        if (r <= 0) {
            return r < 0 ? r : -ETIME;
        }
        n = read(fd, text + size, room - size - 1);
        if (n == 0) {
            break;
        }
        if (n < 0 && errno != EINTR && errno != EAGAIN) {
            return -errno;
        }
        size += n > 0 ? (size_t)n : 0;
        if (size > max) {
            return -EFBIG;
        }
    }
    text[size] = '\0';
    *ret_text = th_take(text);
    *ret_size = size;
    return 0;
}

bool th_read_input(const char *path, size_t max, char **ret_text, size_t *ret_size) {
    bool standard_input = strcmp(path, "-") == 0;
    th_auto_close int opened = -1;
    char shown[256];
    int r;

    if (!standard_input) {
        opened = open(path, O_RDONLY | O_CLOEXEC);
        if (opened < 0) {
            fprintf(stderr, "timehandoff: cannot open %s: %s\n",
                    th_text_clean(path, shown, sizeof(shown)), strerror(errno));
            return false;
        }
    }
    r = th_read_all(standard_input ? STDIN_FILENO : opened, max, INT64_MAX, ret_text, ret_size);
    if (r < 0) {
        fprintf(stderr, "timehandoff: cannot read %s: %s\n",
                th_text_clean(path, shown, sizeof(shown)),
                r == -EFBIG ? "it is too large" : strerror(-r));
    }
    return r == 0;
}
