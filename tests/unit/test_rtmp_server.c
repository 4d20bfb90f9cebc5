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
#include "ingest/amf.h"
#include "ingest/publisher.h"
#include "ingest/rtmp_chunk.h"
#include "ingest/rtmp_handshake.h"
#include "ingest/rtmp_reply.h"
#include "rtmp_fixture.h"

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

static void denied_from(const char *source) {
    int fd = client_open(source);
    put_connect();
    put_publish("denied");
    assert_true(is_sent(fd));
}

static const char *log_of_strangers(const struct rtmp_limits *limits, uint32_t count) {
    static char text[1 << 16];
    int file = memfd_create("log", MFD_CLOEXEC), saved = dup(STDERR_FILENO);
    dup2(file, STDERR_FILENO);
    log_configure(LOG_LEVEL_INFO, LOG_LOGFMT);
    start(limits);
    for (uint32_t i = 0; i < count; i++)
        denied_from("127.0.0.1");
    for (uint32_t i = 0; i < count; i++)
        run_until(is_closed, clients[i]);
    run_until(next_second, (int)(clock_mono_us() / 1000000));
    denied_from("127.0.0.1");
    run_until(is_closed, clients[count]);
    log_configure(LOG_LEVEL_ERROR, LOG_LOGFMT);
    dup2(saved, STDERR_FILENO);
    close(saved);
    ssize_t n = pread(file, text, sizeof text - 1, 0);
    close(file);
    text[n < 0 ? 0 : n] = 0;
    return text;
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

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
        TEST(lines_of_key_guessers_are_limited_and_counted),
        TEST(lines_of_refused_connections_are_limited_and_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
