#include "ingest/rtmp_handshake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

enum { PART = RTMP_HANDSHAKE_PART };

static uint8_t c0c1[RTMP_HANDSHAKE_C0C1], reply[RTMP_HANDSHAKE_REPLY];
static uint8_t *const c1 = c0c1 + 1, *const s1 = reply + 1, *const s2 = reply + 1 + PART;

static void hmac(const void *key, size_t key_len, const void *data, size_t len, uint8_t out[32]) {
    assert_non_null(HMAC(EVP_sha256(), key, (int)key_len, data, len, out, NULL));
}

/* A C1 as a client signs it, made here independently of the code under test. */
static void make_c1(uint32_t digest_base, uint8_t fill) {
    c0c1[0] = 3;
    for (int i = 0; i < PART; i++)
        c1[i] = (uint8_t)(i * 31 + fill);
    memcpy(c1 + 4, "\x09\0\x7c\2", 4);
    const uint8_t *p = c1 + digest_base;
    uint32_t at = digest_base + 4 + (uint32_t)(p[0] + p[1] + p[2] + p[3]) % 728;
    uint8_t rest[PART - 32];
    memcpy(rest, c1, at);
    memcpy(rest + at, c1 + at + 32, sizeof rest - at);
    hmac("Genuine Adobe Flash Player 001", 30, rest, sizeof rest, c1 + at);
}

static void simple_form_echoes(void **state) {
    (void)state;
    c0c1[0] = 3;
    for (int i = 0; i < PART; i++)
        c1[i] = (uint8_t)(i * 5);
    memset(c1 + 4, 0, 4); /* librtmp's, OBS's */
    assert_int_equal(rtmp_handshake_reply(c0c1, 0x01020304, 7, reply), RTMP_HANDSHAKE_SIMPLE);
    assert_int_equal(reply[0], 3);
    assert_memory_equal(s1, "\1\2\3\4\0\0\0\0", 8);
    assert_memory_equal(s2, c1, PART);
}

static void unsigned_version_falls_back_to_simple(void **state) {
    (void)state;
    make_c1(8, 0);
    c1[100] ^= 1;
    c1[1500] ^= 1;
    assert_int_equal(rtmp_handshake_reply(c0c1, 0, 7, reply), RTMP_HANDSHAKE_SIMPLE);
    assert_memory_equal(s2, c1, PART);
}

static void digest_form(uint32_t base, enum rtmp_handshake_form form) {
    for (int fill = 0; fill < 256; fill += 5) { /* so that the digest comes to stand in many places */
        make_c1(base, (uint8_t)fill);
        assert_int_equal(rtmp_handshake_reply(c0c1, 99, (uint64_t)fill, reply), form);
        assert_true(s1[4] >= 3);
        assert_true(rtmp_handshake_digest_ok(s1, form, true));
        assert_false(rtmp_handshake_digest_ok(s1, form, false));
        s1[1535] ^= 1;
        assert_false(rtmp_handshake_digest_ok(s1, form, true));
    }
}

static void digest_forms_are_answered_in_kind(void **state) {
    (void)state;
    digest_form(772, RTMP_HANDSHAKE_KEY_FIRST);
    digest_form(8, RTMP_HANDSHAKE_DIGEST_FIRST);
}

/* As ffmpeg checks it. */
static void s2_is_signed_with_the_clients_digest(void **state) {
    (void)state;
    static const uint8_t key[68] = "Genuine Adobe Flash Media Server 001"
                                   "\xf0\xee\xc2\x4a\x80\x68\xbe\xe8\x2e\x00\xd0\xd1\x02\x9e\x7e\x57"
                                   "\x6e\xec\x5d\x2d\x29\x80\x6f\xab\x93\xb8\xe6\x36\xcf\xeb\x31\xae";
    uint8_t signing[32], signature[32];
    make_c1(8, 77);
    enum rtmp_handshake_form form = rtmp_handshake_reply(c0c1, 99, 1, reply);
    hmac(key, sizeof key, c1 + rtmp_handshake_digest_at(c1, form), 32, signing);
    hmac(signing, 32, s2, PART - 32, signature);
    assert_memory_equal(s2 + PART - 32, signature, 32);
}

static void extreme_offsets_stay_inside(void **state) {
    (void)state;
    uint8_t part[PART];
    for (int form = RTMP_HANDSHAKE_KEY_FIRST; form <= RTMP_HANDSHAKE_DIGEST_FIRST; form++) {
        memset(part, 0xFF, sizeof part);
        for (int i = 0; i < 1021; i++) { /* every sum of four bytes */
            for (int j = 0; j < 4; j++)
                part[772 + j] = part[8 + j] = (uint8_t)((i + 3 - j) / 4);
            uint32_t at = rtmp_handshake_digest_at(part, (enum rtmp_handshake_form)form);
            assert_in_range(at, form == RTMP_HANDSHAKE_KEY_FIRST ? 776 : 12, PART - 32);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(simple_form_echoes),
        cmocka_unit_test(unsigned_version_falls_back_to_simple),
        cmocka_unit_test(digest_forms_are_answered_in_kind),
        cmocka_unit_test(s2_is_signed_with_the_clients_digest),
        cmocka_unit_test(extreme_offsets_stay_inside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
