/* The UTF-8 check beside an independent one, and what the connection does
 * with text that is not UTF-8. */
#define WSOCK_IMPLEMENTATION
#include "../../wsock.h"
#include "test.h"

/* The reference decodes code points, and asks about those; the library
 * steps through states, and knows no code points.  How many bytes at `p`
 * are a character: 0 none (wrong), -1 the start of one that is cut. */
static int reference_character(const uint8_t *p, size_t n)
{
    static const uint32_t least[5] = { 0, 0, 0x80, 0x800, 0x10000 };
    int want = p[0] < 0x80 ? 1
               : (p[0] & 0xE0) == 0xC0 ? 2
               : (p[0] & 0xF0) == 0xE0 ? 3
               : (p[0] & 0xF8) == 0xF0 ? 4 : 0;
    uint32_t c, low, high;
    int i;
    if (want <= 1)
        return want;
    c = p[0] & (0x7Fu >> want);
    for (i = 1; i < want && (size_t)i < n; i++) {
        if ((p[i] & 0xC0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3Fu);
    }
    /* Whatever may still come lies between low and high: the character is
     * wrong as soon as none of them is allowed. */
    low = c << (6 * (want - i));
    high = low | ((1u << (6 * (want - i))) - 1);
    if (high < least[want] || low > 0x10FFFF
        || (low >= 0xD800 && high <= 0xDFFF))
        return 0;
    return i < want ? -1 : want;
}

/* -1: wrong; 0: ends at a boundary; 1: ends inside a character. */
static int reference(const uint8_t *p, size_t n)
{
    int r;
    while (n) {
        r = reference_character(p, n);
        if (r == 0)
            return -1;
        if (r < 0)
            return 1;
        p += r;
        n -= (size_t)r;
    }
    return 0;
}

static int checked(const uint8_t *p, size_t n)
{
    uint32_t state = 0;
    if (!wsock__utf8(&state, p, n))
        return -1;
    return state != 0;
}

/* Both agree, and every split of the bytes agrees too. */
static int agree(const uint8_t *p, size_t n)
{
    int want = reference(p, n);
    size_t cut;
    uint32_t state;
    if (checked(p, n) != want)
        return 0;
    for (cut = 1; cut < n; cut++) {
        state = 0;
        if (!wsock__utf8(&state, p, cut)) {
            if (want != -1)
                return 0;
            continue;
        }
        if (reference(p, cut) != (state != 0))
            return 0;
        if (!wsock__utf8(&state, p + cut, n - cut)) {
            if (want != -1)
                return 0;
        } else if (want != (state != 0)) {
            return 0;
        }
    }
    return 1;
}

TEST(every_sequence_of_one_to_three_bytes)
{
    uint8_t *p = test_guard(1);
    long wrong = 0;
    unsigned a, b, c, step = test_step(61);
    for (a = 0; a < 256; a++) {
        p = test_guard(1);
        p[0] = (uint8_t)a;
        wrong += !agree(p, 1);
        for (b = 0; b < 256; b++) {
            p = test_guard(2);
            p[0] = (uint8_t)a;
            p[1] = (uint8_t)b;
            wrong += !agree(p, 2);
            p = test_guard(3);
            p[0] = (uint8_t)a;
            p[1] = (uint8_t)b;
            for (c = (a + b) % step; c < 256; c += step) {
                p[2] = (uint8_t)c;
                if (!agree(p, 3) && ++wrong < 10) {
                    test_note("%02x %02x %02x", a, b, c);
                    CHECK(!"the two disagree");
                }
            }
        }
    }
    CHECK_INT(wrong, 0);
}

/* Every lead and second byte; third and fourth at all borders. */
TEST(four_byte_sequences)
{
    static const uint8_t borders[] = { 0x00, 0x41, 0x7F, 0x80, 0x81, 0xA5,
                                       0xBE, 0xBF, 0xC0, 0xE0, 0xFF };
    uint8_t *p = test_guard(4);
    long wrong = 0;
    unsigned a, b, step = test_step(31);
    size_t c, d;
    for (a = 0xE8; a < 256; a++)
        for (b = a % step; b < 256; b += step)
            for (c = 0; c < sizeof borders; c++)
                for (d = 0; d < sizeof borders; d++) {
                    p[0] = (uint8_t)a;
                    p[1] = (uint8_t)b;
                    p[2] = borders[c];
                    p[3] = borders[d];
                    if (!agree(p, 4) && ++wrong < 10) {
                        test_note("%02x %02x %02x %02x", a, b, p[2], p[3]);
                        CHECK(!"the two disagree");
                    }
                }
    CHECK_INT(wrong, 0);
}

/* A wrong byte anywhere in a run of ASCII: the fast path for ASCII, its
 * ends, and every length that it may take in one step. */
TEST(a_wrong_byte_at_every_place)
{
    static const uint8_t bad[] = { 0x80, 0xC0, 0xC3, 0xED, 0xF5, 0xFF };
    size_t n, at, k;
    uint8_t *p;
    for (n = 0; n <= 140; n += test_step(17)) {
        p = test_guard(n);
        memset(p, 'a', n);
        test_note("%lu bytes", (unsigned long)n);
        CHECK_INT(checked(p, n), 0);
        for (at = 0; at < n; at++)
            for (k = 0; k < sizeof bad; k++) {
                p[at] = bad[k];
                test_note("%lu bytes, %02x at %lu", (unsigned long)n, bad[k],
                          (unsigned long)at);
                CHECK_INT(checked(p, n), reference(p, n));
                p[at] = 'a';
            }
    }
}

/* A character of each length at every place in ASCII, at every alignment,
 * and with the text cut inside it. */
TEST(a_character_at_every_place)
{
    static const char *const good[] = { "\xC3\xA9", "\xE2\x82\xAC",
                                        "\xEE\x80\x80", "\xED\x9F\xBF",
                                        "\xF0\x9F\x98\x80",
                                        "\xF4\x8F\xBF\xBF" };
    uint8_t text[160];
    size_t n, at, k, size;
    for (n = 8; n <= 140; n += 3 * test_step(11))
        for (at = 0; at < n; at++)
            for (k = 0; k < sizeof good / sizeof good[0]; k++) {
                size = strlen(good[k]);
                memset(text, 'z', sizeof text);
                memcpy(text + at, good[k], size);
                test_note("%lu bytes, character %lu at %lu",
                          (unsigned long)n, (unsigned long)k,
                          (unsigned long)at);
                CHECK_INT(checked(test_guard_copy(text, n), n),
                          at + size > n ? 1 : 0);
            }
}

/* Random mixtures of characters, damaged or not, cut into random pieces. */
TEST(random_mixtures)
{
    static const char *const parts[] = { "a", "plain ascii of some length ",
                                         "\xC3\xBC", "\xE4\xB8\xAD",
                                         "\xF0\x9F\x90\x88", "\xEF\xBF\xBF",
                                         "0123456789abcdef0123456789abcdef" };
    uint32_t seed = 77;
    int turn;
    for (turn = 0; turn < 20000; turn += (int)test_step(20)) {
        uint8_t text[600];
        size_t n = 0, at, step, k;
        uint32_t state = 0;
        int ok = 1, want;
        uint8_t *p;
        while (n < 400) {
            k = test_random_word(&seed) % (sizeof parts / sizeof parts[0]);
            memcpy(text + n, parts[k], strlen(parts[k]));
            n += strlen(parts[k]);
            if (test_random_word(&seed) % 13 == 0)
                break;
        }
        if (turn % 2)
            text[test_random_word(&seed) % n] ^=
                (uint8_t)(1u << test_random_word(&seed) % 8);
        p = test_guard_copy(text, n);
        want = reference(p, n);
        test_note("turn %d", turn);
        CHECK_INT(checked(p, n), want);
        for (at = 0; at < n && ok; at += step) {
            step = 1 + test_random_word(&seed) % 40;
            if (step > n - at)
                step = n - at;
            ok = wsock__utf8(&state, p + at, step);
        }
        CHECK_INT(ok ? (int)(state != 0) : -1, want);
    }
}

/* ------------------------------------------------- the CPU's vectors -- */

/* What each register says of a text whose first three bytes are whole
 * characters.  It may not say more than the reference: what it calls right
 * is, up to a character that is cut; and a right text is right to its end. */
static int vectors_agree(const uint8_t *p, size_t n)
{
    int size, want = reference(p, n);
    size_t end;
    for (size = 16; size <= wsock__vector_size(); size *= 2) {
        end = wsock__vectors_right(size, p, 3, n);
        if (want >= 0 && end != n)
            return 0;
        if (end > 3 && reference(p, end - wsock__utf8_begun(p, end)) != 0)
            return 0;
    }
    return 1;
}

/* The same, faster, for few bytes at `at` in ASCII. */
static int place_agrees(const uint8_t *p, size_t n, size_t at, size_t count,
                        int want)
{
    int size;
    size_t end;
    for (size = 16; size <= wsock__vector_size(); size *= 2) {
        end = wsock__vectors_right(size, p, 3, n);
        if ((want == 0) != (end == n) || (want && end > at + count))
            return 0;
        if (want && end > at &&
            reference(p + at, end - at - wsock__utf8_begun(p, end)) != 0)
            return 0;
    }
    return 1;
}

/* As large as three blocks, of which two overlap. */
enum { PLACES = 3 + 64 + 64 + 20 };

static long wrong_places; /* since the test began */

/* Samples are enough if there is nothing to compare. */
static unsigned vectors_step(unsigned n)
{
    return wsock__vector_size() ? test_step(n) : n;
}

static void check_places(uint8_t *text, const uint8_t *bytes, size_t count,
                         size_t from, size_t to)
{
    size_t at, i;
    int want = reference(bytes, count);
    for (at = from; at < to; at++) {
        for (i = 0; i < count; i++) /* no calls: there are millions of them */
            text[at + i] = bytes[i];
        if (!place_agrees(text, PLACES, at, count, want) &&
            ++wrong_places < 10) {
            test_note("%02x %02x %02x %02x: %lu bytes at %lu", bytes[0],
                      bytes[1], bytes[2], bytes[3], (unsigned long)count,
                      (unsigned long)at);
            CHECK(!"the two disagree");
        }
        for (i = 0; i < count; i++)
            text[at + i] = 'a';
    }
}

/* Else these tests would be of nothing.  TEST_VECTORS is what to expect of a
 * CPU that is not like those of today. */
TEST(the_cpu_has_vectors_where_it_should)
{
    const char *expected = getenv("TEST_VECTORS");
#if defined(WSOCK_NO_SIMD) || defined(__TINYC__)
    CHECK_INT(wsock__vector_size(), 0);
#elif defined(__x86_64__) || defined(__ARM_NEON)
    CHECK(expected || wsock__vector_size() >= 16);
#else
    CHECK_INT(wsock__vector_size(), 0);
#endif
    if (expected)
        CHECK_INT(wsock__vector_size(), atoi(expected));
}

TEST(vectors_every_pair_at_every_place)
{
    uint8_t *text = test_guard(PLACES), bytes[4] = { 0 };
    unsigned a, b, step = vectors_step(101);
    memset(text, 'a', PLACES);
    wrong_places = 0;
    for (a = 0; a < 256; a++)
        for (b = a % step; b < 256; b += step) {
            bytes[0] = (uint8_t)a;
            bytes[1] = (uint8_t)b;
            check_places(text, bytes, 2, 3, PLACES - 2);
        }
    CHECK_INT(wrong_places, 0);
}

/* Behind a leading byte; else it is the pair that counts.  Each at one place,
 * which differs from each to the next. */
TEST(vectors_every_sequence_of_three_and_most_of_four)
{
    static const uint8_t borders[] = { 0x7F, 0x80, 0xBF, 0xC0, 0xF0 };
    uint8_t *text = test_guard(PLACES), bytes[4] = { 0 };
    unsigned a, b, c, step = vectors_step(251);
    size_t at = 3, d;
    memset(text, 'a', PLACES);
    wrong_places = 0;
    for (a = 0xC0; a < 256; a++)
        for (b = 0; b < 256; b++)
            for (c = (a + b) % step; c < 256; c += step) {
                bytes[0] = (uint8_t)a;
                bytes[1] = (uint8_t)b;
                bytes[2] = (uint8_t)c;
                at = at < PLACES - 4 ? at + 1 : 3;
                check_places(text, bytes, 3, at, at + 1);
                for (d = 0; a >= 0xF0 && a <= 0xF5 && d < sizeof borders; d++) {
                    bytes[3] = borders[d];
                    at = at < PLACES - 4 ? at + 1 : 3;
                    check_places(text, bytes, 4, at, at + 1);
                }
            }
    CHECK_INT(wrong_places, 0);
}

/* The first and last characters of each length, and those that lie about the
 * surrogates; and what would be their neighbours.  Vectors look at what comes
 * behind six bytes that are right, and not all ASCII. */
TEST(texts_of_one_character)
{
    static const char *const all[] = {
        "\x7F", "\x80", "\xC1\xBF", "\xC2\x80", "\xDF\xBF", "\xE0\x9F\xBF",
        "\xE0\xA0\x80", "\xED\x9F\xBF", "\xED\xA0\x80", "\xED\xBF\xBF",
        "\xEE\x80\x80", "\xEF\xBF\xBF", "\xF0\x8F\xBF\xBF",
        "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF", "\xF4\x90\x80\x80",
        "\xF5\x80\x80\x80", "\xFF"
    };
    static const uint8_t start[6] = { 0xC3, 0xA9, 'a', 'b', 'c', 'd' };
    size_t k, n, i, size;
    for (k = 0; k < sizeof all / sizeof all[0]; k++)
        for (n = 60; n < 220; n += test_step(41)) {
            uint8_t *p = test_guard(n);
            size = strlen(all[k]);
            memcpy(p, start, sizeof start);
            for (i = sizeof start; i < n; i++)
                p[i] = (uint8_t)all[k][(i - sizeof start) % size];
            test_note("character %lu, %lu bytes", (unsigned long)k,
                      (unsigned long)n);
            CHECK(agree(p, n));
        }
}

/* Text of 70 to 900 bytes; every other one is damaged. */
static size_t long_text(uint8_t *text, uint32_t *seed)
{
    static const uint32_t below[4] = { 0x80, 0x800, 0x10000, 0x110000 };
    uint32_t most = 70 + test_random_word(seed) % 830, c = 'a', kinds, turn;
    size_t n = 0;
    kinds = test_random_word(seed); /* which lengths: not all in each text */
    while (n < most) {
        if (n == 0 || test_random_word(seed) % 4 == 0)
            c = test_random_word(seed) %
                below[(kinds >> 2 * (test_random_word(seed) % 4)) & 3];
        if (c >= 0xD800 && c <= 0xDFFF)
            c += 0x800;
        if (c >= 0x10000)
            text[n++] = (uint8_t)(0xF0 | c >> 18);
        if (c >= 0x800)
            text[n++] = (uint8_t)(c >= 0x10000 ? 0x80 | (c >> 12 & 0x3F)
                                               : 0xE0 | c >> 12);
        if (c >= 0x80)
            text[n++] = (uint8_t)(c >= 0x800 ? 0x80 | (c >> 6 & 0x3F)
                                             : 0xC0 | c >> 6);
        text[n++] = (uint8_t)(c >= 0x80 ? 0x80 | (c & 0x3F) : c);
    }
    for (turn = test_random_word(seed) % 4; turn == 1 || turn == 2; turn--) {
        size_t at = test_random_word(seed) % n;
        switch (test_random_word(seed) % 3) {
        case 0: text[at] ^= (uint8_t)(1u << test_random_word(seed) % 8); break;
        case 1: text[at] = (uint8_t)test_random_word(seed); break;
        default: memmove(text + at, text + at + 1, --n - at);
        }
    }
    return n;
}

/* Whole; in pieces, of which many are long enough for vectors; and byte by
 * byte, which leaves the same state.  In memory of its very size, for the
 * tools that find reads beyond it, and directly before a guard page. */
TEST(long_texts)
{
    uint32_t seed = 4711;
    int turn;
    for (turn = 0; turn < 20000; turn += (int)test_step(200)) {
        uint8_t text[1000], *p;
        size_t n = long_text(text, &seed), at, step;
        uint32_t pieces = 0, bytes = 0, whole = 0;
        int want = reference(text, n), ok = 1, right = 1;
        test_note("turn %d, %lu bytes", turn, (unsigned long)n);
        p = turn % 2 ? (uint8_t *)malloc(n) : test_guard(n);
        if (!p)
            test_die("no memory");
        memcpy(p, text, n);
        CHECK_INT(checked(p, n), want);
        if (n >= 70 && reference(p, 3) == 0)
            CHECK(vectors_agree(p, n));
        for (at = 0; at < n && ok; at += step) {
            step = 1 + test_random_word(&seed) % 300;
            if (step > n - at)
                step = n - at;
            ok = wsock__utf8(&pieces, p + at, step);
            CHECK(ok || reference(p, at + step) < 0);
        }
        CHECK_INT(ok ? (int)(pieces != 0) : -1, want);
        for (at = 0; at < n && right; at++)
            right = wsock__utf8(&bytes, p + at, 1);
        CHECK_INT(right, ok);
        if (ok && right && wsock__utf8(&whole, p, n)) {
            CHECK_INT(pieces, bytes);
            CHECK_INT(whole, bytes);
        }
        if (turn % 400 == 0)
            CHECK(agree(p, n));
        if (turn % 2)
            free(p);
    }
}

/* ------------------------------------------- the same, on a connection -- */

/* RFC 6455 8.1: a text message that is not UTF-8 fails the connection with
 * 1007; either role. */
static void check_refused(int role, const char *payload, size_t n)
{
    int masked = role == WSOCK_SERVER;
    wsock *ws = core_open(role, NULL);
    bytes in = { 0 }, out = { 0 }, log = { 0 }, sent = { 0 };
    frame_put(&in, FIN | 1, masked, payload, n);
    feed_bytes(ws, &in, &log);
    CHECK_STR(bytes_str(&log), "CLOSE 1006 \"\" WSOCK_INVALID_UTF8\n");
    CHECK_RESULT(wsock_error(ws), WSOCK_INVALID_UTF8);
    CHECK_INT(wsock_why(ws)->close_sent, 1007);
    take_output(ws, &out);
    frames_log(&sent, &out, !masked);
    CHECK(strncmp(bytes_str(&sent), "close 1007", 10) == 0);
    wsock_free(ws);
    bytes_free(&in);
    bytes_free(&out);
    bytes_free(&log);
    bytes_free(&sent);
}

TEST(invalid_text_closes_with_1007)
{
    int role;
    for (role = WSOCK_CLIENT; role <= WSOCK_SERVER; role++) {
        check_refused(role, "\xFF", 1);
        check_refused(role, "ok\xC0\x80", 4);
        check_refused(role, "\xED\xA0\x80", 3);
        check_refused(role, "cut \xE2\x82", 6); /* ends in a character */
        check_refused(role, "\xF4\x90\x80\x80", 4);
        check_refused(role, "\x80", 1);
    }
}

TEST(no_check_when_asked)
{
    wsock_options o;
    wsock *ws;
    bytes in = { 0 }, log = { 0 };
    memset(&o, 0, sizeof o);
    o.flags = WSOCK_NO_UTF8_CHECK;
    ws = core_open(WSOCK_SERVER, &o);
    frame_put(&in, FIN | 1, 1, "\xFF\xC0", 2);
    feed_bytes(ws, &in, &log);
    CHECK_STR(bytes_str(&log), "TEXT \"\\xff\\xc0\"\n");
    wsock_free(ws);
    bytes_free(&in);
    bytes_free(&log);
}

/* Binary is never checked. */
TEST(binary_may_be_anything)
{
    wsock *ws = core_open(WSOCK_SERVER, NULL);
    bytes in = { 0 }, log = { 0 };
    frame_put(&in, FIN | 2, 1, "\xFF\xC0", 2);
    feed_bytes(ws, &in, &log);
    CHECK_STR(bytes_str(&log), "BINARY \"\\xff\\xc0\"\n");
    wsock_free(ws);
    bytes_free(&in);
    bytes_free(&log);
}

static const test_case tests[] = {
    TEST_ENTRY(every_sequence_of_one_to_three_bytes),
    TEST_ENTRY(four_byte_sequences),
    TEST_ENTRY(a_wrong_byte_at_every_place),
    TEST_ENTRY(a_character_at_every_place),
    TEST_ENTRY(random_mixtures),
    TEST_ENTRY(the_cpu_has_vectors_where_it_should),
    TEST_ENTRY(vectors_every_pair_at_every_place),
    TEST_ENTRY(vectors_every_sequence_of_three_and_most_of_four),
    TEST_ENTRY(texts_of_one_character),
    TEST_ENTRY(long_texts),
    TEST_ENTRY(invalid_text_closes_with_1007),
    TEST_ENTRY(no_check_when_asked),
    TEST_ENTRY(binary_may_be_anything)
};

TEST_MAIN("utf8", tests)
