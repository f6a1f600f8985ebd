/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Symmetric keys for AES-CMAC on NTP packets (RFC 8573), read from a file in chrony's format or
 * carried, one per domain, in a domain's origin stamp.
 */
#ifndef TIMEHANDOFF_KEY_H
#define TIMEHANDOFF_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum th_key_type { TH_KEY_AES128 = 1, TH_KEY_AES256 };

#define TH_KEY_MAX_SIZE 32
#define TH_MAC_SIZE 16 /* AES-CMAC, whatever the key's length */

struct th_key {
    uint32_t id; /* 1..2^32-1; 0 is none. Bit 31 set: a domain's key; clear: from the key file. */
    enum th_key_type type;
    uint8_t bytes[TH_KEY_MAX_SIZE]; /* 16 or 32 used */
};

/* Key ids with this bit belong to domains; a key file may not use them. */
#define TH_KEY_DOMAIN_BIT UINT32_C(0x80000000)

/* 16 or 32. */
size_t th_key_size(const struct th_key *key);
/* A fresh AES128 key with a random id that has TH_KEY_DOMAIN_BIT. 0 or negative errno. */
int th_key_random(struct th_key *ret_key);
/* AES-CMAC over size bytes. */
void th_key_mac(const struct th_key *key, const void *bytes, size_t size,
                uint8_t ret_mac[TH_MAC_SIZE]);
/* Compares in constant time. */
bool th_key_mac_ok(const struct th_key *key, const void *bytes, size_t size,
                   const uint8_t mac[TH_MAC_SIZE]);
/* Overwrites the key so that the compiler can't leave it out. */
void th_key_wipe(struct th_key *key);

/* A set of keys from a file. */
struct th_keyring;

/*
 * Reads a key file: lines "ID TYPE KEY", TYPE AES128 or AES256, KEY as "HEX:..." or "ASCII:..." (no
 * prefix: ASCII); comments start with ! ; # or %. The file must be a regular file that others
 * cannot read or write (mode & 007 is zero).
 *
 * A file that is not there gives an empty ring. Returns 0; -EACCES if others can touch the file or
 * we can't read it; -EBADMSG for bad content (a type other than these two, an id with
 * TH_KEY_DOMAIN_BIT or twice, a key of wrong length) or what is no regular file; -ELOOP for a
 * symbolic link; other negative errno if it can't be read. On failure ret_error (error_size bytes)
 * holds one line that names file, line and remedy, never the key; it is left alone for -ENOMEM.
 */
int th_keyring_load(const char *path, struct th_keyring **ret_ring, char *ret_error,
                    size_t error_size);
/* Wipes and frees; NULL allowed; returns NULL. */
struct th_keyring *th_keyring_free(struct th_keyring *ring);
/* The key with that id, or NULL. Lives as long as the ring. ring may be NULL. */
const struct th_key *th_keyring_find(const struct th_keyring *ring, uint32_t id);
/* Number of keys; 0 for NULL. */
size_t th_keyring_size(const struct th_keyring *ring);
/* The key with the lowest id, or NULL: what is used where no id is named. */
const struct th_key *th_keyring_first(const struct th_keyring *ring);

#endif
