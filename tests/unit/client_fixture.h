/* The client against our own server on the same loop, over HTTP/1.1 and HTTP/2, in clear text and TLS, and against sockets that say what
 * no server should: what test_client_*.c share. Each test has a world of its own; its client is made with the first fetch, by
 * `config` as it is then. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/loop.h"
#include "common/http/client.h"
#include "common/http/server.h"
#include "common/http/tls.h"

enum { REPLIES_MAX = 160, BIG = 1 << 20 };

/* Of the round: each test runs in all four. */
extern bool http1, over_tls;
struct fixture_pair; /* of tls_fixture.h */
extern struct fixture_pair server_pair, other_pair; /* for 127.0.0.1; for other.test */
extern char client_dir[];                           /* theirs */

/* For main: `run` runs its tests with these two about them. */
int in_all_rounds(int (*run)(int (*begins)(void **state), int (*ends)(void **state)));

/* --- the world --- */

/* The body of a request. */
struct feed {
    struct seen *seen;
    struct blob *blob; /* the next piece, or NULL */
    bool over, broken, lends;
    int asked, finished;
};

struct world {
    struct loop *loop;
    struct loop_timer *deadline;
    struct http_server *server;
    struct http_client *client;
    struct http_client_config config;
    uint16_t port;
    struct reply *replies[REPLIES_MAX];
    int reply_count;
    struct feed feed; /* by feed_anew */
    /* a server that says what it is told to, whatever it is asked */
    int raw_fd, raw_conn;
    struct loop_io *raw_io;
    const char *raw_words;
};

#define client_test(test) cmocka_unit_test_setup_teardown(test, world_begin, world_end)
int world_begin(void **state);
int world_end(void **state);

/* A turn of the loop; fails when the test has taken too long. */
void turn(struct world *w);
#define until(w, condition)                                                                                            \
    while (!(condition))                                                                                               \
    turn(w)

/* --- the server's side: /facts tells what was asked, /busy is 503; /endless, /echo and /silent are replies --- */

/* A response without an end, unless the test says so. /silent has to be begun. */
struct reply {
    struct world *world;
    struct http_request *req;
    struct buf queue;
    bool begun, ended, broken;
};
void reply_say(struct reply *reply, const char *text);
void reply_end(struct reply *reply);
/* Until the server knows that no more of its responses than `count` are read. */
void until_known(struct world *w, int count);

struct tls_context *make_context(const struct fixture_pair *pair);
void set_tls(struct world *w, struct tls_context *context); /* takes it */
/* From here on fetches go to a socket that says `words` to whoever connects. */
void raw_start(struct world *w, const char *words);

/* --- the client's side --- */

/* What a fetch has said, and what it does when it speaks. For the test to free. */
struct seen {
    struct world *world;
    struct http_fetch *fetch;
    int heads, status, runs, ends, error;
    size_t len;
    char data[BIG + 1], text[256], retry_after[16];
    struct http_fetch_times times;
    enum { NEVER, AT_HEAD, AT_DATA, AT_NEXT, AT_END } cancels;
    struct seen *victim; /* NULL: itself */
    int begins_at;       /* likewise: another fetch */
    struct seen *begun;
};
struct seen *seen_create(struct world *w);
/* `path`: or a whole URL. */
void fetch_with(struct seen *s, const char *path, struct http_fetch_options options);
struct seen *fetch(struct world *w, const char *path);
/* That it ends so, with this in what it says of it; frees it. */
void expect_end(struct seen *s, int error, const char *text);
/* The next fetch is a new client's. */
void client_drop(struct world *w);

struct feed *feed_anew(struct world *w);
void upload_with(struct seen *s, const char *path, struct feed *feed);
struct seen *upload(struct world *w, const char *path, struct feed *feed);
void give(struct feed *feed, const void *data, size_t len);
void feed_end(struct feed *feed);
