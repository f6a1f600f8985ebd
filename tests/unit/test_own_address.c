/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tests of knowing this host's own addresses. Every machine has the loopback ones, and none has
 * those that are set aside for documents; what else is here is compared with itself.
 */
#include "fleet/own_address.h"

#include "timehandoff/probe.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct sockaddr_storage address(const char *text) {
    struct sockaddr_storage address;

    assert_int_equal(th_address_parse(text, 9, &address), 0);
    return address;
}

static void y_and_n_own_addresses(void **state) {
    static const struct {
        const char *text;
        bool own;
    } cases[] = {
        {"127.0.0.1", true},     {"127.0.0.1:99", true},      {"127.0.0.2", false},
        {"198.51.100.7", false}, {"[2001:db8::7]:10", false}, {"0.0.0.0", false},
    };

    th_auto_own_interfaces struct ifaddrs *interfaces = th_own_interfaces();

    (void)state;
    assert_non_null(interfaces);
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        struct sockaddr_storage asked = address(cases[i].text);

        if (th_own_address(&asked) != cases[i].own ||
            th_own_address_among(interfaces, &asked) != cases[i].own) {
            fail_msg("%s is own: %d", cases[i].text, !cases[i].own);
        }
        assert_false(th_own_address_among(NULL, &asked));
    }
}

static void y_what_is_announced_is_own(void **state) {
    struct sockaddr_storage own[16];
    size_t n = th_own_addresses(4711, own, TH_ELEMENTS(own));

    (void)state;
    for (size_t i = 0; i < n; i++) {
        char text[TH_ADDRESS_TEXT_SIZE];

        assert_true(th_own_address(&own[i]));
        th_address_format(&own[i], text);
        assert_non_null(strstr(text, ":4711"));
        assert_null(strstr(text, "127."));
    }
}

static void y_own_networks_hold_own_addresses(void **state) {
    struct sockaddr_storage own[16];
    struct th_network networks[16];
    size_t n = th_own_addresses(1, own, TH_ELEMENTS(own));
    size_t n_networks = th_own_networks(networks, TH_ELEMENTS(networks));

    (void)state;
    assert_int_equal(n == 0, n_networks == 0);
    for (size_t i = 0; i < n; i++) {
        bool held = false;

        for (size_t j = 0; j < n_networks; j++) {
            held |= th_network_holds(&networks[j], (struct sockaddr *)&own[i]);
        }
        assert_true(held);
    }
}

static void y_the_network_of_one_address(void **state) {
    static const char *const texts[] = {"192.0.2.1", "[2001:db8::1]:1"};

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(texts); i++) {
        struct sockaddr_storage one = address(texts[i]), other = address(texts[1 - i]);
        struct th_network network = th_network_of(&one);

        assert_true(th_network_holds(&network, (struct sockaddr *)&one));
        assert_false(th_network_holds(&network, (struct sockaddr *)&other));
        assert_int_equal(network.prefix, 128);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(y_and_n_own_addresses),
        cmocka_unit_test(y_what_is_announced_is_own),
        cmocka_unit_test(y_own_networks_hold_own_addresses),
        cmocka_unit_test(y_the_network_of_one_address),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
