/* Base64 (RFC 4648 §4), strictly: padded, nothing else in between. Pure; by libcrypto. */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* Characters that `len` bytes take, without a terminating zero. */
static inline size_t base64_len(size_t len) { return (len + 2) / 3 * 4; }
/* Writes base64_len(len) characters and a terminating zero. */
void base64_encode(char *out, const void *data, size_t len);
/* At most `max` bytes. Their number, or -1: it isn't base64, or is of more. */
int base64_decode(uint8_t *out, size_t max, const char *text, size_t len);
