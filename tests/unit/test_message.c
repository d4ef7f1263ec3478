/* Messages: fragments, control frames between them, parts, the limit, text
 * that is cut inside a character, and data handed out in place. */
#define WSOCK_IMPLEMENTATION
#include "../../wsock.h"
#include "test.h"

#define BOTH_ROLES(role, masked)                                              \
    for (role = WSOCK_CLIENT, masked = 0; role <= WSOCK_SERVER;               \
         role++, masked = 1)

static void check_events(int role, const wsock_options *o, bytes *in,
                         const char *events)
{
    wsock *ws = core_open(role, o);
    bytes log = { 0 };
    feed_bytes(ws, in, &log);
    CHECK_STR(bytes_str(&log), events);
    wsock_free(ws);
    bytes_free(&log);
    bytes_clear(in);
}

/* 5.4: fragments are one message to the application. */
TEST(fragments_are_joined)
{
    int role, masked;
    BOTH_ROLES(role, masked) {
        bytes in = { 0 };
        test_note("role %d", role);
        frame_text(&in, 1, masked, "one ");
        frame_text(&in, 0, masked, "two ");
        frame_text(&in, 0, masked, "");
        frame_text(&in, FIN | 0, masked, "three");
        frame_text(&in, 2, masked, "");
        frame_text(&in, FIN | 0, masked, "");
        check_events(role, NULL, &in, "TEXT \"one two three\"\nBINARY \"\"\n");
        bytes_free(&in);
    }
}

/* 5.4: "Control frames MAY be injected in the middle of a fragmented
 * message", and are handled at once. */
TEST(control_frames_between_fragments)
{
    int role, masked;
    BOTH_ROLES(role, masked) {
        wsock *ws = core_open(role, NULL);
        bytes in = { 0 }, log = { 0 }, out = { 0 }, sent = { 0 };
        test_note("role %d", role);
        frame_text(&in, 1, masked, "be");
        frame_text(&in, FIN | 9, masked, "?");
        frame_text(&in, FIN | 10, masked, "!");
        feed_bytes(ws, &in, &log);
        CHECK_STR(bytes_str(&log), "PING \"?\"\nPONG \"!\"\n");
        take_output(ws, &out);
        frames_log(&sent, &out, !masked);
        CHECK_STR(bytes_str(&sent), "pong \"?\"\n");
        bytes_clear(&in);
        frame_text(&in, FIN | 0, masked, "tween");
        feed_bytes(ws, &in, &log);
        CHECK_STR(bytes_str(&log),
                  "PING \"?\"\nPONG \"!\"\nTEXT \"between\"\n");
        wsock_free(ws);
        bytes_free(&in);
        bytes_free(&log);
        bytes_free(&out);
        bytes_free(&sent);
    }
}

/* 5.4 with a Close: the message that it cuts off is not reported. */
TEST(close_between_fragments)
{
    int role, masked;
    BOTH_ROLES(role, masked) {
        bytes in = { 0 };
        frame_text(&in, 2, masked, "never ended");
        frame_close(&in, masked, 1000, "");
        check_events(role, NULL, &in, "CLOSE 1000 \"\" WSOCK_OK\n");
        bytes_free(&in);
    }
}

/* A message that is whole in the fed bytes is handed out where it stands,
 * may be changed there, and its neighbours stay as they are. */
TEST(whole_messages_are_handed_out_in_place)
{
    wsock *ws = core_open(WSOCK_SERVER, NULL);
    bytes in = { 0 };
    wsock_event e;
    frame_text(&in, FIN | 1, 1, "first");
    frame_text(&in, FIN | 2, 1, "second");
    CHECK_RESULT(wsock_feed(ws, in.data, in.size), WSOCK_OK);
    CHECK_INT(wsock_next(ws, &e), 1);
    CHECK_INT(e.kind, WSOCK_TEXT);
    CHECK((uint8_t *)e.data >= in.data
          && (uint8_t *)e.data < in.data + in.size);
    CHECK_BYTES(e.data, e.size, "first", 5);
    memset(e.data, 'X', e.size);
    CHECK_INT(wsock_next(ws, &e), 1);
    CHECK((uint8_t *)e.data >= in.data
          && (uint8_t *)e.data < in.data + in.size);
    CHECK_BYTES(e.data, e.size, "second", 6);
    CHECK_INT(wsock_next(ws, &e), 0);
    wsock_free(ws);
    bytes_free(&in);
}

/* Bytes that are lent may not be added to before they were read. */
TEST(feeding_too_soon_is_a_wrong_call)
{
    wsock *ws = core_open(WSOCK_SERVER, NULL);
    bytes in = { 0 }, more = { 0 };
    wsock_event e;
    frame_text(&in, FIN | 1, 1, "first");
    frame_text(&in, FIN | 1, 1, "second");
    frame_text(&more, FIN | 1, 1, "third");
    CHECK_RESULT(wsock_feed(ws, in.data, in.size), WSOCK_OK);
    CHECK_RESULT(wsock_feed(ws, more.data, more.size),
                 WSOCK_INVALID_OPERATION);
    CHECK_INT(wsock_next(ws, &e), 1);
    CHECK_RESULT(wsock_feed(ws, more.data, more.size),
                 WSOCK_INVALID_OPERATION);
    CHECK_INT(wsock_next(ws, &e), 1);
    CHECK_INT(wsock_next(ws, &e), 0);
    CHECK_RESULT(wsock_feed(ws, more.data, more.size), WSOCK_OK);
    CHECK_INT(wsock_next(ws, &e), 1);
    CHECK_BYTES(e.data, e.size, "third", 5);
    CHECK_RESULT(wsock_error(ws), WSOCK_OK);
    wsock_free(ws);
    bytes_free(&in);
    bytes_free(&more);
}

/* WSOCK_PARTS: what has come is handed out; only the last part is without
 * FRAGMENT, and every part names the type of the whole. */
TEST(parts_come_as_they_come)
{
    wsock_options o;
    int role, masked;
    memset(&o, 0, sizeof o);
    o.flags = WSOCK_PARTS;
    BOTH_ROLES(role, masked) {
        bytes in = { 0 };
        wsock *ws;
        bytes log = { 0 };
        test_note("role %d", role);
        frame_text(&in, 1, masked, "one");
        frame_text(&in, 0, masked, "two");
        frame_text(&in, FIN | 9, masked, "p");
        frame_text(&in, FIN | 0, masked, "three");
        frame_text(&in, FIN | 2, masked, "whole");
        frame_text(&in, FIN | 1, masked, "");
        frame_text(&in, 2, masked, "end is empty");
        frame_text(&in, FIN | 0, masked, "");
        check_events(role, &o, &in,
                     "TEXT|FRAGMENT \"one\"\nTEXT|FRAGMENT \"two\"\n"
                     "PING \"p\"\nTEXT \"three\"\nBINARY \"whole\"\n"
                     "TEXT \"\"\nBINARY|FRAGMENT \"end is empty\"\n"
                     "BINARY \"\"\n");

        /* One frame, fed in two halves. */
        ws = core_open(role, &o);
        frame_text(&in, FIN | 2, masked, "abcdefgh");
        feed(ws, in.data, in.size - 3, &log);
        CHECK_STR(bytes_str(&log), "BINARY|FRAGMENT \"abcde\"\n");
        feed(ws, in.data + in.size - 3, 3, &log);
        CHECK_STR(bytes_str(&log),
                  "BINARY|FRAGMENT \"abcde\"\nBINARY \"fgh\"\n");
        wsock_free(ws);
        bytes_free(&in);
        bytes_free(&log);
    }
}

/* options.max_message is inclusive, and counts the whole message. */
TEST(the_limit_is_inclusive)
{
    uint8_t *data = test_pattern(300);
    wsock_options o;
    int role, masked;
    memset(&o, 0, sizeof o);
    o.max_message = 200;
    BOTH_ROLES(role, masked) {
        bytes in = { 0 }, want = { 0 };
        test_note("role %d", role);
        bytes_text(&want, "BINARY");
        log_data(&want, data, 200);
        bytes_text(&want, "\n");

        frame_put(&in, FIN | 2, masked, data, 200);
        check_events(role, &o, &in, bytes_str(&want));
        frame_put(&in, 2, masked, data, 120);
        frame_put(&in, FIN | 0, masked, data + 120, 80);
        check_events(role, &o, &in, bytes_str(&want));

        frame_put(&in, FIN | 2, masked, data, 201);
        check_events(role, &o, &in, "CLOSE 1006 \"\" WSOCK_TOO_BIG\n");
        frame_put(&in, 2, masked, data, 120);
        frame_put(&in, FIN | 0, masked, data + 120, 81);
        check_events(role, &o, &in, "CLOSE 1006 \"\" WSOCK_TOO_BIG\n");

        /* Refused at the header: the payload need not come. */
        frame_put(&in, 2, masked, data, 120);
        frame_header(&in, 0, masked, 0, 81);
        check_events(role, &o, &in, "CLOSE 1006 \"\" WSOCK_TOO_BIG\n");
        bytes_free(&in);
        bytes_free(&want);
    }
    free(data);
}

/* 7.4.1: 1009 is what the peer is told. */
TEST(too_big_closes_with_1009)
{
    wsock_options o;
    int role, masked;
    memset(&o, 0, sizeof o);
    o.max_message = 10;
    BOTH_ROLES(role, masked) {
        wsock *ws = core_open(role, &o);
        bytes in = { 0 }, out = { 0 }, sent = { 0 };
        frame_text(&in, FIN | 1, masked, "eleven char");
        feed_bytes(ws, &in, NULL);
        take_output(ws, &out);
        frames_log(&sent, &out, !masked);
        CHECK(!strncmp(bytes_str(&sent), "close 1009", 10));
        CHECK_INT(wsock_why(ws)->close_sent, 1009);
        wsock_free(ws);
        bytes_free(&in);
        bytes_free(&out);
        bytes_free(&sent);
    }
}

/* "parts ... are not bound by it". */
TEST(the_limit_does_not_bind_parts)
{
    uint8_t *data = test_pattern(300);
    wsock_options o;
    bytes in = { 0 }, want = { 0 };
    memset(&o, 0, sizeof o);
    o.max_message = 100;
    o.flags = WSOCK_PARTS;
    frame_put(&in, FIN | 2, 1, data, 300);
    bytes_text(&want, "BINARY");
    log_data(&want, data, 300);
    bytes_text(&want, "\n");
    check_events(WSOCK_SERVER, &o, &in, bytes_str(&want));
    bytes_free(&in);
    bytes_free(&want);
    free(data);
}

TEST(unlimited_means_unlimited)
{
    size_t n = 17u << 20; /* above the default of 16 MiB */
    uint8_t *data = test_pattern(n);
    wsock_options o;
    bytes in = { 0 }, want = { 0 };
    memset(&o, 0, sizeof o);
    o.max_message = WSOCK_UNLIMITED;
    frame_put(&in, FIN | 2, 0, data, n);
    bytes_text(&want, "BINARY");
    log_data(&want, data, n);
    bytes_text(&want, "\n");
    check_events(WSOCK_CLIENT, &o, &in, bytes_str(&want));
    bytes_free(&in);
    bytes_free(&want);
    free(data);
}

/* 5.6: a fragment may end inside a character; only the whole message has to
 * be UTF-8. */
TEST(characters_cut_by_frames)
{
    static const char text[] = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80z";
    size_t n = sizeof text - 1, a, b;
    int role, masked, flags;
    bytes want = { 0 };
    bytes_text(&want, "TEXT");
    log_data(&want, text, n);
    bytes_text(&want, "\n");
    BOTH_ROLES(role, masked)
        for (a = 0; a <= n; a++)
            for (b = a; b <= n; b++) {
                bytes in = { 0 };
                test_note("role %d, cut at %lu and %lu", role,
                          (unsigned long)a, (unsigned long)b);
                frame_put(&in, 1, masked, text, a);
                frame_put(&in, 0, masked, text + a, b - a);
                frame_put(&in, FIN | 0, masked, text + b, n - b);
                check_events(role, NULL, &in, bytes_str(&want));
                bytes_free(&in);
            }
    /* The message may not end inside one, nor start with a tail. */
    BOTH_ROLES(role, masked)
        for (flags = 0; flags <= WSOCK_PARTS; flags += WSOCK_PARTS) {
            bytes in = { 0 };
            wsock_options o;
            memset(&o, 0, sizeof o);
            o.flags = (unsigned)flags;
            test_note("role %d, flags %d", role, flags);
            frame_put(&in, FIN | 1, masked, "\xE2\x82", 2);
            check_events(role, &o, &in,
                         "CLOSE 1006 \"\" WSOCK_INVALID_UTF8\n");
            frame_text(&in, FIN | 1, masked, "fine");
            frame_put(&in, FIN | 1, masked, "\xAC", 1);
            check_events(role, &o, &in,
                         "TEXT \"fine\"\n"
                         "CLOSE 1006 \"\" WSOCK_INVALID_UTF8\n");
            bytes_free(&in);
        }
    bytes_free(&want);
}

/* 8.1: text is refused when the wrong byte comes, not at the message's end.
 */
TEST(wrong_text_fails_at_once)
{
    int role, masked;
    BOTH_ROLES(role, masked) {
        bytes in = { 0 };
        size_t at, i;
        test_note("role %d", role);
        /* Inside the first of several fragments. */
        frame_put(&in, 1, masked, "ok \xFF", 4);
        check_events(role, NULL, &in, "CLOSE 1006 \"\" WSOCK_INVALID_UTF8\n");
        /* Inside a frame of which most is still to come. */
        frame_header(&in, FIN | 1, masked, 0, 1000);
        at = in.size;
        bytes_put(&in, "ok \xED\xA0", 5);
        for (i = 0; masked && i < 5; i++)
            in.data[at + i] ^= test_key[i % 4];
        check_events(role, NULL, &in, "CLOSE 1006 \"\" WSOCK_INVALID_UTF8\n");
        bytes_free(&in);
    }
}

/* A large message in many small fragments arrives whole. */
TEST(many_fragments)
{
    size_t n = 300000, at, step;
    uint8_t *data = test_pattern(n);
    uint32_t seed = 5;
    int role, masked;
    BOTH_ROLES(role, masked) {
        wsock *ws = core_open(role, NULL);
        bytes in = { 0 }, log = { 0 }, want = { 0 };
        test_note("role %d", role);
        for (at = 0; at < n; at += step) {
            step = test_random_word(&seed) % 700;
            if (step > n - at)
                step = n - at;
            frame_put(&in, at ? 0 : 1, masked, data + at, step);
            if (at == 0 && step == 0)
                in.size = 0;
        }
        frame_text(&in, FIN | 0, masked, "");
        for (at = 0; at < in.size; at += step) {
            step = 1 + test_random_word(&seed) % 5000;
            if (step > in.size - at)
                step = in.size - at;
            feed(ws, in.data + at, step, &log);
        }
        bytes_text(&want, "TEXT");
        log_data(&want, data, n);
        bytes_text(&want, "\n");
        CHECK_STR(bytes_str(&log), bytes_str(&want));
        wsock_free(ws);
        bytes_free(&in);
        bytes_free(&log);
        bytes_free(&want);
    }
    free(data);
}

static const test_case tests[] = {
    TEST_ENTRY(fragments_are_joined),
    TEST_ENTRY(control_frames_between_fragments),
    TEST_ENTRY(close_between_fragments),
    TEST_ENTRY(whole_messages_are_handed_out_in_place),
    TEST_ENTRY(feeding_too_soon_is_a_wrong_call),
    TEST_ENTRY(parts_come_as_they_come),
    TEST_ENTRY(the_limit_is_inclusive),
    TEST_ENTRY(too_big_closes_with_1009),
    TEST_ENTRY(the_limit_does_not_bind_parts),
    TEST_ENTRY(unlimited_means_unlimited),
    TEST_ENTRY(characters_cut_by_frames),
    TEST_ENTRY(wrong_text_fails_at_once),
    TEST_ENTRY(many_fragments)
};

TEST_MAIN("message", tests)
