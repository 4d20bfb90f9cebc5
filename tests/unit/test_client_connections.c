/* Connections: how many fetches share one, those that fail or are late, and who is at the other end. */
#include "tests/unit/client_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/tls_fixture.h"

static void fetches_share_a_connection(void **state) {
    struct world *w = *state;
    struct feed *feed = feed_anew(w);
    struct seen *s[] = {fetch(w, "/endless"), fetch(w, "/endless"), upload(w, "/echo", feed)};
    until(w, s[0]->heads && s[1]->heads && s[2]->heads);
    assert_int_equal(http_server_connections(w->server), http1 ? 3 : 1);
    for (int i = 0; i < 3; i++)
        free(s[i]);
}

static void connection_is_kept_and_measured(void **state) {
    struct world *w = *state;
    for (int i = 0; i < 3; i++) {
        struct seen *s = fetch(w, "/facts");
        until(w, s->ends);
        assert_true(i == 0 ? s->times.connect_us > 0 : s->times.connect_us == 0);
        assert_true(s->times.first_byte_us >= s->times.connect_us);
        expect_end(s, 0, "");
        assert_int_equal(http_server_connections(w->server), 1);
    }
}

/* More than the server allows on one connection. */
static void many_at_once(void **state) {
    enum { N = 150 };
    struct world *w = *state;
    struct seen *s[N]; /* with 100 to a connection, as the server has it */
    for (int i = 0; i < N; i++)
        s[i] = fetch(w, "/endless");
    for (int i = 0; i < N; i++)
        until(w, s[i]->heads);
    assert_int_equal(w->reply_count, N);
    assert_int_equal(http_server_connections(w->server), http1 ? N : 2);
    for (int round = 1; round <= 5; round++) {
        for (int i = 0; i < N; i++)
            reply_say(w->replies[i], "word");
        for (int i = 0; i < N; i++)
            until(w, s[i]->len == 4 * (size_t)round);
    }
    for (int i = 0; i < N; i++) {
        assert_int_equal(s[i]->ends, 0);
        http_fetch_cancel(s[i]->fetch);
        free(s[i]);
    }
    until_known(w, 0);
}

static void fewer_to_a_connection_if_configured(void **state) {
    struct world *w = *state;
    struct seen *s[9];
    w->config.streams_max = 3;
    for (int i = 0; i < 9; i++)
        s[i] = fetch(w, "/endless");
    for (int i = 0; i < 9; i++)
        until(w, s[i]->heads);
    assert_int_equal(http_server_connections(w->server), http1 ? 9 : 3);
    for (int i = 0; i < 9; i++)
        free(s[i]);
}

static void host_that_refuses_fails_all_who_wait(void **state) {
    struct world *w = *state;
    struct seen *s[5];
    http_server_destroy(w->server); /* its port is nobody's now */
    w->server = NULL;
    for (int i = 0; i < 5; i++)
        s[i] = fetch(w, "/facts");
    s[0]->cancels = AT_END;
    s[0]->victim = s[2];
    s[1]->begins_at = AT_END;
    for (int i = 0; i < 5; i++)
        if (i != 2)
            until(w, s[i]->ends);
    expect_end(s[1]->begun, -ECONNREFUSED, "");
    assert_int_equal(s[2]->ends, 0);
    free(s[2]);
    for (int i = 0; i < 5; i++)
        if (i != 2)
            expect_end(s[i], -ECONNREFUSED, "");
}

static void server_that_drains_is_left_alone(void **state) {
    struct world *w = *state;
    struct seen *s = fetch(w, "/facts");
    until(w, s->ends);
    expect_end(s, 0, "");
    http_server_drain(w->server);
    until(w, http_server_connections(w->server) == 0);
    s = fetch(w, "/facts");
    expect_end(s, -ECONNREFUSED, "");
}

/* --- timeouts --- */

static void response_that_is_late_is_not_waited_for(void **state) {
    struct world *w = *state;
    w->config.response_timeout_ms = 200;
    struct seen *in_time = fetch(w, "/endless"), *late = fetch(w, "/silent");
    expect_end(late, -ETIMEDOUT, "no response within 200 ms");
    reply_say(w->replies[0], "word");
    until(w, in_time->len == 4); /* once it has begun there is no limit */
    assert_int_equal(in_time->ends, 0);
    free(in_time);
}

static void server_that_does_not_shake_hands_is_not_waited_for(void **state) {
    struct world *w = *state;
    char url[64];
    raw_start(w, "");
    w->config.connect_timeout_ms = 100;
    snprintf(url, sizeof url, "https://127.0.0.1:%d/", w->port);
    struct seen *s = fetch(w, url);
    expect_end(s, -ETIMEDOUT, "");
}

/* --- TLS --- */

static void server_must_be_vouched_for(void **state) {
    struct world *w = *state;
    if (!over_tls)
        return;
    const char *const files[] = {NULL, other_pair.cert, "/nonexistent"};
    for (int i = 0; i < 3; i++) {
        w->config.ca_file = files[i];
        struct seen *s = fetch(w, "/facts");
        expect_end(s, -EPROTO, i == 2 ? "/nonexistent" : "certificate");
        client_drop(w);
    }
}

static void server_must_have_the_name_that_was_asked_for(void **state) {
    struct world *w = *state;
    if (!over_tls)
        return;
    set_tls(w, make_context(&other_pair));
    w->config.ca_file = other_pair.cert;
    struct seen *s = fetch(w, "/facts");
    expect_end(s, -EPROTO, "127.0.0.1");
}

static struct tls_context *make_demanding(void) {
    struct tls_context *context = make_context(&server_pair);
    struct tls_error error;
    assert_int_equal(tls_context_demand(context, other_pair.cert, &error), 0);
    return context;
}

/* `shows` may be NULL. Whether that got it what it asked for. */
static bool is_served(struct world *w, const struct fixture_pair *shows) {
    w->config.cert_file = shows ? shows->cert : NULL;
    w->config.key_file = shows ? shows->key : NULL;
    struct seen *s = fetch(w, "/facts");
    until(w, s->ends);
    bool served = s->error == 0;
    if (!served && s->error != -EPROTO &&
        s->error != -ECONNRESET) /* with TLS 1.3 the refusal comes after the handshake */
        fail_msg("%d %s", s->error, s->text);
    free(s);
    client_drop(w);
    return served;
}

static void client_shows_who_it_is(void **state) {
    struct world *w = *state;
    if (!over_tls)
        return;
    struct fixture_pair missing = other_pair, locked = other_pair;
    strcpy(missing.cert, "/nonexistent");
    snprintf(locked.key, sizeof locked.key, "%s/locked", client_dir);
    fixture_lock_key(&other_pair, locked.key);
    set_tls(w, make_demanding());
    assert_true(is_served(w, &other_pair));
    assert_false(is_served(w, NULL));
    assert_false(is_served(w, &server_pair));
    assert_false(is_served(w, &missing));
    assert_false(is_served(w, &locked)); /* and nobody is asked for the passphrase */
    unlink(locked.key);
}

static int run(int (*begins)(void **state), int (*ends)(void **state)) {
    const struct CMUnitTest tests[] = {
        client_test(fetches_share_a_connection),
        client_test(connection_is_kept_and_measured),
        client_test(many_at_once),
        client_test(fewer_to_a_connection_if_configured),
        client_test(host_that_refuses_fails_all_who_wait),
        client_test(server_that_drains_is_left_alone),
        client_test(response_that_is_late_is_not_waited_for),
        client_test(server_that_does_not_shake_hands_is_not_waited_for),
        client_test(server_must_be_vouched_for),
        client_test(server_must_have_the_name_that_was_asked_for),
        client_test(client_shows_who_it_is),
    };
    return cmocka_run_group_tests(tests, begins, ends);
}

int main(void) {
    return in_all_rounds(run);
}
