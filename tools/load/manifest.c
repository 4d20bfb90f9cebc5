#include "tools/load/manifest.h"

#include <stdlib.h>
#include <string.h>

void manifest_begin(struct manifest *manifest) {
    *manifest = (struct manifest){.on_variant = manifest->on_variant,
                                  .on_part = manifest->on_part,
                                  .on_segment = manifest->on_segment,
                                  .ctx = manifest->ctx};
}

/* --- attribute lists --- */

/* The value of `name` in NAME=value,NAME="value"; NULL when absent. Quotes are left out. */
static const char *attribute(const char *list, const char *name, size_t *ret_len) {
    size_t name_len = strlen(name);
    for (const char *p = list; *p;) {
        size_t key = strcspn(p, "=");
        const char *value = p + key + (p[key] == '=');
        bool quoted = *value == '"';
        size_t len = strcspn(value + quoted, quoted ? "\"" : ",");
        if (key == name_len && !strncmp(p, name, key)) {
            *ret_len = len;
            return value + quoted;
        }
        p = value + quoted + len;
        p += strcspn(p, ",");
        p += *p == ',';
    }
    return NULL;
}

static bool attribute_copy(const char *list, const char *name, char out[MANIFEST_URI_MAX]) {
    size_t len;
    const char *value = attribute(list, name, &len);
    if (!value || len >= MANIFEST_URI_MAX)
        return false;
    memcpy(out, value, len);
    out[len] = '\0';
    return true;
}

static int64_t attribute_us(const char *list, const char *name) {
    size_t len;
    const char *value = attribute(list, name, &len);
    return value ? (int64_t)(strtod(value, NULL) * 1e6 + 0.5) : 0;
}

static bool attribute_is(const char *list, const char *name, const char *wanted) {
    size_t len;
    const char *value = attribute(list, name, &len);
    return value && len == strlen(wanted) && !strncmp(value, wanted, len);
}

/* --- tags --- */

static void on_server_control(struct manifest *manifest, const char *list) {
    size_t len;
    manifest->can_block = attribute_is(list, "CAN-BLOCK-RELOAD", "YES");
    manifest->can_skip = attribute(list, "CAN-SKIP-UNTIL", &len);
    manifest->hold_back_us = attribute_us(list, "HOLD-BACK");
    manifest->part_hold_back_us = attribute_us(list, "PART-HOLD-BACK");
}

static void on_part(struct manifest *manifest, const char *list) {
    struct manifest_item item = {.msn = manifest->msn,
                                 .part = manifest->part,
                                 .duration_us = attribute_us(list, "DURATION")};
    item.independent = attribute_is(list, "INDEPENDENT", "YES");
    manifest->part++;
    if (attribute_is(list, "GAP", "YES") || !attribute_copy(list, "URI", item.uri))
        return;
    if (manifest->on_part)
        manifest->on_part(manifest->ctx, &item);
}

static void on_segment(struct manifest *manifest, const char *uri) {
    struct manifest_item item = {.msn = manifest->msn++, .part = manifest->part, .duration_us = manifest->inf_us};
    manifest->part = 0;
    manifest->after_inf = false;
    if (strlen(uri) >= sizeof item.uri)
        return;
    strcpy(item.uri, uri);
    if (manifest->on_segment)
        manifest->on_segment(manifest->ctx, &item);
}

static void on_skip(struct manifest *manifest, const char *list) {
    size_t len;
    const char *count = attribute(list, "SKIPPED-SEGMENTS", &len);
    if (count)
        manifest->msn += strtoull(count, NULL, 10);
}

static void on_hint(struct manifest *manifest, const char *list) {
    if (attribute_is(list, "TYPE", "PART"))
        attribute_copy(list, "URI", manifest->hint);
}

static void on_extinf(struct manifest *manifest, const char *value) {
    manifest->inf_us = (int64_t)(strtod(value, NULL) * 1e6 + 0.5);
    manifest->after_inf = true;
}

/* What follows `tag` in the line, or NULL when it is another. */
static const char *tagged(const char *line, const char *tag) {
    size_t len = strlen(tag);
    return strncmp(line, tag, len) ? NULL : line + len;
}

static void on_tag(struct manifest *manifest, const char *line) {
    const char *value;
    if (!strcmp(line, "#EXTM3U"))
        manifest->valid = true;
    else if ((value = tagged(line, "#EXTINF:")))
        on_extinf(manifest, value);
    else if ((value = tagged(line, "#EXT-X-PART:")))
        on_part(manifest, value);
    else if ((value = tagged(line, "#EXT-X-TARGETDURATION:")))
        manifest->target_us = (int64_t)strtoul(value, NULL, 10) * 1000000;
    else if ((value = tagged(line, "#EXT-X-PART-INF:")))
        manifest->part_target_us = attribute_us(value, "PART-TARGET");
    else if ((value = tagged(line, "#EXT-X-SERVER-CONTROL:")))
        on_server_control(manifest, value);
    else if ((value = tagged(line, "#EXT-X-MEDIA-SEQUENCE:")))
        manifest->msn = strtoull(value, NULL, 10);
    else if ((value = tagged(line, "#EXT-X-SKIP:")))
        on_skip(manifest, value);
    else if ((value = tagged(line, "#EXT-X-MAP:")))
        attribute_copy(value, "URI", manifest->map);
    else if ((value = tagged(line, "#EXT-X-PRELOAD-HINT:")))
        on_hint(manifest, value);
    else if (tagged(line, "#EXT-X-STREAM-INF:"))
        manifest->variant_next = true;
    else if (!strcmp(line, "#EXT-X-ENDLIST"))
        manifest->ended = true;
}

static void on_line(struct manifest *manifest) {
    char *line = manifest->line;
    size_t len = manifest->line_len;
    manifest->line_len = 0;
    if (len > 0 && line[len - 1] == '\r')
        len--;
    line[len] = '\0';
    if (*line == '#') {
        on_tag(manifest, line);
    } else if (*line && manifest->variant_next) {
        manifest->variant_next = false;
        if (manifest->on_variant)
            manifest->on_variant(manifest->ctx, line);
    } else if (*line && manifest->after_inf) {
        on_segment(manifest, line);
    }
}

void manifest_feed(struct manifest *manifest, const uint8_t *data, size_t len) {
    while (len > 0) {
        const uint8_t *end = memchr(data, '\n', len);
        size_t n = end ? (size_t)(end - data) : len, room = MANIFEST_LINE_MAX - 1 - manifest->line_len;
        memcpy(manifest->line + manifest->line_len, data, n < room ? n : room);
        manifest->line_len += (uint16_t)(n < room ? n : room);
        if (!end)
            return;
        on_line(manifest);
        data += n + 1;
        len -= n + 1;
    }
}

void manifest_end(struct manifest *manifest) {
    on_line(manifest);
}
