/* client_wss.c - say hello over wss://, print the answer, and leave.
 *
 *     python3 amalgamate.py --bearssl DIR      (once; DIR: BearSSL's source)
 *     cc -O2 -o client_wss examples/client_wss.c
 *     ./client_wss [URL [CA]]     (default: wss://localhost:9001/)
 *
 * CA is a PEM file with the authority to trust instead of the system's. */
#define WSOCK_STATIC /* what this program does not call falls away */
#define WSOCK_IMPLEMENTATION
#include "../wsock_tls.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    const char *url = argc > 1 ? argv[1] : "wss://localhost:9001/";
    wsock_options options = {0};
    char text[4096];
    wsock_status got;
    wsock *ws;
    int failed;

    options.tls_ca = argc > 2 ? argv[2] : NULL;
    ws = wsock_connect(url, &options);
    wsock_send(ws, WSOCK_TEXT, "hello", 5);
    if (wsock_receive(ws, text, sizeof text, &got) == WSOCK_OK &&
        got.kind == WSOCK_TEXT)
        printf("%.*s\n", (int)got.bytes, text);
    wsock_close(ws, WSOCK_CLOSE_NORMAL, "bye");

    /* The first failure sticks, so one look at the end is enough; for TLS
     * its text says which rule failed, and for which name. */
    failed = wsock_error(ws) != WSOCK_OK;
    if (failed)
        fprintf(stderr, "%s\n", wsock_error_text(ws));
    wsock_free(ws);
    return failed;
}
