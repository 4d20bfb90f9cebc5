/* Fetches that are cancelled, or begun, at any moment and from within any callback. */
#include "tests/unit/client_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void expect_cancelled(struct world *w, const char *path, int when) {
    struct feed *feed = feed_anew(w);
    struct seen *s = seen_create(w);
    bool uploads = strcmp(path, "/echo") == 0;
    s->cancels = when;
    if (uploads) {
        upload_with(s, path, feed);
        give(feed, "piece", 5);
    } else {
        fetch_with(s, path, (struct http_fetch_options){0});
    }
    while (s->fetch) {
        if (w->reply_count == 1 && s->heads == 1)
            reply_say(w->replies[0], "word");
        turn(w);
    }
    assert_int_equal(feed->finished, uploads);
    assert_int_equal(s->ends, when == AT_END);
    until_known(w, 0);
    free(s);
}

static void cancelled_in_its_own_callbacks(void **state) {
    struct world *w = *state;
    for (int i = 0; i < 2; i++) {
        expect_cancelled(w, "/endless", AT_HEAD);
        expect_cancelled(w, "/endless", AT_DATA);
        expect_cancelled(w, "/echo", AT_HEAD);
        expect_cancelled(w, "/echo", AT_DATA);
        expect_cancelled(w, "/echo", AT_NEXT);
        expect_cancelled(w, "/busy", AT_HEAD);
        expect_cancelled(w, "/busy", AT_END);
    }
}

static void cancelled_at_any_moment(void **state) {
    struct world *w = *state;
    for (int turns = 0; turns < 12; turns++) {
        struct feed *feed = feed_anew(w);
        struct seen *s = fetch(w, "/endless"), *up = upload(w, "/echo", feed);
        for (int i = 0; i < turns && !s->heads; i++)
            turn(w);
        http_fetch_cancel(s->fetch);
        http_fetch_cancel(up->fetch);
        assert_int_equal(feed->finished, 1);
        until_known(w, 0);
        assert_int_equal(s->ends + up->ends, 0);
        free(s);
        free(up);
    }
}

static void cancelled_by_another(void **state) {
    struct world *w = *state;
    for (int when = AT_HEAD; when <= AT_DATA; when++) {
        struct seen *s[] = {fetch(w, "/endless"), fetch(w, "/endless")};
        for (int i = 0; i < 2; i++) {
            s[i]->cancels = when;
            s[i]->victim = s[1 - i];
        }
        while (s[0]->fetch && s[1]->fetch) {
            if (s[0]->heads && s[1]->heads && w->reply_count == 2) {
                reply_say(w->replies[0], "word");
                reply_say(w->replies[1], "word");
            }
            turn(w);
        }
        struct seen *left = s[0]->fetch ? s[0] : s[1];
        left->cancels = NEVER;
        until(w, left->heads);
        until_known(w, 1);
        http_fetch_cancel(left->fetch);
        until_known(w, 0);
        free(s[0]);
        free(s[1]);
    }
}

static void next_fetch_is_begun_in_a_callback(void **state) {
    struct world *w = *state;
    for (int when = AT_HEAD; when <= AT_END; when++) {
        struct feed *feed = feed_anew(w);
        struct seen *s = seen_create(w);
        s->begins_at = when;
        upload_with(s, "/echo", feed);
        give(feed, "piece", 5);
        until(w, s->len == 5);
        feed_end(feed);
        until(w, s->ends && s->begun);
        expect_end(s->begun, 0, "");
        expect_end(s, 0, "");
    }
}

static void client_that_is_destroyed_cancels_all(void **state) {
    struct world *w = *state;
    struct feed *feed = feed_anew(w);
    struct seen *s[] = {fetch(w, "/endless"), fetch(w, "/silent"), upload(w, "/echo", feed), NULL};
    until(w, s[0]->heads && s[2]->heads && w->reply_count == 3);
    s[3] = fetch(w, "/endless"); /* hasn't begun */
    client_drop(w);
    assert_int_equal(feed->finished, 1);
    until_known(w, 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(s[i]->ends, 0);
        free(s[i]);
    }
    http_client_destroy(NULL);
}

static int run(int (*begins)(void **state), int (*ends)(void **state)) {
    const struct CMUnitTest tests[] = {
        client_test(cancelled_in_its_own_callbacks),
        client_test(cancelled_at_any_moment),
        client_test(cancelled_by_another),
        client_test(next_fetch_is_begun_in_a_callback),
        client_test(client_that_is_destroyed_cancels_all),
    };
    return cmocka_run_group_tests(tests, begins, ends);
}

int main(void) {
    return in_all_rounds(run);
}
