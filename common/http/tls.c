#include "common/http/tls.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

enum { NAME_BYTES = 256 };

/* --- ticket keys ---
 *
 * Readers take `current` and use its slot or the one before; the next and the one after that are the writer's, so a
 * reader would have to sleep through a whole period in the middle of its work to meet it. */

enum { TICKET_SLOTS = 4, TICKET_NAME_BYTES = 16, TICKET_KEY_BYTES = 32 };

struct ticket_key {
    uint8_t name[TICKET_NAME_BYTES], cipher[TICKET_KEY_BYTES], mac[TICKET_KEY_BYTES];
};

struct tls_tickets {
    atomic_uint refs, current;
    struct ticket_key slots[TICKET_SLOTS];
};

static struct ticket_key *ticket_slot(struct tls_tickets *tickets, unsigned number) {
    return &tickets->slots[number % TICKET_SLOTS];
}

static void random_bytes(void *out, size_t len) {
    if (RAND_bytes(out, (int)len) != 1)
        abort();
}

struct tls_tickets *tls_tickets_create(void) {
    struct tls_tickets *tickets = calloc(1, sizeof *tickets);
    if (!tickets)
        abort();
    atomic_init(&tickets->refs, 1);
    random_bytes(tickets->slots, sizeof tickets->slots);
    return tickets;
}

void tls_tickets_rotate(struct tls_tickets *tickets) {
    unsigned next = atomic_load(&tickets->current) + 1;
    random_bytes(ticket_slot(tickets, next), sizeof(struct ticket_key));
    random_bytes(ticket_slot(tickets, next + 1), sizeof(struct ticket_key)); /* forget the oldest */
    atomic_store_explicit(&tickets->current, next, memory_order_release);
}

void tls_tickets_unref(struct tls_tickets *tickets) {
    if (!tickets || atomic_fetch_sub(&tickets->refs, 1) != 1)
        return;
    OPENSSL_cleanse(tickets->slots, sizeof tickets->slots);
    free(tickets);
}

/* --- certificates --- */

struct certificate {
    X509 *leaf;
    STACK_OF(X509) * chain;
    EVP_PKEY *key;
    char name[NAME_BYTES];
    int64_t expiry_s;
};

struct tls_context {
    atomic_uint refs;
    struct tls_tickets *tickets;
    SSL_CTX *ssl_ctx;
    bool ktls;
    size_t count;
    struct certificate certificates[];
};

static const char *last_error(void) {
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    return reason ? reason : "unknown error";
}

__attribute__((format(printf, 2, 3))) static bool fail(struct tls_error *error, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    vsnprintf(error->text, sizeof error->text, fmt, args);
    va_end(args);
    ERR_clear_error();
    return false;
}

static FILE *open_pem(const char *path, struct tls_error *error) {
    FILE *file = fopen(path, "re");
    if (!file)
        fail(error, "can't be read (%s), a file in PEM that weir's user may read would be right", strerror(errno));
    return file;
}

static bool read_certificates(struct certificate *certificate, const char *path, struct tls_error *error) {
    FILE *file = open_pem(path, error);
    if (!file)
        return false;
    certificate->chain = sk_X509_new_null();
    certificate->leaf = PEM_read_X509_AUX(file, NULL, NULL, NULL);
    X509 *issuer = NULL;
    while (certificate->leaf && (issuer = PEM_read_X509(file, NULL, NULL, NULL)))
        if (!sk_X509_push(certificate->chain, issuer))
            abort();
    fclose(file);
    /* reading ends with "no start line", unless what follows is broken */
    if (certificate->leaf && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE) {
        ERR_clear_error();
        return true;
    }
    return fail(error, "can't be used (%s), a certificate in PEM with its chain behind it would be right",
                last_error());
}

/* Else OpenSSL would ask the terminal. */
static int no_passphrase(char *out, int size, int writing, void *ctx) {
    (void)out, (void)size, (void)writing, (void)ctx;
    return -1;
}

static bool read_key(struct certificate *certificate, const struct tls_pair *pair, struct tls_error *error) {
    error->key = true;
    FILE *file = open_pem(pair->key, error);
    if (!file)
        return false;
    certificate->key = PEM_read_PrivateKey(file, NULL, no_passphrase, NULL);
    fclose(file);
    if (!certificate->key)
        return fail(error, "can't be used (%s), a private key in PEM without a passphrase would be right",
                    last_error());
    if (!X509_check_private_key(certificate->leaf, certificate->key))
        return fail(error, "doesn't belong to %s, the key that it was made with would be right", pair->cert);
    error->key = false;
    return true;
}

static void name_certificate(struct certificate *certificate) {
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate->leaf, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(names) && !certificate->name[0]; i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type == GEN_DNS)
            snprintf(certificate->name, NAME_BYTES, "%.*s", ASN1_STRING_length(name->d.dNSName),
                     (const char *)ASN1_STRING_get0_data(name->d.dNSName));
    }
    GENERAL_NAMES_free(names);
    if (!certificate->name[0])
        X509_NAME_get_text_by_NID(X509_get_subject_name(certificate->leaf), NID_commonName, certificate->name,
                                  NAME_BYTES);
    struct tm tm;
    if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate->leaf), &tm))
        certificate->expiry_s = timegm(&tm);
}

/* By the names in subjectAltName: 2 exactly, 1 by a wildcard, 0 not at all. */
static int fits(const struct certificate *certificate, const char *name) {
    char *by = NULL;
    unsigned flags = X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS;
    int fit = X509_check_host(certificate->leaf, name, 0, flags, &by) == 1 ? 2 : 0;
    if (fit && by && by[0] == '*')
        fit = 1;
    OPENSSL_free(by);
    return fit;
}

static bool use(SSL *ssl, const struct certificate *certificate) {
    return SSL_use_cert_and_key(ssl, certificate->leaf, certificate->key, certificate->chain, 1) == 1;
}

/* All that fit best are used: OpenSSL then takes one with a kind of key that the client knows. */
static int on_certificate(SSL *ssl, void *ctx) {
    const struct tls_context *context = ctx;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    int fit[TLS_CERTIFICATES_MAX], best = 0;
    if (!name || context->count == 1)
        return 1;
    for (size_t i = 0; i < context->count; i++) {
        fit[i] = fits(&context->certificates[i], name);
        best = fit[i] > best ? fit[i] : best;
    }
    if (best == 0)
        return 1;
    SSL_certs_clear(ssl);
    for (size_t i = context->count; i-- > 0;) /* of several with one kind of key the first stays */
        if (fit[i] == best && !use(ssl, &context->certificates[i]))
            return 0;
    return 1;
}

/* --- handshakes --- */

static int start_mac(EVP_MAC_CTX *mac, struct ticket_key *key) {
    OSSL_PARAM params[] = {OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->mac, TICKET_KEY_BYTES),
                           OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char[]){"SHA256"}, 0),
                           OSSL_PARAM_construct_end()};
    return EVP_MAC_CTX_set_params(mac, params);
}

/* 1: go on; 2: go on, and give the client a new ticket; 0: not one of ours; -1: failed. */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
                     int encrypt) {
    struct tls_context *context = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    unsigned current = atomic_load_explicit(&context->tickets->current, memory_order_acquire);
    struct ticket_key *key = ticket_slot(context->tickets, current);
    if (encrypt) {
        memcpy(name, key->name, TICKET_NAME_BYTES);
        random_bytes(iv, (size_t)EVP_CIPHER_get_iv_length(EVP_aes_256_cbc()));
        bool ok = EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv) && start_mac(mac, key);
        return ok ? 1 : -1;
    }
    bool old = memcmp(name, key->name, TICKET_NAME_BYTES) != 0;
    if (old)
        key = ticket_slot(context->tickets, current - 1);
    if (memcmp(name, key->name, TICKET_NAME_BYTES) != 0)
        return 0;
    if (!start_mac(mac, key) || !EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv))
        return -1;
    return old || SSL_version(ssl) == TLS1_3_VERSION ? 2 : 1; /* 1.3: a ticket serves once (RFC 8446 §C.4) */
}

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
                   unsigned in_len, void *ctx) {
    static const unsigned char ours[] = "\x02h2\x08http/1.1";
    unsigned char *chosen;
    (void)ssl, (void)ctx;
    if (SSL_select_next_proto(&chosen, out_len, ours, sizeof ours - 1, in, in_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* --- contexts --- */

/* An end of stream without close_notify is an end of stream: requests say themselves how long they are.
 *
 * TLS 1.2 only with forward secrecy and AEAD, as HTTP/2 demands (RFC 9113 §9.2.2). AES first, since most machines have
 * instructions for it; a client that puts ChaCha20 first has none, and gets it. */
static SSL_CTX *make_ssl_ctx(struct tls_context *context) {
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx || !SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) ||
        !SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20") ||
        !SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384") ||
        !SSL_CTX_set1_groups_list(ctx, "X25519:P-256:P-384") ||
        !SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"weir", 4) || !SSL_CTX_set_num_tickets(ctx, 1))
        abort();
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                 SSL_OP_PRIORITIZE_CHACHA | (context->ktls ? SSL_OP_ENABLE_KTLS : 0));
    SSL_CTX_set_mode(ctx,
                     SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_timeout(ctx, TLS_TICKET_LIFE_S);
    SSL_CTX_set_app_data(ctx, context);
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
    SSL_CTX_set_cert_cb(ctx, on_certificate, context);
    return ctx;
}

/* OpenSSL has an opinion, too: on the key's size, for one. */
static bool try_certificate(const struct tls_context *context, const struct certificate *certificate,
                            struct tls_error *error) {
    SSL *ssl = SSL_new(context->ssl_ctx);
    if (!ssl)
        abort();
    bool ok = use(ssl, certificate);
    SSL_free(ssl);
    return ok || fail(error, "is refused by OpenSSL (%s), a newer one (P-256) would be right", last_error());
}

struct tls_context *tls_context_create(const struct tls_pair *pairs, size_t count, struct tls_tickets *tickets,
                                       bool ktls, struct tls_error *ret_error) {
    assert(count > 0 && count <= TLS_CERTIFICATES_MAX);
    struct tls_context *context = calloc(1, sizeof *context + count * sizeof *context->certificates);
    if (!context)
        abort();
    atomic_init(&context->refs, 1);
    atomic_fetch_add(&tickets->refs, 1);
    context->tickets = tickets;
    context->ktls = ktls;
    context->count = count;
    context->ssl_ctx = make_ssl_ctx(context);
    ERR_clear_error();
    for (size_t i = 0; i < count; i++) {
        struct certificate *certificate = &context->certificates[i];
        *ret_error = (struct tls_error){.pair = i};
        if (!read_certificates(certificate, pairs[i].cert, ret_error) || !read_key(certificate, &pairs[i], ret_error) ||
            !try_certificate(context, certificate, ret_error)) {
            tls_context_unref(context);
            return NULL;
        }
        name_certificate(certificate);
    }
    const struct certificate *first = &context->certificates[0];
    if (!SSL_CTX_use_cert_and_key(context->ssl_ctx, first->leaf, first->key, first->chain, 1))
        abort(); /* it was tried before */
    return context;
}

/* A ticket is a proof of who the client is, for twelve hours and to all contexts with its keys: also one that was given
 * by a context which demands nothing. So there are none. */
static void forget_sessions(SSL_CTX *ctx) {
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    if (!SSL_CTX_set_num_tickets(ctx, 0) ||
        !SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"weir mutual", 11))
        abort();
}

int tls_context_demand(struct tls_context *context, const char *ca_file, struct tls_error *ret_error) {
    SSL_CTX *ctx = context->ssl_ctx;
    *ret_error = (struct tls_error){0};
    FILE *file = open_pem(ca_file, ret_error);
    if (!file)
        return -EINVAL;
    fclose(file);
    ERR_clear_error();
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(ca_file);
    if (!names || !SSL_CTX_load_verify_file(ctx, ca_file)) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        fail(ret_error, "can't be used (%s), certificates in PEM would be right", last_error());
        return -EINVAL;
    }
    SSL_CTX_set_client_CA_list(ctx, names); /* for clients that have several certificates; it's the context's now */
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ctx),
                                X509_V_FLAG_PARTIAL_CHAIN); /* who is in the file needn't be a root */
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    forget_sessions(ctx);
    return 0;
}

struct tls_context *tls_context_ref(struct tls_context *context) {
    atomic_fetch_add_explicit(&context->refs, 1, memory_order_relaxed);
    return context;
}

void tls_context_unref(struct tls_context *context) {
    if (!context || atomic_fetch_sub(&context->refs, 1) != 1)
        return;
    for (size_t i = 0; i < context->count; i++) {
        X509_free(context->certificates[i].leaf);
        sk_X509_pop_free(context->certificates[i].chain, X509_free);
        EVP_PKEY_free(context->certificates[i].key);
    }
    SSL_CTX_free(context->ssl_ctx);
    tls_tickets_unref(context->tickets);
    free(context);
}

size_t tls_context_count(const struct tls_context *context) {
    return context->count;
}

const char *tls_context_name(const struct tls_context *context, size_t index) {
    return context->certificates[index].name;
}

int64_t tls_context_expiry_s(const struct tls_context *context, size_t index) {
    return context->certificates[index].expiry_s;
}

bool tls_context_ktls(const struct tls_context *context) {
    return context->ktls;
}

struct ssl_st *tls_context_accept(struct tls_context *context) {
    SSL *ssl = SSL_new(context->ssl_ctx);
    if (!ssl)
        abort();
    SSL_set_accept_state(ssl);
    return ssl;
}

/* --- kernel TLS --- */

bool tls_ktls_available(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool available = listener >= 0 && fd >= 0 && !bind(listener, (struct sockaddr *)&address, len) &&
                     !listen(listener, 1) && !getsockname(listener, (struct sockaddr *)&address, &len) &&
                     !connect(fd, (struct sockaddr *)&address, len) &&
                     !setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof "tls");
    if (listener >= 0)
        close(listener);
    if (fd >= 0)
        close(fd);
    return available;
}
