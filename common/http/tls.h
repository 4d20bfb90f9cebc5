/* What TLS connections have in common: the certificates of a listener, chosen by the name that the client asks for
 * (RFC 6066 §3), and the keys of session tickets (RFC 5077, RFC 8446 §4.6.1).
 *
 * A context is immutable and shared by all threads; a certificate is renewed by making a new context for the connections
 * to come, while those that are there keep theirs. Ticket keys outlive contexts, so that clients resume their sessions
 * across a renewal, with any worker. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ssl_st; /* OpenSSL's SSL */
struct tls_context;
struct tls_tickets;

enum { TLS_CERTIFICATES_MAX = 64, TLS_TICKET_LIFE_S = 12 * 3600 };

/* --- ticket keys --- */

struct tls_tickets *tls_tickets_create(void);
/* A new key for new tickets; those of the key before are taken until the next rotation. Due every TLS_TICKET_LIFE_S.
 * One thread; others may be using the keys. */
void tls_tickets_rotate(struct tls_tickets *tickets);
/* Contexts hold references of their own. NULL is allowed. Any thread. */
void tls_tickets_unref(struct tls_tickets *tickets);

/* --- contexts --- */

/* Names of PEM files: a certificate with the chain that clients need behind it, and its key without a passphrase. */
struct tls_pair {
    const char *cert, *key;
};
struct tls_error {
    size_t pair;
    bool key;       /* the key's file is to blame, not the certificate's */
    char text[512]; /* what is wrong with it, and what would be right: "can't be read (No such file …), …" */
};

/* Reads the files. The first pair serves clients whose name fits none, or who tell none. `ktls`: encryption by the kernel
 * where a connection's cipher allows it. NULL: `ret_error` is set. */
struct tls_context *tls_context_create(const struct tls_pair *pairs, size_t count, struct tls_tickets *tickets, bool ktls,
                                       struct tls_error *ret_error);
/* Demands a certificate of its clients, for which one of those in the file (PEM) vouches, whatever its names; handshakes without one
 * fail. Such sessions aren't resumed. Before the context is shared, once. 0, or -EINVAL and `ret_error`'s text. */
int tls_context_demand(struct tls_context *context, const char *ca_file, struct tls_error *ret_error);
/* Any thread. */
struct tls_context *tls_context_ref(struct tls_context *context);
/* NULL is allowed. Any thread. */
void tls_context_unref(struct tls_context *context);

size_t tls_context_count(const struct tls_context *context);
/* The first name that the certificate is for. */
const char *tls_context_name(const struct tls_context *context, size_t index);
/* Until when it is valid, in seconds since 1970. */
int64_t tls_context_expiry_s(const struct tls_context *context, size_t index);
bool tls_context_ktls(const struct tls_context *context);
/* For a connection that was accepted; the caller keeps the context for as long. */
struct ssl_st *tls_context_accept(struct tls_context *context);

/* Whether the kernel can encrypt TLS (module "tls"). Tries it on a socket of its own: ask once. */
bool tls_ktls_available(void);
