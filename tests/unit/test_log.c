#include "common/base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <termios.h>
#include <unistd.h>

static char captured[3 * PIPE_BUF];
static int capture_fd, saved_stderr;

static void capture_begin(void) {
    capture_fd = memfd_create("log", MFD_CLOEXEC);
    saved_stderr = dup(STDERR_FILENO);
    assert_true(capture_fd >= 0 && saved_stderr >= 0);
    dup2(capture_fd, STDERR_FILENO);
}

/* What was logged since capture_begin, from the key "level" on: what stands before it is the time. */
static const char *capture_end(void) {
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    ssize_t n = pread(capture_fd, captured, sizeof(captured) - 1, 0);
    close(capture_fd);
    assert_true(n >= 0);
    captured[n] = '\0';
    char *level = strstr(captured, "level");
    return level ? level : captured;
}

static void logfmt_line(void **state) {
    (void)state;
    log_configure(LOG_LEVEL_INFO, LOG_LOGFMT);
    capture_begin();
    log_info("publish_start", "stream", LOG_STR("live/show"), "epoch", LOG_INT(-7), "rate", LOG_FLOAT(29.97));
    const char *line = capture_end();
    assert_string_equal(line, "level=info event=publish_start stream=live/show epoch=-7 rate=29.97\n");
    assert_int_equal(strncmp(captured, "ts=20", 5), 0);
    assert_int_equal(captured[strlen("ts=2026-11-24T15:04:05.678Z")], ' ');
}

static void json_line(void **state) {
    (void)state;
    log_configure(LOG_LEVEL_INFO, LOG_JSON);
    capture_begin();
    log_error("stop", "why", LOG_STR("a \"b\""), "n", LOG_INT(1), "f", LOG_FLOAT(NAN), "none", LOG_STR(NULL));
    assert_string_equal(
        capture_end(),
        "level\":\"error\",\"event\":\"stop\",\"why\":\"a \\\"b\\\"\",\"n\":1,\"f\":null,\"none\":\"\"}\n");
    assert_int_equal(strncmp(captured, "{\"ts\":\"20", 9), 0);
}

static void event_without_pairs(void **state) {
    (void)state;
    log_configure(LOG_LEVEL_INFO, LOG_LOGFMT);
    capture_begin();
    log_warn("ready");
    assert_string_equal(capture_end(), "level=warn event=ready\n");
}

static void peer_cannot_forge_a_line(void **state) {
    (void)state;
    log_configure(LOG_LEVEL_INFO, LOG_LOGFMT);
    capture_begin();
    log_info("e", "v", LOG_STR("x\nlevel=error \x1b[2J"), "w", LOG_STR("a=b"));
    assert_string_equal(capture_end(), "level=info event=e v=\"x\\u000alevel=error \\u001b[2J\" w=\"a=b\"\n");
}

static void bad_utf8_is_replaced_and_good_utf8_kept(void **state) {
    (void)state;
    log_configure(LOG_LEVEL_INFO, LOG_LOGFMT);
    capture_begin();
    log_info("e", "good", LOG_STR("h\xc3\xa9\xf0\x9f\x98\x80"), "bad", LOG_STR("a\xff\xc3"), "c1", LOG_STR("\xc2\x9b"),
             "sur", LOG_STR("\xed\xa0\x80"));
    assert_string_equal(capture_end(), "level=info event=e good=\"h\xc3\xa9\xf0\x9f\x98\x80\" bad=\"a\\ufffd\\ufffd\" "
                                       "c1=\"\\u009b\" sur=\"\\ufffd\\ufffd\\ufffd\"\n");
}

static void null_and_empty_values(void **state) {
    (void)state;
    log_configure(LOG_LEVEL_INFO, LOG_LOGFMT);
    capture_begin();
    log_info("e", "null", LOG_STR(NULL), "empty", LOG_STR(""));
    assert_string_equal(capture_end(), "level=info event=e null= empty=\"\"\n");
}

static void level_filters(void **state) {
    (void)state;
    log_configure(LOG_LEVEL_WARN, LOG_LOGFMT);
    assert_false(log_enabled(LOG_LEVEL_INFO));
    assert_true(log_enabled(LOG_LEVEL_WARN));
    capture_begin();
    log_debug("a");
    log_info("b");
    log_error("c");
    assert_string_equal(capture_end(), "level=error event=c\n");
}

static void long_value_is_cut(void **state) {
    (void)state;
    char value[3000];
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    log_configure(LOG_LEVEL_INFO, LOG_LOGFMT);
    capture_begin();
    log_info("e", "v", LOG_STR(value), "after", LOG_INT(1));
    const char *line = capture_end();
    assert_true(strlen(line) < 1200);
    assert_non_null(strstr(line, "vvv...\" after=1\n"));
}

static void long_line_leaves_out_whole_pairs(void **state) {
    (void)state;
    char value[1001];
    memset(value, '\n', sizeof(value) - 1); /* each takes six bytes of the line */
    value[sizeof(value) - 1] = '\0';
    for (int format = LOG_LOGFMT; format <= LOG_JSON; format++) {
        log_configure(LOG_LEVEL_INFO, format);
        capture_begin();
        log_info("e", "a", LOG_STR(value), "b", LOG_STR(value), "c", LOG_STR(value), "d", LOG_STR(value), "e",
                 LOG_STR(value), "f", LOG_INT(1));
        capture_end();
        const char *end = format == LOG_JSON ? "...\",\"truncated\":1}\n" : "...\" truncated=1\n";
        size_t len = strlen(captured);
        assert_true(len <= PIPE_BUF);
        assert_string_equal(captured + len - strlen(end), end);
    }
}

static void errno_survives_logging(void **state) {
    (void)state;
    log_configure(LOG_LEVEL_INFO, LOG_LOGFMT);
    capture_begin();
    close(STDERR_FILENO);
    errno = ENOENT;
    log_info("e");
    int after = errno;
    capture_end();
    assert_int_equal(after, ENOENT);
}

/* --- a stderr that takes no more --- */

enum { DEADLINE_S = 20, PIPE_BYTES = 1 << 16 };

static void stderr_begin(int fd) {
    alarm(DEADLINE_S); /* whoever waits in write(2) is ended by it */
    saved_stderr = dup(STDERR_FILENO);
    dup2(fd, STDERR_FILENO);
}

/* Undoes log_open, too: a file is not opened anew. */
static void stderr_end(void) {
    int file = memfd_create("log", MFD_CLOEXEC);
    dup2(file, STDERR_FILENO);
    log_open();
    close(file);
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    alarm(0);
}

/* What can be read at once, at most a buffer's worth. */
static const char *drain(int fd) {
    static char text[2 * PIPE_BYTES];
    size_t len = 0;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    for (ssize_t n; (n = read(fd, text + len, sizeof text - 1 - len)) > 0;)
        len += (size_t)n;
    text[len] = 0;
    return text;
}

static void full_pipe_loses_lines_and_says_how_many(void **state) {
    (void)state;
    int ends[2];
    static char fill[PIPE_BYTES];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(write(ends[1], fill, fcntl(ends[1], F_GETPIPE_SZ)), PIPE_BYTES);
    log_configure(LOG_LEVEL_INFO, LOG_LOGFMT);
    stderr_begin(ends[1]);
    for (int i = 0; i < 3; i++)
        log_info("e", "i", LOG_INT(i));
    drain(ends[0]);
    log_info("e", "i", LOG_INT(3));
    log_info("e", "i", LOG_INT(4));
    stderr_end();
    const char *text = drain(ends[0]);
    assert_non_null(strstr(text, "level=info event=e i=3 lost=3\n"));
    assert_non_null(strstr(text, "level=info event=e i=4\n"));
    close(ends[0]);
    close(ends[1]);
}

static void loss_is_told_in_json(void **state) {
    (void)state;
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    log_configure(LOG_LEVEL_INFO, LOG_JSON);
    stderr_begin(ends[1]);
    close(STDERR_FILENO);
    log_info("e");
    dup2(ends[1], STDERR_FILENO);
    log_info("e");
    stderr_end();
    assert_non_null(strstr(drain(ends[0]), "\"event\":\"e\",\"lost\":1}\n"));
    close(ends[0]);
    close(ends[1]);
}

/* It takes parts of lines. */
static void terminal_that_nobody_reads_does_not_stop_the_program(void **state) {
    (void)state;
    int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
    int side = open(ptsname(terminal), O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(side >= 0);
    log_configure(LOG_LEVEL_INFO, LOG_LOGFMT);
    stderr_begin(side);
    log_open();
    for (int i = 0; i < 5000; i++)
        log_info("e", "text", LOG_STR("so long that a terminal takes a part of it when it has little room left"));
    while (*drain(terminal))
        ;
    log_info("last");
    stderr_end();
    const char *line = strstr(drain(terminal), "\nts=2");
    assert_non_null(line); /* a line of its own, though the one before was cut */
    assert_non_null(strstr(line, "level=info event=last lost="));
    close(terminal);
    close(side);
}

static void terminal_that_is_stopped_does_not_stop_the_program(void **state) {
    (void)state;
    int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
    int side = open(ptsname(terminal), O_RDWR | O_NOCTTY | O_CLOEXEC);
    log_configure(LOG_LEVEL_INFO, LOG_LOGFMT);
    stderr_begin(side);
    assert_int_equal(tcflow(side, TCOOFF), 0);
    log_info("e");
    tcflow(side, TCOON);
    log_info("last");
    stderr_end();
    assert_non_null(strstr(drain(terminal), "level=info event=last lost=1"));
    close(terminal);
    close(side);
}

static void node_and_region_are_in_every_line(void **state) {
    (void)state;
    log_configure(LOG_LEVEL_INFO, LOG_LOGFMT);
    log_identify("edge-1", NULL);
    capture_begin();
    log_info("e", "a", LOG_INT(1));
    log_identify("edge-1", "ap-southeast");
    log_info("e", "a", LOG_INT(1));
    log_identify(NULL, NULL);
    log_info("e", "a", LOG_INT(1));
    capture_end();
    assert_non_null(strstr(captured, " level=info event=e node=edge-1 a=1\n"));
    assert_non_null(strstr(captured, " level=info event=e node=edge-1 region=ap-southeast a=1\n"));
    assert_non_null(strstr(captured, " level=info event=e a=1\n"));
}

static void limit_counts_what_it_holds_back(void **state) {
    (void)state;
    struct log_limit limit = {0};
    uint32_t suppressed = 0, passed = 0;
    while (passed < 2 || limit.passed < 2) /* again if the second changed in between */
        passed += log_limit_pass(&limit, 2, &suppressed);
    int64_t window_s = limit.window_s;
    suppressed = 99;
    bool third = log_limit_pass(&limit, 2, &suppressed);
    if (limit.window_s == window_s) {
        assert_false(third);
        assert_int_equal(suppressed, 99);
        assert_int_equal(limit.suppressed, 1);
    }
    limit = (struct log_limit){.window_s = window_s - 1, .passed = 2, .suppressed = 41};
    assert_true(log_limit_pass(&limit, 2, &suppressed));
    assert_int_equal(suppressed, 41);
    assert_int_equal(limit.suppressed, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logfmt_line),
        cmocka_unit_test(json_line),
        cmocka_unit_test(event_without_pairs),
        cmocka_unit_test(peer_cannot_forge_a_line),
        cmocka_unit_test(bad_utf8_is_replaced_and_good_utf8_kept),
        cmocka_unit_test(null_and_empty_values),
        cmocka_unit_test(level_filters),
        cmocka_unit_test(long_value_is_cut),
        cmocka_unit_test(long_line_leaves_out_whole_pairs),
        cmocka_unit_test(full_pipe_loses_lines_and_says_how_many),
        cmocka_unit_test(loss_is_told_in_json),
        cmocka_unit_test(terminal_that_nobody_reads_does_not_stop_the_program),
        cmocka_unit_test(terminal_that_is_stopped_does_not_stop_the_program),
        cmocka_unit_test(node_and_region_are_in_every_line),
        cmocka_unit_test(errno_survives_logging),
        cmocka_unit_test(limit_counts_what_it_holds_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
