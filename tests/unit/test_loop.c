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

static int descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;
    if (!dir)
        return -1;
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
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

static wsock_options polled_options(void)
{
    wsock_options o;
    memset(&o, 0, sizeof o);
    o.flags = WSOCK_NONBLOCKING;
    return o;
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
    wsock_options o = polled_options();
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
    wsock_options o = polled_options(), so = polled_options();
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
    wsock_options o = polled_options();
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
    wsock_options o = polled_options();
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
    wsock_options o = polled_options();
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
    wsock_options o = polled_options();
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
    wsock_options o = polled_options();
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
    wsock_options so, o = polled_options();
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
    wsock_options o = polled_options();
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
    wsock_options o = polled_options(), so;
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
    wsock_options o = polled_options();
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
    wsock_options o = polled_options();
    wsock_server *server = wsock_listen("ws://[::1]:0/", NULL);
    char url[64], peer[64];
    wsock *ws;
    wsock_event e;
    if (wsock_server_error(server) != WSOCK_OK) {
        struct sockaddr_in6 a;
        int fd = socket(AF_INET6, SOCK_STREAM, 0);
        memset(&a, 0, sizeof a);
        a.sin6_family = AF_INET6;
        a.sin6_addr.s6_addr[15] = 1;
        /* Only when the system itself cannot either. */
        CHECK(fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) != 0);
        if (fd >= 0)
            close(fd);
        wsock_server_free(server);
        return;
    }
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

/* ----------------------------------------------------------------- after -- */

static int descriptors_before;

TEST(count_descriptors)
{
    descriptors_before = descriptors();
    CHECK(descriptors_before != 0);
}

/* The last of the table: everything above gave its descriptors back. */
TEST(descriptors_are_back)
{
    CHECK_INT(descriptors(), descriptors_before);
}

static const test_case tests[] = {
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
    TEST_ENTRY(descriptors_are_back)
};

TEST_MAIN("loop", tests)
