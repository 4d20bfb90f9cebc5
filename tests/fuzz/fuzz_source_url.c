/* URLs of sources, and lines in which some stand: what is shown has no secret, that is, no '@' before the path and no
 * query. */
#include "ingest/source_url.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_shown(const char *text) {
    for (const char *at = text; (at = strstr(at, "://")); at += 3) {
        const char *rest = at + 3;
        size_t url = strcspn(rest, " '\"<>\t\r\n"), host = strcspn(rest, "/?#"), query = strcspn(rest, "?#");
        if (host < url && memchr(rest, '@', host))
            abort();
        if (query + 1 < url && (unsigned char)rest[query + 1] > ' ')
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct source_url url;
    const char *why = NULL;
    char *text = malloc(size + 1); /* of its very size, so that nothing beyond is read unseen */
    if (!text)
        abort();
    if (size)
        memcpy(text, data, size);
    text[size] = 0;
    size_t len = strlen(text);
    if (source_url_parse(text, &url, &why) == 0) {
        if (strcmp(url.text, text) != 0 || (url.scheme != SOURCE_FILE && (!url.port || !url.host[0])))
            abort();
        if (url.scheme != SOURCE_FILE)
            check_shown(url.shown);
    } else if (!why) {
        abort();
    }
    source_url_scrub(text);
    if (strlen(text) > len)
        abort();
    free(text);
    return 0;
}
