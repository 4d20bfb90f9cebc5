/* A real server on loopback and clients of raw sockets, all on one loop: a test puts bytes on the wire and runs the
 * loop until it sees what it waits for, or until a deadline. The publisher is a fake one. */
#include "ingest/rtmp_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/base/metrics.h"
#include "common/http/tls.h"
#include "common/http/tls_transport.h"
#include "ingest/amf.h"
#include "ingest/publisher.h"
#include "ingest/rtmp_chunk.h"
#include "ingest/rtmp_handshake.h"
#include "ingest/rtmp_reply.h"
#include "rtmp_fixture.h"
#include "tls_fixture.h"

enum { DEADLINE_US = 10000000, TICK_US = 1000, CLIENTS_MAX = 64, CHUNK = 128, REPLIES_MAX = 1 << 20 };

/* --- publishers --- */

struct publisher {
    struct publisher_events events;
    void *ctx;
    struct loop_timer *timer;
    enum publish_result result;
};

static struct loop *loop;
static uint32_t publishing, frames;
static bool closed_clean;

static void on_decided(void *ctx) {
    struct publisher *pub = ctx;
    pub->events.on_result(pub->ctx, pub->result);
}

/* "denied" is; all else is granted. */
struct publisher *publisher_open(struct ingest *ingest, const char *app, const char *name, const char *peer,
                                 const struct publisher_events *events, void *ctx) {
    (void)ingest, (void)app, (void)peer;
    struct publisher *pub = calloc(1, sizeof *pub);
    *pub = (struct publisher){.events = *events, .ctx = ctx};
    pub->result = strcmp(name, "denied") == 0 ? PUBLISH_DENIED : PUBLISH_OK;
    pub->timer = loop_timer_create(loop, on_decided, pub);
    loop_timer_set(pub->timer, 0);
    publishing++;
    return pub;
}

void publisher_metadata(struct publisher *pub, const struct publisher_metadata *metadata) {
    (void)pub, (void)metadata;
}

void publisher_config(struct publisher *pub, const struct publisher_config *config) {
    (void)pub, (void)config;
}

void publisher_frame(struct publisher *pub, const struct publisher_frame *frame) {
    (void)pub, (void)frame;
    frames++;
}

void publisher_track_end(struct publisher *pub, enum track_kind kind, uint8_t track) {
    (void)pub, (void)kind, (void)track;
}

void publisher_close(struct publisher *pub, bool clean) {
    if (!pub)
        return;
    closed_clean = clean;
    publishing--;
    loop_timer_destroy(pub->timer);
    free(pub);
}

/* --- the server and its clients --- */

static struct rtmp_server *server;
static struct loop_timer *tick;
static uint16_t port;
static int clients[CLIENTS_MAX];
static uint32_t client_count;
static struct buf wire, body, replies;
static double caps_ex; /* what clients say that they can do; 0: nothing is said */

static bool (*awaited)(int fd);
static int awaited_of;
static int64_t give_up_us;
static bool came;

static void on_tick(void *ctx) {
    (void)ctx;
    came = awaited(awaited_of);
    if (came || loop_now_us(loop) > give_up_us)
        loop_stop(loop);
    else
        loop_timer_set(tick, TICK_US);
}

static void run_until(bool (*condition)(int fd), int fd) {
    awaited = condition;
    awaited_of = fd;
    give_up_us = loop_now_us(loop) + DEADLINE_US;
    loop_timer_set(tick, 0);
    loop_run(loop);
    assert_true(came);
}

static void start(const struct rtmp_limits *limits) {
    server = rtmp_server_create(loop, NULL, limits);
    assert_int_equal(rtmp_server_listen(server, "127.0.0.1:0", &port), 0);
}

static int setup(void **state) {
    (void)state;
    loop = loop_create();
    tick = loop_timer_create(loop, on_tick, NULL);
    buf_init(&wire, 16 << 20);
    buf_init(&body, 1 << 20);
    buf_init(&replies, REPLIES_MAX);
    publishing = frames = client_count = 0;
    caps_ex = 0;
    return 0;
}

static int teardown(void **state) {
    (void)state;
    for (uint32_t i = 0; i < client_count; i++)
        close(clients[i]);
    rtmp_server_destroy(server);
    assert_int_equal(publishing, 0);
    loop_timer_destroy(tick);
    loop_destroy(loop);
    buf_finish(&wire);
    buf_finish(&body);
    buf_finish(&replies);
    return 0;
}

/* From an address of loopback's choice, "127.0.0.7". */
static int client_open(const char *source) {
    struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    inet_pton(AF_INET, source, &from.sin_addr);
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    assert_int_equal(bind(fd, (const struct sockaddr *)&from, sizeof from), 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof to), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    assert_true(client_count < CLIENTS_MAX);
    clients[client_count++] = fd;
    return fd;
}

/* Collects what has come; false once the connection is gone. */
static bool client_read(int fd, int *ret_error) {
    static uint8_t data[65536];
    ssize_t n;
    while ((n = recv(fd, data, sizeof data, 0)) > 0)
        buf_append(&replies, data, (size_t)n);
    *ret_error = n < 0 ? errno : 0;
    return n < 0 && errno == EAGAIN;
}

static bool is_closed(int fd) {
    int error;
    return !client_read(fd, &error);
}

static bool has_reply(int fd, const char *text) {
    int error;
    client_read(fd, &error);
    return buf_len(&replies) && memmem(buf_head(&replies), buf_len(&replies), text, strlen(text));
}

static bool is_connected(int fd) {
    return has_reply(fd, "NetConnection.Connect.Success");
}

static bool is_granted(int fd) {
    return has_reply(fd, "NetStream.Publish.Start");
}

/* The rest of the wire is sent once nothing is left of it. */
static bool is_sent(int fd) {
    ssize_t n = send(fd, buf_head(&wire), buf_len(&wire), MSG_NOSIGNAL);
    if (n > 0)
        buf_consume(&wire, (size_t)n);
    return !buf_len(&wire);
}

static int counted(const char *sample) {
    struct buf out;
    buf_init(&out, 1 << 20);
    metrics_render(&out);
    buf_append(&out, "", 1);
    const char *at = strstr((const char *)buf_head(&out), sample);
    assert_non_null(at);
    int value = atoi(at + strlen(sample));
    buf_finish(&out);
    return value;
}

/* --- what a client says --- */

static void put_command(uint32_t stream_id) {
    wire_message(&wire, CHUNK, 0, 3, 0, RTMP_COMMAND, stream_id, buf_head(&body), buf_len(&body));
    buf_clear(&body);
}

static void put_connect(void) {
    wire_put(&wire, RTMP_HANDSHAKE_VERSION, 1);
    for (int i = 0; i < 2 * RTMP_HANDSHAKE_PART / 4; i++)
        wire_put(&wire, 0, 4);
    amf_write_string(&body, "connect");
    amf_write_number(&body, 1);
    amf_write_object_begin(&body);
    amf_write_name(&body, "app");
    amf_write_string(&body, "live");
    if (caps_ex) {
        amf_write_name(&body, "capsEx");
        amf_write_number(&body, caps_ex);
    }
    amf_write_object_end(&body);
    put_command(0);
}

static void put_publish(const char *name) {
    amf_write_string(&body, "publish");
    amf_write_number(&body, 5);
    amf_write_null(&body);
    amf_write_string(&body, name);
    put_command(1);
}

static void put_video(size_t len) {
    static uint8_t frame[64 << 10] = {0x27, 1};
    assert_true(len <= sizeof frame);
    wire_message(&wire, CHUNK, 0, 6, 0, RTMP_VIDEO, 1, frame, len);
}

static int publish_from(const char *source) {
    int fd = client_open(source);
    buf_clear(&replies);
    put_connect();
    put_publish("show");
    run_until(is_sent, fd);
    run_until(is_granted, fd);
    return fd;
}

static bool one_is_left(int fd) {
    (void)fd;
    return rtmp_server_connections(server) == 1;
}

static bool two_are_there(int fd) {
    (void)fd;
    return rtmp_server_connections(server) == 2;
}

/* --- what a stranger may take --- */

static void strangers_of_one_address_are_limited(void **state) {
    (void)state;
    struct rtmp_limits limits = rtmp_limits_default;
    limits.unpublished_per_address = 2;
    start(&limits);
    int before = counted("\nweir_rtmp_refused_total{reason=\"address\"} ");
    int first = client_open("127.0.0.1");
    client_open("127.0.0.1");
    run_until(two_are_there, 0);
    run_until(is_closed, client_open("127.0.0.1"));
    assert_int_equal(rtmp_server_connections(server), 2);
    assert_int_equal(counted("\nweir_rtmp_refused_total{reason=\"address\"} "), before + 1);
    publish_from("127.0.0.2"); /* others are not kept out */
    shutdown(first, SHUT_RDWR);
    run_until(is_closed, first);
    run_until(two_are_there, 0);
    publish_from("127.0.0.1"); /* and neither is the address, once it has room */
}

static void who_publishes_is_no_stranger(void **state) {
    (void)state;
    struct rtmp_limits limits = rtmp_limits_default;
    limits.unpublished_per_address = 1;
    start(&limits);
    for (int i = 0; i < 3; i++)
        publish_from("127.0.0.1");
    assert_int_equal(rtmp_server_connections(server), 3);
    assert_int_equal(publishing, 3);
}

static void who_is_denied_stays_a_stranger(void **state) {
    (void)state;
    struct rtmp_limits limits = rtmp_limits_default;
    limits.unpublished_per_address = 1;
    start(&limits);
    int fd = client_open("127.0.0.1");
    put_connect();
    put_publish("denied");
    run_until(is_sent, fd);
    run_until(is_closed, fd);
    assert_true(has_reply(fd, "NetStream.Publish.Denied"));
    run_until(is_closed, client_open("127.0.0.1"));
    run_until(one_is_left, 0);
}

static void stranger_may_hold_little(void **state) {
    (void)state;
    struct rtmp_limits limits = rtmp_limits_default;
    start(&limits);
    int before = counted("\nweir_rtmp_protocol_errors_total ");
    int fd = client_open("127.0.0.1");
    put_connect();
    for (uint32_t csid = 10; csid < 15; csid++) { /* each by itself would do */
        static uint8_t chunk[CHUNK];
        wire_head(&wire, 0, csid, 0, 30000, RTMP_VIDEO, 1);
        for (int i = 0; i < 20000 / CHUNK; i++) {
            if (i)
                wire_head(&wire, 3, csid, 0, 0, 0, 0);
            buf_append(&wire, chunk, sizeof chunk);
        }
    }
    run_until(is_sent, fd);
    run_until(is_closed, fd);
    assert_int_equal(counted("\nweir_rtmp_protocol_errors_total "), before + 1);
}

static bool all_frames_came(int fd) {
    (void)fd;
    return frames == 20;
}

/* Some encoders don't wait for the answer to publish. What they send stays in the socket. */
static void impatient_publisher_loses_nothing(void **state) {
    (void)state;
    start(&rtmp_limits_default);
    int fd = client_open("127.0.0.1");
    put_connect();
    put_publish("show");
    for (int i = 0; i < 20; i++)
        put_video(20000);
    run_until(is_sent, fd);
    run_until(all_frames_came, 0);
    assert_true(is_granted(fd));
}

/* --- limits and timeouts of all --- */

static void connections_are_limited(void **state) {
    (void)state;
    struct rtmp_limits limits = rtmp_limits_default;
    limits.connections_max = 2;
    start(&limits);
    int before = counted("\nweir_rtmp_refused_total{reason=\"connections_max\"} ");
    int first = publish_from("127.0.0.1");
    client_open("127.0.0.2");
    run_until(two_are_there, 0);
    run_until(is_closed, client_open("127.0.0.3"));
    assert_int_equal(rtmp_server_connections(server), 2);
    assert_int_equal(counted("\nweir_rtmp_refused_total{reason=\"connections_max\"} "), before + 1);
    shutdown(first, SHUT_RDWR);
    run_until(one_is_left, 0);
    publish_from("127.0.0.3");
}

static void who_does_not_publish_in_time_is_closed(void **state) {
    (void)state;
    struct rtmp_limits limits = rtmp_limits_default;
    limits.handshake_timeout_ms = 300;
    start(&limits);
    int before = counted("\nweir_rtmp_timeouts_total{reason=\"handshake\"} ");
    int publisher = publish_from("127.0.0.1");
    int mute = client_open("127.0.0.1"), idle = client_open("127.0.0.1");
    put_connect();
    run_until(is_sent, idle);
    run_until(is_closed, mute);
    run_until(is_closed, idle);
    assert_int_equal(counted("\nweir_rtmp_timeouts_total{reason=\"handshake\"} "), before + 2);
    assert_false(is_closed(publisher)); /* it is older than both */
    assert_int_equal(publishing, 1);
}

static void silent_publisher_is_closed(void **state) {
    (void)state;
    struct rtmp_limits limits = rtmp_limits_default;
    limits.silence_timeout_ms = 300;
    start(&limits);
    int before = counted("\nweir_rtmp_timeouts_total{reason=\"silence\"} ");
    int stranger = client_open("127.0.0.1"); /* has its own time */
    run_until(is_closed, publish_from("127.0.0.1"));
    assert_int_equal(counted("\nweir_rtmp_timeouts_total{reason=\"silence\"} "), before + 1);
    assert_int_equal(publishing, 0);
    assert_false(closed_clean);
    assert_false(is_closed(stranger));
}

static bool none_is_left(int fd) {
    (void)fd;
    return rtmp_server_connections(server) == 0;
}

/* Asks a thousand times a tick, as long as the socket takes it. */
static bool is_given_up(int fd) {
    static const uint8_t ping[6] = {0, RTMP_PING_REQUEST};
    for (int i = buf_len(&wire) ? 1000 : 0; i < 1000; i++)
        wire_message(&wire, CHUNK, 0, 2, 0, RTMP_USER_CONTROL, 0, ping, sizeof ping);
    is_sent(fd);
    return none_is_left(fd);
}

static void peer_that_does_not_read_is_given_up(void **state) {
    (void)state;
    start(&rtmp_limits_default);
    int before = counted("\nweir_rtmp_protocol_errors_total "), fd = publish_from("127.0.0.1");
    int64_t received = counted("\nweir_rtmp_received_bytes_total ");
    run_until(is_given_up, fd);
    assert_int_equal(counted("\nweir_rtmp_protocol_errors_total "), before + 1);
    received = counted("\nweir_rtmp_received_bytes_total ") - received;
    assert_in_range(received, 200000, 1 << 20); /* for what lay unread, in the kernel too, and not for asking much */
    assert_int_equal(publishing, 0);
}

/* --- lingering --- */

/* A peer that is refused amid what it sends must read why, instead of a reset that throws the reply away. */
static void refused_peer_gets_the_reply_whatever_it_sends(void **state) {
    (void)state;
    start(&rtmp_limits_default);
    int fd = client_open("127.0.0.1"), error;
    put_connect();
    put_publish("denied");
    for (int i = 0; i < 50; i++)
        put_video(20000);
    run_until(is_sent, fd);
    run_until(is_closed, fd);
    assert_true(has_reply(fd, "NetStream.Publish.Denied"));
    put_video(20000);
    run_until(is_sent, fd);
    client_read(fd, &error);
    assert_int_equal(error, 0); /* still the end of the stream, no reset */
    shutdown(fd, SHUT_WR);
    run_until(none_is_left, 0);
}

static void peer_that_does_not_leave_is_closed(void **state) {
    (void)state;
    start(&rtmp_limits_default);
    int fd = client_open("127.0.0.1");
    put_connect();
    put_publish("denied");
    run_until(is_sent, fd);
    run_until(is_closed, fd);
    assert_int_equal(rtmp_server_connections(server), 1);
    run_until(none_is_left, 0);
}

/* --- log --- */

static bool next_second(int second) {
    return clock_mono_us() / 1000000 > second;
}

/* --- stopping --- */

static bool is_asked(int fd) {
    return has_reply(fd, "NetConnection.Connect.ReconnectRequest");
}

static bool got_frame(int fd) {
    (void)fd;
    return frames > 0;
}

static bool nobody_is_leaving(int fd) {
    (void)fd;
    return rtmp_server_leaving(server) == 0;
}

static bool is_refused(void) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    bool refused = connect(fd, (const struct sockaddr *)&to, sizeof to) < 0 && errno == ECONNREFUSED;
    close(fd);
    return refused;
}

static void publishers_that_can_are_asked_to_reconnect(void **state) {
    (void)state;
    int before = counted("\nweir_rtmp_reconnect_requests_total ");
    start(&rtmp_limits_default);
    publish_from("127.0.0.1");
    caps_ex = RTMP_CAPS_RECONNECT;
    int able = publish_from("127.0.0.1");
    assert_int_equal(rtmp_server_leaving(server), 0);
    rtmp_server_drain(server, "rtmp://192.0.2.1:1935");
    assert_int_equal(rtmp_server_leaving(server), 1); /* the other isn't waited for */
    assert_int_equal(counted("\nweir_rtmp_reconnect_requests_total "), before + 1);
    run_until(is_asked, able);
    assert_true(has_reply(able, "rtmp://192.0.2.1:1935/live"));
    assert_true(is_refused()); /* it is to go elsewhere */
    put_video(100);
    assert_true(is_sent(able));
    run_until(got_frame, 0); /* media are taken meanwhile */
    shutdown(able, SHUT_WR);
    run_until(nobody_is_leaving, 0);
    assert_int_equal(publishing, 1);
}

/* Who was about to publish when the server began to stop hears of it, too. */
static void publisher_that_comes_late_is_asked_to_reconnect(void **state) {
    (void)state;
    start(&rtmp_limits_default);
    caps_ex = RTMP_CAPS_RECONNECT;
    int fd = client_open("127.0.0.1");
    put_connect();
    run_until(is_sent, fd);
    run_until(is_connected, fd);
    rtmp_server_drain(server, NULL);
    assert_int_equal(rtmp_server_leaving(server), 0);
    put_publish("show");
    run_until(is_sent, fd);
    run_until(is_asked, fd);
    assert_int_equal(rtmp_server_leaving(server), 1);
}

/* Lines of the event in what was logged, and what they say was suppressed. */
static int lines_of(const char *log, const char *event, int *ret_suppressed) {
    int lines = 0;
    *ret_suppressed = 0;
    while ((log = strstr(log, event))) {
        const char *end = strchrnul(log, '\n'), *suppressed = strstr(log, " suppressed=");
        lines++;
        if (suppressed && suppressed < end)
            *ret_suppressed += atoi(suppressed + strlen(" suppressed="));
        log = end;
    }
    return lines;
}

static int captured, stderr_saved;

/* What is logged from here on, up to captured_log. */
static void capture_log(void) {
    captured = memfd_create("log", MFD_CLOEXEC);
    stderr_saved = dup(STDERR_FILENO);
    dup2(captured, STDERR_FILENO);
    log_configure(LOG_LEVEL_INFO, LOG_LOGFMT);
}

static const char *captured_log(void) {
    static char text[1 << 16];
    log_configure(LOG_LEVEL_ERROR, LOG_LOGFMT);
    dup2(stderr_saved, STDERR_FILENO);
    close(stderr_saved);
    ssize_t n = pread(captured, text, sizeof text - 1, 0);
    close(captured);
    text[n < 0 ? 0 : n] = 0;
    return text;
}

static void denied_from(const char *source) {
    int fd = client_open(source);
    put_connect();
    put_publish("denied");
    assert_true(is_sent(fd));
}

static const char *log_of_strangers(const struct rtmp_limits *limits, uint32_t count) {
    capture_log();
    start(limits);
    for (uint32_t i = 0; i < count; i++)
        denied_from("127.0.0.1");
    for (uint32_t i = 0; i < count; i++)
        run_until(is_closed, clients[i]);
    run_until(next_second, (int)(clock_mono_us() / 1000000));
    denied_from("127.0.0.1");
    run_until(is_closed, clients[count]);
    return captured_log();
}

static void lines_of_key_guessers_are_limited_and_counted(void **state) {
    (void)state;
    struct rtmp_limits limits = rtmp_limits_default;
    limits.unpublished_per_address = CLIENTS_MAX;
    const char *log = log_of_strangers(&limits, 60);
    int suppressed, lines = lines_of(log, " event=rtmp_refused ", &suppressed);
    assert_in_range(lines, 21, 41); /* of two seconds, or three */
    assert_int_equal(lines + suppressed, 61);
    lines = lines_of(log, " event=rtmp_connect ", &suppressed);
    assert_in_range(lines, 21, 41);
    assert_int_equal(lines + suppressed, 61);
}

static void lines_of_refused_connections_are_limited_and_counted(void **state) {
    (void)state;
    struct rtmp_limits limits = rtmp_limits_default;
    limits.unpublished_per_address = 1;
    int suppressed, lines = lines_of(log_of_strangers(&limits, 60), " end=unpublished_per_address", &suppressed);
    assert_in_range(lines, 21, 41);
    assert_int_equal(lines + suppressed, 60);
}

/* --- TLS --- */

static char dir[] = "/tmp/weir-test-XXXXXX";
static struct fixture_pair pair;
static struct tls_tickets *tickets;
static SSL_CTX *client_ctx;
static SSL *ssl;

static struct tls_context *make_context(const char *common_name) {
    struct tls_error error;
    fixture_make_pair(dir, common_name, "DNS:push.test", 1, 0, common_name, &pair);
    struct tls_context *context =
        tls_context_create(&(struct tls_pair){pair.cert, pair.key}, 1, tickets, false, &error);
    fixture_remove_pair(&pair);
    assert_non_null(context);
    return context;
}

static int setup_tls(void **state) {
    client_ctx = SSL_CTX_new(TLS_client_method());
    tickets = tls_tickets_create();
    ssl = NULL;
    return setup(state);
}

static int teardown_tls(void **state) {
    SSL_free(ssl);
    SSL_CTX_free(client_ctx);
    tls_tickets_unref(tickets);
    return teardown(state);
}

static void start_tls(const struct rtmp_limits *limits) {
    server = rtmp_server_create(loop, NULL, limits);
    assert_int_equal(rtmp_server_listen_tls(server, "127.0.0.1:0", &port), -EINVAL); /* without certificates */
    struct tls_context *context = make_context("first");
    rtmp_server_set_tls(server, context);
    tls_context_unref(context);
    assert_int_equal(rtmp_server_listen_tls(server, "127.0.0.1:0", &port), 0);
}

static int tls_open(const char *source) {
    int fd = client_open(source);
    SSL_free(ssl);
    ssl = SSL_new(client_ctx);
    SSL_set_fd(ssl, fd);
    SSL_set_connect_state(ssl);
    return fd;
}

static bool is_shaken(int fd) {
    (void)fd;
    return SSL_do_handshake(ssl) == 1;
}

static bool is_sent_tls(int fd) {
    int n = buf_len(&wire) ? SSL_write(ssl, buf_head(&wire), (int)buf_len(&wire)) : 0;
    (void)fd;
    if (n > 0)
        buf_consume(&wire, (size_t)n);
    return !buf_len(&wire);
}

static bool has_reply_tls(int fd, const char *text) {
    static uint8_t data[65536];
    int n;
    (void)fd;
    while ((n = SSL_read(ssl, data, sizeof data)) > 0)
        buf_append(&replies, data, (size_t)n);
    return buf_len(&replies) && memmem(buf_head(&replies), buf_len(&replies), text, strlen(text));
}

static bool is_granted_tls(int fd) {
    return has_reply_tls(fd, "NetStream.Publish.Start");
}

static bool is_denied_tls(int fd) {
    return has_reply_tls(fd, "NetStream.Publish.Denied");
}

static int publish_tls_from(const char *source) {
    int fd = tls_open(source);
    buf_clear(&replies);
    put_connect();
    put_publish("show");
    run_until(is_sent_tls, fd);
    run_until(is_granted_tls, fd);
    return fd;
}

static void assert_certificate(const char *common_name) {
    char name[64] = "";
    X509 *x509 = SSL_get1_peer_certificate(ssl);
    X509_NAME_get_text_by_NID(X509_get_subject_name(x509), NID_commonName, name, sizeof name);
    X509_free(x509);
    assert_string_equal(name, common_name);
}

static void publishes_over_tls(void **state) {
    (void)state;
    start_tls(&rtmp_limits_default);
    int fd = publish_tls_from("127.0.0.1");
    for (int i = 0; i < 20; i++)
        put_video(60000);
    run_until(is_sent_tls, fd);
    run_until(all_frames_came, 0);
    shutdown(fd, SHUT_RDWR);
    run_until(none_is_left, 0);
}

static void refused_over_tls_reads_why(void **state) {
    (void)state;
    start_tls(&rtmp_limits_default);
    int fd = tls_open("127.0.0.1");
    put_connect();
    put_publish("denied");
    run_until(is_sent_tls, fd);
    run_until(is_denied_tls, fd);
    shutdown(fd, SHUT_WR);
    run_until(none_is_left, 0);
}

static void renewed_certificates_are_for_those_who_come(void **state) {
    (void)state;
    start_tls(&rtmp_limits_default);
    int fd = publish_tls_from("127.0.0.1");
    assert_certificate("first");
    struct tls_context *context = make_context("second");
    rtmp_server_set_tls(server, context);
    tls_context_unref(context);
    put_video(1000); /* who is there goes on */
    run_until(is_sent_tls, fd);
    publish_tls_from("127.0.0.2");
    assert_certificate("second");
    assert_int_equal(publishing, 2);
}

static void handshake_of_tls_counts_as_handshake(void **state) {
    (void)state;
    struct rtmp_limits limits = rtmp_limits_default;
    limits.handshake_timeout_ms = 300;
    start_tls(&limits);
    int before = counted("\nweir_rtmp_timeouts_total{reason=\"handshake\"} ");
    int mute = client_open("127.0.0.1"), fd = tls_open("127.0.0.1");
    run_until(is_shaken, fd);
    run_until(is_closed, mute);
    run_until(is_closed, fd);
    assert_int_equal(counted("\nweir_rtmp_timeouts_total{reason=\"handshake\"} "), before + 2);
}

static void strangers_are_limited_over_tls(void **state) {
    (void)state;
    struct rtmp_limits limits = rtmp_limits_default;
    limits.unpublished_per_address = 1;
    start_tls(&limits);
    int fd = client_open("127.0.0.1");
    run_until(one_is_left, 0);
    run_until(is_closed, client_open("127.0.0.1"));
    shutdown(fd, SHUT_RDWR);
    run_until(none_is_left, 0);
    publish_tls_from("127.0.0.1");
    client_open("127.0.0.1");
    run_until(two_are_there, 0); /* who publishes is no stranger */
}

static SSL *crowd[40];

static bool all_are_shaken(int count) {
    int done = 0;
    for (int i = 0; i < count; i++)
        done += SSL_do_handshake(crowd[i]) == 1;
    return done == count;
}

/* More than a turn takes. */
static void all_come_at_once(void **state) {
    (void)state;
    enum { COUNT = sizeof crowd / sizeof *crowd };
    struct rtmp_limits limits = rtmp_limits_default;
    limits.unpublished_per_address = COUNT;
    start_tls(&limits);
    for (int i = 0; i < COUNT; i++) {
        crowd[i] = SSL_new(client_ctx);
        SSL_set_fd(crowd[i], client_open("127.0.0.1"));
        SSL_set_connect_state(crowd[i]);
        SSL_do_handshake(crowd[i]);
    }
    run_until(all_are_shaken, COUNT);
    for (int i = 0; i < COUNT; i++)
        SSL_free(crowd[i]);
}

/* What is logged until the server closes the connection. */
static const char *log_until_closed(int fd) {
    capture_log();
    run_until(is_sent, fd);
    run_until(is_closed, fd);
    run_until(none_is_left, 0);
    return captured_log();
}

static void plain_rtmp_on_the_port_for_tls_is_named(void **state) {
    (void)state;
    start_tls(&rtmp_limits_default);
    int before = counted("\nweir_rtmp_protocol_errors_total "), fd = client_open("127.0.0.1");
    put_connect();
    const char *log = log_until_closed(fd);
    assert_non_null(strstr(log, "plain RTMP on a port for TLS"));
    assert_int_equal(counted("\nweir_rtmp_protocol_errors_total "), before + 1);
}

static void other_bytes_on_the_port_for_tls_are_named(void **state) {
    (void)state;
    start_tls(&rtmp_limits_default);
    int fd = client_open("127.0.0.1");
    buf_append_str(&wire, "SSH-2.0-OpenSSH_9.2p1 Debian\r\n");
    assert_non_null(strstr(log_until_closed(fd), "TLS handshake: wrong version number"));
}

static void tls_on_the_plain_port_is_named(void **state) {
    (void)state;
    start(&rtmp_limits_default);
    int fd = tls_open("127.0.0.1");
    assert_false(is_shaken(fd));
    assert_non_null(strstr(log_until_closed(fd), "TLS on a port for plain RTMP"));
}

#define TEST_TLS(name) cmocka_unit_test_setup_teardown(name, setup_tls, teardown_tls)
#define TEST(name)     cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    rtmp_server_metrics_register();
    log_configure(LOG_LEVEL_ERROR, LOG_LOGFMT);
    const struct CMUnitTest tests[] = {
        TEST(strangers_of_one_address_are_limited),
        TEST(who_publishes_is_no_stranger),
        TEST(who_is_denied_stays_a_stranger),
        TEST(stranger_may_hold_little),
        TEST(impatient_publisher_loses_nothing),
        TEST(connections_are_limited),
        TEST(who_does_not_publish_in_time_is_closed),
        TEST(silent_publisher_is_closed),
        TEST(peer_that_does_not_read_is_given_up),
        TEST(refused_peer_gets_the_reply_whatever_it_sends),
        TEST(peer_that_does_not_leave_is_closed),
        TEST(publishers_that_can_are_asked_to_reconnect),
        TEST(publisher_that_comes_late_is_asked_to_reconnect),
        TEST(lines_of_key_guessers_are_limited_and_counted),
        TEST(lines_of_refused_connections_are_limited_and_counted),
        TEST_TLS(publishes_over_tls),
        TEST_TLS(refused_over_tls_reads_why),
        TEST_TLS(renewed_certificates_are_for_those_who_come),
        TEST_TLS(handshake_of_tls_counts_as_handshake),
        TEST_TLS(strangers_are_limited_over_tls),
        TEST_TLS(all_come_at_once),
        TEST_TLS(plain_rtmp_on_the_port_for_tls_is_named),
        TEST_TLS(other_bytes_on_the_port_for_tls_are_named),
        TEST_TLS(tls_on_the_plain_port_is_named),
    };
    int failed = mkdtemp(dir) ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
    rmdir(dir);
    return failed;
}
