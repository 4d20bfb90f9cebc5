#include "common/base/base64.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

/* RFC 4648 §10. */
static const char *const pairs[][2] = {{"", ""},
                                       {"f", "Zg=="},
                                       {"fo", "Zm8="},
                                       {"foo", "Zm9v"},
                                       {"foob", "Zm9vYg=="},
                                       {"fooba", "Zm9vYmE="},
                                       {"foobar", "Zm9vYmFy"}};

static void examples_go_both_ways(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char text[32];
        uint8_t bytes[6];
        size_t len = strlen(pairs[i][0]);
        base64_encode(text, pairs[i][0], len);
        assert_string_equal(text, pairs[i][1]);
        assert_int_equal(base64_len(len), strlen(text));
        assert_int_equal(base64_decode(bytes, len, text, strlen(text)), (int)len);
        assert_memory_equal(bytes, pairs[i][0], len);
    }
}

static void long_ones_come_back(void **state) {
    uint8_t bytes[5000], again[5000];
    char text[7000];
    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 31 + i / 256);
    for (size_t len = 4900; len <= sizeof bytes; len++) {
        base64_encode(text, bytes, len);
        assert_int_equal(base64_decode(again, len, text, strlen(text)), (int)len);
        assert_memory_equal(again, bytes, len);
    }
}

static void anything_else_is_refused(void **state) {
    static const char *const bad[] = {"Z",    "Zg",   "Zg=",  "Zm9v\n",   " Zm9v", "Zm 9", "Zm9v====",
                                      "====", "Z===", "Z=g=", "Zg==Zg==", "Zm9-",  "Zm9_", "Zm9v Zm9v"};
    uint8_t bytes[32];
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (base64_decode(bytes, sizeof bytes, bad[i], strlen(bad[i])) >= 0)
            fail_msg("was taken: %s", bad[i]);
    assert_int_equal(base64_decode(bytes, 2, "Zm9v", 4), -1); /* has three */
    assert_int_equal(base64_decode(bytes, 3, "Zm9v", 4), 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(examples_go_both_ways),
        cmocka_unit_test(long_ones_come_back),
        cmocka_unit_test(anything_else_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
