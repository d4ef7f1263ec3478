/* The connection layer over transports that are not sockets: the memory
 * pair with all its whims, and a filter that behaves as TLS does. */
#define WSOCK_IMPLEMENTATION
#include "../../wsock.h"
#include "test.h"
#include <errno.h>
#include <sys/socket.h>

/* ------------------------------------------------------ the toy filter --
 * A wsock_io around another one.  Everything travels in records of a type, a
 * 16-bit length and an XORed body.  It does what makes TLS hard to fit in:
 * a handshake of its own in `open`; reads that take more from below than
 * they hand out, so that what is held back no longer shows below; every
 * fifth record a demand for a new key, which has to be answered with a write
 * before anything more is read; and a write that has been encoded already
 * when the transport below refuses it. */

enum { RECORD_HELLO = 1, RECORD_DATA = 2, RECORD_REKEY = 3, RECORD_OK = 4,
       RECORD_END = 5, RECORD_MOST = 1000 };

typedef struct filter {
    const wsock_io *below;
    wsock_io under;     /* plugged in: what was wrapped */
    int allocated;      /* plugged in for a connection that nobody knows */
    int role;
    size_t most;        /* bytes that one read hands out; 0: any */
    bytes raw;          /* encoded, from below */
    size_t raw_at;
    bytes plain;        /* decoded, held back */
    size_t plain_at;
    bytes out;          /* encoded, not yet taken below */
    size_t out_at;
    size_t accepted;    /* of a write whose record waits in `out` */
    int hello_sent, hello_came, ended, end_sent;
    int broken;         /* writing has failed; reading may go on */
    int records, rekeys_answered;
    uint8_t key;
} filter;

/* Called with the number of each step of a server's handshake. */
static void (*server_step)(int n);
static int server_steps;

static void filter_record(filter *f, int type, const void *data, size_t n)
{
    uint8_t head[3];
    size_t i, at;
    head[0] = (uint8_t)type;
    head[1] = (uint8_t)(n >> 8);
    head[2] = (uint8_t)n;
    bytes_put(&f->out, head, 3);
    at = f->out.size;
    bytes_put(&f->out, data, n);
    for (i = 0; i < n; i++)
        f->out.data[at + i] ^= 0x5C;
}

/* 0 when all is out, else what the transport below said. */
static int filter_push(filter *f)
{
    if (f->broken)
        f->out_at = f->out.size = 0;
    while (f->out_at < f->out.size) {
        wsock_buf buf;
        ptrdiff_t n;
        buf.data = f->out.data + f->out_at;
        buf.size = f->out.size - f->out_at;
        n = f->below->write(f->below->user, &buf, 1);
        if (n == WSOCK_TRANSPORT_ERROR)
            f->broken = 1;
        if (n < 0)
            return (int)n;
        f->out_at += (size_t)n;
    }
    f->out_at = f->out.size = 0;
    return 0;
}

/* Decodes one record if it is there whole. */
static int filter_decode(filter *f)
{
    size_t left = f->raw.size - f->raw_at, n, i;
    uint8_t *p = f->raw.data + f->raw_at;
    if (left < 3)
        return 0;
    n = (size_t)p[1] << 8 | p[2];
    if (left < 3 + n)
        return 0;
    for (i = 0; i < n; i++)
        p[3 + i] ^= 0x5C;
    switch (p[0]) {
    case RECORD_HELLO: f->hello_came = 1; break;
    case RECORD_DATA: bytes_put(&f->plain, p + 3, n); break;
    case RECORD_REKEY:
        filter_record(f, RECORD_OK, "", 0);
        f->rekeys_answered++;
        break;
    case RECORD_OK: break;
    case RECORD_END: f->ended = 1; break;
    default: test_die("the filter read a record that is none");
    }
    f->raw_at += 3 + n;
    if (f->raw_at == f->raw.size)
        f->raw_at = f->raw.size = 0;
    return 1;
}

/* More from below.  1: something came; 0: the end below; else WANT, error. */
static int filter_pull(filter *f)
{
    uint8_t buffer[4096];
    ptrdiff_t n = f->below->read(f->below->user, buffer, sizeof buffer);
    if (n > 0) {
        bytes_put(&f->raw, buffer, (size_t)n);
        return 1;
    }
    return (int)n;
}

static int filter_open(void *user, const char *host, int port)
{
    filter *f = (filter *)user;
    int r, pushed;
    if (f->role == WSOCK_SERVER && server_step)
        server_step(++server_steps);
    if (f->below->open) {
        r = f->below->open(f->below->user, host, port);
        if (r)
            return r;
    }
    if (!f->hello_sent) {
        f->hello_sent = 1;
        filter_record(f, RECORD_HELLO, "hello", 5);
    }
    pushed = filter_push(f);
    if (pushed == WSOCK_TRANSPORT_ERROR)
        return pushed;
    while (!f->hello_came) {
        if (filter_decode(f))
            continue;
        r = filter_pull(f);
        if (r == 0)
            return WSOCK_TRANSPORT_ERROR; /* ended before the handshake */
        if (r < 0)
            return pushed && r == WSOCK_WANT_READ ? pushed : r;
    }
    return pushed;
}

static ptrdiff_t filter_read(void *user, void *data, size_t size)
{
    filter *f = (filter *)user;
    int r;
    for (;;) {
        size_t n = f->plain.size - f->plain_at;
        /* An answer that is owed goes first: a read that has to write. */
        r = filter_push(f);
        if (r)
            return r;
        if (n) {
            if (n > size)
                n = size;
            if (f->most && n > f->most)
                n = f->most;
            memcpy(data, f->plain.data + f->plain_at, n);
            f->plain_at += n;
            if (f->plain_at == f->plain.size)
                f->plain_at = f->plain.size = 0;
            return (ptrdiff_t)n;
        }
        if (f->ended)
            return 0;
        if (filter_decode(f))
            continue;
        r = filter_pull(f);
        if (r == 0)
            return WSOCK_TRANSPORT_ERROR; /* cut off without RECORD_END */
        if (r < 0)
            return r;
    }
}

static ptrdiff_t filter_write(void *user, const wsock_buf *bufs, size_t count)
{
    filter *f = (filter *)user;
    int r;
    if (!f->accepted) {
        uint8_t record[RECORD_MOST];
        size_t n = 0, i, k;
        for (i = 0; i < count; i++) {
            k = bufs[i].size < RECORD_MOST - n ? bufs[i].size
                                               : RECORD_MOST - n;
            memcpy(record + n, bufs[i].data, k);
            n += k;
        }
        if (++f->records % 5 == 0)
            filter_record(f, RECORD_REKEY, "", 0);
        filter_record(f, RECORD_DATA, record, n);
        f->accepted = n;
    }
    /* Until the record is out, the same bytes are offered again. */
    r = filter_push(f);
    if (r)
        return r;
    {
        ptrdiff_t taken = (ptrdiff_t)f->accepted;
        f->accepted = 0;
        return taken;
    }
}

static int filter_finish(void *user)
{
    filter *f = (filter *)user;
    int r;
    if (!f->end_sent) {
        f->end_sent = 1;
        filter_record(f, RECORD_END, "", 0);
    }
    r = filter_push(f);
    if (r)
        return r;
    return f->below->finish ? f->below->finish(f->below->user) : 0;
}

static int filter_wait(void *user, int wants, int timeout)
{
    filter *f = (filter *)user;
    return f->below->wait(f->below->user, wants, timeout);
}

static intptr_t filter_fd(void *user)
{
    filter *f = (filter *)user;
    return f->below->fd ? f->below->fd(f->below->user) : -1;
}

static void filter_explain(void *user, wsock_failure *failure)
{
    (void)user;
    failure->tls_code = 42;
    failure->text = "the toy is broken";
}

static void filter_free(filter *f)
{
    bytes_free(&f->raw);
    bytes_free(&f->plain);
    bytes_free(&f->out);
}

static void filter_close(void *user)
{
    filter *f = (filter *)user;
    if (f->below->close)
        f->below->close(f->below->user);
    if (f->allocated) {
        filter_free(f);
        free(f);
    }
}

static void filter_init(filter *f, wsock_io *io, const wsock_io *below)
{
    memset(f, 0, sizeof *f);
    memset(io, 0, sizeof *io);
    f->below = below;
    bytes_put(&f->raw, "", 0); /* so that its data is never NULL */
    bytes_put(&f->out, "", 0);
    io->open = filter_open;
    io->read = filter_read;
    io->write = filter_write;
    io->finish = filter_finish;
    io->wait = below->wait ? filter_wait : NULL;
    io->fd = below->fd ? filter_fd : NULL;
    io->explain = filter_explain;
    io->close = filter_close;
    io->user = f;
}

/* The same as options.tls.  user: the filter to use; NULL: a new one. */
static int filter_wrap(void *user, wsock_io *io, int role, const char *host,
                       const wsock_options *options)
{
    filter *f = user ? (filter *)user : (filter *)malloc(sizeof *f);
    wsock_io under = *io;
    if (!CHECK(f != NULL))
        return WSOCK_NO_MEMORY;
    CHECK(io->open == NULL);
    CHECK(options->handshake_timeout != 0); /* those in force */
    if (role == WSOCK_SERVER)
        CHECK(host == NULL);
    else
        CHECK(strcmp(host, "h") == 0 || strcmp(host, "127.0.0.1") == 0);
    filter_init(f, io, &f->under);
    f->under = under;
    io->wait = under.wait ? filter_wait : NULL;
    io->fd = under.fd ? filter_fd : NULL;
    f->allocated = !user;
    f->role = role;
    return WSOCK_OK;
}

static const wsock_tls toy_tls = { filter_wrap, NULL };

/* ------------------------------------------------------- conversations -- */

/* What lies between a connection and its transport. */
enum { PLAIN = 0, FILTERED = 1, /* the filter is the program's transport */
       SECURED = 2 };           /* the filter is options.tls */

typedef struct world {
    test_system system;
    test_link link;
    test_peer peer;
    wsock_failure why;  /* the client's account, after a failure, */
    char text[160];     /* and its line */
    filter filters[2];
    wsock_io filtered[2];
    wsock_tls tls[2];
    wsock *ws;
} world;

/* A client (blocking or polled) and a polled echo server, not yet attached.
 */
static void world_init(world *w, unsigned flags, int filtered)
{
    wsock_options o;
    int i;
    memset(w, 0, sizeof *w);
    test_system_init(&w->system);
    test_link_init(&w->link);
    w->link.pump = test_peer_pump;
    w->link.user = &w->peer;
    w->link.system = &w->system;
    w->peer.link = &w->link;
    for (i = 0; i < 2; i++) {
        w->tls[i].wrap = filter_wrap;
        w->tls[i].user = &w->filters[i];
        if (filtered == FILTERED)
            filter_init(&w->filters[i], &w->filtered[i], &w->link.io[i]);
        else
            w->filtered[i] = w->link.io[i];
    }
    memset(&o, 0, sizeof o);
    o.system = &w->system.system;
    o.flags = flags;
    o.tls = filtered == SECURED ? &w->tls[0] : NULL;
    w->ws = wsock_new(WSOCK_CLIENT,
                      filtered == SECURED ? "wss://h/" : "ws://h/", &o);
    o.flags = WSOCK_NONBLOCKING;
    o.tls = filtered == SECURED ? &w->tls[1] : NULL;
    w->peer.ws = wsock_new(WSOCK_SERVER, NULL, &o);
    CHECK(w->ws && w->peer.ws);
}

static void world_free(world *w)
{
    wsock_free(w->ws);
    wsock_free(w->peer.ws);
    CHECK_INT(w->link.end[0].closed, 1);
    CHECK_INT(w->link.end[1].closed, 1);
    CHECK_NO_LEAK(&w->system);
    filter_free(&w->filters[0]);
    filter_free(&w->filters[1]);
    bytes_free(&w->peer.log);
    test_link_free(&w->link);
}

static const size_t sizes[] = { 0, 1, 125, 126, 1000, 4096 };

/* Receives one echo in pieces.  Returns the first result that is not OK. */
static int receive_echo(wsock *ws, const uint8_t *want, size_t n,
                        size_t buffer)
{
    uint8_t got[1024];
    wsock_status status;
    size_t sum = 0;
    int r;
    do {
        memset(&status, 0, sizeof status);
        r = wsock_receive(ws, got, buffer, &status);
        if (r != WSOCK_OK)
            return r;
        if (!CHECK(sum + status.bytes <= n) || !CHECK(status.bytes <= buffer))
            return WSOCK_PROTOCOL_ERROR;
        CHECK_INT(status.kind & 15, WSOCK_BINARY);
        CHECK_BYTES(got, status.bytes, want + sum, status.bytes);
        /* "FRAGMENT means that the buffer is full" */
        if (status.kind & WSOCK_FRAGMENT)
            CHECK_INT(status.bytes, buffer);
        sum += status.bytes;
    } while (status.kind & WSOCK_FRAGMENT);
    CHECK_INT(sum, n);
    return WSOCK_OK;
}

/* Connect, echo every size, close.  Returns the first failure. */
static int blocking_conversation(world *w)
{
    uint8_t *data = test_pattern(5000);
    size_t i;
    int r;
    CHECK_RESULT(wsock_attach(w->peer.ws, &w->filtered[1]), WSOCK_OK);
    r = wsock_attach(w->ws, &w->filtered[0]);
    for (i = 0; r == WSOCK_OK && i < sizeof sizes / sizeof sizes[0]; i++) {
        r = wsock_send(w->ws, WSOCK_BINARY, data, sizes[i]);
        if (r == WSOCK_OK)
            r = receive_echo(w->ws, data, sizes[i], 1 + i * 200);
    }
    if (r == WSOCK_OK)
        r = wsock_close(w->ws, 1000, "bye");
    if (r != WSOCK_OK) { /* the client is gone: so is its end */
        w->why = *wsock_why(w->ws);
        snprintf(w->text, sizeof w->text, "%s", w->why.text);
        CHECK_RESULT(w->why.code, r);
        CHECK_RESULT(wsock_error(w->ws), r);
        CHECK(wsock_error_text(w->ws)[0]);
        /* It sticks. */
        CHECK_RESULT(wsock_send(w->ws, WSOCK_TEXT, "x", 1), r);
        CHECK_RESULT(wsock_close(w->ws, 1000, ""), r);
        CHECK_INT(wsock_state(w->ws), WSOCK_STATE_CLOSED);
        wsock_free(w->ws);
        w->ws = NULL;
    }
    test_peer_end(&w->peer);
    free(data);
    return r;
}

static void check_blocking(size_t max_read, size_t max_write, int want_every,
                           size_t capacity, int filtered)
{
    world w;
    int i;
    test_note("read %lu, write %lu, want %d, capacity %lu, filtered %d",
              (unsigned long)max_read, (unsigned long)max_write, want_every,
              (unsigned long)capacity, filtered);
    world_init(&w, 0, filtered);
    for (i = 0; i < 2; i++) {
        w.link.end[i].max_read = max_read;
        w.link.end[i].max_write = max_write;
        w.link.end[i].want_every = want_every;
        w.link.end[i].capacity = capacity;
    }
    CHECK_RESULT(blocking_conversation(&w), WSOCK_OK);
    CHECK_RESULT(wsock_error(w.ws), w.ws ? WSOCK_OK : WSOCK_NO_MEMORY);
    CHECK_INT(w.peer.opens, 1);
    CHECK_INT(w.peer.closes, 1);
    CHECK(bytes_find(&w.peer.log, "CLOSE 1000 \"bye\" WSOCK_OK\n") != NULL);
    CHECK_INT(wsock_state(w.ws), WSOCK_STATE_CLOSED);
    if (filtered) {
        CHECK(w.filters[0].rekeys_answered > 0);
        CHECK(w.filters[1].rekeys_answered > 0);
    }
    world_free(&w);
}

TEST(blocking_over_the_memory_pair)
{
    check_blocking(0, 0, 0, 0, 0);
    check_blocking(1, 0, 0, 0, 0);
    check_blocking(0, 1, 0, 0, 0);
    check_blocking(1, 1, 0, 0, 0);
    check_blocking(1, 1, 2, 0, 0);
    check_blocking(7, 5, 3, 11, 0);
    check_blocking(0, 0, 2, 0, 0);
    check_blocking(0, 0, 0, 1, 0);
    check_blocking(0, 0, 5, 100, 0);
}

/* The same through a filter that behaves as TLS does. */
TEST(blocking_through_a_filter)
{
    check_blocking(0, 0, 0, 0, 1);
    check_blocking(1, 0, 0, 0, 1);
    check_blocking(0, 1, 0, 0, 1);
    check_blocking(1, 1, 2, 0, 1);
    check_blocking(7, 5, 3, 200, 1);
    check_blocking(0, 0, 2, 100, 1);
}

/* And with the filter as the library's TLS: around the transport of the
 * program's, once that is open. */
TEST(blocking_through_tls)
{
    check_blocking(0, 0, 0, 0, SECURED);
    check_blocking(1, 0, 0, 0, SECURED);
    check_blocking(0, 1, 0, 0, SECURED);
    check_blocking(1, 1, 2, 0, SECURED);
    check_blocking(7, 5, 3, 200, SECURED);
    check_blocking(0, 0, 2, 100, SECURED);
}

/* A filter that hands out few bytes at a time, of many that it holds. */
TEST(held_back_bytes_are_read)
{
    size_t most;
    for (most = 1; most <= 64; most *= 4) {
        world w;
        test_note("%lu bytes a read", (unsigned long)most);
        world_init(&w, 0, 1);
        w.filters[0].most = w.filters[1].most = most;
        CHECK_RESULT(blocking_conversation(&w), WSOCK_OK);
        CHECK_INT(w.peer.closes, 1);
        world_free(&w);
    }
}

/* Every call of the client's transport fails in turn: the result is
 * CONNECTION_LOST, `explain` is heard, `close` comes once, and the server
 * sees one CLOSE. */
static void every_call_fails(int side, int filtered)
{
    long n;
    int done = 0;
    for (n = 1; n < 5000 && !done; n += (int)test_step(5)) {
        world w;
        int r;
        test_note("call %ld of side %d, filtered %d", n, side, filtered);
        world_init(&w, 0, filtered);
        w.link.end[side].fail_at = n;
        w.link.end[0].max_read = 900;
        w.link.end[1].max_read = 900;
        r = blocking_conversation(&w);
        done = w.link.end[side].calls < n;
        if (done) {
            CHECK_RESULT(r, WSOCK_OK);
        } else if (side == 0) {
            /* After the closing handshake nothing can go wrong any more. */
            if (r != WSOCK_OK) {
                CHECK(r == WSOCK_CONNECTION_LOST
                      || (filtered == FILTERED && r == WSOCK_CONNECT_FAILED)
                      || (filtered == SECURED && r == WSOCK_TLS_ERROR));
                if (r == WSOCK_TLS_ERROR) {
                    CHECK_INT(w.why.phase, WSOCK_PHASE_TLS);
                    CHECK_STR(w.text, "TLS failed: the toy is broken");
                }
                if (filtered)
                    CHECK_INT(w.why.tls_code, 42);
                else
                    CHECK_INT(w.why.os_code, 4711);
            }
        } else {
            CHECK(r == WSOCK_OK || r == WSOCK_CONNECTION_LOST
                  || (filtered == FILTERED && r == WSOCK_CONNECT_FAILED)
                  || (filtered == SECURED && r == WSOCK_TLS_ERROR));
        }
        wsock_free(w.ws);
        w.ws = NULL;
        test_peer_end(&w.peer);
        CHECK_INT(w.peer.ended, 1);
        CHECK_INT(w.peer.closes, 1);
        if (r == WSOCK_OK) /* both have closed in order */
            CHECK(bytes_find(&w.peer.log, "CLOSE 1000 \"bye\" WSOCK_OK\n")
                  != NULL);
        world_free(&w);
        if (test_state.in_this_test > 12)
            break;
    }
    CHECK(done);
    CHECK(n > 20);
}

TEST(every_call_of_the_client_fails)
{
    every_call_fails(0, 0);
}

TEST(every_call_of_the_server_fails)
{
    every_call_fails(1, 0);
}

TEST(every_call_below_the_filter_fails)
{
    every_call_fails(0, FILTERED);
}

TEST(every_call_below_tls_fails)
{
    every_call_fails(0, SECURED);
    every_call_fails(1, SECURED);
}

/* The stream ends after n bytes, for every n: CONNECTION_LOST, unless the
 * closing handshake was done. */
TEST(the_stream_ends_anywhere)
{
    long n;
    int done = 0;
    for (n = 0; n < 700 && !done; n += (int)test_step(11)) {
        world w;
        wsock_status got;
        char text[64];
        int r, i;
        test_note("after %ld bytes", n);
        world_init(&w, 0, 0);
        wsock_attach(w.peer.ws, &w.filtered[1]);
        w.link.end[0].max_read = 1;
        w.link.end[0].capacity = 0;
        /* The client's end reads one byte a call: calls of read are bytes.
         * The end comes in place of byte n. */
        r = wsock_attach(w.ws, &w.filtered[0]);
        CHECK_RESULT(r, WSOCK_OK);
        r = wsock_send(w.ws, WSOCK_TEXT, "hello", 5);
        for (i = 0; i < 10; i++)
            test_peer_pump(&w.peer);
        /* Cut what waits after n bytes. */
        {
            test_end *e = &w.link.end[0];
            if ((long)(e->in.size - e->at) <= n)
                done = 1;
            else
                e->in.size = e->at + (size_t)n;
            e->in_ended = 1;
        }
        r = wsock_receive(w.ws, text, sizeof text, &got);
        if (done) {
            CHECK_RESULT(r, WSOCK_OK);
            r = wsock_receive(w.ws, text, sizeof text, &got);
        }
        CHECK_RESULT(r, WSOCK_CONNECTION_LOST);
        CHECK_RESULT(wsock_error(w.ws), WSOCK_CONNECTION_LOST);
        wsock_free(w.ws);
        w.ws = NULL;
        test_peer_end(&w.peer);
        world_free(&w);
    }
    CHECK(done);
}

/* ---------------------------------------------------------------- polled -- */

static void check_polled(size_t piece, int want_every, int filtered)
{
    uint8_t *data = test_pattern(5000);
    world w;
    bytes log = { 0 }, want = { 0 };
    wsock_event e;
    size_t i;
    int r = 0, turns, opens = 0, closes = 0;
    test_note("pieces of %lu, want %d, filtered %d", (unsigned long)piece,
              want_every, filtered);
    world_init(&w, WSOCK_NONBLOCKING, filtered);
    for (i = 0; i < 2; i++) {
        w.link.end[i].max_read = w.link.end[i].max_write = piece;
        w.link.end[i].want_every = want_every;
    }
    CHECK_RESULT(wsock_attach(w.peer.ws, &w.filtered[1]), WSOCK_OK);
    CHECK_RESULT(wsock_attach(w.ws, &w.filtered[0]), WSOCK_OK);
    bytes_text(&want, "OPEN\n");
    for (turns = 0; turns < 1000000; turns++) {
        test_peer_pump(&w.peer);
        r = wsock_poll(w.ws, &e, 0);
        if (r < 0)
            break;
        if (r == 0) {
            CHECK_INT(e.type, WSOCK_EVENT_NONE);
            continue;
        }
        log_event(&log, &e);
        if (e.type == WSOCK_EVENT_OPEN) {
            opens++;
            for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
                CHECK_RESULT(wsock_send(w.ws, WSOCK_BINARY, data, sizes[i]),
                             WSOCK_OK);
                bytes_text(&want, "BINARY");
                log_data(&want, data, sizes[i]);
                bytes_text(&want, "\n");
            }
        }
        if (e.type == WSOCK_EVENT_MESSAGE && e.size == 4096)
            CHECK_RESULT(wsock_close(w.ws, 1000, "bye"), WSOCK_OK);
        if (e.type == WSOCK_EVENT_CLOSE) {
            closes++;
            CHECK_INT(e.code, 1000);
            CHECK_RESULT(e.why->code, WSOCK_OK);
        }
    }
    CHECK(r < 0);
    CHECK_INT(opens, 1);
    CHECK_INT(closes, 1);
    CHECK(!strncmp(bytes_str(&log), bytes_str(&want), want.size));
    CHECK_RESULT(wsock_error(w.ws), WSOCK_OK);
    test_peer_end(&w.peer);
    CHECK_INT(w.peer.closes, 1);
    world_free(&w);
    bytes_free(&log);
    bytes_free(&want);
    free(data);
}

TEST(polled_over_the_memory_pair)
{
    check_polled(0, 0, 0);
    check_polled(1, 0, 0);
    check_polled(3, 2, 0);
}

TEST(polled_through_a_filter)
{
    check_polled(0, 0, 1);
    check_polled(1, 0, 1);
    check_polled(3, 2, 1);
}

/* ------------------------------------------------------------- time-outs -- */

/* The clock is the test's: waiting moves it, nothing is slept. */
TEST(time_outs)
{
    world w;
    wsock_status got;
    char text[8];
    int64_t before;
    world_init(&w, 0, 0);
    w.link.pump = NULL; /* a peer that says nothing at all */
    before = w.system.now;
    CHECK_RESULT(wsock_attach(w.ws, &w.filtered[0]), WSOCK_TIMED_OUT);
    CHECK_RESULT(wsock_error(w.ws), WSOCK_TIMED_OUT);
    CHECK_INT(wsock_why(w.ws)->phase, WSOCK_PHASE_HTTP);
    CHECK(w.system.now - before >= 10000);
    CHECK(w.system.now - before < 11000);
    CHECK_RESULT(wsock_attach(w.peer.ws, &w.filtered[1]), WSOCK_OK);
    world_free(&w);

    test_note("the peer never closes");
    world_init(&w, 0, 0);
    wsock_attach(w.peer.ws, &w.filtered[1]);
    CHECK_RESULT(wsock_attach(w.ws, &w.filtered[0]), WSOCK_OK);
    w.link.pump = NULL;
    before = w.system.now;
    CHECK_RESULT(wsock_close(w.ws, 1000, ""), WSOCK_TIMED_OUT);
    CHECK(w.system.now - before >= 10000);
    CHECK(w.system.now - before < 12000);
    world_free(&w);

    test_note("the peer takes nothing");
    world_init(&w, 0, 0);
    wsock_attach(w.peer.ws, &w.filtered[1]);
    CHECK_RESULT(wsock_attach(w.ws, &w.filtered[0]), WSOCK_OK);
    w.link.pump = NULL;
    w.link.end[0].capacity = 4;
    before = w.system.now;
    CHECK_RESULT(wsock_send(w.ws, WSOCK_TEXT, "long enough", 11),
                 WSOCK_TIMED_OUT);
    CHECK(w.system.now - before >= 30000);
    CHECK_RESULT(wsock_error(w.ws), WSOCK_TIMED_OUT);
    CHECK_INT(wsock_why(w.ws)->operation, WSOCK_OPERATION_SEND);
    world_free(&w);

    test_note("a receive that times out loses nothing");
    {
        wsock_options o;
        memset(&o, 0, sizeof o);
        world_init(&w, 0, 0);
        wsock_free(w.ws);
        o.system = &w.system.system;
        o.receive_timeout = 500;
        w.ws = wsock_new(WSOCK_CLIENT, "ws://h/", &o);
        wsock_attach(w.peer.ws, &w.filtered[1]);
        CHECK_RESULT(wsock_attach(w.ws, &w.filtered[0]), WSOCK_OK);
        before = w.system.now;
        CHECK_RESULT(wsock_receive(w.ws, text, sizeof text, &got),
                     WSOCK_TIMED_OUT);
        CHECK(w.system.now - before >= 500);
        CHECK(w.system.now - before < 1500);
        CHECK_RESULT(wsock_error(w.ws), WSOCK_OK);
        CHECK_RESULT(wsock_send(w.ws, WSOCK_TEXT, "hi", 2), WSOCK_OK);
        CHECK_RESULT(wsock_receive(w.ws, text, sizeof text, &got), WSOCK_OK);
        CHECK_BYTES(text, got.bytes, "hi", 2);
        world_free(&w);
    }
}

/* ------------------------------------- a filter above a real descriptor -- */

typedef struct pair_end {
    int fd;
    int closed;
} pair_end;

static ptrdiff_t pair_result(ptrdiff_t n, int want)
{
    if (n >= 0)
        return n;
    return errno == EAGAIN || errno == EINTR ? want : WSOCK_TRANSPORT_ERROR;
}

static ptrdiff_t pair_read(void *user, void *data, size_t size)
{
    return pair_result(recv(((pair_end *)user)->fd, data, size, MSG_DONTWAIT),
                       WSOCK_WANT_READ);
}

static ptrdiff_t pair_write(void *user, const wsock_buf *bufs, size_t count)
{
    (void)count;
    return pair_result(send(((pair_end *)user)->fd, bufs[0].data,
                            bufs[0].size, MSG_DONTWAIT | MSG_NOSIGNAL),
                       WSOCK_WANT_WRITE);
}

static int pair_finish(void *user)
{
    shutdown(((pair_end *)user)->fd, SHUT_WR);
    return 0;
}

static intptr_t pair_fd(void *user)
{
    return ((pair_end *)user)->fd;
}

static void pair_close(void *user)
{
    CHECK_INT(((pair_end *)user)->closed, 0);
    ((pair_end *)user)->closed = 1;
    close(((pair_end *)user)->fd);
}

/* A poll that may wait for ever must not wait for the descriptor while the
 * filter still holds bytes: the end of this test is that it ends. */
TEST(held_back_bytes_above_a_descriptor)
{
    int fds[2], i, r, closes = 0, messages = 0, server_ended = 0;
    pair_end ends[2];
    filter filters[2];
    wsock_io below[2], io[2];
    wsock_options o;
    wsock *client, *server;
    wsock_event e;
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    memset(&o, 0, sizeof o);
    o.flags = WSOCK_NONBLOCKING;
    client = wsock_new(WSOCK_CLIENT, "ws://h/", &o);
    server = wsock_new(WSOCK_SERVER, NULL, &o);
    for (i = 0; i < 2; i++) {
        ends[i].fd = fds[i];
        ends[i].closed = 0;
        memset(&below[i], 0, sizeof below[i]);
        below[i].read = pair_read;
        below[i].write = pair_write;
        below[i].finish = pair_finish;
        below[i].fd = pair_fd;
        below[i].close = pair_close;
        below[i].user = &ends[i];
        filter_init(&filters[i], &io[i], &below[i]);
        filters[i].most = 3;
    }
    CHECK_RESULT(wsock_attach(client, &io[0]), WSOCK_OK);
    CHECK_RESULT(wsock_attach(server, &io[1]), WSOCK_OK);
    /* Hand shaking in turns. */
    for (i = 0; i < 1000; i++) {
        wsock_poll(server, &e, 0);
        if (wsock_poll(client, &e, 0) > 0 && e.type == WSOCK_EVENT_OPEN)
            break;
    }
    CHECK_INT(wsock_state(client), WSOCK_STATE_OPEN);
    while (wsock_poll(server, &e, 0) > 0)
        ;
    for (i = 0; i < 20; i++)
        CHECK_RESULT(wsock_send(server, WSOCK_TEXT, "a message", 9),
                     WSOCK_OK);
    CHECK_RESULT(wsock_flush(server), WSOCK_OK);
    for (messages = 0; messages < 20;) {
        r = wsock_poll(client, &e, WSOCK_NEVER);
        if (!CHECK(r >= 0))
            break;
        if (r == 1 && e.type == WSOCK_EVENT_MESSAGE)
            messages++;
    }
    CHECK_INT(messages, 20);
    wsock_close(client, 1000, "");
    for (i = 0; i < 1000 && !(closes && server_ended); i++) {
        r = wsock_poll(client, &e, 0);
        if (r == 1 && e.type == WSOCK_EVENT_CLOSE)
            closes++;
        server_ended |= wsock_poll(server, &e, 0) < 0;
    }
    CHECK_INT(closes, 1);
    CHECK_INT(server_ended, 1);
    wsock_free(client);
    wsock_free(server);
    CHECK_INT(ends[0].closed, 1);
    CHECK_INT(ends[1].closed, 1);
    filter_free(&filters[0]);
    filter_free(&filters[1]);
}

/* ----------------------------------------------------------- wrong calls -- */

TEST(attach_and_dial_are_checked)
{
    world w;
    wsock_io io;
    world_init(&w, 0, 0);
    memset(&io, 0, sizeof io);
    CHECK_RESULT(wsock_attach(w.ws, NULL), WSOCK_INVALID_PARAMETER);
    CHECK_RESULT(wsock_attach(w.ws, &io), WSOCK_INVALID_PARAMETER);
    CHECK_RESULT(wsock_dial(w.peer.ws), WSOCK_INVALID_OPERATION);
    CHECK_RESULT(wsock_error(w.ws), WSOCK_OK);
    wsock_attach(w.peer.ws, &w.filtered[1]);
    CHECK_RESULT(wsock_attach(w.ws, &w.filtered[0]), WSOCK_OK);
    CHECK_RESULT(wsock_attach(w.ws, &w.filtered[0]), WSOCK_INVALID_OPERATION);
    CHECK_RESULT(wsock_dial(w.ws), WSOCK_INVALID_OPERATION);
    CHECK_RESULT(wsock_feed(w.ws, "x", 0), WSOCK_INVALID_OPERATION);
    CHECK_INT(w.link.end[0].closed, 0);
    world_free(&w);
}

/* options.io: wsock_connect() opens that instead of a socket, and tells it
 * where to. */
static int opened_port;
static char opened_host[64];

static int note_open(void *user, const char *host, int port)
{
    (void)user;
    opened_port = port;
    snprintf(opened_host, sizeof opened_host, "%s", host ? host : "NULL");
    return WSOCK_OK;
}

TEST(connect_over_a_transport_of_ours)
{
    world w;
    wsock_options o;
    wsock_status got;
    char text[16];
    world_init(&w, 0, 0);
    wsock_free(w.ws);
    wsock_attach(w.peer.ws, &w.filtered[1]);
    memset(&o, 0, sizeof o);
    o.system = &w.system.system;
    w.filtered[0].open = note_open;
    o.io = &w.filtered[0];
    w.ws = wsock_connect("ws://nowhere.example:7/x", &o);
    CHECK_RESULT(wsock_error(w.ws), WSOCK_OK);
    CHECK_STR(opened_host, "nowhere.example");
    CHECK_INT(opened_port, 7);
    CHECK_RESULT(wsock_send(w.ws, WSOCK_TEXT, "hi", 2), WSOCK_OK);
    CHECK_RESULT(wsock_receive(w.ws, text, sizeof text, &got), WSOCK_OK);
    CHECK_BYTES(text, got.bytes, "hi", 2);
    CHECK_RESULT(wsock_peer(w.ws, text, sizeof text),
                 WSOCK_INVALID_OPERATION);
    CHECK_RESULT(wsock_close(w.ws, 1000, ""), WSOCK_OK);
    test_peer_end(&w.peer);
    world_free(&w);
}

/* WSOCK_CONTROL: receive hands out pings and pongs; without it they pass
 * unseen.  WSOCK_CLOSE: the peer's Close, then nothing more. */
TEST(receive_control_frames_and_close)
{
    int control;
    for (control = 0; control < 2; control++) {
        world w;
        wsock_status got;
        char text[16];
        const char *reason = NULL;
        int code = 0;
        test_note("control %d", control);
        world_init(&w, control ? WSOCK_CONTROL : 0u, 0);
        wsock_attach(w.peer.ws, &w.filtered[1]);
        CHECK_RESULT(wsock_attach(w.ws, &w.filtered[0]), WSOCK_OK);
        while (!w.peer.opens)
            test_peer_pump(&w.peer);
        wsock_send(w.peer.ws, WSOCK_PING, "p", 1);
        wsock_send(w.peer.ws, WSOCK_TEXT, "t", 1);
        wsock_close(w.peer.ws, 4001, "over");
        wsock_flush(w.peer.ws);
        if (control) {
            CHECK_RESULT(wsock_receive(w.ws, text, sizeof text, &got),
                         WSOCK_OK);
            CHECK_INT(got.kind, WSOCK_PING);
            CHECK_BYTES(text, got.bytes, "p", 1);
        }
        CHECK_RESULT(wsock_receive(w.ws, text, sizeof text, &got), WSOCK_OK);
        CHECK_INT(got.kind, WSOCK_TEXT);
        CHECK_BYTES(text, got.bytes, "t", 1);
        CHECK_RESULT(wsock_receive(w.ws, text, sizeof text, &got), WSOCK_OK);
        CHECK_INT(got.kind, WSOCK_CLOSE);
        CHECK_RESULT(wsock_close_status(w.ws, &code, &reason), WSOCK_OK);
        CHECK_INT(code, 4001);
        CHECK_STR(reason, "over");
        got.bytes = 77;
        CHECK_RESULT(wsock_receive(w.ws, text, sizeof text, &got),
                     WSOCK_INVALID_OPERATION);
        CHECK_INT(got.bytes, 77); /* unchanged unless WSOCK_OK */
        CHECK_RESULT(wsock_close(w.ws, 1000, ""), WSOCK_OK);
        CHECK_RESULT(wsock_error(w.ws), WSOCK_OK);
        test_peer_end(&w.peer);
        CHECK_INT(w.peer.closes, 1);
        world_free(&w);
    }
}

/* ------------------------------------------------- one end, by hand --
 * A transport of which the test plays the other side: what it takes, what it
 * holds back, what `finish` answers.  Above a descriptor (one of a pair, on
 * which the test writes to the other) it reads all that is there at once and
 * hands it out by and by, as TLS does; without one, the test fills it. */

typedef struct hand {
    test_system system;
    wsock_io io;
    int fds[2];         /* -1: none */
    bytes in;           /* held back */
    size_t at, most;    /* handed out so far; bytes a read, 0: any */
    int in_ended;       /* the stream ends behind `in` */
    bytes out;
    int takes;          /* 0, or what `write` answers */
    int finish_answer;
    int waited_for;     /* what the last `wait` was for */
    long finishes;
    int closed;
    wsock *ws;
} hand;

static ptrdiff_t hand_read(void *user, void *data, size_t size)
{
    hand *h = (hand *)user;
    char buffer[4096];
    ptrdiff_t n;
    CHECK_INT(h->closed, 0);
    if (h->at == h->in.size && h->fds[0] >= 0) {
        h->at = h->in.size = 0;
        n = recv(h->fds[0], buffer, sizeof buffer, MSG_DONTWAIT);
        if (n == 0)
            h->in_ended = 1;
        if (n > 0)
            bytes_put(&h->in, buffer, (size_t)n);
    }
    if (h->at == h->in.size)
        return h->in_ended ? 0 : WSOCK_WANT_READ;
    n = (ptrdiff_t)(h->in.size - h->at);
    if ((size_t)n > size)
        n = (ptrdiff_t)size;
    if (h->most && (size_t)n > h->most)
        n = (ptrdiff_t)h->most;
    memcpy(data, h->in.data + h->at, (size_t)n);
    h->at += (size_t)n;
    return n;
}

static ptrdiff_t hand_write(void *user, const wsock_buf *bufs, size_t count)
{
    hand *h = (hand *)user;
    size_t i, n = 0;
    CHECK_INT(h->closed, 0);
    if (h->takes)
        return h->takes;
    for (i = 0; i < count; i++) {
        bytes_put(&h->out, bufs[i].data, bufs[i].size);
        n += bufs[i].size;
    }
    return (ptrdiff_t)n;
}

static int hand_finish(void *user)
{
    hand *h = (hand *)user;
    CHECK_INT(h->closed, 0);
    h->finishes++;
    return h->finish_answer;
}

/* Nothing ever comes while it waits, but time passes. */
static int hand_wait(void *user, int wants, int timeout)
{
    hand *h = (hand *)user;
    h->waited_for = wants;
    h->system.now += timeout > 0 ? timeout : 1;
    return 0;
}

static intptr_t hand_fd(void *user)
{
    return ((hand *)user)->fds[0];
}

static void hand_close(void *user)
{
    hand *h = (hand *)user;
    CHECK_INT(h->closed, 0);
    h->closed = 1;
}

enum { HAND_ALONE, HAND_WAITS, HAND_FD };

static void hand_put(hand *h, const void *data, size_t n)
{
    if (h->fds[1] >= 0)
        CHECK_INT(send(h->fds[1], data, n, MSG_NOSIGNAL), n);
    else
        bytes_put(&h->in, data, n);
}

/* Events until there is none, at most `most`; what the last poll returned. */
static int hand_events(hand *h, bytes *log, int most)
{
    wsock_event e;
    int i, r = 0;
    for (i = 0; i < most; i++) {
        r = wsock_poll(h->ws, &e, 0);
        if (r <= 0)
            break;
        log_event(log, &e);
    }
    return r;
}

/* Attached, of either kind; a polled one has shaken hands. */
static void hand_open(hand *h, int role, int kind, wsock_options *o)
{
    bytes log = { 0 }, in = { 0 };
    memset(h, 0, sizeof *h);
    h->fds[0] = h->fds[1] = -1;
    if (kind == HAND_FD)
        CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, h->fds), 0);
    test_system_init(&h->system);
    h->io.read = hand_read;
    h->io.write = hand_write;
    h->io.finish = hand_finish;
    h->io.close = hand_close;
    if (kind == HAND_WAITS)
        h->io.wait = hand_wait;
    if (kind == HAND_FD)
        h->io.fd = hand_fd;
    h->io.user = h;
    o->system = &h->system.system;
    o->flags |= WSOCK_NONBLOCKING;
    h->ws = wsock_new(role, role == WSOCK_CLIENT ? "ws://h/" : NULL, o);
    CHECK_RESULT(wsock_attach(h->ws, &h->io), WSOCK_OK);
    if (role == WSOCK_CLIENT) {
        hand_events(h, &log, 4);
        put_response(&in, bytes_str(&h->out), "");
    } else {
        bytes_text(&in, TEST_REQUEST);
    }
    hand_put(h, in.data, in.size);
    hand_events(h, &log, 4);
    hand_events(h, &log, 4);
    CHECK_STR(bytes_str(&log), "OPEN\n");
    CHECK_INT(wsock_state(h->ws), WSOCK_STATE_OPEN);
    bytes_clear(&h->out);
    bytes_free(&log);
    bytes_free(&in);
}

static void hand_free(hand *h)
{
    wsock_free(h->ws);
    CHECK_INT(h->closed, 1);
    CHECK_NO_LEAK(&h->system);
    if (h->fds[0] >= 0)
        close(h->fds[0]);
    if (h->fds[1] >= 0)
        close(h->fds[1]);
    bytes_free(&h->in);
    bytes_free(&h->out);
}

/* What a transport holds back while its connection is paused, or held by its
 * own queue, is read when that is over, although no descriptor shows it.  So
 * it is when wsock_close() ends the pause. */
TEST(held_back_bytes_outlast_a_pause)
{
    static const char big[9000];
    enum { PAUSE, QUEUE, CLOSE, WAYS };
    int kind, way, i, turn;
    for (turn = 0; turn < 3 * WAYS; turn++)
        for (kind = HAND_ALONE; kind <= HAND_FD; kind++) {
            wsock_options o;
            wsock_event e;
            hand h;
            bytes in = { 0 }, log = { 0 };
            memset(&o, 0, sizeof o);
            o.send_limit = 4000;
            hand_open(&h, WSOCK_SERVER, kind, &o);
            way = turn % WAYS;
            for (i = 0; i < 10; i++)
                frame_text(&in, FIN | 1, 1, "payload");
            /* Less than a frame a read, exactly one, or more. */
            h.most = in.size / 10 - 3 + (size_t)turn / WAYS * 3;
            test_note("kind %d, way %d, %lu bytes a read", kind, way,
                      (unsigned long)h.most);
            frame_close(&in, 1, 1000, "");
            hand_put(&h, in.data, in.size);
            for (i = 0; i < 10; i++)
                if (wsock_poll(h.ws, &e, 0) == 1)
                    break;
            CHECK_INT(e.type, WSOCK_EVENT_MESSAGE);
            if (way == QUEUE) {
                h.takes = WSOCK_WANT_WRITE;
                CHECK_RESULT(wsock_send(h.ws, WSOCK_BINARY, big, sizeof big),
                             WSOCK_OK);
            } else {
                CHECK_RESULT(wsock_pause(h.ws, 1), WSOCK_OK);
            }
            for (i = 0; i < 10; i++)
                CHECK_INT(hand_events(&h, &log, 4), 0);
            CHECK_STR(bytes_str(&log), "");
            CHECK(h.in.size - h.at > 50); /* it does hold some */
            h.takes = 0;
            if (way == PAUSE)
                CHECK_RESULT(wsock_pause(h.ws, 0), WSOCK_OK);
            if (way == CLOSE)
                CHECK_RESULT(wsock_close(h.ws, 1000, ""), WSOCK_OK);
            for (i = 0; i < 50; i++)
                hand_events(&h, &log, 20);
            bytes_clear(&in);
            for (i = 0; i < 9 && way != CLOSE; i++)
                bytes_text(&in, "TEXT \"payload\"\n");
            h.in_ended = 1;
            hand_put(&h, "x", 1); /* discarded; the end is behind it */
            if (kind == HAND_FD)
                shutdown(h.fds[1], SHUT_WR);
            CHECK(hand_events(&h, &log, 4) < 0);
            bytes_text(&in, "CLOSE 1000 \"\" WSOCK_OK\n");
            CHECK_STR(bytes_str(&log), bytes_str(&in));
            hand_free(&h);
            bytes_free(&in);
            bytes_free(&log);
        }
}

/* A server is not read while its queue is at send_limit.  A client is: two
 * that hold each other back would wait for ever. */
TEST(clients_are_read_above_their_send_limit)
{
    static const char big[9000];
    int role, i;
    for (role = WSOCK_CLIENT; role <= WSOCK_SERVER; role++) {
        wsock_options o;
        hand h;
        bytes in = { 0 }, log = { 0 };
        memset(&o, 0, sizeof o);
        o.send_limit = 4000;
        hand_open(&h, role, HAND_ALONE, &o);
        test_note("role %d", role);
        h.takes = WSOCK_WANT_WRITE;
        CHECK_RESULT(wsock_send(h.ws, WSOCK_BINARY, big, sizeof big),
                     WSOCK_OK);
        CHECK_RESULT(wsock_send(h.ws, WSOCK_BINARY, big, 1),
                     WSOCK_WOULD_BLOCK);
        frame_text(&in, FIN | 1, role == WSOCK_SERVER, "hello");
        hand_put(&h, in.data, in.size);
        for (i = 0; i < 5; i++)
            hand_events(&h, &log, 4);
        CHECK_STR(bytes_str(&log),
                  role == WSOCK_CLIENT ? "TEXT \"hello\"\n" : "");
        h.takes = 0;
        for (i = 0; i < 5; i++)
            hand_events(&h, &log, 4);
        CHECK_STR(bytes_str(&log), role == WSOCK_CLIENT
                                       ? "TEXT \"hello\"\nDRAIN\n"
                                       : "DRAIN\nTEXT \"hello\"\n");
        hand_free(&h);
        bytes_free(&in);
        bytes_free(&log);
    }
}

/* Held by its queue, and then the transport breaks: nothing is read any more,
 * so it is writing that has to find out. */
TEST(a_held_connection_whose_transport_breaks)
{
    static const char big[9000];
    int kind, i, r = 0;
    for (kind = HAND_ALONE; kind <= HAND_FD; kind++) {
        wsock_options o;
        hand h;
        bytes log = { 0 };
        memset(&o, 0, sizeof o);
        o.send_limit = 4000;
        hand_open(&h, WSOCK_SERVER, kind, &o);
        test_note("kind %d", kind);
        h.takes = WSOCK_WANT_WRITE;
        CHECK_RESULT(wsock_send(h.ws, WSOCK_BINARY, big, sizeof big),
                     WSOCK_OK);
        for (i = 0; i < 5; i++)
            CHECK_INT(hand_events(&h, &log, 4), 0);
        CHECK_STR(bytes_str(&log), "");
        h.takes = WSOCK_TRANSPORT_ERROR;
        h.in_ended = 1;
        if (kind == HAND_FD)
            close(h.fds[1]);
        for (i = 0; i < 10 && r == 0; i++)
            r = hand_events(&h, &log, 4);
        h.fds[1] = -1;
        CHECK(r < 0);
        CHECK_STR(bytes_str(&log),
                  "CLOSE 1006 \"\" WSOCK_CONNECTION_LOST\n");
        hand_free(&h);
        bytes_free(&log);
        r = 0;
    }
}

/* "After an error of `write` what came before is still read": and when that
 * is the peer's Close, it is the Close that the account tells of. */
TEST(a_close_behind_a_dead_writing_side)
{
    wsock_options o;
    hand h;
    bytes in = { 0 }, log = { 0 };
    memset(&o, 0, sizeof o);
    hand_open(&h, WSOCK_SERVER, HAND_ALONE, &o);
    frame_text(&in, FIN | 1, 1, "last words");
    frame_close(&in, 1, 1001, "going");
    hand_put(&h, in.data, in.size);
    h.takes = WSOCK_TRANSPORT_ERROR;
    wsock_send(h.ws, WSOCK_TEXT, "x", 1);
    CHECK_RESULT(wsock_error(h.ws), WSOCK_CONNECTION_LOST);
    while (hand_events(&h, &log, 4) > 0)
        ;
    CHECK_STR(bytes_str(&log),
              "TEXT \"last words\"\nCLOSE 1001 \"going\" WSOCK_OK\n");
    CHECK_RESULT(wsock_error(h.ws), WSOCK_OK);
    CHECK_INT(wsock_why(h.ws)->operation, 0);
    CHECK_INT(wsock_why(h.ws)->phase, 0);
    CHECK_INT(wsock_why(h.ws)->close_sent, 0);
    CHECK_INT(wsock_why(h.ws)->close_received, 1001);
    CHECK_STR(wsock_error_text(h.ws), wsock_why(h.ws)->text);
    hand_free(&h);
    bytes_free(&in);
    bytes_free(&log);
}

/* wsock_flush() asks the transport, also when that said WANT before. */
TEST(flush_asks_again)
{
    wsock_options o;
    hand h;
    bytes log = { 0 };
    memset(&o, 0, sizeof o);
    hand_open(&h, WSOCK_SERVER, HAND_ALONE, &o);
    h.takes = WSOCK_WANT_WRITE;
    CHECK_RESULT(wsock_send(h.ws, WSOCK_TEXT, "hello", 5), WSOCK_OK);
    CHECK_RESULT(wsock_flush(h.ws), WSOCK_WOULD_BLOCK);
    h.takes = 0;
    CHECK_RESULT(wsock_flush(h.ws), WSOCK_OK);
    CHECK_INT(wsock_queued(h.ws), 0);
    frames_log(&log, &h.out, 0);
    CHECK_STR(bytes_str(&log), "text \"hello\"\n");
    hand_free(&h);
    bytes_free(&log);
}

/* The peer has closed and `finish` wants to read, or to write, first: it is
 * called again once the descriptor shows that, and polls until then leave it
 * alone. */
TEST(finish_may_want)
{
    int want, i;
    long calls;
    for (want = WSOCK_WANT_WRITE; want <= WSOCK_WANT_READ; want++) {
        wsock_options o;
        hand h;
        bytes in = { 0 }, log = { 0 };
        memset(&o, 0, sizeof o);
        hand_open(&h, WSOCK_SERVER, HAND_FD, &o);
        test_note("wants %d", want);
        h.finish_answer = want;
        frame_close(&in, 1, 1000, "");
        hand_put(&h, in.data, in.size);
        for (i = 0; i < 3; i++)
            hand_events(&h, &log, 4);
        calls = h.finishes;
        CHECK(calls > 0);
        if (want == WSOCK_WANT_READ) { /* nothing to read: not yet */
            for (i = 0; i < 10; i++)
                hand_events(&h, &log, 4);
            CHECK_INT(h.finishes, calls);
            hand_put(&h, "x", 1);
        }
        hand_events(&h, &log, 4);
        CHECK(h.finishes > calls); /* and so it is not done yet */
        CHECK_INT(h.closed, 0);
        h.finish_answer = 0;
        if (want == WSOCK_WANT_READ)
            hand_put(&h, "x", 1);
        shutdown(h.fds[1], SHUT_WR);
        for (i = 0; i < 10; i++)
            if (hand_events(&h, &log, 4) < 0)
                break;
        CHECK_INT(h.closed, 1);
        CHECK_STR(bytes_str(&log), "CLOSE 1000 \"\" WSOCK_OK\n");
        hand_free(&h);
        bytes_free(&in);
        bytes_free(&log);
    }
}

/* The same where the transport is waited for by its own `wait`. */
TEST(finish_that_wants_is_waited_for)
{
    int want;
    long calls;
    for (want = WSOCK_WANT_WRITE; want <= WSOCK_WANT_READ; want++) {
        wsock_options o;
        wsock_event e;
        hand h;
        bytes in = { 0 };
        int i;
        memset(&o, 0, sizeof o);
        hand_open(&h, WSOCK_SERVER, HAND_WAITS, &o);
        test_note("wants %d", want);
        h.finish_answer = want;
        frame_close(&in, 1, 1000, "");
        hand_put(&h, in.data, in.size);
        for (i = 0; i < 3; i++)
            wsock_poll(h.ws, &e, 0);
        calls = h.finishes;
        CHECK(calls > 0);
        wsock_poll(h.ws, &e, 10);
        /* Reading goes on as well, until the end of the stream. */
        CHECK_INT(h.waited_for, want == WSOCK_WANT_READ ? 1 : 3);
        CHECK(h.finishes > calls);
        hand_free(&h);
        bytes_free(&in);
    }
}

/* Calling wsock_close() in every turn does not move its end away. */
TEST(close_timeout_counts_from_the_first_close)
{
    int64_t begun;
    int how, turns;
    for (how = 0; how < 2; how++) {
        wsock_options o;
        hand h;
        bytes log = { 0 };
        memset(&o, 0, sizeof o);
        o.close_timeout = 1000;
        hand_open(&h, WSOCK_SERVER, HAND_ALONE, &o);
        test_note("%s", how ? "after a shutdown" : "by itself");
        if (how) /* waits for the peer's Close without a limit */
            CHECK_RESULT(wsock_shutdown(h.ws, 1000, ""), WSOCK_OK);
        for (turns = 0; how && turns < 10; turns++) {
            h.system.now += 300;
            CHECK_INT(hand_events(&h, &log, 4), 0);
        }
        begun = h.system.now;
        for (turns = 0; turns < 20; turns++) {
            CHECK_RESULT(wsock_close(h.ws, 1000, ""), WSOCK_OK);
            h.system.now += 300;
            if (hand_events(&h, &log, 4) != 0)
                break;
        }
        CHECK_INT(h.system.now - begun, 1200); /* the first turn after 1000 */
        CHECK_STR(bytes_str(&log), "CLOSE 1006 \"\" WSOCK_TIMED_OUT\n");
        hand_free(&h);
        bytes_free(&log);
    }
}

/* ------------------------------------------------- blocking, the edges -- */

/* A blocking server-role handle: wsock_attach() reads the request and writes
 * the whole answer, be it good or a refusal, before it returns. */
TEST(attached_servers_answer)
{
    static const char refused[] = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    int bad;
    size_t piece;
    for (bad = 0; bad < 2; bad++)
        for (piece = 0; piece < 20; piece += 7) {
            wsock_options o;
            test_system system;
            test_link link;
            const char *head;
            char length[16];
            wsock *ws;
            int r;
            test_note("bad %d, %lu bytes a call", bad, (unsigned long)piece);
            test_system_init(&system);
            test_link_init(&link);
            memset(&o, 0, sizeof o);
            o.system = &system.system;
            link.system = &system;
            link.end[0].max_read = link.end[0].max_write = piece;
            link.end[0].want_every = piece ? 3 : 0;
            bytes_text(&link.end[0].in, bad ? refused : TEST_REQUEST);
            link.end[0].in_ended = bad; /* the client leaves, then */
            ws = wsock_new(WSOCK_SERVER, NULL, &o);
            r = wsock_attach(ws, &link.io[0]);
            CHECK_RESULT(r, bad ? WSOCK_REFUSED : WSOCK_OK);
            CHECK_INT(wsock_queued(ws), 0);
            CHECK(!strncmp(bytes_str(&link.end[1].in),
                           bad ? "HTTP/1.1 426 " : "HTTP/1.1 101 ", 13));
            CHECK(bytes_find(&link.end[1].in, "\r\n\r\n") != NULL);
            if (bad) { /* to the last byte of its body */
                head = bytes_str(&link.end[1].in);
                CHECK(head_value(head, "Content-Length", length,
                                 sizeof length));
                CHECK_INT(strlen(strstr(head, "\r\n\r\n") + 4),
                          atoi(length));
            } else {
                CHECK_STR(wsock_header(ws, "Host"), "server.example.com");
            }
            wsock_free(ws);
            CHECK_INT(link.end[0].closed, 1);
            CHECK_NO_LEAK(&system);
            test_link_free(&link);
        }
}

/* Headers are there until the next reading call, and a blocking wsock_close()
 * is one: behind it there is none, where the head was may be gone. */
TEST(headers_end_with_a_blocking_close)
{
    size_t piece;
    int how;
    for (how = 0; how < 2; how++)
        for (piece = 0; piece <= 64; piece = piece ? piece * 4 : 1) {
            world w;
            wsock_status got;
            char text[8];
            test_note("%lu bytes a read, %s", (unsigned long)piece,
                      how ? "receive" : "close");
            world_init(&w, 0, 0);
            w.link.end[0].max_read = piece; /* a head in pieces is kept */
            wsock_attach(w.peer.ws, &w.filtered[1]);
            CHECK_RESULT(wsock_attach(w.ws, &w.filtered[0]), WSOCK_OK);
            CHECK_STR(wsock_header(w.ws, "upgrade"), "websocket");
            CHECK_RESULT(wsock_send(w.ws, WSOCK_TEXT, "hi", 2), WSOCK_OK);
            CHECK_STR(wsock_header(w.ws, "upgrade"), "websocket");
            if (how)
                CHECK_RESULT(wsock_receive(w.ws, text, sizeof text, &got),
                             WSOCK_OK);
            else
                CHECK_RESULT(wsock_close(w.ws, 1000, ""), WSOCK_OK);
            CHECK_STR(wsock_header(w.ws, "upgrade"), NULL);
            wsock_free(w.ws);
            w.ws = NULL;
            test_peer_end(&w.peer);
            world_free(&w);
        }
}

/* A client that has its memory in `block`. */
static wsock *blocking_in(void *block, size_t size)
{
    wsock_options o = options_with(0);
    o.memory = block;
    o.memory_size = size;
    CHECK(wsock_memory_needed(WSOCK_CLIENT, "ws://h/", &o) <= size);
    return wsock_new(WSOCK_CLIENT, "ws://h/", &o);
}

/* A send is no reading call: what it reads ahead leaves the headers as they
 * are, also where an allocation fails, and in options.memory. */
TEST(headers_outlast_a_send_that_reads_ahead)
{
    static const char *const headers[] = {
        "X-Long: 0123456789012345678901234567890123456789012345678901234567890"
        "123456789012345678901234567890123456789012345678901234567890", NULL
    };
    enum { IN_BLOCK = 6, BLOCK = 1 << 20 };
    uint8_t *data = test_pattern(20000);
    void *block = malloc(BLOCK);
    int n;
    for (n = 0; n <= IN_BLOCK; n++) {
        wsock_options o = options_with(WSOCK_NONBLOCKING);
        world w;
        int i, r;
        test_note("allocation %d fails", n);
        world_init(&w, 0, 0);
        wsock_free(w.peer.ws);
        o.system = &w.system.system;
        o.headers = headers;
        w.peer.ws = wsock_new(WSOCK_SERVER, NULL, &o);
        if (n == IN_BLOCK) {
            wsock_free(w.ws);
            w.ws = blocking_in(block, BLOCK);
        }
        for (i = 0; i < 2; i++) {
            w.link.end[i].max_read = 200; /* a head in pieces is kept */
            w.link.end[i].capacity = 1000;
        }
        wsock_attach(w.peer.ws, &w.filtered[1]);
        CHECK_RESULT(wsock_attach(w.ws, &w.filtered[0]), WSOCK_OK);
        CHECK_RESULT(wsock_send(w.ws, WSOCK_TEXT, "hi", 2), WSOCK_OK);
        if (n && n < IN_BLOCK)
            w.system.fail_at = w.system.allocations + n;
        r = wsock_send(w.ws, WSOCK_BINARY, data, 20000);
        CHECK(r == WSOCK_OK || (n && r == WSOCK_NO_MEMORY));
        CHECK_STR(wsock_header(w.ws, "X-Long"), headers[0] + 8);
        wsock_free(w.ws);
        w.ws = NULL;
        test_peer_end(&w.peer);
        world_free(&w);
    }
    free(block);
    free(data);
}

/* ------------------------------------------------------------------ TLS -- */

TEST(polled_through_tls)
{
    check_polled(0, 0, SECURED);
    check_polled(1, 0, SECURED);
    check_polled(1, 2, SECURED);
    check_polled(3, 3, SECURED);
    check_polled(1000, 5, SECURED);
}

/* Which URLs are TLS, and what is missing for it. */
TEST(wss_urls_are_checked)
{
    static const struct {
        const char *url, *host;
    } hosts[] = {
        { "wss://h/", "h" }, { "WSS://h:443/", "h" },
        { "wss://h:80/", "h:80" }, { "ws://h:443/", "h:443" },
        { "wss://[::1]/", "[::1]" }
    };
    static const wsock_tls empty = { NULL, NULL };
    wsock_options o;
    wsock_server *server;
    wsock *ws;
    bytes head = { 0 };
    size_t i;
    memset(&o, 0, sizeof o);
    o.flags = WSOCK_CORE_ONLY; /* then TLS is the program's */
    for (i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        test_note("%s", hosts[i].url);
        ws = wsock_new(WSOCK_CLIENT, hosts[i].url, &o);
        CHECK_RESULT(wsock_error(ws), WSOCK_OK);
        bytes_clear(&head);
        take_output(ws, &head);
        check_value(&head, "Host", hosts[i].host);
        wsock_free(ws);
    }
    bytes_free(&head);
    test_note("what is missing");
    o.flags = WSOCK_NONBLOCKING;
    server = wsock_listen("wss://127.0.0.1:0/", &o);
    CHECK_RESULT(wsock_server_error(server), WSOCK_UNSUPPORTED);
    CHECK_INT(wsock_server_why(server)->phase, WSOCK_PHASE_SETUP);
    CHECK_STR(wsock_server_why(server)->text,
              "wss:// needs TLS: define WSOCK_BEARSSL where the "
              "implementation is and link BearSSL (-lbearssl), or set "
              "options.tls");
    wsock_server_free(server);
    o.tls = &empty;
    ws = wsock_new(WSOCK_CLIENT, "wss://h/", &o);
    CHECK_RESULT(wsock_error(ws), WSOCK_INVALID_PARAMETER);
    wsock_free(ws);
}

/* TLS cannot begin: the failure is the one that `wrap` returns. */
static int wrap_refuses(void *user, wsock_io *io, int role, const char *host,
                        const wsock_options *options)
{
    (void)io;
    (void)role;
    (void)host;
    (void)options;
    return *(const int *)user;
}

TEST(tls_that_cannot_begin)
{
    static const int codes[] = { WSOCK_NO_MEMORY, WSOCK_RANDOM_FAILED, 1 };
    size_t i;
    for (i = 0; i < 3; i++) {
        world w;
        wsock_io io;
        int code = codes[i];
        test_note("wrap returns %d", code);
        world_init(&w, 0, SECURED);
        io = w.filtered[0];
        w.tls[0].wrap = wrap_refuses;
        w.tls[0].user = &code;
        CHECK_RESULT(wsock_attach(w.ws, &io),
                     code < 0 ? code : (int)WSOCK_TLS_ERROR);
        CHECK_INT(wsock_why(w.ws)->phase, WSOCK_PHASE_TLS);
        CHECK_INT(w.link.end[0].closed, 1);
        wsock_attach(w.peer.ws, &w.filtered[1]);
        test_peer_end(&w.peer);
        world_free(&w);
    }
}

/* A peer that never says a word: the handshake time-out has TLS in it, and
 * the HTTP that follows has what is left of it. */
TEST(tls_is_timed)
{
    int server, late;
    for (server = 0; server < 2; server++)
        for (late = 0; late < 2; late++) {
            world w;
            wsock *ws;
            wsock_event e;
            int r = 0, turns;
            test_note("server %d, late %d", server, late);
            world_init(&w, WSOCK_NONBLOCKING, SECURED);
            ws = server ? w.peer.ws : w.ws;
            wsock_attach(ws, &w.filtered[server]);
            while (wsock_poll(ws, &e, 0) > 0)
                CHECK(0);
            w.system.now += 9999;
            if (late) { /* TLS is there at the last moment */
                bytes_put(&w.link.end[server].in, "\1\0\0", 3);
                w.filters[server].hello_sent = 1;
                CHECK_RESULT(wsock_poll(ws, &e, 0), 0);
            }
            for (turns = 0; turns < 10 && r == 0; turns++) {
                r = wsock_poll(ws, &e, 0);
                w.system.now += 1;
            }
            if (server && late) { /* 408 is said, then it lingers */
                CHECK_INT(wsock_why(ws)->http_status, 408);
                CHECK_INT(wsock_why(ws)->phase, WSOCK_PHASE_HTTP);
            } else {
                CHECK_INT(r, 1);
                CHECK_INT(e.type, WSOCK_EVENT_CLOSE);
                CHECK_RESULT(wsock_error(ws), WSOCK_TIMED_OUT);
                CHECK_INT(wsock_why(ws)->phase,
                          late ? WSOCK_PHASE_HTTP : WSOCK_PHASE_TLS);
            }
            wsock_attach(server ? w.ws : w.peer.ws, &w.filtered[!server]);
            wsock_abort(w.ws);
            world_free(&w);
        }
}

static void server_url(const wsock_server *server, char url[64])
{
    snprintf(url, 64, "wss://127.0.0.1:%d/", wsock_server_port(server));
}

/* One client with a loop of its own and one in the server's, both over
 * sockets; a large message fills them. */
TEST(tls_in_a_servers_loop)
{
    enum { SIZE = 300000 };
    wsock_options o;
    wsock_server *server;
    wsock *own, *added;
    wsock_event e;
    uint8_t *data = test_pattern(SIZE);
    char url[64];
    int turns, opens = 0, closes = 0, echoes = 0;
    memset(&o, 0, sizeof o);
    o.tls = &toy_tls;
    o.flags = WSOCK_NONBLOCKING;
    server = wsock_listen("wss://127.0.0.1:0/", &o);
    server_url(server, url);
    own = wsock_connect(url, &o);
    added = wsock_connect(url, &o);
    CHECK_RESULT(wsock_server_add(server, added), WSOCK_OK);
    for (turns = 0; turns < 1000000 && closes < 4; turns++) {
        int r = turns % 2 ? wsock_server_poll(server, &e, 0)
                          : wsock_poll(own, &e, 0);
        if (r <= 0)
            continue;
        if (e.type == WSOCK_EVENT_OPEN && ++opens == 4) {
            CHECK_RESULT(wsock_send(own, WSOCK_BINARY, data, SIZE), 0);
            CHECK_RESULT(wsock_send(added, WSOCK_BINARY, data, SIZE), 0);
        }
        if (e.type == WSOCK_EVENT_MESSAGE) {
            CHECK_BYTES(e.data, e.size, data, SIZE);
            if (e.ws == own || e.ws == added) {
                echoes++;
                CHECK_RESULT(wsock_close(e.ws, 1000, "bye"), WSOCK_OK);
            } else {
                CHECK_RESULT(wsock_send(e.ws, e.kind, e.data, e.size), 0);
            }
        }
        if (e.type == WSOCK_EVENT_CLOSE) {
            closes++;
            CHECK_INT(e.code, 1000);
            CHECK_RESULT(e.why->code, WSOCK_OK);
        }
    }
    CHECK_INT(opens, 4);
    CHECK_INT(echoes, 2);
    CHECK_INT(closes, 4);
    wsock_free(own);
    wsock_free(added);
    wsock_server_free(server);
    free(data);
}

/* An accepted connection takes TLS along when it leaves the server; the
 * client's first message lies inside it already. */
TEST(tls_with_accept)
{
    wsock_options o;
    wsock_server *server;
    wsock *ws = NULL, *client;
    wsock_event e;
    wsock_status got;
    char url[64], text[16];
    int turns, r = 0, closed = 0;
    memset(&o, 0, sizeof o);
    o.tls = &toy_tls;
    server = wsock_listen("wss://127.0.0.1:0/", &o);
    server_url(server, url);
    o.flags = WSOCK_NONBLOCKING;
    client = wsock_connect(url, &o);
    for (turns = 0; turns < 100000 && !ws; turns++) {
        if (wsock_poll(client, &e, 0) > 0 && e.type == WSOCK_EVENT_OPEN)
            wsock_send(client, WSOCK_TEXT, "hello", 5);
        wsock_accept(server, &ws, 0);
    }
    if (!CHECK(ws != NULL))
        return;
    wsock_server_free(server); /* nothing of it is needed any more */
    while (wsock_state(client) == WSOCK_STATE_CONNECTING)
        wsock_poll(client, &e, 0);
    if (e.type == WSOCK_EVENT_OPEN)
        wsock_send(client, WSOCK_TEXT, "hello", 5);
    wsock_flush(client);
    CHECK_RESULT(wsock_receive(ws, text, sizeof text, &got), WSOCK_OK);
    CHECK_BYTES(text, got.bytes, "hello", 5);
    CHECK_RESULT(wsock_send(ws, WSOCK_TEXT, text, got.bytes), WSOCK_OK);
    while (!closed && (r = wsock_poll(client, &e, WSOCK_NEVER)) >= 0)
        if (e.type == WSOCK_EVENT_MESSAGE) {
            CHECK_BYTES(e.data, e.size, "hello", 5);
            closed = 1;
        }
    CHECK(r >= 0);
    wsock_close(client, 1000, "bye");
    wsock_flush(client);
    CHECK_RESULT(wsock_receive(ws, text, sizeof text, &got), WSOCK_OK);
    CHECK_INT(got.kind, WSOCK_CLOSE);
    wsock_free(client);
    wsock_free(ws);
}

static wsock *storm_old;

static void storm_step(int n)
{
    if (n != 3)
        return;
    CHECK_RESULT(wsock_send(storm_old, WSOCK_TEXT, "now", 3), WSOCK_OK);
    CHECK_RESULT(wsock_flush(storm_old), WSOCK_OK);
}

/* Forty new clients ask for TLS at once; a message of an old one, which comes
 * after the third step of their handshakes, does not wait for them all. */
TEST(a_storm_of_handshakes_stalls_nobody)
{
    enum { STORM = 40 };
    wsock_options o;
    wsock_server *server;
    wsock *clients[STORM];
    wsock_event e;
    char url[64];
    int i, turns, opens = 0, heard = 0;
    memset(&o, 0, sizeof o);
    o.tls = &toy_tls;
    o.flags = WSOCK_NONBLOCKING;
    server = wsock_listen("wss://127.0.0.1:0/", &o);
    server_url(server, url);
    storm_old = wsock_connect(url, &o);
    for (turns = 0; turns < 100000 && opens < 2; turns++) {
        opens += wsock_poll(storm_old, &e, 0) > 0;
        opens += wsock_server_poll(server, &e, 0) > 0;
    }
    CHECK_INT(opens, 2);
    for (i = 0; i < STORM; i++) {
        clients[i] = wsock_connect(url, &o);
        wsock_poll(clients[i], &e, 0); /* connects, and says hello */
        wsock_poll(clients[i], &e, 0);
    }
    server_steps = 0;
    server_step = storm_step;
    for (turns = 0; turns < 100000 && !heard; turns++)
        if (wsock_server_poll(server, &e, 0) > 0)
            heard = e.type == WSOCK_EVENT_MESSAGE;
    CHECK(heard);
    CHECK(server_steps >= 3);
    CHECK(server_steps <= 8); /* this round's and the next one's */
    server_step = NULL;
    opens = 0;
    for (turns = 0; turns < 100000 && opens < STORM; turns++) {
        wsock_poll(clients[turns % STORM], &e, 0);
        while (wsock_server_poll(server, &e, 0) > 0)
            opens += e.type == WSOCK_EVENT_OPEN;
    }
    CHECK_INT(opens, STORM);
    for (i = 0; i < STORM; i++)
        wsock_free(clients[i]);
    wsock_free(storm_old);
    wsock_server_free(server);
}

static const test_case tests[] = {
    TEST_ENTRY(polled_through_tls),
    TEST_ENTRY(wss_urls_are_checked),
    TEST_ENTRY(tls_that_cannot_begin),
    TEST_ENTRY(tls_is_timed),
    TEST_ENTRY(tls_in_a_servers_loop),
    TEST_ENTRY(tls_with_accept),
    TEST_ENTRY(a_storm_of_handshakes_stalls_nobody),
    TEST_ENTRY(blocking_over_the_memory_pair),
    TEST_ENTRY(blocking_through_a_filter),
    TEST_ENTRY(blocking_through_tls),
    TEST_ENTRY(held_back_bytes_are_read),
    TEST_ENTRY(every_call_of_the_client_fails),
    TEST_ENTRY(every_call_of_the_server_fails),
    TEST_ENTRY(every_call_below_the_filter_fails),
    TEST_ENTRY(every_call_below_tls_fails),
    TEST_ENTRY(the_stream_ends_anywhere),
    TEST_ENTRY(polled_over_the_memory_pair),
    TEST_ENTRY(polled_through_a_filter),
    TEST_ENTRY(time_outs),
    TEST_ENTRY(held_back_bytes_above_a_descriptor),
    TEST_ENTRY(attach_and_dial_are_checked),
    TEST_ENTRY(connect_over_a_transport_of_ours),
    TEST_ENTRY(receive_control_frames_and_close),
    TEST_ENTRY(held_back_bytes_outlast_a_pause),
    TEST_ENTRY(clients_are_read_above_their_send_limit),
    TEST_ENTRY(a_held_connection_whose_transport_breaks),
    TEST_ENTRY(a_close_behind_a_dead_writing_side),
    TEST_ENTRY(flush_asks_again),
    TEST_ENTRY(finish_may_want),
    TEST_ENTRY(finish_that_wants_is_waited_for),
    TEST_ENTRY(close_timeout_counts_from_the_first_close),
    TEST_ENTRY(attached_servers_answer),
    TEST_ENTRY(headers_end_with_a_blocking_close),
    TEST_ENTRY(headers_outlast_a_send_that_reads_ahead)
};

TEST_MAIN("io", tests)
