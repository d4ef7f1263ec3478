/* options.memory: a connection in a block of the caller's that never
 * allocates, and what does not fit into it. */
#define WSOCK_IMPLEMENTATION
#include "../../wsock.h"
#include "test.h"

/* A block flush against an unreadable page, aligned as malloc's are. */
static void *block(size_t n)
{
    return test_guard((n + 15) / 16 * 16);
}

static void small_options(wsock_options *o, test_system *s)
{
    test_system_init(s);
    s->refuse = 1;
    memset(o, 0, sizeof *o);
    o->flags = WSOCK_CORE_ONLY;
    o->max_header = 512;
    o->receive_buffer = 512;
    o->max_message = 600;
    o->send_limit = 512;
    o->system = &s->system;
}

static const char *url_of(int role)
{
    return role == WSOCK_CLIENT ? "ws://server.example.com/chat" : NULL;
}

/* Every size below what is needed gives NULL, and touches nothing outside. */
TEST(every_block_size)
{
    test_system s;
    wsock_options o;
    int role;
    size_t n, needed;
    small_options(&o, &s);
    for (role = WSOCK_CLIENT; role <= WSOCK_SERVER; role++) {
        needed = wsock_memory_needed(role, url_of(role), &o);
        CHECK(needed > 0);
        for (n = 0; n < needed; n++) {
            wsock *ws;
            test_note("role %d, %lu of %lu bytes", role, (unsigned long)n,
                      (unsigned long)needed);
            o.memory = block(n ? n : 16);
            o.memory_size = n;
            ws = wsock_new(role, url_of(role), &o);
            CHECK(ws == NULL);
            if (ws)
                wsock_free(ws);
        }
        for (n = needed; n < needed + 40; n++) {
            wsock *ws;
            test_note("role %d, %lu of %lu bytes", role, (unsigned long)n,
                      (unsigned long)needed);
            o.memory = block(n);
            o.memory_size = n;
            ws = wsock_new(role, url_of(role), &o);
            CHECK(ws != NULL);
            CHECK_RESULT(wsock_error(ws), WSOCK_OK);
            wsock_free(ws);
        }
    }
}

/* memory and memory_size are ignored by wsock_memory_needed(); sums that
 * overflow give 0. */
TEST(memory_needed)
{
    test_system s;
    wsock_options o;
    size_t plain;
    small_options(&o, &s);
    plain = wsock_memory_needed(WSOCK_SERVER, NULL, &o);
    o.memory = &o;
    o.memory_size = 1;
    CHECK_INT(wsock_memory_needed(WSOCK_SERVER, NULL, &o), plain);
    o.max_message += 1000;
    CHECK(wsock_memory_needed(WSOCK_SERVER, NULL, &o) >= plain + 900);
    o.max_message = (size_t)-2;
    CHECK_INT(wsock_memory_needed(WSOCK_SERVER, NULL, &o), 0);
    o.max_message = 600;
    o.send_limit = (size_t)-16;
    CHECK_INT(wsock_memory_needed(WSOCK_SERVER, NULL, &o), 0);
    o.send_limit = (size_t)-1 / 2;
    o.max_message = (size_t)-1 / 2;
    o.max_header = (size_t)-1 / 2;
    CHECK_INT(wsock_memory_needed(WSOCK_SERVER, NULL, &o), 0);
    CHECK(wsock_memory_needed(WSOCK_CLIENT, "ws://h/", NULL) > 0);
}

/* With sizes that no block holds the handle tells so, and nothing is written
 * behind the block.  Runs have 272 bytes: what they take with their heads, a
 * little more, goes round the largest number and is small again. */
TEST(sizes_without_end)
{
    wsock_options o;
    size_t n;
    wsock *ws;
    memset(&o, 0, sizeof o);
    o.memory_size = 65536;
    o.memory = test_guard(o.memory_size);
    for (n = 272; n < 272 + 192; n += 16) {
        o.send_limit = n > 272 ? ((size_t)-1 / n + 1) * 272 : (size_t)-1;
        CHECK_INT(wsock_memory_needed(WSOCK_SERVER, NULL, &o), 0);
        ws = wsock_new(WSOCK_SERVER, NULL, &o);
        CHECK_RESULT(wsock_error(ws), WSOCK_INVALID_PARAMETER);
        wsock_free(ws);
    }
}

/* A conversation of client and server, each in 4 KiB: handshake, messages of
 * both kinds, fragments, pings, a close in order; twice in the same blocks. */
TEST(a_conversation_in_4_kib)
{
    static uint64_t blocks[2][512];
    uint8_t *data = test_pattern(600);
    test_system s;
    wsock_options o;
    int turn, i;
    small_options(&o, &s);
    CHECK_INT(sizeof blocks[0], 4096);
    for (turn = 0; turn < 2; turn++) {
        wsock *a, *b;
        bytes log_a = { 0 }, log_b = { 0 }, want_a = { 0 }, want_b = { 0 };
        test_note("turn %d", turn);
        CHECK(wsock_memory_needed(WSOCK_CLIENT, url_of(WSOCK_CLIENT), &o)
              <= 4096);
        CHECK(wsock_memory_needed(WSOCK_SERVER, NULL, &o) <= 4096);
        memset(blocks, 0xDB, sizeof blocks);
        o.memory = blocks[0];
        o.memory_size = 4096;
        a = wsock_new(WSOCK_CLIENT, url_of(WSOCK_CLIENT), &o);
        o.memory = blocks[1];
        b = wsock_new(WSOCK_SERVER, NULL, &o);
        CHECK(a && b);
        core_exchange(a, b, &log_a, &log_b);
        bytes_text(&want_a, "OPEN\n");
        bytes_text(&want_b, "OPEN\n");
        for (i = 0; i < 50; i++) {
            size_t n = (size_t)i * 8;
            CHECK_RESULT(wsock_send(a, WSOCK_BINARY, data, n), WSOCK_OK);
            bytes_text(&want_b, "BINARY");
            log_data(&want_b, data, n);
            bytes_text(&want_b, "\n");
            CHECK_RESULT(wsock_send(b, WSOCK_TEXT | WSOCK_FRAGMENT, "par", 3),
                         WSOCK_OK);
            CHECK_RESULT(wsock_send(b, WSOCK_PING, "p", 1), WSOCK_OK);
            CHECK_RESULT(wsock_send(b, WSOCK_TEXT, "ted", 3), WSOCK_OK);
            bytes_text(&want_a, "PING \"p\"\nTEXT \"parted\"\n");
            core_exchange(a, b, &log_a, &log_b);
            bytes_text(&want_b, "PONG \"p\"\n");
        }
        CHECK_RESULT(wsock_close(a, 1000, "done"), WSOCK_OK);
        core_exchange(a, b, &log_a, &log_b);
        bytes_text(&want_b, "CLOSE 1000 \"done\" WSOCK_OK\n");
        CHECK_STR(bytes_str(&log_b), bytes_str(&want_b));
        CHECK(bytes_find(&log_a, "CLOSE 1000 \"") != NULL);
        CHECK(!strncmp(bytes_str(&log_a), bytes_str(&want_a), want_a.size));
        CHECK_RESULT(wsock_error(a), WSOCK_OK);
        CHECK_RESULT(wsock_error(b), WSOCK_OK);
        wsock_free(a);
        wsock_free(b);
        bytes_free(&log_a);
        bytes_free(&log_b);
        bytes_free(&want_a);
        bytes_free(&want_b);
    }
    CHECK_INT(s.allocations, 0);
    free(data);
}

static wsock *open_in(int role, const wsock_options *o)
{
    wsock *ws = core_open(role, o);
    CHECK(ws != NULL);
    return ws;
}

/* What the peer sends and does not fit: 1009.  What fits exactly: fine, in
 * one frame, in fragments, and in pieces. */
TEST(messages_that_do_not_fit)
{
    static uint64_t memory[1024];
    uint8_t *data = test_pattern(601);
    test_system s;
    wsock_options o;
    int role, how;
    small_options(&o, &s);
    o.memory = memory;
    o.memory_size = sizeof memory;
    for (role = WSOCK_CLIENT; role <= WSOCK_SERVER; role++)
        for (how = 0; how < 4; how++) {
            int masked = role == WSOCK_SERVER;
            bytes in = { 0 }, log = { 0 }, out = { 0 }, sent = { 0 };
            bytes want = { 0 };
            wsock *ws = open_in(role, &o);
            size_t n = how & 1 ? 601 : 600, i;
            test_note("role %d, %lu bytes, %s", role, (unsigned long)n,
                      how & 2 ? "in pieces" : "whole");
            frame_put(&in, 2, masked, data, 300);
            frame_put(&in, FIN | 0, masked, data + 300, n - 300);
            for (i = 0; i < in.size; i += how & 2 ? 7 : in.size) {
                size_t step = how & 2 ? 7 : in.size;
                if (step > in.size - i)
                    step = in.size - i;
                if (wsock_state(ws) == WSOCK_STATE_CLOSED)
                    break;
                feed(ws, in.data + i, step, &log);
            }
            take_output(ws, &out);
            frames_log(&sent, &out, !masked);
            if (how & 1) {
                CHECK_STR(bytes_str(&log), "CLOSE 1006 \"\" WSOCK_TOO_BIG\n");
                CHECK_STR(bytes_str(&sent), "close 1009\n");
            } else {
                bytes_text(&want, "BINARY");
                log_data(&want, data, n);
                bytes_text(&want, "\n");
                CHECK_STR(bytes_str(&log), bytes_str(&want));
                CHECK_STR(bytes_str(&sent), "");
            }
            wsock_free(ws);
            bytes_free(&in);
            bytes_free(&log);
            bytes_free(&out);
            bytes_free(&sent);
            bytes_free(&want);
        }
    free(data);
}

/* What we send and can never fit: TOO_BIG, not sticky.  What does not fit
 * now: WOULD_BLOCK, and later it does. */
TEST(sends_that_do_not_fit)
{
    static uint64_t memory[1024];
    uint8_t *data = test_pattern(5000);
    test_system s;
    wsock_options o;
    bytes log = { 0 };
    wsock *ws;
    int role, taken, r, turn;
    small_options(&o, &s);
    o.memory = memory;
    o.memory_size = sizeof memory;
    for (role = WSOCK_CLIENT; role <= WSOCK_SERVER; role++) {
        test_note("role %d", role);
        ws = open_in(role, &o);
        CHECK_RESULT(wsock_send(ws, WSOCK_BINARY, data, 5000), WSOCK_TOO_BIG);
        CHECK_RESULT(wsock_error(ws), WSOCK_OK);
        CHECK_INT(wsock_queued(ws), 0);
        for (turn = 0; turn < 20; turn++) {
            for (taken = 0, r = WSOCK_OK; r == WSOCK_OK && taken < 1000;
                 taken++)
                r = wsock_send(ws, WSOCK_BINARY, data, (size_t)turn * 13);
            CHECK_RESULT(r, WSOCK_WOULD_BLOCK);
            CHECK(taken > 1);
            CHECK(wsock_queued(ws) > 0);
            CHECK(take_output(ws, NULL) > 0);
            CHECK_INT(wsock_queued(ws), 0);
            bytes_clear(&log);
            drain_events(ws, &log);
            CHECK_STR(bytes_str(&log), "DRAIN\n");
        }
        CHECK_RESULT(wsock_send(ws, WSOCK_TEXT, "still fine", 10), WSOCK_OK);
        wsock_free(ws);
    }
    bytes_free(&log);
    free(data);
}

/* Control frames always find room, however full the queue is. */
TEST(a_close_fits_behind_a_full_queue)
{
    static uint64_t memory[1024];
    test_system s;
    wsock_options o;
    bytes in = { 0 }, out = { 0 }, sent = { 0 };
    wsock *ws;
    int r = WSOCK_OK, i;
    small_options(&o, &s);
    o.memory = memory;
    o.memory_size = sizeof memory;
    ws = open_in(WSOCK_SERVER, &o);
    for (i = 0; r == WSOCK_OK && i < 1000; i++)
        r = wsock_send(ws, WSOCK_TEXT, "0123456789", 10);
    CHECK_RESULT(r, WSOCK_WOULD_BLOCK);
    for (i = 0; i < 100; i++)
        frame_text(&in, FIN | 9, 1, "ping");
    feed_bytes(ws, &in, NULL);
    CHECK_RESULT(wsock_close(ws, 1000, "a reason of some length, all of it"),
                 WSOCK_OK);
    take_output(ws, &out);
    frames_log(&sent, &out, 0);
    CHECK(bytes_find(&sent, "close 1000\n") != NULL);
    CHECK(bytes_find(&sent, "pong \"ping\"\n") != NULL);
    CHECK_RESULT(wsock_error(ws), WSOCK_OK);
    wsock_free(ws);
    bytes_free(&in);
    bytes_free(&out);
    bytes_free(&sent);
}

/* A head that is larger than the block's room for it. */
TEST(heads_that_do_not_fit)
{
    static uint64_t memory[1024];
    test_system s;
    wsock_options o;
    bytes in = { 0 }, log = { 0 }, out = { 0 };
    wsock *ws;
    int i;
    small_options(&o, &s);
    o.memory = memory;
    o.memory_size = sizeof memory;
    ws = wsock_new(WSOCK_SERVER, NULL, &o);
    bytes_text(&in, "GET / HTTP/1.1\r\nHost: h\r\n");
    for (i = 0; i < 40; i++)
        bytes_text(&in, "X-Filler: 0123456789\r\n");
    feed_bytes(ws, &in, &log);
    CHECK_STR(bytes_str(&log), "CLOSE 1006 \"\" WSOCK_REFUSED\n");
    take_output(ws, &out);
    CHECK(!strncmp(bytes_str(&out), "HTTP/1.1 431 ", 13));
    wsock_free(ws);
    bytes_free(&in);
    bytes_free(&log);
    bytes_free(&out);
}

/* Not the core alone: blocking over a transport, without an allocation. */
TEST(a_blocking_client_in_a_block)
{
    static uint64_t memory[2][1024];
    test_system s;
    wsock_options o;
    test_link link;
    test_peer peer;
    wsock_status got;
    char text[64];
    wsock *ws;
    small_options(&o, &s);
    o.flags = 0;
    test_link_init(&link);
    memset(&peer, 0, sizeof peer);
    peer.link = &link;
    link.pump = test_peer_pump;
    link.user = &peer;
    link.system = &s;
    CHECK(wsock_memory_needed(WSOCK_CLIENT, "ws://h/", &o)
          <= sizeof memory[0]);
    o.memory = memory[0];
    o.memory_size = sizeof memory[0];
    ws = wsock_new(WSOCK_CLIENT, "ws://h/", &o);
    o.memory = memory[1];
    o.flags = WSOCK_NONBLOCKING;
    peer.ws = wsock_new(WSOCK_SERVER, NULL, &o);
    CHECK(ws && peer.ws);
    CHECK_RESULT(wsock_attach(peer.ws, &link.io[1]), WSOCK_OK);
    CHECK_RESULT(wsock_attach(ws, &link.io[0]), WSOCK_OK);
    CHECK_RESULT(wsock_send(ws, WSOCK_TEXT, "hello", 5), WSOCK_OK);
    CHECK_RESULT(wsock_receive(ws, text, sizeof text, &got), WSOCK_OK);
    CHECK_BYTES(text, got.bytes, "hello", 5);
    CHECK_RESULT(wsock_close(ws, 1000, "bye"), WSOCK_OK);
    test_peer_end(&peer);
    CHECK_INT(peer.closes, 1);
    wsock_free(ws);
    wsock_free(peer.ws);
    CHECK_INT(s.allocations, 0);
    bytes_free(&peer.log);
    test_link_free(&link);
}

/* Borrowed sends hold their runs until their SENT is read.  When that is what
 * a send has to wait for, the queue being empty, reading them is what brings
 * DRAIN; and then the same send is taken. */
TEST(unread_sent_events_hold_runs)
{
    static uint64_t memory[1024];
    static char text[300];
    test_system s;
    wsock_options o;
    int role, turn, taken, r;
    size_t size;
    small_options(&o, &s);
    o.memory = memory;
    o.memory_size = sizeof memory;
    for (role = WSOCK_CLIENT; role <= WSOCK_SERVER; role++)
        for (turn = 0; turn < 2; turn++) {
            wsock *ws = open_in(role, &o);
            bytes log = { 0 }, want = { 0 };
            wsock_buf buf;
            char one[] = "one";
            test_note("role %d, %s", role, turn ? "borrowed" : "copied");
            buf.data = text;
            buf.size = 100;
            for (taken = 0, r = WSOCK_OK; taken < 100; taken++) {
                r = wsock_sendv(ws, WSOCK_BINARY | WSOCK_BORROW, &buf, 1,
                                one);
                if (r != WSOCK_OK)
                    break;
                take_output(ws, NULL);
                bytes_text(&want, "SENT one WSOCK_OK\n");
            }
            CHECK(taken > 0);
            CHECK_RESULT(r, WSOCK_WOULD_BLOCK);
            CHECK_INT(wsock_queued(ws), 0);
            size = 100;
            if (!turn) /* what the runs that are left do not hold */
                while (size < 512
                       && (r = wsock_send(ws, WSOCK_BINARY, memory, size))
                              == WSOCK_OK) {
                    take_output(ws, NULL);
                    size += 10;
                }
            CHECK_RESULT(r, WSOCK_WOULD_BLOCK);
            CHECK_INT(wsock_queued(ws), 0);
            drain_events(ws, &log);
            bytes_text(&want, "DRAIN\n");
            CHECK_STR(bytes_str(&log), bytes_str(&want));
            if (turn)
                r = wsock_sendv(ws, WSOCK_BINARY | WSOCK_BORROW, &buf, 1,
                                one);
            else
                r = wsock_send(ws, WSOCK_BINARY, memory, size);
            CHECK_RESULT(r, WSOCK_OK);
            wsock_free(ws);
            bytes_free(&log);
            bytes_free(&want);
        }
}

/* The TCP connect lives where messages do later: it has room there, however
 * small max_message and max_header are.  Nothing listens on the port. */
TEST(connecting_with_the_smallest_limits)
{
    static uint64_t memory[1024];
    test_system s;
    wsock_options o;
    wsock *ws;
    wsock_server *server = wsock_listen("ws://127.0.0.1:0/", NULL);
    size_t needed;
    char url[64];
    snprintf(url, sizeof url, "ws://127.0.0.1:%d/",
             wsock_server_port(server));
    wsock_server_free(server);
    small_options(&o, &s);
    o.flags = 0;
    o.system = NULL; /* the look-up may allocate, and time passes */
    o.max_header = o.max_message = 64;
    o.receive_buffer = 256;
    needed = wsock_memory_needed(WSOCK_CLIENT, url, &o);
    CHECK(needed <= sizeof memory);
    o.memory = block(needed);
    o.memory_size = needed;
    ws = wsock_connect(url, &o);
    CHECK_RESULT(wsock_error(ws), WSOCK_CONNECT_FAILED);
    CHECK_INT(wsock_why(ws)->phase, WSOCK_PHASE_TCP);
    wsock_free(ws);
    o.flags = WSOCK_CORE_ONLY; /* such a connection has no room to read */
    o.memory = memory;
    o.memory_size = sizeof memory;
    ws = wsock_connect(url, &o);
    CHECK_RESULT(wsock_error(ws), WSOCK_INVALID_OPERATION);
    CHECK_INT(wsock_state(ws), WSOCK_STATE_CLOSED);
    wsock_free(ws);
}

static const test_case tests[] = {
    TEST_ENTRY(every_block_size),
    TEST_ENTRY(memory_needed),
    TEST_ENTRY(sizes_without_end),
    TEST_ENTRY(a_conversation_in_4_kib),
    TEST_ENTRY(messages_that_do_not_fit),
    TEST_ENTRY(sends_that_do_not_fit),
    TEST_ENTRY(a_close_fits_behind_a_full_queue),
    TEST_ENTRY(heads_that_do_not_fit),
    TEST_ENTRY(a_blocking_client_in_a_block),
    TEST_ENTRY(unread_sent_events_hold_runs),
    TEST_ENTRY(connecting_with_the_smallest_limits)
};

TEST_MAIN("memory", tests)
