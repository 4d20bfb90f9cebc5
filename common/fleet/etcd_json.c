#include "common/fleet/etcd_json.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/base64.h"
#include "common/base/buf.h"

/* --- base64 --- */

static void append_base64(struct buf *out, const char *text) {
    size_t len = base64_len(strlen(text));
    uint8_t *room = buf_reserve(out, len + 1);
    if (!room)
        return;
    base64_encode((char *)room, text, strlen(text));
    buf_commit(out, len);
}

/* With a zero behind. The number of bytes, or -1: it isn't base64, or is longer than `size` - 1. */
static int decode_base64(const char *text, char *out, size_t size) {
    int n = base64_decode((uint8_t *)out, size - 1, text, strlen(text));
    if (n >= 0)
        out[n] = 0;
    return n;
}

/* --- requests --- */

static void append_key(struct buf *out, const char *name, const char *key) {
    buf_printf(out, "\"%s\":\"", name);
    append_base64(out, key);
    buf_append_str(out, "\"");
}

/* All keys that begin with `prefix`, from `from` on: up to the prefix with its last byte one higher. */
static void append_range(struct buf *out, const char *prefix, const char *from) {
    char end[ETCD_KEY_LEN];
    snprintf(end, sizeof end, "%s", prefix);
    if (*end)
        end[strlen(end) - 1]++;
    append_key(out, "key", from);
    buf_append_str(out, ",");
    append_key(out, "range_end", end);
}

void etcd_json_grant(struct buf *out, uint32_t ttl_s) {
    buf_printf(out, "{\"TTL\":\"%" PRIu32 "\"}", ttl_s);
}

void etcd_json_lease(struct buf *out, int64_t lease) {
    buf_printf(out, "{\"ID\":\"%" PRId64 "\"}", lease);
}

void etcd_json_range(struct buf *out, const char *prefix, const char *from, uint32_t limit, int64_t revision) {
    buf_append_str(out, "{");
    append_range(out, prefix, from);
    buf_printf(out, ",\"limit\":\"%" PRIu32 "\",\"revision\":\"%" PRId64 "\"}", limit, revision);
}

void etcd_json_watch(struct buf *out, const char *prefix, int64_t revision) {
    buf_append_str(out, "{\"create_request\":{");
    append_range(out, prefix, prefix);
    buf_printf(out, ",\"start_revision\":\"%" PRId64 "\",\"fragment\":true}}", revision);
}

void etcd_json_txn_begin(struct buf *out) {
    buf_append_str(out, "{\"success\":[");
}

void etcd_json_txn_add(struct buf *out, uint32_t index, const char *key, const char *value, int64_t lease) {
    buf_printf(out, "%s{\"%s\":{", index ? "," : "", value ? "request_put" : "request_delete_range");
    append_key(out, "key", key);
    if (value) {
        buf_append_str(out, ",");
        append_key(out, "value", value);
        buf_printf(out, ",\"lease\":\"%" PRId64 "\"", lease);
    }
    buf_append_str(out, "}}");
}

void etcd_json_txn_end(struct buf *out) {
    buf_append_str(out, "]}");
}

/* --- answers --- */

/* Proto3's JSON leaves out what is 0. */
static bool get_number(json_t *object, const char *name, int64_t *ret_number) {
    json_t *value = json_object_get(object, name);
    *ret_number = 0;
    if (json_is_integer(value))
        *ret_number = json_integer_value(value);
    if (!json_is_string(value))
        return !value || json_is_integer(value);
    char *end;
    errno = 0;
    *ret_number = strtoll(json_string_value(value), &end, 10);
    return end != json_string_value(value) && !*end && !errno;
}

static bool get_flag(json_t *object, const char *name) {
    return json_is_true(json_object_get(object, name));
}

/* Where the bytes of a call's entries are decoded. */
struct room {
    char key[ETCD_KEY_LEN], value[ETCD_VALUE_MAX + 1];
};

/* False: it is passed over. */
static bool read_entry(json_t *kv, bool deleted, struct room *room, struct etcd_entry *entry) {
    const char *key = json_string_value(json_object_get(kv, "key"));
    const char *value = json_string_value(json_object_get(kv, "value"));
    int key_len = key ? decode_base64(key, room->key, sizeof room->key) : -1;
    int value_len = decode_base64(value ? value : "", room->value, sizeof room->value);
    bool text = key_len > 0 && strlen(room->key) == (size_t)key_len;
    if (!text)
        room->key[0] = 0;
    *entry = (struct etcd_entry){.key = room->key};
    if (!text || (value_len < 0 && !deleted) || !get_number(kv, "mod_revision", &entry->revision) ||
        !get_number(kv, "lease", &entry->lease))
        return false;
    entry->value = deleted ? NULL : room->value;
    entry->value_len = deleted ? 0 : (size_t)value_len;
    return true;
}

static int read_entries(json_t *kvs, struct etcd_answer *answer, etcd_entry_fn *fn, void *ctx) {
    struct room room;
    struct etcd_entry entry;
    size_t i;
    json_t *kv;
    if (kvs && !json_is_array(kvs))
        return -EBADMSG;
    json_array_foreach(kvs, i, kv) {
        if (!json_is_object(kv))
            return -EBADMSG;
        bool ours = read_entry(kv, false, &room, &entry);
        if (room.key[0])
            strcpy(answer->last_key, room.key);
        if (ours && fn)
            fn(ctx, &entry);
    }
    return 0;
}

static int read_events(json_t *events, etcd_entry_fn *fn, void *ctx) {
    struct room room;
    struct etcd_entry entry;
    size_t i;
    json_t *event;
    if (events && !json_is_array(events))
        return -EBADMSG;
    json_array_foreach(events, i, event) {
        const char *type = json_string_value(json_object_get(event, "type"));
        json_t *kv = json_object_get(event, "kv");
        if (!json_is_object(kv))
            return -EBADMSG;
        if (read_entry(kv, type && !strcmp(type, "DELETE"), &room, &entry) && fn)
            fn(ctx, &entry);
    }
    return 0;
}

/* {"error": "text", "code": 5} of a call, {"error": {"message": "text", "grpc_code": 5}} of a stream. */
static int read_error(json_t *root, json_t *error, struct etcd_answer *answer) {
    json_t *of = json_is_object(error) ? error : root;
    const char *text = json_string_value(json_is_object(error) ? json_object_get(error, "message") : error);
    json_t *code = json_object_get(of, json_is_object(error) ? "grpc_code" : "code");
    snprintf(answer->error, sizeof answer->error, "%s", text ? text : "an error without a text");
    answer->code = (int)json_integer_value(code);
    return -EREMOTEIO;
}

static int read_result(json_t *result, struct etcd_answer *answer, etcd_entry_fn *fn, void *ctx) {
    int64_t compacted;
    if (!get_number(json_object_get(result, "header"), "revision", &answer->revision) ||
        !get_number(result, "ID", &answer->lease) || !get_number(result, "TTL", &answer->ttl_s) ||
        !get_number(result, "compact_revision", &compacted))
        return -EBADMSG;
    answer->more = get_flag(result, "more");
    answer->created = get_flag(result, "created");
    answer->cancelled = get_flag(result, "canceled");
    answer->compacted = compacted > 0;
    answer->fragment = get_flag(result, "fragment");
    const char *reason = json_string_value(json_object_get(result, "cancel_reason"));
    snprintf(answer->error, sizeof answer->error, "%s", reason ? reason : "");
    int rc = read_entries(json_object_get(result, "kvs"), answer, fn, ctx);
    return rc ? rc : read_events(json_object_get(result, "events"), fn, ctx);
}

int etcd_json_answer(const char *text, size_t len, struct etcd_answer *ret_answer, etcd_entry_fn *fn, void *ctx) {
    json_t *root = json_loadb(text, len, 0, NULL);
    json_t *error = json_object_get(root, "error"), *result = json_object_get(root, "result");
    *ret_answer = (struct etcd_answer){0};
    int rc = !json_is_object(root) || (result && !json_is_object(result)) ? -EBADMSG
             : error                                                      ? read_error(root, error, ret_answer)
                     : read_result(result ? result : root, ret_answer, fn, ctx);
    json_decref(root);
    return rc;
}
