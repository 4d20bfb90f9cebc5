/* A chunk stream, read whole and again in small pieces: both must come to the same, within the memory limit. First
 * byte: the size of the pieces. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/rtmp_chunk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MEMORY_MAX = 1 << 20 };

struct sum {
    uint64_t hash;
    int rc;
};

static void mix(struct sum *sum, uint64_t value) {
    sum->hash = (sum->hash ^ value) * 0x100000001B3;
}

static void mix_message(struct sum *sum, const struct rtmp_message *message) {
    mix(sum, message->type);
    mix(sum, message->csid);
    mix(sum, message->stream_id);
    mix(sum, message->timestamp_ms);
    for (size_t i = 0; i < message->len; i++)
        mix(sum, message->data[i]);
}

static void read_piece(struct rtmp_chunk_reader *reader, struct sum *sum, const uint8_t *data, size_t len) {
    struct rtmp_message message;
    size_t used;
    while ((sum->rc = rtmp_chunk_read(reader, data, len, &used, &message)) > 0) {
        mix_message(sum, &message);
        data += used;
        len -= used;
    }
    if (reader->memory > MEMORY_MAX)
        abort();
}

static struct sum read_all(const uint8_t *data, size_t len, size_t step) {
    static struct rtmp_chunk_reader reader;
    struct sum sum = {0};
    rtmp_chunk_reader_init(&reader, MEMORY_MAX);
    for (size_t off = 0; off < len && sum.rc >= 0; off += step) {
        size_t n = len - off < step ? len - off : step;
        uint8_t *piece = malloc(n); /* of its own, so that ASan sees one byte too far */
        if (!piece)
            abort();
        memcpy(piece, data + off, n);
        read_piece(&reader, &sum, piece, n);
        free(piece);
    }
    rtmp_chunk_reader_finish(&reader);
    if (reader.memory)
        abort();
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2)
        return 0;
    struct sum whole = read_all(data + 1, size - 1, size), pieces = read_all(data + 1, size - 1, data[0] + 1u);
    /* What is in place takes no memory, so the limit may be met in pieces alone. */
    if (whole.hash != pieces.hash && whole.rc >= 0 && pieces.rc >= 0)
        abort();
    return 0;
}
