#include "ingest/adts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/aac.h"

enum { INDEX_48000 = 3, INDEX_44100 = 4 };

static uint8_t media[8192];

static void begin(struct adts *adts) {
    adts_init(adts);
    srand(1);
    for (size_t i = 0; i < sizeof media; i++)
        media[i] = (uint8_t)rand();
}

/* A frame of `len` raw bytes from media[n] on. */
static void put(struct buf *out, uint8_t rate, bool crc, int n, size_t len) {
    size_t head = crc ? 9 : 7, total = head + len;
    const uint8_t header[] = {0xff,
                              crc ? 0xf0 : 0xf1,
                              (uint8_t)(1 << 6 | rate << 2),
                              (uint8_t)(2 << 6 | total >> 11),
                              (uint8_t)(total >> 3),
                              (uint8_t)(total << 5 | 0x1f),
                              0xfc,
                              0x12,
                              0x34};
    buf_append(out, header, head);
    buf_append(out, media + n, len);
}

static void push(struct adts *adts, const uint8_t *data, size_t len, bool has_time, int64_t pts_ts) {
    uint8_t *exact = malloc(len ? len : 1);
    memcpy(exact, data, len);
    assert_int_equal(adts_push(adts, exact, len, has_time, pts_ts), 0);
    free(exact);
}

static void push_buf(struct adts *adts, struct buf *pes, bool has_time, int64_t pts_ts) {
    push(adts, buf_head(pes), buf_len(pes), has_time, pts_ts);
    buf_finish(pes);
    buf_init(pes, 1 << 20);
}

static void expect(struct adts *adts, int n, size_t len, int64_t pts_ts) {
    struct adts_frame frame;
    assert_true(adts_next(adts, &frame));
    assert_int_equal(frame.len, len);
    assert_memory_equal(frame.data, media + n, len);
    assert_int_equal(frame.pts_ts, pts_ts);
}

static void expect_nothing(struct adts *adts) {
    struct adts_frame frame;
    assert_false(adts_next(adts, &frame));
}

static void configuration_is_made_of_the_header(void **state) {
    (void)state;
    struct adts adts;
    struct adts_frame frame;
    struct aac_config config;
    const char *why;
    struct buf pes;
    begin(&adts);
    buf_init(&pes, 1 << 20);
    put(&pes, INDEX_44100, true, 0, 300);
    push_buf(&adts, &pes, true, 0);
    assert_true(adts_next(&adts, &frame));
    assert_true(frame.config_changed);
    assert_int_equal(aac_config_parse(adts.config, sizeof adts.config, &config, &why), 0);
    assert_int_equal(config.object_type, 2);
    assert_int_equal(config.sample_rate, 44100);
    assert_int_equal(config.channels, 2);
    expect_nothing(&adts);
    put(&pes, INDEX_44100, true, 0, 300);
    push_buf(&adts, &pes, true, 0);
    assert_true(adts_next(&adts, &frame));
    assert_false(frame.config_changed);
    put(&pes, INDEX_48000, true, 0, 300);
    push_buf(&adts, &pes, true, 0);
    assert_true(adts_next(&adts, &frame));
    assert_true(frame.config_changed);
    buf_finish(&pes);
    adts_finish(&adts);
}

/* At 44.1 kHz a frame is 2089.8 ticks: 8 a packet, and packets' times rounded, too. */
static void times_advance_by_samples_without_drift(void **state) {
    (void)state;
    struct adts adts;
    struct buf pes;
    begin(&adts);
    buf_init(&pes, 1 << 20);
    for (int n = 0; n < 8000; n++) {
        put(&pes, INDEX_44100, false, n % 100, 50);
        if (n % 8 < 7)
            continue;
        bool has_time = n % 3 == 0; /* not all packets have one */
        int64_t pts_ts = (int64_t)(n - 7) * 1024 * 90000 / 44100;
        push_buf(&adts, &pes, has_time || n == 7, pts_ts);
        for (int i = n - 7; i <= n; i++) {
            struct adts_frame frame;
            assert_true(adts_next(&adts, &frame));
            int64_t exact_ts = (int64_t)i * 1024 * 90000 / 44100;
            assert_true(llabs(frame.pts_ts - exact_ts) <= 1);
        }
        expect_nothing(&adts);
    }
    buf_finish(&pes);
    adts_finish(&adts);
}

/* The time of a packet is that of the first frame that begins in it. */
static void frame_over_two_packets_keeps_its_own_time(void **state) {
    (void)state;
    struct adts adts;
    struct buf all;
    buf_init(&all, 1 << 20);
    begin(&adts);
    adts_finish(&adts);
    for (int n = 0; n < 4; n++)
        put(&all, INDEX_48000, false, n, 300);
    for (size_t cut = 308; cut < 2 * 307; cut++) { /* in the second frame, its header included */
        begin(&adts);
        push(&adts, buf_head(&all), 307, true, 0); /* so that it is known what a header looks like */
        expect(&adts, 0, 300, 0);
        push(&adts, buf_head(&all), cut, true, 90000);
        expect(&adts, 0, 300, 90000);
        expect_nothing(&adts);
        push(&adts, buf_head(&all) + cut, buf_len(&all) - cut, true, 95000); /* which is not where it would be */
        expect(&adts, 1, 300, 91920);
        expect(&adts, 2, 300, 95000);
        expect(&adts, 3, 300, 96920);
        expect_nothing(&adts);
        adts_finish(&adts);
    }
    buf_finish(&all);
}

/* Some packets have a time, of the frame that begins in them; others are the midst of one. */
static void frames_longer_than_packets_have_their_times(void **state) {
    (void)state;
    enum { FRAME = 307, FRAMES = 40 };
    struct adts adts;
    struct buf all;
    buf_init(&all, 1 << 20);
    for (size_t pes = 100; pes < FRAME; pes += 23) {
        begin(&adts);
        for (int n = 0; n < FRAMES; n++)
            put(&all, INDEX_48000, false, n, FRAME - 7);
        int next = 0;
        for (size_t pos = 0, n; pos < FRAME * FRAMES; pos += n) {
            n = pes < FRAME * FRAMES - pos ? pes : FRAME * FRAMES - pos;
            size_t first = (pos + FRAME - 1) / FRAME; /* that begins here, or later */
            push(&adts, buf_head(&all) + pos, n, first * FRAME < pos + n, (int64_t)first * 2000);
            while (next < FRAMES && (size_t)(next + 1) * FRAME <= pos + n) {
                if (next == 0 && pos + n < FRAME + 7)
                    break; /* not believed yet */
                expect(&adts, next, FRAME - 7, (int64_t)next * 2000);
                next++;
            }
            expect_nothing(&adts);
        }
        assert_int_equal(next, FRAMES);
        adts_finish(&adts);
        buf_clear(&all);
    }
    buf_finish(&all);
}

static void unfinished_frame_goes_with_a_loss(void **state) {
    (void)state;
    struct adts adts;
    struct buf pes;
    begin(&adts);
    buf_init(&pes, 1 << 20);
    put(&pes, INDEX_48000, false, 0, 300);
    put(&pes, INDEX_48000, false, 1, 300);
    pes.len -= 100;
    push_buf(&adts, &pes, true, 0);
    expect(&adts, 0, 300, 0);
    expect_nothing(&adts);
    adts_gap(&adts);
    put(&pes, INDEX_48000, false, 2, 300);
    push_buf(&adts, &pes, true, 50000);
    expect(&adts, 2, 300, 50000);
    buf_finish(&pes);
    adts_finish(&adts);
}

static void garbage_is_skipped(void **state) {
    (void)state;
    struct adts adts;
    struct buf pes;
    begin(&adts);
    buf_init(&pes, 1 << 20);
    buf_append(&pes, media, 500);
    buf_append(&pes, "\xff\xf1\x50\x80\x02\x1f\xfc", 7); /* 44.1 kHz, and nothing like it where the frame would end */
    put(&pes, INDEX_48000, false, 0, 300);
    put(&pes, INDEX_48000, false, 1, 300);
    push_buf(&adts, &pes, true, 0);
    expect(&adts, 0, 300, 0);
    expect(&adts, 1, 300, 1920);
    assert_int_equal(adts.skipped_bytes, 507);
    assert_memory_equal(adts.config, "\x11\x90", 2);
    buf_finish(&pes);
    adts_finish(&adts);
}

static void before_the_first_time_nothing_is_given(void **state) {
    (void)state;
    struct adts adts;
    struct buf pes;
    begin(&adts);
    buf_init(&pes, 1 << 20);
    put(&pes, INDEX_48000, false, 0, 300);
    push_buf(&adts, &pes, false, 0);
    expect_nothing(&adts);
    assert_int_equal(adts.dropped, 1);
    put(&pes, INDEX_48000, false, 1, 300);
    push_buf(&adts, &pes, true, 7);
    expect(&adts, 1, 300, 7);
    buf_finish(&pes);
    adts_finish(&adts);
}

static void too_much_at_once_is_refused(void **state) {
    (void)state;
    struct adts adts;
    begin(&adts);
    uint8_t *much = calloc(1, ADTS_PENDING_MAX + 1);
    assert_int_equal(adts_push(&adts, much, ADTS_PENDING_MAX + 1, true, 0), -ENOBUFS);
    assert_int_equal(adts.dropped, 1);
    expect_nothing(&adts);
    free(much);
    adts_finish(&adts);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(configuration_is_made_of_the_header),
        cmocka_unit_test(times_advance_by_samples_without_drift),
        cmocka_unit_test(frame_over_two_packets_keeps_its_own_time),
        cmocka_unit_test(frames_longer_than_packets_have_their_times),
        cmocka_unit_test(unfinished_frame_goes_with_a_loss),
        cmocka_unit_test(garbage_is_skipped),
        cmocka_unit_test(before_the_first_time_nothing_is_given),
        cmocka_unit_test(too_much_at_once_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
