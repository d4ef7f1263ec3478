/* micro.c - how fast the two loops over payload bytes are: masking and the
 * UTF-8 check, in GB/s, each the best of several turns.  They are private
 * functions of wsock.h, which is why its implementation is included. */
#define WSOCK_IMPLEMENTATION
#include "../../wsock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TURNS = 9 };

static uint8_t *in, *out;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void fill(size_t n, const char *unit)
{
    size_t m = strlen(unit), i;
    for (i = 0; i < n; i++) in[i] = (uint8_t)' ';
    for (i = 0; i + m <= n; i += m) memcpy(in + i, unit, m);
}

static void mask(size_t n) { wsock__mask(out, in, n, 0x3D21FA37u); }

static void check(size_t n)
{
    uint32_t state = 0;
    if (!wsock__utf8(&state, in, n)) exit(1);
}

static double rate(void (*work)(size_t), size_t n)
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
    return (double)n * (double)times / best * 1e-9;
}

int main(void)
{
    static const size_t sizes[] = {16, 125, 1024, 16384, 262144};
    size_t i;
    in = malloc(262144);
    out = malloc(262144);
    if (!in || !out) return 1;
    printf("| GB/s | mask | UTF-8, ASCII | UTF-8, 2-byte | UTF-8, 3-byte |\n"
           "| --- | --- | --- | --- | --- |\n");
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t n = sizes[i];
        fill(n, "a");
        printf("| %lu B | %.2f ", (unsigned long)n, rate(mask, n));
        printf("| %.2f ", rate(check, n));
        fill(n, "\xC3\xA9");
        printf("| %.2f ", rate(check, n));
        fill(n, "\xE6\xBC\xA2");
        printf("| %.2f |\n", rate(check, n));
    }
    return 0;
}
