/* scenarios.h - one scenario for each row of the README's porting table from
 * WinHTTP that a client can show, by the names of tests/unit/test_parity.c.
 *
 * Each step prints one line, "ROW STEP|call|result|what came|own name", of
 * which the first four are to be the same whatever client runs it.  So there
 * is nothing in here that depends on what has come. */
#ifndef SCENARIOS_H
#define SCENARIOS_H

#include "client.h"
#include "pattern.h"
#include <windows.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LARGE = 1000000 };

enum { WRONG = 8 };

static struct {
    const char *base; /* the URL as far as the port */
    int port, closed; /* the server's doors */
    int wrong[WRONG]; /* those of others, whose certificates are wrong */
    const char *row;
    int step;
    char data[LARGE + 1], back[LARGE + 1];
} stage;

static const setup blocking; /* every field 0 */

/* ---------------------------------------------------------------- lines -- */

/* Details are printed of what has succeeded only. */
static void line(int result, const char *detail, const char *call, ...)
{
    va_list list;
    va_start(list, call);
    printf("%s %02d|", stage.row, ++stage.step);
    vprintf(call, list);
    va_end(list);
    printf("|%s|%s|%s\n", client_word(result), detail, client_name(result));
    fflush(stdout);
}

static void begin(const char *row, const char *name)
{
    stage.row = row;
    stage.step = 0;
    printf("%s 00|%s\n", row, name);
    fflush(stdout);
}

static const char *kind_name(unsigned kind)
{
    switch (kind) {
    case TEXT: return "TEXT";
    case BINARY: return "BINARY";
    case TEXT | FRAGMENT: return "TEXT+FRAGMENT";
    case BINARY | FRAGMENT: return "BINARY+FRAGMENT";
    case CLOSING: return "CLOSE";
    default: return "no kind";
    }
}

static const char *operation_name(int operation)
{
    static const char *const names[] = { "", "of a send", "of a receive",
                                         "of a close", "of a shutdown" };
    return names[operation];
}

static int is_short(const char *data, size_t n)
{
    size_t i;
    for (i = 0; i < n; i++)
        if (data[i] < ' ' || data[i] > '~')
            return 0;
    return n > 0 && n < 40;
}

/* Short text as it is, other data by its size and hash. */
static void describe(char *out, size_t size, int r, const status *got,
                     const char *data)
{
    size_t n = got->bytes;
    if (r != 0)
        snprintf(out, size, "%s", operation_name(got->operation));
    else if (got->kind == CLOSING)
        snprintf(out, size, "CLOSE");
    else if (got->kind == TEXT && is_short(data, n))
        snprintf(out, size, "TEXT \"%.*s\"", (int)n, data);
    else
        snprintf(out, size, "%s %u #%08x", kind_name(got->kind), (unsigned)n,
                 (unsigned)pattern_hash(0, data, n));
}

/* ---------------------------------------------------------------- steps -- */

static const char *url_of(const char *script)
{
    static char url[4096];
    snprintf(url, sizeof url, "%s:%d/%s/%d/%s", stage.base, stage.port,
             stage.row, stage.step + 1, script);
    return url;
}

/* The script is the server's, see server.c. */
static int open_with(const setup *s, const char *script)
{
    int r = client_connect(url_of(script), s);
    line(r, "", "connect to %s", script);
    return r;
}

static int open_to(const char *script)
{
    return open_with(&blocking, script);
}

static void send_data(unsigned kind, const void *data, size_t size)
{
    status done = { 0, 0, 0 };
    char text[80] = "";
    int r = client_send(kind, data, size, &done);
    if (r != 0)
        describe(text, sizeof text, r, &done, NULL);
    else if (done.kind)
        snprintf(text, sizeof text, "%s %u", kind_name(done.kind),
                 (unsigned)done.bytes);
    line(r, text, "send %s %u", kind_name(kind), (unsigned)size);
}

static void send_text(const char *text)
{
    send_data(TEXT, text, strlen(text));
}

static void send_kind(unsigned kind, size_t size)
{
    pattern_fill((uint8_t *)stage.data, size, 'b');
    send_data(kind, stage.data, size);
}

static int receive(size_t size)
{
    status got = { 0, 0, 0 };
    char text[80] = "";
    int r = client_receive(stage.back, size, &got);
    describe(text, sizeof text, r, &got, stage.back);
    line(r, text, "receive up to %u", (unsigned)size);
    return r;
}

/* However many receives of this size it takes: one line. */
static void receive_whole(size_t size)
{
    status got = { FRAGMENT, 0, 0 };
    size_t at = 0, room;
    char text[80] = "";
    int r = 0;
    while (r == 0 && (got.kind & FRAGMENT) && at < LARGE) {
        room = LARGE - at < size ? LARGE - at : size;
        r = client_receive(stage.back + at, room, &got);
        at += r == 0 ? got.bytes : 0;
    }
    got.bytes = at;
    describe(text, sizeof text, r, &got, stage.back);
    line(r, text, "receive a message by %u", (unsigned)size);
}

/* What a Close is called with, in the same way. */
static const char *close_name(const char *call, int code, const char *reason)
{
    static char name[80];
    size_t n = reason ? strlen(reason) : 0;
    if (n == 0 || is_short(reason, n))
        snprintf(name, sizeof name, "%s %d \"%s\"", call, code,
                 reason ? reason : "");
    else
        snprintf(name, sizeof name, "%s %d, %u bytes #%08x", call, code,
                 (unsigned)n, (unsigned)pattern_hash(0, reason, n));
    return name;
}

static void shut(int code, const char *reason)
{
    int r = client_shutdown(code, reason);
    line(r, "", "%s", close_name("shutdown", code, reason));
}

static void close_with(int code, const char *reason)
{
    status done = { 0, 0, 0 };
    int r = client_close(code, reason, &done);
    line(r, operation_name(done.operation), "%s",
         close_name("close", code, reason));
}

static void query_into(size_t size)
{
    char reason[128] = "", text[200] = "";
    int code = 0, r;
    size_t needed = 0;
    r = client_close_status(&code, reason, size, &needed);
    if (r == 0)
        snprintf(text, sizeof text, "%d \"%.*s\"", code, (int)needed, reason);
    line(r, text, "query close status, %u bytes", (unsigned)size);
}

static void query(void)
{
    query_into(123);
}

/* The usual end. */
static void finish(void)
{
    close_with(1000, "");
    client_free();
}

/* ========================================================== connecting == */

static void W1(void)
{
    setup s = blocking;
    char text[64];
    begin("W1", "open_request_and_complete_upgrade");
    s.header = "X-Token: abc";
    s.subprotocol = "chat, echo";
    s.user = &stage;
    open_with(&s, "echo");
    line(0, client_user() == &stage ? "the same" : "another", "user pointer");
    client_header("X-Token", text, sizeof text);
    line(0, text, "header X-Token");
    client_header("X-Room", text, sizeof text);
    line(0, text, "header X-Room");
    client_header("Sec-WebSocket-Protocol", text, sizeof text);
    line(0, text, "header Sec-WebSocket-Protocol");
    finish();
}

static void W2(void)
{
    static const int codes[] = { 403, 404, 302, 401, 503, 200 };
    size_t i, n;
    char text[64], script[32], detail[160];
    begin("W2", "refusing_response_has_status_and_body");
    for (i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        snprintf(script, sizeof script, "status:%d", codes[i]);
        open_to(script);
        n = client_body(text, sizeof text);
        snprintf(detail, sizeof detail, "%d \"%.*s\"", client_http_status(),
                 (int)n, text);
        line(0, detail, "status and body");
        client_header("Location", text, sizeof text);
        line(0, text, "header Location");
        client_free();
    }
}

static void W3(void)
{
    static const char *const urls[] = { "ws://", "ws://h:99999/", "ftp://h/",
                                        "ws://127.0.0.1:1/",
                                        "ws://no-such-host.invalid/" };
    size_t i;
    begin("W3", "connecting_fails");
    for (i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        int r = client_connect(urls[i], &blocking);
        line(r, "", "connect to %s", urls[i]);
        client_free();
    }
}

static void W4(void)
{
    setup s = blocking;
    begin("W4", "synchronous_and_asynchronous");
    for (s.asynchronous = 0; s.asynchronous < 2; s.asynchronous++) {
        open_with(&s, "echo");
        send_text("hi");
        receive(256);
        send_kind(BINARY, 3000);
        receive_whole(4096);
        shut(1000, "end");
        receive(256);
        query();
        finish();
    }
}

/* ============================================================= sending == */

static void W5(void)
{
    static const size_t sizes[] = { 0, 1, 125, 126, 65535, 65536, LARGE };
    size_t i;
    unsigned kind;
    begin("W5", "send_message_and_fragment");
    open_to("report");
    for (kind = TEXT; kind <= BINARY; kind++)
        for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            send_kind(kind, sizes[i]);
            receive(256);
        }
    send_kind(BINARY | FRAGMENT, 0);
    send_kind(BINARY, 5);
    receive(256);
    finish();
    open_to("parts");
    for (i = 0; i < 8; i++) {
        static const unsigned kinds[8] = {
            TEXT | FRAGMENT, TEXT | FRAGMENT, TEXT, BINARY | FRAGMENT, BINARY,
            TEXT, BINARY | FRAGMENT, BINARY
        };
        send_kind(kinds[i], i == 4 ? 0 : 10 * i + 1);
        receive(256);
    }
    send_data(TEXT, NULL, 0);
    receive(256);
    finish();
}

static void W6(void)
{
    begin("W6", "send_refuses_close_kind");
    open_to("echo");
    send_data(CLOSING, "\x03\xE8", 2);
    send_data(CLOSING, NULL, 0);
    send_text("still open");
    receive(256);
    finish();
}

/* Until one is not taken, since the peer takes nothing. */
static void send_without_end(void)
{
    int i, r = 0;
    for (i = 0; i < 100 && r == 0; i++)
        r = client_send_begin(BINARY, stage.data, LARGE);
    line(r, "", "a send that is too much");
}

static void W7(void)
{
    setup s = blocking;
    begin("W7", "send_invalid_operation");
    for (s.asynchronous = 0; s.asynchronous < 2; s.asynchronous++) {
        open_with(&s, "report");
        send_kind(BINARY | FRAGMENT, 1);
        send_data(TEXT, "text inside", 11);
        send_kind(BINARY, 1);
        receive(256);
        shut(1000, "");
        send_text("after shutdown");
        shut(1000, "");
        receive(256);
        send_text("after the peer's Close");
        close_with(1000, "");
        send_text("after close");
        shut(1000, "");
        close_with(1000, "");
        client_free();
    }
    s.asynchronous = 1;
    open_with(&s, "hold");
    send_without_end();
    client_free();
}

static void W8(void)
{
    begin("W8", "send_invalid_parameter");
    open_to("echo");
    send_data(NO_KIND, "x", 1);
    send_data(TEXT, NULL, 1);
    send_data(BINARY | FRAGMENT, NULL, 1);
    send_text("good");
    receive(256);
    finish();
}

/* =========================================================== receiving == */

static void W9(void)
{
    static const char *const scripts[] = {
        "send:b:1000:1000", "send:b:1000:500", "send:b:1000:7",
        "send:u:999:999", "send:t:0:0", "send:b:1:1", "part:t:0/last:t:5"
    };
    static const char *const large[] = {
        "send:b:125:0", "send:b:126:0", "send:b:65535:0", "send:t:65536:0",
        "send:b:1000000:1000000", "send:t:1000000:65536",
        "send:u:999999:10001", "pings:1/text:one/pings:2/text:two"
    };
    size_t i;
    int r;
    begin("W9", "receive_splits_large_messages");
    for (i = 0; i < sizeof scripts / sizeof scripts[0]; i++) {
        open_to(scripts[i]);
        receive_whole(256);
        finish();
    }
    for (i = 0; i < sizeof large / sizeof large[0]; i++) {
        open_to(large[i]);
        receive_whole(100000);
        if (i == 7)
            receive_whole(100000);
        finish();
    }
    open_to("send:b:1000:0"); /* one frame: nothing but the buffer splits */
    for (i = 0; i < 4; i++)
        receive(256);
    finish();
    open_to("sleep:700/text:slow");
    receive(256);
    r = client_receive(NULL, 5, NULL);
    line(r, "", "receive into NULL");
    receive(0);
    finish();
}

static void W10(void)
{
    setup s = blocking;
    begin("W10", "receive_in_parts");
    s.parts = 1;
    for (s.asynchronous = 0; s.asynchronous < 2; s.asynchronous++) {
        int i;
        open_with(&s, "part:b:100/wait/part:b:200/wait/last:b:0/wait/"
                      "part:t:5/wait/last:t:50");
        for (i = 0; i < 5; i++) {
            receive(4096);
            if (i < 4)
                send_text("go on");
        }
        finish();
    }
}

static void W11(void)
{
    setup s = blocking;
    begin("W11", "receive_gets_a_close_as_its_own_kind");
    for (s.asynchronous = 0; s.asynchronous < 2; s.asynchronous++) {
        open_with(&s, "text:last/shut:1001:going");
        receive(256);
        receive(256);
        query();
        finish();
    }
}

static void W12(void)
{
    setup s = blocking;
    begin("W12", "receive_after_close_is_an_invalid_operation");
    for (s.asynchronous = 0; s.asynchronous < 2; s.asynchronous++) {
        open_with(&s, "shut:1000:");
        receive(256);
        receive(256);
        receive(256);
        send_text("x");
        finish();
        open_with(&s, "echo");
        close_with(1000, "");
        receive(256);
        client_free();
    }
    s.asynchronous = 0;
    s.pending = 1;
    open_with(&s, "wait/sleep:1000/text:late");
    client_receive_begin(stage.back, 256);
    send_text("a receive is pending");
    line(client_receive(stage.data, 256, NULL), "", "a second receive");
    {
        status got = { 0, 0, 0 };
        char text[80];
        int r = client_receive_end(&got);
        describe(text, sizeof text, r, &got, stage.back);
        line(r, text, "the first receive");
    }
    finish();
}

/* The step is called after what is wrong. */
static void receive_of(const char *what)
{
    status got = { 0, 0, 0 };
    char text[80] = "";
    int r = client_receive(stage.back, 256, &got);
    describe(text, sizeof text, r, &got, stage.back);
    line(r, text, "receive %s", what);
}

static void W13(void)
{
    static const struct {
        const char *what, *bytes; /* with the code that is the answer */
    } wrong[] = {
        { "a reserved bit", "c10178/1002" },
        { "a reserved opcode", "8301aa/1002" },
        { "a masked frame", "818101020304aa/1002" },
        { "a continuation of nothing", "800178/1002" },
        { "a Close of one byte", "880103/1002" },
        { "a Close of 126 bytes", "887e007e/1002" },
        { "text inside a binary message", "020161810162/1002" },
        { "a length of 64 bits with the top one", "827f8000000000000000/1002" },
        { "text that is not UTF-8", "8102c0af/1007" },
        { "text that ends inside a character", "8102e282/1007" },
        { "a length that is not minimal", "827e000178/1002" },
        { "a ping that is not whole", "0900/1002" },
        { "a Close with 1005", "880203ed/1002" },
        { "a Close with 999", "880203e7/1002" },
        { "a reason that is not UTF-8", "880303e8ff/1007" }
    };
    size_t i;
    char script[80];
    begin("W13", "receive_reports_an_invalid_server");
    for (i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        snprintf(script, sizeof script, "raw:%s/shut:1000:", wrong[i].bytes);
        client_connect(url_of(script), &blocking);
        line(0, script, "%s", wrong[i].what);
        receive_of(wrong[i].what);
        client_free();
    }
}

static void W14(void)
{
    setup s = blocking;
    status got = { 0, 0, 0 };
    int r;
    begin("W14", "receive_is_cancelled_by_close");
    s.pending = 1;
    open_with(&s, "echo");
    r = client_receive_begin(stage.back, 256);
    line(r, "", "begin to receive");
    query();
    close_with(1000, "bye");
    r = client_receive_end(&got);
    line(r, operation_name(got.operation), "the receive");
    query();
    client_free();
}

static volatile uint32_t received_hash;

static DWORD WINAPI receive_many(void *count)
{
    static char data[10000];
    status got = { 0, 0, 0 };
    size_t left = (size_t)*(int *)count * sizeof data;
    uint32_t hash = 0;
    while (left && client_receive(data, sizeof data, &got) == 0) {
        hash = pattern_hash(hash, data, got.bytes);
        left -= got.bytes;
    }
    *(int *)count = (int)left;
    received_hash = hash;
    return 0;
}

static void W15(void)
{
    int left = 200, i, r = 0;
    char text[80];
    HANDLE thread;
    status done;
    begin("W15", "send_and_receive_from_two_threads");
    open_to("echo");
    thread = CreateThread(NULL, 0, receive_many, &left, 0, NULL);
    pattern_fill((uint8_t *)stage.data, 10000, 'b');
    for (i = 0; i < 200 && r == 0; i++) {
        stage.data[0] = (char)i;
        r = client_send(BINARY, stage.data, 10000, &done);
    }
    line(r, "", "send 200 messages of 10000");
    WaitForSingleObject(thread, INFINITE);
    CloseHandle(thread);
    snprintf(text, sizeof text, "%d bytes missing, #%08x", left,
             (unsigned)received_hash);
    line(0, text, "received by the other thread");
    finish();
}

/* ============================================================= closing == */

static void W16(void)
{
    setup s = blocking;
    begin("W16", "shutdown_keeps_receiving");
    for (s.asynchronous = 0; s.asynchronous < 2; s.asynchronous++) {
        open_with(&s, "text:late/part:b:10/last:b:20");
        shut(1000, "done");
        receive(256);
        receive_whole(256);
        receive(256);
        query();
        finish();
    }
}

static void W17(void)
{
    setup s = blocking;
    begin("W17", "close_waits_and_discards");
    for (s.asynchronous = 0; s.asynchronous < 2; s.asynchronous++) {
        open_with(&s, "text:discarded/send:b:100000:1000");
        close_with(1000, "bye");
        query();
        client_free();
        open_with(&s, "text:discarded");
        shut(1000, "first");
        close_with(1001, "second");
        query();
        client_free();
        open_with(&s, "shut:1001:server");
        receive(256);
        close_with(1000, "client");
        query();
        client_free();
    }
}

static void W18(void)
{
    setup s = blocking;
    begin("W18", "close_timeout");
    s.close_timeout = 300;
    if (open_with(&s, "hold") == 0)
        finish();
    else
        client_free();
}

static void W19(void)
{
    char reason[125];
    int how;
    begin("W19", "close_reason_is_checked");
    memset(reason, 'r', 124);
    reason[124] = 0;
    for (how = 0; how < 2; how++) {
        void (*end)(int, const char *) = how ? close_with : shut;
        open_to("echo");
        end(1000, reason); /* one byte too many */
        send_text("still open");
        receive(256);
        end(1000, reason + 1);
        client_free();
        open_to("echo");
        end(1000, "\xC3\xA9");
        client_free();
        open_to("echo");
        end(1000, NULL);
        client_free();
        open_to("echo/not-utf8");
        end(1000, "\xFF");
        client_free();
    }
}

static void W20(void)
{
    begin("W20", "query_close_status");
    open_to("shut:1000:bye");
    query();
    receive(256);
    query();
    query_into(2);
    query_into(3);
    finish();
    open_to("shut:4999:");
    receive(256);
    query();
    query_into(0);
    close_with(4999, "");
    client_free();
    open_to("shut:0:");
    receive(256);
    query();
    finish();
}

static void W21(void)
{
    enum { RECEIVED = 12 }; /* how many of these the server may send too */
    static const int codes[] = { 1000, 1001, 1002, 1003, 1005, 1007, 1008,
                                 1009, 1010, 1011, 3000, 4999, 1006, 1015,
                                 1004, 999, 2999, 5000 };
    size_t i;
    begin("W21", "close_statuses");
    for (i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        char script[32];
        if (i < RECEIVED && codes[i] != 1005) {
            snprintf(script, sizeof script, "shut:%d:", codes[i]);
            open_to(script);
            receive(256);
            query();
            close_with(codes[i], "");
            client_free();
        }
        snprintf(script, sizeof script, "echo/%d", codes[i]);
        open_to(script);
        shut(codes[i], "");
        client_free();
    }
}

static void W22(void)
{
    setup s = blocking;
    begin("W22", "connection_lost_without_a_close");
    for (s.asynchronous = 0; s.asynchronous < 2; s.asynchronous++) {
        open_with(&s, "text:last/wait/abort");
        receive(256);
        send_text("go");
        receive(256);
        query();
        client_free();
        /* 3 of 10 bytes of a frame */
        open_with(&s, "raw:820a616263/sleep:300/abort");
        receive_whole(256);
        client_free();
        open_with(&s, "part:b:10/sleep:300/abort");
        receive_whole(256);
        client_free();
    }
}

/* ================================================= results and options == */

static void W23(void)
{
    setup s = blocking;
    begin("W23", "websocket_status");
    s.asynchronous = 1;
    open_with(&s, "report");
    send_kind(TEXT, 5);
    receive(256);
    send_kind(BINARY | FRAGMENT, 300);
    send_kind(BINARY, 0);
    receive(256);
    send_kind(BINARY, LARGE);
    receive(256);
    finish();
    open_to("part:b:3/last:b:2");
    receive_whole(3);
    finish();
}

static void W24(void)
{
    setup s = blocking;
    begin("W24", "async_result_names_the_operation");
    s.asynchronous = 1;
    open_with(&s, "raw:c10178/sleep:300/abort");
    receive(256);
    client_free();
    open_with(&s, "wait/abort");
    send_text("go");
    receive(256);
    client_free();
    open_with(&s, "sleep:300/fin/hold");
    finish();
}

static void W25(void)
{
    setup s = blocking;
    begin("W25", "keepalive_interval");
    s.keepalive = 14999;
    open_with(&s, "echo");
    client_free();
    s.keepalive = 15000;
    open_with(&s, "alive");
    receive(256);
    finish();
}

static void W26(void)
{
    setup s = blocking;
    begin("W26", "buffer_sizes");
    s.receive_buffer = s.send_buffer = 4096;
    open_with(&s, "echo");
    send_kind(BINARY, 100000);
    receive_whole(10000);
    finish();
}

static void W27(void)
{
    setup s = blocking;
    char url[80];
    int r;
    begin("W27", "set_timeouts");
    s.response_timeout = 500;
    open_with(&s, "mute");
    client_free();
    s.connect_timeout = 500;
    snprintf(url, sizeof url, "ws://127.0.0.1:%d/", stage.closed);
    r = client_connect(url, &s);
    line(r, "", "connect to a full queue");
    client_free();
}

static void W28(void)
{
    setup s = blocking;
    status got = { 0, 0, 0 };
    int r;
    begin("W28", "close_handle");
    s.pending = 1;
    open_with(&s, "echo");
    r = client_receive_begin(stage.back, 256);
    line(r, "", "begin to receive");
    client_free();
    r = client_receive_end(&got);
    line(r, "", "the receive");
}

static void W29(void)
{
    setup s = blocking;
    begin("W29", "close_handle_while_connecting");
    s.pending = 1;
    client_connect_begin(url_of("mute"), &s);
    line(0, "", "begin to connect");
    Sleep(300);
    client_free();
    line(client_connect_end(), "", "the connect");
}

/* ================================================================= TLS == */

/* To servers whose certificates are wrong, in this order: as they are, and
 * when anyone will do. */
static void W30(void)
{
    static const char *const wrong[] = { "unknown_root", "self_signed",
                                         "wrong_name", "expired", "future",
                                         "client_use" };
    setup s = blocking;
    size_t i;
    int port = stage.port;
    begin("W30", "certificates_are_checked");
    for (s.anyone = 0; s.anyone < 2; s.anyone++)
        for (i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
            char script[40];
            snprintf(script, sizeof script, "echo/%s", wrong[i]);
            stage.port = stage.wrong[i];
            if (open_with(&s, script) == 0) {
                send_text("hi");
                receive(256);
                finish();
            } else {
                client_free();
            }
        }
    stage.port = port;
}

/* ---------------------------------------------------------------- main -- */

static void (*const scenarios[])(void) = {
    W1, W2, W3, W4, W5, W6, W7, W8, W9, W10, W11, W12, W13, W14, W15,
    W16, W17, W18, W19, W20, W21, W22, W23, W24, W25, W26, W27, W28, W29,
    W30
};

/* BASE PORT CLOSED-PORT WRONG-PORT,... NUMBER...
 * BASE is "ws://host"; the wrong ports are W30's. */
int main(int argc, char **argv)
{
    int i, a, count = (int)(sizeof scenarios / sizeof scenarios[0]);
    const char *wrong;
    if (argc < 5)
        return 2;
    stage.base = argv[1];
    stage.port = atoi(argv[2]);
    stage.closed = atoi(argv[3]);
    for (i = 0, wrong = argv[4]; wrong && i < WRONG; i++) {
        stage.wrong[i] = atoi(wrong);
        wrong = strchr(wrong, ',');
        wrong += wrong != NULL;
    }
    for (a = 5; a < argc; a++)
        if (atoi(argv[a]) >= 1 && atoi(argv[a]) <= count)
            scenarios[atoi(argv[a]) - 1]();
    return 0;
}

#endif
