/* libwebsockets.c - an echo server, or with "fanout" a broadcast, by
 * libwebsockets: a message is collected while it is received, and written
 * when the connection may be written.
 *
 * Its loop is its own, by poll(), which is its fastest while connections are
 * busy.  With thousands of idle ones it is not: "uv" takes libuv's. */
#define _GNU_SOURCE
#include <libwebsockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct message { /* shared by all that it goes to */
    size_t size;
    int users, binary;
    unsigned char data[]; /* LWS_PRE bytes and the payload */
};

struct item {
    struct item *next;
    struct message *message;
};

struct session {
    struct lws *wsi;
    struct session *next, **self; /* in the list of all */
    struct message *in;           /* not complete yet */
    size_t room;
    struct item *first, **last; /* to be written */
};

static struct session *all;
static int fanout;

static void release(struct message *m)
{
    if (m && --m->users == 0) free(m);
}

static void enqueue(struct session *s, struct message *m)
{
    struct item *i = malloc(sizeof *i);
    if (!i) abort();
    i->next = NULL;
    i->message = m;
    m->users++;
    *s->last = i;
    s->last = &i->next;
    lws_callback_on_writable(s->wsi);
}

static void begin(struct session *s)
{
    memset(s, 0, sizeof *s);
    s->last = &s->first;
}

static void join(struct session *s, struct lws *wsi)
{
    begin(s);
    s->wsi = wsi;
    s->next = all;
    s->self = &all;
    if (all) all->self = &s->next;
    all = s;
}

static void leave(struct session *s)
{
    struct item *i;
    if (!s->self) return;
    *s->self = s->next;
    if (s->next) s->next->self = s->self;
    release(s->in);
    while ((i = s->first) != NULL) {
        s->first = i->next;
        release(i->message);
        free(i);
    }
    s->self = NULL;
}

static void receive(struct session *s, const void *data, size_t n)
{
    size_t left = lws_remaining_packet_payload(s->wsi);
    struct message *m = s->in;
    struct session *each;
    if (!m || m->size + n > s->room) {
        s->room = (m ? m->size : 0) + n + left;
        m = realloc(m, sizeof *m + LWS_PRE + s->room);
        if (!m) abort();
        if (!s->in) m->size = 0;
        s->in = m;
    }
    memcpy(m->data + LWS_PRE + m->size, data, n);
    m->size += n;
    if (left || !lws_is_final_fragment(s->wsi)) return;
    m->binary = lws_frame_is_binary(s->wsi);
    m->users = 1;
    if (!fanout) enqueue(s, m);
    else
        for (each = all; each; each = each->next) enqueue(each, m);
    release(m);
    s->in = NULL;
}

static int on_writable(struct session *s)
{
    struct item *i;
    while ((i = s->first) != NULL) {
        int n = lws_write(s->wsi, i->message->data + LWS_PRE,
                          i->message->size,
                          i->message->binary ? LWS_WRITE_BINARY
                                             : LWS_WRITE_TEXT);
        if (n < 0) return -1;
        s->first = i->next;
        if (!s->first) s->last = &s->first;
        release(i->message);
        free(i);
        if (s->first && lws_send_pipe_choked(s->wsi)) {
            lws_callback_on_writable(s->wsi);
            break;
        }
    }
    return 0;
}

static int on_event(struct lws *wsi, enum lws_callback_reasons why,
                    void *user, void *data, size_t n)
{
    switch (why) {
    case LWS_CALLBACK_ESTABLISHED: join(user, wsi); break;
    case LWS_CALLBACK_CLOSED: leave(user); break;
    case LWS_CALLBACK_RECEIVE: receive(user, data, n); break;
    case LWS_CALLBACK_SERVER_WRITEABLE: return on_writable(user);
    default: break;
    }
    return 0;
}

static void on_signal(void *handle, int number)
{
    (void)handle;
    (void)number;
    exit(0);
}

int main(int argc, char **argv)
{
    static const struct lws_protocols protocols[] = {
        {"echo", on_event, sizeof(struct session), 65536, 0, NULL, 0},
        {NULL, NULL, 0, 0, 0, NULL, 0}};
    struct lws_context_creation_info info;
    struct lws_context *context;
    struct lws_vhost *host;
    memset(&info, 0, sizeof info);
    fanout = argc > 1 && strcmp(argv[1], "fanout") == 0;
    lws_set_log_level(LLL_ERR, NULL);
    info.iface = "127.0.0.1";
    info.protocols = protocols;
    info.signal_cb = on_signal;
    info.pt_serv_buf_size = 65536;
    info.options = LWS_SERVER_OPTION_VALIDATE_UTF8
                   | LWS_SERVER_OPTION_EXPLICIT_VHOSTS;
    if (argc > 1 && strcmp(argv[1], "uv") == 0)
        info.options |= LWS_SERVER_OPTION_LIBUV;
    context = lws_create_context(&info);
    host = context ? lws_create_vhost(context, &info) : NULL;
    if (!host) return 1;
    printf("ws://127.0.0.1:%d/\n", lws_get_vhost_listen_port(host));
    fflush(stdout);
    while (lws_service(context, 0) >= 0) {
    }
    return 0;
}
