/* The stream id by which an SRT caller says what it wants (SRT Access Control Guidelines, docs/features/access-control.md
 * of SRT). Pure.
 *
 *   #!::r=live/show,m=publish,u=KEY    the standard's keys, in any order: r resource, m mode, t type, and the stream key in
 *                                      s (session) or else u (user); of ours, backup (1: a backup publisher), rung and audio
 *                                      (join_request.h); all other keys are passed over
 *   publish/live/show?key=KEY          the plain form
 *   live/show?key=KEY                  the same: who brings no word for it means to publish
 *
 * The name may carry a query as RTMP's does ("?key=KEY&backup=1", "?rung=low") in every form; its key goes before s and u. A KEY
 * with a comma can't be given in the first form, which has that between its pairs.
 *
 * The standard knows no percent-encoding: what stands so in a URL is for the caller to undo. ffmpeg 5 and OBS don't; so one
 * that begins with "%23!::", which can be nothing else, is decoded as a whole. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "common/media/name.h"
#include "ingest/join_request.h"

enum { SRT_STREAM_ID_MAX = 512 }; /* bytes: the protocol's limit */

struct srt_stream_id {
    char stream[STREAM_NAME_LEN]; /* "app/name" */
    char app[STREAM_NAME_LEN], name[STREAM_NAME_LEN];
    char key[SRT_STREAM_ID_MAX + 1]; /* "": none */
    bool backup;                     /* it is to stand by while there is another */
    struct join_request join;        /* it is to join another */
};

enum srt_stream_id_result {
    SRT_STREAM_ID_OK,
    SRT_STREAM_ID_BAD,  /* no such syntax, no name, or one that can't be a stream's, a rung's or a language's */
    SRT_STREAM_ID_MODE, /* it asks for something else than to publish; in the standard syntax also by saying nothing */
    SRT_STREAM_ID_TYPE, /* it is about files or authorization */
};

/* `ret_id` is untouched unless it is SRT_STREAM_ID_OK. */
enum srt_stream_id_result srt_stream_id_parse(const char *text, size_t len, struct srt_stream_id *ret_id);
