#include "relay/steer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/buf.h"

static char two[] = "https://edge-2.example:8443", three[] = "https://[2001:db8::3]:8443";
static char *const peers[] = {two, three};

static struct steer *make(size_t peer_count, bool redirect) {
    return steer_create(
        &(struct steer_settings){.node = "edge-1", .peers = peers, .peer_count = peer_count, .redirect = redirect});
}

static void assert_manifest(const struct steer *steer, enum load_level level, uint32_t seed, const char *text) {
    struct buf out;
    buf_init(&out, 4096);
    steer_manifest(steer, level, seed, &out);
    buf_append(&out, "", 1);
    assert_string_equal((const char *)buf_head(&out), text);
    buf_finish(&out);
}

#define CLONES                                                                                                         \
    "\"PATHWAY-CLONES\":[{\"BASE-ID\":\"edge-1\",\"ID\":\"edge-2.example_8443\",\"URI-REPLACEMENT\":{\"HOST\":"        \
    "\"edge-2.example\"}},{\"BASE-ID\":\"edge-1\",\"ID\":\"_2001_db8__3__8443\",\"URI-REPLACEMENT\":{\"HOST\":"        \
    "\"[2001:db8::3]\"}}]}\n"

static void manifest_names_this_one_first_while_it_has_room(void **state) {
    (void)state;
    struct steer *steer = make(2, false);
    assert_manifest(steer, LOAD_OK, 0,
                    "{\"VERSION\":1,\"TTL\":30,\"PATHWAY-PRIORITY\":[\"edge-1\",\"edge-2.example_8443\","
                    "\"_2001_db8__3__8443\"]," CLONES);
    assert_manifest(steer, LOAD_OK, 1,
                    "{\"VERSION\":1,\"TTL\":30,\"PATHWAY-PRIORITY\":[\"edge-1\",\"_2001_db8__3__8443\","
                    "\"edge-2.example_8443\"]," CLONES);
    steer_destroy(steer);
}

static void manifest_names_this_one_last_when_it_has_none(void **state) {
    (void)state;
    struct steer *steer = make(2, false);
    assert_manifest(steer, LOAD_OVER, 0,
                    "{\"VERSION\":1,\"TTL\":10,\"PATHWAY-PRIORITY\":[\"edge-2.example_8443\",\"_2001_db8__3__8443\","
                    "\"edge-1\"]," CLONES);
    steer_destroy(steer);
}

static void alone_there_is_nothing_to_say(void **state) {
    (void)state;
    struct steer *steer = make(0, true);
    assert_null(steer_pathway(steer));
    assert_manifest(steer, LOAD_FULL, 0,
                    "{\"VERSION\":1,\"TTL\":30,\"PATHWAY-PRIORITY\":[\"edge-1\"],\"PATHWAY-CLONES\":[]}\n");
    assert_int_equal(steer_judge(steer, LOAD_OVER, false), STEER_SERVE);
    assert_int_equal(steer_judge(steer, LOAD_FULL, false), STEER_REFUSE);
    steer_destroy(steer);
}

static void new_viewers_go_elsewhere_then_are_refused(void **state) {
    (void)state;
    struct steer *steer = make(2, true), *patient = make(2, false);
    assert_string_equal(steer_pathway(steer), "edge-1");
    assert_int_equal(steer_judge(steer, LOAD_OK, false), STEER_SERVE);
    assert_int_equal(steer_judge(steer, LOAD_OVER, false), STEER_REDIRECT);
    assert_int_equal(steer_judge(steer, LOAD_OVER, true), STEER_SERVE); /* else it would go on and on */
    assert_int_equal(steer_judge(steer, LOAD_FULL, true), STEER_REFUSE);
    assert_int_equal(steer_judge(patient, LOAD_OVER, false), STEER_SERVE);
    assert_int_equal(steer_judge(patient, LOAD_FULL, false), STEER_REFUSE);
    assert_string_equal(steer_peer(steer, 0), two);
    assert_string_equal(steer_peer(steer, 7), three);
    steer_destroy(steer);
    steer_destroy(patient);
}

static void peers_may_change(void **state) {
    static const char lines[] = "https://edge-2.example:8443\n\nhttps://edge-9.example\n";
    (void)state;
    struct steer *steer = make(0, true);
    assert_null(steer_pathway(steer));
    steer_set_peers(steer, lines, sizeof lines - 1);
    assert_string_equal(steer_pathway(steer), "edge-1");
    assert_string_equal(steer_peer(steer, 0), two);
    assert_string_equal(steer_peer(steer, 1), "https://edge-9.example");
    steer_set_peers(steer, "", 0);
    assert_null(steer_pathway(steer));
    steer_destroy(steer);
}

static void limits_are_judged_one_by_one(void **state) {
    (void)state;
    const struct load_settings both = {.viewers_max = 100, .egress_mbps_max = 10}, none = {0};
    assert_int_equal(load_judge(&none, &(struct load_figures){1000000, 1000000}), LOAD_OK);
    assert_int_equal(load_judge(&both, &(struct load_figures){99, 9999}), LOAD_OK);
    assert_int_equal(load_judge(&both, &(struct load_figures){100, 0}), LOAD_OVER);
    assert_int_equal(load_judge(&both, &(struct load_figures){0, 10000}), LOAD_OVER);
    assert_int_equal(load_judge(&both, &(struct load_figures){109, 0}), LOAD_OVER);
    assert_int_equal(load_judge(&both, &(struct load_figures){110, 0}), LOAD_FULL);
    assert_int_equal(load_judge(&both, &(struct load_figures){100, 11000}), LOAD_FULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(manifest_names_this_one_first_while_it_has_room),
        cmocka_unit_test(manifest_names_this_one_last_when_it_has_none),
        cmocka_unit_test(alone_there_is_nothing_to_say),
        cmocka_unit_test(new_viewers_go_elsewhere_then_are_refused),
        cmocka_unit_test(peers_may_change),
        cmocka_unit_test(limits_are_judged_one_by_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
