/* Threads on blocking connections: one that sends and one that receives,
 * others that cancel, close and free, peers that send before they receive,
 * and servers whose accepted connections live in threads of their own.
 *
 * Nothing here waits for a while in the hope that a thread is somewhere: it
 * is known (the channel tells who waits), or it does not matter.  TEST_SMALL=1
 * in the environment: less of everything, for tools that are slow. */
#include "lookup.h"
#define WSOCK_IMPLEMENTATION
#include "../../wsock.h"
#include "test.h"
#include "net.h"
#include <sys/ioctl.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)       \
    || __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif
#if defined(__SANITIZE_THREAD__)
#define THREAD_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define THREAD_SANITIZED 1
#endif
#endif
#ifndef THREAD_SANITIZED
#define THREAD_SANITIZED 0
#endif

/* Where the content of messages is cut from. */
enum { MESSAGE_MOST = 70000 };
static uint8_t pattern[MESSAGE_MOST + 256];

static void pattern_init(void)
{
    size_t i;
    if (pattern[0])
        return;
    for (i = 0; i < sizeof pattern; i++)
        pattern[i] = (uint8_t)('!' + (i * 7 + i / 251) % 90);
}

/* ----------------------------------------------------------------- pairs --
 * Two blocking connections that are joined: over TCP, over a pair of sockets
 * with little room that is a transport of ours (waited for by its fd), or
 * over the channel in memory (waited for by its `wait`). */

enum { OVER_TCP, OVER_SOCKETS, OVER_CHANNEL, KINDS };
static const char *const kind_names[] = { "TCP", "sockets", "channel" };

typedef struct fd_end {
    pthread_mutex_t lock;
    int fd, inside, overlaps;
} fd_end;

typedef struct pair {
    int kind;
    wsock *ws[2]; /* the client, the server */
    channel line;
    fd_end ends[2];
    wsock_io io[2];
    wsock_server *server;
    char url[64];
} pair;

static void fd_enter(fd_end *e)
{
    pthread_mutex_lock(&e->lock);
    e->overlaps += e->inside;
    e->inside = 1;
    pthread_mutex_unlock(&e->lock);
}

static void fd_leave(fd_end *e)
{
    pthread_mutex_lock(&e->lock);
    e->inside = 0;
    pthread_mutex_unlock(&e->lock);
}

static ptrdiff_t fd_result(ptrdiff_t n, int want)
{
    if (n >= 0)
        return n;
    return errno == EAGAIN || errno == EINTR ? want : WSOCK_TRANSPORT_ERROR;
}

static ptrdiff_t fd_read(void *user, void *data, size_t size)
{
    fd_end *e = (fd_end *)user;
    ptrdiff_t n;
    fd_enter(e);
    n = fd_result(recv(e->fd, data, size, MSG_DONTWAIT), WSOCK_WANT_READ);
    fd_leave(e);
    return n;
}

static ptrdiff_t fd_write(void *user, const wsock_buf *bufs, size_t count)
{
    fd_end *e = (fd_end *)user;
    ptrdiff_t n;
    (void)count;
    fd_enter(e);
    n = fd_result(send(e->fd, bufs[0].data, bufs[0].size,
                       MSG_DONTWAIT | MSG_NOSIGNAL), WSOCK_WANT_WRITE);
    fd_leave(e);
    return n;
}

static int fd_finish(void *user)
{
    fd_end *e = (fd_end *)user;
    shutdown(e->fd, SHUT_WR);
    return 0;
}

static intptr_t fd_fd(void *user)
{
    return ((fd_end *)user)->fd;
}

static void fd_close(void *user)
{
    fd_end *e = (fd_end *)user;
    close(e->fd);
    e->fd = -1;
}

/* Little room in the sockets of this program that have to do with a port. */
static void shrink(int port)
{
    int fd, room = 131072; /* less makes TCP wait for its timers */
    for (fd = 3; fd < 1024; fd++)
        if (net_port(fd) == port || net_peer_port(fd) == port) {
            setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
            setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
        }
}

/* The server's receive also returns pings and pongs: see start_receive(). */
static wsock_options control_options(void)
{
    return untimed(WSOCK_CONTROL);
}

/* A side that takes in next to nothing while it sends. */
static wsock_options deaf_options(void)
{
    wsock_options o = untimed(0);
    o.read_ahead = 1;
    return o;
}

static void *pair_server(void *user)
{
    pair *p = (pair *)user;
    if (p->kind == OVER_TCP)
        wsock_accept(p->server, &p->ws[1], WSOCK_NEVER);
    else
        wsock_attach(p->ws[1], &p->io[1]);
    return NULL;
}

/* Both open.  Options may be NULL: the patient ones. */
static void pair_init(pair *p, int kind, const wsock_options *client,
                      const wsock_options *server)
{
    wsock_options patient = untimed(0);
    int fds[2], i, room = 8192;
    pthread_t thread;
    guard();
    if (!client)
        client = &patient;
    if (!server)
        server = &patient;
    memset(p, 0, sizeof *p);
    pattern_init();
    p->kind = kind;
    channel_init(&p->line, 16384);
    if (kind == OVER_TCP) {
        p->server = wsock_listen("ws://127.0.0.1:0/", server);
        snprintf(p->url, sizeof p->url, "ws://127.0.0.1:%d/",
                 wsock_server_port(p->server));
    } else {
        p->ws[0] = wsock_new(WSOCK_CLIENT, "ws://h/", client);
        p->ws[1] = wsock_new(WSOCK_SERVER, NULL, server);
    }
    if (kind == OVER_SOCKETS && socketpair(AF_UNIX, SOCK_STREAM, 0, fds))
        test_die("no pair of sockets");
    for (i = 0; i < 2; i++) {
        p->io[i] = p->line.io[i];
        if (kind != OVER_SOCKETS)
            continue;
        setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
        memset(&p->io[i], 0, sizeof p->io[i]);
        pthread_mutex_init(&p->ends[i].lock, NULL);
        p->ends[i].fd = fds[i];
        p->io[i].read = fd_read;
        p->io[i].write = fd_write;
        p->io[i].finish = fd_finish;
        p->io[i].fd = fd_fd;
        p->io[i].close = fd_close;
        p->io[i].user = &p->ends[i];
    }
    CHECK_INT(pthread_create(&thread, NULL, pair_server, p), 0);
    if (kind == OVER_TCP)
        p->ws[0] = wsock_connect(p->url, client);
    else
        wsock_attach(p->ws[0], &p->io[0]);
    pthread_join(thread, NULL);
    if (!CHECK_RESULT(wsock_error(p->ws[0]), WSOCK_OK)
        || !CHECK_RESULT(wsock_error(p->ws[1]), WSOCK_OK))
        test_die("the two are not open");
    if (kind == OVER_TCP)
        shrink(wsock_server_port(p->server));
}

static void pair_free(pair *p)
{
    int i;
    for (i = 0; i < 2; i++)
        wsock_free(p->ws[i]);
    wsock_server_free(p->server);
    for (i = 0; i < 2; i++) {
        if (p->kind == OVER_SOCKETS) {
            CHECK_INT(p->ends[i].overlaps, 0);
            CHECK_INT(p->ends[i].fd, -1);
            pthread_mutex_destroy(&p->ends[i].lock);
        }
        if (p->kind != OVER_CHANNEL)
            p->line.end[i].closed = 1;
    }
    channel_free(&p->line);
}

/* -------------------------------------------------------------- messages --
 * A message is known by its seed and number: kind, size and content. */

typedef struct message {
    unsigned kind;
    const uint8_t *data;
    size_t size;
    size_t cut; /* sent in two parts, the first of so many bytes; 0: not */
    int ping;   /* a ping goes before it */
} message;

static message message_of(uint32_t seed, int number)
{
    uint32_t x = seed * 2654435761u + (uint32_t)number * 40503u + 1;
    message m;
    int i;
    for (i = 0; i < 3; i++)
        test_random_word(&x);
    m.kind = x & 1 ? WSOCK_TEXT : WSOCK_BINARY;
    m.size = x >> 8 & 255;
    if ((x >> 16 & 7) == 0)
        m.size = x >> 7 & 8191;
    if ((x >> 16 & 63) == 1)
        m.size = x % MESSAGE_MOST;
    m.data = pattern + (x >> 20 & 255);
    m.cut = (x >> 5 & 7) == 0 ? m.size / 3 : 0;
    m.ping = (x >> 9 & 31) == 0;
    return m;
}

static int message_send(wsock *ws, const message *m)
{
    int r = WSOCK_OK;
    if (m->ping)
        r = wsock_send(ws, WSOCK_PING, "between", 7);
    if (r == WSOCK_OK && m->cut)
        r = wsock_send(ws, m->kind | WSOCK_FRAGMENT, m->data, m->cut);
    if (r == WSOCK_OK)
        r = wsock_send(ws, m->kind, m->data + m->cut, m->size - m->cut);
    return r;
}

/* Threads may not print: they count what is wrong, and remember the first. */
typedef struct talk {
    pthread_t thread;
    wsock *ws;
    uint32_t seed;
    int count;        /* messages to send or to expect */
    int done;         /* of these */
    int result;       /* of the last call */
    int wrong;        /* number of the first message that was, plus 1 */
    int goes_on;      /* receive again after CANCELLED */
    size_t at;        /* bytes of the message that is being received */
    wsock_status got; /* the last */
} talk;

static void start(pthread_t *thread, void *(*run)(void *), void *user)
{
    if (pthread_create(thread, NULL, run, user))
        test_die("no thread");
}

static void talk_start(talk *t, void *(*run)(void *), wsock *ws,
                       uint32_t seed, int count)
{
    memset(t, 0, sizeof *t);
    t->ws = ws;
    t->seed = seed;
    t->count = count;
    start(&t->thread, run, t);
}

static void talk_join(talk *t)
{
    pthread_join(t->thread, NULL);
}

/* Its last call ends, or has ended, with this. */
static void check_end(talk *t, int want)
{
    talk_join(t);
    CHECK_RESULT(t->result, want);
}

static void *talk_send(void *user)
{
    talk *t = (talk *)user;
    while (t->done < t->count) {
        message m = message_of(t->seed, t->done);
        t->result = message_send(t->ws, &m);
        if (t->result != WSOCK_OK)
            break;
        t->done++;
    }
    return NULL;
}

/* What came is held against what should. */
static void talk_check(talk *t, const uint8_t *data)
{
    message m = message_of(t->seed, t->done);
    size_t n = t->got.bytes;
    int good = (t->got.kind & 15) == m.kind && t->at + n <= m.size
               && memcmp(data, m.data + t->at, n) == 0;
    t->at += n;
    if (!(t->got.kind & WSOCK_FRAGMENT)) {
        good = good && t->at == m.size;
        t->at = 0;
        t->done++;
    }
    if (!good && !t->wrong)
        t->wrong = t->done + 1;
}

/* Until `count` messages have come, or Close, or a failure. */
static void *talk_receive(void *user)
{
    talk *t = (talk *)user;
    uint8_t data[5000];
    while (t->done < t->count) {
        t->got.kind = 0;
        t->result = wsock_receive(t->ws, data, sizeof data, &t->got);
        if (t->result == WSOCK_CANCELLED && t->goes_on)
            continue;
        if (t->result != WSOCK_OK || t->got.kind == WSOCK_CLOSE)
            break;
        talk_check(t, data);
    }
    return NULL;
}

/* The same, and cancels do not end it. */
static void *talk_receive_on(void *user)
{
    talk *t = (talk *)user;
    t->goes_on = 1;
    return talk_receive(t);
}

/* One receive. */
static void *talk_once(void *user)
{
    talk *t = (talk *)user;
    static uint8_t data[KINDS * 64];
    t->result = wsock_receive(t->ws, data, sizeof data, &t->got);
    return NULL;
}

/* One send, of more than any transport here takes. */
enum { TOO_MUCH = 8 << 20 };
static uint8_t too_much[TOO_MUCH];

static void *talk_too_much(void *user)
{
    talk *t = (talk *)user;
    t->result = wsock_send(t->ws, WSOCK_BINARY, too_much, sizeof too_much);
    return NULL;
}

static void *talk_close(void *user)
{
    talk *t = (talk *)user;
    t->result = wsock_close(t->ws, 1000, "bye");
    return NULL;
}

static void *talk_dial(void *user)
{
    talk *t = (talk *)user;
    t->result = wsock_dial(t->ws);
    return NULL;
}

#define EACH_KIND(kind)                                                       \
    for ((kind) = 0; (kind) < KINDS; (kind)++)

/* ----------------------------------------------------------- full duplex -- */

/* Each side has a thread that sends and one that receives, all at once. */
TEST(full_duplex)
{
    int kind, turn, i;
    EACH_KIND(kind)
        for (turn = 0; turn < 2; turn++) {
            int count = net_small(SANITIZED ? 400 : 2000, 60);
            talk out[2], in[2];
            pair p;
            test_note("over %s, turn %d", kind_names[kind], turn);
            pair_init(&p, kind, NULL, NULL);
            for (i = 0; i < 2; i++) {
                uint32_t seed = (uint32_t)(100 * kind + 10 * turn);
                talk_start(&out[i], talk_send, p.ws[i],
                           seed + (uint32_t)i, count);
                talk_start(&in[i], talk_receive, p.ws[i],
                           seed + (uint32_t)!i, count);
            }
            for (i = 0; i < 2; i++) {
                talk_join(&out[i]);
                talk_join(&in[i]);
                CHECK_RESULT(out[i].result, WSOCK_OK);
                CHECK_RESULT(in[i].result, WSOCK_OK);
                CHECK_INT(out[i].done, count);
                CHECK_INT(in[i].done, count);
                CHECK_INT(in[i].wrong, 0);
            }
            talk_start(&in[1], talk_once, p.ws[1], 0, 1);
            CHECK_RESULT(wsock_close(p.ws[0], 1000, "bye"), WSOCK_OK);
            talk_join(&in[1]);
            CHECK_RESULT(in[1].result, WSOCK_OK);
            CHECK_INT(in[1].got.kind, WSOCK_CLOSE);
            CHECK_RESULT(wsock_error(p.ws[0]), WSOCK_OK);
            CHECK_RESULT(wsock_error(p.ws[1]), WSOCK_OK);
            pair_free(&p);
        }
}

/* "WSOCK_INVALID_OPERATION: another thread receives". */
TEST(one_receiver_at_a_time)
{
    talk first, second;
    pair p;
    pair_init(&p, OVER_CHANNEL, NULL, NULL);
    talk_start(&first, talk_once, p.ws[0], 0, 1);
    channel_await(&p.line, 0);
    talk_start(&second, talk_once, p.ws[0], 0, 1);
    check_end(&second, WSOCK_INVALID_OPERATION);
    CHECK_RESULT(wsock_send(p.ws[1], WSOCK_TEXT, "x", 1), WSOCK_OK);
    check_end(&first, WSOCK_OK);
    CHECK_RESULT(wsock_error(p.ws[0]), WSOCK_OK);
    pair_free(&p);
}

/* A receive of `ws[0]` that is under way for certain: only that can have
 * answered a ping. */
static void start_receive(pair *p, talk *in)
{
    wsock_status got;
    char text[16];
    talk_start(in, talk_once, p->ws[0], 0, 1);
    if (p->kind == OVER_CHANNEL) {
        channel_await(&p->line, 0);
        return;
    }
    CHECK_RESULT(wsock_send(p->ws[1], WSOCK_PING, "there?", 6), WSOCK_OK);
    CHECK_RESULT(wsock_receive(p->ws[1], text, sizeof text, &got), WSOCK_OK);
    CHECK_INT(got.kind, WSOCK_PONG);
}

/* A send of `ws[0]` that is under way: something of it has come. */
static void start_send(pair *p, talk *out)
{
    wsock_status got;
    char text[16];
    talk_start(out, talk_too_much, p->ws[0], 0, 1);
    if (p->kind == OVER_CHANNEL) {
        channel_await_full(&p->line, 0);
        return;
    }
    CHECK_RESULT(wsock_receive(p->ws[1], text, sizeof text, &got), WSOCK_OK);
    CHECK_INT(got.kind, WSOCK_BINARY | WSOCK_FRAGMENT);
}

static void start_both(pair *p, talk *in, talk *out)
{
    start_receive(p, in);
    start_send(p, out);
}

/* wsock_free() of `ws[0]`, while calls of other threads are inside. */
static void free_first(pair *p)
{
    wsock_free(p->ws[0]);
    p->ws[0] = NULL;
}

/* ------------------------------------------------ sending before reading -- */

typedef struct loud {
    pthread_t thread;
    wsock *ws;
    size_t piece, total;
    int results[2], wrong;
} loud;

/* Sends all. */
static void *loud_send(void *user)
{
    loud *l = (loud *)user;
    uint8_t *data = (uint8_t *)malloc(l->piece);
    size_t i, at;
    for (i = 0; i < l->piece; i++)
        data[i] = pattern[i % MESSAGE_MOST];
    for (at = 0; at < l->total && l->results[0] == WSOCK_OK; at += l->piece)
        l->results[0] = wsock_send(l->ws, WSOCK_BINARY, data, l->piece);
    free(data);
    return NULL;
}

/* Sends all, then receives as much. */
static void *loud_run(void *user)
{
    loud *l = (loud *)user;
    static const size_t buffer = 65536;
    uint8_t *got = (uint8_t *)malloc(buffer);
    size_t i, at;
    wsock_status status;
    loud_send(l);
    for (at = 0; at < l->total && l->results[1] == WSOCK_OK;) {
        l->results[1] = wsock_receive(l->ws, got, buffer, &status);
        if (l->results[1] != WSOCK_OK)
            break;
        for (i = 0; i < status.bytes; i += 4099)
            l->wrong += got[i] != pattern[(at + i) % l->piece % MESSAGE_MOST];
        at += status.bytes;
        l->wrong += (status.kind & WSOCK_FRAGMENT)
                        ? 0
                        : at % l->piece != 0;
    }
    free(got);
    return NULL;
}

static void loud_start(loud *l, void *(*run)(void *), wsock *ws,
                       size_t piece, size_t total)
{
    memset(l, 0, sizeof *l);
    l->ws = ws;
    l->piece = piece;
    l->total = total;
    start(&l->thread, run, l);
}

/* Its calls have gone well, and what it received was right. */
static void loud_check(loud *l)
{
    pthread_join(l->thread, NULL);
    CHECK_RESULT(l->results[0], WSOCK_OK);
    CHECK_RESULT(l->results[1], WSOCK_OK);
    CHECK_INT(l->wrong, 0);
}

/* "Two peers that send before they receive do not wait for each other":
 * in many messages, and in one. */
TEST(two_peers_send_before_they_receive)
{
    size_t total = (size_t)net_small(SANITIZED ? 4 : 64, 1) << 20;
    int kind, whole, i;
    EACH_KIND(kind)
        for (whole = 0; whole < 2; whole++) {
            loud l[2];
            pair p;
            test_note("over %s, %s", kind_names[kind],
                      whole ? "one message" : "many messages");
            pair_init(&p, kind, NULL, NULL);
            for (i = 0; i < 2; i++)
                loud_start(&l[i], loud_run, p.ws[i],
                           whole ? total : 1 << 18, total);
            for (i = 0; i < 2; i++)
                loud_check(&l[i]);
            pair_free(&p);
        }
}

/* "...up to options.read_ahead": then they do wait for each other, until the
 * time of one is up. */
TEST(what_is_taken_in_has_a_limit)
{
    wsock_options o;
    int kind, i;
    EACH_KIND(kind) {
        loud l[2];
        pair p;
        test_note("over %s", kind_names[kind]);
        o = untimed(0);
        o.read_ahead = 65536;
        o.send_timeout = 300;
        o.close_timeout = 300;
        pair_init(&p, kind, &o, &o);
        for (i = 0; i < 2; i++)
            loud_start(&l[i], loud_run, p.ws[i], 4 << 20, 4 << 20);
        for (i = 0; i < 2; i++)
            pthread_join(l[i].thread, NULL);
        CHECK(l[0].results[0] == WSOCK_TIMED_OUT
              || l[1].results[0] == WSOCK_TIMED_OUT);
        for (i = 0; i < 2; i++) {
            CHECK(l[i].results[0] == WSOCK_TIMED_OUT
                  || l[i].results[0] == WSOCK_CONNECTION_LOST);
            CHECK_RESULT(wsock_error(l[i].ws), l[i].results[0]);
        }
        pair_free(&p);
    }
}

/* What was taken in by a send, a Close included, is for the next receives, in
 * order. */
TEST(what_is_taken_in_is_received_later)
{
    wsock_options deaf = deaf_options();
    int kind;
    EACH_KIND(kind) {
        int count = net_small(300, 60);
        talk out, in;
        loud l;
        pair p;
        test_note("over %s", kind_names[kind]);
        pair_init(&p, kind, NULL, &deaf);
        /* The peer sends, says Close, and only then receives. */
        talk_start(&out, talk_send, p.ws[1], 7, count);
        loud_start(&l, loud_send, p.ws[0], 1 << 20, 1 << 20);
        check_end(&out, WSOCK_OK);
        CHECK_RESULT(wsock_shutdown(p.ws[1], 4000, "said all"), WSOCK_OK);
        {
            uint8_t *got = (uint8_t *)malloc(1 << 16);
            wsock_status status;
            size_t sum = 0;
            while (sum < l.total
                   && CHECK_RESULT(wsock_receive(p.ws[1], got, 1 << 16,
                                                 &status), WSOCK_OK))
                sum += status.bytes;
            free(got);
        }
        pthread_join(l.thread, NULL);
        CHECK_RESULT(l.results[0], WSOCK_OK);
        talk_start(&in, talk_receive, p.ws[0], 7, count + 1);
        check_end(&in, WSOCK_OK);
        CHECK_INT(in.done, count);
        CHECK_INT(in.wrong, 0);
        CHECK_INT(in.got.kind, WSOCK_CLOSE);
        pair_free(&p);
    }
}

/* A receiver that goes away leaves the reading to the sender that waits: the
 * peer sends all that it has before it reads. */
TEST(the_sender_takes_over_when_the_receiver_leaves)
{
    wsock_options deaf = deaf_options();
    int kind;
    deaf.flags = WSOCK_CONTROL; /* for start_receive() */
    EACH_KIND(kind) {
        talk in;
        loud mine, theirs;
        pair p;
        test_note("over %s", kind_names[kind]);
        pair_init(&p, kind, NULL, &deaf);
        start_receive(&p, &in);
        loud_start(&mine, loud_run, p.ws[0], 1 << 16, 1 << 20);
        if (kind == OVER_CHANNEL) /* the sender is held up for certain */
            channel_await_full(&p.line, 0);
        /* One message ends the receive; then there is the rest. */
        CHECK_RESULT(wsock_send(p.ws[1], WSOCK_TEXT, "go away", 7),
                     WSOCK_OK);
        loud_start(&theirs, loud_run, p.ws[1], 1 << 16, 1 << 20);
        check_end(&in, WSOCK_OK);
        loud_check(&mine);
        loud_check(&theirs);
        pair_free(&p);
    }
}

/* Bytes that wait to be read by `ws[0]`. */
static int unread(pair *p)
{
    const channel_end *e = &p->line.end[0];
    int n = 0;
    if (p->kind == OVER_CHANNEL) {
        pthread_mutex_lock(&p->line.lock);
        n = (int)(e->in.size - e->at);
        pthread_mutex_unlock(&p->line.lock);
    } else {
        ioctl(p->ends[0].fd, FIONREAD, &n);
    }
    return n;
}

/* The same with a peer that takes nothing at all: the sender learns that the
 * receiver has left although nothing else has changed. */
TEST(the_sender_is_told_when_the_receiver_leaves)
{
    wsock_options control = control_options();
    int kind;
    for (kind = OVER_SOCKETS; kind <= OVER_CHANNEL; kind++) {
        talk in, out;
        pair p;
        test_note("over %s", kind_names[kind]);
        pair_init(&p, kind, NULL, &control);
        start_both(&p, &in, &out);
        CHECK_RESULT(wsock_send(p.ws[1], WSOCK_TEXT, "go away", 7),
                     WSOCK_OK);
        check_end(&in, WSOCK_OK);
        CHECK_RESULT(wsock_send(p.ws[1], WSOCK_TEXT, "more", 4), WSOCK_OK);
        while (unread(&p) > 0) /* nobody but the sender is there */
            poll(NULL, 0, 1);
        free_first(&p);
        check_end(&out, WSOCK_CANCELLED);
        pair_free(&p);
    }
}

static void line_holds(pair *p, size_t capacity)
{
    pthread_mutex_lock(&p->line.lock);
    p->line.capacity = capacity;
    pthread_cond_broadcast(&p->line.moved);
    pthread_mutex_unlock(&p->line.lock);
}

/* Both wait for room, the receiver is the one that sees it, and writes all
 * that is left: a socket need not be writable again after that, but the send
 * is done. */
TEST(the_sender_is_told_when_the_receiver_has_written)
{
    talk in, out;
    pair p;
    pair_init(&p, OVER_CHANNEL, NULL, NULL);
    p.line.end[0].single = 1;
    start_both(&p, &in, &out);
    pthread_mutex_lock(&p.line.lock);
    while (p.line.end[0].waiting < 2)
        pthread_cond_wait(&p.line.moved, &p.line.lock);
    pthread_mutex_unlock(&p.line.lock);
    line_holds(&p, 2 * TOO_MUCH);
    CHECK_RESULT(wsock_send(p.ws[1], WSOCK_PING, "look", 4), WSOCK_OK);
    check_end(&out, WSOCK_OK);
    CHECK_INT(wsock_queued(p.ws[0]), 0);
    CHECK_RESULT(wsock_send(p.ws[1], WSOCK_TEXT, "done", 4), WSOCK_OK);
    check_end(&in, WSOCK_OK);
    pair_free(&p);
}

/* ---------------------------------------------------------------- cancel -- */

/* "Let a wsock_receive() that waits, or else the next one, return
 * WSOCK_CANCELLED"; "a cancelled receive may be made again". */
TEST(cancel_a_receive)
{
    int kind, i;
    EACH_KIND(kind) {
        int turns = net_small(60, 10);
        talk in;
        pair p;
        test_note("over %s", kind_names[kind]);
        pair_init(&p, kind, NULL, NULL);
        for (i = 0; i < turns; i++) { /* whether it waits already or not */
            talk_start(&in, talk_once, p.ws[0], 0, 1);
            if (kind == OVER_CHANNEL && i % 2)
                channel_await(&p.line, 0);
            CHECK_RESULT(wsock_cancel(p.ws[0]), WSOCK_OK);
            check_end(&in, WSOCK_CANCELLED);
        }
        CHECK_RESULT(wsock_cancel(p.ws[0]), WSOCK_OK); /* the next one */
        talk_start(&in, talk_once, p.ws[0], 0, 1);
        check_end(&in, WSOCK_CANCELLED);
        CHECK_RESULT(wsock_error(p.ws[0]), WSOCK_OK);
        CHECK_RESULT(wsock_send(p.ws[1], WSOCK_TEXT, "hello", 5), WSOCK_OK);
        talk_start(&in, talk_once, p.ws[0], 0, 1);
        check_end(&in, WSOCK_OK);
        CHECK_INT(in.got.bytes, 5);
        pair_free(&p);
    }
}

/* Half a message that a cancelled receive had taken is not lost. */
TEST(cancel_inside_a_message)
{
    uint8_t data[64];
    wsock_status got;
    talk in;
    pair p;
    pair_init(&p, OVER_CHANNEL, NULL, NULL);
    CHECK_RESULT(wsock_send(p.ws[1], WSOCK_TEXT | WSOCK_FRAGMENT, "one ", 4),
                 WSOCK_OK);
    start_receive(&p, &in);
    CHECK_RESULT(wsock_cancel(p.ws[0]), WSOCK_OK);
    check_end(&in, WSOCK_CANCELLED);
    CHECK_RESULT(wsock_send(p.ws[1], WSOCK_TEXT, "message", 7), WSOCK_OK);
    CHECK_RESULT(wsock_receive(p.ws[0], data, sizeof data, &got), WSOCK_OK);
    CHECK_INT(got.kind, WSOCK_TEXT);
    CHECK_BYTES(data, got.bytes, "one message", 11);
    pair_free(&p);
}

/* A message that has come does not eat the cancel up: if this receive hands
 * it out, the next one is cancelled. */
TEST(cancel_beside_a_message)
{
    int kind, turn;
    EACH_KIND(kind)
        for (turn = 0; turn < net_small(20, 5); turn++) {
            uint8_t data[64];
            wsock_status got;
            int i, messages = 0, cancels = 0;
            pair p;
            test_note("over %s", kind_names[kind]);
            pair_init(&p, kind, NULL, NULL);
            CHECK_RESULT(wsock_send(p.ws[1], WSOCK_TEXT, "x", 1), WSOCK_OK);
            CHECK_RESULT(wsock_cancel(p.ws[0]), WSOCK_OK);
            for (i = 0; i < 2; i++) {
                int r = wsock_receive(p.ws[0], data, sizeof data, &got);
                messages += r == WSOCK_OK;
                cancels += r == WSOCK_CANCELLED;
            }
            CHECK_INT(messages, 1);
            CHECK_INT(cancels, 1);
            pair_free(&p);
        }
}

/* What a cancelled dial leaves behind. */
static void check_cancelled(talk *dial)
{
    wsock_status got;
    char text[8];
    check_end(dial, WSOCK_CANCELLED);
    CHECK_RESULT(wsock_error(dial->ws), WSOCK_CANCELLED);
    CHECK_RESULT(wsock_send(dial->ws, WSOCK_TEXT, "x", 1), WSOCK_CANCELLED);
    CHECK_RESULT(wsock_receive(dial->ws, text, sizeof text, &got),
                 WSOCK_CANCELLED);
    CHECK_INT(wsock_state(dial->ws), WSOCK_STATE_CLOSED);
    wsock_free(dial->ws);
}

/* "A cancelled dial is the end": while a server says nothing. */
TEST(cancel_a_dial_that_waits_for_an_answer)
{
    wsock_options o = untimed(0);
    int fd = raw_listen("127.0.0.1", 0, 8), peer;
    bytes in = { 0 };
    char url[64];
    talk dial;
    guard();
    snprintf(url, sizeof url, "ws://127.0.0.1:%d/", net_port(fd));
    talk_start(&dial, talk_dial, wsock_new(WSOCK_CLIENT, url, &o), 0, 1);
    peer = accept(fd, NULL, NULL);
    while (!raw_head(&in)) { /* the request: it is under way */
        raw_wait(peer);
        raw_read(peer, &in);
    }
    CHECK_RESULT(wsock_cancel(dial.ws), WSOCK_OK);
    check_cancelled(&dial);
    close(peer);
    close(fd);
    bytes_free(&in);
}

/* ...while the name is looked up, and while nobody answers at its address. */
TEST(cancel_a_dial_that_has_no_connection_yet)
{
    wsock_options o = untimed(0);
    int threads = net_threads(), turn;
    black_hole hole;
    char url[64];
    talk dial;
    guard();
    if (!black_hole_open(&hole, "127.0.0.1", 0))
        test_die("no address to be silent at");
    snprintf(url, sizeof url, "ws://hole.test:%d/", net_port(hole.fd[0]));
    for (turn = 0; turn < 2; turn++) {
        test_note("turn %d", turn);
        lookup_set("127.0.0.1", "", turn == 0);
        talk_start(&dial, talk_dial, wsock_new(WSOCK_CLIENT, url, &o), 0, 1);
        lookup_wait_begun(1);
        if (turn)
            lookup_wait_ended(1);
        CHECK_RESULT(wsock_cancel(dial.ws), WSOCK_OK);
        check_cancelled(&dial);
        lookup_release();
        lookup_wait_idle();
        net_wait_threads(threads);
    }
    black_hole_close(&hole);
}

/* ...and while a transport of ours opens. */
typedef struct slow_io {
    channel line;
    wsock_io io;
    talk dial;
} slow_io;

static int slow_open(void *user, const char *host, int port)
{
    (void)user;
    (void)host;
    (void)port;
    return WSOCK_WANT_READ;
}

/* A dial that waits for it. */
static void slow_init(slow_io *s)
{
    wsock_options o = untimed(0);
    guard();
    channel_init(&s->line, 100);
    s->io = s->line.io[0];
    s->io.open = slow_open;
    o.io = &s->io;
    talk_start(&s->dial, talk_dial, wsock_new(WSOCK_CLIENT, "ws://h/", &o),
               0, 1);
    channel_await(&s->line, 0);
}

static void slow_free(slow_io *s)
{
    s->line.end[1].closed = 1; /* was never used */
    channel_free(&s->line);
}

TEST(cancel_a_dial_of_a_transport_of_ours)
{
    slow_io s;
    slow_init(&s);
    CHECK_RESULT(wsock_cancel(s.dial.ws), WSOCK_OK);
    check_cancelled(&s.dial);
    slow_free(&s);
}

static void *talk_attach(void *user)
{
    talk *t = (talk *)user;
    channel_end *e = (channel_end *)wsock_user(t->ws);
    t->result = wsock_attach(t->ws, &e->of->io[e->side]);
    return NULL;
}

/* ...and a server's end that waits because its answer is not taken. */
TEST(cancel_an_attach_whose_answer_is_not_taken)
{
    wsock_options o = untimed(0);
    channel c;
    talk t;
    guard();
    o.send_timeout = WSOCK_NEVER;
    channel_init(&c, 10);
    o.user = &c.end[1];
    bytes_text(&c.end[1].in, TEST_REQUEST);
    talk_start(&t, talk_attach, wsock_new(WSOCK_SERVER, NULL, &o), 0, 1);
    channel_await_full(&c, 1);
    CHECK_RESULT(wsock_cancel(t.ws), WSOCK_OK);
    check_end(&t, WSOCK_CANCELLED);
    wsock_free(t.ws);
    c.end[0].closed = 1; /* was never used */
    channel_free(&c);
}

/* The same by wsock_free(): it waits for the dial, which ends. */
TEST(free_while_a_dial_waits)
{
    slow_io s;
    slow_init(&s);
    wsock_free(s.dial.ws);
    check_end(&s.dial, WSOCK_CANCELLED);
    slow_free(&s);
}

/* -------------------------------------------------------- close and free -- */

/* "wsock_close(): a wsock_receive() of another thread returns
 * WSOCK_CANCELLED first". */
TEST(close_while_a_receive_waits)
{
    wsock_options control = control_options();
    int kind;
    EACH_KIND(kind) {
        talk in, peer;
        pair p;
        test_note("over %s", kind_names[kind]);
        pair_init(&p, kind, NULL, &control);
        start_receive(&p, &in);
        talk_start(&peer, talk_once, p.ws[1], 0, 1);
        CHECK_RESULT(wsock_close(p.ws[0], 1001, "leaving"), WSOCK_OK);
        check_end(&in, WSOCK_CANCELLED);
        check_end(&peer, WSOCK_OK);
        CHECK_INT(peer.got.kind, WSOCK_CLOSE);
        CHECK_INT(wsock_state(p.ws[0]), WSOCK_STATE_CLOSED);
        CHECK_RESULT(wsock_error(p.ws[0]), WSOCK_OK);
        talk_start(&in, talk_once, p.ws[0], 0, 1); /* and another one */
        check_end(&in, WSOCK_INVALID_OPERATION);
        pair_free(&p);
    }
}

/* "wsock_free() cancels the calls of other threads" and returns after them. */
TEST(free_while_a_receive_waits)
{
    wsock_options control = control_options();
    int kind, turn;
    EACH_KIND(kind)
        for (turn = 0; turn < net_small(10, 2); turn++) {
            talk in;
            pair p;
            test_note("over %s", kind_names[kind]);
            pair_init(&p, kind, NULL, &control);
            start_receive(&p, &in);
            free_first(&p);
            check_end(&in, WSOCK_CANCELLED);
            pair_free(&p);
        }
}

/* The peer does not read: a send waits, and ends by wsock_free(). */
TEST(free_while_a_send_waits)
{
    int kind, turn;
    EACH_KIND(kind)
        for (turn = 0; turn < net_small(10, 2); turn++) {
            talk out;
            pair p;
            test_note("over %s", kind_names[kind]);
            pair_init(&p, kind, NULL, NULL);
            start_send(&p, &out);
            free_first(&p);
            check_end(&out, WSOCK_CANCELLED);
            pair_free(&p);
        }
}

/* ...and both at once. */
TEST(free_while_both_wait)
{
    wsock_options control = control_options();
    int kind;
    EACH_KIND(kind) {
        talk in, out;
        pair p;
        test_note("over %s", kind_names[kind]);
        pair_init(&p, kind, NULL, &control);
        start_both(&p, &in, &out);
        free_first(&p);
        check_end(&in, WSOCK_CANCELLED);
        check_end(&out, WSOCK_CANCELLED);
        pair_free(&p);
    }
}

/* A close whose Close frame cannot leave, because a send waits and the peer
 * takes nothing: options.close_timeout, for both. */
TEST(close_while_a_send_waits_for_ever)
{
    wsock_options o = untimed(0);
    int kind;
    o.close_timeout = 300;
    EACH_KIND(kind) {
        talk out;
        pair p;
        test_note("over %s", kind_names[kind]);
        pair_init(&p, kind, &o, &o);
        start_send(&p, &out);
        CHECK_RESULT(wsock_close(p.ws[0], 1000, ""), WSOCK_TIMED_OUT);
        check_end(&out, WSOCK_TIMED_OUT);
        CHECK_RESULT(wsock_error(p.ws[0]), WSOCK_TIMED_OUT);
        CHECK_INT(wsock_state(p.ws[0]), WSOCK_STATE_CLOSED);
        pair_free(&p);
    }
}

/* ...but when the peer reads on, the message leaves whole, and then Close. */
TEST(close_while_a_send_waits_for_a_while)
{
    static uint8_t got[1 << 16];
    int kind;
    EACH_KIND(kind) {
        talk out, closing;
        wsock_status status;
        size_t sum = 0;
        pair p;
        test_note("over %s", kind_names[kind]);
        pair_init(&p, kind, NULL, NULL);
        start_send(&p, &out);
        if (kind != OVER_CHANNEL)
            sum = 16; /* that it took */
        talk_start(&closing, talk_close, p.ws[0], 0, 1);
        do {
            if (!CHECK_RESULT(wsock_receive(p.ws[1], got, sizeof got,
                                            &status), WSOCK_OK))
                break;
            sum += status.bytes;
        } while (status.kind & WSOCK_FRAGMENT);
        CHECK_INT(sum, TOO_MUCH);
        CHECK_RESULT(wsock_receive(p.ws[1], got, sizeof got, &status),
                     WSOCK_OK);
        CHECK_INT(status.kind, WSOCK_CLOSE);
        check_end(&out, WSOCK_OK);
        CHECK_RESULT(wsock_close(p.ws[1], 1000, ""), WSOCK_OK);
        check_end(&closing, WSOCK_OK);
        CHECK_RESULT(wsock_error(p.ws[0]), WSOCK_OK);
        pair_free(&p);
    }
}

/* wsock_shutdown() in one thread: the other goes on receiving. */
TEST(shutdown_while_a_receive_waits)
{
    int kind;
    EACH_KIND(kind) {
        int count = net_small(100, 30);
        talk in;
        wsock_status got;
        char text[64];
        int i;
        pair p;
        test_note("over %s", kind_names[kind]);
        pair_init(&p, kind, NULL, NULL);
        talk_start(&in, talk_receive, p.ws[0], 3, count + 1);
        CHECK_RESULT(wsock_shutdown(p.ws[0], 1000, "done"), WSOCK_OK);
        CHECK_RESULT(wsock_send(p.ws[0], WSOCK_TEXT, "x", 1),
                     WSOCK_INVALID_OPERATION);
        for (i = 0; i < count; i++) {
            message m = message_of(3, i);
            CHECK_RESULT(message_send(p.ws[1], &m), WSOCK_OK);
        }
        CHECK_RESULT(wsock_receive(p.ws[1], text, sizeof text, &got),
                     WSOCK_OK);
        CHECK_INT(got.kind, WSOCK_CLOSE);
        check_end(&in, WSOCK_OK);
        CHECK_INT(in.done, count);
        CHECK_INT(in.wrong, 0);
        CHECK_INT(in.got.kind, WSOCK_CLOSE);
        CHECK_RESULT(wsock_error(p.ws[0]), WSOCK_OK);
        pair_free(&p);
    }
}

/* A receive that returns CLOSE has answered: it waits until the transport has
 * taken that, as no other call may follow for long. */
TEST(a_receive_of_close_has_answered)
{
    talk in;
    wsock_status got;
    char text[64];
    pair p;
    pair_init(&p, OVER_CHANNEL, NULL, NULL);
    CHECK_RESULT(wsock_shutdown(p.ws[0], 1000, "done"), WSOCK_OK);
    line_holds(&p, 0);
    talk_start(&in, talk_receive, p.ws[1], 1, 1);
    channel_await(&p.line, 1);
    line_holds(&p, 1024);
    check_end(&in, WSOCK_OK);
    CHECK_INT(in.got.kind, WSOCK_CLOSE);
    CHECK_RESULT(wsock_receive(p.ws[0], text, sizeof text, &got), WSOCK_OK);
    CHECK_INT(got.kind, WSOCK_CLOSE);
    pair_free(&p);
}

/* ------------------------------------------------------------------ wake -- */

static wsock *wake_ws;

static void wake_handler(int number)
{
    (void)number;
    wsock_wake(wake_ws);
}

/* wsock_wake() in a signal handler, on the thread that receives or another:
 * the same as wsock_cancel(). */
TEST(wake_a_receive_from_a_signal_handler)
{
    struct sigaction action, before;
    int kind, i;
    memset(&action, 0, sizeof action);
    action.sa_handler = wake_handler;
    sigaction(SIGUSR1, &action, &before);
    for (kind = OVER_TCP; kind <= OVER_SOCKETS; kind++) {
        pair p;
        talk in;
        test_note("over %s", kind_names[kind]);
        pair_init(&p, kind, NULL, NULL);
        wake_ws = p.ws[0];
        for (i = 0; i < net_small(50, 10); i++) {
            talk_start(&in, talk_once, p.ws[0], 0, 1);
            /* ThreadSanitizer may keep a signal of another thread's to
             * itself until the thread does something else. */
            if (i % 2 && !THREAD_SANITIZED)
                pthread_kill(in.thread, SIGUSR1);
            else
                raise(SIGUSR1);
            check_end(&in, WSOCK_CANCELLED);
        }
        raise(SIGUSR1); /* before the next one */
        talk_start(&in, talk_once, p.ws[0], 0, 1);
        check_end(&in, WSOCK_CANCELLED);
        CHECK_RESULT(wsock_error(p.ws[0]), WSOCK_OK);
        pair_free(&p);
    }
    sigaction(SIGUSR1, &before, NULL);
}

static void *wake_run(void *user)
{
    channel *c = (channel *)user;
    channel_await(c, 0);
    wsock_wake(wake_ws);
    return NULL;
}

/* A polled connection whose transport has a `wait` of its own. */
TEST(wake_a_poll_over_a_transport_of_ours)
{
    wsock_options o;
    pthread_t thread;
    wsock_event e;
    channel c;
    wsock *ws;
    int i;
    guard();
    memset(&o, 0, sizeof o);
    o.flags = WSOCK_NONBLOCKING;
    o.handshake_timeout = WSOCK_NEVER;
    channel_init(&c, 1000);
    ws = wsock_new(WSOCK_SERVER, NULL, &o);
    CHECK_RESULT(wsock_attach(ws, &c.io[0]), WSOCK_OK);
    wake_ws = ws;
    CHECK_INT(wsock_poll(ws, &e, 0), 0);
    for (i = 0; i < 10; i++) {
        CHECK_INT(pthread_create(&thread, NULL, wake_run, &c), 0);
        CHECK_INT(wsock_poll(ws, &e, WSOCK_NEVER), 0);
        pthread_join(thread, NULL);
    }
    CHECK_RESULT(wsock_wake(ws), WSOCK_OK); /* and before the wait */
    CHECK_INT(wsock_poll(ws, &e, WSOCK_NEVER), 0);
    wsock_free(ws);
    c.end[1].closed = 1;
    channel_free(&c);
}

/* -------------------------------------------------------------- failures -- */

/* The peer is gone without a word while both threads wait: both hear of it,
 * and it sticks. */
TEST(the_peer_dies_while_both_wait)
{
    wsock_options control = control_options();
    int kind;
    EACH_KIND(kind) {
        talk in, out;
        pair p;
        test_note("over %s", kind_names[kind]);
        pair_init(&p, kind, NULL, &control);
        start_both(&p, &in, &out);
        if (kind == OVER_CHANNEL)
            channel_break(&p.line, 0);
        else
            wsock_abort(p.ws[1]);
        check_end(&in, WSOCK_CONNECTION_LOST);
        check_end(&out, WSOCK_CONNECTION_LOST);
        CHECK_RESULT(wsock_error(p.ws[0]), WSOCK_CONNECTION_LOST);
        CHECK_INT(wsock_state(p.ws[0]), WSOCK_STATE_CLOSED);
        CHECK_RESULT(wsock_close(p.ws[0], 1000, ""), WSOCK_CONNECTION_LOST);
        pair_free(&p);
    }
}

/* Writing fails, and there is nothing to be read: the thread that waits for
 * something to read hears of it all the same. */
TEST(writing_fails_while_a_receive_waits)
{
    talk in;
    pair p;
    pair_init(&p, OVER_CHANNEL, NULL, NULL);
    start_receive(&p, &in);
    pthread_mutex_lock(&p.line.lock);
    p.line.end[0].mute = 1;
    pthread_mutex_unlock(&p.line.lock);
    CHECK_RESULT(wsock_send(p.ws[0], WSOCK_TEXT, "x", 1),
                 WSOCK_CONNECTION_LOST);
    check_end(&in, WSOCK_CONNECTION_LOST);
    CHECK_RESULT(wsock_error(p.ws[0]), WSOCK_CONNECTION_LOST);
    pair_free(&p);
}

/* There is no memory for what a send masks: the thread that waits hears of
 * it, and so does the peer. */
TEST(a_send_without_memory_ends_the_receive)
{
    wsock_options o = untimed(0), control = control_options();
    uint8_t *data = test_pattern(20000);
    int kind, code = 0;
    o.max_memory = 16384; /* what a send masks into has that alone */
    o.receive_buffer = 4096;
    EACH_KIND(kind) {
        wsock_status got;
        char text[16];
        talk in;
        pair p;
        test_note("over %s", kind_names[kind]);
        pair_init(&p, kind, &o, &control);
        start_receive(&p, &in);
        CHECK_RESULT(wsock_send(p.ws[0], WSOCK_BINARY, data, 20000),
                     WSOCK_NO_MEMORY);
        check_end(&in, WSOCK_NO_MEMORY);
        CHECK_RESULT(wsock_receive(p.ws[1], text, sizeof text, &got),
                     WSOCK_OK);
        CHECK_INT(got.kind, WSOCK_CLOSE);
        CHECK_RESULT(wsock_close_status(p.ws[1], &code, NULL), WSOCK_OK);
        CHECK_INT(code, 1011);
        CHECK_RESULT(wsock_error(p.ws[0]), WSOCK_NO_MEMORY);
        CHECK_RESULT(wsock_send(p.ws[0], WSOCK_TEXT, "x", 1),
                     WSOCK_NO_MEMORY);
        pair_free(&p);
    }
    free(data);
}

/* A receive waits, and a send that the peer takes nothing of: one time-out
 * ends both. */
static void check_both_time_out(const wsock_options *o)
{
    wsock_options control = control_options();
    int kind;
    EACH_KIND(kind) {
        talk in, out;
        pair p;
        test_note("over %s", kind_names[kind]);
        pair_init(&p, kind, o, &control);
        start_receive(&p, &in);
        talk_start(&out, talk_too_much, p.ws[0], 0, 1);
        check_end(&out, WSOCK_TIMED_OUT);
        check_end(&in, WSOCK_TIMED_OUT);
        CHECK_RESULT(wsock_error(p.ws[0]), WSOCK_TIMED_OUT);
        pair_free(&p);
    }
}

/* stall_timeout is all that is timed. */
TEST(a_stall_ends_both)
{
    wsock_options o = untimed(0);
    o.stall_timeout = 300;
    check_both_time_out(&o);
}

/* A send whose time is up ends a receive that waits, too. */
TEST(a_send_that_times_out_ends_the_receive)
{
    wsock_options o = untimed(0);
    o.send_timeout = 300;
    check_both_time_out(&o);
}

/* ------------------------------------------------------------- schedules -- */

/* The peer of the schedules: echoes until it ends. */
static void *echo_run(void *user)
{
    talk *t = (talk *)user;
    uint8_t data[4000];
    wsock_status got;
    while ((t->result = wsock_receive(t->ws, data, sizeof data, &got))
               == WSOCK_OK
           && got.kind != WSOCK_CLOSE) {
        t->result = wsock_send(t->ws, got.kind, data, got.bytes);
        if (t->result != WSOCK_OK && t->result != WSOCK_CLOSED
            && t->result != WSOCK_INVALID_OPERATION)
            break;
    }
    wsock_close(t->ws, 1000, "");
    return NULL;
}

static int is_one_of(int result, int a, int b, int c, int d)
{
    return result == a || result == b || result == c || result == d;
}

/* Three threads on one connection, by the seed: one sends, one receives what
 * the peer echoes, and the third cancels, wakes, asks and in the end closes,
 * or the peer dies. */
TEST(schedules_by_seed)
{
    int rounds = net_small(SANITIZED ? 100 : 200, 12), round;
    for (round = 0; round < rounds; round++) {
        uint32_t seed = (uint32_t)round * 7919u + 17u;
        int kind = round % KINDS, actions, i, dies;
        talk out, in, peer;
        pair p;
        test_note("round %d over %s", round, kind_names[kind]);
        pair_init(&p, kind, NULL, NULL);
        dies = test_random_word(&seed) % 5 == 0 && kind == OVER_CHANNEL;
        talk_start(&peer, echo_run, p.ws[1], 0, 0);
        talk_start(&in, talk_receive_on, p.ws[0], (uint32_t)round, 1000000);
        talk_start(&out, talk_send, p.ws[0], (uint32_t)round,
                   (int)(test_random_word(&seed) % 60));
        actions = (int)(test_random_word(&seed) % 30);
        for (i = 0; i < actions; i++) {
            uint32_t x = test_random_word(&seed), k;
            if (x % 4 == 0)
                CHECK_RESULT(wsock_cancel(p.ws[0]), WSOCK_OK);
            else if (x % 4 == 1 && kind != OVER_CHANNEL)
                CHECK_RESULT(wsock_wake(p.ws[0]), WSOCK_OK);
            else
                for (k = 0; k < (x >> 8 & 63); k++)
                    sched_yield();
        }
        if (dies)
            channel_break(&p.line, 0);
        CHECK_RESULT(wsock_close(p.ws[0], 1000, ""),
                     dies ? WSOCK_CONNECTION_LOST : WSOCK_OK);
        talk_join(&out);
        talk_join(&in);
        talk_join(&peer);
        CHECK(is_one_of(out.result, WSOCK_OK, WSOCK_INVALID_OPERATION,
                        dies ? WSOCK_CONNECTION_LOST : WSOCK_OK,
                        WSOCK_CLOSED));
        CHECK(is_one_of(in.result, WSOCK_INVALID_OPERATION,
                        dies ? WSOCK_CONNECTION_LOST : WSOCK_CLOSED,
                        WSOCK_OK, WSOCK_CLOSED));
        CHECK_INT(in.wrong, 0); /* nothing lost, nothing twice */
        CHECK(in.done <= out.done + 1);
        pair_free(&p);
    }
}

/* wsock_free() at a moment that the seed picks, with a receive and a send
 * under way. */
TEST(freed_at_any_moment)
{
    int rounds = net_small(SANITIZED ? 60 : 150, 10), round;
    for (round = 0; round < rounds; round++) {
        uint32_t seed = (uint32_t)round * 104729u + 3u, k;
        talk in, out, peer;
        pair p;
        test_note("round %d", round);
        pair_init(&p, OVER_CHANNEL, NULL, NULL);
        start_both(&p, &in, &out);
        /* Both are inside.  The peer now begins to take it. */
        talk_start(&peer, talk_receive, p.ws[1], 0, 1000000);
        for (k = 0; k < (test_random_word(&seed) & 127); k++)
            sched_yield();
        free_first(&p);
        talk_join(&in);
        talk_join(&out);
        CHECK_RESULT(in.result, WSOCK_CANCELLED);
        if (out.result != WSOCK_OK) /* else the peer was quick */
            CHECK_RESULT(out.result, WSOCK_CANCELLED);
        check_end(&peer, WSOCK_CONNECTION_LOST);
        pair_free(&p);
    }
}

/* ---------------------------------------------------------------- server -- */

typedef struct visitor {
    pthread_t thread;
    char url[64];
    uint32_t seed;
    int count, done, failures;
} visitor;

/* A client that sends messages and checks what comes back. */
static void *visitor_run(void *user)
{
    visitor *v = (visitor *)user;
    uint8_t *data = (uint8_t *)malloc(MESSAGE_MOST);
    wsock *ws = wsock_connect(v->url, NULL);
    wsock_status got;
    for (v->done = 0; v->done < v->count; v->done++) {
        message m = message_of(v->seed, v->done);
        v->failures += message_send(ws, &m) != WSOCK_OK;
        memset(&got, 0, sizeof got);
        v->failures += wsock_receive(ws, data, MESSAGE_MOST, &got)
                       != WSOCK_OK;
        v->failures += got.bytes != m.size || got.kind != m.kind
                       || memcmp(data, m.data, m.size) != 0;
    }
    v->failures += wsock_close(ws, 1000, "bye") != WSOCK_OK;
    wsock_free(ws);
    free(data);
    return NULL;
}

/* The server's side of one: in its own thread, and freed there. */
static void *host_run(void *user)
{
    talk *t = (talk *)user;
    echo_run(t);
    t->result = wsock_error(t->ws);
    wsock_free(t->ws);
    return NULL;
}

/* Every accepted connection in a thread of its own, freed there, while the
 * server goes on accepting; the last live on after the server. */
TEST(accepted_connections_in_their_threads)
{
    enum { MOST = 24 };
    static visitor visitors[MOST];
    static talk hosts[MOST];
    int count = net_small(SANITIZED ? 12 : MOST, 6), i;
    wsock_server *server = wsock_listen("ws://127.0.0.1:0/", NULL);
    guard();
    pattern_init();
    CHECK_RESULT(wsock_server_error(server), WSOCK_OK);
    for (i = 0; i < count; i++) {
        memset(&visitors[i], 0, sizeof visitors[i]);
        snprintf(visitors[i].url, sizeof visitors[i].url,
                 "ws://127.0.0.1:%d/", wsock_server_port(server));
        visitors[i].seed = (uint32_t)i;
        visitors[i].count = net_small(20, 5);
        start(&visitors[i].thread, visitor_run, &visitors[i]);
    }
    for (i = 0; i < count; i++) {
        wsock *ws = NULL;
        CHECK_RESULT(wsock_accept(server, &ws, WSOCK_NEVER), WSOCK_OK);
        talk_start(&hosts[i], host_run, ws, 0, 0);
    }
    wsock_server_free(server);
    for (i = 0; i < count; i++) {
        test_note("connection %d", i);
        talk_join(&hosts[i]);
        CHECK_RESULT(hosts[i].result, WSOCK_OK);
        pthread_join(visitors[i].thread, NULL);
        CHECK_INT(visitors[i].done, visitors[i].count);
        CHECK_INT(visitors[i].failures, 0);
    }
}

static wsock_server *wake_server;

static void *wake_server_run(void *user)
{
    wsock_server_wake(wake_server);
    return user;
}

/* wsock_server_wake() from another thread, before the wait and in it. */
TEST(wake_a_server)
{
    wsock_server *server = wsock_listen("ws://127.0.0.1:0/", NULL);
    pthread_t thread;
    wsock *ws;
    int i;
    guard();
    wake_server = server;
    for (i = 0; i < net_small(50, 10); i++) {
        CHECK_INT(pthread_create(&thread, NULL, wake_server_run, NULL), 0);
        CHECK_RESULT(wsock_accept(server, &ws, WSOCK_NEVER),
                     WSOCK_TIMED_OUT);
        pthread_join(thread, NULL);
    }
    wsock_server_free(server);
}

/* Nothing is left behind: no thread, no descriptor. */
static int descriptors_before, threads_before;

TEST(count_what_is_there)
{
    descriptors_before = test_descriptors();
    threads_before = net_threads();
    CHECK(descriptors_before > 0 && threads_before > 0);
}

TEST(all_is_back)
{
    if (!descriptors_before) {
        test_skip("run alone");
        return;
    }
    CHECK_INT(test_descriptors(), descriptors_before);
    net_wait_threads(threads_before);
    CHECK(net_threads() <= threads_before);
}

static const test_case tests[] = {
    TEST_ENTRY(count_what_is_there),
    TEST_ENTRY(full_duplex),
    TEST_ENTRY(one_receiver_at_a_time),
    TEST_ENTRY(two_peers_send_before_they_receive),
    TEST_ENTRY(what_is_taken_in_has_a_limit),
    TEST_ENTRY(what_is_taken_in_is_received_later),
    TEST_ENTRY(the_sender_takes_over_when_the_receiver_leaves),
    TEST_ENTRY(the_sender_is_told_when_the_receiver_leaves),
    TEST_ENTRY(the_sender_is_told_when_the_receiver_has_written),
    TEST_ENTRY(cancel_a_receive),
    TEST_ENTRY(cancel_inside_a_message),
    TEST_ENTRY(cancel_beside_a_message),
    TEST_ENTRY(cancel_a_dial_that_waits_for_an_answer),
    TEST_ENTRY(cancel_a_dial_that_has_no_connection_yet),
    TEST_ENTRY(cancel_a_dial_of_a_transport_of_ours),
    TEST_ENTRY(cancel_an_attach_whose_answer_is_not_taken),
    TEST_ENTRY(free_while_a_dial_waits),
    TEST_ENTRY(close_while_a_receive_waits),
    TEST_ENTRY(free_while_a_receive_waits),
    TEST_ENTRY(free_while_a_send_waits),
    TEST_ENTRY(free_while_both_wait),
    TEST_ENTRY(close_while_a_send_waits_for_ever),
    TEST_ENTRY(close_while_a_send_waits_for_a_while),
    TEST_ENTRY(shutdown_while_a_receive_waits),
    TEST_ENTRY(a_receive_of_close_has_answered),
    TEST_ENTRY(wake_a_receive_from_a_signal_handler),
    TEST_ENTRY(wake_a_poll_over_a_transport_of_ours),
    TEST_ENTRY(the_peer_dies_while_both_wait),
    TEST_ENTRY(writing_fails_while_a_receive_waits),
    TEST_ENTRY(a_send_without_memory_ends_the_receive),
    TEST_ENTRY(a_stall_ends_both),
    TEST_ENTRY(a_send_that_times_out_ends_the_receive),
    TEST_ENTRY(schedules_by_seed),
    TEST_ENTRY(freed_at_any_moment),
    TEST_ENTRY(accepted_connections_in_their_threads),
    TEST_ENTRY(wake_a_server),
    TEST_ENTRY(all_is_back)
};

TEST_MAIN("threads", tests)
