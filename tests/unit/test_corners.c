/* What no other test comes to: see tests/coverage. */
#define WSOCK_IMPLEMENTATION
#include "../../wsock.h"
#include "test.h"
#include <sys/resource.h>

TEST(more_subprotocols_than_fit)
{
    static char names[256][16];
    const char *list[256];
    wsock_options o = {0};
    wsock *ws;
    int i;
    for (i = 0; i < 255; i++) {
        snprintf(names[i], sizeof names[i], "p%d", i);
        list[i] = names[i];
    }
    list[255] = NULL;
    o.subprotocols = list;
    ws = wsock_new(WSOCK_CLIENT, "ws://localhost/", &o);
    CHECK_RESULT(wsock_error(ws), WSOCK_INVALID_PARAMETER);
    wsock_free(ws);
    list[254] = NULL;
    ws = wsock_new(WSOCK_CLIENT, "ws://localhost/", &o);
    CHECK_RESULT(wsock_error(ws), WSOCK_OK);
    wsock_free(ws);
}

static int64_t still(void *user)
{
    (void)user;
    return 1000;
}

/* A system that has but a clock: the rest is the default. */
TEST(a_clock_alone)
{
    wsock_system system;
    wsock_options o = {0};
    wsock *ws;
    memset(&system, 0, sizeof system);
    system.now = still;
    o.system = &system;
    ws = wsock_new(WSOCK_CLIENT, "ws://localhost/", &o);
    CHECK(ws != NULL);
    CHECK_RESULT(wsock_error(ws), WSOCK_OK);
    wsock_free(ws);
}

TEST(servers_without_their_sockets)
{
    static char memory[1 << 16];
    wsock_options o = {0};
    wsock_io io;
    wsock_server *s;
    memset(&io, 0, sizeof io);
    o.io = &io;
    s = wsock_listen("ws://127.0.0.1:0/", &o);
    CHECK_RESULT(wsock_server_why(s)->code, WSOCK_INVALID_PARAMETER);
    wsock_server_free(s);
    o.io = NULL;
    o.memory = memory;
    o.memory_size = sizeof memory;
    s = wsock_listen("ws://127.0.0.1:0/", &o);
    CHECK_RESULT(wsock_server_why(s)->code, WSOCK_INVALID_PARAMETER);
    wsock_server_free(s);
}

/* A transport that has nothing to read, and fails or hands out no descriptor
 * when it is waited for. */
static int waits_left;

static ptrdiff_t nothing(void *user, void *data, size_t size)
{
    (void)user;
    (void)data;
    (void)size;
    return WSOCK_WANT_READ;
}

static ptrdiff_t swallow(void *user, const wsock_buf *bufs, size_t count)
{
    ptrdiff_t n = 0;
    size_t i;
    (void)user;
    for (i = 0; i < count; i++)
        n += (ptrdiff_t)bufs[i].size;
    return n;
}

static int fails(void *user, int wants, int timeout)
{
    (void)user;
    (void)wants;
    (void)timeout;
    return waits_left-- > 0 ? 0 : WSOCK_TRANSPORT_ERROR;
}

static intptr_t no_descriptor(void *user)
{
    (void)user;
    return -1;
}

TEST(transports_that_cannot_be_waited_for)
{
    wsock_io io;
    wsock_options o = {0};
    wsock *ws;
    memset(&io, 0, sizeof io);
    o.io = &io;
    io.read = nothing;
    io.write = swallow;
    ws = wsock_connect("ws://localhost/", &o);
    CHECK_RESULT(wsock_error(ws), WSOCK_INVALID_PARAMETER);
    CHECK(strstr(wsock_error_text(ws), "lacks a callback") != NULL);
    wsock_free(ws);
    io.wait = fails;
    waits_left = 2;
    ws = wsock_connect("ws://localhost/", &o);
    CHECK_RESULT(wsock_error(ws), WSOCK_IO_ERROR);
    wsock_free(ws);
    io.wait = NULL;
    io.fd = no_descriptor;
    o.handshake_timeout = 50;
    ws = wsock_connect("ws://localhost/", &o);
    CHECK_RESULT(wsock_error(ws), WSOCK_TIMED_OUT);
    wsock_free(ws);
}

/* The next descriptor that will be given out. */
static int next_descriptor(void)
{
    int fd = dup(0);
    close(fd);
    return fd;
}

/* Without a descriptor for a connection the listener rests, and goes on. */
TEST(a_listener_out_of_descriptors)
{
    wsock_options o = {0};
    wsock_event e;
    wsock_server *s;
    struct rlimit before, now;
    char url[64];
    wsock *ws;
    int i, r, opened = 0;
    if (!test_has_posix_descriptors())
        return;
    s = wsock_listen("ws://127.0.0.1:0/", NULL);
    o.flags = WSOCK_NONBLOCKING;
    snprintf(url, sizeof url, "ws://127.0.0.1:%d/", wsock_server_port(s));
    ws = wsock_connect(url, &o);
    while (wsock_poll(ws, &e, 20) > 0)
        continue;
    getrlimit(RLIMIT_NOFILE, &before);
    now = before;
    now.rlim_cur = (rlim_t)next_descriptor();
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &now), 0);
    for (i = 0; i < 3; i++)
        CHECK_INT(wsock_server_poll(s, &e, 10), 0);
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &before), 0);
    for (i = 0; i < 100 && !opened; i++) {
        while (wsock_server_poll(s, &e, 10) > 0)
            continue;
        while ((r = wsock_poll(ws, &e, 10)) > 0)
            opened |= e.type == WSOCK_EVENT_OPEN;
        if (r < 0 && !opened) { /* valgrind has taken it, and closed it */
            wsock_free(ws);
            ws = wsock_connect(url, &o);
        }
    }
    CHECK(opened);
    wsock_free(ws);
    wsock_server_free(s);
}

static const test_case tests[] = {
    TEST_ENTRY(more_subprotocols_than_fit),
    TEST_ENTRY(a_clock_alone),
    TEST_ENTRY(servers_without_their_sockets),
    TEST_ENTRY(transports_that_cannot_be_waited_for),
    TEST_ENTRY(a_listener_out_of_descriptors),
};

TEST_MAIN("corners", tests)
