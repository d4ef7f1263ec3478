/* posix.h - what the unit tests use of POSIX, for Windows.  The headers beside
 * it have POSIX' names and only bring this one in.
 *
 * wsock.h is to see Windows as it is.  So what would change the meaning of a
 * name that it uses too comes in the second part, which waits until wsock.h
 * has been read; it stands for good then, as a program is one file.
 *
 * Sockets are int here, as in the tests: Windows' handles are small numbers.
 * The descriptors 0 to 2 are files, all others sockets. */
#ifndef POSIX_H
#define POSIX_H

#include <winsock2.h>
#include <ws2tcpip.h>
#include <windows.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <io.h>
#include <process.h>
#include <pthread.h>
#include <sys/types.h>
#include <tlhelp32.h>

#define POSIX_FN static __attribute__((unused, noinline))

/* -------------------------------------------------------------- signals --
 * Windows interrupts no thread: what a handler does, it does on a thread of
 * the system's.  So here it runs on the thread that sends the signal. */

enum { SIGHUP = 1, SIGUSR1 = 10, SIGUSR2 = 12, SIGPIPE = 13, SIGALRM = 14,
       SIGCHLD = 17, POSIX_SIGNALS = 32 };

typedef _sigset_t sigset_t;

struct sigaction {
    void (*sa_handler)(int number);
    sigset_t sa_mask;
    int sa_flags;
};

static struct {
    struct sigaction actions[POSIX_SIGNALS];
    volatile LONG alarm; /* seconds left */
    DWORD alarm_thread;
    char nonblocking[65536 / 4]; /* by handle */
} posix_state;

POSIX_FN int sigaction(int number, const struct sigaction *action,
                       struct sigaction *before)
{
    if (before)
        *before = posix_state.actions[number];
    if (action)
        posix_state.actions[number] = *action;
    return 0;
}

POSIX_FN int posix_raise(int number)
{
    if (posix_state.actions[number].sa_handler)
        posix_state.actions[number].sa_handler(number);
    return 0;
}

POSIX_FN int posix_pthread_kill(pthread_t thread, int number)
{
    (void)thread;
    return posix_raise(number);
}

#define raise posix_raise
#define pthread_kill posix_pthread_kill

/* No thread takes signals: all are as good as blocked. */
#undef pthread_sigmask
#define pthread_sigmask posix_sigmask
#define SIG_BLOCK 0

POSIX_FN int posix_sigmask(int how, const sigset_t *set, sigset_t *before)
{
    (void)how;
    (void)set;
    *before = ~(sigset_t)0;
    return 0;
}

POSIX_FN int sigemptyset(sigset_t *set)
{
    *set = 0;
    return 0;
}

POSIX_FN int sigismember(const sigset_t *set, int number)
{
    return (int)(*set >> number & 1);
}

/* The handles to this thread.  Besides them there is one of pthread's own, as
 * pthread_self() was called, and the one that asks. */
POSIX_FN int posix_thread_handles(void)
{
    typedef LONG(WINAPI * query)(HANDLE, int, void *, ULONG, ULONG *);
    struct { ULONG attributes, access, handles, pointers, more[10]; } info;
    HANDLE self;
    FARPROC f = GetProcAddress(GetModuleHandleA("ntdll.dll"),
                               "NtQueryObject");
    query ask;
    memcpy(&ask, &f, sizeof ask);
    memset(&info, 0, sizeof info);
    if (!ask || !DuplicateHandle(GetCurrentProcess(), GetCurrentThread(),
                                 GetCurrentProcess(), &self, 0, FALSE,
                                 DUPLICATE_SAME_ACCESS))
        return -1;
    ask(self, 0, &info, sizeof info, NULL);
    CloseHandle(self);
    return (int)info.handles - 2;
}

/* A thread is detached when nobody has a handle to it: who started it may be
 * about to close his. */
POSIX_FN int pthread_getattr_np(pthread_t thread, pthread_attr_t *attributes)
{
    int turns, state = PTHREAD_CREATE_JOINABLE;
    (void)thread;
    for (turns = 0; turns < 1000 && state != PTHREAD_CREATE_DETACHED; turns++)
        if (posix_thread_handles() == 0)
            state = PTHREAD_CREATE_DETACHED;
        else
            Sleep(1);
    pthread_attr_init(attributes);
    return pthread_attr_setdetachstate(attributes, state);
}

POSIX_FN DWORD WINAPI posix_watch(void *unused)
{
    (void)unused;
    for (;;) {
        Sleep(1000);
        if (InterlockedDecrement(&posix_state.alarm) == 0)
            posix_raise(SIGALRM);
    }
    return 0;
}

POSIX_FN unsigned alarm(unsigned seconds)
{
    LONG left = InterlockedExchange(&posix_state.alarm, (LONG)seconds + 1);
    if (!posix_state.alarm_thread)
        CloseHandle(CreateThread(NULL, 0, posix_watch, NULL, 0,
                                 &posix_state.alarm_thread));
    return left > 0 ? (unsigned)left : 0;
}

/* --------------------------------------------------------------- memory -- */

#define _SC_PAGESIZE 1
#define PROT_NONE 0
#define PROT_READ 1
#define PROT_WRITE 2
#define MAP_PRIVATE 0
#define MAP_FAILED ((void *)-1)

POSIX_FN long sysconf(int name)
{
    SYSTEM_INFO info;
    (void)name;
    GetSystemInfo(&info);
    return (long)info.dwPageSize;
}

/* Of /dev/zero alone. */
POSIX_FN void *mmap(void *at, size_t size, int protection, int flags, int fd,
                    long offset)
{
    void *p = VirtualAlloc(at, size, MEM_COMMIT | MEM_RESERVE,
                           PAGE_READWRITE);
    (void)protection;
    (void)flags;
    (void)fd;
    (void)offset;
    return p ? p : MAP_FAILED;
}

POSIX_FN int mprotect(void *at, size_t size, int protection)
{
    DWORD before;
    return VirtualProtect(at, size,
                          protection == PROT_NONE ? PAGE_NOACCESS
                                                  : PAGE_READWRITE,
                          &before)
               ? 0
               : -1;
}

/* ------------------------------------------------- /proc and the limits -- */

enum { POSIX_DESCRIPTORS = 16384 }; /* the highest handle that is looked at */

typedef unsigned long rlim_t;

struct rlimit {
    rlim_t rlim_cur, rlim_max;
};

#define RLIMIT_NOFILE 0

POSIX_FN int getrlimit(int resource, struct rlimit *limit)
{
    (void)resource;
    limit->rlim_cur = limit->rlim_max = POSIX_DESCRIPTORS / 4;
    return 0;
}

POSIX_FN int setrlimit(int resource, const struct rlimit *limit)
{
    (void)resource;
    return limit->rlim_cur <= POSIX_DESCRIPTORS / 4 ? 0 : -1;
}

/* The threads of this program, without the alarm's. */
POSIX_FN int posix_threads(void)
{
    HANDLE list = CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0);
    THREADENTRY32 entry;
    int n = 0;
    memset(&entry, 0, sizeof entry);
    entry.dwSize = sizeof entry;
    if (Thread32First(list, &entry))
        do
            n += entry.th32OwnerProcessID == GetCurrentProcessId() &&
                 entry.th32ThreadID != posix_state.alarm_thread;
        while (Thread32Next(list, &entry));
    CloseHandle(list);
    return n;
}

/* Its sockets. */
POSIX_FN int posix_sockets(void)
{
    int fd, n = 0;
    for (fd = 4; fd < POSIX_DESCRIPTORS; fd += 4) {
        int type, size = sizeof type;
        n += getsockopt((SOCKET)fd, SOL_SOCKET, SO_TYPE, (char *)&type,
                        &size) == 0;
    }
    return n;
}

/* /proc/self/task and /proc/self/fd: as many entries as there are. */
struct dirent {
    char d_name[8];
};

typedef struct posix_dir {
    struct dirent entry;
    int left;
} DIR;

POSIX_FN DIR *opendir(const char *path)
{
    DIR *dir = (DIR *)calloc(1, sizeof *dir);
    if (!dir)
        return NULL;
    dir->left = strcmp(path, "/proc/self/task") ? posix_sockets()
                                                : posix_threads();
    dir->left += 2; /* "." and ".." */
    return dir;
}

POSIX_FN struct dirent *readdir(DIR *dir)
{
    strcpy(dir->entry.d_name, dir->left > 2 ? "n" : ".");
    return dir->left-- > 0 ? &dir->entry : NULL;
}

POSIX_FN void closedir(DIR *dir)
{
    free(dir);
}
#define POSIX_READY
#endif /* POSIX_H */

/* ---------------------------------------------------- behind wsock.h alone */

#if defined(WSOCK_IMPLEMENTED) && !defined(WSOCK__WINDOWS) && \
    defined(POSIX_READY) && !defined(POSIX_NAMES)
#define POSIX_NAMES

#undef far /* words that the tests use */
#undef near

#undef _IOLBF /* Windows has none */
#define _IOLBF _IONBF

/* The numbers are Winsock's, as they are in a wsock_failure. */
#undef errno
#undef EAGAIN
#undef EINTR
#undef EINPROGRESS
#undef ECONNREFUSED
#undef EADDRINUSE
#define errno WSAGetLastError()
#define EAGAIN WSAEWOULDBLOCK
#define EINTR WSAEINTR
#define EINPROGRESS WSAEWOULDBLOCK
#define ECONNREFUSED WSAECONNREFUSED
#define EADDRINUSE WSAEADDRINUSE

#define SHUT_RD SD_RECEIVE
#define SHUT_WR SD_SEND
#define SHUT_RDWR SD_BOTH
#define MSG_NOSIGNAL 0
#define MSG_DONTWAIT 0x4000
#define F_GETFL 3
#define F_SETFL 4
#define O_NONBLOCK 0x800
#define SIOCOUTQ 0x5411

typedef unsigned long nfds_t;

POSIX_FN int posix_is_socket(int fd)
{
    return fd < 0 || fd > 2;
}

POSIX_FN void posix_nonblocking(int fd, int on)
{
    u_long value = (u_long)on;
    ioctlsocket((SOCKET)fd, (long)FIONBIO, &value);
}

POSIX_FN char *posix_mode(int fd)
{
    static char none;
    if (fd < 0 || fd / 4 >= (int)sizeof posix_state.nonblocking)
        return &none;
    return &posix_state.nonblocking[fd / 4];
}

POSIX_FN int fcntl(int fd, int what, ...)
{
    va_list args;
    int flags;
    if (what == F_GETFL)
        return *posix_mode(fd) ? O_NONBLOCK : 0;
    va_start(args, what);
    flags = va_arg(args, int);
    va_end(args);
    *posix_mode(fd) = (flags & O_NONBLOCK) != 0;
    posix_nonblocking(fd, *posix_mode(fd));
    return 0;
}

/* What was sent on the loopback is there at once, or a little later: it cannot
 * be asked. */
POSIX_FN int ioctl(int fd, unsigned long what, int *value)
{
    u_long n = 0;
    int r;
    if (what == SIOCOUTQ) {
        Sleep(20);
        *value = 0;
        return 0;
    }
    r = ioctlsocket((SOCKET)fd, (long)what, &n);
    *value = (int)n;
    return r;
}

POSIX_FN int posix_socket(int family, int type, int protocol)
{
    static int begun;
    WSADATA data;
    if (!begun)
        begun = !WSAStartup(MAKEWORD(2, 2), &data);
    return (int)socket(family, type, protocol);
}

POSIX_FN int posix_accept(int fd, struct sockaddr *address, int *size)
{
    int peer = (int)accept((SOCKET)fd, address, size);
    if (peer >= 0) /* Windows' has the listener's mode */
        posix_nonblocking(peer, *posix_mode(peer) = 0);
    return peer;
}

POSIX_FN int posix_setsockopt(int fd, int level, int name, const void *value,
                              int size)
{
    return setsockopt((SOCKET)fd, level, name, (const char *)value, size);
}

POSIX_FN int posix_getsockopt(int fd, int level, int name, void *value,
                              int *size)
{
    return getsockopt((SOCKET)fd, level, name, (char *)value, size);
}

/* Of streams: wsock.h wakes itself by a datagram socket, where others have
 * something that is no socket. */
POSIX_FN int posix_getpeername(int fd, struct sockaddr *address, int *size)
{
    int type = 0, n = sizeof type;
    if (posix_getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) ||
        type != SOCK_STREAM)
        return -1;
    return getpeername((SOCKET)fd, address, size);
}

POSIX_FN ssize_t posix_recv(int fd, void *data, size_t size, int flags)
{
    int force = (flags & MSG_DONTWAIT) && !*posix_mode(fd), n, e;
    if (force)
        posix_nonblocking(fd, 1);
    n = recv((SOCKET)fd, (char *)data, (int)size, flags & ~MSG_DONTWAIT);
    e = WSAGetLastError();
    if (force)
        posix_nonblocking(fd, 0);
    WSASetLastError(e);
    return n;
}

POSIX_FN ssize_t posix_send(int fd, const void *data, size_t size, int flags)
{
    int force = (flags & MSG_DONTWAIT) && !*posix_mode(fd), n, e;
    if (force)
        posix_nonblocking(fd, 1);
    n = send((SOCKET)fd, (const char *)data, (int)size,
             flags & ~MSG_DONTWAIT);
    e = WSAGetLastError();
    if (force)
        posix_nonblocking(fd, 0);
    WSASetLastError(e);
    return n;
}

/* Of all entries none may be there, which WSAPoll() takes amiss. */
POSIX_FN int posix_poll(struct pollfd *list, nfds_t n, int timeout)
{
    nfds_t i, sockets = 0;
    for (i = 0; i < n; i++)
        sockets += (intptr_t)list[i].fd >= 0;
    if (sockets)
        return WSAPoll(list, n, timeout);
    Sleep((DWORD)timeout);
    return 0;
}

/* Two sockets that are joined: by TCP, as Windows has no other pairs. */
POSIX_FN int socketpair(int family, int type, int protocol, int fds[2])
{
    struct sockaddr_in a;
    int size = sizeof a, on = 1, i;
    int listener = posix_socket(AF_INET, type, protocol);
    (void)family;
    memset(&a, 0, sizeof a);
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    fds[0] = posix_socket(AF_INET, type, protocol);
    if (bind((SOCKET)listener, (struct sockaddr *)&a, size) ||
        listen((SOCKET)listener, 1) ||
        getsockname((SOCKET)listener, (struct sockaddr *)&a, &size) ||
        connect((SOCKET)fds[0], (struct sockaddr *)&a, size))
        return -1;
    fds[1] = posix_accept(listener, NULL, NULL);
    closesocket((SOCKET)listener);
    for (i = 0; i < 2; i++) {
        *posix_mode(fds[i]) = 0;
        posix_setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    return fds[1] < 0 ? -1 : 0;
}

POSIX_FN int posix_pipe(int fds[2])
{
    return socketpair(AF_INET, SOCK_STREAM, 0, fds);
}

/* These four take the place of the C library's, and are no macros: members
 * of wsock_io have the same names. */
int open(const char *path, int flags, ...)
{
    (void)path; /* /dev/zero, see mmap() */
    (void)flags;
    return 3;
}

int close(int fd)
{
    if (!posix_is_socket(fd))
        return _close(fd);
    *posix_mode(fd) = 0;
    return closesocket((SOCKET)fd);
}

int read(int fd, void *data, unsigned size)
{
    return posix_is_socket(fd) ? (int)posix_recv(fd, data, size, 0)
                               : _read(fd, data, size);
}

int write(int fd, const void *data, unsigned size)
{
    return posix_is_socket(fd) ? (int)posix_send(fd, data, size, 0)
                               : _write(fd, data, size);
}

#define socket(family, type, protocol) posix_socket(family, type, protocol)
#define accept(fd, address, size) posix_accept(fd, address, size)
#define setsockopt(fd, level, name, value, size) \
    posix_setsockopt(fd, level, name, value, size)
#define getsockopt(fd, level, name, value, size) \
    posix_getsockopt(fd, level, name, value, size)
#define getpeername(fd, address, size) posix_getpeername(fd, address, size)
#define recv(fd, data, size, flags) posix_recv(fd, data, size, flags)
#define send(fd, data, size, flags) posix_send(fd, data, size, flags)
#define poll(list, n, timeout) posix_poll(list, n, timeout)
#define pipe(fds) posix_pipe(fds)

#endif
