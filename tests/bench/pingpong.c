/* pingpong.c - a message to and fro between two blocking programs.
 *
 *     pingpong raw|wsock SIZE SECONDS
 *
 * The server is a child of its own.  Prints the round trips, the seconds, and
 * the seconds of CPU of both sides. */
#define WSOCK_IMPLEMENTATION
#include "../../wsock.h"

#include <signal.h>
#include <sys/wait.h>

static uint8_t out[1 << 20], in[1 << 20];
static size_t size;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static double seconds(clockid_t clock)
{
    struct timespec t;
    if (clock_gettime(clock, &t) != 0) die("clock");
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* -------------------------------------------------------------- sockets */

static int raw_listen(int *port)
{
    struct sockaddr_in a;
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    memset(&a, 0, sizeof a);
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(fd, (struct sockaddr *)&a, n) < 0 || listen(fd, 1) < 0
        || getsockname(fd, (struct sockaddr *)&a, &n) < 0)
        die("listen");
    *port = ntohs(a.sin_port);
    return fd;
}

static int raw_ready(int fd)
{
    int one = 1;
    if (fd < 0) die("connection");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static int raw_connect(int port)
{
    struct sockaddr_in a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    memset(&a, 0, sizeof a);
    a.sin_family = AF_INET;
    a.sin_port = htons((unsigned short)port);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0) die("connect");
    return raw_ready(fd);
}

static int raw_send(int fd, const uint8_t *data)
{
    return send(fd, data, size, MSG_NOSIGNAL) == (ssize_t)size;
}

static int raw_receive(int fd)
{
    size_t n = 0;
    while (n < size) {
        ssize_t got = recv(fd, in + n, size - n, 0);
        if (got <= 0) return 0;
        n += (size_t)got;
    }
    return 1;
}

static void raw_serve(int listener)
{
    int fd = raw_ready(accept(listener, NULL, NULL));
    while (raw_receive(fd) && raw_send(fd, in)) {
    }
}

/* ---------------------------------------------------------------- wsock */

static void serve(wsock_server *server)
{
    wsock_status got;
    wsock *ws;
    if (wsock_accept(server, &ws, WSOCK_NEVER) != WSOCK_OK) exit(1);
    while (wsock_receive(ws, in, sizeof in, &got) == WSOCK_OK
           && got.kind == WSOCK_BINARY)
        wsock_send(ws, got.kind, in, got.bytes);
    wsock_free(ws);
}

static wsock *dial(int port)
{
    char url[64];
    sprintf(url, "ws://127.0.0.1:%d/", port);
    return wsock_connect(url, NULL);
}

static int trip(wsock *ws)
{
    wsock_status got;
    return wsock_send(ws, WSOCK_BINARY, out, size) == WSOCK_OK
           && wsock_receive(ws, in, sizeof in, &got) == WSOCK_OK
           && got.bytes == size;
}

/* ------------------------------------------------------------------ all */

static pid_t server_of(int raw, int *port)
{
    int listener = raw ? raw_listen(port) : -1;
    wsock_server *server = raw ? NULL : wsock_listen("ws://127.0.0.1:0/",
                                                     NULL);
    pid_t pid;
    if (!raw) *port = wsock_server_port(server);
    pid = fork();
    if (pid < 0) die("fork");
    if (pid) return pid;
    if (raw) raw_serve(listener);
    else serve(server);
    _exit(0);
}

int main(int argc, char **argv)
{
    int raw = argc == 4 && strcmp(argv[1], "raw") == 0, port, fd = -1;
    double since, used, until;
    unsigned long n = 0;
    clockid_t theirs;
    wsock *ws = NULL;
    pid_t pid;
    if (argc != 4) return 2;
    size = strtoul(argv[2], NULL, 10);
    if (!size || size > sizeof in) return 2;
    memset(out, 'a', size);
    pid = server_of(raw, &port);
    if (raw) fd = raw_connect(port);
    else ws = dial(port);
    if (clock_getcpuclockid(pid, &theirs) != 0) die("the server's clock");
    since = seconds(CLOCK_MONOTONIC);
    used = seconds(theirs) + seconds(CLOCK_PROCESS_CPUTIME_ID);
    until = since + atof(argv[3]);
    for (; seconds(CLOCK_MONOTONIC) < until; n++) {
        if (raw ? raw_send(fd, out) && raw_receive(fd) : trip(ws))
            if (memcmp(in, out, size) == 0) continue;
        fprintf(stderr, "pingpong: what came back is not what was sent\n");
        kill(pid, SIGKILL);
        return 1;
    }
    used = seconds(theirs) + seconds(CLOCK_PROCESS_CPUTIME_ID) - used;
    printf("%lu %.6f %.9f\n", n, seconds(CLOCK_MONOTONIC) - since, used);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    wsock_free(ws);
    return 0;
}
