#include "common/media/feed_control.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "common/base/buf.h"

static const char *const keys[] = {
    [FEED_CONTROL_GRANTED] = "granted", [FEED_CONTROL_CUT] = "cut",         [FEED_CONTROL_BEAT] = "beat",
    [FEED_CONTROL_DRAIN] = "drain",     [FEED_CONTROL_STANDBY] = "standby", [FEED_CONTROL_ASKED] = "asked"};
enum { KINDS = sizeof keys / sizeof *keys };
/* What the stream is, to one who stands by. */
static const char *const standings[] = {
    [CLAIM_STANDBY] = "busy", [CLAIM_OUTRANKS] = "outranked", [CLAIM_VACANT] = "vacant"};

static json_t *tracks_json(const struct feed_granted *granted) {
    json_t *tracks = json_object();
    for (uint32_t i = 0; i < granted->track_count; i++) {
        const struct feed_from *from = &granted->tracks[i];
        json_object_set_new(tracks, from->track, json_pack("[I, I]", (json_int_t)from->msn, (json_int_t)from->number));
    }
    return tracks;
}

static json_t *names_json(const struct track_names *names) {
    json_t *json = json_array();
    for (uint32_t i = 0; i < names->count; i++)
        json_array_append_new(json, json_string(names->items[i]));
    return json;
}

static int dump(const char *text, size_t len, void *out) {
    return buf_append(out, text, len) ? -1 : 0;
}

static json_t *granted_json(const struct feed_granted *granted) {
    const struct claim_grant *grant = &granted->grant;
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:b, s:I, s:I, s:I, s:I, s:I, s:b, s:o}", "session",
                     granted->session, "epoch", (json_int_t)grant->epoch, "last_epoch", (json_int_t)grant->last_epoch,
                     "next_msn", (json_int_t)grant->next_msn, "next_part", (json_int_t)grant->next_part,
                     "not_before_us", (json_int_t)grant->not_before_us, "resumes", grant->resumes, "target_duration_ms",
                     (json_int_t)grant->target_duration_ms, "part_target_us", (json_int_t)grant->part_target_us,
                     "init_versions", (json_int_t)grant->init_versions, "discontinuity_sequence",
                     (json_int_t)grant->discontinuity_sequence, "from", (json_int_t)granted->from_msn, "asks",
                     granted->asks, "tracks", tracks_json(granted));
}

static json_t *value_json(const struct feed_control *control) {
    if (control->kind == FEED_CONTROL_GRANTED)
        return granted_json(&control->granted);
    if (control->kind == FEED_CONTROL_CUT)
        return json_pack("{s:I}", "refuse_s", (json_int_t)control->refuse_s);
    if (control->kind == FEED_CONTROL_STANDBY)
        return json_pack("{s:s}", "stream", standings[control->standing]);
    if (control->kind == FEED_CONTROL_ASKED)
        return json_pack("{s:o}", "tracks", names_json(&control->asked));
    return json_object();
}

int feed_control_write(struct buf *out, const struct feed_control *control) {
    json_t *json = json_pack("{s:o}", keys[control->kind], value_json(control));
    int rc = json_dump_callback(json, dump, out, JSON_COMPACT | JSON_PRESERVE_ORDER) ? -ENOBUFS : 0;
    json_decref(json);
    return rc ? rc : buf_append_str(out, "\n");
}

static bool parse_tracks(json_t *json, struct feed_granted *granted) {
    const char *name;
    json_t *place;
    if (!json_is_object(json) || json_object_size(json) > TRACKS_MAX)
        return false;
    json_object_foreach(json, name, place) {
        struct feed_from *from = &granted->tracks[granted->track_count++];
        json_int_t msn, number;
        if (strlen(name) >= sizeof from->track || json_unpack(place, "[I, I]", &msn, &number) || msn < 0 ||
            number < 0 || number > UINT32_MAX)
            return false;
        strcpy(from->track, name);
        from->msn = (uint64_t)msn;
        from->number = (uint32_t)number;
    }
    return true;
}

static bool parse_granted(json_t *json, struct feed_granted *granted) {
    struct claim_grant *grant = &granted->grant;
    json_int_t epoch, last_epoch, msn, part, not_before_us, target_ms, part_us, inits, sequence, from;
    const char *session;
    json_t *tracks;
    int resumes;
    if (json_unpack(json, "{s:s, s:I, s:I, s:I, s:I, s:I, s:b, s:I, s:I, s:I, s:I, s:I, s:o}", "session", &session,
                    "epoch", &epoch, "last_epoch", &last_epoch, "next_msn", &msn, "next_part", &part, "not_before_us",
                    &not_before_us, "resumes", &resumes, "target_duration_ms", &target_ms, "part_target_us", &part_us,
                    "init_versions", &inits, "discontinuity_sequence", &sequence, "from", &from, "tracks", &tracks))
        return false;
    bool ok = epoch > 0 && last_epoch >= 0 && msn >= 0 && part >= 0 && not_before_us >= 0 && target_ms >= 0 &&
              target_ms <= 60000 && part_us >= 0 && part_us <= 60000000 && inits >= 0 && inits < UINT32_MAX &&
              sequence >= 0 && sequence < UINT32_MAX && from >= 0 && strlen(session) < FEED_SESSION_LEN &&
              strspn(session, "0123456789abcdef") == strlen(session);
    if (!ok || !parse_tracks(tracks, granted))
        return false;
    strcpy(granted->session, session);
    granted->from_msn = (uint64_t)from;
    granted->asks = json_is_true(json_object_get(json, "asks"));
    *grant = (struct claim_grant){.epoch = (uint64_t)epoch,
                                  .next_msn = (uint64_t)msn,
                                  .last_epoch = (uint64_t)last_epoch,
                                  .next_part = (uint64_t)part,
                                  .not_before_us = not_before_us,
                                  .resumes = resumes,
                                  .target_duration_ms = (uint32_t)target_ms,
                                  .part_target_us = (uint32_t)part_us,
                                  .init_versions = (uint32_t)inits,
                                  .discontinuity_sequence = (uint32_t)sequence};
    return true;
}

static bool parse_cut(json_t *json, uint32_t *ret_refuse_s) {
    json_int_t refuse_s;
    if (json_unpack(json, "{s:I}", "refuse_s", &refuse_s) || refuse_s < 0 || refuse_s > CLAIM_REFUSE_MAX_S)
        return false;
    *ret_refuse_s = (uint32_t)refuse_s;
    return true;
}

static bool parse_standby(json_t *json, enum claim_result *ret_standing) {
    const char *stream;
    if (json_unpack(json, "{s:s}", "stream", &stream))
        return false;
    for (int i = CLAIM_STANDBY; i <= CLAIM_VACANT; i++)
        if (!strcmp(stream, standings[i])) {
            *ret_standing = (enum claim_result)i;
            return true;
        }
    return false;
}

static bool parse_asked(json_t *json, struct track_names *ret_asked) {
    json_t *tracks = json_object_get(json, "tracks"), *track;
    size_t i;
    if (!json_is_array(tracks) || json_array_size(tracks) > TRACKS_MAX)
        return false;
    json_array_foreach(tracks, i, track) {
        const char *name = json_string_value(track);
        struct track_names one = name ? track_names_of(name) : (struct track_names){0};
        if (one.count != 1)
            return false;
        track_names_add(ret_asked, one.items[0]);
    }
    return true;
}

static enum feed_control_kind kind_of(json_t *json, json_t **ret_value) {
    for (int kind = FEED_CONTROL_GRANTED; kind < KINDS; kind++)
        if ((*ret_value = json_object_get(json, keys[kind])))
            return kind;
    return FEED_CONTROL_UNKNOWN;
}

static bool parse_value(json_t *value, struct feed_control *control) {
    if (control->kind == FEED_CONTROL_GRANTED)
        return parse_granted(value, &control->granted);
    if (control->kind == FEED_CONTROL_CUT)
        return parse_cut(value, &control->refuse_s);
    if (control->kind == FEED_CONTROL_STANDBY)
        return parse_standby(value, &control->standing);
    if (control->kind == FEED_CONTROL_ASKED)
        return parse_asked(value, &control->asked);
    return true;
}

int feed_control_parse(const char *text, size_t len, struct feed_control *ret_control) {
    json_t *value, *json = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    struct feed_control control = {.kind = kind_of(json, &value)};
    bool ok = json_is_object(json) && parse_value(value, &control);
    json_decref(json);
    if (!ok)
        return -EBADMSG;
    *ret_control = control;
    return 0;
}
