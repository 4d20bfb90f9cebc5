/* Publishers' clocks have few bits: 31 or 32 of milliseconds in RTMP, 33 of 90 kHz in MPEG-TS. What goes in here are
 * bytes, of streams with faults (time_faults.h) just when the clock wraps, and of a whole day. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ingest/amf.h"
#include "ingest/publisher.h"
#include "ingest/rtmp_chunk.h"
#include "ingest/rtmp_handshake.h"
#include "ingest/rtmp_session.h"
#include "ingest/timeline.h"
#include "ingest/ts.h"
#include "rtmp_fixture.h"
#include "time_faults.h"
#include "ts_fixture.h"

static const int64_t epoch_us = 1790000000ll * 1000000;
enum { SEEDS = 20, AT_US = 3000000, UNTIL_US = 6000000, WAITING = 256 };

/* --- a publisher that writes down what it is given --- */

struct publisher {
    struct publisher_events events;
    void *ctx;
    void (*on_frame)(const struct publisher_frame *frame);
};

static struct publisher fake;

struct publisher *publisher_open(struct ingest *ingest, const char *app, const char *name, const char *peer,
                                 const struct publisher_events *events, void *ctx) {
    (void)ingest, (void)app, (void)name, (void)peer;
    fake.events = *events;
    fake.ctx = ctx;
    return &fake;
}

void publisher_metadata(struct publisher *pub, const struct publisher_metadata *metadata) {
    (void)pub, (void)metadata;
}

void publisher_config(struct publisher *pub, const struct publisher_config *config) {
    (void)pub, (void)config;
}

void publisher_frame(struct publisher *pub, const struct publisher_frame *frame) {
    pub->on_frame(frame);
}

void publisher_track_end(struct publisher *pub, enum track_kind kind, uint8_t track) {
    (void)pub, (void)kind, (void)track;
}

void publisher_close(struct publisher *pub, bool clean) {
    (void)pub, (void)clean;
}

/* --- what was sent and has not come yet --- */

static struct fault_source source;
static struct fault_frame sent[WAITING];
static uint64_t sent_count, got_count;
static int64_t base_us; /* what is unwrapped minus what was sent */

static const struct fault_frame *sent_next(void) {
    fault_next(&source, &sent[sent_count % WAITING]);
    return &sent[sent_count++ % WAITING];
}

static const struct fault_frame *got_next(void) {
    assert_true(got_count < sent_count && sent_count - got_count <= WAITING);
    return &sent[got_count++ % WAITING];
}

static void got_times(enum track_kind kind, int64_t dts_us, int64_t pts_us) {
    const struct fault_frame *frame = got_next();
    if (got_count == 1)
        base_us = dts_us - frame->dts_us;
    int64_t off_us = dts_us - frame->dts_us - base_us;
    assert_int_equal(kind, frame->kind);
    assert_true(llabs(off_us) <= 12); /* of 90 kHz in microseconds */
    assert_true(llabs(pts_us - dts_us - (frame->pts_us - frame->dts_us)) <= 12);
}

/* A stream whose clock wraps, at `wrap_us`, when the fault comes. */
static void begin(uint32_t seed, enum fault fault, int64_t wrap_us, uint32_t unit_us) {
    fault_source_init(&source, seed);
    source.unit_us = unit_us;
    source.clock_us = wrap_us - AT_US - 20000;
    source.drift_ppm = 0;
    sent_count = got_count = 0;
    fault_begin(&source, fault, AT_US);
}

/* --- RTMP --- */

static struct rtmp_session *session;
static struct buf wire;
static uint32_t time_mask;

static void got_rtmp(const struct publisher_frame *frame) {
    got_times(frame->kind, frame->dts_us, frame->pts_us);
}

static void input(void) {
    rtmp_session_input(session, buf_head(&wire), buf_len(&wire), epoch_us);
    buf_clear(&wire);
    buf_clear(rtmp_session_output(session));
    assert_false(rtmp_session_closing(session));
}

static void put_command(uint32_t csid, uint32_t stream_id, const struct buf *body) {
    wire_message(&wire, 128, 0, csid, 0, RTMP_COMMAND, stream_id, buf_head(body), buf_len(body));
}

static void on_change(void *ctx) {
    (void)ctx;
}

static void rtmp_begin(uint32_t mask, void (*on_frame)(const struct publisher_frame *frame)) {
    static const struct rtmp_session_settings settings = {.peer = "192.0.2.7:5121",
                                                          .handshake_timeout_us = 10000000,
                                                          .silence_timeout_us = 10000000,
                                                          .memory_max = 8 << 20,
                                                          .unpublished_memory_max = 64 << 10,
                                                          .on_change = on_change};
    struct buf body;
    buf_init(&body, 1000);
    buf_init(&wire, 1 << 20);
    fake.on_frame = on_frame;
    time_mask = mask;
    session = rtmp_session_create(&settings, epoch_us);
    wire_put(&wire, 3, 1);
    for (int i = 0; i < 2 * RTMP_HANDSHAKE_PART / 4; i++)
        wire_put(&wire, 0, 4);
    amf_write_string(&body, "connect");
    amf_write_number(&body, 1);
    amf_write_object_begin(&body);
    amf_write_name(&body, "app");
    amf_write_string(&body, "live");
    amf_write_object_end(&body);
    put_command(3, 0, &body);
    buf_clear(&body);
    amf_write_string(&body, "publish");
    amf_write_number(&body, 5);
    amf_write_null(&body);
    amf_write_string(&body, "show");
    amf_write_string(&body, "live");
    put_command(4, 1, &body);
    buf_finish(&body);
    input();
    fake.events.on_result(fake.ctx, PUBLISH_OK);
}

static void rtmp_end(void) {
    rtmp_session_destroy(session);
    buf_finish(&wire);
}

static void put_frame(const struct fault_frame *frame) {
    bool video = frame->kind == TRACK_VIDEO;
    int64_t offset_ms = (frame->pts_us - frame->dts_us) / 1000;
    uint8_t picture[] = {0x27, 1, (uint8_t)(offset_ms >> 16), (uint8_t)(offset_ms >> 8), (uint8_t)offset_ms, 1};
    static const uint8_t sound[] = {0xaf, 1, 0x21};
    uint32_t time_ms = (uint32_t)(frame->dts_us / 1000) & time_mask;
    wire_message(&wire, 128, 0, 4, time_ms, video ? RTMP_VIDEO : RTMP_AUDIO, 1, video ? picture : sound,
                 video ? sizeof picture : sizeof sound);
}

static void rtmp_until(int64_t us) {
    while (source.last_arrived_us < us) {
        put_frame(sent_next());
        if (sent_count - got_count == WAITING)
            input();
    }
    input();
    assert_int_equal(got_count, sent_count);
}

static void each_fault_at_the_wrap_of_rtmp(uint32_t mask) {
    for (enum fault fault = 0; fault < FAULT_COUNT; fault++)
        for (uint32_t seed = 0; fault != FAULT_SMALL_END && seed < SEEDS; seed++) {
            begin(seed, fault, ((int64_t)mask + 1) * 1000, 1000);
            rtmp_begin(mask, got_rtmp);
            rtmp_until(UNTIL_US + llabs(source.size_us) % 8000000);
            rtmp_end();
        }
}

static void rtmp_wraps_at_32_bits_under_each_fault(void **state) {
    (void)state;
    each_fault_at_the_wrap_of_rtmp(UINT32_MAX);
}

static void rtmp_wraps_at_31_bits_under_each_fault(void **state) {
    (void)state;
    each_fault_at_the_wrap_of_rtmp(INT32_MAX);
}

/* --- MPEG-TS --- */

static struct ts *ts;
static struct ts_mux mux;

static int64_t ts_of(int64_t us) {
    return (us * 9 + (us >= 0 ? 50 : -50)) / 100;
}

static void ts_begin(void) {
    ts = ts_create();
    ts_mux_init(&mux);
    ts_mux_tables(&mux);
}

static void ts_end(void) {
    ts_destroy(ts);
    buf_finish(&mux.out);
}

static void put_pes(const struct fault_frame *frame) {
    static const uint8_t payload[20] = {0, 0, 0, 1, 0x41};
    static const uint64_t mask = (UINT64_C(1) << 33) - 1;
    bool video = frame->kind == TRACK_VIDEO;
    struct ts_mux_pes pes = {.pid = video ? MUX_VIDEO_PID : MUX_AUDIO_PID,
                             .with_length = true,
                             .has_dts = true,
                             .pts_ts = (uint64_t)ts_of(frame->pts_us) & mask,
                             .dts_ts = (uint64_t)ts_of(frame->dts_us) & mask,
                             .data = payload,
                             .len = sizeof payload,
                             .stuffed_packet = -1};
    ts_mux_pes(&mux, &pes);
}

static void ts_input(void) {
    const uint8_t *data = buf_head(&mux.out);
    size_t len = buf_len(&mux.out), used;
    struct ts_event event;
    while (ts_read(ts, data, len, &used, &event)) {
        data += used;
        len -= used;
        if (event.what == TS_PES)
            got_times(event.kind, event.dts_ts * 100 / 9, event.pts_ts * 100 / 9);
    }
    buf_clear(&mux.out);
}

static void ts_until(int64_t us) {
    while (source.last_arrived_us < us) {
        put_pes(sent_next());
        if (sent_count - got_count >= WAITING / 2)
            ts_input();
    }
    ts_input();
    assert_true(sent_count - got_count <= 1); /* out of step the last packet waits for one behind it */
}

static void mpegts_wraps_at_33_bits_under_each_fault(void **state) {
    (void)state;
    int64_t wrap_us = (INT64_C(1) << 33) * 100 / 9;
    for (enum fault fault = 0; fault < FAULT_COUNT; fault++)
        for (uint32_t seed = 0; fault != FAULT_SMALL_END && seed < SEEDS; seed++) {
            begin(seed, fault, wrap_us, 11);
            ts_begin();
            ts_until(UNTIL_US + llabs(source.size_us) % 8000000);
            ts_end();
        }
}

/* --- a day --- */

static struct timeline timeline;
static int64_t end_ts[2], first_us[2];
static uint64_t frames[2];

/* All follow exactly, and none is anywhere else than when it was captured. */
static void got_of_day(const struct publisher_frame *frame) {
    const struct fault_frame *made = got_next();
    uint32_t hz = frame->kind == TRACK_VIDEO ? TIMELINE_VIDEO_HZ : source.sound.hz;
    struct timeline_time time;
    if (got_count == 1)
        timeline_map(&timeline, frame->dts_us, epoch_us, 0);
    const struct timeline_stamp stamp = {frame->dts_us, frame->pts_us, source.sound.samples};
    enum timeline_verdict verdict =
        timeline_frame(&timeline, frame->kind == TRACK_AUDIO, &stamp, epoch_us + made->arrived_us, &time);
    int64_t off_us = timeline_us(time.dts_ts, hz) - epoch_us - made->true_us;
    bool first = !frames[frame->kind]++;
    if (first)
        first_us[frame->kind] = off_us;
    if (verdict != TIMELINE_OK || (!first && time.dts_ts != end_ts[frame->kind]) || !time.exact ||
        llabs(off_us - first_us[frame->kind]) > 2000)
        fail_msg("verdict %d, %lld ticks of %u behind the end, off by %lld us", verdict,
                 (long long)(time.dts_ts - end_ts[frame->kind]), hz, (long long)(off_us - first_us[frame->kind]));
    end_ts[frame->kind] = time.dts_ts + time.duration_ts;
}

/* From just before the wrap on, as bytes of RTMP. */
static void hours_across_the_wrap(uint32_t mask, const struct fault_rate *rate, int64_t hours) {
    begin(1, FAULT_NONE, ((int64_t)mask + 1) * 1000, 1000);
    source.rate = *rate;
    source.sound = fault_sounds[0];
    source.b_frames = 0;
    memset(end_ts, 0, sizeof end_ts);
    memset(frames, 0, sizeof frames);
    timeline_init(&timeline, 2000);
    timeline_add_video(&timeline, rate->milli);
    timeline_add_audio(&timeline, source.sound.hz);
    rtmp_begin(mask, got_of_day);
    rtmp_until(hours * 3600 * 1000000);
    rtmp_end();
    assert_true(frames[TRACK_VIDEO] + 10 >= (uint64_t)hours * 3600 * rate->frames / rate->per_s);
    assert_true(frames[TRACK_AUDIO] + 10 >= (uint64_t)hours * 3600 * source.sound.hz / source.sound.samples);
}

static void day_of_media_across_the_wrap(void **state) {
    (void)state;
    hours_across_the_wrap(INT32_MAX, &(struct fault_rate){30, 1, 30000}, 25);
}

static void hours_of_fractional_rate_across_the_wrap(void **state) {
    (void)state;
    hours_across_the_wrap(UINT32_MAX, &(struct fault_rate){30000, 1001, 29970}, 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rtmp_wraps_at_32_bits_under_each_fault),
        cmocka_unit_test(rtmp_wraps_at_31_bits_under_each_fault),
        cmocka_unit_test(mpegts_wraps_at_33_bits_under_each_fault),
        cmocka_unit_test(day_of_media_across_the_wrap),
        cmocka_unit_test(hours_of_fractional_rate_across_the_wrap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
