/* The edges of every call: NULL, the wrong handle for a call, options out of
 * range, the names of results, the options in force. */
#define WSOCK_IMPLEMENTATION
#include "../../wsock.h"
#include "test.h"

/* "every function takes NULL", and answers NO_MEMORY: a NULL handle is what
 * is left when memory was out. */
TEST(null_handles)
{
    wsock_event e;
    wsock_status got;
    wsock_buf buf;
    wsock_io io;
    const char *name, *value;
    char text[8];
    int code = 7;
    memset(&io, 0, sizeof io);
    memset(&e, 0xFF, sizeof e);
    CHECK_RESULT(wsock_dial(NULL), WSOCK_NO_MEMORY);
    CHECK_RESULT(wsock_attach(NULL, &io), WSOCK_NO_MEMORY);
    wsock_free(NULL);
    CHECK_RESULT(wsock_send(NULL, WSOCK_TEXT, "x", 1), WSOCK_NO_MEMORY);
    CHECK_RESULT(wsock_sendv(NULL, WSOCK_TEXT, NULL, 0, NULL),
                 WSOCK_NO_MEMORY);
    CHECK_RESULT(wsock_shutdown(NULL, 1000, ""), WSOCK_NO_MEMORY);
    CHECK_RESULT(wsock_close(NULL, 1000, ""), WSOCK_NO_MEMORY);
    CHECK_RESULT(wsock_close_status(NULL, &code, NULL), WSOCK_NO_MEMORY);
    CHECK_INT(code, 7);
    CHECK_RESULT(wsock_abort(NULL), WSOCK_NO_MEMORY);
    CHECK_RESULT(wsock_receive(NULL, text, 8, &got), WSOCK_NO_MEMORY);
    CHECK_RESULT(wsock_poll(NULL, &e, 0), WSOCK_NO_MEMORY);
    CHECK_INT(e.type, WSOCK_EVENT_NONE);
    CHECK_RESULT(wsock_flush(NULL), WSOCK_NO_MEMORY);
    CHECK_RESULT(wsock_pause(NULL, 1), WSOCK_NO_MEMORY);
    CHECK_RESULT(wsock_feed(NULL, text, 1), WSOCK_NO_MEMORY);
    CHECK_RESULT(wsock_next(NULL, &e), WSOCK_NO_MEMORY);
    CHECK_INT(wsock_output(NULL, &buf, 1), 0);
    CHECK_RESULT(wsock_output_done(NULL, 1), WSOCK_NO_MEMORY);
    CHECK_RESULT(wsock_head_out(NULL, 0, &name, &value), WSOCK_NO_MEMORY);
    CHECK_RESULT(wsock_head_in(NULL, "", NULL), WSOCK_NO_MEMORY);
    CHECK_INT(wsock_state(NULL), WSOCK_STATE_CLOSED);
    CHECK_RESULT(wsock_error(NULL), WSOCK_NO_MEMORY);
    CHECK(wsock_error_text(NULL) && wsock_error_text(NULL)[0]);
    CHECK(wsock_why(NULL) != NULL);
    CHECK_RESULT(wsock_why(NULL)->code, WSOCK_NO_MEMORY);
    CHECK(wsock_why(NULL)->text && wsock_why(NULL)->close_reason);
    CHECK_STR(wsock_subprotocol(NULL), NULL);
    CHECK_INT(wsock_extensions(NULL), 0);
    CHECK_STR(wsock_header(NULL, "Host"), NULL);
    CHECK_INT(wsock_queued(NULL), 0);
    CHECK(wsock_peer(NULL, text, 8) < 0);
    CHECK(wsock_user(NULL) == NULL);
    wsock_set_user(NULL, text);
    CHECK(wsock_effective_options(NULL) == NULL);
}

TEST(null_servers)
{
    wsock_event e;
    wsock *ws = (wsock *)&e;
    CHECK_RESULT(wsock_server_poll(NULL, &e, 0), WSOCK_NO_MEMORY);
    CHECK_RESULT(wsock_accept(NULL, &ws, 0), WSOCK_NO_MEMORY);
    CHECK(ws == NULL);
    CHECK_RESULT(wsock_server_wake(NULL), WSOCK_NO_MEMORY);
    CHECK_RESULT(wsock_server_close(NULL), WSOCK_NO_MEMORY);
    wsock_server_free(NULL);
    CHECK(wsock_server_port(NULL) <= 0);
    CHECK_INT(wsock_server_count(NULL), 0);
    CHECK_RESULT(wsock_server_error(NULL), WSOCK_NO_MEMORY);
    CHECK(wsock_server_why(NULL) != NULL);
    CHECK_RESULT(wsock_server_why(NULL)->code, WSOCK_NO_MEMORY);
}

/* NULL where a pointer is needed; the handle is as before. */
TEST(null_arguments)
{
    wsock *ws = wsock_new(WSOCK_CLIENT, "ws://h/", NULL);
    wsock_server *server = wsock_listen("ws://127.0.0.1:0/", NULL);
    wsock_options o = options_with(0);
    wsock *polled;
    const char *name, *value;
    char text[4];
    CHECK_RESULT(wsock_receive(ws, NULL, 4, NULL), WSOCK_INVALID_PARAMETER);
    CHECK_RESULT(wsock_receive(ws, text, 0, NULL), WSOCK_INVALID_PARAMETER);
    CHECK_RESULT(wsock_next(ws, NULL), WSOCK_INVALID_PARAMETER);
    CHECK_RESULT(wsock_feed(ws, NULL, 5), WSOCK_INVALID_PARAMETER);
    CHECK_INT(wsock_output(ws, NULL, 4), 0);
    CHECK_RESULT(wsock_head_out(ws, 0, NULL, &value),
                 WSOCK_INVALID_PARAMETER);
    CHECK_RESULT(wsock_head_out(ws, 0, &name, NULL),
                 WSOCK_INVALID_PARAMETER);
    CHECK_RESULT(wsock_head_in(ws, NULL, NULL), WSOCK_INVALID_PARAMETER);
    CHECK_STR(wsock_header(ws, NULL), NULL);
    CHECK(wsock_peer(ws, NULL, 0) < 0);
    CHECK_RESULT(wsock_error(ws), WSOCK_OK);
    wsock_free(ws);
    CHECK_RESULT(wsock_server_poll(server, NULL, 0),
                 WSOCK_INVALID_PARAMETER);
    wsock_server_free(server);
    o.flags = WSOCK_NONBLOCKING;
    polled = wsock_new(WSOCK_CLIENT, "ws://h/", &o);
    CHECK_RESULT(wsock_poll(polled, NULL, 0), WSOCK_INVALID_PARAMETER);
    wsock_free(polled);
    ws = wsock_connect(NULL, NULL);
    CHECK(wsock_error(ws) == WSOCK_INVALID_PARAMETER
          || wsock_error(ws) == WSOCK_INVALID_URL);
    wsock_free(ws);
    server = wsock_listen(NULL, NULL);
    CHECK(wsock_server_error(server) == WSOCK_INVALID_PARAMETER
          || wsock_server_error(server) == WSOCK_INVALID_URL);
    wsock_server_free(server);
}

/* The wrong reading call for a handle. */
TEST(wrong_mode)
{
    wsock_options o = options_with(0);
    wsock_event e;
    wsock_status got;
    char text[4];
    wsock *ws = core_open(WSOCK_SERVER, NULL);
    /* Without a transport neither receive nor poll can do anything. */
    CHECK_RESULT(wsock_receive(ws, text, 4, &got), WSOCK_INVALID_OPERATION);
    CHECK_RESULT(wsock_poll(ws, &e, 0), WSOCK_INVALID_OPERATION);
    CHECK_INT(e.type, WSOCK_EVENT_NONE);
    CHECK_RESULT(wsock_error(ws), WSOCK_OK);
    CHECK_RESULT(wsock_send(ws, WSOCK_TEXT, "fine", 4), WSOCK_OK);
    wsock_free(ws);
    o.flags = WSOCK_NONBLOCKING;
    ws = wsock_new(WSOCK_CLIENT, "ws://127.0.0.1:1/", &o);
    CHECK_RESULT(wsock_receive(ws, text, 4, &got), WSOCK_INVALID_OPERATION);
    CHECK_RESULT(wsock_error(ws), WSOCK_OK);
    wsock_free(ws);
    ws = wsock_connect("ws://127.0.0.1:1/", &o);
    CHECK_RESULT(wsock_receive(ws, text, 4, &got), WSOCK_INVALID_OPERATION);
    CHECK_RESULT(wsock_feed(ws, text, 1), WSOCK_INVALID_OPERATION);
    CHECK_RESULT(wsock_next(ws, &e), WSOCK_INVALID_OPERATION);
    wsock_free(ws);
}

TEST(roles)
{
    wsock *ws = wsock_new(0, "ws://h/", NULL);
    CHECK_RESULT(wsock_error(ws), WSOCK_INVALID_PARAMETER);
    wsock_free(ws);
    ws = wsock_new(3, "ws://h/", NULL);
    CHECK_RESULT(wsock_error(ws), WSOCK_INVALID_PARAMETER);
    wsock_free(ws);
}

/* Every result has a name and a line of its own; others are answered too. */
TEST(names_of_results)
{
#define NAME(name, value, text)                                               \
    CHECK_INT(WSOCK_##name, value);                                           \
    CHECK_STR(wsock_result_name(value), "WSOCK_" #name);                      \
    CHECK_STR(wsock_result_text(value), text);
    WSOCK_RESULTS(NAME)
#undef NAME
    CHECK(wsock_result_name(-1000) && wsock_result_name(-1000)[0]);
    CHECK(wsock_result_text(1000) && wsock_result_text(1000)[0]);
    CHECK_INT(WSOCK_PROTOCOL_VERSION, 13);
}

/* 0 is the default, and the options in force have it filled in. */
TEST(defaults)
{
    wsock *ws = wsock_new(WSOCK_CLIENT, "ws://h/", NULL);
    const wsock_options *o = wsock_effective_options(ws);
    if (CHECK(o != NULL)) {
        CHECK_INT(o->connect_timeout, 10000);
        CHECK_INT(o->handshake_timeout, 10000);
        CHECK_INT(o->send_timeout, 30000);
        CHECK_INT(o->receive_timeout, WSOCK_NEVER);
        CHECK_INT(o->close_timeout, 10000);
        CHECK_INT(o->max_message, 16 * 1024 * 1024);
        CHECK_INT(o->max_header, 16 * 1024);
        CHECK_INT(o->receive_buffer, 64 * 1024);
        CHECK_INT(o->send_limit, 1024 * 1024);
        CHECK_INT(o->max_connections, 100000);
        CHECK_INT(o->backlog, 1024);
        CHECK_INT(o->flags, 0);
    }
    wsock_free(ws);
}

TEST(options_given_are_kept)
{
    static const char *const headers[] = { "A: b", NULL };
    wsock_options o = options_with(0);
    const wsock_options *e;
    char agent[] = "agent", origin[] = "https://o";
    wsock *ws;
    o.connect_timeout = 1;
    o.handshake_timeout = WSOCK_NEVER;
    o.send_timeout = 3;
    o.receive_timeout = 4;
    o.close_timeout = 5;
    o.max_message = WSOCK_UNLIMITED;
    o.max_header = 4000;
    o.receive_buffer = 5000;
    o.send_limit = 6000;
    o.headers = headers;
    o.user_agent = agent;
    o.origin = origin;
    o.user = &o;
    o.flags = WSOCK_PARTS;
    ws = wsock_new(WSOCK_CLIENT, "ws://h/", &o);
    memset(agent, 'X', 5); /* "Strings are copied" */
    memset(origin, 'X', 9);
    e = wsock_effective_options(ws);
    if (CHECK(e != NULL)) {
        CHECK_INT(e->connect_timeout, 1);
        CHECK_INT(e->handshake_timeout, WSOCK_NEVER);
        CHECK_INT(e->send_timeout, 3);
        CHECK_INT(e->receive_timeout, 4);
        CHECK_INT(e->close_timeout, 5);
        CHECK(e->max_message == WSOCK_UNLIMITED);
        CHECK_INT(e->max_header, 4000);
        CHECK_INT(e->receive_buffer, 5000);
        CHECK_INT(e->send_limit, 6000);
        CHECK(e->headers == headers);
        CHECK_INT(e->flags, WSOCK_PARTS);
        CHECK_STR(e->user_agent, "agent");
        CHECK_STR(e->origin, "https://o");
    }
    CHECK(wsock_user(ws) == &o);
    wsock_set_user(ws, ws);
    CHECK(wsock_user(ws) == ws);
    {
        bytes head = { 0 };
        take_output(ws, &head);
        CHECK(bytes_find(&head, "User-Agent: agent\r\n") != NULL);
        CHECK(bytes_find(&head, "Origin: https://o\r\n") != NULL);
        bytes_free(&head);
    }
    wsock_free(ws);
}

/* Options out of range are refused, and the line says so. */
TEST(options_out_of_range)
{
    int which;
    for (which = 0; which < 11; which++) {
        wsock_options o = options_with(0);
        static const char *const many[] = {
            "e0", "e1", "e2", "e3", "e4", "e5", "e6", "e7", "e8", "e9",
            "e10", "e11", "e12", "e13", "e14", "e15", "e16", NULL
        };
        static const char *const one[] = { "e", NULL };
        static const char *const bad[] = { "a;;", NULL };
        wsock *ws;
        switch (which) {
        case 0: o.connect_timeout = -2; break;
        case 1: o.handshake_timeout = -2; break;
        case 2: o.send_timeout = -100; break;
        case 3: o.receive_timeout = -2; break;
        case 4: o.close_timeout = -2; break;
        case 5: o.flags = 0x80000000u; break;
        case 6: o.backlog = -1; break;
        case 7: o.extensions = many; break; /* "at most 16" */
        case 8: o.extensions = one; o.reserved_bits = 1; break;
        case 9: o.extensions = bad; break;
        default: o.extensions = one; o.reserved_bits = 0x80; break;
        }
        test_note("option %d", which);
        ws = wsock_new(WSOCK_CLIENT, "ws://h/", &o);
        CHECK_RESULT(wsock_error(ws), WSOCK_INVALID_PARAMETER);
        CHECK_INT(wsock_why(ws)->phase, WSOCK_PHASE_SETUP);
        CHECK(strlen(wsock_error_text(ws)) > 5);
        wsock_free(ws);
    }
}

/* An account that is asked before anything has happened. */
TEST(why_of_a_healthy_connection)
{
    wsock *ws = core_open(WSOCK_CLIENT, NULL);
    const wsock_failure *why = wsock_why(ws);
    CHECK_RESULT(why->code, WSOCK_OK);
    CHECK(why->text != NULL);
    CHECK_STR(why->close_reason, "");
    CHECK_INT(why->close_sent, 0);
    CHECK_INT(why->close_received, 0);
    CHECK_INT(wsock_error(ws), 0);
    /* Without a transport there is nothing to flush to. */
    CHECK_RESULT(wsock_flush(ws), WSOCK_INVALID_OPERATION);
    wsock_free(ws);
}

/* A read window of more than 1 GiB is a mistake, for every role. */
TEST(a_receive_buffer_out_of_range)
{
    wsock_options o = options_with(0);
    wsock *ws;
    o.receive_buffer = ((size_t)1 << 30) + 1;
    ws = wsock_new(WSOCK_CLIENT, "ws://h/", &o);
    CHECK_RESULT(wsock_error(ws), WSOCK_INVALID_PARAMETER);
    wsock_free(ws);
    ws = wsock_new(WSOCK_SERVER, NULL, &o);
    CHECK_RESULT(wsock_error(ws), WSOCK_INVALID_PARAMETER);
    wsock_free(ws);
    o.receive_buffer = (size_t)1 << 30; /* inclusive */
    ws = wsock_new(WSOCK_CLIENT, "ws://h/", &o);
    CHECK_RESULT(wsock_error(ws), WSOCK_OK);
    wsock_free(ws);
}

/* A pointer that wsock_why() gave stays good until wsock_free(), in either
 * role, and the account at the end tells both close codes. */
TEST(why_of_a_closing_connection)
{
    int role;
    for (role = WSOCK_CLIENT; role <= WSOCK_SERVER; role++) {
        wsock *ws = core_open(role, NULL);
        const wsock_failure *healthy = wsock_why(ws), *why;
        const char *text = wsock_error_text(ws);
        bytes in = { 0 };
        test_note("role %d", role);
        frame_text(&in, FIN | 1, role == WSOCK_SERVER, "a reading call");
        feed_bytes(ws, &in, NULL);
        CHECK_RESULT(wsock_close(ws, 1001, "going"), WSOCK_OK);
        why = wsock_why(ws);
        CHECK_INT(why->close_sent, 1001);
        CHECK_INT(why->close_received, 0);
        bytes_clear(&in);
        frame_close(&in, role == WSOCK_SERVER, 4000, "so long");
        take_output(ws, NULL);
        feed_bytes(ws, &in, NULL);
        CHECK(wsock_why(ws) == why);
        CHECK_RESULT(why->code, WSOCK_OK);
        CHECK_INT(why->close_sent, 1001);
        CHECK_INT(why->close_received, 4000);
        CHECK_STR(why->close_reason, "so long");
        CHECK_RESULT(healthy->code, WSOCK_OK);
        CHECK_STR(healthy->text, text);
        wsock_free(ws);
        bytes_free(&in);
    }
}

static const test_case tests[] = {
    TEST_ENTRY(null_handles),
    TEST_ENTRY(null_servers),
    TEST_ENTRY(null_arguments),
    TEST_ENTRY(wrong_mode),
    TEST_ENTRY(roles),
    TEST_ENTRY(names_of_results),
    TEST_ENTRY(defaults),
    TEST_ENTRY(options_given_are_kept),
    TEST_ENTRY(options_out_of_range),
    TEST_ENTRY(why_of_a_healthy_connection),
    TEST_ENTRY(a_receive_buffer_out_of_range),
    TEST_ENTRY(why_of_a_closing_connection)
};

TEST_MAIN("api", tests)
