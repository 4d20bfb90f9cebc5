/* The server's side of RTMP's handshake. Pure: C0 and C1 in, S0, S1 and S2 out. The simple form (RTMP 1.0 §5.2) echoes;
 * the digest form, which ffmpeg, Flash and many hardware encoders use and check, signs with HMAC-SHA256 under published
 * keys; the digest stands in one of two places ("schemes"), which the client chooses. What the client signs back (C2)
 * proves nothing and is not looked at. The only place that includes libcrypto. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum {
    RTMP_HANDSHAKE_VERSION = 3, /* C0; */
    RTMP_HANDSHAKE_RTMPE = 6,   /* what stands there in RTMPE, */
    RTMP_HANDSHAKE_TLS = 22,    /* and when TLS is spoken: a handshake record (RFC 8446 §5.1) */
    RTMP_HANDSHAKE_PART = 1536, /* C1, C2, S1, S2 */
    RTMP_HANDSHAKE_C0C1 = 1 + RTMP_HANDSHAKE_PART,
    RTMP_HANDSHAKE_REPLY = 1 + 2 * RTMP_HANDSHAKE_PART,
};

enum rtmp_handshake_form { RTMP_HANDSHAKE_SIMPLE, RTMP_HANDSHAKE_KEY_FIRST, RTMP_HANDSHAKE_DIGEST_FIRST };

/* Writes S0, S1 and S2. C0 has been checked. `seed` fills what the protocol calls random; nothing secret depends on it.
 */
enum rtmp_handshake_form rtmp_handshake_reply(const uint8_t c0c1[RTMP_HANDSHAKE_C0C1], uint32_t now_ms, uint64_t seed,
                                              uint8_t ret_reply[RTMP_HANDSHAKE_REPLY]);

/* Where the digest of a C1 or S1 stands, by its scheme, and whether it is right under `key`; for tests and clients. */
uint32_t rtmp_handshake_digest_at(const uint8_t part[RTMP_HANDSHAKE_PART], enum rtmp_handshake_form form);
bool rtmp_handshake_digest_ok(const uint8_t part[RTMP_HANDSHAKE_PART], enum rtmp_handshake_form form, bool of_server);
