/* Continuous viewers of one worker: /{app}/{stream}/{variant}/live.mp4. One response that doesn't end: the init segment,
 * the newest independent chunk, then each chunk when it is made. A viewer costs a cursor (common/media/cursor.h), not a
 * queue: what it has not read in time it does not get. The response ends when its tracks do. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/http/server.h"

struct live;
struct stream;

/* `max_lag_us`: a viewer that is further behind jumps to the newest independent chunk. */
struct live *live_create(int64_t max_lag_us, uint32_t readers_max);
/* All responses are gone. NULL is allowed. */
void live_destroy(struct live *live);
/* Whether there are `readers_max` viewers already. */
bool live_full(const struct live *live);
/* Answers with the tracks of `mask`, a variant of the stream's open record by that name. `headers`: all of the response's. False: there
 * is no independent chunk yet, nothing was answered. */
bool live_respond(struct live *live, struct http_request *req, struct stream *stream, const char *variant, uint32_t mask,
                  const struct http_header *headers, size_t header_count);
void live_metrics_register(void);
