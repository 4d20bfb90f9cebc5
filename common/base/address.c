#include "common/base/address.h"

#include <arpa/inet.h>
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
