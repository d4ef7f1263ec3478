/* Servers: connections that are added to them and what moves with these,
 * requests and their answers, broadcasts, closing, and what polls with time 0
 * have to find.  The clocks stand, but where a test moves them. */
#define WSOCK_IMPLEMENTATION
#include "../../wsock.h"
#include "test.h"
#include "net.h"
#include <sys/ioctl.h>
#include <linux/sockios.h>

#define PLAIN_GET "GET /page?x=1 HTTP/1.1\r\nHost: h.example\r\n\r\n"

/* ------------------------------------------------------- what they share -- */

/* A server on the loopback with the test's clock and memory. */
static wsock_server *serve(test_system *system, const wsock_options *options)
{
    wsock_options o = options ? *options : options_with(0);
    wsock_server *server;
    guard();
    o.system = &system->system;
    server = wsock_listen("ws://127.0.0.1:0/", &o);
    if (!CHECK_RESULT(wsock_server_error(server), WSOCK_OK))
        test_die("a server is needed");
    return server;
}

/* The next event, which is to be of this type. */
static wsock *next_event(wsock_server *server, int type, wsock_event *e)
{
    while (wsock_server_poll(server, e, 0) <= 0)
        poll(NULL, 0, 1);
    if (!CHECK_INT(e->type, type))
        test_die("another event was to come");
    return e->ws;
}

/* What is there to do, and no event. */
static void no_event(wsock_server *server)
{
    wsock_event e;
    int i;
    for (i = 0; i < 4; i++)
        CHECK_INT(wsock_server_poll(server, &e, 0), 0);
}

/* Until everything that was sent is there for the other side, whether or not
 * that has accepted the connection yet. */
static void sent_is_there(int fd)
{
    int left = 1;
    while (!ioctl(fd, SIOCOUTQ, &left) && left > 0)
        poll(NULL, 0, 1);
    CHECK_INT(left, 0);
}

/* A plain peer that has asked. */
static int peer_asks(wsock_server *server, const char *request)
{
    int fd = raw_connect(wsock_server_port(server), 0);
    raw_send(fd, request, strlen(request));
    return fd;
}

/* A plain peer with an open connection: its response has been read. */
static int peer_joins(wsock_server *server, wsock **ws)
{
    int fd = peer_asks(server, TEST_REQUEST);
    bytes in = { 0 };
    wsock_event e;
    *ws = next_event(server, WSOCK_EVENT_OPEN, &e);
    no_event(server); /* the response leaves */
    while (!raw_head(&in)) {
        raw_wait(fd);
        raw_read(fd, &in);
    }
    CHECK_INT(in.size, raw_head(&in));
    bytes_free(&in);
    return fd;
}

/* Until the peer has `n` bytes; the server runs meanwhile and has no event. */
static void peer_takes(wsock_server *server, int fd, bytes *in, size_t n)
{
    wsock_event e;
    while (in->size < n && !raw_read(fd, in))
        if (in->size < n && wsock_server_poll(server, &e, 0) <= 0)
            poll(NULL, 0, 1);
    CHECK(in->size >= n);
}

/* Gone with a reset, which has arrived. */
static void peer_resets(int fd)
{
    struct pollfd p;
    p.fd = raw_other_end(fd);
    p.events = p.revents = 0;
    raw_reset(fd);
    while (poll(&p, 1, -1) < 1)
        ;
}

/* A transport of the program's: one end of a pair of sockets, whose writes
 * take as much as `room` says.  With a port, `open` connects to that
 * instead. */
typedef struct wire {
    int fd[2];
    int port;
    size_t room, written;
    wsock_io io;
} wire;

static int wire_open(void *user, const char *host, int port)
{
    wire *w = (wire *)user;
    struct pollfd p;
    if (w->fd[0] < 0) {
        struct sockaddr_storage s;
        socklen_t n = net_address(&s, host, port);
        w->fd[0] = socket(AF_INET, SOCK_STREAM, 0);
        raw_nonblocking(w->fd[0]);
        if (connect(w->fd[0], (struct sockaddr *)&s, n)
            && errno != EINPROGRESS)
            return WSOCK_TRANSPORT_ERROR;
        return WSOCK_WANT_WRITE;
    }
    p.fd = w->fd[0];
    p.events = POLLOUT;
    p.revents = 0;
    if (poll(&p, 1, 0) > 0)
        return WSOCK_OK;
    return WSOCK_WANT_WRITE;
}

static ptrdiff_t wire_read(void *user, void *data, size_t size)
{
    ssize_t n = recv(((wire *)user)->fd[0], data, size, MSG_DONTWAIT);
    if (n < 0)
        return WSOCK_WANT_READ;
    return n;
}

static ptrdiff_t wire_write(void *user, const wsock_buf *bufs, size_t count)
{
    wire *w = (wire *)user;
    size_t size = bufs[0].size < w->room ? bufs[0].size : w->room;
    ssize_t n;
    (void)count;
    if (!size)
        return WSOCK_WANT_WRITE;
    n = send(w->fd[0], bufs[0].data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0)
        return WSOCK_WANT_WRITE;
    w->written += (size_t)n;
    if (w->room != (size_t)-1)
        w->room -= (size_t)n;
    return n;
}

static intptr_t wire_fd(void *user)
{
    return ((wire *)user)->fd[0];
}

static void wire_close(void *user)
{
    wire *w = (wire *)user;
    if (w->fd[0] >= 0)
        close(w->fd[0]);
    w->fd[0] = -1;
}

static void wire_init(wire *w, int pair)
{
    memset(w, 0, sizeof *w);
    w->fd[0] = w->fd[1] = -1;
    w->room = (size_t)-1;
    if (pair && socketpair(AF_UNIX, SOCK_STREAM, 0, w->fd))
        test_die("no pair of sockets");
    w->io.open = pair ? NULL : wire_open;
    w->io.read = wire_read;
    w->io.write = wire_write;
    w->io.fd = wire_fd;
    w->io.close = wire_close;
    w->io.user = w;
}

/* A polled client over it: OPEN is its last event. */
static wsock *wire_client(wire *w, test_system *system, const char *header)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    bytes in = { 0 }, out = { 0 };
    wsock_event e;
    wsock *ws;
    guard();
    wire_init(w, 1);
    o.system = &system->system;
    ws = wsock_new(WSOCK_CLIENT, "ws://h.example/", &o);
    CHECK_RESULT(wsock_attach(ws, &w->io), WSOCK_OK);
    CHECK_INT(wsock_poll(ws, &e, 0), 0);
    raw_read(w->fd[1], &in);
    put_response(&out, bytes_str(&in), header);
    raw_bytes(w->fd[1], &out);
    CHECK_INT(wsock_poll(ws, &e, 0), 1);
    CHECK_INT(e.type, WSOCK_EVENT_OPEN);
    bytes_free(&in);
    bytes_free(&out);
    return ws;
}

/* The one frame that a peer has got: masked, with this payload. */
static void check_masked_frame(bytes *in, const void *payload, size_t size)
{
    frame f;
    CHECK_INT(frame_get(in->data, in->size, &f), in->size);
    CHECK_INT(f.masked, 1);
    CHECK_BYTES(f.payload, f.size, payload, size);
}

/* A connection without I/O that is asked this; `memory` may be NULL. */
static wsock *asked(test_system *system, wsock_options *o, const char *text,
                    bytes *log)
{
    wsock *ws;
    o->flags |= WSOCK_REQUESTS | WSOCK_NONBLOCKING;
    test_system_init(system);
    o->system = &system->system;
    ws = wsock_new(WSOCK_SERVER, NULL, o);
    CHECK(ws != NULL);
    feed_text(ws, text, log);
    return ws;
}

/* ----------------------------------------------------- added connections -- */

/* What is lent and masked in pieces goes on in the server's loop; SENT tells
 * the kind and the size of the whole. */
TEST(an_added_client_with_a_masked_reference)
{
    uint8_t *data = test_pattern(20000);
    static char mark;
    test_system system;
    wsock_server *server;
    bytes in = { 0 };
    wsock_event e;
    wsock_buf buf;
    wsock *ws;
    wire w;
    test_system_init(&system);
    server = serve(&system, NULL);
    ws = wire_client(&w, &system, "");
    CHECK_INT(wsock_poll(ws, &e, 0), 0);
    buf.data = data;
    buf.size = 20000;
    w.room = 8 + 1001;
    CHECK_RESULT(wsock_sendv(ws, WSOCK_BINARY | WSOCK_BORROW, &buf, 1, &mark),
                 WSOCK_OK);
    wsock_flush(ws);
    CHECK_INT(wsock_queued(ws), 20000 - 1001);
    CHECK_RESULT(wsock_server_add(server, ws), WSOCK_OK);
    w.room = (size_t)-1;
    CHECK(next_event(server, WSOCK_EVENT_SENT, &e) == ws);
    CHECK_RESULT(e.code, WSOCK_OK);
    CHECK_INT(e.kind, WSOCK_BINARY);
    CHECK_INT(e.size, 20000);
    CHECK(e.context == &mark);
    raw_read(w.fd[1], &in);
    check_masked_frame(&in, data, 20000);
    wsock_free(ws);
    wsock_server_free(server);
    close(w.fd[1]);
    CHECK_NO_LEAK(&system);
    bytes_free(&in);
    free(data);
}

/* Frames that come at once for a client in a server's loop are not masked, and
 * one that is fails it as it would anywhere. */
TEST(a_batch_for_an_added_client)
{
    test_system system;
    wsock_server *server;
    bytes out = { 0 };
    wsock_event e;
    wsock *ws;
    wire w;
    int i;
    test_system_init(&system);
    server = serve(&system, NULL);
    ws = wire_client(&w, &system, "");
    CHECK_RESULT(wsock_server_add(server, ws), WSOCK_OK);
    frame_text(&out, FIN | 1, 0, "one");
    frame_text(&out, FIN | 2, 0, "two");
    frame_text(&out, FIN | 1, 1, "masked");
    raw_bytes(w.fd[1], &out);
    for (i = 0; i < 2; i++) {
        CHECK(next_event(server, WSOCK_EVENT_MESSAGE, &e) == ws);
        CHECK_INT(e.kind, i ? WSOCK_BINARY : WSOCK_TEXT);
        CHECK_BYTES(e.data, e.size, i ? "two" : "one", 3);
    }
    no_event(server);
    CHECK_RESULT(wsock_error(ws), WSOCK_PROTOCOL_ERROR);
    wsock_free(ws);
    wsock_server_free(server);
    close(w.fd[1]);
    CHECK_NO_LEAK(&system);
    bytes_free(&out);
}

/* A connection that was added has a send_limit of its own. */
TEST(an_added_connection_keeps_its_send_limit)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    test_system system;
    wsock_server *server;
    bytes out = { 0 };
    wsock_event e;
    size_t before;
    wsock *ws;
    wire w;
    int r;
    test_system_init(&system);
    server = serve(&system, NULL);
    wire_init(&w, 1);
    o.system = &system.system;
    o.send_limit = 100;
    ws = wsock_new(WSOCK_SERVER, NULL, &o);
    CHECK_RESULT(wsock_attach(ws, &w.io), WSOCK_OK);
    CHECK_RESULT(wsock_server_add(server, ws), WSOCK_OK);
    bytes_text(&out, TEST_REQUEST);
    frame_text(&out, FIN | 1, 1, "how many?");
    raw_bytes(w.fd[1], &out);
    CHECK(next_event(server, WSOCK_EVENT_OPEN, &e) == ws);
    CHECK(next_event(server, WSOCK_EVENT_MESSAGE, &e) == ws);
    do {
        before = wsock_queued(ws);
        r = wsock_send(ws, WSOCK_TEXT, "an answer", 9);
        CHECK_RESULT(r, before < 100 ? WSOCK_OK : WSOCK_WOULD_BLOCK);
    } while (r == WSOCK_OK && before < 1000);
    CHECK(next_event(server, WSOCK_EVENT_DRAIN, &e) == ws);
    wsock_free(ws);
    wsock_server_free(server);
    close(w.fd[1]);
    CHECK_NO_LEAK(&system);
    bytes_free(&out);
}

/* An echo of which the transport took a part that is no multiple of four
 * bytes; the rest is copied when the next poll needs the window. */
TEST(echo_copied_in_the_middle_keeps_its_key)
{
    uint8_t *data = test_pattern(20000);
    test_system system;
    bytes in = { 0 }, out = { 0 };
    wsock_event e;
    wsock *ws;
    wire w;
    test_system_init(&system);
    ws = wire_client(&w, &system, "");
    CHECK_INT(wsock_poll(ws, &e, 0), 0);
    frame_put(&out, FIN | 2, 0, data, 20000);
    raw_bytes(w.fd[1], &out);
    CHECK_INT(wsock_poll(ws, &e, 0), 1);
    CHECK_INT(e.type, WSOCK_EVENT_MESSAGE);
    CHECK_INT(e.size, 20000);
    CHECK_RESULT(wsock_send(ws, e.kind, e.data, e.size), WSOCK_OK);
    w.room = 8 + 1001;
    CHECK_INT(wsock_poll(ws, &e, 0), 0);
    CHECK_INT(wsock_queued(ws), 20000 - 1001);
    w.room = (size_t)-1;
    CHECK_INT(wsock_poll(ws, &e, 0), 0);
    CHECK_INT(wsock_queued(ws), 0);
    raw_read(w.fd[1], &in);
    check_masked_frame(&in, data, 20000);
    wsock_free(ws);
    close(w.fd[1]);
    CHECK_NO_LEAK(&system);
    bytes_free(&in);
    bytes_free(&out);
    free(data);
}

/* The OPEN event is the natural place to add a client: its head lay in the
 * window of the loop that goes away then. */
TEST(header_after_server_add)
{
    test_system system;
    wsock_server *server;
    const char *value;
    wsock *ws;
    wire w;
    test_system_init(&system);
    server = serve(&system, NULL);
    ws = wire_client(&w, &system, "X-Kept: yes\r\n");
    CHECK_STR(wsock_header(ws, "X-Kept"), "yes");
    CHECK_RESULT(wsock_server_add(server, ws), WSOCK_OK);
    value = wsock_header(ws, "X-Kept"); /* adding may count as reading */
    if (value)
        CHECK_STR(value, "yes");
    no_event(server);
    CHECK(wsock_header(ws, "X-Kept") == NULL);
    wsock_free(ws);
    wsock_server_free(server);
    close(w.fd[1]);
    CHECK_NO_LEAK(&system);
}

/* A transport of the program's that has no descriptor before `open`. */
TEST(added_before_its_transport_is_open)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    test_system system;
    wsock_server *far, *server;
    struct pollfd p;
    wsock_event e;
    char url[64];
    wsock *ws;
    wire w;
    test_system_init(&system);
    far = serve(&system, NULL);
    server = serve(&system, NULL);
    wire_init(&w, 0);
    o.io = &w.io;
    o.system = &system.system;
    snprintf(url, sizeof url, "ws://127.0.0.1:%d/", wsock_server_port(far));
    ws = wsock_connect(url, &o);
    CHECK_RESULT(wsock_server_add(server, ws), WSOCK_OK);
    CHECK_INT(wsock_server_poll(server, &e, 0), 0);
    CHECK(w.fd[0] >= 0);
    p.fd = w.fd[0];
    p.events = POLLOUT;
    p.revents = 0;
    while (poll(&p, 1, -1) < 1)
        ;
    CHECK_INT(wsock_server_poll(server, &e, 0), 0);
    if (CHECK(w.written > 0)) { /* the request */
        next_event(far, WSOCK_EVENT_OPEN, &e);
        no_event(far);
        raw_wait(w.fd[0]);
        CHECK_INT(wsock_server_poll(server, &e, 0), 1);
        CHECK_INT(e.type, WSOCK_EVENT_OPEN);
        CHECK(e.ws == ws);
    }
    wsock_free(ws);
    wsock_server_free(server);
    wsock_server_free(far);
    CHECK_NO_LEAK(&system);
}

/* The sums that max_memory is held to, of the server and of the added one,
 * are what is really allocated, after every step. */
static void check_accounts(const test_system *system,
                           const wsock_server *server, const wsock *ws)
{
    size_t own = ws ? ws->config->used : 0;
    CHECK(own <= system->live_bytes);
    CHECK_INT(server->loop.config->used + own, system->live_bytes);
}

TEST(accounts_after_moves)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING | WSOCK_REQUESTS);
    const char *name, *value;
    test_system system;
    wsock_server *server;
    wsock_event e;
    wsock_buf buf;
    wsock *ws;
    wire w;
    test_system_init(&system);
    server = serve(&system, NULL);
    check_accounts(&system, server, NULL);
    o.system = &system.system;

    test_note("a subprotocol from elsewhere");
    wire_init(&w, 1);
    ws = wsock_new(WSOCK_SERVER, NULL, &o);
    CHECK_RESULT(wsock_attach(ws, &w.io), WSOCK_OK);
    raw_send(w.fd[1], TEST_REQUEST, strlen(TEST_REQUEST) - 2);
    raw_send(w.fd[1], "Sec-WebSocket-Protocol: zz, y\r\n\r\n", 33);
    CHECK_INT(wsock_poll(ws, &e, 0), 1);
    CHECK_INT(e.type, WSOCK_EVENT_REQUEST);
    CHECK_RESULT(wsock_upgrade(ws, "zz", NULL), WSOCK_OK);
    CHECK_INT(wsock_poll(ws, &e, 0), 1);
    CHECK_INT(e.type, WSOCK_EVENT_OPEN);
    CHECK_INT(wsock_poll(ws, &e, 0), 0);
    CHECK_INT(server->loop.config->used + ws->config->used,
              system.live_bytes);
    CHECK_RESULT(wsock_server_add(server, ws), WSOCK_OK);
    check_accounts(&system, server, ws);
    CHECK_STR(wsock_subprotocol(ws), "zz");
    no_event(server);
    check_accounts(&system, server, ws);
    wsock_free(ws);
    close(w.fd[1]);
    check_accounts(&system, server, NULL);

    test_note("a head by hand");
    o.flags = WSOCK_NONBLOCKING;
    ws = wsock_new(WSOCK_CLIENT, "ws://h.example/", &o);
    CHECK_RESULT(wsock_head_out(ws, 0, &name, &value), WSOCK_OK);
    CHECK_RESULT(wsock_server_add(server, ws), WSOCK_INVALID_OPERATION);
    check_accounts(&system, server, ws);
    wsock_free(ws);
    check_accounts(&system, server, NULL);

    test_note("a queue, a reference and half a message");
    ws = wire_client(&w, &system, "");
    buf.data = "lent";
    buf.size = 4;
    w.room = 1;
    wsock_send(ws, WSOCK_TEXT, "copied", 6);
    wsock_sendv(ws, WSOCK_TEXT | WSOCK_BORROW, &buf, 1, NULL);
    raw_send(w.fd[1], "\x01\x05" "hello" "\x80\x7E\x10\x00" "half", 15);
    CHECK_INT(wsock_poll(ws, &e, 0), 0);
    CHECK_RESULT(wsock_server_add(server, ws), WSOCK_OK);
    check_accounts(&system, server, ws);
    no_event(server);
    check_accounts(&system, server, ws);
    w.room = (size_t)-1;
    CHECK_RESULT(wsock_flush(ws), WSOCK_OK);
    CHECK(next_event(server, WSOCK_EVENT_SENT, &e) == ws);
    check_accounts(&system, server, ws);
    wsock_free(ws);
    close(w.fd[1]);
    check_accounts(&system, server, NULL);

    wsock_server_free(server);
    CHECK_NO_LEAK(&system);
}

static int64_t another_now(void *user)
{
    (void)user;
    return 100000000;
}

TEST(another_clock_is_refused)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    test_system system;
    wsock_server *server;
    wsock_system other;
    wsock *ws;
    test_system_init(&system);
    server = serve(&system, NULL);
    other = system.system;
    o.system = &other;
    ws = wsock_new(WSOCK_CLIENT, "ws://h.example/", &o);
    CHECK_RESULT(wsock_server_add(server, ws), WSOCK_OK);
    wsock_free(ws);
    other.now = another_now;
    ws = wsock_new(WSOCK_CLIENT, "ws://h.example/", &o);
    CHECK_RESULT(wsock_server_add(server, ws), WSOCK_INVALID_PARAMETER);
    wsock_free(ws);
    wsock_server_free(server);
    CHECK_NO_LEAK(&system);
}

/* An added connection that waits for its request gives no place to others,
 * and takes none from those that may. */
TEST(added_handshakes_do_not_block_max_handshakes)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    test_system system;
    wsock_server *server;
    bytes in = { 0 };
    wsock_event e;
    wsock *ws, *open = NULL;
    int a, b, c, away = 0;
    wire w;
    test_system_init(&system);
    o.max_handshakes = 2;
    server = serve(&system, &o);
    o.system = &system.system;
    wire_init(&w, 1);
    ws = wsock_new(WSOCK_SERVER, NULL, &o);
    CHECK_RESULT(wsock_attach(ws, &w.io), WSOCK_OK);
    CHECK_RESULT(wsock_server_add(server, ws), WSOCK_OK);
    no_event(server);
    a = raw_connect(wsock_server_port(server), 0);
    b = raw_connect(wsock_server_port(server), 0);
    while (raw_other_end(a) < 0 || raw_other_end(b) < 0)
        no_event(server);
    system.now++;
    c = peer_asks(server, TEST_REQUEST);
    while (!open && !away) {
        if (wsock_server_poll(server, &e, 0) > 0)
            open = e.ws;
        else
            away = raw_read(c, &in);
        poll(NULL, 0, 1);
    }
    if (!CHECK_INT(away, 0))
        test_die("the new one was turned away");
    CHECK(open != ws);
    raw_wait(a); /* the oldest had to go */
    CHECK(raw_read(a, &in) > 0);
    CHECK_INT(raw_read(b, &in), 0);
    CHECK_INT(wsock_state(ws), WSOCK_STATE_CONNECTING);
    wsock_server_free(server);
    wsock_free(ws);
    close(w.fd[1]);
    close(a);
    close(b);
    close(c);
    CHECK_NO_LEAK(&system);
    bytes_free(&in);
}

/* Clients that were added get a broadcast too, masked as theirs have to be;
 * the others have it in one piece of memory. */
TEST(broadcast_is_masked_for_added_clients)
{
    uint8_t *data = test_pattern(3000);
    test_system system;
    wsock_server *server;
    bytes in = { 0 }, want = { 0 };
    wsock *client, *ws;
    wire w;
    int fd;
    test_system_init(&system);
    server = serve(&system, NULL);
    client = wire_client(&w, &system, "");
    CHECK_RESULT(wsock_server_add(server, client), WSOCK_OK);
    fd = peer_joins(server, &ws);
    CHECK_INT(wsock_broadcast(server, NULL, 0, WSOCK_BINARY, data, 3000), 0);
    frame_put(&want, FIN | 2, 0, data, 3000);
    peer_takes(server, fd, &in, want.size);
    CHECK_BYTES(in.data, in.size, want.data, want.size);
    bytes_clear(&in);
    peer_takes(server, w.fd[1], &in, want.size + 4);
    check_masked_frame(&in, data, 3000);
    wsock_free(client);
    wsock_server_free(server);
    close(w.fd[1]);
    close(fd);
    CHECK_NO_LEAK(&system);
    bytes_free(&in);
    bytes_free(&want);
    free(data);
}

/* A list may have holes, and those that have ended and are not freed yet. */
TEST(broadcast_passes_over_holes_and_closed_ones)
{
    test_system system;
    wsock_server *server;
    bytes in = { 0 };
    wsock *to[4];
    wsock_event e;
    int fd[3];
    test_system_init(&system);
    server = serve(&system, NULL);
    fd[0] = peer_joins(server, &to[0]);
    fd[1] = peer_joins(server, &to[2]);
    fd[2] = peer_joins(server, &to[3]);
    to[1] = NULL;
    peer_resets(fd[1]);
    CHECK(next_event(server, WSOCK_EVENT_CLOSE, &e) == to[2]);
    CHECK_INT(wsock_broadcast(server, to, 4, WSOCK_TEXT, "news", 4), 0);
    CHECK_INT(wsock_broadcast(server, to + 1, 2, WSOCK_TEXT, "no", 2), 0);
    peer_takes(server, fd[0], &in, 6);
    CHECK_BYTES(in.data, in.size, "\x81\x04" "news", 6);
    bytes_clear(&in);
    peer_takes(server, fd[2], &in, 6);
    CHECK_BYTES(in.data, in.size, "\x81\x04" "news", 6);
    wsock_server_free(server);
    close(fd[0]);
    close(fd[2]);
    CHECK_NO_LEAK(&system);
    bytes_free(&in);
}

/* -------------------------------------------------------------- requests -- */

/* The program may still answer a request that the server has answered itself,
 * or whose peer has left; a server that closes does not free it before. */
TEST(server_close_leaves_late_requests_to_the_program)
{
    wsock_options o = options_with(WSOCK_REQUESTS);
    test_system system;
    wsock_server *server;
    bytes in = { 0 };
    wsock_event e;
    wsock *late, *left;
    int a, b, r;
    test_system_init(&system);
    o.handshake_timeout = 100;
    server = serve(&system, &o);
    a = peer_asks(server, PLAIN_GET);
    late = next_event(server, WSOCK_EVENT_REQUEST, &e);
    system.now += 200;
    peer_takes(server, a, &in, 12);
    CHECK_BYTES(in.data, 12, "HTTP/1.1 503", 12);
    b = peer_asks(server, PLAIN_GET);
    left = next_event(server, WSOCK_EVENT_REQUEST, &e);
    peer_resets(b);
    no_event(server);
    CHECK_INT(server->loop.count, 2);
    CHECK_RESULT(wsock_server_close(server), WSOCK_OK);
    wsock_server_poll(server, &e, 0);
    system.now += 5000;
    wsock_server_poll(server, &e, 0);
    if (CHECK_INT(server->loop.count, 2)) {
        CHECK_STR(e.request ? "a request" : "none", "none");
        CHECK_RESULT(wsock_respond(late, 200, NULL, "x", 1), WSOCK_CLOSED);
        wsock_free(late);
        CHECK_INT(server->loop.count, 1);
        CHECK_RESULT(wsock_respond(left, 200, NULL, "x", 1), WSOCK_CLOSED);
    }
    while ((r = wsock_server_poll(server, &e, 0)) == 0)
        system.now += 100;
    CHECK_RESULT(r, WSOCK_CLOSED);
    wsock_server_free(server);
    close(a);
    CHECK_NO_LEAK(&system);
    bytes_free(&in);
}

/* A program that turns down requests whose peers have left, or that timed
 * out, has room for new ones. */
TEST(a_rejected_request_gives_its_slot_back)
{
    int timed_out, aborted, i;
    for (timed_out = 0; timed_out < 2; timed_out++)
        for (aborted = 0; aborted < 2; aborted++) {
            wsock_options o = options_with(WSOCK_REQUESTS);
            test_system system;
            wsock_server *server;
            wsock_event e;
            wsock *ws[2];
            int fd[3];
            test_note("timed out %d, aborted %d", timed_out, aborted);
            test_system_init(&system);
            o.max_connections = 2;
            o.handshake_timeout = 300;
            server = serve(&system, &o);
            for (i = 0; i < 2; i++) {
                fd[i] = peer_asks(server, PLAIN_GET);
                ws[i] = next_event(server, WSOCK_EVENT_REQUEST, &e);
            }
            if (timed_out) {
                system.now += 400;
                no_event(server);
                system.now += 2000; /* the 503 is out; it waits no longer */
            } else {
                peer_resets(fd[0]);
                peer_resets(fd[1]);
            }
            no_event(server);
            for (i = 0; i < 2; i++)
                CHECK((aborted ? wsock_abort(ws[i])
                               : wsock_close(ws[i], 1000, NULL)) <= 0);
            no_event(server);
            if (CHECK_INT(server->loop.count, 0)) {
                fd[2] = peer_asks(server, PLAIN_GET);
                next_event(server, WSOCK_EVENT_REQUEST, &e);
                close(fd[2]);
            }
            wsock_server_free(server);
            for (i = 0; timed_out && i < 2; i++)
                close(fd[i]);
            CHECK_NO_LEAK(&system);
        }
}

/* A peer that takes a response little by little does not hold a server that
 * closes: "after options.close_timeout and a second at most"; and not if
 * there is no stall_timeout either. */
static void close_bounds_a_slow_response(int stall_timeout)
{
    static char body[1000000];
    wsock_options o = options_with(WSOCK_REQUESTS);
    int fd, r = 0, room = 4096;
    test_system system;
    wsock_server *server;
    char taken[4096];
    int64_t begin;
    wsock_event e;
    wsock *ws;
    test_system_init(&system);
    o.close_timeout = 200;
    o.stall_timeout = stall_timeout;
    server = serve(&system, &o);
    fd = raw_connect(wsock_server_port(server), 1);
    raw_send(fd, PLAIN_GET, strlen(PLAIN_GET));
    ws = next_event(server, WSOCK_EVENT_REQUEST, &e);
    setsockopt(raw_other_end(fd), SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    CHECK_RESULT(wsock_respond(ws, 200, NULL, body, sizeof body), WSOCK_OK);
    no_event(server);
    CHECK_RESULT(wsock_server_close(server), WSOCK_OK);
    begin = system.now;
    while ((r = wsock_server_poll(server, &e, 0)) == 0
           && system.now < begin + 4000) {
        if (system.now < begin + 150)
            raw_wait(fd); /* it does go on for a while */
        (void)!recv(fd, taken, sizeof taken, MSG_DONTWAIT);
        system.now += 50;
    }
    CHECK_RESULT(r, WSOCK_CLOSED);
    CHECK(system.now - begin <= 200 + 1000 + 50);
    wsock_server_free(server);
    close(fd);
    CHECK_NO_LEAK(&system);
}

TEST(server_close_bounds_a_slow_response)
{
    close_bounds_a_slow_response(1000);
    close_bounds_a_slow_response(WSOCK_NEVER);
}

/* ------------------------------------------------------- wakes, wrong calls */

/* A wake that is found together with something to report is not lost: the
 * waiting poll returns that event, and the next one returns 0. */
TEST(a_wake_beside_an_event_is_not_lost)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    test_system system;
    bytes frame = { 0 };
    wsock_event e;
    wsock_server *server;
    wsock *ws, *client;
    char url[64];
    int fd, i;
    test_system_init(&system);
    server = serve(&system, NULL);
    fd = peer_joins(server, &ws);
    frame_text(&frame, FIN | WSOCK_TEXT, 1, "beside");
    for (i = 0; i < 4; i++) { /* whichever of the two is found first */
        if (i & 1)
            CHECK_RESULT(wsock_server_wake(server), WSOCK_OK);
        raw_bytes(fd, &frame);
        raw_arrived(fd);
        if (!(i & 1))
            CHECK_RESULT(wsock_server_wake(server), WSOCK_OK);
        CHECK_INT(wsock_server_poll(server, &e, WSOCK_NEVER), 1);
        CHECK_INT(e.type, WSOCK_EVENT_MESSAGE);
        CHECK_INT(wsock_server_poll(server, &e, WSOCK_NEVER), 0);
    }
    snprintf(url, sizeof url, "ws://127.0.0.1:%d/",
             wsock_server_port(server));
    client = wsock_connect(url, &o);
    while (wsock_state(client) != WSOCK_STATE_OPEN) {
        wsock_server_poll(server, &e, 0);
        wsock_poll(client, &e, 0);
    }
    wsock_server_poll(server, &e, 0);
    while (wsock_poll(client, &e, 0) > 0)
        ;
    CHECK_INT(wsock_broadcast(server, NULL, 0, WSOCK_TEXT, "x", 1), 0);
    raw_wait((int)client_socket(client));
    CHECK_RESULT(wsock_wake(client), WSOCK_OK);
    CHECK_INT(wsock_poll(client, &e, WSOCK_NEVER), 1);
    CHECK_INT(e.type, WSOCK_EVENT_MESSAGE);
    CHECK_INT(wsock_poll(client, &e, WSOCK_NEVER), 0);
    wsock_free(client);
    wsock_server_free(server);
    close(fd);
    CHECK_NO_LEAK(&system);
    bytes_free(&frame);
}

/* A connection that was added before it has a transport is passed over until
 * it has one; and it is no core handle any more: bytes fed to it would stand
 * before those of all the others. */
TEST(an_added_connection_without_a_transport)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    test_system system;
    bytes frame = { 0 };
    wsock_server *server;
    char text[] = "HTTP/1.1 101 Switching Protocols\r\n";
    wsock *ws, *added;
    wsock_event e;
    int fd;
    test_system_init(&system);
    o.system = &system.system;
    server = serve(&system, NULL);
    fd = peer_joins(server, &ws);
    added = wsock_new(WSOCK_CLIENT, "ws://127.0.0.1/", &o);
    CHECK_RESULT(wsock_server_add(server, added), WSOCK_OK);
    no_event(server);
    CHECK_RESULT(wsock_pause(added, 1), WSOCK_OK);
    CHECK_RESULT(wsock_pause(added, 0), WSOCK_OK);
    CHECK_RESULT(wsock_flush(added), WSOCK_INVALID_OPERATION);
    no_event(server);
    CHECK_RESULT(wsock_feed(added, text, strlen(text)),
                 WSOCK_INVALID_OPERATION);
    CHECK_RESULT(wsock_next(added, &e), WSOCK_INVALID_OPERATION);
    CHECK_RESULT(wsock_error(added), WSOCK_OK);
    CHECK_INT(wsock_state(added), WSOCK_STATE_CONNECTING);
    frame_text(&frame, FIN | WSOCK_TEXT, 1, "as ever");
    raw_bytes(fd, &frame);
    CHECK(next_event(server, WSOCK_EVENT_MESSAGE, &e) == ws);
    CHECK_RESULT(wsock_close(added, 0, NULL), WSOCK_OK);
    CHECK(next_event(server, WSOCK_EVENT_CLOSE, &e) == added);
    wsock_free(added);
    wsock_server_free(server);
    close(fd);
    CHECK_NO_LEAK(&system);
    bytes_free(&frame);
}

/* ------------------------------------------------ requests, without sockets */

/* Our head may be larger than what a queue gathers in one run. */
TEST(head_out_of_a_large_head)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    static char line[6000];
    const char *const headers[] = { line, NULL };
    const char *name, *value;
    test_system system;
    size_t i = 0;
    wsock *ws;
    memset(line, 'a', sizeof line - 1);
    memcpy(line, "X: ", 3);
    test_system_init(&system);
    o.headers = headers;
    o.system = &system.system;
    ws = wsock_new(WSOCK_CLIENT, "ws://h.example/", &o);
    CHECK_RESULT(wsock_head_out(ws, 0, &name, &value), WSOCK_OK);
    CHECK_STR(value, "GET / HTTP/1.1");
    do
        if (!CHECK_RESULT(wsock_head_out(ws, ++i, &name, &value), WSOCK_OK))
            break;
    while (strcmp(name, "X"));
    CHECK_STR(value, line + 3);
    wsock_free(ws);
    CHECK_NO_LEAK(&system);
}

TEST(head_in_twice_is_refused)
{
    static const char *const headers[] = { "Host: h.example", NULL };
    wsock_options o = options_with(WSOCK_NONBLOCKING | WSOCK_REQUESTS);
    const char *name, *value;
    test_system system;
    wsock_event e;
    wsock *ws;
    test_system_init(&system);
    o.system = &system.system;
    ws = wsock_new(WSOCK_SERVER, NULL, &o);
    CHECK_RESULT(wsock_head_in(ws, "GET /first HTTP/1.1", headers), WSOCK_OK);
    CHECK_RESULT(wsock_head_in(ws, "GET /second HTTP/1.1", headers),
                 WSOCK_INVALID_OPERATION);
    CHECK_INT(wsock_next(ws, &e), 1);
    CHECK_INT(e.type, WSOCK_EVENT_REQUEST);
    CHECK_RESULT(wsock_head_in(ws, "GET /third HTTP/1.1", headers),
                 WSOCK_INVALID_OPERATION);
    CHECK_STR(e.request->target, "/first");
    CHECK_RESULT(wsock_respond(ws, 204, NULL, NULL, 0), WSOCK_OK);
    CHECK_RESULT(wsock_head_out(ws, 0, &name, &value), WSOCK_OK);
    CHECK_BYTES(value, 12, "HTTP/1.1 204", 12);
    wsock_free(ws);
    CHECK_NO_LEAK(&system);
}

TEST(respond_sends_the_options_headers)
{
    static const char *const mine[] = { "Server: mine", "X-All: 1", NULL };
    static const char *const more[] = { "X-One: 2", NULL };
    wsock_options o = options_with(0);
    test_system system;
    bytes out = { 0 };
    char value[64];
    wsock *ws;
    o.headers = mine;
    ws = asked(&system, &o, PLAIN_GET, NULL);
    CHECK_RESULT(wsock_respond(ws, 200, more, "hi", 2), WSOCK_OK);
    take_output(ws, &out);
    bytes_text(&out, "");
    CHECK(head_value(bytes_str(&out), "Server", value, sizeof value));
    CHECK_STR(value, "mine");
    CHECK(head_value(bytes_str(&out), "X-All", value, sizeof value));
    CHECK_STR(value, "1");
    CHECK(head_value(bytes_str(&out), "X-One", value, sizeof value));
    CHECK_STR(value, "2");
    CHECK_STR(bytes_str(&out) + raw_head(&out), "hi");
    wsock_free(ws);
    CHECK_NO_LEAK(&system);
    bytes_free(&out);
}

/* A request that came by wsock_feed() and is refused: the head may be taken
 * by hand, the body that it announces stays in the output. */
TEST(refusals_body_after_head_out)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    const char *name, *value;
    test_system system;
    bytes log = { 0 }, out = { 0 };
    int announced = -1;
    size_t i;
    wsock *ws;
    test_system_init(&system);
    o.system = &system.system;
    ws = wsock_new(WSOCK_SERVER, NULL, &o);
    feed_text(ws, "GET / HTTP/1.1\r\n\r\n", &log); /* no Host */
    for (i = 0; wsock_head_out(ws, i, &name, &value) == WSOCK_OK; i++)
        if (!i)
            CHECK_BYTES(value, 12, "HTTP/1.1 400", 12);
        else if (!strcmp(name, "Content-Length"))
            announced = atoi(value);
    CHECK(announced > 0);
    take_output(ws, &out);
    CHECK_INT(out.size, announced);
    wsock_free(ws);
    CHECK_NO_LEAK(&system);
    bytes_free(&log);
    bytes_free(&out);
}

/* What was offered before the head was taken away can no longer be done. */
TEST(output_done_after_head_out)
{
    uint8_t *body = test_pattern(100000);
    wsock_options o = options_with(0);
    const char *name, *value;
    test_system system;
    bytes out = { 0 };
    wsock_buf bufs[8];
    size_t count, i, offered = 0;
    wsock *ws = asked(&system, &o, PLAIN_GET, NULL);
    CHECK_RESULT(wsock_respond(ws, 200, NULL, body, 100000), WSOCK_OK);
    count = wsock_output(ws, bufs, 8);
    for (i = 0; i < count; i++)
        offered += bufs[i].size;
    CHECK(offered > 100);
    CHECK_RESULT(wsock_head_out(ws, 0, &name, &value), WSOCK_OK);
    CHECK_RESULT(wsock_output_done(ws, offered), WSOCK_INVALID_PARAMETER);
    CHECK_RESULT(wsock_output_done(ws, 62), WSOCK_INVALID_PARAMETER);
    CHECK_INT(wsock_queued(ws), 100000);
    take_output(ws, &out);
    CHECK_BYTES(out.data, out.size, body, 100000);
    wsock_free(ws);
    CHECK_NO_LEAK(&system);
    bytes_free(&out);
    free(body);
}

/* A request that finds no memory ends the connection, and no more. */
TEST(a_request_without_memory)
{
    wsock_options o = options_with(WSOCK_REQUESTS | WSOCK_NONBLOCKING);
    test_system system;
    bytes log = { 0 };
    int fail, made = 0;
    wsock *ws;
    for (fail = 1; fail < 20 && !made; fail++) {
        test_note("allocation %d", fail);
        test_system_init(&system);
        o.system = &system.system;
        ws = wsock_new(WSOCK_SERVER, NULL, &o);
        system.fail_at = system.allocations + fail;
        bytes_clear(&log);
        feed_text(ws, PLAIN_GET, &log);
        made = system.allocations < system.fail_at;
        if (made)
            CHECK_STR(bytes_str(&log), "event 8\n");
        else
            CHECK_BYTES(bytes_str(&log), 10, "CLOSE 1006", 10);
        take_output(ws, NULL);
        wsock_free(ws);
        CHECK_NO_LEAK(&system);
    }
    CHECK(made);
    CHECK(fail > 2);
    bytes_free(&log);
}

/* With options.memory there is no room for the copy of a subprotocol that
 * stands nowhere: the call is refused, and the request still waits. */
TEST(a_subprotocol_from_elsewhere_in_memory)
{
    static uint64_t block[20000];
    static const char *const known[] = { "aa", NULL };
    wsock_options o = options_with(WSOCK_CORE_ONLY);
    test_system system;
    bytes in = { 0 }, log = { 0 };
    wsock *ws;
    o.receive_buffer = 4096;
    o.send_limit = 4096;
    o.subprotocols = known;
    o.memory = block;
    o.memory_size = sizeof block;
    bytes_put(&in, TEST_REQUEST, strlen(TEST_REQUEST) - 2);
    bytes_text(&in, "Sec-WebSocket-Protocol: zz, aa\r\n\r\n");
    ws = asked(&system, &o, bytes_str(&in), &log);
    CHECK_STR(bytes_str(&log), "event 8\n");
    CHECK_RESULT(wsock_upgrade(ws, "zz", NULL), WSOCK_TOO_BIG);
    CHECK_RESULT(wsock_upgrade(ws, "aa", NULL), WSOCK_OK);
    bytes_clear(&log);
    drain_events(ws, &log);
    CHECK_STR(bytes_str(&log), "OPEN\n");
    CHECK_STR(wsock_subprotocol(ws), "aa");
    wsock_free(ws);
    CHECK_INT(system.allocations, 0);
    bytes_free(&in);
    bytes_free(&log);
}

/* With WSOCK_REQUESTS a program may answer HEAD too. */
TEST(other_methods_are_told_get_and_head)
{
    wsock_options o = options_with(0);
    test_system system;
    bytes log = { 0 }, out = { 0 };
    char value[64];
    wsock *ws = asked(&system, &o, "POST / HTTP/1.1\r\nHost: h.example\r\n"
                                   "Content-Length: 0\r\n\r\n", &log);
    CHECK(!strstr(bytes_str(&log), "event 8"));
    take_output(ws, &out);
    CHECK(out.size > 12);
    CHECK_BYTES(bytes_str(&out), 12, "HTTP/1.1 405", 12);
    CHECK(head_value(bytes_str(&out), "Allow", value, sizeof value));
    CHECK_STR(value, "GET, HEAD");
    wsock_free(ws);
    CHECK_NO_LEAK(&system);
    bytes_free(&log);
    bytes_free(&out);
}

/* --------------------------------------------------------------- polling -- */

/* More connections than one wait of the system tells of: those in front have
 * something to read that makes no event. */
TEST(poll_0_looks_past_64_ready)
{
    enum { PEERS = 150 };
    test_system system;
    wsock_server *server;
    int fd[PEERS], i;
    wsock_event e;
    wsock *ws;
    test_system_init(&system);
    server = serve(&system, NULL);
    for (i = 0; i < PEERS; i++)
        fd[i] = peer_joins(server, &ws);
    for (i = 0; i < PEERS - 1; i++)
        raw_send(fd[i], "\x82", 1);
    for (i = 0; i < PEERS - 1; i++)
        sent_is_there(fd[i]);
    raw_send(fd[i], "\x82\x80" "abcd", 6);
    sent_is_there(fd[i]);
    CHECK_INT(wsock_server_poll(server, &e, 0), 1);
    CHECK_INT(e.type, WSOCK_EVENT_MESSAGE);
    CHECK(e.ws == ws);
    CHECK_INT(wsock_server_poll(server, &e, 0), 0);
    wsock_server_free(server);
    for (i = 0; i < PEERS; i++)
        close(fd[i]);
    CHECK_NO_LEAK(&system);
}

TEST(poll_0_finds_what_has_arrived_with_a_connection)
{
    test_system system;
    wsock_server *server;
    wsock_event e;
    int fd;
    test_system_init(&system);
    server = serve(&system, NULL);
    fd = peer_asks(server, TEST_REQUEST);
    sent_is_there(fd);
    CHECK_INT(wsock_server_poll(server, &e, 0), 1);
    CHECK_INT(e.type, WSOCK_EVENT_OPEN);
    wsock_server_free(server);
    close(fd);
    CHECK_NO_LEAK(&system);
}

TEST(poll_0_finds_the_end_behind_half_a_message)
{
    test_system system;
    wsock_server *server;
    wsock_event e;
    wsock *ws;
    int fd;
    test_system_init(&system);
    server = serve(&system, NULL);
    fd = peer_joins(server, &ws);
    raw_send(fd, "\x82\x85" "abcdxx", 8);
    shutdown(fd, SHUT_WR);
    sent_is_there(fd);
    CHECK_INT(wsock_server_poll(server, &e, 0), 1);
    if (CHECK_INT(e.type, WSOCK_EVENT_CLOSE))
        CHECK_RESULT(e.why->code, WSOCK_CONNECTION_LOST);
    wsock_server_free(server);
    close(fd);
    CHECK_NO_LEAK(&system);
}

/* After poll_messages events, or poll_bytes bytes, a poll returns 0 once and
 * the next ones go on: nothing is lost, nothing waits for more to come. */
TEST(poll_messages_and_poll_bytes_return_0_once)
{
    int by_bytes, i;
    for (by_bytes = 0; by_bytes < 2; by_bytes++) {
        wsock_options o = options_with(0);
        test_system system;
        wsock_server *server;
        bytes out = { 0 };
        wsock_event e;
        int fd, r, got = 0, zeroes = 0, run = 0, last = 1;
        wsock *ws;
        static char data[500];
        test_note("by bytes %d", by_bytes);
        test_system_init(&system);
        if (by_bytes) {
            o.poll_bytes = 1000;
            o.receive_buffer = 1024;
        } else {
            o.poll_messages = 3;
        }
        server = serve(&system, &o);
        fd = peer_joins(server, &ws);
        for (i = 0; i < 8; i++)
            frame_put(&out, FIN | 2, 1, data, sizeof data);
        raw_bytes(fd, &out);
        sent_is_there(fd);
        while (got < 8) {
            r = wsock_server_poll(server, &e, 0);
            if (r > 0) {
                CHECK_INT(e.type, WSOCK_EVENT_MESSAGE);
                CHECK_INT(e.size, sizeof data);
                got++;
                run++;
            } else {
                CHECK_INT(r, 0);
                CHECK(last > 0); /* "once" */
                if (!by_bytes) {
                    CHECK_INT(run, 3);
                    CHECK_INT(wsock_server_timeout(server), 0);
                }
                zeroes++;
                run = 0;
                if (!last)
                    break;
            }
            last = r;
        }
        CHECK(by_bytes ? zeroes >= 2 : zeroes == 2);
        no_event(server);
        wsock_server_free(server);
        close(fd);
        CHECK_NO_LEAK(&system);
        bytes_free(&out);
    }
}

/* ... also when the program has freed the connection of the last event. */
TEST(poll_messages_and_the_last_one_is_freed)
{
    wsock_options o = options_with(0);
    test_system system;
    wsock_server *server;
    bytes out = { 0 };
    wsock_event e;
    wsock *ws;
    int fd;
    test_system_init(&system);
    o.poll_messages = 1;
    server = serve(&system, &o);
    fd = peer_joins(server, &ws);
    frame_text(&out, FIN | 1, 1, "the last");
    raw_bytes(fd, &out);
    next_event(server, WSOCK_EVENT_MESSAGE, &e);
    wsock_free(ws);
    CHECK_INT(wsock_server_poll(server, &e, WSOCK_NEVER), 0);
    no_event(server);
    CHECK_INT(wsock_server_count(server), 0);
    wsock_server_free(server);
    close(fd);
    CHECK_NO_LEAK(&system);
    bytes_free(&out);
}

/* ... and a text that is refused is no event: it does not use one up. */
TEST(poll_messages_and_a_wrong_text)
{
    wsock_options o = options_with(0);
    test_system system;
    wsock_server *server;
    bytes one = { 0 }, wrong = { 0 };
    wsock_event e;
    wsock *ws[3];
    int fd[3], i, r, run = 0, most = 0, got = 0;
    test_system_init(&system);
    o.poll_messages = 2;
    server = serve(&system, &o);
    for (i = 0; i < 3; i++)
        fd[i] = peer_joins(server, &ws[i]);
    frame_text(&one, FIN | 2, 1, "one");
    frame_text(&wrong, FIN | 1, 1, "\xFF");
    for (i = 0; i < 3; i++) /* whichever is found first */
        raw_bytes(fd[i], i == 1 ? &wrong : &one);
    for (i = 0; i < 20; i++)
        raw_bytes(fd[2], &one);
    for (i = 0; i < 3; i++)
        raw_arrived(fd[i]);
    while (got < 22) {
        r = wsock_server_poll(server, &e, 0);
        run = r > 0 ? run + 1 : 0;
        got += r > 0 && e.type == WSOCK_EVENT_MESSAGE;
        if (run > most)
            most = run;
    }
    CHECK_INT(most, 2);
    CHECK_RESULT(wsock_error(ws[1]), WSOCK_INVALID_UTF8);
    wsock_server_free(server);
    for (i = 0; i < 3; i++)
        close(fd[i]);
    CHECK_NO_LEAK(&system);
    bytes_free(&one);
    bytes_free(&wrong);
}

/* As many answers of `size` bytes to one event as send_limit lets in: each is
 * taken whole while the queue is below it, none at it; and they all arrive. */
static void answers_up_to(size_t limit, size_t size)
{
    wsock_options o = options_with(0);
    test_system system;
    bytes in = { 0 }, ask = { 0 }, want = { 0 };
    wsock_server *server;
    wsock_event e;
    size_t before;
    wsock *ws;
    int fd, r;
    uint8_t *data = test_pattern(size);
    test_note("limit %lu, %lu bytes", (unsigned long)limit,
              (unsigned long)size);
    test_system_init(&system);
    o.send_limit = limit;
    server = serve(&system, &o);
    fd = peer_joins(server, &ws);
    frame_text(&ask, FIN | 2, 1, "how many?");
    raw_bytes(fd, &ask);
    next_event(server, WSOCK_EVENT_MESSAGE, &e);
    do {
        before = wsock_queued(ws);
        r = wsock_send(ws, WSOCK_BINARY, data, size);
        CHECK_RESULT(r, before < limit ? WSOCK_OK : WSOCK_WOULD_BLOCK);
        if (r == WSOCK_OK)
            frame_put(&want, FIN | 2, 0, data, size);
        CHECK_INT(wsock_queued(ws), want.size);
    } while (r == WSOCK_OK);
    next_event(server, WSOCK_EVENT_DRAIN, &e);
    peer_takes(server, fd, &in, want.size);
    CHECK_BYTES(in.data, in.size, want.data, want.size);
    wsock_server_free(server);
    close(fd);
    CHECK_NO_LEAK(&system);
    bytes_free(&in);
    bytes_free(&ask);
    bytes_free(&want);
    free(data);
}

TEST(answers_to_an_event_keep_to_send_limit)
{
    static const size_t limits[] = { 256, 1000, 3900, 4096, 9000 };
    static const size_t sizes[] = { 1, 125, 126, 1500, 3900, 4095, 4096 };
    size_t i, j;
    for (i = 0; i < sizeof limits / sizeof limits[0]; i++)
        for (j = 0; j < sizeof sizes / sizeof sizes[0]; j++)
            answers_up_to(limits[i], sizes[j]);
}

/* Neither what comes nor what is sent makes a connection allocate more than
 * max_memory. */
TEST(max_memory_is_never_passed)
{
    enum { MOST = 100000 };
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    uint8_t *data = test_pattern(MOST);
    test_system system;
    bytes in = { 0 }, log = { 0 };
    wsock *ws;
    test_system_init(&system);
    o.max_memory = MOST;
    o.receive_buffer = 4096;
    o.system = &system.system;
    ws = core_open(WSOCK_SERVER, &o);
    CHECK_RESULT(wsock_send(ws, WSOCK_BINARY, data, MOST), WSOCK_NO_MEMORY);
    CHECK(system.most_bytes <= MOST);
    wsock_free(ws);
    CHECK_NO_LEAK(&system);

    ws = core_open(WSOCK_SERVER, &o);
    frame_put(&in, 2, 1, data, 10000);
    CHECK_RESULT(wsock_send(ws, WSOCK_TEXT, "room", 4), WSOCK_OK);
    feed_bytes(ws, &in, &log);
    CHECK_STR(bytes_str(&log), "");
    bytes_clear(&in);
    frame_put(&in, FIN, 1, data, MOST - 10000);
    feed_bytes(ws, &in, &log);
    CHECK_STR(bytes_str(&log), "CLOSE 1006 \"\" WSOCK_NO_MEMORY\n");
    CHECK_RESULT(wsock_error(ws), WSOCK_NO_MEMORY);
    CHECK(system.most_bytes <= MOST);
    wsock_free(ws);
    CHECK_NO_LEAK(&system);
    bytes_free(&in);
    bytes_free(&log);
    free(data);
}

/* With the system's own clock, which the kernel may watch: a time-out ends a
 * wait that has no end of its own, the first and the next one. */
TEST(time_outs_end_a_wait_for_ever)
{
    wsock_options o;
    wsock_server *server;
    wsock_event e;
    int i, fd;
    guard();
    memset(&o, 0, sizeof o);
    o.keepalive_interval = 20;
    o.pong_timeout = 20;
    server = wsock_listen("ws://127.0.0.1:0/", &o);
    for (i = 0; i < 3; i++) {
        fd = raw_connect(wsock_server_port(server), 0);
        raw_send(fd, TEST_REQUEST, strlen(TEST_REQUEST));
        CHECK_INT(wsock_server_poll(server, &e, WSOCK_NEVER), 1);
        CHECK_INT(e.type, WSOCK_EVENT_OPEN);
        CHECK_INT(wsock_server_poll(server, &e, WSOCK_NEVER), 1);
        CHECK_INT(e.type, WSOCK_EVENT_CLOSE);
        CHECK_RESULT(e.why->code, WSOCK_TIMED_OUT);
        CHECK_INT(wsock_server_poll(server, &e, 0), 0);
        close(fd);
    }
    wsock_server_free(server);
}

/* ------------------------------------------------------- accepted ones -- */

/* A server that was given what only clients send has it in the options of its
 * connections, whose strings move with them. */
TEST(accepted_options_move_with_their_strings)
{
    wsock_options o = options_with(0);
    test_system system;
    wsock_server *server;
    wsock *ws = NULL;
    int fd;
    test_system_init(&system);
    o.origin = "http://origin.example";
    o.user_agent = "agent/1.0";
    server = serve(&system, &o);
    fd = peer_asks(server, TEST_REQUEST);
    while (wsock_accept(server, &ws, 0) != WSOCK_OK)
        poll(NULL, 0, 1);
    wsock_server_free(server);
    CHECK_STR(wsock_effective_options(ws)->origin, "http://origin.example");
    CHECK_STR(wsock_effective_options(ws)->user_agent, "agent/1.0");
    wsock_free(ws);
    close(fd);
    CHECK_NO_LEAK(&system);
}

TEST(accept_is_not_for_every_server)
{
    wsock_options o = options_with(WSOCK_REQUESTS);
    test_system system;
    wsock_server *server;
    wsock_event e;
    wsock *ws;
    int fd;
    test_system_init(&system);
    server = serve(&system, &o); /* who would answer the requests? */
    CHECK_RESULT(wsock_accept(server, &ws, 0), WSOCK_INVALID_OPERATION);
    wsock_server_free(server);
    server = serve(&system, NULL);
    CHECK_RESULT(wsock_accept(server, &ws, 0), WSOCK_TIMED_OUT);
    CHECK_RESULT(wsock_server_poll(server, &e, 0), WSOCK_INVALID_OPERATION);
    /* It has closed, and a refused peer has not taken its 426 yet. */
    fd = peer_asks(server, PLAIN_GET);
    while (wsock_server_count(server) == 0 ||
           server->loop.all->phase != WSOCK__PHASE_LINGER)
        CHECK_RESULT(wsock_accept(server, &ws, 0), WSOCK_TIMED_OUT);
    CHECK_RESULT(wsock_server_close(server), WSOCK_OK);
    CHECK_RESULT(wsock_server_close(server), WSOCK_OK);
    CHECK_RESULT(wsock_accept(server, &ws, 0), WSOCK_CLOSED);
    wsock_server_free(server);
    close(fd);
    CHECK_NO_LEAK(&system);
}

/* A connection that was added is its program's, and its events come from
 * wsock_server_poll(): wsock_accept() would take it for one of the server's. */
TEST(accept_is_not_for_servers_that_were_added_to)
{
    test_system system;
    wsock_server *server;
    wsock_event e;
    wsock *ws, *out;
    bytes in = { 0 };
    wire w;
    int i;
    test_system_init(&system);
    server = serve(&system, NULL);
    ws = wire_client(&w, &system, "");
    CHECK_RESULT(wsock_server_add(server, ws), WSOCK_OK);
    frame_text(&in, FIN | 1, 0, "for the program");
    raw_bytes(w.fd[1], &in);
    for (i = 0; i < 4; i++)
        CHECK_RESULT(wsock_accept(server, &out, 0), WSOCK_INVALID_OPERATION);
    CHECK(next_event(server, WSOCK_EVENT_MESSAGE, &e) == ws);
    wsock_free(ws);
    close(w.fd[1]);
    wsock_server_free(server);
    CHECK_NO_LEAK(&system);
    bytes_free(&in);
}

/* The n-th allocation fails while a connection is accepted, of which a frame
 * came with the request: nothing leaks, and one that fails is gone. */
TEST(accepts_without_memory)
{
    long n;
    int failed = 1, refused = 0;
    for (n = 1; n < 60 && failed; n++) {
        test_system system;
        wsock_options o = options_with(0);
        wsock_server *server;
        bytes in = { 0 };
        wsock *ws = NULL;
        int fd, r = WSOCK_TIMED_OUT;
        guard();
        test_note("allocation %ld", n);
        test_system_init(&system);
        o.system = &system.system;
        o.close_timeout = 1000;
        server = wsock_listen("ws://127.0.0.1:0/", &o);
        fd = raw_connect(wsock_server_port(server), 0);
        bytes_text(&in, TEST_REQUEST);
        frame_text(&in, FIN | 1, 1, "right behind it");
        frame_text(&in, FIN | 1, 1, "and one more, which is to be kept, too");
        raw_bytes(fd, &in);
        bytes_clear(&in);
        system.fail_at = system.allocations + n;
        while (r == WSOCK_TIMED_OUT && !raw_read(fd, &in)) {
            r = wsock_accept(server, &ws, 0);
            poll(NULL, 0, 1);
            system.now += 10; /* a listener without memory rests */
        }
        failed = system.allocations >= system.fail_at;
        if (!failed)
            CHECK_RESULT(r, WSOCK_OK);
        refused += r == WSOCK_NO_MEMORY;
        CHECK((r == WSOCK_OK) == (ws != NULL));
        wsock_free(ws);
        wsock_server_free(server);
        CHECK_NO_LEAK(&system);
        close(fd);
        bytes_free(&in);
    }
    CHECK(!failed);
    CHECK(refused > 0);
}

/* ------------------------------------------------- many at the same time -- */

/* More than one look takes from the backlog, and then the rest. */
TEST(more_peers_than_one_look_takes)
{
    enum { PEERS = 70 };
    test_system system;
    wsock_server *server;
    wsock_watch watch;
    int fd[PEERS], i;
    test_system_init(&system);
    server = serve(&system, NULL);
    for (i = 0; i < PEERS; i++)
        fd[i] = raw_connect(wsock_server_port(server), 0);
    while (wsock_server_count(server) < PEERS)
        no_event(server);
    CHECK_INT(wsock_server_count(server), PEERS);
    CHECK(wsock_server_watches(server, &watch, 0) >= 1);
    wsock_server_free(server);
    for (i = 0; i < PEERS; i++)
        close(fd[i]);
    CHECK_NO_LEAK(&system);
}

/* What poll() is given is an array of all.  Without memory for it all are
 * served all the same, the listener too; but those that are paused, and a
 * listener that rests as no more are allowed, are not asked. */
TEST(more_peers_than_there_is_memory_to_wait_for)
{
    enum { PEERS = 20 };
    wsock_options o = untimed(0);
    test_system system;
    wsock_server *server;
    wsock__loop *l;
    bytes in = { 0 };
    wsock *ws;
    int fd[PEERS + 1], i, guests = 0;
    test_system_init(&system);
    o.max_connections = PEERS + 1;
    server = serve(&system, &o);
    l = &server->loop;
    for (i = 0; i < PEERS; i++)
        fd[i] = peer_joins(server, &ws);
    wsock_pause(ws, 1);
    wsock__release(l->config, l->pollfds, l->pollfds_size);
    l->pollfds = NULL;
    l->pollfds_size = 0;
    frame_text(&in, FIN | 1, 1, "served?");
    raw_bytes(fd[PEERS - 1], &in);
    raw_bytes(fd[0], &in);
    fd[PEERS] = peer_asks(server, TEST_REQUEST);
    for (i = 0; i < 3; i++) {
        wsock_event e;
        do { /* the array is the first thing that a wait asks for */
            if (l->queue < 0) /* else poll() is given nothing */
                system.fail_at = system.allocations + 1;
        } while (wsock_server_poll(server, &e, WSOCK_NEVER) <= 0);
        CHECK(e.type == WSOCK_EVENT_OPEN || e.type == WSOCK_EVENT_MESSAGE);
        CHECK(e.ws != ws);
        guests += e.type == WSOCK_EVENT_OPEN;
        if (i == 1) /* they are looked at again */
            raw_bytes(fd[1], &in);
    }
    CHECK_INT(guests, 1);
    CHECK(!l->pollfds && !l->listening);
    wsock_server_free(server);
    for (i = 0; i <= PEERS; i++)
        close(fd[i]);
    bytes_free(&in);
    CHECK_NO_LEAK(&system);
}

/* Signals for this thread, one after the other, until there is something to
 * read. */
#if !defined(_WIN32) /* which has no signals */
typedef struct ringer {
    pthread_t whom;
    int until[2];
} ringer;

static void *ring(void *user)
{
    const ringer *r = (const ringer *)user;
    struct pollfd p;
    p.fd = r->until[0];
    p.events = POLLIN;
    while (poll(&p, 1, 1) == 0)
        pthread_kill(r->whom, SIGUSR1);
    return NULL;
}

static void on_ring(int number)
{
    (void)number;
}

/* And a signal ends that wait, as it does any other. */
TEST(a_signal_while_there_is_no_memory_to_wait_for_peers)
{
    enum { PEERS = 20 };
    struct sigaction action, before;
    test_system system;
    wsock_server *server;
    wsock__config *c;
    wsock__loop *l;
    wsock_event e;
    pthread_t thread;
    ringer r;
    wsock *ws;
    int fd[PEERS], i;
    test_system_init(&system);
    server = serve(&system, NULL);
    l = &server->loop;
    c = l->config;
    for (i = 0; i < PEERS; i++)
        fd[i] = peer_joins(server, &ws);
    wsock__release(c, l->pollfds, l->pollfds_size);
    l->pollfds = NULL;
    l->pollfds_size = 0;
    c->o.max_memory = c->used; /* from here on there is none */
    memset(&action, 0, sizeof action);
    action.sa_handler = on_ring;
    sigaction(SIGUSR1, &action, &before);
    r.whom = pthread_self();
    CHECK_INT(pipe(r.until), 0);
    CHECK_INT(pthread_create(&thread, NULL, ring, &r), 0);
    CHECK_INT(wsock_server_poll(server, &e, WSOCK_NEVER), 0);
    CHECK_INT(write(r.until[1], "", 1), 1);
    pthread_join(thread, NULL);
    sigaction(SIGUSR1, &before, NULL);
    CHECK(!l->pollfds);
    wsock_server_free(server);
    for (i = 0; i < PEERS; i++)
        close(fd[i]);
    close(r.until[0]);
    close(r.until[1]);
    CHECK_NO_LEAK(&system);
}
#endif

/* A message of many that were put aside, which is answered without memory for
 * the answer: it stays what it is until the next poll. */
TEST(an_answer_without_memory)
{
    test_system system;
    wsock_server *server;
    uint8_t *data = test_pattern(100000);
    bytes in = { 0 };
    wsock_event e;
    wsock *ws;
    int fd, i;
    test_system_init(&system);
    server = serve(&system, NULL);
    fd = peer_joins(server, &ws);
    for (i = 0; i < 5; i++)
        frame_put(&in, FIN | 2, 1, data, 300);
    raw_bytes(fd, &in);
    next_event(server, WSOCK_EVENT_MESSAGE, &e);
    CHECK_RESULT(wsock_pause(ws, 1), WSOCK_OK);
    no_event(server);
    CHECK_RESULT(wsock_pause(ws, 0), WSOCK_OK);
    next_event(server, WSOCK_EVENT_MESSAGE, &e);
    system.fail_at = system.allocations + 1;
    CHECK_RESULT(wsock_send(ws, WSOCK_BINARY, data, 100000), WSOCK_NO_MEMORY);
    CHECK_BYTES(e.data, e.size, data, 300);
    close(fd);
    next_event(server, WSOCK_EVENT_CLOSE, &e);
    CHECK_RESULT(e.why->code, WSOCK_NO_MEMORY);
    wsock_server_free(server);
    bytes_free(&in);
    CHECK_NO_LEAK(&system);
    free(data);
}

/* At max_handshakes: without a time-out nobody gives way; and one that is
 * overdue does before all others. */
TEST(who_gives_way_at_max_handshakes)
{
    wsock_options o = untimed(0);
    test_system system;
    wsock_server *server;
    bytes in = { 0 };
    wsock_event e;
    int a, b, i;
    test_system_init(&system);
    o.max_handshakes = 1;
    server = serve(&system, &o);
    a = raw_connect(wsock_server_port(server), 0);
    while (wsock_server_count(server) == 0)
        no_event(server);
    b = raw_connect(wsock_server_port(server), 0);
    while (!raw_read(b, &in))
        no_event(server);
    CHECK_INT(raw_read(a, &in), 0);
    wsock_server_free(server);
    close(a);
    close(b);
    o.handshake_timeout = 100;
    server = serve(&system, &o);
    a = raw_connect(wsock_server_port(server), 0);
    while (wsock_server_count(server) == 0)
        no_event(server);
    b = peer_asks(server, TEST_REQUEST);
    for (i = 0; raw_other_end(b) < 0 && i < 50; i++)
        poll(NULL, 0, 1); /* in the backlog: nobody has looked */
    system.now += 100;
    CHECK(next_event(server, WSOCK_EVENT_OPEN, &e) != NULL);
    bytes_clear(&in);
    while (!raw_read(a, &in))
        no_event(server);
    wsock_server_free(server);
    close(a);
    close(b);
    CHECK_NO_LEAK(&system);
    bytes_free(&in);
}

/* One of several that are ready is freed in its event: there is work left. */
TEST(a_batch_that_is_not_done)
{
    test_system system;
    wsock_server *server;
    bytes frame = { 0 };
    wsock_event e;
    wsock *a, *b;
    int fa, fb;
    test_system_init(&system);
    server = serve(&system, NULL);
    fa = peer_joins(server, &a);
    fb = peer_joins(server, &b);
    frame_text(&frame, FIN | 1, 1, "x");
    raw_bytes(fa, &frame);
    raw_bytes(fb, &frame);
    raw_arrived(fa);
    raw_arrived(fb);
    CHECK_INT(wsock_server_poll(server, &e, 0), 1);
    wsock_free(e.ws);
    CHECK_INT(wsock_server_timeout(server), 0);
    CHECK(next_event(server, WSOCK_EVENT_MESSAGE, &e) != NULL);
    wsock_server_free(server);
    close(fa);
    close(fb);
    CHECK_NO_LEAK(&system);
    bytes_free(&frame);
}

/* A poll ends at poll_bytes while others stand in the work list: what they
 * have to send leaves all the same. */
TEST(a_poll_that_ends_with_sends_listed)
{
    wsock_options o = options_with(0);
    test_system system;
    wsock_server *server;
    bytes frame = { 0 }, in = { 0 }, log = { 0 };
    uint8_t *data = test_pattern(3000), *large = test_pattern(65536);
    char context[] = "lent";
    wsock_event e;
    wsock_buf buf;
    wsock *a, *b, *c, *d;
    int fa, fb, fc, fd;
    test_system_init(&system);
    o.poll_bytes = 2000;
    o.send_limit = WSOCK_UNLIMITED;
    server = serve(&system, &o);
    fa = peer_joins(server, &a);
    fb = peer_joins(server, &b);
    fc = peer_joins(server, &c);
    fd = peer_joins(server, &d);
    buf.data = "lent";
    buf.size = 4;
    frame_put(&frame, FIN | 2, 1, data, 3000);
    raw_bytes(fa, &frame);
    raw_arrived(fa);
    CHECK(next_event(server, WSOCK_EVENT_MESSAGE, &e) == a);
    CHECK_RESULT(wsock_send(b, WSOCK_TEXT, "listed", 6), WSOCK_OK);
    CHECK_INT(wsock_queued(b), 8);
    CHECK_RESULT(wsock_sendv(c, WSOCK_TEXT | WSOCK_BORROW, &buf, 1, context),
                 WSOCK_OK);
    CHECK_RESULT(wsock_abort(c), WSOCK_OK); /* SENT, then CLOSE */
    while (!(d->bits & WSOCK__STUCK)) /* its socket is full: not touched */
        CHECK_RESULT(wsock_send(d, WSOCK_BINARY, large, 65536), WSOCK_OK);
    CHECK_RESULT(wsock_pause(d, 0), WSOCK_OK);
    CHECK_INT(wsock_server_poll(server, &e, 0), 0);
    CHECK_INT(wsock_queued(b), 0);
    CHECK(wsock_queued(d) > 0);
    CHECK(next_event(server, WSOCK_EVENT_SENT, &e) == c);
    CHECK(next_event(server, WSOCK_EVENT_CLOSE, &e) == c);
    raw_wait(fb);
    raw_read(fb, &in);
    frames_log(&log, &in, 0);
    CHECK_STR(bytes_str(&log), "text \"listed\"\n");
    wsock_server_free(server);
    close(fa);
    close(fb);
    close(fc);
    close(fd);
    free(large);
    CHECK_NO_LEAK(&system);
    bytes_free(&frame);
    bytes_free(&in);
    bytes_free(&log);
    free(data);
}

/* ------------------------------------------------ connections at an edge -- */

/* Its time-out began before those that the server has, and ends between
 * them. */
TEST(time_outs_that_are_added)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    test_system system;
    wsock_server *server;
    wsock_event e;
    wsock *ws;
    int a, b;
    wire w;
    test_system_init(&system);
    server = serve(&system, NULL);
    a = raw_connect(wsock_server_port(server), 0);
    while (wsock_server_count(server) < 1)
        no_event(server);
    system.now += 10;
    wire_init(&w, 1);
    o.system = &system.system;
    ws = wsock_new(WSOCK_SERVER, NULL, &o);
    CHECK_RESULT(wsock_attach(ws, &w.io), WSOCK_OK);
    CHECK_INT(wsock_poll(ws, &e, 0), 0);
    system.now += 10;
    b = raw_connect(wsock_server_port(server), 0);
    while (wsock_server_count(server) < 2)
        no_event(server);
    CHECK_RESULT(wsock_server_add(server, ws), WSOCK_OK);
    CHECK_INT(wsock_server_timeout(server), 0); /* to look at the new one */
    no_event(server);
    CHECK_INT(wsock_server_timeout(server), 10000 - 20);
    system.now += 10000 - 20;
    while (wsock_server_timeout(server) != 10) /* 408 */
        no_event(server);
    system.now += 10;
    no_event(server);
    close(w.fd[1]); /* its peer has seen it */
    CHECK(next_event(server, WSOCK_EVENT_CLOSE, &e) == ws);
    CHECK_RESULT(e.why->code, WSOCK_REFUSED);
    wsock_free(ws);
    wsock_server_free(server);
    close(a);
    close(b);
    CHECK_NO_LEAK(&system);
}

static void another_free(void *user, void *memory, size_t size)
{
    test_free(user, memory, size);
}

TEST(what_cannot_be_added)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    test_system system, other;
    wsock_server *server, *failed;
    wsock_system mixed;
    bytes in = { 0 };
    wsock_event e;
    wsock *ws;
    test_system_init(&system);
    test_system_init(&other);
    server = serve(&system, NULL);
    o.system = &system.system;
    failed = wsock_listen("ws://127.0.0.1:99999/", &o);
    ws = wsock_new(WSOCK_CLIENT, "ws://h/", &o);
    CHECK_RESULT(wsock_server_add(failed, ws), WSOCK_INVALID_URL);
    wsock_server_free(failed);
    CHECK_RESULT(wsock_server_add(server, ws), WSOCK_OK);
    CHECK_RESULT(wsock_server_add(server, ws), WSOCK_INVALID_OPERATION);
    wsock_free(ws);
    o.flags = WSOCK_CORE_ONLY;
    ws = wsock_new(WSOCK_CLIENT, "ws://h/", &o);
    CHECK_RESULT(wsock_server_add(server, ws), WSOCK_INVALID_PARAMETER);
    wsock_free(ws);
    o.flags = WSOCK_NONBLOCKING;
    mixed = system.system; /* whose free is it? */
    mixed.free = another_free;
    o.system = &mixed;
    ws = wsock_new(WSOCK_CLIENT, "ws://h/", &o);
    CHECK_RESULT(wsock_server_add(server, ws), WSOCK_INVALID_PARAMETER);
    wsock_free(ws);
    o.system = &other.system;
    ws = wsock_new(WSOCK_CLIENT, "ws://h/", &o);
    CHECK_RESULT(wsock_server_add(server, ws), WSOCK_INVALID_PARAMETER);
    wsock_free(ws);
    /* One that has failed has its CLOSE to report, once. */
    o.system = &system.system;
    ws = wsock_new(WSOCK_CLIENT, "ftp://h/", &o);
    CHECK_RESULT(wsock_server_add(server, ws), WSOCK_OK);
    CHECK(next_event(server, WSOCK_EVENT_CLOSE, &e) == ws);
    CHECK_RESULT(e.why->code, WSOCK_INVALID_URL);
    wsock_free(ws);
    ws = wsock_new(WSOCK_CLIENT, "ftp://h/", &o);
    CHECK_INT(wsock_poll(ws, &e, 0), 1);
    CHECK_RESULT(wsock_server_add(server, ws), WSOCK_INVALID_OPERATION);
    wsock_free(ws);
    wsock_server_free(server);
    CHECK_NO_LEAK(&system);
    CHECK_NO_LEAK(&other);
    bytes_free(&in);
}

/* Added first, then given a transport: it has a descriptor, or is refused. */
TEST(a_transport_for_one_that_was_added)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    test_system system;
    const char *name, *value;
    wsock_server *server;
    wsock_watch watch;
    wsock_buf buf;
    wsock_event e;
    wsock_io io;
    wsock *ws;
    wire w;
    int i;
    test_system_init(&system);
    server = serve(&system, NULL);
    o.system = &system.system;
    ws = wsock_new(WSOCK_CLIENT, "ws://h/", &o);
    CHECK_RESULT(wsock_server_add(server, ws), WSOCK_OK);
    CHECK_INT(wsock_output(ws, &buf, 1), 0);
    CHECK_RESULT(wsock_head_out(ws, 0, &name, &value),
                 WSOCK_INVALID_OPERATION);
    CHECK_RESULT(wsock_head_in(ws, "HTTP/1.1 200 OK", NULL),
                 WSOCK_INVALID_OPERATION);
    CHECK_INT(wsock_timeout(ws), WSOCK_NEVER);
    wire_init(&w, 1);
    io = w.io;
    io.fd = NULL;
    CHECK_RESULT(wsock_attach(ws, &io), WSOCK_INVALID_PARAMETER);
    for (i = 1; i < 3; i++) { /* its account, or the callbacks */
        system.fail_at = system.allocations + 1;
        if (ws->rare || i == 1)
            CHECK_RESULT(wsock_attach(ws, &w.io), WSOCK_NO_MEMORY);
        system.fail_at = 0;
        if (i == 1)
            wsock__rare_get(ws);
    }
    CHECK_RESULT(wsock_attach(ws, &w.io), WSOCK_OK);
    no_event(server);
    CHECK_INT(wsock_watches(ws, &watch, 1), 1);
    CHECK_INT(watch.fd, w.fd[0]);
    CHECK_INT(watch.wants, 1);
    CHECK_INT(wsock_watches(ws, NULL, 0), 1);
    CHECK_INT(wsock_timeout(ws), WSOCK_NEVER); /* the server's is asked */
    wsock_free(ws);
    close(w.fd[1]);
    /* And one that dials by itself. */
    ws = wsock_new(WSOCK_CLIENT, "ws://127.0.0.1:1/", &o);
    CHECK_RESULT(wsock_server_add(server, ws), WSOCK_OK);
    CHECK_RESULT(wsock_dial(ws), WSOCK_OK);
    CHECK(next_event(server, WSOCK_EVENT_CLOSE, &e) == ws);
    wsock_free(ws);
    wsock_server_free(server);
    CHECK_NO_LEAK(&system);
}

/* All that may hang on a connection when it moves; and the same with every
 * allocation of that failing: then it stays where it was, or ends. */
static void loaded(wire *w, test_system *system, wsock **ws)
{
    bytes in = { 0 };
    uint8_t *data = test_pattern(6000);
    static char context[] = "lent";
    wsock_event e;
    wsock_buf buf;
    *ws = wire_client(w, system, "");
    buf.data = "lent";
    buf.size = 4;
    frame_put(&in, FIN | 2, 0, data, 5000);
    frame_put(&in, FIN | 2, 0, data, 6000);
    raw_bytes(w->fd[1], &in);
    CHECK_INT(wsock_poll(*ws, &e, 0), 1);
    CHECK_INT(e.size, 5000);
    w->room = 10;
    wsock_send(*ws, WSOCK_BINARY, e.data, e.size); /* refers to the window */
    wsock_sendv(*ws, WSOCK_TEXT | WSOCK_BORROW, &buf, 1, context);
    bytes_free(&in);
    free(data);
}

TEST(moves_with_everything)
{
    test_system system;
    wsock_server *server;
    wsock_event e;
    wsock *ws;
    bytes in = { 0 }, log = { 0 };
    long n;
    int failed = 1, stays = 0, r;
    wire w;
    for (n = 1; n < 20 && failed; n++) {
        test_note("allocation %ld", n);
        test_system_init(&system);
        server = serve(&system, NULL);
        loaded(&w, &system, &ws);
        system.fail_at = system.allocations + n;
        r = wsock_server_add(server, ws);
        failed = system.allocations >= system.fail_at;
        system.fail_at = 0;
        if (!failed || r != WSOCK_NO_MEMORY)
            CHECK_RESULT(r, WSOCK_OK);
        if (r == WSOCK_NO_MEMORY) {
            CHECK_INT(wsock_poll(ws, &e, 0), 1);
            CHECK_INT(e.size, 6000);
            stays++;
        } else if (failed) { /* what it had sent could not be kept */
            while (wsock_server_poll(server, &e, 0) <= 0 ||
                   e.type != WSOCK_EVENT_CLOSE)
                continue;
            CHECK_RESULT(e.why->code, WSOCK_NO_MEMORY);
        } else {
            check_accounts(&system, server, ws);
            /* What was put aside is larger than small, and is sent on before
             * the server has read anything itself. */
            CHECK(next_event(server, WSOCK_EVENT_MESSAGE, &e) == ws);
            CHECK_INT(e.size, 6000);
            CHECK_RESULT(wsock_send(ws, e.kind, e.data, e.size), WSOCK_OK);
            w.room = (size_t)-1;
            wsock_flush(ws);
            raw_read(w.fd[1], &in);
            CHECK(next_event(server, WSOCK_EVENT_SENT, &e) == ws);
            check_accounts(&system, server, ws);
        }
        wsock_free(ws);
        close(w.fd[1]);
        wsock_server_free(server);
        CHECK_NO_LEAK(&system);
    }
    CHECK(!failed);
    CHECK_INT(stays, 3); /* no room for what is unread, or the callbacks */
    frames_log(&log, &in, 1);
    CHECK(strstr(bytes_str(&log), "text \"lent\"\nbinary 6000 bytes\n"));
    bytes_free(&in);
    bytes_free(&log);
}

/* Two clients that had a stage each: the server needs one. */
TEST(two_stages_are_one)
{
    test_system system;
    wsock_server *server;
    char context[] = "lent";
    wsock_event e;
    wsock_buf buf;
    wsock *ws[2];
    wire w[2];
    int i;
    test_system_init(&system);
    server = serve(&system, NULL);
    buf.data = "lent";
    buf.size = 4;
    for (i = 0; i < 2; i++) {
        ws[i] = wire_client(&w[i], &system, "");
        CHECK_RESULT(wsock_sendv(ws[i], WSOCK_TEXT | WSOCK_BORROW, &buf, 1,
                                 context), WSOCK_OK);
        CHECK_RESULT(wsock_server_add(server, ws[i]), WSOCK_OK);
    }
    for (i = 0; i < 2; i++)
        next_event(server, WSOCK_EVENT_SENT, &e);
    for (i = 0; i < 2; i++) {
        wsock_free(ws[i]);
        close(w[i].fd[1]);
    }
    wsock_server_free(server);
    CHECK_NO_LEAK(&system);
}

/* A REQUEST was answered, and its head is kept for OPEN. */
TEST(added_with_a_head_that_is_kept)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING | WSOCK_REQUESTS);
    test_system system;
    wsock_server *server;
    wsock_event e;
    wsock *ws;
    wire w;
    test_system_init(&system);
    server = serve(&system, NULL);
    wire_init(&w, 1);
    o.system = &system.system;
    ws = wsock_new(WSOCK_SERVER, NULL, &o);
    CHECK_RESULT(wsock_attach(ws, &w.io), WSOCK_OK);
    raw_send(w.fd[1], TEST_REQUEST, strlen(TEST_REQUEST));
    CHECK_INT(wsock_poll(ws, &e, 0), 1);
    CHECK_INT(e.type, WSOCK_EVENT_REQUEST);
    CHECK_RESULT(wsock_upgrade(ws, NULL, NULL), WSOCK_OK);
    CHECK_RESULT(wsock_server_add(server, ws), WSOCK_OK);
    CHECK_STR(wsock_header(ws, "Host"), "server.example.com");
    CHECK(next_event(server, WSOCK_EVENT_OPEN, &e) == ws);
    CHECK_STR(wsock_header(ws, "Host"), "server.example.com");
    wsock_free(ws);
    close(w.fd[1]);
    wsock_server_free(server);
    CHECK_NO_LEAK(&system);
}

/* ----------------------------------------------- broadcasts at an edge -- */

TEST(broadcasts_without_memory)
{
    static uint8_t data[2000];
    test_system system;
    wsock_server *server;
    bytes in = { 0 }, log = { 0 };
    wsock *ws;
    int fd, large, skipped = 0;
    long n;
    test_system_init(&system);
    server = serve(&system, NULL);
    fd = peer_joins(server, &ws);
    CHECK_INT(wsock_broadcast(server, NULL, 0, WSOCK_TEXT, NULL, 0), 0);
    CHECK_RESULT(wsock_broadcast(server, NULL, 0, WSOCK_BINARY, data,
                                 WSOCK_UNLIMITED - 1), WSOCK_NO_MEMORY);
    for (large = 0; large < 2; large++) {
        size_t size = large ? sizeof data : 10;
        int r = 1;
        for (n = 1; n < 10 && r; n++) {
            wsock__loop *l = &server->loop;
            test_note("allocation %ld, %d", n, large);
            wsock__pool_empty(l, &l->outs);
            wsock__pool_empty(l, &l->runs);
            wsock__pool_empty(l, &l->references);
            l->outs.count = l->runs.count = l->references.count = 0;
            system.fail_at = system.allocations + n;
            r = wsock_broadcast(server, NULL, 0, WSOCK_BINARY, data, size);
            system.fail_at = 0;
            CHECK(r == 0 || r == 1 || r == WSOCK_NO_MEMORY);
            skipped += r == 1;
        }
        CHECK_INT(r, 0);
    }
    CHECK(skipped >= 3); /* a queue, small; a queue, and a reference */
    while (in.size < 2 + 12 + 2004) {
        no_event(server);
        raw_read(fd, &in);
    }
    frames_log(&log, &in, 0);
    CHECK_STR(bytes_str(&log), "text \"\"\nbinary \"\"\nbinary 2000 bytes\n");
    wsock_server_free(server);
    close(fd);
    CHECK_NO_LEAK(&system);
    bytes_free(&in);
    bytes_free(&log);
}

/* -------------------------------------------------- dials without memory -- */

TEST(dials_without_memory)
{
    long n;
    int failed = 1, ends = 0;
    for (n = 1; n < 30 && failed; n++) {
        wsock_options o = options_with(WSOCK_NONBLOCKING);
        test_system system;
        wsock_event e;
        wsock *ws;
        guard();
        test_note("allocation %ld", n);
        test_system_init(&system);
        o.system = &system.system;
        ws = wsock_new(WSOCK_CLIENT, "ws://127.0.0.1:1/", &o);
        system.fail_at = system.allocations + n;
        wsock_dial(ws);
        while (wsock_poll(ws, &e, 0) != 1)
            poll(NULL, 0, 1);
        failed = system.allocations >= system.fail_at;
        CHECK_RESULT(wsock_error(ws), failed ? WSOCK_NO_MEMORY
                                             : WSOCK_CONNECT_FAILED);
        ends += failed;
        wsock_free(ws);
        CHECK_NO_LEAK(&system);
    }
    CHECK(!failed);
    CHECK(ends > 1);
}

static const test_case tests[] = {
    TEST_ENTRY(an_added_client_with_a_masked_reference),
    TEST_ENTRY(a_batch_for_an_added_client),
    TEST_ENTRY(an_added_connection_keeps_its_send_limit),
    TEST_ENTRY(echo_copied_in_the_middle_keeps_its_key),
    TEST_ENTRY(header_after_server_add),
    TEST_ENTRY(added_before_its_transport_is_open),
    TEST_ENTRY(accounts_after_moves),
    TEST_ENTRY(another_clock_is_refused),
    TEST_ENTRY(added_handshakes_do_not_block_max_handshakes),
    TEST_ENTRY(broadcast_is_masked_for_added_clients),
    TEST_ENTRY(broadcast_passes_over_holes_and_closed_ones),
    TEST_ENTRY(server_close_leaves_late_requests_to_the_program),
    TEST_ENTRY(a_rejected_request_gives_its_slot_back),
    TEST_ENTRY(server_close_bounds_a_slow_response),
    TEST_ENTRY(a_wake_beside_an_event_is_not_lost),
    TEST_ENTRY(an_added_connection_without_a_transport),
    TEST_ENTRY(head_out_of_a_large_head),
    TEST_ENTRY(head_in_twice_is_refused),
    TEST_ENTRY(respond_sends_the_options_headers),
    TEST_ENTRY(refusals_body_after_head_out),
    TEST_ENTRY(output_done_after_head_out),
    TEST_ENTRY(a_request_without_memory),
    TEST_ENTRY(a_subprotocol_from_elsewhere_in_memory),
    TEST_ENTRY(other_methods_are_told_get_and_head),
    TEST_ENTRY(poll_0_looks_past_64_ready),
    TEST_ENTRY(poll_0_finds_what_has_arrived_with_a_connection),
    TEST_ENTRY(poll_0_finds_the_end_behind_half_a_message),
    TEST_ENTRY(poll_messages_and_poll_bytes_return_0_once),
    TEST_ENTRY(poll_messages_and_the_last_one_is_freed),
    TEST_ENTRY(poll_messages_and_a_wrong_text),
    TEST_ENTRY(answers_to_an_event_keep_to_send_limit),
    TEST_ENTRY(max_memory_is_never_passed),
    TEST_ENTRY(time_outs_end_a_wait_for_ever),
    TEST_ENTRY(accepted_options_move_with_their_strings),
    TEST_ENTRY(accept_is_not_for_every_server),
    TEST_ENTRY(accept_is_not_for_servers_that_were_added_to),
    TEST_ENTRY(accepts_without_memory),
    TEST_ENTRY(more_peers_than_one_look_takes),
    TEST_ENTRY(more_peers_than_there_is_memory_to_wait_for),
#if !defined(_WIN32)
    TEST_ENTRY(a_signal_while_there_is_no_memory_to_wait_for_peers),
#endif
    TEST_ENTRY(an_answer_without_memory),
    TEST_ENTRY(who_gives_way_at_max_handshakes),
    TEST_ENTRY(a_batch_that_is_not_done),
    TEST_ENTRY(a_poll_that_ends_with_sends_listed),
    TEST_ENTRY(time_outs_that_are_added),
    TEST_ENTRY(what_cannot_be_added),
    TEST_ENTRY(a_transport_for_one_that_was_added),
    TEST_ENTRY(moves_with_everything),
    TEST_ENTRY(two_stages_are_one),
    TEST_ENTRY(added_with_a_head_that_is_kept),
    TEST_ENTRY(broadcasts_without_memory),
    TEST_ENTRY(dials_without_memory)
};

TEST_MAIN("server", tests)
