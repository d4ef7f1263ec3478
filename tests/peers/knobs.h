/* knobs.h - every number of struct wsock_options as an option of a program:
 * --max-memory BYTES is options.max_memory.  To be included after wsock.h. */
#include <stdlib.h>
#include <string.h>

static wsock_options options;

static const struct {
    const char *name;
    int *number;
    size_t *size;
} knobs[] = {
    { "--connect-timeout", &options.connect_timeout, NULL },
    { "--handshake-timeout", &options.handshake_timeout, NULL },
    { "--send-timeout", &options.send_timeout, NULL },
    { "--receive-timeout", &options.receive_timeout, NULL },
    { "--close-timeout", &options.close_timeout, NULL },
    { "--keepalive-interval", &options.keepalive_interval, NULL },
    { "--pong-timeout", &options.pong_timeout, NULL },
    { "--stall-timeout", &options.stall_timeout, NULL },
    { "--backlog", &options.backlog, NULL },
    { "--max-message", NULL, &options.max_message },
    { "--max-header", NULL, &options.max_header },
    { "--receive-buffer", NULL, &options.receive_buffer },
    { "--send-limit", NULL, &options.send_limit },
    { "--max-memory", NULL, &options.max_memory },
    { "--max-connections", NULL, &options.max_connections },
    { "--max-handshakes", NULL, &options.max_handshakes }
};

/* Is `name` one of them?  Then its value was taken from `value`, which is NULL
 * when there is none. */
static int knob(const char *name, const char *value)
{
    size_t k;
    for (k = 0; k < sizeof knobs / sizeof knobs[0]; k++) {
        if (!value || strcmp(name, knobs[k].name) != 0)
            continue;
        if (knobs[k].number)
            *knobs[k].number = atoi(value);
        else
            *knobs[k].size = (size_t)strtoull(value, NULL, 10);
        return 1;
    }
    return 0;
}
