/* wsock_client.c - the scenarios by wsock.h. */
#define WSOCK_IMPLEMENTATION
#include "../../../wsock.h"
#include "scenarios.h"

/* A message that came while something else was waited for. */
typedef struct letter {
    struct letter *next;
    unsigned kind;
    size_t size;
    char data[1];
} letter;

static struct {
    wsock *ws;
    int polled;
    int open, sent;       /* events that have come */
    status sent_status;
    int ended, end_taken; /* CLOSE has come; a receive has said so */
    letter *first, **last;
    HANDLE thread;
    void *into;
    size_t into_size;
    wsock_status got;
    int result;
} c;

enum { PATIENCE = 20000 };

/* --------------------------------------------------------------- polled -- */

static void keep(const wsock_event *e)
{
    letter *l = (letter *)malloc(sizeof *l + e->size);
    if (!l)
        exit(1);
    l->next = NULL;
    l->kind = e->kind;
    l->size = e->size;
    memcpy(l->data, e->data, e->size);
    *c.last = l;
    c.last = &l->next;
}

static void event(const wsock_event *e)
{
    switch (e->type) {
    case WSOCK_EVENT_OPEN:
        c.open = 1;
        break;
    case WSOCK_EVENT_MESSAGE:
        keep(e);
        break;
    case WSOCK_EVENT_SENT:
        c.sent = 1;
        c.sent_status.kind = e->kind & ~(unsigned)WSOCK_BORROW;
        c.sent_status.bytes = e->size;
        c.result = e->code;
        break;
    case WSOCK_EVENT_CLOSE:
        c.ended = 1;
        break;
    default:
        break;
    }
}

/* Until one of these has come: the first of *a, *b that is not 0. */
static int poll_until(const int *a)
{
    wsock_event e;
    DWORD start = GetTickCount();
    while (!*a && !c.ended && GetTickCount() - start < PATIENCE) {
        int r = wsock_poll(c.ws, &e, 100);
        if (r < 0)
            return r;
        if (r > 0)
            event(&e);
    }
    return *a ? WSOCK_OK : WSOCK_TIMED_OUT;
}

static int poll_message(void)
{
    wsock_event e;
    DWORD start = GetTickCount();
    while (!c.first && !c.ended && GetTickCount() - start < PATIENCE) {
        int r = wsock_poll(c.ws, &e, 100);
        if (r > 0)
            event(&e);
    }
    return c.first ? WSOCK_OK : WSOCK_TIMED_OUT;
}

static int polled_send(unsigned kind, const void *data, size_t size,
                       status *done)
{
    wsock_buf buf;
    int r;
    buf.data = data;
    buf.size = size;
    c.sent = 0;
    r = wsock_sendv(c.ws, kind | WSOCK_BORROW, &buf, 1, NULL);
    if (r != WSOCK_OK)
        return r;
    poll_until(&c.sent);
    if (c.sent && c.result == WSOCK_OK)
        *done = c.sent_status;
    else
        done->operation = SENDING;
    return c.sent ? c.result : wsock_error(c.ws);
}

/* CLOSE is the last event; a poll after it says so too. */
static int polled_end(status *got)
{
    wsock_event e;
    int r = wsock_error(c.ws);
    if (r != WSOCK_OK) {
        got->operation = wsock_why(c.ws)->operation == WSOCK_OPERATION_SEND
                             ? SENDING
                         : wsock_why(c.ws)->operation == WSOCK_OPERATION_CLOSE
                             ? CLOSE_OPERATION
                             : RECEIVING;
        return r;
    }
    if (c.end_taken)
        return wsock_poll(c.ws, &e, 0);
    c.end_taken = 1;
    got->kind = CLOSING;
    return WSOCK_OK;
}

static int polled_receive(void *data, size_t size, status *got)
{
    letter *l;
    poll_message();
    if (!c.first)
        return c.ended ? polled_end(got) : WSOCK_TIMED_OUT;
    l = c.first;
    c.first = l->next;
    if (!c.first)
        c.last = &c.first;
    got->kind = l->kind;
    got->bytes = l->size < size ? l->size : size;
    memcpy(data, l->data, got->bytes);
    free(l);
    return WSOCK_OK;
}

/* ----------------------------------------------------------- connecting -- */

static const char *const *list_of(const char **list, const char *text)
{
    list[0] = text;
    return text ? list : NULL;
}

/* "chat, echo" as a list. */
static const char *const *names_of(const char **list, const char *text)
{
    static char copy[64];
    char *comma;
    if (!text)
        return NULL;
    strcpy(copy, text);
    comma = strstr(copy, ", ");
    list[0] = copy;
    if (comma) {
        *comma = 0;
        list[1] = comma + 2;
    }
    return list;
}

static void make(const char *url, const setup *s)
{
    static const char *header[2], *names[3];
    wsock_options o;
    memset(&c, 0, sizeof c);
    memset(&o, 0, sizeof o);
    c.last = &c.first;
    c.polled = s->asynchronous && !s->pending;
    o.flags = (c.polled ? WSOCK_NONBLOCKING : 0)
              | (s->parts ? WSOCK_PARTS : 0)
              | (s->anyone ? WSOCK_UNSAFE_TLS_ACCEPT_ANYONE : 0);
    o.user = s->user;
    o.headers = list_of(header, s->header);
    o.subprotocols = names_of(names, s->subprotocol);
    o.connect_timeout = s->connect_timeout;
    o.handshake_timeout = s->response_timeout;
    o.receive_timeout = PATIENCE; /* a failure instead of a hang */
    o.close_timeout = s->close_timeout;
    o.keepalive_interval = s->keepalive;
    o.receive_buffer = (size_t)s->receive_buffer;
    o.send_limit = (size_t)s->send_buffer;
    c.ws = wsock_new(WSOCK_CLIENT, url, &o);
}

int client_connect(const char *url, const setup *s)
{
    make(url, s);
    wsock_dial(c.ws);
    if (c.polled)
        poll_until(&c.open);
    return wsock_error(c.ws);
}

static DWORD WINAPI dial(void *unused)
{
    (void)unused;
    c.result = wsock_dial(c.ws);
    return 0;
}

void client_connect_begin(const char *url, const setup *s)
{
    make(url, s);
    c.thread = CreateThread(NULL, 0, dial, NULL, 0, NULL);
}

int client_connect_end(void)
{
    WaitForSingleObject(c.thread, INFINITE);
    CloseHandle(c.thread);
    return c.result;
}

void client_free(void)
{
    wsock_free(c.ws);
    c.ws = NULL;
    while (c.first) {
        letter *l = c.first;
        c.first = l->next;
        free(l);
    }
}

int client_http_status(void)
{
    return wsock_why(c.ws)->http_status;
}

size_t client_body(char *text, size_t size)
{
    const wsock_failure *why = wsock_why(c.ws);
    size_t n = why->body_size < size ? why->body_size : size;
    memcpy(text, why->body, n);
    return n;
}

void client_header(const char *name, char *text, size_t size)
{
    const char *value = wsock_header(c.ws, name);
    snprintf(text, size, "%s", value ? value : "");
}

void *client_user(void)
{
    return wsock_user(c.ws);
}

/* --------------------------------------------------- sending, receiving -- */

/* The scenarios' kinds are ours. */
int client_send(unsigned kind, const void *data, size_t size, status *done)
{
    if (c.polled)
        return polled_send(kind, data, size, done);
    return wsock_send(c.ws, kind, data, size);
}

int client_send_begin(unsigned kind, const void *data, size_t size)
{
    return wsock_send(c.ws, kind, data, size);
}

static int receive_now(void *data, size_t size, status *got)
{
    wsock_status s;
    int r = wsock_receive(c.ws, data, size, &s);
    if (r == WSOCK_OK && got) {
        got->kind = s.kind;
        got->bytes = s.bytes;
    }
    return r;
}

int client_receive(void *data, size_t size, status *got)
{
    return c.polled ? polled_receive(data, size, got)
                    : receive_now(data, size, got);
}

static DWORD WINAPI receiver(void *unused)
{
    (void)unused;
    c.result = wsock_receive(c.ws, c.into, c.into_size, &c.got);
    return 0;
}

/* It is in the call soon: nothing tells when. */
int client_receive_begin(void *data, size_t size)
{
    c.into = data;
    c.into_size = size;
    c.thread = CreateThread(NULL, 0, receiver, NULL, 0, NULL);
    Sleep(300);
    return c.thread ? WSOCK_OK : WSOCK_NO_MEMORY;
}

int client_receive_end(status *got)
{
    WaitForSingleObject(c.thread, INFINITE);
    CloseHandle(c.thread);
    if (c.result == WSOCK_OK) {
        got->kind = c.got.kind;
        got->bytes = c.got.bytes;
    } else {
        got->operation = RECEIVING;
    }
    return c.result;
}

/* -------------------------------------------------------------- closing -- */

int client_shutdown(int code, const char *reason)
{
    return wsock_shutdown(c.ws, code, reason);
}

int client_close(int code, const char *reason, status *done)
{
    int r = wsock_close(c.ws, code, reason);
    if (!c.polled || r != WSOCK_OK)
        return r;
    poll_until(&c.ended);
    c.end_taken = 1;
    if (wsock_why(c.ws)->operation == WSOCK_OPERATION_CLOSE)
        done->operation = CLOSE_OPERATION;
    return wsock_error(c.ws);
}

int client_close_status(int *code, char *reason, size_t size, size_t *needed)
{
    const char *text = "";
    int r = wsock_close_status(c.ws, code, &text);
    (void)size; /* the text is the connection's: none is needed */
    if (r == WSOCK_OK) {
        strcpy(reason, text);
        *needed = strlen(text);
    }
    return r;
}

/* -------------------------------------------------------------- results -- */

const char *client_name(int result)
{
    return wsock_result_name(result);
}

#define RESULT(word, theirs, ours) { word, ours },
const char *client_word(int result)
{
    static const struct {
        const char *word;
        int code;
    } results[] = { CLIENT_RESULTS(RESULT) };
    size_t i;
    for (i = 0; i < sizeof results / sizeof results[0]; i++)
        if (results[i].code == result)
            return results[i].word;
    return wsock_result_name(result);
}
