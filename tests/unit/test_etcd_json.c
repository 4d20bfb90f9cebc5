#include "common/fleet/etcd_json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/base/buf.h"

#define HEAD "\"header\":{\"cluster_id\":\"1\",\"revision\":\"7\"}"

/* --- requests --- */

static void assert_written(struct buf *out, const char *text) {
    assert_false(out->overflow);
    assert_int_equal(buf_len(out), strlen(text));
    assert_memory_equal(buf_head(out), text, strlen(text));
    buf_clear(out);
}

static void requests_are_what_the_gateway_takes(void **state) {
    struct buf out;
    (void)state;
    buf_init(&out, 4096);
    etcd_json_grant(&out, 10);
    assert_written(&out, "{\"TTL\":\"10\"}");
    etcd_json_lease(&out, INT64_C(2324035681156115205));
    assert_written(&out, "{\"ID\":\"2324035681156115205\"}");
    etcd_json_range(&out, "weir/", "weir/b", 250, 7);
    assert_written(&out, "{\"key\":\"d2Vpci9i\",\"range_end\":\"d2VpcjA=\",\"limit\":\"250\",\"revision\":\"7\"}");
    etcd_json_watch(&out, "weir/", 8);
    assert_written(&out,
                   "{\"create_request\":{\"key\":\"d2Vpci8=\",\"range_end\":\"d2VpcjA=\",\"start_revision\":\"8\","
                   "\"fragment\":true}}");
    buf_finish(&out);
}

static void puts_and_deletions_are_one_transaction(void **state) {
    struct buf out;
    (void)state;
    buf_init(&out, 4096);
    etcd_json_txn_begin(&out);
    etcd_json_txn_add(&out, 0, "a", "hello", 77);
    etcd_json_txn_add(&out, 1, "ab", NULL, 77);
    etcd_json_txn_end(&out);
    assert_written(&out, "{\"success\":[{\"request_put\":{\"key\":\"YQ==\",\"value\":\"aGVsbG8=\",\"lease\":\"77\"}},"
                         "{\"request_delete_range\":{\"key\":\"YWI=\"}}]}");
    buf_finish(&out);
}

/* --- answers --- */

static char told[1024];

static void on_entry(void *ctx, const struct etcd_entry *entry) {
    (void)ctx;
    if (entry->value)
        assert_int_equal(strlen(entry->value), entry->value_len);
    size_t len = strlen(told);
    snprintf(told + len, sizeof told - len, "%s=%s@%d;", entry->key, entry->value ? entry->value : "(gone)",
             (int)entry->revision);
}

static struct etcd_answer take(const char *text, int rc) {
    struct etcd_answer answer;
    told[0] = 0;
    assert_int_equal(etcd_json_answer(text, strlen(text), &answer, on_entry, NULL), rc);
    return answer;
}

static void leases(void **state) {
    (void)state;
    struct etcd_answer answer = take("{" HEAD ",\"ID\":\"2324035681156115205\",\"TTL\":\"10\"}", 0);
    assert_int_equal(answer.lease, INT64_C(2324035681156115205));
    assert_int_equal(answer.ttl_s, 10);
    assert_int_equal(answer.revision, 7);
    answer = take("{\"result\":{" HEAD ",\"ID\":\"12345\"}}", 0);
    assert_int_equal(answer.ttl_s, 0);
}

static void a_range(void **state) {
    (void)state;
    struct etcd_answer answer = take("{" HEAD ",\"more\":true,\"kvs\":[{\"key\":\"YQ==\",\"value\":\"aGVsbG8=\","
                                     "\"mod_revision\":\"5\"},{\"key\":\"YWI=\",\"mod_revision\":\"6\"}]}",
                                     0);
    assert_string_equal(told, "a=hello@5;ab=@6;");
    assert_string_equal(answer.last_key, "ab");
    assert_true(answer.more);
}

static void events_of_a_watch(void **state) {
    (void)state;
    struct etcd_answer answer =
        take("{\"result\":{" HEAD
             ",\"events\":[{\"kv\":{\"key\":\"YQ==\",\"value\":\"aGVsbG8=\",\"mod_revision\":\"6\"}},"
             "{\"type\":\"DELETE\",\"kv\":{\"key\":\"YQ==\",\"mod_revision\":\"7\"}}],\"fragment\":true}}",
             0);
    assert_string_equal(told, "a=hello@6;a=(gone)@7;");
    assert_true(answer.fragment);
    assert_false(answer.created);
    assert_true(take("{\"result\":{" HEAD ",\"created\":true}}", 0).created);
    answer = take("{\"result\":{" HEAD ",\"canceled\":true,\"compact_revision\":\"3\"}}", 0);
    assert_true(answer.cancelled && answer.compacted);
}

static void errors_of_calls_and_of_streams(void **state) {
    (void)state;
    struct etcd_answer answer = take("{\"error\":\"requested lease not found\",\"code\":5}", -EREMOTEIO);
    assert_int_equal(answer.code, 5);
    assert_string_equal(answer.error, "requested lease not found");
    answer = take("{\"error\":{\"grpc_code\":14,\"message\":\"closing\"}}", -EREMOTEIO);
    assert_int_equal(answer.code, 14);
    assert_string_equal(answer.error, "closing");
}

static void what_is_not_for_us_is_passed_over(void **state) {
    static char text[8192];
    char value[4 * ETCD_VALUE_MAX / 3 + 64];
    (void)state;
    memset(value, 'A', sizeof value - 1);
    value[(sizeof value - 1) / 4 * 4] = 0;
    snprintf(text, sizeof text,
             "{" HEAD ",\"kvs\":[{\"key\":\"YWE=\",\"value\":\"%s\"},{\"key\":\"YQBi\",\"value\":\"\"},{\"key\":\"*\"},"
             "{\"key\":\"YWI\"},{\"key\":\"YW=I\"},{\"value\":\"\"}]}",
             value);
    struct etcd_answer answer = take(text, 0);
    assert_string_equal(told, "");
    assert_string_equal(answer.last_key, "aa");
}

static void what_is_no_answer(void **state) {
    static const char *const texts[] = {
        "",
        "[]",
        "{",
        "1",
        "{\"result\":1}",
        "{\"kvs\":{}}",
        "{\"kvs\":[1]}",
        "{\"events\":[{}]}",
        "{\"TTL\":\"x\"}",
        "{\"TTL\":\"\"}",
        "{\"ID\":true}",
        "{\"ID\":\"99999999999999999999\"}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        take(texts[i], -EBADMSG);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_what_the_gateway_takes),
        cmocka_unit_test(puts_and_deletions_are_one_transaction),
        cmocka_unit_test(leases),
        cmocka_unit_test(a_range),
        cmocka_unit_test(events_of_a_watch),
        cmocka_unit_test(errors_of_calls_and_of_streams),
        cmocka_unit_test(what_is_not_for_us_is_passed_over),
        cmocka_unit_test(what_is_no_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
