#include "ingest/rtmp_session.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/amf.h"
#include "ingest/flv.h"
#include "ingest/publisher.h"
#include "ingest/rtmp_chunk.h"
#include "ingest/rtmp_handshake.h"
#include "ingest/rtmp_reply.h"

enum state {
    HANDSHAKE_C0C1, /* both are collected */
    HANDSHAKE_C2,   /* answered; C2 is skipped */
    CONNECTING,     /* chunks from here on; `connect` must come */
    CONNECTED,      /* to an app; nothing is published, not yet or not any more */
    CLAIMING,       /* a publisher is open and its result is awaited; input is held */
    PUBLISHING,
    CLOSING, /* what is in `out` is sent, then it is over; input is ignored */
};

enum {
    OUT_BYTES_MAX = 64 << 10, /* a peer that leaves so much unread is closed */
    MESSAGE_STREAM = 1,       /* the only one that createStream gives */
    FRAME_RATE_MAX = 1000,
};

struct rtmp_session {
    struct rtmp_session_settings settings;
    enum state state;
    enum rtmp_end end;
    char peer[64], app[128], name[128], encoder[64], why[160];
    int64_t now_us;        /* of the call under way */
    int64_t idle_since_us; /* nothing is published since */
    int64_t input_us;      /* last input */
    uint64_t bytes, acknowledged;
    uint32_t window; /* the peer wants an acknowledgement every so many bytes */
    bool connected, published, said_bye;
    struct buf handshake, out, held;
    uint32_t c2_left;
    struct rtmp_chunk_reader reader;
    struct publisher *publisher;
    uint32_t publish_stream_id;
    bool has_time;
    int64_t time_ms; /* last media time, unwrapped */
};

static void set_state(struct rtmp_session *session, enum state state) {
    static const uint8_t from[] = {
        [HANDSHAKE_C2] = 1 << HANDSHAKE_C0C1,
        [CONNECTING] = 1 << HANDSHAKE_C2,
        [CONNECTED] = 1 << CONNECTING | 1 << PUBLISHING,
        [CLAIMING] = 1 << CONNECTED,
        [PUBLISHING] = 1 << CLAIMING,
        [CLOSING] = (1 << CLOSING) - 1,
    };
    assert(from[state] & 1 << session->state);
    session->state = state;
}

/* --- ends --- */

static void close_with(struct rtmp_session *session, enum rtmp_end end, const char *why) {
    if (session->state == CLOSING)
        return;
    session->end = end;
    snprintf(session->why, sizeof session->why, "%s", why);
    set_state(session, CLOSING);
}

static void protocol_error(struct rtmp_session *session, const char *why) {
    close_with(session, RTMP_END_PROTOCOL, why);
}

/* Tells the peer, then closes. */
static void refuse(struct rtmp_session *session, enum rtmp_end end, const char *code, const char *why) {
    rtmp_reply_status(&session->out, session->publish_stream_id, "error", code, why);
    close_with(session, end, why);
}

/* --- what the publisher says --- */

static const struct refusal {
    enum rtmp_end end;
    const char *code, *description;
} refusals[] = {
    [PUBLISH_BAD_NAME] =
        {RTMP_END_BAD_NAME, "NetStream.Publish.BadName",
         "Not a name that a stream can have: use letters, digits and . _ ~ - for the app and the stream."},
    [PUBLISH_DENIED] = {RTMP_END_DENIED, "NetStream.Publish.Denied",
                        "The stream key is wrong or missing: publish to NAME?key=KEY."},
    [PUBLISH_BUSY] = {RTMP_END_BUSY, "NetStream.Publish.BadName", "Somebody else is publishing under this name."},
    [PUBLISH_FULL] = {RTMP_END_FULL, "NetStream.Failed", "This server is full: no more streams can be taken."},
    [PUBLISH_UNREACHABLE] = {RTMP_END_FULL, "NetStream.Failed", "This server can't reach those that serve viewers."},
    [PUBLISH_CUT] = {RTMP_END_CUT, "NetStream.Publish.BadName",
                     "cut by the operator: nothing is taken under this name for a while."},
};

static void granted(struct rtmp_session *session) {
    set_state(session, PUBLISHING);
    session->published = true;
    session->has_time = false;
    session->reader.memory_max = session->held.max = session->settings.memory_max;
    rtmp_reply_user_control(&session->out, RTMP_STREAM_BEGIN, session->publish_stream_id);
    rtmp_reply_status(&session->out, session->publish_stream_id, "status", "NetStream.Publish.Start", "Publishing.");
}

static void on_result(void *ctx, enum publish_result result) {
    struct rtmp_session *session = ctx;
    if (session->state != CLAIMING)
        return;
    if (result == PUBLISH_OK)
        granted(session);
    else
        refuse(session, refusals[result].end, refusals[result].code, refusals[result].description);
    session->settings.on_change(session->settings.ctx);
}

static void on_lost(void *ctx, const char *why) {
    struct rtmp_session *session = ctx;
    if (session->state == CLOSING)
        return;
    refuse(session, RTMP_END_PUBLISHER, "NetStream.Failed", why);
    session->settings.on_change(session->settings.ctx);
}

static const struct publisher_events publisher_events = {on_result, on_lost};

/* --- commands --- */

struct command {
    const char *name;
    void (*fn)(struct rtmp_session *session, double transaction, struct amf_reader *args,
               const struct rtmp_message *message);
};

static void trim_app(char *app) {
    app[strcspn(app, "?")] = 0;
    for (size_t len = strlen(app); len && app[len - 1] == '/'; len--)
        app[len - 1] = 0;
}

static void on_connect(struct rtmp_session *session, double transaction, struct amf_reader *args,
                       const struct rtmp_message *message) {
    struct amf_value info, value;
    (void)message;
    if (session->state != CONNECTING) {
        protocol_error(session, "connect came twice");
        return;
    }
    if (amf_read(args, &info) || !amf_object_find(&info, "app", &value) ||
        !amf_copy_string(&value, session->app, sizeof session->app)) {
        protocol_error(session, "connect without a usable app");
        return;
    }
    trim_app(session->app);
    if (amf_object_find(&info, "flashVer", &value))
        amf_copy_string(&value, session->encoder, sizeof session->encoder);
    session->connected = true;
    set_state(session, CONNECTED);
    rtmp_reply_connect(&session->out, transaction);
}

/* Nothing to be done; but some wait for an answer, and OBS's next call leaves sooner with one (its Nagle's algorithm).
 */
static void on_courtesy(struct rtmp_session *session, double transaction, struct amf_reader *args,
                        const struct rtmp_message *message) {
    (void)args;
    (void)message;
    if (transaction != 0)
        rtmp_reply_result(&session->out, transaction, 0);
}

static void on_create_stream(struct rtmp_session *session, double transaction, struct amf_reader *args,
                             const struct rtmp_message *message) {
    (void)args;
    (void)message;
    rtmp_reply_result(&session->out, transaction, MESSAGE_STREAM);
}

static void on_publish(struct rtmp_session *session, double transaction, struct amf_reader *args,
                       const struct rtmp_message *message) {
    struct amf_value null, value;
    char full[512];
    (void)transaction;
    if (session->state == PUBLISHING) {
        rtmp_reply_status(&session->out, message->stream_id, "error", "NetStream.Publish.BadName",
                          "This connection is publishing already.");
        return;
    }
    session->publish_stream_id = message->stream_id;
    if (amf_read(args, &null) || amf_read_string(args, &value) || !amf_copy_string(&value, full, sizeof full)) {
        const struct refusal *refusal = &refusals[PUBLISH_BAD_NAME];
        refuse(session, refusal->end, refusal->code, refusal->description);
        return;
    }
    snprintf(session->name, sizeof session->name, "%.*s", (int)strcspn(full, "?"), full);
    set_state(session, CLAIMING);
    session->publisher =
        publisher_open(session->settings.ingest, session->app, full, session->peer, &publisher_events, session);
}

/* FCUnpublish, deleteStream and closeStream come singly or one after the other. */
static void on_unpublish(struct rtmp_session *session, double transaction, struct amf_reader *args,
                         const struct rtmp_message *message) {
    if (session->publisher) {
        publisher_close(session->publisher, true);
        session->publisher = NULL;
        session->said_bye = true;
        session->idle_since_us = session->now_us;
        set_state(session, CONNECTED);
        rtmp_reply_status(&session->out, session->publish_stream_id, "status", "NetStream.Unpublish.Success", "Bye.");
    }
    on_courtesy(session, transaction, args, message);
}

static void on_play(struct rtmp_session *session, double transaction, struct amf_reader *args,
                    const struct rtmp_message *message) {
    (void)transaction;
    (void)args;
    session->publish_stream_id = message->stream_id;
    refuse(session, RTMP_END_PLAY, "NetStream.Play.StreamNotFound",
           "This server takes streams by RTMP and plays none: play it by HLS.");
}

static const struct command commands[] = {
    {"connect", on_connect},
    {"releaseStream", on_courtesy},
    {"FCPublish", on_courtesy},
    {"createStream", on_create_stream},
    {"publish", on_publish},
    {"FCUnpublish", on_unpublish},
    {"deleteStream", on_unpublish},
    {"closeStream", on_unpublish},
    {"play", on_play},
    {"play2", on_play},
    {"_checkbw", on_courtesy},
    {"_result", NULL},
    {"_error", NULL}, /* we call nobody */
};

static void on_command(struct rtmp_session *session, struct amf_reader *args, const struct rtmp_message *message) {
    struct amf_value name;
    double transaction;
    if (amf_read_string(args, &name) || amf_read_number(args, &transaction)) {
        protocol_error(session, "malformed command");
        return;
    }
    if (session->state == CONNECTING && !amf_is_string(&name, "connect")) {
        protocol_error(session, "a command before connect");
        return;
    }
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (amf_is_string(&name, commands[i].name)) {
            if (commands[i].fn)
                commands[i].fn(session, transaction, args, message);
            return;
        }
    }
    if (transaction != 0)
        rtmp_reply_error(&session->out, transaction, "There is no such call here.");
}

/* --- media --- */

/* Whether a codec id of onMetaData, a number or a name, promises such a track. */
static bool metadata_has(const struct amf_value *object, const char *key) {
    struct amf_value value;
    if (!amf_object_find(object, key, &value))
        return false;
    return value.type == AMF_NUMBER ? value.number > 0 : value.type == AMF_STRING && value.len > 0;
}

/* ["@setDataFrame",] "onMetaData", object. It is a hint: what cannot be read is passed over. */
static void on_data(struct rtmp_session *session, struct amf_reader *args) {
    struct amf_value name, object, value;
    int rc = amf_read_string(args, &name);
    if (!rc && amf_is_string(&name, "@setDataFrame"))
        rc = amf_read_string(args, &name);
    if (rc || !amf_is_string(&name, "onMetaData") || amf_read(args, &object))
        return;
    struct publisher_metadata metadata = {.has_video = metadata_has(&object, "videocodecid"),
                                          .has_audio = metadata_has(&object, "audiocodecid")};
    if (amf_object_find(&object, "framerate", &value) && value.type == AMF_NUMBER && value.number > 0 &&
        value.number < FRAME_RATE_MAX)
        metadata.frame_rate = value.number;
    if (amf_object_find(&object, "encoder", &value) &&
        amf_copy_string(&value, metadata.encoder, sizeof metadata.encoder))
        memcpy(session->encoder, metadata.encoder, sizeof session->encoder);
    publisher_metadata(session->publisher, &metadata);
}

/* 32 bits of milliseconds wrap after 49.7 days; but OBS and ffmpeg keep to FLV's 31 and wrap after half of that.
 * Counted modulo 2^31 both come out right. Audio and video share one clock. */
static int64_t unwrap(struct rtmp_session *session, uint32_t timestamp_ms) {
    if (session->has_time)
        session->time_ms += (int32_t)((timestamp_ms - (uint32_t)session->time_ms) << 1) / 2;
    else
        session->time_ms = timestamp_ms;
    session->has_time = true;
    return session->time_ms;
}

static void unsupported(struct rtmp_session *session, const char *codec) {
    char why[128];
    snprintf(why, sizeof why, "%s is not supported: send H.264 video and AAC audio.", codec);
    refuse(session, RTMP_END_UNSUPPORTED, "NetStream.Failed", why);
}

/* An audio or video message. Its message stream id is not looked at: a connection publishes one stream, and some
 * encoders are careless with it. */
static void on_media(struct rtmp_session *session, enum track_kind kind, uint32_t timestamp_ms, const uint8_t *data,
                     size_t len) {
    struct flv_media media;
    const char *codec;
    int rc =
        kind == TRACK_VIDEO ? flv_video_parse(data, len, &media, &codec) : flv_audio_parse(data, len, &media, &codec);
    if (rc == -ENOTSUP) {
        unsupported(session, codec);
    } else if (rc) {
        protocol_error(session, kind == TRACK_VIDEO ? "malformed video message" : "malformed audio message");
    } else if (media.what == FLV_CONFIG) {
        struct publisher_config config = {.codec = kind == TRACK_VIDEO ? CODEC_H264 : CODEC_AAC,
                                          .data = media.data,
                                          .len = media.len};
        publisher_config(session->publisher, &config);
    } else if (media.what == FLV_FRAME) {
        int64_t dts_ms = unwrap(session, timestamp_ms);
        struct publisher_frame frame = {.kind = kind,
                                        .dts_us = dts_ms * 1000,
                                        .pts_us = (dts_ms + media.composition_ms) * 1000,
                                        .independent = media.independent,
                                        .data = media.data,
                                        .len = media.len};
        publisher_frame(session->publisher, &frame);
    }
}

/* A media or data message, or a tag of an aggregate. Comes too late or too early from many: then it is passed over. */
static void on_tag(struct rtmp_session *session, uint8_t type, uint32_t timestamp_ms, const uint8_t *data, size_t len) {
    struct amf_reader args;
    if (session->state != PUBLISHING)
        return;
    if (type == RTMP_VIDEO) {
        on_media(session, TRACK_VIDEO, timestamp_ms, data, len);
    } else if (type == RTMP_AUDIO) {
        on_media(session, TRACK_AUDIO, timestamp_ms, data, len);
    } else if (type == RTMP_DATA) {
        amf_reader_init(&args, data, len);
        on_data(session, &args);
    }
}

/* Its tags' times count from the first tag's, which is the message's (RTMP 1.0 §7.1.6). */
static void on_aggregate(struct rtmp_session *session, const struct rtmp_message *message) {
    const uint8_t *data = message->data;
    size_t left = message->len;
    struct flv_tag tag;
    uint32_t shift_ms = 0;
    int rc;
    for (bool first = true; (rc = flv_tag_next(&data, &left, &tag)) > 0; first = false) {
        if (first)
            shift_ms = message->timestamp_ms - tag.timestamp_ms;
        on_tag(session, tag.type, tag.timestamp_ms + shift_ms, tag.data, tag.len);
    }
    if (rc)
        protocol_error(session, "malformed aggregate message");
}

/* --- messages --- */

static uint32_t get32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void on_user_control(struct rtmp_session *session, const struct rtmp_message *message) {
    if (message->len >= 6 && (message->data[0] << 8 | message->data[1]) == RTMP_PING_REQUEST)
        rtmp_reply_user_control(&session->out, RTMP_PING_RESPONSE, get32(message->data + 2));
}

static void on_window(struct rtmp_session *session, const struct rtmp_message *message) {
    if (message->len == 4 && get32(message->data))
        session->window = get32(message->data);
}

/* The AMF3 message types carry AMF0 after a format byte. */
static void amf_of(const struct rtmp_message *message, struct amf_reader *ret_args) {
    bool amf3 = message->type == RTMP_COMMAND_AMF3 || message->type == RTMP_DATA_AMF3;
    size_t skip = amf3 && message->len ? 1 : 0;
    amf_reader_init(ret_args, message->data + skip, message->len - skip);
}

static void on_message(struct rtmp_session *session, const struct rtmp_message *message) {
    struct amf_reader args;
    switch (message->type) {
    case RTMP_AUDIO:
    case RTMP_VIDEO:
    case RTMP_DATA:
        on_tag(session, message->type, message->timestamp_ms, message->data, message->len);
        break;
    case RTMP_AGGREGATE:
        on_aggregate(session, message);
        break;
    case RTMP_COMMAND:
    case RTMP_COMMAND_AMF3:
        amf_of(message, &args);
        on_command(session, &args, message);
        break;
    case RTMP_DATA_AMF3:
        amf_of(message, &args);
        if (session->state == PUBLISHING)
            on_data(session, &args);
        break;
    case RTMP_USER_CONTROL:
        on_user_control(session, message);
        break;
    case RTMP_WINDOW_ACK_SIZE:
        on_window(session, message);
        break;
    default: /* acknowledgements, bandwidth, shared objects: nothing to us */
        break;
    }
}

/* --- input, by state; each returns how much it used --- */

static size_t input_c0c1(struct rtmp_session *session, const uint8_t *data, size_t len) {
    size_t room = RTMP_HANDSHAKE_C0C1 - buf_len(&session->handshake), n = len < room ? len : room;
    buf_append(&session->handshake, data, n);
    const uint8_t *c0c1 = buf_head(&session->handshake);
    if (c0c1[0] != RTMP_HANDSHAKE_VERSION) {
        protocol_error(session, c0c1[0] == 6 ? "encrypted RTMP (RTMPE) is not supported" : "not RTMP");
        return n;
    }
    if (buf_len(&session->handshake) < RTMP_HANDSHAKE_C0C1)
        return n;
    uint8_t *reply = buf_reserve(&session->out, RTMP_HANDSHAKE_REPLY);
    assert(reply); /* nothing was sent before */
    rtmp_handshake_reply(c0c1, (uint32_t)(session->now_us / 1000), session->settings.seed, reply);
    buf_commit(&session->out, RTMP_HANDSHAKE_REPLY);
    buf_finish(&session->handshake);
    set_state(session, HANDSHAKE_C2);
    return n;
}

static size_t input_c2(struct rtmp_session *session, size_t len) {
    uint32_t n = len < session->c2_left ? (uint32_t)len : session->c2_left;
    session->c2_left -= n;
    if (!session->c2_left)
        set_state(session, CONNECTING);
    return n;
}

static size_t input_chunks(struct rtmp_session *session, const uint8_t *data, size_t len) {
    struct rtmp_message message;
    size_t used;
    int rc = rtmp_chunk_read(&session->reader, data, len, &used, &message);
    if (rc > 0)
        on_message(session, &message);
    else if (rc < 0)
        protocol_error(session, session->reader.why);
    return used;
}

/* Up to the end, or to where input must wait. */
static size_t process(struct rtmp_session *session, const uint8_t *data, size_t len) {
    size_t used = 0;
    while (used < len && session->state != CLAIMING && session->state != CLOSING) {
        if (session->state == HANDSHAKE_C0C1)
            used += input_c0c1(session, data + used, len - used);
        else if (session->state == HANDSHAKE_C2)
            used += input_c2(session, len - used);
        else
            used += input_chunks(session, data + used, len - used);
    }
    return used;
}

static void hold(struct rtmp_session *session, const uint8_t *data, size_t len) {
    if (session->state != CLOSING && buf_append(&session->held, data, len))
        protocol_error(session, "too much was sent before the publish was granted");
}

static void acknowledge(struct rtmp_session *session) {
    if (session->state < CONNECTED || session->bytes - session->acknowledged < session->window)
        return;
    session->acknowledged = session->bytes;
    rtmp_reply_control(&session->out, RTMP_ACKNOWLEDGEMENT, (uint32_t)session->bytes);
}

void rtmp_session_input(struct rtmp_session *session, const uint8_t *data, size_t len, int64_t now_us) {
    session->now_us = session->input_us = now_us;
    session->bytes += len;
    if (buf_len(&session->held)) {
        hold(session, data, len);
        buf_consume(&session->held, process(session, buf_head(&session->held), buf_len(&session->held)));
    } else {
        size_t used = process(session, data, len);
        if (used < len)
            hold(session, data + used, len - used);
    }
    acknowledge(session);
    if (session->out.overflow)
        close_with(session, RTMP_END_NOT_READING, "the peer doesn't read what is sent to it");
}

void rtmp_session_input_end(struct rtmp_session *session) {
    if (session->state == PUBLISHING || session->state == CLAIMING)
        close_with(session, RTMP_END_LOST, "the connection broke off");
    else if (session->said_bye)
        close_with(session, RTMP_END_BYE, "");
    else
        close_with(session, RTMP_END_GONE, "left without publishing");
}

void rtmp_session_check(struct rtmp_session *session, int64_t now_us) {
    bool publishing = session->state == PUBLISHING;
    if (publishing && now_us - session->input_us > session->settings.silence_timeout_us)
        close_with(session, RTMP_END_SILENT, "nothing came for too long");
    else if (!publishing && now_us - session->idle_since_us > session->settings.handshake_timeout_us)
        close_with(session, session->said_bye ? RTMP_END_BYE : RTMP_END_LATE, "nothing was published in time");
}

/* --- life --- */

struct rtmp_session *rtmp_session_create(const struct rtmp_session_settings *settings, int64_t now_us) {
    struct rtmp_session *session = calloc(1, sizeof *session);
    if (!session)
        abort();
    session->settings = *settings;
    snprintf(session->peer, sizeof session->peer, "%s", settings->peer);
    session->settings.peer = session->peer;
    session->idle_since_us = session->input_us = now_us;
    session->window = RTMP_WINDOW_BYTES;
    session->c2_left = RTMP_HANDSHAKE_PART;
    buf_init(&session->handshake, RTMP_HANDSHAKE_C0C1);
    buf_init(&session->out, OUT_BYTES_MAX);
    buf_init(&session->held, settings->unpublished_memory_max);
    rtmp_chunk_reader_init(&session->reader, settings->unpublished_memory_max);
    return session;
}

void rtmp_session_destroy(struct rtmp_session *session) {
    if (!session)
        return;
    publisher_close(session->publisher, false);
    rtmp_chunk_reader_finish(&session->reader);
    buf_finish(&session->handshake);
    buf_finish(&session->out);
    buf_finish(&session->held);
    free(session);
}

/* --- looking at it --- */

struct buf *rtmp_session_output(struct rtmp_session *session) {
    return &session->out;
}

bool rtmp_session_wants_input(const struct rtmp_session *session) {
    return session->state != CLAIMING && session->state != CLOSING;
}

bool rtmp_session_closing(const struct rtmp_session *session) {
    return session->state == CLOSING;
}

bool rtmp_session_connected(const struct rtmp_session *session) {
    return session->connected;
}

bool rtmp_session_publishing(const struct rtmp_session *session) {
    return session->state == PUBLISHING;
}

bool rtmp_session_published(const struct rtmp_session *session) {
    return session->published;
}

enum rtmp_end rtmp_session_end(const struct rtmp_session *session) {
    return session->end;
}

const char *rtmp_session_why(const struct rtmp_session *session) {
    return session->why;
}

const char *rtmp_session_app(const struct rtmp_session *session) {
    return session->app;
}

const char *rtmp_session_name(const struct rtmp_session *session) {
    return session->name;
}

const char *rtmp_session_encoder(const struct rtmp_session *session) {
    return session->encoder;
}

uint64_t rtmp_session_bytes(const struct rtmp_session *session) {
    return session->bytes;
}

const char *rtmp_end_name(enum rtmp_end end) {
    static const char *const names[RTMP_END_COUNT] = {
        [RTMP_END_NONE] = "shutdown",     [RTMP_END_BYE] = "bye",
        [RTMP_END_LOST] = "lost",         [RTMP_END_GONE] = "gone",
        [RTMP_END_PROTOCOL] = "protocol", [RTMP_END_NOT_READING] = "not_reading",
        [RTMP_END_LATE] = "late",         [RTMP_END_SILENT] = "silent",
        [RTMP_END_BAD_NAME] = "bad_name", [RTMP_END_DENIED] = "denied",
        [RTMP_END_BUSY] = "busy",         [RTMP_END_FULL] = "full",
        [RTMP_END_CUT] = "cut",           [RTMP_END_UNSUPPORTED] = "unsupported_codec",
        [RTMP_END_PLAY] = "play",         [RTMP_END_PUBLISHER] = "publisher",
    };
    return names[end];
}
