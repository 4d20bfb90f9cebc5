#include "relay/page.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static const char *asset_text(const struct page_asset *asset, size_t *ret_len) {
    *ret_len = asset->identity.slice.len;
    return (const char *)asset->identity.slice.blob->data + asset->identity.slice.off;
}

static bool page_contains(const char *needle) {
    size_t len;
    const char *text = asset_text(page_asset_find("index.html"), &len);
    return memmem(text, len, needle, strlen(needle)) != NULL;
}

static void page_is_a_whole_document(void **state) {
    (void)state;
    const struct page_asset *page = page_asset_find("index.html");
    assert_non_null(page);
    size_t len;
    const char *text = asset_text(page, &len);
    assert_memory_equal(text, "<!doctype html>", 15);
    assert_memory_equal(text + len - 8, "</html>\n", 8);
    assert_string_equal(page->content_type, "text/html; charset=utf-8");
    assert_false(page->immutable);
    assert_false(page_contains("{{")); /* a mark of the template */
}

static void page_has_a_policy_without_unsafe_sources(void **state) {
    (void)state;
    const char *policy = page_asset_find("index.html")->policy;
    assert_non_null(strstr(policy, "default-src 'none'"));
    assert_non_null(strstr(policy, "script-src 'self' 'sha256-"));
    assert_null(strstr(policy, "unsafe"));
    assert_false(page_contains(" style=\""));
    assert_false(page_contains(" onclick="));
}

static void page_names_the_script_that_is_there(void **state) {
    (void)state;
    for (size_t i = 0; i < page_asset_count; i++) {
        const struct page_asset *asset = &page_assets[i];
        assert_ptr_equal(page_asset_find(asset->name), asset);
        if (asset->immutable) {
            assert_true(page_contains(asset->name));
            assert_string_equal(asset->content_type, "text/javascript; charset=utf-8");
        }
    }
    assert_int_equal(page_asset_count, 2);
}

static void unknown_names_are_not_found(void **state) {
    (void)state;
    assert_null(page_asset_find(""));
    assert_null(page_asset_find("index.htm"));
    assert_null(page_asset_find("../index.html"));
}

static void codings_have_their_own_strong_tags(void **state) {
    (void)state;
    for (size_t i = 0; i < page_asset_count; i++) {
        const struct page_asset *asset = &page_assets[i];
        assert_int_equal(asset->identity.etag[0], '"');
        assert_int_equal(asset->gzip.etag[0], '"');
        assert_string_not_equal(asset->identity.etag, asset->gzip.etag);
    }
}

/* The last four bytes of gzip are the length of what was compressed (RFC 1952 §2.3.1). */
static void gzip_body_is_of_the_same_asset_and_smaller(void **state) {
    (void)state;
    for (size_t i = 0; i < page_asset_count; i++) {
        const struct slice *plain = &page_assets[i].identity.slice, *gzip = &page_assets[i].gzip.slice;
        assert_true(gzip->len < plain->len / 2);
        assert_memory_equal(gzip->blob->data, "\x1f\x8b\x08", 3);
        const uint8_t *end = gzip->blob->data + gzip->len;
        assert_int_equal(end[-4] | end[-3] << 8 | end[-2] << 16 | (uint32_t)end[-1] << 24, plain->len);
    }
}

static void static_blob_outlives_its_users(void **state) {
    (void)state;
    struct blob *blob = page_asset_find("index.html")->gzip.slice.blob;
    assert_int_equal(blob->len, page_asset_find("index.html")->gzip.slice.len);
    assert_int_equal(atomic_load(&blob->refs), 1);
    blob_unref(blob_ref(blob));
    assert_int_equal(atomic_load(&blob->refs), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(page_is_a_whole_document),
        cmocka_unit_test(page_has_a_policy_without_unsafe_sources),
        cmocka_unit_test(page_names_the_script_that_is_there),
        cmocka_unit_test(unknown_names_are_not_found),
        cmocka_unit_test(codings_have_their_own_strong_tags),
        cmocka_unit_test(gzip_body_is_of_the_same_asset_and_smaller),
        cmocka_unit_test(static_blob_outlives_its_users),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
