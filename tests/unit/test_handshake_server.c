/* The server's handshake (RFC 6455 4.2): every check of the request, the
 * answer, refusals that are proper HTTP, and the halves for programs that
 * own an HTTP stack. */
#define WSOCK_IMPLEMENTATION
#include "../../wsock.h"
#include "test.h"

#define LINE "GET /chat HTTP/1.1\r\n"
#define HOST "Host: server.example.com\r\n"
#define UPGRADE "Upgrade: websocket\r\n"
#define CONNECTION "Connection: Upgrade\r\n"
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define VERSION "Sec-WebSocket-Version: 13\r\n"
#define GOOD LINE HOST UPGRADE CONNECTION KEY VERSION

/* Sends one request; the answer comes into `out`, the events into `log`. */
static wsock *ask(const char *request, const wsock_options *o, bytes *out,
                  bytes *log)
{
    wsock *ws = wsock_new(WSOCK_SERVER, NULL, o);
    bytes_clear(out);
    bytes_clear(log);
    feed_text(ws, request, log);
    take_output(ws, out);
    drain_events(ws, log);
    return ws;
}

/* The same with a good request that has these lines too. */
static wsock *ask_with(const char *lines, const wsock_options *o, bytes *out,
                       bytes *log)
{
    bytes request = { 0 };
    wsock *ws;
    bytes_text(&request, GOOD);
    bytes_text(&request, lines);
    bytes_text(&request, "\r\n");
    ws = ask(bytes_str(&request), o, out, log);
    bytes_free(&request);
    return ws;
}

/* 4.2.2, "the server MUST ... 5": the example of 1.3. */
TEST(the_answer)
{
    bytes out = { 0 }, log = { 0 };
    wsock *ws = ask(TEST_REQUEST, NULL, &out, &log);
    CHECK_STR(bytes_str(&log), "OPEN\n");
    CHECK(!strncmp(bytes_str(&out), "HTTP/1.1 101 ", 13));
    check_value(&out, "Upgrade", "websocket");
    check_value(&out, "Connection", "Upgrade");
    check_value(&out, "Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    CHECK(!bytes_find(&out, "Sec-WebSocket-Protocol"));
    CHECK(!bytes_find(&out, "Sec-WebSocket-Extensions"));
    CHECK(out.size > 4 && !memcmp(out.data + out.size - 4, "\r\n\r\n", 4));
    CHECK_INT(wsock_state(ws), WSOCK_STATE_OPEN);
    wsock_free(ws);
    bytes_free(&out);
    bytes_free(&log);
}

/* Own headers stand in the answer. */
TEST(own_headers_in_the_answer)
{
    static const char *const headers[] = { "Server: mine", "X-A: b", NULL };
    wsock_options o = options_with(0);
    bytes out = { 0 }, log = { 0 };
    wsock *ws;
    o.headers = headers;
    ws = ask(TEST_REQUEST, &o, &out, &log);
    check_value(&out, "Server", "mine");
    check_value(&out, "X-A", "b");
    wsock_free(ws);
    bytes_free(&out);
    bytes_free(&log);
}

/* Forms that have to be taken. */
TEST(requests_that_are_good)
{
    static const char *const cases[] = {
        GOOD "\r\n",
        "GET / HTTP/1.1\r\n" HOST UPGRADE CONNECTION KEY VERSION "\r\n",
        "GET /a?b=c&d HTTP/1.1\r\n" HOST UPGRADE CONNECTION KEY VERSION
            "\r\n",
        "GET http://server.example.com/chat HTTP/1.1\r\n" HOST UPGRADE
            CONNECTION KEY VERSION "\r\n",
        LINE "host: server.example.com\r\nUPGRADE: WebSocket\r\n"
             "cOnNeCtIoN: UPGRADE\r\nsec-websocket-key: "
             "dGhlIHNhbXBsZSBub25jZQ==\r\nSEC-WEBSOCKET-VERSION: 13\r\n\r\n",
        LINE HOST UPGRADE "Connection: keep-alive, Upgrade\r\n" KEY VERSION
             "\r\n",
        LINE HOST UPGRADE "Connection: keep-alive\r\nConnection:upgrade\r\n"
             KEY VERSION "\r\n",
        LINE HOST "Upgrade: h2c, websocket\r\n" CONNECTION KEY VERSION
             "\r\n",
        LINE HOST UPGRADE CONNECTION
             "Sec-WebSocket-Key:   dGhlIHNhbXBsZSBub25jZQ==  \t\r\n"
             "Sec-WebSocket-Version:\t13 \r\n\r\n",
        GOOD "Origin: https://anywhere.example\r\nCookie: a=b; c=d\r\n"
             "User-Agent: x\r\nX-Empty:\r\nX-Odd: \x80\xFF\r\n\r\n",
        GOOD "Sec-WebSocket-Protocol: chat, superchat\r\n\r\n",
        GOOD "Sec-WebSocket-Extensions: permessage-deflate; "
             "client_max_window_bits\r\n\r\n",
        /* RFC 9112 2.2: an empty line before the request is ignored. */
        "\r\n" GOOD "\r\n"
    };
    size_t i;
    bytes out = { 0 }, log = { 0 };
    for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        wsock *ws = ask(cases[i], NULL, &out, &log);
        test_note("request %lu", (unsigned long)i);
        CHECK_STR(bytes_str(&log), "OPEN\n");
        CHECK(!strncmp(bytes_str(&out), "HTTP/1.1 101 ", 13));
        check_value(&out, "Sec-WebSocket-Accept",
                    "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        wsock_free(ws);
    }
    bytes_free(&out);
    bytes_free(&log);
}

/* 4.2.1, "if the server ... finds that the client did not send a handshake
 * that matches the description below ... MUST stop processing ... and return
 * an HTTP response with an appropriate error code". */
TEST(requests_that_are_refused)
{
    static const struct {
        int status;
        const char *request;
    } cases[] = {
        /* 1: a GET of HTTP/1.1 or higher */
        { 405, "POST /chat HTTP/1.1\r\n" HOST UPGRADE CONNECTION KEY VERSION
               "\r\n" },
        { 405, "HEAD / HTTP/1.1\r\n" HOST "\r\n" },
        { 405, "get /chat HTTP/1.1\r\n" HOST UPGRADE CONNECTION KEY VERSION
               "\r\n" },
        { 426, "GET /chat HTTP/1.0\r\n" HOST UPGRADE CONNECTION KEY VERSION
               "\r\n" },
        { 505, "GET /chat HTTP/2.0\r\n" HOST UPGRADE CONNECTION KEY VERSION
               "\r\n" },
        { 400, "GET /chat\r\n" HOST UPGRADE CONNECTION KEY VERSION "\r\n" },
        { 400, "GET  HTTP/1.1\r\n" HOST UPGRADE CONNECTION KEY VERSION
               "\r\n" },
        { 400, "GET /a b HTTP/1.1\r\n" HOST UPGRADE CONNECTION KEY VERSION
               "\r\n" },
        { 400, "GET chat HTTP/1.1\r\n" HOST UPGRADE CONNECTION KEY VERSION
               "\r\n" },
        { 400, "garbage\r\n\r\n" },
        { 400, "\x16\x03\x01\x02\r\n\r\n" }, /* TLS on a plain port */
        /* 2: Host, once */
        { 400, LINE UPGRADE CONNECTION KEY VERSION "\r\n" },
        { 400, GOOD HOST "\r\n" },
        /* 3: Upgrade.  A plain request is told what is needed */
        { 426, LINE HOST "\r\n" },
        { 400, LINE HOST CONNECTION KEY VERSION "\r\n" },
        { 400, LINE HOST "Upgrade: h2c\r\n" CONNECTION KEY VERSION "\r\n" },
        /* 4: Connection */
        { 400, LINE HOST UPGRADE KEY VERSION "\r\n" },
        { 400, LINE HOST UPGRADE "Connection: keep-alive\r\n" KEY VERSION
               "\r\n" },
        { 400, LINE HOST UPGRADE "Connection: Upgrades\r\n" KEY VERSION
               "\r\n" },
        /* 5: a key that is base64 of 16 bytes, once */
        { 400, LINE HOST UPGRADE CONNECTION VERSION "\r\n" },
        { 400, LINE HOST UPGRADE CONNECTION "Sec-WebSocket-Key:\r\n" VERSION
               "\r\n" },
        { 400, LINE HOST UPGRADE CONNECTION
               "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ\r\n" VERSION
               "\r\n" },
        { 400, LINE HOST UPGRADE CONNECTION
               "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQAA\r\n" VERSION
               "\r\n" },
        { 400, LINE HOST UPGRADE CONNECTION
               "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j*Q==\r\n" VERSION
               "\r\n" },
        { 400, LINE HOST UPGRADE CONNECTION
               "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==xxxx\r\n" VERSION
               "\r\n" },
        { 400, GOOD KEY "\r\n" },
        /* 6: the version, 13 */
        { 426, LINE HOST UPGRADE CONNECTION KEY "\r\n" },
        { 426, LINE HOST UPGRADE CONNECTION KEY
               "Sec-WebSocket-Version: 8\r\n\r\n" },
        { 426, LINE HOST UPGRADE CONNECTION KEY
               "Sec-WebSocket-Version: 25\r\n\r\n" },
        /* Extensions that do not keep to the grammar of 9.1 */
        { 400, GOOD "Sec-WebSocket-Extensions: a; =b\r\n\r\n" },
        { 400, GOOD "Sec-WebSocket-Extensions: a; b=\"open\r\n\r\n" },
        { 400, GOOD "Sec-WebSocket-Extensions: ;a\r\n\r\n" },
        { 400, GOOD "Sec-WebSocket-Extensions: a; b=\"c, d\"\r\n\r\n" },
        { 400, GOOD "Sec-WebSocket-Extensions: a b\r\n\r\n" },
        /* Headers that are no HTTP: RFC 9112 5.1, 5.2 */
        { 400, GOOD "No colon\r\n\r\n" },
        { 400, GOOD ": no name\r\n\r\n" },
        { 400, GOOD "Blank : before the colon\r\n\r\n" },
        { 400, GOOD "Na me: x\r\n\r\n" },
        { 400, GOOD "X: a\r\n folded\r\n\r\n" },
        { 400, GOOD "X: bell \x07\r\n\r\n" },
        { 400, GOOD "X: bare\rreturn\r\n\r\n" }
    };
    size_t i;
    bytes out = { 0 }, log = { 0 };
    for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        wsock *ws = ask(cases[i].request, NULL, &out, &log);
        char line[32];
        test_note("request %lu: %.50s", (unsigned long)i, cases[i].request);
        snprintf(line, sizeof line, "HTTP/1.1 %d ", cases[i].status);
        CHECK_BYTES(out.data, out.size < 13 ? out.size : 13, line, 13);
        CHECK(!strncmp(bytes_str(&log), "CLOSE 1006 \"\" WSOCK_", 20));
        CHECK(strstr(bytes_str(&log), "WSOCK_OK") == NULL);
        CHECK_INT(wsock_why(ws)->http_status, cases[i].status);
        CHECK_INT(wsock_why(ws)->phase, WSOCK_PHASE_HTTP);
        CHECK(wsock_error(ws) < 0);
        CHECK(strlen(wsock_error_text(ws)) > 10);
        /* The end of the answer can be told, and no other follows. */
        check_value(&out, "Connection",
                    cases[i].status == 426 ? "Upgrade, close" : "close");
        CHECK(bytes_find(&out, "Content-Length: ") != NULL);
        CHECK(bytes_find(&out, "\r\n\r\n") != NULL);
        if (cases[i].status == 405)
            check_value(&out, "Allow", "GET");
        if (cases[i].status == 426) {
            check_value(&out, "Upgrade", "websocket"); /* RFC 9110 15.5.22 */
            check_value(&out, "Sec-WebSocket-Version", "13"); /* 4.4 */
        }
        CHECK_INT(wsock_state(ws), WSOCK_STATE_CLOSED);
        wsock_free(ws);
    }
    bytes_free(&out);
    bytes_free(&log);
}

/* The answer's Content-Length is that of its body. */
TEST(refusals_are_complete_http)
{
    bytes out = { 0 }, log = { 0 };
    wsock *ws = ask(LINE HOST "\r\n", NULL, &out, &log);
    char value[32] = "";
    const char *body = bytes_find(&out, "\r\n\r\n");
    CHECK(head_value(bytes_str(&out), "Content-Length", value, 32));
    if (CHECK(body != NULL))
        CHECK_INT(strlen(body + 4), atoi(value));
    CHECK_STR(bytes_str(&log), "CLOSE 1006 \"\" WSOCK_REFUSED\n");
    wsock_free(ws);
    bytes_free(&out);
    bytes_free(&log);
}

/* options.max_header: 414 for the line, 431 for the rest. */
TEST(heads_that_are_too_long)
{
    wsock_options o = options_with(0);
    bytes request = { 0 }, out = { 0 }, log = { 0 };
    wsock *ws;
    int i;
    o.max_header = 1000;
    bytes_text(&request, "GET /");
    for (i = 0; i < 2000; i++)
        bytes_text(&request, "a");
    ws = ask(bytes_str(&request), &o, &out, &log);
    CHECK(!strncmp(bytes_str(&out), "HTTP/1.1 414 ", 13));
    CHECK_STR(bytes_str(&log), "CLOSE 1006 \"\" WSOCK_REFUSED\n");
    CHECK_INT(wsock_why(ws)->http_status, 414);
    wsock_free(ws);
    bytes_clear(&request);
    bytes_text(&request, GOOD);
    for (i = 0; i < 100; i++)
        bytes_text(&request, "X-Filler: 0123456789\r\n");
    ws = ask(bytes_str(&request), &o, &out, &log);
    CHECK(!strncmp(bytes_str(&out), "HTTP/1.1 431 ", 13));
    CHECK_STR(bytes_str(&log), "CLOSE 1006 \"\" WSOCK_REFUSED\n");
    wsock_free(ws);
    /* A head that just fits is fine: the limit is inclusive. */
    bytes_clear(&request);
    bytes_text(&request, GOOD "X: ");
    while (request.size < 1000 - 4)
        bytes_text(&request, "f");
    bytes_text(&request, "\r\n\r\n");
    CHECK_INT(request.size, 1000);
    ws = ask(bytes_str(&request), &o, &out, &log);
    CHECK_STR(bytes_str(&log), "OPEN\n");
    wsock_free(ws);
    bytes_free(&request);
    bytes_free(&out);
    bytes_free(&log);
}

/* 4.2.2 item 4, 10.2: a list of origins keeps other pages out. */
TEST(origins)
{
    static const char *const allowed[] = { "https://example.com",
                                           "http://localhost:8000", NULL };
    static const struct {
        const char *origin;
        int status;
    } cases[] = {
        { "", 101 }, /* no browser */
        { "Origin: https://example.com\r\n", 101 },
        { "Origin: HTTPS://Example.COM\r\n", 101 },
        { "Origin: http://localhost:8000\r\n", 101 },
        { "Origin: https://evil.example\r\n", 403 },
        { "Origin: https://example.com.evil.example\r\n", 403 },
        { "Origin: https://example.co\r\n", 403 },
        { "Origin: http://example.com\r\n", 403 },
        { "Origin: http://localhost\r\n", 403 },
        { "Origin: null\r\n", 403 },
        { "Origin:\r\n", 403 },
        { "Origin: https://example.com\r\nOrigin: https://evil.example\r\n",
          -1 } /* twice: not let in, 400 or 403 */
    };
    wsock_options o = options_with(0);
    bytes out = { 0 }, log = { 0 };
    size_t i;
    o.origins = allowed;
    for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        wsock *ws;
        test_note("%s", cases[i].origin);
        ws = ask_with(cases[i].origin, &o, &out, &log);
        if (cases[i].status >= 0)
            CHECK_INT(atoi(bytes_str(&out) + 9), cases[i].status);
        else
            CHECK(atoi(bytes_str(&out) + 9) >= 400);
        if (cases[i].status == 403)
            CHECK_RESULT(wsock_error(ws), WSOCK_REFUSED);
        wsock_free(ws);
    }
    bytes_free(&out);
    bytes_free(&log);
}

/* The first of the client's subprotocols that the server speaks. */
TEST(subprotocols)
{
    static const char *const spoken[] = { "chat", "superchat", NULL };
    static const struct {
        const char *offer, *want;
    } cases[] = {
        { "", NULL },
        { "Sec-WebSocket-Protocol: chat\r\n", "chat" },
        { "Sec-WebSocket-Protocol: superchat, chat\r\n", "superchat" },
        { "Sec-WebSocket-Protocol: mqtt,chat\r\n", "chat" },
        { "Sec-WebSocket-Protocol: mqtt , superchat , chat\r\n",
          "superchat" },
        { "Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Protocol: "
          "superchat\r\n", "superchat" },
        { "Sec-WebSocket-Protocol: mqtt, stomp\r\n", NULL },
        { "Sec-WebSocket-Protocol: CHAT\r\n", NULL },
        { "Sec-WebSocket-Protocol: chatter\r\n", NULL },
        { "Sec-WebSocket-Protocol: cha\r\n", NULL }
    };
    wsock_options o = options_with(0);
    bytes out = { 0 }, log = { 0 };
    size_t i;
    o.subprotocols = spoken;
    for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        wsock *ws;
        test_note("%s", cases[i].offer);
        ws = ask_with(cases[i].offer, &o, &out, &log);
        CHECK_STR(bytes_str(&log), "OPEN\n");
        CHECK_STR(wsock_subprotocol(ws), cases[i].want);
        check_value(&out, "Sec-WebSocket-Protocol", cases[i].want);
        wsock_free(ws);
    }
    bytes_free(&out);
    bytes_free(&log);
}

/* 9.1: extensions of the server's own are agreed, others passed over. */
TEST(extensions)
{
    static const char *const mine[] = { "x-one", "x-two; a=1", NULL };
    static const struct {
        const char *offer;
        unsigned want;
    } cases[] = {
        { "x-one", 1 },
        { "permessage-deflate; client_max_window_bits, x-one", 1 },
        /* "the value after quoted-string unescaping MUST conform to the
         * 'token' ABNF" */
        { "foo; bar=\"baz\", x-one", 1 },
        { "foo; bar=\"b\\az\", x-one", 1 },
        { "x-two; a=1", 2 },
        { "x-one, x-two; a=1", 3 },
        { "X-One-More", 0 }
    };
    wsock_options o = options_with(0);
    bytes request = { 0 }, out = { 0 }, log = { 0 };
    size_t i;
    o.extensions = mine;
    for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        wsock *ws;
        test_note("%s", cases[i].offer);
        bytes_clear(&request);
        bytes_format(&request, GOOD "Sec-WebSocket-Extensions: %s\r\n\r\n",
                     cases[i].offer);
        ws = ask(bytes_str(&request), &o, &out, &log);
        CHECK_STR(bytes_str(&log), "OPEN\n");
        CHECK_INT(wsock_extensions(ws), cases[i].want);
        CHECK_INT(bytes_find(&out, "Sec-WebSocket-Extensions: ") != NULL,
                  cases[i].want != 0);
        CHECK_INT(bytes_find(&out, "x-one") != NULL, cases[i].want & 1);
        CHECK_INT(bytes_find(&out, "x-two; a=1") != NULL,
                  (cases[i].want & 2) != 0);
        wsock_free(ws);
    }
    bytes_free(&request);
    bytes_free(&out);
    bytes_free(&log);
}

TEST(injection_is_refused_in_every_option)
{
    check_injection(WSOCK_SERVER);
}

/* Headers of the request, at OPEN. */
TEST(headers_of_the_request)
{
    wsock *ws = wsock_new(WSOCK_SERVER, NULL, NULL);
    char request[] = GOOD "Cookie: a=b\r\nX-Two: 1\r\nX-Two: 2\r\n\r\n";
    wsock_event e;
    wsock_feed(ws, request, strlen(request));
    CHECK_INT(wsock_next(ws, &e), 1);
    CHECK_INT(e.type, WSOCK_EVENT_OPEN);
    CHECK_STR(wsock_header(ws, "COOKIE"), "a=b");
    CHECK_STR(wsock_header(ws, "x-two"), "1");
    CHECK_STR(wsock_header(ws, "host"), "server.example.com");
    CHECK_STR(wsock_header(ws, "X-Absent"), NULL);
    CHECK_STR(wsock_header(ws, ""), NULL);
    wsock_free(ws);
}

/* Frames that a hasty client sends directly behind its head. */
TEST(frames_directly_behind_the_head)
{
    wsock *ws = wsock_new(WSOCK_SERVER, NULL, NULL);
    bytes in = { 0 }, log = { 0 }, out = { 0 };
    const char *end;
    bytes_text(&in, TEST_REQUEST);
    frame_text(&in, FIN | 1, 1, "eager");
    frame_text(&in, FIN | 9, 1, "p");
    feed_bytes(ws, &in, &log);
    CHECK_STR(bytes_str(&log), "OPEN\nTEXT \"eager\"\nPING \"p\"\n");
    take_output(ws, &out);
    /* The answer comes first, then the pong. */
    end = bytes_find(&out, "\r\n\r\n");
    if (CHECK(end != NULL))
        CHECK_BYTES(end + 4, out.size - (size_t)((const uint8_t *)end + 4
                                                 - out.data),
                    "\x8A\x01p", 3);
    wsock_free(ws);
    bytes_free(&in);
    bytes_free(&log);
    bytes_free(&out);
}

TEST(end_of_stream_in_the_handshake)
{
    static const char *const cases[] = { "", "GE", LINE, LINE HOST UPGRADE };
    size_t i;
    bytes log = { 0 };
    for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        wsock *ws = wsock_new(WSOCK_SERVER, NULL, NULL);
        test_note("case %lu", (unsigned long)i);
        bytes_clear(&log);
        if (cases[i][0])
            feed_text(ws, cases[i], &log);
        feed(ws, "", 0, &log);
        CHECK_STR(bytes_str(&log),
                  "CLOSE 1006 \"\" WSOCK_CONNECTION_LOST\n");
        wsock_free(ws);
    }
    bytes_free(&log);
}

/* ------------------------------------------------- for an HTTP stack -- */

TEST(the_halves_of_the_handshake)
{
    static const char *const headers[] = {
        "host: server.example.com", "upgrade: websocket",
        "connection: keep-alive, Upgrade",
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
        "sec-websocket-version: 13", "sec-websocket-protocol: b, a", NULL
    };
    static const char *const spoken[] = { "a", "b", NULL };
    wsock_options o = options_with(0);
    bytes head = { 0 }, in = { 0 }, log = { 0 }, out = { 0 }, sent = { 0 };
    const char *name, *value;
    wsock *ws;
    o.subprotocols = spoken;
    ws = wsock_new(WSOCK_SERVER, NULL, &o);
    CHECK_RESULT(wsock_head_out(ws, 0, &name, &value),
                 WSOCK_INVALID_OPERATION);
    CHECK_RESULT(wsock_head_in(ws, "GET /chat HTTP/1.1", headers), WSOCK_OK);
    CHECK_STR(wsock_subprotocol(ws), "b");
    head_lines(ws, &head);
    CHECK(!strncmp(bytes_str(&head), "HTTP/1.1 101 ", 13));
    check_value(&head, "Upgrade", "websocket");
    check_value(&head, "Connection", "Upgrade");
    check_value(&head, "Sec-WebSocket-Accept",
                "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    check_value(&head, "Sec-WebSocket-Protocol", "b");
    CHECK_INT(take_output(ws, NULL), 0);
    frame_text(&in, FIN | 1, 1, "frames only now");
    feed_bytes(ws, &in, &log);
    CHECK_STR(bytes_str(&log), "OPEN\nTEXT \"frames only now\"\n");
    CHECK_RESULT(wsock_send(ws, WSOCK_TEXT, "yes", 3), WSOCK_OK);
    take_output(ws, &out);
    frames_log(&sent, &out, 0);
    CHECK_STR(bytes_str(&sent), "text \"yes\"\n");
    wsock_free(ws);
    bytes_free(&head);
    bytes_free(&in);
    bytes_free(&log);
    bytes_free(&out);
    bytes_free(&sent);
}

TEST(a_refusal_by_halves)
{
    static const char *const old[] = {
        "Host: h", "Upgrade: websocket", "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 7", NULL
    };
    static const char *const wrong[] = { "Host: h", "no colon", NULL };
    bytes head = { 0 };
    wsock *ws = wsock_new(WSOCK_SERVER, NULL, NULL);
    CHECK_RESULT(wsock_head_in(ws, "GET / HTTP/1.1", old), WSOCK_REFUSED);
    head_lines(ws, &head);
    CHECK(!strncmp(bytes_str(&head), "HTTP/1.1 426 ", 13));
    check_value(&head, "Sec-WebSocket-Version", "13");
    CHECK_INT(wsock_why(ws)->http_status, 426);
    wsock_free(ws);
    ws = wsock_new(WSOCK_SERVER, NULL, NULL);
    CHECK_RESULT(wsock_head_in(ws, "GET / HTTP/1.1", wrong), WSOCK_REFUSED);
    head_lines(ws, &head);
    CHECK(!strncmp(bytes_str(&head), "HTTP/1.1 400 ", 13));
    wsock_free(ws);
    bytes_free(&head);
}

/* A refusal that another HTTP stack sends is a head alone, so it has to say
 * that no body follows. */
TEST(a_refusal_by_halves_has_no_body)
{
    static const char *const none[] = { "Host: h", NULL };
    bytes head = { 0 };
    wsock *ws = wsock_new(WSOCK_SERVER, NULL, NULL);
    CHECK_RESULT(wsock_head_in(ws, "GET / HTTP/1.1", none), WSOCK_REFUSED);
    head_lines(ws, &head);
    CHECK(!strncmp(bytes_str(&head), "HTTP/1.1 426 ", 13));
    check_value(&head, "Content-Length", "0");
    CHECK_INT(take_output(ws, NULL), 0);
    wsock_free(ws);
    bytes_free(&head);
}

static const test_case tests[] = {
    TEST_ENTRY(the_answer),
    TEST_ENTRY(own_headers_in_the_answer),
    TEST_ENTRY(requests_that_are_good),
    TEST_ENTRY(requests_that_are_refused),
    TEST_ENTRY(refusals_are_complete_http),
    TEST_ENTRY(heads_that_are_too_long),
    TEST_ENTRY(origins),
    TEST_ENTRY(subprotocols),
    TEST_ENTRY(extensions),
    TEST_ENTRY(injection_is_refused_in_every_option),
    TEST_ENTRY(headers_of_the_request),
    TEST_ENTRY(frames_directly_behind_the_head),
    TEST_ENTRY(end_of_stream_in_the_handshake),
    TEST_ENTRY(the_halves_of_the_handshake),
    TEST_ENTRY(a_refusal_by_halves),
    TEST_ENTRY(a_refusal_by_halves_has_no_body)
};

TEST_MAIN("handshake_server", tests)
