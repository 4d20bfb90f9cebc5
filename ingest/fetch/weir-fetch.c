/* Fetches one stream for a node and writes it to stdout as MPEG-TS: a process of its own, because librtmp's and
 * libavformat's parsers read strangers' bytes, and whatever those do to it happens to nobody else. Not for people to
 * call.
 *
 *   WEIR_FETCH_URL=rtmp://… weir-fetch [--loop] NAME
 *
 * The URL may have secrets, so it isn't an argument, which all users of a machine can see; NAME is for those who look.
 * Its last line on stderr, and its exit status (say.h), say why it ended. */
#include <errno.h>
#include <libavutil/log.h>
#include <libavutil/time.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ingest/fetch/confine.h"
#include "ingest/fetch/input.h"
#include "ingest/fetch/output.h"
#include "ingest/fetch/say.h"

enum {
    BYTES = 64 << 10,
    LATE_MAX_US = 1000000,   /* later than this, and the pace is set anew */
    AHEAD_MAX_US = 10000000, /* a jump of the clock, not a pause */
    STEP_US = 20000,
};

/* Media that can be read faster than they play are given as they play. */
struct pace {
    bool started;
    int64_t clock_us, media_us; /* what belongs to what */
};

struct fetch {
    struct input input;
    struct output output;
    struct pace pace;
    unsigned streams; /* of the input, so far */
    bool chosen[OUTPUT_STREAMS_MAX];
    bool loop;
    bool begun;
    int64_t begin_us, end_us; /* of one run through the media */
    int64_t shift_us;         /* of the present one */
};

static void pace_keep(struct pace *pace, int64_t media_us) {
    int64_t now_us = av_gettime_relative(), due_us = pace->clock_us + media_us - pace->media_us;
    if (!pace->started || now_us - due_us > LATE_MAX_US || due_us - now_us > AHEAD_MAX_US) {
        *pace = (struct pace){true, now_us, media_us};
        return;
    }
    for (; now_us < due_us; now_us = av_gettime_relative())
        av_usleep((unsigned)(due_us - now_us < STEP_US ? due_us - now_us : STEP_US));
}

static int64_t us_of(const AVStream *stream, int64_t ts) {
    return av_rescale_q(ts, stream->time_base, (AVRational){1, AV_TIME_BASE});
}

static void note_time(struct fetch *fetch, const AVPacket *packet, const AVStream *stream) {
    int64_t ts = packet->dts != AV_NOPTS_VALUE ? packet->dts : packet->pts;
    if (ts == AV_NOPTS_VALUE)
        return;
    int64_t from_us = us_of(stream, ts), to_us = us_of(stream, ts + packet->duration);
    if (!fetch->begun || from_us < fetch->begin_us)
        fetch->begin_us = from_us;
    if (!fetch->begun || to_us > fetch->end_us)
        fetch->end_us = to_us;
    fetch->begun = true;
    if (!fetch->input.in_real_time)
        pace_keep(&fetch->pace, from_us + fetch->shift_us);
}

/* Once more from the beginning, its times going on behind the end. */
static bool again(struct fetch *fetch) {
    if (!fetch->loop || !fetch->begun || fetch->end_us <= fetch->begin_us || !input_rewind(&fetch->input))
        return false;
    fetch->shift_us += fetch->end_us - fetch->begin_us;
    return true;
}

static int stop(int rc) {
    if (rc == AVERROR(EPIPE))
        return EXIT_END; /* nobody wants it any more */
    if (rc == AVERROR_EOF) {
        say("the source has ended");
        return EXIT_END;
    }
    say_error("broke off", rc);
    return EXIT_TROUBLE;
}

static int pass_bytes(struct fetch *fetch) {
    static uint8_t bytes[BYTES];
    for (;;) {
        int n = avio_read_partial(fetch->input.io, bytes, sizeof bytes);
        int rc = n > 0 ? output_bytes(fetch->output.fd, bytes, (size_t)n) : n == 0 ? AVERROR_EOF : n;
        if (rc < 0)
            return stop(rc);
    }
}

/* Also when another stream shows up in what comes: a picture behind sound. */
static int begin_output(struct fetch *fetch) {
    memset(fetch->chosen, 0, sizeof fetch->chosen);
    fetch->streams = fetch->input.format->nb_streams;
    output_end(&fetch->output);
    if (!input_choose(&fetch->input, fetch->chosen, OUTPUT_STREAMS_MAX))
        return AVERROR_PATCHWELCOME;
    return output_begin(&fetch->output, fetch->input.format, fetch->chosen);
}

/* 0 or libavformat's error. */
static int pass_packet(struct fetch *fetch, AVPacket *packet) {
    AVFormatContext *format = fetch->input.format;
    int rc = av_read_frame(format, packet);
    if (rc == AVERROR_EOF && again(fetch))
        return 0;
    if (!rc && format->nb_streams != fetch->streams)
        rc = begin_output(fetch);
    if (rc)
        return rc;
    unsigned index = (unsigned)packet->stream_index;
    if (index < OUTPUT_STREAMS_MAX && fetch->chosen[index])
        note_time(fetch, packet, format->streams[index]);
    return output_packet(&fetch->output, format, packet, fetch->shift_us);
}

static int pass_packets(struct fetch *fetch) {
    AVPacket *packet = av_packet_alloc();
    if (!packet)
        abort();
    int rc = begin_output(fetch);
    while (!rc)
        rc = pass_packet(fetch, packet);
    av_packet_free(&packet);
    return rc == AVERROR_PATCHWELCOME ? EXIT_UNUSABLE : stop(rc);
}

static void on_log(void *ctx, int level, const char *format, va_list args) {
    char line[512];
    int prefix = 0;
    if (level > AV_LOG_ERROR)
        return;
    av_log_format_line(ctx, level, format, args, line, sizeof line, &prefix);
    fputs(line, stderr);
}

/* systemd, or a terminal, tells all processes of a service that it stops; the node still has to take leave of its
 * viewers then. Its fetchers go with it. */
static void ignore_signals(void) {
    static const int signals[] = {SIGPIPE, SIGTERM, SIGINT, SIGHUP};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        signal(signals[i], SIG_IGN);
}

int main(int argc, char **argv) {
    const char *url = getenv("WEIR_FETCH_URL");
    struct fetch fetch = {.output.fd = STDOUT_FILENO};
    confine();
    ignore_signals();
    av_log_set_callback(on_log);
    fetch.loop = argc > 1 && strcmp(argv[1], "--loop") == 0;
    if (!url || argc != (fetch.loop ? 3 : 2)) {
        fputs("usage: WEIR_FETCH_URL=URL weir-fetch [--loop] NAME (called by weir)\n", stderr);
        return EXIT_UNUSABLE;
    }
    int rc = input_open(&fetch.input, url);
    if (rc == EXIT_END)
        rc = fetch.input.format ? pass_packets(&fetch) : pass_bytes(&fetch);
    output_end(&fetch.output);
    input_close(&fetch.input);
    return rc;
}
