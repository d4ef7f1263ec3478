/* core_without_sockets.c - a client and a server in one program that never
 * touches a socket, and that allocates nothing: each lives in a block of its
 * own.  The two functions that move bytes are all that an event loop, a
 * serial line or a test has to provide.
 *
 *     cc -O2 -o core_without_sockets examples/core_without_sockets.c
 *     ./core_without_sockets */
#define WSOCK_IMPLEMENTATION
#include "../wsock.h"

#include <stdio.h>
#include <string.h>

static unsigned char client_memory[4096], server_memory[4096];

static int handle(const char *who, wsock *ws)
{
    wsock_event e;
    int r;
    while ((r = wsock_next(ws, &e)) > 0)
        switch (e.type) {
        case WSOCK_EVENT_OPEN:
            printf("%s: open\n", who);
            if (strcmp(who, "client") == 0)
                wsock_send(ws, WSOCK_TEXT, "hello", 5);
            break;
        case WSOCK_EVENT_MESSAGE:
            printf("%s: got \"%.*s\"\n", who, (int)e.size, (char *)e.data);
            if (strcmp(who, "server") == 0)
                wsock_send(ws, e.kind, e.data, e.size); /* echo it */
            else
                wsock_close(ws, WSOCK_CLOSE_NORMAL, "that was all");
            break;
        case WSOCK_EVENT_CLOSE:
            printf("%s: closed with %d \"%.*s\"\n", who, e.code, (int)e.size,
                   (char *)e.data);
            break;
        default:
            break;
        }
    return r;
}

/* Carry what one has to say to the other.  Returns the bytes carried, which
 * stay lent until handle() has read them. */
static size_t carry(wsock *from, wsock *to)
{
    static char wire[512];
    wsock_buf piece;
    size_t n;
    if (wsock_output(from, &piece, 1) == 0)
        return 0;
    n = piece.size < sizeof wire ? piece.size : sizeof wire;
    memcpy(wire, piece.data, n);
    wsock_output_done(from, n);
    wsock_feed(to, wire, n);
    return n;
}

int main(void)
{
    wsock_options o = {0};
    wsock *client, *server;
    int more = 1;

    o.flags = WSOCK_CORE_ONLY; /* no room for a socket's read window */
    o.receive_buffer = o.send_limit = 512;
    o.memory_size = sizeof client_memory;
    o.memory = client_memory;
    client = wsock_new(WSOCK_CLIENT, "ws://example.com/chat", &o);
    o.memory = server_memory;
    server = wsock_new(WSOCK_SERVER, NULL, &o);
    if (!client || !server) {
        fprintf(stderr, "a client takes %lu bytes, a server %lu\n",
                (unsigned long)wsock_memory_needed(
                    WSOCK_CLIENT, "ws://example.com/chat", &o),
                (unsigned long)wsock_memory_needed(WSOCK_SERVER, NULL, &o));
        return 1;
    }

    while (more) {
        more = carry(client, server) > 0;
        handle("server", server);
        more |= carry(server, client) > 0;
        handle("client", client);
    }
    wsock_free(client);
    wsock_free(server);
    return 0;
}
