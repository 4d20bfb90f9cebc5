#include "ingest/on_demand.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/list.h"
#include "common/base/loop.h"

/* A source frame that is kept. */
struct kept {
    struct list link;
    struct transcode_slot slot;
    size_t len;
    uint8_t data[];
};

struct sleeper {
    struct on_demand *demand;
    uint32_t index;
    struct ladder *ladder; /* NULL: it is asleep */
    bool drains, dropped;
    bool was_asked;
    int64_t asked_us;  /* when last */
    uint64_t next_msn; /* the first segment of which nothing was made yet: what stands in a place never changes */
};

struct on_demand {
    struct loop *loop;
    struct transcode_settings settings;
    uint8_t *config;
    char encoder[64], preset[32];
    struct transcode_output outputs[RUNGS_MAX];
    int64_t linger_us;
    struct on_demand_port port;
    struct sleeper sleepers[RUNGS_MAX];
    bool ends;
    struct list kept; /* begins where a segment does, with an independent frame */
    size_t count, bytes;
    uint64_t latest_msn; /* where the newest segment that can be begun with begins */
};

static void *must(void *allocated) {
    if (!allocated)
        abort();
    return allocated;
}

/* --- frames that are kept --- */

static struct kept *first(const struct on_demand *demand) {
    return list_empty(&demand->kept) ? NULL : list_entry(demand->kept.next, struct kept, link);
}

static void forget_first(struct on_demand *demand) {
    struct kept *kept = first(demand);
    list_remove(&kept->link);
    demand->count--;
    demand->bytes -= kept->len;
    free(kept);
}

static void forget_all(struct on_demand *demand) {
    while (first(demand))
        forget_first(demand);
}

/* The first picture of a segment, which all rungs have. */
static bool is_first(const struct transcode_slot *slot) {
    return slot->rungs & 1 && !slot->numbers[0];
}

static bool begins(const struct transcode_slot *slot) {
    return slot->independent && is_first(slot);
}

static void keep(struct on_demand *demand, const struct transcode_slot *slot, const uint8_t *data, size_t len) {
    if (begins(slot)) {
        while (first(demand) && first(demand)->slot.msn < demand->latest_msn)
            forget_first(demand);
        demand->latest_msn = slot->msn;
    }
    if (demand->count == ON_DEMAND_FRAMES_MAX || demand->bytes + len > ON_DEMAND_BYTES_MAX)
        forget_all(demand);
    if (!first(demand) && !begins(slot))
        return; /* none to begin with */
    struct kept *kept = must(malloc(sizeof *kept + len));
    *kept = (struct kept){.slot = *slot, .len = len};
    memcpy(kept->data, data, len);
    list_append(&demand->kept, &kept->link);
    demand->count++;
    demand->bytes += len;
}

/* --- a rung's ladder --- */

static void put_to_sleep(struct sleeper *sleeper) {
    ladder_destroy(sleeper->ladder);
    sleeper->ladder = NULL;
    sleeper->drains = false;
}

static void drop(struct sleeper *sleeper, const char *why) {
    const struct on_demand_port *port = &sleeper->demand->port;
    sleeper->dropped = true;
    port->on_dropped(port->ctx, sleeper->index, why);
}

/* Players have its configuration already. */
static void on_ready(void *ctx, const struct transcode_output *outputs, const char *why) {
    struct sleeper *sleeper = ctx;
    const struct transcode_output *told = &sleeper->demand->outputs[sleeper->index];
    bool same =
        !why && outputs->config_len == told->config_len && !memcmp(outputs->config, told->config, told->config_len);
    if (same)
        return;
    put_to_sleep(sleeper);
    drop(sleeper, why ? why : "the encoder gives another configuration than before");
}

static void on_frame(void *ctx, const struct transcode_frame *frame) {
    const struct sleeper *sleeper = ctx;
    struct transcode_frame numbered = *frame;
    numbered.rung = sleeper->index;
    numbered.slot.numbers[sleeper->index] = frame->slot.numbers[0];
    if (!sleeper->dropped)
        sleeper->demand->port.on_frame(sleeper->demand->port.ctx, &numbered);
}

static void on_dropped(void *ctx, uint32_t rung, const char *why) {
    struct sleeper *sleeper = ctx;
    (void)rung;
    if (!sleeper->dropped)
        drop(sleeper, why);
}

static bool any_awake(const struct on_demand *demand) {
    for (uint32_t i = 0; i < demand->settings.rung_count; i++)
        if (demand->sleepers[i].ladder)
            return true;
    return false;
}

static void on_drained(void *ctx) {
    struct sleeper *sleeper = ctx;
    struct on_demand *demand = sleeper->demand;
    put_to_sleep(sleeper);
    if (!demand->ends)
        demand->port.on_here(demand->port.ctx, sleeper->index, false, 0);
    else if (!any_awake(demand))
        demand->port.on_drained(demand->port.ctx);
}

/* The first kept frame that it can begin with. */
static struct kept *place_to_begin(const struct sleeper *sleeper) {
    list_each(it, &sleeper->demand->kept) {
        struct kept *kept = list_entry(it, struct kept, link);
        if (begins(&kept->slot) && kept->slot.msn >= sleeper->next_msn)
            return kept;
    }
    return NULL;
}

/* Its ladder has no other rungs. */
static void push(struct sleeper *sleeper, const struct transcode_slot *slot, const uint8_t *data, size_t len) {
    struct transcode_slot own = *slot;
    own.rungs = slot->rungs >> sleeper->index & 1;
    own.numbers[0] = slot->numbers[sleeper->index];
    ladder_push(sleeper->ladder, &own, data, len);
}

static void wake(struct sleeper *sleeper) {
    static const struct ladder_events events = {on_ready, on_frame, on_dropped, on_drained};
    struct on_demand *demand = sleeper->demand;
    struct kept *from = place_to_begin(sleeper);
    if (!from)
        return; /* at the source's next key frame */
    struct transcode_settings settings = demand->settings;
    settings.rungs[0] = demand->settings.rungs[sleeper->index];
    settings.rung_count = 1;
    demand->port.on_here(demand->port.ctx, sleeper->index, true, from->slot.msn);
    sleeper->ladder = ladder_create(demand->loop, &settings, from->data, from->len, &events, sleeper);
    for (struct list *it = &from->link; it != &demand->kept; it = it->next) {
        const struct kept *kept = list_entry(it, struct kept, link);
        push(sleeper, &kept->slot, kept->data, kept->len);
    }
}

static void drain(struct sleeper *sleeper) {
    sleeper->drains = true;
    ladder_drain(sleeper->ladder);
}

/* --- from outside --- */

struct on_demand *on_demand_create(struct loop *loop, const struct transcode_settings *settings,
                                   const struct transcode_output *outputs, int64_t linger_us,
                                   const struct on_demand_port *port) {
    struct on_demand *demand = must(calloc(1, sizeof *demand));
    demand->loop = loop;
    demand->settings = *settings;
    demand->config = must(malloc(settings->config_len + 1));
    memcpy(demand->config, settings->config, settings->config_len);
    demand->settings.config = demand->config;
    strncpy(demand->encoder, settings->encoder, sizeof demand->encoder - 1);
    strncpy(demand->preset, settings->preset, sizeof demand->preset - 1);
    demand->settings.encoder = demand->encoder;
    demand->settings.preset = demand->preset;
    memcpy(demand->outputs, outputs, settings->rung_count * sizeof *outputs);
    demand->linger_us = linger_us;
    demand->port = *port;
    list_init(&demand->kept);
    for (uint32_t i = 0; i < RUNGS_MAX; i++)
        demand->sleepers[i] = (struct sleeper){.demand = demand, .index = i};
    return demand;
}

void on_demand_destroy(struct on_demand *demand) {
    if (!demand)
        return;
    for (uint32_t i = 0; i < RUNGS_MAX; i++)
        put_to_sleep(&demand->sleepers[i]);
    forget_all(demand);
    free(demand->config);
    free(demand);
}

static bool wanted(const struct sleeper *sleeper, int64_t now_us) {
    return sleeper->was_asked && !sleeper->dropped && now_us - sleeper->asked_us <= sleeper->demand->linger_us;
}

static void give(struct sleeper *sleeper, const struct transcode_slot *slot, const uint8_t *data, size_t len) {
    int64_t now_us = loop_now_us(sleeper->demand->loop);
    if (sleeper->ladder && !sleeper->drains && is_first(slot) && !wanted(sleeper, now_us)) {
        sleeper->next_msn = slot->msn;
        drain(sleeper);
    } else if (sleeper->ladder && !sleeper->drains) {
        push(sleeper, slot, data, len);
    } else if (!sleeper->ladder && wanted(sleeper, now_us)) {
        wake(sleeper);
    }
}

void on_demand_push(struct on_demand *demand, const struct transcode_slot *slot, const uint8_t *data, size_t len,
                    uint32_t asked) {
    keep(demand, slot, data, len);
    for (uint32_t i = 0; i < demand->settings.rung_count; i++) {
        struct sleeper *sleeper = &demand->sleepers[i];
        if (asked & 1u << i) {
            sleeper->was_asked = true;
            sleeper->asked_us = loop_now_us(demand->loop);
        }
        give(sleeper, slot, data, len);
    }
}

bool on_demand_drain(struct on_demand *demand) {
    demand->ends = true;
    for (uint32_t i = 0; i < demand->settings.rung_count; i++)
        if (demand->sleepers[i].ladder && !demand->sleepers[i].drains)
            drain(&demand->sleepers[i]);
    return any_awake(demand);
}
