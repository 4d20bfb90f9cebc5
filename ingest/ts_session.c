#include "ingest/ts_session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/base/metrics.h"
#include "ingest/adts.h"
#include "ingest/annexb.h"
#include "ingest/ingest.h"
#include "ingest/language.h"
#include "ingest/opus.h"
#include "ingest/opus_ts.h"
#include "ingest/ts.h"

enum state {
    CLAIMING,   /* the publisher's result is awaited; input is held */
    PUBLISHING, /* input is media */
    LOST,       /* on_lost is due or done, or the claim was refused; input is ignored */
};

enum {
    HELD_DROP = TS_SESSION_HELD_MAX / 4, /* at once, or each datagram would move all that is held */
    OFFSET_MAX_TS = 10 * TS_HZ,          /* from decoding to presentation: a stamp that is wrong */
    NOTHING_FOUND_BYTES = 4 << 20,       /* so much without a programme is no transport stream */
    KEYS_MAX = 20,                       /* key pictures in a row without parameter sets that can be used */
    KEYLESS_MAX_S = 20,                  /* of pictures, while a key picture is waited for */
    UNTIMED_MAX = 20,                    /* pieces of pictures that can't be put together */
    TIMED_AGAIN = 500,                   /* so many pictures in a row that have a time make good for those */
};

/* One of the programme's sounds; by its place in there it is known to the publisher. */
struct audio {
    struct ts_stream stream; /* pid 0: there is none */
    bool configured;         /* the publisher has its configuration */
    struct adts adts;        /* AAC */
    bool has_time;           /* Opus: */
    int64_t next_us;
};

/* Of what is below, since it began; what began anew counts from 0. */
struct counted {
    uint64_t losses, packets, sections, sets;    /* the last three: malformed */
    uint64_t pes, pes_cut, sounds[TS_AUDIO_MAX]; /* dropped */
};

struct ts_session {
    enum state state;
    struct ts_session_events events;
    void *ctx;
    char stream[160], peer[64];
    enum publish_result result;
    bool result_due; /* to be told */
    char why[128];   /* it is lost; to be told */
    struct publisher *publisher;
    struct loop_timer *tell_timer;
    struct buf held;
    struct ts *ts;
    struct counted counted; /* in metrics */
    struct annexb annexb;
    struct ts_stream video;
    struct buf picture;      /* the pieces so far of one that may go on; empty: there is none */
    struct ts_event begun;   /* what the first of them came with */
    uint32_t untimed, timed; /* pieces of others, and pictures in a row that had none */
    struct audio audio[TS_AUDIO_MAX];
    uint64_t bytes;
    bool found; /* a programme */
    bool audio_left_out_told;
    bool awaits_key;                 /* video is left out until then */
    bool began_here;                 /* with the latest key picture: what refers to those before it is left out */
    uint32_t keys_unusable;          /* in a row */
    int64_t keyless_ts, seen_dts_ts; /* pictures' time since one is awaited, and their latest */
    bool configured, config_bad;     /* video: the publisher has one; the latest can't be used */
    uint64_t dropped, malformed;
    struct publisher_metadata metadata;
    uint64_t pictures; /* handed on */
    bool left_out;     /* some behind the latest of them */
    bool measured;     /* the rate, by two that follow each other */
    int64_t last_dts_ts;
};

static struct metric metrics[] = {
    {"weir_ingest_ts_losses_total", NULL, "Places in MPEG transport streams where packets are missing.", METRIC_COUNTER,
     0},
    {"weir_ingest_ts_malformed_total", NULL,
     "Packets, table sections and parameter sets of MPEG transport streams that were damaged or malformed.",
     METRIC_COUNTER, 0},
    {"weir_ingest_ts_dropped_total", NULL,
     "Access units of MPEG transport streams that were left out: incomplete, malformed, without a time, or pictures "
     "between a loss and the next key picture.",
     METRIC_COUNTER, 0},
};
enum { M_LOSSES, M_MALFORMED, M_DROPPED };

void ts_session_metrics_register(void) {
    metrics_register(metrics, sizeof metrics / sizeof *metrics);
}

/* --- ends --- */

static void lose(struct ts_session *session, const char *why) {
    if (session->state == LOST)
        return;
    session->state = LOST;
    snprintf(session->why, sizeof session->why, "%s", why);
    loop_timer_set(session->tell_timer, 0);
}

/* Events have a turn of their own: the publisher may still be at work when it tells us. */
static void on_tell(void *ctx) {
    struct ts_session *session = ctx;
    if (!session->result_due) {
        session->events.on_lost(session->ctx, session->why);
        return;
    }
    session->result_due = false;
    if (session->why[0])
        loop_timer_set(session->tell_timer, 0);
    session->events.on_result(session->ctx, session->result);
}

static void on_lost(void *ctx, const char *why) {
    lose(ctx, why);
}

/* --- video --- */

/* Rounded; TS_HZ is nine to a hundred microseconds. */
static int64_t us_of(int64_t ts) {
    enum { TICKS = 9, US = 100 };
    return ts / TICKS * US + (ts % TICKS * US + (ts >= 0 ? TICKS / 2 : -TICKS / 2)) / TICKS;
}

/* The first configuration is the publisher's to judge; of those that follow, a bad one is damage that passes: its
 * pictures are left out, for its sets aren't in them any more. */
static void video_config(struct ts_session *session) {
    const struct parameter_sets *sets = &session->annexb.sets;
    struct codec_info info;
    const char *why;
    session->config_bad =
        session->configured && codec_describe(sets->codec, sets->config, sets->config_len, &info, &why) != 0;
    if (session->config_bad)
        return;
    session->configured = true;
    publisher_config(session->publisher,
                     &(struct publisher_config){.codec = sets->codec, .data = sets->config, .len = sets->config_len});
}

/* A transport stream announces no frame rate, and an SPS need not; but two pictures tell by so fine a clock. */
static double rate_of(int64_t delta_ts) {
    static const double rates[] = {24000 / 1001., 24, 25, 30000 / 1001., 30, 48, 50, 60000 / 1001., 60, 100, 120};
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        double off_ts = (double)delta_ts - TS_HZ / rates[i];
        if (off_ts > -1 && off_ts < 1)
            return rates[i];
    }
    return 0;
}

static void measure_rate(struct ts_session *session, int64_t dts_ts) {
    if (session->pictures && !session->measured && !session->left_out) {
        session->measured = true;
        session->metadata.frame_rate = rate_of(dts_ts - session->last_dts_ts);
        publisher_metadata(session->publisher, &session->metadata);
    }
    session->left_out = false;
    session->last_dts_ts = dts_ts;
    session->pictures++;
}

static void drop(struct ts_session *session) {
    session->dropped++;
    metric_add(&metrics[M_DROPPED], 1);
}

/* What refers to a picture that isn't there is left out, too. */
static void drop_picture(struct ts_session *session) {
    session->awaits_key = true;
    drop(session);
}

/* Whether decoding can go on with it. */
static bool is_decodable(struct ts_session *session, const struct annexb_unit *unit, bool has_time) {
    bool described = session->configured && !session->config_bad;
    if (unit->key) {
        session->keys_unusable = described ? 0 : session->keys_unusable + 1;
        session->began_here = session->awaits_key;
        session->awaits_key = !described || !has_time;
    }
    if (session->keys_unusable > KEYS_MAX)
        lose(session, "no parameter sets that can be used come with the pictures");
    return !session->awaits_key;
}

/* Some encoders send none but the first, and refresh pictures bit by bit. What jumps in time is no picture's duration.
 */
static void await_key(struct ts_session *session, const struct ts_event *pes, bool key) {
    int64_t step_ts = pes->has_time ? pes->dts_ts - session->seen_dts_ts : 0;
    session->keyless_ts += step_ts > 0 && step_ts < TS_HZ ? step_ts : 0;
    if (pes->has_time)
        session->seen_dts_ts = pes->dts_ts;
    if (key || !session->awaits_key)
        session->keyless_ts = 0;
    if (session->keyless_ts > KEYLESS_MAX_S * TS_HZ)
        lose(session, "no picture comes that decoding can begin with: the encoder must send key frames");
}

static void on_picture(struct ts_session *session, const struct ts_event *pes) {
    struct annexb_unit unit;
    if (pes->after_loss)
        session->awaits_key = true;
    if (annexb_read(&session->annexb, pes->data, pes->len, &unit)) {
        drop_picture(session);
        return;
    }
    if (unit.config_changed)
        video_config(session);
    if (!unit.len)
        return;
    await_key(session, pes, unit.key);
    if (!is_decodable(session, &unit, pes->has_time) || !pes->has_time || pes->pts_ts - pes->dts_ts > OFFSET_MAX_TS) {
        drop_picture(session);
        return;
    }
    if (unit.skipped && session->began_here) {
        session->left_out = true;
        drop(session);
        return;
    }
    measure_rate(session, pes->dts_ts);
    struct publisher_frame frame = {.kind = TRACK_VIDEO,
                                    .dts_us = us_of(pes->dts_ts),
                                    .pts_us = us_of(pes->pts_ts),
                                    .independent = unit.key,
                                    .data = unit.data,
                                    .len = unit.len};
    publisher_frame(session->publisher, &frame);
}

static void give_begun(struct ts_session *session) {
    if (!buf_len(&session->picture))
        return;
    session->begun.data = buf_head(&session->picture);
    session->begun.len = buf_len(&session->picture);
    on_picture(session, &session->begun);
    buf_clear(&session->picture);
}

static void drop_begun(struct ts_session *session) {
    if (buf_len(&session->picture))
        drop_picture(session);
    buf_clear(&session->picture);
}

/* What has no time goes on from the PES packet before it; it has been given already if that could have held more. */
static void note_times(struct ts_session *session, const struct ts_event *pes) {
    session->timed = pes->has_time ? session->timed + 1 : 0;
    session->untimed += !pes->has_time;
    if (session->timed >= TIMED_AGAIN)
        session->untimed = 0;
    if (session->untimed > UNTIMED_MAX)
        lose(session, "pictures have no time of their own, or are split over PES packets that are not full");
}

/* Only a picture whose PES packet was full waits for the next one. */
static void on_video(struct ts_session *session, const struct ts_event *pes) {
    bool goes_on = buf_len(&session->picture) && !pes->has_time;
    if (pes->after_loss)
        drop_begun(session);
    else if (!goes_on)
        give_begun(session);
    if (!buf_len(&session->picture)) {
        note_times(session, pes);
        if (!pes->full || !pes->has_time) {
            on_picture(session, pes);
            return;
        }
        session->begun = *pes;
    }
    if (buf_append(&session->picture, pes->data, pes->len))
        drop_begun(session);
    else if (!pes->full)
        give_begun(session);
}

/* --- audio --- */

static void audio_config(struct ts_session *session, struct audio *audio, const uint8_t *data, size_t len) {
    struct publisher_config config = {.codec = audio->stream.codec,
                                      .track = (uint8_t)(audio - session->audio),
                                      .data = data,
                                      .len = len};
    language_tag(audio->stream.language, config.language);
    publisher_config(session->publisher, &config);
    audio->configured = true;
}

static void audio_frame(struct ts_session *session, const struct audio *audio, int64_t us, const uint8_t *data,
                        size_t len) {
    struct publisher_frame frame = {TRACK_AUDIO, (uint8_t)(audio - session->audio), us, us, true, data, len};
    publisher_frame(session->publisher, &frame);
}

static void on_aac(struct ts_session *session, struct audio *audio, const struct ts_event *pes) {
    struct adts_frame found;
    if (pes->after_loss)
        adts_gap(&audio->adts);
    if (adts_push(&audio->adts, pes->data, pes->len, pes->has_time, pes->pts_ts))
        return;
    while (adts_next(&audio->adts, &found)) {
        if (found.config_changed || !audio->configured)
            audio_config(session, audio, audio->adts.config, ADTS_CONFIG_LEN);
        audio_frame(session, audio, us_of(found.pts_ts), found.data, found.len);
    }
}

/* A packet of which the time isn't told comes right after the one before, unless something is missing between. */
static void on_opus(struct ts_session *session, struct audio *audio, const struct ts_event *pes) {
    const uint8_t *data = pes->data;
    size_t len = pes->len;
    struct opus_unit unit;
    int rc;
    if (pes->has_time)
        audio->next_us = us_of(pes->pts_ts);
    audio->has_time = pes->has_time || (audio->has_time && !pes->after_loss);
    while ((rc = opus_ts_next(&data, &len, &unit)) > 0) {
        uint8_t head[OPUS_HEAD_MAX];
        if (!audio->has_time)
            continue;
        if (!audio->configured)
            audio_config(session, audio, head, opus_head_make(audio->stream.opus_channels, 0, head));
        audio_frame(session, audio, audio->next_us, unit.data, unit.len);
        audio->next_us += (int64_t)unit.samples * 1000000 / OPUS_HZ;
    }
    if (rc < 0)
        drop(session);
}

static void on_audio(struct ts_session *session, const struct ts_event *pes) {
    struct audio *audio = &session->audio[pes->track];
    if (audio->stream.codec == CODEC_OPUS)
        on_opus(session, audio, pes);
    else
        on_aac(session, audio, pes);
}

/* --- programme --- */

static void tell_ignored(struct ts_session *session, uint8_t stream_type) {
    char why[96];
    snprintf(why, sizeof why, "%s (stream type 0x%02x) is not carried yet", ts_type_name(stream_type), stream_type);
    log_warn("publish_track_ignored", "stream", LOG_STR(session->stream), "peer", LOG_STR(session->peer), "why",
             LOG_STR(why));
}

static void tell_left_out(struct ts_session *session, uint32_t count) {
    if (!count || session->audio_left_out_told)
        return;
    session->audio_left_out_told = true;
    log_warn("publish_track_ignored", "stream", LOG_STR(session->stream), "peer", LOG_STR(session->peer), "why",
             LOG_STR("more sounds than are carried"), "left_out", LOG_INT(count));
}

static void set_video(struct ts_session *session, const struct ts_stream *stream) {
    bool same = stream->pid && stream->codec == session->video.codec; /* wherever it is */
    bool was = session->video.pid;
    session->video = *stream;
    if (!stream->pid && was)
        publisher_track_end(session->publisher, TRACK_VIDEO, 0);
    if (!stream->pid || (same && was))
        return;
    annexb_finish(&session->annexb);
    annexb_init(&session->annexb, stream->codec);
    buf_clear(&session->picture);
    session->awaits_key = true;
    session->configured = session->config_bad = false;
}

/* `stream` NULL: there is none any more. */
static void set_audio(struct ts_session *session, struct audio *audio, const struct ts_stream *stream) {
    struct ts_stream before = audio->stream;
    audio->stream = stream ? *stream : (struct ts_stream){0};
    bool same = stream && before.pid && before.codec == stream->codec && before.opus_channels == stream->opus_channels;
    if (same) {
        audio->configured &= !memcmp(before.language, stream->language, sizeof before.language);
        return;
    }
    if (before.pid && !stream)
        publisher_track_end(session->publisher, TRACK_AUDIO, (uint8_t)(audio - session->audio));
    adts_finish(&audio->adts);
    adts_init(&audio->adts);
    audio->configured = audio->has_time = false;
}

static void lose_all_ignored(struct ts_session *session, const struct ts_event *programme) {
    char why[128] = "nothing that is carried is in the transport stream";
    if (programme->ignored_count)
        snprintf(why, sizeof why, "%s (stream type 0x%02x) is not carried yet: send H.264 or HEVC, and AAC or Opus",
                 ts_type_name(programme->ignored[0]), programme->ignored[0]);
    lose(session, why);
}

static void on_programme(struct ts_session *session, const struct ts_event *programme) {
    if (programme->gone)
        return;
    session->found = true;
    for (uint32_t i = 0; i < programme->ignored_count; i++)
        tell_ignored(session, programme->ignored[i]);
    tell_left_out(session, programme->audio_left_out);
    if (!programme->video.pid && !programme->audio_count) {
        lose_all_ignored(session, programme);
        return;
    }
    session->metadata.has_video = programme->video.pid;
    session->metadata.has_audio = programme->audio_count;
    session->metadata.complete = true;
    publisher_metadata(session->publisher, &session->metadata);
    set_video(session, &programme->video);
    for (uint32_t i = 0; i < TS_AUDIO_MAX; i++)
        set_audio(session, &session->audio[i], i < programme->audio_count ? &programme->audio[i] : NULL);
}

/* --- input --- */

static uint64_t more(uint64_t now, uint64_t *before) {
    uint64_t n = now >= *before ? now - *before : now;
    *before = now;
    return n;
}

static void count(struct ts_session *session) {
    const struct ts_counters *now = ts_counters(session->ts);
    struct counted *counted = &session->counted;
    uint64_t dropped = more(now->pes_dropped, &counted->pes) + more(now->pes_cut, &counted->pes_cut);
    for (uint32_t i = 0; i < TS_AUDIO_MAX; i++)
        dropped += more(session->audio[i].adts.dropped, &counted->sounds[i]);
    uint64_t malformed = more(now->bad_packets, &counted->packets) +
                         more(ts_bad_sections(session->ts), &counted->sections) +
                         more(session->annexb.sets.bad, &counted->sets);
    metric_add(&metrics[M_LOSSES], (int64_t)more(now->losses, &counted->losses));
    metric_add(&metrics[M_MALFORMED], (int64_t)malformed);
    metric_add(&metrics[M_DROPPED], (int64_t)dropped);
    session->malformed += malformed;
    session->dropped += dropped;
}

static uint64_t skipped_bytes(const struct ts_session *session) {
    uint64_t bytes = ts_counters(session->ts)->skipped_bytes;
    for (uint32_t i = 0; i < TS_AUDIO_MAX; i++)
        bytes += session->audio[i].adts.skipped_bytes;
    return bytes;
}

static void process(struct ts_session *session, const uint8_t *data, size_t len) {
    struct ts_event event;
    size_t used;
    session->bytes += len;
    while (session->state == PUBLISHING && ts_read(session->ts, data, len, &used, &event)) {
        data += used;
        len -= used;
        if (event.what == TS_PROGRAMME)
            on_programme(session, &event);
        else if (event.kind == TRACK_VIDEO)
            on_video(session, &event);
        else
            on_audio(session, &event);
    }
    count(session);
    if (!session->found && session->bytes > NOTHING_FOUND_BYTES)
        lose(session, "what comes is no MPEG transport stream");
}

static void hold(struct ts_session *session, const uint8_t *data, size_t len) {
    if (len > HELD_DROP) {
        data += len - HELD_DROP;
        len = HELD_DROP;
    }
    while (buf_len(&session->held) + len > TS_SESSION_HELD_MAX)
        buf_consume(&session->held, HELD_DROP);
    buf_append(&session->held, data, len);
}

void ts_session_input(struct ts_session *session, const uint8_t *data, size_t len) {
    if (session->state == CLAIMING)
        hold(session, data, len);
    else if (session->state == PUBLISHING)
        process(session, data, len);
}

/* Before the result all that was held goes: after a loss video could only go on with the next IDR picture anyway. */
void ts_session_gap(struct ts_session *session) {
    buf_clear(&session->held);
    drop_begun(session);
    ts_gap(session->ts);
}

static void on_result(void *ctx, enum publish_result result) {
    struct ts_session *session = ctx;
    session->state = result == PUBLISH_OK ? PUBLISHING : LOST;
    session->result = result;
    session->result_due = true;
    loop_timer_set(session->tell_timer, 0);
    process(session, buf_head(&session->held), buf_len(&session->held));
    buf_finish(&session->held);
}

/* --- life --- */

static const struct publisher_events publisher_events = {on_result, on_lost};

static struct ts_session *create(struct ingest *ingest, const char *peer, const struct ts_session_events *events,
                                 void *ctx) {
    struct ts_session *session = calloc(1, sizeof *session);
    if (!session)
        abort();
    session->events = *events;
    session->ctx = ctx;
    session->awaits_key = true;
    snprintf(session->peer, sizeof session->peer, "%s", peer);
    buf_init(&session->held, TS_SESSION_HELD_MAX);
    session->ts = ts_create();
    annexb_init(&session->annexb, CODEC_H264);
    buf_init(&session->picture, TS_VIDEO_PES_MAX);
    for (int i = 0; i < TS_AUDIO_MAX; i++)
        adts_init(&session->audio[i].adts);
    session->tell_timer = loop_timer_create(ingest->loop, on_tell, session);
    return session;
}

struct ts_session *ts_session_create(struct ingest *ingest, const char *app, const char *name, const char *peer,
                                     const struct ts_session_events *events, void *ctx) {
    struct ts_session *session = create(ingest, peer, events, ctx);
    snprintf(session->stream, sizeof session->stream, "%s/%.*s", app, (int)strcspn(name, "?"), name);
    session->publisher = publisher_open(ingest, app, name, peer, &publisher_events, session);
    return session;
}

struct ts_session *ts_session_create_own(struct ingest *ingest, const char *stream, enum claim_rank rank,
                                         const char *peer, const struct ts_session_events *events, void *ctx) {
    struct ts_session *session = create(ingest, peer, events, ctx);
    snprintf(session->stream, sizeof session->stream, "%s", stream);
    session->publisher = publisher_open_own(ingest, stream, rank, peer, &publisher_events, session);
    return session;
}

void ts_session_destroy(struct ts_session *session, bool clean) {
    if (!session)
        return;
    const struct ts_counters *counters = ts_counters(session->ts);
    if (session->state == PUBLISHING)
        give_begun(session);
    log_info("ts_end", "stream", LOG_STR(session->stream), "peer", LOG_STR(session->peer), "bytes",
             LOG_INT(session->bytes), "losses", LOG_INT(counters->losses), "malformed", LOG_INT(session->malformed),
             "dropped", LOG_INT(session->dropped), "skipped_bytes", LOG_INT(skipped_bytes(session)));
    publisher_close(session->publisher, clean);
    loop_timer_destroy(session->tell_timer);
    buf_finish(&session->held);
    annexb_finish(&session->annexb);
    buf_finish(&session->picture);
    for (int i = 0; i < TS_AUDIO_MAX; i++)
        adts_finish(&session->audio[i].adts);
    ts_destroy(session->ts);
    free(session);
}
