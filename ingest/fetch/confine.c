#include "ingest/fetch/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MEMORY_BYTES = 512 << 20, DESCRIPTORS = 32 };

/* A sanitizer maps terabytes, and looks for leaks from a process of its own. */
#ifdef __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

static void limit(__rlimit_resource_t what, rlim_t most) {
    const struct rlimit value = {most, most};
    setrlimit(what, &value);
}

#ifndef SANITIZED
#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#endif
#endif

#ifdef ARCH
#define WORD(i)      (offsetof(struct seccomp_data, args) + (i) * sizeof(uint64_t)) /* low half: little endian */
#define LOAD(at)     BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (at))
#define DENY(error)  BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (error))
#define ALLOW        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define REFUSE(call) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##call, 0, 1), DENY(EPERM)
#define ABSENT(call) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##call, 0, 1), DENY(ENOSYS)
#define WRITING      (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | O_APPEND)
/* A call whose argument 0 names a process: only itself. */
#define OWN(call, itself)                                                                                              \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##call, 0, 5), LOAD(WORD(0)),                                              \
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (itself), 0, 1), ALLOW,      \
        DENY(EPERM)
/* A call whose argument `i` has flags for writing. */
#define READ_ONLY(call, i)                                                                                             \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##call, 0, 4), LOAD(WORD(i)),                                              \
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, WRITING, 0, 1), DENY(EPERM), ALLOW

static void filter_calls(void) {
    const uint32_t itself = (uint32_t)getpid();
    struct sock_filter code[] = {
        LOAD(offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        LOAD(offsetof(struct seccomp_data, nr)),
#ifdef __x86_64__
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1), /* x32 */
        DENY(ENOSYS),
        REFUSE(fork),
        REFUSE(vfork),
        REFUSE(creat),
        REFUSE(rename),
        REFUSE(link),
        REFUSE(symlink),
        REFUSE(unlink),
        REFUSE(mkdir),
        REFUSE(rmdir),
        REFUSE(chmod),
        REFUSE(chown),
        REFUSE(mknod),
        READ_ONLY(open, 1),
#endif
        READ_ONLY(openat, 2),
        ABSENT(openat2),
        ABSENT(clone3),
        ABSENT(io_uring_setup),
        REFUSE(clone),
        REFUSE(execve),
        REFUSE(execveat),
        REFUSE(ptrace),
        REFUSE(process_vm_readv),
        REFUSE(process_vm_writev),
        REFUSE(kill),
        REFUSE(tkill),
        OWN(tgkill, itself),
        OWN(prlimit64, itself),
        REFUSE(rt_sigqueueinfo),
        REFUSE(rt_tgsigqueueinfo),
        REFUSE(pidfd_open),
        REFUSE(pidfd_getfd),
        REFUSE(pidfd_send_signal),
        REFUSE(renameat),
        REFUSE(renameat2),
        REFUSE(linkat),
        REFUSE(symlinkat),
        REFUSE(unlinkat),
        REFUSE(mkdirat),
        REFUSE(fchmod),
        REFUSE(fchmodat),
        REFUSE(fchown),
        REFUSE(fchownat),
        REFUSE(mknodat),
        REFUSE(truncate),
        REFUSE(listen),
        REFUSE(accept),
        REFUSE(accept4),
        REFUSE(mount),
        REFUSE(unshare),
        REFUSE(setns),
        REFUSE(bpf),
        REFUSE(perf_event_open),
        REFUSE(userfaultfd),
        REFUSE(keyctl),
        REFUSE(add_key),
        REFUSE(request_key),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 1, 0),
        ALLOW,
        LOAD(WORD(0)), /* what connects, and what looks up names */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET, 4, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET6, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_UNIX, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_NETLINK, 1, 0),
        DENY(EPERM),
        ALLOW,
    };
    const struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}
#else
static void filter_calls(void) {}
#endif

void confine(void) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_DUMPABLE, 0);
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_FSIZE, 0);
    limit(RLIMIT_NOFILE, DESCRIPTORS);
#ifndef SANITIZED
    limit(RLIMIT_AS, MEMORY_BYTES);
    limit(RLIMIT_NPROC, 0);
#endif
    filter_calls();
}
