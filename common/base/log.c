/* One event, one line, one write(2): a line is built on the stack and never longer than PIPE_BUF, so lines from several
 * threads do not mix, not even through a pipe. Whatever does not fit is left out whole and the line says so.
 *
 * A full pipe, a stopped terminal (Ctrl-S) or a dead reader loses lines; it never stops the program. A pipe or socket
 * that is ready takes a whole line, so poll(2) before the write is enough, as long as we write alone. A terminal takes
 * what it has room for and waits with the rest: for it, and for pipes that others write to as well, log_open makes a
 * description of our own, which alone is non-blocking. stderr itself must not be: a shell shares it. */
#include "common/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/metrics.h"

enum {
    LINE_MAX_BYTES = PIPE_BUF,
    TAIL_BYTES = 64,    /* kept free for the marks of truncation and loss, and the end of the line */
    VALUE_BYTES = 1024, /* a longer value is cut and ends in "..." */
    NAME_BYTES = 64,    /* of node and region */
};

struct line {
    char data[LINE_MAX_BYTES];
    size_t len, limit;
    bool full, json;
};

static atomic_int configured_level = LOG_LEVEL_INFO;
static atomic_int configured_format = LOG_LOGFMT;
static char node_name[NAME_BYTES], region_name[NAME_BYTES];

static pthread_mutex_t write_lock = PTHREAD_MUTEX_INITIALIZER; /* guards what follows */
static int log_fd = STDERR_FILENO;
static uint64_t lost; /* lines, since the last one that got through */
static bool cut;      /* the last write took a part of its line */

static struct metric metrics[] = {
    {"weir_log_lines_lost_total", NULL, "Log lines that stderr did not take.", METRIC_COUNTER, 0},
};

static pthread_mutex_t limit_lock = PTHREAD_MUTEX_INITIALIZER;
static const char *const level_names[] = {"debug", "info", "warn", "error"};

void log_configure(enum log_level level, enum log_format format) {
    atomic_store(&configured_level, (int)level);
    atomic_store(&configured_format, (int)format);
}

void log_identify(const char *node, const char *region) {
    snprintf(node_name, sizeof node_name, "%s", node ? node : "");
    snprintf(region_name, sizeof region_name, "%s", region ? region : "");
}

void log_metrics_register(void) {
    metrics_register(metrics, sizeof metrics / sizeof *metrics);
}

/* Only of pipes and terminals: a socket can't be opened anew, and a file would begin anew; neither waits for readers as
 * a terminal does. Another user's can't be opened either: then poll(2) must do. */
static int open_stderr_anew(void) {
    struct stat status;
    if (fstat(STDERR_FILENO, &status) || !(S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode)))
        return -1;
    return open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

void log_open(void) {
    int fd = open_stderr_anew();
    pthread_mutex_lock(&write_lock);
    if (log_fd != STDERR_FILENO)
        close(log_fd);
    log_fd = fd < 0 ? STDERR_FILENO : fd;
    pthread_mutex_unlock(&write_lock);
}

bool log_enabled(enum log_level level) {
    return (int)level >= atomic_load_explicit(&configured_level, memory_order_relaxed);
}

static void put(struct line *line, const char *data, size_t len) {
    if (len > line->limit - line->len) {
        line->full = true;
        return;
    }
    memcpy(line->data + line->len, data, len);
    line->len += len;
}

static void put_str(struct line *line, const char *str) {
    put(line, str, strlen(str));
}

static bool is_continuation(unsigned char c) {
    return (c & 0xC0) == 0x80;
}

/* Length of the well-formed UTF-8 character at `s` (RFC 3629), or 0. */
static size_t utf8_length(const unsigned char *s) {
    if (s[0] < 0x80)
        return 1;
    if (s[0] < 0xC2 || s[0] > 0xF4 || !is_continuation(s[1]))
        return 0;
    if (s[0] < 0xE0)
        return 2;
    if ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F) || !is_continuation(s[2]))
        return 0;
    if (s[0] < 0xF0)
        return 3;
    if ((s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F) || !is_continuation(s[3]))
        return 0;
    return 4;
}

/* Control characters, C1 ones too: a terminal obeys them. */
static bool is_control(const unsigned char *s, size_t len) {
    return s[0] < 0x20 || s[0] == 0x7F || (len == 2 && s[0] == 0xC2 && s[1] < 0xA0);
}

static bool is_plain(const char *str) {
    if (!*str)
        return false;
    for (const unsigned char *s = (const unsigned char *)str; *s; s++) {
        if (*s <= ' ' || *s >= 0x7F || *s == '"' || *s == '=' || *s == '\\')
            return false;
    }
    return true;
}

/* One character of a quoted string; returns how many bytes of `s` it took. Malformed UTF-8 becomes U+FFFD. */
static size_t put_char(struct line *line, const unsigned char *s) {
    char escape[8];
    size_t len = utf8_length(s);
    if (len == 0) {
        put_str(line, "\\ufffd");
        return 1;
    }
    if (*s == '"' || *s == '\\') {
        put(line, "\\", 1);
    } else if (is_control(s, len)) {
        snprintf(escape, sizeof(escape), "\\u%04x", (unsigned)s[len - 1]);
        put_str(line, escape);
        return len;
    }
    put(line, (const char *)s, len);
    return len;
}

static void put_quoted(struct line *line, const char *str) {
    const unsigned char *s = (const unsigned char *)str;
    size_t start = line->len;
    put(line, "\"", 1);
    while (*s && !line->full) {
        if (line->len - start > VALUE_BYTES) {
            put_str(line, "...");
            break;
        }
        s += put_char(line, s);
    }
    put(line, "\"", 1);
}

static void put_string(struct line *line, const char *str) {
    if (!str && !line->json)
        return;
    if (!str)
        str = "";
    if (!line->json && is_plain(str) && strnlen(str, VALUE_BYTES + 1) <= VALUE_BYTES)
        put_str(line, str);
    else
        put_quoted(line, str);
}

static void put_number(struct line *line, double value) {
    char text[32];
    if (line->json && !isfinite(value)) {
        put_str(line, "null"); /* JSON has no other way to say it */
        return;
    }
    snprintf(text, sizeof(text), "%.9g", value);
    put_str(line, text);
}

static void put_value(struct line *line, const struct log_value *value) {
    char text[24];
    switch (value->type) {
    case LOG_VALUE_STR:
        put_string(line, value->s);
        break;
    case LOG_VALUE_INT:
        snprintf(text, sizeof(text), "%" PRId64, value->i);
        put_str(line, text);
        break;
    case LOG_VALUE_FLOAT:
        put_number(line, value->f);
        break;
    }
}

/* A pair enters the line whole or not at all. */
static void put_pair(struct line *line, const char *key, struct log_value value) {
    size_t start = line->len;
    bool first = line->len == (line->json ? 1 : 0);
    if (!first)
        put_str(line, line->json ? "," : " ");
    if (line->json)
        put_quoted(line, key);
    else
        put_str(line, key);
    put_str(line, line->json ? ":" : "=");
    put_value(line, &value);
    if (line->full)
        line->len = start;
}

static void end_line(struct line *line, uint64_t lines_lost) {
    bool full = line->full;
    line->full = false;
    line->limit = sizeof(line->data);
    if (full)
        put_pair(line, "truncated", LOG_INT(1));
    if (lines_lost)
        put_pair(line, "lost", LOG_INT(lines_lost));
    put_str(line, line->json ? "}\n" : "\n");
}

/* Bytes that were taken at once; 0 also on errors. */
static size_t write_now(const char *data, size_t len) {
    struct pollfd ready = {.fd = log_fd, .events = POLLOUT};
    if (poll(&ready, 1, 0) != 1 || !(ready.revents & POLLOUT))
        return 0;
    ssize_t n;
    do
        n = write(log_fd, data, len);
    while (n < 0 && errno == EINTR);
    return n > 0 ? (size_t)n : 0;
}

static void write_line(struct line *line) {
    pthread_mutex_lock(&write_lock);
    end_line(line, lost);
    if (cut && write_now("\n", 1))
        cut = false;
    size_t n = cut ? 0 : write_now(line->data, line->len);
    if (n == line->len) {
        lost = 0;
    } else {
        cut |= n > 0;
        lost++;
        metric_add(&metrics[0], 1);
    }
    pthread_mutex_unlock(&write_lock);
}

static void begin_line(struct line *line, enum log_level level, const char *event) {
    char ts[CLOCK_ISO_LEN];
    line->len = 0;
    line->limit = sizeof(line->data) - TAIL_BYTES;
    line->full = false;
    line->json = atomic_load_explicit(&configured_format, memory_order_relaxed) == LOG_JSON;
    if (line->json)
        put_str(line, "{");
    put_pair(line, "ts", LOG_STR(clock_format_iso(ts, clock_utc_us())));
    put_pair(line, "level", LOG_STR(level_names[level]));
    put_pair(line, "event", LOG_STR(event));
    if (node_name[0])
        put_pair(line, "node", LOG_STR(node_name));
    if (region_name[0])
        put_pair(line, "region", LOG_STR(region_name));
}

void log_event(enum log_level level, const char *event, ...) {
    struct line line;
    va_list args;
    if (!log_enabled(level))
        return;
    int saved_errno = errno;
    begin_line(&line, level, event);
    va_start(args, event);
    for (const char *key; !line.full && (key = va_arg(args, const char *)) != NULL;)
        put_pair(&line, key, va_arg(args, struct log_value));
    va_end(args);
    write_line(&line);
    errno = saved_errno;
}

bool log_limit_pass(struct log_limit *limit, uint32_t per_s, uint32_t *ret_suppressed) {
    int64_t now_s = clock_mono_us() / 1000000;
    pthread_mutex_lock(&limit_lock);
    if (limit->window_s != now_s) {
        limit->window_s = now_s;
        limit->passed = 0;
    }
    bool pass = limit->passed < per_s;
    if (pass) {
        limit->passed++;
        *ret_suppressed = limit->suppressed;
        limit->suppressed = 0;
    } else if (limit->suppressed < UINT32_MAX) {
        limit->suppressed++;
    }
    pthread_mutex_unlock(&limit_lock);
    return pass;
}
