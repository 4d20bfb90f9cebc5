/* Fetches: responses, small requests, bodies of requests, and what is no good. */
#include "tests/unit/client_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void endless_response_comes_run_after_run(void **state) {
    struct world *w = *state;
    struct seen *s = fetch(w, "/endless");
    assert_int_equal(s->heads + s->ends, 0); /* nothing from within */
    until(w, s->heads);
    assert_int_equal(s->status, 200);
    assert_string_equal(s->retry_after, "-");
    for (size_t i = 1; i <= 20; i++) {
        reply_say(w->replies[0], "chunk");
        until(w, s->len == 5 * i);
    }
    assert_int_equal(s->runs, 20);
    reply_end(w->replies[0]);
    expect_end(s, 0, "");
}

static void long_runs_come_whole(void **state) {
    struct world *w = *state;
    struct seen *s = fetch(w, "/endless");
    until(w, s->heads);
    for (int i = 0; i < BIG; i++)
        assert_int_equal(buf_append(&w->replies[0]->queue, &(uint8_t){(uint8_t)(i % 251)}, 1), 0);
    reply_end(w->replies[0]);
    until(w, s->ends);
    assert_int_equal(s->len, BIG);
    for (int i = 0; i < BIG; i++)
        if ((uint8_t)s->data[i] != i % 251)
            fail_msg("byte %d", i);
    expect_end(s, 0, "");
}

static void status_ends_it_and_headers_can_be_read(void **state) {
    struct world *w = *state;
    struct seen *s = fetch(w, "/busy");
    until(w, s->ends);
    assert_int_equal(s->status, 503);
    assert_string_equal(s->retry_after, "7");
    assert_int_equal(s->runs, 0);
    expect_end(s, -EREMOTEIO, "answered 503");
}

static void response_that_breaks_off_is_an_error(void **state) {
    struct world *w = *state;
    struct seen *s = fetch(w, "/endless");
    until(w, s->heads);
    reply_say(w->replies[0], "some");
    until(w, s->len);
    w->replies[0]->broken = true;
    http_request_resume(w->replies[0]->req);
    expect_end(s, -ECONNRESET, "");
}

static void server_that_goes_away_is_an_error(void **state) {
    struct world *w = *state;
    struct seen *s = fetch(w, "/endless");
    until(w, s->heads);
    http_server_destroy(w->server);
    w->server = NULL;
    until(w, s->ends);
    assert_true(s->error == -ECONNRESET || s->error == -EPROTO);
    free(s);
    s = fetch(w, "/endless");
    expect_end(s, -ECONNREFUSED, "");
}

static void small_request_is_answered_whole(void **state) {
    struct world *w = *state;
    struct http_header headers[] = {{"Content-Type", "application/json"}, {"X-Test", "yes"}};
    struct seen *s = seen_create(w);
    fetch_with(s, "/facts/v3/kv/put?a=b",
               (struct http_fetch_options){
                   .headers = headers, .header_count = 2, .body = "{\"key\":0}", .body_len = 9, .collect_bytes = 1000});
    until(w, s->ends);
    assert_int_equal(s->runs, 1);
    assert_non_null(strstr(s->data, "3 -|application/json|yes|/facts/v3/kv/put?a=b|{\"key\":0}"));
    expect_end(s, 0, "");
    s = seen_create(w);
    fetch_with(s, "/facts", (struct http_fetch_options){.body = "", .collect_bytes = 1000});
    until(w, s->ends);
    assert_non_null(strstr(s->data, "3 -|-|-|/facts?|"));
    expect_end(s, 0, "");
}

static void small_request_gets_the_words_of_an_error(void **state) {
    struct world *w = *state;
    struct seen *s = seen_create(w);
    fetch_with(s, "/busy", (struct http_fetch_options){.collect_bytes = 1000});
    until(w, s->ends);
    assert_int_equal(s->status, 503);
    assert_non_null(strstr(s->data, "too many"));
    expect_end(s, 0, "");
}

static void more_than_is_collected_is_an_error(void **state) {
    struct world *w = *state;
    struct seen *s = seen_create(w);
    fetch_with(s, "/facts", (struct http_fetch_options){.collect_bytes = 5});
    until(w, s->ends);
    assert_int_equal(s->runs, 0);
    expect_end(s, -EMSGSIZE, "body is too long");
}

static void token_goes_with_every_request(void **state) {
    struct world *w = *state;
    w->config.token = "s3cret";
    struct seen *s = fetch(w, "/facts");
    until(w, s->ends);
    assert_non_null(strstr(s->data, "1 Bearer s3cret|"));
    expect_end(s, 0, "");
}

/* --- bodies of requests --- */

static void expect_duplex(struct world *w, bool lends) {
    struct feed *feed = feed_anew(w);
    feed->lends = lends;
    struct seen *s = upload(w, "/echo", feed);
    assert_int_equal(feed->asked, 0);
    until(w, s->heads); /* before a byte of the body has gone */
    assert_int_equal(s->status, 200);
    until(w, feed->asked);
    for (size_t i = 1; i <= 50; i++) {
        give(feed, "piece", 5);
        until(w, s->len == 5 * i);
    }
    assert_true(feed->asked <= 101); /* for each piece, and what comes after */
    feed_end(feed);
    until(w, s->ends);
    assert_int_equal(feed->finished, 1);
    expect_end(s, 0, "");
}

static void body_goes_out_while_the_response_comes(void **state) {
    struct world *w = *state;
    expect_duplex(w, false);
    expect_duplex(w, true);
}

static void expect_long_body(struct world *w, bool lends) {
    struct feed *feed = feed_anew(w);
    char *data = malloc(BIG);
    for (int i = 0; i < BIG; i++)
        data[i] = (char)(i % 249);
    feed->lends = lends;
    struct seen *s = upload(w, "/echo", feed);
    for (int at = 0; at < BIG; at += BIG / 4) { /* more than libcurl takes at a time, and than the server's window */
        give(feed, data + at, BIG / 4);
        until(w, !feed->blob);
    }
    feed_end(feed);
    until(w, s->ends);
    assert_int_equal(s->len, BIG);
    assert_memory_equal(s->data, data, BIG);
    expect_end(s, 0, "");
    free(data);
}

static void long_body_goes_out_whole(void **state) {
    struct world *w = *state;
    expect_long_body(w, false);
    expect_long_body(w, true);
}

static void body_is_refused_by_status(void **state) {
    struct world *w = *state;
    struct feed *feed = feed_anew(w);
    struct seen *s = upload(w, "/busy", feed);
    until(w, s->ends);
    assert_int_equal(s->status, 503);
    assert_string_equal(s->retry_after, "7");
    assert_int_equal(feed->finished, 1);
    expect_end(s, -EREMOTEIO, "answered 503");
}

static void body_that_fails_ends_the_fetch(void **state) {
    struct world *w = *state;
    struct feed *feed = feed_anew(w);
    struct seen *s = upload(w, "/echo", feed);
    give(feed, "piece", 5);
    until(w, s->len == 5);
    feed->broken = true;
    http_fetch_resume(s->fetch);
    until(w, s->ends);
    assert_int_equal(feed->finished, 1);
    expect_end(s, -ECANCELED, "its source failed");
    until_known(w, 0); /* and the server knows that this wasn't all */
}

static void response_that_ends_before_the_body_is_an_error(void **state) {
    struct world *w = *state;
    struct feed *feed = feed_anew(w);
    struct seen *s = upload(w, "/echo", feed);
    give(feed, "piece", 5);
    until(w, s->len == 5);
    reply_end(w->replies[0]);
    until(w, w->reply_count == 0);
    while (!s->ends) { /* over HTTP/1.1 it is found without more */
        if (!feed->blob && !http1)
            give(feed, "piece", 5);
        turn(w);
    }
    assert_int_equal(feed->finished, 1);
    expect_end(s, -ECONNRESET, "");
}

static void resume_without_need_is_harmless(void **state) {
    struct world *w = *state;
    struct feed *feed = feed_anew(w);
    struct seen *s = upload(w, "/echo", feed);
    http_fetch_resume(s->fetch); /* before there is a connection */
    http_fetch_resume(s->fetch);
    until(w, s->heads);
    http_fetch_resume(s->fetch);
    struct seen *other = fetch(w, "/endless");
    http_fetch_resume(other->fetch);
    until(w, other->heads);
    give(feed, "piece", 5);
    until(w, s->len == 5);
    free(s);
    free(other);
}

/* --- what is no good: words only in the round of HTTP/1.1 in clear text --- */

static void expect_raw(struct world *w, const char *words, int error, const char *text, int status, const char *data) {
    raw_start(w, words);
    struct seen *s = fetch(w, "/");
    until(w, s->ends);
    assert_int_equal(s->status, status);
    assert_string_equal(s->data, data);
    expect_end(s, error, text);
    client_drop(w);
}

static void words_of_strange_servers(void **state) {
    struct world *w = *state;
    char long_head[70000], many[6000] = "HTTP/1.1 200 OK\r\n";
    if (!http1 || over_tls)
        return;
    int len = snprintf(long_head, sizeof long_head, "HTTP/1.1 200 OK\r\nX: ");
    memset(long_head + len, 'x', sizeof long_head - 1 - (size_t)len);
    memcpy(long_head + sizeof long_head - 5, "\r\n\r\n", 5);
    for (int i = 0; i < 300; i++)
        strcat(many, "A: b\r\n");
    expect_raw(w, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 0, "",
               200, "hi");
    expect_raw(w, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: y\r\n\r\n", 0, "", 200,
               "hi");
    expect_raw(w, "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", -EREMOTEIO, "answered 302", 302, "");
    expect_raw(w, long_head, -EMSGSIZE, "head is too long", 0, "");
    expect_raw(w, many, -EMSGSIZE, "head is too long", 0, "");
    expect_raw(w, "SSH-2.0-OpenSSH_9.2\r\n\r\n\r\n", -EPROTO, "", 0, "");
    expect_raw(w, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", -ECONNRESET, "", 200, "");
}

static void urls_that_are_no_good(void **state) {
    struct world *w = *state;
    const char *const urls[] = {"file:///etc/passwd", "ftp://127.0.0.1/", "http://[::1/", "gopher://127.0.0.1/"};
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++)
        expect_end(fetch(w, urls[i]), -EINVAL, "");
}

static int run(int (*begins)(void **state), int (*ends)(void **state)) {
    const struct CMUnitTest tests[] = {
        client_test(endless_response_comes_run_after_run),
        client_test(long_runs_come_whole),
        client_test(status_ends_it_and_headers_can_be_read),
        client_test(response_that_breaks_off_is_an_error),
        client_test(server_that_goes_away_is_an_error),
        client_test(small_request_is_answered_whole),
        client_test(small_request_gets_the_words_of_an_error),
        client_test(more_than_is_collected_is_an_error),
        client_test(token_goes_with_every_request),
        client_test(body_goes_out_while_the_response_comes),
        client_test(long_body_goes_out_whole),
        client_test(body_is_refused_by_status),
        client_test(body_that_fails_ends_the_fetch),
        client_test(response_that_ends_before_the_body_is_an_error),
        client_test(resume_without_need_is_harmless),
        client_test(words_of_strange_servers),
        client_test(urls_that_are_no_good),
    };
    return cmocka_run_group_tests(tests, begins, ends);
}

int main(void) {
    return in_all_rounds(run);
}
