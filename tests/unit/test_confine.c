/* What a confined process may not do, and what it must. Built without sanitizers, under which confine does less. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ingest/fetch/confine.h"

static pid_t parent;

static long signals_others(void) {
    return kill(parent, 0);
}

static long signals_a_thread_of_others(void) {
    return syscall(SYS_tgkill, parent, parent, 0);
}

static long queues_a_signal(void) {
    siginfo_t info = {.si_code = SI_QUEUE, .si_pid = getpid()};
    return syscall(SYS_rt_sigqueueinfo, parent, 0, &info);
}

static long queues_a_signal_for_a_thread(void) {
    siginfo_t info = {.si_code = SI_QUEUE, .si_pid = getpid()};
    return syscall(SYS_rt_tgsigqueueinfo, parent, parent, 0, &info);
}

static long limits_others(void) {
    struct rlimit limit;
    return prlimit(parent, RLIMIT_CORE, NULL, &limit);
}

static long holds_others(void) {
    return syscall(SYS_pidfd_open, parent, 0);
}

static long forks(void) {
    return syscall(SYS_fork);
}

static long executes(void) {
    char *const nothing[] = {NULL};
    return execve("/bin/true", nothing, nothing);
}

static long writes_a_file(void) {
    return open("/tmp", O_RDWR | O_TMPFILE, 0600);
}

static long listens(void) {
    return listen(socket(AF_INET, SOCK_STREAM, 0), 1);
}

static long sends_raw(void) {
    return socket(AF_PACKET, SOCK_RAW, 0);
}

static long reads_a_file(void) {
    return open("/etc/passwd", O_RDONLY);
}

static long connects(void) {
    return socket(AF_INET, SOCK_STREAM, 0);
}

static long signals_itself(void) {
    return syscall(SYS_tgkill, getpid(), getpid(), 0);
}

static long limits_itself(void) {
    struct rlimit limit;
    return getrlimit(RLIMIT_CORE, &limit);
}

/* The error of what a confined process does; 0: none. */
static int confined(long (*act)(void)) {
    int status;
    parent = getpid();
    pid_t child = fork();
    if (!child) {
        confine();
        _exit(act() < 0 ? errno : 0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void others_and_files_are_out_of_reach(void **state) {
    static long (*const acts[])(void) = {signals_others,  signals_a_thread_of_others,
                                         queues_a_signal, queues_a_signal_for_a_thread,
                                         limits_others,   holds_others,
                                         forks,           executes,
                                         writes_a_file,   listens,
                                         sends_raw};
    (void)state;
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++)
        if (confined(acts[i]) != EPERM)
            fail_msg("act %zu: %d", i, confined(acts[i]));
}

static void what_it_needs_is_allowed(void **state) {
    (void)state;
    assert_int_equal(confined(reads_a_file), 0);
    assert_int_equal(confined(connects), 0);
    assert_int_equal(confined(signals_itself), 0);
    assert_int_equal(confined(limits_itself), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(others_and_files_are_out_of_reach),
        cmocka_unit_test(what_it_needs_is_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
