/* wslay.c - an echo server, or with "fanout" a broadcast, by wslay, which has
 * no I/O of its own: one epoll loop with one receive buffer; what the events
 * write is gathered and leaves in one send. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <wslay/wslay.h>

enum { FDS = 70000, IN = 65536, HEAD = 4096 };

struct conn {
    wslay_event_context_ptr ws; /* NULL: no handshake yet */
    int fd, waiting;            /* for EPOLLOUT */
    char *rest;                 /* of a send that was not taken whole */
    size_t rest_size;
    size_t head_size;
    char *head;
};

static struct conn *conns[FDS];
static int ep, fanout, top;
static uint8_t in[IN]; /* what was received and not read yet */
static size_t in_at, in_end;
static char *out; /* what is to be sent */
static size_t out_size, out_room;

static void watch(struct conn *c, int op)
{
    struct epoll_event e;
    memset(&e, 0, sizeof e);
    e.events = EPOLLIN | (c->waiting ? (unsigned)EPOLLOUT : 0u);
    e.data.ptr = c;
    epoll_ctl(ep, op, c->fd, &e);
}

static void drop(struct conn *c)
{
    conns[c->fd] = NULL;
    close(c->fd);
    if (c->ws) wslay_event_context_free(c->ws);
    free(c->rest);
    free(c->head);
    free(c);
}

/* -------------------------------------------------------------- sending */

static void put(const void *data, size_t size)
{
    if (out_size + size > out_room) {
        out_room = (out_size + size) * 2;
        out = realloc(out, out_room);
        if (!out) abort();
    }
    memcpy(out + out_size, data, size);
    out_size += size;
}

/* What is gathered leaves, behind what was left of the send before. */
static void flush(struct conn *c)
{
    ssize_t n = 0;
    if (c->rest) {
        c->rest = realloc(c->rest, c->rest_size + out_size);
        memcpy(c->rest + c->rest_size, out, out_size);
        c->rest_size += out_size;
    } else if (out_size) {
        n = send(c->fd, out, out_size, MSG_NOSIGNAL);
        if (n < 0) n = 0;
        if ((size_t)n < out_size) {
            c->rest_size = out_size - (size_t)n;
            c->rest = malloc(c->rest_size);
            memcpy(c->rest, out + n, c->rest_size);
            c->waiting = 1;
            watch(c, EPOLL_CTL_MOD);
        }
    }
    out_size = 0;
}

static void on_writable(struct conn *c)
{
    ssize_t n = send(c->fd, c->rest, c->rest_size, MSG_NOSIGNAL);
    if (n <= 0) return;
    c->rest_size -= (size_t)n;
    memmove(c->rest, c->rest + n, c->rest_size);
    if (c->rest_size) return;
    free(c->rest);
    c->rest = NULL;
    c->waiting = 0;
    watch(c, EPOLL_CTL_MOD);
}

/* ------------------------------------------------------ wslay's callbacks */

static ssize_t on_recv(wslay_event_context_ptr ws, uint8_t *data, size_t size,
                       int flags, void *user)
{
    size_t n = in_end - in_at;
    (void)flags;
    (void)user;
    if (!n) {
        wslay_event_set_error(ws, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    if (n > size) n = size;
    memcpy(data, in + in_at, n);
    in_at += n;
    return (ssize_t)n;
}

static ssize_t on_send(wslay_event_context_ptr ws, const uint8_t *data,
                       size_t size, int flags, void *user)
{
    (void)ws;
    (void)flags;
    (void)user;
    put(data, size);
    return (ssize_t)size;
}

static void on_message(wslay_event_context_ptr ws,
                       const struct wslay_event_on_msg_recv_arg *arg,
                       void *user)
{
    struct wslay_event_msg m;
    int i;
    (void)user;
    if (wslay_is_ctrl_frame(arg->opcode)) return;
    m.opcode = arg->opcode;
    m.msg = arg->msg;
    m.msg_length = arg->msg_length;
    if (!fanout) {
        wslay_event_queue_msg(ws, &m);
        return;
    }
    for (i = 0; i < top; i++) {
        if (!conns[i] || !conns[i]->ws) continue;
        wslay_event_queue_msg(conns[i]->ws, &m);
        wslay_event_send(conns[i]->ws);
        flush(conns[i]);
    }
}

/* ------------------------------------------------------------ handshake */

static int answer(struct conn *c)
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    static const char name[] = "Sec-WebSocket-Key: ";
    char key[25 + sizeof guid], head[256];
    unsigned char hash[20], text[32];
    const char *at = strstr(c->head, name);
    if (!at || strlen(at) < sizeof name - 1 + 24) return 0;
    snprintf(key, sizeof key, "%.24s%s", at + sizeof name - 1, guid);
    SHA1((unsigned char *)key, strlen(key), hash);
    EVP_EncodeBlock(text, hash, sizeof hash);
    put(head, (size_t)snprintf(head, sizeof head,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", text));
    flush(c);
    return 1;
}

static int shake_hands(struct conn *c)
{
    static const struct wslay_event_callbacks callbacks = {
        on_recv, on_send, NULL, NULL, NULL, NULL, on_message};
    if (!c->head) c->head = malloc(HEAD);
    if (!c->head || c->head_size + in_end >= HEAD) return 0;
    memcpy(c->head + c->head_size, in, in_end);
    c->head_size += in_end;
    c->head[c->head_size] = '\0';
    if (!strstr(c->head, "\r\n\r\n")) return 1;
    if (!answer(c)) return 0;
    free(c->head);
    c->head = NULL;
    in_at = in_end; /* a client waits for the answer before it goes on */
    wslay_event_context_server_init(&c->ws, &callbacks, c);
    wslay_event_config_set_max_recv_msg_length(c->ws, (uint64_t)1 << 31);
    return 1;
}

/* ----------------------------------------------------------------- loop */

static void on_readable(struct conn *c)
{
    ssize_t n = recv(c->fd, in, sizeof in, 0);
    if (n < 0 && errno == EAGAIN) return;
    in_at = 0;
    in_end = n > 0 ? (size_t)n : 0;
    if (n <= 0 || (!c->ws && !shake_hands(c))) {
        drop(c);
    } else if (c->ws && in_at < in_end) {
        if (wslay_event_recv(c->ws) != 0 || wslay_event_send(c->ws) != 0)
            drop(c);
        else
            flush(c);
    }
}

static void on_connection(int listener)
{
    int one = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    struct conn *c = fd < 0 ? NULL : calloc(1, sizeof *c);
    if (!c) return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->fd = fd;
    conns[fd] = c;
    if (fd >= top) top = fd + 1;
    watch(c, EPOLL_CTL_ADD);
}

int main(int argc, char **argv)
{
    struct epoll_event events[256];
    struct sockaddr_in a;
    struct conn listening;
    socklen_t size = sizeof a;
    int i, n;
    memset(&a, 0, sizeof a);
    memset(&listening, 0, sizeof listening);
    fanout = argc > 1 && strcmp(argv[1], "fanout") == 0;
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ep = epoll_create1(0);
    listening.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(listening.fd, (struct sockaddr *)&a, size) < 0
        || listen(listening.fd, 1024) < 0)
        return 1;
    getsockname(listening.fd, (struct sockaddr *)&a, &size);
    printf("ws://127.0.0.1:%d/\n", ntohs(a.sin_port));
    fflush(stdout);
    watch(&listening, EPOLL_CTL_ADD);
    for (;;) {
        n = epoll_wait(ep, events, 256, -1);
        for (i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (c == &listening) on_connection(c->fd);
            else if (c->rest && (events[i].events & EPOLLOUT)) on_writable(c);
            else on_readable(c);
        }
    }
}
