/* A publisher's clock and what can be wrong with it: makes the frames of random streams, with faults by name, for tests that
 * hold whatever comes out to the same properties. Seeded, so that each failure can be had again. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/media/record.h"

enum fault {
    FAULT_NONE,
    FAULT_EQUAL,         /* single pictures have their predecessor's time */
    FAULT_STUCK,         /* ten in a row have */
    FAULT_BACKWARD,      /* single pictures have a time of up to a second before */
    FAULT_FORWARD,       /* or of up to a second ahead */
    FAULT_FAR,           /* or of any time, up to hours away */
    FAULT_STEP_BACK,     /* both clocks go back by up to a second, and on from there */
    FAULT_STEP_FORWARD,  /* forward likewise */
    FAULT_SOUND_ASTRAY,  /* single frames of sound have any time */
    FAULT_SOUND_STEP,    /* the sound's clock alone jumps by seconds or hours */
    FAULT_SOUND_MISSING, /* for a while */
    FAULT_SHORT_SILENCE, /* nothing at all for up to two seconds, then what is of that time */
    FAULT_NO_OFFSET,     /* pictures to be shown before they are decoded, or hours later */
    FAULT_SMALL_END,     /* --- those above are small, those below break the timeline --- */
    FAULT_JUMP_BACK,     /* both clocks go back by more than a second */
    FAULT_JUMP_FORWARD,  /* or forward by more than the longest hole */
    FAULT_PICTURE_MISSING, /* longer than the longest hole */
    FAULT_COUNT,
};

static const char *const fault_names[FAULT_COUNT] = {
    "none", "equal", "stuck", "backward", "forward", "far", "step_back", "step_forward", "sound_astray", "sound_step", "sound_missing",
    "short_silence", "no_offset", "", "jump_back", "jump_forward", "picture_missing",
};

struct fault_rate {
    uint32_t frames, per_s; /* frames / per_s a second */
    uint32_t milli;         /* as it is announced */
};

static const struct fault_rate fault_rates[] = {
    {24000, 1001, 23976}, {24, 1, 24000}, {25, 1, 25000}, {30000, 1001, 29970}, {30, 1, 30000},
    {48, 1, 48000},       {50, 1, 50000}, {60000, 1001, 59940}, {60, 1, 60000}, {90, 1, 90000},
    {100, 1, 100000},     {120000, 1001, 119880}, {120, 1, 120000},
};

static const struct fault_sound {
    uint32_t hz, samples;
} fault_sounds[] = {{48000, 1024}, {44100, 1024}, {32000, 1024}, {48000, 2048}, {44100, 2048}, {48000, 960}};

struct fault_frame {
    enum track_kind kind;
    int64_t true_us;         /* when it was captured; 0 is the stream's begin */
    int64_t dts_us, pts_us;  /* what the publisher says, wrong or not */
    int64_t arrived_us;      /* like true_us */
    int64_t number;          /* of its track */
    bool faulty;             /* its own time is wrong; what comes after may be right */
};

struct fault_source {
    uint32_t seed;
    struct fault_rate rate;
    bool variable; /* the frame rate */
    struct fault_sound sound;
    bool has_video, has_audio;
    uint32_t b_frames;     /* offset of pictures, in frames: 0, or 1 to 5 in turn */
    uint32_t unit_us;      /* of its clock: 1000 in RTMP, 11 in MPEG-TS: 90 kHz */
    int64_t jitter_us;     /* of arrival */
    int64_t ahead_us;      /* sound is sent so much before the picture of its time */
    int32_t drift_ppm;
    int64_t clock_us;      /* what the publisher's clock says at the begin */
    int64_t sound_off_us;  /* of the sound's clock */
    /* the fault under way, if any */
    enum fault fault;
    int64_t fault_us;      /* true time of it */
    int64_t size_us;
    uint32_t left;         /* frames */
    /* where it is */
    int64_t video_n, audio_n, video_us, last_video_dts_us, last_arrived_us;
};

static inline uint32_t fault_random(struct fault_source *s, uint32_t below) {
    s->seed = s->seed * 1664525 + 1013904223;
    return (uint32_t)(((uint64_t)(s->seed >> 8) * below) >> 24);
}

static inline int64_t fault_between(struct fault_source *s, int64_t low, int64_t high) {
    return low + (int64_t)fault_random(s, (uint32_t)(high - low + 1));
}

static inline void fault_source_init(struct fault_source *s, uint32_t seed) {
    *s = (struct fault_source){.seed = seed * 2654435761u + 1, .has_video = true, .has_audio = true};
    fault_random(s, 2);
    s->rate = fault_rates[fault_random(s, sizeof fault_rates / sizeof *fault_rates)];
    s->sound = fault_sounds[fault_random(s, sizeof fault_sounds / sizeof *fault_sounds)];
    s->b_frames = fault_random(s, 3) ? 0 : 1;
    s->unit_us = fault_random(s, 2) ? 1000 : 11;
    s->jitter_us = fault_random(s, 3) * 40000;
    s->ahead_us = fault_between(s, -60000, 60000);
    s->clock_us = fault_between(s, 0, 1000000) * 1000;
}

static inline int64_t fault_video_at(const struct fault_source *s, int64_t n) {
    return n * 1000000 * s->rate.per_s / s->rate.frames;
}

static inline int64_t fault_audio_at(const struct fault_source *s, int64_t n) {
    return n * 1000000 * s->sound.samples / s->sound.hz;
}

/* In the clock's unit; 90 kHz exactly, not 11 µs. */
static inline int64_t fault_rounded(const struct fault_source *s, int64_t us) {
    if (s->unit_us == 1000)
        return (us + (us >= 0 ? 500 : -500)) / 1000 * 1000;
    int64_t ts = (us * 9 + (us >= 0 ? 50 : -50)) / 100;
    return (ts * 100 + (ts >= 0 ? 4 : -4)) / 9;
}

/* From `at_us` on. What `size_us` is depends on the fault; 0: something that fits. */
static inline void fault_begin(struct fault_source *s, enum fault fault, int64_t at_us) {
    s->fault = fault;
    s->fault_us = at_us;
    s->left = fault == FAULT_STUCK ? 10 : fault == FAULT_NO_OFFSET ? 5 : 1;
    bool back = fault_random(s, 2);
    switch (fault) {
    case FAULT_BACKWARD:
    case FAULT_STEP_BACK:
        s->size_us = fault_between(s, 1000, 990000);
        break;
    case FAULT_FORWARD:
    case FAULT_STEP_FORWARD:
        s->size_us = fault_between(s, 1000, 950000);
        break;
    case FAULT_FAR:
    case FAULT_SOUND_ASTRAY:
    case FAULT_SOUND_STEP:
        s->size_us = fault_between(s, 1500, 100000) * (fault_random(s, 2) ? 1000 : 36000) * (back ? -1 : 1);
        break;
    case FAULT_SOUND_MISSING:
        s->size_us = fault_between(s, 50, 4000) * 1000;
        break;
    case FAULT_SHORT_SILENCE:
        s->size_us = fault_between(s, 100, 1800) * 1000;
        break;
    case FAULT_JUMP_BACK:
        s->size_us = fault_between(s, 1100, 90000) * (fault_random(s, 2) ? 1000 : 100000);
        break;
    case FAULT_JUMP_FORWARD:
        s->size_us = fault_between(s, 2200, 90000) * (fault_random(s, 2) ? 1000 : 100000);
        break;
    case FAULT_PICTURE_MISSING:
        s->size_us = fault_between(s, 2200, 6000) * 1000;
        break;
    default:
        s->size_us = 0;
    }
}

static inline void fault_over(struct fault_source *s) {
    if (!--s->left)
        s->fault = FAULT_NONE;
}

/* What befalls the clock itself, or all that is sent of the leading track; false when the frame isn't sent. */
static inline bool fault_lead(struct fault_source *s, struct fault_frame *frame) {
    if (s->fault == FAULT_NONE || frame->true_us < s->fault_us)
        return true;
    if (s->fault == FAULT_PICTURE_MISSING && frame->true_us < s->fault_us + s->size_us)
        return false;
    if (s->fault == FAULT_STEP_BACK || s->fault == FAULT_JUMP_BACK)
        s->clock_us -= s->size_us;
    else if (s->fault == FAULT_STEP_FORWARD || s->fault == FAULT_JUMP_FORWARD)
        s->clock_us += s->size_us;
    else if (s->fault != FAULT_PICTURE_MISSING)
        return true;
    s->fault = FAULT_NONE;
    return true;
}

static inline int64_t fault_drifted(const struct fault_source *s, int64_t us) {
    return us + us / 1000 * s->drift_ppm / 1000;
}

/* The picture's times; false when it isn't sent. */
static inline bool fault_video(struct fault_source *s, struct fault_frame *frame) {
    static const uint8_t order[] = {2, 4, 2, 1, 1};
    int64_t offset = s->b_frames ? order[frame->number % 5] : 0;
    if (!fault_lead(s, frame))
        return false;
    bool now = s->fault != FAULT_NONE && frame->true_us >= s->fault_us;
    frame->dts_us = fault_rounded(s, s->clock_us + fault_drifted(s, frame->true_us));
    frame->pts_us = fault_rounded(s, s->clock_us + fault_drifted(s, frame->true_us) + fault_video_at(s, offset));
    if (now && s->fault >= FAULT_EQUAL && s->fault <= FAULT_FAR) {
        int64_t size_us = fault_rounded(s, s->size_us);
        offset = frame->pts_us - frame->dts_us;
        frame->dts_us = s->fault == FAULT_FORWARD || s->fault == FAULT_FAR ? frame->dts_us + size_us
                        : s->fault == FAULT_BACKWARD ? s->last_video_dts_us - size_us
                                                     : s->last_video_dts_us;
        frame->pts_us = frame->dts_us + offset;
        frame->faulty = true;
        fault_over(s);
    } else if (now && s->fault == FAULT_NO_OFFSET) {
        frame->pts_us = frame->dts_us + (fault_random(s, 2) ? -66000 : 7200000000);
        frame->faulty = true;
        fault_over(s);
    }
    s->last_video_dts_us = frame->dts_us;
    return true;
}

static inline bool fault_audio(struct fault_source *s, struct fault_frame *frame) {
    if (!s->has_video && !fault_lead(s, frame))
        return false;
    bool now = s->fault != FAULT_NONE && frame->true_us >= s->fault_us;
    if (now && s->fault == FAULT_SOUND_STEP) {
        s->sound_off_us += s->size_us;
        s->fault = FAULT_NONE;
    } else if (now && s->fault == FAULT_SOUND_MISSING) {
        if (frame->true_us < s->fault_us + s->size_us)
            return false;
        s->fault = FAULT_NONE;
    }
    frame->dts_us = fault_rounded(s, s->clock_us + s->sound_off_us + fault_drifted(s, frame->true_us));
    if (now && s->fault == FAULT_SOUND_ASTRAY) {
        frame->dts_us += s->size_us;
        frame->faulty = true;
        s->fault = FAULT_NONE;
    }
    frame->pts_us = frame->dts_us;
    return true;
}

/* The next frame that is sent. */
static inline void fault_next(struct fault_source *s, struct fault_frame *frame) {
    for (;;) {
        int64_t audio_us = fault_audio_at(s, s->audio_n);
        bool video = s->has_video && (!s->has_audio || s->video_us <= audio_us - s->ahead_us);
        *frame = (struct fault_frame){.kind = video ? TRACK_VIDEO : TRACK_AUDIO,
                                      .true_us = video ? s->video_us : audio_us,
                                      .number = video ? s->video_n : s->audio_n};
        if (video) {
            s->video_n++;
            s->video_us = s->variable ? s->video_us + fault_between(s, 12000, 70000) : fault_video_at(s, s->video_n);
        } else {
            s->audio_n++;
        }
        int64_t due_us = frame->true_us + (s->jitter_us ? fault_between(s, 0, s->jitter_us) : 0);
        if (s->fault == FAULT_SHORT_SILENCE && frame->true_us >= s->fault_us) {
            if (frame->true_us < s->fault_us + s->size_us)
                continue;
            s->fault = FAULT_NONE;
        }
        frame->arrived_us = s->last_arrived_us = due_us > s->last_arrived_us ? due_us : s->last_arrived_us;
        if (video ? fault_video(s, frame) : fault_audio(s, frame))
            return;
    }
}
