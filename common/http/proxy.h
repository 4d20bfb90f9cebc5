/* Who is really there, when a proxy stands in between: the PROXY protocol (haproxy.org, proxy-protocol.txt 2020, versions 1
 * and 2), which a proxy that carries bytes puts before a connection's first, and X-Forwarded-For, which one that speaks HTTP
 * adds to requests. Pure. Both are to be believed only of trusted proxies. */
#pragma once
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/address.h"

enum { HTTP_PROXY_HEADER_MAX = 536 }; /* of version 1: 107; of version 2 with all the fields that we skip: enough */

/* Parses the header at the start of `data`. Bytes that it takes, 0 when there must be more, or -EINVAL. `peer` (IPv4 as a
 * mapped address) is left alone where the header names nobody: health checks of the proxy's own (LOCAL, UNKNOWN). */
int http_proxy_parse(const uint8_t *data, size_t len, struct sockaddr_in6 *peer);

/* The client's address by a value of X-Forwarded-For: the last that isn't a trusted proxy's own. False when there is none
 * that can be read: then the peer is all that is known. The port is 0. */
bool http_proxy_forwarded(const char *value, const struct address_range *trusted, size_t trusted_count,
                          struct sockaddr_in6 *ret_peer);
