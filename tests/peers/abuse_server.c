/* abuse_server.c - the echo server that abuse.py maltreats.
 *
 *     cc -O2 -o abuse_server tests/peers/abuse_server.c
 *     ./abuse_server [--OPTION [VALUE]]...
 *
 * An option of struct wsock_options is written --max-memory BYTES; besides
 *
 *     --parts        messages are echoed in parts, as they come
 *     --broadcast    a message goes to all instead of to its sender
 *     --page BYTES   WSOCK_REQUESTS: plain requests get a page of this size
 *     --hold         the same, but they get it at the next SIGHUP
 *
 * SIGUSR1: print a line of counters.  SIGUSR2: the same, then the peak starts
 * anew.  SIGHUP: answer what is held, then print.  SIGTERM: close all
 * connections, free the server, and print what its allocator still holds;
 * status 1 if that is not nothing.  It ends by itself after ten minutes. */
#define WSOCK_IMPLEMENTATION
#include "../../wsock.h"
#include "knobs.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The allocator: what the library holds now, and the most it ever held. */
static struct {
    size_t bytes, peak, blocks, most_at_once;
} heap;

static void *heap_alloc(void *user, size_t size)
{
    void *p = malloc(size);
    (void)user;
    if (!p)
        return NULL;
    heap.bytes += size;
    heap.blocks++;
    if (heap.bytes > heap.peak)
        heap.peak = heap.bytes;
    if (size > heap.most_at_once)
        heap.most_at_once = size;
    return p;
}

static void heap_free(void *user, void *memory, size_t size)
{
    (void)user;
    if (size > heap.bytes || heap.blocks == 0) {
        fprintf(stderr, "abuse_server: freed %lu bytes of %lu\n",
                (unsigned long)size, (unsigned long)heap.bytes);
        abort();
    }
    heap.bytes -= size;
    heap.blocks--;
    free(memory);
}

enum { CODES = 32 }; /* results are WSOCK_OK to -(CODES - 1) */

static wsock_server *server;
static struct {
    unsigned long opens, messages, refused, failed, skipped, late;
    unsigned long closes[CODES]; /* by why->code, negated */
} count;
static int broadcast, hold;
enum { HELD = 4096 };
static wsock *held[HELD]; /* requests without an answer */
static int held_count;
static char *page;
static size_t page_size;

static volatile sig_atomic_t stop, show, anew, answer;

static void on_signal(int number)
{
    if (number == SIGTERM)
        stop = 1;
    else
        show = 1;
    if (number == SIGUSR2)
        anew = 1;
    if (number == SIGHUP)
        answer = 1;
    wsock_server_wake(server); /* may be called here */
}

static void counters(void)
{
    int i, restart = anew;
    show = anew = 0; /* first, as the reader may ask again at once */
    printf("count %lu bytes %lu peak %lu blocks %lu most_at_once %lu "
           "opens %lu messages %lu refused %lu failed %lu skipped %lu "
           "held %d late %lu",
           (unsigned long)wsock_server_count(server),
           (unsigned long)heap.bytes, (unsigned long)heap.peak,
           (unsigned long)heap.blocks, (unsigned long)heap.most_at_once,
           count.opens, count.messages, count.refused, count.failed,
           count.skipped, held_count, count.late);
    for (i = 0; i < CODES; i++)
        if (count.closes[i])
            printf(" %s %lu", wsock_result_name(-i), count.closes[i]);
    printf("\n");
    fflush(stdout);
    if (restart) {
        heap.peak = heap.bytes;
        heap.most_at_once = 0;
    }
}

static void message(const wsock_event *e)
{
    int r;
    count.messages++;
    if (broadcast) {
        r = wsock_broadcast(server, NULL, 0, e->kind, e->data, e->size);
        if (r > 0)
            count.skipped += (unsigned long)r;
    } else {
        r = wsock_send(e->ws, e->kind, e->data, e->size);
        if (r == WSOCK_WOULD_BLOCK)
            count.refused++;
    }
    if (r < 0)
        count.failed++;
}

static void respond(wsock *ws)
{
    int r = wsock_respond(ws, 200, NULL, page, page_size);
    if (r == WSOCK_CLOSED)
        count.late++; /* the peer has left, or time was up */
    else if (r < 0)
        count.failed++;
}

static void request(const wsock_event *e)
{
    if (e->request->upgrade) {
        if (wsock_upgrade(e->ws, NULL, NULL) < 0)
            count.failed++;
    } else if (hold && held_count < HELD) {
        held[held_count++] = e->ws;
    } else {
        respond(e->ws);
    }
}

static void on_signals(void)
{
    if (answer) {
        answer = 0;
        while (held_count > 0)
            respond(held[--held_count]);
    }
    if (show)
        counters();
}

static void serve(void)
{
    wsock_event e;
    int closing = 0;
    while (wsock_server_poll(server, &e, WSOCK_NEVER) >= 0) {
        if (e.type == WSOCK_EVENT_OPEN)
            count.opens++;
        else if (e.type == WSOCK_EVENT_MESSAGE)
            message(&e);
        else if (e.type == WSOCK_EVENT_REQUEST)
            request(&e);
        else if (e.type == WSOCK_EVENT_CLOSE && -e.why->code < CODES)
            count.closes[-e.why->code]++;
        on_signals();
        if (stop && !closing) {
            closing = 1;
            wsock_server_close(server);
        }
    }
}

/* ----------------------------------------------------------- command line */

/* 0: an argument that is none of ours. */
static int arguments(int argc, char **argv)
{
    int i;
    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--parts") == 0) {
            options.flags |= WSOCK_PARTS;
            continue;
        }
        if (strcmp(argv[i], "--broadcast") == 0) {
            broadcast = 1;
            continue;
        }
        if (strcmp(argv[i], "--hold") == 0) {
            options.flags |= WSOCK_REQUESTS;
            hold = 1;
            continue;
        }
        if (strcmp(argv[i], "--page") == 0 && i + 1 < argc)
            page_size = (size_t)strtoull(argv[i + 1], NULL, 10);
        else if (!knob(argv[i], argv[i + 1]))
            return 0;
        i++;
    }
    return 1;
}

int main(int argc, char **argv)
{
    static wsock_system system_of_ours;
    int failed;

    system_of_ours.alloc = heap_alloc;
    system_of_ours.free = heap_free;
    options.system = &system_of_ours;
    if (!arguments(argc, argv)) {
        fprintf(stderr, "abuse_server: see the comment in abuse_server.c\n");
        return 2;
    }
    if (page_size) {
        options.flags |= WSOCK_REQUESTS;
        page = (char *)malloc(page_size);
        if (!page)
            return 2;
        memset(page, '.', page_size);
    }
    alarm(600); /* a test that dies leaves nothing behind for long */

    server = wsock_listen("ws://127.0.0.1:0/", &options);
    failed = wsock_server_error(server) != WSOCK_OK;
    if (failed) {
        fprintf(stderr, "abuse_server: %s\n", wsock_server_why(server)->text);
    } else {
        signal(SIGTERM, on_signal);
        signal(SIGUSR1, on_signal);
        signal(SIGUSR2, on_signal);
        signal(SIGHUP, on_signal);
        printf("listening on ws://127.0.0.1:%d/\n",
               wsock_server_port(server));
        fflush(stdout);
        serve();
        signal(SIGTERM, SIG_IGN);
        signal(SIGUSR1, SIG_IGN);
        signal(SIGUSR2, SIG_IGN);
        signal(SIGHUP, SIG_IGN);
    }
    wsock_server_free(server);
    free(page);
    printf("left %lu bytes in %lu blocks\n", (unsigned long)heap.bytes,
           (unsigned long)heap.blocks);
    return failed || heap.bytes || heap.blocks;
}
