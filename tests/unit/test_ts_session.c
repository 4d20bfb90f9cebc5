#include "ingest/ts_session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/base/metrics.h"
#include "common/media/store.h"
#include "ingest/ingest.h"
#include "tests/unit/codec_samples.h"
#include "ts_fixture.h"

/* A session writing into a store of its own, through a port that grants when the test wants it; what is written is
 * noted. */

enum { CHUNKS_MAX = 1000, MS = 90 };

/* 1280×720 Main profile without VUI, and slices of a few bytes. */
#define SETS       "\0\0\0\1\x67\x4d\x40\x1f\xec\xa0\x28\x02\xd8\0\0\0\1\x68\xee\x3c\x80"
#define OTHER_SETS "\0\0\0\1\x67\x4d\x40\x1e\xec\xa0\x28\x02\xd8\0\0\0\1\x68\xee\x3c\x80"
#define IDR        "\0\0\0\1\x65\x88\x84\x01"
#define SLICE      "\0\0\0\1\x09\xf0\0\0\0\1\x41\x9a\0\x01"

struct chunk {
    bool picture, independent;
    int64_t dts_ts;
    uint32_t duration_ts;
    size_t bytes;
};

struct world {
    struct loop *loop;
    struct ingest *ingest;
    struct store *store;
    struct ts_session *session;
    struct ts_mux mux;
    void (*on_claimed)(void *owner, enum claim_result result, const struct claim_grant *grant);
    void *owner;
    struct record_open open;
    uint32_t opens, chunk_count, released_clean;
    uint32_t chunks_of[TRACKS_MAX]; /* since the tracks were opened */
    struct chunk chunks[CHUNKS_MAX];
    int results, losses;
    bool destroys;
    enum publish_result result;
    char why[160];
};

static void *port_claim(void *ctx, const struct claim_request *request) {
    struct world *world = ctx;
    world->on_claimed = request->on_result;
    world->owner = request->owner;
    return world;
}

static int port_write(void *ctx, void *claim, struct record *record) {
    struct world *world = ctx;
    (void)claim;
    if (record->type == RECORD_OPEN) {
        world->open = record->open;
        world->opens++;
        memset(world->chunks_of, 0, sizeof world->chunks_of);
    }
    if (record->type == RECORD_CHUNK) {
        assert_true(world->chunk_count < CHUNKS_MAX);
        world->chunks_of[record->chunk.track]++;
        world->chunks[world->chunk_count++] =
            (struct chunk){world->open.tracks[record->chunk.track].kind == TRACK_VIDEO,
                           record->chunk.flags & CHUNK_INDEPENDENT, record->chunk.dts_ts, record->chunk.duration_ts,
                           record->chunk.body.len};
    }
    assert_int_equal(store_apply(world->store, record, 1), 0);
    record_unref(record);
    return 0;
}

static void port_touch(void *ctx, void *claim) {
    (void)ctx, (void)claim;
}

static void port_release(void *ctx, void *claim, bool clean) {
    struct world *world = ctx;
    (void)claim;
    world->released_clean += clean;
}

static void port_take(void *ctx, void *claim) {
    (void)ctx, (void)claim;
}

static void told(struct world *world) {
    if (world->destroys) {
        ts_session_destroy(world->session, true);
        world->session = NULL;
    }
    loop_stop(world->loop);
}

static void on_result(void *ctx, enum publish_result result) {
    struct world *world = ctx;
    world->results++;
    world->result = result;
    told(world);
}

static void on_lost(void *ctx, const char *why) {
    struct world *world = ctx;
    world->losses++;
    snprintf(world->why, sizeof world->why, "%s", why);
    told(world);
}

static struct world *begin_claiming(const char *name) {
    static const struct store_settings store = {.window_us = 30000000, .bytes_max = 64 << 20, .streams_max = 4};
    static const struct ingest_settings settings = {.segment_ms = 2000, .part_ms = 200, .stall_ms = 2000};
    static const struct ts_session_events events = {on_result, on_lost};
    struct world *world = calloc(1, sizeof *world);
    world->loop = loop_create();
    world->store = store_create(&store);
    struct writer_port port = {world, port_claim, port_write, port_touch, port_release, port_take};
    world->ingest = ingest_create(world->loop, &settings, &port);
    ts_mux_init(&world->mux);
    world->session = ts_session_create(world->ingest, "live", name, "192.0.2.1:5", &events, world);
    assert_int_equal(world->results, 0); /* never from inside the call */
    return world;
}

static void grant(struct world *world) {
    static const struct claim_grant claim = {.epoch = 9, .next_msn = 100, .next_part = 500};
    world->on_claimed(world->owner, CLAIM_GRANTED, &claim);
    loop_run(world->loop);
    assert_int_equal(world->result, PUBLISH_OK);
}

static struct world *begin(void) {
    struct world *world = begin_claiming("show");
    grant(world);
    return world;
}

static void end(struct world *world) {
    ts_session_destroy(world->session, true);
    ingest_destroy(world->ingest);
    store_destroy(world->store);
    loop_destroy(world->loop);
    buf_finish(&world->mux.out);
    free(world);
}

/* In datagrams as SRT carries them. */
static void feed(struct world *world) {
    while (buf_len(&world->mux.out)) {
        size_t n = buf_len(&world->mux.out) < 7 * TS_PACKET ? buf_len(&world->mux.out) : 7 * TS_PACKET;
        ts_session_input(world->session, buf_head(&world->mux.out), n);
        buf_consume(&world->mux.out, n);
    }
}

static void put_picture(struct world *world, const char *unit, size_t len, uint64_t dts_ts, uint64_t offset_ts) {
    struct ts_mux_pes pes = {.pid = MUX_VIDEO_PID,
                             .has_dts = true,
                             .dts_ts = 900000 + dts_ts,
                             .pts_ts = 900000 + dts_ts + offset_ts,
                             .data = (const uint8_t *)unit,
                             .len = len};
    ts_mux_pes(&world->mux, &pes);
}

static void picture(struct world *world, bool idr, uint64_t dts_ts) {
    put_picture(world, idr ? SETS IDR : SLICE, idr ? sizeof SETS IDR - 1 : sizeof SLICE - 1, dts_ts, 0);
}

/* One AAC frame of 48 kHz stereo. */
static void sound_of(struct world *world, uint16_t pid, uint64_t pts_ts) {
    uint8_t frame[207] = {0xff, 0xf1, 0x4c, 0x80, 207 >> 3, (uint8_t)(207 << 5 | 0x1f), 0xfc, 0x21};
    struct ts_mux_pes pes = {
        .pid = pid, .with_length = true, .pts_ts = 900000 + pts_ts, .data = frame, .len = sizeof frame};
    ts_mux_pes(&world->mux, &pes);
}

static void sound(struct world *world, uint64_t pts_ts) {
    sound_of(world, MUX_AUDIO_PID, pts_ts);
}

static void tables_of(struct world *world, uint8_t type, uint16_t pid) {
    const struct ts_mux_stream stream = {type, pid};
    ts_mux_pat(&world->mux, 0, 1);
    ts_mux_pmt(&world->mux, 1, 0, &stream, 1);
}

/* Pictures `from` to `to` at 25/s with sound in step. */
static void publish(struct world *world, int from, int to, int gop) {
    for (int n = from; n < to; n++) {
        if (n % 5 == 0)
            ts_mux_tables(&world->mux);
        for (int a = (n * 75 + 39) / 40; a * 1920 < (n + 1) * 3600; a++)
            if (a * 1920 >= n * 3600)
                sound(world, (uint64_t)a * 1920);
        picture(world, n % gop == 0, (uint64_t)n * 3600);
        feed(world);
    }
}

static uint32_t pictures_of(const struct world *world) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < world->chunk_count; i++)
        count += world->chunks[i].picture;
    return count;
}

static void stream_appears_after_three_pictures(void **state) {
    (void)state;
    struct world *world = begin();
    publish(world, 0, 2, 50);
    assert_int_equal(world->opens, 0);
    publish(world, 2, 3, 50);
    assert_int_equal(world->opens, 1);
    assert_int_equal(world->open.track_count, 2);
    assert_string_equal(world->open.tracks[0].codecs, "avc1.4d401f");
    assert_string_equal(world->open.tracks[1].codecs, "mp4a.40.2");
    assert_int_equal(world->open.tracks[0].frame_rate_milli, 25000);
    assert_int_equal(world->open.tracks[1].sample_rate, 48000);
    for (int n = 3; n < 100; n++) {
        publish(world, n, n + 1, 50);
        assert_int_equal(pictures_of(world), n + 1); /* none waits */
    }
    end(world);
}

static void check_grid(uint64_t numerator, uint64_t denominator, uint32_t rate_milli, bool reordered) {
    struct world *world = begin();
    tables_of(world, 0x1b, MUX_VIDEO_PID);
    for (uint64_t n = 0; n < 300; n++) {
        bool idr = n % 60 == 0;
        uint64_t dts_ts = n * 90000 * denominator / numerator;
        uint64_t pts_ts =
            (n + (reordered ? (const uint64_t[]){1, 3, 0, 0}[n % 4] : 0)) * 90000 * denominator / numerator;
        put_picture(world, idr ? SETS IDR : SLICE, idr ? sizeof SETS IDR - 1 : sizeof SLICE - 1, dts_ts,
                    pts_ts - dts_ts);
        feed(world);
    }
    assert_int_equal(world->opens, 1);
    assert_int_equal(world->chunk_count, 300);
    assert_int_equal(world->open.tracks[0].frame_rate_milli, rate_milli);
    for (uint32_t n = 0; n < 300; n++) {
        const struct chunk *chunk = &world->chunks[n];
        assert_int_equal(chunk->dts_ts - world->chunks[0].dts_ts, n * 90000ull * denominator / numerator);
        if (n)
            assert_int_equal(chunk->dts_ts, chunk[-1].dts_ts + chunk[-1].duration_ts);
    }
    end(world);
}

static void usual_rates_lie_on_an_exact_grid(void **state) {
    (void)state;
    for (int reordered = 0; reordered < 2; reordered++) {
        check_grid(25, 1, 25000, reordered);
        check_grid(30, 1, 30000, reordered);
        check_grid(50, 1, 50000, reordered);
        check_grid(60, 1, 60000, reordered);
        check_grid(24000, 1001, 23976, reordered);
        check_grid(30000, 1001, 29970, reordered);
        check_grid(60000, 1001, 59940, reordered);
    }
}

static void sound_lies_on_its_samples(void **state) {
    (void)state;
    struct world *world = begin();
    publish(world, 0, 250, 50);
    int64_t end_ts = 0;
    for (uint32_t i = 0; i < world->chunk_count; i++) {
        const struct chunk *chunk = &world->chunks[i];
        if (chunk->picture)
            continue;
        assert_true(!end_ts || chunk->dts_ts == end_ts);
        end_ts = chunk->dts_ts + chunk->duration_ts;
    }
    assert_true(end_ts > 0);
    end(world);
}

/* --- which tracks there are --- */

static void picture_alone_is_not_kept_waiting(void **state) {
    (void)state;
    struct world *world = begin();
    tables_of(world, 0x1b, MUX_VIDEO_PID);
    for (int n = 0; n < 4; n++)
        picture(world, !n, (uint64_t)n * 3600);
    feed(world);
    assert_int_equal(world->opens, 1);
    assert_int_equal(world->open.track_count, 1);
    end(world);
}

static void sound_alone_is_not_kept_waiting(void **state) {
    (void)state;
    struct world *world = begin();
    tables_of(world, 0x0f, MUX_AUDIO_PID);
    for (int n = 0; n < 3; n++)
        sound(world, (uint64_t)n * 1920);
    feed(world);
    assert_int_equal(world->opens, 1);
    assert_string_equal(world->open.tracks[0].name, "a0");
    end(world);
}

static void nothing_that_is_carried_is_told(void **state) {
    (void)state;
    struct world *world = begin();
    tables_of(world, 0x11, MUX_VIDEO_PID);
    publish(world, 0, 1, 50);
    assert_int_equal(world->losses, 0);
    loop_run(world->loop);
    assert_int_equal(world->losses, 1);
    assert_string_equal(world->why,
                        "AAC in LATM (stream type 0x11) is not carried yet: send H.264 or HEVC, and AAC or Opus");
    publish(world, 0, 10, 50); /* ignored */
    assert_int_equal(world->opens, 0);
    end(world);
}

static void programme_may_get_another_number(void **state) {
    (void)state;
    struct world *world = begin();
    static const struct ts_mux_stream streams[] = {{0x1b, MUX_VIDEO_PID}, {0x0f, MUX_AUDIO_PID}};
    static const uint8_t second[] = {0, 2, 0xe0 | (MUX_PMT_PID + 1) >> 8, (MUX_PMT_PID + 1) & 0xff};
    publish(world, 0, 61, 50);
    ts_mux_section(&world->mux, 0, 0, 1, 1, second, sizeof second);
    ts_mux_pmt(&world->mux, 2, 0, streams, 2);
    for (int n = 61; n < 120; n++)
        picture(world, n == 100, (uint64_t)n * 3600);
    feed(world);
    assert_int_equal(world->losses, 0);
    assert_int_equal(world->opens, 1);
    assert_int_equal(pictures_of(world), 81); /* from the IDR picture on */
    end(world);
}

static void what_is_no_transport_stream_is_told(void **state) {
    (void)state;
    struct world *world = begin();
    static const uint8_t zeros[1316];
    for (int i = 0; i < 4000; i++)
        ts_session_input(world->session, zeros, sizeof zeros);
    loop_run(world->loop);
    assert_int_equal(world->losses, 1);
    end(world);
}

/* --- other codecs, several sounds --- */

static void tables(struct world *world, uint8_t version, const struct ts_mux_stream *streams, size_t count) {
    ts_mux_pat(&world->mux, 0, 1);
    ts_mux_pmt(&world->mux, 1, version, streams, count);
}

static size_t append_nal(uint8_t *out, const uint8_t *nal, size_t len) {
    static const uint8_t start[] = {0, 0, 0, 1};
    memcpy(out, start, sizeof start);
    memcpy(out + sizeof start, nal, len);
    return sizeof start + len;
}

static size_t append_sets(uint8_t *out, const struct codec_sample *sample) {
    const uint8_t *config = sample->config.data;
    size_t n = 0;
    for (size_t pos = 23 + 3, len; pos < sample->config.len; pos += 2 + len + 3) {
        len = (size_t)(config[pos] << 8 | config[pos + 1]);
        n += append_nal(out + n, config + pos + 2, len);
    }
    return n;
}

static void hevc_picture(struct world *world, const struct codec_sample *sample, bool with_sets, int frame, int n) {
    uint8_t unit[512];
    size_t len = with_sets ? append_sets(unit, sample) : 0;
    len += append_nal(unit + len, sample->frames[frame].data + 4, sample->frames[frame].len - 4);
    put_picture(world, (const char *)unit, len, (uint64_t)n * 3600, 0);
    feed(world);
}

static void hevc_nal(struct world *world, uint8_t type, int n) {
    const uint8_t nal[] = {(uint8_t)(type << 1), 1, 0x80};
    uint8_t unit[16];
    put_picture(world, (const char *)unit, append_nal(unit, nal, sizeof nal), (uint64_t)n * 3600, 0);
    feed(world);
}

static void hevc(void **state) {
    (void)state;
    struct world *world = begin();
    tables_of(world, 0x24, MUX_VIDEO_PID);
    for (int n = 0; n < 4; n++)
        hevc_picture(world, &sample_hevc, !n, n ? 1 : 0, n);
    assert_int_equal(world->opens, 1);
    assert_string_equal(world->open.tracks[0].codecs, sample_hevc.codecs);
    assert_int_equal(world->open.tracks[0].width, 64);
    assert_int_equal(world->open.tracks[0].frame_rate_milli, 25000);
    assert_int_equal(pictures_of(world), 4);
    for (int n = 4; n < 8; n++)
        hevc_picture(world, &sample_hevc10, n == 4, n == 4 ? 1 : 2, n);
    assert_int_equal(world->opens, 2);
    assert_string_equal(world->open.tracks[0].codecs, sample_hevc10.codecs);
    end(world);
}

/* An encoder's open GOP: those pictures refer to what a viewer who begins here doesn't have. */
static void leading_pictures_after_a_loss_are_left_out(void **state) {
    (void)state;
    enum { RASL_R = 9, TRAIL_R = 1 };
    struct world *world = begin();
    tables_of(world, 0x24, MUX_VIDEO_PID);
    hevc_picture(world, &sample_hevc10, true, 1, 0); /* CRA */
    hevc_nal(world, RASL_R, 1);
    int n = 2;
    for (; n < 60; n++)
        hevc_nal(world, TRAIL_R, n);
    assert_int_equal(pictures_of(world), n - 1);
    hevc_picture(world, &sample_hevc10, true, 1, n++);
    hevc_nal(world, RASL_R, n++); /* nothing is missing */
    assert_int_equal(pictures_of(world), n - 1);
    ts_session_gap(world->session);
    uint32_t before = pictures_of(world);
    hevc_nal(world, TRAIL_R, n++);
    hevc_picture(world, &sample_hevc10, true, 1, n++);
    hevc_nal(world, RASL_R, n++);
    hevc_nal(world, TRAIL_R, n++);
    hevc_nal(world, TRAIL_R, n++);
    assert_int_equal(pictures_of(world) - before, 3);
    end(world);
}

/* 60 pictures a second, of which the first behind the one that decoding begins with can't be decoded. */
static void rate_is_not_taken_from_a_gap_of_leading_pictures(void **state) {
    (void)state;
    enum { RASL_R = 9, TRAIL_R = 1, CRA = 21 };
    struct world *world = begin();
    tables_of(world, 0x24, MUX_VIDEO_PID);
    for (int n = 0; n < 20; n++) {
        uint8_t unit[512];
        size_t len = n ? 0 : append_sets(unit, &sample_hevc);
        const uint8_t nal[] = {(uint8_t)((!n ? CRA : n < 2 ? RASL_R : TRAIL_R) << 1), 1, 0x80};
        len += append_nal(unit + len, nal, sizeof nal);
        put_picture(world, (const char *)unit, len, (uint64_t)n * 1500, 0);
        feed(world);
    }
    assert_int_equal(world->opens, 1);
    assert_int_equal(world->open.tracks[0].frame_rate_milli, 60000);
    assert_int_equal(pictures_of(world), 19);
    for (uint32_t n = 2; n < 19; n++)
        assert_int_equal(world->chunks[n].duration_ts, 1500);
    end(world);
}

static void pictures_without_parameter_sets_are_told(void **state) {
    (void)state;
    struct world *world = begin();
    tables_of(world, 0x24, MUX_VIDEO_PID);
    for (int n = 0; n < 30; n++)
        hevc_picture(world, &sample_hevc, false, 0, n);
    loop_run(world->loop);
    assert_int_equal(world->losses, 1);
    assert_string_equal(world->why, "no parameter sets that can be used come with the pictures");
    end(world);
}

/* Three packets of 20 ms in each PES packet; of ten one says when. */
static void opus_sound(struct world *world, int n) {
    static const uint8_t unit[] = {0x7f, 0xe0, 3, 0xfc, 0xff, 0xfe};
    uint8_t data[3 * sizeof unit];
    for (size_t i = 0; i < 3; i++)
        memcpy(data + i * sizeof unit, unit, sizeof unit);
    struct ts_mux_pes pes = {.pid = MUX_AUDIO_PID,
                             .with_length = true,
                             .no_time = n % 10,
                             .pts_ts = 900000 + (uint64_t)n * 5400,
                             .data = data,
                             .len = sizeof data};
    ts_mux_pes(&world->mux, &pes);
    feed(world);
}

static void opus(void **state) {
    (void)state;
    static const struct ts_mux_stream streams[] = {{0x06, MUX_AUDIO_PID, MUX_OPUS("\x02") MUX_LANGUAGE("jpn"), 16}};
    struct world *world = begin();
    tables(world, 0, streams, 1);
    for (int n = 0; n < 20; n++)
        opus_sound(world, n);
    assert_int_equal(world->opens, 1);
    assert_string_equal(world->open.tracks[0].codecs, "opus");
    assert_string_equal(world->open.tracks[0].language, "ja");
    assert_int_equal(world->open.tracks[0].channels, 2);
    int64_t end_ts = world->chunks[0].dts_ts;
    for (uint32_t i = 0; i < world->chunk_count; i++) {
        assert_int_equal(world->chunks[i].dts_ts, end_ts);
        end_ts += world->chunks[i].duration_ts;
    }
    assert_true(end_ts - world->chunks[0].dts_ts >= 48000);
    end(world);
}

static const struct ts_mux_stream bilingual[] = {{0x1b, MUX_VIDEO_PID},
                                                 {0x0f, MUX_AUDIO_PID, MUX_LANGUAGE("eng"), 6},
                                                 {0x0f, MUX_AUDIO_PID + 1, MUX_LANGUAGE("deu"), 6}};

static void publish_bilingual(struct world *world, int from, int to, int sounds) {
    for (int n = from; n < to; n++) {
        for (int a = (n * 75 + 39) / 40; a * 1920 < (n + 1) * 3600; a++)
            for (int i = 0; a * 1920 >= n * 3600 && i < sounds; i++)
                sound_of(world, (uint16_t)(MUX_AUDIO_PID + i), (uint64_t)a * 1920);
        picture(world, n % 25 == 0, (uint64_t)n * 3600);
        feed(world);
    }
}

static void sounds_come_and_go_with_the_table(void **state) {
    (void)state;
    struct world *world = begin();
    tables(world, 0, bilingual, 3);
    publish_bilingual(world, 0, 50, 2);
    assert_int_equal(world->opens, 1);
    assert_int_equal(world->open.track_count, 3);
    assert_string_equal(world->open.tracks[1].language, "en");
    assert_string_equal(world->open.tracks[2].language, "de");
    assert_true(world->chunks_of[1] >= 15 && world->chunks_of[2] >= 15);
    tables(world, 1, bilingual, 2);
    publish_bilingual(world, 50, 100, 1);
    assert_int_equal(world->opens, 2);
    assert_int_equal(world->open.track_count, 2);
    assert_string_equal(world->open.tracks[1].language, "en");
    tables(world, 2, bilingual, 3);
    publish_bilingual(world, 100, 180, 2);
    assert_int_equal(world->opens, 3);
    assert_int_equal(world->open.track_count, 3);
    assert_int_equal(world->losses, 0);
    end(world);
}

static void language_that_changes_is_told(void **state) {
    (void)state;
    struct world *world = begin();
    struct ts_mux_stream streams[] = {bilingual[0], bilingual[1]};
    tables(world, 0, streams, 2);
    publish_bilingual(world, 0, 50, 1);
    assert_string_equal(world->open.tracks[1].language, "en");
    streams[1].descriptors = MUX_LANGUAGE("fra");
    tables(world, 1, streams, 2);
    publish_bilingual(world, 50, 110, 1);
    assert_string_equal(world->open.tracks[1].language, "fr");
    end(world);
}

/* --- pictures in several PES packets --- */

static void put_piece(struct world *world, const uint8_t *data, size_t len, bool with_length, bool no_time, int n) {
    struct ts_mux_pes pes = {.pid = MUX_VIDEO_PID,
                             .with_length = with_length,
                             .no_time = no_time,
                             .pts_ts = 900000 + (uint64_t)n * 3600,
                             .data = data,
                             .len = len};
    ts_mux_pes(&world->mux, &pes);
    feed(world);
}

/* IDR pictures of `len` bytes in pieces of up to `piece`, of which the first has a time, and small ones between. */
static struct world *publish_in_pieces(size_t len, size_t piece, bool with_length, int gop) {
    struct world *world = begin();
    uint8_t *idr = malloc(len);
    memset(idr, 0x55, len);
    memcpy(idr, SETS IDR, sizeof SETS IDR - 1);
    tables_of(world, 0x1b, MUX_VIDEO_PID);
    for (int n = 0; n < 60; n++) {
        for (size_t pos = 0; n % gop == 0 && pos < len; pos += piece)
            put_piece(world, idr + pos, len - pos < piece ? len - pos : piece, with_length, pos, n);
        if (n % gop)
            put_piece(world, (const uint8_t *)SLICE, sizeof SLICE - 1, with_length, false, n);
    }
    free(idr);
    return world;
}

static void picture_longer_than_a_packet_is_put_together(void **state) {
    (void)state;
    static const size_t lens[] = {65500, 65501, 131000, 200000};
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        struct world *world = publish_in_pieces(lens[i], 65500, true, 25);
        assert_int_equal(world->losses, 0);
        assert_int_equal(pictures_of(world), 60);
        for (uint32_t n = 0; n < 60; n++) {
            assert_int_equal(world->chunks[n].independent, n % 25 == 0);
            if (n % 25 == 0) /* the boxes around them are small */
                assert_in_range(world->chunks[n].bytes, lens[i] - sizeof SETS, lens[i] + 300);
        }
        end(world);
    }
}

static void rest_of_a_picture_that_is_missing_costs_it(void **state) {
    (void)state;
    struct world *world = publish_in_pieces(200000, 65500, true, 60);
    uint8_t rest[3000];
    memset(rest, 0x55, sizeof rest);
    assert_int_equal(pictures_of(world), 60);
    uint8_t *idr = calloc(1, 65500);
    memset(idr, 0x55, 65500);
    memcpy(idr, SETS IDR, sizeof SETS IDR - 1);
    put_piece(world, idr, 65500, true, false, 60);
    ts_session_gap(world->session);
    put_piece(world, rest, sizeof rest, true, true, 60);
    put_piece(world, (const uint8_t *)SLICE, sizeof SLICE - 1, true, false, 61);
    assert_int_equal(pictures_of(world), 60);
    put_piece(world, idr, 65500, true, false, 62);
    assert_int_equal(pictures_of(world), 60); /* waits */
    put_piece(world, (const uint8_t *)SLICE, sizeof SLICE - 1, true, false, 63);
    assert_int_equal(pictures_of(world), 62);
    put_piece(world, idr, 65500, true, false, 64);
    free(idr);
    end(world);
}

static void pictures_in_pieces_that_do_not_tell_are_refused(void **state) {
    (void)state;
    struct world *world = publish_in_pieces(3000, 2000, false, 2);
    loop_run(world->loop);
    assert_int_equal(world->losses, 1);
    assert_string_equal(world->why,
                        "pictures have no time of their own, or are split over PES packets that are not full");
    end(world);
}

/* --- loss --- */

static void after_a_loss_pictures_wait_for_an_idr(void **state) {
    (void)state;
    struct world *world = begin();
    publish(world, 0, 60, 50);
    assert_int_equal(pictures_of(world), 60);
    picture(world, false, 60 * 3600);
    buf_clear(&world->mux.out); /* lost */
    publish(world, 61, 100, 50);
    assert_int_equal(pictures_of(world), 60);
    publish(world, 100, 120, 50);
    assert_int_equal(pictures_of(world), 80);
    assert_int_equal(world->losses, 0);
    end(world);
}

static void gap_is_a_loss(void **state) {
    (void)state;
    struct world *world = begin();
    publish(world, 0, 60, 50);
    ts_session_gap(world->session);
    publish(world, 60, 120, 50);
    assert_int_equal(pictures_of(world), 80);
    end(world);
}

/* No box has room for offsets of hours. */
static void picture_shown_far_too_late_is_dropped(void **state) {
    (void)state;
    struct world *world = begin();
    publish(world, 0, 60, 50);
    put_picture(world, SLICE, sizeof SLICE - 1, 60 * 3600, UINT64_C(1) << 31);
    publish(world, 61, 120, 50);
    assert_int_equal(pictures_of(world), 80);
    assert_int_equal(world->losses, 0);
    end(world);
}

static void stream_joined_midway_begins_with_an_idr(void **state) {
    (void)state;
    struct world *world = begin();
    publish(world, 1, 400, 400); /* ten times what a publisher bears of frames that it can't use */
    publish(world, 400, 410, 400);
    assert_int_equal(world->losses, 0);
    assert_int_equal(pictures_of(world), 10);
    end(world);
}

static void pictures_without_a_key_are_told(void **state) {
    (void)state;
    struct world *world = begin();
    tables_of(world, 0x1b, MUX_VIDEO_PID);
    for (int n = 0; n < 20 * 25; n++)
        picture(world, false, (uint64_t)n * 3600);
    picture(world, false, UINT64_C(3600000) * 90); /* an hour later, which doesn't count */
    feed(world);
    publish(world, 0, 25, 25);
    assert_int_equal(pictures_of(world), 25);
    ts_session_gap(world->session);
    for (int n = 25; n < 24 * 25; n++)
        picture(world, false, (uint64_t)n * 3600);
    feed(world);
    assert_int_equal(pictures_of(world), 25);
    loop_run(world->loop);
    assert_int_equal(world->losses, 1);
    assert_string_equal(world->why, "no picture comes that decoding can begin with: the encoder must send key frames");
    end(world);
}

static void other_configuration_goes_on_with_a_discontinuity(void **state) {
    (void)state;
    struct world *world = begin();
    publish(world, 0, 50, 50);
    put_picture(world, OTHER_SETS IDR, sizeof OTHER_SETS IDR - 1, 50 * 3600, 0);
    for (int n = 51; n < 60; n++) {
        sound(world, (uint64_t)n * 3600);
        picture(world, false, (uint64_t)n * 3600);
    }
    feed(world);
    assert_int_equal(world->opens, 2);
    assert_string_equal(world->open.tracks[0].codecs, "avc1.4d401e");
    end(world);
}

/* The parameter set of pictures of so many macroblocks by 16: H.264, Main profile. */
static size_t append_sps_of(uint8_t *out, uint32_t width_mbs) {
    uint8_t sps[32] = {0x67, 77, 0x40, 0x33};
    size_t pos = 32;
    const uint32_t fields[] = {0, 0, 2, 1, UINT32_MAX /* a bit 0 */, width_mbs - 1, 15};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        uint32_t code = fields[i] + 1;
        unsigned bits = code ? 63 - 2 * (unsigned)__builtin_clz(code) : 1;
        for (unsigned bit = bits; bit-- > 0; pos++)
            if (bit < 32 && code >> bit & 1)
                sps[pos / 8] |= (uint8_t)(0x80 >> pos % 8);
    }
    for (const char *flags = "11001"; *flags; flags++, pos++) /* the last ends it */
        if (*flags == '1')
            sps[pos / 8] |= (uint8_t)(0x80 >> pos % 8);
    return append_nal(out, sps, (pos + 7) / 8);
}

static void idr_of_width(struct world *world, uint32_t width_mbs, int n) {
    static const char rest[] = "\0\0\0\1\x68\xee\x3c\x80" IDR;
    uint8_t unit[128];
    size_t len = append_sps_of(unit, width_mbs);
    memcpy(unit + len, rest, sizeof rest - 1);
    put_picture(world, (const char *)unit, len + sizeof rest - 1, (uint64_t)n * 3600, 0);
    feed(world);
}

/* Who goes on would decode with the one before, for good. */
static void pictures_of_a_configuration_that_cannot_be_used_are_left_out(void **state) {
    (void)state;
    struct world *world = begin();
    tables_of(world, 0x1b, MUX_VIDEO_PID);
    int n = 0;
    idr_of_width(world, 40, n++);
    for (; n < 25; n++)
        picture(world, false, (uint64_t)n * 3600);
    feed(world);
    assert_int_equal(world->open.tracks[0].width, 640);
    assert_int_equal(pictures_of(world), 25);
    idr_of_width(world, 600, n++);
    for (; n < 50; n++)
        picture(world, false, (uint64_t)n * 3600);
    feed(world);
    assert_int_equal(pictures_of(world), 25);
    idr_of_width(world, 40, n++);
    picture(world, false, (uint64_t)n++ * 3600);
    feed(world);
    assert_int_equal(pictures_of(world), 27);
    assert_int_equal(world->opens, 1);
    for (int i = 0; i < 21; i++)
        idr_of_width(world, 600, n++);
    assert_int_equal(pictures_of(world), 27);
    loop_run(world->loop);
    assert_int_equal(world->losses, 1);
    assert_string_equal(world->why, "no parameter sets that can be used come with the pictures");
    end(world);
}

static double metric(const char *name) {
    struct buf out;
    char line[128];
    buf_init(&out, 1 << 20);
    metrics_render(&out);
    buf_append(&out, "", 1);
    snprintf(line, sizeof line, "\n%s ", name);
    const char *found = strstr((const char *)buf_head(&out), line);
    double value = found ? atof(found + strlen(line)) : -1;
    buf_finish(&out);
    return value;
}

static void what_is_left_out_is_counted(void **state) {
    (void)state;
    static const uint8_t bad_sps[] = {0, 0, 0, 1, 0x67};
    struct world *world = begin();
    double malformed = metric("weir_ingest_ts_malformed_total"), dropped = metric("weir_ingest_ts_dropped_total");
    assert_true(malformed >= 0 && dropped >= 0);
    publish(world, 0, 10, 10);
    put_piece(world, bad_sps, sizeof bad_sps, false, false, 10);
    ts_mux_pat(&world->mux, 1, 2);
    buf_head(&world->mux.out)[20] ^= 1; /* not what its CRC says */
    feed(world);
    assert_true(metric("weir_ingest_ts_dropped_total") == dropped);
    uint8_t several[207] = {0xff, 0xf1, 0x4c, 0x80, 207 >> 3, (uint8_t)(207 << 5 | 0x1f), 0xfd, 0x21};
    struct ts_mux_pes pes = {
        .pid = MUX_AUDIO_PID, .with_length = true, .pts_ts = 900000, .data = several, .len = sizeof several};
    ts_mux_pes(&world->mux, &pes);
    publish(world, 11, 12, 10);
    assert_true(metric("weir_ingest_ts_malformed_total") == malformed + 2);
    assert_true(metric("weir_ingest_ts_dropped_total") == dropped + 1);
    end(world);
}

/* --- before the result --- */

static void what_comes_before_the_result_is_held(void **state) {
    (void)state;
    struct world *world = begin_claiming("show");
    publish(world, 0, 20, 50);
    assert_int_equal(world->opens, 0);
    grant(world);
    assert_int_equal(pictures_of(world), 20);
    end(world);
}

static void what_was_held_before_a_gap_is_dropped(void **state) {
    (void)state;
    struct world *world = begin_claiming("show");
    publish(world, 0, 20, 20);
    ts_session_gap(world->session);
    publish(world, 20, 30, 20);
    grant(world);
    assert_int_equal(pictures_of(world), 10);
    end(world);
}

static void oldest_is_dropped_when_too_much_is_held(void **state) {
    (void)state;
    struct world *world = begin_claiming("show");
    uint8_t *much = calloc(1, TS_SESSION_HELD_MAX);
    for (int i = 0; i < 3; i++)
        ts_session_input(world->session, much, TS_SESSION_HELD_MAX / 3 * (size_t)(i + 1));
    for (int i = 0; i < 10000; i++)
        ts_session_input(world->session, much, 1316);
    free(much);
    publish(world, 0, 20, 50);
    grant(world);
    assert_int_equal(pictures_of(world), 20);
    end(world);
}

static void refusal_is_told(void **state) {
    (void)state;
    struct world *world = begin_claiming("a name");
    loop_run(world->loop);
    assert_int_equal(world->result, PUBLISH_BAD_NAME);
    publish(world, 0, 10, 50);
    end(world);
}

static void session_may_go_in_its_own_event(void **state) {
    (void)state;
    struct world *world = begin_claiming("show");
    world->destroys = true;
    grant(world);
    assert_int_equal(world->released_clean, 1);
    end(world);
    world = begin();
    world->destroys = true;
    tables_of(world, 0x11, MUX_VIDEO_PID);
    publish(world, 0, 1, 50);
    loop_run(world->loop);
    assert_null(world->session);
    end(world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stream_appears_after_three_pictures),
        cmocka_unit_test(usual_rates_lie_on_an_exact_grid),
        cmocka_unit_test(sound_lies_on_its_samples),
        cmocka_unit_test(picture_alone_is_not_kept_waiting),
        cmocka_unit_test(sound_alone_is_not_kept_waiting),
        cmocka_unit_test(nothing_that_is_carried_is_told),
        cmocka_unit_test(programme_may_get_another_number),
        cmocka_unit_test(what_is_no_transport_stream_is_told),
        cmocka_unit_test(hevc),
        cmocka_unit_test(leading_pictures_after_a_loss_are_left_out),
        cmocka_unit_test(rate_is_not_taken_from_a_gap_of_leading_pictures),
        cmocka_unit_test(pictures_without_parameter_sets_are_told),
        cmocka_unit_test(opus),
        cmocka_unit_test(sounds_come_and_go_with_the_table),
        cmocka_unit_test(language_that_changes_is_told),
        cmocka_unit_test(picture_longer_than_a_packet_is_put_together),
        cmocka_unit_test(rest_of_a_picture_that_is_missing_costs_it),
        cmocka_unit_test(pictures_in_pieces_that_do_not_tell_are_refused),
        cmocka_unit_test(after_a_loss_pictures_wait_for_an_idr),
        cmocka_unit_test(gap_is_a_loss),
        cmocka_unit_test(picture_shown_far_too_late_is_dropped),
        cmocka_unit_test(stream_joined_midway_begins_with_an_idr),
        cmocka_unit_test(pictures_without_a_key_are_told),
        cmocka_unit_test(other_configuration_goes_on_with_a_discontinuity),
        cmocka_unit_test(pictures_of_a_configuration_that_cannot_be_used_are_left_out),
        cmocka_unit_test(what_is_left_out_is_counted),
        cmocka_unit_test(what_comes_before_the_result_is_held),
        cmocka_unit_test(what_was_held_before_a_gap_is_dropped),
        cmocka_unit_test(oldest_is_dropped_when_too_much_is_held),
        cmocka_unit_test(refusal_is_told),
        cmocka_unit_test(session_may_go_in_its_own_event),
    };
    log_configure(LOG_LEVEL_ERROR, LOG_LOGFMT);
    ts_session_metrics_register();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
