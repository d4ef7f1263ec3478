/* The rules of the library, one test each: what the manual at the top of
 * wsock.h promises of lifetimes, ownership, results, flushing, threads,
 * closing and so on.  A test's name begins with its rule's.
 *
 * Many of these rules are shown at length elsewhere; here each has at least
 * a short test of its own name.  The long ones:
 *
 *     lifetime      test_message.c   whole_messages_are_handed_out_in_place
 *                   test_handshake_client.c   headers_at_open
 *     ownership     test_loop.c      freed_inside_the_loop,
 *                                    server_freed_with_connections
 *     mode          test_api.c       wrong_mode
 *     results       test_io.c        time_outs, receive_control_frames_..
 *     window        test_message.c   feeding_too_soon_is_a_wrong_call
 *                   test_replay.c    all of it
 *                   test_io.c        held_back_bytes_above_a_descriptor
 *     flush         test_loop.c      sends_after_the_last_poll_leave
 *     queue         test_send.c      offered_blocks_stay,
 *                                    pongs_never_inside_a_frame,
 *                                    a_flood_of_pings_stays_bounded
 *     backpressure  test_loop.c      backpressure_loses_nothing,
 *                                    pause_holds_one_connection
 *                   test_send.c      the_limit_of_the_queue
 *                   test_memory.c    sends_that_do_not_fit
 *     threads       test_threads.c   all of it
 *     closing       test_close.c     all of it
 *                   test_loop.c      one_byte_at_a_time, refusals_arrive
 *     requests      test_handshake_server.c   subprotocols
 *     lookup        test_foreign.c   names and raced addresses
 *     callbacks     test_io.c        .._through_a_filter
 *                   test_threads.c   wake_a_poll_over_a_transport_of_ours
 *     options       test_handshake_client.c, test_handshake_server.c
 *                                    injection_is_refused_in_every_option
 *                   test_api.c       options_given_are_kept
 */
#include "lookup.h"
#define WSOCK_IMPLEMENTATION
#include "../../wsock.h"
#include "test.h"
#include "net.h"

/* ------------------------------------------------------- what they share -- */

static void check_prefix(const char *text, const char *prefix)
{
    size_t n = strlen(prefix), most = strlen(text);
    CHECK_BYTES(text, most < n ? most : n, prefix, n);
}

static wsock_server *listen_any(const wsock_options *o, char url[64])
{
    wsock_server *server = wsock_listen("ws://127.0.0.1:0/", o);
    if (!CHECK_RESULT(wsock_server_error(server), WSOCK_OK))
        test_die("a server is needed");
    snprintf(url, 64, "ws://127.0.0.1:%d/path", wsock_server_port(server));
    guard();
    return server;
}

/* Two polled connections, client and server, over the memory pair; what is
 * asked of the transports is written down; the clock is the test's. */
typedef struct duo {
    test_system system;
    test_link link;
    trace traces[2];
    wsock_io io[2];
    wsock *ws[2];  /* the client, the server */
    bytes log[2];  /* their events */
    int ended[2];  /* poll has returned less than 0 */
} duo;

/* Every event that is there now.  Returns what poll ended with. */
static int duo_run(duo *d, int side)
{
    wsock_event e;
    int r = -1;
    if (d->ended[side] || !d->ws[side])
        return -1;
    while ((r = wsock_poll(d->ws[side], &e, 0)) > 0)
        log_event(&d->log[side], &e);
    d->ended[side] = r < 0;
    return r;
}

/* Both, until nothing moves. */
static void duo_settle(duo *d)
{
    long moved;
    do {
        moved = d->link.moved;
        duo_run(d, 0);
        duo_run(d, 1);
    } while (d->link.moved != moved);
}

static void duo_forget(duo *d)
{
    int i;
    for (i = 0; i < 2; i++) {
        bytes_clear(&d->log[i]);
        trace_clear(&d->traces[i]);
    }
}

/* Not attached yet.  Options may be NULL. */
static void duo_make(duo *d, const wsock_options *client,
                     const wsock_options *server)
{
    wsock_options o[2];
    int i;
    guard();
    memset(d, 0, sizeof *d);
    memset(o, 0, sizeof o);
    test_system_init(&d->system);
    test_link_init(&d->link);
    if (client)
        o[0] = *client;
    if (server)
        o[1] = *server;
    for (i = 0; i < 2; i++) {
        o[i].flags |= WSOCK_NONBLOCKING;
        o[i].system = &d->system.system;
        trace_init(&d->traces[i], &d->io[i], &d->link.io[i]);
        d->ws[i] = wsock_new(i ? WSOCK_SERVER : WSOCK_CLIENT,
                             i ? NULL : "ws://h.example/", &o[i]);
    }
}

/* Open on both sides, and all that is behind us. */
static void duo_init(duo *d, const wsock_options *client,
                     const wsock_options *server)
{
    int i;
    duo_make(d, client, server);
    for (i = 0; i < 2; i++)
        CHECK_RESULT(wsock_attach(d->ws[i], &d->io[i]), WSOCK_OK);
    duo_settle(d);
    for (i = 0; i < 2; i++)
        CHECK_STR(bytes_str(&d->log[i]), "OPEN\n");
    duo_forget(d);
}

static void duo_free(duo *d)
{
    int i;
    for (i = 0; i < 2; i++) {
        wsock_free(d->ws[i]);
        CHECK_INT(d->link.end[i].closed, 1);
        bytes_free(&d->log[i]);
    }
    CHECK_NO_LEAK(&d->system);
    test_link_free(&d->link);
}

/* A blocking client over the memory pair, and a polled echo server that runs
 * while the client waits. */
typedef struct solo {
    test_system system;
    test_link link;
    test_peer peer;
    trace tracing;
    wsock_io io;
    wsock *ws;
} solo;

static void solo_init(solo *s, const wsock_options *client,
                      const wsock_options *server)
{
    wsock_options o;
    guard();
    memset(s, 0, sizeof *s);
    test_system_init(&s->system);
    test_link_init(&s->link);
    s->link.pump = test_peer_pump;
    s->link.user = &s->peer;
    s->link.system = &s->system;
    s->peer.link = &s->link;
    memset(&o, 0, sizeof o);
    if (client)
        o = *client;
    o.system = &s->system.system;
    trace_init(&s->tracing, &s->io, &s->link.io[0]);
    s->ws = wsock_new(WSOCK_CLIENT, "ws://h/", &o);
    memset(&o, 0, sizeof o);
    if (server)
        o = *server;
    o.system = &s->system.system;
    o.flags |= WSOCK_NONBLOCKING;
    s->peer.ws = wsock_new(WSOCK_SERVER, NULL, &o);
    CHECK_RESULT(wsock_attach(s->peer.ws, &s->link.io[1]), WSOCK_OK);
    CHECK_RESULT(wsock_attach(s->ws, &s->io), WSOCK_OK);
    while (!s->peer.opens)
        test_peer_pump(&s->peer);
    trace_clear(&s->tracing);
}

static void solo_free(solo *s)
{
    wsock_free(s->ws);
    wsock_free(s->peer.ws);
    CHECK_INT(s->link.end[0].closed, 1);
    CHECK_INT(s->link.end[1].closed, 1);
    CHECK_NO_LEAK(&s->system);
    bytes_free(&s->peer.log);
    test_link_free(&s->link);
}

/* A server on the loopback and plain TCP peers of it, all in one thread. */
enum { HALL_PEERS = 24 };
typedef struct hall {
    test_system system;
    wsock_server *server;
    char url[64];
    int port, ended;
    int opens, closes, requests, messages, drains;
    wsock *ws[HALL_PEERS]; /* in the order of OPEN, or of REQUEST */
    const wsock_request *request; /* the last */
    int fd[HALL_PEERS];
    int peers;
    bytes in[HALL_PEERS];  /* what the peers have read */
    bytes log;             /* events, with the number of the connection */
} hall;

static int hall_number(const hall *h, const wsock *ws)
{
    int i;
    for (i = 0; i < HALL_PEERS; i++)
        if (h->ws[i] == ws)
            return i;
    return -1;
}

/* Writes an event down. */
static void hall_note(hall *h, const wsock_event *e)
{
    int known = hall_number(h, e->ws);
    if (e->type == WSOCK_EVENT_REQUEST
        || (e->type == WSOCK_EVENT_OPEN && known < 0)) {
        for (known = 0; known < HALL_PEERS && h->ws[known]; known++)
            ;
        if (known < HALL_PEERS)
            h->ws[known] = e->ws;
    }
    bytes_format(&h->log, "%d ", known);
    if (e->type == WSOCK_EVENT_REQUEST) {
        h->requests++;
        h->request = e->request;
        bytes_format(&h->log, "%s %s %s\n",
                     e->request->upgrade ? "UPGRADE" : "REQUEST",
                     e->request->method, e->request->target);
        return;
    }
    log_event(&h->log, e);
    h->opens += e->type == WSOCK_EVENT_OPEN;
    h->closes += e->type == WSOCK_EVENT_CLOSE;
    if (e->type == WSOCK_EVENT_CLOSE && known >= 0)
        h->ws[known] = (wsock *)h; /* another may get its address */
    h->messages += e->type == WSOCK_EVENT_MESSAGE;
    h->drains += e->type == WSOCK_EVENT_DRAIN;
}

/* One event at most; if there is none, give others `rest` milliseconds.  (The
 * server cannot wait itself: its clock stands.)  Returns what poll did. */
static int hall_poll(hall *h, int rest)
{
    wsock_event e;
    int r = wsock_server_poll(h->server, &e, 0);
    if (r > 0)
        hall_note(h, &e);
    else if (rest)
        poll(NULL, 0, 1);
    h->ended = r < 0;
    return r;
}

/* The next event, which is not written down. */
static void hall_event(hall *h, wsock_event *e)
{
    while (wsock_server_poll(h->server, e, 0) <= 0)
        poll(NULL, 0, 1);
}

/* Every event that is there now. */
static void hall_run(hall *h)
{
    while (hall_poll(h, 0) > 0)
        ;
}

/* A server whose clock and memory are the test's. */
static void hall_init(hall *h, const wsock_options *options)
{
    wsock_options o;
    memset(h, 0, sizeof *h);
    memset(&o, 0, sizeof o);
    if (options)
        o = *options;
    test_system_init(&h->system);
    o.system = &h->system.system;
    h->server = listen_any(&o, h->url);
    h->port = wsock_server_port(h->server);
}

/* One more peer, connected only. */
static int hall_connect(hall *h, int small)
{
    h->fd[h->peers] = raw_connect(h->port, small);
    return h->peers++;
}

/* One more peer, with an open connection. */
static int hall_join(hall *h, int small)
{
    int i = hall_connect(h, small), opens = h->opens;
    raw_send(h->fd[i], TEST_REQUEST, strlen(TEST_REQUEST));
    while (h->opens == opens || !raw_head(&h->in[i])) {
        hall_poll(h, 1);
        raw_read(h->fd[i], &h->in[i]);
    }
    bytes_drop(&h->in[i], raw_head(&h->in[i]));
    return i;
}

/* A masked text message from a peer. */
static void hall_say(hall *h, int i, const char *text)
{
    bytes b = { 0 };
    frame_text(&b, FIN | 1, 1, text);
    raw_bytes(h->fd[i], &b);
    bytes_free(&b);
}

/* A message of 300000 bytes to a peer that does not read: the queue is over a
 * send_limit of 10000. */
static void hall_fill(hall *h, int i)
{
    static char big[300000];
    int room = 4096;
    setsockopt(raw_other_end(h->fd[i]), SOL_SOCKET, SO_SNDBUF, &room,
               sizeof room);
    CHECK_RESULT(wsock_send(h->ws[i], WSOCK_BINARY, big, sizeof big),
                 WSOCK_OK);
    hall_run(h);
    CHECK(wsock_queued(h->ws[i]) >= 10000);
}

/* Until peer i has `n` bytes more of the stream, or its end; the server runs
 * meanwhile. */
static int hall_take(hall *h, int i, size_t n)
{
    int ended = 0;
    while (!ended && h->in[i].size < n) {
        if (!h->ended)
            hall_run(h);
        ended = raw_read(h->fd[i], &h->in[i]);
    }
    return ended;
}

static void hall_leave(hall *h, int i)
{
    close(h->fd[i]);
    h->fd[i] = -1;
}

/* The same with a reset, which has arrived on return. */
static void hall_reset(hall *h, int i)
{
    struct pollfd p;
    p.fd = raw_other_end(h->fd[i]);
    p.events = 0;
    p.revents = 0;
    raw_reset(h->fd[i]);
    h->fd[i] = -1;
    while (poll(&p, 1, -1) < 1)
        ;
    CHECK((p.revents & (POLLERR | POLLHUP)) != 0);
}

static void hall_free(hall *h)
{
    int i;
    wsock_server_free(h->server);
    CHECK_NO_LEAK(&h->system);
    for (i = 0; i < h->peers; i++) {
        if (h->fd[i] >= 0)
            close(h->fd[i]);
        bytes_free(&h->in[i]);
    }
    bytes_free(&h->log);
}

/* -------------------------------------------------------------- lifetime -- */

/* "Whatever the library hands out lives until the next reading call on that
 * connection or its server": everything else may be called before. */
TEST(lifetime_event_data_until_the_next_reading_call)
{
    duo d;
    wsock_event e;
    wsock_watch watches[4];
    duo_init(&d, NULL, NULL);
    wsock_send(d.ws[1], WSOCK_TEXT, "the first", 9);
    wsock_send(d.ws[1], WSOCK_TEXT, "the second", 10);
    wsock_flush(d.ws[1]);
    CHECK_INT(wsock_poll(d.ws[0], &e, 0), 1);
    CHECK_RESULT(wsock_send(d.ws[0], WSOCK_TEXT, "reply", 5), WSOCK_OK);
    CHECK_RESULT(wsock_send(d.ws[0], WSOCK_PING, "ping", 4), WSOCK_OK);
    CHECK_RESULT(wsock_flush(d.ws[0]), WSOCK_OK);
    CHECK_RESULT(wsock_pause(d.ws[0], 1), WSOCK_OK);
    CHECK_RESULT(wsock_pause(d.ws[0], 0), WSOCK_OK);
    wsock_watches(d.ws[0], watches, 4);
    wsock_timeout(d.ws[0]);
    wsock_queued(d.ws[0]);
    duo_run(&d, 1); /* reading calls of another connection */
    CHECK_RESULT(wsock_shutdown(d.ws[0], 1000, "bye"), WSOCK_OK);
    CHECK_BYTES(e.data, e.size, "the first", 9);
    CHECK_INT(wsock_poll(d.ws[0], &e, 0), 1);
    CHECK_BYTES(e.data, e.size, "the second", 10);
    duo_free(&d);
}

/* The same for a server's: sends to others and broadcasts are no reading. */
TEST(lifetime_event_data_of_a_server)
{
    hall h;
    wsock_event e;
    hall_init(&h, NULL);
    hall_join(&h, 0);
    hall_join(&h, 0);
    hall_say(&h, 0, "the message");
    hall_event(&h, &e);
    CHECK_RESULT(wsock_send(h.ws[1], WSOCK_TEXT, "to another", 10), WSOCK_OK);
    CHECK_INT(wsock_broadcast(h.server, NULL, 0, WSOCK_TEXT, "all", 3), 0);
    CHECK_RESULT(wsock_flush(h.ws[0]), WSOCK_OK);
    wsock_server_timeout(h.server);
    wsock_free(h.ws[1]);
    CHECK_BYTES(e.data, e.size, "the message", 11);
    hall_free(&h);
}

#define UPGRADE_TO(target, more)                                              \
    "GET " target " HTTP/1.1\r\nHost: h.example\r\n" more                     \
    "Upgrade: websocket\r\nConnection: Upgrade\r\n"                           \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"                         \
    "Sec-WebSocket-Version: 13\r\n\r\n"

static void check_request(const wsock_request *q)
{
    CHECK_INT(q->upgrade, 1);
    CHECK_STR(q->method, "GET");
    CHECK_STR(q->target, "/a/b?c=d");
    CHECK_STR(q->path, "/a/b");
    CHECK_STR(q->query, "c=d");
    CHECK_STR(q->host, "h.example");
    CHECK_STR(q->origin, "https://o.example");
    CHECK_STR(q->subprotocols[0], "one");
    CHECK_STR(q->subprotocols[1], "two");
    CHECK_STR(q->subprotocols[2], NULL);
}

/* A hall whose first visitor has made this request. */
static void hall_ask(hall *h)
{
    wsock_options o = options_with(WSOCK_REQUESTS);
    static const char text[] = UPGRADE_TO("/a/b?c=d",
        "Origin: https://o.example\r\nSec-WebSocket-Protocol: one, two\r\n");
    hall_init(h, &o);
    hall_connect(h, 0);
    raw_send(h->fd[0], text, sizeof text - 1);
    while (!h->requests)
        hall_poll(h, 1);
}

/* A request lives until it is answered, whatever is polled meanwhile. */
TEST(lifetime_of_a_request_until_it_is_answered)
{
    const wsock_request *q;
    hall h;
    int i;
    hall_ask(&h);
    q = h.request;
    check_request(q);
    /* Others come, are answered, speak and go. */
    for (i = 1; i < 4; i++) {
        hall_connect(&h, 0);
        raw_send(h.fd[i], TEST_REQUEST, strlen(TEST_REQUEST));
        while (h.requests <= i)
            hall_poll(&h, 1);
        CHECK_RESULT(wsock_upgrade(h.ws[i], NULL, NULL), WSOCK_OK);
        hall_say(&h, i, "something else");
        while (h.messages < i)
            hall_poll(&h, 1);
        hall_leave(&h, i);
        while (h.closes < i)
            hall_poll(&h, 1);
        hall_run(&h);
        check_request(q);
    }
    CHECK_RESULT(wsock_upgrade(h.ws[0], q->subprotocols[1], NULL), WSOCK_OK);
    while (h.opens < 4)
        hall_poll(&h, 1);
    CHECK_STR(wsock_subprotocol(h.ws[0]), "two");
    hall_free(&h);
}

/* ...or until the connection is freed, although its peer has left. */
TEST(lifetime_of_a_request_until_the_connection_is_freed)
{
    hall h;
    int i;
    hall_ask(&h);
    hall_reset(&h, 0);
    for (i = 0; i < 20; i++)
        CHECK_INT(hall_poll(&h, 0), 0);
    check_request(h.request);
    wsock_free(h.ws[0]);
    for (i = 0; i < 20; i++)
        CHECK_INT(hall_poll(&h, 0), 0); /* freed: no further events */
    CHECK_INT(wsock_server_count(h.server), 0);
    hall_free(&h);
}

/* Headers of the peer's head: from OPEN to the next reading call. */
TEST(lifetime_of_headers)
{
    static const char *const headers[] = { "X-Made: by hand", NULL };
    wsock_options o = options_with(0);
    const char *value;
    wsock_event e;
    duo d;
    o.headers = headers;
    duo_make(&d, NULL, &o);
    CHECK_RESULT(wsock_attach(d.ws[0], &d.io[0]), WSOCK_OK);
    CHECK_RESULT(wsock_attach(d.ws[1], &d.io[1]), WSOCK_OK);
    while (wsock_poll(d.ws[0], &e, 0) == 0)
        duo_run(&d, 1);
    CHECK_INT(e.type, WSOCK_EVENT_OPEN);
    value = wsock_header(d.ws[0], "x-made");
    CHECK_RESULT(wsock_send(d.ws[0], WSOCK_TEXT, "hello", 5), WSOCK_OK);
    CHECK_RESULT(wsock_flush(d.ws[0]), WSOCK_OK);
    duo_run(&d, 1);
    CHECK_STR(value, "by hand");
    duo_free(&d);
}

/* "Failure and close reason live until free." */
TEST(lifetime_of_failure_and_close_reason)
{
    const wsock_failure *why, *later;
    const char *reason = NULL;
    int code = 0, i;
    duo d;
    duo_init(&d, NULL, NULL);
    wsock_close(d.ws[1], 4000, "the reason");
    duo_settle(&d);
    d.system.now += 1000;
    duo_settle(&d);
    CHECK_INT(d.ended[0], 1);
    why = wsock_why(d.ws[0]);
    CHECK_RESULT(wsock_close_status(d.ws[0], &code, &reason), WSOCK_OK);
    for (i = 0; i < 10; i++) {
        wsock_event e;
        CHECK(wsock_poll(d.ws[0], &e, 0) < 0);
        CHECK(wsock_send(d.ws[0], WSOCK_TEXT, "x", 1) < 0);
        wsock_close(d.ws[0], 1000, "");
    }
    later = wsock_why(d.ws[0]);
    CHECK(why == later);
    CHECK_STR(reason, "the reason");
    CHECK_STR(why->close_reason, "the reason");
    CHECK_INT(why->close_received, 4000);
    CHECK_INT(code, 4000);
    duo_free(&d);

    test_note("a failure");
    duo_init(&d, NULL, NULL);
    d.link.end[0].in_ended = 1;
    duo_run(&d, 0);
    why = wsock_why(d.ws[0]);
    reason = why->text;
    wsock_send(d.ws[0], WSOCK_TEXT, "x", 1);
    wsock_flush(d.ws[0]);
    wsock_abort(d.ws[0]);
    duo_run(&d, 0);
    CHECK_RESULT(wsock_error(d.ws[0]), WSOCK_CONNECTION_LOST);
    CHECK(wsock_error_text(d.ws[0]) == reason && reason[0]);
    duo_free(&d);
}

/* "Event data is mutable": what stands behind it is not touched. */
TEST(lifetime_event_data_may_be_changed)
{
    duo d;
    wsock_event e;
    int i, side;
    for (side = 0; side < 2; side++) {
        char text[32];
        test_note("side %d", side);
        duo_init(&d, NULL, NULL);
        for (i = 0; i < 20; i++) {
            snprintf(text, sizeof text, "message %d", i);
            wsock_send(d.ws[!side], WSOCK_TEXT, text, strlen(text));
        }
        wsock_flush(d.ws[!side]);
        for (i = 0; i < 20; i++) {
            snprintf(text, sizeof text, "message %d", i);
            CHECK_INT(wsock_poll(d.ws[side], &e, 0), 1);
            CHECK_BYTES(e.data, e.size, text, strlen(text));
            memset(e.data, 0xEE, e.size);
        }
        CHECK_INT(wsock_poll(d.ws[side], &e, 0), 0);
        duo_free(&d);
    }
}

/* ------------------------------------------------------------- ownership -- */

/* "CLOSE is their last event, and the following poll frees them." */
TEST(ownership_close_is_last_and_the_next_poll_frees)
{
    hall h;
    wsock *ws;
    size_t blocks;
    int i;
    hall_init(&h, NULL);
    hall_run(&h);
    hall_join(&h, 0); /* the server's own memory is there now */
    hall_leave(&h, 0);
    while (!h.closes)
        hall_poll(&h, 1);
    hall_run(&h);
    blocks = h.system.live_blocks;
    hall_join(&h, 0);
    ws = h.ws[1];
    hall_leave(&h, 1);
    while (h.closes < 2)
        hall_poll(&h, 1);
    /* Still there, and to be asked. */
    CHECK_INT(wsock_state(ws), WSOCK_STATE_CLOSED);
    CHECK_RESULT(wsock_error(ws), WSOCK_CONNECTION_LOST);
    CHECK(wsock_why(ws)->text[0]);
    CHECK(wsock_send(ws, WSOCK_TEXT, "x", 1) < 0);
    CHECK_INT(hall_poll(&h, 0), 0);
    CHECK_INT(wsock_server_count(h.server), 0);
    CHECK_INT(h.system.live_blocks, blocks);
    for (i = 0; i < 10; i++)
        CHECK_INT(hall_poll(&h, 0), 0);
    CHECK_INT(h.closes, 2);
    hall_free(&h);
}

/* "wsock_free() earlier means no further events." */
TEST(ownership_freed_earlier_means_no_further_events)
{
    hall h;
    int i;
    hall_init(&h, NULL);
    hall_join(&h, 0);
    hall_join(&h, 0);
    hall_say(&h, 0, "never read");
    hall_say(&h, 0, "nor this");
    hall_say(&h, 1, "read");
    raw_arrived(h.fd[0]);
    wsock_free(h.ws[0]);
    bytes_clear(&h.log);
    while (h.messages < 1)
        hall_poll(&h, 1);
    for (i = 0; i < 20; i++)
        CHECK_INT(hall_poll(&h, 0), 0);
    CHECK_STR(bytes_str(&h.log), "1 TEXT \"read\"\n");
    CHECK_INT(wsock_server_count(h.server), 1);
    hall_free(&h);
}

/* A client that a server also polls: it reports there, and stays ours. */
TEST(ownership_added_connections_stay_ours)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    int how;
    for (how = 0; how < 3; how++) {
        hall h;
        wsock *ws;
        wsock_event e;
        wsock_server *other;
        char url[64];
        int opens = 0, closes = 0, i, r;
        bytes log = { 0 };
        test_note("way %d", how);
        hall_init(&h, NULL);
        o.system = &h.system.system;
        other = listen_any(&o, url);
        ws = wsock_connect(h.url, &o);
        CHECK_RESULT(wsock_server_add(other, ws), WSOCK_OK);
        CHECK_RESULT(wsock_poll(ws, &e, 0), WSOCK_INVALID_OPERATION);
        while (!opens || !h.opens) {
            hall_run(&h);
            while (wsock_server_poll(other, &e, 0) > 0) {
                CHECK(e.ws == ws);
                opens += e.type == WSOCK_EVENT_OPEN;
            }
        }
        CHECK_RESULT(wsock_send(h.ws[0], WSOCK_TEXT, "hello", 5), WSOCK_OK);
        do {
            hall_run(&h);
            r = wsock_server_poll(other, &e, 0);
        } while (r == 0);
        CHECK(e.ws == ws);
        CHECK_BYTES(e.data, e.size, "hello", 5);
        if (how == 0) { /* freed after CLOSE, which a poll does not do */
            wsock_close(h.ws[0], 1000, "bye");
            while (!closes) {
                hall_run(&h);
                while (wsock_server_poll(other, &e, 0) > 0)
                    closes += e.type == WSOCK_EVENT_CLOSE;
            }
            for (i = 0; i < 5; i++)
                CHECK_INT(wsock_server_poll(other, &e, 0), 0);
            CHECK_INT(closes, 1);
            CHECK_INT(wsock_state(ws), WSOCK_STATE_CLOSED);
            CHECK_RESULT(wsock_error(ws), WSOCK_OK);
            wsock_free(ws);
        } else if (how == 1) { /* freed when we like */
            wsock_free(ws);
            for (i = 0; i < 5; i++)
                CHECK_INT(wsock_server_poll(other, &e, 0), 0);
        }
        wsock_server_free(other);
        if (how == 2) { /* freed after the server, with which it ended */
            CHECK_INT(wsock_state(ws), WSOCK_STATE_CLOSED);
            CHECK(wsock_send(ws, WSOCK_TEXT, "x", 1) < 0);
            wsock_free(ws);
        }
        bytes_free(&log);
        hall_free(&h);
    }
}

/* What wsock_server_add() does not take. */
TEST(ownership_what_cannot_be_added)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    static uint64_t block[20000];
    test_system system;
    test_link link;
    wsock_server *server;
    wsock *ws, *out;
    char url[64];
    server = listen_any(NULL, url);
    ws = wsock_new(WSOCK_CLIENT, url, NULL); /* blocking */
    CHECK(wsock_server_add(server, ws) < 0);
    CHECK_RESULT(wsock_error(ws), WSOCK_OK);
    wsock_free(ws);
    CHECK(wsock_server_add(server, NULL) < 0);
    test_system_init(&system);
    o.system = &system.system; /* another allocator */
    ws = wsock_new(WSOCK_CLIENT, url, &o);
    CHECK(wsock_server_add(server, ws) < 0);
    wsock_free(ws);
    o.system = NULL;
    o.receive_buffer = 4096;
    o.memory = block;
    o.memory_size = sizeof block;
    ws = wsock_new(WSOCK_CLIENT, url, &o);
    CHECK(ws != NULL);
    CHECK(wsock_server_add(server, ws) < 0);
    wsock_free(ws);
    o.memory = NULL;
    test_link_init(&link);
    o.io = &link.io[0]; /* without fd */
    ws = wsock_new(WSOCK_CLIENT, url, &o);
    CHECK(wsock_server_add(server, ws) < 0);
    wsock_free(ws);
    o.io = NULL;
    CHECK_RESULT(wsock_accept(server, &out, 0), WSOCK_TIMED_OUT);
    ws = wsock_new(WSOCK_CLIENT, url, &o);
    CHECK(wsock_server_add(server, ws) < 0); /* driven by accept */
    wsock_free(ws);
    wsock_server_free(server);
    server = listen_any(NULL, url);
    wsock_server_close(server);
    ws = wsock_new(WSOCK_CLIENT, url, &o);
    CHECK(wsock_server_add(server, ws) < 0); /* it has closed */
    wsock_free(ws);
    wsock_server_free(server);
    test_link_free(&link);
}

/* Accepted connections are ours: the server may go before. */
TEST(ownership_accepted_connections_are_ours)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    char url[64];
    wsock_server *server = listen_any(&o, url);
    wsock *client = wsock_connect(url, &o), *ws = NULL;
    wsock_event e;
    int got = 0;
    while (!ws || wsock_state(client) != WSOCK_STATE_OPEN) {
        wsock_poll(client, &e, 0);
        if (!ws)
            wsock_accept(server, &ws, 1);
    }
    wsock_server_free(server);
    CHECK_RESULT(wsock_send(client, WSOCK_TEXT, "still here", 10), WSOCK_OK);
    while (!got) {
        wsock_poll(client, &e, 0);
        got = wsock_poll(ws, &e, 10) > 0 && e.type == WSOCK_EVENT_MESSAGE;
    }
    CHECK_BYTES(e.data, e.size, "still here", 10);
    wsock_free(client);
    wsock_free(ws);
}

/* "Only poll calls report and only poll calls free: a send or broadcast that
 * meets a dead peer leaves every handle valid, CLOSE comes later." */
TEST(ownership_a_dead_peer_leaves_every_handle_valid)
{
    hall h;
    int i, k;
    hall_init(&h, NULL);
    for (i = 0; i < 4; i++)
        hall_join(&h, 0);
    hall_run(&h);
    for (i = 0; i < 3; i++)
        hall_reset(&h, i);
    for (k = 0; k < 10; k++) {
        wsock_broadcast(h.server, NULL, 0, WSOCK_TEXT, "to all", 6);
        for (i = 0; i < 4; i++) {
            wsock_send(h.ws[i], WSOCK_TEXT, "to one", 6);
            wsock_flush(h.ws[i]);
        }
    }
    CHECK_INT(wsock_server_count(h.server), 4);
    for (i = 0; i < 4; i++)
        CHECK_RESULT(wsock_error(h.ws[i]),
                     i < 3 ? wsock_error(h.ws[0]) : WSOCK_OK);
    CHECK_INT(h.closes, 0);
    while (h.closes < 3)
        hall_poll(&h, 1);
    hall_run(&h);
    CHECK_INT(h.closes, 3);
    CHECK_INT(wsock_server_count(h.server), 1);
    CHECK_RESULT(wsock_send(h.ws[3], WSOCK_TEXT, "alive", 5), WSOCK_OK);
    hall_free(&h);
}

/* "One OPEN, one CLOSE", however it ends. */
TEST(ownership_one_open_and_one_close)
{
    int how, side;
    for (how = 0; how < 4; how++) {
        duo d;
        int turns;
        test_note("way %d", how);
        duo_make(&d, NULL, NULL);
        for (side = 0; side < 2; side++)
            CHECK_RESULT(wsock_attach(d.ws[side], &d.io[side]), WSOCK_OK);
        duo_settle(&d);
        if (how == 0)
            wsock_close(d.ws[0], 1000, "");
        else if (how == 1)
            wsock_abort(d.ws[1]);
        else if (how == 2)
            bytes_text(&d.link.end[1].in, "\xFF\xFF garbage");
        else
            d.link.end[0].in_ended = d.link.end[1].in_ended = 1;
        for (turns = 0; turns < 20; turns++) {
            duo_settle(&d);
            d.system.now += 500;
        }
        for (side = 0; side < 2; side++) {
            const char *log = bytes_str(&d.log[side]), *close;
            CHECK(!strncmp(log, "OPEN\n", 5));
            close = strstr(log, "CLOSE");
            CHECK(close != NULL);
            CHECK(close && !strstr(close + 5, "CLOSE"));
            CHECK(!strstr(log + 5, "OPEN"));
            CHECK_INT(d.ended[side], 1);
        }
        duo_free(&d);
    }
}

/* What a polled client reports until its end. */
static void until_the_end(wsock *ws, hall *h, test_system *s, bytes *log)
{
    wsock_event e;
    int r;
    while ((r = wsock_poll(ws, &e, 0)) >= 0) {
        if (r > 0)
            log_event(log, &e);
        if (h)
            hall_run(h);
        if (s)
            s->now += 1;
    }
}

/* What comes to a listening socket while a polled client is on its way. */
static int accept_from(int fd, wsock *ws)
{
    wsock_event e;
    int peer = -1;
    raw_nonblocking(fd);
    while (peer < 0) {
        CHECK_INT(wsock_poll(ws, &e, 0), 0);
        peer = accept(fd, NULL, NULL);
    }
    return peer;
}

/* "A client that fails before OPEN also gets CLOSE, with the reason." */
TEST(ownership_a_client_that_fails_before_open_gets_close)
{
    static const char *const origins[] = { "https://good.example", NULL };
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    wsock_options so = options_with(0);
    test_system system;
    bytes log = { 0 };
    int fd = raw_listen("127.0.0.1", 0, 8), port = net_port(fd), peer;
    char url[64];
    wsock *ws;
    hall h;
    guard();
    test_system_init(&system);
    o.system = &system.system;
    snprintf(url, sizeof url, "ws://127.0.0.1:%d/", port);

    test_note("an answer that is no HTTP");
    ws = wsock_connect(url, &o);
    peer = accept_from(fd, ws);
    raw_send(peer, "what?\r\n\r\n", 9);
    close(peer);
    until_the_end(ws, NULL, NULL, &log);
    CHECK_STR(bytes_str(&log), "CLOSE 1006 \"\" WSOCK_HTTP_ERROR\n");
    wsock_free(ws);

    test_note("no answer");
    bytes_clear(&log);
    ws = wsock_connect(url, &o);
    peer = accept_from(fd, ws);
    until_the_end(ws, NULL, &system, &log);
    CHECK_STR(bytes_str(&log), "CLOSE 1006 \"\" WSOCK_TIMED_OUT\n");
    wsock_free(ws);
    close(peer);
    close(fd);

    test_note("nobody listens");
    bytes_clear(&log);
    ws = wsock_connect(url, &o);
    until_the_end(ws, NULL, NULL, &log);
    CHECK_STR(bytes_str(&log), "CLOSE 1006 \"\" WSOCK_CONNECT_FAILED\n");
    wsock_free(ws);

    test_note("no such name");
    bytes_clear(&log);
    lookup_set("", "", 0);
    ws = wsock_connect("ws://nobody.test/", &o);
    until_the_end(ws, NULL, NULL, &log);
    CHECK_STR(bytes_str(&log), "CLOSE 1006 \"\" WSOCK_LOOKUP_FAILED\n");
    wsock_free(ws);

    test_note("refused");
    bytes_clear(&log);
    so.origins = origins;
    hall_init(&h, &so);
    o.origin = "https://evil.example";
    ws = wsock_connect(h.url, &o);
    until_the_end(ws, &h, NULL, &log);
    CHECK_STR(bytes_str(&log), "CLOSE 1006 \"\" WSOCK_REFUSED\n");
    wsock_free(ws);
    /* "Only a server reports nothing of peers whose handshake fails." */
    CHECK_STR(bytes_str(&h.log), "");
    hall_free(&h);

    lookup_wait_idle();
    CHECK_NO_LEAK(&system);
    bytes_free(&log);
}

/* ------------------------------------------------------------------ mode -- */

/* "receive on blocking handles, poll on polled ones, else
 * WSOCK_INVALID_OPERATION"; which is no failure of the connection. */
TEST(mode_is_fixed_when_it_is_made)
{
    wsock_status got;
    wsock_event e;
    char text[8];
    wsock *core;
    solo s;
    duo d;
    duo_init(&d, NULL, NULL);
    CHECK_RESULT(wsock_receive(d.ws[0], text, 8, &got),
                 WSOCK_INVALID_OPERATION);
    CHECK_RESULT(wsock_next(d.ws[0], &e), WSOCK_INVALID_OPERATION);
    CHECK_RESULT(wsock_feed(d.ws[0], text, 8), WSOCK_INVALID_OPERATION);
    CHECK_RESULT(wsock_cancel(d.ws[0]), WSOCK_INVALID_OPERATION);
    wsock_send(d.ws[1], WSOCK_TEXT, "hello", 5);
    duo_settle(&d);
    CHECK_STR(bytes_str(&d.log[0]), "TEXT \"hello\"\n");
    CHECK_RESULT(wsock_error(d.ws[0]), WSOCK_OK);
    duo_free(&d);
    solo_init(&s, NULL, NULL);
    CHECK_RESULT(wsock_poll(s.ws, &e, 0), WSOCK_INVALID_OPERATION);
    CHECK_RESULT(wsock_next(s.ws, &e), WSOCK_INVALID_OPERATION);
    CHECK_RESULT(wsock_pause(s.ws, 1), WSOCK_INVALID_OPERATION);
    CHECK_RESULT(wsock_send(s.ws, WSOCK_TEXT, "hello", 5), WSOCK_OK);
    CHECK_RESULT(wsock_receive(s.ws, text, 8, &got), WSOCK_OK);
    CHECK_RESULT(wsock_error(s.ws), WSOCK_OK);
    solo_free(&s);
    core = core_open(WSOCK_CLIENT, NULL);
    CHECK_RESULT(wsock_receive(core, text, 8, &got),
                 WSOCK_INVALID_OPERATION);
    CHECK_RESULT(wsock_poll(core, &e, 0), WSOCK_INVALID_OPERATION);
    CHECK_RESULT(wsock_wake(core), WSOCK_INVALID_OPERATION);
    CHECK_RESULT(wsock_error(core), WSOCK_OK);
    wsock_free(core);
}

/* "wsock_close() on a polled handle only starts closing." */
TEST(mode_close_on_a_polled_handle_only_starts)
{
    duo d;
    duo_init(&d, NULL, NULL);
    CHECK_RESULT(wsock_close(d.ws[0], 1000, "bye"), WSOCK_OK);
    CHECK_INT(wsock_state(d.ws[0]), WSOCK_STATE_CLOSING);
    CHECK_INT(trace_count(&d.traces[0], 'W'), 0);
    CHECK_INT(duo_run(&d, 0), 0); /* the peer has not been asked yet */
    CHECK_STR(bytes_str(&d.log[0]), "");
    duo_settle(&d);
    d.system.now += 1000;
    duo_settle(&d);
    CHECK_STR(bytes_str(&d.log[0]), "CLOSE 1000 \"\" WSOCK_OK\n");
    CHECK_STR(bytes_str(&d.log[1]), "CLOSE 1000 \"bye\" WSOCK_OK\n");
    duo_free(&d);
}

/* "wsock_free() never waits for the peer": not even when it takes nothing. */
TEST(mode_free_never_waits_for_the_peer)
{
    static char big[100000];
    char url[64];
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    wsock_server *server;
    wsock_event e;
    wsock *ws;
    int64_t before;
    solo s;
    duo d;
    duo_init(&d, NULL, NULL);
    d.link.end[0].capacity = 4;
    CHECK_RESULT(wsock_send(d.ws[0], WSOCK_BINARY, big, sizeof big),
                 WSOCK_OK);
    wsock_free(d.ws[0]);
    d.ws[0] = NULL;
    CHECK_INT(d.link.end[0].closed, 1);
    CHECK_INT(trace_count(&d.traces[0], 'W'), 0);
    duo_free(&d);

    solo_init(&s, NULL, NULL);
    s.link.pump = NULL;
    before = s.system.now;
    wsock_free(s.ws);
    s.ws = NULL;
    CHECK_INT(s.link.end[0].closed, 1);
    CHECK_INT(trace_count(&s.tracing, 'W'), 0);
    CHECK_INT(s.system.now, before);
    s.link.pump = test_peer_pump;
    test_peer_end(&s.peer);
    solo_free(&s);

    /* A look-up that goes on for ever. */
    lookup_set("127.0.0.1", "", 1);
    ws = wsock_connect("ws://slow.test/", &o);
    wsock_poll(ws, &e, 0);
    wsock_free(ws);
    lookup_release();
    lookup_wait_idle();

    /* A server full of them. */
    server = listen_any(NULL, url);
    ws = wsock_connect(url, &o);
    while (wsock_state(ws) != WSOCK_STATE_OPEN) {
        wsock_server_poll(server, &e, 1);
        wsock_poll(ws, &e, 0);
    }
    while (wsock_send(ws, WSOCK_BINARY, big, sizeof big) == WSOCK_OK)
        ;
    wsock_free(ws);
    wsock_server_free(server);
}

/* --------------------------------------------------------------- results -- */

/* "0 done; positive 'not now'; negative failed." */
TEST(results_zero_positive_negative)
{
    wsock_options o = options_with(0);
    wsock *ws;
    o.send_limit = 1;
    ws = core_open(WSOCK_SERVER, &o);
    CHECK_INT(wsock_send(ws, WSOCK_TEXT, "taken", 5), 0);
    CHECK(wsock_send(ws, WSOCK_TEXT, "not now", 7) > 0);
    CHECK(wsock_send(ws, 0, "wrong", 5) < 0);
    wsock_abort(ws);
    CHECK(wsock_send(ws, WSOCK_TEXT, "failed", 6) < 0);
    wsock_free(ws);
    CHECK_INT(WSOCK_OK, 0);
    CHECK_INT(WSOCK_WOULD_BLOCK, 1); /* the only one above 0 */
    CHECK_STR(wsock_result_name(2), wsock_result_name(12345));
}

/* "Polls: 1 event, 0 none, negative ended." */
TEST(results_of_poll_calls)
{
    wsock_event e;
    hall h;
    duo d;
    duo_init(&d, NULL, NULL);
    CHECK_INT(wsock_poll(d.ws[0], &e, 0), 0);
    CHECK_INT(e.type, WSOCK_EVENT_NONE);
    wsock_send(d.ws[1], WSOCK_TEXT, "x", 1);
    CHECK_INT(wsock_poll(d.ws[0], &e, 0), 1);
    CHECK_INT(e.type, WSOCK_EVENT_MESSAGE);
    wsock_abort(d.ws[0]);
    CHECK_INT(wsock_poll(d.ws[0], &e, 0), 1);
    CHECK_INT(e.type, WSOCK_EVENT_CLOSE);
    CHECK(wsock_poll(d.ws[0], &e, 0) < 0);
    CHECK_INT(e.type, WSOCK_EVENT_NONE);
    duo_free(&d);
    hall_init(&h, NULL);
    CHECK_INT(wsock_server_poll(h.server, &e, 0), 0);
    CHECK_INT(e.type, WSOCK_EVENT_NONE);
    hall_join(&h, 0);
    hall_say(&h, 0, "x");
    CHECK_INT(wsock_server_poll(h.server, &e, WSOCK_NEVER), 1);
    wsock_server_close(h.server);
    hall_leave(&h, 0);
    while (hall_poll(&h, 1) >= 0)
        h.system.now += 100;
    CHECK_RESULT(wsock_server_poll(h.server, &e, 0), WSOCK_CLOSED);
    hall_free(&h);
}

/* "Wrong calls, WOULD_BLOCK, a receive time-out and CANCELLED never stick."
 */
TEST(results_that_never_stick)
{
    wsock_options o = options_with(0);
    wsock_status got;
    char text[16];
    wsock *ws;
    solo s;
    o.receive_timeout = 200;
    solo_init(&s, &o, NULL);
    CHECK_RESULT(wsock_send(s.ws, 99, "x", 1), WSOCK_INVALID_PARAMETER);
    CHECK_RESULT(wsock_shutdown(s.ws, 1, ""), WSOCK_INVALID_PARAMETER);
    CHECK_RESULT(wsock_dial(s.ws), WSOCK_INVALID_OPERATION);
    CHECK_RESULT(wsock_receive(s.ws, text, sizeof text, &got),
                 WSOCK_TIMED_OUT);
    CHECK_RESULT(wsock_cancel(s.ws), WSOCK_OK);
    CHECK_RESULT(wsock_receive(s.ws, text, sizeof text, &got),
                 WSOCK_CANCELLED);
    CHECK_RESULT(wsock_error(s.ws), WSOCK_OK);
    CHECK_RESULT(wsock_send(s.ws, WSOCK_TEXT, "hello", 5), WSOCK_OK);
    CHECK_RESULT(wsock_receive(s.ws, text, sizeof text, &got), WSOCK_OK);
    CHECK_BYTES(text, got.bytes, "hello", 5);
    CHECK_RESULT(wsock_close(s.ws, 1000, ""), WSOCK_OK);
    CHECK_RESULT(wsock_error(s.ws), WSOCK_OK);
    test_peer_end(&s.peer);
    solo_free(&s);
    memset(&o, 0, sizeof o);
    o.send_limit = 1;
    ws = core_open(WSOCK_CLIENT, &o);
    wsock_send(ws, WSOCK_TEXT, "x", 1);
    CHECK_RESULT(wsock_send(ws, WSOCK_TEXT, "x", 1), WSOCK_WOULD_BLOCK);
    CHECK_RESULT(wsock_error(ws), WSOCK_OK);
    take_output(ws, NULL);
    CHECK_RESULT(wsock_send(ws, WSOCK_TEXT, "x", 1), WSOCK_OK);
    wsock_free(ws);
}

/* "A send time-out in the middle of a frame does" stick. */
TEST(results_a_send_that_times_out_sticks)
{
    wsock_options o = options_with(0);
    wsock_status got;
    char text[16];
    solo s;
    o.send_timeout = 500;
    solo_init(&s, &o, NULL);
    s.link.pump = NULL;
    s.link.end[0].capacity = 4;
    CHECK_RESULT(wsock_send(s.ws, WSOCK_TEXT, "long enough", 11),
                 WSOCK_TIMED_OUT);
    s.link.end[0].capacity = 0;
    CHECK_RESULT(wsock_send(s.ws, WSOCK_TEXT, "again", 5), WSOCK_TIMED_OUT);
    CHECK_RESULT(wsock_receive(s.ws, text, sizeof text, &got),
                 WSOCK_TIMED_OUT);
    CHECK_RESULT(wsock_error(s.ws), WSOCK_TIMED_OUT);
    CHECK_INT(wsock_why(s.ws)->operation, WSOCK_OPERATION_SEND);
    s.link.pump = test_peer_pump;
    test_peer_end(&s.peer);
    solo_free(&s);
}

/* "After an orderly close wsock_error() is 0." */
TEST(results_after_an_orderly_close)
{
    wsock_status got;
    char text[16];
    solo s;
    duo d;
    int side;
    duo_init(&d, NULL, NULL);
    wsock_close(d.ws[1], 4321, "why not");
    duo_settle(&d);
    d.system.now += 1000;
    duo_settle(&d);
    for (side = 0; side < 2; side++) {
        CHECK_RESULT(wsock_error(d.ws[side]), WSOCK_OK);
        CHECK_RESULT(wsock_why(d.ws[side])->code, WSOCK_OK);
        CHECK_INT(wsock_why(d.ws[side])->close_sent, 4321);
        CHECK_INT(wsock_why(d.ws[side])->close_received, 4321);
    }
    duo_free(&d);
    solo_init(&s, NULL, NULL);
    wsock_close(s.peer.ws, 1001, "");
    CHECK_RESULT(wsock_receive(s.ws, text, sizeof text, &got), WSOCK_OK);
    CHECK_INT(got.kind, WSOCK_CLOSE);
    CHECK_RESULT(wsock_close(s.ws, 1000, ""), WSOCK_OK);
    CHECK_RESULT(wsock_error(s.ws), WSOCK_OK);
    CHECK_INT(wsock_state(s.ws), WSOCK_STATE_CLOSED);
    test_peer_end(&s.peer);
    solo_free(&s);
}

/* "receive yields FRAGMENT only when the buffer is full", however the
 * message was cut on the wire; "or, with WSOCK_PARTS, as bytes come". */
TEST(results_receive_yields_fragment_only_when_full)
{
    wsock_options o = options_with(WSOCK_PARTS);
    bytes b = { 0 };
    wsock_status got;
    char text[16];
    size_t whole;
    solo s;
    solo_init(&s, NULL, NULL);
    s.link.end[0].max_read = 3;
    frame_text(&b, 1, 0, "ab");
    frame_text(&b, 0, 0, "cdef");
    frame_text(&b, FIN | 0, 0, "gh");
    bytes_put(&s.link.end[0].in, b.data, b.size);
    CHECK_RESULT(wsock_receive(s.ws, text, sizeof text, &got), WSOCK_OK);
    CHECK_INT(got.kind, WSOCK_TEXT);
    CHECK_BYTES(text, got.bytes, "abcdefgh", 8);
    bytes_put(&s.link.end[0].in, b.data, b.size);
    CHECK_RESULT(wsock_receive(s.ws, text, 5, &got), WSOCK_OK);
    CHECK_INT(got.kind, WSOCK_TEXT | WSOCK_FRAGMENT);
    CHECK_BYTES(text, got.bytes, "abcde", 5);
    CHECK_RESULT(wsock_receive(s.ws, text, 5, &got), WSOCK_OK);
    CHECK_INT(got.kind, WSOCK_TEXT);
    CHECK_BYTES(text, got.bytes, "fgh", 3);
    solo_free(&s);

    solo_init(&s, &o, NULL);
    bytes_clear(&b);
    frame_text(&b, FIN | 1, 0, "0123456789");
    whole = b.size;
    bytes_put(&s.link.end[0].in, b.data, whole - 6);
    CHECK_RESULT(wsock_receive(s.ws, text, sizeof text, &got), WSOCK_OK);
    CHECK_INT(got.kind, WSOCK_TEXT | WSOCK_FRAGMENT);
    CHECK_BYTES(text, got.bytes, "0123", 4); /* the rest is not there yet */
    bytes_put(&s.link.end[0].in, b.data + whole - 6, 6);
    CHECK_RESULT(wsock_receive(s.ws, text, sizeof text, &got), WSOCK_OK);
    CHECK_INT(got.kind, WSOCK_TEXT);
    CHECK_BYTES(text, got.bytes, "456789", 6);
    solo_free(&s);
    bytes_free(&b);
}

/* A peer that thinks for an hour. */
static int pump_after_an_hour(void *user)
{
    solo *s = (solo *)user;
    s->system.now += 10000; /* a wait without end asks again and again */
    if (s->system.now < 3700000)
        return 0;
    wsock_send(s->peer.ws, WSOCK_TEXT, "late", 4);
    return 1;
}

/* "Times are int milliseconds, -1 never, 0 in options the default, 0 in
 * calls now." */
TEST(results_of_times)
{
    wsock_options o = options_with(0);
    const wsock_options *in_force;
    wsock_status got;
    wsock_event e;
    char text[8];
    int64_t before;
    wsock *ws;
    solo s;
    duo d;
    o.connect_timeout = WSOCK_NEVER;
    o.stall_timeout = 77;
    ws = wsock_new(WSOCK_CLIENT, "ws://h/", &o);
    in_force = wsock_effective_options(ws);
    CHECK_INT(in_force->connect_timeout, WSOCK_NEVER);
    CHECK_INT(in_force->stall_timeout, 77);
    CHECK_INT(in_force->lookup_timeout, 10000);
    CHECK_INT(in_force->handshake_timeout, 10000);
    CHECK_INT(in_force->send_timeout, 30000);
    CHECK_INT(in_force->receive_timeout, WSOCK_NEVER);
    CHECK_INT(in_force->close_timeout, 10000);
    CHECK_INT(in_force->keepalive_interval, 30000);
    CHECK_INT(in_force->pong_timeout, 20000);
    wsock_free(ws);
    o.connect_timeout = -2;
    ws = wsock_new(WSOCK_CLIENT, "ws://h/", &o);
    CHECK_RESULT(wsock_error(ws), WSOCK_INVALID_PARAMETER);
    wsock_free(ws);
    /* Now: neither waits, nor does the clock move. */
    duo_init(&d, NULL, NULL);
    before = d.system.now;
    CHECK_INT(wsock_poll(d.ws[0], &e, 0), 0);
    CHECK_INT(d.system.now, before);
    CHECK_INT(trace_count(&d.traces[0], 'W'), 0);
    duo_free(&d);
    /* Never: an hour of the clock goes by. */
    memset(&o, 0, sizeof o);
    o.keepalive_interval = WSOCK_NEVER;
    solo_init(&s, &o, &o);
    s.link.pump = pump_after_an_hour;
    s.link.user = &s;
    before = s.system.now;
    CHECK_RESULT(wsock_receive(s.ws, text, 8, &got), WSOCK_OK);
    CHECK_BYTES(text, got.bytes, "late", 4);
    CHECK(s.system.now - before >= 3600000);
    solo_free(&s);
}

/* "A late call looks at what has come first": whoever loaded a level for a
 * minute loses nothing. */
TEST(results_a_late_poll_looks_at_what_has_come_first)
{
    wsock_options o = options_with(0);
    static char big[2000];
    duo d;
    int i;
    o.keepalive_interval = 1000;
    o.pong_timeout = 500;

    test_note("a Pong has come");
    duo_init(&d, &o, NULL);
    d.system.now += 1000;
    duo_run(&d, 0);
    CHECK(trace_count(&d.traces[0], 'w') == 1);
    duo_run(&d, 1);
    CHECK_STR(bytes_str(&d.log[1]), "PING \"\"\n");
    d.system.now += 60000;
    CHECK_INT(duo_run(&d, 0), 0);
    duo_settle(&d);
    CHECK_RESULT(wsock_error(d.ws[0]), WSOCK_OK);
    duo_free(&d);

    test_note("a message has come");
    duo_init(&d, &o, NULL);
    wsock_send(d.ws[1], WSOCK_TEXT, "waiting", 7);
    wsock_flush(d.ws[1]);
    d.system.now += 60000;
    CHECK_INT(duo_run(&d, 0), 0);
    CHECK_STR(bytes_str(&d.log[0]), "TEXT \"waiting\"\n");
    CHECK_RESULT(wsock_error(d.ws[0]), WSOCK_OK);
    test_note("nothing comes");
    for (i = 0; i < 40 && !d.ended[0]; i++) {
        d.system.now += 100;
        duo_run(&d, 0);
    }
    CHECK_RESULT(wsock_error(d.ws[0]), WSOCK_TIMED_OUT);
    duo_free(&d);

    test_note("the handshake's answer has come");
    duo_make(&d, NULL, NULL);
    CHECK_RESULT(wsock_attach(d.ws[0], &d.io[0]), WSOCK_OK);
    CHECK_RESULT(wsock_attach(d.ws[1], &d.io[1]), WSOCK_OK);
    duo_run(&d, 0);
    duo_run(&d, 1);
    d.system.now += 60000;
    duo_run(&d, 0);
    CHECK(!strncmp(bytes_str(&d.log[0]), "OPEN\n", 5));
    CHECK_RESULT(wsock_error(d.ws[0]), WSOCK_OK);
    duo_free(&d);

    test_note("the peer's Close has come");
    duo_init(&d, NULL, NULL);
    CHECK_RESULT(wsock_close(d.ws[0], 1000, ""), WSOCK_OK);
    duo_run(&d, 0);
    duo_run(&d, 1);
    d.system.now += 60000;
    for (i = 0; i < 20; i++) {
        duo_run(&d, 0);
        d.system.now += 100;
    }
    CHECK_STR(bytes_str(&d.log[0]), "CLOSE 1000 \"\" WSOCK_OK\n");
    duo_free(&d);

    test_note("the peer has taken what was queued");
    duo_init(&d, NULL, NULL);
    d.link.end[0].capacity = 100;
    CHECK_RESULT(wsock_send(d.ws[0], WSOCK_BINARY, big, sizeof big),
                 WSOCK_OK);
    CHECK_INT(duo_run(&d, 0), 0);
    d.link.end[0].capacity = 0;
    d.system.now += 60000;
    CHECK_INT(duo_run(&d, 0), 0);
    CHECK_INT(wsock_queued(d.ws[0]), 0);
    CHECK_RESULT(wsock_error(d.ws[0]), WSOCK_OK);
    duo_free(&d);
}

/* -------------------------------------------------------- receive window -- */

/* "A loop has one receive window": many connections, not so many windows. */
TEST(window_is_one_for_all_connections)
{
    wsock_options o = options_with(0);
    size_t before;
    hall h;
    int i;
    o.receive_buffer = 1 << 20;
    hall_init(&h, &o);
    before = h.system.live_bytes;
    for (i = 0; i < HALL_PEERS; i++) {
        hall_join(&h, 0);
        hall_say(&h, i, "hello");
        while (h.messages <= i)
            hall_poll(&h, 1);
    }
    CHECK(h.system.live_bytes - before < (2u << 20));
    hall_free(&h);
}

/* "Each poll parses on from the cursor": a hundred messages in one read. */
TEST(window_polls_parse_on_from_the_cursor)
{
    bytes b = { 0 };
    wsock_event e;
    duo d;
    int i;
    duo_init(&d, NULL, NULL);
    for (i = 0; i < 100; i++)
        frame_text(&b, FIN | 1, 0, "a message");
    bytes_put(&d.link.end[0].in, b.data, b.size);
    for (i = 0; i < 100; i++) {
        CHECK_INT(wsock_poll(d.ws[0], &e, 0), 1);
        CHECK_BYTES(e.data, e.size, "a message", 9);
        CHECK_INT(trace_count(&d.traces[0], 'r'), 1);
    }
    CHECK_INT(wsock_poll(d.ws[0], &e, 0), 0);
    CHECK_INT(trace_count(&d.traces[0], 'r'), 1);
    duo_free(&d);
    bytes_free(&b);
}

/* "At its end the tail of an unfinished frame goes to the connection": two
 * that share the window, each with half a frame at a time. */
TEST(window_tails_go_to_their_connections)
{
    wsock_options o = options_with(0);
    bytes b[2] = { { 0 }, { 0 } };
    size_t at[2] = { 0, 0 }, n;
    char text[700];
    hall h;
    int i, k;
    o.receive_buffer = 4096;
    hall_init(&h, &o);
    hall_join(&h, 0);
    hall_join(&h, 0);
    bytes_clear(&h.log);
    for (i = 0; i < 30; i++)
        for (k = 0; k < 2; k++) {
            memset(text, 'a' + k, sizeof text);
            n = (size_t)(i * 23 + k * 31);
            frame_put(&b[k], FIN | 1, 1, text, n);
        }
    while (at[0] < b[0].size || at[1] < b[1].size) {
        for (k = 0; k < 2; k++) {
            n = b[k].size - at[k] < 97 ? b[k].size - at[k] : 97;
            if (n)
                raw_send(h.fd[k], b[k].data + at[k], n);
            at[k] += n;
        }
        hall_run(&h);
    }
    while (h.messages < 60)
        hall_poll(&h, 1);
    for (k = 0; k < 2; k++) {
        bytes want = { 0 }, got = { 0 };
        const char *line = bytes_str(&h.log), *end;
        for (i = 0; i < 30; i++) {
            memset(text, 'a' + k, sizeof text);
            bytes_format(&want, "%d TEXT", k);
            log_data(&want, text, (size_t)(i * 23 + k * 31));
            bytes_text(&want, "\n");
        }
        for (; (end = strchr(line, '\n')) != NULL; line = end + 1)
            if (line[0] == '0' + k)
                bytes_put(&got, line, (size_t)(end - line) + 1);
        CHECK_STR(bytes_str(&got), bytes_str(&want));
        bytes_free(&want);
        bytes_free(&got);
        bytes_free(&b[k]);
    }
    hall_free(&h);
}

/* "Replies are flushed" before the next connection is read. */
TEST(window_replies_leave_before_the_next_is_read)
{
    bytes log = { 0 };
    wsock_event e;
    hall h;
    int first, i;
    hall_init(&h, NULL);
    for (i = 0; i < 2; i++)
        hall_join(&h, 0);
    hall_run(&h);
    for (i = 0; i < 2; i++)
        hall_say(&h, i, "hello");
    for (i = 0; i < 2; i++)
        raw_arrived(h.fd[i]);
    hall_event(&h, &e);
    first = hall_number(&h, e.ws);
    CHECK_RESULT(wsock_send(e.ws, WSOCK_TEXT, "answer", 6), WSOCK_OK);
    CHECK_INT(raw_read(h.fd[first], &h.in[first]), 0);
    CHECK_INT(h.in[first].size, 0); /* it is gathered still */
    hall_event(&h, &e);
    CHECK_INT(hall_number(&h, e.ws), !first);
    raw_wait(h.fd[first]);
    raw_read(h.fd[first], &h.in[first]);
    CHECK_STR(raw_frames(&h.in[first], &log), "text \"answer\"\n");
    bytes_free(&log);
    hall_free(&h);
}

/* "Round robin: nobody starves." */
TEST(window_nobody_starves)
{
    wsock_options o = options_with(0);
    bytes flood = { 0 };
    int i, from_flood = 0, turn, most = 0;
    wsock_event e;
    hall h;
    o.receive_buffer = 4096;
    hall_init(&h, &o);
    for (i = 0; i < 3; i++)
        hall_join(&h, 0);
    for (i = 0; i < 1000; i++)
        frame_text(&flood, FIN | 1, 1, "one of very many messages");
    for (turn = 0; turn < 10; turn++) {
        int heard[3] = { 0, 0, 0 };
        from_flood = 0;
        raw_bytes(h.fd[0], &flood);
        hall_say(&h, 1, "a word");
        hall_say(&h, 2, "a word");
        for (i = 0; i < 3; i++)
            raw_arrived(h.fd[i]);
        while (heard[0] < 1000 || !heard[1] || !heard[2]) {
            int k;
            hall_event(&h, &e);
            k = hall_number(&h, e.ws);
            heard[k]++;
            if (k)
                most = from_flood > most ? from_flood : most;
            else
                from_flood++;
        }
    }
    /* A window holds some 130 of them. */
    CHECK(most <= 4096 / 31 * 2 + 2);
    bytes_free(&flood);
    hall_free(&h);
}

/* "Freeing a connection drops its cursor." */
TEST(window_freeing_drops_the_cursor)
{
    hall h;
    int i;
    hall_init(&h, NULL);
    hall_join(&h, 0);
    hall_join(&h, 0);
    for (i = 0; i < 10; i++)
        hall_say(&h, 0, "in one window");
    raw_arrived(h.fd[0]);
    while (!h.messages)
        hall_poll(&h, 1);
    wsock_free(h.ws[0]);
    h.ws[0] = NULL;
    hall_say(&h, 1, "the other");
    bytes_clear(&h.log);
    while (h.messages < 2)
        hall_poll(&h, 1);
    hall_run(&h);
    CHECK_STR(bytes_str(&h.log), "1 TEXT \"the other\"\n");
    hall_free(&h);
}

/* "Its memory is reclaimed when the kernel's batch is done": connections
 * that the kernel called ready are freed before their turn. */
TEST(window_freed_inside_a_batch)
{
    hall h;
    int i, k;
    wsock_event e;
    hall_init(&h, NULL);
    for (i = 0; i < 8; i++)
        hall_join(&h, 0);
    hall_run(&h);
    for (i = 0; i < 8; i++)
        hall_say(&h, i, "ready");
    for (i = 0; i < 8; i++)
        raw_arrived(h.fd[i]);
    for (k = 0; k < 3; k++) {
        int freed = 0;
        hall_event(&h, &e);
        CHECK_INT(e.type, WSOCK_EVENT_MESSAGE);
        CHECK(hall_number(&h, e.ws) >= 0);
        for (i = 0; i < 8 && freed < 2; i++)
            if (h.ws[i] && h.ws[i] != e.ws) {
                wsock_free(h.ws[i]);
                h.ws[i] = NULL;
                freed++;
            }
    }
    CHECK_INT(wsock_server_count(h.server), 2);
    hall_free(&h);
}

/* "wsock_feed lends its bytes until wsock_next has none; n = 0 is end of
 * stream." */
TEST(window_feeding_sooner_is_a_wrong_call)
{
    wsock *ws = core_open(WSOCK_SERVER, NULL);
    bytes b = { 0 };
    wsock_event e;
    frame_text(&b, FIN | 1, 1, "one");
    frame_text(&b, FIN | 1, 1, "two");
    CHECK_RESULT(wsock_feed(ws, b.data, b.size), WSOCK_OK);
    CHECK_RESULT(wsock_feed(ws, b.data, b.size), WSOCK_INVALID_OPERATION);
    CHECK_INT(wsock_next(ws, &e), 1);
    CHECK((uint8_t *)e.data > b.data && (uint8_t *)e.data < b.data + b.size);
    CHECK_RESULT(wsock_feed(ws, b.data, b.size), WSOCK_INVALID_OPERATION);
    CHECK_INT(wsock_next(ws, &e), 1);
    CHECK_BYTES(e.data, e.size, "two", 3);
    CHECK_INT(wsock_next(ws, &e), 0);
    CHECK_RESULT(wsock_error(ws), WSOCK_OK);
    CHECK_RESULT(wsock_feed(ws, b.data, 0), WSOCK_OK);
    CHECK_INT(wsock_next(ws, &e), 1);
    CHECK_INT(e.type, WSOCK_EVENT_CLOSE);
    CHECK_RESULT(e.why->code, WSOCK_CONNECTION_LOST);
    wsock_free(ws);
    bytes_free(&b);
}

/* A transport that holds bytes which no descriptor shows, as TLS does. */
typedef struct drip {
    bytes in;
    size_t at;
    int fd; /* never ready */
} drip;

static ptrdiff_t drip_read(void *user, void *data, size_t size)
{
    drip *d = (drip *)user;
    size_t n = d->in.size - d->at;
    if (!n)
        return WSOCK_WANT_READ;
    if (n > 3)
        n = 3;
    if (n > size)
        n = size;
    memcpy(data, d->in.data + d->at, n);
    d->at += n;
    return (ptrdiff_t)n;
}

static ptrdiff_t drip_write(void *user, const wsock_buf *bufs, size_t count)
{
    size_t i, n = 0;
    (void)user;
    for (i = 0; i < count; i++)
        n += bufs[i].size;
    return (ptrdiff_t)n;
}

static intptr_t drip_fd(void *user)
{
    return ((drip *)user)->fd;
}

/* "A transport is read until it says WANT, or the connection stays on the
 * ready list": no poll waits for the descriptor before. */
TEST(window_a_transport_is_read_until_it_wants)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    int fds[2], added, i;
    char url[64];
    if (pipe(fds))
        test_die("no pipe");
    for (added = 0; added < 2; added++) {
        wsock_server *server = listen_any(NULL, url);
        wsock *ws = wsock_new(WSOCK_SERVER, NULL, &o);
        bytes log = { 0 }, want = { 0 };
        wsock_event e;
        wsock_io io;
        drip d;
        test_note("added %d", added);
        memset(&d, 0, sizeof d);
        memset(&io, 0, sizeof io);
        io.read = drip_read;
        io.write = drip_write;
        io.fd = drip_fd;
        io.user = &d;
        d.fd = fds[0];
        bytes_text(&d.in, TEST_REQUEST);
        bytes_text(&want, "OPEN\n");
        for (i = 0; i < 5; i++) {
            frame_text(&d.in, FIN | 1, 1, "held back");
            bytes_text(&want, "TEXT \"held back\"\n");
        }
        CHECK_RESULT(wsock_attach(ws, &io), WSOCK_OK);
        if (added)
            CHECK_RESULT(wsock_server_add(server, ws), WSOCK_OK);
        for (i = 0; i < 6; i++) {
            while ((added ? wsock_server_poll(server, &e, WSOCK_NEVER)
                          : wsock_poll(ws, &e, WSOCK_NEVER)) == 0)
                ;
            log_event(&log, &e);
        }
        CHECK_STR(bytes_str(&log), bytes_str(&want));
        wsock_free(ws);
        wsock_server_free(server);
        bytes_free(&d.in);
        bytes_free(&log);
        bytes_free(&want);
    }
    close(fds[0]);
    close(fds[1]);
}

/* ----------------------------------------------------------------- flush -- */

/* An event for side 0, so that what it sends now is gathered. */
static void duo_event(duo *d)
{
    wsock_event e;
    wsock_send(d->ws[1], WSOCK_TEXT, "an event", 8);
    wsock_flush(d->ws[1]);
    CHECK_INT(wsock_poll(d->ws[0], &e, 0), 1);
    duo_forget(d);
}

/* "Sends made between an event and the next poll are corked", and leave
 * together. */
TEST(flush_sends_after_an_event_are_gathered)
{
    duo d;
    int i;
    duo_init(&d, NULL, NULL);
    duo_event(&d);
    for (i = 0; i < 10; i++)
        CHECK_RESULT(wsock_send(d.ws[0], WSOCK_TEXT, "a part", 6), WSOCK_OK);
    CHECK_STR(d.traces[0].log, "");
    CHECK(wsock_queued(d.ws[0]) >= 60);
    duo_run(&d, 0);
    CHECK_STR(d.traces[0].log, "w");
    CHECK_INT(wsock_queued(d.ws[0]), 0);
    duo_free(&d);
}

/* "Once poll has returned 0 they leave at once." */
TEST(flush_at_once_when_poll_has_returned_0)
{
    duo d;
    int i;
    duo_init(&d, NULL, NULL);
    duo_event(&d);
    duo_run(&d, 0);
    trace_clear(&d.traces[0]);
    for (i = 0; i < 3; i++) {
        CHECK_RESULT(wsock_send(d.ws[0], WSOCK_TEXT, "a frame", 7), WSOCK_OK);
        CHECK_INT(wsock_queued(d.ws[0]), 0);
    }
    CHECK_STR(d.traces[0].log, "www");
    duo_free(&d);
}

/* "Flushed: before the window is reused": the write stands before the next
 * read, though both could have been done. */
TEST(flush_before_the_window_is_reused)
{
    wsock_event e;
    duo d;
    duo_init(&d, NULL, NULL);
    duo_event(&d);
    wsock_send(d.ws[1], WSOCK_TEXT, "another", 7);
    wsock_flush(d.ws[1]);
    CHECK_RESULT(wsock_send(d.ws[0], WSOCK_TEXT, "an answer", 9), WSOCK_OK);
    CHECK_INT(wsock_poll(d.ws[0], &e, 0), 1);
    CHECK_BYTES(e.data, e.size, "another", 7);
    CHECK_STR(d.traces[0].log, "wr");
    duo_free(&d);
}

/* Accepts one and echoes until it closes. */
static void *echo_one(void *user)
{
    wsock_server *server = (wsock_server *)user;
    static char text[4096];
    wsock_status got;
    wsock *ws = NULL;
    if (wsock_accept(server, &ws, WSOCK_NEVER) != WSOCK_OK)
        return NULL;
    while (wsock_receive(ws, text, sizeof text, &got) == WSOCK_OK
           && got.kind != WSOCK_CLOSE)
        wsock_send(ws, got.kind, text, got.bytes);
    wsock_close(ws, 1000, "");
    wsock_free(ws);
    return ws; /* not NULL */
}

/* "Before waiting": what an event caused leaves before a poll that may wait
 * for ever, or the answer would never come. */
TEST(flush_before_waiting)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    char url[64];
    wsock_server *server = listen_any(NULL, url);
    wsock *ws = wsock_connect(url, &o);
    pthread_t thread;
    wsock_event e;
    int messages = 0, r;
    CHECK_INT(pthread_create(&thread, NULL, echo_one, server), 0);
    while ((r = wsock_poll(ws, &e, WSOCK_NEVER)) >= 0)
        if (r && (e.type == WSOCK_EVENT_OPEN
                  || e.type == WSOCK_EVENT_MESSAGE)) {
            messages += e.type == WSOCK_EVENT_MESSAGE;
            if (messages < 5)
                wsock_send(ws, WSOCK_TEXT, "go on", 5);
            else
                wsock_close(ws, 1000, "");
        }
    CHECK_INT(messages, 5);
    CHECK_RESULT(wsock_error(ws), WSOCK_OK);
    pthread_join(thread, NULL);
    wsock_free(ws);
    wsock_server_free(server);
}

/* "Above 64 KiB." */
TEST(flush_above_64_kib)
{
    static char part[4000];
    duo d;
    size_t sum = 0;
    duo_init(&d, NULL, NULL);
    duo_event(&d);
    while (!d.traces[0].log[0] && sum < 1000000) {
        CHECK_RESULT(wsock_send(d.ws[0], WSOCK_BINARY, part, sizeof part),
                     WSOCK_OK);
        sum += sizeof part;
    }
    CHECK(sum > 65536 - 2 * sizeof part);
    CHECK(sum <= 65536 + 2 * sizeof part);
    duo_free(&d);
}

/* "By wsock_flush." */
TEST(flush_by_the_call)
{
    duo d;
    duo_init(&d, NULL, NULL);
    duo_event(&d);
    CHECK_RESULT(wsock_send(d.ws[0], WSOCK_TEXT, "now", 3), WSOCK_OK);
    CHECK_STR(d.traces[0].log, "");
    CHECK_RESULT(wsock_flush(d.ws[0]), WSOCK_OK);
    CHECK_STR(d.traces[0].log, "w");
    d.link.end[0].capacity = 2;
    CHECK_RESULT(wsock_send(d.ws[0], WSOCK_TEXT, "later", 5), WSOCK_OK);
    CHECK_RESULT(wsock_flush(d.ws[0]), WSOCK_WOULD_BLOCK);
    CHECK_RESULT(wsock_error(d.ws[0]), WSOCK_OK);
    duo_free(&d);
}

/* "Payload inside the window is queued by reference and copied only if the
 * kernel refuses it."  (What is small is copied at once.) */
TEST(flush_echoes_by_reference)
{
    uint8_t *data = test_pattern(20000);
    int refuse;
    for (refuse = 0; refuse < 2; refuse++) {
        bytes want = { 0 };
        wsock_event e;
        duo d;
        test_note("refused %d", refuse);
        duo_init(&d, NULL, NULL);
        wsock_send(d.ws[0], WSOCK_BINARY, data, 20000);
        wsock_flush(d.ws[0]);
        CHECK_INT(wsock_poll(d.ws[1], &e, 0), 1);
        CHECK_INT(e.size, 20000);
        if (refuse)
            d.link.end[1].capacity = 10;
        d.traces[1].watched = (char *)e.data + 10000;
        CHECK_RESULT(wsock_send(e.ws, e.kind, e.data, e.size), WSOCK_OK);
        /* The window is used for other things meanwhile. */
        wsock_send(d.ws[0], WSOCK_TEXT, "something else", 14);
        wsock_flush(d.ws[0]);
        duo_run(&d, 1);
        CHECK_INT(d.traces[1].seen, 1);
        d.link.end[1].capacity = 0;
        duo_settle(&d);
        bytes_text(&want, "BINARY");
        log_data(&want, data, 20000);
        bytes_text(&want, "\n");
        CHECK_STR(bytes_str(&d.log[0]), bytes_str(&want));
        bytes_free(&want);
        duo_free(&d);
    }
    free(data);
}

/* ------------------------------------------------------------ send queue -- */

/* "Blocks do not move between output and output_done." */
TEST(queue_blocks_do_not_move)
{
    wsock *ws = core_open(WSOCK_CLIENT, NULL);
    wsock_buf bufs[4], again[4];
    bytes out = { 0 };
    size_t count, i;
    wsock_send(ws, WSOCK_TEXT, "hello", 5);
    count = wsock_output(ws, bufs, 4);
    CHECK(count >= 1);
    bytes_put(&out, bufs[0].data, bufs[0].size);
    for (i = 0; i < 1000; i++)
        wsock_send(ws, WSOCK_TEXT, "another", 7);
    CHECK_BYTES(bufs[0].data, bufs[0].size, out.data, out.size);
    CHECK(wsock_output(ws, again, 4) >= 1);
    CHECK(again[0].data == bufs[0].data);
    wsock_free(ws);
    bytes_free(&out);
}

/* "A frame is masked when its item is taken for the wire": borrowed memory
 * is read no sooner. */
TEST(queue_is_masked_when_taken)
{
    wsock *ws = core_open(WSOCK_CLIENT, NULL);
    char text[] = "before", context[] = "c";
    bytes out = { 0 };
    wsock_buf buf;
    frame f;
    buf.data = text;
    buf.size = 6;
    CHECK_RESULT(wsock_sendv(ws, WSOCK_TEXT | WSOCK_BORROW, &buf, 1,
                             context), WSOCK_OK);
    memcpy(text, "after!", 6);
    take_output(ws, &out);
    CHECK_INT(frame_get(out.data, out.size, &f), out.size);
    CHECK_INT(f.masked, 1);
    CHECK_BYTES(f.payload, f.size, "after!", 6);
    CHECK_STR(text, "after!"); /* and it is masked elsewhere */
    wsock_free(ws);
    bytes_free(&out);
}

/* "Masking a borrowed payload stages 16 KiB at a time." */
TEST(queue_stages_16_kib_at_a_time)
{
    uint8_t *data = test_pattern(200000);
    wsock_options o = options_with(0);
    wsock_buf buf, bufs[8];
    char context[] = "c";
    test_system system;
    bytes out = { 0 };
    size_t count, i, n, before;
    wsock *ws;
    frame f;
    test_system_init(&system);
    o.system = &system.system;
    ws = core_open(WSOCK_CLIENT, &o);
    before = system.live_bytes;
    buf.data = data;
    buf.size = 200000;
    CHECK_RESULT(wsock_sendv(ws, WSOCK_BINARY | WSOCK_BORROW, &buf, 1,
                             context), WSOCK_OK);
    while ((count = wsock_output(ws, bufs, 8)) > 0) {
        for (i = n = 0; i < count; i++) {
            bytes_put(&out, bufs[i].data, bufs[i].size);
            n += bufs[i].size;
        }
        CHECK(n <= 16384 + 14);
        CHECK(system.live_bytes - before < 2 * 16384);
        wsock_output_done(ws, n);
    }
    CHECK_INT(frame_get(out.data, out.size, &f), out.size);
    CHECK_BYTES(f.payload, f.size, data, 200000);
    wsock_free(ws);
    CHECK_NO_LEAK(&system);
    bytes_free(&out);
    free(data);
}

/* "Pongs go between frames." */
TEST(queue_pongs_go_between_frames)
{
    wsock *ws = core_open(WSOCK_SERVER, NULL);
    bytes in = { 0 }, out = { 0 }, log = { 0 };
    wsock_buf bufs[4];
    wsock_send(ws, WSOCK_TEXT, "the first frame", 15);
    wsock_send(ws, WSOCK_TEXT, "the second frame", 16);
    CHECK(wsock_output(ws, bufs, 4) > 0);
    bytes_put(&out, bufs[0].data, 5); /* the first has begun */
    CHECK_RESULT(wsock_output_done(ws, 5), WSOCK_OK);
    frame_text(&in, FIN | 9, 1, "ping");
    feed_bytes(ws, &in, NULL);
    take_output(ws, &out);
    frames_log(&log, &out, 0);
    CHECK(!strncmp(bytes_str(&log), "text \"the first frame\"\n", 23));
    CHECK(bytes_find(&log, "pong \"ping\"\n") != NULL);
    CHECK(bytes_find(&log, "text \"the second frame\"\n") != NULL);
    CHECK(bytes_find(&log, "bytes of a frame") == NULL);
    wsock_free(ws);
    bytes_free(&in);
    bytes_free(&out);
    bytes_free(&log);
}

/* "When 1 KiB of them waits, a newer replaces an older" (RFC 6455 5.5.3). */
TEST(queue_newer_pongs_replace_older)
{
    wsock *ws = core_open(WSOCK_SERVER, NULL);
    bytes in = { 0 }, out = { 0 }, log = { 0 };
    char text[128];
    int i;
    for (i = 0; i < 100; i++) {
        bytes_clear(&in);
        snprintf(text, sizeof text, "%030d", i);
        frame_text(&in, FIN | 9, 1, text);
        feed_bytes(ws, &in, NULL);
        CHECK(wsock_queued(ws) <= 1024 + 32);
    }
    take_output(ws, &out);
    frames_log(&log, &out, 0);
    bytes_clear(&in);
    bytes_format(&in, "pong \"%s\"\n", text);
    CHECK(bytes_find(&log, bytes_str(&in)) != NULL); /* the newest */
    CHECK(bytes_find(&log, "pong \"000000000000000000000000000000\"\n")
          != NULL); /* the oldest that had its place */
    wsock_free(ws);
    bytes_free(&in);
    bytes_free(&out);
    bytes_free(&log);
}

/* A broadcast is framed once and shared: many queues, one copy. */
TEST(queue_broadcasts_are_shared)
{
    uint8_t *data = test_pattern(30000);
    wsock_options o = options_with(0);
    bytes want = { 0 };
    wsock_event e;
    size_t before;
    int i;
    hall h;
    hall_init(&h, &o);
    for (i = 0; i < 20; i++)
        hall_join(&h, 0);
    hall_run(&h);
    hall_say(&h, 0, "now");
    hall_event(&h, &e);
    before = h.system.live_bytes;
    CHECK_INT(wsock_broadcast(h.server, NULL, 0, WSOCK_BINARY, data, 30000),
              0);
    CHECK(wsock_queued(h.ws[7]) >= 30000); /* gathered, as after an event */
    CHECK(h.system.live_bytes - before < 20 * 10000);
    frame_put(&want, FIN | 2, 0, data, 30000);
    for (i = 0; i < 20; i++) {
        hall_take(&h, i, want.size);
        CHECK_BYTES(h.in[i].data, h.in[i].size, want.data, want.size);
    }
    /* Some of it is kept for the next time, and then used. */
    before = h.system.live_bytes;
    CHECK_INT(wsock_broadcast(h.server, NULL, 0, WSOCK_BINARY, data, 30000),
              0);
    for (i = 0; i < 20; i++)
        hall_take(&h, i, 2 * want.size);
    CHECK_INT(h.system.live_bytes, before);
    bytes_free(&want);
    hall_free(&h);
    free(data);
}

/* What wsock_broadcast() passes over, and what it counts as skipped. */
TEST(queue_broadcasts_and_who_is_passed_over)
{
    wsock_options o = options_with(0);
    wsock *to[4];
    hall h;
    int i;
    o.send_limit = 1;
    hall_init(&h, &o);
    for (i = 0; i < 5; i++)
        hall_join(&h, 0);
    hall_connect(&h, 0); /* says nothing: it is not open */
    hall_run(&h);
    to[0] = h.ws[3];
    to[1] = NULL;
    to[2] = h.ws[1];
    to[3] = NULL;
    CHECK_INT(wsock_broadcast(h.server, to, 4, WSOCK_TEXT, "some", 4), 0);
    CHECK_RESULT(wsock_send(h.ws[0], WSOCK_TEXT | WSOCK_FRAGMENT, "a", 1),
                 WSOCK_OK);
    CHECK_RESULT(wsock_shutdown(h.ws[2], 1000, ""), WSOCK_OK);
    /* 0 is in the middle of a message, 2 has sent Close. */
    CHECK_INT(wsock_broadcast(h.server, NULL, 0, WSOCK_TEXT, "all", 3), 1);
    CHECK_RESULT(wsock_send(h.ws[0], WSOCK_TEXT, "b", 1), WSOCK_OK);
    CHECK_INT(wsock_broadcast(h.server, NULL, 0, WSOCK_TEXT, "", 0), 0);
    CHECK_RESULT(wsock_broadcast(h.server, NULL, 0, WSOCK_PING, "x", 1),
                 WSOCK_INVALID_PARAMETER);
    CHECK_RESULT(wsock_broadcast(h.server, NULL, 1, WSOCK_TEXT, "x", 1),
                 WSOCK_INVALID_PARAMETER);
    CHECK_RESULT(wsock_broadcast(h.server, NULL, 0, WSOCK_TEXT, NULL, 1),
                 WSOCK_INVALID_PARAMETER);
    for (i = 0; i < 5; i++) {
        static const char *const want[] = {
            "text+ \"a\"\ncontinuation \"b\"\ntext \"\"\n",
            "text \"some\"\ntext \"all\"\ntext \"\"\n",
            "close 1000\n",
            "text \"some\"\ntext \"all\"\ntext \"\"\n",
            "text \"all\"\ntext \"\"\n"
        };
        bytes log = { 0 };
        test_note("peer %d", i);
        while (strcmp(raw_frames(&h.in[i], &log), want[i])) {
            size_t before = h.in[i].size;
            hall_run(&h);
            raw_read(h.fd[i], &h.in[i]);
            if (h.in[i].size == before)
                raw_wait(h.fd[i]);
        }
        bytes_free(&log);
    }
    hall_free(&h);
}

/* Those whose queue is at send_limit are skipped and counted, "and get DRAIN
 * later"; the others have it. */
TEST(queue_broadcasts_skip_full_queues)
{
    wsock_options o = options_with(0);
    bytes log = { 0 };
    hall h;
    o.send_limit = 10000;
    hall_init(&h, &o);
    hall_join(&h, 1);
    hall_join(&h, 0);
    hall_fill(&h, 0);
    CHECK_INT(wsock_broadcast(h.server, NULL, 0, WSOCK_TEXT, "news", 4), 1);
    CHECK_INT(wsock_broadcast(h.server, h.ws, 1, WSOCK_TEXT, "news", 4), 1);
    CHECK_INT(wsock_broadcast(h.server, h.ws + 1, 1, WSOCK_TEXT, "", 0), 0);
    CHECK_INT(h.drains, 0);
    CHECK_INT(hall_take(&h, 0, 300000 + 10), 0);
    hall_run(&h);
    CHECK_INT(h.drains, 1);
    CHECK_INT(wsock_broadcast(h.server, NULL, 0, WSOCK_TEXT, "more", 4), 0);
    CHECK_INT(hall_take(&h, 0, 300000 + 16), 0);
    CHECK_STR(raw_frames(&h.in[0], &log),
              "binary 300000 bytes\ntext \"more\"\n");
    CHECK_INT(hall_take(&h, 1, 6 + 2 + 6), 0);
    CHECK_STR(raw_frames(&h.in[1], &log),
              "text \"news\"\ntext \"\"\ntext \"more\"\n");
    bytes_free(&log);
    hall_free(&h);
}

/* ---------------------------------------------------------- backpressure -- */

/* "send_limit is soft: below it a message is taken whole, at it WOULD_BLOCK
 * and nothing taken, DRAIN once it has halved." */
TEST(backpressure_send_limit_is_soft)
{
    wsock_options o = options_with(0);
    uint8_t *data = test_pattern(5000);
    size_t queued;
    duo d;
    o.send_limit = 1000;
    duo_init(&d, &o, NULL);
    d.link.end[0].capacity = 1;
    CHECK_RESULT(wsock_send(d.ws[0], WSOCK_BINARY, data, 990), WSOCK_OK);
    CHECK_RESULT(wsock_send(d.ws[0], WSOCK_BINARY, data, 5000), WSOCK_OK);
    queued = wsock_queued(d.ws[0]);
    CHECK(queued >= 5990);
    CHECK_RESULT(wsock_send(d.ws[0], WSOCK_BINARY, data, 1),
                 WSOCK_WOULD_BLOCK);
    CHECK_INT(wsock_queued(d.ws[0]), queued);
    d.link.end[0].capacity = queued - 600; /* down to 600 of 1000 */
    duo_run(&d, 0);
    CHECK_STR(bytes_str(&d.log[0]), "");
    CHECK_INT(wsock_queued(d.ws[0]), 601);
    duo_run(&d, 1);
    d.link.end[0].capacity = 101; /* and to 500 */
    duo_run(&d, 0);
    CHECK_STR(bytes_str(&d.log[0]), "DRAIN\n");
    d.link.end[0].capacity = 0;
    duo_settle(&d);
    CHECK_STR(bytes_str(&d.log[0]), "DRAIN\n"); /* once */
    CHECK(bytes_find(&d.log[1], "BINARY 5000 bytes") != NULL);
    duo_free(&d);
    free(data);
}

/* Echoes all that there is now, as long as everything is taken. */
static int hall_echo(hall *h)
{
    wsock_event e;
    int n = 0;
    while (wsock_server_poll(h->server, &e, 0) > 0) {
        if (e.type == WSOCK_EVENT_MESSAGE) {
            CHECK_RESULT(wsock_send(e.ws, e.kind, e.data, e.size), WSOCK_OK);
            n++;
        }
    }
    return n;
}

/* As much of a flood as the peer's socket takes.  Returns the bytes. */
static size_t flood_some(int fd, const bytes *b, size_t at)
{
    ssize_t n = send(fd, b->data + at, b->size - at, MSG_NOSIGNAL);
    return n > 0 ? (size_t)n : 0;
}

/* "A polled server reads nothing from a connection whose queue is at its
 * limit, so that an echo loses nothing." */
TEST(backpressure_a_server_reads_nothing_at_the_limit)
{
    enum { COUNT = 600 };
    wsock_options o = options_with(0);
    bytes flood = { 0 }, want = { 0 };
    uint8_t *data = test_pattern(5000);
    size_t at = 0, before;
    int i, room = 4096, echoed = 0, idle = 0;
    hall h;
    o.send_limit = 10000;
    hall_init(&h, &o);
    hall_join(&h, 1);
    setsockopt(raw_other_end(h.fd[0]), SOL_SOCKET, SO_SNDBUF, &room,
               sizeof room);
    for (i = 0; i < COUNT; i++) {
        memcpy(data, &i, sizeof i);
        frame_put(&flood, FIN | 2, 1, data, 5000);
        frame_put(&want, FIN | 2, 0, data, 5000);
    }
    /* Until neither side moves any more: the peer reads nothing. */
    while (idle < 100) {
        size_t n = flood_some(h.fd[0], &flood, at);
        int k = hall_echo(&h);
        at += n;
        echoed += k;
        idle = n || k ? 0 : idle + 1;
        poll(NULL, 0, idle != 0);
    }
    CHECK(at < flood.size);
    CHECK(echoed < COUNT / 2);
    CHECK(wsock_queued(h.ws[0]) > 5000); /* else it would go on */
    CHECK(wsock_queued(h.ws[0]) < 10000 + 6000);
    CHECK(h.system.live_bytes < 1000000);
    while (h.in[0].size < want.size) {
        before = h.in[0].size;
        at += flood_some(h.fd[0], &flood, at);
        hall_echo(&h);
        raw_read(h.fd[0], &h.in[0]);
        if (h.in[0].size == before)
            hall_poll(&h, 1);
    }
    CHECK_BYTES(h.in[0].data, h.in[0].size, want.data, want.size);
    hall_free(&h);
    bytes_free(&flood);
    bytes_free(&want);
    free(data);
}

/* "wsock_pause does the same by hand": for clients too, and messages that
 * have been read already wait as well. */
TEST(backpressure_pause_does_the_same)
{
    wsock_event e;
    duo d;
    int i;
    duo_init(&d, NULL, NULL);
    for (i = 0; i < 3; i++)
        wsock_send(d.ws[1], WSOCK_TEXT, "m", 1);
    wsock_flush(d.ws[1]);
    CHECK_INT(wsock_poll(d.ws[0], &e, 0), 1);
    CHECK_RESULT(wsock_pause(d.ws[0], 1), WSOCK_OK);
    for (i = 0; i < 3; i++)
        wsock_send(d.ws[1], WSOCK_TEXT, "n", 1);
    wsock_flush(d.ws[1]);
    trace_clear(&d.traces[0]);
    for (i = 0; i < 5; i++)
        CHECK_INT(wsock_poll(d.ws[0], &e, 0), 0);
    CHECK_INT(trace_count(&d.traces[0], 'r'), 0);
    CHECK_RESULT(wsock_send(d.ws[0], WSOCK_TEXT, "may send", 8), WSOCK_OK);
    duo_run(&d, 1);
    CHECK_STR(bytes_str(&d.log[1]), "TEXT \"may send\"\n");
    CHECK_RESULT(wsock_pause(d.ws[0], 0), WSOCK_OK);
    duo_run(&d, 0);
    CHECK_STR(bytes_str(&d.log[0]),
              "TEXT \"m\"\nTEXT \"m\"\n"
              "TEXT \"n\"\nTEXT \"n\"\nTEXT \"n\"\n");
    duo_free(&d);
}

/* Without I/O: wsock_next() returns 0 meanwhile, and fed bytes stay lent. */
TEST(backpressure_pause_without_io)
{
    wsock *ws = core_open(WSOCK_SERVER, NULL);
    bytes b = { 0 };
    wsock_event e;
    frame_text(&b, FIN | 1, 1, "one");
    frame_text(&b, FIN | 1, 1, "two");
    CHECK_RESULT(wsock_feed(ws, b.data, b.size), WSOCK_OK);
    CHECK_INT(wsock_next(ws, &e), 1);
    CHECK_RESULT(wsock_pause(ws, 1), WSOCK_OK);
    CHECK_INT(wsock_next(ws, &e), 0);
    CHECK_RESULT(wsock_feed(ws, b.data, b.size), WSOCK_INVALID_OPERATION);
    CHECK_RESULT(wsock_pause(ws, 0), WSOCK_OK);
    CHECK_INT(wsock_next(ws, &e), 1);
    CHECK_BYTES(e.data, e.size, "two", 3);
    CHECK_INT(wsock_next(ws, &e), 0);
    wsock_free(ws);
    bytes_free(&b);
}

/* A peer that never answers a ping is dead, but not while it is not asked:
 * "the pong time-out rests meanwhile". */
TEST(backpressure_the_pong_timeout_rests_while_paused)
{
    wsock_options o = options_with(0);
    int i;
    duo d;
    o.keepalive_interval = 1000;
    o.pong_timeout = 500;
    o.stall_timeout = 30000;
    duo_init(&d, &o, NULL);
    d.system.now += 999;
    duo_run(&d, 0);
    CHECK_STR(d.traces[0].log, "");
    d.system.now += 1;
    duo_run(&d, 0);
    CHECK_STR(d.traces[0].log, "w"); /* the ping */
    d.system.now += 400;
    duo_run(&d, 0);
    CHECK_RESULT(wsock_pause(d.ws[0], 1), WSOCK_OK);
    for (i = 0; i < 200; i++) {
        d.system.now += 100;
        CHECK_INT(duo_run(&d, 0), 0);
    }
    CHECK_RESULT(wsock_pause(d.ws[0], 0), WSOCK_OK);
    CHECK_INT(duo_run(&d, 0), 0); /* it is asked again first */
    CHECK_STR(bytes_str(&d.log[0]), "");
    for (i = 0; i < 20 && !d.ended[0]; i++) {
        d.system.now += 100;
        duo_run(&d, 0);
    }
    CHECK_STR(bytes_str(&d.log[0]), "CLOSE 1006 \"\" WSOCK_TIMED_OUT\n");
    duo_free(&d);
}

/* "...while the stall time-out runs." */
TEST(backpressure_the_stall_timeout_runs_while_paused)
{
    wsock_options o = options_with(0);
    duo d;
    int i;
    o.keepalive_interval = WSOCK_NEVER;
    o.stall_timeout = 2000;
    duo_init(&d, &o, NULL);
    CHECK_RESULT(wsock_pause(d.ws[0], 1), WSOCK_OK);
    for (i = 0; i < 100; i++) { /* nothing is queued: nothing stalls */
        d.system.now += 100;
        CHECK_INT(duo_run(&d, 0), 0);
    }
    d.link.end[0].capacity = 4;
    CHECK_RESULT(wsock_send(d.ws[0], WSOCK_TEXT, "not taken", 9), WSOCK_OK);
    duo_run(&d, 0);
    d.system.now += 1900;
    CHECK_INT(duo_run(&d, 0), 0);
    d.link.end[0].capacity = 5; /* one byte: it begins anew */
    CHECK_INT(duo_run(&d, 0), 0);
    d.system.now += 1900;
    CHECK_INT(duo_run(&d, 0), 0);
    d.system.now += 200;
    duo_run(&d, 0);
    CHECK_STR(bytes_str(&d.log[0]), "CLOSE 1006 \"\" WSOCK_TIMED_OUT\n");
    CHECK_RESULT(wsock_error(d.ws[0]), WSOCK_TIMED_OUT);
    duo_free(&d);
}

/* Without a stall_timeout a queue may wait for ever.  But once it has left,
 * a peer that answers no ping is dead as before. */
TEST(backpressure_without_stall_timeout_keepalive_goes_on)
{
    wsock_options o = options_with(0);
    duo d;
    int i;
    o.keepalive_interval = 1000;
    o.pong_timeout = 500;
    o.stall_timeout = WSOCK_NEVER;
    duo_init(&d, &o, NULL);
    d.link.end[0].capacity = 4;
    CHECK_RESULT(wsock_send(d.ws[0], WSOCK_TEXT, "not taken", 9), WSOCK_OK);
    duo_run(&d, 0);
    d.system.now += 1000000;
    CHECK_INT(duo_run(&d, 0), 0);
    d.link.end[0].capacity = 1000;
    CHECK_INT(duo_run(&d, 0), 0);
    CHECK_INT(wsock_queued(d.ws[0]), 0);
    CHECK_INT(wsock_timeout(d.ws[0]), 1000);
    for (i = 0; i < 20 && !d.ended[0]; i++) {
        d.system.now += 100;
        duo_run(&d, 0);
    }
    CHECK_STR(bytes_str(&d.log[0]), "CLOSE 1006 \"\" WSOCK_TIMED_OUT\n");
    duo_free(&d);
}

/* The same for a connection that a server holds back because its queue is
 * at the limit: it ends by stalling, not for want of a Pong. */
TEST(backpressure_the_pong_timeout_rests_while_held_back)
{
    wsock_options o = options_with(0);
    int64_t moved;
    size_t left;
    int i;
    hall h;
    o.send_limit = 10000;
    o.keepalive_interval = 1000;
    o.pong_timeout = 500;
    o.stall_timeout = 60000;
    hall_init(&h, &o);
    hall_join(&h, 1);
    hall_fill(&h, 0);
    moved = h.system.now;
    left = wsock_queued(h.ws[0]);
    for (i = 0; i < 100000 && !h.closes; i++) {
        /* The system may still come to have room for a little more. */
        if (wsock_queued(h.ws[0]) != left) {
            moved = h.system.now;
            left = wsock_queued(h.ws[0]);
        }
        h.system.now += 100;
        hall_run(&h);
    }
    CHECK_INT(h.system.now - moved, 60000);
    CHECK_INT(h.closes, 1);
    CHECK(bytes_find(&h.log, "0 CLOSE 1006 \"\" WSOCK_TIMED_OUT\n") != NULL);
    hall_free(&h);
}

/* "What can never fit a fixed block is TOO_BIG", which does not stick. */
TEST(backpressure_what_never_fits_is_too_big)
{
    static uint64_t block[1024];
    static char big[5000];
    wsock_options o = options_with(WSOCK_CORE_ONLY);
    wsock *ws;
    o.receive_buffer = 512;
    o.max_message = 512;
    o.max_header = 1024;
    o.send_limit = 1000;
    o.memory = block;
    o.memory_size = sizeof block;
    ws = core_open(WSOCK_SERVER, &o);
    CHECK_RESULT(wsock_send(ws, WSOCK_BINARY, big, sizeof big),
                 WSOCK_TOO_BIG);
    CHECK_RESULT(wsock_error(ws), WSOCK_OK);
    CHECK_RESULT(wsock_send(ws, WSOCK_BINARY, big, 900), WSOCK_OK);
    CHECK_RESULT(wsock_send(ws, WSOCK_BINARY, big, 900), WSOCK_WOULD_BLOCK);
    take_output(ws, NULL);
    CHECK_RESULT(wsock_send(ws, WSOCK_BINARY, big, 900), WSOCK_OK);
    wsock_free(ws);
}

/* --------------------------------------------------------------- threads -- */

/* A call that waits, on a thread of its own. */
typedef struct receiver {
    pthread_t thread;
    wsock *ws;
    char text[64];
    wsock_status got;
    int result;
} receiver;

static void *receiver_run(void *user)
{
    receiver *r = (receiver *)user;
    r->result = wsock_receive(r->ws, r->text, sizeof r->text, &r->got);
    return NULL;
}

static void receiver_start(receiver *r, wsock *ws)
{
    memset(r, 0, sizeof *r);
    r->ws = ws;
    r->result = 12345;
    CHECK_INT(pthread_create(&r->thread, NULL, receiver_run, r), 0);
}

static int receiver_join(receiver *r)
{
    pthread_join(r->thread, NULL);
    return r->result;
}

/* A blocking client and a blocking server over a channel, both open. */
typedef struct couple {
    channel line;
    wsock *ws[2];
} couple;

static void *couple_attach(void *user)
{
    couple *c = (couple *)user;
    wsock_attach(c->ws[1], &c->line.io[1]);
    return NULL;
}

static void couple_init(couple *c, size_t capacity)
{
    pthread_t thread;
    guard();
    channel_init(&c->line, capacity);
    c->ws[0] = wsock_new(WSOCK_CLIENT, "ws://h/", NULL);
    c->ws[1] = wsock_new(WSOCK_SERVER, NULL, NULL);
    CHECK_INT(pthread_create(&thread, NULL, couple_attach, c), 0);
    CHECK_RESULT(wsock_attach(c->ws[0], &c->line.io[0]), WSOCK_OK);
    pthread_join(thread, NULL);
    CHECK_RESULT(wsock_error(c->ws[1]), WSOCK_OK);
}

static void couple_free(couple *c)
{
    wsock_free(c->ws[0]);
    wsock_free(c->ws[1]);
    channel_free(&c->line);
}

/* "Blocking handles: one sender and one receiver." */
TEST(threads_one_sender_and_one_receiver)
{
    receiver r, second;
    couple c;
    couple_init(&c, 1000);
    receiver_start(&r, c.ws[0]);
    channel_await(&c.line, 0);
    /* This thread sends while the other waits... */
    CHECK_RESULT(wsock_send(c.ws[0], WSOCK_TEXT, "out", 3), WSOCK_OK);
    receiver_start(&second, c.ws[1]);
    CHECK_RESULT(receiver_join(&second), WSOCK_OK);
    CHECK_BYTES(second.text, second.got.bytes, "out", 3);
    /* ...but may not receive as well. */
    receiver_start(&second, c.ws[0]);
    CHECK_RESULT(receiver_join(&second), WSOCK_INVALID_OPERATION);
    CHECK_RESULT(wsock_send(c.ws[1], WSOCK_TEXT, "in", 2), WSOCK_OK);
    CHECK_RESULT(receiver_join(&r), WSOCK_OK);
    CHECK_BYTES(r.text, r.got.bytes, "in", 2);
    CHECK_RESULT(wsock_error(c.ws[0]), WSOCK_OK);
    couple_free(&c);
}

/* "One mutex, non-blocking I/O inside it, waits outside": callbacks come one
 * at a time (the channel looks), and a thread in `wait` holds nobody up. */
TEST(threads_wait_outside_the_mutex)
{
    receiver r;
    couple c;
    int i;
    couple_init(&c, 1 << 20);
    receiver_start(&r, c.ws[0]);
    channel_await(&c.line, 0);
    for (i = 0; i < 100; i++)
        CHECK_RESULT(wsock_send(c.ws[0], WSOCK_TEXT, "never blocked", 13),
                     WSOCK_OK);
    wsock_queued(c.ws[0]);
    CHECK_INT(wsock_state(c.ws[0]), WSOCK_STATE_OPEN);
    CHECK_RESULT(wsock_cancel(c.ws[0]), WSOCK_OK);
    CHECK_RESULT(receiver_join(&r), WSOCK_CANCELLED);
    couple_free(&c); /* looks for overlaps */
}

/* "Either thread pumps both directions": a send takes in what comes, so that
 * a peer that sends too goes on.  The echo server below stops reading while
 * its answers are not taken. */
TEST(threads_a_send_takes_in_what_comes)
{
    enum { COUNT = 200, SIZE = 1000 };
    uint8_t *data = test_pattern(SIZE);
    wsock_options so = options_with(0);
    static uint8_t text[SIZE + 1];
    wsock_status got;
    solo s;
    int i;
    so.send_limit = 3000;
    solo_init(&s, NULL, &so);
    s.link.end[0].capacity = s.link.end[1].capacity = 2000;
    for (i = 0; i < COUNT; i++) {
        memcpy(data, &i, sizeof i);
        if (!CHECK_RESULT(wsock_send(s.ws, WSOCK_BINARY, data, SIZE),
                          WSOCK_OK))
            break;
    }
    for (i = 0; i < COUNT; i++) {
        memcpy(data, &i, sizeof i);
        if (!CHECK_RESULT(wsock_receive(s.ws, text, sizeof text, &got),
                          WSOCK_OK))
            break;
        CHECK_BYTES(text, got.bytes, data, SIZE);
    }
    CHECK_RESULT(wsock_close(s.ws, 1000, ""), WSOCK_OK);
    test_peer_end(&s.peer);
    solo_free(&s);
    free(data);
}

/* The rest of a message, and what stands behind it, that a send has taken in
 * while it waited: the next receives wait for nothing. */
static int pump_by_hand(void *user)
{
    solo *s = (solo *)user;
    test_end *e = &s->link.end[0];
    if (s->peer.log.size) { /* the rest comes */
        bytes_put(&e->in, s->peer.log.data, s->peer.log.size);
        bytes_clear(&s->peer.log);
        return 1;
    }
    if (!e->capacity)
        return 0;
    e->capacity = 0; /* then there is room */
    return 1;
}

TEST(threads_what_a_send_took_in_is_there)
{
    uint8_t *data = test_pattern(5000);
    bytes b = { 0 };
    size_t cut;
    frame_put(&b, FIN | 2, 0, data, 5000);
    frame_close(&b, 0, 1000, "");
    for (cut = 4100; cut <= b.size; cut += cut < 4990 ? 300 : 1) {
        static uint8_t text[4000];
        wsock_status got;
        int64_t before;
        solo s;
        test_note("cut at %lu", (unsigned long)cut);
        solo_init(&s, NULL, NULL);
        s.link.pump = pump_by_hand;
        s.link.user = &s;
        bytes_clear(&s.peer.log);
        bytes_put(&s.peer.log, b.data + cut, b.size - cut);
        bytes_put(&s.link.end[0].in, b.data, cut);
        CHECK_RESULT(wsock_receive(s.ws, text, 4000, &got), WSOCK_OK);
        CHECK_INT(got.bytes, 4000);
        s.link.end[0].capacity = 10;
        before = s.system.now;
        CHECK_RESULT(wsock_send(s.ws, WSOCK_BINARY, data, 5000), WSOCK_OK);
        CHECK_RESULT(wsock_receive(s.ws, text, 4000, &got), WSOCK_OK);
        CHECK_INT(got.kind, WSOCK_BINARY);
        CHECK_BYTES(text, got.bytes, data + 4000, 1000);
        CHECK_RESULT(wsock_receive(s.ws, text, 4000, &got), WSOCK_OK);
        CHECK_INT(got.kind, WSOCK_CLOSE);
        CHECK_INT(s.system.now, before);
        solo_free(&s);
    }
    bytes_free(&b);
    free(data);
}

/* ...and a receive lets out what is queued: here the Pongs. */
TEST(threads_a_receive_lets_out_what_is_queued)
{
    wsock_status got;
    char text[16];
    solo s;
    int i;
    solo_init(&s, NULL, NULL);
    s.link.end[0].max_write = 1;
    for (i = 0; i < 5; i++)
        wsock_send(s.peer.ws, WSOCK_PING, "answer me", 9);
    wsock_send(s.peer.ws, WSOCK_TEXT, "done", 4);
    CHECK_RESULT(wsock_receive(s.ws, text, sizeof text, &got), WSOCK_OK);
    CHECK_RESULT(wsock_send(s.ws, WSOCK_TEXT, "x", 1), WSOCK_OK);
    test_peer_pump(&s.peer);
    for (i = 0; i < 5; i++) {
        const char *at = bytes_find(&s.peer.log, "PONG \"answer me\"\n");
        if (CHECK(at != NULL))
            bytes_drop(&s.peer.log,
                       (size_t)(at - (const char *)s.peer.log.data) + 17);
    }
    solo_free(&s);
}

/* "A waiting receive ends by wsock_cancel, wsock_close or wsock_free." */
TEST(threads_a_waiting_receive_ends_by_cancel_close_or_free)
{
    int how;
    for (how = 0; how < 3; how++) {
        receiver r, peer;
        couple c;
        test_note("way %d", how);
        couple_init(&c, 1000);
        receiver_start(&r, c.ws[0]);
        channel_await(&c.line, 0);
        if (how == 0) {
            CHECK_RESULT(wsock_cancel(c.ws[0]), WSOCK_OK);
            CHECK_RESULT(receiver_join(&r), WSOCK_CANCELLED);
            CHECK_RESULT(wsock_error(c.ws[0]), WSOCK_OK);
            CHECK_RESULT(wsock_send(c.ws[1], WSOCK_TEXT, "again", 5),
                         WSOCK_OK);
            receiver_start(&r, c.ws[0]);
            CHECK_RESULT(receiver_join(&r), WSOCK_OK);
            CHECK_BYTES(r.text, r.got.bytes, "again", 5);
        } else if (how == 1) {
            receiver_start(&peer, c.ws[1]);
            CHECK_RESULT(wsock_close(c.ws[0], 1000, ""), WSOCK_OK);
            CHECK_RESULT(receiver_join(&r), WSOCK_CANCELLED);
            CHECK_RESULT(receiver_join(&peer), WSOCK_OK);
            CHECK_INT(peer.got.kind, WSOCK_CLOSE);
            CHECK_RESULT(wsock_error(c.ws[0]), WSOCK_OK);
        } else {
            wsock_free(c.ws[0]);
            c.ws[0] = NULL;
            CHECK_RESULT(receiver_join(&r), WSOCK_CANCELLED);
        }
        couple_free(&c);
    }
}

static wsock_server *wake_server;
static wsock *wake_ws;

static void wake_handler(int number)
{
    (void)number;
    if (wake_server)
        wsock_server_wake(wake_server);
    if (wake_ws)
        wsock_wake(wake_ws);
}

static void *wake_thread(void *user)
{
    wake_handler(0);
    return user;
}

/* "`wake` is the one call from others, and from signal handlers": it is not
 * lost when it comes before the wait, so these waits end. */
TEST(threads_wake_from_others_and_from_signal_handlers)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    struct sigaction action, before;
    pthread_t thread;
    wsock_event e;
    hall h;
    int i;
    hall_init(&h, NULL);
    wake_ws = wsock_connect(h.url, &o);
    while (!h.opens || wsock_state(wake_ws) != WSOCK_STATE_OPEN) {
        wsock_poll(wake_ws, &e, 0);
        hall_run(&h);
    }
    while (wsock_poll(wake_ws, &e, 0) > 0)
        ;
    wake_server = h.server;
    memset(&action, 0, sizeof action);
    action.sa_handler = wake_handler;
    sigaction(SIGUSR1, &action, &before);
    for (i = 0; i < 20; i++) {
        if (i % 2)
            raise(SIGUSR1);
        else
            CHECK_INT(pthread_create(&thread, NULL, wake_thread, NULL), 0);
        CHECK_INT(wsock_poll(wake_ws, &e, WSOCK_NEVER), 0);
        CHECK_INT(e.type, WSOCK_EVENT_NONE);
        CHECK_INT(wsock_server_poll(h.server, &e, WSOCK_NEVER), 0);
        if (i % 2 == 0)
            pthread_join(thread, NULL);
    }
    sigaction(SIGUSR1, &before, NULL);
    CHECK_RESULT(wsock_wake(h.ws[0]), WSOCK_INVALID_OPERATION);
    wsock_free(wake_ws);
    wake_ws = NULL;
    wake_server = NULL;
    hall_free(&h);
}

/* --------------------------------------------------------------- closing -- */

/* A server's end of the memory pair, whose peer is played by hand. */
static void duo_by_hand(duo *d)
{
    duo_make(d, NULL, NULL);
    wsock_free(d->ws[0]);
    d->ws[0] = NULL;
    d->link.end[0].closed = 1; /* there is nobody to close it */
    d->link.end[0].in_ended = 0;
    bytes_text(&d->link.end[1].in, TEST_REQUEST);
    CHECK_RESULT(wsock_attach(d->ws[1], &d->io[1]), WSOCK_OK);
}

/* "After the last Close frame: shutdown of the write side, discard until end
 * of stream..., close." */
TEST(closing_shuts_discards_and_closes)
{
    bytes b = { 0 };
    duo d;
    int i;
    duo_by_hand(&d);
    d.link.end[0].closed = 0;
    duo_run(&d, 1);
    CHECK_STR(bytes_str(&d.log[1]), "OPEN\n");
    duo_forget(&d);
    frame_close(&b, 1, 1000, "");
    bytes_put(&d.link.end[1].in, b.data, b.size);
    duo_run(&d, 1);
    CHECK(!strcmp(d.traces[1].log, "rwf"));
    for (i = 0; i < 5; i++) { /* what still comes is read and thrown away */
        bytes_text(&d.link.end[1].in, "of no use any more");
        duo_run(&d, 1);
        CHECK_INT(d.link.end[1].in.size, 0);
    }
    CHECK_INT(trace_count(&d.traces[1], 'c'), 0);
    d.link.end[1].in_ended = 1;
    duo_run(&d, 1);
    CHECK_INT(d.ended[1], 1);
    CHECK_INT(trace_count(&d.traces[1], 'c'), 1);
    CHECK_INT(trace_count(&d.traces[1], 'f'), 1);
    CHECK_STR(bytes_str(&d.log[1]), "CLOSE 1000 \"\" WSOCK_OK\n");
    d.link.end[0].closed = 1;
    duo_free(&d);
    bytes_free(&b);
}

/* "...or one second." */
TEST(closing_waits_one_second_at_most)
{
    bytes b = { 0 };
    duo d;
    duo_by_hand(&d);
    d.link.end[0].closed = 0;
    frame_close(&b, 1, 1000, "");
    bytes_put(&d.link.end[1].in, b.data, b.size);
    duo_run(&d, 1);
    d.system.now += 990;
    duo_run(&d, 1);
    CHECK_INT(trace_count(&d.traces[1], 'c'), 0);
    d.system.now += 20;
    duo_run(&d, 1);
    CHECK_INT(trace_count(&d.traces[1], 'c'), 1);
    CHECK_INT(d.ended[1], 1);
    CHECK_RESULT(wsock_error(d.ws[1]), WSOCK_OK); /* it was orderly */
    d.link.end[0].closed = 1;
    duo_free(&d);
    bytes_free(&b);
}

/* "...or HTTP refusal." */
TEST(closing_after_a_refusal_is_the_same)
{
    duo d;
    duo_make(&d, NULL, NULL);
    bytes_text(&d.link.end[1].in, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    CHECK_RESULT(wsock_attach(d.ws[1], &d.io[1]), WSOCK_OK);
    duo_run(&d, 1);
    CHECK_STR(d.traces[1].log, "rwf");
    bytes_text(&d.link.end[1].in, "more, of no use");
    duo_run(&d, 1);
    CHECK_INT(d.link.end[1].in.size, 0);
    CHECK_INT(trace_count(&d.traces[1], 'c'), 0);
    d.link.end[1].in_ended = 1;
    duo_run(&d, 1);
    CHECK_INT(trace_count(&d.traces[1], 'c'), 1);
    CHECK(bytes_find(&d.link.end[0].in, "HTTP/1.1 426 ") != NULL);
    wsock_free(d.ws[0]);
    d.ws[0] = NULL;
    d.link.end[0].closed = 1;
    duo_free(&d);
}

/* "So that unread data never turns the Close into a reset": a peer that goes
 * on sending gets the Close and the end, and no error. */
TEST(closing_is_no_reset_though_data_is_unread)
{
    static char junk[50000];
    bytes log = { 0 };
    hall h;
    int i, ended = 0;
    hall_init(&h, NULL);
    hall_join(&h, 0);
    hall_say(&h, 0, "close, please");
    for (i = 0; i < 4; i++) {
        bytes b = { 0 };
        frame_put(&b, FIN | 2, 1, junk, sizeof junk);
        raw_bytes(h.fd[0], &b);
        bytes_free(&b);
    }
    while (!h.messages)
        hall_poll(&h, 1);
    CHECK_RESULT(wsock_close(h.ws[0], 1001, "enough"), WSOCK_OK);
    hall_run(&h);
    {
        bytes b = { 0 };
        frame_put(&b, FIN | 2, 1, junk, sizeof junk);
        raw_bytes(h.fd[0], &b);
        frame_close(&b, 1, 1001, "");
        raw_bytes(h.fd[0], &b); /* once more the junk, then Close */
        bytes_free(&b);
    }
    while (!ended) {
        hall_run(&h);
        ended = raw_read(h.fd[0], &h.in[0]);
    }
    CHECK_INT(ended, 1); /* not cut off */
    CHECK_STR(raw_frames(&h.in[0], &log), "close 1001\n");
    hall_leave(&h, 0);
    while (!h.closes)
        hall_poll(&h, 1);
    CHECK(bytes_find(&h.log, "0 CLOSE 1001 \"\" WSOCK_OK\n") != NULL);
    bytes_free(&log);
    hall_free(&h);
}

/* "The server ends TCP first": a client waits for that, and only then shuts
 * its side (RFC 6455 7.1.1). */
TEST(closing_the_server_ends_tcp_first)
{
    hall h;
    duo d;
    bytes b = { 0 };
    int ended;
    hall_init(&h, NULL);
    hall_join(&h, 0);
    frame_close(&b, 1, 1000, "");
    raw_bytes(h.fd[0], &b);
    ended = hall_take(&h, 0, 1000); /* until the end: we close nothing */
    CHECK_INT(ended, 1);
    hall_free(&h);
    bytes_free(&b);

    duo_init(&d, NULL, NULL);
    CHECK_RESULT(wsock_close(d.ws[0], 1000, ""), WSOCK_OK);
    duo_run(&d, 0);
    frame_close(&b, 0, 1000, "");
    bytes_put(&d.link.end[0].in, b.data, b.size);
    duo_run(&d, 0);
    CHECK_INT(trace_count(&d.traces[0], 'f'), 0);
    CHECK_INT(trace_count(&d.traces[0], 'c'), 0);
    d.link.end[0].in_ended = 1; /* the server ends */
    duo_run(&d, 0);
    CHECK_INT(trace_count(&d.traces[0], 'c'), 1);
    CHECK_STR(bytes_str(&d.log[0]), "CLOSE 1000 \"\" WSOCK_OK\n");
    duo_free(&d);
    bytes_free(&b);
}

/* "1005 or 0 sends an empty Close." */
TEST(closing_without_a_code)
{
    int i;
    for (i = 0; i < 4; i++) {
        wsock *ws = core_open(WSOCK_SERVER, NULL);
        bytes out = { 0 }, log = { 0 };
        int code = i & 1 ? WSOCK_CLOSE_NO_STATUS : 0;
        CHECK_RESULT(i & 2 ? wsock_close(ws, code, NULL)
                           : wsock_shutdown(ws, code, ""), WSOCK_OK);
        take_output(ws, &out);
        frames_log(&log, &out, 0);
        CHECK_STR(bytes_str(&log), "close empty\n");
        wsock_free(ws);
        bytes_free(&out);
        bytes_free(&log);
    }
}

/* "After shutdown messages still come; after close they are discarded." */
TEST(closing_shutdown_goes_on_receiving)
{
    int how;
    for (how = 0; how < 2; how++) {
        duo d;
        test_note(how ? "close" : "shutdown");
        duo_init(&d, NULL, NULL);
        if (how)
            CHECK_RESULT(wsock_close(d.ws[0], 1000, ""), WSOCK_OK);
        else
            CHECK_RESULT(wsock_shutdown(d.ws[0], 1000, ""), WSOCK_OK);
        CHECK_RESULT(wsock_send(d.ws[0], WSOCK_TEXT, "x", 1),
                     WSOCK_INVALID_OPERATION);
        wsock_send(d.ws[1], WSOCK_TEXT, "the last words", 14);
        duo_settle(&d);
        d.system.now += 1000;
        duo_settle(&d);
        CHECK_STR(bytes_str(&d.log[0]),
                  how ? "CLOSE 1000 \"\" WSOCK_OK\n"
                      : "TEXT \"the last words\"\nCLOSE 1000 \"\" "
                        "WSOCK_OK\n");
        duo_free(&d);
    }
}

/* "abort gives every borrowed send its SENT event, marked cancelled, then
 * CLOSE." */
TEST(closing_by_abort_gives_borrowed_memory_back)
{
    char one[] = "one", two[] = "two", data[] = "borrowed";
    wsock_buf buf;
    duo d;
    duo_init(&d, NULL, NULL);
    d.link.end[0].capacity = 3;
    buf.data = data;
    buf.size = 8;
    CHECK_RESULT(wsock_sendv(d.ws[0], WSOCK_TEXT | WSOCK_BORROW, &buf, 1,
                             one), WSOCK_OK);
    CHECK_RESULT(wsock_sendv(d.ws[0], WSOCK_TEXT | WSOCK_BORROW, &buf, 1,
                             two), WSOCK_OK);
    CHECK_RESULT(wsock_abort(d.ws[0]), WSOCK_OK);
    duo_run(&d, 0);
    CHECK_STR(bytes_str(&d.log[0]), "SENT one WSOCK_ABORTED\n"
                                    "SENT two WSOCK_ABORTED\n"
                                    "CLOSE 1006 \"\" WSOCK_ABORTED\n");
    CHECK_INT(d.ended[0], 1);
    CHECK_STR(data, "borrowed");
    duo_free(&d);
}

/* -------------------------------------------------------------- requests -- */

/* "Without WSOCK_REQUESTS the server takes the first common subprotocol": of
 * the client's list. */
TEST(requests_without_the_flag_take_the_first_common_subprotocol)
{
    static const char *const spoken[] = { "three", "two", NULL };
    static const char text[] = UPGRADE_TO("/",
        "Sec-WebSocket-Protocol: one, two, three\r\n");
    wsock_options o = options_with(0);
    char value[32];
    hall h;
    o.subprotocols = spoken;
    hall_init(&h, &o);
    hall_connect(&h, 0);
    raw_send(h.fd[0], text, sizeof text - 1);
    while (!h.opens || !raw_head(&h.in[0])) {
        hall_poll(&h, 1);
        raw_read(h.fd[0], &h.in[0]);
    }
    CHECK_STR(wsock_subprotocol(h.ws[0]), "two");
    CHECK(head_value(bytes_str(&h.in[0]), "Sec-WebSocket-Protocol", value,
                     sizeof value));
    CHECK_STR(value, "two");
    CHECK_INT(h.requests, 0);
    hall_free(&h);
}

/* "...and answers plain HTTP with 426." */
TEST(requests_without_the_flag_answer_http_with_426)
{
    hall h;
    hall_init(&h, NULL);
    hall_connect(&h, 0);
    raw_send(h.fd[0], "GET /page HTTP/1.1\r\nHost: h\r\n\r\n", 31);
    CHECK_INT(hall_take(&h, 0, 100000), 1);
    CHECK(!strncmp(bytes_str(&h.in[0]), "HTTP/1.1 426 ", 13));
    CHECK_STR(bytes_str(&h.log), "");
    hall_free(&h);
}

/* A server with WSOCK_REQUESTS and one request that waits. */
static void hall_request(hall *h, const wsock_options *options,
                         const char *text)
{
    wsock_options o = options_with(0);
    if (options)
        o = *options;
    o.flags |= WSOCK_REQUESTS;
    hall_init(h, &o);
    hall_connect(h, 0);
    raw_send(h->fd[0], text, strlen(text));
    while (!h->requests)
        hall_poll(h, 10);
}

/* "REQUEST waits for wsock_upgrade, now or later"; "a successful upgrade
 * yields OPEN, then one CLOSE". */
TEST(requests_are_upgraded_now_or_later)
{
    static const char *const headers[] = { "X-Extra: more", NULL };
    int later;
    for (later = 0; later < 2; later++) {
        char value[64];
        hall h;
        int i;
        test_note("later %d", later);
        hall_request(&h, NULL, UPGRADE_TO("/chat",
            "Sec-WebSocket-Protocol: one, two\r\n"));
        for (i = 0; later && i < 50; i++) {
            h.system.now += 100;
            CHECK_INT(hall_poll(&h, 0), 0);
        }
        CHECK_RESULT(wsock_upgrade(h.ws[0], "two", headers), WSOCK_OK);
        CHECK_RESULT(wsock_upgrade(h.ws[0], NULL, NULL),
                     WSOCK_INVALID_OPERATION);
        while (!h.opens || !raw_head(&h.in[0])) {
            hall_poll(&h, 1);
            raw_read(h.fd[0], &h.in[0]);
        }
        CHECK(!strncmp(bytes_str(&h.in[0]), "HTTP/1.1 101 ", 13));
        CHECK(head_value(bytes_str(&h.in[0]), "Sec-WebSocket-Protocol",
                         value, sizeof value));
        CHECK_STR(value, "two");
        CHECK(head_value(bytes_str(&h.in[0]), "X-Extra", value,
                         sizeof value));
        CHECK_STR(value, "more");
        CHECK(head_value(bytes_str(&h.in[0]), "Sec-WebSocket-Accept", value,
                         sizeof value));
        CHECK_STR(value, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        hall_say(&h, 0, "hello");
        while (!h.messages)
            hall_poll(&h, 1);
        hall_leave(&h, 0);
        while (!h.closes)
            hall_poll(&h, 1);
        hall_run(&h);
        CHECK_STR(bytes_str(&h.log),
                  "0 UPGRADE GET /chat\n0 OPEN\n0 TEXT \"hello\"\n"
                  "0 CLOSE 1006 \"\" WSOCK_CONNECTION_LOST\n");
        hall_free(&h);
    }
}

/* "...or wsock_respond, now or later": a page, and a HEAD request of it; then
 * the connection ends, and reports nothing more. */
TEST(requests_are_responded_to_now_or_later)
{
    static const char *const headers[] = { "Content-Type: text/html", NULL };
    static const char page[] = "<p>A page.</p>";
    int how;
    for (how = 0; how < 4; how++) {
        int head = how & 1, later = how & 2, i;
        size_t size;
        char value[64];
        hall h;
        test_note("head %d, later %d", head, later);
        hall_request(&h, NULL, head ? "HEAD /p?q HTTP/1.1\r\nHost: h\r\n\r\n"
                                    : "GET /p?q HTTP/1.1\r\nHost: h\r\n\r\n");
        CHECK_INT(h.request->upgrade, 0);
        CHECK_STR(h.request->method, head ? "HEAD" : "GET");
        CHECK_STR(h.request->path, "/p");
        CHECK_STR(h.request->query, "q");
        for (i = 0; later && i < 50; i++) {
            h.system.now += 100;
            CHECK_INT(hall_poll(&h, 0), 0);
        }
        CHECK_RESULT(wsock_respond(h.ws[0], 200, headers, page,
                                   sizeof page - 1), WSOCK_OK);
        CHECK_INT(hall_take(&h, 0, 100000), 1);
        size = raw_head(&h.in[0]);
        CHECK(size > 0);
        CHECK(!strncmp(bytes_str(&h.in[0]), "HTTP/1.1 200 ", 13));
        CHECK(head_value(bytes_str(&h.in[0]), "Content-Length", value,
                         sizeof value));
        CHECK_STR(value, "14");
        CHECK(head_value(bytes_str(&h.in[0]), "Content-Type", value,
                         sizeof value));
        CHECK_STR(value, "text/html");
        CHECK(head_value(bytes_str(&h.in[0]), "Connection", value,
                         sizeof value));
        CHECK_STR(value, "close");
        CHECK_BYTES(h.in[0].data + size, h.in[0].size - size, page,
                    head ? 0 : sizeof page - 1);
        hall_leave(&h, 0);
        for (i = 0; i < 30; i++) {
            h.system.now += 100;
            CHECK_INT(hall_poll(&h, 0), 0);
        }
        CHECK_INT(wsock_server_count(h.server), 0);
        CHECK_INT(h.opens + h.closes, 0);
        hall_free(&h);
    }
}

/* What cannot be answered so is a wrong call, and the request still waits. */
TEST(requests_survive_wrong_answers)
{
    static const char *const bad[] = { "X: a\r\nY: b", NULL };
    static const char plain[] = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    hall h;
    hall_request(&h, NULL, UPGRADE_TO("/",
        "Sec-WebSocket-Protocol: one\r\n"));
    CHECK_RESULT(wsock_upgrade(h.ws[0], "not-offered", NULL),
                 WSOCK_INVALID_PARAMETER);
    CHECK_RESULT(wsock_upgrade(h.ws[0], "one", bad),
                 WSOCK_INVALID_PARAMETER);
    CHECK_RESULT(wsock_respond(h.ws[0], 199, NULL, NULL, 0),
                 WSOCK_INVALID_PARAMETER);
    CHECK_RESULT(wsock_respond(h.ws[0], 600, NULL, NULL, 0),
                 WSOCK_INVALID_PARAMETER);
    CHECK_RESULT(wsock_respond(h.ws[0], 200, bad, NULL, 0),
                 WSOCK_INVALID_PARAMETER);
    CHECK_RESULT(wsock_respond(h.ws[0], 200, NULL, NULL, 1),
                 WSOCK_INVALID_PARAMETER);
    CHECK_RESULT(wsock_respond(h.ws[0], 204, NULL, "body", 4),
                 WSOCK_INVALID_PARAMETER);
    CHECK_RESULT(wsock_send(h.ws[0], WSOCK_TEXT, "x", 1),
                 WSOCK_INVALID_OPERATION);
    CHECK_INT(hall_poll(&h, 0), 0);
    CHECK_STR(h.request->subprotocols[0], "one");
    CHECK_RESULT(wsock_upgrade(h.ws[0], "one", NULL), WSOCK_OK);
    while (!h.opens)
        hall_poll(&h, 1);
    CHECK_RESULT(wsock_respond(h.ws[0], 200, NULL, NULL, 0),
                 WSOCK_INVALID_OPERATION); /* open already */
    hall_free(&h);
    hall_request(&h, NULL, plain);
    CHECK_RESULT(wsock_upgrade(h.ws[0], NULL, NULL),
                 WSOCK_INVALID_OPERATION);
    CHECK_RESULT(wsock_respond(h.ws[0], 204, NULL, NULL, 0), WSOCK_OK);
    CHECK_INT(hall_take(&h, 0, 100000), 1);
    CHECK(!strncmp(bytes_str(&h.in[0]), "HTTP/1.1 204 ", 13));
    hall_free(&h);
}

/* "...under the handshake time-out": then the peer gets an answer that is not
 * ours, and ours is too late. */
TEST(requests_are_under_the_handshake_timeout)
{
    wsock_options o = options_with(0);
    hall h;
    int i;
    o.handshake_timeout = 2000;
    hall_request(&h, &o, TEST_REQUEST);
    h.system.now += 1900;
    hall_run(&h);
    CHECK_INT(raw_read(h.fd[0], &h.in[0]), 0);
    CHECK_INT(h.in[0].size, 0);
    for (i = 0; i < 30; i++) {
        h.system.now += 100;
        hall_run(&h);
    }
    check_prefix(bytes_str(&h.log), "0 UPGRADE GET /chat\n");
    CHECK_STR(h.request->path, "/chat"); /* it lives */
    CHECK_RESULT(wsock_upgrade(h.ws[0], NULL, NULL), WSOCK_CLOSED);
    CHECK_INT(hall_take(&h, 0, 100000) > 0, 1);
    CHECK(strncmp(bytes_str(&h.in[0]), "HTTP/1.1 101", 12) != 0);
    for (i = 0; i < 30; i++) {
        h.system.now += 100;
        hall_run(&h);
    }
    CHECK_STR(bytes_str(&h.log), "0 UPGRADE GET /chat\n");
    CHECK_INT(wsock_server_count(h.server), 0);
    hall_free(&h);
}

/* "Meanwhile nothing is read and pipelined bytes stay." */
TEST(requests_keep_what_was_sent_behind_them)
{
    static char big[1000];
    bytes b = { 0 };
    size_t at = 0, n, memory;
    int i, idle, room = 4096;
    hall h;
    bytes_text(&b, UPGRADE_TO("/", ""));
    frame_text(&b, FIN | 1, 1, "sent at once");
    hall_request(&h, NULL, bytes_str(&b));
    setsockopt(h.fd[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    setsockopt(raw_other_end(h.fd[0]), SOL_SOCKET, SO_RCVBUF, &room,
               sizeof room);
    memory = h.system.live_bytes;
    bytes_clear(&b);
    for (i = 0; i < 20000; i++)
        frame_put(&b, FIN | 2, 1, big, sizeof big);
    for (idle = 0; idle < 200; idle = n ? 0 : idle + 1) {
        n = flood_some(h.fd[0], &b, at);
        at += n;
        CHECK_INT(hall_poll(&h, 0), 0);
    }
    CHECK(at < b.size); /* the flood came to a halt */
    CHECK(h.system.live_bytes <= memory + 1000);
    CHECK_RESULT(wsock_upgrade(h.ws[0], NULL, NULL), WSOCK_OK);
    bytes_clear(&h.log);
    while (h.messages < 10)
        hall_poll(&h, 1);
    check_prefix(bytes_str(&h.log), "0 OPEN\n0 TEXT \"sent at once\"\n"
                                        "0 BINARY 1000 bytes");
    bytes_free(&b);
    hall_free(&h);
}

/* "If the peer has left, answering returns WSOCK_CLOSED and no CLOSE
 * follows"; the next poll frees the connection. */
TEST(requests_of_a_peer_that_has_left)
{
    int how;
    for (how = 0; how < 2; how++) {
        hall h;
        test_note("way %d", how);
        hall_request(&h, NULL, TEST_REQUEST);
        hall_reset(&h, 0);
        hall_run(&h);
        CHECK_RESULT(how ? wsock_respond(h.ws[0], 200, NULL, "x", 1)
                         : wsock_upgrade(h.ws[0], NULL, NULL),
                     WSOCK_CLOSED);
        hall_run(&h);
        CHECK_INT(wsock_server_count(h.server), 0);
        CHECK_STR(bytes_str(&h.log), "0 UPGRADE GET /chat\n");
        hall_free(&h);
    }
}

/* wsock_server_close(): "requests that wait get 503". */
TEST(requests_that_wait_when_the_server_closes)
{
    hall h;
    int i;
    hall_request(&h, NULL, TEST_REQUEST);
    CHECK_RESULT(wsock_server_close(h.server), WSOCK_OK);
    CHECK_INT(hall_take(&h, 0, 100000), 1);
    CHECK(!strncmp(bytes_str(&h.in[0]), "HTTP/1.1 503 ", 13));
    hall_leave(&h, 0);
    /* "After options.close_timeout and a second at most", also for a program
     * that has forgotten it. */
    for (i = 0; i < 120 && !h.ended; i++) {
        hall_run(&h);
        h.system.now += 100;
    }
    CHECK_INT(h.ended, 1);
    CHECK_STR(bytes_str(&h.log), "0 UPGRADE GET /chat\n");
    hall_free(&h);
}

/* Without I/O the same: REQUEST, an answer, OPEN or CLOSE. */
TEST(requests_without_io)
{
    wsock_options o = options_with(WSOCK_REQUESTS);
    int respond;
    for (respond = 0; respond < 2; respond++) {
        wsock *ws = wsock_new(WSOCK_SERVER, NULL, &o);
        bytes in = { 0 }, out = { 0 };
        wsock_event e;
        test_note("respond %d", respond);
        bytes_text(&in, TEST_REQUEST);
        CHECK_RESULT(wsock_feed(ws, in.data, in.size), WSOCK_OK);
        CHECK_INT(wsock_next(ws, &e), 1);
        CHECK_INT(e.type, WSOCK_EVENT_REQUEST);
        CHECK_INT(e.request->upgrade, 1);
        CHECK_STR(e.request->path, "/chat");
        CHECK_INT(wsock_next(ws, &e), 0);
        CHECK_INT(take_output(ws, NULL), 0);
        CHECK_INT(wsock_state(ws), WSOCK_STATE_CONNECTING);
        if (respond)
            CHECK_RESULT(wsock_respond(ws, 404, NULL, "no", 2), WSOCK_OK);
        else
            CHECK_RESULT(wsock_upgrade(ws, NULL, NULL), WSOCK_OK);
        CHECK_INT(wsock_next(ws, &e), 1);
        CHECK_INT(e.type, respond ? WSOCK_EVENT_CLOSE : WSOCK_EVENT_OPEN);
        take_output(ws, &out);
        check_prefix(bytes_str(&out),
                         respond ? "HTTP/1.1 404 " : "HTTP/1.1 101 ");
        wsock_free(ws);
        bytes_free(&in);
        bytes_free(&out);
    }
}

/* --------------------------------------------------------------- look-up -- */

/* What there is to wait for, waited for, without limit. */
static void wait_for_watches(const wsock *ws)
{
    wsock_watch list[8];
    struct pollfd p[8];
    size_t i, n = wsock_watches(ws, list, 8);
    int timeout = wsock_timeout(ws);
    CHECK(n > 0 && n <= 8);
    for (i = 0; i < n && i < 8; i++) {
        p[i].fd = (int)list[i].fd;
        p[i].events = (short)((list[i].wants & 1 ? POLLIN : 0)
                              | (list[i].wants & 2 ? POLLOUT : 0));
        p[i].revents = 0;
    }
    poll(p, i, timeout);
}

/* "Look-up runs on one detached helper thread with signals blocked": the
 * poll returns meanwhile. */
TEST(lookup_runs_on_a_detached_helper_with_signals_blocked)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    int threads = net_threads();
    char url[64];
    wsock_event e;
    wsock *ws;
    hall h;
    hall_init(&h, NULL);
    snprintf(url, sizeof url, "ws://slow.test:%d/", h.port);
    lookup_set("127.0.0.1", "", 1);
    ws = wsock_connect(url, &o);
    CHECK_INT(wsock_poll(ws, &e, 0), 0);
    lookup_wait_begun(1);
    CHECK_INT(wsock_poll(ws, &e, 0), 0); /* it waits for nobody */
    CHECK_INT(net_threads(), threads + 1);
    CHECK_INT(wsock_state(ws), WSOCK_STATE_CONNECTING);
    lookup_release();
    while (wsock_state(ws) != WSOCK_STATE_OPEN) {
        hall_run(&h);
        if (wsock_poll(ws, &e, 0) < 0)
            break;
    }
    CHECK_INT(wsock_state(ws), WSOCK_STATE_OPEN);
    CHECK_INT(lookup_count(&test_lookup.begun), 1);
    CHECK_INT(lookup_count(&test_lookup.elsewhere), 1);
    CHECK_INT(lookup_count(&test_lookup.detached), 1);
    CHECK_INT(lookup_count(&test_lookup.unblocked), 0);
    wsock_free(ws);
    lookup_wait_idle();
    net_wait_threads(threads);
    hall_free(&h);
}

/* "...over a reference-counted block of its own, so that free never waits":
 * the helper outlives the connection, and clears up after itself. */
TEST(lookup_outlives_the_connection)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    int threads = net_threads(), i;
    wsock_event e;
    wsock *ws;
    guard();
    lookup_set("127.0.0.1", "", 1);
    for (i = 0; i < 3; i++) {
        ws = wsock_connect("ws://slow.test/", &o);
        wsock_poll(ws, &e, 0);
        lookup_wait_begun(i + 1);
        if (i == 1)
            wsock_abort(ws);
        if (i == 2)
            CHECK_INT(wsock_poll(ws, &e, 0), 0);
        wsock_free(ws);
    }
    CHECK_INT(lookup_count(&test_lookup.ended), 0);
    lookup_release();
    lookup_wait_idle();
    net_wait_threads(threads);
}

/* "options.lookup_timeout": the helper may go on, we do not. */
TEST(lookup_has_a_timeout)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    int threads = net_threads();
    test_system system;
    wsock_event e;
    wsock *ws;
    int r;
    guard();
    lookup_set("127.0.0.1", "", 1);
    test_system_init(&system);
    o.system = &system.system;
    o.lookup_timeout = 2000;
    ws = wsock_connect("ws://slow.test/", &o);
    CHECK_INT(wsock_poll(ws, &e, 0), 0);
    lookup_wait_begun(1);
    system.now += 1900;
    CHECK_INT(wsock_poll(ws, &e, 0), 0);
    system.now += 200;
    while ((r = wsock_poll(ws, &e, 0)) == 0)
        system.now += 1;
    CHECK_INT(r, 1);
    CHECK_INT(e.type, WSOCK_EVENT_CLOSE);
    CHECK_RESULT(e.why->code, WSOCK_TIMED_OUT);
    CHECK_INT(e.why->phase, WSOCK_PHASE_LOOKUP);
    wsock_free(ws);
    lookup_release();
    lookup_wait_idle();
    net_wait_threads(threads);
    CHECK_NO_LEAK(&system);
}

/* Sockets that are being connected. */
static int connecting_watches(const wsock *ws)
{
    wsock_watch list[8];
    size_t i, n = wsock_watches(ws, list, 8);
    int found = 0;
    for (i = 0; i < n && i < 8; i++)
        found += (list[i].wants & 2) != 0;
    return found;
}

/* Two silent addresses with the same port, of both families if the system
 * has them.  Returns the port. */
static int dead_and_other(black_hole holes[2])
{
    int port;
    if (!black_hole_open(&holes[1], "127.0.0.1", 0))
        test_die("no address to be silent at");
    port = net_port(holes[1].fd[0]);
    if (!black_hole_open(&holes[0], "::1", port)
        && !black_hole_open(&holes[0], "127.0.0.2", port))
        test_die("no second address to be silent at");
    return port;
}

/* A late poll (see results_a_late_poll_..) during a race: the connection that
 * stands by then is taken, whatever time it is. */
TEST(lookup_a_late_poll_takes_the_connection_that_stands)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    int fd, peer, threads = net_threads();
    black_hole hole;
    wsock_watch list[8];
    struct pollfd p;
    test_system system;
    bytes in = { 0 };
    char url[64];
    wsock_event e;
    wsock *ws;
    size_t i, n;
    guard();
    test_system_init(&system);
    o.system = &system.system;
    if (!black_hole_open(&hole, "127.0.0.1", 0))
        test_die("no address to be silent at");
    fd = hole.fd[0];
    lookup_set("127.0.0.1", "127.0.0.2", 0);
    snprintf(url, sizeof url, "ws://late.test:%d/", net_port(fd));
    ws = wsock_connect(url, &o);
    while (connecting_watches(ws) < 1)
        CHECK_INT(wsock_poll(ws, &e, 0), 0);
    n = wsock_watches(ws, list, 8);
    p.fd = -1;
    for (i = 0; i < n && i < 8; i++)
        if (list[i].wants & 2)
            p.fd = (int)list[i].fd;
    /* Those that fill the listener leave; the next SYN finds room. */
    raw_nonblocking(fd);
    for (i = 1; i < 12; i++) {
        close(hole.fd[i]);
        hole.fd[i] = -1;
    }
    while ((peer = accept(fd, NULL, NULL)) >= 0)
        close(peer);
    p.events = POLLOUT;
    p.revents = 0;
    CHECK_INT(poll(&p, 1, -1), 1); /* TCP stands */
    system.now += 60000;
    for (i = 0; i < 5; i++)
        CHECK_INT(wsock_poll(ws, &e, 0), 0);
    CHECK_RESULT(wsock_error(ws), WSOCK_OK);
    do { /* not one of those that have left */
        raw_wait(fd);
        peer = accept(fd, NULL, NULL);
        raw_wait(peer);
        raw_read(peer, &in);
        if (!in.size)
            close(peer);
    } while (!in.size);
    check_prefix(bytes_str(&in), "GET / HTTP/1.1\r\n");
    wsock_free(ws);
    close(peer);
    black_hole_close(&hole);
    lookup_wait_idle();
    net_wait_threads(threads);
    CHECK_NO_LEAK(&system);
    bytes_free(&in);
}

/* "Its wait object and the raced sockets show up in wsock_watches, asked
 * again after every poll." */
TEST(lookup_shows_up_in_the_watches)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    int threads = net_threads(), port, timeout;
    black_hole holes[2];
    test_system system;
    wsock_watch list[8];
    char url[64];
    wsock_event e;
    wsock *ws;
    guard();
    port = dead_and_other(holes);
    test_system_init(&system);
    o.system = &system.system;
    lookup_set(holes[0].host, holes[1].host, 1);
    snprintf(url, sizeof url, "ws://raced.test:%d/", port);
    ws = wsock_connect(url, &o);
    wsock_poll(ws, &e, 0);
    lookup_wait_begun(1);
    CHECK_INT(wsock_poll(ws, &e, 0), 0);
    CHECK(wsock_watches(ws, NULL, 0) >= 1); /* the wait object */
    CHECK_INT(wsock_watches(ws, list, 1), wsock_watches(ws, list, 8));
    lookup_release();
    /* The system's poll tells when the look-up is done. */
    while (connecting_watches(ws) < 1) {
        wait_for_watches(ws);
        CHECK_INT(wsock_poll(ws, &e, 0), 0);
    }
    CHECK_INT(connecting_watches(ws), 1);
    /* Nobody answers: the second address joins the first. */
    timeout = wsock_timeout(ws);
    CHECK(timeout > 0 && timeout < 1000);
    system.now += timeout;
    CHECK_INT(wsock_poll(ws, &e, 0), 0);
    CHECK_INT(connecting_watches(ws), 2);
    wsock_free(ws);
    lookup_wait_idle();
    net_wait_threads(threads);
    black_hole_close(&holes[0]);
    black_hole_close(&holes[1]);
    CHECK_NO_LEAK(&system);
}

/* "wsock_timeout is 0 while work is waiting." */
TEST(lookup_timeout_is_0_while_work_is_waiting)
{
    wsock_options o = options_with(0);
    bytes b = { 0 };
    wsock_event e;
    hall h;
    duo d;
    int i;
    o.keepalive_interval = WSOCK_NEVER;
    duo_init(&d, &o, &o);
    CHECK_INT(wsock_timeout(d.ws[0]), WSOCK_NEVER);
    for (i = 0; i < 3; i++)
        wsock_send(d.ws[1], WSOCK_TEXT, "waiting", 7);
    wsock_flush(d.ws[1]);
    CHECK_INT(wsock_poll(d.ws[0], &e, 0), 1);
    CHECK_INT(wsock_timeout(d.ws[0]), 0);
    duo_run(&d, 0);
    duo_free(&d);
    hall_init(&h, &o);
    hall_join(&h, 0);
    hall_run(&h);
    CHECK_INT(wsock_server_timeout(h.server), WSOCK_NEVER);
    for (i = 0; i < 3; i++)
        frame_text(&b, FIN | 1, 1, "waiting");
    raw_bytes(h.fd[0], &b);
    while (!h.messages)
        hall_poll(&h, 1);
    CHECK_INT(wsock_server_timeout(h.server), 0);
    hall_run(&h);
    CHECK_INT(wsock_server_timeout(h.server), WSOCK_NEVER);
    hall_free(&h);
    memset(&o, 0, sizeof o);
    duo_init(&d, &o, &o); /* and with the default keepalive: */
    CHECK_INT(wsock_timeout(d.ws[0]), 30000);
    d.system.now += 10000;
    CHECK_INT(wsock_timeout(d.ws[0]), 20000);
    d.system.now += 30000;
    CHECK_INT(wsock_timeout(d.ws[0]), 0);
    duo_free(&d);
    bytes_free(&b);
}

/* Numeric addresses and "localhost" take no helper, for client or server. */
TEST(lookup_of_localhost_and_numbers_takes_no_helper)
{
    static const char *const hosts[] = { "127.0.0.1", "localhost", "[::1]" };
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    int threads = net_threads(), i;
    for (i = 0; i < 3; i++) {
        char url[64];
        wsock_server *server;
        wsock_event e;
        wsock *ws;
        test_note("%s", hosts[i]);
        guard();
        lookup_set("", "", 0);
        snprintf(url, sizeof url, "ws://%s:0/", hosts[i]);
        server = wsock_listen(url, NULL);
        if (i == 2 && !test_has_ipv6()) {
            CHECK_RESULT(wsock_server_error(server), WSOCK_LISTEN_FAILED);
            wsock_server_free(server);
            continue;
        }
        CHECK_RESULT(wsock_server_error(server), WSOCK_OK);
        snprintf(url, sizeof url, "ws://%s:%d/", hosts[i],
                 wsock_server_port(server));
        ws = wsock_connect(url, &o);
        CHECK_INT(net_threads(), threads);
        while (wsock_state(ws) == WSOCK_STATE_CONNECTING) {
            wsock_server_poll(server, &e, 0);
            if (wsock_poll(ws, &e, 0) < 0)
                break;
            CHECK_INT(net_threads(), threads);
        }
        CHECK_RESULT(wsock_error(ws), WSOCK_OK);
        CHECK_INT(lookup_count(&test_lookup.elsewhere), 0);
        wsock_free(ws);
        wsock_server_free(server);
    }
}

/* ------------------------------------------------------------- callbacks -- */

/* A transport that asks for the other direction, as TLS may: every second
 * read wants to write first, every second write wants to read. */
typedef struct turncoat {
    const wsock_io *below;
    int reads, writes;
    int waits_crossed; /* waits for what the call had asked for */
    int asked;         /* by the last call: WANT_READ, WANT_WRITE, or 0 */
} turncoat;

static ptrdiff_t turncoat_read(void *user, void *data, size_t size)
{
    turncoat *t = (turncoat *)user;
    ptrdiff_t n;
    if (++t->reads % 2) {
        t->asked = WSOCK_WANT_WRITE;
        return t->asked;
    }
    n = t->below->read(t->below->user, data, size);
    t->asked = n < 0 ? (int)n : 0;
    return n;
}

static ptrdiff_t turncoat_write(void *user, const wsock_buf *bufs,
                                size_t count)
{
    turncoat *t = (turncoat *)user;
    if (++t->writes % 2) {
        t->asked = WSOCK_WANT_READ;
        return t->asked;
    }
    t->asked = 0;
    return t->below->write(t->below->user, bufs, count);
}

static int turncoat_wait(void *user, int wants, int timeout)
{
    turncoat *t = (turncoat *)user;
    if (t->asked == WSOCK_WANT_WRITE) {
        CHECK((wants & 2) != 0);
        t->waits_crossed++;
        return 0; /* it may be written at once */
    }
    if (t->asked == WSOCK_WANT_READ && t->writes % 2) {
        CHECK((wants & 1) != 0);
        t->waits_crossed++;
        return 0;
    }
    return t->below->wait(t->below->user, wants, timeout);
}

static void turncoat_close(void *user)
{
    turncoat *t = (turncoat *)user;
    t->below->close(t->below->user);
}

/* "read and write return WANT_READ or WANT_WRITE": whichever way the call
 * goes. */
TEST(callbacks_may_want_the_other_direction)
{
    wsock_status got;
    char text[16];
    turncoat t;
    wsock_io io;
    solo s;
    int i;
    solo_init(&s, NULL, NULL);
    solo_free(&s); /* the pair works as it is */
    memset(&s, 0, sizeof s);
    memset(&t, 0, sizeof t);
    memset(&io, 0, sizeof io);
    test_system_init(&s.system);
    test_link_init(&s.link);
    s.link.pump = test_peer_pump;
    s.link.user = &s.peer;
    s.link.system = &s.system;
    s.peer.link = &s.link;
    t.below = &s.link.io[0];
    io.read = turncoat_read;
    io.write = turncoat_write;
    io.wait = turncoat_wait;
    io.close = turncoat_close;
    io.user = &t;
    {
        wsock_options o = options_with(WSOCK_NONBLOCKING);
        o.system = &s.system.system;
        s.peer.ws = wsock_new(WSOCK_SERVER, NULL, &o);
        o.flags = 0;
        s.ws = wsock_new(WSOCK_CLIENT, "ws://h/", &o);
    }
    CHECK_RESULT(wsock_attach(s.peer.ws, &s.link.io[1]), WSOCK_OK);
    CHECK_RESULT(wsock_attach(s.ws, &io), WSOCK_OK);
    for (i = 0; i < 5; i++) {
        CHECK_RESULT(wsock_send(s.ws, WSOCK_TEXT, "to and fro", 10),
                     WSOCK_OK);
        CHECK_RESULT(wsock_receive(s.ws, text, sizeof text, &got), WSOCK_OK);
        CHECK_BYTES(text, got.bytes, "to and fro", 10);
    }
    CHECK(t.waits_crossed > 4);
    solo_free(&s);
}

/* A transport that always answers the same, over a descriptor that is never
 * ready. */
typedef struct stubborn {
    int read_answer, write_answer, fd;
} stubborn;

static ptrdiff_t stubborn_read(void *user, void *data, size_t size)
{
    (void)data;
    (void)size;
    return ((stubborn *)user)->read_answer;
}

static ptrdiff_t stubborn_write(void *user, const wsock_buf *bufs,
                                size_t count)
{
    (void)bufs;
    (void)count;
    return ((stubborn *)user)->write_answer;
}

static intptr_t stubborn_fd(void *user)
{
    return ((stubborn *)user)->fd;
}

/* ...and the watches of a polled one say which: a server that waits to read
 * waits for what its read has asked for, a client with a request to write for
 * what its write has. */
TEST(callbacks_that_want_show_in_the_watches)
{
    static const int answers[] = { WSOCK_WANT_READ, WSOCK_WANT_WRITE };
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    int fds[2], role, i;
    guard();
    if (pipe(fds))
        test_die("no pipe");
    raw_nonblocking(fds[1]);
    while (write(fds[1], "a full pipe is not ready", 24) > 0)
        ;
    for (role = WSOCK_CLIENT; role <= WSOCK_SERVER; role++)
        for (i = 0; i < 2; i++) {
            wsock_watch list[4];
            wsock_event e;
            wsock_io io;
            stubborn b;
            size_t k, n;
            int wants = 0;
            wsock *ws = wsock_new(role, role == WSOCK_CLIENT ? "ws://h/"
                                                             : NULL, &o);
            test_note("role %d, answer %d", role, answers[i]);
            memset(&io, 0, sizeof io);
            io.read = stubborn_read;
            io.write = stubborn_write;
            io.fd = stubborn_fd;
            io.user = &b;
            b.fd = fds[1];
            b.read_answer = role == WSOCK_SERVER ? answers[i]
                                                 : WSOCK_WANT_READ;
            b.write_answer = answers[i];
            CHECK_RESULT(wsock_attach(ws, &io), WSOCK_OK);
            CHECK_INT(wsock_poll(ws, &e, 0), 0);
            CHECK_INT(wsock_poll(ws, &e, 0), 0);
            n = wsock_watches(ws, list, 4);
            for (k = 0; k < n && k < 4; k++)
                if (list[k].fd == fds[1]) /* besides that of wsock_wake() */
                    wants |= list[k].wants;
            CHECK_INT((wants & 2) != 0, answers[i] == WSOCK_WANT_WRITE);
            if (answers[i] == WSOCK_WANT_READ)
                CHECK_INT(wants, 1);
            wsock_free(ws);
        }
    close(fds[0]);
    close(fds[1]);
}

/* "All but `wait` run under the lock; `wake` lets custom I/O be cancelled."
 */
TEST(callbacks_wake_cancels_a_wait)
{
    receiver r;
    couple c;
    int i;
    couple_init(&c, 1000);
    for (i = 0; i < 20; i++) {
        receiver_start(&r, c.ws[0]);
        if (i % 2) /* else perhaps before the wait: it is not lost */
            channel_await(&c.line, 0);
        CHECK_RESULT(i % 4 < 2 ? wsock_cancel(c.ws[0]) : wsock_wake(c.ws[0]),
                     WSOCK_OK);
        CHECK_RESULT(receiver_join(&r), WSOCK_CANCELLED);
    }
    CHECK_RESULT(wsock_error(c.ws[0]), WSOCK_OK);
    couple_free(&c);
}

/* "TLS is one function that turns an open wsock_io into another": a filter
 * goes over any transport.  This one turns every bit around. */
typedef struct inverter {
    const wsock_io *below;
    uint8_t held[64]; /* turned around, and not taken yet */
    size_t size;
} inverter;

static ptrdiff_t inverter_read(void *user, void *data, size_t size)
{
    inverter *v = (inverter *)user;
    ptrdiff_t i, n = v->below->read(v->below->user, data, size);
    for (i = 0; i < n; i++)
        ((uint8_t *)data)[i] = (uint8_t)~((uint8_t *)data)[i];
    return n;
}

static ptrdiff_t inverter_write(void *user, const wsock_buf *bufs,
                                size_t count)
{
    inverter *v = (inverter *)user;
    wsock_buf out;
    size_t i;
    (void)count;
    v->size = bufs[0].size < sizeof v->held ? bufs[0].size : sizeof v->held;
    for (i = 0; i < v->size; i++)
        v->held[i] = (uint8_t)~((const uint8_t *)bufs[0].data)[i];
    out.data = v->held;
    out.size = v->size;
    return v->below->write(v->below->user, &out, 1);
}

static int inverter_finish(void *user)
{
    inverter *v = (inverter *)user;
    return v->below->finish(v->below->user);
}

static void inverter_close(void *user)
{
    inverter *v = (inverter *)user;
    v->below->close(v->below->user);
}

TEST(callbacks_filters_go_over_any_transport)
{
    inverter inverters[2];
    wsock_io io[2];
    duo d;
    int i;
    duo_make(&d, NULL, NULL);
    for (i = 0; i < 2; i++) {
        memset(&io[i], 0, sizeof io[i]);
        inverters[i].below = &d.io[i];
        io[i].read = inverter_read;
        io[i].write = inverter_write;
        io[i].finish = inverter_finish;
        io[i].close = inverter_close;
        io[i].user = &inverters[i];
        CHECK_RESULT(wsock_attach(d.ws[i], &io[i]), WSOCK_OK);
    }
    duo_run(&d, 0);
    CHECK(d.link.end[1].in.size > 0);
    CHECK_INT(d.link.end[1].in.data[0], (uint8_t)~'G');
    duo_settle(&d);
    CHECK_RESULT(wsock_send(d.ws[0], WSOCK_TEXT, "around", 6), WSOCK_OK);
    wsock_close(d.ws[0], 1000, "");
    duo_settle(&d);
    d.system.now += 1000;
    duo_settle(&d);
    CHECK_STR(bytes_str(&d.log[1]),
              "OPEN\nTEXT \"around\"\nCLOSE 1000 \"\" WSOCK_OK\n");
    duo_free(&d);
}

/* "Clock, random source and allocator are one wsock_system, so that tests can
 * set them": two runs with the same are the same. */
TEST(callbacks_of_the_system)
{
    wsock_options o = options_with(0);
    test_system system[2];
    bytes out[2] = { { 0 }, { 0 } };
    int i;
    for (i = 0; i < 2; i++) {
        wsock *ws;
        test_system_init(&system[i]);
        o.system = &system[i].system;
        ws = wsock_new(WSOCK_CLIENT, "ws://h/", &o);
        take_output(ws, &out[i]); /* with its random key */
        CHECK(system[i].allocations > 0);
        wsock_free(ws);
        CHECK_NO_LEAK(&system[i]);
    }
    CHECK_BYTES(out[0].data, out[0].size, out[1].data, out[1].size);
    bytes_free(&out[0]);
    bytes_free(&out[1]);
}

/* --------------------------------------------------------------- options -- */

/* "Lists are NULL-terminated arrays, checked for CR, LF and NUL."  (A NUL is
 * the end of a string here.) */
TEST(options_lists_are_checked)
{
    static const char *const bad[] = { "X: a\rb", "X: a\nb", "X: a\r\nY: b" };
    size_t i;
    for (i = 0; i < 3; i++) {
        int field;
        for (field = 0; field < 6; field++) {
            const char *list[3];
            wsock_options o = options_with(0);
            wsock_server *server;
            wsock *ws;
            test_note("text %lu, field %d", (unsigned long)i, field);
            list[0] = field == 0 ? "Good: one" : "good";
            list[1] = bad[i];
            list[2] = NULL;
            if (field == 0)
                o.headers = list;
            else if (field == 1)
                o.subprotocols = list;
            else if (field == 2)
                o.extensions = list;
            else if (field == 3)
                o.origin = bad[i];
            else if (field == 4)
                o.user_agent = bad[i];
            else
                o.origins = list;
            if (field != 5) {
                ws = wsock_new(WSOCK_CLIENT, "ws://h/", &o);
                CHECK_RESULT(wsock_error(ws), WSOCK_INVALID_PARAMETER);
                wsock_free(ws);
            }
            if (field == 3 || field == 4)
                continue;
            server = wsock_listen("ws://127.0.0.1:0/", &o);
            CHECK_RESULT(wsock_server_error(server),
                         WSOCK_INVALID_PARAMETER);
            wsock_server_free(server);
        }
    }
}

/* "Strings are copied, tables borrowed." */
TEST(options_strings_are_copied_and_tables_borrowed)
{
    static const char *const headers[] = { "X-Table: borrowed", NULL };
    char url[] = "ws://h.example/path", agent[] = "an agent";
    char origin[] = "https://o.example";
    wsock_options o = options_with(0);
    bytes out = { 0 };
    wsock *ws;
    o.user_agent = agent;
    o.origin = origin;
    o.headers = headers;
    ws = wsock_new(WSOCK_CLIENT, url, &o);
    CHECK(wsock_effective_options(ws)->headers == headers);
    CHECK(wsock_effective_options(ws)->user_agent != agent);
    CHECK(wsock_effective_options(ws)->origin != origin);
    memset(url, 'x', sizeof url - 1);
    memset(agent, 'x', sizeof agent - 1);
    memset(origin, 'x', sizeof origin - 1);
    memset(&o, 0xEE, sizeof o); /* the struct itself is copied, too */
    take_output(ws, &out);
    CHECK(bytes_find(&out, "GET /path HTTP/1.1\r\n") != NULL);
    CHECK(bytes_find(&out, "Host: h.example\r\n") != NULL);
    CHECK(bytes_find(&out, "User-Agent: an agent\r\n") != NULL);
    CHECK(bytes_find(&out, "Origin: https://o.example\r\n") != NULL);
    CHECK(bytes_find(&out, "X-Table: borrowed\r\n") != NULL);
    wsock_free(ws);
    bytes_free(&out);
}

/* "Connections of a server share its options by pointer." */
TEST(options_of_a_server_are_shared)
{
    wsock_options o = options_with(0);
    const wsock_options *shared;
    hall h;
    o.max_message = 4711;
    hall_init(&h, &o);
    hall_join(&h, 0);
    hall_join(&h, 0);
    shared = wsock_effective_options(h.ws[0]);
    CHECK(shared == wsock_effective_options(h.ws[1]));
    CHECK_INT(shared->max_message, 4711);
    CHECK(shared != &o);
    hall_free(&h);
}

static const test_case tests[] = {
    TEST_ENTRY(lifetime_event_data_until_the_next_reading_call),
    TEST_ENTRY(lifetime_event_data_of_a_server),
    TEST_ENTRY(lifetime_of_a_request_until_it_is_answered),
    TEST_ENTRY(lifetime_of_a_request_until_the_connection_is_freed),
    TEST_ENTRY(lifetime_of_headers),
    TEST_ENTRY(lifetime_of_failure_and_close_reason),
    TEST_ENTRY(lifetime_event_data_may_be_changed),
    TEST_ENTRY(ownership_close_is_last_and_the_next_poll_frees),
    TEST_ENTRY(ownership_freed_earlier_means_no_further_events),
    TEST_ENTRY(ownership_added_connections_stay_ours),
    TEST_ENTRY(ownership_what_cannot_be_added),
    TEST_ENTRY(ownership_accepted_connections_are_ours),
    TEST_ENTRY(ownership_a_dead_peer_leaves_every_handle_valid),
    TEST_ENTRY(ownership_one_open_and_one_close),
    TEST_ENTRY(ownership_a_client_that_fails_before_open_gets_close),
    TEST_ENTRY(mode_is_fixed_when_it_is_made),
    TEST_ENTRY(mode_close_on_a_polled_handle_only_starts),
    TEST_ENTRY(mode_free_never_waits_for_the_peer),
    TEST_ENTRY(results_zero_positive_negative),
    TEST_ENTRY(results_of_poll_calls),
    TEST_ENTRY(results_that_never_stick),
    TEST_ENTRY(results_a_send_that_times_out_sticks),
    TEST_ENTRY(results_after_an_orderly_close),
    TEST_ENTRY(results_receive_yields_fragment_only_when_full),
    TEST_ENTRY(results_of_times),
    TEST_ENTRY(results_a_late_poll_looks_at_what_has_come_first),
    TEST_ENTRY(window_is_one_for_all_connections),
    TEST_ENTRY(window_polls_parse_on_from_the_cursor),
    TEST_ENTRY(window_tails_go_to_their_connections),
    TEST_ENTRY(window_replies_leave_before_the_next_is_read),
    TEST_ENTRY(window_nobody_starves),
    TEST_ENTRY(window_freeing_drops_the_cursor),
    TEST_ENTRY(window_freed_inside_a_batch),
    TEST_ENTRY(window_feeding_sooner_is_a_wrong_call),
    TEST_ENTRY(window_a_transport_is_read_until_it_wants),
    TEST_ENTRY(flush_sends_after_an_event_are_gathered),
    TEST_ENTRY(flush_at_once_when_poll_has_returned_0),
    TEST_ENTRY(flush_before_the_window_is_reused),
    TEST_ENTRY(flush_before_waiting),
    TEST_ENTRY(flush_above_64_kib),
    TEST_ENTRY(flush_by_the_call),
    TEST_ENTRY(flush_echoes_by_reference),
    TEST_ENTRY(queue_blocks_do_not_move),
    TEST_ENTRY(queue_is_masked_when_taken),
    TEST_ENTRY(queue_stages_16_kib_at_a_time),
    TEST_ENTRY(queue_pongs_go_between_frames),
    TEST_ENTRY(queue_newer_pongs_replace_older),
    TEST_ENTRY(queue_broadcasts_are_shared),
    TEST_ENTRY(queue_broadcasts_and_who_is_passed_over),
    TEST_ENTRY(queue_broadcasts_skip_full_queues),
    TEST_ENTRY(backpressure_send_limit_is_soft),
    TEST_ENTRY(backpressure_a_server_reads_nothing_at_the_limit),
    TEST_ENTRY(backpressure_pause_does_the_same),
    TEST_ENTRY(backpressure_pause_without_io),
    TEST_ENTRY(backpressure_the_pong_timeout_rests_while_paused),
    TEST_ENTRY(backpressure_the_stall_timeout_runs_while_paused),
    TEST_ENTRY(backpressure_without_stall_timeout_keepalive_goes_on),
    TEST_ENTRY(backpressure_the_pong_timeout_rests_while_held_back),
    TEST_ENTRY(backpressure_what_never_fits_is_too_big),
    TEST_ENTRY(threads_one_sender_and_one_receiver),
    TEST_ENTRY(threads_wait_outside_the_mutex),
    TEST_ENTRY(threads_a_send_takes_in_what_comes),
    TEST_ENTRY(threads_what_a_send_took_in_is_there),
    TEST_ENTRY(threads_a_receive_lets_out_what_is_queued),
    TEST_ENTRY(threads_a_waiting_receive_ends_by_cancel_close_or_free),
    TEST_ENTRY(threads_wake_from_others_and_from_signal_handlers),
    TEST_ENTRY(closing_shuts_discards_and_closes),
    TEST_ENTRY(closing_waits_one_second_at_most),
    TEST_ENTRY(closing_after_a_refusal_is_the_same),
    TEST_ENTRY(closing_is_no_reset_though_data_is_unread),
    TEST_ENTRY(closing_the_server_ends_tcp_first),
    TEST_ENTRY(closing_without_a_code),
    TEST_ENTRY(closing_shutdown_goes_on_receiving),
    TEST_ENTRY(closing_by_abort_gives_borrowed_memory_back),
    TEST_ENTRY(requests_without_the_flag_take_the_first_common_subprotocol),
    TEST_ENTRY(requests_without_the_flag_answer_http_with_426),
    TEST_ENTRY(requests_are_upgraded_now_or_later),
    TEST_ENTRY(requests_are_responded_to_now_or_later),
    TEST_ENTRY(requests_survive_wrong_answers),
    TEST_ENTRY(requests_are_under_the_handshake_timeout),
    TEST_ENTRY(requests_keep_what_was_sent_behind_them),
    TEST_ENTRY(requests_of_a_peer_that_has_left),
    TEST_ENTRY(requests_that_wait_when_the_server_closes),
    TEST_ENTRY(requests_without_io),
    TEST_ENTRY(lookup_runs_on_a_detached_helper_with_signals_blocked),
    TEST_ENTRY(lookup_outlives_the_connection),
    TEST_ENTRY(lookup_has_a_timeout),
    TEST_ENTRY(lookup_a_late_poll_takes_the_connection_that_stands),
    TEST_ENTRY(lookup_shows_up_in_the_watches),
    TEST_ENTRY(lookup_timeout_is_0_while_work_is_waiting),
    TEST_ENTRY(lookup_of_localhost_and_numbers_takes_no_helper),
    TEST_ENTRY(callbacks_may_want_the_other_direction),
    TEST_ENTRY(callbacks_that_want_show_in_the_watches),
    TEST_ENTRY(callbacks_wake_cancels_a_wait),
    TEST_ENTRY(callbacks_filters_go_over_any_transport),
    TEST_ENTRY(callbacks_of_the_system),
    TEST_ENTRY(options_lists_are_checked),
    TEST_ENTRY(options_strings_are_copied_and_tables_borrowed),
    TEST_ENTRY(options_of_a_server_are_shared)
};

TEST_MAIN("rules", tests)
