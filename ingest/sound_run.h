/* What a stream with a ladder has for sound: that which all can play, and one of a low rate for who can't have a picture. The publisher's own
 * goes on as it is where it is AAC-LC of 44.1 or 48 kHz, mono or stereo; else it is transcoded to that (sound.h), in its place. One loop. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "ingest/packager.h"

struct ingest_settings;
struct sound_run;

/* `low`: with one of a low rate. NULL: it stays as it is, because it is to, or because it can't be transcoded, which is logged. */
struct sound_run *sound_run_create(const struct ingest_settings *settings, const char *stream, const struct packager_source *source, bool low);
/* NULL is allowed. */
void sound_run_destroy(struct sound_run *run);
/* The publisher's own is not carried. NULL is allowed. */
bool sound_run_replaces(const struct sound_run *run);
/* What the packager is to be opened with: *source is replaced if it is to be. Whether there is one of a low rate. Valid as long as `run`. */
bool sound_run_sources(const struct sound_run *run, struct packager_source *source, struct packager_source *ret_low);
/* The packager was opened with it as track `index`, and what has a low rate as `low_index`. */
void sound_run_begin(struct sound_run *run, struct packager *packager, uint32_t index, uint32_t low_index);
/* A frame of the publisher's; what comes of it goes to the packager. */
void sound_run_push(struct sound_run *run, const struct lane_frame *frame);
