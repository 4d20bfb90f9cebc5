#include "relay/viewer.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/loop.h"
#include "common/http/server.h"
#include "common/media/hub.h"
#include "media_fixture.h"
#include "relay/follow.h"
#include "relay/load.h"
#include "relay/render.h"
#include "relay/steer.h"
#include "relay/thumb.h"
#include "tests/unit/thumb_fixture.h"
#include "tests/unit/uring.h"

/* Viewers on a loop of their own behind a real HTTP server, the hub on another; clients are raw sockets. */

enum { WAIT_MS = 10000, WAITING_MAX = 3, IDLE_US = 30000000, THUMB_US = 100000000 };

static const char *const name = "live/show";

static const struct store_settings settings = {.window_us = 14000000,
                                               .bytes_max = 64 << 20,
                                               .streams_max = 4,
                                               .cache_free = render_cache_free};

struct world {
    struct loop *hub_loop, *loop;
    struct hub *hub;
    struct store *replica;
    struct hub_client *client;
    struct steer *steer;
    struct load *load;
    struct thumbs *thumbs;
    struct follows *follows;
    struct viewers *viewers;
    struct http_server *http;
    uint16_t port;
    pthread_t hub_thread, thread;
    bool hub_runs;
};

static void on_answer(void *ctx, const char *stream, bool known) {
    follows_answer(((struct world *)ctx)->follows, stream, known);
}

static void *run_loop(void *ctx) {
    loop_run(ctx);
    return NULL;
}

static void run_hub(struct world *world) {
    assert_int_equal(pthread_create(&world->hub_thread, NULL, run_loop, world->hub_loop), 0);
    world->hub_runs = true;
}

static void halt_hub(struct world *world) {
    loop_stop(world->hub_loop);
    pthread_join(world->hub_thread, NULL);
    world->hub_runs = false;
}

static void write_record(void *ctx, struct record *record) {
    assert_int_equal(hub_write(((struct world *)ctx)->hub, record), 0);
}

/* Parts by their number from the stream's beginning. */
static void write_parts(struct world *world, uint64_t from, uint64_t to) {
    for (uint64_t n = from; n < to; n++)
        fixture_write_part(name, FIXTURE_EPOCH, 500 + n, 100 + n / FIXTURE_PARTS, (uint32_t)(n % FIXTURE_PARTS), 0,
                           write_record, world);
}

static struct world *begin(void) {
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    world->hub_loop = loop_create();
    world->loop = loop_create();
    world->hub = hub_create(world->hub_loop, &settings);
    world->replica = store_create(&settings);
    world->client = hub_client_create(world->hub, world->loop, world->replica, on_answer, world);
    world->steer = steer_create(&(struct steer_settings){.node = "edge"});
    world->load = load_create(world->hub_loop, &(struct load_settings){0});
    world->thumbs = thumbs_create(THUMB_US);
    const struct viewers_settings viewers = {.steer = world->steer,
                                             .thumbs = world->thumbs,
                                             .load = world->load,
                                             .muxed = PLAYLIST_MUXED_AUTO,
                                             .waiting_max = WAITING_MAX,
                                             .live_readers_max = 1,
                                             .max_lag_us = 3000000};
    world->follows = follows_create(world->loop, world->replica, world->client, IDLE_US);
    world->viewers = viewers_create(world->loop, world->follows, &viewers);
    world->http = http_server_create(world->loop, &http_limits_default, viewers_handle, world->viewers);
    use_uring_if_asked(world->http);
    assert_int_equal(http_server_listen(world->http, "127.0.0.1:0", false, &world->port), 0);
    assert_int_equal(pthread_create(&world->thread, NULL, run_loop, world->loop), 0);
    return world;
}

static void end(struct world *world) {
    loop_stop(world->loop);
    pthread_join(world->thread, NULL);
    if (world->hub_runs)
        halt_hub(world);
    thumbs_stop(world->thumbs);
    http_server_destroy(world->http);
    viewers_destroy(world->viewers);
    thumbs_destroy(world->thumbs);
    steer_destroy(world->steer);
    load_destroy(world->load);
    follows_destroy(world->follows);
    hub_client_destroy(world->client);
    store_destroy(world->replica);
    hub_destroy(world->hub);
    loop_destroy(world->loop);
    loop_destroy(world->hub_loop);
    free(world);
}

static int ask(const struct world *world, const char *path) {
    char request[256];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(world->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    int len = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path);
    assert_int_equal(send(fd, request, (size_t)len, MSG_NOSIGNAL), len);
    return fd;
}

/* The whole answer of the first that is answered, by its place among `fds`. */
static size_t first_answer(const int *fds, size_t count, char *text, size_t size) {
    struct pollfd polls[WAITING_MAX + 1];
    size_t which = 0, len = 0;
    ssize_t n;
    for (size_t i = 0; i < count; i++)
        polls[i] = (struct pollfd){fds[i], POLLIN, 0};
    assert_true(poll(polls, count, WAIT_MS) > 0);
    while (!polls[which].revents)
        which++;
    while ((n = recv(fds[which], text + len, size - 1 - len, 0)) > 0)
        len += (size_t)n;
    assert_int_equal(n, 0);
    text[len] = '\0';
    return which;
}

static void expect_in(const char *text, const char *part) {
    if (!strstr(text, part))
        fail_msg("no %s in: %s", part, text);
}

/* One more than may wait, of which one is refused at once; `fds` are those that wait. */
static void fill(const struct world *world, const char *path, int fds[WAITING_MAX]) {
    int all[WAITING_MAX + 1];
    char text[4096];
    for (size_t i = 0; i <= WAITING_MAX; i++)
        all[i] = ask(world, path);
    size_t refused = first_answer(all, WAITING_MAX + 1, text, sizeof text);
    expect_in(text, "HTTP/1.1 503 ");
    expect_in(text, "\r\nRetry-After: 1\r\n");
    expect_in(text, "\r\nCache-Control: max-age=1\r\n");
    expect_in(text, "too many requests are waiting");
    close(all[refused]);
    all[refused] = all[WAITING_MAX];
    memcpy(fds, all, WAITING_MAX * sizeof *fds);
}

static void too_many_wait_for_the_hub(void **state) {
    (void)state;
    struct world *world = begin();
    int fds[WAITING_MAX];
    char text[4096];
    fill(world, "/live/show/index.m3u8", fds); /* the hub says nothing yet */
    run_hub(world);
    for (size_t i = 0; i < WAITING_MAX; i++) {
        first_answer(&fds[i], 1, text, sizeof text);
        expect_in(text, "HTTP/1.1 404 ");
        close(fds[i]);
    }
    int fd = ask(world, "/live/show/index.m3u8"); /* there is room again */
    first_answer(&fd, 1, text, sizeof text);
    expect_in(text, "HTTP/1.1 404 ");
    close(fd);
    end(world);
}

static void too_many_wait_for_media(void **state) {
    (void)state;
    static const char path[] = "/live/show/v0a0.m3u8?_HLS_msn=102";
    struct world *world = begin();
    int fds[WAITING_MAX];
    char text[16384];
    write_record(world, fixture_open(name, FIXTURE_EPOCH, 1));
    write_parts(world, 0, FIXTURE_PARTS);
    run_hub(world);
    fill(world, path, fds);
    for (size_t i = 0; i < WAITING_MAX; i++)
        close(fds[i]); /* makes room */
    fill(world, path, fds);
    halt_hub(world);
    write_parts(world, FIXTURE_PARTS, 2 * FIXTURE_PARTS + 1);
    run_hub(world);
    for (size_t i = 0; i < WAITING_MAX; i++) {
        first_answer(&fds[i], 1, text, sizeof text);
        expect_in(text, "HTTP/1.1 200 ");
        close(fds[i]);
    }
    end(world);
}

/* A worker that is ahead of this one by a part has listed the segment and hinted at the part after it. */
static void what_another_worker_has_told_of_is_waited_for(void **state) {
    (void)state;
    struct world *world = begin();
    char text[16384], path[64];
    write_record(world, fixture_open(name, FIXTURE_EPOCH, 1));
    write_parts(world, 0, FIXTURE_PARTS - 2); /* and one that lags even more is held again and again */
    run_hub(world);
    int segment = ask(world, "/live/show/v0a0/100.m4s");
    snprintf(path, sizeof path, "/live/show/v0a0/p%d.m4s", 500 + FIXTURE_PARTS - 1);
    int part = ask(world, path);
    int playlist = ask(world, "/live/show/v0a0.m3u8?_HLS_msn=100&_HLS_part=0");
    first_answer(&playlist, 1, text, sizeof text); /* those before it are in */
    for (uint64_t n = FIXTURE_PARTS - 2; n < FIXTURE_PARTS + 1; n++) {
        halt_hub(world);
        write_parts(world, n, n + 1);
        run_hub(world);
    }
    first_answer(&part, 1, text, sizeof text);
    expect_in(text, "HTTP/1.1 200 ");
    first_answer(&segment, 1, text, sizeof text);
    expect_in(text, "HTTP/1.1 200 ");
    close(segment), close(part), close(playlist);
    end(world);
}

/* --- thumbnails --- */

static void write_real_open(struct world *world, bool with_picture) {
    struct record *record = fixture_open(name, FIXTURE_EPOCH, 1);
    struct thumb_sample sample = thumb_sample_load("h264");
    struct track_info *track = &record->open.tracks[0];
    blob_unref(track->init);
    track->init = blob_ref(sample.init);
    if (!with_picture) {
        track->kind = TRACK_AUDIO;
        memcpy(track->name, "a1", 3);
    }
    write_record(world, record);
    thumb_sample_free(&sample);
}

/* A part that begins with a key frame, real or not. */
static void write_key_part(struct world *world, uint64_t n, bool real) {
    write_record(world, fixture_chunk(name, FIXTURE_EPOCH, 1, 100, (uint32_t)n, 400));
    for (uint32_t i = 0; i < 6; i++) {
        struct record *record = fixture_chunk(name, FIXTURE_EPOCH, 0, 100, (uint32_t)n * 6 + i, 1000);
        if (i == 0 && real) {
            struct thumb_sample sample = thumb_sample_load("h264");
            blob_unref(record->chunk.body.blob);
            record->chunk.body = sample.chunk;
            blob_unref(sample.init);
        }
        record->chunk.flags = i == 0 ? CHUNK_INDEPENDENT : 0;
        write_record(world, record);
    }
    write_record(world, fixture_part(name, FIXTURE_EPOCH, 500 + n, 100, (uint32_t)n, PART_INDEPENDENT));
}

static void get(const struct world *world, const char *path, char text[16384]) {
    int fd = ask(world, path);
    memset(text, 0, 16384);
    first_answer(&fd, 1, text, 16384);
    close(fd);
}

static void a_thumbnail_is_of_the_newest_key_frame(void **state) {
    (void)state;
    struct world *world = begin();
    char text[16384];
    write_real_open(world, true);
    write_key_part(world, 0, false);
    write_key_part(world, 1, true);
    run_hub(world);
    get(world, "/live/show/thumb.jpg?w=160", text);
    expect_in(text, "HTTP/1.1 200 ");
    expect_in(text, "\r\nContent-Type: image/jpeg\r\n");
    expect_in(text, "\r\nCache-Control: max-age=");
    expect_in(text, "\r\nAccess-Control-Allow-Origin: *\r\n");
    expect_in(text, "\r\nETag: \"t-7-100-0-6-160\"\r\n");
    end(world);
}

static void a_thumbnail_that_cannot_be_made_comes_later(void **state) {
    (void)state;
    struct world *world = begin();
    char text[16384];
    write_real_open(world, true);
    write_key_part(world, 0, false);
    run_hub(world);
    get(world, "/live/show/thumb.jpg", text);
    expect_in(text, "HTTP/1.1 503 ");
    expect_in(text, "\r\nRetry-After: ");
    expect_in(text, "there is no picture now");
    end(world);
}

static void there_are_streams_and_widths_without_thumbnails(void **state) {
    (void)state;
    struct world *world = begin();
    char text[16384];
    write_real_open(world, false);
    write_key_part(world, 0, true);
    run_hub(world);
    get(world, "/live/show/thumb.jpg", text);
    expect_in(text, "HTTP/1.1 404 ");
    expect_in(text, "the stream has no picture");
    get(world, "/live/other/thumb.jpg", text);
    expect_in(text, "HTTP/1.1 404 ");
    expect_in(text, "not live");
    get(world, "/live/show/thumb.jpg?w=161", text);
    expect_in(text, "HTTP/1.1 400 ");
    end(world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(too_many_wait_for_the_hub),
        cmocka_unit_test(too_many_wait_for_media),
        cmocka_unit_test(what_another_worker_has_told_of_is_waited_for),
        cmocka_unit_test(a_thumbnail_is_of_the_newest_key_frame),
        cmocka_unit_test(a_thumbnail_that_cannot_be_made_comes_later),
        cmocka_unit_test(there_are_streams_and_widths_without_thumbnails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
