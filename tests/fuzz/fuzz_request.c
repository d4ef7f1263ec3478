/* fuzz_request.c - requests that the program answers (WSOCK_REQUESTS).
 *
 * A server's connection without I/O; the input plays the peer and the
 * program.  The input is
 *
 *     6 bytes   options, see parse_program()
 *     3 bytes   per action of the program, see struct action
 *     1 byte    n, then n bytes: a header that answers may carry
 *     the rest  what the peer writes, behind the head that was chosen
 *
 * A request is compared with reference_*(), a reader of heads of its own.
 * What the program's calls return, and every byte that is to be written, is
 * checked against the contracts.  Every input runs with different sizes of
 * wsock_feed(), and must report the same. */
#define WSOCK_IMPLEMENTATION
#include "../../wsock.h"

#include "fuzz.h"

/* ------------------------------------------------------------ the program */

enum { ACTIONS_MAX = 15, BODY_MAX = 100000 };

/* While a request waits, `when` is: at once, after wsock_next() has had
 * nothing more, after more bytes were offered, after the peer has left.
 * Otherwise: after so many events. */
enum { NOW, AFTER_NEXT, AFTER_FEED, AFTER_END };
typedef struct action {
    unsigned what, when, arg, size;
} action;

typedef struct program {
    int fixed, headers, subprotocols, origins, parts, by_hand, extension;
    int hand_out;      /* our head by wsock_head_out() */
    size_t max_header, send_limit, max_message, receive_buffer;
    unsigned output;   /* how output is taken: enum below */
    unsigned fail;     /* which allocation fails */
    unsigned head;     /* which of heads[] comes first */
    unsigned chunks;   /* seed of the sizes that are fed */
    size_t pieces;     /* of one wsock_output() */
    action actions[ACTIONS_MAX];
    size_t nactions;
    char custom[64];   /* the input's header */
    fuzz_buf stream;
} program;

enum { TAKE_ALL, TAKE_LATE, TAKE_SOME, TAKE_LAST };

#define UPGRADE                                                               \
    "GET /chat?room=1 HTTP/1.1\r\nHost: a.example:80\r\n"                     \
    "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"               \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"                         \
    "Sec-WebSocket-Version: 13\r\n"
#define FIVE(a) a "1," a "2," a "3," a "4," a "5"

static const struct {
    int good; /* a request that is to be reported */
    const char *text;
} heads[8] = {
    {0, ""},
    {1, "GET /p/q?a=1&b HTTP/1.1\r\nHost: h.example\r\n"
        "Accept: text/html\r\n\r\n"},
    {1, "HEAD /page HTTP/1.1\r\nHost: h.example\r\n\r\n"},
    {1, UPGRADE "Origin: http://example.com\r\n"
        "Sec-WebSocket-Protocol: chat, other , x9\r\n"
        "Sec-WebSocket-Extensions: x-fuzz; level=3\r\n\r\n"},
    {1, UPGRADE "Sec-WebSocket-Protocol: " FIVE("a") "," FIVE("b") "\r\n"
        "sec-websocket-protocol: " FIVE("c") "," FIVE("d") ", chat\r\n"
        "Sec-WebSocket-Protocol: " FIVE("e") "," FIVE("f") "\r\n"
        "Sec-WebSocket-Protocol: " FIVE("g") "\r\n\r\n"},
    {0, UPGRADE},
    {0, "GET /p?q HTTP/1.1\r\nHost: h\r\n"},
    {1, "\r\nGET http://h.example?x=y HTTP/1.0\r\nX: \r\n\r\n"},
};

static void parse_program(program *p, fuzz_in *in)
{
    static const size_t messages[] = {0, 125, 4096, 70000};
    static const size_t limits[] = {0, 64, 1000, 300000};
    static const size_t header_limits[] = {0, 4000, 200, 64};
    unsigned a = fuzz_byte(in), b = fuzz_byte(in), d, e;
    size_t i, n;
    memset(p, 0, sizeof *p);
    p->fixed = a & 1;
    p->headers = a >> 1 & 1;
    p->subprotocols = a >> 2 & 1;
    p->origins = a >> 3 & 1;
    p->parts = a >> 4 & 1;
    p->by_hand = a >> 5 & 1;
    p->extension = a >> 6 & 1;
    p->hand_out = a >> 7 & 1;
    p->max_header = header_limits[b & 3];
    p->send_limit = limits[b >> 2 & 3];
    p->max_message = messages[b >> 4 & 3];
    p->output = b >> 6;
    p->fail = fuzz_byte(in);
    d = fuzz_byte(in);
    p->head = d & 7;
    p->chunks = d >> 3;
    e = fuzz_byte(in);
    p->pieces = 1 + (e & 7);
    p->receive_buffer = e & 8 ? 256 : 0;
    p->nactions = fuzz_byte(in) & ACTIONS_MAX;
    for (i = 0; i < p->nactions; i++) {
        p->actions[i].what = fuzz_byte(in);
        p->actions[i].when = p->actions[i].what >> 4 & 3;
        p->actions[i].arg = fuzz_byte(in);
        p->actions[i].size = fuzz_byte(in);
    }
    n = fuzz_byte(in) & 63;
    for (i = 0; i < n && in->n; i++) p->custom[i] = (char)fuzz_byte(in);
    fuzz_puts(&p->stream, heads[p->head].text);
    fuzz_put(&p->stream, in->p, in->n);
    /* wsock_head_in() takes C strings: what lies behind a NUL is not seen. */
    for (i = 0; p->by_hand && i < p->stream.n; i++) {
        if (i >= 4 && memcmp(p->stream.p + i - 4, "\r\n\r\n", 4) == 0) break;
        if (!p->stream.p[i]) p->stream.p[i] = '?';
    }
}

/* -------------------------------------------------------------- reference
 * What a head says, read from its bytes alone, line by line. */

typedef struct slice {
    const char *p;
    size_t n;
} slice;

static slice trim(slice s)
{
    while (s.n && (*s.p == ' ' || *s.p == '\t')) s.p++, s.n--;
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t')) s.n--;
    return s;
}

static int same_case(slice s, const char *word)
{
    return s.n == strlen(word) && memcmp(s.p, word, s.n) == 0;
}

static int same(slice s, const char *word)
{
    return s.n == strlen(word)
           && fuzz_is((const uint8_t *)s.p, s.n, word);
}

/* The next piece of *s up to `mark`; 0: there is none. */
static int cut(slice *s, const char *mark, slice *piece)
{
    size_t m = strlen(mark), i;
    if (!s->p) return 0;
    *piece = *s;
    for (i = 0; i + m <= s->n; i++)
        if (memcmp(s->p + i, mark, m) == 0) {
            piece->n = i;
            s->p += i + m;
            s->n -= i + m;
            return 1;
        }
    s->p = NULL;
    return 1;
}

/* The head in the stream, without its empty line and what may stand before
 * it (RFC 9112 2.2), and where it ends; 0: it is not complete. */
static size_t reference_head(const fuzz_buf *stream, slice *head)
{
    size_t i, at = 0;
    while (at + 2 <= stream->n && memcmp(stream->p + at, "\r\n", 2) == 0)
        at += 2;
    for (i = at; i + 4 <= stream->n; i++)
        if (memcmp(stream->p + i, "\r\n\r\n", 4) == 0) {
            head->p = (const char *)stream->p + at;
            head->n = i - at;
            return i + 4;
        }
    return 0;
}

/* The value of the how-many-th header of that name; 0: there is none. */
static int reference_header(slice head, const char *name, size_t nth,
                            slice *value)
{
    slice line, key;
    cut(&head, "\r\n", &line);
    while (cut(&head, "\r\n", &line))
        if (cut(&line, ":", &key) && same(key, name) && line.p && !nth--) {
            *value = trim(line);
            return 1;
        }
    return 0;
}

/* The how-many-th element of all headers of that name together. */
static int reference_element(slice head, const char *name, size_t nth,
                             slice *item)
{
    slice value;
    size_t i;
    for (i = 0; reference_header(head, name, i, &value); i++)
        while (cut(&value, ",", item)) {
            *item = trim(*item);
            if (item->n && !nth--) return 1;
        }
    return 0;
}

static int reference_names(slice head, const char *name, const char *word)
{
    slice item;
    size_t i;
    for (i = 0; reference_element(head, name, i, &item); i++)
        if (same(item, word)) return 1;
    return 0;
}

static void check_string(const char *got, slice want)
{
    CHECK(got != NULL);
    CHECK(strlen(got) == want.n && memcmp(got, want.p, want.n) == 0);
}

static void check_header(const char *got, slice head, const char *name)
{
    slice value;
    if (reference_header(head, name, 0, &value))
        check_string(got, value);
    else
        CHECK(got == NULL);
}

/* RFC 6455 4.2.1: what a request for an upgrade has. */
static void check_handshake(slice head, const wsock_options *o)
{
    slice value;
    CHECK(reference_names(head, "Upgrade", "websocket"));
    CHECK(reference_names(head, "Connection", "Upgrade"));
    CHECK(reference_header(head, "Sec-WebSocket-Version", 0, &value));
    CHECK(same(value, "13"));
    CHECK(!reference_header(head, "Sec-WebSocket-Version", 1, &value));
    CHECK(!reference_header(head, "Sec-WebSocket-Key", 1, &value));
    CHECK(reference_header(head, "Sec-WebSocket-Key", 0, &value));
    CHECK(value.n == 24 && memcmp(value.p + 22, "==", 2) == 0);
    if (o->origins && reference_header(head, "Origin", 0, &value))
        CHECK(same(value, o->origins[0]));
}

/* The request line, and what is made of the target (RFC 9112 3.2). */
static void check_target(const wsock_request *q, slice line, slice *version)
{
    slice method, target, rest, path;
    CHECK(cut(&line, " ", &method));
    CHECK(cut(&line, " ", &target));
    CHECK(line.p != NULL);
    *version = line;
    CHECK(strcmp(q->method, "GET") == 0 || strcmp(q->method, "HEAD") == 0);
    check_string(q->method, method);
    check_string(q->target, target);
    CHECK(target.n > 0);
    rest = target;
    if (*target.p != '/') { /* scheme and host */
        CHECK(cut(&rest, "://", &path) && rest.p);
        CHECK(same(path, "http") || same(path, "https"));
        while (rest.n && *rest.p != '/' && *rest.p != '?') rest.p++, rest.n--;
    }
    CHECK(cut(&rest, "?", &path));
    if (!path.n) path.p = "/", path.n = 1;
    CHECK(*q->path == '/');
    check_string(q->path, path);
    if (rest.p)
        check_string(q->query, rest);
    else
        CHECK(q->query == NULL);
}

static void check_request(const wsock_request *q, slice head,
                          const wsock_options *o)
{
    slice line, all = head, item, version;
    size_t i;
    CHECK(q->upgrade == 0 || q->upgrade == 1);
    CHECK(cut(&all, "\r\n", &line));
    check_target(q, line, &version);
    CHECK(version.n == 8 && memcmp(version.p, "HTTP/1.", 7) == 0);
    check_header(q->host, head, "Host");
    check_header(q->origin, head, "Origin");
    CHECK(q->host || version.p[7] == '0');
    CHECK(q->subprotocols != NULL);
    for (i = 0; q->subprotocols[i]; i++) {
        CHECK(i < 32);
        CHECK(reference_element(head, "Sec-WebSocket-Protocol", i, &item));
        check_string(q->subprotocols[i], item);
        CHECK(item.n > 0);
    }
    if (i < 32)
        CHECK(!reference_element(head, "Sec-WebSocket-Protocol", i, &item));
    if (q->upgrade) {
        CHECK(*q->method == 'G' && version.p[7] != '0');
        check_handshake(head, o);
    } else {
        CHECK(*q->method == 'H' || version.p[7] == '0'
              || !reference_names(head, "Upgrade", "websocket"));
    }
}

/* May this be a header of an answer?  1 yes, 0 no, -1: it is one that the
 * library writes itself, which it refuses. */
static int header_fits(const char *s)
{
    static const char *const own[] = {
        "Host", "Upgrade", "Connection", "Content-Length",
        "Transfer-Encoding", "Sec-WebSocket-Key", "Sec-WebSocket-Version",
        "Sec-WebSocket-Accept", "Sec-WebSocket-Protocol",
        "Sec-WebSocket-Extensions"};
    slice name, line;
    size_t i;
    line.p = s;
    line.n = strlen(s);
    if (!cut(&line, ":", &name) || !line.p || !name.n) return 0;
    for (i = 0; i < name.n; i++) {
        uint8_t c = (uint8_t)name.p[i];
        if (c <= ' ' || c >= 0x7F || strchr("\"(),/:;<=>?@[\\]{}", c))
            return 0;
    }
    for (i = 0; i < line.n; i++) {
        uint8_t c = (uint8_t)line.p[i];
        if ((c < ' ' && c != '\t') || c == 0x7F) return 0;
    }
    for (i = 0; i < sizeof own / sizeof *own; i++)
        if (same(name, own[i])) return -1;
    return 1;
}

static int headers_fit(const char *const *list)
{
    for (; list && *list; list++)
        if (header_fits(*list) != 1) return 0;
    return 1;
}

/* ---------------------------------------------------------------- one run */

/* How far the one request has come. */
enum { NONE, WAITS, UPGRADED, RESPONDED, DROPPED };

typedef struct echo {
    unsigned b0;
    uint32_t size, hash;
} echo;

typedef struct run {
    const program *p;
    wsock *ws;
    wsock_options o;
    fuzz_sys sys;
    wsock_system system;
    void *memory;
    fuzz_wire wire;
    fuzz_buf log;          /* what was reported, in words */
    uint64_t random;       /* for sizes */
    fuzz_buf stream;
    slice head;             /* of the stream, and where it ends; 0: nowhere */
    size_t head_end, at;   /* the bytes that were taken */
    uint8_t *lent;         /* the bytes that are fed now */
    size_t nlent;

    int stage;             /* of the request */
    int asked;             /* REQUEST was reported */
    const wsock_request *request;
    uint32_t request_hash; /* of all that it says */
    int upgrade;           /* as it said */
    size_t action, events; /* actions done; events since the last one */
    int opened, ended, bad, freed;
    int aborted, discarding;
    int left;              /* the peer went while the request waited */
    int lost;              /* it was answered too late once */
    int refused;           /* wsock_head_in() said so */
    int failure;           /* why->code of CLOSE */

    int status;            /* of our answer */
    const char *answered[5]; /* headers of our answer */
    const char *list[3];   /* headers that an action chose */
    char long_header[3100];
    char subprotocol[64];  /* agreed on, "" none */
    size_t body;
    fuzz_buf out;          /* all that was written */
    int by_hand;           /* the head was given by wsock_head_out() */

    fuzz_held held;

    fuzz_buf message;      /* parts of the message that is coming */
    unsigned part;         /* type of the message that we are sending */
    fuzz_buf echoes;       /* struct echo: frames that we have sent */
    size_t echoed;         /* of them, those that were written */
    fuzz_buf pings;        /* struct echo: pings that came */
    size_t ponged;         /* the next that may be answered */
} run;

static void say(run *r, const char *what, long a, long b, uint32_t c)
{
    fuzz_say(&r->log, what, a, b, c);
}

static echo make_echo(unsigned b0, const void *data, size_t size)
{
    echo e;
    e.b0 = b0;
    e.size = (uint32_t)size;
    e.hash = fuzz_hash(FUZZ_HASH, data, size);
    return e;
}

/* fuzz_wire has read a whole frame of ours: an echo, in their order, or the
 * answer to a ping, of which some may be left out (RFC 6455 5.5.3). */
static void on_frame(void *user, unsigned b0, const uint8_t *p, size_t n)
{
    run *r = (run *)user;
    echo got = make_echo(b0, p, n), want;
    const fuzz_buf *from = (b0 & 15) < 8 ? &r->echoes : &r->pings;
    size_t *at = (b0 & 15) < 8 ? &r->echoed : &r->ponged;
    if ((b0 & 15) == 8) return;
    CHECK((b0 & 15) != 9);
    do {
        CHECK((*at + 1) * sizeof want <= from->n);
        memcpy(&want, from->p + *at * sizeof want, sizeof want);
        ++*at;
    } while (memcmp(&got, &want, sizeof got) != 0 && (b0 & 15) == 10);
    CHECK(memcmp(&got, &want, sizeof got) == 0);
}

/* ---------------------------------------------------------------- output */

static void put_out(run *r, const void *data, size_t n)
{
    fuzz_put(&r->out, data, n);
    fuzz_wire_put(&r->wire, (const uint8_t *)data, n);
}

static void look(run *r)
{
    if (r->held.n) return;
    fuzz_look(&r->held, r->ws, r->p->pieces);
    if (r->stage == NONE && !wsock_error(r->ws)) CHECK(r->held.n == 0);
    if (r->stage == WAITS || r->stage == DROPPED) CHECK(r->held.n == 0);
}

/* Take `n` bytes of what was looked at, which must not have moved. */
static void take(run *r, size_t n)
{
    fuzz_held *h = &r->held;
    if (!h->n) return;
    fuzz_check_held(h);
    if (n > h->copy.n) n = h->copy.n;
    CHECK(wsock_output_done(r->ws, h->copy.n + 1)
          == WSOCK_INVALID_PARAMETER);
    CHECK(wsock_output_done(r->ws, n) == WSOCK_OK);
    put_out(r, h->copy.p, n);
    h->n = 0;
}

/* Of a HEAD request: its answer announces a body that does not come. */
static int is_head(const run *r)
{
    return r->head_end && r->head.n > 4 && memcmp(r->head.p, "HEAD", 4) == 0;
}

static void take_all(run *r)
{
    do {
        look(r);
        take(r, r->held.copy.n);
        look(r);
    } while (r->held.n);
    if (r->aborted || r->sys.failed) return;
    CHECK(fuzz_wire_whole(&r->wire) || is_head(r));
    CHECK(wsock_queued(r->ws) == 0);
}

static void output(run *r)
{
    switch (r->p->output) {
    case TAKE_ALL:
        take_all(r);
        break;
    case TAKE_LATE: /* what was looked at the last time */
        if (r->held.n) take(r, fuzz_random(&r->random) % 2000);
        look(r);
        break;
    case TAKE_SOME:
        look(r);
        take(r, fuzz_random(&r->random) % (2 * r->held.copy.n + 2));
        break;
    default:
        break;
    }
}

/* Our head by wsock_head_out(), which takes it out of wsock_output(). */
static void head_out(run *r)
{
    fuzz_buf head = {0};
    int first = r->out.n == 0, got = fuzz_head_out(r->ws, &head);
    if (head.n && first) {
        put_out(r, head.p, head.n);
        r->by_hand = 1;
        /* What was offered is not what would be written now. */
        if (r->held.n)
            CHECK(wsock_output_done(r->ws, r->held.copy.n)
                  == WSOCK_INVALID_PARAMETER);
        r->held.n = 0;
    } else if (!head.n) {
        CHECK(got == WSOCK_INVALID_OPERATION);
    } else {
        CHECK(r->by_hand); /* the same once more */
    }
    free(head.p);
}

/* ------------------------------------------------------------ the request */

/* All that a request says, as one number. */
static uint32_t hash_request(const wsock_request *q)
{
    const char *strings[6];
    uint32_t h = FUZZ_HASH;
    size_t i;
    strings[0] = q->method;
    strings[1] = q->target;
    strings[2] = q->path;
    strings[3] = q->query;
    strings[4] = q->host;
    strings[5] = q->origin;
    h = fuzz_hash(h, &q->upgrade, sizeof q->upgrade);
    for (i = 0; i < 6; i++)
        if (strings[i])
            h = fuzz_hash(h, strings[i], strlen(strings[i]) + 1);
    for (i = 0; q->subprotocols[i]; i++)
        h = fuzz_hash(h, q->subprotocols[i], strlen(q->subprotocols[i]) + 1);
    return h;
}

/* It lives until it is answered or the connection is freed. */
static void check_waiting(run *r)
{
    const char *host;
    if (!r->request || (r->stage != WAITS && r->stage != DROPPED)) return;
    CHECK(hash_request(r->request) == r->request_hash);
    if (r->stage != WAITS || r->ended) return;
    CHECK(wsock_state(r->ws) == WSOCK_STATE_CONNECTING);
    CHECK(wsock_subprotocol(r->ws) == NULL);
    CHECK(wsock_queued(r->ws) == 0);
    look(r); /* which checks that there is nothing */
    host = wsock_header(r->ws, "hOST");
    if (r->request->host)
        CHECK(host != NULL && strcmp(host, r->request->host) == 0);
    else
        CHECK(host == NULL);
}

static void on_request(run *r, const wsock_event *e)
{
    CHECK(!r->asked && !r->opened);
    CHECK(r->stage == (r->p->by_hand ? WAITS : NONE));
    CHECK(r->head_end > 0);
    r->asked = 1;
    r->stage = WAITS;
    r->request = e->request;
    CHECK(r->request != NULL);
    check_request(r->request, r->head, &r->o);
    r->upgrade = r->request->upgrade;
    r->request_hash = hash_request(r->request);
    check_waiting(r);
    say(r, "request", r->upgrade, 0, r->request_hash);
}

/* The headers that an action chooses. */
static const char *const *choose_headers(run *r, unsigned i)
{
    static const char *const none[] = {NULL};
    static const char *const one[] = {"X-Extra: more", NULL};
    static const char *const some[] = {
        "Content-Type: text/html", "Set-Cookie: a=b; Path=/", "X-Empty:",
        "x-bytes:\t\xC3\xA4\xFF ", NULL};
    static const char *const crlf[] = {"X: a\r\nY: b", NULL};
    static const char *const lf[] = {
        "X: a", "X: a\nContent-Length: 0", NULL};
    static const char *const cr[] = {"X: a\rb", NULL};
    static const char *const end[] = {"X: a\r\n\r\nHTTP/1.1 200 OK", NULL};
    static const char *const colon[] = {"X", NULL};
    static const char *const empty[] = {": a", NULL};
    static const char *const space[] = {"X : a", NULL};
    static const char *const length[] = {"content-length: 5", NULL};
    static const char *const encoding[] = {
        "X: a", "Transfer-Encoding: chunked", NULL};
    switch (i & 15) {
    case 0:
    case 1:
        return NULL;
    case 2:
        return none;
    case 3:
        return one;
    case 4:
        return some;
    case 5:
        return crlf;
    case 6:
        return lf;
    case 7:
        return cr;
    case 8:
        return end;
    case 9:
        return colon;
    case 10:
        return empty;
    case 11:
        return space;
    case 12:
        return length;
    case 13:
        return encoding;
    case 14:
        strcpy(r->long_header, "X-Long: ");
        memset(r->long_header + 8, 'x', 3000);
        r->list[0] = r->long_header;
        r->list[1] = r->p->custom;
        return r->list;
    default:
        r->list[0] = r->p->custom;
        r->list[1] = NULL;
        return r->list;
    }
}

/* What is common to both answers: -1, nothing to check; 0, it may be taken,
 * or the result that it must have. */
static int expect_answer(run *r, int got)
{
    CHECK(got <= 0);
    if (r->bad) return WSOCK_NO_MEMORY;
    if (r->stage == WAITS && r->ended && !r->lost) return WSOCK_CLOSED;
    if (r->stage == DROPPED) { /* by a call of ours */
        CHECK(got == WSOCK_CLOSED || got == WSOCK_INVALID_OPERATION);
        return got;
    }
    if (r->stage != WAITS || r->lost) return WSOCK_INVALID_OPERATION;
    return 0;
}

/* Could it be taken?  Then it was, but for memory. */
static void check_taken(run *r, int got, int least)
{
    if (got == WSOCK_NO_MEMORY)
        CHECK(r->sys.failed);
    else if (got == WSOCK_TOO_BIG)
        CHECK(r->p->fixed && !least);
    else
        CHECK(got == WSOCK_OK);
}

/* The list was borrowed until the call's return. */
static void keep_headers(run *r, const char *const *list)
{
    size_t i;
    for (i = 0; list && list[i]; i++) r->answered[i] = list[i];
    r->list[0] = r->list[1] = NULL;
}

static const char *choose_subprotocol(run *r, unsigned i, int *offered)
{
    const char *name = NULL;
    size_t n = 0;
    *offered = 1;
    if (i < 2) return NULL;
    if (r->stage == WAITS && r->request)
        while (r->request->subprotocols[n]) n++;
    *offered = n > 0;
    if (n) name = r->request->subprotocols[(i - 2) % n];
    if (i < 12 && n) return name;
    *offered = 0;
    return i == 12 ? "" : i == 13 ? "a\r\nX: y" : i == 14 ? "CHAT" : "cha";
}

static int in_list(const char *const *list, const char *s)
{
    while (list && *list)
        if (strcmp(*list++, s) == 0) return 1;
    return 0;
}

static int upgrade(run *r, unsigned arg)
{
    const char *const *headers = choose_headers(r, arg);
    int offered, want, got;
    const char *name = choose_subprotocol(r, arg >> 4, &offered);
    char copy[64] = "";
    if (name && strlen(name) >= sizeof copy) name = NULL, offered = 1;
    if (name) strcpy(copy, name);
    got = wsock_upgrade(r->ws, name, headers);
    want = expect_answer(r, got);
    if (!want && r->request && !r->upgrade) want = WSOCK_INVALID_OPERATION;
    if (!want && r->request && (!headers_fit(headers) || !offered))
        want = WSOCK_INVALID_PARAMETER;
    if (!r->left) say(r, "upgrade", want, r->request ? got : 0, 0);
    if (want) {
        CHECK(got == want);
        if (got == WSOCK_CLOSED) r->lost = 1;
        return got;
    }
    /* Not yet known to us: wsock_head_in() only. */
    if (!r->request && got < 0 && got != WSOCK_NO_MEMORY) return got;
    /* With options.memory a subprotocol is one of the options. */
    check_taken(r, got, !headers
                            && (!name || in_list(r->o.subprotocols, copy)));
    if (got == WSOCK_OK && r->p->fixed && name)
        CHECK(in_list(r->o.subprotocols, copy));
    if (got != WSOCK_OK) return got;
    r->stage = UPGRADED;
    r->status = 101;
    keep_headers(r, headers);
    strcpy(r->subprotocol, copy);
    if (r->p->hand_out) head_out(r);
    return got;
}

static int respond(run *r, unsigned arg, unsigned how, int no_body)
{
    static const int statuses[16] = {200, 204, 304, 404, 500, 302, 599, 206,
                                     426, 101, 199, 600, -1, 0, 65736, 299};
    static const size_t sizes[16] = {0,    0,     1,     2,     5,    125,
                                     126,  272,   1000,  4000,  4096, 5000,
                                     16384, 65535, 65536, BODY_MAX};
    const char *const *headers = choose_headers(r, arg);
    int status = statuses[arg >> 4 & 15], want, got;
    size_t size = sizes[how & 15];
    uint8_t *body = (uint8_t *)malloc(size ? size : 1);
    CHECK(body != NULL);
    fuzz_fill(body, size, 3);
    if (no_body) size += 1;
    got = wsock_respond(r->ws, status, headers, no_body ? NULL : body, size);
    memset(body, 0xEE, size - (size_t)!!no_body);
    free(body); /* it was copied */
    want = expect_answer(r, got);
    if (!want && (status < 200 || status > 599 || no_body
                  || !headers_fit(headers)
                  || (size && (status == 204 || status == 304))))
        want = WSOCK_INVALID_PARAMETER;
    if (!r->left) say(r, "respond", status, got, want ? 0 : (uint32_t)size);
    if (want) {
        CHECK(got == want);
        if (got == WSOCK_CLOSED) r->lost = 1;
        return got;
    }
    check_taken(r, got, !headers && !size);
    if (got != WSOCK_OK) return got;
    r->stage = RESPONDED;
    r->status = status;
    keep_headers(r, headers);
    r->body = size;
    if (r->p->hand_out) head_out(r);
    return got;
}

/* ---------------------------------------------------------------- actions */

static void read_events(run *r);

static void drop_lent(run *r)
{
    if (r->lent) memset(r->lent, 0xEE, r->nlent);
    free(r->lent);
    r->lent = NULL;
    r->nlent = 0;
}

/* Offer bytes.  1: they were taken. */
static int feed(run *r, const uint8_t *p, size_t n)
{
    uint8_t *lent = fuzz_copy(p, n); /* which will be gone */
    int held = r->stage == WAITS && r->at > r->head_end;
    int got = wsock_feed(r->ws, lent, n);
    if (got != WSOCK_OK) {
        /* Behind a request that waits nothing is read. */
        CHECK(got == WSOCK_INVALID_OPERATION && held && !r->ended);
        free(lent);
        return 0;
    }
    CHECK(!held || r->ended);
    drop_lent(r); /* of before: it was read, or it would not be taken */
    r->lent = lent;
    r->nlent = n;
    r->at += n;
    return 1;
}

static int more(run *r, size_t n)
{
    if (n > r->stream.n - r->at) n = r->stream.n - r->at;
    return n ? feed(r, r->stream.p + r->at, n) : 0;
}

/* The peer goes.  Where bytes are lent that nobody reads, a program has only
 * wsock_abort() to say so. */
static void leave(run *r)
{
    int held = r->stage == WAITS && r->at > r->head_end;
    int got = wsock_feed(r->ws, NULL, 0);
    if (r->ended) return;
    if (r->stage == WAITS) r->left = 1;
    if (held) {
        CHECK(got == WSOCK_INVALID_OPERATION);
        CHECK(wsock_abort(r->ws) == WSOCK_OK);
        r->aborted = 1;
        r->stage = DROPPED;
    } else {
        CHECK(got == WSOCK_OK);
    }
}

static void do_close(run *r, unsigned arg)
{
    int codes[4] = {1000, 3000, 0, 999}, code = codes[arg & 3];
    int state = wsock_state(r->ws), error = wsock_error(r->ws);
    int got = wsock_close(r->ws, code, NULL);
    CHECK(got <= 0);
    /* The request is given up. */
    if (r->stage == WAITS && wsock_state(r->ws) == WSOCK_STATE_CLOSED)
        r->stage = DROPPED;
    if (r->ended) return;
    if (state == WSOCK_STATE_CONNECTING && code != 999) {
        CHECK(got == WSOCK_OK && wsock_error(r->ws) == WSOCK_CANCELLED);
        CHECK(wsock_state(r->ws) == WSOCK_STATE_CLOSED);
        CHECK(r->stage == DROPPED);
    } else if (state == WSOCK_STATE_CLOSED) {
        CHECK(got == error);
    } else if (code == 999) {
        CHECK(got == WSOCK_INVALID_PARAMETER);
        CHECK(wsock_error(r->ws) == error);
    } else {
        CHECK(got == WSOCK_OK || r->sys.failed);
        if (got == WSOCK_OK) r->discarding = 1;
    }
}

/* Calls that do not fit change nothing. */
static void do_wrong(run *r)
{
    static const char *const list[] = {"Host: a", NULL};
    const char *name, *value;
    char text[8];
    wsock_status got;
    wsock_event e;
    int error = wsock_error(r->ws), code;
    CHECK(wsock_receive(r->ws, text, sizeof text, &got) < 0);
    if (wsock_state(r->ws) != WSOCK_STATE_CLOSED)
        CHECK(wsock_poll(r->ws, &e, 0) < 0);
    CHECK(wsock_dial(r->ws) < 0);
    CHECK(wsock_cancel(r->ws) < 0);
    if (r->stage == WAITS && !r->ended) {
        CHECK(wsock_send(r->ws, WSOCK_TEXT, "x", 1)
              == WSOCK_INVALID_OPERATION);
        CHECK(wsock_sendv(r->ws, WSOCK_BINARY | WSOCK_BORROW, NULL, 0, NULL)
              == WSOCK_INVALID_OPERATION);
        CHECK(wsock_shutdown(r->ws, 1000, NULL) == WSOCK_INVALID_OPERATION);
        CHECK(wsock_head_out(r->ws, 0, &name, &value)
              == WSOCK_INVALID_OPERATION);
    }
    if (r->stage != NONE) { /* nothing waits for a head */
        code = wsock_head_in(r->ws, "GET / HTTP/1.1", list);
        CHECK(code < 0);
        if (!error) CHECK(code == WSOCK_INVALID_OPERATION);
    }
    CHECK(wsock_error(r->ws) == error);
}

static void on_event(run *r, const wsock_event *e);

static void do_action(run *r, const action *a)
{
    wsock_event e;
    switch (a->what & 15) {
    case 0:
    case 1:
    case 2:
        upgrade(r, a->arg);
        break;
    case 3:
    case 4:
    case 5:
        respond(r, a->arg, a->size, 0);
        break;
    case 6:
        respond(r, a->arg, a->size, 1);
        break;
    case 7:
        do_close(r, a->arg);
        break;
    case 8:
        if (a->arg % 3) break; /* or few inputs would get far */
        CHECK(wsock_abort(r->ws) == WSOCK_OK);
        r->aborted = 1; /* the output is dropped, at any time */
        if (r->stage == WAITS) r->stage = DROPPED;
        r->held.n = 0;
        break;
    case 9:
        if (a->arg % 3) break;
        wsock_free(r->ws);
        r->ws = NULL;
        r->freed = 1;
        return;
    case 10:
    case 11:
        do_wrong(r);
        break;
    case 12:
        if (r->stage != WAITS || r->ended) head_out(r);
        break;
    case 13: /* paused: what has come waits, unless it is discarded */
        if (r->discarding) break;
        CHECK(wsock_pause(r->ws, 1) == WSOCK_OK);
        if (!r->ended && wsock_next(r->ws, &e) > 0) {
            CHECK(e.type == WSOCK_EVENT_OPEN || e.type == WSOCK_EVENT_CLOSE
                  || e.type == WSOCK_EVENT_DRAIN
                  || (e.type == WSOCK_EVENT_REQUEST && r->p->by_hand));
            on_event(r, &e);
        }
        if (!r->freed) CHECK(wsock_pause(r->ws, 0) == WSOCK_OK);
        break;
    case 14:
        look(r);
        if (a->size) take(r, a->size);
        break;
    default:
        CHECK(wsock_why(r->ws)->text != NULL);
        CHECK(wsock_user(r->ws) == &r->o);
        break;
    }
    if (!r->freed) check_waiting(r);
}

/* The next action.  It is off the list before it is done, as events that it
 * reads do the ones behind it. */
static void next_action(run *r)
{
    const action *a = &r->p->actions[r->action++];
    r->events = 0;
    do_action(r, a);
}

/* Those whose time has come, at an event. */
static void due_actions(run *r)
{
    if (r->stage == NONE) return;
    while (r->action < r->p->nactions && !r->freed) {
        const action *a = &r->p->actions[r->action];
        if (r->stage == WAITS && !r->ended ? a->when != NOW
                                           : r->events < a->when)
            break;
        next_action(r);
    }
}

/* The request waits, and nothing is to be read: the other actions, and at
 * last an answer. */
static void serve(run *r)
{
    wsock_event e;
    int i;
    while (r->stage == WAITS && !r->ended && !r->freed) {
        check_waiting(r);
        if (r->action == r->p->nactions) {
            for (i = 0; i < 3 && r->stage == WAITS; i++)
                if ((r->upgrade ? upgrade(r, 0) : respond(r, 0x30, 0, 0)) < 0)
                    CHECK(r->sys.failed);
            CHECK(r->stage != WAITS);
        } else {
            unsigned when = r->p->actions[r->action].when;
            if (when == AFTER_NEXT) CHECK(wsock_next(r->ws, &e) == 0);
            if (when == AFTER_FEED)
                more(r, 1 + (size_t)fuzz_random(&r->random) % 300);
            if (when == AFTER_END) leave(r);
            read_events(r);
            if (r->freed) return;
            if (r->action < r->p->nactions) next_action(r);
        }
        if (!r->freed) read_events(r);
    }
}

/* ---------------------------------------------------------------- events */

/* What came goes back. */
static void send_back(run *r, const wsock_event *e)
{
    unsigned type = e->kind & 15;
    echo sent = make_echo(0, e->data, e->size);
    int got, state = wsock_state(r->ws), fits = !r->part || r->part == type;
    got = wsock_send(r->ws, e->kind, e->data, e->size);
    if (!r->sys.failed && state == WSOCK_STATE_OPEN && fits)
        CHECK(got == WSOCK_OK || got == WSOCK_WOULD_BLOCK
              || (got == WSOCK_TOO_BIG && r->p->fixed));
    if (state != WSOCK_STATE_OPEN || !fits) CHECK(got < 0);
    if (got != WSOCK_OK) return;
    if (!r->part) sent.b0 = type | (e->kind & 0x70);
    if (!(e->kind & WSOCK_FRAGMENT)) sent.b0 |= 0x80;
    r->part = e->kind & WSOCK_FRAGMENT ? type : 0;
    fuzz_put(&r->echoes, &sent, sizeof sent);
}

static void on_message(run *r, const wsock_event *e)
{
    unsigned type = e->kind & 15;
    CHECK(r->opened && !r->discarding);
    CHECK(type == WSOCK_TEXT || type == WSOCK_BINARY);
    CHECK(!(e->kind & WSOCK_FRAGMENT) || r->p->parts);
    fuzz_put(&r->message, e->data, e->size);
    send_back(r, e);
    if (e->kind & WSOCK_FRAGMENT) return;
    say(r, "message", (long)type, (long)r->message.n,
        fuzz_hash(FUZZ_HASH, r->message.p, r->message.n));
    r->message.n = 0;
    r->events++;
}

static void on_open(run *r)
{
    const char *name = wsock_subprotocol(r->ws);
    slice key;
    CHECK(!r->opened && r->stage == UPGRADED);
    r->opened = 1;
    check_header(wsock_header(r->ws, "Host"), r->head, "Host");
    CHECK(reference_header(r->head, "Sec-WebSocket-Key", 0, &key));
    check_string(wsock_header(r->ws, "Sec-WebSocket-Key"), key);
    if (*r->subprotocol)
        CHECK(name != NULL && strcmp(name, r->subprotocol) == 0);
    else
        CHECK(name == NULL);
    CHECK(wsock_extensions(r->ws) <= (unsigned)r->p->extension);
    say(r, "open", (long)wsock_extensions(r->ws), 0, 0);
    r->events++;
}

static void on_close(run *r, const wsock_event *e)
{
    const wsock_failure *why = e->why;
    fuzz_check_close(r->ws, e);
    CHECK(r->opened || e->code == 1006);
    if (r->stage == UPGRADED) CHECK(r->opened); /* OPEN before */
    if (r->stage == RESPONDED) {
        CHECK(!r->opened && why->http_status == r->status);
        CHECK(why->code == WSOCK_OK);
    }
    if (r->stage == NONE && !r->sys.failed && !r->aborted && !r->refused)
        CHECK(why->code == WSOCK_REFUSED
              || why->code == WSOCK_CONNECTION_LOST);
    r->failure = why->code;
    r->ended = 1;
    say(r, "close", e->code, r->left ? 0 : why->code,
        fuzz_hash(FUZZ_HASH, e->data, e->size));
}

static void on_event(run *r, const wsock_event *e)
{
    echo pong;
    CHECK(e->ws == r->ws);
    CHECK(!r->ended); /* CLOSE is the last */
    /* Nothing but its end is reported while a request waits. */
    if (r->asked && r->stage == WAITS) CHECK(e->type == WSOCK_EVENT_CLOSE);
    switch (e->type) {
    case WSOCK_EVENT_REQUEST:
        on_request(r, e);
        break;
    case WSOCK_EVENT_OPEN:
        on_open(r);
        break;
    case WSOCK_EVENT_MESSAGE:
        on_message(r, e);
        break;
    case WSOCK_EVENT_PING:
    case WSOCK_EVENT_PONG:
        CHECK(r->opened && !r->discarding && e->size <= 125);
        pong = make_echo(0x8A, e->data, e->size);
        if (e->type == WSOCK_EVENT_PING)
            fuzz_put(&r->pings, &pong, sizeof pong);
        say(r, "control", e->type, (long)e->size, pong.hash);
        r->events++;
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
    due_actions(r);
}

static void read_events(run *r)
{
    wsock_event e;
    int got;
    long turns = 0;
    while ((got = fuzz_next(r->ws, &e)) > 0) {
        on_event(r, &e);
        if (r->freed) return;
        CHECK(++turns < 1000000);
    }
    CHECK((got < 0) == r->ended);
    /* Nothing is lent any more, but behind a request that waits. */
    if (r->stage != WAITS || r->ended) drop_lent(r);
}

/* ---------------------------------------------------------------- running */

static const char *const subprotocols[] = {"game", "chat", "c3", NULL};
static const char *const extensions[] = {"x-fuzz; level=3", NULL};
static const char *const origins[] = {"http://example.com", NULL};
static const char *const headers[] = {"Server: fuzz", "X-Two: two, too",
                                      NULL};

static void set_options(run *r, const program *p)
{
    wsock_options *o = &r->o;
    o->user = o;
    o->flags = WSOCK_REQUESTS | WSOCK_CORE_ONLY
               | (p->parts ? WSOCK_PARTS : 0u);
    o->max_message = p->max_message;
    o->max_header = p->max_header;
    o->receive_buffer = p->receive_buffer;
    o->send_limit = p->send_limit;
    o->system = &r->system;
    if (p->subprotocols) o->subprotocols = subprotocols;
    if (p->headers) o->headers = headers;
    if (p->origins) o->origins = origins;
    if (p->extension) {
        o->extensions = extensions;
        o->reserved_bits = WSOCK_RSV1 | WSOCK_RSV3;
    }
    if (p->fail >= 0x80) r->sys.fail_alloc = (long)p->fail - 0x7F;
    if (p->fixed) {
        size_t need = wsock_memory_needed(WSOCK_SERVER, NULL, o);
        CHECK(need > 0 && need < (size_t)1 << 22);
        r->memory = fuzz_fixed(&r->sys, WSOCK_SERVER, NULL, o, need);
    }
}

static void set_up(run *r, const program *p)
{
    memset(r, 0, sizeof *r);
    r->p = p;
    r->random = fuzz_seed(p->chunks);
    r->system = fuzz_system(&r->sys, 7);
    set_options(r, p);
    r->stream = p->stream;
    r->head_end = reference_head(&r->stream, &r->head);
    r->ws = wsock_new(WSOCK_SERVER, NULL, &r->o);
    r->bad = r->ws == NULL;
    if (r->bad) CHECK(r->sys.failed);
    r->wire.role = WSOCK_SERVER;
    r->wire.rsv = r->o.reserved_bits;
    r->wire.frame = on_frame;
    r->wire.user = r;
    /* There is no request yet. */
    CHECK(wsock_upgrade(r->ws, NULL, NULL)
          == (r->bad ? WSOCK_NO_MEMORY : WSOCK_INVALID_OPERATION));
    CHECK(wsock_respond(r->ws, 200, NULL, "x", 1)
          == (r->bad ? WSOCK_NO_MEMORY : WSOCK_INVALID_OPERATION));
}

/* The stream's head by wsock_head_in(). */
static void head_in(run *r)
{
    int got, turn;
    for (turn = 0; turn < 2; turn++) { /* memory may be there again */
        got = fuzz_head_in(r->ws, r->head.p, r->head.n + 4);
        if (got != WSOCK_NO_MEMORY || wsock_error(r->ws)) break;
        CHECK(r->sys.failed || r->p->fixed);
    }
    r->at = r->head_end;
    say(r, "head in", got, wsock_error(r->ws), 0);
    if (got == WSOCK_OK) {
        r->stage = WAITS;
    } else if (wsock_error(r->ws)) {
        r->refused = 1;
        if (got == WSOCK_REFUSED) head_out(r);
    } else {
        CHECK(got == WSOCK_NO_MEMORY);
        CHECK(wsock_abort(r->ws) == WSOCK_OK);
        r->aborted = 1;
    }
}

/* How many bytes the next feed takes. */
static size_t chunk(run *r, int way)
{
    size_t total = r->stream.n, least = total / 500 + 1;
    if (way == 0) return total;
    if (way == 2) return least;
    switch (fuzz_random(&r->random) % 3) {
    case 0:
        return least;
    case 1:
        return least + fuzz_random(&r->random) % 8;
    default:
        return least + fuzz_random(&r->random) % 400;
    }
}

/* ------------------------------------------------- all that was written */

static int is_line(slice line, const char *name, const char *value)
{
    slice key;
    return cut(&line, ":", &key) && line.p && same(key, name)
           && same_case(trim(line), value);
}

/* The lines of the head, each crossed out once it was found. */
static void find_line(fuzz_buf *lines, const char *name, const char *value)
{
    slice *line = (slice *)(void *)lines->p, *end = line
                                                  + lines->n / sizeof *line;
    for (; line < end; line++)
        if (line->p && is_line(*line, name, value)) {
            line->p = NULL;
            line->n = 0;
            return;
        }
    fprintf(stderr, "missing: %s: %s\n", name, value);
    CHECK(!"a header that is to be there");
}

static void find_listed(fuzz_buf *lines, const char *const *list)
{
    for (; list && *list; list++) {
        char name[4096];
        slice value;
        size_t n = strcspn(*list, ":");
        memcpy(name, *list, n);
        name[n] = 0;
        value.p = *list + n + 1;
        value.n = strlen(value.p);
        value = trim(value);
        memcpy(name + n + 1, value.p, value.n);
        name[n + 1 + value.n] = 0;
        find_line(lines, name, name + n + 1);
    }
}

/* Our head says this and nothing else. */
static void check_lines(run *r, fuzz_buf *lines)
{
    char number[32], accept[29];
    slice key, *line;
    size_t i;
    if (r->status == 101) {
        CHECK(reference_header(r->head, "Sec-WebSocket-Key", 0, &key));
        sprintf(number, "%.24s", key.p);
        fuzz_accept(accept, number);
        find_line(lines, "Upgrade", "websocket");
        find_line(lines, "Connection", "Upgrade");
        find_line(lines, "Sec-WebSocket-Accept", accept);
        if (*r->subprotocol)
            find_line(lines, "Sec-WebSocket-Protocol", r->subprotocol);
        if (wsock_extensions(r->ws))
            find_line(lines, "Sec-WebSocket-Extensions", extensions[0]);
    } else {
        find_line(lines, "Connection",
                  r->status == 426 ? "Upgrade, close" : "close");
        if (r->status == 426) { /* RFC 9110 15.5.22, RFC 6455 4.4 */
            find_line(lines, "Upgrade", "websocket");
            find_line(lines, "Sec-WebSocket-Version", "13");
        }
        sprintf(number, "%lu", (unsigned long)r->body);
        if (r->status != 204 && r->status != 304)
            find_line(lines, "Content-Length", number);
    }
    find_listed(lines, r->o.headers);
    find_listed(lines, r->answered);
    line = (slice *)(void *)lines->p;
    for (i = 1; i < lines->n / sizeof *line; i++) CHECK(line[i].p == NULL);
}

/* One head, as it was asked for, and behind it the body and no more. */
static void check_out(run *r)
{
    slice head, line;
    fuzz_buf lines = {0};
    char start[32];
    size_t end, i, body;
    if (r->stage != UPGRADED && r->stage != RESPONDED) return;
    end = reference_head(&r->out, &head);
    CHECK(end > 0 && head.p == (const char *)r->out.p);
    CHECK(cut(&head, "\r\n", &line));
    sprintf(start, "HTTP/1.1 %d ", r->status);
    CHECK(line.n >= 13 && memcmp(line.p, start, 13) == 0);
    while (cut(&head, "\r\n", &line)) fuzz_put(&lines, &line, sizeof line);
    check_lines(r, &lines);
    free(lines.p);
    if (r->stage == UPGRADED) return; /* frames: fuzz_wire has read them */
    body = is_head(r) ? 0 : r->body;
    CHECK(r->out.n - end == body);
    for (i = 0; i < body; i++)
        CHECK(r->out.p[end + i] == fuzz_pattern(3, i));
}

/* Everything that is in flight at the most, in bytes. */
static size_t bound(const run *r)
{
    return 200000 + 16 * r->stream.n + r->body + 1024 * r->echoes.n;
}

static void finish(run *r)
{
    int orderly;
    while (!r->freed && r->action < r->p->nactions) {
        if (r->stage == NONE && !r->ended) break;
        next_action(r);
        if (!r->freed) read_events(r);
    }
    if (!r->freed && !r->ended) {
        leave(r);
        read_events(r);
        if (!r->freed) CHECK(r->ended);
    }
    if (!r->freed) {
        if (r->held.n) take(r, r->held.copy.n);
        take_all(r);
        read_events(r);
        CHECK(r->ended); /* exactly one CLOSE */
        CHECK(wsock_send(r->ws, WSOCK_TEXT, "x", 1) < 0);
        check_waiting(r);
        orderly = !r->aborted && !r->sys.failed;
        if (orderly) {
            check_out(r);
            CHECK(r->echoed * sizeof(echo) == r->echoes.n);
        }
        if (r->stage == NONE && r->wire.frames) CHECK(r->wire.refused);
        if (!r->sys.failed) CHECK(r->sys.peak <= bound(r));
        /* A good request is reported. */
        if (heads[r->p->head].good && orderly
            && r->head_end <= wsock_effective_options(r->ws)->max_header)
            CHECK(r->stage != NONE);
    }
}

static void run_program(run *r, const program *p, int way)
{
    set_up(r, p);
    if (!r->bad && p->by_hand && r->head_end) {
        head_in(r);
        if (!r->p->hand_out || r->stage != WAITS) {
            read_events(r);
        } else {
            /* An answer without having seen the event. */
            due_actions(r);
            if (!r->freed) read_events(r);
        }
        if (!r->freed) serve(r);
    }
    while (!r->bad && !r->freed && !r->ended && r->at < r->stream.n) {
        size_t n = chunk(r, way);
        if (more(r, n)) {
            read_events(r);
            if (!r->freed) serve(r);
        }
        if (r->freed || r->ended) break;
        output(r);
        read_events(r); /* DRAIN needs no bytes */
    }
    if (!r->bad) finish(r);
    wsock_free(r->ws);
    CHECK(r->sys.live == 0 && r->sys.blocks == 0);
    drop_lent(r);
    free(r->memory);
}

static void tear_down(run *r)
{
    fuzz_wire_free(&r->wire);
    free(r->log.p);
    free(r->message.p);
    free(r->held.copy.p);
    free(r->out.p);
    free(r->echoes.p);
    free(r->pings.p);
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
    for (way = 1; way <= 2; way++) {
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
