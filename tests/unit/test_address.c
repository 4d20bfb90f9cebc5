#include "common/base/address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

static const char *key_of(int family, const char *text) {
    static char key[ADDRESS_KEY_LEN];
    struct sockaddr_storage address = {.ss_family = (sa_family_t)family};
    void *ip = family == AF_INET ? (void *)&((struct sockaddr_in *)&address)->sin_addr
                                 : (void *)&((struct sockaddr_in6 *)&address)->sin6_addr;
    assert_int_equal(inet_pton(family, text, ip), 1);
    address_key((const struct sockaddr *)&address, key);
    return key;
}

static void ipv4_is_its_own_key_mapped_too(void **state) {
    (void)state;
    assert_string_equal(key_of(AF_INET, "192.0.2.7"), "192.0.2.7");
    assert_string_equal(key_of(AF_INET6, "::ffff:192.0.2.7"), "192.0.2.7");
}

static void ipv6_is_its_64(void **state) {
    (void)state;
    assert_string_equal(key_of(AF_INET6, "2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    assert_string_equal(key_of(AF_INET6, "2001:db8:1:2:ffff:ffff:ffff:ffff"), "2001:db8:1:2::");
    assert_string_equal(key_of(AF_INET6, "2001:db8:1:3::1"), "2001:db8:1:3::");
    assert_string_equal(key_of(AF_INET6, "ffff:ffff:ffff:ffff:1::"), "ffff:ffff:ffff:ffff::");
}

static bool in(const char *range_text, int family, const char *ip_text) {
    struct address_range range;
    struct sockaddr_storage address = {.ss_family = (sa_family_t)family};
    void *ip = family == AF_INET ? (void *)&((struct sockaddr_in *)&address)->sin_addr
                                 : (void *)&((struct sockaddr_in6 *)&address)->sin6_addr;
    assert_int_equal(address_range_parse(range_text, &range), 0);
    assert_int_equal(inet_pton(family, ip_text, ip), 1);
    return address_in_range((const struct sockaddr *)&address, &range);
}

static void ranges_hold_their_addresses(void **state) {
    (void)state;
    assert_true(in("192.0.2.0/24", AF_INET, "192.0.2.255") && !in("192.0.2.0/24", AF_INET, "192.0.3.0"));
    assert_true(in("192.0.2.64/26", AF_INET6, "::ffff:192.0.2.100") && !in("192.0.2.64/26", AF_INET, "192.0.2.128"));
    assert_true(in("192.0.2.7", AF_INET, "192.0.2.7") && !in("192.0.2.7", AF_INET, "192.0.2.6"));
    assert_true(in("2001:db8::/33", AF_INET6, "2001:db8:7fff::1") && !in("2001:db8::/33", AF_INET6, "2001:db8:8000::"));
    assert_true(in("0.0.0.0/0", AF_INET, "8.8.8.8") && !in("0.0.0.0/0", AF_INET6, "2001:db8::1"));
    assert_true(in("::/0", AF_INET, "8.8.8.8"));
}

static void what_is_no_range_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"",        "/",   "192.0.2.0/33", "192.0.2.1/24",
                                      "::1/129", "a/8", "192.0.2.0/",   "1.2.3.4/8x"};
    struct address_range range;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(address_range_parse(bad[i], &range), -EINVAL);
}

static void addresses_with_ports_are_read_and_written(void **state) {
    (void)state;
    static const char *const texts[][2] = {{"192.0.2.7:5121", "192.0.2.7:5121"},
                                           {"[2001:db8::7]:1", "[2001:db8::7]:1"},
                                           {"[::ffff:192.0.2.7]:80", "192.0.2.7:80"},
                                           {"[::]:0", "[::]:0"}};
    struct sockaddr_storage address;
    socklen_t len;
    char text[ADDRESS_TEXT_LEN];
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_int_equal(address_parse(texts[i][0], &address, &len), 0);
        address_text(&address, text);
        assert_string_equal(text, texts[i][1]);
    }
    assert_int_equal(address_parse("[::1]:8890", &address, &len), 0);
    assert_int_equal(address_port(&address), 8890);
    assert_int_equal(len, sizeof(struct sockaddr_in6));
    static const char *const bad[] = {"",        ":80",    "localhost:80", "192.0.2.7", "192.0.2.7:", "192.0.2.7:65536",
                                      "[::1:80", "::1:80", "[]:80"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(address_parse(bad[i], &address, &len), -EINVAL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ipv4_is_its_own_key_mapped_too),
        cmocka_unit_test(ipv6_is_its_64),
        cmocka_unit_test(addresses_with_ports_are_read_and_written),
        cmocka_unit_test(ranges_hold_their_addresses),
        cmocka_unit_test(what_is_no_range_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
