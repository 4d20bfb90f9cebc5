/* The table of all settings: what the parser accepts, what it says in errors, and the reference all come from it. A
 * path's leading components are its sections; a role is a section whose presence turns something on. */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct buf;

enum setting_type {
    SETTING_ROLE,      /* bool in struct conf: the section is there */
    SETTING_INT,       /* uint32_t or uint64_t */
    SETTING_ENUM,      /* an enum of `choices`, in their order */
    SETTING_NAME,      /* char *: letters, digits, '.', '_', '-' */
    SETTING_ADDRESS,   /* char *: IP address and port */
    SETTING_ADDRESSES, /* struct conf_list of them */
    SETTING_RANGES,    /* struct conf_list of blocks of addresses (common/base/address.h) */
    SETTING_FILES,     /* struct conf_list of file names; one may stand alone, without brackets */
    SETTING_KEYS,      /* struct conf_list of publish keys (common/auth/publish_key.h) */
    SETTING_PASSPHRASES, /* struct conf_list of SRT passphrases (ingest/srt_admission.h) */
    SETTING_SECRET,    /* char *: printable, without spaces */
    SETTING_URL,       /* char *: a node: scheme, host, port */
    SETTING_RTMP_URL,  /* char *: the same of RTMP */
    SETTING_URLS,      /* struct conf_list of them */
    SETTING_COSTED,    /* the same, each perhaps with a space and a cost in ms behind it */
    SETTING_SUBTITLES, /* struct conf_list of streams' languages (ingest/subtitles.h) */
    SETTING_LADDER,    /* struct conf_list of streams' ladders (ingest/rungs.h) */
    SETTING_STREAMS,   /* struct conf_list of patterns of streams' names */
    SETTING_SUFFIXES,  /* struct conf_list of endings of streams' names */
    SETTING_RUNGS,     /* struct conf_list of "HEIGHT KBPS", or "auto", which may stand alone, without brackets */
    SETTING_PUSH,      /* char *: where RTMP is pushed, with a place for the stream key */
    SETTING_CLIPS,     /* struct conf_list of patterns of streams' names, each with a space and a file's absolute name behind it */
    SETTING_PAIRS,     /* struct conf_list of two streams' names each, with a space between them */
    SETTING_SOURCES,   /* struct conf_list of "app/name URL" or "app/name URL on-demand" (sources.h) */
};

struct setting {
    const char *path;
    enum setting_type type;
    size_t offset, size; /* of the member of struct conf */
    uint64_t min, max;
    const char *const *choices; /* ended by NULL */
    const char *fallback;       /* as written in YAML; NULL: none, or what `text` says */
    const char *fileless;       /* the default that holds only when there is no file at all */
    const char *unit;           /* NULL: none */
    const char *text;
};

enum { SETTING_NAME_MAX = 63, SETTING_KEY_MAX = 128, SETTING_FILE_MAX = 1024, SETTING_URL_MAX = 255, SETTING_SECRET_MIN = 16, SETTING_PASSPHRASE_MIN = 10, SETTING_PASSPHRASE_MAX = 79, SCHEMA_MAX = 96, SETTING_RUNGS_MAX = 5, SETTING_SUFFIX_MAX = 31,
       SETTING_RUNG_HEIGHT_MIN = 90, SETTING_RUNG_HEIGHT_MAX = 2160, SETTING_RUNG_KBPS_MIN = 30, SETTING_RUNG_KBPS_MAX = 50000,
       SETTING_RUNG_FPS_MIN = 5, SETTING_RUNG_FPS_MAX = 120 };

extern const struct setting schema_settings[];
extern const size_t schema_count;
extern const char *const schema_presets[]; /* x264's, ended by NULL */

/* Index of the first setting that is `path` or lies in the section of that name; -1 when there is none. */
int schema_find(const char *path);
/* The names directly in a section ("" is the top), one a call, in the table's order; `at` starts as 0. NULL at the end.
 * The name is not terminated: `ret_len`. */
const char *schema_child(const char *section, size_t *at, size_t *ret_len);
/* "a number from 50 to 2000 (ms)": what would be right, for errors and the reference. */
void schema_describe(const struct setting *setting, struct buf *out);
