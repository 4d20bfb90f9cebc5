#include "ingest/rtmp_handshake.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

enum { DIGEST_LEN = 32, CLIENT_TEXT_LEN = 30, SERVER_TEXT_LEN = 36, KEY_LEN = 68 };

/* Texts that sign C1 and S1; with the 32 bytes after it the server's signs S2. Known to everyone since 2009. */
static const uint8_t client_text[] = "Genuine Adobe Flash Player 001";
static const uint8_t server_key[KEY_LEN] = {'G',  'e',  'n',  'u',  'i',  'n',  'e',  ' ',  'A',  'd',  'o',  'b',
                                            'e',  ' ',  'F',  'l',  'a',  's',  'h',  ' ',  'M',  'e',  'd',  'i',
                                            'a',  ' ',  'S',  'e',  'r',  'v',  'e',  'r',  ' ',  '0',  '0',  '1',
                                            0xF0, 0xEE, 0xC2, 0x4A, 0x80, 0x68, 0xBE, 0xE8, 0x2E, 0x00, 0xD0, 0xD1,
                                            0x02, 0x9E, 0x7E, 0x57, 0x6E, 0xEC, 0x5D, 0x2D, 0x29, 0x80, 0x6F, 0xAB,
                                            0x93, 0xB8, 0xE6, 0x36, 0xCF, 0xEB, 0x31, 0xAE};

static void hmac(const uint8_t *key, int key_len, const uint8_t *data, size_t len, uint8_t out[DIGEST_LEN]) {
    if (!HMAC(EVP_sha256(), key, key_len, data, len, out, NULL))
        abort(); /* only memory can be wanting */
}

uint32_t rtmp_handshake_digest_at(const uint8_t part[RTMP_HANDSHAKE_PART], enum rtmp_handshake_form form) {
    uint32_t base = form == RTMP_HANDSHAKE_KEY_FIRST ? 772 : 8;
    const uint8_t *p = part + base;
    return base + 4 + (uint32_t)(p[0] + p[1] + p[2] + p[3]) % 728;
}

/* Of everything but the digest itself. */
static void part_digest(const uint8_t part[RTMP_HANDSHAKE_PART], uint32_t at, bool of_server, uint8_t out[DIGEST_LEN]) {
    uint8_t rest[RTMP_HANDSHAKE_PART - DIGEST_LEN];
    memcpy(rest, part, at);
    memcpy(rest + at, part + at + DIGEST_LEN, sizeof rest - at);
    if (of_server)
        hmac(server_key, SERVER_TEXT_LEN, rest, sizeof rest, out);
    else
        hmac(client_text, CLIENT_TEXT_LEN, rest, sizeof rest, out);
}

bool rtmp_handshake_digest_ok(const uint8_t part[RTMP_HANDSHAKE_PART], enum rtmp_handshake_form form, bool of_server) {
    uint8_t digest[DIGEST_LEN];
    uint32_t at = rtmp_handshake_digest_at(part, form);
    part_digest(part, at, of_server, digest);
    return !memcmp(part + at, digest, DIGEST_LEN);
}

static enum rtmp_handshake_form find_form(const uint8_t c1[RTMP_HANDSHAKE_PART]) {
    static const uint8_t no_version[4];
    if (!memcmp(c1 + 4, no_version, 4))
        return RTMP_HANDSHAKE_SIMPLE;
    if (rtmp_handshake_digest_ok(c1, RTMP_HANDSHAKE_KEY_FIRST, false))
        return RTMP_HANDSHAKE_KEY_FIRST;
    if (rtmp_handshake_digest_ok(c1, RTMP_HANDSHAKE_DIGEST_FIRST, false))
        return RTMP_HANDSHAKE_DIGEST_FIRST;
    return RTMP_HANDSHAKE_SIMPLE;
}

/* splitmix64 */
static void fill(uint8_t *p, size_t len, uint64_t seed) {
    for (size_t i = 0; i < len; i += 8) {
        uint64_t z = seed += 0x9E3779B97F4A7C15;
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
        z = (z ^ z >> 27) * 0x94D049BB133111EB;
        z ^= z >> 31;
        memcpy(p + i, &z, len - i < 8 ? len - i : 8);
    }
}

static void sign_s1(uint8_t *s1, enum rtmp_handshake_form form) {
    static const uint8_t version[4] = {4, 5, 0, 1}; /* ffmpeg checks digests from version 3 on */
    memcpy(s1 + 4, version, 4);
    uint32_t at = rtmp_handshake_digest_at(s1, form);
    uint8_t digest[DIGEST_LEN];
    part_digest(s1, at, true, digest);
    memcpy(s1 + at, digest, DIGEST_LEN);
}

/* The last 32 bytes sign those before, under a key made from the client's digest. */
static void sign_s2(uint8_t *s2, const uint8_t *c1, enum rtmp_handshake_form form) {
    uint8_t key[DIGEST_LEN];
    size_t len = RTMP_HANDSHAKE_PART - DIGEST_LEN;
    hmac(server_key, KEY_LEN, c1 + rtmp_handshake_digest_at(c1, form), DIGEST_LEN, key);
    hmac(key, DIGEST_LEN, s2, len, s2 + len);
}

enum rtmp_handshake_form rtmp_handshake_reply(const uint8_t c0c1[RTMP_HANDSHAKE_C0C1], uint32_t now_ms, uint64_t seed,
                                              uint8_t ret_reply[RTMP_HANDSHAKE_REPLY]) {
    const uint8_t *c1 = c0c1 + 1;
    uint8_t *s1 = ret_reply + 1, *s2 = s1 + RTMP_HANDSHAKE_PART;
    enum rtmp_handshake_form form = find_form(c1);
    fill(s1, 2 * RTMP_HANDSHAKE_PART, seed);
    ret_reply[0] = RTMP_HANDSHAKE_VERSION;
    for (int i = 0; i < 4; i++)
        s1[i] = (uint8_t)(now_ms >> (24 - 8 * i));
    memset(s1 + 4, 0, 4);
    if (form == RTMP_HANDSHAKE_SIMPLE) {
        memcpy(s2, c1, RTMP_HANDSHAKE_PART); /* all of it: librtmp compares */
        return form;
    }
    sign_s1(s1, form);
    sign_s2(s2, c1, form);
    return form;
}
