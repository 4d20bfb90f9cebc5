/* Reads an HLS playlist as it comes, line by line (RFC 8216 and its second edition): what a player needs to load media,
 * and nothing else. Delta updates count as what they stand for. Pure. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MANIFEST_URI_MAX = 96, MANIFEST_LINE_MAX = 512 }; /* what is longer is cut */

struct manifest_item {
    char uri[MANIFEST_URI_MAX];
    uint64_t msn;
    uint32_t part; /* of a segment: how many parts of it were listed */
    int64_t duration_us;
    bool independent;
};

struct manifest {
    /* Called while reading; any may be NULL. An item is valid during the call. */
    void (*on_variant)(void *ctx, const char *uri);
    void (*on_part)(void *ctx, const struct manifest_item *part);
    void (*on_segment)(void *ctx, const struct manifest_item *segment);
    void *ctx;
    /* Valid at the end; URIs "" when absent. */
    int64_t target_us, part_target_us, hold_back_us, part_hold_back_us;
    bool valid, can_block, can_skip, ended;
    uint64_t msn;  /* of the segment that comes next, or is incomplete */
    uint32_t part; /* of the part that comes next */
    char map[MANIFEST_URI_MAX], hint[MANIFEST_URI_MAX];
    /* own */
    bool variant_next, after_inf;
    int64_t inf_us;
    uint16_t line_len;
    char line[MANIFEST_LINE_MAX];
};

/* Begins a playlist. The callbacks and `ctx` stay. */
void manifest_begin(struct manifest *manifest);
void manifest_feed(struct manifest *manifest, const uint8_t *data, size_t len);
/* The last line may lack its end. */
void manifest_end(struct manifest *manifest);
