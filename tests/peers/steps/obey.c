/* obey.c - an echo server that also does what it is told.
 *
 *     cc -O2 -o obey tests/peers/steps/obey.c
 *     ./obey [--port N]
 *
 * It speaks the subprotocols "chat" and "superchat", the client's choice.
 * All messages come back, but for texts that begin so:
 *
 *     /close [CODE [WHY]]  close the connection
 *     /abort               drop it
 *     /ping TEXT           send a ping; its pong is told as "pong TEXT"
 *     /pinged N            "pinged", when N pings have come from this client
 *     /split N             from now on echoes leave in fragments of N bytes
 *     /seen CODE WHY       "yes" if any client has closed so, else "no"
 *     /request             what was asked for: path, query, and headers
 *
 * Ends on SIGTERM, after closing its connections. */
#define WSOCK_IMPLEMENTATION
#include "../../../wsock.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEEN = 4096, LINE = 1024 };
static wsock_server *server;
static volatile sig_atomic_t stop;
static char *seen[SEEN]; /* the last closes */
static size_t seen_count;

/* What belongs to a connection: wsock_user(). */
struct visit {
    size_t split, pings, pings_wanted;
    char request[LINE];
};

static void on_signal(int number)
{
    (void)number;
    stop = 1;
    wsock_server_wake(server);
}

static void upgrade(wsock *ws, const wsock_request *r)
{
    static const char *const spoken[] = {"chat", "superchat"};
    struct visit *v = (struct visit *)calloc(1, sizeof *v);
    const char *agreed = NULL, *forwarded = wsock_header(ws,
                                                         "X-Forwarded-For");
    size_t i, k;
    for (i = 0; r->subprotocols[i] && !agreed; i++)
        for (k = 0; k < 2; k++)
            if (strcmp(r->subprotocols[i], spoken[k]) == 0)
                agreed = spoken[k];
    if (v)
        snprintf(v->request, sizeof v->request, "%s %s %s", r->path,
                 r->query ? r->query : "-", forwarded ? forwarded : "-");
    wsock_set_user(ws, v);
    if (!v || !r->upgrade)
        wsock_respond(ws, v ? 426 : 503, NULL, NULL, 0);
    else
        wsock_upgrade(ws, agreed, NULL);
    if (!r->upgrade)
        free(v);
}

static void note_close(const wsock_event *e)
{
    char line[LINE];
    size_t at = seen_count++ % SEEN;
    snprintf(line, sizeof line, "%d %.*s", e->code, (int)e->size,
             (const char *)e->data);
    free(seen[at]);
    seen[at] = (char *)malloc(strlen(line) + 1);
    if (seen[at])
        strcpy(seen[at], line);
    free(wsock_user(e->ws));
}

static int was_seen(const char *line)
{
    size_t i;
    for (i = 0; i < SEEN; i++)
        if (seen[i] && strcmp(seen[i], line) == 0)
            return 1;
    return 0;
}

static void say(wsock *ws, const char *text)
{
    wsock_send(ws, WSOCK_TEXT, text, strlen(text));
}

static int told(const char *text, const char *word, const char **rest)
{
    size_t n = strlen(word);
    if (strncmp(text, word, n) != 0 || (text[n] && text[n] != ' '))
        return 0;
    *rest = text[n] ? text + n + 1 : text + n;
    return 1;
}

static int obey(wsock *ws, const char *text)
{
    struct visit *v = (struct visit *)wsock_user(ws);
    const char *rest;
    char *reason;
    if (told(text, "/close", &rest)) {
        int code = (int)strtol(rest, &reason, 10);
        wsock_close(ws, code, *reason ? reason + 1 : NULL);
    } else if (told(text, "/abort", &rest)) {
        wsock_abort(ws);
    } else if (told(text, "/ping", &rest)) {
        wsock_send(ws, WSOCK_PING, rest, strlen(rest));
    } else if (told(text, "/pinged", &rest)) {
        v->pings_wanted = (size_t)strtoul(rest, NULL, 10);
    } else if (told(text, "/split", &rest)) {
        v->split = (size_t)strtoul(rest, NULL, 10);
    } else if (told(text, "/seen", &rest)) {
        say(ws, was_seen(rest) ? "yes" : "no");
    } else if (told(text, "/request", &rest)) {
        say(ws, v->request);
    } else {
        return 0;
    }
    return 1;
}

static void answer(const wsock_event *e)
{
    struct visit *v = (struct visit *)wsock_user(e->ws);
    const char *data = e->size ? (const char *)e->data : "";
    char text[LINE];
    size_t at = 0;
    if (e->kind == WSOCK_TEXT && e->size < sizeof text && e->size &&
        data[0] == '/') {
        memcpy(text, data, e->size);
        text[e->size] = '\0';
        if (obey(e->ws, text))
            return;
    }
    for (; v->split && at + v->split < e->size; at += v->split)
        wsock_send(e->ws, e->kind | WSOCK_FRAGMENT, data + at, v->split);
    wsock_send(e->ws, e->kind, data + at, e->size - at);
}

static void pong(const wsock_event *e)
{
    char text[160];
    snprintf(text, sizeof text, "pong %.*s", (int)e->size,
             (const char *)e->data);
    if (strcmp(text, "pong unasked") != 0)
        say(e->ws, text);
}

static void ping(const wsock_event *e)
{
    struct visit *v = (struct visit *)wsock_user(e->ws);
    if (++v->pings == v->pings_wanted)
        say(e->ws, "pinged");
}

static void serve(void)
{
    wsock_event e;
    int closing = 0;
    while (wsock_server_poll(server, &e, WSOCK_NEVER) >= 0) {
        if (e.type == WSOCK_EVENT_REQUEST)
            upgrade(e.ws, e.request);
        else if (e.type == WSOCK_EVENT_MESSAGE)
            answer(&e);
        else if (e.type == WSOCK_EVENT_PONG)
            pong(&e);
        else if (e.type == WSOCK_EVENT_PING)
            ping(&e);
        else if (e.type == WSOCK_EVENT_CLOSE)
            note_close(&e);
        if (stop && !closing) {
            closing = 1;
            wsock_server_close(server);
        }
    }
}

int main(int argc, char **argv)
{
    wsock_options o = {0};
    char url[64];
    size_t i;
    snprintf(url, sizeof url, "ws://127.0.0.1:%s/",
             argc == 3 && strcmp(argv[1], "--port") == 0 ? argv[2] : "0");
    o.flags = WSOCK_REQUESTS;
    o.send_limit = 64 << 20; /* the parts of an echo are not to be refused */
    server = wsock_listen(url, &o);
    if (wsock_server_error(server) != WSOCK_OK) {
        fprintf(stderr, "obey: %s\n", wsock_server_why(server)->text);
        return 1;
    }
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    printf("listening on ws://127.0.0.1:%d/\n", wsock_server_port(server));
    fflush(stdout);
    serve();
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    wsock_server_free(server);
    for (i = 0; i < SEEN; i++)
        free(seen[i]);
    return 0;
}
