/* The HTTP side of ingest/golive.h: POST /api/golive. Requests come on any thread, for what it looks at never changes while they do. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "ingest/golive.h"

struct golive;
struct http_request;

#define GOLIVE_PATH "/api/golive" /* no stream's: name_join refuses the app "api" */

/* `settings` are copied, what they point to must outlive it. */
struct golive *golive_create(const struct golive_settings *settings);
/* Nobody asks any more. NULL is allowed. */
void golive_destroy(struct golive *golive);
/* Where RTMP can be pushed to on this node; the first of each kind counts. NULL is allowed. */
void golive_listens(struct golive *golive, uint16_t port, bool tls);
/* http_handler_fn. */
void golive_handle(void *ctx, struct http_request *req);
void golive_metrics_register(void);
