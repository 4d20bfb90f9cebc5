/* Which publisher may push where. Secrets are compared as padded arrays of one size, every configured key every time,
 * so that neither a matching prefix nor the place in the list shows in the time taken. Names are not secret. */
#include "common/auth/publish_key.h"

#include <stdint.h>
#include <string.h>

enum { SECRET_MAX = 128 };

static bool name_matches(const char *pattern, size_t len, const char *stream) {
    if (len > 0 && pattern[len - 1] == '*')
        return strncmp(pattern, stream, len - 1) == 0;
    return strlen(stream) == len && memcmp(pattern, stream, len) == 0;
}

/* False when the text does not fit; an empty secret is none. */
static bool pad(uint8_t out[SECRET_MAX], const char *text) {
    size_t len = strnlen(text, SECRET_MAX + 1);
    memset(out, 0, SECRET_MAX);
    memcpy(out, text, len < SECRET_MAX ? len : SECRET_MAX);
    return len > 0 && len <= SECRET_MAX;
}

static bool secret_equal(const uint8_t a[SECRET_MAX], const uint8_t b[SECRET_MAX]) {
    volatile uint8_t different = 0;
    for (size_t i = 0; i < SECRET_MAX; i++)
        different |= a[i] ^ b[i];
    return !different;
}

static bool admits(const char *entry, const char *stream, const uint8_t given[SECRET_MAX]) {
    const char *colon = strchr(entry, ':');
    uint8_t secret[SECRET_MAX];
    bool usable = pad(secret, colon ? colon + 1 : entry);
    bool equal = secret_equal(secret, given);
    bool here = !colon || name_matches(entry, (size_t)(colon - entry), stream);
    return usable & equal & here;
}

bool publish_key_admits(char *const *keys, size_t count, const char *stream, const char *key) {
    if (count == 0)
        return true;
    uint8_t given[SECRET_MAX];
    bool fits = pad(given, key ? key : "");
    bool any = false;
    for (size_t i = 0; i < count; i++)
        any |= admits(keys[i], stream, given);
    return any & fits;
}
