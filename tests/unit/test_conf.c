#include "conf/conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "conf/schema.h"

#define ROLES "http: {listen: [\"[::]:8080\"]}\ningest: {rtmp: {listen: [\"[::]:1935\"]}}\norigin: {}\nrelay: {}\n"

static struct buf errors;

static const char *error_text(void) {
    buf_append(&errors, "", 1);
    const char *text = (const char *)buf_head(&errors);
    return text ? text : "";
}

static struct conf *parse_len(const char *text, size_t len) {
    buf_finish(&errors);
    buf_init(&errors, 64 << 10);
    return conf_parse("f", text, len, &errors);
}

static struct conf *parse(const char *text) {
    return parse_len(text, strlen(text));
}

static struct conf *parse_good(const char *text) {
    struct conf *conf = parse(text);
    if (!conf)
        print_error("%s", error_text());
    assert_non_null(conf);
    assert_int_equal(buf_len(&errors), 0);
    return conf;
}

static void assert_refused(const char *text, const char *message) {
    struct conf *conf = parse(text);
    assert_null(conf);
    assert_string_equal(error_text(), message);
}

static void assert_refused_with(const char *text, const char *part) {
    struct conf *conf = parse(text);
    assert_null(conf);
    const char *line = error_text();
    if (!strstr(line, part))
        print_error("%s", line);
    assert_non_null(strstr(line, part));
}

static unsigned error_lines(void) {
    unsigned lines = 0;
    for (size_t i = 0; i < buf_len(&errors); i++)
        lines += buf_head(&errors)[i] == '\n';
    return lines;
}

static char *read_whole(const char *path) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char *text = calloc(1, 1 << 20);
    assert_non_null(text);
    assert_true(fread(text, 1, (1 << 20) - 1, f) > 0);
    fclose(f);
    return text;
}

static void without_a_file_all_roles_are_on_the_default_ports(void **state) {
    (void)state;
    struct conf *conf = conf_create_default();
    assert_true(conf->ingest_on && conf->origin_on && conf->relay_on);
    assert_int_equal(conf->http.listen.count, 1);
    assert_string_equal(conf->http.listen.items[0], "[::]:8080");
    assert_string_equal(conf->admin.listen, "127.0.0.1:8081");
    assert_int_equal(conf->ingest.rtmp_listen.count, 1);
    assert_string_equal(conf->ingest.rtmp_listen.items[0], "[::]:1935");
    assert_string_equal(conf->ingest.srt_listen.items[0], "[::]:8890");
    assert_int_equal(conf->live.segment_ms, 2000);
    assert_int_equal(conf->live.part_ms, 200);
    assert_int_equal(conf->live.window_s, 30);
    assert_int_equal(conf->origin.grace_s, 10);
    assert_int_equal(conf->auth.publish_keys.count, 0);
    assert_int_equal(conf->log.level, CONF_INFO);
    assert_true(strlen(conf->node) > 0);
    assert_null(conf->region);
    conf_destroy(conf);
}

static void with_a_file_only_what_it_names_is_on(void **state) {
    (void)state;
    struct conf *conf = parse_good("origin:\n");
    assert_true(conf->origin_on);
    assert_false(conf->ingest_on || conf->relay_on);
    assert_int_equal(conf->http.listen.count, 0);
    assert_int_equal(conf->ingest.rtmp_listen.count, 0);
    assert_null(conf->admin.listen);
    assert_int_equal(conf->live.window_s, 30);
    conf_destroy(conf);
}

static void every_kind_of_value_arrives(void **state) {
    (void)state;
    struct conf *conf = parse_good("node: edge-sg-1\nregion: 'ap-southeast'\n"
                                   "http:\n  listen:\n  - \"127.0.0.1:0\"\n  - '[::1]:65535'\n  workers: 3\n"
                                   "admin: {listen: '127.0.0.1:8081'}\n"
                                   "ingest: {rtmp: {listen: ['[::]:1935'], connections_max: 7}}\n"
                                   "origin:\nrelay:\nlimits: {memory_mb: 1048576}\n"
                                   "hls: {muxed: never}\nlog: {level: debug, format: json}\n"
                                   "auth: {publish: {keys: [plain, \"live/show:secret\", '*:a:b', live/x*:k]}}\n");
    assert_string_equal(conf->node, "edge-sg-1");
    assert_string_equal(conf->region, "ap-southeast");
    assert_int_equal(conf->http.listen.count, 2);
    assert_string_equal(conf->http.listen.items[1], "[::1]:65535");
    assert_int_equal(conf->http.workers, 3);
    assert_int_equal(conf->ingest.rtmp_connections_max, 7);
    assert_int_equal(conf->limits.memory_mb, 1048576);
    assert_int_equal(conf->hls.muxed, CONF_MUXED_NEVER);
    assert_int_equal(conf->log.level, CONF_DEBUG);
    assert_int_equal(conf->log.format, CONF_JSON);
    assert_int_equal(conf->auth.publish_keys.count, 4);
    assert_string_equal(conf->auth.publish_keys.items[1], "live/show:secret");
    conf_destroy(conf);
}

static void sample_file_is_what_no_file_does(void **state) {
    (void)state;
    buf_finish(&errors);
    buf_init(&errors, 64 << 10);
    struct conf *conf = conf_load("conf/weir.yaml", &errors), *plain = conf_create_default();
    if (!conf)
        print_error("%s", error_text());
    assert_non_null(conf);
    assert_true(conf->ingest_on && conf->origin_on && conf->relay_on);
    assert_string_equal(conf->http.listen.items[0], plain->http.listen.items[0]);
    assert_string_equal(conf->admin.listen, plain->admin.listen);
    for (size_t i = 0; i < schema_count; i++)
        if (schema_settings[i].type == SETTING_INT || schema_settings[i].type == SETTING_ENUM)
            assert_memory_equal((char *)conf + schema_settings[i].offset, (char *)plain + schema_settings[i].offset,
                                schema_settings[i].size);
    conf_destroy(conf);
    conf_destroy(plain);
}

static void sample_file_names_every_setting(void **state) {
    (void)state;
    char *text = read_whole("conf/weir.yaml"), key[80];
    for (size_t i = 0; i < schema_count; i++) {
        const char *dot = strrchr(schema_settings[i].path, '.');
        snprintf(key, sizeof key, "%s:", dot ? dot + 1 : schema_settings[i].path);
        if (!strstr(text, key))
            fail_msg("conf/weir.yaml lacks %s", schema_settings[i].path);
    }
    free(text);
}

/* WEIR_RENEW_DOCS=1 writes the page instead. */
static void settings_page_is_fresh(void **state) {
    (void)state;
    struct buf out;
    buf_init(&out, 1 << 20);
    conf_print_reference(&out);
    if (getenv("WEIR_RENEW_DOCS")) {
        FILE *f = fopen("docs/settings.md", "wb");
        assert_non_null(f);
        assert_int_equal(fwrite(buf_head(&out), 1, buf_len(&out), f), buf_len(&out));
        fclose(f);
    }
    char *page = read_whole("docs/settings.md");
    if (strlen(page) != buf_len(&out) || memcmp(page, buf_head(&out), buf_len(&out)) != 0)
        fail_msg("docs/settings.md is stale; to renew it: WEIR_RENEW_DOCS=1 meson test -C build conf");
    free(page);
    buf_finish(&out);
}

static void unknown_key_is_refused_with_the_likely_one(void **state) {
    (void)state;
    assert_refused("origin: {}\nlive: {windows_s: 30}\n",
                   "f:2: unknown key \"windows_s\" in \"live\", did you mean \"window_s\"?\n");
    assert_refused("origin: {}\nlgo: {}\n", "f:2: unknown key \"lgo\", did you mean \"log\"?\n");
    assert_refused("origin: {}\nwindow_s: 30\n",
                   "f:2: unknown key \"window_s\", did you mean \"window_s\" in \"live\"?\n");
    assert_refused("origin: {region: x}\n",
                   "f:1: unknown key \"region\" in \"origin\", did you mean \"region\" at the top?\n");
    assert_refused("log: {nonsense: [1, {a: 2}]}\norigin: {}\n",
                   "f:1: unknown key \"nonsense\" in \"log\", one of level, format would be right\n");
    assert_refused_with("live.window_s: 30\n", "f:1: unknown key \"live.window_s\", did you mean \"window_s\" in");
}

static void key_that_is_no_text_is_refused(void **state) {
    (void)state;
    assert_refused_with("[a, b]: 1\norigin: {}\n", "f:1: the key is a list");
    assert_refused_with("origin: {{a: 1}: 2}\n", "f:1: the key is a section in \"origin\"");
    assert_refused_with("\"origin\\0x\": {}\n", "f:1: unknown key \"origin?x\"");
}

static void wrong_type_is_refused(void **state) {
    (void)state;
    assert_refused("live:\n  window_s: abc\n",
                   "f:2: live.window_s is \"abc\", a number from 7 to 3600 (s) would be right\n");
    assert_refused("live:\n  window_s: [30]\n",
                   "f:2: live.window_s is a list, a number from 7 to 3600 (s) would be right\n");
    assert_refused("live:\n  window_s: {a: 1}\n",
                   "f:2: live.window_s is a section, a number from 7 to 3600 (s) would be right\n");
    assert_refused("live:\n  window_s:\n", "f:2: live.window_s is empty, a number from 7 to 3600 (s) would be right\n");
    assert_refused("live:\n  window_s: \"30\"\n",
                   "f:2: live.window_s is \"30\", a number from 7 to 3600 (s) without quotes would be right\n");
    assert_refused_with("http: {listen: \"[::]:8080\"}\n", "f:1: http.listen is \"[::]:8080\", a list of");
    assert_refused_with("http: [1]\n", "f:1: http is no section");
    assert_refused_with("relay: true\n", "f:1: relay is no section");
    assert_refused_with("- a\n- b\n", "f:1: the file is no section");
}

static void numbers_out_of_range_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"6",         "3601", "-30",
                                      "030",       "0x1e", "30.5",
                                      "3_0",       "1e2",  "99999999999999999999999999",
                                      "4294967326"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[100];
        snprintf(text, sizeof text, "live: {window_s: %s}\n", bad[i]);
        assert_refused_with(text, "a number from 7 to 3600 (s) would be right\n");
    }
}

static void bounds_themselves_are_accepted(void **state) {
    (void)state;
    for (size_t i = 0; i < schema_count; i++) {
        if (schema_settings[i].type != SETTING_INT)
            continue;
        assert_true(schema_settings[i].min < schema_settings[i].max);
        assert_true(schema_settings[i].size == 8 || schema_settings[i].max <= UINT32_MAX);
    }
    conf_destroy(parse_good("live: {segment_ms: 1000, part_ms: 50, window_s: 7}\norigin: {grace_s: 0}\n"));
    conf_destroy(parse_good("live: {segment_ms: 10000, part_ms: 2000, window_s: 3600}\norigin: {grace_s: 600}\n"));
}

static void word_that_is_no_choice_is_refused(void **state) {
    (void)state;
    assert_refused("log: {level: loud}\norigin: {}\n",
                   "f:1: log.level is \"loud\", one of debug, info, warn, error would be right\n");
    assert_refused_with("log: {level: INFO}\norigin: {}\n", "f:1: log.level is \"INFO\"");
}

static void bad_address_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"8080",          ":8080",         "localhost:80", "[::]",           "::1:8080x",
                                      "127.0.0.1",     "127.0.0.1:",    "127.0.0.1:x",  "1.2.3:80",       "[::1:80",
                                      "[127.0.0.1]:1", "1.2.3.4:65536", "1.2.3.4:-1",   "[fe80::1%lo]:1", "*:80",
                                      "[]:80",         "[:80",          " 1.2.3.4:80"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[100];
        snprintf(text, sizeof text, "origin: {}\nadmin: {listen: \"%s\"}\n", bad[i]);
        assert_refused_with(text, "would be right\n");
        assert_refused_with(text, "f:2: admin.listen is \"");
    }
}

static void bad_publish_key_is_refused_without_showing_it(void **state) {
    (void)state;
    static const char *const bad[] = {"\"two words\"",
                                      "\"\"",
                                      "\"live/show:\"",
                                      "\":secret\"",
                                      "\"li*e:secret\"",
                                      "\"a b:secret\"",
                                      "\"tab\\tsecret\"",
                                      "\"null\\0secret\"",
                                      "\"sécret\"",
                                      "\"sec&ret\"",
                                      "\"live/show:a&secret\"",
                                      "\"show:secret\"",
                                      "\"se:secret\"",
                                      "\"/show:secret\"",
                                      "\"live/:secret\"",
                                      "\"live/a/b:secret\"",
                                      "\"a/b/*:secret\"",
                                      "\"live/..:secret\"",
                                      "\"./x:secret\"",
                                      "\"/*:secret\"",
                                      "\"live/sh**:secret\""};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[100];
        snprintf(text, sizeof text, "origin: {}\nauth:\n  publish:\n    keys: [%s]\n", bad[i]);
        assert_refused_with(text, "f:4: auth.publish.keys is not acceptable, a list of");
        assert_null(strstr(error_text(), "secret"));
    }
}

static void publish_key_that_can_match_is_accepted(void **state) {
    (void)state;
    static const char *const good[] = {"*:a:b",      "ap*:key", "live/*:key",   "live/.*:key",    "live/a..b~c-d_e:key",
                                       "a=b?c#d/e%", "?",       "live/x:a:b:c", "live/...:k/e/y", "~*:key"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        char text[100];
        snprintf(text, sizeof text, "origin: {}\nauth: {publish: {keys: [\"%s\"]}}\n", good[i]);
        struct conf *conf = parse_good(text);
        assert_string_equal(conf->auth.publish_keys.items[0], good[i]);
        conf_destroy(conf);
    }
}

#define SRT_WITH "ingest: {srt: {listen: ['[::]:8890'], passphrases: ['%s']}}\norigin: {}\n"

static void srt_passphrases_have_ten_to_seventy_nine_characters(void **state) {
    (void)state;
    static const char *const good[] = {"0123456789", "two words & a sign", "live/show:0123456789", "live/*:0123456789",
                                       "*:0123:456789"};
    static const char *const bad[] = {"123456789", "live/show:123456789", "live:0123456789", "live//x:0123456789",
                                      "0123456789é"};
    char text[200];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        snprintf(text, sizeof text, SRT_WITH, good[i]);
        struct conf *conf = parse_good(text);
        assert_string_equal(conf->ingest.srt_passphrases.items[0], good[i]);
        conf_destroy(conf);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(text, sizeof text, SRT_WITH, bad[i]);
        assert_refused_with(text, "f:1: ingest.srt.passphrases is not acceptable, a list of");
        assert_null(strstr(error_text(), "12345678"));
    }
    for (int len = SETTING_PASSPHRASE_MAX; len <= SETTING_PASSPHRASE_MAX + 1; len++) {
        char passphrase[100];
        snprintf(passphrase, sizeof passphrase, "live/show:%0*d", len, 0);
        snprintf(text, sizeof text, SRT_WITH, passphrase);
        struct conf *conf = parse(text);
        assert_true(!conf == (len > SETTING_PASSPHRASE_MAX));
        conf_destroy(conf);
    }
}

#define LADDER_WITH "ingest: {rtmp: {listen: ['[::]:1935']}, ladder: ['%s']}\norigin: {}\n"

static void ladders_are_patterns_and_rungs(void **state) {
    (void)state;
    static const char *const good[] = {"live/* 480:1200 240:150",
                                       "live/show auto",
                                       "* none",
                                       "live/a 90:30",
                                       "live/a 2160:50000",
                                       "live/a 1080:5000 720:2800 480:1200 360:600 240:150",
                                       "live/a 480@30:1200:medium 240@5:150 120:60:ultrafast"};
    static const char *const bad[] = {"live/*",
                                      "480:1200",
                                      "live 480:1200",
                                      "live/* 480",
                                      "live/* 480:",
                                      "live/* :1200",
                                      "live/* 480:1200 ",
                                      "live/* 480:1200:15",
                                      "live/* 480:1200:",
                                      "live/* 480:1200:veryslow",
                                      "live/* 480:1200:fas",
                                      "live/* 480@4:1200",
                                      "live/* 480@121:1200",
                                      "live/* 480@:1200",
                                      "live/* 480@15",
                                      "live/* 480:1200@15",
                                      "live/* 89:100",
                                      "live/* 2161:100",
                                      "live/* 480:29",
                                      "live/* 480:50001",
                                      "live/* 480:1200 480:600",
                                      "live/* auto 480:1200",
                                      "live/* 48O:1200",
                                      "live/* 600:1 500:1",
                                      "live/* 1080:5000 720:2800 480:1200 360:600 240:150 160:90"};
    char text[200];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        snprintf(text, sizeof text, LADDER_WITH, good[i]);
        struct conf *conf = parse_good(text);
        assert_string_equal(conf->ingest.ladder.items[0], good[i]);
        assert_int_equal(conf->ingest.ladder_preset, CONF_SUPERFAST);
        assert_string_equal(conf->ingest.ladder_encoder, "libx264");
        conf_destroy(conf);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(text, sizeof text, LADDER_WITH, bad[i]);
        assert_refused_with(text, "f:1: ingest.ladder");
    }
}

static void subtitles_are_patterns_and_languages(void **state) {
    (void)state;
    static const char *const good[] = {"live/* de Deutsch", "live/show zh-Hans", "* pt-BR Português do Brasil"};
    static const char *const bad[] = {"live/*",
                                      "live/* ",
                                      "live/* d",
                                      "live/* de ",
                                      "live de",
                                      "live/* 1e",
                                      "live/* de_AT",
                                      "live/* de-",
                                      "live/* de--AT",
                                      "live/* de  AT",
                                      "live/* de \"quot\"",
                                      "live/* abcdefghij",
                                      "live/* de-abcdefghi"};
    char text[200];
    for (size_t i = 0; i < sizeof good / sizeof *good + sizeof bad / sizeof *bad; i++) {
        bool is_good = i < sizeof good / sizeof *good;
        const char *entry = is_good ? good[i] : bad[i - sizeof good / sizeof *good];
        snprintf(text, sizeof text, "ingest: {rtmp: {listen: ['[::]:1935']}, subtitles: ['%s']}\norigin: {}\n", entry);
        if (!is_good) {
            assert_refused_with(text, "f:1: ingest.subtitles");
            continue;
        }
        struct conf *conf = parse_good(text);
        assert_string_equal(conf->ingest.subtitles.items[0], entry);
        conf_destroy(conf);
    }
}

static void srt_alone_is_a_way_to_ingest(void **state) {
    (void)state;
    struct conf *conf =
        parse_good("ingest: {srt: {listen: ['[::]:8890'], latency_ms: 400, pbkeylen: 24}}\norigin: {}\n");
    assert_int_equal(conf->ingest.srt_latency_ms, 400);
    assert_int_equal(conf->ingest.srt_pbkeylen, CONF_PBKEYLEN_24);
    conf_destroy(conf);
    assert_refused_with("ingest: {srt: {pbkeylen: 17, listen: ['[::]:1']}}\norigin: {}\n",
                        "f:1: ingest.srt.pbkeylen is \"17\", one of auto, 16, 24, 32 would be right");
    assert_refused_with("ingest: {srt: {latency_ms: 400}}\norigin: {}\n", "f:1: ingest listens nowhere");
    assert_refused_with("ingest:\n  rtmp: {listen: ['[::]:1']}\n  srt: {passphrases: ['0123456789']}\norigin: {}\n",
                        "f:3: ingest.srt.passphrases is given but nobody listens");
}

static void backups_are_pairs_of_names(void **state) {
    static const char *const bad[] = {"live/show",       "live/show live/show", "live/* live/b",
                                      "live/show b",     "live/show  live/b",   " live/show",
                                      "live/show live/", "live/a live/b c",     "live/a live/b/c"};
    char text[256];
    (void)state;
    struct conf *conf =
        parse_good("ingest: {rtmp: {listen: ['[::]:1']}, backups: ['live/show live/show-b']}\norigin: {}\n");
    assert_string_equal(conf->ingest.backups.items[0], "live/show live/show-b");
    conf_destroy(conf);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(text, sizeof text, "ingest: {rtmp: {listen: ['[::]:1']}, backups: ['%s']}\norigin: {}\n", bad[i]);
        assert_refused_with(text, "f:1: ingest.backups is ");
    }
}

static void rungs_of_another_end_so(void **state) {
    static const char *const bad[] = {"", "_", "--", "a b", "_low*", "live/_low", "_0123456789012345678901234567890"};
    char text[256];
    (void)state;
    struct conf *conf =
        parse_good("ingest: {rtmp: {listen: ['[::]:1']}, rung_suffixes: [_720, -low, hi]}\norigin: {}\n");
    assert_int_equal(conf->ingest.rung_suffixes.count, 3);
    assert_string_equal(conf->ingest.rung_suffixes.items[1], "-low");
    conf_destroy(conf);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(text, sizeof text, "ingest: {rtmp: {listen: ['[::]:1']}, rung_suffixes: ['%s']}\norigin: {}\n",
                 bad[i]);
        assert_refused_with(text, "f:1: ingest.rung_suffixes is ");
    }
}

static void slates_have_a_name_and_a_file(void **state) {
    static const char *const bad[] = {"live/show", "live/show clip.mp4", "/clip.mp4", "show /clip.mp4", "live/show "};
    char text[256];
    (void)state;
    struct conf *conf =
        parse_good("ingest: {rtmp: {listen: ['[::]:1']}, slate: ['live/* /a/clip of ours.mp4']}\norigin: {}\n");
    assert_string_equal(conf->ingest.slate.items[0], "live/* /a/clip of ours.mp4");
    conf_destroy(conf);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(text, sizeof text, "ingest: {rtmp: {listen: ['[::]:1']}, slate: ['%s']}\norigin: {}\n", bad[i]);
        assert_refused_with(text, "f:1: ingest.slate is ");
    }
}

#define SOURCES_OF "ingest: {sources: [%s]}\norigin: {}\n"

static void sources_have_a_name_and_a_url(void **state) {
    (void)state;
    static const char *const good[] = {"live/cam rtmp://h/live/cam", "live/a~b https://u:p@h/x?y=1 on-demand"};
    static const char *const bad[] = {"live/cam",
                                      "live rtmp://h",
                                      "live/* rtmp://h",
                                      "live/cam  rtmp://h",
                                      "live/cam rtmp://secret always",
                                      "live/cam rtmp://h on-demand x",
                                      "/cam rtmp://h",
                                      "live/cam rtmp://s\303\244",
                                      "live/.. rtmp://secret"};
    char text[200];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        snprintf(text, sizeof text, SOURCES_OF "relay: {}\nhttp: {listen: ['[::]:1']}\n", good[i]);
        struct conf *conf = parse_good(text);
        assert_string_equal(conf->ingest.sources.items[0], good[i]);
        conf_destroy(conf);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(text, sizeof text, SOURCES_OF, bad[i]);
        assert_refused_with(text, "f:1: ingest.sources is not acceptable, a list of \"app/name URL\"");
        assert_null(strstr(error_text(), "secret"));
    }
    snprintf(text, sizeof text, SOURCES_OF, "live/cam http://h/a, live/came http://h/b, live/cam http://h/c");
    assert_refused_with(text, "f:1: ingest.sources has \"live/cam\" twice, once would be right");
    snprintf(text, sizeof text, SOURCES_OF, "live/cam http://h/a on-demand");
    assert_refused_with(text, "f:1: ingest.sources has \"live/cam\" on demand, but nobody asks this node for streams");
    snprintf(text, sizeof text, SOURCES_OF "feed: {listen: ['127.0.0.1:1']}\n", "live/cam http://h/a on-demand");
    conf_destroy(parse_good(text));
}

static void longest_publish_key_is_accepted(void **state) {
    (void)state;
    for (int len = SETTING_KEY_MAX; len <= SETTING_KEY_MAX + 1; len++) {
        char text[300];
        snprintf(text, sizeof text, "origin: {}\nauth: {publish: {keys: [\"live/show:%0*d\"]}}\n", len, 0);
        if (len == SETTING_KEY_MAX)
            conf_destroy(parse_good(text));
        else
            assert_refused_with(text, "f:2: auth.publish.keys is not acceptable");
    }
}

static void key_given_twice_is_refused(void **state) {
    (void)state;
    assert_refused("live:\n  window_s: 30\n  window_s: 40\n",
                   "f:3: live.window_s is given again (first on line 2), once would be right\n");
    assert_refused("origin: {}\nlog: {level: info}\nlog: {format: json}\n",
                   "f:3: log is given again (first on line 2), once would be right\n");
    assert_refused("origin: {}\norigin: {grace_s: 40}\n",
                   "f:2: origin is given again (first on line 1), once would be right\n");
}

static void item_given_twice_is_refused(void **state) {
    (void)state;
    assert_refused_with("origin: {}\nauth: {publish: {keys: [a, b, a]}}\n", "f:2: auth.publish.keys has an item twice");
}

static void list_of_too_many_items_is_refused(void **state) {
    (void)state;
    char text[2000] = "origin: {}\nauth: {publish: {keys: [";
    for (int i = 0; i < CONF_LIST_MAX + 1; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "k%d, ", i);
    strcat(text, "]}}\n");
    assert_refused_with(text, "f:2: auth.publish.keys has too many items, at most 64 would be right");
}

static void broken_yaml_is_refused_with_its_line(void **state) {
    (void)state;
    assert_refused_with("origin: {}\nlog: {level: info\n", "broken YAML: did not find expected ',' or '}'");
    assert_refused_with("live:\n\twindow_s: 30\n", "f:2: broken YAML: ");
    assert_refused_with("origin: {}\nnode: \"abc\n", "f:3: broken YAML: ");
    assert_refused_with("origin: {}\n\nnode: \xff\xfe\n", "f:3: broken YAML: ");
    assert_refused_with("origin: {}\nnode: \x01\n", "f:2: broken YAML: control characters are not allowed");
}

static void aliases_and_anchors_are_refused(void **state) {
    (void)state;
    assert_refused_with("origin: &a {}\n", "f:1: an anchor (\"&…\")");
    assert_refused_with("origin: &a {}\nrelay: *a\n", "f:2: an alias (\"*…\")");
    assert_refused_with("origin: {}\nauth: {publish: {keys: [*x]}}\n", "f:2: an alias (\"*…\")");
    assert_refused_with("a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "f:3: an alias");
    assert_refused_with("origin: {}\n*x : 1\n", "f:2: an alias");
    assert_refused_with("live: {window_s: !!int 30}\n", "f:1: a tag");
}

static void second_document_is_refused(void **state) {
    (void)state;
    assert_refused_with("origin: {}\n---\nrelay: {}\n", "f:2: a second document");
}

static void too_deep_nesting_is_refused(void **state) {
    (void)state;
    char text[4200] = "x: ";
    memset(text + 3, '[', 4000);
    assert_refused_with(text, "f:1: more than 16 levels of nesting");
    assert_refused_with(text + 3, "f:1: ");
}

static void too_large_file_is_refused(void **state) {
    (void)state;
    size_t len = (1 << 20) + 1;
    char *text = malloc(len);
    assert_non_null(text);
    memset(text, '\n', len);
    memcpy(text, "origin: {}", 10);
    conf_destroy(parse_len(text, len - 1));
    assert_int_equal(buf_len(&errors), 0);
    assert_null(parse_len(text, len));
    assert_non_null(strstr(error_text(), "f:1: the file is larger than 1048576 bytes"));
    free(text);
}

static void several_errors_are_shown_at_once(void **state) {
    (void)state;
    assert_refused("nodes: x\nlive: {window_s: 1}\nlog: {level: 7}\n",
                   "f:1: unknown key \"nodes\", did you mean \"node\"?\n"
                   "f:2: live.window_s is \"1\", a number from 7 to 3600 (s) would be right\n"
                   "f:3: log.level is \"7\", one of debug, info, warn, error would be right\n");
}

static void at_most_twenty_errors_are_shown(void **state) {
    (void)state;
    char text[2000] = "";
    for (int i = 0; i < 50; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "unknown%d: &a *b\n", i);
    assert_null(parse(text));
    assert_true(error_lines() <= 20);
    text[0] = 0;
    for (int i = 0; i < 50; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "unknown%d: &a x\n", i);
    assert_null(parse(text));
    assert_int_equal(error_lines(), 20);
}

static void odd_bytes_and_long_text_are_shown_tame(void **state) {
    (void)state;
    assert_refused_with("origin: {}\nnode: \"\\e[31mred\"\n", "f:2: node is \"?[31mred\", ");
    char text[600] = "origin: {}\nnode: ";
    memset(text + strlen(text), 'x', 500);
    assert_refused_with(text, "xxx…\", a name of at most 63");
}

static void file_without_a_role_is_refused(void **state) {
    (void)state;
    static const char message[] =
        "f:1: no role is on, at least one of \"ingest:\", \"origin:\", \"relay:\" would be right\n";
    assert_refused("", message);
    assert_refused("# nothing\n", message);
    assert_refused("log: {level: info}\n", message);
}

static void roles_that_lack_something_are_refused(void **state) {
    (void)state;
    assert_refused_with("origin: {}\ningest: {}\n", "f:2: ingest listens nowhere");
    assert_refused_with("ingest: {rtmp: {listen: ['[::]:1935']}}\n", "f:1: ingest has no origin to feed");
    assert_refused_with("origin: {}\nrelay: {}\n", "f:2: relay listens nowhere");
    assert_refused_with("http: {listen: ['[::]:80']}\nrelay: {}\n", "f:2: relay has nothing to serve from");
    assert_refused_with("origin: {}\nhttp: {listen: ['[::]:80']}\n",
                        "f:2: http.listen is given but nobody serves viewers");
    conf_destroy(parse_good(ROLES));
    assert_refused_with("origin: {}\nhttp:\n  tls: {listen: ['[::]:443'], cert: c, key: k}\n",
                        "f:3: http.tls.listen is given but nobody serves viewers");
    conf_destroy(parse_good("origin: {}\nrelay: {}\nhttp: {tls: {listen: ['[::]:443'], cert: c, key: k}}\n"));
}

static void rtmps_needs_a_listener_and_certificates(void **state) {
    (void)state;
    assert_refused_with("origin: {}\ningest:\n  rtmp:\n    tls: {listen: ['[::]:1936']}\n",
                        "f:4: ingest.rtmp.tls.listen has no certificate");
    assert_refused_with("origin: {}\ningest:\n  rtmp: {listen: ['[::]:1'], tls: {cert: c, key: k}}\n",
                        "f:3: ingest.rtmp.tls.cert is given but nobody listens");
    assert_refused_with("origin: {}\ningest:\n  rtmp: {tls: {listen: ['[::]:1'], cert: [c, d], key: k}}\n",
                        "f:3: ingest.rtmp.tls.cert names 2 and ingest.rtmp.tls.key 1");
    struct conf *conf = parse_good("origin: {}\ningest: {rtmp: {tls: {listen: ['[::]:1'], cert: c, key: k}}}\n");
    assert_int_equal(conf->ingest.rtmp_tls.cert.count, 1);
    assert_int_equal(conf->ingest.rtmp_tls.ktls, CONF_KTLS_OFF);
    conf_destroy(conf);
}

#define GOLIVE_HEAD  "origin: {}\nrelay: {}\nhttp: {listen: ['[::]:80']}\ningest:\n  rtmp: {listen: ['[::]:1']}\n"
#define GOLIVE(what) GOLIVE_HEAD "  golive: {" what "}\n"

static void golive_has_a_ladder_that_can_be_asked_for_and_pushed(void **state) {
    (void)state;
    struct conf *conf = parse_good(GOLIVE("ladder: auto"));
    assert_int_equal(conf->ingest.golive_ladder.count, 1);
    conf_destroy(conf);
    conf = parse_good(GOLIVE("ladder: ['1080 6000', '720 3000'], url: 'rtmps://push.example/live/{stream_key}'"));
    assert_string_equal(conf->ingest.golive_ladder.items[1], "720 3000");
    assert_string_equal(conf->ingest.golive_url, "rtmps://push.example/live/{stream_key}");
    conf_destroy(conf);
    static const char *const bad[] = {"1080",   "1080 ",   "1080  6000", "1080 6000 1", "x 6000", " 1080 6000",
                                      "20 600", "1080 10", "5000 6000",  "1080 999999", "Auto",   "-1 600"};
    char text[512];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(text, sizeof text, GOLIVE("ladder: ['%s']"), bad[i]);
        assert_refused_with(text, "f:6: ingest.golive.ladder is \"");
    }
    static const char *const nowhere[] = {"rtmp://h/live",
                                          "rtmp://h/{stream_key}",
                                          "http://h/live/{stream_key}",
                                          "rtmp:///live/{stream_key}",
                                          "rtmp://h/a/b/{stream_key}",
                                          "rtmp://h/live/{stream_key}?x=1",
                                          "rtmp://h/./{stream_key}"};
    for (size_t i = 0; i < sizeof nowhere / sizeof *nowhere; i++) {
        snprintf(text, sizeof text, GOLIVE("ladder: auto, url: '%s'"), nowhere[i]);
        assert_refused_with(text, "f:6: ingest.golive.url is \"");
    }
    assert_refused_with(GOLIVE("url: 'rtmp://h/live/{stream_key}'"), "f:6: ingest.golive.url is given but no ladder");
    assert_refused_with(GOLIVE("ladder: [auto, '720 3000']"), "f:6: ingest.golive.ladder has \"auto\" among others");
    assert_refused_with(GOLIVE("ladder: ['90 50', '91 50', '92 50', '93 50', '94 50', '95 50', '96 50']"),
                        "f:6: ingest.golive.ladder has 7 renditions, at most 6");
    assert_refused_with("origin: {}\ningest: {rtmp: {listen: ['[::]:1']}, golive: {ladder: auto}}\n",
                        "f:2: ingest.golive.ladder is given but nobody can ask for it");
    assert_refused_with("origin: {}\nrelay: {}\nhttp: {listen: ['[::]:80']}\n"
                        "ingest: {srt: {listen: ['[::]:1']}, golive: {ladder: auto}}\n",
                        "f:4: ingest.golive.ladder is pushed by RTMP");
}

#define KEY "auth: {feed: {key: 0123456789abcdef}}\n"

static void feeds_open_to_strangers_are_refused(void **state) {
    (void)state;
    assert_refused_with("origin: {}\nfeed: {listen: ['[::]:8082']}\n",
                        "f:2: feed.listen has \"[::]:8082\", which is open to strangers");
    assert_refused_with("origin:\n  listen: ['127.0.0.1:1', '10.0.0.1:8083']\n",
                        "f:2: origin.listen has \"10.0.0.1:8083\", which is open to strangers");
    assert_refused_with("origin: {}\nfeed: {tls: {listen: ['[::]:1'], cert: c, key: k}}\n", "open to strangers");
    assert_refused_with("origin: {}\nfeed: {listen: ['[::]:8082'], tls: {client_ca: c}}\n", "open to strangers");
    conf_destroy(parse_good("origin: {}\nfeed: {listen: ['127.0.0.1:8082', '[::1]:8082']}\n"));
    conf_destroy(parse_good("origin: {listen: ['[::]:1']}\nfeed: {listen: ['[::]:8082']}\n" KEY));
    conf_destroy(parse_good("origin: {}\nfeed: {tls: {listen: ['[::]:1'], cert: c, key: k, client_ca: a}}\n"));
}

static void key_of_the_fleet_is_long_and_not_shown(void **state) {
    (void)state;
    struct conf *conf = parse_good("origin: {}\n" KEY);
    assert_string_equal(conf->auth.feed_key, "0123456789abcdef");
    conf_destroy(conf);
    assert_refused_with("origin: {}\nauth: {feed: {key: tooshort}}\n", "f:2: auth.feed.key is not acceptable");
    assert_null(strstr(error_text(), "tooshort"));
}

static void nodes_are_urls_with_a_port(void **state) {
    static const char *const bad[] = {"origin-a:8082",   "http://origin-a",     "http://origin-a:0",
                                      "http://:8082",    "ftp://origin-a:8082", "http://a:8082/feed",
                                      "http://a b:8082", "http://[::1:8082"};
    char text[256];
    (void)state;
    struct conf *conf = parse_good("relay: {upstreams: ['http://origin-a:8082', 'https://[::1]:8082 40']}\n"
                                   "http: {listen: ['[::]:80']}\n");
    assert_string_equal(conf->relay.upstreams.items[1], "https://[::1]:8082 40");
    conf_destroy(conf);
    conf = parse_good("relay: {shields: ['http://shield-a:8082 5']}\nhttp: {listen: ['[::]:80']}\n");
    assert_string_equal(conf->relay.shields.items[0], "http://shield-a:8082 5");
    conf_destroy(conf);
    conf_destroy(parse_good("ingest: {rtmp: {listen: ['[::]:1935']}, origins: ['http://origin-a:8083']}\n"));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(text, sizeof text, "ingest: {rtmp: {listen: ['[::]:1935']}, origins: ['%s']}\n", bad[i]);
        assert_refused_with(text, "f:1: ingest.origins is ");
    }
    assert_refused_with("relay: {upstreams: ['http://a:1 x']}\nhttp: {listen: ['[::]:80']}\n",
                        "f:1: relay.upstreams is ");
    assert_refused_with("ingest: {rtmp: {listen: ['[::]:1935']}, origins: ['http://a:1 5']}\n",
                        "f:1: ingest.origins is ");
}

static void rtmp_nodes_have_their_own_schemes(void **state) {
    static const char *const bad[] = {"http://a:1935", "rtmp://a", "rtmp://a:1935/live", "rtmp://:1935", "a:1935"};
    char text[256];
    (void)state;
    struct conf *conf =
        parse_good("ingest: {rtmp: {listen: ['[::]:1935'], reconnect_url: 'rtmps://b:1936', drain_s: 0}}\n"
                   "origin: {}\n");
    assert_string_equal(conf->ingest.rtmp_reconnect_url, "rtmps://b:1936");
    assert_int_equal(conf->ingest.rtmp_drain_s, 0);
    conf_destroy(conf);
    conf = parse_good("ingest: {rtmp: {listen: ['[::]:1935'], reconnect_url: 'rtmp://[::1]:1935'}}\norigin: {}\n");
    assert_int_equal(conf->ingest.rtmp_drain_s, 10);
    conf_destroy(conf);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(text, sizeof text, "ingest: {rtmp: {listen: ['[::]:1935'], reconnect_url: '%s'}}\norigin: {}\n",
                 bad[i]);
        assert_refused_with(text, "f:1: ingest.rtmp.reconnect_url is ");
    }
}

static void a_registry_is_enough_for_a_relay(void **state) {
    (void)state;
    struct conf *conf = parse_good("relay: {}\nhttp: {listen: ['[::]:80']}\nfeed: {listen: ['127.0.0.1:82']}\n"
                                   "fleet: {etcd: ['http://a:2379', 'https://b:2379'], feed_url: 'http://me:82'}\n");
    assert_int_equal(conf->fleet.etcd.count, 2);
    assert_string_equal(conf->fleet.prefix, "weir");
    assert_string_equal(conf->fleet.feed_url, "http://me:82");
    assert_null(conf->fleet.http_url);
    assert_int_equal(conf->fleet.ttl_s, 10);
    conf_destroy(conf);
    assert_refused_with("relay: {}\nhttp: {listen: ['[::]:80']}\n", "relay has nothing to serve from");
    assert_refused_with("origin: {}\nfleet: {prefix: x}\n", "f:2: fleet.prefix is given but no registry");
    assert_refused_with("origin: {}\nfleet:\n  etcd: ['http://a:1']\n  feed_url: 'http://a:1'\n",
                        "f:4: fleet.feed_url is given but no feeds are");
    assert_refused_with("origin: {}\nfleet: {etcd: ['http://a:1'], http_url: 'http://a'}\n",
                        "f:2: fleet.http_url is \"http://a\", a node such as ");
    assert_refused_with("origin: {}\nfleet: {etcd: ['http://a:1'], ttl_s: 1}\n", "f:2: fleet.ttl_s is ");
}

#define RELAY "origin: {}\nrelay: {}\n"

static void files_alone_or_in_a_list(void **state) {
    (void)state;
    struct conf *conf = parse_good(RELAY "http:\n  tls:\n    listen: ['[::]:443']\n    cert: a b.crt\n    key: [k]\n");
    assert_int_equal(conf->http.tls.cert.count, 1);
    assert_string_equal(conf->http.tls.cert.items[0], "a b.crt");
    assert_int_equal(conf->http.tls.cert.lines[0], 6);
    assert_string_equal(conf->http.tls.key.items[0], "k");
    assert_int_equal(conf->http.tls.ktls, CONF_KTLS_AUTO);
    assert_int_equal(conf->http.io_uring, CONF_URING_AUTO);
    conf_destroy(conf);
    conf = parse_good(RELAY "http:\n  tls:\n    listen: ['[::]:443']\n    cert:\n    - a\n    - /b\n    key: [k, k]\n"
                            "    ktls: off\n"
                            "  io_uring: off\n");
    assert_int_equal(conf->http.tls.cert.count, 2);
    assert_int_equal(conf->http.tls.cert.lines[1], 8);
    assert_int_equal(conf->http.tls.key.count, 2); /* two certificates may have one key */
    assert_int_equal(conf->http.tls.ktls, CONF_KTLS_OFF);
    assert_int_equal(conf->http.io_uring, CONF_URING_OFF);
    conf_destroy(conf);
}

static void files_are_beside_the_configuration(void **state) {
    (void)state;
    static const char text[] = RELAY "http: {tls: {listen: ['[::]:443'], cert: [a, /b, c/d], key: [k, ../k, k]}}\n";
    static const char *const expected[] = {"/etc/weir/a", "/b", "/etc/weir/c/d"};
    buf_finish(&errors);
    buf_init(&errors, 64 << 10);
    struct conf *conf = conf_parse("/etc/weir/weir.yaml", text, strlen(text), &errors);
    assert_non_null(conf);
    for (int i = 0; i < 3; i++)
        assert_string_equal(conf->http.tls.cert.items[i], expected[i]);
    assert_string_equal(conf->http.tls.key.items[1], "/etc/weir/../k");
    conf_destroy(conf);
}

static void certificates_and_keys_that_do_not_match_are_refused(void **state) {
    (void)state;
    assert_refused_with(RELAY "http: {tls: {listen: ['[::]:443']}}\n", "f:3: http.tls.listen has no certificate");
    assert_refused_with(RELAY "http:\n  tls:\n    listen: ['[::]:443']\n    cert: [a, b]\n    key: k\n",
                        "f:7: http.tls.cert names 2 and http.tls.key 1, a key for each");
    assert_refused_with(RELAY "http:\n  tls:\n    listen: ['[::]:443']\n    cert: [a]\n",
                        "f:6: http.tls.cert names 1 and http.tls.key 0");
    assert_refused_with(RELAY "http: {listen: ['[::]:80'], tls: {cert: a, key: b}}\n",
                        "f:3: http.tls.cert is given but nobody listens");
    assert_refused_with(RELAY "http:\n  tls:\n    listen: ['[::]:443']\n    cert: [a,\n      a]\n    key: [k, k]\n",
                        "f:7: http.tls.cert has an item twice");
    assert_refused_with(RELAY "http: {listen: ['[::]:80'], tls: {cert: ''}}\n",
                        "f:3: http.tls.cert is \"\", the name of");
    assert_refused_with(RELAY "http: {listen: ['[::]:80'], tls: {cert: {a: b}}}\n", "f:3: http.tls.cert is a section");
    assert_refused_with(RELAY "http: {listen: ['[::]:80'], tls: {cert: [\"a\\n\"]}}\n", "f:3: http.tls.cert is ");
}

static void times_that_do_not_fit_together_are_refused(void **state) {
    (void)state;
    assert_refused("origin: {}\nlive:\n  segment_ms: 1000\n  part_ms: 501\n",
                   "f:4: live.part_ms is 501, at most half of live.segment_ms (1000) would be right\n");
    assert_refused("origin: {}\nlive:\n  chunk_ms: 300\n",
                   "f:3: live.chunk_ms is 300, at most live.part_ms (200) would be right\n");
    assert_refused_with("origin: {}\nlive: {window_s: 13}\n",
                        "f:2: live.window_s is 13, at least 7 segments of live.segment_ms (2000), so 14");
    assert_refused_with("origin: {}\nlive: {segment_ms: 5000}\n", "f:2: live.window_s is 30, at least 7 segments");
}

static void missing_file_is_an_error_not_a_default(void **state) {
    (void)state;
    buf_finish(&errors);
    buf_init(&errors, 64 << 10);
    assert_null(conf_load("/nonexistent/weir.yaml", &errors));
    assert_non_null(strstr(error_text(), "/nonexistent/weir.yaml:1: can't be read (No such file or directory)"));
    assert_null(conf_load("/", &errors));
}

static int finish(void **state) {
    (void)state;
    buf_finish(&errors);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_file_all_roles_are_on_the_default_ports),
        cmocka_unit_test(with_a_file_only_what_it_names_is_on),
        cmocka_unit_test(every_kind_of_value_arrives),
        cmocka_unit_test(sample_file_is_what_no_file_does),
        cmocka_unit_test(sample_file_names_every_setting),
        cmocka_unit_test(settings_page_is_fresh),
        cmocka_unit_test(unknown_key_is_refused_with_the_likely_one),
        cmocka_unit_test(key_that_is_no_text_is_refused),
        cmocka_unit_test(wrong_type_is_refused),
        cmocka_unit_test(numbers_out_of_range_are_refused),
        cmocka_unit_test(bounds_themselves_are_accepted),
        cmocka_unit_test(word_that_is_no_choice_is_refused),
        cmocka_unit_test(bad_address_is_refused),
        cmocka_unit_test(bad_publish_key_is_refused_without_showing_it),
        cmocka_unit_test(publish_key_that_can_match_is_accepted),
        cmocka_unit_test(longest_publish_key_is_accepted),
        cmocka_unit_test(ladders_are_patterns_and_rungs),
        cmocka_unit_test(subtitles_are_patterns_and_languages),
        cmocka_unit_test(srt_passphrases_have_ten_to_seventy_nine_characters),
        cmocka_unit_test(srt_alone_is_a_way_to_ingest),
        cmocka_unit_test(backups_are_pairs_of_names),
        cmocka_unit_test(rungs_of_another_end_so),
        cmocka_unit_test(slates_have_a_name_and_a_file),
        cmocka_unit_test(sources_have_a_name_and_a_url),
        cmocka_unit_test(key_given_twice_is_refused),
        cmocka_unit_test(item_given_twice_is_refused),
        cmocka_unit_test(list_of_too_many_items_is_refused),
        cmocka_unit_test(broken_yaml_is_refused_with_its_line),
        cmocka_unit_test(aliases_and_anchors_are_refused),
        cmocka_unit_test(second_document_is_refused),
        cmocka_unit_test(too_deep_nesting_is_refused),
        cmocka_unit_test(too_large_file_is_refused),
        cmocka_unit_test(several_errors_are_shown_at_once),
        cmocka_unit_test(at_most_twenty_errors_are_shown),
        cmocka_unit_test(odd_bytes_and_long_text_are_shown_tame),
        cmocka_unit_test(file_without_a_role_is_refused),
        cmocka_unit_test(roles_that_lack_something_are_refused),
        cmocka_unit_test(rtmps_needs_a_listener_and_certificates),
        cmocka_unit_test(golive_has_a_ladder_that_can_be_asked_for_and_pushed),
        cmocka_unit_test(feeds_open_to_strangers_are_refused),
        cmocka_unit_test(key_of_the_fleet_is_long_and_not_shown),
        cmocka_unit_test(nodes_are_urls_with_a_port),
        cmocka_unit_test(rtmp_nodes_have_their_own_schemes),
        cmocka_unit_test(a_registry_is_enough_for_a_relay),
        cmocka_unit_test(files_alone_or_in_a_list),
        cmocka_unit_test(files_are_beside_the_configuration),
        cmocka_unit_test(certificates_and_keys_that_do_not_match_are_refused),
        cmocka_unit_test(times_that_do_not_fit_together_are_refused),
        cmocka_unit_test(missing_file_is_an_error_not_a_default),
    };
    return cmocka_run_group_tests(tests, NULL, finish);
}
