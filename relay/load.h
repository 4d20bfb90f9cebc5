/* How full this node is: its viewers and what it sends them, against what it is configured to carry. Measured on one loop, asked by all
 * workers. */
#pragma once
#include <stdint.h>

struct load;
struct loop;

enum load_level {
    LOAD_OK,
    LOAD_OVER, /* at a limit: new viewers are to go elsewhere, and are served if they don't */
    LOAD_FULL, /* a tenth above it: new viewers are refused */
};

struct load_settings {
    uint32_t viewers_max;    /* connections; 0: no limit */
    uint32_t egress_mbps_max; /* 0: no limit */
};

struct load *load_create(struct loop *loop, const struct load_settings *settings);
/* Nobody asks any more. NULL is allowed. */
void load_destroy(struct load *load);
/* Any thread. */
enum load_level load_level(const struct load *load);
/* The loop's thread: smoothed over some seconds. */
struct load_figures {
    uint32_t viewers;
    uint32_t egress_kbps;
};
struct load_figures load_figures(const struct load *load);
/* Pure: the level at these figures. */
enum load_level load_judge(const struct load_settings *settings, const struct load_figures *figures);
void load_metrics_register(void);
