/* fuzz_certificate.c - PEM, certificates, chains and keys from anywhere.
 *
 * The first byte says what the rest is: 0 a text with blocks of PEM; 1 a
 * certificate; 2 a chain (certificates behind a length of two bytes each) of
 * a server, and the bits from 8 on say how it is judged; 3 a certificate and
 * its key, two texts of PEM with a NUL between them.  What is decoded is
 * compared with a plain decoder of base64 and with BearSSL's own of
 * certificates; nothing is read beyond its end; and what is refused is told
 * with a reason. */
#define WSOCK_IMPLEMENTATION
#define WSOCK_BEARSSL
#include "../../wsock.h"

#include "fuzz.h"

/* ------------------------------------------------------------------- PEM */

/* RFC 4648 4, to the first '='.  The size; 0 for anything else. */
static size_t plain_base64(uint8_t *out, const char *text, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                 "abcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t four = 0;
    size_t i, size = 0, count = 0;
    for (i = 0; i < n && text[i] != '='; i++) {
        size_t digit = 0;
        if (strchr(" \t\r\n", text[i]) && text[i]) continue;
        while (digit < 64 && digits[digit] != text[i]) digit++;
        if (digit == 64) return 0;
        four = four << 6 | (uint32_t)digit;
        if (count++ % 4) /* 6 bits, then 4, 2 and none are left over */
            out[size++] = (uint8_t)(four >> (8 - count * 2 % 8) % 8);
    }
    return size;
}

static void check_block(const wsock__pem *p, const char *text, const char *end)
{
    uint8_t *mine = (uint8_t *)malloc(p->body_size + 1);
    uint8_t *plain = (uint8_t *)malloc(p->body_size + 1);
    size_t n;
    CHECK(p->label >= text && p->label + p->label_size <= end);
    CHECK(p->body >= text && p->body + p->body_size <= end);
    n = wsock__pem_decode(p, mine, p->body_size);
    CHECK(n == plain_base64(plain, p->body, p->body_size));
    CHECK(n == 0 || memcmp(mine, plain, n) == 0);
    if (n > 1) /* one byte less than it takes */
        CHECK(wsock__pem_decode(p, mine, n - 1) == 0);
    free(mine);
    free(plain);
}

static void check_roots(const wsock__roots *r)
{
    size_t at = 0, count = 0;
    wsock__cert c;
    CHECK(r->size <= r->room);
    for (; at < r->size; count++) {
        CHECK(wsock__cert_parse(&c, r->der + at, r->size - at));
        CHECK(wsock__roots_have(r, &c.whole));
        at += wsock__der_size(&c.whole);
    }
    CHECK(at == r->size && count == r->count);
}

static void read_pem(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data, *at = text, *end = text + size;
    wsock__roots apart = {NULL, 0, 0, 0}, there = {NULL, 0, 0, 0};
    wsock__pem p;
    while ((at = wsock__pem_next(at, end, &p)) != NULL) {
        CHECK(at <= end);
        check_block(&p, text, end);
    }
    /* Into other memory, and over the text itself: the same. */
    apart.der = (uint8_t *)malloc(size + 1);
    apart.room = there.room = size;
    there.der = fuzz_copy(data, size);
    wsock__roots_add(&apart, text, size);
    wsock__roots_add(&there, (const char *)there.der, size);
    check_roots(&apart);
    check_roots(&there);
    CHECK(apart.size == there.size && apart.count == there.count);
    CHECK(!apart.size || memcmp(apart.der, there.der, apart.size) == 0);
    free(apart.der);
    free(there.der);
}

/* ----------------------------------------------------------- certificates */

static const uint8_t *all, *all_end;

static void inside(const wsock__der *d)
{
    CHECK(d->at <= d->end);
    if (d->at != d->end) CHECK(d->at >= all && d->end <= all_end);
}

static void bytes_inside(const unsigned char *p, size_t n)
{
    if (n) CHECK(p >= all && n <= (size_t)(all_end - p));
}

/* A number without the zeroes before it. */
static void same_number(const unsigned char *a, size_t n,
                        const unsigned char *b, size_t m)
{
    while (n && !*a) a++, n--;
    while (m && !*b) b++, m--;
    CHECK(n == m && (!n || memcmp(a, b, n) == 0));
}

/* What BearSSL takes for a certificate is one here, with the same key. */
static void compare(const uint8_t *data, size_t size, int good,
                    const wsock__cert *c)
{
    br_x509_decoder_context d;
    const br_x509_pkey *theirs;
    br_x509_pkey ours;
    br_x509_decoder_init(&d, NULL, NULL);
    br_x509_decoder_push(&d, data, size);
    theirs = br_x509_decoder_get_pkey(&d);
    if (!theirs) return;
    CHECK(good);
    CHECK(wsock__cert_key(c, &ours));
    CHECK(ours.key_type == theirs->key_type);
    if (ours.key_type == BR_KEYTYPE_EC) {
        CHECK(ours.key.ec.curve == theirs->key.ec.curve);
        same_number(ours.key.ec.q, ours.key.ec.qlen, theirs->key.ec.q,
                    theirs->key.ec.qlen);
    } else {
        same_number(ours.key.rsa.n, ours.key.rsa.nlen, theirs->key.rsa.n,
                    theirs->key.rsa.nlen);
        same_number(ours.key.rsa.e, ours.key.rsa.elen, theirs->key.rsa.e,
                    theirs->key.rsa.elen);
    }
    if (wsock__der_size(&c->extensions))
        CHECK(wsock__cert_is_ca(c) == br_x509_decoder_isCA(&d));
}

static void read_certificate(const uint8_t *data, size_t size)
{
    static const char ids[] = {WSOCK__CERT_NAMES, WSOCK__CERT_BASIC,
                               WSOCK__CERT_LIMITS, WSOCK__CERT_USE};
    wsock__cert c;
    wsock__der list;
    br_x509_pkey key;
    char text[70];
    size_t i;
    int good = wsock__cert_parse(&c, data, size);
    all = data;
    all_end = data + size;
    compare(data, size, good, &c);
    if (!good) return;
    inside(&c.whole);
    inside(&c.issuer);
    inside(&c.subject);
    inside(&c.key);
    inside(&c.extensions);
    for (i = 0; i < sizeof ids; i++)
        if (wsock__cert_extension(&c, ids[i], &list)) inside(&list);
    wsock__name_text(text, sizeof text, c.issuer);
    CHECK(fuzz_utf8((const uint8_t *)text, strlen(text)) == 1);
    wsock__cert_serves(&c);
    if (!wsock__cert_key(&c, &key)) return;
    if (key.key_type == BR_KEYTYPE_EC) {
        bytes_inside(key.key.ec.q, key.key.ec.qlen);
    } else {
        bytes_inside(key.key.rsa.n, key.key.rsa.nlen);
        bytes_inside(key.key.rsa.e, key.key.rsa.elen);
    }
}

/* ----------------------------------------------------------------- chains */

/* All of a chain may be authorities, or none is. */
static void read_chain(unsigned how, const uint8_t *data, size_t size)
{
    static const char *const hosts[] = {"localhost", "127.0.0.1", "::1",
                                        "a.example.com"};
    static const char *pins[] = {
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", NULL};
    static wsock__chain chain;
    static wsock__config config;
    const br_x509_class **m = &chain.methods;
    wsock__roots *ca = &chain.ca;
    unsigned code, usages;
    char text[160] = "";
    memset(&chain, 0, sizeof chain);
    memset(&config, 0, sizeof config);
    config.o.tls_ca = ""; /* never the system's */
    config.o.tls_pins = how & 128 ? pins : NULL;
    chain.methods = &wsock__chain_class;
    chain.config = &config;
    chain.host = hosts[how >> 4 & 3];
    chain.text = text;
    chain.insecure = how >> 3 & 1;
    ca->der = (uint8_t *)malloc(size + 1);
    (*m)->start_chain(m, NULL);
    while (size >= 2) {
        size_t n = (size_t)data[0] << 8 | data[1], half;
        wsock__cert c;
        if (n > size - 2) n = size - 2;
        half = n / 2;
        (*m)->start_cert(m, (uint32_t)n);
        (*m)->append(m, data + 2, half);
        (*m)->append(m, data + 2 + half, n - half);
        (*m)->end_cert(m);
        if (how & 64 && wsock__cert_parse(&c, data + 2, n)) {
            size_t whole = wsock__der_size(&c.whole);
            memcpy(ca->der + ca->size, c.whole.at, whole);
            ca->size += whole;
            ca->count++;
        }
        data += 2 + n;
        size -= 2 + n;
    }
    ca->count += !ca->count; /* an authority of no name */
    code = (*m)->end_chain(m);
    CHECK((code == 0) == (text[0] == 0));
    CHECK(strlen(text) < sizeof text);
    if (code == 0) {
        CHECK((*m)->get_pkey(m, &usages) != NULL);
        CHECK(how & (64 | 8)); /* else nobody is trusted */
    }
    free(ca->der);
}

/* ------------------------------------------------------- our own identity */

static void read_identity(const uint8_t *data, size_t size)
{
    char *cert = (char *)malloc(size + 2), *key;
    fuzz_sys sys;
    wsock__config config;
    wsock__identity *id;
    char wrong[160];
    memcpy(cert, data, size);
    cert[size] = cert[size + 1] = 0;
    key = cert + strlen(cert) + 1;
    memset(&config, 0, sizeof config);
    config.system = fuzz_system(&sys, 1);
    config.o.max_memory = (size_t)-1;
    config.o.tls_cert = cert;
    config.o.tls_key = key;
    /* What is no PEM is the name of a file. */
    if (wsock__is_pem(cert) && wsock__is_pem(key)) {
        id = wsock__identity_load(&config, 1, wrong);
        CHECK((id != NULL) == (wrong[0] == 0));
        if (id) CHECK(id->count > 0 && id->count <= WSOCK__CHAIN_MOST);
        wsock__identity_free(&config, id);
    }
    CHECK(sys.live == 0 && config.used == 0);
    free(cert);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy;
    if (!size) return 0;
    copy = fuzz_copy(data + 1, size - 1);
    switch (data[0] & 7) {
    case 0: read_pem(copy, size - 1); break;
    case 1: read_certificate(copy, size - 1); break;
    case 2: read_chain(data[0], copy, size - 1); break;
    case 3: read_identity(copy, size - 1); break;
    }
    free(copy);
    return 0;
}
