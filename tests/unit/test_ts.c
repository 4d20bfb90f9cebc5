#include "ingest/ts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "ts_fixture.h"

/* What a stream of bytes gives is written down event by event. */
enum { EVENTS_MAX = 256, LEN_MAX = 5 << 20 };

struct got {
    struct ts_event event; /* without its data */
    uint32_t hash;
};

struct world {
    struct ts_mux mux;
    struct ts *ts;
    size_t fed; /* of the multiplexer's bytes */
    struct got got[EVENTS_MAX];
    int count, read; /* how many there are, and how many were looked at */
};

static uint8_t media[LEN_MAX];

static uint32_t hash_of(const uint8_t *data, size_t len) {
    uint32_t hash = 2166136261;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ data[i]) * 16777619;
    return hash;
}

static struct world *begin_empty(void) {
    struct world *world = calloc(1, sizeof *world);
    ts_mux_init(&world->mux);
    world->ts = ts_create();
    srand(1);
    for (size_t i = 0; i < sizeof media; i++)
        media[i] = (uint8_t)rand();
    return world;
}

static void end(struct world *world) {
    ts_destroy(world->ts);
    buf_finish(&world->mux.out);
    free(world);
}

static void take(struct world *world, const uint8_t *data, size_t len) {
    struct ts_event event;
    size_t used;
    uint8_t *exact = malloc(len ? len : 1); /* so that ASan sees one byte too far */
    memcpy(exact, data, len);
    for (size_t pos = 0; ts_read(world->ts, exact + pos, len - pos, &used, &event); pos += used) {
        assert_true(world->count < EVENTS_MAX);
        struct got *got = &world->got[world->count++];
        got->event = event;
        got->event.data = NULL;
        got->hash = event.what == TS_PES ? hash_of(event.data, event.len) : 0;
    }
    free(exact);
}

/* Feeds what was multiplexed since. */
static void feed(struct world *world) {
    take(world, buf_head(&world->mux.out) + world->fed, buf_len(&world->mux.out) - world->fed);
    world->fed = buf_len(&world->mux.out);
}

static const struct got *next(struct world *world) {
    feed(world);
    return world->read < world->count ? &world->got[world->read++] : NULL;
}

static struct world *begin(void) {
    struct world *world = begin_empty();
    ts_mux_tables(&world->mux);
    ts_mux_packet(&world->mux, TS_PID_NULL, false, false, 0, media,
                  184); /* for the first to count something must follow */
    const struct got *got = next(world);
    assert_non_null(got);
    assert_int_equal(got->event.what, TS_PROGRAMME);
    assert_true(got->event.video.pid && got->event.audio_count);
    return world;
}

static struct ts_mux_pes picture(int n, size_t len) {
    return (struct ts_mux_pes){
        .pid = MUX_VIDEO_PID, .pts_ts = 900000 + 3000 * (uint64_t)n, .data = media + n, .len = len, .pcr = true};
}

static void put(struct world *world, int n, size_t len) {
    struct ts_mux_pes pes = picture(n, len);
    ts_mux_pes(&world->mux, &pes);
}

static void expect(struct world *world, int n, size_t len, bool after_loss) {
    const struct got *got = next(world);
    assert_non_null(got);
    assert_int_equal(got->event.what, TS_PES);
    assert_int_equal(got->event.kind, TRACK_VIDEO);
    assert_int_equal(got->event.len, len);
    assert_int_equal(got->hash, hash_of(media + n, len));
    assert_int_equal(got->event.dts_ts, 900000 + 3000 * n);
    assert_int_equal(got->event.after_loss, after_loss);
}

static void expect_nothing(struct world *world) {
    assert_null(next(world));
}

/* The first two show that stuffing is a sign of the end; from then on nothing waits. `n` is 0 to 2 in the end. */
static struct world *begin_trusting(void) {
    struct world *world = begin();
    put(world, 0, 1000);
    expect_nothing(world);
    put(world, 1, 1000);
    expect(world, 0, 1000, false);
    expect_nothing(world);
    put(world, 2, 1000);
    expect(world, 1, 1000, false);
    expect(world, 2, 1000, false);
    return world;
}

/* --- when a PES packet is given --- */

static void stuffing_gives_a_picture_at_once(void **state) {
    (void)state;
    struct world *world = begin_trusting();
    for (int n = 3; n < 40; n++) {
        size_t len = (size_t)n * 92 + 1; /* never fills its last packet */
        put(world, n, len);
        expect(world, n, len, false);
        expect_nothing(world);
    }
    assert_int_equal(ts_counters(world->ts)->pes_dropped, 0);
    end(world);
}

/* Without stuffing nothing tells that it is complete: 14 bytes of header and an adaptation field of 8. */
static void full_last_packet_waits_for_the_next(void **state) {
    (void)state;
    struct world *world = begin_trusting();
    put(world, 3, 184 * 5 - 8 - 14);
    expect_nothing(world);
    put(world, 4, 500);
    expect(world, 3, 184 * 5 - 8 - 14, false);
    expect(world, 4, 500, false);
    end(world);
}

static void single_byte_of_stuffing_counts(void **state) {
    (void)state;
    struct world *world = begin_trusting();
    put(world, 3, 184 * 5 - 8 - 14 - 1); /* the field is its length alone */
    expect(world, 3, 184 * 5 - 8 - 14 - 1, false);
    end(world);
}

static void length_gives_it_at_once(void **state) {
    (void)state;
    struct world *world = begin();
    for (int n = 0; n < 10; n++) {
        struct ts_mux_pes pes = picture(n, 184u * 3 - 8 - 14 + (size_t)n);
        pes.with_length = true;
        ts_mux_pes(&world->mux, &pes);
        expect(world, n, pes.len, false);
    }
    end(world);
}

static void length_wins_over_stuffing(void **state) {
    (void)state;
    struct world *world = begin();
    for (int n = 0; n < 5; n++) {
        struct ts_mux_pes pes = picture(n, 1000);
        pes.with_length = true;
        pes.stuffing = 20;
        pes.stuffed_packet = 2;
        ts_mux_pes(&world->mux, &pes);
        expect(world, n, 1000, false);
    }
    assert_int_equal(ts_counters(world->ts)->pes_cut, 0);
    end(world);
}

static void muxer_that_stuffs_midst_from_the_start_is_waited_for(void **state) {
    (void)state;
    struct world *world = begin();
    for (int n = 0; n < 10; n++) {
        struct ts_mux_pes pes = picture(n, 1000);
        pes.stuffing = 20;
        pes.stuffed_packet = 2;
        ts_mux_pes(&world->mux, &pes);
        if (n)
            expect(world, n - 1, 1000, false);
        expect_nothing(world);
    }
    assert_int_equal(ts_counters(world->ts)->pes_cut, 0);
    end(world);
}

/* One picture was cut off. What belongs to it is left out, the next says so, and none is given too soon again. */
static void muxer_that_begins_to_stuff_midst_costs_one_picture(void **state) {
    (void)state;
    struct world *world = begin_trusting();
    struct ts_mux_pes pes = picture(3, 1000);
    pes.stuffing = 20;
    pes.stuffed_packet = 2;
    ts_mux_pes(&world->mux, &pes);
    assert_true(next(world)->event.len < 1000);
    assert_int_equal(ts_counters(world->ts)->pes_cut, 1);
    put(world, 4, 1000);
    expect_nothing(world);
    for (int n = 5; n < 9; n++) {
        put(world, n, 1000);
        expect(world, n - 1, 1000, n == 5);
    }
    assert_int_equal(ts_counters(world->ts)->pes_cut, 1);
    end(world);
}

/* --- loss --- */

static void missing_packet_costs_its_picture(void **state) {
    (void)state;
    for (int lost = 1; lost <= 6; lost++) {
        struct world *world = begin_trusting();
        struct ts_mux_pes pes = picture(3, 1000);
        pes.lost_packet = lost;
        ts_mux_pes(&world->mux, &pes);
        expect_nothing(world);
        put(world, 4, 700);
        expect(world, 4, 700, true);
        put(world, 5, 700);
        expect(world, 5, 700, false);
        assert_int_equal(ts_counters(world->ts)->losses, 1);
        end(world);
    }
}

/* Sixteen packets: their counters look as if nothing were missing. */
static void gap_that_counters_do_not_show_costs_a_picture(void **state) {
    (void)state;
    struct world *world = begin_trusting();
    put(world, 3, 184 * 2); /* under way */
    world->mux.out.len -= TS_PACKET;
    feed(world);
    ts_gap(world->ts);
    world->mux.counters[MUX_VIDEO_PID] += 15;
    put(world, 4, 700);
    expect(world, 4, 700, true);
    assert_int_equal(ts_counters(world->ts)->pes_dropped, 1);
    end(world);
}

static void packet_sent_twice_counts_once(void **state) {
    (void)state;
    struct world *world = begin_trusting();
    put(world, 3, 900);
    size_t from = world->fed;
    struct buf twice;
    buf_init(&twice, MUX_MAX);
    for (size_t pos = from; pos < buf_len(&world->mux.out); pos += TS_PACKET)
        for (int i = 0; i < 2; i++)
            buf_append(&twice, buf_head(&world->mux.out) + pos, TS_PACKET);
    world->fed = buf_len(&world->mux.out);
    take(world, buf_head(&twice), buf_len(&twice));
    buf_finish(&twice);
    expect(world, 3, 900, false);
    put(world, 4, 900);
    expect(world, 4, 900, false);
    assert_int_equal(ts_counters(world->ts)->losses, 0);
    end(world);
}

static void damaged_packet_is_as_a_missing_one(void **state) {
    (void)state;
    struct world *world = begin_trusting();
    put(world, 3, 900);
    buf_head(&world->mux.out)[world->fed + 2 * TS_PACKET + 1] |= 0x80;
    expect_nothing(world);
    put(world, 4, 900);
    expect(world, 4, 900, true);
    assert_int_equal(ts_counters(world->ts)->bad_packets, 1);
    end(world);
}

static void announced_discontinuity_is_no_loss(void **state) {
    (void)state;
    struct world *world = begin_trusting();
    world->mux.counters[MUX_VIDEO_PID] += 5;
    put(world, 3, 900);
    buf_head(&world->mux.out)[world->fed + 5] |= 0x80;
    expect(world, 3, 900, false);
    assert_int_equal(ts_counters(world->ts)->losses, 0);
    end(world);
}

static void announced_discontinuity_ends_the_picture_before(void **state) {
    (void)state;
    struct world *world = begin_trusting();
    put(world, 3, 184 * 5 - 8 - 14); /* waits for the next one to begin */
    expect_nothing(world);
    world->mux.counters[MUX_VIDEO_PID] += 5;
    put(world, 4, 900);
    buf_head(&world->mux.out)[world->fed + 5] |= 0x80;
    expect(world, 3, 184 * 5 - 8 - 14, false);
    expect(world, 4, 900, false);
    assert_int_equal(ts_counters(world->ts)->losses, 0);
    assert_int_equal(ts_counters(world->ts)->pes_dropped, 0);
    end(world);
}

static void padding_between_pictures_is_passed_over(void **state) {
    (void)state;
    static const uint8_t others[] = {0xbe, 0xbf, 0xf0, 0xff};
    struct world *world = begin_trusting();
    for (int n = 3; n < 3 + (int)sizeof others; n++) {
        uint8_t padding[300];
        memset(padding, 0xff, sizeof padding);
        memcpy(padding, (uint8_t[]){0, 0, 1, others[n - 3], (sizeof padding - 6) >> 8, (sizeof padding - 6) & 0xff}, 6);
        put(world, n, 184 * 5 - 8 - 14); /* waits for the next one to begin */
        size_t used = ts_mux_packet(&world->mux, MUX_VIDEO_PID, true, false, 0, padding, sizeof padding);
        expect(world, n, 184 * 5 - 8 - 14, false);
        ts_mux_packet(&world->mux, MUX_VIDEO_PID, false, false, 0, padding + used, sizeof padding - used);
        expect_nothing(world);
    }
    put(world, 9, 900);
    expect(world, 9, 900, false);
    assert_int_equal(ts_counters(world->ts)->pes_dropped, 0);
    end(world);
}

static void picture_cut_short_of_its_length_is_dropped(void **state) {
    (void)state;
    struct world *world = begin();
    struct ts_mux_pes pes = picture(0, 1000);
    pes.with_length = true;
    ts_mux_pes(&world->mux, &pes);
    world->mux.out.len -= TS_PACKET;
    world->mux.counters[MUX_VIDEO_PID]--;
    expect_nothing(world);
    pes = picture(1, 1000);
    pes.with_length = true;
    ts_mux_pes(&world->mux, &pes);
    expect(world, 1, 1000, true);
    end(world);
}

static void picture_too_large_is_dropped(void **state) {
    (void)state;
    struct world *world = begin_trusting();
    put(world, 3, TS_VIDEO_PES_MAX - 14);
    expect(world, 3, TS_VIDEO_PES_MAX - 14, false);
    put(world, 4, TS_VIDEO_PES_MAX);
    expect_nothing(world);
    put(world, 5, 900);
    expect(world, 5, 900, true);
    end(world);
}

/* --- in step --- */

static void garbage_before_and_between_is_skipped(void **state) {
    (void)state;
    struct world *world = begin_trusting();
    for (size_t garbage = 1; garbage < 400; garbage += 37) {
        memset(media + LEN_MAX - 400, garbage % 2 ? TS_SYNC : 0, 400);
        take(world, media + LEN_MAX - 400, garbage);
        put(world, 3, 900);
        ts_mux_packet(&world->mux, TS_PID_NULL, false, false, 0, media, 184);
        put(world, 4, 900);
        feed(world);
        assert_true(world->count - world->read >= 1);
        while (world->read + 1 < world->count)
            world->read++;
        expect(world, 4, 900, world->got[world->read].event.after_loss);
    }
    assert_true(ts_counters(world->ts)->skipped_bytes > 0);
    end(world);
}

/* --- times --- */

static void times_are_unwrapped(void **state) {
    (void)state;
    struct world *world = begin();
    uint64_t from = (UINT64_C(1) << 33) - 10 * 3000;
    for (int n = 0; n < 40; n++) {
        struct ts_mux_pes pes = picture(n, 300);
        pes.with_length = pes.has_dts = true;
        pes.dts_ts = (from + (uint64_t)n * 3000) & ((UINT64_C(1) << 33) - 1);
        pes.pts_ts = (from + (uint64_t)n * 3000 + 6000) & ((UINT64_C(1) << 33) - 1);
        ts_mux_pes(&world->mux, &pes);
        const struct got *got = next(world);
        assert_int_equal(got->event.dts_ts, from + (uint64_t)n * 3000);
        assert_int_equal(got->event.pts_ts - got->event.dts_ts, 6000);
    }
    end(world);
}

static void time_that_is_missing_is_told(void **state) {
    (void)state;
    struct world *world = begin();
    struct ts_mux_pes pes = picture(0, 300);
    pes.with_length = pes.no_time = true;
    ts_mux_pes(&world->mux, &pes);
    assert_false(next(world)->event.has_time);
    end(world);
}

/* --- tables --- */

static const struct got *programme_of(struct world *world) {
    ts_mux_packet(&world->mux, TS_PID_NULL, false, false, 0, media, 184);
    const struct got *got = next(world);
    assert_true(!got || got->event.what == TS_PROGRAMME);
    return got;
}

static void other_stream_types_are_told_once(void **state) {
    (void)state;
    struct world *world = begin_empty();
    static const struct ts_mux_stream streams[] = {{0x11, 0x110}, {0x0f, MUX_AUDIO_PID}, {0x11, 0x111}, {0x86, 0x112}};
    ts_mux_pat(&world->mux, 0, 1);
    ts_mux_pmt(&world->mux, 1, 0, streams, 4);
    const struct got *got = programme_of(world);
    assert_false(got->event.video.pid);
    assert_int_equal(got->event.audio_count, 1);
    assert_int_equal(got->event.ignored_count, 2);
    assert_string_equal(ts_type_name(got->event.ignored[0]), "AAC in LATM");
    assert_string_equal(ts_type_name(got->event.ignored[1]), "SCTE-35");
    ts_mux_pmt(&world->mux, 1, 0, streams, 4);
    assert_null(programme_of(world)); /* the same again is nothing new */
    ts_mux_pmt(&world->mux, 1, 1, streams, 3);
    assert_int_equal(programme_of(world)->event.ignored_count, 0);
    end(world);
}

static void codecs_and_languages_are_told(void **state) {
    (void)state;
    struct world *world = begin_empty();
    static const struct ts_mux_stream streams[] = {{0x24, 0x110},
                                                   {0x0f, 0x120, MUX_LANGUAGE("deu"), 6},
                                                   {0x06, 0x121, MUX_OPUS("\x02") MUX_LANGUAGE("eng"), 16},
                                                   {0x06, 0x122, MUX_OPUS("\x06"), 10},
                                                   {0x06, 0x123, "\x05\4AC-3", 6},      /* another registration */
                                                   {0x06, 0x124, MUX_OPUS("\xff"), 10}, /* unknown channels */
                                                   {0x06, 0x125, "\x05\xffOpus", 6}};   /* cut off */
    ts_mux_pat(&world->mux, 0, 1);
    ts_mux_pmt(&world->mux, 1, 0, streams, 7);
    const struct ts_event *event = &programme_of(world)->event;
    assert_int_equal(event->video.codec, CODEC_HEVC);
    assert_int_equal(event->audio_count, 3);
    assert_int_equal(event->audio[0].codec, CODEC_AAC);
    assert_memory_equal(event->audio[0].language, "deu", 3);
    assert_int_equal(event->audio[1].codec, CODEC_OPUS);
    assert_int_equal(event->audio[1].opus_channels, 2);
    assert_memory_equal(event->audio[1].language, "eng", 3);
    assert_int_equal(event->audio[2].opus_channels, 6);
    assert_int_equal(event->audio[2].language[0], 0);
    assert_int_equal(event->ignored_count, 1);
    assert_int_equal(event->ignored[0], 0x06);
    end(world);
}

static void put_sound(struct world *world, uint16_t pid, int n) {
    struct ts_mux_pes pes = {
        .pid = pid, .with_length = true, .pts_ts = 900000 + (uint64_t)n, .data = media + n, .len = 300};
    ts_mux_pes(&world->mux, &pes);
}

static void each_sound_has_its_place(void **state) {
    (void)state;
    struct world *world = begin_empty();
    static const struct ts_mux_stream streams[] = {{0x0f, 0x120}, {0x1b, 0x110}, {0x0f, 0x121}, {0x0f, 0x121},
                                                   {0x0f, 0x122}, {0x0f, 0x123}, {0x0f, 0x124}, {0x1b, 0x111}};
    ts_mux_pat(&world->mux, 0, 1);
    ts_mux_pmt(&world->mux, 1, 0, streams, 8);
    const struct got *got = programme_of(world);
    assert_int_equal(got->event.audio_count, TS_AUDIO_MAX);
    assert_int_equal(got->event.audio_left_out, 1);
    assert_int_equal(got->event.video.pid, 0x110);
    for (int n = 0; n < 8; n++)
        put_sound(world, (uint16_t)(0x120 + n % 4), n);
    put_sound(world, 0x124, 9); /* the one too many */
    for (int n = 0; n < 8; n++) {
        got = next(world);
        assert_int_equal(got->event.kind, TRACK_AUDIO);
        assert_int_equal(got->event.track, n % 4);
        assert_int_equal(got->hash, hash_of(media + n, 300));
    }
    expect_nothing(world);
    ts_mux_pmt(&world->mux, 1, 1, streams + 2, 1); /* what was the second is the first */
    assert_int_equal(programme_of(world)->event.audio_count, 1);
    put_sound(world, 0x120, 10);
    put_sound(world, 0x121, 11);
    put_sound(world, 0x121, 12);
    got = next(world);
    assert_int_equal(got->hash, hash_of(media + 11, 300));
    assert_int_equal(got->event.track, 0);
    end(world);
}

static void first_programme_with_video_is_taken(void **state) {
    (void)state;
    struct world *world = begin_empty();
    static const struct ts_mux_stream radio[] = {{0x0f, 0x120}};
    static const struct ts_mux_stream tv[] = {{0x1b, MUX_VIDEO_PID}};
    ts_mux_pat(&world->mux, 0, 3);
    ts_mux_pmt(&world->mux, 1, 0, radio, 1);
    assert_null(programme_of(world));
    ts_mux_pmt(&world->mux, 2, 0, tv, 1);
    const struct got *got = programme_of(world);
    assert_true(got->event.video.pid && !got->event.audio_count);
    ts_mux_pmt(&world->mux, 3, 0, tv, 1);
    assert_null(programme_of(world));
    put(world, 0, 300);
    put(world, 1, 300);
    expect(world, 0, 300, false);
    end(world);
}

static void without_video_the_first_is_taken(void **state) {
    (void)state;
    static const struct ts_mux_stream radio[] = {{0x0f, 0x120}};
    for (int all = 0; all < 2; all++) {
        struct world *world = begin_empty();
        ts_mux_pat(&world->mux, 0, 2);
        ts_mux_pmt(&world->mux, 1, 0, radio, 1);
        assert_null(programme_of(world));
        ts_mux_pmt(&world->mux, all ? 2 : 1, 0, radio, 1); /* the second may never come */
        assert_true(programme_of(world)->event.audio_count);
        end(world);
    }
}

static void table_with_a_wrong_crc_is_not_believed(void **state) {
    (void)state;
    struct world *world = begin_empty();
    ts_mux_tables(&world->mux);
    buf_head(&world->mux.out)[TS_PACKET + 20] ^= 1;
    assert_null(programme_of(world));
    assert_int_equal(ts_bad_sections(world->ts), 1);
    end(world);
}

static void table_over_several_packets_is_read(void **state) {
    (void)state;
    struct world *world = begin_empty();
    struct ts_mux_stream streams[50] = {{0x1b, MUX_VIDEO_PID}};
    for (int i = 1; i < 50; i++)
        streams[i] = (struct ts_mux_stream){0x06, (uint16_t)(0x200 + i)};
    ts_mux_pat(&world->mux, 0, 1);
    ts_mux_pmt(&world->mux, 1, 0, streams, 50);
    assert_true(programme_of(world)->event.video.pid);
    end(world);
}

/* Other PIDs: what was under way is gone, and what comes says that it doesn't continue that. */
static void new_version_moves_the_tracks(void **state) {
    (void)state;
    struct world *world = begin_trusting();
    static const struct ts_mux_stream moved[] = {{0x1b, 0x150}, {0x0f, MUX_AUDIO_PID}};
    ts_mux_pmt(&world->mux, 1, 1, moved, 2);
    assert_true(programme_of(world)->event.video.pid);
    put(world, 3, 300);
    expect_nothing(world);
    struct ts_mux_pes pes = picture(4, 300);
    pes.pid = 0x150;
    pes.with_length = true;
    ts_mux_pes(&world->mux, &pes);
    expect(world, 4, 300, true);
    end(world);
}

static void new_pat_without_the_programme_ends_it(void **state) {
    (void)state;
    struct world *world = begin_trusting();
    uint8_t body[] = {0, 9, 0xe0 | 0x1f, 0x00};
    ts_mux_section(&world->mux, 0, 0, 1, 1, body, sizeof body);
    const struct got *got = programme_of(world);
    assert_true(got->event.gone);
    assert_false(got->event.video.pid || got->event.audio_count);
    put(world, 3, 300);
    expect_nothing(world);
    end(world);
}

/* --- any split --- */

static void random_stream(struct ts_mux *mux) {
    for (int n = 0; n < 60; n++) {
        if (n % 10 == 0)
            ts_mux_tables(mux);
        struct ts_mux_pes pes = picture(n, 1 + (size_t)rand() % 2000);
        pes.with_length = rand() % 4 == 0;
        pes.stuffing = rand() % 8 == 0 ? 1 + (size_t)rand() % 30 : 0;
        pes.stuffed_packet = rand() % 5;
        pes.lost_packet = rand() % 10 == 0 ? 1 + rand() % 3 : 0;
        ts_mux_pes(mux, &pes);
        pes.pid = MUX_AUDIO_PID;
        pes.with_length = true;
        ts_mux_pes(mux, &pes);
        if (rand() % 10 == 0)
            buf_append(&mux->out, media, (size_t)rand() % 300);
    }
}

static void check_same(const struct world *a, const struct world *b) {
    assert_int_equal(a->count, b->count);
    for (int i = 0; i < a->count; i++) {
        const struct got *x = &a->got[i], *y = &b->got[i];
        assert_int_equal(x->event.what, y->event.what);
        assert_int_equal(x->event.kind, y->event.kind);
        assert_int_equal(x->event.dts_ts, y->event.dts_ts);
        assert_int_equal(x->event.after_loss, y->event.after_loss);
        assert_int_equal(x->event.len, y->event.len);
        assert_int_equal(x->hash, y->hash);
    }
    assert_memory_equal(ts_counters(a->ts), ts_counters(b->ts), sizeof(struct ts_counters));
}

static void any_split_gives_the_same(void **state) {
    (void)state;
    for (unsigned seed = 0; seed < 8; seed++) {
        struct world *whole = begin_empty();
        srand(seed);
        random_stream(&whole->mux);
        feed(whole);
        assert_true(whole->count > 60);
        for (size_t most = 1; most < 5000; most = most * 3 + 1) {
            struct world *split = begin_empty();
            srand(seed + 100);
            for (size_t pos = 0; pos < buf_len(&whole->mux.out);) {
                size_t left = buf_len(&whole->mux.out) - pos, n = 1 + (size_t)rand() % most;
                n = n < left ? n : left;
                take(split, buf_head(&whole->mux.out) + pos, n);
                pos += n;
            }
            check_same(whole, split);
            end(split);
        }
        end(whole);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stuffing_gives_a_picture_at_once),
        cmocka_unit_test(full_last_packet_waits_for_the_next),
        cmocka_unit_test(single_byte_of_stuffing_counts),
        cmocka_unit_test(length_gives_it_at_once),
        cmocka_unit_test(length_wins_over_stuffing),
        cmocka_unit_test(muxer_that_stuffs_midst_from_the_start_is_waited_for),
        cmocka_unit_test(muxer_that_begins_to_stuff_midst_costs_one_picture),
        cmocka_unit_test(missing_packet_costs_its_picture),
        cmocka_unit_test(gap_that_counters_do_not_show_costs_a_picture),
        cmocka_unit_test(packet_sent_twice_counts_once),
        cmocka_unit_test(damaged_packet_is_as_a_missing_one),
        cmocka_unit_test(announced_discontinuity_is_no_loss),
        cmocka_unit_test(announced_discontinuity_ends_the_picture_before),
        cmocka_unit_test(padding_between_pictures_is_passed_over),
        cmocka_unit_test(picture_cut_short_of_its_length_is_dropped),
        cmocka_unit_test(picture_too_large_is_dropped),
        cmocka_unit_test(garbage_before_and_between_is_skipped),
        cmocka_unit_test(times_are_unwrapped),
        cmocka_unit_test(time_that_is_missing_is_told),
        cmocka_unit_test(other_stream_types_are_told_once),
        cmocka_unit_test(codecs_and_languages_are_told),
        cmocka_unit_test(each_sound_has_its_place),
        cmocka_unit_test(first_programme_with_video_is_taken),
        cmocka_unit_test(without_video_the_first_is_taken),
        cmocka_unit_test(table_with_a_wrong_crc_is_not_believed),
        cmocka_unit_test(table_over_several_packets_is_read),
        cmocka_unit_test(new_version_moves_the_tracks),
        cmocka_unit_test(new_pat_without_the_programme_ends_it),
        cmocka_unit_test(any_split_gives_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
