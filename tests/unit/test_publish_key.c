#include "common/auth/publish_key.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static bool admits_one(const char *entry, const char *stream, const char *key) {
    char *keys[] = {(char *)entry};
    return publish_key_admits(keys, 1, stream, key);
}

static void no_keys_admit_everybody(void **state) {
    (void)state;
    assert_true(publish_key_admits(NULL, 0, "live/show", NULL));
    assert_true(publish_key_admits(NULL, 0, "live/show", "anything"));
}

static void plain_key_admits_to_any_stream(void **state) {
    (void)state;
    assert_true(admits_one("secret", "live/show", "secret"));
    assert_true(admits_one("secret", "other/name", "secret"));
}

static void wrong_or_missing_key_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"", "secre", "secret ", "secrets", "Secret", "xecret", "secret:"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(admits_one("secret", "live/show", bad[i]));
    assert_false(admits_one("secret", "live/show", NULL));
}

static void named_key_admits_only_to_its_stream(void **state) {
    (void)state;
    assert_true(admits_one("live/show:secret", "live/show", "secret"));
    assert_false(admits_one("live/show:secret", "live/show2", "secret"));
    assert_false(admits_one("live/show:secret", "live/sho", "secret"));
    assert_false(admits_one("live/show:secret", "live/show", "live/show:secret"));
    assert_false(admits_one("live/show:secret", "live/show", "wrong"));
}

static void asterisk_admits_to_names_that_begin_so(void **state) {
    (void)state;
    assert_true(admits_one("live*:secret", "live/show", "secret"));
    assert_true(admits_one("live/sh*:secret", "live/show", "secret"));
    assert_true(admits_one("*:secret", "any/thing", "secret"));
    assert_false(admits_one("live/x*:secret", "live/show", "secret"));
    assert_false(admits_one("live*:secret", "liv", "secret"));
    assert_false(admits_one("li*e/show:secret", "live/show", "secret"));
}

static void any_of_several_keys_will_do(void **state) {
    (void)state;
    char *keys[] = {"first", "live/show:second", "third"};
    assert_true(publish_key_admits(keys, 3, "live/show", "first"));
    assert_true(publish_key_admits(keys, 3, "live/show", "second"));
    assert_true(publish_key_admits(keys, 3, "live/show", "third"));
    assert_false(publish_key_admits(keys, 3, "live/other", "second"));
    assert_false(publish_key_admits(keys, 3, "live/show", "fourth"));
}

static void empty_secret_admits_nobody(void **state) {
    (void)state;
    assert_false(admits_one("", "live/show", ""));
    assert_false(admits_one("live/show:", "live/show", ""));
    assert_false(admits_one("live/show:", "live/show", NULL));
}

static void key_with_colons_needs_a_name(void **state) {
    (void)state;
    assert_true(admits_one("*:a:b", "live/show", "a:b"));
    assert_false(admits_one("a:b", "live/show", "a:b"));
}

static void one_hundred_twenty_eight_bytes_are_the_limit(void **state) {
    (void)state;
    char entry[130], key[130];
    memset(entry, 'k', sizeof entry);
    memset(key, 'k', sizeof key);
    entry[128] = key[128] = 0;
    assert_true(admits_one(entry, "live/show", key));
    key[128] = 'k';
    key[129] = 0;
    assert_false(admits_one(entry, "live/show", key));
    entry[128] = 'k';
    entry[129] = 0;
    assert_false(admits_one(entry, "live/show", key));
    key[128] = 0;
    assert_false(admits_one(entry, "live/show", key));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_keys_admit_everybody),
        cmocka_unit_test(plain_key_admits_to_any_stream),
        cmocka_unit_test(wrong_or_missing_key_is_refused),
        cmocka_unit_test(named_key_admits_only_to_its_stream),
        cmocka_unit_test(asterisk_admits_to_names_that_begin_so),
        cmocka_unit_test(any_of_several_keys_will_do),
        cmocka_unit_test(empty_secret_admits_nobody),
        cmocka_unit_test(key_with_colons_needs_a_name),
        cmocka_unit_test(one_hundred_twenty_eight_bytes_are_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
