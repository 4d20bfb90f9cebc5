#include "common/http/proxy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t signature[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

enum {
    V1_LINE_MAX = 107, /* with its CRLF */
    V2_HEAD = 16,
    V2_IPV4 = 12, /* bytes of two addresses and two ports */
    V2_IPV6 = 36,
};

static void set_ipv4(struct sockaddr_in6 *peer, const void *ip, in_port_t port) {
    *peer = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = port};
    peer->sin6_addr.s6_addr[10] = peer->sin6_addr.s6_addr[11] = 0xff;
    memcpy(peer->sin6_addr.s6_addr + 12, ip, 4);
}

static void set_ipv6(struct sockaddr_in6 *peer, const void *ip, in_port_t port) {
    *peer = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = port};
    memcpy(&peer->sin6_addr, ip, 16);
}

/* An address as text, either kind. */
static bool read_ip(const char *text, struct sockaddr_in6 *ret_peer) {
    uint8_t ip[16];
    if (inet_pton(AF_INET, text, ip) == 1)
        set_ipv4(ret_peer, ip, 0);
    else if (inet_pton(AF_INET6, text, ip) == 1)
        set_ipv6(ret_peer, ip, 0);
    else
        return false;
    return true;
}

static bool read_port(const char *text, in_port_t *ret_port) {
    char *end;
    long port = strtol(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || port > 65535)
        return false;
    *ret_port = htons((uint16_t)port);
    return true;
}

/* "PROXY TCP4 192.0.2.7 198.51.100.1 5121 80", without its CRLF. */
static int parse_line(char *line, struct sockaddr_in6 *peer) {
    char *words[6], *rest = NULL;
    int count = 0;
    for (char *word = strtok_r(line, " ", &rest); word && count < 6; word = strtok_r(NULL, " ", &rest))
        words[count++] = word;
    if (count >= 2 && !strcmp(words[1], "UNKNOWN"))
        return 0;
    struct sockaddr_in6 found, to;
    in_port_t to_port;
    if (count < 6 || (strcmp(words[1], "TCP4") && strcmp(words[1], "TCP6")) || !read_ip(words[2], &found) ||
        !read_ip(words[3], &to) || !read_port(words[4], &found.sin6_port) || !read_port(words[5], &to_port))
        return -EINVAL;
    if (IN6_IS_ADDR_V4MAPPED(&found.sin6_addr) != (words[1][3] == '4'))
        return -EINVAL;
    *peer = found;
    return 0;
}

static int parse_v1(const uint8_t *data, size_t len, struct sockaddr_in6 *peer) {
    static const char start[] = "PROXY ";
    char line[V1_LINE_MAX];
    size_t most = len < V1_LINE_MAX ? len : V1_LINE_MAX, fixed = sizeof start - 1;
    if (memcmp(data, start, len < fixed ? len : fixed) != 0)
        return -EINVAL;
    const uint8_t *lf = memchr(data, '\n', most);
    if (!lf)
        return len < V1_LINE_MAX ? 0 : -EINVAL;
    size_t size = (size_t)(lf - data) + 1;
    if (size < fixed + 2 || lf[-1] != '\r' || memchr(data, '\0', size))
        return -EINVAL;
    memcpy(line, data, size - 2);
    line[size - 2] = '\0';
    return parse_line(line, peer) ? -EINVAL : (int)size;
}

static int parse_v2(const uint8_t *data, size_t len, struct sockaddr_in6 *peer) {
    enum { LOCAL = 0x20, PROXY = 0x21, TCP4 = 0x11, TCP6 = 0x21 };
    if (memcmp(data, signature, len < sizeof signature ? len : sizeof signature) != 0)
        return -EINVAL;
    if (len < V2_HEAD)
        return 0;
    size_t size = V2_HEAD + ((size_t)data[14] << 8 | data[15]);
    if ((data[12] != LOCAL && data[12] != PROXY) || size > HTTP_PROXY_HEADER_MAX)
        return -EINVAL;
    if (len < size)
        return 0;
    const uint8_t *addresses = data + V2_HEAD;
    in_port_t port;
    if (data[12] == LOCAL)
        return (int)size;
    if (data[13] == TCP4 && size >= V2_HEAD + V2_IPV4) {
        memcpy(&port, addresses + 8, 2);
        set_ipv4(peer, addresses, port);
    } else if (data[13] == TCP6 && size >= V2_HEAD + V2_IPV6) {
        memcpy(&port, addresses + 32, 2);
        set_ipv6(peer, addresses, port);
    } else if (data[13] == TCP4 || data[13] == TCP6) {
        return -EINVAL;
    }
    return (int)size;
}

int http_proxy_parse(const uint8_t *data, size_t len, struct sockaddr_in6 *peer) {
    if (len == 0)
        return 0;
    return data[0] == 'P' ? parse_v1(data, len, peer) : parse_v2(data, len, peer);
}

/* One entry: an address, maybe with a port: "192.0.2.7", "192.0.2.7:80", "2001:db8::1", "[2001:db8::1]:80". */
static bool read_entry(const char *entry, size_t len, struct sockaddr_in6 *ret_peer) {
    char text[INET6_ADDRSTRLEN + 10];
    while (len && (entry[len - 1] == ' ' || entry[len - 1] == '\t'))
        len--;
    while (len && (*entry == ' ' || *entry == '\t'))
        entry++, len--;
    if (len == 0 || len >= sizeof text)
        return false;
    memcpy(text, entry, len);
    text[len] = '\0';
    char *bracket = strchr(text, ']'), *colon = strchr(text, ':');
    if (text[0] == '[' && bracket)
        *bracket = '\0';
    else if (colon && !strchr(colon + 1, ':'))
        *colon = '\0';
    return read_ip(text + (text[0] == '['), ret_peer);
}

bool http_proxy_forwarded(const char *value, const struct address_range *trusted, size_t trusted_count,
                          struct sockaddr_in6 *ret_peer) {
    size_t end = strlen(value);
    for (;;) {
        size_t start = end;
        while (start > 0 && value[start - 1] != ',')
            start--;
        if (!read_entry(value + start, end - start, ret_peer))
            return false;
        bool ours = false;
        for (size_t i = 0; i < trusted_count && !ours; i++)
            ours = address_in_range((const struct sockaddr *)ret_peer, &trusted[i]);
        if (!ours || start == 0)
            return true;
        end = start - 1;
    }
}
