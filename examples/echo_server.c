/* echo_server.c - send every message back by its type.
 *
 *     cc -O2 -o echo_server examples/echo_server.c
 *     ./echo_server [--host H] [--port N] [--max-message BYTES]
 *                   [--cert FILE --key FILE]
 *
 * Listens on ws://127.0.0.1:9001/ unless told otherwise (port 0: any free
 * one); with a certificate and its key (PEM) on wss://.  Ends on SIGINT and
 * SIGTERM, after closing its connections.  For wss://, with BearSSL (Debian's
 * libbearssl-dev):
 *
 *     cc -O2 -DWSOCK_BEARSSL -o echo_server examples/echo_server.c -lbearssl
 */
#define WSOCK_IMPLEMENTATION
#include "../wsock.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static wsock_server *server;
static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
    wsock_server_wake(server); /* may be called here */
}

static void serve(void)
{
    wsock_event e;
    int closing = 0;
    while (wsock_server_poll(server, &e, WSOCK_NEVER) >= 0) {
        /* The queue cannot be full here: while it is, the server does not
         * read from that connection, so nothing is lost. */
        if (e.type == WSOCK_EVENT_MESSAGE)
            wsock_send(e.ws, e.kind, e.data, e.size);
        if (stop && !closing) {
            closing = 1;
            wsock_server_close(server); /* polls go on until all have left */
        }
    }
}

int main(int argc, char **argv)
{
    const char *host = "127.0.0.1", *port = "9001", *scheme;
    wsock_options options = {0};
    char url[320];
    int i, failed;

    for (i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--host") == 0)
            host = argv[i + 1];
        else if (strcmp(argv[i], "--port") == 0)
            port = argv[i + 1];
        else if (strcmp(argv[i], "--max-message") == 0)
            options.max_message = (size_t)strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--cert") == 0)
            options.tls_cert = argv[i + 1];
        else if (strcmp(argv[i], "--key") == 0)
            options.tls_key = argv[i + 1];
        else
            break;
    }
    if (i < argc) {
        fprintf(stderr, "usage: echo_server [--host H] [--port N] "
                        "[--max-message BYTES] [--cert FILE --key FILE]\n");
        return 2;
    }

    scheme = options.tls_cert ? "wss" : "ws";
    snprintf(url, sizeof url, strchr(host, ':') ? "%s://[%s]:%s/"
                                                : "%s://%s:%s/",
             scheme, host, port);
    server = wsock_listen(url, &options);
    if (wsock_server_error(server) == WSOCK_OK) {
        signal(SIGINT, on_signal);
        signal(SIGTERM, on_signal);
        printf(strchr(host, ':') ? "listening on %s://[%s]:%d/\n"
                                 : "listening on %s://%s:%d/\n",
               scheme, host, wsock_server_port(server));
        fflush(stdout);
        serve();
    }

    failed = wsock_server_error(server) != WSOCK_OK;
    if (failed)
        fprintf(stderr, "echo_server: %s\n", wsock_server_why(server)->text);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    wsock_server_free(server);
    return failed;
}
