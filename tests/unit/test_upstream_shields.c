#include "relay/upstream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "common/base/loop.h"
#include "relay/rendezvous.h"

enum { STREAMS = 100 };

static struct loop *loop;
static struct upstreams *upstreams;

static int start(void **state) {
    (void)state;
    loop = loop_create();
    upstreams = upstreams_create(loop, &http_client_config_default);
    return 0;
}

static int finish(void **state) {
    (void)state;
    upstreams_destroy(upstreams);
    loop_destroy(loop);
    return 0;
}

static const char *stream_name(int i) {
    static char name[32];
    snprintf(name, sizeof name, "live/show-%d", i);
    return name;
}

static void without_shields_nothing_is_preferred(void **state) {
    (void)state;
    uint32_t ms[UPSTREAMS_MAX];
    assert_int_equal(upstreams_add(upstreams, "http://origin-a:1"), 0);
    assert_int_equal(upstreams_add(upstreams, "http://origin-b:1 40"), 0);
    assert_false(upstreams_have_shields(upstreams));
    upstreams_prefer(upstreams, "live/show", ms);
    assert_int_equal(ms[0], 0);
    assert_int_equal(ms[1], 0);
}

static void shields_come_in_the_order_of_the_stream_and_others_after_them(void **state) {
    (void)state;
    static const char *const shields[] = {"http://shield-a:1", "http://shield-b:1", "http://shield-c:1"};
    static const uint32_t by_rank[] = {0, 50, 1000};
    uint32_t ms[UPSTREAMS_MAX], firsts[3] = {0};
    upstreams_add(upstreams, "http://origin-a:1");
    upstreams_add_shield(upstreams, shields[0]);
    upstreams_add(upstreams, "http://origin-b:1");
    upstreams_add_shield(upstreams, "http://shield-b:1 30"); /* a cost is the score's, and not of its name */
    upstreams_add_shield(upstreams, shields[2]);
    assert_true(upstreams_have_shields(upstreams));
    for (int i = 0; i < STREAMS; i++) {
        upstreams_prefer(upstreams, stream_name(i), ms);
        assert_int_equal(ms[0], 2000);
        assert_int_equal(ms[2], 2000);
        assert_int_equal(ms[1], by_rank[rendezvous_rank(stream_name(i), shields, 3, 0)]);
        assert_int_equal(ms[3], by_rank[rendezvous_rank(stream_name(i), shields, 3, 1)]);
        assert_int_equal(ms[4], by_rank[rendezvous_rank(stream_name(i), shields, 3, 2)]);
        firsts[0] += !ms[1], firsts[1] += !ms[3], firsts[2] += !ms[4];
    }
    assert_true(firsts[0] > STREAMS / 6 && firsts[1] > STREAMS / 6 && firsts[2] > STREAMS / 6);
}

static void as_many_as_two_full_lists(void **state) {
    (void)state;
    char url[64];
    for (int i = 0; i < UPSTREAMS_MAX; i++) {
        snprintf(url, sizeof url, "http://node-%d:1", i);
        assert_int_equal(i % 2 ? upstreams_add(upstreams, url) : upstreams_add_shield(upstreams, url), 0);
    }
    assert_int_not_equal(upstreams_add_shield(upstreams, "http://one-more:1"), 0);
    assert_false(upstreams->items[UPSTREAMS_MAX - 1].shield);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(without_shields_nothing_is_preferred, start, finish),
        cmocka_unit_test_setup_teardown(shields_come_in_the_order_of_the_stream_and_others_after_them, start, finish),
        cmocka_unit_test_setup_teardown(as_many_as_two_full_lists, start, finish),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
