/* wsock.h - WebSocket (RFC 6455) in one file: client and server; blocking,
 * polled, or with no I/O at all.  No dependency but the C library and the
 * system's sockets.
 *
 * Do this in ONE C or C++ file of your program:
 *
 *     #define WSOCK_IMPLEMENTATION
 *     #include "wsock.h"
 *
 * and in all others just include it.
 *
 * What to give the linker: nothing on Linux, macOS and BSD; on Windows
 * (Vista and later) -lws2_32 -lbcrypt, which MSVC and clang-cl find by
 * themselves.  There the implementation comes before <windows.h> in its file,
 * or WIN32_LEAN_AND_MEAN is defined before that.  For wss:// also -lbearssl,
 * and -lcrypt32 on Windows; see TLS.
 *
 * WHAT IT DOES NOT DO (yet): permessage-deflate, proxies, redirects.
 *
 * THE SMALLEST CLIENT
 *
 *     #define WSOCK_IMPLEMENTATION
 *     #include "wsock.h"
 *     #include <stdio.h>
 *
 *     int main(void)
 *     {
 *         char text[4096];
 *         wsock_status got;
 *         wsock *ws = wsock_connect("ws://127.0.0.1:9001/", NULL);
 *         wsock_send(ws, WSOCK_TEXT, "hello", 5);
 *         if (wsock_receive(ws, text, sizeof text, &got) == WSOCK_OK
 *             && got.kind == WSOCK_TEXT)
 *             printf("%.*s\n", (int)got.bytes, text);
 *         wsock_close(ws, 1000, "bye");
 *         if (wsock_error(ws))
 *             fprintf(stderr, "%s\n", wsock_error_text(ws));
 *         wsock_free(ws);
 *         return 0;
 *     }
 *
 * wsock_connect() always returns a handle that may be asked for its error;
 * the first failure sticks, later calls return it, so straight-line code is
 * correct code.  (NULL comes back only when memory is out; every function
 * takes it and answers WSOCK_NO_MEMORY.)
 *
 * THE SMALLEST SERVER
 *
 *     #define WSOCK_IMPLEMENTATION
 *     #include "wsock.h"
 *     #include <stdio.h>
 *
 *     int main(void)
 *     {
 *         wsock_event e;
 *         wsock_server *server = wsock_listen("ws://127.0.0.1:9001/", NULL);
 *         while (wsock_server_poll(server, &e, WSOCK_NEVER) >= 0)
 *             if (e.type == WSOCK_EVENT_MESSAGE)
 *                 wsock_send(e.ws, e.kind, e.data, e.size);
 *         fprintf(stderr, "%s\n", wsock_server_why(server)->text);
 *         wsock_server_free(server);
 *         return 0;
 *     }
 *
 * THREE WAYS TO DRIVE A CONNECTION, fixed when it is made
 *
 *     blocking   wsock_connect(), wsock_accept()          wsock_receive()
 *     polled     the same with WSOCK_NONBLOCKING; all     wsock_poll(),
 *                connections of wsock_server_poll()       ..server_poll()
 *     no I/O     wsock_new() alone: wsock_feed() bytes    wsock_next()
 *                in, wsock_output() bytes out
 *
 * All three are the same code: the protocol core does no I/O, the connection
 * layer puts the wsock_io callbacks around it, and the blocking and polled
 * calls are two short loops around that.  The wrong reading call for a
 * handle returns WSOCK_INVALID_OPERATION.
 *
 *     your program
 *         wsock_receive          wsock_poll, wsock_server_poll
 *         |  >>blocking             |  >>loop  >>server
 *         +------------+------------+
 *                      |  >>connection      I/O around the core
 *                      |  >>core            handshake, frames, closing
 *                      |  >>http  >>frame  >>utf8
 *                      |  >>secure          TLS, for wss://   >>bearssl
 *         wsock_io callbacks: yours, or the system's sockets   >>sockets
 *
 * Every name above is an anchor: search this file for ">>name".
 *
 * OPTIONS (struct wsock_options; zero means default)
 *
 *     flags              - WSOCK_NONBLOCKING and others (0)
 *     lookup_timeout     - name look-up, ms (10,000)
 *     connect_timeout    - TCP connection, ms (10,000)
 *     handshake_timeout  - TLS and HTTP exchange, ms, either role (10,000)
 *     send_timeout       - one blocking send, ms (30,000)
 *     receive_timeout    - one blocking receive, ms (WSOCK_NEVER)
 *     close_timeout      - waiting for the peer's Close, ms (10,000)
 *     keepalive_interval - an empty ping after so long, ms (30,000)
 *     pong_timeout       - a peer that answers no ping is dead, ms (20,000)
 *     stall_timeout      - a peer that takes nothing is dead, ms (30,000)
 *     max_message        - largest assembled message, bytes (16 MiB)
 *     max_header         - largest HTTP head, bytes (16 KiB)
 *     receive_buffer     - read window of a loop, bytes (64 KiB)
 *     send_limit         - soft bound of a send queue, bytes (1 MiB)
 *     read_ahead         - taken in by a blocking send, bytes (128 MiB)
 *     max_memory         - of a connection, or a whole server (1 GiB)
 *     max_connections    - of a server (100,000)
 *     max_handshakes     - of these, not open yet (10,000)
 *     backlog            - of a listening socket (1,024)
 *     poll_messages      - events between two polls that return 0 (65,536)
 *     poll_bytes         - bytes read between two of them (16 MiB)
 *     headers, subprotocols, extensions, origins, origin, user_agent
 *     reserved_bits      - RSV bits of your own extensions (0)
 *     tls_ca, tls_cert, tls_key, tls_pins - PEM, or names of files
 *     tls_record         - largest TLS record, bytes (16 KiB)
 *     tls_session        - where a client keeps its session (nowhere)
 *     tls                - another TLS library than the built-in one
 *     io, system         - your transport; your allocator, clock, random
 *     memory             - a block of yours: then nothing is ever allocated
 *
 * LIFETIME  Whatever the library hands out (event data, headers) lives until
 * the next reading call (poll, next, receive, feed) on that connection or
 * its server.  Event data may be changed in place, unless it was sent back
 * (see wsock_send).  wsock_why() and the close reason live until
 * wsock_free().
 *
 * OWNERSHIP  Connections of wsock_server_poll() belong to the server: CLOSE
 * is their last event, and the following poll frees them; wsock_free()
 * earlier means no further events.  Accepted connections and those that you
 * made are yours, also after wsock_server_add().  Only poll calls report and
 * only poll calls free: a send or broadcast that meets a dead peer leaves
 * every handle valid, and CLOSE comes later.
 * Every connection has at most one OPEN and exactly one CLOSE; a client
 * that fails before OPEN also gets CLOSE, with the reason.  Only a server
 * reports nothing of peers whose handshake fails: it has answered them.
 *
 * RESULTS  0 done; positive "not now"; negative failed.  Poll calls: 1 an
 * event, 0 none, negative ended.  The first failure sticks to the
 * connection and wsock_why() has its full account.  Wrong calls,
 * WSOCK_WOULD_BLOCK and a receive that timed out never stick.  After an
 * orderly close wsock_error() is 0.
 *
 * FLUSHING  Sends made between an event and the next poll are gathered, and
 * leave together: before the window is reused, before waiting, above
 * 64 KiB, and in wsock_flush().  Once poll has returned 0 they leave at
 * once, so that a game that sends after its polls loses no frame.
 *
 * REQUESTS  Without WSOCK_REQUESTS a server shakes hands with everyone whose
 * Origin is allowed, takes the client's first subprotocol that it speaks, and
 * answers plain HTTP with 426.  With it every GET and HEAD request is a
 * REQUEST event, to be answered with wsock_upgrade() or wsock_respond(), at
 * once or later, within options.handshake_timeout; so a server brings its own
 * web page.  Until then nothing more is read from that connection.  A request
 * that the program forgets takes one of max_connections for good: answer it,
 * also late, or wsock_close() or wsock_free() it.
 *
 * NEVER A BLOCKED FRAME  Poll calls with time 0 never wait: names are looked
 * up by a helper thread, IPv6 and IPv4 are raced (RFC 8305), nothing is torn
 * down with a wait.  A loop `while (wsock_poll(ws, &e, 0) > 0)` ends even if
 * the peer never stops: after poll_messages events or poll_bytes bytes poll
 * returns 0 once.
 *
 * DEAD AND SLOW PEERS  An open connection sends an empty ping every
 * keepalive_interval; when neither the Pong nor anything else has come within
 * pong_timeout, or the peer has taken nothing of what is queued for
 * stall_timeout, it ends with WSOCK_TIMED_OUT.  Time-outs are looked at in
 * poll calls (blocking: in receive); a late call looks at what has come
 * first, so that a game that loaded a level for a minute loses nothing.
 *
 * THREADS  A polled connection, and a server with all its connections,
 * belongs to one thread; wsock_wake() and wsock_server_wake() are the calls
 * from others.  A blocking connection may have one thread that sends and one
 * that receives: either moves bytes both ways, so that two peers that send
 * before they receive do not wait for each other.  Meanwhile any thread may
 * wsock_cancel(), wsock_close() or wsock_free() it, and a waiting
 * wsock_receive() returns WSOCK_CANCELLED; calls that begin after a close get
 * WSOCK_INVALID_OPERATION or WSOCK_CLOSED.  After wsock_free() no other call
 * may begin, so the usual end is: cancel or close, join the threads, free.
 * Ask wsock_why() when a call has failed: until then another thread may be
 * writing the account.  Different connections are independent: there are no
 * globals.
 *
 * FOREIGN LOOPS  wsock_watches() lists the descriptors to wait for and
 * wsock_timeout() the longest wait; when either comes, poll with time 0 until
 * it returns 0, then ask again, as both may have changed.
 *
 * BACKPRESSURE  send_limit is soft: below it a message is taken whole, at it
 * wsock_send() returns WSOCK_WOULD_BLOCK and takes nothing; DRAIN comes once
 * the queue has halved.  A polled server does not read from a connection
 * whose queue is at its limit, so that an echo loses nothing; wsock_pause()
 * does the same by hand, for clients too.
 *
 * CLOSING  wsock_shutdown() sends Close and goes on receiving;
 * wsock_close() sends Close if that was not done, and discards what still
 * comes.  After the last Close frame, or a refusing HTTP response, the
 * write side is shut, what arrives is discarded until the end of the stream
 * or one second, then the socket is closed, so that unread data never turns
 * the Close into a reset (RFC 6455 7.1.1).  The server ends TCP first.
 *
 * WITHOUT I/O, in five steps
 *
 *     1. wsock_new(WSOCK_CLIENT, url, o) or wsock_new(WSOCK_SERVER, 0, o)
 *     2. n = wsock_output(ws, bufs, 8): write them, then
 *        wsock_output_done(ws, bytes_written); until n is 0
 *     3. bytes came: wsock_feed(ws, bytes, count); 0 bytes: end of stream
 *     4. while (wsock_next(ws, &event) > 0) ...; it reads in place
 *     5. go to 2; CLOSE is the last event: write what 2 still yields, close
 *        your transport, wsock_free(ws)
 *
 *     Time-outs are yours then; wsock_abort() ends a connection at once.
 *
 * MEMORY  With options.memory a connection lives in your block of
 * wsock_memory_needed() bytes and never allocates (but for the look-up of a
 * name, which is the system's: numeric addresses and localhost need none):
 * receive_buffer bounds what it reads, max_message what it assembles (by
 * default receive_buffer), send_limit what it queues.  What cannot fit is
 * refused: 1009 to the peer, WSOCK_TOO_BIG to you.  Zero for receive_buffer,
 * send_limit or max_header means 4 KiB then.  For wss:// tls_ca, tls_cert and
 * tls_key are to be texts, not files; without tls_ca the authorities of the
 * process are read, which takes memory that is not the connection's.
 *
 * TLS  With WSOCK_BEARSSL a client's wss:// URL needs nothing more: the
 * certificate is checked, for the URL's host (names and addresses of its
 * subjectAltName), for today, up to an authority of options.tls_ca, or else
 * of the file that SSL_CERT_FILE names (not in a set-uid program), or else of
 * the system.  These are read once, on first use, so the first connection
 * takes some milliseconds more.  One that is limited to some names (RFC 5280
 * 4.2.1.10) is believed for hosts, addresses and subjects that it may sign
 * for; one that bars subjects, or says anything of the kinds of other names
 * that stand below it, and one for other uses than servers, are not.  On
 * Windows the system's are those of the store ROOT, but for what stands there
 * with other uses only, and without those that Windows fetches when a program
 * of its own first needs them; and no certificate of the store Disallowed is
 * believed then, wherever it stands in a chain.  A certificate that is refused
 * is told with the rule and the name, in the phase TLS, with BearSSL's code.
 * A server needs tls_cert and tls_key.  It is TLS 1.2 with ECDHE and AEAD;
 * another library can be put in by options.tls.  Keys and what was agreed on
 * are wiped when they are freed.  Files are read by plain calls, a client's
 * when its handshake begins: texts keep them out of a loop.  A connection
 * takes about 40 KB more, and as much again during the handshake (see
 * tls_record): with many of them max_memory is reached before max_connections.
 *
 * SIGNALS  The library installs no handler.  SIGPIPE never reaches you.  A
 * signal ends a waiting poll call early (0); wsock_wake() and
 * wsock_server_wake() may be called from a signal handler.
 *
 * WINDOWS  WSAStartup() is called once, on first use, and never taken back;
 * that the program does the same changes nothing.  A descriptor of
 * wsock_watches() is a SOCKET, for WSAPoll() or select().  wsock_failure's
 * os_code is WSAGetLastError()'s.
 *
 * SETTINGS, as macros before the include, the same in every file
 *
 *     WSOCK_STATIC    - every function static: private to the one file that
 *                       includes it
 *     WSOCK_API       - what to put before each declaration (dllexport...)
 *     WSOCK_USE_POLL  - poll() instead of epoll or kqueue
 *     WSOCK_USE_KQUEUE - kqueue also where it is not the system's own
 *     WSOCK_BEARSSL   - wss:// by BearSSL: its headers are found, and the
 *                       program is linked with it (-lbearssl); see TLS.
 *                       wsock_tls.h, by amalgamate.py, has it in itself
 *     WSOCK_NO_THREADS - no helper thread and no mutexes: name look-ups
 *                       (not numeric addresses, not localhost) then block,
 *                       and a blocking connection belongs to one thread
 *     WSOCK_NO_SIMD   - no code for SSSE3, AVX2 (chosen at run time) and
 *                       NEON: UTF-8 is checked in plain C.  Also where the
 *                       linker has no __cpu_model, as that of zig cc
 *
 * Licence: public domain or MIT, as you like; see the end of the file.
 */
#if defined(WSOCK_IMPLEMENTATION) && !defined(WSOCK_IMPLEMENTED)
/* What the implementation needs from the system's headers; it has to be said
 * before the first of them. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#if defined(_WIN32) && !defined(_WIN32_WINNT)
#define _WIN32_WINNT 0x0600 /* Vista: WSAPoll() and condition variables */
#endif
#if defined(__APPLE__) && !defined(_DARWIN_C_SOURCE)
#define _DARWIN_C_SOURCE
#endif
#endif

#ifndef WSOCK_H
#define WSOCK_H

#include <stddef.h>
#include <stdint.h>

#ifndef WSOCK_API
#if defined(WSOCK_STATIC) && (defined(__GNUC__) || defined(__clang__))
#define WSOCK_API static __attribute__((unused))
#elif defined(WSOCK_STATIC)
#define WSOCK_API static
#else
#define WSOCK_API extern
#endif
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* -------------------------------------------------------------- >>api --
 * Constants that are combined or switched on are ints, not enum types, so
 * that C++ lets them be combined. */

#define WSOCK_VERSION 0x000100 /* 0.1.0 */
enum { WSOCK_PROTOCOL_VERSION = 13 }; /* Sec-WebSocket-Version */

/* A connection.  A server and its event loop. */
typedef struct wsock wsock;
typedef struct wsock_server wsock_server;

/* Roles of wsock_new(). */
enum { WSOCK_CLIENT = 1, WSOCK_SERVER = 2 };

/* Results.  Each name with the number and the line that wsock_result_text()
 * gives for it; wsock_error_text() is more exact. */
#define WSOCK_RESULTS(X)                                                      \
    X(OK, 0, "done")                                                          \
    X(WOULD_BLOCK, 1, "not now: the send queue is at options.send_limit")     \
    X(INVALID_PARAMETER, -1, "an argument or option is not valid")            \
    X(INVALID_OPERATION, -2, "this call does not fit the connection's state") \
    X(NO_MEMORY, -3, "memory is out, or options.max_memory is reached")       \
    X(UNSUPPORTED, -4, "not in this build")                                   \
    X(INVALID_URL, -5, "the URL is not a ws:// or wss:// URL")                \
    X(TIMED_OUT, -6, "time is up")                                            \
    X(CLOSED, -7, "the connection is closed")                                 \
    X(CANCELLED, -8, "cancelled by another call")                             \
    X(LOOKUP_FAILED, -9, "the host name has no address")                      \
    X(CONNECT_FAILED, -10, "no connection to the host")                       \
    X(CONNECTION_LOST, -11, "the peer went away without a Close frame")       \
    X(IO_ERROR, -12, "the transport failed")                                  \
    X(TLS_ERROR, -13, "TLS failed")                                           \
    X(HTTP_ERROR, -14, "the peer's HTTP is malformed")                        \
    X(REFUSED, -15, "the handshake was refused")                              \
    X(INVALID_HANDSHAKE, -16, "the peer's handshake breaks RFC 6455")         \
    X(UNSUPPORTED_SUBPROTOCOL, -17, "a subprotocol that was not offered")     \
    X(UNSUPPORTED_EXTENSION, -18, "an extension that was not offered")        \
    X(PROTOCOL_ERROR, -19, "the peer broke RFC 6455")                         \
    X(INVALID_UTF8, -20, "the peer sent text that is not UTF-8")              \
    X(TOO_BIG, -21, "larger than a limit allows")                             \
    X(RANDOM_FAILED, -22, "the system's random source failed")                \
    X(LISTEN_FAILED, -23, "the address cannot be listened on")                \
    X(ABORTED, -24, "ended by wsock_abort")
#define WSOCK__ENUM(name, value, text) WSOCK_##name = value,
enum { WSOCK_RESULTS(WSOCK__ENUM) WSOCK__RESULTS_END };
#undef WSOCK__ENUM

/* `kind` is one word: what a message, part or frame is.  A part that is not
 * the last carries WSOCK_FRAGMENT; every part of a message names the type of
 * the whole (RFC 6455 5.4).  wsock_send(to, e.kind, e.data, e.size) forwards
 * any part. */
enum {
    WSOCK_TEXT = 0x1,
    WSOCK_BINARY = 0x2,
    WSOCK_CLOSE = 0x8,
    WSOCK_PING = 0x9,
    WSOCK_PONG = 0xA,
    WSOCK_RSV3 = 0x10, /* reserved bits, for extensions of your own: */
    WSOCK_RSV2 = 0x20, /* see options.reserved_bits */
    WSOCK_RSV1 = 0x40,
    WSOCK_FRAGMENT = 0x100, /* more of this message follows */
    WSOCK_BORROW = 0x200    /* send: memory used in place until SENT */
};

/* Close codes (RFC 6455 7.4.1 and IANA's registry).  Also allowed on the
 * wire: 3000 to 3999 (libraries) and 4000 to 4999 (private use). */
enum {
    WSOCK_CLOSE_NORMAL = 1000,
    WSOCK_CLOSE_GOING_AWAY = 1001,
    WSOCK_CLOSE_PROTOCOL_ERROR = 1002,
    WSOCK_CLOSE_UNSUPPORTED_DATA = 1003,
    WSOCK_CLOSE_NO_STATUS = 1005, /* never on the wire: no code was given */
    WSOCK_CLOSE_ABNORMAL = 1006,  /* never on the wire: no Close came */
    WSOCK_CLOSE_INVALID_DATA = 1007,
    WSOCK_CLOSE_POLICY_VIOLATION = 1008,
    WSOCK_CLOSE_TOO_BIG = 1009,
    WSOCK_CLOSE_MISSING_EXTENSION = 1010,
    WSOCK_CLOSE_INTERNAL_ERROR = 1011,
    WSOCK_CLOSE_SERVICE_RESTART = 1012,
    WSOCK_CLOSE_TRY_AGAIN_LATER = 1013,
    WSOCK_CLOSE_BAD_GATEWAY = 1014,
    WSOCK_CLOSE_TLS_HANDSHAKE = 1015 /* never on the wire */
};

/* What wsock_state() answers. */
enum {
    WSOCK_STATE_CONNECTING = 1, /* until the handshake is done */
    WSOCK_STATE_OPEN = 2,
    WSOCK_STATE_CLOSING = 3, /* a Close was sent or received, or it failed */
    WSOCK_STATE_CLOSED = 4
};

/* Where a connection failed (wsock_failure.phase). */
enum {
    WSOCK_PHASE_SETUP = 1, /* options, URL, listening */
    WSOCK_PHASE_LOOKUP = 2,
    WSOCK_PHASE_TCP = 3,
    WSOCK_PHASE_TLS = 4,
    WSOCK_PHASE_HTTP = 5,
    WSOCK_PHASE_WEBSOCKET = 6
};

/* What was being done (wsock_failure.operation). */
enum {
    WSOCK_OPERATION_CONNECT = 1,
    WSOCK_OPERATION_SEND = 2,
    WSOCK_OPERATION_RECEIVE = 3,
    WSOCK_OPERATION_CLOSE = 4
};

/* Event types. */
enum {
    WSOCK_EVENT_NONE = 0,
    WSOCK_EVENT_OPEN = 1,    /* the handshake is done; sends may begin */
    WSOCK_EVENT_MESSAGE = 2, /* kind, data, size: a message, or a part */
    WSOCK_EVENT_PING = 3,    /* data, size; it has been answered already */
    WSOCK_EVENT_PONG = 4,    /* data, size; not a keepalive ping's */
    WSOCK_EVENT_SENT = 5,    /* context, code, kind, size (of the whole): a
                              * borrowed send is done */
    WSOCK_EVENT_DRAIN = 6,   /* the send queue has halved: go on sending */
    WSOCK_EVENT_CLOSE = 7,   /* code, data, size (the reason), why: the end */
    WSOCK_EVENT_REQUEST = 8  /* request: upgrade or respond (WSOCK_REQUESTS) */
};

/* Special values: times in milliseconds, sizes in bytes. */
enum { WSOCK_NEVER = -1 };
#define WSOCK_UNLIMITED ((size_t)-1)

/* Bits of options.flags. */
enum {
    WSOCK_NONBLOCKING = 0x01, /* polled: wsock_poll() instead of receive */
    WSOCK_PARTS = 0x02,       /* hand out messages in parts, as they come */
    WSOCK_CONTROL = 0x04,     /* wsock_receive() also returns PING, PONG */
    WSOCK_NO_UTF8_CHECK = 0x08, /* received text may be anything */
    /* Client: masking keys of zero.  Server: also takes unmasked frames.
     * Never across the internet: a malicious page could then put bytes of
     * its choice before proxies and caches (RFC 6455 10.3). */
    WSOCK_UNSAFE_NO_MASKING = 0x10,
    /* Driven by wsock_feed() alone: with options.memory no room for a read
     * window is set aside. */
    WSOCK_CORE_ONLY = 0x20,
    /* Server, polled or without I/O: requests are the program's to answer,
     * see WSOCK_EVENT_REQUEST. */
    WSOCK_REQUESTS = 0x40,
    /* Client: no check of the server's certificate, but for tls_pins: whoever
     * sits between the two reads and changes everything, and nobody will
     * notice.  For trying things out on one's own machine. */
    WSOCK_UNSAFE_TLS_ACCEPT_ANYONE = 0x80
};

/* A piece of memory, for gather lists. */
typedef struct wsock_buf {
    const void *data;
    size_t size;
} wsock_buf;

/* What wsock_receive() put into the caller's buffer. */
typedef struct wsock_status {
    size_t bytes;  /* bytes written */
    unsigned kind; /* WSOCK_TEXT or BINARY, | FRAGMENT; WSOCK_CLOSE */
} wsock_status;

/* Why a connection ended; wsock_why().  Fields that do not apply are 0. */
typedef struct wsock_failure {
    int code;      /* WSOCK_OK after an orderly close, else what failed */
    int phase;     /* WSOCK_PHASE_... */
    int operation; /* WSOCK_OPERATION_... */
    int os_code;   /* errno; WSAGetLastError(); or getaddrinfo()'s code, in
                    * the phase LOOKUP, but for EAI_SYSTEM: then errno */
    int tls_code;
    int http_status;        /* of the response, received or sent */
    const char *body;       /* start of a refusing response's body, */
    size_t body_size;       /* up to 4 KiB; not NUL-terminated */
    int close_sent;         /* in our Close; 1005: empty; 0: none sent */
    int close_received;     /* in the peer's; 1005: empty; 0: none came */
    const char *close_reason; /* the peer's, UTF-8, never NULL */
    const char *text;       /* one line: the cause, and the knob to turn */
} wsock_failure;

/* An HTTP request that waits for an answer.  It and its strings live until
 * the answer is given or the connection is freed. */
typedef struct wsock_request {
    int upgrade;        /* a valid WebSocket handshake: may be upgraded */
    const char *method; /* "GET" or "HEAD" */
    const char *target; /* as it came: path and query, or a whole URI */
    const char *path;   /* "/chat": of the target, not decoded */
    const char *query;  /* behind the '?', NULL: there was none */
    const char *host;   /* the Host header, NULL (HTTP/1.0): none */
    const char *origin; /* the Origin header, NULL: none */
    const char *const *subprotocols; /* offered, best first, 32 at most; a
                                      * NULL-terminated list, never NULL */
} wsock_request;

/* What a poll call reports; which fields count stands at the event types. */
typedef struct wsock_event {
    int type;  /* WSOCK_EVENT_... */
    int code;  /* CLOSE: the peer's close code, 1005 none in it, 1006 no
                * Close came.  SENT: WSOCK_OK, or why it was not sent */
    wsock *ws; /* whose event it is */
    unsigned kind;
    void *data; /* lives until the next reading call; may be changed */
    size_t size;
    void *context;            /* SENT: as given to wsock_sendv() */
    const wsock_failure *why; /* CLOSE: never NULL; why->code 0: orderly */
    const wsock_request *request; /* REQUEST */
} wsock_event;

/* A descriptor to wait for; wsock_watches(). */
typedef struct wsock_watch {
    intptr_t fd; /* a socket, or whatever the system can wait for */
    int wants;   /* 1: until it may be read, 2: written; or both, 3 */
} wsock_watch;

/* A transport.  All callbacks but `wait` must not block.  Every one gets
 * `user`; of a blocking connection with two threads, all but `wait` and
 * `wake` are called one at a time.  Returns: WSOCK_OK (0), a count,
 * WSOCK_WANT_READ or WSOCK_WANT_WRITE (nothing was done; call again once the
 * transport below can be read or written, whichever way this call goes), or
 * WSOCK_TRANSPORT_ERROR.  After an error of `write` what came before is still
 * read; after any other only `explain` (at once) and `close` follow. */
enum {
    WSOCK_WANT_READ = -1,
    WSOCK_WANT_WRITE = -2,
    WSOCK_TRANSPORT_ERROR = -3
};
typedef struct wsock_io {
    /* Connect, or go on connecting; called until it returns WSOCK_OK.  NULL:
     * open already.  host, port: of the URL; NULL and 0 after attach. */
    int (*open)(void *user, const char *host, int port);
    /* Read up to `size` bytes (at least 1).  Returns the count, 0 at the end
     * of the stream, WANT or error. */
    ptrdiff_t (*read)(void *user, void *data, size_t size);
    /* Write a gather list (count at least 1, sizes above 0).  Returns the
     * bytes taken, which may be fewer; WANT or error.  After WANT the next
     * call offers the same bytes again, perhaps more, perhaps elsewhere;
     * after a count, other ones may follow those that were taken. */
    ptrdiff_t (*write)(void *user, const wsock_buf *bufs, size_t count);
    /* Nothing more will be written: shut the write side.  0, WANT, error.
     * NULL: nothing to do. */
    int (*finish)(void *user);
    /* Block until the transport may be read (wants & 1) or written
     * (wants & 2), or `timeout` ms have passed (-1: no limit).  Returns 0,
     * or WSOCK_TRANSPORT_ERROR.  NULL: `fd` is waited on. */
    int (*wait)(void *user, int wants, int timeout);
    /* Make every `wait` that is in progress on other threads return at once,
     * or if there is none the next one.  wsock_wake() and wsock_cancel() call
     * it, in their thread or signal handler, until wsock_free(), also after
     * `close`.  NULL: `fd` is waited on, or a `wait` goes on until its time
     * is up. */
    void (*wake)(void *user);
    /* The socket to wait on, or -1: none now.  NULL: never one.  Without one
     * a poll call tries every time and never waits.  In a server's loop (see
     * wsock_server_add) there is to be one whenever WANT was returned. */
    intptr_t (*fd)(void *user);
    /* After an error: fill in os_code, tls_code, and text (memory that lives
     * until `close`), perhaps also code and phase; a field left alone keeps
     * its general value.  NULL: nothing to add. */
    void (*explain)(void *user, wsock_failure *failure);
    /* Release everything; the last call, exactly once.  NULL: nothing. */
    void (*close)(void *user);
    void *user;
} wsock_io;

typedef struct wsock_options wsock_options;

/* TLS, as one function that turns an open transport into another. */
typedef struct wsock_tls {
    /* Put TLS around a transport.
     *   io       in   an open transport (its `open` has been done, and is
     *                 NULL), over which nothing has gone
     *            out  TLS over it, every field set anew.  Repeated calls of
     *                 its `open` are the TLS handshake; `close` also closes
     *                 the transport below; `fd`, `wait` and `wake` are those
     *                 below (NULL where they are); `finish` says close_notify,
     *                 then finishes below.  A stream that ends without the
     *                 peer's close_notify is an error of `read`, told by
     *                 `explain`
     *   role     in   WSOCK_CLIENT or WSOCK_SERVER
     *   host     in   client: the host of the URL, without brackets, for SNI
     *                 and the check of the certificate; server: NULL.
     *                 Borrowed until return
     *   options  in   those in force; borrowed until return
     * Every call of the wrapped callbacks keeps wsock_io's contract; what is
     * read too much from below is handed out before WANT is returned.
     * Returns  WSOCK_OK; or a negative result, with *io unchanged: it is what
     *          the connection fails with (WSOCK_NO_MEMORY, mostly: what else
     *          is wrong is better told by `open` and `explain`).
     * Blocks   never.   Threads  as wsock_io's callbacks; for connections in
     *          different threads at once, with the same `user`. */
    int (*wrap)(void *user, wsock_io *io, int role, const char *host,
                const wsock_options *options);
    void *user;
} wsock_tls;

/* What a client keeps of a TLS session, so that the next connection to the
 * same host and port, with the same tls_ca, tls_cert, tls_pins and flags, can
 * go on with it, if the server likes: without certificates, signatures, or a
 * new check of them, for a day by the clock of options.system (RFC 5246
 * F.1.4); a server forgets all sessions once a day.  Zero it before its first
 * use; it is read when a handshake begins and written when one is done, so let
 * no two threads do that at once.  It holds a secret: zero it when it is not
 * needed any more. */
typedef struct wsock_tls_session {
    unsigned char bytes[160];
} wsock_tls_session;

/* What the library takes from the system.  A NULL callback means the
 * default: malloc and free, the monotonic clock, the OS's secure source.
 * Accepted connections may call theirs from several threads at once. */
typedef struct wsock_system {
    void *(*alloc)(void *user, size_t size); /* NULL when out of memory */
    void (*free)(void *user, void *memory, size_t size);
    int64_t (*now)(void *user); /* milliseconds, never going back */
    int (*random)(void *user, void *bytes, size_t size); /* 0: done */
    void *user;
} wsock_system;

/* Options.  Start from a zeroed struct: wsock_options o = {0};  (C++: {};)
 * Strings are copied; lists (NULL-terminated arrays), what begins with tls,
 * `io` and `system` are borrowed as long as the connection or the server
 * lives, with all they point to.  Connections of a server share its options.
 */
struct wsock_options {
    unsigned flags; /* WSOCK_NONBLOCKING, ... */
    void *user;     /* first value of wsock_user() */

    /* Times in milliseconds.  0: the default; WSOCK_NEVER: no limit. */
    int lookup_timeout;    /* name look-up (10,000) */
    int connect_timeout;   /* from there to an open transport (10,000) */
    int handshake_timeout; /* from there to OPEN, TLS included (10,000) */
    int send_timeout;      /* one blocking wsock_send (30,000) */
    int receive_timeout;   /* one wsock_receive (WSOCK_NEVER) */
    int close_timeout;     /* from wsock_close() to the peer's Close, and for
                            * what is queued before ours (10,000) */
    int keepalive_interval; /* an empty ping is sent so long after OPEN, and
                             * after each Pong (30,000) */
    int pong_timeout;  /* then something must have come (20,000).  It rests
                        * while the connection is paused or held back */
    int stall_timeout; /* longest time in which the peer takes nothing of
                        * what is queued (30,000) */

    /* Sizes in bytes.  0: the default; WSOCK_UNLIMITED: no limit. */
    size_t max_message; /* of an assembled message (16 MiB), inclusive; parts
                         * and wsock_receive() are not bound by it */
    size_t max_header;  /* of the peer's HTTP head (16 KiB) */
    size_t receive_buffer; /* read window, one a loop (64 KiB); 1 GiB at most */
    size_t send_limit;     /* soft bound of a send queue (1 MiB) */
    size_t read_ahead; /* what a blocking send takes in meanwhile, so that a
                        * peer that sends too goes on (128 MiB; with
                        * options.memory, max_message at most) */
    size_t max_memory; /* all that a connection, or a server with all of its
                        * own, may allocate (1 GiB) */
    size_t max_connections; /* of a server (100,000): at it, new ones wait in
                             * the system's backlog */
    size_t max_handshakes; /* of a server, not open yet (10,000): at it, the
                            * oldest gives way to a new one */
    size_t poll_messages; /* events (65,536) and */
    size_t poll_bytes;    /* bytes read (16 MiB) after which a poll returns
                           * 0 once, whatever is left to do */
    int backlog;            /* of the listening socket (1,024) */

    /* Lists end with NULL.  CR, LF and NUL are refused in all of them. */
    const char *const *headers;      /* "Name: value", sent in our head */
    const char *const *subprotocols; /* client: offers, best first; server:
                                      * what it speaks; the first of the
                                      * client's that is in it is taken */
    const char *const *extensions;   /* your own (at most 16), as
                                      * "name; parameter=value"; see
                                      * reserved_bits, wsock_extensions() */
    const char *const *origins; /* server: allowed Origins; NULL: any.  A
                                 * request without Origin is no browser's
                                 * and is let in */
    const char *origin;     /* client: Origin header (none) */
    const char *user_agent; /* client: User-Agent header (none) */
    unsigned reserved_bits; /* WSOCK_RSV1|..: bits with which an agreed
                             * extension of yours marks whole messages: they
                             * stand in the first frame of one */

    /* TLS, for wss:// URLs.  Texts are PEM, or the name of a file with it (a
     * text contains "-----BEGIN"); they are borrowed, and read when the
     * handshake begins, those of a server once, by wsock_listen().  With
     * `tls` set they are that library's to heed. */
    const char *tls_ca;   /* client: the authorities that are trusted, instead
                           * of SSL_CERT_FILE's or the system's */
    const char *tls_cert; /* our certificate and those that lead to the
                           * root, the own one first: of a server, and of a
                           * client that is asked for one (none) */
    const char *tls_key;  /* its private key, RSA or EC: PKCS#1, PKCS#8 or
                           * SEC1, not encrypted */
    const char *const *tls_pins; /* client: keys of which the server's is to
                                  * be one, besides all other checks: base64
                                  * of the SHA-256 of its public key
                                  * (SubjectPublicKeyInfo), with or without
                                  * "sha256//" before it (any) */
    size_t tls_record; /* largest TLS record, bytes (16,384); 512, 1024, 2048
                        * or 4096: for less memory, if the peer agrees
                        * (RFC 6066 4): a client asks for it, and one that
                        * sends larger ones is refused */
    wsock_tls_session *tls_session; /* client: for a shorter handshake the
                           * next time (none) */
    const wsock_tls *tls; /* another TLS library (BearSSL, if it was compiled
                           * in with WSOCK_BEARSSL) */

    const wsock_io *io;         /* client: transport instead of sockets */
    const wsock_system *system; /* allocator, clock, random */
    void *memory;       /* the connection's only memory, of any alignment.
                         * Yours again after wsock_free() */
    size_t memory_size; /* at least wsock_memory_needed() */
};

/* --------------------------------------------------------- making one -- */

/* wsock_connect() -- connect to a ws:// or wss:// URL as a client.
 * The same as wsock_new(WSOCK_CLIENT, url, options) and wsock_dial().
 *   url      in  "ws://host[:port][/path][?query]", an IPv6 address in [ ];
 *                copied.  "wss://..." is the same over TLS (see options.tls),
 *                with 443 for 80 as the port that need not be said
 *   options  in  copied (lists borrowed, see wsock_options); NULL: defaults
 * Returns  a handle, always to be freed with wsock_free(); ask wsock_error()
 *          whether it is open.  NULL only when memory is out.
 * Blocks   until open or failed; with WSOCK_NONBLOCKING never: OPEN or CLOSE
 *          comes later.
 * Source   RFC 6455 4.1, RFC 8305. */
WSOCK_API wsock *wsock_connect(const char *url, const wsock_options *options);

/* wsock_new() -- make a connection that has no transport yet.
 * Drive it with wsock_feed() and wsock_output(), or give it a transport with
 * wsock_dial() or wsock_attach().
 *   role     in  WSOCK_CLIENT or WSOCK_SERVER
 *   url      in  client: as for wsock_connect(); server: NULL
 *   options  in  copied (lists borrowed); NULL: defaults
 * Returns  a handle whose wsock_error() tells what is wrong with url or
 *          options; NULL when memory is out, or options.memory too small.
 * Blocks   never.  Allocates: yes, unless options.memory is given. */
WSOCK_API wsock *wsock_new(int role, const char *url,
                           const wsock_options *options);

/* wsock_dial() -- open the transport to the URL's host: options.io, or a TCP
 * socket; then shake hands, for wss:// first as TLS.
 * Returns  WSOCK_OK when open (blocking) or begun (polled), or the failure;
 *          WSOCK_INVALID_OPERATION for a server, or if it has a transport.
 * Blocks   as wsock_connect(); wsock_cancel() from another thread ends it. */
WSOCK_API int wsock_dial(wsock *ws);

/* wsock_attach() -- run a connection over a transport of yours, then shake
 * hands, in either role: for a wss:// URL, and for a server with tls_cert or
 * options.tls, first as TLS.
 *   io  in  copied; a blocking handle needs its fd or wait.  Its `close` is
 *           called once, at the latest by wsock_free(), also when the
 *           handshake fails
 * Returns  as wsock_dial(); WSOCK_INVALID_PARAMETER: io lacks a callback.
 *          After that, WSOCK_INVALID_OPERATION, WSOCK_NO_MEMORY (not sticky)
 *          or a failure that the handle had before, io stays yours. */
WSOCK_API int wsock_attach(wsock *ws, const wsock_io *io);

/* wsock_free() -- end a connection at once and release it.
 * What is queued is offered to the transport one last time, without waiting;
 * no Close frame is added: call wsock_close() before for an orderly end.
 * Borrowed memory is yours again at return.  NULL is ignored.
 * Blocks   never for the peer; only until calls of other threads on a
 *          blocking handle, which it cancels, have returned. */
WSOCK_API void wsock_free(wsock *ws);

/* wsock_memory_needed() -- the least options.memory_size with which
 * wsock_new(), given the same role, url and options, makes a connection
 * (wsock_connect() is a client's).  The lists and strings in them count, too;
 * memory and memory_size do not.  When something in them is not valid, it is
 * what the handle takes that tells so.
 * Returns  bytes; 0 when the sum overflows.
 * Blocks   never.   Allocates: no. */
WSOCK_API size_t wsock_memory_needed(int role, const char *url,
                                     const wsock_options *options);

/* ------------------------------------------------- sending and closing --
 * One way for blocking, polled and core handles alike. */

/* wsock_send() -- send a message, a part of one, a ping or a pong.
 *   kind  in  WSOCK_TEXT or WSOCK_BINARY, | WSOCK_FRAGMENT for every part
 *             but the last, | RSV bits; WSOCK_PING or WSOCK_PONG (size up to
 *             125, between parts too)
 *   data  in  `size` bytes, copied or sent at return; NULL only if size is
 *             0.  But event data that is sent back on its own connection is
 *             referred to: it stays as it is until the next reading call.
 *             Text is to be UTF-8; that is not checked
 * Returns  WSOCK_OK            taken
 *          WSOCK_WOULD_BLOCK   polled or core: the queue is at send_limit;
 *                              nothing was taken; wait for DRAIN
 *          WSOCK_INVALID_PARAMETER, WSOCK_INVALID_OPERATION   a wrong call
 *                              (not open, Close sent, text inside a binary
 *                              message...); nothing was taken, not sticky
 *          WSOCK_CLOSED        the peer has closed
 *          WSOCK_CANCELLED     another thread has freed the handle
 *          WSOCK_TOO_BIG       can never fit options.memory; not sticky
 *          else the connection's failure, which sticks; WSOCK_NO_MEMORY,
 *                              too: a message would be missing, so the
 *                              connection ends (Close 1011)
 * Blocks   blocking handles: until the transport has taken it, or
 *          options.send_timeout (WSOCK_TIMED_OUT, which sticks).  If no
 *          thread is in wsock_receive() meanwhile, what comes is taken in for
 *          the next one, up to options.read_ahead.
 * Source   RFC 6455 5.4, 5.5.2, 5.6, 6.1. */
WSOCK_API int wsock_send(wsock *ws, unsigned kind, const void *data,
                         size_t size);

/* wsock_sendv() -- the same from a gather list, as one frame.
 *   bufs     in  `count` pieces, joined
 *   context  in  with WSOCK_BORROW: given back in the SENT event
 * With kind | WSOCK_BORROW the memory of the pieces (not the list) is used
 * in place, and is yours again when the SENT event comes (code tells whether
 * it was sent), or at wsock_free().  Polled and core handles only; count may
 * be 0 to 64.
 * Returns  as wsock_send(); on anything but WSOCK_OK no SENT will come. */
WSOCK_API int wsock_sendv(wsock *ws, unsigned kind, const wsock_buf *bufs,
                          size_t count, void *context);

/* wsock_shutdown() -- send Close; receiving goes on.
 *   code    in  1000..1003, 1007..1014, 3000..4999; 0 or 1005: a Close
 *               without code
 *   reason  in  UTF-8, up to 123 bytes, NUL-terminated; NULL: none.  Must be
 *               empty without code
 * Returns  WSOCK_OK; WSOCK_INVALID_PARAMETER; WSOCK_INVALID_OPERATION when
 *          not open or Close was sent already; or the sticky failure.
 * Blocks   blocking handles: as wsock_send().   Source   RFC 6455 5.5.1. */
WSOCK_API int wsock_shutdown(wsock *ws, int code, const char *reason);

/* wsock_close() -- close in order: send Close if that was not done, wait for
 * the peer's, discard what comes until then.
 *   code, reason  in  as for wsock_shutdown(); ignored when Close was sent
 * Returns  WSOCK_OK when closed, also when it was closed already; polled and
 *          core: when closing has begun, CLOSE follows (before OPEN with
 *          WSOCK_CANCELLED as its failure); WSOCK_INVALID_PARAMETER;
 *          WSOCK_TIMED_OUT after options.close_timeout; or the sticky
 *          failure.  The handle stays; free it.
 * Blocks   blocking handles: until closed, or options.close_timeout; it is
 *          a reading call then, and a wsock_receive() of another thread
 *          returns WSOCK_CANCELLED first. */
WSOCK_API int wsock_close(wsock *ws, int code, const char *reason);

/* wsock_close_status() -- what the peer's Close frame said.
 *   *code    out  the close code, WSOCK_CLOSE_NO_STATUS if it had none
 *   *reason  out  UTF-8, NUL-terminated, valid until wsock_free(); either
 *                 pointer may be NULL
 * Returns  WSOCK_OK; WSOCK_INVALID_OPERATION while no Close has come. */
WSOCK_API int wsock_close_status(const wsock *ws, int *code,
                                 const char **reason);

/* wsock_abort() -- drop the connection now, without a Close frame, and all
 * output that has not left: wsock_queued() is 0 and wsock_output() has nothing
 * after it, even when CLOSE was reported before.
 * Polled and core: every borrowed send gets its SENT event, with code
 * WSOCK_ABORTED, then CLOSE comes.   Returns  WSOCK_OK.   Blocks: never. */
WSOCK_API int wsock_abort(wsock *ws);

/* ------------------------------------------------------------ blocking -- */

/* wsock_receive() -- wait for a message, or for as much of it as fits.
 *   data    out  `size` bytes, at least 1
 *   status  out  bytes and kind; unchanged unless WSOCK_OK is returned
 * A message that is larger than the buffer comes as several, all but the
 * last with WSOCK_FRAGMENT, whatever the framing on the wire was.  FRAGMENT
 * means that the buffer is full, or with WSOCK_PARTS that more is to come, or
 * that the call would have ended with nothing and no memory to keep the rest.
 * Text may be cut inside a character then.  kind WSOCK_CLOSE: the peer's
 * Close has come and, unless the time was up, our answer has left; see
 * wsock_close_status(), then call wsock_close().
 * Returns  WSOCK_OK
 *          WSOCK_TIMED_OUT   after options.receive_timeout; nothing is lost,
 *                            call again
 *          WSOCK_CANCELLED   wsock_cancel(), wsock_wake(), or wsock_close()
 *                            or wsock_free() of another thread; nothing is
 *                            lost by the first two, call again
 *          WSOCK_INVALID_OPERATION  the Close was received before, the
 *                            handle is not a blocking one, or another thread
 *                            receives or closes
 *          WSOCK_INVALID_PARAMETER  data or status is NULL, or size 0
 *          else the connection's failure, which sticks.
 * Source   RFC 6455 6.2. */
WSOCK_API int wsock_receive(wsock *ws, void *data, size_t size,
                            wsock_status *status);

/* wsock_cancel() -- let a wsock_receive() or wsock_dial() that waits in
 * another thread, or else the next wsock_receive(), return WSOCK_CANCELLED.
 * A cancelled receive may be made again; a cancelled dial is the end.
 * Returns  WSOCK_OK; WSOCK_INVALID_OPERATION on a handle that is not a
 *          blocking one, or whose wsock_dial() or wsock_attach() has not
 *          begun: nothing was remembered.   Blocks: never.   Threads: any. */
WSOCK_API int wsock_cancel(wsock *ws);

/* ------------------------------------------------------------- polling -- */

/* wsock_poll() -- do what is to be done on a polled connection and report
 * one event.
 *   event    out  filled when 1 is returned, else its type is NONE
 *   timeout  in   how long to wait for one, in ms: 0 (or below -1) not at
 *                 all, WSOCK_NEVER as long as it takes
 * Returns  1 an event; 0 none (time is up, a signal or wsock_wake() came, or
 *          options.poll_messages or poll_bytes was reached); negative: the
 *          connection has ended and CLOSE was reported: free it;
 *          WSOCK_INVALID_OPERATION for one that a server polls. */
WSOCK_API int wsock_poll(wsock *ws, wsock_event *event, int timeout);

/* wsock_wake() -- let a waiting wsock_poll(), or else the next one, return 0
 * soon; on a blocking handle the same as wsock_cancel().
 * Returns  WSOCK_OK; WSOCK_INVALID_OPERATION without a transport, and on a
 *          server's connection: use wsock_server_wake().
 * Threads  any, and signal handlers, between the return of wsock_connect(),
 *          wsock_dial() or wsock_attach() and wsock_free().  While a blocking
 *          one of these waits: signal handlers; threads use wsock_cancel(). */
WSOCK_API int wsock_wake(wsock *ws);

/* wsock_watches() -- what to wait for, for a loop of your own.
 *   list  out  up to `cap` descriptors; there are several while connecting
 * Returns  how many there are, which may be more than `cap`; 0: none (no
 *          transport, a blocking handle, or a transport without `fd`: poll
 *          every so often).  Ask again after every poll, send and close. */
WSOCK_API size_t wsock_watches(const wsock *ws, wsock_watch *list,
                               size_t cap);

/* wsock_timeout() -- how long that wait may last before the next poll, in
 * ms: 0 when there is work waiting; WSOCK_NEVER when nothing is timed, and
 * for a blocking handle. */
WSOCK_API int wsock_timeout(const wsock *ws);

/* wsock_flush() -- offer what is queued to the transport, without waiting.
 * Returns  WSOCK_OK when all was taken, WSOCK_WOULD_BLOCK when some is left
 *          (polls go on with it), WSOCK_INVALID_OPERATION without a
 *          transport, or the sticky failure. */
WSOCK_API int wsock_flush(wsock *ws);

/* wsock_pause() -- stop (on != 0) or resume reading a polled connection.
 * Messages that have been read already wait too, and so do the peer's Close
 * and the end of its stream.  The handshake, sends, and events that do not
 * come from the peer (OPEN, SENT, DRAIN) go on; wsock_close() resumes.
 * Without I/O: wsock_next() has only those events meanwhile, and fed bytes
 * stay lent until they are read.
 * Returns  WSOCK_OK; WSOCK_INVALID_OPERATION on a blocking handle. */
WSOCK_API int wsock_pause(wsock *ws, int on);

/* ------------------------------------------------------------- no I/O -- */

/* wsock_feed() -- lend bytes that came from the wire.
 *   bytes  in  `size` bytes; they are unmasked in place, and stay lent until
 *              wsock_next() returns 0 or less.  0 bytes: end of the stream
 * Returns  WSOCK_OK; WSOCK_INVALID_OPERATION when the bytes fed before have
 *          not been read to the end, or the connection has a transport or is
 *          in a server's loop.  Bytes behind a REQUEST are not read before it
 *          is answered: until then not even the end is taken. */
WSOCK_API int wsock_feed(wsock *ws, void *bytes, size_t size);

/* wsock_next() -- read one event out of the fed bytes.
 * Returns  1 an event, 0 none: take the output, then feed more; negative:
 *          CLOSE was reported, the connection has ended. */
WSOCK_API int wsock_next(wsock *ws, wsock_event *event);

/* wsock_output() -- the bytes to write next.
 *   bufs   out  up to `count` pieces, which stay where they are until
 *               wsock_output_done(), whatever is sent or fed meanwhile
 * Returns  how many pieces; 0: nothing to write. */
WSOCK_API size_t wsock_output(wsock *ws, wsock_buf *bufs, size_t count);

/* wsock_output_done() -- `size` bytes of wsock_output()'s were written; fewer
 * than offered is fine, the next wsock_output() goes on behind them.
 * Returns  WSOCK_OK; WSOCK_INVALID_PARAMETER when more than was offered. */
WSOCK_API int wsock_output_done(wsock *ws, size_t size);

/* wsock_head_out() -- one line of our HTTP head, for programs that own an
 * HTTP stack.  Calling it takes the head out of wsock_output() for good.
 * Client: at once.  Server: after wsock_head_in().
 *   i       in   0: the first line, in *value, with *name ""; 1...: headers
 *   *name, *value  out  valid until the next reading call
 * Returns  WSOCK_OK; WSOCK_CLOSED when there is no line i;
 *          WSOCK_INVALID_OPERATION when there is no head now. */
WSOCK_API int wsock_head_out(wsock *ws, size_t i, const char **name,
                             const char **value);

/* wsock_head_in() -- the peer's HTTP head, parsed by your HTTP stack.
 *   first_line  in  "HTTP/1.1 101 Switching Protocols", or the request line
 *   headers     in  NULL-terminated list of "Name: value"
 * Returns  WSOCK_OK: the handshake is good; server: send the head that
 *          wsock_head_out() yields.  Then feed and output carry frames only.
 *          WSOCK_REFUSED, WSOCK_INVALID_HANDSHAKE, WSOCK_HTTP_ERROR,
 *          WSOCK_UNSUPPORTED_SUBPROTOCOL, WSOCK_UNSUPPORTED_EXTENSION: not;
 *          a server then sends the refusal that wsock_head_out() yields.
 *          WSOCK_INVALID_OPERATION: not waiting for a head.
 * With WSOCK_REQUESTS a server answers a good request with wsock_upgrade()
 * or wsock_respond() in between, on the REQUEST event or without it. */
WSOCK_API int wsock_head_in(wsock *ws, const char *first_line,
                            const char *const *headers);

/* ----------------------------------------------------------- questions --
 * None of them blocks or changes anything.  NULL is answered. */

/* The state: WSOCK_STATE_...; CLOSED for NULL. */
WSOCK_API int wsock_state(const wsock *ws);
/* The failure that stuck, 0 if none; WSOCK_NO_MEMORY for NULL. */
WSOCK_API int wsock_error(const wsock *ws);
/* The same as one line of English, never NULL; valid until wsock_free(). */
WSOCK_API const char *wsock_error_text(const wsock *ws);
/* The full account, never NULL; valid until wsock_free(). */
WSOCK_API const wsock_failure *wsock_why(const wsock *ws);
/* The subprotocol agreed on, NULL if none. */
WSOCK_API const char *wsock_subprotocol(const wsock *ws);
/* The extensions agreed on: bit i stands for options.extensions[i]. */
WSOCK_API unsigned wsock_extensions(const wsock *ws);
/* The value of a header of the peer's head, the first if it came several
 * times, NULL if it did not.  From OPEN (or wsock_connect()) to the next
 * reading call; from REQUEST until the answer, and with OPEN again; after a
 * refusal until wsock_free().  A head that came by wsock_head_in() is the
 * program's, and not kept, but for a REQUEST. */
WSOCK_API const char *wsock_header(const wsock *ws, const char *name);
/* Milliseconds between the last keepalive ping and its Pong, -1: none has
 * come yet. */
WSOCK_API int wsock_rtt(const wsock *ws);
/* Bytes queued and not yet taken by the transport. */
WSOCK_API size_t wsock_queued(const wsock *ws);
/* The peer's address, as "192.0.2.1:80" or "[2001:db8::1]:80", into `size`
 * bytes (64 are enough).  WSOCK_OK; WSOCK_INVALID_OPERATION: no socket. */
WSOCK_API int wsock_peer(const wsock *ws, char *text, size_t size);
/* A pointer of yours: options.user at first. */
WSOCK_API void *wsock_user(const wsock *ws);
WSOCK_API void wsock_set_user(wsock *ws, void *user);
/* The options in force, defaults filled in; they live until wsock_free(),
 * those of a server's connection as long as the server.  NULL for NULL. */
WSOCK_API const wsock_options *wsock_effective_options(const wsock *ws);
/* A result as its name ("WSOCK_TIMED_OUT") and as one line of English. */
WSOCK_API const char *wsock_result_name(int result);
WSOCK_API const char *wsock_result_text(int result);

/* -------------------------------------------------------------- server -- */

/* wsock_listen() -- listen on the host and port of a ws:// or wss:// URL.
 *   url      in  "ws://127.0.0.1:9001/"; port 0: any free one, see
 *                wsock_server_port(); "ws://0.0.0.0:.." or "ws://[::]:..":
 *                every address.  Its path does not matter
 *   options  in  of the server and of all its connections; NULL: defaults.
 *                wss:// needs tls_cert and tls_key, or tls
 * Returns  a handle that may be asked wsock_server_why() (WSOCK_TLS_ERROR:
 *          the certificate or its key cannot be used); NULL only when memory
 *          is out.   Blocks: for a name look-up. */
WSOCK_API wsock_server *wsock_listen(const char *url,
                                     const wsock_options *options);

/* wsock_server_poll() -- do what is to be done on all connections and report
 * one event.  Parameters as for wsock_poll().
 * Returns  1 an event; 0 none (time is up, a signal, wsock_server_wake(), or
 *          options.poll_messages or poll_bytes was reached); negative:
 *          listening failed, or wsock_server_close() has ended the last
 *          connection. */
WSOCK_API int wsock_server_poll(wsock_server *server, wsock_event *event,
                                int timeout);

/* wsock_upgrade() -- answer a REQUEST with 101: the connection is open, OPEN
 * follows, and in the end CLOSE.
 *   subprotocol  in  one that the client offered, whether or not it stands in
 *                    options.subprotocols (with options.memory: it must);
 *                    NULL: none.  Copied
 *   headers      in  "Name: value" list, NULL-terminated, added to those of
 *                    options.headers; NULL: none.  Borrowed until return.
 *                    Not Host, Upgrade, Connection, Content-Length,
 *                    Transfer-Encoding and Sec-WebSocket-...: they are
 *                    written as is right
 * Returns  WSOCK_OK
 *          WSOCK_CLOSED  the peer has left, or time was up; for a server's
 *                        connection no CLOSE follows, and the next poll
 *                        frees it
 *          WSOCK_INVALID_OPERATION  no request waits for an answer, or it is
 *                        none for an upgrade (request.upgrade)
 *          WSOCK_INVALID_PARAMETER, WSOCK_NO_MEMORY, WSOCK_TOO_BIG   nothing
 *                        was sent; the request still waits
 * Source   RFC 6455 4.2.2. */
WSOCK_API int wsock_upgrade(wsock *ws, const char *subprotocol,
                            const char *const *headers);

/* wsock_respond() -- answer a REQUEST as plain HTTP, then end the connection.
 * Content-Length and "Connection: close" are added, with status 426 also
 * Upgrade and Sec-WebSocket-Version; a HEAD request gets no body.  The peer
 * has options.stall_timeout to take some of it.
 *   status   in  200 to 599
 *   headers  in  as for wsock_upgrade()
 *   body     in  `size` bytes, copied; NULL only if size is 0.  None with
 *                status 204 and 304
 * Returns  as wsock_upgrade().  After WSOCK_OK a server's connection reports
 *          nothing more and is not to be used after the next poll; without
 *          I/O, CLOSE follows.
 * Source   RFC 9110, RFC 9112. */
WSOCK_API int wsock_respond(wsock *ws, int status,
                            const char *const *headers, const void *body,
                            size_t size);

/* wsock_broadcast() -- send one message to many: framed once, and shared.
 *   to    in  `count` connections of this server, NULL entries skipped; NULL:
 *             all that are open, those of wsock_server_add() too (which, as
 *             clients, get masked copies of their own), and count is 0
 *   kind  in  WSOCK_TEXT or WSOCK_BINARY
 *   data  in  `size` bytes, copied once; NULL only if size is 0
 * Connections that are not open, or have sent Close, are passed over.
 * Returns  how many were skipped because their queue is at send_limit, or
 *          memory or random bytes were out (which fails none of them), or
 *          they are in the middle of a fragmented send; 0: everyone has it.
 *          Those whose queue was full get DRAIN later.
 *          WSOCK_INVALID_PARAMETER, WSOCK_NO_MEMORY   nobody has it. */
WSOCK_API int wsock_broadcast(wsock_server *server, wsock *const *to,
                              size_t count, unsigned kind, const void *data,
                              size_t size);

/* wsock_server_add() -- let the server's polls also drive a connection of
 * yours, such as a client towards another server.  It stays yours: free it
 * after CLOSE, or when you like, before the server or after.  It counts as a
 * reading call on that connection.
 *   ws  in  a polled one (WSOCK_NONBLOCKING) without options.memory, just
 *           made or already connecting or open, with the allocator and clock
 *           of the server's options.system
 * Returns  WSOCK_OK; WSOCK_INVALID_OPERATION, WSOCK_INVALID_PARAMETER: it is
 *          none such; its options.io has no `fd`; the server has closed or is
 *          driven by wsock_accept(); WSOCK_NO_MEMORY. */
WSOCK_API int wsock_server_add(wsock_server *server, wsock *ws);

/* wsock_accept() -- wait for the next connection that has shaken hands.
 * All handshakes go on at the same time: a slow client delays nobody.
 *   *out     out  a connection of yours, blocking unless the server's
 *                 options say WSOCK_NONBLOCKING; free it before the server
 *                 or after.  NULL on anything but WSOCK_OK
 *   timeout  in   ms; 0: do not wait; WSOCK_NEVER
 * Returns  WSOCK_OK; WSOCK_TIMED_OUT (also for a signal or a wake);
 *          WSOCK_INVALID_OPERATION on a server that is driven by
 *          wsock_server_poll(), has WSOCK_REQUESTS, or was given connections
 *          by wsock_server_add(); else its failure. */
WSOCK_API int wsock_accept(wsock_server *server, wsock **out, int timeout);

/* wsock_server_wake() -- let a waiting poll or accept return 0 / TIMED_OUT
 * soon.  The one call that other threads and signal handlers may make.
 * Returns  WSOCK_OK; WSOCK_INVALID_OPERATION when listening had failed. */
WSOCK_API int wsock_server_wake(wsock_server *server);

/* The same as wsock_watches() and wsock_timeout(), for a server. */
WSOCK_API size_t wsock_server_watches(const wsock_server *server,
                                      wsock_watch *list, size_t cap);
WSOCK_API int wsock_server_timeout(const wsock_server *server);

/* wsock_server_close() -- stop listening and close every connection with
 * 1001; requests that wait get 503; also from within an event.  Polls go on;
 * they return WSOCK_CLOSED when all have ended, after options.close_timeout
 * and a second at most.   Returns  WSOCK_OK, or the server's failure. */
WSOCK_API int wsock_server_close(wsock_server *server);

/* wsock_server_free() -- end and free the server and its connections.  Those
 * that were added end too, and are still to be freed by you. */
WSOCK_API void wsock_server_free(wsock_server *server);

/* The port in use; the connections that have not ended, also those that are
 * not open yet, are HTTP requests, or were added; the failure that stuck. */
WSOCK_API int wsock_server_port(const wsock_server *server);
WSOCK_API size_t wsock_server_count(const wsock_server *server);
WSOCK_API int wsock_server_error(const wsock_server *server);
WSOCK_API const wsock_failure *wsock_server_why(const wsock_server *server);

#ifdef __cplusplus
}
#endif

#endif /* WSOCK_H */

/* =================================================== >>implementation == */
#if defined(WSOCK_IMPLEMENTATION) && !defined(WSOCK_IMPLEMENTED)
#define WSOCK_IMPLEMENTED

/* ----------------------------------------------------------- >>platform --
 * What the system gives: headers, clock, secure random bytes, memory.  The
 * other places with conditional code are >>vectors, >>sockets and >>poller. */

#if defined(_WIN32)
#define WSOCK__WINDOWS 1
#elif defined(__unix__) || defined(__unix) || defined(__APPLE__)
#define WSOCK__WINDOWS 0
#else
#error "wsock.h: neither a POSIX system nor Windows"
#endif

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if WSOCK__WINDOWS
#if defined(_WINSOCKAPI_) && !defined(_WINSOCK2API_)
#error "wsock.h: windows.h has brought the old winsock.h: include the \
implementation before it, or define WIN32_LEAN_AND_MEAN before windows.h"
#endif
#include <winsock2.h>
#include <ws2tcpip.h>
#include <bcrypt.h>
#include <windows.h>
#if !defined(_WIN32_WINNT) || _WIN32_WINNT < 0x0600
#error "wsock.h: it needs Windows Vista: define _WIN32_WINNT as 0x0600 or more"
#endif
#if defined(_MSC_VER)
#pragma comment(lib, "ws2_32.lib")
#pragma comment(lib, "bcrypt.lib")
#endif
#else
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#if !defined(WSOCK_NO_THREADS)
#include <pthread.h>
#include <signal.h>
#endif
#endif

#if defined(WSOCK_BEARSSL)
#include <bearssl.h>
#include <errno.h>
#include <time.h>
#if WSOCK__WINDOWS
#include <wincrypt.h>
#if defined(_MSC_VER)
#pragma comment(lib, "crypt32.lib")
#endif
#elif defined(__linux__)
#include <sys/auxv.h>
#endif
#endif

#if defined(__GLIBC__) && !defined(__USE_MISC)
#error "wsock.h: a system header came before it with a strict -std=: include \
the implementation first, or compile with -std=gnu99 or -D_GNU_SOURCE"
#endif

#if defined(__linux__)
#define WSOCK__LINUX 1
#include <sys/eventfd.h>
#include <sys/random.h>
#else
#define WSOCK__LINUX 0
#endif

#if defined(__APPLE__) || defined(__FreeBSD__) || defined(__OpenBSD__) ||      \
    defined(__NetBSD__) || defined(__DragonFly__)
#define WSOCK__BSD 1
#else
#define WSOCK__BSD 0
#endif

/* accept4() is declared only if _GNU_SOURCE came before all headers. */
#if WSOCK__LINUX && (defined(__USE_GNU) || !defined(__GLIBC__))
#define WSOCK__ACCEPT4 1
#else
#define WSOCK__ACCEPT4 0
#endif

/* How a server waits for its many sockets.  tcc lays out struct epoll_event
 * without its packing: poll() is right. */
#define WSOCK__EPOLL 0
#define WSOCK__KQUEUE 0
#if defined(WSOCK_USE_POLL) || WSOCK__WINDOWS
#elif defined(WSOCK_USE_KQUEUE) || WSOCK__BSD
#undef WSOCK__KQUEUE
#define WSOCK__KQUEUE 1
#include <sys/event.h>
#elif WSOCK__LINUX && !defined(__TINYC__)
#undef WSOCK__EPOLL
#define WSOCK__EPOLL 1
#include <sys/epoll.h>
#include <sys/timerfd.h>
#endif

/* A socket, -1 for none, and what the system's calls take. */
#if WSOCK__WINDOWS
typedef intptr_t wsock__fd;
typedef SOCKET wsock__handle;
#else
typedef int wsock__fd;
typedef int wsock__handle;
#endif

#if defined(__GNUC__) || defined(__clang__)
#define WSOCK__FORMAT(f, a) __attribute__((format(printf, f, a)))
/* For the few functions that every message passes. */
#define WSOCK__INLINE static inline __attribute__((always_inline))
#define WSOCK__APART static __attribute__((noinline)) /* from those */
#define WSOCK__LIKELY(x) __builtin_expect(!!(x), 1)
#define WSOCK__UNLIKELY(x) __builtin_expect(!!(x), 0)
#else
#define WSOCK__FORMAT(f, a)
#define WSOCK__INLINE static inline
#define WSOCK__APART static
#define WSOCK__LIKELY(x) (x)
#define WSOCK__UNLIKELY(x) (x)
#endif

/* What a register takes at once: compilers know how to add, xor and move it,
 * on every CPU. */
#if (defined(__GNUC__) || defined(__clang__)) && \
    (!defined(__i386__) || defined(__SSE2__))
typedef uint64_t wsock__lane __attribute__((vector_size(16)));
#else
typedef uint64_t wsock__lane;
#endif

static void *wsock__system_alloc(void *user, size_t size)
{
    (void)user;
    return malloc(size);
}

static void wsock__system_free(void *user, void *memory, size_t size)
{
    (void)user;
    (void)size;
    free(memory);
}

#if WSOCK__WINDOWS
static int64_t wsock__system_now(void *user)
{
    LARGE_INTEGER count, second;
    (void)user;
    QueryPerformanceFrequency(&second);
    QueryPerformanceCounter(&count);
    /* In two steps: the count of a machine that is up for long, times a
     * thousand, is more than 64 bits hold. */
    return count.QuadPart / second.QuadPart * 1000 +
           count.QuadPart % second.QuadPart * 1000 / second.QuadPart;
}

static int wsock__system_random(void *user, void *bytes, size_t size)
{
    (void)user;
    return size <= ULONG_MAX &&
                   BCryptGenRandom(NULL, (PUCHAR)bytes, (ULONG)size,
                                   BCRYPT_USE_SYSTEM_PREFERRED_RNG) == 0
               ? 0
               : -1;
}
#else
static int64_t wsock__system_now(void *user)
{
    struct timespec t;
    (void)user;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* /dev/urandom, for systems and sandboxes without the system call. */
static int wsock__random_device(uint8_t *bytes, size_t size)
{
    int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && size > 0) {
        ssize_t n = read(fd, bytes, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        bytes += n;
        size -= (size_t)n;
    }
    if (fd >= 0)
        close(fd);
    return size == 0 ? 0 : -1;
}

static int wsock__system_random(void *user, void *bytes, size_t size)
{
    (void)user;
#if WSOCK__LINUX
    /* Up to 256 bytes never come in part once the pool is seeded. */
    while (size <= 256) {
        ssize_t n = getrandom(bytes, size, 0);
        if (n == (ssize_t)size)
            return 0;
        if (n >= 0 || errno != EINTR)
            break;
    }
#endif
    return wsock__random_device((uint8_t *)bytes, size);
}
#endif

#if defined(WSOCK_BEARSSL)
/* A variable of the environment.  NULL also in a program with more rights
 * than whoever started it (set-uid, say): what that one has set there is not
 * to be believed. */
static const char *wsock__environment(const char *name)
{
#if WSOCK__LINUX
    int privileged = getauxval(AT_SECURE) != 0;
#elif WSOCK__BSD
    int privileged = issetugid();
#elif WSOCK__WINDOWS
    int privileged = 0; /* there is no such thing */
#else
    int privileged = getuid() != geteuid() || getgid() != getegid();
#endif
    return privileged ? NULL : getenv(name);
}
#endif

/* A mutex, a condition and a thread: no more of threads is used. */
#if defined(WSOCK_NO_THREADS)
#elif WSOCK__WINDOWS
typedef SRWLOCK wsock__mutex;
typedef CONDITION_VARIABLE wsock__condition;
#define WSOCK__THREAD DWORD WINAPI

static int wsock__mutex_open(wsock__mutex *m)
{
    InitializeSRWLock(m);
    return 0;
}

static void wsock__mutex_close(wsock__mutex *m)
{
    (void)m;
}

static void wsock__lock(wsock__mutex *m)
{
    AcquireSRWLockExclusive(m);
}

static void wsock__unlock(wsock__mutex *m)
{
    ReleaseSRWLockExclusive(m);
}

static int wsock__condition_open(wsock__condition *c)
{
    InitializeConditionVariable(c);
    return 0;
}

static void wsock__condition_close(wsock__condition *c)
{
    (void)c;
}

static void wsock__condition_wait(wsock__condition *c, wsock__mutex *m)
{
    SleepConditionVariableSRW(c, m, INFINITE, 0);
}

static void wsock__condition_wake(wsock__condition *c)
{
    WakeAllConditionVariable(c);
}

/* A thread that nobody waits for.  0, or -1 with the system's code. */
static int wsock__thread_start(DWORD(WINAPI *run)(void *), void *argument)
{
    HANDLE thread = CreateThread(NULL, 0, run, argument, 0, NULL);
    if (!thread)
        return -1; /* GetLastError() is WSAGetLastError() */
    CloseHandle(thread);
    return 0;
}
#else
typedef pthread_mutex_t wsock__mutex;
typedef pthread_cond_t wsock__condition;
#define WSOCK__THREAD void *

static int wsock__mutex_open(wsock__mutex *m)
{
    return pthread_mutex_init(m, NULL);
}

static void wsock__mutex_close(wsock__mutex *m)
{
    pthread_mutex_destroy(m);
}

static void wsock__lock(wsock__mutex *m)
{
    pthread_mutex_lock(m);
}

static void wsock__unlock(wsock__mutex *m)
{
    pthread_mutex_unlock(m);
}

static int wsock__condition_open(wsock__condition *c)
{
    return pthread_cond_init(c, NULL);
}

static void wsock__condition_close(wsock__condition *c)
{
    pthread_cond_destroy(c);
}

static void wsock__condition_wait(wsock__condition *c, wsock__mutex *m)
{
    pthread_cond_wait(c, m);
}

static void wsock__condition_wake(wsock__condition *c)
{
    pthread_cond_broadcast(c);
}

/* A thread that nobody waits for, with all signals blocked: they are the
 * program's.  0, or -1 with errno. */
static int wsock__thread_start(void *(*run)(void *), void *argument)
{
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    int r;
    if (pthread_attr_init(&attributes) != 0)
        return -1;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_create(&thread, &attributes, run, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    errno = r;
    return r == 0 ? 0 : -1;
}
#endif

/* ------------------------------------------------------------ >>vectors --
 * The check of UTF-8 in registers of 16 or 32 bytes, where compiler and CPU
 * have them.  What they leave over is done by >>utf8, and so is everything
 * where they are missing.
 *
 * The method is Keiser's and Lemire's ("Validating UTF-8 in less than one
 * instruction per byte", 2021).  Nearly every mistake shows in two bytes that
 * follow each other.  Three tables, for the upper and the lower half of the
 * first and the upper half of the second, say which mistakes each of these
 * can be part of, in a bit for each: what all three say is there. */

/* Which of them can be compiled; and the question whether the CPU has them,
 * which is asked for every text: the answers lie ready, and so the library
 * needs no variable.  36 and 40 are SSSE3 and AVX2, which older headers do not
 * name. */
#if defined(WSOCK_NO_SIMD) || defined(__TINYC__)
#elif defined(_MSC_VER) && !defined(__clang__)
#if defined(_M_X64) && !defined(_M_ARM64EC)
#define WSOCK__HAS_32 IsProcessorFeaturePresent(40)
#include <immintrin.h>
#endif
#elif !defined(__clang__) && (!defined(__GNUC__) || __GNUC__ < 5)
#elif defined(__x86_64__) && WSOCK__WINDOWS
#define WSOCK__HAS_16 IsProcessorFeaturePresent(36)
#define WSOCK__HAS_32 IsProcessorFeaturePresent(40)
#elif defined(__x86_64__)
#define WSOCK__HAS_16 __builtin_cpu_supports("ssse3")
#define WSOCK__HAS_32 __builtin_cpu_supports("avx2")
#elif defined(__ARM_NEON) && !defined(__ARM_BIG_ENDIAN)
#define WSOCK__HAS_16 1
#include <arm_neon.h>
#endif

/* gcc does not align a stack of Windows for 32 bytes (its bug 54412). */
#if defined(__SEH__) && !defined(__clang__)
#undef WSOCK__HAS_32
#endif

/* For functions of instructions that not every CPU of this kind knows. */
#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define WSOCK__INLINE_16 __attribute__((target("ssse3"))) static inline
#define WSOCK__INLINE_32 __attribute__((target("avx2"))) static inline
#else
#define WSOCK__INLINE_16 static inline
#define WSOCK__INLINE_32 static inline
#endif

enum { WSOCK__BLOCK = 64 }; /* bytes that are looked at together */

#if defined(WSOCK__HAS_16) || defined(WSOCK__HAS_32)
enum {
    WSOCK__SHORT = 1,      /* no continuation byte behind a leading one */
    WSOCK__STRAY = 2,      /* a continuation byte behind ASCII */
    WSOCK__TWO = 4,        /* C0, C1: overlong */
    WSOCK__THREE = 8,      /* E0 80 to E0 9F: overlong */
    WSOCK__SURROGATE = 16, /* ED A0 to ED BF */
    WSOCK__FOUR = 32,      /* F0 80 to F0 8F: overlong; F5 80 and above */
    WSOCK__LARGE = 64,     /* F4 90 and above: beyond U+10FFFF */
    WSOCK__INNER = 128,    /* two continuation bytes: wrong at most places */

    WSOCK__ANY = WSOCK__SHORT | WSOCK__STRAY | WSOCK__INNER,
    WSOCK__F5 = WSOCK__ANY | WSOCK__FOUR | WSOCK__LARGE,
    WSOCK__NEXT = WSOCK__STRAY | WSOCK__TWO | WSOCK__INNER
};

static const uint8_t wsock__first_high[16] = {
    WSOCK__STRAY, WSOCK__STRAY, WSOCK__STRAY, WSOCK__STRAY,
    WSOCK__STRAY, WSOCK__STRAY, WSOCK__STRAY, WSOCK__STRAY,
    WSOCK__INNER, WSOCK__INNER, WSOCK__INNER, WSOCK__INNER,
    WSOCK__SHORT | WSOCK__TWO, WSOCK__SHORT,
    WSOCK__SHORT | WSOCK__THREE | WSOCK__SURROGATE,
    WSOCK__SHORT | WSOCK__FOUR | WSOCK__LARGE
};

static const uint8_t wsock__first_low[16] = {
    WSOCK__ANY | WSOCK__TWO | WSOCK__THREE | WSOCK__FOUR,
    WSOCK__ANY | WSOCK__TWO, WSOCK__ANY, WSOCK__ANY,
    WSOCK__ANY | WSOCK__LARGE, WSOCK__F5, WSOCK__F5, WSOCK__F5,
    WSOCK__F5, WSOCK__F5, WSOCK__F5, WSOCK__F5,
    WSOCK__F5, WSOCK__F5 | WSOCK__SURROGATE, WSOCK__F5, WSOCK__F5
};

static const uint8_t wsock__second_high[16] = {
    WSOCK__SHORT, WSOCK__SHORT, WSOCK__SHORT, WSOCK__SHORT,
    WSOCK__SHORT, WSOCK__SHORT, WSOCK__SHORT, WSOCK__SHORT,
    WSOCK__NEXT | WSOCK__THREE | WSOCK__FOUR,
    WSOCK__NEXT | WSOCK__THREE | WSOCK__LARGE,
    WSOCK__NEXT | WSOCK__SURROGATE | WSOCK__LARGE,
    WSOCK__NEXT | WSOCK__SURROGATE | WSOCK__LARGE,
    WSOCK__SHORT, WSOCK__SHORT, WSOCK__SHORT, WSOCK__SHORT
};

/* See wsock__vectors_right().  The last block ends with the last byte;
 * `wrong` also looks at the three bytes before a block. */
WSOCK__INLINE size_t wsock__right(const uint8_t *p, size_t i, size_t n,
                                  int (*wrong)(const uint8_t *))
{
    size_t last = n - WSOCK__BLOCK;
    while (!wrong(p + i)) {
        if (i == last)
            return n;
        i = last - i > WSOCK__BLOCK ? i + WSOCK__BLOCK : last;
    }
    return i;
}
#endif

#if defined(WSOCK__HAS_16)
typedef uint8_t wsock__v16 __attribute__((vector_size(16)));

WSOCK__INLINE_16 wsock__v16 wsock__load_16(const uint8_t *p)
{
    wsock__v16 x;
    memcpy(&x, p, sizeof x);
    return x;
}

/* The bytes of the table that `i` says, each from 0 to 15. */
#if defined(__aarch64__)
static inline wsock__v16 wsock__lookup_16(const uint8_t *table, wsock__v16 i)
{
    return (wsock__v16)vqtbl1q_u8(vld1q_u8(table), (uint8x16_t)i);
}
#elif defined(__ARM_NEON)
static inline wsock__v16 wsock__lookup_16(const uint8_t *table, wsock__v16 i)
{
    uint8x8x2_t t;
    t.val[0] = vld1_u8(table);
    t.val[1] = vld1_u8(table + 8);
    return (wsock__v16)vcombine_u8(vtbl2_u8(t, vget_low_u8((uint8x16_t)i)),
                                   vtbl2_u8(t, vget_high_u8((uint8x16_t)i)));
}
#else
WSOCK__INLINE_16 wsock__v16 wsock__lookup_16(const uint8_t *table,
                                             wsock__v16 i)
{
    typedef char chars __attribute__((vector_size(16)));
    chars t = (chars)wsock__load_16(table);
    return (wsock__v16)__builtin_ia32_pshufb128(t, (chars)i);
}
#endif

/* By lanes: not every CPU shifts bytes. */
WSOCK__INLINE_16 wsock__v16 wsock__high_16(wsock__v16 x)
{
    return (wsock__v16)((wsock__lane)x >> 4) & 15;
}

/* The mistakes at each of 16 places.  Two continuation bytes are none where
 * a character of three or four bytes began two bytes before, or one of four
 * three bytes before; and there they must be. */
WSOCK__INLINE_16 wsock__v16 wsock__mistakes_16(const uint8_t *p)
{
    wsock__v16 first = wsock__load_16(p - 1);
    wsock__v16 inner = (wsock__v16)((wsock__load_16(p - 2) >= 0xE0) |
                                    (wsock__load_16(p - 3) >= 0xF0));
    return (wsock__lookup_16(wsock__first_high, wsock__high_16(first)) &
            wsock__lookup_16(wsock__first_low, first & 15) &
            wsock__lookup_16(wsock__second_high,
                             wsock__high_16(wsock__load_16(p)))) ^
           (inner & (uint8_t)WSOCK__INNER);
}

WSOCK__INLINE_16 int wsock__any_16(wsock__v16 x)
{
    return (((wsock__lane)x)[0] | ((wsock__lane)x)[1]) != 0;
}

WSOCK__INLINE_16 int wsock__wrong_16(const uint8_t *p)
{
    wsock__v16 all = wsock__load_16(p) | wsock__load_16(p + 16) |
                     wsock__load_16(p + 32) | wsock__load_16(p + 48);
    if (!wsock__any_16(all & 0x80) && p[-1] < 0x80)
        return 0; /* ASCII */
    all = wsock__mistakes_16(p) | wsock__mistakes_16(p + 16) |
          wsock__mistakes_16(p + 32) | wsock__mistakes_16(p + 48);
    return wsock__any_16(all);
}

WSOCK__INLINE_16 size_t wsock__right_16(const uint8_t *p, size_t i, size_t n)
{
    return wsock__right(p, i, n, wsock__wrong_16);
}
#endif

/* The same with 32. */
#if defined(WSOCK__HAS_32) && defined(_MSC_VER) && !defined(__clang__)
WSOCK__INLINE_32 __m256i wsock__load_32(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

WSOCK__INLINE_32 __m256i wsock__lookup_32(const uint8_t *table, __m256i i)
{
    __m128i t = _mm_loadu_si128((const __m128i *)(const void *)table);
    i = _mm256_and_si256(i, _mm256_set1_epi8(15));
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(t), i);
}

WSOCK__INLINE_32 __m256i wsock__mistakes_32(const uint8_t *p)
{
    __m256i first = wsock__load_32(p - 1), second = wsock__load_32(p);
    __m256i all = wsock__lookup_32(wsock__first_low, first);
    __m256i inner = _mm256_or_si256(
        _mm256_subs_epu8(wsock__load_32(p - 2), _mm256_set1_epi8(0x60)),
        _mm256_subs_epu8(wsock__load_32(p - 3), _mm256_set1_epi8(0x70)));
    first = _mm256_srli_epi64(first, 4);
    second = _mm256_srli_epi64(second, 4);
    all = _mm256_and_si256(all, wsock__lookup_32(wsock__first_high, first));
    all = _mm256_and_si256(all, wsock__lookup_32(wsock__second_high, second));
    inner = _mm256_and_si256(inner, _mm256_set1_epi8((char)WSOCK__INNER));
    return _mm256_xor_si256(all, inner);
}

WSOCK__INLINE_32 int wsock__wrong_32(const uint8_t *p)
{
    __m256i all = _mm256_or_si256(wsock__load_32(p), wsock__load_32(p + 32));
    if (_mm256_movemask_epi8(all) == 0 && p[-1] < 0x80)
        return 0; /* ASCII */
    all = _mm256_or_si256(wsock__mistakes_32(p), wsock__mistakes_32(p + 32));
    return !_mm256_testz_si256(all, all);
}

WSOCK__INLINE_32 size_t wsock__right_32(const uint8_t *p, size_t i, size_t n)
{
    i = wsock__right(p, i, n, wsock__wrong_32);
    _mm256_zeroupper(); /* else what comes without AVX is slow */
    return i;
}
#elif defined(WSOCK__HAS_32)
typedef uint8_t wsock__v32 __attribute__((vector_size(32)));
typedef uint64_t wsock__lanes_32 __attribute__((vector_size(32)));

WSOCK__INLINE_32 wsock__v32 wsock__load_32(const uint8_t *p)
{
    wsock__v32 x;
    memcpy(&x, p, sizeof x);
    return x;
}

/* The halves are looked up apart. */
WSOCK__INLINE_32 wsock__v32 wsock__lookup_32(const uint8_t *table,
                                             wsock__v32 i)
{
    typedef char chars __attribute__((vector_size(32)));
    uint8_t twice[32];
    chars t;
    memcpy(twice, table, 16);
    memcpy(twice + 16, table, 16);
    t = (chars)wsock__load_32(twice);
    return (wsock__v32)__builtin_ia32_pshufb256(t, (chars)i);
}

WSOCK__INLINE_32 wsock__v32 wsock__high_32(wsock__v32 x)
{
    return (wsock__v32)((wsock__lanes_32)x >> 4) & 15;
}

WSOCK__INLINE_32 wsock__v32 wsock__mistakes_32(const uint8_t *p)
{
    wsock__v32 first = wsock__load_32(p - 1);
    wsock__v32 inner = (wsock__v32)((wsock__load_32(p - 2) >= 0xE0) |
                                    (wsock__load_32(p - 3) >= 0xF0));
    return (wsock__lookup_32(wsock__first_high, wsock__high_32(first)) &
            wsock__lookup_32(wsock__first_low, first & 15) &
            wsock__lookup_32(wsock__second_high,
                             wsock__high_32(wsock__load_32(p)))) ^
           (inner & (uint8_t)WSOCK__INNER);
}

WSOCK__INLINE_32 int wsock__any_32(wsock__v32 x)
{
    typedef long long words __attribute__((vector_size(32)));
    return !__builtin_ia32_ptestz256((words)x, (words)x);
}

WSOCK__INLINE_32 int wsock__wrong_32(const uint8_t *p)
{
    wsock__v32 all = wsock__load_32(p) | wsock__load_32(p + 32);
    if (!wsock__any_32(all & 0x80) && p[-1] < 0x80)
        return 0; /* ASCII */
    all = wsock__mistakes_32(p) | wsock__mistakes_32(p + 32);
    return wsock__any_32(all);
}

WSOCK__INLINE_32 size_t wsock__right_32(const uint8_t *p, size_t i, size_t n)
{
    return wsock__right(p, i, n, wsock__wrong_32);
}
#endif

/* The bytes of the largest register for this; 0: none. */
static int wsock__vector_size(void)
{
#if defined(WSOCK__HAS_32)
    if (WSOCK__HAS_32)
        return 32;
#endif
#if defined(WSOCK__HAS_16)
    if (WSOCK__HAS_16)
        return 16;
#endif
    return 0;
}

/* How far p is right from i on, by blocks: n, or where one begins that is
 * not.  That may lie within a character; at i one begins.  There are at least
 * three bytes before i, and a block behind. */
static size_t wsock__vectors_right(int size, const uint8_t *p, size_t i,
                                   size_t n)
{
    (void)size, (void)p, (void)n;
#if defined(WSOCK__HAS_32)
    if (size == 32)
        return wsock__right_32(p, i, n);
#endif
#if defined(WSOCK__HAS_16)
    if (size == 16)
        return wsock__right_16(p, i, n);
#endif
    return i;
}

/* -------------------------------------------------------------- >>types --
 * The private structs.  One wsock is one connection, whichever way it is
 * driven.  While it is idle it owns itself and nothing else: receive state
 * (`in`), send queue (`out`) and rare state hang on pointers that are NULL
 * then.  A loop has the parts that connections share; a connection that is
 * not a server's has a loop of its own. */

typedef struct wsock__loop wsock__loop;

/* Phases: how far a connection has come. */
enum {
    WSOCK__PHASE_NEW,       /* no transport, head may be exchanged by hand */
    WSOCK__PHASE_OPENING,   /* the transport is connecting */
    WSOCK__PHASE_SECURING,  /* TLS shakes hands over it */
    WSOCK__PHASE_HANDSHAKE, /* HTTP heads are being exchanged */
    WSOCK__PHASE_OPEN,      /* frames; Close may be under way */
    WSOCK__PHASE_LINGER,    /* all is said: flush, shut, discard, see >>close */
    WSOCK__PHASE_DONE       /* nothing will come or go */
};

/* Bits of wsock.bits. */
enum {
    WSOCK__CLOSE_SENT = 0x0001,     /* our Close is in the queue or gone */
    WSOCK__CLOSE_RECEIVED = 0x0002, /* the peer's has been read */
    WSOCK__DISCARD = 0x0004,        /* wsock_close(): messages are dropped */
    WSOCK__PAUSED = 0x0008,
    WSOCK__END_OF_STREAM = 0x0010, /* the transport has no more to read */
    WSOCK__WRITE_DEAD = 0x0020,    /* writing failed; reading may go on */
    WSOCK__FINISHED = 0x0040,      /* the write side is shut */
    WSOCK__STUCK = 0x0080,         /* the transport refused bytes: wait */
    WSOCK__READ_WANTS_WRITE = 0x0100,
    WSOCK__WRITE_WANTS_READ = 0x0200,
    WSOCK__NEEDS_DRAIN = 0x0400,    /* a send was refused at the limit */
    WSOCK__HEAD_BY_HAND = 0x0800,   /* wsock_head_out() has the head */
    WSOCK__CLOSE_REPORTED = 0x1000, /* the last event is out */
    WSOCK__LISTED = 0x2000,         /* in the loop's work list */
    WSOCK__ASKED = 0x4000,          /* a request waits for its answer */
    WSOCK__SERVER_OWNED = 0x8000,   /* lives in the slab of a server */
    WSOCK__HELD = 0x10000,    /* not read: the send queue is at its limit */
    WSOCK__OPENED = 0x20000,  /* the handshake was good */
    WSOCK__NO_BODY = 0x40000, /* a refusal has none: HEAD, or by hand */
    WSOCK__BLOCKING = 0x80000, /* its calls wait */
    WSOCK__NOT_OPEN = 0x100000, /* the phase is not OPEN */
    /* What the next reading call has to do first. */
    WSOCK__PENDING_OPEN = 0x200000,
    WSOCK__PENDING_RELEASE = 0x400000, /* free what the last event lent */
    WSOCK__PENDING_SENT = 0x800000,
    WSOCK__PENDING_DRAIN = 0x1000000,
    WSOCK__PENDING_CLOSE = 0x2000000,
    WSOCK__PENDING_REQUEST = 0x4000000,
    WSOCK__PENDING = 0x7E00000,
    WSOCK__AWAITS_PONG = 0x8000000, /* of a keepalive ping; HEARD: something */
    WSOCK__HEARD = 0x10000000,      /* has come since */
    WSOCK__UNFINISHED = 0x20000000, /* counted in loop.handshakes */
    WSOCK__LIVE = 0x40000000,       /* counted in loop.live */
    /* Any of these: there is more to wait for than reading. */
    WSOCK__ARMS = WSOCK__END_OF_STREAM | WSOCK__HELD | WSOCK__PAUSED |
                  WSOCK__STUCK | WSOCK__READ_WANTS_WRITE,
    /* None of these: the queue may be written in one go. */
    WSOCK__NOT_FLUENT = WSOCK__ARMS | WSOCK__NEEDS_DRAIN | WSOCK__WRITE_DEAD,
    /* None of these: a message may be handed out as it lies. */
    WSOCK__NOT_PLAIN = WSOCK__NOT_OPEN | WSOCK__PENDING | WSOCK__DISCARD |
                       WSOCK__PAUSED | WSOCK__HELD | WSOCK__END_OF_STREAM |
                       WSOCK__WRITE_DEAD | WSOCK__READ_WANTS_WRITE |
                       WSOCK__WRITE_WANTS_READ | WSOCK__BLOCKING |
                       WSOCK__AWAITS_PONG
};

/* Bits of wsock.work: why it stands in the loop's work list. */
enum {
    WSOCK__WORK_READ = 1,
    WSOCK__WORK_WRITE = 2,
    WSOCK__WORK_LOOK = 4, /* something to flush, parse or report */
    WSOCK__WORK_HUNG = 8  /* a hang-up, though nothing is waited for */
};

/* wsock.transport: what io is over. */
enum {
    WSOCK__SOCKET,       /* the system's, without anything between */
    WSOCK__FOREIGN,      /* the program's, whatever it is */
    WSOCK__SECURE_SOCKET /* TLS over the system's */
};

enum {
    WSOCK__LINGER_TIME = 1000, /* ms for the peer's end of stream */
    WSOCK__BODY_MOST = 4096,  /* of a refusal's body, kept */
    WSOCK__INTERIM_MOST = 16  /* responses below 200 before the one */
};

/* Where the reading of a chunked body stands. */
enum {
    WSOCK__CHUNK_SIZE = 1, /* in the size */
    WSOCK__CHUNK_LINE,     /* in the rest of that line */
    WSOCK__CHUNK_DATA,
    WSOCK__CHUNK_END /* in the line end behind the data */
};

/* Timer lists, soonest first.  The timers of a list run equally long, but for
 * those of connections that were added to a server, so that a new one belongs
 * at the end or near it. */
enum {
    WSOCK__TIMER_OVERDUE,   /* a last look at what has come; then it counts */
    WSOCK__TIMER_CONNECT,   /* look-up, TCP, a client's handshakes */
    WSOCK__TIMER_RACE,      /* the next address may be tried too */
    WSOCK__TIMER_HANDSHAKE, /* a server waits for TLS and a request */
    WSOCK__TIMER_ANSWER,    /* a request waits for the program */
    WSOCK__TIMER_KEEPALIVE,
    WSOCK__TIMER_PONG,
    WSOCK__TIMER_STALL,
    WSOCK__TIMER_CLOSE,
    WSOCK__TIMER_LINGER,
    WSOCK__TIMERS,
    WSOCK__TIMER_NONE = WSOCK__TIMERS
};

/* Begins TLS in one of the roles; see wsock__bear_begin_client(). */
struct wsock__bear;
typedef int wsock__tls_begin(struct wsock__bear *t);

/* Effective options, of one connection, or of a server and all its own. */
typedef struct wsock__config {
    wsock_options o;
    wsock_system system;
    size_t used;       /* bytes allocated, options.max_memory at most */
    size_t size;       /* of this block, if it is one of its own */
    size_t whole_most; /* largest message that polls may hand out whole */
    const char *host; /* strings of the URL, in this block */
    const char *host_header;
    const char *target;
    int port;
    int secure; /* TLS goes around the transport */
    wsock__tls_begin *tls_begin; /* the built-in TLS: how a role begins, */
    void *identity;      /* a server's certificate, */
    uint8_t *tls_memory; /* and the part of options.memory for it */
    size_t tls_left;
} wsock__config;

/* An element of a send queue: bytes of its own (a run of whole frames and
 * pieces of large ones, already masked), or a reference to payload in
 * memory that was lent, masked when it is taken for the wire. */
typedef struct wsock__item {
    struct wsock__item *next;
    const uint8_t *data;
    size_t size;
    size_t taken;    /* bytes of it that the transport has */
    size_t capacity; /* run: bytes of room behind the struct */
    void *context;
    void *owned; /* reference: memory to be freed with it */
    size_t owned_size;
    struct wsock__shared *shared; /* reference: a broadcast's frame */
    uint32_t key;
    uint16_t report;     /* a SENT event of this kind follows it, */
    uint8_t dropped;     /* which says that it was not sent; owned_size is
                          * that of the whole send */
    uint8_t reference;
    uint8_t masked;      /* reference: mask with key when taken */
    uint8_t in_window;   /* reference to the loop's window or a message */
    uint8_t frame_start; /* its first byte begins a frame */
    uint8_t embedded;    /* the first run of a wsock__out: not pooled */
    uint8_t is_head;     /* our HTTP head */
} wsock__item;

/* A frame that stands in many queues; the last one that lets go frees it. */
typedef struct wsock__shared {
    size_t references;
    size_t size; /* of this block, with the bytes behind it */
} wsock__shared;

enum {
    WSOCK__CONTROL_MOST = 125,      /* RFC 6455 5.5 */
    WSOCK__FRAME_HEAD_MOST = 14,    /* 2 + 8 + 4, RFC 6455 5.2 */
    WSOCK__CONTROL_FRAME_MOST = 139 /* any encoding of a control frame */
};

/* The send queue.  Its first run is part of it, so that the usual message
 * takes one piece of memory; that run is free while its size is 0.  In the
 * pool all fields stand as they do in an empty queue. */
typedef struct wsock__out {
    void *link; /* the pool's */
    wsock__item *head, *tail;
    wsock__item *sent; /* borrowed sends that are done, oldest first */
    wsock__item *sent_tail;
    size_t queued;     /* bytes not yet taken */
    size_t offered;    /* of these, in the last wsock_output() */
    size_t pongs;      /* bytes of pongs added since it was empty */
    int sent_code;     /* what the SENT events of dropped sends say */
    uint8_t single;    /* `first` is all there is, and none of it is taken */
    uint8_t pong_size; /* newest pong that waits for a frame boundary, + 1 */
    uint8_t pong[WSOCK__CONTROL_MOST];
    wsock__item first; /* the last field: its bytes lie behind it */
} wsock__out;

/* The receive state inside a frame or a message. */
typedef struct wsock__in {
    uint8_t *message; /* assembled so far */
    size_t size, capacity;
    size_t read;         /* blocking: bytes of it that were copied out */
    uint64_t left;       /* bytes of the current frame still to come */
    uint8_t *tail;       /* an unfinished head, kept until the rest comes */
    size_t tail_size, tail_capacity;
    uint32_t key;        /* rotated to the next payload byte */
    uint32_t utf8;       /* state of the check */
    unsigned kind;       /* of the message */
    uint8_t in_message;  /* between its first and last frame */
    uint8_t in_frame;    /* a frame's header was read, its end was not */
    uint8_t fin;         /* of the current frame */
    uint8_t delivered;   /* `message` was lent out with the last event */
    uint8_t brief[WSOCK__CONTROL_FRAME_MOST + 5]; /* frames' tails */
} wsock__in;

/* Why something ended: what wsock_why() shows, and its line. */
typedef struct wsock__account {
    wsock_failure failure;
    char text[160];
} wsock__account;

/* State that few connections have, or for a short time only. */
typedef struct wsock__rare {
    wsock__account why;
    char reason[WSOCK__CONTROL_MOST - 1]; /* the peer's, with NUL */
    uint8_t reason_size;
    char key[25];       /* client: Sec-WebSocket-Key */
    const char *head;   /* the peer's, packed: "name\0value\0" ... */
    size_t head_size;
    uint8_t *kept;      /* refused client: head and body, until free */
    size_t kept_size, kept_capacity;
    wsock__item *head_item; /* our head, given out by wsock_head_out() */
    int64_t body_left;  /* of a refusing response; -1: until the end */
    uint8_t chunk;      /* WSOCK__CHUNK_...: the body comes in chunks */
    uint8_t interim;    /* responses below 200 that came before */
    void *dial;         /* state of the TCP connect */
    char *subprotocol;  /* one that wsock_upgrade() took from elsewhere */
} wsock__rare;

struct wsock {
    wsock__config *config;
    wsock__loop *loop;
    void *user;
    const wsock_io *io; /* NULL: no transport */
    void *io_user;
    wsock__in *in;
    wsock__out *out;
    wsock__rare *rare;
    wsock *next, *prev;           /* all connections of the loop */
    wsock *work_next, *work_prev; /* the loop's work list */
    wsock *timer_next, *timer_prev;
    int64_t timer_due;
    uint32_t pinged, rtt; /* ms: when a keepalive ping left; to its Pong, + 1 */
    int16_t error; /* the failure that stuck */
    uint16_t close_sent;
    uint16_t close_received;
    uint16_t extensions;
    uint32_t bits;
    uint8_t role, phase, timer, work;
    uint8_t overdue;      /* which timer, once it is TIMER_OVERDUE */
    uint8_t armed;        /* what the poller watches: 1 read, 2 write */
    uint8_t sending;      /* kind of the message whose parts are sent */
    uint8_t subprotocol;  /* index + 1 into options.subprotocols, or OTHER */
    uint8_t transport;    /* WSOCK__SOCKET, FOREIGN or SECURE_SOCKET */
    uint8_t watched;      /* the poller knows its descriptor */
};

enum { WSOCK__SUBPROTOCOL_OTHER = 255 }; /* it stands in wsock__rare */

typedef char wsock__size_is_held[sizeof(wsock) <= 160 ? 1 : -1];

/* Free memory of one size, kept for the next one that needs it. */
typedef struct wsock__pool {
    void *first; /* linked through the first word */
    size_t size, count, most;
} wsock__pool;

enum { WSOCK__BATCH = 64 }; /* connections that one wait calls ready */

typedef struct wsock__timers {
    wsock *first, *last;
} wsock__timers;

enum { WSOCK__RANDOM_POOL = 128 };

/* What connections share.  There is one receive window and one cursor: the
 * connection whose bytes are being read, the rest of its current segment,
 * and the bytes that follow that segment. */
enum {
    WSOCK__CANCEL_WAKE = 1, /* by wsock_wake() or wsock_cancel() */
    WSOCK__CANCEL_TAKEN     /* another thread closes or frees */
};

struct wsock__loop {
    wsock__config *config;
    wsock *current;
    uint8_t *pos, *end;
    uint8_t *more, *more_end;
    uint8_t *window;
    size_t window_size;
    wsock *all;
    size_t count;      /* of `all`; */
    size_t live;       /* of these, the ones that have not ended */
    size_t handshakes; /* and the ones of a server that are not open yet */
    wsock *work_first, *work_last;
    size_t listed; /* how many these are */
    size_t listings, listings_before; /* made, and when the wait ended */
    wsock *ended; /* CLOSE was reported; freed by the next poll */
    wsock__pool ins, outs, rares, references, runs;
    size_t single_most; /* bytes of a queue that is a single run, and below
                         * send_limit */
    uint8_t *message; /* options.memory: the one message buffer */
    size_t message_size;
    uint8_t *spare; /* one message buffer kept for the next message */
    size_t spare_size;
    uint8_t *stage; /* 16 KiB in which lent payload is masked */
    size_t stage_size;
    int ready_at, ready_count; /* of `ready` below */
    uint8_t message_used;
    uint8_t fixed;       /* options.memory: no allocation */
    uint8_t shared;      /* a server's: has many connections */
    uint8_t corked;      /* an event is out: sends wait for the next poll */
    uint8_t interrupted; /* a wake or a signal ends this poll */
    uint8_t accepting;   /* wsock_accept() drives it */
    uint8_t polling;     /* wsock_server_poll() drives it, or is to */
    uint8_t routine;     /* ... and may go straight on */
    uint8_t random_left;
    uint8_t listening; /* the listener is watched */
    uint8_t waited;    /* this call has asked the kernel */
    uint8_t filled;    /* since then there was something to do */
    uint8_t threaded;  /* a blocking connection's: the mutex is in use */
    uint8_t receiving; /* a thread is in a reading call */
    uint8_t cancelled; /* which is to return: WSOCK__CANCEL_... */
    uint8_t claims;    /* threads that wait to be in one */
    uint32_t drops;    /* how often a queue was given up, */
    uint32_t receives; /* and a reading call has ended */
    uint8_t freeing;   /* wsock_free() waits for the others to leave */
    uint8_t random[WSOCK__RANDOM_POOL];

    /* From here on for loops that do I/O: with WSOCK_CORE_ONLY there is no
     * memory behind this point, see wsock__loop_size(). */
    wsock__timers timers[WSOCK__TIMERS];
    size_t timing;    /* timers that run, the listener's rest among them, */
    int64_t next_due; /* none of which is due before this; INT64_MAX: none
                       * runs */
    int64_t until;    /* how long the wait that is going on lasts */
    int64_t now;      /* when the kernel or a timer was last dealt with */
    int64_t listen_due; /* when the listener is watched again */
    size_t events_left; /* until a poll is to return 0, and bytes read */
    size_t bytes, bytes_most; /* since one has: options.poll_messages and
                               * poll_bytes */
    size_t turns;         /* left of the work list's round */
    size_t tls_round;     /* the round that TLS handshakes had steps in, */
    int tls_steps;        /* and how many */
    int rounds;           /* how many this poll has made */
    int inside;           /* threads in calls, */
    int waiting; /* and those of them that wait, without the mutex */
    const wsock_io *late_io; /* to be closed when nobody waits on it */
    void *late_user;
    uint8_t *direct; /* blocking: where a large payload may be read to */
    size_t direct_size;
    wsock_io io; /* a transport of the program's */
    wsock_io secured; /* TLS around the transport; see >>secure */
    int queue; /* epoll's or kqueue's descriptor, -1: poll() is used */
    int alarm; /* rings when a timer is due, -1: waits are timed */
    int64_t alarm_due; /* what it is set to, INT64_MAX: nothing */
    wsock__fd wake_read, wake_write;
    wsock__fd turn_read, turn_write; /* wakes a sender when the receiver
                                      * leaves */
    wsock__fd listener;
    void *ready; /* what the last wait found; see >>poller */
    void *pollfds;
    size_t pollfds_size;
    wsock__pool wsocks; /* a server's connections, in */
    void *slabs;
#if !defined(WSOCK_NO_THREADS)
    wsock__mutex mutex;
    wsock__condition left; /* a thread has left; see >>threads */
#endif
};

struct wsock_server {
    wsock__loop loop;
    wsock__account why;
    int port;
    int closing;
    int husk; /* freed, but for added connections that are not freed yet */
};

static inline int wsock__is_blocking(const wsock *ws)
{
    return (ws->bits & WSOCK__BLOCKING) != 0;
}

/* Is it, or will it be with a transport?  Without threads the latter is not
 * told before. */
static int wsock__may_block(const wsock *ws)
{
    return ws->loop->threaded || wsock__is_blocking(ws);
}

/* The built-in TLS library; see >>bearssl.  Which role begins is told by a
 * pointer, which each call of the API that makes one sets: so what a program
 * never is falls away, where the linker or the compiler can see it. */
static int wsock__bear_begin_client(struct wsock__bear *t);
static int wsock__bear_begin_server(struct wsock__bear *t);
#if defined(WSOCK_BEARSSL)
#define WSOCK__TLS 1
static int wsock__bear_wrap(void *user, wsock_io *io, int role,
                            const char *host, const wsock_options *options);
static size_t wsock__tls_room(const wsock_options *o, int role);
static int wsock__tls_load(wsock__config *c, char wrong[160]);
static void wsock__tls_unload(wsock__config *c);
static void wsock__tls_move(wsock *ws, wsock__config *to);
static int wsock__tls_is_empty(const wsock *ws);
#else
#define WSOCK__TLS 0
static int wsock__bear_begin_client(struct wsock__bear *t)
{
    (void)t;
    return WSOCK_UNSUPPORTED;
}

static int wsock__bear_begin_server(struct wsock__bear *t)
{
    (void)t;
    return WSOCK_UNSUPPORTED;
}

static int wsock__bear_wrap(void *user, wsock_io *io, int role,
                            const char *host, const wsock_options *options)
{
    (void)user;
    (void)io;
    (void)role;
    (void)host;
    (void)options;
    return WSOCK_UNSUPPORTED;
}

static size_t wsock__tls_room(const wsock_options *o, int role)
{
    (void)o;
    (void)role;
    return 0;
}

static int wsock__tls_load(wsock__config *c, char wrong[160])
{
    (void)c;
    (void)wrong;
    return 1;
}

static void wsock__tls_unload(wsock__config *c)
{
    (void)c;
}

static void wsock__tls_move(wsock *ws, wsock__config *to)
{
    (void)ws;
    (void)to;
}

static int wsock__tls_is_empty(const wsock *ws)
{
    (void)ws;
    return 0;
}
#endif

/* ------------------------------------------------------------- >>memory -- */

static void *wsock__alloc(wsock__config *c, size_t size)
{
    void *memory;
    if (size > c->o.max_memory || c->used > c->o.max_memory - size)
        return NULL;
    memory = c->system.alloc(c->system.user, size);
    if (memory)
        c->used += size;
    return memory;
}

static void wsock__release(wsock__config *c, void *memory, size_t size)
{
    if (!memory)
        return;
    c->used -= size;
    c->system.free(c->system.user, memory, size);
}

/* Take memory from a pool; its content is undefined.  NULL: memory is out. */
static inline void *wsock__pool_take(wsock__loop *l, wsock__pool *pool)
{
    void *p = pool->first;
    if (p) {
        memcpy(&pool->first, p, sizeof pool->first);
        pool->count--;
        return p;
    }
    return l->fixed ? NULL : wsock__alloc(l->config, pool->size);
}

static inline void wsock__pool_give(wsock__loop *l, wsock__pool *pool, void *p)
{
    if (pool->count >= pool->most) {
        wsock__release(l->config, p, pool->size);
        return;
    }
    memcpy(p, &pool->first, sizeof pool->first);
    pool->first = p;
    pool->count++;
}

static void wsock__pool_empty(wsock__loop *l, wsock__pool *pool)
{
    while (pool->first && !l->fixed) {
        void *p = pool->first;
        memcpy(&pool->first, p, sizeof pool->first);
        wsock__release(l->config, p, pool->size);
    }
}

/* Message buffers.  With options.memory there is one, of fixed size;
 * otherwise one that is given back is kept for the next message. */
static uint8_t *wsock__buffer_take(wsock__loop *l, size_t size, size_t *got)
{
    uint8_t *p = NULL;
    if (l->fixed) {
        if (l->message_used || size > l->message_size)
            return NULL;
        l->message_used = 1;
        *got = l->message_size;
        return l->message;
    }
    if (l->spare && l->spare_size >= size && l->spare_size / 16 <= size) {
        p = l->spare;
        *got = l->spare_size;
        l->spare = NULL;
        return p;
    }
    p = (uint8_t *)wsock__alloc(l->config, size);
    *got = size;
    return p;
}

enum { WSOCK__SPARE_MOST = 1 << 20 }; /* largest buffer that is kept */

static void wsock__buffer_give(wsock__loop *l, uint8_t *p, size_t size)
{
    if (!p)
        return;
    if (l->fixed) {
        l->message_used = 0;
    } else if (size >= 4096 && size <= WSOCK__SPARE_MOST &&
               (!l->spare || size > l->spare_size)) {
        wsock__release(l->config, l->spare, l->spare_size);
        l->spare = p;
        l->spare_size = size;
    } else {
        wsock__release(l->config, p, size);
    }
}

/* Overwrite a secret in a way that the compiler does not remove: it cannot
 * know what is called. */
static void wsock__wipe(void *memory, size_t size)
{
    void *(*volatile set)(void *, int, size_t) = memset;
    set(memory, 0, size);
}

/* Random bytes for keys and masks, from the system's source in batches;
 * every byte is used once and wiped.  0: done. */
static int wsock__random(wsock__loop *l, void *bytes, size_t size)
{
    const wsock_system *s = &l->config->system;
    uint8_t *from;
    if (size > l->random_left) {
        if (s->random(s->user, l->random, sizeof l->random) != 0)
            return -1;
        l->random_left = sizeof l->random;
    }
    from = l->random + sizeof l->random - l->random_left;
    memcpy(bytes, from, size);
    wsock__wipe(from, size);
    l->random_left = (uint8_t)(l->random_left - size);
    return 0;
}

/* --------------------------------------------------------------- >>text --
 * Heads are put together by a writer that only counts once its room is
 * used up, so that one function both measures and writes. */

typedef struct wsock__text {
    char *at;
    size_t size, capacity;
} wsock__text;

static void wsock__put(wsock__text *t, const char *s, size_t n)
{
    if (n && t->size <= t->capacity && n <= t->capacity - t->size)
        memcpy(t->at + t->size, s, n);
    t->size += n;
}

static void wsock__puts(wsock__text *t, const char *s)
{
    wsock__put(t, s, strlen(s));
}

static void wsock__put_header(wsock__text *t, const char *name,
                              const char *value)
{
    wsock__puts(t, name);
    wsock__puts(t, ": ");
    wsock__puts(t, value);
    wsock__puts(t, "\r\n");
}

static void wsock__put_number(wsock__text *t, size_t n)
{
    char digits[24];
    size_t i = sizeof digits;
    do {
        digits[--i] = (char)('0' + n % 10);
        n /= 10;
    } while (n);
    wsock__put(t, digits + i, sizeof digits - i);
}

static char wsock__lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

/* Equal without case, as HTTP compares names and tokens. */
static int wsock__same(const char *a, size_t n, const char *b)
{
    size_t i;
    for (i = 0; i < n; i++)
        if (!b[i] || wsock__lower(a[i]) != wsock__lower(b[i]))
            return 0;
    return b[n] == 0;
}

/* tchar, RFC 7230 3.2.6. */
static int wsock__is_token_char(char c)
{
    if ((c >= '0' && c <= '9') || (wsock__lower(c) >= 'a' &&
                                   wsock__lower(c) <= 'z'))
        return 1;
    return c && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

static int wsock__is_token(const char *s, size_t n)
{
    size_t i;
    for (i = 0; i < n; i++)
        if (!wsock__is_token_char(s[i]))
            return 0;
    return n > 0;
}

/* A character that may stand in a header's value (RFC 7230 3.2). */
static int wsock__is_value_char(char c)
{
    return ((unsigned char)c >= 0x20 && c != 0x7F) || c == '\t';
}

static int wsock__is_value(const char *s, size_t n)
{
    size_t i;
    for (i = 0; i < n; i++)
        if (!wsock__is_value_char(s[i]))
            return 0;
    return 1;
}

static const char wsock__base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* RFC 4648 4.  `out` has room for (n + 2) / 3 * 4 + 1 characters; returns
 * the length without the NUL. */
static size_t wsock__base64(char *out, const uint8_t *in, size_t n)
{
    size_t i, o = 0;
    for (i = 0; i < n; i += 3) {
        uint32_t b = (uint32_t)in[i] << 16;
        if (i + 1 < n)
            b |= (uint32_t)in[i + 1] << 8;
        if (i + 2 < n)
            b |= in[i + 2];
        out[o++] = wsock__base64_digits[b >> 18 & 63];
        out[o++] = wsock__base64_digits[b >> 12 & 63];
        out[o++] = i + 1 < n ? wsock__base64_digits[b >> 6 & 63] : '=';
        out[o++] = i + 2 < n ? wsock__base64_digits[b & 63] : '=';
    }
    out[o] = 0;
    return o;
}

/* Is it the base64 form of 16 bytes?  22 digits, the last of which carries
 * only two bits, and "==" (RFC 6455 4.1 item 7, 4.2.1 item 5). */
static int wsock__is_key(const char *s, size_t n)
{
    size_t i;
    if (n != 24 || s[22] != '=' || s[23] != '=')
        return 0;
    for (i = 0; i < 22; i++)
        if (!s[i] || !strchr(wsock__base64_digits, s[i]))
            return 0;
    return strchr("AQgw", s[21]) != NULL;
}

static uint32_t wsock__rotate_left(uint32_t x, unsigned n)
{
    return x << n | x >> (32 - n);
}

static void wsock__sha1_block(uint32_t h[5], const uint8_t *p)
{
    uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
    unsigned i;
    for (i = 0; i < 16; i++, p += 4)
        w[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 |
               (uint32_t)p[2] << 8 | p[3];
    for (; i < 80; i++)
        w[i] = wsock__rotate_left(
            w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    for (i = 0; i < 80; i++) {
        uint32_t t = wsock__rotate_left(a, 5) + e + w[i];
        if (i < 20)
            t += ((b & c) | (~b & d)) + 0x5A827999;
        else if (i < 40)
            t += (b ^ c ^ d) + 0x6ED9EBA1;
        else if (i < 60)
            t += ((b & c) | (b & d) | (c & d)) + 0x8F1BBCDC;
        else
            t += (b ^ c ^ d) + 0xCA62C1D6;
        e = d;
        d = c;
        c = wsock__rotate_left(b, 30);
        b = a;
        a = t;
    }
    h[0] += a;
    h[1] += b;
    h[2] += c;
    h[3] += d;
    h[4] += e;
}

/* SHA-1 (FIPS 180-4), which the handshake uses as a checksum, not for
 * security (RFC 6455 1.3, 10.8). */
static void wsock__sha1(const void *data, size_t n, uint8_t out[20])
{
    uint32_t h[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476,
                     0xC3D2E1F0};
    const uint8_t *p = (const uint8_t *)data;
    uint8_t last[128] = {0};
    uint64_t bits = (uint64_t)n * 8;
    size_t i, tail = n % 64, size = tail < 56 ? 64 : 128;
    for (i = 0; i + 64 <= n; i += 64)
        wsock__sha1_block(h, p + i);
    if (tail)
        memcpy(last, p + n - tail, tail);
    last[tail] = 0x80;
    for (i = 0; i < 8; i++)
        last[size - 1 - i] = (uint8_t)(bits >> (8 * i));
    for (i = 0; i < size; i += 64)
        wsock__sha1_block(h, last + i);
    for (i = 0; i < 20; i++)
        out[i] = (uint8_t)(h[i / 4] >> (24 - 8 * (i % 4)));
}

/* Sec-WebSocket-Accept for a key (RFC 6455 4.2.2 item 5.4). */
static void wsock__accept_value(char out[29], const char *key)
{
    char text[24 + 36 + 1];
    uint8_t digest[20];
    memcpy(text, key, 24);
    memcpy(text + 24, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 37);
    wsock__sha1(text, 60, digest);
    wsock__base64(out, digest, 20);
}

/* --------------------------------------------------------------- >>utf8 --
 * RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.  The
 * state between two pieces says how many continuation bytes are due and in
 * which range the next one lies, so that the first wrong byte is refused:
 * count | lowest << 8 | highest << 16; 0 at a character boundary.  Whole
 * characters are run through without it: what stops a run is cut or wrong,
 * and the state tells. */

/* The state after a leading byte; 0: no such byte (or ASCII). */
static uint32_t wsock__utf8_lead(uint8_t b)
{
    uint32_t low = 0x80, high = 0xBF, count;
    if (b < 0xC2 || b > 0xF4)
        return 0;
    count = b < 0xE0 ? 1 : b < 0xF0 ? 2 : 3;
    if (b == 0xE0)
        low = 0xA0; /* else overlong */
    if (b == 0xED)
        high = 0x9F; /* else a surrogate */
    if (b == 0xF0)
        low = 0x90; /* else overlong */
    if (b == 0xF4)
        high = 0x8F; /* else above U+10FFFF */
    return count | low << 8 | high << 16;
}

/* The ASCII bytes at the start of p; the last word overlaps the one before. */
static size_t wsock__ascii_run(const uint8_t *p, size_t n)
{
    const uint64_t high = UINT64_C(0x8080808080808080);
    size_t i = 0;
    uint64_t a, b, c, d;
    for (; n - i >= 32; i += 32) {
        memcpy(&a, p + i, 8);
        memcpy(&b, p + i + 8, 8);
        memcpy(&c, p + i + 16, 8);
        memcpy(&d, p + i + 24, 8);
        if ((a | b | c | d) & high)
            break;
    }
    for (; n - i > 8; i += 8) {
        memcpy(&a, p + i, 8);
        if (a & high)
            break;
    }
    if (n >= 8 && n - i <= 8) {
        memcpy(&a, p + n - 8, 8);
        if (!(a & high))
            return n;
    }
    while (i < n && p[i] < 0x80)
        i++;
    return i;
}

/* The bytes of the characters of two bytes at the start of p that are right,
 * one behind the other; then those of three, and of four. */
static size_t wsock__twos_run(const uint8_t *p, size_t n)
{
    size_t i = 0;
    while (n - i >= 2 && p[i] >= 0xC2 && p[i] <= 0xDF &&
           (p[i + 1] & 0xC0) == 0x80)
        i += 2;
    return i;
}

static size_t wsock__threes_run(const uint8_t *p, size_t n)
{
    size_t i = 0;
    for (; n - i >= 3; i += 3) {
        uint32_t c = (uint32_t)p[i] << 16 | (uint32_t)p[i + 1] << 8 | p[i + 2];
        if ((c & 0xF0C0C0) != 0xE08080 || c < 0xE0A080 ||
            (c >= 0xEDA080 && c <= 0xEDBFBF))
            break;
    }
    return i;
}

static size_t wsock__fours_run(const uint8_t *p, size_t n)
{
    size_t i = 0;
    for (; n - i >= 4; i += 4) {
        uint32_t c = (uint32_t)p[i] << 24 | (uint32_t)p[i + 1] << 16 |
                     (uint32_t)p[i + 2] << 8 | p[i + 3];
        if ((c & 0xF8C0C0C0) != 0xF0808080 || c < 0xF0908080 ||
            c > 0xF48FBFBF)
            break;
    }
    return i;
}

/* The same of all lengths. */
static size_t wsock__characters_run(const uint8_t *p, size_t n)
{
    size_t i = 0, before;
    do {
        before = i;
        if (i < n && p[i] < 0x80)
            i += wsock__ascii_run(p + i, n - i);
        i += wsock__twos_run(p + i, n - i);
        i += wsock__threes_run(p + i, n - i);
        i += wsock__fours_run(p + i, n - i);
    } while (i > before);
    return i;
}

/* How many of the last bytes begin a character that is not whole, in text
 * that is right so far. */
static size_t wsock__utf8_begun(const uint8_t *p, size_t n)
{
    if (p[n - 1] >= 0xC0)
        return 1;
    if (p[n - 2] >= 0xE0)
        return 2;
    return p[n - 3] >= 0xF0 ? 3 : 0;
}

/* The same as far as the CPU's vectors tell.  They need three bytes before
 * them, which are whole characters of the first six. */
static size_t wsock__blocks_run(const uint8_t *p, size_t n)
{
    int size = wsock__vector_size();
    size_t i, end;
    if (size == 0)
        return 0;
    i = wsock__characters_run(p, 6);
    if (i < 3)
        return i;
    end = wsock__vectors_right(size, p, i, n);
    return end > i ? end - wsock__utf8_begun(p, end) : i;
}

/* The whole, right characters at the start of p: how many bytes. */
static size_t wsock__utf8_run(const uint8_t *p, size_t n)
{
    size_t i = wsock__ascii_run(p, n);
    if (n - i >= 6 + WSOCK__BLOCK)
        i += wsock__blocks_run(p + i, n - i);
    return i < n ? i + wsock__characters_run(p + i, n - i) : n;
}

/* Check a piece.  Returns 1, or 0 if a byte of it is wrong.  A text is whole
 * when *state is 0 at its end. */
static int wsock__utf8(uint32_t *state, const uint8_t *p, size_t n)
{
    uint32_t s = *state;
    size_t i = 0, run;
    while (i < n) {
        if (s) {
            if (p[i] < (s >> 8 & 0xFF) || p[i] > s >> 16)
                return 0;
            s = (s & 0xFF) == 1 ? 0 : ((s & 0xFF) - 1) | 0xBF8000;
            i++;
        } else if ((run = wsock__utf8_run(p + i, n - i)) > 0) {
            i += run;
        } else if ((s = wsock__utf8_lead(p[i])) == 0) {
            return 0;
        } else {
            i++;
        }
    }
    *state = s;
    return 1;
}

/* --------------------------------------------------------------- >>mask --
 * RFC 6455 5.3.  A key is its four bytes in the order of the wire, copied
 * into a word; so that the same code works on either byte order. */

/* The key as it applies to the byte `n` further on. */
static inline uint32_t wsock__mask_rotate(uint32_t key, size_t n)
{
    uint8_t twice[8];
    memcpy(twice, &key, 4);
    memcpy(twice + 4, &key, 4);
    memcpy(&key, twice + (n & 3), 4);
    return key;
}

/* Four bytes, masked; returned, not stored. */
static inline uint32_t wsock__mask_four(const uint8_t *in, uint32_t key)
{
    uint32_t word;
    memcpy(&word, in, 4);
    return word ^ key;
}

/* Less than a lane.  From four bytes on: words from the start, and one that
 * ends with the last byte and overlaps them; it is loaded before they are
 * stored, so that nothing is masked twice. */
static void wsock__mask_short(uint8_t *out, const uint8_t *in, size_t n,
                              uint32_t key)
{
    uint32_t word, last;
    uint8_t k[4];
    size_t i;
    if (n < 4) {
        memcpy(k, &key, 4);
        for (i = 0; i < n; i++)
            out[i] = (uint8_t)(in[i] ^ k[i]);
        return;
    }
    last = wsock__mask_four(in + n - 4, wsock__mask_rotate(key, n));
    for (i = 0; i + 4 <= n; i += 4) {
        word = wsock__mask_four(in + i, key);
        memcpy(out + i, &word, 4);
    }
    memcpy(out + n - 4, &last, 4);
}

static inline wsock__lane wsock__lane_of(uint32_t key)
{
    uint32_t words[sizeof(wsock__lane) / 4];
    wsock__lane lane;
    size_t i;
    for (i = 0; i < sizeof words / 4; i++)
        words[i] = key;
    memcpy(&lane, words, sizeof lane);
    return lane;
}

/* Four lanes, masked; and where they go. */
typedef struct wsock__lanes {
    wsock__lane a, b, c, d;
} wsock__lanes;

static inline wsock__lanes wsock__mask_lanes(const uint8_t *in, wsock__lane k)
{
    wsock__lanes x;
    size_t size = sizeof k;
    memcpy(&x.a, in, size);
    memcpy(&x.b, in + size, size);
    memcpy(&x.c, in + 2 * size, size);
    memcpy(&x.d, in + 3 * size, size);
    x.a ^= k;
    x.b ^= k;
    x.c ^= k;
    x.d ^= k;
    return x;
}

static inline void wsock__lanes_store(uint8_t *out, wsock__lanes x)
{
    size_t size = sizeof x.a;
    memcpy(out, &x.a, size);
    memcpy(out + size, &x.b, size);
    memcpy(out + 2 * size, &x.c, size);
    memcpy(out + 3 * size, &x.d, size);
}

/* out = in masked; the two are the same memory or do not overlap.  Whole
 * lanes, or four a turn, then one or four that end with the last byte, loaded
 * first for the same reason as above. */
static void wsock__mask(uint8_t *out, const uint8_t *in, size_t n,
                        uint32_t key)
{
    wsock__lane k, last_k, last, a;
    size_t i = 0, size = sizeof k, four = 4 * size;
    wsock__lanes ends;
    if (n < size) {
        wsock__mask_short(out, in, n, key);
        return;
    }
    k = wsock__lane_of(key);
    last_k = wsock__lane_of(wsock__mask_rotate(key, n));
    if (n >= four) {
        ends = wsock__mask_lanes(in + n - four, last_k);
        for (n -= four; i < n; i += four)
            wsock__lanes_store(out + i, wsock__mask_lanes(in + i, k));
        wsock__lanes_store(out + n, ends);
        return;
    }
    memcpy(&last, in + n - size, size);
    last ^= last_k;
    for (; n - i > size; i += size) {
        memcpy(&a, in + i, size);
        a ^= k;
        memcpy(out + i, &a, size);
    }
    memcpy(out + n - size, &last, size);
}

/* -------------------------------------------------------------- >>frame --
 * RFC 6455 5.2: reading and writing of a frame's header, and nothing else. */

typedef struct wsock__frame {
    uint64_t size; /* of the payload */
    uint32_t key;
    uint8_t first; /* the first byte: FIN, RSV1 to RSV3, opcode */
    uint8_t opcode, masked;
    uint8_t head_size;
    const char *wrong; /* which rule is broken, NULL if none */
} wsock__frame;

enum {
    WSOCK__FIN = 0x80,
    WSOCK__RSV = 0x70,
    WSOCK__WHOLE_TEXT = 0x81, /* a first byte: FIN and opcode */
    WSOCK__MASK_BIT = 0x80    /* of the second */
};

/* What the first two bytes alone tell of a frame whose opcode is above those
 * of data. */
static const char *wsock__frame_check(const wsock__frame *f, uint8_t length)
{
    if (f->opcode < WSOCK_CLOSE || f->opcode > WSOCK_PONG)
        return "a frame with a reserved opcode"; /* RFC 6455 5.2 */
    if (length > WSOCK__CONTROL_MOST)
        return "a control frame above 125 bytes"; /* RFC 6455 5.5 */
    if (!(f->first & WSOCK__FIN))
        return "a fragmented control frame"; /* RFC 6455 5.5 */
    return NULL;
}

static uint64_t wsock__big_endian(const uint8_t *p, unsigned n)
{
    uint64_t x = 0;
    while (n--)
        x = x << 8 | *p++;
    return x;
}

/* The extended length (RFC 6455 5.2). */
static void wsock__frame_length(wsock__frame *f, const uint8_t *p,
                                uint8_t length)
{
    f->size = wsock__big_endian(p + 2, length == 126 ? 2 : 8);
    if (f->size < (length == 126 ? 126U : 65536U))
        f->wrong = "a length that is not in its shortest form";
    if (f->size >> 63) /* the most significant bit must be 0 */
        f->wrong = "a length above 2^63";
}

/* Read a header from `n` bytes.  Returns 1: read, or broken (f->wrong), and
 * 0: more bytes are needed, f->head_size at least. */
static int wsock__frame_read(wsock__frame *f, const uint8_t *p, size_t n)
{
    uint8_t length, size = 2;
    f->head_size = 2;
    f->size = 0;
    f->key = 0;
    f->wrong = NULL;
    if (n < 2)
        return 0;
    length = p[1] & 0x7F;
    f->first = p[0];
    f->opcode = p[0] & 0x0F;
    f->masked = p[1] >> 7;
    if (f->opcode > WSOCK_BINARY &&
        (f->wrong = wsock__frame_check(f, length)) != NULL)
        return 1;
    if (length >= 126)
        size = length == 126 ? 4 : 10;
    if (f->masked)
        size = (uint8_t)(size + 4);
    f->head_size = size;
    if (n < size)
        return 0;
    f->size = length;
    if (length >= 126)
        wsock__frame_length(f, p, length);
    if (f->masked)
        memcpy(&f->key, p + size - 4, 4);
    return 1;
}

/* The same for the usual frame, fast: a whole message below 64 KiB, masked
 * or not as it has to be, that lies whole in the `n` bytes.  Returns its size
 * and sets where its payload begins and the key (0: none); NULL: it is
 * another frame, or wrong, and nothing was set. */
WSOCK__INLINE uint8_t *wsock__frame_usual(uint8_t *p, size_t n, int masked,
                                          size_t *size, uint32_t *key)
{
    size_t length, head = masked ? 6 : 2;
    if (n < head || (uint8_t)(p[0] - WSOCK__WHOLE_TEXT) >
                        WSOCK_BINARY - WSOCK_TEXT)
        return NULL;
    length = p[1] ^ (masked ? (unsigned)WSOCK__MASK_BIT : 0U);
    if (length >= 126) {
        head += 2;
        if (length > 126 || n < head)
            return NULL;
        length = (size_t)p[2] << 8 | p[3];
        if (length < 126)
            return NULL;
    }
    if (length > n - head)
        return NULL;
    *key = 0;
    if (masked)
        memcpy(key, p + head - 4, 4);
    *size = length;
    return p + head;
}

/* Write a header of minimal length (RFC 6455 5.2); returns its size. */
WSOCK__INLINE size_t wsock__frame_write(uint8_t *p, uint8_t first,
                                        uint64_t size, int masked,
                                        uint32_t key)
{
    uint8_t mask = masked ? 0x80 : 0;
    size_t n = 2, i;
    p[0] = first;
    if (size < 126) {
        p[1] = (uint8_t)(mask | size);
    } else if (size < 65536) {
        p[1] = mask | 126;
        p[2] = (uint8_t)(size >> 8);
        p[3] = (uint8_t)size;
        n = 4;
    } else {
        p[1] = mask | 127;
        for (i = 0; i < 8; i++)
            p[2 + i] = (uint8_t)(size >> (56 - 8 * i));
        n = 10;
    }
    if (!masked)
        return n;
    memcpy(p + n, &key, 4);
    return n + 4;
}

/* Close codes that may stand in a Close frame, sent or received (RFC 6455
 * 7.4.1, 7.4.2; 1012 to 1014 from IANA's registry). */
static int wsock__close_code_valid(int code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}

/* ------------------------------------------------------------ >>failure --
 * The first failure sticks: its account is written once. */

static const wsock_failure wsock__no_failure = {
    0, 0, 0, 0, 0, 0, NULL, 0, 0, 0, "", "no failure"};
static const wsock_failure wsock__out_of_memory = {
    WSOCK_NO_MEMORY, 0, 0, 0, 0, 0, NULL, 0, 0, 0, "",
    "memory is out, or options.max_memory is reached"};

static void wsock__account_clear(wsock__account *a, const char *reason)
{
    memset(&a->failure, 0, sizeof a->failure);
    a->failure.close_reason = reason;
    a->failure.text = a->text;
    snprintf(a->text, sizeof a->text, "%s", wsock__no_failure.text);
}

WSOCK__FORMAT(4, 0)
static void wsock__account_write(wsock__account *a, int code, int phase,
                                 const char *format, va_list args)
{
    a->failure.code = code;
    a->failure.phase = phase;
    vsnprintf(a->text, sizeof a->text, format, args);
}

static wsock__rare *wsock__rare_get(wsock *ws)
{
    wsock__rare *r = ws->rare;
    if (r)
        return r;
    r = (wsock__rare *)wsock__pool_take(ws->loop, &ws->loop->rares);
    if (!r)
        return NULL;
    memset(r, 0, sizeof *r);
    wsock__account_clear(&r->why, r->reason);
    if (ws->error) { /* noted while there was no room for more */
        r->why.failure.code = ws->error;
        snprintf(r->why.text, sizeof r->why.text, "%s",
                 wsock_result_text(ws->error));
    }
    ws->rare = r;
    return r;
}

static int wsock__is_looking_up(const wsock *ws);

/* Which phase the public account names. */
static int wsock__public_phase(const wsock *ws)
{
    switch (ws->phase) {
    case WSOCK__PHASE_NEW:
        return WSOCK_PHASE_SETUP;
    case WSOCK__PHASE_OPENING:
        return wsock__is_looking_up(ws) ? WSOCK_PHASE_LOOKUP
                                        : WSOCK_PHASE_TCP;
    case WSOCK__PHASE_SECURING:
        return WSOCK_PHASE_TLS;
    case WSOCK__PHASE_HANDSHAKE:
        return WSOCK_PHASE_HTTP;
    default:
        return WSOCK_PHASE_WEBSOCKET;
    }
}

/* What calls on a connection that has ended answer. */
static int wsock__ended(const wsock *ws)
{
    return ws->error ? (int)ws->error : (int)WSOCK_CLOSED;
}

WSOCK__FORMAT(4, 0)
static void wsock__note_v(wsock *ws, int code, int operation,
                          const char *format, va_list args)
{
    wsock__rare *r;
    if (ws->error)
        return;
    ws->error = (int16_t)code;
    r = wsock__rare_get(ws);
    if (!r)
        return;
    wsock__account_write(&r->why, code, wsock__public_phase(ws), format,
                         args);
    r->why.failure.operation = operation;
    if (ws->phase < WSOCK__PHASE_OPEN)
        r->why.failure.operation = WSOCK_OPERATION_CONNECT;
    else if (operation == WSOCK_OPERATION_RECEIVE &&
             (ws->bits & WSOCK__DISCARD)) /* it is wsock_close() that reads */
        r->why.failure.operation = WSOCK_OPERATION_CLOSE;
}

/* Record why the connection fails; what follows is the caller's business. */
WSOCK__FORMAT(4, 5)
static void wsock__note(wsock *ws, int code, int operation,
                        const char *format, ...)
{
    va_list args;
    va_start(args, format);
    wsock__note_v(ws, code, operation, format, args);
    va_end(args);
}

/* Let the transport add what it knows; call it before anything else can
 * change errno.  `what` was being done. */
static void wsock__note_io(wsock *ws, int code, int operation,
                           const char *what)
{
    wsock_failure f;
    wsock__rare *r;
    int first = !ws->error;
    memset(&f, 0, sizeof f);
    if (ws->io->explain)
        ws->io->explain(ws->io_user, &f);
    wsock__note(ws, code, operation, "%s%s%s", what, f.text ? ": " : "",
                f.text ? f.text : "");
    r = ws->rare;
    if (!first || !r)
        return;
    r->why.failure.os_code = f.os_code;
    r->why.failure.tls_code = f.tls_code;
    if (f.phase)
        r->why.failure.phase = f.phase;
    if (f.code) {
        r->why.failure.code = f.code;
        ws->error = (int16_t)f.code;
    }
}

/* ------------------------------------------------------------ >>options --
 * URLs, defaults, checks; everything that is known before the first byte. */

typedef struct wsock__url {
    const char *host, *target;
    size_t host_size, target_size;
    int port, ipv6, secure;
} wsock__url;

/* What a connection will need: worked out before anything is allocated, so
 * that wsock_memory_needed() and wsock_new() cannot differ. */
typedef struct wsock__plan {
    wsock_options o; /* with the defaults filled in */
    wsock__url url;
    int code; /* of the first thing that is wrong */
    char wrong[160];
    size_t config_size, head_size;
    size_t run_capacity, runs; /* of the send queue */
    size_t window, message, stage, tls;
    size_t total;
    int endless; /* no block holds what these options ask for */
} wsock__plan;

WSOCK__FORMAT(3, 4)
static void wsock__plan_wrong(wsock__plan *p, int code, const char *format,
                              ...)
{
    va_list args;
    if (p->code)
        return;
    p->code = code;
    va_start(args, format);
    vsnprintf(p->wrong, sizeof p->wrong, format, args);
    va_end(args);
}

/* The scheme: ws or wss, without case (RFC 3986 3.1). */
static const char *wsock__url_scheme(wsock__plan *p, const char *s)
{
    const char *colon = strstr(s, "://");
    if (colon && wsock__same(s, (size_t)(colon - s), "ws"))
        return colon + 3;
    if (colon && wsock__same(s, (size_t)(colon - s), "wss")) {
        p->url.secure = 1;
        return colon + 3;
    }
    wsock__plan_wrong(p, WSOCK_INVALID_URL,
                      "the URL does not begin with ws:// or wss://");
    return NULL;
}

static int wsock__default_port(const wsock__url *u)
{
    return u->secure ? 443 : 80; /* RFC 6455 3 */
}

/* The end of a host (RFC 3986 3.2.2) that begins at s, in a string without NUL;
 * *size gets the length without brackets, 0: there is none, or it is
 * malformed. */
static const char *wsock__skip_host(const char *s, const char *end,
                                    size_t *size)
{
    int ipv6 = s < end && *s == '[';
    const char *allowed = ipv6 ? ":." : "-._~%!$&'()*+,;=";
    const char *from = s += ipv6;
    while (s < end &&
           ((*s >= '0' && *s <= '9') ||
            (wsock__lower(*s) >= 'a' && wsock__lower(*s) <= 'z') ||
            strchr(allowed, *s)))
        s++;
    *size = (size_t)(s - from);
    if (ipv6 && (s == end || *s++ != ']'))
        *size = 0;
    return s;
}

static const char *wsock__url_host(wsock__plan *p, const char *s)
{
    wsock__url *u = &p->url;
    const char *end = wsock__skip_host(s, s + strlen(s), &u->host_size);
    u->ipv6 = *s == '[';
    u->host = s + u->ipv6;
    if (u->host_size == 0)
        wsock__plan_wrong(p, WSOCK_INVALID_URL,
                          "the URL has no host, or a malformed one");
    else if (u->host_size > 255)
        wsock__plan_wrong(p, WSOCK_INVALID_URL, "the URL's host is too long");
    return end;
}

static const char *wsock__url_port(wsock__plan *p, const char *s)
{
    long port = 0;
    p->url.port = wsock__default_port(&p->url);
    if (*s != ':')
        return s;
    if (*++s < '0' || *s > '9')
        return s; /* an empty port is the default one, RFC 3986 3.2.3 */
    while (*s >= '0' && *s <= '9' && port <= 65535)
        port = port * 10 + (*s++ - '0');
    if (port > 65535)
        wsock__plan_wrong(p, WSOCK_INVALID_URL,
                          "the URL's port is above 65535");
    p->url.port = (int)port;
    return s;
}

/* Path and query.  A fragment is refused (RFC 6455 3), and so is what would
 * have to be percent-encoded. */
static void wsock__url_target(wsock__plan *p, const char *s)
{
    const char *c;
    if (*s && *s != '/' && *s != '?' && *s != '#')
        wsock__plan_wrong(p, WSOCK_INVALID_URL,
                          "the URL's host or port has a character that does "
                          "not belong there: '%.1s'", s);
    for (c = s; *c; c++) {
        if (*c == '#')
            wsock__plan_wrong(p, WSOCK_INVALID_URL,
                              "a ws:// URL has no fragment (#...)");
        if (*c <= ' ' || *c >= 0x7F)
            wsock__plan_wrong(p, WSOCK_INVALID_URL,
                              "the URL has a character that must be "
                              "percent-encoded");
    }
    p->url.target = s;
    p->url.target_size = (size_t)(c - s);
}

/* RFC 6455 3; no user information: browsers and RFC 3986 warn of it. */
static void wsock__url_parse(wsock__plan *p, const char *url)
{
    const char *s = url ? wsock__url_scheme(p, url) : NULL;
    if (!url)
        wsock__plan_wrong(p, WSOCK_INVALID_PARAMETER, "the URL is NULL");
    if (!s)
        return;
    if (memchr(s, '@', strcspn(s, "/?#")))
        wsock__plan_wrong(p, WSOCK_INVALID_URL,
                          "the URL has user information (@), which is not "
                          "supported; use options.headers");
    s = wsock__url_host(p, s);
    if (!p->code)
        s = wsock__url_port(p, s);
    if (!p->code)
        wsock__url_target(p, s);
}

static void wsock__default_time(wsock__plan *p, int *value, int otherwise)
{
    if (*value == 0)
        *value = otherwise;
    if (*value < WSOCK_NEVER)
        wsock__plan_wrong(p, WSOCK_INVALID_PARAMETER,
                          "a time-out in the options is below -1");
}

static void wsock__default_size(size_t *value, size_t otherwise)
{
    if (*value == 0)
        *value = otherwise;
}

static void wsock__defaults(wsock__plan *p)
{
    wsock_options *o = &p->o;
    size_t kib = 1024;
    wsock__default_time(p, &o->lookup_timeout, 10000);
    wsock__default_time(p, &o->connect_timeout, 10000);
    wsock__default_time(p, &o->handshake_timeout, 10000);
    wsock__default_time(p, &o->send_timeout, 30000);
    wsock__default_time(p, &o->receive_timeout, WSOCK_NEVER);
    wsock__default_time(p, &o->close_timeout, 10000);
    wsock__default_time(p, &o->keepalive_interval, 30000);
    wsock__default_time(p, &o->pong_timeout, 20000);
    wsock__default_time(p, &o->stall_timeout, 30000);
    wsock__default_size(&o->receive_buffer, o->memory ? 4 * kib : 64 * kib);
    if (o->receive_buffer < 256)
        o->receive_buffer = 256;
    wsock__default_size(&o->max_message,
                        o->memory ? o->receive_buffer : 16 * kib * kib);
    wsock__default_size(&o->max_header,
                        o->memory ? o->receive_buffer : 16 * kib);
    wsock__default_size(&o->send_limit, o->memory ? 4 * kib : kib * kib);
    wsock__default_size(&o->read_ahead, 128 * kib * kib);
    wsock__default_size(&o->max_memory, kib * kib * kib);
    wsock__default_size(&o->max_connections, 100000);
    wsock__default_size(&o->max_handshakes, 10000);
    wsock__default_size(&o->poll_messages, 65536);
    wsock__default_size(&o->poll_bytes, 16 * kib * kib);
    wsock__default_size(&o->tls_record, 16 * kib);
    if (o->backlog == 0)
        o->backlog = 1024;
}

/* Headers that the handshake itself writes. */
static int wsock__is_own_header(const char *s, size_t n)
{
    static const char *const own[] = {
        "Host", "Upgrade", "Connection", "Content-Length",
        "Transfer-Encoding", "Sec-WebSocket-Key", "Sec-WebSocket-Version",
        "Sec-WebSocket-Accept", "Sec-WebSocket-Protocol",
        "Sec-WebSocket-Extensions"};
    size_t i;
    for (i = 0; i < sizeof own / sizeof *own; i++)
        if (wsock__same(s, n, own[i]))
            return 1;
    return 0;
}

static const char wsock__bad_value[] =
    "has a control character (CR or LF?)";

static void wsock__check_value(wsock__plan *p, const char *name,
                               const char *value)
{
    if (value && !wsock__is_value(value, strlen(value)))
        wsock__plan_wrong(p, WSOCK_INVALID_PARAMETER, "options.%s %s", name,
                          wsock__bad_value);
}

/* What is wrong with a "Name: value" that is to go into our head; NULL:
 * nothing. */
static const char *wsock__header_wrong(const char *s)
{
    size_t n = strcspn(s, ":");
    if (s[n] != ':' || !wsock__is_token(s, n))
        return "is not \"Name: value\"";
    if (wsock__is_own_header(s, n))
        return "is written by the handshake itself";
    return wsock__is_value(s, strlen(s)) ? NULL : wsock__bad_value;
}

static int wsock__headers_valid(const char *const *list)
{
    while (list && *list && !wsock__header_wrong(*list))
        list++;
    return !list || !*list;
}

static void wsock__check_header(wsock__plan *p, const char *s, int i)
{
    const char *wrong = wsock__header_wrong(s);
    if (wrong)
        wsock__plan_wrong(p, WSOCK_INVALID_PARAMETER,
                          "options.headers[%d] %s", i, wrong);
}

/* RFC 6455 4.1 item 10: subprotocols are tokens, each named once. */
static void wsock__check_subprotocols(wsock__plan *p)
{
    const char *const *list = p->o.subprotocols;
    int i, k;
    for (i = 0; list && list[i]; i++) {
        if (!wsock__is_token(list[i], strlen(list[i])))
            wsock__plan_wrong(p, WSOCK_INVALID_PARAMETER,
                              "options.subprotocols[%d] is not a token", i);
        for (k = 0; k < i; k++)
            if (strcmp(list[i], list[k]) == 0)
                wsock__plan_wrong(p, WSOCK_INVALID_PARAMETER,
                                  "options.subprotocols[%d] stands twice", i);
    }
    if (i > 254)
        wsock__plan_wrong(p, WSOCK_INVALID_PARAMETER,
                          "options.subprotocols has more than 254 entries");
}

static int wsock__extension_next(const char **at, const char *end,
                                 const char **name, size_t *size);

static void wsock__check_extensions(wsock__plan *p)
{
    const char *const *list = p->o.extensions;
    const char *at, *end, *name;
    size_t n;
    int i;
    for (i = 0; list && list[i]; i++) {
        at = list[i];
        end = at + strlen(at);
        if (!wsock__is_value(at, strlen(at)) ||
            wsock__extension_next(&at, end, &name, &n) != 1 || at != end)
            wsock__plan_wrong(p, WSOCK_INVALID_PARAMETER,
                              "options.extensions[%d] is not \"name; "
                              "parameter=value\"", i);
    }
    if (i > 16)
        wsock__plan_wrong(p, WSOCK_INVALID_PARAMETER,
                          "options.extensions has more than 16 entries");
}

/* Sizes whose sum does not overflow.  With others the plan is one for the
 * least, as nothing but the account of it will be asked for. */
static void wsock__check_finite(wsock__plan *p)
{
    wsock_options *o = &p->o;
    if (o->max_message <= WSOCK_UNLIMITED / 4 &&
        o->max_header <= WSOCK_UNLIMITED / 32 &&
        o->send_limit <= WSOCK_UNLIMITED / 8 &&
        o->receive_buffer <= WSOCK_UNLIMITED / 4)
        return;
    wsock__plan_wrong(p, WSOCK_INVALID_PARAMETER,
                      "with options.memory every size is finite");
    p->endless = 1;
    o->max_message = o->max_header = o->send_limit = o->receive_buffer = 256;
}

/* The base64 form of 32 bytes, perhaps behind the name of the hash. */
static int wsock__is_pin(const char *s)
{
    size_t i;
    if (strncmp(s, "sha256//", 8) == 0)
        s += 8;
    for (i = 0; i < 43; i++)
        if (!s[i] || !strchr(wsock__base64_digits, s[i]))
            return 0;
    return strcmp(s + 43, "=") == 0;
}

/* What the built-in TLS has to have. */
static void wsock__check_built_in(wsock__plan *p, int role)
{
    const wsock_options *o = &p->o;
    int i;
    if (!WSOCK__TLS)
        wsock__plan_wrong(p, WSOCK_UNSUPPORTED,
                          "wss:// needs TLS: define WSOCK_BEARSSL where the "
                          "implementation is and link BearSSL (-lbearssl), "
                          "or set options.tls");
    if (!o->tls_cert != !o->tls_key)
        wsock__plan_wrong(p, WSOCK_INVALID_PARAMETER,
                          "options.tls_cert and tls_key belong together");
    if (role == WSOCK_SERVER && !o->tls_cert)
        wsock__plan_wrong(p, WSOCK_INVALID_PARAMETER,
                          "a wss:// server needs options.tls_cert and "
                          "tls_key");
    for (i = 0; o->tls_pins && o->tls_pins[i]; i++)
        if (!wsock__is_pin(o->tls_pins[i]))
            wsock__plan_wrong(p, WSOCK_INVALID_PARAMETER,
                              "options.tls_pins[%d] is not the base64 form "
                              "of a SHA-256", i);
    if (o->tls_record != 512 && o->tls_record != 1024 &&
        o->tls_record != 2048 && o->tls_record != 4096 &&
        o->tls_record != 16384)
        wsock__plan_wrong(p, WSOCK_INVALID_PARAMETER,
                          "options.tls_record is 512, 1024, 2048, 4096 or "
                          "16384");
}

/* Is there something that speaks TLS?  With WSOCK_CORE_ONLY that is the
 * program's to do. */
static void wsock__check_tls(wsock__plan *p, int role)
{
    const wsock_options *o = &p->o;
    if (o->tls && !o->tls->wrap)
        wsock__plan_wrong(p, WSOCK_INVALID_PARAMETER,
                          "options.tls lacks its callback: wrap");
    if (p->url.secure && !o->tls && !(o->flags & WSOCK_CORE_ONLY))
        wsock__check_built_in(p, role);
    if (role == WSOCK_SERVER && !p->url.secure && o->tls_cert)
        wsock__plan_wrong(p, WSOCK_INVALID_PARAMETER,
                          "options.tls_cert is set, but the URL is not a "
                          "wss:// URL");
}

static void wsock__check_options(wsock__plan *p)
{
    const wsock_options *o = &p->o;
    int i;
    if (o->flags & ~0xFFU)
        wsock__plan_wrong(p, WSOCK_INVALID_PARAMETER,
                          "options.flags has unknown bits");
    if (o->receive_buffer > (size_t)1 << 30)
        wsock__plan_wrong(p, WSOCK_INVALID_PARAMETER,
                          "options.receive_buffer is above 1 GiB");
    if (o->backlog < 0)
        wsock__plan_wrong(p, WSOCK_INVALID_PARAMETER,
                          "options.backlog is below 0");
    for (i = 0; o->origins && o->origins[i]; i++)
        wsock__check_value(p, "origins", o->origins[i]);
    if (o->reserved_bits & ~0x70U)
        wsock__plan_wrong(p, WSOCK_INVALID_PARAMETER,
                          "options.reserved_bits are WSOCK_RSV1 to RSV3");
    for (i = 0; o->headers && o->headers[i]; i++)
        wsock__check_header(p, o->headers[i], i);
    wsock__check_subprotocols(p);
    wsock__check_extensions(p);
    wsock__check_value(p, "origin", o->origin);
    wsock__check_value(p, "user_agent", o->user_agent);
    if (o->memory)
        wsock__check_finite(p);
}

/* ------------------------------------------------------- >>compose-head --
 * Our half of the handshake as text: RFC 6455 4.1 and 4.2.2. */

static void wsock__put_list(wsock__text *t, const char *name,
                            const char *const *list, unsigned which)
{
    int i, first = 1;
    for (i = 0; list && list[i]; i++) {
        if (i < 16 && !(which >> i & 1))
            continue;
        wsock__puts(t, first ? name : ", ");
        wsock__puts(t, first ? ": " : "");
        wsock__puts(t, list[i]);
        first = 0;
    }
    if (!first)
        wsock__puts(t, "\r\n");
}

static void wsock__put_headers(wsock__text *t, const char *const *list)
{
    for (; list && *list; list++) {
        wsock__puts(t, *list);
        wsock__puts(t, "\r\n");
    }
}

/* RFC 6455 4.1, items 1 to 12. */
static void wsock__compose_request(wsock__text *t, const wsock_options *o,
                                   const char *target, const char *host,
                                   const char *key)
{
    wsock__puts(t, "GET ");
    wsock__puts(t, target);
    wsock__puts(t, " HTTP/1.1\r\n");
    wsock__put_header(t, "Host", host);
    wsock__put_header(t, "Upgrade", "websocket");
    wsock__put_header(t, "Connection", "Upgrade");
    wsock__put_header(t, "Sec-WebSocket-Key", key);
    wsock__put_header(t, "Sec-WebSocket-Version", "13");
    if (o->origin)
        wsock__put_header(t, "Origin", o->origin);
    if (o->user_agent)
        wsock__put_header(t, "User-Agent", o->user_agent);
    wsock__put_list(t, "Sec-WebSocket-Protocol", o->subprotocols, ~0U);
    wsock__put_list(t, "Sec-WebSocket-Extensions", o->extensions, ~0U);
    wsock__put_headers(t, o->headers);
    wsock__puts(t, "\r\n");
}

/* RFC 6455 4.2.2 item 5. */
static void wsock__compose_accept(wsock__text *t, const wsock_options *o,
                                  const char *accept, const char *protocol,
                                  unsigned extensions,
                                  const char *const *headers)
{
    wsock__puts(t, "HTTP/1.1 101 Switching Protocols\r\n");
    wsock__put_header(t, "Upgrade", "websocket");
    wsock__put_header(t, "Connection", "Upgrade");
    wsock__put_header(t, "Sec-WebSocket-Accept", accept);
    if (protocol)
        wsock__put_header(t, "Sec-WebSocket-Protocol", protocol);
    if (extensions)
        wsock__put_list(t, "Sec-WebSocket-Extensions", o->extensions,
                        extensions);
    wsock__put_headers(t, o->headers);
    wsock__put_headers(t, headers);
    wsock__puts(t, "\r\n");
}

/* The reason phrases of RFC 9110 15 that a server is likely to need; any
 * other may be left out (RFC 9112 4). */
static const char *wsock__status_text(int status)
{
    static const struct {
        int status;
        const char text[36];
    } known[] = {{200, "OK"},
                 {204, "No Content"},
                 {206, "Partial Content"},
                 {301, "Moved Permanently"},
                 {302, "Found"},
                 {303, "See Other"},
                 {304, "Not Modified"},
                 {307, "Temporary Redirect"},
                 {308, "Permanent Redirect"},
                 {400, "Bad Request"},
                 {401, "Unauthorized"},
                 {403, "Forbidden"},
                 {404, "Not Found"},
                 {405, "Method Not Allowed"},
                 {408, "Request Timeout"},
                 {410, "Gone"},
                 {414, "URI Too Long"},
                 {426, "Upgrade Required"},
                 {429, "Too Many Requests"},
                 {431, "Request Header Fields Too Large"},
                 {500, "Internal Server Error"},
                 {503, "Service Unavailable"},
                 {505, "HTTP Version Not Supported"}};
    size_t i;
    for (i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].status == status)
            return known[i].text;
    return "";
}

static void wsock__put_status(wsock__text *t, int status)
{
    wsock__puts(t, "HTTP/1.1 ");
    wsock__put_number(t, (size_t)status);
    wsock__puts(t, " ");
    wsock__puts(t, wsock__status_text(status));
    wsock__puts(t, "\r\n");
}

/* A 426 says to what (RFC 9110 15.5.22). */
static void wsock__put_connection(wsock__text *t, int status)
{
    if (status == 426)
        wsock__put_header(t, "Upgrade", "websocket");
    wsock__put_header(t, "Connection",
                      status == 426 ? "Upgrade, close" : "close");
}

/* A refusal.  Every one names the version (RFC 6455 4.2.2 item 4, 4.4), as
 * an old client may have failed over anything else first. */
static void wsock__compose_refusal(wsock__text *t, int status, int with_body,
                                   int with_head, const char *body)
{
    wsock__put_status(t, status);
    wsock__put_connection(t, status);
    if (status == 405) /* RFC 9110 15.5.6 */
        wsock__put_header(t, "Allow", with_head ? "GET, HEAD" : "GET");
    wsock__put_header(t, "Sec-WebSocket-Version", "13");
    wsock__put_header(t, "Content-Type", "text/plain");
    wsock__puts(t, "Content-Length: ");
    wsock__put_number(t, with_body ? strlen(body) + 1 : 0);
    wsock__puts(t, "\r\n\r\n");
    if (with_body) {
        wsock__puts(t, body);
        wsock__puts(t, "\n");
    }
}

/* The program's own answer to a request, without its body. */
static void wsock__compose_response(wsock__text *t, const wsock_options *o,
                                    int status, const char *const *headers,
                                    size_t size)
{
    wsock__put_status(t, status);
    wsock__put_connection(t, status);
    if (status == 426) /* RFC 6455 4.4 */
        wsock__put_header(t, "Sec-WebSocket-Version", "13");
    if (status != 204 && status != 304) { /* RFC 9110 8.6 */
        wsock__puts(t, "Content-Length: ");
        wsock__put_number(t, size);
        wsock__puts(t, "\r\n");
    }
    wsock__put_headers(t, o->headers);
    wsock__put_headers(t, headers);
    wsock__puts(t, "\r\n");
}

/* The longest line that a refusal explains itself with. */
static const char wsock__longest_refusal[] =
    "a line of sixty-four characters, which no refusal is longer than";

/* The largest head that these options can make, beside host and target. */
static size_t wsock__head_room(const wsock__plan *p, int role)
{
    wsock__text t = {NULL, 0, 0}, refusal = {NULL, 0, 0};
    const char *const *list = p->o.subprotocols;
    const char *longest = NULL;
    if (role == WSOCK_CLIENT) {
        wsock__compose_request(&t, &p->o, "/", "",
                               "012345678901234567890123");
        return t.size;
    }
    for (; list && *list; list++)
        if (!longest || strlen(*list) > strlen(longest))
            longest = *list;
    wsock__compose_accept(&t, &p->o, "0123456789012345678901234567",
                          longest, p->o.extensions ? ~0U : 0, NULL);
    wsock__compose_refusal(&refusal, 431, 1, 0, wsock__longest_refusal);
    return t.size > refusal.size ? t.size : refusal.size;
}

/* --------------------------------------------------------------- >>plan -- */

static size_t wsock__round(size_t n)
{
    return (n + 15) & ~(size_t)15;
}

/* "host[:port]", the port only if it is not the default (RFC 6455 4.1). */
static void wsock__put_host(wsock__text *t, const wsock__url *u)
{
    wsock__puts(t, u->ipv6 ? "[" : "");
    wsock__put(t, u->host, u->host_size);
    wsock__puts(t, u->ipv6 ? "]" : "");
    if (u->port != wsock__default_port(u)) {
        wsock__puts(t, ":");
        wsock__put_number(t, (size_t)u->port);
    }
}

/* The strings behind a config: host, Host header, target, then copies. */
static void wsock__put_strings(wsock__text *t, const wsock__plan *p)
{
    const wsock__url *u = &p->url;
    wsock__put(t, u->host, u->host_size);
    wsock__put(t, "", 1);
    wsock__put_host(t, u);
    wsock__put(t, "", 1);
    if (u->target_size == 0 || u->target[0] == '?')
        wsock__put(t, "/", 1);
    wsock__put(t, u->target, u->target_size);
    wsock__put(t, "", 1);
    if (p->o.origin)
        wsock__put(t, p->o.origin, strlen(p->o.origin) + 1);
    if (p->o.user_agent)
        wsock__put(t, p->o.user_agent, strlen(p->o.user_agent) + 1);
}

enum {
    WSOCK__RUN_USUAL = 4096 - (int)sizeof(wsock__item) - 16,
    WSOCK__RUN_LEAST = 272, /* a Pong and a Close */
    WSOCK__STAGE = 16384,
    WSOCK__STAGE_LEAST = 256,
    WSOCK__DIAL_MOST = 384,
    WSOCK__OFFERS_MOST = 32 /* subprotocols that a request lists */
};

/* A request that waits for its answer: what the program sees of it, then the
 * packed head, then the strings that had to be cut out of it. */
typedef struct wsock__request {
    wsock_request r;
    const char *offers[WSOCK__OFFERS_MOST + 1];
} wsock__request;

/* The memory that takes, for a packed head of `size` bytes: target, path and
 * query, and subprotocols are no longer than it. */
static size_t wsock__request_room(size_t size)
{
    return sizeof(wsock__request) + 4 * size + 16;
}

/* What a loop takes: all of it if it does I/O. */
static size_t wsock__loop_size(const wsock_options *o)
{
    return o->memory && (o->flags & WSOCK_CORE_ONLY)
               ? offsetof(wsock__loop, timers)
               : sizeof(wsock__loop);
}

/* With options.memory: how the block is divided.  There is one run more than
 * send_limit asks for, that of the queue itself; one is kept for Close. */
static void wsock__plan_fixed(wsock__plan *p, int role)
{
    const wsock_options *o = &p->o;
    p->run_capacity = WSOCK__RUN_LEAST;
    if (p->head_size > p->run_capacity)
        p->run_capacity = wsock__round(p->head_size);
    p->runs = (o->send_limit + p->run_capacity - 1) / p->run_capacity;
    if (p->runs < 2)
        p->runs = 2;
    p->message = wsock__round(o->max_message > o->max_header ? o->max_message
                                                             : o->max_header);
    if (p->message < WSOCK__DIAL_MOST)
        p->message = WSOCK__DIAL_MOST; /* the TCP connect lives there */
    if ((o->flags & WSOCK_REQUESTS) &&
        p->message < wsock__request_room(o->max_header))
        p->message = wsock__round(wsock__request_room(o->max_header));
    p->window = o->flags & WSOCK_CORE_ONLY ? 0
                                           : wsock__round(o->receive_buffer);
    p->stage = role == WSOCK_CLIENT ? WSOCK__STAGE_LEAST : 0;
    if (p->url.secure && !o->tls && !(o->flags & WSOCK_CORE_ONLY))
        p->tls = wsock__tls_room(o, role);
    p->total = 15 + wsock__round(sizeof(wsock)) +
               wsock__round(wsock__loop_size(o)) +
               wsock__round(p->config_size) +
               wsock__round(sizeof(wsock__rare)) +
               wsock__round(sizeof(wsock__in)) +
               wsock__round(sizeof(wsock__out) + p->run_capacity) +
               p->runs * wsock__round(sizeof(wsock__item) + p->run_capacity) +
               p->message + p->window + p->stage + p->tls;
}

static void wsock__plan_make(wsock__plan *p, int role, const char *url,
                             const wsock_options *options)
{
    wsock__text t = {NULL, 0, 0};
    memset(p, 0, sizeof *p);
    if (options)
        p->o = *options;
    p->url.host = p->url.target = "";
    p->url.port = 80;
    if (role != WSOCK_CLIENT && role != WSOCK_SERVER)
        wsock__plan_wrong(p, WSOCK_INVALID_PARAMETER,
                          "the role is WSOCK_CLIENT or WSOCK_SERVER");
    if (role == WSOCK_CLIENT || url)
        wsock__url_parse(p, url);
    else
        p->url.secure = p->o.tls || p->o.tls_cert; /* an attached server */
    if (role == WSOCK_CLIENT && !p->code && p->url.port == 0)
        wsock__plan_wrong(p, WSOCK_INVALID_URL, "the URL's port is 0");
    wsock__defaults(p);
    wsock__check_options(p);
    wsock__check_tls(p, role);
    if (p->code) { /* nothing of a broken URL goes further */
        memset(&p->url, 0, sizeof p->url);
        p->url.host = p->url.target = "";
    }
    wsock__put_strings(&t, p);
    p->config_size = sizeof(wsock__config) + t.size;
    if (!p->code)
        p->head_size = wsock__head_room(p, role);
    p->head_size += p->url.target_size + p->url.host_size + 16;
    p->run_capacity = WSOCK__RUN_USUAL;
    if (p->o.memory)
        wsock__plan_fixed(p, role);
}

static void wsock__config_init(wsock__config *c, const wsock__plan *p)
{
    static const wsock_system defaults = {
        wsock__system_alloc, wsock__system_free, wsock__system_now,
        wsock__system_random, NULL};
    const wsock_system *s = p->o.system;
    wsock__text t = {NULL, 0, 0};
    memset(c, 0, sizeof *c);
    c->o = p->o;
    c->whole_most = c->o.max_message;
    if (c->o.flags & WSOCK_PARTS)
        c->whole_most = WSOCK_UNLIMITED;
    c->port = p->url.port;
    c->secure = p->url.secure;
    c->system = defaults;
    if (s) {
        c->system = *s;
        if (!s->alloc || !s->free) {
            c->system.alloc = defaults.alloc;
            c->system.free = defaults.free;
        }
        if (!s->now)
            c->system.now = defaults.now;
        if (!s->random)
            c->system.random = defaults.random;
    }
    t.at = (char *)(c + 1);
    t.capacity = p->config_size - sizeof *c;
    wsock__put_strings(&t, p);
    c->host = t.at;
    c->host_header = c->host + strlen(c->host) + 1;
    c->target = c->host_header + strlen(c->host_header) + 1;
    if (c->o.origin)
        c->o.origin = c->target + strlen(c->target) + 1;
    if (c->o.user_agent)
        c->o.user_agent = c->target + strlen(c->target) + 1 +
                          (c->o.origin ? strlen(c->o.origin) + 1 : 0);
}

static wsock__config *wsock__config_new(const wsock__plan *p)
{
    wsock__config *c;
    const wsock_system *s = p->o.system;
    if (s && s->alloc && s->free)
        c = (wsock__config *)s->alloc(s->user, p->config_size);
    else
        c = (wsock__config *)wsock__system_alloc(NULL, p->config_size);
    if (!c)
        return NULL;
    wsock__config_init(c, p);
    c->size = c->used = p->config_size;
    return c;
}

/* A copy of its own for a connection that leaves its server. */
static wsock__config *wsock__config_copy(const wsock__config *from)
{
    wsock__config *c = (wsock__config *)from->system.alloc(
        from->system.user, from->size);
    const char *old = (const char *)from;
    char *at = (char *)c;
    if (!c)
        return NULL;
    memcpy(c, from, from->size);
    c->used = c->size;
    c->identity = NULL; /* is the server's */
    c->host = at + (from->host - old);
    c->host_header = at + (from->host_header - old);
    c->target = at + (from->target - old);
    if (c->o.origin)
        c->o.origin = at + (from->o.origin - old);
    if (c->o.user_agent)
        c->o.user_agent = at + (from->o.user_agent - old);
    return c;
}

static void wsock__config_drop(wsock__config *c)
{
    c->system.free(c->system.user, c, c->size);
}

/* --------------------------------------------------------------- >>http --
 * The peer's head: RFC 7230 3, strictly: CRLF line ends, no folding, no
 * space before the colon, no control characters. */

/* The size of the head at p, with its empty line.  0: it is not complete;
 * -1: a line that does not end with CRLF. */
static ptrdiff_t wsock__head_end(const uint8_t *p, size_t n)
{
    size_t start = 0;
    while (start < n) {
        const uint8_t *lf = (const uint8_t *)memchr(p + start, '\n',
                                                    n - start);
        size_t i = lf ? (size_t)(lf - p) : n;
        if (!lf)
            return 0;
        if (i == start || p[i - 1] != '\r')
            return -1;
        if (i == start + 1)
            return start ? (ptrdiff_t)i + 1 : -1;
        start = i + 1;
    }
    return 0;
}

/* Does it begin like a head?  So that garbage is refused at once. */
static int wsock__head_plausible(const uint8_t *p, size_t n, int role)
{
    const char *http = "HTTP/1.";
    size_t i;
    if (role == WSOCK_SERVER)
        return wsock__is_token_char((char)p[0]);
    for (i = 0; i < n && i < 7; i++)
        if (p[i] != (uint8_t)http[i])
            return 0;
    return 1;
}

static size_t wsock__trim(const char **s, size_t n)
{
    for (; n && (**s == ' ' || **s == '\t'); n--)
        (*s)++;
    while (n && ((*s)[n - 1] == ' ' || (*s)[n - 1] == '\t'))
        n--;
    return n;
}

/* One "Name: value" into its two slices.  0: malformed. */
static int wsock__split_header(const char *line, size_t n, size_t *name_size,
                               const char **value, size_t *value_size)
{
    const char *colon = (const char *)memchr(line, ':', n);
    if (!colon || !wsock__is_token(line, (size_t)(colon - line)))
        return 0;
    *name_size = (size_t)(colon - line);
    *value = colon + 1;
    *value_size = wsock__trim(value, n - *name_size - 1);
    return wsock__is_value(*value, *value_size);
}

/* Pack a complete head in place: the first line, then every header as two
 * strings, each with a NUL.  Returns the packed size, 0: malformed. */
static size_t wsock__head_pack(char *p, size_t n)
{
    size_t at, to, name_size, value_size;
    const char *value, *lf = (const char *)memchr(p, '\n', n);
    at = to = (size_t)(lf - p) - 1; /* the CR before it */
    if (!wsock__is_value(p, to))
        return 0;
    p[to++] = 0;
    at += 2;
    while (at + 2 < n) {
        const char *line = p + at;
        size_t size = (size_t)((const char *)memchr(line, '\n', n - at) -
                               line) - 1;
        if (!wsock__split_header(line, size, &name_size, &value,
                                 &value_size))
            return 0;
        memmove(p + to, line, name_size);
        p[to + name_size] = 0;
        to += name_size + 1;
        memmove(p + to, value, value_size);
        p[to + value_size] = 0;
        to += value_size + 1;
        at += size + 2;
    }
    return to;
}

/* Walk over comma-separated elements; empty ones are skipped (RFC 7230 7). */
static int wsock__list_next(const char **at, const char *end,
                            const char **item, size_t *size)
{
    while (*at < end) {
        const char *comma = (const char *)memchr(*at, ',',
                                                 (size_t)(end - *at));
        const char *stop = comma ? comma : end;
        *item = *at;
        *size = wsock__trim(item, (size_t)(stop - *at));
        *at = comma ? comma + 1 : end;
        if (*size)
            return 1;
    }
    return 0;
}

static int wsock__list_has(const char *s, size_t n, const char *token)
{
    const char *at = s, *item;
    size_t size;
    while (wsock__list_next(&at, s + n, &item, &size))
        if (wsock__same(item, size, token))
            return 1;
    return 0;
}

static void wsock__skip_space(const char **at, const char *end)
{
    while (*at < end && (**at == ' ' || **at == '\t'))
        (*at)++;
}

static size_t wsock__skip_token(const char **at, const char *end)
{
    const char *from = *at;
    while (*at < end && wsock__is_token_char(**at))
        (*at)++;
    return (size_t)(*at - from);
}

/* A parameter's value: a token, or a quoted string whose content is one
 * (RFC 6455 9.1). */
static int wsock__skip_value(const char **at, const char *end)
{
    size_t n = 0;
    if (*at == end || **at != '"')
        return wsock__skip_token(at, end) > 0;
    for ((*at)++; *at < end && **at != '"'; (*at)++, n++) {
        if (**at == '\\' && ++*at == end)
            return 0;
        if (!wsock__is_token_char(**at))
            return 0;
    }
    if (*at == end || n == 0)
        return 0;
    (*at)++;
    return 1;
}

/* Walk over Sec-WebSocket-Extensions: 1 an extension, 0 the end, -1 it is
 * malformed (RFC 6455 9.1). */
static int wsock__extension_next(const char **at, const char *end,
                                 const char **name, size_t *size)
{
    while (*at < end && (**at == ',' || **at == ' ' || **at == '\t'))
        (*at)++;
    if (*at == end)
        return 0;
    *name = *at;
    *size = wsock__skip_token(at, end);
    wsock__skip_space(at, end);
    while (*size && *at < end && **at == ';') {
        (*at)++;
        wsock__skip_space(at, end);
        if (!wsock__skip_token(at, end))
            return -1;
        wsock__skip_space(at, end);
        if (*at < end && **at == '=') {
            (*at)++;
            wsock__skip_space(at, end);
            if (!wsock__skip_value(at, end))
                return -1;
            wsock__skip_space(at, end);
        }
    }
    return *size && (*at == end || **at == ',') ? 1 : -1;
}

/* ----------------------------------------------------- >>handshake-facts --
 * What a head says, gathered header by header, whether it came from the wire
 * or from the program's own HTTP stack; judged when all were seen. */

enum { /* bits, in the order of the table below */
    WSOCK__SAW_HOST = 0x001,
    WSOCK__SAW_UPGRADE = 0x002,
    WSOCK__SAW_CONNECTION = 0x004,
    WSOCK__SAW_KEY = 0x008,
    WSOCK__SAW_VERSION = 0x010,
    WSOCK__SAW_ACCEPT = 0x020,
    WSOCK__SAW_PROTOCOL = 0x040,
    WSOCK__SAW_EXTENSIONS = 0x080,
    WSOCK__SAW_ORIGIN = 0x100,
    WSOCK__SAW_LENGTH = 0x200,
    WSOCK__SAW_ENCODING = 0x400
};

typedef struct wsock__slice {
    const char *at;
    size_t size;
} wsock__slice;

typedef struct wsock__facts {
    unsigned seen, twice;        /* WSOCK__SAW_... */
    int bad_host;
    int upgrade, connection;     /* the token that is asked for was there */
    wsock__slice key, accept, version, origin;
    int64_t length;              /* Content-Length; -1: not a number */
    int subprotocol;             /* index + 1 of the one agreed on */
    unsigned extensions;         /* bits of those agreed on */
    int bad_subprotocol, foreign_subprotocol;
    int bad_extension, foreign_extension;
} wsock__facts;

static int64_t wsock__number(const char *s, size_t n)
{
    int64_t x = 0;
    size_t i;
    for (i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9' || x > INT64_MAX / 10 - 1)
            return -1;
        x = x * 10 + (s[i] - '0');
    }
    return n ? x : -1;
}

/* Subprotocols compare with case (RFC 6455 4.1, 11.3.4). */
static int wsock__find_subprotocol(const wsock_options *o, const char *s,
                                   size_t n)
{
    int i;
    for (i = 0; o->subprotocols && o->subprotocols[i]; i++)
        if (strlen(o->subprotocols[i]) == n &&
            memcmp(o->subprotocols[i], s, n) == 0)
            return i + 1;
    return 0;
}

/* The client lists what it likes best first (RFC 6455 4.1 item 10): the
 * first one that the server speaks is taken. */
static void wsock__fact_subprotocol(const wsock *ws, wsock__facts *f,
                                    const char *s, size_t n)
{
    const char *at = s, *item;
    size_t size;
    int found, items = 0;
    if (ws->role == WSOCK_CLIENT) { /* the server names one */
        f->subprotocol = wsock__find_subprotocol(&ws->config->o, s, n);
        f->bad_subprotocol |= n == 0;
        f->foreign_subprotocol |= f->subprotocol == 0;
        return;
    }
    while (wsock__list_next(&at, s + n, &item, &size)) {
        items++;
        if (!wsock__is_token(item, size))
            f->bad_subprotocol = 1;
        found = wsock__find_subprotocol(&ws->config->o, item, size);
        if (!f->subprotocol)
            f->subprotocol = found;
    }
    if (items == 0)
        f->bad_subprotocol = 1;
}

/* uri-host [ ":" port ], or nothing (RFC 9112 3.2). */
static int wsock__is_host(const char *s, size_t n)
{
    const char *end = s + n;
    size_t size;
    int64_t port;
    s = wsock__skip_host(s, end, &size);
    if (n && size == 0)
        return 0;
    if (s < end && *s == ':')
        s++;
    port = wsock__number(s, (size_t)(end - s));
    return s == end || (port >= 0 && port <= 65535);
}

static unsigned wsock__find_extension(const wsock_options *o, const char *s,
                                      size_t n)
{
    unsigned i;
    for (i = 0; o->extensions && o->extensions[i]; i++)
        if (strcspn(o->extensions[i], "; \t") == n &&
            memcmp(o->extensions[i], s, n) == 0)
            return 1U << i;
    return 0;
}

static void wsock__fact_extensions(const wsock *ws, wsock__facts *f,
                                   const char *s, size_t n)
{
    const char *at = s, *name;
    size_t size;
    int r, items = 0;
    unsigned found;
    while ((r = wsock__extension_next(&at, s + n, &name, &size)) > 0) {
        items++;
        found = wsock__find_extension(&ws->config->o, name, size);
        if (!found || (ws->role == WSOCK_CLIENT && (f->extensions & found)))
            f->foreign_extension = 1;
        f->extensions |= found;
    }
    if (r < 0 || items == 0)
        f->bad_extension = 1;
}

/* Take in one header. */
static void wsock__fact(const wsock *ws, wsock__facts *f, const char *name,
                        size_t name_size, const char *value, size_t size)
{
    static const char *const known[] = {
        "Host", "Upgrade", "Connection", "Sec-WebSocket-Key",
        "Sec-WebSocket-Version", "Sec-WebSocket-Accept",
        "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Origin",
        "Content-Length", "Transfer-Encoding"};
    wsock__slice slice;
    unsigned i, bit, count = sizeof known / sizeof *known;
    for (i = 0; i < count && !wsock__same(name, name_size, known[i]); i++)
        continue;
    if (i == count)
        return;
    bit = 1U << i;
    f->twice |= f->seen & bit;
    f->seen |= bit;
    slice.at = value;
    slice.size = size;
    switch (bit) {
    case WSOCK__SAW_HOST:
        f->bad_host = !wsock__is_host(value, size);
        break;
    case WSOCK__SAW_UPGRADE:
        f->upgrade |= wsock__list_has(value, size, "websocket");
        break;
    case WSOCK__SAW_CONNECTION:
        f->connection |= wsock__list_has(value, size, "Upgrade");
        break;
    case WSOCK__SAW_KEY:
        f->key = slice;
        break;
    case WSOCK__SAW_VERSION:
        f->version = slice;
        break;
    case WSOCK__SAW_ACCEPT:
        f->accept = slice;
        break;
    case WSOCK__SAW_ORIGIN:
        f->origin = slice;
        break;
    case WSOCK__SAW_PROTOCOL:
        wsock__fact_subprotocol(ws, f, value, size);
        break;
    case WSOCK__SAW_EXTENSIONS:
        wsock__fact_extensions(ws, f, value, size);
        break;
    case WSOCK__SAW_LENGTH:
        f->length = wsock__number(value, size);
        break;
    default:
        break;
    }
}

/* Gather the facts of a packed head. */
static void wsock__facts_packed(const wsock *ws, wsock__facts *f,
                                const char *p, size_t n)
{
    const char *end = p + n;
    memset(f, 0, sizeof *f);
    p += strlen(p) + 1;
    while (p < end) {
        size_t name_size = strlen(p);
        const char *value = p + name_size + 1;
        size_t size = strlen(value);
        wsock__fact(ws, f, p, name_size, value, size);
        p = value + size + 1;
    }
}

/* The minor version of "HTTP/1.x", -1 if it is something else. */
static int wsock__http_minor(const char *s)
{
    if (strncmp(s, "HTTP/1.", 7) != 0 || s[7] < '0' || s[7] > '9')
        return -1;
    return s[7] - '0';
}

/* ------------------------------------------------------------- >>queue --
 * The send queue.  Small payload is copied behind its header into runs, and
 * masked on the way; large payload whose memory stays is referred to.  What
 * stands in the queue does not move.  Nothing is taken unless all of it can
 * be, so that a failed send leaves no half frame. */

/* The loop's work list: first in, first out, so that nobody starves. */
static inline void wsock__list_work(wsock *ws, unsigned work)
{
    wsock__loop *l = ws->loop;
    ws->work = (uint8_t)(ws->work | work);
    if (ws->bits & WSOCK__LISTED)
        return;
    ws->bits |= WSOCK__LISTED;
    l->listed++;
    l->listings++;
    ws->work_next = NULL;
    ws->work_prev = l->work_last;
    if (l->work_last)
        l->work_last->work_next = ws;
    else
        l->work_first = ws;
    l->work_last = ws;
}

static inline void wsock__unlist_work(wsock *ws)
{
    wsock__loop *l = ws->loop;
    if (!(ws->bits & WSOCK__LISTED))
        return;
    ws->bits &= ~(uint32_t)WSOCK__LISTED;
    l->listed--;
    if (ws->work_prev)
        ws->work_prev->work_next = ws->work_next;
    else
        l->work_first = ws->work_next;
    if (ws->work_next)
        ws->work_next->work_prev = ws->work_prev;
    else
        l->work_last = ws->work_prev;
}

/* Note what a reading call will have to report, and see that it looks. */
static void wsock__pend(wsock *ws, unsigned pending)
{
    ws->bits |= pending;
    if (ws->io || ws->phase == WSOCK__PHASE_DONE)
        wsock__list_work(ws, WSOCK__WORK_LOOK);
}

/* Make an empty queue of the memory for one. */
static void wsock__out_init(const wsock__loop *l, wsock__out *out)
{
    memset(out, 0, sizeof *out);
    out->first.data = (const uint8_t *)(out + 1);
    out->first.capacity = l->outs.size - sizeof *out;
    out->first.frame_start = out->first.embedded = 1;
}

/* A queue when the pool has none. */
WSOCK__APART wsock__out *wsock__out_new(wsock__loop *l)
{
    wsock__out *out = (wsock__out *)wsock__pool_take(l, &l->outs);
    if (out)
        wsock__out_init(l, out);
    return out;
}

WSOCK__INLINE wsock__out *wsock__out_get(wsock *ws)
{
    wsock__loop *l = ws->loop;
    if (ws->out)
        return ws->out;
    if (WSOCK__LIKELY(l->outs.first != NULL))
        ws->out = (wsock__out *)wsock__pool_take(l, &l->outs);
    else
        ws->out = wsock__out_new(l);
    return ws->out;
}

/* An empty queue goes back to the pool. */
static inline void wsock__out_settle(wsock *ws)
{
    wsock__out *out = ws->out;
    if (out && !out->head && !out->sent && !out->pong_size) {
        out->queued = out->offered = out->pongs = 0;
        out->single = 0;
        ws->out = NULL;
        wsock__pool_give(ws->loop, &ws->loop->outs, out);
    }
}

static inline wsock__pool *wsock__item_pool(wsock__loop *l, int reference)
{
    return reference && !l->fixed ? &l->references : &l->runs;
}

static void wsock__shared_drop(wsock__loop *l, wsock__shared *shared)
{
    if (--shared->references == 0)
        wsock__release(l->config, shared, shared->size);
}

static inline void wsock__item_give(wsock__loop *l, wsock__item *item)
{
    if (item->embedded) {
        item->next = NULL;
        item->dropped = 0;
        item->size = item->taken = 0;
        item->capacity = l->outs.size - sizeof(wsock__out);
        return;
    }
    wsock__buffer_give(l, (uint8_t *)item->owned, item->owned_size);
    if (item->shared)
        wsock__shared_drop(l, item->shared);
    wsock__pool_give(l, wsock__item_pool(l, item->reference), item);
}

static void wsock__items_give(wsock__loop *l, wsock__item *item)
{
    while (item) {
        wsock__item *next = item->next;
        wsock__item_give(l, item);
        item = next;
    }
}

static wsock__item *wsock__item_take(wsock__loop *l, int reference)
{
    wsock__pool *pool = wsock__item_pool(l, reference);
    wsock__item *item = (wsock__item *)wsock__pool_take(l, pool);
    if (!item)
        return NULL;
    item->next = NULL;
    item->data = (const uint8_t *)(item + 1);
    item->size = item->taken = 0;
    item->capacity = reference ? 0 : pool->size - sizeof *item;
    item->owned = item->context = NULL;
    item->shared = NULL;
    item->owned_size = 0;
    item->reference = (uint8_t)reference;
    item->masked = item->in_window = item->embedded = 0;
    item->report = 0;
    item->dropped = item->is_head = 0;
    item->frame_start = 1;
    return item;
}

/* What a send will put into the queue. */
typedef struct wsock__send_plan {
    const wsock_buf *bufs;
    size_t count;
    size_t size; /* of the payload */
    void *context;
    uint8_t head[WSOCK__FRAME_HEAD_MOST];
    size_t head_size;
    uint32_t key;
    uint8_t masked;
    uint8_t reference; /* payload is referred to, not copied */
    uint16_t borrowed; /* SENT follows, of this kind */
    uint8_t in_window;
    uint8_t is_close;
} wsock__send_plan;

static inline size_t wsock__run_room(const wsock__out *out)
{
    const wsock__item *tail = out->tail;
    return tail ? tail->capacity - tail->size : 0;
}

/* How many runs `bytes` take beside the queue's own. */
static size_t wsock__runs_for(const wsock__loop *l, size_t bytes, size_t own)
{
    size_t capacity = l->runs.size - sizeof(wsock__item);
    size_t rest = bytes > own ? bytes - own : 0;
    return rest / capacity + (rest % capacity != 0);
}

/* Reserve what the plan takes: new runs, in *runs, if neither the last one
 * nor the queue's own has room, and references, in *references.  A frame
 * that fits into one run is not divided, so that the queue has frame
 * boundaries for pongs. */
static int wsock__reserve(wsock *ws, const wsock__send_plan *s,
                          wsock__item **runs, wsock__item **references)
{
    wsock__loop *l = ws->loop;
    const wsock__item *first = &ws->out->first;
    size_t n, count = 0;
    size_t bytes = s->head_size + (s->reference ? 0 : s->size);
    size_t borrowed = s->reference ? (s->count ? s->count : 1) : 0;
    if (bytes > wsock__run_room(ws->out))
        count = wsock__runs_for(l, bytes, first->size ? 0 : first->capacity);
    *runs = *references = NULL;
    if (s->reference && s->masked && !l->stage)
        l->stage = (uint8_t *)wsock__alloc(l->config, l->stage_size);
    if (s->reference && s->masked && !l->stage)
        return WSOCK_NO_MEMORY;
    if (l->fixed) {
        size_t keep = s->is_close ? 0 : 1; /* the last run is for Close */
        n = borrowed + wsock__runs_for(l, bytes, first->capacity);
        if (n + keep > l->runs.most) /* not even in an empty queue */
            return WSOCK_TOO_BIG;
        if (count + borrowed + keep > l->runs.count)
            return WSOCK_WOULD_BLOCK;
    }
    for (n = 0; n < count + borrowed; n++) {
        wsock__item **list = n < count ? runs : references;
        wsock__item *item = wsock__item_take(l, n >= count);
        if (!item) {
            wsock__items_give(l, *runs);
            wsock__items_give(l, *references);
            return WSOCK_NO_MEMORY;
        }
        item->next = *list;
        *list = item;
    }
    return WSOCK_OK;
}

static inline void wsock__enqueue(wsock__out *out, wsock__item *item)
{
    out->single = 0;
    if (out->tail)
        out->tail->next = item;
    else
        out->head = item;
    out->tail = item;
}

/* Copy bytes to the end of the queue, masked if asked for; *runs are used as
 * the last run gets full.  Returns the key for what follows. */
static uint32_t wsock__append(wsock__out *out, wsock__item **runs,
                              const void *data, size_t size, int masked,
                              uint32_t key)
{
    const uint8_t *p = (const uint8_t *)data;
    while (size > 0) {
        wsock__item *run = out->tail;
        size_t n = wsock__run_room(out);
        uint8_t *to;
        if (n == 0) {
            run = *runs;
            *runs = run->next;
            run->next = NULL;
            wsock__enqueue(out, run);
            n = run->capacity;
        }
        if (n > size)
            n = size;
        to = (uint8_t *)(run + 1) + run->size;
        if (masked) {
            wsock__mask(to, p, n, key);
            key = wsock__mask_rotate(key, n);
        } else {
            memcpy(to, p, n);
        }
        run->size += n;
        out->queued += n;
        p += n;
        size -= n;
    }
    return key;
}

/* Begin a frame that the last run has no room for: in the queue's own run,
 * if that is free, else in the first of *runs.  What is left of a divided
 * frame begins in later runs, which are no boundary. */
static void wsock__start_frame(wsock__out *out, wsock__item **runs)
{
    wsock__item *run = &out->first, *rest;
    if (run->size) {
        run = *runs;
        *runs = run->next;
        run->next = NULL;
    }
    for (rest = *runs; rest; rest = rest->next)
        rest->frame_start = 0;
    wsock__enqueue(out, run);
}

static void wsock__append_references(wsock__out *out,
                                     const wsock__send_plan *s,
                                     wsock__item *list)
{
    uint32_t key = s->key;
    size_t i = 0;
    while (list) {
        wsock__item *next = list->next;
        list->next = NULL;
        if (i < s->count) {
            list->data = (const uint8_t *)s->bufs[i].data;
            list->size = s->bufs[i].size;
        }
        list->capacity = list->size; /* nothing is appended */
        list->key = key;
        list->masked = s->masked;
        list->in_window = s->in_window;
        list->frame_start = 0;
        key = wsock__mask_rotate(key, list->size);
        out->queued += list->size;
        if (!next) {
            list->report = s->borrowed;
            list->context = s->context;
            if (s->borrowed)
                list->owned_size = s->size;
        }
        wsock__enqueue(out, list);
        list = next;
        i++;
    }
}

/* A block of `size` bytes at the end of the queue, to be filled in and never
 * appended to: a run of its own, or memory of its own if it takes more. */
static wsock__item *wsock__queue_block(wsock *ws, size_t size)
{
    wsock__loop *l = ws->loop;
    wsock__out *out = wsock__out_get(ws);
    int large = size > l->runs.size - sizeof(wsock__item);
    wsock__item *item = out && !(large && l->fixed)
                            ? wsock__item_take(l, large)
                            : NULL;
    if (item && large) {
        item->owned = wsock__alloc(l->config, size);
        item->owned_size = size;
        item->data = (const uint8_t *)item->owned;
        if (!item->owned) {
            wsock__item_give(l, item);
            item = NULL;
        }
    }
    if (!item) {
        wsock__out_settle(ws);
        return NULL;
    }
    item->size = item->capacity = size;
    out->queued += size;
    wsock__enqueue(out, item);
    return item;
}

/* Where a block may be written to. */
static uint8_t *wsock__block_bytes(wsock__item *item)
{
    return item->owned ? (uint8_t *)item->owned : (uint8_t *)(item + 1);
}

/* A run with room for `size` bytes, at the end of the queue; NULL: there is
 * none (wsock__reserve() then tells why). */
static wsock__item *wsock__run_more(wsock *ws, size_t size, int is_close)
{
    wsock__loop *l = ws->loop;
    wsock__out *out = ws->out;
    wsock__item *run = NULL;
    if (out->first.size == 0 && out->first.capacity >= size)
        run = &out->first;
    else if (size <= l->runs.size - sizeof *run &&
             !(l->fixed && l->runs.count <= (is_close ? 0U : 1U)))
        run = wsock__item_take(l, 0);
    if (run)
        wsock__enqueue(out, run);
    else
        wsock__out_settle(ws);
    return run;
}

WSOCK__INLINE wsock__item *wsock__run_for(wsock *ws, size_t size,
                                          int is_close)
{
    wsock__out *out = wsock__out_get(ws);
    if (WSOCK__UNLIKELY(!out))
        return NULL;
    if (!out->tail && size <= out->first.capacity) { /* the usual case */
        out->single = !out->pong_size && !out->sent;
        return out->head = out->tail = &out->first;
    }
    if (out->tail && wsock__run_room(out) >= size)
        return out->tail;
    return wsock__run_more(ws, size, is_close);
}

/* A client masks every frame with a fresh key that cannot be foreseen; a
 * server masks none (RFC 6455 5.1, 5.3, 10.3). */
static inline int wsock__new_key(wsock *ws, uint32_t *key)
{
    *key = 0;
    if (ws->role == WSOCK_SERVER ||
        (ws->config->o.flags & WSOCK_UNSAFE_NO_MASKING))
        return WSOCK_OK;
    return wsock__random(ws->loop, key, 4) == 0 ? WSOCK_OK
                                                : WSOCK_RANDOM_FAILED;
}

/* Write a frame, masked if there is a key, behind what is in the run. */
WSOCK__INLINE void wsock__frame_into(wsock__out *out, wsock__item *run,
                                     unsigned first, int masked, uint32_t key,
                                     const void *data, size_t size)
{
    uint8_t *p = (uint8_t *)(run + 1) + run->size;
    size_t n = wsock__frame_write(p, (uint8_t)first, size, masked, key);
    run->size += n + size;
    out->queued += n + size;
    if (key)
        wsock__mask(p + n, (const uint8_t *)data, size, key);
    else if (data)
        memcpy(p + n, data, size);
}

/* The usual case: a frame that is copied whole into one run.  1: done; 0:
 * there is no such room; negative: it failed. */
WSOCK__INLINE int wsock__put_frame(wsock *ws, unsigned first,
                                   const void *data, size_t size,
                                   int is_close)
{
    wsock__item *run;
    uint32_t key;
    if (WSOCK__UNLIKELY(wsock__new_key(ws, &key) != WSOCK_OK))
        return WSOCK_RANDOM_FAILED;
    run = wsock__run_for(ws, WSOCK__FRAME_HEAD_MOST + size, is_close);
    if (WSOCK__UNLIKELY(!run))
        return 0;
    wsock__frame_into(ws->out, run, first, ws->role == WSOCK_CLIENT, key,
                      data, size);
    return 1;
}

/* Put a frame into the queue: all of it or nothing. */
static int wsock__enqueue_frame(wsock *ws, const wsock__send_plan *s)
{
    wsock__item *runs, *references;
    wsock__out *out = wsock__out_get(ws);
    uint32_t key = s->key;
    size_t i;
    int r;
    if (!out)
        return WSOCK_NO_MEMORY;
    r = wsock__reserve(ws, s, &runs, &references);
    if (r != WSOCK_OK) {
        wsock__out_settle(ws);
        return r;
    }
    if (s->head_size + (s->reference ? 0 : s->size) > wsock__run_room(out))
        wsock__start_frame(out, &runs);
    wsock__append(out, &runs, s->head, s->head_size, 0, 0);
    if (s->reference)
        wsock__append_references(out, s, references);
    else
        for (i = 0; i < s->count; i++)
            key = wsock__append(out, &runs, s->bufs[i].data,
                                s->bufs[i].size, s->masked, key);
    return WSOCK_OK;
}

/* Queue a frame from a plan whose payload is described already. */
static int wsock__plan_frame(wsock *ws, wsock__send_plan *s, unsigned first)
{
    int r = wsock__new_key(ws, &s->key);
    s->masked = s->key != 0;
    s->head_size = wsock__frame_write(s->head, (uint8_t)first, s->size,
                                      ws->role == WSOCK_CLIENT, s->key);
    return r ? r : wsock__enqueue_frame(ws, s);
}

/* Queue a control frame (RFC 6455 5.5).  Only the closing ones may use the
 * last run of options.memory. */
static int wsock__enqueue_control(wsock *ws, unsigned opcode,
                                  const void *data, size_t size, int closing)
{
    wsock__send_plan s;
    wsock_buf buf;
    int r = wsock__put_frame(ws, 0x80 | opcode, data, size, closing);
    if (r != 0)
        return r > 0 ? WSOCK_OK : r;
    memset(&s, 0, sizeof s);
    buf.data = data;
    buf.size = size;
    s.bufs = &buf;
    s.count = 1;
    s.size = size;
    s.is_close = (uint8_t)closing;
    return wsock__plan_frame(ws, &s, 0x80 | opcode);
}

enum { WSOCK__PONGS_MOST = 1024 };

/* Answer a ping.  While the transport takes what it is given, pongs simply
 * stand in the queue; when 1 KiB of them waits, or nothing moves, only the
 * newest is kept until the next frame boundary (RFC 6455 5.5.3 lets a newer
 * pong stand for older ones), so that a flood of pings takes no memory. */
static int wsock__pong(wsock *ws, const uint8_t *data, size_t size)
{
    wsock__out *out = ws->out;
    int r = WSOCK_WOULD_BLOCK;
    if (!(ws->bits & WSOCK__STUCK) &&
        (!out || out->pongs + size + 2 <= WSOCK__PONGS_MOST))
        r = wsock__enqueue_control(ws, WSOCK_PONG, data, size, 0);
    if (r == WSOCK_OK) {
        ws->out->pongs += size + 2;
        ws->out->pong_size = 0; /* one that waits is older: it stands for it */
    }
    if (r != WSOCK_WOULD_BLOCK && r != WSOCK_TOO_BIG)
        return r;
    out = wsock__out_get(ws);
    if (!out)
        return WSOCK_NO_MEMORY;
    out->pong_size = (uint8_t)(size + 1); /* 0 means none */
    out->single = 0;
    if (size)
        memcpy(out->pong, data, size);
    return WSOCK_OK;
}

/* At a frame boundary: let the pong that waits go first. */
static void wsock__pong_insert(wsock *ws)
{
    wsock__out *out = ws->out;
    size_t size = (size_t)out->pong_size - 1;
    wsock__item *run;
    uint32_t key;
    if (!out->head && (ws->bits & WSOCK__CLOSE_SENT)) {
        out->pong_size = 0; /* nothing after Close: RFC 6455 5.5.1 */
        return;
    }
    if (ws->loop->fixed && ws->loop->runs.count < 2)
        return; /* the last run is for Close; at the next boundary, then */
    run = wsock__new_key(ws, &key) ? NULL : wsock__item_take(ws->loop, 0);
    if (!run)
        return;
    out->pong_size = 0;
    wsock__frame_into(out, run, 0x80 | WSOCK_PONG, ws->role == WSOCK_CLIENT,
                      key, out->pong, size);
    run->capacity = run->size; /* nothing is appended */
    run->next = out->head;
    out->head = run;
    if (!out->tail)
        out->tail = run;
}

/* ------------------------------------------------------------- >>timers --
 * One list for each duration, oldest first; so there is no search, and no
 * work while nothing expires.  A connection has one timer at a time. */

/* One more runs; one less: when the last has stopped, nothing is due. */
static void wsock__timing_more(wsock__loop *l, int64_t due)
{
    l->timing++;
    if (due < l->next_due)
        l->next_due = due;
}

static void wsock__timing_less(wsock__loop *l)
{
    if (--l->timing == 0)
        l->next_due = INT64_MAX;
}

static void wsock__timer_stop(wsock *ws)
{
    wsock__timers *list;
    if (ws->timer == WSOCK__TIMER_NONE)
        return;
    list = &ws->loop->timers[ws->timer];
    if (ws->timer_prev)
        ws->timer_prev->timer_next = ws->timer_next;
    else
        list->first = ws->timer_next;
    if (ws->timer_next)
        ws->timer_next->timer_prev = ws->timer_prev;
    else
        list->last = ws->timer_prev;
    ws->timer = WSOCK__TIMER_NONE;
    wsock__timing_less(ws->loop);
}

static int64_t wsock__now(const wsock__loop *l)
{
    return l->config->system.now(l->config->system.user);
}

/* Let the timer of a connection be this one, due at `due`.  It belongs behind
 * all that are due before: at the end, if all run equally long. */
static void wsock__timer_at(wsock *ws, unsigned timer, int64_t due)
{
    wsock__timers *list = &ws->loop->timers[timer];
    wsock *after;
    wsock__timer_stop(ws);
    for (after = list->last; after && after->timer_due > due;)
        after = after->timer_prev;
    wsock__timing_more(ws->loop, due);
    ws->timer = (uint8_t)timer;
    ws->timer_due = due;
    ws->timer_prev = after;
    ws->timer_next = after ? after->timer_next : list->first;
    if (after)
        after->timer_next = ws;
    else
        list->first = ws;
    if (ws->timer_next)
        ws->timer_next->timer_prev = ws;
    else
        list->last = ws;
}

/* Start it, replacing the one that runs.  Without a transport there are none:
 * the program has the clock then. */
static void wsock__timer_start(wsock *ws, unsigned timer, int duration)
{
    wsock__loop *l = ws->loop;
    wsock__timer_stop(ws);
    if (duration < 0 || !ws->io)
        return;
    l->now = wsock__now(l);
    wsock__timer_at(ws, timer, l->now + duration);
}

/* Does this one run, or is it overdue? */
static inline int wsock__timer_is(const wsock *ws, unsigned timer)
{
    return ws->timer == timer ||
           (ws->timer == WSOCK__TIMER_OVERDUE && ws->overdue == timer);
}

/* The timer of an open connection that nobody has closed: for a peer that
 * takes nothing; one that owes a Pong; or until the next ping.  A response of
 * the program's own is watched in the same way. */
static void wsock__watchdog(wsock *ws)
{
    const wsock_options *o = &ws->config->o;
    if (wsock__timer_is(ws, WSOCK__TIMER_CLOSE) ||
        (ws->phase != WSOCK__PHASE_OPEN &&
         !wsock__timer_is(ws, WSOCK__TIMER_STALL)))
        return;
    if ((ws->bits & WSOCK__STUCK) || ws->phase != WSOCK__PHASE_OPEN)
        wsock__timer_start(ws, WSOCK__TIMER_STALL, o->stall_timeout);
    else if ((ws->bits & WSOCK__AWAITS_PONG) && o->pong_timeout >= 0)
        wsock__timer_start(ws, WSOCK__TIMER_PONG, o->pong_timeout);
    else
        wsock__timer_start(ws, WSOCK__TIMER_KEEPALIVE,
                           o->keepalive_interval);
}

/* ------------------------------------------------------------ >>output --
 * The queue towards the wire. */

/* Lent payload that is to be masked is masked into the stage, 16 KiB at a
 * time; as that can be repeated, no state is kept of it. */
static void wsock__stage(const wsock__loop *l, const wsock__item *item,
                         wsock_buf *buf)
{
    if (buf->size > l->stage_size)
        buf->size = l->stage_size;
    wsock__mask(l->stage, (const uint8_t *)buf->data, buf->size,
                wsock__mask_rotate(item->key, item->taken));
    buf->data = l->stage;
}

/* Fill `bufs` with what comes next, *size bytes. */
static size_t wsock__gather(wsock *ws, wsock_buf *bufs, size_t count,
                            size_t *size)
{
    const wsock__item *item;
    size_t n = 0;
    *size = 0;
    for (item = ws->out->head; item && n < count; item = item->next) {
        bufs[n].data = item->data + item->taken;
        bufs[n].size = item->size - item->taken;
        if (bufs[n].size == 0)
            continue;
        if (item->masked)
            wsock__stage(ws->loop, item, &bufs[n]);
        *size += bufs[n++].size;
        if (item->masked)
            break; /* there is one stage */
    }
    return n;
}

/* The first item is done. */
static inline void wsock__pop(wsock *ws)
{
    wsock__out *out = ws->out;
    wsock__item *item = out->head;
    out->head = item->next;
    if (!out->head)
        out->tail = NULL;
    if (!item->report) {
        wsock__item_give(ws->loop, item);
        return;
    }
    item->next = NULL;
    if (out->sent_tail)
        out->sent_tail->next = item;
    else
        out->sent = item;
    out->sent_tail = item;
    wsock__pend(ws, WSOCK__PENDING_SENT);
}

/* Reading goes on: what was put aside is looked at, and a transport of the
 * program's is asked again, as it may hold bytes that its descriptor does
 * not show. */
static void wsock__resume(wsock *ws)
{
    wsock__list_work(ws, WSOCK__WORK_LOOK |
                             (ws->transport ? (unsigned)WSOCK__WORK_READ
                                            : 0U));
}

/* The queue got shorter: the program may send again, and what was held back
 * may be read (see "Backpressure"). */
static void wsock__drained(wsock *ws)
{
    if (ws->out->queued > ws->config->o.send_limit / 2)
        return;
    if (ws->bits & WSOCK__NEEDS_DRAIN)
        wsock__pend(ws, WSOCK__PENDING_DRAIN);
    if (ws->bits & WSOCK__HELD)
        wsock__resume(ws);
    ws->bits &= ~(uint32_t)(WSOCK__NEEDS_DRAIN | WSOCK__HELD);
}

/* `size` bytes are on the wire. */
static void wsock__taken(wsock *ws, size_t size)
{
    wsock__out *out = ws->out;
    out->queued -= size;
    out->single = 0;
    while (out->head) {
        size_t left = out->head->size - out->head->taken;
        if (size < left) {
            out->head->taken += size;
            break;
        }
        size -= left;
        wsock__pop(ws);
    }
    if (!out->head)
        out->pongs = 0;
    if (out->pong_size && (!out->head || (out->head->frame_start &&
                                          out->head->taken == 0)))
        wsock__pong_insert(ws);
    if (ws->bits & (WSOCK__NEEDS_DRAIN | WSOCK__HELD))
        wsock__drained(ws);
    wsock__out_settle(ws);
}

/* Drop the queue; borrowed sends come back with `code`. */
static void wsock__drop_output(wsock *ws, int code)
{
    wsock__out *out = ws->out;
    ws->bits &= ~(uint32_t)(WSOCK__HELD | WSOCK__NEEDS_DRAIN | WSOCK__STUCK);
    if (!out)
        return;
    if (out->head) {
        out->sent_code = code;
        ws->loop->drops++;
    }
    out->queued = out->offered = 0;
    out->pong_size = out->single = 0;
    while (out->head) {
        out->head->dropped = 1;
        wsock__pop(ws);
    }
    wsock__out_settle(ws);
}

static void wsock__wake_all(wsock__loop *l, const wsock_io *io, void *user);

/* A send has ended the connection: a thread that receives is to see it. */
static void wsock__wake_receiver(wsock *ws)
{
    if (ws->loop->receiving && ws->loop->waiting)
        wsock__wake_all(ws->loop, ws->io, ws->io_user);
}

/* Writing failed.  What the peer sent before, perhaps its Close, can still
 * be read: the connection ends when reading does. */
static void wsock__write_failed(wsock *ws)
{
    wsock__note_io(ws, WSOCK_CONNECTION_LOST, WSOCK_OPERATION_SEND,
                   "sending failed");
    ws->bits |= WSOCK__WRITE_DEAD;
    wsock__drop_output(ws, ws->error);
    wsock__list_work(ws, WSOCK__WORK_READ);
    wsock__wake_receiver(ws);
}

enum { WSOCK__GATHER = 64 }; /* pieces in one write */

/* A write did not take everything.  1: go on, 0: not now. */
static int wsock__short_write(wsock *ws, ptrdiff_t n, size_t offered)
{
    if (n == WSOCK_WANT_READ || n == WSOCK_WANT_WRITE || n == 0) {
        ws->bits |= WSOCK__STUCK;
        if (n == WSOCK_WANT_READ)
            ws->bits |= WSOCK__WRITE_WANTS_READ;
        if (!wsock__timer_is(ws, WSOCK__TIMER_STALL))
            wsock__watchdog(ws);
        return 0;
    }
    if (n < 0 || (size_t)n > offered) {
        wsock__write_failed(ws);
        return 1;
    }
    wsock__taken(ws, (size_t)n);
    ws->bits |= WSOCK__STUCK; /* a socket that takes less is full */
    wsock__watchdog(ws); /* but some was taken: it is not stalled */
    if (ws->transport == WSOCK__SOCKET)
        return 0;
    ws->bits &= ~(uint32_t)WSOCK__STUCK;
    return 1;
}

/* Write a queue that is a single run.  1: all is out, else it is as before. */
WSOCK__INLINE int wsock__flush_single(wsock__loop *l, wsock *ws,
                                      wsock__out *out, ptrdiff_t *n)
{
    wsock_buf buf;
    buf.data = out + 1;
    buf.size = out->first.size;
    *n = ws->io->write(ws->io_user, &buf, 1);
    if (WSOCK__UNLIKELY(*n != (ptrdiff_t)buf.size))
        return 0;
    out->head = out->tail = NULL;
    out->queued = out->pongs = out->first.size = 0;
    out->single = 0;
    ws->out = NULL;
    wsock__pool_give(l, &l->outs, out);
    return 1;
}

/* The queue has left: nobody is stalled.  Without a stall_timeout no timer
 * has run meanwhile, so the others are to begin again. */
static inline void wsock__unstall(wsock *ws)
{
    if (wsock__timer_is(ws, WSOCK__TIMER_STALL) ||
        (ws->timer == WSOCK__TIMER_NONE &&
         !(ws->bits & (WSOCK__CLOSE_SENT | WSOCK__WRITE_DEAD))))
        wsock__watchdog(ws);
}

/* Offer the queue to the transport until it is empty or not now.  Returns 1
 * when there is nothing left to write. */
static int wsock__flush(wsock *ws)
{
    wsock_buf bufs[WSOCK__GATHER];
    ptrdiff_t written;
    if (ws->out && ws->out->single &&
        !(ws->bits & WSOCK__NOT_FLUENT)) {
        size_t size = ws->out->queued;
        if (wsock__flush_single(ws->loop, ws, ws->out, &written)) {
            wsock__unstall(ws);
            return 1;
        }
        if (!wsock__short_write(ws, written, size))
            return 0;
    }
    while (ws->out && ws->out->queued && !(ws->bits & WSOCK__WRITE_DEAD)) {
        size_t offered, count = wsock__gather(ws, bufs, WSOCK__GATHER,
                                              &offered);
        ptrdiff_t n = ws->io->write(ws->io_user, bufs, count);
        ws->bits &= ~(uint32_t)(WSOCK__STUCK | WSOCK__WRITE_WANTS_READ);
        if (WSOCK__LIKELY(n == (ptrdiff_t)offered))
            wsock__taken(ws, offered);
        else if (!wsock__short_write(ws, n, offered))
            return 0;
    }
    wsock__unstall(ws);
    return 1;
}

static void wsock__done(wsock *ws);

/* References into the window or a message are about to become invalid: copy
 * what the transport has not taken. */
static void wsock__keep_references(wsock *ws)
{
    wsock__item *item;
    for (item = ws->out->head; item; item = item->next) {
        size_t size = item->size - item->taken;
        if (!item->in_window)
            continue;
        item->in_window = 0;
        item->owned = wsock__alloc(ws->loop->config, size ? size : 1);
        if (!item->owned) {
            wsock__note(ws, WSOCK_NO_MEMORY, WSOCK_OPERATION_SEND,
                        "no memory for %lu bytes that the peer does not "
                        "take", (unsigned long)size);
            wsock__done(ws); /* a part of its stream is lost */
            return;
        }
        item->owned_size = size ? size : 1;
        memcpy(item->owned, item->data + item->taken, size);
        item->data = (const uint8_t *)item->owned;
        item->size = item->capacity = size;
        item->key = wsock__mask_rotate(item->key, item->taken);
        item->taken = 0;
    }
}

/* -------------------------------------------------------------- >>close --
 * RFC 6455 7.  A connection ends in three steps: the Close frames (OPEN),
 * then whatever is still to be written, the shutting of the write side and
 * the discarding of what arrives (LINGER), then nothing (DONE). */

/* Forget the bytes that were not read. */
static void wsock__drop_input(wsock *ws)
{
    wsock__loop *l = ws->loop;
    if (l->current == ws || !l->shared)
        l->pos = l->end = l->more = l->more_end = NULL;
    if (ws->in)
        ws->in->tail_size = 0;
}

static void wsock__unwatch(wsock *ws);

static void wsock__io_close(wsock *ws);
static void wsock__listener_check(wsock__loop *l);

/* It has ended, and there is nothing more to report: one less for its loop. */
static void wsock__not_live(wsock *ws)
{
    if (ws->bits & WSOCK__LIVE)
        ws->loop->live--;
    ws->bits &= ~(uint32_t)WSOCK__LIVE;
}

/* It has shaken hands, or will not: one handshake less for its server. */
static void wsock__handshake_over(wsock *ws)
{
    if (ws->bits & WSOCK__UNFINISHED)
        ws->loop->handshakes--;
    ws->bits &= ~(uint32_t)WSOCK__UNFINISHED;
}

/* The transport is gone, or was never there: only reports follow. */
static void wsock__done(wsock *ws)
{
    if (ws->phase == WSOCK__PHASE_DONE)
        return;
    ws->phase = WSOCK__PHASE_DONE;
    ws->bits |= WSOCK__NOT_OPEN;
    wsock__handshake_over(ws);
    wsock__timer_stop(ws);
    wsock__drop_input(ws);
    if (ws->io) {
        wsock__drop_output(ws, wsock__ended(ws));
        wsock__io_close(ws);
    }
    if ((ws->bits & WSOCK__SERVER_OWNED) && !(ws->bits & WSOCK__OPENED)) {
        wsock__not_live(ws);
        wsock__listener_check(ws->loop);
        wsock__list_work(ws, WSOCK__WORK_LOOK); /* to be freed, unreported */
    } else {
        wsock__pend(ws, WSOCK__PENDING_CLOSE);
    }
}

/* All frames are said: what is queued leaves, then the transport ends. */
static void wsock__end(wsock *ws)
{
    if (ws->phase >= WSOCK__PHASE_LINGER)
        return;
    wsock__drop_input(ws);
    if (ws->phase == WSOCK__PHASE_OPEN && ws->in)
        ws->bits |= WSOCK__PENDING_RELEASE; /* what an event, or the head, has
                                             * lent out may stand there */
    if (!ws->io) {
        wsock__done(ws);
        return;
    }
    ws->phase = WSOCK__PHASE_LINGER;
    ws->bits |= WSOCK__NOT_OPEN;
    wsock__handshake_over(ws);
    if (ws->timer == WSOCK__TIMER_OVERDUE) /* its Close came just in time */
        wsock__timer_start(ws, WSOCK__TIMER_CLOSE, WSOCK__LINGER_TIME);
    else if (ws->timer != WSOCK__TIMER_CLOSE) /* else that goes on */
        wsock__timer_start(ws, WSOCK__TIMER_CLOSE,
                           ws->config->o.close_timeout);
    wsock__list_work(ws, WSOCK__WORK_LOOK | WSOCK__WORK_READ);
}

/* Queue our one Close frame (RFC 6455 5.5.1, 7.1.2).  code 0: no code. */
static int wsock__queue_close(wsock *ws, int code, const char *reason,
                              size_t size)
{
    uint8_t payload[WSOCK__CONTROL_MOST];
    int r;
    payload[0] = (uint8_t)(code >> 8);
    payload[1] = (uint8_t)code;
    memcpy(payload + 2, reason, size);
    if (ws->out && ws->out->pong_size && /* nothing may follow Close */
        wsock__enqueue_control(ws, WSOCK_PONG, ws->out->pong,
                               ws->out->pong_size - 1U, 1) == WSOCK_OK)
        ws->out->pong_size = 0;
    r = wsock__enqueue_control(ws, WSOCK_CLOSE, payload, code ? size + 2 : 0,
                               1);
    if (r != WSOCK_OK)
        return r;
    ws->bits |= WSOCK__CLOSE_SENT;
    ws->close_sent = (uint16_t)(code ? code : WSOCK_CLOSE_NO_STATUS);
    wsock__rare_get(ws); /* where wsock_why() tells the codes */
    return WSOCK_OK;
}

/* _Fail the WebSocket Connection_ (RFC 6455 7.1.7), whose account is written:
 * tell the peer the close code, then end. */
static void wsock__end_failed(wsock *ws, int close_code)
{
    const char *text = ws->rare ? ws->rare->why.text : "";
    size_t size = strlen(text);
    if (size > WSOCK__CONTROL_MOST - 2)
        size = WSOCK__CONTROL_MOST - 2;
    if (ws->phase == WSOCK__PHASE_OPEN &&
        !(ws->bits & (WSOCK__CLOSE_SENT | WSOCK__WRITE_DEAD)))
        wsock__queue_close(ws, close_code, text, size);
    wsock__end(ws);
}

/* What came cannot be taken.  Returns `code`. */
WSOCK__FORMAT(4, 5)
static int wsock__fail(wsock *ws, int code, int close_code,
                       const char *format, ...)
{
    va_list args;
    va_start(args, format);
    wsock__note_v(ws, code, WSOCK_OPERATION_RECEIVE, format, args);
    va_end(args);
    wsock__end_failed(ws, close_code);
    return code;
}

/* The peer's Close (RFC 6455 5.5.1, 7.1.5, 7.1.6).  Returns 1, or the
 * failure. */
static int wsock__close_in(wsock *ws, const uint8_t *p, size_t n)
{
    int code = n >= 2 ? p[0] << 8 | p[1] : WSOCK_CLOSE_NO_STATUS;
    int answered = WSOCK_OK;
    uint32_t state = 0;
    wsock__rare *r;
    if (n == 1)
        return wsock__fail(ws, WSOCK_PROTOCOL_ERROR, 1002,
                           "the peer's Close has half a code");
    if (n >= 2 && !wsock__close_code_valid(code)) /* RFC 6455 7.4 */
        return wsock__fail(ws, WSOCK_PROTOCOL_ERROR, 1002,
                           "the peer's Close has the code %d, which must not "
                           "be sent", code);
    if (n > 2 && (!wsock__utf8(&state, p + 2, n - 2) || state))
        return wsock__fail(ws, WSOCK_INVALID_UTF8, 1007,
                           "the peer's close reason is not UTF-8");
    if (n > 2 && (r = wsock__rare_get(ws)) != NULL) {
        memcpy(r->reason, p + 2, n - 2);
        r->reason[n - 2] = 0;
        r->reason_size = (uint8_t)(n - 2);
    }
    ws->bits |= WSOCK__CLOSE_RECEIVED;
    ws->close_received = (uint16_t)code;
    if (ws->bits & WSOCK__WRITE_DEAD) {
        ws->error = 0; /* the peer said why, so this is how it ended */
        if (ws->rare)
            wsock__account_clear(&ws->rare->why, ws->rare->reason);
    }
    /* Answer with the same code (RFC 6455 5.5.1), unless Close was sent. */
    if (!(ws->bits & (WSOCK__CLOSE_SENT | WSOCK__WRITE_DEAD)))
        answered = wsock__queue_close(ws, n ? code : 0, "", 0);
    if (answered != WSOCK_OK)
        wsock__note(ws, answered, WSOCK_OPERATION_CLOSE,
                    "the peer's Close cannot be answered: %s",
                    wsock_result_text(answered));
    wsock__end(ws);
    return 1;
}

/* The end of the peer's stream, in whatever phase. */
static void wsock__end_of_stream(wsock *ws)
{
    ws->bits |= WSOCK__END_OF_STREAM;
    if (ws->phase == WSOCK__PHASE_LINGER) {
        wsock__list_work(ws, WSOCK__WORK_LOOK);
        return;
    }
    if (ws->phase == WSOCK__PHASE_DONE)
        return;
    wsock__note(ws, WSOCK_CONNECTION_LOST, WSOCK_OPERATION_RECEIVE,
                ws->phase < WSOCK__PHASE_OPEN
                    ? "the peer ended the connection during the handshake"
                : ws->in && ws->in->in_message
                    ? "the peer ended the connection inside a message"
                    : "the peer ended the connection without a Close frame");
    wsock__done(ws);
}

/* -------------------------------------------------------------- >>input --
 * Bytes from the wire.  They are read where they lie, whether in a loop's
 * window or in fed memory; only the unfinished head of a frame or of HTTP is
 * put aside, in the connection's `tail`, and completed there by exactly the
 * bytes that it lacks. */

static wsock__in *wsock__in_get(wsock *ws)
{
    wsock__in *in = ws->in;
    if (in)
        return in;
    in = (wsock__in *)wsock__pool_take(ws->loop, &ws->loop->ins);
    if (!in)
        return NULL;
    memset(in, 0, offsetof(wsock__in, brief));
    in->tail = in->brief;
    in->tail_capacity = sizeof in->brief;
    ws->in = in;
    return in;
}

/* The segment at the cursor is never empty while another follows it. */
static inline int wsock__has_input(const wsock *ws)
{
    const wsock__loop *l = ws->loop;
    return l->pos < l->end && (l->current == ws || !l->shared);
}

/* Go on with the segment behind the cursor's. */
static inline void wsock__next_segment(wsock__loop *l)
{
    l->pos = l->more;
    l->end = l->more_end;
    l->more = l->more_end = NULL;
}

/* `size` bytes at the cursor were read. */
static inline void wsock__advance(wsock__loop *l, size_t size)
{
    l->pos += size;
    if (l->pos == l->end && WSOCK__UNLIKELY(l->more != NULL))
        wsock__next_segment(l);
}

/* Aim the cursor at bytes that came; what was put aside goes before them. */
static inline void wsock__input(wsock *ws, uint8_t *bytes, size_t size)
{
    wsock__loop *l = ws->loop;
    l->current = ws;
    l->pos = bytes;
    l->end = size ? bytes + size : bytes;
    l->more = l->more_end = NULL;
    if (WSOCK__UNLIKELY(ws->in && ws->in->tail_size)) {
        l->more = bytes;
        l->more_end = size ? bytes + size : bytes;
        l->pos = ws->in->tail;
        l->end = l->pos + ws->in->tail_size;
        ws->in->tail_size = 0;
    }
}

/* Put the tail into other memory; what was larger than its own goes back. */
static void wsock__tail_move(wsock__loop *l, wsock__in *in, uint8_t *to,
                             size_t capacity)
{
    if (in->tail != in->brief)
        wsock__buffer_give(l, in->tail, in->tail_capacity);
    in->tail = to;
    in->tail_capacity = capacity;
}

/* Room for `size` bytes in the tail, the first `keep` of which stand at
 * l->pos now.  0: no memory. */
static int wsock__tail_room(wsock *ws, size_t keep, size_t size)
{
    wsock__loop *l = ws->loop;
    wsock__in *in = wsock__in_get(ws);
    uint8_t *p;
    size_t got;
    if (!in)
        return 0;
    if (size <= sizeof in->brief && in->tail != in->brief) {
        if (keep) /* little is left: the buffer is for larger things */
            memcpy(in->brief, l->pos, keep);
        wsock__tail_move(l, in, in->brief, sizeof in->brief);
        return 1;
    }
    if (size <= in->tail_capacity) {
        if (keep)
            memmove(in->tail, l->pos, keep);
        return 1;
    }
    p = wsock__buffer_take(l, size, &got);
    if (!p)
        return 0;
    if (keep)
        memcpy(p, l->pos, keep);
    wsock__tail_move(l, in, p, got);
    return 1;
}

/* Put everything unread aside. */
static int wsock__stash(wsock *ws)
{
    wsock__loop *l = ws->loop;
    size_t have = (size_t)(l->end - l->pos);
    size_t rest = (size_t)(l->more_end - l->more);
    if (have + rest == 0)
        return 1;
    if (!wsock__tail_room(ws, have, have + rest))
        return 0;
    if (rest)
        memcpy(ws->in->tail + have, l->more, rest);
    ws->in->tail_size = have + rest;
    l->pos = l->end = l->more = l->more_end = NULL;
    return 1;
}

/* See that `need` bytes lie together at the cursor.  1: they do; 0: they
 * have not come, and what has is put aside; or WSOCK_NO_MEMORY. */
static int wsock__need(wsock *ws, size_t need)
{
    wsock__loop *l = ws->loop;
    size_t have, rest, take;
    have = (size_t)(l->end - l->pos);
    rest = (size_t)(l->more_end - l->more);
    if (have >= need)
        return 1;
    if (have + rest < need)
        return wsock__stash(ws) ? 0 : WSOCK_NO_MEMORY;
    take = need - have;
    if (!wsock__tail_room(ws, have, need))
        return WSOCK_NO_MEMORY;
    memcpy(ws->in->tail + have, l->more, take);
    l->pos = ws->in->tail;
    l->end = l->pos + need;
    l->more += take;
    return 1;
}

/* Free what the receive state no longer needs. */
static void wsock__in_settle(wsock *ws)
{
    wsock__loop *l = ws->loop;
    wsock__in *in = ws->in;
    if (!in || in->tail_size ||
        (l->pos >= in->tail && l->pos < in->tail + in->tail_capacity &&
         l->pos < l->end))
        return;
    wsock__tail_move(l, in, in->brief, sizeof in->brief);
    if (in->in_frame || in->in_message || in->message)
        return;
    ws->in = NULL;
    wsock__pool_give(l, &l->ins, in);
}

/* The message is about to be given up, but the queue refers to it still: the
 * last item that does becomes its owner. */
static void wsock__message_hand_over(wsock *ws)
{
    wsock__in *in = ws->in;
    wsock__item *item, *last = NULL;
    for (item = ws->out->head; item; item = item->next)
        if (item->in_window && item->data >= in->message &&
            item->data < in->message + in->capacity) {
            item->in_window = 0;
            last = item;
        }
    if (!last)
        return;
    last->owned = in->message;
    last->owned_size = in->capacity;
    in->message = NULL;
}

static void wsock__message_give(wsock *ws)
{
    wsock__in *in = ws->in;
    wsock__buffer_give(ws->loop, in->message, in->capacity);
    in->message = NULL;
    in->size = in->capacity = in->read = 0;
    in->delivered = 0;
}

/* Free all receive state. */
static void wsock__in_free(wsock *ws)
{
    wsock__in *in = ws->in;
    if (!in)
        return;
    wsock__message_give(ws);
    wsock__tail_move(ws->loop, in, in->brief, sizeof in->brief);
    ws->in = NULL;
    wsock__pool_give(ws->loop, &ws->loop->ins, in);
}

/* ---------------------------------------------------------- >>handshake --
 * RFC 6455 4.1 (client) and 4.2 (server). */

/* The connection is established: _the WebSocket Connection is Open_. */
static void wsock__opened(wsock *ws)
{
    ws->phase = WSOCK__PHASE_OPEN;
    ws->bits &= ~(uint32_t)WSOCK__NOT_OPEN;
    ws->bits |= WSOCK__OPENED;
    wsock__handshake_over(ws);
    wsock__watchdog(ws);
    wsock__pend(ws, WSOCK__PENDING_OPEN);
}

/* What a head of ours is made of, beside what the connection knows. */
typedef struct wsock__head_parts {
    const char *const *headers;
    int status;       /* of a response by the program; 0: it is none */
    size_t body_size; /* which it announces */
} wsock__head_parts;

static void wsock__compose_answer(const wsock *ws, wsock__text *t,
                                  const wsock__head_parts *parts);

static void wsock__compose(const wsock *ws, wsock__text *t,
                           const wsock__head_parts *parts)
{
    const wsock__config *c = ws->config;
    if (ws->role == WSOCK_SERVER)
        wsock__compose_answer(ws, t, parts);
    else
        wsock__compose_request(t, &c->o, c->target, c->host_header,
                               ws->rare->key);
}

/* Put a head at the end of the queue, as one block. */
static int wsock__put_head(wsock *ws, const wsock__head_parts *parts)
{
    wsock__text t = {NULL, 0, 0};
    wsock__item *block;
    wsock__compose(ws, &t, parts); /* to measure it */
    block = wsock__queue_block(ws, t.size);
    if (!block)
        return ws->loop->fixed ? WSOCK_TOO_BIG : WSOCK_NO_MEMORY;
    t.at = (char *)wsock__block_bytes(block);
    t.capacity = t.size;
    t.size = 0;
    wsock__compose(ws, &t, parts);
    block->is_head = 1;
    return WSOCK_OK;
}

/* The same for the heads without which nothing goes on. */
static int wsock__queue_head(wsock *ws)
{
    int r = wsock__put_head(ws, NULL);
    if (r == WSOCK_OK)
        return WSOCK_OK;
    wsock__note(ws, WSOCK_NO_MEMORY, WSOCK_OPERATION_CONNECT,
                "no memory for the handshake");
    wsock__done(ws);
    return WSOCK_NO_MEMORY;
}

static void wsock__threads_close(wsock__loop *l);

static void wsock__handshake_timer(wsock *ws)
{
    wsock__timer_start(ws,
                       ws->role == WSOCK_SERVER ? WSOCK__TIMER_HANDSHAKE
                                                : WSOCK__TIMER_CONNECT,
                       ws->config->o.handshake_timeout);
}

/* The transport is open, or the program takes the first step without one:
 * a client says its head, a server waits for one. */
static void wsock__begin(wsock *ws)
{
    uint8_t nonce[16];
    wsock__rare *r;
    int secured = ws->phase == WSOCK__PHASE_SECURING;
    if (ws->phase > WSOCK__PHASE_SECURING)
        return;
    if (!ws->io && ws->loop->threaded) { /* one without I/O has one thread */
        wsock__threads_close(ws->loop);
        ws->loop->threaded = 0;
    }
    ws->phase = WSOCK__PHASE_HANDSHAKE;
    if (!secured) /* else it has begun with TLS */
        wsock__handshake_timer(ws);
    if (ws->role == WSOCK_SERVER)
        return;
    r = wsock__rare_get(ws);
    if (!r || wsock__random(ws->loop, nonce, sizeof nonce) != 0) {
        wsock__note(ws, r ? WSOCK_RANDOM_FAILED : WSOCK_NO_MEMORY,
                    WSOCK_OPERATION_CONNECT, "%s",
                    r ? "the system's random source failed"
                      : "memory is out");
        wsock__done(ws);
        return;
    }
    wsock__base64(r->key, nonce, sizeof nonce); /* RFC 6455 4.1 item 7 */
    wsock__queue_head(ws);
}

/* ---- the server's side */

/* Are requests the program's to answer? */
static int wsock__asks(const wsock *ws)
{
    return (ws->config->o.flags & WSOCK_REQUESTS) != 0;
}

static void wsock__compose_answer(const wsock *ws, wsock__text *t,
                                  const wsock__head_parts *parts)
{
    const wsock_options *o = &ws->config->o;
    const wsock__rare *r = ws->rare;
    char accept[29];
    if (parts && parts->status) {
        wsock__compose_response(t, o, parts->status, parts->headers,
                                parts->body_size);
        return;
    }
    if (r->why.failure.http_status) {
        wsock__compose_refusal(t, r->why.failure.http_status,
                               !(ws->bits & WSOCK__NO_BODY), wsock__asks(ws),
                               r->why.text);
        return;
    }
    if (t->at)
        wsock__accept_value(accept, r->key);
    else /* it is only measured */
        snprintf(accept, sizeof accept, "%028d", 0);
    wsock__compose_accept(t, o, accept, wsock_subprotocol(ws),
                          ws->extensions, parts ? parts->headers : NULL);
}

/* Refuse a request: answer with `status` and one line, then end. */
WSOCK__FORMAT(3, 4)
static int wsock__refuse(wsock *ws, int status, const char *format, ...)
{
    wsock__rare *r = wsock__rare_get(ws);
    va_list args;
    va_start(args, format);
    wsock__note_v(ws, WSOCK_REFUSED, WSOCK_OPERATION_CONNECT, format, args);
    va_end(args);
    if (r) {
        r->why.failure.http_status = status;
        if (wsock__queue_head(ws) != WSOCK_OK)
            return WSOCK_REFUSED;
    }
    wsock__end(ws);
    return WSOCK_REFUSED;
}

/* A path with its query, or an absolute http URI (RFC 6455 4.2.1 item 1). */
static int wsock__is_target(const char *s, size_t n)
{
    size_t i, host = 0;
    for (i = 0; i < n; i++)
        if ((unsigned char)s[i] <= ' ' || s[i] == '#')
            return 0; /* no control character has come so far */
    if (n && *s == '/')
        return 1;
    i = wsock__same(s, n < 7 ? n : 7, "http://")    ? 7
        : wsock__same(s, n < 8 ? n : 8, "https://") ? 8
                                                    : n;
    if (i < n)
        wsock__skip_host(s + i, s + n, &host);
    return i < n && host > 0;
}

/* The request line: method, target, version (RFC 6455 4.2.1 item 1). */
static int wsock__check_request_line(wsock *ws, const char *line)
{
    const char *target = strchr(line, ' ');
    const char *version = target ? strchr(target + 1, ' ') : NULL;
    size_t method = target ? (size_t)(target - line) : 0;
    if (!version || !wsock__is_token(line, method) ||
        strncmp(version + 1, "HTTP/", 5) != 0 || strchr(version + 1, ' '))
        return wsock__refuse(ws, 400, "malformed request line");
    if (wsock__same(line, method, "HEAD"))
        ws->bits |= WSOCK__NO_BODY; /* RFC 7231 4.3.2 */
    if (strncmp(version + 1, "HTTP/1.", 7) != 0)
        return wsock__refuse(ws, 505, "HTTP/1.1 is spoken here");
    if ((method != 3 || memcmp(line, "GET", 3) != 0) &&
        (method != 4 || memcmp(line, "HEAD", 4) != 0 || !wsock__asks(ws)))
        return wsock__refuse(ws, 405, "this method is not served");
    if (!wsock__is_target(target + 1, (size_t)(version - target) - 1))
        return wsock__refuse(ws, 400, "malformed request target");
    return WSOCK_OK;
}

static int wsock__origin_allowed(const wsock_options *o, wsock__slice origin)
{
    const char *const *list = o->origins;
    for (; list && *list; list++)
        if (wsock__same(origin.at, origin.size, *list))
            return 1;
    return list == NULL;
}

/* No upgrade is asked for; or by HTTP/1.0, whose Upgrade is to be ignored
 * (RFC 9110 7.8); or to another protocol, which a web server may ignore. */
static int wsock__is_plain_http(const wsock *ws, const char *line,
                                const wsock__facts *f)
{
    if (strrchr(line, ' ')[8] == '0' || *line == 'H')
        return 1;
    if (wsock__asks(ws) && !f->upgrade)
        return !(f->seen & WSOCK__SAW_KEY);
    return !(f->seen & (WSOCK__SAW_UPGRADE | WSOCK__SAW_KEY));
}

/* What 4.2.1 asks for of an upgrade, and what 4.2.2 answers. */
static int wsock__judge_upgrade(wsock *ws, const wsock__facts *f)
{
    const wsock_options *o = &ws->config->o;
    if (!f->upgrade) /* item 3 */
        return wsock__refuse(ws, 400, "no \"Upgrade: websocket\" header");
    if (!f->connection) /* item 4 */
        return wsock__refuse(ws, 400, "no \"Connection: Upgrade\" header");
    if (f->version.size != 2 || memcmp(f->version.at, "13", 2) != 0)
        return wsock__refuse(ws, 426, "Sec-WebSocket-Version is 13");
    if (!wsock__is_key(f->key.at ? f->key.at : "", f->key.size)) /* item 5 */
        return wsock__refuse(ws, 400, "no valid Sec-WebSocket-Key header");
    if (f->bad_subprotocol)
        return wsock__refuse(ws, 400, "malformed Sec-WebSocket-Protocol");
    if (f->bad_extension) /* RFC 6455 9.1 */
        return wsock__refuse(ws, 400, "malformed Sec-WebSocket-Extensions");
    if (f->seen & WSOCK__SAW_ORIGIN && !wsock__origin_allowed(o, f->origin))
        return wsock__refuse(ws, 403, "this Origin is not allowed; "
                                      "see options.origins");
    return WSOCK_OK;
}

/* Everything that is asked of any request. */
static int wsock__judge_request(wsock *ws, const char *line,
                                const wsock__facts *f)
{
    const char *version = strrchr(line, ' ') + 1;
    int minor = wsock__http_minor(version);
    unsigned once = WSOCK__SAW_HOST | WSOCK__SAW_KEY | WSOCK__SAW_VERSION |
                    WSOCK__SAW_ORIGIN | WSOCK__SAW_LENGTH;
    if (minor < 0 || version[8])
        return wsock__refuse(ws, 400, "malformed HTTP version");
    if (f->twice & once)
        return wsock__refuse(ws, 400, "a header that must not be repeated");
    if (f->bad_host || (!(f->seen & WSOCK__SAW_HOST) && minor > 0))
        return wsock__refuse(ws, 400, "no valid Host header"); /* 9112 3.2 */
    if (f->seen & WSOCK__SAW_ENCODING || f->length != 0)
        return wsock__refuse(ws, 400, "a request with a body");
    return WSOCK_OK;
}

/* Memory that lives until free, or until what it is for is over, for `size`
 * bytes; with options.memory, where the head stands, if it does not stand in
 * fed bytes.  NULL: there is none. */
static uint8_t *wsock__kept_take(wsock *ws, size_t size)
{
    wsock__loop *l = ws->loop;
    wsock__rare *r = ws->rare;
    if (l->fixed && l->message_used) {
        r->kept = l->message;
        r->kept_capacity = l->message_size;
        if (ws->in) {
            ws->in->tail = ws->in->brief;
            ws->in->tail_capacity = sizeof ws->in->brief;
        }
    } else {
        r->kept = wsock__buffer_take(l, l->fixed ? l->message_size : size,
                                     &r->kept_capacity);
    }
    return r->kept && r->kept_capacity >= size ? r->kept : NULL;
}

/* The header of a packed head, NULL: it is not there. */
static const char *wsock__find_header(const char *head, size_t size,
                                      const char *name)
{
    const char *p = head + strlen(head) + 1, *end = head + size;
    while (p < end) {
        const char *value = p + strlen(p) + 1;
        if (wsock__same(p, strlen(p), name))
            return value;
        p = value + strlen(value) + 1;
    }
    return NULL;
}

/* Copy a string behind the last one. */
static const char *wsock__cut(char **at, const char *s, size_t n)
{
    char *to = *at;
    memcpy(to, s, n);
    to[n] = 0;
    *at = to + n + 1;
    return to;
}

/* The target and its parts: all of a path, and a query behind '?'. */
static void wsock__request_target(wsock_request *q, const char *line,
                                  char **at)
{
    const char *target = strchr(line, ' ') + 1, *path = target, *mark;
    size_t n = (size_t)(strchr(target, ' ') - target);
    const char *end = target + n;
    q->target = wsock__cut(at, target, n);
    if (*path != '/') { /* a whole URI: skip scheme and host */
        path = strchr(path, ':') + 3;
        while (path < end && *path != '/' && *path != '?')
            path++;
    }
    mark = (const char *)memchr(path, '?', (size_t)(end - path));
    n = (size_t)((mark ? mark : end) - path);
    q->path = n ? wsock__cut(at, path, n) : wsock__cut(at, "/", 1);
    if (mark)
        q->query = wsock__cut(at, mark + 1, (size_t)(end - mark) - 1);
}

/* The subprotocols that are offered, from all headers that offer some. */
static void wsock__request_offers(wsock__request *q, const char *head,
                                  size_t size, char **at)
{
    const char *p = head + strlen(head) + 1, *end = head + size;
    size_t n, count = 0;
    while (p < end) {
        const char *value = p + strlen(p) + 1, *list = value, *item;
        const char *stop = value + strlen(value);
        if (wsock__same(p, strlen(p), "Sec-WebSocket-Protocol"))
            while (count < WSOCK__OFFERS_MOST &&
                   wsock__list_next(&list, stop, &item, &n))
                q->offers[count++] = wsock__cut(at, item, n);
        p = stop + 1;
    }
    q->r.subprotocols = q->offers;
}

/* Hand a good request to the program, which may answer it later: all of it
 * moves to memory that lives until then. */
static int wsock__ask(wsock *ws, const char *head, size_t size, int upgrade)
{
    wsock__rare *r = ws->rare;
    wsock__request *q = (wsock__request *)(void *)wsock__kept_take(
        ws, wsock__request_room(size));
    char *at;
    if (!q)
        return wsock__refuse(ws, 503, "no memory for the request");
    at = (char *)(q + 1);
    memmove(at, head, size);
    r->kept_size = wsock__request_room(size);
    r->head = at;
    r->head_size = size;
    at += size;
    memset(q, 0, sizeof *q);
    q->r.upgrade = upgrade;
    q->r.method = *r->head == 'H' ? "HEAD" : "GET";
    q->r.host = wsock__find_header(r->head, size, "Host");
    q->r.origin = wsock__find_header(r->head, size, "Origin");
    wsock__request_target(&q->r, r->head, &at);
    wsock__request_offers(q, r->head, size, &at);
    wsock__handshake_over(ws);
    ws->bits |= WSOCK__ASKED;
    if (ws->timer == WSOCK__TIMER_HANDSHAKE)
        wsock__timer_at(ws, WSOCK__TIMER_ANSWER, ws->timer_due);
    wsock__pend(ws, WSOCK__PENDING_REQUEST);
    return WSOCK_OK;
}

/* A whole head, packed: judge it, then accept it or let the program decide. */
static int wsock__answer_request(wsock *ws, const char *head, size_t size,
                                 const wsock__facts *f)
{
    wsock__rare *r = ws->rare; /* whoever reads a head has made it */
    int plain, code = wsock__check_request_line(ws, head);
    if (code == WSOCK_OK)
        code = wsock__judge_request(ws, head, f);
    if (code != WSOCK_OK)
        return code;
    plain = wsock__is_plain_http(ws, head, f);
    if (plain && wsock__asks(ws))
        return wsock__ask(ws, head, size, 0);
    if (plain)
        return wsock__refuse(ws, 426, "this is a WebSocket server");
    code = wsock__judge_upgrade(ws, f);
    if (code != WSOCK_OK)
        return code;
    memcpy(r->key, f->key.at, 24);
    r->key[24] = 0;
    ws->extensions = (uint16_t)f->extensions;
    if (wsock__asks(ws))
        return wsock__ask(ws, head, size, 1);
    ws->subprotocol = (uint8_t)f->subprotocol;
    code = wsock__queue_head(ws);
    if (code == WSOCK_OK)
        wsock__opened(ws);
    return code;
}

/* ---- the client's side */

WSOCK__FORMAT(3, 4)
static int wsock__handshake_failed(wsock *ws, int code, const char *format,
                                   ...)
{
    va_list args;
    va_start(args, format);
    wsock__note_v(ws, code, WSOCK_OPERATION_CONNECT, format, args);
    va_end(args);
    wsock__end(ws);
    return code;
}

/* RFC 6455 4.1, the client's checks 2 to 6. */
static int wsock__judge_response(wsock *ws, wsock__facts *f)
{
    char accept[29];
    int wrong = WSOCK_INVALID_HANDSHAKE;
    ws->rare->why.failure.http_status = 101;
    wsock__accept_value(accept, ws->rare->key);
    if (!f->upgrade)
        return wsock__handshake_failed(
            ws, wrong, "the server's 101 has no \"Upgrade: websocket\"");
    if (!f->connection)
        return wsock__handshake_failed(
            ws, wrong, "the server's 101 has no \"Connection: Upgrade\"");
    if ((f->twice & WSOCK__SAW_ACCEPT) || f->accept.size != 28 ||
        memcmp(f->accept.at, accept, 28) != 0)
        return wsock__handshake_failed(
            ws, wrong, "the server's Sec-WebSocket-Accept does not answer "
                       "our key: no WebSocket server, or a cache between");
    if (f->bad_extension)
        return wsock__handshake_failed(
            ws, wrong, "the server's Sec-WebSocket-Extensions is malformed");
    if (f->foreign_extension)
        return wsock__handshake_failed(
            ws, WSOCK_UNSUPPORTED_EXTENSION,
            "the server uses an extension that was not offered");
    if (f->bad_subprotocol || (f->twice & WSOCK__SAW_PROTOCOL))
        return wsock__handshake_failed(
            ws, wrong, "the server's Sec-WebSocket-Protocol is malformed");
    if (f->foreign_subprotocol)
        return wsock__handshake_failed(
            ws, WSOCK_UNSUPPORTED_SUBPROTOCOL,
            "the server chose a subprotocol that was not offered; see "
            "options.subprotocols");
    ws->rare->why.failure.http_status = 0;
    return WSOCK_OK;
}

/* The status line "HTTP/1.1 101 ..."; 0: malformed. */
static int wsock__response_status(const char *line)
{
    if (wsock__http_minor(line) < 0 || line[8] != ' ' || line[9] < '1' ||
        line[9] > '9' || line[10] < '0' || line[10] > '9' ||
        line[11] < '0' || line[11] > '9' || (line[12] && line[12] != ' '))
        return 0;
    return (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
}

/* A response that is not 101: keep its head and take its body. */
static int wsock__refused(wsock *ws, const char *line, int status,
                          const wsock__facts *f)
{
    wsock__rare *r = ws->rare;
    r->why.failure.http_status = status;
    r->body_left = -1; /* until the end of the stream */
    if (status == 204 || status == 304)
        r->body_left = 0; /* RFC 9112 6.3 */
    else if (f->seen & WSOCK__SAW_ENCODING)
        r->chunk = WSOCK__CHUNK_SIZE;
    else if ((f->seen & WSOCK__SAW_LENGTH) && f->length >= 0)
        r->body_left = f->length;
    wsock__note(ws, WSOCK_REFUSED, WSOCK_OPERATION_CONNECT,
                "the server answered \"%.60s\" instead of 101%s", line + 9,
                status == 401   ? " (credentials: options.headers)"
                : status == 403 ? " (options.origin?)"
                : status == 404 ? " (the path in the URL?)"
                                : "");
    return WSOCK_REFUSED;
}

/* Judge a response.  WSOCK_WOULD_BLOCK: an interim one, more follows. */
static int wsock__answer_response(wsock *ws, const char *line,
                                  wsock__facts *f)
{
    int status = wsock__response_status(line), code;
    if (!status)
        return wsock__handshake_failed(ws, WSOCK_HTTP_ERROR,
                                       "the server's status line is "
                                       "malformed: no HTTP server?");
    if (status < 200 && status != 101) { /* RFC 9110 15.2 */
        if (ws->rare->interim++ < WSOCK__INTERIM_MOST)
            return WSOCK_WOULD_BLOCK;
        return wsock__handshake_failed(ws, WSOCK_HTTP_ERROR,
                                       "the server sends one interim "
                                       "response after the other");
    }
    if (status != 101)
        return wsock__refused(ws, line, status, f);
    if (wsock__http_minor(line) < 1)
        return wsock__handshake_failed(ws, WSOCK_INVALID_HANDSHAKE,
                                       "the server speaks HTTP/1.0");
    code = wsock__judge_response(ws, f);
    if (code != WSOCK_OK)
        return code;
    ws->subprotocol = (uint8_t)f->subprotocol;
    ws->extensions = (uint16_t)f->extensions;
    wsock__opened(ws);
    return WSOCK_OK;
}

/* ---- heads from the wire */

/* Move the peer's head to memory that lives until free; a refusing one with
 * room for the start of the body. */
static void wsock__keep_head(wsock *ws)
{
    wsock__rare *r = ws->rare;
    const char *head = r->head;
    size_t size = r->head_size, most = size;
    if (ws->error && !ws->loop->fixed)
        most += WSOCK__BODY_MOST;
    r->head = NULL;
    if (!wsock__kept_take(ws, most))
        return;
    memmove(r->kept, head, size);
    r->kept_size = size;
    r->head = (const char *)r->kept;
    if (ws->error)
        r->why.failure.body = r->head + size;
}

/* Keep some of the body; 0: no more is wanted. */
static int wsock__keep_body(wsock__rare *r, const uint8_t *p, size_t n)
{
    size_t room = r->head ? r->kept_capacity - r->kept_size : 0;
    if (room > WSOCK__BODY_MOST - r->why.failure.body_size)
        room = WSOCK__BODY_MOST - r->why.failure.body_size;
    if (n > room)
        n = room;
    if (n)
        memmove(r->kept + r->kept_size, p, n);
    r->kept_size += n;
    r->why.failure.body_size += n;
    return n < room;
}

/* One byte between the chunks (RFC 9112 7.1).  0: the body ends here, or is
 * malformed, which comes to the same. */
static int wsock__chunk_byte(wsock__rare *r, char c)
{
    const char *hex = "0123456789abcdef", *digit;
    digit = c ? strchr(hex, wsock__lower(c)) : NULL;
    if (r->chunk == WSOCK__CHUNK_SIZE) {
        if (digit && r->body_left < INT64_MAX / 16 - 16) {
            r->body_left = (r->body_left < 0 ? 0 : r->body_left * 16) +
                           (digit - hex);
            return 1;
        }
        if (digit || r->body_left <= 0)
            return 0;
        r->chunk = WSOCK__CHUNK_LINE;
    }
    if (r->chunk == WSOCK__CHUNK_LINE) { /* extensions are ignored */
        if (c == '\n')
            r->chunk = WSOCK__CHUNK_DATA;
        return 1;
    }
    if (c == '\n') { /* of the line end behind the data */
        r->chunk = WSOCK__CHUNK_SIZE;
        r->body_left = -1;
    }
    return c == '\r' || c == '\n';
}

/* The body of a refusing response, as far as it is kept. */
static void wsock__body_in(wsock *ws)
{
    wsock__loop *l = ws->loop;
    wsock__rare *r = ws->rare;
    size_t n = (size_t)(l->end - l->pos);
    int more = 1;
    if (r->chunk && r->chunk != WSOCK__CHUNK_DATA) {
        more = wsock__chunk_byte(r, (char)l->pos[0]);
        n = 1;
    } else {
        if (r->body_left >= 0 && (uint64_t)n > (uint64_t)r->body_left)
            n = (size_t)r->body_left;
        more = wsock__keep_body(r, l->pos, n);
        if (r->body_left > 0)
            r->body_left -= (int64_t)n;
        if (r->body_left == 0 && r->chunk)
            r->chunk = WSOCK__CHUNK_END;
        else if (r->body_left == 0)
            more = 0;
    }
    wsock__advance(l, n);
    if (!more)
        wsock__end(ws);
}

static int wsock__head_malformed(wsock *ws)
{
    if (ws->role == WSOCK_SERVER)
        return wsock__refuse(ws, 400, "malformed HTTP");
    return wsock__handshake_failed(ws, WSOCK_HTTP_ERROR,
                                   "the server's answer is not HTTP: is "
                                   "there another protocol on this port?");
}

static int wsock__head_too_long(wsock *ws, const uint8_t *p, size_t n)
{
    if (ws->role == WSOCK_CLIENT)
        return wsock__handshake_failed(ws, WSOCK_TOO_BIG,
                                       "the server's head is longer than "
                                       "options.max_header");
    if (!memchr(p, '\n', n)) /* RFC 7231 6.5.12 */
        return wsock__refuse(ws, 414, "the request line is too long");
    return wsock__refuse(ws, 431, "the header is too long"); /* RFC 6585 */
}

static int wsock__head_no_memory(wsock *ws)
{
    return wsock__fail(ws, WSOCK_NO_MEMORY, 0,
                       "no memory for the peer's head");
}

/* The tail has taken more than the head's bytes from the segment that
 * follows: leave the rest there, so that the tail can be freed. */
static void wsock__untake(wsock__loop *l, size_t size)
{
    if (!l->more)
        return;
    l->more -= size;
    l->end -= size;
}

/* Look for a whole head at the cursor.  Its size, 0: more must come, or
 * negative. */
static ptrdiff_t wsock__head_wait(wsock *ws)
{
    wsock__loop *l = ws->loop;
    size_t most = ws->config->o.max_header;
    for (;;) {
        size_t have, rest, need;
        ptrdiff_t size;
        have = (size_t)(l->end - l->pos);
        rest = (size_t)(l->more_end - l->more);
        if (have == 0)
            return 0;
        if (ws->role == WSOCK_SERVER && l->pos[0] == '\r') {
            int r = wsock__need(ws, 2);
            if (r > 0 && l->pos[1] == '\n') { /* RFC 9112 2.2: ignored */
                wsock__advance(l, 2);
                continue;
            }
            if (r < 0)
                return wsock__head_no_memory(ws);
            if (r == 0)
                return 0;
        }
        if (!wsock__head_plausible(l->pos, have, ws->role))
            return wsock__head_malformed(ws);
        size = wsock__head_end(l->pos, have);
        if (size < 0)
            return wsock__head_malformed(ws);
        if (size > 0 && (size_t)size <= most) {
            wsock__untake(l, have - (size_t)size);
            return size;
        }
        if (size > 0 || have >= most)
            return wsock__head_too_long(ws, l->pos, have);
        need = have + rest > most ? most : have + rest;
        if (rest == 0)
            need++;
        if (wsock__need(ws, need) < 0)
            return wsock__head_no_memory(ws);
        if (rest == 0)
            return 0;
    }
}

/* Read a head from the wire, or the body of a refusal. */
static void wsock__handshake_in(wsock *ws)
{
    wsock__loop *l = ws->loop;
    wsock__rare *r = wsock__rare_get(ws);
    wsock__facts facts;
    char *head;
    ptrdiff_t size;
    size_t packed;
    int code;
    if (!r) {
        wsock__fail(ws, WSOCK_NO_MEMORY, 0, "memory is out");
        return;
    }
    if (r->why.failure.http_status) {
        wsock__body_in(ws);
        return;
    }
    size = wsock__head_wait(ws);
    if (size <= 0)
        return;
    head = (char *)l->pos;
    wsock__advance(l, (size_t)size);
    packed = wsock__head_pack(head, (size_t)size);
    if (!packed) {
        wsock__head_malformed(ws);
        return;
    }
    wsock__facts_packed(ws, &facts, head, packed);
    r->head = head;
    r->head_size = packed;
    code = ws->role == WSOCK_SERVER
               ? wsock__answer_request(ws, head, packed, &facts)
               : wsock__answer_response(ws, head, &facts);
    if (ws->role == WSOCK_CLIENT && code < 0) {
        wsock__keep_head(ws);
        if (ws->phase == WSOCK__PHASE_HANDSHAKE && r->body_left == 0)
            wsock__end(ws);
    } else if (code != WSOCK_OK) {
        r->head = NULL;
    }
}

/* The head of an open connection has been lent out long enough: free what
 * only the handshake needed. */
static void wsock__head_release(wsock *ws)
{
    wsock__rare *r = ws->rare;
    if (r->head_item) {
        wsock__item_give(ws->loop, r->head_item);
        r->head_item = NULL;
    }
    if (!ws->error || (ws->bits & WSOCK__OPENED)) {
        wsock__buffer_give(ws->loop, r->kept, r->kept_capacity);
        r->kept = NULL;
        r->head = NULL;
    }
    wsock__wipe(r->key, sizeof r->key);
    if (ws->role == WSOCK_SERVER && !ws->error && !ws->close_sent &&
        !ws->close_received && /* else its account lives until free */
        !r->subprotocol) {
        ws->rare = NULL;
        wsock__pool_give(ws->loop, &ws->loop->rares, r);
    }
}

/* ------------------------------------------------------------ >>receive --
 * RFC 6455 5 and 6.2: from bytes to pieces of messages, then to messages. */

/* A piece of payload, unmasked and checked, where it lies. */
typedef struct wsock__piece {
    uint8_t *data;
    size_t size;
    unsigned kind;
    int last; /* of its message */
    int whole; /* the message is this piece */
} wsock__piece;

/* The rules that depend on the role and on what came before. */
static const char *wsock__frame_unfit(const wsock *ws, const wsock__frame *f)
{
    unsigned rsv = 0;
    int in_message = ws->in && ws->in->in_message;
    if (f->wrong)
        return f->wrong;
    if (ws->extensions && f->opcode && f->opcode < WSOCK_CLOSE)
        rsv = ws->config->o.reserved_bits; /* they mark whole messages */
    if (f->first & WSOCK__RSV & ~rsv) /* RFC 6455 5.2 */
        return "reserved bits that no extension was agreed on for";
    if (f->masked && ws->role == WSOCK_CLIENT) /* RFC 6455 5.1 */
        return "a masked frame from a server";
    if (!f->masked && ws->role == WSOCK_SERVER && /* RFC 6455 5.1 */
        !(ws->config->o.flags & WSOCK_UNSAFE_NO_MASKING))
        return "a frame from a client that is not masked";
    if (f->opcode == 0 && !in_message) /* RFC 6455 5.4 */
        return "a continuation frame without a message";
    if ((f->opcode == WSOCK_TEXT || f->opcode == WSOCK_BINARY) && in_message)
        return "a new message inside a message"; /* RFC 6455 5.4 */
    return NULL;
}

static inline int wsock__checks_utf8(const wsock *ws, unsigned kind)
{
    return (kind & 15) == WSOCK_TEXT &&
           !(ws->config->o.flags & WSOCK_NO_UTF8_CHECK);
}

static int wsock__bad_utf8(wsock *ws)
{
    return wsock__fail(ws, WSOCK_INVALID_UTF8, 1007, /* RFC 6455 8.1 */
                       "the peer sent a text message that is not UTF-8");
}

/* Are messages put together, so that max_message applies? */
static inline int wsock__assembles(const wsock *ws)
{
    const wsock_options *o = &ws->config->o;
    return !(o->flags & WSOCK_PARTS) && !wsock__is_blocking(ws);
}

/* A control frame, which is read as a whole (RFC 6455 5.5). */
static int wsock__control_piece(wsock *ws, const wsock__frame *f,
                                wsock__piece *piece)
{
    wsock__loop *l = ws->loop;
    int r = wsock__need(ws, f->head_size + (size_t)f->size);
    if (r <= 0)
        return r;
    piece->data = l->pos + f->head_size;
    piece->size = (size_t)f->size;
    piece->kind = f->opcode;
    piece->last = piece->whole = 1;
    if (f->masked)
        wsock__mask(piece->data, piece->data, piece->size, f->key);
    wsock__advance(l, f->head_size + piece->size);
    return 1;
}

/* Unmask the payload of a message that is whole; 0: it was to be UTF-8 and is
 * not. */
WSOCK__INLINE int wsock__whole_unmask(wsock *ws, unsigned kind, uint8_t *data,
                                      size_t size, uint32_t key)
{
    uint32_t utf8 = 0;
    if (WSOCK__LIKELY(key))
        wsock__mask(data, data, size, key);
    return !wsock__checks_utf8(ws, kind) ||
           (wsock__utf8(&utf8, data, size) && !utf8);
}

/* A data frame that lies whole at the cursor and is a whole message takes no
 * state. */
static int wsock__whole_piece(wsock *ws, const wsock__frame *f,
                              wsock__piece *piece)
{
    wsock__loop *l = ws->loop;
    piece->data = l->pos + f->head_size;
    piece->size = (size_t)f->size;
    piece->kind = f->first & (WSOCK__RSV | 15U);
    piece->last = piece->whole = 1;
    wsock__advance(l, f->head_size + piece->size);
    if (!wsock__whole_unmask(ws, piece->kind, piece->data, piece->size,
                             f->masked ? f->key : 0))
        return wsock__bad_utf8(ws);
    return 1;
}

/* A data frame begins that needs state. */
static int wsock__frame_begin(wsock *ws, const wsock__frame *f)
{
    wsock__in *in = wsock__in_get(ws);
    if (!in)
        return WSOCK_NO_MEMORY;
    wsock__advance(ws->loop, f->head_size);
    in->in_frame = 1;
    in->left = f->size;
    in->fin = f->first >> 7;
    in->key = f->masked ? f->key : 0;
    if (f->opcode) {
        in->in_message = 1;
        in->kind = f->first & (WSOCK__RSV | 15U);
        in->utf8 = 0;
    }
    return 1;
}

/* As much of the current frame as is there, `most` bytes at most. */
static int wsock__payload_piece(wsock *ws, wsock__piece *piece, size_t most)
{
    wsock__loop *l = ws->loop;
    wsock__in *in = ws->in;
    size_t n = (size_t)(l->end - l->pos);
    if (n == 0 && in->left)
        return 0;
    if (n > most)
        n = most;
    if ((uint64_t)n > in->left)
        n = (size_t)in->left;
    piece->data = l->pos;
    piece->size = n;
    piece->kind = in->kind;
    if (in->key) {
        wsock__mask(piece->data, piece->data, n, in->key);
        in->key = wsock__mask_rotate(in->key, n);
    }
    if (n)
        wsock__advance(l, n);
    in->left -= n;
    in->in_frame = in->left != 0;
    piece->whole = 0;
    piece->last = !in->in_frame && in->fin;
    if (piece->last)
        in->in_message = 0;
    /* Refused at the first wrong byte, before the message ends. */
    if (wsock__checks_utf8(ws, in->kind) &&
        (!wsock__utf8(&in->utf8, piece->data, n) || (piece->last && in->utf8)))
        return wsock__bad_utf8(ws);
    return 1;
}

/* Refuse a frame before its payload comes (RFC 6455 7.4.1, 1009). */
static inline int wsock__frame_too_big(wsock *ws, const wsock__frame *f)
{
    size_t have = ws->in ? ws->in->size : 0;
    size_t most = ws->config->o.max_message;
    if (!wsock__assembles(ws) || f->opcode >= WSOCK_CLOSE ||
        most == WSOCK_UNLIMITED || (ws->bits & WSOCK__DISCARD))
        return 0;
    return have > most || f->size > most - have;
}

static int wsock__find_piece(wsock *ws, wsock__piece *piece, size_t most)
{
    wsock__loop *l = ws->loop;
    wsock__frame f;
    const char *wrong;
    int r;
    if (ws->in && ws->in->in_frame)
        return wsock__payload_piece(ws, piece, most);
    for (;;) { /* two bytes tell most of what can be wrong */
        size_t have = (size_t)(l->end - l->pos);
        int whole = wsock__frame_read(&f, l->pos, have);
        wrong = have >= 2 ? wsock__frame_unfit(ws, &f) : NULL;
        if (WSOCK__UNLIKELY(wrong != NULL))
            return wsock__fail(ws, WSOCK_PROTOCOL_ERROR, 1002,
                               "the peer sent %s", wrong);
        if (whole)
            break;
        r = wsock__need(ws, f.head_size);
        if (r <= 0)
            return r;
    }
    if (f.opcode >= WSOCK_CLOSE)
        return wsock__control_piece(ws, &f, piece);
    if (WSOCK__UNLIKELY(wsock__frame_too_big(ws, &f)))
        return wsock__fail(ws, WSOCK_TOO_BIG, 1009,
                           "a message larger than options.max_message "
                           "(%lu bytes)",
                           (unsigned long)ws->config->o.max_message);
    if ((f.first & WSOCK__FIN) && f.opcode && f.size <= most &&
        f.size <= (uint64_t)(l->end - l->pos) - f.head_size)
        return wsock__whole_piece(ws, &f, piece);
    r = wsock__frame_begin(ws, &f);
    if (r < 0)
        return r;
    return wsock__payload_piece(ws, piece, most);
}

/* Read the next piece at the cursor, `most` bytes of payload at most; an
 * empty frame gives an empty piece.  Returns 1, 0: more bytes must come;
 * negative: the connection has failed. */
static int wsock__next_piece(wsock *ws, wsock__piece *piece, size_t most)
{
    int r = wsock__find_piece(ws, piece, most);
    if (WSOCK__UNLIKELY(r == WSOCK_NO_MEMORY) &&
        ws->phase == WSOCK__PHASE_OPEN)
        wsock__fail(ws, r, 1011, "no memory for a frame");
    return r;
}

/* The size to give the buffer of a message of which `need` bytes are there.
 * A message up to 64 KiB gets what its frame announces.  A larger one, and
 * one of many frames, grows to four times what has really come, so that a
 * header alone cannot claim memory. */
static size_t wsock__message_size(const wsock *ws, size_t need)
{
    const wsock__in *in = ws->in;
    size_t most = ws->config->o.max_message, announced = most, grown;
    if (most < need)
        most = announced = need; /* parts that a blocking receive keeps */
    if (in->fin && in->left < (uint64_t)(most - need))
        announced = need + (size_t)in->left;
    if (in->fin && announced <= 65536)
        return announced;
    grown = need > most / 4 ? most : need * 4;
    if (in->fin && grown < 65536)
        grown = 65536;
    return grown < announced ? grown : announced;
}

/* See that there is room for `more` bytes behind those assembled. */
static int wsock__message_room(wsock *ws, size_t more)
{
    wsock__loop *l = ws->loop;
    wsock__in *in = ws->in;
    size_t need = in->size + more, got;
    uint8_t *p;
    if (need <= in->capacity)
        return 1;
    p = wsock__buffer_take(l, wsock__message_size(ws, need), &got);
    if (!p)
        return 0;
    if (in->size)
        memcpy(p, in->message, in->size);
    wsock__buffer_give(l, in->message, in->capacity);
    in->message = p;
    in->capacity = got;
    return 1;
}

static int wsock__assemble(wsock *ws, const wsock__piece *piece)
{
    wsock__in *in = wsock__in_get(ws);
    if (!in || !wsock__message_room(ws, piece->size))
        return WSOCK_NO_MEMORY;
    if (piece->size && piece->data != in->message + in->size)
        memcpy(in->message + in->size, piece->data, piece->size);
    in->size += piece->size;
    return WSOCK_OK;
}

static inline void wsock__event_fill(wsock *ws, wsock_event *e, int type,
                              unsigned kind, void *data, size_t size)
{
    e->type = type;
    e->code = 0;
    e->ws = ws;
    e->kind = kind;
    e->data = data;
    e->size = size;
    e->context = NULL;
    e->why = NULL;
    e->request = NULL;
}

/* The Pong of a keepalive ping, which is not the program's. */
static int wsock__pong_in(wsock *ws, size_t size)
{
    if (!(ws->bits & WSOCK__AWAITS_PONG) || size)
        return !(ws->bits & WSOCK__DISCARD);
    ws->bits &= ~(uint32_t)(WSOCK__AWAITS_PONG | WSOCK__HEARD);
    ws->rtt = (uint32_t)wsock__now(ws->loop) - ws->pinged + 1;
    wsock__watchdog(ws);
    return 0;
}

/* A control frame: answer it.  Returns 1 when it is to be reported, 0 when
 * not, or the failure. */
static int wsock__control_in(wsock *ws, const wsock__piece *piece)
{
    int r = WSOCK_OK;
    if (piece->kind == WSOCK_CLOSE)
        return wsock__close_in(ws, piece->data, piece->size) < 0 ? -1 : 0;
    if (piece->kind == WSOCK_PONG)
        return wsock__pong_in(ws, piece->size);
    if (piece->kind == WSOCK_PING &&
        !(ws->bits & (WSOCK__CLOSE_SENT | WSOCK__WRITE_DEAD))) {
        if (ws->io && ws->out &&
            ws->out->pongs + piece->size + 2 > WSOCK__PONGS_MOST)
            wsock__flush(ws);
        r = wsock__pong(ws, piece->data, piece->size); /* RFC 6455 5.5.2 */
    }
    if (r < 0)
        return wsock__fail(ws, r, 1011, "no Pong can be sent: %s",
                           wsock_result_text(r));
    return !(ws->bits & WSOCK__DISCARD);
}

/* Turn pieces into one event.  1: an event, 0: none now, negative: failed. */
static int wsock__message_in(wsock *ws, wsock_event *e)
{
    wsock__piece piece;
    wsock__in *in;
    int r = wsock__next_piece(ws, &piece, WSOCK_UNLIMITED);
    if (r <= 0)
        return r;
    if (piece.kind >= WSOCK_CLOSE && (piece.kind & 15) >= WSOCK_CLOSE) {
        r = wsock__control_in(ws, &piece);
        if (r > 0)
            wsock__event_fill(ws, e,
                              piece.kind == WSOCK_PING ? WSOCK_EVENT_PING
                                                       : WSOCK_EVENT_PONG,
                              piece.kind, piece.data, piece.size);
        return r;
    }
    if (WSOCK__UNLIKELY(ws->bits & WSOCK__DISCARD))
        return 0;
    if (piece.whole || (ws->config->o.flags & WSOCK_PARTS)) {
        if (piece.size == 0 && !piece.last)
            return 0;
        wsock__event_fill(ws, e, WSOCK_EVENT_MESSAGE,
                          piece.kind | (piece.last ? 0 : WSOCK_FRAGMENT),
                          piece.data, piece.size);
        return 1;
    }
    if (wsock__assemble(ws, &piece) != WSOCK_OK)
        return wsock__fail(ws, WSOCK_NO_MEMORY, 1011,
                           "no memory for a message");
    if (!piece.last)
        return 0;
    in = ws->in;
    in->delivered = 1;
    ws->bits |= WSOCK__PENDING_RELEASE;
    wsock__event_fill(ws, e, WSOCK_EVENT_MESSAGE, piece.kind, in->message,
                      in->size);
    return 1;
}

/* --------------------------------------------------------------- >>core --
 * Reports, and the state machine of reading. */

static const wsock_failure *wsock__why(const wsock *ws);

static void wsock__report_close(wsock *ws, wsock_event *e)
{
    wsock__rare *r = wsock__rare_get(ws);
    ws->bits |= WSOCK__CLOSE_REPORTED;
    ws->loop->ended = ws;
    ws->loop->routine = 0;
    wsock__not_live(ws);
    wsock__event_fill(ws, e, WSOCK_EVENT_CLOSE, WSOCK_CLOSE, NULL, 0);
    e->why = wsock__why(ws);
    e->code = WSOCK_CLOSE_ABNORMAL;
    if (ws->close_received)
        e->code = ws->close_received;
    if (r) {
        e->data = r->reason;
        e->size = r->reason_size;
    }
}

static void wsock__report_sent(wsock *ws, wsock_event *e)
{
    wsock__out *out = ws->out;
    wsock__item *item = out->sent;
    out->sent = item->next;
    if (!out->sent) {
        out->sent_tail = NULL;
        ws->bits &= ~(uint32_t)WSOCK__PENDING_SENT;
    }
    wsock__event_fill(ws, e, WSOCK_EVENT_SENT, item->report, NULL,
                      item->owned_size);
    e->context = item->context;
    if (item->dropped)
        e->code = out->sent_code;
    wsock__item_give(ws->loop, item);
    if (ws->bits & WSOCK__NEEDS_DRAIN)
        wsock__drained(ws); /* with options.memory it had held a run */
    wsock__out_settle(ws);
}

/* Free what was lent out with the last event. */
static void wsock__lent_release(wsock *ws)
{
    ws->bits &= ~(uint32_t)WSOCK__PENDING_RELEASE;
    if (ws->in && ws->in->delivered) {
        if (ws->io && ws->out && !(ws->bits & WSOCK__STUCK))
            wsock__flush(ws);
        if (ws->out)
            wsock__message_hand_over(ws);
        wsock__message_give(ws);
    }
    if (ws->rare)
        wsock__head_release(ws);
    if (ws->in && ws->phase > WSOCK__PHASE_OPEN)
        wsock__in_free(ws); /* nobody will get it any more */
    else if (ws->in)
        wsock__in_settle(ws);
}

/* Borrowed memory that is still in the queue comes back before CLOSE. */
static int wsock__has_borrowed(const wsock *ws)
{
    const wsock__item *item = ws->out ? ws->out->head : NULL;
    while (item && !item->report)
        item = item->next;
    return item != NULL;
}

/* Report what is pending.  1: there is an event. */
static int wsock__report(wsock *ws, wsock_event *e)
{
    if (ws->bits & WSOCK__PENDING_RELEASE)
        wsock__lent_release(ws);
    if (ws->bits & WSOCK__PENDING_REQUEST) {
        ws->bits &= ~(uint32_t)WSOCK__PENDING_REQUEST;
        if (ws->phase == WSOCK__PHASE_HANDSHAKE) {
            wsock__event_fill(ws, e, WSOCK_EVENT_REQUEST, 0, NULL, 0);
            e->request = (const wsock_request *)(void *)ws->rare->kept;
            return 1;
        }
        ws->bits &= ~(uint32_t)WSOCK__ASKED; /* it has left before */
    }
    if (ws->bits & WSOCK__PENDING_OPEN) {
        ws->bits &= ~(uint32_t)WSOCK__PENDING_OPEN;
        ws->bits |= WSOCK__PENDING_RELEASE;
        wsock__event_fill(ws, e, WSOCK_EVENT_OPEN, 0, NULL, 0);
        return 1;
    }
    if (ws->bits & WSOCK__PENDING_SENT) {
        wsock__report_sent(ws, e);
        return 1;
    }
    if (ws->bits & WSOCK__PENDING_DRAIN) {
        ws->bits &= ~(uint32_t)WSOCK__PENDING_DRAIN;
        if (ws->phase == WSOCK__PHASE_OPEN &&
            !(ws->bits & WSOCK__CLOSE_SENT)) {
            wsock__event_fill(ws, e, WSOCK_EVENT_DRAIN, 0, NULL, 0);
            return 1;
        }
    }
    if ((ws->bits & WSOCK__PENDING_CLOSE) && !wsock__has_borrowed(ws)) {
        ws->bits &= ~(uint32_t)WSOCK__PENDING_CLOSE;
        wsock__report_close(ws, e);
        return 1;
    }
    return 0;
}

/* Is reading held back, by hand or by the length of the send queue?  A
 * client's is not by the latter: two that hold back wait for ever.  Nothing
 * is read before a request is answered. */
static inline int wsock__is_held(wsock *ws)
{
    if (ws->phase != WSOCK__PHASE_OPEN)
        return ws->phase == WSOCK__PHASE_HANDSHAKE &&
               (ws->bits & WSOCK__ASKED);
    if (ws->bits & WSOCK__DISCARD)
        return 0;
    if (ws->role == WSOCK_SERVER && ws->io && ws->out &&
        !wsock__is_blocking(ws) && ws->out->queued >= ws->config->o.send_limit)
        ws->bits |= WSOCK__HELD;
    return (ws->bits & (WSOCK__HELD | WSOCK__PAUSED)) != 0;
}

/* One step on the input at the cursor.  1: an event, 0: go on. */
static int wsock__step(wsock *ws, wsock_event *e)
{
    switch (ws->phase) {
    case WSOCK__PHASE_HANDSHAKE:
        wsock__handshake_in(ws);
        return 0;
    case WSOCK__PHASE_OPEN:
        return wsock__message_in(ws, e) > 0;
    default:
        wsock__drop_input(ws);
        return 0;
    }
}

/* Open, with nothing half read, held back or to be reported? */
WSOCK__INLINE int wsock__is_plain(const wsock__loop *l, const wsock *ws)
{
    return !ws->in && !(ws->bits & WSOCK__NOT_PLAIN) &&
           (!ws->out || ws->out->queued <= l->single_most);
}

/* The usual case: a message that lies whole at the cursor, in one frame,
 * becomes an event; whose payload is then to be unmasked and checked, see
 * below.  0: it is something else, or wrong, and the general path tells. */
WSOCK__INLINE int wsock__whole_message(wsock__loop *l, wsock *ws, int masked,
                                       wsock_event *e, uint32_t *key)
{
    uint8_t *p = l->pos, *data;
    size_t size;
    data = wsock__frame_usual(p, (size_t)(l->end - p), masked, &size, key);
    if (WSOCK__UNLIKELY(!data || size > ws->config->whole_most))
        return 0;
    wsock__event_fill(ws, e, WSOCK_EVENT_MESSAGE, p[0] & 15, data, size);
    l->corked = 1;
    l->events_left--;
    wsock__advance(l, (size_t)(data - p) + size);
    return 1;
}

/* 1; 0: the text was wrong, and the connection has failed. */
WSOCK__INLINE int wsock__whole_good(wsock *ws, const wsock_event *e,
                                    uint32_t key)
{
    if (WSOCK__LIKELY(wsock__whole_unmask(ws, e->kind, (uint8_t *)e->data,
                                          e->size, key)))
        return 1;
    ws->loop->events_left++; /* it was none */
    wsock__bad_utf8(ws);
    return 0;
}

/* Read one event: what is pending, then what the input at the cursor holds.
 * 1: an event, 0: none. */
static int wsock__next(wsock *ws, wsock_event *e)
{
    for (;;) {
        if (WSOCK__UNLIKELY(ws->bits & WSOCK__PENDING) &&
            wsock__report(ws, e))
            return 1;
        if (!wsock__has_input(ws) || wsock__is_held(ws))
            return 0;
        if (wsock__step(ws, e))
            return 1;
    }
}

/* ------------------------------------------------------------ >>sockets --
 * The default transport: wsock_io over non-blocking sockets.  `user` is the
 * descriptor itself.  First what differs between the systems, in two blocks
 * of the same functions, then what is built on them. */

static wsock__fd wsock__fd_of(void *user)
{
    return (wsock__fd)(intptr_t)user;
}

#if WSOCK__WINDOWS
#define WSOCK__REUSE SO_EXCLUSIVEADDRUSE /* SO_REUSEADDR would share a port */
#define WSOCK__EAI_SYSTEM (-1) /* which no look-up returns */
#define WSOCK__ENOMEM WSA_NOT_ENOUGH_MEMORY

static int wsock__net_error(void)
{
    return WSAGetLastError();
}

static void wsock__net_error_set(int code)
{
    WSASetLastError(code);
}

/* English, and constant: FormatMessage() speaks the user's language in the
 * user's code page. */
static const char *wsock__net_text(int code)
{
    switch (code) {
    case WSAEACCES: return "permission denied";
    case WSAEADDRINUSE: return "address already in use";
    case WSAEADDRNOTAVAIL: return "address not available";
    case WSAEAFNOSUPPORT: return "address family not supported";
    case WSAECONNABORTED: return "connection aborted";
    case WSAECONNREFUSED: return "connection refused";
    case WSAECONNRESET: return "connection reset by peer";
    case WSAEHOSTUNREACH: return "no route to host";
    case WSAEMFILE: return "too many open sockets";
    case WSAENETDOWN: return "network is down";
    case WSAENETRESET: return "connection reset by the network";
    case WSAENETUNREACH: return "network is unreachable";
    case WSAENOBUFS: return "no buffer space";
    case WSAENOTCONN: return "not connected";
    case WSAETIMEDOUT: return "connection timed out";
    case WSASYSNOTREADY:
    case WSAVERNOTSUPPORTED:
    case WSANOTINITIALISED: return "Winsock did not start";
    case WSA_NOT_ENOUGH_MEMORY: return "memory is out";
    default: return "see wsock_why()->os_code for Windows' error number";
    }
}

static const char *wsock__lookup_text(int code)
{
    switch (code) {
    case WSAHOST_NOT_FOUND: return "no such host is known";
    case WSANO_DATA: return "the name has no address";
    case WSANO_RECOVERY: return "the look-up failed for good";
    case WSATRY_AGAIN: return "the look-up failed for now";
    default: return wsock__net_text(code);
    }
}

static int wsock__is_again(int code)
{
    return code == WSAEWOULDBLOCK;
}

static int wsock__is_connecting(int code)
{
    return code == WSAEWOULDBLOCK;
}

static int wsock__is_interrupt(int code)
{
    return code == WSAEINTR;
}

static int wsock__is_no_room(int code)
{
    return code == WSAEMFILE || code == WSAENOBUFS ||
           code == WSA_NOT_ENOUGH_MEMORY;
}

static BOOL CALLBACK wsock__net_start(PINIT_ONCE once, PVOID unused,
                                      PVOID *result)
{
    WSADATA data;
    (void)once;
    (void)unused;
    (void)result;
    return WSAStartup(MAKEWORD(2, 2), &data) == 0;
}

/* Winsock counts who has started it: once for the library, which is never
 * taken back, besides what the program does itself. */
static void wsock__net_begin(void)
{
    static INIT_ONCE once = INIT_ONCE_STATIC_INIT;
    InitOnceExecuteOnce(&once, wsock__net_start, NULL, NULL);
}

static void wsock__socket_end(wsock__fd fd)
{
    closesocket((SOCKET)fd);
}

static void wsock__socket_hang_up(wsock__fd fd)
{
    shutdown((SOCKET)fd, SD_BOTH);
}

static int wsock__socket_finish(void *user)
{
    shutdown((SOCKET)wsock__fd_of(user), SD_SEND);
    return 0;
}

/* Non-blocking, and not for child processes. */
static wsock__fd wsock__socket_prepare(SOCKET s)
{
    u_long on = 1;
    if (s == INVALID_SOCKET)
        return -1;
    SetHandleInformation((HANDLE)s, HANDLE_FLAG_INHERIT, 0);
    if (ioctlsocket(s, (long)FIONBIO, &on) != 0) {
        int e = WSAGetLastError();
        closesocket(s);
        WSASetLastError(e);
        return -1;
    }
    return (wsock__fd)s;
}

static wsock__fd wsock__socket_new(int family)
{
    wsock__net_begin();
    return wsock__socket_prepare(socket(family, SOCK_STREAM, 0));
}

static wsock__fd wsock__socket_accept(wsock__fd listener)
{
    return wsock__socket_prepare(accept((SOCKET)listener, NULL, NULL));
}

static ptrdiff_t wsock__socket_result(int failed, size_t n, int want)
{
    if (!failed)
        return (ptrdiff_t)n;
    if (WSAGetLastError() == WSAEWOULDBLOCK)
        return want;
    return WSOCK_TRANSPORT_ERROR;
}

static ptrdiff_t wsock__socket_read(void *user, void *data, size_t size)
{
    int n = recv((SOCKET)wsock__fd_of(user), (char *)data,
                 size < INT_MAX ? (int)size : INT_MAX, 0);
    return wsock__socket_result(n < 0, (size_t)n, WSOCK_WANT_READ);
}

static ptrdiff_t wsock__socket_write(void *user, const wsock_buf *bufs,
                                     size_t count)
{
    WSABUF list[WSOCK__GATHER];
    DWORD sent = 0;
    size_t i, room = INT_MAX; /* what one call may take */
    int r;
    if (count > WSOCK__GATHER)
        count = WSOCK__GATHER;
    for (i = 0; i < count && room; i++) {
        size_t n = bufs[i].size < room ? bufs[i].size : room;
        memcpy(&list[i].buf, &bufs[i].data, sizeof(void *));
        list[i].len = (ULONG)n;
        room -= n;
    }
    r = WSASend((SOCKET)wsock__fd_of(user), list, (DWORD)i, &sent, 0, NULL,
                NULL);
    return wsock__socket_result(r != 0, sent, WSOCK_WANT_WRITE);
}

enum {
    WSOCK__CONNECT_LOOK = 50, /* ms between looks at connects */
    WSOCK__HUNG_REST = 10
};

/* Before Windows 10 2004 WSAPoll() never told of a connect that failed:
 * select() does.  Asked of sockets that only wait to be written, which few
 * are but those. */
static int wsock__connects_failed(struct pollfd *list, size_t n)
{
    struct timeval now = {0, 0};
    int failed = 0;
    for (; n; list++, n--) {
        fd_set set;
        if (list->events != POLLOUT)
            continue;
        FD_ZERO(&set);
        set.fd_array[set.fd_count++] = list->fd;
        if (select(0, NULL, NULL, &set, &now) > 0) {
            list->revents |= POLLERR;
            failed++;
        }
    }
    return failed;
}

/* WSAPoll() reports the end of the peer's side even where only writing was
 * asked for, again and again: this takes such news away.  Returns how many
 * entries are left that tell something. */
static int wsock__poll_news(struct pollfd *list, size_t n)
{
    int news = 0;
    for (; n; list++, n--) {
        if (!(list->events & POLLIN) &&
            (list->revents & (POLLOUT | POLLERR | POLLNVAL)) == 0)
            list->revents = 0;
        news += list->revents != 0;
    }
    return news;
}

/* poll(), of at least one socket. */
static int wsock__poll_fds(struct pollfd *list, size_t n, int timeout)
{
    int64_t until = timeout > 0 ? wsock__system_now(NULL) + timeout : 0;
    int connecting = 0, slice = timeout, r;
    size_t i;
    for (i = 0; i < n; i++)
        connecting |= list[i].events == POLLOUT;
    for (;;) {
        if (connecting && (slice < 0 || slice > WSOCK__CONNECT_LOOK))
            slice = WSOCK__CONNECT_LOOK;
        r = WSAPoll(list, (ULONG)n, slice);
        if (r < 0)
            return r;
        if (r > 0 && wsock__poll_news(list, n) == 0)
            Sleep(slice ? WSOCK__HUNG_REST : 0);
        else if (r > 0)
            return r;
        if (connecting && (r = wsock__connects_failed(list, n)) > 0)
            return r;
        if (timeout >= 0) {
            int64_t left = until - wsock__system_now(NULL);
            if (timeout == 0 || left <= 0)
                return 0;
            slice = (int)left;
        }
    }
}

/* Has a connect ended, well or not? */
static int wsock__connect_ended(wsock__fd fd)
{
    struct timeval now = {0, 0};
    fd_set done, failed;
    FD_ZERO(&done);
    done.fd_array[done.fd_count++] = (SOCKET)fd;
    failed = done;
    return select(0, NULL, &done, &failed, &now) > 0;
}

/* Has the peer gone, so that nothing can be sent to it any more?  That it has
 * shut its side alone does not say so.  (Under wine a reset shows in WSAPoll()
 * alone: recv() tells of the end of the stream.) */
static int wsock__socket_is_gone(wsock__fd fd)
{
    char peeked;
    struct pollfd p;
    p.fd = (SOCKET)fd;
    p.events = 0;
    p.revents = 0;
    if (WSAPoll(&p, 1, 0) > 0 && (p.revents & POLLERR) != 0)
        return 1;
    return recv((SOCKET)fd, &peeked, 1, MSG_PEEK) < 0 &&
           WSAGetLastError() != WSAEWOULDBLOCK;
}
#else
#define WSOCK__REUSE SO_REUSEADDR /* also while old connections linger */
#define WSOCK__EAI_SYSTEM EAI_SYSTEM
#define WSOCK__ENOMEM ENOMEM

#if defined(MSG_NOSIGNAL)
#define WSOCK__SEND_FLAGS MSG_NOSIGNAL
#else
#define WSOCK__SEND_FLAGS 0 /* SO_NOSIGPIPE instead */
#endif

#if defined(__GLIBC__)
#define WSOCK__IOVLEN size_t
#else
#define WSOCK__IOVLEN int /* POSIX */
#endif

static int wsock__net_error(void)
{
    return errno;
}

static void wsock__net_error_set(int code)
{
    errno = code;
}

static const char *wsock__net_text(int code)
{
    return strerror(code);
}

static const char *wsock__lookup_text(int code)
{
    return gai_strerror(code);
}

static int wsock__is_again(int code)
{
    return code == EAGAIN || code == EWOULDBLOCK;
}

static int wsock__is_connecting(int code)
{
    return code == EINPROGRESS || code == EINTR;
}

static int wsock__is_interrupt(int code)
{
    return code == EINTR;
}

static int wsock__is_no_room(int code)
{
    return code == EMFILE || code == ENFILE || code == ENOBUFS ||
           code == ENOMEM;
}

static void wsock__net_begin(void)
{
}

static void wsock__socket_end(wsock__fd fd)
{
    close(fd);
}

static void wsock__socket_hang_up(wsock__fd fd)
{
    shutdown(fd, SHUT_RDWR);
}

static int wsock__socket_finish(void *user)
{
    shutdown(wsock__fd_of(user), SHUT_WR); /* a peer that left is no matter */
    return 0;
}

#if !WSOCK__ACCEPT4
/* Non-blocking, closed on exec. */
static int wsock__fd_prepare(int fd)
{
    if (fd < 0)
        return fd;
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ||
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0) {
        int e = errno;
        close(fd);
        errno = e;
        return -1;
    }
    return fd;
}
#endif

static wsock__fd wsock__socket_new(int family)
{
#if WSOCK__LINUX
    return socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
#else
    return wsock__fd_prepare(socket(family, SOCK_STREAM, 0));
#endif
}

static wsock__fd wsock__socket_accept(wsock__fd listener)
{
    int fd;
    do
#if WSOCK__ACCEPT4
        fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
#else
        fd = wsock__fd_prepare(accept(listener, NULL, NULL));
#endif
    while (fd < 0 && errno == EINTR);
    return fd;
}

/* The sockets do not block, so that there is nothing for a signal to
 * interrupt; where a system does say so, asking again is as good. */
static ptrdiff_t wsock__socket_failed(int want)
{
    if (wsock__is_again(errno) || errno == EINTR)
        return want;
    return WSOCK_TRANSPORT_ERROR;
}

static ptrdiff_t wsock__socket_read(void *user, void *data, size_t size)
{
    ssize_t n = recv(wsock__fd_of(user), data, size, 0);
    return WSOCK__LIKELY(n >= 0) ? n : wsock__socket_failed(WSOCK_WANT_READ);
}

static ptrdiff_t wsock__socket_gather(void *user, const wsock_buf *bufs,
                                      size_t count)
{
    struct iovec list[WSOCK__GATHER];
    struct msghdr m;
    ssize_t n;
    size_t i;
    if (count > WSOCK__GATHER)
        count = WSOCK__GATHER;
    for (i = 0; i < count; i++) {
        memcpy(&list[i].iov_base, &bufs[i].data, sizeof(void *));
        list[i].iov_len = bufs[i].size;
    }
    memset(&m, 0, sizeof m);
    m.msg_iov = list;
    m.msg_iovlen = (WSOCK__IOVLEN)count;
    n = sendmsg(wsock__fd_of(user), &m, WSOCK__SEND_FLAGS);
    return n >= 0 ? n : wsock__socket_failed(WSOCK_WANT_WRITE);
}

static ptrdiff_t wsock__socket_write(void *user, const wsock_buf *bufs,
                                     size_t count)
{
    ssize_t n;
    if (WSOCK__UNLIKELY(count > 1))
        return wsock__socket_gather(user, bufs, count);
    n = send(wsock__fd_of(user), bufs->data, bufs->size, WSOCK__SEND_FLAGS);
    return WSOCK__LIKELY(n >= 0) ? n : wsock__socket_failed(WSOCK_WANT_WRITE);
}

static int wsock__poll_fds(struct pollfd *list, size_t n, int timeout)
{
    return poll(list, (nfds_t)n, timeout);
}

/* Wait for one descriptor, -1: for none.  Returns what is ready. */
static int wsock__poll_one(wsock__fd fd, int events, int timeout)
{
    struct pollfd p;
    p.fd = fd;
    p.events = (short)events;
    p.revents = 0;
    return poll(&p, 1, timeout) > 0 ? p.revents : 0;
}

/* Has a connect ended, well or not? */
static int wsock__connect_ended(wsock__fd fd)
{
    return wsock__poll_one(fd, POLLOUT, 0) != 0;
}

/* Has the peer gone, so that nothing can be sent to it any more? */
static int wsock__socket_is_gone(wsock__fd fd)
{
    return (wsock__poll_one(fd, 0, 0) & (POLLERR | POLLHUP)) != 0;
}
#endif

static intptr_t wsock__socket_fd(void *user)
{
    return (intptr_t)user;
}

static void wsock__socket_explain(void *user, wsock_failure *f)
{
    (void)user;
    f->os_code = wsock__net_error();
    f->text = wsock__net_text(f->os_code);
}

static void wsock__socket_close(void *user)
{
    wsock__socket_end(wsock__fd_of(user));
}

static const wsock_io wsock__socket_io = {
    NULL,
    wsock__socket_read,
    wsock__socket_write,
    wsock__socket_finish,
    NULL,
    NULL,
    wsock__socket_fd,
    wsock__socket_explain,
    wsock__socket_close,
    NULL};

static void wsock__socket_option(wsock__fd fd, int level, int name)
{
    int on = 1;
    setsockopt((wsock__handle)fd, level, name, (const char *)(void *)&on,
               sizeof on);
}

static void wsock__socket_options(wsock__fd fd)
{
    wsock__socket_option(fd, IPPROTO_TCP, TCP_NODELAY);
#if defined(SO_NOSIGPIPE)
    wsock__socket_option(fd, SOL_SOCKET, SO_NOSIGPIPE);
#endif
}

/* The addresses of a host.  Numeric ones and localhost take no look-up and no
 * memory. */
typedef struct wsock__addresses {
    struct addrinfo known[2];
    struct sockaddr_in6 v6;
    struct sockaddr_in v4;
    struct addrinfo *list; /* of getaddrinfo(), or NULL */
    const struct addrinfo *first;
} wsock__addresses;

static void wsock__address_known(wsock__addresses *a, int family, int port)
{
    struct addrinfo *info = &a->known[a->first != NULL];
    info->ai_family = family;
    if (family == AF_INET) {
        a->v4.sin_family = AF_INET;
        a->v4.sin_port = htons((uint16_t)port);
        info->ai_addr = (struct sockaddr *)(void *)&a->v4;
        info->ai_addrlen = sizeof a->v4;
    } else {
        a->v6.sin6_family = AF_INET6;
        a->v6.sin6_port = htons((uint16_t)port);
        info->ai_addr = (struct sockaddr *)(void *)&a->v6;
        info->ai_addrlen = sizeof a->v6;
    }
    if (a->first)
        a->known[0].ai_next = info;
    else
        a->first = info;
}

/* RFC 6761 6.3: localhost and the names below it are the loopback. */
static int wsock__is_localhost(const char *host)
{
    size_t n = strlen(host);
    return wsock__same(host, n, "localhost") ||
           (n > 10 && wsock__same(host + n - 10, 10, ".localhost"));
}

/* What is known without a look-up.  0: nothing. */
static int wsock__known_host(wsock__addresses *a, const char *host, int port,
                             int passive)
{
    memset(a, 0, sizeof *a);
    if (inet_pton(AF_INET, host, &a->v4.sin_addr) == 1) {
        wsock__address_known(a, AF_INET, port);
    } else if (inet_pton(AF_INET6, host, &a->v6.sin6_addr) == 1) {
        wsock__address_known(a, AF_INET6, port);
    } else if (wsock__is_localhost(host)) {
        a->v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        a->v6.sin6_addr.s6_addr[15] = 1;
        wsock__address_known(a, passive ? AF_INET : AF_INET6, port);
        wsock__address_known(a, passive ? AF_INET6 : AF_INET, port);
    }
    return a->first != NULL;
}

/* What getaddrinfo()'s code comes to: `error` may have the cause. */
static const char *wsock__lookup_why(int code, int error, int *os_code)
{
    *os_code = code == WSOCK__EAI_SYSTEM ? error : code;
    return code == WSOCK__EAI_SYSTEM ? wsock__net_text(error)
                                     : wsock__lookup_text(code);
}

/* Ask the system, which blocks.  Returns 0, or getaddrinfo()'s code. */
static int wsock__ask_system(const char *host, int port, int passive,
                             struct addrinfo **list)
{
    struct addrinfo hints;
    char service[16];
    int r;
    wsock__net_begin();
    memset(&hints, 0, sizeof hints);
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICSERV | (passive ? AI_PASSIVE : 0);
    snprintf(service, sizeof service, "%d", port);
    *list = NULL;
    r = getaddrinfo(host, service, &hints, list);
    if (r != 0)
        *list = NULL;
    return r;
}

static void wsock__addresses_free(wsock__addresses *a)
{
    if (a->list)
        freeaddrinfo(a->list);
    a->list = NULL;
    a->first = NULL;
}

/* Bind and listen on the first address that can be had. */
static wsock__fd wsock__socket_listen(const wsock__addresses *list,
                                      int backlog)
{
    const struct addrinfo *a;
    int e = 0;
    for (a = list->first; a; a = a->ai_next) {
        wsock__fd fd = wsock__socket_new(a->ai_family);
        if (fd >= 0) {
            wsock__socket_option(fd, SOL_SOCKET, WSOCK__REUSE);
            if (bind((wsock__handle)fd, a->ai_addr,
                     (socklen_t)a->ai_addrlen) == 0 &&
                listen((wsock__handle)fd, backlog) == 0)
                return fd;
        }
        e = wsock__net_error();
        if (fd >= 0)
            wsock__socket_end(fd);
    }
    wsock__net_error_set(e);
    return -1;
}

static int wsock__address_port(const struct sockaddr_storage *s)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    if (s->ss_family == AF_INET6) {
        memcpy(&v6, s, sizeof v6);
        return ntohs(v6.sin6_port);
    }
    memcpy(&v4, s, sizeof v4);
    return ntohs(v4.sin_port);
}

static int wsock__address_text(const struct sockaddr_storage *s, char *text,
                               size_t size)
{
    char host[INET6_ADDRSTRLEN];
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    const void *address = &v4.sin_addr;
    int six = s->ss_family == AF_INET6, n;
    memcpy(&v4, s, sizeof v4);
    memcpy(&v6, s, sizeof v6);
    if (six)
        address = &v6.sin6_addr;
    else if (s->ss_family != AF_INET)
        return WSOCK_INVALID_OPERATION;
    if (!inet_ntop(s->ss_family, address, host, sizeof host))
        return WSOCK_INVALID_OPERATION;
    n = snprintf(text, size, six ? "[%s]:%d" : "%s:%d", host,
                 wsock__address_port(s));
    return (size_t)n < size ? WSOCK_OK : WSOCK_INVALID_PARAMETER;
}

/* What a wake-up says: the program's, or that there is something to look at,
 * from another thread of the library's. */
#define WSOCK__WAKE_CALL UINT64_C(1)
#define WSOCK__WAKE_LOOK (UINT64_C(1) << 32)

#if WSOCK__WINDOWS
/* A datagram socket that is connected to itself: only what it sends comes
 * in. */
static wsock__fd wsock__wake_socket(void)
{
    struct sockaddr_in a;
    int size = sizeof a;
    wsock__fd fd;
    wsock__net_begin();
    fd = wsock__socket_prepare(socket(AF_INET, SOCK_DGRAM, 0));
    if (fd < 0)
        return -1;
    memset(&a, 0, sizeof a);
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind((SOCKET)fd, (struct sockaddr *)(void *)&a, size) == 0 &&
        getsockname((SOCKET)fd, (struct sockaddr *)(void *)&a, &size) == 0 &&
        connect((SOCKET)fd, (struct sockaddr *)(void *)&a, size) == 0)
        return fd;
    wsock__socket_end(fd);
    return -1;
}

static int wsock__wake_open(wsock__fd *reader, wsock__fd *writer)
{
    *reader = *writer = wsock__wake_socket();
    return *reader < 0 ? -1 : 0;
}

/* A full socket wakes just as well. */
static void wsock__wake(wsock__fd fd, uint64_t what)
{
    int e = WSAGetLastError();
    send((SOCKET)fd, (const char *)(void *)&what, sizeof what, 0);
    WSASetLastError(e);
}

static int wsock__wake_clear(wsock__fd fd)
{
    uint64_t what, all = 0;
    while (recv((SOCKET)fd, (char *)(void *)&what, sizeof what, 0) ==
           (int)sizeof what)
        all |= what;
    return (uint32_t)all != 0;
}

/* Wait until there is a wake-up.  A wait without one is a rest. */
static int wsock__wait_readable(wsock__fd fd, int timeout)
{
    struct pollfd p;
    p.fd = (SOCKET)fd;
    p.events = POLLIN;
    p.revents = 0;
    if (fd >= 0)
        return WSAPoll(&p, 1, timeout) > 0;
    Sleep((DWORD)timeout);
    return 0;
}
#else
/* A descriptor pair that a signal handler can write to.  0, or -1. */
static int wsock__wake_open(wsock__fd *reader, wsock__fd *writer)
{
#if WSOCK__LINUX
    *reader = *writer = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return *reader < 0 ? -1 : 0;
#else
    int pair[2];
    if (pipe(pair) < 0)
        return -1;
    *reader = wsock__fd_prepare(pair[0]);
    *writer = wsock__fd_prepare(pair[1]);
    return *reader < 0 || *writer < 0 ? -1 : 0;
#endif
}

/* Async-signal-safe; a full pipe wakes just as well. */
static void wsock__wake(wsock__fd fd, uint64_t what)
{
    int e = errno;
    ssize_t n = write(fd, &what, sizeof what);
    (void)n;
    errno = e;
}

/* Take them all; returns whether the program's is among them. */
static int wsock__wake_clear(wsock__fd fd)
{
    uint64_t sink[8], all = 0;
    ssize_t n, i;
    do {
        n = read(fd, sink, sizeof sink) / (ssize_t)sizeof *sink;
        for (i = 0; i < n; i++)
            all |= sink[i];
    } while (n == (ssize_t)(sizeof sink / sizeof *sink));
    return (uint32_t)all != 0;
}

/* Wait until there is a wake-up.  A wait without one is a rest. */
static int wsock__wait_readable(wsock__fd fd, int timeout)
{
    return wsock__poll_one(fd, POLLIN, timeout) != 0;
}
#endif

static void wsock__wake_close(wsock__fd *reader, wsock__fd *writer)
{
    if (*reader >= 0)
        wsock__socket_end(*reader);
    if (*writer >= 0 && *writer != *reader)
        wsock__socket_end(*writer);
    *reader = *writer = -1;
}

/* ------------------------------------------------------------ >>threads --
 * A blocking connection has one mutex over all of it.  A call holds it but
 * while it waits; a thread that ends the connection lets the others notice,
 * and the transport is closed when the last of them has stopped waiting. */

#if defined(WSOCK_NO_THREADS)
static int wsock__threads_open(wsock__loop *l)
{
    (void)l;
    return 0;
}

static void wsock__threads_close(wsock__loop *l)
{
    (void)l;
}

static void wsock__hold(const wsock__loop *l, int on)
{
    (void)l;
    (void)on;
}

static void wsock__someone_left(wsock__loop *l)
{
    (void)l;
}

static void wsock__wait_for_others(wsock__loop *l)
{
    (void)l;
}
#else
static int wsock__threads_open(wsock__loop *l)
{
    if (wsock__mutex_open(&l->mutex) != 0)
        return -1;
    if (wsock__condition_open(&l->left) != 0) {
        wsock__mutex_close(&l->mutex);
        return -1;
    }
    l->threaded = 1;
    return 0;
}

static void wsock__threads_close(wsock__loop *l)
{
    if (!l->threaded)
        return;
    wsock__condition_close(&l->left);
    wsock__mutex_close(&l->mutex);
}

static void wsock__hold(wsock__loop *l, int on)
{
    if (on)
        wsock__lock(&l->mutex);
    else
        wsock__unlock(&l->mutex);
}

static void wsock__someone_left(wsock__loop *l)
{
    wsock__condition_wake(&l->left);
}

static void wsock__wait_for_others(wsock__loop *l)
{
    wsock__condition_wait(&l->left, &l->mutex);
}
#endif

/* Begin and end of a call on a handle that may be a blocking one. */
static inline void wsock__enter(const wsock *ws)
{
    if (ws->loop->threaded) {
        wsock__hold(ws->loop, 1);
        ws->loop->inside++;
    }
}

static inline void wsock__exit(const wsock *ws)
{
    if (ws->loop->threaded) {
        ws->loop->inside--;
        if (ws->loop->freeing)
            wsock__someone_left(ws->loop);
        wsock__hold(ws->loop, 0);
    }
}

/* A sender that waits is to look at the connection. */
static void wsock__tell_sender(const wsock__loop *l)
{
    if (l->turn_write >= 0)
        wsock__wake(l->turn_write, WSOCK__WAKE_LOOK);
    if (l->io.wake)
        l->io.wake(l->io.user);
}

/* A wait begins, and others may work on the connection; it ends.  If another
 * waits while nothing is queued any more, it is a sender whose message this
 * thread has written, which need not become writable again for that. */
static inline void wsock__wait_begins(wsock__loop *l)
{
    const wsock *ws = l->all;
    if (!l->threaded)
        return;
    if (l->waiting && !(ws->out && ws->out->queued))
        wsock__tell_sender(l);
    l->waiting++;
    wsock__hold(l, 0);
}

static void wsock__wait_ends(wsock__loop *l)
{
    if (!l->threaded)
        return;
    wsock__hold(l, 1);
    l->waiting--;
    if (l->waiting == 0 && l->late_io) {
        if (l->late_io->close)
            l->late_io->close(l->late_user);
        l->late_io = NULL;
    }
}

/* Let every thread that waits look at the connection. */
static void wsock__wake_all(wsock__loop *l, const wsock_io *io, void *user)
{
    if (l->wake_write >= 0)
        wsock__wake(l->wake_write, WSOCK__WAKE_LOOK);
    if (l->turn_write >= 0)
        wsock__wake(l->turn_write, WSOCK__WAKE_LOOK);
    if (io && io->wake)
        io->wake(user);
}

/* Make the thread that is in a reading call leave it, and become the reader:
 * who comes meanwhile, perhaps the same one again, is turned away. */
static void wsock__take_reading(wsock *ws)
{
    wsock__loop *l = ws->loop;
    l->claims++;
    while (l->receiving) {
        l->cancelled = WSOCK__CANCEL_TAKEN;
        wsock__wake_all(l, ws->io, ws->io_user);
        wsock__wait_for_others(l);
    }
    l->claims--;
    l->cancelled = 0;
    l->receiving = 1;
}

/* A reading call begins: 0: another thread is in one, or is to be. */
static int wsock__reading_begins(wsock__loop *l)
{
    if (l->receiving || l->claims)
        return 0;
    l->receiving = 1;
    return 1;
}

/* It ends: a sender that waits reads from now on. */
static void wsock__reading_ends(wsock__loop *l)
{
    l->receiving = 0;
    l->receives++;
    if (!l->threaded)
        return;
    wsock__someone_left(l);
    if (l->waiting)
        wsock__tell_sender(l);
}

/* Give the transport up: at once, or when nobody waits on it any more. */
static void wsock__io_close(wsock *ws)
{
    wsock__loop *l = ws->loop;
    const wsock_io *io = ws->io;
    wsock__unwatch(ws);
    ws->io = NULL;
    if (l->waiting) {
        l->late_io = io;
        l->late_user = ws->io_user;
        if (io == &wsock__socket_io)
            wsock__socket_hang_up(wsock__fd_of(ws->io_user));
        wsock__wake_all(l, io, ws->io_user);
        return;
    }
    if (io->close)
        io->close(ws->io_user);
    if (ws->transport != WSOCK__SOCKET && l->shared) /* wsock__keep_io() */
        wsock__release(ws->config, (void *)(uintptr_t)io, sizeof *io);
}

/* ------------------------------------------------------------- >>lookup --
 * The name look-up, on a thread of its own because the system's blocks for as
 * long as it likes.  Connection and thread share a block that belongs to
 * neither, so that nobody waits for the other; its memory is malloc's, as the
 * thread may be the last to let go. */

#if defined(WSOCK_NO_THREADS)
typedef int wsock__lookup;
#else
typedef struct wsock__lookup {
    wsock__mutex mutex;
    int references;
    int done, code, error; /* getaddrinfo()'s; the system's */
    wsock__fd reader, writer; /* readable when it is done */
    int port;
    struct addrinfo *list;
    char host[256];
} wsock__lookup;

static void wsock__lookup_drop(wsock__lookup *lookup)
{
    int left;
    wsock__lock(&lookup->mutex);
    left = --lookup->references;
    wsock__unlock(&lookup->mutex);
    if (left)
        return;
    if (lookup->list)
        freeaddrinfo(lookup->list);
    wsock__wake_close(&lookup->reader, &lookup->writer);
    wsock__mutex_close(&lookup->mutex);
    free(lookup);
}

static WSOCK__THREAD wsock__lookup_run(void *argument)
{
    wsock__lookup *lookup = (wsock__lookup *)argument;
    struct addrinfo *list;
    int code = wsock__ask_system(lookup->host, lookup->port, 0, &list);
    int error = wsock__net_error();
    wsock__lock(&lookup->mutex);
    lookup->done = 1;
    lookup->code = code;
    lookup->error = error;
    lookup->list = list;
    wsock__unlock(&lookup->mutex);
    wsock__wake(lookup->writer, WSOCK__WAKE_LOOK);
    wsock__lookup_drop(lookup);
    return 0;
}

/* NULL: no memory, descriptor or thread for it; wsock__net_error() tells
 * which. */
static wsock__lookup *wsock__lookup_start(const char *host, int port)
{
    wsock__lookup *lookup = (wsock__lookup *)malloc(sizeof *lookup);
    int error;
    if (!lookup) {
        wsock__net_error_set(WSOCK__ENOMEM);
        return NULL;
    }
    memset(lookup, 0, sizeof *lookup);
    snprintf(lookup->host, sizeof lookup->host, "%s", host);
    lookup->port = port;
    lookup->references = 2;
    lookup->reader = lookup->writer = -1;
    wsock__mutex_open(&lookup->mutex);
    if (wsock__wake_open(&lookup->reader, &lookup->writer) == 0 &&
        wsock__thread_start(wsock__lookup_run, lookup) == 0)
        return lookup;
    error = wsock__net_error();
    lookup->references = 1;
    wsock__lookup_drop(lookup);
    wsock__net_error_set(error);
    return NULL;
}

/* Take the result.  1: it is set; 0: not yet. */
static int wsock__lookup_take(wsock__lookup *lookup, struct addrinfo **list,
                              int *code, int *error)
{
    int done;
    wsock__lock(&lookup->mutex);
    done = lookup->done;
    if (done) {
        *list = lookup->list;
        *code = lookup->code;
        *error = lookup->error;
        lookup->list = NULL;
    }
    wsock__unlock(&lookup->mutex);
    return done;
}
#endif

/* --------------------------------------------------------------- >>dial --
 * A TCP connect to the addresses of a host.  They are raced (RFC 8305): the
 * families take turns, the next address is tried 250 ms after the last one or
 * as soon as that has failed, and the first that answers is taken. */

enum {
    WSOCK__RACERS = 8,
    WSOCK__RACE_DELAY = 250 /* ms, RFC 8305 5 */
};

typedef struct wsock__dial {
    wsock *owner;
    wsock__lookup *lookup;      /* that runs, or NULL */
    wsock__addresses addresses;
    const struct addrinfo *next[2]; /* of the first one's family; of others */
    int turn;    /* whose turn it is */
    int due;     /* the next one may be tried */
    int started; /* how many were */
    wsock__fd fds[WSOCK__RACERS];
    int count;
    int error; /* the system's code of the last failure */
    int lookup_code; /* getaddrinfo()'s; WSOCK__EAI_SYSTEM: see error */
    int64_t deadline; /* -1: none */
    size_t capacity;  /* of this block */
} wsock__dial;

typedef char wsock__dial_fits[sizeof(wsock__dial) <= WSOCK__DIAL_MOST ? 1
                                                                      : -1];

static void wsock__watch_fd(wsock *ws, wsock__fd fd, unsigned wants);
static void wsock__unwatch_fd(wsock *ws, wsock__fd fd, unsigned wants);

/* Step over addresses that are not of the family that a cursor is for. */
static const struct addrinfo *wsock__dial_skip(const wsock__dial *d, int other,
                                               const struct addrinfo *a)
{
    int family = d->addresses.first->ai_family;
    while (a && (a->ai_family != family) != other)
        a = a->ai_next;
    return a;
}

static void wsock__dial_begin(wsock__dial *d)
{
    d->next[0] = d->addresses.first;
    d->next[1] = wsock__dial_skip(d, 1, d->addresses.first);
    d->turn = 0;
}

/* The families take turns while both have addresses (RFC 8305 4). */
static const struct addrinfo *wsock__dial_next(wsock__dial *d)
{
    int which = d->next[d->turn] ? d->turn : !d->turn;
    const struct addrinfo *a = d->next[which];
    if (a)
        d->next[which] = wsock__dial_skip(d, which, a->ai_next);
    d->turn = !which;
    return a;
}

static int wsock__dial_has_more(const wsock__dial *d)
{
    return d->next[0] || d->next[1];
}

static void wsock__dial_drop(wsock__dial *d, int i)
{
    wsock__unwatch_fd(d->owner, d->fds[i], 2); /* a child may hold it */
    wsock__socket_end(d->fds[i]);
    d->count--;
    memmove(&d->fds[i], &d->fds[i + 1],
            (size_t)(d->count - i) * sizeof *d->fds);
}

/* Try one more address; one that fails at once is followed by the next.  When
 * all places are taken, the oldest gives way. */
static void wsock__dial_more(wsock__dial *d)
{
    const struct addrinfo *a;
    wsock__fd fd;
    if (d->count == WSOCK__RACERS && wsock__dial_has_more(d))
        wsock__dial_drop(d, 0);
    while (d->count < WSOCK__RACERS && (a = wsock__dial_next(d)) != NULL) {
        fd = wsock__socket_new(a->ai_family);
        if (fd >= 0) {
            wsock__socket_options(fd);
            if (connect((wsock__handle)fd, a->ai_addr,
                        (socklen_t)a->ai_addrlen) == 0 ||
                wsock__is_connecting(wsock__net_error())) {
                wsock__watch_fd(d->owner, fd, 2);
                d->started++;
                d->fds[d->count++] = fd;
                return;
            }
        }
        d->error = wsock__net_error();
        if (fd >= 0)
            wsock__socket_end(fd);
    }
}

/* Has a connect ended?  0: not yet, 1: well; negative: it failed. */
static int wsock__dial_check(wsock__dial *d, wsock__fd fd)
{
    int error = 0;
    socklen_t size = sizeof error;
    if (!wsock__connect_ended(fd))
        return 0;
    if (getsockopt((wsock__handle)fd, SOL_SOCKET, SO_ERROR,
                   (char *)(void *)&error, &size) < 0)
        error = wsock__net_error();
    if (error)
        d->error = error;
    return error ? -1 : 1;
}

/* Look at all that race.  The winner stands first and alone, or nobody has
 * won yet (WANT), or nobody is left. */
static int wsock__dial_race(wsock__dial *d)
{
    int i = 0, r;
    wsock__fd winner;
    while (i < d->count) {
        r = wsock__dial_check(d, d->fds[i]);
        if (r > 0) {
            winner = d->fds[i];
            d->fds[i] = d->fds[0];
            d->fds[0] = winner;
            while (d->count > 1)
                wsock__dial_drop(d, 1);
            return WSOCK_OK;
        }
        if (r < 0) {
            wsock__dial_drop(d, i);
            wsock__dial_more(d);
        } else {
            i++;
        }
    }
    if (d->count == 0)
        wsock__dial_more(d);
    return d->count ? WSOCK_WANT_WRITE : WSOCK_TRANSPORT_ERROR;
}

static void wsock__dial_explain(void *user, wsock_failure *f)
{
    const wsock__dial *d = (const wsock__dial *)user;
    if (d->lookup_code) {
        f->code = WSOCK_LOOKUP_FAILED;
        f->phase = WSOCK_PHASE_LOOKUP;
        f->text = wsock__lookup_why(d->lookup_code, d->error, &f->os_code);
        return;
    }
    f->os_code = d->error;
    f->text = wsock__net_text(d->error);
}

static void wsock__dial_lookup_end(wsock__dial *d)
{
#if !defined(WSOCK_NO_THREADS)
    if (!d->lookup)
        return;
    wsock__unwatch_fd(d->owner, d->lookup->reader, 1);
    wsock__lookup_drop(d->lookup);
#endif
    d->lookup = NULL;
}

static void wsock__dial_close(void *user)
{
    wsock__dial *d = (wsock__dial *)user;
    wsock__dial_lookup_end(d);
    wsock__addresses_free(&d->addresses);
    while (d->count)
        wsock__dial_drop(d, d->count - 1);
}

static const wsock_io wsock__dial_io = {
    NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    wsock__dial_explain,
    wsock__dial_close,
    NULL};

static int wsock__is_looking_up(const wsock *ws)
{
    return ws->io == &wsock__dial_io &&
           ((const wsock__dial *)ws->io_user)->lookup != NULL;
}

/* Begin with the addresses, by whatever way they can be had.  0: done, or
 * under way; else getaddrinfo()'s code. */
static int wsock__dial_lookup(wsock__dial *d, const char *host, int port)
{
    if (wsock__known_host(&d->addresses, host, port, 0)) {
        wsock__dial_begin(d);
        return 0;
    }
#if defined(WSOCK_NO_THREADS)
    {
        int r = wsock__ask_system(host, port, 0, &d->addresses.list);
        d->error = wsock__net_error();
        if (r != 0)
            return r;
        d->addresses.first = d->addresses.list;
        wsock__dial_begin(d);
        return 0;
    }
#else
    d->lookup = wsock__lookup_start(host, port);
    d->error = wsock__net_error();
    if (!d->lookup)
        return WSOCK__EAI_SYSTEM;
    wsock__watch_fd(d->owner, d->lookup->reader, 1);
    return 0;
#endif
}

/* The result of the look-up, if it is there.  0: it is, or was there before;
 * WSOCK_WANT_READ: not yet; or error. */
static int wsock__dial_names(wsock__dial *d)
{
#if !defined(WSOCK_NO_THREADS)
    if (!d->lookup)
        return WSOCK_OK;
    if (!wsock__lookup_take(d->lookup, &d->addresses.list, &d->lookup_code,
                            &d->error))
        return WSOCK_WANT_READ;
    wsock__dial_lookup_end(d);
    if (d->lookup_code)
        return WSOCK_TRANSPORT_ERROR;
    d->addresses.first = d->addresses.list;
    wsock__dial_begin(d);
#else
    (void)d;
#endif
    return WSOCK_OK;
}

/* What a dial waits for. */
static size_t wsock__dial_watches(const wsock__dial *d, wsock_watch *list,
                                  size_t cap)
{
    size_t n = 0;
    int i;
#if !defined(WSOCK_NO_THREADS)
    if (d->lookup && n++ < cap) {
        list[0].fd = d->lookup->reader;
        list[0].wants = 1;
    }
#endif
    for (i = 0; i < d->count; i++, n++)
        if (n < cap) {
            list[n].fd = d->fds[i];
            list[n].wants = 2;
        }
    return n;
}

/* ------------------------------------------------------------- >>secure --
 * TLS goes around a transport once that is open: the connection then has
 * another wsock_io, whose `open` is the handshake.  Nothing else knows of
 * it. */

/* Where the callbacks of TLS stand: beside those of a transport of the
 * program's, which wsock_wake() asks still; in a server's loop, where it does
 * not, in their place.  NULL: no memory. */
static wsock_io *wsock__secured_io(wsock *ws)
{
    if (!ws->loop->shared)
        return &ws->loop->secured;
    if (ws->io != &wsock__socket_io) /* see wsock__keep_io() */
        return (wsock_io *)(uintptr_t)ws->io;
    return (wsock_io *)wsock__alloc(ws->config, sizeof(wsock_io));
}

static void wsock__secure(wsock *ws)
{
    static const wsock_tls built_in = {wsock__bear_wrap, NULL};
    const wsock__config *c = ws->config;
    const wsock_tls *tls = c->o.tls ? c->o.tls : &built_in;
    int r = WSOCK_NO_MEMORY;
    wsock_io *io = wsock__secured_io(ws);
    ws->phase = WSOCK__PHASE_SECURING;
    if (io) {
        if (io != ws->io)
            *io = *ws->io;
        io->open = NULL;
        io->user = ws->io_user;
        ws->io = io;
        if (ws->transport == WSOCK__SOCKET)
            ws->transport = WSOCK__SECURE_SOCKET;
        r = tls->wrap(c->o.tls ? tls->user : ws, io, ws->role,
                      ws->role == WSOCK_CLIENT ? c->host : NULL, &c->o);
        ws->io_user = io->user;
    }
    if (r != WSOCK_OK) {
        wsock__note(ws, r < 0 ? r : (int)WSOCK_TLS_ERROR,
                    WSOCK_OPERATION_CONNECT, "TLS cannot begin: %s",
                    wsock_result_text(r));
        wsock__done(ws);
        return;
    }
    wsock__handshake_timer(ws);
    wsock__list_work(ws, WSOCK__WORK_LOOK);
}

enum { WSOCK__TLS_STEPS = 4 }; /* a step may sign: one or two ms of work */

/* May a handshake go on, or has this round of a server's loop done enough of
 * them?  A round ends with a look at the kernel, and then those who are
 * ready, which the old connections are among, come first. */
static int wsock__may_secure(wsock *ws, unsigned work)
{
    wsock__loop *l = ws->loop;
    if (!l->shared)
        return 1;
    if (l->tls_round != l->listings_before)
        l->tls_steps = 0;
    l->tls_round = l->listings_before;
    if (l->tls_steps++ < WSOCK__TLS_STEPS)
        return 1;
    wsock__list_work(ws, work | WSOCK__WORK_LOOK);
    return 0;
}

/* The transport is open, or TLS over it. */
static void wsock__transport_open(wsock *ws)
{
    if (ws->config->secure && ws->phase < WSOCK__PHASE_SECURING)
        wsock__secure(ws);
    else
        wsock__begin(ws);
}

/* ------------------------------------------------------------- >>poller --
 * Waiting for many sockets: the kernel's queue (epoll, kqueue) where there
 * is one, else poll(). */

/* What a connection waits for: 1 to be read, 2 to be written. */
static unsigned wsock__interest(const wsock *ws)
{
    uint32_t b = ws->bits;
    unsigned wants = 0;
    if (ws->phase <= WSOCK__PHASE_SECURING)
        return b & WSOCK__WRITE_WANTS_READ ? 1 : 2;
    if (!(b & WSOCK__END_OF_STREAM) &&
        !(b & (ws->phase == WSOCK__PHASE_OPEN ? WSOCK__HELD | WSOCK__PAUSED
               : ws->phase == WSOCK__PHASE_HANDSHAKE ? (int)WSOCK__ASKED
                                                     : 0)))
        wants |= b & WSOCK__READ_WANTS_WRITE ? 2 : 1;
    if (b & WSOCK__STUCK)
        wants |= b & WSOCK__WRITE_WANTS_READ ? 1 : 2;
    return wants;
}

/* In all three: wsock__queue_set() makes the kernel watch a descriptor for
 * `wants` (1 to be read, 2 to be written) where it watched it for `had`, -1:
 * not at all; wants -1 forgets it.  0, or -1: there is no room. */
#if WSOCK__EPOLL
typedef struct epoll_event wsock__ready;

static int wsock__queue_new(void)
{
    return epoll_create1(EPOLL_CLOEXEC);
}

static int wsock__queue_set(wsock__loop *l, wsock__fd fd, int had, int wants,
                            void *what)
{
    struct epoll_event e;
    memset(&e, 0, sizeof e);
    if (wants < 0)
        return epoll_ctl(l->queue, EPOLL_CTL_DEL, fd, &e);
    e.events = (wants & 1 ? (uint32_t)EPOLLIN : 0) |
               (wants & 2 ? (uint32_t)EPOLLOUT : 0);
    e.data.ptr = what;
    return epoll_ctl(l->queue, had < 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd,
                     &e);
}

static int wsock__queue_wait(wsock__loop *l, int timeout)
{
    return epoll_wait(l->queue, (wsock__ready *)l->ready, WSOCK__BATCH,
                      timeout);
}

static inline void *wsock__ready_what(const wsock__ready *r)
{
    return r->data.ptr;
}

static inline int wsock__ready_read(const wsock__ready *r)
{
    return (r->events & ~(uint32_t)EPOLLOUT) != 0;
}

static inline int wsock__ready_write(const wsock__ready *r)
{
    return (r->events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0;
}

static void wsock__ready_void(wsock__ready *r)
{
    r->data.ptr = (void *)((uintptr_t)r | 1);
}
#elif WSOCK__KQUEUE
typedef struct kevent wsock__ready;

static int wsock__queue_new(void)
{
    return kqueue(); /* which a child process does not get */
}

/* One filter for each direction.  What the kernel has forgotten already, as
 * its descriptor was closed, is no failure. */
static int wsock__queue_filter(wsock__loop *l, wsock__fd fd, int filter,
                               int had, int wants, void *what)
{
    struct kevent e;
    if (!had == !wants)
        return 0;
    EV_SET(&e, (uintptr_t)fd, (short)filter,
           (unsigned short)(wants ? EV_ADD : EV_DELETE), 0, 0, what);
    if (kevent(l->queue, &e, 1, NULL, 0, NULL) < 0 && wants)
        return -1;
    return 0;
}

static int wsock__queue_set(wsock__loop *l, wsock__fd fd, int had, int wants,
                            void *what)
{
    if (had < 0)
        had = 0;
    if (wants < 0)
        wants = 0;
    return wsock__queue_filter(l, fd, EVFILT_READ, had & 1, wants & 1,
                               what) < 0 ||
                   wsock__queue_filter(l, fd, EVFILT_WRITE, had & 2,
                                       wants & 2, what) < 0
               ? -1
               : 0;
}

static int wsock__queue_wait(wsock__loop *l, int timeout)
{
    struct timespec t;
    t.tv_sec = timeout / 1000;
    t.tv_nsec = timeout % 1000 * 1000000L;
    return kevent(l->queue, NULL, 0, (wsock__ready *)l->ready, WSOCK__BATCH,
                  timeout < 0 ? NULL : &t);
}

static inline void *wsock__ready_what(const wsock__ready *r)
{
    return (void *)r->udata;
}

static inline int wsock__ready_read(const wsock__ready *r)
{
    return r->filter == EVFILT_READ;
}

static inline int wsock__ready_write(const wsock__ready *r)
{
    return r->filter == EVFILT_WRITE;
}

static void wsock__ready_void(wsock__ready *r)
{
    r->udata = (void *)((uintptr_t)r | 1);
}
#else
typedef int wsock__ready;

static int wsock__queue_set(wsock__loop *l, wsock__fd fd, int had, int wants,
                            void *what)
{
    (void)l;
    (void)fd;
    (void)had;
    (void)wants;
    (void)what;
    return 0;
}
#endif

#define WSOCK__QUEUE (WSOCK__EPOLL || WSOCK__KQUEUE)

enum { WSOCK__READY_SIZE = WSOCK__BATCH * (int)sizeof(wsock__ready) };

/* While a dial is under way: a descriptor of it. */
static void wsock__watch_fd(wsock *ws, wsock__fd fd, unsigned wants)
{
    if (ws->loop->queue >= 0)
        wsock__queue_set(ws->loop, fd, -1, (int)wants, ws);
}

static void wsock__unwatch_fd(wsock *ws, wsock__fd fd, unsigned wants)
{
    if (ws->loop->queue >= 0)
        wsock__queue_set(ws->loop, fd, (int)wants, -1, ws);
}

/* Note what is waited for, and tell the kernel if that has changed. */
static void wsock__arm(wsock *ws)
{
    unsigned wants = wsock__interest(ws);
    if (wants == ws->armed || ws->io == &wsock__dial_io)
        return;
    if (ws->loop->queue >= 0) {
        wsock__fd fd = (wsock__fd)ws->io->fd(ws->io_user);
        if (fd < 0 || wsock__queue_set(ws->loop, fd,
                                       ws->watched ? ws->armed : -1,
                                       (int)wants, ws) < 0)
            return; /* it has none yet: armed when it has */
        ws->watched = 1;
    }
    ws->armed = (uint8_t)wants;
}

/* 0, or -1 when the kernel has no room for one more. */
static int wsock__watch(wsock *ws)
{
    ws->armed = 1;
    if (ws->loop->queue >= 0) {
        if (wsock__queue_set(ws->loop, (wsock__fd)ws->io->fd(ws->io_user), -1,
                             1, ws) < 0)
            return -1;
        ws->watched = 1;
    }
    return 0;
}

static void wsock__unwatch(wsock *ws)
{
    if (ws->watched)
        wsock__queue_set(ws->loop, (wsock__fd)ws->io->fd(ws->io_user),
                         ws->armed, -1, ws);
    ws->watched = 0;
}

/* What stands for the loop's own descriptors in the kernel's queue: an odd
 * address, which no connection has. */
static void *wsock__own(const void *what)
{
    return (void *)((uintptr_t)what | 1);
}

static void wsock__listener_watch(wsock__loop *l, int on)
{
    if (l->listening == on)
        return;
    l->listening = (uint8_t)on;
    if (l->queue >= 0)
        wsock__queue_set(l, l->listener, on ? 0 : 1, on ? 1 : 0,
                         wsock__own(&l->listener));
}

/* Is there room for another connection?  Asked whenever their number has
 * changed. */
static void wsock__listener_check(wsock__loop *l)
{
    if (l->listener >= 0)
        wsock__listener_watch(l, !l->listen_due &&
                                     l->count < l->config->o.max_connections);
    else if (l->live == 0 && l->wake_write >= 0)
        wsock__wake(l->wake_write, WSOCK__WAKE_CALL); /* that was the last */
}

/* The listener rests until `due`, when it is watched again; 0: no longer. */
static void wsock__listener_rest(wsock__loop *l, int64_t due)
{
    if (l->listen_due)
        wsock__timing_less(l);
    if (due)
        wsock__timing_more(l, due);
    l->listen_due = due;
}

static void wsock__expire(wsock__loop *l);

#if WSOCK__EPOLL
/* With the system's own clock the kernel tells when a timer is due, and no
 * wait has to ask what time it is.  Without one waits are timed. */
static void wsock__alarm_open(wsock__loop *l)
{
    if (l->config->system.now != wsock__system_now)
        return;
    l->alarm = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (l->alarm >= 0 &&
        wsock__queue_set(l, l->alarm, -1, 1, wsock__own(&l->alarm)) < 0) {
        close(l->alarm);
        l->alarm = -1;
    }
}

static void wsock__alarm_set(wsock__loop *l)
{
    struct itimerspec t;
    memset(&t, 0, sizeof t);
    t.it_value.tv_sec = (time_t)(l->next_due / 1000);
    t.it_value.tv_nsec = (long)(l->next_due % 1000) * 1000000;
    timerfd_settime(l->alarm, TFD_TIMER_ABSTIME, &t, NULL);
    l->alarm_due = l->next_due;
}

static void wsock__alarm_rang(wsock__loop *l)
{
    uint64_t times;
    ssize_t n = read(l->alarm, &times, sizeof times);
    (void)n;
    l->alarm_due = INT64_MAX;
    l->now = wsock__now(l);
    wsock__expire(l);
}

static void wsock__alarm_close(wsock__loop *l)
{
    if (l->alarm >= 0)
        close(l->alarm);
    l->alarm = -1;
}
#else
static inline void wsock__alarm_open(wsock__loop *l)
{
    (void)l;
}

static inline void wsock__alarm_set(wsock__loop *l)
{
    (void)l;
}

static inline void wsock__alarm_rang(wsock__loop *l)
{
    (void)l;
}

static inline void wsock__alarm_close(wsock__loop *l)
{
    (void)l;
}
#endif

static int wsock__poller_open(wsock__loop *l)
{
    if (wsock__wake_open(&l->wake_read, &l->wake_write) < 0)
        return -1;
    l->listening = 1;
#if WSOCK__QUEUE
    l->ready = wsock__alloc(l->config, WSOCK__READY_SIZE);
    if (!l->ready) {
        wsock__net_error_set(WSOCK__ENOMEM);
        return -1;
    }
    l->queue = wsock__queue_new();
    if (l->queue < 0 ||
        wsock__queue_set(l, l->wake_read, -1, 1, wsock__own(&l->wake_read)) <
            0 ||
        wsock__queue_set(l, l->listener, -1, 1, wsock__own(&l->listener)) < 0)
        return -1;
    wsock__alarm_open(l);
#endif
    return 0;
}

static void wsock__poller_close(wsock__loop *l)
{
    wsock__wake_close(&l->wake_read, &l->wake_write);
    l->ready_at = l->ready_count = 0;
    wsock__alarm_close(l);
    if (l->queue >= 0)
        wsock__socket_end(l->queue);
    l->queue = -1;
    wsock__release(l->config, l->ready, WSOCK__READY_SIZE);
    l->ready = NULL;
}

/* Errors and hang-ups mean "go and try": reading, or writing while reading
 * is held back, tells what it is. */
static inline unsigned wsock__work_of(const wsock *ws, int readable,
                                      int writable)
{
    if (WSOCK__UNLIKELY(ws->bits & (WSOCK__READ_WANTS_WRITE |
                                    WSOCK__WRITE_WANTS_READ)))
        return WSOCK__WORK_READ | WSOCK__WORK_WRITE;
    if (WSOCK__LIKELY(!writable))
        return WSOCK__WORK_READ;
    if (!ws->armed)
        return WSOCK__WORK_HUNG | WSOCK__WORK_READ | WSOCK__WORK_WRITE;
    return WSOCK__WORK_WRITE | (readable ? (unsigned)WSOCK__WORK_READ : 0);
}

static void wsock__accept_all(wsock__loop *l);

/* wsock_wake() was called. */
static void wsock__woken(wsock__loop *l)
{
    int called = wsock__wake_clear(l->wake_read);
    l->interrupted = 1;
    if (called && l->receiving && !l->cancelled) /* a blocking call asks */
        l->cancelled = WSOCK__CANCEL_WAKE;
}

#if WSOCK__QUEUE
static inline void wsock__wait_queue(wsock__loop *l, int timeout)
{
    int n = wsock__queue_wait(l, timeout);
    l->ready_at = 0;
    l->ready_count = n;
    if (WSOCK__LIKELY(n > 0))
        l->filled = 1; /* what comes of it is looked at, too */
    else if (n < 0 && wsock__is_interrupt(wsock__net_error()))
        l->interrupted = 1;
}

/* One of the loop's own descriptors is ready, or it is one that was voided. */
static void wsock__ready_own(wsock__loop *l, const void *what)
{
    if (what == wsock__own(&l->listener))
        wsock__accept_all(l);
    else if (what == wsock__own(&l->wake_read))
        wsock__woken(l);
    else if (what == wsock__own(&l->alarm))
        wsock__alarm_rang(l);
}

/* The next connection that the last wait found; NULL: there are no more. */
WSOCK__INLINE wsock *wsock__ready_take(wsock__loop *l, unsigned *work)
{
    while (l->ready_at < l->ready_count) {
        const wsock__ready *r =
            (const wsock__ready *)l->ready + l->ready_at++;
        void *what = wsock__ready_what(r);
        if (WSOCK__UNLIKELY((uintptr_t)what & 1)) {
            wsock__ready_own(l, what);
        } else {
            *work = wsock__work_of((wsock *)what, wsock__ready_read(r),
                                   wsock__ready_write(r));
            return (wsock *)what;
        }
    }
    return NULL;
}

/* A connection is freed: what the last wait found of it is void. */
static void wsock__ready_forget(wsock__loop *l, const wsock *ws)
{
    int i;
    for (i = l->ready_at; i < l->ready_count; i++) {
        wsock__ready *r = (wsock__ready *)l->ready + i;
        if (wsock__ready_what(r) == ws)
            wsock__ready_void(r);
    }
}
#else
static wsock *wsock__ready_take(wsock__loop *l, unsigned *work)
{
    (void)l;
    (void)work;
    return NULL;
}

static void wsock__ready_forget(wsock__loop *l, const wsock *ws)
{
    (void)l;
    (void)ws;
}
#endif

static wsock__fd wsock__io_fd(const wsock *ws)
{
    return ws->io && ws->io->fd ? (wsock__fd)ws->io->fd(ws->io_user) : -1;
}

/* What a connection waits for: how many descriptors there are. */
static size_t wsock__fds_of(const wsock *ws, wsock_watch *list, size_t cap)
{
    unsigned wants;
    wsock__fd fd;
    if (ws->io == &wsock__dial_io)
        return wsock__dial_watches((const wsock__dial *)ws->io_user, list,
                                   cap);
    fd = wsock__io_fd(ws);
    wants = fd < 0 ? 0 : wsock__interest(ws);
    if (wants && cap) {
        list->fd = fd;
        list->wants = (int)wants;
    }
    return wants != 0;
}

/* All that poll() is asked for: the wake-up, the listener, and what every
 * connection waits for.  The one order for building and for reading. */
static size_t wsock__all_watches(const wsock__loop *l, wsock_watch *list,
                                 size_t cap)
{
    size_t n = 0;
    const wsock *ws;
    if (l->wake_read >= 0 && n++ < cap) {
        list[0].fd = l->wake_read;
        list[0].wants = 1;
    }
    if (l->listening && n++ < cap) {
        list[n - 1].fd = l->listener;
        list[n - 1].wants = 1;
    }
    for (ws = l->all; ws; ws = ws->next)
        n += wsock__fds_of(ws, n < cap ? list + n : NULL,
                           n < cap ? cap - n : 0);
    return n;
}

enum { WSOCK__FEW = WSOCK__RACERS + 2 }; /* with wake-up and look-up */

/* An array for all descriptors; few of them need no memory. */
static struct pollfd *wsock__pollfds(wsock__loop *l, size_t n,
                                     struct pollfd *few)
{
    size_t need = n * (sizeof(struct pollfd) + sizeof(wsock_watch));
    if (n <= WSOCK__FEW)
        return few;
    if (need > l->pollfds_size) {
        wsock__release(l->config, l->pollfds, l->pollfds_size);
        l->pollfds = wsock__alloc(l->config, need * 2);
        l->pollfds_size = l->pollfds ? need * 2 : 0;
    }
    return (struct pollfd *)l->pollfds;
}

static void wsock__pollfd_set(struct pollfd *p, const wsock_watch *watch)
{
    p->fd = (wsock__handle)watch->fd;
    p->events = (short)((watch->wants & 1 ? POLLIN : 0) |
                        (watch->wants & 2 ? POLLOUT : 0));
    p->revents = 0;
}

/* Which of a connection's descriptors are ready? */
static void wsock__polled(wsock *ws, const struct pollfd *p, size_t n)
{
    int readable = 0, writable = 0;
    for (; n; p++, n--) {
        readable |= p->revents & ~POLLOUT;
        writable |= p->revents & (POLLOUT | POLLERR | POLLHUP);
    }
    if (readable | writable)
        wsock__list_work(ws, wsock__work_of(ws, readable != 0,
                                            writable != 0));
}

/* Hand out what poll() has found.  A connection with a loop of its own may
 * have changed meanwhile, by another thread; but all the rest is its own. */
static void wsock__polled_all(wsock__loop *l, const struct pollfd *list,
                              size_t count)
{
    size_t i = 0, n;
    wsock *ws;
    int accept;
    if (l->wake_read >= 0 && list[i++].revents)
        wsock__woken(l);
    accept = l->listening && list[i++].revents;
    for (ws = l->all; ws; ws = ws->next, i += n) {
        n = l->shared ? wsock__fds_of(ws, NULL, 0) : count - i;
        wsock__polled(ws, list + i, n);
    }
    if (accept)
        wsock__accept_all(l);
}

/* Was wsock_wake() called meanwhile?  For waits that do not see it. */
static void wsock__wake_look(wsock__loop *l)
{
    if (wsock__wait_readable(l->wake_read, 0))
        wsock__woken(l);
}

enum { WSOCK__SLICE = 20 }; /* ms, where there is nothing to wait on */

/* Wait for these.  A signal ends the poll call. */
static int wsock__wait_fds(wsock__loop *l, struct pollfd *list, size_t n,
                           int timeout)
{
    int ready, interrupted;
    wsock__wait_begins(l);
    ready = wsock__poll_fds(list, n, timeout);
    interrupted = ready < 0 && wsock__is_interrupt(wsock__net_error());
    wsock__wait_ends(l);
    if (interrupted)
        l->interrupted = 1;
    return ready;
}

/* A short rest, which wsock_wake() ends. */
static void wsock__wait_slice(wsock__loop *l, int timeout)
{
    struct pollfd p;
    wsock_watch watch;
    watch.fd = l->wake_read;
    watch.wants = 1;
    wsock__pollfd_set(&p, &watch);
    if (timeout < 0 || timeout > WSOCK__SLICE)
        timeout = WSOCK__SLICE;
    wsock__wait_fds(l, &p, 1, timeout);
}

/* There is no memory for an array of all: a rest, then each is asked by
 * itself. */
static void wsock__wait_each(wsock__loop *l, int timeout)
{
    struct pollfd list[WSOCK__FEW];
    wsock_watch watches[WSOCK__FEW];
    size_t n, i;
    wsock *ws;
    wsock__wait_slice(l, timeout);
    wsock__wake_look(l);
    for (ws = l->all; ws; ws = ws->next) {
        n = wsock__fds_of(ws, watches, WSOCK__FEW);
        for (i = 0; i < n; i++)
            wsock__pollfd_set(&list[i], &watches[i]);
        if (n && wsock__poll_fds(list, n, 0) > 0) {
            l->filled = 1;
            wsock__polled(ws, list, n);
        }
    }
    if (l->listening && wsock__wait_readable(l->listener, 0))
        wsock__accept_all(l);
}

static void wsock__wait_poll(wsock__loop *l, int timeout)
{
    struct pollfd few[WSOCK__FEW], *list;
    wsock_watch few_watches[WSOCK__FEW], *watches = few_watches;
    size_t n = wsock__all_watches(l, NULL, 0), i;
    list = wsock__pollfds(l, n, few);
    if (!list) {
        wsock__wait_each(l, timeout);
        return;
    }
    if (list != few)
        watches = (wsock_watch *)(void *)(list + n);
    wsock__all_watches(l, watches, n);
    for (i = 0; i < n; i++)
        wsock__pollfd_set(&list[i], &watches[i]);
    if (wsock__wait_fds(l, list, n, timeout) > 0) {
        l->filled = 1;
        wsock__polled_all(l, list, n);
    }
}

static void wsock__wait_failed(wsock *ws)
{
    wsock__note_io(ws, WSOCK_IO_ERROR, WSOCK_OPERATION_RECEIVE,
                   "waiting for the transport failed");
    wsock__done(ws);
}

/* A transport of the program's with a wait of its own, or none. */
static void wsock__wait_io(wsock__loop *l, wsock *ws, int timeout)
{
    const wsock_io *io = ws->io;
    int r = 0;
    if (!io->wait && !wsock__is_blocking(ws)) {
        l->interrupted = 1; /* nothing to wait on: try again next time */
    } else if (!io->wait) { /* a blocking call, and no descriptor now */
        wsock__wait_slice(l, timeout);
    } else if (timeout != 0) {
        void *user = ws->io_user;
        int wants = (int)wsock__interest(ws);
        wsock__wait_begins(l);
        r = io->wait(user, wants, timeout);
        wsock__wait_ends(l);
    }
    if (ws->phase == WSOCK__PHASE_DONE)
        return;
    if (r < 0) {
        wsock__wait_failed(ws);
        return;
    }
    wsock__wake_look(l);
    wsock__list_work(ws, WSOCK__WORK_READ | WSOCK__WORK_WRITE);
}

/* Wait up to `timeout` ms (-1: no limit) until something is ready.  A wake may
 * have been found together with an event, which came first: then the call that
 * follows is to return, too. */
static inline void wsock__wait(wsock__loop *l, int timeout)
{
    wsock *ws = l->all;
    if (l->work_first || l->interrupted)
        timeout = 0;
#if WSOCK__QUEUE
    if (WSOCK__LIKELY(l->queue >= 0)) {
        wsock__wait_queue(l, timeout);
        return;
    }
#endif
    if (!l->shared && ws->io && ws->transport &&
        (ws->io->wait || wsock__io_fd(ws) < 0))
        wsock__wait_io(l, ws, timeout);
    else
        wsock__wait_poll(l, timeout);
}

/* -------------------------------------------------------- >>connection --
 * I/O around the core: one turn of a connection that is ready. */

/* Where to read to: into the message or the caller's buffer itself while a
 * large frame is coming, else into the window. */
static uint8_t *wsock__read_target(wsock *ws, size_t *room)
{
    wsock__loop *l = ws->loop;
    wsock__in *in = ws->in;
    size_t left = 0;
    if (in && in->in_frame && ws->phase == WSOCK__PHASE_OPEN &&
        !in->tail_size) /* else what is there comes first */
        left = in->left < (uint64_t)1 << 30 ? (size_t)in->left
                                            : (size_t)1 << 30;
    if (left >= 4096 && l->direct_size >= 4096) {
        *room = left < l->direct_size ? left : l->direct_size;
        return l->direct;
    }
    if (left >= 4096 && wsock__assembles(ws) &&
        !(ws->bits & WSOCK__DISCARD) &&
        wsock__message_room(ws, in->capacity > in->size ? 1 : 4096)) {
        *room = in->capacity - in->size;
        if (*room > left)
            *room = left;
        return in->message + in->size;
    }
    if (!l->window)
        l->window = (uint8_t *)wsock__alloc(l->config, l->window_size);
    *room = l->window ? l->window_size : 0;
    return l->window;
}

static void wsock__read_failed(wsock *ws)
{
    if (ws->phase == WSOCK__PHASE_LINGER) { /* all was said already */
        wsock__done(ws);
        return;
    }
    wsock__note_io(ws, WSOCK_CONNECTION_LOST, WSOCK_OPERATION_RECEIVE,
                   "the connection was lost");
    wsock__done(ws);
}

/* What a read has given: aim the cursor at it, or see why there is none. */
static void wsock__was_read(wsock *ws, uint8_t *to, size_t room,
                                   ptrdiff_t n)
{
    if (WSOCK__LIKELY(n > 0 && (size_t)n <= room)) {
        ws->bits &= ~(uint32_t)WSOCK__READ_WANTS_WRITE;
        ws->bits |= WSOCK__HEARD;
        ws->loop->bytes += (size_t)n;
        wsock__input(ws, to, (size_t)n);
        /* What is no socket may hold more that its fd does not show. */
        if (ws->transport && !wsock__tls_is_empty(ws))
            wsock__list_work(ws, WSOCK__WORK_READ);
        else if ((size_t)n == room)
            ws->loop->filled = 1; /* the kernel will say so again */
    } else if (n == WSOCK_WANT_READ || n == WSOCK_WANT_WRITE) {
        ws->bits &= ~(uint32_t)WSOCK__READ_WANTS_WRITE;
        if (n == WSOCK_WANT_WRITE)
            ws->bits |= WSOCK__READ_WANTS_WRITE;
        if (ws->bits & WSOCK__WRITE_DEAD)
            wsock__done(ws);
    } else if (n == 0) {
        wsock__end_of_stream(ws);
    } else {
        wsock__read_failed(ws);
    }
}

/* Read once. */
static void wsock__fill(wsock *ws)
{
    size_t room;
    uint8_t *to = wsock__read_target(ws, &room);
    if (room == 0 && ws->phase == WSOCK__PHASE_LINGER)
        wsock__done(ws); /* all is said, and nothing can be discarded */
    else if (room == 0)
        wsock__fail(ws, WSOCK_NO_MEMORY, 1011, "no memory to read into");
    else
        wsock__was_read(ws, to, room, ws->io->read(ws->io_user, to, room));
}

static void wsock__dial_release(wsock *ws)
{
    wsock__rare *r = ws->rare;
    if (r->dial)
        wsock__buffer_give(ws->loop, (uint8_t *)r->dial,
                           ((wsock__dial *)r->dial)->capacity);
    r->dial = NULL;
}

/* The TCP connection stands: from here on it is a socket like any other. */
static void wsock__dial_done(wsock *ws)
{
    wsock__dial *d = (wsock__dial *)ws->io_user;
    ws->io = &wsock__socket_io;
    ws->io_user = (void *)(intptr_t)d->fds[0];
    ws->watched = ws->loop->queue >= 0;
    ws->armed = 2;
    wsock__addresses_free(&d->addresses);
    wsock__dial_release(ws);
}

/* Let the timer of a dial be the next thing that is due: the next address of
 * the race, or the end of the whole. */
static void wsock__dial_timer(wsock *ws, wsock__dial *d)
{
    int64_t next;
    if (wsock__timer_is(ws, WSOCK__TIMER_CONNECT))
        return; /* it is overdue: a last look */
    ws->loop->now = wsock__now(ws->loop);
    next = ws->loop->now + WSOCK__RACE_DELAY;
    if (wsock__dial_has_more(d) && (d->deadline < 0 || next < d->deadline))
        wsock__timer_at(ws, WSOCK__TIMER_RACE, next);
    else if (d->deadline >= 0)
        wsock__timer_at(ws, WSOCK__TIMER_CONNECT, d->deadline);
    else
        wsock__timer_stop(ws);
}

/* One step of a dial: OK, WANT or error. */
static int wsock__dial_step(wsock *ws, wsock__dial *d)
{
    int started = d->started, r = wsock__dial_names(d);
    if (r != WSOCK_OK)
        return r;
    if (!started) { /* TCP begins here, and so does its time */
        int timeout = ws->config->o.connect_timeout;
        wsock__timer_stop(ws);
        d->deadline = timeout < 0 ? -1 : wsock__now(ws->loop) + timeout;
    }
    r = wsock__dial_race(d);
    if (r == WSOCK_WANT_WRITE && d->due) /* nobody has won meanwhile */
        wsock__dial_more(d);
    if (r == WSOCK_WANT_WRITE && (d->due || d->started != started))
        wsock__dial_timer(ws, d);
    d->due = 0;
    return r;
}

enum { WSOCK__PEER_NAME = 224 };

/* Whom a connection is to, for its account: the URL's host and port, which
 * only a client has. */
static const char *wsock__peer_name(const wsock *ws,
                                    char text[WSOCK__PEER_NAME])
{
    const wsock__config *c = ws->config;
    if (ws->role == WSOCK_SERVER)
        return "the peer";
    snprintf(text, WSOCK__PEER_NAME, "%.200s port %d", c->host, c->port);
    return text;
}

/* Time is up: for the look-up, for all addresses, or only for waiting until
 * the next one is tried too. */
static void wsock__dial_timed_out(wsock *ws, unsigned timer)
{
    char peer[WSOCK__PEER_NAME];
    if (timer == WSOCK__TIMER_RACE) {
        ((wsock__dial *)ws->io_user)->due = 1;
        wsock__list_work(ws, WSOCK__WORK_LOOK);
        return;
    }
    if (wsock__is_looking_up(ws))
        wsock__note(ws, WSOCK_TIMED_OUT, WSOCK_OPERATION_CONNECT,
                    "no address for the name %.80s within "
                    "options.lookup_timeout", ws->config->host);
    else
        wsock__note(ws, WSOCK_TIMED_OUT, WSOCK_OPERATION_CONNECT,
                    "no connection to %s within options.connect_timeout",
                    wsock__peer_name(ws, peer));
    wsock__done(ws);
}

/* The transport cannot be opened, or TLS cannot be had over it. */
static void wsock__open_failed(wsock *ws)
{
    const wsock__config *c = ws->config;
    const wsock__dial *d = (const wsock__dial *)ws->io_user;
    int code = WSOCK_CONNECT_FAILED;
    char what[320], peer[WSOCK__PEER_NAME];
    if (ws->phase == WSOCK__PHASE_SECURING) {
        code = WSOCK_TLS_ERROR;
        snprintf(what, sizeof what, "TLS failed");
    } else if (ws->io == &wsock__dial_io && d->lookup_code) {
        snprintf(what, sizeof what, "no address for the name %.200s",
                 c->host);
    } else {
        snprintf(what, sizeof what, "no connection to %s",
                 wsock__peer_name(ws, peer));
    }
    wsock__note_io(ws, code, WSOCK_OPERATION_CONNECT, what);
    wsock__done(ws);
}

/* One step of opening a transport: OK, WANT or error. */
static int wsock__open_step(wsock *ws)
{
    const wsock__config *c = ws->config;
    const wsock_io *io = ws->io;
    int client = ws->role == WSOCK_CLIENT;
    if (io == &wsock__dial_io)
        return wsock__dial_step(ws, (wsock__dial *)ws->io_user);
    if (!io->open)
        return WSOCK_OK;
    if (ws->phase == WSOCK__PHASE_OPENING) {
        wsock__unwatch(ws); /* every step may change its descriptor */
        ws->armed = 0;
    }
    return io->open(ws->io_user, client ? c->host : NULL,
                    client ? c->port : 0);
}

/* Go on opening the transport, or with the handshake of TLS. */
static void wsock__opening(wsock *ws)
{
    int r = wsock__open_step(ws);
    ws->bits &= ~(uint32_t)WSOCK__WRITE_WANTS_READ;
    if (r == WSOCK_WANT_READ)
        ws->bits |= WSOCK__WRITE_WANTS_READ;
    if (r == WSOCK_WANT_READ || r == WSOCK_WANT_WRITE)
        return;
    if (r != WSOCK_OK) {
        wsock__open_failed(ws);
        return;
    }
    if (ws->io == &wsock__dial_io)
        wsock__dial_done(ws);
    wsock__transport_open(ws);
    wsock__list_work(ws, WSOCK__WORK_READ);
}

/* All is said (see >>close): once the queue is out, shut the write side, so
 * that the peer sees an orderly end and not a reset; then wait for the
 * peer's end, one second at most.  A client leaves the first step to the
 * server (RFC 6455 7.1.1). */
static void wsock__linger(wsock *ws)
{
    int r = 0;
    if (ws->bits & WSOCK__WRITE_DEAD) {
        wsock__done(ws);
        return;
    }
    if (ws->out && ws->out->queued)
        return;
    if (!(ws->bits & WSOCK__FINISHED)) {
        if (ws->bits & WSOCK__STUCK)
            return; /* it has said that it wants something first */
        if ((ws->role == WSOCK_SERVER || ws->error ||
             (ws->bits & WSOCK__END_OF_STREAM)) && ws->io->finish)
            r = ws->io->finish(ws->io_user);
        ws->bits &= ~(uint32_t)(WSOCK__STUCK | WSOCK__WRITE_WANTS_READ);
        if (r == WSOCK_WANT_READ)
            ws->bits |= WSOCK__WRITE_WANTS_READ;
        if (r == WSOCK_WANT_READ || r == WSOCK_WANT_WRITE) {
            ws->bits |= WSOCK__STUCK;
            return;
        }
        ws->bits |= WSOCK__FINISHED;
        wsock__timer_start(ws, WSOCK__TIMER_LINGER, WSOCK__LINGER_TIME);
    }
    if (ws->bits & WSOCK__END_OF_STREAM || r < 0)
        wsock__done(ws);
}

/* A hang-up is seen while nothing is to be read.  It must wait its turn, but
 * a request need not be answered any more. */
static void wsock__hung_up(wsock *ws)
{
    if (ws->phase == WSOCK__PHASE_OPEN) {
        wsock__unwatch(ws);
        return;
    }
    wsock__note(ws, WSOCK_CONNECTION_LOST, WSOCK_OPERATION_CONNECT,
                "the peer has left before its request was answered");
    wsock__done(ws);
}

/* One turn of a connection: write, then read once.  It has become the
 * current one; reports and parsing follow. */
static void wsock__turn(wsock *ws, unsigned work)
{
    if (ws->phase == WSOCK__PHASE_SECURING && !wsock__may_secure(ws, work))
        return;
    if (ws->phase <= WSOCK__PHASE_SECURING)
        wsock__opening(ws);
    if (ws->phase == WSOCK__PHASE_DONE || ws->phase <= WSOCK__PHASE_SECURING)
        return;
    if (work & WSOCK__WORK_WRITE)
        ws->bits &= ~(uint32_t)(WSOCK__STUCK | WSOCK__WRITE_WANTS_READ);
    if (ws->out && !(ws->bits & WSOCK__STUCK))
        wsock__flush(ws);
    if (ws->phase == WSOCK__PHASE_LINGER)
        wsock__linger(ws);
    if (ws->phase == WSOCK__PHASE_DONE)
        return;
    if (wsock__has_input(ws)) {
        if (ws->transport && (work & WSOCK__WORK_READ) && !wsock__is_held(ws))
            wsock__list_work(ws, WSOCK__WORK_READ); /* when that is read */
        return;
    }
    if (wsock__is_held(ws)) {
        if (work & WSOCK__WORK_HUNG)
            wsock__hung_up(ws);
        return;
    }
    if (((work | ws->work) & WSOCK__WORK_LOOK) && ws->in &&
        ws->in->tail_size) {
        if (work & WSOCK__WORK_READ)
            wsock__list_work(ws, WSOCK__WORK_READ);
        wsock__input(ws, NULL, 0); /* what was put aside comes first */
    } else if ((work & WSOCK__WORK_READ) &&
               !(ws->bits & WSOCK__END_OF_STREAM)) {
        wsock__fill(ws);
    }
}

/* 1: it is plain, and something was read. */
WSOCK__INLINE int wsock__service(wsock__loop *l, wsock *ws, unsigned work)
{
    l->current = ws;
    if (WSOCK__LIKELY(work == WSOCK__WORK_READ && !ws->out &&
                      wsock__is_plain(l, ws) && l->window && !ws->transport)) {
        /* There is only something to read. */
        size_t room = l->window_size;
        ptrdiff_t n = ws->io->read(ws->io_user, l->window, room);
        if (WSOCK__UNLIKELY(n <= 0 || (size_t)n >= room)) {
            wsock__was_read(ws, l->window, room, n);
        } else {
            l->bytes += (size_t)n;
            l->pos = l->window;
            l->end = l->window + n;
            return 1;
        }
    } else {
        wsock__turn(ws, work);
    }
    return 0;
}

/* References to the window or a message end here: flush, then copy what is
 * left. */
static void wsock__flush_references(wsock *ws)
{
    if (!ws->io)
        return;
    if (ws->out && !(ws->bits & WSOCK__STUCK))
        wsock__flush(ws);
    if (ws->out)
        wsock__keep_references(ws);
}

/* A connection of a server that ended before it was open: nobody knows of
 * it, so there is nothing to report.  But one whose request the program may
 * still answer stays. */
static int wsock__is_unknown(const wsock *ws)
{
    return ws->phase == WSOCK__PHASE_DONE &&
           (ws->bits & (WSOCK__SERVER_OWNED | WSOCK__OPENED |
                        WSOCK__ASKED)) == WSOCK__SERVER_OWNED;
}

static void wsock__leave_slowly(wsock *ws)
{
    wsock__loop *l = ws->loop;
    if (ws->out && ws->phase > WSOCK__PHASE_SECURING)
        wsock__flush_references(ws);
    if (ws->phase == WSOCK__PHASE_LINGER)
        wsock__linger(ws);
    if (l->shared && wsock__has_input(ws) && !wsock__stash(ws)) {
        wsock__drop_input(ws);
        wsock__fail(ws, WSOCK_NO_MEMORY, 1011, "no memory for input");
    }
    if (ws->in)
        wsock__in_settle(ws);
    l->current = NULL;
    if (wsock__is_unknown(ws))
        wsock_free(ws);
    else if (ws->phase != WSOCK__PHASE_DONE)
        wsock__arm(ws);
}

/* The cursor leaves a connection: what was sent meanwhile is flushed, what
 * was not read is put aside, and the poller learns what is waited for. */
WSOCK__INLINE void wsock__leave(wsock__loop *l, wsock *ws)
{
    ptrdiff_t n;
    if (WSOCK__LIKELY(!ws->in && ws->armed == 1 && l->pos == l->end &&
                      !(ws->bits & (WSOCK__NOT_OPEN | WSOCK__NOT_FLUENT)))) {
        wsock__out *out = ws->out;
        size_t size;
        l->current = NULL;
        if (!out)
            return;
        if (WSOCK__LIKELY(out->single)) {
            size = out->queued;
            if (WSOCK__LIKELY(wsock__flush_single(l, ws, out, &n)))
                return;
            wsock__short_write(ws, n, size);
        }
    }
    wsock__leave_slowly(ws);
}

/* ---------------------------------------------------------------- >>loop --
 * Connections that share a thread.  There are two ways out of the pump: a
 * connection became current, or time is up. */

/* Time is up before the connection is open. */
static void wsock__handshake_timed_out(wsock *ws, unsigned timer)
{
    if (ws->phase == WSOCK__PHASE_OPENING) {
        wsock__dial_timed_out(ws, timer);
    } else if (ws->phase == WSOCK__PHASE_SECURING) {
        wsock__note(ws, WSOCK_TIMED_OUT, WSOCK_OPERATION_CONNECT,
                    "TLS was not agreed on within "
                    "options.handshake_timeout");
        wsock__done(ws);
    } else if (ws->bits & WSOCK__ASKED) {
        wsock__refuse(ws, 503, "the request was not answered in time");
    } else if (ws->role == WSOCK_SERVER) {
        wsock__refuse(ws, 408, "no request within the time-out");
    } else {
        wsock__note(ws, WSOCK_TIMED_OUT, WSOCK_OPERATION_CONNECT,
                    "the server did not answer within "
                    "options.handshake_timeout");
        wsock__done(ws);
    }
}

/* Send a keepalive ping: RFC 6455 5.5.2.  It rests while nothing is read, as
 * its Pong would not be either. */
static void wsock__keepalive(wsock *ws)
{
    if (!(ws->bits & (WSOCK__CLOSE_SENT | WSOCK__WRITE_DEAD)) &&
        !wsock__is_held(ws) &&
        wsock__enqueue_control(ws, WSOCK_PING, "", 0, 0) == WSOCK_OK) {
        ws->bits |= WSOCK__AWAITS_PONG;
        ws->bits &= ~(uint32_t)WSOCK__HEARD;
        ws->pinged = (uint32_t)ws->loop->now;
        wsock__list_work(ws, WSOCK__WORK_LOOK);
    }
    wsock__watchdog(ws);
}

/* No Pong in time.  But if anything has come, the Pong may stand behind it;
 * and if nothing was to be read, the time has not run. */
static void wsock__pong_timed_out(wsock *ws)
{
    if ((ws->bits & WSOCK__HEARD) || wsock__is_held(ws)) {
        ws->bits &= ~(uint32_t)WSOCK__HEARD;
        wsock__watchdog(ws);
        return;
    }
    wsock__note(ws, WSOCK_TIMED_OUT, WSOCK_OPERATION_RECEIVE,
                "the peer is silent: no Pong within options.pong_timeout");
    wsock__done(ws);
}

static void wsock__timed_out(wsock *ws, unsigned timer)
{
    const char *what = NULL;
    int operation = WSOCK_OPERATION_CLOSE;
    if (ws->phase < WSOCK__PHASE_OPEN) {
        wsock__handshake_timed_out(ws, timer);
        return;
    }
    if (timer == WSOCK__TIMER_KEEPALIVE) {
        wsock__keepalive(ws);
        return;
    }
    if (timer == WSOCK__TIMER_PONG) {
        wsock__pong_timed_out(ws);
        return;
    }
    if (timer == WSOCK__TIMER_STALL) {
        what = "the peer takes nothing: options.stall_timeout has passed";
        operation = WSOCK_OPERATION_SEND;
    } else if (ws->phase == WSOCK__PHASE_OPEN) {
        what = "the peer did not answer our Close within "
               "options.close_timeout";
    } else if (!(ws->bits & WSOCK__FINISHED)) {
        what = "the peer did not take what was queued within "
               "options.close_timeout";
    }
    if (what)
        wsock__note(ws, WSOCK_TIMED_OUT, operation, "%s", what);
    wsock__done(ws);
}

/* Does it end something?  Then what has come is looked at once more, as the
 * program may call late: an answer that is here is not too late. */
static int wsock__is_fatal(unsigned timer)
{
    return timer == WSOCK__TIMER_CONNECT || timer == WSOCK__TIMER_HANDSHAKE ||
           timer == WSOCK__TIMER_PONG || timer == WSOCK__TIMER_STALL ||
           timer == WSOCK__TIMER_CLOSE;
}

/* When the first timer is due. */
static int64_t wsock__earliest(const wsock__loop *l)
{
    int64_t due = l->listen_due ? l->listen_due : INT64_MAX;
    int i;
    for (i = 0; i < WSOCK__TIMERS; i++)
        if (l->timers[i].first && l->timers[i].first->timer_due < due)
            due = l->timers[i].first->timer_due;
    return due;
}

static void wsock__expire_one(wsock *ws, unsigned timer)
{
    if (wsock__is_fatal(timer)) {
        ws->overdue = (uint8_t)timer;
        wsock__timer_at(ws, WSOCK__TIMER_OVERDUE, ws->loop->now);
        wsock__list_work(ws, WSOCK__WORK_READ | WSOCK__WORK_WRITE);
    } else {
        wsock__timer_stop(ws);
        wsock__timed_out(ws, timer == WSOCK__TIMER_OVERDUE ? ws->overdue
                                                           : timer);
    }
}

static void wsock__expire(wsock__loop *l)
{
    unsigned i;
    wsock *ws;
    if (l->now < l->next_due)
        return;
    if (l->listen_due && l->now >= l->listen_due) {
        wsock__listener_rest(l, 0);
        wsock__listener_check(l);
    }
    for (i = 0; i < WSOCK__TIMERS; i++)
        while ((ws = l->timers[i].first) != NULL && ws->timer_due <= l->now)
            wsock__expire_one(ws, i);
    l->next_due = wsock__earliest(l);
}

/* The next thing that is timed; -1: there is none. */
static int64_t wsock__next_due(const wsock__loop *l)
{
    return l->next_due == INT64_MAX ? -1 : l->next_due;
}

static int wsock__milliseconds(int64_t from, int64_t to)
{
    if (to <= from)
        return 0;
    return to - from > INT_MAX ? INT_MAX : (int)(to - from);
}

/* Wait once, until something is ready or `deadline`; then see what time it
 * is.  The clock is read once: how long to wait is reckoned from the end of
 * the last wait, so that a timer may be late by what the program took since
 * then, but no later. */
static void wsock__wait_timed(wsock__loop *l, int64_t deadline)
{
    int64_t due = wsock__next_due(l), until = deadline;
    int timeout = -1;
    if (due >= 0 && (deadline < 0 || due < deadline))
        until = due;
    if (until >= 0)
        timeout = wsock__milliseconds(l->now, until);
    l->until = until < 0 ? INT64_MAX : until;
    wsock__wait(l, timeout);
    l->until = INT64_MAX;
    l->now = wsock__now(l);
    wsock__expire(l);
}

/* There is a time to it: the deadline's, or that of a timer of which the
 * kernel does not know yet. */
static void wsock__wait_clocked(wsock__loop *l, int64_t deadline)
{
    if (l->alarm < 0 || deadline > 0) {
        wsock__wait_timed(l, deadline);
        return;
    }
    wsock__alarm_set(l);
    wsock__wait(l, deadline == 0 ? 0 : -1);
}

WSOCK__INLINE void wsock__wait_once(wsock__loop *l, int64_t deadline)
{
    if (WSOCK__UNLIKELY(deadline > 0 || l->next_due < l->alarm_due))
        wsock__wait_clocked(l, deadline);
    else
        wsock__wait(l, (int)deadline); /* 0, or -1: for ever */
}

/* The next connection with something to do: first those that the kernel
 * called ready, then one round of the work list.  NULL: ask the kernel again,
 * as those that it knows of are not to wait for one that has always more. */
WSOCK__INLINE wsock *wsock__work_take(wsock__loop *l, unsigned *work)
{
    wsock *ws = wsock__ready_take(l, work);
    if (WSOCK__LIKELY(ws != NULL))
        return ws;
    ws = l->work_first;
    if (!ws || l->turns == 0)
        return NULL;
    l->turns--;
    wsock__unlist_work(ws);
    *work = ws->work;
    ws->work = 0;
    return ws;
}

enum { WSOCK__ROUNDS = 256 }; /* of a poll with time 0, as a last resort */

/* Is it time for the pump to return? */
static int wsock__is_time(wsock__loop *l, int64_t deadline)
{
    if (l->timers[WSOCK__TIMER_OVERDUE].first)
        return 0; /* the last look was had: now it is decided */
    if (deadline == 0 && l->rounds < WSOCK__ROUNDS &&
        (l->filled || l->listings != l->listings_before))
        return 0; /* the kernel may have more, or the last round left work */
    if (l->interrupted) {
        l->interrupted = 0;
        return 1;
    }
    return deadline == 0 || (deadline > 0 && l->now >= deadline);
}

/* There is nothing to do: wait, unless it is time to return (0). */
WSOCK__INLINE int wsock__look(wsock__loop *l, int64_t deadline)
{
    if (l->waited && wsock__is_time(l, deadline))
        return 0;
    l->filled = 0;
    l->rounds++;
    wsock__wait_once(l, deadline);
    l->turns = l->listed;
    l->listings_before = l->listings;
    l->waited = 1;
    return 1;
}

/* How the pump left a connection: current; or plain besides, with input. */
enum { WSOCK__FOUND = 1, WSOCK__FOUND_PLAIN = 2 };

/* Work until a connection is current (WSOCK__FOUND...), or `deadline` has
 * passed or a signal or wake came (0), but look at the kernel at least once:
 * the caller clears l->waited when its call begins. */
WSOCK__INLINE int wsock__pump(wsock__loop *l, int64_t deadline)
{
    unsigned work;
    while (!l->current) {
        wsock *ws = wsock__work_take(l, &work);
        if (WSOCK__LIKELY(ws != NULL)) {
            if (wsock__service(l, ws, work))
                return WSOCK__FOUND_PLAIN;
        } else if (!wsock__look(l, deadline)) {
            return 0;
        }
    }
    return WSOCK__FOUND;
}

/* A time-out in ms as a deadline: -1 never, 0 has passed. */
static inline int64_t wsock__deadline(wsock__loop *l, int timeout)
{
    if (WSOCK__LIKELY(timeout == WSOCK_NEVER))
        return -1;
    if (timeout <= 0) /* below WSOCK_NEVER: a time that has passed */
        return 0;
    l->now = wsock__now(l);
    return l->now + timeout;
}

/* A message of a connection that is plain and has input. */
WSOCK__INLINE int wsock__event_plain(wsock__loop *l, wsock *ws,
                                     wsock_event *e)
{
    uint32_t key;
    return (ws->role == WSOCK_SERVER
                ? wsock__whole_message(l, ws, 1, e, &key)
                : wsock__whole_message(l, ws, 0, e, &key)) &&
           wsock__whole_good(ws, e, key);
}

/* The event that the current connection has, if any: it has input, or
 * something to report. */
WSOCK__APART int wsock__event_of(wsock__loop *l, wsock *ws, wsock_event *e)
{
    if (l->pos < l->end && wsock__is_plain(l, ws) &&
        wsock__event_plain(l, ws, e))
        return 1;
    if (!wsock__next(ws, e))
        return 0;
    l->corked = 1;
    l->events_left--;
    return 1;
}

/* A poll ends while connections stand in the work list still: what they have
 * to send leaves all the same. */
static void wsock__flush_listed(const wsock__loop *l)
{
    wsock *ws;
    for (ws = l->work_first; ws; ws = ws->work_next)
        if (ws->out && ws->io && ws->phase > WSOCK__PHASE_SECURING &&
            !(ws->bits & WSOCK__STUCK)) {
            wsock__flush(ws);
            wsock__arm(ws);
        }
}

/* A poll ends without an event. */
static int wsock__poll_over(wsock__loop *l, wsock_event *e)
{
    wsock__flush_listed(l);
    wsock__event_fill(NULL, e, WSOCK_EVENT_NONE, 0, NULL, 0);
    l->corked = 0;
    l->bytes = 0;
    l->events_left = l->config->o.poll_messages;
    return 0;
}

/* The polled loop: the first event there is. */
WSOCK__INLINE int wsock__poll(wsock__loop *l, wsock_event *e, int timeout)
{
    int64_t deadline = wsock__deadline(l, timeout);
    int found = l->current ? WSOCK__FOUND : 0;
    l->waited = 0;
    l->rounds = 0;
    if (WSOCK__UNLIKELY(l->events_left == 0)) {
        if (l->current)
            wsock__flush_references(l->current); /* the next goes on there */
        return wsock__poll_over(l, e);
    }
    do {
        wsock *ws = l->current;
        if (found == WSOCK__FOUND_PLAIN && wsock__event_plain(l, ws, e))
            return 1;
        if (!found)
            continue;
        if ((l->pos < l->end || (ws->bits & WSOCK__PENDING)) &&
            wsock__event_of(l, ws, e))
            return 1;
        wsock__leave(l, ws);
    } while (l->bytes < l->bytes_most &&
             (found = wsock__pump(l, deadline)) != 0);
    return wsock__poll_over(l, e);
}

/* The same where it is not the hot path of a server. */
static int wsock__poll_once(wsock__loop *l, wsock_event *e, int timeout)
{
    return wsock__poll(l, e, timeout);
}

/* ------------------------------------------------------------ >>blocking --
 * The same for one connection whose calls wait. */

/* Work until the connection is current; 0: the deadline has passed, or the
 * call is cancelled. */
static int wsock__pump_blocking(wsock *ws, int64_t deadline)
{
    wsock__loop *l = ws->loop;
    if (l->cancelled)
        return 0; /* perhaps while the last call had better to return */
    while (!wsock__pump(l, deadline)) {
        if (l->cancelled)
            return 0;
        if (deadline >= 0 && wsock__now(l) >= deadline)
            return 0;
    }
    return 1;
}

static int wsock__write_out(wsock *ws, int reading);
static int wsock__wait_closed(wsock *ws);

/* A cancelled handshake is the end. */
static void wsock__open_cancelled(wsock *ws)
{
    if (!ws->loop->cancelled)
        return;
    wsock__note(ws, WSOCK_CANCELLED, WSOCK_OPERATION_CONNECT,
                "cancelled before it was open");
    wsock__done(ws);
}

/* Wait for the handshake. */
static int wsock__wait_open(wsock *ws)
{
    ws->loop->waited = 0;
    wsock__reading_begins(ws->loop);
    while (ws->phase < WSOCK__PHASE_OPEN) {
        wsock__pump_blocking(ws, -1);
        wsock__open_cancelled(ws);
        while (ws->phase == WSOCK__PHASE_HANDSHAKE && wsock__has_input(ws))
            wsock__handshake_in(ws);
        if (ws->phase != WSOCK__PHASE_OPEN)
            wsock__leave(ws->loop, ws);
    }
    ws->bits &= ~(uint32_t)WSOCK__PENDING;
    ws->bits |= WSOCK__PENDING_RELEASE;
    if (ws->phase == WSOCK__PHASE_OPEN) {
        wsock__write_out(ws, 1);
        wsock__open_cancelled(ws);
    } else if (ws->role == WSOCK_SERVER) { /* the refusal is to arrive */
        wsock__wait_closed(ws);
    } else {
        wsock__done(ws);
    }
    ws->loop->cancelled = 0;
    wsock__reading_ends(ws->loop);
    return ws->error;
}

enum { WSOCK__AHEAD_LEAST = 65536 }; /* room for one read ahead */

/* Room behind what was put aside, for one read.  0: no memory, or as much as
 * options.read_ahead allows is there. */
static size_t wsock__ahead_room(wsock *ws)
{
    wsock__loop *l = ws->loop;
    wsock__in *in = wsock__in_get(ws);
    size_t need, got, most = ws->config->o.read_ahead;
    uint8_t *p;
    if (!in || in->tail_size >= most)
        return 0;
    most -= in->tail_size;
    need = in->tail_size + (l->fixed ? 1 : WSOCK__AHEAD_LEAST);
    if (in->tail_capacity < need) {
        p = wsock__buffer_take(l, l->fixed ? need : need + in->tail_size,
                               &got);
        if (!p)
            return 0;
        memcpy(p, in->tail, in->tail_size);
        wsock__tail_move(l, in, p, got);
    }
    need = in->tail_capacity - in->tail_size;
    return need < most ? need : most;
}

/* The transport has failed: nothing more is asked of it.  But what came before
 * is for the next receive, perhaps the peer's Close. */
static void wsock__read_ahead_failed(wsock *ws)
{
    wsock__note_io(ws, WSOCK_CONNECTION_LOST, WSOCK_OPERATION_RECEIVE,
                   "the connection was lost");
    ws->bits |= WSOCK__WRITE_DEAD;
    wsock__drop_output(ws, ws->error);
}

/* What wsock_header() reads until the next reading call (see
 * wsock__keep_head()) may stand where it is read ahead to.  0: there is no
 * memory to move it to. */
static int wsock__head_spared(wsock *ws)
{
    const wsock__in *in = ws->in;
    wsock__rare *r = ws->rare;
    const char *head = r ? r->head : NULL;
    const char *tail = in ? (const char *)in->tail : NULL;
    if (!head || r->kept || !tail || head < tail ||
        head >= tail + in->tail_capacity)
        return 1;
    if (ws->loop->fixed)
        return 0;
    wsock__keep_head(ws);
    if (!r->head)
        r->head = head; /* so it stays where it is */
    return r->kept != NULL;
}

/* A send waits and nobody receives: take in what has come, so that a peer
 * that sends too, and reads only then, goes on.  Returns what to wait for
 * before the next read; 0: there is no more to be had. */
static int wsock__read_ahead(wsock *ws)
{
    size_t room;
    ptrdiff_t n;
    if (!wsock__head_spared(ws) || !wsock__stash(ws))
        return 0;
    if (ws->in && ws->in->tail_size) /* the next receive is to look there */
        wsock__list_work(ws, WSOCK__WORK_LOOK);
    room = wsock__ahead_room(ws);
    if (room == 0)
        return 0;
    n = ws->io->read(ws->io_user, ws->in->tail + ws->in->tail_size, room);
    if (n == WSOCK_WANT_READ || n == WSOCK_WANT_WRITE)
        return n == WSOCK_WANT_READ ? 1 : 2;
    if (n <= 0 || (size_t)n > room) {
        ws->bits |= WSOCK__END_OF_STREAM; /* behind what is there */
        if (n != 0)
            wsock__read_ahead_failed(ws);
        return 0;
    }
    ws->in->tail_size += (size_t)n;
    ws->bits |= WSOCK__HEARD;
    wsock__list_work(ws, WSOCK__WORK_LOOK | WSOCK__WORK_READ);
    return 1;
}

/* When the receiver leaves, the sender is to know: it reads from then on. */
static void wsock__turn_open(wsock__loop *l)
{
    if (l->threaded && l->turn_read < 0 &&
        wsock__wake_open(&l->turn_read, &l->turn_write) < 0)
        wsock__wake_close(&l->turn_read, &l->turn_write);
}

/* What a write waits for: the transport, another thread's word, and, if this
 * thread is the reader, wsock_cancel().  Returns how many these are. */
static size_t wsock__write_watches(const wsock *ws, int wants, int reading,
                                   struct pollfd p[3])
{
    const wsock__loop *l = ws->loop;
    wsock_watch watch;
    size_t n = 0;
    watch.fd = wsock__io_fd(ws);
    watch.wants = wants;
    wsock__pollfd_set(&p[n++], &watch);
    watch.wants = 1;
    if ((watch.fd = l->turn_read) >= 0)
        wsock__pollfd_set(&p[n++], &watch);
    watch.fd = l->wake_read;
    if (reading)
        wsock__pollfd_set(&p[n++], &watch);
    return n;
}

/* Wait until the transport may be written, or read, whichever is wanted.
 * Returns what may be done. */
static int wsock__wait_write(wsock *ws, int wants, int reading, int timeout)
{
    wsock__loop *l = ws->loop;
    const wsock_io *io = ws->io;
    void *user = ws->io_user;
    struct pollfd p[3];
    size_t n;
    int r = 0;
    wsock__turn_open(l);
    n = wsock__write_watches(ws, wants, reading, p);
    if (l->threaded && l->turn_read < 0 &&
        (timeout < 0 || timeout > WSOCK__SLICE))
        timeout = WSOCK__SLICE;
    if (!reading && l->receiving && l->next_due < l->until) {
        wsock__wake(l->wake_write, WSOCK__WAKE_LOOK); /* a timer of this */
        if (io->wake)       /* send's, which the receiver does not know of */
            io->wake(user);
    }
    wsock__wait_begins(l);
    if (io->wait)
        r = io->wait(user, wants, timeout);
    else
        wsock__poll_fds(p, n, timeout);
    wsock__wait_ends(l);
    if (r < 0 && ws->io)
        wsock__wait_failed(ws);
    if (l->turn_read >= 0)
        wsock__wake_clear(l->turn_read);
    if (reading)
        wsock__wake_look(l);
    if (io->wait)
        return wants;
    return (p[0].revents & ~POLLOUT ? 1 : 0) |
           (p[0].revents & ~POLLIN ? 2 : 0);
}

/* Time is up in the middle of a frame: that is the end of the connection. */
static void wsock__send_timed_out(wsock *ws)
{
    wsock__note(ws, WSOCK_TIMED_OUT, WSOCK_OPERATION_SEND,
                "the peer did not take a message within "
                "options.send_timeout");
    wsock__done(ws);
}

/* Write the queue out, waiting for room.  The thread is the reader (then
 * nothing is read ahead, but a cancel ends it), or a sender. */
static int wsock__write_out(wsock *ws, int reading)
{
    wsock__loop *l = ws->loop;
    int64_t deadline = wsock__deadline(l, ws->config->o.send_timeout);
    uint32_t drops = l->drops, receives = l->receives;
    int ahead = 1;
    while (ws->io && !wsock__flush(ws) && !(reading && l->cancelled)) {
        int64_t now = deadline < 0 ? 0 : wsock__now(l);
        int wants = ws->bits & WSOCK__WRITE_WANTS_READ ? 1 : 2;
        if (deadline >= 0 && now >= deadline) {
            wsock__send_timed_out(ws);
            break;
        }
        if (receives != l->receives) { /* it has made room */
            ahead = 1;
            receives = l->receives;
        }
        if (!l->receiving)
            wants |= ahead;
        wants = wsock__wait_write(ws, wants, reading,
                                  deadline < 0
                                      ? -1
                                      : wsock__milliseconds(now, deadline));
        ws->bits &= ~(uint32_t)(WSOCK__STUCK | WSOCK__WRITE_WANTS_READ);
        if (!l->receiving && (wants & ahead) && ws->io)
            ahead = wsock__read_ahead(ws);
    }
    if (drops == l->drops) /* whatever happened then, it was taken */
        return WSOCK_OK;
    return l->freeing ? (int)WSOCK_CANCELLED : wsock__ended(ws);
}

/* Has a send met the end of the stream, and is all before it read? */
static int wsock__is_read_out(const wsock *ws)
{
    return (ws->bits & WSOCK__END_OF_STREAM) &&
           ws->phase == WSOCK__PHASE_OPEN && !wsock__has_input(ws) &&
           !(ws->work & WSOCK__WORK_LOOK); /* half a head may be left */
}

/* A receive in progress. */
typedef struct wsock__receive {
    uint8_t *data;
    size_t size, filled;
    wsock_status *status;
} wsock__receive;

static int wsock__receive_end(wsock__receive *r, unsigned kind)
{
    r->status->bytes = r->filled;
    r->status->kind = kind;
    return 1;
}

/* Hand out what an earlier receive kept when its time was up. */
static int wsock__receive_kept(wsock *ws, wsock__receive *r)
{
    wsock__in *in = ws->in;
    size_t n;
    if (!in || !in->message)
        return 0;
    n = in->size - in->read;
    if (n > r->size - r->filled)
        n = r->size - r->filled;
    memcpy(r->data + r->filled, in->message + in->read, n);
    r->filled += n;
    in->read += n;
    if (in->read == in->size)
        wsock__message_give(ws);
    return r->filled == r->size
               ? wsock__receive_end(r, in->kind | WSOCK_FRAGMENT)
               : 0;
}

/* Take one piece.  1: the call is done, 0: go on, negative: failed. */
static int wsock__receive_piece(wsock *ws, wsock__receive *r)
{
    wsock__piece piece;
    int more, code = wsock__next_piece(ws, &piece, r->size - r->filled);
    if (code <= 0)
        return code;
    if ((piece.kind & 15) >= WSOCK_CLOSE) {
        code = wsock__control_in(ws, &piece);
        if (code <= 0 || !(ws->config->o.flags & WSOCK_CONTROL) || r->filled ||
            piece.size > r->size)
            return code < 0 ? code : 0;
        memcpy(r->data, piece.data, piece.size);
        r->filled = piece.size;
        return wsock__receive_end(r, piece.kind);
    }
    if (piece.size && piece.data != r->data + r->filled)
        memcpy(r->data + r->filled, piece.data, piece.size);
    r->filled += piece.size;
    more = piece.last ? 0 : WSOCK_FRAGMENT;
    if (piece.last || r->filled == r->size ||
        (piece.size && (ws->config->o.flags & WSOCK_PARTS)))
        return wsock__receive_end(r, piece.kind | (unsigned)more);
    return 0;
}

/* What the cursor holds.  1: done, 0: more must come, negative: failed. */
static int wsock__receive_input(wsock *ws, wsock__receive *r)
{
    int code = wsock__receive_kept(ws, r);
    while (code == 0 && ws->phase == WSOCK__PHASE_OPEN &&
           wsock__has_input(ws))
        code = wsock__receive_piece(ws, r);
    return code;
}

/* The call ends inside a message: what was copied out already is kept for the
 * next one. */
static int wsock__receive_keep(wsock *ws, wsock__receive *r, int result)
{
    wsock__piece piece;
    if (r->filled == 0)
        return result;
    memset(&piece, 0, sizeof piece);
    piece.data = r->data;
    piece.size = r->filled;
    if (wsock__assemble(ws, &piece) == WSOCK_OK)
        return result;
    wsock__receive_end(r, ws->in->kind | WSOCK_FRAGMENT);
    return WSOCK_OK; /* it cannot be kept, so it is handed out now */
}

/* The peer's Close is read, our answer to it stands in the queue: that leaves
 * before the call returns, as the next one may come late.  At the latest the
 * close time-out ends the connection, and with it the wait. */
static void wsock__answer_leaves(wsock *ws, int64_t deadline)
{
    wsock_event e;
    while (ws->out && ws->out->queued && ws->phase == WSOCK__PHASE_LINGER &&
           wsock__pump_blocking(ws, deadline)) {
        while (wsock__has_input(ws))
            wsock__step(ws, &e);
        wsock__leave(ws->loop, ws);
    }
}

static int wsock__receive_loop(wsock *ws, wsock__receive *r)
{
    wsock__loop *l = ws->loop;
    int64_t deadline = wsock__deadline(l, ws->config->o.receive_timeout);
    l->waited = 0;
    for (;;) {
        int code = wsock__receive_input(ws, r);
        if (code > 0)
            return WSOCK_OK;
        l->direct = r->data + r->filled;
        l->direct_size = r->size - r->filled;
        wsock__leave(ws->loop, ws);
        if (ws->bits & WSOCK__CLOSE_RECEIVED) {
            wsock__answer_leaves(ws, deadline);
            ws->bits |= WSOCK__CLOSE_REPORTED;
            r->filled = 0;
            wsock__receive_end(r, WSOCK_CLOSE);
            return WSOCK_OK;
        }
        if (l->cancelled == WSOCK__CANCEL_TAKEN)
            return WSOCK_CANCELLED;
        if (wsock__is_read_out(ws))
            wsock__end_of_stream(ws);
        if (ws->phase != WSOCK__PHASE_OPEN)
            return wsock__ended(ws);
        if (!wsock__pump_blocking(ws, deadline) &&
            ws->phase == WSOCK__PHASE_OPEN)
            return wsock__receive_keep(ws, r,
                                       l->cancelled ? WSOCK_CANCELLED
                                                    : WSOCK_TIMED_OUT);
    }
}

/* Wait for the end of a connection whose Close is on its way. */
static int wsock__wait_closed(wsock *ws)
{
    wsock_event e;
    ws->loop->waited = 0;
    if (ws->bits & WSOCK__PENDING_RELEASE)
        wsock__lent_release(ws);
    while (ws->phase != WSOCK__PHASE_DONE) {
        while (wsock__has_input(ws))
            wsock__step(ws, &e);
        wsock__leave(ws->loop, ws);
        if (wsock__is_read_out(ws))
            wsock__end_of_stream(ws);
        if (ws->phase != WSOCK__PHASE_DONE)
            wsock__pump_blocking(ws, -1);
        if (ws->loop->cancelled == WSOCK__CANCEL_WAKE)
            ws->loop->cancelled = 0; /* only a receive ends by it */
    }
    return ws->error;
}

/* --------------------------------------------------------------- >>make --
 * Making and freeing. */

static void wsock__loop_init(wsock__loop *l, wsock__config *c,
                             const wsock__plan *p)
{
    memset(l, 0, wsock__loop_size(&c->o));
    l->config = c;
    l->window_size = c->o.receive_buffer;
    l->stage_size = WSOCK__STAGE;
    l->ins.size = sizeof(wsock__in);
    l->outs.size = sizeof(wsock__out) + p->run_capacity;
    l->single_most = p->run_capacity < c->o.send_limit ? p->run_capacity
                                                       : c->o.send_limit - 1;
    l->rares.size = sizeof(wsock__rare);
    l->references.size = sizeof(wsock__item);
    l->runs.size = sizeof(wsock__item) + p->run_capacity;
    l->ins.most = l->outs.most = l->rares.most = 64;
    l->references.most = l->runs.most = 64;
    l->fixed = c->o.memory != NULL;
    if (wsock__loop_size(&c->o) < sizeof *l)
        return;
    l->queue = l->alarm = -1;
    l->alarm_due = l->next_due = l->until = INT64_MAX;
    l->wake_read = l->wake_write = l->listener = -1;
    l->turn_read = l->turn_write = -1;
    l->bytes_most = c->o.poll_bytes;
    l->events_left = c->o.poll_messages;
    l->wsocks.size = sizeof(wsock);
    l->wsocks.most = WSOCK_UNLIMITED;
}

static void wsock__loop_free(wsock__loop *l)
{
    wsock__pool_empty(l, &l->ins);
    wsock__pool_empty(l, &l->outs);
    wsock__pool_empty(l, &l->rares);
    wsock__pool_empty(l, &l->references);
    wsock__pool_empty(l, &l->runs);
    wsock__wipe(l->random, sizeof l->random);
    if (wsock__loop_size(&l->config->o) < sizeof *l)
        return;
    wsock__wake_close(&l->wake_read, &l->wake_write);
    wsock__wake_close(&l->turn_read, &l->turn_write);
    wsock__threads_close(l);
    if (l->fixed)
        return;
    wsock__release(l->config, l->window, l->window_size);
    wsock__release(l->config, l->stage, l->stage_size);
    wsock__release(l->config, l->spare, l->spare_size);
    wsock__release(l->config, l->pollfds, l->pollfds_size);
}

/* Make a wsock one of the loop's. */
static void wsock__join(wsock *ws, wsock__loop *l)
{
    ws->loop = l;
    ws->prev = NULL;
    ws->next = l->all;
    if (l->all)
        l->all->prev = ws;
    l->all = ws;
    l->count++;
    l->live++;
    ws->bits |= WSOCK__LIVE;
}

static void wsock__part(wsock *ws)
{
    wsock__loop *l = ws->loop;
    if (ws->prev)
        ws->prev->next = ws->next;
    else
        l->all = ws->next;
    if (ws->next)
        ws->next->prev = ws->prev;
    wsock__not_live(ws);
    l->count--;
    if (l->shared)
        wsock__listener_check(l);
}

static void wsock__init(wsock *ws, int role, wsock__config *c,
                        wsock__loop *l)
{
    memset(ws, 0, sizeof *ws);
    ws->role = (uint8_t)role;
    ws->config = c;
    ws->user = c->o.user;
    ws->timer = WSOCK__TIMER_NONE;
    ws->bits = WSOCK__NOT_OPEN;
    wsock__join(ws, l);
}

static void *wsock__carve(uint8_t **at, size_t size)
{
    void *p = *at;
    *at += wsock__round(size);
    return p;
}

/* Divide options.memory as wsock__plan_fixed() has worked it out. */
static wsock *wsock__new_fixed(int role, const wsock__plan *p)
{
    uint8_t *at = (uint8_t *)p->o.memory;
    wsock__config *c;
    wsock__loop *l;
    wsock__out *out;
    wsock *ws;
    size_t i;
    at += (16 - ((uintptr_t)at & 15)) & 15;
    ws = (wsock *)wsock__carve(&at, sizeof *ws);
    l = (wsock__loop *)(void *)wsock__carve(&at, wsock__loop_size(&p->o));
    c = (wsock__config *)wsock__carve(&at, p->config_size);
    wsock__config_init(c, p);
    wsock__loop_init(l, c, p);
    l->ins.most = l->outs.most = l->rares.most = 1;
    l->runs.most = p->runs;
    wsock__pool_give(l, &l->rares, wsock__carve(&at, sizeof(wsock__rare)));
    wsock__pool_give(l, &l->ins, wsock__carve(&at, sizeof(wsock__in)));
    out = (wsock__out *)wsock__carve(&at, l->outs.size);
    wsock__out_init(l, out);
    wsock__pool_give(l, &l->outs, out);
    for (i = 0; i < p->runs; i++)
        wsock__pool_give(l, &l->runs, wsock__carve(&at, l->runs.size));
    l->message = (uint8_t *)wsock__carve(&at, p->message);
    l->message_size = p->message;
    l->stage_size = p->stage;
    l->stage = (uint8_t *)wsock__carve(&at, p->stage);
    l->window_size = p->window;
    l->window = (uint8_t *)wsock__carve(&at, p->window);
    c->tls_memory = (uint8_t *)wsock__carve(&at, p->tls);
    c->tls_left = p->tls;
    wsock__init(ws, role, c, l);
    return ws;
}

static wsock *wsock__new_heap(int role, wsock__config *c,
                              const wsock__plan *p)
{
    wsock__loop *l = (wsock__loop *)wsock__alloc(c, sizeof *l);
    wsock *ws = (wsock *)wsock__alloc(c, sizeof *ws);
    if (!l || !ws) {
        wsock__release(c, l, sizeof *l);
        wsock__release(c, ws, sizeof *ws);
        return NULL;
    }
    wsock__loop_init(l, c, p);
    wsock__init(ws, role, c, l);
    return ws;
}

static wsock *wsock__new(int role, const char *url,
                         const wsock_options *options,
                         wsock__tls_begin *begin)
{
    wsock__plan p;
    wsock__config *c;
    wsock *ws;
    wsock__plan_make(&p, role, url, options);
    if (p.o.memory) {
        if (p.o.memory_size < p.total)
            return NULL;
        ws = wsock__new_fixed(role, &p);
    } else {
        c = wsock__config_new(&p);
        if (!c)
            return NULL;
        ws = wsock__new_heap(role, c, &p);
        if (!ws) {
            wsock__config_drop(c);
            return NULL;
        }
    }
    if (!p.code && !(p.o.flags & (WSOCK_NONBLOCKING | WSOCK_CORE_ONLY)) &&
        wsock__threads_open(ws->loop) < 0) {
        wsock_free(ws);
        return NULL;
    }
    ws->loop->config->tls_begin = begin;
    if (p.code) {
        wsock__note(ws, p.code, WSOCK_OPERATION_CONNECT, "%s", p.wrong);
        wsock__done(ws);
    }
    return ws;
}

/* see the API section */
WSOCK_API wsock *wsock_new(int role, const char *url,
                           const wsock_options *options)
{
    return wsock__new(role, url, options, role == WSOCK_SERVER
                                              ? wsock__bear_begin_server
                                              : wsock__bear_begin_client);
}

/* see the API section */
WSOCK_API size_t wsock_memory_needed(int role, const char *url,
                                     const wsock_options *options)
{
    wsock_options o;
    wsock__plan p;
    memset(&o, 0, sizeof o);
    if (options)
        o = *options;
    o.memory = &p; /* any block will do */
    wsock__plan_make(&p, role, url, &o);
    return p.endless ? 0 : p.total;
}

/* Forget the subprotocol that was agreed on. */
static void wsock__drop_subprotocol(wsock *ws)
{
    wsock__rare *r = ws->rare;
    if (r->subprotocol)
        wsock__release(ws->loop->config, r->subprotocol,
                       strlen(r->subprotocol) + 1);
    r->subprotocol = NULL;
    ws->subprotocol = 0;
}

static void wsock__rare_free(wsock *ws)
{
    wsock__rare *r = ws->rare;
    if (!r)
        return;
    wsock__dial_release(ws);
    wsock__buffer_give(ws->loop, r->kept, r->kept_capacity);
    wsock__drop_subprotocol(ws);
    if (r->head_item)
        wsock__item_give(ws->loop, r->head_item);
    wsock__wipe(r->key, sizeof r->key);
    ws->rare = NULL;
    wsock__pool_give(ws->loop, &ws->loop->rares, r);
}

static void wsock__out_free(wsock *ws)
{
    wsock__out *out = ws->out;
    if (!out)
        return;
    wsock__items_give(ws->loop, out->head);
    wsock__items_give(ws->loop, out->sent);
    out->head = out->tail = out->sent = out->sent_tail = NULL;
    out->pong_size = 0;
    wsock__out_settle(ws);
}

/* Threads that are in calls on the connection leave them. */
static void wsock__evict(wsock *ws)
{
    wsock__loop *l = ws->loop;
    if (!l->threaded)
        return;
    wsock__hold(l, 1);
    l->freeing = 1;
    if (l->receiving)
        l->cancelled = WSOCK__CANCEL_TAKEN;
    if (ws->io && ws->out && ws->phase >= WSOCK__PHASE_OPEN)
        wsock__flush(ws);
    wsock__done(ws);
    wsock__wake_all(l, NULL, NULL);
    while (l->inside)
        wsock__wait_for_others(l);
    wsock__hold(l, 0);
}

/* Release everything that hangs on a connection, but not itself. */
static void wsock__strip(wsock *ws)
{
    wsock__loop *l = ws->loop;
    if (ws->io && ws->out && ws->phase >= WSOCK__PHASE_OPEN)
        wsock__flush(ws);
    wsock__done(ws);
    wsock__unlist_work(ws);
    if (l->current == ws)
        l->current = NULL;
    if (l->ended == ws)
        l->ended = NULL;
    wsock__in_free(ws);
    wsock__out_free(ws);
    wsock__rare_free(ws);
    wsock__ready_forget(l, ws);
    wsock__part(ws);
}

static void wsock__husk_check(wsock__loop *l);

/* see the API section */
WSOCK_API void wsock_free(wsock *ws)
{
    wsock__loop *l;
    wsock__config *c;
    if (!ws)
        return;
    l = ws->loop;
    c = ws->config;
    wsock__evict(ws);
    wsock__strip(ws);
    if (ws->bits & WSOCK__SERVER_OWNED) {
        wsock__pool_give(l, &l->wsocks, ws);
        return;
    }
    if (l->shared) {
        wsock__husk_check(l);
    } else {
        wsock__loop_free(l);
        if (l->fixed)
            return;
        wsock__release(c, l, sizeof *l);
    }
    wsock__release(c, ws, sizeof *ws);
    wsock__config_drop(c);
}

/* ------------------------------------------------------------ >>api-open -- */

/* The time that the first step of opening may take. */
static int wsock__open_time(const wsock *ws)
{
    return wsock__is_looking_up(ws) ? ws->config->o.lookup_timeout
                                    : ws->config->o.connect_timeout;
}

/* Begin with a transport that is set up: blocking handles wait for OPEN. */
static int wsock__start(wsock *ws, const wsock_io *io, void *user)
{
    wsock__loop *l = ws->loop;
    ws->io = io;
    ws->io_user = user;
    ws->transport = io == &wsock__dial_io ? WSOCK__SOCKET : WSOCK__FOREIGN;
    ws->phase = WSOCK__PHASE_OPENING;
    if (!l->shared && wsock__wake_open(&l->wake_read, &l->wake_write) < 0) {
        int error = wsock__net_error();
        wsock__note(ws, WSOCK_IO_ERROR, WSOCK_OPERATION_CONNECT,
                    "no descriptor to be woken by: %s",
                    wsock__net_text(error));
        ws->rare->why.failure.os_code = error;
        wsock__done(ws);
        return WSOCK_IO_ERROR;
    }
    if (!(ws->config->o.flags & WSOCK_NONBLOCKING)) {
        ws->bits |= WSOCK__BLOCKING;
        l->bytes_most = WSOCK_UNLIMITED;
    }
    wsock__timer_start(ws, WSOCK__TIMER_CONNECT, wsock__open_time(ws));
    wsock__list_work(ws, WSOCK__WORK_LOOK);
    return wsock__is_blocking(ws) ? wsock__wait_open(ws) : WSOCK_OK;
}

static int wsock__dial_start(wsock *ws)
{
    const wsock__config *c = ws->config;
    wsock__rare *r = wsock__rare_get(ws);
    size_t got = 0;
    wsock__dial *d = r ? (wsock__dial *)(void *)wsock__buffer_take(
                             ws->loop, sizeof *d, &got)
                       : NULL;
    if (!d) {
        wsock__note(ws, WSOCK_NO_MEMORY, WSOCK_OPERATION_CONNECT,
                    "memory is out");
        wsock__done(ws);
        return WSOCK_NO_MEMORY;
    }
    r->dial = d;
    memset(d, 0, sizeof *d);
    d->capacity = got;
    d->owner = ws;
    d->deadline = -1;
    d->lookup_code = wsock__dial_lookup(d, c->host, c->port);
    if (d->lookup_code) { /* no thread could be had, or none is in use */
        ws->io = &wsock__dial_io;
        ws->io_user = d;
        ws->phase = WSOCK__PHASE_OPENING;
        wsock__open_failed(ws);
        return ws->error;
    }
    return wsock__start(ws, &wsock__dial_io, d);
}

static int wsock__can_start(const wsock *ws)
{
    if (ws->error)
        return ws->error;
    if (ws->io || ws->phase != WSOCK__PHASE_NEW ||
        (ws->config->o.flags & WSOCK_CORE_ONLY))
        return WSOCK_INVALID_OPERATION;
    return WSOCK_OK;
}

/* A transport of the program's is copied: into the connection's loop, or, for
 * one in a server's, into memory of its own. */
static const wsock_io *wsock__keep_io(wsock *ws, const wsock_io *io)
{
    wsock_io *copy = &ws->loop->io;
    if (ws->loop->shared)
        copy = (wsock_io *)wsock__alloc(ws->config, sizeof *copy);
    if (copy)
        *copy = *io;
    return copy;
}

static int wsock__attach(wsock *ws, const wsock_io *io)
{
    int r = wsock__can_start(ws);
    unsigned flags = ws->config->o.flags;
    const wsock_io *copy;
    if (r != WSOCK_OK)
        return r;
    if (!io || !io->read || !io->write ||
        (!io->fd && !io->wait && !(flags & WSOCK_NONBLOCKING)))
        return WSOCK_INVALID_PARAMETER;
    if (ws->role == WSOCK_SERVER && (flags & WSOCK_REQUESTS) &&
        !(flags & WSOCK_NONBLOCKING))
        return WSOCK_INVALID_PARAMETER; /* who would get the event? */
    if (ws->loop->shared && !io->fd)
        return WSOCK_INVALID_PARAMETER;
    if (!wsock__rare_get(ws) || (copy = wsock__keep_io(ws, io)) == NULL)
        return WSOCK_NO_MEMORY;
    return wsock__start(ws, copy, io->user);
}

static int wsock__dial_any(wsock *ws)
{
    int r = wsock__can_start(ws);
    if (r != WSOCK_OK)
        return r;
    if (ws->role != WSOCK_CLIENT)
        return WSOCK_INVALID_OPERATION;
    if (ws->config->o.io)
        return wsock__attach(ws, ws->config->o.io);
    return wsock__dial_start(ws);
}

/* see the API section */
WSOCK_API int wsock_dial(wsock *ws)
{
    int r;
    if (!ws)
        return WSOCK_NO_MEMORY;
    wsock__enter(ws);
    r = wsock__dial_any(ws);
    wsock__exit(ws);
    return r;
}

/* see the API section */
WSOCK_API int wsock_attach(wsock *ws, const wsock_io *io)
{
    int r;
    if (!ws)
        return WSOCK_NO_MEMORY;
    wsock__enter(ws);
    r = wsock__attach(ws, io);
    wsock__exit(ws);
    return r;
}

/* see the API section */
WSOCK_API wsock *wsock_connect(const char *url, const wsock_options *options)
{
    wsock *ws = wsock__new(WSOCK_CLIENT, url, options,
                           wsock__bear_begin_client);
    int r = ws && !ws->error ? wsock_dial(ws) : WSOCK_OK;
    if (r != WSOCK_OK && !ws->error) {
        wsock__note(ws, r, WSOCK_OPERATION_CONNECT, "%s",
                    r == WSOCK_INVALID_PARAMETER
                        ? "options.io lacks a callback: read and write, and "
                          "fd or wait for blocking calls"
                    : r == WSOCK_INVALID_OPERATION
                        ? "with WSOCK_CORE_ONLY nothing can be connected"
                        : wsock_result_text(r));
        wsock__done(ws);
    }
    return ws;
}

/* ------------------------------------------------------------ >>api-send -- */

/* The rules for a send that do not depend on what is in the queue. */
static int wsock__send_check(const wsock *ws, unsigned kind)
{
    unsigned opcode = kind & 15;
    unsigned known = 15 | WSOCK_RSV1 | WSOCK_RSV2 | WSOCK_RSV3 |
                     WSOCK_FRAGMENT | WSOCK_BORROW;
    unsigned rsv = ws->extensions ? ws->config->o.reserved_bits : 0;
    int control = opcode == WSOCK_PING || opcode == WSOCK_PONG;
    if (ws->error)
        return ws->error;
    if ((!control && opcode != WSOCK_TEXT && opcode != WSOCK_BINARY) ||
        (kind & ~known) || (kind & 0x70 & ~rsv) ||
        (control && (kind & (0x70 | WSOCK_FRAGMENT))) ||
        ((kind & WSOCK_BORROW) && wsock__is_blocking(ws)))
        return WSOCK_INVALID_PARAMETER;
    if (ws->phase > WSOCK__PHASE_OPEN ||
        (ws->bits & WSOCK__CLOSE_RECEIVED))
        return WSOCK_CLOSED;
    if (ws->phase < WSOCK__PHASE_OPEN || (ws->bits & WSOCK__CLOSE_SENT))
        return WSOCK_INVALID_OPERATION; /* RFC 6455 5.5.1 */
    if (!control && ws->sending && ws->sending != opcode)
        return WSOCK_INVALID_OPERATION; /* RFC 6455 5.4 */
    return WSOCK_OK;
}

/* A whole message on an open connection?  Then all those rules hold. */
WSOCK__INLINE int wsock__sends_plainly(const wsock *ws, unsigned kind)
{
    return kind - 1 <= WSOCK_BINARY - 1 && !ws->sending &&
           !(ws->bits & (WSOCK__NOT_OPEN | WSOCK__CLOSE_SENT |
                         WSOCK__CLOSE_RECEIVED | WSOCK__WRITE_DEAD |
                         WSOCK__BLOCKING));
}

enum {
    WSOCK__REFER_LEAST = 4096, /* smaller payload is cheaper to copy */
    WSOCK__CORK_MOST = 65536,  /* gathered before it is flushed */
    WSOCK__PIECES_MOST = 64
};

/* May the payload be referred to?  Lent memory; memory that a blocking call
 * holds until it is written; or the message that is being handled, which is
 * flushed before its memory is used again. */
static int wsock__refers(wsock *ws, wsock__send_plan *s)
{
    const wsock__loop *l = ws->loop;
    const wsock__in *in = ws->in;
    const uint8_t *p = (const uint8_t *)(s->count ? s->bufs[0].data : NULL);
    size_t least = WSOCK__REFER_LEAST;
    if (l->fixed)
        least = WSOCK__RUN_LEAST;
    if (s->borrowed)
        return 1;
    if (s->size < least)
        return 0;
    if (wsock__is_blocking(ws))
        return 1;
    if (ws != l->current || !ws->io || l->fixed || s->count != 1)
        return 0;
    s->in_window = (l->window && p >= l->window &&
                    p < l->window + l->window_size) ||
                   (in && in->delivered && p >= in->message &&
                    p < in->message + in->size);
    return s->in_window;
}

/* Add up a gather list. */
static int wsock__measure(const wsock_buf *bufs, size_t count, size_t *size)
{
    size_t i, sum = 0;
    if (count > WSOCK__PIECES_MOST || (count && !bufs))
        return WSOCK_INVALID_PARAMETER;
    for (i = 0; i < count; i++) {
        if ((!bufs[i].data && bufs[i].size) ||
            bufs[i].size > (WSOCK_UNLIMITED >> 1) - sum)
            return WSOCK_INVALID_PARAMETER;
        sum += bufs[i].size;
    }
    *size = sum;
    return WSOCK_OK;
}

/* What was queued leaves now, or with the batch (see "Flushing"). */
static int wsock__queued_apart(wsock *ws)
{
    wsock__loop *l = ws->loop;
    if (!ws->io)
        return WSOCK_OK;
    if (wsock__is_blocking(ws))
        return wsock__write_out(ws, 0);
    if (ws->bits & WSOCK__STUCK)
        return WSOCK_OK;
    if (!l->corked || ws->out->queued >= WSOCK__CORK_MOST) {
        wsock__flush(ws);
        wsock__arm(ws);
    } else if (ws != l->current) {
        wsock__list_work(ws, WSOCK__WORK_LOOK);
    }
    return WSOCK_OK;
}

WSOCK__INLINE int wsock__queued(wsock *ws)
{
    const wsock__loop *l = ws->loop;
    if (WSOCK__LIKELY(ws == l->current && l->corked &&
                      ws->out->queued < WSOCK__CORK_MOST))
        return WSOCK_OK; /* leaves with the others when the event is done */
    return wsock__queued_apart(ws);
}

/* The first byte of the frame (RFC 6455 5.2, 5.4). */
static inline unsigned wsock__first_byte(const wsock *ws, unsigned kind)
{
    unsigned first = kind & (WSOCK__RSV | 15U);
    if (ws->sending && (kind & 15) < WSOCK_CLOSE)
        first = 0; /* a continuation: reserved bits mark the first frame */
    return first | (kind & WSOCK_FRAGMENT ? 0U : 0x80U);
}

/* Is the queue at its limit?  Blocking calls wait for it to empty. */
static inline int wsock__is_full(wsock *ws)
{
    if (WSOCK__LIKELY(!ws->out) || wsock__is_blocking(ws) ||
        ws->out->queued < ws->config->o.send_limit)
        return 0;
    ws->bits |= WSOCK__NEEDS_DRAIN;
    return 1;
}

/* A frame of this kind was queued. */
static inline int wsock__was_sent(wsock *ws, unsigned kind)
{
    if (WSOCK__UNLIKELY(kind & WSOCK_FRAGMENT))
        ws->sending = (uint8_t)(kind & 15);
    else if ((kind & 15) < WSOCK_CLOSE)
        ws->sending = 0;
    return wsock__queued(ws);
}

/* A frame that was to be sent can be neither queued nor, by a program that
 * does not look at this result, sent again: the connection fails, or a
 * message would be missing.  Wrong calls and a full queue pass. */
static int wsock__send_result(wsock *ws, int r)
{
    if ((r != WSOCK_NO_MEMORY && r != WSOCK_RANDOM_FAILED) || ws->error)
        return r;
    wsock__note(ws, r, WSOCK_OPERATION_SEND, "nothing can be sent: %s",
                wsock_result_text(r));
    wsock__end_failed(ws, 1011);
    if (wsock__is_blocking(ws))
        wsock__flush(ws); /* the next call may come late */
    wsock__wake_receiver(ws);
    return r;
}

/* Payload that is large, lent, or in several pieces. */
static int wsock__send_plan_out(wsock *ws, unsigned kind,
                                wsock__send_plan *s)
{
    int r;
    if ((kind & 15) >= WSOCK_CLOSE && s->size > WSOCK__CONTROL_MOST)
        return WSOCK_INVALID_PARAMETER; /* RFC 6455 5.5 */
    if (wsock__is_full(ws))
        return WSOCK_WOULD_BLOCK;
    s->in_window = s->is_close = 0;
    s->borrowed = kind & WSOCK_BORROW ? (uint16_t)(kind ^ WSOCK_BORROW) : 0;
    s->reference = (uint8_t)wsock__refers(ws, s);
    r = wsock__plan_frame(ws, s, wsock__first_byte(ws, kind));
    if (r == WSOCK_WOULD_BLOCK)
        ws->bits |= WSOCK__NEEDS_DRAIN;
    return r == WSOCK_OK ? wsock__was_sent(ws, kind) : r;
}

static int wsock__sendv(wsock *ws, unsigned kind, const wsock_buf *bufs,
                        size_t count, void *context)
{
    wsock__send_plan s;
    int r = wsock__send_check(ws, kind);
    if (r == WSOCK_OK)
        r = wsock__measure(bufs, count, &s.size);
    if (r != WSOCK_OK)
        return r;
    s.bufs = bufs;
    s.count = count;
    s.context = context;
    return wsock__send_plan_out(ws, kind, &s);
}

/* see the API section */
WSOCK_API int wsock_sendv(wsock *ws, unsigned kind, const wsock_buf *bufs,
                          size_t count, void *context)
{
    int r;
    if (!ws)
        return WSOCK_NO_MEMORY;
    wsock__enter(ws);
    r = wsock__send_result(ws, wsock__sendv(ws, kind, bufs, count, context));
    wsock__exit(ws);
    return r;
}

WSOCK__APART int wsock__send_any(wsock *ws, unsigned kind, const void *data,
                           size_t size)
{
    wsock_buf buf;
    if (kind & WSOCK_BORROW)
        return WSOCK_INVALID_PARAMETER;
    buf.data = data;
    buf.size = size;
    return wsock_sendv(ws, kind, &buf, 1, NULL);
}

/* A message that is to be copied, on an open connection. */
WSOCK__APART int wsock__send_plain(wsock *ws, unsigned kind, const void *data,
                             size_t size)
{
    if (!wsock__is_full(ws) &&
        wsock__put_frame(ws, 0x80 | kind, data, size, 0) > 0)
        return wsock__queued(ws);
    return wsock__send_any(ws, kind, data, size);
}

/* The usual send: a server's answer to the event that is being handled, into
 * a queue that is a single run and has room for it.  NULL: it is not. */
WSOCK__INLINE wsock__out *wsock__answer_room(wsock *ws, size_t size)
{
    wsock__loop *l = ws->loop;
    wsock__out *out = ws->out;
    if (ws != l->current || !l->corked || ws->role != WSOCK_SERVER)
        return NULL;
    if (!out) {
        if (size > l->single_most || !l->outs.first)
            return NULL;
        ws->out = out = (wsock__out *)wsock__pool_take(l, &l->outs);
        out->head = out->tail = &out->first;
        out->single = 1;
    } else if (!out->single || out->queued + size > l->single_most) {
        return NULL;
    }
    return out;
}

/* see the API section.  Nothing is kept over the copying, so that it costs
 * no registers. */
WSOCK_API int wsock_send(wsock *ws, unsigned kind, const void *data,
                         size_t size)
{
    wsock__out *out;
    if (WSOCK__UNLIKELY(!ws))
        return WSOCK_NO_MEMORY;
    if (WSOCK__UNLIKELY(size >= WSOCK__REFER_LEAST || !data ||
                        ws->loop->threaded || /* the mutex comes first */
                        !wsock__sends_plainly(ws, kind)))
        return wsock__send_any(ws, kind, data, size);
    out = wsock__answer_room(ws, WSOCK__FRAME_HEAD_MOST + size);
    if (WSOCK__UNLIKELY(!out))
        return wsock__send_plain(ws, kind, data, size);
    wsock__frame_into(out, &out->first, 0x80 | kind, 0, 0, data, size);
    return WSOCK_OK;
}

/* ----------------------------------------------------------- >>api-close -- */

static int wsock__close_check(int code, const char *reason)
{
    uint32_t state = 0;
    size_t size = reason ? strlen(reason) : 0;
    if (code == 0)
        return size ? WSOCK_INVALID_PARAMETER : WSOCK_OK;
    if (!wsock__close_code_valid(code) || size > WSOCK__CONTROL_MOST - 2 ||
        !wsock__utf8(&state, (const uint8_t *)(reason ? reason : ""), size) ||
        state)
        return WSOCK_INVALID_PARAMETER;
    return WSOCK_OK;
}

/* Queue our Close, if it was not. */
static int wsock__say_close(wsock *ws, int code, const char *reason)
{
    int r;
    reason = reason ? reason : "";
    r = wsock__queue_close(ws, code, reason, strlen(reason));
    return r ? r : wsock__queued(ws);
}

static int wsock__shutdown(wsock *ws, int code, const char *reason)
{
    int r;
    if (ws->error)
        return ws->error;
    r = wsock__close_check(code, reason);
    if (r != WSOCK_OK)
        return r;
    if (ws->phase != WSOCK__PHASE_OPEN || (ws->bits & WSOCK__CLOSE_SENT))
        return WSOCK_INVALID_OPERATION;
    return wsock__say_close(ws, code, reason);
}

/* see the API section */
WSOCK_API int wsock_shutdown(wsock *ws, int code, const char *reason)
{
    int r;
    if (!ws)
        return WSOCK_NO_MEMORY;
    wsock__enter(ws);
    r = wsock__shutdown(ws, code == WSOCK_CLOSE_NO_STATUS ? 0 : code, reason);
    r = wsock__send_result(ws, r);
    wsock__exit(ws);
    return r;
}

/* The program gives up a request that it was to answer, whether or not the
 * peer is still there: the next poll may free it. */
static void wsock__unask(wsock *ws)
{
    if (!(ws->bits & WSOCK__ASKED))
        return;
    ws->bits &= ~(uint32_t)(WSOCK__ASKED | WSOCK__PENDING_REQUEST);
    if (ws->io || (ws->bits & WSOCK__SERVER_OWNED))
        wsock__list_work(ws, WSOCK__WORK_LOOK);
}

/* Closed before it was open. */
static int wsock__close_early(wsock *ws)
{
    wsock__note(ws, WSOCK_CANCELLED, WSOCK_OPERATION_CONNECT,
                "closed before it was open");
    wsock__done(ws);
    return WSOCK_OK;
}

/* Begin to close.  A blocking call then writes and reads at once, as a peer
 * that sends would not read our Close otherwise. */
static int wsock__close_begin(wsock *ws, int code, const char *reason)
{
    int r = WSOCK_OK;
    ws->bits |= WSOCK__DISCARD;
    if (ws->bits & WSOCK__FINISHED)
        return WSOCK_OK;
    if (!wsock__timer_is(ws, WSOCK__TIMER_CLOSE))
        wsock__timer_start(ws, WSOCK__TIMER_CLOSE,
                           ws->config->o.close_timeout);
    if (ws->phase != WSOCK__PHASE_OPEN)
        return WSOCK_OK; /* a response that is being taken */
    reason = reason ? reason : "";
    if (!(ws->bits & (WSOCK__CLOSE_SENT | WSOCK__WRITE_DEAD)))
        r = wsock__is_blocking(ws)
                ? wsock__queue_close(ws, code, reason, strlen(reason))
                : wsock__say_close(ws, code, reason);
    r = wsock__send_result(ws, r); /* else no Close would be waited for */
    ws->bits &= ~(uint32_t)(WSOCK__PAUSED | WSOCK__HELD);
    if (ws->io)
        wsock__resume(ws);
    return r;
}

static int wsock__close(wsock *ws, int code, const char *reason)
{
    int r, early;
    code = code == WSOCK_CLOSE_NO_STATUS ? 0 : code;
    r = ws->phase == WSOCK__PHASE_DONE ? (int)WSOCK_OK
                                       : wsock__close_check(code, reason);
    if (r != WSOCK_OK)
        return r;
    wsock__unask(ws);
    if (ws->phase == WSOCK__PHASE_DONE)
        return ws->error;
    if (!wsock__is_blocking(ws))
        return ws->phase < WSOCK__PHASE_OPEN
                   ? wsock__close_early(ws)
                   : wsock__close_begin(ws, code, reason);
    early = ws->phase < WSOCK__PHASE_OPEN;
    wsock__take_reading(ws); /* a dial ends by that */
    if (early && ws->phase != WSOCK__PHASE_OPEN) {
        r = wsock__close_early(ws);
    } else {
        wsock__close_begin(ws, code, reason);
        r = wsock__wait_closed(ws);
        ws->bits |= WSOCK__CLOSE_REPORTED; /* this call has taken it */
    }
    wsock__reading_ends(ws->loop);
    return r;
}

/* see the API section */
WSOCK_API int wsock_close(wsock *ws, int code, const char *reason)
{
    int r;
    if (!ws)
        return WSOCK_NO_MEMORY;
    wsock__enter(ws);
    r = wsock__close(ws, code, reason);
    wsock__exit(ws);
    return r;
}

/* see the API section */
WSOCK_API int wsock_close_status(const wsock *ws, int *code,
                                 const char **reason)
{
    int r = WSOCK_INVALID_OPERATION;
    if (!ws)
        return WSOCK_NO_MEMORY;
    wsock__enter(ws);
    if (ws->bits & WSOCK__CLOSE_RECEIVED) {
        r = WSOCK_OK;
        if (code)
            *code = ws->close_received;
        if (reason)
            *reason = ws->rare ? ws->rare->reason : "";
    }
    wsock__exit(ws);
    return r;
}

/* see the API section */
WSOCK_API int wsock_abort(wsock *ws)
{
    if (!ws)
        return WSOCK_NO_MEMORY;
    wsock__enter(ws);
    wsock__unask(ws);
    if (ws->phase != WSOCK__PHASE_DONE)
        wsock__note(ws, WSOCK_ABORTED, WSOCK_OPERATION_CLOSE,
                    "ended by wsock_abort");
    wsock__drop_output(ws, WSOCK_ABORTED);
    wsock__done(ws);
    wsock__exit(ws);
    return WSOCK_OK;
}

/* --------------------------------------------------------- >>api-receive -- */

static int wsock__receive_now(wsock *ws, wsock__receive *r)
{
    int code;
    if (ws->error && !ws->io)
        return ws->error;
    if (!r->data || r->size == 0 || !r->status)
        return WSOCK_INVALID_PARAMETER;
    if (!wsock__is_blocking(ws) || (ws->bits & WSOCK__CLOSE_REPORTED) ||
        !wsock__reading_begins(ws->loop))
        return WSOCK_INVALID_OPERATION;
    if (ws->bits & WSOCK__PENDING_RELEASE)
        wsock__lent_release(ws);
    code = wsock__receive_loop(ws, r);
    ws->loop->direct_size = 0;
    if (code == WSOCK_CANCELLED)
        ws->loop->cancelled = 0;
    wsock__reading_ends(ws->loop);
    return code;
}

/* see the API section */
WSOCK_API int wsock_receive(wsock *ws, void *data, size_t size,
                            wsock_status *status)
{
    wsock__receive r;
    int code;
    if (!ws)
        return WSOCK_NO_MEMORY;
    r.data = (uint8_t *)data;
    r.size = size;
    r.filled = 0;
    r.status = status;
    wsock__enter(ws);
    code = wsock__receive_now(ws, &r);
    wsock__exit(ws);
    return code;
}

/* see the API section */
WSOCK_API int wsock_wake(wsock *ws)
{
    const wsock__loop *l;
    if (!ws)
        return WSOCK_NO_MEMORY;
    l = ws->loop;
    if (l->shared || ws->config->o.flags & WSOCK_CORE_ONLY ||
        l->wake_write < 0)
        return WSOCK_INVALID_OPERATION;
    wsock__wake(l->wake_write, WSOCK__WAKE_CALL);
    if (l->io.wake)
        l->io.wake(l->io.user);
    return WSOCK_OK;
}

/* see the API section */
WSOCK_API int wsock_cancel(wsock *ws)
{
    int r = WSOCK_INVALID_OPERATION;
    if (!ws)
        return WSOCK_NO_MEMORY;
    wsock__enter(ws);
    if (wsock__is_blocking(ws))
        r = wsock_wake(ws);
    wsock__exit(ws);
    return r;
}

/* How long until there is something to do without anything coming? */
static int wsock__loop_timeout(const wsock__loop *l)
{
    int64_t due;
    if (l->current || l->work_first || l->ready_at < l->ready_count)
        return 0;
    due = wsock__next_due(l);
    return due < 0 ? WSOCK_NEVER : wsock__milliseconds(wsock__now(l), due);
}

/* see the API section */
WSOCK_API size_t wsock_watches(const wsock *ws, wsock_watch *list, size_t cap)
{
    if (!ws || wsock__may_block(ws) || !ws->io ||
        (ws->io != &wsock__dial_io && wsock__io_fd(ws) < 0))
        return 0;
    if (ws->loop->shared)
        return wsock__fds_of(ws, list, list ? cap : 0);
    return wsock__all_watches(ws->loop, list, list ? cap : 0);
}

/* see the API section */
WSOCK_API int wsock_timeout(const wsock *ws)
{
    if (!ws)
        return 0; /* a poll call says why */
    if (wsock__may_block(ws))
        return WSOCK_NEVER;
    if (ws->bits & WSOCK__PENDING_CLOSE)
        return 0;
    if (!ws->io || ws->loop->shared)
        return WSOCK_NEVER;
    return wsock__loop_timeout(ws->loop);
}

/* see the API section */
WSOCK_API int wsock_poll(wsock *ws, wsock_event *event, int timeout)
{
    if (!event)
        return WSOCK_INVALID_PARAMETER;
    wsock__event_fill(ws, event, WSOCK_EVENT_NONE, 0, NULL, 0);
    if (!ws)
        return WSOCK_NO_MEMORY;
    if (wsock__is_blocking(ws) || ws->loop->shared)
        return WSOCK_INVALID_OPERATION;
    if (ws->bits & WSOCK__CLOSE_REPORTED)
        return wsock__ended(ws);
    if (!ws->io && (ws->phase != WSOCK__PHASE_DONE ||
                    (ws->config->o.flags & WSOCK_CORE_ONLY)))
        return WSOCK_INVALID_OPERATION; /* no transport: wsock_next() */
    return wsock__poll_once(ws->loop, event, timeout);
}

static int wsock__flush_now(wsock *ws)
{
    if (ws->error)
        return ws->error;
    if (!ws->io || ws->phase < WSOCK__PHASE_HANDSHAKE)
        return WSOCK_INVALID_OPERATION;
    wsock__flush(ws);
    wsock__arm(ws);
    if (ws->error)
        return ws->error;
    return ws->out && ws->out->queued ? WSOCK_WOULD_BLOCK : WSOCK_OK;
}

/* see the API section */
WSOCK_API int wsock_flush(wsock *ws)
{
    int r;
    if (!ws)
        return WSOCK_NO_MEMORY;
    wsock__enter(ws);
    r = wsock__flush_now(ws);
    wsock__exit(ws);
    return r;
}

/* see the API section */
WSOCK_API int wsock_pause(wsock *ws, int on)
{
    if (!ws)
        return WSOCK_NO_MEMORY;
    if (wsock__is_blocking(ws))
        return WSOCK_INVALID_OPERATION;
    if (on)
        ws->bits |= WSOCK__PAUSED;
    else
        ws->bits &= ~(uint32_t)WSOCK__PAUSED;
    if (ws->io) {
        wsock__resume(ws);
        if (ws->phase > WSOCK__PHASE_OPENING)
            wsock__arm(ws); /* the next wait is to see what has come */
    }
    return WSOCK_OK;
}

/* ------------------------------------------------------------ >>api-core -- */

/* ---- answers to requests */

/* Has the peer of a request hung up?  Nothing is waited for meanwhile, so not
 * every poller has noticed. */
static int wsock__has_left(const wsock *ws)
{
    wsock__fd fd = ws->transport == WSOCK__FOREIGN ? -1 : wsock__io_fd(ws);
    return fd >= 0 && wsock__socket_is_gone(fd);
}

/* Can this request be answered?  WSOCK_CLOSED: it is too late. */
static int wsock__answer_begin(wsock *ws)
{
    if (!ws)
        return WSOCK_NO_MEMORY;
    if (!(ws->bits & WSOCK__ASKED))
        return WSOCK_INVALID_OPERATION;
    if (ws->phase == WSOCK__PHASE_HANDSHAKE && wsock__has_left(ws))
        wsock__hung_up(ws);
    if (ws->phase == WSOCK__PHASE_HANDSHAKE)
        return WSOCK_OK;
    ws->bits &= ~(uint32_t)(WSOCK__ASKED | WSOCK__PENDING_REQUEST);
    wsock__list_work(ws, WSOCK__WORK_LOOK); /* so that a poll frees it */
    return WSOCK_CLOSED;
}

/* The answer stands in the queue. */
static void wsock__answer_end(wsock *ws)
{
    ws->bits &= ~(uint32_t)(WSOCK__ASKED | WSOCK__PENDING_REQUEST);
    if (ws->io) {
        wsock__resume(ws);
        wsock__queued(ws);
    }
}

static int wsock__is_offered(const wsock__request *q, const char *name)
{
    const char *const *offer = q->offers;
    while (*offer && strcmp(*offer, name) != 0)
        offer++;
    return *offer != NULL;
}

/* Agree on a subprotocol: by its number, if it is one of the options, else
 * by a copy. */
static int wsock__choose_subprotocol(wsock *ws, const char *name)
{
    size_t n = strlen(name);
    int i = wsock__find_subprotocol(&ws->config->o, name, n);
    if (!wsock__is_offered((const wsock__request *)(void *)ws->rare->kept,
                           name)) /* RFC 6455 4.2.2 item 5.5 */
        return WSOCK_INVALID_PARAMETER;
    if (i == 0) {
        if (ws->loop->fixed)
            return WSOCK_TOO_BIG; /* no memory for the copy */
        ws->rare->subprotocol =
            (char *)wsock__alloc(ws->loop->config, n + 1);
        if (!ws->rare->subprotocol)
            return WSOCK_NO_MEMORY;
        memcpy(ws->rare->subprotocol, name, n + 1);
        i = WSOCK__SUBPROTOCOL_OTHER;
    }
    ws->subprotocol = (uint8_t)i;
    return WSOCK_OK;
}

/* see the API section */
WSOCK_API int wsock_upgrade(wsock *ws, const char *subprotocol,
                            const char *const *headers)
{
    wsock__head_parts parts;
    int r = wsock__answer_begin(ws);
    if (r != WSOCK_OK)
        return r;
    if (!((const wsock_request *)(void *)ws->rare->kept)->upgrade)
        return WSOCK_INVALID_OPERATION;
    if (!wsock__headers_valid(headers))
        return WSOCK_INVALID_PARAMETER;
    if (subprotocol)
        r = wsock__choose_subprotocol(ws, subprotocol);
    if (r != WSOCK_OK)
        return r;
    memset(&parts, 0, sizeof parts);
    parts.headers = headers;
    r = wsock__put_head(ws, &parts);
    if (r != WSOCK_OK) {
        wsock__drop_subprotocol(ws);
        return r;
    }
    wsock__opened(ws);
    wsock__answer_end(ws);
    return WSOCK_OK;
}

/* Queue a response's body; it leaves in large pieces if it is large. */
static int wsock__queue_body(wsock *ws, const void *body, size_t size)
{
    wsock__loop *l = ws->loop;
    wsock__send_plan s;
    wsock_buf buf;
    wsock__item *block;
    if (!l->fixed) {
        block = wsock__queue_block(ws, size);
        if (block)
            memcpy(wsock__block_bytes(block), body, size);
        return block ? WSOCK_OK : WSOCK_NO_MEMORY;
    }
    memset(&s, 0, sizeof s);
    buf.data = body;
    buf.size = size;
    s.bufs = &buf;
    s.count = 1;
    s.size = size;
    return wsock__enqueue_frame(ws, &s);
}

/* see the API section */
WSOCK_API int wsock_respond(wsock *ws, int status,
                            const char *const *headers, const void *body,
                            size_t size)
{
    wsock__head_parts parts;
    int r = wsock__answer_begin(ws);
    if (r != WSOCK_OK)
        return r;
    if (status < 200 || status > 599 || (!body && size) ||
        (size && (status == 204 || status == 304)) ||
        !wsock__headers_valid(headers))
        return WSOCK_INVALID_PARAMETER;
    parts.headers = headers;
    parts.status = status;
    parts.body_size = size;
    if (strcmp(((const wsock_request *)(void *)ws->rare->kept)->method,
               "HEAD") == 0)
        size = 0; /* RFC 9110 9.3.2 */
    r = wsock__put_head(ws, &parts);
    if (r == WSOCK_OK && size)
        r = wsock__queue_body(ws, body, size);
    if (r != WSOCK_OK) {
        wsock__drop_output(ws, r);
        return r == WSOCK_WOULD_BLOCK ? WSOCK_TOO_BIG : r;
    }
    ws->rare->why.failure.http_status = status;
    wsock__end(ws);
    if (ws->io)
        wsock__timer_start(ws, WSOCK__TIMER_STALL,
                           ws->config->o.stall_timeout);
    wsock__answer_end(ws);
    return WSOCK_OK;
}

/* see the API section */
WSOCK_API int wsock_feed(wsock *ws, void *bytes, size_t size)
{
    if (!ws)
        return WSOCK_NO_MEMORY;
    if (!bytes && size)
        return WSOCK_INVALID_PARAMETER;
    if (ws->io || ws->loop->shared || wsock__has_input(ws))
        return WSOCK_INVALID_OPERATION;
    if (ws->phase == WSOCK__PHASE_DONE)
        return WSOCK_OK; /* discarded: RFC 6455 1.4, 7.1.1 */
    wsock__begin(ws);
    if (size)
        wsock__input(ws, (uint8_t *)bytes, size);
    else
        wsock__end_of_stream(ws);
    return WSOCK_OK;
}

/* see the API section */
WSOCK_API int wsock_next(wsock *ws, wsock_event *event)
{
    wsock__loop *l;
    if (!event)
        return WSOCK_INVALID_PARAMETER;
    wsock__event_fill(ws, event, WSOCK_EVENT_NONE, 0, NULL, 0);
    if (!ws)
        return WSOCK_NO_MEMORY;
    if (ws->io || ws->loop->shared || wsock__is_blocking(ws))
        return WSOCK_INVALID_OPERATION;
    if (ws->bits & WSOCK__CLOSE_REPORTED)
        return wsock__ended(ws);
    l = ws->loop;
    if (wsock__next(ws, event))
        return 1;
    if (!wsock__has_input(ws)) {
        wsock__in_settle(ws);
        l->current = NULL;
    }
    return 0;
}

/* see the API section */
WSOCK_API size_t wsock_output(wsock *ws, wsock_buf *bufs, size_t count)
{
    if (!ws || !bufs || ws->io || ws->loop->shared ||
        (ws->bits & WSOCK__HEAD_BY_HAND && ws->phase < WSOCK__PHASE_OPEN))
        return 0;
    wsock__begin(ws);
    if (!ws->out)
        return 0;
    return wsock__gather(ws, bufs, count, &ws->out->offered);
}

/* see the API section */
WSOCK_API int wsock_output_done(wsock *ws, size_t size)
{
    if (!ws)
        return WSOCK_NO_MEMORY;
    if (size > (ws->out ? ws->out->offered : 0) || ws->io)
        return WSOCK_INVALID_PARAMETER;
    if (!ws->out)
        return WSOCK_OK;
    ws->out->offered = 0;
    wsock__taken(ws, size);
    return WSOCK_OK;
}

/* Take our head out of the queue and split it into strings: every line, and
 * every header into name and value. */
static int wsock__take_head(wsock *ws)
{
    wsock__rare *r = ws->rare;
    wsock__item *item = ws->out ? ws->out->head : NULL, *body;
    size_t head;
    if (!r || !item || item->taken || !item->is_head)
        return WSOCK_INVALID_OPERATION;
    ws->out->head = item->next;
    if (!item->next)
        ws->out->tail = NULL;
    item->next = NULL;
    ws->out->queued -= item->size;
    ws->out->offered = 0;
    wsock__out_settle(ws);
    r->head_item = item;
    ws->bits |= WSOCK__HEAD_BY_HAND;
    head = (size_t)wsock__head_end(item->data, item->size);
    if (head < item->size && /* a refusal's body is left for the output */
        (body = wsock__queue_block(ws, item->size - head)) != NULL)
        memcpy(wsock__block_bytes(body), item->data + head,
               item->size - head);
    item->taken = wsock__head_pack((char *)wsock__block_bytes(item), head);
    return WSOCK_OK;
}

/* see the API section */
WSOCK_API int wsock_head_out(wsock *ws, size_t i, const char **name,
                             const char **value)
{
    const char *p, *end;
    int r = WSOCK_OK;
    if (!ws)
        return WSOCK_NO_MEMORY;
    if (!name || !value)
        return WSOCK_INVALID_PARAMETER;
    if (ws->io || ws->loop->shared)
        return WSOCK_INVALID_OPERATION;
    if (ws->role == WSOCK_CLIENT)
        wsock__begin(ws);
    if (!ws->rare || !ws->rare->head_item)
        r = wsock__take_head(ws);
    if (r != WSOCK_OK)
        return r;
    p = (const char *)wsock__block_bytes(ws->rare->head_item);
    end = p + ws->rare->head_item->taken;
    *name = "";
    *value = p;
    for (p += strlen(p) + 1; i && p < end; i--) {
        *name = p;
        *value = p + strlen(p) + 1;
        p = *value + strlen(*value) + 1;
    }
    return i ? WSOCK_CLOSED : WSOCK_OK;
}

/* Pack a head that the program's HTTP stack has parsed, as if it had come
 * from the wire; at == NULL only measures.  The size, 0: it is malformed. */
static size_t wsock__pack_listed(char *at, const char *first_line,
                                 const char *const *headers)
{
    wsock__text t = {NULL, 0, 0};
    size_t name_size, size;
    const char *value;
    t.at = at;
    t.capacity = at ? WSOCK_UNLIMITED : 0;
    wsock__put(&t, first_line, strlen(first_line) + 1);
    for (; headers && *headers; headers++) {
        if (!wsock__split_header(*headers, strlen(*headers), &name_size,
                                 &value, &size))
            return 0;
        wsock__put(&t, *headers, name_size);
        wsock__put(&t, "", 1);
        wsock__put(&t, value, size);
        wsock__put(&t, "", 1);
    }
    return wsock__is_value(first_line, strlen(first_line)) ? t.size : 0;
}

/* Judge a packed head that the program gave. */
static int wsock__judge_listed(wsock *ws, const char *head, size_t size)
{
    wsock__facts f;
    int code;
    wsock__facts_packed(ws, &f, head, size);
    if (ws->role == WSOCK_SERVER)
        return wsock__answer_request(ws, head, size, &f);
    code = wsock__answer_response(ws, head, &f);
    if (code == WSOCK_REFUSED)
        wsock__end(ws);
    return code == WSOCK_WOULD_BLOCK ? WSOCK_OK : code;
}

/* see the API section */
WSOCK_API int wsock_head_in(wsock *ws, const char *first_line,
                            const char *const *headers)
{
    size_t size, got = 0;
    uint8_t *packed;
    int code;
    if (!ws)
        return WSOCK_NO_MEMORY;
    if (!first_line)
        return WSOCK_INVALID_PARAMETER;
    if (ws->error)
        return ws->error;
    if (ws->io || ws->loop->shared || ws->phase > WSOCK__PHASE_HANDSHAKE ||
        (ws->bits & WSOCK__ASKED) || wsock__has_input(ws) ||
        (ws->in && ws->in->tail_size))
        return WSOCK_INVALID_OPERATION;
    wsock__begin(ws);
    if (!wsock__rare_get(ws))
        return WSOCK_NO_MEMORY;
    ws->bits |= WSOCK__NO_BODY; /* of a refusal: it goes out as a head */
    size = wsock__pack_listed(NULL, first_line, headers);
    if (size == 0)
        return wsock__head_malformed(ws);
    packed = wsock__buffer_take(ws->loop, size, &got);
    if (!packed)
        return WSOCK_NO_MEMORY;
    wsock__pack_listed((char *)packed, first_line, headers);
    code = wsock__judge_listed(ws, (const char *)packed, size);
    if (packed != ws->rare->kept) /* else it has become the request's */
        wsock__buffer_give(ws->loop, packed, got);
    return code;
}

/* ------------------------------------------------------- >>api-questions -- */

static int wsock__state(const wsock *ws)
{
    if (ws->phase == WSOCK__PHASE_DONE)
        return WSOCK_STATE_CLOSED;
    if (ws->phase < WSOCK__PHASE_OPEN)
        return WSOCK_STATE_CONNECTING;
    if (ws->phase > WSOCK__PHASE_OPEN || (ws->bits & WSOCK__CLOSE_SENT))
        return WSOCK_STATE_CLOSING;
    return WSOCK_STATE_OPEN;
}

/* see the API section */
WSOCK_API int wsock_state(const wsock *ws)
{
    int state;
    if (!ws)
        return WSOCK_STATE_CLOSED;
    wsock__enter(ws);
    state = wsock__state(ws);
    wsock__exit(ws);
    return state;
}

/* see the API section */
WSOCK_API int wsock_error(const wsock *ws)
{
    int error;
    if (!ws)
        return WSOCK_NO_MEMORY;
    wsock__enter(ws);
    error = ws->error;
    wsock__exit(ws);
    return error;
}

/* see the API section */
WSOCK_API const char *wsock_error_text(const wsock *ws)
{
    return wsock_why(ws)->text;
}

static const wsock_failure *wsock__why(const wsock *ws)
{
    wsock__rare *r = ws->rare;
    if (!r && ws->error)
        return &wsock__out_of_memory;
    if (!r || !(ws->error || ws->close_sent || ws->close_received ||
                r->why.failure.http_status))
        return &wsock__no_failure;
    r->why.failure.close_sent = ws->close_sent;
    r->why.failure.close_received = ws->close_received;
    return &r->why.failure;
}

/* see the API section */
WSOCK_API const wsock_failure *wsock_why(const wsock *ws)
{
    const wsock_failure *why;
    if (!ws)
        return &wsock__out_of_memory;
    wsock__enter(ws);
    why = wsock__why(ws);
    wsock__exit(ws);
    return why;
}

/* see the API section */
WSOCK_API const char *wsock_subprotocol(const wsock *ws)
{
    if (!ws || !ws->subprotocol)
        return NULL;
    if (ws->subprotocol == WSOCK__SUBPROTOCOL_OTHER)
        return ws->rare->subprotocol;
    return ws->config->o.subprotocols[ws->subprotocol - 1];
}

/* see the API section */
WSOCK_API unsigned wsock_extensions(const wsock *ws)
{
    return ws ? ws->extensions : 0;
}

/* see the API section */
WSOCK_API const char *wsock_header(const wsock *ws, const char *name)
{
    const wsock__rare *r;
    const char *value = NULL;
    if (!ws || !name)
        return NULL;
    wsock__enter(ws);
    r = ws->rare;
    if (r && r->head)
        value = wsock__find_header(r->head, r->head_size, name);
    wsock__exit(ws);
    return value;
}

/* see the API section */
WSOCK_API int wsock_rtt(const wsock *ws)
{
    int rtt;
    if (!ws)
        return -1;
    wsock__enter(ws);
    rtt = (int)ws->rtt - 1;
    wsock__exit(ws);
    return rtt;
}

/* see the API section */
WSOCK_API size_t wsock_queued(const wsock *ws)
{
    size_t queued;
    if (!ws)
        return 0;
    wsock__enter(ws);
    queued = ws->out ? ws->out->queued : 0;
    wsock__exit(ws);
    return queued;
}

/* see the API section */
WSOCK_API int wsock_peer(const wsock *ws, char *text, size_t size)
{
    struct sockaddr_storage s;
    socklen_t n = sizeof s;
    wsock__fd fd;
    int r = -1;
    if (!ws)
        return WSOCK_NO_MEMORY;
    if (!text || size == 0)
        return WSOCK_INVALID_PARAMETER;
    text[0] = 0;
    memset(&s, 0, sizeof s);
    wsock__enter(ws);
    fd = wsock__io_fd(ws);
    if (fd >= 0)
        r = getpeername((wsock__handle)fd, (struct sockaddr *)(void *)&s,
                        &n);
    wsock__exit(ws);
    return r < 0 ? (int)WSOCK_INVALID_OPERATION
                 : wsock__address_text(&s, text, size);
}

/* see the API section */
WSOCK_API void *wsock_user(const wsock *ws)
{
    return ws ? ws->user : NULL;
}

/* see the API section */
WSOCK_API void wsock_set_user(wsock *ws, void *user)
{
    if (ws)
        ws->user = user;
}

/* see the API section */
WSOCK_API const wsock_options *wsock_effective_options(const wsock *ws)
{
    return ws ? &ws->config->o : NULL;
}

/* -------------------------------------------------------------- >>names -- */

/* see the API section */
WSOCK_API const char *wsock_result_name(int result)
{
#define WSOCK__NAME(name, value, text)                                        \
    case value:                                                               \
        return "WSOCK_" #name;
    switch (result) {
        WSOCK_RESULTS(WSOCK__NAME)
    default:
        return "not a wsock result";
    }
#undef WSOCK__NAME
}

/* see the API section */
WSOCK_API const char *wsock_result_text(int result)
{
#define WSOCK__LINE(name, value, text)                                        \
    case value:                                                               \
        return text;
    switch (result) {
        WSOCK_RESULTS(WSOCK__LINE)
    default:
        return "not a wsock result";
    }
#undef WSOCK__LINE
}

/* ------------------------------------------------------------- >>server --
 * A loop with a listener.  Its connections come from slabs. */

enum { WSOCK__SLAB = 51 }; /* connections in 8 KiB */

typedef struct wsock__slab {
    struct wsock__slab *next;
    wsock list[WSOCK__SLAB];
} wsock__slab;

static wsock *wsock__slab_take(wsock__loop *l)
{
    wsock__slab *slab;
    int i;
    if (!l->wsocks.first) {
        slab = (wsock__slab *)wsock__alloc(l->config, sizeof *slab);
        if (!slab)
            return NULL;
        slab->next = (wsock__slab *)l->slabs;
        l->slabs = slab;
        for (i = WSOCK__SLAB; i > 0; i--)
            wsock__pool_give(l, &l->wsocks, &slab->list[i - 1]);
    }
    return (wsock *)wsock__pool_take(l, &l->wsocks);
}

/* A connection arrived.  0, or -1: it could not be kept. */
static int wsock__accept_one(wsock__loop *l, wsock__fd fd)
{
    wsock *ws = wsock__slab_take(l);
    if (!ws) {
        wsock__socket_end(fd);
        return -1;
    }
    wsock__socket_options(fd);
    wsock__init(ws, WSOCK_SERVER, l->config, l);
    ws->bits |= WSOCK__SERVER_OWNED | WSOCK__UNFINISHED;
    l->handshakes++;
    ws->io = &wsock__socket_io;
    ws->io_user = (void *)(intptr_t)fd;
    if (wsock__watch(ws) < 0) {
        wsock_free(ws);
        return -1;
    }
    wsock__transport_open(ws);
    return 0;
}

static wsock *wsock__oldest_handshake(const wsock__loop *l, unsigned timer)
{
    wsock *ws = l->timers[timer].first;
    while (ws && !(ws->bits & WSOCK__UNFINISHED))
        ws = ws->timer_next; /* one that was added */
    return ws;
}

/* Room for one more handshake: the oldest gives way, as those who mean well
 * are done with theirs in no time.  0: there is no such one. */
static int wsock__handshake_room(wsock__loop *l)
{
    wsock *oldest;
    if (l->handshakes < l->config->o.max_handshakes)
        return 1;
    oldest = wsock__oldest_handshake(l, WSOCK__TIMER_OVERDUE);
    if (!oldest)
        oldest = wsock__oldest_handshake(l, WSOCK__TIMER_HANDSHAKE);
    if (!oldest)
        return 0;
    wsock__note(oldest, WSOCK_TIMED_OUT, WSOCK_OPERATION_CONNECT,
                "options.max_handshakes is reached");
    wsock__done(oldest);
    return 1;
}

enum { WSOCK__ACCEPTS = 64, WSOCK__ACCEPT_REST = 100 };

/* Take what waits in the backlog.  When descriptors or memory run out, the
 * listener rests for a moment: those who are connected come first. */
static void wsock__accept_all(wsock__loop *l)
{
    int i;
    for (i = 0; i < WSOCK__ACCEPTS &&
                l->count < l->config->o.max_connections; i++) {
        wsock__fd fd = wsock__socket_accept(l->listener);
        int e = fd < 0 ? wsock__net_error() : 0;
        if (fd < 0 && wsock__is_again(e))
            break;
        if (fd < 0 && !wsock__is_no_room(e))
            continue; /* that peer has gone already */
        if (fd >= 0 && !wsock__handshake_room(l)) {
            wsock__socket_end(fd); /* without a time-out nobody gives way */
            continue;
        }
        if (fd < 0 || wsock__accept_one(l, fd) < 0) {
            l->now = wsock__now(l);
            wsock__listener_rest(l, l->now + WSOCK__ACCEPT_REST);
            break;
        }
    }
    wsock__listener_check(l);
}

WSOCK__FORMAT(5, 6)
static void wsock__server_failed(wsock_server *s, int code, int phase,
                                 int os_code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    wsock__account_write(&s->why, code, phase, format, args);
    va_end(args);
    s->why.failure.os_code = os_code;
}

/* Open the listening socket. */
static void wsock__server_open(wsock_server *s)
{
    wsock__loop *l = &s->loop;
    const wsock__config *c = l->config;
    wsock__addresses list;
    struct sockaddr_storage bound;
    socklen_t size = sizeof bound;
    int r = 0, os_code;
    if (!wsock__known_host(&list, c->host, c->port, 1)) {
        r = wsock__ask_system(c->host, c->port, 1, &list.list);
        list.first = list.list;
    }
    if (r != 0) {
        const char *why = wsock__lookup_why(r, wsock__net_error(), &os_code);
        wsock__server_failed(s, WSOCK_LOOKUP_FAILED, WSOCK_PHASE_LOOKUP,
                             os_code, "no address for the name %.80s: %s",
                             c->host, why);
        return;
    }
    l->listener = wsock__socket_listen(&list, c->o.backlog);
    if (l->listener < 0 || wsock__poller_open(l) < 0) {
        os_code = wsock__net_error();
        wsock__server_failed(s, WSOCK_LISTEN_FAILED, WSOCK_PHASE_SETUP,
                             os_code, "cannot listen on %.80s port %d: %s",
                             c->host, c->port, wsock__net_text(os_code));
    }
    wsock__addresses_free(&list);
    memset(&bound, 0, sizeof bound);
    if (s->why.failure.code == 0 &&
        getsockname((wsock__handle)l->listener,
                    (struct sockaddr *)(void *)&bound, &size) == 0)
        s->port = wsock__address_port(&bound);
}

/* see the API section */
WSOCK_API wsock_server *wsock_listen(const char *url,
                                     const wsock_options *options)
{
    wsock__plan p;
    wsock__config *c;
    wsock_server *s;
    wsock__plan_make(&p, WSOCK_SERVER, url ? url : "", options);
    if (p.o.memory || p.o.io)
        wsock__plan_wrong(&p, WSOCK_INVALID_PARAMETER,
                          "options.memory and options.io are not for "
                          "servers: use wsock_attach()");
    p.o.memory = NULL;
    c = wsock__config_new(&p);
    s = c ? (wsock_server *)wsock__alloc(c, sizeof *s) : NULL;
    if (!s) {
        if (c)
            wsock__config_drop(c);
        return NULL;
    }
    memset(s, 0, sizeof *s);
    c->tls_begin = wsock__bear_begin_server;
    wsock__loop_init(&s->loop, c, &p);
    s->loop.shared = 1;
    wsock__account_clear(&s->why, "");
    if (p.code)
        wsock__server_failed(s, p.code, WSOCK_PHASE_SETUP, 0, "%s", p.wrong);
    else if (!wsock__tls_load(c, p.wrong))
        wsock__server_failed(s, WSOCK_TLS_ERROR, WSOCK_PHASE_SETUP, 0, "%s",
                             p.wrong);
    else
        wsock__server_open(s);
    return s;
}

/* What must be so before a poll or an accept. */
static int wsock__server_begin(wsock_server *s)
{
    wsock__loop *l = &s->loop;
    if (l->ended && (l->ended->bits & WSOCK__SERVER_OWNED))
        wsock_free(l->ended);
    l->ended = NULL;
    if (s->why.failure.code)
        return s->why.failure.code;
    return s->closing && l->live == 0 ? WSOCK_CLOSED : WSOCK_OK;
}

/* Poll when nothing is the matter with the server. */
WSOCK__APART int wsock__server_poll(wsock_server *s, wsock_event *event,
                                    int timeout)
{
    if (wsock__poll(&s->loop, event, timeout))
        return 1;
    return s->closing && s->loop.live == 0 ? WSOCK_CLOSED : 0;
}

/* The first poll, and every one when something is. */
WSOCK__APART int wsock__server_poll_first(wsock_server *s,
                                          wsock_event *event, int timeout)
{
    int r;
    if (!event)
        return WSOCK_INVALID_PARAMETER;
    event->type = WSOCK_EVENT_NONE;
    if (!s)
        return WSOCK_NO_MEMORY;
    if (s->loop.accepting)
        return WSOCK_INVALID_OPERATION;
    r = wsock__server_begin(s);
    if (r != WSOCK_OK)
        return r;
    s->loop.polling = 1;
    s->loop.routine = (uint8_t)!s->closing;
    return wsock__server_poll(s, event, timeout);
}

/* The second half of wsock_server_poll() for a text of a batch. */
WSOCK__APART int wsock__server_text(wsock_server *s, wsock_event *event,
                                    int timeout, uint32_t key)
{
    if (WSOCK__LIKELY(wsock__whole_good(event->ws, event, key)))
        return 1;
    return wsock__server_poll(s, event, timeout);
}

/* see the API section.  While messages of one batch follow each other, the
 * loop is not gone through; that it is in functions of its own keeps
 * registers from being saved for what is not done. */
WSOCK_API int wsock_server_poll(wsock_server *s, wsock_event *event,
                                int timeout)
{
    wsock__loop *l;
    wsock *ws;
    uint32_t key;
    if (WSOCK__UNLIKELY(!s || !event || !s->loop.routine))
        return wsock__server_poll_first(s, event, timeout);
    l = &s->loop;
    ws = l->current;
    if (!ws || l->pos == l->end || l->events_left == 0 ||
        ws->role != WSOCK_SERVER || !wsock__is_plain(l, ws) ||
        !wsock__whole_message(l, ws, 1, event, &key))
        return wsock__server_poll(s, event, timeout);
    if (event->kind == WSOCK_TEXT)
        return wsock__server_text(s, event, timeout, key);
    wsock__mask((uint8_t *)event->data, (uint8_t *)event->data, event->size,
                key);
    return 1;
}

/* What the memory that hangs on a connection comes to, so that it can change
 * its account: every piece has been counted in the loop's config. */
static size_t wsock__items_size(const wsock__loop *l, const wsock__item *item)
{
    size_t sum = 0;
    for (; item; item = item->next)
        if (!item->embedded)
            sum += (item->owned ? item->owned_size : 0) +
                   (item->reference ? l->references.size : l->runs.size);
    return sum;
}

static size_t wsock__memory_of(const wsock *ws)
{
    const wsock__loop *l = ws->loop;
    const wsock__rare *r = ws->rare;
    const wsock__in *in = ws->in;
    size_t sum = 0;
    if (in) {
        sum += l->ins.size + in->capacity;
        if (in->tail != in->brief)
            sum += in->tail_capacity;
    }
    if (ws->out)
        sum += l->outs.size + wsock__items_size(l, ws->out->head) +
               wsock__items_size(l, ws->out->sent);
    if (r) {
        sum += l->rares.size + (r->kept ? r->kept_capacity : 0) +
               wsock__items_size(l, r->head_item);
        if (r->dial)
            sum += ((const wsock__dial *)r->dial)->capacity;
        if (r->subprotocol)
            sum += strlen(r->subprotocol) + 1;
    }
    return sum;
}

/* What hangs on a connection moves to another loop. */
static void wsock__change_account(const wsock *from, wsock__config *to)
{
    size_t size = wsock__memory_of(from);
    from->loop->config->used -= size;
    to->used += size;
}

/* The new home of a connection that leaves its server; NULL: no memory. */
static wsock *wsock__new_home(const wsock *from)
{
    wsock__plan p;
    wsock__config *c = wsock__config_copy(from->config);
    wsock *ws;
    memset(&p, 0, sizeof p);
    p.run_capacity = from->loop->runs.size - sizeof(wsock__item);
    ws = c ? wsock__new_heap(WSOCK_SERVER, c, &p) : NULL;
    if (ws && wsock__wake_open(&ws->loop->wake_read,
                               &ws->loop->wake_write) == 0 &&
        ((c->o.flags & WSOCK_NONBLOCKING) ||
         wsock__threads_open(ws->loop) == 0))
        return ws;
    if (ws)
        wsock_free(ws);
    else if (c)
        wsock__config_drop(c);
    return NULL;
}

/* Take over the transport of a connection of a server: a socket, or TLS,
 * whose callbacks stand in memory of the server's. */
static void wsock__take_io(wsock *ws, wsock *from)
{
    ws->io = from->io;
    ws->io_user = from->io_user;
    ws->transport = from->transport;
    if (from->transport != WSOCK__SOCKET) {
        ws->loop->secured = *from->io;
        ws->io = &ws->loop->secured;
        wsock__release(from->config, (void *)(uintptr_t)from->io,
                       sizeof *from->io);
    }
    wsock__tls_move(ws, ws->config);
    from->io = NULL;
}

/* Move an open connection out of the server into a loop of its own, with
 * options of its own, as it may be used in another thread from now on.  No
 * broadcast stands in its queue: the call that has opened it is still going
 * on. */
static wsock *wsock__detach(wsock *from)
{
    wsock *ws = wsock__new_home(from);
    wsock__config *c;
    if (!ws)
        return NULL;
    c = ws->config;
    wsock__keep_head(from);
    wsock__leave(from->loop, from);
    wsock__unwatch(from);
    wsock__change_account(from, c);
    wsock__take_io(ws, from);
    ws->in = from->in;
    ws->out = from->out;
    ws->rare = from->rare;
    ws->bits = from->bits & ~(uint32_t)(WSOCK__SERVER_OWNED | WSOCK__LISTED);
    ws->bits |= WSOCK__LIVE;
    if (!(c->o.flags & WSOCK_NONBLOCKING)) {
        ws->bits |= WSOCK__BLOCKING;
        ws->loop->bytes_most = WSOCK_UNLIMITED;
    }
    ws->phase = from->phase;
    ws->error = from->error;
    ws->close_sent = from->close_sent;
    ws->close_received = from->close_received;
    ws->extensions = from->extensions;
    ws->subprotocol = from->subprotocol;
    ws->armed = 1;
    ws->bits |= WSOCK__PENDING_RELEASE;
    wsock__list_work(ws, WSOCK__WORK_READ | WSOCK__WORK_LOOK);
    from->in = NULL;
    from->out = NULL;
    from->rare = NULL;
    from->bits &= ~(uint32_t)WSOCK__PENDING;
    if (ws->phase == WSOCK__PHASE_LINGER)
        wsock__timer_start(ws, WSOCK__TIMER_CLOSE, c->o.close_timeout);
    else
        wsock__watchdog(ws);
    wsock_free(from);
    return ws;
}

/* see the API section */
WSOCK_API int wsock_accept(wsock_server *s, wsock **out, int timeout)
{
    wsock__loop *l;
    wsock_event e;
    int r;
    if (!out)
        return WSOCK_INVALID_PARAMETER;
    *out = NULL;
    if (!s)
        return WSOCK_NO_MEMORY;
    l = &s->loop;
    if (l->polling || (l->config->o.flags & WSOCK_REQUESTS))
        return WSOCK_INVALID_OPERATION;
    r = wsock__server_begin(s);
    if (r != WSOCK_OK)
        return r;
    l->accepting = 1;
    l->bytes_most = WSOCK_UNLIMITED;
    l->events_left = l->config->o.poll_messages;
    /* OPEN is the first event of every connection, and nobody else's come. */
    if (!wsock__poll_once(l, &e, timeout))
        return s->closing ? WSOCK_CLOSED : WSOCK_TIMED_OUT;
    *out = wsock__detach(e.ws);
    if (*out)
        return WSOCK_OK;
    wsock_free(e.ws);
    return WSOCK_NO_MEMORY;
}

/* see the API section */
WSOCK_API int wsock_server_wake(wsock_server *s)
{
    if (!s)
        return WSOCK_NO_MEMORY;
    if (s->loop.wake_write < 0)
        return WSOCK_INVALID_OPERATION;
    wsock__wake(s->loop.wake_write, WSOCK__WAKE_CALL);
    return WSOCK_OK;
}

/* see the API section */
WSOCK_API size_t wsock_server_watches(const wsock_server *s,
                                      wsock_watch *list, size_t cap)
{
    if (!s)
        return 0;
    if (s->loop.queue >= 0) { /* it is readable when any other is ready */
        if (list && cap) {
            list->fd = s->loop.queue;
            list->wants = 1;
        }
        return 1;
    }
    return wsock__all_watches(&s->loop, list, list ? cap : 0);
}

/* see the API section */
WSOCK_API int wsock_server_timeout(const wsock_server *s)
{
    if (!s || s->why.failure.code || (s->closing && s->loop.live == 0))
        return 0;
    return wsock__loop_timeout(&s->loop);
}

/* ---- broadcast */

/* A message as one frame that all may share. */
static wsock__shared *wsock__shared_new(wsock__loop *l, unsigned kind,
                                        const void *data, size_t size,
                                        wsock_buf *frame)
{
    size_t most = sizeof(wsock__shared) + WSOCK__FRAME_HEAD_MOST;
    size_t n = size < WSOCK_UNLIMITED - most ? size + most : 0;
    wsock__shared *shared =
        n ? (wsock__shared *)wsock__alloc(l->config, n) : NULL;
    uint8_t *bytes;
    if (!shared)
        return NULL;
    bytes = (uint8_t *)(shared + 1);
    shared->references = 1;
    shared->size = n;
    n = wsock__frame_write(bytes, (uint8_t)(0x80 | kind), size, 0, 0);
    if (size)
        memcpy(bytes + n, data, size);
    frame->data = bytes;
    frame->size = n + size;
    return shared;
}

enum { WSOCK__SHARE_LEAST = 1024 }; /* smaller frames are cheaper to copy */

/* Put the frame into a queue: copied, if it is small and there is room, else
 * referred to. */
static int wsock__share(wsock *ws, wsock__shared *shared,
                        const wsock_buf *frame)
{
    wsock__item *run, *item;
    wsock__out *out;
    if (frame->size < WSOCK__SHARE_LEAST) {
        run = wsock__run_for(ws, frame->size, 0);
        if (!run)
            return WSOCK_NO_MEMORY;
        memcpy((uint8_t *)(run + 1) + run->size, frame->data, frame->size);
        run->size += frame->size;
        ws->out->queued += frame->size;
        return WSOCK_OK;
    }
    out = wsock__out_get(ws);
    item = out ? wsock__item_take(ws->loop, 1) : NULL;
    if (!item) {
        wsock__out_settle(ws);
        return WSOCK_NO_MEMORY;
    }
    shared->references++;
    item->shared = shared;
    item->data = (const uint8_t *)frame->data;
    item->size = item->capacity = frame->size;
    out->queued += frame->size;
    wsock__enqueue(out, item);
    return WSOCK_OK;
}

/* One receiver.  0: it has it, or is none; 1: it was skipped. */
static int wsock__broadcast_one(wsock *ws, unsigned kind,
                                wsock__shared *shared,
                                const wsock_buf *frame, const void *data,
                                size_t size)
{
    wsock_buf own;
    own.data = data;
    own.size = size;
    if (ws->phase != WSOCK__PHASE_OPEN ||
        (ws->bits & (WSOCK__CLOSE_SENT | WSOCK__WRITE_DEAD)))
        return 0;
    if (ws->sending)
        return 1; /* RFC 6455 5.4: nothing between its fragments */
    if (ws->role == WSOCK_CLIENT) /* masked with a key of its own */
        return wsock__sendv(ws, kind, &own, 1, NULL) != WSOCK_OK;
    if (wsock__is_full(ws) || wsock__share(ws, shared, frame) != WSOCK_OK)
        return 1;
    wsock__queued(ws);
    return 0;
}

/* see the API section */
WSOCK_API int wsock_broadcast(wsock_server *s, wsock *const *to,
                              size_t count, unsigned kind, const void *data,
                              size_t size)
{
    wsock__shared *shared;
    wsock_buf frame;
    wsock *ws;
    size_t i;
    int skipped = 0;
    if (!s)
        return WSOCK_NO_MEMORY;
    if ((kind != WSOCK_TEXT && kind != WSOCK_BINARY) || (!data && size) ||
        (!to && count))
        return WSOCK_INVALID_PARAMETER;
    shared = wsock__shared_new(&s->loop, kind, data, size, &frame);
    if (!shared)
        return WSOCK_NO_MEMORY;
    for (i = 0; i < count; i++)
        if (to[i])
            skipped += wsock__broadcast_one(to[i], kind, shared, &frame, data,
                                            size);
    for (ws = to ? NULL : s->loop.all; ws; ws = ws->next)
        skipped += wsock__broadcast_one(ws, kind, shared, &frame, data, size);
    wsock__shared_drop(&s->loop, shared);
    return skipped;
}

/* ---- connections that are added */

static int wsock__same_system(const wsock_system *a, const wsock_system *b)
{
    return a->alloc == b->alloc && a->free == b->free && a->now == b->now &&
           a->user == b->user;
}

/* The loop can wait for its transport, if it has one. */
static int wsock__can_join(const wsock *ws, const wsock_server *s)
{
    const wsock_io *io = ws->io ? ws->io : ws->config->o.io;
    if (ws->loop->shared || ws->loop->fixed || wsock__may_block(ws) ||
        s->closing || s->loop.accepting ||
        (ws->bits & WSOCK__CLOSE_REPORTED) ||
        (!ws->io && ws->phase != WSOCK__PHASE_NEW &&
         ws->phase != WSOCK__PHASE_DONE))
        return WSOCK_INVALID_OPERATION;
    if (!(ws->config->o.flags & WSOCK_NONBLOCKING) ||
        (io && io != &wsock__dial_io && !io->fd) ||
        !wsock__same_system(&ws->config->system, &s->loop.config->system))
        return WSOCK_INVALID_PARAMETER;
    return WSOCK_OK;
}

/* The callbacks of a transport of the program's stand in the loop that is
 * left behind: move them. */
static int wsock__move_io(wsock *ws)
{
    wsock_io *copy;
    if (ws->io != &ws->loop->io && ws->io != &ws->loop->secured)
        return 1;
    copy = (wsock_io *)wsock__alloc(ws->config, sizeof *copy);
    if (!copy)
        return 0;
    *copy = *ws->io;
    ws->io = copy;
    return 1;
}

/* Watch whatever it waits for. */
static void wsock__watch_all(wsock *ws)
{
    wsock_watch list[WSOCK__RACERS + 1];
    size_t i, n;
    ws->armed = 0;
    if (ws->io != &wsock__dial_io) {
        if (ws->io)
            wsock__arm(ws);
        return;
    }
    n = wsock__fds_of(ws, list, WSOCK__RACERS + 1);
    for (i = 0; i < n; i++)
        wsock__watch_fd(ws, (int)list[i].fd, (unsigned)list[i].wants);
}

/* see the API section */
WSOCK_API int wsock_server_add(wsock_server *s, wsock *ws)
{
    wsock__loop *from, *to;
    unsigned timer;
    int r;
    if (!s || !ws)
        return WSOCK_NO_MEMORY;
    if (s->why.failure.code)
        return s->why.failure.code;
    r = wsock__can_join(ws, s);
    if (r != WSOCK_OK)
        return r;
    from = ws->loop;
    to = &s->loop;
    if (ws->io && ws->phase > WSOCK__PHASE_SECURING)
        wsock__flush_references(ws);
    if (ws->rare && ws->rare->head && !ws->rare->kept)
        wsock__keep_head(ws);
    if (!wsock__stash(ws) || !wsock__move_io(ws)) {
        wsock__list_work(ws, WSOCK__WORK_LOOK); /* it may be put aside now */
        return WSOCK_NO_MEMORY;
    }
    timer = ws->timer;
    wsock__timer_stop(ws);
    wsock__unlist_work(ws);
    if (from->stage && !to->stage) { /* lent payload is masked through it */
        to->stage = from->stage;
        from->stage = NULL;
        ws->config->used -= from->stage_size;
        to->config->used += to->stage_size;
    }
    wsock__change_account(ws, to->config);
    wsock__part(ws);
    wsock__join(ws, to);
    to->polling = 1; /* wsock_accept() would take it for one of its own */
    if (ws->config->o.send_limit <= to->single_most) /* its own counts, too */
        to->single_most = ws->config->o.send_limit - 1;
    wsock__loop_free(from);
    wsock__release(ws->config, from, sizeof *from);
    if (timer != WSOCK__TIMER_NONE)
        wsock__timer_at(ws, timer, ws->timer_due);
    wsock__watch_all(ws);
    if (ws->io || ws->phase == WSOCK__PHASE_DONE)
        wsock__list_work(ws, WSOCK__WORK_LOOK | WSOCK__WORK_READ);
    return WSOCK_OK; /* else it has nothing to do before wsock_dial() */
}

/* see the API section */
WSOCK_API int wsock_server_close(wsock_server *s)
{
    wsock__loop *l;
    wsock *ws;
    if (!s)
        return WSOCK_NO_MEMORY;
    l = &s->loop;
    if (s->closing || s->why.failure.code)
        return s->why.failure.code;
    s->closing = 1;
    l->routine = 0;
    wsock__listener_watch(l, 0); /* a child may hold it, too */
    wsock__socket_end(l->listener);
    l->listener = -1;
    wsock__listener_rest(l, 0);
    for (ws = l->all; ws; ws = ws->next)
        if (!(ws->bits & WSOCK__ASKED)) /* else the program has it still */
            wsock_close(ws, WSOCK_CLOSE_GOING_AWAY, NULL);
        else if (ws->phase == WSOCK__PHASE_HANDSHAKE)
            wsock__refuse(ws, 503, "the server is closing");
    return WSOCK_OK;
}

static void wsock__server_release(wsock_server *s)
{
    wsock__loop *l = &s->loop;
    wsock__config *c = l->config;
    wsock__slab *slab;
    while ((slab = (wsock__slab *)l->slabs) != NULL) {
        l->slabs = slab->next;
        wsock__release(c, slab, sizeof *slab);
    }
    wsock__tls_unload(c);
    wsock__release(c, s, sizeof *s);
    wsock__config_drop(c);
}

/* The last added connection of a server that was freed before is freed. */
static void wsock__husk_check(wsock__loop *l)
{
    wsock_server *s = (wsock_server *)(void *)l; /* its first member */
    if (!s->husk || l->count)
        return;
    wsock__loop_free(l);
    wsock__server_release(s);
}

/* see the API section */
WSOCK_API void wsock_server_free(wsock_server *s)
{
    wsock__loop *l;
    wsock *ws, *next;
    if (!s)
        return;
    l = &s->loop;
    for (ws = l->all; ws; ws = next) {
        next = ws->next;
        if (ws->bits & WSOCK__SERVER_OWNED)
            wsock_free(ws);
        else
            wsock__done(ws); /* it is the program's still */
    }
    if (l->listener >= 0)
        wsock__socket_end(l->listener);
    l->listener = -1;
    wsock__poller_close(l);
    s->husk = 1;
    wsock__husk_check(l);
}

/* see the API section */
WSOCK_API int wsock_server_port(const wsock_server *s)
{
    return s ? s->port : 0;
}

/* see the API section */
WSOCK_API size_t wsock_server_count(const wsock_server *s)
{
    return s ? s->loop.live : 0;
}

/* see the API section */
WSOCK_API int wsock_server_error(const wsock_server *s)
{
    return s ? s->why.failure.code : WSOCK_NO_MEMORY;
}

/* see the API section */
WSOCK_API const wsock_failure *wsock_server_why(const wsock_server *s)
{
    return s ? &s->why.failure : &wsock__out_of_memory;
}

/* ------------------------------------------------------------- >>bearssl --
 * TLS 1.2 by BearSSL (bearssl.org), as a wsock_io around another: PEM, the
 * roots, the check of a certificate chain, our own certificate, then the
 * engine.  All of BearSSL is called from here. */

#if defined(WSOCK_BEARSSL)

enum {
    WSOCK__CHAIN_BYTES = 32768, /* of the certificates that a peer sends, */
    WSOCK__CHAIN_MOST = 10,     /* and how many */
    WSOCK__ANCHORS = 16,        /* roots that may be meant by a chain */
    WSOCK__KEY_MOST = 2600,     /* DER of a private key: see wsock__key_load */
    WSOCK__BARREN_MOST = 131072, /* bytes of TLS in which there is no data */
    WSOCK__TLS_SESSIONS = 32768, /* bytes of a server's session cache */
    WSOCK__SESSION_LIFE = 86400000 /* ms: a day, as RFC 5246 F.1.4 has it */
};

/* ---- PEM (RFC 7468) */

typedef struct wsock__pem {
    const char *label, *body;
    size_t label_size, body_size;
} wsock__pem;

static const char *wsock__find(const char *at, const char *end,
                               const char *what)
{
    size_t n = strlen(what);
    for (; (size_t)(end - at) >= n; at++)
        if (memcmp(at, what, n) == 0)
            return at;
    return NULL;
}

/* The next block.  Returns where to look on; NULL: there is no more. */
static const char *wsock__pem_next(const char *at, const char *end,
                                   wsock__pem *p)
{
    const char *tail;
    at = wsock__find(at, end, "-----BEGIN ");
    if (!at)
        return NULL;
    p->label = at + 11;
    tail = wsock__find(p->label, end, "-----");
    if (!tail)
        return NULL;
    p->label_size = (size_t)(tail - p->label);
    p->body = tail + 5;
    tail = wsock__find(p->body, end, "-----END ");
    if (!tail)
        return NULL;
    p->body_size = (size_t)(tail - p->body);
    return tail + 9;
}

static int wsock__pem_is(const wsock__pem *p, const char *label)
{
    return p->label_size == strlen(label) &&
           memcmp(p->label, label, p->label_size) == 0;
}

/* Decode a block; `out` may be the text itself, as what is written is behind
 * what is read.  Returns the size; 0: not base64, or above `most` bytes. */
static size_t wsock__pem_decode(const wsock__pem *p, uint8_t *out, size_t most)
{
    uint32_t bits = 0;
    unsigned count = 0;
    size_t i, n = 0;
    for (i = 0; i < p->body_size && p->body[i] != '='; i++) {
        char c = p->body[i];
        const char *digit = c ? strchr(wsock__base64_digits, c) : NULL;
        if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
            continue;
        if (!digit)
            return 0;
        bits = bits << 6 | (uint32_t)(digit - wsock__base64_digits);
        count += 6;
        if (count < 8)
            continue;
        if (n == most)
            return 0;
        count -= 8;
        out[n++] = (uint8_t)(bits >> count);
    }
    return n;
}

/* A text of PEM: given as such, or read from a file. */
typedef struct wsock__pem_text {
    const char *text;
    size_t size;
    uint8_t *owned; /* what was read; as large as `size` */
} wsock__pem_text;

static int wsock__is_pem(const char *option)
{
    return strstr(option, "-----BEGIN") != NULL;
}

/* A file and its size; NULL: it cannot be read, see errno. */
static FILE *wsock__file_open(const char *name, size_t *size)
{
    FILE *file = fopen(name, "rb");
    long n = -1;
    if (!file)
        return NULL;
    setvbuf(file, NULL, _IONBF, 0); /* a key is to stand nowhere else */
    if (fseek(file, 0, SEEK_END) == 0)
        n = ftell(file);
    if (n > 0 && n < 1 << 26) {
        rewind(file);
        *size = (size_t)n;
        return file;
    }
    fclose(file);
    errno = EINVAL;
    return NULL;
}

/* ---- DER (X.690): only as much as is needed to find the parts of a
 * certificate; BearSSL judges it. */

typedef struct wsock__der {
    const uint8_t *at, *end;
} wsock__der;

enum {
    WSOCK__DER_BOOLEAN = 0x01,
    WSOCK__DER_INTEGER = 0x02,
    WSOCK__DER_BITS = 0x03,
    WSOCK__DER_OCTETS = 0x04,
    WSOCK__DER_OID = 0x06,
    WSOCK__DER_UTC = 0x17,
    WSOCK__DER_SEQUENCE = 0x30,
    WSOCK__DER_SET = 0x31
};

static size_t wsock__der_size(const wsock__der *d)
{
    return (size_t)(d->end - d->at);
}

/* Take the next element: its tag, 0 if there is none or it is malformed; its
 * content goes to *value. */
static unsigned wsock__der_next(wsock__der *d, wsock__der *value)
{
    size_t left = wsock__der_size(d), head = 2, size, n;
    value->at = value->end = d->at;
    if (left < 2)
        return 0;
    size = d->at[1];
    if (size >= 0x80) {
        n = size - 0x80;
        if (n < 1 || n > 3 || left < 2 + n)
            return 0;
        size = (size_t)wsock__big_endian(d->at + 2, (unsigned)n);
        head += n;
    }
    if (size > left - head)
        return 0;
    value->at = d->at + head;
    value->end = value->at + size;
    n = *d->at;
    d->at = value->end;
    return (unsigned)n;
}

/* Take the next element, which is to have this tag; an empty one otherwise.
 */
static wsock__der wsock__der_take(wsock__der *d, unsigned tag)
{
    wsock__der value, before = *d;
    if (wsock__der_next(d, &value) != tag) {
        *d = before;
        value.end = value.at;
    }
    return value;
}

/* The same with its tag and length. */
static wsock__der wsock__der_whole(wsock__der *d, unsigned tag)
{
    wsock__der whole = *d;
    wsock__der_take(d, tag);
    whole.end = d->at;
    return whole;
}

static int wsock__der_same(const wsock__der *a, const wsock__der *b)
{
    return wsock__der_size(a) == wsock__der_size(b) &&
           memcmp(a->at, b->at, wsock__der_size(a)) == 0;
}

static int wsock__der_is(const wsock__der *d, const char *bytes, size_t n)
{
    return wsock__der_size(d) == n && memcmp(d->at, bytes, n) == 0;
}

/* ---- certificates (RFC 5280 4.1) */

typedef struct wsock__cert {
    wsock__der whole, issuer, subject, key; /* with tag and length */
    wsock__der extensions;                  /* the list's content */
    uint64_t from, until; /* YYYYMMDDhhmmss */
} wsock__cert;

/* UTCTime or GeneralizedTime (RFC 5280 4.1.2.5) as a number. */
static uint64_t wsock__cert_time(wsock__der *d)
{
    wsock__der value;
    unsigned tag = wsock__der_next(d, &value);
    uint64_t t = 0;
    if (tag == WSOCK__DER_UTC && value.at < value.end)
        t = *value.at < '5' ? 20 : 19;
    for (; value.at < value.end && *value.at >= '0' && *value.at <= '9';
         value.at++)
        t = t * 10 + (uint64_t)(*value.at - '0');
    return t;
}

/* Find the parts of a certificate.  0: it is malformed. */
static int wsock__cert_parse(wsock__cert *c, const uint8_t *data, size_t size)
{
    wsock__der all, body, times, value;
    memset(c, 0, sizeof *c);
    all.at = data;
    all.end = data + size;
    c->whole = all;
    body = wsock__der_take(&all, WSOCK__DER_SEQUENCE);
    c->whole.end = all.at;
    body = wsock__der_take(&body, WSOCK__DER_SEQUENCE);
    wsock__der_take(&body, 0xA0); /* version */
    wsock__der_take(&body, WSOCK__DER_INTEGER);
    wsock__der_take(&body, WSOCK__DER_SEQUENCE); /* how it is signed */
    c->issuer = wsock__der_whole(&body, WSOCK__DER_SEQUENCE);
    times = wsock__der_take(&body, WSOCK__DER_SEQUENCE);
    c->subject = wsock__der_whole(&body, WSOCK__DER_SEQUENCE);
    c->key = wsock__der_whole(&body, WSOCK__DER_SEQUENCE);
    c->from = wsock__cert_time(&times);
    c->until = wsock__cert_time(&times);
    wsock__der_take(&body, 0x81); /* unique identifiers of version 2 */
    wsock__der_take(&body, 0x82);
    value = wsock__der_take(&body, 0xA3);
    c->extensions = wsock__der_take(&value, WSOCK__DER_SEQUENCE);
    return wsock__der_size(&c->key) > 0;
}

/* Find an extension of id-ce: its value's list, and whether it is critical.
 * 0: there is none. */
static int wsock__cert_find(const wsock__cert *c, char id, wsock__der *list,
                            wsock__der *critical)
{
    char oid[3] = {0x55, 0x1D, 0};
    wsock__der all = c->extensions, one, name, value;
    oid[2] = id;
    while (wsock__der_next(&all, &one)) {
        name = wsock__der_take(&one, WSOCK__DER_OID);
        *critical = wsock__der_take(&one, WSOCK__DER_BOOLEAN);
        value = wsock__der_take(&one, WSOCK__DER_OCTETS);
        if (wsock__der_is(&name, oid, 3)) {
            *list = wsock__der_take(&value, WSOCK__DER_SEQUENCE);
            return 1;
        }
    }
    return 0;
}

static int wsock__cert_extension(const wsock__cert *c, char id,
                                 wsock__der *list)
{
    wsock__der critical;
    return wsock__cert_find(c, id, list, &critical);
}

enum {
    WSOCK__CERT_NAMES = 17, /* subjectAltName, */
    WSOCK__CERT_BASIC = 19, /* basicConstraints, */
    WSOCK__CERT_LIMITS = 30, /* nameConstraints, */
    WSOCK__CERT_USE = 37    /* extKeyUsage: the last number of their OIDs */
};

/* May it sign others?  A root without any extension is of version 1, which
 * had no other way to say so. */
static int wsock__cert_is_ca(const wsock__cert *c)
{
    wsock__der list, flag;
    if (wsock__der_size(&c->extensions) == 0)
        return 1;
    if (!wsock__cert_extension(c, WSOCK__CERT_BASIC, &list))
        return 0;
    flag = wsock__der_take(&list, WSOCK__DER_BOOLEAN);
    return wsock__der_size(&flag) == 1 && *flag.at;
}

/* Copy text of a certificate's for people to read. */
static void wsock__cert_text(char *out, size_t room, const wsock__der *d)
{
    size_t i, n = wsock__der_size(d);
    if (n >= room)
        n = room - 1;
    for (i = 0; i < n; i++)
        out[i] = d->at[i] > ' ' && d->at[i] < 0x7F ? (char)d->at[i]
                 : d->at[i] == ' '                 ? ' '
                                                   : '?';
    out[n] = 0;
}

/* "CN=..." of a name (or its O, if it has no CN). */
static void wsock__name_text(char *out, size_t room, wsock__der name)
{
    wsock__der list = wsock__der_take(&name, WSOCK__DER_SEQUENCE), set, pair;
    snprintf(out, room, "a name without CN");
    while (wsock__der_next(&list, &set)) {
        wsock__der oid, value;
        int common;
        pair = wsock__der_take(&set, WSOCK__DER_SEQUENCE);
        oid = wsock__der_take(&pair, WSOCK__DER_OID);
        wsock__der_next(&pair, &value);
        common = wsock__der_is(&oid, "\x55\x04\x03", 3);
        if (!common && !wsock__der_is(&oid, "\x55\x04\x0A", 3))
            continue;
        memcpy(out, common ? "CN=" : "O=", common ? 4 : 3);
        wsock__cert_text(out + strlen(out), room - 4, &value);
        if (common)
            return;
    }
}

/* Point a public key of BearSSL's at a SubjectPublicKeyInfo (RFC 3279 2.3,
 * RFC 5480 2).  0: of a kind that cannot be used. */
static int wsock__cert_key(const wsock__cert *c, br_x509_pkey *key)
{
    wsock__der d = c->key, how, oid, bits, n, e;
    d = wsock__der_take(&d, WSOCK__DER_SEQUENCE);
    how = wsock__der_take(&d, WSOCK__DER_SEQUENCE);
    bits = wsock__der_take(&d, WSOCK__DER_BITS);
    oid = wsock__der_take(&how, WSOCK__DER_OID);
    if (wsock__der_size(&bits) < 2)
        return 0;
    bits.at++; /* how many bits are not used: none */
    if (wsock__der_is(&oid, "\x2A\x86\x48\x86\xF7\x0D\x01\x01\x01", 9)) {
        bits = wsock__der_take(&bits, WSOCK__DER_SEQUENCE);
        n = wsock__der_take(&bits, WSOCK__DER_INTEGER);
        e = wsock__der_take(&bits, WSOCK__DER_INTEGER);
        while (n.at < n.end && *n.at == 0)
            n.at++;
        key->key_type = BR_KEYTYPE_RSA;
        key->key.rsa.n = (unsigned char *)(uintptr_t)n.at;
        key->key.rsa.nlen = wsock__der_size(&n);
        key->key.rsa.e = (unsigned char *)(uintptr_t)e.at;
        key->key.rsa.elen = wsock__der_size(&e);
        return key->key.rsa.nlen > 0 && key->key.rsa.elen > 0;
    }
    if (!wsock__der_is(&oid, "\x2A\x86\x48\xCE\x3D\x02\x01", 7))
        return 0;
    oid = wsock__der_take(&how, WSOCK__DER_OID);
    key->key_type = BR_KEYTYPE_EC;
    key->key.ec.curve =
        wsock__der_is(&oid, "\x2A\x86\x48\xCE\x3D\x03\x01\x07", 8)
            ? BR_EC_secp256r1
        : wsock__der_is(&oid, "\x2B\x81\x04\x00\x22", 5) ? BR_EC_secp384r1
        : wsock__der_is(&oid, "\x2B\x81\x04\x00\x23", 5) ? BR_EC_secp521r1
                                                         : 0;
    key->key.ec.q = (unsigned char *)(uintptr_t)bits.at;
    key->key.ec.qlen = wsock__der_size(&bits);
    return key->key.ec.curve != 0;
}

/* ---- roots: certificates one behind the other */

typedef struct wsock__roots {
    uint8_t *der;
    size_t size;  /* of the certificates, */
    size_t room;  /* and of the memory */
    size_t count;
} wsock__roots;

/* Add the certificates of a PEM text; blocks of another kind, and ones that
 * cannot be read, are skipped.  The text may lie in r->der itself. */
static void wsock__roots_add(wsock__roots *r, const char *text, size_t size)
{
    const char *at = text, *end = text + size;
    wsock__pem p;
    wsock__cert c;
    while ((at = wsock__pem_next(at, end, &p)) != NULL) {
        size_t n;
        /* Not OpenSSL's "TRUSTED CERTIFICATE": some are distrusted. */
        if (!wsock__pem_is(&p, "CERTIFICATE"))
            continue;
        n = wsock__pem_decode(&p, r->der + r->size, r->room - r->size);
        if (n == 0 || !wsock__cert_parse(&c, r->der + r->size, n))
            continue;
        r->size += (size_t)(c.whole.end - c.whole.at);
        r->count++;
    }
}

/* Is this very certificate one of them? */
static int wsock__roots_have(const wsock__roots *r, const wsock__der *whole)
{
    size_t at = 0;
    wsock__cert c;
    while (at < r->size &&
           wsock__cert_parse(&c, r->der + at, r->size - at)) {
        if (wsock__der_same(&c.whole, whole))
            return 1;
        at += wsock__der_size(&c.whole);
    }
    return 0;
}

/* What the system says of authorities. */
typedef struct wsock__trust {
    wsock__roots roots;
    wsock__roots barred; /* certificates that are never to be believed */
} wsock__trust;

/* That of the process: read once, on first use, and never given back.  Its
 * memory is malloc's, as no connection's own. */
static wsock__trust wsock__process_trust;

/* Does a list of extended key usages (RFC 5280 4.2.1.12) name servers? */
static int wsock__uses_serve(wsock__der list)
{
    static const char server[] = "\x2B\x06\x01\x05\x05\x07\x03\x01";
    static const char any[] = "\x55\x1D\x25\x00";
    wsock__der oid;
    while (wsock__der_next(&list, &oid))
        if (wsock__der_is(&oid, server, 8) || wsock__der_is(&oid, any, 4))
            return 1;
    return 0;
}

#if defined(_WIN32)
/* May it be believed for servers?  What it is to be used for can stand beside
 * a certificate in the store, as a list like that of its extension; one that
 * is too long to be read allows nothing. */
static int wsock__store_serves(PCCERT_CONTEXT c)
{
    BYTE uses[1024];
    DWORD size = sizeof uses;
    wsock__der list;
    if (!CertGetCertificateContextProperty(c, CERT_ENHKEY_USAGE_PROP_ID, uses,
                                           &size))
        return GetLastError() == (DWORD)CRYPT_E_NOT_FOUND;
    list.at = uses;
    list.end = uses + size;
    return wsock__uses_serve(wsock__der_take(&list, WSOCK__DER_SEQUENCE));
}

static int wsock__roots_append(wsock__roots *r, const wsock__der *whole)
{
    size_t n = wsock__der_size(whole);
    if (n > r->room - r->size) {
        uint8_t *more = (uint8_t *)realloc(r->der, (r->size + n) * 2);
        if (!more)
            return 0;
        r->der = more;
        r->room = (r->size + n) * 2;
    }
    memcpy(r->der + r->size, whole->at, n);
    r->size += n;
    r->count++;
    return 1;
}

/* Read a store; with `barred`, as authorities: those that may be believed.
 * 0: there was no memory for all of it. */
static int wsock__store_read(wsock__roots *r, const char *name,
                             const wsock__roots *barred)
{
    HCERTSTORE store = CertOpenSystemStoreA(0, name);
    PCCERT_CONTEXT c = NULL;
    wsock__cert cert;
    int all = store != NULL;
    while (store && (c = CertEnumCertificatesInStore(store, c)) != NULL)
        if (wsock__cert_parse(&cert, c->pbCertEncoded, c->cbCertEncoded) &&
            (!barred || (wsock__store_serves(c) &&
                         !wsock__roots_have(barred, &cert.whole))))
            all &= wsock__roots_append(r, &cert.whole);
    if (store)
        CertCloseStore(store, 0);
    return all;
}

static void wsock__trust_system(wsock__trust *t)
{
    /* Who cannot tell what is not to be believed believes nothing. */
    if (wsock__store_read(&t->barred, "Disallowed", NULL))
        wsock__store_read(&t->roots, "ROOT", &t->barred);
}
#else
static int wsock__roots_file(wsock__roots *r, const char *name);

static void wsock__trust_system(wsock__trust *t)
{
    static const char *const names[] = {
        "/etc/ssl/certs/ca-certificates.crt",     /* Debian, Arch, Gentoo */
        "/etc/pki/tls/certs/ca-bundle.crt",       /* Fedora, RHEL */
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        "/etc/ssl/ca-bundle.pem",                 /* openSUSE */
        "/etc/ssl/cert.pem",                      /* macOS, Alpine, OpenBSD */
        "/usr/local/etc/ssl/cert.pem",            /* FreeBSD */
        "/usr/local/share/certs/ca-root-nss.crt",
        "/etc/openssl/certs/ca-certificates.crt", /* NetBSD */
        "/usr/pkg/etc/openssl/certs/ca-certificates.crt"};
    size_t i;
    for (i = 0; i < sizeof names / sizeof *names; i++)
        if (wsock__roots_file(&t->roots, names[i]))
            return;
}
#endif

static int wsock__roots_file(wsock__roots *r, const char *name)
{
    size_t size = 0;
    FILE *file = wsock__file_open(name, &size);
    if (!file)
        return 0;
    r->der = (uint8_t *)malloc(size);
    if (r->der && fread(r->der, 1, size, file) == size) {
        r->room = size;
        wsock__roots_add(r, (const char *)r->der, size);
        if (r->size) { /* DER is shorter than the text it has replaced */
            void *less = realloc(r->der, r->size);
            if (less)
                r->der = (uint8_t *)less;
        }
    }
    fclose(file);
    if (r->count == 0) {
        free(r->der);
        r->der = NULL;
        r->room = 0;
    }
    return r->count > 0;
}

static void wsock__trust_read(void)
{
    const char *name = wsock__environment("SSL_CERT_FILE");
    if (name && *name)
        wsock__roots_file(&wsock__process_trust.roots, name);
    else
        wsock__trust_system(&wsock__process_trust);
}

#if defined(WSOCK_NO_THREADS)
static const wsock__trust *wsock__trust_of_process(void)
{
    static int read;
    if (!read)
        wsock__trust_read();
    read = 1;
    return &wsock__process_trust;
}
#elif defined(_WIN32)
static BOOL CALLBACK wsock__trust_once(PINIT_ONCE once, PVOID unused,
                                       PVOID *result)
{
    (void)once;
    (void)unused;
    (void)result;
    wsock__trust_read();
    return 1;
}

static const wsock__trust *wsock__trust_of_process(void)
{
    static INIT_ONCE once = INIT_ONCE_STATIC_INIT;
    InitOnceExecuteOnce(&once, wsock__trust_once, NULL, NULL);
    return &wsock__process_trust;
}
#else
static const wsock__trust *wsock__trust_of_process(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, wsock__trust_read);
    return &wsock__process_trust;
}
#endif

/* ---- our own certificate and key */

typedef struct wsock__identity {
    size_t size; /* of this block */
    br_x509_certificate chain[WSOCK__CHAIN_MOST];
    size_t count;
    unsigned issuer_key;         /* with which kind the first is signed */
    br_skey_decoder_context key; /* holds the numbers of the key */
    uint8_t spare[64];           /* what 0.6 may write behind it */
    br_ssl_session_cache_lru cache; /* a server's sessions, in the memory */
    uint8_t *more; /* behind the certificates: a server's, as follows */
    br_ssl_server_context *fresh; /* what connections start as */
    uint8_t *sessions;
    int64_t sessions_since;
} wsock__identity;

/* What is to be known of a file or text before it is read. */
typedef struct wsock__load {
    wsock__config *c;
    const char *option; /* its name */
    char *wrong;        /* what is wrong with it, 160 bytes */
} wsock__load;

/* Memory for TLS: the connection's, or a part of options.memory, which is cut
 * off in turn and never given back. */
static void *wsock__tls_alloc(wsock__config *c, size_t size)
{
    uint8_t *p = c->tls_memory;
    if (!c->o.memory)
        return wsock__alloc(c, size);
    size = wsock__round(size);
    if (size > c->tls_left)
        return NULL;
    c->tls_memory += size;
    c->tls_left -= size;
    return p;
}

static void wsock__tls_release(wsock__config *c, void *memory, size_t size)
{
    if (memory)
        wsock__wipe(memory, size);
    if (!c->o.memory)
        wsock__release(c, memory, size);
}

/* Get the text of an option that is PEM or the name of a file.  0: it cannot
 * be had, l->wrong tells why. */
static int wsock__text_get(const wsock__load *l, const char *option,
                           wsock__pem_text *t)
{
    FILE *file;
    int good;
    t->owned = NULL;
    t->text = option;
    t->size = strlen(option);
    if (wsock__is_pem(option))
        return 1;
    file = wsock__file_open(option, &t->size);
    if (!file) {
        snprintf(l->wrong, 160, "options.%s: %.80s: %s", l->option, option,
                 strerror(errno));
        return 0;
    }
    t->owned = (uint8_t *)wsock__tls_alloc(l->c, t->size);
    t->text = (const char *)t->owned;
    good = t->owned && fread(t->owned, 1, t->size, file) == t->size;
    fclose(file);
    if (good)
        return 1;
    wsock__tls_release(l->c, t->owned, t->size);
    snprintf(l->wrong, 160, "options.%s: %.80s cannot be read, or there is no "
             "memory for it", l->option, option);
    return 0;
}

static void wsock__text_drop(const wsock__load *l, wsock__pem_text *t)
{
    if (t->owned)
        wsock__tls_release(l->c, t->owned, t->size);
}

/* Find the key and decode it.  BearSSL 0.6 writes past its context for RSA
 * keys near 4992 bits, so nothing above 4096 goes there. */
static int wsock__key_load(const wsock__load *l, const wsock__pem_text *t,
                           wsock__identity *id)
{
    const char *at = t->text, *end = t->text + t->size;
    uint8_t der[WSOCK__KEY_MOST];
    size_t n = 0;
    wsock__pem p;
    const char *wrong = "has no private key";
    while (n == 0 && (at = wsock__pem_next(at, end, &p)) != NULL) {
        if (wsock__pem_is(&p, "ENCRYPTED PRIVATE KEY") ||
            wsock__find(p.body, p.body + p.body_size, "ENCRYPTED"))
            wrong = "has an encrypted key: decrypt it (openssl pkey)";
        else if (wsock__pem_is(&p, "PRIVATE KEY") ||
                 wsock__pem_is(&p, "RSA PRIVATE KEY") ||
                 wsock__pem_is(&p, "EC PRIVATE KEY")) {
            n = wsock__pem_decode(&p, der, sizeof der);
            wrong = "has a key that is malformed or above 4096 bits";
        }
    }
    if (n) {
        br_skey_decoder_init(&id->key);
        br_skey_decoder_push(&id->key, der, n);
        if (br_skey_decoder_last_error(&id->key) == 0)
            wrong = NULL;
        else
            wrong = "has a key that is neither RSA (to 4096 bits) nor EC";
    }
    wsock__wipe(der, sizeof der);
    if (wrong)
        snprintf(l->wrong, 160, "options.%s %s", l->option, wrong);
    return !wrong;
}

/* Decode the chain into the memory behind the struct. */
static int wsock__chain_load(const wsock__load *l, const wsock__pem_text *t,
                             wsock__identity *id, size_t room)
{
    const char *at = t->text, *end = t->text + t->size;
    uint8_t *der = (uint8_t *)(id + 1);
    wsock__pem p;
    while (id->count < WSOCK__CHAIN_MOST &&
           (at = wsock__pem_next(at, end, &p)) != NULL) {
        wsock__cert c;
        size_t n;
        if (!wsock__pem_is(&p, "CERTIFICATE"))
            continue;
        n = wsock__pem_decode(&p, der, room);
        if (n == 0 || !wsock__cert_parse(&c, der, n)) {
            id->count = 0;
            break;
        }
        id->chain[id->count].data = der;
        id->chain[id->count++].data_len = n;
        der += n;
        room -= n;
    }
    if (id->count)
        return 1;
    snprintf(l->wrong, 160, "options.%s has no certificate, or a malformed "
             "one", l->option);
    return 0;
}

/* Does the key belong to the first certificate? */
static int wsock__identity_fits(const wsock__identity *id)
{
    const br_rsa_private_key *rsa = br_skey_decoder_get_rsa(&id->key);
    const br_ec_private_key *ec = br_skey_decoder_get_ec(&id->key);
    uint8_t mine[520];
    br_x509_pkey key;
    wsock__cert c;
    size_t n;
    wsock__cert_parse(&c, id->chain[0].data, id->chain[0].data_len);
    if (!wsock__cert_key(&c, &key) ||
        key.key_type != br_skey_decoder_key_type(&id->key))
        return 0;
    if (rsa) { /* i15: the default one fails for 4096 bits in 0.6 */
        n = br_rsa_i15_compute_modulus(NULL, rsa);
        if (n > sizeof mine || n != key.key.rsa.nlen)
            return 0;
        br_rsa_i15_compute_modulus(mine, rsa);
        return memcmp(mine, key.key.rsa.n, n) == 0;
    }
    n = ec->curve == key.key.ec.curve
            ? br_ec_compute_pub(br_ec_get_default(), NULL, mine, ec)
            : 0;
    return n && n == key.key.ec.qlen && memcmp(mine, key.key.ec.q, n) == 0;
}

/* With which kind of key the first certificate is signed. */
static unsigned wsock__issuer_key(const wsock__identity *id)
{
    br_x509_decoder_context d;
    br_x509_decoder_init(&d, NULL, NULL);
    br_x509_decoder_push(&d, id->chain[0].data, id->chain[0].data_len);
    return (unsigned)br_x509_decoder_get_signer_key_type(&d);
}

/* Begin to keep a server's sessions. */
static void wsock__sessions_begin(wsock__identity *id, int64_t now)
{
    br_ssl_session_cache_lru_init(&id->cache, id->sessions,
                                  WSOCK__TLS_SESSIONS);
    id->sessions_since = now;
}

/* Forget the sessions that a server keeps when the first of them may be a
 * day old, or nobody can tell: none is resumed later. */
static void wsock__sessions_age(wsock__identity *id, int64_t now)
{
    if (now >= id->sessions_since &&
        now - id->sessions_since < WSOCK__SESSION_LIFE)
        return;
    wsock__wipe(id->sessions, WSOCK__TLS_SESSIONS);
    wsock__sessions_begin(id, now);
}

static void wsock__identity_free(wsock__config *c, wsock__identity *id)
{
    if (id)
        wsock__tls_release(c, id, id->size);
}

/* Read options.tls_cert and tls_key.  NULL: something is wrong with them. */
static wsock__identity *wsock__identity_load(wsock__config *c, size_t more,
                                             char wrong[160])
{
    wsock__load l;
    wsock__pem_text cert, key;
    wsock__identity *id = NULL;
    size_t room, size;
    int good = 0;
    l.c = c;
    l.wrong = wrong;
    l.option = "tls_cert";
    snprintf(wrong, 160, "no memory for the certificate and its key");
    if (!wsock__text_get(&l, c->o.tls_cert, &cert))
        return NULL;
    room = wsock__round(cert.size);
    size = sizeof *id + room + more;
    l.option = "tls_key";
    if (wsock__text_get(&l, c->o.tls_key, &key)) {
        id = (wsock__identity *)wsock__tls_alloc(c, size);
        if (id) {
            memset(id, 0, sizeof *id);
            id->size = size;
            good = wsock__key_load(&l, &key, id);
            l.option = "tls_cert";
            good = good && wsock__chain_load(&l, &cert, id, room);
        }
        wsock__text_drop(&l, &key);
    }
    wsock__text_drop(&l, &cert);
    if (good && !wsock__identity_fits(id)) {
        snprintf(wrong, 160, "options.tls_key does not belong to the first "
                 "certificate of options.tls_cert");
        good = 0;
    }
    if (!good) {
        wsock__identity_free(c, id);
        return NULL;
    }
    wrong[0] = 0;
    id->issuer_key = wsock__issuer_key(id);
    id->more = (uint8_t *)(id + 1) + room;
    return id;
}

/* ---- the check of a peer's chain
 * BearSSL hands over the certificates as they come; they are kept, put into
 * order, and judged by what BearSSL leaves out (names that are addresses,
 * what the certificate may be used for, repeated and misordered ones); then
 * BearSSL judges them. */

typedef struct wsock__chain {
    const br_x509_class *methods; /* first: BearSSL knows it by this */
    wsock__config *config;
    const char *host;
    char *text; /* what is wrong, 160 bytes */
    wsock__roots ca; /* of options.tls_ca */
    int insecure;
    int limited; /* an authority of this name may not sign for these names */
    uint32_t starts[WSOCK__CHAIN_MOST + 1]; /* where each begins in bytes */
    int count;                     /* -1: more than can be kept */
    wsock__cert certs[WSOCK__CHAIN_MOST];
    int path[WSOCK__CHAIN_MOST]; /* in order, the peer's own first */
    int path_size;
    br_x509_trust_anchor anchors[WSOCK__ANCHORS];
    size_t anchor_count;
    br_x509_minimal_context minimal;
    br_x509_pkey key; /* of the peer, unjudged */
    uint8_t bytes[WSOCK__CHAIN_BYTES];
} wsock__chain;

static wsock__chain *wsock__chain_of(const br_x509_class *const *methods)
{
    return (wsock__chain *)(uintptr_t)methods; /* its first member */
}

static void wsock__chain_start(const br_x509_class **methods, const char *name)
{
    wsock__chain *c = wsock__chain_of(methods);
    (void)name; /* c->host has it, also when it is an address */
    c->count = c->path_size = c->limited = 0;
    c->anchor_count = 0;
}

static void wsock__chain_cert(const br_x509_class **methods, uint32_t size)
{
    wsock__chain *c = wsock__chain_of(methods);
    uint32_t at;
    (void)size;
    if (c->count < 0)
        return;
    if (c->count == WSOCK__CHAIN_MOST) {
        c->count = -1;
        return;
    }
    at = c->count ? c->starts[c->count] : 0;
    c->starts[c->count] = at;
    c->starts[++c->count] = at; /* grows as it comes */
}

static void wsock__chain_bytes(const br_x509_class **methods,
                               const unsigned char *bytes, size_t n)
{
    wsock__chain *c = wsock__chain_of(methods);
    uint32_t *end;
    if (c->count < 0)
        return;
    end = &c->starts[c->count];
    if (n > WSOCK__CHAIN_BYTES - *end) {
        c->count = -1;
        return;
    }
    memcpy(c->bytes + *end, bytes, n);
    *end += (uint32_t)n;
}

static void wsock__chain_cert_end(const br_x509_class **methods)
{
    (void)methods;
}

WSOCK__FORMAT(3, 4)
static unsigned wsock__chain_wrong(wsock__chain *c, int code,
                                   const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(c->text, 160, format, args);
    va_end(args);
    return (unsigned)code;
}

/* What the one at a place of the path is called in a line. */
static void wsock__chain_which(const wsock__chain *c, int place, char out[90])
{
    char name[70];
    wsock__name_text(name, sizeof name, c->certs[c->path[place]].subject);
    snprintf(out, 90, place ? "certificate of %s" : "certificate", name);
}

/* From the peer's own certificate to the one that signed it, and on; what
 * does not belong is left out. */
static void wsock__chain_order(wsock__chain *c)
{
    unsigned used = 1;
    int i;
    c->path[c->path_size++] = 0;
    for (;;) {
        const wsock__cert *last = &c->certs[c->path[c->path_size - 1]];
        if (wsock__der_same(&last->issuer, &last->subject))
            return; /* signed by itself */
        for (i = 0; i < c->count; i++)
            if (!(used >> i & 1) &&
                !wsock__der_same(&c->certs[i].whole, &last->whole) &&
                wsock__der_same(&c->certs[i].subject, &last->issuer))
                break;
        if (i == c->count)
            return;
        used |= 1U << i;
        c->path[c->path_size++] = i;
    }
}

/* ---- names (RFC 6125 6.4, RFC 2818 3.1) */

enum { /* kinds of a GeneralName (RFC 5280 4.2.1.6) */
    WSOCK__NAME_EMAIL = 0x81,
    WSOCK__NAME_HOST = 0x82,
    WSOCK__NAME_ADDRESS = 0x87,
    WSOCK__NAME_SUBJECT = 0xA4
};

/* A host that is an address, as bytes: their number, 0 for a name. */
static size_t wsock__host_address(const char *host, uint8_t address[16])
{
    if (inet_pton(AF_INET, host, address) == 1)
        return 4;
    return inet_pton(AF_INET6, host, address) == 1 ? 16 : 0;
}

/* Is it the host's name?  "*." stands for one label, if two or more follow;
 * case does not matter. */
static int wsock__name_matches(const wsock__der *name, const char *host)
{
    const char *n = (const char *)name->at;
    size_t size = wsock__der_size(name), host_size = strlen(host);
    if (size > 2 && n[0] == '*' && n[1] == '.') {
        size_t label = strcspn(host, ".");
        if (label == 0 || !memchr(n + 2, '.', size - 2))
            return 0;
        n++;
        size--;
        host += label;
        host_size -= label;
    }
    return size == host_size && size > 0 && !memchr(n, 0, size) &&
           wsock__same(n, size, host);
}

/* A host's name or address as text.  0: it is neither. */
static int wsock__general_text(char out[64], unsigned tag,
                               const wsock__der *name)
{
    size_t n = wsock__der_size(name);
    if (tag == WSOCK__NAME_HOST)
        wsock__cert_text(out, 64, name);
    else if (tag == WSOCK__NAME_ADDRESS && (n == 4 || n == 16))
        inet_ntop(n == 4 ? AF_INET : AF_INET6, name->at, out, 64);
    return out[0] != 0;
}

/* The host's name is to stand in the certificate; the names of the subject do
 * not count (RFC 6125 6.4.4 allows that, and browsers do it). */
static unsigned wsock__chain_names(wsock__chain *c)
{
    uint8_t address[16] = {0};
    size_t n = wsock__host_address(c->host, address), others = 0;
    char first[64] = "", text[64] = "";
    wsock__der list = {NULL, NULL}, name;
    unsigned tag;
    if (!wsock__cert_extension(&c->certs[0], WSOCK__CERT_NAMES, &list))
        return wsock__chain_wrong(c, BR_ERR_X509_BAD_SERVER_NAME,
                                  "the certificate has no subjectAltName, so "
                                  "it is for no host, not for %.80s", c->host);
    while ((tag = wsock__der_next(&list, &name)) != 0) {
        if (n ? tag == WSOCK__NAME_ADDRESS &&
                    wsock__der_is(&name, (char *)address, n)
              : tag == WSOCK__NAME_HOST && wsock__name_matches(&name, c->host))
            return 0;
        if (first[0] || !wsock__general_text(first, tag, &name))
            others++;
    }
    if (others)
        snprintf(text, sizeof text, " and %lu more", (unsigned long)others);
    return wsock__chain_wrong(c, BR_ERR_X509_BAD_SERVER_NAME,
                              "the certificate is for %s%s, not %.60s",
                              first[0] ? first : "no host", text, c->host);
}

/* ---- names that an authority may sign for (RFC 5280 4.2.1.10) */

/* "example.com" holds itself and what ends with ".example.com"; with a dot in
 * front, as many write it, only the latter. */
static int wsock__subtree_hosts(const wsock__der *base, const wsock__der *name)
{
    size_t n = wsock__der_size(base), m = wsock__der_size(name), i;
    const uint8_t *tail;
    if (n == 0 || n > m)
        return n == 0;
    tail = name->end - n;
    for (i = 0; i < n; i++)
        if (wsock__lower((char)base->at[i]) != wsock__lower((char)tail[i]))
            return 0;
    return *base->at == '.' ? n < m : n == m || tail[-1] == '.';
}

/* An address and its mask behind it. */
static int wsock__subtree_addresses(const wsock__der *base,
                                    const wsock__der *name)
{
    size_t n = wsock__der_size(name), i;
    if (wsock__der_size(base) != 2 * n)
        return 0;
    for (i = 0; i < n; i++)
        if ((base->at[i] ^ name->at[i]) & base->at[n + i])
            return 0;
    return 1;
}

/* What a name begins with.  Its parts are whole in both, so bytes tell. */
static int wsock__subtree_subjects(wsock__der base, const wsock__der *name)
{
    wsock__der first = wsock__der_take(&base, WSOCK__DER_SEQUENCE);
    size_t n = wsock__der_size(&first);
    return wsock__der_size(&base) == 0 && n <= wsock__der_size(name) &&
           memcmp(first.at, name->at, n) == 0;
}

/* Is it the base of a subtree, of any kind (RFC 5280 4.2.1.6)? */
static int wsock__subtree_is_valid(unsigned tag, const wsock__der *base)
{
    static const uint8_t tags[] = {0xA0, 0x81, 0x82, 0xA3, 0xA4,
                                   0xA5, 0x86, 0x87, 0x88};
    size_t n = wsock__der_size(base);
    return memchr(tags, (int)tag, sizeof tags) != NULL &&
           (tag != WSOCK__NAME_ADDRESS || n == 8 || n == 32);
}

/* How a name stands to a list of subtrees: -1 there is none of its kind, 0 it
 * is outside, 1 inside, 2 that is not understood. */
static int wsock__subtrees_hold(wsock__der list, unsigned kind,
                                const wsock__der *name)
{
    int held = -1;
    while (wsock__der_size(&list) && held < 1) {
        wsock__der one = wsock__der_take(&list, WSOCK__DER_SEQUENCE), base;
        unsigned tag = wsock__der_next(&one, &base);
        if (!wsock__subtree_is_valid(tag, &base) || wsock__der_size(&one))
            return 2; /* malformed, or with a minimum */
        if (tag != kind)
            continue;
        if (kind == WSOCK__NAME_HOST)
            held = wsock__subtree_hosts(&base, name);
        else if (kind == WSOCK__NAME_ADDRESS)
            held = wsock__subtree_addresses(&base, name);
        else if (kind == WSOCK__NAME_SUBJECT)
            held = wsock__subtree_subjects(base, name);
        else
            return 2;
    }
    return held;
}

/* Subjects are compared byte by byte: that allows too few, but would bar too
 * few as well. */
static int wsock__limits_allow(wsock__der limits, unsigned kind,
                               wsock__der name)
{
    wsock__der permitted = wsock__der_take(&limits, 0xA0);
    wsock__der excluded = wsock__der_take(&limits, 0xA1);
    int in = wsock__subtrees_hold(permitted, kind, &name);
    int out = wsock__subtrees_hold(excluded, kind, &name);
    return wsock__der_size(&limits) == 0 && (in == -1 || in == 1) &&
           (out == -1 || (out == 0 && kind != WSOCK__NAME_SUBJECT));
}

/* The names of one certificate, among them a mail address in its subject. */
static int wsock__limits_allow_cert(wsock__der limits, const wsock__cert *cert)
{
    static const char email[] = "\x06\x09\x2A\x86\x48\x86\xF7\x0D\x01\x09"
                                "\x01";
    wsock__der list, name = cert->subject;
    const char *at = (const char *)name.at, *end = (const char *)name.end;
    unsigned kind;
    name = wsock__der_take(&name, WSOCK__DER_SEQUENCE);
    if (wsock__der_size(&name) &&
        !wsock__limits_allow(limits, WSOCK__NAME_SUBJECT, name))
        return 0;
    if (wsock__find(at, end, email) &&
        !wsock__limits_allow(limits, WSOCK__NAME_EMAIL, name))
        return 0;
    if (!wsock__cert_extension(cert, WSOCK__CERT_NAMES, &list))
        return 1;
    while ((kind = wsock__der_next(&list, &name)) != 0)
        if (!wsock__limits_allow(limits, kind, name))
            return 0;
    return 1;
}

/* May this authority sign for those of the path that stand below a place?
 * The host is asked for too, as a name with a star can be inside and outside.
 */
static int wsock__limits_allow_chain(const wsock__chain *c,
                                     const wsock__cert *authority, int place)
{
    wsock__der limits, host;
    uint8_t address[16];
    size_t n = wsock__host_address(c->host, address);
    int i;
    if (!wsock__cert_extension(authority, WSOCK__CERT_LIMITS, &limits))
        return 1;
    host.at = n ? address : (const uint8_t *)c->host;
    host.end = host.at + (n ? n : strlen(c->host));
    if (wsock__der_size(&limits) == 0 ||
        !wsock__limits_allow(limits, n ? WSOCK__NAME_ADDRESS
                                       : WSOCK__NAME_HOST, host))
        return 0;
    for (i = 0; i < place; i++)
        if (!wsock__limits_allow_cert(limits, &c->certs[c->path[i]]))
            return 0;
    return 1;
}

/* ---- what it may be used for, and when (RFC 5280 4.2.1.12, 4.1.2.5) */

/* Does its extended key usage, if it has one, allow servers? */
static int wsock__cert_serves(const wsock__cert *cert)
{
    wsock__der list;
    return !wsock__cert_extension(cert, WSOCK__CERT_USE, &list) ||
           wsock__uses_serve(list);
}

/* An authority that may sign for mail may not for servers. */
static unsigned wsock__chain_use(wsock__chain *c)
{
    char which[90];
    int i;
    for (i = 0; i < c->path_size; i++) {
        const wsock__cert *cert = &c->certs[c->path[i]];
        wsock__chain_which(c, i, which);
        if (!wsock__cert_serves(cert))
            return wsock__chain_wrong(c, BR_ERR_X509_FORBIDDEN_KEY_USAGE,
                                      "the %s is not for servers: its "
                                      "extended key usage lacks serverAuth",
                                      which);
    }
    return 0;
}

/* Nor may one that may sign for other names.  It is much work, which nobody
 * is to cause who was not signed for. */
static unsigned wsock__chain_limits(wsock__chain *c)
{
    char which[90];
    int i;
    for (i = 1; i < c->path_size; i++) {
        if (wsock__limits_allow_chain(c, &c->certs[c->path[i]], i))
            continue;
        wsock__chain_which(c, i, which);
        return wsock__chain_wrong(c, BR_ERR_X509_BAD_SERVER_NAME,
                                  "the %s may not sign for all names below "
                                  "it", which);
    }
    return 0;
}

/* The date of a day since 1970, as YYYYMMDD. */
static uint64_t wsock__date(int64_t days)
{
    int64_t era, day, year, month;
    days += 719468; /* from 1 March of the year 0 */
    era = days / 146097;
    day = days % 146097;
    year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    day -= 365 * year + year / 4 - year / 100;
    month = (5 * day + 2) / 153;
    day -= (153 * month + 2) / 5;
    month += month < 10 ? 3 : -9;
    return (uint64_t)((year + era * 400 + (month <= 2)) * 10000 + month * 100 +
                      day + 1);
}

/* The same form as wsock__cert_time()'s. */
static uint64_t wsock__time_number(int64_t now)
{
    int64_t second = now % 86400;
    return wsock__date(now / 86400) * 1000000 +
           (uint64_t)(second / 3600 * 10000 + second / 60 % 60 * 100 +
                      second % 60);
}

static unsigned wsock__chain_times(wsock__chain *c, uint64_t now)
{
    int i;
    for (i = 0; i < c->path_size; i++) {
        const wsock__cert *cert = &c->certs[c->path[i]];
        uint64_t day = (now < cert->from ? cert->from : cert->until) / 1000000;
        char which[90];
        if (now >= cert->from && now <= cert->until)
            continue;
        wsock__chain_which(c, i, which);
        return wsock__chain_wrong(
            c, BR_ERR_X509_EXPIRED, "the %s %s on %04u-%02u-%02u", which,
            now < cert->from ? "begins" : "expired", (unsigned)(day / 10000),
            (unsigned)(day / 100 % 100), (unsigned)(day % 100));
    }
    return 0;
}

/* ---- pins */

/* Is the SHA-256 of the peer's key one of options.tls_pins? */
static unsigned wsock__chain_pins(wsock__chain *c)
{
    const char *const *pins = c->config->o.tls_pins;
    const wsock__der *key = &c->certs[0].key;
    br_sha256_context hash;
    uint8_t digest[32];
    char text[45];
    if (!pins || !*pins)
        return 0;
    br_sha256_init(&hash);
    br_sha256_update(&hash, key->at, wsock__der_size(key));
    br_sha256_out(&hash, digest);
    wsock__base64(text, digest, sizeof digest);
    for (; *pins; pins++) {
        const char *pin = *pins;
        if (strncmp(pin, "sha256//", 8) == 0)
            pin += 8;
        if (strcmp(pin, text) == 0)
            return 0;
    }
    return wsock__chain_wrong(c, BR_ERR_X509_NOT_TRUSTED,
                              "the server's key is none of options.tls_pins: "
                              "its pin is %s", text);
}

/* ---- trust */

/* Does the system say of one that it is never to be believed? */
static unsigned wsock__chain_barred(wsock__chain *c, const wsock__roots *barred)
{
    char which[90];
    int i;
    for (i = 0; i < c->path_size; i++) {
        if (!wsock__roots_have(barred, &c->certs[c->path[i]].whole))
            continue;
        wsock__chain_which(c, i, which);
        return wsock__chain_wrong(c, BR_ERR_X509_NOT_TRUSTED,
                                  "the %s is among those that this system "
                                  "disallows", which);
    }
    return 0;
}

/* Add the roots that have this name: authorities that may sign for what stands
 * below this place of the path; at place 0, which nothing stands below, ones
 * that are no authorities, but may be the peer's own certificate. */
static void wsock__chain_anchors(wsock__chain *c, const wsock__roots *roots,
                                 const wsock__der *name, int place)
{
    size_t at = 0;
    while (at < roots->size && c->anchor_count < WSOCK__ANCHORS) {
        br_x509_trust_anchor *a = &c->anchors[c->anchor_count];
        wsock__cert root;
        size_t i = 0;
        wsock__cert_parse(&root, roots->der + at, roots->size - at);
        at += wsock__der_size(&root.whole);
        if (!wsock__der_same(&root.subject, name) ||
            wsock__cert_is_ca(&root) != (place > 0) ||
            !wsock__cert_serves(&root) || !wsock__cert_key(&root, &a->pkey))
            continue;
        if (!wsock__limits_allow_chain(c, &root, place)) {
            c->limited = 1;
            continue;
        }
        a->dn.data = (unsigned char *)(uintptr_t)root.subject.at;
        a->dn.len = wsock__der_size(&root.subject);
        a->flags = place > 0 ? BR_X509_TA_CA : 0;
        while (i < c->anchor_count && c->anchors[i].dn.data != a->dn.data)
            i++;
        c->anchor_count += i == c->anchor_count; /* else it is there */
    }
}

/* BearSSL refuses a critical extension that it does not know.  This one is
 * heeded behind it, by wsock__chain_limits(): so what it reads there is that
 * it is not critical, and what it hashes, for the signature, is the
 * certificate as it is. */
static void wsock__chain_feed(br_x509_minimal_context *m,
                              const wsock__cert *cert, int authority)
{
    const wsock__der *d = &cert->whole;
    const uint8_t *at = d->at;
    wsock__der limits, critical;
    m->vtable->start_cert(&m->vtable, (uint32_t)wsock__der_size(d));
    if (authority && wsock__cert_find(cert, WSOCK__CERT_LIMITS, &limits,
                                      &critical) &&
        wsock__der_size(&critical) == 1) {
        m->vtable->append(&m->vtable, at, (size_t)(critical.at - at));
        m->do_mhash = 0;
        m->vtable->append(&m->vtable, (const unsigned char *)"", 1);
        br_multihash_update(&m->mhash, critical.at, 1);
        m->do_mhash = 1;
        at = critical.end;
    }
    m->vtable->append(&m->vtable, at, (size_t)(d->end - at));
    m->vtable->end_cert(&m->vtable);
}

static unsigned wsock__chain_judge(wsock__chain *c, int64_t now)
{
    br_x509_minimal_context *m = &c->minimal;
    int i;
    br_x509_minimal_init(m, &br_sha256_vtable, c->anchors, c->anchor_count);
    br_x509_minimal_set_hash(m, br_sha256_ID, &br_sha256_vtable);
    br_x509_minimal_set_hash(m, br_sha384_ID, &br_sha384_vtable);
    br_x509_minimal_set_hash(m, br_sha512_ID, &br_sha512_vtable);
    br_x509_minimal_set_rsa(m, br_rsa_pkcs1_vrfy_get_default());
    br_x509_minimal_set_ecdsa(m, br_ec_get_default(),
                              br_ecdsa_vrfy_asn1_get_default());
    br_x509_minimal_set_minrsa(m, 256);
    br_x509_minimal_set_time(m, (uint32_t)(now / 86400 + 719528),
                             (uint32_t)(now % 86400));
    m->vtable->start_chain(&m->vtable, NULL);
    for (i = 0; i < c->path_size; i++)
        wsock__chain_feed(m, &c->certs[c->path[i]], i > 0);
    return m->vtable->end_chain(&m->vtable);
}

/* BearSSL has refused it: say which rule that was. */
static unsigned wsock__chain_refused(wsock__chain *c, unsigned code)
{
    const wsock__cert *last = &c->certs[c->path[c->path_size - 1]];
    char name[90];
    wsock__name_text(name, sizeof name, last->issuer);
    switch (code) {
    case BR_ERR_X509_NOT_TRUSTED:
        if (c->ca.count == 0 &&
            wsock__trust_of_process()->roots.count == 0)
            return wsock__chain_wrong(c, (int)code, "this system has no list "
                                      "of authorities: set options.tls_ca or "
                                      "SSL_CERT_FILE");
        if (c->limited)
            return wsock__chain_wrong(c, (int)code, "signed by an authority "
                                      "that may not sign for all names below "
                                      "it: %s", name);
        if (wsock__der_same(&last->issuer, &last->subject))
            return wsock__chain_wrong(
                c, (int)code, c->path_size == 1
                    ? "the certificate is self-signed: %s"
                    : "signed by an unknown authority: %s", name);
        return wsock__chain_wrong(c, (int)code,
                                  "signed by an unknown authority: %s (or a "
                                  "certificate of the chain is missing)",
                                  name);
    case BR_ERR_X509_WEAK_PUBLIC_KEY:
        return wsock__chain_wrong(c, (int)code, "a certificate has a weak "
                                  "key: RSA below 2048 bits");
    case BR_ERR_X509_UNSUPPORTED:
        return wsock__chain_wrong(c, (int)code, "a certificate is signed in "
                                  "an old or unknown way (SHA-1?)");
    case BR_ERR_X509_BAD_SIGNATURE:
        return wsock__chain_wrong(c, (int)code, "a certificate's signature "
                                  "is wrong (issuer: %s)", name);
    case BR_ERR_X509_NOT_CA:
        return wsock__chain_wrong(c, (int)code, "a certificate is signed by "
                                  "one that is not an authority");
    case BR_ERR_X509_CRITICAL_EXTENSION:
        return wsock__chain_wrong(c, (int)code, "a certificate has a "
                                  "critical extension that is not known");
    default:
        return wsock__chain_wrong(c, (int)code, "the certificate chain is "
                                  "not valid (BearSSL's error %u)", code);
    }
}

/* Parse all that came.  0, or what is wrong. */
static unsigned wsock__chain_parse(wsock__chain *c)
{
    int i;
    if (c->count < 0)
        return wsock__chain_wrong(c, BR_ERR_X509_LIMIT_EXCEEDED,
                                  "the certificate chain is above 10 "
                                  "certificates or 32 KiB");
    if (c->count == 0)
        return wsock__chain_wrong(c, BR_ERR_X509_EMPTY_CHAIN,
                                  "the server has sent no certificate");
    for (i = 0; i < c->count; i++)
        if (!wsock__cert_parse(&c->certs[i], c->bytes + c->starts[i],
                               c->starts[i + 1] - c->starts[i]))
            return wsock__chain_wrong(c, BR_ERR_X509_INVALID_VALUE,
                                      "the server has sent a malformed "
                                      "certificate");
    return 0;
}

static unsigned wsock__chain_end(const br_x509_class **methods)
{
    wsock__chain *c = wsock__chain_of(methods);
    int64_t now = (int64_t)time(NULL);
    const wsock__roots *roots = &c->ca;
    unsigned code = wsock__chain_parse(c);
    int i;
    if (!code)
        code = wsock__chain_pins(c);
    if (!code && c->insecure && !wsock__cert_key(&c->certs[0], &c->key))
        code = wsock__chain_wrong(c, BR_ERR_X509_WRONG_KEY_TYPE,
                                  "the server's key is neither RSA nor EC");
    if (code || c->insecure)
        return code;
    wsock__chain_order(c);
    code = wsock__chain_names(c);
    if (!code)
        code = wsock__chain_use(c);
    if (!code && !c->config->o.tls_ca) {
        roots = &wsock__trust_of_process()->roots;
        code = wsock__chain_barred(c, &wsock__trust_of_process()->barred);
    }
    if (code)
        return code;
    wsock__chain_anchors(c, roots, &c->certs[0].subject, 0);
    for (i = 0; i < c->path_size; i++)
        wsock__chain_anchors(c, roots, &c->certs[c->path[i]].issuer, i + 1);
    code = wsock__chain_judge(c, now);
    if (!code)
        code = wsock__chain_limits(c);
    if (code == BR_ERR_X509_EXPIRED) /* one below an authority: say which */
        wsock__chain_times(c, wsock__time_number(now));
    return code && !c->text[0] ? wsock__chain_refused(c, code) : code;
}

static const br_x509_pkey *wsock__chain_key(const br_x509_class *const *methods,
                                            unsigned *usages)
{
    wsock__chain *c = wsock__chain_of(methods);
    const br_x509_class *const *m = &c->minimal.vtable;
    if (!c->insecure)
        return (*m)->get_pkey(m, usages);
    if (usages)
        *usages = BR_KEYTYPE_SIGN;
    return &c->key;
}

static const br_x509_class wsock__chain_class = {
    sizeof(wsock__chain), wsock__chain_start,    wsock__chain_cert,
    wsock__chain_bytes,   wsock__chain_cert_end, wsock__chain_end,
    wsock__chain_key};

/* ---- the engine */

typedef struct wsock__bear {
    wsock_io below;
    wsock__config *config; /* whose memory this is */
    size_t size;
    wsock__chain *chain;       /* until the handshake is done */
    wsock__identity *identity; /* of this connection alone, until then */
    size_t accepted; /* bytes of a write that are encoded, not yet out */
    size_t barren;   /* bytes that came since the last ones of data */
    const uint8_t *ahead; /* in `in`: bytes that came, */
    size_t ahead_size;    /* and that the engine has not asked for yet */
    int code;        /* BearSSL's */
    uint8_t client;
    uint8_t refused; /* it cannot begin: text tells why */
    uint8_t lost;    /* the transport below has failed: it explains */
    uint8_t broken;  /* ... in writing; what came before is still read */
    uint8_t cut;     /* the stream has ended without close_notify */
    uint8_t ended;   /* ... with it, when that was not to be yet */
    uint8_t closing; /* ours is said */
    uint8_t dry;     /* the socket below has no more now */
    uint8_t held_size;
    uint8_t held[192]; /* small records that are not sent yet */
    char text[160];
    char host[256]; /* without the dot that may stand at its end */
    union {
        br_ssl_client_context client;
        br_ssl_server_context server;
    } u;
    uint8_t *in, *out; /* records, behind the struct */
} wsock__bear;

static br_ssl_engine_context *wsock__bear_engine(wsock__bear *t)
{
    return t->client ? &t->u.client.eng : &t->u.server.eng;
}

static size_t wsock__bear_size(const wsock_options *o)
{
    return sizeof(wsock__bear) + 2 * o->tls_record +
           (BR_SSL_BUFSIZE_INPUT - 16384) + (BR_SSL_BUFSIZE_OUTPUT - 16384);
}

/* Put aside what the engine has for the wire, as far as it is small: it leaves
 * together with what comes next. */
static void wsock__bear_hold(wsock__bear *t)
{
    br_ssl_engine_context *e = wsock__bear_engine(t);
    const unsigned char *from;
    size_t n;
    while ((from = br_ssl_engine_sendrec_buf(e, &n)) != NULL &&
           n <= sizeof t->held - t->held_size) {
        memcpy(t->held + t->held_size, from, n);
        t->held_size = (uint8_t)(t->held_size + n);
        br_ssl_engine_sendrec_ack(e, n);
    }
}

/* `n` bytes of what is held and of what the engine has are on the wire. */
static void wsock__bear_sent(wsock__bear *t, size_t n)
{
    size_t held = n < t->held_size ? n : t->held_size;
    t->held_size = (uint8_t)(t->held_size - held);
    memmove(t->held, t->held + held, t->held_size);
    if (n > held)
        br_ssl_engine_sendrec_ack(wsock__bear_engine(t), n - held);
}

/* Send what is held, then what the engine has for the wire.  0: all is out;
 * WANT or error. */
static int wsock__bear_push(wsock__bear *t)
{
    while (!t->broken) {
        wsock_buf bufs[2];
        size_t count = 0, size = t->held_size;
        ptrdiff_t n;
        bufs[0].data = t->held;
        bufs[0].size = t->held_size;
        count += t->held_size > 0;
        bufs[count].data =
            br_ssl_engine_sendrec_buf(wsock__bear_engine(t),
                                      &bufs[count].size);
        if (bufs[count].data)
            size += bufs[count++].size;
        if (!count)
            return 0;
        n = t->below.write(t->below.user, bufs, count);
        if (n == WSOCK_WANT_READ || n == WSOCK_WANT_WRITE || n == 0)
            return n ? (int)n : (int)WSOCK_WANT_WRITE;
        if (n < 0 || (size_t)n > size)
            t->lost = t->broken = 1;
        else
            wsock__bear_sent(t, (size_t)n);
    }
    return WSOCK_TRANSPORT_ERROR;
}

/* Read what has come to `to`, a place in the engine's buffer, and as far as
 * that goes: the engine asks for the head of a record, then for the rest, and
 * touches nothing behind that.  1: some came; WANT or error.  A socket that
 * gives less than was asked for is empty: it is not asked again before the
 * next wait. */
static int wsock__bear_fetch(wsock__bear *t, uint8_t *to)
{
    size_t room = (size_t)(t->out - to);
    int dry = t->dry;
    ptrdiff_t n;
    t->dry = 0;
    if (dry)
        return WSOCK_WANT_READ;
    n = t->below.read(t->below.user, to, room);
    if (n > 0 && (size_t)n <= room) {
        t->ahead = to;
        t->ahead_size = (size_t)n;
        t->dry = (size_t)n < room && t->below.read == wsock__socket_read;
        return 1;
    }
    if (n == WSOCK_WANT_READ || n == WSOCK_WANT_WRITE)
        return (int)n;
    t->cut = n == 0;
    t->lost = n != 0;
    return WSOCK_TRANSPORT_ERROR;
}

/* Give the engine one record or a part of it.  1: done; WANT or error.  A peer
 * that sends nothing but empty records does not keep a loop for itself. */
static int wsock__bear_pull(wsock__bear *t)
{
    br_ssl_engine_context *e = wsock__bear_engine(t);
    size_t n;
    unsigned char *to = br_ssl_engine_recvrec_buf(e, &n);
    int r = t->ahead_size ? 1 : wsock__bear_fetch(t, to);
    if (r < 0)
        return r;
    if (n > t->ahead_size)
        n = t->ahead_size;
    if (to != t->ahead)
        memmove(to, t->ahead, n);
    t->ahead += n;
    t->ahead_size -= n;
    br_ssl_engine_recvrec_ack(e, n);
    t->barren += n;
    if (t->barren <= WSOCK__BARREN_MOST)
        return 1;
    if (t->closing) { /* it is to be dropped, some at a time */
        t->barren = 0;
        return WSOCK_WANT_READ;
    }
    snprintf(t->text, sizeof t->text, "the peer sends TLS without end and "
             "nothing in it");
    return WSOCK_TRANSPORT_ERROR;
}

/* What an alert of the peer's says (RFC 5246 7.2). */
static const char *wsock__alert_text(int alert)
{
    switch (alert) {
    case 20: return "bad record MAC";
    case 22: return "record overflow";
    case 40: return "handshake failure: nothing in common";
    case 42: return "bad certificate";
    case 43: return "unsupported certificate";
    case 44: return "certificate revoked";
    case 45: return "certificate expired";
    case 46: return "certificate unknown";
    case 47: return "illegal parameter";
    case 48: return "unknown authority";
    case 49: return "access denied";
    case 50: return "decode error";
    case 51: return "decrypt error";
    case 70: return "protocol version";
    case 71: return "insufficient security";
    case 80: return "internal error";
    case 86: return "inappropriate fallback";
    case 100: return "no renegotiation";
    case 112: return "unrecognized name";
    case 116: return "certificate required";
    case 120: return "no application protocol";
    default: return "see RFC 8446 6";
    }
}

static const char *wsock__engine_text(int code)
{
    switch (code) {
    case BR_ERR_UNSUPPORTED_VERSION: return "the peer does not speak TLS 1.2";
    case BR_ERR_TOO_LARGE: return "the peer's record is larger than "
                                  "options.tls_record allows";
    case BR_ERR_BAD_MAC: return "a record was changed on its way";
    case BR_ERR_BAD_VERSION: return "what came is not TLS 1.2";
    case BR_ERR_BAD_CIPHER_SUITE: return "no cipher suite in common";
    case BR_ERR_BAD_SIGNATURE: return "the peer's signature is wrong";
    case BR_ERR_BAD_FINISHED: return "the handshake was changed on its way";
    case BR_ERR_WRONG_KEY_USAGE: return "the certificate's key may not sign";
    case BR_ERR_UNEXPECTED: return "a message that is out of order";
    default: return "see the error number of BearSSL";
    }
}

/* The engine has failed, or is closed: note why, if nobody has. */
static int wsock__bear_failed(wsock__bear *t)
{
    int code = br_ssl_engine_last_error(wsock__bear_engine(t));
    int alert = code >= BR_ERR_SEND_FATAL_ALERT
                    ? 0
                : code >= BR_ERR_RECV_FATAL_ALERT
                    ? code - BR_ERR_RECV_FATAL_ALERT
                    : 0;
    t->code = code;
    if (t->text[0])
        return WSOCK_TRANSPORT_ERROR;
    t->ended = code == BR_ERR_OK;
    if (alert == 70 && t->client)
        snprintf(t->text, sizeof t->text, "the server requires TLS 1.3; "
                 "BearSSL speaks 1.2: use another library by options.tls");
    else if (alert)
        snprintf(t->text, sizeof t->text, "the peer refuses: %s (alert %d)",
                 wsock__alert_text(alert), alert);
    else if (code >= BR_ERR_SEND_FATAL_ALERT)
        snprintf(t->text, sizeof t->text, "the handshake was refused: %s",
                 wsock__alert_text(code - BR_ERR_SEND_FATAL_ALERT));
    else
        snprintf(t->text, sizeof t->text, "%s (BearSSL's error %d)",
                 wsock__engine_text(code), code);
    return WSOCK_TRANSPORT_ERROR;
}

/* BearSSL says nothing to a peer whose certificate it refuses. */
static void wsock__bear_say_alert(wsock__bear *t)
{
    uint8_t record[7] = {21, 3, 3, 0, 2, 2, 42};
    wsock_buf buf;
    int code = t->code;
    if (!t->client || code < BR_ERR_X509_OK || code > BR_ERR_X509_NOT_TRUSTED)
        return;
    if (code == BR_ERR_X509_EXPIRED)
        record[6] = 45;
    else if (code == BR_ERR_X509_NOT_TRUSTED)
        record[6] = 48;
    buf.data = record;
    buf.size = sizeof record;
    t->below.write(t->below.user, &buf, 1);
}

/* What only the handshake needs. */
static void wsock__bear_slim(wsock__bear *t)
{
    if (t->chain) {
        wsock__roots *ca = &t->chain->ca;
        wsock__tls_release(t->config, ca->der, ca->room);
        wsock__tls_release(t->config, t->chain, sizeof *t->chain);
    }
    wsock__identity_free(t->config, t->identity);
    t->chain = NULL;
    t->identity = NULL;
}

/* ---- sessions of a client: what wsock_tls_session holds */

typedef struct wsock__session {
    uint8_t key[32]; /* whose it is, and by which checks it came to be */
    int64_t made;    /* when, by the connection's clock */
    br_ssl_session_parameters it;
} wsock__session;

typedef char wsock__session_fits[sizeof(wsock__session) <=
                                         sizeof(wsock_tls_session)
                                     ? 1 : -1];

static void wsock__session_put(br_sha256_context *hash, const char *text)
{
    br_sha256_update(hash, text ? text : "", text ? strlen(text) + 1 : 0);
    br_sha256_update(hash, text ? "1" : "0", 1);
}

/* A resumed session checks no certificate: so it is only for the same host
 * and checks that are no other than those of the connection that made it. */
static void wsock__session_key(const wsock__bear *t, uint8_t key[32])
{
    const wsock_options *o = &t->config->o;
    const char *const *pins = o->tls_pins;
    br_sha256_context hash;
    br_sha256_init(&hash);
    wsock__session_put(&hash, t->host);
    wsock__session_put(&hash, o->tls_ca);
    wsock__session_put(&hash, o->tls_cert);
    wsock__session_put(&hash, o->flags & WSOCK_UNSAFE_TLS_ACCEPT_ANYONE
                                  ? "any" : NULL);
    br_sha256_update(&hash, &t->config->port, sizeof t->config->port);
    for (; pins && *pins; pins++)
        wsock__session_put(&hash, *pins);
    br_sha256_out(&hash, key);
}

static int64_t wsock__bear_now(const wsock__bear *t)
{
    const wsock_system *s = &t->config->system;
    return s->now(s->user);
}

/* 1: there is a session to be resumed, and it is not too old. */
static int wsock__session_take(wsock__bear *t)
{
    wsock__session s;
    uint8_t key[32];
    int64_t age;
    int good;
    if (!t->config->o.tls_session)
        return 0;
    memcpy(&s, t->config->o.tls_session, sizeof s);
    wsock__session_key(t, key);
    age = wsock__bear_now(t) - s.made;
    good = s.it.session_id_len > 0 && memcmp(key, s.key, sizeof key) == 0 &&
           age >= 0 && age < WSOCK__SESSION_LIFE;
    if (good)
        br_ssl_engine_set_session_parameters(&t->u.client.eng, &s.it);
    wsock__wipe(&s, sizeof s);
    return good;
}

/* The handshake is done: the next one may be shorter.  A session that was
 * resumed is as old as it was. */
static void wsock__session_keep(wsock__bear *t)
{
    wsock__session s, before;
    if (!t->client || !t->config->o.tls_session)
        return;
    memcpy(&before, t->config->o.tls_session, sizeof before);
    memset(&s, 0, sizeof s);
    wsock__session_key(t, s.key);
    br_ssl_engine_get_session_parameters(&t->u.client.eng, &s.it);
    s.made = memcmp(s.it.master_secret, before.it.master_secret,
                    sizeof s.it.master_secret) == 0
                 ? before.made
                 : wsock__bear_now(t);
    memcpy(t->config->o.tls_session, &s, sizeof s);
    wsock__wipe(&s, sizeof s);
    wsock__wipe(&before, sizeof before);
}

static int wsock__bear_open(void *user, const char *host, int port)
{
    wsock__bear *t = (wsock__bear *)user;
    br_ssl_engine_context *e = wsock__bear_engine(t);
    int r = 0;
    (void)host;
    (void)port;
    if (t->refused)
        return WSOCK_TRANSPORT_ERROR;
    if (t->held_size)
        r = wsock__bear_push(t);
    while (r >= 0) {
        unsigned state = br_ssl_engine_current_state(e);
        if (state & BR_SSL_CLOSED || state == 0) {
            if (t->client && t->config->o.tls_session) /* RFC 5246 7.2.2 */
                memset(t->config->o.tls_session, 0, sizeof(wsock_tls_session));
            r = wsock__bear_failed(t);
            wsock__bear_say_alert(t);
            return r;
        }
        if (state & BR_SSL_SENDREC) {
            wsock__bear_hold(t); /* a flight is of several records */
            r = wsock__bear_push(t);
        } else if (state & (BR_SSL_SENDAPP | BR_SSL_RECVAPP)) {
            wsock__session_keep(t);
            wsock__bear_slim(t);
            t->barren = 0;
            return WSOCK_OK;
        } else {
            r = wsock__bear_pull(t);
        }
    }
    return r;
}

/* The end: in order, or because the engine has failed. */
static int wsock__bear_closed(wsock__bear *t)
{
    if (br_ssl_engine_last_error(wsock__bear_engine(t)) == BR_ERR_OK)
        return 0;
    return wsock__bear_failed(t);
}

/* With nothing to send, an engine that is not closing can send and receive.
 * One that cannot is in the middle of handshake messages that came behind the
 * handshake, of which it refuses the first and forgets the rest: it would
 * wait for ever. */
static int wsock__bear_is_stuck(const wsock__bear *t, unsigned state)
{
    unsigned both = BR_SSL_SENDAPP | BR_SSL_RECVREC;
    return !t->closing && !(state & BR_SSL_SENDREC) && (state & both) != both;
}

enum { WSOCK__RECORD_DATA = 23 }; /* its first byte: RFC 5246 6.2.1 */

/* Has more data come?  A record of another kind waits for its turn: with the
 * end of TLS the engine sends nothing any more, and what came before may want
 * an answer. */
static int wsock__bear_goes_on(wsock__bear *t)
{
    size_t n;
    const uint8_t *to =
        br_ssl_engine_recvrec_buf(wsock__bear_engine(t), &n);
    if (!to || !t->ahead_size)
        return 0;
    return to != t->in || t->ahead[0] == WSOCK__RECORD_DATA;
}

/* Take out what is decoded, and what follows of records that have come, so that
 * the answers to many small ones leave together. */
static size_t wsock__bear_take(wsock__bear *t, uint8_t *to, size_t size)
{
    br_ssl_engine_context *e = wsock__bear_engine(t);
    size_t sum = 0;
    while (sum < size) {
        size_t n;
        const unsigned char *from = br_ssl_engine_recvapp_buf(e, &n);
        if (from) {
            if (n > size - sum)
                n = size - sum;
            memcpy(to + sum, from, n);
            br_ssl_engine_recvapp_ack(e, n);
            t->barren = 0;
            sum += n;
        } else if (!wsock__bear_goes_on(t) || wsock__bear_pull(t) < 0) {
            break; /* if something is wrong, the next read sees it, too */
        }
    }
    return sum;
}

static ptrdiff_t wsock__bear_read(void *user, void *data, size_t size)
{
    wsock__bear *t = (wsock__bear *)user;
    br_ssl_engine_context *e = wsock__bear_engine(t);
    int r = 0, pushed = 0;
    for (;;) {
        unsigned state = br_ssl_engine_current_state(e);
        if (state & BR_SSL_CLOSED || state == 0)
            return wsock__bear_closed(t);
        if (state & BR_SSL_RECVAPP)
            return (ptrdiff_t)wsock__bear_take(t, (uint8_t *)data, size);
        /* An answer that is owed, as an alert or the end of the stream; what
         * stands there of a write is for the next write. */
        if ((state & BR_SSL_SENDREC) && !t->accepted && !pushed) {
            pushed = wsock__bear_push(t);
            continue;
        }
        if (wsock__bear_is_stuck(t, state)) {
            snprintf(t->text, sizeof t->text, "the peer sends handshake "
                     "messages after the handshake");
            return WSOCK_TRANSPORT_ERROR;
        }
        if (!(state & BR_SSL_RECVREC))
            return pushed ? pushed : (int)WSOCK_WANT_WRITE;
        r = wsock__bear_pull(t);
        if (r < 0)
            break;
    }
    if (t->cut && t->closing) /* all was said: RFC 5246 7.2.1 */
        return 0;
    return r == WSOCK_WANT_READ && pushed == WSOCK_WANT_WRITE ? pushed : r;
}

/* Encode what fits into a record, behind `skip` bytes, `most` at most.
 * 0: the engine takes nothing now. */
static size_t wsock__bear_encode(br_ssl_engine_context *e,
                                 const wsock_buf *bufs, size_t count,
                                 size_t skip, size_t most)
{
    size_t room, taken = 0, i;
    unsigned char *to = br_ssl_engine_sendapp_buf(e, &room);
    if (room > most)
        room = most;
    for (i = 0; i < count && taken < room; i++) {
        size_t past = skip < bufs[i].size ? skip : bufs[i].size;
        size_t n = bufs[i].size - past;
        if (n > room - taken)
            n = room - taken;
        if (n)
            memcpy(to + taken, (const uint8_t *)bufs[i].data + past, n);
        skip -= past;
        taken += n;
    }
    if (taken) {
        br_ssl_engine_sendapp_ack(e, taken);
        br_ssl_engine_flush(e, 0);
    }
    return taken;
}

enum { WSOCK__RECORD_MORE = 29 }; /* bytes that a record has besides data */

/* Encode what leaves with one write: a record; or two, if the bytes fill some
 * and a few are left, as of a message of 16 KiB with its frame's head: these
 * few go first.  0: the engine takes nothing now. */
static size_t wsock__bear_accept(wsock__bear *t, const wsock_buf *bufs,
                                 size_t count)
{
    br_ssl_engine_context *e = wsock__bear_engine(t);
    size_t size = 0, few = 0, room, i;
    for (i = 0; i < count; i++)
        size += bufs[i].size;
    br_ssl_engine_sendapp_buf(e, &room);
    if (room && size > room &&
        size % room <= sizeof t->held - WSOCK__RECORD_MORE)
        few = wsock__bear_encode(e, bufs, count, 0, size % room);
    if (few)
        wsock__bear_hold(t);
    return few + wsock__bear_encode(e, bufs, count, few, size);
}

/* What is encoded counts as written once it is out: until then the same bytes
 * are offered again.  (Nothing behind what is counted may be encoded: after a
 * count other bytes may come next.) */
static ptrdiff_t wsock__bear_write(void *user, const wsock_buf *bufs,
                                   size_t count)
{
    wsock__bear *t = (wsock__bear *)user;
    br_ssl_engine_context *e = wsock__bear_engine(t);
    size_t taken;
    int r = wsock__bear_push(t);
    if (r == 0 && !t->accepted) {
        if (br_ssl_engine_current_state(e) & BR_SSL_CLOSED)
            return wsock__bear_failed(t);
        t->accepted = wsock__bear_accept(t, bufs, count);
        if (!t->accepted)
            return WSOCK_WANT_READ;
        r = wsock__bear_push(t);
    }
    if (r < 0)
        return r;
    taken = t->accepted;
    t->accepted = 0;
    return (ptrdiff_t)taken;
}

/* Say close_notify.  Unread data is taken first: BearSSL 0.6 does not come
 * out of a close with some. */
static int wsock__bear_finish(void *user)
{
    wsock__bear *t = (wsock__bear *)user;
    br_ssl_engine_context *e = wsock__bear_engine(t);
    int r = wsock__bear_push(t);
    if (r < 0)
        return r;
    t->accepted = 0;
    if (!t->closing) {
        size_t n;
        while (br_ssl_engine_recvapp_buf(e, &n))
            br_ssl_engine_recvapp_ack(e, n);
        br_ssl_engine_close(e);
        t->closing = 1;
        r = wsock__bear_push(t);
    }
    if (r < 0)
        return r;
    return t->below.finish ? t->below.finish(t->below.user) : 0;
}

static int wsock__bear_wait(void *user, int wants, int timeout)
{
    wsock__bear *t = (wsock__bear *)user;
    return t->below.wait(t->below.user, wants, timeout);
}

static void wsock__bear_wake(void *user)
{
    wsock__bear *t = (wsock__bear *)user;
    t->below.wake(t->below.user);
}

static intptr_t wsock__bear_fd(void *user)
{
    wsock__bear *t = (wsock__bear *)user;
    return t->below.fd(t->below.user);
}

static void wsock__bear_explain(void *user, wsock_failure *f)
{
    wsock__bear *t = (wsock__bear *)user;
    f->code = WSOCK_CONNECTION_LOST;
    if (t->lost) {
        if (t->below.explain)
            t->below.explain(t->below.user, f);
    } else if (t->cut) {
        f->text = "the stream was cut: it ended without TLS's close_notify";
    } else if (t->ended) {
        f->text = "the peer has closed TLS";
    } else {
        f->code = WSOCK_TLS_ERROR;
        f->phase = WSOCK_PHASE_TLS;
        f->tls_code = t->code;
        f->text = t->text;
    }
}

static void wsock__bear_close(void *user)
{
    wsock__bear *t = (wsock__bear *)user;
    wsock_io below = t->below;
    wsock__bear_slim(t);
    wsock__tls_release(t->config, t, t->size);
    if (below.close)
        below.close(below.user);
}

/* ---- how it begins */

/* ECDHE for forward secrecy, with AEAD; what the CPU has instructions for
 * comes first.  To ask the CPU takes some microseconds in a virtual machine,
 * so a server does it once. */
static void wsock__bear_suites(br_ssl_engine_context *e)
{
    static const uint16_t suites[] = {
        BR_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        BR_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        BR_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        BR_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        BR_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        BR_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        BR_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        BR_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256};
    int aes = (br_aes_x86ni_ctr_get_vtable() && br_ghash_pclmul_get()) ||
              (br_aes_pwr8_ctr_get_vtable() && br_ghash_pwr8_get());
    br_ssl_engine_set_versions(e, BR_TLS12, BR_TLS12);
    br_ssl_engine_set_suites(e, suites + (aes ? 2 : 0), 6);
    br_ssl_engine_set_default_aes_gcm(e);
    br_ssl_engine_set_default_chapol(e);
    br_ssl_engine_set_default_ec(e);
    br_ssl_engine_set_default_ecdsa(e);
    br_ssl_engine_set_default_rsavrfy(e);
    br_ssl_engine_set_hash(e, br_sha256_ID, &br_sha256_vtable);
    br_ssl_engine_set_hash(e, br_sha384_ID, &br_sha384_vtable);
    br_ssl_engine_set_hash(e, br_sha512_ID, &br_sha512_vtable);
    br_ssl_engine_set_prf_sha256(e, br_tls12_sha256_prf);
    br_ssl_engine_set_prf_sha384(e, br_tls12_sha384_prf);
}

static const char *const wsock__alpn[] = {"http/1.1"};

/* What both roles have in common.  The buffers are two, as halves of one
 * overlap in BearSSL. */
static int wsock__bear_prepare(wsock__bear *t)
{
    br_ssl_engine_context *e = wsock__bear_engine(t);
    const wsock_system *s = &t->config->system;
    size_t record = t->config->o.tls_record;
    uint8_t seed[48];
    if (s->random(s->user, seed, sizeof seed) != 0)
        return WSOCK_RANDOM_FAILED;
    br_ssl_engine_set_buffers_bidi(
        e, t->in, record + BR_SSL_BUFSIZE_INPUT - 16384, t->out,
        record + BR_SSL_BUFSIZE_OUTPUT - 16384);
    br_ssl_engine_inject_entropy(e, seed, sizeof seed);
    wsock__wipe(seed, sizeof seed);
    br_ssl_engine_add_flags(e, BR_OPT_NO_RENEGOTIATION);
    br_ssl_engine_set_protocol_names(e, (const char **)(uintptr_t)wsock__alpn,
                                     1);
    return WSOCK_OK;
}

/* Read options.tls_ca, if it is given.  0: it cannot be used. */
static int wsock__bear_roots(wsock__bear *t)
{
    wsock__config *c = t->config;
    wsock__roots *ca = &t->chain->ca;
    wsock__pem_text text;
    wsock__load l;
    l.c = c;
    l.option = "tls_ca";
    l.wrong = t->text;
    if (!c->o.tls_ca || t->chain->insecure)
        return 1;
    if (!wsock__text_get(&l, c->o.tls_ca, &text))
        return 0;
    ca->der = text.owned;
    ca->room = text.size;
    if (!ca->der)
        ca->der = (uint8_t *)wsock__tls_alloc(c, text.size);
    if (!ca->der) {
        snprintf(t->text, sizeof t->text, "no memory for options.tls_ca");
        return 0;
    }
    wsock__roots_add(ca, text.text, text.size);
    if (ca->count == 0)
        snprintf(t->text, sizeof t->text, "options.tls_ca has no certificate "
                 "that can be used");
    return ca->count > 0;
}

/* Our certificate: the server's, or one of this connection's own.  NULL: it
 * cannot be used. */
static wsock__identity *wsock__bear_identity(wsock__bear *t)
{
    wsock__identity *id = (wsock__identity *)t->config->identity;
    if (!id)
        id = t->identity = wsock__identity_load(t->config, 0, t->text);
    return id;
}

static int wsock__bear_identify_client(wsock__bear *t)
{
    const wsock__identity *id = wsock__bear_identity(t);
    const br_rsa_private_key *rsa;
    if (!id)
        return 0;
    rsa = br_skey_decoder_get_rsa(&id->key);
    if (rsa)
        br_ssl_client_set_single_rsa(&t->u.client, id->chain, id->count, rsa,
                                     br_rsa_pkcs1_sign_get_default());
    else
        br_ssl_client_set_single_ec(&t->u.client, id->chain, id->count,
                                    br_skey_decoder_get_ec(&id->key),
                                    BR_KEYTYPE_SIGN, id->issuer_key,
                                    br_ec_get_default(),
                                    br_ecdsa_sign_asn1_get_default());
    return 1;
}

static int wsock__bear_identify_server(wsock__bear *t)
{
    wsock__identity *id = wsock__bear_identity(t);
    const br_rsa_private_key *rsa;
    if (!id)
        return 0;
    rsa = br_skey_decoder_get_rsa(&id->key);
    if (rsa)
        br_ssl_server_set_single_rsa(&t->u.server, id->chain, id->count, rsa,
                                     BR_KEYTYPE_SIGN,
                                     br_rsa_private_get_default(),
                                     br_rsa_pkcs1_sign_get_default());
    else
        br_ssl_server_set_single_ec(&t->u.server, id->chain, id->count,
                                    br_skey_decoder_get_ec(&id->key),
                                    BR_KEYTYPE_SIGN, id->issuer_key,
                                    br_ec_get_default(),
                                    br_ecdsa_sign_asn1_get_default());
    if (id->sessions) {
        wsock__sessions_age(id, wsock__bear_now(t));
        br_ssl_server_set_cache(&t->u.server, &id->cache.vtable);
    }
    return 1;
}

static int wsock__bear_begin_client(wsock__bear *t)
{
    wsock__config *c = t->config;
    uint8_t address[16];
    int r;
    t->chain = (wsock__chain *)wsock__tls_alloc(c, sizeof *t->chain);
    if (!t->chain)
        return WSOCK_NO_MEMORY;
    memset(t->chain, 0, offsetof(wsock__chain, bytes));
    t->chain->methods = &wsock__chain_class;
    t->chain->config = c;
    t->chain->host = t->host;
    t->chain->text = t->text;
    t->chain->insecure =
        (c->o.flags & WSOCK_UNSAFE_TLS_ACCEPT_ANYONE) != 0;
    br_ssl_client_zero(&t->u.client);
    wsock__bear_suites(&t->u.client.eng);
    r = wsock__bear_prepare(t);
    if (r != WSOCK_OK)
        return r;
    br_ssl_engine_set_x509(&t->u.client.eng, &t->chain->methods);
    t->refused = !wsock__bear_roots(t) ||
                 (c->o.tls_cert && !wsock__bear_identify_client(t));
    if (!t->refused &&
        !br_ssl_client_reset(&t->u.client,
                             wsock__host_address(t->host, address)
                                 ? NULL : t->host,
                             wsock__session_take(t))) {
        t->refused = 1;
        wsock__bear_failed(t);
    }
    return WSOCK_OK;
}

static int wsock__bear_begin_server(wsock__bear *t)
{
    const wsock__identity *id = (const wsock__identity *)t->config->identity;
    int r;
    if (id) {
        t->u.server = *id->fresh;
    } else {
        br_ssl_server_zero(&t->u.server);
        wsock__bear_suites(&t->u.server.eng);
    }
    r = wsock__bear_prepare(t);
    if (r != WSOCK_OK)
        return r;
    t->refused = !wsock__bear_identify_server(t);
    if (!t->refused && !br_ssl_server_reset(&t->u.server)) {
        t->refused = 1;
        wsock__bear_failed(t);
    }
    return WSOCK_OK;
}

/* wsock_tls's wrap; `user` is the connection. */
static int wsock__bear_wrap(void *user, wsock_io *io, int role,
                            const char *host, const wsock_options *options)
{
    wsock *ws = (wsock *)user;
    size_t size = wsock__bear_size(options), n;
    wsock__bear *t = (wsock__bear *)wsock__tls_alloc(ws->config, size);
    int r;
    if (!t)
        return WSOCK_NO_MEMORY;
    memset(t, 0, sizeof *t);
    t->size = size;
    t->config = ws->config;
    t->client = role == WSOCK_CLIENT;
    t->in = (uint8_t *)(t + 1);
    t->out = t->in + options->tls_record + BR_SSL_BUFSIZE_INPUT - 16384;
    snprintf(t->host, sizeof t->host, "%s", host ? host : "");
    n = strlen(t->host);
    if (n && t->host[n - 1] == '.')
        t->host[n - 1] = 0;
    r = t->config->tls_begin(t);
    if (r != WSOCK_OK) {
        wsock__bear_slim(t);
        wsock__tls_release(ws->config, t, size);
        return r;
    }
    t->below = *io;
    io->open = wsock__bear_open;
    io->read = wsock__bear_read;
    io->write = wsock__bear_write;
    io->finish = wsock__bear_finish;
    io->wait = io->wait ? wsock__bear_wait : NULL;
    io->wake = io->wake ? wsock__bear_wake : NULL;
    io->fd = io->fd ? wsock__bear_fd : NULL;
    io->explain = wsock__bear_explain;
    io->close = wsock__bear_close;
    io->user = t;
    return WSOCK_OK;
}

/* ---- what the rest of the library asks for */

/* With options.memory: the part of the block for TLS. */
static size_t wsock__tls_room(const wsock_options *o, int role)
{
    size_t size = wsock__round(wsock__bear_size(o));
    if (role == WSOCK_CLIENT)
        size += wsock__round(sizeof(wsock__chain));
    if (role == WSOCK_CLIENT && o->tls_ca)
        size += wsock__round(strlen(o->tls_ca));
    if (o->tls_cert)
        size += wsock__round(sizeof(wsock__identity) +
                             wsock__round(strlen(o->tls_cert)));
    return size;
}

/* A server's certificate, loaded once.  0: it cannot be used. */
static int wsock__tls_load(wsock__config *c, char wrong[160])
{
    wsock__identity *id;
    if (!c->secure || c->o.tls)
        return 1;
    id = wsock__identity_load(c, sizeof *id->fresh + WSOCK__TLS_SESSIONS,
                              wrong);
    c->identity = id;
    if (!id)
        return 0;
    id->fresh = (br_ssl_server_context *)(void *)id->more;
    br_ssl_server_zero(id->fresh);
    wsock__bear_suites(&id->fresh->eng);
    id->sessions = (uint8_t *)(id->fresh + 1);
    wsock__sessions_begin(id, c->system.now(c->system.user));
    return 1;
}

static void wsock__tls_unload(wsock__config *c)
{
    wsock__identity_free(c, (wsock__identity *)c->identity);
    c->identity = NULL;
}

/* A connection leaves its server, after the handshake: so does its memory. */
static void wsock__tls_move(wsock *ws, wsock__config *to)
{
    wsock__bear *t = (wsock__bear *)ws->io_user;
    if (ws->io->close != wsock__bear_close)
        return;
    t->config->used -= t->size;
    to->used += t->size;
    t->config = to;
}

/* Has a transport that was just read from nothing more until the next wait?
 * That is known of TLS over a socket. */
static int wsock__tls_is_empty(const wsock *ws)
{
    wsock__bear *t = (wsock__bear *)ws->io_user;
    unsigned state;
    if (ws->io->read != wsock__bear_read || !t->dry || t->ahead_size)
        return 0;
    state = br_ssl_engine_current_state(wsock__bear_engine(t));
    if ((state & BR_SSL_RECVAPP) || !(state & BR_SSL_RECVREC))
        return 0; /* there is data, or the end, which is to be told */
    t->dry = 0;
    return 1;
}
#endif

#undef WSOCK__TLS
#undef WSOCK__WINDOWS
#undef WSOCK__LINUX
#undef WSOCK__BSD
#undef WSOCK__ACCEPT4
#undef WSOCK__EPOLL
#undef WSOCK__KQUEUE
#undef WSOCK__QUEUE
#undef WSOCK__THREAD
#undef WSOCK__REUSE
#undef WSOCK__EAI_SYSTEM
#undef WSOCK__ENOMEM
#undef WSOCK__FORMAT
#undef WSOCK__INLINE
#undef WSOCK__APART
#undef WSOCK__INLINE_16
#undef WSOCK__INLINE_32
#undef WSOCK__HAS_16
#undef WSOCK__HAS_32
#undef WSOCK__LIKELY
#undef WSOCK__UNLIKELY
#undef WSOCK__SEND_FLAGS
#undef WSOCK__IOVLEN
#undef WSOCK__WAKE_CALL
#undef WSOCK__WAKE_LOOK

#endif /* WSOCK_IMPLEMENTATION */

/* -------------------------------------------------------------------------
 * This software is available under two licences; choose the one you like.
 *
 * A. Public domain (www.unlicense.org).  This is free and unencumbered
 * software released into the public domain.  Anyone is free to copy,
 * modify, publish, use, compile, sell, or distribute this software, either
 * in source code form or as a compiled binary, for any purpose, commercial
 * or non-commercial, and by any means.  In jurisdictions that recognize
 * copyright laws, the authors dedicate any and all copyright interest in
 * the software to the public domain, for the benefit of the public at large
 * and to the detriment of their heirs and successors.  They intend this
 * dedication to be an overt act of relinquishment in perpetuity of all
 * present and future rights to this software under copyright law.
 *
 * B. MIT.  Copyright (c) 2026 the wsock authors.  Permission is hereby
 * granted, free of charge, to any person obtaining a copy of this software
 * and associated documentation files (the "Software"), to deal in the
 * Software without restriction, including without limitation the rights to
 * use, copy, modify, merge, publish, distribute, sublicense, and/or sell
 * copies of the Software, and to permit persons to whom the Software is
 * furnished to do so, subject to the following conditions: The above
 * copyright notice and this permission notice shall be included in all
 * copies or substantial portions of the Software.
 *
 * IN BOTH CASES THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY
 * KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF
 * MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT.
 * IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY
 * CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT
 * OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR
 * THE USE OR OTHER DEALINGS IN THE SOFTWARE. */
