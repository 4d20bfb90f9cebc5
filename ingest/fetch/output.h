/* What weir-fetch writes: a transport stream on a descriptor, each packet at once. */
#pragma once
#include <libavformat/avformat.h>
#include <stdbool.h>

enum { OUTPUT_STREAMS_MAX = 64 };

struct output {
    AVFormatContext *format; /* NULL: to be begun */
    int fd;
    int index[OUTPUT_STREAMS_MAX];       /* of an input's stream in ours; -1: it isn't carried */
    int64_t last_dts[OUTPUT_STREAMS_MAX]; /* of ours, in its ticks */
};

/* All of it. 0 or negative errno. */
int output_bytes(int fd, const uint8_t *data, size_t len);
/* Begins with those streams of the input that are chosen. 0 or libavformat's error. */
int output_begin(struct output *output, AVFormatContext *input, const bool *chosen);
/* A packet of the input, its times shifted by so much. It is left unreferenced. 0 or libavformat's error. */
int output_packet(struct output *output, AVFormatContext *input, AVPacket *packet, int64_t shift_us);
void output_end(struct output *output);
