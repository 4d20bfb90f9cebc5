/* Reads what a player decoded, and says whether it is what clocksource drew: yuv420p frames on stdin, one JSON line
 * out.
 *
 *   ffmpeg -threads 1 -i URL -map 0:v -fps_mode passthrough -pix_fmt yuv420p -f rawvideo - | framecheck --size 1280x720
 *
 * (-threads 1 because a frame-threaded decoder holds back frames, which would count as latency.)
 *
 * Continuity is judged by frame numbers alone: `missing` are numbers skipped, `duplicate` the same number again,
 * `reordered` a number below one that was there before, `unreadable` frames whose clock didn't pass its CRC. A frame
 * that is reordered was counted as missing before. The first sixteen of these are listed in `faults`. Latency is from
 * drawing to here; it means something only when the player plays at the live edge.
 *
 * Exit status: 0 when there were frames and all were in order. */
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "clock_pattern.h"

enum {
    SAMPLE_RADIUS = 2, /* pixels around a cell's centre that are averaged */
    FAULTS_MAX = 16,
    FRAMES_MAX = 1 << 20, /* of latency kept */
};

struct fault {
    const char *kind;
    uint32_t frame, after;
};

struct check {
    int width, height;
    double skip_s; /* latency of the first seconds isn't counted */
    uint8_t *picture;
    double *latency_ms;
    size_t latency_count;
    int64_t first_us;
    uint64_t frames, missing, duplicate, reordered, unreadable;
    uint32_t first, highest, last;
    struct fault faults[FAULTS_MAX];
    int fault_count;
};

static int64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static bool cell_is_white(const struct check *check, int cell) {
    int width = clock_cell_width(check->width), height = clock_cell_height(check->height);
    int x = cell % CLOCK_COLUMNS * width + width / 2, y = cell / CLOCK_COLUMNS * height + height / 2;
    int sum = 0;
    for (int dy = -SAMPLE_RADIUS; dy < SAMPLE_RADIUS; dy++)
        for (int dx = -SAMPLE_RADIUS; dx < SAMPLE_RADIUS; dx++)
            sum += check->picture[(y + dy) * check->width + x + dx];
    return sum > CLOCK_THRESHOLD * 4 * SAMPLE_RADIUS * SAMPLE_RADIUS;
}

static bool read_clock(const struct check *check, struct clock_stamp *ret_stamp) {
    uint8_t bytes[CLOCK_BYTES] = {0};
    for (int cell = 0; cell < CLOCK_COLUMNS * CLOCK_ROWS; cell++)
        bytes[cell / 8] |= (uint8_t)(cell_is_white(check, cell) << (7 - cell % 8));
    return clock_unpack(bytes, ret_stamp);
}

static void add_fault(struct check *check, const char *kind, uint32_t frame) {
    if (check->fault_count < FAULTS_MAX)
        check->faults[check->fault_count++] = (struct fault){kind, frame, check->last};
}

static void check_number(struct check *check, uint32_t frame) {
    if (frame == check->last) {
        check->duplicate++;
        add_fault(check, "duplicate", frame);
    } else if (frame < check->highest) {
        check->reordered++;
        add_fault(check, "reordered", frame);
    } else if (frame > check->highest + 1) {
        check->missing += frame - check->highest - 1;
        add_fault(check, "missing", frame);
    }
}

static void check_frame(struct check *check) {
    struct clock_stamp stamp;
    int64_t now = now_us();
    bool readable = read_clock(check, &stamp);
    check->frames++;
    if (!readable) {
        check->unreadable++;
        add_fault(check, "unreadable", 0);
        return;
    }
    if (!check->first_us) {
        check->first_us = now;
        check->first = check->highest = stamp.frame;
    } else {
        check_number(check, stamp.frame);
    }
    check->last = stamp.frame;
    if (stamp.frame > check->highest)
        check->highest = stamp.frame;
    if ((double)(now - check->first_us) >= check->skip_s * 1e6 && check->latency_count < FRAMES_MAX)
        check->latency_ms[check->latency_count++] = clock_latency_ms(stamp, now);
}

static int compare(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double percentile(const struct check *check, double part) {
    size_t index = (size_t)((double)check->latency_count * part);
    return check->latency_ms[index < check->latency_count ? index : check->latency_count - 1];
}

static void print_faults(const struct check *check) {
    printf("\"faults\": [");
    for (int i = 0; i < check->fault_count; i++)
        printf("%s{\"kind\": \"%s\", \"frame\": %u, \"after\": %u}", i ? ", " : "", check->faults[i].kind,
               check->faults[i].frame, check->faults[i].after);
    printf("]");
}

static void print_report(struct check *check) {
    printf("{\"frames\": %llu, \"first\": %u, \"last\": %u, ", (unsigned long long)check->frames, check->first,
           check->last);
    printf("\"missing\": %llu, \"duplicate\": %llu, \"reordered\": %llu, \"unreadable\": %llu, ",
           (unsigned long long)check->missing, (unsigned long long)check->duplicate,
           (unsigned long long)check->reordered, (unsigned long long)check->unreadable);
    if (check->latency_count) {
        qsort(check->latency_ms, check->latency_count, sizeof *check->latency_ms, compare);
        printf("\"latency_ms\": {\"min\": %.1f, \"p50\": %.1f, \"p95\": %.1f, \"p99\": %.1f, \"max\": %.1f}, ",
               percentile(check, 0), percentile(check, 0.5), percentile(check, 0.95), percentile(check, 0.99),
               percentile(check, 1));
    }
    print_faults(check);
    printf("}\n");
}

static bool parse_options(int argc, char **argv, struct check *check) {
    static const struct option names[] = {{"size", required_argument, NULL, 's'},
                                          {"skip", required_argument, NULL, 'k'},
                                          {NULL, 0, NULL, 0}};
    for (int name; (name = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        if (name == 's' && sscanf(optarg, "%dx%d", &check->width, &check->height) != 2)
            return false;
        if (name == 'k')
            check->skip_s = atof(optarg);
        if (name == '?')
            return false;
    }
    return optind == argc && clock_cell_width(check->width) >= 2 * SAMPLE_RADIUS &&
           clock_cell_height(check->height) >= 2 * SAMPLE_RADIUS;
}

int main(int argc, char **argv) {
    struct check check = {.width = 1280, .height = 720};
    if (!parse_options(argc, argv, &check)) {
        fputs("usage: framecheck [--size WxH] [--skip SECONDS] < frames.yuv\n", stderr);
        return 2;
    }
    size_t size = (size_t)check.width * (size_t)check.height * 3 / 2;
    check.picture = malloc(size);
    check.latency_ms = malloc(FRAMES_MAX * sizeof *check.latency_ms);
    if (!check.picture || !check.latency_ms)
        abort();
    while (fread(check.picture, 1, size, stdin) == size)
        check_frame(&check);
    print_report(&check);
    free(check.picture);
    free(check.latency_ms);
    return check.frames && !check.missing && !check.duplicate && !check.reordered && !check.unreadable ? 0 : 1;
}
