/* fuzz_core.c - one core connection against bytes from anywhere.
 *
 * Compile with -DROLE=WSOCK_CLIENT or -DROLE=WSOCK_SERVER: what wsock is; the
 * input plays its peer.  The input is
 *
 *     6 bytes   options, see program()
 *     3 bytes   per call to make in between, see struct call
 *     the rest  what the peer writes
 *
 * Every input runs at least twice, with different sizes of wsock_feed(), and
 * must report the same events.  When the handshake is a good one, the events
 * must also be those of reference(), a slow decoder of its own. */
#define WSOCK_IMPLEMENTATION
#include "../../wsock.h"

#include "fuzz.h"

#ifndef ROLE
#error "compile with -DROLE=WSOCK_CLIENT or -DROLE=WSOCK_SERVER"
#endif

/* ------------------------------------------------------------ the program */

enum { CALLS_MAX = 31, SENT_MAX = 128 };

/* A call between events: `after` so many events since the call before it. */
typedef struct call {
    unsigned after, what, arg;
} call;

typedef struct program {
    int parts, no_utf8, no_masking, fixed, good_head, head_api, extension;
    int subprotocols, origins, headers;
    size_t max_message, max_header, receive_buffer, send_limit;
    unsigned fail;   /* which allocation or which random bytes fail */
    unsigned output; /* how output is taken: enum below */
    unsigned chunks; /* seed of the sizes that are fed */
    size_t pieces;   /* of one wsock_output() */
    call calls[CALLS_MAX];
    size_t ncalls;
    fuzz_buf stream;
} program;

enum { TAKE_ALL, TAKE_LATE, TAKE_SOME, TAKE_LAST };

static size_t choose(const size_t *from, unsigned i)
{
    return from[i];
}

/* The peer's bytes.  A message longer than libFuzzer's inputs needs a
 * shorter spelling: FD hh ll xx stands for hhll times xx. */
static void expand(fuzz_buf *out, fuzz_in *in, int on)
{
    if (!on) {
        fuzz_put(out, in->p, in->n);
        return;
    }
    while (in->n && out->n < 200000) {
        uint8_t byte = (uint8_t)fuzz_byte(in);
        if (byte == 0xFD && in->n >= 3) {
            size_t times = (size_t)fuzz_byte(in) << 8;
            times |= fuzz_byte(in);
            byte = (uint8_t)fuzz_byte(in);
            while (times--) fuzz_put(out, &byte, 1);
        } else {
            fuzz_put(out, &byte, 1);
        }
    }
}

static void parse_program(program *p, fuzz_in *in)
{
    static const size_t messages[] = {
        0, 1, 16, 125, 1000, 65536, 70000, WSOCK_UNLIMITED};
    static const size_t limits[] = {0, 64, 1000, WSOCK_UNLIMITED};
    static const size_t buffers[] = {0, 256, 1, 4096};
    unsigned a = fuzz_byte(in), b = fuzz_byte(in), d, e, f, expanded;
    size_t i;
    memset(p, 0, sizeof *p);
    p->parts = a & 1;
    p->no_utf8 = a >> 1 & 1;
    p->no_masking = a >> 2 & 1;
    p->fixed = a >> 3 & 1;
    p->good_head = a >> 4 & 1;
    p->head_api = a >> 5 & 1;
    p->extension = a >> 6 & 1;
    expanded = a >> 7 & 1;
    p->max_message = choose(messages, b & 7);
    p->send_limit = choose(limits, b >> 3 & 3);
    p->max_header = b >> 5 & 1 ? 300 : 0;
    p->receive_buffer = choose(buffers, b >> 6 & 3);
    p->fail = fuzz_byte(in);
    d = fuzz_byte(in);
    p->output = d & 3;
    p->chunks = d >> 2;
    e = fuzz_byte(in);
    p->ncalls = e & CALLS_MAX;
    f = fuzz_byte(in);
    p->subprotocols = f & 1;
    p->origins = f >> 1 & 1;
    p->headers = f >> 2 & 1;
    p->pieces = 1 + (f >> 3 & 7);
    for (i = 0; i < p->ncalls; i++) {
        p->calls[i].after = fuzz_byte(in) & 7;
        p->calls[i].what = fuzz_byte(in);
        p->calls[i].arg = fuzz_byte(in);
    }
    expand(&p->stream, in, (int)expanded);
}

/* ---------------------------------------------------------------- one run */

/* Something that wsock has taken to send. */
typedef struct sent {
    unsigned b0;   /* first byte of its frame */
    size_t size;
    uint32_t seed; /* of its payload */
    uint8_t *mem;  /* borrowed: where the payload is */
    int borrowed, reported, wired;
} sent;

typedef struct run {
    const program *p;
    wsock *ws;
    wsock_options o;
    fuzz_sys sys;
    wsock_system system;
    void *memory;
    fuzz_wire wire;
    fuzz_buf log;      /* what was reported, in words */
    fuzz_buf message;  /* parts of the message that is coming */
    unsigned message_kind;
    uint64_t random;   /* for sizes */
    size_t calls, events; /* calls made; events since the last one */

    sent sends[SENT_MAX];
    size_t nsends;
    unsigned part;     /* kind of the message whose parts we are sending */
    uint32_t seed;
    fuzz_buf pongs;    /* pings that came: size, answered, payload */
    size_t newest;     /* where in it the last one is */

    fuzz_held held;

    size_t biggest;    /* largest single send */
    int opened, ended, bad;
    int aborted;       /* wsock_abort() was called before the end */
    int dropped;       /* wsock_abort() was called, which drops the output */
    int closing;       /* we have sent Close */
    int discarding;    /* by wsock_close(): no more messages */
    size_t max_message; /* the one in force */
    int close_code;    /* what we asked to close with, -1: nothing */
    unsigned extensions;
    int failure;       /* why->code of CLOSE */
    char key[65];
} run;

static void say(run *r, const char *what, long a, long b, uint32_t c)
{
    fuzz_say(&r->log, what, a, b, c);
}

/* ------------------------------------------------ what we sent must arrive */

static int is_kind(const sent *s, unsigned op)
{
    return op < 8 ? (s->b0 & 15) < 8 : (s->b0 & 15) == op;
}

/* A pong is the answer to a ping, at most one to each; some pings may be
 * left out (RFC 6455 5.5.3).  Returns whether it was one. */
static int answers_ping(run *r, const uint8_t *p, size_t n)
{
    size_t at = 0;
    while (at < r->pongs.n) {
        uint8_t *ping = r->pongs.p + at; /* size, answered, payload */
        if (ping[0] == n && !ping[1]
            && (!n || memcmp(ping + 2, p, n) == 0)) {
            ping[1] = 1;
            return 1;
        }
        at += 2u + ping[0];
    }
    return 0;
}

/* fuzz_wire has read a whole frame of ours. */
static void on_frame(void *user, unsigned b0, const uint8_t *p, size_t n)
{
    run *r = (run *)user;
    unsigned op = b0 & 15;
    size_t i, j;
    if (op == 8) {
        if (r->close_code >= 0) CHECK(r->wire.close_code == r->close_code);
        if (r->close_code >= 0 && !wsock_error(r->ws))
            for (i = 0; i < r->nsends; i++)
                CHECK(r->sends[i].wired || is_kind(&r->sends[i], 10));
        return;
    }
    if (op == 10 && answers_ping(r, p, n)) return;
    for (i = 0; i < r->nsends; i++) {
        sent *s = &r->sends[i];
        if (s->wired || !is_kind(s, op)) continue;
        if (op == 10 && s->size != n) continue;
        CHECK(s->b0 == b0);
        CHECK(s->size == n);
        for (j = 0; j < n; j++) CHECK(p[j] == fuzz_pattern(s->seed, j));
        s->wired = 1;
        return;
    }
    CHECK(!"a frame that nobody sent");
}

/* ---------------------------------------------------------------- output */

static void look(run *r)
{
    fuzz_look(&r->held, r->ws, r->p->pieces);
}

/* Take `n` bytes of what was looked at, which must not have moved. */
static void take(run *r, size_t n)
{
    fuzz_held *h = &r->held;
    if (!h->n) return;
    fuzz_check_held(h);
    if (n > h->copy.n) n = h->copy.n;
    if (n % 3 == 1)
        CHECK(wsock_output_done(r->ws, h->copy.n + 1000000)
              == WSOCK_INVALID_PARAMETER);
    /* Before output_done(), which may release the bytes; but `wired` must be
     * set by then, and SENT comes only from wsock_next(). */
    CHECK(wsock_output_done(r->ws, n) == WSOCK_OK);
    fuzz_wire_put(&r->wire, h->copy.p, n);
    h->n = 0;
    if (r->wire.key[0]) strcpy(r->key, r->wire.key);
}

static void take_all(run *r)
{
    do {
        look(r);
        take(r, r->held.copy.n);
        look(r);
    } while (r->held.n);
    /* With memory out it may say "nothing" for the moment. */
    if (r->dropped || r->sys.failed || wsock_error(r->ws)) return;
    CHECK(fuzz_wire_whole(&r->wire));
    CHECK(wsock_queued(r->ws) == 0);
}

static void take_some(run *r)
{
    size_t n;
    look(r);
    n = fuzz_random(&r->random) % 4;
    if (n == 0) n = 1;
    else if (n == 1) n = r->held.copy.n / 2;
    else if (n == 2) n = r->held.copy.n;
    else n = fuzz_random(&r->random) % 64;
    take(r, n);
}

/* After each time that everything fed has been read. */
static void output(run *r)
{
    switch (r->p->output) {
    case TAKE_ALL:
        take_all(r);
        /* Then the last ping that came has its answer. */
        if (wsock_state(r->ws) == WSOCK_STATE_OPEN && r->pongs.n)
            CHECK(r->pongs.p[r->newest + 1] || r->sys.failed);
        break;
    case TAKE_LATE: /* what was looked at the last time */
        if (r->held.n) take(r, fuzz_random(&r->random) % 100);
        look(r);
        break;
    case TAKE_SOME:
        take_some(r);
        break;
    default:
        break;
    }
}

/* ---------------------------------------------------------------- events */

static void on_message(run *r, const wsock_event *e)
{
    unsigned kind = e->kind & ~(unsigned)WSOCK_FRAGMENT;
    unsigned type = kind & 15;
    CHECK(r->opened && !r->discarding);
    CHECK(type == WSOCK_TEXT || type == WSOCK_BINARY);
    CHECK((kind & ~15u & ~(r->extensions ? r->o.reserved_bits : 0)) == 0);
    CHECK(!(e->kind & WSOCK_FRAGMENT) || r->p->parts);
    if (r->message.n) CHECK((r->message_kind & 15) == type);
    if (!r->p->parts)
        CHECK(e->size <= wsock_effective_options(r->ws)->max_message);
    r->message_kind = kind;
    fuzz_put(&r->message, e->data, e->size);
    if (type == WSOCK_TEXT && !r->p->no_utf8) {
        int valid = fuzz_utf8(r->message.p, r->message.n);
        CHECK(valid >= 0);
        CHECK(valid == 1 || (e->kind & WSOCK_FRAGMENT));
    }
    /* The program may write there: the library must not read it again. */
    if (e->size) memset(e->data, 0xEE, e->size);
    if (e->kind & WSOCK_FRAGMENT) return;
    say(r, "message", (long)type, (long)r->message.n,
        fuzz_hash(FUZZ_HASH, r->message.p, r->message.n));
    r->message.n = 0;
    r->events++;
}

static void on_control(run *r, const wsock_event *e)
{
    CHECK(r->opened && !r->discarding);
    CHECK(e->size <= 125);
    say(r, e->type == WSOCK_EVENT_PING ? "ping" : "pong", (long)e->size, 0,
        fuzz_hash(FUZZ_HASH, e->data, e->size));
    if (e->type == WSOCK_EVENT_PING) {
        uint8_t n[2] = {0, 0};
        n[0] = (uint8_t)e->size;
        r->newest = r->pongs.n;
        fuzz_put(&r->pongs, n, 2);
        fuzz_put(&r->pongs, e->data, e->size);
    }
    if (e->size) memset(e->data, 0xEE, e->size);
    r->events++;
}

static void return_borrowed(sent *s)
{
    size_t i;
    CHECK(s->borrowed && !s->reported);
    s->reported = 1;
    for (i = 0; i < s->size; i++)
        CHECK(s->mem[i] == fuzz_pattern(s->seed, i));
    free(s->mem);
}

static void on_sent(run *r, const wsock_event *e)
{
    sent *s = (sent *)e->context;
    CHECK(s >= r->sends && s < r->sends + r->nsends);
    return_borrowed(s);
    CHECK((e->code == WSOCK_OK) == s->wired);
    if (r->aborted && !s->wired) CHECK(e->code == WSOCK_ABORTED);
}

static void on_close(run *r, const wsock_event *e)
{
    const wsock_failure *why = e->why;
    const char *reason = NULL;
    int code = 0;
    size_t i;
    fuzz_check_close(r->ws, e);
    if (e->code == 1006) {
        CHECK(wsock_close_status(r->ws, &code, &reason)
              == WSOCK_INVALID_OPERATION);
        CHECK(why->close_received == 0);
    } else {
        CHECK(wsock_close_status(r->ws, &code, &reason) == WSOCK_OK);
        CHECK(code == e->code && why->close_received == code);
        /* A C string here, so that it ends where a NUL is in it. */
        CHECK(strlen(reason) <= e->size);
        CHECK(!e->size || memcmp(reason, e->data, strlen(reason)) == 0);
    }
    if (r->aborted)
        for (i = 0; i < r->nsends; i++)
            CHECK(!r->sends[i].borrowed || r->sends[i].reported);
    r->failure = why->code;
    /* A head that is malformed and too long may be called either. */
    if (!r->opened && r->failure == WSOCK_TOO_BIG)
        r->failure = WSOCK_HTTP_ERROR;
    say(r, "close", e->code, r->failure,
        fuzz_hash(FUZZ_HASH, e->data, e->size));
    r->ended = 1;
}

static void make_calls(run *r);

static void on_event(run *r, const wsock_event *e)
{
    CHECK(e->ws == r->ws);
    CHECK(!r->ended); /* CLOSE is the last */
    switch (e->type) {
    case WSOCK_EVENT_OPEN:
        CHECK(!r->opened);
        r->opened = 1;
        r->extensions = wsock_extensions(r->ws);
        CHECK(r->extensions <= 1);
        if (r->extensions) CHECK(r->p->extension);
        if (wsock_subprotocol(r->ws)) {
            CHECK(r->p->subprotocols);
            CHECK(strcmp(wsock_subprotocol(r->ws), "chat") == 0
                  || strcmp(wsock_subprotocol(r->ws), "game") == 0);
        }
        if (ROLE == WSOCK_SERVER) {
            const char *key = wsock_header(r->ws, "sec-websocket-key");
            /* A head that came by wsock_head_in() is not kept. */
            CHECK((key != NULL && strlen(key) == 24) || r->p->head_api);
            if (key) strcpy(r->key, key);
            else if (!r->p->good_head) r->key[0] = 0;
        }
        say(r, "open", (long)r->extensions, 0, 0);
        r->events++;
        break;
    case WSOCK_EVENT_MESSAGE:
        on_message(r, e);
        break;
    case WSOCK_EVENT_PING:
    case WSOCK_EVENT_PONG:
        on_control(r, e);
        break;
    case WSOCK_EVENT_SENT:
        on_sent(r, e);
        break;
    case WSOCK_EVENT_DRAIN:
        CHECK(r->opened);
        break;
    case WSOCK_EVENT_CLOSE:
        on_close(r, e);
        break;
    default:
        CHECK(!"an event type of the list");
    }
    make_calls(r);
}

static void read_events(run *r)
{
    wsock_event e;
    int got;
    long turns = 0;
    while ((got = fuzz_next(r->ws, &e)) > 0) {
        on_event(r, &e);
        CHECK(++turns < 1000000);
    }
    CHECK((got < 0) == r->ended || r->bad);
}

/* -------------------------------------------------------- calls in between */

static const size_t sizes[16] = {0,    1,    2,     5,     124,   125,
                                 126,  127,  128,   1000,  4096,  16383,
                                 16384, 65535, 65536, 70000};

/* What a send must return, given what could be known before it. */
static void check_send(run *r, int got, unsigned kind, size_t size, int open,
                       size_t queued)
{
    size_t limit = wsock_effective_options(r->ws)
                       ? wsock_effective_options(r->ws)->send_limit
                       : 0;
    unsigned type = kind & 15;
    int wrong = (type >= 8 && size > 125)
                || (type < 8 && r->part && r->part != type);
    if (r->sys.failed || r->bad) return;
    if (!open || wrong) {
        CHECK(got < 0);
    } else if (r->p->fixed) {
        CHECK(got == WSOCK_OK || got == WSOCK_WOULD_BLOCK
              || got == WSOCK_TOO_BIG);
    } else if (type < 8) {
        CHECK(got == (queued >= limit ? WSOCK_WOULD_BLOCK : WSOCK_OK));
    } else {
        CHECK(got == WSOCK_OK
              || (got == WSOCK_WOULD_BLOCK && queued >= limit));
    }
}

static void remember(run *r, unsigned kind, size_t size, uint32_t seed,
                     uint8_t *mem)
{
    sent *s = &r->sends[r->nsends++];
    unsigned type = kind & 15;
    memset(s, 0, sizeof *s);
    s->b0 = type >= 8 || !r->part ? type : 0;
    if (type >= 8 || !(kind & WSOCK_FRAGMENT)) s->b0 |= 0x80;
    if (s->b0 & 15) /* reserved bits mark the first frame of a message */
        s->b0 |= kind & 0x70;
    s->size = size;
    s->seed = seed;
    s->mem = mem;
    s->borrowed = mem != NULL;
    if (type < 8) r->part = kind & WSOCK_FRAGMENT ? type : 0;
    if (size > r->biggest) r->biggest = size;
}

static void do_send(run *r, unsigned kind, size_t size, size_t count,
                    int borrow)
{
    uint32_t seed = r->seed++;
    uint8_t *mem = (uint8_t *)malloc(size ? size : 1);
    wsock_buf bufs[64];
    size_t i, at = 0, queued;
    int got, open;
    CHECK(mem != NULL);
    if (r->nsends == SENT_MAX) {
        free(mem);
        return;
    }
    queued = wsock_queued(r->ws);
    open = wsock_state(r->ws) == WSOCK_STATE_OPEN;
    fuzz_fill(mem, size, seed);
    if (!count && !borrow) {
        got = wsock_send(r->ws, kind, mem, size);
    } else {
        for (i = 0; i < count; i++) {
            bufs[i].data = mem + at;
            bufs[i].size = i + 1 < count ? (size - at) / 2 : size - at;
            if (i % 3 == 2) bufs[i].size = i + 1 < count ? 0 : size - at;
            at += bufs[i].size;
        }
        if (!count) size = 0;
        got = wsock_sendv(r->ws, kind | (borrow ? WSOCK_BORROW : 0u), bufs,
                          count, &r->sends[r->nsends]);
        memset(bufs, 0xEE, sizeof bufs); /* the list is not borrowed */
    }
    check_send(r, got, kind, size, open, queued);
    if (got != WSOCK_OK) {
        free(mem);
        return;
    }
    remember(r, kind, size, seed, borrow ? mem : NULL);
    if (!borrow) {
        memset(mem, 0xEE, size);
        free(mem);
    }
}

static void do_close(run *r, int orderly, unsigned arg)
{
    static const int codes[] = {1000, 1001, 0, 1005, 3000, 4999, 1014, 1011,
                                1004, 1006, 1015, 999, 2999, 5000, -1, 65536};
    static const char *const reasons[] = {NULL, "", "bye",
                                          "gr\xC3\xBC\xC3\x9F"};
    int code = codes[arg & 15], got;
    const char *reason = reasons[arg >> 4 & 3];
    int state = wsock_state(r->ws);
    int fits = fuzz_code_ok(code)
               || ((code == 0 || code == 1005) && (!reason || !*reason));
    int had = r->closing;
    if (orderly)
        got = wsock_close(r->ws, code, reason);
    else
        got = wsock_shutdown(r->ws, code, reason);
    if (r->sys.failed || r->bad) return;
    CHECK(got <= 0);
    if (state == WSOCK_STATE_OPEN && !had) {
        CHECK((got == WSOCK_OK) == fits);
        if (!fits) CHECK(got == WSOCK_INVALID_PARAMETER);
        if (got == WSOCK_OK) {
            r->closing = 1;
            r->close_code = code ? code : 1005;
        }
    } else if (!orderly) {
        CHECK(got != WSOCK_OK);
    }
    /* What comes from here on is discarded, or nothing was begun. */
    if (orderly && got == WSOCK_OK) r->discarding = 1;
}

/* Wrong calls change nothing and do not stick. */
static void do_wrong(run *r)
{
    int error = wsock_error(r->ws);
    char text[8];
    wsock_event e;
    wsock_status got;
    CHECK(wsock_send(r->ws, WSOCK_CLOSE, "x", 1) < 0);
    CHECK(wsock_send(r->ws, 0, "x", 1) < 0);
    CHECK(wsock_send(r->ws, 3, "x", 1) < 0);
    CHECK(wsock_send(r->ws, WSOCK_PING | WSOCK_FRAGMENT, "x", 1) < 0);
    CHECK(wsock_send(r->ws, WSOCK_BINARY | 0x10000, "x", 1) < 0);
    CHECK(wsock_send(r->ws, WSOCK_TEXT, NULL, 1) < 0);
    CHECK(wsock_sendv(r->ws, WSOCK_TEXT, NULL, 65, NULL) < 0);
    CHECK(wsock_receive(r->ws, text, sizeof text, &got) < 0);
    /* Of a connection that has failed any reading call reports CLOSE. */
    if (wsock_state(r->ws) != WSOCK_STATE_CLOSED)
        CHECK(wsock_poll(r->ws, &e, 0) < 0);
    CHECK(wsock_shutdown(r->ws, 1000, "\xFF") < 0);
    CHECK(wsock_error(r->ws) == error);
}

static void ask(run *r)
{
    char peer[64];
    CHECK(wsock_peer(r->ws, peer, sizeof peer) == WSOCK_INVALID_OPERATION);
    CHECK(wsock_why(r->ws) != NULL);
    CHECK(wsock_error_text(r->ws) != NULL);
    CHECK(wsock_user(r->ws) == &r->o);
    CHECK(wsock_result_name(wsock_error(r->ws)) != NULL);
    CHECK(wsock_header(r->ws, "no-such-header") == NULL);
    wsock_header(r->ws, "Server");
    wsock_subprotocol(r->ws);
}

static void make_call(run *r, unsigned what, unsigned arg)
{
    unsigned part = arg & 0x80 ? WSOCK_FRAGMENT : 0u;
    unsigned rsv = arg & 0x40 ? r->o.reserved_bits : 0u;
    wsock_event e;
    if (!r->extensions) rsv = 0;
    switch (what % 14) {
    case 0:
        do_send(r, WSOCK_TEXT | part | rsv, sizes[arg & 15], 0, 0);
        break;
    case 1:
        do_send(r, WSOCK_BINARY | part | rsv, sizes[arg & 15], 0, 0);
        break;
    case 2:
        do_send(r, WSOCK_PING, arg % 127, 0, 0);
        break;
    case 3: /* never empty: not to be taken for an answer */
        do_send(r, WSOCK_PONG, 8 + arg % 119, 0, 0);
        break;
    case 4:
        do_send(r, WSOCK_TEXT | part, sizes[arg & 15], arg >> 4 & 7, 0);
        break;
    case 5:
    case 6:
        do_send(r, WSOCK_BINARY | part, sizes[arg & 15], arg >> 4 & 7, 1);
        break;
    case 7:
        do_close(r, 0, arg);
        break;
    case 8:
        do_close(r, 1, arg);
        break;
    case 9:
        if (arg % 3) break; /* or few inputs would get far */
        CHECK(wsock_abort(r->ws) == (r->bad ? WSOCK_NO_MEMORY : WSOCK_OK));
        CHECK(wsock_queued(r->ws) == 0);
        if (!r->ended) r->aborted = 1;
        r->dropped = 1;
        r->held.n = 0;
        break;
    case 10:
        /* A head goes either this way or by wsock_head_out(). */
        if (r->p->head_api && !r->opened) break;
        if (r->p->output != TAKE_LATE) take_some(r);
        break;
    case 11:
        if (!r->bad) do_wrong(r);
        break;
    case 12:
        if (!r->bad) ask(r);
        break;
    default:
        /* Paused: what was read already waits too. */
        if (wsock_pause(r->ws, 1) != WSOCK_OK) break;
        if (!r->ended && wsock_next(r->ws, &e) > 0) {
            CHECK(e.type == WSOCK_EVENT_SENT || e.type == WSOCK_EVENT_DRAIN
                  || e.type == WSOCK_EVENT_CLOSE
                  || e.type == WSOCK_EVENT_OPEN);
            r->calls++; /* on_event() makes calls itself */
            on_event(r, &e);
            r->calls--;
        }
        CHECK(wsock_pause(r->ws, 0) == WSOCK_OK);
        break;
    }
}

/* The calls whose time has come. */
static void make_calls(run *r)
{
    while (r->calls < r->p->ncalls
           && r->events >= r->p->calls[r->calls].after) {
        const call *c = &r->p->calls[r->calls];
        r->events -= c->after;
        make_call(r, c->what, c->arg);
        r->calls++;
    }
}

/* -------------------------------------------------------------- handshake */

static const char *const subprotocols[] = {"chat", "game", NULL};
static const char *const extensions[] = {"x-fuzz; level=3", NULL};
static const char *const origins[] = {"http://example.com", NULL};
static const char *const headers[] = {"X-One: 1", "X-Two: two, too", NULL};

/* The peer's head, a good one. */
static void good_head(run *r, fuzz_buf *out)
{
    char accept[29];
    if (ROLE == WSOCK_CLIENT) {
        fuzz_accept(accept, r->key);
        fuzz_puts(out, "HTTP/1.1 101 Switching Protocols\r\n"
                       "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                       "Sec-WebSocket-Accept: ");
        fuzz_puts(out, accept);
        fuzz_puts(out, "\r\n");
        if (r->p->subprotocols)
            fuzz_puts(out, "Sec-WebSocket-Protocol: game\r\n");
        if (r->p->extension)
            fuzz_puts(out, "Sec-WebSocket-Extensions: x-fuzz; level=3\r\n");
    } else {
        fuzz_puts(out, "GET /chat HTTP/1.1\r\nHost: example.com\r\n"
                       "Upgrade: WebSocket\r\n"
                       "Connection: keep-alive, Upgrade\r\n"
                       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                       "Sec-WebSocket-Version: 13\r\n");
        if (r->p->subprotocols)
            fuzz_puts(out, "Sec-WebSocket-Protocol: other, game\r\n");
        if (r->p->extension)
            fuzz_puts(out, "Sec-WebSocket-Extensions: x-fuzz; level=3\r\n");
        if (r->p->origins)
            fuzz_puts(out, "Origin: http://example.com\r\n");
    }
    fuzz_puts(out, "\r\n");
}

/* The input cannot know the answer to a key: where it says 27 times A and
 * "=", the right Sec-WebSocket-Accept is put. */
static void put_accept(run *r, fuzz_buf *stream)
{
    static const char mark[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    char accept[29];
    size_t i;
    fuzz_accept(accept, r->key);
    for (i = 0; i + 28 <= stream->n; i++)
        if (memcmp(stream->p + i, mark, 28) == 0)
            memcpy(stream->p + i, accept, 28);
}

/* wsock_head_out(): our head, checked like the bytes of an output. */
static void head_out(run *r)
{
    fuzz_buf head = {0};
    fuzz_head_out(r->ws, &head);
    if (head.n) {
        fuzz_wire_put(&r->wire, head.p, head.n);
        CHECK(r->wire.frames);
        if (r->wire.key[0]) strcpy(r->key, r->wire.key);
    }
    free(head.p);
}

/* wsock_head_in() with the head at the beginning of the stream.  Returns the
 * bytes of the head. */
static size_t head_in(run *r, fuzz_buf *stream)
{
    size_t i, end = 0;
    for (i = 0; i + 4 <= stream->n && !end; i++)
        if (memcmp(stream->p + i, "\r\n\r\n", 4) == 0) end = i + 4;
    if (!end) return 0;
    fuzz_head_in(r->ws, stream->p, end);
    if (ROLE == WSOCK_SERVER) head_out(r);
    return end;
}

/* ---------------------------------------------------------------- running */

static void set_up(run *r, const program *p)
{
    const char *url = ROLE == WSOCK_CLIENT
                          ? "ws://example.com:8080/chat?room=1" : NULL;
    wsock_options *o = &r->o;
    memset(r, 0, sizeof *r);
    r->p = p;
    r->close_code = -1;
    r->random = fuzz_seed(p->chunks);
    r->seed = 1;
    r->system = fuzz_system(&r->sys, 7);
    o->user = o;
    o->flags = (p->parts ? WSOCK_PARTS : 0u)
               | (p->no_utf8 ? WSOCK_NO_UTF8_CHECK : 0u)
               | (p->no_masking ? WSOCK_UNSAFE_NO_MASKING : 0u)
               | (p->fixed ? WSOCK_CORE_ONLY : 0u);
    o->max_message = p->max_message;
    o->max_header = p->max_header;
    o->receive_buffer = p->receive_buffer;
    o->send_limit = p->send_limit;
    o->system = &r->system;
    if (p->subprotocols) o->subprotocols = subprotocols;
    if (p->headers) o->headers = headers;
    if (p->origins && ROLE == WSOCK_SERVER) o->origins = origins;
    if (p->extension) {
        o->extensions = extensions;
        o->reserved_bits = WSOCK_RSV1 | WSOCK_RSV3;
    }
    if (p->fail >= 0xE0)
        r->sys.fail_random = (long)p->fail - 0xDF;
    else if (p->fail >= 0x80)
        r->sys.fail_alloc = (long)p->fail - 0x7F;
    if (p->fixed) {
        size_t need = wsock_memory_needed(ROLE, url, o);
        if (need && need < (size_t)16 << 20) {
            r->memory = fuzz_fixed(&r->sys, ROLE, url, o, need);
        } else {
            /* No bound on what it needs: no such block can be had. */
            o->memory = r->memory = malloc(64);
            o->memory_size = 64;
        }
    }
    r->ws = wsock_new(ROLE, url, o);
    r->bad = r->ws == NULL; /* which every function must bear */
    if (r->bad)
        CHECK(r->sys.failed || (p->fixed && o->memory_size == 64));
    else
        CHECK(r->sys.failed || wsock_error(r->ws) == 0);
    if (r->ws) r->max_message = wsock_effective_options(r->ws)->max_message;
    r->wire.role = ROLE;
    r->wire.no_masking = p->no_masking;
    r->wire.rsv = o->reserved_bits;
    r->wire.frame = on_frame;
    r->wire.user = r;
    strcpy(r->key, "dGhlIHNhbXBsZSBub25jZQ==");
}

/* How many bytes the next feed takes. */
static size_t chunk(run *r, int way, size_t total)
{
    size_t least = total / 250 + 1; /* long streams: not one by one */
    if (way == 0) return total;
    if (way == 2) return least;
    switch (fuzz_random(&r->random) % 4) {
    case 0:
        return least;
    case 1:
        return least + fuzz_random(&r->random) % 8;
    case 2:
        return least + fuzz_random(&r->random) % 200;
    default:
        return least + fuzz_random(&r->random) % 70000;
    }
}

static void feed(run *r, const uint8_t *p, size_t n)
{
    uint8_t *lent = fuzz_copy(p, n); /* which will be gone */
    int got = wsock_feed(r->ws, lent, n);
    CHECK(got == WSOCK_OK || r->ended || r->bad || r->aborted
          || wsock_error(r->ws));
    read_events(r);
    if (n) memset(lent, 0xEE, n);
    free(lent);
    output(r);
    read_events(r); /* SENT and DRAIN need no bytes */
}

/* Everything that is in flight at the most, in bytes. */
static size_t bound(const run *r, size_t fed)
{
    const wsock_options *o = wsock_effective_options(r->ws);
    size_t message, queue, header;
    if (!o) return 0;
    /* A message up to 64 KiB is allocated at its size, which the peer may
     * only have announced; above that memory grows with what has come. */
    message = fed * 5 + 65536; /* four times, and the buffer before */
    if (message > o->max_message && o->max_message < WSOCK_UNLIMITED / 4)
        message = o->max_message * 3 + 4096;
    queue = r->nsends * (r->biggest + 512);
    if (o->send_limit < WSOCK_UNLIMITED / 4
        && queue > o->send_limit + r->biggest)
        queue = 2 * (o->send_limit + r->biggest) + r->nsends * 512;
    header = o->max_header < WSOCK_UNLIMITED / 4 ? 3 * o->max_header : fed * 3;
    return 65536 + message + queue + header;
}

static void finish(run *r, size_t fed)
{
    size_t i;
    if (!r->bad) {
        /* All remaining calls, then the end of the stream. */
        while (r->calls < r->p->ncalls) {
            r->events += 8;
            make_calls(r);
        }
        read_events(r);
        if (!r->ended) {
            CHECK(wsock_feed(r->ws, NULL, 0) == WSOCK_OK
                  || wsock_error(r->ws) || r->aborted);
            read_events(r);
        }
        take(r, r->held.copy.n);
        take_all(r);
        read_events(r);
        CHECK(r->ended); /* exactly one CLOSE */
        CHECK(wsock_send(r->ws, WSOCK_TEXT, "x", 1) < 0);
        if (!r->sys.failed) CHECK(r->sys.peak <= bound(r, fed));
    }
    wsock_free(r->ws);
    CHECK(r->sys.live == 0 && r->sys.blocks == 0);
    for (i = 0; i < r->nsends; i++)
        if (r->sends[i].borrowed && !r->sends[i].reported)
            return_borrowed(&r->sends[i]);
    if (ROLE == WSOCK_SERVER && r->opened && r->wire.accept[0] && r->key[0]) {
        char accept[29];
        fuzz_accept(accept, r->key);
        CHECK(strcmp(accept, r->wire.accept) == 0);
    }
    free(r->memory);
}

static void run_program(run *r, const program *p, int way)
{
    fuzz_buf stream = {0};
    size_t at = 0;
    set_up(r, p);
    make_calls(r); /* those that come before anything */
    if (!r->bad) {
        if (p->head_api && ROLE == WSOCK_CLIENT)
            head_out(r);
        else
            take_all(r);
    }
    if (p->good_head) good_head(r, &stream);
    fuzz_put(&stream, p->stream.p, p->stream.n);
    if (ROLE == WSOCK_CLIENT && !p->good_head) put_accept(r, &stream);
    if (p->head_api && !r->bad) {
        at = head_in(r, &stream);
        read_events(r);
        output(r);
    }
    while (at < stream.n && !r->ended && !r->bad) {
        size_t n = chunk(r, way, stream.n);
        if (n > stream.n - at) n = stream.n - at;
        feed(r, stream.p + at, n);
        at += n;
    }
    finish(r, stream.n);
    free(stream.p);
}

static void tear_down(run *r)
{
    fuzz_wire_free(&r->wire);
    free(r->log.p);
    free(r->message.p);
    free(r->pongs.p);
    free(r->held.copy.p);
}

/* -------------------------------------------------------------- reference
 * The events of a stream of frames, by RFC 6455 alone, from the whole stream
 * at once.  It writes the same words as run.log.  `end` becomes the code of
 * the failure, or 1 where two answers are right. */

typedef struct frame {
    unsigned b0, op, fin, rsv;
    size_t n;
    uint8_t *p;
} frame;

enum { FRAME_MORE = -1, FRAME_EITHER = -2 };

/* Reads a frame's header; the size of the header, FRAME_..., or 0 when it
 * breaks the RFC. */
static long frame_head(frame *f, const uint8_t *p, size_t n, const run *r,
                       uint64_t *length)
{
    size_t need;
    unsigned allowed = r->extensions ? r->o.reserved_bits : 0;
    if (n < 2) return n ? FRAME_EITHER : FRAME_MORE;
    f->b0 = p[0];
    f->op = p[0] & 15u;
    f->fin = p[0] >> 7;
    f->rsv = p[0] & 0x70u;
    if (f->op > 10 || (f->op > 2 && f->op < 8)) return 0;
    if (f->op >= 8 && (f->rsv || !f->fin || (p[1] & 127) > 125)) return 0;
    if (f->rsv & ~allowed) return 0;
    if (f->rsv && !f->op) return 0; /* an extension marks whole messages */
    if (ROLE == WSOCK_CLIENT && p[1] & 128) return 0;
    if (ROLE == WSOCK_SERVER && !(p[1] & 128) && !r->p->no_masking) return 0;
    need = fuzz_frame_header(p, n, length);
    if (!need) return FRAME_EITHER;
    if ((p[1] & 127) == 126 && *length < 126) return 0;
    if ((p[1] & 127) == 127 && *length < 65536) return 0;
    if (*length >> 63) return 0;
    return (long)need;
}

/* A Close frame: the last thing.  Returns the failure or 0. */
static int reference_close(const frame *f, const run *r, fuzz_buf *log)
{
    int code = f->n >= 2 ? f->p[0] << 8 | f->p[1] : 1005;
    if (f->n == 1 || (f->n >= 2 && !fuzz_code_ok(code)))
        return WSOCK_PROTOCOL_ERROR;
    if (f->n > 2 && fuzz_utf8(f->p + 2, f->n - 2) != 1 && !r->p->no_utf8)
        return WSOCK_INVALID_UTF8;
    if (f->n > 2 && fuzz_utf8(f->p + 2, f->n - 2) != 1) return 1;
    fuzz_say(log, "close", code, 0,
             f->n > 2 ? fuzz_hash(FUZZ_HASH, f->p + 2, f->n - 2) : FUZZ_HASH);
    return 0;
}

static int reference(const run *r, const uint8_t *stream, size_t n,
                     fuzz_buf *log)
{
    fuzz_buf whole = {0}, message = {0};
    size_t limit = r->max_message, at = 0, i;
    unsigned type = 0;
    int end = 0, utf8 = !r->p->no_utf8;
    if (!n) return WSOCK_CONNECTION_LOST;
    fuzz_put(&whole, stream, n);
    while (!end) {
        frame f;
        uint64_t length;
        long hn = frame_head(&f, whole.p + at, n - at, r, &length);
        size_t have;
        end = hn == FRAME_MORE ? WSOCK_CONNECTION_LOST
              : hn == FRAME_EITHER ? 1
              : hn == 0 ? WSOCK_PROTOCOL_ERROR : 0;
        if (end) break;
        if (f.op < 8 && (f.op == 0) != (type != 0)) {
            end = WSOCK_PROTOCOL_ERROR;
            break;
        }
        if (f.op < 8 && !r->p->parts && length > limit - message.n) {
            end = WSOCK_TOO_BIG;
            break;
        }
        at += (size_t)hn;
        f.p = whole.p + at;
        have = n - at < length ? n - at : (size_t)length;
        f.n = have;
        if (whole.p[at - (size_t)hn + 1] & 128)
            for (i = 0; i < have; i++)
                f.p[i] ^= whole.p[at - 4 + (i & 3)];
        if (f.op == 1 || f.op == 2) type = f.op;
        if (f.op < 8) {
            fuzz_put(&message, f.p, have);
            if (type == 1 && utf8 && fuzz_utf8(message.p, message.n) < 0) {
                end = have < length ? 1 : WSOCK_INVALID_UTF8;
                break;
            }
        }
        if (have < length) {
            end = WSOCK_CONNECTION_LOST;
            break;
        }
        at += have;
        if (f.op == 8) {
            end = reference_close(&f, r, log);
            break;
        } else if (f.op > 8) {
            fuzz_say(log, f.op == 9 ? "ping" : "pong", (long)have, 0,
                     fuzz_hash(FUZZ_HASH, f.p, have));
        } else if (f.fin) {
            if (type == 1 && utf8 && fuzz_utf8(message.p, message.n) != 1) {
                end = WSOCK_INVALID_UTF8;
                break;
            }
            fuzz_say(log, "message", (long)type, (long)message.n,
                     fuzz_hash(FUZZ_HASH, message.p, message.n));
            message.n = 0;
            type = 0;
        }
    }
    free(whole.p);
    free(message.p);
    return end;
}

/* r has run over `log`'s stream: was all of it as the RFC says? */
static void check_log(const run *r, int end, const fuzz_buf *log)
{
    fuzz_buf got = r->log;
    size_t skip;
    for (skip = 0; got.p[skip] != '\n'; skip++) {} /* the line of OPEN */
    got.p += skip + 1;
    got.n -= skip + 1;
    if (end == 0) {
        fuzz_same("not as the reference", &got, log);
        return;
    }
    /* All of its events, then CLOSE with that failure. */
    if (got.n < log->n || (log->n && memcmp(got.p, log->p, log->n) != 0)
        || got.n - log->n < 6 || memcmp(got.p + log->n, "close ", 6) != 0)
        fuzz_differ("not as the reference", &got, log);
    if (end < 0 && r->failure != end) {
        fprintf(stderr, "wsock: %s, reference: %s\n",
                wsock_result_name(r->failure), wsock_result_name(end));
        abort();
    }
}

static void check_reference(const run *r)
{
    const program *p = r->p;
    fuzz_buf log = {0};
    int end;
    /* Calls that end the connection, and memory that is out, change what
     * comes; a fixed block adds limits of its own. */
    if (!p->good_head || p->fail >= 0x80 || p->fixed || r->bad || r->aborted
        || r->discarding)
        return;
    CHECK(r->opened || p->max_header);
    if (!r->opened) return;
    end = reference(r, p->stream.p, p->stream.n, &log);
    check_log(r, end, &log);
    free(log.p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static run one, other; /* static: large */
    fuzz_in in;
    program p;
    int way;
    in.p = data;
    in.n = size;
    parse_program(&p, &in);
    run_program(&one, &p, 0);
    check_reference(&one);
    for (way = 1; way <= 2; way++) {
        if (p.fail >= 0x80 && way == 2) break;
        run_program(&other, &p, way);
        /* A failing allocation comes at another moment then. */
        if (p.fail < 0x80)
            fuzz_same("fed otherwise, other events", &one.log, &other.log);
        tear_down(&other);
    }
    tear_down(&one);
    free(p.stream.p);
    return 0;
}
