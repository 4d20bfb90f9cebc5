/* What proxies say of who is there: the PROXY header and X-Forwarded-For. */
#include <stdlib.h>
#include <string.h>

#include "common/http/proxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sockaddr_in6 peer = {0};
    struct address_range trusted;
    int taken = http_proxy_parse(data, size, &peer);
    if (taken > 0 && ((size_t)taken > size || taken > HTTP_PROXY_HEADER_MAX))
        abort();
    char *text = malloc(size + 1);
    memcpy(text, data, size);
    text[size] = '\0';
    bool range = address_range_parse(text, &trusted) == 0;
    if (range && trusted.bits > 128)
        abort();
    http_proxy_forwarded(text, &trusted, range, &peer);
    free(text);
    return 0;
}
