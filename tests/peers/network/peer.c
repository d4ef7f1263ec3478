/* peer.c - one end of the connections that network.py puts on bad networks.
 *
 *     cc -O2 -pthread -o peer tests/peers/network/peer.c
 *     ./peer serve|accept|call|dial URL [--echo] [--OPTION VALUE]...
 *
 * serve: a polled server; accept: a blocking one with one connection; call: a
 * polled client; dial: a blocking one.  An option of struct wsock_options is
 * written --pong-timeout MS.  Standard input has a command a line, and its
 * end is the end of the program; for all connections that there are:
 *
 *     push COUNT      send numbered messages of many sizes
 *     big SIZE        send a message
 *     receive COUNT   (blocking) receive messages
 *     both COUNT      (blocking) push and receive at a time
 *     listen          (blocking) receive until that fails; --echo: and send
 *     broadcast SIZE  (serve) send a message to all
 *     close, rtt, count
 *
 * Standard output has a line for all that happens:
 *
 *     listening PORT          open ID ADDRESS
 *     got ID NUMBER SIZE      a message that is what was sent
 *     wrong ID SIZE           one that is not
 *     sent ID NUMBER          push has come so far, and was done
 *     did COMMAND RESULT      a blocking call has returned
 *     end ID RESULT PHASE OPERATION OS_CODE CODE RECEIVED TEXT
 */
#define WSOCK_IMPLEMENTATION
#include "../../../wsock.h"
#include "../knobs.h"

#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static int echo;

static void say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vprintf(format, args); /* lines are flushed */
    va_end(args);
}

/* -------------------------------------------------------------- messages --
 * Number and size in eight bytes, then what follows from the number. */

enum { HEAD = 8, LARGEST = 1 << 23 };

static const size_t sizes[] = {
    8, 9, 100, 125, 126, 127, 1000, 1400, 1447, 1460, 1500, 4096, 4097, 9,
    16384, 30000, 8, 65535, 65536, 50
};

static size_t size_of(uint32_t number)
{
    return sizes[number % (sizeof sizes / sizeof sizes[0])];
}

static unsigned char pattern(uint32_t number, size_t at)
{
    return (unsigned char)((number * 31 + at) * 2654435761u >> 13);
}

static void fill(unsigned char *p, uint32_t number, size_t size)
{
    uint32_t n = (uint32_t)size;
    size_t i;
    memcpy(p, &number, 4);
    memcpy(p + 4, &n, 4);
    for (i = HEAD; i < size; i++)
        p[i] = pattern(number, i);
}

static void got(int id, const void *data, size_t size)
{
    const unsigned char *p = (const unsigned char *)data;
    uint32_t number = 0, n = 0;
    size_t i;
    if (size >= HEAD) {
        memcpy(&number, p, 4);
        memcpy(&n, p + 4, 4);
    }
    for (i = HEAD; i < size && p[i] == pattern(number, i); i++)
        ;
    if (size < HEAD || n != size || i != size)
        say("wrong %d %lu\n", id, (unsigned long)size);
    else
        say("got %d %lu %lu\n", id, (unsigned long)number,
            (unsigned long)size);
}

static void end(int id, int code, const wsock_failure *why)
{
    static const char *const phases[] = {
        "-", "SETUP", "LOOKUP", "TCP", "TLS", "HTTP", "WEBSOCKET"
    };
    static const char *const operations[] = {
        "-", "CONNECT", "SEND", "RECEIVE", "CLOSE"
    };
    say("end %d %s %s %s %d %d %d %s\n", id, wsock_result_name(why->code),
        phases[why->phase], operations[why->operation], why->os_code, code,
        why->close_received, why->text);
}

/* -------------------------------------------------------------- commands -- */

typedef struct command {
    char name[16];
    unsigned long count;
} command;

/* 0: there are no more. */
static int read_command(command *c)
{
    char line[64];
    c->count = 0;
    return fgets(line, sizeof line, stdin) &&
           sscanf(line, "%15s %lu", c->name, &c->count) >= 1;
}

static int is(const command *c, const char *name)
{
    return strcmp(c->name, name) == 0;
}

/* ---------------------------------------------------------------- polled --
 * A thread reads commands and wakes the one that polls. */

enum { MOST = 16, QUEUE = 1024 };

typedef struct channel {
    wsock *ws;
    int id;
    uint32_t next, until; /* numbers of messages to push */
} channel;

static channel links[MOST];
static unsigned char scratch[LARGEST];
static wsock_server *server;
static wsock *client;
static int ids;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static command queue[QUEUE];
static unsigned queue_in, queue_out;
static int over;

static void *read_commands(void *unused)
{
    command c;
    int more;
    (void)unused;
    do {
        more = read_command(&c);
        pthread_mutex_lock(&lock);
        if (more)
            queue[queue_in++ % QUEUE] = c;
        else
            over = 1;
        if (server)
            wsock_server_wake(server);
        else
            wsock_wake(client);
        pthread_mutex_unlock(&lock);
    } while (more);
    return NULL;
}

/* 1: one, 0: none, -1: no more to come. */
static int next_command(command *c)
{
    int r = 0;
    pthread_mutex_lock(&lock);
    if (queue_out != queue_in) {
        *c = queue[queue_out++ % QUEUE];
        r = 1;
    } else if (over) {
        r = -1;
    }
    pthread_mutex_unlock(&lock);
    return r;
}

static void push(channel *k)
{
    int r;
    if (k->next == k->until)
        return;
    do {
        size_t size = size_of(k->next);
        fill(scratch, k->next, size);
        r = wsock_send(k->ws, WSOCK_BINARY, scratch, size);
        if (r == WSOCK_OK)
            k->next++;
    } while (r == WSOCK_OK && k->next < k->until);
    if (r < 0)
        say("refused %d %s\n", k->id, wsock_result_name(r));
    else if (k->next == k->until)
        say("sent %d %lu\n", k->id, (unsigned long)k->next);
}

static void send_big(wsock *ws, const char *name, size_t size)
{
    static uint32_t number;
    int r;
    if (size > LARGEST)
        size = LARGEST;
    fill(scratch, number, size);
    if (strcmp(name, "broadcast") == 0)
        r = wsock_broadcast(server, NULL, 0, WSOCK_BINARY, scratch, size);
    else
        r = wsock_send(ws, WSOCK_BINARY, scratch, size);
    say("did %s %s %d\n", name, wsock_result_name(r < 0 ? r : 0), r);
    number++;
}

static void link_command(channel *k, const command *c)
{
    if (is(c, "push")) {
        k->until += (uint32_t)c->count;
        push(k);
    } else if (is(c, "big")) {
        send_big(k->ws, c->name, c->count);
    } else if (is(c, "close")) {
        wsock_close(k->ws, 1000, "done");
    } else if (is(c, "rtt")) {
        say("rtt %d %d\n", k->id, wsock_rtt(k->ws));
    }
}

static void obey(const command *c)
{
    int i;
    if (is(c, "count")) {
        say("count %lu\n", (unsigned long)wsock_server_count(server));
    } else if (is(c, "broadcast")) {
        send_big(NULL, c->name, c->count);
    } else if (is(c, "close") && server) {
        wsock_server_close(server);
    } else {
        for (i = 0; i < MOST; i++)
            if (links[i].ws)
                link_command(&links[i], c);
    }
}

static void opened(wsock *ws)
{
    char address[64] = "-";
    int i = 0;
    while (i < MOST - 1 && links[i].ws)
        i++;
    links[i].ws = ws;
    links[i].id = ids++;
    links[i].next = links[i].until = 0;
    wsock_set_user(ws, &links[i]);
    wsock_peer(ws, address, sizeof address);
    say("open %d %s\n", links[i].id, address);
}

static void happened(const wsock_event *e)
{
    channel *k = (channel *)wsock_user(e->ws);
    switch (e->type) {
    case WSOCK_EVENT_OPEN:
        opened(e->ws);
        break;
    case WSOCK_EVENT_MESSAGE:
        got(k->id, e->data, e->size);
        if (echo && wsock_send(e->ws, e->kind, e->data, e->size) != WSOCK_OK)
            say("wrong %d echo\n", k->id);
        break;
    case WSOCK_EVENT_DRAIN:
        push(k);
        break;
    case WSOCK_EVENT_CLOSE:
        end(k ? k->id : 0, e->code, e->why);
        if (k)
            k->ws = NULL;
        break;
    default:
        break;
    }
}

static void polled(void)
{
    pthread_t reader;
    wsock_event e;
    command c;
    int r, told = 0;
    pthread_create(&reader, NULL, read_commands, NULL);
    do {
        if (server)
            r = wsock_server_poll(server, &e, WSOCK_NEVER);
        else
            r = wsock_poll(client, &e, WSOCK_NEVER);
        if (r > 0)
            happened(&e);
        else if (r < 0)
            break;
        while ((told = next_command(&c)) > 0)
            obey(&c);
    } while (told >= 0);
    if (r < 0)
        say("over %s\n", wsock_result_name(r));
    pthread_join(reader, NULL);
}

/* -------------------------------------------------------------- blocking -- */

static uint32_t pushed; /* how many numbered messages were sent */

static int push_blocking(wsock *ws, unsigned long count)
{
    int r = WSOCK_OK;
    for (; r == WSOCK_OK && count > 0; count--) {
        size_t size = size_of(pushed);
        fill(scratch, pushed, size);
        r = wsock_send(ws, WSOCK_BINARY, scratch, size);
        if (r == WSOCK_OK)
            pushed++;
    }
    say("sent 0 %lu\n", (unsigned long)pushed);
    return r;
}

static int receive_blocking(wsock *ws, unsigned long count)
{
    static unsigned char in[LARGEST];
    wsock_status s;
    int r = WSOCK_OK;
    while (count > 0) {
        r = wsock_receive(ws, in, sizeof in, &s);
        if (r != WSOCK_OK || s.kind == WSOCK_CLOSE)
            return r;
        got(0, in, s.bytes);
        if (echo && (r = wsock_send(ws, s.kind, in, s.bytes)) != WSOCK_OK)
            return r;
        count--;
    }
    return r;
}

/* Until the end of the connection, however long that takes. */
static int listen_blocking(wsock *ws)
{
    int r;
    do
        r = receive_blocking(ws, (unsigned long)-1);
    while (r == WSOCK_TIMED_OUT && !wsock_error(ws));
    return r;
}

typedef struct pushing {
    wsock *ws;
    unsigned long count;
} pushing;

static void *push_thread(void *user)
{
    pushing *p = (pushing *)user;
    say("did push %s 0\n",
        wsock_result_name(push_blocking(p->ws, p->count)));
    return NULL;
}

static int both_blocking(wsock *ws, unsigned long count)
{
    pthread_t sender;
    pushing p;
    int r;
    p.ws = ws;
    p.count = count;
    pthread_create(&sender, NULL, push_thread, &p);
    r = receive_blocking(ws, count);
    pthread_join(sender, NULL);
    return r;
}

static void report(const wsock *ws)
{
    int code = WSOCK_CLOSE_ABNORMAL;
    wsock_close_status(ws, &code, NULL);
    end(0, code, wsock_why(ws));
}

static int call_blocking(wsock *ws, const command *c)
{
    if (is(c, "push"))
        return push_blocking(ws, c->count);
    if (is(c, "receive"))
        return receive_blocking(ws, c->count);
    if (is(c, "listen"))
        return listen_blocking(ws);
    if (is(c, "both"))
        return both_blocking(ws, c->count);
    if (is(c, "close"))
        return wsock_close(ws, 1000, "done");
    return WSOCK_INVALID_PARAMETER;
}

static void blocking(wsock *ws)
{
    char address[64] = "-";
    command c;
    int r, told = 0;
    if (wsock_error(ws) == WSOCK_OK) {
        wsock_peer(ws, address, sizeof address);
        say("open 0 %s\n", address);
    } else {
        report(ws);
        told = 1;
    }
    while (read_command(&c)) {
        if (is(&c, "rtt")) {
            say("rtt 0 %d\n", wsock_rtt(ws));
            continue;
        }
        if (is(&c, "big")) {
            send_big(ws, c.name, c.count);
            r = wsock_error(ws);
        } else {
            r = call_blocking(ws, &c);
            say("did %s %s %d\n", c.name, wsock_result_name(r), r);
        }
        if (!told && (wsock_error(ws) || is(&c, "close"))) {
            report(ws);
            told = 1;
        }
    }
}

/* ---------------------------------------------------------- command line -- */

/* 0: an argument that is none of ours. */
static int arguments(int argc, char **argv)
{
    int i;
    for (i = 3; i < argc; i++) {
        if (strcmp(argv[i], "--echo") == 0) {
            echo = 1;
            continue;
        }
        if (!knob(argv[i], argv[i + 1]))
            return 0;
        i++;
    }
    return argc >= 3;
}

static int serve(const char *url, int poll)
{
    wsock *ws = NULL;
    int r = 0;
    server = wsock_listen(url, &options);
    if (wsock_server_error(server)) {
        fprintf(stderr, "peer: %s\n", wsock_server_why(server)->text);
        r = 2;
    } else {
        say("listening %d\n", wsock_server_port(server));
        if (poll)
            polled();
        else if ((r = wsock_accept(server, &ws, WSOCK_NEVER)) == WSOCK_OK)
            blocking(ws);
    }
    wsock_free(ws);
    wsock_server_free(server);
    return r != 0;
}

static int connect_to(const char *url, int poll)
{
    if (poll)
        options.flags |= WSOCK_NONBLOCKING;
    client = wsock_connect(url, &options);
    if (poll)
        polled();
    else
        blocking(client);
    wsock_free(client);
    return 0;
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    setvbuf(stdout, NULL, _IOLBF, 65536);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that dies leaves nothing */
    alarm(300);
    if (arguments(argc, argv)) {
        if (strcmp(mode, "serve") == 0 || strcmp(mode, "accept") == 0)
            return serve(argv[2], mode[0] == 's');
        if (strcmp(mode, "call") == 0 || strcmp(mode, "dial") == 0)
            return connect_to(argv[2], mode[0] == 'c');
    }
    fprintf(stderr, "peer: see the comment in peer.c\n");
    return 2;
}
