#include "admin.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/loop.h"
#include "common/base/metrics.h"
#include "common/fleet/registry.h"
#include "common/http/server.h"
#include "common/media/hub.h"
#include "common/media/name.h"
#include "common/media/writer.h"
#include "ingest/advice.h"
#include "ingest/publisher.h"
#include "ingest/srt_server.h"
#include "ingest/subtitles_http.h"
#include "origin/origin.h"
#include "sources.h"

enum { BODY_MAX = 64 << 20, REFUSE_S = 60 };

struct admin {
    struct loop *loop;
    struct hub *hub;
    struct origin *origin;
    bool decides;
    struct registry *registry;
    struct srt_server *srt; /* NULL: none */
    struct ingest *ingest;  /* NULL: none */
    struct sources *sources;
    struct http_server *http;
    bool ready;
};

static void answer(struct http_request *req, int status, const char *type, struct blob *body) {
    const struct http_header headers[] = {{"Content-Type", type},
                                          {"Cache-Control", "no-store"},
                                          {"X-Content-Type-Options", "nosniff"},
                                          {"Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"}};
    struct slice slice = {body, 0, body->len};
    http_respond_slices(req, status, headers, sizeof headers / sizeof *headers, &slice, 1, false);
    blob_unref(body);
}

static void answer_text(struct http_request *req, int status, const char *text) {
    answer(req, status, "text/plain; charset=utf-8", blob_create_copy(text, strlen(text)));
}

static void answer_buf(struct http_request *req, const char *type, struct buf *buf) {
    answer(req, 200, type, buf_to_blob(buf));
    buf_finish(buf);
}

/* --- API --- */

static json_t *track_json(const struct track_info *track) {
    static const char *const kinds[] = {[TRACK_VIDEO] = "video", [TRACK_AUDIO] = "audio", [TRACK_TEXT] = "text"};
    json_t *json = json_pack("{s:s, s:s, s:s, s:i, s:i}", "name", track->name, "kind", kinds[track->kind], "codecs",
                             track->codecs, "timescale", (int)track->timescale, "init", (int)track->init_version);
    if (track->kind == TRACK_TEXT)
        json_object_update_new(json, json_pack("{s:s, s:s}", "language", track->language, "label", track->label));
    else if (track->kind == TRACK_VIDEO)
        json_object_update_new(json, json_pack("{s:i, s:i, s:f}", "width", track->width, "height", track->height,
                                               "frame_rate", track->frame_rate_milli / 1000.0));
    else
        json_object_update_new(json, json_pack("{s:i, s:i}", "sample_rate", (int)track->sample_rate, "channels",
                                               (int)track->channels));
    return json;
}

/* What the broadcaster should change; null where none pushes to this node. */
static json_t *advice_json(const struct admin *admin, const char *stream) {
    const struct advice *advice = admin->ingest ? publisher_advice(admin->ingest, stream) : NULL;
    if (!advice)
        return json_null();
    json_t *findings = json_array();
    for (int code = 0; code < ADVICE_COUNT; code++) {
        struct advice_finding finding;
        if (advice_get(advice, (enum advice_code)code, &finding))
            json_array_append_new(findings,
                                  json_pack("{s:s, s:s, s:f, s:s, s:s}", "code", advice_code_name(finding.code),
                                            "level", advice_level_name(finding.level), "value", finding.value, "unit",
                                            advice_unit(finding.code), "text", advice_text(finding.code)));
    }
    return findings;
}

struct claims_call {
    json_t *publisher, *standby;
};

static void add_claim(void *ctx, const struct origin_claim *claim) {
    struct claims_call *call = ctx;
    json_t *json = json_pack("{s:s, s:s}", "peer", claim->peer, "rank", claim_rank_name(claim->rank));
    if (claim->writes)
        call->publisher = json;
    else
        json_array_append_new(call->standby, json);
}

static json_t *stream_json(const struct admin *admin, struct stream *stream) {
    const struct segment *last = stream_last_segment(stream, 0);
    char since[CLOCK_ISO_LEN];
    clock_format_iso(since, clock_utc_from_mono_us(stream->created_us));
    json_t *tracks = json_array();
    for (uint32_t i = 0; i < stream->open->open.track_count; i++)
        json_array_append_new(tracks, track_json(&stream->open->open.tracks[i]));
    struct claims_call claims = {NULL, json_array()};
    if (admin->origin)
        origin_each_claim(admin->origin, stream->name, add_claim, &claims);
    return json_pack("{s:s, s:s, s:I, s:s, s:I, s:I, s:I, s:f, s:o, s:o, s:o, s:o}", "name", stream->name, "state",
                     stream_state_name(stream->state), "epoch", (json_int_t)stream->epoch, "since", since, "msn",
                     (json_int_t)(last ? last->msn : 0), "part", (json_int_t)stream->next_part, "bytes",
                     (json_int_t)stream->bytes, "part_target_s", stream->open->open.part_target_us / 1e6, "tracks",
                     tracks, "publisher", claims.publisher ? claims.publisher : json_null(), "standby", claims.standby,
                     "advice", advice_json(admin, stream->name));
}

struct api_call {
    const struct admin *admin;
    json_t *streams;
};

static void add_stream(void *ctx, struct stream *stream) {
    struct api_call *call = ctx;
    if (stream->open)
        json_array_append_new(call->streams, stream_json(call->admin, stream));
}

static void answer_json(struct http_request *req, json_t *root) {
    char *text = json_dumps(root, JSON_COMPACT);
    answer(req, 200, "application/json", blob_create_copy(text, strlen(text)));
    free(text);
    json_decref(root);
}

static void answer_streams(const struct admin *admin, struct http_request *req) {
    struct api_call call = {admin, json_array()};
    store_each(hub_store(admin->hub), add_stream, &call);
    answer_json(req, json_pack("{s:o}", "streams", call.streams));
}

/* One of a broadcaster's, seen from here. */
static void add_link(void *ctx, const struct srt_view *view) {
    const struct srt_link_info *info = view->info;
    const struct srt_stats *stats = &view->stats;
    char since[CLOCK_ISO_LEN];
    clock_format_iso(since, clock_utc_from_mono_us(view->since_us));
    json_t *json = json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:i}", "protocol", "srt", "stream", info->id.stream,
                             "peer", info->peer, "since", since, "version", info->version, "latency_ms",
                             (int)info->latency_ms, "aes", (int)info->key_bits);
    json_object_update_new(json, json_pack("{s:f, s:i, s:I, s:{s:I, s:I, s:I, s:I, s:I, s:I}}", "rtt_ms", stats->rtt_ms,
                                           "buffer_ms", (int)stats->buffer_ms, "bytes", (json_int_t)stats->bytes,
                                           "packets", "received", (json_int_t)stats->packets, "lost",
                                           (json_int_t)stats->lost, "retransmitted", (json_int_t)stats->retransmitted,
                                           "dropped", (json_int_t)stats->dropped, "belated", (json_int_t)stats->belated,
                                           "undecrypted", (json_int_t)stats->undecrypted));
    json_array_append_new(ctx, json);
}

static void answer_links(const struct admin *admin, struct http_request *req) {
    json_t *links = json_array();
    if (admin->srt)
        srt_server_each(admin->srt, add_link, links);
    answer_json(req, json_pack("{s:o}", "links", links));
}

static json_t *text_or_null(const char *text) {
    return *text ? json_string(text) : json_null();
}

static void add_source(void *ctx, const struct sources_view *view) {
    const struct source_view *source = &view->source;
    char since[CLOCK_ISO_LEN];
    clock_format_iso(since, clock_utc_from_mono_us(source->since_us));
    json_array_append_new(ctx, json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:I}", "stream", source->stream, "url",
                                         source->url, "mode", view->on_demand ? "on-demand" : "always", "state",
                                         source_state_name(source->state), "since", since, "error",
                                         text_or_null(source->error), "restarts", (json_int_t)source->restarts));
}

static void answer_sources(const struct admin *admin, struct http_request *req) {
    json_t *sources = json_array();
    sources_each(admin->sources, add_source, sources);
    answer_json(req, json_pack("{s:o}", "sources", sources));
}

static void add_node(void *ctx, const struct registry_node *of) {
    const struct fleet_node *node = &of->node;
    json_t *roles = json_array();
    uint32_t left = node->roles;
    for (const char *role; (role = fleet_role_next(&left));)
        json_array_append_new(roles, json_string(role));
    json_array_append_new(ctx,
                          json_pack("{s:s, s:o, s:o, s:o, s:o, s:s, s:b, s:{s:I, s:I, s:I}, s:{s:I, s:I}}", "name",
                                    of->name, "roles", roles, "region", text_or_null(node->region), "feed_url",
                                    text_or_null(node->feed_url), "http_url", text_or_null(node->http_url), "version",
                                    node->version, "missing", of->missing_us != 0, "load", "viewers",
                                    (json_int_t)node->load.viewers, "egress_kbps", (json_int_t)node->load.egress_kbps,
                                    "streams", (json_int_t)node->load.streams, "capacity", "viewers",
                                    (json_int_t)node->capacity.viewers, "streams", (json_int_t)node->capacity.streams));
}

static void add_held(void *ctx, const char *stream, const struct registry_holder *holders, size_t count) {
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list,
                              json_pack("{s:s, s:I, s:o, s:o, s:b}", "node", holders[i].node, "epoch",
                                        (json_int_t)holders[i].holding.epoch, "feed_url",
                                        text_or_null(holders[i].holding.feed_url), "since",
                                        text_or_null(holders[i].holding.since), "missing", holders[i].missing_us != 0));
    json_object_set_new(ctx, stream, list);
}

static void answer_fleet(const struct admin *admin, struct http_request *req) {
    json_t *nodes = json_array(), *streams = json_object();
    registry_each_node(admin->registry, add_node, nodes);
    registry_each_stream(admin->registry, add_held, streams);
    answer_json(req, json_pack("{s:b, s:f, s:o, s:o}", "up", registry_up(admin->registry), "age_s",
                               registry_age_s(admin->registry), "nodes", nodes, "streams", streams));
}

/* --- list --- */

/* Names consist of characters that HTML takes as they are (common/media/name.h). */
static void list_stream(void *ctx, struct stream *stream) {
    struct buf *out = ctx;
    if (!stream->open || stream->state == STREAM_ENDED)
        return;
    const struct track_info *track = &stream->open->open.tracks[0];
    buf_printf(out, "<tr><td>%s<td>%s<td>%s", stream->name, stream_state_name(stream->state), track->codecs);
    if (track->kind == TRACK_VIDEO)
        buf_printf(out, "<td>%ux%u<td>%.3g/s", track->width, track->height, track->frame_rate_milli / 1000.0);
    buf_append_str(out, "\n");
}

static void answer_list(const struct admin *admin, struct http_request *req) {
    struct buf out;
    buf_init(&out, BODY_MAX);
    buf_append_str(&out,
                   "<!doctype html><html lang=en><meta charset=utf-8><title>weir: live streams</title>"
                   "<meta name=viewport content=\"width=device-width\"><style>:root{color-scheme:light dark}"
                   "body{font:16px system-ui;margin:2rem}td,th{text-align:left;padding:.2rem 1rem .2rem 0}</style>"
                   "<h1>Live streams</h1><table><tr><th>Stream<th>State<th>Codec<th>Picture<th>Rate\n");
    store_each(hub_store(admin->hub), list_stream, &out);
    buf_append_str(&out, "</table>\n");
    answer_buf(req, "text/html; charset=utf-8", &out);
}

/* --- requests --- */

static void answer_metrics(struct http_request *req) {
    struct buf out;
    buf_init(&out, BODY_MAX);
    metrics_render(&out);
    answer_buf(req, "text/plain; version=0.0.4; charset=utf-8", &out);
}

static bool parse_refuse_s(const char *query, uint32_t *ret_s) {
    char text[16];
    *ret_s = REFUSE_S;
    if (!strstr(query, "refuse_s"))
        return true;
    if (!http_query_get(query, "refuse_s", text, sizeof text) || !*text || text[strspn(text, "0123456789")])
        return false;
    unsigned long long s = strtoull(text, NULL, 10);
    *ret_s = (uint32_t)s;
    return s <= CLAIM_REFUSE_MAX_S;
}

/* Ends a broadcast. Browsers name the page that a DELETE comes from: the operator's is none of them, whatever its own
 * name is said to be (DNS rebinding). */
static void answer_delete(const struct admin *admin, struct http_request *req, const char *stream) {
    uint32_t refuse_s;
    if (http_request_header(req, "origin"))
        http_respond_error(req, 403, "not from a web page", NULL, 0);
    else if (!admin->decides)
        http_respond_error(req, 409, "this node is no origin: ask one that has the stream", NULL, 0);
    else if (!parse_refuse_s(http_request_query(req), &refuse_s))
        http_respond_error(req, 400, "refuse_s is a number of seconds, at most 86400", NULL, 0);
    else if (origin_cut(admin->origin, stream, refuse_s))
        http_respond_error(req, 404, "nobody broadcasts under that name here", NULL, 0);
    else
        answer_json(req, json_pack("{s:s, s:I}", "cut", stream, "refuse_s", (json_int_t)refuse_s));
}

static void answer_stream(const struct admin *admin, struct http_request *req, const char *name) {
    struct stream *stream = store_find(hub_store(admin->hub), name);
    if (stream && stream->open)
        answer_json(req, stream_json(admin, stream));
    else
        http_respond_error(req, 404, "no such stream here", NULL, 0);
}

static void on_stream_request(const struct admin *admin, struct http_request *req, const char *stream) {
    static const struct http_header allow = {"Allow", "GET, HEAD, DELETE"};
    enum http_method method = http_request_method(req);
    if (method == HTTP_DELETE)
        answer_delete(admin, req, stream);
    else if (method == HTTP_GET || method == HTTP_HEAD)
        answer_stream(admin, req, stream);
    else
        http_respond_error(req, 405, NULL, &allow, 1);
}

/* "/api/v1/streams/{app}/{stream}/cues". */
static bool parse_cues_path(const char *path, char stream[STREAM_NAME_LEN]) {
    char start[STREAM_NAME_LEN + 32];
    size_t len = strlen(path), suffix = strlen("/cues");
    if (len <= suffix || len - suffix >= sizeof start || strcmp(path + len - suffix, "/cues") != 0)
        return false;
    memcpy(start, path, len - suffix);
    start[len - suffix] = 0;
    return api_stream_parse(start, stream);
}

static void on_request(void *ctx, struct http_request *req) {
    const struct admin *admin = ctx;
    const char *path = http_request_path(req);
    enum http_method method = http_request_method(req);
    char stream[STREAM_NAME_LEN];
    if (api_stream_parse(path, stream)) {
        on_stream_request(admin, req, stream);
    } else if (parse_cues_path(path, stream)) {
        subtitles_handle(admin->ingest, req, stream);
    } else if (method != HTTP_GET && method != HTTP_HEAD) {
        const struct http_header allow = {"Allow", "GET, HEAD"};
        http_respond_error(req, 405, NULL, &allow, 1);
    } else if (!strcmp(path, "/metrics")) {
        answer_metrics(req);
    } else if (!strcmp(path, "/healthz")) {
        answer_text(req, 200, "ok\n");
    } else if (!strcmp(path, "/readyz")) {
        answer_text(req, admin->ready ? 200 : 503, admin->ready ? "ready\n" : "not ready\n");
    } else if (!strcmp(path, "/api/v1/streams")) {
        answer_streams(admin, req);
    } else if (!strcmp(path, "/api/v1/links")) {
        answer_links(admin, req);
    } else if (!strcmp(path, "/api/v1/sources")) {
        answer_sources(admin, req);
    } else if (!strcmp(path, "/api/v1/fleet") && admin->registry) {
        answer_fleet(admin, req);
    } else if (!strcmp(path, "/")) {
        answer_list(admin, req);
    } else {
        http_respond_error(req, 404, NULL, NULL, 0);
    }
}

/* --- metrics of the store --- */

struct collect_call {
    struct buf *out;
    bool bytes;
    uint32_t states[STREAM_ENDED + 1];
};

static void collect_stream(void *ctx, struct stream *stream) {
    struct collect_call *call = ctx;
    char labels[STREAM_NAME_LEN + 16];
    call->states[stream->state]++;
    snprintf(labels, sizeof labels, "stream=\"%s\"", stream->name);
    if (call->bytes)
        metrics_sample(call->out, "weir_stream_bytes", labels, (double)stream->bytes);
}

/* --- metrics of links --- */

static const struct {
    const char *name, *help;
    enum metric_type type;
} link_metrics[] = {
    {"weir_srt_link_rtt_ms", "Round trip to the broadcaster by SRT.", METRIC_GAUGE},
    {"weir_srt_link_buffer_ms", "Media that wait in SRT's receive buffer.", METRIC_GAUGE},
    {"weir_srt_link_latency_ms", "SRT's latency, as agreed on.", METRIC_GAUGE},
    {"weir_srt_link_packets_total", "Packets received by SRT from the stream's broadcaster.", METRIC_COUNTER},
    {"weir_srt_link_lost_total", "Those that were missing, whether they came later or not.", METRIC_COUNTER},
    {"weir_srt_link_retransmitted_total", "Those that came again, or at the second attempt.", METRIC_COUNTER},
    {"weir_srt_link_dropped_total", "Those that did not come in time.", METRIC_COUNTER},
};
enum { LINK_METRICS = sizeof link_metrics / sizeof *link_metrics };

struct link_call {
    struct buf *out;
    int metric;
};

/* One sample a stream: of two links that want one, that which was there first. */
static void collect_link(void *ctx, const struct srt_view *view) {
    const struct link_call *call = ctx;
    const struct srt_stats *stats = &view->stats;
    const double values[LINK_METRICS] = {stats->rtt_ms,          stats->buffer_ms,    view->info->latency_ms,
                                         (double)stats->packets, (double)stats->lost, (double)stats->retransmitted,
                                         (double)stats->dropped};
    char labels[STREAM_NAME_LEN + 16];
    if (view->second)
        return;
    snprintf(labels, sizeof labels, "stream=\"%s\"", view->info->id.stream);
    metrics_sample(call->out, link_metrics[call->metric].name, labels, values[call->metric]);
}

static void collect_links(struct srt_server *srt, struct buf *out) {
    for (int i = 0; i < LINK_METRICS; i++) {
        struct link_call call = {out, i};
        metrics_family(out, link_metrics[i].name, link_metrics[i].help, link_metrics[i].type);
        srt_server_each(srt, collect_link, &call);
    }
}

/* --- metrics of sources --- */

static void collect_state(void *ctx, const struct sources_view *view) {
    char labels[STREAM_NAME_LEN + 64];
    snprintf(labels, sizeof labels, "stream=\"%s\",state=\"%s\"", view->source.stream,
             source_state_name(view->source.state));
    metrics_sample(ctx, "weir_source_state", labels, 1);
}

static void collect_restarts(void *ctx, const struct sources_view *view) {
    char labels[STREAM_NAME_LEN + 16];
    snprintf(labels, sizeof labels, "stream=\"%s\"", view->source.stream);
    metrics_sample(ctx, "weir_source_restarts_total", labels, (double)view->source.restarts);
}

static void collect_sources(const struct sources *sources, struct buf *out) {
    metrics_family(out, "weir_source_state", "1 for the state that a source is in.", METRIC_GAUGE);
    sources_each(sources, collect_state, out);
    metrics_family(out, "weir_source_restarts_total", "Attempts of a source that followed a failure.", METRIC_COUNTER);
    sources_each(sources, collect_restarts, out);
}

static void collect(void *ctx, struct buf *out) {
    struct admin *admin = ctx;
    struct store *store = hub_store(admin->hub);
    struct collect_call call = {.out = out, .bytes = true};
    metrics_family(out, "weir_stream_bytes", "Bytes of media held for the stream.", METRIC_GAUGE);
    store_each(store, collect_stream, &call);
    metrics_family(out, "weir_streams", "Streams by state.", METRIC_GAUGE);
    for (int state = 0; state <= STREAM_ENDED; state++) {
        char labels[32];
        snprintf(labels, sizeof labels, "state=\"%s\"", stream_state_name((enum stream_state)state));
        metrics_sample(out, "weir_streams", labels, call.states[state]);
    }
    metrics_family(out, "weir_store_bytes", "Bytes of media held in all.", METRIC_GAUGE);
    metrics_sample(out, "weir_store_bytes", NULL, (double)store_bytes(store));
    if (admin->srt)
        collect_links(admin->srt, out);
    if (admin->sources)
        collect_sources(admin->sources, out);
}

struct admin *admin_create(struct loop *loop, struct hub *hub, struct origin *origin, bool decides,
                           struct registry *registry) {
    struct admin *admin = calloc(1, sizeof *admin);
    if (!admin)
        abort();
    *admin = (struct admin){.loop = loop, .hub = hub, .origin = origin, .decides = decides, .registry = registry};
    admin->http = http_server_create(loop, &http_limits_default, on_request, admin);
    metrics_register_collector(collect, admin);
    return admin;
}

int admin_listen(struct admin *admin, const char *address, uint16_t *ret_port) {
    return http_server_listen(admin->http, address, false, ret_port);
}

void admin_show_srt(struct admin *admin, struct srt_server *srt) {
    admin->srt = srt;
}

void admin_show_ingest(struct admin *admin, struct ingest *ingest) {
    admin->ingest = ingest;
}

void admin_show_sources(struct admin *admin, struct sources *sources) {
    admin->sources = sources;
}

void admin_set_ready(struct admin *admin, bool ready) {
    admin->ready = ready;
}

void admin_destroy(struct admin *admin) {
    if (!admin)
        return;
    http_server_destroy(admin->http);
    free(admin);
}
