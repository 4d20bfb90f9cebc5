#include "ingest/golive.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/auth/publish_key.h"
#include "common/base/buf.h"
#include "ingest/stream_key.h"

#define STREAM_KEY_MARK "/{stream_key}"

enum {
    SIDE_MAX = 16384, /* of a picture */
    AUDIO_KBPS = 160,
    AUTO_RUNGS_MAX = 4,
    CORES_A_RUNG = 4, /* of a processor that encodes in software */
    FAST_FPS = 40,    /* more pictures a second than this want the full bitrate */
    URL_MAX = 320,
    NVENC_RENAMED = 31, /* OBS's major version */
};

static const char default_app[] = "live", default_schema[] = "2025-01-25";

/* For fast pictures; slow ones take three quarters. */
static const struct golive_rung auto_ladder[] = {{1440, 9000}, {1080, 6000}, {720, 3000}, {480, 1200}, {360, 600}};

bool golive_ladder_parse(char *const *items, size_t count, struct golive_settings *settings) {
    settings->rung_count = 0;
    if (count == 1 && strcmp(items[0], "auto") == 0)
        return true;
    if (count < 1 || count > GOLIVE_RUNGS_MAX)
        return false;
    for (size_t i = 0; i < count; i++) {
        struct golive_rung rung;
        char end;
        if (sscanf(items[i], "%u %u%c", &rung.height, &rung.kbps, &end) != 2 || !rung.height || !rung.kbps)
            return false;
        uint32_t at = settings->rung_count++;
        for (; at > 0 && settings->ladder[at - 1].height < rung.height; at--)
            settings->ladder[at] = settings->ladder[at - 1];
        settings->ladder[at] = rung;
    }
    return true;
}

/* --- the request --- */

struct request {
    const char *stream_key, *schema_version;
    uint32_t width, height, fps_num, fps_den;
    uint32_t kbps_max, tracks_max; /* UINT32_MAX: no limit */
    uint32_t channels;
    uint32_t cores;         /* 0: unknown */
    uint32_t vendor;        /* of the GPU that composes, PCI; 0: unknown */
    uint32_t version;       /* of OBS: the major number */
    const json_t *encoders; /* those that it has; NULL: it doesn't tell */
};

/* jansson has a limit of its own, of thousands. */
static bool shallow(const uint8_t *text, size_t len) {
    int depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < len; i++) {
        if (quoted && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            quoted = !quoted;
        else if (!quoted && (text[i] == '{' || text[i] == '['))
            depth++;
        else if (!quoted && (text[i] == '}' || text[i] == ']'))
            depth--;
        if (depth > GOLIVE_DEPTH_MAX)
            return false;
    }
    return true;
}

static uint32_t number(const json_t *object, const char *name, uint32_t otherwise) {
    const json_t *value = json_object_get(object, name);
    json_int_t n = json_integer_value(value);
    return json_is_integer(value) && n > 0 && n < UINT32_MAX ? (uint32_t)n : otherwise;
}

static const char *text(const json_t *object, const char *name) {
    const char *value = json_string_value(json_object_get(object, name));
    return value ? value : "";
}

/* The main canvas; requests of before 2025 have it in the preferences themselves. */
static void read_canvas(const json_t *preferences, struct request *request) {
    const json_t *first = json_array_get(json_object_get(preferences, "canvases"), 0);
    const json_t *canvas = first ? first : preferences;
    const json_t *rate = json_object_get(canvas, "framerate");
    request->width = number(canvas, "width", number(canvas, "canvas_width", 0));
    request->height = number(canvas, "height", number(canvas, "canvas_height", 0));
    request->fps_num = number(rate, "numerator", 30);
    request->fps_den = number(rate, "denominator", 1);
}

static void read_request(const json_t *root, struct request *request) {
    const json_t *preferences = json_object_get(root, "preferences"), *client = json_object_get(root, "client");
    const json_t *capabilities = json_object_get(root, "capabilities"), *gpus = json_object_get(capabilities, "gpu");
    const json_t *gpu = json_array_get(gpus, number(preferences, "composition_gpu_index", 0));
    const json_t *encoders = json_object_get(client, "supported_encoders");
    *request = (struct request){.stream_key = text(root, "authentication"),
                                .schema_version = text(root, "schema_version"),
                                .kbps_max = number(preferences, "maximum_aggregate_bitrate", UINT32_MAX),
                                .tracks_max = number(preferences, "maximum_video_tracks", UINT32_MAX),
                                .channels = number(preferences, "audio_channels", 2),
                                .cores = number(json_object_get(capabilities, "cpu"), "logical_cores", 0),
                                .vendor = number(gpu ? gpu : json_array_get(gpus, 0), "vendor_id", 0),
                                .version = (uint32_t)strtoul(text(client, "version"), NULL, 10),
                                .encoders = json_is_array(encoders) ? encoders : NULL};
    read_canvas(preferences, request);
}

/* --- encoders: OBS's names of them, as its plugins register them --- */

enum family { X264, NVENC, AMF, QSV, APPLE };

/* `vendor` 0: not told by the GPU, so taken only by those that say that they have it. */
static const struct encoder {
    const char *type;
    enum family family;
    uint32_t vendor;
    uint32_t until, from; /* OBS's versions; 0: any */
} encoders[] = {
    {"obs_nvenc_h264_tex", NVENC, 0x10de, 0, NVENC_RENAMED},
    {"jim_nvenc", NVENC, 0x10de, NVENC_RENAMED - 1, 0},
    {"h264_texture_amf", AMF, 0x1002, 0, 0},
    {"obs_qsv11_v2", QSV, 0x8086, 0, 0},
    {"com.apple.videotoolbox.videoencoder.ave.avc", APPLE, 0, 0, 0},
};
static const struct encoder software = {"obs_x264", X264, 0, 0, 0};

static bool has_encoder(const struct request *request, const char *type) {
    size_t i;
    json_t *item;
    json_array_foreach((json_t *)request->encoders, i, item) {
        if (json_is_string(item) && strcmp(json_string_value(item), type) == 0)
            return true;
    }
    return false;
}

static bool usable(const struct request *request, const struct encoder *encoder) {
    if (encoder->vendor && encoder->vendor != request->vendor)
        return false;
    if (request->encoders)
        return has_encoder(request, encoder->type);
    return encoder->vendor && (!encoder->until || request->version <= encoder->until) &&
           request->version >= encoder->from;
}

static const struct encoder *choose_encoder(const struct request *request) {
    for (size_t i = 0; i < sizeof encoders / sizeof *encoders; i++)
        if (usable(request, &encoders[i]))
            return &encoders[i];
    return &software;
}

/* No B-frames, in each family's words, and no looking ahead: both would only add delay. */
static json_t *encoder_settings(enum family family, uint32_t kbps) {
    static const char *const extras[] = {
        [X264] = "{\"preset\":\"veryfast\",\"tune\":\"zerolatency\",\"x264opts\":\"scenecut=0 bframes=0\"}",
        [NVENC] =
            "{\"preset\":\"p4\",\"preset2\":\"p4\",\"tune\":\"ll\",\"multipass\":\"disabled\",\"lookahead\":false}",
        [AMF] = "{\"preset\":\"speed\"}",
        [QSV] = "{\"target_usage\":\"TU4\",\"latency\":\"low\",\"bframes\":0}",
        [APPLE] = "{\"bframes\":false}",
    };
    json_t *settings = json_pack("{s:s, s:i, s:i, s:s}", "rate_control", "CBR", "bitrate", (int)kbps, "keyint_sec", 1,
                                 "profile", "high");
    if (family != APPLE)
        json_object_set_new(settings, "bf", json_integer(0));
    json_t *more = json_loads(extras[family], 0, NULL);
    json_object_update(settings, more);
    json_decref(more);
    return settings;
}

/* --- the ladder --- */

struct ladder {
    struct golive_rung rungs[GOLIVE_RUNGS_MAX];
    uint32_t count;
};

static void add_rung(struct ladder *ladder, struct golive_rung rung) {
    if (ladder->count < GOLIVE_RUNGS_MAX)
        ladder->rungs[ladder->count++] = rung;
}

static void remove_rung(struct ladder *ladder, uint32_t at) {
    ladder->count--;
    memmove(ladder->rungs + at, ladder->rungs + at + 1, (ladder->count - at) * sizeof *ladder->rungs);
}

static uint32_t shorter_side(const struct request *request) {
    return request->width < request->height ? request->width : request->height;
}

static void make_auto(const struct request *request, bool in_software, struct ladder *ladder) {
    bool fast = request->fps_num > (uint64_t)FAST_FPS * request->fps_den;
    uint32_t most = AUTO_RUNGS_MAX, cores = request->cores / CORES_A_RUNG;
    if (in_software && request->cores && cores < most)
        most = cores ? cores : 1;
    for (size_t i = 0; i < sizeof auto_ladder / sizeof *auto_ladder && ladder->count < most; i++)
        if (auto_ladder[i].height <= shorter_side(request))
            add_rung(ladder, (struct golive_rung){auto_ladder[i].height,
                                                  fast ? auto_ladder[i].kbps : auto_ladder[i].kbps / 4 * 3});
}

static uint64_t kbps_of(const struct ladder *ladder) {
    uint64_t kbps = AUDIO_KBPS;
    for (uint32_t i = 0; i < ladder->count; i++)
        kbps += ladder->rungs[i].kbps;
    return kbps;
}

/* Of too many, those between the largest and the smallest go; of too much, the largest do. */
static void fit(const struct request *request, struct ladder *ladder) {
    while (ladder->count > request->tracks_max && ladder->count > 1)
        remove_rung(ladder, ladder->count > 2 ? ladder->count - 2 : 1);
    while (kbps_of(ladder) > request->kbps_max && ladder->count > 1)
        remove_rung(ladder, 0);
    if (kbps_of(ladder) > request->kbps_max) {
        uint32_t least = 100, room = request->kbps_max > AUDIO_KBPS ? request->kbps_max - AUDIO_KBPS : 0;
        ladder->rungs[0].kbps = room > least ? room : least;
    }
}

static void make_ladder(const struct golive_settings *settings, const struct request *request, bool in_software,
                        struct ladder *ladder) {
    *ladder = (struct ladder){0};
    uint32_t side = shorter_side(request);
    for (uint32_t i = 0; i < settings->rung_count; i++)
        if (settings->ladder[i].height <= side)
            add_rung(ladder, settings->ladder[i]);
    if (!settings->rung_count)
        make_auto(request, in_software, ladder);
    if (!ladder->count) { /* the picture is smaller than all: as it is, at the smallest's bitrate */
        uint32_t last = settings->rung_count ? settings->ladder[settings->rung_count - 1].kbps
                                             : auto_ladder[sizeof auto_ladder / sizeof *auto_ladder - 1].kbps;
        add_rung(ladder, (struct golive_rung){side, last});
    }
    fit(request, ladder);
}

/* --- the answer --- */

static uint32_t even(uint64_t n) {
    return n < 2 ? 2 : (uint32_t)(n / 2 * 2);
}

/* Encoders want even sides. */
static json_t *encoder_json(const struct request *request, const struct encoder *encoder,
                            const struct golive_rung *rung) {
    uint32_t side = shorter_side(request), wide = request->width > request->height ? request->width : request->height;
    uint32_t shorter = even(rung->height), longer = even(((uint64_t)wide * rung->height + side / 2) / side + 1);
    bool portrait = request->height > request->width;
    return json_pack("{s:s, s:i, s:i, s:{s:I, s:I}, s:s, s:s, s:s, s:s, s:o, s:i}", "type", encoder->type, "width",
                     (int)(portrait ? shorter : longer), "height", (int)(portrait ? longer : shorter), "framerate",
                     "numerator", (json_int_t)request->fps_num, "denominator", (json_int_t)request->fps_den,
                     "gpu_scale_type", "OBS_SCALE_BICUBIC", "colorspace", "VIDEO_CS_709", "range",
                     "VIDEO_RANGE_PARTIAL", "format", "VIDEO_FORMAT_NV12", "settings",
                     encoder_settings(encoder->family, rung->kbps), "canvas_index", 0);
}

static int dump(const char *data, size_t len, void *out) {
    return buf_append(out, data, len) ? -1 : 0;
}

static void write_answer(const struct request *request, const char *result, const char *html, json_t *endpoints,
                         json_t *encoders_json, json_t *live, struct buf *out) {
    const char *schema = request->schema_version;
    bool known = *schema && strspn(schema, "0123456789-") == strlen(schema) && strlen(schema) <= 16;
    json_t *status = json_pack("{s:s}", "result", result);
    if (html)
        json_object_set_new(status, "html_en_us", json_string(html));
    json_t *root = json_pack("{s:{s:s, s:s, s:s}, s:o, s:o, s:o, s:{s:o}}", "meta", "service", "weir", "schema_version",
                             known ? schema : default_schema, "config_id", "", "status", status, "ingest_endpoints",
                             endpoints, "encoder_configurations", encoders_json, "audio_configurations", "live", live);
    json_dump_callback(root, dump, out, JSON_COMPACT);
    json_decref(root);
}

static void refuse(const struct request *request, struct golive_outcome *outcome, const char *why, struct buf *out) {
    outcome->why = why;
    write_answer(request, "error", why, json_array(), json_array(), json_array(), out);
}

static void add_endpoint(json_t *endpoints, const char *url) {
    bool tls = strncmp(url, "rtmps:", 6) == 0;
    json_array_append_new(endpoints, json_pack("{s:s, s:s}", "protocol", tls ? "RTMPS" : "RTMP", "url_template", url));
}

/* "live.example:8080" without its port; false: it is no host. */
static bool host_of(const char *text, char *out, size_t size) {
    const char *end = text ? strchr(text, ']') : NULL;
    size_t len = !text ? 0 : text[0] == '[' && end ? (size_t)(end - text) + 1 : strcspn(text, ":");
    if (len < 1 || len >= size)
        return false;
    memcpy(out, text, len);
    out[len] = 0;
    size_t inner = text[0] == '[' ? 1 : 0;
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    return inner ? strspn(out + 1, "0123456789abcdefABCDEF:.") == len - 2 : strspn(out, letters) == len;
}

/* OBS takes the first that it can; RTMP comes first, since a certificate may not be for the name by which this was
 * reached. */
static json_t *make_endpoints(const struct golive_settings *settings, const struct golive_where *where) {
    char host[256], url[URL_MAX];
    json_t *endpoints = json_array();
    if (settings->url) {
        add_endpoint(endpoints, settings->url);
        return endpoints;
    }
    const struct {
        const char *scheme;
        uint16_t port, usual;
    } ways[] = {{"rtmp", where->rtmp_port, 1935}, {"rtmps", where->rtmps_port, 443}};
    bool known = host_of(where->host, host, sizeof host);
    for (int i = 0; i < 2 && known; i++) {
        char port[8] = "";
        if (ways[i].port != ways[i].usual)
            snprintf(port, sizeof port, ":%u", ways[i].port);
        snprintf(url, sizeof url, "%s://%s%s/%s%s", ways[i].scheme, host, port, default_app, STREAM_KEY_MARK);
        if (ways[i].port)
            add_endpoint(endpoints, url);
    }
    return endpoints;
}

/* The component before the stream key's. */
static void app_of(const char *url, char *out, size_t size) {
    const char *end = url ? strstr(url, STREAM_KEY_MARK) : NULL, *begin = end;
    while (begin && begin > url && begin[-1] != '/')
        begin--;
    snprintf(out, size, "%.*s", begin ? (int)(end - begin) : (int)strlen(default_app), begin ? begin : default_app);
}

/* NULL: who asks may publish. Like all that OBS shows, the words are HTML. */
static const char *why_not(const struct golive_settings *settings, const struct request *request,
                           char stream[STREAM_NAME_LEN]) {
    char app[STREAM_NAME_LEN], name[STREAM_NAME_LEN], key[PUBLISH_KEY_MAX + 1];
    app_of(settings->url, app, sizeof app);
    stream_key_split(request->stream_key, name, sizeof name, key, sizeof key, NULL);
    if (!name[0])
        return "The stream key is empty: put the stream's name there, and its key behind it: NAME?key=KEY";
    if (!name_join(stream, app, name))
        return "The stream key does not begin with a name that a stream can have: use letters, digits and . _ ~ -";
    if (!publish_key_admits(settings->publish_keys, settings->publish_key_count, stream, key))
        return "The stream key is wrong or missing: put NAME?key=KEY into the field for it.";
    if (!request->width || !request->height || request->width > SIDE_MAX || request->height > SIDE_MAX)
        return "The size of the canvas is missing: this server knows Enhanced Broadcasting as OBS 30.2 and newer have "
               "it.";
    return NULL;
}

static void answer(const struct golive_settings *settings, const struct golive_where *where,
                   const struct request *request, struct buf *out, struct golive_outcome *outcome) {
    const char *why = why_not(settings, request, outcome->stream);
    json_t *endpoints = make_endpoints(settings, where);
    if (!why && !json_array_size(endpoints))
        why = "This server does not know under which name it can be reached by RTMP: its operator sets "
              "ingest.golive.url.";
    if (why) {
        json_decref(endpoints);
        refuse(request, outcome, why, out);
        return;
    }
    const struct encoder *encoder = choose_encoder(request);
    struct ladder ladder;
    make_ladder(settings, request, encoder == &software, &ladder);
    json_t *configurations = json_array();
    for (uint32_t i = 0; i < ladder.count; i++)
        json_array_append_new(configurations, encoder_json(request, encoder, &ladder.rungs[i]));
    json_t *live = json_pack("[{s:s, s:i, s:i, s:{s:i}}]", "codec", "aac", "track_id", 1, "channels",
                             request->channels <= 8 ? (int)request->channels : 2, "settings", "bitrate", AUDIO_KBPS);
    outcome->encoder = encoder->type;
    outcome->rungs = ladder.count;
    write_answer(request, "success", NULL, endpoints, configurations, live, out);
}

int golive_answer(const struct golive_settings *settings, const struct golive_where *where, const uint8_t *body,
                  size_t len, struct buf *out, struct golive_outcome *ret_outcome) {
    *ret_outcome = (struct golive_outcome){.why = "not a request of Enhanced Broadcasting: JSON as OBS posts it"};
    if (len > GOLIVE_REQUEST_MAX || !shallow(body, len))
        return -EBADMSG;
    json_t *root = json_loadb((const char *)body, len, 0, NULL);
    if (!json_is_object(root) || !json_is_object(json_object_get(root, "preferences"))) {
        json_decref(root);
        return -EBADMSG;
    }
    struct request request;
    read_request(root, &request);
    ret_outcome->why = NULL;
    answer(settings, where, &request, out, ret_outcome);
    json_decref(root);
    return 0;
}
