/* Real sockets on the loopback: the server's loop, polled and blocking
 * clients, threads, signals, time-outs, peers that vanish. */
#define WSOCK_IMPLEMENTATION
#include "../../wsock.h"
#include "test.h"
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <poll.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

/* A hang would be a failure without a name: every loop asks this. */
static void deadline(int restart)
{
    static time_t end;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (restart)
        end = now.tv_sec + 100;
    else if (now.tv_sec > end)
        test_die("nothing moves any more");
}

static wsock_server *listen_any(const wsock_options *o, char url[64])
{
    wsock_server *server = wsock_listen("ws://127.0.0.1:0/", o);
    CHECK(server != NULL);
    CHECK_RESULT(wsock_server_error(server), WSOCK_OK);
    CHECK(wsock_server_port(server) > 0);
    snprintf(url, 64, "ws://127.0.0.1:%d/path",
             wsock_server_port(server));
    deadline(1);
    return server;
}


/* A plain TCP connection to the server, for peers that misbehave.  It never
 * blocks: the server lives in the same thread. */
static int raw_connect(wsock_server *server)
{
    struct sockaddr_in a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    memset(&a, 0, sizeof a);
    a.sin_family = AF_INET;
    a.sin_port = htons((uint16_t)wsock_server_port(server));
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a))
        test_die("the server cannot be reached");
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    return fd;
}

static void raw_send(int fd, const void *data, size_t n)
{
    CHECK_INT(send(fd, data, n, MSG_NOSIGNAL), n);
}

/* Reads what is there.  1: the stream has ended, or was reset. */
static int raw_read(int fd, bytes *in)
{
    char buffer[4096];
    ssize_t n;
    while ((n = recv(fd, buffer, sizeof buffer, 0)) > 0)
        bytes_put(in, buffer, (size_t)n);
    return n == 0 || (errno != EAGAIN && errno != EINTR);
}

/* The server's side of every test: an echo that counts. */
typedef struct echo {
    wsock_server *server;
    int opens, closes, messages, ended, last_code, last_why;
} echo;

/* Every event that is there now. */
static void echo_run(echo *s, int wait)
{
    wsock_event e;
    int r;
    while ((r = wsock_server_poll(s->server, &e, wait)) > 0) {
        wait = 0;
        deadline(0);
        switch (e.type) {
        case WSOCK_EVENT_OPEN:
            s->opens++;
            CHECK(wsock_user(e.ws) == NULL);
            wsock_set_user(e.ws, s);
            break;
        case WSOCK_EVENT_MESSAGE:
            s->messages++;
            CHECK_RESULT(wsock_send(e.ws, e.kind, e.data, e.size), WSOCK_OK);
            break;
        case WSOCK_EVENT_CLOSE:
            s->closes++;
            s->last_code = e.code;
            s->last_why = e.why->code;
            CHECK(wsock_user(e.ws) == s); /* exactly one CLOSE, after OPEN */
            wsock_set_user(e.ws, NULL);
            break;
        default:
            break;
        }
    }
    deadline(0);
    if (r < 0)
        s->ended = 1;
}

/* ---------------------------------------------------------------- echoes -- */

enum { CLIENTS = 40 };
static const size_t sizes[] = { 0, 1, 125, 126, 127, 65535, 65536, 100000,
                                1048576 };
enum { SIZES = sizeof sizes / sizeof sizes[0] };

/* Many polled clients and their server in one thread, every size. */
TEST(many_polled_clients)
{
    static struct {
        wsock *ws;
        int opens, closes, ended;
        size_t next;
    } clients[CLIENTS];
    uint8_t *data = test_pattern(1048576);
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    char url[64], peer[64];
    echo s;
    int i, left = CLIENTS, r;
    memset(&s, 0, sizeof s);
    memset(clients, 0, sizeof clients);
    s.server = listen_any(NULL, url);
    for (i = 0; i < CLIENTS; i++) {
        clients[i].ws = wsock_connect(url, &o);
        CHECK(clients[i].ws != NULL);
    }
    while (left > 0) {
        echo_run(&s, 0);
        for (i = 0; i < CLIENTS; i++) {
            wsock_event e;
            wsock *ws = clients[i].ws;
            if (clients[i].ended)
                continue;
            while ((r = wsock_poll(ws, &e, 0)) > 0) {
                test_note("client %d", i);
                if (e.type == WSOCK_EVENT_OPEN) {
                    clients[i].opens++;
                    CHECK_RESULT(wsock_peer(ws, peer, sizeof peer), WSOCK_OK);
                    CHECK_BYTES(peer, strlen(peer), url + 5,
                                strlen(url) - 10);
                    CHECK_RESULT(wsock_send(ws, WSOCK_BINARY, data, sizes[0]),
                                 WSOCK_OK);
                } else if (e.type == WSOCK_EVENT_MESSAGE) {
                    size_t n = sizes[clients[i].next++];
                    CHECK_INT(e.kind, WSOCK_BINARY);
                    CHECK_BYTES(e.data, e.size, data, n);
                    /* The largest only from some, to save time. */
                    if (clients[i].next < SIZES - (i % 4 ? 1 : 0))
                        CHECK_RESULT(wsock_send(ws, WSOCK_BINARY, data,
                                                sizes[clients[i].next]),
                                     WSOCK_OK);
                    else
                        CHECK_RESULT(wsock_close(ws, 1000, "bye"), WSOCK_OK);
                } else if (e.type == WSOCK_EVENT_CLOSE) {
                    clients[i].closes++;
                    CHECK_INT(e.code, 1000);
                    CHECK_RESULT(e.why->code, WSOCK_OK);
                }
            }
            if (r < 0) {
                clients[i].ended = 1;
                left--;
            }
        }
    }
    test_state.note[0] = 0;
    for (i = 0; i < CLIENTS; i++) {
        CHECK_INT(clients[i].opens, 1);
        CHECK_INT(clients[i].closes, 1);
        CHECK_RESULT(wsock_error(clients[i].ws), WSOCK_OK);
        wsock_free(clients[i].ws);
    }
    while (s.closes < CLIENTS)
        echo_run(&s, 10);
    CHECK_INT(s.opens, CLIENTS);
    CHECK_INT(s.closes, CLIENTS);
    CHECK_INT(s.last_code, 1000);
    CHECK_INT(wsock_server_count(s.server), 0);
    wsock_server_free(s.server);
    free(data);
}

/* A client that sends and sends and reads nothing: the server's queue comes
 * to its limit, so it stops reading; nothing is lost and all comes back in
 * order once the client reads. */
TEST(backpressure_loses_nothing)
{
    enum { COUNT = 300, SIZE = 60000 };
    uint8_t *data = test_pattern(SIZE);
    wsock_options o = options_with(WSOCK_NONBLOCKING), so = o;
    char url[64];
    echo s;
    wsock *ws;
    wsock_event e;
    int sent = 0, came = 0, r, stalled = 0, open = 0;
    memset(&s, 0, sizeof s);
    so.send_limit = 100000;
    so.flags = 0;
    s.server = listen_any(&so, url);
    o.send_limit = 50000;
    ws = wsock_connect(url, &o);
    while (!open) {
        echo_run(&s, 0);
        if (wsock_poll(ws, &e, 0) > 0 && e.type == WSOCK_EVENT_OPEN)
            open = 1;
        deadline(0);
    }
    wsock_pause(ws, 1);
    /* Until neither side can move any more. */
    while (sent < COUNT && stalled < 200) {
        uint32_t number = (uint32_t)sent;
        int before = s.messages;
        memcpy(data, &number, 4);
        r = wsock_send(ws, WSOCK_BINARY, data, SIZE);
        if (r == WSOCK_OK)
            sent++;
        else
            CHECK_RESULT(r, WSOCK_WOULD_BLOCK);
        wsock_flush(ws);
        CHECK(wsock_poll(ws, &e, 0) == 0 || e.type == WSOCK_EVENT_DRAIN);
        echo_run(&s, 0);
        stalled = r == WSOCK_OK || s.messages != before ? 0 : stalled + 1;
    }
    CHECK(stalled > 0); /* it really was held up */
    wsock_pause(ws, 0);
    while (came < COUNT) {
        uint32_t number = (uint32_t)sent;
        echo_run(&s, 0);
        memcpy(data, &number, 4);
        if (sent < COUNT
            && wsock_send(ws, WSOCK_BINARY, data, SIZE) == WSOCK_OK)
            sent++;
        while ((r = wsock_poll(ws, &e, 0)) > 0) {
            if (e.type != WSOCK_EVENT_MESSAGE)
                continue;
            number = (uint32_t)came;
            memcpy(data, &number, 4);
            CHECK_BYTES(e.data, e.size, data, SIZE);
            came++;
        }
        if (!CHECK(r == 0))
            break;
    }
    CHECK_INT(came, COUNT);
    CHECK_INT(s.messages, COUNT);
    wsock_free(ws);
    while (s.closes < 1)
        echo_run(&s, 10);
    CHECK_INT(s.last_code, 1006);
    wsock_server_free(s.server);
    free(data);
}

/* wsock_pause() on a server's connection; messages that were read already
 * wait too, and the others are not held up. */
TEST(pause_holds_one_connection)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    char url[64];
    wsock_server *server = listen_any(NULL, url);
    wsock *a = wsock_connect(url, &o), *b = wsock_connect(url, &o);
    wsock *paused = NULL;
    wsock_event e;
    int sent = 0, from_paused = 0, from_other = 0, turns, opens = 0;
    while (from_other < 5) {
        deadline(0);
        if (wsock_poll(a, &e, 0) > 0 && e.type == WSOCK_EVENT_OPEN)
            opens++;
        if (wsock_poll(b, &e, 0) > 0 && e.type == WSOCK_EVENT_OPEN)
            opens++;
        if (opens == 2 && sent < 5) {
            sent++;
            wsock_send(a, WSOCK_TEXT, "a", 1);
            wsock_send(b, WSOCK_TEXT, "b", 1);
        }
        while (wsock_server_poll(server, &e, 0) > 0) {
            if (e.type != WSOCK_EVENT_MESSAGE)
                continue;
            if (!paused) { /* the first that speaks is silenced */
                paused = e.ws;
                CHECK_RESULT(wsock_pause(e.ws, 1), WSOCK_OK);
                from_paused++;
            } else if (e.ws == paused) {
                from_paused++;
            } else {
                from_other++;
            }
        }
    }
    for (turns = 0; turns < 50; turns++)
        CHECK_INT(wsock_server_poll(server, &e, 0), 0);
    CHECK_INT(from_paused, 1);
    wsock_pause(paused, 0);
    while (from_paused < 5) {
        deadline(0);
        if (wsock_server_poll(server, &e, 10) > 0
            && e.type == WSOCK_EVENT_MESSAGE && CHECK(e.ws == paused))
            from_paused++;
    }
    wsock_free(a);
    wsock_free(b);
    wsock_server_free(server);
}

/* ------------------------------------------------------------------ wake -- */

static void *wake_thread(void *user)
{
    wsock_server_wake((wsock_server *)user);
    return NULL;
}

static wsock_server *signal_server;

static void on_signal(int number)
{
    (void)number;
    wsock_server_wake(signal_server);
}

/* A wake is not lost when it comes before the wait: so these waits without
 * end do end. */
TEST(wake_from_a_thread_and_a_signal_handler)
{
    char url[64];
    wsock_server *server = listen_any(NULL, url);
    struct sigaction action, before;
    pthread_t thread;
    wsock_event e;
    int i;
    for (i = 0; i < 50; i++) {
        CHECK_INT(pthread_create(&thread, NULL, wake_thread, server), 0);
        CHECK_INT(wsock_server_poll(server, &e, WSOCK_NEVER), 0);
        CHECK_INT(e.type, WSOCK_EVENT_NONE);
        pthread_join(thread, NULL);
    }
    signal_server = server;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigaction(SIGUSR1, &action, &before);
    for (i = 0; i < 50; i++) {
        raise(SIGUSR1);
        CHECK_INT(wsock_server_poll(server, &e, WSOCK_NEVER), 0);
    }
    sigaction(SIGUSR1, &before, NULL);
    /* Many wakes are one. */
    for (i = 0; i < 1000; i++)
        CHECK_RESULT(wsock_server_wake(server), WSOCK_OK);
    CHECK_INT(wsock_server_poll(server, &e, WSOCK_NEVER), 0);
    wsock_server_free(server);
    server = listen_any(NULL, url);
    for (i = 0; i < 20; i++) {
        wsock *ws = (wsock *)&e;
        CHECK_INT(pthread_create(&thread, NULL, wake_thread, server), 0);
        CHECK_RESULT(wsock_accept(server, &ws, WSOCK_NEVER),
                     WSOCK_TIMED_OUT);
        CHECK(ws == NULL);
        pthread_join(thread, NULL);
    }
    wsock_server_free(server);
}

/* ------------------------------------------------- freed inside the loop -- */

/* wsock_free() on the connection of an event, and on others that have events
 * waiting: no more events of theirs, and the rest goes on. */
TEST(freed_inside_the_loop)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    wsock *clients[10], *alive[10];
    char url[64];
    wsock_server *server = listen_any(NULL, url);
    wsock_event e;
    int i, k, opens = 0, ready = 0, freed = 0, echoed = 0;
    size_t left;
    memset(alive, 0, sizeof alive);
    for (i = 0; i < 10; i++)
        clients[i] = wsock_connect(url, &o);
    while (opens < 10 || ready < 10) {
        deadline(0);
        for (i = 0; i < 10; i++)
            if (wsock_poll(clients[i], &e, 0) > 0
                && e.type == WSOCK_EVENT_OPEN)
                ready++;
        while (wsock_server_poll(server, &e, 0) > 0)
            if (e.type == WSOCK_EVENT_OPEN)
                alive[opens++] = e.ws;
    }
    /* Each sends twice before the server looks: the window and the kernel's
     * batch hold events of several connections. */
    for (i = 0; i < 10; i++) {
        CHECK_RESULT(wsock_send(clients[i], WSOCK_TEXT, "one", 3), WSOCK_OK);
        CHECK_RESULT(wsock_send(clients[i], WSOCK_TEXT, "two", 3), WSOCK_OK);
        wsock_flush(clients[i]);
    }
    while (freed < 5 || echoed < 4) {
        deadline(0);
        for (i = 0; i < 10; i++)
            wsock_poll(clients[i], &e, 0);
        while (wsock_server_poll(server, &e, 0) > 0) {
            int known = 0;
            if (e.type != WSOCK_EVENT_MESSAGE)
                continue;
            for (k = 0; k < 10; k++)
                known |= alive[k] == e.ws;
            if (!CHECK(known))
                continue; /* an event of a connection that was freed */
            if (freed < 5) {
                /* Its own, and the neighbour's now and then. */
                for (k = 0; k < 10; k++)
                    if (alive[k]
                        && (freed % 2 ? alive[k] != e.ws
                                      : alive[k] == e.ws)) {
                        wsock_free(alive[k]);
                        alive[k] = NULL;
                        freed++;
                        break;
                    }
            } else {
                echoed++;
            }
        }
    }
    CHECK_INT(wsock_server_count(server), 5);
    for (i = 0; i < 10; i++)
        wsock_free(clients[i]);
    for (left = 5, k = 0; left && k < 100000; k++) {
        deadline(0);
        if (wsock_server_poll(server, &e, 10) > 0
            && e.type == WSOCK_EVENT_CLOSE) {
            if (k % 2)
                wsock_free(e.ws); /* allowed at CLOSE too */
            left--;
        }
    }
    CHECK_INT(left, 0);
    wsock_server_poll(server, &e, 0);
    CHECK_INT(wsock_server_count(server), 0);
    wsock_server_free(server);
}

/* The server is freed with connections in every state. */
TEST(server_freed_with_connections)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    test_system sys;
    wsock_options so;
    wsock *ws;
    char url[64];
    wsock_server *server;
    wsock_event e;
    int raw, open = 0;
    test_system_init(&sys);
    sys.system.now = NULL;
    sys.system.random = NULL;
    memset(&so, 0, sizeof so);
    so.system = &sys.system;
    server = listen_any(&so, url);
    raw = raw_connect(server); /* in its handshake */
    raw_send(raw, "GET / HT", 8);
    ws = wsock_connect(url, &o);
    while (!open) {
        deadline(0);
        if (wsock_server_poll(server, &e, 0) > 0
            && e.type == WSOCK_EVENT_OPEN) {
            open = 1;
            wsock_send(e.ws, WSOCK_TEXT, "queued", 6);
        }
        wsock_poll(ws, &e, 0);
    }
    wsock_server_free(server);
    CHECK_NO_LEAK(&sys);
    while (wsock_poll(ws, &e, 10) >= 0) /* the client hears of it */
        deadline(0);
    CHECK(wsock_error(ws) < 0);
    wsock_free(ws);
    close(raw);
}

/* ---------------------------------------------------------- server_close -- */

TEST(server_close_says_1001)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    wsock *clients[8];
    char url[64];
    echo s;
    int i, r, closes = 0, ended = 0, gone[8];
    wsock_event e;
    memset(&s, 0, sizeof s);
    memset(gone, 0, sizeof gone);
    s.server = listen_any(NULL, url);
    for (i = 0; i < 8; i++)
        clients[i] = wsock_connect(url, &o);
    while (s.opens < 8) {
        echo_run(&s, 0);
        for (i = 0; i < 8; i++)
            wsock_poll(clients[i], &e, 0);
    }
    CHECK_RESULT(wsock_server_close(s.server), WSOCK_OK);
    while (!s.ended || ended < 8) {
        deadline(0);
        if (!s.ended)
            echo_run(&s, 0);
        for (i = 0; i < 8; i++) {
            if (gone[i])
                continue;
            r = wsock_poll(clients[i], &e, 0);
            if (r > 0 && e.type == WSOCK_EVENT_CLOSE) {
                closes++;
                CHECK_INT(e.code, 1001);
                CHECK_RESULT(e.why->code, WSOCK_OK);
            }
            if (r < 0) {
                gone[i] = 1;
                ended++;
            }
        }
    }
    CHECK_INT(closes, 8);
    CHECK_INT(s.closes, 8);
    CHECK_RESULT(wsock_server_poll(s.server, &e, 0), WSOCK_CLOSED);
    CHECK_INT(wsock_server_count(s.server), 0);
    /* It listens no more. */
    {
        wsock *late = wsock_connect(url, NULL);
        CHECK_RESULT(wsock_error(late), WSOCK_CONNECT_FAILED);
        CHECK_INT(wsock_why(late)->phase, WSOCK_PHASE_TCP);
        CHECK(wsock_why(late)->os_code != 0);
        wsock_free(late);
    }
    for (i = 0; i < 8; i++)
        wsock_free(clients[i]);
    wsock_server_free(s.server);
}

/* -------------------------------------------------------------- blocking -- */

typedef struct blocking_client {
    char url[64];
    int failures, echoed;
} blocking_client;

static void *blocking_thread(void *user)
{
    blocking_client *c = (blocking_client *)user;
    uint8_t *data = test_pattern(200000), *got = (uint8_t *)malloc(200000);
    static const size_t some[] = { 0, 1, 126, 65536, 200000 };
    wsock *ws = wsock_connect(c->url, NULL);
    wsock_status status;
    size_t i;
    for (i = 0; i < 5; i++) {
        c->failures += wsock_send(ws, WSOCK_BINARY, data, some[i])
                       != WSOCK_OK;
        memset(&status, 0, sizeof status);
        c->failures += wsock_receive(ws, got, 200000, &status) != WSOCK_OK;
        c->failures += status.bytes != some[i]
                       || status.kind != WSOCK_BINARY
                       || memcmp(got, data, some[i]) != 0;
        c->echoed++;
    }
    c->failures += wsock_close(ws, 1000, "bye") != WSOCK_OK;
    c->failures += wsock_error(ws) != WSOCK_OK;
    wsock_free(ws);
    free(data);
    free(got);
    return NULL;
}

/* wsock_accept() and blocking calls on both sides. */
TEST(accept_and_blocking_client)
{
    static uint8_t text[70000];
    blocking_client c;
    wsock_server *server;
    wsock_status got;
    pthread_t thread;
    wsock *ws = NULL;
    wsock_event e;
    int r, turn, slow;
    for (turn = 0; turn < 3; turn++) {
        test_note("turn %d", turn);
        memset(&c, 0, sizeof c);
        server = listen_any(NULL, c.url);
        slow = raw_connect(server); /* says nothing, and delays nobody */
        CHECK_INT(pthread_create(&thread, NULL, blocking_thread, &c), 0);
        CHECK_RESULT(wsock_accept(server, &ws, 60000), WSOCK_OK);
        CHECK(ws != NULL);
        CHECK_STR(wsock_header(ws, "Upgrade"), "websocket");
        CHECK_RESULT(wsock_poll(ws, &e, 0), WSOCK_INVALID_OPERATION);
        if (turn == 1) { /* "free it before the server or after" */
            wsock_server_free(server);
            server = NULL;
        }
        for (;;) {
            r = wsock_receive(ws, text, sizeof text, &got);
            if (!CHECK(r == WSOCK_OK) || got.kind == WSOCK_CLOSE)
                break;
            /* 200,000 bytes come in three, and go back as fragments. */
            CHECK_RESULT(wsock_send(ws, got.kind, text, got.bytes),
                         WSOCK_OK);
        }
        CHECK_INT(got.kind, WSOCK_CLOSE);
        CHECK_RESULT(wsock_close(ws, 1000, ""), WSOCK_OK);
        pthread_join(thread, NULL);
        CHECK_INT(c.failures, 0);
        CHECK_INT(c.echoed, 5);
        wsock_free(ws);
        wsock_server_free(server);
        close(slow);
    }
}

TEST(accept_without_waiting)
{
    char url[64];
    wsock_server *server = listen_any(NULL, url);
    wsock *ws = (wsock *)url;
    wsock_event e;
    CHECK_RESULT(wsock_accept(server, &ws, 0), WSOCK_TIMED_OUT);
    CHECK(ws == NULL);
    CHECK_RESULT(wsock_accept(server, NULL, 0), WSOCK_INVALID_PARAMETER);
    wsock_server_free(server);
    server = listen_any(NULL, url);
    CHECK_INT(wsock_server_poll(server, &e, 0), 0);
    CHECK_RESULT(wsock_accept(server, &ws, 0), WSOCK_INVALID_OPERATION);
    wsock_server_free(server);
}

/* The server's options say NONBLOCKING: accepted connections are polled. */
TEST(accepted_and_polled)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    char url[64];
    wsock_server *server = listen_any(&o, url);
    wsock *client = wsock_connect(url, &o), *ws = NULL;
    wsock_status got;
    wsock_event e;
    int echoed = 0, opens = 0, r;
    while (!ws) {
        deadline(0);
        if (wsock_poll(client, &e, 0) > 0 && e.type == WSOCK_EVENT_OPEN)
            wsock_send(client, WSOCK_TEXT, "hi", 2);
        r = wsock_accept(server, &ws, 0);
        CHECK(r == WSOCK_OK || r == WSOCK_TIMED_OUT);
    }
    wsock_server_free(server);
    while (!echoed) {
        deadline(0);
        while ((r = wsock_poll(client, &e, 0)) > 0) {
            if (e.type == WSOCK_EVENT_OPEN)
                wsock_send(client, WSOCK_TEXT, "hi", 2);
            echoed += e.type == WSOCK_EVENT_MESSAGE;
        }
        while (wsock_poll(ws, &e, 0) > 0) {
            opens += e.type == WSOCK_EVENT_OPEN;
            if (e.type == WSOCK_EVENT_MESSAGE)
                wsock_send(ws, e.kind, e.data, e.size);
        }
    }
    CHECK(opens <= 1);
    CHECK_RESULT(wsock_receive(ws, url, 1, &got), WSOCK_INVALID_OPERATION);
    wsock_free(client);
    wsock_free(ws);
}

/* -------------------------------------------------------- bad neighbours -- */

/* Silent or slow handshakes end with 408 when their time is up, and the
 * clock is the test's. */
TEST(silent_handshakes_time_out)
{
    test_system sys;
    wsock_options o;
    char url[64];
    wsock_server *server;
    bytes in[2] = { { 0 }, { 0 } };
    int fds[2], ended[2] = { 0, 0 }, i;
    wsock_event e;
    test_system_init(&sys);
    memset(&o, 0, sizeof o);
    o.system = &sys.system;
    server = listen_any(&o, url);
    fds[0] = raw_connect(server);
    fds[1] = raw_connect(server);
    raw_send(fds[1], "GET / HTTP/1.1\r\nHost: h\r\n", 25);
    for (i = 0; i < 20; i++)
        CHECK_INT(wsock_server_poll(server, &e, 0), 0);
    sys.now += 9000;
    for (i = 0; i < 20; i++)
        wsock_server_poll(server, &e, 0);
    for (i = 0; i < 2; i++)
        CHECK_INT(raw_read(fds[i], &in[i]), 0); /* there is time left */
    CHECK_INT(in[0].size + in[1].size, 0);
    sys.now += 2000;
    while (!ended[0] || !ended[1]) {
        deadline(0);
        wsock_server_poll(server, &e, 0);
        sys.now += 1;
        for (i = 0; i < 2; i++)
            if (!ended[i])
                ended[i] = raw_read(fds[i], &in[i]);
    }
    CHECK(!strncmp(bytes_str(&in[1]), "HTTP/1.1 408 ", 13));
    wsock_server_poll(server, &e, 0);
    sys.now += 5000;
    wsock_server_poll(server, &e, 0);
    CHECK_INT(wsock_server_count(server), 0);
    for (i = 0; i < 2; i++) {
        close(fds[i]);
        bytes_free(&in[i]);
    }
    wsock_server_free(server);
    CHECK_NO_LEAK(&sys);
}

/* A peer that vanishes: reset, or end of stream without Close. */
TEST(peers_that_vanish)
{
    int how;
    for (how = 0; how < 2; how++) {
        char url[64];
        echo s;
        bytes in = { 0 };
        int fd;
        test_note("%s", how ? "end of stream" : "reset");
        memset(&s, 0, sizeof s);
        s.server = listen_any(NULL, url);
        fd = raw_connect(s.server);
        raw_send(fd, TEST_REQUEST, strlen(TEST_REQUEST));
        while (!s.opens || !bytes_find(&in, "\r\n\r\n")) {
            echo_run(&s, 0);
            raw_read(fd, &in);
        }
        if (!how) {
            struct linger reset;
            reset.l_onoff = 1;
            reset.l_linger = 0;
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        }
        close(fd);
        while (!s.closes)
            echo_run(&s, 10);
        CHECK_INT(s.last_code, 1006);
        CHECK_RESULT(s.last_why, WSOCK_CONNECTION_LOST);
        echo_run(&s, 0);
        CHECK_INT(wsock_server_count(s.server), 0);
        wsock_server_free(s.server);
        bytes_free(&in);
    }
}

/* A request byte by byte, then frames byte by byte; and 7.1.1: after the
 * closing handshake the server ends TCP first. */
TEST(one_byte_at_a_time)
{
    char url[64];
    echo s;
    bytes out = { 0 }, in = { 0 }, log = { 0 };
    size_t i;
    int fd, ended = 0;
    const char *head;
    memset(&s, 0, sizeof s);
    s.server = listen_any(NULL, url);
    fd = raw_connect(s.server);
    bytes_text(&out, TEST_REQUEST);
    frame_text(&out, 1, 1, "sl");
    frame_text(&out, FIN | 9, 1, "ping");
    frame_text(&out, FIN | 0, 1, "ow");
    frame_close(&out, 1, 1000, "bye");
    for (i = 0; i < out.size; i++) {
        raw_send(fd, out.data + i, 1);
        echo_run(&s, 0);
    }
    while (!ended) {
        echo_run(&s, 0);
        ended = raw_read(fd, &in);
    }
    head = bytes_find(&in, "\r\n\r\n");
    if (CHECK(head != NULL)) {
        bytes frames = { 0 };
        bytes_put(&frames, head + 4,
                  in.size - (size_t)((const uint8_t *)head + 4 - in.data));
        frames_log(&log, &frames, 0);
        CHECK_STR(bytes_str(&log),
                  "pong \"ping\"\ntext \"slow\"\nclose 1000\n");
        bytes_free(&frames);
    }
    close(fd);
    while (!s.closes)
        echo_run(&s, 10);
    CHECK_INT(s.last_code, 1000);
    wsock_server_free(s.server);
    bytes_free(&out);
    bytes_free(&in);
    bytes_free(&log);
}

/* A refusal reaches the client whole, although it goes on sending. */
TEST(refusals_arrive)
{
    char url[64], big[20000];
    echo s;
    bytes in = { 0 };
    int fd, ended = 0;
    memset(&s, 0, sizeof s);
    s.server = listen_any(NULL, url);
    fd = raw_connect(s.server);
    memset(big, 'x', sizeof big);
    raw_send(fd, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 27);
    raw_send(fd, big, sizeof big);
    while (!ended) {
        echo_run(&s, 0);
        ended = raw_read(fd, &in);
    }
    CHECK(!strncmp(bytes_str(&in), "HTTP/1.1 426 ", 13));
    CHECK_INT(s.opens, 0);
    close(fd);
    wsock_server_free(s.server);
    bytes_free(&in);
}

/* A polled client is told why it was refused, in its one CLOSE. */
TEST(refused_clients)
{
    static const char *const origins[] = { "https://good.example", NULL };
    wsock_options so, o = options_with(WSOCK_NONBLOCKING);
    char url[64];
    echo s;
    wsock *ws;
    wsock_event e;
    int closes = 0, r = 0;
    memset(&s, 0, sizeof s);
    memset(&so, 0, sizeof so);
    so.origins = origins;
    s.server = listen_any(&so, url);
    o.origin = "https://evil.example";
    ws = wsock_connect(url, &o);
    while (r >= 0) {
        echo_run(&s, 0);
        r = wsock_poll(ws, &e, 0);
        if (r > 0) {
            CHECK_INT(e.type, WSOCK_EVENT_CLOSE);
            CHECK_RESULT(e.why->code, WSOCK_REFUSED);
            CHECK_INT(e.why->http_status, 403);
            closes++;
        }
    }
    CHECK_INT(closes, 1);
    CHECK_INT(s.opens, 0);
    wsock_free(ws);
    wsock_server_free(s.server);
}

TEST(nobody_listens)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    char url[64];
    wsock_server *server = listen_any(NULL, url);
    wsock *ws;
    wsock_event e;
    int closes = 0, r;
    wsock_server_free(server);
    ws = wsock_connect(url, NULL);
    CHECK_RESULT(wsock_error(ws), WSOCK_CONNECT_FAILED);
    CHECK_INT(wsock_why(ws)->phase, WSOCK_PHASE_TCP);
    CHECK_INT(wsock_why(ws)->os_code, ECONNREFUSED);
    CHECK_RESULT(wsock_send(ws, WSOCK_TEXT, "x", 1), WSOCK_CONNECT_FAILED);
    CHECK_RESULT(wsock_close(ws, 1000, ""), WSOCK_CONNECT_FAILED);
    wsock_free(ws);
    ws = wsock_connect(url, &o);
    while ((r = wsock_poll(ws, &e, 1000)) >= 0) {
        deadline(0);
        if (r) {
            CHECK_INT(e.type, WSOCK_EVENT_CLOSE);
            CHECK_RESULT(e.why->code, WSOCK_CONNECT_FAILED);
            closes++;
        }
    }
    CHECK_INT(closes, 1);
    wsock_free(ws);
}

TEST(listening_fails)
{
    char url[64];
    wsock_server *server = listen_any(NULL, url), *second;
    wsock_event e;
    wsock *ws;
    second = wsock_listen(url, NULL);
    CHECK(second != NULL);
    CHECK_RESULT(wsock_server_error(second), WSOCK_LISTEN_FAILED);
    CHECK_RESULT(wsock_server_why(second)->code, WSOCK_LISTEN_FAILED);
    CHECK_INT(wsock_server_why(second)->os_code, EADDRINUSE);
    CHECK_RESULT(wsock_server_poll(second, &e, 0), WSOCK_LISTEN_FAILED);
    CHECK_RESULT(wsock_accept(second, &ws, 0), WSOCK_LISTEN_FAILED);
    wsock_server_free(second);
    wsock_server_free(server);
    second = wsock_listen("http://127.0.0.1:0/", NULL);
    CHECK_RESULT(wsock_server_error(second), WSOCK_INVALID_URL);
    wsock_server_free(second);
}

/* max_connections: at it, new ones wait in the system's backlog. */
TEST(max_connections)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING), so;
    wsock *clients[3];
    char url[64];
    echo s;
    wsock_event e;
    int i, opened[3] = { 0, 0, 0 }, turns, first = -1;
    memset(&s, 0, sizeof s);
    memset(&so, 0, sizeof so);
    so.max_connections = 2;
    s.server = listen_any(&so, url);
    for (i = 0; i < 3; i++)
        clients[i] = wsock_connect(url, &o);
    for (turns = 0; opened[0] + opened[1] + opened[2] < 2 || turns < 200;
         turns++) {
        echo_run(&s, 0);
        for (i = 0; i < 3; i++)
            if (wsock_poll(clients[i], &e, 0) > 0
                && e.type == WSOCK_EVENT_OPEN)
                opened[i] = 1;
    }
    CHECK_INT(opened[0] + opened[1] + opened[2], 2);
    CHECK_INT(wsock_server_count(s.server), 2);
    for (i = 0; i < 3; i++)
        if (opened[i] && first < 0)
            first = i;
    wsock_free(clients[first]);
    clients[first] = NULL;
    while (opened[0] + opened[1] + opened[2] < 3) {
        echo_run(&s, 10);
        for (i = 0; i < 3; i++)
            if (clients[i] && wsock_poll(clients[i], &e, 0) > 0
                && e.type == WSOCK_EVENT_OPEN)
                opened[i] = 1;
    }
    for (i = 0; i < 3; i++)
        wsock_free(clients[i]);
    wsock_server_free(s.server);
}

/* "Once poll has returned 0 they leave at once, so that a game that sends
 * after its polls loses no frame." */
TEST(sends_after_the_last_poll_leave)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    char url[64];
    wsock_server *server = listen_any(NULL, url);
    wsock *client = wsock_connect(url, &o), *ws = NULL;
    wsock_event e;
    int got = 0;
    while (!ws || wsock_state(client) != WSOCK_STATE_OPEN) {
        deadline(0);
        if (wsock_server_poll(server, &e, 0) > 0
            && e.type == WSOCK_EVENT_OPEN)
            ws = e.ws;
        wsock_poll(client, &e, 0);
    }
    while (wsock_server_poll(server, &e, 0) > 0)
        ;
    CHECK_RESULT(wsock_send(ws, WSOCK_TEXT, "frame", 5), WSOCK_OK);
    CHECK_INT(wsock_queued(ws), 0);
    while (!got) { /* the server is not polled any more */
        deadline(0);
        if (wsock_poll(client, &e, 10) > 0 && e.type == WSOCK_EVENT_MESSAGE)
            got = 1;
    }
    wsock_free(client);
    wsock_server_free(server);
}

/* IPv6, where the machine has it. */
TEST(over_ipv6)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    wsock_server *server = wsock_listen("ws://[::1]:0/", NULL);
    char url[64], peer[64];
    wsock *ws;
    wsock_event e;
    if (!test_has_ipv6()) {
        CHECK_RESULT(wsock_server_error(server), WSOCK_LISTEN_FAILED);
        wsock_server_free(server);
        test_skip("no IPv6 here");
        return;
    }
    CHECK_RESULT(wsock_server_error(server), WSOCK_OK);
    deadline(1);
    snprintf(url, sizeof url, "ws://[::1]:%d/", wsock_server_port(server));
    ws = wsock_connect(url, &o);
    while (wsock_state(ws) != WSOCK_STATE_OPEN) {
        deadline(0);
        wsock_server_poll(server, &e, 0);
        if (wsock_poll(ws, &e, 0) < 0)
            break;
    }
    CHECK_RESULT(wsock_error(ws), WSOCK_OK);
    CHECK_RESULT(wsock_peer(ws, peer, sizeof peer), WSOCK_OK);
    CHECK_BYTES(peer, strlen(peer), url + 5, strlen(url) - 6);
    wsock_free(ws);
    wsock_server_free(server);
}

/* A host name goes through the look-up. */
TEST(by_name)
{
    wsock_options o;
    char url[64];
    wsock_server *server = listen_any(NULL, url);
    pthread_t thread;
    blocking_client c;
    wsock *ws = NULL;
    wsock_status got;
    static uint8_t text[200000];
    memset(&c, 0, sizeof c);
    snprintf(c.url, sizeof c.url, "ws://localhost:%d/",
             wsock_server_port(server));
    CHECK_INT(pthread_create(&thread, NULL, blocking_thread, &c), 0);
    CHECK_RESULT(wsock_accept(server, &ws, 60000), WSOCK_OK);
    while (wsock_receive(ws, text, sizeof text, &got) == WSOCK_OK
           && got.kind != WSOCK_CLOSE)
        wsock_send(ws, got.kind, text, got.bytes);
    wsock_close(ws, 1000, "");
    pthread_join(thread, NULL);
    CHECK_INT(c.failures, 0);
    wsock_free(ws);
    wsock_server_free(server);
    memset(&o, 0, sizeof o);
    ws = wsock_connect("ws://no-such-host.invalid/", &o);
    CHECK_RESULT(wsock_error(ws), WSOCK_LOOKUP_FAILED);
    CHECK_INT(wsock_why(ws)->phase, WSOCK_PHASE_LOOKUP);
    wsock_free(ws);
}

/* ------------------------------------------------- endings in the way -- */

/* What a loop takes from the system, counted: each of its waits asks for the
 * time, so one that does not wait asks thousands of times. */
typedef struct watch {
    wsock_system system;
    long looks;
    long allocations;
    long fail_from; /* the allocation from which on all fail; 0: none */
} watch;

static int64_t watch_now(void *user)
{
    struct timespec now;
    ((watch *)user)->looks++;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void *watch_alloc(void *user, size_t size)
{
    watch *w = (watch *)user;
    w->allocations++;
    return w->fail_from && w->allocations >= w->fail_from ? NULL
                                                          : malloc(size);
}

static void watch_free(void *user, void *memory, size_t size)
{
    (void)user;
    (void)size;
    free(memory);
}

static void watch_init(watch *w, wsock_options *o)
{
    memset(w, 0, sizeof *w);
    w->system.now = watch_now;
    w->system.alloc = watch_alloc;
    w->system.free = watch_free;
    w->system.user = w;
    memset(o, 0, sizeof *o);
    o->system = &w->system;
}

/* A server and one connection of it; how 0: driven by wsock_server_poll(),
 * 1: accepted, and driven by wsock_poll().  The peer is a plain socket. */
typedef struct one {
    watch watch;
    wsock_options options;
    wsock_server *server;
    wsock *ws;
    int fd, how;
} one;

static int one_poll(one *p, wsock_event *e, int timeout)
{
    return p->how ? wsock_poll(p->ws, e, timeout)
                  : wsock_server_poll(p->server, e, timeout);
}

/* Every event that there is now. */
static int one_events(one *p, bytes *log)
{
    wsock_event e;
    int r;
    deadline(0);
    while ((r = one_poll(p, &e, 0)) > 0)
        log_event(log, &e);
    return r;
}

static void one_open(one *p, int how)
{
    char url[64];
    wsock_event e;
    watch_init(&p->watch, &p->options);
    p->how = how;
    p->ws = NULL;
    p->options.send_limit = 100000;
    p->options.receive_buffer = 4096;
    p->options.flags = how ? WSOCK_NONBLOCKING : 0u;
    p->server = listen_any(&p->options, url);
    p->fd = raw_connect(p->server);
    raw_send(p->fd, TEST_REQUEST, strlen(TEST_REQUEST));
    while (!p->ws) {
        deadline(0);
        if (how)
            wsock_accept(p->server, &p->ws, 10);
        else if (wsock_server_poll(p->server, &e, 10) > 0)
            p->ws = e.ws;
    }
    while (one_poll(p, &e, 0) > 0)
        ;
    CHECK_INT(wsock_state(p->ws), WSOCK_STATE_OPEN);
}

static void one_free(one *p)
{
    if (p->how)
        wsock_free(p->ws);
    wsock_server_free(p->server);
    if (p->fd >= 0)
        close(p->fd);
}

/* A child that was forked may hold the listening socket still when the server
 * has closed it: who connects to that does not keep the loop turning. */
TEST(a_closed_listener_that_is_held_elsewhere)
{
    int held, other;
    wsock_event e;
    long looks;
    one p;
    if (!test_has_posix_descriptors())
        return;
    deadline(1);
    one_open(&p, 0);
    held = dup(p.server->loop.listener);
    CHECK_RESULT(wsock_server_close(p.server), WSOCK_OK);
    other = raw_connect(p.server);
    looks = p.watch.looks;
    CHECK_INT(wsock_server_poll(p.server, &e, 100), 0);
    CHECK(p.watch.looks - looks < 100);
    close(other);
    close(held);
    one_free(&p);
}

/* Sends until the peer, who does not read, and the queue are full. */
static void one_fill(one *p)
{
    static const char data[50000];
    int i, r = WSOCK_OK;
    for (i = 0; i < 10000 && r == WSOCK_OK; i++)
        r = wsock_send(p->ws, WSOCK_BINARY, data, sizeof data);
    CHECK_RESULT(r, WSOCK_WOULD_BLOCK);
}

/* The peer goes without a word, and leaves a reset behind. */
static void one_reset(one *p)
{
    struct linger reset;
    reset.l_onoff = 1;
    reset.l_linger = 0;
    setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(p->fd);
    p->fd = -1;
}

/* A connection that is not read, because its queue is at send_limit, ends
 * like any other when its peer resets it. */
TEST(held_and_reset)
{
    one p;
    int how, r, i;
    for (how = 0; how < 2; how++) {
        bytes in = { 0 }, log = { 0 };
        wsock_event e;
        test_note("how %d", how);
        one_open(&p, how);
        one_fill(&p);
        frame_text(&in, FIN | 1, 1, "not read");
        raw_send(p.fd, in.data, in.size);
        for (i = 0; i < 5; i++)
            CHECK_INT(one_events(&p, &log), 0);
        CHECK_STR(bytes_str(&log), "");
        one_reset(&p);
        p.watch.looks = 0;
        for (i = 0, r = 0; i < 4 && !bytes_find(&log, "CLOSE"); i++) {
            r = one_poll(&p, &e, 100);
            if (r > 0)
                log_event(&log, &e);
        }
        CHECK(bytes_find(&log, "CLOSE 1006 \"\" WSOCK_CONNECTION_LOST\n")
              != NULL);
        CHECK(p.watch.looks < 50);
        one_poll(&p, &e, 0);
        CHECK_INT(wsock_server_count(p.server), 0);
        one_free(&p);
        bytes_free(&in);
        bytes_free(&log);
    }
}

/* A paused connection does not hear of a reset: its loop sleeps all the same
 * meanwhile.  It ends when it is resumed, or at once where something is
 * queued, for writing finds out. */
TEST(paused_and_reset)
{
    one p;
    int how, full, i;
    for (how = 0; how < 2; how++)
        for (full = 0; full < 2; full++) {
            bytes in = { 0 }, log = { 0 };
            wsock_event e;
            test_note("how %d, full %d", how, full);
            one_open(&p, how);
            CHECK_RESULT(wsock_pause(p.ws, 1), WSOCK_OK);
            if (full)
                one_fill(&p);
            CHECK_INT(one_events(&p, &log), 0);
            one_reset(&p);
            p.watch.looks = 0;
            for (i = 0; i < 3; i++) {
                CHECK_INT(one_poll(&p, &e, 30), 0);
                CHECK_INT(e.type, WSOCK_EVENT_NONE);
            }
            CHECK(p.watch.looks < 50);
            CHECK_RESULT(wsock_pause(p.ws, 0), WSOCK_OK);
            for (i = 0; i < 4 && !bytes_find(&log, "CLOSE"); i++)
                if (one_poll(&p, &e, 100) > 0)
                    log_event(&log, &e);
            CHECK_STR(bytes_str(&log),
                      "CLOSE 1006 \"\" WSOCK_CONNECTION_LOST\n");
            one_free(&p);
            bytes_free(&in);
            bytes_free(&log);
        }
}

/* Messages that were read before the connection was held, and put aside, are
 * reported when its queue is out, although the stream has ended behind them.
 */
TEST(put_aside_at_the_end_of_the_stream)
{
    enum { COUNT = 300 };
    one p;
    bytes in = { 0 }, out = { 0 };
    wsock_event e;
    int i, how, messages, closes, r;
    for (how = 0; how < 2; how++) {
        test_note("how %d", how);
        one_open(&p, how);
        bytes_clear(&in);
        for (i = 0; i < COUNT; i++)
            frame_text(&in, FIN | 1, 1, "xy");
        raw_send(p.fd, in.data, in.size);
        shutdown(p.fd, SHUT_WR);
        messages = closes = 0;
        for (i = 0; i < 4 && messages == 0; i++)
            if (one_poll(&p, &e, 100) > 0 && e.type == WSOCK_EVENT_MESSAGE)
                messages++;
        CHECK_INT(messages, 1);
        one_fill(&p);
        for (i = 0; i < 5; i++)
            CHECK_INT(one_poll(&p, &e, 0), 0);
        while (!closes) {
            deadline(0);
            raw_read(p.fd, &out);
            bytes_clear(&out);
            r = one_poll(&p, &e, 0);
            if (r < 0)
                break;
            messages += r && e.type == WSOCK_EVENT_MESSAGE;
            closes += r && e.type == WSOCK_EVENT_CLOSE;
        }
        CHECK_INT(messages, COUNT);
        CHECK_INT(closes, 1);
        one_free(&p);
    }
    bytes_free(&in);
    bytes_free(&out);
}

/* The loop of many connections needs memory to wait on them, with poll():
 * where there is none the call returns, and does not try for ever.  Memory is
 * out from the n-th allocation on, and then it is back. */
TEST(no_memory_to_wait_with)
{
    enum { COUNT = 20 };
    long n;
    int out = 1;
    for (n = 1; n < 100 && out; n++) {
        watch w;
        wsock_options o;
        wsock_event e;
        char url[64];
        wsock_server *server;
        int fds[COUNT + 1], i, opens = 0;
        test_note("allocation %ld", n);
        watch_init(&w, &o);
        server = listen_any(&o, url);
        e.type = WSOCK_EVENT_NONE;
        for (i = 0; i < COUNT; i++) {
            fds[i] = raw_connect(server);
            raw_send(fds[i], TEST_REQUEST, strlen(TEST_REQUEST));
            while (opens == 0) { /* the first comes in while there is some */
                deadline(0);
                opens += wsock_server_poll(server, &e, 10) > 0;
            }
        }
        w.fail_from = w.allocations + n;
        for (i = 0; i < COUNT + 5 && opens < COUNT; i++) {
            w.looks = 0;
            opens += wsock_server_poll(server, &e, 2) > 0
                     && e.type == WSOCK_EVENT_OPEN;
            CHECK(w.looks < 200);
        }
        out = w.allocations >= w.fail_from;
        if (!out)
            CHECK_INT(opens, COUNT);
        w.fail_from = 0;
        fds[COUNT] = raw_connect(server);
        raw_send(fds[COUNT], TEST_REQUEST, strlen(TEST_REQUEST));
        raw_send(fds[COUNT], "\x81\x80\0\0\0\0", 6);
        while (e.type != WSOCK_EVENT_MESSAGE) { /* all is well again */
            deadline(0);
            wsock_server_poll(server, &e, 10);
        }
        wsock_server_free(server);
        for (i = 0; i <= COUNT; i++)
            close(fds[i]);
    }
    CHECK(!out);
}

/* -------------------------------------------------------------- accounts -- */

/* The account of one connection of a server has nothing to do with those of
 * the others, and pointers to it are good as long as the connection is: one
 * closes in its first event, one is well, one breaks the protocol. */
TEST(accounts_of_connections)
{
    enum { CLOSER, HEALTHY, BROKEN, COUNT };
    char url[64];
    wsock_server *server = listen_any(NULL, url);
    const wsock_failure *closer = NULL, *healthy = NULL;
    const char *text = NULL;
    wsock *conns[COUNT];
    wsock_event e;
    bytes in = { 0 };
    int fds[COUNT], closes = 0, i;
    CHECK_STR(wsock_server_why(server)->text, "no failure");
    for (i = 0; i < COUNT; i++) {
        fds[i] = raw_connect(server);
        raw_send(fds[i], TEST_REQUEST, strlen(TEST_REQUEST));
        while (wsock_server_poll(server, &e, 10) <= 0)
            deadline(0);
        CHECK_INT(e.type, WSOCK_EVENT_OPEN);
        conns[i] = e.ws;
        if (i == CLOSER) {
            CHECK_RESULT(wsock_shutdown(e.ws, 4001, "from here"), WSOCK_OK);
            closer = wsock_why(e.ws);
        } else if (i == HEALTHY) {
            healthy = wsock_why(e.ws);
            text = wsock_error_text(e.ws);
        }
    }
    raw_send(fds[BROKEN], "\xFF\xFF\xFF\xFF\xFF\xFF", 6); /* no frame */
    for (closes = 0; closes < COUNT; closes++) {
        static const int order[] = { BROKEN, HEALTHY, CLOSER };
        while (wsock_server_poll(server, &e, 10) <= 0)
            deadline(0);
        i = order[closes];
        CHECK_INT(e.type, WSOCK_EVENT_CLOSE);
        CHECK(e.ws == conns[i]);
        CHECK(e.why == wsock_why(e.ws));
        close(fds[i]);
        bytes_clear(&in);
        if (i == BROKEN) {
            CHECK_RESULT(e.why->code, WSOCK_PROTOCOL_ERROR);
            CHECK_INT(e.why->close_sent, 1002);
            CHECK_INT(e.why->close_received, 0);
            CHECK_STR(e.why->close_reason, "");
            CHECK_RESULT(healthy->code, WSOCK_OK);
            CHECK_INT(healthy->close_sent, 0);
            CHECK_STR(text, "no failure");
            frame_close(&in, 1, 4002, "from there");
            raw_send(fds[HEALTHY], in.data, in.size);
        } else if (i == HEALTHY) {
            CHECK_RESULT(e.why->code, WSOCK_OK);
            CHECK_INT(e.why->close_sent, 4002);
            CHECK_INT(e.why->close_received, 4002);
            CHECK_STR(e.why->close_reason, "from there");
            frame_close(&in, 1, 4003, "at last");
            raw_send(fds[CLOSER], in.data, in.size);
        } else {
            CHECK(e.why == closer);
            CHECK_INT(e.why->close_received, 4003);
            CHECK_STR(e.why->close_reason, "at last");
        }
        CHECK_RESULT(closer->code, WSOCK_OK);
        CHECK_INT(closer->close_sent, 4001);
    }
    wsock_server_free(server);
    bytes_free(&in);
}

/* What a client sends together with its request is there after
 * wsock_accept(), also when it is the end: a Close, or a frame that is none.
 */
TEST(accepted_at_the_end)
{
    int bad;
    for (bad = 0; bad < 2; bad++) {
        char url[64], text[8];
        wsock_server *server = listen_any(NULL, url);
        bytes in = { 0 };
        wsock *ws = NULL;
        wsock_status got;
        int fd = raw_connect(server);
        test_note("%s", bad ? "no frame" : "Close");
        bytes_text(&in, TEST_REQUEST);
        if (bad)
            bytes_text(&in, "\xFF\xFF\xFF\xFF\xFF\xFF");
        else
            frame_close(&in, 1, 4000, "hello, goodbye");
        raw_send(fd, in.data, in.size);
        shutdown(fd, SHUT_WR);
        CHECK_RESULT(wsock_accept(server, &ws, 60000), WSOCK_OK);
        wsock_server_free(server);
        if (bad) {
            CHECK_RESULT(wsock_receive(ws, text, sizeof text, &got),
                         WSOCK_PROTOCOL_ERROR);
            CHECK_RESULT(wsock_why(ws)->code, WSOCK_PROTOCOL_ERROR);
            CHECK_INT(wsock_why(ws)->close_sent, 1002);
        } else {
            CHECK_RESULT(wsock_receive(ws, text, sizeof text, &got),
                         WSOCK_OK);
            CHECK_INT(got.kind, WSOCK_CLOSE);
            CHECK_RESULT(wsock_close(ws, 1000, ""), WSOCK_OK);
            CHECK_RESULT(wsock_error(ws), WSOCK_OK);
            CHECK_INT(wsock_why(ws)->close_sent, 4000);
            CHECK_INT(wsock_why(ws)->close_received, 4000);
            CHECK_STR(wsock_why(ws)->close_reason, "hello, goodbye");
        }
        wsock_free(ws);
        close(fd);
        bytes_free(&in);
    }
}

/* ------------------------------------------------------------ many sends -- */

/* More connections with something to send than a poll without waiting looks
 * at (twice 256): it flushes them all the same.  As many as the system lets
 * this program have. */
TEST(sends_of_many_connections_leave)
{
    enum { COUNT = 600 };
    static wsock *conns[COUNT];
    static int fds[COUNT];
    struct rlimit before, limit;
    char url[64];
    wsock_server *server = listen_any(NULL, url);
    wsock_event e;
    bytes in = { 0 };
    int i, count = COUNT, opens = 0, left = 0, corked = 0;
    getrlimit(RLIMIT_NOFILE, &before);
    limit = before;
    if (limit.rlim_cur < 2 * COUNT + 50)
        limit.rlim_cur = 2 * COUNT + 50;
    if (setrlimit(RLIMIT_NOFILE, &limit))
        count = ((int)before.rlim_cur - 50) / 2;
    for (i = 0; i < count; i++) {
        fds[i] = raw_connect(server);
        raw_send(fds[i], TEST_REQUEST, strlen(TEST_REQUEST));
        while (opens <= i) {
            deadline(0);
            if (wsock_server_poll(server, &e, 10) > 0
                && CHECK_INT(e.type, WSOCK_EVENT_OPEN))
                conns[opens++] = e.ws;
        }
    }
    while (wsock_server_poll(server, &e, 0) > 0)
        ;
    raw_send(fds[0], "\x81\x80\0\0\0\0", 6);
    while (wsock_server_poll(server, &e, 10) <= 0)
        deadline(0);
    CHECK_INT(e.type, WSOCK_EVENT_MESSAGE);
    for (i = 0; i < count; i++) {
        CHECK_RESULT(wsock_send(conns[i], WSOCK_TEXT, "tick", 4), WSOCK_OK);
        corked += wsock_queued(conns[i]) > 0;
    }
    CHECK_INT(corked, count); /* gathered, as long as the event is there */
    CHECK_INT(wsock_server_poll(server, &e, 0), 0);
    for (i = 0; i < count; i++)
        left += wsock_queued(conns[i]) > 0;
    CHECK_INT(left, 0);
    for (i = 0; i < count; i++) {
        bytes_clear(&in);
        raw_read(fds[i], &in);
        CHECK(in.size > 6 && !memcmp(in.data + in.size - 6, "\x81\x04tick",
                                     6));
        close(fds[i]);
    }
    wsock_server_free(server);
    setrlimit(RLIMIT_NOFILE, &before);
    bytes_free(&in);
}

/* --------------------------------------------------------- odd moments -- */

/* wsock_server_close() from within an event, even the first. */
TEST(server_close_inside_an_event)
{
    int when;
    for (when = 0; when < 2; when++) {
        wsock_options o = options_with(WSOCK_NONBLOCKING);
        char url[64];
        wsock_server *server = listen_any(NULL, url);
        wsock *client = wsock_connect(url, &o);
        wsock_event e;
        int r = 0, gone = 0, closes = 0, code = 0, said = 0;
        test_note("at %s", when ? "a message" : "OPEN");
        while (r >= 0 || !gone) {
            deadline(0);
            if (r >= 0 && (r = wsock_server_poll(server, &e, 0)) > 0) {
                if (!said && e.type == (when ? WSOCK_EVENT_MESSAGE
                                             : WSOCK_EVENT_OPEN)) {
                    CHECK_RESULT(wsock_server_close(server), WSOCK_OK);
                    said = 1;
                }
                closes += e.type == WSOCK_EVENT_CLOSE;
            }
            if (gone)
                continue;
            gone = wsock_poll(client, &e, 0) < 0;
            if (e.type == WSOCK_EVENT_OPEN)
                wsock_send(client, WSOCK_TEXT, "hello", 5);
            if (e.type == WSOCK_EVENT_CLOSE)
                code = e.code;
        }
        CHECK_RESULT(r, WSOCK_CLOSED);
        CHECK_INT(closes, 1);
        CHECK_INT(code, 1001);
        wsock_free(client);
        wsock_server_free(server);
    }
}

/* A client that is paused while it connects opens all the same; messages
 * wait. */
TEST(paused_while_connecting)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    char url[64];
    wsock_server *server = listen_any(NULL, url);
    wsock *client = wsock_connect(url, &o);
    wsock_event e;
    bytes log = { 0 };
    int sent = 0, i;
    CHECK_RESULT(wsock_pause(client, 1), WSOCK_OK);
    while (!sent || wsock_state(client) != WSOCK_STATE_OPEN) {
        deadline(0);
        if (wsock_server_poll(server, &e, 0) > 0
            && e.type == WSOCK_EVENT_OPEN) {
            wsock_send(e.ws, WSOCK_TEXT, "early", 5);
            sent = 1;
        }
        if (wsock_poll(client, &e, 0) > 0)
            log_event(&log, &e);
    }
    for (i = 0; i < 10; i++) {
        wsock_server_poll(server, &e, 0);
        if (wsock_poll(client, &e, 1) > 0)
            log_event(&log, &e);
    }
    CHECK_STR(bytes_str(&log), "OPEN\n");
    CHECK_RESULT(wsock_pause(client, 0), WSOCK_OK);
    while (!bytes_find(&log, "early")) {
        deadline(0);
        if (wsock_poll(client, &e, 10) > 0)
            log_event(&log, &e);
    }
    CHECK_STR(bytes_str(&log), "OPEN\nTEXT \"early\"\n");
    wsock_free(client);
    wsock_server_free(server);
    bytes_free(&log);
}

/* ----------------------------------------------------------------- after -- */

static int descriptors_before;

TEST(count_descriptors)
{
    descriptors_before = test_descriptors();
    CHECK(descriptors_before > 0);
}

/* The last of the table: everything above gave its descriptors back. */
TEST(descriptors_are_back)
{
    if (!descriptors_before) {
        test_skip("run alone");
        return;
    }
    CHECK_INT(test_descriptors(), descriptors_before);
}

static const test_case tests[] = {
    TEST_ENTRY(a_closed_listener_that_is_held_elsewhere),
    TEST_ENTRY(count_descriptors),
    TEST_ENTRY(many_polled_clients),
    TEST_ENTRY(backpressure_loses_nothing),
    TEST_ENTRY(pause_holds_one_connection),
    TEST_ENTRY(wake_from_a_thread_and_a_signal_handler),
    TEST_ENTRY(freed_inside_the_loop),
    TEST_ENTRY(server_freed_with_connections),
    TEST_ENTRY(server_close_says_1001),
    TEST_ENTRY(accept_and_blocking_client),
    TEST_ENTRY(accept_without_waiting),
    TEST_ENTRY(accepted_and_polled),
    TEST_ENTRY(silent_handshakes_time_out),
    TEST_ENTRY(peers_that_vanish),
    TEST_ENTRY(one_byte_at_a_time),
    TEST_ENTRY(refusals_arrive),
    TEST_ENTRY(refused_clients),
    TEST_ENTRY(nobody_listens),
    TEST_ENTRY(listening_fails),
    TEST_ENTRY(max_connections),
    TEST_ENTRY(sends_after_the_last_poll_leave),
    TEST_ENTRY(over_ipv6),
    TEST_ENTRY(by_name),
    TEST_ENTRY(held_and_reset),
    TEST_ENTRY(paused_and_reset),
    TEST_ENTRY(put_aside_at_the_end_of_the_stream),
    TEST_ENTRY(no_memory_to_wait_with),
    TEST_ENTRY(accounts_of_connections),
    TEST_ENTRY(accepted_at_the_end),
    TEST_ENTRY(sends_of_many_connections_leave),
    TEST_ENTRY(server_close_inside_an_event),
    TEST_ENTRY(paused_while_connecting),
    TEST_ENTRY(descriptors_are_back)
};

TEST_MAIN("loop", tests)
