#include "ingest/subtitles_http.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/blob.h"
#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/metrics.h"
#include "common/http/server.h"
#include "ingest/cues.h"
#include "ingest/ingest.h"
#include "ingest/publisher.h"
#include "ingest/subtitles.h"

static struct metric metrics[] = {
    {"weir_ingest_cues_total", "result=\"taken\"", "Cues of subtitles that were posted.", METRIC_COUNTER, 0},
    {"weir_ingest_cues_total", "result=\"late\"", "Cues of subtitles that were posted.", METRIC_COUNTER, 0},
    {"weir_ingest_cues_total", "result=\"refused\"", "Cues of subtitles that were posted.", METRIC_COUNTER, 0},
};
enum { M_TAKEN, M_LATE, M_REFUSED };

void subtitles_metrics_register(void) {
    metrics_register(metrics, sizeof metrics / sizeof *metrics);
}

static bool is_type(const struct http_request *req, const char *type) {
    const char *given = http_request_header(req, "content-type");
    size_t len = strlen(type);
    return given && !strncmp(given, type, len) && (!given[len] || given[len] == ';' || given[len] == ' ');
}

/* 0, or an error that was answered. */
static int parse(struct http_request *req, struct cues *cues, int64_t now_us) {
    const char *query = http_request_query(req);
    char language[LANGUAGE_LEN] = "", label[LABEL_LEN] = "", base[20] = "";
    size_t len;
    const uint8_t *body = http_request_body(req, &len);
    int rc;
    if (!is_type(req, "text/vtt")) {
        rc = cues_parse_json(cues, body, len, now_us);
    } else {
        bool named = http_query_get(query, "language", language, sizeof language);
        named &= !strstr(query, "name=") || http_query_get(query, "name", label, sizeof label);
        bool based = http_query_get(query, "base", base, sizeof base);
        int64_t base_us = based && *base && !base[strspn(base, "0123456789")] && strlen(base) <= 15
                              ? strtoll(base, NULL, 10) * 1000
                          : based ? -1
                                  : now_us;
        rc = cues_parse_vtt(cues, body, len, named ? language : "", label, base_us);
    }
    if (rc)
        http_respond_error(req, 400, cues->why, NULL, 0);
    return rc;
}

struct counts {
    uint32_t taken, late;
    enum subtitle_verdict refused; /* SUBTITLE_TAKEN: none was */
};

static void respond(struct http_request *req, const struct counts *counts) {
    static const struct http_header headers[] = {{"Content-Type", "application/json"}, {"Cache-Control", "no-store"}};
    struct buf text;
    buf_init(&text, 256);
    buf_printf(&text, "{\"taken\":%u,\"late\":%u}", counts->taken, counts->late);
    struct slice slice = {.blob = buf_to_blob(&text), .len = buf_len(&text)};
    http_respond_slices(req, 200, headers, sizeof headers / sizeof *headers, &slice, 1, false);
    blob_unref(slice.blob);
    buf_finish(&text);
}

/* Those before the one that is refused stay. */
static void refuse(struct http_request *req, enum subtitle_verdict why) {
    static const struct http_header wait = {"Retry-After", "1"};
    metric_add(&metrics[M_REFUSED], 1);
    if (why == SUBTITLE_CROWDED)
        http_respond_error(req, 429,
                           "too many cues wait to be shown, or show at the same time; earlier ones were taken", &wait,
                           1);
    else if (why == SUBTITLE_LANGUAGES)
        http_respond_error(req, 409, "the stream has subtitles in four languages; earlier cues were taken", NULL, 0);
    else
        http_respond_error(req, 400, "a cue begins more than a minute from now; earlier ones were taken", NULL, 0);
}

static void take(struct ingest *ingest, struct http_request *req, const char *stream, const struct cues *cues,
                 int64_t now_us) {
    struct counts counts = {0};
    bool changed = false;
    for (uint32_t i = 0; i < cues->count && !counts.refused; i++) {
        enum subtitle_verdict verdict = subtitles_add(ingest->subtitles, stream, &cues->items[i], now_us);
        bool taken = verdict == SUBTITLE_TAKEN || verdict == SUBTITLE_NEW;
        changed |= verdict == SUBTITLE_NEW;
        counts.taken += taken;
        counts.late += verdict == SUBTITLE_LATE;
        if (!taken && verdict != SUBTITLE_LATE)
            counts.refused = verdict;
    }
    metric_add(&metrics[M_TAKEN], counts.taken);
    metric_add(&metrics[M_LATE], counts.late);
    if (changed)
        publisher_subtitles_changed(ingest, stream);
    if (counts.refused)
        refuse(req, counts.refused);
    else
        respond(req, &counts);
}

void subtitles_handle(struct ingest *ingest, struct http_request *req, const char *stream) {
    static const struct http_header allow = {"Allow", "POST"};
    struct cues cues = {0};
    int64_t now_us = clock_utc_us();
    if (http_request_method(req) != HTTP_POST)
        http_respond_error(req, 405, "cues are posted here", &allow, 1);
    else if (http_request_header(req, "origin"))
        http_respond_error(req, 403, "not from a web page", NULL, 0);
    else if (!ingest || !publisher_is_on_air(ingest, stream))
        http_respond_error(req, 404, "nobody publishes that stream to this node", NULL, 0);
    else if (!parse(req, &cues, now_us))
        take(ingest, req, stream, &cues, now_us);
    cues_finish(&cues);
}
