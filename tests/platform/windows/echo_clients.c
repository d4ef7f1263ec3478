/* echo_clients.c - examples/echo_client.c as often as one asks for it, in one
 * process: under wine most of a program's time is its start.
 *
 *     echo_clients
 *
 * Prints a port.  Who connects to it, from this machine, and sends a URL and
 * a newline has echo_client's main() run with that argument, on a thread of
 * its own; it gets the exit status on a line, then what the program wrote to
 * stderr, and the end of the stream.  It runs until it is killed. */
#define WSOCK_IMPLEMENTATION
#include "../../../wsock.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static __thread char errors[4096];

static void write_errors(const char *format, ...)
{
    size_t n = strlen(errors);
    va_list list;

    va_start(list, format);
    vsnprintf(errors + n, sizeof errors - n, format, list);
    va_end(list);
}

/* Its buffer is its thread's, as everything else is. */
#define static static __thread
#define main echo_client
#define fprintf(stream, ...) write_errors(__VA_ARGS__)
#include "../../../examples/echo_client.c"
#undef static
#undef main
#undef fprintf

static int read_line(SOCKET s, char *line, int size)
{
    int n = 0;

    while (n < size - 1 && recv(s, line + n, 1, 0) == 1) {
        if (line[n] == '\n') {
            line[n] = 0;
            return 1;
        }
        n++;
    }
    return 0;
}

static DWORD WINAPI run(void *socket)
{
    SOCKET s = (SOCKET)(UINT_PTR)socket;
    static __thread char url[1 << 16];
    char status[16];
    char name[] = "echo_client";
    char *arguments[] = {name, url, NULL};

    if (read_line(s, url, sizeof url)) {
        snprintf(status, sizeof status, "%d\n", echo_client(2, arguments));
        send(s, status, (int)strlen(status), 0);
        send(s, errors, (int)strlen(errors), 0);
    }
    shutdown(s, SD_SEND);
    closesocket(s);
    return 0;
}

static SOCKET listen_to_loopback(void)
{
    SOCKET s = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at;
    int size = sizeof at;

    memset(&at, 0, sizeof at);
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(s, (struct sockaddr *)&at, size) != 0 || listen(s, 64) != 0 ||
        getsockname(s, (struct sockaddr *)&at, &size) != 0)
        return INVALID_SOCKET;
    printf("port %d\n", ntohs(at.sin_port));
    fflush(stdout);
    return s;
}

int main(void)
{
    WSADATA data;
    SOCKET listener, s;
    HANDLE thread;

    if (WSAStartup(MAKEWORD(2, 2), &data) != 0 ||
        (listener = listen_to_loopback()) == INVALID_SOCKET) {
        puts("no socket to listen on");
        return 1;
    }
    while ((s = accept(listener, NULL, NULL)) != INVALID_SOCKET) {
        thread = CreateThread(NULL, 0, run, (void *)(UINT_PTR)s, 0, NULL);
        if (thread == NULL)
            closesocket(s);
        else
            CloseHandle(thread);
    }
    return 1;
}
