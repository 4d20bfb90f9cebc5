/* What holds of what a publisher writes, whatever its clock does (time_faults.h): it is never ended for it, parts and
 * segments keep their limits, and segments keep being cut. The clock is the test's. */
#include "ingest/publisher.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/media/store.h"
#include "ingest/ingest.h"
#include "ingest/timeline.h"
#include "time_faults.h"

static const uint8_t avcc[] = {1,    0x4d, 0x40, 0x1f, 0xff, 0xe1, 0, 9, 0x67, 0x4d, 0x40, 0x1f,
                               0xec, 0xa0, 0x28, 0x02, 0xd8, 1,    0, 4, 0x68, 0xee, 0x3c, 0x80};
static const uint8_t other_avcc[] = {1,    0x4d, 0x40, 0x1f, 0xff, 0xe1, 0, 9, 0x67, 0x4d, 0x40, 0x1f,
                                     0xec, 0xa0, 0x28, 0x02, 0xd8, 1,    0, 4, 0x68, 0xee, 0x3c, 0x81};
static const uint8_t idr[] = {0, 0, 0, 4, 0x65, 0x88, 0x84, 0x00};
static const uint8_t inter[] = {0, 0, 0, 4, 0x41, 0x9a, 0x00, 0x01};
static const uint8_t aac[40] = {0x21};

enum { SEGMENT_MS = 2000, STALL_MS = 2000, BEFORE_US = 3000000, AFTER_US = 6000000 };

static int64_t now_us; /* UTC */
static const int64_t epoch_us = 1790000000ll * 1000000;

int64_t __wrap_clock_utc_us(void);
int64_t __wrap_clock_utc_us(void) {
    return now_us;
}

struct world {
    uint32_t seed;
    enum fault fault;
    struct fault_source source;
    int64_t gop_us, next_key_us;
    struct loop *loop;
    struct ingest *ingest;
    struct publisher *pub;
    struct store *store;
    void (*on_result)(void *owner, enum claim_result result, const struct claim_grant *grant);
    void *owner;
    struct loop_timer *grant_timer;
    int losses;
    /* what was written */
    struct record_open open;
    uint32_t opens, parts, segments, discontinuities, lead, independent_segments;
    int64_t segment_us, end_us; /* so long is the segment under way; where the latest part ends */
    int64_t longest_hole_us;    /* between parts */
    uint64_t msn, part_number;
    int64_t chunk_end_us[2]; /* by kind */
    uint32_t frames_sent;
};

static uint32_t failures;

static void expect(const struct world *world, bool holds, const char *what, int64_t value) {
    const struct fault_source *s = &world->source;
    if (holds || ++failures > 20)
        return;
    print_error(
        "not %s: %lld; seed %u, %u/%u fps%s, %u Hz of %u, B %u, unit %u, gop %lld, fault %s of %lld us at %lld, after "
        "%lld us\n",
        what, (long long)value, world->seed, s->rate.frames, s->rate.per_s, s->variable ? " variable" : "", s->sound.hz,
        s->sound.samples, s->b_frames, s->unit_us, (long long)world->gop_us, fault_names[world->fault],
        (long long)s->size_us, (long long)s->fault_us, (long long)s->last_arrived_us);
}

#define EXPECT(world, what, value) expect(world, what, #what, value)

static void on_grant(void *ctx) {
    static const struct claim_grant grant = {.epoch = 9, .next_msn = 100, .next_part = 500};
    struct world *world = ctx;
    world->on_result(world->owner, CLAIM_GRANTED, &grant);
}

static void *port_claim(void *ctx, const struct claim_request *request) {
    struct world *world = ctx;
    world->on_result = request->on_result;
    world->owner = request->owner;
    loop_timer_set(world->grant_timer, 0);
    return world;
}

static void port_take(void *ctx, void *claim) {
    (void)ctx, (void)claim;
}

static void note_part(struct world *world, const struct record_part *part) {
    int64_t lead_us = 0;
    for (uint32_t t = 0; t < world->open.track_count; t++) {
        uint32_t hz = world->open.tracks[t].timescale;
        int64_t us = timeline_us(part->tracks[t].duration_ts, hz);
        EXPECT(world, us <= world->open.part_target_us, us);
        if (!t)
            lead_us = us;
    }
    if (world->parts)
        EXPECT(world, part->number == world->part_number + 1, (int64_t)part->number);
    if (!world->parts || part->msn != world->msn) {
        EXPECT(world, !world->parts || part->msn == world->msn + 1, (int64_t)part->msn);
        world->segments++;
        world->segment_us = 0;
        world->discontinuities += !!(part->flags & PART_DISCONTINUITY);
        world->independent_segments += !!(part->flags & PART_INDEPENDENT);
    }
    EXPECT(world, part->start_us >= world->end_us - 20, part->start_us - world->end_us);
    if (world->parts && part->start_us - world->end_us > world->longest_hole_us)
        world->longest_hole_us = part->start_us - world->end_us;
    world->segment_us += lead_us;
    /* at a variable rate how long its last picture lasts shows too late */
    EXPECT(world, world->segment_us <= SEGMENT_MS * 1200 + (world->source.variable ? 70000 : 1000), world->segment_us);
    world->end_us = part->start_us + lead_us;
    world->msn = part->msn;
    world->part_number = part->number;
    world->parts++;
}

static void note_chunk(struct world *world, const struct record_chunk *chunk) {
    const struct track_info *track = &world->open.tracks[chunk->track];
    int64_t *end_us = &world->chunk_end_us[track->kind], dts_us = timeline_us(chunk->dts_ts, track->timescale);
    EXPECT(world, dts_us >= *end_us - 20, dts_us - *end_us); /* of rounding, where the timescale changed */
    *end_us = timeline_us(chunk->dts_ts + chunk->duration_ts, track->timescale);
}

static int port_write(void *ctx, void *claim, struct record *record) {
    struct world *world = ctx;
    (void)claim;
    if (record->type == RECORD_OPEN) {
        world->open = record->open;
        world->opens++;
    } else if (record->type == RECORD_PART) {
        note_part(world, &record->part);
    } else if (record->type == RECORD_CHUNK) {
        note_chunk(world, &record->chunk);
    }
    int rc = store_apply(world->store, record, now_us);
    EXPECT(world, rc == 0, rc);
    record_unref(record);
    return rc;
}

static void port_touch(void *ctx, void *claim) {
    (void)ctx, (void)claim;
}

static void port_release(void *ctx, void *claim, bool clean) {
    (void)ctx, (void)claim, (void)clean;
}

static void on_result(void *ctx, enum publish_result result) {
    struct world *world = ctx;
    assert_int_equal(result, PUBLISH_OK);
    loop_stop(world->loop);
}

static void on_lost(void *ctx, const char *why) {
    struct world *world = ctx;
    print_error("lost: %s\n", why);
    world->losses++;
}

static void configure(struct world *world, const uint8_t *config, size_t len) {
    publisher_config(world->pub, &(struct publisher_config){.codec = CODEC_H264, .data = config, .len = len});
}

/* AAC LC of two channels (ISO/IEC 14496-3); 2048 samples are HE-AAC's. */
static void configure_audio(struct world *world) {
    static const uint32_t rates[] = {96000, 88200, 64000, 48000, 44100, 32000};
    uint8_t asc[2] = {0x10, 0x10};
    for (uint32_t i = 0; i < sizeof rates / sizeof *rates; i++)
        if (rates[i] == world->source.sound.hz) {
            asc[0] |= (uint8_t)(i >> 1);
            asc[1] |= (uint8_t)(i << 7);
        }
    publisher_config(world->pub, &(struct publisher_config){.codec = CODEC_AAC, .data = asc, .len = sizeof asc});
}

static struct world *begin(uint32_t seed, enum fault fault) {
    static const struct store_settings store = {.window_us = 6000000, .bytes_max = 64 << 20, .streams_max = 4};
    static const struct ingest_settings settings = {.segment_ms = SEGMENT_MS, .part_ms = 200, .stall_ms = STALL_MS};
    static const struct publisher_events events = {on_result, on_lost};
    struct world *world = calloc(1, sizeof *world);
    world->seed = seed;
    world->fault = fault;
    fault_source_init(&world->source, seed);
    if (world->source.sound.samples != 1024)
        world->source.sound = fault_sounds[0];
    world->source.variable = seed % 5 == 4;
    world->gop_us = fault_between(&world->source, 500, seed % 3 ? 2200 : 9000) * 1000;
    world->loop = loop_create();
    world->store = store_create(&store);
    world->grant_timer = loop_timer_create(world->loop, on_grant, world);
    struct writer_port port = {world, port_claim, port_write, port_touch, port_release, port_take};
    world->ingest = ingest_create(world->loop, &settings, &port);
    now_us = epoch_us;
    world->pub = publisher_open(world->ingest, "live", "show", "192.0.2.1:5", &events, world);
    loop_run(world->loop);
    return world;
}

static void announce(struct world *world) {
    const struct fault_source *s = &world->source;
    struct publisher_metadata metadata = {.frame_rate = s->variable ? 0 : (double)s->rate.frames / s->rate.per_s,
                                          .has_video = s->has_video,
                                          .has_audio = s->has_audio};
    publisher_metadata(world->pub, &metadata);
    if (s->has_video)
        configure(world, avcc, sizeof avcc);
    if (s->has_audio)
        configure_audio(world);
}

static void end(struct world *world) {
    publisher_close(world->pub, true);
    ingest_destroy(world->ingest);
    loop_timer_destroy(world->grant_timer);
    store_destroy(world->store);
    loop_destroy(world->loop);
    free(world);
}

static void step(struct world *world) {
    struct fault_frame made;
    fault_next(&world->source, &made);
    now_us = epoch_us + made.arrived_us;
    struct publisher_frame frame = {.kind = made.kind,
                                    .dts_us = made.dts_us,
                                    .pts_us = made.pts_us,
                                    .independent = true,
                                    .data = aac,
                                    .len = sizeof aac};
    if (made.kind == TRACK_VIDEO) {
        frame.independent =
            made.true_us >= world->next_key_us && !made.faulty; /* whose time may be any: a new clock's */
        if (frame.independent)
            world->next_key_us = made.true_us + world->gop_us;
        frame.data = frame.independent ? idr : inter;
        frame.len = sizeof idr;
    }
    publisher_frame(world->pub, &frame);
    world->frames_sent++;
}

static void until(struct world *world, int64_t us) {
    while (world->source.last_arrived_us < us)
        step(world);
}

/* So many segments at least, of a whole or part of a stream. */
static void expect_cut(struct world *world, uint32_t since, int64_t us) {
    int64_t least = us / (SEGMENT_MS * 1200) - 1;
    EXPECT(world, (int64_t)(world->segments - since) >= least, world->segments - since);
}

static void one_fault(struct world *world) {
    announce(world);
    until(world, BEFORE_US);
    fault_begin(&world->source, world->fault, BEFORE_US);
    while (world->source.fault != FAULT_NONE)
        step(world);
    uint32_t segments = world->segments;
    until(world, world->source.last_arrived_us + AFTER_US);
    expect_cut(world, segments, AFTER_US);
    EXPECT(world, world->losses == 0, world->losses);
    EXPECT(world, world->discontinuities == (world->fault > FAULT_SMALL_END), world->discontinuities);
    EXPECT(world, world->opens == 1, world->opens);
}

static void each_fault_leaves_parts_and_segments_whole(void **state) {
    (void)state;
    failures = 0;
    for (enum fault fault = 0; fault < FAULT_COUNT; fault++)
        for (uint32_t seed = 0; fault != FAULT_SMALL_END && seed < 6; seed++) {
            struct world *world = begin(seed, fault);
            one_fault(world);
            end(world);
        }
    assert_int_equal(failures, 0);
}

/* Also when the next one comes before the last one is repaired. */
static void any_faults_leave_parts_and_segments_whole(void **state) {
    (void)state;
    failures = 0;
    for (uint32_t seed = 0; seed < 40; seed++) {
        struct world *world = begin(seed, FAULT_NONE);
        world->source.has_audio = seed % 10 != 0;
        world->source.has_video = seed % 10 != 1;
        announce(world);
        until(world, BEFORE_US);
        for (int i = 0; i < 12; i++) {
            world->fault = 1 + fault_random(&world->source, FAULT_COUNT - 1);
            if (world->fault == FAULT_SMALL_END)
                continue;
            int64_t at_us = world->source.last_arrived_us;
            fault_begin(&world->source, world->fault, at_us);
            while (world->source.fault != FAULT_NONE && world->source.last_arrived_us < at_us + 10000000)
                step(world);
            world->source.fault = FAULT_NONE;
            until(world, world->source.last_arrived_us + fault_between(&world->source, 0, 3000000));
        }
        uint32_t segments = world->segments;
        until(world, world->source.last_arrived_us + AFTER_US);
        expect_cut(world, segments, AFTER_US);
        EXPECT(world, world->losses == 0, world->losses);
        end(world);
    }
    assert_int_equal(failures, 0);
}

/* Another picture, or sound of another rate, in the midst of it: a new init and one discontinuity, and no more. */
static void each_new_configuration_is_one_discontinuity(void **state) {
    (void)state;
    failures = 0;
    for (uint32_t seed = 0; seed < 20; seed++) {
        struct world *world = begin(seed, FAULT_NONE);
        announce(world);
        until(world, BEFORE_US);
        if (seed % 2) {
            configure(world, other_avcc, sizeof other_avcc);
            world->next_key_us = 0;
        } else {
            world->source.sound.hz = world->source.sound.hz == 48000 ? 44100 : 48000;
            world->source.audio_n =
                world->source.last_arrived_us * world->source.sound.hz / world->source.sound.samples / 1000000;
            configure_audio(world);
        }
        until(world, BEFORE_US + 12000000 + AFTER_US);
        expect_cut(world, 0, AFTER_US);
        EXPECT(world, world->losses == 0, world->losses);
        EXPECT(world, world->opens == 2, world->opens);
        EXPECT(world, world->discontinuities == 1, world->discontinuities);
        end(world);
    }
    assert_int_equal(failures, 0);
}

/* Begins as one track, and the other one comes after five seconds; for the sound the picture is not held up. */
static void a_track_that_begins_late_is_one_discontinuity(void **state) {
    (void)state;
    failures = 0;
    for (uint32_t seed = 0; seed < 20; seed++) {
        struct world *world = begin(seed, FAULT_NONE);
        struct fault_source *s = &world->source;
        bool picture = seed % 2;
        s->has_video = !picture;
        s->has_audio = picture;
        announce(world);
        until(world, 5000000);
        EXPECT(world, world->opens == 1 && world->open.track_count == 1, world->opens);
        s->video_n = s->last_arrived_us * s->rate.frames / s->rate.per_s / 1000000;
        s->video_us = fault_video_at(s, s->video_n);
        s->audio_n = s->last_arrived_us * s->sound.hz / s->sound.samples / 1000000;
        s->has_video = s->has_audio = true;
        world->next_key_us = picture ? 0 : world->next_key_us;
        if (picture)
            configure(world, avcc, sizeof avcc);
        else
            configure_audio(world);
        until(world, 5000000 + 12000000 + AFTER_US);
        EXPECT(world, world->losses == 0, world->losses);
        EXPECT(world, world->opens == 2 && world->open.track_count == 2, world->opens);
        EXPECT(world, picture || world->longest_hole_us <= 500000, world->longest_hole_us);
        EXPECT(world, world->discontinuities == 1, world->discontinuities);
        end(world);
    }
    assert_int_equal(failures, 0);
}

int main(void) {
    log_configure(LOG_LEVEL_ERROR, LOG_LOGFMT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_fault_leaves_parts_and_segments_whole),
        cmocka_unit_test(any_faults_leave_parts_and_segments_whole),
        cmocka_unit_test(each_new_configuration_is_one_discontinuity),
        cmocka_unit_test(a_track_that_begins_late_is_one_discontinuity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
