/* Counters and gauges in static tables, rendered in the Prometheus text format 0.0.4. A module defines a table and
 * registers it once at start; values are atomics, so any thread may add to them. Metrics with labels that come and go
 * (one a stream) are written by a collector at scrape time. Names begin with weir_. */
#pragma once
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct buf;

enum metric_type {
    METRIC_COUNTER,
    METRIC_GAUGE,
    METRIC_SECONDS, /* a counter of microseconds, rendered in seconds as Prometheus has it: weir_…_seconds_total */
};
struct metric {
    const char *name;   /* weir_http_requests_total */
    const char *labels; /* `code="404"`, or NULL; entries with one name stand together in their table */
    const char *help;
    enum metric_type type;
    _Atomic int64_t value;
};
static inline void metric_add(struct metric *metric, int64_t n) {
    atomic_fetch_add_explicit(&metric->value, n, memory_order_relaxed);
}
static inline void metric_set(struct metric *metric, int64_t n) {
    atomic_store_explicit(&metric->value, n, memory_order_relaxed);
}

/* Before threads start. Tables live as long as the process. At most 32 tables and 16 collectors. */
void metrics_register(struct metric *table, size_t count);
/* A collector runs on the scraping thread and appends whole families, made with the two helpers below. */
void metrics_register_collector(void (*fn)(void *ctx, struct buf *out), void *ctx);
const char *metric_type_name(enum metric_type type); /* "counter" */
void metrics_family(struct buf *out, const char *name, const char *help, enum metric_type type);
/* `labels` as `stream="live/show"`; escape values with metrics_escape. */
void metrics_sample(struct buf *out, const char *name, const char *labels, double value);
/* `value` with backslash, quote and newline escaped, cut to fit; returns `out`. */
char *metrics_escape(char *out, size_t size, const char *value);
/* Everything, to be served as text/plain; version=0.0.4. */
void metrics_render(struct buf *out);
/* For the reference page: one row a metric of the tables. */
void metrics_each(void (*fn)(void *ctx, const struct metric *metric), void *ctx);
