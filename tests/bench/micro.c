/* micro.c - wsock's loops over bytes alone, and memcpy() beside them; see
 * micro.h.  The loops are private functions of wsock.h, which is why its
 * implementation is included; parsing goes by wsock_feed(), wsock_next(). */
#define WSOCK_IMPLEMENTATION
#include "../../wsock.h"

#include "micro.h"

static wsock *ws;

static void mask(size_t n) { wsock__mask(out, in, n, 0x3D21FA37u); }

static void *(*volatile copying)(void *, const void *, size_t) = memcpy;
static void copy(size_t n) { copying(out, in, n); }

static void check(size_t n)
{
    uint32_t state = 0;
    if (!wsock__utf8(&state, in, n)) die("valid UTF-8 is refused");
}

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

int main(void)
{
    rates("raw", copy, NULL);
    rates("wsock", mask, check);
    shake_hands();
    parse_rows("wsock", parse);
    wsock_free(ws);
    return 0;
}
