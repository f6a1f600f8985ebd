/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One symmetric key: making it, computing AES-CMAC with it, comparing in constant time, wiping it.
 * The block cipher's schedule is set up for each packet and wiped again: that costs a fraction of a
 * microsecond and leaves no second copy of a key in memory.
 */
#include "timehandoff/key.h"

#include "timehandoff/base.h"

#include <nettle/cmac.h>
#include <nettle/memops.h>
#include <nettle/version.h>
#include <string.h>

#define AES128_SIZE 16
#define AES256_SIZE 32

size_t th_key_size(const struct th_key *key) {
    return key->type == TH_KEY_AES256 ? AES256_SIZE : AES128_SIZE;
}

int th_key_random(struct th_key *ret_key) {
    struct th_key key = {.type = TH_KEY_AES128};
    int r;

    r = th_random(&key.id, sizeof(key.id));
    if (r == 0) {
        r = th_random(key.bytes, AES128_SIZE);
    }
    if (r == 0) {
        key.id |= TH_KEY_DOMAIN_BIT;
        *ret_key = key;
    }
    th_key_wipe(&key);
    return r;
}

/* Nettle 4 knows the digest's length by itself and takes one argument less. */
#if NETTLE_VERSION_MAJOR >= 4
#define cmac_digest(algorithm, context, mac) cmac_##algorithm##_digest(context, mac)
#else
#define cmac_digest(algorithm, context, mac) cmac_##algorithm##_digest(context, TH_MAC_SIZE, mac)
#endif

static void mac_aes128(const uint8_t *key, const void *bytes, size_t size, uint8_t *mac) {
    struct cmac_aes128_ctx context;

    cmac_aes128_set_key(&context, key);
    cmac_aes128_update(&context, size, bytes);
    cmac_digest(aes128, &context, mac);
    explicit_bzero(&context, sizeof(context));
}

static void mac_aes256(const uint8_t *key, const void *bytes, size_t size, uint8_t *mac) {
    struct cmac_aes256_ctx context;

    cmac_aes256_set_key(&context, key);
    cmac_aes256_update(&context, size, bytes);
    cmac_digest(aes256, &context, mac);
    explicit_bzero(&context, sizeof(context));
}

void th_key_mac(const struct th_key *key, const void *bytes, size_t size,
                uint8_t ret_mac[TH_MAC_SIZE]) {
    if (key->type == TH_KEY_AES256) {
        mac_aes256(key->bytes, bytes, size, ret_mac);
    } else {
        mac_aes128(key->bytes, bytes, size, ret_mac);
    }
}

bool th_key_mac_ok(const struct th_key *key, const void *bytes, size_t size,
                   const uint8_t mac[TH_MAC_SIZE]) {
    uint8_t right[TH_MAC_SIZE];
    bool ok;

    th_key_mac(key, bytes, size, right);
    ok = memeql_sec(right, mac, sizeof(right)) != 0;
    explicit_bzero(right, sizeof(right));
    return ok;
}

void th_key_wipe(struct th_key *key) {
    explicit_bzero(key, sizeof(*key));
}
