#include "ingest/golive.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "common/base/buf.h"

/* As OBS 31 posts it on Windows, with an NVIDIA card; what a test changes is changed in the parsed form. */
static const char obs31[] =
    "{\"authentication\":\"show?key=secret\",\"capabilities\":{\"cpu\":{\"logical_cores\":16,\"name\":\"AMD Ryzen 7 "
    "5800X "
    "8-Core Processor\",\"physical_cores\":8,\"speed\":3801},\"gaming_features\":{\"game_bar_enabled\":true,"
    "\"game_dvr_allowed\":true,\"game_dvr_bg_recording\":false,\"game_dvr_enabled\":false,\"game_mode_enabled\":true,"
    "\"hags_enabled\":true},\"gpu\":[{\"dedicated_video_memory\":10518265856,\"device_id\":8710,\"driver_version\":"
    "\"32.0.15.6590\",\"model\":\"NVIDIA GeForce RTX 3080\",\"shared_system_memory\":17131884544,\"vendor_id\":4318}],"
    "\"memory\":{\"free\":18410446848,\"total\":34263769088},\"system\":{\"arm\":false,\"armEmulation\":false,\"bits\":"
    "64,"
    "\"build\":22631,\"name\":\"Windows 11 Pro\",\"release\":\"23H2\",\"revision\":4460,\"version\":\"10.0\"}},"
    "\"client\":{\"name\":\"obs-studio\",\"supported_codecs\":[\"av1\",\"h264\",\"h265\"],\"version\":\"31.0.0\"},"
    "\"preferences\":{\"audio_channels\":2,\"audio_fixed_buffering\":false,\"audio_max_buffering_ms\":960,"
    "\"audio_samples_per_sec\":48000,\"canvases\":[{\"canvas_height\":1080,\"canvas_width\":1920,\"framerate\":"
    "{\"denominator\":1,\"numerator\":60},\"height\":1080,\"width\":1920}],\"composition_gpu_index\":0,"
    "\"maximum_aggregate_bitrate\":null,\"maximum_video_tracks\":null,\"vod_track_audio\":false},"
    "\"schema_version\":\"2025-01-25\",\"service\":\"IVS\"}";

static json_t *root;  /* what is posted */
static json_t *reply; /* what was answered */
static struct golive_settings settings;
static struct golive_where where;
static struct golive_outcome outcome;

static int set_up(void **state) {
    (void)state;
    root = json_loads(obs31, 0, NULL);
    assert_non_null(root);
    reply = NULL;
    settings = (struct golive_settings){0};
    where = (struct golive_where){.host = "live.example:8080", .rtmp_port = 1935};
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    json_decref(root);
    json_decref(reply);
    return 0;
}

static int post(const char *text, size_t len) {
    struct buf out;
    buf_init(&out, GOLIVE_ANSWER_MAX);
    int rc = golive_answer(&settings, &where, (const uint8_t *)text, len, &out, &outcome);
    json_decref(reply);
    reply = rc ? NULL : json_loadb((const char *)buf_head(&out), buf_len(&out), 0, NULL);
    if (!rc)
        assert_true(json_is_object(reply));
    buf_finish(&out);
    return rc;
}

static void ask(void) {
    char *text = json_dumps(root, 0);
    assert_int_equal(post(text, strlen(text)), 0);
    free(text);
}

/* "preferences.canvases.0.width" and such. */
static json_t *at(json_t *json, const char *path) {
    char part[64];
    for (size_t len; *path; path += len + (path[len] == '.')) {
        len = strcspn(path, ".");
        snprintf(part, sizeof part, "%.*s", (int)len, path);
        json = json_is_array(json) ? json_array_get(json, (size_t)atoi(part)) : json_object_get(json, part);
    }
    return json;
}

static void set(const char *parent, const char *name, json_t *value) {
    assert_int_equal(json_object_set_new(at(root, parent), name, value), 0);
}

static const char *reply_text(const char *path) {
    return json_string_value(at(reply, path));
}

static int reply_int(const char *path) {
    return (int)json_integer_value(at(reply, path));
}

/* "1920x1080 6000, 1280x720 3000" */
static const char *ladder(void) {
    static char out[512];
    size_t i, len = 0;
    json_t *encoder;
    out[0] = 0;
    json_array_foreach(at(reply, "encoder_configurations"), i, encoder) {
        len += (size_t)snprintf(out + len, sizeof out - len, "%s%dx%d %d", i ? ", " : "",
                                (int)json_integer_value(at(encoder, "width")),
                                (int)json_integer_value(at(encoder, "height")),
                                (int)json_integer_value(at(encoder, "settings.bitrate")));
    }
    return out;
}

static void use_ladder(char *const *items, size_t count) {
    assert_true(golive_ladder_parse(items, count, &settings));
}

static void assert_refused(const char *words) {
    assert_string_equal(reply_text("status.result"), "error");
    assert_non_null(strstr(reply_text("status.html_en_us"), words));
    assert_int_equal(json_array_size(at(reply, "encoder_configurations")), 0);
    assert_non_null(outcome.why);
}

/* --- */

static void obs_is_told_all_that_it_needs(void **state) {
    (void)state;
    ask();
    assert_string_equal(reply_text("status.result"), "success");
    assert_string_equal(reply_text("meta.schema_version"), "2025-01-25");
    assert_non_null(reply_text("meta.service"));
    assert_non_null(reply_text("meta.config_id"));
    assert_string_equal(reply_text("ingest_endpoints.0.protocol"), "RTMP");
    assert_string_equal(reply_text("ingest_endpoints.0.url_template"), "rtmp://live.example/live/{stream_key}");
    assert_string_equal(ladder(), "1920x1080 6000, 1280x720 3000, 854x480 1200, 640x360 600");
    for (int i = 0; i < 4; i++) {
        const json_t *encoder = json_array_get(at(reply, "encoder_configurations"), (size_t)i);
        assert_string_equal(json_string_value(at((json_t *)encoder, "type")), "obs_nvenc_h264_tex");
        assert_int_equal(json_integer_value(at((json_t *)encoder, "settings.keyint_sec")), 1);
        assert_int_equal(json_integer_value(at((json_t *)encoder, "settings.bf")), 0);
        assert_string_equal(json_string_value(at((json_t *)encoder, "settings.rate_control")), "CBR");
        assert_int_equal(json_integer_value(at((json_t *)encoder, "framerate.numerator")), 60);
        assert_int_equal(json_integer_value(at((json_t *)encoder, "framerate.denominator")), 1);
        assert_int_equal(json_integer_value(at((json_t *)encoder, "canvas_index")), 0);
    }
    assert_string_equal(reply_text("audio_configurations.live.0.codec"), "aac");
    assert_int_equal(reply_int("audio_configurations.live.0.track_id"), 1);
    assert_int_equal(reply_int("audio_configurations.live.0.channels"), 2);
    assert_int_equal(reply_int("audio_configurations.live.0.settings.bitrate"), 160);
    assert_string_equal(outcome.stream, "live/show");
    assert_string_equal(outcome.encoder, "obs_nvenc_h264_tex");
    assert_int_equal(outcome.rungs, 4);
}

/* OBS 30.2, 31 as it was first: one canvas, in the preferences. */
static void schema_of_2024_is_understood(void **state) {
    (void)state;
    json_object_del(at(root, "preferences"), "canvases");
    set("preferences", "width", json_integer(1280));
    set("preferences", "height", json_integer(720));
    set("preferences", "framerate", json_pack("{s:i, s:i}", "numerator", 30000, "denominator", 1001));
    set("", "schema_version", json_string("2024-06-04"));
    ask();
    assert_string_equal(reply_text("meta.schema_version"), "2024-06-04");
    assert_string_equal(ladder(), "1280x720 2250, 854x480 900, 640x360 450");
    assert_int_equal(reply_int("encoder_configurations.0.framerate.numerator"), 30000);
    assert_int_equal(reply_int("encoder_configurations.0.framerate.denominator"), 1001);
}

static void ladder_of_the_operator_is_taken(void **state) {
    (void)state;
    use_ladder((char *[]){"540 1800", "1080 5000", "2160 20000"}, 3);
    ask();
    assert_string_equal(ladder(), "1920x1080 5000, 960x540 1800"); /* what is larger than the picture is left out */
    set("preferences.canvases.0", "width", json_integer(480));
    set("preferences.canvases.0", "height", json_integer(270));
    ask();
    assert_string_equal(ladder(), "480x270 1800");
}

static void portraits_are_measured_by_their_shorter_side(void **state) {
    (void)state;
    set("preferences.canvases.0", "width", json_integer(1080));
    set("preferences.canvases.0", "height", json_integer(1920));
    ask();
    assert_string_equal(ladder(), "1080x1920 6000, 720x1280 3000, 480x854 1200, 360x640 600");
}

static void sides_are_even(void **state) {
    (void)state;
    set("preferences.canvases.0", "width", json_integer(1366));
    set("preferences.canvases.0", "height", json_integer(767));
    use_ladder((char *[]){"767 3000", "361 600"}, 2);
    ask();
    assert_string_equal(ladder(), "1366x766 3000, 644x360 600");
}

static void limits_of_the_user_are_kept(void **state) {
    (void)state;
    set("preferences", "maximum_video_tracks", json_integer(2));
    ask();
    assert_string_equal(ladder(), "1920x1080 6000, 640x360 600");
    set("preferences", "maximum_video_tracks", json_integer(1));
    ask();
    assert_string_equal(ladder(), "1920x1080 6000");
    set("preferences", "maximum_video_tracks", json_null());
    set("preferences", "maximum_aggregate_bitrate", json_integer(6000));
    ask();
    assert_string_equal(ladder(), "1280x720 3000, 854x480 1200, 640x360 600");
    set("preferences", "maximum_aggregate_bitrate", json_integer(500));
    ask();
    assert_string_equal(ladder(), "640x360 340"); /* the sound has its part */
    set("preferences", "maximum_aggregate_bitrate", json_integer(1));
    ask();
    assert_string_equal(ladder(), "640x360 100");
}

static void assert_encoder(const char *type) {
    ask();
    assert_string_equal(reply_text("encoder_configurations.0.type"), type);
}

static void encoder_is_one_that_the_client_has(void **state) {
    (void)state;
    set("client", "version", json_string("30.2.3"));
    assert_encoder("jim_nvenc");
    set("capabilities.gpu.0", "vendor_id", json_integer(0x1002));
    assert_encoder("h264_texture_amf");
    set("capabilities.gpu.0", "vendor_id", json_integer(0x8086));
    assert_encoder("obs_qsv11_v2");
    set("capabilities.gpu.0", "vendor_id", json_integer(0x5143));
    assert_encoder("obs_x264");
    set("capabilities", "gpu", json_null()); /* not on Windows */
    assert_encoder("obs_x264");
    assert_string_equal(reply_text("encoder_configurations.0.settings.tune"), "zerolatency");
    set("client", "supported_encoders", json_pack("[s, s]", "obs_x264", "com.apple.videotoolbox.videoencoder.ave.avc"));
    assert_encoder("com.apple.videotoolbox.videoencoder.ave.avc");
    assert_true(json_is_false(at(reply, "encoder_configurations.0.settings.bframes")));
}

static void encoder_that_is_not_listed_is_not_taken(void **state) {
    (void)state;
    set("client", "supported_encoders", json_pack("[s, s]", "obs_x264", "jim_nvenc"));
    assert_encoder("jim_nvenc"); /* whatever the version */
    set("client", "supported_encoders", json_pack("[s]", "obs_x264"));
    assert_encoder("obs_x264");
}

static void the_gpu_that_composes_encodes(void **state) {
    (void)state;
    json_array_append_new(at(root, "capabilities.gpu"), json_pack("{s:i}", "vendor_id", 0x8086));
    set("preferences", "composition_gpu_index", json_integer(1));
    assert_encoder("obs_qsv11_v2");
}

static void few_cores_encode_few_renditions(void **state) {
    (void)state;
    set("capabilities", "gpu", json_null());
    set("capabilities.cpu", "logical_cores", json_integer(8));
    ask();
    assert_string_equal(ladder(), "1920x1080 6000, 1280x720 3000");
    set("capabilities.cpu", "logical_cores", json_integer(2));
    ask();
    assert_string_equal(ladder(), "1920x1080 6000");
    use_ladder((char *[]){"1080 5000", "720 2500", "360 600"}, 3); /* the operator's word counts */
    ask();
    assert_string_equal(ladder(), "1920x1080 5000, 1280x720 2500, 640x360 600");
}

/* --- who may */

static void wrong_keys_are_told_in_words(void **state) {
    (void)state;
    char *keys[] = {"live/show:secret"};
    settings.publish_keys = keys;
    settings.publish_key_count = 1;
    ask();
    assert_string_equal(reply_text("status.result"), "success");
    set("", "authentication", json_string("show?key=wrong"));
    ask();
    assert_refused("wrong or missing");
    set("", "authentication", json_string("other?key=secret"));
    ask();
    assert_refused("wrong or missing");
    set("", "authentication", json_string(""));
    ask();
    assert_refused("empty");
    set("", "authentication", json_string("a/b"));
    ask();
    assert_refused("name that a stream can have");
}

static void app_is_the_urls(void **state) {
    (void)state;
    char *keys[] = {"studio/show:secret"};
    settings.publish_keys = keys;
    settings.publish_key_count = 1;
    ask();
    assert_refused("wrong or missing");
    settings.url = "rtmps://push.example:443/studio/{stream_key}";
    ask();
    assert_string_equal(outcome.stream, "studio/show");
    assert_string_equal(reply_text("ingest_endpoints.0.protocol"), "RTMPS");
    assert_string_equal(reply_text("ingest_endpoints.0.url_template"), settings.url);
}

/* --- where to */

static void assert_endpoints(const char *host, uint16_t rtmp, uint16_t rtmps, const char *first, const char *second) {
    where = (struct golive_where){host, rtmp, rtmps};
    ask();
    if (!first) {
        assert_refused("ingest.golive.url");
        return;
    }
    assert_string_equal(reply_text("ingest_endpoints.0.url_template"), first);
    assert_int_equal(json_array_size(at(reply, "ingest_endpoints")), second ? 2 : 1);
    if (second)
        assert_string_equal(reply_text("ingest_endpoints.1.url_template"), second);
}

static void where_to_push_is_where_was_asked(void **state) {
    (void)state;
    assert_endpoints("192.0.2.1", 1936, 0, "rtmp://192.0.2.1:1936/live/{stream_key}", NULL);
    assert_endpoints("[2001:db8::1]:8080", 1935, 1936, "rtmp://[2001:db8::1]/live/{stream_key}",
                     "rtmps://[2001:db8::1]:1936/live/{stream_key}");
    assert_endpoints("live.example", 0, 443, "rtmps://live.example/live/{stream_key}", NULL);
    assert_endpoints(NULL, 1935, 0, NULL, NULL);
    assert_endpoints("live.example", 0, 0, NULL, NULL);
    assert_endpoints("a b", 1935, 0, NULL, NULL);
    assert_endpoints("evil/x", 1935, 0, NULL, NULL);
    assert_endpoints("[::1", 1935, 0, NULL, NULL);
    assert_endpoints("", 1935, 0, NULL, NULL);
}

/* --- what is none */

static void other_requests_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"",         "{",
                                      "[]",       "7",
                                      "{}",       "{\"preferences\":[]}",
                                      "\xff\xfe", "{\"preferences\":{}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(post(bad[i], strlen(bad[i])), -EBADMSG);
    assert_int_equal(post("{\"preferences\":{}}", 18), 0); /* too little to go by, but OBS can show why */
    assert_refused("empty");
    set("preferences", "canvases", json_array());
    ask();
    assert_refused("size of the canvas");
}

static void depth_and_length_are_limited(void **state) {
    (void)state;
    static char text[GOLIVE_REQUEST_MAX + 100];
    char *p = stpcpy(text, "{\"preferences\":{\"[[[[[[[[[[[[[[[[[[[[\\\"[\":1},\"x\":");
    memset(p, '[', 15);
    memset(p + 15, ']', 15);
    strcpy(p + 30, "}");
    assert_int_equal(post(text, strlen(text)), 0);
    memset(p, '[', 16);
    memset(p + 16, ']', 16);
    strcpy(p + 32, "}");
    assert_int_equal(post(text, strlen(text)), -EBADMSG);
    char *json = json_dumps(root, JSON_COMPACT);
    memset(text, ' ', sizeof text);
    memcpy(text, json, strlen(json));
    free(json);
    assert_int_equal(post(text, GOLIVE_REQUEST_MAX), 0);
    assert_int_equal(post(text, GOLIVE_REQUEST_MAX + 1), -EBADMSG);
}

static void ladders_are_heights_and_bitrates(void **state) {
    (void)state;
    static char *const seven[] = {"7 1", "6 1", "5 1", "4 1", "3 1", "2 1", "1 1"};
    assert_true(golive_ladder_parse((char *[]){"auto"}, 1, &settings));
    assert_int_equal(settings.rung_count, 0);
    assert_false(golive_ladder_parse((char *[]){"auto", "720 3000"}, 2, &settings));
    assert_false(golive_ladder_parse((char *[]){"720"}, 1, &settings));
    assert_false(golive_ladder_parse((char *[]){"720 0"}, 1, &settings));
    assert_false(golive_ladder_parse((char *[]){"720 3000 x"}, 1, &settings));
    assert_false(golive_ladder_parse(seven, 7, &settings));
    assert_true(golive_ladder_parse(seven, 6, &settings));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(obs_is_told_all_that_it_needs),
        TEST(schema_of_2024_is_understood),
        TEST(ladder_of_the_operator_is_taken),
        TEST(portraits_are_measured_by_their_shorter_side),
        TEST(sides_are_even),
        TEST(limits_of_the_user_are_kept),
        TEST(encoder_is_one_that_the_client_has),
        TEST(encoder_that_is_not_listed_is_not_taken),
        TEST(the_gpu_that_composes_encodes),
        TEST(few_cores_encode_few_renditions),
        TEST(wrong_keys_are_told_in_words),
        TEST(app_is_the_urls),
        TEST(where_to_push_is_where_was_asked),
        TEST(other_requests_are_refused),
        TEST(depth_and_length_are_limited),
        TEST(ladders_are_heights_and_bitrates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
