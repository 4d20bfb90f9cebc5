/* Streams that ingest nodes bring: POST /feed/{app}/{stream}, the timeline, whose response is the control stream, and
 * /feed/{app}/{stream}/{track} for each track, all without an end (docs/feed.md). A bringing is a writer of the origin like any other:
 * it claims the stream, writes what it is brought, and lets it go when its timeline ends or breaks. One that stands by is told on the
 * control stream how, and brings nothing until it has taken the stream. The origin's loop. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "common/media/writer.h"

struct http_request;
struct hub;
struct intake;
struct loop;

struct intake_settings {
    const char *key; /* that who brings must bear; NULL: none. Outlives the intake */
};
struct intake *intake_create(struct loop *loop, struct hub *hub, const struct writer_port *port, const struct intake_settings *settings);
/* The HTTP server is gone by then. NULL is allowed. */
void intake_destroy(struct intake *intake);
/* This node is about to stop: who brings is told, and goes on for as long as it stands; nobody else may begin. */
void intake_drain(struct intake *intake);
/* http_handler_fn, and http_streams_fn: bodies are taken as they come. */
void intake_handle(void *ctx, struct http_request *req);
bool intake_streams(void *ctx, const struct http_request *req);
void intake_metrics_register(void);
