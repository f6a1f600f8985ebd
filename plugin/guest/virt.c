/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libvirt on demand. The checker in the migration's path and most commands have no use for libvirt,
 * which brings some thirty libraries with it; so nobody links it, and who needs it loads it here.
 * The table's types are those of libvirt's own header, so a wrong call still fails to compile.
 */
#define _GNU_SOURCE 1

#include "timehandoff/virt.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "timehandoff/base.h"

#define LIBRARY "libvirt.so.0"
#define PASSWORD_SIZE 256
#define KEEPALIVE_S 5
#define KEEPALIVE_COUNT 3

/* libvirt prints errors on stderr unless it is given a function; ours are shown by who asked. */
static void ignore_error(void *context, virErrorPtr error) {
    (void)context;
    (void)error;
}

/* Looks one function up; the table's member is written as an object, as POSIX has it. */
static bool find(const struct th_virt *virt, const char *name, void *ret_function) {
    void *symbol = dlsym(virt->library, name);

    memcpy(ret_function, &symbol, sizeof(symbol));
    return symbol != NULL;
}

/* Fills the table. Returns NULL, or the name of a function that is missing. */
static const char *fill(struct th_virt *virt) {
    const char *missing = NULL;

#define FIND(name)                                                                                 \
    if (!find(virt, #name, &virt->name)) {                                                         \
        missing = #name;                                                                           \
    }
#define FIND_OPTIONAL(name) (void)find(virt, #name, &virt->name);
    TH_VIRT_REQUIRED(FIND)
    TH_VIRT_OPTIONAL(FIND_OPTIONAL)
#undef FIND
#undef FIND_OPTIONAL
    return missing;
}

int th_virt_load(struct th_virt **ret_virt, char *ret_error, size_t error_size) {
    th_auto_free struct th_virt *virt = calloc(1, sizeof(*virt));
    const char *missing;

    if (!virt) {
        return -ENOMEM;
    }
    virt->library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!virt->library) {
        snprintf(ret_error, error_size, "libvirt is not installed: %s", dlerror());
        return -ENOENT;
    }
    missing = fill(virt);
    if (missing) {
        snprintf(ret_error, error_size, "this libvirt is too old: it has no %s", missing);
        return -ENOSYS;
    }
    virt->virSetErrorFunc(NULL, ignore_error);
    if (virt->virInitialize() < 0) {
        th_virt_last_error(virt, ret_error, error_size);
        return -EIO;
    }
    *ret_virt = th_take(virt);
    return 0;
}

struct th_virt *th_virt_free(struct th_virt *virt) {
    free(virt);
    return NULL;
}

char *th_virt_last_error(const struct th_virt *virt, char *buffer, size_t buffer_size) {
    virErrorPtr error = virt->virGetLastError();

    return th_text_clean(error && error->message ? error->message : "", buffer, buffer_size);
}

/* What libvirt may ask for while it connects. */
struct secrets {
    const char *user;
    char password[PASSWORD_SIZE]; /* "" if none */
};

static int answer(virConnectCredentialPtr wanted, unsigned n_wanted, void *context) {
    const struct secrets *secrets = context;

    for (unsigned i = 0; i < n_wanted; i++) {
        const char *value = NULL;

        switch (wanted[i].type) {
        case VIR_CRED_USERNAME:
        case VIR_CRED_AUTHNAME: value = secrets->user; break;
        case VIR_CRED_PASSPHRASE:
        case VIR_CRED_NOECHOPROMPT: value = secrets->password; break;
        default: break;
        }
        wanted[i].result = value ? strdup(value) : NULL;
        if (!wanted[i].result) {
            return -1;
        }
        wanted[i].resultlen = (unsigned)strlen(value);
    }
    return 0;
}

static int read_password(const char *path, char ret_password[PASSWORD_SIZE]) {
    th_auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    struct stat status;
    ssize_t size;

    if (fd < 0 || fstat(fd, &status) < 0) {
        return -errno;
    }
    if (status.st_mode & (S_IROTH | S_IWOTH)) {
        return -EPERM;
    }
    size = read(fd, ret_password, PASSWORD_SIZE);
    if (size < 0) {
        return -errno;
    }
    if (size == PASSWORD_SIZE) {
        return -EFBIG;
    }
    ret_password[size] = '\0';
    ret_password[strcspn(ret_password, "\r\n")] = '\0';
    return 0;
}

static int fill_secrets(const struct th_virt_login *login, struct secrets *secrets, char *ret_error,
                        size_t error_size) {
    int r;

    secrets->user = login->user;
    if (!login->password_file) {
        return 0;
    }
    r = read_password(login->password_file, secrets->password);
    if (r == -EPERM) {
        snprintf(ret_error, error_size, "%s: everybody may read or write it; chmod it to 0600",
                 login->password_file);
    } else if (r < 0) {
        snprintf(ret_error, error_size, "%s: %s", login->password_file, strerror(-r));
    }
    return r;
}

static int connect_with(const struct th_virt *virt, const struct th_virt_login *login,
                        struct secrets *secrets, virConnectPtr *ret_connection) {
    int kinds[] = {VIR_CRED_USERNAME, VIR_CRED_AUTHNAME, VIR_CRED_PASSPHRASE,
                   VIR_CRED_NOECHOPROMPT};
    virConnectAuth auth = {
        .credtype = kinds,
        .ncredtype = login->user ? TH_ELEMENTS(kinds) : 0,
        .cb = answer,
        .cbdata = secrets,
    };
    virConnectPtr connection = virt->virConnectOpenAuth(login->uri, &auth, 0);

    if (!connection) {
        return -ECONNREFUSED;
    }
    *ret_connection = connection;
    return 0;
}

int th_virt_open(const struct th_virt *virt, const struct th_virt_login *login,
                 virConnectPtr *ret_connection, char *ret_error, size_t error_size) {
    struct secrets secrets = {0};
    virConnectPtr connection = NULL;
    int r = fill_secrets(login, &secrets, ret_error, error_size);

    if (r == 0) {
        r = connect_with(virt, login, &secrets, &connection);
        if (r < 0) {
            th_virt_last_error(virt, ret_error, error_size);
        }
    }
    explicit_bzero(&secrets, sizeof(secrets));
    if (r < 0) {
        return r;
    }
    /* Local drivers and old servers have none; then there is nothing to ping. */
    if (login->keepalive) {
        (void)virt->virConnectSetKeepAlive(connection, KEEPALIVE_S, KEEPALIVE_COUNT);
    }
    *ret_connection = connection;
    return 0;
}
