/* lookup.h - a getaddrinfo() in the test's hands.  Include it before wsock.h:
 * it takes the system's place in the library.
 *
 * Host names that end with ".test" are answered from here: with `result`, or
 * with the addresses that lookup_set() was given, at once or when the test
 * lets go of them.  All others go to the system.  Every call is counted, and
 * looked at: on which thread it ran, and how that was made. */
#ifndef LOOKUP_H
#define LOOKUP_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#if defined(__GNUC__) /* not every program uses every function */
#define LOOKUP_FN static __attribute__((unused))
#else
#define LOOKUP_FN static
#endif

#define LOOKUP_MINE 0x4000 /* in ai_flags: a list that was made here */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    pthread_t home;   /* the thread that called lookup_set() */
    int begun, ended; /* calls */
    int lists;        /* that were handed out and not freed */
    int held;         /* answers wait until lookup_release() */
    int result;       /* 0, or what is answered instead of addresses */
    int elsewhere;    /* calls on other threads than `home` */
    int detached;     /* of these: on a detached thread */
    int unblocked;    /* of these: with a signal that was not blocked */
    char address[4][64]; /* what is answered; "" ends the list */
} test_lookup;

LOOKUP_FN int lookup_is_mine(const char *host)
{
    size_t n = host ? strlen(host) : 0;
    return n > 5 && !strcmp(host + n - 5, ".test");
}

/* How this thread was made; `test_lookup.lock` is held. */
LOOKUP_FN void lookup_note_thread(void)
{
    static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGALRM, SIGUSR1,
                                   SIGUSR2, SIGCHLD, SIGPIPE };
    pthread_attr_t attributes;
    sigset_t mask;
    size_t i;
    int state = PTHREAD_CREATE_JOINABLE, open = 0;
    if (pthread_equal(pthread_self(), test_lookup.home))
        return;
    test_lookup.elsewhere++;
    if (!pthread_getattr_np(pthread_self(), &attributes)) {
        pthread_attr_getdetachstate(&attributes, &state);
        pthread_attr_destroy(&attributes);
    }
    test_lookup.detached += state == PTHREAD_CREATE_DETACHED;
    sigemptyset(&mask);
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    for (i = 0; i < sizeof signals / sizeof signals[0]; i++)
        open |= !sigismember(&mask, signals[i]);
    test_lookup.unblocked += open;
}

/* One entry of a list, or NULL if `text` is no address. */
LOOKUP_FN struct addrinfo *lookup_entry(const char *text, int port)
{
    struct addrinfo *a;
    struct sockaddr_in6 *v6;
    struct sockaddr_in *v4;
    char *p = (char *)calloc(1, sizeof *a + sizeof(struct sockaddr_storage));
    if (!p)
        return NULL;
    a = (struct addrinfo *)(void *)p;
    a->ai_addr = (struct sockaddr *)(void *)(p + sizeof *a);
    v4 = (struct sockaddr_in *)(void *)a->ai_addr;
    v6 = (struct sockaddr_in6 *)(void *)a->ai_addr;
    a->ai_socktype = SOCK_STREAM;
    a->ai_protocol = IPPROTO_TCP;
    a->ai_flags = LOOKUP_MINE;
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        a->ai_family = v4->sin_family = AF_INET;
        v4->sin_port = htons((unsigned short)port);
        a->ai_addrlen = sizeof *v4;
    } else if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
        a->ai_family = v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((unsigned short)port);
        a->ai_addrlen = sizeof *v6;
    } else {
        free(p);
        return NULL;
    }
    return a;
}

LOOKUP_FN int lookup_getaddrinfo(const char *host, const char *service,
                                 const struct addrinfo *hints,
                                 struct addrinfo **out)
{
    struct addrinfo *list = NULL, **end = &list;
    int i, result;
    pthread_mutex_lock(&test_lookup.lock);
    test_lookup.begun++;
    lookup_note_thread();
    pthread_cond_broadcast(&test_lookup.moved);
    if (!lookup_is_mine(host)) {
        pthread_mutex_unlock(&test_lookup.lock);
        result = getaddrinfo(host, service, hints, out);
        pthread_mutex_lock(&test_lookup.lock);
        test_lookup.ended++;
        pthread_cond_broadcast(&test_lookup.moved);
        pthread_mutex_unlock(&test_lookup.lock);
        return result;
    }
    while (test_lookup.held)
        pthread_cond_wait(&test_lookup.moved, &test_lookup.lock);
    for (i = 0; i < 4 && !test_lookup.result; i++) {
        *end = lookup_entry(test_lookup.address[i],
                            service ? atoi(service) : 0);
        if (*end)
            end = &(*end)->ai_next;
    }
    result = list ? 0 : test_lookup.result ? test_lookup.result : EAI_NONAME;
    test_lookup.lists += list != NULL;
    test_lookup.ended++;
    pthread_cond_broadcast(&test_lookup.moved);
    pthread_mutex_unlock(&test_lookup.lock);
    if (list)
        *out = list;
    return result;
}

LOOKUP_FN void lookup_freeaddrinfo(struct addrinfo *list)
{
    if (!list || !(list->ai_flags & LOOKUP_MINE)) {
        freeaddrinfo(list);
        return;
    }
    while (list) {
        struct addrinfo *next = list->ai_next;
        free(list);
        list = next;
    }
    pthread_mutex_lock(&test_lookup.lock);
    test_lookup.lists--;
    pthread_cond_broadcast(&test_lookup.moved);
    pthread_mutex_unlock(&test_lookup.lock);
}

/* Counts begin anew; `first` and `second` are answered, "" for none. */
LOOKUP_FN void lookup_set(const char *first, const char *second, int held)
{
    static int made;
    if (!made) {
        made = 1;
        pthread_mutex_init(&test_lookup.lock, NULL);
        pthread_cond_init(&test_lookup.moved, NULL);
    }
    pthread_mutex_lock(&test_lookup.lock);
    test_lookup.home = pthread_self();
    test_lookup.begun = test_lookup.ended = test_lookup.elsewhere = 0;
    test_lookup.detached = test_lookup.unblocked = test_lookup.result = 0;
    test_lookup.held = held;
    memset(test_lookup.address, 0, sizeof test_lookup.address);
    strncpy(test_lookup.address[0], first, 63);
    strncpy(test_lookup.address[1], second, 63);
    pthread_mutex_unlock(&test_lookup.lock);
}

LOOKUP_FN void lookup_release(void)
{
    pthread_mutex_lock(&test_lookup.lock);
    test_lookup.held = 0;
    pthread_cond_broadcast(&test_lookup.moved);
    pthread_mutex_unlock(&test_lookup.lock);
}

/* Until `calls` have begun. */
LOOKUP_FN void lookup_wait_begun(int calls)
{
    pthread_mutex_lock(&test_lookup.lock);
    while (test_lookup.begun < calls)
        pthread_cond_wait(&test_lookup.moved, &test_lookup.lock);
    pthread_mutex_unlock(&test_lookup.lock);
}

/* Until `calls` have ended. */
LOOKUP_FN void lookup_wait_ended(int calls)
{
    pthread_mutex_lock(&test_lookup.lock);
    while (test_lookup.ended < calls)
        pthread_cond_wait(&test_lookup.moved, &test_lookup.lock);
    pthread_mutex_unlock(&test_lookup.lock);
}

/* Until every call has ended and every list was freed. */
LOOKUP_FN void lookup_wait_idle(void)
{
    pthread_mutex_lock(&test_lookup.lock);
    while (test_lookup.ended < test_lookup.begun || test_lookup.lists > 0)
        pthread_cond_wait(&test_lookup.moved, &test_lookup.lock);
    pthread_mutex_unlock(&test_lookup.lock);
}

/* One of the counts, as it is now. */
LOOKUP_FN int lookup_count(const int *count)
{
    int n;
    pthread_mutex_lock(&test_lookup.lock);
    n = *count;
    pthread_mutex_unlock(&test_lookup.lock);
    return n;
}

#define getaddrinfo lookup_getaddrinfo
#define freeaddrinfo lookup_freeaddrinfo

#endif /* LOOKUP_H */
