/* Closing: RFC 6455 5.5.1, 7.1 to 7.4, without I/O.  Close codes and reasons
 * both ways, one Close only, what may follow it, and wsock_abort(). */
#define WSOCK_IMPLEMENTATION
#include "../../wsock.h"
#include "test.h"

#define BOTH_ROLES(role, masked)                                              \
    for (role = WSOCK_CLIENT, masked = 0; role <= WSOCK_SERVER;               \
         role++, masked = 1)

/* What was written since the last time, as a log. */
static const char *written(wsock *ws, int masked, bytes *log)
{
    bytes out = { 0 };
    take_output(ws, &out);
    bytes_clear(log);
    frames_log(log, &out, masked);
    bytes_free(&out);
    return bytes_str(log);
}

/* 5.5.1, 7.1.2: we close, the peer answers. */
TEST(we_close_first)
{
    int role, masked, code = 0;
    const char *reason = NULL;
    BOTH_ROLES(role, masked) {
        wsock *ws = core_open(role, NULL);
        bytes in = { 0 }, log = { 0 }, sent = { 0 };
        wsock_event e;
        test_note("role %d", role);
        CHECK_RESULT(wsock_close_status(ws, &code, &reason),
                     WSOCK_INVALID_OPERATION);
        CHECK_RESULT(wsock_close(ws, 1000, "bye"), WSOCK_OK);
        CHECK_INT(wsock_state(ws), WSOCK_STATE_CLOSING);
        CHECK_STR(written(ws, !masked, &sent), "close 1000\n");
        CHECK_INT(drain_events(ws, &log), 0);
        frame_close(&in, masked, 1000, "bye too");
        CHECK(feed_bytes(ws, &in, &log) < 0);
        CHECK_STR(bytes_str(&log), "CLOSE 1000 \"bye too\" WSOCK_OK\n");
        CHECK_STR(written(ws, !masked, &sent), ""); /* one Close only */
        CHECK_INT(wsock_state(ws), WSOCK_STATE_CLOSED);
        CHECK_RESULT(wsock_error(ws), WSOCK_OK);
        CHECK_RESULT(wsock_close_status(ws, &code, &reason), WSOCK_OK);
        CHECK_INT(code, 1000);
        CHECK_STR(reason, "bye too");
        CHECK_INT(wsock_why(ws)->close_sent, 1000);
        CHECK_INT(wsock_why(ws)->close_received, 1000);
        CHECK_STR(wsock_why(ws)->close_reason, "bye too");
        CHECK(wsock_next(ws, &e) < 0); /* exactly one CLOSE */
        wsock_free(ws);
        bytes_free(&in);
        bytes_free(&log);
        bytes_free(&sent);
    }
}

/* 5.5.1: "If an endpoint receives a Close frame and did not previously send a
 * Close frame, the endpoint MUST send a Close frame in response", and
 * "typically echos the status code it received". */
TEST(the_peer_closes_first)
{
    int role, masked;
    BOTH_ROLES(role, masked) {
        wsock *ws = core_open(role, NULL);
        bytes in = { 0 }, log = { 0 }, sent = { 0 };
        test_note("role %d", role);
        frame_close(&in, masked, 1001, "going");
        CHECK(feed_bytes(ws, &in, &log) < 0);
        CHECK_STR(bytes_str(&log), "CLOSE 1001 \"going\" WSOCK_OK\n");
        CHECK_STR(written(ws, !masked, &sent), "close 1001\n");
        CHECK_RESULT(wsock_error(ws), WSOCK_OK);
        CHECK_RESULT(wsock_send(ws, WSOCK_TEXT, "x", 1), WSOCK_CLOSED);
        CHECK_STR(written(ws, !masked, &sent), "");
        CHECK_RESULT(wsock_close(ws, 1000, ""), WSOCK_OK);
        CHECK_STR(written(ws, !masked, &sent), "");
        wsock_free(ws);
        bytes_free(&in);
        bytes_free(&log);
        bytes_free(&sent);
    }
}

/* 7.1.5: a Close without a code is 1005 to the application, and is answered
 * by one without code: 1005 "MUST NOT be set ... by an endpoint". */
TEST(empty_closes)
{
    int role, masked, code = 0, which;
    BOTH_ROLES(role, masked) {
        wsock *ws = core_open(role, NULL);
        bytes in = { 0 }, log = { 0 }, sent = { 0 };
        test_note("role %d", role);
        frame_close(&in, masked, 0, "");
        feed_bytes(ws, &in, &log);
        CHECK_STR(bytes_str(&log), "CLOSE 1005 \"\" WSOCK_OK\n");
        CHECK_STR(written(ws, !masked, &sent), "close empty\n");
        CHECK_RESULT(wsock_close_status(ws, &code, NULL), WSOCK_OK);
        CHECK_INT(code, WSOCK_CLOSE_NO_STATUS);
        CHECK_INT(wsock_why(ws)->close_received, WSOCK_CLOSE_NO_STATUS);
        wsock_free(ws);
        for (which = 0; which <= 1; which++) {
            ws = core_open(role, NULL);
            CHECK_RESULT(wsock_close(ws, which ? 1005 : 0, NULL), WSOCK_OK);
            CHECK_STR(written(ws, !masked, &sent), "close empty\n");
            wsock_free(ws);
            /* A reason cannot stand without a code. */
            ws = core_open(role, NULL);
            CHECK_RESULT(wsock_close(ws, which ? 1005 : 0, "why"),
                         WSOCK_INVALID_PARAMETER);
            CHECK_STR(written(ws, !masked, &sent), "");
            wsock_free(ws);
        }
        bytes_free(&in);
        bytes_free(&log);
        bytes_free(&sent);
    }
}

static int code_is_valid(int code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014)
           || (code >= 3000 && code <= 4999);
}

/* 7.4: which codes may stand on the wire; the others are answered with 1002.
 */
TEST(every_close_code_from_the_peer)
{
    static const int others[] = { 1, 5, 100, 999, 5000, 5001, 9999, 32768,
                                  65535 };
    int role, masked, i, code;
    BOTH_ROLES(role, masked)
        for (i = 0; i < 4200 + 9; i++) {
            wsock *ws;
            bytes in = { 0 }, log = { 0 }, sent = { 0 };
            char want[64];
            code = i < 4200 ? i + 900 : others[i - 4200];
            /* Every code near a border, every tenth between. */
            if (i < 4200 && code > 1030 && code % 1000 > 10
                && code % 1000 < 990 && code % 50)
                continue;
            test_note("role %d, code %d", role, code);
            ws = core_open(role, NULL);
            frame_close(&in, masked, code, "r");
            feed_bytes(ws, &in, &log);
            if (code_is_valid(code)) {
                snprintf(want, sizeof want, "CLOSE %d \"r\" WSOCK_OK\n",
                         code);
                CHECK_STR(bytes_str(&log), want);
                snprintf(want, sizeof want, "close %d\n", code);
                CHECK_STR(written(ws, !masked, &sent), want);
            } else {
                CHECK_STR(bytes_str(&log),
                          "CLOSE 1006 \"\" WSOCK_PROTOCOL_ERROR\n");
                CHECK_STR(written(ws, !masked, &sent), "close 1002\n");
            }
            wsock_free(ws);
            bytes_free(&in);
            bytes_free(&log);
            bytes_free(&sent);
        }
}

TEST(every_close_code_of_ours)
{
    static const int codes[] = { -1000, -1, 1, 999, 1000, 1001, 1002, 1003,
                                 1004, 1006, 1007, 1008, 1009, 1010, 1011,
                                 1012, 1013, 1014, 1015, 1016, 1100, 2000,
                                 2999, 3000, 3999, 4000, 4999, 5000, 65535,
                                 66536, 70000 };
    int role, masked, how;
    size_t i;
    BOTH_ROLES(role, masked)
        for (how = 0; how < 2; how++)
            for (i = 0; i < sizeof codes / sizeof codes[0]; i++) {
                wsock *ws = core_open(role, NULL);
                bytes sent = { 0 };
                char want[32];
                int r = how ? wsock_close(ws, codes[i], "")
                            : wsock_shutdown(ws, codes[i], NULL);
                test_note("role %d, %s, code %d", role,
                          how ? "close" : "shutdown", codes[i]);
                if (code_is_valid(codes[i])) {
                    CHECK_RESULT(r, WSOCK_OK);
                    snprintf(want, sizeof want, "close %d\n", codes[i]);
                    CHECK_STR(written(ws, !masked, &sent), want);
                } else {
                    CHECK_RESULT(r, WSOCK_INVALID_PARAMETER);
                    CHECK_STR(written(ws, !masked, &sent), "");
                    CHECK_INT(wsock_state(ws), WSOCK_STATE_OPEN);
                    CHECK_RESULT(wsock_error(ws), WSOCK_OK);
                }
                wsock_free(ws);
                bytes_free(&sent);
            }
}

/* 5.5.1: "the body MUST begin with a 2-byte unsigned integer": one byte is
 * neither empty nor a code. */
TEST(a_close_of_one_byte_is_refused)
{
    int role, masked;
    BOTH_ROLES(role, masked) {
        wsock *ws = core_open(role, NULL);
        bytes in = { 0 }, log = { 0 }, sent = { 0 };
        frame_put(&in, FIN | 8, masked, "\x03", 1);
        feed_bytes(ws, &in, &log);
        CHECK_STR(bytes_str(&log), "CLOSE 1006 \"\" WSOCK_PROTOCOL_ERROR\n");
        CHECK_STR(written(ws, !masked, &sent), "close 1002\n");
        wsock_free(ws);
        bytes_free(&in);
        bytes_free(&log);
        bytes_free(&sent);
    }
}

/* 5.5.1, 8.1: the reason is UTF-8: 1007 if not. */
TEST(reasons_from_the_peer)
{
    int role, masked;
    BOTH_ROLES(role, masked) {
        static const char *const bad[] = { "\xFF", "ok \xC3", "\xED\xA0\x80" };
        char longest[124];
        bytes in = { 0 }, log = { 0 }, sent = { 0 };
        const char *reason = NULL;
        wsock *ws;
        size_t i;
        for (i = 0; i < 3; i++) {
            test_note("role %d, reason %lu", role, (unsigned long)i);
            ws = core_open(role, NULL);
            bytes_clear(&in);
            bytes_clear(&log);
            frame_close(&in, masked, 1000, bad[i]);
            feed_bytes(ws, &in, &log);
            CHECK_STR(bytes_str(&log),
                      "CLOSE 1006 \"\" WSOCK_INVALID_UTF8\n");
            CHECK_STR(written(ws, !masked, &sent), "close 1007\n");
            wsock_free(ws);
        }
        /* 123 bytes are the most that fit. */
        memset(longest, 'r', 123);
        longest[123] = 0;
        ws = core_open(role, NULL);
        bytes_clear(&in);
        frame_close(&in, masked, 4000, longest);
        CHECK_INT(in.size, 2 + (masked ? 4 : 0) + 125);
        feed_bytes(ws, &in, NULL);
        CHECK_RESULT(wsock_close_status(ws, NULL, &reason), WSOCK_OK);
        CHECK_STR(reason, longest);
        wsock_free(ws);
        bytes_free(&in);
        bytes_free(&log);
        bytes_free(&sent);
    }
}

TEST(reasons_of_ours)
{
    char text[125];
    bytes out = { 0 };
    frame f;
    wsock *ws = core_open(WSOCK_SERVER, NULL);
    memset(text, 'r', 124);
    text[124] = 0;
    CHECK_RESULT(wsock_shutdown(ws, 1000, text), WSOCK_INVALID_PARAMETER);
    CHECK_RESULT(wsock_close(ws, 1000, text), WSOCK_INVALID_PARAMETER);
    CHECK_RESULT(wsock_close(ws, 1000, "\xC3"), WSOCK_INVALID_PARAMETER);
    CHECK_RESULT(wsock_shutdown(ws, 1000, "\xFF"), WSOCK_INVALID_PARAMETER);
    CHECK_INT(take_output(ws, NULL), 0);
    CHECK_INT(wsock_state(ws), WSOCK_STATE_OPEN);
    text[123] = 0;
    CHECK_RESULT(wsock_close(ws, 3000, text), WSOCK_OK);
    take_output(ws, &out);
    CHECK_INT(frame_get(out.data, out.size, &f), out.size);
    CHECK_INT(f.size, 125);
    if (f.size == 125)
        CHECK_BYTES(f.payload + 2, 123, text, 123);
    wsock_free(ws);
    bytes_free(&out);
}

/* 5.5.1: "The application MUST NOT send any more data frames after sending a
 * Close frame." */
TEST(nothing_is_sent_after_close)
{
    int role, masked;
    BOTH_ROLES(role, masked) {
        wsock *ws = core_open(role, NULL);
        bytes sent = { 0 };
        test_note("role %d", role);
        CHECK_RESULT(wsock_send(ws, WSOCK_TEXT, "first", 5), WSOCK_OK);
        CHECK_RESULT(wsock_send(ws, WSOCK_BINARY, "second", 6), WSOCK_OK);
        CHECK_RESULT(wsock_shutdown(ws, 1000, "done"), WSOCK_OK);
        CHECK_RESULT(wsock_send(ws, WSOCK_TEXT, "third", 5),
                     WSOCK_INVALID_OPERATION);
        CHECK_RESULT(wsock_send(ws, WSOCK_BINARY | WSOCK_FRAGMENT, "x", 1),
                     WSOCK_INVALID_OPERATION);
        CHECK_RESULT(wsock_shutdown(ws, 1000, "again"),
                     WSOCK_INVALID_OPERATION);
        CHECK_RESULT(wsock_close(ws, 1001, "ignored now"), WSOCK_OK);
        CHECK_STR(written(ws, !masked, &sent),
                  "text \"first\"\nbinary \"second\"\nclose 1000\n");
        CHECK_RESULT(wsock_error(ws), WSOCK_OK);
        wsock_free(ws);
        bytes_free(&sent);
    }
}

/* wsock_shutdown(): messages still come; wsock_close(): they are discarded. */
TEST(shutdown_goes_on_receiving_and_close_does_not)
{
    int role, masked, how;
    BOTH_ROLES(role, masked)
        for (how = 0; how < 2; how++) {
            wsock *ws = core_open(role, NULL);
            bytes in = { 0 }, log = { 0 };
            test_note("role %d, %s", role, how ? "close" : "shutdown");
            if (how)
                CHECK_RESULT(wsock_close(ws, 1000, ""), WSOCK_OK);
            else
                CHECK_RESULT(wsock_shutdown(ws, 1000, ""), WSOCK_OK);
            frame_text(&in, 1, masked, "la");
            frame_text(&in, FIN | 0, masked, "te");
            frame_close(&in, masked, 1000, "");
            feed_bytes(ws, &in, &log);
            CHECK_STR(bytes_str(&log),
                      how ? "CLOSE 1000 \"\" WSOCK_OK\n"
                          : "TEXT \"late\"\nCLOSE 1000 \"\" WSOCK_OK\n");
            wsock_free(ws);
            bytes_free(&in);
            bytes_free(&log);
        }
}

/* Messages that stood in the fed bytes when wsock_close() was called are
 * discarded as well. */
TEST(close_between_two_events)
{
    wsock *ws = core_open(WSOCK_SERVER, NULL);
    bytes in = { 0 }, log = { 0 };
    wsock_event e;
    frame_text(&in, FIN | 1, 1, "one");
    frame_text(&in, FIN | 1, 1, "two");
    frame_close(&in, 1, 1000, "");
    CHECK_RESULT(wsock_feed(ws, in.data, in.size), WSOCK_OK);
    CHECK_INT(wsock_next(ws, &e), 1);
    CHECK_RESULT(wsock_close(ws, 1000, ""), WSOCK_OK);
    drain_events(ws, &log);
    CHECK_STR(bytes_str(&log), "CLOSE 1000 \"\" WSOCK_OK\n");
    wsock_free(ws);
    bytes_free(&in);
    bytes_free(&log);
}

/* Of what comes in nothing but the Close of code 1000 is seen, and we send
 * no more than ours. */
static void check_only_close(wsock *ws, int masked, const bytes *in,
                             bytes *log)
{
    bytes sent = { 0 };
    feed_bytes(ws, in, log);
    CHECK_STR(bytes_str(log), "CLOSE 1000 \"\" WSOCK_OK\n");
    CHECK_STR(written(ws, !masked, &sent), "close 1000\n");
    CHECK_RESULT(wsock_error(ws), WSOCK_OK);
    bytes_free(&sent);
}

/* 1.4, 5.5.1: what the peer sends behind its Close is discarded. */
TEST(data_behind_a_close_is_discarded)
{
    int role, masked;
    BOTH_ROLES(role, masked) {
        wsock *ws = core_open(role, NULL);
        bytes in = { 0 }, log = { 0 };
        test_note("role %d", role);
        frame_close(&in, masked, 1000, "");
        frame_text(&in, FIN | 1, masked, "too late");
        frame_text(&in, FIN | 9, masked, "too late");
        frame_close(&in, masked, 1001, "twice");
        bytes_text(&in, "\xFF\xFF\xFF garbage");
        check_only_close(ws, masked, &in, &log);
        wsock_free(ws);
        bytes_free(&in);
        bytes_free(&log);
    }
}

/* The stream ends after our Close, and theirs never comes. */
TEST(end_of_stream_instead_of_a_close)
{
    int role;
    for (role = WSOCK_CLIENT; role <= WSOCK_SERVER; role++) {
        wsock *ws = core_open(role, NULL);
        bytes log = { 0 };
        wsock_close(ws, 1000, "");
        take_output(ws, NULL);
        feed(ws, "", 0, &log);
        CHECK_STR(bytes_str(&log),
                  "CLOSE 1006 \"\" WSOCK_CONNECTION_LOST\n");
        CHECK_INT(wsock_why(ws)->close_sent, 1000);
        CHECK_INT(wsock_why(ws)->close_received, 0);
        wsock_free(ws);
        bytes_free(&log);
    }
}

/* Both close at the same time: each sees the other's Close, one each. */
TEST(both_close_at_once)
{
    wsock *a = core_open(WSOCK_CLIENT, NULL);
    wsock *b = core_open(WSOCK_SERVER, NULL);
    bytes log_a = { 0 }, log_b = { 0 };
    CHECK_RESULT(wsock_close(a, 1000, "from a"), WSOCK_OK);
    CHECK_RESULT(wsock_close(b, 1001, "from b"), WSOCK_OK);
    core_exchange(a, b, &log_a, &log_b);
    CHECK_STR(bytes_str(&log_a), "CLOSE 1001 \"from b\" WSOCK_OK\n");
    CHECK_STR(bytes_str(&log_b), "CLOSE 1000 \"from a\" WSOCK_OK\n");
    CHECK_INT(wsock_state(a), WSOCK_STATE_CLOSED);
    CHECK_INT(wsock_state(b), WSOCK_STATE_CLOSED);
    wsock_free(a);
    wsock_free(b);
    bytes_free(&log_a);
    bytes_free(&log_b);
}

/* Every borrowed send gets its SENT, marked, in order; then CLOSE. */
TEST(abort_gives_borrowed_memory_back)
{
    int role;
    for (role = WSOCK_CLIENT; role <= WSOCK_SERVER; role++) {
        wsock *ws = core_open(role, NULL);
        wsock_buf buf;
        bytes log = { 0 };
        wsock_event e;
        char one[] = "one", two[] = "two";
        test_note("role %d", role);
        buf.data = "borrowed";
        buf.size = 8;
        CHECK_RESULT(wsock_sendv(ws, WSOCK_TEXT | WSOCK_BORROW, &buf, 1, one),
                     WSOCK_OK);
        CHECK_RESULT(wsock_sendv(ws, WSOCK_TEXT | WSOCK_BORROW, &buf, 1, two),
                     WSOCK_OK);
        CHECK_RESULT(wsock_abort(ws), WSOCK_OK);
        drain_events(ws, &log);
        CHECK_STR(bytes_str(&log), "SENT one WSOCK_ABORTED\n"
                                   "SENT two WSOCK_ABORTED\n"
                                   "CLOSE 1006 \"\" WSOCK_ABORTED\n");
        CHECK_INT(take_output(ws, NULL), 0);
        CHECK_RESULT(wsock_error(ws), WSOCK_ABORTED);
        CHECK(wsock_next(ws, &e) < 0);
        CHECK_RESULT(wsock_abort(ws), WSOCK_OK);
        wsock_free(ws);
        bytes_free(&log);
    }
}

/* A connection that fails before OPEN also gets its one CLOSE. */
TEST(abort_before_open)
{
    wsock *ws = wsock_new(WSOCK_CLIENT, "ws://h/", NULL);
    bytes log = { 0 };
    CHECK_RESULT(wsock_abort(ws), WSOCK_OK);
    CHECK(drain_events(ws, &log) < 0);
    CHECK_STR(bytes_str(&log), "CLOSE 1006 \"\" WSOCK_ABORTED\n");
    wsock_free(ws);
    bytes_free(&log);
}

/* Closing does not lose what was queued before it, however it leaves. */
TEST(queued_messages_leave_before_the_close)
{
    wsock *a = core_open(WSOCK_CLIENT, NULL);
    wsock *b = core_open(WSOCK_SERVER, NULL);
    bytes log_a = { 0 }, log_b = { 0 }, want = { 0 };
    int i;
    for (i = 0; i < 20; i++) {
        char text[32];
        snprintf(text, sizeof text, "message %d", i);
        CHECK_RESULT(wsock_send(a, WSOCK_TEXT, text, strlen(text)), WSOCK_OK);
        bytes_format(&want, "TEXT \"%s\"\n", text);
    }
    wsock_close(a, 1000, "end");
    core_exchange(a, b, &log_a, &log_b);
    bytes_text(&want, "CLOSE 1000 \"end\" WSOCK_OK\n");
    CHECK_STR(bytes_str(&log_b), bytes_str(&want));
    CHECK_STR(bytes_str(&log_a), "CLOSE 1000 \"\" WSOCK_OK\n");
    wsock_free(a);
    wsock_free(b);
    bytes_free(&log_a);
    bytes_free(&log_b);
    bytes_free(&want);
}

/* A borrowed send in the queue of an open connection, by itself. */
static wsock *core_with_a_loan(int role, char *context)
{
    wsock *ws = core_open(role, NULL);
    wsock_buf buf;
    buf.data = "borrowed";
    buf.size = 8;
    CHECK_RESULT(wsock_sendv(ws, WSOCK_TEXT | WSOCK_BORROW, &buf, 1, context),
                 WSOCK_OK);
    return ws;
}

/* The stream ends while a borrowed send is queued: what is queued may still
 * be written, and CLOSE waits for its SENT, whatever becomes of it. */
TEST(end_of_stream_gives_borrowed_memory_back)
{
    int role, masked, how;
    BOTH_ROLES(role, masked)
        for (how = 0; how < 2; how++) {
            char one[] = "one";
            wsock *ws = core_with_a_loan(role, one);
            bytes log = { 0 }, sent = { 0 };
            wsock_event e;
            test_note("role %d, %s", role, how ? "aborted" : "written");
            CHECK_INT(feed(ws, "", 0, &log), 0);
            CHECK_STR(bytes_str(&log), "");
            CHECK(wsock_error(ws) < 0);
            if (how) {
                CHECK_RESULT(wsock_abort(ws), WSOCK_OK);
                CHECK_STR(written(ws, !masked, &sent), "");
            } else {
                CHECK_STR(written(ws, !masked, &sent), "text \"borrowed\"\n");
            }
            CHECK(drain_events(ws, &log) < 0);
            CHECK_STR(bytes_str(&log),
                      how ? "SENT one WSOCK_ABORTED\n"
                            "CLOSE 1006 \"\" WSOCK_CONNECTION_LOST\n"
                          : "SENT one WSOCK_OK\n"
                            "CLOSE 1006 \"\" WSOCK_CONNECTION_LOST\n");
            CHECK(wsock_next(ws, &e) < 0); /* exactly one CLOSE */
            wsock_free(ws);
            bytes_free(&log);
            bytes_free(&sent);
        }
}

/* The pieces that wsock_output() offered are void once the connection was
 * aborted: telling that they were written is a wrong call, and no more. */
TEST(output_done_after_abort)
{
    int role;
    for (role = WSOCK_CLIENT; role <= WSOCK_SERVER; role++) {
        char one[] = "one";
        wsock *ws = core_with_a_loan(role, one);
        bytes log = { 0 };
        wsock_buf bufs[4];
        size_t count, i, n = 0;
        test_note("role %d", role);
        count = wsock_output(ws, bufs, 4);
        for (i = 0; i < count; i++)
            n += bufs[i].size;
        CHECK(n >= 10);
        CHECK_RESULT(wsock_abort(ws), WSOCK_OK);
        CHECK_INT(wsock_queued(ws), 0);
        CHECK_RESULT(wsock_output_done(ws, n), WSOCK_INVALID_PARAMETER);
        CHECK_RESULT(wsock_output_done(ws, 1), WSOCK_INVALID_PARAMETER);
        CHECK_RESULT(wsock_output_done(ws, 0), WSOCK_OK);
        CHECK_INT(wsock_queued(ws), 0);
        CHECK(drain_events(ws, &log) < 0);
        CHECK_STR(bytes_str(&log), "SENT one WSOCK_ABORTED\n"
                                   "CLOSE 1006 \"\" WSOCK_ABORTED\n");
        wsock_free(ws);
        bytes_free(&log);
    }
}

/* After wsock_close() messages are discarded, so they cannot be too big
 * either: not in one frame, not in fragments, not with what came before. */
TEST(large_messages_are_discarded_after_close)
{
    uint8_t *data = test_pattern(3000);
    int role, masked, how;
    BOTH_ROLES(role, masked)
        for (how = 0; how < 3; how++) {
            wsock_options o;
            wsock *ws;
            bytes in = { 0 }, log = { 0 };
            memset(&o, 0, sizeof o);
            o.max_message = 1000;
            ws = core_open(role, &o);
            test_note("role %d, way %d", role, how);
            if (how == 0) { /* begun before, too large only together */
                frame_put(&in, 2, masked, data, 600);
                feed_bytes(ws, &in, &log);
                bytes_clear(&in);
            }
            CHECK_RESULT(wsock_close(ws, 1000, ""), WSOCK_OK);
            if (how == 0) {
                frame_put(&in, FIN | 0, masked, data, 600);
                frame_put(&in, FIN | 2, masked, data, 900);
            } else if (how == 1) {
                frame_put(&in, FIN | 2, masked, data, 3000);
            } else {
                frame_put(&in, 2, masked, data, 900);
                frame_put(&in, 0, masked, data, 900);
                frame_put(&in, FIN | 0, masked, data, 900);
            }
            frame_close(&in, masked, 1000, "");
            check_only_close(ws, masked, &in, &log);
            wsock_free(ws);
            bytes_free(&in);
            bytes_free(&log);
        }
    free(data);
}

/* Without I/O a paused connection reports nothing and keeps the fed bytes
 * lent; more cannot be fed until they have been read. */
TEST(pause_without_io)
{
    wsock *ws = core_open(WSOCK_SERVER, NULL);
    bytes in = { 0 }, log = { 0 };
    frame_text(&in, FIN | 1, 1, "one");
    frame_text(&in, FIN | 1, 1, "two");
    CHECK_RESULT(wsock_pause(ws, 1), WSOCK_OK);
    CHECK_RESULT(wsock_feed(ws, in.data, in.size), WSOCK_OK);
    CHECK_INT(drain_events(ws, &log), 0);
    CHECK_STR(bytes_str(&log), "");
    CHECK_RESULT(wsock_feed(ws, in.data, 1), WSOCK_INVALID_OPERATION);
    CHECK_RESULT(wsock_pause(ws, 0), WSOCK_OK);
    CHECK_INT(drain_events(ws, &log), 0);
    CHECK_STR(bytes_str(&log), "TEXT \"one\"\nTEXT \"two\"\n");
    wsock_free(ws);
    bytes_free(&in);
    bytes_free(&log);
}

static const test_case tests[] = {
    TEST_ENTRY(we_close_first),
    TEST_ENTRY(the_peer_closes_first),
    TEST_ENTRY(empty_closes),
    TEST_ENTRY(every_close_code_from_the_peer),
    TEST_ENTRY(every_close_code_of_ours),
    TEST_ENTRY(a_close_of_one_byte_is_refused),
    TEST_ENTRY(reasons_from_the_peer),
    TEST_ENTRY(reasons_of_ours),
    TEST_ENTRY(nothing_is_sent_after_close),
    TEST_ENTRY(shutdown_goes_on_receiving_and_close_does_not),
    TEST_ENTRY(close_between_two_events),
    TEST_ENTRY(data_behind_a_close_is_discarded),
    TEST_ENTRY(end_of_stream_instead_of_a_close),
    TEST_ENTRY(both_close_at_once),
    TEST_ENTRY(abort_gives_borrowed_memory_back),
    TEST_ENTRY(abort_before_open),
    TEST_ENTRY(queued_messages_leave_before_the_close),
    TEST_ENTRY(end_of_stream_gives_borrowed_memory_back),
    TEST_ENTRY(output_done_after_abort),
    TEST_ENTRY(large_messages_are_discarded_after_close),
    TEST_ENTRY(pause_without_io)
};

TEST_MAIN("close", tests)
