/* Continuous viewers over real sockets: a server, a store and what is to be tested on a loop of their own; the client
 * on this thread tells it by other requests what to write. Each chunk says what it is ("v101.3"), so that a body can be
 * told.
 */
#include "relay/live.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "media_fixture.h"
#include "relay/render.h"
#include "tests/unit/http_fixture.h"

enum { MSN = 100, LAG_US = 1500000, BIG = 64 * 1024 };
static const char *const name = "live/show";

struct world {
    struct node node;
    struct store *store;
    struct live *live;
    uint64_t epoch;
    uint32_t frame; /* written */
    struct blob *init;
};

/* --- the server's side --- */

static void apply(struct world *w, struct record *record) {
    assert_int_equal(store_apply(w->store, record, 0), 0);
    record_unref(record);
}

/* A segment a second, which begins with an independent frame. */
static void write_picture(struct world *w, size_t len) {
    static char text[BIG];
    uint64_t msn = MSN + w->frame / 30;
    uint32_t number = w->frame % 30;
    if (!number && w->frame) {
        struct record *part = fixture_part(name, w->epoch, msn, msn - 1, 0, 0);
        part->part.tracks[0].chunks = 30;
        part->part.tracks[1].chunks = 0;
        apply(w, part);
    }
    memset(text, '.', sizeof text);
    text[snprintf(text, sizeof text, "v%u.%u;", (unsigned)msn, (unsigned)number)] = '.';
    struct record *record = record_create(RECORD_CHUNK, name, w->epoch);
    record->chunk = (struct record_chunk){.msn = msn,
                                          .number = number,
                                          .flags = number ? 0 : CHUNK_INDEPENDENT,
                                          .duration_ts = 3000,
                                          .dts_ts = (int64_t)(w->frame + 1) * 3000,
                                          .body = http_slice_framed(text, len)};
    apply(w, record);
    w->frame++;
}

static void reply(struct http_request *req, const char *text) {
    struct slice slice = {blob_create_copy(text, strlen(text)), 0, strlen(text)};
    http_respond_slices(req, 200, NULL, 0, &slice, 1, false);
    blob_unref(slice.blob);
}

static struct blob *make_init(void);

static void open_tracks(struct world *w, uint32_t version) {
    struct record *open = fixture_open(name, ++w->epoch, version);
    open->open.track_count = 1;
    blob_unref(open->open.tracks[0].init);
    blob_unref(open->open.tracks[1].init);
    open->open.tracks[0].init = make_init();
    apply(w, open);
}

static void end_stream(struct world *w) {
    struct record *ended = record_create(RECORD_STATE, name, w->epoch);
    ended->state.state = STREAM_ENDED;
    apply(w, ended);
}

static void on_request(void *ctx, struct http_request *req) {
    struct world *w = ctx;
    const char *path = http_request_path(req), *query = http_request_query(req);
    if (!strcmp(path, "/live")) {
        struct stream *stream = store_find(w->store, name);
        struct http_header header = {"Content-Type", "video/mp4"};
        if (live_full(w->live))
            reply(req, "full");
        else if (!live_respond(w->live, req, stream, "v0", 1, &header, 1))
            reply(req, "nothing");
        return;
    }
    if (!strcmp(path, "/write")) {
        int count = 0;
        size_t len = 0;
        assert_int_equal(sscanf(query, "%dx%zu", &count, &len), 2);
        for (int i = 0; i < count; i++)
            write_picture(w, len);
    } else if (!strcmp(path, "/open")) {
        open_tracks(w, 2);
    } else if (!strcmp(path, "/end")) {
        end_stream(w);
    } else if (!strcmp(path, "/remove")) {
        store_remove(w->store, store_find(w->store, name));
    }
    while (store_wake(w->store, 64))
        ;
    reply(req, "done");
}

static struct world *begin(void) {
    const struct store_settings settings = {.window_us = 14000000,
                                            .bytes_max = 256 << 20,
                                            .streams_max = 4,
                                            .cache_free = render_cache_free};
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->store = store_create(&settings);
    w->live = live_create(LAG_US, 10);
    node_init(&w->node, &http_limits_default, on_request, w);
    assert_int_equal(http_server_listen(w->node.server, "127.0.0.1:0", false, &w->node.port), 0);
    open_tracks(w, 1);
    w->init = make_init();
    node_run(&w->node);
    return w;
}

static void finish(struct world *w) {
    node_finish(&w->node);
    live_destroy(w->live);
    store_destroy(w->store);
    blob_unref(w->init);
    free(w);
}

/* --- the client's side --- */

/* Until `end` has come; gives where it begins. */
static char *hear_until(struct client *c, const char *end) {
    for (;;) {
        char *found = c->len ? memmem(c->data, c->len, end, strlen(end)) : NULL;
        if (found)
            return found;
        if (hear(c) != 1)
            fail_msg("closed before \"%s\", after %zu bytes", end, c->len);
    }
}

static void ask(struct client *c, const char *what) {
    char text[128];
    snprintf(text, sizeof text, "GET %s HTTP/1.1\r\n" HOST "\r\n", what);
    say(c, text);
}

/* On a connection of its own, until it is done. */
static void tell(const struct world *w, const char *what) {
    struct client *c = dial(&w->node, 0);
    ask(c, what);
    hear_until(c, "done");
    hang_up(c);
}

static void expect_bytes(struct client *c, const void *data, size_t len) {
    hear_at_least(c, len);
    assert_memory_equal(c->data, data, len);
    drop(c, len);
}

/* The head and the init, in its chunk. */
static void expect_beginning(struct world *w, struct client *c) {
    char line[24];
    char *end = hear_until(c, "\r\n\r\n");
    assert_memory_equal(c->data, "HTTP/1.1 200 OK\r\n", 17);
    assert_non_null(strstr(c->data, "\r\nTransfer-Encoding: chunked\r\n"));
    drop(c, (size_t)(end + 4 - c->data));
    int n = snprintf(line, sizeof line, "%zx\r\n", w->init->len);
    expect_bytes(c, line, (size_t)n);
    expect_bytes(c, w->init->data, w->init->len);
    expect_bytes(c, "\r\n", 2);
}

/* A chunk of 32 bytes (0x20), to the byte. */
static void expect_picture(struct client *c, unsigned msn, unsigned number) {
    char text[64];
    memset(text, '.', sizeof text);
    memcpy(text, "20\r\n", 4);
    int n = snprintf(text + 4, 32, "v%u.%u;", msn, number);
    text[4 + n] = '.';
    memcpy(text + 4 + 32, "\r\n", 2);
    expect_bytes(c, text, 4 + 32 + 2);
}

/* --- an init as it must look to be joined --- */

static uint8_t *box(uint8_t *p, const char *type, const void *body, uint32_t len) {
    uint32_t size = len + 8;
    for (int i = 3; i >= 0; i--)
        *p++ = (uint8_t)(size >> 8 * i);
    memcpy(p, type, 4);
    memmove(p + 4, body, len);
    return p + 4 + len;
}

static struct blob *make_init(void) {
    uint8_t moov[512], trak[160], out[1024], zero[128] = {0}, trex[24] = {0}, tkhd[84] = {0}, mvex[64];
    tkhd[15] = trex[7] = trex[11] = 1; /* track id, sample description */
    zero[99] = 2;                      /* next track id */
    uint8_t *t = box(trak, "tkhd", tkhd, sizeof tkhd);
    uint8_t *x = box(mvex, "trex", trex, sizeof trex);
    uint8_t *m = box(moov, "mvhd", zero, 100);
    m = box(m, "trak", trak, (uint32_t)(t - trak));
    m = box(m, "mvex", mvex, (uint32_t)(x - mvex));
    uint8_t *p = box(out, "ftyp", "iso6\0\0\0\0iso6", 12);
    p = box(p, "moov", moov, (uint32_t)(m - moov));
    return blob_create_copy(out, (size_t)(p - out));
}

/* --- the tests --- */

static void viewer_gets_init_newest_independent_chunk_and_each_one_as_it_comes(void **state) {
    (void)state;
    struct world *w = begin();
    struct client *c = dial(&w->node, 0);
    tell(w, "/write?32x32");
    ask(c, "/live");
    expect_beginning(w, c);
    expect_picture(c, 101, 0);
    expect_picture(c, 101, 1);
    for (unsigned i = 2; i < 5; i++) {
        tell(w, "/write?1x32");
        expect_picture(c, 101, i);
        assert_int_equal(c->len, 0);
    }
    tell(w, "/write?3x32"); /* more than one a turn */
    for (unsigned i = 5; i < 8; i++)
        expect_picture(c, 101, i);
    hang_up(c);
    finish(w);
}

static void nothing_to_begin_with_is_left_to_the_caller(void **state) {
    (void)state;
    struct world *w = begin();
    struct client *c = dial(&w->node, 0);
    ask(c, "/live");
    hear_until(c, "nothing");
    hang_up(c);
    finish(w);
}

static void response_ends_with_its_stream(void **state) {
    (void)state;
    static const char *const ends[] = {"/end", "/open", "/remove"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        struct world *w = begin();
        struct client *c = dial(&w->node, 0);
        tell(w, "/write?1x32");
        ask(c, "/live");
        expect_beginning(w, c);
        expect_picture(c, 100, 0);
        tell(w, ends[i]);
        expect_bytes(c, "0\r\n\r\n", 5);
        ask(c, "/other"); /* the connection goes on */
        hear_until(c, "done");
        hang_up(c);
        finish(w);
    }
}

static unsigned frame_of(const char *text) {
    unsigned msn, number;
    return sscanf(text, "v%u.%u;", &msn, &number) == 2 ? (msn - MSN) * 30 + number : 0;
}

struct seen {
    unsigned first, last; /* frames */
    unsigned jumps, jumped_from, jumped_to;
};

/* All chunks up to that frame. Their sizes must be right and their order rising. */
static struct seen see_until(struct client *c, unsigned frame) {
    struct seen seen = {.first = ~0u};
    do {
        char *line = hear_until(c, "\r\n");
        size_t head = (size_t)(line + 2 - c->data), len = strtoul(c->data, NULL, 16);
        hear_at_least(c, head + len + 2);
        assert_memory_equal(c->data + head + len, "\r\n", 2);
        unsigned now = frame_of(c->data + head);
        if (seen.first == ~0u) {
            seen.first = now;
        } else if (now != seen.last + 1) {
            assert_true(now > seen.last);
            seen.jumps++;
            seen.jumped_from = seen.last;
            seen.jumped_to = now;
        }
        seen.last = now;
        drop(c, head + len + 2);
    } while (seen.last < frame);
    return seen;
}

static void viewer_that_stopped_reading_jumps_to_the_newest_independent_chunk(void **state) {
    (void)state;
    struct world *w = begin();
    struct client *c = dial(&w->node, 16384);
    tell(w, "/write?1x32");
    ask(c, "/live");
    expect_beginning(w, c);
    for (int i = 0; i < 20; i++)
        tell(w, "/write?10x65536"); /* 13 MB, of which the sockets take a little */
    struct seen seen = see_until(c, 200);
    assert_int_equal(seen.first, 0);
    assert_int_equal(seen.jumps, 1);
    assert_int_equal(seen.jumped_to, 180); /* the newest of those that begin a segment */
    assert_true(seen.jumped_from < 60);
    tell(w, "/write?1x65536");
    assert_int_equal(see_until(c, 201).jumps, 0); /* and goes on as before */
    hang_up(c);
    finish(w);
}

static void viewer_that_keeps_up_does_not_jump(void **state) {
    (void)state;
    struct world *w = begin();
    struct client *c = dial(&w->node, 0);
    tell(w, "/write?1x32");
    ask(c, "/live");
    expect_beginning(w, c);
    for (unsigned i = 1; i < 10; i++) {
        tell(w, "/write?10x65536");
        assert_int_equal(see_until(c, i * 10).jumps, 0);
    }
    hang_up(c);
    finish(w);
}

static void viewers_come_and_go_while_it_is_written(void **state) {
    (void)state;
    struct world *w = begin();
    struct client *viewers[10];
    tell(w, "/write?1x32");
    for (int i = 0; i < 10; i++) {
        viewers[i] = dial(&w->node, 0);
        ask(viewers[i], "/live");
        expect_beginning(w, viewers[i]);
        tell(w, "/write?1x1000");
    }
    struct client *one_more = dial(&w->node, 0);
    ask(one_more, "/live");
    hear_until(one_more, "full");
    for (int i = 0; i < 10; i++) {
        assert_int_equal(see_until(viewers[i], 10).first, 0);
        hang_up(viewers[i]);
        tell(w, "/write?1x1000");
    }
    ask(one_more, "/live");
    hear_until(one_more, "v100.20;");
    hang_up(one_more);
    finish(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(viewer_gets_init_newest_independent_chunk_and_each_one_as_it_comes),
        cmocka_unit_test(nothing_to_begin_with_is_left_to_the_caller),
        cmocka_unit_test(response_ends_with_its_stream),
        cmocka_unit_test(viewer_that_stopped_reading_jumps_to_the_newest_independent_chunk),
        cmocka_unit_test(viewer_that_keeps_up_does_not_jump),
        cmocka_unit_test(viewers_come_and_go_while_it_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
