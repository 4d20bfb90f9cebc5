/* What the server says on an RTMP connection, ready to be sent: control messages (RTMP 1.0 §5.4, §7.1.7) and commands
 * (§7.2). Pure; overflow shows in `out`. All but rtmp_reply_connect fit into one chunk of the default size when they
 * come before `connect`, so one outgoing chunk size does for everything. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "ingest/rtmp_chunk.h"

struct buf;

enum { RTMP_STREAM_BEGIN = 0, RTMP_PING_REQUEST = 6, RTMP_PING_RESPONSE = 7 }; /* user control events */
enum { RTMP_WINDOW_BYTES = 2500000, RTMP_REPLY_CHUNK_SIZE = 65536 };

/* A control message whose body is one number: acknowledgement, window size, chunk size. */
void rtmp_reply_control(struct buf *out, enum rtmp_message_type type, uint32_t value);
void rtmp_reply_user_control(struct buf *out, uint16_t event, uint32_t value);
/* What Enhanced RTMP adds to the answer to `connect`: which codecs can be taken, and what else. */
struct rtmp_offer {
    bool info_maps; /* as version 2 says it: with capabilities, codec by codec */
    bool list;      /* as version 1 does: a list of codecs */
};
enum rtmp_caps_ex { /* CapsExMask */
    RTMP_CAPS_RECONNECT = 1,
    RTMP_CAPS_MULTITRACK = 2,
    RTMP_CAPS_MODEX = 4,
    RTMP_CAPS_NANO_OFFSET = 8,
};
/* All that answers `connect`: windows, the large chunk size (ffmpeg sends in ours), the result. */
void rtmp_reply_connect(struct buf *out, double transaction, const struct rtmp_offer *offer);
/* `_result` with null and, when `number` is not 0, that number. */
void rtmp_reply_result(struct buf *out, double transaction, uint32_t number);
/* `_error`: the call failed. */
void rtmp_reply_error(struct buf *out, double transaction, const char *description);
/* `onStatus` on a message stream; level is "status" or "error". */
void rtmp_reply_status(struct buf *out, uint32_t stream_id, const char *level, const char *code,
                       const char *description);
/* `onStatus` of the connection: the peer is to connect anew, to `tc_url` or, where that is NULL, to where it did. */
void rtmp_reply_reconnect(struct buf *out, const char *tc_url, const char *description);
