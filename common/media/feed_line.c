#include "common/media/feed_line.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/base64.h"
#include "common/base/buf.h"
#include "common/media/cmaf.h"

/* --- numbers and texts --- */

/* JSON's numbers reach everybody whole up to 2^53; ours stay far below. A value that isn't there, or not in the range,
 * fails the line: `ok` stays false once it is. */
static int64_t get_int(const json_t *json, const char *key, int64_t min, int64_t max, bool *ok) {
    const json_t *item = json_object_get(json, key);
    int64_t value = json_is_integer(item) ? json_integer_value(item) : INT64_MIN;
    if (!json_is_integer(item) || value < min || value > max)
        *ok = false;
    return *ok ? value : 0;
}

static uint32_t get_u32(const json_t *json, const char *key, bool *ok) {
    return (uint32_t)get_int(json, key, 0, UINT32_MAX, ok);
}

static uint64_t get_u64(const json_t *json, const char *key, bool *ok) {
    return (uint64_t)get_int(json, key, 0, INT64_MAX - 1, ok);
}

static void get_text(const json_t *item, char *out, size_t size, bool *ok) {
    const char *text = json_string_value(item);
    if (!text || strlen(text) >= size || strpbrk(text, "\"\\\r\n"))
        *ok = false;
    else
        strcpy(out, text);
}

static json_int_t as_json(uint64_t value) {
    return (json_int_t)value;
}

/* --- init segments --- */

static json_t *init_json(const struct blob *init) {
    char *text = malloc(base64_len(init->len) + 1);
    if (!text)
        abort();
    base64_encode(text, init->data, init->len);
    json_t *json = json_string(text);
    free(text);
    return json;
}

static struct blob *init_blob(const json_t *item) {
    const char *text = json_string_value(item);
    size_t len = text ? strlen(text) : 0;
    if (!len || len > base64_len(CMAF_INIT_MAX))
        return NULL;
    uint8_t *bytes = malloc(CMAF_INIT_MAX);
    if (!bytes)
        abort();
    int n = base64_decode(bytes, CMAF_INIT_MAX, text, len);
    struct blob *blob = n > 0 ? blob_create_copy(bytes, (size_t)n) : NULL;
    free(bytes);
    return blob;
}

/* --- open --- */

static const char *const kind_names[] = {[TRACK_VIDEO] = "video", [TRACK_AUDIO] = "audio", [TRACK_TEXT] = "text"};

static json_t *track_json(const struct track_info *track, bool late) {
    json_t *json =
        json_pack("{s:s, s:s, s:I, s:I, s:s, s:I, s:o}", "name", track->name, "kind", kind_names[track->kind],
                  "track_id", as_json(track->track_id), "timescale", as_json(track->timescale), "codecs", track->codecs,
                  "init_version", as_json(track->init_version), "init", init_json(track->init));
    if (track->language[0])
        json_object_set_new(json, "language", json_string(track->language));
    if (track->label[0])
        json_object_set_new(json, "label", json_string(track->label));
    if (late)
        json_object_set_new(json, "late", json_true());
    if (track->on_demand)
        json_object_set_new(json, "on_demand", json_true());
    if (track->range != VIDEO_SDR)
        json_object_set_new(json, "range", json_string(video_range_name(track->range)));
    if (track->low)
        json_object_set_new(json, "low", json_true());
    if (track->peak_bps)
        json_object_set_new(json, "peak_bps", json_integer(track->peak_bps));
    if (track->kind == TRACK_VIDEO)
        json_object_update_new(json, json_pack("{s:i, s:i, s:I}", "width", track->width, "height", track->height,
                                               "frame_rate_milli", as_json(track->frame_rate_milli)));
    else if (track->kind == TRACK_AUDIO)
        json_object_update_new(json, json_pack("{s:I, s:I}", "sample_rate", as_json(track->sample_rate), "channels",
                                               as_json(track->channels)));
    return json;
}

static json_t *open_json(const struct record *record) {
    const struct record_open *open = &record->open;
    json_t *tracks = json_array();
    for (uint32_t i = 0; i < open->track_count; i++)
        json_array_append_new(tracks, track_json(&open->tracks[i], open->late & 1u << i));
    return json_pack("{s:I, s:I, s:I, s:o}", "epoch", as_json(record->epoch), "target_duration_ms",
                     as_json(open->target_duration_ms), "part_target_us", as_json(open->part_target_us), "tracks",
                     tracks);
}

/* A name stands in URLs and playlists: "v0". */
static bool track_name_ok(const char *name) {
    return (name[0] == 'v' || name[0] == 'a' || name[0] == 's') && name[1] >= '0' && name[1] <= '9' && !name[2];
}

/* What this node doesn't know it doesn't tell. */
static enum video_range parse_range(const json_t *item) {
    const char *text = json_string_value(item);
    for (int range = VIDEO_HLG; text && range <= VIDEO_PQ; range++)
        if (!strcmp(text, video_range_name(range)))
            return range;
    return VIDEO_SDR;
}

static bool parse_kind(const char *name, enum track_kind *ret_kind) {
    for (size_t i = 0; i < sizeof kind_names / sizeof *kind_names; i++)
        if (!strcmp(kind_names[i], name)) {
            *ret_kind = (enum track_kind)i;
            return true;
        }
    return false;
}

static void parse_track(const json_t *json, struct track_info *track, bool *ok) {
    char kind[8] = "";
    get_text(json_object_get(json, "name"), track->name, sizeof track->name, ok);
    get_text(json_object_get(json, "kind"), kind, sizeof kind, ok);
    get_text(json_object_get(json, "codecs"), track->codecs, sizeof track->codecs, ok);
    if (json_object_get(json, "language"))
        get_text(json_object_get(json, "language"), track->language, sizeof track->language, ok);
    if (json_object_get(json, "label"))
        get_text(json_object_get(json, "label"), track->label, sizeof track->label, ok);
    *ok &= parse_kind(kind, &track->kind) && language_label_ok(track->label);
    track->track_id = (uint32_t)get_int(json, "track_id", 1, INT32_MAX - 1, ok);
    track->timescale = (uint32_t)get_int(json, "timescale", 1, 1000000, ok);
    track->init_version = get_u32(json, "init_version", ok);
    track->range = parse_range(json_object_get(json, "range"));
    if (json_object_get(json, "peak_bps"))
        track->peak_bps = get_u32(json, "peak_bps", ok);
    if (track->kind == TRACK_VIDEO) {
        track->width = (uint16_t)get_int(json, "width", 1, UINT16_MAX, ok);
        track->height = (uint16_t)get_int(json, "height", 1, UINT16_MAX, ok);
        track->frame_rate_milli = get_u32(json, "frame_rate_milli", ok);
    } else if (track->kind == TRACK_AUDIO) {
        track->sample_rate = get_u32(json, "sample_rate", ok);
        track->channels = get_u32(json, "channels", ok);
        track->low = json_is_true(json_object_get(json, "low"));
    }
    track->on_demand = json_is_true(json_object_get(json, "on_demand"));
    track->init = init_blob(json_object_get(json, "init"));
    *ok &= track->init && track_name_ok(track->name);
}

static bool distinct(const struct record_open *open) {
    for (uint32_t i = 0; i < open->track_count; i++)
        for (uint32_t k = 0; k < i; k++)
            if (!strcmp(open->tracks[i].name, open->tracks[k].name) ||
                open->tracks[i].track_id == open->tracks[k].track_id)
                return false;
    return true;
}

static bool parse_open(const json_t *json, struct record *record) {
    const json_t *tracks = json_object_get(json, "tracks");
    size_t count = json_array_size(tracks);
    bool ok = count >= 1 && count <= TRACKS_MAX;
    record->open.target_duration_ms = (uint32_t)get_int(json, "target_duration_ms", 1, 60000, &ok);
    record->open.part_target_us = (uint32_t)get_int(json, "part_target_us", 1, 60000000, &ok);
    for (size_t i = 0; ok && i < count; i++) {
        parse_track(json_array_get(tracks, i), &record->open.tracks[record->open.track_count++], &ok);
        record->open.late |= json_is_true(json_object_get(json_array_get(tracks, i), "late")) ? 1u << i : 0;
    }
    return ok && distinct(&record->open);
}

/* --- part --- */

static json_t *part_json(const struct record *record) {
    const struct record_part *part = &record->part;
    json_t *tracks = json_array();
    uint32_t count = TRACKS_MAX;
    while (count && !part->tracks[count - 1].chunks && !part->tracks[count - 1].duration_ts)
        count--;
    for (uint32_t i = 0; i < count; i++) {
        const struct record_part_track *track = &part->tracks[i];
        json_array_append_new(tracks, json_pack("[I, I, I, b]", as_json(track->chunks), as_json(track->duration_ts),
                                                as_json(track->bytes), track->independent));
    }
    return json_pack("{s:I, s:I, s:I, s:I, s:b, s:b, s:b, s:I, s:I, s:I, s:o}", "epoch", as_json(record->epoch),
                     "number", as_json(part->number), "msn", as_json(part->msn), "index", as_json(part->index),
                     "independent", !!(part->flags & PART_INDEPENDENT), "last", !!(part->flags & PART_LAST),
                     "discontinuity", !!(part->flags & PART_DISCONTINUITY), "discontinuity_sequence",
                     as_json(part->discontinuity_sequence), "start_us", (json_int_t)part->start_us, "wall_us",
                     (json_int_t)part->wall_us, "tracks", tracks);
}

/* Of nodes that don't say it of each track, the part's flag is true of the pictures, of which there is one track then.
 */
static bool parse_part_track(const json_t *json, bool independent, struct record_part_track *track) {
    json_int_t chunks, duration_ts, bytes;
    if (json_unpack((json_t *)(uintptr_t)json, "[I, I, I]", &chunks, &duration_ts, &bytes) || chunks < 0 ||
        chunks > 16384 || duration_ts < 0 || duration_ts > UINT32_MAX || bytes < 0 || bytes > UINT32_MAX)
        return false;
    const json_t *own = json_array_get(json, 3);
    *track = (struct record_part_track){(uint32_t)chunks, (uint32_t)duration_ts, (uint32_t)bytes,
                                        own ? json_is_true(own) : independent && chunks};
    return true;
}

static bool parse_part(const json_t *json, struct record *record) {
    struct record_part *part = &record->part;
    const json_t *tracks = json_object_get(json, "tracks");
    bool ok = json_array_size(tracks) <= TRACKS_MAX;
    part->number = get_u64(json, "number", &ok);
    part->msn = get_u64(json, "msn", &ok);
    part->index = get_u32(json, "index", &ok);
    part->flags = (json_is_true(json_object_get(json, "independent")) ? PART_INDEPENDENT : 0) |
                  (json_is_true(json_object_get(json, "last")) ? PART_LAST : 0) |
                  (json_is_true(json_object_get(json, "discontinuity")) ? PART_DISCONTINUITY : 0);
    part->discontinuity_sequence = get_u32(json, "discontinuity_sequence", &ok);
    part->start_us = get_int(json, "start_us", 0, INT64_MAX / 2, &ok);
    part->wall_us = get_int(json, "wall_us", 0, INT64_MAX / 2, &ok);
    for (size_t i = 0; ok && i < json_array_size(tracks); i++)
        ok = parse_part_track(json_array_get(tracks, i), part->flags & PART_INDEPENDENT, &part->tracks[i]);
    return ok;
}

/* --- state, path --- */

static bool parse_state(const json_t *json, struct record *record) {
    const char *name = json_string_value(json_object_get(json, "state"));
    for (int i = STREAM_LIVE; name && i <= STREAM_ENDED; i++)
        if (!strcmp(name, stream_state_name(i))) {
            record->state.state = i;
            return true;
        }
    return false;
}

static json_t *path_json(const struct record_path *path) {
    json_t *nodes = json_array();
    for (uint32_t i = 0; i < path->count; i++)
        json_array_append_new(nodes, json_string(path->nodes[i]));
    return nodes;
}

static bool parse_path(const json_t *json, struct record_path *path) {
    size_t count = json_array_size(json);
    bool ok = json_is_array(json) && count <= PATH_NODES_MAX;
    for (size_t i = 0; ok && i < count; i++)
        get_text(json_array_get(json, i), path->nodes[path->count++], NODE_NAME_LEN, &ok);
    return ok;
}

/* --- lines --- */

static const char *const keys[] = {
    [FEED_LINE_HELLO] = "hello",     [FEED_LINE_PATH] = "path",   [FEED_LINE_OPEN] = "open",
    [FEED_LINE_SEGMENT] = "segment", [FEED_LINE_PART] = "part",   [FEED_LINE_STATE] = "state",
    [FEED_LINE_BEAT] = "beat",       [FEED_LINE_DRAIN] = "drain", [FEED_LINE_TOUCH] = "touch",
    [FEED_LINE_TAKE] = "take"};
enum { KINDS = sizeof keys / sizeof *keys };

static json_t *value_json(const struct feed_line *line) {
    switch (line->kind) {
    case FEED_LINE_HELLO:
        return json_pack("{s:I, s:s}", "version", as_json(line->version), "node", line->node);
    case FEED_LINE_PATH:
        return path_json(&line->record->path);
    case FEED_LINE_OPEN:
        return open_json(line->record);
    case FEED_LINE_SEGMENT:
        return json_pack("{s:I, s:I}", "epoch", as_json(line->epoch), "msn", as_json(line->msn));
    case FEED_LINE_PART:
        return part_json(line->record);
    case FEED_LINE_STATE:
        return json_pack("{s:I, s:s}", "epoch", as_json(line->record->epoch), "state",
                         stream_state_name(line->record->state.state));
    default:
        return json_object();
    }
}

static int dump(const char *text, size_t len, void *out) {
    return buf_append(out, text, len) ? -1 : 0;
}

int feed_line_write(struct buf *out, const struct feed_line *line) {
    json_t *json = json_pack("{s:o}", keys[line->kind], value_json(line));
    int rc = json_dump_callback(json, dump, out, JSON_COMPACT | JSON_PRESERVE_ORDER) ? -ENOBUFS : 0;
    json_decref(json);
    return rc ? rc : buf_append_str(out, "\n");
}

static enum feed_line_kind kind_of(const json_t *json, const json_t **ret_value) {
    for (int kind = FEED_LINE_HELLO; kind < KINDS; kind++)
        if ((*ret_value = json_object_get(json, keys[kind])))
            return kind;
    return FEED_LINE_UNKNOWN;
}

static bool parse_record(struct feed_line *line, const json_t *value, const char *stream) {
    static const enum record_type types[] = {[FEED_LINE_PATH] = RECORD_PATH,
                                             [FEED_LINE_OPEN] = RECORD_OPEN,
                                             [FEED_LINE_PART] = RECORD_PART,
                                             [FEED_LINE_STATE] = RECORD_STATE};
    bool ok = true;
    uint64_t epoch = line->kind == FEED_LINE_PATH ? 0 : get_u64(value, "epoch", &ok);
    line->record = record_create(types[line->kind], stream, epoch);
    if (line->kind == FEED_LINE_PATH)
        return parse_path(value, &line->record->path);
    if (line->kind == FEED_LINE_OPEN)
        return ok && parse_open(value, line->record);
    if (line->kind == FEED_LINE_PART)
        return ok && parse_part(value, line->record);
    return ok && parse_state(value, line->record);
}

static bool parse_value(struct feed_line *line, const json_t *value, const char *stream) {
    bool ok = true;
    switch (line->kind) {
    case FEED_LINE_HELLO:
        line->version = get_u32(value, "version", &ok);
        get_text(json_object_get(value, "node"), line->node, sizeof line->node, &ok);
        return ok;
    case FEED_LINE_SEGMENT:
        line->epoch = get_u64(value, "epoch", &ok);
        line->msn = get_u64(value, "msn", &ok);
        return ok;
    case FEED_LINE_UNKNOWN:
    case FEED_LINE_BEAT:
    case FEED_LINE_DRAIN:
    case FEED_LINE_TOUCH:
    case FEED_LINE_TAKE:
        return true;
    default:
        return parse_record(line, value, stream);
    }
}

int feed_line_parse(const char *text, size_t len, const char *stream, struct feed_line *ret_line) {
    const json_t *value;
    json_t *json = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    struct feed_line line = {.kind = kind_of(json, &value)};
    bool ok = json_is_object(json) && parse_value(&line, value, stream);
    json_decref(json);
    if (!ok) {
        feed_line_finish(&line);
        return -EBADMSG;
    }
    *ret_line = line;
    return 0;
}

void feed_line_finish(struct feed_line *line) {
    record_unref(line->record);
    line->record = NULL;
}

/* --- reading --- */

struct feed_lines {
    feed_line_fn *fn;
    void *ctx;
    struct buf begun;
    char stream[STREAM_NAME_LEN];
};

struct feed_lines *feed_lines_create(const char *stream, feed_line_fn *fn, void *ctx) {
    struct feed_lines *lines = calloc(1, sizeof *lines);
    if (!lines)
        abort();
    lines->fn = fn;
    lines->ctx = ctx;
    buf_init(&lines->begun, FEED_LINE_MAX);
    strcpy(lines->stream, stream);
    return lines;
}

void feed_lines_destroy(struct feed_lines *lines) {
    if (!lines)
        return;
    buf_finish(&lines->begun);
    free(lines);
}

static int give(struct feed_lines *lines, const uint8_t *text, size_t len) {
    struct feed_line line;
    int rc = feed_line_parse((const char *)text, len, lines->stream, &line);
    if (rc)
        return rc;
    rc = lines->fn(lines->ctx, &line);
    feed_line_finish(&line);
    return rc;
}

static int give_begun(struct feed_lines *lines) {
    int rc = give(lines, buf_head(&lines->begun), buf_len(&lines->begun));
    buf_consume(&lines->begun, buf_len(&lines->begun));
    return rc;
}

int feed_lines_push(struct feed_lines *lines, const uint8_t *data, size_t len) {
    const uint8_t *end;
    int rc = 0;
    while (!rc && (end = memchr(data, '\n', len))) {
        size_t n = (size_t)(end - data);
        if (!buf_len(&lines->begun))
            rc = give(lines, data, n);
        else if (!(rc = buf_append(&lines->begun, data, n)))
            rc = give_begun(lines);
        data += n + 1;
        len -= n + 1;
    }
    return rc || !len ? rc : buf_append(&lines->begun, data, len);
}
