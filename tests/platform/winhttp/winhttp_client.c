/* winhttp_client.c - the scenarios by WinHTTP. */
#include <windows.h>
#include <winhttp.h>
#include "scenarios.h"

/* What can complete. */
enum { REQUEST, SEND, RECEIVE, SHUTDOWN, CLOSE, GONE, SLOTS };

typedef struct slot {
    HANDLE event;
    DWORD error, bytes;
    int type;
} slot;

static struct {
    HINTERNET session, connection, request, socket;
    int asynchronous;
    int plain; /* completions are not shown */
    int http_status;
    char body[256];
    DWORD body_size;
    void *user;
    slot slots[SLOTS];
} c;

/* ------------------------------------------------------------ callbacks -- */

static void complete(int which, DWORD error, DWORD bytes, int type)
{
    slot *s = &c.slots[which];
    s->error = error;
    s->bytes = bytes;
    s->type = type;
    SetEvent(s->event);
}

static int slot_of(int operation)
{
    switch (operation) {
    case WINHTTP_WEB_SOCKET_SEND_OPERATION: return SEND;
    case WINHTTP_WEB_SOCKET_RECEIVE_OPERATION: return RECEIVE;
    case WINHTTP_WEB_SOCKET_CLOSE_OPERATION: return CLOSE;
    default: return SHUTDOWN;
    }
}

static void failed(const void *info)
{
    const WINHTTP_WEB_SOCKET_ASYNC_RESULT *r =
        (const WINHTTP_WEB_SOCKET_ASYNC_RESULT *)info;
    int which = c.socket ? slot_of(r->Operation) : REQUEST;
    complete(which, r->AsyncResult.dwError, 0, -1);
}

static void CALLBACK callback(HINTERNET handle, DWORD_PTR user, DWORD what,
                              void *info, DWORD size)
{
    const WINHTTP_WEB_SOCKET_STATUS *s =
        (const WINHTTP_WEB_SOCKET_STATUS *)info;
    (void)user;
    switch (what) {
    case WINHTTP_CALLBACK_STATUS_SENDREQUEST_COMPLETE:
    case WINHTTP_CALLBACK_STATUS_HEADERS_AVAILABLE:
        complete(REQUEST, NO_ERROR, 0, 0);
        break;
    case WINHTTP_CALLBACK_STATUS_READ_COMPLETE:
        if (c.socket)
            complete(RECEIVE, NO_ERROR, s->dwBytesTransferred, s->eBufferType);
        else
            complete(REQUEST, NO_ERROR, size, 0);
        break;
    case WINHTTP_CALLBACK_STATUS_WRITE_COMPLETE:
        complete(SEND, NO_ERROR, s->dwBytesTransferred, s->eBufferType);
        break;
    case WINHTTP_CALLBACK_STATUS_SHUTDOWN_COMPLETE:
        complete(SHUTDOWN, NO_ERROR, 0, 0);
        break;
    case WINHTTP_CALLBACK_STATUS_CLOSE_COMPLETE:
        complete(CLOSE, NO_ERROR, 0, 0);
        break;
    case WINHTTP_CALLBACK_STATUS_REQUEST_ERROR:
        failed(info);
        break;
    case WINHTTP_CALLBACK_STATUS_HANDLE_CLOSING:
        if (handle == c.socket || (!c.socket && handle == c.request))
            SetEvent(c.slots[GONE].event);
        break;
    default:
        break;
    }
}

/* The result of what was begun with `r`. */
static DWORD wait_for(int which, DWORD r)
{
    if (!c.asynchronous || (r != NO_ERROR && r != ERROR_IO_PENDING))
        return r;
    if (WaitForSingleObject(c.slots[which].event, 20000) != WAIT_OBJECT_0)
        return WAIT_TIMEOUT;
    return c.slots[which].error;
}

static DWORD wait_bool(BOOL done)
{
    return wait_for(REQUEST, done ? NO_ERROR : GetLastError());
}

/* ----------------------------------------------------------- connecting -- */

static DWORD set_number(HINTERNET handle, DWORD option, int value)
{
    DWORD v = (DWORD)value;
    if (value && !WinHttpSetOption(handle, option, &v, sizeof v))
        return GetLastError();
    return NO_ERROR;
}

static DWORD open_session(const setup *s)
{
    DWORD flags = c.asynchronous ? WINHTTP_FLAG_ASYNC : 0;
    int i;
    for (i = 0; i < SLOTS; i++)
        c.slots[i].event = CreateEventW(NULL, FALSE, FALSE, NULL);
    c.session = WinHttpOpen(L"test", WINHTTP_ACCESS_TYPE_NO_PROXY, NULL, NULL,
                            flags);
    if (!c.session)
        return GetLastError();
    if (c.asynchronous)
        WinHttpSetStatusCallback(c.session, callback,
                                 WINHTTP_CALLBACK_FLAG_ALL_NOTIFICATIONS, 0);
    WinHttpSetTimeouts(c.session, 10000,
                       s->connect_timeout ? s->connect_timeout : 10000, 30000,
                       s->response_timeout ? s->response_timeout : 30000);
    return NO_ERROR;
}

static void accept_anyone(void)
{
    set_number(c.request, WINHTTP_OPTION_SECURITY_FLAGS,
               SECURITY_FLAG_IGNORE_UNKNOWN_CA
                   | SECURITY_FLAG_IGNORE_CERT_DATE_INVALID
                   | SECURITY_FLAG_IGNORE_CERT_CN_INVALID
                   | SECURITY_FLAG_IGNORE_CERT_WRONG_USAGE);
}

/* WinHTTP knows WebSocket URLs by http:// and https://. */
static DWORD open_request(const char *url, const setup *s)
{
    WCHAR wide[4096], host[256];
    URL_COMPONENTS parts;
    DWORD never = WINHTTP_OPTION_REDIRECT_POLICY_NEVER, r;
    const char *tail = !strncmp(url, "ws", 2) ? url + 2 : url;
    wsprintfW(wide, L"%hs%hs", tail == url ? "" : "http", tail);
    memset(&parts, 0, sizeof parts);
    parts.dwStructSize = sizeof parts;
    parts.lpszHostName = host;
    parts.dwHostNameLength = 256;
    parts.dwUrlPathLength = (DWORD)-1;
    if (!WinHttpCrackUrl(wide, 0, 0, &parts))
        return GetLastError();
    c.connection = WinHttpConnect(c.session, host, parts.nPort, 0);
    if (!c.connection)
        return GetLastError();
    c.request = WinHttpOpenRequest(
        c.connection, NULL, parts.lpszUrlPath, NULL, NULL, NULL,
        parts.nScheme == INTERNET_SCHEME_HTTPS ? WINHTTP_FLAG_SECURE : 0);
    if (!c.request || !WinHttpSetOption(c.request,
                                        WINHTTP_OPTION_UPGRADE_TO_WEB_SOCKET,
                                        NULL, 0))
        return GetLastError();
    WinHttpSetOption(c.request, WINHTTP_OPTION_REDIRECT_POLICY, &never,
                     sizeof never);
    if (s->anyone)
        accept_anyone();
    set_number(c.request, WINHTTP_OPTION_RECEIVE_RESPONSE_TIMEOUT,
               s->response_timeout);
    r = set_number(c.request, WINHTTP_OPTION_WEB_SOCKET_RECEIVE_BUFFER_SIZE,
                   s->receive_buffer);
    return r ? r : set_number(c.request,
                              WINHTTP_OPTION_WEB_SOCKET_SEND_BUFFER_SIZE,
                              s->send_buffer);
}

static void add_header(const char *name, const char *value)
{
    WCHAR text[256];
    wsprintfW(text, L"%hs%hs", name, value);
    WinHttpAddRequestHeaders(c.request, text, (DWORD)-1,
                             WINHTTP_ADDREQ_FLAG_ADD);
}

static DWORD send_request(const setup *s)
{
    if (s->header)
        add_header("", s->header);
    if (s->subprotocol)
        add_header("Sec-WebSocket-Protocol: ", s->subprotocol);
    return wait_bool(WinHttpSendRequest(c.request, NULL, 0, NULL, 0, 0,
                                        (DWORD_PTR)s->user));
}

static DWORD upgrade(const setup *s)
{
    DWORD r;
    c.socket = WinHttpWebSocketCompleteUpgrade(c.request, (DWORD_PTR)s->user);
    if (!c.socket)
        return GetLastError();
    r = set_number(c.socket, WINHTTP_OPTION_WEB_SOCKET_CLOSE_TIMEOUT,
                   s->close_timeout);
    return r ? r : set_number(c.socket,
                              WINHTTP_OPTION_WEB_SOCKET_KEEPALIVE_INTERVAL,
                              s->keepalive);
}

static DWORD read_body(void)
{
    DWORD r;
    r = wait_bool(WinHttpReadData(c.request, c.body, sizeof c.body,
                                  c.asynchronous ? NULL : &c.body_size));
    if (c.asynchronous)
        c.body_size = c.slots[REQUEST].bytes;
    return r ? r : STATUS_IS_NOT_101;
}

static DWORD read_status(void)
{
    DWORD number = 0, size = sizeof number;
    if (!WinHttpQueryHeaders(c.request,
                             WINHTTP_QUERY_STATUS_CODE
                                 | WINHTTP_QUERY_FLAG_NUMBER,
                             NULL, &number, &size, NULL))
        return GetLastError();
    c.http_status = (int)number;
    return NO_ERROR;
}

static DWORD begin_connect(const char *url, const setup *s)
{
    DWORD r;
    memset(&c, 0, sizeof c);
    c.asynchronous = s->asynchronous || s->pending;
    c.plain = !s->asynchronous;
    r = open_session(s);
    if (r == NO_ERROR)
        r = open_request(url, s);
    return r ? r : send_request(s);
}

int client_connect(const char *url, const setup *s)
{
    DWORD r = begin_connect(url, s);
    if (r == NO_ERROR)
        r = wait_bool(WinHttpReceiveResponse(c.request, NULL));
    if (r == NO_ERROR)
        r = read_status();
    if (r == NO_ERROR)
        r = c.http_status == 101 ? upgrade(s) : read_body();
    return (int)r;
}

void client_connect_begin(const char *url, const setup *s)
{
    if (begin_connect(url, s) == NO_ERROR)
        WinHttpReceiveResponse(c.request, NULL);
}

int client_connect_end(void)
{
    return (int)wait_for(REQUEST, NO_ERROR);
}

void client_free(void)
{
    if (c.request && c.socket)
        WinHttpCloseHandle(c.request);
    if (c.socket)
        WinHttpCloseHandle(c.socket);
    else if (c.request)
        WinHttpCloseHandle(c.request);
    if (c.asynchronous && (c.socket || c.request))
        WaitForSingleObject(c.slots[GONE].event, 20000);
    if (c.connection)
        WinHttpCloseHandle(c.connection);
    if (c.session)
        WinHttpCloseHandle(c.session);
}

int client_http_status(void)
{
    return c.http_status;
}

size_t client_body(char *text, size_t size)
{
    size_t n = c.body_size < size ? c.body_size : size;
    memcpy(text, c.body, n);
    return n;
}

void client_header(const char *name, char *text, size_t size)
{
    WCHAR wide[64], value[128];
    DWORD bytes = sizeof value;
    text[0] = 0;
    wsprintfW(wide, L"%hs", name);
    if (WinHttpQueryHeaders(c.request, WINHTTP_QUERY_CUSTOM, wide, value,
                            &bytes, NULL))
        WideCharToMultiByte(CP_UTF8, 0, value, -1, text, (int)size, NULL,
                            NULL);
}

void *client_user(void)
{
    DWORD_PTR user = 0;
    DWORD size = sizeof user;
    WinHttpQueryOption(c.socket, WINHTTP_OPTION_CONTEXT_VALUE, &user, &size);
    return (void *)user;
}

/* --------------------------------------------------- sending, receiving -- */

static int type_of(unsigned kind)
{
    switch (kind) {
    case TEXT: return WINHTTP_WEB_SOCKET_UTF8_MESSAGE_BUFFER_TYPE;
    case BINARY: return WINHTTP_WEB_SOCKET_BINARY_MESSAGE_BUFFER_TYPE;
    case TEXT | FRAGMENT: return WINHTTP_WEB_SOCKET_UTF8_FRAGMENT_BUFFER_TYPE;
    case BINARY | FRAGMENT:
        return WINHTTP_WEB_SOCKET_BINARY_FRAGMENT_BUFFER_TYPE;
    case CLOSING: return WINHTTP_WEB_SOCKET_CLOSE_BUFFER_TYPE;
    default: return 99;
    }
}

static unsigned kind_of(int type)
{
    static const unsigned kinds[] = { BINARY, BINARY | FRAGMENT, TEXT,
                                      TEXT | FRAGMENT, CLOSING };
    return type >= 0 && type <= 4 ? kinds[type] : NO_KIND;
}

int client_send_begin(unsigned kind, const void *data, size_t size)
{
    WINHTTP_WEB_SOCKET_BUFFER_TYPE type =
        (WINHTTP_WEB_SOCKET_BUFFER_TYPE)type_of(kind);
    return (int)WinHttpWebSocketSend(c.socket, type, (void *)data,
                                     (DWORD)size);
}

/* Asynchronously, a send's own status says what was sent. */
int client_send(unsigned kind, const void *data, size_t size, status *done)
{
    DWORD begun = (DWORD)client_send_begin(kind, data, size);
    DWORD r = wait_for(SEND, begun);
    if (!c.plain && begun == NO_ERROR) {
        if (r == NO_ERROR) {
            done->kind = kind_of(c.slots[SEND].type);
            done->bytes = c.slots[SEND].bytes;
        } else {
            done->operation = SENDING;
        }
    }
    return (int)r;
}

static int received(DWORD r, status *got)
{
    r = wait_for(RECEIVE, r);
    if (got && r == NO_ERROR) {
        got->kind = kind_of(c.slots[RECEIVE].type);
        got->bytes = c.slots[RECEIVE].bytes;
    } else if (got && c.asynchronous && c.slots[RECEIVE].type < 0) {
        got->operation = RECEIVING;
    }
    return (int)r;
}

/* A blocking client has no slots in use: those of the callback serve. */
static DWORD receive_into(void *data, size_t size)
{
    DWORD bytes = 0, r;
    WINHTTP_WEB_SOCKET_BUFFER_TYPE type = 0;
    r = WinHttpWebSocketReceive(c.socket, data, (DWORD)size, &bytes, &type);
    if (!c.asynchronous) {
        c.slots[RECEIVE].bytes = bytes;
        c.slots[RECEIVE].type = type;
    }
    return r;
}

int client_receive(void *data, size_t size, status *got)
{
    return received(receive_into(data, size), got);
}

int client_receive_begin(void *data, size_t size)
{
    return (int)receive_into(data, size);
}

int client_receive_end(status *got)
{
    return received(NO_ERROR, got);
}

/* -------------------------------------------------------------- closing -- */

int client_shutdown(int code, const char *reason)
{
    DWORD size = reason ? (DWORD)strlen(reason) : 0;
    return (int)wait_for(SHUTDOWN,
                         WinHttpWebSocketShutdown(c.socket, (USHORT)code,
                                                  (void *)reason, size));
}

int client_close(int code, const char *reason, status *done)
{
    DWORD size = reason ? (DWORD)strlen(reason) : 0;
    DWORD begun = WinHttpWebSocketClose(c.socket, (USHORT)code,
                                        (void *)reason, size);
    DWORD r = wait_for(CLOSE, begun);
    if (begun == NO_ERROR && r != NO_ERROR)
        done->operation = CLOSE_OPERATION;
    return (int)r;
}

int client_close_status(int *code, char *reason, size_t size, size_t *needed)
{
    USHORT number = 0;
    DWORD bytes = 0, r;
    r = WinHttpWebSocketQueryCloseStatus(c.socket, &number, reason,
                                         (DWORD)size, &bytes);
    *code = number;
    *needed = bytes;
    return (int)r;
}

/* -------------------------------------------------------------- results -- */

#define RESULT(word, theirs, ours) { word, #theirs, theirs },
static const struct {
    const char *word, *name;
    DWORD code;
} results[] = {
    CLIENT_RESULTS(RESULT)
    { "insufficient buffer", "ERROR_INSUFFICIENT_BUFFER",
      ERROR_INSUFFICIENT_BUFFER },
    { "incorrect handle type", "ERROR_WINHTTP_INCORRECT_HANDLE_TYPE",
      ERROR_WINHTTP_INCORRECT_HANDLE_TYPE },
    { "invalid handle", "ERROR_INVALID_HANDLE", ERROR_INVALID_HANDLE },
    { "invalid option", "ERROR_WINHTTP_INVALID_OPTION",
      ERROR_WINHTTP_INVALID_OPTION },
    { "nothing for 20 s", "WAIT_TIMEOUT", WAIT_TIMEOUT }
};

static const char *result_of(int result, int name)
{
    static char number[32];
    size_t i;
    for (i = 0; i < sizeof results / sizeof results[0]; i++)
        if (results[i].code == (DWORD)result)
            return name ? results[i].name : results[i].word;
    sprintf(number, "error %d", result);
    return number;
}

const char *client_name(int result)
{
    return result_of(result, 1);
}

const char *client_word(int result)
{
    return result_of(result, 0);
}
