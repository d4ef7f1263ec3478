/* micro_wslay.c - wslay's parser alone; see ../micro.h. */
#include <wslay/wslay.h>

#include "../micro.h"

static wslay_event_context_ptr ws;
static size_t at, end, got;

static ssize_t on_recv(wslay_event_context_ptr context, uint8_t *data,
                       size_t size, int flags, void *user)
{
    size_t n = end - at < size ? end - at : size;
    (void)flags;
    (void)user;
    memcpy(data, in + at, n);
    at += n;
    if (n) return (ssize_t)n;
    wslay_event_set_error(context, WSLAY_ERR_WOULDBLOCK);
    return -1;
}

static void on_message(wslay_event_context_ptr context,
                       const struct wslay_event_on_msg_recv_arg *arg,
                       void *user)
{
    (void)context;
    (void)arg;
    (void)user;
    got++;
}

static void parse(size_t n)
{
    at = got = 0;
    end = n;
    if (wslay_event_recv(ws) != 0 || got != frames) die("not all were read");
}

int main(void)
{
    static const struct wslay_event_callbacks callbacks = {
        on_recv, NULL, NULL, NULL, NULL, NULL, on_message};
    wslay_event_context_server_init(&ws, &callbacks, NULL);
    rates("wslay", NULL, NULL);
    parse_rows("wslay", parse);
    wslay_event_context_free(ws);
    return 0;
}
