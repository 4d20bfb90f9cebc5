#include "common/base/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
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

static int parse_port(const char *text, in_port_t *ret_port) {
    char *end;
    long port = strtol(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || port > 65535)
        return -EINVAL;
    *ret_port = htons((uint16_t)port);
    return 0;
}

int address_parse(const char *text, struct sockaddr_storage *ret_address, socklen_t *ret_len) {
    char host[INET6_ADDRSTRLEN];
    const char *colon = strrchr(text, ':');
    bool v6 = text[0] == '[';
    const char *start = text + v6, *end = colon ? colon - v6 : NULL;
    if (!end || end < start || (v6 && *end != ']') || (size_t)(end - start) >= sizeof host)
        return -EINVAL;
    memcpy(host, start, (size_t)(end - start));
    host[end - start] = '\0';
    memset(ret_address, 0, sizeof *ret_address);
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret_address;
    struct sockaddr_in *in = (struct sockaddr_in *)ret_address;
    ret_address->ss_family = v6 ? AF_INET6 : AF_INET;
    *ret_len = v6 ? sizeof *in6 : sizeof *in;
    if (inet_pton(ret_address->ss_family, host, v6 ? (void *)&in6->sin6_addr : (void *)&in->sin_addr) != 1)
        return -EINVAL;
    return parse_port(colon + 1, v6 ? &in6->sin6_port : &in->sin_port);
}

uint16_t address_port(const struct sockaddr_storage *address) {
    return ntohs(address->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)address)->sin6_port
                                                : ((const struct sockaddr_in *)address)->sin_port);
}

void address_text(const struct sockaddr_storage *address, char out[ADDRESS_TEXT_LEN]) {
    char host[INET6_ADDRSTRLEN] = "?";
    const struct in6_addr *v6 = &((const struct sockaddr_in6 *)address)->sin6_addr;
    bool is_v6 = address->ss_family == AF_INET6, mapped = is_v6 && IN6_IS_ADDR_V4MAPPED(v6);
    if (!is_v6)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)address)->sin_addr, host, sizeof host);
    else if (mapped)
        inet_ntop(AF_INET, v6->s6_addr + 12, host, sizeof host);
    else
        inet_ntop(AF_INET6, v6, host, sizeof host);
    snprintf(out, ADDRESS_TEXT_LEN, is_v6 && !mapped ? "[%s]:%u" : "%s:%u", host, address_port(address));
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
