/* Nothing here waits for long: a live source's first frames are as good as its later ones, so of what libavformat would
 * read to find out more only what it needs for codecs is left to it. */
#include "ingest/fetch/input.h"

#include <libavcodec/avcodec.h>
#include <librtmp/log.h>
#include <librtmp/rtmp.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/fetch/say.h"

enum {
    TS_PACKET = 188,
    TS_PACKETS_SEEN = 5, /* in a row: it is a transport stream */
    IO_BYTES = 32 << 10,
    LIVE_PROBE_BYTES = 512 << 10,
    LIVE_ANALYZE_US =
        3000000,   /* at most: a picture may come as late as the next key frame, of which sound tells nothing */
    TIMEOUT_S = 8, /* before the node loses its patience, so that there is a reason */
    AUDIO_MAX = 4,
};

#define PROTOCOLS "http,https,tcp,tls,crypto,data" /* not file: a playlist must not lead into this machine */

/* --- HTTP and files --- */

static void set_options(AVDictionary **options, bool is_file) {
    enum { MINE = AV_DICT_DONT_OVERWRITE };
    av_dict_set(options, "protocol_whitelist", is_file ? "file" : PROTOCOLS, 0);
    if (is_file)
        return;
    av_dict_set_int(options, "rw_timeout", TIMEOUT_S * 1000000, MINE);
    av_dict_set_int(options, "timeout", TIMEOUT_S * 1000000, MINE);
    av_dict_set(options, "tls_verify", "1", 0);
    av_dict_set(options, "user_agent", "weir", MINE);
}

static int open_io(AVIOContext **ret_io, const char *url, bool is_file, AVDictionary **options) {
    set_options(options, is_file);
    return avio_open2(ret_io, url, AVIO_FLAG_READ, NULL, options);
}

/* What a playlist leads to. */
static int on_io_open(AVFormatContext *format, AVIOContext **ret_io, const char *url, int flags,
                      AVDictionary **options) {
    const struct input *input = format->opaque;
    AVDictionary *none = NULL;
    int rc = flags & AVIO_FLAG_WRITE ? AVERROR(EPERM) : open_io(ret_io, url, input->is_file, options ? options : &none);
    av_dict_free(&none);
    return rc;
}

static bool is_transport_stream(AVIOContext *io) {
    uint8_t head[TS_PACKET * (TS_PACKETS_SEEN + 1)];
    int len = avio_read(io, head, sizeof head);
    avio_seek(io, 0, SEEK_SET); /* within its buffer */
    for (int at = 0; at < TS_PACKET && at + TS_PACKET * (TS_PACKETS_SEEN - 1) < len; at++) {
        int seen = 0;
        while (seen < TS_PACKETS_SEEN && head[at + seen * TS_PACKET] == 0x47)
            seen++;
        if (seen == TS_PACKETS_SEEN)
            return true;
    }
    return false;
}

static int format_open(struct input *input, const char *url, const char *kind) {
    AVDictionary *options = NULL;
    input->format = avformat_alloc_context();
    if (!input->format)
        abort();
    input->format->pb = input->io;
    input->format->opaque = input;
    input->format->io_open = on_io_open;
    input->format->fps_probe_size = 0;
    if (input->in_real_time) {
        input->format->probesize = LIVE_PROBE_BYTES;
        input->format->max_analyze_duration = LIVE_ANALYZE_US;
    }
    set_options(&options, input->is_file);
    av_dict_set(&options, "live_start_index", "-2", 0); /* HLS: one segment is played while the next is awaited */
    int rc = avformat_open_input(&input->format, url, kind ? av_find_input_format(kind) : NULL, &options);
    av_dict_free(&options);
    if (rc) {
        say_error("what comes can't be read", rc);
        return rc == AVERROR_INVALIDDATA ? EXIT_UNUSABLE : EXIT_TROUBLE;
    }
    rc = avformat_find_stream_info(input->format, NULL);
    if (rc < 0) {
        say_error("what comes can't be understood", rc);
        return EXIT_TROUBLE;
    }
    return EXIT_END;
}

static int open_by_avformat(struct input *input, const char *url) {
    AVDictionary *options = NULL;
    input->is_file = strncmp(url, "file:", 5) == 0;
    int rc = open_io(&input->io, url, input->is_file, &options);
    av_dict_free(&options);
    if (rc < 0) {
        say_error("can't be opened", rc);
        return input->is_file ? EXIT_UNUSABLE : EXIT_TROUBLE;
    }
    bool endless = !input->is_file && avio_size(input->io) < 0;
    if (endless && is_transport_stream(input->io)) {
        input->in_real_time = true;
        return EXIT_END;
    }
    rc = format_open(input, url, NULL);
    /* A playlist brings a segment at a time, as fast as the line is. */
    input->in_real_time = !rc && endless && strcmp(input->format->iformat->name, "flv") == 0;
    return rc;
}

/* --- RTMP --- */

static int on_rtmp_read(void *ctx, uint8_t *out, int size) {
    struct input *input = ctx;
    int n = RTMP_Read(input->rtmp, (char *)out, size);
    return n > 0 ? n : n == 0 ? AVERROR_EOF : AVERROR(EIO);
}

static int open_by_rtmp(struct input *input, const char *url) {
    RTMP_LogSetOutput(stderr);
    RTMP_LogSetLevel(RTMP_LOGERROR);
    input->in_real_time = true;
    input->rtmp = RTMP_Alloc();
    input->rtmp_url = strdup(url); /* librtmp writes into it, and refers to it */
    if (!input->rtmp || !input->rtmp_url)
        abort();
    RTMP_Init(input->rtmp);
    if (!RTMP_SetupURL(input->rtmp, input->rtmp_url)) {
        say("librtmp doesn't take the URL");
        return EXIT_UNUSABLE;
    }
    input->rtmp->Link.timeout = TIMEOUT_S;
    input->rtmp->Link.lFlags |= RTMP_LF_LIVE;
    if (!RTMP_Connect(input->rtmp, NULL)) {
        say("can't be connected to");
        return EXIT_TROUBLE;
    }
    if (!RTMP_ConnectStream(input->rtmp, 0)) {
        say("the server doesn't play it");
        return EXIT_TROUBLE;
    }
    uint8_t *buffer = av_malloc(IO_BYTES);
    input->io = buffer ? avio_alloc_context(buffer, IO_BYTES, 0, input, on_rtmp_read, NULL, NULL) : NULL;
    if (!input->io)
        abort();
    return format_open(input, "", "flv");
}

/* --- life --- */

int input_open(struct input *input, const char *url) {
    *input = (struct input){0};
    return strncmp(url, "rtmp", 4) == 0 ? open_by_rtmp(input, url) : open_by_avformat(input, url);
}

static bool can_be_carried(const AVStream *stream) {
    switch (stream->codecpar->codec_id) {
    case AV_CODEC_ID_H264:
    case AV_CODEC_ID_HEVC:
    case AV_CODEC_ID_AAC:
    case AV_CODEC_ID_OPUS:
        return true;
    default:
        return false;
    }
}

/* Of a ladder the highest rung; NULL: there is none. */
static AVProgram *best_variant(const AVFormatContext *format) {
    AVProgram *best = NULL;
    long long most = 0;
    for (unsigned i = 0; i < format->nb_programs; i++) {
        const AVDictionaryEntry *rate = av_dict_get(format->programs[i]->metadata, "variant_bitrate", NULL, 0);
        if (rate && (!best || atoll(rate->value) > most)) {
            best = format->programs[i];
            most = atoll(rate->value);
        }
    }
    return best;
}

static bool belongs(const AVProgram *program, unsigned index) {
    for (unsigned i = 0; program && i < program->nb_stream_indexes; i++)
        if (program->stream_index[i] == index)
            return true;
    return !program;
}

unsigned input_choose(struct input *input, bool *chosen, unsigned max) {
    AVFormatContext *format = input->format;
    const AVProgram *variant = best_variant(format);
    const AVStream *refused = NULL;
    unsigned video = 0, audio = 0;
    for (unsigned i = 0; i < format->nb_streams; i++) {
        AVStream *stream = format->streams[i];
        bool picture = stream->codecpar->codec_type == AVMEDIA_TYPE_VIDEO;
        bool sound = stream->codecpar->codec_type == AVMEDIA_TYPE_AUDIO;
        bool wanted = i < max && belongs(variant, i) && ((picture && !video) || (sound && audio < AUDIO_MAX));
        bool take = wanted && can_be_carried(stream);
        if (wanted && !take)
            refused = stream;
        stream->discard = take ? AVDISCARD_DEFAULT : AVDISCARD_ALL;
        if (i < max)
            chosen[i] = take;
        video += take && picture;
        audio += take && sound;
    }
    if (refused)
        say("%s can't be carried, H.264, HEVC, AAC and Opus can", avcodec_get_name(refused->codecpar->codec_id));
    else if (!video && !audio)
        say("there is neither picture nor sound");
    return video + audio;
}

bool input_rewind(struct input *input) {
    int64_t start = input->format->start_time == AV_NOPTS_VALUE ? 0 : input->format->start_time;
    return input->is_file && (av_seek_frame(input->format, -1, start, AVSEEK_FLAG_BACKWARD) >= 0 ||
                              av_seek_frame(input->format, -1, 0, AVSEEK_FLAG_BYTE) >= 0);
}

void input_close(struct input *input) {
    avformat_close_input(&input->format); /* `io` is ours */
    if (input->rtmp) {
        if (input->io)
            av_freep(&input->io->buffer);
        avio_context_free(&input->io);
        RTMP_Close(input->rtmp);
        RTMP_Free(input->rtmp);
        free(input->rtmp_url);
    } else {
        avio_closep(&input->io);
    }
}
