#include "ingest/fetch/output.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { IO_BYTES = 64 << 10 };

int output_bytes(int fd, const uint8_t *data, size_t len) {
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno != EINTR)
            return -errno;
        data += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int on_write(void *ctx, uint8_t *data, int len) {
    const struct output *output = ctx;
    int rc = output_bytes(output->fd, data, (size_t)len);
    return rc ? rc : len;
}

static void add_stream(struct output *output, const AVStream *from, unsigned index) {
    AVStream *stream = avformat_new_stream(output->format, NULL);
    if (!stream || avcodec_parameters_copy(stream->codecpar, from->codecpar) < 0)
        abort();
    stream->codecpar->codec_tag = 0;
    stream->time_base = from->time_base;
    output->index[index] = stream->index;
    output->last_dts[stream->index] = AV_NOPTS_VALUE;
}

/* A picture is told by its length, so that nobody waits for the next to know that it is whole, and each sound frame is
 * a packet of its own. */
static int write_header(struct output *output) {
    AVDictionary *options = NULL;
    av_dict_set(&options, "pes_payload_size", "0", 0);
    av_dict_set(&options, "omit_video_pes_length", "0", 0);
    int rc = avformat_write_header(output->format, &options);
    av_dict_free(&options);
    return rc < 0 ? rc : 0;
}

int output_begin(struct output *output, AVFormatContext *input, const bool *chosen) {
    uint8_t *buffer = av_malloc(IO_BYTES);
    if (!buffer || avformat_alloc_output_context2(&output->format, NULL, "mpegts", NULL) < 0)
        abort();
    output->format->pb = avio_alloc_context(buffer, IO_BYTES, 1, output, NULL, on_write, NULL);
    if (!output->format->pb)
        abort();
    output->format->max_delay = 0;
    output->format->flags |= AVFMT_FLAG_FLUSH_PACKETS;
    output->format->flush_packets = 1;
    for (unsigned i = 0; i < OUTPUT_STREAMS_MAX; i++) {
        output->index[i] = -1;
        if (i < input->nb_streams && chosen[i])
            add_stream(output, input->streams[i], i);
    }
    return write_header(output);
}

static bool set_times(AVPacket *packet, const AVStream *from, const AVStream *to, int64_t shift_us) {
    const AVRational us = {1, AV_TIME_BASE};
    int64_t shift = av_rescale_q(shift_us, us, to->time_base);
    if (packet->dts == AV_NOPTS_VALUE)
        packet->dts = packet->pts;
    if (packet->dts == AV_NOPTS_VALUE)
        return false;
    if (packet->pts == AV_NOPTS_VALUE)
        packet->pts = packet->dts;
    av_packet_rescale_ts(packet, from->time_base, to->time_base);
    packet->dts += shift;
    packet->pts = packet->pts + shift < packet->dts ? packet->dts : packet->pts + shift;
    return true;
}

/* Another configuration, or a clock that was set back: libavformat's muxer takes neither, so another one begins. */
static bool must_begin_anew(const struct output *output, const AVPacket *packet, AVStream *from, int index) {
    size_t len = 0;
    const uint8_t *config = av_packet_get_side_data(packet, AV_PKT_DATA_NEW_EXTRADATA, &len);
    AVCodecParameters *known = from->codecpar;
    if (config && len && ((size_t)known->extradata_size != len || memcmp(known->extradata, config, len) != 0)) {
        uint8_t *copy = av_mallocz(len + AV_INPUT_BUFFER_PADDING_SIZE);
        if (!copy)
            abort();
        memcpy(copy, config, len);
        av_freep(&known->extradata);
        known->extradata = copy;
        known->extradata_size = (int)len;
        return true;
    }
    int64_t last = output->last_dts[index];
    return last != AV_NOPTS_VALUE && packet->dts <= last;
}

int output_packet(struct output *output, AVFormatContext *input, AVPacket *packet, int64_t shift_us) {
    int index = packet->stream_index < OUTPUT_STREAMS_MAX ? output->index[packet->stream_index] : -1;
    if (index < 0 ||
        !set_times(packet, input->streams[packet->stream_index], output->format->streams[index], shift_us)) {
        av_packet_unref(packet);
        return 0;
    }
    if (must_begin_anew(output, packet, input->streams[packet->stream_index], index)) {
        bool chosen[OUTPUT_STREAMS_MAX];
        for (int i = 0; i < OUTPUT_STREAMS_MAX; i++)
            chosen[i] = output->index[i] >= 0;
        output_end(output);
        int rc = output_begin(output, input, chosen);
        if (rc)
            return rc;
    }
    output->last_dts[index] = packet->dts;
    packet->stream_index = index;
    int rc = av_write_frame(output->format, packet);
    av_packet_unref(packet);
    return rc < 0 && rc != AVERROR_INVALIDDATA ? rc : 0; /* a frame that can't be made out is left out */
}

void output_end(struct output *output) {
    if (!output->format)
        return;
    av_write_trailer(output->format);
    av_freep(&output->format->pb->buffer);
    avio_context_free(&output->format->pb);
    avformat_free_context(output->format);
    output->format = NULL;
}
