#include "ingest/publisher.h"

#include <stdio.h>

#include "common/media/cmaf.h"
#include "ingest/timeline.h"
#include "publisher_fixture.h"
#include "tests/unit/codec_samples.h"

/* Publishers of several tracks: three sizes of a picture and two languages, as a muxer interleaves them. */

static const uint8_t avcc_mid[] = {1,    0x4d, 0x40, 0x1f, 0xff, 0xe1, 0, 9, 0x67, 0x4d, 0x40, 0x1f,
                                   0xec, 0xa0, 0x50, 0x17, 0x88, 1,    0, 4, 0x68, 0xee, 0x3c, 0x80}; /* 640×368 */
static const uint8_t avcc_small[] = {1,    0x4d, 0x40, 0x1f, 0xff, 0xe1, 0, 9, 0x67, 0x4d, 0x40, 0x1f,
                                     0xec, 0xa0, 0xa0, 0xc8, 0x80, 1,    0, 4, 0x68, 0xee, 0x3c, 0x80}; /* 320×192 */

enum { GOP_S = 1, FPS = 50 };

/* What a track sends: frames in order, each `late_ms` after the time that stands on it. */
struct source {
    enum track_kind kind;
    uint8_t number;
    int fps;       /* video */
    int key_at;    /* video: of each second's frames the one that is a key frame */
    int offset_ms; /* video: presentation after decoding, of each frame */
    int64_t late_ms;
    int64_t n; /* frames sent */
    bool mute;
};

static int64_t dts_of(const struct source *source, int64_t n) {
    return source->kind == TRACK_AUDIO ? n * 1024 / 48 : (n * 1000 + source->fps / 2) / source->fps;
}

static void send_next(struct world *world, struct source *source) {
    int64_t dts_us = dts_of(source, source->n) * 1000;
    bool video = source->kind == TRACK_VIDEO, key = !video || source->n % (GOP_S * source->fps) == source->key_at;
    struct publisher_frame frame = {.kind = source->kind,
                                    .track = source->number,
                                    .dts_us = dts_us - source->offset_ms * 1000,
                                    .pts_us = dts_us,
                                    .independent = key,
                                    .data = video ? key ? idr : inter : aac,
                                    .len = video ? sizeof idr : sizeof aac};
    source->n++;
    if (!source->mute)
        publisher_frame(world->pub, &frame);
}

/* All that arrives until `to_ms`, in the order of arrival; of what arrives together the first of `sources` comes first.
 */
static void play(struct world *world, struct source *sources, uint32_t count, int64_t to_ms) {
    for (;;) {
        struct source *next = NULL;
        int64_t next_ms = to_ms;
        for (uint32_t i = 0; i < count; i++) {
            int64_t at_ms = dts_of(&sources[i], sources[i].n) + sources[i].late_ms;
            if (at_ms < next_ms) {
                next = &sources[i];
                next_ms = at_ms;
            }
        }
        if (!next)
            return;
        send_next(world, next);
    }
}

static void add_track(struct world *world, enum codec codec, uint8_t number, const uint8_t *data, size_t len,
                      const char *language) {
    struct publisher_config config = {.codec = codec, .track = number, .data = data, .len = len};
    snprintf(config.language, sizeof config.language, "%s", language);
    publisher_config(world->pub, &config);
}

/* The largest picture is neither the first nor number 0. */
enum { SMALL = 0, LARGE = 1, MID = 2, EN = 3, DE = 4, SOURCES = 5 };
static const struct source ladder[SOURCES] = {
    [SMALL] = {.kind = TRACK_VIDEO, .number = 0, .fps = 25},
    [LARGE] = {.kind = TRACK_VIDEO, .number = 1, .fps = FPS},
    [MID] = {.kind = TRACK_VIDEO, .number = 2, .fps = FPS},
    [EN] = {.kind = TRACK_AUDIO, .number = 0},
    [DE] = {.kind = TRACK_AUDIO, .number = 1},
};

static void configure_pictures(struct world *world) {
    add_track(world, CODEC_H264, 0, avcc_small, sizeof avcc_small, "");
    add_track(world, CODEC_H264, 1, avcc, sizeof avcc, "");
    add_track(world, CODEC_H264, 2, avcc_mid, sizeof avcc_mid, "");
}

static void configure(struct world *world) {
    configure_pictures(world);
    add_track(world, CODEC_AAC, 0, asc, sizeof asc, "en");
    add_track(world, CODEC_AAC, 1, asc, sizeof asc, "de");
}

static struct world *begin_ladder(struct source sources[SOURCES]) {
    struct world *world = begin();
    memcpy(sources, ladder, sizeof ladder);
    configure(world);
    return world;
}

/* When the publisher is gone. Chunks of each track follow each other, each is what it says, none of a segment is
 * of no part. */
static void check_segment(const struct segment *segment, uint64_t *frames) {
    const struct record_open *open = &segment->open->open;
    for (uint32_t t = 0; t < open->track_count; t++) {
        uint32_t counted = 0;
        int64_t end_ts = 0;
        for (uint32_t p = 0; p < segment->part_count; p++)
            counted += segment->parts[p].record->part.tracks[t].chunks;
        assert_int_equal(counted, segment->chunks[t].count);
        for (uint32_t i = 0; i < segment->chunks[t].count; i++) {
            const struct record_chunk *chunk = &segment->chunks[t].items[i]->chunk;
            struct cmaf_chunk parsed;
            assert_int_equal(cmaf_chunk_parse(chunk->body.blob->data + chunk->body.off, chunk->body.len, &parsed), 0);
            assert_int_equal(parsed.track_id, open->tracks[t].track_id);
            assert_int_equal(parsed.tfdt_ts, chunk->dts_ts);
            assert_int_equal(cmaf_chunk_is_sync(&parsed), !!(chunk->flags & CHUNK_INDEPENDENT));
            assert_true(chunk->dts_ts >= end_ts);
            end_ts = chunk->dts_ts + chunk->duration_ts;
            frames[t] += parsed.sample_count;
        }
    }
}

static void check_stream(const struct stream *stream, uint64_t frames[TRACKS_MAX]) {
    memset(frames, 0, TRACKS_MAX * sizeof *frames);
    for (uint32_t s = 0; s < stream->segment_count; s++)
        check_segment(stream->segments[s], frames);
}

static bool begins_independent(const struct segment *segment, uint32_t track) {
    return segment->chunks[track].count && segment->chunks[track].items[0]->chunk.flags & CHUNK_INDEPENDENT;
}

static uint32_t discontinuities(const struct stream *stream) {
    uint32_t count = 0;
    for (uint32_t s = 0; s < stream->segment_count; s++)
        count += stream->segments[s]->discontinuity;
    return count;
}

static void close_all(struct world *world) {
    publisher_close(world->pub, true);
    world->pub = NULL;
}

static void check_ladder_segment(const struct segment *segment) {
    static const uint32_t rates[] = {50, 50, 25};
    for (uint32_t t = 0; t < 3; t++) {
        assert_true(begins_independent(segment, t));
        assert_int_equal(segment->chunks[t].count, 2 * rates[t]);
    }
    for (uint32_t p = 0; p < segment->part_count; p++) {
        const struct record_part *part = &segment->parts[p].record->part;
        for (uint32_t t = 0; t < 3; t++) {
            assert_int_equal(part->tracks[t].chunks, rates[t] / 5);
            assert_int_equal(part->tracks[t].duration_ts, 18000);
            assert_int_equal(part->tracks[t].independent, p % 5 == 0);
        }
        for (uint32_t t = 3; t < 5; t++)
            assert_true(part->tracks[t].duration_ts * 1000000ull / 48000 <= segment->open->open.part_target_us);
    }
}

static void tracks_of_one_clock_are_cut_alike(void **state) {
    (void)state;
    struct source sources[SOURCES];
    struct world *world = begin_ladder(sources);
    play(world, sources, SOURCES, 8000);
    struct stream *stream = stream_of(world);
    const struct record_open *open = &stream->open->open;
    static const struct {
        const char *name, *language;
        uint32_t width, rate_milli;
    } want[] = {{"v0", "", 1280, 50000},
                {"v1", "", 640, 50000},
                {"v2", "", 320, 25000},
                {"a0", "en", 0, 0},
                {"a1", "de", 0, 0}};
    assert_int_equal(open->track_count, 5);
    for (uint32_t t = 0; t < 5; t++) {
        assert_string_equal(open->tracks[t].name, want[t].name);
        assert_string_equal(open->tracks[t].language, want[t].language);
        assert_int_equal(open->tracks[t].width, want[t].width);
        assert_int_equal(open->tracks[t].frame_rate_milli, want[t].rate_milli);
    }
    assert_int_equal(world->opens, 1);
    assert_int_equal(stream->segment_count, 4);
    for (uint32_t s = 0; s < 3; s++)
        check_ladder_segment(stream->segments[s]);
    close_all(world);
    uint64_t frames[TRACKS_MAX];
    check_stream(stream, frames);
    assert_int_equal(frames[0], sources[LARGE].n);
    assert_int_equal(frames[1], sources[MID].n);
    assert_int_equal(frames[2], sources[SMALL].n);
    end(world);
}

/* Within what is waited for, and with what comes before its leading picture. */
static void late_and_early_tracks_keep_their_place(void **state) {
    (void)state;
    for (int late_ms = -45; late_ms <= 45; late_ms += 30) {
        struct source sources[SOURCES];
        struct world *world = begin_ladder(sources);
        sources[MID].late_ms = late_ms + 100; /* all arrive later than 0 */
        for (uint32_t i = 0; i < SOURCES; i++)
            sources[i].late_ms = i == MID ? sources[i].late_ms : 100;
        play(world, sources, SOURCES, 8200);
        struct stream *stream = stream_of(world);
        for (uint32_t s = 0; s < 3; s++)
            for (uint32_t t = 0; t < 3; t++)
                if (!begins_independent(stream->segments[s], t) ||
                    stream->segments[s]->chunks[t].count != (t == 2 ? 50 : 100))
                    fail_msg("late by %d ms: segment %u, track %u", late_ms, s, t);
        assert_int_equal(discontinuities(stream), 0);
        end(world);
    }
}

/* Where its frames are by now, in ms from its first one. */
static int64_t reached_ms(const struct stream *stream, uint32_t track) {
    int64_t first_ts = 0, last_ts = 0;
    for (uint32_t s = 0; s < stream->segment_count; s++)
        for (uint32_t i = 0; i < stream->segments[s]->chunks[track].count; i++) {
            last_ts = stream->segments[s]->chunks[track].items[i]->chunk.dts_ts;
            if (!first_ts)
                first_ts = last_ts;
        }
    return (last_ts - first_ts) / 90;
}

static void a_track_that_lags_or_falls_silent_holds_up_nobody(void **state) {
    (void)state;
    struct source sources[SOURCES];
    struct world *world = begin_ladder(sources);
    play(world, sources, SOURCES, 500);
    sources[MID].late_ms = 300;
    for (int64_t ms = 520; ms < 8000; ms += 20) {
        sources[SMALL].mute = ms > 5000;
        play(world, sources, SOURCES, ms);
        struct stream *stream = stream_of(world);
        assert_true(reached_ms(stream, 0) >= ms - 20 - 60);
    }
    struct stream *stream = stream_of(world);
    uint64_t frames[TRACKS_MAX];
    assert_int_equal(discontinuities(stream), 0);
    for (uint32_t s = 0; s < 3; s++) {
        assert_int_equal(stream->segments[s]->part_count, 10);
        assert_true(begins_independent(stream->segments[s], 0));
    }
    close_all(world);
    check_stream(stream, frames);
    assert_int_equal(frames[1], sources[MID].n); /* it came late, and nothing of it is lost */
    end(world);
}

static void a_track_with_key_frames_elsewhere_is_what_it_is(void **state) {
    (void)state;
    struct source sources[SOURCES];
    struct world *world = begin_ladder(sources);
    sources[MID].key_at = 20;
    play(world, sources, SOURCES, 8000);
    struct stream *stream = stream_of(world);
    assert_int_equal(stream->open->open.track_count, 5);
    for (uint32_t s = 1; s < 3; s++) {
        const struct segment *segment = stream->segments[s];
        assert_true(begins_independent(segment, 0) && begins_independent(segment, 2));
        assert_false(begins_independent(segment, 1));
        for (uint32_t p = 0; p < segment->part_count; p++) {
            const struct record_part *part = &segment->parts[p].record->part;
            assert_int_equal(part->tracks[0].independent, p % 5 == 0);
            assert_int_equal(part->tracks[1].independent, p % 5 == 2);
            assert_int_equal(!!(part->flags & PART_INDEPENDENT), p % 5 == 0);
        }
    }
    end(world);
}

/* The one decodes two frames ahead of what it shows and the other doesn't: they are shown together, so they are cut
 * together. */
static void tracks_that_reorder_differently_are_cut_where_they_are_shown(void **state) {
    (void)state;
    struct source sources[SOURCES];
    struct world *world = begin_ladder(sources);
    sources[LARGE].offset_ms = 40;
    play(world, sources, SOURCES, 8000);
    struct stream *stream = stream_of(world);
    for (uint32_t s = 0; s < 3; s++)
        for (uint32_t t = 0; t < 3; t++)
            assert_true(begins_independent(stream->segments[s], t));
    end(world);
}

static void the_leading_track_ends_and_the_others_go_on(void **state) {
    (void)state;
    struct source sources[SOURCES];
    struct world *world = begin_ladder(sources);
    play(world, sources, SOURCES, 4500);
    sources[LARGE].mute = true;
    publisher_track_end(world->pub, TRACK_VIDEO, 1);
    play(world, sources, SOURCES, 9000);
    struct stream *stream = stream_of(world);
    assert_int_equal(world->opens, 2);
    assert_int_equal(stream->open->open.track_count, 4);
    assert_int_equal(stream->open->open.tracks[0].width, 640);
    assert_int_equal(discontinuities(stream), 1);
    assert_true(begins_independent(stream_last_segment(stream, 0), 0));
    assert_int_equal(world->losses, 0);
    end(world);
}

static void another_track_ends_at_a_key_frame(void **state) {
    (void)state;
    struct source sources[SOURCES];
    struct world *world = begin_ladder(sources);
    play(world, sources, SOURCES, 4500);
    sources[SMALL].mute = sources[DE].mute = true;
    publisher_track_end(world->pub, TRACK_VIDEO, 0);
    publisher_track_end(world->pub, TRACK_AUDIO, 1);
    assert_int_equal(world->opens, 1);
    play(world, sources, SOURCES, 9000);
    struct stream *stream = stream_of(world);
    uint64_t frames[TRACKS_MAX];
    assert_int_equal(world->opens, 2);
    assert_int_equal(stream->open->open.track_count, 3);
    close_all(world);
    check_stream(stream, frames);
    assert_int_equal(frames[0], sources[LARGE].n); /* nothing of the others is lost */
    assert_int_equal(frames[1], sources[MID].n);
    end(world);
}

static void on_time(void *ctx) {
    loop_stop(ctx);
}

static void a_silent_leading_track_is_left_behind(void **state) {
    (void)state;
    struct source sources[SOURCES];
    struct world *world = begin_with("show", (struct ingest_settings){.stall_ms = 100});
    struct loop_timer *timer = loop_timer_create(world->loop, on_time, world->loop);
    memcpy(sources, ladder, sizeof ladder);
    configure(world);
    play(world, sources, SOURCES, 3000);
    sources[LARGE].mute = true;
    loop_timer_set(timer, 150000);
    loop_run(world->loop);
    play(world, sources, SOURCES, 3500);
    publishers_sweep(world->ingest, loop_now_us(world->loop));
    play(world, sources, SOURCES, 6000);
    struct stream *stream = stream_of(world);
    assert_int_equal(world->opens, 2);
    assert_int_equal(stream->open->open.tracks[0].width, 640);
    assert_int_equal(stream->open->open.track_count, 4);
    sources[LARGE].mute = false; /* and is there again */
    play(world, sources, SOURCES, 9000);
    assert_int_equal(world->opens, 3);
    assert_int_equal(stream->open->open.tracks[0].width, 1280);
    assert_int_equal(stream->open->open.track_count, 5);
    loop_timer_destroy(timer);
    end(world);
}

/* Whether it comes before the leading track or after it. */
static void a_track_that_comes_later_is_added_at_a_key_frame(void **state) {
    (void)state;
    for (int number = 0; number < 3; number += 2) {
        struct source sources[SOURCES];
        struct world *world = begin();
        int late = number ? MID : SMALL;
        memcpy(sources, ladder, sizeof ladder);
        sources[late].mute = sources[DE].mute = true;
        add_track(world, CODEC_H264, 1, avcc, sizeof avcc, "");
        if (number)
            add_track(world, CODEC_H264, 0, avcc_small, sizeof avcc_small, "");
        else
            add_track(world, CODEC_H264, 2, avcc_mid, sizeof avcc_mid, "");
        add_track(world, CODEC_AAC, 0, asc, sizeof asc, "en");
        play(world, sources, SOURCES, 3500);
        assert_int_equal(stream_of(world)->open->open.track_count, 3);
        sources[late].mute = sources[DE].mute = false;
        configure(world);
        play(world, sources, SOURCES, 3900);
        assert_int_equal(world->opens, 1);
        play(world, sources, SOURCES, 8000);
        struct stream *stream = stream_of(world);
        assert_int_equal(world->opens, 2);
        assert_int_equal(stream->open->open.track_count, 5);
        assert_int_equal(discontinuities(stream), 1);
        for (uint32_t s = 0; s < stream->segment_count; s++)
            for (uint32_t t = 0; t < (stream->segments[s]->open->open.track_count > 3 ? 3 : 2); t++)
                assert_true(begins_independent(stream->segments[s], t));
        close_all(world);
        uint64_t frames[TRACKS_MAX];
        check_stream(stream, frames);
        assert_int_equal(frames[0], sources[LARGE].n);
        end(world);
    }
}

static void a_new_configuration_beside_the_leading_track_waits_for_its_key_frame(void **state) {
    (void)state;
    for (int number = 0; number < 3; number += 2) {
        struct source sources[SOURCES];
        struct world *world = begin_ladder(sources);
        play(world, sources, SOURCES, 4000);
        uint8_t other[sizeof avcc_mid];
        memcpy(other, number ? avcc_mid : avcc_small, sizeof other);
        other[sizeof other - 2] ^= 1; /* another PPS */
        add_track(world, CODEC_H264, (uint8_t)number, other, sizeof other, "");
        play(world, sources, SOURCES, 8000);
        struct stream *stream = stream_of(world);
        assert_int_equal(world->opens, 2);
        assert_int_equal(stream->init_versions, 2);
        assert_int_equal(stream->open->open.track_count, 5);
        assert_int_equal(discontinuities(stream), 1);
        close_all(world);
        uint64_t frames[TRACKS_MAX];
        check_stream(stream, frames);
        assert_int_equal(frames[0], sources[LARGE].n);
        end(world);
    }
}

static void a_track_of_which_nothing_comes_is_not_waited_for_again_and_again(void **state) {
    (void)state;
    struct source sources[SOURCES];
    struct world *world = begin_ladder(sources);
    sources[MID].mute = true;
    play(world, sources, SOURCES, 10000);
    assert_int_equal(world->opens, 1);
    assert_int_equal(stream_of(world)->open->open.track_count, 4);
    end(world);
}

static void more_tracks_than_may_be_are_left_out(void **state) {
    (void)state;
    struct source sources[SOURCES];
    struct world *world = begin_ladder(sources);
    for (uint8_t i = 3; i < 20; i++) {
        add_track(world, CODEC_H264, i, avcc_small, sizeof avcc_small, "");
        add_track(world, CODEC_AAC, i, asc, sizeof asc, "");
    }
    static const uint8_t bad[] = {1, 2};
    add_track(world, CODEC_H264, 200, bad, sizeof bad, "");
    struct source refused = {.kind = TRACK_VIDEO, .number = 19, .fps = 25};
    for (int i = 0; i < 300; i++)
        send_next(world, &refused);
    play(world, sources, SOURCES, 4000);
    assert_int_equal(world->losses, 0);
    assert_int_equal(stream_of(world)->open->open.track_count, 3 + 4);
    end(world);
}

static void sound_alone_in_two_languages(void **state) {
    (void)state;
    struct source sources[2] = {ladder[EN], ladder[DE]};
    struct world *world = begin();
    add_track(world, CODEC_AAC, 0, asc, sizeof asc, "en");
    add_track(world, CODEC_AAC, 1, asc, sizeof asc, "de");
    play(world, sources, 2, 8000);
    struct stream *stream = stream_of(world);
    uint64_t frames[TRACKS_MAX];
    assert_int_equal(stream->open->open.track_count, 2);
    close_all(world);
    check_stream(stream, frames);
    assert_int_equal(frames[0], sources[0].n);
    assert_in_range(frames[1], sources[1].n - 5, sources[1].n);
    end(world);
}

/* Frames of 2.5, 20 and 60 ms, one after the other, beside a picture. */
static void opus_may_change_the_length_of_its_frames(void **state) {
    (void)state;
    static const uint8_t head[] = {'O', 'p', 'u', 's', 'H', 'e', 'a', 'd', 1, 2, 0x38, 1, 0x80, 0xbb, 0, 0, 0, 0, 0};
    static const struct {
        uint8_t toc;
        uint32_t us;
    } kinds[] = {{0xe4, 2500}, {0xfc, 20000}, {0x1c, 60000}};
    struct source picture = ladder[LARGE];
    struct world *world = begin();
    add_track(world, CODEC_H264, 1, avcc, sizeof avcc, "");
    add_track(world, CODEC_OPUS, 0, head, sizeof head, "en");
    int64_t us = 0, sent = 0;
    for (; us < 8000000; sent++) {
        uint32_t k = sent / 100 % 3;
        uint8_t packet[40] = {kinds[k].toc, 1, 2, 3};
        play(world, &picture, 1, us / 1000);
        struct publisher_frame frame = {TRACK_AUDIO, 0, us, us, true, packet, sizeof packet};
        publisher_frame(world->pub, &frame);
        us += kinds[k].us;
    }
    play(world, &picture, 1, us / 1000 + 100);
    struct stream *stream = stream_of(world);
    assert_string_equal(stream->open->open.tracks[1].codecs, "opus");
    assert_int_equal(stream->open->open.tracks[1].timescale, 48000);
    close_all(world);
    uint64_t frames[TRACKS_MAX];
    check_stream(stream, frames);
    assert_in_range(frames[1], sent - 1, sent);
    int64_t end_ts = 0;
    for (uint32_t s = 0; s < stream->segment_count; s++)
        for (uint32_t i = 0; i < stream->segments[s]->chunks[1].count; i++) {
            const struct record_chunk *chunk = &stream->segments[s]->chunks[1].items[i]->chunk;
            assert_true(!end_ts || chunk->dts_ts == end_ts); /* each its own samples, and no gap */
            end_ts = chunk->dts_ts + chunk->duration_ts;
        }
    uint64_t most_ts = stream->open->open.part_target_us * 48000ull / 1000000;
    for (uint32_t s = 0; s < stream->segment_count; s++)
        for (uint32_t p = 0; p < stream->segments[s]->part_count; p++)
            assert_true(stream->segments[s]->parts[p].record->part.tracks[1].duration_ts <= most_ts);
    end(world);
}

static const struct codec_sample *const samples[] = {&sample_hevc, &sample_av1, &sample_vp9, &sample_opus,
                                                     &sample_flac};
enum { SAMPLES = sizeof samples / sizeof *samples, SAMPLE_FRAMES = 3 };

/* The n-th frame of a track; how long it lasts. */
static int64_t send_sample(struct world *world, uint8_t number, uint64_t n, int64_t us) {
    const struct codec_sample *sample = samples[number];
    const struct sample_bytes *bytes = &sample->frames[n % SAMPLE_FRAMES];
    bool video = sample->codec < CODEC_AAC;
    struct publisher_frame frame = {.kind = video ? TRACK_VIDEO : TRACK_AUDIO,
                                    .track = number,
                                    .dts_us = us,
                                    .pts_us = us,
                                    .independent = n % SAMPLE_FRAMES == 0,
                                    .data = bytes->data,
                                    .len = bytes->len};
    struct codec_info info;
    const char *why;
    assert_int_equal(codec_describe(sample->codec, sample->config.data, sample->config.len, &info, &why), 0);
    publisher_frame(world->pub, &frame);
    return video ? 40000 : codec_frame_samples(&info, bytes->data, bytes->len) * 1000000ll / info.sample_rate;
}

static void every_codec_is_a_track(void **state) {
    (void)state;
    struct world *world = begin();
    int64_t at_us[SAMPLES] = {0};
    uint64_t sent[SAMPLES] = {0}, frames[TRACKS_MAX];
    for (uint8_t i = 0; i < SAMPLES; i++)
        add_track(world, samples[i]->codec, i, samples[i]->config.data, samples[i]->config.len, "");
    for (int64_t us = 0; us < 5000000; us += 40000)
        for (uint8_t i = 0; i < SAMPLES; i++)
            while (at_us[i] <= us)
                at_us[i] += send_sample(world, i, sent[i]++, at_us[i]);
    struct stream *stream = stream_of(world);
    assert_int_equal(world->opens, 1);
    assert_int_equal(stream->open->open.track_count, SAMPLES);
    close_all(world);
    check_stream(stream, frames);
    for (uint32_t t = 0; t < SAMPLES; t++) {
        const struct track_info *track = &stream->open->open.tracks[t];
        assert_string_equal(track->codecs, samples[t]->codecs);
        assert_int_equal(track->width, track->kind == TRACK_VIDEO ? 64 : 0);
        assert_in_range(frames[t], sent[t] - (track->kind == TRACK_VIDEO ? 0 : 6), sent[t]);
    }
    end(world);
}

static uint32_t random_next(uint32_t *seed) {
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

/* However they are interleaved: check_stream is what holds. */
static void whatever_the_order_nothing_is_lost_or_counted_twice(void **state) {
    (void)state;
    for (uint32_t seed = 1; seed <= 10; seed++) {
        uint32_t random = seed;
        struct source sources[SOURCES];
        struct world *world = begin_ladder(sources);
        for (int64_t ms = 100; ms < 6000; ms += 20) {
            for (uint32_t i = 0; i < SOURCES; i++)
                sources[i].late_ms = random_next(&random) % (seed % 2 ? 60 : 400);
            play(world, sources, SOURCES, ms);
        }
        for (uint32_t i = 0; i < SOURCES; i++)
            sources[i].late_ms = 0;
        play(world, sources, SOURCES, 6000);
        struct stream *stream = stream_of(world);
        close_all(world);
        uint64_t frames[TRACKS_MAX];
        check_stream(stream, frames);
        assert_int_equal(world->opens, 1);
        assert_int_equal(frames[0], sources[LARGE].n);
        assert_int_equal(frames[1], sources[MID].n);
        assert_int_equal(frames[2], sources[SMALL].n);
        end(world);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tracks_of_one_clock_are_cut_alike),
        cmocka_unit_test(late_and_early_tracks_keep_their_place),
        cmocka_unit_test(a_track_that_lags_or_falls_silent_holds_up_nobody),
        cmocka_unit_test(a_track_with_key_frames_elsewhere_is_what_it_is),
        cmocka_unit_test(tracks_that_reorder_differently_are_cut_where_they_are_shown),
        cmocka_unit_test(the_leading_track_ends_and_the_others_go_on),
        cmocka_unit_test(another_track_ends_at_a_key_frame),
        cmocka_unit_test(a_silent_leading_track_is_left_behind),
        cmocka_unit_test(a_track_that_comes_later_is_added_at_a_key_frame),
        cmocka_unit_test(a_new_configuration_beside_the_leading_track_waits_for_its_key_frame),
        cmocka_unit_test(a_track_of_which_nothing_comes_is_not_waited_for_again_and_again),
        cmocka_unit_test(more_tracks_than_may_be_are_left_out),
        cmocka_unit_test(sound_alone_in_two_languages),
        cmocka_unit_test(opus_may_change_the_length_of_its_frames),
        cmocka_unit_test(every_codec_is_a_track),
        cmocka_unit_test(whatever_the_order_nothing_is_lost_or_counted_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
