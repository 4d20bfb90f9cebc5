/* What a push says that isn't a stream of its own but joins another push's: a rung of the picture, or another sound. It says so in the query
 * behind the stream's name, or by how its name ends. Pure. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { JOIN_LABEL_LEN = 32 };

enum join_kind {
    JOIN_NONE,  /* a stream of its own */
    JOIN_RUNG,  /* its picture; its sound if it brings nothing else */
    JOIN_AUDIO, /* its sound */
};

struct join_request {
    enum join_kind kind;
    char label[JOIN_LABEL_LEN]; /* the rung's name, "low"; the sound's language, BCP 47: "de" */
};

/* `query`: "rung=low&key=KEY" or "audio=de", of `len` bytes; what else there is is passed over. False: it asks for both, or for what no label can be:
 * letters, digits, "-" and "_", of a language at most 11 bytes and no "_". */
bool join_request_parse(const char *query, size_t len, struct join_request *ret_request);
/* As it would stand in a query, "rung=low"; "" for JOIN_NONE. */
void join_request_print(const struct join_request *request, char *out, size_t size);
/* Where `name` ends with one of the suffixes and has something before that: takes it off, and that is the rung's label ("_low": "low"). Of
 * several that fit the longest. */
bool join_request_by_name(char *const *suffixes, uint32_t count, char *name, struct join_request *ret_request);
