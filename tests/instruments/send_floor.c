/* The floor of a continuous fan-out: sends one chunk to every connection, so many times a second, by a bare loop over
 * send(). No server can be cheaper with one system call a chunk. Answers as weir's live.mp4 does, with chunks of HTTP
 * that hold a prft box with the time of sending and an mdat, so that the same viewers can receive from both.
 *
 *   send_floor --connections 2000 --rate 30 --bytes 3000
 *
 * Prints `listening PORT`, waits for that many requests, then sends until SIGTERM. A connection that does not take a
 * chunk whole is closed and counted: it would have cost a queue. Prints JSON at the end. */
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { NOTSENT_LOWAT = 128 * 1024, PRFT_BYTES = 32, MDAT_BYTES = 8, BACKLOG = 4096 };
#define NTP_UNIX_S UINT64_C(2208988800)

static volatile sig_atomic_t stopping;

static void on_stop(int signal_number) {
    (void)signal_number;
    stopping = 1;
}

static _Noreturn void die(const char *what) {
    fprintf(stderr, "send_floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void put(uint8_t *at, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++)
        at[i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
}

/* --- the chunk --- */

struct chunk {
    uint8_t *data, *prft;
    size_t len;
};

static struct chunk make_chunk(size_t body) {
    struct chunk chunk = {.data = calloc(1, body + 32)};
    if (!chunk.data)
        die("chunk");
    size_t head = (size_t)sprintf((char *)chunk.data, "%zx\r\n", body);
    chunk.prft = chunk.data + head;
    put(chunk.prft, PRFT_BYTES, 4);
    memcpy(chunk.prft + 4, "prft\1\0\0\30\0\0\0\1", 12);
    put(chunk.prft + PRFT_BYTES, body - PRFT_BYTES, 4);
    memcpy(chunk.prft + PRFT_BYTES + 4, "mdat", 4);
    memcpy(chunk.prft + body, "\r\n", 2);
    chunk.len = head + body + 2;
    return chunk;
}

static void stamp(const struct chunk *chunk) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    put(chunk->prft + 16, (uint64_t)now.tv_sec + NTP_UNIX_S, 4);
    put(chunk->prft + 20, ((uint64_t)now.tv_nsec << 32) / 1000000000, 4);
}

/* --- connections --- */

static int listen_somewhere(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, len) < 0 || listen(fd, BACKLOG) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) < 0)
        die("listen");
    printf("listening %u\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static int accept_viewer(int listener) {
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nTransfer-Encoding: chunked\r\n\r\n";
    char request[4096];
    int fd = accept(listener, NULL, NULL);
    if (fd < 0)
        die("accept");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &(int){NOTSENT_LOWAT}, sizeof(int));
    if (recv(fd, request, sizeof request, 0) <= 0 || send(fd, head, sizeof head - 1, MSG_NOSIGNAL) < 0)
        die("request");
    return fd;
}

static unsigned send_to_all(int *fds, int count, const struct chunk *chunk) {
    unsigned lost = 0;
    for (int i = 0; i < count; i++) {
        if (fds[i] < 0 || send(fds[i], chunk->data, chunk->len, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)chunk->len)
            continue;
        close(fds[i]);
        fds[i] = -1;
        lost++;
    }
    return lost;
}

int main(int argc, char **argv) {
    static const struct option names[] = {{"connections", required_argument, NULL, 'n'},
                                          {"rate", required_argument, NULL, 'r'},
                                          {"bytes", required_argument, NULL, 'b'},
                                          {NULL, 0, NULL, 0}};
    int count = 0, rate = 0, bytes = 0;
    for (int name; (name = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        count = name == 'n' ? atoi(optarg) : count;
        rate = name == 'r' ? atoi(optarg) : rate;
        bytes = name == 'b' ? atoi(optarg) : bytes;
    }
    if (count < 1 || rate < 1 || bytes < PRFT_BYTES + MDAT_BYTES) {
        fputs("usage: send_floor --connections N --rate HZ --bytes N\n", stderr);
        return 2;
    }
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    sigaction(SIGTERM, &(struct sigaction){.sa_handler = on_stop}, NULL);
    struct chunk chunk = make_chunk((size_t)bytes);
    int listener = listen_somewhere(), *fds = calloc((size_t)count, sizeof *fds);
    for (int i = 0; i < count; i++)
        fds[i] = accept_viewer(listener);
    struct timespec next;
    unsigned lost = 0, late = 0;
    unsigned long ticks = 0;
    for (clock_gettime(CLOCK_MONOTONIC, &next); !stopping; ticks++) {
        struct timespec now;
        next.tv_nsec += 1000000000 / rate;
        next.tv_sec += next.tv_nsec / 1000000000;
        next.tv_nsec %= 1000000000;
        clock_gettime(CLOCK_MONOTONIC, &now);
        late += now.tv_sec > next.tv_sec || (now.tv_sec == next.tv_sec && now.tv_nsec > next.tv_nsec);
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
        stamp(&chunk);
        lost += send_to_all(fds, count, &chunk);
    }
    printf("{\"ticks\": %lu, \"late\": %u, \"lost\": %u}\n", ticks, late, lost);
    return 0;
}
