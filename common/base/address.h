/* Addresses of peers. */
#pragma once
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

enum { ADDRESS_KEY_LEN = INET6_ADDRSTRLEN };

/* Whom a limit per address counts together: one IPv4 address, also where it comes mapped into IPv6 ("192.0.2.7"), or one
 * IPv6 /64, which any subscriber has to himself ("2001:db8:1:2::"). AF_INET or AF_INET6. */
void address_key(const struct sockaddr *address, char out[ADDRESS_KEY_LEN]);

/* With a port: "192.0.2.1:80" or "[2001:db8::1]:80", literal. 0 or -EINVAL. */
int address_parse(const char *text, struct sockaddr_storage *ret_address, socklen_t *ret_len);
enum { ADDRESS_TEXT_LEN = 64 };
/* The same the other way; IPv4 that comes mapped into IPv6 as IPv4. AF_INET or AF_INET6. */
void address_text(const struct sockaddr_storage *address, char out[ADDRESS_TEXT_LEN]);
uint16_t address_port(const struct sockaddr_storage *address);

/* A block of addresses: "192.0.2.0/24", "2001:db8::/32", or one address. IPv4 is kept mapped into IPv6. */
struct address_range {
    struct in6_addr prefix;
    uint8_t bits; /* of the prefix, 0 to 128 */
};
/* 0 or -EINVAL; bits beyond the prefix must be zero. */
int address_range_parse(const char *text, struct address_range *ret_range);
bool address_in_range(const struct sockaddr *address, const struct address_range *range);
