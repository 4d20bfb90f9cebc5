/* Which publisher may push where. Every configured key is compared every time, so that its place in the list doesn't
 * show in the time taken. Names are not secret. */
#include "common/auth/publish_key.h"

#include <string.h>

#include "common/auth/secret.h"
#include "common/base/pattern.h"

static bool admits(const char *entry, const char *stream, const char *given) {
    const char *colon = strchr(entry, ':');
    bool equal = secret_equal(colon ? colon + 1 : entry, given);
    bool here = !colon || pattern_closeness(entry, (size_t)(colon - entry), stream);
    return equal & here;
}

bool publish_key_admits(char *const *keys, size_t count, const char *stream, const char *key) {
    if (count == 0)
        return true;
    bool any = false;
    for (size_t i = 0; i < count; i++)
        any |= admits(keys[i], stream, key);
    return any;
}
