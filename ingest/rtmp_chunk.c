/* Where encoders differ from the specification, and what is done here:
 *
 *   fmt 1 as the first header of a chunk stream   librtmp sends its control messages so: taken, relative to time 0
 *   deltas that lead backwards                    librtmp, as extended timestamps: time is computed modulo 2^32
 *   a message header amid a message               nobody who means well: refused, for a new length is how parsers are
 * broken */
#include "ingest/rtmp_chunk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"

enum {
    EXTENDED = 0xFFFFFF, /* timestamp field that announces four more bytes */
    BODY_MIN = 4096,
    BODY_KEEP = 16 << 10, /* a larger body is given back after its message */
};

/* A header as it stands in the bytes. */
struct head {
    uint8_t fmt, type;
    uint32_t csid, field, len, stream_id;
    bool extended;
    struct rtmp_chunk_stream *stream; /* NULL: not seen before */
};

static uint32_t get24(const uint8_t *p) {
    return (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
}

static uint32_t get32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | get24(p + 1);
}

static uint32_t get32le(const uint8_t *p) {
    return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

static int fail(struct rtmp_chunk_reader *reader, int rc, const char *why) {
    reader->why = why;
    return rc;
}

void rtmp_chunk_reader_init(struct rtmp_chunk_reader *reader, size_t memory_max) {
    *reader = (struct rtmp_chunk_reader){.chunk_size = RTMP_CHUNK_SIZE_DEFAULT, .memory_max = memory_max};
}

static void body_free(struct rtmp_chunk_reader *reader, struct rtmp_chunk_stream *stream) {
    reader->memory -= stream->body_cap;
    free(stream->body);
    stream->body = NULL;
    stream->body_cap = 0;
}

void rtmp_chunk_reader_finish(struct rtmp_chunk_reader *reader) {
    for (uint32_t i = 0; i < reader->stream_count; i++)
        body_free(reader, &reader->streams[i]);
    reader->stream_count = 0;
    reader->current = reader->delivered = NULL;
}

static struct rtmp_chunk_stream *stream_find(struct rtmp_chunk_reader *reader, uint32_t csid) {
    for (uint32_t i = 0; i < reader->stream_count; i++)
        if (reader->streams[i].csid == csid)
            return &reader->streams[i];
    return NULL;
}

/* --- headers --- */

/* Length of the basic header (§5.3.1.1), 0 when it is cut off. */
static size_t parse_basic(const uint8_t *p, size_t n, struct head *head) {
    if (n < 1)
        return 0;
    head->fmt = p[0] >> 6;
    head->csid = p[0] & 0x3F;
    if (head->csid > 1)
        return 1;
    size_t len = head->csid + 2; /* 0: one byte follows, 1: two */
    if (n < len)
        return 0;
    head->csid = 64 + p[1] + (len == 3 ? (uint32_t)p[2] << 8 : 0);
    return len;
}

/* Length of the whole header, 0 when it is cut off. Changes nothing but `head`. */
static size_t parse_head(struct rtmp_chunk_reader *reader, const uint8_t *p, size_t n, struct head *head) {
    static const uint8_t field_bytes[] = {11, 7, 3, 0};
    size_t used = parse_basic(p, n, head);
    if (!used)
        return 0;
    const uint8_t *fields = p + used;
    used += field_bytes[head->fmt];
    if (n < used)
        return 0;
    head->stream = stream_find(reader, head->csid);
    if (head->fmt == 3) {
        head->field = head->stream ? head->stream->field : 0;
        head->extended = head->stream && head->stream->extended;
    } else {
        head->field = get24(fields);
        head->extended = head->field == EXTENDED;
    }
    if (head->fmt < 2) {
        head->len = get24(fields + 3);
        head->type = fields[6];
    }
    if (head->fmt == 0)
        head->stream_id = get32le(fields + 7);
    if (!head->extended)
        return used;
    if (n < used + 4)
        return 0;
    head->field = get32(p + used);
    return used + 4;
}

static size_t message_bytes_max(uint8_t type) {
    if (type == RTMP_VIDEO || type == RTMP_AGGREGATE)
        return RTMP_VIDEO_BYTES_MAX;
    return type == RTMP_AUDIO ? RTMP_AUDIO_BYTES_MAX : RTMP_OTHER_BYTES_MAX;
}

static int stream_add(struct rtmp_chunk_reader *reader, struct head *head) {
    if (head->fmt > 1)
        return fail(reader, -EBADMSG, "chunk stream begins without a message length");
    if (reader->stream_count == RTMP_CHUNK_STREAMS_MAX)
        return fail(reader, -ENOBUFS, "too many chunk streams");
    head->stream = &reader->streams[reader->stream_count++];
    *head->stream = (struct rtmp_chunk_stream){.csid = head->csid};
    return 0;
}

static int message_begin(struct rtmp_chunk_reader *reader, struct head *head) {
    struct rtmp_chunk_stream *stream = head->stream;
    if (head->fmt < 2) {
        if (head->len > message_bytes_max(head->type))
            return fail(reader, -EMSGSIZE, "message too long");
        stream->len = head->len;
        stream->type = head->type;
    }
    if (head->fmt == 0) {
        stream->stream_id = head->stream_id;
        stream->timestamp_ms = head->field;
    } else {
        stream->timestamp_ms += head->field;
    }
    stream->field = head->field;
    stream->extended = head->extended;
    return 0;
}

/* A whole header: the chunk that it opens becomes the current one. */
static int chunk_begin(struct rtmp_chunk_reader *reader, struct head *head) {
    int rc = head->stream ? 0 : stream_add(reader, head);
    if (rc)
        return rc;
    struct rtmp_chunk_stream *stream = head->stream;
    if (stream->received && head->fmt != 3)
        return fail(reader, -EBADMSG, "message header amid a message");
    if (!stream->received)
        rc = message_begin(reader, head);
    if (rc)
        return rc;
    uint32_t left = stream->len - stream->received;
    reader->chunk_left = left < reader->chunk_size ? left : reader->chunk_size;
    reader->current = stream;
    return 0;
}

/* Takes a header from the bytes, or what there is of it. */
static int read_head(struct rtmp_chunk_reader *reader, const uint8_t *data, size_t len, size_t *used) {
    struct head head = {0};
    size_t kept = reader->head_len, n;
    if (!kept && (n = parse_head(reader, data, len, &head))) {
        *used += n;
        return chunk_begin(reader, &head);
    }
    size_t room = sizeof reader->head - kept, more = len < room ? len : room;
    memcpy(reader->head + kept, data, more);
    n = parse_head(reader, reader->head, kept + more, &head);
    if (!n) { /* then `more` was all there is: a header never needs more than the room */
        reader->head_len = (uint8_t)(kept + more);
        *used += more;
        return 0;
    }
    reader->head_len = 0;
    *used += n - kept;
    return chunk_begin(reader, &head);
}

/* --- bodies --- */

static int body_grow(struct rtmp_chunk_reader *reader, struct rtmp_chunk_stream *stream, uint32_t need) {
    uint32_t cap = stream->body_cap ? 2 * stream->body_cap : BODY_MIN;
    if (cap > stream->len)
        cap = stream->len;
    if (cap < need)
        cap = need;
    if (reader->memory + (cap - stream->body_cap) > reader->memory_max)
        return fail(reader, -ENOBUFS, "too much in unfinished messages");
    uint8_t *body = realloc(stream->body, cap);
    if (!body)
        return fail(reader, -ENOBUFS, "out of memory");
    reader->memory += cap - stream->body_cap;
    stream->body = body;
    stream->body_cap = cap;
    return 0;
}

static int body_append(struct rtmp_chunk_reader *reader, const uint8_t *data, uint32_t len) {
    struct rtmp_chunk_stream *stream = reader->current;
    uint32_t need = stream->received + len;
    int rc = need > stream->body_cap ? body_grow(reader, stream, need) : 0;
    if (rc || !len)
        return rc;
    memcpy(stream->body + stream->received, data, len);
    stream->received = need;
    return 0;
}

static void message_of(const struct rtmp_chunk_stream *stream, const uint8_t *data, struct rtmp_message *ret_message) {
    *ret_message = (struct rtmp_message){.type = stream->type,
                                         .csid = stream->csid,
                                         .stream_id = stream->stream_id,
                                         .timestamp_ms = stream->timestamp_ms,
                                         .data = data,
                                         .len = stream->len};
}

/* Goes on in the current chunk. 1 when that completes a message. */
static int read_body(struct rtmp_chunk_reader *reader, const uint8_t *data, size_t len, size_t *used,
                     struct rtmp_message *ret_message) {
    struct rtmp_chunk_stream *stream = reader->current;
    uint32_t take = len < reader->chunk_left ? (uint32_t)len : reader->chunk_left;
    *used += take;
    if (!stream->received && take == stream->len) {
        reader->current = NULL;
        message_of(stream, data, ret_message);
        return 1;
    }
    int rc = body_append(reader, data, take);
    if (rc)
        return rc;
    reader->chunk_left -= take;
    if (reader->chunk_left)
        return 0;
    reader->current = NULL;
    if (stream->received < stream->len)
        return 0;
    stream->received = 0;
    reader->delivered = stream;
    message_of(stream, stream->body, ret_message);
    return 1;
}

static void release_delivered(struct rtmp_chunk_reader *reader) {
    if (reader->delivered && reader->delivered->body_cap > BODY_KEEP)
        body_free(reader, reader->delivered);
    reader->delivered = NULL;
}

/* --- messages of this layer (§5.4.1, §5.4.2) --- */

static int set_chunk_size(struct rtmp_chunk_reader *reader, const struct rtmp_message *message) {
    uint32_t size = message->len == 4 ? get32(message->data) & 0x7FFFFFFF : 0;
    if (size < 1 || size > RTMP_CHUNK_SIZE_MAX)
        return fail(reader, -EBADMSG, "bad chunk size");
    reader->chunk_size = size;
    return 0;
}

static int abort_message(struct rtmp_chunk_reader *reader, const struct rtmp_message *message) {
    if (message->len != 4)
        return fail(reader, -EBADMSG, "malformed abort message");
    struct rtmp_chunk_stream *stream = stream_find(reader, get32(message->data));
    if (stream && stream->received) {
        stream->received = 0;
        body_free(reader, stream);
    }
    return 0;
}

/* 1: `message` is for the caller. */
static int dispatch(struct rtmp_chunk_reader *reader, const struct rtmp_message *message) {
    if (message->type == RTMP_SET_CHUNK_SIZE)
        return set_chunk_size(reader, message);
    if (message->type == RTMP_ABORT)
        return abort_message(reader, message);
    return 1;
}

int rtmp_chunk_read(struct rtmp_chunk_reader *reader, const uint8_t *data, size_t len, size_t *ret_used,
                    struct rtmp_message *ret_message) {
    size_t used = 0;
    int rc = 0;
    while (!rc) {
        release_delivered(reader);
        if (!reader->current) {
            if (used == len)
                break;
            rc = read_head(reader, data + used, len - used, &used);
        } else {
            if (used == len && reader->chunk_left)
                break;
            rc = read_body(reader, data + used, len - used, &used, ret_message);
            if (rc > 0)
                rc = dispatch(reader, ret_message);
        }
    }
    *ret_used = used;
    return rc;
}

/* --- writing --- */

static void put(uint8_t *p, uint32_t value, int bytes) {
    for (int i = bytes - 1; i >= 0; i--, value >>= 8)
        p[i] = (uint8_t)value;
}

static size_t write_head(uint8_t *p, const struct rtmp_message *message) {
    bool extended = message->timestamp_ms >= EXTENDED;
    p[0] = (uint8_t)message->csid;
    put(p + 1, extended ? EXTENDED : message->timestamp_ms, 3);
    put(p + 4, (uint32_t)message->len, 3);
    p[7] = message->type;
    for (int i = 0; i < 4; i++)
        p[8 + i] = (uint8_t)(message->stream_id >> 8 * i); /* the one little-endian field */
    if (extended)
        put(p + 12, message->timestamp_ms, 4);
    return extended ? 16 : 12;
}

static size_t write_continuation(uint8_t *p, const struct rtmp_message *message) {
    p[0] = (uint8_t)(0xC0 | message->csid);
    if (message->timestamp_ms < EXTENDED)
        return 1;
    put(p + 1, message->timestamp_ms, 4);
    return 5;
}

void rtmp_chunk_write(struct buf *out, uint32_t chunk_size, const struct rtmp_message *message) {
    uint8_t head[RTMP_CHUNK_HEAD_MAX];
    buf_append(out, head, write_head(head, message));
    for (size_t off = 0; off < message->len;) {
        if (off)
            buf_append(out, head, write_continuation(head, message));
        size_t left = message->len - off, n = left < chunk_size ? left : chunk_size;
        buf_append(out, message->data + off, n);
        off += n;
    }
}
