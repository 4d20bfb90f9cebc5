/* A publisher writing into a store of its own, through a port that grants whatever is wished. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/loop.h"
#include "common/media/store.h"
#include "ingest/ingest.h"
#include "ingest/publisher.h"

/* 1280×720 Main profile at level 3.1, no VUI; and an IDR and a P slice of a few bytes. */
static const uint8_t avcc[] = {1,    0x4d, 0x40, 0x1f, 0xff, 0xe1, 0, 9, 0x67, 0x4d, 0x40, 0x1f,
                               0xec, 0xa0, 0x28, 0x02, 0xd8, 1,    0, 4, 0x68, 0xee, 0x3c, 0x80};
static const uint8_t asc[] = {0x11, 0x90}; /* AAC LC, 48 kHz, stereo */
static const uint8_t idr[] = {0, 0, 0, 4, 0x65, 0x88, 0x84, 0x00};
static const uint8_t inter[] = {0, 0, 0, 4, 0x41, 0x9a, 0x00, 0x01};
static const uint8_t aac[300] = {0x21};

struct world {
    struct loop *loop;
    struct ingest *ingest;
    struct publisher *pub;
    struct store *store;
    struct claim_grant grant;
    /* the port */
    void (*on_result)(void *owner, enum claim_result result, const struct claim_grant *grant);
    void *owner;
    struct loop_timer *grant_timer;
    int write_error;
    enum claim_result answer; /* to the claim */
    enum claim_rank rank;
    char claimed[STREAM_NAME_LEN];
    uint32_t opens, records, touches, takes;
    enum stream_state state;
    struct track_names asked;
    /* what the publisher told */
    int results, losses;
    enum publish_result result;
};

static inline void on_grant(void *ctx) {
    struct world *world = ctx;
    world->on_result(world->owner, world->answer, world->answer == CLAIM_GRANTED ? &world->grant : NULL);
}

static inline void *port_claim(void *ctx, const struct claim_request *request) {
    struct world *world = ctx;
    world->on_result = request->on_result;
    world->owner = request->owner;
    world->rank = request->rank;
    snprintf(world->claimed, sizeof world->claimed, "%s", request->stream);
    loop_timer_set(world->grant_timer, 0);
    return world;
}

static inline int port_write(void *ctx, void *claim, struct record *record) {
    struct world *world = ctx;
    (void)claim;
    world->opens += record->type == RECORD_OPEN;
    world->records++;
    if (record->type == RECORD_STATE)
        world->state = record->state.state;
    int rc = world->write_error ? world->write_error : store_apply(world->store, record, 1);
    record_unref(record);
    if (!world->write_error)
        assert_int_equal(rc, 0); /* whatever comes in, what goes out follows from what was before */
    return rc;
}

static inline void port_touch(void *ctx, void *claim) {
    struct world *world = ctx;
    (void)claim;
    world->touches++;
}

static inline void port_release(void *ctx, void *claim, bool clean) {
    (void)ctx, (void)claim, (void)clean;
}

static inline void port_take(void *ctx, void *claim) {
    struct world *world = ctx;
    (void)claim;
    world->takes++;
}

static inline struct track_names port_asked(void *ctx, void *claim) {
    const struct world *world = ctx;
    (void)claim;
    return world->asked;
}

static inline void on_result(void *ctx, enum publish_result result) {
    struct world *world = ctx;
    world->results++;
    world->result = result;
    loop_stop(world->loop);
}

static inline void on_lost(void *ctx, const char *why) {
    struct world *world = ctx;
    assert_true(why[0]);
    world->losses++;
    loop_stop(world->loop);
}

static inline struct world *begin_answered(const char *name, struct ingest_settings settings, enum claim_result answer) {
    static const struct store_settings store = {.window_us = 30000000, .bytes_max = 64 << 20, .streams_max = 4};
    struct world *world = calloc(1, sizeof *world);
    world->answer = answer;
    world->loop = loop_create();
    world->store = store_create(&store);
    world->grant_timer = loop_timer_create(world->loop, on_grant, world);
    world->grant = (struct claim_grant){.epoch = 9, .next_msn = 100, .next_part = 500, .not_before_us = 0};
    settings.segment_ms = 2000;
    settings.part_ms = 200;
    struct writer_port port = {world, port_claim, port_write, port_touch, port_release, port_take, port_asked};
    world->ingest = ingest_create(world->loop, &settings, &port);
    static const struct publisher_events events = {on_result, on_lost};
    world->pub = publisher_open(world->ingest, "live", name, "192.0.2.1:5", &events, world);
    assert_int_equal(world->results, 0); /* never from inside the call */
    loop_run(world->loop);
    return world;
}

static inline struct world *begin_with(const char *name, struct ingest_settings settings) {
    return begin_answered(name, settings, CLAIM_GRANTED);
}

static inline struct world *begin(void) {
    struct world *world = begin_with("show", (struct ingest_settings){.stall_ms = 2000});
    assert_int_equal(world->result, PUBLISH_OK);
    return world;
}

static inline void end(struct world *world) {
    publisher_close(world->pub, true);
    ingest_destroy(world->ingest);
    loop_timer_destroy(world->grant_timer);
    store_destroy(world->store);
    loop_destroy(world->loop);
    free(world);
}

static inline void set_config(struct world *world, enum codec codec, const uint8_t *data, size_t len) {
    publisher_config(world->pub, &(struct publisher_config){.codec = codec, .data = data, .len = len});
}

static inline struct stream *stream_of(struct world *world) {
    return store_find(world->store, "live/show");
}
