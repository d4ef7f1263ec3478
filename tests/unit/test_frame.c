/* Frames as RFC 6455 section 5 wants them: every form that is allowed is
 * read, every form that is not fails the connection with the right code.
 * Each rule is shown for both roles. */
#define WSOCK_IMPLEMENTATION
#include "../../wsock.h"
#include "test.h"

/* Feeds `in` to an open connection, checks the events, and the frames that
 * it sends; `sent` may be a prefix, since the close reason is free text. */
static void check_fed(int role, const wsock_options *o, bytes *in,
                      const char *events, const char *sent)
{
    wsock *ws = core_open(role, o);
    bytes out = { 0 }, log = { 0 }, wrote = { 0 };
    feed_bytes(ws, in, &log);
    CHECK_STR(bytes_str(&log), events);
    take_output(ws, &out);
    frames_log(&wrote, &out, role == WSOCK_CLIENT);
    if (strncmp(bytes_str(&wrote), sent, strlen(sent)) || !sent[0])
        CHECK_STR(bytes_str(&wrote), sent);
    wsock_free(ws);
    bytes_free(&out);
    bytes_free(&log);
    bytes_free(&wrote);
    bytes_clear(in);
}

static void check_violation(int role, bytes *in, int result, int code)
{
    char events[80], sent[40];
    snprintf(events, sizeof events, "CLOSE 1006 \"\" %s\n",
             wsock_result_name(result));
    snprintf(sent, sizeof sent, "close %d", code);
    check_fed(role, NULL, in, events, sent);
}

/* Both roles in turn; `masked` is how the peer has to send. */
#define BOTH_ROLES(role, masked)                                              \
    for (role = WSOCK_CLIENT, masked = 0; role <= WSOCK_SERVER;               \
         role++, masked = 1)

/* 5.2: the three forms of a length, at both sides of each border. */
TEST(every_length_class_is_read)
{
    static const size_t sizes[] = { 0, 1, 125, 126, 127, 128, 65534, 65535,
                                    65536, 65537 };
    uint8_t *data = test_pattern(70000);
    int role, masked;
    size_t i;
    BOTH_ROLES(role, masked)
        for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            bytes in = { 0 }, want = { 0 };
            test_note("role %d, %lu bytes", role, (unsigned long)sizes[i]);
            frame_put(&in, FIN | 2, masked, data, sizes[i]);
            bytes_text(&want, "BINARY");
            log_data(&want, data, sizes[i]);
            bytes_text(&want, "\n");
            check_fed(role, NULL, &in, bytes_str(&want), "");
            bytes_free(&in);
            bytes_free(&want);
        }
    free(data);
}

/* 5.2: "the minimal number of bytes MUST be used to encode the length";
 * 5.1: a client masks, a server does not; 5.3: keys are not repeated. */
TEST(every_length_class_is_written)
{
    static const size_t sizes[] = { 0, 1, 125, 126, 127, 65535, 65536,
                                    100000 };
    uint8_t *data = test_pattern(100000);
    int role;
    size_t i, used;
    frame f;
    for (role = WSOCK_CLIENT; role <= WSOCK_SERVER; role++) {
        wsock *ws = core_open(role, NULL);
        for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            bytes out = { 0 };
            test_note("role %d, %lu bytes", role, (unsigned long)sizes[i]);
            CHECK_RESULT(wsock_send(ws, WSOCK_BINARY, data, sizes[i]),
                         WSOCK_OK);
            take_output(ws, &out);
            used = frame_get(out.data, out.size, &f);
            CHECK_INT(used, out.size);
            if (used) {
                CHECK_INT(f.first, FIN | 2);
                CHECK(f.minimal);
                CHECK_INT(f.masked, role == WSOCK_CLIENT);
                CHECK_BYTES(f.payload, f.size, data, sizes[i]);
            }
            bytes_free(&out);
        }
        wsock_free(ws);
    }
    free(data);
}

/* 5.3: "The masking key needs to be unpredictable": here at least each frame
 * has a new one, drawn from the random source that was given. */
TEST(masking_keys_change)
{
    test_system s;
    wsock_options o;
    wsock *ws;
    bytes out = { 0 };
    uint8_t keys[64][4];
    size_t used, i, k;
    frame f;
    test_system_init(&s);
    memset(&o, 0, sizeof o);
    o.system = &s.system;
    ws = core_open(WSOCK_CLIENT, &o);
    for (i = 0; i < 64; i++) {
        bytes_clear(&out);
        wsock_send(ws, WSOCK_TEXT, "x", 1);
        take_output(ws, &out);
        used = frame_get(out.data, out.size, &f);
        CHECK_INT(used, out.size);
        memcpy(keys[i], f.key, 4);
        for (k = 0; k < i; k++)
            CHECK(memcmp(keys[k], keys[i], 4) != 0);
    }
    wsock_free(ws);
    bytes_free(&out);
    CHECK_NO_LEAK(&s);
}

/* 5.2: "the minimal number of bytes MUST be used". */
TEST(longer_forms_of_a_length_are_refused)
{
    static const struct {
        int form;
        uint64_t length;
    } cases[] = { { 16, 0 },  { 16, 1 },   { 16, 125 },  { 64, 0 },
                  { 64, 125 }, { 64, 126 }, { 64, 65535 } };
    int role, masked;
    size_t i;
    BOTH_ROLES(role, masked)
        for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            bytes in = { 0 };
            test_note("role %d, form %d, length %lu", role, cases[i].form,
                      (unsigned long)cases[i].length);
            frame_header(&in, FIN | 2, masked, cases[i].form,
                         cases[i].length);
            check_violation(role, &in, WSOCK_PROTOCOL_ERROR, 1002);
            bytes_free(&in);
        }
}

/* 5.2: of 64 bits "the most significant bit MUST be 0". */
TEST(the_top_bit_of_a_length_is_refused)
{
    int role, masked;
    BOTH_ROLES(role, masked) {
        bytes in = { 0 };
        test_note("role %d", role);
        frame_header(&in, FIN | 2, masked, 64, (uint64_t)1 << 63);
        check_violation(role, &in, WSOCK_PROTOCOL_ERROR, 1002);
        frame_header(&in, FIN | 2, masked, 64, UINT64_MAX);
        check_violation(role, &in, WSOCK_PROTOCOL_ERROR, 1002);
        bytes_free(&in);
    }
}

/* 10.4: a length that could never be taken is refused when its header has
 * come, and nothing is allocated for it. */
TEST(a_huge_length_is_too_big_at_once)
{
    int role, masked;
    BOTH_ROLES(role, masked) {
        bytes in = { 0 };
        test_note("role %d", role);
        frame_header(&in, FIN | 2, masked, 64, INT64_MAX);
        check_violation(role, &in, WSOCK_TOO_BIG, 1009);
        frame_header(&in, FIN | 2, masked, 64, (uint64_t)16 * 1024 * 1024 + 1);
        check_violation(role, &in, WSOCK_TOO_BIG, 1009);
        bytes_free(&in);
    }
}

/* 5.2: "If an unknown opcode is received, the receiving endpoint MUST _Fail
 * the WebSocket Connection_." */
TEST(reserved_opcodes_are_refused)
{
    static const unsigned opcodes[] = { 3, 4, 5, 6, 7, 11, 12, 13, 14, 15 };
    int role, masked;
    size_t i;
    BOTH_ROLES(role, masked)
        for (i = 0; i < sizeof opcodes / sizeof opcodes[0]; i++) {
            bytes in = { 0 };
            test_note("role %d, opcode %u", role, opcodes[i]);
            frame_text(&in, FIN | opcodes[i], masked, "");
            check_violation(role, &in, WSOCK_PROTOCOL_ERROR, 1002);
            frame_text(&in, opcodes[i], masked, "abc");
            check_violation(role, &in, WSOCK_PROTOCOL_ERROR, 1002);
            bytes_free(&in);
        }
}

/* 5.2: RSV "MUST be 0 unless an extension is negotiated". */
TEST(reserved_bits_are_refused)
{
    static const unsigned opcodes[] = { 0, 1, 2, 8, 9, 10 };
    int role, masked;
    unsigned rsv;
    size_t i;
    BOTH_ROLES(role, masked)
        for (i = 0; i < sizeof opcodes / sizeof opcodes[0]; i++)
            for (rsv = 0x10; rsv <= 0x70; rsv += 0x10) {
                bytes in = { 0 };
                test_note("role %d, opcode %u, RSV %02x", role, opcodes[i],
                          rsv);
                frame_text(&in, FIN | rsv | opcodes[i], masked, "");
                check_violation(role, &in, WSOCK_PROTOCOL_ERROR, 1002);
                bytes_free(&in);
            }
}

static void check_mask_refused(int role, int masked)
{
    static const unsigned opcodes[] = { 1, 2, 8, 9, 10 };
    size_t i;
    bytes in = { 0 };
    for (i = 0; i < sizeof opcodes / sizeof opcodes[0]; i++) {
        test_note("opcode %u", opcodes[i]);
        frame_text(&in, FIN | opcodes[i], masked, "");
        check_violation(role, &in, WSOCK_PROTOCOL_ERROR, 1002);
    }
    bytes_free(&in);
}

/* 5.1: "A server MUST close the connection upon receiving a frame that is
 * not masked"; 1002 is what it names. */
TEST(a_server_refuses_unmasked_frames)
{
    check_mask_refused(WSOCK_SERVER, 0);
}

/* 5.1: "A client MUST close a connection if it detects a masked frame." */
TEST(a_client_refuses_masked_frames)
{
    check_mask_refused(WSOCK_CLIENT, 1);
}

/* WSOCK_UNSAFE_NO_MASKING: a server takes both, a client's keys are zero (a
 * server of another make still wants the mask bit). */
TEST(no_masking_when_asked)
{
    wsock_options o;
    bytes in = { 0 }, out = { 0 };
    static const uint8_t zero[4] = { 0, 0, 0, 0 };
    frame f;
    wsock *ws;
    memset(&o, 0, sizeof o);
    o.flags = WSOCK_UNSAFE_NO_MASKING;
    frame_text(&in, FIN | 1, 0, "plain");
    frame_text(&in, FIN | 1, 1, "masked");
    frame_text(&in, FIN | 9, 0, "p");
    check_fed(WSOCK_SERVER, &o, &in,
              "TEXT \"plain\"\nTEXT \"masked\"\nPING \"p\"\n", "pong \"p\"");
    ws = core_open(WSOCK_CLIENT, &o);
    CHECK_RESULT(wsock_send(ws, WSOCK_TEXT, "hello", 5), WSOCK_OK);
    take_output(ws, &out);
    CHECK_INT(frame_get(out.data, out.size, &f), 11);
    CHECK_INT(f.masked, 1);
    CHECK_BYTES(f.key, 4, zero, 4);
    CHECK_BYTES(f.payload, f.size, "hello", 5);
    wsock_free(ws);
    bytes_free(&in);
    bytes_free(&out);
}

/* 5.5: "All control frames MUST have a payload length of 125 bytes or less
 * and MUST NOT be fragmented." */
TEST(control_frames_are_short_and_whole)
{
    uint8_t *data = test_pattern(200);
    unsigned op;
    int role, masked;
    BOTH_ROLES(role, masked)
        for (op = 8; op <= 10; op++) {
            bytes in = { 0 };
            test_note("role %d, opcode %u", role, op);
            frame_put(&in, FIN | op, masked, data, 126);
            check_violation(role, &in, WSOCK_PROTOCOL_ERROR, 1002);
            frame_header(&in, FIN | op, masked, 64, 70000);
            check_violation(role, &in, WSOCK_PROTOCOL_ERROR, 1002);
            frame_put(&in, op, masked, data, 2);
            check_violation(role, &in, WSOCK_PROTOCOL_ERROR, 1002);
            bytes_free(&in);
        }
    free(data);
}

/* 5.5.2, 5.5.3: a ping is answered with its own payload, up to 125 bytes. */
TEST(pings_are_answered)
{
    uint8_t *data = test_pattern(125);
    int role, masked;
    size_t n;
    BOTH_ROLES(role, masked)
        for (n = 0; n <= 125; n += 25) {
            wsock *ws = core_open(role, NULL);
            bytes in = { 0 }, out = { 0 }, log = { 0 };
            frame f;
            test_note("role %d, %lu bytes", role, (unsigned long)n);
            frame_put(&in, FIN | 9, masked, data, n);
            feed_bytes(ws, &in, &log);
            CHECK(!strncmp(bytes_str(&log), "PING", 4));
            take_output(ws, &out);
            CHECK_INT(frame_get(out.data, out.size, &f), out.size);
            CHECK_INT(f.first, FIN | 10);
            CHECK_INT(f.masked, !masked);
            CHECK_BYTES(f.payload, f.size, data, n);
            wsock_free(ws);
            bytes_free(&in);
            bytes_free(&out);
            bytes_free(&log);
        }
    free(data);
}

/* 5.5.3: "A Pong frame MAY be sent unsolicited ... A response to an
 * unsolicited Pong frame is not expected." */
TEST(pongs_are_reported_and_not_answered)
{
    int role, masked;
    BOTH_ROLES(role, masked) {
        bytes in = { 0 };
        frame_text(&in, FIN | 10, masked, "nobody asked");
        check_fed(role, NULL, &in, "PONG \"nobody asked\"\n", "");
        bytes_free(&in);
    }
}

/* 5.4: a continuation needs something to continue. */
TEST(continuation_without_start_is_refused)
{
    int role, masked;
    BOTH_ROLES(role, masked) {
        bytes in = { 0 };
        test_note("role %d", role);
        frame_text(&in, FIN | 0, masked, "tail");
        check_violation(role, &in, WSOCK_PROTOCOL_ERROR, 1002);
        frame_text(&in, 0, masked, "part");
        check_violation(role, &in, WSOCK_PROTOCOL_ERROR, 1002);
        /* After a whole message there is nothing to continue either. */
        frame_text(&in, FIN | 1, masked, "whole");
        frame_text(&in, FIN | 0, masked, "tail");
        check_fed(role, NULL, &in,
                  "TEXT \"whole\"\nCLOSE 1006 \"\" WSOCK_PROTOCOL_ERROR\n",
                  "close 1002");
        bytes_free(&in);
    }
}

/* 5.4: "the fragments of one message MUST NOT be interleaved" with another's.
 */
TEST(new_message_inside_a_message_is_refused)
{
    unsigned first, second;
    int role, masked;
    BOTH_ROLES(role, masked)
        for (first = 1; first <= 2; first++)
            for (second = 1; second <= 2; second++) {
                bytes in = { 0 };
                test_note("role %d: %u, then %u", role, first, second);
                frame_text(&in, first, masked, "begun");
                frame_text(&in, FIN | second, masked, "new");
                check_violation(role, &in, WSOCK_PROTOCOL_ERROR, 1002);
                bytes_free(&in);
            }
}

/* 7.1.7: once failed, "MUST NOT continue to attempt to process data": what
 * stands behind the wrong frame is not reported. */
TEST(nothing_is_read_behind_a_violation)
{
    int role, masked;
    BOTH_ROLES(role, masked) {
        bytes in = { 0 };
        frame_text(&in, FIN | 1, masked, "before");
        frame_text(&in, FIN | 3, masked, "");
        frame_text(&in, FIN | 1, masked, "behind");
        frame_text(&in, FIN | 9, masked, "ping");
        check_fed(role, NULL, &in,
                  "TEXT \"before\"\nCLOSE 1006 \"\" WSOCK_PROTOCOL_ERROR\n",
                  "close 1002");
        bytes_free(&in);
    }
}

/* A violation is told in full: the code, the phase, a line of English. */
TEST(a_violation_is_explained)
{
    wsock *ws = core_open(WSOCK_SERVER, NULL);
    bytes in = { 0 };
    const wsock_failure *why;
    frame_text(&in, FIN | 1, 0, "unmasked");
    CHECK(feed_bytes(ws, &in, NULL) < 0);
    why = wsock_why(ws);
    CHECK_RESULT(why->code, WSOCK_PROTOCOL_ERROR);
    CHECK_INT(why->phase, WSOCK_PHASE_WEBSOCKET);
    CHECK_INT(why->close_sent, 1002);
    CHECK_INT(why->close_received, 0);
    CHECK(why->text && strlen(why->text) > 10);
    CHECK_STR(wsock_error_text(ws), why->text);
    CHECK_STR(why->close_reason, "");
    /* The first failure sticks. */
    CHECK_RESULT(wsock_send(ws, WSOCK_TEXT, "x", 1), WSOCK_PROTOCOL_ERROR);
    wsock_abort(ws);
    CHECK_RESULT(wsock_error(ws), WSOCK_PROTOCOL_ERROR);
    wsock_free(ws);
    bytes_free(&in);
}

/* The end of the stream inside a frame, or without Close, is a lost
 * connection: 7.1.5 makes it 1006, which is never sent. */
TEST(end_of_stream_is_a_lost_connection)
{
    int role, masked;
    BOTH_ROLES(role, masked) {
        wsock *ws = core_open(role, NULL);
        bytes in = { 0 }, log = { 0 }, out = { 0 };
        frame_header(&in, FIN | 2, masked, 0, 100);
        bytes_text(&in, "only this");
        feed_bytes(ws, &in, &log);
        feed(ws, "", 0, &log);
        CHECK_STR(bytes_str(&log),
                  "CLOSE 1006 \"\" WSOCK_CONNECTION_LOST\n");
        CHECK_INT(wsock_why(ws)->close_sent, 0);
        CHECK_INT(take_output(ws, &out), 0);
        CHECK_INT(wsock_state(ws), WSOCK_STATE_CLOSED);
        wsock_free(ws);
        bytes_free(&in);
        bytes_free(&out);
        bytes_free(&log);
    }
}

/* 5.8, 9: an agreed extension may set its bits on data frames, not others,
 * and not on control frames. */
TEST(reserved_bits_of_an_agreed_extension)
{
    static const char *const extensions[] = { "x-mark", NULL };
    wsock_options o;
    wsock *ws;
    bytes in = { 0 }, log = { 0 }, out = { 0 }, sent = { 0 };
    memset(&o, 0, sizeof o);
    o.extensions = extensions;
    o.reserved_bits = WSOCK_RSV1;
    ws = wsock_new(WSOCK_CLIENT, "ws://server.example.com/", &o);
    take_output(ws, &out);
    put_response(&in, bytes_str(&out), "Sec-WebSocket-Extensions: x-mark\r\n");
    frame_text(&in, FIN | 0x40 | 1, 0, "marked");
    frame_text(&in, FIN | 1, 0, "plain");
    frame_text(&in, FIN | 0x20 | 1, 0, "other bit");
    feed_bytes(ws, &in, &log);
    CHECK_STR(bytes_str(&log), "OPEN\nTEXT|RSV4 \"marked\"\nTEXT \"plain\"\n"
                               "CLOSE 1006 \"\" WSOCK_PROTOCOL_ERROR\n");
    wsock_free(ws);

    /* Not agreed: the option alone permits nothing. */
    test_note("not agreed");
    bytes_clear(&in);
    bytes_clear(&out);
    bytes_clear(&log);
    ws = wsock_new(WSOCK_CLIENT, "ws://server.example.com/", &o);
    take_output(ws, &out);
    put_response(&in, bytes_str(&out), "");
    frame_text(&in, FIN | 0x40 | 1, 0, "marked");
    feed_bytes(ws, &in, &log);
    CHECK_STR(bytes_str(&log),
              "OPEN\nCLOSE 1006 \"\" WSOCK_PROTOCOL_ERROR\n");
    wsock_free(ws);

    /* Sending: bits go out as they were given, if agreed. */
    test_note("sending");
    bytes_clear(&in);
    bytes_clear(&out);
    bytes_clear(&log);
    ws = wsock_new(WSOCK_CLIENT, "ws://server.example.com/", &o);
    take_output(ws, &out);
    put_response(&in, bytes_str(&out), "Sec-WebSocket-Extensions: x-mark\r\n");
    feed_bytes(ws, &in, NULL);
    bytes_clear(&out);
    CHECK_RESULT(wsock_send(ws, WSOCK_TEXT | WSOCK_RSV1, "a", 1), WSOCK_OK);
    CHECK_RESULT(wsock_send(ws, WSOCK_TEXT | WSOCK_RSV2, "b", 1),
                 WSOCK_INVALID_PARAMETER);
    take_output(ws, &out);
    frames_log(&sent, &out, 1);
    CHECK_STR(bytes_str(&sent), "text rsv4 \"a\"\n");
    wsock_free(ws);
    bytes_free(&in);
    bytes_free(&out);
    bytes_free(&log);
    bytes_free(&sent);
}

static const test_case tests[] = {
    TEST_ENTRY(every_length_class_is_read),
    TEST_ENTRY(every_length_class_is_written),
    TEST_ENTRY(masking_keys_change),
    TEST_ENTRY(longer_forms_of_a_length_are_refused),
    TEST_ENTRY(the_top_bit_of_a_length_is_refused),
    TEST_ENTRY(a_huge_length_is_too_big_at_once),
    TEST_ENTRY(reserved_opcodes_are_refused),
    TEST_ENTRY(reserved_bits_are_refused),
    TEST_ENTRY(a_server_refuses_unmasked_frames),
    TEST_ENTRY(a_client_refuses_masked_frames),
    TEST_ENTRY(no_masking_when_asked),
    TEST_ENTRY(control_frames_are_short_and_whole),
    TEST_ENTRY(pings_are_answered),
    TEST_ENTRY(pongs_are_reported_and_not_answered),
    TEST_ENTRY(continuation_without_start_is_refused),
    TEST_ENTRY(new_message_inside_a_message_is_refused),
    TEST_ENTRY(nothing_is_read_behind_a_violation),
    TEST_ENTRY(a_violation_is_explained),
    TEST_ENTRY(end_of_stream_is_a_lost_connection),
    TEST_ENTRY(reserved_bits_of_an_agreed_extension)
};

TEST_MAIN("frame", tests)
