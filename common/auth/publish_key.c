/* Which publisher may push where. Secrets are compared as padded arrays of one size, every configured key every time,
 * so that neither a matching prefix nor the place in the list shows in the time taken. Names are not secret. */
#include "common/auth/publish_key.h"

#include <stdint.h>
#include <string.h>

static bool name_matches(const char *pattern, size_t len, const char *stream) {
    if (len > 0 && pattern[len - 1] == '*')
        return strncmp(pattern, stream, len - 1) == 0;
    return strlen(stream) == len && memcmp(pattern, stream, len) == 0;
}

/* False when the text does not fit; an empty secret is none. */
static bool pad(uint8_t out[PUBLISH_KEY_MAX], const char *text) {
    size_t len = strnlen(text, PUBLISH_KEY_MAX + 1);
    memset(out, 0, PUBLISH_KEY_MAX);
    memcpy(out, text, len < PUBLISH_KEY_MAX ? len : PUBLISH_KEY_MAX);
    return len > 0 && len <= PUBLISH_KEY_MAX;
}

static bool secret_equal(const uint8_t a[PUBLISH_KEY_MAX], const uint8_t b[PUBLISH_KEY_MAX]) {
    volatile uint8_t different = 0;
    for (size_t i = 0; i < PUBLISH_KEY_MAX; i++)
        different |= a[i] ^ b[i];
    return !different;
}

static bool admits(const char *entry, const char *stream, const uint8_t given[PUBLISH_KEY_MAX]) {
    const char *colon = strchr(entry, ':');
    uint8_t secret[PUBLISH_KEY_MAX];
    bool usable = pad(secret, colon ? colon + 1 : entry);
    bool equal = secret_equal(secret, given);
    bool here = !colon || name_matches(entry, (size_t)(colon - entry), stream);
    return usable & equal & here;
}

bool publish_key_admits(char *const *keys, size_t count, const char *stream, const char *key) {
    if (count == 0)
        return true;
    uint8_t given[PUBLISH_KEY_MAX];
    bool fits = pad(given, key ? key : "");
    bool any = false;
    for (size_t i = 0; i < count; i++)
        any |= admits(keys[i], stream, given);
    return any & fits;
}
