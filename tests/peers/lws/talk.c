/* talk.c - libwebsockets as the end of a conversation that begins it.
 *
 *     cc -O2 -o lws_talk tests/peers/lws/talk.c -lwebsockets
 *     ./lws_talk [--count N] [--subprotocol NAMES] PORT STEP...
 *     ./lws_talk --listen STEP...
 *
 * A client of 127.0.0.1:PORT, or a server that prints its URL and does the
 * steps with its first client.  They stand in ../steps/steps.h; NAMES have
 * commas between them. */
#include "queue.h"
#include "../steps/steps.h"

enum { COUNT = 200 };

/* What has come and was not asked for yet. */
struct news {
    struct news *next;
    struct seen seen;
};

struct end {
    struct lws *wsi;
    struct side side;
    struct news *first, *last, *told;
    int closed_first; /* by us */
    int over;         /* CLOSED or LOST was noted */
    char protocol[64];
};

static struct lws_context *context;
static struct end all[COUNT];
static int accepted;

static void note(struct end *end, int what, int kind, int code,
                 const void *data, size_t size)
{
    struct news *n = (struct news *)malloc(sizeof *n + size + 1);
    char *copy = (char *)(n + 1);
    if (!n)
        abort();
    memset(n, 0, sizeof *n);
    if (size)
        memcpy(copy, data, size);
    copy[size] = '\0';
    n->seen.what = what;
    n->seen.kind = kind;
    n->seen.code = code;
    n->seen.data = copy;
    n->seen.size = size;
    if (end->last)
        end->last->next = n;
    else
        end->first = n;
    end->last = n;
}

static void note_peer_close(struct end *end, const unsigned char *in,
                            size_t size)
{
    int code = size < 2 ? 1005 : in[0] << 8 | in[1];
    end->over = 1;
    note(end, CLOSED, 0, code, size < 2 ? in : in + 2,
         size < 2 ? 0 : size - 2);
}

/* libwebsockets tells neither that an answer to our Close came nor which:
 * the server is asked afterwards, see "ask:/seen". */
static void note_end(struct end *end)
{
    if (!end->over)
        note(end, end->closed_first ? CLOSED : LOST, 0, 0, "", 0);
    end->over = 1;
    end->wsi = NULL;
}

static struct end *end_of(struct lws *wsi)
{
    return (struct end *)lws_get_opaque_user_data(wsi);
}

static int callback(struct lws *wsi, enum lws_callback_reasons why,
                    void *user, void *in, size_t size)
{
    struct end *end = end_of(wsi);
    switch ((int)why) {
    case LWS_CALLBACK_ESTABLISHED:
        if (accepted++)
            return -1;
        lws_set_opaque_user_data(wsi, &all[0]);
        all[0].wsi = wsi;
        note(&all[0], OPENED, 0, 0, "", 0);
        return 0;
    case LWS_CALLBACK_CLIENT_FILTER_PRE_ESTABLISH: /* later the head is gone */
        if (lws_hdr_copy(wsi, end->protocol, sizeof end->protocol,
                         WSI_TOKEN_PROTOCOL) < 0)
            end->protocol[0] = '\0';
        return 0;
    case LWS_CALLBACK_CLIENT_ESTABLISHED:
        note(end, OPENED, 0, 0, "", 0);
        return 0;
    case LWS_CALLBACK_RECEIVE:
    case LWS_CALLBACK_CLIENT_RECEIVE:
        if (gather(wsi, &end->side, in, size))
            note(end, MESSAGE, lws_frame_is_binary(wsi) ? BINARY : TEXT, 0,
                 end->side.message, end->side.size);
        return 0;
    case LWS_CALLBACK_RECEIVE_PONG:
    case LWS_CALLBACK_CLIENT_RECEIVE_PONG:
        note(end, PONG, 0, 0, in, size);
        return 0;
    case LWS_CALLBACK_SERVER_WRITEABLE:
    case LWS_CALLBACK_CLIENT_WRITEABLE:
        return write_one(wsi, &end->side);
    case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
        note_peer_close(end, (const unsigned char *)in, size);
        return 0;
    case LWS_CALLBACK_CLOSED:
    case LWS_CALLBACK_CLIENT_CLOSED:
        if (end)
            note_end(end);
        return 0;
    case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
        if (end)
            note(end, LOST, 0, 0, in ? in : "", in ? strlen(in) : 0);
        return 0;
    default:
        return lws_callback_http_dummy(wsi, why, user, in, size);
    }
}

static const struct lws_protocols protocols[] = {
    {"talk", callback, 0, 65536, 0, NULL, 0},
    {"chat", callback, 0, 65536, 0, NULL, 0},
    {"superchat", callback, 0, 65536, 0, NULL, 0},
    {NULL, NULL, 0, 0, 0, NULL, 0}};

/* -------------------------------------------------- what steps.h wants -- */

static int peer_send(int i, int kind, const void *data, size_t size)
{
    struct side *side = &all[i].side;
    if (!all[i].wsi)
        return -1;
    lws_callback_on_writable(all[i].wsi);
    if (kind == PING || kind == UNASKED)
        return put(side, kind == PING ? LWS_WRITE_PING : LWS_WRITE_PONG,
                   data, size);
    return put_part(side, (kind & ~MORE) == BINARY, kind & MORE, data, size);
}

static int peer_next(int i, struct seen *seen)
{
    struct end *end = &all[i];
    free(end->told);
    end->told = NULL;
    while (!end->first)
        if (lws_service(context, 0) < 0)
            return 0;
    end->told = end->first;
    end->first = end->told->next;
    if (!end->first)
        end->last = NULL;
    *seen = end->told->seen;
    return 1;
}

static int peer_close(int i, int code, const char *reason)
{
    if (!all[i].wsi)
        return 0;
    all[i].closed_first = 1;
    set_close(&all[i].side, code, reason);
    lws_callback_on_writable(all[i].wsi);
    return 1;
}

static void peer_leave(int i)
{
    lws_set_timeout(all[i].wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC);
}

static const char *peer_protocol(int i) { return all[i].protocol; }

static const char *peer_error(int i)
{
    return all[i].over ? "lost" : "no error";
}

static int peer_refusal(int i, const char **body, size_t *size)
{
    (void)i;
    *body = "";
    *size = 0;
    return 0;
}

/* ----------------------------------------------------------------- main -- */

static struct lws_vhost *start(int port)
{
    struct lws_context_creation_info info;
    memset(&info, 0, sizeof info);
    lws_set_log_level(LLL_ERR, NULL);
    info.port = port;
    info.iface = port == 0 ? "127.0.0.1" : NULL;
    info.protocols = protocols;
    info.options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS |
                   LWS_SERVER_OPTION_VALIDATE_UTF8;
    context = lws_create_context(&info);
    return context ? lws_create_vhost(context, &info) : NULL;
}

static void dial(struct lws_vhost *host, int port, const char *names, int i)
{
    struct lws_client_connect_info c;
    memset(&c, 0, sizeof c);
    c.context = context;
    c.vhost = host;
    c.address = c.host = c.origin = "127.0.0.1";
    c.port = port;
    c.path = "/";
    c.protocol = names;
    c.local_protocol_name = "talk";
    c.opaque_user_data = &all[i];
    c.pwsi = &all[i].wsi;
    lws_client_connect_via_info(&c);
}

int main(int argc, char **argv)
{
    const char *names = NULL;
    struct lws_vhost *host;
    int i, k, count = 1, listening = 0, port = 0;
    for (i = 1; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "--listen") == 0)
            listening = 1;
        else if (strcmp(argv[i], "--count") == 0 && i + 1 < argc)
            count = atoi(argv[++i]);
        else if (strcmp(argv[i], "--subprotocol") == 0 && i + 1 < argc)
            names = argv[++i];
    }
    if (!listening)
        port = i < argc ? atoi(argv[i++]) : 0;
    if ((!listening && !port) || count < 1 || count > COUNT) {
        fprintf(stderr, "lws_talk: see the comment at the top of talk.c\n");
        return 2;
    }
    host = start(listening ? 0 : CONTEXT_PORT_NO_LISTEN);
    if (!host)
        return 1;
    if (listening)
        printf("listening on ws://127.0.0.1:%d/\n",
               lws_get_vhost_listen_port(host));
    fflush(stdout);
    for (k = 0; !listening && k < count; k++)
        dial(host, port, names, k);
    run_steps(count, argv + i, argc - i);
    lws_context_destroy(context);
    for (k = 0; k < count; k++)
        release(&all[k].side);
    return 0;
}
