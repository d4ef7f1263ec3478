/* raw_echo.c - the least TCP echo server: what a WebSocket server is measured
 * against, because nothing that reads and writes can cost less.
 *
 * One epoll loop, level-triggered, one shared buffer; what the kernel does
 * not take at once is kept until it does, and meanwhile nothing is read.
 * `raw_echo [fanout]` prints one line, raw://127.0.0.1:PORT; SIGTERM ends it.
 * With "fanout" everyone gets what one sends, but for the first bytes of a
 * connection, which stand for a handshake and go back to it alone. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER = 262144, FDS = 70000 };

/* What the kernel did not take, by descriptor; NULL almost always. */
static struct rest {
    char *data;
    size_t at, size;
} *rests[FDS];

static char buffer[BUFFER];
static int fanout, top; /* descriptors in use are below `top` */
static unsigned char used[FDS]; /* 1: nothing came yet, 2: something */
static volatile sig_atomic_t over;

static void on_term(int sig)
{
    (void)sig;
    over = 1;
}

static void watch(int ep, int op, int fd, unsigned events)
{
    struct epoll_event e;
    memset(&e, 0, sizeof e);
    e.events = events;
    e.data.fd = fd;
    epoll_ctl(ep, op, fd, &e);
}

static void drop(int fd)
{
    if (rests[fd]) free(rests[fd]->data);
    free(rests[fd]);
    rests[fd] = NULL;
    used[fd] = 0;
    close(fd);
}

static void keep(int ep, int fd, const char *data, size_t size)
{
    struct rest *r = malloc(sizeof *r);
    if (rests[fd]) exit(1); /* a fan-out to someone who does not read */
    if (!r || !(r->data = malloc(size))) exit(1);
    memcpy(r->data, data, size);
    r->at = 0;
    r->size = size;
    rests[fd] = r;
    watch(ep, EPOLL_CTL_MOD, fd, EPOLLOUT);
}

static void pass_on(int ep, int fd, size_t n)
{
    ssize_t sent = send(fd, buffer, n, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN)
        drop(fd);
    else if (sent < (ssize_t)n)
        keep(ep, fd, buffer + (sent < 0 ? 0 : sent),
             n - (size_t)(sent < 0 ? 0 : sent));
}

static void on_readable(int ep, int fd)
{
    ssize_t n = recv(fd, buffer, sizeof buffer, 0);
    int i;
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
        drop(fd);
    } else if (!fanout || used[fd] == 1) {
        used[fd] = 2;
        pass_on(ep, fd, (size_t)n);
    } else {
        for (i = 0; i < top; i++)
            if (used[i]) pass_on(ep, i, (size_t)n);
    }
}

static void on_writable(int ep, int fd)
{
    struct rest *r = rests[fd];
    ssize_t sent = send(fd, r->data + r->at, r->size - r->at, MSG_NOSIGNAL);
    if (sent < 0 && errno == EAGAIN) return;
    if (sent < 0) {
        drop(fd);
        return;
    }
    r->at += (size_t)sent;
    if (r->at < r->size) return;
    free(r->data);
    free(r);
    rests[fd] = NULL;
    watch(ep, EPOLL_CTL_MOD, fd, EPOLLIN);
}

static void on_connection(int ep, int listener)
{
    int one = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0) return;
    if (fd >= FDS) {
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    watch(ep, EPOLL_CTL_ADD, fd, EPOLLIN);
    used[fd] = 1;
    if (fd >= top) top = fd + 1;
}

int main(int argc, char **argv)
{
    struct sockaddr_in a;
    struct sigaction term;
    sigset_t block, none;
    struct epoll_event events[256];
    socklen_t size = sizeof a;
    int one = 1, i, n, ep = epoll_create1(0);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    memset(&term, 0, sizeof term);
    term.sa_handler = on_term;
    sigaction(SIGTERM, &term, NULL);
    /* Taken only while waiting, so that it cannot come just before. */
    sigemptyset(&none);
    sigemptyset(&block);
    sigaddset(&block, SIGTERM);
    sigprocmask(SIG_BLOCK, &block, NULL);
    memset(&a, 0, sizeof a);
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    fanout = argc > 1 && strcmp(argv[1], "fanout") == 0;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&a, sizeof a) < 0
        || listen(listener, 1024) < 0) {
        perror("raw_echo");
        return 1;
    }
    getsockname(listener, (struct sockaddr *)&a, &size);
    printf("raw://127.0.0.1:%d\n", ntohs(a.sin_port));
    fflush(stdout);
    watch(ep, EPOLL_CTL_ADD, listener, EPOLLIN);
    while (!over) {
        n = epoll_pwait(ep, events, 256, -1, &none);
        for (i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) on_connection(ep, fd);
            else if (rests[fd]) on_writable(ep, fd);
            else on_readable(ep, fd);
        }
    }
    return 0;
}
