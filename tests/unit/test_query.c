#include "relay/query.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void directives_come_in_any_order_among_others(void **state) {
    (void)state;
    struct hls_query q;
    const char *why;
    assert_int_equal(hls_query_parse("CMCD=bl%3D1&_HLS_part=3&_HLS_skip=YES&_HLS_msn=273", &q, &why), 0);
    assert_true(q.blocking && q.skip);
    assert_int_equal(q.msn, 273);
    assert_int_equal(q.part, 3);
    assert_int_equal(hls_query_parse("", &q, &why), 0);
    assert_false(q.blocking || q.skip);
    assert_int_equal(hls_query_parse("_HLS_skip=no", &q, &why), 0);
    assert_false(q.skip);
}

static void nonsense_is_refused_with_words(void **state) {
    (void)state;
    static const char *const bad[] = {"_HLS_part=1",
                                      "_HLS_msn=",
                                      "_HLS_msn=-1",
                                      "_HLS_msn=1x",
                                      "_HLS_msn=99999999999999999999",
                                      "_HLS_msn=5&_HLS_part=",
                                      "_HLS_msn=5&_HLS_part=99999999999",
                                      "_HLS_msn"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct hls_query q = {.msn = 77};
        const char *why = NULL;
        assert_int_equal(hls_query_parse(bad[i], &q, &why), -EINVAL);
        assert_non_null(why);
        assert_int_equal(q.msn, 77);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(directives_come_in_any_order_among_others),
        cmocka_unit_test(nonsense_is_refused_with_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
