#include "ingest/join_request.h"

#include <stdio.h>
#include <string.h>

#include "common/media/record.h"

static bool label_char(enum join_kind kind, char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           (c == '_' && kind == JOIN_RUNG);
}

static bool set_label(struct join_request *request, enum join_kind kind, const char *label, size_t len) {
    size_t most = kind == JOIN_AUDIO ? LANGUAGE_LEN - 1 : JOIN_LABEL_LEN - 1;
    if (request->kind != JOIN_NONE || !len || len > most)
        return false;
    for (size_t i = 0; i < len; i++)
        if (!label_char(kind, label[i]))
            return false;
    request->kind = kind;
    memcpy(request->label, label, len);
    request->label[len] = 0;
    return true;
}

static bool begins(const char *item, size_t len, const char *word) {
    return len >= strlen(word) && !memcmp(item, word, strlen(word));
}

bool join_request_parse(const char *query, size_t len, struct join_request *ret_request) {
    struct join_request request = {0};
    for (size_t i = 0, n; i < len; i += n + 1) {
        const char *item = query + i, *end = memchr(item, '&', len - i);
        n = end ? (size_t)(end - item) : len - i;
        if (begins(item, n, "rung=") && !set_label(&request, JOIN_RUNG, item + 5, n - 5))
            return false;
        if (begins(item, n, "audio=") && !set_label(&request, JOIN_AUDIO, item + 6, n - 6))
            return false;
    }
    *ret_request = request;
    return true;
}

void join_request_print(const struct join_request *request, char *out, size_t size) {
    static const char *const words[] = {[JOIN_NONE] = "", [JOIN_RUNG] = "rung=", [JOIN_AUDIO] = "audio="};
    snprintf(out, size, "%s%s", words[request->kind], request->label);
}

bool join_request_by_name(char *const *suffixes, uint32_t count, char *name, struct join_request *ret_request) {
    size_t len = strlen(name), longest = 0;
    for (uint32_t i = 0; i < count; i++) {
        size_t n = strlen(suffixes[i]);
        if (n > longest && n < len && !strcmp(name + len - n, suffixes[i]))
            longest = n;
    }
    const char *label = name + len - longest;
    size_t skip = longest > 1 && strchr("._~-", *label) ? 1 : 0;
    struct join_request request = {0};
    if (!longest || !set_label(&request, JOIN_RUNG, label + skip, longest - skip))
        return false;
    name[len - longest] = 0;
    *ret_request = request;
    return true;
}
