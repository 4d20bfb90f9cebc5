/* Publishers with whatever tracks, times, rates and configurations: the way from frames to records (probe, packager)
 * over a port that hands the records to a store, which must take every one of them. The input is a list of steps, each
 * a letter and what belongs to it. `m RATE`: metadata, frames a second. `n NUMBER`: the track that what follows is
 * about. `V N` and `A N`: codec configuration N of those below. `v DELTA OFFSET`: a picture DELTA ms (signed, 16 bits)
 * after the one before, OFFSET ms of reordering; upper case K: an IDR. `a DELTA`: sound, likewise. `l MUTE`: 100 ms
 * later a picture of each of the tracks 0 to 2 and two of sound, without those of a mask; `k MUTE`: IDRs. `e KIND`: the
 * track ends. `J SECONDS`: both clocks jump (signed, 32 bits). `t`: the sweep runs. `s HOW`: it is to stand by (HOW
 * modulo 3: busy, outranked, vacant). `g`: it is granted the stream again, behind what there is, if it has asked for
 * it. `p N`: what follows comes by push N modulo 3: 0 the leading one, 1 and 2 a rung and a sound that join it; `x`:
 * the latter ends. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/media/store.h"
#include "ingest/ingest.h"
#include "ingest/publisher.h"
#include "pretended_writer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t avc_main[] = {1,    0x4d, 0x40, 0x1f, 0xff, 0xe1, 0, 9, 0x67, 0x4d, 0x40, 0x1f,
                                   0xec, 0xa0, 0x28, 0x02, 0xd8, 1,    0, 4, 0x68, 0xee, 0x3c, 0x80};
static const uint8_t avc_other[] = {1,    0x4d, 0x40, 0x1e, 0xff, 0xe1, 0, 9, 0x67, 0x4d, 0x40, 0x1e,
                                    0xec, 0xa0, 0x28, 0x02, 0xd8, 1,    0, 4, 0x68, 0xee, 0x3c, 0x80};
static const uint8_t avc_small[] = {1,    0x4d, 0x40, 0x1f, 0xff, 0xe1, 0, 9, 0x67, 0x4d, 0x40, 0x1f,
                                    0xec, 0xa0, 0xa0, 0xc8, 0x80, 1,    0, 4, 0x68, 0xee, 0x3c, 0x80};
static const uint8_t aac_48[] = {0x11, 0x90}, aac_44[] = {0x12, 0x10}, aac_8[] = {0x15, 0x88};
static const struct {
    const uint8_t *data;
    size_t len;
} avc[] = {{avc_main, sizeof avc_main}, {avc_other, sizeof avc_other}, {avc_main, 7}, {avc_small, sizeof avc_small}},
  aac[] = {{aac_48, 2}, {aac_44, 2}, {aac_8, 2}, {aac_48, 1}};
static const uint8_t idr[] = {0, 0, 0, 4, 0x65, 0x88, 0x84, 0x00}, inter[] = {0, 0, 0, 4, 0x41, 0x9a, 0x00, 0x01};
static const uint8_t sound[] = {0x21, 0x10, 0x04};

struct world {
    struct loop *loop;
    struct pretended_writer writer;
    struct ingest *ingest;
    struct publisher *pub, *pushes[3]; /* `pub`: one of them */
    int64_t video_ms, audio_ms;
    uint8_t track;
    bool lost;
};

struct input {
    const uint8_t *data;
    size_t len;
};

static int64_t take(struct input *in, size_t bytes) {
    uint32_t value = 0;
    for (size_t i = 0; i<bytes; i++, in->data += in->len> 0, in->len -= in->len > 0)
        value = value << 8 | (in->len ? *in->data : 0);
    return bytes == 2 ? (int16_t)value : bytes == 4 ? (int32_t)value : (int64_t)value;
}

static void on_result(void *ctx, enum publish_result result) {
    (void)ctx;
    if (result != PUBLISH_OK)
        abort();
}

static void on_lost(void *ctx, const char *why) {
    struct world *world = ctx;
    world->lost = why != NULL;
}

static void on_nothing(void *ctx, enum publish_result result) {
    (void)ctx, (void)result;
}

static void on_nothing_lost(void *ctx, const char *why) {
    (void)ctx, (void)why;
}

static void picture(struct world *world, struct input *in, bool key) {
    world->video_ms += take(in, 2);
    int64_t offset_ms = take(in, 1);
    struct publisher_frame frame = {.kind = TRACK_VIDEO,
                                    .track = world->track,
                                    .dts_us = world->video_ms * 1000,
                                    .pts_us = (world->video_ms + offset_ms) * 1000,
                                    .independent = key,
                                    .data = key ? idr : inter,
                                    .len = sizeof idr};
    publisher_frame(world->pub, &frame);
}

/* Bits 0 to 2 of `mute` are pictures, 3 and 4 sound. */
static void all_tracks(struct world *world, unsigned mute, bool key) {
    world->video_ms += 100;
    world->audio_ms += 100;
    for (unsigned i = 0; i < 5; i++) {
        bool video = i < 3;
        int64_t us = (video ? world->video_ms : world->audio_ms) * 1000;
        struct publisher_frame frame = {.kind = video ? TRACK_VIDEO : TRACK_AUDIO,
                                        .track = (uint8_t)(video ? i : i - 3),
                                        .dts_us = us,
                                        .pts_us = us,
                                        .independent = key,
                                        .data = !video ? sound
                                                : key  ? idr
                                                       : inter,
                                        .len = video ? sizeof idr : sizeof sound};
        if (!(mute & 1u << i))
            publisher_frame(world->pub, &frame);
    }
}

static const struct publisher_events no_events = {on_nothing, on_nothing_lost};

static void change_push(struct world *world, unsigned n) {
    static const char *const names[] = {"show", "show?rung=low", "show?audio=de"};
    if (!world->pushes[n])
        world->pushes[n] = publisher_open(world->ingest, "live", names[n], "192.0.2.2:6", &no_events, world);
    world->pub = world->pushes[n];
}

static void end_push(struct world *world) {
    for (int i = 1; i < 3; i++) {
        if (world->pushes[i] != world->pub)
            continue;
        publisher_close(world->pub, true);
        world->pushes[i] = NULL;
        world->pub = world->pushes[0];
    }
}

static void step(struct world *world, struct ingest *ingest, struct input *in) {
    struct publisher_metadata metadata = {.has_video = true, .has_audio = true};
    int64_t n;
    int64_t letter = take(in, 1);
    switch (letter) {
    case 'm':
        metadata.frame_rate = (double)take(in, 1);
        publisher_metadata(world->pub, &metadata);
        break;
    case 'V':
        n = take(in, 1) % 4;
        publisher_config(world->pub, &(struct publisher_config){.codec = CODEC_H264,
                                                                .track = world->track,
                                                                .data = avc[n].data,
                                                                .len = avc[n].len});
        break;
    case 'A':
        n = take(in, 1) % 4;
        publisher_config(world->pub, &(struct publisher_config){.codec = CODEC_AAC,
                                                                .track = world->track,
                                                                .data = aac[n].data,
                                                                .len = aac[n].len});
        break;
    case 'k':
    case 'l':
        all_tracks(world, (unsigned)take(in, 1), letter == 'k');
        break;
    case 'n':
        world->track = (uint8_t)take(in, 1);
        break;
    case 'e':
        publisher_track_end(world->pub, take(in, 1) & 1 ? TRACK_AUDIO : TRACK_VIDEO, world->track);
        break;
    case 'v':
        picture(world, in, false);
        break;
    case 'K':
        picture(world, in, true);
        break;
    case 'a':
        world->audio_ms += take(in, 2);
        publisher_frame(world->pub, &(struct publisher_frame){TRACK_AUDIO, world->track, world->audio_ms * 1000,
                                                              world->audio_ms * 1000, true, sound, sizeof sound});
        break;
    case 'J':
        n = take(in, 4) * 1000;
        world->video_ms += n;
        world->audio_ms += n;
        break;
    case 'p':
        change_push(world, (unsigned)take(in, 1) % 3);
        break;
    case 'x':
        end_push(world);
        break;
    case 's':
        pretended_stand_by(&world->writer, (enum claim_result)(CLAIM_STANDBY + take(in, 1) % 3));
        break;
    case 'g':
        pretended_grant_again(&world->writer, "live/show");
        break;
    case 't':
        world->writer.now_us += 3000000;
        publishers_sweep(ingest, world->writer.now_us);
        store_expire(world->writer.store, world->writer.now_us);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct store_settings store = {.window_us = 14000000, .bytes_max = 8 << 20, .streams_max = 1};
    static const struct ingest_settings settings = {.segment_ms = 2000, .part_ms = 200, .stall_ms = 2000};
    static const struct publisher_events events = {on_result, on_lost};
    static const struct claim_grant grant = {.epoch = 9, .next_msn = 100, .next_part = 500};
    struct world world = {.loop = loop_create(), .writer = {.store = store_create(&store), .now_us = 1, .epoch = 9}};
    struct writer_port port = pretended_port(&world.writer);
    log_configure(LOG_LEVEL_ERROR, LOG_LOGFMT);
    struct ingest *ingest = ingest_create(world.loop, &settings, &port);
    world.ingest = ingest;
    world.pub = world.pushes[0] = publisher_open(ingest, "live", "show", "192.0.2.1:5", &events, &world);
    world.writer.on_result(world.writer.owner, CLAIM_GRANTED, &grant);
    struct input in = {data, size};
    while (in.len > 0 && !world.lost)
        step(&world, ingest, &in);
    for (int i = 0; i < 3; i++)
        publisher_close(world.pushes[i], true);
    ingest_destroy(ingest);
    store_destroy(world.writer.store);
    loop_destroy(world.loop);
    return 0;
}
