#include "ingest/srt_admission.h"

#include <string.h>

#include "common/auth/publish_key.h"
#include "common/base/pattern.h"
#include "ingest/address_counts.h"
#include "ingest/live_names.h"

static const struct {
    const char *name;
    int code;
} refusals[SRT_REFUSAL_COUNT] = {
    [SRT_ADMITTED] = {"admitted", 0},
    [SRT_REFUSED_BAD_ID] = {"bad_stream_id", 1400},
    [SRT_REFUSED_NO_KEY] = {"no_key", 1401},
    [SRT_REFUSED_FULL] = {"full", 1402},
    [SRT_REFUSED_ADDRESS] = {"address", 1402},
    [SRT_REFUSED_WRONG_KEY] = {"wrong_key", 1403},
    [SRT_REFUSED_MODE] = {"mode", 1405},
    [SRT_REFUSED_BUSY] = {"busy", 1409},
    [SRT_REFUSED_TYPE] = {"type", 1415},
    [SRT_REFUSED_UNREACHABLE] = {"unreachable", 1502},
    [SRT_REFUSED_STOPPING] = {"stopping", 1503},
    [SRT_REFUSED_CUT] = {"cut", 0},
    [SRT_REFUSED_HANDSHAKE] = {"handshake", 0},
};

int srt_refusal_code(enum srt_refusal refusal) {
    return refusals[refusal].code;
}

const char *srt_refusal_name(enum srt_refusal refusal) {
    return refusals[refusal].name;
}

static enum srt_refusal of_parse(enum srt_stream_id_result result) {
    switch (result) {
    case SRT_STREAM_ID_OK:
        return SRT_ADMITTED;
    case SRT_STREAM_ID_MODE:
        return SRT_REFUSED_MODE;
    case SRT_STREAM_ID_TYPE:
        return SRT_REFUSED_TYPE;
    default:
        return SRT_REFUSED_BAD_ID;
    }
}

/* A name that ends so is a rung of another's, whose key counts. */
static void resolve_rung(const struct srt_admission *rules, struct srt_stream_id *id) {
    if (id->join.kind == JOIN_NONE &&
        join_request_by_name(rules->rung_suffixes, rules->rung_suffix_count, id->name, &id->join))
        name_join(id->stream, id->app, id->name);
}

enum srt_refusal srt_admission_judge(const struct srt_admission *rules, const char *from, const char *text, size_t len,
                                     int64_t now_us, struct srt_stream_id *ret_id) {
    struct srt_stream_id id;
    enum srt_refusal parsed = of_parse(srt_stream_id_parse(text, len, &id));
    if (parsed != SRT_ADMITTED)
        return parsed;
    resolve_rung(rules, &id);
    *ret_id = id;
    if (!publish_key_admits(rules->publish_keys, rules->publish_key_count, id.stream, id.key))
        return id.key[0] ? SRT_REFUSED_WRONG_KEY : SRT_REFUSED_NO_KEY;
    if (!id.backup && id.join.kind == JOIN_NONE && live_names_busy(rules->live, id.stream, now_us - rules->silent_us))
        return SRT_REFUSED_BUSY;
    if (address_counts_full(rules->addresses, from))
        return SRT_REFUSED_ADDRESS;
    return SRT_ADMITTED;
}

/* How closely an entry names the stream: 0 not at all, 1 as all others. */
static size_t closeness(const char *entry, const char *stream, const char **ret_passphrase) {
    const char *colon = strchr(entry, ':');
    *ret_passphrase = colon ? colon + 1 : entry;
    return colon ? pattern_closeness(entry, (size_t)(colon - entry), stream) : 1;
}

const char *srt_admission_passphrase(const struct srt_admission *rules, const char *stream) {
    const char *best = NULL;
    size_t closest = 0;
    for (uint32_t i = 0; i < rules->passphrase_count; i++) {
        const char *passphrase;
        size_t close = closeness(rules->passphrases[i], stream, &passphrase);
        if (close > closest) {
            closest = close;
            best = passphrase;
        }
    }
    return best;
}
