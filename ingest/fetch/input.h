/* Where weir-fetch reads from: an RTMP server by librtmp, anything else by libavformat. Blocks. */
#pragma once
#include <libavformat/avformat.h>
#include <stdbool.h>

struct RTMP;

struct input {
    AVFormatContext *format; /* NULL: what comes is a transport stream already, to be passed on as it is from `io` */
    AVIOContext *io;
    struct RTMP *rtmp;
    char *rtmp_url;
    bool in_real_time; /* it comes when it is made; else as fast as it is read */
    bool is_file;
};

/* An exit status (say.h), having said why it is not EXIT_END; then input_close is still due. */
int input_open(struct input *input, const char *url);
/* Of what there is to choose from, marks the streams to be carried, and returns how many; the others are discarded. 0, having said why:
 * none can be. */
unsigned input_choose(struct input *input, bool *chosen, unsigned max);
/* From the beginning; a file only. False: it can't. */
bool input_rewind(struct input *input);
void input_close(struct input *input);
