#include "relay/upstream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/base/loop.h"

struct world {
    struct loop *loop;
    struct upstreams *upstreams;
};

static struct world begin(void) {
    struct world world = {.loop = loop_create()};
    world.upstreams = upstreams_create(world.loop, &http_client_config_default);
    return world;
}

static void end(struct world *world) {
    upstreams_destroy(world->upstreams);
    loop_destroy(world->loop);
}

static void set(struct world *world, const char *a, const char *b) {
    const char *const urls[] = {a, b};
    assert_int_equal(upstreams_set_found(world->upstreams, urls, !!a + !!b), 0);
}

static void those_found_come_and_go_beside_the_configured(void **state) {
    (void)state;
    struct world world = begin();
    const struct upstream *items = world.upstreams->items;
    assert_int_equal(upstreams_add(world.upstreams, "http://fixed:1 40"), 0);
    set(&world, "http://a:1", "http://fixed:1");
    assert_int_equal(world.upstreams->count, 2);
    assert_string_equal(items[0].url, "http://fixed:1");
    assert_string_equal(items[1].url, "http://a:1");
    set(&world, NULL, NULL);
    assert_true(items[1].gone && !items[0].gone);
    set(&world, "http://b:1", "http://a:1");
    assert_int_equal(world.upstreams->count, 3);
    assert_string_equal(items[1].url, "http://a:1"); /* at its old place, as it was */
    assert_true(!items[1].gone && items[1].generation == 0);
    end(&world);
}

/* A place is another's only when nobody refers to it. */
static void places_run_out_and_are_used_again(void **state) {
    (void)state;
    struct world world = begin();
    struct upstream *items = world.upstreams->items;
    char names[UPSTREAMS_MAX][32];
    const char *urls[UPSTREAMS_MAX];
    for (uint32_t i = 0; i < UPSTREAMS_MAX; i++) {
        snprintf(names[i], sizeof names[i], "http://n%u:1", i);
        urls[i] = names[i];
    }
    assert_int_equal(upstreams_set_found(world.upstreams, urls, UPSTREAMS_MAX), 0);
    assert_int_equal(upstreams_add(world.upstreams, "http://more:1"), -ENOSPC);
    items[3].links = 1;
    urls[3] = "http://x:1";
    assert_int_equal(upstreams_set_found(world.upstreams, urls, UPSTREAMS_MAX), 1);
    assert_string_equal(items[3].url, "http://n3:1");
    assert_true(items[3].gone);
    items[3].links = 0;
    assert_int_equal(upstreams_set_found(world.upstreams, urls, UPSTREAMS_MAX), 0);
    assert_string_equal(items[3].url, "http://x:1");
    assert_true(!items[3].gone && items[3].generation == 1);
    end(&world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(those_found_come_and_go_beside_the_configured),
        cmocka_unit_test(places_run_out_and_are_used_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
