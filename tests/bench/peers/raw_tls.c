/* raw_tls.c - the least TLS echo server, with OpenSSL: what a wss:// server is
 * measured against.  Bytes go back as they come, without WebSocket.
 *
 *     raw_tls CERT KEY
 *
 * One epoll loop, level-triggered; reads ahead, so that whole records come
 * with one recv(); what the kernel does not take at once is kept until it
 * does, and meanwhile nothing is read.  Prints one line, tls://127.0.0.1:PORT;
 * SIGTERM ends it. */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RECORD = 16384 };

struct conn {
    SSL *ssl;
    int fd;
    size_t size; /* of `rest`, which is not written yet; NULL mostly */
    unsigned char *rest;
};

static volatile sig_atomic_t over;

static void on_term(int sig)
{
    (void)sig;
    over = 1;
}

static void watch(int ep, int op, int fd, unsigned events, struct conn *c)
{
    struct epoll_event e;
    memset(&e, 0, sizeof e);
    e.events = events;
    e.data.ptr = c;
    epoll_ctl(ep, op, fd, &e);
}

static void drop(struct conn *c)
{
    ERR_clear_error();
    SSL_shutdown(c->ssl);
    SSL_free(c->ssl);
    close(c->fd);
    free(c->rest);
    free(c);
}

/* 1: go on; 0: not now; -1: it is over. */
static int result(struct conn *c, int n)
{
    int why = n > 0 ? SSL_ERROR_NONE : SSL_get_error(c->ssl, n);
    if (why == SSL_ERROR_NONE) return 1;
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

/* What does not leave now is kept. */
static int put(int ep, struct conn *c, const unsigned char *data, size_t size)
{
    int n = SSL_write(c->ssl, data, (int)size), r = result(c, n);
    if (r != 0 || data == c->rest) return r;
    c->rest = malloc(size);
    if (!c->rest) exit(1);
    memcpy(c->rest, data, size);
    c->size = size;
    watch(ep, EPOLL_CTL_MOD, c->fd, EPOLLOUT, c);
    return 0;
}

static int put_rest(int ep, struct conn *c)
{
    int r = put(ep, c, c->rest, c->size);
    if (r != 1) return r;
    free(c->rest);
    c->rest = NULL;
    watch(ep, EPOLL_CTL_MOD, c->fd, EPOLLIN, c);
    return 1;
}

static void serve(int ep, struct conn *c)
{
    static unsigned char record[RECORD];
    int n, r = 1;
    if (c->rest) r = put_rest(ep, c);
    else if (!SSL_is_init_finished(c->ssl))
        r = result(c, SSL_do_handshake(c->ssl));
    while (r == 1) {
        n = SSL_read(c->ssl, record, sizeof record);
        r = result(c, n);
        if (r == 1) r = put(ep, c, record, (size_t)n);
    }
    if (r < 0) drop(c);
}

static void on_connection(int ep, int listener, SSL_CTX *context)
{
    int one = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    struct conn *c;
    if (fd < 0) return;
    c = calloc(1, sizeof *c);
    if (!c || !(c->ssl = SSL_new(context)) || SSL_set_fd(c->ssl, fd) != 1)
        exit(1);
    SSL_set_accept_state(c->ssl);
    c->fd = fd;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    watch(ep, EPOLL_CTL_ADD, fd, EPOLLIN, c);
}

static SSL_CTX *prepared(char **argv)
{
    SSL_CTX *x = SSL_CTX_new(TLS_server_method());
    if (!x || SSL_CTX_use_certificate_chain_file(x, argv[1]) != 1
        || SSL_CTX_use_PrivateKey_file(x, argv[2], SSL_FILETYPE_PEM) != 1) {
        ERR_print_errors_fp(stderr);
        exit(1);
    }
    SSL_CTX_set_read_ahead(x, 1);
    /* Buffers only while there is something in them. */
    SSL_CTX_set_mode(x, SSL_MODE_RELEASE_BUFFERS
                            | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return x;
}

static int listening(void)
{
    struct sockaddr_in a;
    socklen_t size = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    memset(&a, 0, sizeof a);
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0
        || listen(fd, 1024) < 0) {
        perror("raw_tls");
        exit(1);
    }
    getsockname(fd, (struct sockaddr *)&a, &size);
    printf("tls://127.0.0.1:%d\n", ntohs(a.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv)
{
    struct sigaction term;
    sigset_t block, none;
    struct epoll_event events[256];
    int i, n, listener, ep = epoll_create1(0);
    SSL_CTX *context;
    if (argc != 3) return 2;
    context = prepared(argv);
    memset(&term, 0, sizeof term);
    term.sa_handler = on_term;
    sigaction(SIGTERM, &term, NULL);
    signal(SIGPIPE, SIG_IGN);
    /* Taken only while waiting, so that it cannot come just before. */
    sigemptyset(&none);
    sigemptyset(&block);
    sigaddset(&block, SIGTERM);
    sigprocmask(SIG_BLOCK, &block, NULL);
    listener = listening();
    watch(ep, EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
    while (!over) {
        n = epoll_pwait(ep, events, 256, -1, &none);
        for (i = 0; i < n; i++)
            if (events[i].data.ptr) serve(ep, events[i].data.ptr);
            else on_connection(ep, listener, context);
    }
    return 0;
}
