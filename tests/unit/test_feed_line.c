#include "common/media/feed_line.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/base/buf.h"

/* Each as docs/feed.md has it: what is read from it is written as it was. */
static const char *const lines[] = {
    "{\"hello\":{\"version\":1,\"node\":\"origin-a\"}}",
    "{\"path\":[\"relay-1\",\"origin-a\"]}",
    "{\"open\":{\"epoch\":1790000000123456,\"target_duration_ms\":2000,\"part_target_us\":213334,\"tracks\":["
    "{\"name\":\"v0\",\"kind\":\"video\",\"track_id\":1,\"timescale\":90000,\"codecs\":\"avc1.4d401f\",\"init_"
    "version\":1,"
    "\"init\":\"Vg==\",\"width\":1280,\"height\":720,\"frame_rate_milli\":30000},"
    "{\"name\":\"a0\",\"kind\":\"audio\",\"track_id\":101,\"timescale\":48000,\"codecs\":\"mp4a.40.2\",\"init_"
    "version\":1,"
    "\"init\":\"QXVkaW8=\",\"language\":\"en\",\"sample_rate\":48000,\"channels\":2},"
    "{\"name\":\"s0\",\"kind\":\"text\",\"track_id\":201,\"timescale\":90000,\"codecs\":\"wvtt\",\"init_version\":1,"
    "\"init\":\"Vg==\",\"language\":\"de\",\"label\":\"Deutsch\"}]}}",
    "{\"segment\":{\"epoch\":1790000000123456,\"msn\":109000000}}",
    "{\"part\":{\"epoch\":1790000000123456,\"number\":2180000000,\"msn\":109000000,\"index\":0,\"independent\":true,"
    "\"last\":false,\"discontinuity\":true,\"discontinuity_sequence\":3,\"start_us\":1790000000000000,"
    "\"wall_us\":1790000000050000,\"tracks\":[[6,18000,75000,true],[2,9216,3400,false]]}}",
    "{\"state\":{\"epoch\":1790000000123456,\"state\":\"away\"}}",
    "{\"beat\":{}}",
    "{\"drain\":{}}",
    "{\"touch\":{}}",
    "{\"take\":{}}",
};

static void lines_are_written_as_they_were_read(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct feed_line line;
        struct buf out;
        buf_init(&out, 65536);
        assert_int_equal(feed_line_parse(lines[i], strlen(lines[i]), "live/show", &line), 0);
        assert_int_equal(line.kind, FEED_LINE_HELLO + i);
        assert_int_equal(feed_line_write(&out, &line), 0);
        assert_int_equal(buf_len(&out), strlen(lines[i]) + 1);
        assert_memory_equal(buf_head(&out), lines[i], strlen(lines[i]));
        feed_line_finish(&line);
        buf_finish(&out);
    }
}

static void open_line_carries_tracks_and_their_inits(void **state) {
    struct feed_line line;
    (void)state;
    assert_int_equal(feed_line_parse(lines[2], strlen(lines[2]), "live/show", &line), 0);
    const struct record_open *open = &line.record->open;
    assert_int_equal(line.record->epoch, 1790000000123456);
    assert_string_equal(line.record->stream, "live/show");
    assert_int_equal(open->track_count, 3);
    assert_int_equal(open->tracks[2].kind, TRACK_TEXT);
    assert_string_equal(open->tracks[2].label, "Deutsch");
    assert_int_equal(open->tracks[0].kind, TRACK_VIDEO);
    assert_int_equal(open->tracks[0].width, 1280);
    assert_string_equal(open->tracks[0].language, "");
    assert_string_equal(open->tracks[1].language, "en");
    assert_int_equal(open->tracks[1].init->len, 5);
    assert_memory_equal(open->tracks[1].init->data, "Audio", 5);
    feed_line_finish(&line);
}

static void a_late_track_is_told(void **state) {
    static const char text[] =
        "{\"open\":{\"epoch\":1,\"target_duration_ms\":2000,\"part_target_us\":213334,\"tracks\":["
        "{\"name\":\"v0\",\"kind\":\"video\",\"track_id\":1,\"timescale\":90000,\"codecs\":\"avc1.4d401f\",\"init_"
        "version\":1,\"init\":\"Vg==\",\"width\":1280,\"height\":720,\"frame_rate_milli\":30000},"
        "{\"name\":\"v1\",\"kind\":\"video\",\"track_id\":2,\"timescale\":90000,\"codecs\":\"avc1.42c01e\",\"init_"
        "version\":1,\"init\":\"Vg==\",\"late\":true,\"on_demand\":true,\"range\":\"HLG\",\"peak_bps\":480000,"
        "\"width\":640,\"height\":"
        "360,\"frame_rate_milli\":30000}]}}";
    struct feed_line line;
    struct buf out;
    (void)state;
    buf_init(&out, 65536);
    assert_int_equal(feed_line_parse(text, strlen(text), "live/show", &line), 0);
    assert_int_equal(line.record->open.late, 2);
    assert_false(line.record->open.tracks[0].on_demand);
    assert_true(line.record->open.tracks[1].on_demand);
    assert_int_equal(line.record->open.tracks[0].range, VIDEO_SDR);
    assert_int_equal(line.record->open.tracks[1].range, VIDEO_HLG);
    assert_int_equal(line.record->open.tracks[1].peak_bps, 480000);
    assert_int_equal(feed_line_write(&out, &line), 0);
    assert_memory_equal(buf_head(&out), text, strlen(text));
    feed_line_finish(&line);
    buf_finish(&out);
}

static void sound_of_a_low_rate_is_told(void **state) {
    char text[2048];
    const char *at = strstr(lines[2], "\"language\":\"en\"");
    struct feed_line line;
    struct buf out;
    (void)state;
    snprintf(text, sizeof text, "%.*s\"low\":true,%s", (int)(at - lines[2]), lines[2], strstr(at, "\"sample_rate"));
    buf_init(&out, 65536);
    assert_int_equal(feed_line_parse(text, strlen(text), "live/show", &line), 0);
    assert_false(line.record->open.tracks[0].low);
    assert_true(line.record->open.tracks[1].low);
    assert_int_equal(feed_line_write(&out, &line), 0);
    assert_memory_equal(buf_head(&out), text, strlen(text));
    feed_line_finish(&line);
    buf_finish(&out);
}

/* As nodes say it that know of one picture only. */
static void part_may_be_silent_about_its_tracks(void **state) {
    struct feed_line line;
    char text[] = "{\"part\":{\"epoch\":1,\"number\":2,\"msn\":3,\"index\":0,\"independent\":true,\"last\":false,"
                  "\"discontinuity\":false,\"discontinuity_sequence\":0,\"start_us\":5,\"wall_us\":6,"
                  "\"tracks\":[[6,18000,75000],[0,0,0]]}}";
    (void)state;
    assert_int_equal(feed_line_parse(text, strlen(text), "live/show", &line), 0);
    assert_true(line.record->part.tracks[0].independent);
    assert_false(line.record->part.tracks[1].independent);
    assert_int_equal(line.record->part.tracks[0].bytes, 75000);
    feed_line_finish(&line);
}

static void unknown_events_are_passed_over(void **state) {
    struct feed_line line;
    const char text[] = "{\"weather\":{\"rain\":true}}";
    (void)state;
    assert_int_equal(feed_line_parse(text, strlen(text), "live/show", &line), 0);
    assert_int_equal(line.kind, FEED_LINE_UNKNOWN);
}

/* The line with one piece of it replaced. */
static void assert_bad(int which, const char *what, const char *by) {
    char text[2048];
    const char *at = strstr(lines[which], what);
    struct feed_line line;
    assert_non_null(at);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - lines[which]), lines[which], by, at + strlen(what));
    if (feed_line_parse(text, strlen(text), "live/show", &line) != -EBADMSG)
        fail_msg("was taken: %s", text);
}

static void impossible_lines_are_refused(void **state) {
    (void)state;
    assert_bad(6, "{\"beat\":{}}", "");
    assert_bad(6, "{\"beat\":{}}", "[1]");
    assert_bad(6, "{\"beat\":{}}", "{\"beat\":{}");
    assert_bad(0, "\"origin-a\"", "7");
    assert_bad(0, "origin-a", "a name that is longer than any that a node may have, as it is 70 letters..");
    assert_bad(1, "[\"relay-1\"", "[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\"");
    assert_bad(2, "\"v0\"", "\"w0\"");
    assert_bad(2, "\"a0\"", "\"v0\"");
    assert_bad(2, "\"track_id\":101", "\"track_id\":1");
    assert_bad(2, "\"width\"", "\"peak_bps\":-1,\"width\"");
    assert_bad(2, "\"timescale\":90000", "\"timescale\":0");
    assert_bad(2, "avc1.4d401f", "avc1.\\\"4d401f");
    assert_bad(2, "Vg==", "V");
    assert_bad(2, "Vg==", "!!!!");
    assert_bad(2, "\"init\":\"Vg==\",", "");
    assert_bad(2, "\"target_duration_ms\":2000", "\"target_duration_ms\":0");
    assert_bad(3, "109000000", "-1");
    assert_bad(3, "109000000", "1.5");
    assert_bad(3, "\"epoch\":1790000000123456", "\"epoch\":99999999999999999999");
    assert_bad(4, "[6,18000,75000,true]", "[6,18000]");
    assert_bad(4, "[6,18000,75000,true]", "[-6,18000,75000]");
    assert_bad(4, "[6,18000,75000,true]", "[6,18000,-1]");
    assert_bad(2, "\"language\":\"en\"", "\"language\":\"e\\\"n\"");
    assert_bad(2, "\"language\":\"en\"", "\"language\":\"a-language-of-length\"");
    assert_bad(4, "\"index\":0", "\"index\":\"0\"");
    assert_bad(5, "away", "gone");
}

/* --- reading --- */

static int on_line(void *ctx, const struct feed_line *line) {
    buf_printf(ctx, "%d", line->kind);
    return line->kind == FEED_LINE_STATE ? -EPIPE : 0;
}

static void lines_are_read_however_bytes_come(void **state) {
    char text[512];
    (void)state;
    snprintf(text, sizeof text, "%s\n%s\n%s\n", lines[0], lines[6], lines[3]);
    for (size_t run = 1; run <= strlen(text); run++) {
        struct buf seen;
        buf_init(&seen, 64);
        struct feed_lines *reader = feed_lines_create("live/show", on_line, &seen);
        for (size_t at = 0; at < strlen(text); at += run)
            assert_int_equal(feed_lines_push(reader, (uint8_t *)text + at,
                                             at + run < strlen(text) ? run : strlen(text) - at),
                             0);
        assert_int_equal(buf_len(&seen), 3);
        assert_memory_equal(buf_head(&seen), "174", 3);
        feed_lines_destroy(reader);
        buf_finish(&seen);
    }
}

static void reading_ends_at_an_error_and_at_a_line_without_end(void **state) {
    char text[512], junk[65536];
    struct buf seen;
    (void)state;
    buf_init(&seen, 64);
    struct feed_lines *reader = feed_lines_create("live/show", on_line, &seen);
    snprintf(text, sizeof text, "%s\n%s\n", lines[5], lines[6]);
    assert_int_equal(feed_lines_push(reader, (uint8_t *)text, strlen(text)), -EPIPE);
    assert_int_equal(buf_len(&seen), 1);
    feed_lines_destroy(reader);
    reader = feed_lines_create("live/show", on_line, &seen);
    assert_int_equal(feed_lines_push(reader, (const uint8_t *)"junk\n", 5), -EBADMSG);
    memset(junk, ' ', sizeof junk);
    int rc = 0;
    for (int i = 0; !rc && i < 100; i++)
        rc = feed_lines_push(reader, (uint8_t *)junk, sizeof junk);
    assert_int_equal(rc, -ENOBUFS);
    feed_lines_destroy(reader);
    buf_finish(&seen);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_written_as_they_were_read),
        cmocka_unit_test(open_line_carries_tracks_and_their_inits),
        cmocka_unit_test(a_late_track_is_told),
        cmocka_unit_test(sound_of_a_low_rate_is_told),
        cmocka_unit_test(part_may_be_silent_about_its_tracks),
        cmocka_unit_test(unknown_events_are_passed_over),
        cmocka_unit_test(impossible_lines_are_refused),
        cmocka_unit_test(lines_are_read_however_bytes_come),
        cmocka_unit_test(reading_ends_at_an_error_and_at_a_line_without_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
