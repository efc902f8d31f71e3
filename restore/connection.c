#include "restore/connection.h"

#include <unistd.h>

int connection_open(const char *path, bool preempt, struct connection *ret,
                    struct error *err)
{
    cleanup_connection struct connection c = CONNECTION_NONE;
    int rc = channel_connect(path, &c.main, err);

    if (rc == 0 && preempt)
        rc = channel_connect(path, &c.urgent, err);
    if (rc == 0)
        *ret = connection_steal(&c);
    return rc;
}

void connection_close(struct connection *c)
{
    if (c->urgent >= 0)
        close(c->urgent);
    if (c->main >= 0)
        close(c->main);
    *c = CONNECTION_NONE;
}

struct connection connection_steal(struct connection *c)
{
    struct connection stolen = *c;

    *c = CONNECTION_NONE;
    return stolen;
}
