/* SHA-1, base64, masking and the two readers of a frame's header: published
 * answers, and a byte loop or the general one beside the fast paths, with the
 * data flush against an unreadable page. */
#define WSOCK_IMPLEMENTATION
#include "../../wsock.h"
#include "test.h"

static void check_sha1_text(const void *data, size_t n, const char *want)
{
    uint8_t digest[20];
    char text[41];
    int i;
    wsock__sha1(data, n, digest);
    for (i = 0; i < 20; i++)
        sprintf(text + 2 * i, "%02x", digest[i]);
    CHECK_STR(text, want);
}

static void check_sha1(const void *data, size_t n, const char *want)
{
    check_sha1_text(test_guard_copy(data, n), n, want);
}

/* RFC 3174 7.3 and FIPS 180-2 appendix A. */
TEST(sha1_known_answers)
{
    char *million = (char *)malloc(1000000);
    char tens[641];
    int i;
    check_sha1("", 0, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    check_sha1("abc", 3, "a9993e364706816aba3e25717850c26c9cd0d89d");
    check_sha1("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
               "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
    check_sha1("a", 1, "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8");
    for (i = 0; i < 80; i++)
        memcpy(tens + 8 * i, "01234567", 8);
    check_sha1(tens, 640, "dea356a2cddd90c7a7ecedc5ebb563934f460452");
    memset(million, 'a', 1000000);
    check_sha1_text(million, 1000000,
                    "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
    free(million);
}

/* RFC 4648 10. */
TEST(base64_known_answers)
{
    static const char *const cases[][2] = {
        { "", "" },           { "f", "Zg==" },
        { "fo", "Zm8=" },     { "foo", "Zm9v" },
        { "foob", "Zm9vYg==" }, { "fooba", "Zm9vYmE=" },
        { "foobar", "Zm9vYmFy" }, { "the sample nonce",
                                    "dGhlIHNhbXBsZSBub25jZQ==" }
    };
    static const uint8_t high[] = { 0xFB, 0xFF, 0xBF, 0x00 };
    char out[64];
    size_t i, n;
    for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        n = strlen(cases[i][0]);
        memset(out, '#', sizeof out);
        CHECK_INT(wsock__base64(out, test_guard_copy(cases[i][0], n), n),
                  strlen(cases[i][1]));
        CHECK_STR(out, cases[i][1]);
    }
    wsock__base64(out, high, 4);
    CHECK_STR(out, "+/+/AA==");
}

/* RFC 6455 1.3: the one example of an accept value. */
TEST(accept_of_the_rfc)
{
    char out[40];
    test_accept("dGhlIHNhbXBsZSBub25jZQ==", out);
    CHECK_STR(out, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

static uint32_t key_word(const uint8_t key[4])
{
    uint32_t word;
    memcpy(&word, key, 4);
    return word;
}

/* RFC 6455 5.3: octet i is XORed with key octet i modulo 4. */
TEST(mask_every_size_and_alignment)
{
    static const uint8_t key[4] = { 0x01, 0x82, 0x43, 0xC4 };
    uint8_t in[400], want[400], out[400 + 64];
    uint8_t *p;
    size_t n, i, offset;
    for (i = 0; i < sizeof in; i++)
        in[i] = (uint8_t)(i * 31 + i / 256);
    for (n = 0; n <= 300; n += test_step(7)) {
        for (i = 0; i < n; i++)
            want[i] = (uint8_t)(in[i] ^ key[i % 4]);
        /* In place, flush against the page that cannot be read. */
        p = test_guard_copy(in, n);
        wsock__mask(p, p, n, key_word(key));
        test_note("in place, %lu bytes", (unsigned long)n);
        CHECK_BYTES(p, n, want, n);
        for (offset = 0; offset < 33; offset++) {
            test_note("%lu bytes to offset %lu", (unsigned long)n,
                      (unsigned long)offset);
            memset(out, 0xEE, sizeof out);
            p = test_guard_copy(in, n);
            wsock__mask(out + offset, p, n, key_word(key));
            CHECK_BYTES(out + offset, n, want, n);
            CHECK(offset == 0 || out[offset - 1] == 0xEE);
            CHECK_INT(out[offset + n], 0xEE);
        }
    }
}

/* In place at every alignment, with the bytes around untouched. */
TEST(mask_in_place_at_every_alignment)
{
    static const uint8_t key[4] = { 0xAA, 0x01, 0xFE, 0x10 };
    uint8_t buffer[512], want[512];
    size_t offset, n, i;
    for (offset = 0; offset < 40; offset++) {
        for (n = 0; n < 200; n += test_step(13)) {
            for (i = 0; i < sizeof buffer; i++)
                want[i] = buffer[i] = (uint8_t)(i * 13);
            for (i = 0; i < n; i++)
                want[offset + i] ^= key[i % 4];
            wsock__mask(buffer + offset, buffer + offset, n, key_word(key));
            test_note("%lu bytes at %lu", (unsigned long)n,
                      (unsigned long)offset);
            CHECK_BYTES(buffer, sizeof buffer, want, sizeof want);
        }
    }
}

/* A payload that comes in pieces is unmasked with the rotated key. */
TEST(mask_rotate_continues_where_it_stopped)
{
    static const uint8_t key[4] = { 0x11, 0x22, 0x44, 0x88 };
    uint8_t in[100], want[100], got[100];
    size_t i, cut;
    for (i = 0; i < 100; i++) {
        in[i] = (uint8_t)(i * 5);
        want[i] = (uint8_t)(in[i] ^ key[i % 4]);
    }
    for (cut = 0; cut <= 100; cut++) {
        test_note("cut at %lu", (unsigned long)cut);
        wsock__mask(got, in, cut, key_word(key));
        wsock__mask(got + cut, in + cut, 100 - cut,
                    wsock__mask_rotate(key_word(key), cut));
        CHECK_BYTES(got, 100, want, 100);
    }
    CHECK_INT((uint32_t)wsock__mask_rotate(key_word(key), (size_t)-4),
              key_word(key));
}

/* What is the usual frame, by the general reader: a whole message of either
 * type, below 64 KiB, masked as asked, all of it there. */
static int is_usual(const wsock__frame *f, int read, size_t have, int masked)
{
    return read && !f->wrong && (f->first == 0x81 || f->first == 0x82) &&
           f->masked == masked && f->size < 65536 &&
           f->size <= have - f->head_size;
}

static void check_usual(const uint8_t *head, size_t have, int masked)
{
    static uint8_t key[4] = { 0 };
    uint8_t *p = (uint8_t *)test_guard_copy(head, have), *payload;
    uint32_t got_key = 77;
    size_t size = 77;
    wsock__frame f;
    int read = wsock__frame_read(&f, p, have);
    payload = wsock__frame_usual(p, have, masked, &size, &got_key);
    CHECK_INT(payload != NULL, is_usual(&f, read, have, masked));
    if (payload) {
        CHECK_INT(payload - p, f.head_size);
        CHECK_INT(size, f.size);
        if (masked)
            memcpy(key, p + f.head_size - 4, 4);
        CHECK_INT(got_key, masked ? key_word(key) : 0);
    } else {
        CHECK_INT(size == 77 && got_key == 77, 1);
    }
}

/* One header, as its bytes and those of the payload come: all the borders of
 * heads and of the lengths below. */
static void check_header(unsigned first, unsigned second, size_t extended,
                         int masked)
{
    uint8_t frame[320];
    size_t have;
    memset(frame, 0xA5, sizeof frame);
    frame[0] = (uint8_t)first;
    frame[1] = (uint8_t)second;
    frame[2] = (uint8_t)(extended >> 8);
    frame[3] = (uint8_t)extended;
    test_note("%02x %02x, %lu", first, second, (unsigned long)extended);
    for (have = 0; have <= sizeof frame; have++)
        if (have < 18 || (have > 124 && have < 136) ||
            (have > 254 && have < 266) || have > 303)
            check_usual(frame, have, masked);
}

/* Both readers on every first two bytes, with lengths at the borders. */
TEST(the_usual_frame_is_read_as_any_other)
{
    static const size_t extended[] = { 0, 125, 126, 127, 255, 256, 300 };
    unsigned first, second;
    size_t i;
    for (first = 0; first < 256; first++) {
        if (first % test_step(17) && first != 0x81 && first != 0x82)
            continue;
        for (second = 0; second < 256; second++)
            for (i = 0; i < sizeof extended / sizeof extended[0]; i++) {
                check_header(first, second, extended[i], 0);
                check_header(first, second, extended[i], 1);
                if ((second & 0x7F) != 126)
                    break; /* these bytes are no length */
            }
    }
}

static const test_case tests[] = {
    TEST_ENTRY(the_usual_frame_is_read_as_any_other),
    TEST_ENTRY(sha1_known_answers),
    TEST_ENTRY(base64_known_answers),
    TEST_ENTRY(accept_of_the_rfc),
    TEST_ENTRY(mask_every_size_and_alignment),
    TEST_ENTRY(mask_in_place_at_every_alignment),
    TEST_ENTRY(mask_rotate_continues_where_it_stopped)
};

TEST_MAIN("primitives", tests)
