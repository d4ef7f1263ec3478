/* server.c - the peer of every scenario in scenarios.h.
 *
 * The request's path says which scenario and step it belongs to, and what is
 * to be done, one word after the other: /W16/2/text:late/wait/shut:1000:bye
 *
 *     echo            messages go back, part by part
 *     report          each message is answered by its kind, size and hash
 *     parts           each part of one is
 *     alive           a ping or pong is answered by a text message
 *     wait            until a message has come
 *     hold            nothing more is read, so that no Close is answered
 *     text:WORD       a text message
 *     send:K:N:F      a message of N bytes in frames of F bytes, of kind K:
 *                     b, t, or u (text of characters of three bytes)
 *     part:K:N        one frame of a message,
 *     last:K:N        and its last one
 *     pings:N         empty pings
 *     raw:HEX         these bytes, whatever the protocol says to them
 *     sleep:MS        nothing, so long
 *     shut:CODE:WHY   a Close
 *     abort           the end, without one
 *     fin             the same, with the connection's other half left open
 *     status:N        an HTTP response instead of the handshake's
 *     mute            no response at all
 *     anything else   nothing: a name
 *
 *
 *     server [CERTIFICATE KEY]     files, for wss://
 *
 * It prints where it is, its port and that of a listener that lets nobody in,
 * then a line for each connection that has ended: how it looked from here. */
#define WSOCK_IMPLEMENTATION
#include "../../../wsock.h"
#include "pattern.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(_WIN32)
typedef SOCKET server_fd;
#else
typedef int server_fd;
#endif

typedef struct peer {
    char path[2048]; /* "/ROW/STEP/word/word...", cut at each '/' */
    char *next;      /* the word that is to be done */
    char script[256]; /* the words, whole */
    int waiting, held, echo, report, parts, alive;
    uint32_t hash; /* of the message that is coming, */
    size_t size;
    int pings, pongs;
} peer;

static wsock_server *server;

/* ---------------------------------------------------------------- words -- */

/* Cut the next word off.  NULL: that was all. */
static char *peer_word(peer *p)
{
    char *word = p->next, *end;
    if (!word || !*word)
        return NULL;
    end = strchr(word, '/');
    p->next = end ? end + 1 : word + strlen(word);
    if (end)
        *end = 0;
    return word;
}

static unsigned kind_of(char letter)
{
    return letter == 'b' ? WSOCK_BINARY : WSOCK_TEXT;
}

/* "send:b:1000:100", "part:b:1000", "last:b:0" */
static void send_pattern(wsock *ws, const char *word)
{
    char name[8], letter;
    size_t at = 0, n, total = 0, frame = 0;
    uint8_t *data;
    if (sscanf(word, "%7[a-z]:%c:%zu:%zu", name, &letter, &total, &frame) < 3)
        return;
    if (frame == 0)
        frame = total;
    data = (uint8_t *)malloc(total + 1);
    if (!data)
        return;
    pattern_fill(data, total, letter);
    do {
        unsigned more;
        n = total - at < frame ? total - at : frame;
        more = at + n < total || name[0] == 'p' ? WSOCK_FRAGMENT : 0;
        wsock_send(ws, kind_of(letter) | more, data + at, n);
        at += n;
    } while (at < total);
    free(data);
}

/* Past the library, through its own transport, which may be TLS. */
static void send_raw(wsock *ws, const char *hex)
{
    char bytes[1024];
    size_t n = 0;
    unsigned byte;
    wsock_buf buf;
    while (n < sizeof bytes && sscanf(hex + 2 * n, "%2x", &byte) == 1)
        bytes[n++] = (char)byte;
    wsock_flush(ws);
    buf.data = bytes;
    buf.size = n;
    if (ws->io->write(ws->io_user, &buf, 1) != (ptrdiff_t)n)
        exit(1);
}

static void send_fin(const wsock *ws)
{
    enum { SENDING_HALF = 1 }; /* SHUT_WR, SD_SEND */
    wsock_watch socket;
    if (wsock_watches(ws, &socket, 1) == 1)
        shutdown((server_fd)socket.fd, SENDING_HALF);
}

static void wait_for(int milliseconds)
{
#if defined(_WIN32)
    Sleep((DWORD)milliseconds);
#else
    poll(NULL, 0, milliseconds);
#endif
}

static void do_shut(wsock *ws, const char *argument)
{
    char reason[128] = "";
    int code = 0;
    sscanf(argument, "%d:%127[^/]", &code, reason);
    wsock_shutdown(ws, code, reason);
}

/* Words that set how messages are dealt with. */
static int do_mode(wsock *ws, peer *p, const char *word)
{
    if (!strcmp(word, "echo"))
        p->echo = 1;
    else if (!strcmp(word, "report"))
        p->report = 1;
    else if (!strcmp(word, "parts"))
        p->parts = 1;
    else if (!strcmp(word, "alive"))
        p->alive = 1;
    else if (!strcmp(word, "wait"))
        p->waiting = 1;
    else if (!strcmp(word, "hold"))
        p->held = wsock_pause(ws, 1) == WSOCK_OK;
    else
        return 0;
    return 1;
}

static void do_word(wsock *ws, peer *p, const char *word)
{
    int i, n = 0;
    const char *argument = strchr(word, ':');
    argument = argument ? argument + 1 : "";
    sscanf(argument, "%d", &n);
    if (do_mode(ws, p, word))
        return;
    if (!strncmp(word, "text:", 5))
        wsock_send(ws, WSOCK_TEXT, argument, strlen(argument));
    else if (!strncmp(word, "raw:", 4))
        send_raw(ws, argument);
    else if (!strncmp(word, "pings:", 6))
        for (i = 0; i < n; i++)
            wsock_send(ws, WSOCK_PING, NULL, 0);
    else if (!strncmp(word, "sleep:", 6))
        wait_for(n);
    else if (!strncmp(word, "shut:", 5))
        do_shut(ws, argument);
    else if (!strcmp(word, "abort"))
        wsock_abort(ws);
    else if (!strcmp(word, "fin"))
        send_fin(ws);
    else
        send_pattern(ws, word);
    wsock_flush(ws);
}

static void do_words(wsock *ws, peer *p)
{
    char *word;
    p->waiting = 0;
    while (!p->waiting && (word = peer_word(p)) != NULL)
        do_word(ws, p, word);
}

/* --------------------------------------------------------------- events -- */

/* X-Token comes back, next to a header of our own; the subprotocol that the
 * scenarios ask for is "echo".  Whether there is to be a connection. */
static int answer(const wsock_event *e)
{
    char token[64];
    const char *headers[3] = { "X-Room: 7", NULL, NULL };
    const char *const *offer = e->request->subprotocols;
    const char *was = wsock_header(e->ws, "X-Token"), *status;
    static const char *const location[] = { "Location: ws://other/", NULL };
    if (strstr(e->request->path, "/mute"))
        return 0;
    status = strstr(e->request->path, "/status:");
    if (status) {
        wsock_respond(e->ws, atoi(status + 8), location, "who is it?", 10);
        return 0;
    }
    snprintf(token, sizeof token, "X-Token: %s", was ? was : "none");
    headers[1] = token;
    while (*offer && strcmp(*offer, "echo"))
        offer++;
    return wsock_upgrade(e->ws, *offer, headers) == WSOCK_OK;
}

static void request(const wsock_event *e)
{
    peer *p = (peer *)calloc(1, sizeof *p);
    if (!p)
        exit(1);
    snprintf(p->path, sizeof p->path, "%s", e->request->path);
    p->next = p->path + 1;
    peer_word(p); /* the row, */
    peer_word(p); /* and the step: they stay in p->path */
    snprintf(p->script, sizeof p->script, "%s", p->next);
    wsock_set_user(e->ws, p);
    if (!answer(e))
        free(p);
}

static void message(peer *p, const wsock_event *e)
{
    char text[80];
    int more = (e->kind & WSOCK_FRAGMENT) != 0;
    p->hash = pattern_hash(p->size ? p->hash : 0, e->data, e->size);
    p->size += e->size;
    if (p->echo)
        wsock_send(e->ws, e->kind, e->data, e->size);
    if (p->parts || (p->report && !more)) {
        snprintf(text, sizeof text, "%s%s %u #%08x",
                 (e->kind & 15) == WSOCK_TEXT ? "TEXT" : "BINARY",
                 more ? "+FRAGMENT" : "", (unsigned)p->size,
                 (unsigned)p->hash);
        wsock_send(e->ws, WSOCK_TEXT, text, strlen(text));
    }
    if (p->parts || !more)
        p->size = 0;
    wsock_flush(e->ws);
    if (p->waiting && !more)
        do_words(e->ws, p);
}

static void control(peer *p, const wsock_event *e)
{
    if (e->type == WSOCK_EVENT_PING)
        p->pings++;
    else
        p->pongs++;
    if (p->alive)
        wsock_send(e->ws, WSOCK_TEXT, "alive", 5);
    wsock_flush(e->ws);
}

/* A line that sorts behind the connect's of the same step. */
static void ended(peer *p, const wsock_event *e)
{
    const char *row = p->path + 1, *step = row + strlen(row) + 1;
    if (p->held)
        return;
    printf("%s %02ds|server of %s|%s|%d \"%.*s\"", row, atoi(step),
           p->script, wsock_result_name(e->why->code), e->code, (int)e->size,
           e->size ? (const char *)e->data : "");
    if (p->pings)
        printf(", %d pings", p->pings);
    if (p->pongs)
        printf(", %d pongs", p->pongs);
    printf("|\n");
    fflush(stdout);
}

static void event(const wsock_event *e)
{
    peer *p = (peer *)wsock_user(e->ws);
    switch (e->type) {
    case WSOCK_EVENT_REQUEST: request(e); break;
    case WSOCK_EVENT_OPEN: do_words(e->ws, p); break;
    case WSOCK_EVENT_MESSAGE: message(p, e); break;
    case WSOCK_EVENT_PING:
    case WSOCK_EVENT_PONG: control(p, e); break;
    case WSOCK_EVENT_CLOSE:
        ended(p, e);
        wsock_set_user(e->ws, NULL);
        free(p);
        break;
    default: break;
    }
}

/* --------------------------------------------------------- the two doors -- */

/* A listener whose queue is full: connects to it come to no end. */
static int closed_door(void)
{
    struct sockaddr_in a;
    socklen_t size = sizeof a;
    server_fd fd = socket(AF_INET, SOCK_STREAM, 0);
    int i;
    memset(&a, 0, sizeof a);
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(fd, (struct sockaddr *)&a, size) || listen(fd, 0)
        || getsockname(fd, (struct sockaddr *)&a, &size))
        return 0;
    for (i = 0; i < 4; i++) {
        server_fd s = socket(AF_INET, SOCK_STREAM, 0);
#if defined(_WIN32)
        u_long on = 1;
        ioctlsocket(s, FIONBIO, &on);
#else
        fcntl(s, F_SETFL, O_NONBLOCK);
#endif
        if (connect(s, (struct sockaddr *)&a, sizeof a) == 0)
            continue;
    }
    return ntohs(a.sin_port);
}

int main(int argc, char **argv)
{
    wsock_options o;
    wsock_event e;
    int secure = argc == 3;
    memset(&o, 0, sizeof o);
    if (secure) {
        o.tls_cert = argv[1];
        o.tls_key = argv[2];
    }
    o.flags = WSOCK_REQUESTS | WSOCK_PARTS;
    o.keepalive_interval = WSOCK_NEVER;
    o.handshake_timeout = 3000; /* how long "mute" keeps silent */
    server = wsock_listen(secure ? "wss://127.0.0.1:0/" : "ws://127.0.0.1:0/",
                          &o);
    if (wsock_server_error(server)) {
        fprintf(stderr, "%s\n", wsock_server_why(server)->text);
        return 1;
    }
    printf("%s %d %d\n", secure ? "wss://localhost" : "ws://127.0.0.1",
           wsock_server_port(server), closed_door());
    fflush(stdout);
    while (wsock_server_poll(server, &e, WSOCK_NEVER) >= 0)
        if (e.type)
            event(&e);
    wsock_server_free(server);
    return 0;
}
