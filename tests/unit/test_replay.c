/* The same bytes in pieces of every size give the same events and the same
 * answers.  A case is a script and the log that is expected; each is replayed
 * whole, in pieces of 1 to n bytes, each piece flush against an unreadable
 * page, and once more with WSOCK_PARTS, the parts joined again.
 *
 * The scripts: one line per frame, `text hello`, with + behind the word where
 * FIN is not set; `cont`, `binary`, `ping`, `pong`; `close 1000 reason`,
 * `close`; `long N` (text of N bytes); `hex C1 00` for raw bytes; `end` for
 * the end of the stream.  \xNN stands for a byte.  The head comes first. */
#define WSOCK_IMPLEMENTATION
#include "../../wsock.h"
#include "test.h"

typedef struct replay {
    const char *name;
    int roles; /* 1: client, 2: server, 3: both; 4: whole messages only */
    const char *script, *events, *sent;
} replay;

static const replay cases[] = {
    { "messages", 3,
      "text hello\nbinary \\x00\\x01\\xff\ntext\nlong 126\ntext end",
      "OPEN\nTEXT \"hello\"\nBINARY \"\\x00\\x01\\xff\"\nTEXT \"\"\n"
      "TEXT 126 bytes d299b2fc\nTEXT \"end\"\n",
      "" },
    { "fragments", 3,
      "text+ one \nping a\ncont+ two \npong b\ncont+\ncont three\n"
      "binary+\ncont",
      "OPEN\nPING \"a\"\nPONG \"b\"\nTEXT \"one two three\"\nBINARY \"\"\n",
      "pong \"a\"\n" },
    { "pings", 3, "ping\nping one\nping two\npong\npong three",
      "OPEN\nPING \"\"\nPING \"one\"\nPING \"two\"\nPONG \"\"\n"
      "PONG \"three\"\n",
      "pong \"\"\npong \"one\"\npong \"two\"\n" },
    { "close", 3, "text last\nclose 1000 bye\ntext late\nhex FF FF",
      "OPEN\nTEXT \"last\"\nCLOSE 1000 \"bye\" WSOCK_OK\n", "close 1000\n" },
    { "empty close", 3, "close\nend",
      "OPEN\nCLOSE 1005 \"\" WSOCK_OK\n", "close empty\n" },
    { "close of one byte", 3, "hexframe 88 03",
      "OPEN\nCLOSE 1006 \"\" WSOCK_PROTOCOL_ERROR\n", "close 1002\n" },
    { "wrong close code", 3, "close 1006 x",
      "OPEN\nCLOSE 1006 \"\" WSOCK_PROTOCOL_ERROR\n", "close 1002\n" },
    { "wrong close reason", 3, "close 1000 a\\xff",
      "OPEN\nCLOSE 1006 \"\" WSOCK_INVALID_UTF8\n", "close 1007\n" },
    { "characters cut", 3,
      "text+ a\\xe2\ncont+ \\x82\nping\ncont+ \\xac\\xf0\\x9f\n"
      "cont \\x98\\x80z",
      "OPEN\nPING \"\"\n"
      "TEXT \"a\\xe2\\x82\\xac\\xf0\\x9f\\x98\\x80z\"\n",
      "pong \"\"\n" },
    { "wrong text", 3, "text fine\ntext wro\\xffng and more",
      "OPEN\nTEXT \"fine\"\nCLOSE 1006 \"\" WSOCK_INVALID_UTF8\n",
      "close 1007\n" },
    { "text cut at its end", 3, "text+ ab\ncont cd\\xc3",
      "OPEN\nCLOSE 1006 \"\" WSOCK_INVALID_UTF8\n", "close 1007\n" },
    { "continuation of nothing", 3, "text a\ncont b",
      "OPEN\nTEXT \"a\"\nCLOSE 1006 \"\" WSOCK_PROTOCOL_ERROR\n",
      "close 1002\n" },
    { "message in a message", 3, "binary+ a\ntext b",
      "OPEN\nCLOSE 1006 \"\" WSOCK_PROTOCOL_ERROR\n", "close 1002\n" },
    { "reserved opcode", 3, "text a\nhexframe 83",
      "OPEN\nTEXT \"a\"\nCLOSE 1006 \"\" WSOCK_PROTOCOL_ERROR\n",
      "close 1002\n" },
    { "reserved bit", 3, "hexframe C1 61",
      "OPEN\nCLOSE 1006 \"\" WSOCK_PROTOCOL_ERROR\n", "close 1002\n" },
    { "fragmented ping", 3, "ping+ a",
      "OPEN\nCLOSE 1006 \"\" WSOCK_PROTOCOL_ERROR\n", "close 1002\n" },
    { "unmasked to a server", 2, "text a\nhex 81 01 61",
      "OPEN\nTEXT \"a\"\nCLOSE 1006 \"\" WSOCK_PROTOCOL_ERROR\n",
      "close 1002\n" },
    { "masked to a client", 1, "text a\nhex 81 81 01 02 03 04 60",
      "OPEN\nTEXT \"a\"\nCLOSE 1006 \"\" WSOCK_PROTOCOL_ERROR\n",
      "close 1002\n" },
    { "longer form of a length", 1, "hex 82 7E 00 7D",
      "OPEN\nCLOSE 1006 \"\" WSOCK_PROTOCOL_ERROR\n", "close 1002\n" },
    { "longest form of a length", 2,
      "hex 82 FF 00 00 00 00 00 00 FF FF 01 02 03 04",
      "OPEN\nCLOSE 1006 \"\" WSOCK_PROTOCOL_ERROR\n", "close 1002\n" },
    { "top bit of a length", 1, "hex 82 7F 80 00 00 00 00 00 00 00",
      "OPEN\nCLOSE 1006 \"\" WSOCK_PROTOCOL_ERROR\n", "close 1002\n" },
    { "huge length", 1 | 4, "hex 82 7F 7F FF FF FF FF FF FF FF",
      "OPEN\nCLOSE 1006 \"\" WSOCK_TOO_BIG\n", "close 1009\n" },
    { "end of stream", 3, "text a\ntext+ b\nend",
      "OPEN\nTEXT \"a\"\nCLOSE 1006 \"\" WSOCK_CONNECTION_LOST\n", "" },
    { "end inside a header", 3, "hex 82\nend",
      "OPEN\nCLOSE 1006 \"\" WSOCK_CONNECTION_LOST\n", "" }
};

/* The bytes of one escaped word. */
static void put_escaped(bytes *out, const char *p, size_t n)
{
    size_t i;
    for (i = 0; i < n; i++) {
        if (p[i] == '\\' && i + 3 < n && p[i + 1] == 'x') {
            char digits[3];
            uint8_t byte;
            digits[0] = p[i + 2];
            digits[1] = p[i + 3];
            digits[2] = 0;
            byte = (uint8_t)strtoul(digits, NULL, 16);
            bytes_put(out, &byte, 1);
            i += 3;
        } else {
            bytes_put(out, p + i, 1);
        }
    }
}

static void put_hex(bytes *out, const char *p)
{
    char *end;
    for (;;) {
        unsigned long value = strtoul(p, &end, 16);
        uint8_t byte = (uint8_t)value;
        if (end == p)
            return;
        bytes_put(out, &byte, 1);
        p = end;
    }
}

/* One line of a script.  Returns 1 for `end`. */
static int put_line(bytes *out, const char *line, int masked)
{
    static const char *const words[] = { "cont", "text", "binary", "ping",
                                         "pong" };
    static const unsigned opcodes[] = { 0, 1, 2, 9, 10 };
    size_t n = strcspn(line, " "), k;
    const char *rest = line + n + (line[n] == ' ');
    int fin = !(n && line[n - 1] == '+');
    bytes payload = { 0 };
    if (!fin)
        n--;
    if (!strncmp(line, "end", n) && n == 3)
        return 1;
    bytes_put(&payload, "", 0);
    if (n == 3 && !strncmp(line, "hex", 3)) {
        put_hex(out, rest);
    } else if (n == 8 && !strncmp(line, "hexframe", 8)) {
        put_hex(&payload, rest);
        frame_put(out, payload.data[0], masked, payload.data + 1,
                  payload.size - 1);
    } else if (n == 4 && !strncmp(line, "long", 4)) {
        size_t size = (size_t)atoi(rest);
        uint8_t *data = test_pattern(size);
        frame_put(out, FIN | 1, masked, data, size);
        free(data);
    } else if (n == 5 && !strncmp(line, "close", 5)) {
        int code = atoi(rest);
        const char *reason = strchr(rest, ' ');
        if (reason)
            put_escaped(&payload, reason + 1, strlen(reason + 1));
        frame_close(out, masked, code, (const char *)payload.data);
    } else {
        for (k = 0; k < 5; k++)
            if (n == strlen(words[k]) && !strncmp(line, words[k], n))
                break;
        if (k == 5)
            test_die(line);
        put_escaped(&payload, rest, strlen(rest));
        frame_put(out, (fin ? FIN : 0u) | opcodes[k], masked, payload.data,
                  payload.size);
    }
    bytes_free(&payload);
    return 0;
}

/* Events into the log; parts are joined, and a message whose end never came
 * leaves no trace, as without WSOCK_PARTS. */
static void log_joined(wsock *ws, bytes *log, bytes *parts)
{
    wsock_event e, whole;
    int turns = 0;
    while (wsock_next(ws, &e) > 0 && turns++ < 10000) {
        if (e.type != WSOCK_EVENT_MESSAGE) {
            log_event(log, &e);
            continue;
        }
        bytes_put(parts, e.data, e.size);
        if (e.kind & WSOCK_FRAGMENT)
            continue;
        whole = e;
        whole.data = parts->data;
        whole.size = parts->size;
        log_event(log, &whole);
        parts->size = 0;
    }
}

/* One replay in pieces of `step` bytes. */
static void play(const replay *c, int role, unsigned flags, size_t step,
                 size_t *total)
{
    wsock_options o;
    test_system s;
    bytes in = { 0 }, out = { 0 }, log = { 0 }, parts = { 0 }, sent = { 0 };
    bytes script = { 0 };
    int masked = role == WSOCK_SERVER, end = 0;
    char *line, *next;
    size_t at, n;
    wsock *ws;
    test_system_init(&s);
    memset(&o, 0, sizeof o);
    o.system = &s.system;
    o.flags = flags;
    ws = wsock_new(role, role == WSOCK_CLIENT ? "ws://h/" : NULL, &o);
    if (role == WSOCK_CLIENT) {
        take_output(ws, &out);
        put_response(&in, bytes_str(&out), "");
        bytes_clear(&out);
    } else {
        bytes_text(&in, TEST_REQUEST);
    }
    bytes_text(&script, c->script);
    for (line = (char *)script.data; line && *line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = 0;
        end |= put_line(&in, line, masked);
    }
    bytes_put(&log, "", 0);
    for (at = 0; at < in.size; at += n) {
        uint8_t *p;
        n = in.size - at < step ? in.size - at : step;
        if (wsock_state(ws) == WSOCK_STATE_CLOSED)
            break;
        p = test_guard_copy(in.data + at, n);
        if (wsock_feed(ws, p, n) != WSOCK_OK)
            break;
        log_joined(ws, &log, &parts);
        take_output(ws, &out);
    }
    if (end && wsock_state(ws) != WSOCK_STATE_CLOSED) {
        wsock_feed(ws, NULL, 0);
        log_joined(ws, &log, &parts);
    }
    take_output(ws, &out);
    if (role == WSOCK_SERVER) { /* the head of the answer */
        const char *head = bytes_find(&out, "\r\n\r\n");
        size_t length = head ? (size_t)(head + 4 - (char *)out.data) : 0;
        memmove(out.data, out.data + length, out.size - length);
        out.size -= length;
    }
    frames_log(&sent, &out, role == WSOCK_CLIENT);
    CHECK_STR(bytes_str(&log), c->events);
    CHECK_STR(bytes_str(&sent), c->sent);
    wsock_free(ws);
    CHECK_NO_LEAK(&s);
    *total = in.size;
    bytes_free(&in);
    bytes_free(&out);
    bytes_free(&log);
    bytes_free(&parts);
    bytes_free(&sent);
    bytes_free(&script);
}

static void play_all(unsigned flags)
{
    size_t i, step, total;
    int role;
    for (i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (role = WSOCK_CLIENT; role <= WSOCK_SERVER; role++) {
            if (!(cases[i].roles & role)
                || (flags & WSOCK_PARTS && cases[i].roles & 4))
                continue;
            test_note("%s, role %d, whole", cases[i].name, role);
            play(&cases[i], role, flags, (size_t)1 << 16, &total);
            CHECK(total <= 512);
            for (step = 1; step <= total; step += test_step(29)) {
                long before = test_state.failures;
                test_note("%s, role %d, pieces of %lu", cases[i].name, role,
                          (unsigned long)step);
                play(&cases[i], role, flags, step, &total);
                if (test_state.failures != before)
                    break; /* the other sizes would only say it again */
            }
        }
}

TEST(pieces_of_every_size)
{
    play_all(0);
}

TEST(pieces_of_every_size_in_parts)
{
    play_all(WSOCK_PARTS);
}

/* The same with sizes at random, for inputs that are longer. */
TEST(long_inputs_in_random_pieces)
{
    uint8_t *data = test_pattern(100000);
    static const size_t sizes[] = { 0, 125, 126, 1000, 65535, 65536, 99999 };
    int role, turn;
    for (role = WSOCK_CLIENT; role <= WSOCK_SERVER; role++) {
        int masked = role == WSOCK_SERVER;
        bytes in = { 0 }, want = { 0 };
        uint32_t seed = 9;
        size_t i;
        for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            frame_put(&in, FIN | 2, masked, data, sizes[i]);
            bytes_text(&want, "BINARY");
            log_data(&want, data, sizes[i]);
            bytes_text(&want, "\n");
            frame_text(&in, FIN | 10, masked, "p");
            bytes_text(&want, "PONG \"p\"\n");
        }
        for (turn = 0; turn < 40; turn += (int)test_step(7)) {
            wsock *ws = core_open(role, NULL);
            bytes log = { 0 };
            size_t at, n, most = (size_t)1 << (turn % 17);
            test_note("role %d, turn %d", role, turn);
            for (at = 0; at < in.size; at += n) {
                n = 1 + test_random_word(&seed) % (most * 2);
                if (n > in.size - at)
                    n = in.size - at;
                if (n > TEST_GUARD_SIZE)
                    n = TEST_GUARD_SIZE;
                wsock_feed(ws, test_guard_copy(in.data + at, n), n);
                drain_events(ws, &log);
            }
            CHECK_STR(bytes_str(&log), bytes_str(&want));
            wsock_free(ws);
            bytes_free(&log);
        }
        bytes_free(&in);
        bytes_free(&want);
    }
    free(data);
}

/* Any bytes at all: no crash, no event without end, one CLOSE at most. */
TEST(noise)
{
    uint32_t seed = 4711;
    int turn;
    for (turn = 0; turn < 3000; turn += (int)test_step(9)) {
        int role = turn % 2 ? WSOCK_CLIENT : WSOCK_SERVER;
        wsock *ws = core_open(role, NULL);
        size_t n = 1 + test_random_word(&seed) % 200, i;
        uint8_t *p = test_guard(n);
        wsock_event e;
        int closes = 0;
        for (i = 0; i < n; i++)
            p[i] = (uint8_t)(test_random_word(&seed) >> 9);
        if (turn % 4 < 2) { /* a plausible first frame */
            p[0] = (uint8_t)(0x80 | (p[0] & 11));
            if (n > 1)
                p[1] = (uint8_t)((p[1] & 31) | (turn % 2 ? 0 : 0x80));
        }
        test_note("turn %d", turn);
        wsock_feed(ws, p, n);
        for (i = 0; wsock_next(ws, &e) > 0 && i < 1000; i++) {
            CHECK_INT(closes, 0);
            closes += e.type == WSOCK_EVENT_CLOSE;
        }
        CHECK(i < 1000);
        CHECK_INT(closes, wsock_state(ws) == WSOCK_STATE_CLOSED);
        wsock_free(ws);
    }
}

static const test_case tests[] = {
    TEST_ENTRY(pieces_of_every_size),
    TEST_ENTRY(pieces_of_every_size_in_parts),
    TEST_ENTRY(long_inputs_in_random_pieces),
    TEST_ENTRY(noise)
};

TEST_MAIN("replay", tests)
