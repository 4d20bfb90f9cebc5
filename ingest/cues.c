#include "ingest/cues.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_MAX_BYTES = 16 << 10, MINUTE_MS = 60000 };
static const int64_t RELATIVE_MS = 100000000000; /* as UTC that would be 1973 */
static const int64_t TIME_MAX_MS = 100000000000000;

static int wrong(struct cues *cues, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int wrong(struct cues *cues, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(cues->why, sizeof cues->why, format, args);
    va_end(args);
    return -EINVAL;
}

static void begin(struct cues *cues) {
    *cues = (struct cues){.items = calloc(CUES_MAX, sizeof *cues->items)};
    if (!cues->items)
        abort();
}

void cues_finish(struct cues *cues) {
    free(cues->items);
    cues->items = NULL;
    cues->count = 0;
}

/* --- what both have --- */

static bool language_ok(const char *language) {
    return language_tag_ok(language, strlen(language));
}

static bool label_ok(const char *label) {
    json_t *string = json_string(label); /* NULL unless it is UTF-8 */
    json_decref(string);
    return string && language_label_ok(label);
}

bool cues_names_ok(const char *language, const char *label) {
    return language_ok(language) && label_ok(label);
}

static int check_names(struct cues *cues, const char *language, const char *label) {
    if (!language || !language_ok(language))
        return wrong(cues, "language: a BCP 47 tag of at most %d characters, such as \"de\" or \"zh-Hans\"",
                     LANGUAGE_LEN - 1);
    if (!label_ok(label))
        return wrong(cues, "name: at most %d bytes, without quotes and control characters", LABEL_LEN - 1);
    return 0;
}

/* Times in milliseconds, UTC. */
static int check_times(struct cues *cues, int64_t start_ms, int64_t end_ms) {
    if (start_ms < 0 || end_ms > TIME_MAX_MS || end_ms <= start_ms)
        return wrong(cues, "a cue must end after its start");
    if (end_ms - start_ms > CUE_LONGEST_MS)
        return wrong(cues, "a cue may be shown for at most %d s", CUE_LONGEST_MS / 1000);
    return 0;
}

/* One more to fill; NULL: there are as many as may be. */
static struct cue *add(struct cues *cues, const char *language, const char *label, int64_t start_ms, int64_t end_ms) {
    if (cues->count == CUES_MAX) {
        wrong(cues, "at most %d cues a request", CUES_MAX);
        return NULL;
    }
    struct cue *cue = &cues->items[cues->count++];
    *cue = (struct cue){.start_us = start_ms * 1000, .end_us = end_ms * 1000};
    snprintf(cue->language, sizeof cue->language, "%s", language);
    snprintf(cue->label, sizeof cue->label, "%s", label);
    return cue;
}

/* False: there is no room. */
static bool put(struct cue *cue, size_t *len, const char *text, size_t n) {
    if (*len + n > CUE_TEXT_MAX)
        return false;
    memcpy(cue->text + *len, text, n);
    *len += n;
    cue->text[*len] = 0;
    return true;
}

/* --- JSON --- */

static const char *escape_of(char c) {
    return c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : NULL;
}

/* Plain text: an empty line would end the cue. */
static bool put_plain(struct cue *cue, const char *text) {
    size_t len = 0;
    for (const char *p = text; *p; p++) {
        const char *escape = escape_of(*p);
        char c = *p == '\r' ? '\n' : *p;
        bool ends_nothing = c == '\n' && (!len || cue->text[len - 1] == '\n');
        if (((unsigned char)c < ' ' && c != '\n') || ends_nothing)
            continue;
        if (!put(cue, &len, escape ? escape : &c, escape ? strlen(escape) : 1))
            return false;
    }
    if (len && cue->text[len - 1] == '\n')
        cue->text[len - 1] = 0;
    return true;
}

static bool time_of(const json_t *value, int64_t now_us, int64_t missing_ms, int64_t *ret_ms) {
    double ms = value ? json_number_value(value) : (double)missing_ms;
    if ((value && !json_is_number(value)) || !(ms > (double)-RELATIVE_MS && ms < (double)TIME_MAX_MS))
        return false;
    *ret_ms = (int64_t)ms + (ms < (double)RELATIVE_MS ? now_us / 1000 : 0);
    return true;
}

static int take_object(struct cues *cues, const json_t *json, int64_t now_us) {
    const char *language = json_string_value(json_object_get(json, "language"));
    const json_t *name = json_object_get(json, "name"), *end = json_object_get(json, "end");
    const char *text = json_string_value(json_object_get(json, "text")), *label = name ? json_string_value(name) : "";
    int64_t start_ms, end_ms;
    if (!json_is_object(json) || !text || !label || !end)
        return wrong(cues, "a cue is an object with \"language\", \"end\" and \"text\"");
    if (check_names(cues, language, label))
        return -EINVAL;
    if (!time_of(json_object_get(json, "start"), now_us, 0, &start_ms) || !time_of(end, now_us, 0, &end_ms))
        return wrong(cues, "start and end are milliseconds: since 1970, or, below 100000000000, from now on");
    if (check_times(cues, start_ms, end_ms))
        return -EINVAL;
    struct cue *cue = add(cues, language, label, start_ms, end_ms);
    if (cue && !put_plain(cue, text))
        return wrong(cues, "text: at most %d bytes", CUE_TEXT_MAX);
    return cue ? 0 : -EINVAL;
}

/* `why` names the line. */
static int take_line(struct cues *cues, const char *line, size_t len, uint32_t number, int64_t now_us) {
    json_error_t error;
    json_t *json = len <= LINE_MAX_BYTES ? json_loadb(line, len, JSON_REJECT_DUPLICATES, &error) : NULL;
    int rc = json ? take_object(cues, json, now_us) : wrong(cues, "that is no JSON object of at most 16 KiB");
    json_decref(json);
    if (rc) {
        char why[CUE_WHY_MAX - 20];
        snprintf(why, sizeof why, "%.*s", (int)sizeof why - 1, cues->why);
        wrong(cues, "line %u: %s", number, why);
    }
    return rc;
}

int cues_parse_json(struct cues *cues, const uint8_t *data, size_t len, int64_t now_us) {
    const char *p = (const char *)data, *end = p + len;
    begin(cues);
    for (uint32_t number = 1; p < end; number++) {
        const char *newline = memchr(p, '\n', (size_t)(end - p)), *line_end = newline ? newline : end;
        size_t n = (size_t)(line_end - p);
        bool blank = true;
        for (size_t i = 0; i < n; i++)
            blank &= p[i] == ' ' || p[i] == '\t' || p[i] == '\r';
        if (!blank && take_line(cues, p, n, number, now_us))
            return -EINVAL;
        p = line_end + (newline != NULL);
    }
    return cues->count ? 0 : wrong(cues, "there is no cue");
}

/* --- WebVTT (W3C WebVTT §4) --- */

struct lines {
    const char *p, *end;
    uint32_t number;
};

/* A line without its end, which is CR, LF or both. False: there is none left. */
static bool next_line(struct lines *lines, const char **ret_line, size_t *ret_len) {
    const char *p = lines->p;
    if (p == lines->end)
        return false;
    while (p < lines->end && *p != '\n' && *p != '\r')
        p++;
    *ret_line = lines->p;
    *ret_len = (size_t)(p - lines->p);
    if (p < lines->end)
        p += p + 1 < lines->end && p[0] == '\r' && p[1] == '\n' ? 2 : 1;
    lines->p = p;
    lines->number++;
    return true;
}

static bool digits(const char **p, const char *end, int least, int most, int64_t *ret) {
    int n = 0;
    for (*ret = 0; *p < end && n < most && **p >= '0' && **p <= '9'; n++, ++*p)
        *ret = *ret * 10 + (**p - '0');
    return n >= least;
}

static bool sign(const char **p, const char *end, char c) {
    bool is = *p < end && **p == c;
    *p += is;
    return is;
}

static void spaces(const char **p, const char *end) {
    while (*p < end && (**p == ' ' || **p == '\t'))
        ++*p;
}

/* "00:01.500", "01:00:01.500" */
static bool timestamp(const char **p, const char *end, int64_t *ret_ms) {
    int64_t a, b, c = 0, ms;
    if (!digits(p, end, 2, 4, &a) || !sign(p, end, ':') || !digits(p, end, 2, 2, &b))
        return false;
    bool hours = sign(p, end, ':');
    if ((hours && !digits(p, end, 2, 2, &c)) || !sign(p, end, '.') || !digits(p, end, 3, 3, &ms))
        return false;
    int64_t minutes = hours ? a * 60 + b : a, seconds = hours ? c : b;
    *ret_ms = minutes * MINUTE_MS + seconds * 1000 + ms;
    return seconds < 60 && (!hours || b < 60);
}

static bool has_arrow(const char *line, size_t len) {
    for (size_t i = 0; i + 3 <= len; i++)
        if (!memcmp(line + i, "-->", 3))
            return true;
    return false;
}

static bool timing(const char *line, size_t len, int64_t *ret_start_ms, int64_t *ret_end_ms, char *settings) {
    const char *p = line, *end = line + len;
    spaces(&p, end);
    if (!timestamp(&p, end, ret_start_ms))
        return false;
    spaces(&p, end);
    if (end - p < 3 || memcmp(p, "-->", 3) != 0)
        return false;
    p += 3;
    spaces(&p, end);
    if (!timestamp(&p, end, ret_end_ms) || (p < end && *p != ' ' && *p != '\t'))
        return false;
    spaces(&p, end);
    for (const char *s = p; s < end; s++)
        if (*s < ' ' || *s > '~')
            return false;
    if (end - p > CUE_SETTINGS_MAX || has_arrow(p, (size_t)(end - p)))
        return false;
    memcpy(settings, p, (size_t)(end - p));
    settings[end - p] = 0;
    return true;
}

/* The lines up to an empty one; a line with an arrow would begin another cue. */
static int take_text(struct cues *cues, struct cue *cue, struct lines *lines) {
    const char *line;
    size_t n, len = 0;
    while (next_line(lines, &line, &n) && n) {
        if (has_arrow(line, n))
            return wrong(cues, "line %u: an empty line is missing before the next cue", lines->number);
        if ((len && !put(cue, &len, "\n", 1)) || !put(cue, &len, line, n))
            return wrong(cues, "line %u: the text of a cue has at most %d bytes", lines->number, CUE_TEXT_MAX);
    }
    return 0;
}

static int take_cue(struct cues *cues, struct lines *lines, const char *line, size_t len, const char *language,
                    const char *label, int64_t base_us) {
    char settings[CUE_SETTINGS_MAX + 1];
    int64_t start_ms, end_ms, base_ms = base_us / 1000;
    if (!timing(line, len, &start_ms, &end_ms, settings))
        return wrong(cues, "line %u: that is no \"00:00.000 --> 00:02.000\"", lines->number);
    if (check_times(cues, base_ms + start_ms, base_ms + end_ms))
        return -EINVAL;
    struct cue *cue = add(cues, language, label, base_ms + start_ms, base_ms + end_ms);
    if (!cue)
        return -EINVAL;
    strcpy(cue->settings, settings);
    return take_text(cues, cue, lines);
}

static bool is_text(const uint8_t *data, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (data[i] < ' ' && data[i] != '\t' && data[i] != '\n' && data[i] != '\r')
            return false;
    json_t *string = json_stringn((const char *)data, len); /* NULL unless it is UTF-8 */
    json_decref(string);
    return string;
}

int cues_parse_vtt(struct cues *cues, const uint8_t *data, size_t len, const char *language, const char *label,
                   int64_t base_us) {
    struct lines lines = {(const char *)data, (const char *)data + len, 0};
    const char *line;
    size_t n;
    begin(cues);
    if (base_us < 0 || base_us / 1000 > TIME_MAX_MS)
        return wrong(cues, "base: milliseconds since 1970");
    if (check_names(cues, language, label))
        return -EINVAL;
    if (!is_text(data, len))
        return wrong(cues, "that is no text in UTF-8");
    if (len >= 3 && !memcmp(data, "\xef\xbb\xbf", 3))
        lines.p += 3;
    if (!next_line(&lines, &line, &n) || n < 6 || memcmp(line, "WEBVTT", 6) != 0)
        return wrong(cues, "a WebVTT file begins with WEBVTT");
    while (next_line(&lines, &line, &n))
        if (has_arrow(line, n) && take_cue(cues, &lines, line, n, language, label, base_us))
            return -EINVAL;
    return cues->count ? 0 : wrong(cues, "there is no cue");
}
