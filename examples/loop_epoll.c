/* loop_epoll.c - an echo server inside a program's own epoll loop, beside a
 * descriptor of the program's: here signals.
 *
 *     cc -O2 -o loop_epoll examples/loop_epoll.c
 *     ./loop_epoll [PORT]           (default: 9001; 0: any free one)
 *
 * Listens on 127.0.0.1; ends on SIGINT and SIGTERM, after closing its
 * connections.  A client goes into a loop in the same way, by wsock_poll(),
 * wsock_watches() and wsock_timeout(): see loop_libuv.c. */
#define WSOCK_IMPLEMENTATION
#include "../wsock.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* Poll with time 0 until nothing is left to do.  Returns 0, or a negative
 * result when the server has ended. */
static int serve(wsock_server *server)
{
    wsock_event e;
    int r;
    while ((r = wsock_server_poll(server, &e, 0)) > 0)
        /* The queue cannot be full here: while it is, the server does not
         * read from that connection. */
        if (e.type == WSOCK_EVENT_MESSAGE)
            wsock_send(e.ws, e.kind, e.data, e.size);
    return r;
}

/* Ask for one report of this descriptor.
 * EPOLLONESHOT makes a list of what was watched before unnecessary: what is
 * no longer listed reports once at most, which costs one poll in vain.  What
 * the library has closed has left the set, even when its number is in use
 * again: then ENOENT says so. */
static int watch(int loop, const wsock_watch *w)
{
    struct epoll_event e = {0};
    e.events = EPOLLONESHOT | (w->wants & 1 ? EPOLLIN : 0u) |
               (w->wants & 2 ? EPOLLOUT : 0u);
    e.data.fd = (int)w->fd;
    if (epoll_ctl(loop, EPOLL_CTL_MOD, e.data.fd, &e) == 0)
        return 0;
    if (errno != ENOENT)
        return -1;
    return epoll_ctl(loop, EPOLL_CTL_ADD, e.data.fd, &e);
}

/* Watch all that the server waits for now; there is one descriptor for all
 * its connections where the library has epoll itself, else one for each.
 * Returns how long the wait may last. */
static int watch_server(int loop, wsock_server *server)
{
    static wsock_watch *list;
    static size_t room;
    size_t i, n;
    int missed = 0, wait = wsock_server_timeout(server);
    while ((n = wsock_server_watches(server, list, room)) > room) {
        wsock_watch *more = (wsock_watch *)realloc(list, n * sizeof *list);
        if (!more) {
            missed = 1;
            n = room;
            break;
        }
        list = more;
        room = n;
    }
    for (i = 0; i < n; i++)
        missed |= watch(loop, &list[i]) < 0;
    /* What cannot be watched, as memory is out, is looked at every so often. */
    return missed && (wait < 0 || wait > 20) ? 20 : wait;
}

/* The program's own part of the loop.  Returns -1 when it cannot go on. */
static int run(int loop, int signals, wsock_server *server)
{
    while (serve(server) == 0) {
        struct epoll_event events[16];
        int i, n = epoll_wait(loop, events, 16, watch_server(loop, server));
        if (n < 0 && errno != EINTR) {
            perror("loop_epoll: epoll_wait");
            return -1;
        }
        for (i = 0; i < n; i++) {
            struct signalfd_siginfo info;
            if (events[i].data.fd == signals &&
                read(signals, &info, sizeof info) == sizeof info)
                wsock_server_close(server); /* polls go on until all left */
        }
        /* Whichever of the server's descriptors it was, serve() knows. */
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct epoll_event e = {0};
    wsock_server *server = NULL;
    char url[64];
    sigset_t set;
    int loop, signals, failed = 1;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    loop = epoll_create1(EPOLL_CLOEXEC);
    e.events = EPOLLIN;
    e.data.fd = signals;
    if (signals < 0 || loop < 0 ||
        epoll_ctl(loop, EPOLL_CTL_ADD, signals, &e) < 0) {
        perror("loop_epoll");
        return 1;
    }

    snprintf(url, sizeof url, "ws://127.0.0.1:%s/",
             argc > 1 ? argv[1] : "9001");
    server = wsock_listen(url, NULL);
    if (wsock_server_error(server) == WSOCK_OK) {
        printf("listening on ws://127.0.0.1:%d/\n",
               wsock_server_port(server));
        fflush(stdout);
        failed = run(loop, signals, server) < 0;
    }
    if (wsock_server_error(server) != WSOCK_OK) {
        fprintf(stderr, "loop_epoll: %s\n", wsock_server_why(server)->text);
        failed = 1;
    }
    wsock_server_free(server);
    close(loop);
    close(signals);
    return failed;
}
