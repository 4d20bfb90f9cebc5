/* weir-feedcat: what is in a feed, one line an event; of a node, as it comes, or of a file. For operators, and for
 * whoever changes the feed (docs/feed.md). */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/loop.h"
#include "common/http/client.h"
#include "common/media/cmaf.h"
#include "common/media/feed.h"
#include "common/media/feed_line.h"

static const char usage[] = "usage: weir-feedcat [-k KEY] [--ca FILE] [--cert FILE --key FILE] [--http1] URL|FILE\n"
                            "  URL      http://NODE:8082/feed/APP/STREAM, the timeline, or /feed/APP/STREAM/TRACK\n"
                            "  FILE     what a feed gave before; \"-\": standard input\n"
                            "  -k KEY   the fleet's key (auth.feed.key)\n"
                            "  --ca FILE  certificates by which the node's must be signed\n"
                            "  --cert FILE --key FILE  who we are, for nodes that demand a certificate\n"
                            "  --http1  HTTP/1.1 instead of HTTP/2\n";

struct cat {
    struct loop *loop;
    struct feed_lines *lines;
    struct feed_reader *reader;
    int status; /* to exit with */
};

/* --- printing --- */

static void print_open(const struct record *record) {
    const struct record_open *open = &record->open;
    printf("open epoch=%" PRIu64 " target_ms=%u part_target_us=%u", record->epoch, open->target_duration_ms,
           open->part_target_us);
    for (uint32_t i = 0; i < open->track_count; i++)
        printf(" %s=%s,%u/s,init-%u(%zuB)", open->tracks[i].name, open->tracks[i].codecs, open->tracks[i].timescale,
               open->tracks[i].init_version, open->tracks[i].init->len);
    putchar('\n');
}

static void print_part(const struct record *record) {
    const struct record_part *part = &record->part;
    char start[CLOCK_ISO_LEN];
    clock_format_iso(start, part->start_us);
    printf("part epoch=%" PRIu64 " msn=%" PRIu64 " index=%u number=%" PRIu64 " start=%s%s%s%s chunks=", record->epoch,
           part->msn, part->index, part->number, start, part->flags & PART_INDEPENDENT ? " independent" : "",
           part->flags & PART_LAST ? " last" : "", part->flags & PART_DISCONTINUITY ? " discontinuity" : "");
    for (uint32_t i = 0; i < TRACKS_MAX && (part->tracks[i].chunks || part->tracks[i].duration_ts); i++)
        printf("%s%u(%uB)", i ? "," : "", part->tracks[i].chunks, part->tracks[i].bytes);
    putchar('\n');
}

static int on_line(void *ctx, const struct feed_line *line) {
    (void)ctx;
    switch (line->kind) {
    case FEED_LINE_HELLO:
        printf("hello version=%u node=%s\n", line->version, line->node);
        break;
    case FEED_LINE_PATH:
        printf("path");
        for (uint32_t i = 0; i < line->record->path.count; i++)
            printf(" %s", line->record->path.nodes[i]);
        putchar('\n');
        break;
    case FEED_LINE_OPEN:
        print_open(line->record);
        break;
    case FEED_LINE_SEGMENT:
        printf("segment epoch=%" PRIu64 " msn=%" PRIu64 "\n", line->epoch, line->msn);
        break;
    case FEED_LINE_PART:
        print_part(line->record);
        break;
    case FEED_LINE_STATE:
        printf("state epoch=%" PRIu64 " %s\n", line->record->epoch, stream_state_name(line->record->state.state));
        break;
    case FEED_LINE_BEAT:
        puts("beat");
        break;
    case FEED_LINE_DRAIN:
        puts("drain");
        break;
    case FEED_LINE_TOUCH:
        puts("touch");
        break;
    case FEED_LINE_TAKE:
        puts("take");
        break;
    default:
        puts("unknown");
        break;
    }
    return 0;
}

static int on_item(void *ctx, const struct feed_box *box, struct slice body) {
    struct cmaf_chunk chunk;
    char capture[CLOCK_ISO_LEN];
    (void)ctx;
    if (box->kind == FEED_INIT) {
        printf("init epoch=%" PRIu64 " version=%" PRIu64 " bytes=%zu\n", box->epoch, box->init_version, body.len);
        return 0;
    }
    if (cmaf_chunk_parse(body.blob->data + body.off, body.len, &chunk))
        return -EBADMSG;
    clock_format_iso(capture, box->capture_us);
    printf("chunk epoch=%" PRIu64 " msn=%" PRIu64 " number=%u dts=%" PRId64
           " duration=%u samples=%u bytes=%zu capture=%s%s\n",
           box->epoch, box->msn, box->number, chunk.tfdt_ts, box->duration_ts, chunk.sample_count, body.len, capture,
           cmaf_chunk_is_sync(&chunk) ? " independent" : "");
    return 0;
}

/* --- reading --- */

static int take(struct cat *cat, const uint8_t *data, size_t len) {
    if (!cat->lines && !cat->reader && len > 0) {
        if (data[0] == '{')
            cat->lines = feed_lines_create("app/stream", on_line, cat);
        else
            cat->reader = feed_reader_create(on_item, cat);
    }
    int rc = cat->lines ? feed_lines_push(cat->lines, data, len) : feed_reader_push(cat->reader, data, len);
    fflush(stdout);
    if (rc)
        fprintf(stderr, "weir-feedcat: this is no feed, or it is damaged here\n");
    return rc;
}

static int cat_file(struct cat *cat, const char *path) {
    uint8_t data[65536];
    ssize_t n;
    int fd = strcmp(path, "-") ? open(path, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
    if (fd < 0) {
        fprintf(stderr, "weir-feedcat: %s: %s\n", path, strerror(errno));
        return 1;
    }
    while ((n = read(fd, data, sizeof data)) > 0)
        if (take(cat, data, (size_t)n))
            return 1;
    return n < 0;
}

static void on_data(void *ctx, const uint8_t *data, size_t len) {
    struct cat *cat = ctx;
    if (!cat->status && take(cat, data, len)) {
        cat->status = 1;
        loop_stop(cat->loop);
    }
}

static void on_end(void *ctx, int error, const char *text) {
    struct cat *cat = ctx;
    if (error)
        fprintf(stderr, "weir-feedcat: %s\n", text);
    cat->status |= error != 0;
    loop_stop(cat->loop);
}

static int cat_url(struct cat *cat, const char *url, const struct http_client_config *config) {
    signal(SIGPIPE, SIG_IGN);
    cat->loop = loop_create();
    struct http_client *client = http_client_create(cat->loop, config);
    http_client_fetch(client, &(struct http_fetch_options){.url = url, .data = on_data, .end = on_end, .ctx = cat});
    loop_run(cat->loop);
    http_client_destroy(client);
    loop_destroy(cat->loop);
    return cat->status;
}

int main(int argc, char **argv) {
    static const struct option options[] = {{"ca", required_argument, NULL, 'C'},
                                            {"cert", required_argument, NULL, 'c'},
                                            {"key", required_argument, NULL, 'K'},
                                            {"http1", no_argument, NULL, '1'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    struct http_client_config config = http_client_config_default;
    for (int option; (option = getopt_long(argc, argv, "k:h", options, NULL)) != -1;) {
        if (option == 'k')
            config.token = optarg;
        else if (option == 'C')
            config.ca_file = optarg;
        else if (option == 'c')
            config.cert_file = optarg;
        else if (option == 'K')
            config.key_file = optarg;
        else if (option == '1')
            config.http1 = true;
        else
            return fputs(usage, option == 'h' ? stdout : stderr) < 0 ? 1 : option == 'h' ? 0 : 2;
    }
    if (optind != argc - 1) {
        fputs(usage, stderr);
        return 2;
    }
    struct cat cat = {0};
    const char *what = argv[optind];
    bool url = !strncmp(what, "http://", 7) || !strncmp(what, "https://", 8);
    int status = url ? cat_url(&cat, what, &config) : cat_file(&cat, what);
    feed_lines_destroy(cat.lines);
    feed_reader_destroy(cat.reader);
    return status;
}
