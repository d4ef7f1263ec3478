/* steps.h - a conversation as the arguments of a program, for talk.c (by
 * wsock.h) and for ../lws/talk.c (by libwebsockets).
 *
 *     text:N binary:N    send N bytes, the same has to come back
 *     bytes:N            the same, but binary:'s may come back in any pieces
 *     textparts:N/P      the same in fragments of P bytes each; binaryparts
 *     emptyparts:        a message of which the first and last part are empty
 *     between:           fragments with a ping between them
 *     many:C/N           C messages of N bytes before any is read
 *     ping:N             a ping of N bytes, its pong has to come
 *     unasked:           send a pong that nobody asked for
 *     say:TEXT           send this text
 *     expect:TEXT        a text message, exactly this
 *     ask:TEXT           send this text until the answer is "yes"
 *     protocol:NAME      what was agreed on; nothing: none
 *     close:CODE WHY     close, the peer answers with the same code
 *     leave:             end without a Close
 *     closed:CODE WHY    the peer closes so; 1005: without a code
 *     lost:NAME          the connection ends without a Close, for this reason
 *     refused:CODE TEXT  it never opened: the response has this status, TEXT
 *                        stands in its body, and the error's line tells CODE
 *     tell:WORD          print this line
 *     wait:              read a line of standard input
 *
 * With several connections each step is begun on all of them, then finished
 * on all.  The first thing that is not as it should be ends the program with
 * "expected ...; observed ..." and status 1; so does half a minute. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What a connection tells. */
enum { OPENED = 1, MESSAGE, PONG, CLOSED, LOST };
enum { TEXT = 1, BINARY = 2, PING = 9, UNASKED = 10, MORE = 0x100 };
struct seen {
    int what, kind, code; /* code: of CLOSED, 0: the library does not tell */
    const void *data; /* a message, a pong's, the reason; LOST: a line */
    size_t size;
};

/* What each of the two programs has.  `i` is the number of a connection. */
static int peer_send(int i, int kind, const void *data, size_t size);
static int peer_next(int i, struct seen *seen);
static int peer_close(int i, int code, const char *reason);
static void peer_leave(int i);
static const char *peer_protocol(int i);
static const char *peer_error(int i);
static int peer_refusal(int i, const char **body, size_t *size);

static const char *now_doing = "nothing";

static void out_of_time(int number)
{
    static const char text[] = "expected an end of this step; observed "
                               "nothing in 30 s: ";
    (void)number;
    if (write(2, text, sizeof text - 1) < 0 ||
        write(2, now_doing, strlen(now_doing)) < 0 || write(2, "\n", 1) < 0)
        _exit(3);
    _exit(1);
}

static void wrong(const char *expected, const struct seen *s)
{
    static const char *const names[] = {"nothing", "open", "message", "pong",
                                        "closed", "lost"};
    int shown = s->size > 120 ? 120 : (int)s->size;
    fprintf(stderr, "%s: expected %s; observed %s, kind %x, code %d, "
            "%lu bytes \"%.*s\"\n", now_doing, expected, names[s->what],
            (unsigned)s->kind, s->code, (unsigned long)s->size, shown,
            s->data ? (const char *)s->data : "");
    exit(1);
}

static void must(int good, const char *expected, const char *observed)
{
    if (!good) {
        fprintf(stderr, "%s: expected %s; observed %s\n", now_doing, expected,
                observed);
        exit(1);
    }
}

/* Text has characters of every length in UTF-8. */
static unsigned char *content(int kind, size_t size)
{
    static const char unit[] =
        "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z~\xc3\xbc\xe6\xbc\xa2";
    size_t i, n = sizeof unit - 1, whole = size - size % n;
    unsigned char *data = (unsigned char *)malloc(size + 1);
    unsigned seed = (unsigned)size * 2654435761u + 1;
    must(data != NULL, "memory", "none");
    for (i = 0; i < size; i++) {
        seed = seed * 1664525u + 1013904223u;
        data[i] = kind == BINARY ? (unsigned char)(seed >> 24)
                  : i < whole    ? (unsigned char)unit[i % n]
                                 : '.';
    }
    return data;
}

static void next(int i, struct seen *s)
{
    memset(s, 0, sizeof *s);
    must(peer_next(i, s), "news", "none");
}

static void expect(int i, int what, int kind, const void *data, size_t size)
{
    char text[80];
    struct seen s;
    next(i, &s);
    snprintf(text, sizeof text, "%s of %lu bytes, kind %x",
             what == PONG ? "a pong" : "a message", (unsigned long)size,
             (unsigned)kind);
    if (s.what != what || s.kind != kind || s.size != size ||
        (size && memcmp(s.data, data, size) != 0))
        wrong(text, &s);
}

static void send_all(int i, int kind, const void *data, size_t size)
{
    must(peer_send(i, kind, data, size) == 1, "that it is sent",
         peer_error(i));
}

/* ------------------------------------------------------------ messages -- */

static void send_parts(int i, int kind, const unsigned char *data,
                       size_t size, size_t part)
{
    size_t at;
    for (at = 0; at + part < size; at += part)
        send_all(i, kind | MORE, data + at, part);
    send_all(i, kind, data + at, size - at);
}

static void parts_of(const char *rest, size_t *size, size_t *part)
{
    char *slash;
    *size = *part = (size_t)strtoul(rest, &slash, 10);
    if (*slash == '/')
        *part = (size_t)strtoul(slash + 1, NULL, 10);
}

static void begin_data(int i, int kind, const char *rest)
{
    size_t size, part;
    unsigned char *data;
    parts_of(rest, &size, &part);
    data = content(kind, size);
    send_parts(i, kind, data, size, part);
    free(data);
}

static void end_data(int i, int kind, const char *rest)
{
    size_t size, part;
    unsigned char *data;
    parts_of(rest, &size, &part);
    data = content(kind, size);
    expect(i, MESSAGE, kind, data, size);
    free(data);
}

static void begin_text(int i, const char *rest)
{
    begin_data(i, TEXT, rest);
}

static void end_text(int i, const char *rest)
{
    end_data(i, TEXT, rest);
}

static void begin_binary(int i, const char *rest)
{
    begin_data(i, BINARY, rest);
}

static void end_binary(int i, const char *rest)
{
    end_data(i, BINARY, rest);
}

static void begin_empty_parts(int i, const char *rest)
{
    (void)rest;
    send_all(i, TEXT | MORE, "", 0);
    send_all(i, TEXT | MORE, "middle", 6);
    send_all(i, TEXT, "", 0);
    send_all(i, BINARY | MORE, "", 0);
    send_all(i, BINARY, "", 0);
}

static void end_empty_parts(int i, const char *rest)
{
    (void)rest;
    expect(i, MESSAGE, TEXT, "middle", 6);
    expect(i, MESSAGE, BINARY, "", 0);
}

static void between(int i, const char *rest)
{
    (void)rest;
    send_all(i, TEXT | MORE, "one", 3);
    send_all(i, PING, "between", 7);
    expect(i, PONG, 0, "between", 7);
    send_all(i, TEXT | MORE, "two", 3);
    send_all(i, UNASKED, "unasked", 7);
    send_all(i, TEXT, "", 0);
    expect(i, MESSAGE, TEXT, "onetwo", 6);
}

/* Each has a size of its own, so that none is taken for another.  "Not now"
 * is answered by reading one: else all of them are on their way at once. */
static void many(int i, const char *rest)
{
    size_t count, size, sent = 0, got = 0;
    parts_of(rest, &count, &size);
    while (got < count) {
        unsigned char *data = content(BINARY, size + sent);
        int n = sent < count ? peer_send(i, BINARY, data, size + sent) : 0;
        free(data);
        must(n >= 0, "that it is sent", peer_error(i));
        sent += (size_t)n;
        if (n == 0) {
            data = content(BINARY, size + got);
            expect(i, MESSAGE, BINARY, data, size + got);
            free(data);
            got++;
        }
    }
}

static void begin_ping(int i, const char *rest)
{
    size_t size = (size_t)strtoul(rest, NULL, 10);
    unsigned char *data = content(BINARY, size);
    send_all(i, PING, data, size);
    free(data);
}

static void end_ping(int i, const char *rest)
{
    size_t size = (size_t)strtoul(rest, NULL, 10);
    unsigned char *data = content(BINARY, size);
    expect(i, PONG, 0, data, size);
    free(data);
}

static void unasked(int i, const char *rest)
{
    (void)rest;
    send_all(i, UNASKED, "unasked", 7);
}

static void say(int i, const char *rest)
{
    send_all(i, TEXT, rest, strlen(rest));
}

static void expect_text(int i, const char *rest)
{
    expect(i, MESSAGE, TEXT, rest, strlen(rest));
}

/* What was sent comes back in pieces that have nothing to do with it. */
static void end_bytes(int i, const char *rest)
{
    size_t at = 0, size = (size_t)strtoul(rest, NULL, 10);
    unsigned char *data = content(BINARY, size);
    struct seen s;
    while (at < size) {
        next(i, &s);
        if (s.what != MESSAGE || s.kind != BINARY || s.size > size - at ||
            memcmp(s.data, data + at, s.size) != 0)
            wrong("more of the same bytes", &s);
        at += s.size;
    }
    free(data);
}

static void ask(int i, const char *rest)
{
    struct seen s;
    do {
        say(i, rest);
        next(i, &s);
        if (s.what != MESSAGE || s.kind != TEXT || s.size > 3)
            wrong("yes or no", &s);
    } while (s.size != 3 || memcmp(s.data, "yes", 3) != 0);
}

static void protocol(int i, const char *rest)
{
    const char *agreed = peer_protocol(i);
    must(strcmp(agreed ? agreed : "", rest) == 0, rest,
         agreed ? agreed : "none");
}

/* ----------------------------------------------------------------- ends -- */

static void begin_close(int i, const char *rest)
{
    char *reason;
    int code = (int)strtol(rest, &reason, 10);
    must(peer_close(i, code, *reason ? reason + 1 : NULL),
         "that Close is sent", peer_error(i));
}

/* The reason is the closing side's own; an answer need not repeat it. */
static void end_close(int i, const char *rest)
{
    struct seen s;
    next(i, &s);
    if (s.what != CLOSED || (s.code && s.code != atoi(rest)))
        wrong(rest, &s);
}

static void closed(int i, const char *rest)
{
    char *reason;
    int code = (int)strtol(rest, &reason, 10);
    struct seen s;
    reason += *reason == ' ';
    next(i, &s);
    if (s.what != CLOSED || s.code != code || s.size != strlen(reason) ||
        (s.size && memcmp(s.data, reason, s.size) != 0))
        wrong(rest, &s);
}

static void leave(int i, const char *rest)
{
    (void)rest;
    peer_leave(i);
}

static void lost(int i, const char *rest)
{
    struct seen s;
    next(i, &s);
    if (s.what != LOST)
        wrong("the loss of the connection", &s);
    must(strcmp(peer_error(i), rest) == 0, rest, peer_error(i));
}

static void refused(int i, const char *rest)
{
    char *text, whole[4097], number[16];
    int status = (int)strtol(rest, &text, 10);
    const char *body = NULL;
    size_t size = 0;
    struct seen s;
    next(i, &s);
    if (s.what != LOST || peer_refusal(i, &body, &size) != status)
        wrong(rest, &s);
    must(strcmp(peer_error(i), "WSOCK_REFUSED") == 0, "WSOCK_REFUSED",
         peer_error(i));
    snprintf(number, sizeof number, "%d", status);
    if (!strstr((const char *)s.data, number))
        wrong(number, &s);
    snprintf(whole, sizeof whole, "%.*s", (int)size, body ? body : "");
    text += *text == ' ';
    must(strstr(whole, text) != NULL, text, whole);
}

static void tell(int i, const char *rest)
{
    (void)i;
    printf("%s\n", rest);
    fflush(stdout);
}

static void wait_for_line(int i, const char *rest)
{
    char line[80];
    (void)i;
    (void)rest;
    must(fgets(line, sizeof line, stdin) != NULL, "a line", "none");
}

/* ---------------------------------------------------------------- steps -- */

static const struct step {
    const char *name;
    void (*begin)(int i, const char *rest);
    void (*end)(int i, const char *rest);
} known_steps[] = {
    {"text", begin_text, end_text},
    {"textparts", begin_text, end_text},
    {"binary", begin_binary, end_binary},
    {"binaryparts", begin_binary, end_binary},
    {"emptyparts", begin_empty_parts, end_empty_parts},
    {"between", between, NULL},
    {"many", many, NULL},
    {"ping", begin_ping, end_ping},
    {"unasked", unasked, NULL},
    {"say", say, NULL},
    {"expect", NULL, expect_text},
    {"bytes", begin_binary, end_bytes},
    {"ask", NULL, ask},
    {"protocol", protocol, NULL},
    {"close", begin_close, end_close},
    {"closed", NULL, closed},
    {"leave", leave, NULL},
    {"lost", NULL, lost},
    {"refused", NULL, refused},
    {"tell", tell, NULL},
    {"wait", wait_for_line, NULL},
};

static const struct step *find_step(const char *text)
{
    size_t i, n = strcspn(text, ":");
    for (i = 0; i < sizeof known_steps / sizeof *known_steps; i++)
        if (strlen(known_steps[i].name) == n && text[n] == ':' &&
            strncmp(known_steps[i].name, text, n) == 0)
            return &known_steps[i];
    fprintf(stderr, "there is no step %s\n", text);
    exit(2);
}

/* tell: and wait: are for all connections together. */
static void do_step(int count, const char *text)
{
    const struct step *step = find_step(text);
    const char *rest = strchr(text, ':') + 1;
    int i;
    if (step->begin == tell || step->begin == wait_for_line)
        count = 1;
    now_doing = text;
    for (i = 0; step->begin && i < count; i++)
        step->begin(i, rest);
    for (i = 0; step->end && i < count; i++)
        step->end(i, rest);
}

/* All steps on `count` connections, which open first, unless the first step
 * says that they do not. */
static void run_steps(int count, char **steps, int n)
{
    struct seen s;
    int i, k;
    now_doing = "open";
    signal(SIGALRM, out_of_time);
    alarm(30);
    for (i = 0; i < count && n > 0 && strncmp(steps[0], "refused:", 8) != 0 &&
                strncmp(steps[0], "lost:", 5) != 0; i++) {
        next(i, &s);
        if (s.what != OPENED)
            wrong("an open connection", &s);
    }
    for (k = 0; k < n; k++)
        do_step(count, steps[k]);
}
