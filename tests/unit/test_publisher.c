#include "ingest/publisher.h"

#include "common/auth/publish_key.h"
#include "common/base/clock.h"
#include "ingest/advice.h"
#include "ingest/live_names.h"
#include "ingest/timeline.h"
#include "publisher_fixture.h"

static const int64_t start_us = 1790000000ll * 1000000;

/* As long as a key may be, of all that it may have in it. */
#define LONGEST                                                                                                        \
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"                                                 \
    "z0123456789abcdef0123456789abcdef!\"#$%'()*+,-./:;<=>?@[\\]^_`{|}~"
static char *const keys[] = {"live/locked:secret", "live/long:" LONGEST};

static struct world *begin_named(const char *name, uint32_t key_count) {
    return begin_with(name,
                      (struct ingest_settings){.stall_ms = 2000, .publish_keys = keys, .publish_key_count = key_count});
}

static void configure(struct world *world, bool audio) {
    struct publisher_metadata metadata = {.frame_rate = 30, .has_video = true, .has_audio = audio};
    publisher_metadata(world->pub, &metadata);
    set_config(world, CODEC_H264, avcc, sizeof avcc);
    if (audio)
        set_config(world, CODEC_AAC, asc, sizeof asc);
}

static void video(struct world *world, int64_t n, int64_t offset_ms, int gop) {
    int64_t dts_ms = (n * 1000 + 15) / 30;
    bool key = n % gop == 0;
    struct publisher_frame frame = {.kind = TRACK_VIDEO,
                                    .dts_us = dts_ms * 1000,
                                    .pts_us = (dts_ms + offset_ms) * 1000,
                                    .independent = key,
                                    .data = key ? idr : inter,
                                    .len = sizeof idr};
    publisher_frame(world->pub, &frame);
}

static void audio(struct world *world, int64_t n) {
    int64_t dts_ms = n * 1024 / 48;
    struct publisher_frame frame = {TRACK_AUDIO, 0, dts_ms * 1000, dts_ms * 1000, true, aac, sizeof aac};
    publisher_frame(world->pub, &frame);
}

/* Frames `from` to `to` of video at 30/s with audio in step, as an interleaving muxer sends them. */
static void publish(struct world *world, int64_t from, int64_t to, int gop) {
    int64_t a = (from * 1000 / 30 * 48 + 1023) / 1024;
    for (int64_t n = from; n < to; n++) {
        for (; a * 1024 / 48 <= n * 1000 / 30; a++)
            audio(world, a);
        video(world, n, 0, gop);
    }
}

static void stream_appears_after_three_frames(void **state) {
    (void)state;
    struct world *world = begin();
    configure(world, true);
    publish(world, 0, 2, 60);
    assert_null(stream_of(world));
    assert_true(world->touches >= 2); /* nothing is written, but it isn't silent */
    publish(world, 2, 8, 60);
    struct stream *stream = stream_of(world);
    assert_non_null(stream);
    const struct record_open *open = &stream->open->open;
    assert_int_equal(open->track_count, 2);
    assert_string_equal(open->tracks[0].codecs, "avc1.4d401f");
    assert_string_equal(open->tracks[1].codecs, "mp4a.40.2");
    assert_int_equal(open->tracks[0].width, 1280);
    assert_int_equal(open->tracks[0].frame_rate_milli, 30000);
    assert_int_equal(open->part_target_us, 213340 + 1); /* ten AAC frames, rounded up: longer than six pictures */
    assert_int_equal(stream_last_segment(stream, 0)->published, 1);
    end(world);
}

static size_t bytes_of(const struct segment *segment, uint32_t part, uint32_t track) {
    size_t bytes = 0;
    uint32_t first = segment->parts[part].first_chunk[track];
    for (uint32_t i = 0; i < segment->parts[part].record->part.tracks[track].chunks; i++)
        bytes += segment->chunks[track].items[first + i]->chunk.body.len;
    return bytes;
}

static void parts_have_six_pictures_and_the_sound_of_their_time(void **state) {
    (void)state;
    struct world *world = begin();
    configure(world, true);
    publish(world, 0, 241, 60);
    struct stream *stream = stream_of(world);
    assert_int_equal(stream->segment_count, 5);
    uint32_t parts = 0;
    for (uint32_t s = 0; s < 4; s++) {
        const struct segment *segment = stream->segments[s];
        assert_true(segment->complete && segment->published == 10 && segment->msn == 100 + s);
        for (uint32_t p = 0; p < 10; p++, parts++) {
            const struct record_part *part = &segment->parts[p].record->part;
            assert_int_equal(part->tracks[0].chunks, 6);
            assert_int_equal(part->tracks[0].duration_ts, 18000);
            assert_int_equal(!!(part->flags & PART_INDEPENDENT), p == 0);
            if (parts)
                assert_in_range(part->tracks[1].duration_ts, 9 * 1024, 10 * 1024);
            assert_true(part->tracks[1].chunks >= 1 && part->tracks[1].chunks <= 3);
            for (uint32_t t = 0; t < 2; t++)
                assert_int_equal(part->tracks[t].bytes, bytes_of(segment, p, t));
        }
    }
    end(world);
}

static void media_times_follow_without_gaps(void **state) {
    (void)state;
    struct world *world = begin();
    configure(world, true);
    publish(world, 0, 241, 60);
    struct stream *stream = stream_of(world);
    for (uint32_t t = 0; t < 2; t++) {
        int64_t expected_ts = 0;
        for (uint32_t s = 0; s < 4; s++)
            for (uint32_t i = 0; i < stream->segments[s]->chunks[t].count; i++) {
                const struct record_chunk *chunk = &stream->segments[s]->chunks[t].items[i]->chunk;
                if (expected_ts)
                    assert_int_equal(chunk->dts_ts, expected_ts);
                expected_ts = chunk->dts_ts + chunk->duration_ts;
            }
    }
    end(world);
}

/* The picture stands still for 0.8 s, as of an encoder that has lost its camera; the sound does not. */
static void sound_goes_on_while_the_picture_stands_still(void **state) {
    (void)state;
    struct world *world = begin();
    configure(world, true);
    publish(world, 0, 63, 60);
    for (int64_t a = 63 * 1000 / 30 * 48 / 1024 + 1; a * 1024 / 48 <= 87 * 1000 / 30; a++)
        audio(world, a);
    publish(world, 87, 181, 60);
    struct stream *stream = stream_of(world);
    uint32_t silent = 0;
    int64_t video_us = 0, audio_us = 0, first_us = stream->segments[0]->start_us;
    for (uint32_t s = 0; s < stream->segment_count; s++)
        for (uint32_t p = 0; p < stream->segments[s]->published; p++) {
            const struct record_part *part = &stream->segments[s]->parts[p].record->part;
            silent += !part->tracks[0].chunks;
            assert_true(part->tracks[1].duration_ts > 0 || !video_us);
            assert_in_range(part->start_us, first_us + video_us - 20, first_us + video_us + 20);
            video_us += timeline_us(part->tracks[0].duration_ts, 90000);
            audio_us += timeline_us(part->tracks[1].duration_ts, 48000);
        }
    assert_int_equal(silent, 3);
    assert_in_range(video_us, 6000000 - 220000, 6000000 + 1000); /* in all as long as the media */
    assert_in_range(audio_us, video_us - 100000, video_us + 100000);
    end(world);
}

/* Frames in no time at all have no rate that anything could be divided by. */
static void frames_within_one_millisecond_harm_nobody(void **state) {
    (void)state;
    struct world *world = begin();
    struct publisher_metadata metadata = {.has_video = true};
    publisher_metadata(world->pub, &metadata);
    set_config(world, CODEC_H264, avcc, sizeof avcc);
    for (int64_t n = 0; n < 200; n++) {
        struct publisher_frame frame = {TRACK_VIDEO,     0,         n / 120 * 1000, n / 120 * 1000, !n,
                                        n ? inter : idr, sizeof idr};
        publisher_frame(world->pub, &frame);
    }
    for (int64_t n = 0; n < 200; n++) {
        int64_t dts_us = (2000 + n / 120) * 1000;
        struct publisher_frame frame = {TRACK_VIDEO, 0, dts_us, dts_us, !n, n ? inter : idr, sizeof idr};
        publisher_frame(world->pub, &frame);
    }
    assert_non_null(stream_of(world));
    end(world);
}

static void long_gop_is_cut_without_independent_frame(void **state) {
    (void)state;
    struct world *world = begin();
    configure(world, true);
    publish(world, 0, 301, 250);
    struct stream *stream = stream_of(world);
    assert_true(stream->segment_count >= 5);
    assert_false(stream->segments[1]->parts[0].record->part.flags & PART_INDEPENDENT);
    end(world);
}

static void pictures_out_of_order_keep_positive_offsets(void **state) {
    (void)state;
    struct world *world = begin();
    configure(world, false);
    static const int offsets[] = {67, 167, 67, 0, 33};
    for (int n = 0; n < 130; n++)
        video(world, n, offsets[n % 5], 60);
    for (int n = 130; n < 140; n++)
        video(world, n, 67, 60);
    assert_int_equal(world->opens, 1); /* known from the start: no second init */
    assert_int_equal(stream_of(world)->open->open.track_count, 1);
    end(world);
}

static void reordering_that_was_not_foreseen_makes_a_new_init(void **state) {
    (void)state;
    struct world *world = begin();
    configure(world, false);
    for (int n = 0; n < 60; n++)
        video(world, n, 0, 30);
    for (int n = 60; n < 130; n++)
        video(world, n, n % 30 ? 67 : 0, 30);
    assert_int_equal(world->opens, 2);
    assert_int_equal(stream_of(world)->init_versions, 2);
    assert_int_equal(world->losses, 0);
    end(world);
}

static void new_configuration_goes_on_with_a_discontinuity(void **state) {
    (void)state;
    struct world *world = begin();
    configure(world, true);
    publish(world, 0, 90, 30);
    uint8_t other[sizeof avcc];
    memcpy(other, avcc, sizeof avcc);
    other[sizeof avcc - 2] ^= 1; /* another PPS */
    set_config(world, CODEC_H264, other, sizeof other);
    publish(world, 90, 150, 30);
    struct stream *stream = stream_of(world);
    assert_int_equal(world->opens, 2);
    const struct segment *last = stream->segments[stream->segment_count - 1];
    bool found = false;
    for (uint32_t i = 1; i < stream->segment_count; i++) {
        assert_int_equal(stream->segments[i]->msn, stream->segments[i - 1]->msn + 1);
        found |= stream->segments[i]->discontinuity;
    }
    assert_true(found);
    assert_int_equal(last->discontinuity_sequence, 1);
    end(world);
}

static void timestamps_that_jump_go_on_with_a_discontinuity(void **state) {
    (void)state;
    struct world *world = begin();
    configure(world, true);
    publish(world, 0, 90, 30);
    publish(world, 9000, 9090, 30);
    publish(world, 30, 120, 30);
    struct stream *stream = stream_of(world);
    uint32_t breaks = 0;
    for (uint32_t i = 0; i < stream->segment_count; i++)
        breaks += stream->segments[i]->discontinuity;
    assert_int_equal(breaks, 2);
    int64_t before_us = 0;
    for (uint32_t i = 0; i < stream->segment_count; i++) {
        assert_true(stream->segments[i]->start_us > before_us);
        before_us = stream->segments[i]->start_us;
    }
    end(world);
}

static void resumed_stream_keeps_numbers_and_targets(void **state) {
    (void)state;
    struct world *world = begin();
    configure(world, true);
    publish(world, 0, 75, 30);
    publisher_close(world->pub, false);
    struct stream *stream = stream_of(world);
    uint64_t next = stream->next_part;
    const struct segment *last = stream->segments[stream->segment_count - 1];
    assert_true(last->complete); /* what there was is out */
    world->grant = (struct claim_grant){.epoch = 10,
                                        .next_msn = last->msn + 1,
                                        .next_part = next,
                                        .resumes = true,
                                        .not_before_us = start_us,
                                        .target_duration_ms = 2000,
                                        .part_target_us = stream->open->open.part_target_us,
                                        .init_versions = 1};
    static const struct publisher_events events = {on_result, on_lost};
    world->pub = publisher_open(world->ingest, "live", "show", "192.0.2.1:6", &events, world);
    loop_run(world->loop);
    configure(world, true);
    publish(world, 0, 75, 30);
    assert_int_equal(stream->open->open.tracks[0].init_version, 2);
    assert_int_equal(stream->segments[stream->segment_count - 1]->discontinuity_sequence, 1);
    assert_true(stream->next_part > next);
    end(world);
}

static void audio_alone_is_served_in_parts(void **state) {
    (void)state;
    struct world *world = begin();
    struct publisher_metadata metadata = {.has_audio = true};
    publisher_metadata(world->pub, &metadata);
    set_config(world, CODEC_AAC, asc, sizeof asc);
    for (int n = 0; n < 10; n++)
        audio(world, n);
    assert_null(stream_of(world)); /* video may come yet */
    for (int n = 10; n < 300; n++)
        audio(world, n);
    struct stream *stream = stream_of(world);
    assert_non_null(stream);
    assert_true(stream->segment_count >= 3);
    for (uint32_t i = 0; i + 1 < stream->segment_count; i++)
        for (uint32_t p = 0; p < stream->segments[i]->published; p++) {
            const struct record_part *part = &stream->segments[i]->parts[p].record->part;
            assert_int_equal(part->tracks[0].duration_ts % 1024, 0);
            assert_true(part->tracks[0].duration_ts * 1000000ull / 48000 <= stream->open->open.part_target_us);
        }
    end(world);
}

static void malformed_media_loses_its_publisher_only(void **state) {
    (void)state;
    struct world *world = begin();
    configure(world, true);
    publish(world, 0, 10, 30);
    static const uint8_t bad[] = {0, 0, 9, 9, 1};
    for (int i = 0; i < 200; i++) {
        struct publisher_frame frame = {TRACK_VIDEO, 0, (400 + i) * 1000, (400 + i) * 1000, false, bad, sizeof bad};
        publisher_frame(world->pub, &frame);
    }
    loop_run(world->loop);
    assert_int_equal(world->losses, 1);
    end(world);
}

/* ADTS where raw AAC should be, though the picture is fine: that goes on alone. */
static void sound_that_cannot_be_muxed_is_left_out(void **state) {
    (void)state;
    struct world *world = begin();
    configure(world, true);
    publish(world, 0, 10, 30);
    static const uint8_t adts[300] = {0xff, 0xf1};
    for (int64_t n = 10; n < 1200; n++) {
        struct publisher_frame frame = {TRACK_AUDIO, 0, n * 1000000 / 30, n * 1000000 / 30, true, adts, sizeof adts};
        publisher_frame(world->pub, &frame);
        video(world, n, 0, 30);
    }
    assert_int_equal(world->losses, 0);
    assert_int_equal(world->opens, 2);
    assert_int_equal(stream_of(world)->open->open.track_count, 1);
    end(world);
}

static void advice_is_of_who_publishes(void **state) {
    (void)state;
    struct world *world = begin();
    configure(world, true);
    publish(world, 0, 10, 10);
    const struct advice *advice = publisher_advice(world->ingest, "live/show");
    assert_non_null(advice);
    assert_int_equal(advice->video.dts_us, 300000); /* it sees the frames */
    assert_null(publisher_advice(world->ingest, "live/other"));
    world->write_error = -28; /* ENOSPC */
    publish(world, 10, 12, 10);
    assert_null(publisher_advice(world->ingest, "live/show"));
    end(world);
}

static void full_memory_is_told(void **state) {
    (void)state;
    struct world *world = begin();
    configure(world, true);
    world->write_error = -28; /* ENOSPC */
    publish(world, 0, 10, 30);
    loop_run(world->loop);
    assert_int_equal(world->losses, 1);
    end(world);
}

static void names_and_keys_are_checked(void **state) {
    (void)state;
    struct world *world = begin_named("no/slash", 0);
    assert_int_equal(world->result, PUBLISH_BAD_NAME);
    end(world);
    world = begin_named("locked", 1);
    assert_int_equal(world->result, PUBLISH_DENIED);
    end(world);
    world = begin_named("locked?key=wrong", 1);
    assert_int_equal(world->result, PUBLISH_DENIED);
    end(world);
    world = begin_named("locked?x=1&key=secret", 1);
    assert_int_equal(world->result, PUBLISH_OK);
    end(world);
}

static void longest_key_arrives_whole(void **state) {
    (void)state;
    assert_int_equal(strlen(LONGEST), PUBLISH_KEY_MAX);
    struct world *world = begin_named("long?key=" LONGEST, 2);
    assert_int_equal(world->result, PUBLISH_OK);
    end(world);
    world = begin_named("long?key=" LONGEST "&x=1", 2);
    assert_int_equal(world->result, PUBLISH_OK);
    end(world);
    world = begin_named("long?key=" LONGEST "x", 2);
    assert_int_equal(world->result, PUBLISH_DENIED);
    end(world);
}

/* --- standing by --- */

static char *const pairs[] = {"live/show live/show-b"};

static struct world *begin_as(const char *name, enum claim_result answer) {
    return begin_answered(name, (struct ingest_settings){.stall_ms = 2000, .backups = pairs, .backup_count = 1},
                          answer);
}

static void tell(struct world *world, enum claim_result result) {
    world->on_result(world->owner, result, NULL);
}

/* As a later writer, behind what there is. */
static void grant_again(struct world *world, int64_t not_before_us) {
    struct stream *stream = stream_of(world);
    world->grant = (struct claim_grant){.epoch = world->grant.epoch + 10,
                                        .next_msn = stream->segments[stream->segment_count - 1]->msn + 1,
                                        .next_part = stream->next_part,
                                        .resumes = true,
                                        .not_before_us = not_before_us,
                                        .target_duration_ms = 2000,
                                        .part_target_us = stream->open->open.part_target_us,
                                        .init_versions = stream->open->open.tracks[0].init_version,
                                        .discontinuity_sequence = 0};
    world->on_result(world->owner, CLAIM_GRANTED, &world->grant);
}

/* A second was published, with an independent frame each half of one; then somebody else is to. */
static struct world *begin_standing(void) {
    struct world *world = begin();
    configure(world, true);
    publish(world, 0, 31, 15);
    tell(world, CLAIM_STANDBY);
    return world;
}

static void takeover_begins_with_what_came_since_the_last_independent_frame(void **state) {
    (void)state;
    struct world *world = begin_standing();
    uint32_t records = world->records, touches = world->touches;
    publish(world, 31, 65, 15);
    assert_int_equal(world->records, records); /* nothing of it is written */
    assert_true(world->touches > touches);     /* but it is heard */
    assert_int_equal(world->takes, 0);
    tell(world, CLAIM_VACANT);
    assert_int_equal(world->takes, 1);
    publish(world, 65, 66, 15);
    assert_int_equal(world->takes, 1); /* once is enough */
    grant_again(world, 0);
    struct stream *stream = stream_of(world);
    assert_int_equal(stream->epoch, world->grant.epoch);
    const struct segment *segment = stream->segments[stream->segment_count - 1];
    assert_int_equal(segment->msn, world->grant.next_msn);
    assert_int_equal(segment->chunks[0].count, 6); /* 60 to 65, at once */
    assert_true(segment->chunks[0].items[0]->chunk.flags & CHUNK_INDEPENDENT);
    publish(world, 66, 120, 15);
    assert_true(segment->parts[0].record->part.flags & PART_DISCONTINUITY);
    assert_int_equal(world->losses, 0);
    end(world);
}

static void answer_that_is_no_lets_it_take_again(void **state) {
    (void)state;
    struct world *world = begin_standing();
    publish(world, 31, 50, 15);
    tell(world, CLAIM_VACANT);
    tell(world, CLAIM_STANDBY);
    publish(world, 50, 60, 15);
    assert_int_equal(world->takes, 1);
    tell(world, CLAIM_VACANT);
    assert_int_equal(world->takes, 2);
    end(world);
}

/* What is kept and sent at once, after a silence, is no reason to take the stream back. */
static void stream_is_taken_back_at_an_independent_frame_of_steady_media(void **state) {
    (void)state;
    struct world *world = begin_standing();
    tell(world, CLAIM_OUTRANKS);
    publish(world, 31, 200, 15);
    assert_int_equal(world->takes, 0);
    int64_t from_us = clock_mono_us();
    for (int64_t n = 200; n < 260 && !world->takes; n++) {
        while (clock_mono_us() - from_us < (n - 200) * 1000000 / 30)
            ;
        video(world, n, 0, 15);
        assert_true(!world->takes || n % 15 == 0);
        assert_true(!world->takes || n >= 215);
    }
    assert_int_equal(world->takes, 1);
    grant_again(world, 0);
    assert_int_equal(stream_of(world)->epoch, world->grant.epoch);
    end(world);
}

static void other_configuration_is_looked_at_before_the_stream_is_taken(void **state) {
    (void)state;
    static const uint8_t other_asc[] = {0x12, 0x10}; /* 44.1 kHz */
    struct world *world = begin_standing();
    publish(world, 31, 40, 15);
    set_config(world, CODEC_AAC, other_asc, sizeof other_asc);
    tell(world, CLAIM_VACANT);
    assert_int_equal(world->takes, 0); /* no picture is in hand that belongs to it */
    publish(world, 40, 60, 15);
    assert_int_equal(world->takes, 1);
    grant_again(world, 0);
    assert_int_equal(stream_of(world)->open->open.tracks[1].sample_rate, 44100);
    end(world);
}

static void what_is_too_old_is_left_out(void **state) {
    (void)state;
    struct world *world = begin_standing();
    publish(world, 31, 50, 15);
    tell(world, CLAIM_VACANT);
    grant_again(world, clock_utc_us() + 3000000);
    uint32_t opens = world->opens;
    publish(world, 50, 60, 15);
    assert_int_equal(world->opens, opens); /* up to the next independent frame */
    publish(world, 60, 61, 15);
    assert_int_equal(world->opens, opens + 1);
    end(world);
}

static void backup_may_stand_by_from_the_first(void **state) {
    (void)state;
    struct world *world = begin_as("show?backup=1", CLAIM_STANDBY);
    assert_int_equal(world->result, PUBLISH_OK);
    assert_int_equal(world->rank, CLAIM_BACKUP);
    assert_false(live_names_busy(world->ingest->live, "live/show", 0)); /* the name is free for its publisher */
    configure(world, true);
    publish(world, 0, 20, 15);
    assert_int_equal(world->records, 0);
    tell(world, CLAIM_VACANT);
    assert_int_equal(world->takes, 1);
    world->on_result(world->owner, CLAIM_GRANTED, &world->grant);
    assert_int_equal(stream_of(world)->epoch, world->grant.epoch);
    assert_int_equal(world->results, 1); /* of all that the publisher hears nothing */
    end(world);
}

static void second_name_of_a_pair_is_the_firsts_backup(void **state) {
    (void)state;
    struct world *world = begin_as("show-b", CLAIM_STANDBY);
    assert_int_equal(world->rank, CLAIM_BACKUP);
    assert_string_equal(world->claimed, "live/show");
    end(world);
    world = begin_as("show", CLAIM_GRANTED);
    assert_int_equal(world->rank, CLAIM_PRIMARY);
    assert_string_equal(world->claimed, "live/show");
    assert_true(live_names_busy(world->ingest->live, "live/show", 0));
    end(world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stream_appears_after_three_frames),
        cmocka_unit_test(parts_have_six_pictures_and_the_sound_of_their_time),
        cmocka_unit_test(media_times_follow_without_gaps),
        cmocka_unit_test(sound_goes_on_while_the_picture_stands_still),
        cmocka_unit_test(frames_within_one_millisecond_harm_nobody),
        cmocka_unit_test(long_gop_is_cut_without_independent_frame),
        cmocka_unit_test(pictures_out_of_order_keep_positive_offsets),
        cmocka_unit_test(reordering_that_was_not_foreseen_makes_a_new_init),
        cmocka_unit_test(new_configuration_goes_on_with_a_discontinuity),
        cmocka_unit_test(timestamps_that_jump_go_on_with_a_discontinuity),
        cmocka_unit_test(resumed_stream_keeps_numbers_and_targets),
        cmocka_unit_test(audio_alone_is_served_in_parts),
        cmocka_unit_test(malformed_media_loses_its_publisher_only),
        cmocka_unit_test(sound_that_cannot_be_muxed_is_left_out),
        cmocka_unit_test(advice_is_of_who_publishes),
        cmocka_unit_test(full_memory_is_told),
        cmocka_unit_test(names_and_keys_are_checked),
        cmocka_unit_test(longest_key_arrives_whole),
        cmocka_unit_test(takeover_begins_with_what_came_since_the_last_independent_frame),
        cmocka_unit_test(answer_that_is_no_lets_it_take_again),
        cmocka_unit_test(stream_is_taken_back_at_an_independent_frame_of_steady_media),
        cmocka_unit_test(other_configuration_is_looked_at_before_the_stream_is_taken),
        cmocka_unit_test(what_is_too_old_is_left_out),
        cmocka_unit_test(backup_may_stand_by_from_the_first),
        cmocka_unit_test(second_name_of_a_pair_is_the_firsts_backup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
