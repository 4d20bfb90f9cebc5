#include "ingest/cues.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const int64_t now_us = INT64_C(1790000000123456), base_us = INT64_C(1790000000000000);

static struct cues json(const char *text, int rc) {
    struct cues cues;
    assert_int_equal(cues_parse_json(&cues, (const uint8_t *)text, strlen(text), now_us), rc);
    return cues;
}

static struct cues vtt(const char *text, int rc) {
    struct cues cues;
    assert_int_equal(cues_parse_vtt(&cues, (const uint8_t *)text, strlen(text), "de", "Deutsch", base_us), rc);
    return cues;
}

static void json_has_an_object_a_line(void **state) {
    (void)state;
    struct cues cues = json("{\"language\":\"zh-Hans\",\"name\":\"简体\",\"start\":1790000001000,\"end\":1790000003500."
                            "9,\"text\":\"你好\"}\r\n"
                            "\n{\"language\":\"en\",\"end\":2000,\"text\":\"Hello\"}\n{\"language\":\"en\",\"start\":-"
                            "500,\"end\":1,\"text\":\"\"}",
                            0);
    assert_int_equal(cues.count, 3);
    assert_string_equal(cues.items[0].language, "zh-Hans");
    assert_string_equal(cues.items[0].label, "简体");
    assert_string_equal(cues.items[0].text, "你好");
    assert_int_equal(cues.items[0].start_us, INT64_C(1790000001000000));
    assert_int_equal(cues.items[0].end_us, INT64_C(1790000003500000));
    assert_string_equal(cues.items[1].label, "");
    assert_int_equal(cues.items[1].start_us, INT64_C(1790000000123000)); /* now */
    assert_int_equal(cues.items[1].end_us, INT64_C(1790000002123000));
    assert_int_equal(cues.items[2].start_us, INT64_C(1789999999623000));
    cues_finish(&cues);
}

static void json_text_is_plain(void **state) {
    (void)state;
    struct cues cues = json("{\"language\":\"en\",\"end\":1,\"text\":\"\\n\\n<b> & -->\\r\\n\\r\\n\\tnext\\n\\n\"}", 0);
    assert_string_equal(cues.items[0].text, "&lt;b&gt; &amp; --&gt;\nnext");
    cues_finish(&cues);
}

static void json_that_is_wrong_is_refused_by_its_line(void **state) {
    (void)state;
    static const struct {
        const char *line, *why;
    } cases[] = {
        {"nonsense", "JSON object"},
        {"[]", "is an object with"},
        {"{\"language\":\"en\",\"text\":\"x\"}", "is an object with"},
        {"{\"language\":\"en\",\"end\":1}", "is an object with"},
        {"{\"language\":\"en\",\"name\":1,\"end\":1,\"text\":\"x\"}", "is an object with"},
        {"{\"end\":1,\"text\":\"x\"}", "BCP 47"},
        {"{\"language\":\"e\",\"end\":1,\"text\":\"x\"}", "BCP 47"},
        {"{\"language\":\"en\\\"\",\"end\":1,\"text\":\"x\"}", "BCP 47"},
        {"{\"language\":\"en--us\",\"end\":1,\"text\":\"x\"}", "BCP 47"},
        {"{\"language\":\"en-\",\"end\":1,\"text\":\"x\"}", "BCP 47"},
        {"{\"language\":\"en-abcdefghij\",\"end\":1,\"text\":\"x\"}", "BCP 47"},
        {"{\"language\":\"en\",\"name\":\"a\\\"b\",\"end\":1,\"text\":\"x\"}", "without quotes"},
        {"{\"language\":\"en\",\"name\":\"a\\nb\",\"end\":1,\"text\":\"x\"}", "without quotes"},
        {"{\"language\":\"en\",\"name\":\"012345678901234567890123456789012345678901234567\",\"end\":1,\"text\":\"x\"}",
         "without quotes"},
        {"{\"language\":\"en\",\"end\":0,\"text\":\"x\"}", "end after its start"},
        {"{\"language\":\"en\",\"end\":60001,\"text\":\"x\"}", "at most 60 s"},
        {"{\"language\":\"en\",\"end\":\"1\",\"text\":\"x\"}", "milliseconds"},
        {"{\"language\":\"en\",\"end\":1e300,\"text\":\"x\"}", "milliseconds"},
        {"{\"language\":\"en\",\"start\":-1e300,\"end\":1,\"text\":\"x\"}", "milliseconds"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[400];
        snprintf(text, sizeof text, "{\"language\":\"en\",\"end\":1,\"text\":\"fine\"}\n%s\n", cases[i].line);
        struct cues cues = json(text, -EINVAL);
        assert_non_null(strstr(cues.why, cases[i].why));
        assert_int_equal(strncmp(cues.why, "line 2: ", 8), 0);
        cues_finish(&cues);
    }
    struct cues none = json("\n \n", -EINVAL);
    assert_string_equal(none.why, "there is no cue");
    cues_finish(&none);
}

static void there_is_room_for_so_much_and_no_more(void **state) {
    (void)state;
    char text[20000] = "";
    for (int i = 0; i < CUES_MAX; i++)
        strcat(text, "{\"language\":\"en\",\"end\":1,\"text\":\"x\"}\n");
    struct cues cues = json(text, 0);
    cues_finish(&cues);
    cues = json(strcat(text, "{\"language\":\"en\",\"end\":1,\"text\":\"x\"}\n"), -EINVAL);
    assert_non_null(strstr(cues.why, "at most 64 cues"));
    cues_finish(&cues);
    for (int len = CUE_TEXT_MAX; len <= CUE_TEXT_MAX + 1; len++) {
        snprintf(text, sizeof text, "{\"language\":\"en\",\"end\":1,\"text\":\"%0*d\"}", len, 0);
        cues = json(text, len > CUE_TEXT_MAX ? -EINVAL : 0);
        cues_finish(&cues);
        snprintf(text, sizeof text, "WEBVTT\n\n00:00.000 --> 00:01.000\n%0*d\n", len, 0);
        cues = vtt(text, len > CUE_TEXT_MAX ? -EINVAL : 0);
        cues_finish(&cues);
    }
}

static void vtt_cues_keep_markup_and_settings(void **state) {
    (void)state;
    struct cues cues =
        vtt("\xef\xbb\xbfWEBVTT - a title\r\nX-TIMESTAMP-MAP=MPEGTS:0,LOCAL:00:00:00.000\r\n\r\n"
            "NOTE nothing\r\nof importance\r\n\r\nSTYLE\r\n::cue {}\r\n\r\n"
            "intro\r\n00:01.500 --> 00:00:04.000 line:0 align:start\r\n<i>Guten</i>\r\n&amp; Tag\r\n\r\n\r\n"
            "01:00:00.000\t-->\t01:00:01.000 \r\n",
            0);
    assert_int_equal(cues.count, 2);
    assert_string_equal(cues.items[0].language, "de");
    assert_string_equal(cues.items[0].label, "Deutsch");
    assert_string_equal(cues.items[0].text, "<i>Guten</i>\n&amp; Tag");
    assert_string_equal(cues.items[0].settings, "line:0 align:start");
    assert_int_equal(cues.items[0].start_us, base_us + 1500000);
    assert_int_equal(cues.items[0].end_us, base_us + 4000000);
    assert_string_equal(cues.items[1].text, "");
    assert_int_equal(cues.items[1].start_us, base_us + INT64_C(3600000000));
    cues_finish(&cues);
}

static void vtt_that_is_wrong_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"", "begins with WEBVTT"},
        {"00:00.000 --> 00:01.000\nx\n", "begins with WEBVTT"},
        {"WEBVTT\n\nwords\n", "there is no cue"},
        {"WEBVTT\n\n0:00.000 --> 00:01.000\nx\n", "line 3"},
        {"WEBVTT\n\n00:00.00 --> 00:01.000\nx\n", "line 3"},
        {"WEBVTT\n\n00:61.000 --> 01:01.500\nx\n", "line 3"},
        {"WEBVTT\n\n00:60:00.000 --> 01:00:01.000\nx\n", "line 3"},
        {"WEBVTT\n\n00:00.000 --> 00:01.000x\nx\n", "line 3"},
        {"WEBVTT\n\n00:00.000 --> 00:01.000 -->\nx\n", "line 3"},
        {"WEBVTT\n\n00:01.000 --> 00:01.000\nx\n", "end after its start"},
        {"WEBVTT\n\n00:00.000 --> 00:01.000\nx\n00:01.000 --> 00:02.000\ny\n", "line 5: an empty line"},
        {"WEBVTT\n\n00:00.000 --> 00:01.000\n\xff\n", "UTF-8"},
        {"WEBVTT\n\n00:00.000 --> 00:01.000\n\x01\n", "UTF-8"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct cues cues = vtt(cases[i].text, -EINVAL);
        assert_non_null(strstr(cues.why, cases[i].why));
        cues_finish(&cues);
    }
    struct cues cues;
    const uint8_t *good = (const uint8_t *)"WEBVTT\n\n00:00.000 --> 00:01.000\nx\n";
    assert_int_equal(cues_parse_vtt(&cues, good, 35, "", "", base_us), -EINVAL);
    cues_finish(&cues);
    assert_int_equal(cues_parse_vtt(&cues, good, 35, "de", "\xff", base_us), -EINVAL);
    cues_finish(&cues);
    assert_int_equal(cues_parse_vtt(&cues, good, 35, "de", "", -1), -EINVAL);
    cues_finish(&cues);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_has_an_object_a_line),
        cmocka_unit_test(json_text_is_plain),
        cmocka_unit_test(json_that_is_wrong_is_refused_by_its_line),
        cmocka_unit_test(there_is_room_for_so_much_and_no_more),
        cmocka_unit_test(vtt_cues_keep_markup_and_settings),
        cmocka_unit_test(vtt_that_is_wrong_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
