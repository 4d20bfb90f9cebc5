#include "common/media/playlist.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "media_fixture.h"

static const char *const name = "live/show";

struct target {
    struct store *store;
    struct stream *stream;
    uint64_t part;
    const char *pathway;
};

static void apply(void *ctx, struct record *record) {
    struct target *target = ctx;
    assert_int_equal(store_apply(target->store, record, 1000), 0);
    record_unref(record);
}

static void fill(struct target *t, uint64_t epoch, uint64_t msn, uint32_t segments, uint32_t parts,
                 uint32_t first_flags) {
    for (uint32_t s = 0; s <= segments; s++)
        for (uint32_t i = 0; i < (s < segments ? FIXTURE_PARTS : parts); i++) {
            uint32_t flags = (i ? 0 : PART_INDEPENDENT) | (!i && !s ? first_flags : 0);
            fixture_write_part(name, epoch, t->part++, msn + s, i, flags, apply, t);
        }
}

static struct target make(uint32_t segments, uint32_t parts) {
    const struct store_settings settings = {.window_us = 14000000, .bytes_max = 64 << 20, .streams_max = 4};
    struct target t = {.store = store_create(&settings), .part = 500};
    apply(&t, fixture_open(name, FIXTURE_EPOCH, 1));
    t.stream = store_find(t.store, name);
    fill(&t, FIXTURE_EPOCH, 100, segments, parts, 0);
    return t;
}

static const char *render(struct target *t, const char *variant, bool skip, enum playlist_muxed muxed) {
    static char text[65536];
    struct buf out;
    buf_init(&out, sizeof text - 1);
    if (variant)
        assert_int_equal(playlist_media(&out, t->stream, variant, skip, muxed), 0);
    else
        playlist_multivariant(&out, t->stream, muxed, t->pathway);
    memcpy(text, buf_head(&out), buf_len(&out));
    text[buf_len(&out)] = 0;
    buf_finish(&out);
    return text;
}

static int count(const char *text, const char *what) {
    int n = 0;
    for (const char *p = text; (p = strstr(p, what)); p++)
        n++;
    return n;
}

static void young_stream_is_rendered_to_the_letter(void **state) {
    (void)state;
    struct target t = make(1, 2);
    assert_string_equal(
        render(&t, "v0a0", false, PLAYLIST_MUXED_AUTO),
        "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:2\n"
        "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=12.0,PART-HOLD-BACK=0.641,HOLD-BACK=6.0\n"
        "#EXT-X-PART-INF:PART-TARGET=0.213334\n"
        "#EXT-X-MEDIA-SEQUENCE:100\n#EXT-X-DISCONTINUITY-SEQUENCE:0\n"
        "#EXT-X-MAP:URI=\"v0a0/init-1.mp4\"\n"
        "#EXT-X-PROGRAM-DATE-TIME:2026-09-21T14:15:00.000Z\n"
        "#EXT-X-PART:DURATION=0.200000,INDEPENDENT=YES,URI=\"v0a0/p500.m4s\"\n"
        "#EXT-X-PART:DURATION=0.200000,URI=\"v0a0/p501.m4s\"\n"
        "#EXT-X-PART:DURATION=0.200000,URI=\"v0a0/p502.m4s\"\n"
        "#EXT-X-PART:DURATION=0.200000,URI=\"v0a0/p503.m4s\"\n"
        "#EXT-X-PART:DURATION=0.200000,URI=\"v0a0/p504.m4s\"\n"
        "#EXT-X-PART:DURATION=0.200000,URI=\"v0a0/p505.m4s\"\n"
        "#EXT-X-PART:DURATION=0.200000,URI=\"v0a0/p506.m4s\"\n"
        "#EXT-X-PART:DURATION=0.200000,URI=\"v0a0/p507.m4s\"\n"
        "#EXT-X-PART:DURATION=0.200000,URI=\"v0a0/p508.m4s\"\n"
        "#EXT-X-PART:DURATION=0.200000,URI=\"v0a0/p509.m4s\"\n"
        "#EXTINF:2.000000,\nv0a0/100.m4s\n"
        "#EXT-X-PROGRAM-DATE-TIME:2026-09-21T14:15:02.000Z\n"
        "#EXT-X-PART:DURATION=0.200000,INDEPENDENT=YES,URI=\"v0a0/p510.m4s\"\n"
        "#EXT-X-PART:DURATION=0.200000,URI=\"v0a0/p511.m4s\"\n"
        "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"v0a0/p512.m4s\"\n"
        "#EXT-X-RENDITION-REPORT:URI=\"a0.m3u8\",LAST-MSN=101,LAST-PART=1\n");
    store_destroy(t.store);
}

static void audio_parts_are_all_independent(void **state) {
    (void)state;
    struct target t = make(0, 3);
    const char *text = render(&t, "a0", false, PLAYLIST_MUXED_AUTO);
    assert_int_equal(count(text, "INDEPENDENT=YES"), 3);
    assert_int_equal(count(text, "RENDITION-REPORT:URI=\"v0a0.m3u8\""), 1);
    store_destroy(t.store);
}

/* The picture stood still while the sound went on: for who plays the picture alone there is nothing in that part. */
static void part_without_chunks_of_the_variant_is_a_gap(void **state) {
    (void)state;
    struct target t = make(0, 2);
    apply(&t, fixture_chunk(name, FIXTURE_EPOCH, 1, 100, 2, 400));
    struct record *record = fixture_part(name, FIXTURE_EPOCH, 502, 100, 2, 0);
    record->part.tracks[0].chunks = 0;
    apply(&t, record);
    assert_int_equal(count(render(&t, "v0", false, PLAYLIST_MUXED_NEVER), "p502.m4s\",GAP=YES\n"), 1);
    assert_int_equal(count(render(&t, "v0", false, PLAYLIST_MUXED_NEVER), "GAP"), 1);
    assert_int_equal(count(render(&t, "v0a0", false, PLAYLIST_MUXED_AUTO), "GAP"), 0);
    store_destroy(t.store);
}

static void parts_are_listed_for_three_targets_only(void **state) {
    (void)state;
    struct target t = make(10, 5);
    const char *text = render(&t, "v0a0", false, PLAYLIST_MUXED_AUTO);
    assert_int_equal(count(text, "#EXT-X-PART:"),
                     3 * FIXTURE_PARTS + 5); /* 7 s: the last three and what is under way */
    assert_int_equal(count(text, "#EXTINF:"), 7);
    store_destroy(t.store);
}

/* A key frame every 16 s: parts are listed back to the newest. */
static void parts_are_listed_back_to_the_newest_key_frame(void **state) {
    (void)state;
    const struct store_settings settings = {.window_us = 30000000, .bytes_max = 64 << 20, .streams_max = 4};
    struct target t = {.store = store_create(&settings), .part = 500};
    apply(&t, fixture_open(name, FIXTURE_EPOCH, 1));
    t.stream = store_find(t.store, name);
    for (uint32_t i = 0; i < 10 * FIXTURE_PARTS; i++)
        fixture_write_part(name, FIXTURE_EPOCH, t.part++, 100 + i / FIXTURE_PARTS, i % FIXTURE_PARTS,
                           i % 80 ? 0 : PART_INDEPENDENT, apply, &t);
    const char *text = render(&t, "v0a0", false, PLAYLIST_MUXED_AUTO);
    assert_int_equal(count(text, "INDEPENDENT=YES"), 1);
    assert_int_equal(count(text, "#EXT-X-PART:"), 3 * FIXTURE_PARTS); /* it is 4 s old */
    for (uint32_t i = 0; i < 3 * FIXTURE_PARTS; i++)
        fixture_write_part(name, FIXTURE_EPOCH, t.part++, 110 + i / FIXTURE_PARTS, i % FIXTURE_PARTS, 0, apply, &t);
    text = render(&t, "v0a0", false, PLAYLIST_MUXED_AUTO);
    assert_int_equal(count(text, "#EXT-X-PART:"), 5 * FIXTURE_PARTS); /* now 10 s */
    assert_int_equal(count(render(&t, "a0", false, PLAYLIST_MUXED_AUTO), "#EXT-X-PART:"), 3 * FIXTURE_PARTS);
    store_destroy(t.store);
}

static void delta_leaves_out_what_is_older_than_the_skip_boundary(void **state) {
    (void)state;
    const struct store_settings settings = {.window_us = 30000000, .bytes_max = 64 << 20, .streams_max = 4};
    struct target t = {.store = store_create(&settings), .part = 500};
    apply(&t, fixture_open(name, FIXTURE_EPOCH, 1));
    t.stream = store_find(t.store, name);
    fill(&t, FIXTURE_EPOCH, 100, 14, 1, 0);
    const char *text = render(&t, "v0a0", true, PLAYLIST_MUXED_AUTO);
    assert_int_equal(count(text, "#EXT-X-VERSION:9\n"), 1);
    assert_int_equal(count(text, "#EXT-X-SKIP:SKIPPED-SEGMENTS=7\n"), 1); /* 14 whole; 7 end within 12 s of the end */
    assert_int_equal(count(text, "#EXTINF:"), 7);
    assert_int_equal(count(text, "#EXT-X-MEDIA-SEQUENCE:100\n"), 1);
    store_destroy(t.store);
}

static void delta_of_a_short_playlist_is_the_whole(void **state) {
    (void)state;
    struct target t = make(3, 1);
    assert_int_equal(count(render(&t, "v0a0", true, PLAYLIST_MUXED_AUTO), "SKIP:"), 0);
    store_destroy(t.store);
}

static void returned_publisher_shows_as_discontinuity_with_a_new_map(void **state) {
    (void)state;
    struct target t = make(1, 2);
    apply(&t, fixture_open(name, FIXTURE_EPOCH + 1, 2));
    fill(&t, FIXTURE_EPOCH + 1, 102, 0, 1, PART_DISCONTINUITY);
    const char *text = render(&t, "v0a0", false, PLAYLIST_MUXED_AUTO);
    const char *tag =
        strstr(text, "#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"v0a0/init-2.mp4\"\n#EXT-X-PROGRAM-DATE-TIME:");
    assert_non_null(tag);
    assert_non_null(strstr(tag, "p512.m4s"));
    assert_non_null(strstr(text, "#EXTINF:0.400000,\nv0a0/101.m4s\n")); /* what there was of it */
    store_destroy(t.store);
}

static void playlist_begins_after_a_gap_in_the_numbers(void **state) {
    (void)state;
    struct target t = make(3, 4);
    apply(&t, fixture_open(name, FIXTURE_EPOCH, 1));
    t.part = 900;
    fill(&t, FIXTURE_EPOCH, 110, 0, 2, 0);
    const char *text = render(&t, "v0a0", true, PLAYLIST_MUXED_AUTO);
    assert_non_null(strstr(text, "#EXT-X-MEDIA-SEQUENCE:110\n"));
    assert_int_equal(count(text, "#EXTINF"), 0);
    assert_int_equal(count(text, "#EXT-X-PART:"), 2);
    assert_non_null(strstr(text, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"v0a0/p902.m4s\"\n"));
    assert_non_null(strstr(render(&t, NULL, false, PLAYLIST_MUXED_AUTO), "BANDWIDTH="));
    store_destroy(t.store);
}

static void ended_stream_has_endlist_and_no_hint(void **state) {
    (void)state;
    struct target t = make(1, 2);
    struct record *ended = record_create(RECORD_STATE, name, FIXTURE_EPOCH);
    ended->state.state = STREAM_ENDED;
    apply(&t, ended);
    const char *text = render(&t, "v0a0", true, PLAYLIST_MUXED_AUTO);
    assert_int_equal(count(text, "#EXT-X-ENDLIST\n"), 1);
    assert_int_equal(count(text, "PRELOAD-HINT"), 0);
    assert_int_equal(count(text, "#EXTINF:"), 2);
    store_destroy(t.store);
}

static void multivariant_names_codecs_size_and_rate(void **state) {
    (void)state;
    struct target t = make(2, 1);
    const char *text = render(&t, NULL, false, PLAYLIST_MUXED_AUTO);
    /* 60 × 1000 + 10 × 400 bytes in 2 s are 256 kb/s */
    assert_string_equal(text,
                        "#EXTM3U\n#EXT-X-VERSION:6\n"
                        "#EXT-X-STREAM-INF:BANDWIDTH=268801,AVERAGE-BANDWIDTH=256001,CODECS=\"avc1.4d401f,mp4a.40.2\","
                        "RESOLUTION=1280x720,FRAME-RATE=30.000,CLOSED-CAPTIONS=NONE\nv0a0.m3u8\n"
                        "#EXT-X-STREAM-INF:BANDWIDTH=16801,AVERAGE-BANDWIDTH=16001,CODECS=\"mp4a.40.2\","
                        "CLOSED-CAPTIONS=NONE\na0.m3u8\n");
    text = render(&t, NULL, false, PLAYLIST_MUXED_NEVER);
    assert_int_equal(count(text, "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\""), 1);
    assert_int_equal(count(text, "AUDIO=\"a\",CLOSED"), 2); /* the audio rung too is of the group (LL-142) */
    assert_int_equal(count(text, "\nv0.m3u8\n"), 1);
    store_destroy(t.store);
}

static void unknown_variant_is_an_error(void **state) {
    (void)state;
    struct target t = make(0, 1);
    struct buf out;
    buf_init(&out, 1000);
    assert_int_equal(playlist_media(&out, t.stream, "v9", false, PLAYLIST_MUXED_AUTO), -ENOENT);
    buf_finish(&out);
    store_destroy(t.store);
}

static void pathway_is_named_where_there_is_another(void **state) {
    (void)state;
    struct target t = make(3, 2);
    const char *text = render(&t, NULL, false, PLAYLIST_MUXED_AUTO);
    assert_null(strstr(text, "STEERING"));
    assert_null(strstr(text, "PATHWAY"));
    t.pathway = "edge-1";
    text = render(&t, NULL, false, PLAYLIST_MUXED_AUTO);
    assert_non_null(strstr(text, "#EXT-X-CONTENT-STEERING:SERVER-URI=\"steering.json\",PATHWAY-ID=\"edge-1\"\n"));
    assert_int_equal(count(text, ",PATHWAY-ID=\"edge-1\""), count(text, "#EXT-X-STREAM-INF") + 1);
    store_destroy(t.store);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(young_stream_is_rendered_to_the_letter),
        cmocka_unit_test(audio_parts_are_all_independent),
        cmocka_unit_test(part_without_chunks_of_the_variant_is_a_gap),
        cmocka_unit_test(parts_are_listed_for_three_targets_only),
        cmocka_unit_test(parts_are_listed_back_to_the_newest_key_frame),
        cmocka_unit_test(delta_leaves_out_what_is_older_than_the_skip_boundary),
        cmocka_unit_test(delta_of_a_short_playlist_is_the_whole),
        cmocka_unit_test(returned_publisher_shows_as_discontinuity_with_a_new_map),
        cmocka_unit_test(playlist_begins_after_a_gap_in_the_numbers),
        cmocka_unit_test(ended_stream_has_endlist_and_no_hint),
        cmocka_unit_test(multivariant_names_codecs_size_and_rate),
        cmocka_unit_test(unknown_variant_is_an_error),
        cmocka_unit_test(pathway_is_named_where_there_is_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
