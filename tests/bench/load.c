/* load.c - the load on a server, and what the server spends on it.  Built with
 * -DLOAD_TLS -lssl it is the same load over TLS: see link.h.
 *
 *     load [--raw] --port P [--pid PID] [--conns C] [--size S] [--window W]
 *          [--messages N | --seconds T] [--text ascii|cjk] [--fanout]
 *     load [--raw] --port P [--pid PID] [--conns C] --handshakes N
 *     load [--raw] --port P --pid PID --idle N1 N2 [--size S --touch]
 *
 * The first opens C connections and then, on each of them, sends W messages
 * at once, waits until all have come back, and so on, N messages in all, or
 * for T seconds, after a round that is not counted.  With --fanout only the
 * first connection sends, and every one gets all that it sends.  What comes
 * back is compared byte by byte.  It prints
 *     messages  wall-clock seconds  seconds of CPU that PID used
 * (--fanout: the messages that were received).  The second does N handshakes,
 * C at a time, each on a new connection that it closes once the server has
 * agreed; it prints the same.  The third opens N1 and then N2 connections
 * that say nothing, or with --touch nothing but one message, and prints
 *     resident bytes of PID at N1, at N2
 *
 * It knows as much of RFC 6455 as this needs and uses nothing of wsock: a
 * library is not measured with itself.  --raw: no handshake and no frames;
 * a handshake is then the same bytes, sent and echoed.
 * The masking key is the same for every frame, so that one prepared buffer
 * is sent again and again and the load costs next to nothing. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct conn {
    int fd;
    void *tls;     /* see link.h */
    int resumes;   /* ... */
    size_t out;    /* bytes of the batch that are written */
    size_t in;     /* bytes of the batch that came back */
    size_t rounds; /* batches still to do, with this one */
    int writing;   /* waits for EPOLLOUT */
};

static struct {
    int raw, port, conns, window, text, fanout, idle1, idle2, touch;
    pid_t pid;
    size_t size, messages, handshakes;
    double seconds;
} o = {0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 125, 10000, 0, 0};

enum { BINARY, ASCII, CJK }; /* o.text */
enum { EVENTS = 512, HEAD = 2048 };

static uint8_t *batch, *answer; /* what is sent, and what must come back */
static size_t batch_size, answer_size;
static uint8_t buffer[1 << 18];
static struct conn *conns;
static size_t rounds_done; /* batches that came back, on all connections */
static int fan_left;       /* who has not got a fan-out's batch yet */
static double deadline;    /* 0: so many rounds instead */

static void die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void usage(void)
{
    fprintf(stderr, "load: see the top of load.c for the arguments\n");
    exit(2);
}

#include "link.h"

/* --------------------------------------------------------------- messages */

/* A frame's header into p; its size (RFC 6455 5.2). */
static size_t put_header(uint8_t *p, size_t n, int masked)
{
    uint8_t bit = masked ? 0x80 : 0;
    size_t at = 2, i;
    p[0] = o.text == BINARY ? 0x82 : 0x81;
    if (n < 126) {
        p[1] = (uint8_t)(bit | n);
    } else if (n < 65536) {
        p[1] = bit | 126;
        p[2] = (uint8_t)(n >> 8);
        p[3] = (uint8_t)n;
        at = 4;
    } else {
        p[1] = bit | 127;
        for (i = 0; i < 8; i++)
            p[2 + i] = (uint8_t)((uint64_t)n >> (56 - 8 * i));
        at = 10;
    }
    return at;
}

/* The payload of message w: letters, or characters of three bytes each. */
static void put_payload(uint8_t *p, size_t w)
{
    size_t i = 0;
    for (; o.text == CJK && i + 3 <= o.size; i += 3) {
        unsigned c = 0x4E00 + (unsigned)((i * 7 + w) % 20000);
        p[i] = (uint8_t)(0xE0 | c >> 12);
        p[i + 1] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
        p[i + 2] = (uint8_t)(0x80 | (c & 0x3F));
    }
    for (; i < o.size; i++) p[i] = (uint8_t)('a' + (i * 7 + w) % 26);
}

static void prepare(void)
{
    static const uint8_t key[4] = {0x37, 0xFA, 0x21, 0x3D};
    size_t w, i;
    batch = malloc((o.size + 14) * (size_t)o.window);
    answer = malloc((o.size + 14) * (size_t)o.window);
    if (!batch || !answer) die("memory");
    for (w = 0; w < (size_t)o.window; w++) {
        if (!o.raw) {
            batch_size += put_header(batch + batch_size, o.size, 1);
            memcpy(batch + batch_size, key, 4);
            batch_size += 4;
            answer_size += put_header(answer + answer_size, o.size, 0);
        }
        put_payload(answer + answer_size, w);
        for (i = 0; i < o.size; i++) {
            uint8_t c = answer[answer_size++];
            batch[batch_size++] = o.raw ? c : c ^ key[i & 3];
        }
    }
}

/* ------------------------------------------------------------ connections */

static const char request[] =
    "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/* The head of a WebSocket answer ends with an empty line; a raw one is what
 * was sent, which does, too. */
static int is_answer(const char *head, size_t n)
{
    if (n < 16 || memcmp(head + n - 4, "\r\n\r\n", 4) != 0) return 0;
    if (memcmp(head, o.raw ? "GET / HTTP/1.1" : "HTTP/1.1 101",
               o.raw ? 14 : 12) == 0)
        return 1;
    fprintf(stderr, "load: refused: %.*s\n", (int)n, head);
    exit(1);
}

static void shake_hands(struct conn *c)
{
    char head[2048];
    size_t n = 0;
    ssize_t got;
    if (link_send(c, request, sizeof request - 1) < 0) die("send");
    do {
        if (n == sizeof head
            || (got = link_recv(c, head + n, sizeof head - n)) <= 0)
            die("the handshake");
        n += (size_t)got;
    } while (!is_answer(head, n));
}

static int connected(void)
{
    struct sockaddr_in a;
    struct timeval limit;
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    memset(&a, 0, sizeof a);
    a.sin_family = AF_INET;
    a.sin_port = htons((unsigned short)o.port);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0) die("socket");
    limit.tv_sec = 30; /* a server that hangs must not hang the benchmark */
    limit.tv_usec = 0;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0) die("connect");
    return fd;
}

/* It never waits any more. */
static void be_quick(const struct conn *c)
{
    if (fcntl(c->fd, F_SETFL, O_NONBLOCK) < 0) die("fcntl");
}

static void open_conn(struct conn *c)
{
    c->fd = connected();
    link_begin(c);
    if (!link_up(c)) die("the handshake");
    shake_hands(c);
}

/* -------------------------------------------------------------- measuring */

static double wall(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* User and system time of the server, in nanoseconds' resolution: the
 * process clock is finer than the ticks of /proc/PID/stat. */
static double cpu(void)
{
    clockid_t clock;
    struct timespec t;
    if (!o.pid) return 0;
    if (clock_getcpuclockid(o.pid, &clock) != 0
        || clock_gettime(clock, &t) != 0)
        die("the server's CPU clock");
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static long resident(void)
{
    char name[64], line[256];
    long kib = -1;
    FILE *f;
    sprintf(name, "/proc/%ld/status", (long)o.pid);
    f = fopen(name, "r");
    if (!f) die(name);
    while (fgets(line, sizeof line, f))
        if (strncmp(line, "VmRSS:", 6) == 0) kib = atol(line + 6);
    fclose(f);
    return kib * 1024;
}

/* ------------------------------------------------------------------- load */

static void watch(int ep, int op, struct conn *c)
{
    struct epoll_event e;
    memset(&e, 0, sizeof e);
    e.events = EPOLLIN | (c->writing ? (unsigned)EPOLLOUT : 0u);
    e.data.ptr = c;
    if (epoll_ctl(ep, op, c->fd, &e) < 0) die("epoll_ctl");
}

static void write_batch(int ep, struct conn *c)
{
    int writing = 0;
    while (c->out < batch_size) {
        ssize_t n = link_send(c, batch + c->out, link_most(c));
        if (n < 0 && errno != EAGAIN) die("send");
        if (n < 0) {
            writing = 1;
            break;
        }
        c->out += (size_t)n;
    }
    if (writing != c->writing) {
        c->writing = writing;
        watch(ep, EPOLL_CTL_MOD, c);
    }
}

/* Is what it has done enough?  A round is a batch on each connection. */
static int is_done(struct conn *c)
{
    rounds_done++;
    if (deadline) return wall() >= deadline;
    return --c->rounds == 0;
}

/* A fan-out's next batch leaves when everyone has the one before. */
static int fan_done(int ep)
{
    if (--fan_left) return 0;
    if (is_done(conns)) return 1;
    fan_left = o.conns;
    conns->out = 0;
    write_batch(ep, conns);
    return 0;
}

/* Returns 1 when the connection has done all its batches. */
static int read_batch(int ep, struct conn *c)
{
    for (;;) {
        ssize_t n = link_recv(c, buffer, sizeof buffer);
        if (n < 0 && errno == EAGAIN) return 0;
        if (n < 0) die("recv");
        if (n == 0 || (size_t)n > answer_size - c->in
            || memcmp(buffer, answer + c->in, (size_t)n) != 0) {
            fprintf(stderr, "load: %s\n",
                    n ? "what came back is not what was sent"
                      : "the server closed the connection");
            exit(1);
        }
        c->in += (size_t)n;
        if (c->in == answer_size) {
            c->in = 0;
            if (o.fanout) return fan_done(ep);
            c->out = 0;
            if (is_done(c)) return 1;
            write_batch(ep, c);
            return 0; /* the answer is not there yet: spare a recv */
        }
        if (link_is_empty((size_t)n, sizeof buffer)) return 0;
    }
}

static int wait_for(int ep, struct epoll_event *events)
{
    int n = epoll_wait(ep, events, EVENTS, 60000);
    if (n > 0) return n;
    fprintf(stderr, "load: nothing came back for a minute\n");
    exit(1);
}

/* So many batches on each connection, or until `deadline`.  Returns the
 * messages that came back. */
static size_t run(int ep, size_t rounds)
{
    struct epoll_event events[EVENTS];
    int left = o.fanout ? 1 : o.conns, i, n;
    rounds_done = 0;
    fan_left = o.conns;
    for (i = 0; i < left; i++) {
        conns[i].rounds = rounds;
        conns[i].out = 0;
        write_batch(ep, &conns[i]);
    }
    while (left) {
        n = wait_for(ep, events);
        for (i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT) write_batch(ep, c);
            if (events[i].events & ~(unsigned)EPOLLOUT)
                left -= read_batch(ep, c);
        }
    }
    return rounds_done * (size_t)o.window
           * (o.fanout ? (size_t)o.conns : 1);
}

static void report(size_t n, double since, double used)
{
    printf("%lu %.6f %.9f\n", (unsigned long)n, wall() - since, cpu() - used);
}

static void load(void)
{
    int ep = epoll_create1(0), i;
    size_t senders = o.fanout ? 1 : (size_t)o.conns;
    size_t rounds = o.messages / (senders * (size_t)o.window), n;
    double since, used;
    if (!rounds) rounds = 1;
    prepare();
    for (i = 0; i < o.conns; i++) {
        open_conn(&conns[i]);
        be_quick(&conns[i]);
        watch(ep, EPOLL_CTL_ADD, &conns[i]);
    }
    if (o.seconds > 0) run(ep, 1); /* nothing is cold any more */
    since = wall();
    used = cpu();
    if (o.seconds > 0) deadline = since + o.seconds;
    n = run(ep, rounds);
    report(n, since, used);
}

/* ------------------------------------------------------------- handshakes */

/* The request leaves as soon as it may. */
static void ask(struct conn *c)
{
    if (c->out || !link_up(c)) return;
    c->out = sizeof request - 1;
    if (link_send(c, request, c->out) < 0) die("send");
}

static void begin_handshake(int ep, struct conn *c)
{
    c->fd = connected();
    c->in = c->out = 0;
    be_quick(c);
    watch(ep, EPOLL_CTL_ADD, c);
    link_begin(c);
    ask(c);
}

/* A head may come in pieces, so it is collected: one buffer for each. */
static int go_on(struct conn *c, char *head)
{
    ssize_t n;
    ask(c);
    if (!c->out) return 0;
    n = link_recv(c, head + c->in, HEAD - c->in);
    if (n < 0 && errno == EAGAIN) return 0;
    if (n <= 0) die("the handshake");
    c->in += (size_t)n;
    if (!is_answer(head, c->in)) return 0;
    link_end(c);
    return 1;
}

static void handshakes(void)
{
    struct epoll_event events[EVENTS];
    char *heads = malloc((size_t)o.conns * HEAD);
    int ep = epoll_create1(0), i, n;
    size_t begun = 0, done = 0;
    double since, used;
    if (!heads) die("memory");
    link_prepare();
    since = wall();
    used = cpu();
    for (i = 0; i < o.conns && begun < o.handshakes; i++, begun++)
        begin_handshake(ep, &conns[i]);
    while (done < o.handshakes) {
        n = wait_for(ep, events);
        for (i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (!go_on(c, heads + (c - conns) * HEAD)) continue;
            done++;
            if (begun < o.handshakes) {
                begun++;
                begin_handshake(ep, c);
            }
        }
    }
    report(done, since, used);
}

/* ------------------------------------------------------------------- idle */

/* One message, and all of it back. */
static void touch(struct conn *c)
{
    ssize_t n;
    for (; c->out < batch_size; c->out += (size_t)n) {
        n = link_send(c, batch + c->out, link_most(c));
        if (n < 0) die("send");
    }
    for (; c->in < answer_size; c->in += (size_t)n) {
        n = link_recv(c, buffer, answer_size - c->in);
        if (n <= 0 || memcmp(buffer, answer + c->in, (size_t)n) != 0)
            die("the message");
    }
}

static void idle(void)
{
    struct timespec calm = {0, 300000000};
    long first = 0;
    int i;
    if (o.size > sizeof buffer) usage();
    prepare();
    for (i = 0; i < o.idle2; i++) {
        struct conn c;
        if (i == o.idle1) {
            nanosleep(&calm, NULL);
            first = resident();
        }
        memset(&c, 0, sizeof c);
        open_conn(&c);
        if (o.touch) touch(&c);
        link_leave(&c); /* stays open until this program ends */
    }
    nanosleep(&calm, NULL);
    printf("%ld %ld\n", first, resident());
}

static int text_kind(const char *name)
{
    if (strcmp(name, "ascii") == 0) return ASCII;
    if (strcmp(name, "cjk") == 0) return CJK;
    usage();
    return 0;
}

static void take(const char *name, const char *value)
{
    if (strcmp(name, "--port") == 0) o.port = atoi(value);
    else if (strcmp(name, "--pid") == 0) o.pid = atoi(value);
    else if (strcmp(name, "--conns") == 0) o.conns = atoi(value);
    else if (strcmp(name, "--window") == 0) o.window = atoi(value);
    else if (strcmp(name, "--size") == 0) o.size = strtoul(value, 0, 10);
    else if (strcmp(name, "--seconds") == 0) o.seconds = atof(value);
    else if (strcmp(name, "--text") == 0) o.text = text_kind(value);
    else if (strcmp(name, "--messages") == 0)
        o.messages = strtoul(value, 0, 10);
    else if (strcmp(name, "--handshakes") == 0)
        o.handshakes = strtoul(value, 0, 10);
    else if (!link_option(name, value))
        usage();
}

int main(int argc, char **argv)
{
    int i;
    for (i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (strcmp(a, "--raw") == 0) o.raw = 1;
        else if (strcmp(a, "--fanout") == 0) o.fanout = 1;
        else if (strcmp(a, "--touch") == 0) o.touch = 1;
        else if (strcmp(a, "--idle") == 0 && i + 2 < argc) {
            o.idle1 = atoi(argv[++i]);
            o.idle2 = atoi(argv[++i]);
        } else if (i + 1 < argc)
            take(a, argv[++i]);
        else
            usage();
    }
    if (!o.port || o.conns < 1 || o.window < 1 || (o.idle2 && !o.pid))
        usage();
    conns = calloc((size_t)o.conns, sizeof *conns);
    if (!conns) die("memory");
    if (o.idle2) idle();
    else if (o.handshakes) handshakes();
    else load();
    return 0;
}
