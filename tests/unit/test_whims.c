/* The connection layer over transports with whims: what a write or a finish
 * may answer, what may happen while a call waits, and what is left when memory
 * runs out then.  One thread and one script: `wait` is where the test has its
 * say, as another thread or the peer would. */
#define WSOCK_IMPLEMENTATION
#include "../../wsock.h"
#include "test.h"
#include "net.h"

typedef struct whim whim;
struct whim {
    test_system system;
    wsock_io io;
    wsock *ws;
    bytes in, out;
    size_t at;
    int in_ended;       /* the stream ends behind `in`; -1: it breaks there */
    int over;           /* a read or write answers more than it was asked */
    long takes;         /* bytes that a write takes, -1: all, -2: WANT; */
    int write_answer;   /* what it answers else, if it takes 0 */
    int finish_answer;
    long finishes, reads;
    int closed;
    void (*on_wait)(whim *w, int wants);
    int wait_answer;
    long waits;
    long starve_from;   /* all allocations from here on fail; 0: none */
    uint8_t *arena;     /* NULL, or where the read window lies, */
    int below;          /* and messages: below that, or above? */
};

enum { WHIM_WINDOW = 40000, WHIM_LARGE = 10000 };

static void *whim_alloc(void *user, size_t size)
{
    whim *w = (whim *)user; /* its first member is the system */
    if (w->starve_from && w->system.allocations + 1 >= w->starve_from) {
        w->system.allocations++;
        return NULL;
    }
    if (w->arena && size == WHIM_WINDOW)
        return w->arena + WHIM_WINDOW;
    if (w->arena && size >= WHIM_LARGE)
        return w->arena + (w->below ? 0 : 2 * WHIM_WINDOW);
    return test_alloc(user, size);
}

static void whim_release(void *user, void *memory, size_t size)
{
    whim *w = (whim *)user;
    if (!w->arena || size < WHIM_LARGE)
        test_free(user, memory, size);
}

static ptrdiff_t whim_read(void *user, void *data, size_t size)
{
    whim *w = (whim *)user;
    size_t n = w->in.size - w->at;
    CHECK_INT(w->closed, 0);
    w->reads++;
    if (w->over)
        return (ptrdiff_t)size + 1;
    if (n == 0)
        return w->in_ended > 0   ? 0
               : w->in_ended < 0 ? WSOCK_TRANSPORT_ERROR
                                 : WSOCK_WANT_READ;
    if (n > size)
        n = size;
    memcpy(data, w->in.data + w->at, n);
    w->at += n;
    return (ptrdiff_t)n;
}

static ptrdiff_t whim_write(void *user, const wsock_buf *bufs, size_t count)
{
    whim *w = (whim *)user;
    size_t i, n, sum = 0, room = w->takes < 0 ? (size_t)-1 : (size_t)w->takes;
    CHECK_INT(w->closed, 0);
    if (w->takes == -2)
        return WSOCK_WANT_WRITE;
    if (w->takes == 0)
        return w->write_answer;
    for (i = 0; i < count && room; i++) {
        n = bufs[i].size < room ? bufs[i].size : room;
        bytes_put(&w->out, bufs[i].data, n);
        room -= n;
        sum += n;
    }
    return (ptrdiff_t)sum + w->over;
}

static int whim_finish(void *user)
{
    whim *w = (whim *)user;
    w->finishes++;
    return w->finish_answer;
}

static int whim_wait(void *user, int wants, int timeout)
{
    whim *w = (whim *)user;
    w->system.now += timeout > 0 ? timeout : 1;
    if (++w->waits > 1000)
        test_die("it waits for ever");
    if (w->on_wait)
        w->on_wait(w, wants);
    return w->wait_answer;
}

static void whim_close(void *user)
{
    whim *w = (whim *)user;
    CHECK_INT(w->closed, 0);
    w->closed = 1;
}

/* A connection over it, which has not begun. */
static void whim_new(whim *w, int role, wsock_options *o)
{
    memset(w, 0, sizeof *w);
    test_system_init(&w->system);
    w->system.system.alloc = whim_alloc;
    w->system.system.free = whim_release;
    o->system = &w->system.system;
    w->takes = -1;
    w->io.read = whim_read;
    w->io.write = whim_write;
    w->io.finish = whim_finish;
    w->io.wait = whim_wait;
    w->io.close = whim_close;
    w->io.user = w;
    w->ws = wsock_new(role, role == WSOCK_CLIENT ? "ws://h/" : NULL, o);
    CHECK(w->ws != NULL);
}

/* What was used before is given back, so that more has to be asked for. */
static void whim_empties(const whim *w)
{
    wsock__loop *l = w->ws->loop;
    wsock__pool_empty(l, &l->outs);
    wsock__pool_empty(l, &l->rares);
    wsock__pool_empty(l, &l->runs);
    l->outs.count = l->rares.count = l->runs.count = 0;
}

/* The peer of a client answers its request. */
static void whim_answers(whim *w, int wants)
{
    (void)wants;
    put_response(&w->in, bytes_str(&w->out), "");
    bytes_clear(&w->out);
    w->on_wait = NULL;
}

/* All that a polled one has to report now. */
static int whim_events(whim *w, bytes *log)
{
    wsock_event e;
    int r, turns = 0;
    while ((r = wsock_poll(w->ws, &e, 0)) > 0) {
        if (log)
            log_event(log, &e);
        if (++turns > 1000)
            test_die("events without end");
    }
    return r;
}

static void whim_open(whim *w, int role, wsock_options *o)
{
    whim_new(w, role, o);
    if (role == WSOCK_SERVER)
        bytes_text(&w->in, TEST_REQUEST);
    else
        w->on_wait = whim_answers;
    CHECK_RESULT(wsock_attach(w->ws, &w->io), WSOCK_OK);
    if (o->flags & WSOCK_NONBLOCKING) {
        whim_events(w, NULL);
        if (w->on_wait)
            w->on_wait(w, 0);
        whim_events(w, NULL);
        whim_events(w, NULL);
    }
    CHECK_INT(wsock_state(w->ws), WSOCK_STATE_OPEN);
    bytes_clear(&w->out);
    w->in.size = w->at = 0;
}

static void whim_free(whim *w)
{
    wsock_free(w->ws);
    CHECK_INT(w->closed, w->io.close != NULL);
    CHECK_NO_LEAK(&w->system);
    bytes_free(&w->in);
    bytes_free(&w->out);
}

/* ------------------------------------------------ what a write answers -- */

TEST(writes_of_nothing_and_of_too_much)
{
    wsock_options o = untimed(WSOCK_NONBLOCKING);
    bytes log = { 0 };
    whim w;
    whim_open(&w, WSOCK_SERVER, &o);
    w.takes = 0; /* not now, if 0 is what it says */
    CHECK_RESULT(wsock_send(w.ws, WSOCK_TEXT, "x", 1), WSOCK_OK);
    CHECK_RESULT(wsock_flush(w.ws), WSOCK_WOULD_BLOCK);
    w.takes = -1;
    CHECK_RESULT(wsock_flush(w.ws), WSOCK_OK);
    frames_log(&log, &w.out, 0);
    CHECK_STR(bytes_str(&log), "text \"x\"\n");
    w.takes = -2;
    CHECK_RESULT(wsock_send(w.ws, WSOCK_TEXT, "x", 1), WSOCK_OK);
    w.takes = -1;
    w.over = 1;
    CHECK_RESULT(wsock_flush(w.ws), WSOCK_CONNECTION_LOST);
    CHECK_RESULT(wsock_flush(w.ws), WSOCK_CONNECTION_LOST);
    w.over = 0;
    whim_free(&w);
    bytes_free(&log);
}

/* A borrowed send is done and not reported when the next small one comes, and
 * when all is said. */
TEST(a_send_behind_one_that_is_not_reported)
{
    wsock_options o = untimed(WSOCK_NONBLOCKING);
    bytes log = { 0 };
    char context[] = "lent";
    wsock_buf buf;
    whim w;
    whim_open(&w, WSOCK_SERVER, &o);
    buf.data = "lent";
    buf.size = 4;
    CHECK_RESULT(wsock_sendv(w.ws, WSOCK_TEXT | WSOCK_BORROW, &buf, 1,
                             context), WSOCK_OK);
    CHECK_RESULT(wsock_send(w.ws, WSOCK_TEXT, "next", 4), WSOCK_OK);
    frames_log(&log, &w.out, 0);
    CHECK_STR(bytes_str(&log), "text \"lent\"\ntext \"next\"\n");
    CHECK_RESULT(wsock_sendv(w.ws, WSOCK_TEXT | WSOCK_BORROW, &buf, 1,
                             context), WSOCK_OK);
    CHECK_RESULT(wsock_close(w.ws, 1000, ""), WSOCK_OK);
    frame_close(&w.in, 1, 1000, "");
    w.in_ended = 1;
    bytes_clear(&log);
    CHECK_RESULT(whim_events(&w, &log), WSOCK_CLOSED);
    CHECK_STR(bytes_str(&log), "SENT lent WSOCK_OK\nSENT lent WSOCK_OK\n"
                               "CLOSE 1000 \"\" WSOCK_OK\n");
    whim_free(&w);
    bytes_free(&log);
}

/* It leaves when the peer's Close was answered: its SENT comes before the
 * end. */
TEST(a_borrowed_send_that_leaves_late)
{
    wsock_options o = untimed(WSOCK_NONBLOCKING);
    bytes log = { 0 };
    char context[] = "lent";
    wsock_buf buf;
    whim w;
    whim_open(&w, WSOCK_SERVER, &o);
    buf.data = "lent";
    buf.size = 4;
    w.takes = -2;
    CHECK_RESULT(wsock_sendv(w.ws, WSOCK_TEXT | WSOCK_BORROW, &buf, 1,
                             context), WSOCK_OK);
    frame_close(&w.in, 1, 1000, "");
    whim_events(&w, &log);
    CHECK_INT(wsock_state(w.ws), WSOCK_STATE_CLOSING);
    w.takes = -1;
    w.in_ended = 1;
    CHECK_RESULT(whim_events(&w, &log), WSOCK_CLOSED);
    CHECK_STR(bytes_str(&log), "SENT lent WSOCK_OK\n"
                               "CLOSE 1000 \"\" WSOCK_OK\n");
    whim_free(&w);
    bytes_free(&log);
}

/* What may not be referred to, as its memory does not stay, is copied: several
 * pieces; and anything with options.memory. */
TEST(echoes_that_are_copied)
{
    static char memory[1 << 16];
    uint8_t *data = test_pattern(5000);
    int fixed;
    for (fixed = 0; fixed < 2; fixed++) {
        wsock_options o = untimed(WSOCK_NONBLOCKING);
        bytes log = { 0 };
        wsock_event e;
        wsock_buf bufs[2];
        whim w;
        if (fixed) {
            o.memory = memory;
            o.memory_size = sizeof memory;
            o.max_message = o.receive_buffer = 6000;
            o.send_limit = 12000;
        }
        test_note("%s", fixed ? "options.memory" : "pieces");
        whim_open(&w, WSOCK_SERVER, &o);
        frame_put(&w.in, FIN | 2, 1, data, 5000);
        CHECK_INT(wsock_poll(w.ws, &e, 0), 1);
        bufs[0].data = e.data;
        bufs[0].size = 1000;
        bufs[1].data = (char *)e.data + 1000;
        bufs[1].size = 4000;
        w.takes = -2;
        CHECK_RESULT(fixed ? wsock_send(w.ws, e.kind, e.data, e.size)
                           : wsock_sendv(w.ws, e.kind, bufs, 2, NULL),
                     WSOCK_OK);
        whim_events(&w, NULL);
        w.takes = -1;
        CHECK_RESULT(wsock_flush(w.ws), WSOCK_OK);
        CHECK_BYTES(w.out.data + 4, w.out.size - 4, data, 5000);
        whim_free(&w);
        bytes_free(&log);
    }
    free(data);
}

/* A ping that comes while nothing moves: its Pong goes behind the one frame
 * that waits. */
TEST(a_pong_behind_one_frame)
{
    wsock_options o = untimed(WSOCK_NONBLOCKING);
    bytes log = { 0 };
    whim w;
    whim_open(&w, WSOCK_SERVER, &o);
    w.takes = -2;
    CHECK_RESULT(wsock_send(w.ws, WSOCK_TEXT, "x", 1), WSOCK_OK);
    frame_text(&w.in, FIN | 9, 1, "ping");
    whim_events(&w, &log);
    w.takes = -1;
    CHECK_RESULT(wsock_flush(w.ws), WSOCK_OK);
    bytes_clear(&log);
    frames_log(&log, &w.out, 0);
    CHECK_STR(bytes_str(&log), "text \"x\"\npong \"ping\"\n");
    whim_free(&w);
    bytes_free(&log);
}

/* Echoes of a message that lay whole in the window, and of one that had to be
 * put together behind it, wherever their memory is: the latter alone keeps
 * its message. */
TEST(echoes_that_wait_keep_their_memory)
{
    uint8_t *data = test_pattern(12000);
    uint8_t *arena = (uint8_t *)malloc(3 * WHIM_WINDOW);
    int below;
    for (below = 0; below < 2; below++) {
        wsock_options o = untimed(WSOCK_NONBLOCKING);
        bytes log = { 0 };
        wsock_event e;
        whim w;
        o.receive_buffer = WHIM_WINDOW;
        test_note("%s", below ? "below" : "above");
        whim_new(&w, WSOCK_SERVER, &o);
        w.arena = arena;
        w.below = below;
        bytes_text(&w.in, TEST_REQUEST);
        CHECK_RESULT(wsock_attach(w.ws, &w.io), WSOCK_OK);
        whim_events(&w, NULL);
        bytes_clear(&w.out);
        frame_put(&w.in, FIN | 2, 1, data, 5000);
        frame_put(&w.in, 2, 1, data, 6000);
        frame_put(&w.in, FIN, 1, data + 6000, 6000);
        frame_text(&w.in, FIN | 1, 1, "end");
        w.takes = -2;
        CHECK_INT(wsock_poll(w.ws, &e, 0), 1);
        CHECK_RESULT(wsock_send(w.ws, e.kind, e.data, e.size), WSOCK_OK);
        CHECK_RESULT(wsock_flush(w.ws), WSOCK_WOULD_BLOCK);
        CHECK_INT(wsock_poll(w.ws, &e, 0), 1);
        CHECK_INT(e.size, 12000);
        CHECK_RESULT(wsock_send(w.ws, e.kind, e.data, e.size), WSOCK_OK);
        CHECK_INT(wsock_poll(w.ws, &e, 0), 1);
        CHECK_INT(e.size, 3);
        whim_events(&w, NULL);
        memset(arena + WHIM_WINDOW, '?', WHIM_WINDOW);
        w.takes = -1;
        CHECK_RESULT(wsock_flush(w.ws), WSOCK_OK);
        CHECK_INT(w.out.size, 4 + 5000 + 4 + 12000);
        CHECK_BYTES(w.out.data + 4, 5000, data, 5000);
        CHECK_BYTES(w.out.data + 5008, 12000, data, 12000);
        whim_free(&w);
        bytes_free(&log);
    }
    free(arena);
    free(data);
}

/* Aborted in the last event that a poll reports for now: the rest comes when
 * that has returned 0. */
TEST(aborted_at_poll_messages)
{
    wsock_options o = untimed(WSOCK_NONBLOCKING);
    bytes log = { 0 };
    char context[] = "lent";
    wsock_event e;
    wsock_buf buf;
    whim w;
    o.poll_messages = 1;
    whim_open(&w, WSOCK_SERVER, &o);
    CHECK_INT(wsock_poll(w.ws, &e, 0), 0);
    frame_text(&w.in, FIN | 1, 1, "a");
    frame_text(&w.in, FIN | 1, 1, "b");
    CHECK_INT(wsock_poll(w.ws, &e, 0), 1);
    w.takes = -2;
    buf.data = "lent";
    buf.size = 4;
    CHECK_RESULT(wsock_sendv(w.ws, WSOCK_TEXT | WSOCK_BORROW, &buf, 1,
                             context), WSOCK_OK);
    wsock_abort(w.ws);
    CHECK_INT(wsock_poll(w.ws, &e, 0), 0);
    whim_events(&w, &log);
    whim_events(&w, &log);
    CHECK_STR(bytes_str(&log), "SENT lent WSOCK_ABORTED\n"
                               "CLOSE 1006 \"\" WSOCK_ABORTED\n");
    whim_free(&w);
    bytes_free(&log);
}

/* ------------------------------------------------------- how they end -- */

/* Without a finish, and with one that fails, the end comes all the same. */
TEST(ends_without_a_finish)
{
    int how;
    for (how = 0; how < 2; how++) {
        wsock_options o = untimed(WSOCK_NONBLOCKING);
        bytes log = { 0 };
        whim w;
        whim_new(&w, WSOCK_SERVER, &o);
        if (how)
            w.finish_answer = WSOCK_TRANSPORT_ERROR;
        else
            w.io.finish = NULL;
        bytes_text(&w.in, TEST_REQUEST);
        CHECK_RESULT(wsock_attach(w.ws, &w.io), WSOCK_OK);
        frame_close(&w.in, 1, 1000, "");
        test_note("%s", how ? "it fails" : "none");
        whim_events(&w, &log);
        if (!how) { /* the peer's end is waited for */
            CHECK_INT(wsock_state(w.ws), WSOCK_STATE_CLOSING);
            w.in_ended = 1;
            whim_events(&w, &log);
        }
        CHECK_STR(bytes_str(&log), "OPEN\nCLOSE 1000 \"\" WSOCK_OK\n");
        CHECK_INT(w.finishes, how);
        whim_free(&w);
        bytes_free(&log);
    }
}

/* The client's answer to Close does not leave before the server has ended its
 * side: then there is nothing to leave to the server. */
TEST(a_client_whose_close_leaves_late)
{
    wsock_options o = untimed(WSOCK_NONBLOCKING);
    bytes log = { 0 };
    whim w;
    whim_open(&w, WSOCK_CLIENT, &o);
    w.takes = -2;
    frame_close(&w.in, 0, 1000, "");
    w.in_ended = 1;
    whim_events(&w, &log);
    whim_events(&w, &log);
    CHECK_STR(bytes_str(&log), "");
    CHECK_INT(w.finishes, 0);
    w.takes = -1;
    whim_events(&w, &log);
    CHECK_STR(bytes_str(&log), "CLOSE 1000 \"\" WSOCK_OK\n");
    CHECK_INT(w.finishes, 1);
    whim_free(&w);
    bytes_free(&log);
}

/* What a server refuses is closing until the peer has the answer. */
TEST(a_refused_peer_takes_nothing)
{
    wsock_options o = untimed(WSOCK_NONBLOCKING);
    bytes log = { 0 };
    whim w;
    whim_new(&w, WSOCK_SERVER, &o);
    w.takes = -2;
    bytes_text(&w.in, "POST / HTTP/1.1\r\nHost: h\r\n\r\n");
    CHECK_RESULT(wsock_attach(w.ws, &w.io), WSOCK_OK);
    whim_events(&w, &log);
    CHECK_INT(wsock_state(w.ws), WSOCK_STATE_CLOSING);
    CHECK_RESULT(wsock_close(w.ws, 1000, ""), WSOCK_OK);
    w.takes = -1;
    w.in_ended = 1;
    whim_events(&w, &log);
    CHECK_STR(bytes_str(&log), "CLOSE 1006 \"\" WSOCK_REFUSED\n");
    whim_free(&w);
    bytes_free(&log);
}

/* --------------------------------------------------------- keepalive -- */

TEST(keepalive_at_its_edges)
{
    wsock_options o = untimed(WSOCK_NONBLOCKING);
    bytes log = { 0 };
    whim w;
    o.keepalive_interval = 100;
    o.pong_timeout = WSOCK_NEVER;
    whim_open(&w, WSOCK_SERVER, &o);
    w.system.now += 100; /* a ping, whose Pong is not waited for */
    whim_events(&w, &log);
    frames_log(&log, &w.out, 0);
    CHECK_STR(bytes_str(&log), "ping \"\"\n");
    bytes_clear(&log);
    frame_text(&w.in, FIN | 10, 1, "mine"); /* no answer to an empty ping */
    whim_events(&w, &log);
    CHECK_STR(bytes_str(&log), "PONG \"mine\"\n");
    CHECK_INT(wsock_rtt(w.ws), -1);
    frame_text(&w.in, FIN | 10, 1, "");
    whim_events(&w, &log);
    CHECK(wsock_rtt(w.ws) >= 0);
    bytes_clear(&w.out);
    /* While it is paused, while memory is out, and behind Close: none. */
    wsock_pause(w.ws, 1);
    w.system.now += 100;
    whim_events(&w, &log);
    wsock_pause(w.ws, 0);
    whim_empties(&w);
    w.starve_from = 1;
    w.system.now += 100;
    whim_events(&w, &log);
    w.starve_from = 0;
    CHECK_INT(w.out.size, 0);
    CHECK_RESULT(wsock_shutdown(w.ws, 1000, ""), WSOCK_OK);
    w.system.now += 1000;
    whim_events(&w, &log);
    bytes_clear(&log);
    frames_log(&log, &w.out, 0);
    CHECK_STR(bytes_str(&log), "close 1000\n");
    whim_free(&w);
    bytes_free(&log);
}

/* ------------------------------------------- large frames, and limits -- */

/* Two GiB are announced: no more than one is asked for at a time. */
TEST(a_frame_of_two_gib)
{
    wsock_options o = untimed(WSOCK_NONBLOCKING | WSOCK_PARTS);
    bytes log = { 0 };
    uint8_t *data = test_pattern(5000);
    whim w;
    whim_open(&w, WSOCK_SERVER, &o);
    frame_header(&w.in, FIN | 2, 1, 64, (uint64_t)1 << 31);
    whim_events(&w, &log);
    bytes_put(&w.in, data, 5000);
    whim_events(&w, &log);
    CHECK(strncmp(bytes_str(&log), "BINARY|FRAGMENT 5000 bytes", 26) == 0);
    whim_free(&w);
    bytes_free(&log);
    free(data);
}

/* ------------------------------------------------------- without memory -- */

/* Not even for the account of what failed. */
TEST(failures_without_memory)
{
    wsock_options o = untimed(WSOCK_NONBLOCKING);
    bytes log = { 0 };
    whim w;
    whim_open(&w, WSOCK_SERVER, &o);
    wsock_send(w.ws, WSOCK_TEXT, "x", 1);
    whim_events(&w, &log);
    whim_empties(&w);
    w.starve_from = 1;
    w.in_ended = -1;
    whim_events(&w, &log);
    CHECK_STR(bytes_str(&log), "CLOSE 1006 \"\" WSOCK_NO_MEMORY\n");
    CHECK_RESULT(wsock_error(w.ws), WSOCK_CONNECTION_LOST);
    whim_free(&w);
    /* A peer that is told so, and cannot be read from any more. */
    bytes_clear(&log);
    whim_new(&w, WSOCK_SERVER, &o);
    CHECK_RESULT(wsock_attach(w.ws, &w.io), WSOCK_OK);
    w.starve_from = 1;
    bytes_text(&w.in, TEST_REQUEST);
    whim_events(&w, &log);
    CHECK_STR(bytes_str(&log), "CLOSE 1006 \"\" WSOCK_NO_MEMORY\n");
    whim_free(&w);
    bytes_free(&log);
}

/* A large message of which the rest cannot be kept. */
TEST(a_large_message_without_memory)
{
    wsock_options o = untimed(WSOCK_NONBLOCKING);
    uint8_t *data = test_pattern(200000);
    bytes log = { 0 };
    whim w;
    o.receive_buffer = 4096;
    whim_open(&w, WSOCK_SERVER, &o);
    frame_header(&w.in, FIN | 2, 1, 0, 200000);
    bytes_put(&w.in, data, 60000);
    whim_events(&w, &log);
    w.starve_from = 1;
    bytes_put(&w.in, data, 140000);
    w.in_ended = 1;
    whim_events(&w, &log);
    CHECK_STR(bytes_str(&log), "CLOSE 1006 \"\" WSOCK_NO_MEMORY\n");
    whim_free(&w);
    bytes_free(&log);
    free(data);
}

/* The peer says Close, nothing can be written, and there is no memory for the
 * account that said so. */
TEST(close_behind_a_dead_side_without_memory)
{
    wsock_options o = untimed(WSOCK_NONBLOCKING);
    bytes log = { 0 };
    whim w;
    whim_open(&w, WSOCK_SERVER, &o);
    whim_events(&w, &log);
    wsock_send(w.ws, WSOCK_TEXT, "x", 1);
    whim_events(&w, &log);
    whim_empties(&w);
    CHECK_RESULT(wsock_send(w.ws, WSOCK_TEXT | WSOCK_FRAGMENT, "x", 1),
                 WSOCK_OK);
    w.starve_from = 1;
    w.over = 1;
    CHECK_RESULT(wsock_send(w.ws, WSOCK_TEXT, "x", 1), WSOCK_OK);
    w.over = 0;
    CHECK_RESULT(wsock_error(w.ws), WSOCK_CONNECTION_LOST);
    frame_close(&w.in, 1, 1000, "");
    whim_events(&w, &log);
    CHECK_STR(bytes_str(&log), "CLOSE 1000 \"\" WSOCK_OK\n");
    whim_free(&w);
    bytes_free(&log);
}

/* A request does not come in time, and there is no memory to say so. */
TEST(a_time_out_without_memory)
{
    wsock_options o = untimed(WSOCK_NONBLOCKING);
    bytes log = { 0 };
    whim w;
    o.handshake_timeout = 100;
    whim_new(&w, WSOCK_SERVER, &o);
    CHECK_RESULT(wsock_attach(w.ws, &w.io), WSOCK_OK);
    whim_events(&w, &log);
    wsock__rare_free(w.ws); /* which wsock_attach() has made */
    whim_empties(&w);
    w.starve_from = 1;
    w.in_ended = 0;
    w.system.now += 100;
    whim_events(&w, &log);
    w.in_ended = 1;
    whim_events(&w, &log);
    CHECK_STR(bytes_str(&log), "CLOSE 1006 \"\" WSOCK_NO_MEMORY\n");
    CHECK_RESULT(wsock_error(w.ws), WSOCK_REFUSED);
    CHECK_INT(w.out.size, 0);
    whim_free(&w);
    bytes_free(&log);
}

/* wsock_connect() over a transport of ours that memory is out for. */
TEST(connect_without_memory)
{
    long n;
    int i, failed = 1, sticks = 0;
    for (n = 1; n < 20 && failed; n++) {
        wsock_options o = untimed(WSOCK_NONBLOCKING);
        whim w;
        whim_new(&w, WSOCK_CLIENT, &o);
        wsock_free(w.ws);
        o.io = &w.io;
        w.system.allocations = 0;
        w.system.fail_at = n;
        w.ws = wsock_connect("ws://h/", &o);
        for (i = 0; i < 3; i++)
            whim_events(&w, NULL);
        failed = w.system.allocations >= n;
        if (w.ws && wsock_error(w.ws)) {
            CHECK_RESULT(wsock_error(w.ws), WSOCK_NO_MEMORY);
            sticks++;
        }
        wsock_free(w.ws);
        w.closed = 0;
        CHECK_NO_LEAK(&w.system);
        bytes_free(&w.in);
        bytes_free(&w.out);
    }
    CHECK(!failed);
    CHECK(sticks > 1);
}

/* ----------------------------------------------------------- wrong calls -- */

TEST(wrong_calls_over_a_transport)
{
    wsock_options o = untimed(WSOCK_NONBLOCKING);
    const char *name, *value;
    wsock_event e;
    wsock_buf buf;
    wsock_io io;
    char text[8];
    wsock *ws;
    whim w;
    whim_open(&w, WSOCK_SERVER, &o);
    CHECK_INT(wsock_output(w.ws, &buf, 1), 0);
    CHECK_RESULT(wsock_output_done(w.ws, 0), WSOCK_INVALID_PARAMETER);
    CHECK_RESULT(wsock_next(w.ws, &e), WSOCK_INVALID_OPERATION);
    CHECK_RESULT(wsock_feed(w.ws, text, 1), WSOCK_INVALID_OPERATION);
    CHECK_RESULT(wsock_head_out(w.ws, 0, &name, &value),
                 WSOCK_INVALID_OPERATION);
    CHECK_RESULT(wsock_head_in(w.ws, "GET / HTTP/1.1", NULL),
                 WSOCK_INVALID_OPERATION);
    CHECK_INT(wsock_watches(w.ws, NULL, 0), 0); /* it has no descriptor */
    wsock_abort(w.ws);
    CHECK_INT(wsock_timeout(w.ws), 0); /* CLOSE is to be had */
    CHECK_RESULT(wsock_flush(w.ws), WSOCK_ABORTED);
    io = w.io;
    whim_free(&w);
    ws = wsock_new(WSOCK_SERVER, NULL, &o);
    o.system = NULL;
    CHECK_INT(wsock_timeout(ws), WSOCK_NEVER);
    io.write = NULL;
    CHECK_RESULT(wsock_attach(ws, &io), WSOCK_INVALID_PARAMETER);
    wsock_free(ws);
    o.flags = WSOCK_REQUESTS; /* who would get the event? */
    io.write = whim_write;
    ws = wsock_new(WSOCK_SERVER, NULL, &o);
    CHECK_RESULT(wsock_attach(ws, &io), WSOCK_INVALID_PARAMETER);
    wsock_free(ws);
}

static int still_opening(void *user, const char *host, int port)
{
    (void)user;
    (void)host;
    (void)port;
    return WSOCK_WANT_READ;
}

TEST(flush_before_there_is_a_transport)
{
    wsock_options o = untimed(WSOCK_NONBLOCKING);
    whim w;
    whim_new(&w, WSOCK_CLIENT, &o);
    w.io.open = still_opening;
    CHECK_RESULT(wsock_attach(w.ws, &w.io), WSOCK_OK);
    CHECK_RESULT(wsock_flush(w.ws), WSOCK_INVALID_OPERATION);
    whim_free(&w);
}

static int does_not_open(void *user, const char *host, int port)
{
    (void)user;
    CHECK(host == NULL); /* a server has no URL */
    CHECK_INT(port, 0);
    return WSOCK_TRANSPORT_ERROR;
}

TEST(a_servers_transport_does_not_open)
{
    wsock_options o = untimed(WSOCK_NONBLOCKING);
    whim w;
    whim_new(&w, WSOCK_SERVER, &o);
    w.io.open = does_not_open;
    CHECK_RESULT(wsock_attach(w.ws, &w.io), WSOCK_OK);
    whim_events(&w, NULL);
    CHECK_RESULT(wsock_error(w.ws), WSOCK_CONNECT_FAILED);
    CHECK_STR(wsock_error_text(w.ws), "no connection to the peer");
    whim_free(&w);
}

/* A clock that goes back, against its contract, makes waits long, not wrong. */
TEST(a_clock_that_goes_back)
{
    wsock_options o = untimed(WSOCK_NONBLOCKING);
    whim w;
    o.keepalive_interval = 100;
    whim_new(&w, WSOCK_SERVER, &o);
    w.system.now = (int64_t)1 << 40;
    bytes_text(&w.in, TEST_REQUEST);
    CHECK_RESULT(wsock_attach(w.ws, &w.io), WSOCK_OK);
    whim_events(&w, NULL);
    CHECK_INT(wsock_timeout(w.ws), 100);
    w.system.now = 0;
    CHECK_INT(wsock_timeout(w.ws), INT_MAX);
    whim_free(&w);
}

/* ------------------------------------------------------ blocking calls -- */

/* While a send waits the peer says something and ends its stream, or the
 * transport breaks; then it takes all. */
static void peer_leaves(whim *w, int wants)
{
    (void)wants;
    if (w->waits == 2)
        frame_text(&w->in, FIN | 1, 0, "hello");
    if (w->waits == 3)
        w->in_ended = 1;
    if (w->waits == 4)
        w->takes = -1;
}

static void transport_breaks(whim *w, int wants)
{
    (void)wants;
    if (w->waits == 2)
        frame_text(&w->in, FIN | 1, 0, "hello");
    if (w->waits == 3)
        w->in_ended = -1;
}

static void reads_too_much(whim *w, int wants)
{
    (void)wants;
    if (w->waits == 2)
        frame_text(&w->in, FIN | 1, 0, "hello");
    if (w->waits == 3)
        w->over = 1;
}

static void (*const ends[3])(whim *, int) = { peer_leaves, transport_breaks,
                                              reads_too_much };

TEST(the_end_comes_while_a_send_waits)
{
    uint8_t *data = test_pattern(5000);
    wsock_status got;
    char text[16];
    int how, close_it;
    for (how = 0; how < 3; how++)
        for (close_it = 0; close_it < 2; close_it++) {
            wsock_options o = untimed(0);
            whim w;
            test_note("%d %d", how, close_it);
            whim_open(&w, WSOCK_CLIENT, &o);
            CHECK_INT(w.waits, 1);
            w.takes = -2;
            w.on_wait = ends[how];
            CHECK_RESULT(wsock_send(w.ws, WSOCK_BINARY, data, 5000),
                         how ? WSOCK_CONNECTION_LOST : WSOCK_OK);
            w.over = 0;
            w.on_wait = NULL;
            if (close_it) {
                CHECK_RESULT(wsock_close(w.ws, 1000, ""),
                             WSOCK_CONNECTION_LOST);
            } else { /* what came before is still there */
                if (CHECK_RESULT(wsock_receive(w.ws, text, sizeof text, &got),
                                 WSOCK_OK))
                    CHECK_BYTES(text, got.bytes, "hello", 5);
                CHECK_RESULT(wsock_receive(w.ws, text, sizeof text, &got),
                             WSOCK_CONNECTION_LOST);
            }
            whim_free(&w);
        }
    free(data);
}

/* More of it was read already than a receive took, and cannot be put aside. */
static void takes_soon(whim *w, int wants)
{
    (void)wants;
    if (w->waits == 5)
        w->takes = -1;
}

TEST(what_was_read_stays_where_it_is)
{
    wsock_options o = untimed(0);
    uint8_t *data = test_pattern(5000);
    wsock_status got;
    char text[8];
    whim w;
    whim_open(&w, WSOCK_CLIENT, &o);
    frame_text(&w.in, FIN | 1, 0, "one");
    frame_text(&w.in, FIN | 1, 0, "two");
    CHECK_RESULT(wsock_receive(w.ws, text, sizeof text, &got), WSOCK_OK);
    CHECK_BYTES(text, got.bytes, "one", 3);
    CHECK_RESULT(wsock_send(w.ws, WSOCK_BINARY, data, 5000), WSOCK_OK);
    wsock__pool_empty(w.ws->loop, &w.ws->loop->ins);
    w.ws->loop->ins.count = 0;
    w.starve_from = 1;
    w.waits = 0;
    w.takes = -2;
    w.on_wait = takes_soon;
    CHECK_RESULT(wsock_send(w.ws, WSOCK_BINARY, data, 5000), WSOCK_OK);
    w.starve_from = 0;
    w.on_wait = NULL;
    CHECK_RESULT(wsock_receive(w.ws, text, sizeof text, &got), WSOCK_OK);
    CHECK_BYTES(text, got.bytes, "two", 3);
    whim_free(&w);
    free(data);
}

/* The same with the n-th allocation failing, or all from it on: a send that
 * cannot read ahead still sends. */
TEST(reading_ahead_without_memory)
{
    uint8_t *data = test_pattern(5000);
    long n;
    int starve, failed = 1;
    for (starve = 0; starve < 2; starve++)
        for (n = 1, failed = 1; n < 20 && failed; n++) {
            wsock_options o = untimed(0);
            whim w;
            int r;
            test_note("allocation %ld, %d", n, starve);
            whim_open(&w, WSOCK_CLIENT, &o);
            w.takes = -2;
            w.on_wait = peer_leaves;
            if (starve)
                w.starve_from = w.system.allocations + n;
            else
                w.system.fail_at = w.system.allocations + n;
            failed = 0;
            r = wsock_send(w.ws, WSOCK_BINARY, data, 5000);
            CHECK(r == WSOCK_OK || r == WSOCK_NO_MEMORY);
            if (r == WSOCK_OK)
                CHECK(w.out.size > 5000);
            failed = w.system.allocations >= (starve ? w.starve_from
                                                     : w.system.fail_at);
            w.on_wait = NULL;
            whim_free(&w);
        }
    CHECK(!failed);
    free(data);
}

/* Half a message was received and kept: with options.memory a send that waits
 * has nowhere to put what comes, and still sends. */
static void rest_comes(whim *w, int wants)
{
    (void)wants;
    static const char rest[100] = "the rest of a message that is large";
    if (w->waits % 3 == 0)
        bytes_put(&w->in, rest, sizeof rest);
    if (w->waits > 20)
        w->takes = -1;
}

TEST(reading_ahead_in_memory)
{
    static char memory[1 << 16];
    uint8_t *data = test_pattern(5000);
    wsock_options o = untimed(0);
    wsock_status got;
    char text[64];
    int kept;
    for (kept = 0; kept < 2; kept++) {
        whim w;
        o.memory = memory;
        o.memory_size = sizeof memory;
        o.receive_timeout = 10;
        o.send_limit = 10000;
        whim_open(&w, WSOCK_CLIENT, &o);
        test_note("kept %d", kept);
        if (kept) {
            frame_header(&w.in, FIN | 2, 0, 0, 2000);
            bytes_put(&w.in, data, 20);
            CHECK_RESULT(wsock_receive(w.ws, text, sizeof text, &got),
                         WSOCK_TIMED_OUT);
        }
        w.waits = 0;
        w.takes = -2;
        w.on_wait = rest_comes;
        CHECK_RESULT(wsock_send(w.ws, WSOCK_BINARY, data, 5000), WSOCK_OK);
        CHECK(w.out.size > 5000);
        whim_free(&w);
    }
    free(data);
}

/* Its `wait` fails, perhaps after another thread has ended it. */
static void abort_it(whim *w, int wants)
{
    (void)wants;
    wsock_abort(w->ws);
}

TEST(a_wait_fails_while_a_send_waits)
{
    uint8_t *data = test_pattern(5000);
    int aborted;
    for (aborted = 0; aborted < 2; aborted++) {
        wsock_options o = untimed(0);
        whim w;
        whim_open(&w, WSOCK_CLIENT, &o);
        w.takes = -2;
        w.wait_answer = WSOCK_TRANSPORT_ERROR;
        if (aborted)
            w.on_wait = abort_it;
        CHECK_RESULT(wsock_send(w.ws, WSOCK_BINARY, data, 5000),
                     aborted ? WSOCK_ABORTED : WSOCK_IO_ERROR);
        whim_free(&w);
    }
    free(data);
}

/* Ended from elsewhere while it waits: the transport is let go when the wait
 * is over, if it wants to know. */
TEST(ended_while_it_waits_without_a_close)
{
    wsock_options o = untimed(0);
    wsock_status got;
    char text[8];
    whim w;
    whim_new(&w, WSOCK_CLIENT, &o);
    w.io.close = NULL;
    w.on_wait = whim_answers;
    CHECK_RESULT(wsock_attach(w.ws, &w.io), WSOCK_OK);
    w.in.size = w.at = 0;
    w.on_wait = abort_it;
    CHECK_RESULT(wsock_receive(w.ws, text, sizeof text, &got),
                 WSOCK_ABORTED);
    CHECK_RESULT(wsock_poll(w.ws, NULL, 0), WSOCK_INVALID_PARAMETER);
    {
        wsock_event e; /* a blocking one stays one, also without transport */
        CHECK_RESULT(wsock_next(w.ws, &e), WSOCK_INVALID_OPERATION);
    }
    CHECK_RESULT(wsock_sendv(w.ws, WSOCK_TEXT | WSOCK_BORROW, NULL, 0, NULL),
                 WSOCK_ABORTED);
    whim_free(&w);
}

/* ---- what a receive keeps */

/* A message of 100 bytes comes in two halves, each too late for a receive;
 * the next ones have less room than was kept, or more. */
TEST(receives_that_keep)
{
    uint8_t *data = test_pattern(100);
    wsock_options o = untimed(0);
    wsock_status got;
    uint8_t text[128];
    whim w;
    o.receive_timeout = 10;
    o.max_message = 10; /* parts are not bound by it */
    whim_open(&w, WSOCK_CLIENT, &o);
    CHECK_RESULT(wsock_sendv(w.ws, WSOCK_TEXT | WSOCK_BORROW, NULL, 0, NULL),
                 WSOCK_INVALID_PARAMETER); /* nobody would see SENT */
    frame_header(&w.in, FIN | 2, 0, 0, 100);
    bytes_put(&w.in, data, 50);
    CHECK_RESULT(wsock_receive(w.ws, text, sizeof text, &got),
                 WSOCK_TIMED_OUT);
    CHECK_RESULT(wsock_receive(w.ws, text, 20, &got), WSOCK_OK);
    CHECK_INT(got.kind, WSOCK_BINARY | WSOCK_FRAGMENT);
    CHECK_BYTES(text, got.bytes, data, 20);
    CHECK_RESULT(wsock_receive(w.ws, text, sizeof text, &got),
                 WSOCK_TIMED_OUT);
    bytes_put(&w.in, data + 50, 50);
    CHECK_RESULT(wsock_receive(w.ws, text, sizeof text, &got), WSOCK_OK);
    CHECK_INT(got.kind, WSOCK_BINARY);
    CHECK_BYTES(text, got.bytes, data + 20, 80);
    whim_free(&w);
    free(data);
}

/* With options.memory more was received than can be kept: it is handed out
 * instead. */
TEST(a_receive_that_cannot_keep)
{
    static char memory[1 << 16];
    uint8_t *data = test_pattern(2000);
    wsock_options o = untimed(0);
    wsock_status got;
    uint8_t text[2000];
    whim w;
    o.memory = memory;
    o.memory_size = sizeof memory;
    o.receive_timeout = 10;
    o.max_message = o.max_header = 500;
    whim_open(&w, WSOCK_CLIENT, &o);
    frame_header(&w.in, FIN | 2, 0, 0, 2000);
    bytes_put(&w.in, data, 1000);
    CHECK_RESULT(wsock_receive(w.ws, text, sizeof text, &got), WSOCK_OK);
    CHECK_INT(got.kind, WSOCK_BINARY | WSOCK_FRAGMENT);
    CHECK_BYTES(text, got.bytes, data, 1000);
    whim_free(&w);
    free(data);
}

/* WSOCK_CONTROL: no ping is handed out inside of what is copied already, and
 * none that is larger than the buffer. */
TEST(pings_that_are_not_handed_out)
{
    wsock_options o = untimed(WSOCK_CONTROL);
    wsock_status got;
    uint8_t text[8];
    whim w;
    whim_open(&w, WSOCK_CLIENT, &o);
    frame_text(&w.in, 1, 0, "ab"); /* not the last of its message */
    frame_text(&w.in, FIN | 9, 0, "x");
    frame_text(&w.in, FIN, 0, "cd");
    CHECK_RESULT(wsock_receive(w.ws, text, sizeof text, &got), WSOCK_OK);
    CHECK_INT(got.kind, WSOCK_TEXT);
    CHECK_BYTES(text, got.bytes, "abcd", 4);
    frame_text(&w.in, FIN | 9, 0, "larger than eight");
    frame_text(&w.in, FIN | 1, 0, "ef");
    CHECK_RESULT(wsock_receive(w.ws, text, sizeof text, &got), WSOCK_OK);
    CHECK_INT(got.kind, WSOCK_TEXT);
    CHECK_BYTES(text, got.bytes, "ef", 2);
    whim_free(&w);
}

/* The answer to the peer's Close leaves before the receive that has it
 * returns; what comes meanwhile is dropped, and the peer's end is an end. */
static void stuck_for_a_while(whim *w, int wants)
{
    (void)wants;
    bytes_put(&w->in, "more", 4);
    if (w->waits == 3)
        w->takes = -1;
}

static void stuck_for_good(whim *w, int wants)
{
    (void)wants;
    if (w->waits == 3)
        w->in_ended = -1;
}

static void cancel_it(whim *w, int wants)
{
    (void)wants;
    CHECK_RESULT(wsock_cancel(w->ws), WSOCK_OK);
}

TEST(an_answer_to_close_that_waits)
{
    static void (*const say[3])(whim *, int) = { stuck_for_a_while,
                                                 stuck_for_good, cancel_it };
    int how;
    for (how = 0; how < 3; how++) {
        wsock_options o = untimed(0);
        wsock_status got;
        bytes log = { 0 };
        char text[8];
        whim w;
        test_note("%d", how);
        whim_open(&w, WSOCK_CLIENT, &o);
        w.takes = -2;
        w.on_wait = say[how];
        frame_close(&w.in, 0, 1000, "bye");
        CHECK_RESULT(wsock_receive(w.ws, text, sizeof text, &got), WSOCK_OK);
        CHECK_INT(got.kind, WSOCK_CLOSE);
        frames_log(&log, &w.out, 1);
        CHECK_STR(bytes_str(&log), how ? "" : "close 1000\n");
        w.on_wait = NULL;
        whim_free(&w);
        bytes_free(&log);
    }
}

/* A wake is for receives: a close that waits goes on. */
static void wake_it(whim *w, int wants)
{
    (void)wants;
    if (w->waits == 3) {
        frame_close(&w->in, 0, 1000, "");
        w->in_ended = 1;
    } else {
        CHECK_RESULT(wsock_wake(w->ws), WSOCK_OK);
    }
}

TEST(a_wake_while_it_closes)
{
    wsock_options o = untimed(0);
    whim w;
    whim_open(&w, WSOCK_CLIENT, &o);
    w.on_wait = wake_it;
    CHECK_RESULT(wsock_close(w.ws, 1000, ""), WSOCK_OK);
    CHECK_INT(w.waits, 3);
    CHECK_INT(wsock_why(w.ws)->close_received, 1000);
    whim_free(&w);
}

/* A transport that has neither `wait` nor a descriptor now is asked every few
 * milliseconds. */
static intptr_t no_descriptor(void *user)
{
    (void)user;
    return -1;
}

static ptrdiff_t late_read(void *user, void *data, size_t size)
{
    whim *w = (whim *)user;
    if (w->reads == 2 && w->out.size)
        whim_answers(w, 0);
    return whim_read(user, data, size);
}

TEST(nothing_to_wait_on_and_no_limit)
{
    wsock_options o = untimed(0);
    whim w;
    whim_new(&w, WSOCK_CLIENT, &o);
    w.io.wait = NULL;
    w.io.fd = no_descriptor;
    w.io.read = late_read;
    CHECK_RESULT(wsock_attach(w.ws, &w.io), WSOCK_OK);
    CHECK_INT(wsock_state(w.ws), WSOCK_STATE_OPEN);
    CHECK(w.reads > 2);
    whim_free(&w);
}

/* wsock_free() while another thread waits for its handshake, and the request
 * has not left. */
typedef struct dialer {
    channel c;
    wsock *ws;
    int result;
} dialer;

static void *dialer_run(void *user)
{
    dialer *d = (dialer *)user;
    d->result = wsock_attach(d->ws, &d->c.io[0]);
    return NULL;
}

TEST(freed_while_its_request_waits)
{
    wsock_options o = untimed(0);
    pthread_t thread;
    dialer d;
    guard();
    memset(&d, 0, sizeof d);
    channel_init(&d.c, 10); /* less than a request */
    d.ws = wsock_new(WSOCK_CLIENT, "ws://h/", &o);
    pthread_create(&thread, NULL, dialer_run, &d);
    channel_await_full(&d.c, 0);
    channel_await(&d.c, 0);
    wsock_free(d.ws);
    pthread_join(thread, NULL);
    CHECK(d.result < 0);
    channel_close(&d.c.end[1]);
    channel_free(&d.c);
}

static const test_case tests[] = {
    TEST_ENTRY(writes_of_nothing_and_of_too_much),
    TEST_ENTRY(a_send_behind_one_that_is_not_reported),
    TEST_ENTRY(a_borrowed_send_that_leaves_late),
    TEST_ENTRY(echoes_that_are_copied),
    TEST_ENTRY(a_pong_behind_one_frame),
    TEST_ENTRY(aborted_at_poll_messages),
    TEST_ENTRY(echoes_that_wait_keep_their_memory),
    TEST_ENTRY(ends_without_a_finish),
    TEST_ENTRY(a_client_whose_close_leaves_late),
    TEST_ENTRY(a_refused_peer_takes_nothing),
    TEST_ENTRY(keepalive_at_its_edges),
    TEST_ENTRY(a_frame_of_two_gib),
    TEST_ENTRY(failures_without_memory),
    TEST_ENTRY(a_large_message_without_memory),
    TEST_ENTRY(close_behind_a_dead_side_without_memory),
    TEST_ENTRY(a_time_out_without_memory),
    TEST_ENTRY(connect_without_memory),
    TEST_ENTRY(wrong_calls_over_a_transport),
    TEST_ENTRY(flush_before_there_is_a_transport),
    TEST_ENTRY(a_servers_transport_does_not_open),
    TEST_ENTRY(a_clock_that_goes_back),
    TEST_ENTRY(the_end_comes_while_a_send_waits),
    TEST_ENTRY(what_was_read_stays_where_it_is),
    TEST_ENTRY(reading_ahead_without_memory),
    TEST_ENTRY(reading_ahead_in_memory),
    TEST_ENTRY(a_wait_fails_while_a_send_waits),
    TEST_ENTRY(ended_while_it_waits_without_a_close),
    TEST_ENTRY(receives_that_keep),
    TEST_ENTRY(a_receive_that_cannot_keep),
    TEST_ENTRY(pings_that_are_not_handed_out),
    TEST_ENTRY(an_answer_to_close_that_waits),
    TEST_ENTRY(a_wake_while_it_closes),
    TEST_ENTRY(nothing_to_wait_on_and_no_limit),
    TEST_ENTRY(freed_while_its_request_waits)
};

TEST_MAIN("whims", tests)
