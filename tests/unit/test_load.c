/* The pure parts of weir-load: distributions, the player's buffer, the playlist reader, the box scanner. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tools/load/manifest.h"
#include "tools/load/scan.h"
#include "tools/load/stats.h"

static void quantiles_are_within_three_percent(void **state) {
    static struct histogram histogram;
    (void)state;
    for (int64_t us = 1; us <= 100000; us++)
        histogram_add(&histogram, us);
    assert_in_range(histogram_quantile(&histogram, 0.5), 48500, 51500);
    assert_in_range(histogram_quantile(&histogram, 0.99), 96000, 100000);
    assert_int_equal(histogram_quantile(&histogram, 1), 100000);
}

static void histogram_takes_any_time(void **state) {
    static struct histogram histogram;
    (void)state;
    assert_int_equal(histogram_quantile(&histogram, 0.5), 0);
    histogram_add(&histogram, -5);
    assert_int_equal(histogram_quantile(&histogram, 0.5), 0);
    for (int shift = 0; shift < 63; shift++)
        histogram_add(&histogram, INT64_C(1) << shift);
    assert_int_equal(histogram.total, 64);
}

static void a_dry_buffer_is_a_stall(void **state) {
    struct playout playout = {0};
    (void)state;
    playout_extend(&playout, 1000000, 600000);
    playout_start(&playout, 1000000, 0);
    playout_extend(&playout, 1500000, 1000000); /* 100 ms left */
    assert_int_equal(playout.stalls, 0);
    playout_extend(&playout, 2300000, 2000000); /* dry since 2,000,000 */
    assert_int_equal(playout.stalls, 1);
    assert_int_equal(playout.stalled_us, 300000);
    playout_extend(&playout, 3200000, 3000000); /* plays until 3,300,000 after the stall */
    assert_int_equal(playout.stalls, 1);
    playout_end(&playout, 4800000);
    assert_int_equal(playout.stalls, 2);
    assert_int_equal(playout.stalled_us, 800000);
}

static void a_jump_is_no_stall_and_no_gain(void **state) {
    struct playout playout = {0};
    (void)state;
    playout_extend(&playout, 0, 500000);
    playout_start(&playout, 0, 0);
    playout_jump(&playout, 2000000);
    playout_extend(&playout, 400000, 2500000); /* nothing new: it would have run dry at 500,000 */
    playout_end(&playout, 500000);
    assert_int_equal(playout.stalls, 0);
    playout_end(&playout, 600000);
    assert_int_equal(playout.stalls, 1);
}

static const char playlist[] =
    "#EXTM3U\r\n#EXT-X-TARGETDURATION:2\n"
    "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=12.0,HOLD-BACK=6.0,PART-HOLD-BACK=0.64\n"
    "#EXT-X-PART-INF:PART-TARGET=0.213334\n#EXT-X-MEDIA-SEQUENCE:100\n#EXT-X-SKIP:SKIPPED-SEGMENTS=3\n"
    "#EXT-X-MAP:URI=\"v0a0/init-1.mp4\"\n#EXTINF:2.0,\nv0a0/103.m4s\n"
    "#EXT-X-PART:DURATION=0.2,URI=\"v0a0/p7.m4s\",INDEPENDENT=YES\n#EXT-X-PART:DURATION=0.1,URI=\"v0a0/p8.m4s\"\n"
    "#EXTINF:0.3,\nv0a0/104.m4s\n#EXT-X-PART:DURATION=0.2,URI=\"v0a0/p9.m4s\"\n"
    "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"v0a0/p10.m4s\"\n";

struct listed {
    char text[512];
};

static void note_part(void *ctx, const struct manifest_item *part) {
    struct listed *listed = ctx;
    size_t at = strlen(listed->text);
    snprintf(listed->text + at, sizeof listed->text - at, "part %d.%u %s %d%s; ", (int)part->msn, part->part, part->uri,
             (int)part->duration_us, part->independent ? " independent" : "");
}

static void note_segment(void *ctx, const struct manifest_item *segment) {
    struct listed *listed = ctx;
    size_t at = strlen(listed->text);
    snprintf(listed->text + at, sizeof listed->text - at, "segment %d of %u %s %d; ", (int)segment->msn, segment->part,
             segment->uri, (int)segment->duration_us);
}

static void playlist_is_read_in_pieces_of_any_size(void **state) {
    (void)state;
    for (size_t piece = 1; piece < sizeof playlist; piece++) {
        struct listed listed = {0};
        struct manifest manifest = {.on_part = note_part, .on_segment = note_segment, .ctx = &listed};
        manifest_begin(&manifest);
        for (size_t at = 0; at < sizeof playlist - 1; at += piece) {
            size_t left = sizeof playlist - 1 - at;
            manifest_feed(&manifest, (const uint8_t *)playlist + at, left < piece ? left : piece);
        }
        manifest_end(&manifest);
        assert_string_equal(listed.text,
                            "segment 103 of 0 v0a0/103.m4s 2000000; part 104.0 v0a0/p7.m4s 200000 independent; "
                            "part 104.1 v0a0/p8.m4s 100000; segment 104 of 2 v0a0/104.m4s 300000; "
                            "part 105.0 v0a0/p9.m4s 200000; ");
        assert_true(manifest.valid && manifest.can_block && manifest.can_skip && !manifest.ended);
        assert_int_equal(manifest.msn, 105);
        assert_int_equal(manifest.part, 1);
        assert_int_equal(manifest.hold_back_us, 6000000);
        assert_int_equal(manifest.part_hold_back_us, 640000);
        assert_string_equal(manifest.map, "v0a0/init-1.mp4");
        assert_string_equal(manifest.hint, "v0a0/p10.m4s");
    }
}

/* moov(trak(tkhd 7, mdia(mdhd 1000))), then prft, moof, mdat. */
static const uint8_t media[] = {0,    0,    0,    80,   'm',  'o', 'o', 'v', 0, 0, 0, 72,     't', 'r', 'a', 'k', //
                                0,    0,    0,    32,   't',  'k', 'h', 'd', 0, 0, 0, 3,      0,   0,   0,   0,
                                0,    0,    0,    0,    0,    0,   0,   7,   0, 0, 0, 0,      0,   0,   0,   0,   //
                                0,    0,    0,    32,   'm',  'd', 'i', 'a', 0, 0, 0, 24 + 8, 'm', 'd', 'h', 'd', //
                                0,    0,    0,    0,    0,    0,   0,   0,   0, 0, 0, 0,      0,   0,   3,   232,
                                0,    0,    0,    0,    0,    0,   0,   0, //
                                0,    0,    0,    32,   'p',  'r', 'f', 't', 1, 0, 0, 24,     0,   0,   0,   7,
                                0x83, 0xaa, 0x7e, 0x81, 0x80, 0,   0,   0,   //
                                0,    0,    0,    0,    0,    0,   5,   220, //
                                0,    0,    0,    12,   'm',  'o', 'o', 'f', 1, 2, 3, 4,      0,   0,   0,   11,
                                'm',  'd',  'a',  't',  9,    9,   9, //
                                0,    0,    0,    8,    'm',  'd', 'a', 't'};

static void note_chunk(void *ctx, const struct scan_chunk *chunk) {
    struct listed *listed = ctx;
    size_t at = strlen(listed->text);
    snprintf(listed->text + at, sizeof listed->text - at, "%d %d %d; ", chunk->lead, (int)chunk->capture_us,
             (int)chunk->media_us);
}

static void chunks_are_found_in_pieces_of_any_size(void **state) {
    (void)state;
    for (size_t piece = 1; piece <= sizeof media; piece++) {
        struct listed listed = {0};
        struct scan scan;
        scan_init(&scan, note_chunk, &listed);
        for (size_t at = 0; at < sizeof media; at += piece)
            scan_feed(&scan, media + at, sizeof media - at < piece ? sizeof media - at : piece);
        assert_string_equal(listed.text, "1 1500000 1500000; 1 0 0; ");
        assert_false(scan.broken);
    }
}

static void what_is_no_box_ends_the_scan(void **state) {
    struct listed listed = {0};
    struct scan scan;
    (void)state;
    scan_init(&scan, note_chunk, &listed);
    scan_feed(&scan, (const uint8_t *)"404 Not Found: no such part", 27);
    scan_restart(&scan);
    scan_feed(&scan, (const uint8_t *)"\0\0\0\7mdat", 8);
    assert_true(scan.broken);
    scan_restart(&scan);
    scan_feed(&scan, (const uint8_t *)"\0\0\0\10mdat", 8);
    assert_string_equal(listed.text, "1 0 0; ");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(quantiles_are_within_three_percent),
                                       cmocka_unit_test(histogram_takes_any_time),
                                       cmocka_unit_test(a_dry_buffer_is_a_stall),
                                       cmocka_unit_test(a_jump_is_no_stall_and_no_gain),
                                       cmocka_unit_test(playlist_is_read_in_pieces_of_any_size),
                                       cmocka_unit_test(chunks_are_found_in_pieces_of_any_size),
                                       cmocka_unit_test(what_is_no_box_ends_the_scan)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
