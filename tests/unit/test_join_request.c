#include "ingest/join_request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void queries_name_a_rung_or_a_language(void **state) {
    (void)state;
    static const struct {
        const char *query;
        bool ok;
        enum join_kind kind;
        const char *label;
    } want[] = {{"", true, JOIN_NONE, ""},
                {"key=rung=low", true, JOIN_NONE, ""},
                {"&&rung=low&", true, JOIN_RUNG, "low"},
                {"key=a&audio=zh-Hant-TW", true, JOIN_AUDIO, "zh-Hant-TW"},
                {"rung=v_1-b", true, JOIN_RUNG, "v_1-b"},
                {"rung=", false, JOIN_NONE, ""},
                {"rung=a%20b", false, JOIN_NONE, ""},
                {"rung=a&rung=a", false, JOIN_NONE, ""},
                {"audio=de\"", false, JOIN_NONE, ""}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        struct join_request request = {JOIN_AUDIO, "untouched"};
        char text[64];
        if (join_request_parse(want[i].query, strlen(want[i].query), &request) != want[i].ok)
            fail_msg("\"%s\"", want[i].query);
        assert_string_equal(request.label, want[i].ok ? want[i].label : "untouched");
        if (!want[i].ok || want[i].kind == JOIN_NONE)
            continue;
        assert_int_equal(request.kind, want[i].kind);
        join_request_print(&request, text, sizeof text);
        assert_non_null(strstr(want[i].query, text));
    }
}

static void names_end_with_suffixes(void **state) {
    (void)state;
    static char *const suffixes[] = {"_low", "_very_low", "720"};
    static const struct {
        const char *name, *rest, *label; /* label NULL: it is no rung */
    } want[] = {{"show_low", "show", "low"},
                {"show_very_low", "show", "very_low"},
                {"show720", "show", "720"},
                {"_low", "_low", NULL},
                {"show_lower", "show_lower", NULL},
                {"show", "show", NULL},
                {"", "", NULL}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        struct join_request request = {0};
        char name[64];
        snprintf(name, sizeof name, "%s", want[i].name);
        assert_int_equal(join_request_by_name(suffixes, 3, name, &request), want[i].label != NULL);
        assert_string_equal(name, want[i].rest);
        assert_string_equal(request.label, want[i].label ? want[i].label : "");
        assert_false(join_request_by_name(NULL, 0, name, &request));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queries_name_a_rung_or_a_language),
        cmocka_unit_test(names_end_with_suffixes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
