/* The process is waited for by a pidfd, as any descriptor; its pipes end with it, and are read to their end before that
 * is told. Each turn of the loop takes a piece, so one that writes without end holds up nobody. */
#include "ingest/fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/loop.h"

enum { READ_BYTES = 64 << 10, SAYS_BYTES = 1 << 10, PIPE_BYTES = 256 << 10 };

/* One of its two streams. */
struct output {
    struct fetch *fetch;
    int fd; /* -1: it has ended */
    struct loop_io *io;
};

struct fetch {
    struct loop *loop;
    struct fetch_events events;
    void *ctx;
    pid_t pid; /* 0: it was waited for */
    int pidfd;
    struct loop_io *exit_io;
    struct output media, says;
    struct loop_timer *silence, *tell;
    int64_t silence_us;
    bool silent, told;
    siginfo_t how;
    char line[FETCH_LINE_MAX + 1];
    size_t line_len;
    bool line_cut; /* the rest of it is passed over */
};

/* --- its end --- */

static enum fetch_end describe(const struct fetch *fetch, char *why, size_t size) {
    if (fetch->silent) {
        snprintf(why, size, "nothing came for %lld s", (long long)(fetch->silence_us / 1000000));
        return FETCH_SILENT;
    }
    if (fetch->how.si_code != CLD_EXITED) {
        snprintf(why, size, "the fetcher was ended by signal %d (%s)", fetch->how.si_status,
                 strsignal(fetch->how.si_status));
        return FETCH_CRASHED;
    }
    switch (fetch->how.si_status) {
    case 0:
        snprintf(why, size, "the source has ended");
        return FETCH_ENDED;
    case 2:
        snprintf(why, size, "not usable");
        return FETCH_UNUSABLE;
    default:
        snprintf(why, size, "the fetcher failed (status %d)", fetch->how.si_status);
        return FETCH_FAILED;
    }
}

static void on_tell(void *ctx) {
    struct fetch *fetch = ctx;
    char why[96];
    enum fetch_end end = describe(fetch, why, sizeof why);
    fetch->events.on_end(fetch->ctx, end, why);
}

/* When it is gone, and its pipes are empty. */
static void end_soon(struct fetch *fetch) {
    if (fetch->pid || fetch->media.fd >= 0 || fetch->says.fd >= 0 || fetch->told)
        return;
    fetch->told = true;
    loop_timer_cancel(fetch->silence);
    loop_timer_set(fetch->tell, 0);
}

static void output_close(struct output *output) {
    loop_io_destroy(output->io);
    output->io = NULL;
    if (output->fd >= 0)
        close(output->fd);
    output->fd = -1;
}

static void reap(struct fetch *fetch, int options) {
    if (waitid(P_PIDFD, (id_t)fetch->pidfd, &fetch->how, WEXITED | options) || !fetch->how.si_pid)
        return;
    fetch->pid = 0;
    loop_io_destroy(fetch->exit_io);
    fetch->exit_io = NULL;
}

static void on_exit_ready(void *ctx, int events) {
    struct fetch *fetch = ctx;
    (void)events;
    reap(fetch, WNOHANG);
    end_soon(fetch);
}

static void on_silence(void *ctx) {
    struct fetch *fetch = ctx;
    fetch->silent = true;
    if (fetch->pid)
        kill(fetch->pid, SIGKILL);
    output_close(&fetch->media); /* whoever else may have it open keeps nobody waiting */
    output_close(&fetch->says);
    end_soon(fetch);
}

/* --- what it brings --- */

/* At most one piece: the descriptor is level-triggered. 0: nothing now; -1: that was all. */
static ssize_t output_read(struct output *output, uint8_t *data, size_t size) {
    ssize_t n = read(output->fd, data, size);
    if (n > 0)
        return n;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    output_close(output);
    return -1;
}

static void on_media(void *ctx, int events) {
    static uint8_t data[READ_BYTES]; /* loops that fetch are on one thread */
    struct output *output = ctx;
    struct fetch *fetch = output->fetch;
    (void)events;
    ssize_t n = output_read(output, data, sizeof data);
    if (n > 0) {
        loop_timer_set(fetch->silence, fetch->silence_us);
        fetch->events.on_data(fetch->ctx, data, (size_t)n);
    } else if (n < 0) {
        end_soon(fetch);
    }
}

static void end_line(struct fetch *fetch) {
    fetch->line[fetch->line_len] = 0;
    if (fetch->line_len)
        fetch->events.on_says(fetch->ctx, fetch->line);
    fetch->line_len = 0;
    fetch->line_cut = false;
}

static void add_char(struct fetch *fetch, uint8_t c) {
    if (c == '\n' || c == '\r')
        end_line(fetch);
    else if (fetch->line_len < FETCH_LINE_MAX && !fetch->line_cut)
        fetch->line[fetch->line_len++] = c >= ' ' && c < 127 ? (char)c : '?';
    else
        fetch->line_cut = true;
}

static void on_says(void *ctx, int events) {
    struct output *output = ctx;
    struct fetch *fetch = output->fetch;
    uint8_t data[SAYS_BYTES];
    (void)events;
    ssize_t n = output_read(output, data, sizeof data);
    for (ssize_t i = 0; i < n; i++)
        add_char(fetch, data[i]);
    if (n < 0) {
        end_line(fetch);
        end_soon(fetch);
    }
}

/* --- its beginning --- */

char *fetch_program(void) {
    static const char *const places[] = {"ingest/fetch/weir-fetch", "../libexec/weir/weir-fetch", "weir-fetch"};
    char self[PATH_MAX], *path = NULL;
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    self[len > 0 ? len : 0] = 0;
    char *slash = strrchr(self, '/');
    for (size_t i = 0; slash && i < sizeof places / sizeof *places; i++) {
        if (asprintf(&path, "%.*s/%s", (int)(slash - self), self, places[i]) < 0)
            abort();
        if (access(path, X_OK) == 0)
            return path;
        free(path);
    }
    return NULL;
}

static int spawn_with(pid_t *ret_pid, const char *program, char *const argv[], char *const env[], int media, int says) {
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, usual;
    sigemptyset(&none);
    sigemptyset(&usual);
    sigaddset(&usual, SIGPIPE);
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, media, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&files, says, STDERR_FILENO);
    posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &usual);
    int rc = posix_spawn(ret_pid, program, &files, &attributes, argv, env);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
    return rc;
}

/* Both pipes' ends may be any descriptor above the three. */
static int spawn(struct fetch *fetch, const char *program, const char *url, const char *name, bool loops) {
    int media[2], says[2];
    if (pipe2(media, O_CLOEXEC))
        return errno;
    if (pipe2(says, O_CLOEXEC)) {
        int error = errno;
        close(media[0]);
        close(media[1]);
        return error;
    }
    char *env = NULL, *arg0 = strdup(program), *arg1 = strdup(loops ? "--loop" : name), *arg2 = strdup(name);
    if (asprintf(&env, "WEIR_FETCH_URL=%s", url) < 0 || !arg0 || !arg1 || !arg2)
        abort();
    char *const argv[] = {arg0, arg1, loops ? arg2 : NULL, NULL};
    char *const environment[] = {env, NULL};
    int rc = spawn_with(&fetch->pid, program, argv, environment, media[1], says[1]);
    free(env);
    free(arg0);
    free(arg1);
    free(arg2);
    close(media[1]);
    close(says[1]);
    fetch->media.fd = media[0];
    fetch->says.fd = says[0];
    return rc;
}

static void watch(struct output *output, struct fetch *fetch, loop_io_fn *fn) {
    output->fetch = fetch;
    fcntl(output->fd, F_SETFL, O_NONBLOCK);
    fcntl(output->fd, F_SETPIPE_SZ, PIPE_BYTES); /* as much as it is allowed */
    output->io = loop_io_create_level(fetch->loop, output->fd, LOOP_READ, fn, output);
}

struct fetch *fetch_start(struct loop *loop, const char *program, const char *url, const char *name, bool loops,
                          int64_t silence_us, const struct fetch_events *events, void *ctx) {
    struct fetch *fetch = calloc(1, sizeof *fetch);
    if (!fetch)
        abort();
    *fetch = (struct fetch){.loop = loop,
                            .events = *events,
                            .ctx = ctx,
                            .pidfd = -1,
                            .media.fd = -1,
                            .says.fd = -1,
                            .silence_us = silence_us};
    int rc = spawn(fetch, program, url, name, loops);
    fetch->pidfd = rc ? -1 : pidfd_open(fetch->pid, 0);
    if (fetch->pidfd < 0) {
        rc = rc ? rc : errno;
        if (fetch->pid > 0) {
            kill(fetch->pid, SIGKILL);
            waitpid(fetch->pid, NULL, 0);
        }
        fetch->pid = 0;
        fetch_destroy(fetch);
        errno = rc;
        return NULL;
    }
    watch(&fetch->media, fetch, on_media);
    watch(&fetch->says, fetch, on_says);
    fetch->exit_io = loop_io_create_level(loop, fetch->pidfd, LOOP_READ, on_exit_ready, fetch);
    fetch->tell = loop_timer_create(loop, on_tell, fetch);
    fetch->silence = loop_timer_create(loop, on_silence, fetch);
    loop_timer_set(fetch->silence, silence_us);
    return fetch;
}

/* A killed process is gone at once; it can't be held up by anything of ours. */
void fetch_destroy(struct fetch *fetch) {
    if (!fetch)
        return;
    if (fetch->pid) {
        kill(fetch->pid, SIGKILL);
        reap(fetch, 0);
    }
    output_close(&fetch->media);
    output_close(&fetch->says);
    loop_io_destroy(fetch->exit_io);
    if (fetch->pidfd >= 0)
        close(fetch->pidfd);
    loop_timer_destroy(fetch->tell);
    loop_timer_destroy(fetch->silence);
    free(fetch);
}
