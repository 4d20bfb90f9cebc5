/* What is said to etcd's JSON gateway and what it answers (v3 API, as of etcd 3.4: https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway).
 * Keys and values are base64 there, and 64-bit numbers are strings. Pure.
 *
 * Writers append to a buffer whose overflow its owner checks. Readers take a whole answer: 0, -EBADMSG, or for an error that etcd tells
 * of -EREMOTEIO, with its text. Keys that are longer than ours may be, or aren't text, and values that are too long are passed over. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;

enum { ETCD_KEY_LEN = 320, ETCD_VALUE_MAX = 2048, ETCD_ERROR_LEN = 128 };

/* --- requests --- */
void etcd_json_grant(struct buf *out, uint32_t ttl_s);
void etcd_json_lease(struct buf *out, int64_t lease); /* to keep it alive, or to revoke it */
/* Up to `limit` keys that begin with `prefix`, from the key `from` on; as of a revision, 0: now. */
void etcd_json_range(struct buf *out, const char *prefix, const char *from, uint32_t limit, int64_t revision);
void etcd_json_watch(struct buf *out, const char *prefix, int64_t revision);
/* One transaction of puts and deletions: begin, any number of operations (`index` from 0), end. `value` NULL: deletes the key. */
void etcd_json_txn_begin(struct buf *out);
void etcd_json_txn_add(struct buf *out, uint32_t index, const char *key, const char *value, int64_t lease);
void etcd_json_txn_end(struct buf *out);

/* --- answers --- */
struct etcd_entry {
    const char *key;
    const char *value; /* ended by a zero besides; NULL: deleted */
    size_t value_len;
    int64_t revision, lease;
};
/* What an entry refers to is valid during the call. */
typedef void etcd_entry_fn(void *ctx, const struct etcd_entry *entry);

struct etcd_answer {
    int64_t revision;   /* of the store; 0: not said */
    int64_t lease, ttl_s; /* granted, or kept alive; ttl_s 0: there is no such lease */
    bool more;          /* range: keys beyond the limit */
    bool created;       /* watch: it has begun */
    bool cancelled;     /* watch: it has ended; `compacted`: what was asked for is no longer kept */
    bool compacted;
    bool fragment;      /* watch: the rest of these events comes in the next answer */
    int code;           /* of an error, as gRPC has them: 5 is "not found" */
    char error[ETCD_ERROR_LEN];
    char last_key[ETCD_KEY_LEN]; /* range: the last key that could be read; "": none */
};
/* Of all calls: a grant, a keep-alive, a revocation, a transaction; a range, or one line of a watch with entries for `fn` in order. */
int etcd_json_answer(const char *text, size_t len, struct etcd_answer *ret_answer, etcd_entry_fn *fn, void *ctx);
