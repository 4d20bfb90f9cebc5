/* Many publishers at little cost: sends one FLV clip in real time, over and over, on N RTMP connections.
 *
 *   rtmp_load --publishers 50 --seconds 30 --clip clip.flv rtmp://127.0.0.1:1935/live/load-
 *
 * Publisher i pushes to URL + i. They begin spread over a second, so that the server isn't hit by N frames at once, and
 * each repeats the clip with its timestamps going on. `publishing` is printed when all are, and a JSON line at the end.
 *
 * Everything is one blocking thread on purpose: it costs next to nothing, and a server that doesn't keep up shows as
 * late tags. Exit status: 0 when all were connected until the end. */
#include <errno.h>
#include <getopt.h>
#include <librtmp/log.h>
#include <librtmp/rtmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum {
    FLV_HEADER = 9,
    FLV_TAG_HEADER = 11,
    FLV_BACK_POINTER = 4,
    TAGS_MAX = 1 << 16,
    PUBLISHERS_MAX = 4096,
    URL_MAX = 512,
    CHUNK_SIZE = 4096,
    MEDIA_CHANNEL = 4,
    CONTROL_CHANNEL = 2,
    LATE_US = 25000, /* a tag sent this long after its time is counted */
    SPREAD_US = 1000000,
};

struct tag {
    uint8_t type;
    uint32_t ms;
    const uint8_t *body;
    uint32_t len;
};

/* `loop_from` is the first tag that isn't a codec's configuration or metadata: what is sent again. */
struct clip {
    uint8_t *file;
    struct tag *tags;
    size_t count, loop_from;
    uint32_t duration_ms;
};

struct publisher {
    RTMP *rtmp;
    char url[URL_MAX]; /* librtmp keeps pointers into it */
    size_t next;
    uint32_t base_ms; /* of this round of the clip */
    int64_t start_us;
    bool failed;
};

struct totals {
    uint64_t bytes, tags, late;
    int64_t worst_late_us;
    int failed;
};

static volatile sig_atomic_t stopping;

static void on_stop(int signal_number) {
    (void)signal_number;
    stopping = 1;
}

static int64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void sleep_until_us(int64_t at_us) {
    struct timespec at = {.tv_sec = at_us / 1000000, .tv_nsec = at_us % 1000000 * 1000};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
}

static void *allocate(size_t size) {
    void *memory = calloc(1, size);
    if (!memory)
        abort();
    return memory;
}

static _Noreturn void fail(const char *what, const char *why) {
    fprintf(stderr, "rtmp_load: %s: %s\n", what, why);
    exit(1);
}

/* --- the clip --- */

static uint32_t read_u24(const uint8_t *at) {
    return (uint32_t)at[0] << 16 | (uint32_t)at[1] << 8 | at[2];
}

/* An AVC or AAC configuration: second byte 0 of a body of these codecs. */
static bool is_setup(const struct tag *tag) {
    return tag->type == RTMP_PACKET_TYPE_INFO || (tag->len > 1 && tag->body[1] == 0);
}

static size_t read_file(const char *path, uint8_t **ret_data) {
    FILE *file = fopen(path, "rb");
    if (!file)
        fail(path, strerror(errno));
    fseek(file, 0, SEEK_END);
    long len = ftell(file);
    rewind(file);
    *ret_data = allocate((size_t)len);
    if (fread(*ret_data, 1, (size_t)len, file) != (size_t)len)
        fail(path, "can't be read");
    fclose(file);
    return (size_t)len;
}

/* The clip lasts until the last video frame's time and the mean of a frame more, so that rounds follow each other
 * evenly, whatever the rounding to milliseconds. */
static uint32_t clip_duration_ms(const struct clip *clip) {
    uint32_t first = 0, last = 0, frames = 0;
    for (size_t i = clip->loop_from; i < clip->count; i++) {
        if (clip->tags[i].type == RTMP_PACKET_TYPE_VIDEO) {
            first = frames++ ? first : clip->tags[i].ms;
            last = clip->tags[i].ms;
        }
    }
    return frames > 1 ? last + (last - first + (frames - 1) / 2) / (frames - 1) : 0;
}

static struct clip load_clip(const char *path) {
    struct clip clip = {.tags = allocate(TAGS_MAX * sizeof *clip.tags)};
    size_t len = read_file(path, &clip.file);
    size_t at = FLV_HEADER + FLV_BACK_POINTER;
    while (at + FLV_TAG_HEADER <= len && clip.count < TAGS_MAX) {
        const uint8_t *header = clip.file + at;
        struct tag tag = {.type = header[0],
                          .ms = read_u24(header + 4) | (uint32_t)header[7] << 24,
                          .body = header + FLV_TAG_HEADER,
                          .len = read_u24(header + 1)};
        at += FLV_TAG_HEADER + tag.len + FLV_BACK_POINTER;
        if (at > len)
            break;
        clip.tags[clip.count++] = tag;
    }
    while (clip.loop_from < clip.count && is_setup(&clip.tags[clip.loop_from]))
        clip.loop_from++;
    clip.duration_ms = clip_duration_ms(&clip);
    if (!clip.duration_ms)
        fail(path, "no video in it");
    return clip;
}

/* --- a publisher --- */

static bool send_chunk_size(RTMP *rtmp) {
    char memory[RTMP_MAX_HEADER_SIZE + 4] = {0};
    RTMPPacket packet = {.m_nChannel = CONTROL_CHANNEL,
                         .m_headerType = RTMP_PACKET_SIZE_LARGE,
                         .m_packetType = RTMP_PACKET_TYPE_CHUNK_SIZE,
                         .m_nBodySize = 4,
                         .m_body = memory + RTMP_MAX_HEADER_SIZE};
    packet.m_body[2] = (char)(CHUNK_SIZE >> 8);
    if (!RTMP_SendPacket(rtmp, &packet, FALSE))
        return false;
    rtmp->m_outChunkSize = CHUNK_SIZE;
    return true;
}

static bool connect_publisher(struct publisher *publisher, const char *url, int index) {
    snprintf(publisher->url, sizeof publisher->url, "%s%d", url, index);
    publisher->rtmp = RTMP_Alloc();
    RTMP_Init(publisher->rtmp);
    publisher->rtmp->Link.timeout = 10;
    if (!RTMP_SetupURL(publisher->rtmp, publisher->url))
        return false;
    RTMP_EnableWrite(publisher->rtmp);
    return RTMP_Connect(publisher->rtmp, NULL) && RTMP_ConnectStream(publisher->rtmp, 0) &&
           send_chunk_size(publisher->rtmp);
}

/* librtmp writes chunk headers into the space before the body, and back over it for each chunk: it needs a copy. */
static bool send_tag(struct publisher *publisher, const struct tag *tag, uint8_t *scratch) {
    memcpy(scratch + RTMP_MAX_HEADER_SIZE, tag->body, tag->len);
    RTMPPacket packet = {.m_nChannel = MEDIA_CHANNEL,
                         .m_headerType = RTMP_PACKET_SIZE_LARGE,
                         .m_packetType = tag->type,
                         .m_nTimeStamp = publisher->base_ms + tag->ms,
                         .m_nInfoField2 = publisher->rtmp->m_stream_id,
                         .m_nBodySize = tag->len,
                         .m_body = (char *)scratch + RTMP_MAX_HEADER_SIZE};
    return RTMP_SendPacket(publisher->rtmp, &packet, FALSE);
}

/* What the server says (acknowledgements, pings) isn't needed for sending on. */
static void discard_input(const struct publisher *publisher) {
    char sink[1024];
    while (recv(RTMP_Socket(publisher->rtmp), sink, sizeof sink, MSG_DONTWAIT) > 0)
        ;
}

static int64_t due_us(const struct publisher *publisher, const struct clip *clip) {
    return publisher->start_us + (int64_t)(publisher->base_ms + clip->tags[publisher->next].ms) * 1000;
}

static void send_next(struct publisher *publisher, const struct clip *clip, uint8_t *scratch, struct totals *totals) {
    const struct tag *tag = &clip->tags[publisher->next];
    int64_t late_us = now_us() - due_us(publisher, clip);
    totals->late += late_us > LATE_US;
    totals->worst_late_us = late_us > totals->worst_late_us ? late_us : totals->worst_late_us;
    if (!send_tag(publisher, tag, scratch)) {
        publisher->failed = true;
        totals->failed++;
        return;
    }
    totals->bytes += tag->len;
    totals->tags++;
    if (++publisher->next == clip->count) {
        publisher->next = clip->loop_from;
        publisher->base_ms += clip->duration_ms;
        discard_input(publisher);
    }
}

/* --- all of them --- */

static struct publisher *earliest(struct publisher *publishers, int count, const struct clip *clip) {
    struct publisher *first = NULL;
    for (int i = 0; i < count; i++) {
        struct publisher *publisher = &publishers[i];
        if (!publisher->failed && (!first || due_us(publisher, clip) < due_us(first, clip)))
            first = publisher;
    }
    return first;
}

static struct publisher *connect_all(const char *url, int count) {
    struct publisher *publishers = allocate((size_t)count * sizeof *publishers);
    for (int i = 0; i < count; i++)
        if (!connect_publisher(&publishers[i], url, i))
            fail(publishers[i].url, "can't publish");
    int64_t start_us = now_us();
    for (int i = 0; i < count; i++)
        publishers[i].start_us = start_us + (int64_t)i * SPREAD_US / count;
    puts("publishing");
    fflush(stdout);
    return publishers;
}

static struct totals run(struct publisher *publishers, int count, const struct clip *clip, double seconds) {
    struct totals totals = {0};
    uint8_t *scratch = allocate(RTMP_MAX_HEADER_SIZE + (1 << 24));
    int64_t end_us = seconds > 0 ? now_us() + (int64_t)(seconds * 1e6) : INT64_MAX;
    for (struct publisher *next; !stopping && (next = earliest(publishers, count, clip));) {
        int64_t at_us = due_us(next, clip);
        if (at_us >= end_us)
            break;
        sleep_until_us(at_us);
        send_next(next, clip, scratch, &totals);
    }
    free(scratch);
    return totals;
}

static void close_all(struct publisher *publishers, int count) {
    for (int i = 0; i < count; i++) {
        RTMP_Close(publishers[i].rtmp);
        RTMP_Free(publishers[i].rtmp);
    }
    free(publishers);
}

int main(int argc, char **argv) {
    static const struct option names[] = {{"publishers", required_argument, NULL, 'n'},
                                          {"seconds", required_argument, NULL, 's'},
                                          {"clip", required_argument, NULL, 'c'},
                                          {NULL, 0, NULL, 0}};
    const char *path = NULL;
    int count = 1;
    double seconds = 0;
    for (int name; (name = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        count = name == 'n' ? atoi(optarg) : count;
        seconds = name == 's' ? atof(optarg) : seconds;
        path = name == 'c' ? optarg : path;
    }
    if (optind != argc - 1 || !path || count < 1 || count > PUBLISHERS_MAX) {
        fputs("usage: rtmp_load --clip FILE.flv [--publishers N] [--seconds S] URL\n", stderr);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, on_stop);
    signal(SIGINT, on_stop);
    RTMP_LogSetLevel(RTMP_LOGERROR);
    struct clip clip = load_clip(path);
    struct publisher *publishers = connect_all(argv[optind], count);
    struct totals totals = run(publishers, count, &clip, seconds);
    printf("{\"publishers\": %d, \"failed\": %d, \"bytes\": %llu, \"tags\": %llu, \"late\": %llu, \"worst_late_ms\": "
           "%.1f}\n",
           count, totals.failed, (unsigned long long)totals.bytes, (unsigned long long)totals.tags,
           (unsigned long long)totals.late, (double)totals.worst_late_us / 1000);
    close_all(publishers, count);
    free(clip.tags);
    free(clip.file);
    return totals.failed ? 1 : 0;
}
