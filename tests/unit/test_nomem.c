/* Memory runs out at the n-th allocation, for every n until none fails: the
 * documented result, no crash, no leak, no wrong size in free. */
#define WSOCK_IMPLEMENTATION
#include "../../wsock.h"
#include "test.h"

/* WSOCK_OK or NO_MEMORY, or what a peer of the one that failed sees. */
static int allowed(int r)
{
    return r == WSOCK_OK || r == WSOCK_NO_MEMORY || r == WSOCK_CONNECTION_LOST
           || r == WSOCK_CLOSED || r == WSOCK_REFUSED
           || r == WSOCK_INVALID_OPERATION || r == WSOCK_ABORTED;
}

#define CHECK_ALLOWED(call)                                                   \
    do {                                                                      \
        int r_ = (call);                                                      \
        if (!allowed(r_))                                                     \
            CHECK_RESULT(r_, WSOCK_NO_MEMORY);                                \
    } while (0)

/* A whole life of two connections without I/O.  Returns 1 if everything
 * arrived. */
static int core_scenario(test_system *s)
{
    static const char *const subprotocols[] = { "a", "b", NULL };
    static const char *const headers[] = { "X-A: b", NULL };
    uint8_t *data = test_pattern(3000);
    wsock_options o;
    bytes log_a = { 0 }, log_b = { 0 };
    wsock_buf buf;
    char context[] = "borrowed";
    wsock *a, *b;
    int i, whole;
    memset(&o, 0, sizeof o);
    o.system = &s->system;
    o.subprotocols = subprotocols;
    o.headers = headers;
    a = wsock_new(WSOCK_CLIENT, "ws://server.example.com/chat", &o);
    b = wsock_new(WSOCK_SERVER, NULL, &o);
    core_exchange(a, b, &log_a, &log_b);
    CHECK_ALLOWED(wsock_error(a));
    CHECK_ALLOWED(wsock_error(b));
    for (i = 0; i < 3; i++) {
        CHECK_ALLOWED(wsock_send(a, WSOCK_TEXT | WSOCK_FRAGMENT, data, 1500));
        CHECK_ALLOWED(wsock_send(a, WSOCK_TEXT, data + 1500, 1500));
        CHECK_ALLOWED(wsock_send(b, WSOCK_BINARY, data, 300));
        CHECK_ALLOWED(wsock_send(b, WSOCK_PING, "p", 1));
        core_exchange(a, b, &log_a, &log_b);
    }
    buf.data = data;
    buf.size = 3000;
    CHECK_ALLOWED(wsock_sendv(a, WSOCK_BINARY | WSOCK_BORROW, &buf, 1,
                              context));
    core_exchange(a, b, &log_a, &log_b);
    /* A message in pieces, so that it has to be assembled. */
    CHECK_ALLOWED(wsock_send(b, WSOCK_BINARY, data, 2000));
    {
        bytes out = { 0 };
        size_t at, n;
        take_output(b, &out);
        for (at = 0; at < out.size; at += n) {
            n = out.size - at < 700 ? out.size - at : 700;
            if (wsock_state(a) == WSOCK_STATE_CLOSED)
                break;
            feed(a, out.data + at, n, &log_a);
        }
        bytes_free(&out);
    }
    CHECK_ALLOWED(wsock_close(a, 1000, "a reason"));
    core_exchange(a, b, &log_a, &log_b);
    whole = wsock_error(a) == WSOCK_OK && wsock_error(b) == WSOCK_OK
            && strstr(bytes_str(&log_a), "CLOSE 1000")
            && strstr(bytes_str(&log_b), "CLOSE 1000 \"a reason\"");
    /* The account is readable whatever happened. */
    CHECK(wsock_error_text(a) && wsock_error_text(b));
    CHECK(wsock_why(a) && wsock_why(a)->text && wsock_why(a)->close_reason);
    wsock_free(a);
    wsock_free(b);
    bytes_free(&log_a);
    bytes_free(&log_b);
    free(data);
    return whole;
}

/* A blocking client and a polled server over the memory pair. */
static int io_scenario(test_system *s)
{
    uint8_t *data = test_pattern(5000);
    wsock_options o;
    test_link link;
    test_peer peer;
    wsock_status got;
    char text[2000];
    size_t sum = 0;
    wsock *ws;
    int r, i, whole;
    memset(&o, 0, sizeof o);
    memset(&peer, 0, sizeof peer);
    o.system = &s->system;
    test_link_init(&link);
    link.pump = test_peer_pump;
    link.user = &peer;
    link.system = s;
    link.end[0].max_read = 333; /* so that tails are kept */
    link.end[1].max_read = 777;
    peer.link = &link;
    ws = wsock_new(WSOCK_CLIENT, "ws://h/", &o);
    o.flags = WSOCK_NONBLOCKING;
    peer.ws = wsock_new(WSOCK_SERVER, NULL, &o);
    if (wsock_attach(peer.ws, &link.io[1]) != WSOCK_OK)
        test_end_close(&link.end[1]); /* ours still: the client sees an end */
    if (wsock_attach(ws, &link.io[0]) == WSOCK_OK) {
        r = wsock_send(ws, WSOCK_BINARY, data, 5000);
        CHECK_ALLOWED(r);
        /* What was not sent must not be waited for. */
        for (i = 0; r == WSOCK_OK && i < 20; i++) {
            r = wsock_receive(ws, text, sizeof text, &got);
            CHECK_ALLOWED(r);
            if (r != WSOCK_OK || got.kind == WSOCK_CLOSE)
                break;
            if (CHECK(sum + got.bytes <= 5000))
                CHECK_BYTES(text, got.bytes, data + sum, got.bytes);
            sum += got.bytes;
            if (!(got.kind & WSOCK_FRAGMENT))
                break;
        }
        CHECK_ALLOWED(wsock_close(ws, 1000, "bye"));
    }
    whole = sum == 5000 && wsock_error(ws) == WSOCK_OK;
    wsock_free(ws);
    if (!peer.ws || link.end[1].closed)
        peer.ended = 1;
    test_peer_end(&peer);
    wsock_free(peer.ws);
    bytes_free(&peer.log);
    test_link_free(&link);
    free(data);
    return whole;
}

static void every_allocation(int (*scenario)(test_system *))
{
    test_system s;
    long n;
    int whole;
    for (n = 1; n < 10000; n++) {
        test_system_init(&s);
        s.fail_at = n;
        test_note("allocation %ld", n);
        whole = scenario(&s);
        CHECK_NO_LEAK(&s);
        if (s.allocations < n) {
            CHECK(whole); /* nothing failed: everything has to arrive */
            break;
        }
        if (test_state.in_this_test > 12)
            break;
    }
    CHECK(n > 3);
    CHECK(n < 10000);
}

TEST(without_io)
{
    every_allocation(core_scenario);
}

TEST(over_a_transport)
{
    every_allocation(io_scenario);
}

/* "NULL comes back only when memory is out, and every function takes NULL".
 */
TEST(null_is_memory_out)
{
    test_system s;
    wsock_options o;
    wsock *ws;
    test_system_init(&s);
    s.fail_at = 1;
    memset(&o, 0, sizeof o);
    o.system = &s.system;
    ws = wsock_connect("ws://127.0.0.1:1/", &o);
    CHECK(ws == NULL);
    CHECK_RESULT(wsock_send(ws, WSOCK_TEXT, "x", 1), WSOCK_NO_MEMORY);
    CHECK_RESULT(wsock_error(ws), WSOCK_NO_MEMORY);
    CHECK_NO_LEAK(&s);
}

/* Not the n-th alone fails, but all from the n-th on. */
static void *starving_alloc(void *user, size_t size)
{
    test_system *s = (test_system *)user;
    if (s->fail_at && s->allocations + 1 >= s->fail_at) {
        s->allocations++;
        return NULL;
    }
    return test_alloc(user, size);
}

/* Memory runs out at the n-th allocation from here, once or for good, while
 * the pieces are fed; every n until none fails.  The connection either ends
 * with its one CLOSE, which says NO_MEMORY, or nothing failed: it does not
 * ask again and again. */
static void fed_without_memory(int open, const char *const *pieces,
                               size_t count)
{
    long n;
    int starve, failed, ends = 0;
    for (starve = 0; starve < 2; starve++) {
        for (n = 1, failed = 1; n < 100 && failed; n++) {
            test_system s;
            wsock_options o;
            wsock *ws;
            bytes log = { 0 };
            size_t i;
            int r = 0;
            test_note("allocation %ld, %s", n, starve ? "for good" : "once");
            test_system_init(&s);
            memset(&o, 0, sizeof o);
            if (starve)
                s.system.alloc = starving_alloc;
            o.system = &s.system;
            ws = open ? core_open(WSOCK_SERVER, &o)
                      : wsock_new(WSOCK_SERVER, NULL, &o);
            s.fail_at = s.allocations + n;
            for (i = 0; i < count && r == 0; i++)
                r = feed_text(ws, pieces[i], &log);
            failed = s.allocations >= s.fail_at;
            CHECK_RESULT(r, failed ? WSOCK_NO_MEMORY : 0);
            CHECK_STR(bytes_str(&log),
                      failed ? "CLOSE 1006 \"\" WSOCK_NO_MEMORY\n" : "");
            CHECK_RESULT(wsock_error(ws), failed ? WSOCK_NO_MEMORY
                                                 : WSOCK_OK);
            ends += failed;
            wsock_free(ws);
            CHECK_NO_LEAK(&s);
            bytes_free(&log);
        }
        CHECK(!failed);
    }
    CHECK(ends > 1);
}

/* Empty lines before a request are skipped (RFC 9112 2.2), also when they
 * come byte by byte, which takes memory. */
TEST(empty_lines_before_a_request)
{
    static const char *const pieces[] = { "\r", "\n", "\r", "\nG", "ET" };
    fed_without_memory(0, pieces, 5);
}

/* A frame that is cut inside its header. */
TEST(a_cut_frame_header)
{
    static const char *const pieces[] = { "\x81", "\x85", "\x11" };
    fed_without_memory(1, pieces, 3);
}

/* The peer takes nothing more, and what it had sent before is still read;
 * memory runs out in the middle of that, for good. */
TEST(a_cut_frame_behind_a_dead_writing_side)
{
    long n;
    int failed = 1;
    for (n = 1; n < 100 && failed; n++) {
        test_system s;
        test_link link;
        wsock_options o;
        wsock_event e;
        wsock *ws;
        int r = 0, i, closes = 0, code = 0;
        test_note("allocation %ld", n);
        test_system_init(&s);
        test_link_init(&link);
        memset(&o, 0, sizeof o);
        s.system.alloc = starving_alloc;
        o.system = &s.system;
        o.flags = WSOCK_NONBLOCKING;
        ws = wsock_new(WSOCK_SERVER, NULL, &o);
        CHECK_RESULT(wsock_attach(ws, &link.io[0]), WSOCK_OK);
        bytes_text(&link.end[0].in, TEST_REQUEST);
        for (i = 0; i < 5; i++)
            wsock_poll(ws, &e, 0);
        CHECK_INT(wsock_state(ws), WSOCK_STATE_OPEN);
        link.end[1].closed = 1; /* so writing fails */
        wsock_send(ws, WSOCK_TEXT, "x", 1);
        CHECK_RESULT(wsock_error(ws), WSOCK_CONNECTION_LOST);
        bytes_put(&link.end[0].in, "\x81", 1);
        s.fail_at = s.allocations + n;
        for (i = 0; i < 20 && r >= 0; i++) {
            r = wsock_poll(ws, &e, 0);
            if (e.type == WSOCK_EVENT_CLOSE) {
                closes++;
                code = e.why->code;
            }
        }
        failed = s.allocations >= s.fail_at;
        CHECK(r < 0);
        CHECK_INT(closes, 1);
        CHECK_RESULT(code, WSOCK_CONNECTION_LOST); /* the first failure */
        wsock_free(ws);
        CHECK_NO_LEAK(&s);
        test_link_free(&link);
    }
    CHECK(!failed);
    CHECK(n > 2);
}

static const test_case tests[] = {
    TEST_ENTRY(without_io),
    TEST_ENTRY(over_a_transport),
    TEST_ENTRY(null_is_memory_out),
    TEST_ENTRY(empty_lines_before_a_request),
    TEST_ENTRY(a_cut_frame_header),
    TEST_ENTRY(a_cut_frame_behind_a_dead_writing_side)
};

TEST_MAIN("nomem", tests)
