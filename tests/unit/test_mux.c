/* libavformat's mov muxer has traps for live timing; each has its test here, on the boxes that come out. */
#include "ingest/mux.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/media/cmaf.h"

enum { VIDEO_HZ = 90000, FRAME_TS = 3000 };

static const int64_t epoch_ts = INT64_C(1790000000) * VIDEO_HZ; /* 1.6e14: a day in 2026 */
static const uint8_t avcc[] = {
    0x01, 0x4d, 0x40, 0x1f, 0xff, 0xe1, 0x00, 0x09, 0x67, 0x4d, 0x40, 0x1f, 0xd9,
    0x00, 0x50, 0x05, 0xb9, 0x01, 0x00, 0x05, 0x68, 0xeb, 0xc3, 0xcb, 0x20}; /* x264, 1280x720 */
static const uint8_t asc_lc[] = {0x11, 0x90};
static const uint8_t asc_he[] = {0x2b, 0x92, 0x08, 0x00}; /* 22050 Hz core, 44100 Hz with SBR */
static uint8_t payload[200000];

static struct mux *open_track(const struct track_info *info, const uint8_t *config, size_t len,
                              struct blob **ret_init) {
    struct mux *mux = NULL;
    struct blob *init = NULL;
    assert_int_equal(mux_create(info, info->kind == TRACK_VIDEO ? CODEC_H264 : CODEC_AAC, config, len, &mux, &init), 0);
    assert_non_null(init);
    if (ret_init)
        *ret_init = init;
    else
        blob_unref(init);
    return mux;
}

static struct mux *open_video(struct blob **ret_init) {
    static const struct track_info info = {
        .name = "v0", .kind = TRACK_VIDEO, .track_id = 1, .timescale = VIDEO_HZ, .width = 1280, .height = 720};
    return open_track(&info, avcc, sizeof avcc, ret_init);
}

static struct mux *open_audio(uint32_t rate, const uint8_t *asc, size_t len, struct blob **ret_init) {
    const struct track_info info = {
        .name = "a0", .kind = TRACK_AUDIO, .track_id = 2, .timescale = rate, .sample_rate = rate, .channels = 2};
    return open_track(&info, asc, len, ret_init);
}

static struct mux_frame frame_at(int64_t dts_ts, uint32_t duration_ts) {
    return (struct mux_frame){.dts_ts = dts_ts,
                              .pts_ts = dts_ts,
                              .duration_ts = duration_ts,
                              .independent = true,
                              .data = payload,
                              .len = 100};
}

static struct cmaf_chunk parse_body(const struct slice *body) {
    struct cmaf_chunk chunk;
    assert_int_equal(cmaf_chunk_parse(body->blob->data + body->off, body->len, &chunk), 0);
    return chunk;
}

static struct cmaf_chunk put(struct mux *mux, const struct mux_frame *frames, size_t count) {
    struct slice body;
    assert_int_equal(mux_chunk(mux, frames, count, 0, &body), 0);
    struct cmaf_chunk chunk = parse_body(&body);
    blob_unref(body.blob);
    return chunk;
}

static struct cmaf_chunk put_one(struct mux *mux, int64_t dts_ts, uint32_t duration_ts) {
    struct mux_frame frame = frame_at(dts_ts, duration_ts);
    struct cmaf_chunk chunk = put(mux, &frame, 1);
    assert_int_equal(chunk.tfdt_ts, dts_ts);
    assert_int_equal(chunk.duration_ts, duration_ts);
    return chunk;
}

static int refused(struct mux *mux, const struct mux_frame *frames, size_t count) {
    struct slice body = {0};
    int rc = mux_chunk(mux, frames, count, 0, &body);
    assert_null(body.blob);
    return rc;
}

/* --- init --- */

static bool has_box(const struct blob *init, const char *type) {
    for (size_t i = 4; i + 4 <= init->len; i++)
        if (!memcmp(init->data + i, type, 4))
            return true;
    return false;
}

static void init_has_no_duration_no_mehd_no_edts(void **state) {
    (void)state;
    struct blob *init;
    struct mux *mux = open_video(&init);
    struct cmaf_box moov, mvhd, mvex;
    assert_int_equal(cmaf_box_find(init->data, init->len, CMAF_TYPE('m', 'o', 'o', 'v'), &moov), 1);
    assert_int_equal(cmaf_box_find(moov.data, moov.len, CMAF_TYPE('m', 'v', 'h', 'd'), &mvhd), 1);
    assert_int_equal(cmaf_box_find(moov.data, moov.len, CMAF_TYPE('m', 'v', 'e', 'x'), &mvex), 1);
    assert_int_equal(mvhd.data[0], 0);                  /* version 0, so: */
    assert_memory_equal(mvhd.data + 16, "\0\0\0\0", 4); /* duration */
    assert_memory_equal(mvhd.data + 4, "\0\0\0\0\0\0\0",
                        8); /* no times of creation: the same input makes the same bytes */
    assert_false(has_box(init, "mehd"));
    assert_false(has_box(init, "edts"));
    assert_false(has_box(init, "elst"));
    assert_false(has_box(init, "moof"));
    assert_false(has_box(init, "sidx"));
    assert_true(has_box(init, "avcC"));
    assert_false(has_box(init, "Lavf")); /* no version of a library either */
    mux_destroy(mux);
    blob_unref(init);
}

static void init_carries_the_codec_configuration_as_it_is(void **state) {
    (void)state;
    struct blob *video, *audio;
    mux_destroy(open_video(&video));
    mux_destroy(open_audio(44100, asc_he, sizeof asc_he, &audio));
    assert_non_null(memmem(video->data, video->len, avcc, sizeof avcc));
    assert_non_null(memmem(audio->data, audio->len, asc_he, sizeof asc_he));
    assert_non_null(memmem(video->data, video->len, "avc1", 4));
    assert_non_null(memmem(audio->data, audio->len, "mp4a", 4));
    blob_unref(video);
    blob_unref(audio);
}

static void init_and_chunks_name_the_track_id_of_the_info(void **state) {
    (void)state;
    struct blob *video_init, *audio_init;
    struct mux *video = open_video(&video_init), *audio = open_audio(48000, asc_lc, sizeof asc_lc, &audio_init);
    assert_int_equal(put_one(video, epoch_ts, FRAME_TS).track_id, 1);
    assert_int_equal(put_one(audio, epoch_ts, 1024).track_id, 2);
    struct blob *joined = cmaf_init_join((const struct blob *const[]){video_init, audio_init}, 2);
    assert_non_null(joined);
    blob_unref(joined);
    assert_null(cmaf_init_join((const struct blob *const[]){audio_init, audio_init}, 2));
    mux_destroy(video);
    mux_destroy(audio);
    blob_unref(video_init);
    blob_unref(audio_init);
}

static void largest_configuration_still_makes_a_whole_init(void **state) {
    (void)state;
    static uint8_t config[MUX_CONFIG_MAX + 1] = {1}; /* what is in it, the muxer doesn't look at */
    static const struct track_info info = {
        .kind = TRACK_VIDEO, .track_id = 1, .timescale = VIDEO_HZ, .width = 1280, .height = 720};
    struct blob *init;
    struct mux *mux = open_track(&info, config, MUX_CONFIG_MAX, &init);
    struct blob *joined = cmaf_init_join((const struct blob *const[]){init}, 1); /* walks all of it */
    assert_non_null(joined);
    blob_unref(joined);
    blob_unref(init);
    mux_destroy(mux);
    assert_int_equal(mux_create(&info, CODEC_H264, config, sizeof config, &mux, &init), -EINVAL);
}

static void useless_configurations_are_refused(void **state) {
    (void)state;
    struct track_info video = {.kind = TRACK_VIDEO, .track_id = 1, .timescale = VIDEO_HZ, .width = 1280, .height = 720};
    struct track_info audio = {
        .kind = TRACK_AUDIO, .track_id = 2, .timescale = 48000, .sample_rate = 48000, .channels = 2};
    struct track_info bad;
    struct mux *mux;
    struct blob *init;
    assert_int_equal(mux_create(&video, CODEC_H264, avcc, 0, &mux, &init), -EINVAL);
    assert_int_equal(mux_create(&video, CODEC_H264, (const uint8_t *)"\0\0\0\1\x67", 5, &mux, &init),
                     -EINVAL); /* not avcC */
    assert_int_equal(mux_create(&audio, CODEC_AAC, asc_lc, 0, &mux, &init),
                     -EINVAL); /* or the init would have none, silently */
    bad = video, bad.width = 0;
    assert_int_equal(mux_create(&bad, CODEC_H264, avcc, sizeof avcc, &mux, &init), -EINVAL);
    bad = video, bad.track_id = 0;
    assert_int_equal(mux_create(&bad, CODEC_H264, avcc, sizeof avcc, &mux, &init), -EINVAL);
    bad = video, bad.timescale = 1000; /* the muxer would double it until it is 10000 */
    assert_int_equal(mux_create(&bad, CODEC_H264, avcc, sizeof avcc, &mux, &init), -EINVAL);
    bad = audio, bad.timescale = 90000; /* the muxer would take the sampling rate */
    assert_int_equal(mux_create(&bad, CODEC_AAC, asc_lc, sizeof asc_lc, &mux, &init), -EINVAL);
    bad = audio, bad.channels = 0;
    assert_int_equal(mux_create(&bad, CODEC_AAC, asc_lc, sizeof asc_lc, &mux, &init), -EINVAL);
    mux_destroy(NULL);
}

/* --- times --- */

static void tfdt_is_absolute_utc_from_the_first_chunk(void **state) {
    (void)state;
    struct mux *mux = open_video(NULL);
    for (int i = 0; i < 100; i++)
        put_one(mux, epoch_ts + i * FRAME_TS, FRAME_TS);
    mux_destroy(mux);
}

static void tfdt_is_exact_after_a_jump(void **state) {
    (void)state;
    struct mux *mux = open_video(NULL);
    int64_t ts = epoch_ts;
    put_one(mux, ts, FRAME_TS);
    static const int64_t jumps_s[] = {1, 5, 60, 3600, 3 * 3600};
    for (size_t i = 0; i < sizeof jumps_s / sizeof *jumps_s; i++) {
        ts += jumps_s[i] * VIDEO_HZ;
        put_one(mux, ts, FRAME_TS);
        put_one(mux, ts += FRAME_TS, FRAME_TS);
    }
    mux_destroy(mux);
}

static void a_jump_past_what_libavformat_can_is_refused(void **state) {
    (void)state;
    struct mux *mux = open_video(NULL);
    put_one(mux, epoch_ts, FRAME_TS);
    struct mux_frame frame = frame_at(epoch_ts + INT64_C(24) * 3600 * VIDEO_HZ, FRAME_TS);
    assert_int_equal(refused(mux, &frame, 1), -EINVAL);
    put_one(mux, epoch_ts + FRAME_TS, FRAME_TS);
    mux_destroy(mux);
}

static void short_durations_do_not_drift(void **state) {
    (void)state;
    struct mux *mux = open_video(NULL);
    for (int i = 0; i < 1000; i++)
        put_one(mux, epoch_ts + i * FRAME_TS, FRAME_TS - 90); /* 1 ms too short, each */
    mux_destroy(mux);
}

static void overestimated_duration_is_refused_and_the_next_frame_is_exact(void **state) {
    (void)state;
    struct mux *mux = open_video(NULL);
    put_one(mux, epoch_ts, FRAME_TS + 60);
    struct mux_frame frame = frame_at(epoch_ts + FRAME_TS, FRAME_TS);
    assert_int_equal(refused(mux, &frame, 1), -EINVAL);
    put_one(mux, epoch_ts + 2 * FRAME_TS, FRAME_TS);
    struct mux_frame overlap[2] = {frame_at(epoch_ts + 3 * FRAME_TS, FRAME_TS + 1),
                                   frame_at(epoch_ts + 4 * FRAME_TS, FRAME_TS)};
    assert_int_equal(refused(mux, overlap, 2), -EINVAL);
    mux_destroy(mux);
}

static void equal_and_backward_dts_are_refused(void **state) {
    (void)state;
    struct mux *mux = open_video(NULL);
    put_one(mux, epoch_ts, FRAME_TS);
    struct mux_frame equal = frame_at(epoch_ts, FRAME_TS), backward = frame_at(epoch_ts - FRAME_TS, FRAME_TS);
    assert_int_equal(refused(mux, &equal, 1), -EINVAL);
    assert_int_equal(refused(mux, &backward, 1), -EINVAL);
    struct mux_frame twice[2] = {frame_at(epoch_ts + FRAME_TS, FRAME_TS), frame_at(epoch_ts + FRAME_TS, FRAME_TS)};
    assert_int_equal(refused(mux, twice, 2), -EINVAL);
    put_one(mux, epoch_ts + FRAME_TS, FRAME_TS);
    mux_destroy(mux);
}

static void absurd_frames_are_refused(void **state) {
    (void)state;
    struct mux *mux = open_video(NULL);
    const struct mux_frame good = frame_at(epoch_ts, FRAME_TS);
    struct mux_frame bad[2] = {good, good};
    assert_int_equal(refused(mux, &good, 0), -EINVAL);
    assert_int_equal(refused(mux, &good, SIZE_MAX), -EINVAL);
    bad[0].duration_ts = 0;
    assert_int_equal(refused(mux, bad, 1), -EINVAL);
    bad[0].duration_ts = UINT32_MAX;
    assert_int_equal(refused(mux, bad, 1), -EINVAL);
    bad[0] = good, bad[0].pts_ts--;
    assert_int_equal(refused(mux, bad, 1), -EINVAL);
    bad[0] = good, bad[0].pts_ts = INT64_MAX;
    assert_int_equal(refused(mux, bad, 1), -EINVAL);
    bad[0] = good, bad[0].dts_ts = INT64_MIN;
    assert_int_equal(refused(mux, bad, 1), -EINVAL);
    bad[0] = good, bad[0].dts_ts = bad[0].pts_ts = INT64_MAX;
    assert_int_equal(refused(mux, bad, 1), -EINVAL);
    bad[0] = good, bad[0].len = 0;
    assert_int_equal(refused(mux, bad, 1), -EINVAL);
    bad[0] = good, bad[0].len = SIZE_MAX;
    assert_int_equal(refused(mux, bad, 1), -EINVAL);
    bad[0] = good, bad[1].dts_ts = bad[1].pts_ts = good.dts_ts + INT64_C(3600) * VIDEO_HZ; /* would abort the process */
    assert_int_equal(refused(mux, bad, 2), -EINVAL);
    put_one(mux, epoch_ts, FRAME_TS); /* and none of it has left a trace */
    mux_destroy(mux);
}

static void a_gap_within_a_chunk_keeps_both_times(void **state) {
    (void)state;
    struct mux *mux = open_video(NULL);
    struct mux_frame frames[2] = {frame_at(epoch_ts, FRAME_TS), frame_at(epoch_ts + 5 * FRAME_TS, FRAME_TS)};
    struct cmaf_chunk chunk = put(mux, frames, 2);
    assert_int_equal(chunk.tfdt_ts, epoch_ts);
    assert_int_equal(chunk.duration_ts, 6 * FRAME_TS); /* the first sample lasts until the second */
    mux_destroy(mux);
}

static void b_frames_have_positive_exact_cts(void **state) {
    (void)state;
    static const int64_t order[] = {2,  6, 4, 3, 5,
                                    10, 8, 7, 9}; /* I P B b b P B b b, shown two frames after decoding */
    struct mux *mux = open_video(NULL);
    struct mux_frame frames[9];
    for (int i = 0; i < 9; i++) {
        frames[i] = frame_at(epoch_ts + i * FRAME_TS, FRAME_TS);
        frames[i].pts_ts = epoch_ts + order[i] * FRAME_TS;
        frames[i].independent = i == 0;
        struct cmaf_chunk chunk = put(mux, &frames[i], 1);
        assert_int_equal(chunk.tfdt_ts, frames[i].dts_ts);
        assert_int_equal(chunk.cts_min_ts, frames[i].pts_ts - frames[i].dts_ts);
        assert_int_equal(cmaf_chunk_is_sync(&chunk), i == 0);
    }
    for (int i = 0; i < 9; i++) {
        frames[i].dts_ts += 9 * FRAME_TS;
        frames[i].pts_ts += 9 * FRAME_TS;
    }
    struct cmaf_chunk chunk = put(mux, frames, 9);
    assert_int_equal(chunk.tfdt_ts, epoch_ts + 9 * FRAME_TS);
    assert_int_equal(chunk.duration_ts, 9 * FRAME_TS);
    assert_int_equal(chunk.cts_min_ts, 0);
    assert_int_equal(chunk.cts_max_ts, 5 * FRAME_TS);
    mux_destroy(mux);
}

static void audio_chunk_of_five_frames_lies_on_the_sample_grid(void **state) {
    (void)state;
    struct mux *mux = open_audio(48000, asc_lc, sizeof asc_lc, NULL);
    const int64_t start_ts = INT64_C(1790000000) * 48000 + 17;
    struct mux_frame frames[5];
    for (int n = 0; n < 1000; n += 5) {
        for (int i = 0; i < 5; i++)
            frames[i] = frame_at(start_ts + (n + i) * 1024, 1024);
        struct cmaf_chunk chunk = put(mux, frames, 5);
        assert_int_equal(chunk.tfdt_ts, start_ts + n * 1024);
        assert_int_equal(chunk.duration_ts, 5 * 1024);
        assert_int_equal(chunk.sample_count, 5);
        assert_true(cmaf_chunk_is_sync(&chunk));
        assert_int_equal(chunk.cts_max_ts, 0);
    }
    mux_destroy(mux);
}

static void he_aac_counts_in_the_rate_after_sbr(void **state) {
    (void)state;
    struct mux *mux = open_audio(44100, asc_he, sizeof asc_he, NULL);
    const int64_t start_ts = INT64_C(1790000000) * 44100;
    for (int i = 0; i < 100; i++)
        put_one(mux, start_ts + i * 2048, 2048);
    mux_destroy(mux);
}

static void adts_is_refused_and_harms_nothing(void **state) {
    (void)state;
    static const uint8_t adts[] = {0xff, 0xf1, 0x4c, 0x80, 0x01, 0x3f, 0xfc, 0x21, 0x10};
    struct mux *mux = open_audio(48000, asc_lc, sizeof asc_lc, NULL);
    struct mux_frame frame = frame_at(epoch_ts, 1024);
    frame.data = adts;
    frame.len = sizeof adts;
    assert_int_equal(refused(mux, &frame, 1), -EINVAL);
    put_one(mux, epoch_ts, 1024);
    mux_destroy(mux);
}

/* --- bytes --- */

static void chunk_blob_is_framed_for_http1(void **state) {
    (void)state;
    struct mux *mux = open_video(NULL);
    static const size_t lens[] = {1, 100, 3900, 4096, 65536, sizeof payload};
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        struct mux_frame frame = frame_at(epoch_ts + (int64_t)i * FRAME_TS, FRAME_TS);
        frame.len = lens[i];
        struct slice body;
        assert_int_equal(mux_chunk(mux, &frame, 1, INT64_C(1790000000000000), &body), 0);
        char prefix[24];
        size_t len = (size_t)snprintf(prefix, sizeof prefix, "%zx\r\n", body.len);
        assert_int_equal(body.off, len);
        assert_memory_equal(body.blob->data, prefix, len);
        assert_int_equal(body.blob->len, len + body.len + 2);
        assert_memory_equal(body.blob->data + len + body.len, "\r\n", 2);
        assert_int_equal(parse_body(&body).payload_bytes, lens[i]);
        assert_memory_equal(body.blob->data + len + body.len - lens[i], payload, lens[i]);
        blob_unref(body.blob);
    }
    mux_destroy(mux);
}

static void chunk_of_many_frames_is_whole(void **state) {
    (void)state;
    struct mux *mux = open_video(NULL);
    struct mux_frame frames[192]; /* a moof of 3 KiB; past 4 KiB libavformat couldn't set its sizes any more */
    size_t total = 0;
    for (int i = 0; i < 192; i++) {
        frames[i] = frame_at(epoch_ts + i * FRAME_TS, FRAME_TS);
        frames[i].pts_ts += i % 3 * FRAME_TS;
        total += frames[i].len = (size_t)(1 + i % 777);
    }
    struct cmaf_chunk chunk = put(mux, frames, 192);
    assert_int_equal(chunk.sample_count, 192);
    assert_int_equal(chunk.payload_bytes, total);
    assert_int_equal(refused(mux, frames, 193), -EINVAL); /* not even looked at */
    mux_destroy(mux);
}

static void prft_holds_the_capture_time(void **state) {
    (void)state;
    struct mux *mux = open_video(NULL);
    struct mux_frame frame = frame_at(epoch_ts, FRAME_TS);
    frame.pts_ts += 2 * FRAME_TS;
    struct slice body;
    assert_int_equal(mux_chunk(mux, &frame, 1, INT64_C(1790000000250000), &body), 0);
    struct cmaf_chunk chunk = parse_body(&body);
    assert_true(chunk.has_prft);
    assert_int_equal(chunk.prft_ntp >> 32, INT64_C(1790000000) + 2208988800);
    assert_int_equal(chunk.prft_ntp & UINT32_MAX, UINT32_C(1) << 30); /* a quarter of a second */
    assert_int_equal(chunk.prft_media_ts, frame.pts_ts);
    /* size, type, version 1 with the flags for "when it was handed over", track */
    static const uint8_t head[] = {0, 0, 0, 32, 'p', 'r', 'f', 't', 1, 0, 0, 24, 0, 0, 0, 1};
    assert_memory_equal(body.blob->data + body.off, head, sizeof head);
    blob_unref(body.blob);
    mux_destroy(mux);
}

static void no_capture_time_no_prft(void **state) {
    (void)state;
    struct mux *mux = open_video(NULL);
    assert_false(put_one(mux, epoch_ts, FRAME_TS).has_prft);
    mux_destroy(mux);
}

static void sequence_numbers_are_consecutive(void **state) {
    (void)state;
    struct mux *mux = open_video(NULL);
    uint32_t first = put_one(mux, epoch_ts, FRAME_TS).sequence_number;
    for (uint32_t i = 1; i < 10; i++)
        assert_int_equal(put_one(mux, epoch_ts + i * FRAME_TS, FRAME_TS).sequence_number, first + i);
    mux_destroy(mux);
}

/* --- resources --- */

/* Only there under AddressSanitizer, whichever compiler. */
extern void __asan_init(void) __attribute__((weak));

static long resident_pages(void) {
    long size, resident = -1;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%ld %ld", &size, &resident), 2);
    fclose(f);
    return resident;
}

static void memory_is_flat_over_100k_chunks(void **state) {
    (void)state;
    if (&__asan_init)
        skip(); /* its quarantine is what would grow */
    struct mux *mux = open_video(NULL);
    int64_t ts = epoch_ts;
    long before = 0;
    for (int i = 0; i < 110000; i++, ts += FRAME_TS) {
        if (i == 10000)
            before = resident_pages();
        struct mux_frame frame = frame_at(ts, FRAME_TS);
        struct slice body;
        assert_int_equal(mux_chunk(mux, &frame, 1, 1, &body), 0);
        blob_unref(body.blob);
    }
    long grown_bytes = (resident_pages() - before) * sysconf(_SC_PAGESIZE);
    assert_true(grown_bytes < 512 * 1024); /* a fragment index of 40 bytes a chunk would be 4 MB */
    mux_destroy(mux);
}

static void destroyed_before_its_first_chunk(void **state) {
    (void)state;
    mux_destroy(open_video(NULL));
    mux_destroy(open_audio(48000, asc_lc, sizeof asc_lc, NULL));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(init_has_no_duration_no_mehd_no_edts),
        cmocka_unit_test(init_carries_the_codec_configuration_as_it_is),
        cmocka_unit_test(init_and_chunks_name_the_track_id_of_the_info),
        cmocka_unit_test(largest_configuration_still_makes_a_whole_init),
        cmocka_unit_test(useless_configurations_are_refused),
        cmocka_unit_test(tfdt_is_absolute_utc_from_the_first_chunk),
        cmocka_unit_test(tfdt_is_exact_after_a_jump),
        cmocka_unit_test(a_jump_past_what_libavformat_can_is_refused),
        cmocka_unit_test(short_durations_do_not_drift),
        cmocka_unit_test(overestimated_duration_is_refused_and_the_next_frame_is_exact),
        cmocka_unit_test(equal_and_backward_dts_are_refused),
        cmocka_unit_test(absurd_frames_are_refused),
        cmocka_unit_test(a_gap_within_a_chunk_keeps_both_times),
        cmocka_unit_test(b_frames_have_positive_exact_cts),
        cmocka_unit_test(audio_chunk_of_five_frames_lies_on_the_sample_grid),
        cmocka_unit_test(he_aac_counts_in_the_rate_after_sbr),
        cmocka_unit_test(adts_is_refused_and_harms_nothing),
        cmocka_unit_test(chunk_blob_is_framed_for_http1),
        cmocka_unit_test(chunk_of_many_frames_is_whole),
        cmocka_unit_test(prft_holds_the_capture_time),
        cmocka_unit_test(no_capture_time_no_prft),
        cmocka_unit_test(sequence_numbers_are_consecutive),
        cmocka_unit_test(memory_is_flat_over_100k_chunks),
        cmocka_unit_test(destroyed_before_its_first_chunk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
