/* wss:// by BearSSL: wsock against wsock over the memory pair and over
 * sockets.  The certificates come from tests/peers/tls/certificates.py, into
 * the folder that WSOCK_PKI names. */
#define WSOCK_IMPLEMENTATION
#define WSOCK_BEARSSL
#include "../../wsock.h"
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
TEST(every_allocation_fails)
{
    long n;
    int r = WSOCK_NO_MEMORY;
    for (n = 1; n < 500 && r != WSOCK_OK; n++) {
        world w;
        test_note("allocation %ld", n);
        guard();
        world_init(&w, "chain");
        w.system.fail_at = n;
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
    { "unknown_root", "localhost",
      "signed by an unknown authority: CN=Other CA (or a certificate of the "
      "chain is missing)", 62 },
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
    { "limited_middle", "localhost",
      "the certificate of CN=Limited Middle limits the names that it signs "
      "for, which is not understood", 57 },
    { "critical_middle", "localhost",
      "the certificate of CN=Limited Middle limits the names that it signs "
      "for, which is not understood", 57 },
    { "limited_root", "localhost",
      "signed by an unknown authority: CN=Limited CA (or a certificate of the "
      "chain is missing)", 62 },
    { "crossed", "localhost", NULL, 0 },
    { "chain", "localhost", NULL, 0 },
    { "chain_with_root", "localhost", NULL, 0 },
    { "misordered", "localhost", NULL, 0 },
    { "doubled", "localhost", NULL, 0 },
    { "with_others", "localhost", NULL, 0 },
    { "rsa4096", "localhost", NULL, 0 }
};

TEST(certificates_are_judged)
{
    size_t i;
    for (i = 0; i < sizeof verdicts / sizeof verdicts[0]; i++) {
        const verdict *v = &verdicts[i];
        world w;
        int r;
        test_note("%s for %s", v->name, v->host);
        guard();
        world_init(&w, v->name);
        w.client.tls_ca = file("cas", ".pem");
        if (strcmp(v->name, "unknown_root") == 0)
            w.client.tls_ca = file("ca", ".pem");
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

TEST(options_are_checked)
{
    static const char *const bad_pins[] = { "sha256//", NULL };
    wsock_options o;
    wsock *ws;
    wsock_server *s;
    int i;
    for (i = 0; i < 6; i++) {
        test_note("case %d", i);
        memset(&o, 0, sizeof o);
        switch (i) {
        case 0: o.tls_cert = "x"; break;
        case 1: o.tls_key = "x"; break;
        case 2: o.tls_pins = bad_pins; break;
        case 3: o.tls_record = 1000; break;
        case 4: o.tls_record = 16383; break;
        case 5: o.flags = 0x100; break;
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

/* ------------------------------------------------------------- memory -- */

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

/* A connection that is accepted outlives its server, and takes the account
 * of its memory along. */
TEST(accepted_connections)
{
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
    o.tls_cert = file("chain", ".pem");
    o.tls_key = file("chain", ".key");
    o.system = &system.system;
    server = wsock_listen("wss://127.0.0.1:0/", &o);
    snprintf(url, sizeof url, "wss://127.0.0.1:%d/",
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

/* A client in a server's loop: its memory is its own, and all is given back
 * whichever of the two ends first. */
TEST(added_connections)
{
    int server_first;
    for (server_first = 0; server_first < 2; server_first++) {
        test_system system;
        wsock_options o;
        wsock_server *server;
        wsock *client;
        wsock_event e;
        char url[64];
        int turns, echoed = 0;
        guard();
        test_system_init(&system);
        memset(&o, 0, sizeof o);
        o.system = &system.system;
        o.tls_cert = file("rsa", ".pem");
        o.tls_key = file("rsa", ".key");
        o.tls_ca = file("ca", ".pem");
        o.flags = WSOCK_NONBLOCKING;
        server = wsock_listen("wss://127.0.0.1:0/", &o);
        snprintf(url, sizeof url, "wss://127.0.0.1:%d/",
                 wsock_server_port(server));
        client = wsock_connect(url, &o);
        CHECK_RESULT(wsock_server_add(server, client), WSOCK_OK);
        for (turns = 0; turns < 100000 && !echoed; turns++) {
            if (wsock_server_poll(server, &e, 0) <= 0)
                continue;
            if (e.type == WSOCK_EVENT_OPEN && e.ws == client)
                wsock_send(client, WSOCK_TEXT, "hello", 5);
            if (e.type == WSOCK_EVENT_MESSAGE && e.ws != client)
                wsock_send(e.ws, e.kind, e.data, e.size);
            echoed = e.type == WSOCK_EVENT_MESSAGE && e.ws == client;
        }
        CHECK(echoed);
        if (server_first)
            wsock_server_free(server);
        wsock_free(client);
        if (!server_first)
            wsock_server_free(server);
        CHECK_NO_LEAK(&system);
    }
}

static const test_case tests[] = {
    TEST_ENTRY(added_connections),
    TEST_ENTRY(blocking_over_the_memory_pair),
    TEST_ENTRY(small_records),
    TEST_ENTRY(few_calls_of_the_transport),
    TEST_ENTRY(polled_over_the_memory_pair),
    TEST_ENTRY(every_call_of_the_client_fails),
    TEST_ENTRY(every_call_of_the_server_fails),
    TEST_ENTRY(every_allocation_fails),
    TEST_ENTRY(certificates_are_judged),
    TEST_ENTRY(a_refusal_is_told_as_an_alert),
    TEST_ENTRY(pins_and_no_check_at_all),
    TEST_ENTRY(authorities_of_our_own),
    TEST_ENTRY(keys_of_every_form),
    TEST_ENTRY(options_are_checked),
    TEST_ENTRY(no_handshake_without_entropy),
    TEST_ENTRY(close_during_the_handshake),
    TEST_ENTRY(garbage),
    TEST_ENTRY(a_cut_stream_is_told),
    TEST_ENTRY(a_changed_record_is_noticed),
    TEST_ENTRY(close_with_unread_data),
    TEST_ENTRY(a_record_above_the_agreed_size),
    TEST_ENTRY(a_pong_between_records),
    TEST_ENTRY(a_flood_of_empty_records),
    TEST_ENTRY(handshake_messages_behind_the_handshake),
    TEST_ENTRY(sessions_are_resumed),
    TEST_ENTRY(wss_in_a_block),
    TEST_ENTRY(secrets_are_wiped),
    TEST_ENTRY(the_systems_roots),
    TEST_ENTRY(what_the_system_disallows),
#if defined(_WIN32)
    TEST_ENTRY(the_stores_of_windows),
#endif
    TEST_ENTRY(dates),
    TEST_ENTRY(malformed_certificates),
#if !defined(WSOCK_NO_THREADS)
    TEST_ENTRY(two_threads),
    TEST_ENTRY(a_handshake_is_cancelled),
#endif
    TEST_ENTRY(accepted_connections)
};

TEST_MAIN("tls", tests)
