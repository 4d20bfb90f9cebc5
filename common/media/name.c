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
