/* Addresses of peers. */
#pragma once
#include <netinet/in.h>

enum { ADDRESS_KEY_LEN = INET6_ADDRSTRLEN };

/* Whom a limit per address counts together: one IPv4 address, also where it comes mapped into IPv6 ("192.0.2.7"), or one
 * IPv6 /64, which any subscriber has to himself ("2001:db8:1:2::"). AF_INET or AF_INET6. */
void address_key(const struct sockaddr *address, char out[ADDRESS_KEY_LEN]);
