/* Sending, without I/O: fragments, gather lists, borrowed memory, output
 * taken in pieces, the limit of the queue, and control frames between. */
#define WSOCK_IMPLEMENTATION
#include "../../wsock.h"
#include "test.h"

static const char *written(wsock *ws, int role, bytes *log)
{
    bytes out = { 0 };
    take_output(ws, &out);
    bytes_clear(log);
    frames_log(log, &out, role == WSOCK_CLIENT);
    bytes_free(&out);
    return bytes_str(log);
}

#define EACH_ROLE(role)                                                       \
    for (role = WSOCK_CLIENT; role <= WSOCK_SERVER; role++)

/* 5.4: the first frame names the type, the others are continuations, the
 * last has FIN; control frames may stand between. */
TEST(fragments)
{
    int role;
    EACH_ROLE(role) {
        wsock *ws = core_open(role, NULL);
        bytes log = { 0 };
        test_note("role %d", role);
        CHECK_RESULT(wsock_send(ws, WSOCK_TEXT | WSOCK_FRAGMENT, "a", 1),
                     WSOCK_OK);
        CHECK_RESULT(wsock_send(ws, WSOCK_TEXT | WSOCK_FRAGMENT, "", 0),
                     WSOCK_OK);
        CHECK_STR(written(ws, role, &log), "text+ \"a\"\ncontinuation+ \"\"\n");
        CHECK_RESULT(wsock_send(ws, WSOCK_PING, "p", 1), WSOCK_OK);
        CHECK_STR(written(ws, role, &log), "ping \"p\"\n");
        CHECK_RESULT(wsock_send(ws, WSOCK_TEXT, "b", 1), WSOCK_OK);
        CHECK_RESULT(wsock_send(ws, WSOCK_BINARY, "c", 1), WSOCK_OK);
        CHECK_STR(written(ws, role, &log),
                  "continuation \"b\"\nbinary \"c\"\n");
        wsock_free(ws);
        bytes_free(&log);
    }
}

/* Another type inside an unfinished message is a wrong call; it changes
 * nothing. */
TEST(another_type_inside_a_message)
{
    int role;
    EACH_ROLE(role) {
        wsock *ws = core_open(role, NULL);
        bytes log = { 0 };
        CHECK_RESULT(wsock_send(ws, WSOCK_BINARY | WSOCK_FRAGMENT, "a", 1),
                     WSOCK_OK);
        CHECK_RESULT(wsock_send(ws, WSOCK_TEXT, "b", 1),
                     WSOCK_INVALID_OPERATION);
        CHECK_RESULT(wsock_send(ws, WSOCK_TEXT | WSOCK_FRAGMENT, "b", 1),
                     WSOCK_INVALID_OPERATION);
        CHECK_RESULT(wsock_error(ws), WSOCK_OK);
        CHECK_RESULT(wsock_send(ws, WSOCK_BINARY, "c", 1), WSOCK_OK);
        CHECK_STR(written(ws, role, &log),
                  "binary+ \"a\"\ncontinuation \"c\"\n");
        wsock_free(ws);
        bytes_free(&log);
    }
}

TEST(kinds_and_arguments_that_are_wrong)
{
    static const unsigned kinds[] = {
        0, 3, 4, 7, WSOCK_CLOSE, 0xB, 0xF, WSOCK_PING | WSOCK_FRAGMENT,
        WSOCK_PONG | WSOCK_FRAGMENT, WSOCK_PING | WSOCK_RSV1,
        WSOCK_TEXT | WSOCK_RSV1, WSOCK_TEXT | WSOCK_RSV2,
        WSOCK_TEXT | WSOCK_RSV3, WSOCK_TEXT | 0x80, WSOCK_TEXT | 0x400,
        WSOCK_TEXT | 0x10000, WSOCK_FRAGMENT
    };
    uint8_t *data = test_pattern(200);
    wsock *ws = core_open(WSOCK_CLIENT, NULL);
    wsock_buf bufs[70];
    size_t i;
    for (i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        test_note("kind %x", kinds[i]);
        CHECK_RESULT(wsock_send(ws, kinds[i], "x", 1),
                     WSOCK_INVALID_PARAMETER);
    }
    test_state.note[0] = 0;
    CHECK_RESULT(wsock_send(ws, WSOCK_TEXT, NULL, 1),
                 WSOCK_INVALID_PARAMETER);
    CHECK_RESULT(wsock_send(ws, WSOCK_PING, data, 126),
                 WSOCK_INVALID_PARAMETER);
    CHECK_RESULT(wsock_send(ws, WSOCK_PONG, data, 126),
                 WSOCK_INVALID_PARAMETER);
    for (i = 0; i < 70; i++) {
        bufs[i].data = data + i;
        bufs[i].size = 1;
    }
    CHECK_RESULT(wsock_sendv(ws, WSOCK_TEXT, bufs, 65, NULL),
                 WSOCK_INVALID_PARAMETER);
    CHECK_RESULT(wsock_sendv(ws, WSOCK_TEXT, NULL, 1, NULL),
                 WSOCK_INVALID_PARAMETER);
    bufs[1].data = NULL;
    CHECK_RESULT(wsock_sendv(ws, WSOCK_TEXT, bufs, 3, NULL),
                 WSOCK_INVALID_PARAMETER);
    bufs[1].data = data;
    bufs[1].size = (size_t)-1; /* the sum overflows */
    CHECK(wsock_sendv(ws, WSOCK_TEXT, bufs, 3, NULL) < 0);
    CHECK_RESULT(wsock_error(ws), WSOCK_OK);
    CHECK_INT(take_output(ws, NULL), 0);
    /* These are right. */
    CHECK_RESULT(wsock_send(ws, WSOCK_PING, data, 125), WSOCK_OK);
    CHECK_RESULT(wsock_send(ws, WSOCK_PONG, NULL, 0), WSOCK_OK);
    CHECK_RESULT(wsock_send(ws, WSOCK_TEXT, NULL, 0), WSOCK_OK);
    wsock_free(ws);
    free(data);
}

/* A gather list is one frame. */
TEST(gather_lists)
{
    uint8_t *data = test_pattern(70000);
    int role, borrow;
    size_t counts[] = { 0, 1, 2, 3, 17, 63, 64 }, k, i;
    EACH_ROLE(role)
        for (borrow = 0; borrow < 2; borrow++)
            for (k = 0; k < sizeof counts / sizeof counts[0]; k++) {
                wsock *ws = core_open(role, NULL);
                wsock_buf bufs[64];
                bytes out = { 0 }, log = { 0 };
                char context[] = "c";
                size_t at = 0;
                frame f;
                test_note("role %d, borrow %d, %lu pieces", role, borrow,
                          (unsigned long)counts[k]);
                for (i = 0; i < counts[k]; i++) {
                    bufs[i].data = data + at;
                    bufs[i].size = i % 5 == 3 ? 0 : i * 31 % 300 + (i == 1);
                    if (i == 2)
                        bufs[i].size = 40000;
                    at += bufs[i].size;
                }
                CHECK_RESULT(wsock_sendv(ws, WSOCK_BINARY
                                         | (borrow ? WSOCK_BORROW : 0u),
                                         bufs, counts[k], context), WSOCK_OK);
                memset(bufs, 0, sizeof bufs); /* the list was only lent */
                take_output(ws, &out);
                CHECK_INT(frame_get(out.data, out.size, &f), out.size);
                CHECK_INT(f.first, FIN | 2);
                CHECK_BYTES(f.payload, f.size, data, at);
                drain_events(ws, &log);
                CHECK_STR(bytes_str(&log), borrow ? "SENT c WSOCK_OK\n" : "");
                wsock_free(ws);
                bytes_free(&out);
                bytes_free(&log);
            }
    free(data);
}

/* Borrowed memory: used in place, never changed, SENT when all of it was
 * taken and not before, in order. */
TEST(borrowed_memory)
{
    size_t n = 100000;
    uint8_t *data = test_pattern(n), *copy = test_pattern(n);
    int role;
    EACH_ROLE(role) {
        wsock *ws = core_open(role, NULL);
        bytes out = { 0 }, log = { 0 };
        wsock_buf buf, bufs[4];
        char one[] = "one", two[] = "two";
        size_t count, i, used;
        int in_place = 0;
        frame f;
        test_note("role %d", role);
        buf.data = data;
        buf.size = n;
        CHECK_RESULT(wsock_sendv(ws, WSOCK_BINARY | WSOCK_BORROW, &buf, 1,
                                 one), WSOCK_OK);
        buf.size = 3;
        CHECK_RESULT(wsock_sendv(ws, WSOCK_TEXT | WSOCK_BORROW, &buf, 1, two),
                     WSOCK_OK);
        drain_events(ws, &log);
        CHECK_STR(bytes_str(&log), "");
        /* In small steps, and SENT only once the last byte has gone. */
        while ((count = wsock_output(ws, bufs, 4)) > 0) {
            size_t step = bufs[0].size < 7777 ? bufs[0].size : 7777;
            for (i = 0; i < count; i++)
                in_place |= (const uint8_t *)bufs[i].data >= data
                            && (const uint8_t *)bufs[i].data < data + n;
            bytes_put(&out, bufs[0].data, step);
            CHECK_RESULT(wsock_output_done(ws, step), WSOCK_OK);
            drain_events(ws, &log);
            if (out.size < n)
                CHECK_STR(bytes_str(&log), "");
        }
        CHECK_STR(bytes_str(&log), "SENT one WSOCK_OK\nSENT two WSOCK_OK\n");
        if (role == WSOCK_SERVER)
            CHECK(in_place); /* a client's bytes are masked elsewhere */
        CHECK_BYTES(data, n, copy, n);
        used = frame_get(out.data, out.size, &f);
        CHECK_BYTES(f.payload, f.size, data, n);
        CHECK_INT(frame_get(out.data + used, out.size - used, &f),
                  out.size - used);
        CHECK_BYTES(f.payload, f.size, data, 3);
        wsock_free(ws);
        bytes_free(&out);
        bytes_free(&log);
    }
    free(data);
    free(copy);
}

/* On anything but WSOCK_OK no SENT will come. */
TEST(no_sent_for_what_was_not_taken)
{
    wsock_options o;
    wsock *ws;
    wsock_buf buf;
    bytes log = { 0 };
    char first[] = "first", refused[] = "refused";
    memset(&o, 0, sizeof o);
    o.send_limit = 100;
    ws = core_open(WSOCK_SERVER, &o);
    buf.data = "0123456789";
    buf.size = 10;
    CHECK_RESULT(wsock_sendv(ws, 0x3 | WSOCK_BORROW, &buf,
                             1, refused), WSOCK_INVALID_PARAMETER);
    while (wsock_sendv(ws, WSOCK_TEXT | WSOCK_BORROW, &buf, 1, first)
           == WSOCK_OK)
        bytes_text(&log, "SENT first WSOCK_OK\n");
    CHECK_RESULT(wsock_sendv(ws, WSOCK_TEXT | WSOCK_BORROW, &buf, 1, refused),
                 WSOCK_WOULD_BLOCK);
    take_output(ws, NULL);
    {
        bytes got = { 0 };
        wsock_event e;
        while (wsock_next(ws, &e) > 0)
            if (e.type == WSOCK_EVENT_SENT)
                log_event(&got, &e);
        CHECK_STR(bytes_str(&got), bytes_str(&log));
        bytes_free(&got);
    }
    wsock_free(ws);
    bytes_free(&log);
}

/* A short write goes on where it stopped, at every step size. */
TEST(output_in_pieces)
{
    uint8_t *data = test_pattern(3000);
    int role;
    size_t step, count;
    EACH_ROLE(role)
        for (step = 1; step < 4000; step += step < 40 ? 1 : 501) {
            wsock *ws = core_open(role, NULL);
            bytes out = { 0 }, log = { 0 };
            wsock_buf bufs[8];
            size_t before;
            test_note("role %d, %lu bytes a time", role, (unsigned long)step);
            wsock_send(ws, WSOCK_TEXT, "first", 5);
            wsock_send(ws, WSOCK_BINARY, data, 3000);
            wsock_send(ws, WSOCK_PING, "", 0);
            wsock_send(ws, WSOCK_TEXT, "last", 4);
            before = wsock_queued(ws);
            while ((count = wsock_output(ws, bufs, 8)) > 0) {
                size_t left = step, sum = 0, i, n;
                for (i = 0; i < count && left; i++) {
                    n = bufs[i].size < left ? bufs[i].size : left;
                    bytes_put(&out, bufs[i].data, n);
                    left -= n;
                    sum += n;
                }
                CHECK_RESULT(wsock_output_done(ws, sum), WSOCK_OK);
                if (out.size > 10000)
                    break;
            }
            CHECK_INT(wsock_queued(ws), 0);
            CHECK(before > 0);
            frames_log(&log, &out, role == WSOCK_CLIENT);
            CHECK(bytes_find(&log, "text \"first\"\n") != NULL);
            CHECK(bytes_find(&log, "binary 3000 bytes\n") != NULL);
            CHECK(bytes_find(&log, "ping \"\"\n") != NULL);
            CHECK(bytes_find(&log, "text \"last\"\n") != NULL);
            CHECK(bytes_find(&log, "bytes of a frame") == NULL);
            wsock_free(ws);
            bytes_free(&out);
            bytes_free(&log);
        }
    free(data);
}

/* Blocks that were offered stay where they are until output_done, whatever
 * is sent or fed meanwhile; and more than was offered cannot be done. */
TEST(offered_blocks_stay)
{
    uint8_t *data = test_pattern(5000);
    int role, turn;
    EACH_ROLE(role) {
        wsock *ws = core_open(role, NULL);
        bytes out = { 0 }, in = { 0 }, log = { 0 };
        wsock_buf bufs[8];
        char context[] = "c";
        size_t count, i, sum = 0;
        test_note("role %d", role);
        wsock_send(ws, WSOCK_TEXT, "one", 3);
        wsock_send(ws, WSOCK_BINARY, data, 700);
        count = wsock_output(ws, bufs, 8);
        CHECK(count > 0);
        for (i = 0; i < count; i++) {
            bytes_put(&out, bufs[i].data, bufs[i].size);
            sum += bufs[i].size;
        }
        for (turn = 0; turn < 50; turn++) {
            wsock_buf lent;
            lent.data = data;
            lent.size = 2000;
            wsock_send(ws, WSOCK_BINARY, data, 5000);
            wsock_sendv(ws, WSOCK_BINARY | WSOCK_BORROW, &lent, 1, context);
            wsock_send(ws, WSOCK_PING, "p", 1);
            bytes_clear(&in);
            frame_text(&in, FIN | 9, role == WSOCK_SERVER, "ping");
            feed_bytes(ws, &in, NULL);
        }
        for (i = sum = 0; i < count; i++) {
            CHECK_BYTES(bufs[i].data, bufs[i].size, out.data + sum,
                        bufs[i].size);
            sum += bufs[i].size;
        }
        CHECK_RESULT(wsock_output_done(ws, sum + 1000000),
                     WSOCK_INVALID_PARAMETER);
        CHECK_RESULT(wsock_output_done(ws, sum), WSOCK_OK);
        CHECK_RESULT(wsock_output_done(ws, 1), WSOCK_INVALID_PARAMETER);
        take_output(ws, &out);
        frames_log(&log, &out, role == WSOCK_CLIENT);
        CHECK(bytes_find(&log, "bytes of a frame") == NULL);
        CHECK(!strncmp(bytes_str(&log), "text \"one\"\nbinary 700", 21));
        wsock_free(ws);
        bytes_free(&out);
        bytes_free(&in);
        bytes_free(&log);
    }
    free(data);
}

/* send_limit is soft: below it a message is taken whole; at it nothing is;
 * DRAIN comes once, when half has gone. */
TEST(the_limit_of_the_queue)
{
    uint8_t *data = test_pattern(10000);
    wsock_options o;
    int role;
    memset(&o, 0, sizeof o);
    o.send_limit = 1000;
    EACH_ROLE(role) {
        wsock *ws = core_open(role, &o);
        bytes log = { 0 };
        wsock_buf bufs[8];
        size_t count, queued, i, sum;
        test_note("role %d", role);
        CHECK_RESULT(wsock_send(ws, WSOCK_BINARY, data, 900), WSOCK_OK);
        CHECK_RESULT(wsock_send(ws, WSOCK_BINARY, data, 10000), WSOCK_OK);
        queued = wsock_queued(ws);
        CHECK(queued >= 10900);
        CHECK_RESULT(wsock_send(ws, WSOCK_BINARY, data, 1),
                     WSOCK_WOULD_BLOCK);
        CHECK_RESULT(wsock_send(ws, WSOCK_TEXT | WSOCK_FRAGMENT, data, 1),
                     WSOCK_WOULD_BLOCK);
        CHECK_INT(wsock_queued(ws), queued);
        CHECK_RESULT(wsock_error(ws), WSOCK_OK);
        drain_events(ws, &log);
        CHECK_STR(bytes_str(&log), "");
        /* Down to 600 of 1000: no DRAIN yet, and once 500 are reached, one. */
        while (wsock_queued(ws) > 600) {
            count = wsock_output(ws, bufs, 8);
            for (i = sum = 0; i < count; i++)
                sum += bufs[i].size;
            if (!CHECK(sum > 0))
                break;
            if (sum > wsock_queued(ws) - 600)
                sum = wsock_queued(ws) - 600;
            wsock_output_done(ws, sum);
        }
        drain_events(ws, &log);
        CHECK_STR(bytes_str(&log), "");
        take_output(ws, NULL);
        drain_events(ws, &log);
        CHECK_STR(bytes_str(&log), "DRAIN\n");
        CHECK_RESULT(wsock_send(ws, WSOCK_BINARY, data, 1), WSOCK_OK);
        take_output(ws, NULL);
        drain_events(ws, &log);
        CHECK_STR(bytes_str(&log), "DRAIN\n"); /* not without need */
        wsock_free(ws);
        bytes_free(&log);
    }
    free(data);
}

TEST(no_limit)
{
    uint8_t *data = test_pattern(100000);
    wsock_options o;
    wsock *ws;
    int i;
    memset(&o, 0, sizeof o);
    o.send_limit = WSOCK_UNLIMITED;
    ws = core_open(WSOCK_SERVER, &o);
    for (i = 0; i < 50; i++)
        CHECK_RESULT(wsock_send(ws, WSOCK_BINARY, data, 100000), WSOCK_OK);
    CHECK(wsock_queued(ws) >= 5000000);
    wsock_free(ws);
    free(data);
}

/* 5.5: a pong goes between frames, never into one that has begun. */
TEST(pongs_never_inside_a_frame)
{
    uint8_t *data = test_pattern(50000);
    size_t cut, count, n;
    int role;
    EACH_ROLE(role)
        for (cut = 1; cut < 60000; cut = cut < 12 ? cut + 1 : cut * 3) {
            wsock *ws = core_open(role, NULL);
            bytes in = { 0 }, out = { 0 }, log = { 0 };
            wsock_buf bufs[1];
            test_note("role %d, cut at %lu", role, (unsigned long)cut);
            wsock_send(ws, WSOCK_BINARY, data, 50000);
            wsock_send(ws, WSOCK_TEXT, "behind", 6);
            while (out.size < cut
                   && (count = wsock_output(ws, bufs, 1)) > 0) {
                n = bufs[0].size < cut - out.size ? bufs[0].size
                                                  : cut - out.size;
                bytes_put(&out, bufs[0].data, n);
                wsock_output_done(ws, n);
            }
            frame_text(&in, FIN | 9, role == WSOCK_SERVER, "now");
            feed_bytes(ws, &in, NULL);
            take_output(ws, &out);
            frames_log(&log, &out, role == WSOCK_CLIENT);
            CHECK(!strncmp(bytes_str(&log), "binary 50000 bytes\n", 19));
            CHECK(bytes_find(&log, "pong \"now\"\n") != NULL);
            CHECK(bytes_find(&log, "text \"behind\"\n") != NULL);
            CHECK_INT(strlen(bytes_str(&log)), 19 + 11 + 14);
            wsock_free(ws);
            bytes_free(&in);
            bytes_free(&out);
            bytes_free(&log);
        }
    free(data);
}

/* 5.5.3: "If an endpoint receives a Ping frame and has not yet sent Pong
 * frame(s) in response to previous Ping frame(s), the endpoint MAY elect to
 * send a Pong frame for only the most recently processed Ping frame."  So a
 * flood that is not taken stays bounded, and the newest is answered. */
TEST(a_flood_of_pings_stays_bounded)
{
    int role, i;
    EACH_ROLE(role) {
        test_system s;
        wsock_options o;
        wsock *ws;
        bytes in = { 0 }, out = { 0 }, log = { 0 };
        char text[128];
        size_t most = 0, n;
        const char *last;
        test_note("role %d", role);
        test_system_init(&s);
        memset(&o, 0, sizeof o);
        o.system = &s.system;
        ws = core_open(role, &o);
        n = s.live_bytes;
        for (i = 0; i < 20000; i += (int)test_step(10)) {
            bytes_clear(&in);
            snprintf(text, sizeof text, "%d %0100d", i, i);
            frame_text(&in, FIN | 9, role == WSOCK_SERVER, text);
            feed_bytes(ws, &in, NULL);
            if (wsock_queued(ws) > most)
                most = wsock_queued(ws);
        }
        CHECK(most <= 1024 + 256);
        CHECK(s.most_bytes <= n + 16384);
        take_output(ws, &out);
        CHECK(out.size <= 1024 + 256);
        frames_log(&log, &out, role == WSOCK_CLIENT);
        CHECK(bytes_find(&log, "bytes of a frame") == NULL);
        /* The newest ping's pong is the last frame. */
        last = (const char *)out.data + out.size - strlen(text);
        CHECK_BYTES(last, strlen(text), text, strlen(text));
        CHECK_RESULT(wsock_error(ws), WSOCK_OK);
        wsock_free(ws);
        CHECK_NO_LEAK(&s);
        bytes_free(&in);
        bytes_free(&out);
        bytes_free(&log);
    }
}

/* The queue holds what wsock_queued() says. */
TEST(queued_is_what_comes_out)
{
    int role;
    EACH_ROLE(role) {
        wsock *ws = core_open(role, NULL);
        size_t queued, out;
        CHECK_INT(wsock_queued(ws), 0);
        wsock_send(ws, WSOCK_TEXT, "hello", 5);
        wsock_send(ws, WSOCK_PING, "p", 1);
        queued = wsock_queued(ws);
        out = take_output(ws, NULL);
        CHECK_INT(queued, out);
        CHECK_INT(out, 7 + 3 + (role == WSOCK_CLIENT ? 8 : 0));
        CHECK_INT(wsock_queued(ws), 0);
        wsock_free(ws);
    }
}

/* wsock_send(to, e.kind, e.data, e.size) forwards any part. */
TEST(events_can_be_forwarded)
{
    wsock_options o;
    wsock *from, *to;
    bytes in = { 0 }, log = { 0 };
    wsock_event e;
    memset(&o, 0, sizeof o);
    o.flags = WSOCK_PARTS;
    from = core_open(WSOCK_SERVER, &o);
    to = core_open(WSOCK_CLIENT, NULL);
    frame_text(&in, 1, 1, "one");
    frame_text(&in, 0, 1, "two");
    frame_text(&in, FIN | 0, 1, "three");
    frame_text(&in, FIN | 2, 1, "whole");
    wsock_feed(from, in.data, in.size);
    while (wsock_next(from, &e) > 0)
        CHECK_RESULT(wsock_send(to, e.kind, e.data, e.size), WSOCK_OK);
    CHECK_STR(written(to, WSOCK_CLIENT, &log),
              "text+ \"one\"\ncontinuation+ \"two\"\n"
              "continuation \"three\"\nbinary \"whole\"\n");
    wsock_free(from);
    wsock_free(to);
    bytes_free(&in);
    bytes_free(&log);
}

/* Freed with everything still queued: nothing leaks. */
TEST(freed_with_a_full_queue)
{
    uint8_t *data = test_pattern(5000);
    test_system s;
    wsock_options o;
    wsock *ws;
    wsock_buf buf, bufs[2];
    char context[] = "c";
    int i;
    test_system_init(&s);
    memset(&o, 0, sizeof o);
    o.system = &s.system;
    ws = core_open(WSOCK_CLIENT, &o);
    buf.data = data;
    buf.size = 5000;
    for (i = 0; i < 20; i++) {
        wsock_send(ws, WSOCK_BINARY, data, 5000);
        wsock_sendv(ws, WSOCK_BINARY | WSOCK_BORROW, &buf, 1, context);
        wsock_send(ws, WSOCK_PING, "p", 1);
    }
    CHECK(wsock_output(ws, bufs, 2) > 0);
    wsock_output_done(ws, 3);
    wsock_free(ws);
    CHECK_NO_LEAK(&s);
    free(data);
}

static const test_case tests[] = {
    TEST_ENTRY(fragments),
    TEST_ENTRY(another_type_inside_a_message),
    TEST_ENTRY(kinds_and_arguments_that_are_wrong),
    TEST_ENTRY(gather_lists),
    TEST_ENTRY(borrowed_memory),
    TEST_ENTRY(no_sent_for_what_was_not_taken),
    TEST_ENTRY(output_in_pieces),
    TEST_ENTRY(offered_blocks_stay),
    TEST_ENTRY(the_limit_of_the_queue),
    TEST_ENTRY(no_limit),
    TEST_ENTRY(pongs_never_inside_a_frame),
    TEST_ENTRY(a_flood_of_pings_stays_bounded),
    TEST_ENTRY(queued_is_what_comes_out),
    TEST_ENTRY(events_can_be_forwarded),
    TEST_ENTRY(freed_with_a_full_queue)
};

TEST_MAIN("send", tests)
