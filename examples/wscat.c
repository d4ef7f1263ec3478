/* wscat.c - talk to a WebSocket server by hand, or in a pipe.
 *
 *     cc -O2 -o wscat examples/wscat.c
 *     ./wscat ws://127.0.0.1:9001/
 *     echo hello | ./wscat ws://127.0.0.1:9001/
 *
 * For wss:// URLs, with BearSSL (Debian's libbearssl-dev):
 *
 *     cc -O2 -DWSOCK_BEARSSL -o wscat examples/wscat.c -lbearssl
 *
 * One poll() waits for standard input and for the connection: what a program
 * with a loop of its own does.
 *
 * Exit status: 0 after an orderly close, 2 after a wrong command line, 1
 * otherwise, with the reason on stderr. */
#define WSOCK_IMPLEMENTATION
#include "../wsock.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    LINE_ROOM = 65536, /* a longer line leaves as several fragments */
    WATCHES = 16,
    LIST_ROOM = 32,    /* headers, subprotocols */
    CLOSE_WAIT = 10000 /* ms without news after our Close: give up */
};

static const char help[] =
    "usage: wscat [options] URL\n"
    "  --binary            send lines as binary messages, and write binary\n"
    "                      messages as they are, nothing added; otherwise\n"
    "                      they are shown in hex, a line each\n"
    "  --header \"N: value\" add a header to the request (repeatable)\n"
    "  --subprotocol NAME  offer a subprotocol (repeatable)\n"
    "  --origin ORIGIN     say where the request comes from\n"
    "  --ca FILE           wss: trust the authorities in it (PEM), not the\n"
    "                      system's\n"
    "  --insecure          wss: trust whoever answers\n"
    "  --cert FILE         wss: a certificate of our own (PEM), and\n"
    "  --key FILE          its key, for servers that ask for one\n"
    "  --wait SECONDS      at the end of the input, close only when nothing\n"
    "                      has come for so long (0); many servers answer\n"
    "                      nothing more once they have read a Close\n"
    "Each line of standard input is sent as a message, without its newline.\n"
    "Messages go to standard output, all else to standard error.  Lines that\n"
    "begin with a slash are commands:\n"
    "  /ping [text]             send a ping\n"
    "  /close [code [reason]]   send Close (1000); what comes is still shown\n"
    "  //...                    send a line that begins with one slash\n"
    "At the end of the input: /close, and wait for the server's Close.\n"
    "Exit status: 0 after an orderly close, 2 after a wrong command line, 1\n"
    "otherwise.\n";

static wsock *ws;
static int binary; /* --binary */
static int patience; /* --wait, in ms */
static int is_open, said_close;
static int pings;  /* sent by /ping and not answered yet */

/* ------------------------------------------------------------ output -- */

/* Text for people.  What a server sends must not drive the terminal, so
 * control characters are spelled out there, those from U+0080 on too. */
static void put_text(FILE *to, const void *data, size_t size)
{
    static int held; /* 0xC2, which begins U+0080 to U+00BF */
    const unsigned char *at = (const unsigned char *)data;
    const unsigned char *end = at + size;
    if (!isatty(fileno(to))) {
        fwrite(data, 1, size, to);
        return;
    }
    for (; at < end; at++) {
        int control = held ? *at < 0xA0
                           : (*at < 0x20 && *at != '\n' && *at != '\t') ||
                                 *at == 0x7F;
        if (held && !control)
            putc(0xC2, to);
        held = !held && *at == 0xC2;
        if (control)
            fprintf(to, "\\x%02x", *at);
        else if (!held)
            putc(*at, to);
    }
}

/* A message, or a part of one: they are shown as they come, and may be of
 * any size. */
static void show(const wsock_event *e)
{
    const unsigned char *bytes = (const unsigned char *)e->data;
    int last = !(e->kind & WSOCK_FRAGMENT);
    int text = (e->kind & ~(unsigned)WSOCK_FRAGMENT) == WSOCK_TEXT;
    size_t i;
    if (text)
        put_text(stdout, bytes, e->size);
    else if (binary)
        fwrite(bytes, 1, e->size, stdout);
    else
        for (i = 0; i < e->size; i++)
            printf("%02x", bytes[i]);
    if (last && (text || !binary))
        putchar('\n');
}

static void handle(const wsock_event *e)
{
    switch (e->type) {
    case WSOCK_EVENT_OPEN:
        is_open = 1;
        fprintf(stderr, "wscat: connected");
        if (wsock_subprotocol(ws))
            fprintf(stderr, ", subprotocol %s", wsock_subprotocol(ws));
        fputc('\n', stderr);
        break;
    case WSOCK_EVENT_MESSAGE:
        show(e);
        break;
    case WSOCK_EVENT_PONG:
        if (pings == 0) /* the answer to a keepalive */
            break;
        pings--;
        fprintf(stderr, "wscat: pong \"");
        put_text(stderr, e->data, e->size);
        fprintf(stderr, "\"\n");
        break;
    case WSOCK_EVENT_CLOSE:
        if (e->code != WSOCK_CLOSE_ABNORMAL) {
            fprintf(stderr, "wscat: closed with %d \"", e->code);
            put_text(stderr, e->data, e->size);
            fprintf(stderr, "\"\n");
        }
        break;
    default: /* PING is answered already; DRAIN: see send_lines() */
        break;
    }
}

/* ------------------------------------------------------------- input -- */

static struct {
    char data[LINE_ROOM];
    size_t size;
    int inside; /* the beginning of this line has been sent */
    int ended;
} input;

static int input_wanted(void)
{
    /* A full buffer means that the send queue is full. */
    return is_open && !input.ended && input.size < sizeof input.data;
}

static void read_input(void)
{
    ssize_t n = read(STDIN_FILENO, input.data + input.size,
                     sizeof input.data - input.size);
    if (n > 0)
        input.size += (size_t)n;
    else if (n == 0 || (errno != EINTR && errno != EAGAIN))
        input.ended = 1;
}

/* Not wsock_close(), which would discard what still comes. */
static int say_close(int code, const char *reason)
{
    int r = wsock_shutdown(ws, code, reason);
    if (r == WSOCK_OK)
        said_close = input.ended = 1;
    return r;
}

static int command(const char *line, size_t size)
{
    char text[256];
    int r;
    if (size >= sizeof text) {
        fprintf(stderr, "wscat: this command is too long\n");
        return WSOCK_OK;
    }
    memcpy(text, line, size);
    text[size] = '\0';
    if (strcmp(text, "/ping") == 0 || strncmp(text, "/ping ", 6) == 0) {
        size_t skip = size > 6 ? 6 : size;
        r = wsock_send(ws, WSOCK_PING, text + skip, size - skip);
        pings += r == WSOCK_OK;
    } else if (strcmp(text, "/close") == 0) {
        r = say_close(WSOCK_CLOSE_NORMAL, NULL);
    } else if (strncmp(text, "/close ", 7) == 0) {
        char *reason;
        long code = strtol(text + 7, &reason, 10);
        r = *reason && *reason != ' ' ? WSOCK_INVALID_PARAMETER
            : code < 1000 || code > 4999
                ? WSOCK_INVALID_PARAMETER
                : say_close((int)code, *reason ? reason + 1 : NULL);
    } else {
        fprintf(stderr, "wscat: /ping [text], /close [code [reason]], "
                        "or // for a line that begins with a slash\n");
        return WSOCK_OK;
    }
    if (r == WSOCK_INVALID_PARAMETER) {
        fprintf(stderr, "wscat: a ping has up to 125 bytes; a close code is "
                        "1000..1003, 1007..1014 or 3000..4999, its reason "
                        "UTF-8 of up to 123 bytes\n");
        return WSOCK_OK;
    }
    return r;
}

/* A line, or as much of it as there is room for. */
static int say(const char *line, size_t size, int last)
{
    unsigned kind = binary ? WSOCK_BINARY : WSOCK_TEXT;
    int r;
    if (!input.inside && size > 1 && line[0] == '/' && line[1] == '/') {
        line++;
        size--;
    } else if (!input.inside && last && size > 0 && line[0] == '/') {
        return command(line, size);
    }
    r = wsock_send(ws, last ? kind : kind | WSOCK_FRAGMENT, line, size);
    if (r == WSOCK_OK)
        input.inside = !last;
    return r;
}

/* Send what has been read.  A line that the queue refuses stays, and with it
 * what stands behind; DRAIN wakes the loop to come here again. */
static void send_lines(void)
{
    size_t done = 0;
    int r = WSOCK_OK;
    while (r == WSOCK_OK && !said_close &&
           (done < input.size || (input.ended && input.inside))) {
        const char *line = input.data + done;
        size_t rest = input.size - done;
        const char *newline = (const char *)memchr(line, '\n', rest);
        size_t size = newline ? (size_t)(newline - line) : rest;
        if (!newline && !input.ended && rest < sizeof input.data)
            break; /* the rest of the line is still to come */
        r = say(line, size, newline || input.ended);
        if (r == WSOCK_OK)
            done += size + (newline != NULL);
    }
    input.size -= done;
    memmove(input.data, input.data + done, input.size);
}

/* All of the input has been sent, and nothing says goodbye yet. */
static int all_sent(void)
{
    return is_open && input.ended && input.size == 0 && !input.inside &&
           !said_close;
}

/* -------------------------------------------------------------- loop -- */

/* Wait for the input and the connection. */
static void wait_for_both(void)
{
    struct pollfd fds[1 + WATCHES];
    wsock_watch list[WATCHES];
    int wait = wsock_timeout(ws), limit = 0;
    size_t i, n = wsock_watches(ws, list, WATCHES);

    if (n > WATCHES || n == 0) { /* not everything can be waited for */
        wait = wait < 0 || wait > 20 ? 20 : wait;
        n = n ? WATCHES : 0;
    }
    if (said_close || all_sent())
        limit = said_close ? CLOSE_WAIT : patience;
    if (limit > 0 && (wait < 0 || wait > limit))
        wait = limit;
    else
        limit = 0;
    fds[0].fd = input_wanted() ? STDIN_FILENO : -1; /* -1 is passed over */
    fds[0].events = POLLIN;
    fds[0].revents = 0;
    for (i = 0; i < n; i++) {
        fds[i + 1].fd = (int)list[i].fd;
        fds[i + 1].events = (short)((list[i].wants & 1 ? POLLIN : 0) |
                                    (list[i].wants & 2 ? POLLOUT : 0));
    }
    if (poll(fds, (nfds_t)(n + 1), wait) == 0 && limit > 0) {
        if (said_close)
            wsock_close(ws, WSOCK_CLOSE_NORMAL, NULL); /* bounded in time */
        else
            say_close(WSOCK_CLOSE_NORMAL, NULL);
    }
    if (fds[0].revents)
        read_input();
}

static void run(void)
{
    wsock_event e;
    for (;;) {
        int r;
        while ((r = wsock_poll(ws, &e, 0)) > 0)
            handle(&e);
        fflush(stdout);
        if (r < 0)
            return;
        if (is_open)
            send_lines();
        if (all_sent() && patience == 0)
            say_close(WSOCK_CLOSE_NORMAL, NULL);
        wait_for_both();
    }
}

static int seconds(const char *text)
{
    long n = strtol(text, NULL, 10);
    return n < 0 ? 0 : n > 86400 ? 86400 * 1000 : (int)n * 1000;
}

int main(int argc, char **argv)
{
    const char *headers[LIST_ROOM + 1] = {0};
    const char *subprotocols[LIST_ROOM + 1] = {0};
    const char *url = NULL;
    size_t header_count = 0, subprotocol_count = 0;
    wsock_options o = {0};
    int i, failed;

    for (i = 1; i < argc; i++) {
        int more = i + 1 < argc;
        if (strcmp(argv[i], "--help") == 0) {
            fputs(help, stdout);
            return 0;
        } else if (strcmp(argv[i], "--binary") == 0) {
            binary = 1;
        } else if (strcmp(argv[i], "--header") == 0 && more &&
                   header_count < LIST_ROOM) {
            headers[header_count++] = argv[++i];
        } else if (strcmp(argv[i], "--subprotocol") == 0 && more &&
                   subprotocol_count < LIST_ROOM) {
            subprotocols[subprotocol_count++] = argv[++i];
        } else if (strcmp(argv[i], "--origin") == 0 && more) {
            o.origin = argv[++i];
        } else if (strcmp(argv[i], "--ca") == 0 && more) {
            o.tls_ca = argv[++i];
        } else if (strcmp(argv[i], "--cert") == 0 && more) {
            o.tls_cert = argv[++i];
        } else if (strcmp(argv[i], "--key") == 0 && more) {
            o.tls_key = argv[++i];
        } else if (strcmp(argv[i], "--insecure") == 0) {
            o.flags |= WSOCK_UNSAFE_TLS_ACCEPT_ANYONE;
        } else if (strcmp(argv[i], "--wait") == 0 && more) {
            patience = seconds(argv[++i]);
        } else if (argv[i][0] != '-' && !url) {
            url = argv[i];
        } else {
            url = NULL;
            break;
        }
    }
    if (!url) {
        fputs(help, stderr);
        return 2;
    }

    o.flags |= WSOCK_NONBLOCKING | WSOCK_PARTS;
    o.headers = headers;
    o.subprotocols = subprotocols;
    ws = wsock_connect(url, &o);
    run();

    failed = wsock_error(ws) != WSOCK_OK;
    if (failed)
        fprintf(stderr, "wscat: %s\n", wsock_error_text(ws));
    wsock_free(ws);
    if (ferror(stdout) || fclose(stdout) != 0) {
        perror("wscat: standard output");
        failed = 1;
    }
    return failed;
}
