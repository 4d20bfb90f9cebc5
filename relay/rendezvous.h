/* Which of several nodes is a stream's, by rendezvous hashing (highest random weight): each pair of a stream and a node has a weight, and
 * a stream's nodes stand in the order of their weights. All who have the same list choose alike without asking anybody, streams spread
 * evenly, and a node that leaves the list moves only the streams that were its own. Pure. */
#pragma once
#include <stdint.h>

uint64_t rendezvous_weight(const char *stream, const char *node);
/* How many of the nodes come before `nodes[index]` for the stream, whatever order they are listed in: 0: it is the first. */
uint32_t rendezvous_rank(const char *stream, const char *const *nodes, uint32_t count, uint32_t index);
