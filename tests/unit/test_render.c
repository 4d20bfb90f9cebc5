#include "relay/render.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "media_fixture.h"

static const char *const name = "live/show";

/* Just enough of an init segment for cmaf_init_join, which test_cmaf.c tests. */
/* clang-format off */
static struct blob *make_init(uint8_t track_id) {
    const uint8_t init[] = {
        0, 0, 0, 16, 'f', 't', 'y', 'p', 'i', 's', 'o', '6', 0, 0, 0, 0,
        0, 0, 0, 128, 'm', 'o', 'o', 'v',
        0, 0, 0, 36, 'm', 'v', 'h', 'd',
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 232, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
        0, 0, 0, 44, 't', 'r', 'a', 'k',
        0, 0, 0, 36, 't', 'k', 'h', 'd',
        0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, track_id, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 40, 'm', 'v', 'e', 'x',
        0, 0, 0, 32, 't', 'r', 'e', 'x',
        0, 0, 0, 0, 0, 0, 0, track_id, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    return blob_create_copy(init, sizeof init);
}
/* clang-format on */

struct target {
    struct store *store;
    struct stream *stream;
    uint64_t part;
};

static void apply(void *ctx, struct record *record) {
    struct target *target = ctx;
    assert_int_equal(store_apply(target->store, record, 1000), 0);
    record_unref(record);
}

/* A publisher's first part, of these tracks. */
static void publish(struct target *t, uint64_t epoch, uint64_t msn, uint32_t tracks) {
    struct record *open = fixture_open(name, epoch, (uint32_t)(epoch - FIXTURE_EPOCH + 1));
    open->open.track_count = 0;
    for (uint8_t i = 0; i < 2; i++) {
        blob_unref(open->open.tracks[i].init);
        if (tracks & 1u << i) {
            struct track_info track = open->open.tracks[i];
            track.init = make_init(i + 1);
            open->open.tracks[open->open.track_count++] = track;
        }
    }
    uint8_t count = (uint8_t)open->open.track_count;
    apply(t, open);
    struct record *part = fixture_part(name, epoch, t->part++, msn, 0, PART_DISCONTINUITY);
    for (uint8_t i = 0; i < count; i++) {
        part->part.tracks[i].chunks = 1;
        apply(t, fixture_chunk(name, epoch, i, msn, 0, 100));
    }
    apply(t, part);
    t->stream = store_find(t->store, name);
}

/* Every EXT-X-MAP of the variant's playlist can be had (LL-021). Returns their number. */
static int maps(struct target *t, const char *variant) {
    struct blob *playlist = render_playlist(t->stream, RENDER_MEDIA, variant, PLAYLIST_MUXED_AUTO, NULL, false);
    assert_non_null(playlist);
    char text[8192];
    snprintf(text, sizeof text, "%.*s", (int)playlist->len, (const char *)playlist->data);
    int count = 0;
    for (const char *p = text; (p = strstr(p, "#EXT-X-MAP:URI=\"")); count++) {
        char folder[VARIANT_NAME_LEN];
        unsigned version;
        p += 16;
        assert_int_equal(sscanf(p, "%32[^/]/init-%u.mp4", folder, &version), 2);
        assert_string_equal(folder, variant);
        assert_non_null(render_init(t->stream, variant, version).blob);
    }
    return count;
}

static struct target make(void) {
    const struct store_settings settings = {.window_us = 14000000, .cache_free = render_cache_free};
    return (struct target){.store = store_create(&settings), .part = 500};
}

static void listed_inits_are_there_when_tracks_have_changed(void **state) {
    (void)state;
    for (uint32_t first = 1; first <= 3; first++) {
        struct target t = make();
        publish(&t, FIXTURE_EPOCH, 100, first);
        publish(&t, FIXTURE_EPOCH + 1, 101, 3);
        assert_int_equal(maps(&t, "v0a0"), 2);
        assert_int_equal(maps(&t, "a0"), 2);
        store_destroy(t.store);
    }
}

static void inits_of_tracks_that_went_are_there(void **state) {
    (void)state;
    struct target t = make();
    publish(&t, FIXTURE_EPOCH, 100, 3);
    publish(&t, FIXTURE_EPOCH + 1, 101, 1);
    assert_int_equal(maps(&t, "v0"), 2);
    assert_non_null(render_init(t.stream, "v0a0", 1).blob); /* listed a moment ago */
    assert_null(render_init(t.stream, "v0a0", 2).blob);
    assert_null(render_init(t.stream, "v0", 3).blob);
    assert_null(render_playlist(t.stream, RENDER_MEDIA, "v0a0", PLAYLIST_MUXED_AUTO, NULL, false));
    store_destroy(t.store);
}

static void multivariant_follows_the_tracks_at_once(void **state) {
    (void)state;
    struct target t = make();
    publish(&t, FIXTURE_EPOCH, 100, 1);
    struct blob *before = render_playlist(t.stream, RENDER_MULTIVARIANT, "", PLAYLIST_MUXED_AUTO, NULL, false);
    assert_ptr_equal(render_playlist(t.stream, RENDER_MULTIVARIANT, "", PLAYLIST_MUXED_AUTO, NULL, false), before);
    apply(&t, fixture_open(name, FIXTURE_EPOCH + 1, 2));
    struct blob *after = render_playlist(t.stream, RENDER_MULTIVARIANT, "", PLAYLIST_MUXED_AUTO, NULL, false);
    char text[8192];
    snprintf(text, sizeof text, "%.*s", (int)after->len, (const char *)after->data);
    assert_non_null(strstr(text, "\nv0a0.m3u8\n"));
    store_destroy(t.store);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(listed_inits_are_there_when_tracks_have_changed),
        cmocka_unit_test(inits_of_tracks_that_went_are_there),
        cmocka_unit_test(multivariant_follows_the_tracks_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
