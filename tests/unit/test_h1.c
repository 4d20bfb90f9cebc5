/* The request parser against everything that two parsers could read differently: the vectors of request smuggling, of
 * syntax, and of the limits; each also byte by byte. */
#include "common/http/h1.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct http_limits limits = {.line_bytes_max = 64,
                                          .head_bytes_max = 256,
                                          .headers_max = 4,
                                          .body_bytes_max = 1000};

struct vector {
    const char *name;
    int result;
    const char *text;
    size_t len; /* 0: strlen(text) */
};
#define H "Host: a\r\n"

static const struct vector heads[] = {
    {"plain", H1_DONE, "GET / HTTP/1.1\r\n" H "\r\n"},
    {"empty_line_first", H1_DONE, "\r\nGET / HTTP/1.1\r\n" H "\r\n"},
    {"http_1_0_without_host", H1_DONE, "GET / HTTP/1.0\r\n\r\n"},
    {"empty_host", H1_DONE, "GET / HTTP/1.1\r\nHost:\r\n\r\n"},
    {"host_ipv6_port", H1_DONE, "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"},
    {"value_with_8_bit", H1_DONE, "GET / HTTP/1.1\r\n" H "X: \xc3\xa9\r\n\r\n"},
    {"value_empty", H1_DONE, "GET / HTTP/1.1\r\n" H "X:\r\n\r\n"},
    {"options_asterisk", H1_DONE, "OPTIONS * HTTP/1.1\r\n" H "\r\n"},
    {"absolute_form", H1_DONE, "GET http://a:80/x?y HTTP/1.1\r\n" H "\r\n"},
    {"absolute_form_no_path", H1_DONE, "GET http://a HTTP/1.1\r\n" H "\r\n"},
    {"length", H1_DONE, "POST / HTTP/1.1\r\n" H "Content-Length: 0042\r\n\r\n"},
    {"chunked", H1_DONE, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: Chunked\r\n\r\n"},
    {"no_end", H1_MORE, "GET / HTTP/1.1\r\n" H},
    {"nothing", H1_MORE, ""},
    /* line ends and control characters */
    {"bare_lf_request_line", 400, "GET / HTTP/1.1\n" H "\r\n"},
    {"bare_lf_field", 400, "GET / HTTP/1.1\r\nHost: a\n\r\n"},
    {"bare_lf_end", 400, "GET / HTTP/1.1\r\n" H "\n"},
    {"bare_cr_value", 400, "GET / HTTP/1.1\r\n" H "X: a\rb\r\n\r\n"},
    {"cr_cr_lf", 400, "GET / HTTP/1.1\r\n" H "X: a\r\r\n\r\n"},
    {"bare_cr_line", 400, "GET /\r HTTP/1.1\r\n" H "\r\n"},
    {"nul_value", 400, "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 35},
    {"nul_target", 400, "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 28},
    {"control_in_value", 400, "GET / HTTP/1.1\r\n" H "X: \x01\r\n\r\n"},
    {"del_in_value", 400, "GET / HTTP/1.1\r\n" H "X: \x7f\r\n\r\n"},
    {"two_empty_lines_first", 400, "\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n"},
    {"lf_first", 400, "\nGET / HTTP/1.1\r\n" H "\r\n"},
    {"tls_hello", 400, "\x16\x03\x01"},
    /* names */
    {"folded", 400, "GET / HTTP/1.1\r\n" H "X: a\r\n b\r\n\r\n"},
    {"folded_tab", 400, "GET / HTTP/1.1\r\n" H "X: a\r\n\tb\r\n\r\n"},
    {"folded_first", 400, "GET / HTTP/1.1\r\n Host: a\r\n\r\n"},
    {"blank_before_colon", 400, "GET / HTTP/1.1\r\nHost : a\r\n\r\n"},
    {"tab_before_colon", 400, "POST / HTTP/1.1\r\n" H "Transfer-Encoding\t: chunked\r\n\r\n"},
    {"empty_name", 400, "GET / HTTP/1.1\r\n" H ": a\r\n\r\n"},
    {"no_colon", 400, "GET / HTTP/1.1\r\n" H "nonsense\r\n\r\n"},
    {"control_in_name", 400, "GET / HTTP/1.1\r\n" H "X\x01: a\r\n\r\n"},
    {"8_bit_name", 400, "GET / HTTP/1.1\r\n" H "X\xe9: a\r\n\r\n"},
    {"bracket_in_name", 400, "GET / HTTP/1.1\r\n" H "X(: a\r\n\r\n"},
    /* host */
    {"host_missing", 400, "GET / HTTP/1.1\r\n\r\n"},
    {"host_twice", 400, "GET / HTTP/1.1\r\n" H "host: b\r\n\r\n"},
    {"host_twice_1_0", 400, "GET / HTTP/1.0\r\n" H H "\r\n"},
    {"host_list", 400, "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"},
    {"host_path", 400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"},
    {"host_user", 400, "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"},
    /* body lengths */
    {"length_twice", 400, "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 40\r\n\r\n"},
    {"length_twice_same", 400, "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 5\r\n\r\n"},
    {"length_list", 400, "POST / HTTP/1.1\r\n" H "Content-Length: 5, 5\r\n\r\n"},
    {"length_plus", 400, "POST / HTTP/1.1\r\n" H "Content-Length: +5\r\n\r\n"},
    {"length_minus", 400, "POST / HTTP/1.1\r\n" H "Content-Length: -1\r\n\r\n"},
    {"length_hex", 400, "POST / HTTP/1.1\r\n" H "Content-Length: 0x5\r\n\r\n"},
    {"length_blank", 400, "POST / HTTP/1.1\r\n" H "Content-Length: 1 2\r\n\r\n"},
    {"length_empty", 400, "POST / HTTP/1.1\r\n" H "Content-Length:\r\n\r\n"},
    {"length_overflow", 413, "POST / HTTP/1.1\r\n" H "Content-Length: 18446744073709551617\r\n\r\n"},
    {"length_overflow_far", 413, "POST / HTTP/1.1\r\n" H "Content-Length: 99999999999999999999999999\r\n\r\n"},
    {"coding_and_length", 400, "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {"length_and_coding", 400, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"},
    {"coding_twice", 400, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {"coding_empty", 400, "POST / HTTP/1.1\r\n" H "Transfer-Encoding:\r\n\r\n"},
    {"coding_1_0", 400, "POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n"},
    {"coding_list", 501, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n"},
    {"coding_x", 501, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n"},
    {"coding_identity", 501, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: identity\r\n\r\n"},
    {"coding_vt", 400,
     "POST / HTTP/1.1\r\n" H "Transfer-Encoding: \x0b"
     "chunked\r\n\r\n"},
    /* request line */
    {"method_unknown", 501, "BREW / HTTP/1.1\r\n" H "\r\n"},
    {"method_case", 501, "get / HTTP/1.1\r\n" H "\r\n"},
    {"method_connect", 400, "CONNECT a:80 HTTP/1.1\r\n" H "\r\n"},
    {"method_bad", 400, "G(T / HTTP/1.1\r\n" H "\r\n"},
    {"http_0_9", 400, "GET /\r\n" H "\r\n"},
    {"http_2", 505, "PRI * HTTP/2.0\r\n\r\n"},
    {"http_1_2", 505, "GET / HTTP/1.2\r\n" H "\r\n"},
    {"http_1_999", 400, "GET / HTTP/1.999\r\n" H "\r\n"},
    {"http_lower_case", 400, "GET / http/1.1\r\n" H "\r\n"},
    {"two_blanks", 400, "GET  / HTTP/1.1\r\n" H "\r\n"},
    {"two_blanks_later", 400, "GET /  HTTP/1.1\r\n" H "\r\n"},
    {"tab_blank", 400, "GET\t/ HTTP/1.1\r\n" H "\r\n"},
    {"trailing_blank", 400, "GET / HTTP/1.1 \r\n" H "\r\n"},
    {"blank_in_target", 400, "GET /a b HTTP/1.1\r\n" H "\r\n"},
    {"8_bit_target", 400, "GET /\xe9 HTTP/1.1\r\n" H "\r\n"},
    {"angle_in_target", 400, "GET /<x> HTTP/1.1\r\n" H "\r\n"},
    {"fragment", 400, "GET /a#b HTTP/1.1\r\n" H "\r\n"},
    {"relative_target", 400, "GET a HTTP/1.1\r\n" H "\r\n"},
    {"asterisk_get", 400, "GET * HTTP/1.1\r\n" H "\r\n"},
    {"absolute_user", 400, "GET http://u@a/ HTTP/1.1\r\n" H "\r\n"},
    {"absolute_no_host", 400, "GET http:/// HTTP/1.1\r\n" H "\r\n"},
    {"absolute_ftp", 400, "GET ftp://a/ HTTP/1.1\r\n" H "\r\n"},
    /* limits */
    {"line_at_limit", H1_DONE, "GET /12345678901234567890123456789012345678901234567890 HTTP/1.1\r\n" H "\r\n"},
    {"line_too_long", 414, "GET /123456789012345678901234567890123456789012345678901 HTTP/1.1\r\n" H "\r\n"},
    {"line_too_long_unended", 414, "GET /345678901234567890123456789012345678901234567890123456789012345"},
    {"too_many_fields", 431, "GET / HTTP/1.1\r\n" H "A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n\r\n"},
    {"head_too_long", 431,
     "GET / HTTP/1.1\r\n" H "A: 12345678901234567890123456789012345678901234567890123456789012345678901234567890"
     "12345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890"
     "123456789012345678901234567890123456789012345678901234567890\r\n\r\n"},
    {"head_too_long_unended", 431,
     "GET / HTTP/1.1\r\n" H "A: 12345678901234567890123456789012345678901234567890123456789012345678901234567890"
     "12345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890"
     "123456789012345678901234567890123456789012345678901234567890"},
};

static int parse(const char *text, size_t len, struct h1_head *head) {
    uint8_t *exact = malloc(len ? len : 1); /* exactly as long, for ASan */
    assert_non_null(exact);
    memcpy(exact, text, len);
    int r = h1_head_parse(exact, len, &limits, head);
    free(exact);
    return r;
}

static void heads_by_vector(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        struct h1_head head;
        size_t len = heads[i].len ? heads[i].len : strlen(heads[i].text);
        int r = parse(heads[i].text, len, &head);
        if (r != heads[i].result)
            fail_msg("%s: %d, not %d", heads[i].name, r, heads[i].result);
        if (r == H1_DONE && head.size != len)
            fail_msg("%s: takes %zu of %zu bytes", heads[i].name, head.size, len);
        /* Bytes that come one by one lead to the same end, and nothing is accepted early. */
        int early = H1_MORE;
        for (size_t n = 0; n < len && early == H1_MORE; n++)
            early = parse(heads[i].text, n, &head);
        if (early != H1_MORE && early != r)
            fail_msg("%s: %d from a part, %d from the whole", heads[i].name, early, r);
    }
}

static void assert_span(const char *text, struct h1_span span, const char *expected) {
    assert_int_equal(span.len, strlen(expected));
    assert_memory_equal(text + span.off, expected, span.len);
}

static void head_fields_and_target(void **state) {
    (void)state;
    const char *text = "POST /a%20b?k=v&x HTTP/1.1\r\nHost: h\r\nX-Y: \t v w \t\r\ncontent-length: 7\r\n\r\nbody GET";
    struct h1_head head;
    assert_int_equal(parse(text, strlen(text), &head), H1_DONE);
    assert_int_equal(head.method, HTTP_POST);
    assert_int_equal(head.minor, 1);
    assert_span(text, head.path, "/a%20b");
    assert_span(text, head.query, "k=v&x");
    assert_int_equal(head.field_count, 3);
    assert_span(text, head.fields[1].name, "X-Y");
    assert_span(text, head.fields[1].value, "v w");
    assert_int_equal(head.content_length, 7);
    assert_int_equal(head.size, strlen(text) - 8);
}

static void absolute_form_gives_path(void **state) {
    (void)state;
    const char *text = "GET HTTP://a:8080/p?q HTTP/1.1\r\n" H "\r\n";
    struct h1_head head;
    assert_int_equal(parse(text, strlen(text), &head), H1_DONE);
    assert_span(text, head.path, "/p");
    assert_span(text, head.query, "q");
}

static void persistence_by_version_and_connection(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool keep_alive;
    } cases[] = {
        {"GET / HTTP/1.1\r\n" H "\r\n", true},
        {"GET / HTTP/1.1\r\n" H "Connection: close\r\n\r\n", false},
        {"GET / HTTP/1.1\r\n" H "Connection: TE , Close\r\n\r\n", false},
        {"GET / HTTP/1.1\r\n" H "Connection: closed\r\n\r\n", true},
        {"GET / HTTP/1.0\r\n\r\n", false},
        {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true},
        {"GET / HTTP/1.0\r\nConnection: keep-alive,close\r\n\r\n", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct h1_head head;
        assert_int_equal(parse(cases[i].text, strlen(cases[i].text), &head), H1_DONE);
        assert_int_equal(head.keep_alive, cases[i].keep_alive);
    }
}

static void expect_continue_only_on_1_1(void **state) {
    (void)state;
    struct h1_head head;
    const char *v11 = "POST / HTTP/1.1\r\n" H "Expect: 100-Continue\r\n\r\n",
               *v10 = "POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n";
    assert_int_equal(parse(v11, strlen(v11), &head), H1_DONE);
    assert_true(head.expect_continue);
    assert_int_equal(parse(v10, strlen(v10), &head), H1_DONE);
    assert_false(head.expect_continue);
}

/* Decodes in pieces of `step` bytes; the result, and the body in `out`. */
static int decode(const char *text, size_t len, size_t step, char *out, size_t *ret_used) {
    struct h1_chunked chunked = {0};
    size_t pos = 0, n = 0;
    int r = H1_MORE;
    while (pos < len && r == H1_MORE) {
        size_t used, run, run_len, piece = len - pos < step ? len - pos : step;
        r = h1_chunked_next(&chunked, (const uint8_t *)text + pos, piece, &used, &run, &run_len);
        assert_true(used <= piece && run + run_len <= used);
        assert_true(used > 0);
        memcpy(out + n, text + pos + run, run_len);
        n += run_len;
        pos += used;
    }
    out[n] = '\0';
    *ret_used = pos;
    return r;
}

static void chunked_by_vector(void **state) {
    (void)state;
    static const struct vector bodies[] = {
        {"empty", H1_DONE, "0\r\n\r\n"},
        {"two_chunks", H1_DONE, "3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n"},
        {"extensions", H1_DONE, "3;a=\"b\";c\r\nabc\r\n0;x\r\n\r\n"},
        {"trailers", H1_DONE, "0\r\nA: b\r\nContent-Length: 5\r\n\r\n"},
        {"leading_zeros", H1_DONE, "000000000000003\r\nabc\r\n00\r\n\r\n"},
        {"unended", H1_MORE, "3\r\nabc\r\n0\r\n"},
        {"huge_size", H1_MORE, "fffffffffffffff\r\nabc"},
        {"size_overflow", 400, "1000000000000003\r\nabc\r\n0\r\n\r\n"},
        {"size_0x", 400, "0x5\r\nabcde\r\n0\r\n\r\n"},
        {"size_plus", 400, "+5\r\nabcde\r\n0\r\n\r\n"},
        {"size_blank", 400, " 5\r\nabcde\r\n0\r\n\r\n"},
        {"size_blank_after", 400, "5 \r\nabcde\r\n0\r\n\r\n"},
        {"size_empty", 400, "\r\nabcde\r\n0\r\n\r\n"},
        {"size_negative", 400, "-1\r\n\r\n"},
        {"lf_only", 400, "5\nabcde\n0\n\n"},
        {"lf_after_data", 400, "5\r\nabcde\n0\r\n\r\n"},
        {"data_too_long", 400, "3\r\nabcd\r\n0\r\n\r\n"},
        {"cr_without_lf", 400, "3\rabc\r\n0\r\n\r\n"},
        {"cr_in_extension", 400, "3;a\rb\r\nabc\r\n0\r\n\r\n"},
        {"nul_in_extension", 400, "3;\0\r\nabc\r\n0\r\n\r\n", 15},
        {"trailer_folded", 400, "0\r\nA: b\r\n c\r\n\r\n"},
        {"trailer_no_colon", 400, "0\r\nabc\r\n\r\n"},
        {"trailer_empty_name", 400, "0\r\n: b\r\n\r\n"},
        {"trailer_bare_lf", 400, "0\r\nA: b\n\r\n"},
        {"last_lf", 400, "0\r\n\n"},
    };
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        for (size_t step = 1; step < 40; step++) {
            char out[256];
            size_t used, len = bodies[i].len ? bodies[i].len : strlen(bodies[i].text);
            int r = decode(bodies[i].text, len, step, out, &used);
            if (r != bodies[i].result)
                fail_msg("%s by %zu: %d, not %d", bodies[i].name, step, r, bodies[i].result);
        }
}

static void chunked_body_and_what_follows(void **state) {
    (void)state;
    const char *text = "3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\nGET / HTTP/1.1\r\n";
    for (size_t step = 1; step < 60; step++) {
        char out[64];
        size_t used;
        assert_int_equal(decode(text, strlen(text), step, out, &used), H1_DONE);
        assert_string_equal(out, "abcde");
        assert_string_equal(text + used, "GET / HTTP/1.1\r\n");
    }
}

static void chunked_extension_and_trailer_limits(void **state) {
    (void)state;
    static char text[H1_TRAILER_BYTES_MAX + 64], out[64];
    size_t used;
    memset(text, 'x', sizeof text);
    memcpy(text, "1;", 2);
    assert_int_equal(decode(text, 2 + H1_EXTENSION_BYTES_MAX, 1000, out, &used), H1_MORE);
    assert_int_equal(decode(text, 2 + H1_EXTENSION_BYTES_MAX + 1, 1000, out, &used), 400);
    memcpy(text, "0\r\nA:", 5);
    assert_int_equal(decode(text, sizeof text, 1000, out, &used), 400);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_by_vector),
        cmocka_unit_test(head_fields_and_target),
        cmocka_unit_test(absolute_form_gives_path),
        cmocka_unit_test(persistence_by_version_and_connection),
        cmocka_unit_test(expect_continue_only_on_1_1),
        cmocka_unit_test(chunked_by_vector),
        cmocka_unit_test(chunked_body_and_what_follows),
        cmocka_unit_test(chunked_extension_and_trailer_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
