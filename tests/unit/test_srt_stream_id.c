#include "ingest/srt_stream_id.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static enum srt_stream_id_result parse(const char *text, struct srt_stream_id *id) {
    memset(id, 0, sizeof *id);
    return srt_stream_id_parse(text, strlen(text), id);
}

static void check(const char *text, const char *stream, const char *key) {
    struct srt_stream_id id;
    assert_int_equal(parse(text, &id), SRT_STREAM_ID_OK);
    assert_string_equal(id.stream, stream);
    assert_string_equal(id.key, key);
    char joined[STREAM_NAME_LEN];
    assert_true(name_join(joined, id.app, id.name));
    assert_string_equal(joined, stream);
}

static void check_all(const char *const *texts, size_t count, enum srt_stream_id_result result) {
    for (size_t i = 0; i < count; i++) {
        struct srt_stream_id id = {.stream = "untouched"};
        if (srt_stream_id_parse(texts[i], strlen(texts[i]), &id) != result)
            fail_msg("\"%s\"", texts[i]);
        assert_string_equal(id.stream, "untouched");
    }
}
#define CHECK_ALL(texts, result) check_all(texts, sizeof(texts) / sizeof *(texts), result)

static void standard_syntax_names_the_stream(void **state) {
    (void)state;
    check("#!::r=live/show,m=publish", "live/show", "");
    check("#!::m=publish,r=live/show", "live/show", "");
    check("#!::m=publish,t=stream,r=live/show,", "live/show", "");
}

static void standard_syntax_takes_the_key_from_session_or_user(void **state) {
    (void)state;
    check("#!::r=live/show,m=publish,u=secret", "live/show", "secret");
    check("#!::r=live/show,m=publish,s=secret", "live/show", "secret");
    check("#!::u=alice,r=live/show,m=publish,s=secret", "live/show", "secret");
    check("#!::u=secret,r=live/show,m=publish,s=", "live/show", "secret");
    check("#!::u=a=b,r=live/show,m=publish", "live/show", "a=b");
    check("#!::u=alice,r=live/show?key=secret,m=publish", "live/show", "secret");
}

static void it_may_join_another(void **state) {
    (void)state;
    static const struct {
        const char *text;
        enum join_kind kind;
        const char *label;
    } good[] = {{"live/show", JOIN_NONE, ""},
                {"live/show?rung=low", JOIN_RUNG, "low"},
                {"live/show?key=a&audio=de-CH&x=1", JOIN_AUDIO, "de-CH"},
                {"#!::r=live/show?rung=v1,m=publish", JOIN_RUNG, "v1"},
                {"#!::r=live/show,m=publish,rung=v1", JOIN_RUNG, "v1"},
                {"#!::audio=fr,r=live/show,m=publish", JOIN_AUDIO, "fr"}};
    static const char *const bad[] = {"live/show?rung=",
                                      "live/show?rung=a/b",
                                      "live/show?audio=d_e",
                                      "live/show?rung=low&audio=de",
                                      "#!::r=live/show,m=publish,rung=v1,audio=de",
                                      "#!::r=live/show?rung=low,m=publish,rung=low",
                                      "#!::r=live/show,m=publish,rung=",
                                      "live/show?audio=twelve-chars",
                                      "live/show?rung=01234567890123456789012345678901"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct srt_stream_id id;
        assert_int_equal(parse(good[i].text, &id), SRT_STREAM_ID_OK);
        assert_int_equal(id.join.kind, good[i].kind);
        assert_string_equal(id.join.label, good[i].label);
        assert_string_equal(id.stream, "live/show");
    }
    CHECK_ALL(bad, SRT_STREAM_ID_BAD);
}

static void unknown_keys_are_passed_over(void **state) {
    (void)state;
    check("#!::h=example.org,r=live/show,x=1,weir_colour=red,m=publish", "live/show", "");
    check("#!::h=a,h=b,r=live/show,m=publish", "live/show", "");
}

static void other_modes_are_told_apart(void **state) {
    (void)state;
    static const char *const texts[] = {
        "#!::r=live/show", "#!::r=live/show,m=request", "#!::r=live/show,m=bidirectional", "#!::r=live/show,m=", "#!::",
        "play/live/show",  "request/live/show",         "read/live/show?key=secret"};
    CHECK_ALL(texts, SRT_STREAM_ID_MODE);
}

static bool backup(const char *text) {
    struct srt_stream_id id;
    assert_int_equal(srt_stream_id_parse(text, strlen(text), &id), SRT_STREAM_ID_OK);
    assert_string_equal(id.stream, "live/show");
    return id.backup;
}

static void backups_say_so_in_every_form(void **state) {
    (void)state;
    assert_true(backup("#!::r=live/show,m=publish,backup=1"));
    assert_true(backup("#!::backup=1,r=live/show?key=secret,m=publish"));
    assert_true(backup("#!::r=live/show?backup=1,m=publish"));
    assert_true(backup("publish/live/show?key=secret&backup=1"));
    assert_false(backup("#!::r=live/show,m=publish,backup=0"));
    assert_false(backup("#!::r=live/show,m=publish"));
    assert_false(backup("live/show?backup=10"));
    assert_false(backup("live/show?backup"));
}

static void files_and_authorization_are_told_apart(void **state) {
    (void)state;
    static const char *const texts[] = {"#!::r=live/show,m=publish,t=file", "#!::t=auth,r=x"};
    CHECK_ALL(texts, SRT_STREAM_ID_TYPE);
}

static void plain_form_with_and_without_the_word(void **state) {
    (void)state;
    check("publish/live/show", "live/show", "");
    check("live/show", "live/show", "");
    check("publish/show", "publish/show", ""); /* an app of that name */
    check("play/show", "play/show", "");
    check("publish/live/show?key=secret", "live/show", "secret");
    check("live/show?x=y&key=a,b:c?d/e&z", "live/show", "a,b:c?d/e");
    check("live/show?", "live/show", "");
    check("live/show?key=", "live/show", "");
}

static void percent_signs_stand_for_themselves(void **state) {
    (void)state;
    check("live/show?key=a%2Cb", "live/show", "a%2Cb");
    check("#!::r=live/show,m=publish,u=a%2Cb", "live/show", "a%2Cb");
    static const char *const texts[] = {"live%2Fshow"};
    CHECK_ALL(texts, SRT_STREAM_ID_BAD);
}

static void what_a_caller_left_encoded_is_decoded(void **state) {
    (void)state;
    check("%23!::r=live/show,m=publish", "live/show", "");
    check("%23!::r%3Dlive%2fshow%2Cm=publish%2Cu=a%25b", "live/show", "a%b");
    static const char *const texts[] = {"%23!::r=live/show,m=publish,u=%",   "%23!::r=live/show,m=publish,u=%2",
                                        "%23!::r=live/show,m=publish,u=%2x", "%23!::r=live/show,m=publish,u=%00",
                                        "%23!::r=live/show,m=publish,u=%0a", "%23!::r=live/sh%20ow,m=publish"};
    CHECK_ALL(texts, SRT_STREAM_ID_BAD);
}

static void what_is_neither_is_bad(void **state) {
    (void)state;
    static const char *const texts[] = {"",
                                        "/",
                                        "show",
                                        "live/",
                                        "/live/show",
                                        "live/show/",
                                        "live//show",
                                        "other/live/show",
                                        "publish/live/show/x",
                                        "publish//show",
                                        "api/show",
                                        "live/sh ow",
                                        "live/sh\now",
                                        "live/..",
                                        "#!:{r=live/show,m=publish}",
                                        "#!::m=publish",
                                        "#!::r=,m=publish",
                                        "#!::r=live/show,m=publish,r=live/other",
                                        "#!::r=live/show,m=publish,u",
                                        "#!::r=live/show,m=publish,=x"};
    CHECK_ALL(texts, SRT_STREAM_ID_BAD);
}

static void lengths_are_bounded(void **state) {
    (void)state;
    char text[SRT_STREAM_ID_MAX + 2];
    struct srt_stream_id id;
    memset(text, 'k', sizeof text - 1);
    text[sizeof text - 1] = 0;
    memcpy(text, "live/show?key=", 14);
    assert_int_equal(parse(text, &id), SRT_STREAM_ID_BAD);
    text[SRT_STREAM_ID_MAX] = 0;
    assert_int_equal(parse(text, &id), SRT_STREAM_ID_OK);
    assert_int_equal(strlen(id.key), SRT_STREAM_ID_MAX - 14);
    memset(text, 'a', SRT_STREAM_ID_MAX);
    text[64] = '/';
    text[64 + 1 + 64] = 0;
    assert_int_equal(parse(text, &id), SRT_STREAM_ID_OK);
    text[64 + 1 + 64] = 'a';
    text[64 + 1 + 65] = 0;
    assert_int_equal(parse(text, &id), SRT_STREAM_ID_BAD);
    memset(text, 'a', SRT_STREAM_ID_MAX); /* one long component */
    text[300] = '/';
    assert_int_equal(parse(text, &id), SRT_STREAM_ID_BAD);
}

static void a_zero_within_is_bad(void **state) {
    (void)state;
    struct srt_stream_id id;
    assert_int_equal(srt_stream_id_parse("live/show\0x", 11, &id), SRT_STREAM_ID_BAD);
    assert_int_equal(srt_stream_id_parse("live/show?key=a\0x", 17, &id), SRT_STREAM_ID_BAD);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(standard_syntax_names_the_stream),
        cmocka_unit_test(standard_syntax_takes_the_key_from_session_or_user),
        cmocka_unit_test(it_may_join_another),
        cmocka_unit_test(unknown_keys_are_passed_over),
        cmocka_unit_test(other_modes_are_told_apart),
        cmocka_unit_test(backups_say_so_in_every_form),
        cmocka_unit_test(files_and_authorization_are_told_apart),
        cmocka_unit_test(plain_form_with_and_without_the_word),
        cmocka_unit_test(percent_signs_stand_for_themselves),
        cmocka_unit_test(what_a_caller_left_encoded_is_decoded),
        cmocka_unit_test(what_is_neither_is_bad),
        cmocka_unit_test(lengths_are_bounded),
        cmocka_unit_test(a_zero_within_is_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
