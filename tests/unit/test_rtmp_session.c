/* The publisher is a fake one: it writes down what it is given. */
#include "ingest/rtmp_session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/amf.h"
#include "ingest/publisher.h"
#include "ingest/rtmp_chunk.h"
#include "ingest/rtmp_handshake.h"
#include "rtmp_fixture.h"

enum { FRAMES_MAX = 64, S = 1000000, UNPUBLISHED_BYTES = 64 << 10 };

struct publisher {
    bool open, clean;
    struct publisher_events events;
    void *ctx;
    char app[64], name[64];
    struct publisher_metadata metadata;
    uint32_t metadata_count, config_count, frame_count;
    enum track_kind config_kinds[8];
    uint8_t config_first[8];
    size_t config_lens[8];
    struct publisher_frame frames[FRAMES_MAX];
    uint8_t first_bytes[FRAMES_MAX];
};

static struct publisher fake;
static uint32_t opened, changes;

struct publisher *publisher_open(struct ingest *ingest, const char *app, const char *name, const char *peer,
                                 const struct publisher_events *events, void *ctx) {
    (void)ingest;
    assert_string_equal(peer, "192.0.2.7:5121");
    assert_false(fake.open);
    fake = (struct publisher){.open = true, .events = *events, .ctx = ctx};
    snprintf(fake.app, sizeof fake.app, "%s", app);
    snprintf(fake.name, sizeof fake.name, "%s", name);
    opened++;
    return &fake;
}

void publisher_metadata(struct publisher *pub, const struct publisher_metadata *metadata) {
    pub->metadata = *metadata;
    pub->metadata_count++;
}

void publisher_config(struct publisher *pub, const struct publisher_config *config) {
    uint32_t i = pub->config_count++;
    assert_true(i < 8 && config->len > 0);
    pub->config_kinds[i] = config->codec == CODEC_H264 ? TRACK_VIDEO : TRACK_AUDIO;
    pub->config_first[i] = config->data[0];
    pub->config_lens[i] = config->len;
}

void publisher_frame(struct publisher *pub, const struct publisher_frame *frame) {
    uint32_t i = pub->frame_count++;
    assert_true(i < FRAMES_MAX && frame->len > 0);
    pub->frames[i] = *frame;
    pub->first_bytes[i] = frame->data[0];
}

void publisher_track_end(struct publisher *pub, enum track_kind kind, uint8_t track) {
    (void)pub, (void)kind, (void)track;
}

void publisher_close(struct publisher *pub, bool clean) {
    if (!pub)
        return;
    assert_true(pub->open);
    pub->open = false;
    pub->clean = clean;
}

static void on_change(void *ctx) {
    (void)ctx;
    changes++;
}

/* --- a client --- */

static struct rtmp_session *session;
static struct buf wire, body; /* the client's bytes; a message under way */
static struct rtmp_chunk_reader replies;
static uint32_t chunk_size;
static int64_t now_us;

static int setup(void **state) {
    (void)state;
    memset(&fake, 0, sizeof fake);
    opened = changes = 0;
    now_us = 100 * S;
    chunk_size = 128;
    buf_init(&wire, 16 << 20);
    buf_init(&body, 1 << 20);
    rtmp_chunk_reader_init(&replies, 1 << 20);
    struct rtmp_session_settings settings = {.peer = "192.0.2.7:5121",
                                             .handshake_timeout_us = 10 * S,
                                             .silence_timeout_us = 5 * S,
                                             .memory_max = 8 << 20,
                                             .unpublished_memory_max = UNPUBLISHED_BYTES,
                                             .seed = 1,
                                             .on_change = on_change};
    session = rtmp_session_create(&settings, now_us);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    rtmp_session_destroy(session);
    assert_false(fake.open);
    rtmp_chunk_reader_finish(&replies);
    buf_finish(&wire);
    buf_finish(&body);
    return 0;
}

/* Sends what is on the wire, in pieces of at most `step` bytes. */
static void send_steps(size_t step) {
    while (buf_len(&wire)) {
        size_t n = buf_len(&wire) < step ? buf_len(&wire) : step;
        rtmp_session_input(session, buf_head(&wire), n, now_us);
        buf_consume(&wire, n);
    }
}

static void send_all(void) {
    send_steps(SIZE_MAX);
}

static void drop_replies(void) {
    struct buf *out = rtmp_session_output(session);
    buf_consume(out, buf_len(out));
}

/* The next reply of the server; false when there is none. */
static bool reply_next(struct rtmp_message *ret_message) {
    struct buf *out = rtmp_session_output(session);
    static uint8_t copy[65536];
    size_t used, len = buf_len(out);
    memcpy(copy, buf_head(out), len);
    int rc = len ? rtmp_chunk_read(&replies, copy, len, &used, ret_message) : 0;
    assert_true(rc >= 0);
    if (len)
        buf_consume(out, used);
    return rc > 0;
}

/* The next reply is a control message of that type; returns its number. */
static uint32_t control_value(uint8_t type) {
    struct rtmp_message message;
    assert_true(reply_next(&message));
    assert_int_equal(message.type, type);
    const uint8_t *p = message.data;
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void assert_control(uint8_t type, uint32_t value) {
    assert_int_equal(control_value(type), value);
}

/* The next reply is a command of that name and transaction; ret_info is its last value, valid until the next reply. */
static void assert_command(const char *name, double transaction, struct amf_value *ret_info) {
    struct rtmp_message message;
    struct amf_reader reader;
    struct amf_value value;
    double number;
    assert_true(reply_next(&message));
    assert_int_equal(message.type, RTMP_COMMAND);
    amf_reader_init(&reader, message.data, message.len);
    assert_int_equal(amf_read_string(&reader, &value), 0);
    assert_true(amf_is_string(&value, name));
    assert_int_equal(amf_read_number(&reader, &number), 0);
    assert_true(number == transaction);
    while (!amf_read(&reader, ret_info))
        ;
}

static void assert_status(const char *level, const char *code) {
    struct amf_value info, value;
    assert_command("onStatus", 0, &info);
    assert_true(amf_object_find(&info, "level", &value) && amf_is_string(&value, level));
    assert_true(amf_object_find(&info, "code", &value));
    char text[64];
    assert_true(amf_copy_string(&value, text, sizeof text));
    assert_string_equal(text, code);
    assert_true(amf_object_find(&info, "description", &value) && value.len > 0);
}

static void assert_no_reply(void) {
    struct rtmp_message message;
    assert_false(reply_next(&message));
}

static void assert_closed(enum rtmp_end end) {
    assert_true(rtmp_session_closing(session));
    assert_string_equal(rtmp_end_name(rtmp_session_end(session)), rtmp_end_name(end));
}

static void put_handshake(void) {
    wire_put(&wire, 3, 1);
    for (int i = 0; i < 2 * RTMP_HANDSHAKE_PART / 4; i++)
        wire_put(&wire, 0, 4);
}

static void put_body(int fmt, uint32_t csid, uint32_t time, uint8_t type, uint32_t stream_id) {
    wire_message(&wire, chunk_size, fmt, csid, time, type, stream_id, buf_head(&body), buf_len(&body));
    buf_clear(&body);
}

static void begin_command(const char *name, double transaction) {
    amf_write_string(&body, name);
    amf_write_number(&body, transaction);
}

/* name, transaction, null, text (may be NULL) */
static void put_command(int fmt, uint32_t csid, const char *name, double transaction, const char *text) {
    begin_command(name, transaction);
    amf_write_null(&body);
    if (text)
        amf_write_string(&body, text);
    put_body(fmt, csid, 0, RTMP_COMMAND, 0);
}

static void put_connect(const char *app) {
    begin_command("connect", 1);
    amf_write_object_begin(&body);
    amf_write_name(&body, "app");
    amf_write_string(&body, app);
    amf_write_name(&body, "type");
    amf_write_string(&body, "nonprivate");
    amf_write_name(&body, "flashVer");
    amf_write_string(&body, "FMLE/3.0 (compatible; FMSc/1.0)");
    amf_write_object_end(&body);
    put_body(0, 3, 0, RTMP_COMMAND, 0);
}

static void put_publish(const char *name) {
    begin_command("publish", 5);
    amf_write_null(&body);
    amf_write_string(&body, name);
    amf_write_string(&body, "live");
    put_body(0, 4, 0, RTMP_COMMAND, 1);
}

static void put_video(int fmt, uint32_t time, const char *bytes, size_t len) {
    wire_message(&wire, chunk_size, fmt, 4, time, RTMP_VIDEO, 1, bytes, len);
}

static void put_audio(int fmt, uint32_t time, const char *bytes, size_t len) {
    wire_message(&wire, chunk_size, fmt, 4, time, RTMP_AUDIO, 1, bytes, len);
}

/* Connected, with the replies read. */
static void connect_to(const char *app) {
    put_handshake();
    send_all();
    struct buf *out = rtmp_session_output(session);
    assert_int_equal(buf_len(out), RTMP_HANDSHAKE_REPLY);
    drop_replies();
    put_connect(app);
    send_all();
    struct amf_value info, value;
    assert_control(RTMP_WINDOW_ACK_SIZE, 2500000);
    assert_control(RTMP_SET_PEER_BANDWIDTH, 2500000);
    assert_command("_result", 1, &info); /* SetChunkSize before it is the reader's own affair */
    assert_int_equal(replies.chunk_size, 65536);
    assert_true(amf_object_find(&info, "code", &value) && amf_is_string(&value, "NetConnection.Connect.Success"));
}

static void grant(enum publish_result result) {
    fake.events.on_result(fake.ctx, result);
    rtmp_session_input(session, NULL, 0, now_us);
}

static void assert_started(void) {
    struct rtmp_message message;
    assert_true(reply_next(&message));
    assert_int_equal(message.type, RTMP_USER_CONTROL); /* StreamBegin 1 */
    assert_memory_equal(message.data, "\0\0\0\0\0\1", 6);
    assert_status("status", "NetStream.Publish.Start");
}

static void publish_as(const char *app, const char *name) {
    connect_to(app);
    put_publish(name);
    send_all();
    assert_true(fake.open);
    grant(PUBLISH_OK);
    assert_started();
}

/* --- whole exchanges --- */

static void put_obs_metadata(void) {
    amf_write_string(&body, "@setDataFrame");
    amf_write_string(&body, "onMetaData");
    wire_put(&body, 8, 1); /* an ECMA array */
    wire_put(&body, 5, 4);
    amf_write_name(&body, "width");
    amf_write_number(&body, 640);
    amf_write_name(&body, "videocodecid");
    amf_write_number(&body, 7);
    amf_write_name(&body, "framerate");
    amf_write_number(&body, 30);
    amf_write_name(&body, "audiocodecid");
    amf_write_number(&body, 10);
    amf_write_name(&body, "encoder");
    amf_write_string(&body, "obs-output module (libobs version 29.0.2)");
    amf_write_object_end(&body);
    put_body(0, 4, 0, RTMP_DATA, 1);
}

/* OBS 29: SetChunkSize before connect, all on few chunk streams, all media on one. */
static void obs_publishes_and_says_goodbye(void **state) {
    (void)state;
    struct amf_value info;
    put_handshake();
    send_steps(1000);
    drop_replies();
    wire_message(&wire, 128, 0, 2, 0, RTMP_SET_CHUNK_SIZE, 0, "\0\0\x10\0", 4);
    chunk_size = 4096;
    put_connect("live");
    send_steps(700);
    assert_true(rtmp_session_connected(session));
    assert_control(RTMP_WINDOW_ACK_SIZE, 2500000);
    assert_control(RTMP_SET_PEER_BANDWIDTH, 2500000);
    assert_command("_result", 1, &info);
    put_command(1, 3, "releaseStream", 2, "obs");
    send_all();
    assert_command("_result", 2, &info); /* at once: OBS's FCPublish waits behind it */
    put_command(1, 3, "FCPublish", 3, "obs");
    put_command(1, 3, "createStream", 4, NULL);
    send_all();
    assert_command("_result", 3, &info);
    assert_command("_result", 4, &info);
    assert_true(info.type == AMF_NUMBER && info.number == 1);
    put_publish("obs?key=secret");
    send_all();
    assert_string_equal(fake.app, "live");
    assert_string_equal(fake.name, "obs?key=secret");
    assert_string_equal(rtmp_session_name(session), "obs"); /* keys do not get into logs */
    assert_no_reply();
    grant(PUBLISH_OK);
    assert_int_equal(changes, 1);
    assert_started();
    put_obs_metadata();
    put_audio(0, 0, "\xaf\0\x11\x90\x56\xe5\0", 7);
    put_video(0, 0, "\x17\0\0\0\0\1\x64", 7);
    put_video(1, 0, "\x17\1\0\0\x42key", 8);
    put_audio(1, 21,
              "\xaf\1"
              "a",
              3);
    put_video(1, 12, "\x27\1\0\0\0nal", 8);
    put_audio(1, 10,
              "\xaf\1"
              "b",
              3);
    send_steps(17);
    assert_true(fake.metadata.frame_rate == 30);
    assert_true(fake.metadata.has_video && fake.metadata.has_audio);
    assert_string_equal(fake.metadata.encoder, "obs-output module (libobs version 29.0.2)");
    assert_int_equal(fake.config_count, 2);
    assert_int_equal(fake.config_kinds[0], TRACK_AUDIO);
    assert_int_equal(fake.config_lens[0], 5);
    assert_int_equal(fake.frame_count, 4);
    static const struct {
        enum track_kind kind;
        int64_t dts_ms, pts_ms;
        bool independent;
        char first;
    } frames[] = {{TRACK_VIDEO, 0, 66, true, 'k'},
                  {TRACK_AUDIO, 21, 21, true, 'a'},
                  {TRACK_VIDEO, 33, 33, false, 'n'},
                  {TRACK_AUDIO, 43, 43, true, 'b'}};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(fake.frames[i].kind, frames[i].kind);
        assert_int_equal(fake.frames[i].dts_us, frames[i].dts_ms * 1000ll);
        assert_int_equal(fake.frames[i].pts_us, frames[i].pts_ms * 1000ll);
        assert_int_equal(fake.frames[i].independent, frames[i].independent);
        assert_int_equal(fake.first_bytes[i], frames[i].first);
    }
    put_command(1, 3, "FCUnpublish", 6, "obs");
    put_command(1, 3, "deleteStream", 7, NULL);
    put_audio(1, 10,
              "\xaf\1"
              "c",
              3); /* too late: passed over */
    send_all();
    assert_false(fake.open);
    assert_true(fake.clean);
    assert_int_equal(fake.frame_count, 4);
    assert_status("status", "NetStream.Unpublish.Success");
    rtmp_session_input_end(session);
    assert_closed(RTMP_END_BYE);
}

/* ffmpeg: all in a row, each stream of media on its own chunk stream, and it takes over our chunk size. */
static void ffmpeg_publishes(void **state) {
    (void)state;
    connect_to("live/");
    wire_message(&wire, 128, 0, 2, 0, RTMP_WINDOW_ACK_SIZE, 0, "\0\x26\x25\xa0", 4);
    wire_message(&wire, 128, 0, 2, 0, RTMP_SET_CHUNK_SIZE, 0, "\0\1\0\0", 4);
    chunk_size = 65536;
    put_command(0, 3, "releaseStream", 2, "show");
    put_command(0, 3, "FCPublish", 3, "show");
    put_command(0, 3, "createStream", 4, NULL);
    put_command(0, 3, "_checkbw", 5, NULL);
    put_publish("show");
    send_all();
    assert_string_equal(fake.app, "live");
    drop_replies();
    grant(PUBLISH_OK);
    assert_started();
    static char frame[20000] = "\x17\1\0\0\0";
    put_video(0, 0, "\x17\0\0\0\0\1\x64", 7);
    put_video(0, 23, frame, sizeof frame);
    wire_head(&wire, 3, 4, 0, 0, 0, 0); /* the same length, type and field */
    buf_append(&wire, frame, sizeof frame);
    send_all();
    assert_int_equal(fake.frame_count, 2);
    assert_int_equal(fake.frames[1].dts_us, 46 * 1000ll);
    assert_int_equal(fake.frames[1].len, sizeof frame - 5);
}

static void handshake_byte_by_byte(void **state) {
    (void)state;
    put_handshake();
    send_steps(1);
    assert_int_equal(buf_len(rtmp_session_output(session)), RTMP_HANDSHAKE_REPLY);
    drop_replies();
    put_connect("live");
    send_steps(1);
    assert_true(rtmp_session_connected(session));
}

/* --- results --- */

static void refused_with(enum publish_result result, const char *code, enum rtmp_end end) {
    connect_to("live");
    put_publish("show");
    send_all();
    grant(result);
    assert_status("error", code);
    assert_closed(end);
}

static void busy_name(void **state) {
    (void)state;
    refused_with(PUBLISH_BUSY, "NetStream.Publish.BadName", RTMP_END_BUSY);
}

static void wrong_key(void **state) {
    (void)state;
    refused_with(PUBLISH_DENIED, "NetStream.Publish.Denied", RTMP_END_DENIED);
}

static void bad_name(void **state) {
    (void)state;
    refused_with(PUBLISH_BAD_NAME, "NetStream.Publish.BadName", RTMP_END_BAD_NAME);
}

static void full_server(void **state) {
    (void)state;
    refused_with(PUBLISH_FULL, "NetStream.Failed", RTMP_END_FULL);
}

static void name_of_no_use_never_opens_a_publisher(void **state) {
    (void)state;
    char name[600];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    connect_to("live");
    put_publish(name);
    send_all();
    assert_int_equal(opened, 0);
    assert_status("error", "NetStream.Publish.BadName");
    assert_closed(RTMP_END_BAD_NAME);
}

static void lost_publisher_is_told_why(void **state) {
    (void)state;
    publish_as("live", "show");
    fake.events.on_lost(fake.ctx, "taken over");
    assert_int_equal(changes, 2);
    assert_status("error", "NetStream.Failed");
    assert_closed(RTMP_END_PUBLISHER);
    assert_string_equal(rtmp_session_why(session), "taken over");
}

static void play_is_refused(void **state) {
    (void)state;
    connect_to("live");
    put_command(0, 3, "createStream", 2, NULL);
    put_command(0, 8, "play", 0, "show");
    struct amf_value info;
    send_all();
    assert_command("_result", 2, &info);
    assert_status("error", "NetStream.Play.StreamNotFound");
    assert_closed(RTMP_END_PLAY);
}

static void unsupported_codec_is_named(void **state) {
    (void)state;
    publish_as("live", "show");
    put_video(0, 0, "\x90hvc1\1", 6);
    send_all();
    assert_status("error", "NetStream.Failed");
    assert_closed(RTMP_END_UNSUPPORTED);
    assert_string_equal(rtmp_session_why(session),
                        "HEVC (enhanced RTMP) is not supported: send H.264 video and AAC audio.");
}

/* --- order of things --- */

static void media_before_the_grant_is_held(void **state) {
    (void)state;
    connect_to("live");
    put_publish("show");
    put_video(0, 0, "\x17\0\0\0\0\1\x64", 7);
    send_all();
    assert_false(rtmp_session_wants_input(session));
    put_video(0, 40, "\x17\1\0\0\0key", 8);
    send_steps(3);
    assert_int_equal(fake.config_count, 0);
    grant(PUBLISH_OK);
    assert_true(rtmp_session_wants_input(session));
    assert_int_equal(fake.config_count, 1);
    assert_int_equal(fake.frame_count, 1);
    put_video(0, 80, "\x27\1\0\0\0nal", 8);
    send_all();
    assert_int_equal(fake.frame_count, 2);
}

static void what_is_held_is_limited(void **state) {
    (void)state;
    static uint8_t flood[UNPUBLISHED_BYTES];
    connect_to("live");
    put_publish("show");
    send_all();
    rtmp_session_input(session, flood, UNPUBLISHED_BYTES, now_us);
    assert_false(rtmp_session_closing(session));
    rtmp_session_input(session, flood, 1, now_us);
    assert_closed(RTMP_END_PROTOCOL);
}

/* All but the last byte of a video message. */
static void put_unfinished_video(size_t len) {
    static uint8_t frame[1 << 20] = {0x27, 1};
    wire_message(&wire, chunk_size, 0, 6, 0, RTMP_VIDEO, 1, frame, len);
    wire.len--;
}

static void unfinished_messages_are_small_before_the_grant(void **state) {
    (void)state;
    connect_to("live");
    put_unfinished_video(UNPUBLISHED_BYTES + 2);
    send_all();
    assert_closed(RTMP_END_PROTOCOL);
}

static void unfinished_messages_are_large_after_the_grant(void **state) {
    (void)state;
    publish_as("live", "show");
    assert_true(rtmp_session_published(session));
    put_unfinished_video(1 << 20);
    send_all();
    assert_false(rtmp_session_closing(session));
    assert_int_equal(fake.frame_count, 0);
}

static void one_connection_publishes_again(void **state) {
    (void)state;
    publish_as("live", "one");
    put_command(0, 3, "closeStream", 0, NULL);
    send_all();
    assert_false(fake.open);
    assert_status("status", "NetStream.Unpublish.Success");
    put_publish("two");
    send_all();
    assert_string_equal(fake.name, "two");
    grant(PUBLISH_OK);
    assert_started();
    put_publish("three");
    send_all();
    assert_status("error", "NetStream.Publish.BadName");
    assert_false(rtmp_session_closing(session));
    assert_int_equal(opened, 2);
}

static void new_configuration_is_handed_on(void **state) {
    (void)state;
    publish_as("live", "show");
    put_video(0, 0, "\x17\0\0\0\0\1\x64", 7);
    put_video(0, 40, "\x17\1\0\0\0key", 8);
    put_video(0, 80, "\x17\0\0\0\0\1\x42\0", 8);
    send_all();
    assert_int_equal(fake.config_count, 2);
    assert_int_equal(fake.config_lens[1], 3);
}

static void commands_before_connect_are_refused(void **state) {
    (void)state;
    put_handshake();
    put_publish("show");
    send_all();
    assert_closed(RTMP_END_PROTOCOL);
    assert_int_equal(opened, 0);
}

static void unknown_calls_are_answered(void **state) {
    (void)state;
    struct amf_value info;
    connect_to("live");
    put_command(0, 3, "getStreamLength", 9, "x");
    put_command(0, 3, "whatever", 0, NULL);
    send_all();
    assert_command("_error", 9, &info);
    assert_no_reply();
}

static void amf3_message_types_carry_amf0(void **state) {
    (void)state;
    connect_to("live");
    wire_put(&body, 0, 1);
    begin_command("createStream", 4);
    amf_write_null(&body);
    put_body(0, 3, 0, RTMP_COMMAND_AMF3, 0);
    struct amf_value info;
    send_all();
    assert_command("_result", 4, &info);
}

static void plain_metadata_with_codec_names(void **state) {
    (void)state;
    publish_as("live", "show");
    amf_write_string(&body, "onMetaData");
    amf_write_object_begin(&body);
    amf_write_name(&body, "videocodecid");
    amf_write_string(&body, "avc1");
    amf_write_name(&body, "framerate");
    amf_write_number(&body, 1e300);
    amf_write_object_end(&body);
    put_body(0, 4, 0, RTMP_DATA, 1);
    amf_write_string(&body, "onMetaData"); /* malformed: passed over */
    wire_put(&body, 0x0300, 2);
    put_body(0, 4, 0, RTMP_DATA, 1);
    send_all();
    assert_int_equal(fake.metadata_count, 1);
    assert_true(fake.metadata.has_video);
    assert_false(fake.metadata.has_audio);
    assert_true(fake.metadata.frame_rate == 0);
}

/* --- time --- */

static void put_frames_at(const uint32_t *times, int count) {
    for (int i = 0; i < count; i++)
        put_video(0, times[i], "\x27\1\0\0\0nal", 8);
}

static void timestamps_wrap_at_32_bits(void **state) {
    (void)state;
    publish_as("live", "show");
    put_frames_at((const uint32_t[]){0xFFFFFFF0, 0x10, 0xFFFFFFFE, 0x30}, 4);
    send_all();
    assert_int_equal(fake.frames[1].dts_us, fake.frames[0].dts_us + 0x20 * 1000);
    assert_int_equal(fake.frames[2].dts_us, fake.frames[0].dts_us + 0x0E * 1000);
    assert_int_equal(fake.frames[3].dts_us, fake.frames[0].dts_us + 0x40 * 1000);
}

static void timestamps_wrap_at_31_bits(void **state) {
    (void)state;
    publish_as("live", "show");
    put_frames_at((const uint32_t[]){0x7FFFFFF0, 0x10, 0x7FFFFFFE, 0x30}, 4);
    send_all();
    assert_int_equal(fake.frames[1].dts_us, 0x80000010 * 1000ll);
    assert_int_equal(fake.frames[2].dts_us, 0x7FFFFFFE * 1000ll);
    assert_int_equal(fake.frames[3].dts_us, 0x80000030 * 1000ll);
}

static void extended_deltas_add_up(void **state) {
    (void)state;
    publish_as("live", "show");
    put_video(0, 0xFFFFFE, "\x17\1\0\0\0key", 8);
    put_video(1, 40, "\x27\1\0\0\0nal", 8);
    put_video(0, 0x1000026, "\x27\1\0\0\0nal", 8);
    put_video(1, (uint32_t)-20, "\x27\1\0\0\0nal", 8);
    send_all();
    assert_int_equal(fake.frame_count, 4);
    assert_int_equal(fake.frames[1].dts_us, 0x1000026 * 1000ll);
    assert_int_equal(fake.frames[3].dts_us, 0x1000012 * 1000ll);
}

static void put_tag(uint8_t type, uint32_t time, const char *bytes, size_t len) {
    wire_put(&body, type, 1);
    wire_put(&body, len, 3);
    wire_put(&body, time & 0xFFFFFF, 3);
    wire_put(&body, time >> 24, 1);
    wire_put(&body, 0, 3);
    buf_append(&body, bytes, len);
    wire_put(&body, len + 11, 4);
}

static void aggregate_times_count_from_the_message(void **state) {
    (void)state;
    publish_as("live", "show");
    put_tag(9, 1000, "\x17\0\0\0\0\1\x64", 7);
    put_tag(9, 1000, "\x17\1\0\0\0key", 8);
    put_tag(8, 1021,
            "\xaf\1"
            "a",
            3);
    put_tag(9, 1040, "\x27\1\0\0\0nal", 8);
    put_body(0, 4, 5000, RTMP_AGGREGATE, 1);
    send_all();
    assert_int_equal(fake.config_count, 1);
    assert_int_equal(fake.frame_count, 3);
    assert_int_equal(fake.frames[0].dts_us, 5000 * 1000ll);
    assert_int_equal(fake.frames[1].dts_us, 5021 * 1000ll);
    assert_int_equal(fake.frames[2].dts_us, 5040 * 1000ll);
}

/* --- control --- */

static void ping_is_answered(void **state) {
    (void)state;
    struct rtmp_message message;
    connect_to("live");
    wire_message(&wire, 128, 1, 2, 0, RTMP_USER_CONTROL, 0, "\0\6\1\2\3\4", 6); /* fmt 1 first, as librtmp */
    send_all();
    assert_true(reply_next(&message));
    assert_int_equal(message.type, RTMP_USER_CONTROL);
    assert_memory_equal(message.data, "\0\7\1\2\3\4", 6);
}

static void every_window_is_acknowledged(void **state) {
    (void)state;
    static char frame[60000] = "\x27\1\0\0\0";
    publish_as("live", "show");
    wire_message(&wire, 128, 0, 2, 0, RTMP_WINDOW_ACK_SIZE, 0, "\0\1\x86\xa0", 4); /* 100000 */
    for (int i = 0; i < 4; i++)
        put_video(0, 0, frame, sizeof frame);
    send_steps(10000);
    uint32_t first = control_value(RTMP_ACKNOWLEDGEMENT);
    assert_in_range(first, 100000, 110000);
    assert_in_range(control_value(RTMP_ACKNOWLEDGEMENT), first + 100000, first + 110000);
    assert_no_reply();
}

static void peer_that_does_not_read_is_closed(void **state) {
    (void)state;
    connect_to("live");
    for (int i = 0; i < 6000; i++)
        wire_message(&wire, 128, 0, 2, 0, RTMP_USER_CONTROL, 0, "\0\6\1\2\3\4", 6);
    send_steps(1000);
    assert_closed(RTMP_END_NOT_READING);
    assert_true(rtmp_session_output(session)->cap <= 64 << 10);
}

/* --- what is wrong --- */

static void other_protocols_are_refused_at_the_first_byte(void **state) {
    (void)state;
    buf_append_str(&wire, "GET / HTTP/1.1\r\n");
    send_all();
    assert_closed(RTMP_END_PROTOCOL);
    assert_int_equal(buf_len(rtmp_session_output(session)), 0);
}

static void encrypted_rtmp_is_refused(void **state) {
    (void)state;
    wire_put(&wire, 6, 1);
    send_all();
    assert_closed(RTMP_END_PROTOCOL);
    assert_non_null(strstr(rtmp_session_why(session), "RTMPE"));
}

static void malformed_command_closes(void **state) {
    (void)state;
    connect_to("live");
    wire_message(&wire, 128, 0, 3, 0, RTMP_COMMAND, 0,
                 "\2\0\xff"
                 "pub",
                 6);
    send_all();
    assert_closed(RTMP_END_PROTOCOL);
}

static void malformed_media_closes(void **state) {
    (void)state;
    publish_as("live", "show");
    put_video(0, 0, "\x17\1\0", 3);
    put_video(0, 0, "\x17\1\0\0\0key", 8);
    send_all();
    assert_closed(RTMP_END_PROTOCOL);
    assert_int_equal(fake.frame_count, 0);
}

static void malformed_aggregate_closes(void **state) {
    (void)state;
    publish_as("live", "show");
    wire_message(&wire, 128, 0, 4, 0, RTMP_AGGREGATE, 1, "\x09\0\0\xff\0\0\0\0\0\0\0v", 12);
    send_all();
    assert_closed(RTMP_END_PROTOCOL);
}

static void broken_chunks_close(void **state) {
    (void)state;
    publish_as("live", "show");
    wire_head(&wire, 0, 4, 0, 5 << 20, RTMP_VIDEO, 1);
    send_all();
    assert_closed(RTMP_END_PROTOCOL);
    assert_string_equal(rtmp_session_why(session), "message too long");
}

/* --- silence --- */

static void silent_publisher_is_closed(void **state) {
    (void)state;
    publish_as("live", "show");
    now_us += 4 * S;
    put_audio(0, 0,
              "\xaf\1"
              "a",
              3);
    send_all();
    rtmp_session_check(session, now_us + 4 * S);
    assert_false(rtmp_session_closing(session));
    rtmp_session_check(session, now_us + 6 * S);
    assert_closed(RTMP_END_SILENT);
}

static void late_publisher_is_closed(void **state) {
    (void)state;
    connect_to("live");
    rtmp_session_check(session, now_us + 9 * S);
    assert_false(rtmp_session_closing(session));
    rtmp_session_check(session, now_us + 11 * S);
    assert_closed(RTMP_END_LATE);
}

static void broken_connection_is_not_clean(void **state) {
    (void)state;
    publish_as("live", "show");
    rtmp_session_input_end(session);
    assert_closed(RTMP_END_LOST);
    rtmp_session_destroy(session);
    session = NULL;
    assert_false(fake.open);
    assert_false(fake.clean);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(obs_publishes_and_says_goodbye),
        TEST(ffmpeg_publishes),
        TEST(handshake_byte_by_byte),
        TEST(busy_name),
        TEST(wrong_key),
        TEST(bad_name),
        TEST(full_server),
        TEST(name_of_no_use_never_opens_a_publisher),
        TEST(lost_publisher_is_told_why),
        TEST(play_is_refused),
        TEST(unsupported_codec_is_named),
        TEST(media_before_the_grant_is_held),
        TEST(what_is_held_is_limited),
        TEST(unfinished_messages_are_small_before_the_grant),
        TEST(unfinished_messages_are_large_after_the_grant),
        TEST(one_connection_publishes_again),
        TEST(new_configuration_is_handed_on),
        TEST(commands_before_connect_are_refused),
        TEST(unknown_calls_are_answered),
        TEST(amf3_message_types_carry_amf0),
        TEST(plain_metadata_with_codec_names),
        TEST(timestamps_wrap_at_32_bits),
        TEST(timestamps_wrap_at_31_bits),
        TEST(extended_deltas_add_up),
        TEST(aggregate_times_count_from_the_message),
        TEST(ping_is_answered),
        TEST(every_window_is_acknowledged),
        TEST(peer_that_does_not_read_is_closed),
        TEST(other_protocols_are_refused_at_the_first_byte),
        TEST(encrypted_rtmp_is_refused),
        TEST(malformed_command_closes),
        TEST(malformed_media_closes),
        TEST(malformed_aggregate_closes),
        TEST(broken_chunks_close),
        TEST(silent_publisher_is_closed),
        TEST(late_publisher_is_closed),
        TEST(broken_connection_is_not_clean),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
