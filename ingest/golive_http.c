#include "ingest/golive_http.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "common/base/blob.h"
#include "common/base/buf.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/http/server.h"

enum { LOGS_PER_S = 20 };

struct golive {
    struct golive_settings settings;
    atomic_ushort rtmp_port, rtmps_port;
    struct log_limit lines; /* any thread */
};

static struct metric metrics[] = {
    {"weir_golive_requests_total", "result=\"ok\"", "Requests of OBS's for what to encode.", METRIC_COUNTER, 0},
    {"weir_golive_requests_total", "result=\"refused\"", "Requests of OBS's for what to encode.", METRIC_COUNTER, 0},
    {"weir_golive_requests_total", "result=\"bad\"", "Requests of OBS's for what to encode.", METRIC_COUNTER, 0},
};
enum { M_OK, M_REFUSED, M_BAD };

void golive_metrics_register(void) {
    metrics_register(metrics, sizeof metrics / sizeof *metrics);
}

struct golive *golive_create(const struct golive_settings *settings) {
    struct golive *golive = calloc(1, sizeof *golive);
    if (!golive)
        abort();
    golive->settings = *settings;
    return golive;
}

void golive_destroy(struct golive *golive) {
    free(golive);
}

void golive_listens(struct golive *golive, uint16_t port, bool tls) {
    if (!golive)
        return;
    unsigned short none = 0;
    atomic_compare_exchange_strong(tls ? &golive->rtmps_port : &golive->rtmp_port, &none, port);
}

static void log_outcome(struct golive *golive, const struct http_request *req, const struct golive_outcome *outcome) {
    uint32_t suppressed;
    if (!log_limit_pass(&golive->lines, LOGS_PER_S, &suppressed))
        return;
    log_event(outcome->why ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, outcome->why ? "golive_refused" : "golive", "stream",
              LOG_STR(outcome->stream[0] ? outcome->stream : NULL), "peer", LOG_STR(http_request_peer(req)), "encoder",
              LOG_STR(outcome->encoder), "tracks", LOG_INT(outcome->rungs), "why", LOG_STR(outcome->why),
              LOG_SUPPRESSED(suppressed), (const char *)0);
}

/* A refusal is a good answer, too: of others OBS shows nothing but that there was none. */
static void respond(struct http_request *req, const struct buf *answer) {
    static const struct http_header headers[] = {{"Content-Type", "application/json"}, {"Cache-Control", "no-store"}};
    struct blob *blob = buf_to_blob(answer);
    struct slice slice = {blob, 0, blob->len};
    http_respond_slices(req, 200, headers, sizeof headers / sizeof *headers, &slice, 1, false);
    blob_unref(blob);
}

void golive_handle(void *ctx, struct http_request *req) {
    static const struct http_header allow = {"Allow", "POST"};
    struct golive *golive = ctx;
    if (http_request_method(req) != HTTP_POST) {
        http_respond_error(req, 405, "OBS posts here", &allow, 1);
        return;
    }
    size_t len;
    const uint8_t *body = http_request_body(req, &len);
    const struct golive_where where = {.host = http_request_header(req, "host"),
                                       .rtmp_port = atomic_load(&golive->rtmp_port),
                                       .rtmps_port = atomic_load(&golive->rtmps_port)};
    struct golive_outcome outcome;
    struct buf answer;
    buf_init(&answer, GOLIVE_ANSWER_MAX);
    int rc = golive_answer(&golive->settings, &where, body, len, &answer, &outcome);
    metric_add(&metrics[rc ? M_BAD : outcome.why ? M_REFUSED : M_OK], 1);
    log_outcome(golive, req, &outcome);
    if (rc)
        http_respond_error(req, 400, outcome.why, NULL, 0);
    else
        respond(req, &answer);
    buf_finish(&answer);
}
