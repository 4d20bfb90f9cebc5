#include "ingest/advice.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(struct advice) <= 2048, "each publisher has one");

enum {
    SECOND_US = 1000000,
    BUCKET_US = 3 * SECOND_US,
    HALF_US = 5 * SECOND_US, /* of the time that jitter is measured over */
    SLOT_US = 10 * SECOND_US,
    JUMP_US = 10 * SECOND_US,  /* a clock that does is another one */
    SILENT_US = 5 * SECOND_US, /* a track that is can't be measured: the next one is */
    FRAMES_MIN = 60,           /* to judge by */
    ODD_STEPS_MAX = 12,        /* in a row: the frame rate is another one */
    REORDER_MIN_US = 2000,     /* less is rounding */
};

/* A finding comes when its value has been at `hint` (`warn`) for `rise_s` in a row, and goes when it has been below
 * `clear` for `fall_s`. */
static const struct rule {
    const char *name, *unit;
    double hint, warn, clear;
    uint8_t rise_s, fall_s;
    const char *text;
} rules[ADVICE_COUNT] = {
    [ADVICE_KEYFRAME_INTERVAL] = {"keyframe_interval", "s", 2.1, 4.2, 2.05, 1, 5,
                                  "Set Keyframe Interval to 1 s (Output, Streaming; 0 is automatic, about 8 s): "
                                  "viewers can begin, and come back, only at a key frame."},
    [ADVICE_KEYFRAME_IRREGULAR] =
        {"keyframe_irregular", "s", 0.6, 1e9, 0.3, 8, 15,
         "Key frames come at odd times: set Keyframe Interval to 1 s, and with x264 add scenecut=0 to x264 Options."},
    [ADVICE_B_FRAMES] = {"b_frames", "ms", 2, 1e9, 2, 2, 5,
                         "Set B-Frames to 0 (x264: Tune zerolatency, or bf=0 in x264 Options): they cost the delay "
                         "that is shown here."},
    [ADVICE_JITTER] = {"jitter", "ms", 120, 400, 80, 3, 15,
                       "Frames arrive in bursts: use a cable instead of Wi-Fi, and keep other uploads off the line."},
    [ADVICE_BITRATE_SWINGS] =
        {"bitrate_swings", "x", 1.8, 3, 1.5, 3, 30,
         "Set Rate Control to CBR: peaks like these fill the line, and viewers' lines, when the picture moves."},
    [ADVICE_UPLINK] = {"uplink", "ms", 400, 1000, 200, 3, 10,
                       "The line to this server doesn't carry the bitrate: lower Video Bitrate, or choose Dynamically "
                       "change bitrate to manage congestion "
                       "(Advanced, Network)."},
    [ADVICE_AUDIO_MISSING] = {"audio_missing", "s", 5, 1e9, 3, 1, 1,
                              "No sound comes: is a source in the Audio Mixer, and is the stream's Audio Track ticked "
                              "in Advanced Audio Properties?"},
    [ADVICE_FRAME_RATE] = {"frame_rate", "%", 5, 20, 2, 3, 15,
                           "Pictures are missing or come at uneven times: look at Stats for skipped and dropped "
                           "frames, choose a faster preset or a lower Output "
                           "(Scaled) Resolution, and a whole FPS value."},
    [ADVICE_AV_OFFSET] = {"av_offset", "ms", 400, 1000, 250, 3, 10,
                          "Sound and picture bear different times: set Sync Offset to 0 in Advanced Audio Properties, "
                          "and stop and start streaming."},
    [ADVICE_TIMESTAMPS] = {"timestamps", "frames", 10, 100, 3, 1, 10,
                           "Times go back or stand still and are repaired: let one encoder stamp sound and picture, "
                           "and use a constant frame rate."},
    [ADVICE_MISALIGNED] = {"misaligned", "tracks", 1, 1, 1, 3, 10,
                           "Renditions have key frames at other times than the first picture, so players can't change "
                           "to them smoothly: encode all of them with one encoder and the same Keyframe Interval."},
};

const char *advice_code_name(enum advice_code code) {
    return rules[code].name;
}

const char *advice_unit(enum advice_code code) {
    return rules[code].unit;
}

const char *advice_text(enum advice_code code) {
    return rules[code].text;
}

const char *advice_level_name(enum advice_level level) {
    static const char *const names[] = {"none", "hint", "warn"};
    return names[level];
}

/* --- clocks and lateness --- */

static void clock_start(struct advice_clock *clock, uint8_t track) {
    *clock = (struct advice_clock){.track = track, .slot = INT64_MIN, .floor_us = INT64_MAX};
}

/* The least of the last minute, the ten seconds under way included. */
static void clock_floor(struct advice_clock *clock, int64_t arrived_us, int64_t late_us) {
    int64_t slot = arrived_us / SLOT_US;
    int64_t first = clock->slot < slot - ADVICE_FLOORS ? slot - ADVICE_FLOORS : clock->slot;
    for (int64_t s = first + 1; s <= slot; s++)
        clock->floors[(uint64_t)s % ADVICE_FLOORS] = INT64_MAX;
    int64_t *floor = &clock->floors[(uint64_t)slot % ADVICE_FLOORS];
    if (late_us < *floor)
        *floor = late_us;
    if (late_us < clock->floor_us)
        clock->floor_us = late_us;
    if (slot == clock->slot)
        return;
    clock->slot = slot;
    clock->floor_us = INT64_MAX;
    for (int i = 0; i < ADVICE_FLOORS; i++)
        if (clock->floors[i] < clock->floor_us)
            clock->floor_us = clock->floors[i];
}

static bool clock_jumped(const struct advice_clock *clock, int64_t late_us) {
    return llabs(late_us - clock->late_us) > JUMP_US;
}

/* Upper ends, in ms; the last bin has none. */
static const uint16_t bin_ends_ms[ADVICE_BINS - 1] = {5,   10,  15,  20,  30,  40,  50,  60,   80,   100,  125, 150,
                                                      175, 200, 250, 300, 400, 500, 700, 1000, 1500, 2000, 3000};

static int bin_of(int64_t late_us) {
    int bin = 0;
    while (bin < ADVICE_BINS - 1 && late_us > bin_ends_ms[bin] * INT64_C(1000))
        bin++;
    return bin;
}

/* The end of the bin below which `share` of all frames are, in ms. */
static double jitter_of(const struct advice *advice, double share) {
    uint32_t total = 0, below = 0;
    int bin = 0;
    for (int i = 0; i < ADVICE_BINS; i++)
        total += (uint32_t)(advice->bins[0][i] + advice->bins[1][i]);
    for (; bin < ADVICE_BINS - 2; bin++) {
        below += (uint32_t)(advice->bins[0][bin] + advice->bins[1][bin]);
        if (below >= share * total)
            break;
    }
    return bin_ends_ms[bin];
}

/* The least lateness, which may grow by a fifth of the time: media that comes later and later is another fault. */
static int64_t jitter_base(struct advice *advice, int64_t arrived_us, int64_t late_us) {
    int64_t grown_us = advice->base_us + (arrived_us - advice->based_us) / 5;
    advice->base_us = advice->based_us && grown_us < late_us ? grown_us : late_us;
    advice->based_us = arrived_us;
    return advice->base_us;
}

static void count_jitter(struct advice *advice, int64_t arrived_us, int64_t late_us) {
    if (arrived_us - advice->bins_us >= HALF_US) {
        bool next = arrived_us - advice->bins_us < 2 * HALF_US;
        if (next)
            memcpy(advice->bins[1], advice->bins[0], sizeof advice->bins[0]);
        else
            memset(advice->bins[1], 0, sizeof advice->bins[1]);
        memset(advice->bins[0], 0, sizeof advice->bins[0]);
        advice->bins_us = arrived_us;
    }
    uint16_t *bin = &advice->bins[0][bin_of(late_us - jitter_base(advice, arrived_us, late_us))];
    *bin += *bin < UINT16_MAX;
}

/* --- pictures --- */

/* How far apart pictures are is learnt, not believed. */
static void measure_step(struct advice *advice, int64_t step_us) {
    struct advice_bucket *bucket = &advice->buckets[0];
    bucket->frames++;
    if (step_us <= 0 || step_us > SECOND_US) {
        bucket->uneven++;
        return;
    }
    int64_t off_us = step_us - advice->step_us;
    if (advice->step_us && llabs(off_us) * 4 <= advice->step_us) {
        advice->step_us = (uint32_t)(advice->step_us + off_us / 16);
        advice->odd_steps = 0;
        return;
    }
    bucket->uneven += advice->step_us != 0;
    if (!advice->step_us || ++advice->odd_steps > ODD_STEPS_MAX) {
        advice->step_us = (uint32_t)step_us;
        advice->odd_steps = 0;
    }
}

static void measure_key(struct advice *advice, int64_t dts_us) {
    int64_t gap_us = advice->key_us == INT64_MIN ? 0 : dts_us - advice->key_us;
    if (gap_us > 0)
        advice->key_gaps_ms[advice->key_gap_count++ % ADVICE_KEY_GAPS] =
            gap_us < INT64_C(3600) * SECOND_US ? (uint32_t)(gap_us / 1000) : UINT32_MAX;
    advice->key_us = dts_us;
}

static void measure_picture(struct advice *advice, const struct advice_frame *frame) {
    struct advice_bucket *bucket = &advice->buckets[0];
    if (advice->video.started)
        measure_step(advice, frame->dts_us - advice->video.dts_us);
    if (frame->independent)
        measure_key(advice, frame->dts_us);
    int64_t reorder_us = frame->pts_us - frame->dts_us;
    if (reorder_us > bucket->reorder_us && reorder_us < JUMP_US)
        bucket->reorder_us = (uint32_t)reorder_us;
}

/* --- judging --- */

static void judge(struct advice *advice, enum advice_code code, double value) {
    const struct rule *rule = &rules[code];
    struct advice_state *state = &advice->states[code];
    double size = value < 0 ? -value : value;
    uint8_t level = size >= rule->warn ? ADVICE_WARN : size >= rule->hint ? ADVICE_HINT : ADVICE_NONE;
    state->value = value;
    state->bad_s = level > state->level ? state->bad_s + 1 : 0;
    state->good_s = state->level && size < rule->clear ? state->good_s + 1 : 0;
    if (state->bad_s >= rule->rise_s) {
        state->level = level;
        state->bad_s = 0;
    } else if (state->good_s >= rule->fall_s) {
        state->level = ADVICE_NONE;
        state->good_s = 0;
    }
}

static void judge_keys(struct advice *advice) {
    uint32_t count = advice->key_gap_count < ADVICE_KEY_GAPS ? advice->key_gap_count : ADVICE_KEY_GAPS;
    uint32_t least = UINT32_MAX, most = 0;
    double running = advice->key_us == INT64_MIN ? 0 : (double)(advice->video.dts_us - advice->key_us) / SECOND_US;
    for (uint32_t i = 0; i < count; i++) {
        least = advice->key_gaps_ms[i] < least ? advice->key_gaps_ms[i] : least;
        most = advice->key_gaps_ms[i] > most ? advice->key_gaps_ms[i] : most;
    }
    double last = count ? advice->key_gaps_ms[(advice->key_gap_count - 1) % ADVICE_KEY_GAPS] / 1e3 : 0;
    judge(advice, ADVICE_KEYFRAME_INTERVAL, running > last ? running : last);
    judge(advice, ADVICE_KEYFRAME_IRREGULAR, count == ADVICE_KEY_GAPS ? (most - least) / 1e3 : 0);
}

struct sums {
    uint64_t bytes; /* of whole buckets */
    int64_t media_us;
    double most_rate; /* bytes a microsecond */
    uint32_t frames, uneven, reorder_us, repairs;
};

static struct sums sum(const struct advice *advice) {
    struct sums sums = {0};
    for (uint32_t i = 0; i < advice->bucket_count; i++) {
        const struct advice_bucket *bucket = &advice->buckets[i];
        sums.frames += bucket->frames;
        sums.uneven += bucket->uneven;
        sums.repairs += bucket->repairs;
        if (i < 4 && bucket->reorder_us > sums.reorder_us)
            sums.reorder_us = bucket->reorder_us;
        if (i == 0)
            continue;
        sums.bytes += bucket->bytes;
        sums.media_us += bucket->media_us;
        double rate = bucket->media_us >= SECOND_US ? (double)bucket->bytes / (double)bucket->media_us : 0;
        if (rate > sums.most_rate)
            sums.most_rate = rate;
    }
    return sums;
}

/* Of sound alone, what is judged of pictures isn't. */
static void judge_pictures(struct advice *advice, const struct sums *sums, int64_t now_us) {
    const struct advice_clock *audio = &advice->audio;
    if (!advice->video.started)
        return;
    judge_keys(advice);
    judge(advice, ADVICE_B_FRAMES, sums->reorder_us > REORDER_MIN_US ? sums->reorder_us / 1e3 : 0);
    if (sums->frames >= FRAMES_MIN)
        judge(advice, ADVICE_FRAME_RATE, 100.0 * sums->uneven / sums->frames);
    int64_t since_us = audio->started ? audio->dts_us + audio->late_us : advice->started_us;
    judge(advice, ADVICE_AUDIO_MISSING, (double)(now_us - since_us) / SECOND_US);
    if (audio->floor_us != INT64_MAX && advice->video.floor_us != INT64_MAX)
        judge(advice, ADVICE_AV_OFFSET, (double)(advice->video.floor_us - audio->floor_us) / 1e3);
}

static void judge_all(struct advice *advice, int64_t now_us) {
    struct sums sums = sum(advice);
    const struct advice_clock *lead = advice->video.started ? &advice->video : &advice->audio;
    uint32_t whole = advice->bucket_count - 1;
    judge_pictures(advice, &sums, now_us);
    if (whole >= 3 && sums.bytes)
        judge(advice, ADVICE_BITRATE_SWINGS, sums.most_rate * (double)sums.media_us / (double)sums.bytes);
    judge(advice, ADVICE_TIMESTAMPS, sums.repairs);
    judge(advice, ADVICE_MISALIGNED, advice->misaligned);
    judge(advice, ADVICE_JITTER, jitter_of(advice, 0.95));
    if (whole >= 1 && advice->buckets[1].late_us != INT64_MAX && lead->floor_us != INT64_MAX)
        judge(advice, ADVICE_UPLINK, (double)(advice->buckets[1].late_us - lead->floor_us) / 1e3);
}

/* --- media in --- */

static void begin(struct advice *advice, int64_t now_us) {
    advice->started = true;
    advice->started_us = advice->judged_us = advice->bucket_us = advice->bins_us = now_us;
    advice->bucket_count = 1;
    advice->buckets[0] = (struct advice_bucket){.late_us = INT64_MAX};
    advice->key_us = INT64_MIN;
    advice->key_gap_count = advice->odd_steps = advice->step_us = 0;
    memset(advice->bins, 0, sizeof advice->bins);
    advice->based_us = 0;
    clock_start(&advice->video, UINT8_MAX);
    clock_start(&advice->audio, UINT8_MAX);
}

/* What was found stays, until what is measured from here on says otherwise. */
void advice_init(struct advice *advice) {
    *advice = (struct advice){0};
}

static void next_bucket(struct advice *advice, int64_t now_us) {
    memmove(advice->buckets + 1, advice->buckets, sizeof advice->buckets - sizeof *advice->buckets);
    advice->buckets[0] = (struct advice_bucket){.late_us = INT64_MAX};
    advice->bucket_count += advice->bucket_count < ADVICE_BUCKETS;
    advice->bucket_us = now_us;
}

/* Whether it was judged. */
static bool pass_time(struct advice *advice, int64_t now_us) {
    if (!advice->started)
        begin(advice, now_us);
    if (now_us - advice->bucket_us >= BUCKET_US)
        next_bucket(advice, now_us);
    if (now_us - advice->judged_us < SECOND_US)
        return false;
    judge_all(advice, now_us);
    advice->judged_us = now_us;
    return true;
}

static void measure_clock(struct advice *advice, struct advice_clock *clock, const struct advice_frame *frame) {
    int64_t late_us = frame->arrived_us - frame->dts_us;
    bool leads = clock == &advice->video || !advice->video.started;
    int64_t step_us = frame->dts_us - clock->dts_us;
    if (leads && clock->started && step_us > 0 && step_us < JUMP_US)
        advice->buckets[0].media_us += step_us;
    clock->dts_us = frame->dts_us;
    clock->late_us = late_us;
    clock->started = true;
    clock_floor(clock, frame->arrived_us, late_us);
    if (!leads)
        return;
    count_jitter(advice, frame->arrived_us, late_us);
    if (late_us < advice->buckets[0].late_us)
        advice->buckets[0].late_us = late_us;
}

bool advice_frame(struct advice *advice, const struct advice_frame *frame) {
    struct advice_clock *clock = frame->kind == TRACK_VIDEO ? &advice->video : &advice->audio;
    bool judged = pass_time(advice, frame->arrived_us);
    advice->buckets[0].bytes += frame->bytes;
    bool silent = clock->started && frame->arrived_us - clock->dts_us - clock->late_us > SILENT_US;
    if (clock->started && frame->track > clock->track && !silent)
        return judged;
    if (clock->started && (frame->track != clock->track || clock_jumped(clock, frame->arrived_us - frame->dts_us)))
        begin(advice, frame->arrived_us);
    clock->track = frame->track;
    if (frame->kind == TRACK_VIDEO)
        measure_picture(advice, frame);
    measure_clock(advice, clock, frame);
    return judged;
}

void advice_repairs(struct advice *advice, uint64_t repaired) {
    if (repaired > advice->repaired)
        advice->buckets[0].repairs += (uint32_t)(repaired - advice->repaired);
    advice->repaired = repaired;
}

void advice_misaligned(struct advice *advice, uint32_t pictures) {
    advice->misaligned = pictures;
}

/* --- findings --- */

bool advice_get(const struct advice *advice, enum advice_code code, struct advice_finding *ret_finding) {
    const struct advice_state *state = &advice->states[code];
    *ret_finding = (struct advice_finding){code, (enum advice_level)state->level, state->value};
    return state->level != ADVICE_NONE;
}

bool advice_next_change(struct advice *advice, struct advice_finding *ret_finding) {
    for (int code = 0; code < ADVICE_COUNT; code++) {
        struct advice_state *state = &advice->states[code];
        if (state->level == state->told)
            continue;
        state->told = state->level;
        advice_get(advice, (enum advice_code)code, ret_finding);
        return true;
    }
    return false;
}
