#include "ingest/source_url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "ingest/backoff.h"

static struct source_url parsed(const char *text) {
    struct source_url url;
    const char *why = "";
    int rc = source_url_parse(text, &url, &why);
    if (rc)
        print_error("%s: %s\n", text, why);
    assert_int_equal(rc, 0);
    return url;
}

static void urls_lead_somewhere(void **state) {
    static const struct {
        const char *text, *host;
        enum source_scheme scheme;
        uint16_t port;
    } cases[] = {
        {"rtmp://192.0.2.9/live/cam", "192.0.2.9", SOURCE_RTMP, 1935},
        {"rtmps://example.org/live/cam?x=1", "example.org", SOURCE_RTMPS, 443},
        {"rtmp://[2001:db8::1]:1936/live/cam", "2001:db8::1", SOURCE_RTMP, 1936},
        {"http://user:pw@example.org:8080", "example.org", SOURCE_HTTP, 8080},
        {"https://example.org/live.m3u8", "example.org", SOURCE_HTTPS, 443},
        {"srt://192.0.2.8:9000", "192.0.2.8", SOURCE_SRT, 9000},
        {"file:/srv/a clip.mp4", "", SOURCE_FILE, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct source_url url = parsed(cases[i].text);
        assert_string_equal(url.text, cases[i].text);
        assert_string_equal(url.host, cases[i].host);
        assert_int_equal(url.scheme, cases[i].scheme);
        assert_int_equal(url.port, cases[i].port);
    }
}

static void srt_has_parameters(void **state) {
    (void)state;
    struct source_url url =
        parsed("srt://192.0.2.8:9000/?mode=caller&streamid=%23!::r=a/b%26c,m=request&passphrase=ten%20chars%21&"
               "pbkeylen=24&latency=250");
    assert_string_equal(url.srt.stream_id, "#!::r=a/b&c,m=request");
    assert_string_equal(url.srt.passphrase, "ten chars!");
    assert_int_equal(url.srt.key_bytes, 24);
    assert_int_equal(url.srt.latency_ms, 250);
    url = parsed("srt://192.0.2.8:9000?streamid=live/cam?key=x");
    assert_string_equal(url.srt.stream_id, "live/cam?key=x");
    assert_string_equal(url.srt.passphrase, "");
    assert_int_equal(url.srt.latency_ms, SOURCE_LATENCY_MS);
}

static void what_is_wrong_is_said(void **state) {
    static const char *const cases[][2] = {
        {"udp://192.0.2.9:5000", "begins with none of"},
        {"rtmp://192.0.2.9", "no app and stream"},
        {"rtmp://192.0.2.9/live", "no app and stream"},
        {"rtmp://u:p@192.0.2.9/live/cam", "has a user"},
        {"http:///x", "no host"},
        {"http://a_b!/x", "characters that names"},
        {"http://[::1/x", "doesn't end"},
        {"http://h:/x", "no port behind"},
        {"http://h:99999/x", "beyond 65535"},
        {"http://h:12a/x", "no port behind"},
        {"http://h/a b", "percent-encoded"},
        {"http://h/\xc3\xa4", "percent-encoded"},
        {"srt://192.0.2.8", "has no port"},
        {"srt://encoder.example:9000", "needs an IP address"},
        {"srt://192.0.2.8:0", "has no port"},
        {"srt://192.0.2.8:9000/live", "a path"},
        {"srt://192.0.2.8:9000?mode=listener", "other than caller"},
        {"srt://192.0.2.8:9000?passphrase=short", "10 to 79"},
        {"srt://192.0.2.8:9000?pbkeylen=20", "16, 24 and 32"},
        {"srt://192.0.2.8:9000?latency=10", "20 to 8000"},
        {"srt://192.0.2.8:9000?latency=99999999999", "20 to 8000"},
        {"srt://192.0.2.8:9000?streamid=%4", "badly encoded"},
        {"srt://192.0.2.8:9000?streamid=%00", "badly encoded"},
        {"srt://192.0.2.8:9000?streamid", "without a value"},
        {"srt://192.0.2.8:9000?linger=1", "other than streamid"},
        {"file:", "no file"},
        {"http://bob:it's@h/x", "percent-encoded"},
        {"http://h/x?token=a\"b", "percent-encoded"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct source_url url;
        const char *why = "";
        if (!source_url_parse(cases[i][0], &url, &why) || !strstr(why, cases[i][1]))
            fail_msg("%s: \"%s\"", cases[i][0], why);
    }
    char text[SOURCE_URL_MAX + 16] = "http://h/";
    struct source_url url;
    const char *why;
    memset(text + 9, 'a', SOURCE_URL_MAX);
    assert_int_not_equal(source_url_parse(text, &url, &why), 0);
    assert_non_null(strstr(why, "longer"));
}

static void secrets_are_not_shown(void **state) {
    static const char *const cases[][2] = {
        {"https://user:pw@example.org/live.m3u8?token=x", "https://example.org/live.m3u8?"},
        {"https://a@b@example.org#x", "https://example.org?"},
        {"srt://192.0.2.8:9000?passphrase=0123456789", "srt://192.0.2.8:9000?"},
        {"rtmp://h/live/cam", "rtmp://h/live/cam"},
        {"http://u:p@h/http://v:q@i/x?y", "http://h/http://i/x?"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(parsed(cases[i][0]).shown, cases[i][1]);
    char line[] = "no 'http://u:p@h/x?y=1' nor rtmp://h/a/b?c=d, mail@home: a/b?c";
    source_url_scrub(line);
    assert_string_equal(line, "no 'http://h/x?' nor rtmp://h/a/b? mail@home: a/b?c");
}

static void waits_grow_to_half_a_minute(void **state) {
    struct backoff backoff = {0};
    (void)state;
    for (int64_t us = 1000000; us < 30000000; us *= 2)
        assert_int_equal(backoff_fail(&backoff, 0), us);
    assert_int_equal(backoff_fail(&backoff, 0), 30000000);
    assert_in_range(backoff_fail(&backoff, 1023), 22500000, 23000000);
    assert_int_equal(backoff_fail(&backoff, 1024), 30000000);
    backoff_succeed(&backoff);
    assert_in_range(backoff_fail(&backoff, UINT32_MAX), 750000, 760000);
    backoff_give_up(&backoff);
    assert_int_equal(backoff_fail(&backoff, 0), 30000000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_lead_somewhere),         cmocka_unit_test(srt_has_parameters),
        cmocka_unit_test(what_is_wrong_is_said),       cmocka_unit_test(secrets_are_not_shown),
        cmocka_unit_test(waits_grow_to_half_a_minute),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
