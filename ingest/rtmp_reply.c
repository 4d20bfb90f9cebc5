#include "ingest/rtmp_reply.h"

#include "common/base/buf.h"
#include "ingest/amf.h"

enum { CSID_CONTROL = 2, CSID_COMMAND = 3, CSID_STATUS = 5 };
enum { COMMAND_BYTES_MAX = 2048, BANDWIDTH_DYNAMIC = 2 };

static void put(uint8_t *p, uint32_t value, int bytes) {
    for (int i = bytes - 1; i >= 0; i--, value >>= 8)
        p[i] = (uint8_t)value;
}

static void write_message(struct buf *out, uint8_t type, uint32_t csid, uint32_t stream_id, const void *data,
                          size_t len) {
    struct rtmp_message message = {.type = type, .csid = csid, .stream_id = stream_id, .data = data, .len = len};
    rtmp_chunk_write(out, RTMP_REPLY_CHUNK_SIZE, &message);
}

void rtmp_reply_control(struct buf *out, enum rtmp_message_type type, uint32_t value) {
    uint8_t body[4];
    put(body, value, 4);
    write_message(out, type, CSID_CONTROL, 0, body, sizeof body);
}

void rtmp_reply_user_control(struct buf *out, uint16_t event, uint32_t value) {
    uint8_t body[6];
    put(body, event, 2);
    put(body + 2, value, 4);
    write_message(out, RTMP_USER_CONTROL, CSID_CONTROL, 0, body, sizeof body);
}

static void reply_peer_bandwidth(struct buf *out) {
    uint8_t body[5];
    put(body, RTMP_WINDOW_BYTES, 4);
    body[4] = BANDWIDTH_DYNAMIC;
    write_message(out, RTMP_SET_PEER_BANDWIDTH, CSID_CONTROL, 0, body, sizeof body);
}

/* --- commands --- */

static void command_begin(struct buf *body, const char *name, double transaction) {
    buf_init(body, COMMAND_BYTES_MAX);
    amf_write_string(body, name);
    amf_write_number(body, transaction);
}

static void command_end(struct buf *body, struct buf *out, uint32_t csid, uint32_t stream_id) {
    if (body->overflow)
        out->overflow = true;
    else
        write_message(out, RTMP_COMMAND, csid, stream_id, buf_head(body), buf_len(body));
    buf_finish(body);
}

static void write_text(struct buf *body, const char *name, const char *text) {
    amf_write_name(body, name);
    amf_write_string(body, text);
}

static void write_number(struct buf *body, const char *name, double number) {
    amf_write_name(body, name);
    amf_write_number(body, number);
}

static void write_info(struct buf *body, const char *level, const char *code, const char *description) {
    write_text(body, "level", level);
    write_text(body, "code", code);
    write_text(body, "description", description);
}

/* --- Enhanced RTMP, "Enhancing NetConnection connect Command" --- */

static const char *const video_fourccs[] = {"avc1", "hvc1", "av01", "vp09"};
static const char *const audio_fourccs[] = {"mp4a", "Opus", "fLaC"};
enum { VIDEO_FOURCCS = 4, AUDIO_FOURCCS = 3 };

static void write_info_map(struct buf *body, const char *name, const char *const *fourccs, uint32_t count) {
    enum { CAN_FORWARD = 4 };
    amf_write_name(body, name);
    amf_write_object_begin(body);
    for (uint32_t i = 0; i < count; i++)
        write_number(body, fourccs[i], CAN_FORWARD);
    amf_write_object_end(body);
}

static void write_offer(struct buf *body, const struct rtmp_offer *offer) {
    if (offer->list) {
        amf_write_name(body, "fourCcList");
        amf_write_array_begin(body, VIDEO_FOURCCS + AUDIO_FOURCCS);
        for (uint32_t i = 0; i < VIDEO_FOURCCS; i++)
            amf_write_string(body, video_fourccs[i]);
        for (uint32_t i = 0; i < AUDIO_FOURCCS; i++)
            amf_write_string(body, audio_fourccs[i]);
    }
    if (offer->info_maps) {
        write_info_map(body, "videoFourCcInfoMap", video_fourccs, VIDEO_FOURCCS);
        write_info_map(body, "audioFourCcInfoMap", audio_fourccs, AUDIO_FOURCCS);
        write_number(body, "capsEx",
                     RTMP_CAPS_RECONNECT | RTMP_CAPS_MULTITRACK | RTMP_CAPS_MODEX | RTMP_CAPS_NANO_OFFSET);
    }
}

void rtmp_reply_connect(struct buf *out, double transaction, const struct rtmp_offer *offer) {
    struct buf body;
    rtmp_reply_control(out, RTMP_WINDOW_ACK_SIZE, RTMP_WINDOW_BYTES);
    reply_peer_bandwidth(out);
    rtmp_reply_control(out, RTMP_SET_CHUNK_SIZE, RTMP_REPLY_CHUNK_SIZE);
    command_begin(&body, "_result", transaction);
    amf_write_object_begin(&body);
    write_text(&body, "fmsVer", "FMS/3,0,1,123"); /* clients look for nothing newer */
    write_number(&body, "capabilities", 31);
    write_offer(&body, offer);
    amf_write_object_end(&body);
    amf_write_object_begin(&body);
    write_info(&body, "status", "NetConnection.Connect.Success", "Connection succeeded.");
    write_number(&body, "objectEncoding", 0); /* AMF0, whatever was asked for */
    amf_write_object_end(&body);
    command_end(&body, out, CSID_COMMAND, 0);
}

void rtmp_reply_result(struct buf *out, double transaction, uint32_t number) {
    struct buf body;
    command_begin(&body, "_result", transaction);
    amf_write_null(&body);
    if (number)
        amf_write_number(&body, number);
    command_end(&body, out, CSID_COMMAND, 0);
}

void rtmp_reply_error(struct buf *out, double transaction, const char *description) {
    struct buf body;
    command_begin(&body, "_error", transaction);
    amf_write_null(&body);
    amf_write_object_begin(&body);
    write_info(&body, "error", "NetConnection.Call.Failed", description);
    amf_write_object_end(&body);
    command_end(&body, out, CSID_COMMAND, 0);
}

void rtmp_reply_status(struct buf *out, uint32_t stream_id, const char *level, const char *code,
                       const char *description) {
    struct buf body;
    command_begin(&body, "onStatus", 0);
    amf_write_null(&body);
    amf_write_object_begin(&body);
    write_info(&body, level, code, description);
    amf_write_object_end(&body);
    command_end(&body, out, CSID_STATUS, stream_id);
}

void rtmp_reply_reconnect(struct buf *out, const char *tc_url, const char *description) {
    struct buf body;
    command_begin(&body, "onStatus", 0);
    amf_write_null(&body);
    amf_write_object_begin(&body);
    write_info(&body, "status", "NetConnection.Connect.ReconnectRequest", description);
    if (tc_url)
        write_text(&body, "tcUrl", tc_url);
    amf_write_object_end(&body);
    command_end(&body, out, CSID_COMMAND, 0);
}
