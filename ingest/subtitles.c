#include "ingest/subtitles.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/list.h"
#include "common/base/pattern.h"
#include "common/media/name.h"
#include "ingest/cues.h"

struct waiting {
    uint64_t id; /* of all cues of the stream's language: players know a cue by it that they get again */
    int64_t start_us, end_us;
    char *text, *settings;
};

struct language {
    char tag[LANGUAGE_LEN], label[LABEL_LEN];
    uint64_t next_id;
    uint32_t count;
    struct waiting items[SUBTITLE_WAITING_MAX]; /* as they came */
};

struct subtitled {
    struct list link;
    char stream[STREAM_NAME_LEN];
    uint32_t holders;
    int64_t edge_us, drift_us; /* media time up to which cues have gone on their way; see subtitled_print */
    uint32_t count;
    struct language *languages[SUBTITLE_TRACKS_MAX];
};

struct subtitles {
    char *const *entries;
    uint32_t entry_count, count;
    struct list streams; /* the oldest first */
};

/* --- life cycle --- */

struct subtitles *subtitles_create(char *const *entries, uint32_t count) {
    struct subtitles *subtitles = calloc(1, sizeof *subtitles);
    if (!subtitles)
        abort();
    subtitles->entries = entries;
    subtitles->entry_count = count;
    list_init(&subtitles->streams);
    return subtitles;
}

static void waiting_finish(struct waiting *waiting) {
    free(waiting->text);
    free(waiting->settings);
}

static void subtitled_destroy(struct subtitled *subtitled) {
    list_remove(&subtitled->link);
    for (uint32_t i = 0; i < subtitled->count; i++) {
        for (uint32_t k = 0; k < subtitled->languages[i]->count; k++)
            waiting_finish(&subtitled->languages[i]->items[k]);
        free(subtitled->languages[i]);
    }
    free(subtitled);
}

void subtitles_destroy(struct subtitles *subtitles) {
    if (!subtitles)
        return;
    list_each(it, &subtitles->streams) subtitled_destroy(list_entry(it, struct subtitled, link));
    free(subtitles);
}

static struct subtitled *find(struct subtitles *subtitles, const char *stream) {
    list_each(it, &subtitles->streams) {
        struct subtitled *subtitled = list_entry(it, struct subtitled, link);
        if (!strcmp(subtitled->stream, stream))
            return subtitled;
    }
    return NULL;
}

/* The oldest that nobody publishes makes room. NULL: none does. */
static struct subtitled *get(struct subtitles *subtitles, const char *stream) {
    struct subtitled *subtitled = find(subtitles, stream);
    if (subtitled)
        return subtitled;
    list_each(it, &subtitles->streams) {
        struct subtitled *old = list_entry(it, struct subtitled, link);
        if (subtitles->count >= SUBTITLE_STREAMS_MAX && !old->holders) {
            subtitled_destroy(old);
            subtitles->count--;
        }
    }
    if (subtitles->count >= SUBTITLE_STREAMS_MAX || !(subtitled = calloc(1, sizeof *subtitled)))
        return NULL;
    snprintf(subtitled->stream, sizeof subtitled->stream, "%s", stream);
    list_append(&subtitles->streams, &subtitled->link);
    subtitles->count++;
    return subtitled;
}

/* --- languages --- */

static struct language *find_language(struct subtitled *subtitled, const char *tag) {
    for (uint32_t i = 0; i < subtitled->count; i++)
        if (!strcmp(subtitled->languages[i]->tag, tag))
            return subtitled->languages[i];
    return NULL;
}

/* NULL: there are as many as may be. */
static struct language *add_language(struct subtitled *subtitled, const char *tag, const char *label) {
    if (subtitled->count == SUBTITLE_TRACKS_MAX)
        return NULL;
    struct language *language = calloc(1, sizeof *language);
    if (!language)
        abort();
    snprintf(language->tag, sizeof language->tag, "%s", tag);
    snprintf(language->label, sizeof language->label, "%s", label);
    return subtitled->languages[subtitled->count++] = language;
}

/* "app/pattern de Deutsch". */
static bool split_entry(const char *entry, size_t *ret_pattern, char tag[LANGUAGE_LEN], char label[LABEL_LEN]) {
    size_t pattern = strcspn(entry, " ");
    const char *p = entry + pattern + strspn(entry + pattern, " ");
    size_t len = strcspn(p, " ");
    const char *name = p + len + strspn(p + len, " ");
    if (!pattern || len >= LANGUAGE_LEN || strlen(name) >= LABEL_LEN)
        return false;
    *ret_pattern = pattern;
    snprintf(tag, LANGUAGE_LEN, "%.*s", (int)len, p);
    snprintf(label, LABEL_LEN, "%s", name);
    return cues_names_ok(tag, label);
}

static void declare(struct subtitles *subtitles, const char *stream) {
    for (uint32_t i = 0; i < subtitles->entry_count; i++) {
        char tag[LANGUAGE_LEN], label[LABEL_LEN];
        size_t pattern;
        if (!split_entry(subtitles->entries[i], &pattern, tag, label) ||
            !pattern_closeness(subtitles->entries[i], pattern, stream))
            continue;
        struct subtitled *subtitled = get(subtitles, stream);
        if (subtitled && !find_language(subtitled, tag))
            add_language(subtitled, tag, label);
    }
}

struct subtitled *subtitles_hold(struct subtitles *subtitles, const char *stream) {
    declare(subtitles, stream);
    struct subtitled *subtitled = find(subtitles, stream);
    if (subtitled)
        subtitled->holders++;
    return subtitled;
}

void subtitled_release(struct subtitled *subtitled) {
    if (subtitled)
        subtitled->holders--;
}

/* --- cues --- */

static void forget(struct language *language, uint32_t i) {
    waiting_finish(&language->items[i]);
    memmove(&language->items[i], &language->items[i + 1], (--language->count - i) * sizeof *language->items);
}

static void forget_before(struct language *language, int64_t utc_us) {
    for (uint32_t i = language->count; i > 0; i--)
        if (language->items[i - 1].end_us <= utc_us)
            forget(language, i - 1);
}

static uint32_t beside(const struct language *language, const struct cue *cue) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < language->count; i++)
        count += language->items[i].start_us < cue->end_us && language->items[i].end_us > cue->start_us;
    return count;
}

static char *copy(const char *text) {
    char *copied = strdup(text);
    if (!copied)
        abort();
    return copied;
}

enum subtitle_verdict subtitles_add(struct subtitles *subtitles, const char *stream, const struct cue *cue,
                                    int64_t now_us) {
    struct subtitled *subtitled = get(subtitles, stream);
    if (!subtitled)
        return SUBTITLE_CROWDED;
    if (cue->end_us - subtitled->drift_us <= subtitled->edge_us ||
        cue->end_us <= now_us - SUBTITLE_AHEAD_S * INT64_C(1000000))
        return SUBTITLE_LATE;
    if (cue->start_us > now_us + SUBTITLE_AHEAD_S * INT64_C(1000000))
        return SUBTITLE_EARLY;
    struct language *language = find_language(subtitled, cue->language);
    bool is_new = !language;
    if (is_new && !(language = add_language(subtitled, cue->language, cue->label)))
        return SUBTITLE_LANGUAGES;
    forget_before(language, now_us - SUBTITLE_AHEAD_S * INT64_C(1000000)); /* nobody prints them */
    if (language->count == SUBTITLE_WAITING_MAX || beside(language, cue) >= SUBTITLE_AT_A_TIME_MAX)
        return SUBTITLE_CROWDED;
    language->items[language->count++] =
        (struct waiting){++language->next_id, cue->start_us, cue->end_us, copy(cue->text), copy(cue->settings)};
    return is_new ? SUBTITLE_NEW : SUBTITLE_TAKEN;
}

/* --- for a packager --- */

uint32_t subtitled_count(const struct subtitled *subtitled) {
    return subtitled ? subtitled->count : 0;
}

void subtitled_describe(const struct subtitled *subtitled, uint32_t language, struct track_info *info) {
    const struct language *of = subtitled->languages[language];
    snprintf(info->name, sizeof info->name, "s%u", language % 10);
    snprintf(info->language, sizeof info->language, "%s", of->tag);
    snprintf(info->label, sizeof info->label, "%s", of->label);
}

static void print_time(struct buf *out, int64_t us) {
    uint64_t ms = us > 0 ? ((uint64_t)us + 500) / 1000 : 0;
    buf_printf(out, "%02" PRIu64 ":%02" PRIu64 ":%02" PRIu64 ".%03" PRIu64, ms / 3600000, ms / 60000 % 60,
               ms / 1000 % 60, ms % 1000);
}

static void print_cue(struct buf *out, const struct waiting *cue, int64_t zero_us) {
    buf_printf(out, "%" PRIu64 "\n", cue->id);
    print_time(out, cue->start_us - zero_us);
    buf_append_str(out, " --> ");
    print_time(out, cue->end_us - zero_us);
    buf_printf(out, "%s%s\n%s%s\n", *cue->settings ? " " : "", cue->settings, cue->text, *cue->text ? "\n" : "");
}

void subtitled_print(struct subtitled *subtitled, uint32_t language, int64_t from_us, int64_t to_us, int64_t anchor_us,
                     int64_t drift_us, struct buf *out) {
    struct language *of = subtitled->languages[language];
    size_t before = buf_len(out);
    for (uint32_t i = 0; i < of->count; i++) {
        const struct waiting *cue = &of->items[i];
        if (cue->start_us - drift_us < to_us && cue->end_us - drift_us > from_us)
            print_cue(out, cue, anchor_us + drift_us);
    }
    if (buf_len(out) == before)
        buf_append_str(out, "\n");
    forget_before(of, to_us + drift_us);
    subtitled->edge_us = to_us;
    subtitled->drift_us = drift_us;
}
