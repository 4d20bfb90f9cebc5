/* Contexts: which certificates they take and show to whom, and what is agreed on with a client. */
#include "common/http/tls.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/tls_peer.h"

static struct fixture_pair second, wild, rsa, first_rsa, weak, signed_by_first, expired;

/* --- certificates --- */

static void expect_error(const char *cert, const char *key, bool of_key, const char *text) {
    struct tls_pair pairs[] = {{first.cert, first.key}, {cert, key}};
    struct tls_error error = {0};
    assert_null(tls_context_create(pairs, 2, tickets, false, &error));
    assert_int_equal(error.pair, 1);
    if (error.key != of_key || !strstr(error.text, text))
        fail_msg("%d %s, not %s", error.key, error.text, text);
}

static void wrong_files_are_refused(void **state) {
    (void)state;
    char empty[64], locked[64], broken[64];
    snprintf(empty, sizeof empty, "%s/empty", dir);
    snprintf(locked, sizeof locked, "%s/locked", dir);
    snprintf(broken, sizeof broken, "%s/broken", dir);
    fclose(fopen(empty, "w"));
    fixture_lock_key(&second, locked);
    FILE *f = fopen(broken, "w");
    fputs("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", f);
    fclose(f);
    expect_error("/nonexistent", second.key, false, "can't be read (No such file or directory)");
    expect_error(dir, second.key, false, "can't be used");
    expect_error(empty, second.key, false, "can't be used (no start line)");
    expect_error(broken, second.key, false, "can't be used");
    expect_error(second.key, second.key, false, "can't be used (no start line)");
    expect_error(second.cert, "/nonexistent", true, "can't be read (No such file or directory)");
    expect_error(second.cert, second.cert, true, "can't be used");
    expect_error(second.cert, locked, true, "without a passphrase would be right"); /* and nobody was asked for it */
    expect_error(second.cert, first.key, true, "doesn't belong to ");
    expect_error(weak.cert, weak.key, false, "is refused by OpenSSL (ee key too small)");
    unlink(empty);
    unlink(locked);
    unlink(broken);
}

static void name_and_expiry_are_told(void **state) {
    (void)state;
    struct tls_context *context = make((const struct fixture_pair *[]){&first, &rsa}, 2);
    assert_int_equal(tls_context_count(context), 2);
    assert_string_equal(tls_context_name(context, 0), "first.test");
    assert_string_equal(tls_context_name(context, 1), "rsa"); /* no names: what it is called */
    assert_true(llabs(tls_context_expiry_s(context, 0) - time(NULL) - 10 * 86400) < 60);
    tls_context_unref(context);
}

static void expect_certificate(struct tls_context *context, const char *name, const char *common_name) {
    struct peer p;
    char got[64];
    peer_open(&p, context);
    if (name)
        SSL_set_tlsext_host_name(p.ssl, name);
    peer_shake(&p);
    X509_NAME_get_text_by_NID(X509_get_subject_name(SSL_get0_peer_certificate(p.ssl)), NID_commonName, got, sizeof got);
    if (strcmp(got, common_name) != 0)
        fail_msg("%s for %s, not %s", got, name ? name : "(none)", common_name);
    peer_close(&p);
}

static void certificate_by_server_name(void **state) {
    (void)state;
    struct tls_context *context = make((const struct fixture_pair *[]){&first, &wild, &second}, 3);
    expect_certificate(context, NULL, "first");
    expect_certificate(context, "first.test", "first");
    expect_certificate(context, "FIRST.test", "first");
    expect_certificate(context, "second.test", "second");
    expect_certificate(context, "also.second.test", "second");
    expect_certificate(context, "a.wild.test", "wild");
    expect_certificate(context, "exact.wild.test", "second"); /* a wildcard comes after an exact name */
    expect_certificate(context, "a.b.wild.test", "first");    /* it stands for one label */
    expect_certificate(context, "wild.test", "first");
    expect_certificate(context, "elsewhere.test", "first");
    tls_context_unref(context);
}

static void kind_of_key_by_client(void **state) {
    (void)state;
    struct peer p;
    struct tls_context *context = make((const struct fixture_pair *[]){&second, &first, &first_rsa}, 3);
    expect_certificate(context, "first.test", "first");
    peer_open(&p, context);
    SSL_set_tlsext_host_name(p.ssl, "first.test");
    SSL_set_max_proto_version(p.ssl, TLS1_2_VERSION);
    SSL_set_cipher_list(p.ssl, "ECDHE-RSA-AES128-GCM-SHA256");
    peer_shake(&p);
    assert_int_equal(EVP_PKEY_get_base_id(X509_get0_pubkey(SSL_get0_peer_certificate(p.ssl))), EVP_PKEY_RSA);
    peer_close(&p);
    tls_context_unref(context);
}

/* --- handshakes --- */

static void both_versions(void **state) {
    (void)state;
    struct tls_context *context = make_one();
    int64_t before12 = metric_value("\nweir_tls_handshakes_total{version=\"1.2\"} ");
    int64_t before13 = metric_value("\nweir_tls_handshakes_total{version=\"1.3\"} ");
    for (int version = TLS1_1_VERSION; version <= TLS1_3_VERSION; version++) {
        struct peer p;
        bool done;
        peer_open(&p, context);
        SSL_set_security_level(p.ssl, 0);
        SSL_set_min_proto_version(p.ssl, version);
        SSL_set_max_proto_version(p.ssl, version);
        if (version == TLS1_1_VERSION) {
            assert_int_equal(shake(&p, &done), -EPROTO);
            assert_string_equal(transport_tls_failure(&p.server), "unsupported protocol");
        } else {
            peer_shake(&p);
            expect_echo(&p);
            assert_null(transport_tls_failure(&p.server));
        }
        peer_close(&p);
    }
    assert_int_equal(metric_value("\nweir_tls_handshakes_total{version=\"1.2\"} "), before12 + 1);
    assert_int_equal(metric_value("\nweir_tls_handshakes_total{version=\"1.3\"} "), before13 + 1);
    tls_context_unref(context);
}

static void offer(struct peer *p, const char *protocols) {
    SSL_set_alpn_protos(p->ssl, (const unsigned char *)protocols, (unsigned)strlen(protocols));
}

static void protocol_by_alpn(void **state) {
    (void)state;
    struct tls_context *context = make_one();
    const struct {
        const char *offered;
        enum transport_alpn chosen;
    } cases[] = {
        {"\x02h2\x08http/1.1", TRANSPORT_ALPN_H2},
        {"\x08http/1.1\x02h2", TRANSPORT_ALPN_H2},
        {"\x08http/1.1", TRANSPORT_ALPN_H1},
        {"\x02h3\x02h2", TRANSPORT_ALPN_H2},
        {NULL, TRANSPORT_ALPN_NONE},
    };
    struct peer p;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        peer_open(&p, context);
        if (cases[i].offered)
            offer(&p, cases[i].offered);
        peer_shake(&p);
        assert_int_equal(p.server.alpn, cases[i].chosen);
        peer_close(&p);
    }
    bool done;
    peer_open(&p, context);
    offer(&p, "\x03"
              "ftp");
    assert_int_equal(shake(&p, &done), -EPROTO);
    peer_close(&p);
    tls_context_unref(context);
}

static SSL_SESSION *new_session;

static int on_session(SSL *ssl, SSL_SESSION *session) {
    (void)ssl;
    SSL_SESSION_free(new_session);
    new_session = session;
    return 1;
}

static bool resumes(struct tls_context *context, int version) {
    struct peer p;
    peer_open(&p, context);
    SSL_set_min_proto_version(p.ssl, version);
    SSL_set_max_proto_version(p.ssl, version);
    SSL_set_tlsext_host_name(p.ssl, "first.test");
    if (new_session)
        SSL_set_session(p.ssl, new_session);
    peer_shake(&p);
    expect_echo(&p);
    bool resumed = SSL_session_reused(p.ssl);
    if (version == TLS1_2_VERSION) /* a renewed one isn't told by the callback */
        on_session(p.ssl, SSL_get1_session(p.ssl));
    SSL_set_shutdown(p.ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    peer_close(&p);
    return resumed;
}

static void resumed_across_contexts_until_keys_are_forgotten(void **state) {
    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct tls_context *context = make_one();
        int64_t before = metric_value("\nweir_tls_resumed_total ");
        assert_false(resumes(context, version));
        assert_true(resumes(context, version));
        tls_context_unref(context); /* a renewal */
        context = make((const struct fixture_pair *[]){&second, &first}, 2);
        assert_true(resumes(context, version));
        tls_tickets_rotate(tickets);
        assert_true(resumes(context, version)); /* and has a ticket of the new key now */
        tls_tickets_rotate(tickets);
        assert_true(resumes(context, version));
        tls_tickets_rotate(tickets);
        tls_tickets_rotate(tickets);
        assert_false(resumes(context, version));
        assert_int_equal(metric_value("\nweir_tls_resumed_total "), before + 4);
        SSL_SESSION_free(new_session);
        new_session = NULL;
        tls_context_unref(context);
    }
}

/* --- certificates of clients --- */

static void expect_demand_error(const char *ca_file, const char *text) {
    struct tls_context *context = make_one();
    struct tls_error error;
    assert_int_equal(tls_context_demand(context, ca_file, &error), -EINVAL);
    if (!strstr(error.text, text))
        fail_msg("%s, not %s", error.text, text);
    tls_context_unref(context);
}

static struct tls_context *make_demanding(void) {
    struct tls_context *context = make_one();
    struct tls_error error;
    assert_int_equal(tls_context_demand(context, first.cert, &error), 0);
    return context;
}

static void wrong_files_for_clients_are_refused(void **state) {
    (void)state;
    expect_demand_error("/nonexistent", "can't be read (No such file or directory)");
    expect_demand_error(first.key, "can't be used");
    expect_demand_error(dir, "can't be used");
}

static void open_as(struct peer *p, struct tls_context *context, int version, const struct fixture_pair *client) {
    peer_open(p, context);
    SSL_set_min_proto_version(p->ssl, version);
    SSL_set_max_proto_version(p->ssl, version);
    if (!client)
        return;
    assert_int_equal(SSL_use_certificate_file(p->ssl, client->cert, SSL_FILETYPE_PEM), 1);
    assert_int_equal(SSL_use_PrivateKey_file(p->ssl, client->key, SSL_FILETYPE_PEM), 1);
}

static void expect_refused(struct tls_context *context, int version, const struct fixture_pair *client,
                           const char *why) {
    struct peer p;
    bool done;
    open_as(&p, context, version, client);
    assert_int_equal(shake(&p, &done), -EPROTO);
    assert_string_equal(transport_tls_failure(&p.server), why);
    peer_close(&p);
}

static void clients_must_be_vouched_for(void **state) {
    (void)state;
    struct tls_context *context = make_demanding();
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct peer p;
        open_as(&p, context, version, &signed_by_first);
        peer_shake(&p);
        expect_echo(&p);
        peer_close(&p);
        expect_refused(context, version, NULL, "peer did not return a certificate");
        expect_refused(context, version, &second, "certificate verify failed");
        expect_refused(context, version, &expired, "certificate verify failed");
    }
    tls_context_unref(context);
}

/* By contexts that have their ticket keys in common. */
static void session_without_a_certificate_is_not_resumed_where_one_is_demanded(void **state) {
    (void)state;
    struct tls_context *lax = make_one(), *context = make_demanding();
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct peer p;
        bool done;
        assert_false(resumes(lax, version));
        assert_true(resumes(lax, version));
        open_as(&p, context, version, NULL);
        SSL_set_tlsext_host_name(p.ssl, "first.test");
        SSL_set_session(p.ssl, new_session);
        assert_int_equal(shake(&p, &done), -EPROTO);
        peer_close(&p);
        SSL_SESSION_free(new_session);
        new_session = NULL;
    }
    tls_context_unref(lax);
    tls_context_unref(context);
}

/* --- */

static int set_up_certificates(void **state) {
    set_up(state);
    fixture_make_pair(dir, "second", "DNS:second.test,DNS:also.second.test,DNS:exact.wild.test", 10, 0, "second",
                      &second);
    fixture_make_pair(dir, "wild", "IP:192.0.2.1,DNS:*.wild.test", 10, 0, "wild", &wild);
    fixture_make_pair(dir, "rsa", NULL, 10, 2048, "rsa", &rsa);
    fixture_make_pair(dir, "first-rsa", "DNS:first.test", 10, 2048, "first-rsa", &first_rsa);
    fixture_make_pair(dir, "weak", "DNS:weak.test", 10, 1024, "weak", &weak);
    fixture_make_signed_pair(dir, "signed", NULL, 10, 0, "node", &first, &signed_by_first);
    fixture_make_signed_pair(dir, "expired", NULL, -1, 0, "node", &first, &expired);
    SSL_CTX_set_session_cache_mode(client_ctx, SSL_SESS_CACHE_CLIENT);
    SSL_CTX_sess_set_new_cb(client_ctx, on_session);
    return 0;
}

static int tear_down_certificates(void **state) {
    const struct fixture_pair *const pairs[] = {&second, &wild, &rsa, &first_rsa, &weak, &signed_by_first, &expired};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        fixture_remove_pair(pairs[i]);
    SSL_SESSION_free(new_session);
    return tear_down(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_files_are_refused),
        cmocka_unit_test(name_and_expiry_are_told),
        cmocka_unit_test(certificate_by_server_name),
        cmocka_unit_test(kind_of_key_by_client),
        cmocka_unit_test(both_versions),
        cmocka_unit_test(protocol_by_alpn),
        cmocka_unit_test(resumed_across_contexts_until_keys_are_forgotten),
        cmocka_unit_test(wrong_files_for_clients_are_refused),
        cmocka_unit_test(clients_must_be_vouched_for),
        cmocka_unit_test(session_without_a_certificate_is_not_resumed_where_one_is_demanded),
    };
    return cmocka_run_group_tests(tests, set_up_certificates, tear_down_certificates);
}
