/* Who may publish over SRT: what a caller's stream id leads to, before its handshake ends. No I/O and no clock; any thread, for what it
 * looks at never changes or has a lock of its own. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "ingest/srt_stream_id.h"

struct address_counts;
struct live_names;

/* Why a caller is not let in; each has the standard's code (SRT Access Control Guidelines, "Rejection Codes"). */
enum srt_refusal {
    SRT_ADMITTED,
    SRT_REFUSED_BAD_ID,      /* 1400 */
    SRT_REFUSED_NO_KEY,      /* 1401: there must be a stream key */
    SRT_REFUSED_FULL,        /* 1402: connections, streams, memory */
    SRT_REFUSED_ADDRESS,     /* 1402: connections of its address */
    SRT_REFUSED_WRONG_KEY,   /* 1403 */
    SRT_REFUSED_MODE,        /* 1405: it wants to play, or says nothing */
    SRT_REFUSED_BUSY,        /* 1409: somebody else is live under that name */
    SRT_REFUSED_TYPE,        /* 1415: files, authorization */
    SRT_REFUSED_UNREACHABLE, /* 1502: no origin can be reached; never told, for only the claim shows it */
    SRT_REFUSED_STOPPING,    /* 1503 */
    SRT_REFUSED_CUT,         /* the operator has ended a broadcast under that name a short while ago; never told, either */
    SRT_REFUSED_HANDSHAKE,   /* by libsrt, which tells the caller why (1010, 1011: passphrase) but not us */
    SRT_REFUSAL_COUNT,
};
int srt_refusal_code(enum srt_refusal refusal);         /* 0: libsrt tells its own */
const char *srt_refusal_name(enum srt_refusal refusal); /* "wrong_key" */

enum { SRT_PASSPHRASE_MIN = 10, SRT_PASSPHRASE_MAX = 79 }; /* bytes: the protocol's limits */

struct srt_admission {
    char *const *publish_keys; /* as struct ingest_settings has them */
    uint32_t publish_key_count;
    char *const *passphrases; /* "PASSPHRASE", "app/name:PASSPHRASE", "live/x*:PASSPHRASE" */
    uint32_t passphrase_count;
    char *const *rung_suffixes; /* as struct ingest_settings has them */
    uint32_t rung_suffix_count;
    struct live_names *live;
    struct address_counts *addresses; /* whose links there are */
    int64_t silent_us; /* a name is free of whose holder nothing came for so long */
};

/* `from` is the caller's address (address_key). `ret_id` is written where it could be read, else untouched; its `stream` and `name` are those
 * that a push joins whose name says so. */
enum srt_refusal srt_admission_judge(const struct srt_admission *rules, const char *from, const char *text, size_t len,
                                     int64_t now_us, struct srt_stream_id *ret_id);
/* That of the entry which names the stream most closely: its name, else the longest beginning of it, else the one for all. NULL:
 * there is none, the stream comes unencrypted. */
const char *srt_admission_passphrase(const struct srt_admission *rules, const char *stream);
