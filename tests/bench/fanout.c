/* fanout.c - what one sends, everyone gets: wsock's broadcast, measured.
 *
 * `fanout` prints the URL that it listens on; a signal ends it. */
#define WSOCK_IMPLEMENTATION
#include "../../wsock.h"

#include <stdio.h>

int main(void)
{
    wsock_event e;
    wsock_server *server = wsock_listen("ws://127.0.0.1:0/", NULL);
    printf("listening on ws://127.0.0.1:%d/\n", wsock_server_port(server));
    fflush(stdout);
    while (wsock_server_poll(server, &e, WSOCK_NEVER) >= 0)
        if (e.type == WSOCK_EVENT_MESSAGE)
            wsock_broadcast(server, NULL, 0, e.kind, e.data, e.size);
    fprintf(stderr, "fanout: %s\n", wsock_server_why(server)->text);
    wsock_server_free(server);
    return 1;
}
