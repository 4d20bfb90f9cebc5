/* A whole connection, with a publisher that reads all that it is given. First byte: how the claim ends and whether
 * there is a handshake in the input (else one is put before it, so that the fuzzer needn't write 3 KiB first); second
 * byte: the size of the pieces that come in. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/publisher.h"
#include "ingest/rtmp_handshake.h"
#include "ingest/rtmp_session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WITH_HANDSHAKE = 0x80, MEMORY_MAX = 1 << 20, OUT_MAX = 64 << 10 };

struct publisher {
    bool open, told;
    struct publisher_events events;
    void *ctx;
    uint32_t frames;
};

static struct publisher pub;
static volatile uint8_t sink;

static void touch(const uint8_t *data, size_t len) {
    if (!len)
        abort();
    sink = data[0] ^ data[len - 1];
}

struct publisher *publisher_open(struct ingest *ingest, const char *app, const char *name, const char *peer,
                                 const struct publisher_events *events, void *ctx) {
    (void)ingest;
    if (pub.open || strlen(app) + strlen(name) + strlen(peer) > 2048)
        abort();
    pub = (struct publisher){.open = true, .events = *events, .ctx = ctx};
    return &pub;
}

void publisher_metadata(struct publisher *publisher, const struct publisher_metadata *metadata) {
    if (!publisher->told || strlen(metadata->encoder) >= sizeof metadata->encoder)
        abort();
}

void publisher_config(struct publisher *publisher, const struct publisher_config *config) {
    if (!publisher->told)
        abort();
    touch(config->data, config->len);
}

void publisher_frame(struct publisher *publisher, const struct publisher_frame *frame) {
    if (!publisher->told)
        abort();
    touch(frame->data, frame->len);
    publisher->frames++;
}

void publisher_track_end(struct publisher *publisher, enum track_kind kind, uint8_t track) {
    (void)publisher, (void)kind, (void)track;
}

void publisher_close(struct publisher *publisher, bool clean) {
    (void)clean;
    if (publisher)
        publisher->open = false;
}

static void on_change(void *ctx) {
    (void)ctx;
}

/* Results and losses come between inputs, as from the loop. */
static void decide(struct rtmp_session *session, uint8_t result, int64_t now_us) {
    if (!pub.open)
        return;
    if (!pub.told) {
        pub.told = true;
        pub.events.on_result(pub.ctx, (enum publish_result)(result % (PUBLISH_FULL + 1)));
        rtmp_session_input(session, NULL, 0, now_us);
    } else if (result & 0x40 && pub.frames > 3) {
        pub.events.on_lost(pub.ctx, "lost");
    }
}

static void shake_hands(struct rtmp_session *session) {
    static const uint8_t hello[1 + 2 * RTMP_HANDSHAKE_PART] = {RTMP_HANDSHAKE_VERSION};
    rtmp_session_input(session, hello, sizeof hello, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2)
        return 0;
    struct rtmp_session_settings settings = {.peer = "192.0.2.7:5121",
                                             .handshake_timeout_us = 1000000,
                                             .silence_timeout_us = 1000000,
                                             .memory_max = MEMORY_MAX,
                                             .unpublished_memory_max = MEMORY_MAX / 2,
                                             .on_change = on_change};
    struct rtmp_session *session = rtmp_session_create(&settings, 0);
    uint8_t result = data[0];
    size_t step = data[1] ? data[1] : size;
    int64_t now_us = 0;
    pub.open = false;
    if (!(result & WITH_HANDSHAKE))
        shake_hands(session);
    for (size_t off = 2; off < size && !rtmp_session_closing(session); off += step) {
        size_t n = size - off < step ? size - off : step;
        rtmp_session_input(session, data + off, n, now_us += 1000);
        decide(session, result, now_us);
        struct buf *out = rtmp_session_output(session);
        if (buf_len(out) > OUT_MAX)
            abort();
        buf_consume(out, buf_len(out) / 2);
    }
    rtmp_session_check(session, now_us + 2000000);
    if (!rtmp_session_closing(session))
        abort();
    rtmp_session_destroy(session);
    return pub.open ? abort(), 0 : 0;
}
