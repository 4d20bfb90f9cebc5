/* What a publisher is to the pushes that join its stream (join.h); publisher.c. All of it is of the same loop, and calls nobody back. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "ingest/publisher.h"

struct join_lateness;
struct join_seats;
struct track;

/* The publisher of that name and rank on this node that others can join; NULL: there is none. */
struct publisher *lead_find(const struct ingest *ingest, const char *stream, enum claim_rank rank);
bool lead_has_picture(const struct publisher *pub);
/* Of its leading track. */
const struct join_lateness *lead_lateness(const struct publisher *pub);
struct join_seats *lead_seats(struct publisher *pub);
/* One more track, or another configuration of one, from the next key frame of the leading picture on. `like`: what was found out of it.
 * False: there are as many as may be. */
bool lead_add_track(struct publisher *pub, const struct publisher_config *config, const struct track *like);
/* Of such a track; its times are on this publisher's clock. It was checked (track_check). */
void lead_frame(struct publisher *pub, const struct publisher_frame *frame, int64_t now_us);
