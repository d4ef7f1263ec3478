/* loop_libuv.c - a client inside libuv's loop, beside a timer of the
 * program's: it says something ten times a second, prints what comes back,
 * and closes after a while.
 *
 *     cc -O2 -o loop_libuv examples/loop_libuv.c -luv
 *     ./loop_libuv URL [COUNT]      (how many answers to wait for: 10)
 *
 * A client's descriptors change: the look-up of the name has one, then there
 * is a socket for each address that is tried, and those that lose are closed.
 * A server goes into the loop in the same way, by wsock_server_poll(),
 * wsock_server_watches() and wsock_server_timeout(). */
#define WSOCK_IMPLEMENTATION
#include "../wsock.h"

#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

enum { WATCHES = 16 };

struct watcher {
    uv_poll_t poll;
    struct watcher *next;
};

static uv_loop_t loop;
static uv_timer_t deadline; /* of the library */
static uv_timer_t ticker;   /* of the program */
static wsock *ws;
static struct watcher *watchers;
static int ticks, answers, wanted = 10, failed;

static void drive(void);

/* --------------------------------------------------- wsock and libuv -- */

static void on_ready(uv_poll_t *handle, int status, int events)
{
    (void)handle;
    (void)events;
    /* A status below 0 says that the socket has failed, as when a connection
     * was refused: wsock_poll() will meet that, and deal with it. */
    (void)status;
    drive();
}

static void on_deadline(uv_timer_t *timer)
{
    (void)timer;
    drive();
}

static void on_watcher_closed(uv_handle_t *handle)
{
    free(handle->data);
}

/* For libuv a handle has to end before its descriptor is closed.  Any poll
 * may close some, and what is opened next may get the same number: so all
 * handles end before it, and new ones begin behind it. */
static void unwatch(void)
{
    while (watchers) {
        struct watcher *w = watchers;
        watchers = w->next;
        uv_close((uv_handle_t *)&w->poll, on_watcher_closed);
    }
}

static int watch(const wsock_watch *to)
{
    int events = (to->wants & 1 ? UV_READABLE : 0) |
                 (to->wants & 2 ? UV_WRITABLE : 0);
    struct watcher *w = (struct watcher *)malloc(sizeof *w);
    if (!w)
        return UV_ENOMEM;
    if (uv_poll_init(&loop, &w->poll, (int)to->fd) < 0) {
        free(w); /* not a handle yet: there is nothing to close */
        return UV_EINVAL;
    }
    w->poll.data = w;
    w->next = watchers;
    watchers = w;
    return uv_poll_start(&w->poll, events, on_ready);
}

static void watch_all(void)
{
    wsock_watch list[WATCHES];
    size_t i, n = wsock_watches(ws, list, WATCHES);
    int wait = wsock_timeout(ws), missed = n == 0 || n > WATCHES;
    for (i = 0; i < n && i < WATCHES; i++)
        missed |= watch(&list[i]) < 0;
    /* What cannot be watched is looked at every so often. */
    if (missed && (wait < 0 || wait > 20))
        wait = 20;
    uv_timer_stop(&deadline);
    if (wait >= 0)
        uv_timer_start(&deadline, on_deadline, (uint64_t)wait, 0);
}

/* ------------------------------------------------------- the program -- */

static void handle_event(const wsock_event *e)
{
    if (e->type == WSOCK_EVENT_MESSAGE) {
        printf("%.*s\n", (int)e->size, (const char *)e->data);
        if (++answers == wanted)
            wsock_close(ws, WSOCK_CLOSE_NORMAL, "enough");
    }
}

/* To be called whenever something was ready, time is up, or the program has
 * called anything that sends or closes. */
static void drive(void)
{
    wsock_event e;
    int r;
    unwatch();
    while ((r = wsock_poll(ws, &e, 0)) > 0)
        handle_event(&e);
    if (r == 0) {
        watch_all();
        return;
    }
    failed = wsock_error(ws) != WSOCK_OK;
    if (failed)
        fprintf(stderr, "loop_libuv: %s\n", wsock_error_text(ws));
    wsock_free(ws);
    uv_close((uv_handle_t *)&deadline, NULL);
    uv_close((uv_handle_t *)&ticker, NULL); /* nothing left: uv_run ends */
}

static void on_tick(uv_timer_t *timer)
{
    char text[32];
    int size;
    (void)timer;
    if (wsock_state(ws) != WSOCK_STATE_OPEN)
        return;
    size = snprintf(text, sizeof text, "tick %d", ++ticks);
    wsock_send(ws, WSOCK_TEXT, text, (size_t)size);
    drive(); /* the send may have to wait for the socket */
}

int main(int argc, char **argv)
{
    wsock_options options = {0};
    if (argc > 2)
        wanted = atoi(argv[2]);
    if (argc < 2 || argc > 3 || wanted < 1) {
        fprintf(stderr, "usage: loop_libuv URL [COUNT]\n");
        return 2;
    }
    if (uv_loop_init(&loop) < 0) {
        fprintf(stderr, "loop_libuv: no loop\n");
        return 1;
    }
    uv_timer_init(&loop, &deadline);
    uv_timer_init(&loop, &ticker);
    uv_timer_start(&ticker, on_tick, 100, 100);

    options.flags = WSOCK_NONBLOCKING;
    ws = wsock_connect(argv[1], &options);
    drive();
    uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop) < 0 || failed;
}
