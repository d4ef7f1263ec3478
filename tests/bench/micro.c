/* micro.c - the loops over bytes alone, in cache, each the best of several
 * turns.  Lines for run.sh: who, what, figure.
 *
 *     mask-SIZE           GB/s; raw: a copy by memcpy()
 *     ascii-SIZE, cjk-SIZE  GB/s of the UTF-8 check
 *     parse-SIZE          ns for one masked frame of a batch: header read,
 *                         payload unmasked, event handed out
 *
 * The loops are private functions of wsock.h, which is why its implementation
 * is included; parsing goes by wsock_feed() and wsock_next(). */
#define WSOCK_IMPLEMENTATION
#include "../../wsock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TURNS = 9, ROOM = 65536 };

static uint8_t *in, *out;
static wsock *ws;
static size_t frames;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void die(const char *what)
{
    fprintf(stderr, "micro: %s\n", what);
    exit(1);
}

/* Seconds for one call of `work`. */
static double cost(void (*work)(size_t), size_t n)
{
    size_t times = ((size_t)8 << 20) / n + 1, i;
    double best = 1e9;
    int turn;
    for (turn = 0; turn < TURNS; turn++) {
        double t = now();
        for (i = 0; i < times; i++) work(n);
        t = now() - t;
        if (t < best) best = t;
    }
    return best / (double)times;
}

/* ----------------------------------------------------- masking and UTF-8 */

static void fill(size_t n, const char *unit)
{
    size_t m = strlen(unit), i;
    for (i = 0; i < n; i++) in[i] = (uint8_t)' ';
    for (i = 0; i + m <= n; i += m) memcpy(in + i, unit, m);
}

static void mask(size_t n) { wsock__mask(out, in, n, 0x3D21FA37u); }

static void *(*volatile copying)(void *, const void *, size_t) = memcpy;
static void copy(size_t n) { copying(out, in, n); }

static void check(size_t n)
{
    uint32_t state = 0;
    if (!wsock__utf8(&state, in, n)) die("valid UTF-8 is refused");
}

static void rate(const char *who, const char *what, void (*work)(size_t),
                 size_t n)
{
    printf("%s %s-%lu %.3f\n", who, what, (unsigned long)n,
           (double)n / cost(work, n) * 1e-9);
}

/* --------------------------------------------------------------- parsing */

static void feed(const void *data, size_t n)
{
    wsock_event e;
    size_t got = 0;
    if (wsock_feed(ws, (void *)data, n) != WSOCK_OK) die("wsock_feed");
    while (wsock_next(ws, &e) > 0) got += e.type == WSOCK_EVENT_MESSAGE;
    if (got != frames) die("not all frames were read");
}

static void parse(size_t n) { feed(in, n); }

static void shake_hands(void)
{
    static char request[] =
        "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    wsock_buf bufs[8];
    size_t n, i;
    ws = wsock_new(WSOCK_SERVER, NULL, NULL);
    feed(request, sizeof request - 1);
    while ((n = wsock_output(ws, bufs, 8)) > 0)
        for (i = 0; i < n; i++) wsock_output_done(ws, bufs[i].size);
    if (wsock_state(ws) != WSOCK_STATE_OPEN) die("no handshake");
}

/* As many frames as fit.  They are unmasked where they stand; that garbles
 * them the next time, which is nothing to the parser: they are binary. */
static size_t put_frames(size_t size)
{
    size_t at = 0, header = size < 126 ? 2 : 4;
    for (frames = 0; at + header + 4 + size <= ROOM; frames++) {
        in[at] = 0x82;
        in[at + 1] = (uint8_t)(0x80 | (size < 126 ? size : 126));
        in[at + 2] = (uint8_t)(size >> 8);
        in[at + 3] = (uint8_t)size;
        memcpy(in + at + header, "\x37\xFA\x21\x3D", 4);
        memset(in + at + header + 4, 'a', size);
        at += header + 4 + size;
    }
    return at;
}

static void parse_row(size_t size)
{
    size_t n = put_frames(size);
    printf("wsock parse-%lu %.3f\n", (unsigned long)size,
           cost(parse, n) / (double)frames * 1e9);
}

int main(void)
{
    static const size_t sizes[] = {16, 125, 1024, 16384};
    size_t i;
    in = malloc(ROOM);
    out = malloc(ROOM);
    if (!in || !out) die("memory");
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        fill(sizes[i], "a");
        rate("raw", "mask", copy, sizes[i]);
        rate("wsock", "mask", mask, sizes[i]);
        rate("wsock", "ascii", check, sizes[i]);
        fill(sizes[i], "\xE6\xBC\xA2");
        rate("wsock", "cjk", check, sizes[i]);
    }
    shake_hands();
    for (i = 0; i < 3; i++) parse_row(sizes[i]);
    wsock_free(ws);
    return 0;
}
