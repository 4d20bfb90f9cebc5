#include "common/http/proxy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *parse(const void *data, size_t len, int taken) {
    static char text[64];
    struct sockaddr_in6 peer = {0};
    char ip[INET6_ADDRSTRLEN];
    assert_int_equal(http_proxy_parse(data, len, &peer), taken);
    if (taken > 0) /* every prefix of it wants more */
        for (size_t n = 0; n < (size_t)taken; n++)
            assert_int_equal(http_proxy_parse(data, n, &peer), 0);
    inet_ntop(AF_INET6, &peer.sin6_addr, ip, sizeof ip);
    snprintf(text, sizeof text, "%s %d", ip, ntohs(peer.sin6_port));
    return text;
}

static void version_1_names_the_client(void **state) {
    (void)state;
    static const char v4[] = "PROXY TCP4 192.0.2.7 198.51.100.1 5121 80\r\nGET /";
    static const char v6[] = "PROXY TCP6 2001:db8::1 2001:db8::2 5122 80\r\n";
    static const char unknown[] = "PROXY UNKNOWN ff 1\r\n";
    assert_string_equal(parse(v4, sizeof v4 - 1, 43), "::ffff:192.0.2.7 5121");
    assert_string_equal(parse(v6, sizeof v6 - 1, sizeof v6 - 1), "2001:db8::1 5122");
    assert_string_equal(parse(unknown, sizeof unknown - 1, sizeof unknown - 1), ":: 0");
}

static void version_2_names_the_client(void **state) {
    (void)state;
    static const uint8_t v4[] = "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f\xc0\0\2\7\xc6\x33\x64\1\x14\1\0\x50\3\0\0";
    static const uint8_t local[] = "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    assert_string_equal(parse(v4, sizeof v4 - 1, 31), "::ffff:192.0.2.7 5121"); /* with a field that we skip */
    assert_string_equal(parse(local, sizeof local - 1, 16), ":: 0");
}

static void what_is_no_header_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"GET / HTTP/1.1\r\n",
                                      "PROXY TCP4 192.0.2.7 198.51.100.1 5121\r\n",
                                      "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
                                      "PROXY TCP4 192.0.2.7 198.51.100.1 5121 80000\r\n",
                                      "PROXY TCP4 192.0.2.7 198.51.100.1 5121 80\n",
                                      "PROXY UDP4 192.0.2.7 198.51.100.1 5121 80\r\n"};
    static const uint8_t huge[] = "\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
                         short_v4[] = "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\2ab";
    char endless[200];
    memset(endless, 'a', sizeof endless);
    memcpy(endless, "PROXY ", 6);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        parse(bad[i], strlen(bad[i]), -EINVAL);
    parse(huge, sizeof huge - 1, -EINVAL);
    parse(short_v4, sizeof short_v4 - 1, -EINVAL);
    parse(endless, sizeof endless, -EINVAL);
}

static const char *forwarded(const char *value) {
    static char text[INET6_ADDRSTRLEN];
    struct address_range trusted[2];
    struct sockaddr_in6 peer;
    assert_int_equal(address_range_parse("10.0.0.0/8", &trusted[0]), 0);
    assert_int_equal(address_range_parse("2001:db8::/32", &trusted[1]), 0);
    if (!http_proxy_forwarded(value, trusted, 2, &peer))
        return "nobody";
    return inet_ntop(AF_INET6, &peer.sin6_addr, text, sizeof text);
}

static void last_address_that_is_not_ours_is_the_client_s(void **state) {
    (void)state;
    assert_string_equal(forwarded("192.0.2.1"), "::ffff:192.0.2.1");
    assert_string_equal(forwarded("203.0.113.9, 192.0.2.1, 10.1.1.1"), "::ffff:192.0.2.1"); /* the first is a claim */
    assert_string_equal(forwarded("192.0.2.1:4711 ,\t[2001:db8::5]:80,10.0.0.1"), "::ffff:192.0.2.1");
    assert_string_equal(forwarded("10.0.0.7"), "::ffff:10.0.0.7");
    assert_string_equal(forwarded("2001:dead::1"), "2001:dead::1");
    assert_string_equal(forwarded("192.0.2.1, unknown"), "nobody");
    assert_string_equal(forwarded(""), "nobody");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_1_names_the_client),
        cmocka_unit_test(version_2_names_the_client),
        cmocka_unit_test(what_is_no_header_is_refused),
        cmocka_unit_test(last_address_that_is_not_ours_is_the_client_s),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
