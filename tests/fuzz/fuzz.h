/* fuzz.h - what the fuzz targets share: a deterministic wsock_system, small
 * independent versions of SHA-1, base64 and UTF-8, a reader of what wsock
 * writes, and the calls of a core connection that need care.
 *
 * Independent means: written from the RFCs without wsock's code, and slow
 * and plain where wsock is fast, so that one mistake is not made twice.
 *
 * With FUZZ_MAIN defined the target is an ordinary program that replays the
 * files named on its command line; without, libFuzzer brings main(). */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(cond)                                                           \
    do {                                                                      \
        if (!(cond)) fuzz_fail(#cond, __FILE__, __LINE__);                    \
    } while (0)

static void fuzz_fail(const char *what, const char *file, int line)
{
    fprintf(stderr, "%s:%d: not true: %s\n", file, line, what);
    abort(); /* which libFuzzer turns into a reproducer */
}

/* ------------------------------------------------------------- randomness */

/* xorshift64*: the same numbers everywhere. */
static uint64_t fuzz_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return (x * 0x2545F4914F6CDD1DULL) >> 32;
}

static uint64_t fuzz_seed(uint64_t n)
{
    return (n + 1) * 0x9E3779B97F4A7C15ULL;
}

/* The payload of everything that the targets send: byte i of stream `seed`.
 * Printable, so that it is text too, and with a long period, so that a piece
 * sent twice, lost or swapped shows. */
static uint8_t fuzz_pattern(uint32_t seed, size_t i)
{
    uint32_t x = (uint32_t)i * 2654435761u + seed * 40503u;
    x ^= x >> 15;
    x *= 2246822519u;
    return (uint8_t)(' ' + (x >> 16) % 95);
}

static void fuzz_fill(uint8_t *p, size_t n, uint32_t seed)
{
    size_t i;
    for (i = 0; i < n; i++) p[i] = fuzz_pattern(seed, i);
}

static uint32_t fuzz_hash(uint32_t h, const void *data, size_t n)
{
    const uint8_t *p = (const uint8_t *)data;
    size_t i;
    for (i = 0; i < n; i++) h = (h ^ p[i]) * 16777619u;
    return h;
}
#define FUZZ_HASH 2166136261u

/* ------------------------------------------------- what the system gives */

typedef struct fuzz_sys {
    size_t live, peak;  /* bytes allocated now, and at most */
    long blocks;        /* blocks allocated now */
    long fail_alloc;    /* the how-many-th allocation fails; 0: none */
    long fail_random;   /* the same for the random source */
    int forbidden;      /* nothing may be allocated: options.memory is set */
    int failed;         /* one of the two has happened */
    int64_t clock;
    uint64_t seed;
} fuzz_sys;

/* Before every block: its size and a mark, to check what free() is told. */
typedef struct fuzz_block {
    size_t size;
    size_t mark;
} fuzz_block;

static void *fuzz_alloc(void *user, size_t size)
{
    fuzz_sys *s = (fuzz_sys *)user;
    fuzz_block *b;
    CHECK(!s->forbidden);
    CHECK(size > 0);
    if (s->fail_alloc && --s->fail_alloc == 0) {
        s->failed = 1;
        return NULL;
    }
    /* More than any target's options allow: a length was believed. */
    CHECK(size < (size_t)1 << 30);
    b = (fuzz_block *)malloc(sizeof *b + size);
    CHECK(b != NULL);
    b->size = size;
    b->mark = (size_t)0x5EEDB10C ^ size;
    s->live += size;
    s->blocks++;
    if (s->live > s->peak) s->peak = s->live;
    /* Not zero, so that reading what was not written is seen. */
    memset(b + 1, 0xA5, size);
    return b + 1;
}

static void fuzz_free(void *user, void *memory, size_t size)
{
    fuzz_sys *s = (fuzz_sys *)user;
    fuzz_block *b = (fuzz_block *)memory;
    CHECK(memory != NULL);
    b--;
    CHECK(b->mark == ((size_t)0x5EEDB10C ^ b->size));
    CHECK(b->size == size);
    s->live -= size;
    s->blocks--;
    memset(b, 0xDD, sizeof *b + size);
    free(b);
}

static int64_t fuzz_now(void *user)
{
    return ((fuzz_sys *)user)->clock++;
}

static int fuzz_bytes(void *user, void *bytes, size_t size)
{
    fuzz_sys *s = (fuzz_sys *)user;
    uint8_t *p = (uint8_t *)bytes;
    if (s->fail_random && --s->fail_random == 0) {
        s->failed = 1;
        return -1;
    }
    while (size--) *p++ = (uint8_t)fuzz_random(&s->seed);
    return 0;
}

static wsock_system fuzz_system(fuzz_sys *s, uint64_t seed)
{
    wsock_system sys;
    memset(s, 0, sizeof *s);
    s->seed = fuzz_seed(seed);
    sys.alloc = fuzz_alloc;
    sys.free = fuzz_free;
    sys.now = fuzz_now;
    sys.random = fuzz_bytes;
    sys.user = s;
    return sys;
}

/* ------------------------------------------------------ SHA-1 and base64 */

static uint32_t fuzz_rol(uint32_t x, int n)
{
    return x << n | x >> (32 - n);
}

/* FIPS 180-4, for messages up to 119 bytes. */
static void fuzz_sha1(uint8_t out[20], const void *data, size_t n)
{
    uint32_t h[5] = {0x67452301u, 0xEFCDAB89u, 0x98BADCFEu, 0x10325476u,
                     0xC3D2E1F0u};
    uint8_t m[128];
    size_t blocks = n < 56 ? 1 : 2, b, i;
    CHECK(n <= 119);
    memset(m, 0, sizeof m);
    memcpy(m, data, n);
    m[n] = 0x80;
    m[64 * blocks - 2] = (uint8_t)(n * 8 >> 8);
    m[64 * blocks - 1] = (uint8_t)(n * 8);
    for (b = 0; b < blocks; b++) {
        uint32_t w[80], v[5], f, k, t;
        for (i = 0; i < 16; i++)
            w[i] = (uint32_t)m[64 * b + 4 * i] << 24
                   | (uint32_t)m[64 * b + 4 * i + 1] << 16
                   | (uint32_t)m[64 * b + 4 * i + 2] << 8
                   | (uint32_t)m[64 * b + 4 * i + 3];
        for (; i < 80; i++)
            w[i] = fuzz_rol(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
        memcpy(v, h, sizeof v);
        for (i = 0; i < 80; i++) {
            if (i < 20)
                f = (v[1] & v[2]) | (~v[1] & v[3]), k = 0x5A827999u;
            else if (i < 40)
                f = v[1] ^ v[2] ^ v[3], k = 0x6ED9EBA1u;
            else if (i < 60)
                f = (v[1] & v[2]) | (v[1] & v[3]) | (v[2] & v[3]),
                k = 0x8F1BBCDCu;
            else
                f = v[1] ^ v[2] ^ v[3], k = 0xCA62C1D6u;
            t = fuzz_rol(v[0], 5) + f + v[4] + k + w[i];
            v[4] = v[3];
            v[3] = v[2];
            v[2] = fuzz_rol(v[1], 30);
            v[1] = v[0];
            v[0] = t;
        }
        for (i = 0; i < 5; i++) h[i] += v[i];
    }
    for (i = 0; i < 20; i++) out[i] = (uint8_t)(h[i / 4] >> (24 - i % 4 * 8));
}

/* Sec-WebSocket-Accept for a key (RFC 6455 4.2.2): 28 characters. */
static void fuzz_accept(char out[29], const char *key)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                 "abcdefghijklmnopqrstuvwxyz0123456789+/";
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char joined[120];
    uint8_t sum[21];
    size_t i;
    CHECK(strlen(key) <= 64);
    sprintf(joined, "%s%s", key, guid);
    fuzz_sha1(sum, joined, strlen(joined));
    sum[20] = 0;
    for (i = 0; i < 7; i++) {
        uint32_t x = (uint32_t)sum[3 * i] << 16 | (uint32_t)sum[3 * i + 1] << 8
                     | sum[3 * i + 2];
        out[4 * i] = digits[x >> 18];
        out[4 * i + 1] = digits[x >> 12 & 63];
        out[4 * i + 2] = digits[x >> 6 & 63];
        out[4 * i + 3] = digits[x & 63];
    }
    out[27] = '=';
    out[28] = 0;
}

/* ----------------------------------------------------------------- UTF-8 */

/* RFC 3629: 1 valid, 0 a valid beginning of something, -1 can never become
 * valid. */
static int fuzz_utf8(const uint8_t *p, size_t n)
{
    size_t i = 0;
    while (i < n) {
        unsigned lead = p[i], low = 0x80, high = 0xBF;
        size_t more, j;
        if (lead < 0x80)
            more = 0;
        else if (lead >= 0xC2 && lead <= 0xDF)
            more = 1;
        else if (lead >= 0xE0 && lead <= 0xEF)
            more = 2;
        else if (lead >= 0xF0 && lead <= 0xF4)
            more = 3;
        else
            return -1;
        if (lead == 0xE0) low = 0xA0;  /* overlong */
        if (lead == 0xED) high = 0x9F; /* surrogates */
        if (lead == 0xF0) low = 0x90;  /* overlong */
        if (lead == 0xF4) high = 0x8F; /* above U+10FFFF */
        i++;
        for (j = 0; j < more; j++, i++) {
            if (i == n) return 0;
            if (p[i] < low || p[i] > high) return -1;
            low = 0x80;
            high = 0xBF;
        }
    }
    return 1;
}

/* ------------------------------------------------------------ close codes */

/* May it stand in a Close frame (RFC 6455 7.4, IANA's registry)? */
static int fuzz_code_ok(int code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014)
           || (code >= 3000 && code <= 4999);
}

/* ------------------------------------------------ a buffer that may grow */

typedef struct fuzz_buf {
    uint8_t *p;
    size_t n, cap;
} fuzz_buf;

static void fuzz_put(fuzz_buf *b, const void *data, size_t n)
{
    if (b->cap - b->n < n) {
        b->cap = (b->n + n) * 2;
        b->p = (uint8_t *)realloc(b->p, b->cap);
        CHECK(b->p != NULL);
    }
    if (n) memcpy(b->p + b->n, data, n);
    b->n += n;
}

static void fuzz_puts(fuzz_buf *b, const char *text)
{
    fuzz_put(b, text, strlen(text));
}

/* Of its own size, so that memory checkers see any read past it. */
static uint8_t *fuzz_copy(const uint8_t *p, size_t n)
{
    uint8_t *copy = (uint8_t *)malloc(n ? n : 1);
    CHECK(copy != NULL);
    if (n) memcpy(copy, p, n);
    return copy;
}

/* ------------------------------------------------------------ a run's log */

/* One line, of something that was reported. */
static void fuzz_say(fuzz_buf *log, const char *what, long a, long b,
                     uint32_t c)
{
    char line[128];
    sprintf(line, "%s %ld %ld %08lx\n", what, a, b, (unsigned long)c);
    fuzz_puts(log, line);
}

static void fuzz_differ(const char *what, const fuzz_buf *a,
                        const fuzz_buf *b)
{
    fprintf(stderr, "%s:\n--- one\n%.*s--- other\n%.*s", what, (int)a->n,
            (const char *)a->p, (int)b->n, (const char *)b->p);
    abort();
}

static void fuzz_same(const char *what, const fuzz_buf *a, const fuzz_buf *b)
{
    if (a->n != b->n || (a->n && memcmp(a->p, b->p, a->n) != 0))
        fuzz_differ(what, a, b);
}

/* --------------------------------------------------- the fuzzer's program */

typedef struct fuzz_in {
    const uint8_t *p;
    size_t n;
} fuzz_in;

static unsigned fuzz_byte(fuzz_in *in)
{
    if (!in->n) return 0;
    in->n--;
    return *in->p++;
}

/* ------------------------------------------------- what wsock has written
 * fuzz_wire reads the bytes of wsock_output() in pieces of any size.  It
 * checks the head's lines and every frame's header (RFC 6455 5.2), and calls
 * `frame` at the end of each frame. */

enum { FUZZ_HEAD_MAX = 200000 };

typedef struct fuzz_wire {
    int role;        /* who wrote it */
    int no_masking;  /* WSOCK_UNSAFE_NO_MASKING was set */
    unsigned rsv;    /* bits that data frames may carry, as in a kind */
    void (*frame)(void *user, unsigned b0, const uint8_t *p, size_t n);
    void *user;

    int frames;      /* past the head */
    int refused;     /* the head was a refusal: a body follows, no frames */
    fuzz_buf head;
    char key[65];    /* of a client's head */
    char accept[65]; /* of a server's */
    size_t body;     /* bytes of the refusal's body, and how many are due */
    size_t body_due;
    uint8_t h[14];   /* header of the frame that is coming */
    size_t hn;
    fuzz_buf payload;
    int inside;      /* a fragmented message is open */
    int closed;      /* a Close went by */
    int close_code;  /* its code, 1005 for none */
    uint32_t last_key;
} fuzz_wire;

/* A head's line without its CRLF: no control characters, so that nothing can
 * be smuggled in (RFC 9112 2.2, 9110 5.5). */
static void fuzz_line(const uint8_t *p, size_t n)
{
    size_t i;
    for (i = 0; i < n; i++)
        CHECK(p[i] == '\t' || (p[i] >= 0x20 && p[i] != 0x7F));
}

static int fuzz_is(const uint8_t *p, size_t n, const char *name)
{
    size_t i, m = strlen(name);
    if (n < m) return 0;
    for (i = 0; i < m; i++) {
        int a = p[i], b = name[i];
        if (a >= 'A' && a <= 'Z') a += 32;
        if (b >= 'A' && b <= 'Z') b += 32;
        if (a != b) return 0;
    }
    return 1;
}

static void fuzz_copy_value(char *out, size_t cap, const uint8_t *p, size_t n)
{
    while (n && (*p == ' ' || *p == '\t')) p++, n--;
    CHECK(n < cap);
    memcpy(out, p, n);
    out[n] = 0;
}

/* One header, "Name: value": remember what the handshake is about. */
static void fuzz_header(fuzz_wire *w, const uint8_t *p, size_t n)
{
    size_t colon = 0;
    fuzz_line(p, n);
    while (colon < n && p[colon] != ':') {
        CHECK(p[colon] > ' ' && p[colon] < 0x7F); /* a token */
        colon++;
    }
    CHECK(colon > 0 && colon < n);
    if (fuzz_is(p, n, "sec-websocket-key:"))
        fuzz_copy_value(w->key, sizeof w->key, p + 18, n - 18);
    if (fuzz_is(p, n, "sec-websocket-accept:"))
        fuzz_copy_value(w->accept, sizeof w->accept, p + 21, n - 21);
    if (fuzz_is(p, n, "content-length:"))
        w->body_due = (size_t)atol((const char *)p + 15);
}

/* The head is complete: head.p ends with CRLF CRLF. */
static void fuzz_head(fuzz_wire *w)
{
    const uint8_t *p = w->head.p;
    size_t n = w->head.n - 2, at = 0, line = 0, i;
    while (at < n) {
        for (i = at; p[i] != '\r' && p[i] != '\n'; i++) {}
        CHECK(p[i] == '\r' && p[i + 1] == '\n');
        if (line == 0) {
            fuzz_line(p + at, i - at);
            if (w->role == WSOCK_CLIENT) {
                CHECK(fuzz_is(p + at, i - at, "GET /"));
                CHECK(i - at >= 14
                      && memcmp(p + i - 9, " HTTP/1.1", 9) == 0);
            } else {
                CHECK(i - at >= 13 && memcmp(p + at, "HTTP/1.1 ", 9) == 0);
                w->refused = memcmp(p + at + 9, "101 ", 4) != 0;
            }
        } else {
            CHECK(i > at);
            fuzz_header(w, p + at, i - at);
        }
        at = i + 2;
        line++;
    }
    if (w->role == WSOCK_CLIENT) CHECK(strlen(w->key) == 24);
    if (w->role == WSOCK_SERVER && !w->refused)
        CHECK(strlen(w->accept) == 28);
    w->frames = 1;
}

/* The length that the header in h announces, once enough of it is there;
 * returns the header's size, or 0 for "more". */
static size_t fuzz_frame_header(const uint8_t *h, size_t n, uint64_t *length)
{
    size_t need = 2, i;
    if (n < 2) return 0;
    if ((h[1] & 127) == 126) need = 4;
    if ((h[1] & 127) == 127) need = 10;
    if (h[1] & 128) need += 4;
    if (n < need) return 0;
    *length = h[1] & 127;
    if (*length == 126) *length = (uint64_t)h[2] << 8 | h[3];
    if (*length == 127 && (h[1] & 127) == 127)
        for (*length = 0, i = 2; i < 10; i++) *length = *length << 8 | h[i];
    return need;
}

static void fuzz_check_header(fuzz_wire *w, size_t hn, uint64_t length)
{
    const uint8_t *h = w->h;
    unsigned op = h[0] & 15, short7 = h[1] & 127;
    CHECK(!w->closed); /* nothing after Close */
    CHECK(!w->refused);
    CHECK(length <= (uint64_t)1 << 32);
    CHECK(!(short7 == 126 && length < 126));
    CHECK(!(short7 == 127 && length < 65536));
    if (op >= 8) {
        CHECK(op == 8 || op == 9 || op == 10);
        CHECK((h[0] & 0xF0) == 0x80);
        CHECK(length <= 125);
    } else {
        CHECK(op <= 2);
        CHECK((h[0] & 0x70 & ~w->rsv) == 0);
        CHECK((op == 0) == w->inside);
        w->inside = !(h[0] & 0x80);
    }
    CHECK(!!(h[1] & 128) == (w->role == WSOCK_CLIENT));
    if (h[1] & 128) {
        uint32_t key;
        memcpy(&key, h + hn - 4, 4);
        if (w->no_masking) {
            CHECK(key == 0);
        } else {
            /* A fresh key for each frame (RFC 6455 5.3).  That two are equal
             * by chance has the odds of 2^-32. */
            CHECK(key != 0 && key != w->last_key);
        }
        w->last_key = key;
    }
}

static void fuzz_check_frame(fuzz_wire *w, const uint8_t *key)
{
    size_t i;
    if (key)
        for (i = 0; i < w->payload.n; i++) w->payload.p[i] ^= key[i & 3];
    if ((w->h[0] & 15) == 8) {
        w->closed = 1;
        w->close_code = 1005;
        CHECK(w->payload.n != 1);
        if (w->payload.n >= 2) {
            w->close_code = w->payload.p[0] << 8 | w->payload.p[1];
            CHECK(fuzz_code_ok(w->close_code));
            CHECK(fuzz_utf8(w->payload.p + 2, w->payload.n - 2) == 1);
        }
    }
    if (w->frame) w->frame(w->user, w->h[0], w->payload.p, w->payload.n);
    w->payload.n = 0;
    w->hn = 0;
}

static void fuzz_wire_put(fuzz_wire *w, const uint8_t *p, size_t n)
{
    while (n && !w->frames) {
        fuzz_put(&w->head, p, 1);
        p++, n--;
        CHECK(w->head.n < FUZZ_HEAD_MAX);
        if (w->head.n >= 4
            && memcmp(w->head.p + w->head.n - 4, "\r\n\r\n", 4) == 0)
            fuzz_head(w);
    }
    if (w->refused) {
        w->body += n;
        CHECK(w->body <= w->body_due);
        return;
    }
    while (n) {
        uint64_t length = 0;
        size_t hn = fuzz_frame_header(w->h, w->hn, &length), some;
        if (!hn) {
            w->h[w->hn++] = *p++;
            n--;
            hn = fuzz_frame_header(w->h, w->hn, &length);
            if (!hn) continue;
            fuzz_check_header(w, hn, length);
        }
        some = (size_t)length - w->payload.n;
        if (some > n) some = n;
        fuzz_put(&w->payload, p, some);
        p += some;
        n -= some;
        if (w->payload.n == length)
            fuzz_check_frame(w, w->h[1] & 128 ? w->h + hn - 4 : NULL);
    }
}

/* Is everything that was begun complete? */
static int fuzz_wire_whole(const fuzz_wire *w)
{
    if (!w->frames) return w->head.n == 0;
    if (w->refused) return w->body == w->body_due;
    return w->hn == 0;
}

static void fuzz_wire_free(fuzz_wire *w)
{
    free(w->head.p);
    free(w->payload.p);
}

/* ------------------------------------------------------------ connections */

/* wsock_next(), which writes all of an event that it returns. */
static int fuzz_next(wsock *ws, wsock_event *e)
{
    int got;
    memset(e, 0x55, sizeof *e);
    got = wsock_next(ws, e);
    CHECK(got <= 1);
    return got;
}

/* wsock_output() that was looked at and is not yet taken. */
typedef struct fuzz_held {
    wsock_buf bufs[8];
    size_t n;
    fuzz_buf copy; /* its bytes then */
} fuzz_held;

static void fuzz_look(fuzz_held *h, wsock *ws, size_t pieces)
{
    size_t i;
    if (h->n) return;
    h->n = wsock_output(ws, h->bufs, pieces);
    CHECK(h->n <= pieces);
    h->copy.n = 0;
    for (i = 0; i < h->n; i++) {
        CHECK(h->bufs[i].size > 0);
        fuzz_put(&h->copy, h->bufs[i].data, h->bufs[i].size);
    }
}

/* What was looked at must not have moved. */
static void fuzz_check_held(const fuzz_held *h)
{
    size_t i, at = 0;
    for (i = 0; i < h->n; i++) {
        CHECK(memcmp(h->bufs[i].data, h->copy.p + at, h->bufs[i].size) == 0);
        at += h->bufs[i].size;
    }
    CHECK(at == h->copy.n);
}

/* All of wsock_head_out() as it would be written; empty where it gives none.
 * Returns what it ended with. */
static int fuzz_head_out(wsock *ws, fuzz_buf *head)
{
    const char *name, *value;
    size_t i;
    int got;
    for (i = 0;; i++) {
        got = wsock_head_out(ws, i, &name, &value);
        if (got != WSOCK_OK) break;
        CHECK(i < 1000);
        CHECK(name != NULL && value != NULL);
        CHECK((*name == 0) == (i == 0));
        fuzz_line((const uint8_t *)name, strlen(name));
        fuzz_line((const uint8_t *)value, strlen(value));
        if (i) {
            fuzz_puts(head, name);
            fuzz_puts(head, ": ");
        }
        fuzz_puts(head, value);
        fuzz_puts(head, "\r\n");
    }
    if (!i) return got;
    CHECK(got == WSOCK_CLOSED);
    fuzz_puts(head, "\r\n");
    return got;
}

/* wsock_head_in() with a head of `n` bytes, its empty line included, split as
 * an HTTP stack would.  Nothing that it is given is kept. */
static int fuzz_head_in(wsock *ws, const void *head, size_t n)
{
    char *text = (char *)malloc(n);
    const char **lines = (const char **)malloc((n + 1) * sizeof *lines);
    size_t i, count = 0, from = 0;
    int got;
    CHECK(text != NULL && lines != NULL);
    memcpy(text, head, n);
    for (i = 0; i + 2 < n; i++)
        if (text[i] == '\r' && text[i + 1] == '\n') {
            text[i] = 0;
            lines[count++] = text + from;
            from = i + 2;
        }
    CHECK(count > 0);
    lines[count] = NULL;
    got = wsock_head_in(ws, lines[0], lines + 1);
    CHECK(got <= 0);
    memset(text, 0xEE, n);
    free(text);
    free((void *)lines);
    return got;
}

/* options.memory of `need` bytes; one byte less is refused.  The caller is to
 * free it. */
static void *fuzz_fixed(fuzz_sys *s, int role, const char *url,
                        wsock_options *o, size_t need)
{
    void *memory = malloc(need);
    CHECK(memory != NULL);
    o->memory = memory;
    o->memory_size = need - 1;
    s->forbidden = 1;
    CHECK(wsock_new(role, url, o) == NULL);
    o->memory_size = need;
    return memory;
}

/* What holds of every CLOSE. */
static void fuzz_check_close(wsock *ws, const wsock_event *e)
{
    const wsock_failure *why = e->why;
    CHECK(why != NULL && why == wsock_why(ws));
    CHECK(why->text != NULL && why->close_reason != NULL);
    CHECK(why->code <= 0 && why->code == wsock_error(ws));
    CHECK(strcmp(wsock_error_text(ws), why->text) == 0);
    CHECK(wsock_state(ws) == WSOCK_STATE_CLOSED);
    CHECK(e->code == 1005 || e->code == 1006 || fuzz_code_ok(e->code));
    CHECK(e->size <= 123);
    CHECK(fuzz_utf8((const uint8_t *)e->data, e->size) == 1);
}

/* ------------------------------------------------------------------ main */

#ifdef FUZZ_MAIN
int main(int argc, char **argv)
{
    int i;
    for (i = 1; i < argc; i++) {
        FILE *f = fopen(argv[i], "rb");
        static uint8_t data[1 << 20];
        uint8_t *exact;
        size_t n;
        if (!f) {
            perror(argv[i]);
            return 2;
        }
        n = fread(data, 1, sizeof data, f);
        fclose(f);
        /* Of its own size, so that memory checkers see its end. */
        exact = (uint8_t *)malloc(n ? n : 1);
        CHECK(exact != NULL);
        memcpy(exact, data, n);
        fprintf(stderr, "%s\n", argv[i]);
        LLVMFuzzerTestOneInput(exact, n);
        free(exact);
    }
    return 0;
}
#endif

#endif
