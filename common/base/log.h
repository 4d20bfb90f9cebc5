/* Structured log lines on stderr: `ts=… level=info event=publish_start stream=live/show …` (logfmt) or JSON. One line is
 * one event; values are escaped, so a peer's bytes cannot forge a line. Any thread. Logging never waits: lines that
 * stderr does not take are lost, and the next one that it takes says how many (lost=N). Libraries return errors and do
 * not log; roles log, once.
 *
 *   log_info("publish_start", "stream", LOG_STR(name), "peer", LOG_STR(peer), "epoch", LOG_INT(epoch)); */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };
enum log_format { LOG_LOGFMT, LOG_JSON };

struct log_value {
    enum { LOG_VALUE_STR = 1, LOG_VALUE_INT, LOG_VALUE_FLOAT } type;
    union {
        const char *s; /* NULL prints as an empty value */
        int64_t i;
        double f;
    };
};
#define LOG_STR(x) ((struct log_value){.type = LOG_VALUE_STR, .s = (x)})
#define LOG_INT(x) ((struct log_value){.type = LOG_VALUE_INT, .i = (int64_t)(x)})
#define LOG_FLOAT(x) ((struct log_value){.type = LOG_VALUE_FLOAT, .f = (x)})

/* Before threads start: */
void log_configure(enum log_level level, enum log_format format);
/* Written into every line from here on; NULL or empty: neither key. */
void log_identify(const char *node, const char *region);
/* Makes sure that no write to what is stderr now ever blocks, a terminal's included; without it that is so as long as
 * nobody else writes to the same pipe. */
void log_open(void);
void log_metrics_register(void);

bool log_enabled(enum log_level level);
/* Pairs of (const char *key, struct log_value value), ended by NULL. Use the macros. */
void log_event(enum log_level level, const char *event, ...);
#define log_debug(...) log_event(LOG_LEVEL_DEBUG, __VA_ARGS__, (const char *)0)
#define log_info(...) log_event(LOG_LEVEL_INFO, __VA_ARGS__, (const char *)0)
#define log_warn(...) log_event(LOG_LEVEL_WARN, __VA_ARGS__, (const char *)0)
#define log_error(...) log_event(LOG_LEVEL_ERROR, __VA_ARGS__, (const char *)0)

/* At most `per_s` events a second through this place; the rest are counted and reported as suppressed=N on the next one
 * that passes: `static struct log_limit limit;`, then
 * `if (log_limit_pass(&limit, 5, &suppressed)) log_warn("what", …, LOG_SUPPRESSED(suppressed));`. */
struct log_limit {
    int64_t window_s;
    uint32_t passed, suppressed;
};
bool log_limit_pass(struct log_limit *limit, uint32_t per_s, uint32_t *ret_suppressed);
/* The last pair of such a line; none when nothing was suppressed. */
#define LOG_SUPPRESSED(n) (n) ? "suppressed" : (const char *)0, LOG_INT(n)
