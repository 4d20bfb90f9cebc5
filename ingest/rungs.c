#include "ingest/rungs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/pattern.h"

/* "auto". For a 4K source the same with 1080 on top; RUNGS_MAX of them at most. */
static const struct rung defaults[] = {{1080, 5000}, {720, 2800}, {480, 1200}, {360, 600}, {240, 150}};

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

static void add(struct rung rungs[RUNGS_MAX], uint32_t *count, struct rung rung) {
    uint32_t k = *count;
    if (k == RUNGS_MAX)
        return;
    for (; k > 0 && rung.height > rungs[k - 1].height; k--)
        rungs[k] = rungs[k - 1];
    rungs[k] = rung;
    ++*count;
}

uint32_t rungs_choose(char *const *entries, uint32_t entry_count, const char *stream, uint32_t short_side,
                      struct rung rungs[RUNGS_MAX]) {
    const char *text = find(entries, entry_count, stream);
    uint32_t count = 0;
    if (!text)
        return 0;
    text += strspn(text, " ");
    if (!strcmp(text, "auto")) {
        for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++)
            if (defaults[i].height * 10u <= short_side * 9u)
                add(rungs, &count, defaults[i]);
        return count;
    }
    unsigned height, kbps;
    int used;
    for (; sscanf(text, "%4u:%6u%n", &height, &kbps, &used) == 2; text += used, text += strspn(text, " "))
        if (height < short_side)
            add(rungs, &count, (struct rung){(uint16_t)height, kbps});
    return count;
}

bool rungs_wanted(char *const *entries, uint32_t entry_count, const char *stream) {
    struct rung rungs[RUNGS_MAX];
    return rungs_choose(entries, entry_count, stream, UINT16_MAX, rungs) > 0;
}
