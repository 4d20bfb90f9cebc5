#include "common/base/base64.h"

#include <openssl/evp.h>
#include <stdbool.h>
#include <string.h>

void base64_encode(char *out, const void *data, size_t len) {
    out[EVP_EncodeBlock((unsigned char *)out, data, (int)len)] = 0;
}

static size_t padding_of(const char *text, size_t len) {
    return len > 1 && text[len - 1] == '=' ? 1 + (text[len - 2] == '=') : 0;
}

/* libcrypto passes over space around it, and takes "=" as a digit. */
static bool only_digits(const char *text, size_t len) {
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/'))
            return false;
    }
    return true;
}

int base64_decode(uint8_t *out, size_t max, const char *text, size_t len) {
    enum { RUN = 1024 }; /* characters at a time: the last few bytes that libcrypto writes aren't the text's */
    size_t padding = padding_of(text, len), bytes = len / 4 * 3 - padding, done = 0;
    uint8_t run[RUN / 4 * 3];
    if (len % 4 || bytes > max || !only_digits(text, len - padding))
        return -1;
    for (size_t at = 0; at < len; at += RUN) {
        size_t n = len - at < RUN ? len - at : RUN, left = bytes - done;
        int wrote = EVP_DecodeBlock(run, (const unsigned char *)text + at, (int)n);
        if (wrote < 0)
            return -1;
        memcpy(out + done, run, left < (size_t)wrote ? left : (size_t)wrote);
        done += left < (size_t)wrote ? left : (size_t)wrote;
    }
    return (int)bytes;
}
