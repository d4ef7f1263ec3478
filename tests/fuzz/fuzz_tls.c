/* fuzz_tls.c - a client and a server over TLS, and what is between them.
 *
 * The first byte: 1 the handshakes are done before anything else; 2 small
 * records; the rest chooses an allocation that fails.  Then pairs of bytes,
 * what and an argument: bytes on their way arrive, are changed, lost,
 * doubled or made up, or end; either side is polled, or sends.  Whatever
 * happens on the way: a message that arrives is the next one that was sent,
 * all of it; nobody goes on for ever; and where nothing happened, all arrive.
 *
 * BearSSL's generator is seeded by the fuzzer's own source alone, so that a
 * run can be repeated. */
#define WSOCK_IMPLEMENTATION
#define WSOCK_BEARSSL
#include "../../wsock.h"

#include "fuzz.h"

static const char certificate[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBijCCATGgAwIBAgIUN7OiYv/jxfgHwWwksV+GHnSsr0kwCgYIKoZIzj0EAwIw\n"
    "DzENMAsGA1UEAwwEZnV6ejAgFw0yNjExMjExNTQ0MjJaGA8yMTI2MTAyODE1NDQy\n"
    "MlowDzENMAsGA1UEAwwEZnV6ejBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABJWF\n"
    "i2dhLZ3w2d+bM5FfRq4pkcFRiUHyz8I6Uc6qolr1UaM5w03MrO0W1C/tQP9mi3To\n"
    "bOyv2nvTVKMdHpUNu3CjaTBnMB0GA1UdDgQWBBTYcqp9+JEWK5QVGvQSSFANzkKA\n"
    "lzAfBgNVHSMEGDAWgBTYcqp9+JEWK5QVGvQSSFANzkKAlzAPBgNVHRMBAf8EBTAD\n"
    "AQH/MBQGA1UdEQQNMAuCCWxvY2FsaG9zdDAKBggqhkjOPQQDAgNHADBEAiB4bU2v\n"
    "pQh5yp8IMYPDfOs4lLHS1HIUG3GQLNIhGAgPRwIgQMGwD3dZ/MYF8cdWyEQ4lYRR\n"
    "SoA4y5AuXNCEJjUwz5c=\n"
    "-----END CERTIFICATE-----\n";
static const char private_key[] =
    "-----BEGIN EC PRIVATE KEY-----\n"
    "MHcCAQEEIFvjmmYUZoCTkA4quPHpes1u28rIpp1VVb09Kb+MmuzdoAoGCCqGSM49\n"
    "AwEHoUQDQgAElYWLZ2EtnfDZ35szkV9GrimRwVGJQfLPwjpRzqqiWvVRoznDTcys\n"
    "7RbUL+1A/2aLdOhs7K/ae9NUox0elQ27cA==\n"
    "-----END EC PRIVATE KEY-----\n";

br_prng_seeder br_prng_seeder_system(const char **name)
{
    if (name) *name = "none";
    return 0;
}

typedef struct end {
    wsock *ws;
    struct end *peer;
    fuzz_sys sys;
    wsock_system system;
    fuzz_buf way;  /* written by the peer, on its way */
    fuzz_buf in;   /* arrived */
    size_t at;     /* ... and read */
    int ended;     /* the way ends behind what is on it, */
    int in_ended;  /* what has arrived, too */
    int closed;    /* the transport is */
    int opened, over; /* events that came */
    uint32_t sent, received; /* messages */
} end;

static int harmed; /* something has happened on the way, or to memory */

/* ------------------------------------------------------------- transport */

enum { WAY_MOST = 3000 }; /* bytes on their way, before writing has to wait */

static ptrdiff_t end_read(void *user, void *data, size_t size)
{
    end *e = (end *)user;
    size_t n = e->in.n - e->at;
    CHECK(!e->closed && size > 0);
    if (!n) return e->in_ended ? 0 : WSOCK_WANT_READ;
    if (n > size) n = size;
    memcpy(data, e->in.p + e->at, n);
    e->at += n;
    return (ptrdiff_t)n;
}

static ptrdiff_t end_write(void *user, const wsock_buf *bufs, size_t count)
{
    end *e = (end *)user;
    size_t i, n = 0;
    CHECK(!e->closed && count > 0);
    if (e->peer->closed) return WSOCK_TRANSPORT_ERROR;
    if (e->peer->way.n >= WAY_MOST) return WSOCK_WANT_WRITE;
    for (i = 0; i < count && e->peer->way.n < WAY_MOST; i++) {
        size_t some = WAY_MOST - e->peer->way.n;
        if (some > bufs[i].size) some = bufs[i].size;
        fuzz_put(&e->peer->way, bufs[i].data, some);
        n += some;
    }
    return (ptrdiff_t)n;
}

static int end_finish(void *user)
{
    ((end *)user)->peer->ended = 1;
    return 0;
}

static int end_wait(void *user, int wants, int timeout)
{
    (void)user;
    (void)wants;
    CHECK(timeout == 0); /* they are polled */
    return 0;
}

static void end_close(void *user)
{
    end *e = (end *)user;
    CHECK(!e->closed);
    e->closed = 1;
    e->peer->ended = 1;
}

/* --------------------------------------------------------------- the ends */

static const size_t sizes[8] = {0, 1, 125, 126, 1000, 5000, 16385, 40000};

static void on_message(end *e, const wsock_event *v)
{
    uint32_t seed = e->received++;
    const uint8_t *p = (const uint8_t *)v->data;
    size_t i;
    CHECK(seed < e->peer->sent);
    CHECK(v->kind == WSOCK_BINARY);
    CHECK(v->size == sizes[seed % 8]);
    for (i = 0; i < v->size; i++)
        CHECK(p[i] == fuzz_pattern(seed, i));
}

/* 1: something was reported. */
static int poll_end(end *e)
{
    wsock_event v;
    int i, got = 0;
    for (i = 0; i < 1000 && !e->over && e->ws; i++) {
        int r = wsock_poll(e->ws, &v, 0);
        if (r <= 0) break;
        got = 1;
        if (v.type == WSOCK_EVENT_OPEN) CHECK(!e->opened++);
        if (v.type == WSOCK_EVENT_MESSAGE) on_message(e, &v);
        if (v.type == WSOCK_EVENT_CLOSE) {
            e->over = 1;
            fuzz_check_close(e->ws, &v);
            CHECK(harmed || v.why->code == WSOCK_OK);
        }
    }
    CHECK(i < 1000);
    return got;
}

static void send_some(end *e)
{
    uint8_t data[40000];
    size_t n = sizes[e->sent % 8];
    int r;
    if (!e->ws || !e->opened || e->over) return;
    fuzz_fill(data, n, e->sent);
    r = wsock_send(e->ws, WSOCK_BINARY, data, n);
    CHECK(r <= WSOCK_OK || r == WSOCK_WOULD_BLOCK);
    if (r == WSOCK_OK) e->sent++;
}

static size_t arrive(end *e, size_t most)
{
    size_t n = e->way.n < most ? e->way.n : most;
    if (e->at == e->in.n) e->at = e->in.n = 0;
    fuzz_put(&e->in, e->way.p, n);
    if (n) memmove(e->way.p, e->way.p + n, e->way.n - n);
    e->way.n -= n;
    if (!e->way.n && e->ended && !e->in_ended) {
        e->in_ended = 1;
        n++;
    }
    return n;
}

static void settle(end *a, end *b)
{
    int turns, moved = 1;
    for (turns = 0; moved && turns < 10000; turns++) {
        moved = arrive(a, 70000) > 0;
        moved |= arrive(b, 70000) > 0;
        moved |= poll_end(a);
        moved |= poll_end(b);
        moved |= a->way.n || b->way.n;
    }
    CHECK(turns < 10000);
}

static void start(end *e, end *peer, int role, unsigned options)
{
    wsock_options o;
    wsock_io io;
    memset(e, 0, sizeof *e);
    e->peer = peer;
    e->system = fuzz_system(&e->sys, (uint64_t)role + 20);
    if (options >> 7 == (role == WSOCK_SERVER))
        e->sys.fail_alloc = (long)(options >> 2 & 31);
    harmed |= e->sys.fail_alloc != 0;
    memset(&o, 0, sizeof o);
    o.system = &e->system;
    o.flags = WSOCK_NONBLOCKING;
    o.handshake_timeout = o.close_timeout = o.connect_timeout = WSOCK_NEVER;
    o.tls_record = options & 2 ? 512 : 0;
    if (role == WSOCK_SERVER) {
        o.tls_cert = certificate;
        o.tls_key = private_key;
    } else {
        o.tls_ca = certificate;
    }
    memset(&io, 0, sizeof io);
    io.read = end_read;
    io.write = end_write;
    io.finish = end_finish;
    io.wait = end_wait;
    io.close = end_close;
    io.user = e;
    e->ws = wsock_new(role, role == WSOCK_CLIENT ? "wss://localhost/" : NULL,
                      &o);
    if (!e->ws || wsock_attach(e->ws, &io) != WSOCK_OK) {
        CHECK(e->sys.failed);
        end_close(e);
        wsock_free(e->ws);
        e->ws = NULL;
    }
}

static void stop(end *e)
{
    wsock_free(e->ws);
    CHECK(e->sys.live == 0 && e->sys.blocks == 0);
    free(e->way.p);
    free(e->in.p);
}

/* Something is done to what is on its way. */
static void harm(end *e, unsigned how, unsigned arg)
{
    uint8_t made_up[3] = {23, 3, 3};
    size_t n = e->way.n, at = n ? arg * 37 % n : 0;
    if (how == 6) { /* it ends here */
        e->way.n = at;
        e->ended = 1;
    } else if (how == 5) {
        made_up[0] = (uint8_t)arg;
        fuzz_put(&e->way, made_up, 3);
    } else if (!n) {
        return;
    } else if (how == 3) {
        e->way.p[at] ^= (uint8_t)(1 << arg % 8);
    } else { /* what stands before that comes last, or not at all */
        uint8_t *first = fuzz_copy(e->way.p, at);
        e->way.n -= at;
        memmove(e->way.p, e->way.p + at, e->way.n);
        if (arg & 1) fuzz_put(&e->way, first, at);
        free(first);
    }
    harmed = 1;
}

static void step(end *e, unsigned what, unsigned arg)
{
    switch (what) {
    case 0: arrive(e, arg + 1); break;
    case 1: arrive(e, (size_t)(arg + 1) * 100); break;
    case 2: send_some(e); break;
    case 3: case 4: case 5: case 6: harm(e, what, arg); break;
    default: break;
    }
    poll_end(e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static end client, server;
    fuzz_in in;
    unsigned options;
    int ended;
    in.p = data;
    in.n = size;
    options = fuzz_byte(&in);
    harmed = 0;
    memset(&server, 0, sizeof server);
    start(&client, &server, WSOCK_CLIENT, options);
    ended = server.ended; /* by a client that could not begin */
    start(&server, &client, WSOCK_SERVER, options);
    server.ended = ended;
    if (options & 1) settle(&client, &server);
    while (in.n) {
        unsigned what = fuzz_byte(&in), arg = fuzz_byte(&in);
        step(what & 8 ? &server : &client, what & 7, arg);
    }
    settle(&client, &server);
    if (!harmed) {
        CHECK(client.opened && server.opened);
        CHECK(client.received == server.sent && server.received == client.sent);
        CHECK(wsock_close(client.ws, 1000, "bye") == WSOCK_OK);
        settle(&client, &server);
        CHECK(client.over && server.over);
    }
    stop(&client);
    stop(&server);
    return 0;
}
