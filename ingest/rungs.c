#include "ingest/rungs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/pattern.h"

/* "auto"; RUNGS_MAX of them at most. The last one is for who has hardly any network: what is left for a picture at half
 * the rate is twice as much. */
static const struct rung defaults[] = {
    {1080, 5000}, {720, 2800}, {480, 1200}, {360, 600}, {.height = 240, .kbps = 150, .fps = 24}};
static const char *const presets[] = {"ultrafast", "superfast", "veryfast", "faster", "fast", "medium"};

/* The rungs' text of the entry that counts; NULL: none does. */
static const char *find(char *const *entries, uint32_t entry_count, const char *stream) {
    const char *found = NULL;
    size_t best = 0;
    for (uint32_t i = 0; i < entry_count; i++) {
        size_t len = strcspn(entries[i], " "), close = pattern_closeness(entries[i], len, stream);
        if (close > best) {
            best = close;
            found = entries[i] + len;
        }
    }
    return found;
}

static uint8_t every_of(uint16_t fps, uint32_t rate_milli) {
    uint32_t every = 1;
    while (fps && every < RUNG_EVERY_MAX && rate_milli / every > fps * UINT32_C(1000))
        every *= 2;
    return (uint8_t)every;
}

static void add(struct rung rungs[RUNGS_MAX], uint32_t *count, struct rung rung, uint32_t rate_milli) {
    uint32_t k = *count;
    if (k == RUNGS_MAX)
        return;
    rung.every = every_of(rung.fps, rate_milli);
    for (; k > 0 && rung.height > rungs[k - 1].height; k--)
        rungs[k] = rungs[k - 1];
    rungs[k] = rung;
    ++*count;
}

static const char *find_preset(const char *text, size_t len) {
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++)
        if (!strncmp(presets[i], text, len) && !presets[i][len])
            return presets[i];
    return NULL;
}

/* "480:1200", "240@15:150:veryfast"; `text` moves on to the next. False: it is none. */
static bool parse(const char **text, struct rung *ret_rung) {
    unsigned height, fps = 0, kbps;
    int used;
    const char *at = *text;
    if (sscanf(at, "%4u%n", &height, &used) != 1)
        return false;
    at += used;
    if (*at == '@' && sscanf(at, "@%3u%n", &fps, &used) == 1)
        at += used;
    if (sscanf(at, ":%6u%n", &kbps, &used) != 1)
        return false;
    at += used;
    *ret_rung = (struct rung){.height = (uint16_t)height, .kbps = kbps, .fps = (uint16_t)fps};
    if (*at == ':') {
        size_t len = strcspn(++at, " ");
        ret_rung->preset = find_preset(at, len);
        at += len;
    }
    *text = at + strspn(at, " ");
    return true;
}

uint32_t rungs_choose(char *const *entries, uint32_t entry_count, const char *stream, uint32_t short_side,
                      uint32_t rate_milli, struct rung rungs[RUNGS_MAX]) {
    const char *text = find(entries, entry_count, stream);
    uint32_t count = 0;
    if (!text)
        return 0;
    text += strspn(text, " ");
    if (!strcmp(text, "auto")) {
        for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++)
            if (defaults[i].height * 10u <= short_side * 9u)
                add(rungs, &count, defaults[i], rate_milli);
        return count;
    }
    struct rung rung;
    while (parse(&text, &rung))
        if (rung.height < short_side)
            add(rungs, &count, rung, rate_milli);
    return count;
}

bool rungs_wanted(char *const *entries, uint32_t entry_count, const char *stream) {
    struct rung rungs[RUNGS_MAX];
    return rungs_choose(entries, entry_count, stream, UINT16_MAX, 0, rungs) > 0;
}
