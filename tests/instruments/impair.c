/* A bad network between two ends of TCP: a proxy that passes everything on, late, slowly, with pauses, or not at all.
 *
 *   impair 127.0.0.1:0 127.0.0.1:8080        listen here, connect there; IPv4
 *
 * Prints `listen ADDRESS:PORT`. Each line on stdin is then a command, answered by one line when it is in force: `ok`,
 * `error WHAT` or, to `stats`, JSON. The end of stdin ends it, so that it doesn't outlive whoever started it.
 *
 *   up|down|both NAME=VALUE …   what happens towards the target, from it, or both ways:
 *       delay_ms, jitter_ms     each byte comes so much later, and up to so much more; never out of order
 *       rate_kbps, queue_ms     what the line carries, all connections together; 0: any amount. So much time's worth
 * (50) waits in front of it, then the senders have to; it comes at the rate at which it was queued loss, loss_ms with
 * this probability a segment of 1448 bytes is "lost": it, and what is behind it on its connection, waits so much longer
 * (200): what TCP shows of a loss stall                   1: nothing passes; what was under way comes when this ends
 *   partition on|off            a stall both ways, and new connections get no answer, not even a refusal
 *   refuse on|off               new connections are refused; those that are there go on
 *   reset                       every connection is reset, both ends, at once
 *   clear                       no impairment any more
 *   stats                       how many connections there are and were; bytes and losses each way
 *
 * An end that closes or resets is passed on as late as its data. What a proxy can't show: the handshake is not delayed
 * (its listener's kernel answers), and a target that refuses shows as a connection that is made, then reset. Segments
 * that it doesn't read yet are acknowledged nevertheless, up to SOCKET_BYTES.
 *
 * Each direction of a connection is a flow: a queue of chunks with the time when each is due. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
    CONNECTIONS_MAX = 1024,
    BACKLOG = 512,
    SEGMENT_BYTES = 1448,
    READ_BYTES_MAX = 64 * 1024,
    READ_BYTES_MIN = 256,
    READS_A_TURN = 16,
    SOCKET_BYTES = 256 * 1024,         /* of the kernel's buffers: little, or they'd hide a stall */
    FLOW_BYTES_MAX = 32 * 1024 * 1024, /* a second of 250 Mb/s */
    SLICE_US = 5 * 1000,               /* so much of such a line is one chunk */
    WRITE_CHUNKS = 64,
    COMMAND_BYTES = 4096,
};

enum direction { UP, DOWN };
/* How a flow's source has ended, for its sink to be told behind the data. */
enum ending { OPEN, FIN, RST };

struct impairment {
    double delay_ms, jitter_ms, rate_kbps, queue_ms, loss, loss_ms, stall;
};

struct line {
    struct impairment is;
    uint64_t free_us; /* when what has been put on it is through */
    uint64_t bytes, lost;
};

struct chunk {
    struct chunk *next;
    uint64_t due_us;
    size_t len, at;
    uint8_t data[];
};

struct flow {
    struct chunk *head, **tail;
    size_t queued;
    enum ending ending;
    uint64_t end_us; /* when that is due */
    bool blocked;    /* the sink took less than there was: wait for POLLOUT */
    bool told;       /* the sink knows of the ending, or is broken itself */
};

/* Sides are numbered as the flows that they are the source of: the client UP, the target DOWN. */
struct connection {
    int fds[2]; /* -1: broken */
    struct flow flows[2];
    bool dead;
};

static const struct impairment unimpaired = {.queue_ms = 50, .loss_ms = 200};
static struct line lines[2];
static bool partitioned, refusing;
static struct connection *connections[CONNECTIONS_MAX];
static int connection_count;
static uint64_t accepted, now_us;
static struct sockaddr_in listen_address, target_address;
static int listener = -1, filler = -1;
static struct sockaddr_in filler_address;

static _Noreturn void die(const char *what) {
    fprintf(stderr, "impair: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t clock_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static bool stalled(enum direction direction) {
    return partitioned || lines[direction].is.stall != 0;
}

/* --- flows --- */

/* When what is put on the line now comes out at its other end; what is before it in its flow may be later still. */
static uint64_t due_us(struct line *line, size_t bytes) {
    uint64_t at = now_us;
    if (line->is.rate_kbps > 0) {
        uint64_t start = line->free_us > at ? line->free_us : at;
        at = line->free_us = start + (uint64_t)((double)bytes * 8000 / line->is.rate_kbps);
    }
    at += (uint64_t)((line->is.delay_ms + line->is.jitter_ms * drand48()) * 1000);
    if (bytes > 0 && line->is.loss > 0 && drand48() < line->is.loss) {
        at += (uint64_t)(line->is.loss_ms * 1000);
        line->lost++;
    }
    return at;
}

static void append(struct flow *flow, struct line *line, const uint8_t *data, size_t len) {
    struct chunk *chunk = malloc(sizeof *chunk + len);
    if (!chunk)
        die("chunk");
    *chunk = (struct chunk){.due_us = due_us(line, len), .len = len};
    memcpy(chunk->data, data, len);
    *flow->tail = chunk;
    flow->tail = &chunk->next;
    flow->queued += len;
}

static void drop_head(struct flow *flow) {
    struct chunk *chunk = flow->head;
    flow->head = chunk->next;
    if (!flow->head)
        flow->tail = &flow->head;
    flow->queued -= chunk->len - chunk->at;
    free(chunk);
}

static void end(struct flow *flow, enum direction direction, enum ending ending) {
    flow->ending = ending;
    flow->told = false;
    flow->end_us = due_us(&lines[direction], 0);
}

/* A side's socket has failed: nothing gets there any more, and the other side is to be told. */
static void fail(struct connection *connection, int side) {
    struct flow *to = &connection->flows[!side];
    close(connection->fds[side]);
    connection->fds[side] = -1;
    while (to->head)
        drop_head(to);
    to->told = true;
    end(&connection->flows[side], side, RST);
}

static size_t read_bytes(const struct impairment *is) {
    double bytes = is->rate_kbps > 0 ? is->rate_kbps / 8 * SLICE_US / 1000 : READ_BYTES_MAX;
    if (is->loss > 0 && bytes > SEGMENT_BYTES)
        bytes = SEGMENT_BYTES;
    return bytes < READ_BYTES_MIN ? READ_BYTES_MIN : bytes > READ_BYTES_MAX ? READ_BYTES_MAX : (size_t)bytes;
}

/* When the flow may take more from its source: now, at that time, or (UINT64_MAX) not before something else happens. */
static uint64_t readable_us(const struct flow *flow, enum direction direction) {
    const struct line *line = &lines[direction];
    if (flow->ending != OPEN || flow->told || stalled(direction) || flow->queued > FLOW_BYTES_MAX)
        return UINT64_MAX;
    uint64_t queue_us = (uint64_t)(line->is.queue_ms * 1000);
    if (line->is.rate_kbps > 0 && line->free_us > now_us + queue_us)
        return line->free_us - queue_us;
    return now_us;
}

static void take(struct connection *connection, enum direction direction) {
    static uint8_t data[READ_BYTES_MAX];
    struct flow *flow = &connection->flows[direction];
    for (int i = 0; i < READS_A_TURN && readable_us(flow, direction) == now_us; i++) {
        ssize_t n = recv(connection->fds[direction], data, read_bytes(&lines[direction].is), MSG_DONTWAIT);
        if (n > 0)
            append(flow, &lines[direction], data, (size_t)n);
        else if (n == 0)
            end(flow, direction, FIN);
        else if (errno != EAGAIN && errno != EINTR)
            fail(connection, direction);
        if (n < 0)
            return;
    }
}

static void drop_sent(struct flow *flow, size_t sent) {
    while (sent > 0) {
        size_t left = flow->head->len - flow->head->at, step = sent < left ? sent : left;
        flow->head->at += step;
        flow->queued -= step;
        sent -= step;
        if (step == left)
            drop_head(flow);
    }
}

/* Sends what is due, one call; false when there is no more, or the sink is full or has failed. */
static bool give_some(struct connection *connection, enum direction direction) {
    struct flow *flow = &connection->flows[direction];
    struct iovec parts[WRITE_CHUNKS];
    struct msghdr message = {.msg_iov = parts};
    for (struct chunk *c = flow->head; c && c->due_us <= now_us && message.msg_iovlen < WRITE_CHUNKS; c = c->next)
        parts[message.msg_iovlen++] = (struct iovec){c->data + c->at, c->len - c->at};
    if (message.msg_iovlen == 0)
        return false;
    ssize_t n = sendmsg(connection->fds[!direction], &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno == EAGAIN)
        flow->blocked = true;
    else if (n < 0)
        fail(connection, !direction);
    if (n < 0)
        return false;
    lines[direction].bytes += (uint64_t)n;
    drop_sent(flow, (size_t)n);
    return true;
}

static void abort_side(int fd) {
    if (fd < 0)
        return;
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    close(fd);
}

static void abort_connection(struct connection *connection) {
    abort_side(connection->fds[UP]);
    abort_side(connection->fds[DOWN]);
    connection->dead = true;
}

static void tell_ending(struct connection *connection, enum direction direction) {
    struct flow *flow = &connection->flows[direction];
    if (flow->ending == RST) {
        abort_connection(connection);
        return;
    }
    shutdown(connection->fds[!direction], SHUT_WR);
    flow->told = true;
    if (connection->flows[!direction].told) {
        close(connection->fds[UP]);
        close(connection->fds[DOWN]);
        connection->dead = true;
    }
}

static void give(struct connection *connection, enum direction direction) {
    struct flow *flow = &connection->flows[direction];
    if (stalled(direction) || flow->blocked)
        return;
    while (give_some(connection, direction))
        ;
    if (!flow->head && flow->ending != OPEN && !flow->told && flow->end_us <= now_us)
        tell_ending(connection, direction);
}

/* When the flow has something to do without being woken by a socket. */
static uint64_t next_us(const struct flow *flow, enum direction direction) {
    uint64_t due = UINT64_MAX, readable = readable_us(flow, direction);
    if (!stalled(direction) && !flow->blocked && flow->head)
        due = flow->head->due_us;
    else if (!stalled(direction) && !flow->blocked && flow->ending != OPEN && !flow->told)
        due = flow->end_us;
    if (readable > now_us && readable < due)
        due = readable;
    return due;
}

/* --- connections --- */

static int open_socket(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die("socket");
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){SOCKET_BYTES}, sizeof(int));
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){SOCKET_BYTES}, sizeof(int));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    return fd;
}

static void add_connection(int client) {
    struct connection *connection = calloc(1, sizeof *connection);
    if (!connection)
        die("connection");
    int target = open_socket();
    connect(target, (struct sockaddr *)&target_address, sizeof target_address); /* a failure shows on reading */
    connection->fds[UP] = client;
    connection->fds[DOWN] = target;
    for (int i = 0; i < 2; i++)
        connection->flows[i].tail = &connection->flows[i].head;
    connection->flows[UP].blocked = true; /* until it is connected */
    connections[connection_count++] = connection;
    accepted++;
}

static void accept_all(void) {
    while (connection_count < CONNECTIONS_MAX) {
        struct sockaddr_in peer = {0};
        socklen_t len = sizeof peer;
        int fd = accept4(listener, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        if (peer.sin_port == filler_address.sin_port && peer.sin_addr.s_addr == filler_address.sin_addr.s_addr) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        add_connection(fd);
    }
}

static void remove_dead(void) {
    int kept = 0;
    for (int i = 0; i < connection_count; i++) {
        struct connection *connection = connections[i];
        if (!connection->dead) {
            connections[kept++] = connection;
            continue;
        }
        for (int direction = UP; direction <= DOWN; direction++)
            while (connection->flows[direction].head)
                drop_head(&connection->flows[direction]);
        free(connection);
    }
    connection_count = kept;
}

/* --- the listener --- */

static void open_listener(void) {
    socklen_t len = sizeof listen_address;
    listener = open_socket();
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(listener, (struct sockaddr *)&listen_address, len) < 0 || listen(listener, BACKLOG) < 0 ||
        getsockname(listener, (struct sockaddr *)&listen_address, &len) < 0)
        die("listen");
}

/* Linux answers no SYN while as many connections wait to be accepted as the backlog allows, and one more: of a backlog
 * of 0 that one is made here. */
static void turn_deaf(void) {
    socklen_t len = sizeof filler_address;
    if (listener < 0 || filler >= 0)
        return;
    accept_all();
    listen(listener, 0);
    filler = open_socket();
    connect(filler, (struct sockaddr *)&listen_address, sizeof listen_address);
    getsockname(filler, (struct sockaddr *)&filler_address, &len);
}

static void hear_again(void) {
    if (filler < 0)
        return;
    close(filler);
    filler = -1;
    if (listener >= 0) {
        listen(listener, BACKLOG);
        accept_all();
    }
    filler_address.sin_port = 0;
}

/* Nothing answers across a partition, no refusal either. */
static void set_listener(void) {
    bool wanted = partitioned || !refusing;
    if (!wanted && listener >= 0) {
        close(listener);
        listener = -1;
    }
    if (wanted && listener < 0)
        open_listener();
    if (partitioned)
        turn_deaf();
    else
        hear_again();
}

/* --- commands --- */

__attribute__((format(printf, 1, 2))) static void answer(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
}

static double *setting(struct impairment *is, const char *name) {
    static const struct {
        const char *name;
        size_t offset;
    } names[] = {
        {"delay_ms", offsetof(struct impairment, delay_ms)},   {"jitter_ms", offsetof(struct impairment, jitter_ms)},
        {"rate_kbps", offsetof(struct impairment, rate_kbps)}, {"queue_ms", offsetof(struct impairment, queue_ms)},
        {"loss", offsetof(struct impairment, loss)},           {"loss_ms", offsetof(struct impairment, loss_ms)},
        {"stall", offsetof(struct impairment, stall)},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(names[i].name, name))
            return (double *)((char *)is + names[i].offset);
    return NULL;
}

/* NULL, or what it does not understand. */
static const char *set(struct impairment *is, char *words) {
    for (char *rest, *word = strtok_r(words, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        char *value = strchr(word, '='), *after = NULL;
        if (value)
            *value++ = '\0';
        double *it = setting(is, word), number = value ? strtod(value, &after) : -1;
        if (!it || number < 0 || after == value || *after)
            return word;
        *it = number;
    }
    return NULL;
}

static void change_lines(bool up, bool down, char *words) {
    struct impairment changed[2] = {lines[UP].is, lines[DOWN].is};
    char again[COMMAND_BYTES];
    snprintf(again, sizeof again, "%s", words);
    const char *wrong = set(&changed[UP], words);
    if (wrong) {
        answer("error %s", wrong);
        return;
    }
    set(&changed[DOWN], again);
    if (up)
        lines[UP].is = changed[UP];
    if (down)
        lines[DOWN].is = changed[DOWN];
    answer("ok");
}

static void change_listener(bool *flag, const char *value) {
    if (strcmp(value, "on") && strcmp(value, "off")) {
        answer("error on or off, not %s", value);
        return;
    }
    *flag = !strcmp(value, "on");
    set_listener();
    answer("ok");
}

static void reset_all(void) {
    for (int i = 0; i < connection_count; i++)
        abort_connection(connections[i]);
    remove_dead();
    answer("ok");
}

static void clear(void) {
    partitioned = refusing = false;
    set_listener();
    for (int i = 0; i < 2; i++)
        lines[i].is = unimpaired;
    answer("ok");
}

static void print_stats(void) {
    size_t queued[2] = {0};
    for (int i = 0; i < connection_count; i++)
        for (int direction = UP; direction <= DOWN; direction++)
            queued[direction] += connections[i]->flows[direction].queued;
    answer("{\"connections\": %d, \"accepted\": %ju, \"up\": {\"bytes\": %ju, \"queued\": %zu, \"lost\": %ju}, "
           "\"down\": {\"bytes\": %ju, \"queued\": %zu, \"lost\": %ju}}",
           connection_count, (uintmax_t)accepted, (uintmax_t)lines[UP].bytes, queued[UP], (uintmax_t)lines[UP].lost,
           (uintmax_t)lines[DOWN].bytes, queued[DOWN], (uintmax_t)lines[DOWN].lost);
}

static void obey(char *command) {
    char *words = strchr(command, ' ');
    if (words)
        *words++ = '\0';
    else
        words = command + strlen(command);
    bool both = !strcmp(command, "both");
    if (both || !strcmp(command, "up") || !strcmp(command, "down"))
        change_lines(both || *command == 'u', both || *command == 'd', words);
    else if (!strcmp(command, "partition"))
        change_listener(&partitioned, words);
    else if (!strcmp(command, "refuse"))
        change_listener(&refusing, words);
    else if (!strcmp(command, "reset"))
        reset_all();
    else if (!strcmp(command, "clear"))
        clear();
    else if (!strcmp(command, "stats"))
        print_stats();
    else
        answer("error %s", command);
}

static void read_commands(void) {
    static char text[COMMAND_BYTES];
    static size_t len;
    ssize_t n = read(STDIN_FILENO, text + len, sizeof text - len);
    if (n <= 0)
        exit(0);
    len += (size_t)n;
    for (char *newline; (newline = memchr(text, '\n', len));) {
        *newline = '\0';
        size_t whole = (size_t)(newline - text) + 1;
        obey(text);
        len -= whole;
        memmove(text, text + whole, len);
    }
    if (len == sizeof text)
        exit(1);
}

/* --- the loop --- */

static struct pollfd watch(const struct connection *connection, int side) {
    const struct flow *from = &connection->flows[side], *to = &connection->flows[!side];
    bool reads = readable_us(from, side) == now_us;
    bool writes = to->blocked && !stalled(!side);
    /* Without either it is watched for a reset, unless it can't tell any more: one that has ended both ways says "hung
     * up". */
    bool resets = !stalled(side) && !(from->ending != OPEN && to->told);
    struct pollfd entry = {.fd = reads || writes || resets ? connection->fds[side] : -1};
    entry.events = (short)((reads ? POLLIN : 0) | (writes ? POLLOUT : 0));
    return entry;
}

static void serve_side(struct connection *connection, int side, const struct pollfd *entry) {
    if (connection->fds[side] < 0 || !entry->revents)
        return;
    if (entry->revents & (POLLOUT | POLLERR | POLLHUP))
        connection->flows[!side].blocked = false;
    if (entry->events & POLLIN)
        take(connection, side);
    else if (entry->revents & (POLLERR | POLLHUP))
        fail(connection, side);
}

static void wait_until(struct pollfd *entries, int count, uint64_t until_us) {
    uint64_t wait_us = until_us > now_us ? until_us - now_us : 0;
    struct timespec wait = {(time_t)(wait_us / 1000000), (long)(wait_us % 1000000 * 1000)};
    if (ppoll(entries, (nfds_t)count, until_us == UINT64_MAX ? NULL : &wait, NULL) < 0 && errno != EINTR)
        die("poll");
    now_us = clock_us();
}

static uint64_t deliver(void) {
    uint64_t next = UINT64_MAX;
    for (int i = 0; i < connection_count; i++)
        for (int direction = UP; direction <= DOWN && !connections[i]->dead; direction++)
            give(connections[i], direction);
    remove_dead();
    for (int i = 0; i < connection_count; i++)
        for (int direction = UP; direction <= DOWN; direction++) {
            uint64_t at = next_us(&connections[i]->flows[direction], direction);
            next = at < next ? at : next;
        }
    return next;
}

static void turn(void) {
    static struct pollfd entries[2 + 2 * CONNECTIONS_MAX];
    uint64_t next = deliver();
    int watched = connection_count;
    bool hears = !partitioned && connection_count < CONNECTIONS_MAX;
    entries[0] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
    entries[1] = (struct pollfd){.fd = hears ? listener : -1, .events = POLLIN};
    for (int i = 0; i < watched; i++)
        for (int side = UP; side <= DOWN; side++)
            entries[2 + 2 * i + side] = watch(connections[i], side);
    wait_until(entries, 2 + 2 * watched, next);
    for (int i = 0; i < watched; i++)
        for (int side = UP; side <= DOWN; side++)
            serve_side(connections[i], side, &entries[2 + 2 * i + side]);
    if (entries[1].revents)
        accept_all();
    if (entries[0].revents) /* last: it may take connections away */
        read_commands();
}

static struct sockaddr_in parse_address(char *text) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    char *colon = strrchr(text, ':');
    if (colon) {
        *colon = '\0';
        address.sin_port = htons((uint16_t)atoi(colon + 1));
    }
    if (!colon || inet_pton(AF_INET, text, &address.sin_addr) != 1) {
        fprintf(stderr, "impair: no address of IPv4 with a port: %s\n", text);
        exit(2);
    }
    return address;
}

int main(int argc, char **argv) {
    char address[INET_ADDRSTRLEN];
    struct rlimit limit;
    if (argc != 3) {
        fputs("usage: impair LISTEN:PORT TARGET:PORT\n", stderr);
        return 2;
    }
    listen_address = parse_address(argv[1]);
    target_address = parse_address(argv[2]);
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    prctl(PR_SET_TIMERSLACK, 1000);
    lines[UP].is = lines[DOWN].is = unimpaired;
    open_listener();
    inet_ntop(AF_INET, &listen_address.sin_addr, address, sizeof address);
    answer("listen %s:%u", address, ntohs(listen_address.sin_port));
    for (now_us = clock_us();;)
        turn();
}
