#include "common/base/language_names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void tags(void **state) {
    static const char *const good[] = {"de", "de-CH", "zh-Hans", "en-a1b2c3d4"};
    static const char *const bad[] = {"",      "e",     "d1", "de-",       "-de",          "de--CH",
                                      "de_CH", "de CH", "dé", "abcdefghi", "en-abcdefgh-1"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(language_tag_ok(good[i], strlen(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(language_tag_ok(bad[i], strlen(bad[i])));
    assert_true(language_tag_ok("de Deutsch", 2));
}

static void labels(void **state) {
    char longest[LABEL_LEN + 1];
    (void)state;
    assert_true(language_label_ok(""));
    assert_true(language_label_ok("简体中文 (HK)"));
    assert_false(language_label_ok("a \"quote\""));
    assert_false(language_label_ok("a\nline"));
    assert_false(language_label_ok("\x7f"));
    memset(longest, 'a', sizeof longest);
    longest[LABEL_LEN] = 0;
    assert_false(language_label_ok(longest));
    longest[LABEL_LEN - 1] = 0;
    assert_true(language_label_ok(longest));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tags),
        cmocka_unit_test(labels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
