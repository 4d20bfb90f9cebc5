#include "common/base/address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ipv4_is_its_own_key_mapped_too),
        cmocka_unit_test(ipv6_is_its_64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
