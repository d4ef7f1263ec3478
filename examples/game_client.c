/* game_client.c - the network of a game: 60 frames a second, each polls,
 * then sends the player's state, and never waits for anything.
 *
 *     cc -O2 -o game_client examples/game_client.c
 *     ./game_client ws://127.0.0.1:9001/ [--seconds N] [--bytes N]
 *
 * A lost or refused connection is tried again, later each time.  At the end
 * it says how long the longest frame spent in the library.
 *
 *     --seconds N   how long, in units of 60 frames (10)
 *     --bytes N     size of a state (12, which is the least)
 *
 * Exit status: 0 when all frames were done, whatever became of the
 * connection; 1 when the URL is no good; 2 after a wrong command line. */
#define WSOCK_IMPLEMENTATION
#include "../wsock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    RATE = 60,
    STATE_MIN = 12,
    STATE_MAX = 1 << 20,
    RETRY_FIRST = 500, /* ms */
    RETRY_LAST = 8000
};

struct network {
    const char *url;
    wsock_options options;
    wsock *ws;        /* NULL: waiting for retry_at */
    int64_t retry_at; /* ns */
    int retry;        /* ms, doubles with every failure in a row */
    int hopeless;     /* trying again would change nothing */
    int rtt;          /* ms, the last known; -1: none */
    unsigned long waiting, connecting, open, closing; /* frames */
    unsigned long tried, opened, sent, skipped, received;
};

static unsigned char state[STATE_MAX];
static size_t state_size = STATE_MIN;

static int64_t nanoseconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void sleep_until(int64_t when)
{
    int64_t left = when - nanoseconds();
    struct timespec t;
    if (left <= 0)
        return;
    t.tv_sec = (time_t)(left / 1000000000);
    t.tv_nsec = (long)(left % 1000000000);
    nanosleep(&t, NULL);
}

/* ----------------------------------------------------------- network -- */

static void handle(struct network *n, const wsock_event *e)
{
    switch (e->type) {
    case WSOCK_EVENT_OPEN:
        n->opened++;
        n->retry = RETRY_FIRST;
        break;
    case WSOCK_EVENT_MESSAGE: /* here the others' states would be applied */
        n->received++;
        break;
    case WSOCK_EVENT_CLOSE:
        if (e->why->code != WSOCK_OK)
            fprintf(stderr, "game_client: %s\n", e->why->text);
        n->hopeless = e->why->phase == WSOCK_PHASE_SETUP;
        break;
    default:
        break;
    }
}

/* Free a connection that has ended, and choose when to try again: at random
 * in the second half of the time, so that the players of a server that was
 * restarted do not all come back at once. */
static void give_up(struct network *n, int64_t now)
{
    int half = n->retry / 2;
    wsock_free(n->ws);
    n->ws = NULL;
    n->retry_at = now + (int64_t)(half + rand() % half) * 1000000;
    n->retry = n->retry * 2 < RETRY_LAST ? n->retry * 2 : RETRY_LAST;
}

/* A state that cannot leave now is dropped: the next frame has a newer one. */
static void send_state(struct network *n)
{
    int r = wsock_send(n->ws, WSOCK_BINARY, state, state_size);
    n->sent += r == WSOCK_OK;
    n->skipped += r == WSOCK_WOULD_BLOCK;
    /* Failures need nothing here: the next poll reports them as CLOSE. */
}

/* All that a frame has to do for the network. */
static void network_frame(struct network *n, int64_t now)
{
    wsock_event e;
    int r;
    if (!n->ws) {
        if (now < n->retry_at) {
            n->waiting++;
            return;
        }
        n->ws = wsock_connect(n->url, &n->options);
        n->tried++;
    }
    while ((r = wsock_poll(n->ws, &e, 0)) > 0)
        handle(n, &e);
    if (r < 0) {
        n->closing++;
        give_up(n, now);
        return;
    }
    switch (wsock_state(n->ws)) {
    case WSOCK_STATE_CONNECTING:
        n->connecting++;
        break;
    case WSOCK_STATE_OPEN:
        n->open++;
        if (wsock_rtt(n->ws) >= 0)
            n->rtt = wsock_rtt(n->ws);
        send_state(n);
        break;
    default:
        n->closing++;
        break;
    }
}

/* Say goodbye; a server that does not answer has a second for it. */
static void leave(struct network *n)
{
    wsock_event e;
    int i, r = 0;
    if (!n->ws)
        return;
    wsock_close(n->ws, WSOCK_CLOSE_GOING_AWAY, "the player leaves");
    for (i = 0; i < RATE && r >= 0; i++) {
        while ((r = wsock_poll(n->ws, &e, 0)) > 0)
            ;
        if (r == 0)
            sleep_until(nanoseconds() + 1000000000 / RATE);
    }
    wsock_free(n->ws);
    n->ws = NULL;
}

/* -------------------------------------------------------------- game -- */

/* Byte by byte, so that both ends read the same on every machine. */
static void put_number(unsigned char *to, unsigned long value)
{
    int i;
    for (i = 0; i < 4; i++)
        to[i] = (unsigned char)(value >> (8 * i));
}

static void play_frame(unsigned long frame)
{
    put_number(state, frame);
    put_number(state + 4, frame * 3 % 1920); /* x, y */
    put_number(state + 8, frame * 2 % 1080);
}

static void report(const struct network *n, unsigned long frames,
                   int64_t longest)
{
    printf("frames: %lu; waiting %lu, connecting %lu, open %lu, "
           "closing %lu\n",
           frames, n->waiting, n->connecting, n->open, n->closing);
    printf("connections: %lu tried, %lu opened\n", n->tried, n->opened);
    printf("messages: %lu sent, %lu skipped, %lu received\n", n->sent,
           n->skipped, n->received);
    if (n->rtt >= 0)
        printf("round trip: %d ms\n", n->rtt);
    else
        printf("round trip: unknown\n");
    printf("longest frame: %.3f ms in the library\n",
           (double)longest / 1000000);
}

int main(int argc, char **argv)
{
    struct network n = {0};
    unsigned long frames = 10 * RATE, frame;
    int64_t start, next, spent, longest = 0;
    int i;

    for (i = 2; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--seconds") == 0)
            frames = strtoul(argv[i + 1], NULL, 10) * RATE;
        else if (strcmp(argv[i], "--bytes") == 0)
            state_size = strtoul(argv[i + 1], NULL, 10);
        else
            break;
    }
    if (argc < 2 || i < argc || state_size < STATE_MIN ||
        state_size > STATE_MAX) {
        fprintf(stderr, "usage: game_client URL [--seconds N] [--bytes N]\n");
        return 2;
    }

    n.url = argv[1];
    n.options.flags = WSOCK_NONBLOCKING;
    n.options.keepalive_interval = 1000; /* wsock_rtt() stays fresh */
    n.options.send_limit = 4096;         /* old states are worth nothing */
    n.retry = RETRY_FIRST;
    n.rtt = -1;
    srand((unsigned)time(NULL));

    next = nanoseconds();
    for (frame = 0; frame < frames && !n.hopeless; frame++) {
        play_frame(frame);
        start = nanoseconds();
        network_frame(&n, start);
        spent = nanoseconds() - start;
        longest = spent > longest ? spent : longest;
        /* The wait for the next frame; a real game would draw this one. */
        next += 1000000000 / RATE;
        sleep_until(next);
        if (next < nanoseconds() - 1000000000 / RATE)
            next = nanoseconds(); /* too late to make up for it */
    }
    leave(&n);
    report(&n, frame, longest);
    return n.hopeless;
}
