#include "common/base/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "common/base/buf.h"

static struct metric table[] = {
    {"weir_requests_total", "code=\"200\"", "Requests answered.", METRIC_COUNTER, 0},
    {"weir_requests_total", "code=\"404\"", "Requests answered.", METRIC_COUNTER, 0},
    {"weir_connections", NULL, "Connections open now.", METRIC_GAUGE, 0},
    {"weir_busy_seconds_total", NULL, "Time spent.", METRIC_SECONDS, 0},
};

static void collect(void *ctx, struct buf *out) {
    metrics_family(out, "weir_stream_viewers", "Viewers of a stream.", METRIC_GAUGE);
    metrics_sample(out, "weir_stream_viewers", "stream=\"live/show\"", *(double *)ctx);
}

static void assert_text(struct buf *buf, const char *expected) {
    buf_append(buf, "", 1);
    assert_string_equal((char *)buf_head(buf), expected);
    buf_finish(buf);
}

static void render_tables_then_collectors(void **state) {
    (void)state;
    static double viewers = 12;
    struct buf out;
    metrics_register(table, sizeof(table) / sizeof(table[0]));
    metrics_register_collector(collect, &viewers);
    metric_add(&table[0], 5);
    metric_add(&table[0], 2);
    metric_set(&table[2], -1);
    metric_add(&table[3], 1250000);
    buf_init(&out, 4096);
    metrics_render(&out);
    assert_text(&out, "# HELP weir_requests_total Requests answered.\n"
                      "# TYPE weir_requests_total counter\n"
                      "weir_requests_total{code=\"200\"} 7\n"
                      "weir_requests_total{code=\"404\"} 0\n"
                      "# HELP weir_connections Connections open now.\n"
                      "# TYPE weir_connections gauge\n"
                      "weir_connections -1\n"
                      "# HELP weir_busy_seconds_total Time spent.\n"
                      "# TYPE weir_busy_seconds_total counter\n"
                      "weir_busy_seconds_total 1.25\n"
                      "# HELP weir_stream_viewers Viewers of a stream.\n"
                      "# TYPE weir_stream_viewers gauge\n"
                      "weir_stream_viewers{stream=\"live/show\"} 12\n");
}

static void count_rows(void *ctx, const struct metric *metric) {
    assert_ptr_equal(metric, &table[(*(size_t *)ctx)++]);
}

static void each_visits_the_tables(void **state) {
    (void)state;
    size_t count = 0;
    metrics_each(count_rows, &count);
    assert_int_equal(count, 4);
}

static void sample_values(void **state) {
    (void)state;
    struct buf out;
    buf_init(&out, 4096);
    metrics_sample(&out, "a", NULL, 1.5);
    metrics_sample(&out, "a", "", 123456789012345);
    metrics_sample(&out, "a", NULL, NAN);
    metrics_sample(&out, "a", NULL, -INFINITY);
    assert_text(&out, "a 1.5\na 123456789012345\na NaN\na -Inf\n");
}

static void render_that_overflows_is_visible(void **state) {
    (void)state;
    struct buf out;
    buf_init(&out, 50);
    metrics_render(&out);
    assert_true(out.overflow);
    buf_finish(&out);
}

static void escape_label_values(void **state) {
    (void)state;
    char out[32], small[6];
    assert_string_equal(metrics_escape(out, sizeof(out), "a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    assert_string_equal(metrics_escape(small, sizeof(small), "abcdefgh"), "abcde");
    assert_string_equal(metrics_escape(small, sizeof(small), "abcd\""), "abcd");
    assert_string_equal(metrics_escape(small, sizeof(small), "abc\""), "abc\\\"");
}

static void escape_never_cuts_a_character(void **state) {
    (void)state;
    char small[6];
    assert_string_equal(metrics_escape(small, sizeof(small), "abcd\xc3\xa9"), "abcd");
    assert_string_equal(metrics_escape(small, sizeof(small), "abc\xc3\xa9"), "abc\xc3\xa9");
    assert_string_equal(metrics_escape(small, sizeof(small), "ab\xf0\x9f\x98\x80"), "ab");
    assert_string_equal(metrics_escape(small, sizeof(small), "\x80\x80\x80\x80\x80\x80"), "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(render_tables_then_collectors),
        cmocka_unit_test(each_visits_the_tables),
        cmocka_unit_test(sample_values),
        cmocka_unit_test(render_that_overflows_is_visible),
        cmocka_unit_test(escape_label_values),
        cmocka_unit_test(escape_never_cuts_a_character),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
