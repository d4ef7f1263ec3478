/* The system's calls fail, one at a time: each has a stand-in here that does
 * so when a test says so, with the errno that it says. */
#if defined(_WIN32)

#define WSOCK_IMPLEMENTATION
#include "../../wsock.h"
#include "test.h"

TEST(calls_of_the_system_fail)
{
    test_skip("the stand-ins are for the calls of POSIX");
}

static const test_case tests[] = { TEST_ENTRY(calls_of_the_system_fail) };

#else

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#if defined(__linux__)
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#endif
#if defined(WSOCK_USE_KQUEUE)
#include <sys/event.h>
#endif

/* How servers wait in this build: as wsock.h chooses it. */
#define EPOLL_BUILD 0
#define KQUEUE_BUILD 0
#if defined(WSOCK_USE_KQUEUE)
#undef KQUEUE_BUILD
#define KQUEUE_BUILD 1
#elif defined(__linux__) && !defined(WSOCK_USE_POLL) && !defined(__TINYC__)
#undef EPOLL_BUILD
#define EPOLL_BUILD 1
#endif

#define CALLS(X)                                                              \
    X(socket) X(bind) X(listen) X(accept) X(connect) X(send) X(sendmsg)       \
    X(recv) X(getsockopt) X(getsockname) X(poll) X(inet_ntop) X(malloc)       \
    X(getaddrinfo) X(pthread_mutex_init) X(pthread_cond_init)                 \
    X(pthread_attr_init) X(pthread_create) X(getrandom) X(eventfd)            \
    X(epoll_create1) X(epoll_ctl) X(epoll_wait) X(timerfd_create) X(kevent)   \
    X(kevent_wait)

#define CALL_NUMBER(name) CALL_##name,
enum { CALLS(CALL_NUMBER) CALLS_END };

static struct {
    int pass;  /* calls that go through before those that */
    int fail;  /* fail */
    int code;  /* errno */
    long made; /* calls so far */
} faults[CALLS_END];

/* From the call behind the next `pass` on, `fail` of them fail. */
static void fault_set(int call, int pass, int fail, int code)
{
    faults[call].pass = pass;
    faults[call].fail = fail;
    faults[call].code = code;
    faults[call].made = 0;
}

static int fault(int call)
{
    faults[call].made++;
    if (faults[call].fail == 0 || faults[call].pass-- > 0)
        return 0;
    faults[call].pass = 0;
    faults[call].fail--;
    errno = faults[call].code;
    return 1;
}

#if defined(__GNUC__) /* not every build calls every one */
#define FAULT_FN static __attribute__((unused))
#else
#define FAULT_FN static
#endif

#define FAULT_INT(name, parameters, arguments)                                \
    FAULT_FN int fault_##name parameters                                      \
    {                                                                         \
        return fault(CALL_##name) ? -1 : name arguments;                      \
    }
#define FAULT_CODE(name, parameters, arguments)                               \
    FAULT_FN int fault_##name parameters                                      \
    {                                                                         \
        return fault(CALL_##name) ? faults[CALL_##name].code                  \
                                  : name arguments;                           \
    }

FAULT_INT(socket, (int family, int type, int protocol),
          (family, type, protocol))
FAULT_INT(bind, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
FAULT_INT(listen, (int fd, int backlog), (fd, backlog))
FAULT_INT(getsockopt, (int fd, int level, int name, void *p, socklen_t *n),
          (fd, level, name, p, n))
FAULT_INT(getsockname, (int fd, struct sockaddr *a, socklen_t *n), (fd, a, n))
FAULT_INT(poll, (struct pollfd *p, nfds_t n, int timeout), (p, n, timeout))
FAULT_CODE(pthread_mutex_init,
           (pthread_mutex_t *m, const pthread_mutexattr_t *a), (m, a))
FAULT_CODE(pthread_cond_init,
           (pthread_cond_t *c, const pthread_condattr_t *a), (c, a))
FAULT_CODE(pthread_attr_init, (pthread_attr_t *a), (a))
FAULT_CODE(pthread_create,
           (pthread_t *t, const pthread_attr_t *a, void *(*run)(void *),
            void *argument), (t, a, run, argument))

static ssize_t fault_send(int fd, const void *data, size_t n, int flags)
{
    return fault(CALL_send) ? -1 : send(fd, data, n, flags);
}

static ssize_t fault_sendmsg(int fd, const struct msghdr *m, int flags)
{
    return fault(CALL_sendmsg) ? -1 : sendmsg(fd, m, flags);
}

static ssize_t fault_recv(int fd, void *data, size_t n, int flags)
{
    return fault(CALL_recv) ? -1 : recv(fd, data, n, flags);
}

static const char *fault_inet_ntop(int family, const void *from, char *to,
                                   socklen_t n)
{
    return fault(CALL_inet_ntop) ? NULL : inet_ntop(family, from, to, n);
}

static void *fault_malloc(size_t n)
{
    return fault(CALL_malloc) ? NULL : malloc(n);
}

static int fault_connect(int fd, const struct sockaddr *a, socklen_t n)
{
    int r;
    if (!fault(CALL_connect))
        return connect(fd, a, n);
    if (faults[CALL_connect].code == 0) { /* it succeeds at once */
        struct pollfd p;
        p.fd = fd;
        p.events = POLLOUT;
        r = connect(fd, a, n);
        return r == 0 || poll(&p, 1, -1) == 1 ? 0 : r;
    }
    if (faults[CALL_connect].code == EINTR) { /* it goes on, though */
        r = connect(fd, a, n);
        errno = EINTR;
        return r ? r : -1;
    }
    return -1;
}

/* Names are answered from here: `named` is what is known. */
static struct addrinfo named[10];
static struct sockaddr_in named_address[10];

static void name_is(int count, const int *ports)
{
    int i;
    memset(named, 0, sizeof named);
    memset(named_address, 0, sizeof named_address);
    for (i = 0; i < count; i++) {
        named_address[i].sin_family = AF_INET;
        named_address[i].sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        named_address[i].sin_port = htons((uint16_t)ports[i]);
        named[i].ai_family = AF_INET;
        named[i].ai_addr = (struct sockaddr *)(void *)&named_address[i];
        named[i].ai_addrlen = sizeof named_address[i];
        named[i].ai_next = i + 1 < count ? &named[i + 1] : NULL;
    }
}

static int fault_getaddrinfo(const char *host, const char *service,
                             const struct addrinfo *hints,
                             struct addrinfo **list)
{
    (void)host;
    (void)service;
    (void)hints;
    *list = named;
    return fault(CALL_getaddrinfo) ? faults[CALL_getaddrinfo].code : 0;
}

static void fault_freeaddrinfo(struct addrinfo *list)
{
    (void)list;
}

#define socket(a, b, c) fault_socket(a, b, c)
#define bind(a, b, c) fault_bind(a, b, c)
#define listen(a, b) fault_listen(a, b)
#define getsockopt(a, b, c, d, e) fault_getsockopt(a, b, c, d, e)
#define getsockname(a, b, c) fault_getsockname(a, b, c)
#define poll(a, b, c) fault_poll(a, b, c)
#define pthread_mutex_init(a, b) fault_pthread_mutex_init(a, b)
#define pthread_cond_init(a, b) fault_pthread_cond_init(a, b)
#define pthread_attr_init(a) fault_pthread_attr_init(a)
#define pthread_create(a, b, c, d) fault_pthread_create(a, b, c, d)
#define send(a, b, c, d) fault_send(a, b, c, d)
#define sendmsg(a, b, c) fault_sendmsg(a, b, c)
#define recv(a, b, c, d) fault_recv(a, b, c, d)
#define inet_ntop(a, b, c, d) fault_inet_ntop(a, b, c, d)
#define malloc(a) fault_malloc(a)
#define connect(a, b, c) fault_connect(a, b, c)
#define getaddrinfo(a, b, c, d) fault_getaddrinfo(a, b, c, d)
#define freeaddrinfo(a) fault_freeaddrinfo(a)

#if defined(__linux__)
static ssize_t fault_getrandom(void *p, size_t n, unsigned flags)
{
    return fault(CALL_getrandom) ? faults[CALL_getrandom].code ? -1 : 0
                                 : getrandom(p, n, flags);
}

static int fault_accept(int fd, struct sockaddr *a, socklen_t *n, int flags)
{
    return fault(CALL_accept) ? -1 : accept4(fd, a, n, flags);
}

FAULT_INT(eventfd, (unsigned start, int flags), (start, flags))
FAULT_INT(timerfd_create, (int clock, int flags), (clock, flags))
FAULT_INT(epoll_ctl, (int q, int how, int fd, struct epoll_event *e),
          (q, how, fd, e))
FAULT_INT(epoll_wait, (int q, struct epoll_event *e, int n, int timeout),
          (q, e, n, timeout))
FAULT_INT(epoll_create1, (int flags), (flags))

#define getrandom(a, b, c) fault_getrandom(a, b, c)
#define accept4(a, b, c, d) fault_accept(a, b, c, d)
#define eventfd(a, b) fault_eventfd(a, b)
#define timerfd_create(a, b) fault_timerfd_create(a, b)
#define epoll_ctl(a, b, c, d) fault_epoll_ctl(a, b, c, d)
#define epoll_wait(a, b, c, d) fault_epoll_wait(a, b, c, d)
#define epoll_create1(a) fault_epoll_create1(a)
#else
FAULT_INT(accept, (int fd, struct sockaddr *a, socklen_t *n), (fd, a, n))
#define accept(a, b, c) fault_accept(a, b, c)
#endif
#if defined(WSOCK_USE_KQUEUE)
static int fault_kevent(int q, const struct kevent *in, int n,
                        struct kevent *out, int m, const struct timespec *t)
{
    return fault(in ? CALL_kevent : CALL_kevent_wait)
               ? -1
               : kevent(q, in, n, out, m, t);
}

#define kevent(a, b, c, d, e, f) fault_kevent(a, b, c, d, e, f)
#endif

#define WSOCK_IMPLEMENTATION
#include "../../wsock.h"

#undef socket
#undef bind
#undef listen
#undef getsockopt
#undef getsockname
#undef poll
#undef pthread_mutex_init
#undef pthread_cond_init
#undef pthread_attr_init
#undef pthread_create
#undef send
#undef sendmsg
#undef recv
#undef inet_ntop
#undef malloc
#undef connect
#undef getaddrinfo
#undef freeaddrinfo
#undef getrandom
#undef accept
#undef accept4
#undef eventfd
#undef timerfd_create
#undef epoll_ctl
#undef epoll_wait
#undef epoll_create1
#undef kevent

#include "test.h"
#include "net.h"
#include <sys/resource.h>

/* ------------------------------------------------------- what they share -- */

/* A server with the test's clock and memory, with a name that is looked up if
 * `host` is one. */
static wsock_server *serve(test_system *s, const char *host)
{
    wsock_options o = options_with(0);
    char url[64];
    guard();
    test_system_init(s);
    o.system = &s->system;
    snprintf(url, sizeof url, "ws://%s:0/", host);
    return wsock_listen(url, &o);
}

static int is_listed(const wsock_server *server)
{
    return wsock_server_error(server) == WSOCK_OK;
}

/* One poll that finds no event.  The clocks stand: so it cannot be told to
 * wait. */
static void server_rests(wsock_server *server)
{
    wsock_event e;
    CHECK_INT(wsock_server_poll(server, &e, 0), 0);
    poll(NULL, 0, 1);
}

/* Polls until one OPEN has come. */
static wsock *until_open(wsock_server *server)
{
    wsock_event e;
    while (wsock_server_poll(server, &e, 0) <= 0 ||
           e.type != WSOCK_EVENT_OPEN)
        poll(NULL, 0, 1);
    return e.ws;
}

static int peer_asks(const wsock_server *server)
{
    int fd = raw_connect(wsock_server_port(server), 0);
    raw_send(fd, TEST_REQUEST, strlen(TEST_REQUEST));
    return fd;
}

/* ------------------------------------------------------- random bytes -- */

TEST(random_bytes_by_other_ways)
{
    uint8_t bytes[300];
    struct rlimit before, now;
    int fd;
    fault_set(CALL_getrandom, 0, 1, EINTR); /* asked again */
    CHECK_INT(wsock__system_random(NULL, bytes, 16), 0);
#if defined(__linux__)
    CHECK_INT(faults[CALL_getrandom].made, 2);
#endif
    fault_set(CALL_getrandom, 0, 1, ENOSYS); /* the device */
    CHECK_INT(wsock__system_random(NULL, bytes, 16), 0);
    fault_set(CALL_getrandom, 0, 1, 0); /* less than was asked for */
    CHECK_INT(wsock__system_random(NULL, bytes, 16), 0);
    CHECK_INT(wsock__system_random(NULL, bytes, 300), 0);
    fd = dup(0);
    close(fd);
    getrlimit(RLIMIT_NOFILE, &before);
    now = before;
    now.rlim_cur = (rlim_t)fd;
    setrlimit(RLIMIT_NOFILE, &now);
    CHECK_INT(wsock__system_random(NULL, bytes, 300), -1);
    setrlimit(RLIMIT_NOFILE, &before);
}

/* ---------------------------------------------- mutexes, threads, names -- */

TEST(no_mutex_and_no_condition)
{
    test_system s;
    wsock_options o = options_with(0);
    test_system_init(&s);
    o.system = &s.system;
    fault_set(CALL_pthread_mutex_init, 0, 1, EAGAIN);
    CHECK(wsock_new(WSOCK_CLIENT, "ws://h/", &o) == NULL);
    CHECK_NO_LEAK(&s);
    fault_set(CALL_pthread_cond_init, 0, 1, EAGAIN);
    CHECK(wsock_new(WSOCK_CLIENT, "ws://h/", &o) == NULL);
    CHECK_NO_LEAK(&s);
}

/* A look-up that cannot begin: the account has the system's code. */
TEST(no_thread_for_a_look_up)
{
    static const int calls[] = { CALL_pthread_attr_init, CALL_pthread_create,
                                 CALL_malloc, CALL_eventfd };
    static const int codes[] = { ENOMEM, EAGAIN, ENOMEM, EMFILE };
    int i;
    for (i = 0; i < 4; i++) {
        test_system s;
        wsock_options o = options_with(0);
        wsock *ws;
        test_system_init(&s);
        o.system = &s.system;
#if !defined(__linux__)
        if (calls[i] == CALL_eventfd)
            continue;
#endif
        test_note("%d", i);
        fault_set(calls[i], 0, 1, codes[i]);
        ws = wsock_connect("ws://name.test/", &o);
        CHECK_RESULT(wsock_error(ws), WSOCK_LOOKUP_FAILED);
        if (calls[i] != CALL_pthread_attr_init)
            CHECK_INT(wsock_why(ws)->os_code, codes[i]);
        wsock_free(ws);
        CHECK_NO_LEAK(&s);
    }
}

TEST(a_server_by_name)
{
    static const int any[] = { 0 };
    test_system s;
    wsock_server *server;
    name_is(1, any);
    fault_set(CALL_getaddrinfo, 0, 0, 0);
    server = serve(&s, "name.test");
    CHECK(is_listed(server));
    CHECK_INT(faults[CALL_getaddrinfo].made, 1);
    CHECK(wsock_server_port(server) > 0);
    wsock_server_free(server);
    fault_set(CALL_getaddrinfo, 0, 1, EAI_NONAME);
    server = serve(&s, "name.test");
    CHECK_RESULT(wsock_server_error(server), WSOCK_LOOKUP_FAILED);
    CHECK_INT(wsock_server_why(server)->os_code, EAI_NONAME);
    CHECK_INT(wsock_server_watches(server, NULL, 0), 0);
    CHECK_INT(wsock_server_timeout(server), 0);
    CHECK_RESULT(wsock_server_wake(server), WSOCK_INVALID_OPERATION);
    CHECK_RESULT(wsock_server_close(server), WSOCK_LOOKUP_FAILED);
    wsock_server_free(server);
    CHECK_NO_LEAK(&s);
}

/* ------------------------------------------------------------- connect -- */

/* How a client's connect ends: polled until OPEN or CLOSE. */
static int connects(int port, const char *host, int *os_code)
{
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    char url[64];
    wsock_event e;
    wsock *ws;
    int i, code = 1;
    guard();
    snprintf(url, sizeof url, "ws://%s:%d/", host, port);
    o.handshake_timeout = 50; /* nobody answers */
    ws = wsock_connect(url, &o);
    for (i = 0; i < 1000 && code == 1; i++)
        if (wsock_poll(ws, &e, 20) > 0 && e.type == WSOCK_EVENT_CLOSE)
            code = e.why->code;
    *os_code = wsock_why(ws)->os_code;
    wsock_free(ws);
    return code;
}

TEST(connects_that_end_at_once)
{
    int fd = raw_listen("127.0.0.1", 0, 8), os_code;
    int port = net_port(fd);
    fault_set(CALL_connect, 0, 1, 0); /* well */
    CHECK_RESULT(connects(port, "127.0.0.1", &os_code), WSOCK_TIMED_OUT);
    fault_set(CALL_connect, 0, 1, EINTR); /* it goes on */
    CHECK_RESULT(connects(port, "127.0.0.1", &os_code), WSOCK_TIMED_OUT);
    fault_set(CALL_getaddrinfo, 0, 0, 0); /* RFC 6761 6.3: none is asked */
    CHECK_RESULT(connects(port, "a.localhost", &os_code), WSOCK_TIMED_OUT);
    CHECK_INT(faults[CALL_getaddrinfo].made, 0);
    fault_set(CALL_connect, 0, 1, ENETUNREACH);
    CHECK_RESULT(connects(port, "127.0.0.1", &os_code),
                 WSOCK_CONNECT_FAILED);
    CHECK_INT(os_code, ENETUNREACH);
    fault_set(CALL_socket, 0, 1, EMFILE);
    CHECK_RESULT(connects(port, "127.0.0.1", &os_code),
                 WSOCK_CONNECT_FAILED);
    CHECK_INT(os_code, EMFILE);
    fault_set(CALL_getsockopt, 0, 1, ENOBUFS);
    CHECK_RESULT(connects(port, "127.0.0.1", &os_code),
                 WSOCK_CONNECT_FAILED);
    CHECK_INT(os_code, ENOBUFS);
    close(fd);
}

/* More addresses than may race: the oldest gives way to the next. */
TEST(ten_addresses_race)
{
    black_hole hole;
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    test_system s;
    int ports[10], i;
    wsock_event e;
    wsock *ws;
    guard();
    if (!CHECK(black_hole_open(&hole, "127.0.0.1", 0)))
        return;
    for (i = 0; i < 10; i++)
        ports[i] = net_port(hole.fd[0]);
    name_is(10, ports);
    test_system_init(&s);
    o.system = &s.system;
    o.connect_timeout = 10000;
    fault_set(CALL_connect, 0, 0, 0);
    ws = wsock_connect("ws://name.test/", &o);
    while (faults[CALL_connect].made == 0)
        CHECK_INT(wsock_poll(ws, &e, 0), 0);
    for (i = 0; i < 12; i++) {
        s.now += 250;
        CHECK_INT(wsock_poll(ws, &e, 0), 0);
        CHECK(wsock_watches(ws, NULL, 0) <= 9); /* 8, and the wake-up */
    }
    CHECK_INT(faults[CALL_connect].made, 10);
    CHECK_INT(wsock_watches(ws, NULL, 0), 9);
    wsock_free(ws);
    CHECK_NO_LEAK(&s);
    black_hole_close(&hole);
}

/* The last address fails when time is up already: the next one is tried, and
 * the end is not put off. */
TEST(time_is_up_when_an_address_fails)
{
    black_hole hole;
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    test_system s;
    int ports[2], refused = raw_listen("127.0.0.1", 0, 1);
    wsock_event e;
    wsock *ws;
    guard();
    if (!CHECK(black_hole_open(&hole, "127.0.0.1", 0)))
        return;
    ports[0] = net_port(refused); /* of which nobody listens then */
    ports[1] = net_port(hole.fd[0]);
    close(refused);
    name_is(2, ports);
    test_system_init(&s);
    o.system = &s.system;
    o.connect_timeout = 100; /* sooner than the race's next step */
    fault_set(CALL_connect, 0, 0, 0);
    ws = wsock_connect("ws://name.test/", &o);
    /* The connect fails on the loopback before anybody looks. */
    while (faults[CALL_connect].made == 0)
        wsock_poll(ws, &e, 0);
    s.now += 100;
    while (wsock_poll(ws, &e, 0) == 0)
        continue;
    CHECK_INT(e.type, WSOCK_EVENT_CLOSE);
    CHECK_RESULT(e.why->code, WSOCK_TIMED_OUT);
    wsock_free(ws);
    CHECK_NO_LEAK(&s);
    black_hole_close(&hole);
}

/* -------------------------------------------------------- reads, writes -- */

TEST(calls_that_are_interrupted)
{
    test_system s;
    wsock_server *server = serve(&s, "127.0.0.1");
    bytes in = { 0 }, frame = { 0 }, log = { 0 };
    uint8_t *data = test_pattern(9000);
    wsock_event e;
    wsock *ws;
    int fd;
    fault_set(CALL_accept, 0, 1, EINTR);
    fault_set(CALL_recv, 0, 1, EINTR);
    fault_set(CALL_send, 0, 1, EINTR);
    fd = peer_asks(server);
    ws = until_open(server);
    while (!raw_head(&in)) {
        wsock_server_poll(server, &e, 0);
        raw_read(fd, &in);
    }
    bytes_clear(&in);
    /* Several pieces of one queue. */
    frame_text(&frame, FIN | 1, 1, "go");
    raw_bytes(fd, &frame);
    while (wsock_server_poll(server, &e, 0) <= 0)
        continue;
    CHECK_INT(e.type, WSOCK_EVENT_MESSAGE);
    fault_set(CALL_sendmsg, 0, 1, EINTR);
    CHECK_RESULT(wsock_send(ws, WSOCK_BINARY, data, 3500), WSOCK_OK);
    CHECK_RESULT(wsock_send(ws, WSOCK_BINARY, data, 3500), WSOCK_OK);
    while (in.size < 7008) {
        wsock_server_poll(server, &e, 0);
        raw_read(fd, &in);
    }
    CHECK_INT(faults[CALL_sendmsg].fail, 0);
    frames_log(&log, &in, 0);
    CHECK_STR(bytes_str(&log), "binary 3500 bytes\nbinary 3500 bytes\n");
    wsock_server_free(server);
    CHECK_NO_LEAK(&s);
    close(fd);
    bytes_free(&in);
    bytes_free(&frame);
    bytes_free(&log);
    free(data);
}

/* More pieces than one call takes: as many as it does. */
TEST(a_write_of_many_pieces)
{
    wsock_buf bufs[70];
    char text[128];
    int fds[2], i;
    for (i = 0; i < 70; i++) {
        bufs[i].data = "x";
        bufs[i].size = 1;
    }
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    CHECK_INT(wsock__socket_io.write((void *)(intptr_t)fds[0], bufs, 70), 64);
    CHECK_INT(recv(fds[1], text, sizeof text, 0), 64);
    close(fds[0]);
    close(fds[1]);
}

/* ------------------------------------------------------------- servers -- */

TEST(a_listener_that_cannot_accept)
{
    static const int codes[] = { EMFILE, ENFILE, ENOBUFS, ENOMEM,
                                 ECONNABORTED };
    int i;
    for (i = 0; i < 5; i++) {
        test_system s;
        wsock_server *server = serve(&s, "127.0.0.1");
        int fd = peer_asks(server), gone = i == 4, k;
        test_note("%s", strerror(codes[i]));
        fault_set(CALL_accept, 0, 1, codes[i]);
        while (!gone && faults[CALL_accept].fail)
            server_rests(server);
        if (!gone) { /* it rests */
            for (k = 0; k < 3; k++)
                server_rests(server);
            CHECK_INT(wsock_server_timeout(server), 100);
            CHECK_INT(wsock_server_count(server), 0);
            s.now += 100;
        }
        until_open(server);
        CHECK_INT(faults[CALL_accept].fail, 0);
        wsock_server_free(server);
        CHECK_NO_LEAK(&s);
        close(fd);
    }
}

/* While the listener rests a time-out of a connection is due before, and one
 * behind. */
TEST(a_listener_rests_among_time_outs)
{
    test_system s;
    wsock_server *server = serve(&s, "127.0.0.1");
    int silent = raw_connect(wsock_server_port(server), 0), fd, away = 0;
    bytes in = { 0 };
    wsock_event e;
    while (wsock_server_count(server) == 0)
        server_rests(server);
    s.now += 9950; /* of the 10,000 for a request */
    fault_set(CALL_accept, 0, 1, EMFILE);
    fd = peer_asks(server);
    while (faults[CALL_accept].fail)
        server_rests(server);
    CHECK_INT(wsock_server_timeout(server), 50);
    s.now += 50;
    while (!away) { /* 408 */
        CHECK_INT(wsock_server_poll(server, &e, 0), 0);
        raw_read(silent, &in);
        away = raw_head(&in) != 0;
    }
    s.now += 50;
    until_open(server);
    wsock_server_free(server);
    CHECK_NO_LEAK(&s);
    close(fd);
    close(silent);
    bytes_free(&in);
}

TEST(servers_that_cannot_listen)
{
    static const struct {
        int call, pass, code, listed;
    } list[] = {
        { CALL_socket, 0, EMFILE, 0 },
        { CALL_listen, 0, EADDRINUSE, 0 },
        { CALL_getsockname, 0, ENOBUFS, 1 }, /* but nobody knows its port */
#if defined(__linux__)
        { CALL_eventfd, 0, EMFILE, 0 },
#endif
#if EPOLL_BUILD
        { CALL_epoll_create1, 0, EMFILE, 0 },
        { CALL_epoll_ctl, 0, ENOSPC, 0 },
        { CALL_epoll_ctl, 1, ENOSPC, 0 },
#elif KQUEUE_BUILD
        { CALL_kevent, 0, ENOMEM, 0 },
        { CALL_kevent, 1, ENOMEM, 0 },
#endif
    };
    size_t i;
    for (i = 0; i < sizeof list / sizeof *list; i++) {
        test_system s;
        wsock_server *server;
        test_note("%d %d", list[i].call, list[i].pass);
        fault_set(list[i].call, list[i].pass, 1, list[i].code);
        server = serve(&s, "127.0.0.1");
        CHECK_INT(faults[list[i].call].fail, 0);
        CHECK_INT(is_listed(server), list[i].listed);
        CHECK_INT(wsock_server_port(server), 0);
        if (!list[i].listed)
            CHECK_INT(wsock_server_why(server)->os_code, list[i].code);
        wsock_server_free(server);
        CHECK_NO_LEAK(&s);
    }
    /* No memory for what the poller says. */
    for (i = 1; i < 20; i++) {
        test_system s;
        wsock_options o = options_with(0);
        wsock_server *server;
        test_system_init(&s);
        o.system = &s.system;
        s.fail_at = (long)i;
        server = wsock_listen("ws://127.0.0.1:0/", &o);
        if (server && wsock_server_error(server))
            CHECK_INT(wsock_server_why(server)->os_code, ENOMEM);
        wsock_server_free(server);
        CHECK_NO_LEAK(&s);
        if (s.allocations < (long)i)
            break;
    }
    CHECK(i > 2);
}

#if EPOLL_BUILD
/* Without the kernel's timer waits are timed. */
TEST(servers_without_an_alarm)
{
    int how;
    for (how = 0; how < 2; how++) {
        wsock_server *server;
        wsock_event e;
        guard();
        if (how)
            fault_set(CALL_timerfd_create, 0, 1, EMFILE);
        else
            fault_set(CALL_epoll_ctl, 2, 1, ENOSPC);
        server = wsock_listen("ws://127.0.0.1:0/", NULL);
        CHECK(is_listed(server));
        CHECK_INT(faults[CALL_timerfd_create].fail
                  + faults[CALL_epoll_ctl].fail, 0);
        CHECK_INT(wsock_server_poll(server, &e, 2), 0);
        wsock_server_free(server);
    }
}
#endif

#if EPOLL_BUILD || KQUEUE_BUILD
#if EPOLL_BUILD
enum { CALL_WATCH = CALL_epoll_ctl, CALL_WAIT = CALL_epoll_wait };
#else
enum { CALL_WATCH = CALL_kevent, CALL_WAIT = CALL_kevent_wait };
#endif

/* The kernel has no room to watch one more connection: it is let go, and the
 * listener rests.  Or to be told that it is to be written, too: then the next
 * that is heard of it goes on with that. */
TEST(no_room_in_the_kernels_queue)
{
    test_system s;
    wsock_server *server = serve(&s, "127.0.0.1");
    int fd = peer_asks(server), again;
    bytes in = { 0 }, frame = { 0 };
    uint8_t *data = test_pattern(65536);
    wsock_event e;
    wsock *ws;
    ws = until_open(server);
    fault_set(CALL_WATCH, 0, 1, ENOSPC);
    again = peer_asks(server);
    while (faults[CALL_WATCH].fail)
        server_rests(server);
    CHECK_INT(wsock_server_timeout(server), 100);
    CHECK_INT(wsock_server_count(server), 1);
    raw_wait(again);
    CHECK(raw_read(again, &in) > 0);
    close(again);
    s.now += 100;
    CHECK_INT(wsock_server_poll(server, &e, 0), 0);
    fault_set(CALL_WATCH, 0, 1, ENOSPC);
    while (wsock_queued(ws) == 0)
        CHECK_RESULT(wsock_send(ws, WSOCK_BINARY, data, 65536), WSOCK_OK);
    CHECK_INT(faults[CALL_WATCH].fail, 0);
    bytes_clear(&in);
    frame_text(&frame, FIN | 9, 1, "go on");
    raw_bytes(fd, &frame);
    while (wsock_queued(ws)) {
        raw_read(fd, &in);
        wsock_server_poll(server, &e, 0);
    }
    CHECK_RESULT(wsock_error(ws), WSOCK_OK);
    fault_set(CALL_WATCH, 0, 1, ENOENT); /* forgotten already: no matter */
    wsock_free(ws);
    CHECK_INT(faults[CALL_WATCH].fail, 0);
    wsock_server_free(server);
    CHECK_NO_LEAK(&s);
    close(fd);
    bytes_free(&in);
    bytes_free(&frame);
    free(data);
}
#else
enum { CALL_WAIT = CALL_poll };
#endif

/* A wait that fails, or is interrupted, finds nothing; the next one does. */
TEST(waits_that_fail)
{
    static const int codes[] = { EINTR, EINVAL };
    int i;
    for (i = 0; i < 2; i++) {
        test_system s;
        wsock_server *server = serve(&s, "127.0.0.1");
        wsock_options o = options_with(WSOCK_NONBLOCKING);
        wsock_event e;
        wsock *ws;
        char url[64];
        int fd = peer_asks(server);
        test_note("%s", strerror(codes[i]));
        fault_set(CALL_WAIT, 0, 1, codes[i]);
        CHECK_INT(wsock_server_poll(server, &e, 0), 0);
        CHECK_INT(faults[CALL_WAIT].fail, 0);
        until_open(server);
        snprintf(url, sizeof url, "ws://127.0.0.1:%d/",
                 wsock_server_port(server));
        ws = wsock_connect(url, &o);
        CHECK_INT(wsock_poll(ws, &e, 0), 0);
        fault_set(CALL_poll, 0, 1, codes[i]);
        CHECK_INT(wsock_poll(ws, &e, 0), 0);
        wsock_free(ws);
        wsock_server_free(server);
        CHECK_NO_LEAK(&s);
        close(fd);
        fault_set(CALL_poll, 0, 0, 0);
    }
}

/* A connection cannot be accepted for want of a descriptor or a mutex for
 * it. */
TEST(accepts_that_fail)
{
    static const int calls[] = { CALL_eventfd, CALL_pthread_mutex_init };
    int i;
    for (i = 0; i < 2; i++) {
        test_system s;
        wsock_server *server = serve(&s, "127.0.0.1");
        int fd = peer_asks(server), r = WSOCK_TIMED_OUT;
        wsock *ws;
#if !defined(__linux__)
        if (calls[i] == CALL_eventfd)
            continue;
#endif
        test_note("%d", i);
        fault_set(calls[i], 0, 1, EMFILE);
        while (r == WSOCK_TIMED_OUT)
            r = wsock_accept(server, &ws, 0);
        CHECK_RESULT(r, WSOCK_NO_MEMORY);
        CHECK(ws == NULL);
        CHECK_RESULT(wsock_accept(server, &ws, 0), WSOCK_TIMED_OUT);
        wsock_server_free(server);
        CHECK_NO_LEAK(&s);
        close(fd);
    }
}

/* ------------------------------------------------------------ the rest -- */

static intptr_t own_fd(void *user)
{
    return (intptr_t)user;
}

static ptrdiff_t own_read(void *user, void *data, size_t size)
{
    (void)user;
    (void)data;
    (void)size;
    return WSOCK_WANT_READ;
}

static ptrdiff_t own_write(void *user, const wsock_buf *bufs, size_t count)
{
    (void)user;
    (void)bufs;
    (void)count;
    return WSOCK_WANT_WRITE;
}

TEST(the_peers_address)
{
    test_system s;
    wsock_server *server = serve(&s, "127.0.0.1");
    wsock_options o = options_with(WSOCK_NONBLOCKING);
    int fd = peer_asks(server), fds[2];
    wsock *ws = until_open(server);
    wsock_io io;
    char text[64];
    CHECK_RESULT(wsock_peer(ws, text, sizeof text), WSOCK_OK);
    CHECK(strncmp(text, "127.0.0.1:", 10) == 0);
    CHECK_RESULT(wsock_peer(ws, text, 8), WSOCK_INVALID_PARAMETER);
    fault_set(CALL_inet_ntop, 0, 1, ENOSPC);
    CHECK_RESULT(wsock_peer(ws, text, sizeof text), WSOCK_INVALID_OPERATION);
    wsock_server_free(server);
    CHECK_NO_LEAK(&s);
    close(fd);
    /* Of a family that is neither. */
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    memset(&io, 0, sizeof io);
    io.read = own_read;
    io.write = own_write;
    io.fd = own_fd;
    io.user = (void *)(intptr_t)fds[0];
    ws = wsock_new(WSOCK_SERVER, NULL, &o);
    CHECK_RESULT(wsock_attach(ws, &io), WSOCK_OK);
    CHECK_RESULT(wsock_peer(ws, text, sizeof text), WSOCK_INVALID_OPERATION);
    wsock_free(ws);
    close(fds[0]);
    close(fds[1]);
}

/* A peer that takes nothing for a while; what its wait is told. */
typedef struct slow {
    bytes in;
    size_t at;
    int waits, longest, endless;
    wsock *ws;        /* what it is of, */
    int receives;     /* when it receives while a send waits */
} slow;

static ptrdiff_t slow_read(void *user, void *data, size_t size)
{
    slow *s = (slow *)user;
    size_t n = s->in.size - s->at;
    if (n == 0)
        return WSOCK_WANT_READ;
    if (n > size)
        n = size;
    memcpy(data, s->in.data + s->at, n);
    s->at += n;
    return (ptrdiff_t)n;
}

static ptrdiff_t slow_write(void *user, const wsock_buf *bufs, size_t count)
{
    slow *s = (slow *)user;
    ptrdiff_t n = 0;
    if (s->waits < 4)
        return WSOCK_WANT_WRITE;
    while (count--)
        n += (ptrdiff_t)bufs++->size;
    return n;
}

static int slow_wait(void *user, int wants, int timeout)
{
    slow *s = (slow *)user;
    (void)wants;
    s->waits++;
    s->endless += timeout < 0;
    if (timeout > s->longest)
        s->longest = timeout;
    if (s->waits == s->receives) { /* as another thread would */
        wsock_status got;
        char text[8];
        frame_text(&s->in, FIN | 1, 1, "hi");
        CHECK_RESULT(wsock_receive(s->ws, text, sizeof text, &got),
                     WSOCK_OK);
        CHECK_BYTES(text, got.bytes, "hi", 2);
    }
    return 0;
}

/* Without the descriptor by which a receiver that leaves tells the sender, a
 * sender looks by itself every now and then. */
TEST(no_descriptor_to_be_told_by)
{
    static const int timeouts[] = { WSOCK_NEVER, 30000, 15 };
    int i;
    for (i = 0; i < 3; i++) {
        wsock_options o = untimed(0);
        wsock_io io;
        wsock *ws;
        slow s;
        memset(&s, 0, sizeof s);
        memset(&io, 0, sizeof io);
        bytes_text(&s.in, TEST_REQUEST);
        io.read = slow_read;
        io.write = slow_write;
        io.wait = slow_wait;
        io.user = &s;
        o.send_timeout = timeouts[i];
        ws = wsock_new(WSOCK_SERVER, NULL, &o);
        s.waits = 4;
        CHECK_RESULT(wsock_attach(ws, &io), WSOCK_OK);
        s.waits = s.longest = s.endless = 0;
        s.ws = ws;
        s.receives = 2;
        fault_set(CALL_eventfd, 0, 100, EMFILE);
        CHECK_RESULT(wsock_send(ws, WSOCK_TEXT, "x", 1), WSOCK_OK);
        fault_set(CALL_eventfd, 0, 0, 0);
        CHECK_INT(s.waits, 4);
#if defined(__linux__)
        CHECK_INT(s.endless, 0);
        CHECK(s.longest <= 20);
#endif
        wsock_free(ws);
        bytes_free(&s.in);
    }
}

static const test_case tests[] = {
    TEST_ENTRY(random_bytes_by_other_ways),
    TEST_ENTRY(no_mutex_and_no_condition),
    TEST_ENTRY(no_thread_for_a_look_up),
    TEST_ENTRY(a_server_by_name),
    TEST_ENTRY(connects_that_end_at_once),
    TEST_ENTRY(ten_addresses_race),
    TEST_ENTRY(time_is_up_when_an_address_fails),
    TEST_ENTRY(calls_that_are_interrupted),
    TEST_ENTRY(a_write_of_many_pieces),
    TEST_ENTRY(a_listener_that_cannot_accept),
    TEST_ENTRY(a_listener_rests_among_time_outs),
    TEST_ENTRY(servers_that_cannot_listen),
#if EPOLL_BUILD
    TEST_ENTRY(servers_without_an_alarm),
#endif
#if EPOLL_BUILD || KQUEUE_BUILD
    TEST_ENTRY(no_room_in_the_kernels_queue),
#endif
    TEST_ENTRY(waits_that_fail),
    TEST_ENTRY(accepts_that_fail),
    TEST_ENTRY(the_peers_address),
    TEST_ENTRY(no_descriptor_to_be_told_by)
};

#endif

TEST_MAIN("faults", tests)
