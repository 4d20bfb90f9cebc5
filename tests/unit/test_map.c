#include "common/base/map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

static void set_get_replace_remove(void **state) {
    (void)state;
    int one, two;
    struct map *map = map_create();
    assert_null(map_get(map, "a"));
    map_set(map, "a", &one);
    assert_ptr_equal(map_get(map, "a"), &one);
    map_set(map, "a", &two);
    assert_ptr_equal(map_get(map, "a"), &two);
    assert_int_equal(map_count(map), 1);
    assert_ptr_equal(map_remove(map, "a"), &two);
    assert_null(map_remove(map, "a"));
    assert_int_equal(map_count(map), 0);
    map_destroy(map);
}

static void key_is_copied(void **state) {
    (void)state;
    int value;
    char key[] = "live/show";
    struct map *map = map_create();
    map_set(map, key, &value);
    key[0] = 'x';
    assert_null(map_get(map, key));
    assert_ptr_equal(map_get(map, "live/show"), &value);
    map_destroy(map);
}

static void many_keys_survive_growth(void **state) {
    (void)state;
    static char values[5000];
    char key[64];
    struct map *map = map_create();
    for (int i = 0; i < 5000; i++) {
        snprintf(key, sizeof(key), "%.*s%d", i % 20, "xxxxxxxxxxxxxxxxxxxx", i); /* all lengths modulo 8 */
        map_set(map, key, &values[i]);
    }
    assert_int_equal(map_count(map), 5000);
    for (int i = 0; i < 5000; i++) {
        snprintf(key, sizeof(key), "%.*s%d", i % 20, "xxxxxxxxxxxxxxxxxxxx", i);
        assert_ptr_equal(map_get(map, key), &values[i]);
        if (i % 2)
            assert_ptr_equal(map_remove(map, key), &values[i]);
    }
    assert_int_equal(map_count(map), 2500);
    map_destroy(map);
}

static void empty_and_long_keys(void **state) {
    (void)state;
    int value, other;
    char key[5000];
    memset(key, 'k', sizeof(key) - 1);
    key[sizeof(key) - 1] = '\0';
    struct map *map = map_create();
    map_set(map, "", &value);
    map_set(map, key, &other);
    assert_ptr_equal(map_get(map, ""), &value);
    assert_ptr_equal(map_get(map, key), &other);
    assert_null(map_get(map, key + 1));
    map_destroy(map);
}

struct visit {
    struct map *map;
    size_t count;
};

static void remove_visited(void *ctx, const char *key, void *value) {
    struct visit *visit = ctx;
    visit->count++;
    assert_ptr_equal(map_remove(visit->map, key), value);
}

static void each_may_remove_its_entry(void **state) {
    (void)state;
    char key[16];
    struct visit visit = {.map = map_create()};
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof(key), "%d", i);
        map_set(visit.map, key, &visit);
    }
    map_each(visit.map, remove_visited, &visit);
    assert_int_equal(visit.count, 100);
    assert_int_equal(map_count(visit.map), 0);
    map_destroy(visit.map);
}

static void destroy_null_is_allowed(void **state) {
    (void)state;
    map_destroy(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_get_replace_remove),    cmocka_unit_test(key_is_copied),
        cmocka_unit_test(many_keys_survive_growth),  cmocka_unit_test(empty_and_long_keys),
        cmocka_unit_test(each_may_remove_its_entry), cmocka_unit_test(destroy_null_is_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
