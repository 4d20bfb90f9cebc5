#include "common/base/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void address_key(const struct sockaddr *address, char out[ADDRESS_KEY_LEN]) {
    if (address->sa_family == AF_INET) {
        inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)address)->sin_addr, out, ADDRESS_KEY_LEN);
        return;
    }
    struct in6_addr v6 = ((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(&v6)) {
        inet_ntop(AF_INET, v6.s6_addr + 12, out, ADDRESS_KEY_LEN);
        return;
    }
    memset(v6.s6_addr + 8, 0, 8);
    inet_ntop(AF_INET6, &v6, out, ADDRESS_KEY_LEN);
}

static void map_ipv4(const void *ip, struct in6_addr *out) {
    memset(out, 0, sizeof *out);
    out->s6_addr[10] = out->s6_addr[11] = 0xff;
    memcpy(out->s6_addr + 12, ip, 4);
}

static bool same_prefix(const struct in6_addr *a, const struct in6_addr *b, unsigned bits) {
    unsigned whole = bits / 8, rest = bits % 8;
    uint8_t mask = (uint8_t)(0xff00 >> rest);
    return memcmp(a->s6_addr, b->s6_addr, whole) == 0 &&
           (!rest || (a->s6_addr[whole] & mask) == (b->s6_addr[whole] & mask));
}

int address_range_parse(const char *text, struct address_range *ret_range) {
    char ip[INET6_ADDRSTRLEN];
    uint8_t v4[4];
    const char *slash = strchr(text, '/');
    size_t len = slash ? (size_t)(slash - text) : strlen(text);
    if (len >= sizeof ip)
        return -EINVAL;
    memcpy(ip, text, len);
    ip[len] = '\0';
    bool is_v4 = inet_pton(AF_INET, ip, v4) == 1;
    struct address_range range;
    if (is_v4)
        map_ipv4(v4, &range.prefix);
    else if (inet_pton(AF_INET6, ip, &range.prefix) != 1)
        return -EINVAL;
    char *end = NULL;
    long most = is_v4 ? 32 : 128, bits = slash ? strtol(slash + 1, &end, 10) : most;
    if ((slash && (slash[1] < '0' || slash[1] > '9' || *end)) || bits > most)
        return -EINVAL;
    range.bits = (uint8_t)(is_v4 ? 96 + bits : bits);
    struct in6_addr cut = {0};
    memcpy(&cut, &range.prefix, range.bits / 8);
    if (range.bits % 8)
        cut.s6_addr[range.bits / 8] = range.prefix.s6_addr[range.bits / 8] & (uint8_t)(0xff00 >> range.bits % 8);
    if (memcmp(&cut, &range.prefix, sizeof cut) != 0)
        return -EINVAL;
    *ret_range = range;
    return 0;
}

bool address_in_range(const struct sockaddr *address, const struct address_range *range) {
    struct in6_addr ip;
    if (address->sa_family == AF_INET)
        map_ipv4(&((const struct sockaddr_in *)(const void *)address)->sin_addr, &ip);
    else
        ip = ((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    return same_prefix(&ip, &range->prefix, range->bits);
}
