/* The one file that holds the implementation; included twice, as it happens
 * when another header includes wsock.h as well. */
#define WSOCK_IMPLEMENTATION
#include "../../wsock.h"
#include "../../wsock.h"
