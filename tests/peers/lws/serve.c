/* serve.c - an echo server by libwebsockets that does what it is told.
 *
 *     cc -O2 -o lws_serve tests/peers/lws/serve.c -lwebsockets
 *     ./lws_serve [--port N]
 *
 * It speaks the subprotocols "chat" and "superchat".  All messages come back
 * but for texts that begin so; see ../steps/obey.c:
 *
 *     /close [CODE [WHY]], /abort, /ping TEXT, /split N, /seen CODE WHY
 *
 * Ends on SIGTERM. */
#include "queue.h"

#include <signal.h>
#include <stdio.h>

enum { SEEN = 256, LINE = 1024 };
static char seen[SEEN][160];
static size_t seen_count;
static struct lws_context *context;
static volatile sig_atomic_t stop;

struct visit {
    struct side side;
    size_t split;
};

static void on_signal(int number)
{
    (void)number;
    stop = 1;
    lws_cancel_service(context);
}

static int was_seen(const char *line)
{
    size_t i;
    for (i = 0; i < SEEN; i++)
        if (strcmp(seen[i], line) == 0)
            return 1;
    return 0;
}

static void note_close(const unsigned char *data, size_t size)
{
    int code = size < 2 ? 1005 : data[0] << 8 | data[1];
    snprintf(seen[seen_count++ % SEEN], sizeof seen[0], "%d %.*s", code,
             size < 2 ? 0 : (int)(size - 2), (const char *)data + 2);
}

static int told(const char *text, const char *word, const char **rest)
{
    size_t n = strlen(word);
    if (strncmp(text, word, n) != 0 || (text[n] && text[n] != ' '))
        return 0;
    *rest = text[n] ? text + n + 1 : text + n;
    return 1;
}

/* 1: done; -1: drop the connection; 0: not a command. */
static int obey(struct lws *wsi, struct visit *v, const char *text)
{
    const char *rest, *answer;
    char *reason;
    if (told(text, "/close", &rest)) {
        int code = (int)strtol(rest, &reason, 10);
        set_close(&v->side, code, *reason ? reason + 1 : NULL);
    } else if (told(text, "/abort", &rest)) {
        lws_set_timeout(wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC);
    } else if (told(text, "/ping", &rest)) {
        put(&v->side, LWS_WRITE_PING, rest, strlen(rest));
    } else if (told(text, "/split", &rest)) {
        v->split = (size_t)strtoul(rest, NULL, 10);
    } else if (told(text, "/seen", &rest)) {
        answer = was_seen(rest) ? "yes" : "no";
        put_part(&v->side, 0, 0, answer, strlen(answer));
    } else {
        return 0;
    }
    return 1;
}

static void answer(struct lws *wsi, struct visit *v)
{
    int binary = lws_frame_is_binary(wsi);
    const unsigned char *data = v->side.message;
    size_t at = 0, size = v->side.size;
    if (binary || !obey(wsi, v, (const char *)data)) {
        for (; v->split && at + v->split < size; at += v->split)
            put_part(&v->side, binary, 1, data + at, v->split);
        put_part(&v->side, binary, 0, data + at, size - at);
    }
    lws_callback_on_writable(wsi);
}

static void pong(struct lws *wsi, struct visit *v, const char *data,
                 size_t size)
{
    char text[160];
    snprintf(text, sizeof text, "pong %.*s", (int)size, data);
    if (strcmp(text, "pong unasked") == 0)
        return;
    put_part(&v->side, 0, 0, text, strlen(text));
    lws_callback_on_writable(wsi);
}

static int callback(struct lws *wsi, enum lws_callback_reasons why,
                    void *user, void *in, size_t size)
{
    struct visit *v = (struct visit *)user;
    switch ((int)why) {
    case LWS_CALLBACK_RECEIVE:
        if (gather(wsi, &v->side, in, size))
            answer(wsi, v);
        return 0;
    case LWS_CALLBACK_RECEIVE_PONG:
        pong(wsi, v, (const char *)in, size);
        return 0;
    case LWS_CALLBACK_SERVER_WRITEABLE:
        return write_one(wsi, &v->side);
    case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
        note_close((const unsigned char *)in, size);
        return 0; /* it answers */
    case LWS_CALLBACK_CLOSED:
        release(&v->side);
        return 0;
    default:
        return lws_callback_http_dummy(wsi, why, user, in, size);
    }
}

static const struct lws_protocols protocols[] = {
    {"none", callback, sizeof(struct visit), 65536, 0, NULL, 0},
    {"chat", callback, sizeof(struct visit), 65536, 0, NULL, 0},
    {"superchat", callback, sizeof(struct visit), 65536, 0, NULL, 0},
    {NULL, NULL, 0, 0, 0, NULL, 0}};

int main(int argc, char **argv)
{
    struct lws_context_creation_info info;
    struct lws_vhost *host;
    memset(&info, 0, sizeof info);
    lws_set_log_level(LLL_ERR, NULL);
    info.port = argc == 3 && strcmp(argv[1], "--port") == 0 ? atoi(argv[2])
                                                            : 0;
    info.iface = "127.0.0.1";
    info.protocols = protocols;
    info.options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS |
                   LWS_SERVER_OPTION_VALIDATE_UTF8;
    context = lws_create_context(&info);
    host = context ? lws_create_vhost(context, &info) : NULL;
    if (!host)
        return 1;
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    printf("listening on ws://127.0.0.1:%d/\n",
           lws_get_vhost_listen_port(host));
    fflush(stdout);
    while (!stop && lws_service(context, 0) >= 0)
        ;
    lws_context_destroy(context);
    return 0;
}
