#include "origin/intake.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/auth/secret.h"
#include "common/base/buf.h"
#include "common/base/list.h"
#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/base/map.h"
#include "common/base/metrics.h"
#include "common/http/server.h"
#include "common/media/assembler.h"
#include "common/media/feed_control.h"
#include "common/media/hub.h"

enum {
    SWEEP_US = 1000000,
    ASKED_US = 100000,   /* how often it is looked which tracks that are made on demand are asked for */
    SILENT_US = 5000000, /* not even a beat came for so long: whoever brought is gone */
    CUT_US = 2000000,    /* who is told that the operator has cut the broadcast has so long to go */
};

struct intake {
    struct loop *loop;
    struct hub *hub;
    struct writer_port port;
    struct intake_settings settings;
    struct map *streams;
    struct list standing; /* sessions that stand by */
    struct loop_timer *sweep, *asked;
    bool draining;
};

/* What has come of a stream, kept between bringings, so that the next one goes on where the last one broke off. */
struct brought {
    char name[STREAM_NAME_LEN];
    struct intake *intake;
    struct assembler *assembler;
    struct session *session; /* the one that writes; NULL: none */
};

/* One bringing: its timeline's request, and what belongs to it. */
struct session {
    struct list link; /* while it stands by */
    struct intake *intake;
    struct brought *brought;
    char stream[STREAM_NAME_LEN], token[FEED_SESSION_LEN];
    uint64_t epoch,
        first_msn; /* as the ingest node says: it goes on with that, and has this and later segments; or 0 */
    void *claim;
    bool granted, answered, failed, ended;
    bool standing; /* by */
    bool cut;      /* by the operator, or another writes now: it has been told, and what it still brings is dropped */
    struct http_request *req;
    struct feed_lines *lines;
    struct buf control;        /* lines to be said */
    struct track_names asked;  /* as it was told: of those that are made on demand */
    struct list tracks;        /* struct track_body */
    struct loop_timer *finish; /* what has failed ends in a turn of its own */
    int64_t heard_us;
};

struct track_body {
    struct list link;
    struct session *session; /* NULL: it is over */
    struct http_request *req;
    char track[4];
    struct feed_reader *reader;
    bool whole; /* it was brought to its end */
};

static struct metric metrics[] = {
    {"weir_intake_sessions", NULL, "Ingest nodes that are bringing a stream.", METRIC_GAUGE, 0},
    {"weir_intake_sessions_total", "result=\"granted\"", "Attempts to bring a stream.", METRIC_COUNTER, 0},
    {"weir_intake_sessions_total", "result=\"busy\"", "Attempts to bring a stream.", METRIC_COUNTER, 0},
    {"weir_intake_sessions_total", "result=\"full\"", "Attempts to bring a stream.", METRIC_COUNTER, 0},
    {"weir_intake_sessions_total", "result=\"fenced\"", "Attempts to bring a stream.", METRIC_COUNTER, 0},
    {"weir_intake_sessions_total", "result=\"cut\"", "Attempts to bring a stream.", METRIC_COUNTER, 0},
    {"weir_intake_sessions_total", "result=\"standby\"", "Attempts to bring a stream.", METRIC_COUNTER, 0},
    {"weir_intake_sessions_total", "result=\"key\"", "Attempts to bring a stream.", METRIC_COUNTER, 0},
    {"weir_intake_bytes_total", NULL, "Bytes brought.", METRIC_COUNTER, 0},
    {"weir_intake_failed_total", NULL, "Bringings that ended by what they brought, or by silence.", METRIC_COUNTER, 0},
};
enum { M_SESSIONS, M_GRANTED, M_BUSY, M_FULL, M_FENCED, M_CUT, M_STANDBY, M_KEY, M_BYTES, M_FAILED };

void intake_metrics_register(void) {
    metrics_register(metrics, sizeof metrics / sizeof *metrics);
}

static void refuse(struct http_request *req, int status, const char *why) {
    const struct http_header headers[] = {{"Cache-Control", "no-store"}, {"WWW-Authenticate", "Bearer"}};
    http_respond_error(req, status, why, headers, status == 401 ? 2 : 1);
}

/* --- streams --- */

static int on_write(void *ctx, struct record *record) {
    struct brought *brought = ctx;
    struct session *session = brought->session;
    if (!session) {
        record_unref(record);
        return -ESTALE;
    }
    const struct writer_port *port = &session->intake->port;
    return port->write(port->ctx, session->claim, record);
}

static struct brought *brought_get(struct intake *intake, const char *stream) {
    struct brought *brought = map_get(intake->streams, stream);
    if (brought)
        return brought;
    brought = calloc(1, sizeof *brought);
    if (!brought)
        abort();
    strcpy(brought->name, stream);
    brought->intake = intake;
    brought->assembler = assembler_create(stream, on_write, brought);
    map_set(intake->streams, stream, brought);
    return brought;
}

static void brought_destroy(struct brought *brought) {
    map_remove(brought->intake->streams, brought->name);
    assembler_destroy(brought->assembler);
    free(brought);
}

/* --- the end of a session --- */

/* Their answers end when they say more: this may be the end of the connection that they are on, too. */
static void end_tracks(struct session *session) {
    list_each(it, &session->tracks) {
        list_remove(it);
        list_entry(it, struct track_body, link)->session = NULL;
    }
}

static void let_go(struct session *session) {
    list_remove(&session->link);
    session->standing = false;
    if (session->brought && session->brought->session == session)
        session->brought->session = NULL;
    session->brought = NULL;
    if (session->claim)
        session->intake->port.release(session->intake->port.ctx, session->claim, session->ended);
    if (session->granted)
        metric_add(&metrics[M_SESSIONS], -1);
    session->claim = NULL;
    session->granted = false;
}

static void on_finish(void *ctx) {
    struct session *session = ctx;
    end_tracks(session);
    let_go(session);
    session->failed |= session->cut && !session->ended;
    if (session->answered)
        http_request_resume(session->req); /* its source fails, or ends */
    else
        refuse(session->req, 503, "the stream was lost before it began");
}

static void fail(struct session *session, const char *why) {
    if (session->failed || session->ended || session->cut)
        return;
    session->failed = true;
    metric_add(&metrics[M_FAILED], 1);
    log_warn("intake_failed", "stream", LOG_STR(session->stream), "peer", LOG_STR(http_request_peer(session->req)),
             "why", LOG_STR(why));
    loop_timer_set(session->finish, 0);
}

static void on_session_close(void *ctx) {
    struct session *session = ctx;
    end_tracks(session);
    let_go(session);
    feed_lines_destroy(session->lines);
    buf_finish(&session->control);
    loop_timer_destroy(session->finish);
    free(session);
}

/* --- what is brought --- */

static const char *why_of(int rc) {
    return rc == -ENODATA   ? "something is missing in the feed"
           : rc == -ENOBUFS ? "its feeds are too far apart"
           : rc == -EBADMSG ? "malformed feed"
                            : "a record was refused";
}

static int on_line(void *ctx, const struct feed_line *line) {
    struct session *session = ctx;
    const struct writer_port *port = &session->intake->port;
    if (line->kind == FEED_LINE_TOUCH && session->claim)
        port->touch(port->ctx, session->claim);
    if (line->kind == FEED_LINE_TAKE && session->standing)
        port->take(port->ctx, session->claim);
    if (session->standing || line->kind >= FEED_LINE_TOUCH)
        return 0;
    if (line->kind == FEED_LINE_HELLO)
        return line->version == FEED_VERSION ? 0 : -EBADMSG;
    int rc = session->brought ? assembler_line(session->brought->assembler, line) : -ESTALE;
    return rc < 0 ? rc : 0;
}

static bool on_timeline_body(void *ctx, const uint8_t *data, size_t len) {
    struct session *session = ctx;
    session->heard_us = loop_now_us(session->intake->loop);
    if (!len && !session->failed) {
        session->ended = true;
        if (list_empty(&session->tracks)) /* else with the last of them */
            loop_timer_set(session->finish, 0);
    }
    if (!len || session->failed || session->cut)
        return true;
    metric_add(&metrics[M_BYTES], (int64_t)len);
    int rc = session->granted || session->standing ? feed_lines_push(session->lines, data, len) : -EBADMSG;
    if (rc)
        fail(session, why_of(rc));
    return true;
}

static int on_item(void *ctx, const struct feed_box *box, struct slice body) {
    struct track_body *track = ctx;
    if (box->kind == FEED_INIT)
        return 0; /* the timeline has it */
    int rc = track->session->brought ? assembler_chunk(track->session->brought->assembler, track->track, box, body)
                                     : -ESTALE;
    return rc < 0 ? rc : 0;
}

/* The answer says that the track is taken, and its end that it is no more. */
static int next_nothing(void *ctx, struct slice *slices, int max) {
    const struct track_body *track = ctx;
    (void)slices, (void)max;
    return track->session ? HTTP_SOURCE_WAIT : track->whole ? 0 : HTTP_SOURCE_ERROR;
}

static bool on_track_body(void *ctx, const uint8_t *data, size_t len) {
    struct track_body *track = ctx;
    struct session *session = track->session;
    if (session && len == 0) {
        list_remove(&track->link);
        track->session = NULL;
        track->whole = true;
        if (session->ended && list_empty(&session->tracks))
            loop_timer_set(session->finish, 0);
    }
    if (!track->session) {
        http_request_resume(track->req);
        return true;
    }
    if (session->cut)
        return true;
    metric_add(&metrics[M_BYTES], (int64_t)len);
    int rc = feed_reader_push(track->reader, data, len);
    if (rc)
        fail(session, why_of(rc));
    return true;
}

static void on_track_close(void *ctx) {
    struct track_body *track = ctx;
    struct session *session = track->session;
    list_remove(&track->link);
    track->session = NULL;
    feed_reader_destroy(track->reader);
    free(track);
    if (session)
        fail(session, "a track has broken off");
}

/* --- the control stream --- */

static int next_control(void *ctx, struct slice *slices, int max) {
    struct session *session = ctx;
    (void)max;
    if (session->failed)
        return HTTP_SOURCE_ERROR;
    if (!buf_len(&session->control))
        return session->ended && list_empty(&session->tracks) ? 0 : HTTP_SOURCE_WAIT;
    struct blob *blob = buf_to_blob(&session->control);
    buf_consume(&session->control, buf_len(&session->control));
    slices[0] = (struct slice){blob, 0, blob->len};
    return 1;
}

/* What the ingest node doesn't take has a limit: the buffer's. */
static void say_line(struct session *session, const struct feed_control *control) {
    if (!feed_control_write(&session->control, control))
        http_request_resume(session->req);
    else
        fail(session, "takes no control");
}

static void say(struct session *session, enum feed_control_kind kind) {
    say_line(session, &(struct feed_control){.kind = kind});
}

/* Where each track is to go on. False: with something that is gone at the ingest node, which `first_msn` is the oldest
 * of. Tracks may be far behind the timeline; one that is made on demand is what it is, and goes on with what there is.
 */
static bool track_places(const struct session *session, const struct record_open *open, struct feed_granted *granted) {
    const struct assembler *assembler = session->brought->assembler;
    for (uint32_t i = 0; i < open->track_count; i++) {
        struct feed_from *from = &granted->tracks[granted->track_count];
        strcpy(from->track, open->tracks[i].name);
        bool begun = assembler_next(assembler, from->track, &from->msn, &from->number);
        bool gone = begun ? from->msn < session->first_msn : assembler_waits(assembler);
        if (gone && !open->tracks[i].on_demand)
            return false;
        granted->track_count += begun && !gone;
    }
    return true;
}

/* Where the ingest node is to go on. */
static void tell_places(struct session *session, struct feed_granted *granted) {
    struct assembler *assembler = session->brought->assembler;
    uint64_t epoch, msn;
    const struct record_open *open = assembler_tracks(assembler);
    bool known = session->epoch && open && assembler_segment(assembler, &epoch, &msn);
    if (!known)
        return;
    if (session->first_msn > msn || !store_find(hub_store(session->intake->hub), session->stream) ||
        !track_places(session, open, granted)) {
        assembler_restart(assembler); /* what comes next is gone there, or what came is gone here */
        granted->track_count = 0;
        return;
    }
    granted->from_msn = msn;
}

/* With the control stream, in which something stands. */
static void begin_control(struct session *session) {
    static const struct http_header headers[] = {{"Content-Type", "application/x-ndjson"},
                                                 {"Cache-Control", "no-store"}};
    if (session->answered) {
        http_request_resume(session->req);
        return;
    }
    session->answered = true;
    http_respond(session->req, &(struct http_response){.status = 200,
                                                       .headers = headers,
                                                       .header_count = 2,
                                                       .length = -1,
                                                       .source = {.next = next_control, .ctx = session}});
}

static void on_granted(struct session *session, const struct claim_grant *grant) {
    struct feed_control control = {.kind = FEED_CONTROL_GRANTED,
                                   .granted = {.grant = *grant, .asks = session->intake->port.asked}};
    struct feed_granted *granted = &control.granted;
    metric_add(&metrics[M_SESSIONS], 1);
    list_remove(&session->link);
    session->standing = false;
    session->granted = true;
    session->brought = brought_get(session->intake, session->stream);
    session->brought->session = session; /* one before it has lost its claim, which it is being told */
    strcpy(granted->session, session->token);
    tell_places(session, granted);
    if (feed_control_write(&session->control, &control)) {
        fail(session, "takes no control");
        return;
    }
    log_info("intake_start", "stream", LOG_STR(session->stream), "peer", LOG_STR(http_request_peer(session->req)),
             "epoch", LOG_INT(grant->epoch), "from", LOG_INT(granted->from_msn));
    begin_control(session);
}

/* The last that it hears: it is to ask anew, and then stands by. */
static void on_superseded(struct session *session) {
    end_tracks(session);
    let_go(session);
    session->cut = true;
    loop_timer_set(session->finish, CUT_US);
}

static void on_standby(struct session *session, enum claim_result how) {
    const struct feed_control control = {.kind = FEED_CONTROL_STANDBY, .standing = how};
    if (session->failed || session->ended || session->cut)
        return;
    if (feed_control_write(&session->control, &control)) {
        fail(session, "takes no control");
        return;
    }
    if (session->granted) {
        on_superseded(session);
    } else if (!session->standing) {
        session->standing = true;
        session->epoch = 0; /* what it went on with is over */
        list_append(&session->intake->standing, &session->link);
        metric_add(&metrics[M_STANDBY], 1);
        log_info("intake_standby", "stream", LOG_STR(session->stream), "peer",
                 LOG_STR(http_request_peer(session->req)));
    }
    begin_control(session);
}

static void on_result(void *owner, enum claim_result result, const struct claim_grant *grant) {
    static const struct {
        int metric, status;
        const char *why;
    } answers[] = {[CLAIM_GRANTED] = {M_GRANTED, 200, NULL},
                   [CLAIM_BUSY] = {M_BUSY, 423, "somebody else writes it"},
                   [CLAIM_FULL] = {M_FULL, 503, "no room for another stream"},
                   [CLAIM_FENCED] = {M_FENCED, 409, "a later writer has it"},
                   [CLAIM_CUT] = {M_CUT, 410, "the operator has cut it"},
                   [CLAIM_UNREACHABLE] = {M_FULL, 503, "no origin"}};
    struct session *session = owner;
    if (claim_stands_by(result)) {
        on_standby(session, result);
        return;
    }
    metric_add(&metrics[answers[result].metric], 1);
    if (result == CLAIM_GRANTED)
        on_granted(session, grant);
    else
        session->failed = session->answered = true;
    if (result != CLAIM_GRANTED)
        refuse(session->req, answers[result].status, answers[result].why);
}

/* The ingest node ends it everywhere, and with that this session. */
static void say_cut(struct session *session, uint32_t refuse_s) {
    const struct feed_control control = {.kind = FEED_CONTROL_CUT, .refuse_s = refuse_s};
    if (session->failed || session->ended)
        return;
    if (feed_control_write(&session->control, &control)) {
        fail(session, "takes no control");
        return;
    }
    session->cut = true;
    loop_timer_set(session->finish, CUT_US);
    http_request_resume(session->req);
}

static void on_lost(void *owner, const struct claim_loss *loss) {
    if (loss->cut)
        say_cut(owner, loss->refuse_s);
    else
        fail(owner, loss->why);
}

/* --- requests --- */

static uint64_t query_number(const struct http_request *req, const char *key) {
    char text[32];
    uint64_t number = 0;
    uint32_t none;
    return http_query_get(http_request_query(req), key, text, sizeof text) && feed_place_parse(text, &number, &none)
               ? number
               : 0;
}

/* What it asks for the stream as. One that says nothing of its rank is an older node. */
static enum claim_rank query_rank(const struct http_request *req) {
    char text[16];
    enum claim_rank rank = CLAIM_PRIMARY;
    if (http_query_get(http_request_query(req), "rank", text, sizeof text))
        claim_rank_parse(text, &rank);
    return rank;
}

static void handle_timeline(struct intake *intake, struct http_request *req, const char *stream) {
    struct session *session = calloc(1, sizeof *session);
    if (!session)
        abort();
    uint8_t bytes[(FEED_SESSION_LEN - 1) / 2];
    char peer[64] = "";
    session->intake = intake;
    session->req = req;
    strcpy(session->stream, stream);
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        abort();
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(session->token + 2 * i, 3, "%02x", bytes[i]);
    session->epoch = query_number(req, "epoch");
    session->first_msn = query_number(req, "first");
    http_query_get(http_request_query(req), "peer", peer, sizeof peer);
    session->lines = feed_lines_create(stream, on_line, session);
    session->finish = loop_timer_create(intake->loop, on_finish, session);
    session->heard_us = loop_now_us(intake->loop);
    list_init(&session->tracks);
    list_init(&session->link);
    buf_init(&session->control, FEED_CONTROL_MAX);
    http_request_on_close(req, on_session_close, session);
    http_request_on_body(req, on_timeline_body, session);
    const struct claim_request request = {.stream = stream,
                                          .peer = *peer ? peer : http_request_peer(req),
                                          .rank = query_rank(req),
                                          .epoch = session->epoch,
                                          .stands_by = query_number(req, "standby"),
                                          .on_result = on_result,
                                          .on_lost = on_lost,
                                          .owner = session};
    session->claim = intake->port.claim(intake->port.ctx, &request);
}

static void handle_track(struct intake *intake, struct http_request *req, const char *stream, const char *name) {
    char token[FEED_SESSION_LEN];
    const struct brought *brought = map_get(intake->streams, stream);
    struct session *session = brought ? brought->session : NULL;
    if (!session || session->failed || session->cut ||
        !http_query_get(http_request_query(req), "session", token, sizeof token) ||
        strcmp(token, session->token) != 0) {
        refuse(req, 410, "no such session");
        return;
    }
    struct track_body *track = calloc(1, sizeof *track);
    if (!track)
        abort();
    track->session = session;
    track->req = req;
    snprintf(track->track, sizeof track->track, "%s", name);
    track->reader = feed_reader_create(on_item, track);
    list_append(&session->tracks, &track->link);
    http_request_on_close(req, on_track_close, track);
    http_request_on_body(req, on_track_body, track);
    http_respond(req,
                 &(struct http_response){.status = 200, .length = -1, .source = {.next = next_nothing, .ctx = track}});
}

bool intake_streams(void *ctx, const struct http_request *req) {
    (void)ctx;
    return http_request_method(req) == HTTP_POST;
}

void intake_handle(void *ctx, struct http_request *req) {
    struct intake *intake = ctx;
    char stream[STREAM_NAME_LEN], track[4];
    if (intake->settings.key && !secret_borne(intake->settings.key, http_request_header(req, "authorization"))) {
        metric_add(&metrics[M_KEY], 1);
        refuse(req, 401, "the fleet's key is missing or another");
    } else if (http_request_method(req) != HTTP_POST) {
        refuse(req, 405, NULL);
    } else if (!feed_path_parse(http_request_path(req), stream, track)) {
        refuse(req, 404, "feeds are brought to /feed/APP/STREAM and /feed/APP/STREAM/TRACK");
    } else if (*track) {
        handle_track(intake, req, stream, track);
    } else if (intake->draining) {
        refuse(req, 503, "this origin is about to stop");
    } else {
        handle_timeline(intake, req, stream);
    }
}

/* --- life cycle --- */

static void sweep_one(void *ctx, const char *name, void *value) {
    const struct intake *intake = ctx;
    struct brought *brought = value;
    struct session *session = brought->session;
    bool silent = session && loop_now_us(intake->loop) - session->heard_us > SILENT_US;
    if (silent && session->ended)
        loop_timer_set(session->finish, 0); /* its tracks are waited for no longer */
    else if (silent)
        fail(session, "silent");
    else if (session)
        say(session, FEED_CONTROL_BEAT); /* so that the ingest node hears that this one lives */
    else if (!session && !store_find(hub_store(intake->hub), name))
        brought_destroy(brought);
}

static void sweep_standing(struct intake *intake) {
    list_each(it, &intake->standing) {
        struct session *session = list_entry(it, struct session, link);
        if (loop_now_us(intake->loop) - session->heard_us > SILENT_US)
            fail(session, "silent");
        else
            say(session, FEED_CONTROL_BEAT);
    }
}

static void on_sweep(void *ctx) {
    struct intake *intake = ctx;
    sweep_standing(intake);
    map_each(intake->streams, sweep_one, intake);
    loop_timer_set(intake->sweep, SWEEP_US);
}

/* Of the tracks that are made on demand, those that are asked for here, when they are others than it was told. */
static void tell_asked(struct session *session) {
    const struct writer_port *port = &session->intake->port;
    const struct record_open *open = assembler_tracks(session->brought->assembler);
    bool any = session->asked.count;
    for (uint32_t i = 0; open && i < open->track_count; i++)
        any |= open->tracks[i].on_demand;
    if (!any || session->failed || session->cut || session->ended)
        return;
    struct track_names all = port->asked(port->ctx, session->claim), asked = {0};
    for (uint32_t i = 0; open && i < open->track_count; i++)
        if (open->tracks[i].on_demand && track_names_have(&all, open->tracks[i].name))
            track_names_add(&asked, open->tracks[i].name);
    if (track_names_same(&asked, &session->asked))
        return;
    session->asked = asked;
    say_line(session, &(struct feed_control){.kind = FEED_CONTROL_ASKED, .asked = asked});
}

static void tell_asked_one(void *ctx, const char *name, void *value) {
    const struct brought *brought = value;
    (void)ctx, (void)name;
    if (brought->session)
        tell_asked(brought->session);
}

static void on_asked(void *ctx) {
    struct intake *intake = ctx;
    map_each(intake->streams, tell_asked_one, NULL);
    loop_timer_set(intake->asked, ASKED_US);
}

struct intake *intake_create(struct loop *loop, struct hub *hub, const struct writer_port *port,
                             const struct intake_settings *settings) {
    struct intake *intake = calloc(1, sizeof *intake);
    if (!intake)
        abort();
    *intake = (struct intake){.loop = loop, .hub = hub, .port = *port, .settings = *settings, .streams = map_create()};
    intake->sweep = loop_timer_create(loop, on_sweep, intake);
    list_init(&intake->standing);
    loop_timer_set(intake->sweep, SWEEP_US);
    if (port->asked) {
        intake->asked = loop_timer_create(loop, on_asked, intake);
        loop_timer_set(intake->asked, ASKED_US);
    }
    return intake;
}

static void drain_one(void *ctx, const char *name, void *value) {
    const struct brought *brought = value;
    (void)ctx, (void)name;
    if (brought->session)
        say(brought->session, FEED_CONTROL_DRAIN);
}

void intake_drain(struct intake *intake) {
    intake->draining = true;
    map_each(intake->streams, drain_one, NULL);
}

static void destroy_one(void *ctx, const char *name, void *value) {
    (void)ctx, (void)name;
    brought_destroy(value);
}

void intake_destroy(struct intake *intake) {
    if (!intake)
        return;
    map_each(intake->streams, destroy_one, NULL);
    map_destroy(intake->streams);
    loop_timer_destroy(intake->sweep);
    loop_timer_destroy(intake->asked);
    free(intake);
}
