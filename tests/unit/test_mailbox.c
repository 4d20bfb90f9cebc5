#include "common/base/mailbox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "common/base/loop.h"

enum { THREADS = 4, PER_THREAD = 5000 };

struct receiver {
    struct loop *loop;
    struct loop_timer *deadline;
    size_t expected, count;
    uintptr_t received[2000];
    uintptr_t last_of[THREADS];
    bool timed_out;
};

static void on_deadline(void *ctx) {
    struct receiver *receiver = ctx;
    receiver->timed_out = true;
    loop_stop(receiver->loop);
}

static void on_message(void *ctx, void *message) {
    struct receiver *receiver = ctx;
    receiver->received[receiver->count++] = (uintptr_t)message;
    if (receiver->count == receiver->expected)
        loop_stop(receiver->loop);
}

static void receiver_init(struct receiver *receiver, size_t expected) {
    *receiver = (struct receiver){.loop = loop_create(), .expected = expected};
    receiver->deadline = loop_timer_create(receiver->loop, on_deadline, receiver);
    loop_timer_set(receiver->deadline, 20000000);
}

static void receiver_finish(struct receiver *receiver) {
    loop_timer_destroy(receiver->deadline);
    loop_destroy(receiver->loop);
}

static void delivered_in_order_over_several_batches(void **state) {
    (void)state;
    struct receiver receiver;
    receiver_init(&receiver, 1000);
    struct mailbox *box = mailbox_create(receiver.loop, 1000, on_message, NULL, &receiver);
    for (uintptr_t i = 1; i <= 1000; i++)
        assert_int_equal(mailbox_post(box, (void *)i), 0);
    loop_run(receiver.loop);
    assert_false(receiver.timed_out);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(receiver.received[i], i + 1);
    mailbox_destroy(box);
    receiver_finish(&receiver);
}

static void on_turn(void *ctx) {
    loop_stop(((struct receiver *)ctx)->loop);
}

static void a_turn_takes_at_most_a_batch(void **state) {
    (void)state;
    struct receiver receiver;
    receiver_init(&receiver, 0);
    struct mailbox *box = mailbox_create(receiver.loop, 1000, on_message, NULL, &receiver);
    struct loop_timer *turn = loop_timer_create(receiver.loop, on_turn, &receiver);
    for (uintptr_t i = 0; i < 600; i++)
        assert_int_equal(mailbox_post(box, &receiver), 0);
    for (size_t expected = 256; receiver.count < 600; expected = expected == 256 ? 512 : 600) {
        loop_timer_set(turn, 0);
        loop_run(receiver.loop);
        assert_int_equal(receiver.count, expected);
    }
    loop_timer_destroy(turn);
    mailbox_destroy(box);
    receiver_finish(&receiver);
}

static void full_leaves_the_message_to_the_caller(void **state) {
    (void)state;
    struct receiver receiver;
    receiver_init(&receiver, 3);
    struct mailbox *box = mailbox_create(receiver.loop, 2, on_message, NULL, &receiver);
    assert_int_equal(mailbox_post(box, (void *)1), 0);
    assert_int_equal(mailbox_post(box, (void *)2), 0);
    assert_int_equal(mailbox_post(box, (void *)3), -ENOBUFS);
    receiver.expected = 2;
    loop_run(receiver.loop);
    assert_int_equal(receiver.count, 2);
    assert_int_equal(mailbox_post(box, (void *)4), 0); /* it wakes again, and the ring wraps */
    receiver.expected = 3;
    loop_run(receiver.loop);
    assert_false(receiver.timed_out);
    assert_int_equal(receiver.received[2], 4);
    mailbox_destroy(box);
    receiver_finish(&receiver);
}

static void undelivered_messages_are_dropped_at_the_end(void **state) {
    (void)state;
    struct receiver receiver;
    receiver_init(&receiver, 0);
    struct mailbox *box = mailbox_create(receiver.loop, 8, on_message, free, &receiver);
    for (int i = 0; i < 5; i++)
        assert_int_equal(mailbox_post(box, malloc(16)), 0); /* leaks are ASan's to find */
    mailbox_destroy(box);
    mailbox_destroy(NULL);
    assert_int_equal(receiver.count, 0);
    receiver_finish(&receiver);
}

struct poster {
    struct mailbox *box;
    uintptr_t index;
};

static void *post_many(void *arg) {
    struct poster *poster = arg;
    for (uintptr_t i = 1; i <= PER_THREAD; i++) {
        while (mailbox_post(poster->box, (void *)(i * THREADS + poster->index)) == -ENOBUFS)
            sched_yield();
    }
    return NULL;
}

static void on_numbered(void *ctx, void *message) {
    struct receiver *receiver = ctx;
    uintptr_t number = (uintptr_t)message / THREADS, *last = &receiver->last_of[(uintptr_t)message % THREADS];
    assert_int_equal(number, *last + 1);
    *last = number;
    if (++receiver->count == receiver->expected)
        loop_stop(receiver->loop);
}

static void many_threads_lose_nothing(void **state) {
    (void)state;
    struct receiver receiver;
    struct poster posters[THREADS];
    pthread_t threads[THREADS];
    receiver_init(&receiver, (size_t)THREADS * PER_THREAD);
    struct mailbox *box = mailbox_create(receiver.loop, 100, on_numbered, NULL, &receiver);
    for (uintptr_t i = 0; i < THREADS; i++) {
        posters[i] = (struct poster){box, i};
        assert_int_equal(pthread_create(&threads[i], NULL, post_many, &posters[i]), 0);
    }
    loop_run(receiver.loop);
    assert_false(receiver.timed_out);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    mailbox_destroy(box);
    receiver_finish(&receiver);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delivered_in_order_over_several_batches),
        cmocka_unit_test(a_turn_takes_at_most_a_batch),
        cmocka_unit_test(full_leaves_the_message_to_the_caller),
        cmocka_unit_test(undelivered_messages_are_dropped_at_the_end),
        cmocka_unit_test(many_threads_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
