#include "relay/rendezvous.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

enum { STREAMS = 10000, NODES = 5 };

/* They differ in the last byte, where a hash that doesn't mix makes the least of it. */
static const char *const shields[NODES] = {"http://10.0.0.5:8081", "http://10.0.0.5:8082", "http://10.0.0.5:8083",
                                           "http://10.0.0.5:8084", "http://10.0.0.5:8085"};

static const char *stream_name(int i) {
    static char name[32];
    snprintf(name, sizeof name, "live/show-%d", i);
    return name;
}

/* The node of that rank. */
static uint32_t node_at(const char *stream, const char *const *nodes, uint32_t count, uint32_t rank) {
    for (uint32_t i = 0; i < count; i++)
        if (rendezvous_rank(stream, nodes, count, i) == rank)
            return i;
    fail_msg("%s has no node of rank %u", stream, rank);
    return 0;
}

static void weights_are_the_same_on_every_machine_and_in_every_version(void **state) {
    (void)state;
    assert_int_equal(rendezvous_weight("live/show", "https://shield-a:8445"), UINT64_C(0x28c31211da28b83d));
    assert_int_equal(rendezvous_weight("live/show", "https://shield-b:8445"), UINT64_C(0x6f024645b00e72e5));
    assert_int_not_equal(rendezvous_weight("live/a", "b"), rendezvous_weight("live/", "ab"));
}

static void every_stream_has_all_nodes_in_an_order(void **state) {
    (void)state;
    for (int i = 0; i < 1000; i++)
        for (uint32_t rank = 0; rank < NODES; rank++)
            node_at(stream_name(i), shields, NODES, rank);
}

/* Streams of each node, at that rank, are within 5 % of a fifth. */
static void assert_spread(uint32_t rank) {
    int counts[NODES] = {0};
    for (int i = 0; i < STREAMS; i++)
        counts[node_at(stream_name(i), shields, NODES, rank)]++;
    for (int i = 0; i < NODES; i++)
        assert_in_range(counts[i], STREAMS / NODES * 95 / 100, STREAMS / NODES * 105 / 100);
}

static void streams_spread_evenly(void **state) {
    (void)state;
    assert_spread(0);
}

static void so_do_those_of_a_node_that_fails(void **state) {
    (void)state;
    int counts[NODES] = {0}, of_first = 0;
    for (int i = 0; i < STREAMS; i++)
        if (node_at(stream_name(i), shields, NODES, 0) == 0) {
            counts[node_at(stream_name(i), shields, NODES, 1)]++;
            of_first++;
        }
    assert_int_equal(counts[0], 0);
    for (int i = 1; i < NODES; i++)
        assert_in_range(counts[i], of_first / 4 * 85 / 100, of_first / 4 * 115 / 100);
}

static void node_that_leaves_moves_its_own_streams_only(void **state) {
    (void)state;
    const char *const left[] = {shields[0], shields[1], shields[3], shields[4]};
    for (int i = 0; i < STREAMS; i++) {
        const char *before = shields[node_at(stream_name(i), shields, NODES, 0)];
        const char *second = shields[node_at(stream_name(i), shields, NODES, 1)];
        const char *after = left[node_at(stream_name(i), left, 4, 0)];
        assert_string_equal(after, before == shields[2] ? second : before);
    }
}

static void order_of_the_list_does_not_matter(void **state) {
    (void)state;
    const char *const turned[] = {shields[3], shields[0], shields[4], shields[2], shields[1]};
    for (int i = 0; i < 1000; i++)
        assert_string_equal(turned[node_at(stream_name(i), turned, NODES, 0)],
                            shields[node_at(stream_name(i), shields, NODES, 0)]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_the_same_on_every_machine_and_in_every_version),
        cmocka_unit_test(every_stream_has_all_nodes_in_an_order),
        cmocka_unit_test(streams_spread_evenly),
        cmocka_unit_test(so_do_those_of_a_node_that_fails),
        cmocka_unit_test(node_that_leaves_moves_its_own_streams_only),
        cmocka_unit_test(order_of_the_list_does_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
