/* link.h - what carries load.c's bytes: TCP itself or, with LOAD_TLS, TLS of
 * OpenSSL's over it, the same client for every server:
 *
 *     --tls 1.2|1.3          this version and no other (1.2)
 *     --suite aes|chacha     AES-128-GCM or ChaCha20-Poly1305, no other (aes)
 *     --group x25519|p256    the group of the key exchange, no other (x25519)
 *     --resume yes           --handshakes: go on with the session of one that
 *                            is made first and not counted
 *
 * Whether a session was resumed is looked at in every handshake, and one that
 * is not as it was ordered ends the program.  The certificate is not checked:
 * that is work of the client's. */

#ifndef LOAD_TLS

static void link_begin(struct conn *c) { (void)c; }
static int link_up(struct conn *c) { (void)c; return 1; }
static void link_prepare(void) { }
static void link_end(struct conn *c) { close(c->fd); }
static void link_leave(struct conn *c) { (void)c; }

static ssize_t link_send(struct conn *c, const void *data, size_t n)
{
    return send(c->fd, data, n, MSG_NOSIGNAL);
}

static ssize_t link_recv(struct conn *c, void *data, size_t n)
{
    return recv(c->fd, data, n, 0);
}

/* So many bytes of the batch may be written at once. */
static size_t link_most(const struct conn *c) { return batch_size - c->out; }

/* Has a read of n bytes into so much room left nothing? */
static int link_is_empty(size_t n, size_t room) { return n < room; }

static int link_option(const char *name, const char *value)
{
    (void)name;
    (void)value;
    return 0;
}

#else
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>

static struct {
    SSL_CTX *context;
    SSL_SESSION *session; /* the newest that came */
    int version, chacha, p256, resume;
} secure = {NULL, NULL, TLS1_2_VERSION, 0, 0, 0};

static void tls_die(const char *what)
{
    char text[200];
    ERR_error_string_n(ERR_get_error(), text, sizeof text);
    fprintf(stderr, "load: %s: %s\n", what, text);
    exit(1);
}

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    SSL_SESSION_free(secure.session);
    secure.session = session;
    return 1;
}

static void tls_context(void)
{
    SSL_CTX *x = secure.context = SSL_CTX_new(TLS_client_method());
    signal(SIGPIPE, SIG_IGN);
    if (!x || SSL_CTX_set_min_proto_version(x, secure.version) != 1
        || SSL_CTX_set_max_proto_version(x, secure.version) != 1
        || SSL_CTX_set_cipher_list(
               x, secure.chacha ? "ECDHE+CHACHA20"
                                : "ECDHE-ECDSA-AES128-GCM-SHA256:"
                                  "ECDHE-RSA-AES128-GCM-SHA256") != 1
        || SSL_CTX_set_ciphersuites(
               x, secure.chacha ? "TLS_CHACHA20_POLY1305_SHA256"
                                : "TLS_AES_128_GCM_SHA256") != 1
        /* P-256 is needed for the certificate, whatever the exchange. */
        || SSL_CTX_set1_groups_list(
               x, secure.p256 ? "P-256" : "X25519:P-256") != 1)
        tls_die("options of TLS");
    SSL_CTX_set_mode(x, SSL_MODE_ENABLE_PARTIAL_WRITE
                            | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(x, 1);
    if (!secure.resume) return;
    SSL_CTX_set_session_cache_mode(x, SSL_SESS_CACHE_CLIENT
                                          | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(x, keep_session);
}

static void link_begin(struct conn *c)
{
    if (!secure.context) tls_context();
    c->tls = SSL_new(secure.context);
    c->resumes = secure.session != NULL;
    if (!c->tls || SSL_set_fd(c->tls, c->fd) != 1) tls_die("TLS");
    SSL_set_connect_state(c->tls);
    if (c->resumes) {
        /* A copy: of TLS 1.3 OpenSSL uses a session only once. */
        SSL_SESSION *session = SSL_SESSION_dup(secure.session);
        if (!session || SSL_set_session(c->tls, session) != 1) tls_die("TLS");
        SSL_SESSION_free(session);
    }
}

/* As of send() and recv(): -1 with EAGAIN is not now. */
static ssize_t tls_result(struct conn *c, int n)
{
    int why = n > 0 ? SSL_ERROR_NONE : SSL_get_error(c->tls, n);
    errno = EAGAIN;
    if (why == SSL_ERROR_NONE) return n;
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) return -1;
    if (why == SSL_ERROR_ZERO_RETURN) return 0;
    tls_die("TLS");
    return 0;
}

/* Did the server take the group that was offered first? */
static void check_group(struct conn *c)
{
    EVP_PKEY *key = NULL;
    int is_x25519 = SSL_get_peer_tmp_key(c->tls, &key) == 1
                    && EVP_PKEY_id(key) == EVP_PKEY_X25519;
    EVP_PKEY_free(key);
    if (is_x25519 == !secure.p256) return;
    fprintf(stderr, "load: the key exchange is in another group\n");
    exit(1);
}

/* 1: the handshake of TLS is done. */
static int link_up(struct conn *c)
{
    if (tls_result(c, SSL_do_handshake(c->tls)) < 0) return 0;
    if (SSL_session_reused(c->tls) != c->resumes) {
        fprintf(stderr, c->resumes ? "load: the session was not resumed\n"
                                   : "load: a session was resumed\n");
        exit(1);
    }
    if (!c->resumes) check_group(c);
    return 1;
}

static ssize_t link_send(struct conn *c, const void *data, size_t n)
{
    return tls_result(c, SSL_write(c->tls, data, (int)n));
}

/* No record has parts of two messages. */
static size_t link_most(const struct conn *c)
{
    size_t message = batch_size / (size_t)o.window;
    return message - c->out % message;
}

static ssize_t link_recv(struct conn *c, void *data, size_t n)
{
    return tls_result(c, SSL_read(c->tls, data, (int)n));
}

/* A read gives one record, and OpenSSL may hold more. */
static int link_is_empty(size_t n, size_t room)
{
    (void)n;
    (void)room;
    return 0;
}

/* With close_notify, as a browser ends it. */
static void link_end(struct conn *c)
{
    SSL_shutdown(c->tls);
    SSL_free(c->tls);
    close(c->fd);
}

/* The descriptor stays open; nothing more is said on it. */
static void link_leave(struct conn *c) { SSL_free(c->tls); }

static void open_conn(struct conn *c);

/* The session that is to be resumed. */
static void link_prepare(void)
{
    struct conn c;
    if (!secure.resume) return;
    memset(&c, 0, sizeof c);
    open_conn(&c);
    link_end(&c);
    if (secure.session) return;
    fprintf(stderr, "load: the server gives no session\n");
    exit(1);
}

static int link_option(const char *name, const char *value)
{
    if (strcmp(name, "--tls") == 0)
        secure.version = strcmp(value, "1.3") == 0 ? TLS1_3_VERSION
                                                   : TLS1_2_VERSION;
    else if (strcmp(name, "--suite") == 0)
        secure.chacha = strcmp(value, "chacha") == 0;
    else if (strcmp(name, "--group") == 0)
        secure.p256 = strcmp(value, "p256") == 0;
    else if (strcmp(name, "--resume") == 0)
        secure.resume = strcmp(value, "yes") == 0;
    else
        return 0;
    return 1;
}
#endif
