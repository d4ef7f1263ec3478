/* A second unit with the API alone: the address of every function that the
 * header declares, so that one without a definition does not link. */
#include "../../wsock.h"
#include "../../wsock.h"

typedef void (*function)(void);

#define F(name) (function)name

int every_function(void);
int every_function(void)
{
    static const function all[] = {
        F(wsock_connect), F(wsock_new), F(wsock_dial), F(wsock_attach),
        F(wsock_free), F(wsock_memory_needed), F(wsock_send), F(wsock_sendv),
        F(wsock_shutdown), F(wsock_close), F(wsock_close_status),
        F(wsock_abort), F(wsock_receive), F(wsock_poll), F(wsock_flush),
        F(wsock_pause), F(wsock_feed), F(wsock_next), F(wsock_output),
        F(wsock_output_done), F(wsock_head_out), F(wsock_head_in),
        F(wsock_state), F(wsock_error), F(wsock_error_text), F(wsock_why),
        F(wsock_subprotocol), F(wsock_extensions), F(wsock_header),
        F(wsock_queued), F(wsock_peer), F(wsock_user), F(wsock_set_user),
        F(wsock_effective_options), F(wsock_result_name),
        F(wsock_result_text), F(wsock_listen), F(wsock_server_poll),
        F(wsock_accept), F(wsock_server_wake), F(wsock_server_close),
        F(wsock_server_free), F(wsock_server_port), F(wsock_server_count),
        F(wsock_server_error), F(wsock_server_why), F(wsock_broadcast),
        F(wsock_cancel), F(wsock_respond), F(wsock_rtt), F(wsock_server_add),
        F(wsock_server_timeout), F(wsock_server_watches), F(wsock_timeout),
        F(wsock_upgrade), F(wsock_wake), F(wsock_watches)
    };
    int i, n = 0;
    for (i = 0; i < (int)(sizeof all / sizeof all[0]); i++)
        n += all[i] != 0;
    return n;
}
