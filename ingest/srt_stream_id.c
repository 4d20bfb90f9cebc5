#include "ingest/srt_stream_id.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* A run of the text, which nothing terminates. */
struct run {
    const char *at;
    size_t len;
};

struct pairs {
    struct run r, m, t, s, u, backup, rung, audio; /* `at` NULL: not given */
};

static bool same(struct run run, const char *word) {
    return strlen(word) == run.len && memcmp(run.at, word, run.len) == 0;
}

/* Takes what stands before `delimiter`, and that, off the front of `rest`. */
static struct run take(struct run *rest, char delimiter) {
    const char *end = rest->len ? memchr(rest->at, delimiter, rest->len) : NULL;
    struct run taken = {rest->at, end ? (size_t)(end - rest->at) : rest->len};
    size_t gone = taken.len + (end ? 1 : 0);
    rest->at += gone;
    rest->len -= gone;
    return taken;
}

static bool printable(struct run run) {
    for (size_t i = 0; i < run.len; i++)
        if ((unsigned char)run.at[i] < ' ' || run.at[i] == 127)
            return false;
    return true;
}

/* --- names and keys --- */

/* The first that isn't empty; `word`: "key=". */
static struct run in_query(struct run query, const char *word) {
    const size_t len = strlen(word);
    while (query.len) {
        struct run item = take(&query, '&');
        if (item.len > len && memcmp(item.at, word, len) == 0)
            return (struct run){item.at + len, item.len - len};
    }
    return (struct run){0};
}

static void copy(char *out, struct run run) {
    if (run.len)
        memcpy(out, run.at, run.len);
    out[run.len] = 0;
}

/* "app/name?key=KEY"; `key` is one that was given otherwise. */
static enum srt_stream_id_result set_name(struct run resource, struct run key, struct srt_stream_id *ret_id) {
    struct srt_stream_id id = {0};
    struct run path = take(&resource, '?'), app = take(&path, '/');
    if (app.len >= sizeof id.app || path.len >= sizeof id.name)
        return SRT_STREAM_ID_BAD;
    copy(id.app, app);
    copy(id.name, path);
    if (!join_request_parse(resource.at, resource.len, &id.join) || !name_join(id.stream, id.app, id.name))
        return SRT_STREAM_ID_BAD;
    struct run given = in_query(resource, "key=");
    copy(id.key, given.len ? given : key);
    id.backup = same(in_query(resource, "backup="), "1");
    *ret_id = id;
    return SRT_STREAM_ID_OK;
}

/* --- the standard syntax --- */

static struct run *place_of(struct pairs *pairs, struct run key) {
    if (same(key, "backup"))
        return &pairs->backup;
    if (same(key, "rung"))
        return &pairs->rung;
    if (same(key, "audio"))
        return &pairs->audio;
    if (key.len != 1)
        return NULL;
    switch (*key.at) {
    case 'r':
        return &pairs->r;
    case 'm':
        return &pairs->m;
    case 't':
        return &pairs->t;
    case 's':
        return &pairs->s;
    case 'u':
        return &pairs->u;
    default:
        return NULL;
    }
}

/* False: one of them is no pair, or is there twice. Commas may be too many. */
static bool read_pairs(struct run rest, struct pairs *pairs) {
    while (rest.len) {
        struct run value = take(&rest, ',');
        if (!value.len)
            continue;
        if (!memchr(value.at, '=', value.len))
            return false;
        struct run key = take(&value, '='), *place = place_of(pairs, key);
        if (!key.len || (place && place->at))
            return false;
        if (place)
            *place = value;
    }
    return true;
}

/* Beside the name's query, or instead. */
static bool set_join(const struct pairs *pairs, struct srt_stream_id *id) {
    char query[SRT_STREAM_ID_MAX + sizeof "rung=&audio="];
    struct join_request join;
    if (!pairs->rung.at && !pairs->audio.at)
        return true;
    int len = snprintf(query, sizeof query, "%s%.*s%s%.*s", pairs->rung.at ? "rung=" : "", (int)pairs->rung.len,
                       pairs->rung.at ? pairs->rung.at : "", pairs->audio.at ? "&audio=" : "", (int)pairs->audio.len,
                       pairs->audio.at ? pairs->audio.at : "");
    if (id->join.kind != JOIN_NONE || !join_request_parse(query, (size_t)len, &join))
        return false;
    id->join = join;
    return true;
}

static enum srt_stream_id_result parse_standard(struct run rest, struct srt_stream_id *ret_id) {
    struct pairs pairs = {0};
    if (!read_pairs(rest, &pairs))
        return SRT_STREAM_ID_BAD;
    if (pairs.t.at && !same(pairs.t, "stream"))
        return SRT_STREAM_ID_TYPE;
    if (!pairs.m.at || !same(pairs.m, "publish"))
        return SRT_STREAM_ID_MODE;
    if (!pairs.r.at)
        return SRT_STREAM_ID_BAD;
    struct srt_stream_id id;
    enum srt_stream_id_result result = set_name(pairs.r, pairs.s.len ? pairs.s : pairs.u, &id);
    if (result != SRT_STREAM_ID_OK)
        return result;
    if (!set_join(&pairs, &id))
        return SRT_STREAM_ID_BAD;
    id.backup |= pairs.backup.at && same(pairs.backup, "1");
    *ret_id = id;
    return SRT_STREAM_ID_OK;
}

/* --- the plain form --- */

static bool asks_to_play(struct run word) {
    return same(word, "play") || same(word, "request") || same(word, "read");
}

/* A word stands before the name when that has its two components nevertheless. */
static enum srt_stream_id_result parse_plain(struct run text, struct srt_stream_id *ret_id) {
    struct run query = text, path = take(&query, '?'), rest = path, word = take(&rest, '/');
    bool worded = rest.len && memchr(rest.at, '/', rest.len);
    if (worded && asks_to_play(word))
        return SRT_STREAM_ID_MODE;
    if (worded && same(word, "publish"))
        text = (struct run){rest.at, text.len - (size_t)(rest.at - text.at)};
    return set_name(text, (struct run){0}, ret_id);
}

/* --- percent-encoding --- */

static int digit_of(char c) {
    static const char digits[] = "0123456789abcdef";
    const char *at = c ? strchr(digits, c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* RFC 3986 §2.1. False: a percent sign without its two digits. */
static bool decode(struct run text, char out[SRT_STREAM_ID_MAX], size_t *ret_len) {
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.at[i];
        if (c == '%') {
            int high = text.len - i > 2 ? digit_of(text.at[i + 1]) : -1,
                low = high >= 0 ? digit_of(text.at[i + 2]) : -1;
            if (low < 0)
                return false;
            c = (char)(high << 4 | low);
            i += 2;
        }
        out[len++] = c;
    }
    *ret_len = len;
    return true;
}

static bool begins(struct run text, const char *word) {
    size_t len = strlen(word);
    return text.len >= len && memcmp(text.at, word, len) == 0;
}

enum srt_stream_id_result srt_stream_id_parse(const char *text, size_t len, struct srt_stream_id *ret_id) {
    char decoded[SRT_STREAM_ID_MAX];
    struct run all = {text, len};
    if (len > SRT_STREAM_ID_MAX)
        return SRT_STREAM_ID_BAD;
    if (begins(all, "%23!::")) {
        if (!decode(all, decoded, &all.len))
            return SRT_STREAM_ID_BAD;
        all.at = decoded;
    }
    if (!printable(all))
        return SRT_STREAM_ID_BAD;
    if (begins(all, "#!::"))
        return parse_standard((struct run){all.at + 4, all.len - 4}, ret_id);
    return parse_plain(all, ret_id);
}
