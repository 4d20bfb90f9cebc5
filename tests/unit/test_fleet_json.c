#include "common/fleet/fleet_json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void assert_key(const char *key, enum fleet_key kind, const char *stream_wanted, const char *node_wanted) {
    char stream[FLEET_STREAM_LEN] = "", node[FLEET_NAME_LEN] = "";
    assert_int_equal(fleet_key_parse(key, stream, node), kind);
    assert_string_equal(stream, stream_wanted);
    assert_string_equal(node, node_wanted);
}

static void keys(void **state) {
    static const char *const others[] = {"",           "nodes/",          "nodes/a/b",       "nodes/a b",
                                         "streams/a",  "streams/live/x",  "streams/live//a", "streams//x/a",
                                         "streams/a/", "streams/a/b/c/d", "nodes",           "else/a"};
    char longest[256];
    (void)state;
    assert_key("nodes/origin-a", FLEET_KEY_NODE, "", "origin-a");
    assert_key("streams/live/show~1/origin-a", FLEET_KEY_STREAM, "live/show~1", "origin-a");
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_key(others[i], FLEET_KEY_OTHER, "", "");
    memset(longest, 'x', sizeof longest);
    memcpy(longest, "nodes/", 6);
    longest[6 + FLEET_NAME_LEN] = 0;
    assert_key(longest, FLEET_KEY_OTHER, "", "");
    memcpy(longest, "streams/app/", 12);
    strcpy(longest + 8 + FLEET_STREAM_LEN, "/a");
    assert_key(longest, FLEET_KEY_OTHER, "", "");
}

static void a_node_is_read_as_it_was_written(void **state) {
    const struct fleet_node node = {.roles = FLEET_ORIGIN | FLEET_RELAY,
                                    .region = "eu",
                                    .version = "1.0",
                                    .feed_url = "https://origin-a.example:8443",
                                    .http_url = "http://[2001:db8::1]:80",
                                    .load = {.viewers = 1, .egress_kbps = UINT64_C(5000000000), .streams = 3},
                                    .capacity = {.viewers = 20000, .streams = 1000}};
    struct fleet_node again;
    (void)state;
    char *text = fleet_node_write(&node);
    assert_string_equal(text, "{\"roles\":[\"origin\",\"relay\"],\"region\":\"eu\","
                              "\"feed_url\":\"https://origin-a.example:8443\",\"http_url\":\"http://[2001:db8::1]:80\","
                              "\"version\":\"1.0\",\"load\":{\"viewers\":1,\"egress_kbps\":5000000000,\"streams\":3},"
                              "\"capacity\":{\"viewers\":20000,\"streams\":1000}}");
    assert_int_equal(fleet_node_parse(text, strlen(text), &again), 0);
    assert_int_equal(again.roles, node.roles);
    assert_string_equal(again.region, node.region);
    assert_string_equal(again.version, node.version);
    assert_string_equal(again.feed_url, node.feed_url);
    assert_string_equal(again.http_url, node.http_url);
    assert_memory_equal(&again.load, &node.load, sizeof node.load);
    assert_memory_equal(&again.capacity, &node.capacity, sizeof node.capacity);
    free(text);
}

static void a_holding_is_read_as_it_was_written(void **state) {
    const struct fleet_holding holding = {.epoch = 1790000000123456,
                                          .feed_url = "http://10.0.0.1:8082",
                                          .since = "2026-11-24T15:04:05.678Z"};
    struct fleet_holding again;
    (void)state;
    char *text = fleet_holding_write(&holding);
    assert_int_equal(fleet_holding_parse(text, strlen(text), &again), 0);
    assert_int_equal(again.epoch, holding.epoch);
    assert_string_equal(again.feed_url, holding.feed_url);
    assert_string_equal(again.since, holding.since);
    free(text);
}

static int parse(const char *text) {
    struct fleet_node node;
    return fleet_node_parse(text, strlen(text), &node);
}

static void what_a_later_version_writes_is_read(void **state) {
    struct fleet_node node;
    const char *text = "{\"roles\":[\"origin\",\"transcoder\",7],\"mood\":\"good\",\"load\":{\"heat\":1}}";
    (void)state;
    assert_int_equal(fleet_node_parse(text, strlen(text), &node), 0);
    assert_int_equal(node.roles, FLEET_ORIGIN);
    assert_string_equal(node.feed_url, "");
}

static void what_is_no_node(void **state) {
    static const char *const texts[] = {
        "",
        "[]",
        "{}",
        "{\"roles\":{}}",
        "{\"roles\":[],\"load\":{\"viewers\":-1}}",
        "{\"roles\":[],\"load\":{\"viewers\":1.5}}",
        "{\"roles\":[],\"region\":\"a b\"}",
        "{\"roles\":[],\"region\":7}",
        "{\"roles\":[],\"feed_url\":\"ftp://a:1\"}",
        "{\"roles\":[],\"feed_url\":\"http://\"}",
        "{\"roles\":[],\"feed_url\":\"http://a:1/x\"}",
        "{\"roles\":[],\"feed_url\":\"http://user@a:1\"}",
        "{\"roles\":[],\"feed_url\":\"http://a:1?x\"}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_int_equal(parse(texts[i]), -EBADMSG);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys),
        cmocka_unit_test(a_node_is_read_as_it_was_written),
        cmocka_unit_test(a_holding_is_read_as_it_was_written),
        cmocka_unit_test(what_a_later_version_writes_is_read),
        cmocka_unit_test(what_is_no_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
