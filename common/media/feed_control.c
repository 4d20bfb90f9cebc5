#include "common/media/feed_control.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "common/base/buf.h"

static json_t *tracks_json(const struct feed_granted *granted) {
    json_t *tracks = json_object();
    for (uint32_t i = 0; i < granted->track_count; i++) {
        const struct feed_from *from = &granted->tracks[i];
        json_object_set_new(tracks, from->track, json_pack("[I, I]", (json_int_t)from->msn, (json_int_t)from->number));
    }
    return tracks;
}

static int dump(const char *text, size_t len, void *out) {
    return buf_append(out, text, len) ? -1 : 0;
}

int feed_granted_write(struct buf *out, const struct feed_granted *granted) {
    const struct claim_grant *grant = &granted->grant;
    json_t *json =
        json_pack("{s:{s:s, s:I, s:I, s:I, s:I, s:b, s:I, s:I, s:I, s:I, s:I, s:o}}", "granted", "session",
                  granted->session, "epoch", (json_int_t)grant->epoch, "next_msn", (json_int_t)grant->next_msn,
                  "next_part", (json_int_t)grant->next_part, "not_before_us", (json_int_t)grant->not_before_us,
                  "resumes", grant->resumes, "target_duration_ms", (json_int_t)grant->target_duration_ms,
                  "part_target_us", (json_int_t)grant->part_target_us, "init_versions",
                  (json_int_t)grant->init_versions, "discontinuity_sequence", (json_int_t)grant->discontinuity_sequence,
                  "from", (json_int_t)granted->from_msn, "tracks", tracks_json(granted));
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
    json_int_t epoch, msn, part, not_before_us, target_ms, part_us, inits, sequence, from;
    const char *session;
    json_t *tracks;
    int resumes;
    if (json_unpack(json, "{s:s, s:I, s:I, s:I, s:I, s:b, s:I, s:I, s:I, s:I, s:I, s:o}", "session", &session, "epoch",
                    &epoch, "next_msn", &msn, "next_part", &part, "not_before_us", &not_before_us, "resumes", &resumes,
                    "target_duration_ms", &target_ms, "part_target_us", &part_us, "init_versions", &inits,
                    "discontinuity_sequence", &sequence, "from", &from, "tracks", &tracks))
        return false;
    bool ok = epoch > 0 && msn >= 0 && part >= 0 && not_before_us >= 0 && target_ms >= 0 && target_ms <= 60000 &&
              part_us >= 0 && part_us <= 60000000 && inits >= 0 && inits < UINT32_MAX && sequence >= 0 &&
              sequence < UINT32_MAX && from >= 0 && strlen(session) < FEED_SESSION_LEN &&
              strspn(session, "0123456789abcdef") == strlen(session);
    if (!ok || !parse_tracks(tracks, granted))
        return false;
    strcpy(granted->session, session);
    granted->from_msn = (uint64_t)from;
    *grant = (struct claim_grant){.epoch = (uint64_t)epoch,
                                  .next_msn = (uint64_t)msn,
                                  .next_part = (uint64_t)part,
                                  .not_before_us = not_before_us,
                                  .resumes = resumes,
                                  .target_duration_ms = (uint32_t)target_ms,
                                  .part_target_us = (uint32_t)part_us,
                                  .init_versions = (uint32_t)inits,
                                  .discontinuity_sequence = (uint32_t)sequence};
    return true;
}

int feed_granted_parse(const char *text, size_t len, struct feed_granted *ret_granted) {
    json_t *json = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    json_t *value = json_object_get(json, "granted");
    struct feed_granted granted = {0};
    int rc = !json_is_object(json) ? -EBADMSG : !value ? -ENOMSG : parse_granted(value, &granted) ? 0 : -EBADMSG;
    json_decref(json);
    if (!rc)
        *ret_granted = granted;
    return rc;
}
