/* The certificates of TLS listeners, of viewers' or of other nodes': read at start, and again when told to or when a file has changed. What
 * can't be used is refused with a line in the log, and what was there before stays. On the main loop: files are never
 * read by a worker. */
#pragma once
#include <stdbool.h>

struct buf;
struct certificates;
struct conf_list;
struct conf_tls;
struct loop;
struct tls_context;

/* Reads the files that `tls` names, of which there are some. `section` is what it is called ("http.tls"); `name` stands for the
 * configuration's file in `errors`, which gets a line "weir.yaml:5: …" when NULL is returned. `client_ca`: who must have signed those who connect; empty: nobody. All outlive it. */
struct certificates *certificates_create(const struct conf_tls *tls, const struct conf_list *client_ca, const char *section, const char *name,
                                        struct buf *errors);
struct tls_context *certificates_context(const struct certificates *certificates);
/* Looks after the files from now on, registers the metric of their expiry, and calls `give` with each new context; when
 * that returns anything but 0, again later. Once. */
void certificates_watch(struct certificates *certificates, struct loop *loop,
                        int (*give)(void *ctx, struct tls_context *context), void *ctx);
/* Reads the files now. */
void certificates_reload(struct certificates *certificates);
/* NULL is allowed. */
void certificates_destroy(struct certificates *certificates);
