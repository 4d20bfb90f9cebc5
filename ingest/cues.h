/* Cues of subtitles as a captioning or translation service posts them: WebVTT, or JSON, an object a line. Pure: bytes in, cues or what is
 * wrong with them out. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/media/record.h"

enum {
    CUES_MAX = 64,          /* of one request */
    CUE_TEXT_MAX = 1000,    /* bytes, as WebVTT */
    CUE_SETTINGS_MAX = 100, /* likewise */
    CUE_LONGEST_MS = 60000,
    CUE_WHY_MAX = 160,
};

struct cue {
    char language[LANGUAGE_LEN], label[LABEL_LEN]; /* the label may be "" */
    int64_t start_us, end_us;                      /* UTC */
    char settings[CUE_SETTINGS_MAX + 1];           /* WebVTT's, such as "line:0"; "": none */
    char text[CUE_TEXT_MAX + 1];                   /* WebVTT cue text: no line of it is empty */
};

struct cues {
    uint32_t count;
    struct cue *items; /* owned: cues_finish */
    char why[CUE_WHY_MAX]; /* what is wrong, fit for the answer */
};

/* {"language": "de", "name": "Deutsch", "start": 0, "end": 2500, "text": "Guten Tag"}, an object a line. Times are milliseconds: since
 * 1970, or, below 10^11, from `now_us` on; "start" may be left out: 0. "name" may be, too. `text` is plain. 0, or -EINVAL with `why`. */
int cues_parse_json(struct cues *cues, const uint8_t *data, size_t len, int64_t now_us);
/* A WebVTT file, of one language. Its times count from `base_us`, UTC; markup and settings of cues are kept, all else is left out. 0, or -EINVAL with
 * `why`, also when `language` or `label` is no such thing. */
int cues_parse_vtt(struct cues *cues, const uint8_t *data, size_t len, const char *language, const char *label, int64_t base_us);
/* Whether they may be a language and its name. */
bool cues_names_ok(const char *language, const char *label);
void cues_finish(struct cues *cues);
