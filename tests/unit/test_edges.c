/* The core without I/O at the edges of what may come, be asked for, or fail:
 * sides of its conditions that the tests of one subject do not come to (see
 * tests/coverage). */
#define WSOCK_IMPLEMENTATION
#include "../../wsock.h"
#include "test.h"

/* ----------------------------------------------------------- handshakes -- */

/* What a server answers to these bytes: the status of its response. */
static int status_for(const char *request, size_t n, const wsock_options *o)
{
    wsock *ws = wsock_new(WSOCK_SERVER, NULL, o);
    bytes out = { 0 };
    int status = 0;
    feed(ws, request, n, NULL);
    take_output(ws, &out);
    if (out.size)
        status = atoi(bytes_str(&out) + 9);
    bytes_free(&out);
    wsock_free(ws);
    return status;
}

#define REQUEST_TO(line, host, key, more)                                     \
    line "\r\nHost: " host "\r\nUpgrade: websocket\r\n"                       \
         "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"               \
         "Sec-WebSocket-Key: " key "\r\n" more "\r\n"
#define GOOD_KEY "dGhlIHNhbXBsZSBub25jZQ=="

TEST(requests_at_the_edge)
{
    static const struct {
        int status;
        const char *request;
    } list[] = {
        { 101, REQUEST_TO("GET / HTTP/1.1", "h", GOOD_KEY, "") },
        /* "==" (RFC 4648 4), not "=" and something */
        { 400, REQUEST_TO("GET / HTTP/1.1", "h",
                          "dGhlIHNhbXBsZSBub25jZQ=A", "") },
        /* RFC 9112 3.2: uri-host or nothing; '{' is the first behind 'z' */
        { 101, REQUEST_TO("GET / HTTP/1.1", "", GOOD_KEY, "") },
        { 400, REQUEST_TO("GET / HTTP/1.1", "a{b", GOOD_KEY, "") },
        { 400, REQUEST_TO("GET / HTTP/1.x", "h", GOOD_KEY, "") },
        { 400, REQUEST_TO("GET / HTTP/1.1", "h", GOOD_KEY,
                          "Content-Length: 99999999999999999999\r\n") },
        /* tabs are white space (RFC 7230 3.2.3) */
        { 101, REQUEST_TO("GET / HTTP/1.1", "h", GOOD_KEY,
                          "Sec-WebSocket-Extensions: x,\ta\t;\tb\t=\tc\r\n") },
        { 400, "GET / HTTP/1.1\r\n\nHost: h\r\n\r\n" }, /* an LF alone */
        { 400, "\rGET / HTTP/1.1\r\nHost: h\r\n\r\n" }  /* a CR alone */
    };
    size_t i;
    for (i = 0; i < sizeof list / sizeof *list; i++) {
        test_note("request %lu", (unsigned long)i);
        CHECK_INT(status_for(list[i].request, strlen(list[i].request), NULL),
                  list[i].status);
    }
    CHECK_INT(wsock__is_key("dGhl\0HNhbXBsZSBub25jZQ==", 24), 0);
    CHECK_INT(wsock__head_end((const uint8_t *)"\r\n", 2), -1);
}

/* A client that reads `response`: how it ended. */
static wsock *client_reads(const char *response, size_t n,
                           const wsock_options *o, bytes *log)
{
    wsock *ws = wsock_new(WSOCK_CLIENT, "ws://h/", o);
    take_output(ws, NULL);
    bytes_clear(log);
    feed(ws, response, n, log);
    return ws;
}

TEST(status_lines_at_the_edge)
{
    static const char *const list[] = { "HTTP/1.1 2/0 X\r\n\r\n",
                                        "HTTP/1.1 20: X\r\n\r\n",
                                        "HTTP/1.: 200 X\r\n\r\n" };
    bytes log = { 0 };
    size_t i;
    for (i = 0; i < 3; i++) {
        wsock *ws = client_reads(list[i], strlen(list[i]), NULL, &log);
        test_note("response %lu", (unsigned long)i);
        CHECK_RESULT(wsock_error(ws), WSOCK_HTTP_ERROR);
        wsock_free(ws);
    }
    bytes_free(&log);
}

/* What is kept of a refusal's body, in whatever way its end is told. */
TEST(bodies_at_the_edge)
{
    static const struct {
        const char *response;
        size_t n;
        const char *body;
        int ended; /* before the end of the stream */
    } list[] = {
#define RESPONSE(head, rest, body, ended)                                     \
    { "HTTP/1.1 " head "\r\n\r\n" rest,                                       \
      sizeof("HTTP/1.1 " head "\r\n\r\n" rest) - 1, body, ended }
        RESPONSE("304 Not Modified", "", "", 1),
        RESPONSE("200 OK\r\nContent-Length: 99999999999999999999", "abc",
                 "abc", 0),
#define CHUNKED "200 OK\r\nTransfer-Encoding: chunked"
        RESPONSE(CHUNKED, "1a\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\n",
                 "abcdefghijklmnopqrstuvwxyz", 1),
        RESPONSE(CHUNKED, "3\r\nabcX", "abc", 1), /* no line end behind it */
        RESPONSE(CHUNKED, "fffffffffffffffff\r\nabc", "", 1),
        RESPONSE(CHUNKED, "\0003\r\nabc", "", 1)
    };
    bytes log = { 0 };
    size_t i;
    for (i = 0; i < sizeof list / sizeof *list; i++) {
        wsock *ws = client_reads(list[i].response, list[i].n, NULL, &log);
        const wsock_failure *why = wsock_why(ws);
        test_note("response %lu", (unsigned long)i);
        CHECK_RESULT(why->code, WSOCK_REFUSED);
        CHECK_BYTES(why->body, why->body_size, list[i].body,
                    strlen(list[i].body));
        CHECK_INT(wsock_state(ws) == WSOCK_STATE_CLOSED, list[i].ended);
        wsock_free(ws);
    }
    bytes_free(&log);
}

/* With options.memory the head is kept where messages would be, and as much
 * of the body as there is room for. */
TEST(a_refusal_in_memory)
{
    static char memory[1 << 16];
    wsock_options o = options_with(0);
    bytes response = { 0 }, log = { 0 };
    uint8_t *body = test_pattern(9000);
    size_t room;
    int large;
    for (large = 0; large < 2; large++) {
        wsock *ws;
        o.memory = memory;
        o.memory_size = sizeof memory;
        o.max_message = large ? 20000 : 600;
        o.max_header = 500;
        bytes_clear(&response);
        bytes_text(&response, "HTTP/1.1 403 Forbidden\r\n"
                              "Content-Length: 9000\r\n\r\n");
        bytes_put(&response, body, 9000);
        ws = client_reads((const char *)response.data, response.size, &o,
                          &log);
        CHECK_RESULT(wsock_error(ws), WSOCK_REFUSED);
        CHECK_STR(wsock_header(ws, "Content-Length"), "9000");
        room = wsock_why(ws)->body_size;
        CHECK(large ? room == 4096 : room > 0 && room < 600);
        CHECK_BYTES(wsock_why(ws)->body, room, body, room);
        wsock_free(ws);
    }
    bytes_free(&response);
    bytes_free(&log);
    free(body);
}

/* A client offers extension "x" and subprotocol "p". */
TEST(what_a_response_repeats)
{
    static const char *const extensions[] = { "x", NULL };
    static const char *const subprotocols[] = { "p", NULL };
    static const char *const more[] = {
        "Sec-WebSocket-Extensions: x, x\r\n",
        "Sec-WebSocket-Protocol: p\r\nSec-WebSocket-Protocol: p\r\n"
    };
    static const int results[] = { WSOCK_UNSUPPORTED_EXTENSION,
                                   WSOCK_INVALID_HANDSHAKE };
    wsock_options o = options_with(0);
    int i;
    o.extensions = extensions;
    o.subprotocols = subprotocols;
    for (i = 0; i < 2; i++) {
        wsock *ws = wsock_new(WSOCK_CLIENT, "ws://h/", &o);
        bytes out = { 0 }, in = { 0 };
        take_output(ws, &out);
        put_response(&in, bytes_str(&out), more[i]);
        feed_bytes(ws, &in, NULL);
        CHECK_RESULT(wsock_error(ws), results[i]);
        wsock_free(ws);
        bytes_free(&out);
        bytes_free(&in);
    }
}

/* -------------------------------------------------------------- options -- */

static void *counted_alloc(void *user, size_t size)
{
    (void)user;
    (void)size;
    CHECK(!"an allocator without a free is not asked");
    return NULL;
}

TEST(options_at_the_edge)
{
    static const char *const two[] = { "a, b", NULL };
    wsock_system system;
    wsock_options o = options_with(0);
    wsock *ws;
    o.extensions = two; /* one entry, one extension */
    ws = wsock_new(WSOCK_CLIENT, "ws://h/", &o);
    CHECK_RESULT(wsock_error(ws), WSOCK_INVALID_PARAMETER);
    wsock_free(ws);
    o = options_with(0);
    o.max_header = WSOCK_UNLIMITED;
    CHECK_INT(wsock_memory_needed(WSOCK_SERVER, NULL, &o), 0);
    o.max_header = o.max_message = 1000;
    o.receive_buffer = WSOCK_UNLIMITED;
    CHECK_INT(wsock_memory_needed(WSOCK_SERVER, NULL, &o), 0);
    o = options_with(0);
    memset(&system, 0, sizeof system);
    system.alloc = counted_alloc;
    o.system = &system;
    ws = wsock_new(WSOCK_CLIENT, "ws://h/", &o);
    CHECK_RESULT(wsock_error(ws), WSOCK_OK);
    wsock_free(ws);
    o = options_with(0);
    o.max_memory = 64; /* less than the smallest thing that is asked for */
    CHECK(wsock_new(WSOCK_CLIENT, "ws://h/", &o) == NULL);
    ws = wsock_new(WSOCK_CLIENT, "ws://a{b/", NULL);
    CHECK_RESULT(wsock_error(ws), WSOCK_INVALID_URL);
    wsock_free(ws);
}

/* ------------------------------------------------------- heads by hand -- */

TEST(heads_by_hand_at_the_edge)
{
    static const char *const request[] = {
        "Host: h", "Upgrade: websocket", "Connection: Upgrade",
        "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " GOOD_KEY, NULL
    };
    const char *name, *value;
    wsock_options o = options_with(WSOCK_REQUESTS);
    wsock_buf buf;
    bytes log = { 0 };
    wsock *ws = wsock_new(WSOCK_SERVER, NULL, NULL);
    CHECK_RESULT(wsock_head_in(ws, "GET / HTTP/1.1", NULL), WSOCK_REFUSED);
    CHECK_RESULT(wsock_head_in(ws, "GET / HTTP/1.1", request),
                 WSOCK_REFUSED); /* the failure sticks */
    wsock_free(ws);
    ws = wsock_new(WSOCK_SERVER, NULL, NULL);
    CHECK_RESULT(wsock_head_in(ws, "GET /\001 HTTP/1.1", request),
                 WSOCK_REFUSED);
    wsock_free(ws);
    /* Bytes that were fed, and half a head that was kept, are in its way. */
    ws = wsock_new(WSOCK_SERVER, NULL, NULL);
    CHECK_RESULT(wsock_feed(ws, (void *)(uintptr_t)"GET", 3), WSOCK_OK);
    CHECK_RESULT(wsock_head_in(ws, "GET / HTTP/1.1", request),
                 WSOCK_INVALID_OPERATION);
    drain_events(ws, NULL);
    CHECK_RESULT(wsock_head_in(ws, "GET / HTTP/1.1", request),
                 WSOCK_INVALID_OPERATION);
    wsock_free(ws);
    /* But an empty line before the head is over with (RFC 9112 2.2). */
    ws = wsock_new(WSOCK_SERVER, NULL, NULL);
    feed_text(ws, "\r", NULL);
    feed_text(ws, "\n", NULL);
    CHECK_RESULT(wsock_head_in(ws, "GET / HTTP/1.1", request), WSOCK_OK);
    wsock_free(ws);
    /* An interim response (RFC 9110 15.2) is not the one. */
    ws = wsock_new(WSOCK_CLIENT, "ws://h/", NULL);
    CHECK_RESULT(wsock_head_out(ws, 0, &name, &value), WSOCK_OK);
    CHECK_RESULT(wsock_head_in(ws, "HTTP/1.1 103 Early Hints", NULL),
                 WSOCK_OK);
    CHECK_INT(wsock_state(ws), WSOCK_STATE_CONNECTING);
    wsock_free(ws);
    /* A head of which the wire has some already is not given out. */
    ws = wsock_new(WSOCK_CLIENT, "ws://h/", NULL);
    CHECK_INT(wsock_output(ws, &buf, 1), 1);
    CHECK_RESULT(wsock_output_done(ws, 1), WSOCK_OK);
    CHECK_RESULT(wsock_head_out(ws, 0, &name, &value),
                 WSOCK_INVALID_OPERATION);
    wsock_free(ws);
    /* A request whose peer ends before the program has read of it. */
    ws = wsock_new(WSOCK_SERVER, NULL, &o);
    CHECK_RESULT(wsock_head_in(ws, "GET / HTTP/1.1", request), WSOCK_OK);
    CHECK_RESULT(wsock_feed(ws, NULL, 0), WSOCK_OK);
    drain_events(ws, &log);
    CHECK_STR(bytes_str(&log), "CLOSE 1006 \"\" WSOCK_CONNECTION_LOST\n");
    CHECK_RESULT(wsock_upgrade(ws, NULL, NULL), WSOCK_INVALID_OPERATION);
    wsock_free(ws);
    bytes_free(&log);
}

/* With options.memory: a head that the message buffer does not hold, and one
 * that it holds, but not with what a REQUEST is made of. */
TEST(heads_by_hand_in_memory)
{
    static char memory[1 << 16];
    static char long_header[3000];
    const char *request[] = {
        "Host: h", "Upgrade: websocket", "Connection: Upgrade",
        "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " GOOD_KEY,
        long_header, NULL
    };
    static const int sizes[] = { 2990, 500 };
    static const int results[] = { WSOCK_NO_MEMORY, WSOCK_REFUSED };
    int i;
    for (i = 0; i < 2; i++) {
        wsock_options o = options_with(WSOCK_REQUESTS);
        wsock *ws;
        o.memory = memory;
        o.memory_size = sizeof memory;
        o.max_message = 1200;
        o.max_header = 256;
        memset(long_header, 'x', (size_t)sizes[i]);
        memcpy(long_header, "A: ", 3);
        long_header[sizes[i]] = 0;
        ws = wsock_new(WSOCK_SERVER, NULL, &o);
        test_note("a header of %d bytes", sizes[i]);
        CHECK_RESULT(wsock_head_in(ws, "GET / HTTP/1.1", request),
                     results[i]);
        CHECK_INT(wsock_why(ws)->http_status, i ? 503 : 0);
        wsock_free(ws);
    }
}

/* --------------------------------------------------- the random source -- */

/* Until nothing is left of what was drawn before. */
static void use_up_random(wsock *ws, test_system *s)
{
    int i, r = WSOCK_OK;
    s->random_fails = 1;
    for (i = 0; i < 64 && r == WSOCK_OK && ws->loop->random_left >= 4; i++)
        r = wsock_send(ws, WSOCK_TEXT, "x", 1);
    CHECK_RESULT(r, WSOCK_OK);
    CHECK(ws->loop->random_left < 4);
    take_output(ws, NULL);
}

/* A client that cannot mask sends nothing, and says why; that sticks, as the
 * peer would not know of a message that it did not get. */
TEST(without_random_bytes)
{
    test_system s;
    wsock_options o = options_with(0);
    bytes in = { 0 }, out = { 0 };
    wsock_buf buf;
    wsock *ws;
    int i;
    test_system_init(&s);
    o.system = &s.system;
    buf.data = "hello";
    buf.size = 5;
    ws = core_open(WSOCK_CLIENT, &o);
    use_up_random(ws, &s);
    CHECK_RESULT(wsock_sendv(ws, WSOCK_TEXT, &buf, 1, NULL),
                 WSOCK_RANDOM_FAILED);
    s.random_fails = 0;
    CHECK_RESULT(wsock_send(ws, WSOCK_TEXT, "x", 1), WSOCK_RANDOM_FAILED);
    CHECK_RESULT(wsock_shutdown(ws, 1000, ""), WSOCK_RANDOM_FAILED);
    CHECK_INT(take_output(ws, &out), 0);
    CHECK_RESULT(wsock_error(ws), WSOCK_RANDOM_FAILED);
    CHECK_INT(wsock_why(ws)->operation, WSOCK_OPERATION_SEND);
    CHECK_STR(wsock_error_text(ws), "nothing can be sent: the system's random "
                                    "source failed");
    wsock_free(ws);
    for (i = 0; i < 2; i++) { /* an answer that is owed, though */
        s.random_fails = 0;
        ws = core_open(WSOCK_CLIENT, &o);
        use_up_random(ws, &s);
        bytes_clear(&in);
        if (i)
            frame_close(&in, 0, 1000, "");
        else
            frame_text(&in, FIN | 9, 0, "ping");
        feed_bytes(ws, &in, NULL);
        test_note("%s", i ? "close" : "ping");
        CHECK_RESULT(wsock_error(ws), WSOCK_RANDOM_FAILED);
        CHECK(!strstr(wsock_error_text(ws), "memory"));
        wsock_free(ws);
    }
    s.random_fails = 1; /* from the start */
    ws = wsock_new(WSOCK_CLIENT, "ws://h/", &o);
    CHECK_RESULT(wsock_feed(ws, NULL, 0), WSOCK_OK);
    CHECK_RESULT(wsock_error(ws), WSOCK_RANDOM_FAILED);
    wsock_free(ws);
    CHECK_NO_LEAK(&s);
    bytes_free(&in);
    bytes_free(&out);
}

/* --------------------------------------------------- pongs that wait -- */

static void feed_ping(wsock *ws, int masked, const void *data, size_t n)
{
    bytes in = { 0 };
    frame_put(&in, FIN | 9, masked, data, n);
    feed_bytes(ws, &in, NULL);
    bytes_free(&in);
}

/* One KiB of pongs is queued; the newest of those that follow waits. */
static void flood_pings(wsock *ws, int masked, const void *last, size_t n)
{
    char filler[30];
    int i;
    memset(filler, 'f', sizeof filler);
    for (i = 0; i < 33; i++) /* a header has two bytes: 32 of them fit */
        feed_ping(ws, masked, filler, sizeof filler);
    feed_ping(ws, masked, last, n);
}

/* Takes the first `n` pieces of the output, wholly. */
static void take_pieces(wsock *ws, bytes *out, size_t n)
{
    wsock_buf bufs[8];
    size_t i, sum = 0, count = wsock_output(ws, bufs, 8);
    CHECK(count >= n);
    for (i = 0; i < n; i++) {
        bytes_put(out, bufs[i].data, bufs[i].size);
        sum += bufs[i].size;
    }
    CHECK_RESULT(wsock_output_done(ws, sum), WSOCK_OK);
}

static void take_bytes(wsock *ws, bytes *out, size_t n)
{
    wsock_buf buf;
    CHECK_INT(wsock_output(ws, &buf, 1), 1);
    CHECK(buf.size > n);
    bytes_put(out, buf.data, n);
    CHECK_RESULT(wsock_output_done(ws, n), WSOCK_OK);
}

/* It goes between frames that stand in the queue, and never into one
 * (RFC 6455 5.4, 5.5.3). */
TEST(a_pong_that_waits_goes_between_frames)
{
    uint8_t *data = test_pattern(9000);
    bytes out = { 0 }, log = { 0 };
    wsock *ws = core_open(WSOCK_SERVER, NULL);
    flood_pings(ws, 1, "", 0); /* an empty one */
    CHECK_RESULT(wsock_send(ws, WSOCK_BINARY, data, 9000), WSOCK_OK);
    CHECK_RESULT(wsock_send(ws, WSOCK_TEXT, "last", 4), WSOCK_OK);
    take_pieces(ws, &out, 1); /* to where the large frame begins */
    take_output(ws, &out);
    frames_log(&log, &out, 0);
    CHECK(strstr(bytes_str(&log), "pong \"\"\nbinary 9000 bytes\n"
                                  "text \"last\"\n") != NULL);
    wsock_free(ws);
    /* Inside of a frame whose rest stands in other pieces it waits on. */
    ws = core_open(WSOCK_SERVER, NULL);
    CHECK_RESULT(wsock_send(ws, WSOCK_BINARY, data, 9000), WSOCK_OK);
    flood_pings(ws, 1, "new", 3);
    bytes_clear(&out);
    bytes_clear(&log);
    take_bytes(ws, &out, 10);
    take_pieces(ws, &out, 1);
    take_bytes(ws, &out, 10);
    take_output(ws, &out);
    frames_log(&log, &out, 0);
    CHECK(strstr(bytes_str(&log), "binary 9000 bytes\n") != NULL);
    CHECK(strstr(bytes_str(&log), "pong \"new\"\n") != NULL);
    wsock_free(ws);
    bytes_free(&out);
    bytes_free(&log);
    free(data);
}

/* One that finds room goes into the queue, but not before an older one that
 * waits: that is forgotten, as a newer stands for it (RFC 6455 5.5.3). */
TEST(an_older_pong_does_not_follow_a_newer)
{
    char ping[125];
    bytes out = { 0 }, log = { 0 };
    wsock *ws = core_open(WSOCK_SERVER, NULL);
    int i;
    memset(ping, 'p', sizeof ping);
    for (i = 0; i < 8; i++) /* 8 bytes of a KiB are left */
        feed_ping(ws, 1, ping, sizeof ping);
    feed_ping(ws, 1, "an older one", 12);
    feed_ping(ws, 1, "new", 3);
    take_output(ws, &out);
    frames_log(&log, &out, 0);
    CHECK(strstr(bytes_str(&log), "pong \"new\"\n") != NULL);
    CHECK(!strstr(bytes_str(&log), "older"));
    wsock_free(ws);
    bytes_free(&out);
    bytes_free(&log);
}

/* Part of a later frame is out: it is no boundary either. */
TEST(a_pong_does_not_go_into_a_frame)
{
    uint8_t *data = test_pattern(3500);
    bytes out = { 0 }, log = { 0 };
    wsock *ws = core_open(WSOCK_SERVER, NULL);
    size_t n;
    CHECK_RESULT(wsock_send(ws, WSOCK_BINARY, data, 3500), WSOCK_OK);
    CHECK_RESULT(wsock_send(ws, WSOCK_BINARY, data, 3500), WSOCK_OK);
    take_pieces(ws, &out, 1);
    n = out.size;
    take_bytes(ws, &out, 10);
    flood_pings(ws, 1, "new", 3);
    take_bytes(ws, &out, 10);
    CHECK_INT(out.size, n + 20);
    take_output(ws, &out);
    frames_log(&log, &out, 0);
    CHECK(strstr(bytes_str(&log), "binary 3500 bytes\nbinary 3500 bytes\n"
                                  "pong \"ffff") != NULL);
    CHECK(strstr(bytes_str(&log), "pong \"new\"\n") != NULL);
    wsock_free(ws);
    bytes_free(&out);
    bytes_free(&log);
    free(data);
}

/* With options.memory the last run is for Close: a pong that waits leaves it
 * alone, and goes when the queue is empty. */
TEST(a_pong_that_waits_in_memory)
{
    static char memory[1 << 16];
    wsock_options o = options_with(0);
    bytes out = { 0 }, log = { 0 };
    char text[200], ping[101];
    wsock *ws;
    o.memory = memory;
    o.memory_size = sizeof memory;
    o.send_limit = 5000;
    memset(text, 't', sizeof text);
    memset(ping, 'p', sizeof ping);
    ws = core_open(WSOCK_SERVER, &o);
    while (wsock_send(ws, WSOCK_TEXT, text, sizeof text) == WSOCK_OK)
        continue;
    feed_ping(ws, 1, ping, 100);
    feed_ping(ws, 1, ping, 101);
    take_pieces(ws, &out, 1); /* the queue's own run: none is free */
    take_pieces(ws, &out, 1);
    take_output(ws, &out);
    frames_log(&log, &out, 0);
    CHECK(strstr(bytes_str(&log), "pong 101 bytes") != NULL);
    CHECK(strstr(bytes_str(&log), "pong 100 bytes") == NULL);
    CHECK_RESULT(wsock_shutdown(ws, 1000, ""), WSOCK_OK);
    wsock_free(ws);
    bytes_free(&out);
    bytes_free(&log);
}

/* A pong that waits and cannot be made now is not given up: it goes at the
 * next boundary. */
TEST(a_pong_that_waits_and_fails)
{
    int why;
    for (why = 0; why < 2; why++) { /* no memory, or no random bytes */
        test_system s;
        wsock_options o = options_with(0);
        bytes out = { 0 }, log = { 0 };
        uint8_t *data = test_pattern(3500);
        wsock *ws;
        test_system_init(&s);
        o.system = &s.system;
        test_note("%s", why ? "random" : "memory");
        ws = core_open(why ? WSOCK_CLIENT : WSOCK_SERVER, &o);
        flood_pings(ws, !why, "wait", 4);
        if (why) {
            s.random_fails = 1;
            while (ws->loop->random_left >= 4)
                CHECK_RESULT(wsock_send(ws, WSOCK_TEXT, "x", 1), WSOCK_OK);
            take_output(ws, &out);
            s.random_fails = 0;
        } else { /* the run that is free is used */
            CHECK_RESULT(wsock_send(ws, WSOCK_BINARY, data, 3500), WSOCK_OK);
            s.fail_at = s.allocations + 1;
            take_pieces(ws, &out, 1);
        }
        frames_log(&log, &out, why);
        CHECK(!strstr(bytes_str(&log), "pong \"wait\""));
        CHECK_RESULT(wsock_send(ws, WSOCK_TEXT, "go", 2), WSOCK_OK);
        bytes_clear(&out);
        bytes_clear(&log);
        take_output(ws, &out);
        frames_log(&log, &out, why);
        CHECK_STR(bytes_str(&log), why ? "text \"go\"\npong \"wait\"\n"
                                       : "binary 3500 bytes\ntext \"go\"\n"
                                         "pong \"wait\"\n");
        wsock_free(ws);
        CHECK_NO_LEAK(&s);
        bytes_free(&out);
        bytes_free(&log);
        free(data);
    }
}

/* Memory is out for as long as `fail` says. */
typedef struct shortage {
    test_system s;
    long from, until; /* allocations that fail, counted from 1 */
} shortage;

static void *shortage_alloc(void *user, size_t size)
{
    shortage *m = (shortage *)user;
    void *p;
    long n = m->s.allocations + 1;
    if (n >= m->from && n < m->until) {
        m->s.allocations++;
        return NULL;
    }
    p = test_alloc(&m->s, size);
    return p;
}

static void shortage_init(shortage *m, wsock_options *o)
{
    memset(m, 0, sizeof *m);
    test_system_init(&m->s);
    m->s.system.alloc = shortage_alloc; /* &m->s is m, too */
    o->system = &m->s.system;
}

static void shortage_begins(shortage *m, long n)
{
    m->from = m->s.allocations + 1;
    m->until = m->from + n;
}

/* No memory for the pong that waits, but for Close: nothing follows Close
 * (RFC 6455 5.5.1), and the pong is forgotten. */
TEST(a_pong_that_waits_behind_close)
{
    shortage m;
    wsock_options o = options_with(0);
    bytes out = { 0 }, log = { 0 };
    uint8_t *data = test_pattern(3500);
    wsock *ws;
    shortage_init(&m, &o);
    ws = core_open(WSOCK_SERVER, &o);
    flood_pings(ws, 1, "wait for longer than there is room", 34);
    /* The last run is full but for a Close, and none is free. */
    CHECK_RESULT(wsock_send(ws, WSOCK_BINARY, data, 3500), WSOCK_OK);
    CHECK_RESULT(wsock_send(ws, WSOCK_BINARY, data,
                            wsock__run_room(ws->out) - 4 - 20), WSOCK_OK);
    shortage_begins(&m, 2);
    CHECK_RESULT(wsock_shutdown(ws, 1000, ""), WSOCK_OK);
    take_output(ws, &out);
    frames_log(&log, &out, 0);
    CHECK(!strstr(bytes_str(&log), "wait"));
    CHECK(strstr(bytes_str(&log), "close 1000\n") != NULL);
    CHECK_STR(strstr(bytes_str(&log), "close 1000\n"), "close 1000\n");
    wsock_free(ws);
    CHECK_NO_LEAK(&m.s);
    bytes_free(&out);
    bytes_free(&log);
    free(data);
}

/* ------------------------------------------------------ without memory -- */

/* A message for which there is no memory would be missing: the connection
 * ends, and the peer hears of it as Close is small. */
TEST(a_send_without_memory)
{
    int how;
    for (how = 0; how < 4; how++) {
        shortage m;
        wsock_options o = options_with(0);
        bytes in = { 0 }, out = { 0 }, log = { 0 };
        uint8_t *data = test_pattern(100000);
        wsock_buf bufs[2];
        wsock *ws;
        int r;
        test_note("%d", how);
        bufs[0].data = bufs[1].data = data;
        bufs[0].size = bufs[1].size = 50000;
        shortage_init(&m, &o);
        ws = core_open(how & 1 ? WSOCK_CLIENT : WSOCK_SERVER, &o);
        drain_events(ws, NULL);
        CHECK_RESULT(wsock_send(ws, WSOCK_TEXT, "first", 5), WSOCK_OK);
        shortage_begins(&m, 1000);
        r = how & 2 ? wsock_sendv(ws, WSOCK_BINARY, bufs, 2, NULL)
                    : wsock_send(ws, WSOCK_BINARY, data, 100000);
        CHECK_RESULT(r, WSOCK_NO_MEMORY);
        m.until = 0; /* there is some again, but the message is lost */
        CHECK_RESULT(wsock_send(ws, WSOCK_TEXT, "x", 1), WSOCK_NO_MEMORY);
        CHECK_RESULT(wsock_shutdown(ws, 1000, ""), WSOCK_NO_MEMORY);
        take_output(ws, &out);
        frames_log(&log, &out, how & 1);
        CHECK_STR(bytes_str(&log), "text \"first\"\nclose 1011\n");
        bytes_clear(&log);
        frame_text(&in, FIN | 1, !(how & 1), "too late");
        feed_bytes(ws, &in, &log);
        CHECK_STR(bytes_str(&log), "CLOSE 1006 \"\" WSOCK_NO_MEMORY\n");
        CHECK_INT(wsock_why(ws)->operation, WSOCK_OPERATION_SEND);
        CHECK_INT(wsock_why(ws)->phase, WSOCK_PHASE_WEBSOCKET);
        CHECK(strstr(wsock_error_text(ws), "nothing can be sent: ") != NULL);
        wsock_free(ws);
        CHECK_NO_LEAK(&m.s);
        bytes_free(&in);
        bytes_free(&out);
        bytes_free(&log);
        free(data);
    }
}

/* Nor does it take away what OPEN has lent out: a head that came in two pieces
 * stands in memory of its own. */
TEST(a_send_without_memory_when_it_opens)
{
    static const char request[] = TEST_REQUEST;
    const size_t first = sizeof request - 3;
    uint8_t *data = test_pattern(100000), *rest;
    wsock_options o = options_with(0);
    test_system s;
    wsock_event e;
    wsock *ws;
    test_system_init(&s);
    o.system = &s.system;
    ws = wsock_new(WSOCK_SERVER, NULL, &o);
    feed(ws, request, first, NULL);
    rest = test_guard_copy(request + first, 2);
    CHECK_RESULT(wsock_feed(ws, rest, 2), WSOCK_OK);
    CHECK_INT(wsock_next(ws, &e), 1);
    CHECK_INT(e.type, WSOCK_EVENT_OPEN);
    s.fail_at = s.allocations + 1;
    CHECK_RESULT(wsock_send(ws, WSOCK_BINARY, data, 100000), WSOCK_NO_MEMORY);
    CHECK_STR(wsock_header(ws, "Host"), "server.example.com");
    CHECK_INT(wsock_next(ws, &e), 1);
    CHECK_INT(e.type, WSOCK_EVENT_CLOSE);
    CHECK_STR(wsock_header(ws, "Host"), NULL);
    wsock_free(ws);
    CHECK_NO_LEAK(&s);
    free(data);
}

/* A Close that cannot be queued is not waited for: that is the end. */
TEST(a_close_without_memory)
{
    int random;
    for (random = 0; random < 2; random++) {
        shortage m;
        wsock_options o = options_with(0);
        int want = random ? WSOCK_RANDOM_FAILED : WSOCK_NO_MEMORY;
        wsock_event e;
        wsock *ws;
        test_note("%s", wsock_result_name(want));
        shortage_init(&m, &o);
        ws = core_open(WSOCK_CLIENT, &o);
        drain_events(ws, NULL);
        if (random) {
            use_up_random(ws, &m.s);
        } else {
            wsock__pool_empty(ws->loop, &ws->loop->outs);
            ws->loop->outs.count = 0;
            shortage_begins(&m, 1000);
        }
        CHECK_RESULT(wsock_close(ws, 1000, "bye"), want);
        CHECK_RESULT(wsock_error(ws), want);
        CHECK_INT(take_output(ws, NULL), 0);
        CHECK_INT(wsock_next(ws, &e), 1);
        CHECK_INT(e.type, WSOCK_EVENT_CLOSE);
        CHECK_RESULT(e.why->code, want);
        wsock_free(ws);
        CHECK_NO_LEAK(&m.s);
    }
}

/* Everything from here on is refused: what is said of it. */
TEST(nothing_is_left)
{
    shortage m;
    wsock_options o = options_with(0);
    const char *reason = NULL;
    bytes in = { 0 }, log = { 0 };
    int code = 0;
    wsock *ws;
    /* A peer's Close can be read, although it cannot be answered. */
    shortage_init(&m, &o);
    ws = core_open(WSOCK_SERVER, &o);
    wsock_send(ws, WSOCK_TEXT, "x", 1); /* what only the handshake needed */
    take_output(ws, NULL);
    drain_events(ws, &log);
    wsock__pool_empty(ws->loop, &ws->loop->outs);
    ws->loop->outs.count = 0;
    wsock__pool_empty(ws->loop, &ws->loop->rares);
    ws->loop->rares.count = 0;
    shortage_begins(&m, 1000);
    frame_close(&in, 1, 1000, "because");
    feed_bytes(ws, &in, &log);
    CHECK_STR(bytes_str(&log), "CLOSE 1000 \"\" WSOCK_NO_MEMORY\n");
    CHECK_RESULT(wsock_close_status(ws, &code, &reason), WSOCK_OK);
    CHECK_INT(code, 1000);
    CHECK_STR(reason, "");
    CHECK_RESULT(wsock_error(ws), WSOCK_NO_MEMORY);
    wsock_free(ws);
    CHECK_NO_LEAK(&m.s);
    /* Nor can Close be said. */
    shortage_init(&m, &o);
    ws = core_open(WSOCK_SERVER, &o);
    drain_events(ws, NULL);
    wsock__pool_empty(ws->loop, &ws->loop->outs);
    ws->loop->outs.count = 0;
    shortage_begins(&m, 1000);
    CHECK_RESULT(wsock_shutdown(ws, 1000, ""), WSOCK_NO_MEMORY);
    bytes_clear(&log);
    drain_events(ws, &log);
    CHECK_STR(bytes_str(&log), "CLOSE 1006 \"\" WSOCK_NO_MEMORY\n");
    wsock_free(ws);
    CHECK_NO_LEAK(&m.s);
    bytes_free(&in);
    bytes_free(&log);
}

/* A refusal without memory for its head; and for its body, which is left out
 * when the head is given out by hand. */
TEST(a_refusal_without_memory)
{
    static const char bad[] = "POST / HTTP/1.1\r\nHost: h\r\n\r\n";
    long n;
    int failed = 1, by_hand;
    for (by_hand = 0; by_hand < 2; by_hand++)
        for (n = 1, failed = 1; n < 50 && failed; n++) {
            test_system s;
            wsock_options o = options_with(0);
            const char *name, *value;
            bytes out = { 0 };
            wsock *ws;
            test_system_init(&s);
            o.system = &s.system;
            ws = wsock_new(WSOCK_SERVER, NULL, &o);
            s.fail_at = s.allocations + n;
            test_note("allocation %ld, %d", n, by_hand);
            feed_text(ws, bad, NULL);
            if (by_hand
                && wsock_head_out(ws, 0, &name, &value) == WSOCK_OK)
                CHECK_STR(value, "HTTP/1.1 405 Method Not Allowed");
            take_output(ws, &out);
            CHECK(wsock_error(ws) == WSOCK_REFUSED
                  || wsock_error(ws) == WSOCK_NO_MEMORY);
            failed = s.allocations >= s.fail_at;
            CHECK(failed || out.size > 0);
            wsock_free(ws);
            CHECK_NO_LEAK(&s);
            bytes_free(&out);
        }
    CHECK(!failed);
}

/* The same for a client that is refused: its head and body are not kept. */
TEST(a_refused_client_without_memory)
{
    static const char bad[] = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n"
                              "\r\nbody";
    long n;
    int failed = 1;
    for (n = 1; n < 50 && failed; n++) {
        test_system s;
        wsock_options o = options_with(0);
        wsock *ws;
        test_system_init(&s);
        o.system = &s.system;
        ws = wsock_new(WSOCK_CLIENT, "ws://h/", &o);
        take_output(ws, NULL);
        s.fail_at = s.allocations + n;
        test_note("allocation %ld", n);
        feed_text(ws, bad, NULL);
        failed = s.allocations >= s.fail_at;
        CHECK_RESULT(wsock_error(ws), WSOCK_REFUSED);
        CHECK_INT(wsock_why(ws)->body_size, failed ? 0 : 4);
        CHECK_INT(wsock_state(ws), WSOCK_STATE_CLOSED);
        wsock_free(ws);
        CHECK_NO_LEAK(&s);
    }
    CHECK(!failed);
    CHECK(n > 2);
}

/* ------------------------------------------------------------ the rest -- */

/* DRAIN is for those who may send on. */
TEST(no_drain_behind_close)
{
    wsock_options o = options_with(0);
    bytes log = { 0 };
    uint8_t *data = test_pattern(2000);
    wsock *ws;
    o.send_limit = 1000;
    ws = core_open(WSOCK_SERVER, &o);
    CHECK_RESULT(wsock_send(ws, WSOCK_BINARY, data, 2000), WSOCK_OK);
    CHECK_RESULT(wsock_send(ws, WSOCK_BINARY, data, 1), WSOCK_WOULD_BLOCK);
    take_output(ws, NULL);
    CHECK_RESULT(wsock_shutdown(ws, 1000, ""), WSOCK_OK);
    drain_events(ws, &log);
    CHECK_STR(bytes_str(&log), "");
    wsock_free(ws);
    bytes_free(&log);
    free(data);
}

/* Its loop has no room for what polls need. */
TEST(a_core_in_memory_is_not_polled)
{
    static char memory[1 << 15];
    wsock_options o = options_with(WSOCK_CORE_ONLY);
    wsock_event e;
    wsock *ws;
    o.memory = memory;
    o.memory_size = sizeof memory;
    o.max_message = o.receive_buffer = 1000;
    ws = wsock_new(WSOCK_SERVER, NULL, &o);
    CHECK(ws != NULL);
    CHECK_RESULT(wsock_poll(ws, &e, 0), WSOCK_INVALID_OPERATION);
    wsock_abort(ws);
    CHECK_RESULT(wsock_poll(ws, &e, 0), WSOCK_INVALID_OPERATION);
    CHECK_INT(wsock_next(ws, &e), 1);
    CHECK_INT(e.type, WSOCK_EVENT_CLOSE);
    CHECK(wsock_effective_options(ws)->tls_ca == NULL);
    wsock_free(ws);
}

TEST(nothing_to_ask)
{
    wsock_options o = options_with(WSOCK_CORE_ONLY);
    wsock_status got;
    wsock_buf buf;
    char text[8];
    wsock *ws;
    CHECK_RESULT(wsock_wake(NULL), WSOCK_NO_MEMORY);
    CHECK_RESULT(wsock_cancel(NULL), WSOCK_NO_MEMORY);
    CHECK_INT(wsock_timeout(NULL), 0);
    CHECK_INT(wsock_rtt(NULL), -1);
    CHECK_INT(wsock_server_timeout(NULL), 0);
    CHECK_RESULT(wsock_broadcast(NULL, NULL, 0, WSOCK_TEXT, "", 0),
                 WSOCK_NO_MEMORY);
    CHECK_RESULT(wsock_server_add(NULL, NULL), WSOCK_NO_MEMORY);
    ws = core_open(WSOCK_SERVER, &o);
    CHECK_RESULT(wsock_wake(ws), WSOCK_INVALID_OPERATION);
    CHECK_RESULT(wsock_peer(ws, text, 0), WSOCK_INVALID_PARAMETER);
    CHECK_RESULT(wsock_receive(ws, text, sizeof text, NULL),
                 WSOCK_INVALID_PARAMETER);
    CHECK_RESULT(wsock_receive(ws, text, sizeof text, &got),
                 WSOCK_INVALID_OPERATION);
    wsock_abort(ws);
    CHECK_RESULT(wsock_shutdown(ws, 1000, ""), WSOCK_ABORTED);
    CHECK_RESULT(wsock_dial(ws), WSOCK_ABORTED);
    wsock_free(ws);
    o.flags = WSOCK_NONBLOCKING | WSOCK_PARTS;
    ws = core_open(WSOCK_SERVER, &o);
    CHECK_INT(wsock_output(ws, &buf, 1), 0);
    wsock_free(ws);
}

static const test_case tests[] = {
    TEST_ENTRY(requests_at_the_edge),
    TEST_ENTRY(status_lines_at_the_edge),
    TEST_ENTRY(bodies_at_the_edge),
    TEST_ENTRY(a_refusal_in_memory),
    TEST_ENTRY(what_a_response_repeats),
    TEST_ENTRY(options_at_the_edge),
    TEST_ENTRY(heads_by_hand_at_the_edge),
    TEST_ENTRY(heads_by_hand_in_memory),
    TEST_ENTRY(without_random_bytes),
    TEST_ENTRY(a_pong_that_waits_goes_between_frames),
    TEST_ENTRY(an_older_pong_does_not_follow_a_newer),
    TEST_ENTRY(a_pong_does_not_go_into_a_frame),
    TEST_ENTRY(a_pong_that_waits_in_memory),
    TEST_ENTRY(a_pong_that_waits_and_fails),
    TEST_ENTRY(a_pong_that_waits_behind_close),
    TEST_ENTRY(a_send_without_memory),
    TEST_ENTRY(a_send_without_memory_when_it_opens),
    TEST_ENTRY(a_close_without_memory),
    TEST_ENTRY(nothing_is_left),
    TEST_ENTRY(a_refusal_without_memory),
    TEST_ENTRY(a_refused_client_without_memory),
    TEST_ENTRY(no_drain_behind_close),
    TEST_ENTRY(a_core_in_memory_is_not_polled),
    TEST_ENTRY(nothing_to_ask)
};

TEST_MAIN("edges", tests)
