/* client_hello.c - say hello to a server, print what it answers, and leave.
 *
 *     cc -O2 -o client_hello examples/client_hello.c
 *     ./client_hello [URL]          (default: ws://127.0.0.1:9001/) */
#define WSOCK_IMPLEMENTATION
#include "../wsock.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    const char *url = argc > 1 ? argv[1] : "ws://127.0.0.1:9001/";
    char text[4096];
    wsock_status got;
    int failed;
    wsock *ws = wsock_connect(url, NULL);

    wsock_send(ws, WSOCK_TEXT, "hello", 5);
    if (wsock_receive(ws, text, sizeof text, &got) == WSOCK_OK &&
        got.kind == WSOCK_TEXT)
        printf("%.*s\n", (int)got.bytes, text);
    wsock_close(ws, WSOCK_CLOSE_NORMAL, "bye");

    /* The first failure sticks, so one look at the end is enough. */
    failed = wsock_error(ws) != WSOCK_OK;
    if (failed)
        fprintf(stderr, "%s\n", wsock_error_text(ws));
    wsock_free(ws);
    return failed;
}
