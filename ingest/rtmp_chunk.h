/* RTMP chunk streams (RTMP 1.0 §5.3): a peer's bytes to messages, and our messages to bytes. Pure and bounded: message
 * lengths by type, 64 chunk streams, and the memory of all unfinished messages of a connection together; bodies are
 * allocated as their bytes arrive, never by what a header promises. SetChunkSize and Abort belong to this layer: they
 * are obeyed here and never returned.
 *
 * A message that lies in one chunk within the bytes given is returned in place, without a copy. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;

enum rtmp_message_type {
    RTMP_SET_CHUNK_SIZE = 1,
    RTMP_ABORT = 2,
    RTMP_ACKNOWLEDGEMENT = 3,
    RTMP_USER_CONTROL = 4,
    RTMP_WINDOW_ACK_SIZE = 5,
    RTMP_SET_PEER_BANDWIDTH = 6,
    RTMP_AUDIO = 8,
    RTMP_VIDEO = 9,
    RTMP_DATA_AMF3 = 15,
    RTMP_COMMAND_AMF3 = 17,
    RTMP_DATA = 18,
    RTMP_COMMAND = 20,
    RTMP_AGGREGATE = 22,
};

enum {
    RTMP_CHUNK_STREAMS_MAX = 64,
    RTMP_CHUNK_HEAD_MAX = 18, /* basic header 3, message header 11, extended timestamp 4 */
    RTMP_CHUNK_SIZE_DEFAULT = 128,
    RTMP_CHUNK_SIZE_MAX = 1 << 20,
    RTMP_VIDEO_BYTES_MAX = 4 << 20, /* aggregates too */
    RTMP_AUDIO_BYTES_MAX = 64 << 10,
    RTMP_OTHER_BYTES_MAX = 64 << 10, /* AMF and control */
};

struct rtmp_message {
    uint8_t type;
    uint32_t csid;
    uint32_t stream_id;
    uint32_t timestamp_ms; /* absolute; wraps */
    const uint8_t *data;
    size_t len;
};

/* What is remembered of a chunk stream: later headers are given relative to it. */
struct rtmp_chunk_stream {
    uint32_t csid, stream_id;
    uint32_t timestamp_ms;
    uint32_t field; /* last timestamp field, absolute or delta: fmt 3 adds it again (§5.3.1.2.4) */
    bool extended;  /* it was sent as an extended timestamp, so fmt 3 repeats it */
    uint8_t type;
    uint32_t len, received;
    uint8_t *body;
    uint32_t body_cap;
};

struct rtmp_chunk_reader {
    uint32_t chunk_size;
    struct rtmp_chunk_stream *current; /* whose chunk is being read; NULL: a header comes next */
    uint32_t chunk_left;
    struct rtmp_chunk_stream *delivered; /* whose body the caller was given */
    uint8_t head[RTMP_CHUNK_HEAD_MAX];   /* of a header that was cut off */
    uint8_t head_len;
    uint32_t stream_count;
    size_t memory, memory_max;
    const char *why; /* static text, after an error */
    struct rtmp_chunk_stream streams[RTMP_CHUNK_STREAMS_MAX];
};

void rtmp_chunk_reader_init(struct rtmp_chunk_reader *reader, size_t memory_max);
void rtmp_chunk_reader_finish(struct rtmp_chunk_reader *reader);
/* Reads on in `data`. 1: `ret_message` is the next message, valid until the next call and as long as `data` is; 0: all
 * was used and more is needed. -EBADMSG, -EMSGSIZE or -ENOBUFS: the peer breaks the protocol or a limit
 * (`reader->why`); the reader must not be used again. `ret_used` says how far it came. */
int rtmp_chunk_read(struct rtmp_chunk_reader *reader, const uint8_t *data, size_t len, size_t *ret_used,
                    struct rtmp_message *ret_message);

/* Appends `message` (csid 2..63) in chunks of `chunk_size`, each message with a full header. Overflow shows in `out`.
 */
void rtmp_chunk_write(struct buf *out, uint32_t chunk_size, const struct rtmp_message *message);
