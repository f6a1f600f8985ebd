/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libvirt, loaded when it is wanted: a table of the functions we use, filled by dlopen, so that the
 * commands which need no libvirt neither load it nor depend on it. A function is called through the
 * table by its own name: virt->virDomainGetTime(domain, …).
 */
#ifndef TIMEHANDOFF_VIRT_H
#define TIMEHANDOFF_VIRT_H

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <stdbool.h>
#include <stddef.h>

/* Every libvirt since 3.0 has these. */
#define TH_VIRT_REQUIRED(X)                                                                        \
    X(virInitialize)                                                                               \
    X(virConnectOpen)                                                                              \
    X(virConnectOpenAuth)                                                                          \
    X(virConnectClose)                                                                             \
    X(virConnectRef)                                                                               \
    X(virConnectSetKeepAlive)                                                                      \
    X(virConnectIsAlive)                                                                           \
    X(virConnectRegisterCloseCallback)                                                             \
    X(virConnectUnregisterCloseCallback)                                                           \
    X(virConnectListAllDomains)                                                                    \
    X(virConnectGetCapabilities)                                                                   \
    X(virConnectGetHostname)                                                                       \
    X(virConnectDomainEventRegisterAny)                                                            \
    X(virConnectDomainEventDeregisterAny)                                                          \
    X(virEventRegisterImpl)                                                                        \
    X(virEventRegisterDefaultImpl)                                                                 \
    X(virEventRunDefaultImpl)                                                                      \
    X(virEventAddTimeout)                                                                          \
    X(virEventRemoveTimeout)                                                                       \
    X(virEventUpdateTimeout)                                                                       \
    X(virDomainLookupByName)                                                                       \
    X(virDomainLookupByUUID)                                                                       \
    X(virDomainGetName)                                                                            \
    X(virDomainGetUUID)                                                                            \
    X(virDomainGetState)                                                                           \
    X(virDomainGetXMLDesc)                                                                         \
    X(virDomainGetMetadata)                                                                        \
    X(virDomainSetMetadata)                                                                        \
    X(virDomainGetTime)                                                                            \
    X(virDomainSetTime)                                                                            \
    X(virDomainGetConnect)                                                                         \
    X(virDomainRef)                                                                                \
    X(virDomainFree)                                                                               \
    X(virGetLastError)                                                                             \
    X(virResetLastError)                                                                           \
    X(virSetErrorFunc)

/* NULL in the table where the loaded libvirt has none. */
#define TH_VIRT_OPTIONAL(X)                                                                        \
    X(virDomainAgentSetResponseTimeout) /* since 5.10 */                                           \
    X(virDomainMigrateGetMaxDowntime)   /* since 3.7 */

#define TH_VIRT_MEMBER(name) __typeof__(name) *name;

struct th_virt {
    void *library;
    TH_VIRT_REQUIRED(TH_VIRT_MEMBER)
    TH_VIRT_OPTIONAL(TH_VIRT_MEMBER)
};

/*
 * Loads and initialises libvirt, and keeps it from printing errors by itself. Returns 0; -ENOENT if
 * the library can't be loaded, -ENOSYS if it lacks a function, or -EIO if it does not initialise,
 * with one line in ret_error; or -ENOMEM.
 */
int th_virt_load(struct th_virt **ret_virt, char *ret_error, size_t error_size);
/* Frees the table. The library stays loaded: it keeps threads and thread-local data of its own. */
struct th_virt *th_virt_free(struct th_virt *virt);

struct th_virt_login {
    const char *uri;           /* NULL: libvirt's default */
    const char *user;          /* NULL: none; else it and the password are given when asked for */
    const char *password_file; /* first line is the password; NULL: none */
    /* Ping libvirtd, so that calls to a stopped one end after some 15 s. Only for a caller that
     * registered an event loop with libvirt and runs it. */
    bool keepalive;
};

/*
 * Connects. Never asks a person. Returns 0; -EPERM if everybody may read the password file; other
 * negative errno if it can't be read; -ECONNREFUSED with libvirt's words in ret_error if libvirt
 * fails. Every failure is described in ret_error.
 */
int th_virt_open(const struct th_virt *virt, const struct th_virt_login *login,
                 virConnectPtr *ret_connection, char *ret_error, size_t error_size);

/* Words of libvirt's last error in this thread, cleaned, in buffer; "" if none. Returns buffer. */
char *th_virt_last_error(const struct th_virt *virt, char *buffer, size_t buffer_size);

#endif
