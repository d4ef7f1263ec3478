/* chat.c - a chat and its web page, from one program on one port.
 *
 *     cc -O2 -o chat examples/chat.c
 *     ./chat [--host H] [--port N] [--cert FILE --key FILE]
 *
 * Open the address that it prints, http://127.0.0.1:9001/ unless told
 * otherwise, in two windows (port 0: any free one; host 0.0.0.0: for other
 * machines too).  With a certificate and its key (PEM) that is https://.  It
 * ends on SIGINT and SIGTERM, after closing its connections.  For https://,
 * with BearSSL (Debian's libbearssl-dev):
 *
 *     cc -O2 -DWSOCK_BEARSSL -o chat examples/chat.c -lbearssl
 *
 * The chat is ws://127.0.0.1:9001/chat (and ws://127.0.0.1:9001/).
 * Page to server: the first message is a name, all others are what is said.
 * Server to page: KIND, number, name and text with tabs between, where KIND
 * is "here", "you", "join", "says" or "left".  The server itself puts number
 * and name before the text, so nobody can speak in another's name. */
#define WSOCK_IMPLEMENTATION
#include "../wsock.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The page.  Names and texts become text nodes there (append), never HTML, so
 * nothing that is said can run in it.  A string of more than 4,095 characters
 * is one that not every C99 compiler takes. */
static const char page[] =
"<!doctype html><html lang=en><meta charset=utf-8><title>wsock chat</title>\n"
"<meta name=viewport content='width=device-width'><link rel=icon href=data:,>\n"
"<style>\n"
":root{color-scheme:light dark;--back:#edf0f5;--card:#fff;--mine:#dbe7ff;\n"
" --text:#1c2130;--dim:#6a7284;--edge:#d5dbe5;--tone:34%}\n"
"@media(prefers-color-scheme:dark){:root{--back:#12151c;--card:#1e232d;\n"
" --mine:#233a66;--text:#e5e9f0;--dim:#8d96a8;--edge:#303846;--tone:72%}}\n"
"*{box-sizing:border-box;font:inherit;unicode-bidi:isolate}\n"
"body{margin:0 auto;padding:0 1rem;max-width:46rem;\n"
" height:100vh;height:100dvh;display:flex;flex-direction:column;\n"
" color:var(--text);background:var(--back);\n"
" font:1rem/1.45 Inter,system-ui,sans-serif}\n"
"header{display:flex;gap:1rem;padding:1rem 0}\n"
"h1{margin:0;font-weight:700}\n"
"#who{flex:1;display:flex;flex-wrap:wrap;gap:0 .8rem;\n"
" max-height:5rem;overflow:auto}\n"
"#status{color:var(--dim)}#status:before{content:'\\25cf\\a0';color:#d33}\n"
".on #status:before{color:#2a4}\n"
"ol{flex:1;overflow-y:auto;margin:0;padding:1rem 0;list-style:none;\n"
" display:flex;flex-direction:column;gap:.4rem;\n"
" border:solid var(--edge);border-width:1px 0}\n"
"li{align-self:center;max-width:85%;color:var(--dim);\n"
" overflow-wrap:anywhere;white-space:pre-wrap}\n"
".says{align-self:start;padding:.4rem .9rem .5rem;border-radius:1rem;\n"
" background:var(--card);color:var(--text)}\n"
".me{align-self:end;background:var(--mine)}.says b{display:block}\n"
"b{font-weight:600;color:hsl(var(--hue),60%,var(--tone))}\n"
"small{font-size:.75em;margin-left:.3em;opacity:.7}\n"
"form{display:flex;gap:.6rem;padding:1rem 0}\n"
"input,button{padding:.6rem 1.1rem;border-radius:2rem;color:inherit;\n"
" border:1px solid var(--edge);background:var(--card)}\n"
"input{flex:1;min-width:0}button{background:#2757d6;color:#fff}\n"
":focus{outline:2px solid #5b8cff}\n"
"</style>\n"
"<header><h1>wsock chat</h1><div id=who></div><output id=status></output>\n"
"</header><ol id=list role=log></ol>\n"
"<form id=form><input id=box autocomplete=off autofocus>\n"
"<button id=go></button></form>\n"
"<script>\n"
"const $ = id => document.getElementById(id), people = new Map();\n"
"let nick = sessionStorage.getItem('nick'), socket, me;\n"
"const make = (tag, ...parts) => {\n"
"  const e = document.createElement(tag); e.append(...parts); return e; };\n"
"const person = (id, name) => {\n"
"  const e = make('b', name, make('small', '#' + id));\n"
"  e.style.setProperty('--hue', id * 137 + 80); return e; };\n"
"function add(kind, id, ...parts) {\n"
"  const list = $('list'), row = make('li', ...parts), end =\n"
"    list.scrollHeight - list.scrollTop - list.clientHeight < 40;\n"
"  row.className = kind + (id === me ? ' me' : ''); list.append(row);\n"
"  if (list.children.length > 500) list.firstChild.remove();\n"
"  if (end) list.scrollTop = list.scrollHeight; }\n"
"function show(status) {\n"
"  document.body.className = status === 'connected' ? 'on' : '';\n"
"  $('status').textContent = status;\n"
"  $('who').replaceChildren(...[...people].map(p => person(...p)));\n"
"  $('box').placeholder = nick ? 'Say something' : 'Your name';\n"
"  $('box').maxLength = nick ? 1000 : 20;\n"
"  $('go').textContent = nick ? 'Send' : 'Join'; }\n"
"function connect() {\n"
"  show('connecting');\n"
"  socket = new WebSocket(location.origin.replace('http', 'ws') + '/chat');\n"
"  socket.onopen = () => socket.send(nick);\n"
"  socket.onmessage = e => {\n"
"    const [kind, id, name, ...text] = e.data.split('\\t');\n"
"    if (kind === 'says')\n"
"      return add(kind, id, person(id, name), text.join('\\t'));\n"
"    if (kind === 'you') me = id;\n"
"    if (kind === 'left') people.delete(id); else people.set(id, name);\n"
"    if (kind === 'join') add('', 0, person(id, name), ' joined');\n"
"    if (kind === 'left') add('', 0, person(id, name), ' left');\n"
"    show('connected'); };\n"
"  socket.onclose = () => {\n"
"    people.clear(); show('disconnected');\n"
"    setTimeout(connect, 500 + 1500 * Math.random()); }; }\n"
"$('form').onsubmit = e => {\n"
"  const text = $('box').value.trim(); e.preventDefault();\n"
"  if (!text || nick && socket.readyState !== 1) return;\n"
"  $('box').value = '';\n"
"  if (nick) return socket.send(text);\n"
"  sessionStorage.setItem('nick', nick = text); connect(); };\n"
"if (nick) connect(); else show('not connected');\n"
"</script>\n";

enum { MAX_PEOPLE = 1000, MAX_TEXT = 4096, SEND_LIMIT = 256 * 1024 };

/* One for each open connection, which has it as its wsock_user(). */
struct person {
    wsock *ws;
    unsigned number; /* 0: has not given a name yet */
    char name[64];
    struct person *next;
};

static wsock_server *server;
static struct person *people;
static unsigned last_number;
static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
    wsock_server_wake(server); /* may be called here */
}

/* Tell one person, or all (NULL).  Whoever is so far behind that it cannot be
 * told is dropped, and comes back to a fresh list; an aborted connection stays
 * valid until its CLOSE event. */
static void tell(struct person *to, const char *kind,
                 const struct person *who, const void *text, size_t size)
{
    static char line[MAX_TEXT + 128];
    struct person *p;
    size_t n = (size_t)snprintf(line, sizeof line, "%s\t%u\t%s\t%.*s", kind,
                                who->number, who->name, (int)size,
                                (const char *)text);
    int r = to ? wsock_send(to->ws, WSOCK_TEXT, line, n)
               : wsock_broadcast(server, NULL, 0, WSOCK_TEXT, line, n);
    if (r == WSOCK_NO_MEMORY)
        fprintf(stderr, "chat: a line is lost: %s\n", wsock_result_text(r));
    for (p = people; r != WSOCK_OK && p; p = p->next)
        if (p == to || wsock_queued(p->ws) >= SEND_LIMIT)
            wsock_abort(p->ws);
}

static void join(struct person *p, const char *name, size_t size)
{
    struct person *other;
    size_t i;
    /* Cut between characters only: browsers close on broken UTF-8. */
    if (size >= sizeof p->name)
        for (size = sizeof p->name - 1; (name[size] & 0xC0) == 0x80;)
            size--;
    for (i = 0; i < size; i++) /* a tab would forge the next field */
        p->name[i] = (unsigned char)name[i] < ' ' ? ' ' : name[i];
    for (other = people; other; other = other->next)
        if (other->number)
            tell(p, "here", other, "", 0);
    p->number = ++last_number;
    tell(p, "you", p, "", 0);
    tell(NULL, "join", p, "", 0);
}

static void leave(struct person *p)
{
    struct person **at = &people;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    if (p->number)
        tell(NULL, "left", p, "", 0);
    free(p);
}

/* A browser lets every page on the web open a WebSocket to every server that
 * the visitor can reach, cookies and all; only Origin tells whose page it is.
 * Unless it is the one that this server gave out, a stranger's page would
 * read and speak for the visitor.  Programs that are no browsers send no
 * Origin and have no visitor to betray. */
static int is_our_page(const wsock_request *r)
{
    const char *host = r->origin ? strstr(r->origin, "://") : NULL;
    return !r->origin || (host && r->host && !strcmp(host + 3, r->host));
}

/* Every request is to be answered, or given up. */
static void answer(wsock *ws, const wsock_request *r)
{
    int done;
    static const char *const plain[] = {
        "Content-Type: text/plain; charset=utf-8",
        "X-Content-Type-Options: nosniff", NULL};
    static const char *const html[] = {
        "Content-Type: text/html; charset=utf-8",
        "X-Content-Type-Options: nosniff",
        "Cache-Control: no-cache",
        "Content-Security-Policy: default-src 'none'; connect-src 'self'; "
        "script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'", NULL};
    int home = strcmp(r->path, "/") == 0;

    if (home && !r->upgrade)
        done = wsock_respond(ws, 200, html, page, sizeof page - 1);
    else if (!r->upgrade || (!home && strcmp(r->path, "/chat") != 0))
        done = wsock_respond(ws, 404, plain, "not found\n", 10);
    else if (!is_our_page(r))
        done = wsock_respond(ws, 403, plain, "not from this page\n", 19);
    else
        done = wsock_upgrade(ws, NULL, NULL);
    if (done != WSOCK_OK && done != WSOCK_CLOSED) /* else the peer has left */
        wsock_close(ws, WSOCK_CLOSE_TRY_AGAIN_LATER, NULL);
}

static void handle(const wsock_event *e)
{
    struct person *p = (struct person *)wsock_user(e->ws);
    switch (e->type) {
    case WSOCK_EVENT_REQUEST:
        answer(e->ws, e->request);
        break;
    case WSOCK_EVENT_OPEN:
        p = (struct person *)calloc(1, sizeof *p);
        if (!p) {
            wsock_close(e->ws, WSOCK_CLOSE_TRY_AGAIN_LATER, NULL);
            break;
        }
        p->ws = e->ws;
        p->next = people;
        people = p;
        wsock_set_user(e->ws, p);
        break;
    case WSOCK_EVENT_MESSAGE:
        if (!p || e->size == 0)
            break;
        if (e->kind != WSOCK_TEXT)
            wsock_close(e->ws, WSOCK_CLOSE_UNSUPPORTED_DATA, "text only");
        else if (p->number)
            tell(NULL, "says", p, e->data, e->size);
        else
            join(p, (const char *)e->data, e->size);
        break;
    case WSOCK_EVENT_CLOSE:
        if (p)
            leave(p);
        break;
    default:
        break;
    }
}

int main(int argc, char **argv)
{
    const char *host = "127.0.0.1", *port = "9001", *s;
    wsock_options options = {0};
    wsock_event e;
    char url[320];
    int i, failed, closing = 0;

    for (i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--host") == 0)
            host = argv[i + 1];
        else if (strcmp(argv[i], "--port") == 0)
            port = argv[i + 1];
        else if (strcmp(argv[i], "--cert") == 0)
            options.tls_cert = argv[i + 1];
        else if (strcmp(argv[i], "--key") == 0)
            options.tls_key = argv[i + 1];
        else
            break;
    }
    if (i < argc) {
        fprintf(stderr, "usage: chat [--host H] [--port N] "
                        "[--cert FILE --key FILE]\n");
        return 2;
    }

    options.flags = WSOCK_REQUESTS;
    options.max_message = MAX_TEXT;
    options.send_limit = SEND_LIMIT;
    options.close_timeout = 2000; /* a browser that sleeps is not awaited */
    options.max_connections = MAX_PEOPLE; /* "here" for all of them fits */
    s = options.tls_cert ? "s" : "";
    snprintf(url, sizeof url, strchr(host, ':') ? "ws%s://[%s]:%s/"
                                                : "ws%s://%s:%s/",
             s, host, port);
    server = wsock_listen(url, &options);
    if (wsock_server_error(server) == WSOCK_OK) {
        signal(SIGINT, on_signal);
        signal(SIGTERM, on_signal);
        printf(strchr(host, ':') ? "open http%s://[%s]:%d/ in a browser\n"
                                 : "open http%s://%s:%d/ in a browser\n",
               s, host, wsock_server_port(server));
        fflush(stdout);
    }
    while (wsock_server_poll(server, &e, WSOCK_NEVER) >= 0) {
        if (e.type != WSOCK_EVENT_NONE)
            handle(&e);
        if (stop && !closing) {
            closing = 1;
            wsock_server_close(server); /* polls go on until all have left */
        }
    }

    failed = wsock_server_error(server) != WSOCK_OK;
    if (failed)
        fprintf(stderr, "chat: %s\n", wsock_server_why(server)->text);
    signal(SIGINT, SIG_DFL); /* the handler must not meet a freed server */
    signal(SIGTERM, SIG_DFL);
    wsock_server_free(server);
    return failed;
}
