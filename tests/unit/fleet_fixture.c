#include "tests/unit/fleet_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "common/base/loop.h"
#include "relay/feed.h"
#include "relay/follow.h"
#include "tests/unit/feed_fixture.h"

enum { POLL_US = 2000, DEADLINE_US = 10000000, IDLE_US = 300000, RESPONSES_MAX = 100 };

static const struct store_settings settings = {.window_us = 30000000};

static void on_answer(void *ctx, const char *stream, bool known) {
    struct node *node = ctx;
    follows_answer(node->follows, stream, known);
}

static void on_request(void *ctx, struct http_request *req) {
    struct node *node = ctx;
    if (!node->asked_us)
        node->asked_us = loop_now_us(node->loop);
    feeds_handle(node->feeds, req);
}

static void serve(struct node *node, const char *key) {
    char address[32];
    const struct feeds_settings feeds = {.node = node->name, .key = key, .responses_max = RESPONSES_MAX};
    snprintf(address, sizeof address, "127.0.0.1:%u", node->port);
    node->feeds = feeds_create(node->loop, node->follows, &feeds);
    node->http = http_server_create(node->loop, &http_limits_default, on_request, node);
    assert_int_equal(http_server_listen(node->http, address, false, &node->port), 0);
    snprintf(node->url, sizeof node->url, "http://127.0.0.1:%u", node->port);
}

void node_begin(struct node *node, struct loop *loop, const char *name, const char *key) {
    *node = (struct node){.loop = loop, .name = name};
    node->hub = hub_create(loop, &settings);
    node->replica = store_create(&settings);
    node->client = hub_client_create(node->hub, loop, node->replica, on_answer, node);
    node->follows = follows_create(loop, node->replica, node->client, IDLE_US);
    serve(node, key);
}

void node_kill(struct node *node) {
    http_server_destroy(node->http);
    feeds_destroy(node->feeds);
    node->http = NULL;
    node->feeds = NULL;
}

void node_revive(struct node *node, const char *key) {
    serve(node, key);
}

void node_end(struct node *node) {
    node_kill(node);
    follows_destroy(node->follows);
    hub_client_destroy(node->client);
    store_destroy(node->replica);
    hub_destroy(node->hub);
}

static void write_to(void *ctx, struct record *record) {
    struct node *node = ctx;
    assert_int_equal(hub_write(node->hub, record), 0);
}

void node_open(struct node *node, const char *stream, uint64_t epoch) {
    write_to(node, fixture_open(stream, epoch, 1));
}

void node_state(struct node *node, const char *stream, uint64_t epoch, enum stream_state state) {
    struct record *record = record_create(RECORD_STATE, stream, epoch);
    record->state.state = state;
    write_to(node, record);
}

void node_write_part(struct node *node, const char *stream, uint64_t epoch, uint64_t msn, uint32_t index, bool last) {
    fixture_each_of_part(stream, epoch, msn, index, last, write_to, node);
}

void node_write_segment(struct node *node, const char *stream, uint64_t epoch, uint64_t msn) {
    for (uint32_t i = 0; i < 4; i++)
        node_write_part(node, stream, epoch, msn, i, i == 3);
}

/* --- waiting --- */

struct wait {
    struct loop *loop;
    struct loop_timer *timer;
    bool (*fn)(void *ctx);
    void *ctx;
    int64_t deadline_us;
    bool met;
};

static void on_poll(void *ctx) {
    struct wait *wait = ctx;
    wait->met = wait->fn(wait->ctx);
    if (wait->met || loop_now_us(wait->loop) > wait->deadline_us)
        loop_stop(wait->loop);
    else
        loop_timer_set(wait->timer, POLL_US);
}

bool await(struct loop *loop, bool (*fn)(void *ctx), void *ctx) {
    struct wait wait = {.loop = loop, .fn = fn, .ctx = ctx, .deadline_us = loop_now_us(loop) + DEADLINE_US};
    wait.timer = loop_timer_create(loop, on_poll, &wait);
    loop_timer_set(wait.timer, 0);
    loop_run(loop);
    loop_timer_destroy(wait.timer);
    return wait.met;
}
