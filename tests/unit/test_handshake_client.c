/* The client's handshake (RFC 6455 4.1): URLs, the request, every check of
 * the response, and the halves for programs that own an HTTP stack. */
#define WSOCK_IMPLEMENTATION
#include "../../wsock.h"
#include "test.h"

/* The whole request as text. */
static void get_request(wsock *ws, bytes *out)
{
    bytes_clear(out);
    take_output(ws, out);
}

/* ----------------------------------------------------------------- URLs -- */

TEST(urls_that_are_not)
{
    static const char *const urls[] = {
        "", "x", "ws", "ws:", "ws:/", "ws:/host/", "ws://", "ws:///path",
        "ws://:80/", "ws://?q", "http://host/", "//host/", "host/",
        "ws://host:abc/", "ws://host:65536/",
        "ws://host:99999999999999999999/", "ws://host:-1/", "ws://host:+1/",
        "ws://host:80x/", "ws://host: 80/", "ws://ho st/", "ws://host/a b",
        "ws://host/a\tb", "ws://host/a\r\nX: y", "ws://ho\nst/",
        "ws://host/\x7F", "ws://[::1/", "ws://::1/", "ws://[]/",
        "ws://[::1]x/", "ws://[::1\r\n]/", "ws://host/#fragment",
        "ws://host#fragment", " ws://host/", "ws://host/ ",
        "ws://ho\"st/", "ws://ho<st/", "ws://user@host/",
        "ws://user:pass@host/"
    };
    size_t i;
    for (i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        wsock *ws = wsock_new(WSOCK_CLIENT, urls[i], NULL);
        test_note("\"%.60s\"", urls[i]);
        CHECK(ws != NULL);
        CHECK_RESULT(wsock_error(ws), WSOCK_INVALID_URL);
        CHECK_INT(wsock_why(ws)->phase, WSOCK_PHASE_SETUP);
        CHECK_INT(take_output(ws, NULL), 0);
        CHECK_RESULT(wsock_send(ws, WSOCK_TEXT, "x", 1), WSOCK_INVALID_URL);
        wsock_free(ws);
    }
}

TEST(wss_needs_tls)
{
    wsock *ws = wsock_new(WSOCK_CLIENT, "wss://host/", NULL);
    CHECK_RESULT(wsock_error(ws), WSOCK_UNSUPPORTED);
    wsock_free(ws);
}

/* 3: resource name and Host from the URL; the port only if it is not 80. */
TEST(urls_and_what_they_ask_for)
{
    static const struct {
        const char *url, *line, *host;
    } cases[] = {
        { "ws://host/", "GET / HTTP/1.1", "host" },
        { "ws://host", "GET / HTTP/1.1", "host" },
        { "WS://Host.Example/", "GET / HTTP/1.1", "Host.Example" },
        { "ws://host:80/", "GET / HTTP/1.1", "host" },
        { "ws://host:/a:b", "GET /a:b HTTP/1.1", "host" },
        { "ws://host:9001/a/b", "GET /a/b HTTP/1.1", "host:9001" },
        { "ws://host:65535/", "GET / HTTP/1.1", "host:65535" },
        { "ws://host/p?q=1&r=%20", "GET /p?q=1&r=%20 HTTP/1.1", "host" },
        { "ws://host?q=1", "GET /?q=1 HTTP/1.1", "host" },
        { "ws://host/?", "GET /? HTTP/1.1", "host" },
        { "ws://127.0.0.1:1/x", "GET /x HTTP/1.1", "127.0.0.1:1" },
        { "ws://[::1]/x", "GET /x HTTP/1.1", "[::1]" },
        { "ws://[2001:db8::1]:81/", "GET / HTTP/1.1", "[2001:db8::1]:81" }
    };
    size_t i, n;
    for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        wsock *ws = wsock_new(WSOCK_CLIENT, cases[i].url, NULL);
        bytes head = { 0 };
        test_note("%s", cases[i].url);
        CHECK_RESULT(wsock_error(ws), WSOCK_OK);
        get_request(ws, &head);
        n = strcspn(bytes_str(&head), "\r");
        CHECK_BYTES(head.data, n, cases[i].line, strlen(cases[i].line));
        if (strcmp(cases[i].host, "Host.Example")) /* case is free */
            check_value(&head, "Host", cases[i].host);
        wsock_free(ws);
        bytes_free(&head);
    }
}

/* -------------------------------------------------------------- request -- */

/* 4.1, "The requirements for this handshake", 1 to 12. */
TEST(the_request)
{
    static const char *const subprotocols[] = { "chat", "superchat", NULL };
    static const char *const extensions[] = { "x-one; a=1; b", "x-two",
                                              NULL };
    static const char *const headers[] = { "X-Token: abc", "Cookie: a=b",
                                           NULL };
    wsock_options o = options_with(0);
    bytes head = { 0 };
    char key[64];
    wsock *ws;
    size_t i;
    o.subprotocols = subprotocols;
    o.extensions = extensions;
    o.headers = headers;
    o.origin = "https://example.com";
    o.user_agent = "test/1";
    ws = wsock_new(WSOCK_CLIENT, "ws://server.example.com/chat?a", &o);
    get_request(ws, &head);
    CHECK(!strncmp(bytes_str(&head), "GET /chat?a HTTP/1.1\r\n", 22));
    check_value(&head, "Host", "server.example.com");
    check_value(&head, "Upgrade", "websocket");
    check_value(&head, "Connection", "Upgrade");
    check_value(&head, "Sec-WebSocket-Version", "13");
    check_value(&head, "Sec-WebSocket-Protocol", "chat, superchat");
    check_value(&head, "Sec-WebSocket-Extensions", "x-one; a=1; b, x-two");
    check_value(&head, "Origin", "https://example.com");
    check_value(&head, "User-Agent", "test/1");
    check_value(&head, "X-Token", "abc");
    check_value(&head, "Cookie", "a=b");
    /* Item 7: base64 of 16 bytes. */
    CHECK(head_value(bytes_str(&head), "Sec-WebSocket-Key", key, sizeof key));
    CHECK_INT(strlen(key), 24);
    for (i = 0; i < 22 && key[i]; i++)
        CHECK(strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                     "0123456789+/", key[i]) != NULL);
    CHECK_STR(strlen(key) == 24 ? key + 22 : "", "==");
    CHECK(head.size > 4
          && !memcmp(head.data + head.size - 4, "\r\n\r\n", 4));
    CHECK_INT(wsock_state(ws), WSOCK_STATE_CONNECTING);
    wsock_free(ws);
    bytes_free(&head);
}

/* Without options no optional header is sent. */
TEST(the_plain_request)
{
    wsock *ws = wsock_new(WSOCK_CLIENT, "ws://h/", NULL);
    bytes head = { 0 };
    get_request(ws, &head);
    CHECK(!bytes_find(&head, "Origin"));
    CHECK(!bytes_find(&head, "User-Agent"));
    CHECK(!bytes_find(&head, "Sec-WebSocket-Protocol"));
    CHECK(!bytes_find(&head, "Sec-WebSocket-Extensions"));
    wsock_free(ws);
    bytes_free(&head);
}

/* 4.1 item 7: "The nonce MUST be selected randomly for each connection." */
TEST(every_connection_has_its_own_key)
{
    char keys[16][64];
    int i, k;
    for (i = 0; i < 16; i++) {
        wsock *ws = wsock_new(WSOCK_CLIENT, "ws://h/", NULL);
        bytes head = { 0 };
        get_request(ws, &head);
        keys[i][0] = 0;
        head_value(bytes_str(&head), "Sec-WebSocket-Key", keys[i], 64);
        for (k = 0; k < i; k++)
            CHECK(strcmp(keys[i], keys[k]) != 0);
        wsock_free(ws);
        bytes_free(&head);
    }
}

TEST(injection_is_refused_in_every_option)
{
    check_injection(WSOCK_CLIENT);
}

static void check_refused_lists(const char *const *subprotocols,
                                const char *const *headers)
{
    wsock_options o = options_with(0);
    wsock *ws;
    o.subprotocols = subprotocols;
    o.headers = headers;
    ws = wsock_new(WSOCK_CLIENT, "ws://h/", &o);
    CHECK_RESULT(wsock_error(ws), WSOCK_INVALID_PARAMETER);
    wsock_free(ws);
}

/* 4.1 item 10: subprotocols are tokens, and unique; headers have a name. */
TEST(options_that_are_no_tokens)
{
    static const char *const wrong[] = { "", "a b", "a,b", "a;b", "a/b",
                                         "\"a\"", "caf\xC3\xA9" };
    static const char *const headers[] = { "no colon", ": no name", "",
                                           "a b: c", "a : b" };
    static const char *const twice[] = { "chat", "chat", NULL };
    const char *list[2] = { NULL, NULL };
    size_t i;
    for (i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        test_note("subprotocol \"%s\"", wrong[i]);
        list[0] = wrong[i];
        check_refused_lists(list, NULL);
    }
    for (i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        test_note("header \"%s\"", headers[i]);
        list[0] = headers[i];
        check_refused_lists(NULL, list);
    }
    test_note("the same subprotocol twice");
    check_refused_lists(twice, NULL);
}

/* ------------------------------------------------------------- response -- */

static const char *const offered_subprotocols[] = { "chat", "superchat",
                                                    NULL };
static const char *const offered_extensions[] = { "x-one", "x-two; a=1",
                                                  NULL };

/* One exchange.  `response` holds the word ACCEPT where the right value
 * belongs.  Returns the connection, its events in `log`. */
static wsock *answer(const char *response, bytes *log, int end)
{
    wsock_options o = options_with(0);
    bytes out = { 0 }, in = { 0 };
    char key[64], accept[40];
    const char *p = response, *q;
    wsock *ws;
    o.subprotocols = offered_subprotocols;
    o.extensions = offered_extensions;
    ws = wsock_new(WSOCK_CLIENT, "ws://h/", &o);
    get_request(ws, &out);
    if (!head_value(bytes_str(&out), "Sec-WebSocket-Key", key, sizeof key))
        test_die("no key");
    test_accept(key, accept);
    while ((q = strstr(p, "ACCEPT")) != NULL) {
        bytes_put(&in, p, (size_t)(q - p));
        bytes_text(&in, accept);
        p = q + 6;
    }
    bytes_text(&in, p);
    bytes_clear(log);
    feed_bytes(ws, &in, log);
    if (end && wsock_state(ws) != WSOCK_STATE_CLOSED)
        feed(ws, "", 0, log);
    bytes_free(&out);
    bytes_free(&in);
    return ws;
}

#define LINE "HTTP/1.1 101 Switching Protocols\r\n"
#define UPGRADE "Upgrade: websocket\r\n"
#define CONNECTION "Connection: Upgrade\r\n"
#define ACCEPT "Sec-WebSocket-Accept: ACCEPT\r\n"
#define GOOD LINE UPGRADE CONNECTION ACCEPT

/* Forms that have to be taken: names and tokens without regard to case,
 * lists, blanks, other headers, reason phrases of any kind, none at all. */
TEST(responses_that_are_good)
{
    static const char *const cases[] = {
        GOOD "\r\n",
        "HTTP/1.1 101 \r\n" UPGRADE CONNECTION ACCEPT "\r\n",
        "HTTP/1.1 101\r\n" UPGRADE CONNECTION ACCEPT "\r\n",
        "HTTP/1.1 101 Web Socket Protocol Handshake\r\n" UPGRADE CONNECTION
            ACCEPT "\r\n",
        LINE "UPGRADE: WebSocket\r\nCONNECTION: UPGRADE\r\n"
             "SEC-WEBSOCKET-AcCePt: ACCEPT\r\n\r\n",
        LINE "upgrade:websocket\r\nconnection:upgrade\r\n"
             "sec-websocket-accept:ACCEPT\r\n\r\n",
        LINE "Upgrade: \t websocket \t \r\nConnection:   Upgrade  \r\n"
             "Sec-WebSocket-Accept: \tACCEPT  \r\n\r\n",
        LINE UPGRADE "Connection: keep-alive, Upgrade\r\n" ACCEPT "\r\n",
        LINE UPGRADE "Connection: keep-alive\r\nConnection: Upgrade\r\n"
             ACCEPT "\r\n",
        LINE "Server: x\r\nDate: now\r\n" UPGRADE CONNECTION ACCEPT
             "X-Empty:\r\nX-Odd: \x80\xFF\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n" GOOD "\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        "HTTP/1.1 102 Processing\r\n\r\n" GOOD "\r\n"
    };
    size_t i;
    bytes log = { 0 };
    for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        wsock *ws = answer(cases[i], &log, 0);
        test_note("response %lu", (unsigned long)i);
        CHECK_STR(bytes_str(&log), "OPEN\n");
        CHECK_INT(wsock_state(ws), WSOCK_STATE_OPEN);
        CHECK_STR(wsock_subprotocol(ws), NULL);
        CHECK_INT(wsock_extensions(ws), 0);
        CHECK_RESULT(wsock_error(ws), WSOCK_OK);
        wsock_free(ws);
    }
    bytes_free(&log);
}

/* 4.1, "the client MUST validate the server's response", 2 to 6. */
TEST(responses_that_break_the_handshake)
{
    static const struct {
        const char *response;
        int want;
    } cases[] = {
        /* 2: no Upgrade, or another. */
        { LINE CONNECTION ACCEPT "\r\n", WSOCK_INVALID_HANDSHAKE },
        { LINE "Upgrade: h2c\r\n" CONNECTION ACCEPT "\r\n",
          WSOCK_INVALID_HANDSHAKE },
        { LINE "Upgrade: websocketx\r\n" CONNECTION ACCEPT "\r\n",
          WSOCK_INVALID_HANDSHAKE },
        /* 3: no Connection, or without the token. */
        { LINE UPGRADE ACCEPT "\r\n", WSOCK_INVALID_HANDSHAKE },
        { LINE UPGRADE "Connection: close\r\n" ACCEPT "\r\n",
          WSOCK_INVALID_HANDSHAKE },
        { LINE UPGRADE "Connection: Upgraded\r\n" ACCEPT "\r\n",
          WSOCK_INVALID_HANDSHAKE },
        /* 4: no Accept, another, twice. */
        { LINE UPGRADE CONNECTION "\r\n", WSOCK_INVALID_HANDSHAKE },
        { LINE UPGRADE CONNECTION "Sec-WebSocket-Accept:\r\n\r\n",
          WSOCK_INVALID_HANDSHAKE },
        { LINE UPGRADE CONNECTION
          "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
          WSOCK_INVALID_HANDSHAKE },
        { LINE UPGRADE CONNECTION "Sec-WebSocket-Accept: ACCEPTx\r\n\r\n",
          WSOCK_INVALID_HANDSHAKE },
        { GOOD ACCEPT "\r\n", WSOCK_INVALID_HANDSHAKE },
        /* 5: extensions that were not offered, and broken lists. */
        { GOOD "Sec-WebSocket-Extensions: x-three\r\n\r\n",
          WSOCK_UNSUPPORTED_EXTENSION },
        { GOOD "Sec-WebSocket-Extensions: x-one, permessage-deflate\r\n\r\n",
          WSOCK_UNSUPPORTED_EXTENSION },
        { GOOD "Sec-WebSocket-Extensions: X-ONE-MORE\r\n\r\n",
          WSOCK_UNSUPPORTED_EXTENSION },
        { GOOD "Sec-WebSocket-Extensions: x-one; =\r\n\r\n",
          WSOCK_INVALID_HANDSHAKE },
        /* 6: a subprotocol that was not offered; its case counts. */
        { GOOD "Sec-WebSocket-Protocol: other\r\n\r\n",
          WSOCK_UNSUPPORTED_SUBPROTOCOL },
        { GOOD "Sec-WebSocket-Protocol: CHAT\r\n\r\n",
          WSOCK_UNSUPPORTED_SUBPROTOCOL },
        { GOOD "Sec-WebSocket-Protocol: chat, superchat\r\n\r\n",
          WSOCK_UNSUPPORTED_SUBPROTOCOL }
    };
    size_t i;
    bytes log = { 0 };
    for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        wsock *ws = answer(cases[i].response, &log, 0);
        char want[80];
        test_note("response %lu", (unsigned long)i);
        snprintf(want, sizeof want, "CLOSE 1006 \"\" %s\n",
                 wsock_result_name(cases[i].want));
        CHECK_STR(bytes_str(&log), want);
        CHECK_RESULT(wsock_error(ws), cases[i].want);
        CHECK_INT(wsock_why(ws)->phase, WSOCK_PHASE_HTTP);
        CHECK_INT(wsock_why(ws)->http_status, 101);
        CHECK(strlen(wsock_error_text(ws)) > 10);
        CHECK_INT(take_output(ws, NULL), 0); /* no Close: never was open */
        CHECK_INT(wsock_state(ws), WSOCK_STATE_CLOSED);
        wsock_free(ws);
    }
    bytes_free(&log);
}

/* Not HTTP/1.1 at all. */
TEST(responses_that_are_no_http)
{
    static const char *const cases[] = {
        "garbage\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/1.1\r\n\r\n",
        "HTTP/1.1 10 x\r\n\r\n",
        "HTTP/1.1 1010 x\r\n\r\n",
        "HTTP/1.1 abc x\r\n\r\n",
        "HTTP/1.1 099 x\r\n\r\n",
        "HTTP/1.1x101 x\r\n\r\n",
        "HTTP/2.0 101 Switching Protocols\r\n" UPGRADE CONNECTION ACCEPT
            "\r\n",
        "http/1.1 101 Switching Protocols\r\n" UPGRADE CONNECTION ACCEPT
            "\r\n",
        " HTTP/1.1 101 Switching Protocols\r\n" UPGRADE CONNECTION ACCEPT
            "\r\n",
        LINE "No colon\r\n" UPGRADE CONNECTION ACCEPT "\r\n",
        LINE ": no name\r\n" UPGRADE CONNECTION ACCEPT "\r\n",
        LINE "Blank : before colon\r\n" UPGRADE CONNECTION ACCEPT "\r\n",
        LINE "Na me: x\r\n" UPGRADE CONNECTION ACCEPT "\r\n",
        LINE UPGRADE CONNECTION ACCEPT "X: bell \x07\r\n\r\n",
        LINE UPGRADE CONNECTION ACCEPT "X: bare\rreturn\r\n\r\n"
    };
    size_t i;
    bytes log = { 0 };
    for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        wsock *ws = answer(cases[i], &log, 0);
        test_note("response %lu: %.30s", (unsigned long)i, cases[i]);
        CHECK_STR(bytes_str(&log), "CLOSE 1006 \"\" WSOCK_HTTP_ERROR\n");
        CHECK_INT(wsock_why(ws)->phase, WSOCK_PHASE_HTTP);
        CHECK_INT(take_output(ws, NULL), 0);
        wsock_free(ws);
    }
    bytes_free(&log);
}

/* An old server: HTTP/1.0 cannot switch protocols (RFC 9110 7.8). */
TEST(http_1_0_cannot_upgrade)
{
    bytes log = { 0 };
    wsock *ws = answer("HTTP/1.0 101 Switching Protocols\r\n" UPGRADE
                       CONNECTION ACCEPT "\r\n", &log, 0);
    CHECK(!strncmp(bytes_str(&log), "CLOSE 1006", 10));
    CHECK(wsock_error(ws) < 0);
    wsock_free(ws);
    /* ... but it may well refuse. */
    ws = answer("HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n", &log,
                0);
    CHECK_RESULT(wsock_error(ws), WSOCK_REFUSED);
    CHECK_INT(wsock_why(ws)->http_status, 404);
    wsock_free(ws);
    bytes_free(&log);
}

/* 4.1 item 1: any other status is HTTP; status, headers and the start of the
 * body can be read. */
TEST(refusals_can_be_read)
{
    bytes log = { 0 };
    const wsock_failure *why;
    wsock *ws = answer("HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\n"
                       "X-Why: because\r\nContent-Length: 6\r\n\r\ndenied",
                       &log, 0);
    CHECK_STR(bytes_str(&log), "CLOSE 1006 \"\" WSOCK_REFUSED\n");
    why = wsock_why(ws);
    CHECK_RESULT(why->code, WSOCK_REFUSED);
    CHECK_INT(why->phase, WSOCK_PHASE_HTTP);
    CHECK_INT(why->http_status, 403);
    CHECK_BYTES(why->body, why->body_size, "denied", 6);
    CHECK_STR(wsock_header(ws, "x-why"), "because");
    CHECK_STR(wsock_header(ws, "Content-Type"), "text/plain");
    CHECK_STR(wsock_header(ws, "X-Absent"), NULL);
    CHECK(strstr(wsock_error_text(ws), "403") != NULL);
    wsock_free(ws);

    test_note("the body ends with the stream");
    ws = answer("HTTP/1.1 503 Busy\r\n\r\ncome back later", &log, 1);
    why = wsock_why(ws);
    CHECK_RESULT(why->code, WSOCK_REFUSED);
    CHECK_INT(why->http_status, 503);
    CHECK_BYTES(why->body, why->body_size, "come back later", 15);
    wsock_free(ws);

    test_note("no body");
    ws = answer("HTTP/1.1 426 Upgrade Required\r\n"
                "Sec-WebSocket-Version: 8, 7\r\nContent-Length: 0\r\n\r\n",
                &log, 0);
    CHECK_INT(wsock_why(ws)->http_status, 426);
    CHECK_INT(wsock_why(ws)->body_size, 0);
    CHECK_STR(wsock_header(ws, "Sec-WebSocket-Version"), "8, 7");
    wsock_free(ws);

    test_note("a redirect is not followed");
    ws = answer("HTTP/1.1 302 Found\r\nLocation: ws://other/\r\n"
                "Content-Length: 0\r\n\r\n", &log, 0);
    CHECK_RESULT(wsock_error(ws), WSOCK_REFUSED);
    CHECK_STR(wsock_header(ws, "Location"), "ws://other/");
    wsock_free(ws);

    test_note("200 is not 101");
    ws = answer("HTTP/1.1 200 OK\r\n" UPGRADE CONNECTION ACCEPT
                "Content-Length: 0\r\n\r\n", &log, 0);
    CHECK_RESULT(wsock_error(ws), WSOCK_REFUSED);
    CHECK_INT(wsock_why(ws)->http_status, 200);
    wsock_free(ws);
    bytes_free(&log);
}

/* Of a long body the first 4 KiB are kept. */
TEST(a_long_body_is_cut)
{
    uint8_t *body = test_pattern(20000);
    bytes response = { 0 }, log = { 0 };
    const wsock_failure *why;
    wsock *ws;
    bytes_text(&response,
               "HTTP/1.1 500 Oops\r\nContent-Length: 20000\r\n\r\n");
    bytes_put(&response, body, 20000);
    ws = answer(bytes_str(&response), &log, 1);
    why = wsock_why(ws);
    CHECK_RESULT(why->code, WSOCK_REFUSED);
    CHECK_INT(why->http_status, 500);
    CHECK(why->body_size >= 1024 && why->body_size <= 4096);
    CHECK_BYTES(why->body, why->body_size, body, why->body_size);
    wsock_free(ws);
    bytes_free(&response);
    bytes_free(&log);
    free(body);
}

TEST(what_was_agreed_can_be_asked)
{
    bytes log = { 0 };
    wsock *ws = answer(GOOD "Sec-WebSocket-Protocol: superchat\r\n"
                       "Sec-WebSocket-Extensions: x-two; a=1\r\n"
                       "X-Server: here\r\nX-Server: twice\r\n\r\n", &log, 0);
    wsock_event e;
    CHECK_STR(bytes_str(&log), "OPEN\n");
    CHECK_STR(wsock_subprotocol(ws), "superchat");
    CHECK_INT(wsock_extensions(ws), 2);
    CHECK_INT(wsock_next(ws, &e), 0);
    CHECK_STR(wsock_subprotocol(ws), "superchat");
    wsock_free(ws);
    ws = answer(GOOD "Sec-WebSocket-Extensions: x-one, x-two; a=1\r\n\r\n",
                &log, 0);
    CHECK_STR(bytes_str(&log), "OPEN\n");
    CHECK_INT(wsock_extensions(ws), 3);
    wsock_free(ws);
    ws = answer(GOOD "Sec-WebSocket-Extensions: x-one\r\n"
                "Sec-WebSocket-Extensions: x-two; a=\"1\"\r\n\r\n", &log, 0);
    CHECK_STR(bytes_str(&log), "OPEN\n");
    CHECK_INT(wsock_extensions(ws), 3);
    wsock_free(ws);
    bytes_free(&log);
}

/* Headers are there at OPEN, until the next reading call. */
TEST(headers_at_open)
{
    wsock *ws = wsock_new(WSOCK_CLIENT, "ws://h/", NULL);
    bytes out = { 0 }, in = { 0 };
    wsock_event e;
    CHECK_STR(wsock_header(ws, "Server"), NULL);
    get_request(ws, &out);
    put_response(&in, bytes_str(&out), "X-Server: first\r\nX-Server: 2\r\n");
    wsock_feed(ws, in.data, in.size);
    CHECK_INT(wsock_next(ws, &e), 1);
    CHECK_INT(e.type, WSOCK_EVENT_OPEN);
    CHECK_STR(wsock_header(ws, "x-sErVeR"), "first");
    CHECK_STR(wsock_header(ws, "X-Serve"), NULL);
    CHECK_STR(wsock_header(ws, "X-Server2"), NULL);
    wsock_free(ws);
    bytes_free(&out);
    bytes_free(&in);
}

/* What stands directly behind the head are frames. */
TEST(frames_directly_behind_the_head)
{
    wsock *ws = wsock_new(WSOCK_CLIENT, "ws://h/", NULL);
    bytes out = { 0 }, in = { 0 }, log = { 0 };
    get_request(ws, &out);
    put_response(&in, bytes_str(&out), "");
    frame_text(&in, FIN | 1, 0, "welcome");
    frame_text(&in, FIN | 9, 0, "ping");
    frame_close(&in, 0, 1000, "and bye");
    feed_bytes(ws, &in, &log);
    CHECK_STR(bytes_str(&log), "OPEN\nTEXT \"welcome\"\nPING \"ping\"\n"
                               "CLOSE 1000 \"and bye\" WSOCK_OK\n");
    wsock_free(ws);
    bytes_free(&out);
    bytes_free(&in);
    bytes_free(&log);
}

/* options.max_header bounds what a server can make us keep. */
TEST(a_head_that_never_ends)
{
    wsock_options o = options_with(0);
    wsock *ws;
    bytes log = { 0 };
    char line[101];
    int i;
    o.max_header = 1000;
    ws = wsock_new(WSOCK_CLIENT, "ws://h/", &o);
    take_output(ws, NULL);
    memset(line, 'x', 100);
    line[100] = 0;
    memcpy(line, "X: ", 3);
    memcpy(line + 98, "\r\n", 2);
    feed_text(ws, LINE, &log);
    for (i = 0; i < 20 && wsock_state(ws) != WSOCK_STATE_CLOSED; i++)
        feed_text(ws, line, &log);
    CHECK_STR(bytes_str(&log), "CLOSE 1006 \"\" WSOCK_TOO_BIG\n");
    CHECK(i <= 11);
    wsock_free(ws);
    bytes_free(&log);
}

TEST(end_of_stream_in_the_handshake)
{
    static const char *const cases[] = { "", "HTT", LINE, LINE UPGRADE };
    size_t i;
    bytes log = { 0 };
    for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        wsock *ws = wsock_new(WSOCK_CLIENT, "ws://h/", NULL);
        test_note("case %lu", (unsigned long)i);
        bytes_clear(&log);
        take_output(ws, NULL);
        if (cases[i][0])
            feed_text(ws, cases[i], &log);
        feed(ws, "", 0, &log);
        CHECK_STR(bytes_str(&log),
                  "CLOSE 1006 \"\" WSOCK_CONNECTION_LOST\n");
        CHECK_INT(wsock_why(ws)->phase, WSOCK_PHASE_HTTP);
        wsock_free(ws);
    }
    bytes_free(&log);
}

/* Sending has to wait for OPEN. */
TEST(not_open_yet)
{
    wsock *ws = wsock_new(WSOCK_CLIENT, "ws://h/", NULL);
    CHECK_RESULT(wsock_send(ws, WSOCK_TEXT, "x", 1), WSOCK_INVALID_OPERATION);
    CHECK_RESULT(wsock_shutdown(ws, 1000, ""), WSOCK_INVALID_OPERATION);
    CHECK_RESULT(wsock_error(ws), WSOCK_OK);
    CHECK_INT(wsock_state(ws), WSOCK_STATE_CONNECTING);
    wsock_free(ws);
}

/* The random source fails: no key, and no connection with a guessable one. */
TEST(no_random_no_key)
{
    test_system s;
    wsock_options o = options_with(0);
    bytes out = { 0 };
    wsock *ws;
    test_system_init(&s);
    s.random_fails = 1;
    o.system = &s.system;
    ws = wsock_new(WSOCK_CLIENT, "ws://h/", &o);
    take_output(ws, &out);
    CHECK_RESULT(wsock_error(ws), WSOCK_RANDOM_FAILED);
    CHECK_INT(out.size, 0);
    wsock_free(ws);
    CHECK_NO_LEAK(&s);
    bytes_free(&out);
}

/* ------------------------------------------------- for an HTTP stack -- */

static wsock *begin_halves(bytes *head, char accept_line[80])
{
    wsock_options o = options_with(0);
    char key[64], accept[40];
    wsock *ws;
    o.subprotocols = offered_subprotocols;
    o.extensions = offered_extensions;
    ws = wsock_new(WSOCK_CLIENT, "ws://server.example.com/chat", &o);
    head_lines(ws, head);
    if (!head_value(bytes_str(head), "Sec-WebSocket-Key", key, sizeof key))
        test_die("no key");
    test_accept(key, accept);
    snprintf(accept_line, 80, "Sec-WebSocket-Accept: %s", accept);
    return ws;
}

TEST(the_halves_of_the_handshake)
{
    char accept_line[80];
    const char *headers[6];
    bytes head = { 0 }, in = { 0 }, log = { 0 };
    wsock *ws = begin_halves(&head, accept_line);
    CHECK(!strncmp(bytes_str(&head), "GET /chat HTTP/1.1\r\n", 20));
    check_value(&head, "Host", "server.example.com");
    check_value(&head, "Upgrade", "websocket");
    check_value(&head, "Sec-WebSocket-Protocol", "chat, superchat");
    CHECK_INT(take_output(ws, NULL), 0); /* the head is ours to send */
    headers[0] = "upgrade: websocket";
    headers[1] = "connection: upgrade";
    headers[2] = accept_line;
    headers[3] = "sec-websocket-protocol: chat";
    headers[4] = "sec-websocket-extensions: x-one";
    headers[5] = NULL;
    CHECK_RESULT(wsock_head_in(ws, "HTTP/1.1 101 Switching Protocols",
                               headers), WSOCK_OK);
    CHECK_STR(wsock_subprotocol(ws), "chat");
    CHECK_INT(wsock_extensions(ws), 1);
    frame_text(&in, FIN | 1, 0, "frames only now");
    feed_bytes(ws, &in, &log);
    CHECK_STR(bytes_str(&log), "OPEN\nTEXT \"frames only now\"\n");
    CHECK_RESULT(wsock_head_in(ws, "HTTP/1.1 101 Switching Protocols",
                               headers), WSOCK_INVALID_OPERATION);
    wsock_free(ws);
    bytes_free(&head);
    bytes_free(&in);
    bytes_free(&log);
}

/* The outcomes are told apart. */
TEST(outcomes_of_the_second_half)
{
    static const struct {
        const char *line, *more;
        int want;
    } cases[] = {
        { "HTTP/1.1 101 x", "Sec-WebSocket-Protocol: other",
          WSOCK_UNSUPPORTED_SUBPROTOCOL },
        { "HTTP/1.1 101 x", "Sec-WebSocket-Extensions: other",
          WSOCK_UNSUPPORTED_EXTENSION },
        { "HTTP/1.1 101 x", "Sec-WebSocket-Accept: twice",
          WSOCK_INVALID_HANDSHAKE },
        { "HTTP/1.1 404 Not Found", "X: y", WSOCK_REFUSED },
        { "nonsense", "X: y", WSOCK_HTTP_ERROR },
        { "HTTP/1.1 101 x", "no colon", WSOCK_HTTP_ERROR }
    };
    char accept_line[80];
    const char *headers[5];
    bytes head = { 0 }, log = { 0 };
    size_t i;
    for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        wsock *ws = begin_halves(&head, accept_line);
        test_note("case %lu", (unsigned long)i);
        headers[0] = "Upgrade: websocket";
        headers[1] = "Connection: Upgrade";
        headers[2] = accept_line;
        headers[3] = cases[i].more;
        headers[4] = NULL;
        CHECK_RESULT(wsock_head_in(ws, cases[i].line, headers),
                     cases[i].want);
        CHECK_RESULT(wsock_error(ws), cases[i].want);
        bytes_clear(&log);
        drain_events(ws, &log);
        CHECK(!strncmp(bytes_str(&log), "CLOSE 1006", 10));
        wsock_free(ws);
    }
    bytes_free(&head);
    bytes_free(&log);
}

/* wsock_head_out() is about the head alone: once it has left, what stands at
 * the front of the queue is none of its business. */
TEST(no_head_after_the_head)
{
    int borrow;
    for (borrow = 0; borrow < 2; borrow++) {
        wsock *ws = core_open(WSOCK_CLIENT, NULL);
        bytes out = { 0 }, log = { 0 };
        const char *name = NULL, *value = NULL;
        wsock_buf buf;
        test_note("%s", borrow ? "borrowed" : "copied");
        CHECK_RESULT(wsock_head_out(ws, 0, &name, &value),
                     WSOCK_INVALID_OPERATION);
        buf.data = "hello";
        buf.size = 5;
        CHECK_RESULT(wsock_sendv(ws, borrow ? WSOCK_TEXT | WSOCK_BORROW
                                            : WSOCK_TEXT, &buf, 1, NULL),
                     WSOCK_OK);
        CHECK_RESULT(wsock_head_out(ws, 0, &name, &value),
                     WSOCK_INVALID_OPERATION);
        take_output(ws, &out); /* the message has not been touched */
        frames_log(&log, &out, 1);
        CHECK_STR(bytes_str(&log), "text \"hello\"\n");
        CHECK_RESULT(wsock_head_out(ws, 1, &name, &value),
                     WSOCK_INVALID_OPERATION);
        wsock_free(ws);
        bytes_free(&out);
        bytes_free(&log);
    }
}

static const test_case tests[] = {
    TEST_ENTRY(urls_that_are_not),
    TEST_ENTRY(wss_needs_tls),
    TEST_ENTRY(urls_and_what_they_ask_for),
    TEST_ENTRY(the_request),
    TEST_ENTRY(the_plain_request),
    TEST_ENTRY(every_connection_has_its_own_key),
    TEST_ENTRY(injection_is_refused_in_every_option),
    TEST_ENTRY(options_that_are_no_tokens),
    TEST_ENTRY(responses_that_are_good),
    TEST_ENTRY(responses_that_break_the_handshake),
    TEST_ENTRY(responses_that_are_no_http),
    TEST_ENTRY(http_1_0_cannot_upgrade),
    TEST_ENTRY(refusals_can_be_read),
    TEST_ENTRY(a_long_body_is_cut),
    TEST_ENTRY(what_was_agreed_can_be_asked),
    TEST_ENTRY(headers_at_open),
    TEST_ENTRY(frames_directly_behind_the_head),
    TEST_ENTRY(a_head_that_never_ends),
    TEST_ENTRY(end_of_stream_in_the_handshake),
    TEST_ENTRY(not_open_yet),
    TEST_ENTRY(no_random_no_key),
    TEST_ENTRY(the_halves_of_the_handshake),
    TEST_ENTRY(outcomes_of_the_second_half),
    TEST_ENTRY(no_head_after_the_head)
};

TEST_MAIN("handshake_client", tests)
