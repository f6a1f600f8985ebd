/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tests of keys: AES-CMAC against the published vectors (RFC 4493; NIST SP 800-38B for AES-256),
 * and key files line by line, each refusal with a sentence that names the place and never the key.
 */
#include "timehandoff/key.h"

#include "timehandoff/base.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- vectors ---- */

static const char message_text[] =
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710";

static const struct {
    enum th_key_type type;
    const char *key;
    size_t length;
    const char *mac;
} vectors[] = {
    {TH_KEY_AES128, "2b7e151628aed2a6abf7158809cf4f3c", 0, "bb1d6929e95937287fa37d129b756746"},
    {TH_KEY_AES128, "2b7e151628aed2a6abf7158809cf4f3c", 16, "070a16b46b4d4144f79bdd9dd04a287c"},
    {TH_KEY_AES128, "2b7e151628aed2a6abf7158809cf4f3c", 40, "dfa66747de9ae63030ca32611497c827"},
    {TH_KEY_AES128, "2b7e151628aed2a6abf7158809cf4f3c", 64, "51f0bebf7e3b9d92fc49741779363cfe"},
    {TH_KEY_AES256, "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4", 0,
     "028962f61b7bf89efc6b551f4667d983"},
    {TH_KEY_AES256, "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4", 16,
     "28a7023f452e8f82bd4bf28d8c37c35c"},
    {TH_KEY_AES256, "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4", 40,
     "aaf3d8f1de5640c232f5b169b9c911e6"},
    {TH_KEY_AES256, "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4", 64,
     "e1992190549f6ed5696a2c056c315410"},
};

static void y_published_vectors(void **state) {
    uint8_t message[64];

    (void)state;
    assert_int_equal(th_hex_decode(message_text, message, sizeof(message)), 0);
    for (size_t i = 0; i < TH_ELEMENTS(vectors); i++) {
        struct th_key key = {.id = 1, .type = vectors[i].type};
        uint8_t mac[TH_MAC_SIZE];
        char text[2 * TH_MAC_SIZE + 1];

        assert_int_equal(th_hex_decode(vectors[i].key, key.bytes, th_key_size(&key)), 0);
        th_key_mac(&key, message, vectors[i].length, mac);
        assert_string_equal(th_hex_encode(mac, sizeof(mac), text), vectors[i].mac);
        assert_true(th_key_mac_ok(&key, message, vectors[i].length, mac));
        for (size_t k = 0; k < sizeof(mac); k++) {
            mac[k] ^= 0x80;
            assert_false(th_key_mac_ok(&key, message, vectors[i].length, mac));
            mac[k] ^= 0x80;
        }
    }
}

static void y_random_keys_differ_and_belong_to_domains(void **state) {
    struct th_key a, b;
    static const uint8_t none[TH_KEY_MAX_SIZE];

    (void)state;
    assert_int_equal(th_key_random(&a), 0);
    assert_int_equal(th_key_random(&b), 0);
    assert_true(a.id & TH_KEY_DOMAIN_BIT);
    assert_true(b.id & TH_KEY_DOMAIN_BIT);
    assert_int_equal(a.type, TH_KEY_AES128);
    assert_int_equal(th_key_size(&a), 16);
    assert_memory_not_equal(a.bytes, b.bytes, 16);
    assert_memory_not_equal(a.bytes, none, 16);
    th_key_wipe(&a);
    assert_int_equal(a.id, 0);
    assert_memory_equal(a.bytes, none, sizeof(none));
}

/* ---- key files ---- */

#define ASCII_16 "0123456789abcdeF"
#define HEX_16 "HEX:2b7e151628aed2a6abf7158809cf4f3c"
#define HEX_32 "HEX:603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"

struct folder {
    char path[32];
    char file[64];
};

static int make_folder(void **state) {
    struct folder *folder = calloc(1, sizeof(*folder));

    assert_non_null(folder);
    strcpy(folder->path, "/tmp/th-keys-XXXXXX");
    assert_non_null(mkdtemp(folder->path));
    (void)snprintf(folder->file, sizeof(folder->file), "%s/keys", folder->path);
    *state = folder;
    return 0;
}

static int remove_folder(void **state) {
    struct folder *folder = *state;

    (void)unlink(folder->file);
    (void)rmdir(folder->path);
    free(folder);
    return 0;
}

static void write_file(const struct folder *folder, const void *text, size_t size, mode_t mode) {
    th_auto_fclose FILE *file = NULL;

    (void)unlink(folder->file);
    file = fopen(folder->file, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, size, file), size);
    assert_int_equal(fchmod(fileno(file), mode), 0);
}

static int load(const struct folder *folder, const char *text, struct th_keyring **ret_ring,
                char *error) {
    write_file(folder, text, strlen(text), 0640);
    return th_keyring_load(folder->file, ret_ring, error, 256);
}

static void y_a_file_with_everything(void **state) {
    static const char text[] = "# comment\n! another\n; third\n% fourth\n\n   \n"
                               "20 AES256 " HEX_32 "\r\n"
                               "\t3  AES128\t" HEX_16 "  \n"
                               "5 AES128 " ASCII_16 "\n"
                               "2147483647 AES128 ASCII:" ASCII_16;
    struct th_keyring *ring = NULL;
    char error[256] = "untouched";
    const struct th_key *key;

    assert_int_equal(load(*state, text, &ring, error), 0);
    assert_string_equal(error, "untouched");
    assert_int_equal(th_keyring_size(ring), 4);
    assert_int_equal(th_keyring_first(ring)->id, 3);
    key = th_keyring_find(ring, 20);
    assert_int_equal(key->type, TH_KEY_AES256);
    assert_int_equal(key->bytes[31], 0xf4);
    key = th_keyring_find(ring, 5);
    assert_int_equal(key->type, TH_KEY_AES128);
    assert_memory_equal(key->bytes, ASCII_16, 16);
    assert_memory_equal(th_keyring_find(ring, 2147483647)->bytes, ASCII_16, 16);
    assert_null(th_keyring_find(ring, 4));
    assert_null(th_keyring_find(ring, 0));
    assert_null(th_keyring_free(ring));
}

static void y_no_file_and_no_keys_give_an_empty_ring(void **state) {
    const struct folder *folder = *state;
    struct th_keyring *ring = NULL;
    char error[256] = "";

    (void)unlink(folder->file);
    assert_int_equal(th_keyring_load(folder->file, &ring, error, sizeof(error)), 0);
    assert_int_equal(th_keyring_size(ring), 0);
    assert_null(th_keyring_first(ring));
    assert_null(th_keyring_find(ring, 1));
    ring = th_keyring_free(ring);
    assert_int_equal(load(folder, "", &ring, error), 0);
    assert_int_equal(th_keyring_size(ring), 0);
    (void)th_keyring_free(ring);
    assert_int_equal(th_keyring_size(NULL), 0);
    assert_null(th_keyring_find(NULL, 1));
    assert_null(th_keyring_first(NULL));
    assert_null(th_keyring_free(NULL));
}

static void n_lines(void **state) {
    static const struct {
        const char *line, *says;
    } cases[] = {
        {"0 AES128 " ASCII_16, "range"},
        {"2147483648 AES128 " ASCII_16, "range"},
        {"4294967295 AES128 " ASCII_16, "range"},
        {"99999999999999999999999 AES128 " ASCII_16, "1 to 2147483647"},
        {"-1 AES128 " ASCII_16, "key id"},
        {"x AES128 " ASCII_16, "key id"},
        {ASCII_16 "g", "key id"},
        {"1", "three words"},
        {"1 AES128", "MD5"},
        {"1 " ASCII_16, "MD5"},
        {"1 AES128 " ASCII_16 " more", "three words"},
        {"1 MD5 " ASCII_16, "AES128 or AES256"},
        {"1 SHA1 " ASCII_16, "AES128 or AES256"},
        {"1 aes128 " ASCII_16, "AES128 or AES256"},
        {"1 AES128 " ASCII_16 "0", "exactly 16 characters"},
        {"1 AES128 012345678", "exactly 16 characters"},
        {"1 AES256 " ASCII_16, "exactly 32 characters"},
        {"1 AES128 HEX:2b7e151628aed2a6abf7158809cf4f3", "exactly 32 hexadecimal"},
        {"1 AES128 HEX:2b7e151628aed2a6abf7158809cf4f3g", "exactly 32 hexadecimal"},
        {"1 AES256 " HEX_16, "exactly 64 hexadecimal"},
        {"9 AES128 " HEX_16, "twice"},
    };
    const struct folder *folder = *state;

    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        char text[512], place[96], error[256] = "";
        struct th_keyring *ring = NULL;

        (void)snprintf(text, sizeof(text), "# first\n9 AES128 " HEX_16 "\n%s\n", cases[i].line);
        assert_int_equal(load(folder, text, &ring, error), -EBADMSG);
        assert_null(ring);
        (void)snprintf(place, sizeof(place), "%s:3: ", folder->file);
        if (strncmp(error, place, strlen(place)) != 0 || !strstr(error, cases[i].says)) {
            fail_msg("'%s' says: %s", cases[i].line, error);
        }
        assert_null(strstr(error, "0123456789"));
        assert_null(strstr(error, "2b7e15"));
        assert_null(strchr(error, '\n'));
    }
}

static void n_files_that_others_can_touch(void **state) {
    static const mode_t modes[] = {0644, 0641, 0642, 0666, 0604};
    static const char text[] = "1 AES128 " ASCII_16 "\n";
    const struct folder *folder = *state;

    for (size_t i = 0; i < TH_ELEMENTS(modes); i++) {
        struct th_keyring *ring = NULL;
        char error[256] = "";

        write_file(folder, text, strlen(text), modes[i]);
        assert_int_equal(th_keyring_load(folder->file, &ring, error, sizeof(error)), -EACCES);
        assert_null(ring);
        assert_non_null(strstr(error, folder->file));
        assert_non_null(strstr(error, "chmod o= "));
    }
}

static void n_what_is_no_file(void **state) {
    const struct folder *folder = *state;
    struct th_keyring *ring = NULL;
    char error[256] = "";

    assert_int_equal(th_keyring_load(folder->path, &ring, error, sizeof(error)), -EBADMSG);
    assert_non_null(strstr(error, "regular"));
    (void)unlink(folder->file);
    assert_int_equal(symlink("/etc/hostname", folder->file), 0);
    assert_int_equal(th_keyring_load(folder->file, &ring, error, sizeof(error)), -ELOOP);
    assert_non_null(strstr(error, "symbolic link"));
    (void)unlink(folder->file);
    /* Would block for ever if it were opened as a file is. */
    assert_int_equal(mkfifo(folder->file, 0600), 0);
    assert_int_equal(th_keyring_load(folder->file, &ring, error, sizeof(error)), -EBADMSG);
    (void)unlink(folder->file);
    assert_null(ring);
}

static void n_contents_that_are_no_key_file(void **state) {
    static const char with_nul[] = "1 AES128 " ASCII_16 "\n\0 2 AES128 " ASCII_16;
    const struct folder *folder = *state;
    struct th_keyring *ring = NULL;
    char error[256] = "";
    size_t big = 300000;
    th_auto_free char *text = malloc(big);

    write_file(folder, with_nul, sizeof(with_nul), 0600);
    assert_int_equal(th_keyring_load(folder->file, &ring, error, sizeof(error)), -EBADMSG);
    assert_non_null(strstr(error, "NUL"));
    assert_non_null(text);
    memset(text, '#', big);
    write_file(folder, text, big, 0600);
    assert_int_equal(th_keyring_load(folder->file, &ring, error, sizeof(error)), -EBADMSG);
    assert_non_null(strstr(error, "bytes"));
    assert_null(ring);
}

static void y_a_short_error_buffer_is_enough(void **state) {
    struct th_keyring *ring = NULL;
    char error[5] = "";

    write_file(*state, "x", 1, 0600);
    assert_int_equal(th_keyring_load(((struct folder *)*state)->file, &ring, error, sizeof(error)),
                     -EBADMSG);
    assert_int_equal(strlen(error), 4);
    assert_int_equal(th_keyring_load(((struct folder *)*state)->file, &ring, NULL, 0), -EBADMSG);
}

int main(void) {
    const struct CMUnitTest keys[] = {
        cmocka_unit_test(y_published_vectors),
        cmocka_unit_test(y_random_keys_differ_and_belong_to_domains),
    };
    const struct CMUnitTest files[] = {
        cmocka_unit_test(y_a_file_with_everything),
        cmocka_unit_test(y_no_file_and_no_keys_give_an_empty_ring),
        cmocka_unit_test(n_lines),
        cmocka_unit_test(n_files_that_others_can_touch),
        cmocka_unit_test(n_what_is_no_file),
        cmocka_unit_test(n_contents_that_are_no_key_file),
        cmocka_unit_test(y_a_short_error_buffer_is_enough),
    };

    return cmocka_run_group_tests_name("keys", keys, NULL, NULL) +
           cmocka_run_group_tests_name("key files", files, make_folder, remove_folder);
}
