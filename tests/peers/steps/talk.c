/* talk.c - a client by wsock.h that does what its arguments say.
 *
 *     cc -O2 -o talk tests/peers/steps/talk.c
 *     ./talk [--blocking] [--count N] [--keepalive MS] [--subprotocol NAME]
 *            [--header LINE] URL STEP...
 *
 * The steps stand in steps.h; with --blocking they are made by a blocking
 * handle, else by polls.  Status 0: all went as said. */
#define WSOCK_IMPLEMENTATION
#include "../../../wsock.h"
#include "steps.h"

enum { LIST = 8, COUNT = 200, ROOM = 2 << 20 };
static wsock *all[COUNT];
static int opened[COUNT], ended[COUNT];
static int blocking;
static char buffer[ROOM];

static int peer_send(int i, int kind, const void *data, size_t size)
{
    unsigned is = kind == PING      ? (unsigned)WSOCK_PING
                  : kind == UNASKED ? (unsigned)WSOCK_PONG
                                    : (unsigned)kind;
    int r = wsock_send(all[i], is, data, size);
    return r == WSOCK_OK ? 1 : r == WSOCK_WOULD_BLOCK ? 0 : -1;
}

static void tell_end(int i, struct seen *seen)
{
    const wsock_failure *why = wsock_why(all[i]);
    ended[i] = 1;
    seen->what = why->code == WSOCK_OK ? CLOSED : LOST;
    seen->code = why->close_received;
    seen->data = why->code == WSOCK_OK ? why->close_reason : why->text;
    seen->size = strlen((const char *)seen->data);
}

static int next_blocking(int i, struct seen *seen)
{
    wsock_status got;
    int r;
    if (!opened[i] && wsock_error(all[i]) == WSOCK_OK) {
        seen->what = OPENED;
        return opened[i] = 1;
    }
    do
        r = wsock_receive(all[i], buffer, sizeof buffer, &got);
    while (r == WSOCK_OK && got.kind == WSOCK_PING);
    if (r != WSOCK_OK || got.kind == WSOCK_CLOSE) {
        wsock_close(all[i], WSOCK_CLOSE_NORMAL, NULL);
        tell_end(i, seen);
        return 1;
    }
    seen->what = got.kind == WSOCK_PONG ? PONG : MESSAGE;
    seen->kind = got.kind == WSOCK_PONG ? 0 : (int)got.kind;
    seen->data = buffer;
    seen->size = got.bytes;
    return 1;
}

static int next_polled(int i, struct seen *seen)
{
    wsock_event e;
    while (wsock_poll(all[i], &e, WSOCK_NEVER) >= 0) {
        seen->data = e.data;
        seen->size = e.size;
        if (e.type == WSOCK_EVENT_OPEN) {
            seen->what = OPENED;
        } else if (e.type == WSOCK_EVENT_MESSAGE) {
            seen->what = MESSAGE;
            seen->kind = (int)e.kind;
        } else if (e.type == WSOCK_EVENT_PONG) {
            seen->what = PONG;
        } else if (e.type == WSOCK_EVENT_CLOSE) {
            tell_end(i, seen);
        } else {
            continue;
        }
        return 1;
    }
    return 0;
}

static int peer_next(int i, struct seen *seen)
{
    if (ended[i])
        return 0;
    return blocking ? next_blocking(i, seen) : next_polled(i, seen);
}

static int peer_close(int i, int code, const char *reason)
{
    return wsock_close(all[i], code, reason) == WSOCK_OK;
}

static void peer_leave(int i) { wsock_abort(all[i]); }

static const char *peer_protocol(int i) { return wsock_subprotocol(all[i]); }

static const char *peer_error(int i)
{
    return wsock_result_name(wsock_error(all[i]));
}

static int peer_refusal(int i, const char **body, size_t *size)
{
    const wsock_failure *why = wsock_why(all[i]);
    *body = why->body;
    *size = why->body_size;
    return why->http_status;
}

int main(int argc, char **argv)
{
    const char *protocols[LIST + 1] = {0}, *headers[LIST + 1] = {0};
    size_t protocol_count = 0, header_count = 0;
    wsock_options o = {0};
    int i, k, count = 1;

    o.flags = WSOCK_NONBLOCKING;
    o.subprotocols = protocols;
    o.headers = headers;
    for (i = 1; i + 1 < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "--blocking") == 0)
            blocking = 1;
        else if (strcmp(argv[i], "--count") == 0)
            count = atoi(argv[++i]);
        else if (strcmp(argv[i], "--keepalive") == 0)
            o.keepalive_interval = atoi(argv[++i]);
        else if (strcmp(argv[i], "--subprotocol") == 0 &&
                 protocol_count < LIST)
            protocols[protocol_count++] = argv[++i];
        else if (strcmp(argv[i], "--header") == 0 && header_count < LIST)
            headers[header_count++] = argv[++i];
        else
            break;
    }
    if (i >= argc || argv[i][0] == '-' || count < 1 || count > COUNT) {
        fprintf(stderr, "talk: see the comment at the top of talk.c\n");
        return 2;
    }
    if (blocking)
        o.flags = WSOCK_CONTROL;
    for (k = 0; k < count; k++)
        all[k] = wsock_connect(argv[i], &o);
    run_steps(count, argv + i + 1, argc - i - 1);
    for (k = 0; k < count; k++)
        wsock_free(all[k]);
    return 0;
}
