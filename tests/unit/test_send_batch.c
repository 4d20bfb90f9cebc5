#include "common/http/send_batch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MANY = SEND_BATCH_MAX + 3 };

struct sender {
    int near, far;
    unsigned calls, order;
    size_t offered;
    ssize_t sent;
};

static unsigned calls;

static void on_sent(void *ctx, size_t offered, ssize_t sent) {
    struct sender *sender = ctx;
    sender->calls++;
    sender->order = calls++;
    sender->offered = offered;
    sender->sent = sent;
}

static void open_sender(struct sender *sender) {
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    *sender = (struct sender){.near = fds[0], .far = fds[1]};
}

static void close_sender(struct sender *sender) {
    close(sender->near);
    if (sender->far >= 0)
        close(sender->far);
}

static void expect_text(struct sender *sender, const char *text) {
    char got[64];
    ssize_t len = recv(sender->far, got, sizeof got, MSG_DONTWAIT);
    assert_int_equal(len, strlen(text));
    assert_memory_equal(got, text, strlen(text));
}

static void add(struct send_batch *batch, struct sender *sender, const char *a, const char *b) {
    struct iovec items[] = {{(void *)a, strlen(a)}, {(void *)(b ? b : ""), b ? strlen(b) : 0}};
    send_batch_add(batch, sender->near, items, b ? 2 : 1, on_sent, sender);
}

static int setup(void **state) {
    calls = 0;
    *state = send_batch_create();
    if (!*state)
        skip();
    return 0;
}

static int teardown(void **state) {
    send_batch_destroy(*state);
    return 0;
}

static void all_are_sent_and_told_in_order(void **state) {
    struct send_batch *batch = *state;
    struct sender senders[5];
    for (int i = 0; i < 5; i++) {
        open_sender(&senders[i]);
        add(batch, &senders[i], "one ", i % 2 ? "two" : NULL);
    }
    assert_false(send_batch_empty(batch));
    assert_int_equal(calls, 0);
    send_batch_submit(batch);
    assert_true(send_batch_empty(batch));
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(senders[i].calls, 1);
        assert_int_equal(senders[i].order, i);
        assert_int_equal(senders[i].sent, senders[i].offered);
        expect_text(&senders[i], i % 2 ? "one two" : "one ");
        close_sender(&senders[i]);
    }
}

static void one_alone_is_sent_too(void **state) {
    struct sender sender;
    open_sender(&sender);
    add(*state, &sender, "a", "b");
    send_batch_submit(*state);
    assert_int_equal(sender.sent, 2);
    expect_text(&sender, "ab");
    close_sender(&sender);
}

static void full_batch_is_submitted_first(void **state) {
    struct sender senders[MANY];
    for (int i = 0; i < MANY; i++) {
        open_sender(&senders[i]);
        add(*state, &senders[i], "x", NULL);
        assert_int_equal(calls, i < SEND_BATCH_MAX ? 0 : SEND_BATCH_MAX);
    }
    send_batch_submit(*state);
    assert_int_equal(calls, MANY);
    for (int i = 0; i < MANY; i++) {
        expect_text(&senders[i], "x");
        close_sender(&senders[i]);
    }
}

/* Of two that can't send one is full, the other's peer has gone; a third isn't troubled. Alone, each is told the same.
 */
static void sockets_that_take_nothing_say_why(void **state) {
    static char filling[1 << 16];
    struct sender full, gone, fine;
    open_sender(&full);
    open_sender(&gone);
    open_sender(&fine);
    while (send(full.near, filling, sizeof filling, MSG_DONTWAIT) > 0)
        continue;
    close(gone.far);
    gone.far = -1;
    for (int together = 0; together < 2; together++) {
        add(*state, &full, "x", NULL);
        if (!together)
            send_batch_submit(*state);
        add(*state, &gone, "x", NULL);
        if (!together)
            send_batch_submit(*state);
        add(*state, &fine, "fine", NULL);
        send_batch_submit(*state);
        assert_int_equal(full.sent, -EAGAIN);
        assert_int_equal(gone.sent, -EPIPE);
        expect_text(&fine, "fine");
    }
    close_sender(&full);
    close_sender(&gone);
    close_sender(&fine);
}

static void socket_takes_what_it_has_room_for(void **state) {
    static char much[8 << 20];
    struct sender one, other;
    open_sender(&one);
    open_sender(&other);
    struct iovec item = {much, sizeof much};
    send_batch_add(*state, one.near, &item, 1, on_sent, &one);
    add(*state, &other, "x", NULL);
    send_batch_submit(*state);
    assert_in_range(one.sent, 1, sizeof much - 1);
    assert_int_equal(one.offered, sizeof much);
    assert_int_equal(other.sent, 1);
    close_sender(&one);
    close_sender(&other);
}

#define BATCH_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        BATCH_TEST(all_are_sent_and_told_in_order),    BATCH_TEST(one_alone_is_sent_too),
        BATCH_TEST(full_batch_is_submitted_first),     BATCH_TEST(sockets_that_take_nothing_say_why),
        BATCH_TEST(socket_takes_what_it_has_room_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
