/* Parity with the two Windows APIs: one test for each of their functions,
 * options and rules, named after it.  winhttp_...: the WebSocket functions of
 * WinHTTP, over real sockets on the loopback; protocol_component_...: the
 * WebSocket Protocol Component API (websocket.h), without I/O.  Above each
 * test stands the row: theirs -> ours. */
#define WSOCK_IMPLEMENTATION
#include "../../wsock.h"
#include "test.h"
#include "net.h"
#include <pthread.h>

/* ------------------------------------------------------- a pair of ends --
 * A client under test and a polled server.  The server is driven by one
 * thread at a time: the test's own, or a second one while the test sits in a
 * blocking call. */

typedef struct pair {
    wsock_server *server;
    wsock *here;    /* the client */
    int polled;     /* whether it is */
    wsock *there;   /* the server's side of it, until its CLOSE */
    char url[64];
    bytes seen;     /* by the client */
    bytes log;      /* by the server */
    char token[16]; /* the request's X-Token */
    int last;       /* code of the last CLOSE at the server */
    int answer;     /* status for requests; 0: they go on waiting */
    int echo;       /* messages go back and are not logged */
    int until;      /* what the second thread waits for */
    int late;       /* nothing has come for too long */
    pthread_t thread;
} pair;

enum { PATIENCE = 20000 }; /* milliseconds without any event */

/* Answers leave at once, since it is not sure that another poll follows. */
static void pair_event(pair *p, wsock_event *e)
{
    static const char *const more[] = { "Location: ws://other/", NULL };
    const char *token;
    switch (e->type) {
    case WSOCK_EVENT_REQUEST:
        if (p->answer)
            wsock_respond(e->ws, p->answer, more, "who is it?", 10);
        return;
    case WSOCK_EVENT_OPEN:
        token = wsock_header(e->ws, "X-Token");
        snprintf(p->token, sizeof p->token, "%s", token ? token : "");
        p->there = e->ws;
        wsock_flush(e->ws);
        return;
    case WSOCK_EVENT_MESSAGE:
        if (p->echo) {
            wsock_send(e->ws, e->kind, e->data, e->size);
            return;
        }
        break;
    case WSOCK_EVENT_CLOSE:
        p->there = NULL;
        p->last = e->code;
        break;
    default:
        break;
    }
    log_event(&p->log, e);
    wsock_flush(e->ws);
}

/* What the client sees, if it is polled, and one event at the server, or a
 * wait for it.  Returns the server's event type, 0 if there was none. */
static int pair_turn(pair *p, int wait)
{
    wsock_event e;
    while (p->polled && p->here && wsock_poll(p->here, &e, 0) > 0)
        log_event(&p->seen, &e);
    if (wsock_server_poll(p->server, &e, wait) <= 0)
        return 0;
    pair_event(p, &e);
    return e.type;
}

/* Until an event of this type has come to the server; the connection of an
 * answered request is seen to its end, since no other event follows. */
static void pair_serve(pair *p, int until)
{
    int idle = 0, type = 0, wait = p->polled ? 1 : 50;
    while (type != until && idle < PATIENCE) {
        type = pair_turn(p, wait);
        idle += type ? 0 : wait;
    }
    while (until == WSOCK_EVENT_REQUEST && p->answer && idle < PATIENCE
           && wsock_server_count(p->server)) {
        pair_turn(p, wait);
        idle += wait;
    }
    p->late = idle >= PATIENCE;
}

static void *pair_thread(void *user)
{
    pair *p = (pair *)user;
    pair_serve(p, p->until);
    return NULL;
}

/* A second thread serves, so that this one may make a blocking call. */
static void pair_begin(pair *p, int until)
{
    p->until = until;
    if (pthread_create(&p->thread, NULL, pair_thread, p))
        test_die("no thread");
}

static void pair_join(pair *p)
{
    pthread_join(p->thread, NULL);
    CHECK_INT(p->late, 0);
}

static void pair_listen(pair *p, const wsock_options *server)
{
    memset(p, 0, sizeof *p);
    p->server = wsock_listen("ws://127.0.0.1:0/", server);
    CHECK_RESULT(wsock_server_error(p->server), WSOCK_OK);
    snprintf(p->url, sizeof p->url, "ws://127.0.0.1:%d/chat",
             wsock_server_port(p->server));
}

static void pair_open(pair *p, const wsock_options *client,
                      const wsock_options *server)
{
    wsock_options o = client ? *client : options_with(0);
    if (!o.receive_timeout)
        o.receive_timeout = PATIENCE; /* a failure instead of a hang */
    pair_listen(p, server);
    p->polled = (o.flags & WSOCK_NONBLOCKING) != 0;
    if (p->polled) {
        p->here = wsock_connect(p->url, &o);
        CHECK_INT(wsock_state(p->here), WSOCK_STATE_CONNECTING);
        pair_serve(p, WSOCK_EVENT_OPEN);
        while (!p->late && !p->seen.size)
            p->late = pair_turn(p, 1) < 0;
        CHECK_STR(bytes_str(&p->seen), "OPEN\n");
        bytes_clear(&p->seen);
    } else {
        pair_begin(p, WSOCK_EVENT_OPEN);
        p->here = wsock_connect(p->url, &o);
        pair_join(p);
    }
    CHECK_RESULT(wsock_error(p->here), WSOCK_OK);
    if (p->late || !p->there || wsock_state(p->here) != WSOCK_STATE_OPEN)
        test_die("the two ends do not meet");
}

static void pair_close(pair *p)
{
    wsock_free(p->here);
    wsock_server_free(p->server);
    bytes_free(&p->seen);
    bytes_free(&p->log);
}

/* One receive, as one line. */
static void log_receive(bytes *log, wsock *ws)
{
    char data[4096];
    wsock_status got;
    int r = wsock_receive(ws, data, sizeof data, &got);
    if (r != WSOCK_OK) {
        bytes_format(log, "%s\n", wsock_result_name(r));
    } else if (got.kind == WSOCK_CLOSE) {
        bytes_text(log, "CLOSE\n");
    } else {
        log_kind(log, got.kind);
        log_data(log, data, got.bytes);
        bytes_text(log, "\n");
    }
}

static void log_is(bytes *log, const char *want, int line)
{
    test_check_str(bytes_str(log), want, __FILE__, line, "the log");
    bytes_clear(log);
}

/* The server, or the client, has seen exactly this since the last time. */
static void there_sees(pair *p, const char *want, int line)
{
    int idle = 0, wait = p->polled ? 1 : 50;
    for (; p->log.size < strlen(want) && idle < PATIENCE; idle += wait)
        pair_turn(p, wait);
    log_is(&p->log, want, line);
}

static void here_sees(pair *p, const char *want, int line)
{
    int idle = 0;
    for (; p->seen.size < strlen(want) && idle < PATIENCE; idle++)
        if (p->polled)
            pair_turn(p, 1);
        else
            log_receive(&p->seen, p->here);
    log_is(&p->seen, want, line);
}

#define THERE_SEES(p, want) there_sees((p), (want), __LINE__)
#define HERE_SEES(p, want) here_sees((p), (want), __LINE__)

/* The server sends, and it has left when this returns. */
static void there_sends(pair *p, unsigned kind, const void *data, size_t size)
{
    CHECK_RESULT(wsock_send(p->there, kind, data, size), WSOCK_OK);
    CHECK_RESULT(wsock_flush(p->there), WSOCK_OK);
}

static void there_shuts(pair *p, int code, const char *reason)
{
    CHECK_RESULT(wsock_shutdown(p->there, code, reason), WSOCK_OK);
    CHECK_RESULT(wsock_flush(p->there), WSOCK_OK);
}

/* A thread that sits in wsock_receive(). */
typedef struct receiver {
    wsock *ws;
    int result;
    pthread_t thread;
} receiver;

static void *receiver_thread(void *user)
{
    receiver *r = (receiver *)user;
    char data[64];
    wsock_status got;
    r->result = wsock_receive(r->ws, data, sizeof data, &got);
    return NULL;
}

/* Nobody but that receive can have answered the ping, and nothing has come
 * that would end it: the thread is inside the call. */
static void receiver_begin(receiver *r, pair *p)
{
    r->ws = p->here;
    r->result = 1000;
    if (pthread_create(&r->thread, NULL, receiver_thread, r))
        test_die("no thread");
    there_sends(p, WSOCK_PING, "?", 1);
    THERE_SEES(p, "PONG \"?\"\n");
}

static int receiver_join(receiver *r)
{
    pthread_join(r->thread, NULL);
    return r->result;
}

/* =================================================== WinHTTP: connecting == */

/* WinHttpOpenRequest + WINHTTP_OPTION_UPGRADE_TO_WEB_SOCKET,
 * WinHttpSendRequest, WinHttpReceiveResponse, WinHttpWebSocketCompleteUpgrade:
 * own request headers, the response's, an application context
 * -> wsock_connect(url, options), wsock_header(), wsock_user() */
TEST(winhttp_open_request_and_complete_upgrade)
{
    static const char *const ours[] = { "X-Token: abc", NULL };
    static const char *const theirs[] = { "X-Room: 7", NULL };
    static const char *const offers[] = { "chat", "echo", NULL };
    static const char *const spoken[] = { "echo", NULL };
    wsock_options o = options_with(0), so = options_with(0);
    pair p;
    o.headers = ours;
    o.subprotocols = offers;
    o.user = &p;
    so.headers = theirs;
    so.subprotocols = spoken;
    pair_open(&p, &o, &so);
    CHECK_STR(p.token, "abc");
    CHECK_STR(wsock_header(p.here, "X-Room"), "7");
    CHECK_STR(wsock_subprotocol(p.here), "echo");
    CHECK(wsock_user(p.here) == &p);
    pair_close(&p);
}

/* WinHttpQueryHeaders, WinHttpReadData after a response that is not 101
 * -> WSOCK_REFUSED; wsock_why()'s http_status and body, wsock_header().
 * Redirects are refusals too: they are not followed. */
TEST(winhttp_refusing_response_has_status_and_body)
{
    static const int statuses[] = { 401, 302, 503 };
    wsock_options so = options_with(0);
    size_t i;
    so.flags = WSOCK_REQUESTS;
    for (i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        const wsock_failure *why;
        pair p;
        test_note("status %d", statuses[i]);
        pair_listen(&p, &so);
        p.answer = statuses[i];
        pair_begin(&p, WSOCK_EVENT_REQUEST);
        p.here = wsock_connect(p.url, NULL);
        why = wsock_why(p.here);
        CHECK_RESULT(why->code, WSOCK_REFUSED);
        CHECK_INT(why->phase, WSOCK_PHASE_HTTP);
        CHECK_INT(why->http_status, statuses[i]);
        CHECK_BYTES(why->body, why->body_size, "who is it?", 10);
        CHECK_STR(wsock_header(p.here, "Location"), "ws://other/");
        CHECK_RESULT(wsock_send(p.here, WSOCK_TEXT, "x", 1), WSOCK_REFUSED);
        /* Its end is the server's signal to let go. */
        wsock_free(p.here);
        p.here = NULL;
        pair_join(&p);
        pair_close(&p);
    }
}

/* What cannot begin at all: ERROR_WINHTTP_INVALID_URL,
 * ERROR_WINHTTP_UNRECOGNIZED_SCHEME, ERROR_WINHTTP_CANNOT_CONNECT
 * -> WSOCK_INVALID_URL, WSOCK_CONNECT_FAILED; wss: needs TLS */
TEST(winhttp_connecting_fails)
{
    static const struct {
        const char *url;
        int code, phase;
    } cases[] = {
        { "ws://", WSOCK_INVALID_URL, WSOCK_PHASE_SETUP },
        { "ws://h:99999/", WSOCK_INVALID_URL, WSOCK_PHASE_SETUP },
        { "ftp://h/", WSOCK_INVALID_URL, WSOCK_PHASE_SETUP },
        { "wss://h/", WSOCK_UNSUPPORTED, WSOCK_PHASE_SETUP },
        { NULL, WSOCK_CONNECT_FAILED, WSOCK_PHASE_TCP }
    };
    size_t i;
    for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        wsock *ws;
        pair p;
        test_note("case %d", (int)i);
        pair_listen(&p, NULL);
        wsock_server_free(p.server); /* now nobody listens there */
        ws = wsock_connect(cases[i].url ? cases[i].url : p.url, NULL);
        CHECK_RESULT(wsock_error(ws), cases[i].code);
        CHECK_INT(wsock_why(ws)->phase, cases[i].phase);
        CHECK_INT(wsock_why(ws)->operation, WSOCK_OPERATION_CONNECT);
        wsock_free(ws);
    }
}

/* synchronous and asynchronous mode of one API: the same calls block, or
 * return pending and complete later
 * -> a blocking connection, or WSOCK_NONBLOCKING with events */
TEST(winhttp_synchronous_and_asynchronous)
{
    int mode;
    for (mode = 0; mode < 2; mode++) {
        wsock_options o = options_with(mode ? WSOCK_NONBLOCKING : 0);
        pair p;
        test_note("%s", mode ? "asynchronous" : "synchronous");
        pair_open(&p, &o, NULL);
        CHECK_RESULT(wsock_send(p.here, WSOCK_TEXT, "hi", 2), WSOCK_OK);
        THERE_SEES(&p, "TEXT \"hi\"\n");
        there_sends(&p, WSOCK_BINARY, "ho", 2);
        HERE_SEES(&p, "BINARY \"ho\"\n");
        there_shuts(&p, 1000, "end");
        HERE_SEES(&p, mode ? "CLOSE 1000 \"end\" WSOCK_OK\n" : "CLOSE\n");
        pair_close(&p);
    }
}

/* ====================================================== WinHTTP: sending == */

/* WinHttpWebSocketSend: UTF8 / BINARY x MESSAGE / FRAGMENT: MESSAGE is the
 * last or only part, FRAGMENT an earlier one; buffer may be NULL only with
 * length 0
 * -> wsock_send(), WSOCK_TEXT / WSOCK_BINARY, | WSOCK_FRAGMENT */
TEST(winhttp_send_message_and_fragment)
{
    static const struct {
        unsigned kind;
        const char *data;
        const char *log;
    } sends[] = {
        { WSOCK_TEXT, "whole", "TEXT \"whole\"\n" },
        { WSOCK_TEXT | WSOCK_FRAGMENT, "one", "TEXT|FRAGMENT \"one\"\n" },
        { WSOCK_TEXT | WSOCK_FRAGMENT, "two", "TEXT|FRAGMENT \"two\"\n" },
        { WSOCK_TEXT, "three", "TEXT \"three\"\n" },
        { WSOCK_BINARY | WSOCK_FRAGMENT, "a", "BINARY|FRAGMENT \"a\"\n" },
        { WSOCK_BINARY, NULL, "BINARY \"\"\n" },
        { WSOCK_TEXT, NULL, "TEXT \"\"\n" },
        { WSOCK_BINARY, "whole", "BINARY \"whole\"\n" }
    };
    wsock_options so = options_with(0);
    size_t i;
    pair p;
    so.flags = WSOCK_PARTS;
    pair_open(&p, NULL, &so);
    for (i = 0; i < sizeof sends / sizeof sends[0]; i++) {
        const char *data = sends[i].data;
        CHECK_RESULT(wsock_send(p.here, sends[i].kind, data,
                                data ? strlen(data) : 0), WSOCK_OK);
        THERE_SEES(&p, sends[i].log);
    }
    CHECK_RESULT(wsock_send(p.here, WSOCK_TEXT, NULL, 1),
                 WSOCK_INVALID_PARAMETER);
    pair_close(&p);
}

/* Send with CLOSE type: refused, invalid parameter
 * -> the same: close has its own calls */
TEST(winhttp_send_refuses_close_kind)
{
    pair p;
    pair_open(&p, NULL, NULL);
    CHECK_RESULT(wsock_send(p.here, WSOCK_CLOSE, "\x03\xE8", 2),
                 WSOCK_INVALID_PARAMETER);
    CHECK_RESULT(wsock_send(p.here, WSOCK_CLOSE, NULL, 0),
                 WSOCK_INVALID_PARAMETER);
    CHECK_RESULT(wsock_send(p.here, WSOCK_TEXT, "still open", 10), WSOCK_OK);
    THERE_SEES(&p, "TEXT \"still open\"\n");
    pair_close(&p);
}

/* Send: ERROR_INVALID_OPERATION: a close or send is pending, or the send
 * channel is closed
 * -> WSOCK_INVALID_OPERATION; also a text part inside an unfinished binary
 * message.  A pending send is no error: the next one is queued behind it. */
TEST(winhttp_send_invalid_operation)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    wsock *ws = wsock_new(WSOCK_CLIENT, "ws://h/", NULL);
    int mode;
    CHECK_RESULT(wsock_send(ws, WSOCK_TEXT, "x", 1), WSOCK_INVALID_OPERATION);
    wsock_free(ws);
    for (mode = 0; mode < 2; mode++) {
        pair p;
        test_note("%s", mode ? "asynchronous" : "synchronous");
        pair_open(&p, mode ? &o : NULL, NULL);
        ws = p.here;
        CHECK_RESULT(wsock_send(ws, WSOCK_BINARY | WSOCK_FRAGMENT, "1", 1),
                     WSOCK_OK);
        CHECK_RESULT(wsock_send(ws, WSOCK_TEXT, "x", 1),
                     WSOCK_INVALID_OPERATION);
        CHECK_RESULT(wsock_send(ws, WSOCK_BINARY, "2", 1), WSOCK_OK);
        CHECK_RESULT(wsock_shutdown(ws, 1000, NULL), WSOCK_OK);
        CHECK_RESULT(wsock_send(ws, WSOCK_BINARY, "3", 1),
                     WSOCK_INVALID_OPERATION);
        CHECK_RESULT(wsock_shutdown(ws, 1000, NULL), WSOCK_INVALID_OPERATION);
        CHECK_RESULT(wsock_error(ws), WSOCK_OK); /* wrong calls do not stick */
        THERE_SEES(&p, "BINARY \"12\"\nCLOSE 1000 \"\" WSOCK_OK\n");
        pair_close(&p);
    }
}

/* Send: ERROR_INVALID_PARAMETER: bad argument
 * -> WSOCK_INVALID_PARAMETER, nothing sent */
TEST(winhttp_send_invalid_parameter)
{
    static const struct {
        unsigned kind;
        int null;
        size_t size;
    } wrong[] = {
        { 0, 0, 1 },                            /* no kind */
        { WSOCK_TEXT | WSOCK_BINARY, 0, 1 },    /* two */
        { WSOCK_TEXT, 1, 1 },                   /* NULL with a length */
        { WSOCK_TEXT | WSOCK_RSV1, 0, 1 },      /* no extension agreed on */
        { WSOCK_TEXT | 0x1000, 0, 1 },          /* no such bit */
        { WSOCK_TEXT | WSOCK_BORROW, 0, 1 },    /* wsock_sendv() only */
        { WSOCK_PING, 0, 126 },                 /* RFC 6455 5.5 */
        { WSOCK_PING | WSOCK_FRAGMENT, 0, 1 }
    };
    static const char data[200] = "data";
    size_t i;
    pair p;
    pair_open(&p, NULL, NULL);
    for (i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        test_note("case %d", (int)i);
        CHECK_RESULT(wsock_send(p.here, wrong[i].kind,
                                wrong[i].null ? NULL : data, wrong[i].size),
                     WSOCK_INVALID_PARAMETER);
    }
    CHECK_RESULT(wsock_send(p.here, WSOCK_TEXT, "good", 4), WSOCK_OK);
    THERE_SEES(&p, "TEXT \"good\"\n");
    pair_close(&p);
}

/* ==================================================== WinHTTP: receiving == */

/* WinHttpWebSocketReceive: fills the caller's buffer; a message larger than
 * it arrives as FRAGMENT parts and a last MESSAGE part, whatever the framing
 * on the wire
 * -> wsock_receive(), the same */
TEST(winhttp_receive_splits_large_messages)
{
    enum { SIZE = 1000 };
    static const size_t frames[] = { SIZE, 500, 333, 7 };
    static const size_t buffers[] = { 1, 256, 999, SIZE, 4096 };
    uint8_t *data = test_pattern(SIZE), got[4096];
    wsock_status status;
    size_t f, b, at, n;
    unsigned kind;
    pair p;
    pair_open(&p, NULL, NULL);
    for (f = 0; f < sizeof frames / sizeof frames[0]; f++)
        for (b = 0; b < sizeof buffers / sizeof buffers[0]; b++) {
            test_note("frames of %d, buffer of %d", (int)frames[f],
                      (int)buffers[b]);
            for (at = 0; at < SIZE; at += n) {
                n = frames[f] < SIZE - at ? frames[f] : SIZE - at;
                kind = WSOCK_BINARY;
                if (at + n < SIZE)
                    kind |= WSOCK_FRAGMENT;
                there_sends(&p, kind, data + at, n);
            }
            for (at = 0; at < SIZE; at += n) {
                n = buffers[b] < SIZE - at ? buffers[b] : SIZE - at;
                if (!CHECK_RESULT(wsock_receive(p.here, got, buffers[b],
                                                &status), WSOCK_OK))
                    break;
                CHECK_BYTES(got, status.bytes, data + at, n);
                kind = WSOCK_BINARY;
                if (at + n < SIZE)
                    kind |= WSOCK_FRAGMENT;
                CHECK_INT(status.kind, kind);
            }
        }
    pair_close(&p);
    free(data);
}

/* WinHttpWebSocketReceive may return before the buffer is full
 * -> only with WSOCK_PARTS; a time-out keeps what has come */
TEST(winhttp_receive_in_parts)
{
    wsock_options o = options_with(0);
    int parts;
    for (parts = 0; parts < 2; parts++) {
        pair p;
        o.flags = parts ? WSOCK_PARTS : 0;
        o.receive_timeout = parts ? 0 : 20;
        pair_open(&p, &o, NULL);
        there_sends(&p, WSOCK_TEXT | WSOCK_FRAGMENT, "half ", 5);
        HERE_SEES(&p, parts ? "TEXT|FRAGMENT \"half \"\n"
                            : "WSOCK_TIMED_OUT\n");
        there_sends(&p, WSOCK_TEXT, "whole", 5);
        HERE_SEES(&p, parts ? "TEXT \"whole\"\n"
                            : "TEXT \"half whole\"\n");
        pair_close(&p);
    }
}

/* Receive: a Close arrives as type CLOSE -> the same */
TEST(winhttp_receive_gets_a_close_as_its_own_kind)
{
    pair p;
    pair_open(&p, NULL, NULL);
    there_sends(&p, WSOCK_TEXT, "last", 4);
    there_shuts(&p, 1001, "going");
    HERE_SEES(&p, "TEXT \"last\"\nCLOSE\n");
    THERE_SEES(&p, "CLOSE 1001 \"\" WSOCK_OK\n"); /* answered already */
    pair_close(&p);
}

/* Receive: ERROR_INVALID_OPERATION: receive channel already closed
 * -> the same */
TEST(winhttp_receive_after_close_is_an_invalid_operation)
{
    pair p;
    pair_open(&p, NULL, NULL);
    there_shuts(&p, 1000, "");
    HERE_SEES(&p, "CLOSE\n");
    HERE_SEES(&p, "WSOCK_INVALID_OPERATION\n");
    HERE_SEES(&p, "WSOCK_INVALID_OPERATION\n");
    CHECK_RESULT(wsock_send(p.here, WSOCK_TEXT, "x", 1), WSOCK_CLOSED);
    CHECK_RESULT(wsock_error(p.here), WSOCK_OK);
    pair_close(&p);
}

/* Receive: ERROR_INVALID_SERVER_RESPONSE: the peer broke the protocol
 * -> WSOCK_PROTOCOL_ERROR (WSOCK_INVALID_UTF8), the right close code sent
 * first */
TEST(winhttp_receive_reports_an_invalid_server)
{
    static const char *const extension[] = { "x-mark", NULL };
    static const struct {
        unsigned kind;
        const char *data;
        int result, code;
    } cases[] = {
        /* The client has agreed on the extension, not on this bit. */
        { WSOCK_TEXT | WSOCK_RSV1, "x", WSOCK_PROTOCOL_ERROR, 1002 },
        { WSOCK_TEXT, "\xC0\xAF", WSOCK_INVALID_UTF8, 1007 },
        { WSOCK_TEXT, "cut \xE2\x82", WSOCK_INVALID_UTF8, 1007 }
    };
    wsock_options o = options_with(0), so = options_with(0);
    size_t i;
    o.extensions = so.extensions = extension;
    so.reserved_bits = WSOCK_RSV1;
    for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char data[64];
        wsock_status got;
        pair p;
        test_note("case %d", (int)i);
        pair_open(&p, &o, &so);
        there_sends(&p, cases[i].kind, cases[i].data,
                    strlen(cases[i].data));
        CHECK_RESULT(wsock_receive(p.here, data, sizeof data, &got),
                     cases[i].result);
        pair_serve(&p, WSOCK_EVENT_CLOSE);
        CHECK_INT(p.last, cases[i].code);
        CHECK_INT(wsock_why(p.here)->close_sent, cases[i].code);
        CHECK_RESULT(wsock_send(p.here, WSOCK_TEXT, "x", 1),
                     cases[i].result); /* it sticks */
        pair_close(&p);
    }
}

/* Receive: ERROR_WINHTTP_OPERATION_CANCELLED: Close was called while it
 * waited (from another thread)
 * -> WSOCK_CANCELLED; wsock_cancel() does the same and closes nothing */
TEST(winhttp_receive_is_cancelled_by_close)
{
    receiver r;
    pair p;
    pair_open(&p, NULL, NULL);
    receiver_begin(&r, &p);
    CHECK_RESULT(wsock_cancel(p.here), WSOCK_OK);
    CHECK_RESULT(receiver_join(&r), WSOCK_CANCELLED);
    CHECK_RESULT(wsock_error(p.here), WSOCK_OK);
    there_sends(&p, WSOCK_TEXT, "go on", 5);
    HERE_SEES(&p, "TEXT \"go on\"\n");
    receiver_begin(&r, &p);
    pair_begin(&p, WSOCK_EVENT_CLOSE);
    CHECK_RESULT(wsock_close(p.here, 1000, "bye"), WSOCK_OK);
    CHECK_RESULT(receiver_join(&r), WSOCK_CANCELLED);
    pair_join(&p);
    THERE_SEES(&p, "CLOSE 1000 \"bye\" WSOCK_OK\n");
    CHECK_RESULT(wsock_error(p.here), WSOCK_OK);
    pair_close(&p);
}

enum { MANY = 300, LARGE = 10000 };

static void *sender_thread(void *user)
{
    wsock *ws = (wsock *)user;
    uint8_t *data = test_pattern(LARGE);
    uint32_t i;
    for (i = 0; i < MANY; i++) {
        memcpy(data, &i, 4);
        if (wsock_send(ws, WSOCK_BINARY, data, LARGE) != WSOCK_OK)
            break;
    }
    free(data);
    return i == MANY ? user : NULL;
}

/* send and receive from two threads at once: one of each
 * -> one sender and one receiver thread on a blocking connection */
TEST(winhttp_send_and_receive_from_two_threads)
{
    uint8_t *data = test_pattern(LARGE), *got = test_pattern(LARGE);
    wsock_status status;
    pthread_t sender;
    void *sent = NULL;
    uint32_t i;
    pair p;
    pair_open(&p, NULL, NULL);
    p.echo = 1;
    pair_begin(&p, WSOCK_EVENT_CLOSE);
    if (pthread_create(&sender, NULL, sender_thread, p.here))
        test_die("no thread");
    for (i = 0; i < MANY; i++) {
        memcpy(data, &i, 4);
        if (!CHECK_RESULT(wsock_receive(p.here, got, LARGE, &status),
                          WSOCK_OK))
            break;
        CHECK_INT(status.kind, WSOCK_BINARY);
        CHECK_BYTES(got, status.bytes, data, LARGE);
    }
    pthread_join(sender, &sent);
    CHECK(sent != NULL);
    CHECK_RESULT(wsock_close(p.here, 1000, ""), WSOCK_OK);
    pair_join(&p);
    THERE_SEES(&p, "CLOSE 1000 \"\" WSOCK_OK\n");
    pair_close(&p);
    free(data);
    free(got);
}

/* ====================================================== WinHTTP: closing == */

/* WinHttpWebSocketShutdown(status, reason): sends Close; the receive channel
 * stays open; the peer's Close is received by ordinary receives; Close may
 * follow
 * -> wsock_shutdown() */
TEST(winhttp_shutdown_keeps_receiving)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    int mode;
    for (mode = 0; mode < 2; mode++) {
        pair p;
        test_note("%s", mode ? "asynchronous" : "synchronous");
        pair_open(&p, mode ? &o : NULL, NULL);
        there_sends(&p, WSOCK_TEXT, "late", 4); /* read after our Close */
        CHECK_RESULT(wsock_shutdown(p.here, 1000, "done"), WSOCK_OK);
        CHECK_INT(wsock_state(p.here), WSOCK_STATE_CLOSING);
        THERE_SEES(&p, "CLOSE 1000 \"done\" WSOCK_OK\n");
        HERE_SEES(&p, mode ? "TEXT \"late\"\nCLOSE 1000 \"\" WSOCK_OK\n"
                           : "TEXT \"late\"\nCLOSE\n");
        CHECK_RESULT(wsock_close(p.here, 1000, ""), WSOCK_OK);
        CHECK_INT(wsock_state(p.here), WSOCK_STATE_CLOSED);
        pair_close(&p);
    }
}

/* WinHttpWebSocketClose(status, reason): sends Close if not sent, waits for
 * the peer's, discarding data; then the connection is closed; the handle is
 * not freed
 * -> wsock_close(); with WSOCK_NONBLOCKING its end is the CLOSE event */
TEST(winhttp_close_waits_and_discards)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    int mode, code = 0;
    for (mode = 0; mode < 4; mode++) {
        pair p;
        test_note("%s, %s", mode & 1 ? "asynchronous" : "synchronous",
                  mode & 2 ? "Close was sent" : "was not");
        pair_open(&p, mode & 1 ? &o : NULL, NULL);
        there_sends(&p, WSOCK_TEXT, "discarded", 9);
        if (mode & 2)
            CHECK_RESULT(wsock_shutdown(p.here, 1000, "bye"), WSOCK_OK);
        if (mode & 1) {
            CHECK_RESULT(wsock_close(p.here, 1000, "bye"), WSOCK_OK);
            HERE_SEES(&p, "CLOSE 1000 \"\" WSOCK_OK\n");
        } else {
            pair_begin(&p, WSOCK_EVENT_CLOSE);
            CHECK_RESULT(wsock_close(p.here, 1000, "bye"), WSOCK_OK);
            pair_join(&p);
            HERE_SEES(&p, "WSOCK_INVALID_OPERATION\n");
        }
        THERE_SEES(&p, "CLOSE 1000 \"bye\" WSOCK_OK\n");
        CHECK_INT(wsock_state(p.here), WSOCK_STATE_CLOSED);
        CHECK_RESULT(wsock_close_status(p.here, &code, NULL), WSOCK_OK);
        CHECK_INT(code, 1000);
        CHECK_RESULT(wsock_close(p.here, 1000, ""), WSOCK_OK); /* once more */
        CHECK_RESULT(wsock_error(p.here), WSOCK_OK);
        pair_close(&p);
    }
}

/* WINHTTP_OPTION_WEB_SOCKET_CLOSE_TIMEOUT: default time-out 10 s
 * -> options.close_timeout */
TEST(winhttp_close_timeout)
{
    wsock_options o = options_with(0);
    pair p;
    pair_open(&p, NULL, NULL);
    CHECK_INT(wsock_effective_options(p.here)->close_timeout, 10000);
    pair_close(&p);
    o.close_timeout = 20;
    pair_open(&p, &o, NULL); /* from here on nobody drives the server */
    CHECK_RESULT(wsock_close(p.here, 1000, ""), WSOCK_TIMED_OUT);
    CHECK_INT(wsock_state(p.here), WSOCK_STATE_CLOSED);
    CHECK_INT(wsock_why(p.here)->close_sent, 1000);
    CHECK_INT(wsock_why(p.here)->close_received, 0);
    pair_close(&p);
}

/* reason 0..123 bytes, NULL only with length 0, UTF-8: else invalid parameter
 * -> the same, with a NUL at its end instead of a length */
TEST(winhttp_close_reason_is_checked)
{
    static const struct {
        size_t size; /* of a reason of this many letters, */
        const char *text; /* or this one */
        int result;
    } cases[] = {
        { 0, "\xFF", WSOCK_INVALID_PARAMETER },
        { 0, "cut \xC3", WSOCK_INVALID_PARAMETER },
        { 124, NULL, WSOCK_INVALID_PARAMETER },
        { 123, NULL, WSOCK_OK },
        { 0, "\xC3\xA9", WSOCK_OK },
        { 0, "", WSOCK_OK },
        { 0, NULL, WSOCK_OK } /* no reason at all: NULL itself */
    };
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    char text[128];
    size_t i;
    int how;
    for (how = 0; how < 2; how++)
        for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            const char *reason = cases[i].text;
            pair p;
            test_note("%s, case %d", how ? "close" : "shutdown", (int)i);
            if (cases[i].size) {
                memset(text, 'r', sizeof text);
                text[cases[i].size] = 0;
                reason = text;
            }
            pair_open(&p, &o, NULL);
            CHECK_RESULT(how ? wsock_close(p.here, 1000, reason)
                             : wsock_shutdown(p.here, 1000, reason),
                         cases[i].result);
            if (cases[i].result == WSOCK_OK) {
                pair_serve(&p, WSOCK_EVENT_CLOSE);
                CHECK_INT(p.last, 1000);
            } else {
                CHECK_INT(wsock_state(p.here), WSOCK_STATE_OPEN);
                CHECK_INT(wsock_queued(p.here), 0);
            }
            pair_close(&p);
        }
}

/* WinHttpWebSocketQueryCloseStatus: status and reason that the peer sent;
 * invalid operation before a Close came; 1005 when none was given; tells the
 * size needed
 * -> wsock_close_status(); the reason ends with NUL and lives until
 * wsock_free(), so that no size is needed */
TEST(winhttp_query_close_status)
{
    static const struct {
        int sent, want;
        const char *reason;
    } cases[] = {
        { 1000, 1000, "bye" },
        { 4999, 4999, "" },
        { 0, WSOCK_CLOSE_NO_STATUS, "" }
    };
    size_t i;
    for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *reason = "unchanged";
        int code = 7;
        pair p;
        test_note("close code %d", cases[i].sent);
        pair_open(&p, NULL, NULL);
        CHECK_RESULT(wsock_close_status(p.here, &code, &reason),
                     WSOCK_INVALID_OPERATION);
        CHECK_INT(code, 7);
        CHECK_STR(reason, "unchanged");
        there_shuts(&p, cases[i].sent, cases[i].reason);
        HERE_SEES(&p, "CLOSE\n");
        CHECK_RESULT(wsock_close_status(p.here, &code, &reason), WSOCK_OK);
        CHECK_INT(code, cases[i].want);
        CHECK_STR(reason, cases[i].reason);
        CHECK_RESULT(wsock_close_status(p.here, NULL, NULL), WSOCK_OK);
        pair_close(&p);
    }
}

/* close statuses 1000..1003, 1005..1011, 1015: named constants; 1005, 1006
 * and 1015 never on the wire
 * -> WSOCK_CLOSE_* for every registered code; 1005 asks for an empty Close */
TEST(winhttp_close_statuses)
{
    static const struct {
        int code, value, result;
    } cases[] = {
        { WSOCK_CLOSE_NORMAL, 1000, WSOCK_OK },
        { WSOCK_CLOSE_GOING_AWAY, 1001, WSOCK_OK },
        { WSOCK_CLOSE_PROTOCOL_ERROR, 1002, WSOCK_OK },
        { WSOCK_CLOSE_UNSUPPORTED_DATA, 1003, WSOCK_OK },
        { 1004, 1004, WSOCK_INVALID_PARAMETER },
        { WSOCK_CLOSE_NO_STATUS, 1005, WSOCK_OK },
        { WSOCK_CLOSE_ABNORMAL, 1006, WSOCK_INVALID_PARAMETER },
        { WSOCK_CLOSE_INVALID_DATA, 1007, WSOCK_OK },
        { WSOCK_CLOSE_POLICY_VIOLATION, 1008, WSOCK_OK },
        { WSOCK_CLOSE_TOO_BIG, 1009, WSOCK_OK },
        { WSOCK_CLOSE_MISSING_EXTENSION, 1010, WSOCK_OK },
        { WSOCK_CLOSE_INTERNAL_ERROR, 1011, WSOCK_OK },
        { WSOCK_CLOSE_SERVICE_RESTART, 1012, WSOCK_OK },
        { WSOCK_CLOSE_TRY_AGAIN_LATER, 1013, WSOCK_OK },
        { WSOCK_CLOSE_BAD_GATEWAY, 1014, WSOCK_OK },
        { WSOCK_CLOSE_TLS_HANDSHAKE, 1015, WSOCK_INVALID_PARAMETER },
        { 2999, 2999, WSOCK_INVALID_PARAMETER },
        { 4999, 4999, WSOCK_OK }
    };
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    size_t i;
    for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pair p;
        test_note("code %d", cases[i].value);
        CHECK_INT(cases[i].code, cases[i].value);
        pair_open(&p, &o, NULL);
        CHECK_RESULT(wsock_shutdown(p.here, cases[i].code, ""),
                     cases[i].result);
        if (cases[i].result == WSOCK_OK) {
            pair_serve(&p, WSOCK_EVENT_CLOSE);
            CHECK_INT(p.last, cases[i].value);
        } else {
            CHECK_INT(wsock_queued(p.here), 0);
        }
        pair_close(&p);
    }
}

/* A stream that ends without a Close: WinHTTP has
 * ERROR_WINHTTP_CONNECTION_ERROR or _RESET -> WSOCK_CONNECTION_LOST, 1006 */
TEST(winhttp_connection_lost_without_a_close)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    int mode;
    for (mode = 0; mode < 2; mode++) {
        pair p;
        pair_open(&p, mode ? &o : NULL, NULL);
        CHECK_RESULT(wsock_abort(p.there), WSOCK_OK);
        pair_serve(&p, WSOCK_EVENT_CLOSE);
        HERE_SEES(&p, mode ? "CLOSE 1006 \"\" WSOCK_CONNECTION_LOST\n"
                           : "WSOCK_CONNECTION_LOST\n");
        CHECK_RESULT(wsock_close_status(p.here, NULL, NULL),
                     WSOCK_INVALID_OPERATION);
        pair_close(&p);
    }
}

/* ========================================= WinHTTP: results and options == */

/* WINHTTP_WEB_SOCKET_STATUS {dwBytesTransferred, eBufferType}: what a send or
 * receive completed with
 * -> wsock_status {bytes, kind} of wsock_receive(); kind and size of the
 * MESSAGE event; a SENT event is of a whole send, named by its context */
TEST(winhttp_websocket_status)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    wsock_status got;
    wsock_buf buf;
    char data[16], context[] = "first";
    pair p;
    pair_open(&p, NULL, NULL);
    there_sends(&p, WSOCK_BINARY | WSOCK_FRAGMENT, "abc", 3);
    there_sends(&p, WSOCK_BINARY, "de", 2);
    CHECK_RESULT(wsock_receive(p.here, data, 4, &got), WSOCK_OK);
    CHECK_INT(got.bytes, 4);
    CHECK_INT(got.kind, WSOCK_BINARY | WSOCK_FRAGMENT);
    CHECK_RESULT(wsock_receive(p.here, data, 4, &got), WSOCK_OK);
    CHECK_INT(got.bytes, 1);
    CHECK_INT(got.kind, WSOCK_BINARY);
    pair_close(&p);
    pair_open(&p, &o, NULL);
    buf.data = "abc";
    buf.size = 3;
    CHECK_RESULT(wsock_sendv(p.here, WSOCK_BINARY | WSOCK_BORROW, &buf, 1,
                             context), WSOCK_OK);
    HERE_SEES(&p, "SENT first WSOCK_OK\n");
    THERE_SEES(&p, "BINARY \"abc\"\n");
    pair_close(&p);
}

/* WINHTTP_WEB_SOCKET_ASYNC_RESULT {error, operation}: which operation failed:
 * send, receive, close, shutdown
 * -> wsock_why(), in the CLOSE event e.why: code and operation */
TEST(winhttp_async_result_names_the_operation)
{
    enum { SENDING, RECEIVING, CLOSING, LOST, WAYS };
    static const struct {
        const char *log;
        int operation;
    } want[WAYS] = {
        { "CLOSE 1006 \"\" WSOCK_TIMED_OUT\n", WSOCK_OPERATION_SEND },
        { "CLOSE 1006 \"\" WSOCK_INVALID_UTF8\n", WSOCK_OPERATION_RECEIVE },
        { "CLOSE 1006 \"\" WSOCK_TIMED_OUT\n", WSOCK_OPERATION_CLOSE },
        { "CLOSE 1006 \"\" WSOCK_CONNECTION_LOST\n", WSOCK_OPERATION_CLOSE }
    };
    uint8_t *data = test_pattern(1 << 20);
    int way, i;
    for (way = 0; way < WAYS; way++) {
        wsock_options o = options_with(WSOCK_NONBLOCKING);
        wsock_event e;
        test_system sys;
        pair p;
        test_note("way %d", way);
        test_system_init(&sys);
        o.system = &sys.system;
        o.send_limit = WSOCK_UNLIMITED;
        o.keepalive_interval = WSOCK_NEVER;
        pair_open(&p, &o, NULL);
        if (way == SENDING) { /* more than the system takes, now or later */
            int fd = (int)client_socket(p.here), room = 16384;
            setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
            setsockopt(raw_other_end(fd), SOL_SOCKET, SO_RCVBUF, &room,
                       sizeof room);
            CHECK_RESULT(wsock_send(p.here, WSOCK_BINARY, data, 1 << 20),
                         WSOCK_OK);
            CHECK_INT(wsock_poll(p.here, &e, 0), 0);
        } else if (way == RECEIVING)
            there_sends(&p, WSOCK_TEXT, "\xFF", 1);
        else
            CHECK_RESULT(wsock_close(p.here, 1000, ""), WSOCK_OK);
        if (way == LOST) /* instead of an answer to our Close */
            CHECK_RESULT(wsock_abort(p.there), WSOCK_OK);
        for (i = 0; i < 100 && !p.seen.size && way != LOST; i++) {
            while (wsock_poll(p.here, &e, 0) > 0)
                log_event(&p.seen, &e);
            sys.now += 1000;
        }
        HERE_SEES(&p, want[way].log);
        CHECK_INT(wsock_why(p.here)->operation, want[way].operation);
        pair_close(&p);
        CHECK_NO_LEAK(&sys);
    }
    free(data);
}

/* WINHTTP_OPTION_WEB_SOCKET_KEEPALIVE_INTERVAL (30 s, >= 15 s): unsolicited
 * keepalive frames
 * -> options.keepalive_interval, of any length, plus a pong time-out that
 * finds a dead peer */
TEST(winhttp_keepalive_interval)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    test_system sys;
    int i;
    pair p;
    test_system_init(&sys); /* the client's clock stands until it is moved */
    o.system = &sys.system;
    pair_open(&p, &o, NULL);
    CHECK_INT(wsock_effective_options(p.here)->keepalive_interval, 30000);
    CHECK_INT(wsock_effective_options(p.here)->pong_timeout, 20000);
    sys.now += 29999;
    for (i = 0; i < 10; i++)
        CHECK_INT(pair_turn(&p, 1), 0);
    CHECK_INT(wsock_rtt(p.here), -1);
    sys.now += 1;
    THERE_SEES(&p, "PING \"\"\n");
    for (i = 0; i < PATIENCE && wsock_rtt(p.here) < 0; i++)
        pair_turn(&p, 1);
    CHECK_INT(wsock_rtt(p.here), 0);
    bytes_clear(&p.seen);
    sys.now += 30000;
    THERE_SEES(&p, "PING \"\"\n");
    pair_close(&p);
    /* The same with an interval of our own, and a server that is dead. */
    o.keepalive_interval = 500;
    o.pong_timeout = 300;
    pair_open(&p, &o, NULL);
    for (i = 0; i < 2; i++) {
        wsock_event e;
        CHECK_INT(wsock_poll(p.here, &e, 0), 0);
        sys.now += i ? 300 : 500;
    }
    p.polled = 0; /* its events are read here, and the server's not */
    for (i = 0; i < 10 && !p.seen.size; i++) {
        wsock_event e;
        if (wsock_poll(p.here, &e, 0) > 0)
            log_event(&p.seen, &e);
    }
    log_is(&p.seen, "CLOSE 1006 \"\" WSOCK_TIMED_OUT\n", __LINE__);
    pair_close(&p);
    CHECK_NO_LEAK(&sys);
}

/* WINHTTP_OPTION_WEB_SOCKET_RECEIVE_BUFFER_SIZE / SEND_BUFFER_SIZE: internal
 * buffers
 * -> options.receive_buffer; options.send_limit bounds the send queue */
TEST(winhttp_buffer_sizes)
{
    uint8_t *data = test_pattern(4000);
    wsock_options o = options_with(0);
    bytes want = { 0, 0, 0 };
    pair p;
    pair_open(&p, NULL, NULL);
    CHECK_INT(wsock_effective_options(p.here)->receive_buffer, 65536);
    CHECK_INT(wsock_effective_options(p.here)->send_limit, 1048576);
    pair_close(&p);
    o.receive_buffer = 256;
    o.send_limit = 256;
    pair_open(&p, &o, &o);
    CHECK_INT(wsock_effective_options(p.here)->receive_buffer, 256);
    CHECK_INT(wsock_effective_options(p.here)->send_limit, 256);
    bytes_text(&want, "BINARY");
    log_data(&want, data, 4000);
    bytes_text(&want, "\n");
    CHECK_RESULT(wsock_send(p.here, WSOCK_BINARY, data, 4000), WSOCK_OK);
    THERE_SEES(&p, bytes_str(&want));
    there_sends(&p, WSOCK_BINARY, data, 4000);
    HERE_SEES(&p, bytes_str(&want));
    pair_close(&p);
    bytes_free(&want);
    free(data);
}

/* A transport whose opening never comes to an end. */
static int stuck_open(void *user, const char *host, int port)
{
    (void)user;
    (void)host;
    (void)port;
    return WSOCK_WANT_WRITE;
}

static ptrdiff_t stuck_read(void *user, void *data, size_t size)
{
    (void)user;
    (void)data;
    (void)size;
    return WSOCK_WANT_READ;
}

static ptrdiff_t stuck_write(void *user, const wsock_buf *bufs, size_t count)
{
    (void)user;
    (void)bufs;
    (void)count;
    return WSOCK_WANT_WRITE;
}

/* WinHttpSetTimeouts (resolve, connect, send, receive): per-phase time-outs
 * -> options.lookup_timeout, connect_timeout, handshake_timeout,
 * send_timeout, receive_timeout, all in milliseconds */
TEST(winhttp_set_timeouts)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    const wsock_options *in_force;
    uint8_t *data = test_pattern(1 << 20);
    wsock_event e;
    test_system sys;
    wsock_io io;
    int i, r = 0, which;
    pair p;
    /* Connecting, and waiting for the response, by a clock of ours. */
    memset(&io, 0, sizeof io);
    io.open = stuck_open;
    io.read = stuck_read;
    io.write = stuck_write;
    for (which = 0; which < 2; which++) {
        wsock *ws;
        test_system_init(&sys);
        pair_listen(&p, NULL); /* and nobody polls it */
        o.system = &sys.system;
        o.io = which ? NULL : &io;
        o.connect_timeout = 3000;
        o.handshake_timeout = 4000;
        ws = wsock_connect(p.url, &o);
        in_force = wsock_effective_options(ws);
        CHECK_INT(in_force->lookup_timeout, 10000);
        for (i = 0; i < 1000 && wsock_queued(ws) == 0; i++)
            CHECK_INT(wsock_poll(ws, &e, 0), 0);
        for (i = 0; i < 100; i++) /* connected, and the request is out */
            CHECK_INT(wsock_poll(ws, &e, 0), 0);
        sys.now += which ? 3999 : 2999;
        CHECK_INT(wsock_poll(ws, &e, 0), 0);
        sys.now += 1;
        for (i = 0; i < 10 && e.type != WSOCK_EVENT_CLOSE; i++)
            wsock_poll(ws, &e, 0);
        CHECK_INT(e.type, WSOCK_EVENT_CLOSE);
        CHECK_RESULT(wsock_error(ws), WSOCK_TIMED_OUT);
        CHECK_INT(wsock_why(ws)->phase,
                  which ? WSOCK_PHASE_HTTP : WSOCK_PHASE_TCP);
        wsock_free(ws);
        wsock_server_free(p.server);
        CHECK_NO_LEAK(&sys);
    }
    /* Receiving: nothing is lost.  Sending: a part of it may have left. */
    o = options_with(0);
    o.receive_timeout = 20;
    o.send_timeout = 20;
    pair_open(&p, &o, NULL);
    HERE_SEES(&p, "WSOCK_TIMED_OUT\n");
    CHECK_RESULT(wsock_error(p.here), WSOCK_OK);
    there_sends(&p, WSOCK_TEXT, "late", 4);
    HERE_SEES(&p, "TEXT \"late\"\n");
    for (i = 0; i < 200 && r == WSOCK_OK; i++)
        r = wsock_send(p.here, WSOCK_BINARY, data, 1 << 20);
    CHECK_RESULT(r, WSOCK_TIMED_OUT);
    CHECK_RESULT(wsock_error(p.here), WSOCK_TIMED_OUT);
    CHECK_INT(wsock_why(p.here)->operation, WSOCK_OPERATION_SEND);
    pair_close(&p);
    free(data);
}

/* WinHttpCloseHandle: frees; pending operations are cancelled
 * -> wsock_free(); borrowed memory is the program's again at return */
TEST(winhttp_close_handle)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    uint8_t *data = test_pattern(1 << 20);
    wsock_buf buf;
    receiver r;
    pair p;
    pair_open(&p, NULL, NULL);
    receiver_begin(&r, &p);
    wsock_free(p.here);
    p.here = NULL;
    CHECK_RESULT(receiver_join(&r), WSOCK_CANCELLED);
    THERE_SEES(&p, "CLOSE 1006 \"\" WSOCK_CONNECTION_LOST\n");
    pair_close(&p);
    pair_open(&p, &o, NULL);
    buf.data = data;
    buf.size = 1 << 20;
    CHECK_RESULT(wsock_sendv(p.here, WSOCK_BINARY | WSOCK_BORROW, &buf, 1,
                             NULL), WSOCK_OK);
    wsock_free(p.here);
    p.here = NULL;
    free(data);
    pair_serve(&p, WSOCK_EVENT_CLOSE);
    CHECK_INT(p.last, 1006);
    pair_close(&p);
}

static void *dial_thread(void *user)
{
    receiver *r = (receiver *)user;
    r->result = wsock_dial(r->ws);
    return NULL;
}

/* WinHttpCloseHandle on a request that is still connecting
 * -> wsock_free(), or wsock_cancel(), which leaves the handle */
TEST(winhttp_close_handle_while_connecting)
{
    wsock_options so = options_with(0);
    int how;
    so.flags = WSOCK_REQUESTS;
    for (how = 0; how < 2; how++) {
        receiver r;
        pair p;
        test_note("%s", how ? "free" : "cancel");
        pair_listen(&p, &so);
        p.here = r.ws = wsock_new(WSOCK_CLIENT, p.url, NULL);
        r.result = 1000;
        if (pthread_create(&r.thread, NULL, dial_thread, &r))
            test_die("no thread");
        pair_serve(&p, WSOCK_EVENT_REQUEST); /* now it waits for the answer */
        CHECK_INT(p.late, 0);
        if (how)
            wsock_free(p.here);
        else
            CHECK_RESULT(wsock_cancel(p.here), WSOCK_OK);
        CHECK_RESULT(receiver_join(&r), WSOCK_CANCELLED);
        if (how)
            p.here = NULL;
        else
            CHECK_RESULT(wsock_error(p.here), WSOCK_CANCELLED);
        pair_close(&p);
    }
}

/* ================================= WebSocket Protocol Component: handles == */

/* The output since the last time, as frames. */
static void core_wrote(wsock *ws, int masked, const char *want, int line)
{
    bytes out = { 0, 0, 0 }, log = { 0, 0, 0 };
    take_output(ws, &out);
    frames_log(&log, &out, masked);
    log_is(&log, want, line);
    bytes_free(&out);
    bytes_free(&log);
}

#define WROTE(ws, masked, want) core_wrote((ws), (masked), (want), __LINE__)

/* Events that the bytes bring. */
static void core_reads(wsock *ws, const bytes *in, const char *want, int line)
{
    bytes log = { 0, 0, 0 };
    feed_bytes(ws, in, &log);
    log_is(&log, want, line);
    bytes_free(&log);
}

#define READS(ws, in, want) core_reads((ws), (in), (want), __LINE__)

/* WebSocketCreateClientHandle / CreateServerHandle(properties): a session
 * without I/O
 * -> wsock_new(role, url, options) */
TEST(protocol_component_create_handles)
{
    wsock *client = wsock_new(WSOCK_CLIENT, "ws://h/chat", NULL);
    wsock *server = wsock_new(WSOCK_SERVER, NULL, NULL);
    bytes a = { 0, 0, 0 }, b = { 0, 0, 0 };
    CHECK_INT(wsock_state(client), WSOCK_STATE_CONNECTING);
    CHECK_INT(wsock_state(server), WSOCK_STATE_CONNECTING);
    core_exchange(client, server, &a, &b);
    CHECK_STR(bytes_str(&a), "OPEN\n");
    CHECK_STR(bytes_str(&b), "OPEN\n");
    wsock_send(client, WSOCK_TEXT, "from client", 11);
    wsock_send(server, WSOCK_TEXT, "from server", 11);
    core_exchange(client, server, &a, &b);
    CHECK_STR(bytes_str(&a), "OPEN\nTEXT \"from server\"\n");
    CHECK_STR(bytes_str(&b), "OPEN\nTEXT \"from client\"\n");
    wsock_free(client);
    wsock_free(server);
    bytes_free(&a);
    bytes_free(&b);
}

/* RECEIVE_BUFFER_SIZE, SEND_BUFFER_SIZE (>= 256): internal buffers
 * -> options.receive_buffer, which bounds an I/O-less session only with
 * options.memory; options.send_limit, at which a send is not taken */
TEST(protocol_component_buffer_sizes)
{
    wsock_options o = options_with(0);
    char data[300];
    bytes log = { 0, 0, 0 };
    wsock *ws;
    memset(data, 'd', sizeof data);
    o.receive_buffer = 256;
    o.send_limit = 256;
    ws = core_open(WSOCK_SERVER, &o);
    CHECK_INT(wsock_effective_options(ws)->receive_buffer, 256);
    CHECK_INT(wsock_effective_options(ws)->send_limit, 256);
    CHECK_RESULT(wsock_send(ws, WSOCK_BINARY, data, 300), WSOCK_OK);
    CHECK_RESULT(wsock_send(ws, WSOCK_TEXT, "no", 2), WSOCK_WOULD_BLOCK);
    WROTE(ws, 0, "binary 300 bytes\n");
    drain_events(ws, &log);
    CHECK_STR(bytes_str(&log), "DRAIN\n");
    CHECK_RESULT(wsock_send(ws, WSOCK_TEXT, "now", 3), WSOCK_OK);
    WROTE(ws, 0, "text \"now\"\n");
    wsock_free(ws);
    bytes_free(&log);
}

/* ALLOCATED_BUFFER: the session lives in the caller's block
 * -> options.memory: no allocation ever */
TEST(protocol_component_allocated_buffer)
{
    int role;
    for (role = WSOCK_CLIENT; role <= WSOCK_SERVER; role++) {
        const char *url = role == WSOCK_CLIENT ? "ws://h/chat" : NULL;
        wsock_options o = options_with(0);
        bytes a = { 0, 0, 0 }, b = { 0, 0, 0 };
        wsock *ws, *peer;
        test_system sys;
        uint8_t *block;
        test_system_init(&sys);
        sys.refuse = 1; /* an allocation is a failure */
        o.system = &sys.system;
        o.flags = WSOCK_CORE_ONLY;
        o.receive_buffer = 1024;
        o.send_limit = 512;
        o.max_header = 1024;
        o.memory_size = wsock_memory_needed(role, url, &o);
        block = (uint8_t *)malloc(o.memory_size + 1);
        o.memory = block + 1; /* of any alignment */
        o.memory_size--;
        CHECK(wsock_new(role, url, &o) == NULL); /* one byte too small */
        o.memory_size++;
        ws = wsock_new(role, url, &o);
        CHECK((uint8_t *)ws > block
              && (uint8_t *)ws <= block + o.memory_size);
        peer = wsock_new(role == WSOCK_CLIENT ? WSOCK_SERVER : WSOCK_CLIENT,
                         role == WSOCK_CLIENT ? NULL : "ws://h/chat", NULL);
        core_exchange(ws, peer, &a, &b);
        wsock_send(ws, WSOCK_TEXT, "out", 3);
        wsock_send(peer, WSOCK_TEXT | WSOCK_FRAGMENT, "i", 1);
        wsock_send(peer, WSOCK_TEXT, "n", 1);
        core_exchange(ws, peer, &a, &b);
        wsock_close(ws, 1000, "bye");
        core_exchange(ws, peer, &a, &b);
        CHECK_STR(bytes_str(&a),
                  "OPEN\nTEXT \"in\"\nCLOSE 1000 \"\" WSOCK_OK\n");
        CHECK_STR(bytes_str(&b),
                  "OPEN\nTEXT \"out\"\nCLOSE 1000 \"bye\" WSOCK_OK\n");
        CHECK_INT(sys.allocations, 0);
        wsock_free(ws);
        wsock_free(peer);
        free(block);
        bytes_free(&a);
        bytes_free(&b);
    }
}

/* DISABLE_MASKING: client: mask key 0; server: takes unmasked frames
 * -> WSOCK_UNSAFE_NO_MASKING */
TEST(protocol_component_disable_masking)
{
    static const uint8_t zero[4] = { 0, 0, 0, 0 };
    int on;
    for (on = 0; on < 2; on++) {
        wsock_options o = options_with(0);
        wsock *client, *server;
        bytes out = { 0, 0, 0 }, in = { 0, 0, 0 };
        frame f;
        test_note("%s", on ? "no masking" : "masking");
        o.flags = on ? WSOCK_UNSAFE_NO_MASKING : 0;
        client = core_open(WSOCK_CLIENT, &o);
        server = core_open(WSOCK_SERVER, &o);
        wsock_send(client, WSOCK_TEXT, "text", 4);
        take_output(client, &out);
        CHECK_INT(frame_get(out.data, out.size, &f), out.size);
        CHECK_INT(f.masked, 1);
        CHECK_INT(memcmp(f.key, zero, 4) == 0, on);
        frame_text(&in, FIN | 1, 0, "plain");
        READS(server, &in, on ? "TEXT \"plain\"\n"
                              : "CLOSE 1006 \"\" WSOCK_PROTOCOL_ERROR\n");
        WROTE(server, 0, on ? "" : "close 1002\n");
        wsock_free(client);
        wsock_free(server);
        bytes_free(&out);
        bytes_free(&in);
    }
}

/* DISABLE_UTF8_VERIFICATION: text is not checked -> WSOCK_NO_UTF8_CHECK */
TEST(protocol_component_disable_utf8_verification)
{
    int on;
    for (on = 0; on < 2; on++) {
        wsock_options o = options_with(0);
        bytes in = { 0, 0, 0 };
        wsock *ws;
        o.flags = on ? WSOCK_NO_UTF8_CHECK : 0;
        ws = core_open(WSOCK_CLIENT, &o);
        frame_text(&in, FIN | 1, 0, "\xFF");
        READS(ws, &in, on ? "TEXT \"\\xff\"\n"
                          : "CLOSE 1006 \"\" WSOCK_INVALID_UTF8\n");
        WROTE(ws, 1, on ? "" : "close 1007\n");
        wsock_free(ws);
        bytes_free(&in);
    }
}

/* KEEPALIVE_INTERVAL, SUPPORTED_VERSIONS; WebSocketGetGlobalProperty: 30 s,
 * {13}
 * -> wsock_effective_options(), WSOCK_PROTOCOL_VERSION */
TEST(protocol_component_global_properties)
{
    wsock *ws = wsock_new(WSOCK_CLIENT, "ws://h/", NULL);
    bytes head = { 0, 0, 0 };
    char value[8];
    CHECK_INT(wsock_effective_options(ws)->keepalive_interval, 30000);
    CHECK_INT(WSOCK_PROTOCOL_VERSION, 13);
    take_output(ws, &head);
    CHECK(head_value(bytes_str(&head), "Sec-WebSocket-Version", value,
                     sizeof value));
    CHECK_STR(value, "13");
    wsock_free(ws);
    bytes_free(&head);
}

/* ============================== WebSocket Protocol Component: handshakes == */

/* A head as a program with its own HTTP stack has it: the first line and a
 * NULL-terminated list of "Name: value". */
typedef struct head {
    char first[128];
    char text[32][128];
    const char *lines[33];
    int count;
} head;

static void head_take(head *h, wsock *ws)
{
    const char *name, *value;
    size_t i = 0;
    memset(h, 0, sizeof *h);
    CHECK_RESULT(wsock_head_out(ws, 0, &name, &value), WSOCK_OK);
    CHECK_STR(name, "");
    snprintf(h->first, sizeof h->first, "%s", value);
    while (i < 32 && wsock_head_out(ws, i + 1, &name, &value) == WSOCK_OK) {
        snprintf(h->text[i], sizeof h->text[i], "%s: %s", name, value);
        h->lines[i] = h->text[i];
        i++;
    }
    CHECK_RESULT(wsock_head_out(ws, i + 1, &name, &value), WSOCK_CLOSED);
    CHECK_INT(take_output(ws, NULL), 0); /* it is out of wsock_output() */
    h->count = (int)i;
}

static int head_has(const head *h, const char *line)
{
    int i;
    for (i = 0; i < h->count; i++)
        if (!strncmp(h->text[i], line, strlen(line)))
            return 1;
    return 0;
}

/* WebSocketBeginClientHandshake(subprotocols, extensions, initial headers) ->
 * headers to send: the application owns the HTTP exchange
 * -> wsock_head_out() yields the lines one by one; or wsock_output() the
 * whole request */
TEST(protocol_component_begin_client_handshake)
{
    static const char *const subprotocols[] = { "chat", "echo", NULL };
    static const char *const extensions[] = { "x-mark; level=2", NULL };
    static const char *const headers[] = { "X-Token: abc", NULL };
    static const char *const lines[] = {
        "Host: server.example.com", "Upgrade: websocket",
        "Connection: Upgrade", "Sec-WebSocket-Key: ",
        "Sec-WebSocket-Version: 13", "Sec-WebSocket-Protocol: chat, echo",
        "Sec-WebSocket-Extensions: x-mark; level=2", "X-Token: abc"
    };
    const char *url = "ws://server.example.com/chat?room=1";
    wsock_options o = options_with(0);
    bytes whole = { 0, 0, 0 };
    wsock *ws;
    size_t i;
    head h;
    o.subprotocols = subprotocols;
    o.extensions = extensions;
    o.headers = headers;
    ws = wsock_new(WSOCK_CLIENT, url, &o);
    head_take(&h, ws);
    wsock_free(ws);
    CHECK_STR(h.first, "GET /chat?room=1 HTTP/1.1");
    ws = wsock_new(WSOCK_CLIENT, url, &o);
    take_output(ws, &whole);
    wsock_free(ws);
    CHECK(bytes_find(&whole, "GET /chat?room=1 HTTP/1.1\r\n") != NULL);
    for (i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        test_note("%s", lines[i]);
        CHECK(head_has(&h, lines[i]));
        CHECK(bytes_find(&whole, lines[i]) != NULL);
    }
    CHECK_INT(h.count, sizeof lines / sizeof lines[0]);
    bytes_free(&whole);
}

/* WebSocketEndClientHandshake(response headers) -> selected extensions,
 * subprotocol; E_UNSUPPORTED_SUBPROTOCOL, E_UNSUPPORTED_EXTENSION,
 * E_INVALID_PROTOCOL_FORMAT
 * -> wsock_head_in(), or wsock_feed() of the whole response; three outcomes
 * of their own; wsock_subprotocol() is a name, wsock_extensions() a bit for
 * each index.  A server that takes none of the subprotocols is no error. */
TEST(protocol_component_end_client_handshake)
{
    static const char *const subprotocols[] = { "chat", "echo", NULL };
    static const char *const extensions[] = { "x-a", "x-b", NULL };
    static const struct {
        const char *line;
        int result;
        const char *subprotocol;
        unsigned extensions;
    } cases[] = {
        { "Sec-WebSocket-Protocol: echo", WSOCK_OK, "echo", 0 },
        { "Sec-WebSocket-Extensions: x-b", WSOCK_OK, NULL, 2 },
        { "Sec-WebSocket-Extensions: x-b, x-a", WSOCK_OK, NULL, 3 },
        { "X: neither", WSOCK_OK, NULL, 0 },
        { "Sec-WebSocket-Protocol: other", WSOCK_UNSUPPORTED_SUBPROTOCOL,
          NULL, 0 },
        { "Sec-WebSocket-Extensions: x-c", WSOCK_UNSUPPORTED_EXTENSION, NULL,
          0 },
        /* This one takes the place of the right one. */
        { "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
          WSOCK_INVALID_HANDSHAKE, NULL, 0 }
    };
    wsock_options o = options_with(0);
    size_t i;
    int raw, k;
    o.subprotocols = subprotocols;
    o.extensions = extensions;
    for (i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (raw = 0; raw < 2; raw++) {
            wsock *ws = wsock_new(WSOCK_CLIENT, "ws://h/", &o);
            wsock *server = wsock_new(WSOCK_SERVER, NULL, NULL);
            bytes in = { 0, 0, 0 };
            head request, response;
            test_note("%s, %s", cases[i].line, raw ? "fed" : "parsed");
            head_take(&request, ws);
            CHECK_RESULT(wsock_head_in(server, request.first, request.lines),
                         WSOCK_OK);
            head_take(&response, server);
            for (k = 0; k < response.count; k++)
                if (!strncmp(response.text[k], cases[i].line, 21))
                    break;
            response.lines[k] = cases[i].line;
            response.count += k == response.count;
            if (raw) {
                bytes_format(&in, "%s\r\n", response.first);
                for (k = 0; k < response.count; k++)
                    bytes_format(&in, "%s\r\n", response.lines[k]);
                bytes_text(&in, "\r\n");
                feed_bytes(ws, &in, NULL);
                CHECK_RESULT(wsock_error(ws), cases[i].result);
            } else {
                CHECK_RESULT(wsock_head_in(ws, response.first,
                                           response.lines),
                             cases[i].result);
            }
            CHECK_STR(wsock_subprotocol(ws), cases[i].subprotocol);
            CHECK_INT(wsock_extensions(ws), cases[i].extensions);
            CHECK_INT(wsock_state(ws), cases[i].result == WSOCK_OK
                                           ? WSOCK_STATE_OPEN
                                           : WSOCK_STATE_CLOSED);
            wsock_free(ws);
            wsock_free(server);
            bytes_free(&in);
        }
}

/* WebSocketBeginServerHandshake(chosen subprotocol, extensions, request
 * headers) -> response headers; EndServerHandshake: the application chooses
 * -> wsock_head_in() with parsed headers, then wsock_head_out(); the choice
 * follows options.subprotocols and options.extensions */
TEST(protocol_component_server_handshake)
{
    static const char *const request[] = {
        "Host: h", "Upgrade: websocket", "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13", "Sec-WebSocket-Protocol: chat, echo",
        "Sec-WebSocket-Extensions: x-a, x-b", NULL
    };
    static const char *const subprotocols[] = { "echo", NULL };
    static const char *const extensions[] = { "x-b", NULL };
    static const char *const headers[] = { "X-Room: 7", NULL };
    wsock_options o = options_with(0);
    bytes in = { 0, 0, 0 };
    wsock *ws;
    head h;
    o.subprotocols = subprotocols;
    o.extensions = extensions;
    o.headers = headers;
    ws = wsock_new(WSOCK_SERVER, NULL, &o);
    CHECK_RESULT(wsock_head_in(ws, "GET /chat HTTP/1.1", request), WSOCK_OK);
    head_take(&h, ws);
    CHECK_STR(h.first, "HTTP/1.1 101 Switching Protocols");
    CHECK(head_has(&h, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    CHECK(head_has(&h, "Sec-WebSocket-Protocol: echo"));
    CHECK(head_has(&h, "Sec-WebSocket-Extensions: x-b"));
    CHECK(head_has(&h, "X-Room: 7"));
    CHECK_STR(wsock_subprotocol(ws), "echo");
    CHECK_INT(wsock_extensions(ws), 1);
    frame_text(&in, FIN | 1, 1, "frames follow");
    READS(ws, &in, "OPEN\nTEXT \"frames follow\"\n");
    wsock_free(ws);
    bytes_free(&in);
    /* E_INVALID_PROTOCOL_FORMAT -> refused, with a response to send. */
    ws = wsock_new(WSOCK_SERVER, NULL, &o);
    CHECK_RESULT(wsock_head_in(ws, "GET /chat HTTP/1.1", request + 3),
                 WSOCK_REFUSED);
    head_take(&h, ws);
    CHECK(strstr(h.first, " 4") != NULL);
    wsock_free(ws);
}

/* The same, chosen for each request, from parsed headers or from raw bytes
 * -> WSOCK_REQUESTS, the REQUEST event, wsock_upgrade(ws, subprotocol,
 * headers); extensions follow options.extensions */
TEST(protocol_component_server_handshake_by_choice)
{
    static const char *const request[] = {
        "Host: h", "Upgrade: websocket", "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13", "Sec-WebSocket-Protocol: chat, echo",
        "X-Token: abc", NULL
    };
    static const char *const more[] = { "X-Room: 7", NULL };
    wsock_options o = options_with(0);
    int raw, i;
    o.flags = WSOCK_REQUESTS;
    for (raw = 0; raw < 2; raw++) {
        wsock *ws = wsock_new(WSOCK_SERVER, NULL, &o);
        bytes in = { 0, 0, 0 }, out = { 0, 0, 0 }, log = { 0, 0, 0 };
        wsock_event e;
        head h;
        test_note("%s", raw ? "raw bytes" : "parsed headers");
        if (raw) {
            bytes_text(&in, "GET /chat HTTP/1.1\r\n");
            for (i = 0; request[i]; i++)
                bytes_format(&in, "%s\r\n", request[i]);
            bytes_text(&in, "\r\n");
            CHECK_RESULT(wsock_feed(ws, in.data, in.size), WSOCK_OK);
        } else {
            CHECK_RESULT(wsock_head_in(ws, "GET /chat HTTP/1.1", request),
                         WSOCK_OK);
        }
        CHECK_INT(wsock_next(ws, &e), 1);
        if (CHECK_INT(e.type, WSOCK_EVENT_REQUEST)) {
            CHECK_INT(e.request->upgrade, 1);
            CHECK_STR(e.request->path, "/chat");
            CHECK_STR(e.request->subprotocols[0], "chat");
            CHECK_STR(e.request->subprotocols[1], "echo");
            CHECK_STR(e.request->subprotocols[2], NULL);
            CHECK_STR(wsock_header(ws, "X-Token"), "abc");
            CHECK_RESULT(wsock_upgrade(ws, "never-offered", NULL),
                         WSOCK_INVALID_PARAMETER);
            CHECK_RESULT(wsock_upgrade(ws, "echo", more), WSOCK_OK);
        }
        drain_events(ws, &log);
        CHECK_STR(bytes_str(&log), "OPEN\n");
        CHECK_STR(wsock_subprotocol(ws), "echo");
        if (raw) {
            take_output(ws, &out);
        } else {
            head_take(&h, ws);
            bytes_format(&out, "%s\r\n", h.first);
            for (i = 0; i < h.count; i++)
                bytes_format(&out, "%s\r\n", h.text[i]);
        }
        CHECK(bytes_find(&out, "HTTP/1.1 101 ") != NULL);
        CHECK(bytes_find(&out, "Sec-WebSocket-Protocol: echo\r\n") != NULL);
        CHECK(bytes_find(&out, "X-Room: 7\r\n") != NULL);
        wsock_free(ws);
        bytes_free(&in);
        bytes_free(&out);
        bytes_free(&log);
    }
}

/* ========================= WebSocket Protocol Component: sends, receives == */

/* WebSocketSend(type, buffer array, context): queues one send; the caller's
 * memory is used in place and may be reclaimed at INDICATE_SEND_COMPLETE,
 * which gives the context back
 * -> wsock_sendv(ws, kind | WSOCK_BORROW, bufs, count, context) and the SENT
 * event */
TEST(protocol_component_send_with_gather_list_and_context)
{
    wsock *ws = core_open(WSOCK_SERVER, NULL);
    static const char one[] = "gathered ", two[] = "from two";
    wsock_buf bufs[2], out[4];
    bytes log = { 0, 0, 0 };
    char context[] = "context";
    bufs[0].data = one;
    bufs[0].size = 9;
    bufs[1].data = two;
    bufs[1].size = 8;
    CHECK_RESULT(wsock_sendv(ws, WSOCK_TEXT | WSOCK_BORROW, bufs, 2, context),
                 WSOCK_OK);
    memset(bufs, 0, sizeof bufs); /* the list itself was copied */
    if (CHECK_INT(wsock_output(ws, out, 4), 3)) {
        CHECK_INT(out[0].size, 2);
        CHECK(out[1].data == one); /* in place */
        CHECK(out[2].data == two);
        CHECK_INT(out[1].size + out[2].size, 17);
    }
    CHECK_INT(drain_events(ws, &log), 0);
    CHECK_STR(bytes_str(&log), ""); /* not before it was written */
    WROTE(ws, 0, "text \"gathered from two\"\n");
    drain_events(ws, &log);
    CHECK_STR(bytes_str(&log), "SENT context WSOCK_OK\n");
    wsock_free(ws);
    bytes_free(&log);
}

/* PING_PONG (send: ping), UNSOLICITED_PONG, buffer NULL for the default
 * payload: keepalive frames
 * -> WSOCK_PING, WSOCK_PONG; an empty payload, or up to 125 bytes */
TEST(protocol_component_ping_and_pong)
{
    int role;
    for (role = WSOCK_CLIENT; role <= WSOCK_SERVER; role++) {
        int masked = role == WSOCK_CLIENT;
        wsock *ws = core_open(role, NULL);
        bytes in = { 0, 0, 0 };
        CHECK_RESULT(wsock_send(ws, WSOCK_PING, NULL, 0), WSOCK_OK);
        CHECK_RESULT(wsock_send(ws, WSOCK_PONG, NULL, 0), WSOCK_OK);
        CHECK_RESULT(wsock_send(ws, WSOCK_PING, "42", 2), WSOCK_OK);
        WROTE(ws, masked, "ping \"\"\npong \"\"\nping \"42\"\n");
        frame_text(&in, FIN | 10, !masked, "42");
        frame_text(&in, FIN | 9, !masked, "you?");
        READS(ws, &in, "PONG \"42\"\nPING \"you?\"\n");
        WROTE(ws, masked, "pong \"you?\"\n"); /* answered by itself */
        wsock_free(ws);
        bytes_free(&in);
    }
}

/* after CLOSE was sent, only control frames: E_INVALID_PROTOCOL_OPERATION
 * -> WSOCK_INVALID_OPERATION, for control frames too: our Close is the last
 * frame */
TEST(protocol_component_nothing_is_sent_after_close)
{
    static const unsigned kinds[] = { WSOCK_TEXT, WSOCK_BINARY,
                                      WSOCK_TEXT | WSOCK_FRAGMENT,
                                      WSOCK_PING, WSOCK_PONG };
    int role;
    size_t i;
    for (role = WSOCK_CLIENT; role <= WSOCK_SERVER; role++) {
        wsock *ws = core_open(role, NULL);
        CHECK_RESULT(wsock_shutdown(ws, 1000, ""), WSOCK_OK);
        for (i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
            CHECK_RESULT(wsock_send(ws, kinds[i], "x", 1),
                         WSOCK_INVALID_OPERATION);
        WROTE(ws, role == WSOCK_CLIENT, "close 1000\n");
        CHECK_RESULT(wsock_error(ws), WSOCK_OK);
        wsock_free(ws);
    }
}

/* WebSocketReceive(buffer array or NULL, context): into the caller's buffers,
 * or the library's own for zero copy
 * -> events point into the bytes that were fed, so that both are one; a
 * message in several frames is joined, or comes in parts (WSOCK_PARTS) */
TEST(protocol_component_receive_without_copy)
{
    int role;
    for (role = WSOCK_CLIENT; role <= WSOCK_SERVER; role++) {
        int masked = role == WSOCK_SERVER, parts;
        for (parts = 0; parts < 2; parts++) {
            wsock_options o = options_with(0);
            bytes in = { 0, 0, 0 };
            wsock_event e;
            wsock *ws;
            o.flags = parts ? WSOCK_PARTS : 0;
            ws = core_open(role, &o);
            frame_text(&in, FIN | 1, masked, "in place");
            CHECK_RESULT(wsock_feed(ws, in.data, in.size), WSOCK_OK);
            CHECK_INT(wsock_next(ws, &e), 1);
            CHECK_BYTES(e.data, e.size, "in place", 8);
            CHECK((uint8_t *)e.data == in.data + in.size - 8);
            memset(e.data, '!', e.size); /* it may be changed */
            CHECK_INT(wsock_next(ws, &e), 0);
            bytes_clear(&in);
            frame_text(&in, 1, masked, "two ");
            frame_text(&in, FIN | 0, masked, "frames");
            READS(ws, &in, parts ? "TEXT|FRAGMENT \"two \"\n"
                                   "TEXT \"frames\"\n"
                                 : "TEXT \"two frames\"\n");
            wsock_free(ws);
            bytes_free(&in);
        }
    }
}

/* ... into the caller's buffers, with a transport of the caller's below
 * -> wsock_attach(), wsock_receive() */
TEST(protocol_component_receive_into_a_buffer)
{
    static test_link link;
    test_peer peer;
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    bytes log = { 0, 0, 0 };
    wsock *ws = wsock_new(WSOCK_CLIENT, "ws://h/", NULL);
    test_link_init(&link);
    memset(&peer, 0, sizeof peer);
    peer.link = &link;
    peer.ws = wsock_new(WSOCK_SERVER, NULL, &o);
    CHECK_RESULT(wsock_attach(peer.ws, &link.io[1]), WSOCK_OK);
    link.pump = test_peer_pump;
    link.user = &peer;
    CHECK_RESULT(wsock_attach(ws, &link.io[0]), WSOCK_OK);
    CHECK_RESULT(wsock_send(ws, WSOCK_TEXT, "echo", 4), WSOCK_OK);
    log_receive(&log, ws);
    CHECK_STR(bytes_str(&log), "TEXT \"echo\"\n");
    wsock_free(ws);
    wsock_free(peer.ws);
    test_link_free(&link);
    bytes_free(&peer.log);
    bytes_free(&log);
}

/* WebSocketGetAction(queue) -> SEND_TO_NETWORK, INDICATE_SEND_COMPLETE,
 * RECEIVE_FROM_NETWORK, INDICATE_RECEIVE_COMPLETE, NO_ACTION: what to do next
 * -> wsock_output() / SENT / wsock_feed() / MESSAGE (whole or part), PONG,
 * CLOSE / nothing */
TEST(protocol_component_get_action)
{
    wsock *ws = core_open(WSOCK_SERVER, NULL);
    char context[] = "send";
    bytes in = { 0, 0, 0 };
    wsock_buf out[4], buf;
    wsock_event e;
    buf.data = "out";
    buf.size = 3;
    /* NO_ACTION, RECEIVE_FROM_NETWORK: neither output nor event. */
    CHECK_INT(wsock_output(ws, out, 4), 0);
    CHECK_INT(wsock_next(ws, &e), 0);
    CHECK_INT(e.type, WSOCK_EVENT_NONE);
    /* SEND_TO_NETWORK, then INDICATE_SEND_COMPLETE. */
    wsock_sendv(ws, WSOCK_TEXT | WSOCK_BORROW, &buf, 1, context);
    CHECK(wsock_output(ws, out, 4) > 0);
    WROTE(ws, 0, "text \"out\"\n");
    CHECK_INT(wsock_next(ws, &e), 1);
    CHECK_INT(e.type, WSOCK_EVENT_SENT);
    CHECK(e.context == context);
    CHECK_INT(wsock_next(ws, &e), 0);
    /* Only now: theirs allows one outstanding receive as well. */
    frame_text(&in, FIN | 1, 1, "in");
    frame_text(&in, FIN | 10, 1, "pong");
    frame_close(&in, 1, 1000, "end");
    CHECK_RESULT(wsock_feed(ws, in.data, in.size), WSOCK_OK);
    CHECK_RESULT(wsock_feed(ws, in.data, in.size), WSOCK_INVALID_OPERATION);
    /* INDICATE_RECEIVE_COMPLETE, of three buffer types. */
    CHECK_INT(wsock_next(ws, &e), 1);
    CHECK_INT(e.type, WSOCK_EVENT_MESSAGE);
    CHECK_INT(e.kind, WSOCK_TEXT);
    CHECK_INT(wsock_next(ws, &e), 1);
    CHECK_INT(e.type, WSOCK_EVENT_PONG);
    CHECK_INT(wsock_next(ws, &e), 1);
    CHECK_INT(e.type, WSOCK_EVENT_CLOSE);
    CHECK_INT(e.code, 1000);
    CHECK(wsock_next(ws, &e) < 0);
    WROTE(ws, 0, "close 1000\n"); /* still to be written */
    wsock_free(ws);
    bytes_free(&in);
}

/* E_INVALID_PROTOCOL_FORMAT: what the peer sent is wrong
 * -> a result for each cause, in the CLOSE event's why; the Close that says
 * so to the peer is output */
TEST(protocol_component_invalid_protocol_format)
{
    static const char *const heads[] = {
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nX: longer than 48 bytes\r\n\r\n"
    };
    static const int results[] = { WSOCK_HTTP_ERROR, WSOCK_REFUSED,
                                   WSOCK_INVALID_HANDSHAKE, WSOCK_TOO_BIG };
    static const struct {
        unsigned first;
        const char *payload, *log, *sent;
    } frames[] = {
        { FIN | 3, "no such opcode", "CLOSE 1006 \"\" WSOCK_PROTOCOL_ERROR\n",
          "close 1002\n" },
        { FIN | 1, "\xFF", "CLOSE 1006 \"\" WSOCK_INVALID_UTF8\n",
          "close 1007\n" },
        { FIN | 1, "seventeen letters", "CLOSE 1006 \"\" WSOCK_TOO_BIG\n",
          "close 1009\n" }
    };
    wsock_options o = options_with(0);
    size_t i;
    o.max_header = 48;
    o.max_message = 16;
    for (i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        wsock *ws = wsock_new(WSOCK_CLIENT, "ws://h/", &o);
        test_note("head %d", (int)i);
        take_output(ws, NULL);
        feed_text(ws, heads[i], NULL);
        CHECK_RESULT(wsock_error(ws), results[i]);
        CHECK_INT(wsock_why(ws)->phase, WSOCK_PHASE_HTTP);
        wsock_free(ws);
    }
    o.max_header = 0;
    for (i = 0; i < sizeof frames / sizeof frames[0]; i++) {
        wsock *ws = core_open(WSOCK_CLIENT, &o);
        bytes in = { 0, 0, 0 };
        test_note("frame %d", (int)i);
        frame_text(&in, frames[i].first, 0, frames[i].payload);
        READS(ws, &in, frames[i].log);
        CHECK_INT(wsock_why(ws)->phase, WSOCK_PHASE_WEBSOCKET);
        WROTE(ws, 1, frames[i].sent);
        wsock_free(ws);
        bytes_free(&in);
    }
}

/* WebSocketCompleteAction(bytes): it was done, or partly
 * -> wsock_output_done(n); a short write continues where it stopped (theirs
 * cancels) */
TEST(protocol_component_complete_action_partly)
{
    enum { STEPS = 5 };
    static const size_t steps[STEPS] = { 1, 2, 7, 100, 100000 };
    bytes whole = { 0, 0, 0 };
    uint8_t *data = test_pattern(5000);
    int i;
    for (i = STEPS - 1; i >= 0; i--) {
        wsock *ws = core_open(WSOCK_SERVER, NULL);
        wsock_buf out[4], buf;
        bytes got = { 0, 0, 0 }, log = { 0, 0, 0 };
        char context[] = "borrowed";
        buf.data = data;
        buf.size = 5000;
        wsock_send(ws, WSOCK_TEXT, "first", 5);
        wsock_sendv(ws, WSOCK_BINARY | WSOCK_BORROW, &buf, 1, context);
        while (wsock_output(ws, out, 4) > 0 && got.size < 10000) {
            size_t n = steps[i] < out[0].size ? steps[i] : out[0].size;
            drain_events(ws, &log);
            CHECK_STR(bytes_str(&log), "");
            bytes_put(&got, out[0].data, n);
            CHECK_RESULT(wsock_output_done(ws, n), WSOCK_OK);
        }
        CHECK_RESULT(wsock_output_done(ws, 1), WSOCK_INVALID_PARAMETER);
        drain_events(ws, &log);
        CHECK_STR(bytes_str(&log), "SENT borrowed WSOCK_OK\n");
        if (!whole.size)
            bytes_put(&whole, got.data, got.size);
        CHECK_BYTES(got.data, got.size, whole.data, whole.size);
        wsock_free(ws);
        bytes_free(&got);
        bytes_free(&log);
    }
    CHECK_INT(whole.size, 2 + 5 + 4 + 5000);
    bytes_free(&whole);
    free(data);
}

/* WebSocketAbortHandle: everything queued is completed at once
 * -> wsock_abort(): every borrowed send gets its SENT event, marked, then
 * CLOSE comes; later calls return WSOCK_ABORTED */
TEST(protocol_component_abort_handle)
{
    wsock *ws = core_open(WSOCK_CLIENT, NULL);
    char one[] = "one", two[] = "two";
    bytes log = { 0, 0, 0 };
    wsock_buf buf;
    buf.data = "borrowed";
    buf.size = 8;
    wsock_sendv(ws, WSOCK_TEXT | WSOCK_BORROW, &buf, 1, one);
    wsock_send(ws, WSOCK_TEXT, "copied", 6);
    wsock_sendv(ws, WSOCK_TEXT | WSOCK_BORROW, &buf, 1, two);
    CHECK_RESULT(wsock_abort(ws), WSOCK_OK);
    drain_events(ws, &log);
    CHECK_STR(bytes_str(&log), "SENT one WSOCK_ABORTED\n"
                               "SENT two WSOCK_ABORTED\n"
                               "CLOSE 1006 \"\" WSOCK_ABORTED\n");
    CHECK_INT(take_output(ws, NULL), 0);
    CHECK_RESULT(wsock_send(ws, WSOCK_TEXT, "x", 1), WSOCK_ABORTED);
    wsock_free(ws);
    bytes_free(&log);
}

/* WebSocketDeleteHandle: frees -> wsock_free(), in every state */
TEST(protocol_component_delete_handle)
{
    int role, state;
    for (role = WSOCK_CLIENT; role <= WSOCK_SERVER; role++)
        for (state = 0; state < 4; state++) {
            wsock_options o = options_with(0);
            wsock_buf buf;
            test_system sys;
            wsock *ws;
            test_note("role %d, state %d", role, state);
            test_system_init(&sys);
            o.system = &sys.system;
            buf.data = "borrowed";
            buf.size = 8;
            ws = state ? core_open(role, &o)
                       : wsock_new(role, role == WSOCK_CLIENT ? "ws://h/"
                                                              : NULL, &o);
            if (state >= 2)
                wsock_sendv(ws, WSOCK_TEXT | WSOCK_BORROW, &buf, 1, NULL);
            if (state == 3)
                wsock_shutdown(ws, 1000, "queued");
            wsock_free(ws);
            CHECK_NO_LEAK(&sys);
        }
}

/* extension frame types through reserved bits: custom RSV bits
 * -> options.extensions, options.reserved_bits, WSOCK_RSV1 to RSV3: of the
 * first frame of a message, for an extension that both have agreed on */
TEST(protocol_component_reserved_bits)
{
    static const char *const extensions[] = { "x-mark", NULL };
    wsock_options o = options_with(0);
    wsock *client, *server;
    bytes a = { 0, 0, 0 }, b = { 0, 0, 0 };
    o.extensions = extensions;
    o.reserved_bits = WSOCK_RSV1 | WSOCK_RSV3;
    client = wsock_new(WSOCK_CLIENT, "ws://h/", &o);
    server = wsock_new(WSOCK_SERVER, NULL, &o);
    core_exchange(client, server, &a, &b);
    CHECK_INT(wsock_extensions(client), 1);
    CHECK_INT(wsock_extensions(server), 1);
    CHECK_RESULT(wsock_send(client, WSOCK_TEXT | WSOCK_RSV1, "one", 3),
                 WSOCK_OK);
    CHECK_RESULT(wsock_send(client, WSOCK_TEXT | WSOCK_RSV2, "not ours", 8),
                 WSOCK_INVALID_PARAMETER);
    core_exchange(client, server, &a, &b);
    CHECK_STR(bytes_str(&b), "OPEN\nTEXT|RSV4 \"one\"\n");
    CHECK_RESULT(wsock_send(server, WSOCK_BINARY | WSOCK_RSV3
                            | WSOCK_FRAGMENT, "two ", 4), WSOCK_OK);
    CHECK_RESULT(wsock_send(server, WSOCK_BINARY | WSOCK_RSV3, "parts", 5),
                 WSOCK_OK);
    WROTE(server, 0, "binary+ rsv1 \"two \"\ncontinuation \"parts\"\n");
    wsock_free(client);
    wsock_free(server);
    bytes_free(&a);
    bytes_free(&b);
}

static const test_case tests[] = {
    TEST_ENTRY(winhttp_open_request_and_complete_upgrade),
    TEST_ENTRY(winhttp_refusing_response_has_status_and_body),
    TEST_ENTRY(winhttp_connecting_fails),
    TEST_ENTRY(winhttp_synchronous_and_asynchronous),
    TEST_ENTRY(winhttp_send_message_and_fragment),
    TEST_ENTRY(winhttp_send_refuses_close_kind),
    TEST_ENTRY(winhttp_send_invalid_operation),
    TEST_ENTRY(winhttp_send_invalid_parameter),
    TEST_ENTRY(winhttp_receive_splits_large_messages),
    TEST_ENTRY(winhttp_receive_in_parts),
    TEST_ENTRY(winhttp_receive_gets_a_close_as_its_own_kind),
    TEST_ENTRY(winhttp_receive_after_close_is_an_invalid_operation),
    TEST_ENTRY(winhttp_receive_reports_an_invalid_server),
    TEST_ENTRY(winhttp_receive_is_cancelled_by_close),
    TEST_ENTRY(winhttp_send_and_receive_from_two_threads),
    TEST_ENTRY(winhttp_shutdown_keeps_receiving),
    TEST_ENTRY(winhttp_close_waits_and_discards),
    TEST_ENTRY(winhttp_close_timeout),
    TEST_ENTRY(winhttp_close_reason_is_checked),
    TEST_ENTRY(winhttp_query_close_status),
    TEST_ENTRY(winhttp_close_statuses),
    TEST_ENTRY(winhttp_connection_lost_without_a_close),
    TEST_ENTRY(winhttp_websocket_status),
    TEST_ENTRY(winhttp_async_result_names_the_operation),
    TEST_ENTRY(winhttp_keepalive_interval),
    TEST_ENTRY(winhttp_buffer_sizes),
    TEST_ENTRY(winhttp_set_timeouts),
    TEST_ENTRY(winhttp_close_handle),
    TEST_ENTRY(winhttp_close_handle_while_connecting),
    TEST_ENTRY(protocol_component_create_handles),
    TEST_ENTRY(protocol_component_buffer_sizes),
    TEST_ENTRY(protocol_component_allocated_buffer),
    TEST_ENTRY(protocol_component_disable_masking),
    TEST_ENTRY(protocol_component_disable_utf8_verification),
    TEST_ENTRY(protocol_component_global_properties),
    TEST_ENTRY(protocol_component_begin_client_handshake),
    TEST_ENTRY(protocol_component_end_client_handshake),
    TEST_ENTRY(protocol_component_server_handshake),
    TEST_ENTRY(protocol_component_server_handshake_by_choice),
    TEST_ENTRY(protocol_component_send_with_gather_list_and_context),
    TEST_ENTRY(protocol_component_ping_and_pong),
    TEST_ENTRY(protocol_component_nothing_is_sent_after_close),
    TEST_ENTRY(protocol_component_receive_without_copy),
    TEST_ENTRY(protocol_component_receive_into_a_buffer),
    TEST_ENTRY(protocol_component_get_action),
    TEST_ENTRY(protocol_component_invalid_protocol_format),
    TEST_ENTRY(protocol_component_complete_action_partly),
    TEST_ENTRY(protocol_component_abort_handle),
    TEST_ENTRY(protocol_component_delete_handle),
    TEST_ENTRY(protocol_component_reserved_bits)
};

TEST_MAIN("parity", tests)
