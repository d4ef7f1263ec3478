/* queue.h - what the two programs with libwebsockets share: what is to be
 * sent waits in a list, for libwebsockets writes when it says so, one frame
 * at a time; and the pieces of a message are put together. */
#include <libwebsockets.h>
#include <stdlib.h>
#include <string.h>

struct frame {
    struct frame *next;
    int flags; /* enum lws_write_protocol and LWS_WRITE_NO_FIN */
    size_t size;
    unsigned char data[1]; /* behind LWS_PRE bytes of room */
};

struct side {
    struct frame *first, *last;
    int inside;  /* of a fragmented message that we send */
    int closing; /* send Close behind the last frame */
    int code;
    char reason[124];
    unsigned char *message;
    size_t size;
};

static int put(struct side *side, int flags, const void *data, size_t size)
{
    struct frame *f = (struct frame *)malloc(sizeof *f + LWS_PRE + size);
    if (!f)
        return -1;
    f->next = NULL;
    f->flags = flags;
    f->size = size;
    if (size)
        memcpy(f->data + LWS_PRE, data, size);
    if (side->last)
        side->last->next = f;
    else
        side->first = f;
    side->last = f;
    return 1;
}

/* A part of a message: all but the first are continuations. */
static int put_part(struct side *side, int binary, int more,
                    const void *data, size_t size)
{
    int flags = side->inside ? LWS_WRITE_CONTINUATION
                : binary     ? LWS_WRITE_BINARY
                             : LWS_WRITE_TEXT;
    side->inside = more;
    return put(side, more ? flags | LWS_WRITE_NO_FIN : flags, data, size);
}

/* The connection may be written to.  -1: it is to end. */
static int write_one(struct lws *wsi, struct side *side)
{
    struct frame *f = side->first;
    int n;
    if (f) {
        n = lws_write(wsi, f->data + LWS_PRE, f->size,
                      (enum lws_write_protocol)f->flags);
        side->first = f->next;
        if (!f->next)
            side->last = NULL;
        free(f);
        if (n < 0)
            return -1;
        if (side->first || side->closing)
            lws_callback_on_writable(wsi);
        return 0;
    }
    if (!side->closing)
        return 0;
    if (side->code)
        lws_close_reason(wsi, (enum lws_close_status)side->code,
                         (unsigned char *)side->reason,
                         strlen(side->reason));
    return -1;
}

static void set_close(struct side *side, int code, const char *reason)
{
    side->closing = 1;
    side->code = code;
    strncpy(side->reason, reason ? reason : "", sizeof side->reason - 1);
}

/* A piece came.  1: the message is whole. */
static int gather(struct lws *wsi, struct side *side, const void *data,
                  size_t size)
{
    if (lws_is_first_fragment(wsi))
        side->size = 0;
    side->message = (unsigned char *)realloc(side->message,
                                             side->size + size + 1);
    if (!side->message)
        abort();
    memcpy(side->message + side->size, data, size);
    side->size += size;
    side->message[side->size] = '\0';
    return lws_is_final_fragment(wsi);
}

static void release(struct side *side)
{
    while (side->first) {
        struct frame *f = side->first;
        side->first = f->next;
        free(f);
    }
    free(side->message);
    memset(side, 0, sizeof *side);
}
