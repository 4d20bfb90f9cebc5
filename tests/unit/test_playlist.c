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

/* Three sizes and two languages; of the second size no key frame comes where one comes of the first. */
static struct target make_ladder(void) {
    struct target t = make(0, 0);
    struct record *record = fixture_open(name, FIXTURE_EPOCH + 1, 2);
    struct record_open *open = &record->open;
    struct track_info video = open->tracks[0], audio = open->tracks[1];
    open->track_count = 5;
    for (uint32_t i = 1; i < 5; i++) {
        struct track_info *track = &open->tracks[i];
        *track = i < 3 ? video : audio;
        snprintf(track->name, sizeof track->name, "%c%u", i < 3 ? 'v' : 'a', (i < 3 ? i : i - 3) % 10);
        track->track_id = i + 1;
        track->width /= (uint16_t)(1 << i);
        track->height /= (uint16_t)(1 << i);
        track->init = i == 3 ? audio.init : blob_create_copy("I", 1);
    }
    strcpy(open->tracks[3].language, "en");
    strcpy(open->tracks[4].codecs, "opus");
    apply(&t, record);
    for (uint32_t p = 0; p < FIXTURE_PARTS; p++) {
        for (uint8_t i = 0; i < 5; i++)
            apply(&t, fixture_chunk(name, FIXTURE_EPOCH + 1, i, 100, p, 1000 / (1 + i)));
        record = fixture_part(name, FIXTURE_EPOCH + 1, t.part++, 100, p, p ? 0 : PART_INDEPENDENT);
        for (uint32_t i = 0; i < 5; i++)
            record->part.tracks[i] = (struct record_part_track){1, i < 3 ? 18000 : 9600, 1000 / (1 + i), !p && i != 1};
        apply(&t, record);
    }
    return t;
}

static void several_tracks_are_variants_and_a_group(void **state) {
    (void)state;
    struct target t = make_ladder();
    /* 40000, 20000, 13333, 10000, 8000 bits a second; with any variant goes the larger sound */
    assert_string_equal(
        render(&t, NULL, false, PLAYLIST_MUXED_AUTO),
        "#EXTM3U\n#EXT-X-VERSION:6\n"
        "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",LANGUAGE=\"en\",NAME=\"en\",DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"2\","
        "URI=\"a0.m3u8\"\n"
        "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"Audio 2\",DEFAULT=NO,AUTOSELECT=YES,CHANNELS=\"2\","
        "URI=\"a1.m3u8\"\n"
        "#EXT-X-STREAM-INF:BANDWIDTH=52501,AVERAGE-BANDWIDTH=50001,CODECS=\"avc1.4d401f,mp4a.40.2,opus\","
        "RESOLUTION=1280x720,FRAME-RATE=30.000,AUDIO=\"a\",CLOSED-CAPTIONS=NONE\nv0.m3u8\n"
        "#EXT-X-STREAM-INF:BANDWIDTH=31501,AVERAGE-BANDWIDTH=30001,CODECS=\"avc1.4d401f,mp4a.40.2,opus\","
        "RESOLUTION=640x360,FRAME-RATE=30.000,AUDIO=\"a\",CLOSED-CAPTIONS=NONE\nv1.m3u8\n"
        "#EXT-X-STREAM-INF:BANDWIDTH=24487,AVERAGE-BANDWIDTH=23321,CODECS=\"avc1.4d401f,mp4a.40.2,opus\","
        "RESOLUTION=320x180,FRAME-RATE=30.000,AUDIO=\"a\",CLOSED-CAPTIONS=NONE\nv2.m3u8\n"
        "#EXT-X-STREAM-INF:BANDWIDTH=10501,AVERAGE-BANDWIDTH=10001,CODECS=\"mp4a.40.2,opus\",AUDIO=\"a\","
        "CLOSED-CAPTIONS=NONE\na0.m3u8\n");
    const char *text = render(&t, NULL, false, PLAYLIST_MUXED_ALWAYS);
    assert_null(strstr(text, "EXT-X-MEDIA"));
    assert_non_null(strstr(text, "\nv2a0.m3u8\n"));
    store_destroy(t.store);
}

static void video_range_is_told_unless_it_is_sdr(void **state) {
    (void)state;
    struct target t = make(0, 0);
    struct record *record = fixture_open(name, FIXTURE_EPOCH + 1, 2);
    record->open.tracks[0].range = VIDEO_PQ;
    apply(&t, record);
    fill(&t, FIXTURE_EPOCH + 1, 100, 0, 1, 0);
    const char *text = render(&t, NULL, false, PLAYLIST_MUXED_AUTO);
    assert_int_equal(count(text, "VIDEO-RANGE"), 1); /* not of the sound */
    assert_non_null(strstr(text, "FRAME-RATE=30.000,VIDEO-RANGE=PQ,CLOSED-CAPTIONS"));
    store_destroy(t.store);
}

static struct record *part_of_a_rung(uint64_t number, uint64_t msn, uint32_t index, uint32_t flags, uint32_t bytes) {
    struct record *record = fixture_part(name, FIXTURE_EPOCH + 1, number, msn, index, flags);
    record->part.tracks[2] = record->part.tracks[1];
    record->part.tracks[1] = (struct record_part_track){6, 18000, bytes, flags & PART_INDEPENDENT};
    return record;
}

static void check_declared(bool on_demand) {
    struct target t = make(0, 0);
    struct record *record = fixture_open(name, FIXTURE_EPOCH + 1, 2);
    struct record_open *open = &record->open;
    open->tracks[2] = open->tracks[1];
    open->tracks[1] = open->tracks[0];
    open->tracks[1].init = blob_create_copy("I", 1);
    open->tracks[1].track_id = 2;
    open->tracks[1].peak_bps = 120000;
    open->tracks[1].on_demand = on_demand;
    open->track_count = 3;
    open->late = 2;
    strcpy(open->tracks[1].name, "v1");
    apply(&t, record);
    for (uint32_t s = 0; s < 3; s++) {
        for (uint32_t p = 0; p < FIXTURE_PARTS; p++) {
            bool begun = s == 2 || (on_demand && s == 1 && p > 0); /* the third is the first that is measured */
            uint32_t bytes = begun ? 2000 : 0;
            for (uint32_t i = 0; i < 6; i++)
                apply(&t, fixture_chunk(name, FIXTURE_EPOCH + 1, 0, 100 + s, p * 6 + i, 1000));
            apply(&t, fixture_chunk(name, FIXTURE_EPOCH + 1, 2, 100 + s, p, 400));
            apply(&t,
                  part_of_a_rung(t.part++, 100 + s, p, (p ? 0 : PART_INDEPENDENT) | (p == 9 ? PART_LAST : 0), bytes));
            const char *text = render(&t, NULL, false, PLAYLIST_MUXED_AUTO);
            bool measured = s == 2 && p == 9;
            assert_int_equal(count(text, "BANDWIDTH=142801,AVERAGE-BANDWIDTH=136001,"), !measured);
            assert_int_equal(count(text, "BANDWIDTH=100801,AVERAGE"), measured); /* (20000 + 4000) × 8 / 2 × 1.05 */
        }
    }
    store_destroy(t.store);
}

/* What is transcoded counts with the rate of its encoder, 120 kb/s, until a whole segment of it is measured; of what is
 * made on demand, one that was made from its beginning on. */
static void rungs_count_with_what_is_declared_until_they_are_measured(void **state) {
    (void)state;
    check_declared(false);
    check_declared(true);
}

/* Two rungs' pictures, the sound, and it at a low rate. */
static void sound_of_a_low_rate_is_the_last_variant(void **state) {
    (void)state;
    struct target t = make_ladder();
    struct record *record = fixture_open(name, FIXTURE_EPOCH + 2, 3);
    struct record_open *open = &record->open;
    struct track_info video = open->tracks[0], audio = open->tracks[1];
    open->track_count = 5;
    for (uint32_t i = 1; i < 5; i++) {
        struct track_info *track = &open->tracks[i];
        *track = i < 3 ? video : audio;
        snprintf(track->name, sizeof track->name, "%c%u", i < 3 ? 'v' : 'a', (i < 3 ? i : i - 3) % 10);
        track->track_id = i + 1;
        track->low = i == 4;
        track->init = i == 3 ? audio.init : blob_create_copy("I", 1);
    }
    apply(&t, record);
    for (uint8_t i = 0; i < 5; i++)
        apply(&t, fixture_chunk(name, FIXTURE_EPOCH + 2, i, 101, 0, 100));
    record = fixture_part(name, FIXTURE_EPOCH + 2, t.part++, 101, 0, PART_INDEPENDENT);
    for (uint32_t i = 0; i < 5; i++)
        record->part.tracks[i] = (struct record_part_track){1, i < 3 ? 18000 : 9600, 100, true};
    apply(&t, record);
    const char *text = render(&t, NULL, false, PLAYLIST_MUXED_AUTO);
    assert_int_equal(count(text, ".m3u8"), 5);
    assert_int_equal(count(text, "EXT-X-MEDIA"), 0);
    const char *at = strstr(text, "\nv0a0.m3u8\n");
    assert_non_null(at = strstr(at ? at : "", "\nv1a0.m3u8\n"));
    assert_non_null(at = strstr(at, "\nv2a0.m3u8\n"));
    assert_non_null(at = strstr(at, "\na0.m3u8\n"));
    assert_non_null(strstr(at, "\na1.m3u8\n"));
    text = render(&t, NULL, false, PLAYLIST_MUXED_NEVER);
    assert_int_equal(count(text, "GROUP-ID=\"a\",NAME=\"Audio 1\",DEFAULT=YES"), 1);
    assert_int_equal(count(text, "GROUP-ID=\"low\",NAME=\"Audio 1\",DEFAULT=YES"), 1);
    assert_int_equal(count(text, "AUDIO=\"a\",CLOSED-CAPTIONS=NONE\nv1.m3u8"), 1);
    assert_int_equal(count(text, "AUDIO=\"a\",CLOSED-CAPTIONS=NONE\nv2.m3u8"), 1);
    assert_int_equal(count(text, "AUDIO=\"low\",CLOSED-CAPTIONS=NONE\na1.m3u8"), 1);
    assert_int_equal(count(text, "AUDIO=\"a\",CLOSED-CAPTIONS=NONE\na0.m3u8"), 1);
    text = render(&t, "a1", false, PLAYLIST_MUXED_AUTO);
    assert_int_equal(count(text, "RENDITION-REPORT:URI=\"v2a0.m3u8\""), 1);
    store_destroy(t.store);
}

static void parts_are_independent_by_their_own_track(void **state) {
    (void)state;
    struct target t = make_ladder();
    assert_int_equal(count(render(&t, "v0", false, PLAYLIST_MUXED_AUTO), "INDEPENDENT=YES"), 1);
    assert_int_equal(count(render(&t, "v1", false, PLAYLIST_MUXED_AUTO), "INDEPENDENT=YES"), 0);
    assert_int_equal(count(render(&t, "v2", false, PLAYLIST_MUXED_AUTO), "INDEPENDENT=YES"), 1);
    const char *text = render(&t, "a1", false, PLAYLIST_MUXED_AUTO);
    assert_int_equal(count(text, "INDEPENDENT=YES"), FIXTURE_PARTS);
    assert_int_equal(count(text, "RENDITION-REPORT"), 4);
    assert_int_equal(count(text, "RENDITION-REPORT:URI=\"a0.m3u8\""), 1);
    store_destroy(t.store);
}

static void languages_that_come_twice_have_names_of_their_own(void **state) {
    (void)state;
    struct target t = make_ladder();
    strcpy(t.stream->open->open.tracks[4].language, "en");
    const char *text = render(&t, NULL, false, PLAYLIST_MUXED_AUTO);
    assert_int_equal(count(text, "LANGUAGE=\"en\",NAME=\"en\","), 1);
    assert_int_equal(count(text, "LANGUAGE=\"en\",NAME=\"en 2\","), 1);
    store_destroy(t.store);
}

/* As fixture_open has it, with two languages. */
static struct target make_subtitled(void) {
    struct target t = make(1, 2);
    struct record *open = fixture_open(name, FIXTURE_EPOCH + 1, 2);
    for (uint32_t i = 0; i < 2; i++) {
        struct track_info *track = &open->open.tracks[open->open.track_count++];
        *track = (struct track_info){.kind = TRACK_TEXT,
                                     .track_id = 201 + i,
                                     .timescale = 90000,
                                     .codecs = "wvtt",
                                     .language = "de",
                                     .init_version = 2,
                                     .init = blob_create_copy("S", 1)};
        snprintf(track->name, sizeof track->name, "s%u", i);
        strcpy(track->label, i ? "" : "Deutsch");
    }
    apply(&t, open);
    for (uint32_t i = 0; i < FIXTURE_PARTS + 1; i++) {
        uint32_t s = i / FIXTURE_PARTS, index = i % FIXTURE_PARTS;
        for (uint8_t track = 2; track < 4; track++)
            apply(&t, fixture_chunk(name, FIXTURE_EPOCH + 1, track, 102 + s, index, 10));
        for (uint32_t k = 0; k < 6; k++)
            apply(&t, fixture_chunk(name, FIXTURE_EPOCH + 1, 0, 102 + s, index * 6 + k, 1000));
        apply(&t, fixture_chunk(name, FIXTURE_EPOCH + 1, 1, 102 + s, index, 400));
        struct record *part =
            fixture_part(name, FIXTURE_EPOCH + 1, t.part++, 102 + s, index, i ? 0 : PART_DISCONTINUITY);
        part->part.discontinuity_sequence = 1;
        part->part.tracks[2] = part->part.tracks[3] = (struct record_part_track){1, 18000, 10, true};
        apply(&t, part);
    }
    return t;
}

static void subtitles_are_a_group_of_every_variant(void **state) {
    (void)state;
    struct target t = make_subtitled();
    const char *text = render(&t, NULL, false, PLAYLIST_MUXED_AUTO);
    assert_non_null(strstr(text,
                           "#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"s\",LANGUAGE=\"de\",NAME=\"Deutsch\",DEFAULT=NO,"
                           "AUTOSELECT=YES,URI=\"s0.m3u8\"\n"
                           "#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"s\",LANGUAGE=\"de\",NAME=\"de\",DEFAULT=NO,"
                           "AUTOSELECT=YES,URI=\"s1.m3u8\"\n"));
    assert_int_equal(count(text, "#EXT-X-STREAM-INF"), 2);
    assert_int_equal(count(text, ",SUBTITLES=\"s\""), 2);
    assert_int_equal(count(text, "CODECS=\"avc1.4d401f,mp4a.40.2,wvtt\""), 1);
    assert_int_equal(count(text, "CODECS=\"mp4a.40.2,wvtt\""), 1);
    /* Ten parts of 400 bytes of sound in two seconds are 16000 b/s; of 10 bytes of one language 400. */
    assert_int_equal(count(text, "BANDWIDTH=17221,AVERAGE-BANDWIDTH=16401,CODECS=\"mp4a.40.2,wvtt\""), 1);
    strcpy(t.stream->open->open.tracks[3].label, "Deutsch");
    assert_int_equal(count(render(&t, NULL, false, PLAYLIST_MUXED_AUTO), "NAME=\"Deutsch (s1)\""), 1);
    store_destroy(t.store);
}

/* From where there are any on; numbers, times and the discontinuity are the picture's (LL-172). */
static void subtitles_have_a_playlist_of_files(void **state) {
    (void)state;
    struct target t = make_subtitled();
    const char *text = render(&t, "s0", false, PLAYLIST_MUXED_AUTO);
    assert_non_null(strstr(text, "#EXT-X-MEDIA-SEQUENCE:102\n#EXT-X-DISCONTINUITY-SEQUENCE:0\n#EXT-X-DISCONTINUITY\n"
                                 "#EXT-X-PROGRAM-DATE-TIME:"));
    assert_int_equal(count(text, "#EXT-X-MAP"), 0);
    assert_int_equal(count(text, "#EXT-X-PART:DURATION=0.200000,INDEPENDENT=YES,URI=\"s0/p"), FIXTURE_PARTS + 1);
    assert_int_equal(count(text, "#EXTINF:2.000000,\ns0/102.vtt\n"), 1);
    assert_int_equal(count(text, ".vtt\"\n"), FIXTURE_PARTS + 2); /* the hint, too */
    assert_int_equal(count(text, ".m4s"), 0);
    assert_int_equal(count(text, "GAP"), 0);
    text = render(&t, "v0a0", false, PLAYLIST_MUXED_AUTO);
    assert_int_equal(count(text, "RENDITION-REPORT:URI=\"s0.m3u8\",LAST-MSN=103,LAST-PART=0"), 1);
    assert_int_equal(count(text, "#EXT-X-MEDIA-SEQUENCE:100\n"), 1);
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
        cmocka_unit_test(several_tracks_are_variants_and_a_group),
        cmocka_unit_test(video_range_is_told_unless_it_is_sdr),
        cmocka_unit_test(rungs_count_with_what_is_declared_until_they_are_measured),
        cmocka_unit_test(sound_of_a_low_rate_is_the_last_variant),
        cmocka_unit_test(parts_are_independent_by_their_own_track),
        cmocka_unit_test(languages_that_come_twice_have_names_of_their_own),
        cmocka_unit_test(subtitles_are_a_group_of_every_variant),
        cmocka_unit_test(subtitles_have_a_playlist_of_files),
        cmocka_unit_test(unknown_variant_is_an_error),
        cmocka_unit_test(pathway_is_named_where_there_is_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
