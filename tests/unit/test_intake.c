/* An origin that is brought a stream (origin/intake.c), byte by byte; test_push.c has it with those who bring. */
#include "origin/intake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/base/loop.h"
#include "common/media/hub.h"
#include "origin/origin.h"
#include "tests/unit/feed_fixture.h"
#include "tests/unit/http_fixture.h"

enum { SESSION_LEN = 32, PARTS = 4 /* of a segment */ };
static const char name[] = "live/show";
static const struct store_settings store_settings = {.window_us = 60000000};

struct world {
    struct node node;
    struct hub *hub;
    struct origin *origin;
    struct intake *intake;
    /* what is brought */
    struct store *from;
    struct assembler *assembler;
    struct wire wire;
};

static void on_request(void *ctx, struct http_request *req) {
    struct world *world = ctx;
    intake_handle(world->intake, req);
}

static int begin(void **state) {
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    node_init(&world->node, &http_limits_default, on_request, world);
    world->hub = hub_create(world->node.loop, &store_settings);
    world->origin = origin_create(world->node.loop, world->hub, &(struct origin_settings){60000, 3000, 60000});
    const struct writer_port port = origin_port(world->origin);
    world->intake = intake_create(world->node.loop, world->hub, &port, &(struct intake_settings){NULL});
    http_server_stream_bodies(world->node.server, intake_streams);
    assert_int_equal(http_server_listen(world->node.server, "127.0.0.1:0", false, &world->node.port), 0);
    world->from = store_create(&store_settings);
    fixture_apply(world->from, fixture_open(name, 5, 1));
    fixture_real_segment(world->from, name, 5, 100);
    fixture_real_segment(world->from, name, 5, 101);
    world->assembler = assembler_create(name, NULL, NULL);
    wire_init(&world->wire, world->from, name, world->assembler);
    wire_from(&world->wire, 100, 0, 0);
    wire_fill(&world->wire);
    *state = world;
    node_run(&world->node);
    return 0;
}

static int end(void **state) {
    struct world *world = *state;
    http_server_destroy(world->node.server);
    intake_destroy(world->intake);
    origin_destroy(world->origin);
    hub_destroy(world->hub);
    loop_destroy(world->node.loop);
    wire_finish(&world->wire);
    assembler_destroy(world->assembler);
    store_destroy(world->from);
    free(world);
    return 0;
}

/* --- who brings --- */

static struct client *post(const struct world *world, const char *path) {
    char head[256];
    struct client *c = dial(&world->node, 0);
    snprintf(head, sizeof head, "POST %s HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n", path);
    say(c, head);
    return c;
}

static struct client *post_track(const struct world *world, const char *track, const char *session) {
    char path[128];
    snprintf(path, sizeof path, "/feed/%s/%s?session=%.*s", name, track, SESSION_LEN, session);
    return post(world, path);
}

static void say_chunk(struct client *c, const struct buf *bytes, size_t from, size_t to) {
    char head[32];
    snprintf(head, sizeof head, "%zx\r\n", to - from);
    say(c, head);
    assert_int_equal(send(c->fd, buf_head(bytes) + from, to - from, MSG_NOSIGNAL), to - from);
    say(c, "\r\n");
}

static void say_all(struct client *c, const struct buf *bytes) {
    say_chunk(c, bytes, 0, buf_len(bytes));
    say(c, "0\r\n\r\n");
}

/* Gives where it begins; all before it is dropped. */
static const char *hear_until(struct client *c, const char *text) {
    char *found;
    while (!c->len || !(found = memmem(c->data, c->len, text, strlen(text))))
        assert_int_equal(hear(c), 1);
    drop(c, (size_t)(found - c->data));
    return c->data;
}

static void count(const struct world *world, uint32_t *ret_parts, uint32_t *ret_pictures) {
    const struct stream *stream = store_find(hub_store(world->hub), name);
    *ret_parts = *ret_pictures = 0;
    for (uint32_t i = 0; i < stream->segment_count; i++) {
        *ret_parts += stream->segments[i]->published;
        *ret_pictures += stream->segments[i]->chunks[0].count;
    }
}

/* The timeline has ended and half of the picture's bytes are still on their way when a beat has been said. */
static void what_is_late_is_waited_for_when_the_timeline_has_ended(void **state) {
    struct world *world = *state;
    const struct buf *bytes = world->wire.bytes;
    struct client *control = post(world, "/feed/live/show?peer=192.0.2.1:9&rank=primary");
    char session[SESSION_LEN];
    memcpy(session, hear_until(control, "\"session\":\"") + strlen("\"session\":\""), SESSION_LEN);
    struct client *picture = post_track(world, "v0", session), *sound = post_track(world, "a0", session);
    hear_until(picture, "200 OK"); /* it is taken */
    hear_until(sound, "200 OK");
    say_all(sound, &bytes[2]);
    say_chunk(picture, &bytes[1], 0, buf_len(&bytes[1]) / 2);
    say_all(control, &bytes[0]);
    drop(control, control->len);
    hear_until(control, "\"beat\""); /* two, as one may have been on its way */
    drop(control, strlen("\"beat\""));
    hear_until(control, "\"beat\"");
    say_chunk(picture, &bytes[1], buf_len(&bytes[1]) / 2, buf_len(&bytes[1]));
    say(picture, "0\r\n\r\n");
    hear_until(control, "\r\n0\r\n\r\n"); /* it has all */
    node_halt(&world->node);
    uint32_t parts, pictures;
    count(world, &parts, &pictures);
    assert_int_equal(parts, 2 * PARTS);
    assert_int_equal(pictures, 2 * 2 * PARTS);
    hang_up(control);
    hang_up(picture);
    hang_up(sound);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_late_is_waited_for_when_the_timeline_has_ended, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
