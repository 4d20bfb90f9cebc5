/* Feeds an encoder with a picture that carries the wall clock, in real time:
 *
 *   clocksource [options] -- ffmpeg … -i pipe:3 … -i pipe:4 …
 *
 * The command finds raw yuv420p frames on descriptor 3 and, unless --no-audio, s16le stereo sound on descriptor 4.
 * Frames leave at their time by the monotonic clock; the time drawn is when the frame was drawn (clock_pattern.h).
 *
 * Sound is written in lock step, a little ahead of the picture, because a muxer that has to wait for the slower of two
 * inputs would add to the latency that is to be measured. An encoder that is too slow shows as late frames, never as a
 * gap.
 *
 * --variable sweeps the frame rate between two thirds and twice of --fps (30: 20 to 60); see frame_time_us.
 *
 * SIGTERM and SIGINT end the input, so that the encoder says goodbye in its own way. Exit status: the command's. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "clock_pattern.h"

enum {
    VIDEO_FD = 3,
    AUDIO_FD = 4,
    CHANNELS = 2,
    LATE_US = 20000,      /* a frame drawn this long after its time is counted */
    PAN_PIXELS = 4,       /* the background moves by this a frame: something to do for the encoder */
    PIPE_BYTES = 1 << 20, /* the most that an unprivileged process may ask for */
};
static const double audio_ahead_s = 0.12;
static const double tone_hz = 440, tone_level = 8000;
static const double sweep_frames = 150; /* --variable: frames of one sweep, up and down */
static const double sweep_depth = 12;   /* and by how many frames it leads and lags */

struct options {
    int width, height;
    double fps;
    double seconds; /* 0: until stopped */
    int sample_rate;
    int noise; /* amplitude of the background's noise; costs bits */
    bool audio, variable;
    char **command;
};

struct source {
    struct options options;
    uint8_t *frame;      /* yuv420p */
    uint8_t *background; /* luma, twice as wide as the frame */
    int16_t *samples;    /* of one write */
    size_t samples_max;  /* a channel */
    int64_t samples_sent;
    double tone_phase;
    int video_fd, audio_fd;
    int64_t frames, late_frames, longest_write_us;
};

static volatile sig_atomic_t stopping;

static void on_stop(int signal_number) {
    (void)signal_number;
    stopping = 1;
}

static int64_t now_us(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void sleep_until_us(int64_t at_us) {
    struct timespec at = {.tv_sec = at_us / 1000000, .tv_nsec = at_us % 1000000 * 1000};
    while (!stopping && clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
        ;
}

static void *allocate(size_t size) {
    void *memory = malloc(size);
    if (!memory)
        abort();
    return memory;
}

/* --- the picture --- */

static uint8_t clamp_luma(int value) {
    return (uint8_t)(value < CLOCK_BLACK ? CLOCK_BLACK : value > CLOCK_WHITE ? CLOCK_WHITE : value);
}

static void draw_background(struct source *source) {
    const struct options *options = &source->options;
    uint32_t random = 12345;
    for (int y = 0; y < options->height; y++) {
        for (int x = 0; x < 2 * options->width; x++) {
            double wave = sin(x * 6 * M_PI / options->width) * cos(y * 4 * M_PI / options->height);
            random = random * 1664525u + 1013904223u;
            int noise = (int)((random >> 16) % (uint32_t)(options->noise + 1)) - options->noise / 2;
            source->background[(size_t)y * 2 * options->width + x] = clamp_luma(110 + (int)(50 * wave) + noise);
        }
    }
}

static void draw_luma(struct source *source) {
    const struct options *options = &source->options;
    size_t width = (size_t)options->width;
    size_t pan = (size_t)(source->frames * PAN_PIXELS) % width;
    for (size_t y = 0; y < (size_t)options->height; y++)
        memcpy(source->frame + y * width, source->background + y * 2 * width + pan, width);
}

/* Colour drifts slowly, except behind the clock, which is grey. */
static void draw_chroma(struct source *source) {
    const struct options *options = &source->options;
    size_t width = (size_t)options->width / 2, height = (size_t)options->height / 2;
    uint8_t *planes[] = {source->frame + width * height * 4, source->frame + width * height * 5};
    int values[] = {118 + (int)(8 * sin((double)source->frames / 30)), 134};
    size_t clock_height = (size_t)clock_cell_height(options->height) * CLOCK_ROWS / 2;
    for (int plane = 0; plane < 2; plane++) {
        memset(planes[plane], values[plane], width * height);
        for (size_t y = 0; y < clock_height; y++)
            memset(planes[plane] + y * width, 128, width / 2);
    }
}

static void draw_clock(struct source *source) {
    const struct options *options = &source->options;
    int cell_width = clock_cell_width(options->width), cell_height = clock_cell_height(options->height);
    struct clock_stamp stamp = {(uint32_t)source->frames & CLOCK_FRAME_MASK, (uint64_t)now_us(CLOCK_REALTIME) / 1000};
    uint8_t bytes[CLOCK_BYTES];
    clock_pack(stamp, bytes);
    for (int cell = 0; cell < CLOCK_COLUMNS * CLOCK_ROWS; cell++) {
        int left = cell % CLOCK_COLUMNS * cell_width, top = cell / CLOCK_COLUMNS * cell_height;
        int luma = bytes[cell / 8] >> (7 - cell % 8) & 1 ? CLOCK_WHITE : CLOCK_BLACK;
        for (int y = top; y < top + cell_height; y++)
            memset(source->frame + (size_t)y * (size_t)options->width + left, luma, (size_t)cell_width);
    }
}

/* --- writing --- */

static bool write_all(int fd, const void *data, size_t len) {
    const uint8_t *at = data;
    while (len) {
        ssize_t written = write(fd, at, len);
        if (written < 0 && (errno != EINTR || stopping))
            return false;
        if (written > 0) {
            at += written;
            len -= (size_t)written;
        }
    }
    return true;
}

/* Sound up to `until_us` of the stream. */
static bool write_audio(struct source *source, int64_t until_us) {
    int rate = source->options.sample_rate;
    int64_t wanted = (int64_t)((double)until_us / 1e6 * rate);
    while (source->samples_sent < wanted) {
        size_t count = 0;
        for (; count < source->samples_max && source->samples_sent < wanted; count++, source->samples_sent++) {
            int16_t sample = (int16_t)(tone_level * sin(source->tone_phase));
            source->samples[CHANNELS * count] = source->samples[CHANNELS * count + 1] = sample;
            source->tone_phase = fmod(source->tone_phase + 2 * M_PI * tone_hz / rate, 2 * M_PI);
        }
        if (!write_all(source->audio_fd, source->samples, count * CHANNELS * sizeof *source->samples))
            return false;
    }
    return true;
}

/* When frame `n` is shown, from the start. publish_clock has the encoder compute the same. */
static int64_t frame_time_us(const struct options *options, int64_t n) {
    double frames = (double)n;
    if (options->variable)
        frames -= sweep_depth * sin(2 * M_PI * (double)n / sweep_frames);
    return (int64_t)llround(frames * 1e6 / options->fps);
}

static bool write_frame(struct source *source) {
    const struct options *options = &source->options;
    size_t size = (size_t)options->width * (size_t)options->height * 3 / 2;
    int64_t started_us = now_us(CLOCK_MONOTONIC);
    int64_t audio_until_us = frame_time_us(options, source->frames + 1) + (int64_t)(audio_ahead_s * 1e6);
    if (options->audio && !write_audio(source, audio_until_us))
        return false;
    if (!write_all(source->video_fd, source->frame, size))
        return false;
    int64_t took_us = now_us(CLOCK_MONOTONIC) - started_us;
    if (took_us > source->longest_write_us)
        source->longest_write_us = took_us;
    return true;
}

static void run(struct source *source) {
    const struct options *options = &source->options;
    int64_t start_us = now_us(CLOCK_MONOTONIC);
    for (; !stopping; source->frames++) {
        int64_t time_us = frame_time_us(options, source->frames);
        if (options->seconds > 0 && (double)time_us >= options->seconds * 1e6)
            return;
        sleep_until_us(start_us + time_us);
        source->late_frames += now_us(CLOCK_MONOTONIC) > start_us + time_us + LATE_US;
        draw_luma(source);
        draw_chroma(source);
        draw_clock(source);
        if (!write_frame(source))
            return;
    }
}

/* --- the encoder --- */

struct pipe_ends {
    int read, write;
};

static struct pipe_ends make_pipe(void) {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC)) {
        perror("clocksource: pipe");
        exit(1);
    }
    fcntl(fds[1], F_SETPIPE_SZ, PIPE_BYTES); /* smaller is slower, not wrong */
    return (struct pipe_ends){fds[0], fds[1]};
}

/* First out of the way of 3 and 4, where the pipes themselves are likely to be; dup2 drops O_CLOEXEC. */
static void run_command(char **command, int video, int audio) {
    int video_copy = fcntl(video, F_DUPFD_CLOEXEC, AUDIO_FD + 1),
        audio_copy = fcntl(audio, F_DUPFD_CLOEXEC, AUDIO_FD + 1);
    dup2(video_copy, VIDEO_FD);
    dup2(audio_copy, AUDIO_FD);
    execvp(command[0], command);
    fprintf(stderr, "clocksource: %s: %s\n", command[0], strerror(errno));
    _exit(127);
}

static pid_t start_command(struct source *source) {
    struct pipe_ends video = make_pipe(), audio = make_pipe();
    pid_t child = fork();
    if (child < 0) {
        perror("clocksource: fork");
        exit(1);
    }
    if (child == 0)
        run_command(source->options.command, video.read, audio.read);
    close(video.read);
    close(audio.read);
    source->video_fd = video.write;
    source->audio_fd = audio.write;
    return child;
}

static int wait_command(pid_t child) {
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return 1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* --- command line --- */

static const char usage[] = "usage: clocksource [options] -- command …\n"
                            "  --size WxH         picture, a multiple of 40x18 (1280x720)\n"
                            "  --fps N[/D]        frames a second (30)\n"
                            "  --variable         a frame rate that sweeps around it\n"
                            "  --seconds S        length (until stopped)\n"
                            "  --sample-rate HZ   of the sound (48000)\n"
                            "  --no-audio         no sound\n"
                            "  --noise N          amplitude of the background's noise (24)\n";

static double parse_rate(const char *text) {
    char *end;
    double rate = strtod(text, &end);
    return *end == '/' ? rate / strtod(end + 1, NULL) : rate;
}

static bool valid(const struct options *options) {
    return options->width >= 40 && options->width % 40 == 0 && options->height >= 18 && options->height % 18 == 0 &&
           options->fps >= 1 && options->fps <= 240 && options->sample_rate >= 8000 && options->noise >= 0 &&
           options->command[0];
}

static bool parse_options(int argc, char **argv, struct options *options) {
    enum { SIZE, FPS, VARIABLE, SECONDS, SAMPLE_RATE, NO_AUDIO, NOISE };
    static const struct option names[] = {{"size", required_argument, NULL, SIZE},
                                          {"fps", required_argument, NULL, FPS},
                                          {"variable", no_argument, NULL, VARIABLE},
                                          {"seconds", required_argument, NULL, SECONDS},
                                          {"sample-rate", required_argument, NULL, SAMPLE_RATE},
                                          {"no-audio", no_argument, NULL, NO_AUDIO},
                                          {"noise", required_argument, NULL, NOISE},
                                          {NULL, 0, NULL, 0}};
    for (int name; (name = getopt_long(argc, argv, "+", names, NULL)) != -1;) {
        switch (name) {
        case SIZE:
            if (sscanf(optarg, "%dx%d", &options->width, &options->height) != 2)
                return false;
            break;
        case FPS:
            options->fps = parse_rate(optarg);
            break;
        case VARIABLE:
            options->variable = true;
            break;
        case SECONDS:
            options->seconds = atof(optarg);
            break;
        case SAMPLE_RATE:
            options->sample_rate = atoi(optarg);
            break;
        case NO_AUDIO:
            options->audio = false;
            break;
        case NOISE:
            options->noise = atoi(optarg);
            break;
        default:
            return false;
        }
    }
    options->command = argv + optind;
    return valid(options);
}

static void allocate_buffers(struct source *source) {
    const struct options *options = &source->options;
    size_t pixels = (size_t)options->width * (size_t)options->height;
    source->frame = allocate(pixels * 3 / 2);
    source->background = allocate(pixels * 2);
    source->samples_max = (size_t)options->sample_rate;
    source->samples = allocate(source->samples_max * CHANNELS * sizeof *source->samples);
}

static void catch_signals(void) {
    struct sigaction action = {.sa_handler = on_stop};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
}

int main(int argc, char **argv) {
    struct source source = {
        .options = {.width = 1280, .height = 720, .fps = 30, .sample_rate = 48000, .noise = 24, .audio = true}};
    if (!parse_options(argc, argv, &source.options)) {
        fputs(usage, stderr);
        return 2;
    }
    allocate_buffers(&source);
    draw_background(&source);
    pid_t child = start_command(&source);
    /* Only now: an encoder that doesn't start yet is to die by the signal, not to inherit its being ignored. */
    signal(SIGPIPE, SIG_IGN);
    catch_signals();
    run(&source);
    close(source.video_fd);
    close(source.audio_fd);
    int status = wait_command(child);
    fprintf(stderr, "clocksource: frames=%lld late=%lld longest_write_us=%lld\n", (long long)source.frames,
            (long long)source.late_frames, (long long)source.longest_write_us);
    free(source.frame);
    free(source.background);
    free(source.samples);
    return status;
}
