/* A small program for the build matrix: every compiler and language mode
 * builds it and runs it.  It holds a conversation without I/O, so that what
 * is compiled is also called.
 *
 *     -DONE_UNIT      the implementation is in this file, too
 *     otherwise       implementation.c and every_function.c are linked */
#ifdef ONE_UNIT
#define WSOCK_IMPLEMENTATION
#endif
#include "../../wsock.h"

#include <stdio.h>
#include <string.h>

#ifndef ONE_UNIT
int every_function(void); /* every_function.c */
#endif

/* Output of one end into the other; the last message goes to `text`. */
static int carry(wsock *from, wsock *to, char *text, size_t room)
{
    static char copy[8192];
    wsock_buf bufs[4];
    wsock_event e;
    size_t count, i, n = 0;
    while ((count = wsock_output(from, bufs, 4)) > 0) {
        size_t sum = 0;
        for (i = 0; i < count; i++) {
            if (n + bufs[i].size > sizeof copy)
                return -1;
            memcpy(copy + n, bufs[i].data, bufs[i].size);
            n += bufs[i].size;
            sum += bufs[i].size;
        }
        if (wsock_output_done(from, sum) != WSOCK_OK)
            return -1;
    }
    if (n == 0 || wsock_state(to) == WSOCK_STATE_CLOSED)
        return 0;
    if (wsock_feed(to, copy, n) != WSOCK_OK)
        return -1;
    while (wsock_next(to, &e) > 0)
        if (e.type == WSOCK_EVENT_MESSAGE && e.size < room) {
            memcpy(text, e.data, e.size);
            text[e.size] = 0;
        }
    return 1;
}

int main(void)
{
    wsock *a = wsock_new(WSOCK_CLIENT, "ws://localhost/", NULL);
    wsock *b = wsock_new(WSOCK_SERVER, NULL, NULL);
    char text[64] = "";
    int i, good;
    for (i = 0; i < 6; i++) {
        carry(a, b, text, sizeof text);
        carry(b, a, text, sizeof text);
        if (i == 1)
            wsock_send(a, WSOCK_TEXT, "hello", 5);
        if (i == 2)
            wsock_close(b, WSOCK_CLOSE_NORMAL, "bye");
    }
    good = strcmp(text, "hello") == 0 && wsock_error(a) == WSOCK_OK
           && wsock_error(b) == WSOCK_OK
           && wsock_state(a) == WSOCK_STATE_CLOSED
           && wsock_state(b) == WSOCK_STATE_CLOSED;
    if (!good)
        fprintf(stderr, "\"%s\", %s, %s\n", text, wsock_error_text(a),
                wsock_error_text(b));
    wsock_free(a);
    wsock_free(b);
#ifndef ONE_UNIT
    good = good && every_function() > 40;
#endif
    return !good;
}
