/* client.h - the little that a scenario needs of a WebSocket client, and the
 * porting table by which two clients' results are the same word.
 * winhttp_client.c fulfils it with WinHTTP, wsock_client.c with wsock.h. */
#ifndef CLIENT_H
#define CLIENT_H

#include <stddef.h>
#include <stdint.h>

/* The word that is compared, WinHTTP's name, ours: the error codes' table of
 * the README. */
#define CLIENT_RESULTS(X)                                                     \
    X("ok", NO_ERROR, WSOCK_OK)                                               \
    X("invalid parameter", ERROR_INVALID_PARAMETER, WSOCK_INVALID_PARAMETER)  \
    X("invalid operation", ERROR_INVALID_OPERATION, WSOCK_INVALID_OPERATION)  \
    X("invalid operation", ERROR_INVALID_OPERATION, WSOCK_CLOSED)             \
    X("invalid server", ERROR_WINHTTP_INVALID_SERVER_RESPONSE,                \
      WSOCK_PROTOCOL_ERROR)                                                   \
    X("invalid server", ERROR_WINHTTP_INVALID_SERVER_RESPONSE,                \
      WSOCK_INVALID_UTF8)                                                     \
    X("refused", STATUS_IS_NOT_101, WSOCK_REFUSED)                            \
    X("cancelled", ERROR_WINHTTP_OPERATION_CANCELLED, WSOCK_CANCELLED)        \
    X("timed out", ERROR_WINHTTP_TIMEOUT, WSOCK_TIMED_OUT)                    \
    X("name not resolved", ERROR_WINHTTP_NAME_NOT_RESOLVED,                   \
      WSOCK_LOOKUP_FAILED)                                                    \
    X("cannot connect", ERROR_WINHTTP_CANNOT_CONNECT, WSOCK_CONNECT_FAILED)   \
    X("connection lost", ERROR_WINHTTP_CONNECTION_ERROR,                      \
      WSOCK_CONNECTION_LOST)                                                  \
    X("connection lost", ERROR_WINHTTP_CONNECTION_ERROR, WSOCK_IO_ERROR)      \
    X("insecure", ERROR_WINHTTP_SECURE_FAILURE, WSOCK_TLS_ERROR)              \
    X("invalid URL", ERROR_WINHTTP_INVALID_URL, WSOCK_INVALID_URL)            \
    X("invalid URL", ERROR_WINHTTP_UNRECOGNIZED_SCHEME, WSOCK_INVALID_URL)

enum { STATUS_IS_NOT_101 = 20000 }; /* no code of the system's */

/* Kinds of messages and parts. */
enum { NO_KIND, TEXT = 1, BINARY = 2, CLOSING = 8, FRAGMENT = 0x100 };

/* What failed, of an asynchronous call. */
enum { NO_OPERATION, SENDING, RECEIVING, CLOSE_OPERATION, SHUTTING };

typedef struct setup {
    int asynchronous; /* WinHTTP: callbacks; wsock: polled */
    int pending;      /* a receive may wait while other calls are made.
                       * WinHTTP: asynchronous; wsock: a second thread */
    int parts;        /* receives return what has come.  (WinHTTP's do.) */
    int anyone;       /* TLS: whatever the certificate is */
    const char *header;      /* "Name: value" */
    const char *subprotocol; /* to be offered */
    int connect_timeout, response_timeout, close_timeout; /* ms; 0: default */
    int keepalive;
    int receive_buffer, send_buffer;
    void *user;
} setup;

typedef struct status {
    unsigned kind;
    size_t bytes;
    int operation; /* of a failure, asynchronously */
} status;

/* One client at a time.  Every call returns its API's own result; calls of
 * an asynchronous client have completed when they return. */
int client_connect(const char *url, const setup *s);
int client_send(unsigned kind, const void *data, size_t size, status *done);
int client_receive(void *data, size_t size, status *got);
int client_shutdown(int code, const char *reason);
int client_close(int code, const char *reason, status *done);
int client_close_status(int *code, char *reason, size_t size, size_t *needed);
void client_free(void);

/* The same in two halves. */
void client_connect_begin(const char *url, const setup *s);
int client_connect_end(void);
int client_send_begin(unsigned kind, const void *data, size_t size);
int client_receive_begin(void *data, size_t size);
int client_receive_end(status *got);

/* Of the response. */
int client_http_status(void);
size_t client_body(char *text, size_t size);
void client_header(const char *name, char *text, size_t size);
void *client_user(void);

const char *client_name(int result); /* its API's own name */
const char *client_word(int result); /* the porting table's */

#endif
