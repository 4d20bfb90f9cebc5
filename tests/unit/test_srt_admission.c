#include "ingest/srt_admission.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "common/base/address.h"
#include "ingest/address_counts.h"
#include "ingest/live_names.h"

static struct live_names *live;
static struct address_counts *addresses; /* two each */

static int set_up(void **state) {
    (void)state;
    live = live_names_create();
    addresses = address_counts_create(2);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    live_names_destroy(live);
    address_counts_destroy(addresses);
    return 0;
}

static int judge(const struct srt_admission *rules, const char *text, int64_t now_us) {
    struct srt_stream_id id;
    return srt_refusal_code(srt_admission_judge(rules, "192.0.2.1", text, strlen(text), now_us, &id));
}

static void codes_are_the_standards(void **state) {
    (void)state;
    struct srt_admission rules = {.live = live, .addresses = addresses, .silent_us = 100};
    assert_int_equal(judge(&rules, "live/show", 0), 0);
    assert_int_equal(judge(&rules, "live", 0), 1400);
    assert_int_equal(judge(&rules, "#!::r=live/show", 0), 1405);
    assert_int_equal(judge(&rules, "#!::r=live/show,m=publish,t=file", 0), 1415);
}

static void a_key_must_be_there_and_right(void **state) {
    (void)state;
    char *keys[] = {"live/*:secret", "other/one:else"};
    struct srt_admission rules = {.live = live, .addresses = addresses, .publish_keys = keys, .publish_key_count = 2};
    assert_int_equal(judge(&rules, "live/show", 0), 1401);
    assert_int_equal(judge(&rules, "live/show?key=wrong", 0), 1403);
    assert_int_equal(judge(&rules, "other/one?key=secret", 0), 1403);
    assert_int_equal(judge(&rules, "live/show?key=secret", 0), 0);
    assert_int_equal(judge(&rules, "#!::r=live/show,m=publish,u=secret", 0), 0);
}

static void a_name_is_busy_until_its_holder_is_silent(void **state) {
    (void)state;
    struct srt_admission rules = {.live = live, .addresses = addresses, .silent_us = 100};
    static const char one, other;
    live_names_hold(live, "live/show", &one, 1000);
    assert_int_equal(judge(&rules, "live/show", 1050), 1409);
    assert_int_equal(judge(&rules, "live/other", 1050), 0);
    assert_int_equal(judge(&rules, "live/show", 1100), 0);
    live_names_hold(live, "live/show", &other, 1100); /* takes over */
    live_names_release(live, "live/show", &one);
    assert_int_equal(judge(&rules, "live/show", 1150), 1409);
    live_names_release(live, "live/show", &other);
    assert_int_equal(judge(&rules, "live/show", 1150), 0);
}

/* Neither does a push that joins the stream need its name, nor may it do without its key. */
static void a_push_that_joins_a_stream_is_let_in(void **state) {
    (void)state;
    static const char one;
    char *keys[] = {"live/show:secret"}, *suffixes[] = {"_low"};
    struct srt_admission rules = {.live = live,
                                  .addresses = addresses,
                                  .silent_us = 100,
                                  .publish_keys = keys,
                                  .publish_key_count = 1,
                                  .rung_suffixes = suffixes,
                                  .rung_suffix_count = 1};
    live_names_hold(live, "live/show", &one, 1000);
    assert_int_equal(judge(&rules, "live/show?key=secret", 1050), 1409);
    assert_int_equal(judge(&rules, "live/show?key=secret&rung=low", 1050), 0);
    assert_int_equal(judge(&rules, "#!::r=live/show,m=publish,u=secret,audio=de", 1050), 0);
    assert_int_equal(judge(&rules, "live/show_low?key=secret", 1050), 0);
    struct srt_stream_id id;
    assert_int_equal(srt_admission_judge(&rules, "", "live/show_low?key=secret", 24, 1050, &id), SRT_ADMITTED);
    assert_string_equal(id.stream, "live/show");
    assert_string_equal(id.name, "show");
    assert_string_equal(id.join.label, "low");
    assert_int_equal(judge(&rules, "live/show_lower?key=secret", 1050), 1403);
    assert_int_equal(judge(&rules, "live/show_low", 1050), 1401);
    live_names_release(live, "live/show", &one);
}

/* By the key that RTMP's limit has, too: a /64 is one address. */
static void an_address_may_have_so_many(void **state) {
    (void)state;
    struct srt_admission rules = {.live = live, .addresses = addresses, .silent_us = 100};
    static const char *const texts[] = {"[2001:db8::1]:5000", "[2001:db8::2]:5000", "[2001:db8:0:1::1]:5000"};
    char keys[3][ADDRESS_KEY_LEN];
    for (int i = 0; i < 3; i++) {
        struct sockaddr_storage address;
        socklen_t len;
        assert_int_equal(address_parse(texts[i], &address, &len), 0);
        address_key((const struct sockaddr *)&address, keys[i]);
    }
    struct srt_stream_id id;
    assert_true(address_counts_add(addresses, keys[0]));
    assert_int_equal(srt_admission_judge(&rules, keys[1], "live/show", 9, 0, &id), SRT_ADMITTED);
    assert_true(address_counts_add(addresses, keys[1]));
    assert_false(address_counts_add(addresses, keys[1]));
    assert_int_equal(srt_admission_judge(&rules, keys[1], "live/show", 9, 0, &id), SRT_REFUSED_ADDRESS);
    assert_int_equal(srt_refusal_code(SRT_REFUSED_ADDRESS), 1402);
    assert_int_equal(srt_admission_judge(&rules, keys[2], "live/show", 9, 0, &id), SRT_ADMITTED);
    address_counts_remove(addresses, keys[0]);
    assert_int_equal(srt_admission_judge(&rules, keys[1], "live/show", 9, 0, &id), SRT_ADMITTED);
    address_counts_remove(addresses, keys[0]);
    assert_false(address_counts_full(addresses, keys[0]));
}

/* Who has no right to a name isn't told whether it is in use. */
static void a_wrong_key_comes_before_busy(void **state) {
    (void)state;
    char *keys[] = {"secret"};
    struct srt_admission rules = {
        .live = live, .addresses = addresses, .publish_keys = keys, .publish_key_count = 1, .silent_us = 100};
    live_names_hold(live, "live/show", &keys, 1000);
    assert_int_equal(judge(&rules, "live/show?key=wrong", 1050), 1403);
}

static void the_closest_passphrase_counts(void **state) {
    (void)state;
    char *entries[] = {"for-everybody", "live/*:for-live", "live/show:for-the-show", "live/sh*:for-sh", "*:for:any"};
    struct srt_admission rules = {.passphrases = entries, .passphrase_count = 5};
    assert_string_equal(srt_admission_passphrase(&rules, "live/show"), "for-the-show");
    assert_string_equal(srt_admission_passphrase(&rules, "live/shows"), "for-sh");
    assert_string_equal(srt_admission_passphrase(&rules, "live/x"), "for-live");
    assert_string_equal(srt_admission_passphrase(&rules, "other/x"), "for-everybody");
    rules.passphrases = entries + 4;
    rules.passphrase_count = 1;
    assert_string_equal(srt_admission_passphrase(&rules, "other/x"), "for:any");
    rules.passphrases = entries + 2;
    assert_null(srt_admission_passphrase(&rules, "other/x"));
    rules.passphrase_count = 0;
    assert_null(srt_admission_passphrase(&rules, "live/show"));
}

static void every_refusal_has_a_name(void **state) {
    (void)state;
    for (int i = 0; i < SRT_REFUSAL_COUNT; i++)
        assert_non_null(srt_refusal_name((enum srt_refusal)i));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(codes_are_the_standards, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_key_must_be_there_and_right, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_name_is_busy_until_its_holder_is_silent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_push_that_joins_a_stream_is_let_in, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_address_may_have_so_many, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_wrong_key_comes_before_busy, set_up, tear_down),
        cmocka_unit_test(the_closest_passphrase_counts),
        cmocka_unit_test(every_refusal_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
