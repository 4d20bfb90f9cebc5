/* Padded arrays of one size are compared whole, so that neither a matching prefix nor a length shows in the time taken.
 */
#include "common/auth/secret.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

/* False when the text does not fit, or is empty. */
static bool pad(uint8_t out[SECRET_MAX], const char *text) {
    size_t len = strnlen(text, SECRET_MAX + 1);
    memset(out, 0, SECRET_MAX);
    memcpy(out, text, len < SECRET_MAX ? len : SECRET_MAX);
    return len > 0 && len <= SECRET_MAX;
}

bool secret_equal(const char *a, const char *b) {
    uint8_t one[SECRET_MAX], other[SECRET_MAX];
    bool one_usable = pad(one, a ? a : ""), other_usable = pad(other, b ? b : "");
    volatile uint8_t different = 0;
    for (size_t i = 0; i < SECRET_MAX; i++)
        different |= one[i] ^ other[i];
    return one_usable && other_usable && !different;
}

bool secret_borne(const char *secret, const char *authorization) {
    static const char scheme[] = "bearer ";
    if (!authorization || strncasecmp(authorization, scheme, sizeof scheme - 1) != 0)
        return false;
    return secret_equal(secret, authorization + sizeof scheme - 1);
}
