/* A process of its own that fetches a stream and writes it to a pipe as MPEG-TS: weir-fetch (ingest/fetch), which has parsers in it that
 * strangers can break. It is given nothing of ours: an empty environment but for the URL, no descriptor but its three. What it says on
 * stderr is told line by line. One that brings nothing for FETCH_SILENCE_US is killed.
 *
 *   fetch_start -> on_data, on_says ... -> on_end -> fetch_destroy
 *
 * One loop. Events come from the loop, never from inside a call; the fetch may be destroyed in on_end, not in the others. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fetch;
struct loop;

enum { FETCH_SILENCE_US = 10000000, FETCH_LINE_MAX = 1400 /* with a whole URL in it */ };

enum fetch_end {
    FETCH_ENDED,    /* by itself, as it should */
    FETCH_FAILED,   /* another time it may work */
    FETCH_UNUSABLE, /* it won't, as far as it can tell: media that can't be carried */
    FETCH_CRASHED,
    FETCH_SILENT,   /* it brought nothing, and was killed */
};

struct fetch_events {
    void (*on_data)(void *ctx, const uint8_t *data, size_t len);
    /* One line, printable, at most FETCH_LINE_MAX bytes. */
    void (*on_says)(void *ctx, const char *line);
    /* Once; it is gone, and all that it brought was told. `why`: in words, without what it said. */
    void (*on_end)(void *ctx, enum fetch_end end, const char *why);
};

/* Where weir-fetch is: beside the running program as it was built, or as it was installed. To be freed; NULL: nowhere. */
char *fetch_program(void);

/* `program`: the path of weir-fetch. `name` is shown to those who look at processes. NULL when no process can be started (errno). */
struct fetch *fetch_start(struct loop *loop, const char *program, const char *url, const char *name, bool loops, int64_t silence_us,
                          const struct fetch_events *events, void *ctx);
/* Kills it, if it is still there. NULL is allowed. */
void fetch_destroy(struct fetch *fetch);
