/* Certificates made for a test, in files of a folder of their own. */
#pragma once
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

struct fixture_pair {
    char cert[128], key[128];
};

static inline void fixture_write_pair(const struct fixture_pair *pair, X509 *x509, EVP_PKEY *key) {
    FILE *f = fopen(pair->cert, "w");
    assert_non_null(f);
    assert_int_equal(PEM_write_X509(f, x509), 1);
    fclose(f);
    f = fopen(pair->key, "w");
    assert_non_null(f);
    assert_int_equal(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(f);
}

static inline void fixture_add_extension(X509 *x509, int nid, const char *value) {
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    assert_non_null(extension);
    X509_add_ext(x509, extension, -1);
    X509_EXTENSION_free(extension);
}

static inline void fixture_sign(X509 *x509, const struct fixture_pair *ca) {
    FILE *cert = fopen(ca->cert, "r"), *key = fopen(ca->key, "r");
    assert_true(cert && key);
    X509 *issuer = PEM_read_X509(cert, NULL, NULL, NULL);
    EVP_PKEY *signer = PEM_read_PrivateKey(key, NULL, NULL, NULL);
    assert_true(issuer && signer);
    X509_set_issuer_name(x509, X509_get_subject_name(issuer));
    assert_true(X509_sign(x509, signer, EVP_sha256()) > 0);
    X509_free(issuer);
    EVP_PKEY_free(signer);
    fclose(cert);
    fclose(key);
}

/* DIR/NAME.crt and .key, for `names` ("DNS:a.test,DNS:*.a.test"), valid for `days` from now; an RSA key of `rsa_bits`, or P-256 when that
 * is 0. `common_name` tells certificates apart. Signed by `ca`, or NULL: by itself, and then able to sign others. */
static inline void fixture_make_signed_pair(const char *dir, const char *name, const char *names, int days, unsigned rsa_bits,
                                            const char *common_name, const struct fixture_pair *ca, struct fixture_pair *ret_pair) {
    snprintf(ret_pair->cert, sizeof ret_pair->cert, "%s/%s.crt", dir, name);
    snprintf(ret_pair->key, sizeof ret_pair->key, "%s/%s.key", dir, name);
    EVP_PKEY *key = rsa_bits ? EVP_RSA_gen(rsa_bits) : EVP_EC_gen("P-256");
    X509 *x509 = X509_new();
    X509_set_version(x509, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x509), 1);
    X509_gmtime_adj(X509_getm_notBefore(x509), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x509), days * 86400L);
    X509_set_pubkey(x509, key);
    X509_NAME *subject = X509_get_subject_name(x509);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)common_name, -1, -1, 0);
    X509_set_issuer_name(x509, subject);
    if (names)
        fixture_add_extension(x509, NID_subject_alt_name, names);
    if (ca) {
        fixture_sign(x509, ca);
    } else {
        fixture_add_extension(x509, NID_basic_constraints, "critical,CA:TRUE");
        assert_true(X509_sign(x509, key, EVP_sha256()) > 0);
    }
    fixture_write_pair(ret_pair, x509, key);
    X509_free(x509);
    EVP_PKEY_free(key);
}

static inline void fixture_make_pair(const char *dir, const char *name, const char *names, int days, unsigned rsa_bits,
                                     const char *common_name, struct fixture_pair *ret_pair) {
    fixture_make_signed_pair(dir, name, names, days, rsa_bits, common_name, NULL, ret_pair);
}

/* The key of `pair` behind a passphrase. */
static inline void fixture_lock_key(const struct fixture_pair *pair, const char *path) {
    FILE *from = fopen(pair->key, "r"), *to = fopen(path, "w");
    assert_true(from && to);
    EVP_PKEY *key = PEM_read_PrivateKey(from, NULL, NULL, NULL);
    PEM_write_PrivateKey(to, key, EVP_aes_128_cbc(), (const unsigned char *)"secret", 6, NULL, NULL);
    EVP_PKEY_free(key);
    fclose(from);
    fclose(to);
}

static inline void fixture_remove_pair(const struct fixture_pair *pair) {
    unlink(pair->cert);
    unlink(pair->key);
}
