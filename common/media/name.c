#include "common/media/name.h"

#include <string.h>

static bool char_ok(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("._~-", c));
}

bool name_component_ok(const char *component, size_t len) {
    if (len < 1 || len > 64)
        return false;
    for (size_t i = 0; i < len; i++)
        if (!char_ok(component[i]))
            return false;
    return !(len == 1 && component[0] == '.') && !(len == 2 && component[0] == '.' && component[1] == '.');
}

/* First components that are paths of our own. */
static bool app_reserved(const char *app, size_t len) {
    static const char *const reserved[] = {"t", "feed", "api"};
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
        if (strlen(reserved[i]) == len && !memcmp(reserved[i], app, len))
            return true;
    return false;
}

bool name_join(char out[STREAM_NAME_LEN], const char *app, const char *name) {
    size_t a = strlen(app), n = strlen(name);
    if (!name_component_ok(app, a) || app_reserved(app, a) || !name_component_ok(name, n))
        return false;
    memcpy(out, app, a);
    out[a] = '/';
    memcpy(out + a + 1, name, n + 1);
    return true;
}

bool name_ok(const char *stream) {
    const char *slash = strchr(stream, '/');
    if (!slash)
        return false;
    size_t a = (size_t)(slash - stream);
    return name_component_ok(stream, a) && !app_reserved(stream, a) && name_component_ok(slash + 1, strlen(slash + 1));
}

/* --- tracks --- */

bool track_names_have(const struct track_names *names, const char *track) {
    for (uint32_t i = 0; i < names->count; i++)
        if (!strcmp(names->items[i], track))
            return true;
    return false;
}

void track_names_add(struct track_names *names, const char *track) {
    if (names->count < TRACKS_MAX && !track_names_have(names, track))
        strncpy(names->items[names->count++], track, sizeof *names->items - 1);
}

bool track_names_same(const struct track_names *one, const struct track_names *other) {
    for (uint32_t i = 0; i < one->count; i++)
        if (!track_names_have(other, one->items[i]))
            return false;
    return one->count == other->count;
}

struct track_names track_names_of(const char *variant) {
    const struct track_names none = {0};
    struct track_names names = {0};
    while (*variant) {
        char track[4] = {*variant};
        size_t digits = strspn(variant + 1, "0123456789");
        if (*variant < 'a' || *variant > 'z' || digits < 1 || digits > 2 || names.count == TRACKS_MAX)
            return none;
        memcpy(track + 1, variant + 1, digits);
        track_names_add(&names, track);
        variant += 1 + digits;
    }
    return names;
}

/* --- feeds --- */

bool feed_path_parse(const char *path, char stream[STREAM_NAME_LEN], char track[4]) {
    static const char prefix[] = "/feed/";
    char name[STREAM_NAME_LEN];
    if (strncmp(path, prefix, sizeof prefix - 1) != 0)
        return false;
    path += sizeof prefix - 1;
    const char *slash = strchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) + 1 + strcspn(slash + 1, "/") : 0;
    if (!len || len >= sizeof name)
        return false;
    memcpy(name, path, len);
    name[len] = 0;
    const char *rest = path + len + (path[len] == '/');
    if (!name_ok(name) || strlen(rest) >= 4 || strchr(rest, '/') || (path[len] == '/' && !*rest))
        return false;
    strcpy(stream, name);
    strcpy(track, rest);
    return true;
}

bool api_stream_parse(const char *path, char stream[STREAM_NAME_LEN]) {
    static const char prefix[] = "/api/v1/streams/";
    if (strncmp(path, prefix, sizeof prefix - 1) != 0 || !name_ok(path + sizeof prefix - 1))
        return false;
    strcpy(stream, path + sizeof prefix - 1);
    return true;
}

static bool parse_number(const char **text, uint64_t max, uint64_t *ret_number) {
    uint64_t number = 0;
    const char *p = *text;
    for (; *p >= '0' && *p <= '9' && p - *text < 19; p++)
        number = number * 10 + (uint64_t)(*p - '0');
    if (p == *text || number > max)
        return false;
    *text = p;
    *ret_number = number;
    return true;
}

bool feed_place_parse(const char *text, uint64_t *ret_msn, uint32_t *ret_number) {
    uint64_t msn, number = 0;
    if (!parse_number(&text, INT64_MAX - 1, &msn))
        return false;
    if (*text == '.' && (++text, !parse_number(&text, UINT32_MAX - 1, &number)))
        return false;
    if (*text)
        return false;
    *ret_msn = msn;
    *ret_number = (uint32_t)number;
    return true;
}
