/* test.h - the harness of the unit tests.  Include it after wsock.h.
 *
 * A test program is a set of functions TEST(name), a table of them, and
 * `TEST_MAIN("subject", table)`.  Failed checks print both operands and the
 * test goes on, so that one run shows everything that is wrong.  A test that
 * checks nothing fails.  The last line is `subject: N passed, N failed, N
 * skipped`; the exit status is 1 if any failed.  With an argument only the
 * tests whose name contains it are run.
 *
 * Below the checks: growable bytes, frames as bytes, a guarded buffer, a
 * counting allocator with a virtual clock and a seeded random source, helpers
 * that drive a connection without I/O, and a memory pair of transports. */
#ifndef TEST_H
#define TEST_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>

/* Not every program uses every helper.  Not inline: that only slows the
 * compilers down. */
#if defined(__GNUC__)
#define TEST_FN static __attribute__((unused, noinline))
#define TEST_PRINTF(a, b) __attribute__((format(printf, a, b)))
#else
#define TEST_FN static inline
#define TEST_PRINTF(a, b)
#endif

/* --------------------------------------------------------------- checks -- */

typedef struct test_case {
    const char *name;
    void (*run)(void);
} test_case;

static struct {
    long checks, failures; /* of the whole program */
    long in_this_test;     /* failures of the running test */
    int skipped;           /* it was left out */
    const char *test;      /* its name */
    char note[160];        /* which turn of a loop a check belongs to */
} test_state;

#define TEST(name) static void name(void)
#define TEST_ENTRY(name) { #name, name }

#define CHECK(cond) test_check((cond) ? 1 : 0, __FILE__, __LINE__, #cond)
#define CHECK_INT(got, want)                                                  \
    test_check_int((long long)(got), (long long)(want), __FILE__, __LINE__,   \
                   #got, #want)
#define CHECK_STR(got, want)                                                  \
    test_check_str((got), (want), __FILE__, __LINE__, #got)
#define CHECK_BYTES(got, n, want, m)                                          \
    test_check_bytes((got), (n), (want), (m), __FILE__, __LINE__, #got)

/* Results are shown by their names. */
#define CHECK_RESULT(got, want)                                               \
    test_check_result((got), (want), __FILE__, __LINE__, #got)

TEST_FN void test_note(const char *format, ...) TEST_PRINTF(1, 2);
TEST_FN void test_note(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(test_state.note, sizeof test_state.note, format, args);
    va_end(args);
}

/* Counts a failure; 1 if it is still worth printing. */
TEST_FN int test_failed(const char *file, int line)
{
    test_state.failures++;
    test_state.in_this_test++;
    if (test_state.in_this_test > 12) {
        if (test_state.in_this_test == 13)
            printf("  (more failures of %s are not printed)\n",
                   test_state.test);
        return 0;
    }
    printf("%s:%d: %s", file, line, test_state.test);
    if (test_state.note[0])
        printf(" [%s]", test_state.note);
    printf("\n");
    return 1;
}

TEST_FN int test_check(int good, const char *file, int line, const char *what)
{
    test_state.checks++;
    if (!good && test_failed(file, line))
        printf("  false: %s\n", what);
    return good;
}

TEST_FN int test_check_int(long long got, long long want, const char *file,
                           int line, const char *what, const char *expected)
{
    test_state.checks++;
    if (got != want && test_failed(file, line))
        printf("  %s\n    got  %lld\n    want %lld  (%s)\n", what, got, want,
               expected);
    return got == want;
}

TEST_FN int test_check_result(int got, int want, const char *file, int line,
                              const char *what)
{
    test_state.checks++;
    if (got != want && test_failed(file, line))
        printf("  %s\n    got  %d %s\n    want %d %s\n", what, got,
               wsock_result_name(got), want, wsock_result_name(want));
    return got == want;
}

TEST_FN int test_check_str(const char *got, const char *want, const char *file,
                           int line, const char *what)
{
    int same = got && want ? !strcmp(got, want) : got == want;
    test_state.checks++;
    if (!same && test_failed(file, line)) {
        printf("  %s\n    got  %s%s%s\n    want %s%s%s\n", what,
               got ? "\"" : "", got ? got : "NULL", got ? "\"" : "",
               want ? "\"" : "", want ? want : "NULL", want ? "\"" : "");
    }
    return same;
}

/* Up to 24 bytes from a little before `at`, in hexadecimal. */
TEST_FN void test_hex(const char *label, const void *bytes, size_t n,
                      size_t at)
{
    const uint8_t *p = (const uint8_t *)bytes;
    size_t i, from = at > 8 ? at - 8 : 0;
    printf("    %s (%lu bytes)%s", label, (unsigned long)n,
           from ? " .." : "");
    for (i = from; i < n && i < from + 24; i++)
        printf(i == at ? " [%02x]" : " %02x", p[i]);
    printf("%s\n", i < n ? " .." : "");
}

TEST_FN int test_check_bytes(const void *got, size_t n, const void *want,
                             size_t m, const char *file, int line,
                             const char *what)
{
    const uint8_t *a = (const uint8_t *)got, *b = (const uint8_t *)want;
    size_t i = 0, least = n < m ? n : m;
    test_state.checks++;
    while (i < least && a[i] == b[i])
        i++;
    if (i == n && i == m)
        return 1;
    if (test_failed(file, line)) {
        printf("  %s: first difference at byte %lu\n", what,
               (unsigned long)i);
        test_hex("got ", got, n, i);
        test_hex("want", want, m, i);
    }
    return 0;
}

/* The running test cannot say anything here: it did not pass. */
TEST_FN void test_skip(const char *why)
{
    test_state.skipped = 1;
    printf("SKIP %s: %s\n", test_state.test, why);
}

/* For tests about descriptors as POSIX has them: limited, and inherited. */
TEST_FN int test_has_posix_descriptors(void)
{
#if defined(_WIN32)
    test_skip("descriptors are neither limited nor inherited here");
    return 0;
#else
    return 1;
#endif
}

/* Runs one test, which is to check something. */
TEST_FN void test_run(const test_case *c)
{
    long before = test_state.checks;
    test_state.test = c->name;
    test_state.in_this_test = 0;
    test_state.skipped = 0;
    test_state.note[0] = 0;
    if (getenv("TEST_VERBOSE"))
        printf("%s\n", c->name);
    c->run();
    if (test_state.checks == before && !test_state.skipped)
        CHECK(!"a test that checks something");
}

TEST_FN int test_main(const char *subject, const test_case *cases, size_t n,
                      int argc, char **argv)
{
    int passed = 0, failed = 0, skipped = 0;
    size_t i;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (i = 0; i < n; i++) {
        if (argc > 1 && !strstr(cases[i].name, argv[1]))
            continue;
        test_run(&cases[i]);
        if (test_state.in_this_test)
            failed++;
        else if (test_state.skipped)
            skipped++;
        else
            passed++;
    }
    if (passed + failed + skipped == 0) {
        printf("no test is called that\n");
        failed = 1;
    }
    printf("%s: %d passed, %d failed, %d skipped\n", subject, passed, failed,
           skipped);
    return failed != 0;
}

#define TEST_MAIN(subject, table)                                             \
    int main(int argc, char **argv)                                           \
    {                                                                         \
        return test_main((subject), (table),                                  \
                         sizeof(table) / sizeof(table)[0], argc, argv);       \
    }

/* Under valgrind, where everything takes fifty times as long: take every
 * n-th of many cases. */
TEST_FN unsigned test_step(unsigned n)
{
    return getenv("TEST_QUICK") ? n : 1;
}

/* A test that cannot go on says why and ends the program: a crash would hide
 * the summary line, and so would going on. */
TEST_FN void test_die(const char *why)
{
    printf("%s: cannot go on: %s\n", test_state.test ? test_state.test : "-",
           why);
    exit(1);
}

/* Can the system itself listen at [::1]? */
TEST_FN int test_has_ipv6(void)
{
    struct sockaddr_in6 a;
    int fd = socket(AF_INET6, SOCK_STREAM, 0), has;
    memset(&a, 0, sizeof a);
    a.sin6_family = AF_INET6;
    a.sin6_addr.s6_addr[15] = 1;
    has = fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0;
    if (fd >= 0)
        close(fd);
    return has;
}

/* How many descriptors are open. */
TEST_FN int test_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;
    if (!dir)
        dir = opendir("/dev/fd");
    if (!dir)
        test_die("the descriptors cannot be counted here");
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

/* ------------------------------------------------------- growable bytes -- */

typedef struct bytes {
    uint8_t *data; /* a NUL, not counted, always stands behind the last */
    size_t size, room;
} bytes;

TEST_FN void bytes_put(bytes *b, const void *data, size_t n)
{
    if (b->size + n + 1 > b->room) {
        b->room = (b->size + n + 1) * 2;
        b->data = (uint8_t *)realloc(b->data, b->room);
        if (!b->data)
            test_die("memory is out");
    }
    if (n)
        memcpy(b->data + b->size, data, n);
    b->size += n;
    b->data[b->size] = 0;
}

TEST_FN void bytes_text(bytes *b, const char *text)
{
    bytes_put(b, text, strlen(text));
}

TEST_FN void bytes_format(bytes *b, const char *format, ...)
    TEST_PRINTF(2, 3);
TEST_FN void bytes_format(bytes *b, const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    bytes_text(b, line);
}

TEST_FN void bytes_clear(bytes *b)
{
    b->size = 0;
    bytes_put(b, "", 0);
}

TEST_FN void bytes_free(bytes *b)
{
    free(b->data);
    memset(b, 0, sizeof *b);
}

TEST_FN const char *bytes_str(bytes *b)
{
    bytes_put(b, "", 0);
    return (const char *)b->data;
}

/* The first place of `text` in `b`, or NULL. */
TEST_FN const char *bytes_find(bytes *b, const char *text)
{
    return strstr(bytes_str(b), text);
}

/* Bytes that differ from one offset to the next, printable ASCII. */
TEST_FN uint8_t *test_pattern(size_t n)
{
    uint8_t *p = (uint8_t *)malloc(n ? n : 1);
    size_t i;
    if (!p)
        test_die("memory is out");
    for (i = 0; i < n; i++)
        p[i] = (uint8_t)('!' + (i * 7 + i / 251) % 90);
    return p;
}

/* ------------------------------------------------------- guarded buffer -- */

enum { TEST_GUARD_SIZE = 1 << 17 };

/* `n` bytes, at most TEST_GUARD_SIZE, directly before an unreadable page, so
 * that reading one byte too many ends the program.  One buffer for all. */
TEST_FN uint8_t *test_guard(size_t n)
{
    static uint8_t *end;
    if (!end) {
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        int zero = open("/dev/zero", O_RDWR);
        void *p = mmap(NULL, TEST_GUARD_SIZE + page, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE, zero, 0);
        if (zero < 0 || p == MAP_FAILED)
            test_die("no memory for the guarded buffer");
        close(zero);
        end = (uint8_t *)p + TEST_GUARD_SIZE;
        if (mprotect(end, page, PROT_NONE))
            test_die("the guard page cannot be protected");
    }
    if (n > TEST_GUARD_SIZE)
        test_die("the guarded buffer is too small");
    return end - n;
}

TEST_FN uint8_t *test_guard_copy(const void *data, size_t n)
{
    uint8_t *p = test_guard(n);
    if (n)
        memcpy(p, data, n);
    return p;
}

/* --------------------------------------------------------------- system -- */

/* Allocator that counts, checks and can fail; clock that stands until moved;
 * random source that repeats. */
typedef struct test_system {
    wsock_system system; /* hand out &s.system */
    size_t live_blocks, live_bytes, most_bytes;
    long allocations;
    long fail_at;     /* the allocation that fails, counted from 1; 0 none */
    int refuse;       /* an allocation is a failure of the test */
    int64_t now;      /* milliseconds */
    uint32_t seed;
    int random_fails;
} test_system;

typedef struct test_block {
    size_t size;
    uint32_t magic, pad;
} test_block;

enum { TEST_MAGIC = 0x57534f43 };

TEST_FN void *test_alloc(void *user, size_t size)
{
    test_system *s = (test_system *)user;
    test_block *b;
    s->allocations++;
    if (s->refuse) {
        printf("allocation of %lu bytes where none may be\n",
               (unsigned long)size);
        CHECK(!"an allocation where none may be");
        return NULL;
    }
    if (s->allocations == s->fail_at)
        return NULL;
    b = (test_block *)malloc(sizeof *b + size);
    if (!b)
        return NULL;
    b->size = size;
    b->magic = TEST_MAGIC;
    memset(b + 1, 0xA5, size); /* nobody may count on zeroes */
    s->live_blocks++;
    s->live_bytes += size;
    if (s->live_bytes > s->most_bytes)
        s->most_bytes = s->live_bytes;
    return b + 1;
}

TEST_FN void test_free(void *user, void *memory, size_t size)
{
    test_system *s = (test_system *)user;
    test_block *b;
    if (!memory)
        return;
    b = (test_block *)memory - 1;
    if (!CHECK_INT(b->magic, TEST_MAGIC))
        return;
    CHECK_INT(size, b->size); /* free must name the size that was asked */
    s->live_blocks--;
    s->live_bytes -= b->size;
    b->magic = 0;
    memset(memory, 0x5A, b->size);
    free(b);
}

TEST_FN int64_t test_now(void *user)
{
    return ((test_system *)user)->now;
}

TEST_FN uint32_t test_random_word(uint32_t *seed)
{
    uint32_t x = *seed; /* xorshift32: small, and never zero */
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return *seed = x;
}

TEST_FN int test_random(void *user, void *out, size_t size)
{
    test_system *s = (test_system *)user;
    uint8_t *p = (uint8_t *)out;
    size_t i;
    if (s->random_fails)
        return -1;
    for (i = 0; i < size; i++)
        p[i] = (uint8_t)(test_random_word(&s->seed) >> 11);
    return 0;
}

TEST_FN void test_system_init(test_system *s)
{
    memset(s, 0, sizeof *s);
    s->system.alloc = test_alloc;
    s->system.free = test_free;
    s->system.now = test_now;
    s->system.random = test_random;
    s->system.user = s;
    s->now = 1000;
    s->seed = 0x2545F491;
}

/* Every block has been given back. */
#define CHECK_NO_LEAK(s)                                                      \
    do {                                                                      \
        CHECK_INT((s)->live_blocks, 0);                                       \
        CHECK_INT((s)->live_bytes, 0);                                        \
    } while (0)

/* --------------------------------------------------------------- frames -- */

enum { FIN = 0x80 };

static const uint8_t test_key[4] = { 0x37, 0xFA, 0x21, 0x3D };

/* A frame header with every choice free: `first` is the first byte (FIN,
 * RSV, opcode); `masked` also appends the key; `form` is the width of the
 * length: 7, 16, 64, or 0 for the shortest. */
TEST_FN void frame_header(bytes *b, unsigned first, int masked, int form,
                          uint64_t length)
{
    uint8_t h[10];
    size_t n = 2;
    int i;
    if (!form)
        form = length <= 125 ? 7 : length <= 0xFFFF ? 16 : 64;
    h[0] = (uint8_t)first;
    h[1] = (uint8_t)(form == 7 ? length : form == 16 ? 126 : 127);
    if (form != 7)
        for (i = form - 8; i >= 0; i -= 8)
            h[n++] = (uint8_t)(length >> i);
    if (masked)
        h[1] |= 0x80;
    bytes_put(b, h, n);
    if (masked)
        bytes_put(b, test_key, 4);
}

TEST_FN void frame_put(bytes *b, unsigned first, int masked,
                       const void *payload, size_t n)
{
    size_t i, at;
    frame_header(b, first, masked, 0, n);
    at = b->size;
    bytes_put(b, payload, n);
    if (masked)
        for (i = 0; i < n; i++)
            b->data[at + i] ^= test_key[i % 4];
}

TEST_FN void frame_text(bytes *b, unsigned first, int masked,
                        const char *payload)
{
    frame_put(b, first, masked, payload, strlen(payload));
}

/* A Close frame; code 0: an empty one. */
TEST_FN void frame_close(bytes *b, int masked, int code, const char *reason)
{
    uint8_t payload[256];
    size_t n = 0, length = strlen(reason);
    if (code) {
        payload[n++] = (uint8_t)(code >> 8);
        payload[n++] = (uint8_t)code;
        memcpy(payload + n, reason, length);
        n += length;
    }
    frame_put(b, FIN | 8, masked, payload, n);
}

typedef struct frame {
    unsigned first;     /* FIN, RSV, opcode */
    int masked;
    int minimal;        /* the length stands in its shortest form */
    uint8_t key[4];
    const uint8_t *payload; /* unmasked in place */
    size_t size;
} frame;

/* Reads a frame that the library wrote and unmasks it in place.  Returns the
 * bytes of the whole frame, 0 if it is not complete. */
TEST_FN size_t frame_get(uint8_t *p, size_t n, frame *f)
{
    size_t at = 2, i;
    uint64_t length;
    int form = 7, width;
    memset(f, 0, sizeof *f);
    if (n < 2)
        return 0;
    f->first = p[0];
    f->masked = p[1] >> 7;
    length = p[1] & 127u;
    if (length >= 126) {
        form = length == 126 ? 16 : 64;
        if (n < at + (size_t)form / 8)
            return 0;
        length = 0;
        for (width = form; width > 0; width -= 8)
            length = length << 8 | p[at++];
    }
    f->minimal = form == 7 || (form == 16 && length > 125)
                 || (form == 64 && length > 0xFFFF);
    if (f->masked) {
        if (n < at + 4)
            return 0;
        memcpy(f->key, p + at, 4);
        at += 4;
    }
    if (n - at < length)
        return 0;
    if (f->masked)
        for (i = 0; i < length; i++)
            p[at + i] ^= f->key[i % 4];
    f->payload = p + at;
    f->size = (size_t)length;
    return at + (size_t)length;
}

/* The frames of `b` as a log, one line each:
 *     text "hello"   binary+ 70000 bytes   close 1002 "..."   ping ""
 * where + stands for a frame without FIN.  `masked`: what every frame has to
 * be (RFC 6455 5.1). */
TEST_FN void frames_log(bytes *log, bytes *b, int masked)
{
    static const char *const names[16] = {
        "continuation", "text", "binary", "op3", "op4", "op5", "op6", "op7",
        "close", "ping", "pong", "opB", "opC", "opD", "opE", "opF"
    };
    size_t at = 0, used;
    frame f;
    while (at < b->size) {
        used = frame_get(b->data + at, b->size - at, &f);
        if (!used) {
            bytes_format(log, "(%lu bytes of a frame)\n",
                         (unsigned long)(b->size - at));
            return;
        }
        CHECK_INT(f.masked, masked);
        CHECK(f.minimal);
        bytes_format(log, "%s%s", names[f.first & 15],
                     f.first & FIN ? "" : "+");
        if (f.first & 0x70)
            bytes_format(log, " rsv%u", f.first >> 4 & 7);
        if ((f.first & 15) == 8) {
            if (f.size >= 2)
                bytes_format(log, " %d", f.payload[0] << 8 | f.payload[1]);
            else
                bytes_format(log, " empty");
        } else if (f.size <= 40) {
            bytes_format(log, " \"%.*s\"", (int)f.size,
                         (const char *)f.payload);
        } else {
            bytes_format(log, " %lu bytes", (unsigned long)f.size);
        }
        bytes_text(log, "\n");
        at += used;
    }
}

/* -------------------------------------------------------------- options -- */

/* Every default, but for these flags. */
TEST_FN wsock_options options_with(unsigned flags)
{
    wsock_options o;
    memset(&o, 0, sizeof o);
    o.flags = flags;
    return o;
}

/* Nothing is timed: what hangs is guard()'s, and what is slow is slow. */
TEST_FN wsock_options untimed(unsigned flags)
{
    wsock_options o = options_with(flags);
    o.lookup_timeout = o.connect_timeout = WSOCK_NEVER;
    o.handshake_timeout = o.close_timeout = WSOCK_NEVER;
    o.send_timeout = o.stall_timeout = WSOCK_NEVER;
    o.keepalive_interval = WSOCK_NEVER;
    return o;
}

/* ------------------------------------------------ driving without I/O -- */

#define TEST_REQUEST                                                          \
    "GET /chat HTTP/1.1\r\n"                                                  \
    "Host: server.example.com\r\n"                                            \
    "Upgrade: websocket\r\n"                                                  \
    "Connection: Upgrade\r\n"                                                 \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"                         \
    "Sec-WebSocket-Version: 13\r\n"                                           \
    "\r\n"

/* Appends all output to `out` (NULL: throws it away).  Returns the bytes. */
TEST_FN size_t take_output(wsock *ws, bytes *out)
{
    wsock_buf bufs[4];
    size_t count, i, n, sum = 0;
    while ((count = wsock_output(ws, bufs, 4)) > 0) {
        if (!CHECK(count <= 4))
            break;
        for (i = n = 0; i < count; i++) {
            if (out)
                bytes_put(out, bufs[i].data, bufs[i].size);
            n += bufs[i].size;
        }
        CHECK(n > 0);
        CHECK_RESULT(wsock_output_done(ws, n), WSOCK_OK);
        sum += n;
        if (!n)
            break;
    }
    return sum;
}

TEST_FN void log_kind(bytes *log, unsigned kind)
{
    unsigned op = kind & 0xF;
    bytes_text(log, op == WSOCK_TEXT     ? "TEXT"
                    : op == WSOCK_BINARY ? "BINARY"
                                         : "?");
    if (kind & (WSOCK_RSV1 | WSOCK_RSV2 | WSOCK_RSV3))
        bytes_format(log, "|RSV%u", kind >> 4 & 7);
    if (kind & WSOCK_FRAGMENT)
        bytes_text(log, "|FRAGMENT");
}

TEST_FN void log_data(bytes *log, const void *data, size_t n)
{
    const uint8_t *p = (const uint8_t *)data;
    size_t i;
    if (n > 80) {
        uint32_t sum = 2166136261u; /* FNV-1a: any changed byte shows */
        for (i = 0; i < n; i++)
            sum = (sum ^ p[i]) * 16777619u;
        bytes_format(log, " %lu bytes %08lx", (unsigned long)n,
                     (unsigned long)sum);
        return;
    }
    bytes_text(log, " \"");
    for (i = 0; i < n; i++) {
        if (p[i] >= 0x20 && p[i] < 0x7F && p[i] != '"' && p[i] != '\\')
            bytes_put(log, p + i, 1);
        else
            bytes_format(log, "\\x%02x", p[i]);
    }
    bytes_text(log, "\"");
}

/* One event as one line. */
TEST_FN void log_event(bytes *log, const wsock_event *e)
{
    switch (e->type) {
    case WSOCK_EVENT_OPEN:
        bytes_text(log, "OPEN");
        break;
    case WSOCK_EVENT_MESSAGE:
        log_kind(log, e->kind);
        log_data(log, e->data, e->size);
        break;
    case WSOCK_EVENT_PING:
        bytes_text(log, "PING");
        log_data(log, e->data, e->size);
        break;
    case WSOCK_EVENT_PONG:
        bytes_text(log, "PONG");
        log_data(log, e->data, e->size);
        break;
    case WSOCK_EVENT_SENT:
        bytes_format(log, "SENT %s %s", (const char *)e->context,
                     wsock_result_name(e->code));
        break;
    case WSOCK_EVENT_DRAIN:
        bytes_text(log, "DRAIN");
        break;
    case WSOCK_EVENT_CLOSE:
        bytes_format(log, "CLOSE %d", e->code);
        log_data(log, e->data, e->size);
        bytes_format(log, " %s",
                     e->why ? wsock_result_name(e->why->code) : "no why");
        break;
    default:
        bytes_format(log, "event %d", e->type);
        break;
    }
    bytes_text(log, "\n");
}

/* All events that are there.  Returns what wsock_next() ended with. */
TEST_FN int drain_events(wsock *ws, bytes *log)
{
    wsock_event e;
    int r, turns = 0;
    memset(&e, 0, sizeof e);
    while ((r = wsock_next(ws, &e)) > 0) {
        CHECK_INT(r, 1);
        CHECK(e.ws == ws);
        if (log)
            log_event(log, &e);
        if (++turns > 100000) {
            CHECK(!"events without end");
            break;
        }
    }
    return r;
}

/* Feeds a copy, since feeding changes the bytes, and logs the events. */
TEST_FN int feed(wsock *ws, const void *data, size_t n, bytes *log)
{
    uint8_t *copy = (uint8_t *)malloc(n ? n : 1);
    int r;
    if (!copy)
        test_die("memory is out");
    if (n)
        memcpy(copy, data, n);
    CHECK_RESULT(wsock_feed(ws, copy, n), WSOCK_OK);
    r = drain_events(ws, log);
    free(copy);
    return r;
}

TEST_FN int feed_bytes(wsock *ws, const bytes *b, bytes *log)
{
    return feed(ws, b->data, b->size, log);
}

TEST_FN int feed_text(wsock *ws, const char *text, bytes *log)
{
    return feed(ws, text, strlen(text), log);
}

/* The value of a header in a head that stands as text, into `value`. */
TEST_FN int head_value(const char *head, const char *name, char *value,
                       size_t room)
{
    size_t n = strlen(name), length;
    const char *p = head, *end;
    while ((p = strstr(p, "\r\n")) != NULL) {
        p += 2;
        if (!strncmp(p, name, n) && p[n] == ':') {
            p += n + 1;
            while (*p == ' ')
                p++;
            end = strstr(p, "\r\n");
            if (!end)
                return 0;
            length = (size_t)(end - p);
            if (length >= room)
                return 0;
            memcpy(value, p, length);
            value[length] = 0;
            return 1;
        }
    }
    return 0;
}

/* The Sec-WebSocket-Accept of a key (RFC 6455 4.2.2 step 5.4).  The hash and
 * base64 are the library's; test_primitives.c holds them to published
 * answers. */
TEST_FN void test_accept(const char *key, char out[29])
{
#ifdef WSOCK_IMPLEMENTATION
    char text[128];
    uint8_t digest[20];
    snprintf(text, sizeof text, "%.60s258EAFA5-E914-47DA-95CA-C5AB0DC85B11",
             key);
    wsock__sha1(text, strlen(text), digest);
    wsock__base64(out, digest, 20);
#else
    (void)key;
    out[0] = 0;
#endif
}

/* A head's header has this value; NULL: there is no such header. */
TEST_FN void check_value(bytes *head, const char *name, const char *want)
{
    char value[512];
    if (!head_value(bytes_str(head), name, value, sizeof value))
        CHECK_STR(NULL, want);
    else
        CHECK_STR(value, want);
}

/* All of our head by wsock_head_out(), as it would be written. */
TEST_FN void head_lines(wsock *ws, bytes *head)
{
    const char *name, *value;
    size_t i;
    int r = WSOCK_OK;
    bytes_clear(head);
    for (i = 0; i < 100; i++) {
        name = value = NULL;
        r = wsock_head_out(ws, i, &name, &value);
        if (r != WSOCK_OK)
            break;
        if (i == 0) {
            CHECK_STR(name, "");
            bytes_format(head, "%s\r\n", value);
        } else {
            CHECK(name && name[0]);
            bytes_format(head, "%s: %s\r\n", name, value);
        }
    }
    CHECK_RESULT(r, WSOCK_CLOSED);
    bytes_text(head, "\r\n");
}

/* The answer to a client's request; `more` are further header lines. */
TEST_FN void put_response(bytes *b, const char *request, const char *more)
{
    char key[64], accept[40];
    if (!head_value(request, "Sec-WebSocket-Key", key, sizeof key))
        test_die("the request has no Sec-WebSocket-Key");
    test_accept(key, accept);
    bytes_format(b, "HTTP/1.1 101 Switching Protocols\r\n"
                    "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                    "Sec-WebSocket-Accept: %s\r\n", accept);
    bytes_text(b, more);
    bytes_text(b, "\r\n");
}

/* No way from an option to a line of the head that was not meant. */
TEST_FN void check_injection(int role)
{
    static const char *const bad[] = { "a\r\nEvil: 1", "a\nEvil: 1", "a\rb",
                                       "\r\n\r\n", "a\r\n" };
    const char *url = role == WSOCK_CLIENT ? "ws://h/" : NULL;
    int which, options = role == WSOCK_CLIENT ? 6 : 5;
    size_t i;
    for (i = 0; i < sizeof bad / sizeof bad[0]; i++)
        for (which = 0; which < options; which++) {
            wsock_options o = options_with(0);
            const char *list[3] = { "good", bad[i], NULL };
            char text[64];
            wsock *ws;
            if (which < 2) {
                snprintf(text, sizeof text, which ? "%s: x" : "X-Good: %s",
                         bad[i]);
                list[0] = "A: b";
                list[1] = text;
                o.headers = list;
            } else if (which == 2) {
                o.subprotocols = list;
            } else if (which == 3) {
                o.extensions = list;
            } else if (which == 5) {
                o.user_agent = bad[i];
            } else if (role == WSOCK_CLIENT) {
                o.origin = bad[i];
            } else {
                o.origins = list;
            }
            test_note("option %d, value %lu", which, (unsigned long)i);
            ws = wsock_new(role, url, &o);
            CHECK_RESULT(wsock_error(ws), WSOCK_INVALID_PARAMETER);
            CHECK_INT(take_output(ws, NULL), 0);
            wsock_free(ws);
        }
}

/* A connection without I/O that has shaken hands; the heads are out of the
 * way and OPEN has been read. */
TEST_FN wsock *core_open(int role, const wsock_options *options)
{
    const char *url = role == WSOCK_CLIENT ? "ws://server.example.com/chat"
                                           : NULL;
    wsock *ws = wsock_new(role, url, options);
    bytes in = { 0 }, out = { 0 }, log = { 0 };
    CHECK(ws != NULL);
    if (role == WSOCK_CLIENT) {
        take_output(ws, &out);
        put_response(&in, bytes_str(&out), "");
    } else {
        bytes_text(&in, TEST_REQUEST);
    }
    feed_bytes(ws, &in, &log);
    CHECK_STR(bytes_str(&log), "OPEN\n");
    CHECK_INT(wsock_state(ws), WSOCK_STATE_OPEN);
    take_output(ws, NULL);
    bytes_free(&in);
    bytes_free(&out);
    bytes_free(&log);
    return ws;
}

/* Both ends without I/O, output of each fed to the other until quiet.  Logs
 * may be NULL. */
TEST_FN void core_exchange(wsock *a, wsock *b, bytes *log_a, bytes *log_b)
{
    bytes out = { 0 };
    int turns, moved = 1;
    for (turns = 0; moved && turns < 1000; turns++) {
        moved = 0;
        bytes_clear(&out);
        if (take_output(a, &out)) {
            moved = 1;
            if (wsock_state(b) != WSOCK_STATE_CLOSED)
                feed_bytes(b, &out, log_b);
        }
        bytes_clear(&out);
        if (take_output(b, &out)) {
            moved = 1;
            if (wsock_state(a) != WSOCK_STATE_CLOSED)
                feed_bytes(a, &out, log_a);
        }
    }
    CHECK(turns < 1000);
    bytes_free(&out);
}

/* ---------------------------------------------------------- memory pair -- */

/* Two transports joined in memory.  What one end writes the other reads;
 * everything that a real transport may do can be set: few bytes a call,
 * WANT now and then, the n-th call failing, a full pipe, the end of the
 * stream.  `wait` runs the other side by way of `pump`, so that a blocking
 * connection can be tested in one thread. */
typedef struct test_link test_link;

typedef struct test_end {
    test_link *link;
    int side;
    bytes in;             /* what waits to be read here */
    size_t at;            /* read so far */
    int in_ended;         /* the other end will write no more */
    size_t max_read, max_write; /* bytes a call; 0: as many as asked */
    int want_every;       /* every n-th read, and every n-th other call,
                           * answers WANT; 0: never.  Counted apart: a turn
                           * that writes and reads must not always meet the
                           * same answer */
    size_t capacity;      /* bytes that may wait at the other end; 0: any */
    long calls;           /* of read, write and finish */
    long wants[2];        /* calls towards want_every */
    long fail_at;         /* the call that fails; 0: none */
    int failed;           /* an error was answered: 1 by read, 2 by another */
    int finished, closed;
} test_end;

struct test_link {
    test_end end[2];
    wsock_io io[2];
    int (*pump)(void *user); /* runs the other side; 1: something moved */
    void *user;
    long moved;              /* bytes, ends and closes so far */
    test_system *system; /* its clock moves when nothing else does */
};

/* What every call does first: count, fail, or say WANT. */
TEST_FN int test_end_call(test_end *e, int want)
{
    e->calls++;
    CHECK_INT(e->closed, 0);
    /* After an error only explain and close follow; but after one of write
     * what came before may still be read. */
    if (!CHECK(!e->failed
               || (e->failed == 2 && want == WSOCK_WANT_READ)))
        return WSOCK_TRANSPORT_ERROR;
    if (e->calls == e->fail_at) {
        e->failed = want == WSOCK_WANT_READ ? 1 : 2;
        return WSOCK_TRANSPORT_ERROR;
    }
    if (e->want_every
        && ++e->wants[want == WSOCK_WANT_READ] % e->want_every == 0)
        return want;
    return 0;
}

TEST_FN ptrdiff_t test_end_read(void *user, void *data, size_t size)
{
    test_end *e = (test_end *)user;
    size_t n = e->in.size - e->at;
    int r = test_end_call(e, WSOCK_WANT_READ);
    CHECK(size > 0);
    if (r)
        return r;
    if (n == 0)
        return e->in_ended ? 0 : WSOCK_WANT_READ;
    if (n > size)
        n = size;
    if (e->max_read && n > e->max_read)
        n = e->max_read;
    memcpy(data, e->in.data + e->at, n);
    e->at += n;
    e->link->moved += (long)n;
    if (e->at == e->in.size)
        e->at = e->in.size = 0;
    return (ptrdiff_t)n;
}

TEST_FN ptrdiff_t test_end_write(void *user, const wsock_buf *bufs,
                                 size_t count)
{
    test_end *e = (test_end *)user;
    test_end *to = &e->link->end[!e->side];
    size_t i, n, room = e->max_write ? e->max_write : (size_t)-1, sum = 0;
    int r = test_end_call(e, WSOCK_WANT_WRITE);
    CHECK(count > 0);
    CHECK_INT(e->finished, 0);
    if (r)
        return r;
    if (to->closed) {
        e->failed = 2;
        return WSOCK_TRANSPORT_ERROR;
    }
    if (e->capacity) {
        size_t waiting = to->in.size - to->at;
        size_t free_room = waiting < e->capacity ? e->capacity - waiting : 0;
        if (free_room < room)
            room = free_room;
        if (!room)
            return WSOCK_WANT_WRITE;
    }
    for (i = 0; i < count && room; i++) {
        CHECK(bufs[i].size > 0);
        n = bufs[i].size < room ? bufs[i].size : room;
        bytes_put(&to->in, bufs[i].data, n);
        room -= n;
        sum += n;
    }
    e->link->moved += (long)sum;
    return (ptrdiff_t)sum;
}

TEST_FN int test_end_finish(void *user)
{
    test_end *e = (test_end *)user;
    int r = test_end_call(e, WSOCK_WANT_WRITE);
    if (r)
        return r;
    e->finished = 1;
    e->link->moved++;
    e->link->end[!e->side].in_ended = 1;
    return WSOCK_OK;
}

TEST_FN int test_end_wait(void *user, int wants, int timeout)
{
    test_end *e = (test_end *)user;
    test_end *to = &e->link->end[!e->side];
    int i;
    CHECK(wants > 0 && wants <= 3);
    if ((wants & 1) && (e->at < e->in.size || e->in_ended))
        return 0;
    if ((wants & 2)
        && (!e->capacity || to->in.size - to->at < e->capacity || to->closed))
        return 0;
    /* A side that was told WANT for no reason, or reads what a filter holds
     * back, moves when it is asked again. */
    for (i = 0; i < 64 && e->link->pump; i++)
        if (e->link->pump(e->link->user))
            return 0;
    if (timeout >= 0 && e->link->system) {
        e->link->system->now += timeout > 0 ? timeout : 1;
        return 0;
    }
    /* No limit of ours; perhaps the other side waits for a time of its own.
     */
    for (i = 0; i < 600 && e->link->system && e->link->pump; i++) {
        e->link->system->now += 100;
        if (e->link->pump(e->link->user))
            return 0;
    }
    CHECK(!"a wait that would never end");
    e->failed = 1;
    return WSOCK_TRANSPORT_ERROR;
}

TEST_FN void test_end_explain(void *user, wsock_failure *failure)
{
    test_end *e = (test_end *)user;
    CHECK(e->failed != 0);
    CHECK_INT(e->closed, 0);
    failure->os_code = 4711;
    failure->text = "the memory pair was told to fail";
}

TEST_FN void test_end_close(void *user)
{
    test_end *e = (test_end *)user;
    CHECK_INT(e->closed, 0); /* "exactly once" */
    e->closed = 1;
    e->link->moved++;
    e->link->end[!e->side].in_ended = 1;
}

TEST_FN void test_link_init(test_link *link)
{
    int i;
    memset(link, 0, sizeof *link);
    for (i = 0; i < 2; i++) {
        link->end[i].link = link;
        link->end[i].side = i;
        link->io[i].read = test_end_read;
        link->io[i].write = test_end_write;
        link->io[i].finish = test_end_finish;
        link->io[i].wait = test_end_wait;
        link->io[i].explain = test_end_explain;
        link->io[i].close = test_end_close;
        link->io[i].user = &link->end[i];
    }
}

TEST_FN void test_link_free(test_link *link)
{
    bytes_free(&link->end[0].in);
    bytes_free(&link->end[1].in);
}

/* A polled server that echoes, as the other side of a blocking client: give
 * test_peer_pump to the link. */
typedef struct test_peer {
    wsock *ws;
    test_link *link;
    bytes log;      /* of its events */
    int opens, closes;
    int ended;      /* poll has returned less than 0 */
} test_peer;

TEST_FN int test_peer_pump(void *user)
{
    test_peer *p = (test_peer *)user;
    long before = p->link->moved;
    wsock_event e;
    int r, any = 0;
    if (!p->ws || p->ended)
        return 0;
    while ((r = wsock_poll(p->ws, &e, 0)) > 0) {
        any = 1;
        log_event(&p->log, &e);
        if (e.type == WSOCK_EVENT_OPEN)
            p->opens++;
        if (e.type == WSOCK_EVENT_CLOSE)
            p->closes++;
        /* An echo that memory ran out for must not be waited for. */
        if (e.type == WSOCK_EVENT_MESSAGE
            && wsock_send(e.ws, e.kind, e.data, e.size) != WSOCK_OK)
            wsock_abort(e.ws);
        CHECK(p->opens <= 1);
        CHECK(p->closes <= 1);
    }
    if (r < 0)
        p->ended = 1;
    return any || p->ended || p->link->moved != before;
}

/* The peer to its end; where nothing moves, time does. */
TEST_FN void test_peer_end(test_peer *p)
{
    int turns;
    for (turns = 0; turns < 100000 && p->ws && !p->ended; turns++)
        if (!test_peer_pump(p) && p->link->system && turns % 8 == 7)
            p->link->system->now += 100;
    CHECK(!p->ws || p->ended);
}

#endif /* TEST_H */
