/* net.h - what the tests over real sockets and with threads share.  Include
 * it after test.h.
 *
 * A guard that names the test that hangs; plain TCP peers that misbehave; an
 * address that never answers; a transport that writes down what is asked of
 * it; and a transport in memory between threads, with `wait` and `wake`. */
#ifndef NET_H
#define NET_H

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

/* ---------------------------------------------------------------- guard -- */

TEST_FN void guard_rings(int number)
{
    static const char text[] = "]: nothing moves any more\n"
                               "0 passed, 1 failed\n";
    const char *name = test_state.test ? test_state.test : "-";
    ssize_t n = write(1, name, strlen(name));
    n += write(1, " [", 2);
    n += write(1, test_state.note, strlen(test_state.note));
    n += write(1, text, sizeof text - 1);
    (void)n;
    (void)number;
    _exit(1);
}

/* Ends the program, with the name of the test, if it is not set anew within
 * a minute: to be called when a test begins.  A test that waits for what
 * never comes is a failure, not a program that has to be killed. */
TEST_FN void guard(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = guard_rings;
    sigaction(SIGALRM, &action, NULL);
    alarm(60);
}

/* Counted work for slow tools: all of it, or a small part. */
TEST_FN int net_small(int all, int part)
{
    return getenv("TEST_SMALL") || getenv("TEST_QUICK") ? part : all;
}

TEST_FN void *net_no_work(void *user)
{
    return user;
}

/* Threads of this program.  (The first may bring one of a sanitizer's with
 * it: so there has been one before they are counted.) */
TEST_FN int net_threads(void)
{
    static int begun;
    pthread_t thread;
    struct dirent *d;
    DIR *dir;
    int n = 0;
    if (!begun && !pthread_create(&thread, NULL, net_no_work, NULL))
        begun = !pthread_join(thread, NULL);
    dir = opendir("/proc/self/task");
    if (!dir)
        return -1;
    while ((d = readdir(dir)) != NULL)
        n += d->d_name[0] != '.';
    closedir(dir);
    return n;
}

/* Until no more than `n` are left: one that has said all may still be on its
 * way out. */
TEST_FN void net_wait_threads(int n)
{
    while (net_threads() > n)
        sched_yield();
}

/* ------------------------------------------------------------ plain TCP -- */

TEST_FN socklen_t net_address(struct sockaddr_storage *s, const char *host,
                              int port)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    memset(s, 0, sizeof *s);
    memset(&v4, 0, sizeof v4);
    memset(&v6, 0, sizeof v6);
    v4.sin_family = AF_INET;
    v4.sin_port = htons((uint16_t)port);
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons((uint16_t)port);
    if (inet_pton(AF_INET, host, &v4.sin_addr) == 1) {
        memcpy(s, &v4, sizeof v4);
        return sizeof v4;
    }
    if (inet_pton(AF_INET6, host, &v6.sin6_addr) != 1)
        test_die("that is no address");
    memcpy(s, &v6, sizeof v6);
    return sizeof v6;
}

TEST_FN int net_port_of(const struct sockaddr_storage *s)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    memcpy(&v4, s, sizeof v4);
    memcpy(&v6, s, sizeof v6);
    if (s->ss_family == AF_INET6)
        return ntohs(v6.sin6_port);
    return s->ss_family == AF_INET ? ntohs(v4.sin_port) : -1;
}

/* The port of a socket, and of its peer's; -1 if it has none. */
TEST_FN int net_port(int fd)
{
    struct sockaddr_storage s;
    socklen_t n = sizeof s;
    memset(&s, 0, sizeof s);
    return getsockname(fd, (struct sockaddr *)&s, &n) ? -1 : net_port_of(&s);
}

TEST_FN int net_peer_port(int fd)
{
    struct sockaddr_storage s;
    socklen_t n = sizeof s;
    memset(&s, 0, sizeof s);
    return getpeername(fd, (struct sockaddr *)&s, &n) ? -1 : net_port_of(&s);
}

/* A listening socket, port 0: any; -1 if the system has no such address. */
TEST_FN int raw_listen(const char *host, int port, int backlog)
{
    struct sockaddr_storage s;
    socklen_t n = net_address(&s, host, port);
    int fd = socket(s.ss_family, SOCK_STREAM, 0), on = 1;
    if (fd < 0)
        return -1;
    if (s.ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&s, n) || listen(fd, backlog)) {
        close(fd);
        return -1;
    }
    return fd;
}

TEST_FN void raw_nonblocking(int fd)
{
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

/* A plain TCP connection that never blocks: the other side may live in the
 * same thread.  `small`: with little room for what comes. */
TEST_FN int raw_connect(int port, int small)
{
    struct sockaddr_storage s;
    socklen_t n = net_address(&s, "127.0.0.1", port);
    int fd = socket(AF_INET, SOCK_STREAM, 0), room = 4096;
    if (small && fd >= 0) {
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    }
    if (fd < 0 || connect(fd, (struct sockaddr *)&s, n))
        test_die("the server cannot be reached");
    raw_nonblocking(fd);
    return fd;
}

/* The descriptor in this program that is the other end of `fd`, -1: none. */
TEST_FN int raw_other_end(int fd)
{
    int i, mine = net_port(fd);
    for (i = 3; i < 1024; i++)
        if (i != fd && net_peer_port(i) == mine)
            return i;
    return -1;
}

/* The socket of a connection with a loop of its own: its last descriptor. */
TEST_FN intptr_t client_socket(const wsock *ws)
{
    wsock_watch list[4];
    size_t n = wsock_watches(ws, list, 4);
    return n ? list[n - 1].fd : -1;
}

TEST_FN void raw_send(int fd, const void *data, size_t n)
{
    CHECK_INT(send(fd, data, n, MSG_NOSIGNAL), n);
}

TEST_FN void raw_bytes(int fd, const bytes *b)
{
    raw_send(fd, b->data, b->size);
}

/* Reads what is there.  0: there may come more; 1: the stream has ended;
 * 2: it was cut off. */
TEST_FN int raw_read(int fd, bytes *in)
{
    char buffer[4096];
    ssize_t n;
    while ((n = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT)) > 0)
        bytes_put(in, buffer, (size_t)n);
    if (n == 0)
        return 1;
    return errno == EAGAIN || errno == EINTR ? 0 : 2;
}

/* Waits until there is something to read, or the end. */
TEST_FN void raw_wait(int fd)
{
    struct pollfd p;
    p.fd = fd;
    p.events = POLLIN;
    p.revents = 0;
    while (poll(&p, 1, -1) < 1)
        ;
}

/* Waits until what a peer in this program has sent is there for the other end
 * to read: even on the loopback that may take a moment. */
TEST_FN void raw_arrived(int fd)
{
    raw_wait(raw_other_end(fd));
}

/* Away without a word: a reset. */
TEST_FN void raw_reset(int fd)
{
    struct linger l;
    l.l_onoff = 1;
    l.l_linger = 0;
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l);
    close(fd);
}

/* Is there a whole HTTP head?  Returns its size. */
TEST_FN size_t raw_head(bytes *in)
{
    const char *end = bytes_find(in, "\r\n\r\n");
    return end ? (size_t)(end - (const char *)in->data) + 4 : 0;
}

/* Takes the first `n` bytes away. */
TEST_FN void bytes_drop(bytes *b, size_t n)
{
    memmove(b->data, b->data + n, b->size - n);
    b->size -= n;
    b->data[b->size] = 0;
}

/* The frames behind a head, as frames_log() writes them. */
TEST_FN const char *raw_frames(bytes *in, bytes *log)
{
    bytes copy = { 0 };
    size_t head = raw_head(in);
    bytes_put(&copy, in->data + head, in->size - head);
    bytes_clear(log);
    frames_log(log, &copy, 0);
    bytes_free(&copy);
    return bytes_str(log);
}

/* An address that takes no connections and refuses none: a listening socket
 * whose queue is full, so that what comes is dropped. */
typedef struct black_hole {
    char host[64];
    int fd[12]; /* the listener, then those that fill it */
} black_hole;

TEST_FN int black_hole_open(black_hole *b, const char *host, int port)
{
    struct sockaddr_storage s;
    socklen_t n;
    int i;
    memset(b, 0, sizeof *b);
    snprintf(b->host, sizeof b->host, "%s", host);
    for (i = 0; i < 12; i++)
        b->fd[i] = -1;
    b->fd[0] = raw_listen(host, port, 0);
    if (b->fd[0] < 0)
        return 0;
    n = net_address(&s, host, net_port(b->fd[0]));
    for (i = 1; i < 12; i++) {
        b->fd[i] = socket(s.ss_family, SOCK_STREAM, 0);
        raw_nonblocking(b->fd[i]);
        (void)!connect(b->fd[i], (struct sockaddr *)&s, n);
    }
    return 1;
}

TEST_FN void black_hole_close(black_hole *b)
{
    int i;
    for (i = 0; i < 12; i++)
        if (b->fd[i] >= 0)
            close(b->fd[i]);
}

/* --------------------------------------------------------------- tracing --
 * A transport around another one that writes down what is asked of it: r a
 * read that gave bytes, 0 one that met the end, w a write, f finish, W wait,
 * c close.  Calls that were answered with WANT are not written down. */
typedef struct trace {
    const wsock_io *below;
    char log[4096];
    size_t n;
    size_t written;       /* bytes */
    const void *watched;  /* did a write offer the byte at this address? */
    int seen;
    size_t largest;       /* piece that was offered */
} trace;

TEST_FN void trace_put(trace *t, char what)
{
    if (t->n + 1 < sizeof t->log)
        t->log[t->n++] = what;
    t->log[t->n] = 0;
}

TEST_FN void trace_clear(trace *t)
{
    t->n = t->written = t->largest = 0;
    t->log[0] = 0;
    t->seen = 0;
}

TEST_FN int trace_count(const trace *t, char what)
{
    int n = 0;
    size_t i;
    for (i = 0; i < t->n; i++)
        n += t->log[i] == what;
    return n;
}

TEST_FN ptrdiff_t trace_read(void *user, void *data, size_t size)
{
    trace *t = (trace *)user;
    ptrdiff_t n = t->below->read(t->below->user, data, size);
    if (n >= 0)
        trace_put(t, n ? 'r' : '0');
    return n;
}

TEST_FN ptrdiff_t trace_write(void *user, const wsock_buf *bufs, size_t count)
{
    trace *t = (trace *)user;
    const char *watched = (const char *)t->watched;
    ptrdiff_t n;
    size_t i;
    for (i = 0; i < count; i++) {
        const char *p = (const char *)bufs[i].data;
        if (watched && watched >= p && watched < p + bufs[i].size)
            t->seen = 1;
        if (bufs[i].size > t->largest)
            t->largest = bufs[i].size;
    }
    n = t->below->write(t->below->user, bufs, count);
    if (n > 0) {
        trace_put(t, 'w');
        t->written += (size_t)n;
    }
    return n;
}

TEST_FN int trace_finish(void *user)
{
    trace *t = (trace *)user;
    int r = t->below->finish(t->below->user);
    if (r == 0)
        trace_put(t, 'f');
    return r;
}

TEST_FN int trace_wait(void *user, int wants, int timeout)
{
    trace *t = (trace *)user;
    trace_put(t, 'W');
    return t->below->wait(t->below->user, wants, timeout);
}

TEST_FN void trace_explain(void *user, wsock_failure *failure)
{
    trace *t = (trace *)user;
    t->below->explain(t->below->user, failure);
}

TEST_FN void trace_close(void *user)
{
    trace *t = (trace *)user;
    trace_put(t, 'c');
    t->below->close(t->below->user);
}

TEST_FN void trace_init(trace *t, wsock_io *io, const wsock_io *below)
{
    memset(t, 0, sizeof *t);
    memset(io, 0, sizeof *io);
    t->below = below;
    io->read = trace_read;
    io->write = trace_write;
    io->finish = trace_finish;
    io->wait = trace_wait;
    io->explain = trace_explain;
    io->close = trace_close;
    io->user = t;
}

/* --------------------------------------------------------------- channel --
 * Two transports joined in memory whose ends may live in different threads,
 * and each end in two.  `wait` blocks on a condition and `wake` ends it; all
 * other callbacks are to come one at a time, which is looked at. */
typedef struct channel channel;

typedef struct channel_end {
    channel *of;
    int side;
    bytes in;         /* what waits to be read here */
    size_t at;
    int ended;        /* the other end will write no more */
    int dead;         /* reads and writes fail from now on */
    int mute;         /* only writes do */
    int single;       /* who waits for room alone is not told of it */
    int inside;       /* a callback is running */
    int overlaps;     /* another began meanwhile: none may */
    int waiting;      /* threads in `wait` */
    int wake_pending; /* a wake that met nobody */
    unsigned wakes;
    int closed;
} channel_end;

struct channel {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    size_t capacity; /* bytes that may wait at an end */
    channel_end end[2];
    wsock_io io[2];
};

TEST_FN void channel_enter(channel_end *e)
{
    pthread_mutex_lock(&e->of->lock);
    e->overlaps += e->inside != 0 || e->closed;
    e->inside = 1;
    pthread_mutex_unlock(&e->of->lock);
    sched_yield(); /* room for one that comes although it may not */
    pthread_mutex_lock(&e->of->lock);
}

TEST_FN void channel_leave(channel_end *e)
{
    e->inside = 0;
    pthread_mutex_unlock(&e->of->lock);
}

TEST_FN ptrdiff_t channel_read(void *user, void *data, size_t size)
{
    channel_end *e = (channel_end *)user;
    ptrdiff_t result = WSOCK_WANT_READ;
    size_t n;
    channel_enter(e);
    n = e->in.size - e->at;
    if (e->dead) {
        result = WSOCK_TRANSPORT_ERROR;
    } else if (n) {
        if (n > size)
            n = size;
        memcpy(data, e->in.data + e->at, n);
        e->at += n;
        if (e->at == e->in.size)
            e->at = e->in.size = 0;
        result = (ptrdiff_t)n;
        pthread_cond_broadcast(&e->of->moved);
    } else if (e->ended) {
        result = 0;
    }
    channel_leave(e);
    return result;
}

TEST_FN ptrdiff_t channel_write(void *user, const wsock_buf *bufs,
                                size_t count)
{
    channel_end *e = (channel_end *)user;
    channel_end *to = &e->of->end[!e->side];
    ptrdiff_t result = 0;
    size_t i, n, room;
    channel_enter(e);
    n = to->in.size - to->at;
    room = n < e->of->capacity ? e->of->capacity - n : 0;
    if (e->dead || e->mute || to->closed) {
        result = WSOCK_TRANSPORT_ERROR;
    } else if (!room) {
        result = WSOCK_WANT_WRITE;
    } else {
        for (i = 0; i < count && room; i++) {
            n = bufs[i].size < room ? bufs[i].size : room;
            bytes_put(&to->in, bufs[i].data, n);
            room -= n;
            result += (ptrdiff_t)n;
        }
        pthread_cond_broadcast(&e->of->moved);
    }
    channel_leave(e);
    return result;
}

TEST_FN int channel_finish(void *user)
{
    channel_end *e = (channel_end *)user;
    channel_enter(e);
    e->of->end[!e->side].ended = 1;
    pthread_cond_broadcast(&e->of->moved);
    channel_leave(e);
    return 0;
}

TEST_FN int channel_ready(const channel_end *e, int wants)
{
    const channel_end *to = &e->of->end[!e->side];
    if (e->dead)
        return 1;
    if ((wants & 1) && (e->at < e->in.size || e->ended))
        return 1;
    return (wants & 2) && !(e->single && wants == 2)
           && (to->in.size - to->at < e->of->capacity || to->closed);
}

TEST_FN int channel_wait(void *user, int wants, int timeout)
{
    channel_end *e = (channel_end *)user;
    struct timespec until;
    unsigned wakes;
    int late = 0;
    clock_gettime(CLOCK_REALTIME, &until);
    if (timeout > 0) {
        until.tv_sec += timeout / 1000;
        until.tv_nsec += timeout % 1000 * 1000000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
    }
    pthread_mutex_lock(&e->of->lock);
    wakes = e->wakes;
    e->waiting++;
    pthread_cond_broadcast(&e->of->moved); /* see channel_await() */
    while (!e->wake_pending && e->wakes == wakes && !channel_ready(e, wants)
           && !late) {
        if (timeout < 0)
            pthread_cond_wait(&e->of->moved, &e->of->lock);
        else
            late = pthread_cond_timedwait(&e->of->moved, &e->of->lock,
                                          &until);
    }
    e->waiting--;
    e->wake_pending = 0;
    pthread_mutex_unlock(&e->of->lock);
    return 0;
}

TEST_FN void channel_wake(void *user)
{
    channel_end *e = (channel_end *)user;
    pthread_mutex_lock(&e->of->lock);
    if (e->waiting)
        e->wakes++;
    else
        e->wake_pending = 1;
    pthread_cond_broadcast(&e->of->moved);
    pthread_mutex_unlock(&e->of->lock);
}

TEST_FN void channel_close(void *user)
{
    channel_end *e = (channel_end *)user;
    channel_enter(e);
    e->closed = 1;
    e->of->end[!e->side].ended = 1;
    pthread_cond_broadcast(&e->of->moved);
    channel_leave(e);
}

TEST_FN void channel_init(channel *c, size_t capacity)
{
    int i;
    memset(c, 0, sizeof *c);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->moved, NULL);
    c->capacity = capacity;
    for (i = 0; i < 2; i++) {
        c->end[i].of = c;
        c->end[i].side = i;
        c->io[i].read = channel_read;
        c->io[i].write = channel_write;
        c->io[i].finish = channel_finish;
        c->io[i].wait = channel_wait;
        c->io[i].wake = channel_wake;
        c->io[i].close = channel_close;
        c->io[i].user = &c->end[i];
    }
}

/* Until a thread is in `wait` at an end. */
TEST_FN void channel_await(channel *c, int side)
{
    pthread_mutex_lock(&c->lock);
    while (!c->end[side].waiting)
        pthread_cond_wait(&c->moved, &c->lock);
    pthread_mutex_unlock(&c->lock);
}

/* Until what an end writes fills the channel: whoever sends there waits. */
TEST_FN void channel_await_full(channel *c, int side)
{
    channel_end *to = &c->end[!side];
    pthread_mutex_lock(&c->lock);
    while (to->in.size - to->at < c->capacity)
        pthread_cond_wait(&c->moved, &c->lock);
    pthread_mutex_unlock(&c->lock);
}

/* The transport of one end breaks. */
TEST_FN void channel_break(channel *c, int side)
{
    pthread_mutex_lock(&c->lock);
    c->end[side].dead = 1;
    pthread_cond_broadcast(&c->moved);
    pthread_mutex_unlock(&c->lock);
}

/* Both connections are freed: what is to be true then. */
TEST_FN void channel_free(channel *c)
{
    int i;
    for (i = 0; i < 2; i++) {
        CHECK_INT(c->end[i].overlaps, 0);
        CHECK_INT(c->end[i].closed, 1);
        bytes_free(&c->end[i].in);
    }
    pthread_cond_destroy(&c->moved);
    pthread_mutex_destroy(&c->lock);
}

#endif /* NET_H */
