#include "certificates.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/loop.h"
#include "common/base/metrics.h"
#include "common/http/tls.h"
#include "conf/conf.h"

enum { LOOK_US = 10 * 1000000 };

_Static_assert((int)CONF_LIST_MAX <= (int)TLS_CERTIFICATES_MAX, "as many as can be configured");

/* What changes when a file does. */
struct stamp {
    ino_t inode;
    off_t size;
    struct timespec modified;
};

struct stamps {
    struct stamp cert[CONF_LIST_MAX], key[CONF_LIST_MAX], client_ca;
};

struct certificates {
    const struct conf_tls *tls;
    const struct conf_list *client_ca;
    const char *section;
    struct certificates *next; /* of those that are watched */
    bool ktls;
    struct tls_tickets *tickets;
    struct tls_context *context;
    struct stamps stamps; /* as of the last attempt */
    struct loop_timer *look, *rotate;
    int (*give)(void *ctx, struct tls_context *context);
    void *ctx;
    bool owed; /* the context has yet to be given */
};

/* --- files --- */

static void take_stamp(const char *path, struct stamp *stamp) {
    struct stat st;
    if (!stat(path, &st))
        *stamp = (struct stamp){.inode = st.st_ino, .size = st.st_size, .modified = st.st_mtim};
}

static void take_stamps(const struct certificates *certificates, struct stamps *stamps) {
    const struct conf_list *cert = &certificates->tls->cert, *key = &certificates->tls->key;
    memset(stamps, 0, sizeof *stamps);
    for (size_t i = 0; i < cert->count; i++) {
        take_stamp(cert->items[i], &stamps->cert[i]);
        take_stamp(key->items[i], &stamps->key[i]);
    }
    if (certificates->client_ca->count)
        take_stamp(certificates->client_ca->items[0], &stamps->client_ca);
}

/* Stamps come first: what changes while it is read is read again. */
static struct tls_context *read_files(struct certificates *certificates, struct tls_error *ret_error,
                                      bool *ret_demand) {
    const struct conf_list *cert = &certificates->tls->cert, *key = &certificates->tls->key;
    struct tls_pair pairs[CONF_LIST_MAX];
    for (size_t i = 0; i < cert->count; i++)
        pairs[i] = (struct tls_pair){cert->items[i], key->items[i]};
    take_stamps(certificates, &certificates->stamps);
    struct tls_context *context =
        tls_context_create(pairs, cert->count, certificates->tickets, certificates->ktls, ret_error);
    *ret_demand = context && certificates->client_ca->count;
    if (*ret_demand && tls_context_demand(context, certificates->client_ca->items[0], ret_error)) {
        tls_context_unref(context);
        return NULL;
    }
    return context;
}

struct culprit {
    const char *setting, *file;
    uint32_t line;
};

/* `demand`: the pairs are good, it is whom clients are to be signed by. */
static struct culprit culprit_of(const struct certificates *certificates, const struct tls_error *error, bool demand) {
    const struct conf_tls *tls = certificates->tls;
    const struct conf_list *list = demand ? certificates->client_ca : error->key ? &tls->key : &tls->cert;
    size_t i = demand ? 0 : error->pair;
    return (struct culprit){demand ? "client_ca" : error->key ? "key" : "cert", list->items[i], list->lines[i]};
}

/* --- what operators see --- */

static void log_certificates(const struct certificates *certificates) {
    for (size_t i = 0; i < tls_context_count(certificates->context); i++) {
        int64_t expiry_us = tls_context_expiry_s(certificates->context, i) * 1000000;
        char expiry[CLOCK_ISO_LEN];
        clock_format_iso(expiry, expiry_us);
        bool expired = expiry_us < clock_utc_us();
        log_event(expired ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, expired ? "tls_certificate_expired" : "tls_certificate",
                  "name", LOG_STR(tls_context_name(certificates->context, i)), "file",
                  LOG_STR(certificates->tls->cert.items[i]), "expires", LOG_STR(expiry), (const char *)0);
    }
}

static struct certificates *watched;

static void collect_one(const struct certificates *certificates, struct buf *out) {
    for (size_t i = 0; i < tls_context_count(certificates->context); i++) {
        char labels[1600], name[512], file[1024];
        metrics_escape(name, sizeof name, tls_context_name(certificates->context, i));
        metrics_escape(file, sizeof file, certificates->tls->cert.items[i]);
        snprintf(labels, sizeof labels, "name=\"%s\",file=\"%s\"", name, file);
        metrics_sample(out, "weir_tls_certificate_expiry_seconds", labels,
                       (double)tls_context_expiry_s(certificates->context, i));
    }
}

static void collect(void *ctx, struct buf *out) {
    (void)ctx;
    metrics_family(out, "weir_tls_certificate_expiry_seconds", "When the certificate expires, as Unix time.",
                   METRIC_GAUGE);
    for (const struct certificates *certificates = watched; certificates; certificates = certificates->next)
        collect_one(certificates, out);
}

/* --- life --- */

struct certificates *certificates_create(const struct conf_tls *tls, const struct conf_list *client_ca,
                                         const char *section, const char *name, struct buf *errors) {
    struct certificates *certificates = calloc(1, sizeof *certificates);
    if (!certificates)
        abort();
    certificates->tls = tls;
    certificates->client_ca = client_ca;
    certificates->section = section;
    certificates->ktls = tls->ktls == CONF_KTLS_AUTO && tls_ktls_available();
    certificates->tickets = tls_tickets_create();
    struct tls_error error;
    bool demand;
    certificates->context = read_files(certificates, &error, &demand);
    if (certificates->context)
        return certificates;
    struct culprit culprit = culprit_of(certificates, &error, demand);
    buf_printf(errors, "%s:%" PRIu32 ": %s.%s: %s %s\n", name, culprit.line, section, culprit.setting, culprit.file,
               error.text);
    certificates_destroy(certificates);
    return NULL;
}

struct tls_context *certificates_context(const struct certificates *certificates) {
    return certificates->context;
}

static void give(struct certificates *certificates) {
    certificates->owed = certificates->give && certificates->give(certificates->ctx, certificates->context);
}

void certificates_reload(struct certificates *certificates) {
    struct tls_error error;
    bool demand;
    struct tls_context *context = read_files(certificates, &error, &demand);
    if (!context) {
        log_error("tls_refused", "file", LOG_STR(culprit_of(certificates, &error, demand).file), "error",
                  LOG_STR(error.text), "note", LOG_STR("the certificates of before stay in use"));
        return;
    }
    tls_context_unref(certificates->context);
    certificates->context = context;
    log_certificates(certificates);
    give(certificates);
}

static void on_look(void *ctx) {
    struct certificates *certificates = ctx;
    struct stamps stamps;
    take_stamps(certificates, &stamps);
    if (memcmp(&stamps, &certificates->stamps, sizeof stamps) != 0)
        certificates_reload(certificates);
    else if (certificates->owed)
        give(certificates);
    loop_timer_set(certificates->look, LOOK_US);
}

static void on_rotate(void *ctx) {
    struct certificates *certificates = ctx;
    tls_tickets_rotate(certificates->tickets);
    loop_timer_set(certificates->rotate, TLS_TICKET_LIFE_S * INT64_C(1000000));
}

void certificates_watch(struct certificates *certificates, struct loop *loop,
                        int (*give_fn)(void *ctx, struct tls_context *context), void *ctx) {
    certificates->give = give_fn;
    certificates->ctx = ctx;
    certificates->look = loop_timer_create(loop, on_look, certificates);
    certificates->rotate = loop_timer_create(loop, on_rotate, certificates);
    loop_timer_set(certificates->look, LOOK_US);
    loop_timer_set(certificates->rotate, TLS_TICKET_LIFE_S * INT64_C(1000000));
    if (!watched)
        metrics_register_collector(collect, NULL);
    certificates->next = watched;
    watched = certificates;
    log_info("tls", "section", LOG_STR(certificates->section), "ktls", LOG_STR(certificates->ktls ? "yes" : "no"));
    log_certificates(certificates);
}

void certificates_destroy(struct certificates *certificates) {
    if (!certificates)
        return;
    if (certificates->look) {
        loop_timer_destroy(certificates->look);
        loop_timer_destroy(certificates->rotate);
    }
    tls_context_unref(certificates->context);
    tls_tickets_unref(certificates->tickets);
    free(certificates);
}
