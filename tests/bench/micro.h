/* micro.h - what the programs for the micro figures share: data, frames and
 * the clock.  Lines for run.sh: who, what, figure.
 *
 *     mask-SIZE           GB/s; raw: a copy by memcpy()
 *     ascii-SIZE, cjk-SIZE, cyrillic-SIZE
 *                         GB/s of the UTF-8 check
 *     parse-SIZE          ns for one masked frame of a batch: header read,
 *                         payload unmasked, message handed out
 *
 * Each is the best of several turns, on data in cache. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TURNS = 9, ROOM = 65536 };

static uint8_t *in, *out;
static size_t frames;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void die(const char *what)
{
    fprintf(stderr, "micro: %s\n", what);
    exit(1);
}

/* Seconds for one call of `work`. */
static double cost(void (*work)(size_t), size_t n)
{
    size_t times = ((size_t)8 << 20) / n + 1, i;
    double best = 1e9;
    int turn;
    for (turn = 0; turn < TURNS; turn++) {
        double t = now();
        for (i = 0; i < times; i++) work(n);
        t = now() - t;
        if (t < best) best = t;
    }
    return best / (double)times;
}

static void fill(size_t n, const char *unit)
{
    size_t m = strlen(unit), i;
    for (i = 0; i < n; i++) in[i] = (uint8_t)' ';
    for (i = 0; i + m <= n; i += m) memcpy(in + i, unit, m);
}

/* Characters of two bytes, and blanks between words. */
static const char cyrillic[] =
    "\xD0\x9A\xD0\xB0\xD0\xBA \xD0\xB4\xD0\xB5\xD0\xBB\xD0\xB0? "
    "\xD0\x92\xD1\x81\xD1\x91 "
    "\xD1\x85\xD0\xBE\xD1\x80\xD0\xBE\xD1\x88\xD0\xBE. ";

static const size_t sizes[] = {16, 125, 1024, 16384};

static void rate(const char *who, const char *what, void (*work)(size_t),
                 size_t n)
{
    printf("%s %s-%lu %.3f\n", who, what, (unsigned long)n,
           (double)n / cost(work, n) * 1e-9);
}

/* As many frames as fit.  They are unmasked where they stand; that garbles
 * them the next time, which is nothing to the parser: they are binary. */
static size_t put_frames(size_t size)
{
    size_t at = 0, header = size < 126 ? 2 : 4;
    for (frames = 0; at + header + 4 + size <= ROOM; frames++) {
        in[at] = 0x82;
        in[at + 1] = (uint8_t)(0x80 | (size < 126 ? size : 126));
        in[at + 2] = (uint8_t)(size >> 8);
        in[at + 3] = (uint8_t)size;
        memcpy(in + at + header, "\x37\xFA\x21\x3D", 4);
        memset(in + at + header + 4, 'a', size);
        at += header + 4 + size;
    }
    return at;
}

static void parse_rows(const char *who, void (*parse)(size_t))
{
    size_t i;
    for (i = 0; i < 3; i++) {
        size_t n = put_frames(sizes[i]);
        printf("%s parse-%lu %.3f\n", who, (unsigned long)sizes[i],
               cost(parse, n) / (double)frames * 1e9);
    }
}

/* NULL: the library has none that can be called alone. */
static void rates(const char *who, void (*mask)(size_t),
                  void (*utf8)(size_t))
{
    size_t i;
    in = (uint8_t *)malloc(ROOM);
    out = (uint8_t *)malloc(ROOM);
    if (!in || !out) die("memory");
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        fill(sizes[i], "a");
        if (mask) rate(who, "mask", mask, sizes[i]);
        if (utf8) rate(who, "ascii", utf8, sizes[i]);
        fill(sizes[i], "\xE6\xBC\xA2");
        if (utf8) rate(who, "cjk", utf8, sizes[i]);
        fill(sizes[i], cyrillic);
        if (utf8) rate(who, "cyrillic", utf8, sizes[i]);
    }
}
