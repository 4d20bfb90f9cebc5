/* The registry of metric tables and collectors, and the Prometheus text format 0.0.4. The registry is filled before
 * threads start and only read afterwards, so it needs no lock. */
#include "common/base/metrics.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"

enum { TABLES_MAX = 32, COLLECTORS_MAX = 16 };

static struct {
    struct metric *metrics;
    size_t count;
} tables[TABLES_MAX];
static size_t table_count;

static struct {
    void (*fn)(void *ctx, struct buf *out);
    void *ctx;
} collectors[COLLECTORS_MAX];
static size_t collector_count;

void metrics_register(struct metric *table, size_t count) {
    if (table_count == TABLES_MAX)
        abort();
    tables[table_count].metrics = table;
    tables[table_count++].count = count;
}

void metrics_register_collector(void (*fn)(void *ctx, struct buf *out), void *ctx) {
    if (collector_count == COLLECTORS_MAX)
        abort();
    collectors[collector_count].fn = fn;
    collectors[collector_count++].ctx = ctx;
}

const char *metric_type_name(enum metric_type type) {
    return type == METRIC_GAUGE ? "gauge" : "counter";
}

void metrics_family(struct buf *out, const char *name, const char *help, enum metric_type type) {
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, metric_type_name(type));
}

static void append_name(struct buf *out, const char *name, const char *labels) {
    if (labels && *labels)
        buf_printf(out, "%s{%s} ", name, labels);
    else
        buf_printf(out, "%s ", name);
}

void metrics_sample(struct buf *out, const char *name, const char *labels, double value) {
    append_name(out, name, labels);
    if (isnan(value))
        buf_append_str(out, "NaN\n");
    else if (isinf(value))
        buf_append_str(out, value > 0 ? "+Inf\n" : "-Inf\n");
    else
        buf_printf(out, "%.15g\n", value);
}

/* What stands for `c` inside a quoted label value; `plain` is room for it as a string. */
static const char *escape_of(char c, char plain[2]) {
    plain[0] = c;
    plain[1] = '\0';
    return c == '\\' ? "\\\\" : c == '"' ? "\\\"" : c == '\n' ? "\\n" : plain;
}

/* How much of `out` to keep when the next byte did not fit: never half a UTF-8 character. */
static size_t whole_characters(const char *out, size_t len, char next) {
    if ((next & 0xC0) != 0x80)
        return len;
    while (len > 0 && (out[len - 1] & 0xC0) == 0x80)
        len--;
    return len > 0 ? len - 1 : 0;
}

char *metrics_escape(char *out, size_t size, const char *value) {
    size_t len = 0;
    char plain[2];
    if (size == 0)
        return out;
    for (; *value; value++) {
        const char *piece = escape_of(*value, plain);
        size_t piece_len = strlen(piece);
        if (piece_len >= size - len) {
            len = whole_characters(out, len, *value);
            break;
        }
        memcpy(out + len, piece, piece_len);
        len += piece_len;
    }
    out[len] = '\0';
    return out;
}

static void render_table(struct buf *out, struct metric *metrics, size_t count) {
    const char *family = "";
    for (size_t i = 0; i < count; i++) {
        struct metric *metric = &metrics[i];
        if (strcmp(family, metric->name) != 0)
            metrics_family(out, metric->name, metric->help, metric->type);
        family = metric->name;
        int64_t value = atomic_load_explicit(&metric->value, memory_order_relaxed);
        if (metric->type == METRIC_SECONDS) {
            metrics_sample(out, metric->name, metric->labels, (double)value / 1e6);
            continue;
        }
        append_name(out, metric->name, metric->labels);
        buf_printf(out, "%" PRId64 "\n", value);
    }
}

void metrics_render(struct buf *out) {
    for (size_t i = 0; i < table_count; i++)
        render_table(out, tables[i].metrics, tables[i].count);
    for (size_t i = 0; i < collector_count; i++)
        collectors[i].fn(collectors[i].ctx, out);
}

void metrics_each(void (*fn)(void *ctx, const struct metric *metric), void *ctx) {
    for (size_t i = 0; i < table_count; i++) {
        for (size_t j = 0; j < tables[i].count; j++)
            fn(ctx, &tables[i].metrics[j]);
    }
}
