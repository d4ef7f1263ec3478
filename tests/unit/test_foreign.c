/* Foreign loops: connections and servers that are driven by nothing but a
 * bare poll() over wsock_watches() with the time of wsock_timeout(), as the
 * manual says: when either comes, poll with time 0 until it returns 0, then
 * ask again.  A descriptor that is not listed, or a time that is too long,
 * ends in the guard; one that is listed without need, or a time that is too
 * short, in too many turns. */
#include "lookup.h"
#define WSOCK_IMPLEMENTATION
#include "../../wsock.h"
#include "test.h"
#include "net.h"
#include <sys/resource.h>

/* ------------------------------------------------------------------ loop -- */

typedef struct thing thing;
struct thing {
    wsock *ws;            /* one of them is set */
    wsock_server *server;
    int ended;            /* poll has returned less than 0 */
    int opens, messages, drains, closes, requests, code, why;
    wsock *last;          /* whose event it was */
    bytes log;
    void (*on)(thing *t, const wsock_event *e);
    size_t first, count;  /* its watches in the list of this turn */
    int timeout;
    long woken;           /* turns */
};

static void thing_event(thing *t, const wsock_event *e)
{
    t->opens += e->type == WSOCK_EVENT_OPEN;
    t->messages += e->type == WSOCK_EVENT_MESSAGE;
    t->drains += e->type == WSOCK_EVENT_DRAIN;
    t->closes += e->type == WSOCK_EVENT_CLOSE;
    t->requests += e->type == WSOCK_EVENT_REQUEST;
    t->last = e->ws;
    if (e->type == WSOCK_EVENT_CLOSE) {
        t->code = e->code;
        t->why = e->why->code;
    }
    if (e->type == WSOCK_EVENT_MESSAGE && e->size <= 80)
        log_event(&t->log, e);
    if (t->on)
        t->on(t, e);
}

/* "Poll with time 0 until it returns 0." */
static void thing_poll(thing *t)
{
    wsock_event e;
    int r;
    while ((r = t->server ? wsock_server_poll(t->server, &e, 0)
                          : wsock_poll(t->ws, &e, 0)) > 0)
        thing_event(t, &e);
    if (r < 0)
        t->ended = 1;
    t->woken++;
}

enum { WATCHES = 512 };

/* Lists what to wait for.  Returns how many. */
static size_t thing_watches(thing *t, struct pollfd *list)
{
    wsock_watch watches[WATCHES];
    size_t i, n = t->server ? wsock_server_watches(t->server, NULL, 0)
                            : wsock_watches(t->ws, NULL, 0);
    if (!CHECK(n <= WATCHES))
        test_die("more watches than this test has room for");
    memset(watches, 0xEE, sizeof watches);
    CHECK_INT(t->server ? wsock_server_watches(t->server, watches, n)
                        : wsock_watches(t->ws, watches, n), n);
    for (i = 0; i < n; i++) {
        CHECK(watches[i].fd >= 0);
        CHECK(watches[i].wants >= 0 && watches[i].wants <= 3);
        list[i].fd = (int)watches[i].fd;
        list[i].events = (short)((watches[i].wants & 1 ? POLLIN : 0)
                                 | (watches[i].wants & 2 ? POLLOUT : 0));
        list[i].revents = 0;
    }
    return n;
}

/* One wait for all of them, and work for those that it was for: none is
 * polled because another was ready. */
static void turn(thing *things, int n)
{
    static struct pollfd list[4 * WATCHES];
    size_t count = 0, k;
    int i, ready, timeout = -1;
    for (i = 0; i < n; i++) {
        thing *t = &things[i];
        t->count = 0;
        t->timeout = -1;
        if (t->ended || (!t->ws && !t->server))
            continue;
        t->first = count;
        t->count = thing_watches(t, list + count);
        count += t->count;
        t->timeout = t->server ? wsock_server_timeout(t->server)
                               : wsock_timeout(t->ws);
        CHECK(t->timeout >= -1);
        if (t->timeout >= 0 && (timeout < 0 || t->timeout < timeout))
            timeout = t->timeout;
    }
    ready = poll(list, (nfds_t)count, timeout);
    for (i = 0; i < n; i++) {
        thing *t = &things[i];
        int mine = 0;
        if (t->ended || (!t->ws && !t->server))
            continue;
        for (k = 0; k < t->count; k++)
            mine |= list[t->first + k].revents != 0;
        if (mine || t->timeout == 0
            || (ready == 0 && t->timeout >= 0 && t->timeout == timeout))
            thing_poll(t);
    }
}

/* Would a wait end at once?  Then something is listed that should not be, or
 * there is work. */
static int is_ready(thing *t)
{
    struct pollfd list[WATCHES];
    size_t n = thing_watches(t, list);
    int timeout = t->server ? wsock_server_timeout(t->server)
                            : wsock_timeout(t->ws);
    return timeout == 0 || poll(list, (nfds_t)n, 0) > 0;
}

/* The loop is stopped by this: it turns until a condition holds. */
#define UNTIL(condition, things, n)                                           \
    do {                                                                      \
        long turns_left = 200000;                                             \
        while (!(condition) && --turns_left)                                  \
            turn((things), (n));                                              \
        if (!CHECK(turns_left > 0))                                           \
            test_die("the loop turns without end");                           \
    } while (0)

static void thing_init(thing *t, wsock *ws, wsock_server *server)
{
    memset(t, 0, sizeof *t);
    t->ws = ws;
    t->server = server;
}

/* Frees it, too. */
static void thing_free(thing *t)
{
    wsock_free(t->ws);
    wsock_server_free(t->server);
    bytes_free(&t->log);
}

static wsock_server *listen_any(const wsock_options *o, char url[64])
{
    wsock_options plain = untimed(0);
    wsock_server *server = wsock_listen("ws://127.0.0.1:0/", o ? o : &plain);
    guard();
    if (!CHECK_RESULT(wsock_server_error(server), WSOCK_OK))
        test_die("a server is needed");
    snprintf(url, 64, "ws://127.0.0.1:%d/", wsock_server_port(server));
    return server;
}

static wsock *connect_polled(const char *url)
{
    wsock_options o = untimed(WSOCK_NONBLOCKING);
    return wsock_connect(url, &o);
}

static void echo_event(thing *t, const wsock_event *e)
{
    (void)t;
    if (e->type == WSOCK_EVENT_MESSAGE)
        CHECK_RESULT(wsock_send(e->ws, e->kind, e->data, e->size), WSOCK_OK);
}

/* A blocking echo in a thread of its own: one connection, to its end. */
static void *echo_thread(void *user)
{
    wsock_server *server = (wsock_server *)user;
    uint8_t *text = (uint8_t *)malloc(100000);
    wsock_status got;
    wsock *ws = NULL;
    if (wsock_accept(server, &ws, WSOCK_NEVER) != WSOCK_OK)
        test_die("nobody comes");
    while (wsock_receive(ws, text, 100000, &got) == WSOCK_OK
           && got.kind != WSOCK_CLOSE)
        wsock_send(ws, got.kind, text, got.bytes);
    wsock_close(ws, 1000, "");
    wsock_free(ws);
    free(text);
    return NULL;
}

static const size_t sizes[] = { 0, 1, 126, 65536, 100000, 1048576 };
enum { SIZES = sizeof sizes / sizeof sizes[0] };
static uint8_t *data;

/* A client that sends one size after the other, and then closes. */
static void sizes_event(thing *t, const wsock_event *e)
{
    if (e->type == WSOCK_EVENT_MESSAGE)
        CHECK_BYTES(e->data, e->size, data, sizes[t->messages - 1]);
    if (e->type != WSOCK_EVENT_OPEN && e->type != WSOCK_EVENT_MESSAGE)
        return;
    if (t->messages < SIZES)
        CHECK_RESULT(wsock_send(e->ws, WSOCK_BINARY, data,
                                sizes[t->messages]), WSOCK_OK);
    else
        CHECK_RESULT(wsock_close(e->ws, 1000, "bye"), WSOCK_OK);
}

/* ----------------------------------------------------------- connections -- */

/* A client whose server is elsewhere, at this host: nothing but its own
 * watches moves it. */
static void check_connection(const char *host)
{
    char url[64];
    wsock_server *server = listen_any(NULL, url);
    pthread_t thread;
    thing t;
    data = test_pattern(1048576);
    CHECK_INT(pthread_create(&thread, NULL, echo_thread, server), 0);
    snprintf(url, sizeof url, "ws://%s:%d/", host, wsock_server_port(server));
    thing_init(&t, connect_polled(url), NULL);
    t.on = sizes_event;
    UNTIL(t.ended, &t, 1);
    pthread_join(thread, NULL);
    CHECK_INT(t.opens, 1);
    CHECK_INT(t.messages, SIZES);
    CHECK_INT(t.closes, 1);
    CHECK_INT(t.code, 1000);
    CHECK_RESULT(t.why, WSOCK_OK);
    thing_free(&t);
    wsock_server_free(server);
    free(data);
}

TEST(a_connection)
{
    check_connection("127.0.0.1");
}

/* What is open and has nothing to do is not ready, and not timed. */
TEST(nothing_to_do)
{
    char url[64];
    thing t[2];
    int i;
    thing_init(&t[1], NULL, listen_any(NULL, url));
    thing_init(&t[0], connect_polled(url), NULL);
    UNTIL(t[0].opens && t[1].opens, t, 2);
    for (i = 0; i < 2; i++) {
        thing_poll(&t[i]);
        test_note(i ? "server" : "client");
        CHECK_INT(is_ready(&t[i]), 0);
        CHECK_INT(i ? wsock_server_timeout(t[i].server)
                    : wsock_timeout(t[i].ws), WSOCK_NEVER);
    }
    thing_free(&t[0]);
    UNTIL(t[1].closes, &t[1], 1);
    thing_poll(&t[1]);
    CHECK_INT(is_ready(&t[1]), 0);
    thing_free(&t[1]);
}

static void *client_thread(void *user)
{
    wsock *ws = wsock_connect((const char *)user, NULL);
    uint8_t *got = (uint8_t *)malloc(1048576);
    wsock_status status;
    size_t i, wrong = 0;
    for (i = 0; i < SIZES; i++) {
        wrong += wsock_send(ws, WSOCK_BINARY, data, sizes[i]) != WSOCK_OK;
        wrong += wsock_receive(ws, got, 1048576, &status) != WSOCK_OK
                 || status.bytes != sizes[i]
                 || memcmp(got, data, sizes[i]) != 0;
    }
    wrong += wsock_close(ws, 1000, "bye") != WSOCK_OK;
    wsock_free(ws);
    free(got);
    return wrong ? user : NULL;
}

/* A server whose clients are elsewhere. */
TEST(a_server)
{
    pthread_t threads[3];
    char url[64];
    void *wrong;
    thing t;
    int i;
    data = test_pattern(1048576);
    thing_init(&t, NULL, listen_any(NULL, url));
    t.on = echo_event;
    for (i = 0; i < 3; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, client_thread, url), 0);
    UNTIL(t.closes == 3, &t, 1);
    for (i = 0; i < 3; i++) {
        pthread_join(threads[i], &wrong);
        CHECK(wrong == NULL);
    }
    CHECK_INT(t.opens, 3);
    CHECK_INT(t.messages, 3 * SIZES);
    thing_free(&t);
    free(data);
}

/* Both in one loop, and several of them; to the end of the server. */
TEST(clients_and_their_server_in_one_loop)
{
    char url[64];
    thing t[6];
    int i;
    data = test_pattern(1048576);
    thing_init(&t[5], NULL, listen_any(NULL, url));
    t[5].on = echo_event;
    for (i = 0; i < 5; i++) {
        thing_init(&t[i], connect_polled(url), NULL);
        t[i].on = sizes_event;
    }
    UNTIL(t[0].ended && t[1].ended && t[2].ended && t[3].ended && t[4].ended,
          t, 6);
    UNTIL(t[5].closes == 5, t, 6);
    for (i = 0; i < 5; i++) {
        CHECK_INT(t[i].messages, SIZES);
        CHECK_RESULT(t[i].why, WSOCK_OK);
        thing_free(&t[i]);
    }
    CHECK_RESULT(wsock_server_close(t[5].server), WSOCK_OK);
    UNTIL(t[5].ended, &t[5], 1);
    CHECK_INT(t[5].messages, 5 * SIZES);
    thing_free(&t[5]);
    free(data);
}

/* Sends outside of events and polls: asked anew, the watches see to them. */
TEST(sends_from_outside)
{
    uint8_t *big = test_pattern(300000);
    char url[64];
    thing t[2];
    int i;
    thing_init(&t[1], NULL, listen_any(NULL, url));
    thing_init(&t[0], connect_polled(url), NULL);
    UNTIL(t[0].opens && t[1].opens, t, 2);
    for (i = 0; i < 30; i++) { /* far more than the sockets take */
        int r = wsock_send(t[0].ws, WSOCK_BINARY, big, 300000);
        CHECK(r == WSOCK_OK || r == WSOCK_WOULD_BLOCK);
        if (r != WSOCK_OK)
            break;
    }
    CHECK(i > 3);
    UNTIL(t[1].messages == i, t, 2);
    if (i < 30)
        UNTIL(t[0].drains == 1, t, 2);
    CHECK_INT(wsock_queued(t[0].ws), 0);
    /* And closes. */
    CHECK_RESULT(wsock_close(t[1].last, 1000, "bye"), WSOCK_OK);
    UNTIL(t[0].ended && t[1].closes, t, 2);
    CHECK_RESULT(t[0].why, WSOCK_OK);
    CHECK_RESULT(t[1].why, WSOCK_OK);
    thing_free(&t[0]);
    thing_free(&t[1]);
    free(big);
}

/* The socket of a connection, out of its watches. */
static int socket_of(const wsock *ws)
{
    wsock_watch list[8];
    size_t i, n = wsock_watches(ws, list, 8);
    for (i = 0; i < n && i < 8; i++)
        if (net_peer_port((int)list[i].fd) > 0)
            return (int)list[i].fd;
    test_die("an open connection without a socket");
    return -1;
}

/* A paused connection is not listed for what it does not read, or the loop
 * would turn and turn; when it goes on, what has come is work. */
TEST(pauses)
{
    char url[64];
    thing t[2];
    wsock *peer;
    int i, fd[2];
    thing_init(&t[1], NULL, listen_any(NULL, url));
    thing_init(&t[0], connect_polled(url), NULL);
    UNTIL(t[0].opens && t[1].opens, t, 2);
    peer = t[1].last;
    fd[0] = socket_of(t[0].ws);
    fd[1] = raw_other_end(fd[0]);
    for (i = 0; i < 2; i++) {
        wsock *held = i ? peer : t[0].ws;
        wsock *other = i ? t[0].ws : peer;
        test_note("side %d", i);
        CHECK_RESULT(wsock_pause(held, 1), WSOCK_OK);
        CHECK_RESULT(wsock_send(other, WSOCK_TEXT, "one", 3), WSOCK_OK);
        CHECK_RESULT(wsock_send(other, WSOCK_TEXT, "two", 3), WSOCK_OK);
        CHECK_RESULT(wsock_flush(other), WSOCK_OK);
        raw_wait(fd[i]);
        thing_poll(&t[i]);
        CHECK_INT(t[i].messages, 0);
        CHECK_INT(is_ready(&t[i]), 0);
        CHECK_RESULT(wsock_pause(held, 0), WSOCK_OK);
        UNTIL(t[i].messages == 2, &t[i], 1);
        CHECK_STR(bytes_str(&t[i].log), "TEXT \"one\"\nTEXT \"two\"\n");
        thing_poll(&t[i]);
        CHECK_INT(is_ready(&t[i]), 0);
    }
    thing_free(&t[0]);
    thing_free(&t[1]);
}

/* Paused inside an event, with messages in the window: they are work when
 * it goes on, though no descriptor shows them. */
static void pausing_event(thing *t, const wsock_event *e)
{
    if (e->type == WSOCK_EVENT_MESSAGE && t->messages == 1)
        wsock_pause(e->ws, 1);
}

TEST(pauses_inside_an_event)
{
    char url[64];
    thing t[2];
    int i, side;
    for (side = 0; side < 2; side++) {
        wsock *held, *other;
        test_note("side %d", side);
        thing_init(&t[1], NULL, listen_any(NULL, url));
        thing_init(&t[0], connect_polled(url), NULL);
        UNTIL(t[0].opens && t[1].opens, t, 2);
        held = side ? t[1].last : t[0].ws;
        other = side ? t[0].ws : t[1].last;
        t[side].on = pausing_event;
        for (i = 0; i < 10; i++)
            wsock_send(other, WSOCK_TEXT, "m", 1);
        wsock_flush(other);
        UNTIL(t[side].messages == 1, &t[side], 1);
        CHECK_INT(is_ready(&t[side]), 0);
        CHECK_RESULT(wsock_pause(held, 0), WSOCK_OK);
        UNTIL(t[side].messages == 10, &t[side], 1);
        thing_free(&t[0]);
        thing_free(&t[1]);
    }
}

/* poll_messages and poll_bytes: a poll that returns 0 with work left says so
 * by a time-out of 0. */
TEST(polls_with_a_limit)
{
    wsock_options o = untimed(WSOCK_NONBLOCKING);
    int bound, side, i;
    for (bound = 0; bound < 2; bound++)
        for (side = 0; side < 2; side++) {
            char url[64];
            thing t[2];
            wsock *other;
            test_note("bound %d, side %d", bound, side);
            o.poll_messages = bound ? 0 : 7;
            o.poll_bytes = bound ? 1000 : 0;
            o.receive_buffer = 1024; /* of 11 or 15 bytes each */
            thing_init(&t[1], NULL, listen_any(&o, url));
            thing_init(&t[0], wsock_connect(url, &o), NULL);
            UNTIL(t[0].opens && t[1].opens, t, 2);
            other = side ? t[0].ws : t[1].last;
            for (i = 0; i < 1000; i++)
                CHECK_RESULT(wsock_send(other, WSOCK_TEXT, "a message", 9),
                             WSOCK_OK);
            wsock_flush(other);
            t[side].woken = 0;
            UNTIL(t[side].messages == 1000, &t[side], 1);
            CHECK(t[side].woken >= (bound ? 11000 / 1024 : 1000 / 7));
            thing_free(&t[0]);
            thing_free(&t[1]);
        }
}

/* --------------------------------------------------------------- look-up -- */

/* "localhost", with a server on 127.0.0.1 only. */
TEST(by_the_name_localhost)
{
    check_connection("localhost");
}

static void *release_thread(void *user)
{
    lookup_wait_begun(1);
    lookup_release();
    return user;
}

/* A name that another thread looks up, and that comes while we wait; its
 * first address is refused, or dead, or alive; the second is alive.  The dead
 * one is given up for nothing but the time that wsock_timeout() says. */
TEST(by_a_name_with_two_addresses)
{
    static const char *const six[] = { "::1", "127.0.0.2" };
    int how, held;
    for (how = 0; how < 3; how++)
        for (held = 0; held < 2; held++) {
            int threads = net_threads(), port;
            wsock_server *server;
            pthread_t echo, release;
            const char *first = six[0];
            black_hole hole;
            char url[64];
            thing t;
            test_note("way %d, held %d", how, held);
            server = listen_any(NULL, url);
            port = wsock_server_port(server);
            memset(&hole, 0xFF, sizeof hole); /* nothing to be closed */
            if (how == 1 && !black_hole_open(&hole, first, port)
                && !black_hole_open(&hole, first = six[1], port))
                test_die("no address to be silent at");
            if (how == 2)
                first = "127.0.0.1";
            lookup_set(first, "127.0.0.1", held);
            snprintf(url, sizeof url, "ws://two.test:%d/", port);
            data = test_pattern(1048576);
            CHECK_INT(pthread_create(&echo, NULL, echo_thread, server), 0);
            if (held)
                CHECK_INT(pthread_create(&release, NULL, release_thread,
                                         NULL), 0);
            thing_init(&t, connect_polled(url), NULL);
            t.on = sizes_event;
            UNTIL(t.ended, &t, 1);
            CHECK_INT(t.messages, SIZES);
            CHECK_RESULT(t.why, WSOCK_OK);
            CHECK_INT(lookup_count(&test_lookup.elsewhere), 1);
            pthread_join(echo, NULL);
            if (held)
                pthread_join(release, NULL);
            thing_free(&t);
            wsock_server_free(server);
            if (how == 1)
                black_hole_close(&hole);
            lookup_wait_idle();
            net_wait_threads(threads);
            free(data);
        }
}

/* No address, and no address that answers. */
TEST(by_a_name_that_leads_nowhere)
{
    int how, threads = net_threads();
    for (how = 0; how < 2; how++) {
        int fd = raw_listen("127.0.0.1", 0, 8), port = net_port(fd);
        char url[64];
        thing t;
        guard();
        close(fd); /* a port where nobody listens */
        test_note("way %d", how);
        lookup_set(how ? "127.0.0.1" : "", how ? "::1" : "", 0);
        snprintf(url, sizeof url, "ws://nowhere.test:%d/", port);
        thing_init(&t, connect_polled(url), NULL);
        UNTIL(t.ended, &t, 1);
        CHECK_INT(t.opens, 0);
        CHECK_INT(t.closes, 1);
        CHECK_RESULT(t.why, how ? WSOCK_CONNECT_FAILED
                                : WSOCK_LOOKUP_FAILED);
        thing_free(&t);
        lookup_wait_idle();
        net_wait_threads(threads);
    }
}

/* ------------------------------------------------------------------ wake -- */

static thing *wake_thing;

static void wake_now(int number)
{
    (void)number;
    if (wake_thing->server)
        wsock_server_wake(wake_thing->server);
    else
        wsock_wake(wake_thing->ws);
}

static void *wake_thread(void *user)
{
    wake_now(0);
    return user;
}

static pthread_t main_thread;

static void *signal_thread(void *user)
{
    pthread_kill(main_thread, SIGUSR1);
    return user;
}

/* A wake ends the bare wait, whether it comes before or in it, from a thread
 * or a signal handler; the poll that follows returns 0, and then there is
 * nothing left of it. */
TEST(wakes)
{
    struct sigaction action, before;
    char url[64];
    thing t[2];
    int i, side;
    thing_init(&t[1], NULL, listen_any(NULL, url));
    thing_init(&t[0], connect_polled(url), NULL);
    UNTIL(t[0].opens && t[1].opens, t, 2);
    main_thread = pthread_self();
    memset(&action, 0, sizeof action);
    action.sa_handler = wake_now;
    sigaction(SIGUSR1, &action, &before);
    for (side = 0; side < 2; side++) {
        wake_thing = &t[side];
        thing_poll(&t[side]);
        for (i = 0; i < 40; i++) {
            long woken = t[side].woken;
            pthread_t thread;
            test_note("side %d, wake %d", side, i);
            if (i % 3 == 0)
                wake_now(0);
            else if (i % 3 == 1)
                CHECK_INT(pthread_create(&thread, NULL, wake_thread, NULL),
                          0);
            else
                CHECK_INT(pthread_create(&thread, NULL, signal_thread, NULL),
                          0);
            UNTIL(t[side].woken > woken, &t[side], 1);
            if (i % 3)
                pthread_join(thread, NULL);
            CHECK_INT(is_ready(&t[side]), 0);
        }
        CHECK_INT(t[side].messages + t[side].closes, 0);
        /* Many are one. */
        for (i = 0; i < 100; i++)
            wake_now(0);
        CHECK_INT(is_ready(&t[side]), 1);
        thing_poll(&t[side]);
        CHECK_INT(is_ready(&t[side]), 0);
    }
    sigaction(SIGUSR1, &before, NULL);
    thing_free(&t[0]);
    thing_free(&t[1]);
}

/* While a name is looked up, too. */
TEST(wakes_while_connecting)
{
    int threads = net_threads();
    pthread_t thread;
    thing t;
    guard();
    lookup_set("127.0.0.1", "", 1);
    thing_init(&t, connect_polled("ws://slow.test/"), NULL);
    turn(&t, 1); /* it has begun */
    thing_poll(&t);
    lookup_wait_begun(1);
    wake_thing = &t;
    t.woken = 0;
    CHECK_INT(is_ready(&t), 0);
    CHECK_INT(pthread_create(&thread, NULL, wake_thread, NULL), 0);
    UNTIL(t.woken == 1, &t, 1);
    pthread_join(thread, NULL);
    CHECK_INT(wsock_state(t.ws), WSOCK_STATE_CONNECTING);
    thing_free(&t);
    lookup_release();
    lookup_wait_idle();
    net_wait_threads(threads);
}

/* ------------------------------------------------------------- time-outs -- */

/* One time-out at a time is set, and everything else is silent: the loop
 * learns of it from wsock_timeout() or not at all. */
enum { NO_LOOKUP, NO_CONNECTION, NO_ANSWER, NO_PONG, NO_PROGRESS, NO_CLOSE,
       TIMEOUTS };
static const char *const timeout_names[] = {
    "lookup", "connect", "handshake", "keepalive and pong", "stall", "close"
};

TEST(time_outs_of_a_connection)
{
    uint8_t *big = test_pattern(500000);
    int which, threads = net_threads();
    for (which = 0; which < TIMEOUTS; which++) {
        wsock_options o = untimed(WSOCK_NONBLOCKING);
        int fd = raw_listen("127.0.0.1", 0, 8), peer = -1;
        bytes in = { 0 }, out = { 0 };
        black_hole hole;
        char url[64];
        thing t;
        guard();
        test_note("%s", timeout_names[which]);
        if (which == NO_LOOKUP)
            o.lookup_timeout = 50;
        else if (which == NO_CONNECTION)
            o.connect_timeout = 50;
        else if (which == NO_ANSWER)
            o.handshake_timeout = 50;
        else if (which == NO_PONG)
            o.keepalive_interval = o.pong_timeout = 50;
        else if (which == NO_PROGRESS)
            o.stall_timeout = 50;
        else
            o.close_timeout = 50;
        snprintf(url, sizeof url, "ws://127.0.0.1:%d/", net_port(fd));
        lookup_set("127.0.0.1", "", 1);
        if (which == NO_LOOKUP)
            snprintf(url, sizeof url, "ws://slow.test:%d/", net_port(fd));
        if (which == NO_CONNECTION) {
            if (!black_hole_open(&hole, "127.0.0.1", 0))
                test_die("no address to be silent at");
            snprintf(url, sizeof url, "ws://127.0.0.1:%d/",
                     net_port(hole.fd[0]));
        }
        thing_init(&t, wsock_connect(url, &o), NULL);
        if (which > NO_ANSWER) { /* open, and then silent */
            raw_nonblocking(fd);
            while (peer < 0) {
                turn(&t, 1);
                peer = accept(fd, NULL, NULL);
            }
            while (!raw_head(&in)) {
                if (is_ready(&t))
                    turn(&t, 1);
                raw_read(peer, &in);
            }
            put_response(&out, bytes_str(&in), "");
            raw_bytes(peer, &out);
            UNTIL(t.opens, &t, 1);
        }
        if (which == NO_PROGRESS)
            while (wsock_queued(t.ws) < 500000)
                CHECK_RESULT(wsock_send(t.ws, WSOCK_BINARY, big, 500000),
                             WSOCK_OK);
        if (which == NO_CLOSE)
            CHECK_RESULT(wsock_close(t.ws, 1000, ""), WSOCK_OK);
        UNTIL(t.ended, &t, 1);
        CHECK_INT(t.closes, 1);
        CHECK_RESULT(t.why, WSOCK_TIMED_OUT);
        CHECK(t.woken < 1000); /* it did not turn and turn until then */
        thing_free(&t);
        if (which == NO_CONNECTION)
            black_hole_close(&hole);
        lookup_release();
        lookup_wait_idle();
        net_wait_threads(threads);
        if (peer >= 0)
            close(peer);
        close(fd);
        bytes_free(&in);
        bytes_free(&out);
    }
    free(big);
}

/* The same for a server: a silent handshake gets its 408, a peer without a
 * Pong its end, and one that does not go after the last Close its second. */
TEST(time_outs_of_a_server)
{
    int which;
    for (which = 0; which < 3; which++) {
        wsock_options o = untimed(0);
        int fd, ended = 0;
        bytes in = { 0 }, b = { 0 };
        char url[64];
        thing t;
        test_note("way %d", which);
        if (which == 0)
            o.handshake_timeout = 50;
        if (which == 1)
            o.keepalive_interval = o.pong_timeout = 50;
        thing_init(&t, NULL, listen_any(&o, url));
        fd = raw_connect(wsock_server_port(t.server), 0);
        if (which > 0) {
            raw_send(fd, TEST_REQUEST, strlen(TEST_REQUEST));
            UNTIL(t.opens, &t, 1);
        }
        if (which == 2) {
            frame_close(&b, 1, 1000, "");
            raw_bytes(fd, &b);
        }
        UNTIL(wsock_server_count(t.server) == 1, &t, 1);
        if (which == 0) {
            while (!ended) {
                turn(&t, 1); /* it is all that could happen */
                ended = raw_read(fd, &in);
            }
            CHECK(!strncmp(bytes_str(&in), "HTTP/1.1 408 ", 13));
        } else {
            UNTIL(t.closes, &t, 1);
            CHECK_RESULT(t.why, which == 1 ? WSOCK_TIMED_OUT : WSOCK_OK);
        }
        UNTIL(wsock_server_count(t.server) == 0, &t, 1);
        CHECK(t.woken < 1000);
        close(fd);
        thing_free(&t);
        bytes_free(&in);
        bytes_free(&b);
    }
}

/* -------------------------------------------------------------- the rest -- */

/* A server that also drives a client of ours: its watches are for both. */
TEST(added_connections)
{
    char url[64], other[64];
    wsock_server *server = listen_any(NULL, url);
    pthread_t thread;
    wsock *ws;
    thing t;
    data = test_pattern(1048576);
    CHECK_INT(pthread_create(&thread, NULL, echo_thread, server), 0);
    thing_init(&t, NULL, listen_any(NULL, other));
    t.on = sizes_event;
    ws = connect_polled(url);
    CHECK_RESULT(wsock_server_add(t.server, ws), WSOCK_OK);
    UNTIL(t.closes == 1, &t, 1);
    CHECK_INT(t.messages, SIZES);
    CHECK_RESULT(t.why, WSOCK_OK);
    CHECK(t.last == ws);
    pthread_join(thread, NULL);
    wsock_free(ws);
    thing_free(&t);
    wsock_server_free(server);
    free(data);
}

/* ...by a name, whose look-up is in another thread. */
TEST(added_connections_by_name)
{
    int threads = net_threads();
    char url[64], other[64];
    wsock_server *server = listen_any(NULL, url);
    pthread_t thread, release;
    wsock *ws;
    thing t;
    data = test_pattern(1048576);
    lookup_set("127.0.0.1", "", 1);
    CHECK_INT(pthread_create(&thread, NULL, echo_thread, server), 0);
    CHECK_INT(pthread_create(&release, NULL, release_thread, NULL), 0);
    thing_init(&t, NULL, listen_any(NULL, other));
    t.on = sizes_event;
    snprintf(url, sizeof url, "ws://there.test:%d/",
             wsock_server_port(server));
    ws = connect_polled(url);
    CHECK_RESULT(wsock_server_add(t.server, ws), WSOCK_OK);
    UNTIL(t.closes == 1, &t, 1);
    CHECK_INT(t.messages, SIZES);
    CHECK_RESULT(t.why, WSOCK_OK);
    pthread_join(thread, NULL);
    pthread_join(release, NULL);
    wsock_free(ws);
    thing_free(&t);
    wsock_server_free(server);
    lookup_wait_idle();
    net_wait_threads(threads);
    free(data);
}

/* Requests that are answered outside of any event. */
TEST(answers_from_outside)
{
    wsock_options o = untimed(WSOCK_REQUESTS);
    int how;
    for (how = 0; how < 2; how++) {
        bytes in = { 0 };
        char url[64];
        thing t;
        int fd, ended = 0;
        size_t size = 200000, want;
        test_note(how ? "upgrade" : "respond");
        thing_init(&t, NULL, listen_any(&o, url));
        fd = raw_connect(wsock_server_port(t.server), 0);
        raw_send(fd, TEST_REQUEST, strlen(TEST_REQUEST));
        UNTIL(t.requests, &t, 1);
        CHECK_INT(is_ready(&t), 0);
        if (how) {
            CHECK_RESULT(wsock_upgrade(t.last, NULL, NULL), WSOCK_OK);
            UNTIL(t.opens, &t, 1);
            while (!raw_head(&in)) {
                if (is_ready(&t))
                    turn(&t, 1);
                raw_read(fd, &in);
            }
        } else {
            uint8_t *page = test_pattern(size);
            CHECK_RESULT(wsock_respond(t.last, 200, NULL, page, size),
                         WSOCK_OK);
            while (!ended) {
                if (is_ready(&t))
                    turn(&t, 1);
                ended = raw_read(fd, &in);
            }
            CHECK_INT(ended, 1);
            want = raw_head(&in);
            CHECK_BYTES(in.data + want, in.size - want, page, size);
            free(page);
        }
        close(fd);
        UNTIL(wsock_server_count(t.server) == 0, &t, 1);
        thing_free(&t);
        bytes_free(&in);
    }
}

/* wsock_server_close() with connections that do not answer: it ends after
 * close_timeout and a second, by the loop alone. */
TEST(the_end_of_a_server)
{
    wsock_options o = untimed(0);
    char url[64];
    thing t;
    int fd;
    o.close_timeout = 50;
    thing_init(&t, NULL, listen_any(&o, url));
    fd = raw_connect(wsock_server_port(t.server), 0);
    raw_send(fd, TEST_REQUEST, strlen(TEST_REQUEST));
    UNTIL(t.opens, &t, 1);
    CHECK_RESULT(wsock_server_close(t.server), WSOCK_OK);
    UNTIL(t.ended, &t, 1);
    CHECK_INT(t.closes, 1);
    CHECK(t.woken < 1000);
    close(fd);
    thing_free(&t);
}

/* Nobody waits for a blocking handle, not even for one that has ended. */
TEST(a_blocking_handle_has_no_timeout)
{
    wsock *ws = wsock_new(WSOCK_CLIENT, "ws://127.0.0.1:1/", NULL);
    wsock_watch watch;
    guard();
    CHECK_INT(wsock_timeout(ws), WSOCK_NEVER);
    CHECK_RESULT(wsock_dial(ws), WSOCK_CONNECT_FAILED);
    CHECK_INT(wsock_timeout(ws), WSOCK_NEVER);
    CHECK_INT(wsock_watches(ws, &watch, 1), 0);
    wsock_free(ws);
    ws = wsock_new(WSOCK_CLIENT, "ws://127.0.0.1:1/", NULL);
    CHECK_RESULT(wsock_abort(ws), WSOCK_OK);
    CHECK_INT(wsock_timeout(ws), WSOCK_NEVER);
    wsock_free(ws);
}

/* The program has no descriptor left: a look-up cannot begin, nor can a
 * connection by address be woken; each is reported with that cause. */
TEST(no_descriptor_to_begin_with)
{
    static const char *const urls[] = { "ws://short.test/", "ws://127.0.0.1/" };
    struct rlimit before, now;
    int fd, i;
    if (!test_has_posix_descriptors())
        return;
    guard();
    fd = dup(0);
    close(fd);
    CHECK_INT(getrlimit(RLIMIT_NOFILE, &before), 0);
    for (i = 0; i < 4; i++) {
        wsock_options o = untimed(i & 1 ? 0 : WSOCK_NONBLOCKING);
        int by_name = i < 2;
        wsock *ws;
        test_note("%s, %s", urls[!by_name], i & 1 ? "blocking" : "polled");
        now = before;
        now.rlim_cur = (rlim_t)fd;
        lookup_set("127.0.0.1", "", 0);
        CHECK_INT(setrlimit(RLIMIT_NOFILE, &now), 0);
        ws = wsock_connect(urls[!by_name], &o);
        CHECK_INT(setrlimit(RLIMIT_NOFILE, &before), 0);
        CHECK_RESULT(wsock_error(ws),
                     by_name ? WSOCK_LOOKUP_FAILED : WSOCK_IO_ERROR);
        CHECK_INT(wsock_why(ws)->phase,
                  by_name ? WSOCK_PHASE_LOOKUP : WSOCK_PHASE_TCP);
        CHECK_INT(wsock_why(ws)->os_code, EMFILE);
        CHECK(strstr(wsock_error_text(ws), strerror(EMFILE)) != NULL);
        wsock_free(ws);
    }
}

/* "0: none (no transport, or one without fd: poll every so often)." */
TEST(nothing_to_watch)
{
    wsock_options o = untimed(WSOCK_NONBLOCKING);
    wsock *core = core_open(WSOCK_CLIENT, NULL), *ws;
    wsock_watch watch;
    wsock_event e;
    test_link link;
    CHECK_INT(wsock_watches(core, &watch, 1), 0);
    CHECK_INT(wsock_watches(NULL, &watch, 1), 0);
    CHECK_INT(wsock_server_watches(NULL, &watch, 1), 0);
    wsock_free(core);
    test_link_init(&link);
    ws = wsock_new(WSOCK_SERVER, NULL, &o);
    CHECK_INT(wsock_watches(ws, &watch, 1), 0);
    CHECK_RESULT(wsock_attach(ws, &link.io[0]), WSOCK_OK);
    CHECK_INT(wsock_poll(ws, &e, 0), 0);
    CHECK_INT(wsock_watches(ws, &watch, 1), 0);
    wsock_free(ws);
    test_link_free(&link);
}

static const test_case tests[] = {
    TEST_ENTRY(a_connection),
    TEST_ENTRY(nothing_to_do),
    TEST_ENTRY(a_server),
    TEST_ENTRY(clients_and_their_server_in_one_loop),
    TEST_ENTRY(sends_from_outside),
    TEST_ENTRY(pauses),
    TEST_ENTRY(pauses_inside_an_event),
    TEST_ENTRY(polls_with_a_limit),
    TEST_ENTRY(by_the_name_localhost),
    TEST_ENTRY(by_a_name_with_two_addresses),
    TEST_ENTRY(by_a_name_that_leads_nowhere),
    TEST_ENTRY(wakes),
    TEST_ENTRY(wakes_while_connecting),
    TEST_ENTRY(time_outs_of_a_connection),
    TEST_ENTRY(time_outs_of_a_server),
    TEST_ENTRY(added_connections),
    TEST_ENTRY(added_connections_by_name),
    TEST_ENTRY(answers_from_outside),
    TEST_ENTRY(the_end_of_a_server),
    TEST_ENTRY(a_blocking_handle_has_no_timeout),
    TEST_ENTRY(no_descriptor_to_begin_with),
    TEST_ENTRY(nothing_to_watch)
};

TEST_MAIN("foreign", tests)
