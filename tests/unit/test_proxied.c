#include "common/http/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/address.h"
#include "common/base/clock.h"
#include "common/base/loop.h"
#include "tests/unit/loopback.h"
#include "tests/unit/uring.h"

/* Clients behind proxies, and who makes room for whom at the limits. Server and clients in one thread. */

enum { DEADLINE_S = 10, CLIENTS = 6 };

struct client {
    int fd;
    bool ended;
    char text[2048];
    size_t len;
};

struct world {
    struct loop *loop;
    struct loop_timer *turn;
    struct http_server *server;
    struct address_range trusted;
    uint16_t port;
    struct client clients[CLIENTS];
};

static void on_request(void *ctx, struct http_request *req) {
    (void)ctx;
    if (strcmp(http_request_path(req), "/park") == 0)
        return;
    const char *peer = http_request_peer(req);
    struct slice slice = {blob_create_copy(peer, strlen(peer)), 0, strlen(peer)};
    http_respond_slices(req, 200, NULL, 0, &slice, 1, false);
    blob_unref(slice.blob);
}

static void on_turn(void *ctx) {
    loop_stop(((struct world *)ctx)->loop);
}

static void turn(struct world *w) {
    loop_timer_set(w->turn, 1000);
    loop_run(w->loop);
    for (int i = 0; i < CLIENTS; i++) {
        struct client *c = &w->clients[i];
        ssize_t n = c->fd < 0 ? -1 : recv(c->fd, c->text + c->len, sizeof c->text - 1 - c->len, MSG_DONTWAIT);
        c->len += n > 0 ? (size_t)n : 0;
        c->text[c->len] = '\0';
        c->ended |= n == 0;
    }
}

#define until(w, condition)                                                                                            \
    do {                                                                                                               \
        for (int64_t end_us = clock_mono_us() + DEADLINE_S * INT64_C(1000000); !(condition);) {                        \
            assert_true(clock_mono_us() < end_us);                                                                     \
            turn(w);                                                                                                   \
        }                                                                                                              \
    } while (0)

static struct world *begin(const char *trusted, bool proxy_protocol, uint32_t in_all, uint32_t per_address) {
    struct world *w = calloc(1, sizeof *w);
    struct http_limits limits = http_limits_default;
    limits.connections_max = in_all;
    limits.connections_per_address = per_address;
    w->loop = loop_create();
    w->turn = loop_timer_create(w->loop, on_turn, w);
    w->server = http_server_create(w->loop, &limits, on_request, w);
    use_uring_if_asked(w->server);
    assert_int_equal(address_range_parse(trusted, &w->trusted), 0);
    http_server_trust(w->server, &w->trusted, 1, proxy_protocol);
    assert_int_equal(http_server_listen(w->server, "127.0.0.1:0", false, &w->port), 0);
    for (int i = 0; i < CLIENTS; i++)
        w->clients[i].fd = -1;
    return w;
}

static void end(struct world *w) {
    http_server_destroy(w->server);
    loop_timer_destroy(w->turn);
    loop_destroy(w->loop);
    for (int i = 0; i < CLIENTS; i++)
        if (w->clients[i].fd >= 0)
            close(w->clients[i].fd);
    free(w);
}

static struct client *dial(struct world *w, int i) {
    struct client *c = &w->clients[i];
    c->fd = connect_to(w->port, 0);
    return c;
}

static void say(struct client *c, const char *text) {
    c->len = 0;
    c->text[0] = '\0';
    assert_int_equal(send(c->fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

#define GET   "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#define PARK  "GET /park HTTP/1.1\r\nHost: a\r\n\r\n"
#define PROXY "PROXY TCP4 192.0.2.7 198.51.100.1 5121 80\r\n"

static void proxy_header_names_the_client(void **state) {
    (void)state;
    struct world *w = begin("127.0.0.0/8", true, 100, 100);
    struct client *c = dial(w, 0);
    for (const char *p = PROXY; *p; p++) {
        char one[2] = {*p, '\0'};
        say(c, one);
        turn(w);
    }
    say(c, GET);
    until(w, strstr(c->text, "\r\n\r\n192.0.2.7:5121"));
    say(c, GET);
    until(w, strstr(c->text, "\r\n\r\n192.0.2.7:5121"));
    c = dial(w, 1);
    say(c, PROXY GET); /* in one piece with what comes after it */
    until(w, strstr(c->text, "\r\n\r\n192.0.2.7:5121"));
    end(w);
}

static void proxy_without_its_header_is_refused(void **state) {
    (void)state;
    struct world *w = begin("127.0.0.0/8", true, 100, 100);
    struct client *c = dial(w, 0);
    say(c, GET);
    until(w, c->ended);
    assert_int_equal(c->len, 0);
    end(w);
}

static void header_of_a_stranger_is_no_request(void **state) {
    (void)state;
    struct world *w = begin("192.0.2.0/24", true, 100, 100);
    struct client *c = dial(w, 0);
    say(c, PROXY GET);
    until(w, strstr(c->text, "HTTP/1.1 400"));
    end(w);
}

static void forwarded_for_is_believed_of_proxies_only(void **state) {
    (void)state;
    static const char get[] =
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n";
    struct world *w = begin("127.0.0.0/8", false, 100, 100);
    struct client *c = dial(w, 0);
    say(c, get);
    until(w, strstr(c->text, "\r\n\r\n192.0.2.9:0"));
    end(w);
    w = begin("192.0.2.0/24", false, 100, 100);
    c = dial(w, 0);
    say(c, get);
    until(w, strstr(c->text, "\r\n\r\n127.0.0.1:"));
    end(w);
    w = begin("127.0.0.0/8", true, 100, 100); /* carried through a proxy of bytes it is the client's own claim */
    c = dial(w, 0);
    say(c, PROXY);
    turn(w);
    say(c, get);
    until(w, strstr(c->text, "\r\n\r\n192.0.2.7:5121"));
    end(w);
}

static void clients_behind_a_proxy_are_limited_and_it_is_not(void **state) {
    (void)state;
    struct world *w = begin("127.0.0.0/8", true, 100, 2);
    for (int i = 0; i < 3; i++) {
        say(dial(w, i), PROXY PARK);
        turn(w);
    }
    until(w, strstr(w->clients[2].text, "HTTP/1.1 503"));
    say(dial(w, 3), "PROXY TCP4 192.0.2.8 198.51.100.1 5121 80\r\n" GET);
    until(w, strstr(w->clients[3].text, "\r\n\r\n192.0.2.8:5121"));
    assert_true(w->clients[0].len == 0 && w->clients[1].len == 0);
    shutdown(w->clients[0].fd, SHUT_RDWR);
    until(w, w->clients[0].ended);
    say(dial(w, 4), PROXY GET); /* its place is free again */
    until(w, strstr(w->clients[4].text, "200 OK"));
    end(w);
}

static void idle_connections_make_room_for_new_ones(void **state) {
    (void)state;
    struct world *w = begin("192.0.2.0/24", false, 2, 100);
    for (int i = 0; i < 2; i++) {
        say(dial(w, i), GET);
        until(w, strstr(w->clients[i].text, "200 OK"));
    }
    say(dial(w, 2), PARK);
    until(w, w->clients[0].ended); /* the one that was idle for longest */
    assert_false(w->clients[1].ended);
    say(dial(w, 3), PARK);
    until(w, w->clients[1].ended);
    say(dial(w, 4), GET); /* nobody is idle now */
    until(w, strstr(w->clients[4].text, "HTTP/1.1 503"));
    assert_false(w->clients[2].ended || w->clients[3].ended);
    end(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(proxy_header_names_the_client),
        cmocka_unit_test(proxy_without_its_header_is_refused),
        cmocka_unit_test(header_of_a_stranger_is_no_request),
        cmocka_unit_test(forwarded_for_is_believed_of_proxies_only),
        cmocka_unit_test(clients_behind_a_proxy_are_limited_and_it_is_not),
        cmocka_unit_test(idle_connections_make_room_for_new_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
