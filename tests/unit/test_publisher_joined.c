/* Pushes that join another's stream: rungs that the broadcaster encodes, and an interpreter's sound. The clock is the
 * test's. */
#include "ingest/join.h"

#include "codec_samples.h"
#include "common/base/metrics.h"
#include "ingest/mux.h"
#include "ingest/timeline.h"
#include "publisher_fixture.h"
#include "tests/unit/codec_samples.h"

static const uint8_t avcc_small[] = {1,    0x4d, 0x40, 0x1f, 0xff, 0xe1, 0, 9, 0x67, 0x4d, 0x40, 0x1f,
                                     0xec, 0xa0, 0xa0, 0xc8, 0x80, 1,    0, 4, 0x68, 0xee, 0x3c, 0x80}; /* 320×192 */

static const int64_t epoch_us = 1790000000ll * 1000000;
static int64_t now_us; /* UTC */

int64_t __wrap_clock_utc_us(void);
int64_t __wrap_clock_utc_us(void) {
    return now_us;
}

/* A muxer that refuses what no usual input makes it refuse. */
static uint32_t refused_width, refused_id; /* of inits; of chunks */
static const struct mux *refusing;

int __real_mux_create(const struct track_info *info, enum codec codec, const uint8_t *config, size_t config_len,
                      struct mux **ret_mux, struct blob **ret_init);
int __real_mux_chunk(struct mux *mux, const struct mux_frame *frames, size_t count, int64_t capture_us,
                     struct slice *ret_body);
int __wrap_mux_create(const struct track_info *info, enum codec codec, const uint8_t *config, size_t config_len,
                      struct mux **ret_mux, struct blob **ret_init);
int __wrap_mux_chunk(struct mux *mux, const struct mux_frame *frames, size_t count, int64_t capture_us,
                     struct slice *ret_body);

int __wrap_mux_create(const struct track_info *info, enum codec codec, const uint8_t *config, size_t config_len,
                      struct mux **ret_mux, struct blob **ret_init) {
    if (refused_width && info->width == refused_width)
        return -1;
    int rc = __real_mux_create(info, codec, config, config_len, ret_mux, ret_init);
    if (!rc && info->track_id == refused_id)
        refusing = *ret_mux;
    return rc;
}

int __wrap_mux_chunk(struct mux *mux, const struct mux_frame *frames, size_t count, int64_t capture_us,
                     struct slice *ret_body) {
    return refused_id && mux == refusing ? -1 : __real_mux_chunk(mux, frames, count, capture_us, ret_body);
}

enum { FPS = 25, FRAME_MS = 1000 / FPS, PUSHES = 3 };

struct push {
    struct world *world;
    struct publisher *pub;
    int results, losses;
    enum publish_result result;
    char why[160];
    int64_t base_ms; /* what its clock says when the test's says 0 */
    int64_t from_ms; /* it sends nothing before */
    int64_t late_ms; /* on its way */
    int key_at;      /* of each second's pictures */
    bool picture, sound, opus;
    int64_t pictures, sounds; /* so many were sent, or left out before `from_ms` */
};

static void push_on_result(void *ctx, enum publish_result result) {
    struct push *push = ctx;
    push->results++;
    push->result = result;
    loop_stop(push->world->loop);
}

static void push_on_lost(void *ctx, const char *why) {
    struct push *push = ctx;
    push->losses++;
    snprintf(push->why, sizeof push->why, "%s", why);
    loop_stop(push->world->loop);
}

static void push_open(struct world *world, struct push *push, const char *name) {
    static const struct publisher_events events = {push_on_result, push_on_lost};
    push->world = world;
    push->pub = publisher_open(world->ingest, "live", name, "192.0.2.2:6", &events, push);
    loop_run(world->loop);
    assert_int_equal(push->results, 1);
}

static void push_close(struct push *push, bool clean) {
    publisher_close(push->pub, clean);
    push->pub = NULL;
}

static void configure(struct push *push, const uint8_t *picture, size_t len) {
    const struct publisher_config configs[] = {{.codec = CODEC_H264, .data = picture, .len = len},
                                               {.codec = CODEC_AAC, .data = asc, .len = sizeof asc},
                                               {.codec = CODEC_OPUS,
                                                .data = sample_opus.config.data,
                                                .len = sample_opus.config.len}};
    if (push->picture)
        publisher_config(push->pub, &configs[0]);
    if (push->sound)
        publisher_config(push->pub, &configs[push->opus ? 2 : 1]);
}

static void send_picture(struct push *push) {
    int64_t n = push->pictures, dts_us = (push->base_ms + n * FRAME_MS) * 1000;
    bool key = n % FPS == push->key_at;
    publisher_frame(push->pub, &(struct publisher_frame){.kind = TRACK_VIDEO,
                                                         .dts_us = dts_us,
                                                         .pts_us = dts_us,
                                                         .independent = key,
                                                         .data = key ? idr : inter,
                                                         .len = sizeof idr});
}

static int64_t sounds_us(const struct push *push) {
    return push->opus ? push->sounds * 20000 : push->sounds * 1024000 / 48;
}

static void send_sound(struct push *push) {
    int64_t dts_us = push->base_ms * 1000 + sounds_us(push);
    publisher_frame(push->pub, &(struct publisher_frame){.kind = TRACK_AUDIO,
                                                         .dts_us = dts_us,
                                                         .pts_us = dts_us,
                                                         .independent = true,
                                                         .data = push->opus ? sample_opus.frames[0].data : aac,
                                                         .len = push->opus ? sample_opus.frames[0].len : sizeof aac});
}

/* What comes next of the push, and when, in µs of the test's clock. */
static int64_t next_of(const struct push *push, bool *ret_picture) {
    int64_t picture_us = push->picture ? push->pictures * FRAME_MS * 1000 : INT64_MAX;
    int64_t sound_us = push->sound ? sounds_us(push) : INT64_MAX;
    *ret_picture = picture_us <= sound_us;
    int64_t us = *ret_picture ? picture_us : sound_us;
    return us == INT64_MAX ? us : us + push->late_ms * 1000;
}

/* All that arrives until `to_ms`; of what arrives together the first push's comes first. */
static void play(struct push pushes[PUSHES], int64_t to_ms) {
    for (;;) {
        struct push *next = NULL;
        int64_t next_us = to_ms * 1000;
        bool picture, next_picture = false;
        for (uint32_t i = 0; i < PUSHES; i++) {
            int64_t at_us = next_of(&pushes[i], &picture);
            if (at_us < next_us) {
                next = &pushes[i];
                next_us = at_us;
                next_picture = picture;
            }
        }
        if (!next)
            break;
        now_us = epoch_us + next_us;
        if (next->pub && next_us - next->late_ms * 1000 >= next->from_ms * 1000)
            next_picture ? send_picture(next) : send_sound(next);
        ++*(next_picture ? &next->pictures : &next->sounds);
    }
    now_us = epoch_us + to_ms * 1000;
}

/* Until what is to be told has been. */
static void settle(struct world *world) {
    struct loop_timer *timer = loop_timer_create(world->loop, (void (*)(void *))loop_stop, world->loop);
    loop_timer_set(timer, 1000);
    loop_run(world->loop);
    loop_timer_destroy(timer);
}

static void sweep_after(struct world *world, int64_t s) {
    publishers_sweep(world->ingest, loop_now_us(world->loop) + s * 1000000);
    settle(world);
}

static struct world *begin_pushes_with(struct push pushes[PUSHES], struct ingest_settings settings) {
    now_us = epoch_us;
    memset(pushes, 0, PUSHES * sizeof *pushes);
    settings.stall_ms = 60000; /* sweeps look ahead */
    struct world *world = begin_with("show", settings);
    pushes[0] = (struct push){.world = world, .pub = world->pub, .picture = true, .sound = true};
    configure(&pushes[0], avcc, sizeof avcc);
    return world;
}

static struct world *begin_pushes(struct push pushes[PUSHES]) {
    return begin_pushes_with(pushes, (struct ingest_settings){0});
}

static void join_as(struct push *lead, struct push *push, const char *name) {
    push_open(lead->world, push, name);
    assert_int_equal(push->result, PUBLISH_OK);
    configure(push, avcc_small, sizeof avcc_small);
}

static void end_pushes(struct world *world, struct push pushes[PUSHES]) {
    for (uint32_t i = 1; i < PUSHES; i++)
        publisher_close(pushes[i].pub, true);
    world->pub = pushes[0].pub;
    end(world);
}

static const struct record_open *open_of(struct world *world) {
    return &stream_of(world)->open->open;
}

static bool begins_independent(const struct segment *segment, uint32_t track) {
    return segment->chunks[track].count && segment->chunks[track].items[0]->chunk.flags & CHUNK_INDEPENDENT;
}

static void find_misaligned(void *ctx, const struct metric *metric) {
    if (!strcmp(metric->name, "weir_ingest_misaligned_total"))
        *(int64_t *)ctx = metric->value;
}

static int64_t misaligned_total(void) {
    int64_t total = -1;
    metrics_each(find_misaligned, &total);
    return total;
}

static uint32_t discontinuities(const struct stream *stream) {
    uint32_t n = 0;
    for (uint32_t s = 0; s < stream->segment_count; s++)
        n += stream->segments[s]->part_count && stream->segments[s]->parts[0].record->part.flags & PART_DISCONTINUITY;
    return n;
}

/* Whole segments from the `from`-th on in which `track` is cut as the leading one is. */
static uint32_t aligned_segments(const struct stream *stream, uint32_t from, uint32_t track) {
    uint32_t n = 0;
    for (uint32_t s = from; s + 1 < stream->segment_count; s++)
        n += begins_independent(stream->segments[s], track) &&
             stream->segments[s]->chunks[track].count == stream->segments[s]->chunks[0].count;
    return n;
}

static void rungs_that_are_there_from_the_start_are_no_discontinuity(void **state) {
    (void)state;
    for (int late_ms = -60; late_ms <= 200; late_ms += 130) {
        struct push pushes[PUSHES];
        struct world *world = begin_pushes(pushes);
        pushes[0].late_ms = 100;
        pushes[1] = (struct push){.picture = true, .sound = true, .late_ms = 100 + late_ms};
        pushes[2] = (struct push){.picture = true, .late_ms = 100};
        join_as(&pushes[0], &pushes[1], "show?rung=low");
        join_as(&pushes[0], &pushes[2], "show?rung=lower");
        play(pushes, 9000);
        const struct record_open *open = open_of(world);
        assert_int_equal(world->opens, 1);
        assert_int_equal(open->track_count, 4); /* the rungs' sound is left out */
        assert_int_equal(open->tracks[0].width, 1280);
        assert_int_equal(open->tracks[1].width, 320);
        assert_string_equal(open->tracks[3].name, "a0");
        assert_int_equal(open->tracks[1].frame_rate_milli, 25000);
        for (uint32_t track = 1; track < 3; track++)
            assert_int_equal(aligned_segments(stream_of(world), 0, track), stream_of(world)->segment_count - 1);
        assert_true(stream_of(world)->segment_count > 3);
        end_pushes(world, pushes);
    }
}

static void a_rung_may_come_late_and_go_early(void **state) {
    (void)state;
    struct push pushes[PUSHES];
    struct world *world = begin_pushes(pushes);
    play(pushes, 3300);
    assert_int_equal(open_of(world)->track_count, 2);
    pushes[1] = (struct push){.picture = true, .from_ms = 3300, .pictures = pushes[0].pictures};
    join_as(&pushes[0], &pushes[1], "show?rung=low");
    play(pushes, 9100);
    assert_int_equal(open_of(world)->track_count, 3);
    assert_int_equal(discontinuities(stream_of(world)), 1);
    assert_true(aligned_segments(stream_of(world), 2, 1) >= 2);
    push_close(&pushes[1], false);
    sweep_after(world, 1); /* it may come back */
    play(pushes, 11100);
    assert_int_equal(open_of(world)->track_count, 3);
    sweep_after(world, 4);
    play(pushes, 15000);
    assert_int_equal(open_of(world)->track_count, 2);
    assert_int_equal(discontinuities(stream_of(world)), 2);
    assert_int_equal(world->losses, 0);
    end_pushes(world, pushes);
}

static void a_rung_that_is_back_at_once_goes_on(void **state) {
    (void)state;
    struct push pushes[PUSHES];
    struct world *world = begin_pushes(pushes);
    pushes[1] = (struct push){.picture = true};
    join_as(&pushes[0], &pushes[1], "show?rung=low");
    play(pushes, 5300);
    push_close(&pushes[1], false);
    play(pushes, 6500);
    pushes[1].results = 0;
    join_as(&pushes[0], &pushes[1], "show?rung=low");
    play(pushes, 13000);
    sweep_after(world, 4);
    play(pushes, 15000);
    assert_int_equal(world->opens, 1);
    assert_int_equal(discontinuities(stream_of(world)), 0);
    assert_true(aligned_segments(stream_of(world), 4, 1) >= 2);
    end_pushes(world, pushes);
}

static void misaligned_rungs_are_what_they_are(void **state) {
    (void)state;
    struct push pushes[PUSHES];
    struct world *world = begin_pushes(pushes);
    pushes[1] = (struct push){.picture = true, .key_at = 10};
    join_as(&pushes[0], &pushes[1], "show?rung=low");
    int64_t before = misaligned_total();
    play(pushes, 9000);
    assert_true(misaligned_total() - before > 2);
    assert_int_equal(open_of(world)->track_count, 3);
    struct stream *stream = stream_of(world);
    for (uint32_t s = 2; s + 1 < stream->segment_count; s++) {
        assert_true(begins_independent(stream->segments[s], 0));
        assert_false(begins_independent(stream->segments[s], 1));
    }
    end_pushes(world, pushes);
}

static void a_rung_that_is_too_late_holds_up_nobody(void **state) {
    (void)state;
    struct push pushes[PUSHES];
    struct world *world = begin_pushes(pushes);
    pushes[1] = (struct push){.picture = true, .late_ms = 600};
    join_as(&pushes[0], &pushes[1], "show?rung=low");
    int64_t before = misaligned_total();
    play(pushes, 9000);
    assert_true(misaligned_total() - before > 2);
    struct stream *stream = stream_of(world);
    const struct segment *last = stream->segments[stream->segment_count - 1];
    const struct chunk_list *lead = &last->chunks[0];
    int64_t reached_us = timeline_us(lead->items[lead->count - 1]->chunk.dts_ts, TIMELINE_VIDEO_HZ);
    assert_true(now_us - reached_us < 400000);
    assert_int_equal(world->losses, 0);
    end_pushes(world, pushes);
}

/* Another encoder, on another machine: its clock and its grid are its own. */
static void clocks_of_their_own_are_compared_by_arrival(void **state) {
    (void)state;
    for (int key_at = 0; key_at < 2; key_at++) {
        struct push pushes[PUSHES];
        struct world *world = begin_pushes(pushes);
        int64_t before = misaligned_total();
        pushes[0].late_ms = 12; /* the rung's pictures are ahead of the leading ones by that */
        pushes[1] = (struct push){.picture = true, .base_ms = 7654321, .key_at = key_at};
        join_as(&pushes[0], &pushes[1], "show?rung=low");
        play(pushes, 15000);
        struct stream *stream = stream_of(world);
        assert_int_equal(open_of(world)->track_count, 3);
        for (uint32_t s = 1; s + 1 < stream->segment_count; s++)
            assert_int_equal(begins_independent(stream->segments[s], 1), !key_at);
        if (key_at) /* a picture later is too much, */
            assert_true(misaligned_total() - before >= stream->segment_count - 2);
        else /* and less than half of one isn't */
            assert_int_equal(misaligned_total(), before);
        end_pushes(world, pushes);
    }
}

static void an_interpreter_is_a_sound_of_the_stream(void **state) {
    (void)state;
    struct push pushes[PUSHES];
    struct world *world = begin_pushes(pushes);
    play(pushes, 2100);
    pushes[1] = (struct push){.picture = true, .sound = true, .base_ms = 90000, .from_ms = 2100};
    pushes[1].pictures = pushes[0].pictures;
    pushes[1].sounds = pushes[0].sounds;
    join_as(&pushes[0], &pushes[1], "show?audio=de");
    play(pushes, 8000);
    const struct record_open *open = open_of(world);
    assert_int_equal(open->track_count, 3);
    assert_string_equal(open->tracks[2].name, "a1");
    assert_string_equal(open->tracks[2].language, "de");
    const struct segment *segment = stream_of(world)->segments[stream_of(world)->segment_count - 2];
    const struct record_chunk *own = &segment->chunks[1].items[0]->chunk, *other = &segment->chunks[2].items[0]->chunk;
    assert_true(llabs(own->dts_ts - other->dts_ts) < 48 * 50);
    end_pushes(world, pushes);
}

/* Where there is a ladder, also what came while the stream was opened anew. */
static void an_interpreters_sound_is_what_all_can_play(void **state) {
    (void)state;
    static char *too_large[] = {"live/* 2160:9000"};
    struct push pushes[PUSHES];
    struct world *world = begin_pushes_with(pushes, (struct ingest_settings){.ladder = too_large, .ladder_count = 1});
    pushes[1] = (struct push){.sound = true, .opus = true};
    join_as(&pushes[0], &pushes[1], "show?audio=de");
    play(pushes, 3100);
    pushes[2] = (struct push){.picture = true, .from_ms = 3100, .pictures = pushes[0].pictures};
    join_as(&pushes[0], &pushes[2], "show?rung=low"); /* it is opened anew */
    play(pushes, 8000);
    assert_int_equal(world->opens, 2);
    const struct stream *stream = stream_of(world);
    assert_int_equal(stream->open->open.track_count, 4);
    assert_string_equal(stream->open->open.tracks[3].codecs, "mp4a.40.2");
    for (uint32_t s = 0; s < stream->segment_count; s++) {
        uint32_t sound = stream->segments[s]->open->open.track_count - 1;
        const struct chunk_list *chunks = &stream->segments[s]->chunks[sound];
        assert_true(chunks->count > 0);
        for (uint32_t i = 0; i < chunks->count; i++)
            assert_int_equal(chunks->items[i]->chunk.duration_ts % 1024, 0);
    }
    assert_int_equal(world->losses, 0);
    end_pushes(world, pushes);
}

static void a_push_of_sound_alone_has_others_too(void **state) {
    (void)state;
    struct push pushes[PUSHES];
    struct world *world = begin_pushes(pushes);
    pushes[0].picture = false; /* it was configured, but none comes; */
    push_close(&pushes[0], true);
    pushes[0].results = 0;
    push_open(world, &pushes[0], "show"); /* so anew */
    configure(&pushes[0], NULL, 0);
    pushes[1] = (struct push){.sound = true};
    pushes[2] = (struct push){.picture = true};
    join_as(&pushes[0], &pushes[1], "show?rung=other"); /* without a picture it is a sound */
    join_as(&pushes[0], &pushes[2], "show?rung=low");
    play(pushes, 6000);
    assert_int_equal(open_of(world)->track_count, 2);
    assert_int_equal(open_of(world)->tracks[1].kind, TRACK_AUDIO);
    sweep_after(world, 11);
    assert_int_equal(pushes[2].losses, 1);
    assert_non_null(strstr(pushes[2].why, "no picture"));
    assert_int_equal(pushes[1].losses, 0);
    end_pushes(world, pushes);
}

static void the_leading_push_ends_all(void **state) {
    (void)state;
    struct push pushes[PUSHES];
    struct world *world = begin_pushes(pushes);
    pushes[1] = (struct push){.picture = true};
    join_as(&pushes[0], &pushes[1], "show?rung=low");
    play(pushes, 3000);
    push_close(&pushes[0], true);
    settle(world);
    assert_int_equal(pushes[1].losses, 1);
    assert_non_null(strstr(pushes[1].why, "has ended"));
    play(pushes, 3500); /* what still comes harms nobody */
    end_pushes(world, pushes);
}

static void a_leading_push_that_is_lost_finds_its_rungs_again(void **state) {
    (void)state;
    struct push pushes[PUSHES];
    struct world *world = begin_pushes(pushes);
    pushes[1] = (struct push){.picture = true};
    join_as(&pushes[0], &pushes[1], "show?rung=low");
    play(pushes, 3000);
    push_close(&pushes[0], false);
    play(pushes, 4000);
    assert_int_equal(pushes[1].losses, 0);
    world->grant = (struct claim_grant){.epoch = 10,
                                        .next_msn = 200,
                                        .next_part = 700,
                                        .not_before_us = now_us,
                                        .resumes = true,
                                        .target_duration_ms = open_of(world)->target_duration_ms,
                                        .part_target_us = open_of(world)->part_target_us,
                                        .init_versions = 5};
    pushes[0].results = 0;
    push_open(world, &pushes[0], "show");
    configure(&pushes[0], avcc, sizeof avcc);
    for (int64_t ms = 4000; ms < 9000; ms += 200) {
        play(pushes, ms);
        publishers_sweep(world->ingest, loop_now_us(world->loop));
    }
    assert_int_equal(open_of(world)->track_count, 3);
    assert_int_equal(pushes[1].losses, 0);
    end_pushes(world, pushes);
}

static void without_a_leading_push_here_it_is_refused(void **state) {
    (void)state;
    struct push pushes[PUSHES];
    struct world *world = begin_pushes(pushes);
    pushes[1] = (struct push){.picture = true};
    join_as(&pushes[0], &pushes[1], "elsewhere?rung=low");
    play(pushes, 3000);
    sweep_after(world, 9);
    assert_int_equal(pushes[1].losses, 0);
    sweep_after(world, 11);
    assert_int_equal(pushes[1].losses, 1);
    assert_non_null(strstr(pushes[1].why, "must come to the same one"));
    end_pushes(world, pushes);
}

static void a_push_that_joins_is_refused_by_itself(void **state) {
    (void)state;
    static const struct {
        const char *name;
        enum publish_result result;
    } want[] = {{"show?rung=low", PUBLISH_DENIED},
                {"show?rung=low&key=wrong", PUBLISH_DENIED},
                {"show_low?key=other", PUBLISH_DENIED}, /* the key of the stream that it is a part of */
                {"show?rung=&key=secret", PUBLISH_BAD_NAME},
                {"show?rung=a/b&key=secret", PUBLISH_BAD_NAME},
                {"show?rung=low&audio=de&key=secret", PUBLISH_BAD_NAME},
                {"show?audio=much-too-long&key=secret", PUBLISH_BAD_NAME}};
    char *keys[] = {"live/show:secret", "live/show_low:other"}, *suffixes[] = {"_low"};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        struct push pushes[PUSHES];
        struct world *world = begin_pushes_with(pushes, (struct ingest_settings){.publish_keys = keys,
                                                                                 .publish_key_count = 2,
                                                                                 .rung_suffixes = suffixes,
                                                                                 .rung_suffix_count = 1});
        push_open(world, &pushes[1], want[i].name);
        if (pushes[1].result != want[i].result)
            fail_msg("%s: %d", want[i].name, pushes[1].result);
        end_pushes(world, pushes);
    }
}

static void a_name_may_say_that_it_is_a_rung(void **state) {
    (void)state;
    char *suffixes[] = {"_low", "_very_low"};
    struct push pushes[PUSHES];
    struct world *world =
        begin_pushes_with(pushes, (struct ingest_settings){.rung_suffixes = suffixes, .rung_suffix_count = 2});
    pushes[1] = (struct push){.picture = true};
    pushes[2] = (struct push){.picture = true};
    join_as(&pushes[0], &pushes[1], "show_low");
    join_as(&pushes[0], &pushes[2], "show_very_low");
    play(pushes, 5000);
    assert_int_equal(open_of(world)->track_count, 4);
    end_pushes(world, pushes);
}

static void one_of_a_label_and_so_many_of_a_stream(void **state) {
    (void)state;
    struct push pushes[PUSHES], more[JOIN_SEATS] = {0};
    struct world *world = begin_pushes(pushes);
    pushes[1] = (struct push){.picture = true};
    join_as(&pushes[0], &pushes[1], "show?rung=low");
    play(pushes, 2000);
    push_open(world, &pushes[2], "show?rung=low");
    assert_int_equal(pushes[2].result, PUBLISH_BUSY);
    for (int i = 0; i < JOIN_SEATS; i++) {
        char name[32];
        snprintf(name, sizeof name, "show?rung=r%d", i);
        push_open(world, &more[i], name);
        assert_int_equal(more[i].result, i + 1 < JOIN_SEATS ? PUBLISH_OK : PUBLISH_FULL);
    }
    for (int i = 0; i < JOIN_SEATS; i++)
        push_close(&more[i], true);
    assert_int_equal(pushes[1].losses, 0);
    end_pushes(world, pushes);
}

static void rubbish_ends_the_push_that_brings_it_alone(void **state) {
    (void)state;
    static const uint8_t rubbish[] = {0xff, 0xff, 0xff, 0xff, 0};
    struct push pushes[PUSHES];
    struct world *world = begin_pushes(pushes);
    pushes[1] = (struct push){.picture = true};
    join_as(&pushes[0], &pushes[1], "show?rung=low");
    play(pushes, 3000);
    const struct publisher_frame frame = {.kind = TRACK_VIDEO, .data = rubbish, .len = sizeof rubbish};
    for (int i = 0; i < 102; i++)
        publisher_frame(pushes[1].pub, &frame);
    settle(world);
    assert_int_equal(pushes[1].losses, 1);
    const struct publisher_frame stray = {.kind = TRACK_VIDEO, .track = JOIN_TRACK_FIRST, .data = idr, .len = 8};
    const struct publisher_config foreign = {.codec = CODEC_H264,
                                             .track = JOIN_TRACK_FIRST,
                                             .data = avcc,
                                             .len = sizeof avcc};
    publisher_config(pushes[0].pub, &foreign); /* the numbers of others are not the publisher's */
    publisher_frame(pushes[0].pub, &stray);
    publisher_track_end(pushes[0].pub, TRACK_VIDEO, JOIN_TRACK_FIRST);
    play(pushes, 6000);
    assert_int_equal(world->losses, 0);
    assert_int_equal(open_of(world)->track_count, 3);
    end_pushes(world, pushes);
}

/* It could take over at once before, and so it can afterwards. */
static void a_rung_that_leaves_a_backup_takes_nothing_from_it(void **state) {
    (void)state;
    struct push pushes[PUSHES];
    struct world *world = begin_pushes(pushes);
    pushes[1] = (struct push){.picture = true};
    join_as(&pushes[0], &pushes[1], "show?rung=low");
    play(pushes, 5300);
    world->on_result(world->owner, CLAIM_STANDBY, NULL);
    play(pushes, 8300);
    push_close(&pushes[1], false);
    sweep_after(world, 4); /* its place expires, in the middle of a second */
    uint32_t takes = world->takes;
    world->on_result(world->owner, CLAIM_VACANT, NULL);
    play(pushes, 8400);
    assert_int_equal(world->takes, takes + 1);
    end_pushes(world, pushes);
}

/* --- media that no muxer takes --- */

static void send_frame(struct push *push, enum track_kind kind, uint8_t track, int64_t us, bool independent,
                       const uint8_t *data, size_t len) {
    publisher_frame(push->pub, &(struct publisher_frame){.kind = kind,
                                                         .track = track,
                                                         .dts_us = us,
                                                         .pts_us = us,
                                                         .independent = independent,
                                                         .data = data,
                                                         .len = len});
}

/* Sound of the push's track, beside all that the others send. */
static void play_sound(struct push pushes[PUSHES], struct push *push, uint8_t track, int64_t from_ms, int64_t to_ms,
                       const uint8_t *data, size_t len) {
    int64_t us = from_ms * 1000;
    for (uint32_t n = 0; us < to_ms * 1000; us = from_ms * 1000 + ++n * INT64_C(64000) / 3) {
        play(pushes, us / 1000);
        send_frame(push, TRACK_AUDIO, track, us, true, data, len);
        if (n % 20 == 0)
            settle(push->world);
    }
    settle(push->world);
}

static void a_rung_in_vp9_is_as_large_as_its_key_frames_say(void **state) {
    (void)state;
    struct push pushes[PUSHES];
    struct world *world = begin_pushes(pushes);
    play(pushes, 3300);
    push_open(world, &pushes[1], "show?rung=low");
    publisher_config(pushes[1].pub, &(struct publisher_config){.codec = CODEC_VP9,
                                                               .data = sample_vp9.config.data,
                                                               .len = sample_vp9.config.len});
    for (int i = 0; i < 90; i++) {
        const struct sample_bytes *frame = &sample_vp9.frames[i % 3];
        play(pushes, 3300 + i * FRAME_MS);
        send_frame(&pushes[1], TRACK_VIDEO, 0, now_us - epoch_us, i % 3 == 0, frame->data, frame->len);
    }
    settle(world);
    assert_int_equal(world->losses + pushes[1].losses, 0);
    assert_int_equal(open_of(world)->track_count, 3);
    assert_int_equal(open_of(world)->tracks[1].width, 64);
    end_pushes(world, pushes);
}

static const uint8_t adts[200] = {0xff, 0xf1, 0x4c, 0x80};

static void sound_in_adts_ends_the_push_that_brings_it_alone(void **state) {
    (void)state;
    struct push pushes[PUSHES];
    struct world *world = begin_pushes(pushes);
    play(pushes, 1300);
    push_open(world, &pushes[1], "show?audio=de");
    pushes[1].sound = true;
    configure(&pushes[1], NULL, 0);
    pushes[1].sound = false; /* as ADTS instead */
    play_sound(pushes, &pushes[1], 0, 1300, 13000, adts, sizeof adts);
    assert_int_equal(world->losses, 0);
    assert_int_equal(pushes[1].losses, 1);
    assert_int_equal(open_of(world)->track_count, 2);
    end_pushes(world, pushes);
}

/* The longest that is let in: as a push's, and as the publisher's own. */
static void a_long_configuration_is_as_good_as_any(void **state) {
    (void)state;
    static const uint8_t large[4096] = {0x11, 0x90}, larger[4097] = {0x11, 0x90};
    struct push pushes[PUSHES];
    struct world *world = begin_pushes(pushes);
    publisher_config(pushes[0].pub,
                     &(struct publisher_config){.codec = CODEC_AAC, .track = 1, .data = large, .len = sizeof large});
    publisher_config(pushes[0].pub,
                     &(struct publisher_config){.codec = CODEC_AAC, .track = 2, .data = larger, .len = sizeof larger});
    play_sound(pushes, &pushes[0], 1, 0, 1300, aac, sizeof aac);
    push_open(world, &pushes[1], "show?audio=de");
    publisher_config(pushes[1].pub, &(struct publisher_config){.codec = CODEC_AAC, .data = large, .len = sizeof large});
    play_sound(pushes, &pushes[1], 0, 1300, 5000, aac, sizeof aac);
    push_open(world, &pushes[2], "show?audio=fr");
    publisher_config(pushes[2].pub,
                     &(struct publisher_config){.codec = CODEC_AAC, .data = larger, .len = sizeof larger});
    settle(world);
    assert_int_equal(world->losses + pushes[1].losses, 0);
    assert_int_equal(pushes[2].losses, 1);
    assert_int_equal(open_of(world)->track_count, 4);
    end_pushes(world, pushes);
}

static void a_rung_that_makes_no_init_ends_itself_alone(void **state) {
    (void)state;
    struct push pushes[PUSHES];
    struct world *world = begin_pushes(pushes);
    play(pushes, 3300);
    pushes[1] = (struct push){.picture = true, .from_ms = 3300, .pictures = pushes[0].pictures};
    join_as(&pushes[0], &pushes[1], "show?rung=low");
    refused_width = 320;
    play(pushes, 9000);
    settle(world);
    refused_width = 0;
    assert_int_equal(world->losses, 0);
    assert_int_equal(pushes[1].losses, 1);
    assert_non_null(strstr(pushes[1].why, "configuration"));
    assert_int_equal(world->opens, 1); /* nobody else has noticed */
    end_pushes(world, pushes);
}

static void a_rung_that_makes_no_chunks_ends_itself_alone(void **state) {
    (void)state;
    struct push pushes[PUSHES];
    struct world *world = begin_pushes(pushes);
    pushes[1] = (struct push){.picture = true};
    join_as(&pushes[0], &pushes[1], "show?rung=low");
    refused_id = 2; /* v1 */
    play(pushes, 5500);
    settle(world);
    refused_id = 0;
    assert_int_equal(pushes[1].losses, 1);
    assert_non_null(strstr(pushes[1].why, "muxed"));
    push_close(&pushes[1], false);
    play(pushes, 8000);
    assert_int_equal(open_of(world)->track_count, 2);
    uint32_t opens = world->opens;
    sweep_after(world, 4); /* its place is free already: that is no change */
    play(pushes, 11000);
    assert_int_equal(world->opens, opens);
    assert_int_equal(world->losses, 0);
    pushes[1] = (struct push){.picture = true, .from_ms = 11000, .pictures = pushes[0].pictures};
    join_as(&pushes[0], &pushes[1], "show?rung=low");
    play(pushes, 15000);
    assert_int_equal(open_of(world)->track_count, 3);
    assert_int_equal(pushes[1].losses + world->losses, 0);
    end_pushes(world, pushes);
}

/* Where they lead they are the publisher's end. */
static void tracks_that_make_no_chunks_are_left_out(void **state) {
    (void)state;
    for (uint32_t lead = 0; lead < 2; lead++) {
        struct push pushes[PUSHES];
        struct world *world = begin_pushes(pushes);
        refused_id = lead ? 1 : 101; /* v0; a0 */
        play(pushes, 14000);
        settle(world);
        refused_id = 0;
        assert_int_equal(world->losses, lead);
        assert_int_equal(open_of(world)->track_count, lead ? 2 : 1);
        end_pushes(world, pushes);
    }
}

static void own_tracks_that_make_no_init_are_left_out(void **state) {
    (void)state;
    struct push pushes[PUSHES];
    struct world *world = begin_pushes(pushes);
    const struct publisher_config config = {.codec = CODEC_H264,
                                            .track = 1,
                                            .data = avcc_small,
                                            .len = sizeof avcc_small};
    publisher_config(pushes[0].pub, &config);
    refused_width = 320;
    for (int64_t n = 0; n < 100; n++) {
        play(pushes, n * FRAME_MS);
        bool key = n % FPS == 0;
        send_frame(&pushes[0], TRACK_VIDEO, 1, now_us - epoch_us, key, key ? idr : inter, sizeof idr);
    }
    refused_width = 0;
    play(pushes, 6000);
    assert_int_equal(world->losses, 0);
    assert_int_equal(world->opens, 1);
    assert_int_equal(open_of(world)->track_count, 2);
    end_pushes(world, pushes);
}

static void own_sound_in_adts_is_left_out(void **state) {
    (void)state;
    struct push pushes[PUSHES];
    struct world *world = begin_pushes(pushes);
    publisher_config(pushes[0].pub,
                     &(struct publisher_config){.codec = CODEC_AAC, .track = 1, .data = asc, .len = sizeof asc});
    play_sound(pushes, &pushes[0], 1, 0, 2000, aac, sizeof aac);
    assert_int_equal(open_of(world)->track_count, 3);
    play_sound(pushes, &pushes[0], 1, 2000, 14000, adts, sizeof adts);
    assert_int_equal(world->losses, 0);
    assert_int_equal(open_of(world)->track_count, 2);
    assert_int_equal(world->opens, 2);
    end_pushes(world, pushes);
}

int main(void) {
    ingest_metrics_register();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rungs_that_are_there_from_the_start_are_no_discontinuity),
        cmocka_unit_test(a_rung_may_come_late_and_go_early),
        cmocka_unit_test(a_rung_that_is_back_at_once_goes_on),
        cmocka_unit_test(misaligned_rungs_are_what_they_are),
        cmocka_unit_test(a_rung_that_is_too_late_holds_up_nobody),
        cmocka_unit_test(clocks_of_their_own_are_compared_by_arrival),
        cmocka_unit_test(an_interpreter_is_a_sound_of_the_stream),
        cmocka_unit_test(an_interpreters_sound_is_what_all_can_play),
        cmocka_unit_test(a_push_of_sound_alone_has_others_too),
        cmocka_unit_test(the_leading_push_ends_all),
        cmocka_unit_test(a_leading_push_that_is_lost_finds_its_rungs_again),
        cmocka_unit_test(without_a_leading_push_here_it_is_refused),
        cmocka_unit_test(a_push_that_joins_is_refused_by_itself),
        cmocka_unit_test(a_name_may_say_that_it_is_a_rung),
        cmocka_unit_test(one_of_a_label_and_so_many_of_a_stream),
        cmocka_unit_test(rubbish_ends_the_push_that_brings_it_alone),
        cmocka_unit_test(a_rung_that_leaves_a_backup_takes_nothing_from_it),
        cmocka_unit_test(a_rung_in_vp9_is_as_large_as_its_key_frames_say),
        cmocka_unit_test(sound_in_adts_ends_the_push_that_brings_it_alone),
        cmocka_unit_test(a_long_configuration_is_as_good_as_any),
        cmocka_unit_test(a_rung_that_makes_no_init_ends_itself_alone),
        cmocka_unit_test(a_rung_that_makes_no_chunks_ends_itself_alone),
        cmocka_unit_test(tracks_that_make_no_chunks_are_left_out),
        cmocka_unit_test(own_tracks_that_make_no_init_are_left_out),
        cmocka_unit_test(own_sound_in_adts_is_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
