#include "relay/load.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "common/base/loop.h"
#include "common/base/metrics.h"
#include "common/http/server.h"

enum { MEASURE_US = 500000 };

struct load {
    struct loop *loop;
    struct load_settings settings;
    struct load_figures figures;
    struct http_totals before;
    int64_t before_us;
    atomic_int level;
    struct loop_timer *timer;
};

static struct metric metrics[] = {
    {"weir_relay_load_level", NULL, "0: new viewers are welcome; 1: they are sent elsewhere; 2: they are refused.",
     METRIC_GAUGE, 0},
    {"weir_relay_egress_kbps", NULL, "What is sent, of late.", METRIC_GAUGE, 0},
};
enum { M_LEVEL, M_EGRESS };

void load_metrics_register(void) {
    metrics_register(metrics, sizeof metrics / sizeof *metrics);
}

static enum load_level judge_one(uint64_t value, uint64_t max) {
    if (!max || value < max)
        return LOAD_OK;
    return value * 10 < max * 11 ? LOAD_OVER : LOAD_FULL;
}

enum load_level load_judge(const struct load_settings *settings, const struct load_figures *figures) {
    enum load_level viewers = judge_one(figures->viewers, settings->viewers_max);
    enum load_level egress = judge_one(figures->egress_kbps, (uint64_t)settings->egress_mbps_max * 1000);
    return viewers > egress ? viewers : egress;
}

static void on_measure(void *ctx) {
    struct load *load = ctx;
    struct http_totals totals = http_totals();
    int64_t now_us = loop_now_us(load->loop), span_us = now_us - load->before_us;
    double kbps = span_us > 0 ? 8e3 * (double)(totals.bytes_sent - load->before.bytes_sent) / (double)span_us : 0;
    load->figures.viewers = (uint32_t)totals.connections;
    load->figures.egress_kbps += (uint32_t)(int32_t)((kbps - load->figures.egress_kbps) / 4);
    load->before = totals;
    load->before_us = now_us;
    atomic_store_explicit(&load->level, (int)load_judge(&load->settings, &load->figures), memory_order_relaxed);
    metric_set(&metrics[M_LEVEL], atomic_load(&load->level));
    metric_set(&metrics[M_EGRESS], load->figures.egress_kbps);
    loop_timer_set(load->timer, MEASURE_US);
}

struct load *load_create(struct loop *loop, const struct load_settings *settings) {
    struct load *load = calloc(1, sizeof *load);
    if (!load)
        abort();
    load->loop = loop;
    load->settings = *settings;
    load->before = http_totals();
    load->before_us = loop_now_us(loop);
    load->timer = loop_timer_create(loop, on_measure, load);
    loop_timer_set(load->timer, MEASURE_US);
    return load;
}

void load_destroy(struct load *load) {
    if (!load)
        return;
    loop_timer_destroy(load->timer);
    free(load);
}

enum load_level load_level(const struct load *load) {
    return (enum load_level)atomic_load_explicit(&load->level, memory_order_relaxed);
}

struct load_figures load_figures(const struct load *load) {
    return load->figures;
}
