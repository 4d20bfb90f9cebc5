/* A publisher whose picture is transcoded: what is in the store of its rungs, and when. */
#include "ingest/publisher.h"

#include <stdio.h>

#include "codec_samples.h"
#include "common/base/buf.h"
#include "common/media/cmaf.h"
#include "common/media/playlist.h"
#include "picture_fixture.h"
#include "publisher_fixture.h"

enum { DEADLINE_US = 21000000, POLL_US = 2000, V0 = 1, V1 = 2, V2 = 4 };

static char *two[] = {"live/* 180:300 90:100"};

struct wait {
    struct world *world;
    bool (*done)(struct world *world);
    struct loop_timer *timer;
    int64_t deadline_us;
};

static void on_poll(void *ctx) {
    struct wait *wait = ctx;
    if (wait->done(wait->world))
        loop_stop(wait->world->loop);
    else if (loop_now_us(wait->world->loop) > wait->deadline_us)
        fail_msg("it did not come to that");
    else
        loop_timer_set(wait->timer, POLL_US);
}

static void run_until(struct world *world, bool (*done)(struct world *world)) {
    struct wait wait = {.world = world, .done = done, .deadline_us = loop_now_us(world->loop) + DEADLINE_US};
    wait.timer = loop_timer_create(world->loop, on_poll, &wait);
    loop_timer_set(wait.timer, 0);
    loop_run(world->loop);
    loop_timer_destroy(wait.timer);
}

static bool is_open(struct world *world) {
    return world->opens == 1;
}

static bool is_open_again(struct world *world) {
    return world->opens == 2;
}

static bool is_gone(struct world *world) {
    return list_empty(&world->ingest->publishers);
}

static bool all_whole(struct world *world) {
    const struct stream *stream = stream_of(world);
    const struct segment *last = stream->segments[stream->segment_count - 1];
    uint32_t all = (1u << last->open->open.track_count) - 1;
    return segment_parts(last, all) == last->published && last->published > 0;
}

/* But for what a decoder holds back. */
static bool nearly_whole(struct world *world) {
    const struct stream *stream = stream_of(world);
    uint32_t all = (1u << stream->open->open.track_count) - 1;
    return stream_next_part(stream, all) + 1 >= stream->next_part;
}

static struct world *begin_ladder(char *const *entries, uint32_t count, const char *encoder) {
    struct world *world = begin_with("show", (struct ingest_settings){.stall_ms = 2000,
                                                                      .ladder = entries,
                                                                      .ladder_count = count,
                                                                      .ladder_encoder = encoder,
                                                                      .ladder_preset = "ultrafast"});
    assert_int_equal(world->result, PUBLISH_OK);
    return world;
}

static struct world *begin_on_demand(uint32_t linger_ms) {
    struct world *world = begin_with("show", (struct ingest_settings){.stall_ms = 2000,
                                                                      .ladder = two,
                                                                      .ladder_count = 1,
                                                                      .ladder_on_demand_ms = linger_ms,
                                                                      .ladder_encoder = "libx264",
                                                                      .ladder_preset = "ultrafast"});
    assert_int_equal(world->result, PUBLISH_OK);
    return world;
}

static void announce(struct world *world, const struct source *source) {
    struct publisher_metadata metadata = {.frame_rate = 30, .has_video = true, .complete = true};
    publisher_metadata(world->pub, &metadata);
    set_config(world, source->codec, source->config, source->config_len);
}

static void publish(struct world *world, const struct source *source, uint32_t from, uint32_t to, int64_t shift_us) {
    for (uint32_t i = from; i < to; i++) {
        const struct source_frame *f = &source->frames[i];
        int64_t origin_ts = source->origin_ts - 90000; /* times begin at one second */
        struct publisher_frame frame = {.kind = TRACK_VIDEO,
                                        .dts_us = (f->slot.dts_ts - origin_ts) * 100 / 9 + shift_us,
                                        .pts_us = (f->slot.pts_ts - origin_ts) * 100 / 9 + shift_us,
                                        .independent = f->slot.independent,
                                        .data = f->data,
                                        .len = f->len};
        publisher_frame(world->pub, &frame);
    }
}

static bool v1_is_whole(struct world *world) {
    const struct stream *stream = stream_of(world);
    return stream_next_part(stream, V1) == stream->next_part;
}

static bool v1_is_asleep(struct world *world) {
    return !((stream_of(world)->here | stream_of(world)->joining) & V1);
}

static const struct segment *last_segment(struct world *world) {
    const struct stream *stream = stream_of(world);
    return stream->segments[stream->segment_count - 1];
}

/* With what its encoder keeps to. */
static void check_listed(struct world *world) {
    struct buf text;
    buf_init(&text, 4096);
    playlist_multivariant(&text, stream_of(world), PLAYLIST_MUXED_AUTO, NULL);
    buf_append(&text, "", 1);
    assert_non_null(strstr((const char *)buf_head(&text), "BANDWIDTH=415801,AVERAGE-BANDWIDTH=396001,CODECS=\"avc1."));
    assert_non_null(strstr((const char *)buf_head(&text), "RESOLUTION=288x180,FRAME-RATE=30.000"));
    buf_finish(&text);
}

/* Segments of a second, of which a rung has those from the one before that under way, when it was asked for. */
static void a_rung_runs_while_it_is_asked_for(void **state) {
    (void)state;
    struct source source = {.codec = CODEC_H264, .width = 320, .height = 200, .gop = 30};
    source_make(&source, 272);
    struct world *world = begin_on_demand(1);
    announce(world, &source);
    publish(world, &source, 0, 20, 0);
    run_until(world, is_open);
    const struct record_open *open = &stream_of(world)->open->open;
    assert_int_equal(open->absent, V1 | V2);
    assert_int_equal(open->late, V1 | V2);
    assert_true(open->tracks[1].on_demand);
    assert_int_equal(open->tracks[1].peak_bps, 396000); /* a fifth more than 300 kb/s, and 30 chunks' boxes */
    assert_true(strncmp(open->tracks[1].codecs, "avc1.", 5) == 0);
    publish(world, &source, 20, 160, 0);
    uint64_t asked_msn = last_segment(world)->msn;
    assert_int_equal(stream_of(world)->joining, 0);
    check_listed(world);
    world->asked = track_names_of("v1a0");
    publish(world, &source, 160, 162, 0);
    run_until(world, v1_is_whole);
    assert_true(
        segment_whole(stream_segment(stream_of(world), asked_msn - 1), V1)); /* there is something to begin with */
    assert_int_equal(stream_segment(stream_of(world), asked_msn - 2)->chunks[1].count, 0);
    world->asked = (struct track_names){0};
    publish(world, &source, 162, 250, 0); /* it goes on to the end of its segment */
    run_until(world, v1_is_asleep);
    const struct segment *last = stream_segment(stream_of(world), asked_msn);
    assert_true(last->complete && segment_whole(last, V1));
    assert_int_equal(last_segment(world)->chunks[1].count, 0);
    assert_int_equal(world->opens, 1); /* nothing of that is a discontinuity */
    uint64_t again = last_segment(world)->msn;
    world->asked = track_names_of("v1");
    publish(world, &source, 250, 272, 0);
    run_until(world, v1_is_whole);
    assert_true(segment_parts(stream_segment(stream_of(world), again), V1) > 0);
    for (uint32_t s = 0; s < stream_of(world)->segment_count; s++)
        assert_int_equal(stream_of(world)->segments[s]->chunks[2].count, 0); /* nobody asked for v2 */
    publisher_close(world->pub, true);
    run_until(world, is_gone);
    assert_true(v1_is_whole(world));
    world->pub = NULL;
    end(world);
    source_free(&source);
}

/* A rung of half the rate: no less whole, with one chunk where the picture has two, and an end where that has one. */
static void check_half(const struct segment *segment, uint32_t t) {
    const struct chunk_list *lead = &segment->chunks[0], *half = &segment->chunks[t];
    assert_int_equal(segment->part_count, segment->published);
    uint32_t first = 0, n = 0;
    for (uint32_t p = 0; p < segment->part_count; p++) {
        const struct record_part_track *one = segment->parts[p].record->part.tracks;
        assert_int_equal(one[t].chunks, (one[0].chunks + 1) / 2);
        assert_int_equal(one[t].duration_ts, one[0].duration_ts);
        assert_int_equal(one[t].independent, one[0].independent);
        assert_int_equal(half->items[n]->chunk.dts_ts, lead->items[first]->chunk.dts_ts);
        int64_t end_ts = lead->items[first]->chunk.dts_ts + one[0].duration_ts;
        for (uint32_t i = 0; i < one[t].chunks; i++, n++) {
            const struct record_chunk *chunk = &half->items[n]->chunk;
            int64_t next_ts = i + 1 < one[t].chunks ? half->items[n + 1]->chunk.dts_ts : end_ts;
            assert_int_equal(chunk->number, n);
            assert_int_equal(chunk->dts_ts + chunk->duration_ts, next_ts);
        }
        first += one[0].chunks;
    }
}

/* The second of them, and so a ladder in which it is the first; the picture's numbers are not its own. */
static void a_rung_of_half_the_rate_runs_on_demand(void **state) {
    (void)state;
    char *entries[] = {"live/* 180:300 120@15:150"};
    struct source source = {.codec = CODEC_H264, .width = 320, .height = 200, .gop = 30};
    source_make(&source, 100);
    struct world *world = begin_with("show", (struct ingest_settings){.stall_ms = 2000,
                                                                      .ladder = entries,
                                                                      .ladder_count = 1,
                                                                      .ladder_on_demand_ms = 1000,
                                                                      .ladder_encoder = "libx264",
                                                                      .ladder_preset = "ultrafast"});
    announce(world, &source);
    publish(world, &source, 0, 20, 0);
    run_until(world, is_open);
    publish(world, &source, 20, 70, 0);
    world->asked = track_names_of("v2");
    publish(world, &source, 70, 100, 0);
    publisher_close(world->pub, true);
    run_until(world, is_gone);
    const struct stream *stream = stream_of(world);
    uint32_t whole = 0;
    for (uint32_t s = 0; s < stream->segment_count; s++)
        if (segment_whole(stream->segments[s], V2)) {
            check_half(stream->segments[s], 2);
            whole++;
        }
    assert_true(whole >= 2);
    world->pub = NULL;
    end(world);
    source_free(&source);
}

/* Whatever the encoder is about to give when the broadcaster leaves, or the node stops. */
static void an_asleep_ladder_ends_at_once(void **state) {
    (void)state;
    struct source source = {.codec = CODEC_H264, .width = 320, .height = 200, .gop = 30};
    source_make(&source, 60);
    struct world *world = begin_on_demand(1000);
    announce(world, &source);
    publish(world, &source, 0, 20, 0);
    run_until(world, is_open);
    publish(world, &source, 20, 60, 0);
    publisher_close(world->pub, true);
    assert_true(is_gone(world));
    world->pub = NULL;
    end(world);
    world = begin_on_demand(1000);
    world->asked = track_names_of("v1v2");
    announce(world, &source);
    publish(world, &source, 0, 20, 0);
    run_until(world, is_open);
    publish(world, &source, 20, 60, 0);
    end(world); /* with both being begun */
    source_free(&source);
}

/* Cut alike: chunk by chunk of the same number, time and kind, and the same in each part. */
static void check_alike(const struct stream *stream, uint32_t rungs) {
    for (uint32_t s = 0; s < stream->segment_count; s++) {
        const struct segment *segment = stream->segments[s];
        if (segment->open->open.track_count <= rungs)
            continue;
        const struct chunk_list *lead = &segment->chunks[0];
        for (uint32_t t = 1; t <= rungs; t++) {
            assert_int_equal(segment->chunks[t].count, lead->count);
            for (uint32_t i = 0; i < lead->count; i++) {
                const struct record_chunk *a = &lead->items[i]->chunk, *b = &segment->chunks[t].items[i]->chunk;
                assert_int_equal(b->number, a->number);
                assert_int_equal(b->dts_ts, a->dts_ts);
                assert_int_equal(b->duration_ts, a->duration_ts);
                assert_int_equal(b->flags, a->flags);
                assert_int_equal(b->capture_us, a->capture_us);
            }
            for (uint32_t p = 0; p < segment->part_count; p++) {
                const struct record_part_track *one = segment->parts[p].record->part.tracks;
                assert_int_equal(one[t].chunks, one[0].chunks);
                assert_int_equal(one[t].duration_ts, one[0].duration_ts);
                assert_int_equal(one[t].independent, one[0].independent);
            }
        }
    }
}

static void rungs_are_cut_as_the_picture_is(void **state) {
    (void)state;
    struct source source = {.codec = CODEC_H264, .width = 320, .height = 200, .gop = 60};
    source_make(&source, 152);
    struct world *world = begin_ladder(two, 1, "libx264");
    announce(world, &source);
    publish(world, &source, 0, 20, 0);
    assert_int_equal(world->opens, 0); /* not before it is known what rungs are */
    run_until(world, is_open);
    const struct record_open *open = &stream_of(world)->open->open;
    assert_int_equal(open->track_count, 3);
    assert_int_equal(open->late, V1 | V2);
    assert_string_equal(open->tracks[1].name, "v1");
    assert_int_equal(open->tracks[1].width, 288);
    assert_int_equal(open->tracks[2].height, 90);
    assert_int_equal(open->tracks[2].frame_rate_milli, 30000);
    assert_true(strncmp(open->tracks[1].codecs, "avc1.", 5) == 0);
    publish(world, &source, 20, 80, 0);
    const struct stream *stream = stream_of(world);
    assert_int_equal(stream->segment_count, 2); /* the picture waited for nothing */
    assert_int_equal(stream_last_segment(stream, V0)->msn, stream_last_segment(stream, 0)->msn);
    assert_true(stream_next_part(stream, V2) < stream->next_part);
    run_until(world, all_whole);
    publish(world, &source, 80, 152, 0);
    run_until(world, all_whole);
    publisher_close(world->pub, true);
    run_until(world, is_gone);
    check_alike(stream, 2);
    uint64_t bytes = 0;
    for (uint32_t s = 0; s < stream->segment_count; s++) {
        assert_true(segment_whole(stream->segments[s], V0 | V1 | V2));
        for (uint32_t p = 0; p < stream->segments[s]->part_count; p++)
            bytes += stream->segments[s]->parts[p].record->part.tracks[1].bytes;
    }
    assert_true(bytes > 0);
    world->pub = NULL;
    end(world);
    source_free(&source);
}

/* In the order in which they are shown, in the slots in which the picture is decoded. */
static void a_picture_with_b_frames_has_rungs_too(void **state) {
    (void)state;
    struct source source = {.codec = CODEC_H264, .width = 320, .height = 200, .gop = 30, .b_frames = 2};
    source_make(&source, 92);
    struct world *world = begin_ladder(two, 1, "libx264");
    announce(world, &source);
    publish(world, &source, 0, 20, 0);
    run_until(world, is_open);
    publish(world, &source, 20, 80, 0);
    run_until(world, nearly_whole);
    publish(world, &source, 80, 92, 0);
    publisher_close(world->pub, true); /* with some under way */
    assert_false(is_gone(world));
    run_until(world, is_gone);
    check_alike(stream_of(world), 2);
    assert_true(all_whole(world));
    world->pub = NULL;
    end(world);
    source_free(&source);
}

/* Key frames at odd pictures, so that some of the rung's stand for one. */
static void a_rung_of_half_the_rate_is_cut_as_the_picture_is(void **state) {
    (void)state;
    static char *half[] = {"live/* 180:300 90@15:100:ultrafast"};
    struct source source = {.codec = CODEC_H264, .width = 320, .height = 200, .gop = 45};
    source_make(&source, 136);
    struct world *world = begin_ladder(half, 1, "libx264");
    announce(world, &source);
    publish(world, &source, 0, 20, 0);
    run_until(world, is_open);
    assert_int_equal(stream_of(world)->open->open.tracks[1].frame_rate_milli, 30000);
    assert_int_equal(stream_of(world)->open->open.tracks[2].frame_rate_milli, 15000);
    publish(world, &source, 20, 100, 0);
    run_until(world, nearly_whole);
    publish(world, &source, 100, 136, 0);
    publisher_close(world->pub, true);
    run_until(world, is_gone);
    const struct stream *stream = stream_of(world);
    assert_true(all_whole(world));
    assert_true(stream->segment_count > 2);
    check_alike(stream, 1);
    for (uint32_t s = 0; s < stream->segment_count; s++)
        check_half(stream->segments[s], 2);
    world->pub = NULL;
    end(world);
    source_free(&source);
}

static void what_is_under_way_comes_before_other_tracks(void **state) {
    (void)state;
    struct source one = {.codec = CODEC_H264, .width = 320, .height = 200, .gop = 30};
    struct source other = {.codec = CODEC_H264, .width = 240, .height = 160, .gop = 30};
    source_make(&one, 62);
    source_make(&other, 60);
    struct world *world = begin_ladder(two, 1, "libx264");
    announce(world, &one);
    publish(world, &one, 0, 10, 0);
    run_until(world, is_open);
    publish(world, &one, 10, 50, 0);
    run_until(world, nearly_whole);
    publish(world, &one, 50, 62, 0);
    announce(world, &other);
    publish(world, &other, 0, 40, 2100000);
    assert_int_equal(world->opens, 1);
    run_until(world, is_open_again);
    const struct stream *stream = stream_of(world);
    for (uint32_t s = 0; stream->segments[s]->open != stream->open; s++)
        assert_true(segment_whole(stream->segments[s], V0 | V1 | V2));
    assert_int_equal(stream->open->open.track_count, 2); /* 180 is not below 160 */
    assert_string_equal(stream->open->open.tracks[1].name, "v1");
    publish(world, &other, 40, 60, 2100000);
    run_until(world, all_whole);
    publisher_close(world->pub, true);
    run_until(world, is_gone);
    world->pub = NULL;
    end(world);
    source_free(&one);
    source_free(&other);
}

static void who_comes_again_finds_the_name_free(void **state) {
    (void)state;
    static const struct publisher_events events = {on_result, on_lost};
    struct source source = {.codec = CODEC_H264, .width = 320, .height = 200, .gop = 30};
    source_make(&source, 60);
    struct world *world = begin_ladder(two, 1, "libx264");
    announce(world, &source);
    publish(world, &source, 0, 20, 0);
    run_until(world, is_open);
    publish(world, &source, 20, 60, 0);
    publisher_close(world->pub, true);
    world->pub = publisher_open(world->ingest, "live", "other", "192.0.2.1:6", &events, world);
    assert_false(list_empty(&world->ingest->publishers) ||
                 world->ingest->publishers.next->next == &world->ingest->publishers);
    publisher_close(world->pub, true);
    world->pub = publisher_open(world->ingest, "live", "show", "192.0.2.1:6", &events, world);
    assert_ptr_equal(world->ingest->publishers.next->next, &world->ingest->publishers); /* it alone */
    end(world);
    source_free(&source);
}

/* Another has taken the stream while its rungs came to their end. */
static void who_has_left_and_is_taken_over_from_is_gone(void **state) {
    (void)state;
    static const enum claim_result results[] = {CLAIM_STANDBY, CLAIM_GRANTED, CLAIM_UNREACHABLE};
    struct source source = {.codec = CODEC_H264, .width = 320, .height = 200, .gop = 30};
    source_make(&source, 60);
    for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
        struct world *world = begin_ladder(two, 1, "libx264");
        announce(world, &source);
        publish(world, &source, 0, 20, 0);
        run_until(world, is_open);
        publish(world, &source, 20, 60, 0);
        int told = world->results;
        publisher_close(world->pub, true);
        world->pub = NULL;
        assert_false(is_gone(world));
        world->on_result(world->owner, results[i], &world->grant);
        assert_false(is_gone(world)); /* never from inside the call */
        run_until(world, is_gone);
        assert_int_equal(world->results, told); /* whom it was told may be gone */
        end(world);
    }
    source_free(&source);
}

/* A rung's pictures are each a chunk, however many of the picture's are one. */
static void chunks_of_several_pictures_are_counted_right(void **state) {
    (void)state;
    struct source source = {.codec = CODEC_H264, .width = 320, .height = 200, .gop = 30};
    source_make(&source, 62);
    struct world *world = begin_with("show", (struct ingest_settings){.stall_ms = 2000,
                                                                      .chunk_ms = 100,
                                                                      .ladder = two,
                                                                      .ladder_count = 1,
                                                                      .ladder_encoder = "libx264",
                                                                      .ladder_preset = "ultrafast"});
    announce(world, &source);
    publish(world, &source, 0, 20, 0);
    run_until(world, is_open);
    publish(world, &source, 20, 62, 0);
    publisher_close(world->pub, true);
    run_until(world, is_gone);
    const struct segment *segment = stream_of(world)->segments[0];
    assert_true(all_whole(world));
    assert_true(segment->chunks[0].count < segment->chunks[1].count);
    assert_int_equal(segment->chunks[1].count, 60);
    world->pub = NULL;
    end(world);
    source_free(&source);
}

static void a_ladder_that_cannot_begin_is_done_without(void **state) {
    (void)state;
    struct source source = {.codec = CODEC_H264, .width = 320, .height = 200, .gop = 30};
    source_make(&source, 60);
    struct world *world = begin_ladder(two, 1, "no-such-encoder");
    announce(world, &source);
    publish(world, &source, 0, 20, 0);
    run_until(world, is_open);
    publish(world, &source, 20, 60, 0);
    assert_int_equal(stream_of(world)->open->open.track_count, 1);
    assert_true(all_whole(world));
    end(world);
    source_free(&source);
}

static void a_stream_of_no_ladder_waits_for_none(void **state) {
    (void)state;
    char *entries[] = {"live/other 180:300", "live/sh* none"};
    struct source source = {.codec = CODEC_H264, .width = 320, .height = 200, .gop = 30};
    source_make(&source, 30);
    struct world *world = begin_ladder(entries, 2, "libx264");
    announce(world, &source);
    publish(world, &source, 0, 20, 0);
    assert_int_equal(world->opens, 1);
    assert_int_equal(stream_of(world)->open->open.track_count, 1);
    end(world);
    source_free(&source);
}

static void sound_stands_behind_the_rungs(void **state) {
    (void)state;
    struct source source = {.codec = CODEC_H264, .width = 320, .height = 200, .gop = 30};
    source_make(&source, 60);
    struct world *world = begin_ladder(two, 1, "libx264");
    announce(world, &source);
    set_config(world, CODEC_AAC, asc, sizeof asc);
    for (uint32_t i = 0; i < 60; i++) {
        publish(world, &source, i, i + 1, 0);
        for (int64_t n = i * 48 * 100 / 3 / 1024; n < (i + 1) * 48 * 100 / 3 / 1024; n++) {
            int64_t us = 1000000 + n * 1024 * 1000 / 48;
            publisher_frame(world->pub, &(struct publisher_frame){TRACK_AUDIO, 0, us, us, true, aac, sizeof aac});
        }
        if (i == 20)
            run_until(world, is_open);
    }
    const struct record_open *open = &stream_of(world)->open->open;
    assert_int_equal(open->track_count, 4);
    assert_string_equal(open->tracks[3].name, "a0");
    assert_int_equal(variant_parse(open, "v2a0", 4), V2 | 8);
    run_until(world, all_whole);
    assert_true(stream_of(world)->segments[0]->chunks[3].count > 3);
    check_alike(stream_of(world), 2);
    end(world);
    source_free(&source);
}

/* Sound that not all can play is replaced by what they can, and there is one of a low rate beside. */
static void sound_is_what_all_can_play(void **state) {
    (void)state;
    struct source source = {.codec = CODEC_H264, .width = 320, .height = 200, .gop = 30};
    source_make(&source, 75);
    struct world *world = begin_with("show", (struct ingest_settings){.stall_ms = 2000,
                                                                      .ladder = two,
                                                                      .ladder_count = 1,
                                                                      .ladder_encoder = "libx264",
                                                                      .ladder_preset = "ultrafast",
                                                                      .ladder_audio_kbps = 40});
    announce(world, &source);
    set_config(world, CODEC_OPUS, sample_opus.config.data, sample_opus.config.len);
    for (uint32_t i = 0; i < 75; i++) {
        publish(world, &source, i, i + 1, 0);
        for (int64_t n = i * 5 / 3; n < (i + 1) * 5 / 3; n++) { /* 20 ms each */
            const struct sample_bytes *frame = &sample_opus.frames[n % 3];
            int64_t us = 1000000 + n * 20000;
            publisher_frame(world->pub,
                            &(struct publisher_frame){TRACK_AUDIO, 0, us, us, true, frame->data, frame->len});
        }
        if (i == 20)
            run_until(world, is_open);
    }
    const struct record_open *open = &stream_of(world)->open->open;
    assert_int_equal(open->track_count, 5);
    assert_string_equal(open->tracks[3].name, "a0");
    assert_string_equal(open->tracks[3].codecs, "mp4a.40.2");
    assert_int_equal(open->tracks[3].channels, 2);
    assert_false(open->tracks[3].low);
    assert_string_equal(open->tracks[4].name, "a1");
    assert_int_equal(open->tracks[4].channels, 1);
    assert_true(open->tracks[4].low);
    assert_int_equal(open->late, V1 | V2);
    run_until(world, all_whole);
    const struct stream *stream = stream_of(world);
    uint64_t ts[2] = {0};
    for (uint32_t s = 0; s < stream->segment_count; s++)
        for (uint32_t p = 0; p < stream->segments[s]->part_count; p++)
            for (int i = 0; i < 2; i++)
                ts[i] += stream->segments[s]->parts[p].record->part.tracks[3 + i].duration_ts;
    for (int i = 0; i < 2; i++)
        assert_true(ts[i] > 48000 * 2 && ts[i] < 48000 * 5 / 2);
    publish(world, &source, 0, 20, 2500000);
    set_config(world, CODEC_AAC, asc, sizeof asc); /* the stream changes with sound under way */
    end(world);
    source_free(&source);
}

/* At any moment: while encoders are opened, and while the node stops with rungs under way. */
static void a_publisher_may_go_at_any_time(void **state) {
    (void)state;
    struct source source = {.codec = CODEC_H264, .width = 320, .height = 200, .gop = 30};
    source_make(&source, 60);
    struct world *world = begin_ladder(two, 1, "libx264");
    announce(world, &source);
    publish(world, &source, 0, 20, 0);
    end(world);
    world = begin_ladder(two, 1, "libx264");
    announce(world, &source);
    publish(world, &source, 0, 20, 0);
    run_until(world, is_open);
    publish(world, &source, 20, 60, 0);
    end(world);
    source_free(&source);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rungs_are_cut_as_the_picture_is),
        cmocka_unit_test(a_rung_runs_while_it_is_asked_for),
        cmocka_unit_test(a_rung_of_half_the_rate_runs_on_demand),
        cmocka_unit_test(an_asleep_ladder_ends_at_once),
        cmocka_unit_test(a_picture_with_b_frames_has_rungs_too),
        cmocka_unit_test(a_rung_of_half_the_rate_is_cut_as_the_picture_is),
        cmocka_unit_test(what_is_under_way_comes_before_other_tracks),
        cmocka_unit_test(who_comes_again_finds_the_name_free),
        cmocka_unit_test(who_has_left_and_is_taken_over_from_is_gone),
        cmocka_unit_test(chunks_of_several_pictures_are_counted_right),
        cmocka_unit_test(a_ladder_that_cannot_begin_is_done_without),
        cmocka_unit_test(a_stream_of_no_ladder_waits_for_none),
        cmocka_unit_test(sound_stands_behind_the_rungs),
        cmocka_unit_test(sound_is_what_all_can_play),
        cmocka_unit_test(a_publisher_may_go_at_any_time),
    };
    av_log_set_level(AV_LOG_QUIET);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
