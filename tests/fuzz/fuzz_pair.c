/* fuzz_pair.c - a client core and a server core, wired to each other.
 *
 * The input is 4 bytes of options and then a schedule: who sends what, who
 * closes, how many bytes cross in which direction, and in what pieces they
 * are fed.  Whatever the schedule, every message must arrive whole, in order
 * and unchanged, nobody may fail, and both must end with the same close
 * code. */
#define WSOCK_IMPLEMENTATION
#include "../../wsock.h"

#include "fuzz.h"

enum { MESSAGES_MAX = 200, PARTS_MAX = 600 };

/* What one end has sent and the other has yet to receive. */
typedef struct message {
    unsigned type;
    uint32_t seed; /* of its bytes, which go on from part to part */
    size_t size;
    int complete;
} message;

/* A borrowed part: kept until its SENT. */
typedef struct part {
    uint8_t *mem;
    size_t size;
    uint32_t hash;
} part;

typedef struct end {
    const char *name;
    wsock *ws;
    wsock_options o;
    fuzz_sys sys;
    wsock_system system;
    fuzz_wire wire;    /* checks what it writes */
    fuzz_buf pipe;     /* written by it, not yet fed to the other end */
    struct end *peer;

    message messages[MESSAGES_MAX];
    size_t sent, received; /* of messages[]: sent by us; got by the peer */
    unsigned open;         /* kind of the message that we are sending */
    size_t got;            /* bytes of messages[received] that the peer has */
    part parts[PARTS_MAX];
    size_t nparts;
    uint32_t seed;

    size_t pings, pongs;   /* pings that we sent; pongs that came back */
    int opened, closed;    /* events that came */
    int code;              /* of the CLOSE event */
    int asked;             /* what we asked to close with, -1: not */
    int discards;          /* wsock_close() was called */
    int drain;             /* a send was refused: DRAIN is due */
    int paused;
} end;

/* ------------------------------------------------------------- receiving */

static void on_message(end *e, const wsock_event *v)
{
    end *from = e->peer;
    message *m = &from->messages[from->received];
    unsigned type = v->kind & ~(unsigned)WSOCK_FRAGMENT;
    const uint8_t *p = (const uint8_t *)v->data;
    size_t i;
    CHECK(e->opened && !e->discards);
    CHECK(from->received < from->sent);
    CHECK(type == m->type);
    CHECK(v->size <= m->size - from->got);
    for (i = 0; i < v->size; i++)
        CHECK(p[i] == fuzz_pattern(m->seed, from->got + i));
    from->got += v->size;
    if (v->size) memset(v->data, 0xEE, v->size);
    if (v->kind & WSOCK_FRAGMENT) {
        CHECK(e->o.flags & WSOCK_PARTS);
        return;
    }
    CHECK(m->complete && from->got == m->size);
    from->received++;
    from->got = 0;
}

static void on_event(end *e, const wsock_event *v)
{
    part *b;
    CHECK(v->ws == e->ws);
    CHECK(!e->closed);
    switch (v->type) {
    case WSOCK_EVENT_OPEN:
        CHECK(!e->opened);
        e->opened = 1;
        break;
    case WSOCK_EVENT_MESSAGE:
        on_message(e, v);
        break;
    case WSOCK_EVENT_PING:
        CHECK(v->size <= 125);
        break;
    case WSOCK_EVENT_PONG:
        CHECK(++e->pongs <= e->pings);
        break;
    case WSOCK_EVENT_SENT:
        b = (part *)v->context;
        CHECK(b >= e->parts && b < e->parts + e->nparts);
        CHECK(b->mem != NULL); /* once only */
        CHECK(v->code == WSOCK_OK);
        CHECK(fuzz_hash(FUZZ_HASH, b->mem, b->size) == b->hash);
        free(b->mem);
        b->mem = NULL;
        break;
    case WSOCK_EVENT_DRAIN:
        CHECK(e->drain);
        e->drain = 0;
        break;
    case WSOCK_EVENT_CLOSE:
        if (v->why->code)
            fprintf(stderr, "%s: %s\n", e->name, v->why->text);
        CHECK(v->why->code == WSOCK_OK);
        e->closed = 1;
        e->code = v->code;
        break;
    default:
        CHECK(!"an event type of the list");
    }
}

static void read_events(end *e)
{
    wsock_event v;
    int got;
    while ((got = fuzz_next(e->ws, &v)) > 0) on_event(e, &v);
    CHECK((got < 0) == e->closed);
}

/* --------------------------------------------------------------- sending */

static const size_t sizes[16] = {0,   1,    2,    7,     125,   126,
                                 127, 128,  1000, 4096,  16384, 16385,
                                 40000, 65535, 65536, 70001};

static void do_send(end *e, unsigned arg)
{
    size_t size = sizes[arg & 15], at = 0, limit, queued;
    unsigned type = e->open ? e->open : arg & 16 ? WSOCK_TEXT : WSOCK_BINARY;
    unsigned kind = type | (arg & 32 ? WSOCK_FRAGMENT : 0u);
    message *m = &e->messages[e->sent];
    part *b = &e->parts[e->nparts];
    uint8_t *mem;
    size_t i;
    int got, open = wsock_state(e->ws) == WSOCK_STATE_OPEN;
    if (e->open) at = (--m)->size;
    if (e->sent == MESSAGES_MAX || e->nparts == PARTS_MAX) return;
    if (!e->open) memset(m, 0, sizeof *m), m->seed = ++e->seed;
    mem = (uint8_t *)malloc(size + 1);
    CHECK(mem != NULL);
    for (i = 0; i < size; i++) mem[i] = fuzz_pattern(m->seed, at + i);
    queued = wsock_queued(e->ws);
    limit = wsock_effective_options(e->ws)->send_limit;
    if (arg & 64) {
        wsock_buf bufs[2];
        bufs[0].data = mem;
        bufs[0].size = size / 3;
        bufs[1].data = mem + size / 3;
        bufs[1].size = size - size / 3;
        got = wsock_sendv(e->ws, kind | WSOCK_BORROW, bufs, 2, b);
    } else {
        got = wsock_send(e->ws, kind, mem, size);
    }
    if (open)
        CHECK(got == (queued >= limit ? WSOCK_WOULD_BLOCK : WSOCK_OK));
    else
        CHECK(got < 0);
    if (got == WSOCK_WOULD_BLOCK) e->drain = 1;
    if (got == WSOCK_OK && arg & 64) {
        b->mem = mem;
        b->size = size;
        b->hash = fuzz_hash(FUZZ_HASH, mem, size);
        e->nparts++;
    } else {
        memset(mem, 0xEE, size);
        free(mem);
    }
    if (got != WSOCK_OK) return;
    if (!e->open) e->sent++;
    m->type = type;
    m->size += size;
    m->complete = !(kind & WSOCK_FRAGMENT);
    e->open = m->complete ? 0 : type;
}

static void do_ping(end *e, unsigned arg)
{
    uint8_t data[126];
    int got, open = wsock_state(e->ws) == WSOCK_STATE_OPEN;
    fuzz_fill(data, sizeof data, arg);
    got = wsock_send(e->ws, WSOCK_PING, data, arg % 126);
    if (got == WSOCK_OK) e->pings++;
    else if (got == WSOCK_WOULD_BLOCK) e->drain = 1;
    else CHECK(got < 0 && !open);
    if (!open) CHECK(got < 0);
}

static void do_close(end *e, unsigned arg)
{
    static const int codes[8] = {1000, 1001, 1005, 3000, 4999, 1011, 1008, 0};
    int code = codes[arg & 7], got, orderly = arg >> 3 & 1;
    int open = wsock_state(e->ws) == WSOCK_STATE_OPEN;
    const char *reason = code && code != 1005 && arg & 16 ? "bye" : NULL;
    if (!e->opened) return; /* closing earlier is a failed handshake */
    got = orderly ? wsock_close(e->ws, code, reason)
                  : wsock_shutdown(e->ws, code, reason);
    if (open) {
        CHECK(got == WSOCK_OK);
        e->asked = code ? code : 1005;
    } else if (!orderly) {
        CHECK(got < 0);
    }
    if (orderly && got == WSOCK_OK) e->discards = 1;
}

/* --------------------------------------------------------------- the wire */

/* Up to `most` bytes of e's output go on their way. */
static size_t write_some(end *e, size_t most)
{
    wsock_buf bufs[4];
    size_t n = wsock_output(e->ws, bufs, 1 + most % 4), i, total = 0;
    CHECK(n <= 1 + most % 4);
    for (i = 0; i < n && total < most; i++) {
        size_t some = bufs[i].size;
        if (some > most - total) some = most - total;
        fuzz_wire_put(&e->wire, (const uint8_t *)bufs[i].data, some);
        fuzz_put(&e->pipe, bufs[i].data, some);
        total += some;
    }
    CHECK(wsock_output_done(e->ws, total) == WSOCK_OK);
    return total;
}

/* Up to `most` bytes that the peer wrote arrive at e. */
static size_t read_some(end *e, size_t most)
{
    fuzz_buf *from = &e->peer->pipe;
    size_t n = from->n < most ? from->n : most;
    uint8_t *lent;
    if (!n || e->closed || e->paused) return 0;
    lent = fuzz_copy(from->p, n);
    memmove(from->p, from->p + n, from->n - n);
    from->n -= n;
    CHECK(wsock_feed(e->ws, lent, n) == WSOCK_OK);
    read_events(e);
    memset(lent, 0xEE, n);
    free(lent);
    return n;
}

static void step(end *e, unsigned what, unsigned arg)
{
    switch (what) {
    case 0:
    case 1:
        do_send(e, arg);
        break;
    case 2:
        do_ping(e, arg);
        break;
    case 3:
        if (arg >= 0xE0) do_close(e, arg); /* rarely, or little happens */
        else do_send(e, arg & 0x7F);
        break;
    case 4:
        write_some(e, arg + 1);
        break;
    case 5:
        write_some(e, (size_t)(arg + 1) * 512);
        break;
    case 6:
        read_some(e, arg + 1);
        break;
    default:
        read_some(e, (size_t)(arg + 1) * 512);
        break;
    }
    if (!e->closed) read_events(e);
}

/* Until nothing moves any more. */
static void settle(end *a, end *b)
{
    size_t moved;
    do {
        moved = write_some(a, 100000) + write_some(b, 99998);
        moved += read_some(a, 65536) + read_some(b, 65537);
        if (!a->closed) read_events(a);
        if (!b->closed) read_events(b);
    } while (moved);
}

/* ---------------------------------------------------------------- the end */

static void start(end *e, end *peer, int role, unsigned options)
{
    static const size_t limits[4] = {0, 1, 5000, WSOCK_UNLIMITED};
    memset(e, 0, sizeof *e);
    e->name = role == WSOCK_CLIENT ? "client" : "server";
    e->peer = peer;
    e->asked = -1;
    e->system = fuzz_system(&e->sys, (uint64_t)role + 10);
    e->o.system = &e->system;
    e->o.send_limit = limits[options & 3];
    if (options & 4) e->o.flags |= WSOCK_PARTS;
    if (options & 8) e->o.flags |= WSOCK_NO_UTF8_CHECK;
    if (options & 16) e->o.flags |= WSOCK_UNSAFE_NO_MASKING;
    e->ws = wsock_new(role, role == WSOCK_CLIENT ? "ws://[::1]/pair" : NULL,
                      &e->o);
    CHECK(e->ws != NULL && wsock_error(e->ws) == WSOCK_OK);
    e->wire.role = role;
    e->wire.no_masking = options >> 4 & 1;
}

static void check_end(end *e)
{
    const end *peer = e->peer;
    size_t i;
    CHECK(e->opened && e->closed);
    CHECK(wsock_queued(e->ws) == 0);
    CHECK(fuzz_wire_whole(&e->wire) && e->wire.closed);
    /* What the peer's Close says is what it was asked to say, or an answer
     * to ours (RFC 6455 5.5.1). */
    CHECK(e->code == peer->wire.close_code);
    if (peer->asked >= 0)
        CHECK(e->code == peer->asked);
    else
        CHECK(e->code == e->asked);
    /* All that we sent was received, unless the peer no longer listened. */
    if (!peer->discards) {
        CHECK(e->received + (e->open != 0) == e->sent);
    }
    for (i = 0; i < e->nparts; i++) CHECK(e->parts[i].mem == NULL);
}

static void stop(end *e)
{
    wsock_free(e->ws);
    CHECK(e->sys.live == 0 && e->sys.blocks == 0);
    fuzz_wire_free(&e->wire);
    free(e->pipe.p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static end client, server;
    fuzz_in in;
    unsigned a, b;
    in.p = data;
    in.n = size;
    a = fuzz_byte(&in);
    b = fuzz_byte(&in);
    start(&client, &server, WSOCK_CLIENT, a);
    /* Keys of zero are harmless; no keys at all the server must allow. */
    start(&server, &client, WSOCK_SERVER, b);
    if (fuzz_byte(&in) & 1) settle(&client, &server); /* else as it comes */
    while (in.n) {
        unsigned what = fuzz_byte(&in), arg = fuzz_byte(&in);
        step(what & 8 ? &server : &client, what & 7, arg);
    }
    settle(&client, &server);
    CHECK(client.opened && server.opened);
    if (client.asked < 0 && server.asked < 0) {
        end *closer = size % 2 ? &client : &server;
        CHECK(wsock_close(closer->ws, 4000, "enough") == WSOCK_OK);
        closer->asked = 4000;
        closer->discards = 1;
        settle(&client, &server);
    }
    check_end(&client);
    check_end(&server);
    stop(&client);
    stop(&server);
    return 0;
}
