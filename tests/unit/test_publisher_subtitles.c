#include "ingest/publisher.h"

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/media/vtt.h"
#include "ingest/cues.h"
#include "ingest/subtitles.h"
#include "publisher_fixture.h"

/* Publishers of a stream with subtitles. */

enum { FPS = 30 };

static void play(struct world *world, int from_s, int to_s) {
    for (int64_t i = from_s * FPS; i < to_s * FPS; i++) {
        bool key = i % FPS == 0;
        int64_t us = i * 1000000 / FPS;
        publisher_frame(world->pub, &(struct publisher_frame){.kind = TRACK_VIDEO,
                                                              .dts_us = us,
                                                              .pts_us = us,
                                                              .independent = key,
                                                              .data = key ? idr : inter,
                                                              .len = sizeof idr});
    }
}

static enum subtitle_verdict post(struct world *world, const char *language) {
    static struct cue cue;
    int64_t now_us = clock_utc_us();
    cue = (struct cue){.start_us = now_us - 20000000, .end_us = now_us + 30000000, .text = "Guten Tag"};
    snprintf(cue.language, sizeof cue.language, "%s", language);
    return subtitles_add(world->ingest->subtitles, "live/show", &cue, now_us);
}

/* Every part has one chunk of that track; returns in how many of them there is a cue. */
static uint32_t check_text(const struct segment *segment, uint32_t track) {
    uint32_t with_cue = 0;
    assert_int_equal(segment->open->open.tracks[track].kind, TRACK_TEXT);
    assert_int_equal(segment->chunks[track].count, segment->published);
    for (uint32_t p = 0; p < segment->published; p++) {
        const struct record_part *part = &segment->parts[p].record->part;
        const struct record_chunk *chunk = &segment->chunks[track].items[p]->chunk;
        struct buf file;
        assert_int_equal(part->tracks[track].chunks, 1);
        assert_int_equal(part->tracks[track].duration_ts, part->tracks[0].duration_ts);
        assert_int_equal(part->tracks[track].bytes, chunk->body.len);
        int64_t hz = segment->open->open.tracks[track].timescale;
        assert_int_equal(chunk->dts_ts, part->start_us / 1000000 * hz + part->start_us % 1000000 * hz / 1000000);
        buf_init(&file, VTT_FILE_MAX);
        vtt_file_add(&file, chunk->body.blob->data + chunk->body.off, chunk->body.len);
        with_cue += buf_len(&file) > 0;
        buf_finish(&file);
    }
    return with_cue;
}

static void a_language_that_is_known_is_a_track_from_the_start(void **state) {
    (void)state;
    static char *entries[] = {"live/* de Deutsch"};
    struct world *world =
        begin_with("show", (struct ingest_settings){.stall_ms = 2000, .subtitles = entries, .subtitle_count = 1});
    set_config(world, CODEC_H264, avcc, sizeof avcc);
    play(world, 0, 5);
    const struct stream *stream = stream_of(world);
    assert_int_equal(world->opens, 1);
    assert_int_equal(stream->open->open.track_count, 2);
    assert_string_equal(stream->open->open.tracks[1].name, "s0");
    assert_string_equal(stream->open->open.tracks[1].label, "Deutsch");
    assert_int_equal(check_text(stream->segments[0], 1), 0);
    assert_int_equal(post(world, "de"), SUBTITLE_TAKEN);
    play(world, 5, 9);
    assert_int_equal(world->opens, 1);
    const struct segment *last = stream->segments[stream->segment_count - 1];
    assert_int_equal(check_text(last, 1), last->published);
    end(world);
}

static void a_language_that_is_new_joins_at_the_next_key_frame(void **state) {
    (void)state;
    struct world *world = begin();
    set_config(world, CODEC_H264, avcc, sizeof avcc);
    play(world, 0, 5);
    const struct stream *stream = stream_of(world);
    assert_int_equal(stream->open->open.track_count, 1);
    assert_true(publisher_is_on_air(world->ingest, "live/show"));
    assert_false(publisher_is_on_air(world->ingest, "live/other"));
    assert_int_equal(post(world, "en"), SUBTITLE_NEW);
    publisher_subtitles_changed(world->ingest, "live/show");
    play(world, 5, 9);
    assert_int_equal(world->opens, 2);
    assert_int_equal(stream->open->open.track_count, 2);
    const struct segment *last = stream->segments[stream->segment_count - 1];
    assert_int_equal(check_text(last, 1), last->published);
    /* Its playlist begins there. */
    uint32_t mask = variant_parse(&stream->open->open, "s0", 2);
    assert_int_equal(mask, 2);
    assert_int_equal(variant_within(&stream->segments[0]->open->open, &stream->open->open, mask), VARIANT_NOWHERE);
    assert_false(segment_whole(stream->segments[0], VARIANT_NOWHERE));
    assert_int_equal(variant_parse(&stream->open->open, "v0s0", 4), 0);
    end(world);
}

static void sound_alone_has_subtitles_too(void **state) {
    (void)state;
    static char *entries[] = {"live/* de"};
    struct world *world =
        begin_with("show", (struct ingest_settings){.stall_ms = 2000, .subtitles = entries, .subtitle_count = 1});
    set_config(world, CODEC_AAC, asc, sizeof asc);
    for (int64_t i = 0; i < 9 * 48000 / 1024; i++)
        publisher_frame(world->pub, &(struct publisher_frame){.kind = TRACK_AUDIO,
                                                              .dts_us = i * 1024 * 1000 / 48,
                                                              .pts_us = i * 1024 * 1000 / 48,
                                                              .independent = true,
                                                              .data = aac,
                                                              .len = sizeof aac});
    const struct stream *stream = stream_of(world);
    assert_int_equal(stream->open->open.tracks[1].timescale, 48000);
    assert_true(stream->segment_count > 2);
    check_text(stream->segments[1], 1);
    end(world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_language_that_is_known_is_a_track_from_the_start),
        cmocka_unit_test(sound_alone_has_subtitles_too),
        cmocka_unit_test(a_language_that_is_new_joins_at_the_next_key_frame),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
