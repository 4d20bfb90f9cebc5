/* Names that appear in URLs: "app/name" of streams, "v0a0" of variants. Pure. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    STREAM_NAME_LEN = 130, /* with the terminating zero: two components of at most 64 bytes */
    TRACKS_MAX = 10,       /* of one stream at a time */
    TRACK_NAMES_MAX = 14,  /* that there are: v0 to v5, a0 to a3, s0 to s3 */
};

/* A component is 1 to 64 of [A-Za-z0-9._~-], not "." or "..", and an app is not "t", "feed" or "api" (paths of ours). */
bool name_component_ok(const char *component, size_t len);
/* Joins and checks; false leaves `out` untouched. */
bool name_join(char out[STREAM_NAME_LEN], const char *app, const char *name);
/* Whether the whole is "app/name". */
bool name_ok(const char *stream);

/* --- tracks: "v0" --- */
/* A set of them. */
struct track_names {
    uint32_t count;
    char items[TRACKS_MAX][4];
};
/* Those in a variant's name: a letter and digits each. None when it is something else, or too many. */
struct track_names track_names_of(const char *variant);
bool track_names_have(const struct track_names *names, const char *track);
/* One more; unchanged when it is in there, or there are TRACKS_MAX. */
void track_names_add(struct track_names *names, const char *track);
/* Whether they are the same, in whatever order. */
bool track_names_same(const struct track_names *one, const struct track_names *other);

/* --- feeds: /feed/{app}/{stream}[/{track}] --- */
/* Whether the path is a feed's; `track` is "" for the timeline. */
bool feed_path_parse(const char *path, char stream[STREAM_NAME_LEN], char track[4]);
/* Whether the path is that of one stream in the operator's API: /api/v1/streams/{app}/{stream}. */
bool api_stream_parse(const char *path, char stream[STREAM_NAME_LEN]);
/* A place, "MSN" or "MSN.CHUNK", as queries have it. False: that is none. */
bool feed_place_parse(const char *text, uint64_t *ret_msn, uint32_t *ret_number);
