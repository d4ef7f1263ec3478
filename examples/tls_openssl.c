/* tls_openssl.c - wss:// by another TLS library: OpenSSL, plugged in by
 * options.tls, client and server, with TLS 1.3.
 *
 *     cc -O2 -o tls_openssl examples/tls_openssl.c -lssl -lcrypto
 *     ./tls_openssl serve CERT KEY [PORT]     echo on wss://127.0.0.1:9001/
 *     ./tls_openssl wss://localhost:9001/ [CA]     say hello, print the answer
 *
 * Needs OpenSSL 1.1.1 or later (Debian's libssl-dev).  The same functions fit
 * every TLS library that can be given callbacks for reading and writing. */
#define WSOCK_IMPLEMENTATION
#include "../wsock.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------ the plug -- */

enum { RECORD = 16384 };

typedef struct tls {
    wsock_io below;
    SSL *ssl;
    int lost;       /* the transport below has failed: it explains */
    size_t pending; /* bytes in `record` that OpenSSL has not taken yet */
    char text[160];
    unsigned char record[RECORD];
} tls;

/* OpenSSL reads and writes through a BIO: this one is the transport below. */
static int bio_result(BIO *bio, ptrdiff_t n)
{
    tls *t = (tls *)BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (n == WSOCK_WANT_READ)
        BIO_set_retry_read(bio);
    else if (n == WSOCK_WANT_WRITE)
        BIO_set_retry_write(bio);
    else if (n < 0)
        t->lost = 1;
    return (int)n;
}

static int bio_read(BIO *bio, char *data, int size)
{
    tls *t = (tls *)BIO_get_data(bio);
    return bio_result(bio, t->below.read(t->below.user, data, (size_t)size));
}

static int bio_write(BIO *bio, const char *data, int size)
{
    tls *t = (tls *)BIO_get_data(bio);
    wsock_buf buf;
    buf.data = data;
    buf.size = (size_t)size;
    return bio_result(bio, t->below.write(t->below.user, &buf, 1));
}

static long bio_control(BIO *bio, int what, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return what == BIO_CTRL_FLUSH;
}

/* What a call of OpenSSL's came to: WANT with its direction, 0 at the end of
 * the stream, or an error, for which `text` says why. */
static int result_of(tls *t, int r)
{
    unsigned long code;
    long verified = SSL_get_verify_result(t->ssl);
    switch (SSL_get_error(t->ssl, r)) {
    case SSL_ERROR_WANT_READ: return WSOCK_WANT_READ;
    case SSL_ERROR_WANT_WRITE: return WSOCK_WANT_WRITE;
    case SSL_ERROR_ZERO_RETURN: return 0;
    }
    code = ERR_get_error();
    ERR_clear_error();
    if (verified != X509_V_OK)
        snprintf(t->text, sizeof t->text, "the certificate: %s",
                 X509_verify_cert_error_string(verified));
    else if (code)
        ERR_error_string_n(code, t->text, sizeof t->text);
    else
        snprintf(t->text, sizeof t->text, "the stream was cut");
    return WSOCK_TRANSPORT_ERROR;
}

static int tls_open(void *user, const char *host, int port)
{
    tls *t = (tls *)user;
    int r = SSL_do_handshake(t->ssl);
    (void)host;
    (void)port;
    if (r == 1)
        return WSOCK_OK;
    r = result_of(t, r);
    return r ? r : (int)WSOCK_TRANSPORT_ERROR;
}

static ptrdiff_t tls_read(void *user, void *data, size_t size)
{
    tls *t = (tls *)user;
    int n = SSL_read(t->ssl, data, size < RECORD ? (int)size : RECORD);
    return n > 0 ? n : result_of(t, n);
}

/* One record a call.  While OpenSSL has not taken it, the same bytes are
 * offered again: they wait in `record`. */
static ptrdiff_t tls_write(void *user, const wsock_buf *bufs, size_t count)
{
    tls *t = (tls *)user;
    size_t i;
    int n;
    if (t->pending == 0)
        for (i = 0; i < count; i++) {
            size_t room = RECORD - t->pending;
            if (room > bufs[i].size)
                room = bufs[i].size;
            memcpy(t->record + t->pending, bufs[i].data, room);
            t->pending += room;
        }
    n = SSL_write(t->ssl, t->record, (int)t->pending);
    if (n <= 0) {
        n = result_of(t, n);
        return n ? n : (int)WSOCK_TRANSPORT_ERROR;
    }
    t->pending = 0;
    return n;
}

/* close_notify, then the end of the stream below. */
static int tls_finish(void *user)
{
    tls *t = (tls *)user;
    int r = SSL_shutdown(t->ssl);
    if (r < 0 && (r = result_of(t, r)) < 0)
        return r;
    return t->below.finish ? t->below.finish(t->below.user) : 0;
}

static int tls_wait(void *user, int wants, int timeout)
{
    tls *t = (tls *)user;
    return t->below.wait(t->below.user, wants, timeout);
}

static void tls_wake(void *user)
{
    tls *t = (tls *)user;
    t->below.wake(t->below.user);
}

static intptr_t tls_fd(void *user)
{
    tls *t = (tls *)user;
    return t->below.fd(t->below.user);
}

static void tls_explain(void *user, wsock_failure *failure)
{
    tls *t = (tls *)user;
    failure->text = t->text;
    failure->tls_code = (int)SSL_get_verify_result(t->ssl);
    if (t->lost && t->below.explain)
        t->below.explain(t->below.user, failure);
}

static void tls_close(void *user)
{
    tls *t = (tls *)user;
    wsock_io below = t->below;
    SSL_free(t->ssl); /* its BIOs, too */
    free(t);
    if (below.close)
        below.close(below.user);
}

/* What a client checks: the name or the address of the host. */
static int set_host(SSL *ssl, const char *host)
{
    X509_VERIFY_PARAM *check = SSL_get0_param(ssl);
    SSL_set_connect_state(ssl);
    if (X509_VERIFY_PARAM_set1_ip_asc(check, host))
        return 1;
    return SSL_set_tlsext_host_name(ssl, host) == 1 &&
           X509_VERIFY_PARAM_set1_host(check, host, 0) == 1;
}

/* wsock_tls's callback; user: the SSL_CTX. */
static int wrap(void *user, wsock_io *io, int role, const char *host,
                const wsock_options *options)
{
    static BIO_METHOD *method; /* one thread makes connections here */
    tls *t = (tls *)calloc(1, sizeof *t);
    BIO *bio;
    (void)options;
    if (!method && (method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "wsock"))) {
        BIO_meth_set_read(method, bio_read);
        BIO_meth_set_write(method, bio_write);
        BIO_meth_set_ctrl(method, bio_control);
    }
    bio = t && method ? BIO_new(method) : NULL;
    if (bio)
        t->ssl = SSL_new((SSL_CTX *)user);
    if (!bio || !t->ssl || (host && !set_host(t->ssl, host))) {
        if (t)
            SSL_free(t->ssl);
        BIO_free(bio);
        free(t);
        return WSOCK_NO_MEMORY;
    }
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set_bio(t->ssl, bio, bio);
    SSL_set_mode(t->ssl, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (role == WSOCK_SERVER)
        SSL_set_accept_state(t->ssl);
    t->below = *io;
    io->open = tls_open;
    io->read = tls_read;
    io->write = tls_write;
    io->finish = tls_finish;
    io->wait = io->wait ? tls_wait : NULL;
    io->wake = io->wake ? tls_wake : NULL;
    io->fd = io->fd ? tls_fd : NULL;
    io->explain = tls_explain;
    io->close = tls_close;
    io->user = t;
    return WSOCK_OK;
}

/* --------------------------------------------------------- the program -- */

static int serve(SSL_CTX *context, const wsock_options *options, char **argv)
{
    char url[64];
    wsock_event e;
    wsock_server *server;
    if (SSL_CTX_use_certificate_chain_file(context, argv[2]) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, argv[3], SSL_FILETYPE_PEM) != 1) {
        ERR_print_errors_fp(stderr);
        return 1;
    }
    snprintf(url, sizeof url, "wss://127.0.0.1:%s/",
             argv[4] ? argv[4] : "9001");
    server = wsock_listen(url, options);
    if (wsock_server_error(server) == WSOCK_OK)
        printf("listening on wss://127.0.0.1:%d/\n",
               wsock_server_port(server));
    fflush(stdout);
    while (wsock_server_poll(server, &e, WSOCK_NEVER) >= 0)
        if (e.type == WSOCK_EVENT_MESSAGE)
            wsock_send(e.ws, e.kind, e.data, e.size);
    fprintf(stderr, "tls_openssl: %s\n", wsock_server_why(server)->text);
    wsock_server_free(server);
    return 1;
}

static int say_hello(SSL_CTX *context, const wsock_options *options,
                     char **argv)
{
    char text[4096];
    wsock_status got;
    wsock *ws;
    int failed;
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    if (argv[2] ? SSL_CTX_load_verify_locations(context, argv[2], NULL) != 1
                : SSL_CTX_set_default_verify_paths(context) != 1) {
        ERR_print_errors_fp(stderr);
        return 1;
    }
    ws = wsock_connect(argv[1], options);
    wsock_send(ws, WSOCK_TEXT, "hello", 5);
    if (wsock_receive(ws, text, sizeof text, &got) == WSOCK_OK &&
        got.kind == WSOCK_TEXT)
        printf("%.*s\n", (int)got.bytes, text);
    wsock_close(ws, WSOCK_CLOSE_NORMAL, NULL);
    failed = wsock_error(ws) != WSOCK_OK;
    if (failed)
        fprintf(stderr, "tls_openssl: %s\n", wsock_error_text(ws));
    wsock_free(ws);
    return failed;
}

int main(int argc, char **argv)
{
    SSL_CTX *context = SSL_CTX_new(TLS_method());
    wsock_options options = {0};
    wsock_tls plug;
    int r = 2;
    if (!context)
        return 1;
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_read_ahead(context, 1); /* whole records by one read */
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS); /* while idle */
    plug.wrap = wrap;
    plug.user = context;
    options.tls = &plug;
    if (argc > 3 && strcmp(argv[1], "serve") == 0)
        r = serve(context, &options, argv);
    else if (argc > 1 && strcmp(argv[1], "serve") != 0)
        r = say_hello(context, &options, argv);
    else
        fprintf(stderr, "usage: tls_openssl serve CERT KEY [PORT]\n"
                        "       tls_openssl URL [CA]\n");
    SSL_CTX_free(context);
    return r;
}
