#include "ingest/rtmp_chunk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>

#include "rtmp_fixture.h"

enum { MEMORY_MAX = 8 << 20, LOG_MAX = 32 };

/* All messages of some bytes, copied. */
struct log {
    int rc; /* of the last read */
    uint32_t count;
    struct rtmp_message messages[LOG_MAX];
    uint8_t *bodies[LOG_MAX];
    bool in_place[LOG_MAX];
};

static struct rtmp_chunk_reader reader;
static struct buf wire;
static uint8_t pattern[300000];

static int setup(void **state) {
    (void)state;
    rtmp_chunk_reader_init(&reader, MEMORY_MAX);
    buf_init(&wire, 64 << 20);
    for (size_t i = 0; i < sizeof pattern; i++)
        pattern[i] = (uint8_t)(i * 7 + i / 256);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    rtmp_chunk_reader_finish(&reader);
    assert_int_equal(reader.memory, 0);
    buf_finish(&wire);
    return 0;
}

static void restart(size_t memory_max) {
    rtmp_chunk_reader_finish(&reader);
    rtmp_chunk_reader_init(&reader, memory_max);
    buf_clear(&wire);
}

static void log_message(struct log *log, const struct rtmp_message *message, const uint8_t *data, size_t len) {
    assert_true(log->count < LOG_MAX);
    uint32_t i = log->count++;
    log->messages[i] = *message;
    log->bodies[i] = malloc(message->len + 1);
    if (message->len)
        memcpy(log->bodies[i], message->data, message->len);
    log->in_place[i] = message->data >= data && message->data <= data + len;
}

/* Gives the wire to the reader in pieces of at most `step` bytes, each in memory of its own. */
static struct log read_steps(size_t step) {
    struct log log = {0};
    size_t left = buf_len(&wire);
    const uint8_t *from = buf_head(&wire);
    while (left && log.rc >= 0) {
        size_t n = left < step ? left : step, off = 0, used;
        uint8_t *piece = malloc(n);
        memcpy(piece, from, n);
        struct rtmp_message message;
        while ((log.rc = rtmp_chunk_read(&reader, piece + off, n - off, &used, &message)) > 0) {
            off += used;
            log_message(&log, &message, piece, n);
        }
        assert_true(log.rc < 0 || off + used == n);
        free(piece);
        from += n;
        left -= n;
    }
    return log;
}

static void log_finish(struct log *log) {
    for (uint32_t i = 0; i < log->count; i++)
        free(log->bodies[i]);
}

static void assert_message(const struct log *log, uint32_t i, uint8_t type, uint32_t time_ms, size_t len) {
    assert_true(i < log->count);
    assert_int_equal(log->messages[i].type, type);
    assert_int_equal(log->messages[i].timestamp_ms, time_ms);
    assert_int_equal(log->messages[i].len, len);
    assert_memory_equal(log->bodies[i], pattern, len);
}

static void assert_refused(int rc) {
    struct log log = read_steps(SIZE_MAX);
    assert_int_equal(log.rc, rc);
    assert_non_null(reader.why);
    log_finish(&log);
}

static void message_in_one_chunk_is_returned_in_place(void **state) {
    (void)state;
    wire_message(&wire, 128, 0, 4, 40, RTMP_VIDEO, 1, pattern, 100);
    struct log log = read_steps(SIZE_MAX);
    assert_int_equal(log.count, 1);
    assert_message(&log, 0, RTMP_VIDEO, 40, 100);
    assert_true(log.in_place[0]);
    assert_int_equal(log.messages[0].stream_id, 1);
    assert_int_equal(log.messages[0].csid, 4);
    assert_int_equal(reader.memory, 0);
    log_finish(&log);
}

static void write_mixture(void) {
    wire_put(&wire, 0x02, 1); /* SetChunkSize 200, by hand */
    wire_put(&wire, 0, 3);
    wire_put(&wire, 4, 3);
    wire_put(&wire, RTMP_SET_CHUNK_SIZE, 1);
    wire_put(&wire, 0, 4);
    wire_put(&wire, 200, 4);
    wire_message(&wire, 200, 0, 4, 1000, RTMP_VIDEO, 1, pattern, 1000);
    wire_message(&wire, 200, 1, 4, 20, RTMP_AUDIO, 0, pattern, 300);
    wire_message(&wire, 200, 2, 4, 21, 0, 0, pattern, 300);
    wire_message(&wire, 200, 3, 4, 0, 0, 0, pattern, 300);
    wire_message(&wire, 200, 0, 70, 5, RTMP_DATA, 1, pattern, 10);              /* 2-byte csid */
    wire_message(&wire, 200, 0, 65599, 0x1234567, RTMP_VIDEO, 1, pattern, 500); /* 3-byte csid, extended */
    wire_message(&wire, 200, 0, 5, 7, RTMP_AUDIO, 1, pattern, 0);
}

static void forms_and_cuts_anywhere(void **state) {
    (void)state;
    static const size_t steps[] = {1, 2, 3, 7, 13, 100, 511, SIZE_MAX};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        restart(MEMORY_MAX);
        write_mixture();
        struct log log = read_steps(steps[i]);
        assert_int_equal(log.rc, 0);
        assert_int_equal(log.count, 7);
        assert_message(&log, 0, RTMP_VIDEO, 1000, 1000);
        assert_message(&log, 1, RTMP_AUDIO, 1020, 300);
        assert_message(&log, 2, RTMP_AUDIO, 1041, 300);
        assert_message(&log, 3, RTMP_AUDIO, 1062, 300);
        assert_message(&log, 4, RTMP_DATA, 5, 10);
        assert_message(&log, 5, RTMP_VIDEO, 0x1234567, 500);
        assert_message(&log, 6, RTMP_AUDIO, 7, 0);
        assert_int_equal(log.messages[3].stream_id, 1);
        assert_int_equal(log.messages[4].csid, 70);
        assert_int_equal(log.messages[5].csid, 65599);
        log_finish(&log);
    }
}

static void chunks_of_two_messages_interleave(void **state) {
    (void)state;
    wire_head(&wire, 0, 4, 10, 200, RTMP_VIDEO, 1);
    buf_append(&wire, pattern, 128);
    wire_head(&wire, 0, 6, 11, 150, RTMP_AUDIO, 1);
    buf_append(&wire, pattern, 128);
    wire_head(&wire, 3, 4, 0, 0, 0, 0);
    buf_append(&wire, pattern + 128, 72);
    wire_head(&wire, 3, 6, 0, 0, 0, 0);
    buf_append(&wire, pattern + 128, 22);
    struct log log = read_steps(50);
    assert_int_equal(log.count, 2);
    assert_message(&log, 0, RTMP_VIDEO, 10, 200);
    assert_message(&log, 1, RTMP_AUDIO, 11, 150);
    log_finish(&log);
}

/* §5.3.1.2.4: after fmt 0 too the field is added again, as ffmpeg relies on. */
static void fmt_3_repeats_the_timestamp_field(void **state) {
    (void)state;
    wire_message(&wire, 128, 0, 4, 23, RTMP_AUDIO, 1, pattern, 9);
    wire_message(&wire, 128, 3, 4, 0, 0, 0, pattern, 9);
    wire_message(&wire, 128, 2, 4, 10, 0, 0, pattern, 9);
    wire_message(&wire, 128, 3, 4, 0, 0, 0, pattern, 9);
    struct log log = read_steps(SIZE_MAX);
    assert_int_equal(log.count, 4);
    assert_message(&log, 1, RTMP_AUDIO, 46, 9);
    assert_message(&log, 2, RTMP_AUDIO, 56, 9);
    assert_message(&log, 3, RTMP_AUDIO, 66, 9);
    log_finish(&log);
}

static void extended_timestamps_stand_in_every_chunk(void **state) {
    (void)state;
    wire_message(&wire, 128, 0, 4, 0xFFFFFF, RTMP_VIDEO, 1, pattern, 400);
    wire_message(&wire, 128, 1, 4, 40, RTMP_VIDEO, 0, pattern, 400);
    wire_message(&wire, 128, 1, 4, 0x2000000, RTMP_VIDEO, 0, pattern, 400);
    wire_message(&wire, 128, 3, 4, 0x2000000, 0, 0, pattern, 400);
    struct log log = read_steps(33);
    assert_int_equal(log.count, 4);
    assert_message(&log, 0, RTMP_VIDEO, 0xFFFFFF, 400);
    assert_message(&log, 1, RTMP_VIDEO, 0xFFFFFF + 40, 400);
    assert_message(&log, 2, RTMP_VIDEO, 0x2000000 + 0xFFFFFF + 40, 400);
    assert_message(&log, 3, RTMP_VIDEO, 2 * 0x2000000 + 0xFFFFFF + 40, 400);
    log_finish(&log);
}

static void a_delta_may_lead_back(void **state) {
    (void)state;
    wire_message(&wire, 128, 0, 4, 1000, RTMP_VIDEO, 1, pattern, 5);
    wire_message(&wire, 128, 1, 4, (uint32_t)-7, RTMP_AUDIO, 0, pattern, 6); /* as librtmp writes it */
    struct log log = read_steps(SIZE_MAX);
    assert_message(&log, 1, RTMP_AUDIO, 993, 6);
    log_finish(&log);
}

static void fmt_1_may_open_a_chunk_stream(void **state) {
    (void)state;
    wire_message(&wire, 128, 1, 2, 0, RTMP_USER_CONTROL, 0, pattern, 6);
    struct log log = read_steps(SIZE_MAX);
    assert_message(&log, 0, RTMP_USER_CONTROL, 0, 6);
    log_finish(&log);
}

static void fmt_2_and_3_may_not_open_a_chunk_stream(void **state) {
    (void)state;
    wire_head(&wire, 3, 9, 0, 0, 0, 0);
    assert_refused(-EBADMSG);
    restart(MEMORY_MAX);
    wire_head(&wire, 2, 9, 0, 0, 0, 0);
    assert_refused(-EBADMSG);
}

static void new_length_amid_a_message_is_refused(void **state) {
    (void)state;
    wire_head(&wire, 0, 4, 0, 218, RTMP_VIDEO, 1);
    buf_append(&wire, pattern, 128);
    wire_head(&wire, 1, 4, 0, 4000, RTMP_VIDEO, 1);
    buf_append(&wire, pattern, 128);
    assert_refused(-EBADMSG);
}

static void lengths_are_limited_by_type(void **state) {
    (void)state;
    static const struct {
        uint8_t type;
        uint32_t len;
        int rc;
    } cases[] = {
        {RTMP_VIDEO, RTMP_VIDEO_BYTES_MAX, 0},     {RTMP_VIDEO, RTMP_VIDEO_BYTES_MAX + 1, -EMSGSIZE},
        {RTMP_AUDIO, RTMP_AUDIO_BYTES_MAX, 0},     {RTMP_AUDIO, RTMP_AUDIO_BYTES_MAX + 1, -EMSGSIZE},
        {RTMP_COMMAND, RTMP_OTHER_BYTES_MAX, 0},   {RTMP_COMMAND, RTMP_OTHER_BYTES_MAX + 1, -EMSGSIZE},
        {RTMP_AGGREGATE, RTMP_VIDEO_BYTES_MAX, 0}, {77, RTMP_OTHER_BYTES_MAX + 1, -EMSGSIZE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        restart(MEMORY_MAX);
        wire_head(&wire, 0, 4, 0, cases[i].len, cases[i].type, 1);
        struct log log = read_steps(SIZE_MAX);
        assert_int_equal(log.rc, cases[i].rc);
        assert_int_equal(reader.memory, 0); /* a header allocates nothing */
    }
}

static void memory_grows_with_the_bytes_that_came(void **state) {
    (void)state;
    wire_head(&wire, 0, 4, 0, RTMP_VIDEO_BYTES_MAX, RTMP_VIDEO, 1);
    buf_append(&wire, pattern, 128);
    struct log log = read_steps(SIZE_MAX);
    assert_int_equal(log.rc, 0);
    assert_true(reader.memory <= 4096);
}

/* The first is whole; of the next two, of which two thirds came, only one has room. */
static void unfinished_messages_share_one_limit(void **state) {
    (void)state;
    restart(100 << 10);
    wire_message(&wire, 128, 0, 2, 0, RTMP_SET_CHUNK_SIZE, 0, "\0\1\0\0", 4); /* 65536 */
    for (uint32_t csid = 3; csid <= 5; csid++) {
        wire_head(&wire, 0, csid, 0, 100000, RTMP_VIDEO, 1);
        buf_append(&wire, pattern, 65536);
        if (csid == 3) { /* whole: its body is given back */
            wire_head(&wire, 3, csid, 0, 0, 0, 0);
            buf_append(&wire, pattern + 65536, 100000 - 65536);
        }
    }
    struct log log = read_steps(SIZE_MAX);
    assert_int_equal(log.count, 1);
    assert_int_equal(log.rc, -ENOBUFS);
    assert_true(reader.memory <= 100 << 10);
    log_finish(&log);
}

static void sixty_four_chunk_streams_and_no_more(void **state) {
    (void)state;
    for (uint32_t csid = 100; csid < 100 + RTMP_CHUNK_STREAMS_MAX; csid++)
        wire_head(&wire, 0, csid, 0, 0, RTMP_DATA, 1);
    size_t used;
    struct rtmp_message message;
    const uint8_t *p = buf_head(&wire);
    for (size_t left = buf_len(&wire); left; p += used, left -= used)
        assert_int_equal(rtmp_chunk_read(&reader, p, left, &used, &message), 1);
    buf_clear(&wire);
    wire_head(&wire, 0, 3000, 0, 0, RTMP_DATA, 1);
    assert_refused(-ENOBUFS);
}

static void chunk_size_has_its_bounds(void **state) {
    (void)state;
    static const struct {
        uint32_t size;
        int rc;
        uint32_t result;
    } cases[] = {
        {1, 0, 1},          {0x80000000 | 4096, 0, 4096}, {RTMP_CHUNK_SIZE_MAX, 0, RTMP_CHUNK_SIZE_MAX},
        {0, -EBADMSG, 128}, {0x80000000, -EBADMSG, 128},  {RTMP_CHUNK_SIZE_MAX + 1, -EBADMSG, 128},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t size = cases[i].size;
        uint8_t body[] = {(uint8_t)(size >> 24), (uint8_t)(size >> 16), (uint8_t)(size >> 8), (uint8_t)size};
        restart(MEMORY_MAX);
        wire_message(&wire, 128, 0, 2, 0, RTMP_SET_CHUNK_SIZE, 0, body, 4);
        struct log log = read_steps(5);
        assert_int_equal(log.rc, cases[i].rc);
        assert_int_equal(log.count, 0);
        assert_int_equal(reader.chunk_size, cases[i].result);
    }
}

static void abort_drops_what_was_begun(void **state) {
    (void)state;
    wire_head(&wire, 0, 4, 0, 1000, RTMP_VIDEO, 1);
    buf_append(&wire, pattern + 50, 128);
    wire_message(&wire, 128, 0, 2, 0, RTMP_ABORT, 0, "\0\0\0\4", 4);
    wire_message(&wire, 128, 0, 4, 33, RTMP_VIDEO, 1, pattern, 300);
    struct log log = read_steps(SIZE_MAX);
    assert_int_equal(log.count, 1);
    assert_message(&log, 0, RTMP_VIDEO, 33, 300);
    log_finish(&log);
}

static void large_body_is_given_back(void **state) {
    (void)state;
    wire_message(&wire, 128, 0, 4, 0, RTMP_VIDEO, 1, pattern, sizeof pattern);
    wire_message(&wire, 128, 0, 5, 0, RTMP_VIDEO, 1, pattern, 1);
    struct log log = read_steps(SIZE_MAX);
    assert_message(&log, 0, RTMP_VIDEO, 0, sizeof pattern);
    assert_int_equal(reader.memory, 0);
    log_finish(&log);
}

static void written_messages_read_back(void **state) {
    (void)state;
    static const uint32_t times[] = {0, 0xFFFFFE, 0xFFFFFF, 0xFFFFFFFF};
    for (size_t i = 0; i < 4; i++) {
        struct rtmp_message message = {RTMP_VIDEO, 5, 0x01020304, times[i], pattern, 1000};
        rtmp_chunk_write(&wire, RTMP_CHUNK_SIZE_DEFAULT, &message);
    }
    struct log log = read_steps(61);
    assert_int_equal(log.count, 4);
    for (uint32_t i = 0; i < 4; i++) {
        assert_message(&log, i, RTMP_VIDEO, times[i], 1000);
        assert_int_equal(log.messages[i].stream_id, 0x01020304);
    }
    log_finish(&log);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(message_in_one_chunk_is_returned_in_place, setup, teardown),
        cmocka_unit_test_setup_teardown(forms_and_cuts_anywhere, setup, teardown),
        cmocka_unit_test_setup_teardown(chunks_of_two_messages_interleave, setup, teardown),
        cmocka_unit_test_setup_teardown(fmt_3_repeats_the_timestamp_field, setup, teardown),
        cmocka_unit_test_setup_teardown(extended_timestamps_stand_in_every_chunk, setup, teardown),
        cmocka_unit_test_setup_teardown(a_delta_may_lead_back, setup, teardown),
        cmocka_unit_test_setup_teardown(fmt_1_may_open_a_chunk_stream, setup, teardown),
        cmocka_unit_test_setup_teardown(fmt_2_and_3_may_not_open_a_chunk_stream, setup, teardown),
        cmocka_unit_test_setup_teardown(new_length_amid_a_message_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(lengths_are_limited_by_type, setup, teardown),
        cmocka_unit_test_setup_teardown(memory_grows_with_the_bytes_that_came, setup, teardown),
        cmocka_unit_test_setup_teardown(unfinished_messages_share_one_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(sixty_four_chunk_streams_and_no_more, setup, teardown),
        cmocka_unit_test_setup_teardown(chunk_size_has_its_bounds, setup, teardown),
        cmocka_unit_test_setup_teardown(abort_drops_what_was_begun, setup, teardown),
        cmocka_unit_test_setup_teardown(large_body_is_given_back, setup, teardown),
        cmocka_unit_test_setup_teardown(written_messages_read_back, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
