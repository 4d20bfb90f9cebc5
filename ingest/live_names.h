/* Which streams' names publishers of this node hold, for those who must answer on another thread and at once whether one is
 * free: SRT refuses callers while they shake hands. It is a hint: who may write is decided by the claim (common/media/writer.h).
 * Any thread. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct live_names;

struct live_names *live_names_create(void);
/* NULL is allowed. */
void live_names_destroy(struct live_names *names);
/* `owner`, of whom media came last at `heard_us`, holds the name. Whoever held it before no longer does. */
void live_names_hold(struct live_names *names, const char *stream, const void *owner, int64_t heard_us);
/* Nothing happens when somebody else holds it by now. */
void live_names_release(struct live_names *names, const char *stream, const void *owner);
/* Whether somebody holds it of whom something came after `since_us`. */
bool live_names_busy(struct live_names *names, const char *stream, int64_t since_us);
