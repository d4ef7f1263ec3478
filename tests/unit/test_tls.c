/* wss:// by BearSSL: wsock against wsock over the memory pair and over
 * sockets.  The certificates come from tests/peers/tls/certificates.py, into
 * the folder that WSOCK_PKI names. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include <bearssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/auxv.h>
#endif

/* Stand-ins for what the system gives to wsock.h. */
static int cpu; /* which one it is as if it were; 0: as it is */
static const char *failing; /* the call that fails, */
static int failures;        /* and how often */

static int fails(const char *call)
{
    return failing && strcmp(failing, call) == 0 && failures-- > 0;
}

static void *test_malloc(size_t n)
{
    return fails("malloc") ? NULL : malloc(n);
}

static void *test_realloc(void *p, size_t n)
{
    return fails("realloc") ? NULL : realloc(p, n);
}

static FILE *test_fopen(const char *name, const char *mode)
{
    return fails("fopen") ? NULL : fopen(name, mode);
}

static size_t test_fread(void *p, size_t size, size_t n, FILE *f)
{
    return fails("fread") ? 0 : fread(p, size, n, f);
}

static FILE *unbuffered;
static int buffered_seeks;

static int test_setvbuf(FILE *f, char *buffer, int mode, size_t size)
{
    unbuffered = mode == _IONBF ? f : NULL;
    return setvbuf(f, buffer, mode, size);
}

static int test_fseek(FILE *f, long offset, int whence)
{
    buffered_seeks += unbuffered != f;
    return fseek(f, offset, whence);
}

#if defined(__linux__)
static int privileged; /* as if the program were set-uid */

static unsigned long test_getauxval(unsigned long type)
{
    return type == AT_SECURE ? (unsigned long)privileged : getauxval(type);
}
#define getauxval test_getauxval
#endif
#define malloc test_malloc
#define realloc test_realloc
#define fopen test_fopen
#define fread test_fread
#define setvbuf test_setvbuf
#define fseek test_fseek
#define CPU(has, real) (cpu ? (has) != 0 : (real) != 0)
#define br_aes_x86ni_ctr_get_vtable() \
    CPU(cpu & 1, br_aes_x86ni_ctr_get_vtable())
#define br_ghash_pclmul_get() CPU(cpu & 2, br_ghash_pclmul_get())
#define br_aes_pwr8_ctr_get_vtable() CPU(cpu & 4, br_aes_pwr8_ctr_get_vtable())
#define br_ghash_pwr8_get() CPU(cpu & 8, br_ghash_pwr8_get())

#define WSOCK_IMPLEMENTATION
#define WSOCK_BEARSSL
#include "../../wsock.h"
#undef malloc
#undef realloc
#undef fopen
#undef fread
#undef setvbuf
#undef fseek
#include "test.h"
#include "net.h"

/* ------------------------------------------------------- certificates -- */

/* The path of a file of theirs, in one of a few places that take turns. */
static const char *file(const char *name, const char *ending)
{
    static char paths[8][400];
    static int turn;
    const char *pki = getenv("WSOCK_PKI");
    char *path = paths[turn++ % 8];
    if (!pki)
        test_die("WSOCK_PKI names no folder with certificates");
    snprintf(path, sizeof paths[0], "%s/%s%s", pki, name, ending);
    return path;
}

/* The text of one; to be freed. */
static char *text_of(const char *path)
{
    FILE *f = fopen(path, "rb");
    char *text = (char *)calloc(1, 65536);
    if (!f || !text || fread(text, 1, 65535, f) == 0)
        test_die("a certificate cannot be read");
    fclose(f);
    return text;
}

/* An element of DER. */
static void der_put(bytes *b, int tag, const void *content, size_t n)
{
    uint8_t head[4];
    head[0] = (uint8_t)tag;
    head[1] = 0x82;
    head[2] = (uint8_t)(n >> 8);
    head[3] = (uint8_t)n;
    bytes_put(b, head, 4);
    bytes_put(b, content, n);
}

/* Put what stands from `at` on into an element. */
static void der_around(bytes *b, size_t at, int tag)
{
    size_t n = b->size - at;
    uint8_t *content = (uint8_t *)malloc(n + 1);
    memcpy(content, b->data + at, n);
    b->size = at;
    der_put(b, tag, content, n);
    free(content);
}

static void pem_put(bytes *b, const char *label, const void *der, size_t n)
{
    char *text = (char *)malloc(n * 4 / 3 + 8);
    wsock__base64(text, (const uint8_t *)der, n);
    bytes_format(b, "-----BEGIN %s-----\n", label);
    bytes_text(b, text);
    bytes_format(b, "\n-----END %s-----\n", label);
    free(text);
}

static const char rsa_oid[] = "\x2A\x86\x48\x86\xF7\x0D\x01\x01\x01";
static const char ec_oid[] = "\x2A\x86\x48\xCE\x3D\x02\x01";
static const char p256_oid[] = "\x2A\x86\x48\xCE\x3D\x03\x01\x07";

/* A SubjectPublicKeyInfo. */
static void spki_rsa(bytes *b, const void *n, size_t n_size, const void *e,
                     size_t e_size)
{
    size_t all = b->size, at;
    der_put(b, 0x06, rsa_oid, 9);
    der_around(b, all, 0x30);
    at = b->size;
    bytes_put(b, "", 1);
    der_put(b, 0x02, n, n_size);
    der_put(b, 0x02, e, e_size);
    der_around(b, at + 1, 0x30);
    der_around(b, at, 0x03);
    der_around(b, all, 0x30);
}

static void spki_ec(bytes *b, const char *curve, size_t curve_size,
                    const void *point, size_t size)
{
    size_t all = b->size, at;
    der_put(b, 0x06, ec_oid, 7);
    der_put(b, 0x06, curve, curve_size);
    der_around(b, all, 0x30);
    at = b->size;
    bytes_put(b, "", 1);
    bytes_put(b, point, size);
    der_around(b, at, 0x03);
    der_around(b, all, 0x30);
}

/* The key of this kind, in a certificate that says nothing else. */
static void cert_around(bytes *b)
{
    bytes head = { 0 };
    der_put(&head, 0x02, "\1", 1);
    der_put(&head, 0x30, "", 0); /* how it is signed, issuer, */
    der_put(&head, 0x30, "", 0);
    der_put(&head, 0x30, "", 0); /* time, subject */
    der_put(&head, 0x30, "", 0);
    bytes_put(&head, b->data, b->size);
    der_around(&head, 0, 0x30);
    der_around(&head, 0, 0x30);
    bytes_free(b);
    *b = head;
}

/* --------------------------------------------------------------- world -- */

typedef struct world {
    test_system system;
    test_link link;
    test_peer peer;     /* the server, which echoes */
    wsock_options client, server;
    wsock *ws;
    wsock_failure why;  /* the client's account, and its line */
    char text[160];
} world;

/* A server with this certificate and a client that trusts the test CA; the
 * options may be changed before world_open(). */
static void world_init(world *w, const char *name)
{
    memset(w, 0, sizeof *w);
    test_system_init(&w->system);
    test_link_init(&w->link);
    w->link.pump = test_peer_pump;
    w->link.user = &w->peer;
    w->link.system = &w->system;
    w->peer.link = &w->link;
    w->client.system = w->server.system = &w->system.system;
    w->client.tls_ca = file("ca", ".pem");
    w->server.tls_cert = file(name, ".pem");
    w->server.tls_key = file(name, ".key");
    w->server.flags = WSOCK_NONBLOCKING;
}

/* Make the two and let them shake hands.  The client's result. */
static int world_open(world *w, const char *host)
{
    char url[300];
    int r;
    snprintf(url, sizeof url, "wss://%s/", host);
    w->peer.ws = wsock_new(WSOCK_SERVER, NULL, &w->server);
    w->ws = wsock_new(WSOCK_CLIENT, url, &w->client);
    wsock_attach(w->peer.ws, &w->link.io[1]);
    r = wsock_attach(w->ws, &w->link.io[0]);
    w->why = *wsock_why(w->ws);
    snprintf(w->text, sizeof w->text, "%s", w->why.text);
    return r;
}

static void world_end(world *w)
{
    wsock_free(w->ws);
    test_peer_end(&w->peer);
    wsock_free(w->peer.ws);
    CHECK_NO_LEAK(&w->system);
    bytes_free(&w->peer.log);
    test_link_free(&w->link);
}

static int echo(wsock *ws, const uint8_t *data, size_t n)
{
    static uint8_t got[70000];
    wsock_status status;
    size_t sum = 0;
    int r = wsock_send(ws, WSOCK_BINARY, data, n);
    do {
        memset(&status, 0, sizeof status);
        if (r == WSOCK_OK)
            r = wsock_receive(ws, got + sum, sizeof got - sum, &status);
        sum += status.bytes;
    } while (r == WSOCK_OK && (status.kind & WSOCK_FRAGMENT));
    if (r == WSOCK_OK)
        CHECK_BYTES(got, sum, data, n);
    return r;
}

/* Open, echo a few sizes, close.  The first failure. */
static int conversation(world *w, const char *host, size_t most)
{
    static const size_t sizes[] = { 0, 1, 125, 5000, 16384, 40000, 65536 };
    uint8_t *data = test_pattern(65536);
    size_t i;
    int r = world_open(w, host);
    for (i = 0; i < sizeof sizes / sizeof sizes[0] && sizes[i] <= most
                && r == WSOCK_OK; i++)
        r = echo(w->ws, data, sizes[i]);
    if (r == WSOCK_OK)
        r = wsock_close(w->ws, 1000, "bye");
    w->why = *wsock_why(w->ws);
    snprintf(w->text, sizeof w->text, "%s", w->why.text);
    free(data);
    return r;
}

/* ------------------------------------------------------------ transport -- */

static void check_link(size_t max_read, size_t max_write, int want_every,
                       size_t capacity, size_t record, size_t most)
{
    world w;
    int i;
    test_note("read %lu, write %lu, want %d, capacity %lu, record %lu",
              (unsigned long)max_read, (unsigned long)max_write, want_every,
              (unsigned long)capacity, (unsigned long)record);
    guard();
    world_init(&w, "p256");
    w.client.tls_record = w.server.tls_record = record;
    for (i = 0; i < 2; i++) {
        w.link.end[i].max_read = max_read;
        w.link.end[i].max_write = max_write;
        w.link.end[i].want_every = want_every;
        w.link.end[i].capacity = capacity;
    }
    CHECK_RESULT(conversation(&w, "localhost", most), WSOCK_OK);
    CHECK_STR(w.text, "no failure");
    world_end(&w);
    CHECK_INT(w.peer.opens, 1);
    CHECK_INT(w.peer.closes, 1);
}

TEST(blocking_over_the_memory_pair)
{
    check_link(0, 0, 0, 0, 0, 65536);
    check_link(1, 0, 0, 0, 0, 5000);
    check_link(0, 1, 0, 0, 0, 5000);
    check_link(1, 1, 0, 0, 0, 5000);
    check_link(1, 1, 2, 0, 0, 5000);
    check_link(7, 5, 3, 11, 0, 5000);
    check_link(0, 0, 2, 0, 0, 65536);
    check_link(0, 0, 0, 1, 0, 5000);
    check_link(0, 0, 5, 100, 0, 65536);
}

/* A program with TLS in it has plain connections, too. */
TEST(without_tls_over_the_memory_pair)
{
    uint8_t *data = test_pattern(5000);
    world w;
    guard();
    world_init(&w, "p256");
    w.server.tls_cert = w.server.tls_key = NULL;
    w.peer.ws = wsock_new(WSOCK_SERVER, NULL, &w.server);
    w.ws = wsock_new(WSOCK_CLIENT, "ws://localhost/", &w.client);
    wsock_attach(w.peer.ws, &w.link.io[1]);
    CHECK_RESULT(wsock_attach(w.ws, &w.link.io[0]), WSOCK_OK);
    CHECK_RESULT(echo(w.ws, data, 5000), WSOCK_OK);
    CHECK_RESULT(wsock_close(w.ws, 1000, "bye"), WSOCK_OK);
    world_end(&w);
    free(data);
}

/* RFC 6066 4: the client asks for shorter records. */
TEST(small_records)
{
    check_link(0, 0, 0, 0, 512, 65536);
    check_link(1, 1, 2, 0, 512, 5000);
    check_link(0, 0, 2, 0, 1024, 65536);
    check_link(0, 0, 5, 100, 4096, 65536);
}

/* A flight of the handshake leaves with one write, as does a message that is
 * a little more than a record; a read takes all the records that have come. */
TEST(few_calls_of_the_transport)
{
    enum { MESSAGES = 20 };
    static uint8_t text[16384];
    world w;
    wsock_status got;
    test_end *server = &w.link.end[1];
    long before;
    int i;
    guard();
    world_init(&w, "p256");
    CHECK_RESULT(world_open(&w, "localhost"), WSOCK_OK);
    /* Three reads, three writes, and four reads that find nothing. */
    test_note("%ld calls for the handshake", server->calls);
    CHECK(server->calls <= 10);
    for (i = 0; i < MESSAGES; i++)
        CHECK_RESULT(wsock_send(w.ws, WSOCK_TEXT, "hello", 5), WSOCK_OK);
    before = server->calls;
    for (i = 0; i < 10; i++)
        test_peer_pump(&w.peer);
    /* One read, a write for all answers, and a read that finds nothing a
     * turn. */
    test_note("%ld calls for the messages", server->calls - before);
    CHECK(server->calls - before <= 2 + 10);
    for (i = 0; i < MESSAGES; i++) {
        CHECK_RESULT(wsock_receive(w.ws, text, sizeof text, &got), WSOCK_OK);
        CHECK_BYTES(text, got.bytes, "hello", 5);
    }
    before = w.link.end[0].calls;
    CHECK_RESULT(wsock_send(w.ws, WSOCK_BINARY, text, sizeof text), WSOCK_OK);
    CHECK_INT(w.link.end[0].calls - before, 1);
    world_end(&w);
}

TEST(polled_over_the_memory_pair)
{
    static const size_t pieces[] = { 0, 1, 700 };
    size_t i;
    for (i = 0; i < 3; i++) {
        world w;
        wsock_event e;
        bytes log = { 0 };
        int r = 0, turns;
        test_note("pieces of %lu", (unsigned long)pieces[i]);
        guard();
        world_init(&w, "rsa");
        w.client.flags = WSOCK_NONBLOCKING;
        w.link.end[0].max_read = w.link.end[0].max_write = pieces[i];
        w.link.end[1].max_read = w.link.end[1].max_write = pieces[i];
        w.link.end[0].want_every = w.link.end[1].want_every = 3;
        CHECK_RESULT(world_open(&w, "localhost"), WSOCK_OK);
        for (turns = 0; turns < 200000 && r >= 0; turns++) {
            test_peer_pump(&w.peer);
            r = wsock_poll(w.ws, &e, 0);
            if (r <= 0)
                continue;
            log_event(&log, &e);
            if (e.type == WSOCK_EVENT_OPEN)
                wsock_send(e.ws, WSOCK_TEXT, "hello", 5);
            if (e.type == WSOCK_EVENT_MESSAGE)
                wsock_close(e.ws, 1000, "bye");
        }
        CHECK_STR(bytes_str(&log), "OPEN\nTEXT \"hello\"\n"
                                   "CLOSE 1000 \"\" WSOCK_OK\n");
        bytes_free(&log);
        world_end(&w);
    }
}

/* Every call of a transport fails in turn. */
static void every_call_fails(int side)
{
    long n;
    int done = 0;
    for (n = 1; n < 5000 && !done; n += (int)test_step(7)) {
        world w;
        int r;
        test_note("call %ld of side %d", n, side);
        guard();
        world_init(&w, "p256");
        w.link.end[side].fail_at = n;
        w.link.end[0].max_read = w.link.end[1].max_read = 400;
        r = conversation(&w, "localhost", 5000);
        done = w.link.end[side].calls < n;
        if (done)
            CHECK_RESULT(r, WSOCK_OK);
        else if (r != WSOCK_OK)
            CHECK_RESULT(r, WSOCK_CONNECTION_LOST);
        if (r != WSOCK_OK && side == 0)
            CHECK_INT(w.why.os_code, 4711);
        if (r != WSOCK_OK && side == 1 && w.why.phase == WSOCK_PHASE_TLS)
            CHECK(strstr(w.text, "TLS failed: the stream was cut")
                  || strstr(w.text, "the memory pair was told to fail"));
        world_end(&w);
    }
    CHECK(done);
    CHECK(n > 30);
}

TEST(every_call_of_the_client_fails)
{
    every_call_fails(0);
}

TEST(every_call_of_the_server_fails)
{
    every_call_fails(1);
}

/* Every allocation fails in turn; nothing leaks, nothing else is said. */
static void every_allocation(const char *ca) /* NULL: a file */
{
    long n;
    int r = WSOCK_NO_MEMORY;
    for (n = 1; n < 500 && r != WSOCK_OK; n++) {
        world w;
        test_note("allocation %ld", n);
        guard();
        world_init(&w, "chain");
        w.system.fail_at = n;
        if (ca)
            w.client.tls_ca = ca;
        w.client.tls_cert = file("client", ".pem");
        w.client.tls_key = file("client", ".key");
        r = conversation(&w, "localhost", 5000);
        if (w.ws && r == WSOCK_TLS_ERROR)
            CHECK(strstr(w.text, "no memory") != NULL);
        else if (r == WSOCK_TIMED_OUT) /* there is no server */
            CHECK(!w.peer.ws || !wsock_why(w.peer.ws)->phase);
        else if (r != WSOCK_OK && r != WSOCK_CONNECTION_LOST)
            CHECK_RESULT(r, WSOCK_NO_MEMORY);
        if (w.peer.ws && r != WSOCK_OK)
            wsock_abort(w.peer.ws);
        world_end(&w);
        if (w.system.allocations < n)
            break;
    }
    CHECK_RESULT(r, WSOCK_OK);
    CHECK(n > 8);
}

TEST(every_allocation_fails)
{
    char *text = text_of(file("ca", ".pem"));
    every_allocation(NULL);
    every_allocation(text);
    free(text);
}

/* -------------------------------------------------------- certificates -- */

typedef struct verdict {
    const char *name, *host;
    const char *line; /* NULL: taken; else what the account says after
                       * "TLS failed: " */
    int code;         /* BearSSL's */
} verdict;

static const verdict verdicts[] = {
    { "rsa", "localhost", NULL, 0 },
    { "p256", "localhost", NULL, 0 },
    { "p256", "LOCALHOST", NULL, 0 },
    { "p256", "localhost.", NULL, 0 },
    { "p384", "localhost", NULL, 0 },
    { "p256", "127.0.0.1", NULL, 0 },
    { "p256", "[::1]", NULL, 0 },
    { "p256", "[0:0::0:1]", NULL, 0 },
    { "p256", "127.0.0.2",
      "the certificate is for localhost and 2 more, not 127.0.0.2", 56 },
    { "wrong_name", "localhost",
      "the certificate is for b.example, not localhost", 56 },
    { "many_names", "a.example",
      "the certificate is for b.example and 2 more, not a.example", 56 },
    { "many_names", "127.0.0.9", NULL, 0 },
    { "wildcard", "www.example.com", NULL, 0 },
    { "wildcard", "WWW.Example.com", NULL, 0 },
    { "wildcard", "a.b.example.com",
      "the certificate is for *.example.com and 2 more, not a.b.example.com",
      56 },
    { "wildcard", "example.com",
      "the certificate is for *.example.com and 2 more, not example.com",
      56 },
    { "wildcard", "xy.b.example",
      "the certificate is for *.example.com and 2 more, not xy.b.example",
      56 },
    { "wildcard", "localhost",
      "the certificate is for *.example.com and 2 more, not localhost", 56 },
    { "ip", "127.0.0.1", NULL, 0 },
    { "ip", "[2001:db8::1]", NULL, 0 },
    { "ip", "[2001:db8::2]",
      "the certificate is for 127.0.0.1 and 1 more, not 2001:db8::2", 56 },
    { "ip", "localhost",
      "the certificate is for 127.0.0.1 and 1 more, not localhost", 56 },
    { "dns", "127.0.0.1",
      "the certificate is for localhost and 2 more, not 127.0.0.1", 56 },
    { "dns", "a.example", NULL, 0 },
    { "cn_only", "localhost", "the certificate has no subjectAltName, so it "
                              "is for no host, not for localhost", 56 },
    { "expired", "localhost", "the certificate expired on 2024-05-01", 54 },
    { "future", "localhost", "the certificate begins on 2040-02-29", 54 },
    { "old_middle", "localhost",
      "the certificate of CN=Old Middle expired on 2024-05-01", 54 },
    { "missing", "localhost",
      "signed by an unknown authority: CN=Middle (or a certificate of the "
      "chain is missing)", 62 },
    { "self_signed", "localhost",
      "the certificate is self-signed: CN=alone", 62 },
    { "self_signed_ca", "localhost",
      "the certificate is self-signed: CN=alone CA", 62 },
    { "impostor", "localhost", NULL, -1 },
    { "server_use", "localhost", NULL, 0 },
    { "any_use", "localhost", NULL, 0 },
    { "client_use", "localhost",
      "the certificate is not for servers: its extended key usage lacks "
      "serverAuth", 59 },
    { "weak", "localhost",
      "a certificate has a weak key: RSA below 2048 bits", 60 },
    { "weak_middle", "localhost",
      "a certificate has a weak key: RSA below 2048 bits", 60 },
    { "sha1", "localhost",
      "a certificate is signed in an old or unknown way (SHA-1?)", 49 },
    { "critical", "localhost",
      "a certificate has a critical extension that is not known", 57 },
    { "by_none", "localhost", NULL, -1 },
    { "not_ca", "localhost",
      "a certificate is signed by one that is not an authority", 58 },
    { "web_middle", "localhost", NULL, 0 },
    { "mail_middle", "localhost",
      "the certificate of CN=Mail Middle is not for servers: its extended key "
      "usage lacks serverAuth", 59 },
    { "mail_root", "localhost",
      "signed by an unknown authority: CN=Mail CA (or a certificate of the "
      "chain is missing)", 62 },
    { "limited_root", "localhost",
      "signed by an authority that may not sign for all names below it: "
      "CN=Limited CA", 62 },
    { "crossed", "localhost", NULL, 0 },
    { "chain", "localhost", NULL, 0 },
    { "chain_with_root", "localhost", NULL, 0 },
    { "misordered", "localhost", NULL, 0 },
    { "doubled", "localhost", NULL, 0 },
    { "with_others", "localhost", NULL, 0 },
    { "rsa4096", "localhost", NULL, 0 },
    { "p521", "localhost", NULL, 0 },
    { "long_name", "localhost",
      "the certificate is for aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
      "aaaaaaaaaaaa.aa, not localhost", 56 },
    { "no_host", "localhost",
      "the certificate is for no host and 1 more, not localhost", 56 },
    { "ipv6_name", "localhost",
      "the certificate is for 2001:db8::1, not localhost", 56 },
    { "odd_address", "127.0.0.1",
      "the certificate is for no host and 2 more, not 127.0.0.1", 56 },
    { "no_use", "localhost",
      "the certificate's key may not sign (BearSSL's error 28)", 28 },
    { "bad_signature", "localhost",
      "a certificate's signature is wrong (issuer: CN=Test CA)", 52 },
    { "by_org", "localhost",
      "signed by an unknown authority: O=Some Org (or a certificate of the "
      "chain is missing)", 62 },
    { "by_named", "localhost",
      "signed by an unknown authority: CN=Named CA (or a certificate of the "
      "chain is missing)", 62 },
    { "by_country", "localhost",
      "signed by an unknown authority: a name without CN (or a certificate "
      "of the chain is missing)", 62 }
};

/* The same, with other authorities than those of cas.pem. */
static const struct {
    const char *ca;
    verdict v;
} other_verdicts[] = {
    { "ca", { "unknown_root", "localhost",
      "signed by an unknown authority: CN=Other CA (or a certificate of the "
      "chain is missing)", 62 } },
    { "ca_ec", { "chain_with_root", "localhost",
      "signed by an unknown authority: CN=Test CA", 62 } },
    { "org_root", { "by_org", "localhost", NULL, 0 } },
    { "false_root", { "by_false", "localhost",
      "signed by an unknown authority: CN=False CA (or a certificate of the "
      "chain is missing)", 62 } },
    { "ed25519_root", { "by_ed25519", "localhost",
      "a certificate is signed in an old or unknown way (SHA-1?)", 49 } },
    { "namesakes", { "namesake", "localhost", NULL, 0 } },
    { "namesakes", { "namesake_last", "localhost", /* one too many */
      "signed by an unknown authority: CN=Namesake CA (or a certificate of "
      "the chain is missing)", 62 } }
};

static void judge(const verdict *v, const char *ca)
{
    world w;
    int r;
    test_note("%s for %s", v->name, v->host);
    guard();
    world_init(&w, v->name);
    w.client.tls_ca = file(ca, ".pem");
    r = world_open(&w, v->host);
    if (!v->line && v->code == 0) {
        CHECK_RESULT(r, WSOCK_OK);
        CHECK_STR(w.text, "no failure");
    } else {
        CHECK_RESULT(r, WSOCK_TLS_ERROR);
        CHECK_INT(w.why.phase, WSOCK_PHASE_TLS);
        CHECK_INT(w.why.operation, WSOCK_OPERATION_CONNECT);
        CHECK(strncmp(w.text, "TLS failed: ", 12) == 0);
        if (v->line) {
            CHECK_INT(w.why.tls_code, v->code);
            CHECK_STR(w.text + 12, v->line);
        }
    }
    world_end(&w);
}

/* RFC 5280 4.2.1.10: authorities for some names. */
TEST(limits_of_authorities)
{
    static const char barred[] =
        "the certificate of CN=Limited may not sign for all names below it";
    static const struct {
        const char *name, *host;
        int good;
    } cases[] = {
        { "all", "localhost", 1 }, { "all", "127.0.0.1", 1 },
        { "loose", "localhost", 1 }, { "hosts", "localhost", 1 },
        { "other_hosts", "localhost", 0 }, { "not_hosts", "localhost", 0 },
        { "other_addresses", "localhost", 0 },
        { "not_addresses", "localhost", 0 },
        { "no_addresses", "localhost", 1 }, { "web", "www.example.com", 1 },
        { "below", "www.example.com", 1 }, { "same", "example.com", 1 },
        { "only_below", "example.com", 0 },
        { "longer", "notexample.com", 0 }, { "shorter", "example.com", 0 },
        { "any_host", "www.example.com", 1 }, { "star", "b.example.com", 1 },
        { "star", "a.example.com", 0 }, { "subject", "localhost", 1 },
        { "other_subject", "localhost", 0 },
        { "short_subject", "localhost", 0 }, { "no_subject", "localhost", 1 },
        { "not_subject", "localhost", 0 }, { "mail", "localhost", 1 },
        { "mail_name", "localhost", 0 }, { "mail_subject", "localhost", 0 },
        { "mail_allowed", "localhost", 1 }, { "empty", "localhost", 0 },
        { "minimum", "localhost", 0 }, { "no_base", "localhost", 0 },
        { "no_tree", "localhost", 0 }, { "behind", "localhost", 0 },
        { "odd_subject", "localhost", 0 }, { "no_mask", "localhost", 0 },
        { "no_kind", "localhost", 0 }, { "lower", "localhost", 1 },
        { "lower_outside", "www.example.com", 0 }
    };
    static const struct {
        const char *ca;
        verdict v;
    } others[] = {
        { "ca", { "limit_leaf", "localhost", "a certificate has a critical "
                  "extension that is not known", 57 } },
        { "ca", { "limit_impostor", "localhost", NULL, -1 } },
        { "limit_root_ca", { "limit_root", "localhost", NULL, 0 } },
        { "limit_root_ca", { "limit_root_alone", "localhost", NULL, 0 } },
        { "limit_root_ca", { "limit_root_outside", "localhost",
          "signed by an authority that may not sign for all names below it: "
          "CN=Limited Root", 62 } },
        { "limit_root_ca", { "limit_root_named", "localhost",
          "signed by an authority that may not sign for all names below it: "
          "CN=Limited Root", 62 } }
    };
    size_t i;
    for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char name[40];
        verdict v;
        snprintf(name, sizeof name, "limit_%s", cases[i].name);
        v.name = name;
        v.host = cases[i].host;
        v.line = cases[i].good ? NULL : barred;
        v.code = cases[i].good ? 0 : BR_ERR_X509_BAD_SERVER_NAME;
        judge(&v, "ca");
    }
    for (i = 0; i < sizeof others / sizeof others[0]; i++)
        judge(&others[i].v, others[i].ca);
}

TEST(certificates_are_judged)
{
    size_t i;
    for (i = 0; i < sizeof verdicts / sizeof verdicts[0]; i++)
        judge(&verdicts[i], "cas");
    for (i = 0; i < sizeof other_verdicts / sizeof other_verdicts[0]; i++)
        judge(&other_verdicts[i].v, other_verdicts[i].ca);
}

/* What BearSSL finds fault with, and no line is for: a time that is none. */
TEST(a_malformed_certificate_is_told)
{
    char *cert = text_of(file("p256", ".pem"));
    char *key = text_of(file("p256", ".key"));
    uint8_t der[2000];
    bytes pem = { 0 };
    wsock__pem p;
    world w;
    size_t n, i = 0;
    guard();
    wsock__pem_next(cert, cert + strlen(cert), &p);
    n = wsock__pem_decode(&p, der, sizeof der);
    while (i < n && memcmp(der + i, "\x17\x0D", 2) != 0)
        i++;
    der[i + 6] = 'X'; /* of the day */
    pem_put(&pem, "CERTIFICATE", der, n);
    world_init(&w, "p256");
    w.server.tls_cert = bytes_str(&pem);
    w.server.tls_key = key;
    CHECK_RESULT(world_open(&w, "localhost"), WSOCK_TLS_ERROR);
    CHECK_STR(w.text, "TLS failed: the certificate chain is not valid "
                      "(BearSSL's error 48)");
    world_end(&w);
    bytes_free(&pem);
    free(cert);
    free(key);
}

/* A server hears why it was left: BearSSL itself says nothing. */
TEST(a_refusal_is_told_as_an_alert)
{
    static const struct {
        const char *name, *line;
    } cases[] = {
        { "expired", "TLS failed: the peer refuses: certificate expired "
                     "(alert 45)" },
        { "unknown_root", "TLS failed: the peer refuses: unknown authority "
                          "(alert 48)" },
        { "wrong_name", "TLS failed: the peer refuses: bad certificate "
                        "(alert 42)" }
    };
    size_t i;
    for (i = 0; i < 3; i++) {
        world w;
        test_note("%s", cases[i].name);
        guard();
        world_init(&w, cases[i].name);
        CHECK_RESULT(world_open(&w, "localhost"), WSOCK_TLS_ERROR);
        test_peer_end(&w.peer);
        CHECK_STR(wsock_error_text(w.peer.ws), cases[i].line);
        world_end(&w);
    }
}

static int opens_with(const char *name, const char *ca, unsigned flags,
                      const char *pin, char text[160])
{
    const char *pins[2] = { NULL, NULL };
    world w;
    int r;
    guard();
    world_init(&w, name);
    w.client.tls_ca = ca;
    w.client.flags = flags;
    pins[0] = pin;
    w.client.tls_pins = pins;
    r = world_open(&w, "localhost");
    snprintf(text, 160, "%s", w.text);
    world_end(&w);
    return r;
}

TEST(pins_and_no_check_at_all)
{
    unsigned any = WSOCK_UNSAFE_TLS_ACCEPT_ANYONE;
    char *pin = text_of(file("self_signed", ".pin"));
    char *other = text_of(file("p256", ".pin"));
    char with_hash[64], text[160];
    snprintf(with_hash, sizeof with_hash, "sha256//%s", other);
    CHECK_RESULT(opens_with("self_signed", NULL, any, NULL, text), WSOCK_OK);
    CHECK_RESULT(opens_with("expired", NULL, any, NULL, text), WSOCK_OK);
    CHECK_RESULT(opens_with("rsa", NULL, any, NULL, text), WSOCK_OK);
    /* Its own key is what it is known by. */
    CHECK_RESULT(opens_with("self_signed", NULL, any, pin, text), WSOCK_OK);
    CHECK_RESULT(opens_with("self_signed", NULL, any, other, text),
                 WSOCK_TLS_ERROR);
    CHECK(strstr(text, "the server's key is none of options.tls_pins: its "
                       "pin is ") != NULL);
    CHECK(strstr(text, pin) != NULL);
    /* Besides the check, not instead of it. */
    CHECK_RESULT(opens_with("p256", file("ca", ".pem"), 0, with_hash, text),
                 WSOCK_OK);
    CHECK_RESULT(opens_with("p256", file("ca", ".pem"), 0, pin, text),
                 WSOCK_TLS_ERROR);
    CHECK_RESULT(opens_with("self_signed", file("ca", ".pem"), 0, pin, text),
                 WSOCK_TLS_ERROR);
    CHECK_STR(text, "TLS failed: the certificate is self-signed: CN=alone");
    free(pin);
    free(other);
}

/* A certificate that is given as an authority is trusted, whatever it says
 * of itself. */
TEST(authorities_of_our_own)
{
    static const char *const alone[] = { "self_signed", "self_signed_ca" };
    char text[160];
    char *pem;
    int i;
    for (i = 0; i < 2; i++) {
        CHECK_RESULT(opens_with(alone[i], file(alone[i], ".pem"), 0, NULL,
                                text), WSOCK_OK);
        CHECK_STR(text, "no failure");
    }
    pem = text_of(file("cas", ".pem")); /* as a text, and several of them */
    CHECK_RESULT(opens_with("p384", pem, 0, NULL, text), WSOCK_OK);
    CHECK_RESULT(opens_with("p256", pem, 0, NULL, text), WSOCK_OK);
    free(pem);
    CHECK_RESULT(opens_with("p256", "nowhere.pem", 0, NULL, text),
                 WSOCK_TLS_ERROR);
    CHECK_STR(text, "TLS failed: options.tls_ca: nowhere.pem: No such file or "
                    "directory");
    CHECK_RESULT(opens_with("p256", file("empty", ".pem"), 0, NULL, text),
                 WSOCK_TLS_ERROR);
    CHECK_STR(text, "TLS failed: options.tls_ca has no certificate that can "
                    "be used");
    CHECK_RESULT(opens_with("p256", file("trusted", ".pem"), 0, NULL, text),
                 WSOCK_TLS_ERROR);
}

/* ----------------------------------------------------------------- keys -- */

static const char *listens_with(const char *cert, const char *key)
{
    static char text[160];
    wsock_options o;
    wsock_server *s;
    memset(&o, 0, sizeof o);
    o.tls_cert = cert;
    o.tls_key = key;
    s = wsock_listen("wss://127.0.0.1:0/", &o);
    snprintf(text, sizeof text, "%s", wsock_server_why(s)->text);
    if (wsock_server_error(s))
        CHECK_INT(wsock_server_why(s)->phase, WSOCK_PHASE_SETUP);
    wsock_server_free(s);
    return text;
}

TEST(keys_of_every_form)
{
    static const char *const kinds[] = { "key_rsa", "key_p256", "key_p384" };
    static const char *const good[] = { ".pkcs8", ".old", ".crlf", ".both" };
    int i, k;
    char *cert, *key;
    for (i = 0; i < 3; i++) {
        for (k = 0; k < 4; k++) {
            test_note("%s%s", kinds[i], good[k]);
            CHECK_STR(listens_with(file(kinds[i], ".pem"),
                                   file(kinds[i], good[k])), "no failure");
        }
        test_note("%s, encrypted", kinds[i]);
        CHECK_STR(listens_with(file(kinds[i], ".pem"),
                               file(kinds[i], ".locked")),
                  "options.tls_key has an encrypted key: decrypt it (openssl "
                  "pkey)");
        CHECK_STR(listens_with(file(kinds[i], ".pem"),
                               file(kinds[i], ".oldlocked")),
                  "options.tls_key has an encrypted key: decrypt it (openssl "
                  "pkey)");
        test_note("%s, another's", kinds[i]);
        CHECK_STR(listens_with(file(kinds[i], ".pem"),
                               file(kinds[(i + 1) % 3], ".old")),
                  "options.tls_key does not belong to the first certificate "
                  "of options.tls_cert");
        CHECK_STR(listens_with(file(kinds[i], ".pem"), file("p256", ".key")),
                  "options.tls_key does not belong to the first certificate "
                  "of options.tls_cert");
    }
    test_note("others");
    CHECK_STR(listens_with(file("key_p256", ".pem"),
                           file("key_p256", ".parameters")), "no failure");
    CHECK_STR(listens_with(file("key_p256", ".pem"),
                           file("key_ed25519", ".key")),
              "options.tls_key has a key that is neither RSA (to 4096 bits) "
              "nor EC");
    CHECK_STR(listens_with(file("rsa4096", ".pem"), file("rsa4096", ".key")),
              "no failure");
    /* Decoding one would write past its memory in BearSSL 0.6. */
    CHECK_STR(listens_with(file("rsa4992", ".pem"), file("rsa4992", ".key")),
              "options.tls_key has a key that is malformed or above 4096 "
              "bits");
    CHECK_STR(listens_with(file("key_p256", ".pem"),
                           file("key_p256", ".pem")),
              "options.tls_key has no private key");
    CHECK_STR(listens_with(file("key_p256", ".old"),
                           file("key_p256", ".old")),
              "options.tls_cert has no certificate, or a malformed one");
    cert = text_of(file("key_rsa", ".pem"));
    key = text_of(file("key_rsa", ".old"));
    CHECK_STR(listens_with(cert, key), "no failure");
    free(cert);
    free(key);
}

static void check_listens(const char *what, bytes *cert, const char *key,
                          const char *line)
{
    test_note("%s", what);
    CHECK_STR(listens_with(bytes_str(cert), key), line);
    bytes_free(cert);
}

/* Certificates to which the key does not belong, or which are none. */
TEST(certificates_of_a_server)
{
    static const char not_its[] = "options.tls_key does not belong to the "
                                  "first certificate of options.tls_cert";
    static const char malformed[] = "options.tls_cert has no certificate, or "
                                    "a malformed one";
    char *p256 = text_of(file("p256", ".key"));
    char *rsa = text_of(file("rsa", ".key"));
    char *good = text_of(file("p256", ".pem"));
    uint8_t zeros[600] = { 4 };
    bytes b = { 0 }, pem = { 0 }, key = { 0 };
    int i;
    CHECK_STR(listens_with(file("rsa4096", ".pem"), rsa), not_its);
    CHECK_STR(listens_with(file("key_rsa", ".pem"), rsa), not_its);
    CHECK_STR(listens_with(file("ed25519", ".pem"), p256), not_its);
    CHECK_STR(listens_with(file("p521", ".pem"), file("p521", ".key")),
              "no failure");
    bytes_text(&b, good);
    bytes_text(&b, "-----BEGIN CERTIFICATE-----\n!\n"
                   "-----END CERTIFICATE-----\n");
    check_listens("no base64", &b, p256, malformed);
    bytes_text(&b, good);
    pem_put(&b, "CERTIFICATE", "garbage", 7);
    check_listens("no DER", &b, p256, malformed);
    for (i = 0; i < 12; i++) /* more than are sent */
        bytes_text(&b, good);
    check_listens("too many", &b, p256, "no failure");
    spki_ec(&b, p256_oid, 8, zeros, 33);
    cert_around(&b);
    pem_put(&pem, "CERTIFICATE", b.data, b.size);
    bytes_free(&b);
    check_listens("a compressed point", &pem, p256, not_its);
    /* An RSA key above 4096 bits, the primes of which are short. */
    zeros[0] = 0x7F;
    der_put(&b, 0x02, "", 1);
    der_put(&b, 0x02, zeros, 600);
    for (i = 0; i < 7; i++)
        der_put(&b, 0x02, i ? "\x71\x11" : "\3", i ? 2 : 1);
    der_around(&b, 0, 0x30);
    pem_put(&key, "RSA PRIVATE KEY", b.data, b.size);
    bytes_free(&b);
    spki_rsa(&b, zeros, 600, "\3", 1);
    cert_around(&b);
    pem_put(&pem, "CERTIFICATE", b.data, b.size);
    bytes_free(&b);
    check_listens("a long modulus", &pem, bytes_str(&key), not_its);
    bytes_free(&key);
    free(p256);
    free(rsa);
    free(good);
}

#if !defined(_WIN32)
/* The line of a server whose certificate comes from this file. */
static void check_unreadable(const char *name, const char *why)
{
    char line[200];
    snprintf(line, sizeof line, "options.tls_cert: %s%s", name, why);
    CHECK_STR(listens_with(name, file("p256", ".key")), line);
}

TEST(files_that_cannot_be_read)
{
    static const char none[] = " cannot be read, or there is no memory for it";
    char name[] = "/tmp/wsock_tls_XXXXXX", pipe_name[40];
    int fd = mkstemp(name), ends[2];
    check_unreadable(name, ": Invalid argument"); /* it is empty */
    if (write(fd, "x", 1) != 1 || ftruncate(fd, 1 << 26) != 0)
        test_die("no temporary file");
    check_unreadable(name, ": Invalid argument"); /* too large */
    if (ftruncate(fd, 1) != 0 || pipe(ends) != 0)
        test_die("no pipe");
    CHECK_STR(listens_with(name, file("p256", ".key")),
              "options.tls_cert has no certificate, or a malformed one");
    failing = "fread";
    failures = 1;
    check_unreadable(name, none);
    failing = "malloc";
    failures = 0;
    close(fd);
    remove(name);
    check_unreadable(name, ": No such file or directory");
    snprintf(pipe_name, sizeof pipe_name, "/dev/fd/%d", ends[0]);
    check_unreadable(pipe_name, ": Invalid argument");
    close(ends[0]);
    close(ends[1]);
    failing = NULL;
}

#endif

TEST(options_are_checked)
{
    static const char *const bad_pins[] = { "sha256//", NULL };
    static const char *const odd_pins[] = {
        "sha256//!AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", NULL };
    static const wsock_tls no_wrap = { NULL, NULL };
    static const wsock_tls odd_wrap = { wsock__bear_wrap, NULL };
    wsock_options o;
    wsock *ws;
    wsock_server *s;
    size_t block;
    int i;
    for (i = 0; i < 8; i++) {
        test_note("case %d", i);
        memset(&o, 0, sizeof o);
        switch (i) {
        case 0: o.tls_cert = "x"; break;
        case 1: o.tls_key = "x"; break;
        case 2: o.tls_pins = bad_pins; break;
        case 3: o.tls_record = 1000; break;
        case 4: o.tls_record = 16383; break;
        case 5: o.flags = 0x100; break;
        case 6: o.tls_pins = odd_pins; break;
        case 7: o.tls = &no_wrap; break;
        }
        ws = wsock_new(WSOCK_CLIENT, "wss://h/", &o);
        CHECK_RESULT(wsock_error(ws), WSOCK_INVALID_PARAMETER);
        CHECK_INT(wsock_why(ws)->phase, WSOCK_PHASE_SETUP);
        wsock_free(ws);
    }
    memset(&o, 0, sizeof o);
    s = wsock_listen("wss://127.0.0.1:0/", &o);
    CHECK_STR(wsock_server_why(s)->text,
              "a wss:// server needs options.tls_cert and tls_key");
    wsock_server_free(s);
    memset(&o, 0, sizeof o);
    block = wsock_memory_needed(WSOCK_CLIENT, "wss://h/", &o);
    o.tls = &odd_wrap; /* then memory and certificate are its business */
    CHECK(block > wsock_memory_needed(WSOCK_CLIENT, "wss://h/", &o));
    s = wsock_listen("wss://127.0.0.1:0/", &o);
    CHECK_RESULT(wsock_server_error(s), WSOCK_OK);
    wsock_server_free(s);
    o.tls = NULL;
    o.tls_cert = o.tls_key = "x";
    s = wsock_listen("ws://127.0.0.1:0/", &o);
    CHECK_STR(wsock_server_why(s)->text,
              "options.tls_cert is set, but the URL is not a wss:// URL");
    wsock_server_free(s);
    ws = wsock_new(WSOCK_CLIENT, "wss://h/", NULL);
    CHECK_RESULT(wsock_error(ws), WSOCK_OK);
    CHECK_INT(wsock_effective_options(ws)->tls_record, 16384);
    wsock_free(ws);
}

/* --------------------------------------------------- what peers do wrong -- */

/* The random source fails: nothing begins without a seed. */
TEST(no_handshake_without_entropy)
{
    world w;
    world_init(&w, "p256");
    w.system.random_fails = 1;
    CHECK_RESULT(world_open(&w, "localhost"), WSOCK_RANDOM_FAILED);
    CHECK_INT(w.why.phase, WSOCK_PHASE_TLS);
    CHECK_STR(w.text, "TLS cannot begin: the system's random source failed");
    world_end(&w);
}

/* A polled connection is closed, or freed, between two flights. */
TEST(close_during_the_handshake)
{
    int how;
    for (how = 0; how < 3; how++) {
        world w;
        wsock_event e;
        test_note("way %d", how);
        world_init(&w, "p256");
        w.client.flags = WSOCK_NONBLOCKING;
        CHECK_RESULT(world_open(&w, "localhost"), WSOCK_OK);
        CHECK_INT(wsock_poll(w.ws, &e, 0), 0);
        CHECK(w.link.end[1].in.size > 0); /* the hello is out */
        CHECK_RESULT(wsock_send(w.ws, WSOCK_TEXT, "x", 1),
                     WSOCK_INVALID_OPERATION);
        CHECK_RESULT(wsock_flush(w.ws), WSOCK_INVALID_OPERATION);
        if (how < 2) {
            CHECK_RESULT(how ? wsock_abort(w.ws)
                             : wsock_close(w.ws, 1000, ""), WSOCK_OK);
            CHECK_INT(wsock_poll(w.ws, &e, 0), 1);
            CHECK_INT(e.type, WSOCK_EVENT_CLOSE);
            CHECK_RESULT(e.why->code,
                         how ? WSOCK_ABORTED : WSOCK_CANCELLED);
            CHECK_INT(e.why->phase, WSOCK_PHASE_TLS);
            CHECK_INT(w.link.end[0].closed, 1);
        }
        world_end(&w);
    }
}

/* What is not TLS, from either side. */
TEST(garbage)
{
    static const char *const texts[] = {
        "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        "\x16\x03\x03\x40\x01", "\x15\x03\x03\x00\x02\x02\x28",
        "\x17\x03\x03\x00\x05hello"
    };
    static const size_t sizes[] = { 47, 5, 7, 10 };
    int i, side;
    for (side = 0; side < 2; side++)
        for (i = 0; i < 4; i++) {
            world w;
            wsock *ws;
            wsock_event e;
            int r = 0, turns;
            test_note("text %d, side %d", i, side);
            guard();
            world_init(&w, "p256");
            w.client.flags = WSOCK_NONBLOCKING;
            ws = side ? wsock_new(WSOCK_SERVER, NULL, &w.server)
                      : wsock_new(WSOCK_CLIENT, "wss://localhost/",
                                  &w.client);
            bytes_put(&w.link.end[side].in, texts[i], sizes[i]);
            wsock_attach(ws, &w.link.io[side]);
            for (turns = 0; turns < 10 && r == 0; turns++)
                r = wsock_poll(ws, &e, 0);
            CHECK_INT(r, 1);
            CHECK_INT(e.type, WSOCK_EVENT_CLOSE);
            CHECK_RESULT(wsock_error(ws), WSOCK_TLS_ERROR);
            CHECK_INT(wsock_why(ws)->phase, WSOCK_PHASE_TLS);
            CHECK(wsock_why(ws)->tls_code != 0);
            if (i == 2)
                CHECK_STR(wsock_error_text(ws),
                          "TLS failed: the peer refuses: handshake failure: "
                          "nothing in common (alert 40)");
            wsock_free(ws);
            CHECK_NO_LEAK(&w.system);
            test_link_free(&w.link);
        }
}

/* A stream that is cut is told apart from one that ends; both without a
 * Close frame. */
TEST(a_cut_stream_is_told)
{
    int cut;
    for (cut = 0; cut < 2; cut++) {
        world w;
        wsock_status got;
        char text[8];
        test_note("cut %d", cut);
        guard();
        world_init(&w, "p256");
        CHECK_RESULT(world_open(&w, "localhost"), WSOCK_OK);
        if (!cut) /* close_notify, and then the end */
            w.peer.ws->io->finish(w.peer.ws->io_user);
        w.link.end[0].in_ended = 1;
        CHECK_RESULT(wsock_receive(w.ws, text, sizeof text, &got),
                     WSOCK_CONNECTION_LOST);
        CHECK_STR(wsock_error_text(w.ws),
                  cut ? "the connection was lost: the stream was cut: it "
                        "ended without TLS's close_notify"
                      : "the peer ended the connection without a Close frame");
        CHECK_INT(wsock_why(w.ws)->phase, WSOCK_PHASE_WEBSOCKET);
        wsock_abort(w.peer.ws);
        world_end(&w);
    }
}

/* An orderly end of TLS, in the middle of the handshake or of what we write,
 * is the end of a connection and no fault of TLS. */
TEST(a_peer_that_ends_tls_in_the_handshake)
{
    int side;
    for (side = 0; side < 2; side++) {
        world w;
        wsock *ws;
        wsock_event e;
        int r = 0, turns;
        test_note("side %d", side);
        guard();
        world_init(&w, "p256");
        w.client.flags = WSOCK_NONBLOCKING;
        ws = side ? wsock_new(WSOCK_SERVER, NULL, &w.server)
                  : wsock_new(WSOCK_CLIENT, "wss://localhost/", &w.client);
        bytes_put(&w.link.end[side].in, "\x15\x03\x03\0\2\1\0", 7);
        wsock_attach(ws, &w.link.io[side]);
        for (turns = 0; turns < 10 && r == 0; turns++)
            r = wsock_poll(ws, &e, 0);
        CHECK_RESULT(wsock_error(ws), WSOCK_CONNECTION_LOST);
        CHECK_INT(wsock_why(ws)->phase, WSOCK_PHASE_TLS);
        CHECK_STR(wsock_error_text(ws), "TLS failed: the peer has closed "
                                        "TLS");
        wsock_free(ws);
        CHECK_NO_LEAK(&w.system);
        test_link_free(&w.link);
    }
}

/* The peer says close_notify, then takes what was on its way. */
static int end_and_take(void *user)
{
    world *w = (world *)user;
    wsock *peer = w->peer.ws;
    if (!w->link.end[1].finished) {
        CHECK_INT(peer->io->finish(peer->io_user), 0);
        w->link.end[0].in_ended = 0; /* its FIN comes later */
    } else if (w->link.end[1].in.size == 0) {
        return 0;
    }
    w->link.end[1].in.size = w->link.end[1].at = 0;
    return 1;
}

TEST(a_peer_that_ends_tls_while_we_write)
{
    world w;
    uint8_t *data = test_pattern(40000);
    guard();
    world_init(&w, "p256");
    CHECK_RESULT(world_open(&w, "localhost"), WSOCK_OK);
    w.link.end[0].capacity = 1000;
    w.link.pump = end_and_take;
    w.link.user = &w;
    CHECK_RESULT(wsock_send(w.ws, WSOCK_BINARY, data, 40000),
                 WSOCK_CONNECTION_LOST);
    CHECK_STR(wsock_error_text(w.ws), "sending failed: the peer has closed "
                                      "TLS");
    CHECK_INT(wsock_why(w.ws)->phase, WSOCK_PHASE_WEBSOCKET);
    CHECK_INT(wsock_why(w.ws)->operation, WSOCK_OPERATION_SEND);
    CHECK_INT(wsock_why(w.ws)->tls_code, 0);
    w.link.pump = test_peer_pump;
    w.link.user = &w.peer;
    wsock_abort(w.peer.ws);
    free(data);
    world_end(&w);
}

/* One bit of a record is changed on its way. */
TEST(a_changed_record_is_noticed)
{
    world w;
    wsock_status got;
    char text[8];
    test_end *e;
    int i;
    world_init(&w, "p256");
    CHECK_RESULT(world_open(&w, "localhost"), WSOCK_OK);
    CHECK_RESULT(wsock_send(w.ws, WSOCK_TEXT, "hello", 5), WSOCK_OK);
    for (i = 0; i < 10; i++)
        test_peer_pump(&w.peer);
    e = &w.link.end[0];
    e->in.data[e->in.size - 1] ^= 1;
    CHECK_RESULT(wsock_receive(w.ws, text, sizeof text, &got),
                 WSOCK_TLS_ERROR);
    CHECK_INT(wsock_why(w.ws)->phase, WSOCK_PHASE_TLS);
    CHECK_INT(wsock_why(w.ws)->tls_code, BR_ERR_BAD_MAC);
    CHECK_STR(wsock_error_text(w.ws),
              "the connection was lost: a record was changed on its way "
              "(BearSSL's error 7)");
    world_end(&w);
}

/* A polled client and a server, which reads 4 KiB at a time: the server's side
 * of the connection; NULL if there is none. */
static wsock *over_sockets(wsock_server **server, wsock **client)
{
    wsock_options o;
    wsock_event e;
    wsock *peer = NULL;
    char url[64];
    int turns, opened = 0;
    guard();
    memset(&o, 0, sizeof o);
    o.tls_cert = file("p256", ".pem");
    o.tls_key = file("p256", ".key");
    o.receive_buffer = 4096;
    *server = wsock_listen("wss://127.0.0.1:0/", &o);
    snprintf(url, sizeof url, "wss://127.0.0.1:%d/",
             wsock_server_port(*server));
    memset(&o, 0, sizeof o);
    o.flags = WSOCK_NONBLOCKING;
    o.tls_ca = file("ca", ".pem");
    *client = wsock_connect(url, &o);
    for (turns = 0; turns < 1000000 && !(peer && opened); turns++) {
        opened |= wsock_poll(*client, &e, 0) > 0 &&
                  e.type == WSOCK_EVENT_OPEN;
        if (wsock_server_poll(*server, &e, 0) > 0 &&
            e.type == WSOCK_EVENT_OPEN)
            peer = e.ws;
    }
    return peer;
}

/* What a record has beyond the room of a read is read without the socket,
 * which has nothing more. */
TEST(records_above_the_room_of_a_read)
{
    wsock_server *server;
    wsock *client, *peer = over_sockets(&server, &client);
    uint8_t *data = test_pattern(16000);
    wsock_event e;
    int i;
    if (!CHECK(peer != NULL))
        return;
    for (i = 0; i < 3; i++) { /* one message, and many small ones */
        size_t n, size = i == 1 ? 100 : 16000, sum = 0;
        for (n = 0; n < 16000; n += size)
            CHECK_RESULT(wsock_send(client, WSOCK_BINARY, data + n, size),
                         WSOCK_OK);
        wsock_flush(client);
        while (sum < 16000) {
            if (wsock_server_poll(server, &e, WSOCK_NEVER) <= 0)
                continue;
            CHECK_INT(e.type, WSOCK_EVENT_MESSAGE);
            CHECK_BYTES(e.data, e.size, data + sum, size);
            sum += e.size;
        }
    }
    wsock_free(client);
    wsock_server_free(server);
    free(data);
}

/* One that came together with a good one: after the message, the failure is
 * told without waiting for more. */
TEST(a_changed_record_behind_a_message)
{
    wsock_server *server;
    wsock *client, *peer = over_sockets(&server, &client);
    wsock_event e;
    wsock__bear *t;
    uint8_t records[128];
    size_t n = 0;
    int i;
    if (!CHECK(peer != NULL))
        return;
    t = (wsock__bear *)peer->io_user;
    for (i = 0; i < 2; i++) {
        wsock_buf frame = { "\x81\5hello", 7 };
        const uint8_t *from;
        size_t size;
        wsock__bear_encode(&t->u.server.eng, &frame, 1, 0, frame.size);
        from = br_ssl_engine_sendrec_buf(&t->u.server.eng, &size);
        memcpy(records + n, from, size);
        br_ssl_engine_sendrec_ack(&t->u.server.eng, size);
        n += size;
    }
    records[n - 1] ^= 1;
    CHECK_INT(send((int)wsock__io_fd(peer), (const char *)records,
                   (unsigned)n, 0), (int)n);
    CHECK_INT(wsock_poll(client, &e, WSOCK_NEVER), 1);
    CHECK_INT(e.type, WSOCK_EVENT_MESSAGE);
    CHECK_INT(wsock_poll(client, &e, 20000), 1);
    CHECK_INT(e.type, WSOCK_EVENT_CLOSE);
    CHECK_INT(wsock_why(client)->tls_code, BR_ERR_BAD_MAC);
    wsock_free(client);
    wsock_server_free(server);
}

/* Who has said the end still drops what comes, however much, so that no reset
 * takes away what was said. */
TEST(what_comes_behind_our_end_is_dropped)
{
    world w;
    wsock_buf buf;
    uint8_t *data = test_pattern(16000), got[64];
    wsock__bear *ours, *theirs;
    int i;
    guard();
    world_init(&w, "p256");
    CHECK_RESULT(world_open(&w, "localhost"), WSOCK_OK);
    ours = (wsock__bear *)w.ws->io_user;
    theirs = (wsock__bear *)w.peer.ws->io_user;
    CHECK_RESULT(wsock__bear_finish(theirs), WSOCK_OK);
    buf.data = data;
    buf.size = 16000;
    for (i = 0; i < 40; i++) {
        CHECK_INT(wsock__bear_write(ours, &buf, 1), 16000);
        CHECK_RESULT((int)wsock__bear_read(theirs, got, sizeof got),
                     WSOCK_WANT_READ);
    }
    wsock_abort(w.peer.ws);
    world_end(&w);
    free(data);
}

/* A server that ends while plaintext lies unread in BearSSL's engine, which
 * must not be asked to close then: the Close still arrives, and the end. */
TEST(close_with_unread_data)
{
    world w;
    wsock_status got;
    uint8_t *data = test_pattern(16000);
    char text[8];
    int code = 0;
    guard();
    world_init(&w, "p256");
    w.server.receive_buffer = 256;
    w.server.max_message = 1000;
    CHECK_RESULT(world_open(&w, "localhost"), WSOCK_OK);
    CHECK_RESULT(wsock_send(w.ws, WSOCK_BINARY, data, 16000), WSOCK_OK);
    CHECK_RESULT(wsock_receive(w.ws, text, sizeof text, &got), WSOCK_OK);
    CHECK_INT(got.kind, WSOCK_CLOSE);
    wsock_close_status(w.ws, &code, NULL);
    CHECK_INT(code, 1009);
    CHECK_RESULT(wsock_close(w.ws, 1000, "enough"), WSOCK_OK);
    world_end(&w);
    free(data);
}

/* One bit of the handshake is changed on its way, here and there in turn. */
static long flip_at, flip_seen;

static ptrdiff_t flip_read(void *user, void *data, size_t size)
{
    ptrdiff_t n = test_end_read(user, data, size);
    if (n > 0 && flip_at >= flip_seen && flip_at < flip_seen + n)
        ((uint8_t *)data)[flip_at - flip_seen] ^= 1;
    if (n > 0)
        flip_seen += (long)n;
    return n;
}

static void changed_handshake(int side, const char *name)
{
    long opened = 0;
    int more = 1;
    for (flip_at = 0; more; flip_at += 7 * (long)test_step(5)) {
        world w;
        int r;
        test_note("byte %ld of side %d, %s", flip_at, side, name);
        guard();
        world_init(&w, name);
        w.link.io[side].read = flip_read;
        flip_seen = 0;
        r = world_open(&w, "localhost");
        more = flip_seen > flip_at;
        if (more)
            /* The first record's version is not signed (RFC 5246 E.1). */
            opened += r == WSOCK_OK && flip_at > 2;
        else
            CHECK_RESULT(r, WSOCK_OK);
        if (r != WSOCK_OK && w.peer.ws)
            wsock_abort(w.peer.ws);
        world_end(&w);
    }
    CHECK_INT(opened, 0);
}

TEST(a_changed_handshake_is_noticed)
{
    changed_handshake(0, "p256");
    changed_handshake(1, "p256");
}

/* A record of another version than was agreed on. */
TEST(a_record_of_another_version)
{
    world w;
    wsock_status got;
    char text[8];
    guard();
    world_init(&w, "p256");
    CHECK_RESULT(world_open(&w, "localhost"), WSOCK_OK);
    bytes_put(&w.link.end[0].in, "\x17\x03\x02\x00\x05hello", 10);
    CHECK_RESULT(wsock_receive(w.ws, text, sizeof text, &got),
                 WSOCK_TLS_ERROR);
    CHECK_STR(wsock_error_text(w.ws), "the connection was lost: what came is "
              "not TLS 1.2 (BearSSL's error 4)");
    world_end(&w);
}

/* A record that is larger than was agreed on. */
TEST(a_record_above_the_agreed_size)
{
    world w;
    wsock_status got;
    char text[8];
    guard();
    world_init(&w, "p256");
    w.client.tls_record = 512;
    CHECK_RESULT(world_open(&w, "localhost"), WSOCK_OK);
    bytes_put(&w.link.end[0].in, "\x17\x03\x03\x20\x00", 5);
    CHECK_RESULT(wsock_receive(w.ws, text, sizeof text, &got),
                 WSOCK_TLS_ERROR);
    CHECK_INT(wsock_why(w.ws)->tls_code, BR_ERR_TOO_LARGE);
    CHECK_STR(wsock_error_text(w.ws),
              "the connection was lost: the peer's record is larger than "
              "options.tls_record allows (BearSSL's error 6)");
    world_end(&w);
}

/* A Pong that waits goes in front of the next message as soon as the one
 * before is taken: what stands encoded by then must not be counted for it. */
TEST(a_pong_between_records)
{
    enum { MESSAGES = 40, SIZE = 508 }; /* a frame is a record, and a queue's
                                         * pieces end with a record */
    size_t capacity;
    for (capacity = 100; capacity < 3000; capacity += test_step(1) * 57) {
        world w;
        uint8_t *data = test_pattern(SIZE), text[600];
        wsock_status got;
        int i, r = WSOCK_OK, messages = 0, pongs = 0;
        test_note("capacity %lu", (unsigned long)capacity);
        guard();
        world_init(&w, "p256");
        w.client.tls_record = w.server.tls_record = 512;
        w.client.flags = WSOCK_CONTROL;
        CHECK_RESULT(world_open(&w, "localhost"), WSOCK_OK);
        w.link.end[1].capacity = capacity; /* what the server may write */
        for (i = 0; i < MESSAGES; i++)
            CHECK_RESULT(wsock_send(w.peer.ws, WSOCK_BINARY, data, SIZE),
                         WSOCK_OK);
        test_peer_pump(&w.peer);
        for (i = 0; i < 40; i++)
            CHECK_RESULT(wsock_send(w.ws, WSOCK_PING, data, 100), WSOCK_OK);
        CHECK_RESULT(wsock_send(w.ws, WSOCK_PING, "last", 4), WSOCK_OK);
        test_peer_pump(&w.peer);
        while (r == WSOCK_OK && messages < MESSAGES) {
            r = wsock_receive(w.ws, text, sizeof text, &got);
            if (r == WSOCK_OK && got.kind == WSOCK_BINARY) {
                messages++;
                CHECK_BYTES(text, got.bytes, data, SIZE);
            }
            pongs += r == WSOCK_OK && got.kind == WSOCK_PONG
                     && got.bytes == 4 && !memcmp(text, "last", 4);
        }
        CHECK_RESULT(r, WSOCK_OK);
        CHECK_STR(wsock_error_text(w.ws), "no failure");
        CHECK_INT(pongs, 1);
        free(data);
        world_end(&w);
        if (test_state.in_this_test > 6)
            break;
    }
}

/* Empty records without end: the connection ends, the loop does not wait. */
TEST(a_flood_of_empty_records)
{
    world w;
    wsock__bear *t;
    wsock_event e;
    long i;
    guard();
    world_init(&w, "p256");
    CHECK_RESULT(world_open(&w, "localhost"), WSOCK_OK);
    t = (wsock__bear *)w.ws->io_user;
    for (i = 0; i < 200; i++) { /* as many as may be, then a message */
        br_ssl_engine_flush(&t->u.client.eng, 1);
        wsock__bear_push(t);
    }
    CHECK_RESULT(echo(w.ws, (const uint8_t *)"hello", 5), WSOCK_OK);
    for (i = 0; i < 8000; i++) {
        br_ssl_engine_flush(&t->u.client.eng, 1);
        wsock__bear_push(t);
    }
    CHECK_INT(wsock_poll(w.peer.ws, &e, 0), 1);
    CHECK_INT(e.type, WSOCK_EVENT_CLOSE);
    CHECK_STR(wsock_error_text(w.peer.ws), "the connection was lost: the peer "
              "sends TLS without end and nothing in it");
    CHECK_RESULT(wsock_error(w.peer.ws), WSOCK_TLS_ERROR);
    world_end(&w);
}

/* Two handshake messages in one record, behind the handshake: BearSSL refuses
 * the first, forgets the second, and would never read again. */
static void messages_behind_the_handshake(int by_client, const char *messages)
{
    world w;
    br_ssl_engine_context *e;
    wsock__bear *t;
    wsock_event event;
    wsock *from, *to;
    unsigned char *room;
    size_t n;
    int i;
    test_note("by the %s", by_client ? "client" : "server");
    guard();
    world_init(&w, "p256");
    CHECK_RESULT(world_open(&w, "localhost"), WSOCK_OK);
    from = by_client ? w.ws : w.peer.ws;
    to = by_client ? w.peer.ws : w.ws;
    t = (wsock__bear *)from->io_user;
    e = wsock__bear_engine(t);
    room = br_ssl_engine_sendapp_buf(e, &n);
    memcpy(room, messages, 8);
    e->record_type_out = 22;
    br_ssl_engine_sendapp_ack(e, 8);
    br_ssl_engine_flush(e, 0);
    e->record_type_out = 23;
    wsock__bear_push(t);
    if (by_client) {
        for (i = 0; i < 4 && !wsock_error(to); i++)
            wsock_poll(to, &event, 0);
    } else {
        wsock_status got;
        char text[8];
        wsock_receive(to, text, sizeof text, &got);
    }
    CHECK_RESULT(wsock_error(to), WSOCK_TLS_ERROR);
    CHECK_STR(wsock_error_text(to), "the connection was lost: the peer sends "
                                    "handshake messages after the handshake");
    world_end(&w);
}

TEST(handshake_messages_behind_the_handshake)
{
    messages_behind_the_handshake(1, "\1\0\0\0\1\0\0\0");
    messages_behind_the_handshake(0, "\0\0\0\0\0\0\0\0");
}

/* What these bytes, the first that come, make of a polled connection. */
static void check_first_bytes(int side, const void *data, size_t size,
                              int code, const char *line)
{
    wsock_tls_session session, empty;
    world w;
    wsock *ws;
    wsock_event e;
    int r = 0, turns;
    guard();
    world_init(&w, "p256");
    memset(&empty, 0, sizeof empty);
    memset(&session, 1, sizeof session);
    w.client.flags = WSOCK_NONBLOCKING;
    w.client.tls_session = &session;
    ws = side ? wsock_new(WSOCK_SERVER, NULL, &w.server)
              : wsock_new(WSOCK_CLIENT, "wss://localhost/", &w.client);
    bytes_put(&w.link.end[side].in, data, size);
    wsock_attach(ws, &w.link.io[side]);
    for (turns = 0; turns < 10 && r == 0; turns++)
        r = wsock_poll(ws, &e, 0);
    CHECK_RESULT(wsock_error(ws), WSOCK_TLS_ERROR);
    CHECK_INT(wsock_why(ws)->phase, WSOCK_PHASE_TLS);
    CHECK_INT(wsock_why(ws)->tls_code, code);
    CHECK_STR(wsock_error_text(ws), line);
    if (!side) /* a session that has led to this is not tried again */
        CHECK(memcmp(&session, &empty, sizeof empty) == 0);
    wsock_free(ws);
    CHECK_NO_LEAK(&w.system);
    test_link_free(&w.link);
}

TEST(alerts_are_named)
{
    static const struct {
        int alert;
        const char *text;
    } alerts[] = {
        { 20, "bad record MAC" }, { 22, "record overflow" },
        { 40, "handshake failure: nothing in common" },
        { 42, "bad certificate" }, { 43, "unsupported certificate" },
        { 44, "certificate revoked" }, { 45, "certificate expired" },
        { 46, "certificate unknown" }, { 47, "illegal parameter" },
        { 48, "unknown authority" }, { 49, "access denied" },
        { 50, "decode error" }, { 51, "decrypt error" },
        { 70, "protocol version" }, { 71, "insufficient security" },
        { 80, "internal error" }, { 86, "inappropriate fallback" },
        { 100, "no renegotiation" }, { 112, "unrecognized name" },
        { 116, "certificate required" }, { 120, "no application protocol" },
        { 1, "see RFC 8446 6" }, { 255, "see RFC 8446 6" }
    };
    uint8_t record[7] = { 21, 3, 3, 0, 2, 2, 0 };
    char line[160];
    size_t i;
    int side;
    for (i = 0; i < sizeof alerts / sizeof alerts[0]; i++)
        for (side = 0; side < 2; side++) {
            int alert = alerts[i].alert;
            test_note("alert %d, side %d", alert, side);
            record[6] = (uint8_t)alert;
            snprintf(line, sizeof line, "TLS failed: the peer refuses: %s "
                     "(alert %d)", alerts[i].text, alert);
            if (alert == 70 && side == 0)
                snprintf(line, sizeof line, "TLS failed: the server requires "
                         "TLS 1.3; BearSSL speaks 1.2: use another library "
                         "by options.tls");
            check_first_bytes(side, record, 7, 256 + alert, line);
        }
}

/* What is no TLS at all, or no record of any kind. */
TEST(first_bytes_of_another_protocol)
{
    int side;
    for (side = 0; side < 2; side++) {
        check_first_bytes(side, "HTTP/1.1 400 Bad Request", 24, 3, "TLS "
                          "failed: the peer does not speak TLS 1.2 (BearSSL's "
                          "error 3)");
        check_first_bytes(side, "\x63\x03\x03\0\1x", 6, 10, "TLS failed: a "
                          "message that is out of order (BearSSL's error "
                          "10)");
    }
}

/* A hello of an old client (RFC 5246 7.4.1.2), and one that has no cipher
 * suite in common. */
TEST(hellos_that_are_refused)
{
    static const uint8_t start[] = { 22, 3, 1, 0, 45, 1, 0, 0, 41, 3 };
    uint8_t hello[50] = { 0 };
    memcpy(hello, start, sizeof start);
    hello[45] = 2;    /* bytes of suites: */
    hello[47] = 0x2F; /* RSA with AES-128-CBC */
    hello[48] = 1;    /* no compression */
    hello[10] = 1;
    check_first_bytes(1, hello, 50, 512 + 70, "TLS failed: the handshake was "
                      "refused: protocol version");
    hello[10] = 3;
    check_first_bytes(1, hello, 50, 512 + 40, "TLS failed: the handshake was "
                      "refused: handshake failure: nothing in common");
}

/* ------------------------------------------------ what transports may do -- */

static int odd_result; /* what the next call of the transport answers */

static ptrdiff_t odd_write(void *user, const wsock_buf *bufs, size_t count)
{
    int result = odd_result;
    odd_result = 1;
    if (result == 2) /* more than there is */
        return (ptrdiff_t)bufs[0].size + 1;
    return result == 1 ? test_end_write(user, bufs, count) : result;
}

static ptrdiff_t odd_read(void *user, void *data, size_t size)
{
    int result = odd_result;
    odd_result = 1;
    if (result == 2)
        return (ptrdiff_t)size + 1;
    return result == 1 ? test_end_read(user, data, size) : result;
}

/* Calls of a transport that take nothing, want the other direction, or lie,
 * at each end. */
TEST(odd_transports)
{
    static const int results[] = { 0, WSOCK_WANT_READ, WSOCK_WANT_WRITE, 2 };
    int i, reading, side;
    for (side = 0; side < 2; side++)
        for (reading = 0; reading < 2; reading++)
            for (i = reading; i < 4; i++) {
                world w;
                if (!side && !reading && results[i] == WSOCK_WANT_READ)
                    continue; /* the server says nothing unasked */
                test_note("side %d, reading %d, result %d", side, reading,
                          results[i]);
                guard();
                world_init(&w, "p256");
                if (reading)
                    w.link.io[side].read = odd_read;
                else
                    w.link.io[side].write = odd_write;
                /* One that lies is not asked why. */
                w.link.io[side].explain = NULL;
                odd_result = results[i];
                CHECK_RESULT(conversation(&w, "localhost", 5000),
                             results[i] == 2 ? WSOCK_CONNECTION_LOST
                                             : WSOCK_OK);
                if (results[i] == 2 && side == 0)
                    CHECK_STR(w.text, "TLS failed");
                world_end(&w);
            }
}

/* A server's transport with read, write and wait alone. */
TEST(callbacks_that_may_be_missing)
{
    world w;
    guard();
    world_init(&w, "p256");
    w.link.io[1].finish = NULL;
    w.link.io[1].explain = NULL;
    w.link.io[1].close = NULL;
    CHECK_RESULT(conversation(&w, "localhost", 5000), WSOCK_OK);
    world_end(&w);
    world_init(&w, "p256");
    w.link.io[1].explain = NULL;
    w.link.io[1].close = NULL;
    w.link.end[1].fail_at = 5;
    CHECK(conversation(&w, "localhost", 5000) != WSOCK_OK);
    world_end(&w);
}

/* -------------------------------------------------- what is agreed upon -- */

/* Without instructions for AES and GHASH those suites come last. */
TEST(suites_by_the_cpu)
{
    static const struct {
        int cpu, suite;
    } cases[] = {
        { 3, BR_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 },
        { 12, BR_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 },
        { 16, BR_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 },
        { 1, BR_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 },
        { 4, BR_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 }
    };
    size_t i;
    for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const wsock__bear *t;
        world w;
        test_note("CPU %d", cases[i].cpu);
        guard();
        world_init(&w, "p256");
        cpu = cases[i].cpu;
        CHECK_RESULT(world_open(&w, "localhost"), WSOCK_OK);
        cpu = 0;
        t = (const wsock__bear *)w.ws->io_user;
        CHECK_INT(t->u.client.eng.session.cipher_suite, cases[i].suite);
        CHECK_RESULT(echo(w.ws, (const uint8_t *)"hello", 5), WSOCK_OK);
        world_end(&w);
    }
}

/* The server's side is made to ask for a certificate, and to take any one
 * with the key of which the client can sign. */
static void client_certificate(const char *name, int key_type)
{
    static const br_x500_name nobody = { NULL, 0 };
    static wsock__chain chain;
    static wsock__config config;
    wsock__bear *t;
    wsock_event e;
    char text[160] = "";
    int turns;
    world w;
    test_note("%s", name);
    guard();
    memset(&chain, 0, sizeof chain);
    chain.methods = &wsock__chain_class;
    chain.config = &config;
    chain.text = text;
    chain.insecure = 1;
    world_init(&w, "p256");
    w.client.flags = WSOCK_NONBLOCKING;
    w.client.tls_cert = file(name, ".pem");
    w.client.tls_key = file(name, ".key");
    CHECK_RESULT(world_open(&w, "localhost"), WSOCK_OK);
    test_peer_pump(&w.peer); /* TLS begins, and there is no hello yet */
    t = (wsock__bear *)w.peer.ws->io_user;
    br_ssl_engine_set_x509(&t->u.server.eng, &chain.methods);
    br_ssl_server_set_trust_anchor_names(&t->u.server, &nobody, 1);
    for (turns = 0; turns < 100 && wsock_state(w.ws) != WSOCK_STATE_OPEN;
         turns++) {
        test_peer_pump(&w.peer);
        wsock_poll(w.ws, &e, 0);
    }
    CHECK_INT(wsock_state(w.ws), WSOCK_STATE_OPEN);
    CHECK_STR(wsock_error_text(w.peer.ws), "no failure");
    CHECK_INT(chain.count, 1);
    CHECK_INT(chain.key.key_type, key_type);
    world_end(&w);
}

TEST(certificates_of_a_client)
{
    client_certificate("client", BR_KEYTYPE_RSA);
    client_certificate("client_ec", BR_KEYTYPE_EC);
}

/* ------------------------------------------------------------- memory -- */

/* With options.memory files are not read: there is no room for them. */
TEST(files_and_a_block)
{
    world w;
    void *block;
    size_t size;
    guard();
    world_init(&w, "p256");
    size = wsock_memory_needed(WSOCK_CLIENT, "wss://localhost/", &w.client);
    w.client.memory = block = malloc(size);
    w.client.memory_size = size;
    CHECK_RESULT(world_open(&w, "localhost"), WSOCK_TLS_ERROR);
    CHECK(strstr(w.text, "cannot be read, or there is no memory for it"));
    world_end(&w);
    free(block);
}

/* Everything lies in options.memory, in both roles. */
TEST(wss_in_a_block)
{
    world w;
    char *ca = text_of(file("ca", ".pem"));
    char *cert = text_of(file("chain", ".pem"));
    char *key = text_of(file("chain", ".key"));
    void *blocks[2];
    size_t size;
    guard();
    world_init(&w, "chain");
    w.system.refuse = 1;
    w.client.tls_ca = ca;
    w.client.tls_record = w.server.tls_record = 2048;
    w.server.tls_cert = cert;
    w.server.tls_key = key;
    w.client.max_message = w.server.max_message = 70000;
    w.client.send_limit = w.server.send_limit = 70000;
    size = wsock_memory_needed(WSOCK_CLIENT, "wss://localhost/", &w.client);
    w.client.memory = blocks[0] = malloc(size);
    w.client.memory_size = size;
    size = wsock_memory_needed(WSOCK_SERVER, NULL, &w.server);
    w.server.memory = blocks[1] = malloc(size);
    w.server.memory_size = size;
    CHECK_RESULT(conversation(&w, "localhost", 40000), WSOCK_OK);
    CHECK_STR(w.text, "no failure");
    world_end(&w);
    CHECK_INT(w.system.allocations, 0);
    free(blocks[0]);
    free(blocks[1]);
    free(ca);
    free(cert);
    free(key);
}

/* Blocks of the size of TLS's state are zero when they are given back. */
static int dirty_blocks, secret_blocks;
static size_t identity_size;

static void watched_free(void *user, void *memory, size_t size)
{
    const uint8_t *p = (const uint8_t *)memory;
    size_t i = 0;
    if (memory && (size == sizeof(wsock__bear) + BR_SSL_BUFSIZE_BIDI
                   || size == sizeof(wsock__chain)
                   || size == identity_size)) {
        while (i < size && !p[i])
            i++;
        secret_blocks++;
        dirty_blocks += i < size;
    }
    test_free(user, memory, size);
}

TEST(secrets_are_wiped)
{
    world w;
    char *cert = text_of(file("rsa", ".pem"));
    identity_size = sizeof(wsock__identity) + wsock__round(strlen(cert));
    world_init(&w, "rsa");
    w.system.system.free = watched_free;
    dirty_blocks = secret_blocks = 0;
    CHECK_RESULT(world_open(&w, "localhost"), WSOCK_OK);
    /* What only the handshake needs has gone: chain and identity. */
    CHECK_INT(secret_blocks, 2);
    world_end(&w);
    CHECK_INT(secret_blocks, 4);
    CHECK_INT(dirty_blocks, 0);
    CHECK_INT(buffered_seeks, 0); /* a buffer of stdio's is not wiped */
    free(cert);
}

/* ----------------------------------------------------------------- roots -- */

/* All of the system's bundle, or store, can be used. */
TEST(the_systems_roots)
{
    const wsock__roots *roots = &wsock__trust_of_process()->roots;
    size_t at = 0, usable = 0, authorities = 0, count = 0, blocks = 0;
    FILE *f = fopen("/etc/ssl/certs/ca-certificates.crt", "r");
    char line[200];
    if (!f) {
        test_skip("no bundle of Debian's");
        return;
    }
    while (fgets(line, sizeof line, f))
        blocks += strncmp(line, "-----BEGIN CERTIFICATE", 22) == 0;
    fclose(f);
    while (at < roots->size) {
        wsock__cert c;
        br_x509_pkey key;
        CHECK(wsock__cert_parse(&c, roots->der + at, roots->size - at));
        usable += (size_t)wsock__cert_key(&c, &key);
        authorities += (size_t)wsock__cert_is_ca(&c);
        at += (size_t)(c.whole.end - c.whole.at);
        count++;
    }
    CHECK_INT(count, roots->count);
    CHECK_INT(usable, count);
#if defined(_WIN32) /* wine's store has more than this bundle */
    CHECK(count >= blocks && authorities >= blocks);
#else
    CHECK_INT(count, blocks);
    CHECK_INT(authorities, blocks);
#endif
}

#if !defined(_WIN32)
/* How many roots there are, with this file for SSL_CERT_FILE. */
static size_t roots_with(const char *name)
{
    wsock__trust before = wsock__process_trust;
    size_t count;
    memset(&wsock__process_trust, 0, sizeof before);
    setenv("SSL_CERT_FILE", name, 1);
    wsock__trust_read();
    unsetenv("SSL_CERT_FILE");
    count = wsock__process_trust.roots.count;
    free(wsock__process_trust.roots.der);
    wsock__process_trust = before;
    return count;
}

/* SSL_CERT_FILE instead of the system's, but not in a program with more
 * rights than whoever has set it. */
TEST(roots_by_the_environment)
{
    size_t systems = roots_with("");
    CHECK_INT(roots_with(file("cas", ".pem")), 6);
    CHECK_INT(roots_with(file("empty", ".pem")), 0);
    CHECK_INT(roots_with("nowhere.pem"), 0);
    CHECK(systems != 6);
#if defined(__linux__)
    privileged = 1;
    CHECK_INT(roots_with(file("cas", ".pem")), systems);
    privileged = 0;
#endif
    failures = 1;
    failing = "malloc";
    CHECK_INT(roots_with(file("cas", ".pem")), 0);
    failures = 1;
    failing = "fread";
    CHECK_INT(roots_with(file("cas", ".pem")), 0);
    failures = 1;
    failing = "realloc"; /* more memory than is needed */
    CHECK_INT(roots_with(file("cas", ".pem")), 6);
    failures = 100;
    failing = "fopen";
    CHECK_INT(roots_with(""), 0);
    failing = NULL;
}

#endif

/* The roots of the process, which are these. */
static void check_roots(const char *name, int result, const char *line)
{
    wsock__trust before;
    size_t size;
    world w;
    guard();
    test_note("%s", name ? name : "none");
    wsock__trust_of_process();
    before = wsock__process_trust;
    memset(&wsock__process_trust, 0, sizeof before);
    if (name)
        wsock__roots_file(&wsock__process_trust.roots, name);
    world_init(&w, "p256");
    w.client.tls_ca = NULL;
    size = wsock_memory_needed(WSOCK_CLIENT, "wss://localhost/", &w.client);
    w.client.memory = malloc(size);
    w.client.memory_size = size;
    CHECK_RESULT(world_open(&w, "localhost"), result);
    CHECK_STR(w.text, line);
    world_end(&w);
    free((void *)(uintptr_t)w.client.memory);
    free(wsock__process_trust.roots.der);
    wsock__process_trust = before;
}

TEST(roots_of_the_process)
{
    check_roots(file("ca", ".pem"), WSOCK_OK, "no failure");
    check_roots(file("ca_ec", ".pem"), WSOCK_TLS_ERROR, "TLS failed: signed "
                "by an unknown authority: CN=Test CA (or a certificate of the "
                "chain is missing)");
    check_roots(NULL, WSOCK_TLS_ERROR, "TLS failed: this system has no list "
                "of authorities: set options.tls_ca or SSL_CERT_FILE");
}

/* A text with blocks that are no certificates, and one that is. */
TEST(odd_blocks_among_authorities)
{
    char *ca = text_of(file("ca", ".pem")), text[160];
    bytes b = { 0 };
    bytes_text(&b, "-----BEGIN CERTIFICATE-----\n!\n"
                   "-----END CERTIFICATE-----\n");
    pem_put(&b, "CERTIFICATE", "garbage", 7);
    pem_put(&b, "PUBLIC KEY", "garbage", 7);
    CHECK_RESULT(opens_with("p256", bytes_str(&b), 0, NULL, text),
                 WSOCK_TLS_ERROR);
    bytes_text(&b, ca);
    CHECK_RESULT(opens_with("p256", bytes_str(&b), 0, NULL, text), WSOCK_OK);
    bytes_free(&b);
    free(ca);
}

/* For a time these files are all that the system says. */
static wsock__trust system_trust;

static void trust_files(const char *roots, const char *barred)
{
    wsock__trust *t = &wsock__process_trust;
    wsock__trust_of_process();
    system_trust = *t;
    memset(t, 0, sizeof *t);
    CHECK(wsock__roots_file(&t->roots, file(roots, ".pem")));
    CHECK(wsock__roots_file(&t->barred, file(barred, ".pem")));
}

static void trust_system(void)
{
    free(wsock__process_trust.roots.der);
    free(wsock__process_trust.barred.der);
    wsock__process_trust = system_trust;
}

TEST(what_the_system_disallows)
{
    static const struct {
        const char *barred, *name, *line;
    } cases[] = {
        { "rsa", "p256", NULL },
        { "rsa", "rsa", "the certificate is among those that this system "
                        "disallows" },
        { "middle", "chain", "the certificate of CN=Middle is among those "
                             "that this system disallows" },
        { "ca", "chain_with_root", "the certificate of CN=Test CA is among "
                                   "those that this system disallows" }
    };
    char text[160];
    size_t i;
    for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int r;
        test_note("%s without %s", cases[i].name, cases[i].barred);
        trust_files("ca", cases[i].barred);
        r = opens_with(cases[i].name, NULL, 0, NULL, text);
        CHECK_RESULT(r, cases[i].line ? WSOCK_TLS_ERROR : WSOCK_OK);
        if (cases[i].line && CHECK(strlen(text) > 12))
            CHECK_STR(text + 12, cases[i].line);
        /* Authorities of the program's own are nobody else's matter. */
        CHECK_RESULT(opens_with(cases[i].name, file("ca", ".pem"), 0, NULL,
                                text), WSOCK_OK);
        trust_system();
    }
}

#if defined(_WIN32)
/* Put a certificate into a store of the user's, or take it out of there;
 * with `uses`, what it is to be used for is written beside it. */
static void store_change(const char *store, const char *name, int put,
                         const char *uses, size_t size)
{
    HCERTSTORE s = CertOpenSystemStoreA(0, store);
    char *pem = text_of(file(name, ".pem"));
    uint8_t der[4096];
    CRYPT_DATA_BLOB blob;
    PCCERT_CONTEXT c = NULL;
    wsock__pem p;
    size_t n;
    wsock__pem_next(pem, pem + strlen(pem), &p);
    n = wsock__pem_decode(&p, der, sizeof der);
    free(pem);
    if (CHECK(CertAddEncodedCertificateToStore(
            s, X509_ASN_ENCODING, der, (DWORD)n,
            CERT_STORE_ADD_REPLACE_EXISTING, &c))) {
        blob.pbData = (BYTE *)(uintptr_t)uses;
        blob.cbData = (DWORD)size;
        if (uses)
            CHECK(CertSetCertificateContextProperty(
                c, CERT_ENHKEY_USAGE_PROP_ID, 0, &blob));
        if (put)
            CertFreeCertificateContext(c);
        else
            CHECK(CertDeleteCertificateFromStore(c));
    }
    CHECK(CertControlStore(s, 0, CERT_STORE_CTRL_COMMIT, NULL));
    CertCloseStore(s, 0);
}

/* A new process' view of the stores: the line of a connection in it. */
static const char *opens_by_store(const char *name)
{
    static char text[160];
    memset(&wsock__process_trust, 0, sizeof wsock__process_trust);
    wsock__trust_system(&wsock__process_trust);
    opens_with(name, NULL, 0, NULL, text);
    trust_system();
    return text;
}

TEST(the_stores_of_windows)
{
    static const struct {
        const char *uses;
        size_t size;
        int serves;
    } uses[] = {
        { "\x30\x0A\x06\x08\x2B\x06\x01\x05\x05\x07\x03\x04", 12, 0 },
        { "\x30\x00", 2, 0 },
        { "\x30\x0A\x06\x08\x2B\x06\x01\x05\x05\x07\x03\x01", 12, 1 },
        { "\x30\x06\x06\x04\x55\x1D\x25\x00", 8, 1 }
    };
    static const char unknown[] = "TLS failed: signed by an unknown authority: "
                                  "CN=Test CA (or a certificate of the chain "
                                  "is missing)";
    size_t i;
    wsock__trust_of_process();
    system_trust = wsock__process_trust;
    CHECK_STR(opens_by_store("rsa"), unknown);
    store_change("ROOT", "ca", 1, NULL, 0);
    CHECK_STR(opens_by_store("rsa"), "no failure");
    store_change("Disallowed", "rsa", 1, NULL, 0);
    CHECK_STR(opens_by_store("rsa"), "TLS failed: the certificate is among "
                                     "those that this system disallows");
    CHECK_STR(opens_by_store("p256"), "no failure");
    store_change("Disallowed", "rsa", 0, NULL, 0);
    store_change("Disallowed", "ca", 1, NULL, 0);
    CHECK_STR(opens_by_store("rsa"), unknown);
    store_change("Disallowed", "ca", 0, NULL, 0);
    store_change("ROOT", "ca", 0, NULL, 0);
    for (i = 0; i < sizeof uses / sizeof uses[0]; i++) {
        test_note("use %lu", (unsigned long)i);
        store_change("ROOT", "ca", 1, uses[i].uses, uses[i].size);
        CHECK_STR(opens_by_store("rsa"),
                  uses[i].serves ? "no failure" : unknown);
        store_change("ROOT", "ca", 0, NULL, 0);
    }
    CHECK_STR(opens_by_store("rsa"), unknown);
}
#endif

TEST(dates)
{
    CHECK_INT(wsock__time_number(0), 19700101000000);
    CHECK_INT(wsock__time_number(951782399), 20000228235959);
    CHECK_INT(wsock__time_number(951782400), 20000229000000);
    CHECK_INT(wsock__time_number(1709251199), 20240229235959);
    CHECK_INT(wsock__time_number(1709251200), 20240301000000);
    CHECK_INT(wsock__time_number(4102444799), 20991231235959);
    CHECK_INT(wsock__time_number(4107542400), 21000301000000);
}

TEST(pem)
{
    static const char *const broken[] = {
        "", "-----BEGIN A", "-----BEGIN A----", "-----BEGIN A-----QQ==",
        "-----BEGIN A-----QQ==\n-----END"
    };
    static const struct {
        const char *body;
        size_t size;
        const char *want; /* NULL: malformed */
    } bodies[] = {
        { "QUJD", 4, "ABC" }, { " Q\tU\r\nJ D =", 12, "ABC" },
        { "QUI=", 4, "AB" }, { "QQ==QQ==", 8, "A" }, { "Q!JD", 4, NULL },
        { "QU\0D", 4, NULL }, { "Q-JD", 4, NULL },
        { "QUJDQUJD", 8, NULL } /* more than there is room for */
    };
    uint8_t out[5];
    wsock__pem p;
    size_t i, n;
    for (i = 0; i < sizeof broken / sizeof broken[0]; i++)
        CHECK(!wsock__pem_next(broken[i], broken[i] + strlen(broken[i]),
                               &p));
    for (i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        test_note("%s", bodies[i].body);
        p.body = bodies[i].body;
        p.body_size = bodies[i].size;
        n = wsock__pem_decode(&p, out, sizeof out);
        CHECK_BYTES(out, n, bodies[i].want,
                    bodies[i].want ? strlen(bodies[i].want) : 0);
    }
}

/* X.690 8.1.3: lengths that are malformed, or reach beyond the end. */
TEST(der)
{
    static const struct {
        const char *bytes;
        size_t size;
        unsigned tag;
        size_t want; /* bytes of content */
    } cases[] = {
        { "\x30", 1, 0, 0 }, { "\x30\0", 2, 0x30, 0 },
        { "\x30\1", 2, 0, 0 }, { "\x30\1\0", 3, 0x30, 1 },
        { "\x30\x80\0\0", 4, 0, 0 }, { "\x30\x81\1\0", 4, 0x30, 1 },
        { "\x30\x82\0\1\0", 5, 0x30, 1 }, { "\x30\x82\0", 3, 0, 0 },
        { "\x30\x83\0\0\1\0", 6, 0x30, 1 },
        { "\x30\x84\0\0\0\1\0", 7, 0, 0 }
    };
    size_t i;
    for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        wsock__der d, value;
        test_note("case %lu", (unsigned long)i);
        d.at = test_guard_copy(cases[i].bytes, cases[i].size);
        d.end = d.at + cases[i].size;
        CHECK_INT(wsock__der_next(&d, &value), cases[i].tag);
        CHECK_INT(wsock__der_size(&value), cases[i].want);
    }
}

static uint64_t time_of(const char *der, size_t n)
{
    wsock__der d;
    d.at = (const uint8_t *)der;
    d.end = d.at + n;
    return wsock__cert_time(&d);
}

TEST(times_of_a_certificate)
{
    CHECK_INT(time_of("\x17\x0D" "491231235959Z", 15), 20491231235959);
    CHECK_INT(time_of("\x17\x0D" "500101000000Z", 15), 19500101000000);
    CHECK_INT(time_of("\x18\x0F" "20500101000000Z", 17), 20500101000000);
    CHECK_INT(time_of("\x18\x0E" "20500101000000", 16), 20500101000000);
    CHECK_INT(time_of("\x18\x0F" "20500101+00000Z", 17), 20500101);
    CHECK_INT(time_of("\x17\0", 2), 0);
}

static int key_of(bytes *spki)
{
    br_x509_pkey key;
    wsock__cert c;
    int r;
    memset(&c, 0, sizeof c);
    c.key.at = spki->data;
    c.key.end = spki->data + spki->size;
    r = wsock__cert_key(&c, &key);
    bytes_free(spki);
    return r;
}

TEST(public_keys)
{
    bytes b = { 0 };
    spki_rsa(&b, "\0\0\5", 3, "\3", 1);
    CHECK_INT(key_of(&b), 1);
    spki_rsa(&b, "\0\0", 2, "\3", 1);
    CHECK_INT(key_of(&b), 0);
    spki_rsa(&b, "\5", 1, "", 0);
    CHECK_INT(key_of(&b), 0);
    spki_ec(&b, p256_oid, 8, "\4\1\1", 3);
    CHECK_INT(key_of(&b), 1);
    spki_ec(&b, p256_oid, 7, "\4\1\1", 3);
    CHECK_INT(key_of(&b), 0);
    spki_ec(&b, p256_oid, 8, "", 0);
    CHECK_INT(key_of(&b), 0);
}

/* RFC 6125 6.4.3, and stricter: a star is the whole first label. */
TEST(names_match)
{
    static const struct {
        const char *name;
        size_t size;
        const char *host;
        int want;
    } cases[] = {
        { "a.example", 9, "A.EXAMPLE", 1 }, { "a.example", 9, "b.example", 0 },
        { "a.example", 8, "a.exampl", 1 }, { "a.example", 9, "a.exampl", 0 },
        { "*.b.example", 11, "a.b.example", 1 },
        { "*.b.example", 11, "b.example", 0 },
        { "*.b.example", 11, ".b.example", 0 },
        { "*.b.example", 11, "a.a.b.example", 0 },
        { "*.example", 9, "a.example", 0 }, { "*.", 2, "a.", 0 },
        { "*a.b.example", 12, "aa.b.example", 0 },
        { "a*.b.example", 12, "aa.b.example", 0 },
        { "", 0, "", 0 }, { "", 0, "a", 0 }, { "a\0b", 3, "a b", 0 }
    };
    size_t i;
    for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        wsock__der name;
        test_note("%s for %s", cases[i].name, cases[i].host);
        name.at = test_guard_copy(cases[i].name, cases[i].size);
        name.end = name.at + cases[i].size;
        CHECK_INT(wsock__name_matches(&name, cases[i].host), cases[i].want);
    }
}

/* What BearSSL would hand over of `count` certificates, each of them
 * `repeat` times this.  The verdict. */
static unsigned chain_of(int insecure, int count, const void *data, size_t n,
                         int repeat, char text[160])
{
    static wsock__chain c;
    static wsock__config config;
    const br_x509_class **m = &c.methods;
    int i, k;
    memset(&c, 0, sizeof c);
    c.methods = &wsock__chain_class;
    c.config = &config;
    c.host = "localhost";
    c.text = text;
    c.insecure = insecure;
    text[0] = 0;
    c.methods->start_chain(m, NULL);
    for (i = 0; i < count; i++) {
        c.methods->start_cert(m, (uint32_t)n * (uint32_t)repeat);
        for (k = 0; k < repeat; k++)
            c.methods->append(m, (const unsigned char *)data, n);
        c.methods->end_cert(m);
    }
    return c.methods->end_chain(m);
}

TEST(chains_that_are_none)
{
    char text[160], *pem = text_of(file("ed25519", ".pem"));
    uint8_t der[2000];
    wsock__pem p;
    size_t n;
    wsock__pem_next(pem, pem + strlen(pem), &p);
    n = wsock__pem_decode(&p, der, sizeof der);
    CHECK_INT(chain_of(0, 0, "", 0, 0, text), BR_ERR_X509_EMPTY_CHAIN);
    CHECK_STR(text, "the server has sent no certificate");
    CHECK_INT(chain_of(0, 12, der, n, 1, text), BR_ERR_X509_LIMIT_EXCEEDED);
    CHECK_STR(text, "the certificate chain is above 10 certificates or 32 "
                    "KiB");
    CHECK_INT(chain_of(0, 2, der, n, 300, text), BR_ERR_X509_LIMIT_EXCEEDED);
    CHECK_INT(chain_of(0, 3, "garbage", 7, 1, text),
              BR_ERR_X509_INVALID_VALUE);
    CHECK_STR(text, "the server has sent a malformed certificate");
    CHECK_INT(chain_of(1, 1, der, n, 1, text), BR_ERR_X509_WRONG_KEY_TYPE);
    CHECK_STR(text, "the server's key is neither RSA nor EC");
    free(pem);
}

/* A certificate that is cut anywhere, or has any byte changed, is judged
 * without a read beyond its end. */
TEST(malformed_certificates)
{
    char *pem = text_of(file("chain", ".pem"));
    uint8_t der[4096];
    wsock__pem p;
    wsock__cert c;
    br_x509_pkey key;
    size_t n, i;
    char text[90];
    wsock__pem_next(pem, pem + strlen(pem), &p);
    n = wsock__pem_decode(&p, der, sizeof der);
    CHECK(n > 300);
    for (i = 0; i < n; i++) {
        uint8_t *copy = test_guard_copy(der, i);
        CHECK_INT(wsock__cert_parse(&c, copy, i), 0);
    }
    for (i = 0; i < n; i++) {
        uint8_t *copy = test_guard_copy(der, n);
        wsock__der list;
        copy[i] ^= 0xFF;
        if (!wsock__cert_parse(&c, copy, n))
            continue;
        wsock__cert_key(&c, &key);
        wsock__cert_is_ca(&c);
        wsock__cert_extension(&c, WSOCK__CERT_NAMES, &list);
        wsock__name_text(text, sizeof text, c.issuer);
        CHECK(strlen(text) < sizeof text);
    }
    free(pem);
}

/* -------------------------------------------------------- over sockets -- */

#if !defined(WSOCK_NO_THREADS)
static wsock_server *loop_server;

static void *serve(void *user)
{
    wsock_event e;
    while (wsock_server_poll(loop_server, &e, WSOCK_NEVER) >= 0) {
        if (e.type == WSOCK_EVENT_MESSAGE)
            wsock_send(e.ws, e.kind, e.data, e.size);
        if (e.type == WSOCK_EVENT_CLOSE)
            wsock_server_close(loop_server);
    }
    return user;
}

static void *dial(void *user)
{
    wsock_dial((wsock *)user);
    return user;
}

/* A server that takes the hello and says nothing: another thread ends the
 * wait. */
TEST(a_handshake_is_cancelled)
{
    wsock_options o;
    pthread_t thread;
    bytes hello = { 0 };
    char url[64];
    wsock *ws;
    int fd = raw_listen("127.0.0.1", 0, 1), other;
    guard();
    memset(&o, 0, sizeof o);
    o.handshake_timeout = WSOCK_NEVER;
    o.tls_ca = file("ca", ".pem");
    snprintf(url, sizeof url, "wss://127.0.0.1:%d/", net_port(fd));
    ws = wsock_new(WSOCK_CLIENT, url, &o);
    pthread_create(&thread, NULL, dial, ws);
    other = accept(fd, NULL, NULL);
    raw_wait(other);
    CHECK_INT(raw_read(other, &hello), 0);
    if (!CHECK(hello.size > 0))
        return;
    CHECK_INT(hello.data[0], 22); /* a record of the handshake */
    CHECK_RESULT(wsock_cancel(ws), WSOCK_OK);
    pthread_join(thread, NULL);
    CHECK_RESULT(wsock_error(ws), WSOCK_CANCELLED);
    CHECK_INT(wsock_why(ws)->phase, WSOCK_PHASE_TLS);
    wsock_free(ws);
    bytes_free(&hello);
    close(other);
    close(fd);
}

/* A transport on which a thread can be parked until it is woken. */
static int parked[2], wakes[2], parking;

static int park_wait(void *user, int wants, int timeout)
{
    char c;
    if (!parking)
        return test_end_wait(user, wants, timeout);
    return write(parked[1], "", 1) == 1 && read(wakes[0], &c, 1) == 1 ? 0 : -1;
}

static void park_wake(void *user)
{
    (void)user;
    CHECK_INT(write(wakes[1], "", 1), 1);
}

static void *receive(void *user)
{
    world *w = (world *)user;
    wsock_status got;
    char text[8];
    w->why.code = wsock_receive(w->ws, text, sizeof text, &got);
    return NULL;
}

/* A thread closes while another waits for something to receive: TLS passes on
 * what wakes that one. */
TEST(a_wait_is_ended_by_close)
{
    pthread_t thread;
    char c;
    world w;
    guard();
    if (pipe(parked) != 0 || pipe(wakes) != 0)
        test_die("no pipe");
    world_init(&w, "p256");
    w.link.io[0].wait = park_wait;
    w.link.io[0].wake = park_wake;
    CHECK_RESULT(world_open(&w, "localhost"), WSOCK_OK);
    parking = 1;
    pthread_create(&thread, NULL, receive, &w);
    CHECK_INT(read(parked[0], &c, 1), 1);
    parking = 0;
    CHECK_RESULT(wsock_close(w.ws, 1000, "bye"), WSOCK_OK);
    pthread_join(thread, NULL);
    CHECK_RESULT(w.why.code, WSOCK_CANCELLED);
    world_end(&w);
    for (c = 0; c < 2; c++) {
        close(parked[(int)c]);
        close(wakes[(int)c]);
    }
}

typedef struct sender {
    wsock *ws;
    int count;
    uint8_t *data;
    int failed;
} sender;

static void *send_all(void *user)
{
    sender *s = (sender *)user;
    int i;
    for (i = 0; i < s->count; i++)
        s->failed |= wsock_send(s->ws, WSOCK_BINARY, s->data, 50000);
    return user;
}

/* One thread sends and one receives, more than all buffers hold, from a
 * server that takes nothing while its own queue is full. */
TEST(two_threads)
{
    wsock_options o;
    pthread_t server, sending;
    sender s;
    wsock_status got;
    char url[64];
    static uint8_t text[50000];
    int i;
    guard();
    memset(&o, 0, sizeof o);
    o.tls_cert = file("rsa", ".pem");
    o.tls_key = file("rsa", ".key");
    o.tls_ca = file("ca", ".pem");
    loop_server = wsock_listen("wss://127.0.0.1:0/", &o);
    CHECK_RESULT(wsock_server_error(loop_server), WSOCK_OK);
    snprintf(url, sizeof url, "wss://localhost:%d/",
             wsock_server_port(loop_server));
    pthread_create(&server, NULL, serve, NULL);
    o.tls_cert = o.tls_key = NULL;
    s.ws = wsock_connect(url, &o);
    CHECK_STR(wsock_error_text(s.ws), "no failure");
    s.count = net_small(400, 40);
    s.failed = 0;
    s.data = test_pattern(50000);
    pthread_create(&sending, NULL, send_all, &s);
    for (i = 0; i < s.count; i++) {
        size_t sum = 0;
        do {
            got.kind = 0;
            got.bytes = 0;
            if (!CHECK_RESULT(wsock_receive(s.ws, text + sum,
                                            sizeof text - sum, &got),
                              WSOCK_OK))
                break;
            sum += got.bytes;
        } while ((got.kind & WSOCK_FRAGMENT) && sum < sizeof text);
        CHECK_BYTES(text, sum, s.data, 50000);
        if (test_state.in_this_test > 3)
            break;
    }
    pthread_join(sending, NULL);
    CHECK_RESULT(s.failed, WSOCK_OK);
    CHECK_RESULT(wsock_close(s.ws, 1000, "bye"), WSOCK_OK);
    pthread_join(server, NULL);
    wsock_free(s.ws);
    wsock_server_free(loop_server);
    free(s.data);
}

#endif

/* The session that a connection over sockets ends up with; `resumed` tells
 * whether a certificate was looked at. */
static int resumes(wsock_server *server, wsock_options *o, const char *host)
{
    char url[64];
    wsock *ws;
    wsock_event e;
    const wsock__bear *t;
    int turns, opened = 0, seen = 0;
    snprintf(url, sizeof url, "wss://%s:%d/", host, wsock_server_port(server));
    ws = wsock_connect(url, o);
    for (turns = 0; turns < 100000 && !opened; turns++) {
        while (wsock_server_poll(server, &e, 0) > 0)
            continue;
        t = ws->phase == WSOCK__PHASE_SECURING
                ? (const wsock__bear *)ws->io_user : NULL;
        if (t && t->chain)
            seen |= t->chain->count;
        opened = wsock_poll(ws, &e, 0) > 0;
    }
    CHECK_INT(e.type, WSOCK_EVENT_OPEN);
    wsock_free(ws);
    return !seen;
}

TEST(sessions_are_resumed)
{
    static const char *pins[2];
    wsock_tls_session session, empty;
    wsock_options o;
    wsock_server *server;
    char *pin = text_of(file("rsa", ".pin"));
    guard();
    memset(&session, 0, sizeof session);
    memset(&empty, 0, sizeof empty);
    memset(&o, 0, sizeof o);
    o.tls_cert = file("rsa", ".pem");
    o.tls_key = file("rsa", ".key");
    server = wsock_listen("wss://127.0.0.1:0/", &o);
    memset(&o, 0, sizeof o);
    o.tls_ca = file("ca", ".pem");
    o.flags = WSOCK_NONBLOCKING;
    o.connect_timeout = o.handshake_timeout = WSOCK_NEVER;
    CHECK_INT(resumes(server, &o, "127.0.0.1"), 0);
    CHECK_INT(resumes(server, &o, "127.0.0.1"), 0); /* kept nowhere */
    o.tls_session = &session;
    CHECK_INT(resumes(server, &o, "127.0.0.1"), 0);
    CHECK(memcmp(&session, &empty, sizeof empty) != 0);
    CHECK_INT(resumes(server, &o, "127.0.0.1"), 1);
    CHECK_INT(resumes(server, &o, "127.0.0.1"), 1);
    /* Another host, or another check: from the start. */
    CHECK_INT(resumes(server, &o, "localhost"), 0);
    CHECK_INT(resumes(server, &o, "localhost"), 1);
    pins[0] = pin;
    o.tls_pins = pins;
    CHECK_INT(resumes(server, &o, "localhost"), 0);
    CHECK_INT(resumes(server, &o, "localhost"), 1);
    o.flags |= WSOCK_UNSAFE_TLS_ACCEPT_ANYONE;
    CHECK_INT(resumes(server, &o, "localhost"), 0);
    o.flags &= ~(unsigned)WSOCK_UNSAFE_TLS_ACCEPT_ANYONE;
    CHECK_INT(resumes(server, &o, "localhost"), 0);
    o.tls_ca = file("cas", ".pem");
    CHECK_INT(resumes(server, &o, "localhost"), 0);
    CHECK_INT(resumes(server, &o, "localhost"), 1);
    wsock_server_free(server);
    free(pin);
}

/* Neither side goes on with a session that is a day old, however often it was
 * resumed meanwhile. */
TEST(sessions_have_an_end)
{
    enum { DAY = 86400000 };
    wsock_tls_session session;
    test_system ours, theirs;
    wsock_options o;
    wsock_server *server;
    guard();
    test_system_init(&ours);
    test_system_init(&theirs);
    memset(&session, 0, sizeof session);
    memset(&o, 0, sizeof o);
    o.system = &theirs.system;
    o.tls_cert = file("p256", ".pem");
    o.tls_key = file("p256", ".key");
    server = wsock_listen("wss://127.0.0.1:0/", &o);
    memset(&o, 0, sizeof o);
    o.system = &ours.system;
    o.tls_ca = file("ca", ".pem");
    o.tls_session = &session;
    o.flags = WSOCK_NONBLOCKING;
    o.connect_timeout = o.handshake_timeout = WSOCK_NEVER;
    CHECK_INT(resumes(server, &o, "127.0.0.1"), 0);
    ours.now += DAY - 1;
    CHECK_INT(resumes(server, &o, "127.0.0.1"), 1);
    ours.now += 1; /* since it was made, not since it was used */
    CHECK_INT(resumes(server, &o, "127.0.0.1"), 0);
    CHECK_INT(resumes(server, &o, "127.0.0.1"), 1);
    ours.now -= 1; /* another machine's clock, perhaps */
    CHECK_INT(resumes(server, &o, "127.0.0.1"), 0);
    CHECK_INT(resumes(server, &o, "127.0.0.1"), 1);
    theirs.now += DAY - 1;
    CHECK_INT(resumes(server, &o, "127.0.0.1"), 1);
    theirs.now += 1;
    CHECK_INT(resumes(server, &o, "127.0.0.1"), 0);
    CHECK_INT(resumes(server, &o, "127.0.0.1"), 1);
    theirs.now += DAY;
    CHECK_INT(resumes(server, &o, "127.0.0.1"), 0);
    theirs.now -= 2 * (int64_t)DAY; /* nobody knows how old they are */
    CHECK_INT(resumes(server, &o, "127.0.0.1"), 0);
    CHECK_INT(resumes(server, &o, "127.0.0.1"), 1);
    wsock_server_free(server);
    CHECK_NO_LEAK(&ours);
    CHECK_NO_LEAK(&theirs);
}

/* A connection that is accepted outlives its server, and takes the account
 * of its memory along. */
static void accepted(int secure)
{
    const char *scheme = secure ? "wss" : "ws";
    test_system system;
    wsock_options o;
    wsock_server *server;
    wsock *client, *ws = NULL;
    wsock_event e;
    wsock_status got;
    char url[64], text[16];
    int turns, opened = 0;
    guard();
    test_system_init(&system);
    memset(&o, 0, sizeof o);
    o.tls_cert = secure ? file("chain", ".pem") : NULL;
    o.tls_key = secure ? file("chain", ".key") : NULL;
    o.system = &system.system;
    server = wsock_listen(secure ? "wss://127.0.0.1:0/" : "ws://127.0.0.1:0/",
                          &o);
    snprintf(url, sizeof url, "%s://127.0.0.1:%d/", scheme,
             wsock_server_port(server));
    o.tls_cert = o.tls_key = NULL;
    o.tls_ca = file("ca", ".pem");
    o.flags = WSOCK_NONBLOCKING;
    client = wsock_connect(url, &o);
    for (turns = 0; turns < 100000 && !(ws && opened); turns++) {
        opened |= wsock_poll(client, &e, 0) > 0
                  && e.type == WSOCK_EVENT_OPEN;
        if (!ws)
            wsock_accept(server, &ws, 0);
    }
    if (!CHECK(ws != NULL && opened))
        return;
    wsock_server_free(server);
    wsock_send(client, WSOCK_TEXT, "hello", 5);
    wsock_flush(client);
    CHECK_RESULT(wsock_receive(ws, text, sizeof text, &got), WSOCK_OK);
    CHECK_BYTES(text, got.bytes, "hello", 5);
    wsock_close(client, 1000, "bye");
    wsock_flush(client);
    CHECK_RESULT(wsock_receive(ws, text, sizeof text, &got), WSOCK_OK);
    CHECK_INT(got.kind, WSOCK_CLOSE);
    wsock_free(ws);
    wsock_free(client);
    CHECK_NO_LEAK(&system);
}

TEST(accepted_connections)
{
    accepted(1);
    accepted(0);
}

/* A socket as a transport of the program's own. */
static ptrdiff_t own_read(void *user, void *data, size_t size)
{
    ptrdiff_t n = recv((int)(intptr_t)user, data, size, 0);
    return n < 0 ? (ptrdiff_t)WSOCK_WANT_READ : n;
}

static ptrdiff_t own_write(void *user, const wsock_buf *bufs, size_t count)
{
    ptrdiff_t n = send((int)(intptr_t)user, bufs->data, bufs->size, 0);
    (void)count;
    return n < 0 ? (ptrdiff_t)WSOCK_WANT_WRITE : n;
}

static intptr_t own_fd(void *user)
{
    return (intptr_t)user;
}

static void own_close(void *user)
{
    close((int)(intptr_t)user);
}

static wsock *own_client(int port, wsock_options *o)
{
    wsock *ws = wsock_new(WSOCK_CLIENT, "wss://127.0.0.1/", o);
    int fd = raw_connect(port, 0), on = 1;
    wsock_io io;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, (const char *)&on, sizeof on);
    memset(&io, 0, sizeof io);
    io.read = own_read;
    io.write = own_write;
    io.fd = own_fd;
    io.close = own_close;
    io.user = (void *)(intptr_t)fd;
    if (wsock_attach(ws, &io) == WSOCK_OK)
        return ws;
    close(fd);
    wsock_free(ws);
    return NULL;
}

/* A client in a server's loop: over a socket or a transport of its own, from
 * the start or when it is open.  1: the echo of what it has sent has come; all
 * is given back whichever of the two ends first. */
static int added(int own, int late, int server_first, long fail_at)
{
    test_system system;
    wsock_options o;
    wsock_server *server;
    wsock *client;
    wsock_event e;
    char url[64];
    int turns, echoed = 0, ended = 0;
    guard();
    test_system_init(&system);
    memset(&o, 0, sizeof o);
    o.system = &system.system;
    o.tls_cert = file("rsa", ".pem");
    o.tls_key = file("rsa", ".key");
    server = wsock_listen("wss://127.0.0.1:0/", &o);
    snprintf(url, sizeof url, "wss://127.0.0.1:%d/",
             wsock_server_port(server));
    if (fail_at)
        system.fail_at = system.allocations + fail_at;
    o.tls_cert = o.tls_key = NULL;
    o.tls_ca = file("ca", ".pem");
    o.flags = WSOCK_NONBLOCKING;
    client = own ? own_client(wsock_server_port(server), &o)
                 : wsock_connect(url, &o);
    for (turns = 0; turns < 20000 && late && !ended; turns++) {
        while (wsock_server_poll(server, &e, 0) > 0)
            continue;
        if (wsock_poll(client, &e, 0) == 0)
            continue;
        ended = wsock_state(client) != WSOCK_STATE_OPEN;
        break;
    }
    if (!ended)
        ended = wsock_server_add(server, client) != WSOCK_OK;
    if (late && !ended)
        wsock_send(client, WSOCK_TEXT, "hello", 5);
    for (turns = 0; turns < 20000 && !echoed && !ended; turns++) {
        if (wsock_server_poll(server, &e, 0) <= 0)
            continue;
        if (e.type == WSOCK_EVENT_OPEN && e.ws == client)
            wsock_send(client, WSOCK_TEXT, "hello", 5);
        if (e.type == WSOCK_EVENT_MESSAGE && e.ws != client)
            wsock_send(e.ws, e.kind, e.data, e.size);
        echoed = e.type == WSOCK_EVENT_MESSAGE && e.ws == client;
        ended = e.type == WSOCK_EVENT_CLOSE && e.ws == client;
    }
    if (server_first)
        wsock_server_free(server);
    wsock_free(client);
    if (!server_first)
        wsock_server_free(server);
    CHECK_NO_LEAK(&system);
    return fail_at && system.allocations < system.fail_at ? -1 : echoed;
}

TEST(added_connections)
{
    int i;
    for (i = 0; i < 8; i++) {
        test_note("%s, %s, %s first", i & 1 ? "own" : "socket",
                  i & 2 ? "open" : "from the start",
                  i & 4 ? "server" : "client");
        CHECK_INT(added(i & 1, i & 2, i & 4, 0), 1);
    }
}

/* Of the client, or of the server's side of it. */
TEST(every_allocation_of_an_added_connection_fails)
{
    int i;
    for (i = 0; i < 4; i++) {
        long n = 0;
        do {
            n += (long)test_step(3);
            test_note("allocation %ld, way %d", n, i);
        } while (n < 100 && added(i & 1, i & 2, 0, n) >= 0);
        CHECK(n > 11);
        CHECK(n < 100);
    }
}

/* The peer of a request has hung up: answering it is too late, whether polls
 * have come between or not, as it is over TCP. */
static void late_answer(int secure, int polled)
{
    struct linger reset = { 1, 0 };
    wsock_options o;
    wsock_server *server;
    wsock *client, *asks = NULL;
    wsock_event e;
    char url[64];
    int turns;
    test_note("secure %d, polled %d", secure, polled);
    guard();
    memset(&o, 0, sizeof o);
    o.flags = WSOCK_REQUESTS;
    o.tls_cert = secure ? file("p256", ".pem") : NULL;
    o.tls_key = secure ? file("p256", ".key") : NULL;
    server = wsock_listen(secure ? "wss://127.0.0.1:0/" : "ws://127.0.0.1:0/",
                          &o);
    snprintf(url, sizeof url, "%s://127.0.0.1:%d/", secure ? "wss" : "ws",
             wsock_server_port(server));
    memset(&o, 0, sizeof o);
    o.flags = WSOCK_NONBLOCKING;
    o.tls_ca = file("ca", ".pem");
    client = wsock_connect(url, &o);
    for (turns = 0; turns < 1000000 && !asks; turns++) {
        wsock_poll(client, &e, 0);
        if (wsock_server_poll(server, &e, 0) > 0
            && e.type == WSOCK_EVENT_REQUEST)
            asks = e.ws;
    }
    if (!CHECK(asks != NULL))
        return;
    setsockopt((int)wsock__io_fd(client), SOL_SOCKET, SO_LINGER,
               (const char *)&reset, sizeof reset);
    wsock_free(client);
    for (turns = 0; turns < 10 && polled; turns++)
        CHECK_INT(wsock_server_poll(server, &e, 0), 0);
    CHECK_RESULT(wsock_respond(asks, 200, NULL, "x", 1), WSOCK_CLOSED);
    CHECK_INT(wsock_server_poll(server, &e, 0), 0);
    CHECK_INT(wsock_server_count(server), 0);
    wsock_server_free(server);
}

TEST(a_request_of_a_peer_that_has_left)
{
    int i;
    for (i = 0; i < 4; i++)
        late_answer(i & 1, i & 2);
}

static const test_case tests[] = {
    TEST_ENTRY(added_connections),
    TEST_ENTRY(every_allocation_of_an_added_connection_fails),
    TEST_ENTRY(blocking_over_the_memory_pair),
    TEST_ENTRY(without_tls_over_the_memory_pair),
    TEST_ENTRY(small_records),
    TEST_ENTRY(few_calls_of_the_transport),
    TEST_ENTRY(polled_over_the_memory_pair),
    TEST_ENTRY(every_call_of_the_client_fails),
    TEST_ENTRY(every_call_of_the_server_fails),
    TEST_ENTRY(every_allocation_fails),
    TEST_ENTRY(certificates_are_judged),
    TEST_ENTRY(limits_of_authorities),
    TEST_ENTRY(a_malformed_certificate_is_told),
    TEST_ENTRY(certificates_of_a_server),
#if !defined(_WIN32)
    TEST_ENTRY(files_that_cannot_be_read),
    TEST_ENTRY(roots_by_the_environment),
#endif
    TEST_ENTRY(a_refusal_is_told_as_an_alert),
    TEST_ENTRY(pins_and_no_check_at_all),
    TEST_ENTRY(authorities_of_our_own),
    TEST_ENTRY(keys_of_every_form),
    TEST_ENTRY(options_are_checked),
    TEST_ENTRY(no_handshake_without_entropy),
    TEST_ENTRY(close_during_the_handshake),
    TEST_ENTRY(garbage),
    TEST_ENTRY(a_cut_stream_is_told),
    TEST_ENTRY(a_peer_that_ends_tls_in_the_handshake),
    TEST_ENTRY(a_peer_that_ends_tls_while_we_write),
    TEST_ENTRY(a_changed_record_is_noticed),
    TEST_ENTRY(records_above_the_room_of_a_read),
    TEST_ENTRY(a_changed_record_behind_a_message),
    TEST_ENTRY(what_comes_behind_our_end_is_dropped),
    TEST_ENTRY(close_with_unread_data),
    TEST_ENTRY(a_record_above_the_agreed_size),
    TEST_ENTRY(a_pong_between_records),
    TEST_ENTRY(a_flood_of_empty_records),
    TEST_ENTRY(handshake_messages_behind_the_handshake),
    TEST_ENTRY(alerts_are_named),
    TEST_ENTRY(first_bytes_of_another_protocol),
    TEST_ENTRY(hellos_that_are_refused),
    TEST_ENTRY(a_record_of_another_version),
    TEST_ENTRY(a_changed_handshake_is_noticed),
    TEST_ENTRY(odd_transports),
    TEST_ENTRY(callbacks_that_may_be_missing),
    TEST_ENTRY(suites_by_the_cpu),
    TEST_ENTRY(certificates_of_a_client),
    TEST_ENTRY(files_and_a_block),
    TEST_ENTRY(sessions_are_resumed),
    TEST_ENTRY(sessions_have_an_end),
    TEST_ENTRY(wss_in_a_block),
    TEST_ENTRY(secrets_are_wiped),
    TEST_ENTRY(the_systems_roots),
    TEST_ENTRY(roots_of_the_process),
    TEST_ENTRY(odd_blocks_among_authorities),
    TEST_ENTRY(what_the_system_disallows),
#if defined(_WIN32)
    TEST_ENTRY(the_stores_of_windows),
#endif
    TEST_ENTRY(dates),
    TEST_ENTRY(pem),
    TEST_ENTRY(der),
    TEST_ENTRY(times_of_a_certificate),
    TEST_ENTRY(public_keys),
    TEST_ENTRY(names_match),
    TEST_ENTRY(chains_that_are_none),
    TEST_ENTRY(malformed_certificates),
#if !defined(WSOCK_NO_THREADS)
    TEST_ENTRY(two_threads),
    TEST_ENTRY(a_wait_is_ended_by_close),
    TEST_ENTRY(a_handshake_is_cancelled),
#endif
    TEST_ENTRY(accepted_connections),
    TEST_ENTRY(a_request_of_a_peer_that_has_left)
};

TEST_MAIN("tls", tests)
