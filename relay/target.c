#include "relay/target.h"

#include <stdio.h>
#include <string.h>

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n > m && !strcmp(text + n - m, end);
}

/* Digits between `before` and `after`, no leading zero: one name for one object. */
static bool number_between(const char *text, const char *before, const char *after, uint64_t *ret) {
    size_t b = strlen(before);
    uint64_t value = 0;
    if (strncmp(text, before, b) || text[b] < '1' || text[b] > '9')
        return false;
    const char *p = text + b;
    for (int digits = 0; *p >= '0' && *p <= '9'; p++, digits++) {
        if (digits == 18)
            return false;
        value = value * 10 + (uint64_t)(*p - '0');
    }
    *ret = value;
    return !strcmp(p, after);
}

static void parse_in_variant(struct target *target, const char *file) {
    target->text = ends_with(file, ".vtt");
    const char *suffix = target->text ? ".vtt" : ".m4s";
    if (number_between(file, "p", suffix, &target->number))
        target->kind = TARGET_PART;
    else if (number_between(file, "", suffix, &target->number))
        target->kind = TARGET_SEGMENT;
    else if (number_between(file, "init-", ".mp4", &target->number))
        target->kind = TARGET_INIT;
    else if (!strcmp(file, "live.mp4"))
        target->kind = TARGET_LIVE;
}

static void parse_in_stream(struct target *target, const char *rest) {
    const char *slash = strchr(rest, '/');
    size_t len = slash ? (size_t)(slash - rest) : strlen(rest);
    if (!*rest) {
        target->kind = TARGET_PAGE;
    } else if (slash) {
        if (len < sizeof target->variant) {
            memcpy(target->variant, rest, len);
            parse_in_variant(target, slash + 1);
        }
    } else if (!strcmp(rest, "index.m3u8")) {
        target->kind = TARGET_MULTIVARIANT;
    } else if (!strcmp(rest, "steering.json")) {
        target->kind = TARGET_STEERING;
    } else if (!strcmp(rest, "thumb.jpg")) {
        target->kind = TARGET_THUMB;
    } else if (ends_with(rest, ".m3u8")) {
        if (len - 5 < sizeof target->variant) {
            memcpy(target->variant, rest, len - 5);
            target->kind = TARGET_MEDIA;
        }
    } else if (len < sizeof target->file) {
        strcpy(target->file, rest);
        target->kind = TARGET_ASSET;
    }
}

struct target target_parse(const char *path) {
    struct target target = {0};
    const char *app = path + 1, *slash = strchr(app, '/');
    if (!slash)
        return target;
    const char *name = slash + 1, *end = strchr(name, '/');
    size_t len = end ? (size_t)(end - app) : strlen(app);
    if (len >= sizeof target.stream)
        return target;
    memcpy(target.stream, app, len);
    if (!name_ok(target.stream))
        return target;
    if (end)
        parse_in_stream(&target, end + 1);
    else
        target.kind = TARGET_PAGE_SLASH;
    return target;
}

uint8_t target_urgency(const struct target *target) {
    enum { PLAYLIST = 1, INIT = 2, OTHER = 3, SOUND = 3, RUNG = 4, BEST = 5 };
    switch (target->kind) {
    case TARGET_MULTIVARIANT:
    case TARGET_MEDIA:
        return PLAYLIST;
    case TARGET_INIT:
        return INIT;
    case TARGET_SEGMENT:
    case TARGET_PART:
    case TARGET_LIVE:
        return target->variant[0] == 'a' || target->variant[0] == 's' ? SOUND : target->variant[1] == '0' ? BEST : RUNG;
    default:
        return OTHER;
    }
}
