/* fuzz_url.c - URLs and option strings from anywhere.
 *
 * The input is one byte of flags and then strings, each ended by a NUL: the
 * URL, two headers, a subprotocol, an extension, an origin, a user agent.
 * Whatever they are: nothing crashes, and a head that comes out has exactly
 * the lines that its options ask for, so that nothing was injected. */
#define WSOCK_IMPLEMENTATION
#include "../../wsock.h"

#include "fuzz.h"

enum { URL, HEADER1, HEADER2, SUBPROTOCOL, EXTENSION, ORIGIN, AGENT, STRINGS };

/* What came out: the lines of a head by name. */
typedef struct seen {
    size_t lines;
    char target[FUZZ_HEAD_MAX];
    char host[FUZZ_HEAD_MAX];
    const char *const *given; /* the strings of the input */
} seen;

static int same_bytes(const uint8_t *p, size_t n, const char *text)
{
    return strlen(text) == n && memcmp(p, text, n) == 0;
}

/* One line of the head behind the first: a name of the library's own, or
 * word for word one of the given headers. */
static void known_line(seen *s, const uint8_t *p, size_t n)
{
    static const char *const own[] = {
        "host: ", "upgrade: ", "connection: ", "sec-websocket-key: ",
        "sec-websocket-version: ", "sec-websocket-protocol: ",
        "sec-websocket-extensions: ", "sec-websocket-accept: ", "origin: ",
        "user-agent: ", "content-length: ", "content-type: ", "server: "};
    size_t i;
    int known = 0;
    for (i = 0; i < sizeof own / sizeof own[0]; i++)
        known |= fuzz_is(p, n, own[i]);
    for (i = HEADER1; i <= HEADER2; i++)
        known |= s->given[i] != NULL && same_bytes(p, n, s->given[i]);
    CHECK(known);
    if (fuzz_is(p, n, "host: ")) {
        CHECK(s->host[0] == 0); /* once (RFC 9112 3.2) */
        fuzz_copy_value(s->host, sizeof s->host, p + 5, n - 5);
    }
}

static void read_head(seen *s, const fuzz_buf *head)
{
    size_t at = 0, i;
    while (at + 2 < head->n) {
        for (i = at; head->p[i] != '\r'; i++) {}
        if (s->lines)
            known_line(s, head->p + at, i - at);
        else if (i - at > 13 && memcmp(head->p, "GET ", 4) == 0)
            fuzz_copy_value(s->target, sizeof s->target, head->p + 4,
                            i - at - 13);
        s->lines++;
        at = i + 2;
    }
}

/* A request target and a host: visible ASCII only, no fragment. */
static void check_target(const seen *s)
{
    const char *p;
    CHECK(s->target[0] == '/');
    for (p = s->target; *p; p++) CHECK(*p > ' ' && *p < 0x7F && *p != '#');
    CHECK(s->host[0] != 0);
    for (p = s->host; *p; p++)
        CHECK(*p > ' ' && *p < 0x7F && !strchr("/?#@\\", *p));
}

static void take_output(wsock *ws, fuzz_wire *wire)
{
    wsock_buf bufs[3];
    size_t n, i, total;
    while ((n = wsock_output(ws, bufs, 3)) > 0) {
        for (total = 0, i = 0; i < n; i++) {
            fuzz_wire_put(wire, (const uint8_t *)bufs[i].data, bufs[i].size);
            total += bufs[i].size;
        }
        CHECK(wsock_output_done(ws, total) == WSOCK_OK);
    }
}

static int is_refusal(int code)
{
    return code == WSOCK_INVALID_URL || code == WSOCK_INVALID_PARAMETER
           || code == WSOCK_UNSUPPORTED || code == WSOCK_TOO_BIG;
}

static void as_client(const char *url, const wsock_options *o,
                      const char *const *given)
{
    static seen s;
    fuzz_wire wire;
    wsock *ws = wsock_new(WSOCK_CLIENT, url, o);
    wsock_event e;
    size_t least = 6, most, i;
    CHECK(ws != NULL);
    memset(&wire, 0, sizeof wire);
    memset(&s, 0, sizeof s);
    s.given = given;
    wire.role = WSOCK_CLIENT;
    take_output(ws, &wire);
    CHECK(fuzz_wire_whole(&wire));
    if (wsock_error(ws)) {
        CHECK(is_refusal(wsock_error(ws)));
        CHECK(wire.head.n == 0);
        CHECK(wsock_next(ws, &e) == 1 && e.type == WSOCK_EVENT_CLOSE);
        CHECK(e.code == 1006 && e.why->code == wsock_error(ws));
        CHECK(wsock_next(ws, &e) < 0);
    } else {
        CHECK(wire.frames && wire.hn == 0);
        /* Nothing of the input may end a line. */
        for (i = 0; i < STRINGS; i++)
            if (given[i]) CHECK(!strpbrk(given[i], "\r\n"));
        read_head(&s, &wire.head);
        check_target(&s);
        /* GET, Host, Upgrade, Connection, Key, Version; one for each list
         * or string; one for each header. */
        for (most = least, i = HEADER1; i < STRINGS; i++)
            most += given[i] != NULL;
        CHECK(s.lines >= least && s.lines <= most);
    }
    wsock_free(ws);
    fuzz_wire_free(&wire);
}

/* What a transport is asked to open. */
static int on_open(void *user, const char *host, int port)
{
    const char *p;
    ++*(int *)user;
    CHECK(host != NULL && *host);
    CHECK(port >= 1 && port <= 65535);
    for (p = host; *p; p++)
        CHECK(*p > ' ' && *p < 0x7F && !strchr("/?#@\\[]", *p));
    return WSOCK_TRANSPORT_ERROR;
}

static ptrdiff_t on_read(void *user, void *data, size_t size)
{
    (void)user, (void)data, (void)size;
    CHECK(!"read before it is open");
    return WSOCK_TRANSPORT_ERROR;
}

static ptrdiff_t on_write(void *user, const wsock_buf *bufs, size_t count)
{
    (void)user, (void)bufs, (void)count;
    CHECK(!"written before it is open");
    return WSOCK_TRANSPORT_ERROR;
}

static int on_wait(void *user, int wants, int timeout)
{
    (void)user, (void)wants, (void)timeout;
    return WSOCK_TRANSPORT_ERROR;
}

static void by_transport(const char *url, wsock_options o)
{
    wsock_io io;
    wsock *ws;
    int opened = 0;
    memset(&io, 0, sizeof io);
    io.open = on_open;
    io.read = on_read;
    io.write = on_write;
    io.wait = on_wait;
    io.user = &opened;
    o.io = &io;
    ws = wsock_connect(url, &o);
    CHECK(ws != NULL);
    CHECK(opened <= 1);
    CHECK(wsock_error(ws) < 0);
    CHECK(opened || is_refusal(wsock_error(ws)));
    wsock_free(ws);
}

/* The same strings as options of a server, which answers a good request. */
static void as_server(const wsock_options *o, const char *const *given)
{
    static const char request[] =
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    static seen s;
    fuzz_wire wire;
    fuzz_buf in = {0};
    wsock_event e;
    wsock *ws = wsock_new(WSOCK_SERVER, NULL, o);
    CHECK(ws != NULL);
    memset(&wire, 0, sizeof wire);
    memset(&s, 0, sizeof s);
    s.given = given;
    wire.role = WSOCK_SERVER;
    if (wsock_error(ws)) {
        CHECK(is_refusal(wsock_error(ws)));
    } else {
        fuzz_puts(&in, request);
        if (given[SUBPROTOCOL]) {
            fuzz_puts(&in, "Sec-WebSocket-Protocol: ");
            fuzz_puts(&in, given[SUBPROTOCOL]);
            fuzz_puts(&in, "\r\n");
        }
        if (given[EXTENSION]) {
            fuzz_puts(&in, "Sec-WebSocket-Extensions: ");
            fuzz_puts(&in, given[EXTENSION]);
            fuzz_puts(&in, "\r\n");
        }
        fuzz_puts(&in, "\r\n");
        CHECK(wsock_feed(ws, in.p, in.n) == WSOCK_OK);
        while (wsock_next(ws, &e) > 0) {}
        take_output(ws, &wire);
        CHECK(fuzz_wire_whole(&wire));
        CHECK(wire.frames);
        for (e.size = HEADER1; e.size <= EXTENSION; e.size++)
            if (given[e.size]) CHECK(!strpbrk(given[e.size], "\r\n"));
        read_head(&s, &wire.head);
        CHECK(s.lines >= 2 && s.lines <= 10);
    }
    wsock_free(ws);
    fuzz_wire_free(&wire);
    free(in.p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *headers[3], *subprotocols[2], *extensions[2], *given[STRINGS];
    char *copy = (char *)malloc(size + 1), *at;
    size_t i, n = 0;
    fuzz_sys sys;
    wsock_system system = fuzz_system(&sys, 3);
    wsock_options o;
    unsigned flags = size ? data[0] : 0;
    CHECK(copy != NULL);
    memcpy(copy, data, size);
    copy[size] = 0;
    at = copy + (size ? 1 : 0);
    memset(&o, 0, sizeof o);
    o.system = &system;
    for (i = 0; i < STRINGS; i++) {
        given[i] = NULL;
        if (at < copy + size && (i == URL || flags >> i & 1)) given[i] = at;
        if (at < copy + size) at += strlen(at) + 1;
    }
    if (given[HEADER1]) headers[n++] = given[HEADER1];
    if (given[HEADER2]) headers[n++] = given[HEADER2];
    headers[n] = NULL;
    subprotocols[0] = given[SUBPROTOCOL];
    extensions[0] = given[EXTENSION];
    subprotocols[1] = extensions[1] = NULL;
    if (n) o.headers = headers;
    if (given[SUBPROTOCOL]) o.subprotocols = subprotocols;
    if (given[EXTENSION]) o.extensions = extensions;
    o.origin = given[ORIGIN];
    o.user_agent = given[AGENT];
    as_client(given[URL], &o, given);
    by_transport(given[URL], o);
    as_server(&o, given);
    /* In a block of exactly the promised size. */
    o.flags = WSOCK_CORE_ONLY;
    o.memory_size = wsock_memory_needed(WSOCK_CLIENT, given[URL], &o);
    if (o.memory_size) {
        o.memory = malloc(o.memory_size);
        CHECK(o.memory != NULL);
        sys.forbidden = 1;
        as_client(given[URL], &o, given);
        free(o.memory);
    }
    CHECK(sys.live == 0 && sys.blocks == 0);
    free(copy);
    return 0;
}
