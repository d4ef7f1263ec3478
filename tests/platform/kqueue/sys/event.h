/* sys/event.h - as much of kqueue as wsock.h uses, over Linux's epoll.
 *
 * So that the code for macOS and BSD is not only parsed here but run.  The
 * declarations are those of FreeBSD and macOS; the rules that are kept are
 * the ones that the library relies on:
 *
 *   - one filter for each direction, EV_ADD again changes udata, EV_DELETE of
 *     what is not there fails with ENOENT;
 *   - a descriptor that is both readable and writable makes two events;
 *   - closing a descriptor takes its filters away;
 *   - a kqueue is itself a descriptor that poll() takes. */
#ifndef KQUEUE_H
#define KQUEUE_H

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#define EVFILT_READ (-1)
#define EVFILT_WRITE (-2)
#define EV_ADD 0x0001
#define EV_DELETE 0x0002
#define EV_EOF 0x8000

struct kevent {
    uintptr_t ident;
    short filter;
    unsigned short flags;
    unsigned int fflags;
    intptr_t data;
    void *udata;
};

#define EV_SET(e, i, f, fl, ff, d, u)                                         \
    ((e)->ident = (i), (e)->filter = (f), (e)->flags = (fl),                  \
     (e)->fflags = (ff), (e)->data = (d), (e)->udata = (u))

enum { KQUEUE_FDS = 65536, KQUEUE_MOST = 64 };

/* What is asked of a descriptor, and by which kqueue. */
static struct kqueue_entry {
    int queue;
    unsigned filters; /* 1 read, 2 write */
    void *udata[2];
} kqueue_table[KQUEUE_FDS];

static pthread_mutex_t kqueue_lock = PTHREAD_MUTEX_INITIALIZER;

static int kqueue(void)
{
    return epoll_create1(EPOLL_CLOEXEC);
}

/* Tells epoll what an entry asks for. */
static int kqueue_apply(int queue, int fd, const struct kqueue_entry *k)
{
    struct epoll_event e;
    memset(&e, 0, sizeof e);
    e.events = (k->filters & 1 ? (uint32_t)EPOLLIN : 0)
               | (k->filters & 2 ? (uint32_t)EPOLLOUT : 0);
    e.data.fd = fd;
    if (!k->filters)
        return epoll_ctl(queue, EPOLL_CTL_DEL, fd, &e);
    if (epoll_ctl(queue, EPOLL_CTL_MOD, fd, &e) == 0)
        return 0;
    return errno == ENOENT ? epoll_ctl(queue, EPOLL_CTL_ADD, fd, &e) : -1;
}

static int kqueue_change(int queue, const struct kevent *c)
{
    int which = c->filter == EVFILT_WRITE, fd = (int)c->ident;
    struct kqueue_entry *k = &kqueue_table[fd % KQUEUE_FDS];
    struct epoll_event probe;
    memset(&probe, 0, sizeof probe);
    /* A descriptor that was closed and opened again has no filters. */
    if (k->queue != queue
        || (k->filters
            && epoll_ctl(queue, EPOLL_CTL_ADD, fd, &probe) == 0
            && epoll_ctl(queue, EPOLL_CTL_DEL, fd, &probe) == 0))
        memset(k, 0, sizeof *k);
    k->queue = queue;
    if (c->flags & EV_DELETE) {
        if (!(k->filters & (1u << which))) {
            errno = ENOENT;
            return -1;
        }
        k->filters &= ~(1u << which);
    } else {
        k->filters |= 1u << which;
        k->udata[which] = c->udata;
    }
    return kqueue_apply(queue, fd, k);
}

static int kqueue_put(struct kevent *to, const struct kqueue_entry *k,
                      const struct epoll_event *e, int which)
{
    uint32_t hung = e->events & (uint32_t)(EPOLLHUP | EPOLLERR);
    uint32_t want = which ? (uint32_t)EPOLLOUT : (uint32_t)EPOLLIN;
    if (!(k->filters & (1u << which)) || !((e->events & want) || hung))
        return 0;
    memset(to, 0, sizeof *to);
    to->ident = (uintptr_t)e->data.fd;
    to->filter = which ? EVFILT_WRITE : EVFILT_READ;
    to->flags = hung ? EV_EOF : 0;
    to->udata = k->udata[which];
    return 1;
}

static int kevent(int queue, const struct kevent *changes, int nchanges,
                  struct kevent *events, int nevents,
                  const struct timespec *timeout)
{
    struct epoll_event ready[KQUEUE_MOST];
    int i, n, got = 0, failed = 0;
    pthread_mutex_lock(&kqueue_lock);
    for (i = 0; i < nchanges && !failed; i++)
        failed = kqueue_change(queue, &changes[i]) != 0;
    pthread_mutex_unlock(&kqueue_lock);
    if (failed || nevents == 0)
        return failed ? -1 : 0;
    if (nevents > KQUEUE_MOST)
        nevents = KQUEUE_MOST;
    /* Half as many: each may become two. */
    n = epoll_wait(queue, ready, (nevents + 1) / 2,
                   timeout ? (int)(timeout->tv_sec * 1000
                                   + timeout->tv_nsec / 1000000)
                           : -1);
    pthread_mutex_lock(&kqueue_lock);
    for (i = 0; i < n; i++) {
        const struct kqueue_entry *k =
            &kqueue_table[ready[i].data.fd % KQUEUE_FDS];
        got += kqueue_put(&events[got], k, &ready[i], 0);
        if (got < nevents)
            got += kqueue_put(&events[got], k, &ready[i], 1);
    }
    pthread_mutex_unlock(&kqueue_lock);
    return n < 0 ? -1 : got;
}

#endif /* KQUEUE_H */
