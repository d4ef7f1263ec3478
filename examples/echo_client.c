/* echo_client.c - connect, send every message back by its type, until the
 * server closes.
 *
 *     cc -O2 -o echo_client examples/echo_client.c
 *     ./echo_client ws://127.0.0.1:9001/
 *
 * For wss:// URLs, with BearSSL (Debian's libbearssl-dev; SSL_CERT_FILE names
 * the authorities if the system's are not meant):
 *
 *     cc -O2 -DWSOCK_BEARSSL -o echo_client examples/echo_client.c -lbearssl
 *
 * Exit status: 0 after an orderly close; 1 when the connection or the
 * handshake failed, or the connection was lost, with the reason on stderr. */
#define WSOCK_IMPLEMENTATION
#include "../wsock.h"

#include <stdio.h>

static char buffer[16 << 20]; /* room for any usual message at once */

int main(int argc, char **argv)
{
    wsock_status got;
    wsock *ws;
    int r, failed;

    if (argc != 2) {
        fprintf(stderr, "usage: echo_client URL\n");
        return 2;
    }
    ws = wsock_connect(argv[1], NULL);

    /* A message that is larger than the buffer would come in parts, all but
     * the last marked WSOCK_FRAGMENT in got.kind, and leave as it came. */
    while ((r = wsock_receive(ws, buffer, sizeof buffer, &got)) == WSOCK_OK &&
           got.kind != WSOCK_CLOSE)
        if (wsock_send(ws, got.kind, buffer, got.bytes) < 0)
            break;
    wsock_close(ws, WSOCK_CLOSE_NORMAL, NULL);

    failed = wsock_error(ws) != WSOCK_OK;
    if (failed)
        fprintf(stderr, "echo_client: %s\n", wsock_error_text(ws));
    wsock_free(ws);
    return failed;
}
