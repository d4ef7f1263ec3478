/* custom_io.c - WebSocket over a transport of your own: here a Unix domain
 * socket pair, with a server thread's work done by a child process, and
 * every byte counted on its way.
 *
 *     cc -O2 -o custom_io examples/custom_io.c
 *     ./custom_io */
#define WSOCK_IMPLEMENTATION
#include "../wsock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* The callbacks get this as `user`. */
struct counted {
    int fd;
    unsigned long in, out;
};

static ptrdiff_t counted_read(void *user, void *data, size_t size)
{
    struct counted *c = (struct counted *)user;
    ssize_t n = read(c->fd, data, size);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? WSOCK_WANT_READ
                                                 : WSOCK_TRANSPORT_ERROR;
    c->in += (unsigned long)n;
    return n; /* 0: the end of the stream */
}

static ptrdiff_t counted_write(void *user, const wsock_buf *bufs,
                               size_t count)
{
    struct counted *c = (struct counted *)user;
    ssize_t n = send(c->fd, bufs[0].data, bufs[0].size, MSG_NOSIGNAL);
    (void)count; /* taking less than everything is always allowed */
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? WSOCK_WANT_WRITE
                                                 : WSOCK_TRANSPORT_ERROR;
    c->out += (unsigned long)n;
    return n;
}

static int counted_finish(void *user)
{
    shutdown(((struct counted *)user)->fd, SHUT_WR);
    return 0;
}

static intptr_t counted_fd(void *user)
{
    return ((struct counted *)user)->fd; /* what to wait on */
}

static void counted_explain(void *user, wsock_failure *failure)
{
    (void)user;
    failure->os_code = errno;
    failure->text = "the socket pair failed";
}

static void counted_close(void *user)
{
    close(((struct counted *)user)->fd);
}

static wsock_io counted_io(struct counted *c)
{
    wsock_io io = {0};
    fcntl(c->fd, F_SETFL, O_NONBLOCK); /* no callback may block */
    io.read = counted_read;
    io.write = counted_write;
    io.finish = counted_finish;
    io.fd = counted_fd;
    io.explain = counted_explain;
    io.close = counted_close;
    io.user = c;
    return io;
}

/* The other end: a server for one connection, over the same callbacks. */
static int serve(int fd)
{
    struct counted c = {0};
    char buffer[1024];
    wsock_io io;
    wsock_status got;
    wsock *ws = wsock_new(WSOCK_SERVER, NULL, NULL);
    int failed;
    c.fd = fd;
    io = counted_io(&c);
    wsock_attach(ws, &io);
    while (wsock_receive(ws, buffer, sizeof buffer, &got) == WSOCK_OK &&
           got.kind != WSOCK_CLOSE)
        wsock_send(ws, got.kind, buffer, got.bytes);
    wsock_close(ws, WSOCK_CLOSE_NORMAL, NULL);
    failed = wsock_error(ws) != WSOCK_OK;
    wsock_free(ws);
    return failed;
}

int main(void)
{
    struct counted c = {0};
    int pair[2], failed, status = 0;
    char text[64];
    wsock_io io;
    wsock_status got;
    wsock *ws;
    pid_t child;

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0 ||
        (child = fork()) < 0) {
        perror("custom_io");
        return 1;
    }
    if (child == 0) {
        close(pair[0]);
        _exit(serve(pair[1]));
    }
    close(pair[1]);
    c.fd = pair[0];
    io = counted_io(&c);

    ws = wsock_new(WSOCK_CLIENT, "ws://localhost/", NULL);
    wsock_attach(ws, &io); /* shakes hands; from here on all is as usual */
    wsock_send(ws, WSOCK_TEXT, "over a pair", 11);
    if (wsock_receive(ws, text, sizeof text, &got) == WSOCK_OK)
        printf("%.*s\n", (int)got.bytes, text);
    wsock_close(ws, WSOCK_CLOSE_NORMAL, NULL);
    failed = wsock_error(ws) != WSOCK_OK;
    if (failed)
        fprintf(stderr, "custom_io: %s\n", wsock_error_text(ws));
    wsock_free(ws);
    printf("%lu bytes in, %lu bytes out\n", c.in, c.out);
    waitpid(child, &status, 0);
    return failed || status != 0;
}
