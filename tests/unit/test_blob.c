#include "common/base/blob.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <string.h>

static void create_copy_holds_the_bytes(void **state) {
    (void)state;
    char bytes[] = "moof";
    struct blob *blob = blob_create_copy(bytes, 4);
    bytes[0] = 'x';
    assert_int_equal(blob->len, 4);
    assert_memory_equal(blob->data, "moof", 4);
    blob_unref(blob);
}

static void empty_blob_from_nothing(void **state) {
    (void)state;
    struct blob *blob = blob_create_copy(NULL, 0);
    assert_int_equal(blob->len, 0);
    blob_unref(blob);
}

static void last_unref_frees(void **state) {
    (void)state;
    struct blob *blob = blob_create(1000);
    memset(blob->data, 7, 1000);
    assert_ptr_equal(blob_ref(blob), blob);
    assert_int_equal(atomic_load(&blob->refs), 2);
    blob_unref(blob);
    assert_int_equal(blob->data[999], 7);
    blob_unref(blob); /* the leak and use-after-free checks of ASan are the assertion */
}

static void unref_null_is_allowed(void **state) {
    (void)state;
    blob_unref(NULL);
}

static void *ref_and_unref(void *arg) {
    struct blob *blob = arg;
    for (int i = 0; i < 20000; i++)
        blob_unref(blob_ref(blob));
    blob_unref(blob);
    return NULL;
}

static void threads_share_a_blob(void **state) {
    (void)state;
    pthread_t threads[4];
    struct blob *blob = blob_create(64);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ref_and_unref, blob_ref(blob)), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&blob->refs), 1);
    blob_unref(blob);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(create_copy_holds_the_bytes),
        cmocka_unit_test(empty_blob_from_nothing),
        cmocka_unit_test(last_unref_frees),
        cmocka_unit_test(unref_null_is_allowed),
        cmocka_unit_test(threads_share_a_blob),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
