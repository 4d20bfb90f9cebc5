#include "ingest/source_url.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/srt_admission.h"

enum { LATENCY_MIN_MS = 20, LATENCY_MAX_MS = 8000 };

#define HOST_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_"
#define IPV6_CHARS "0123456789abcdefABCDEF:."

static const struct {
    const char *prefix;
    uint16_t port; /* 0: it must be said */
    enum source_scheme scheme;
} schemes[] = {
    {"srt://", 0, SOURCE_SRT},    {"rtmp://", 1935, SOURCE_RTMP},  {"rtmps://", 443, SOURCE_RTMPS},
    {"http://", 80, SOURCE_HTTP}, {"https://", 443, SOURCE_HTTPS}, {"file:", 0, SOURCE_FILE},
};

/* --- what is shown --- */

static bool ends_url(char c) {
    return (unsigned char)c <= ' ' || c == '\'' || c == '"' || c == '<' || c == '>';
}

/* From behind "://" to behind the last '@' before the path, if there is one. */
static const char *skip_user(const char *from, const char *end) {
    const char *host = from;
    for (const char *at = from; at < end && *at != '/' && *at != '?' && *at != '#'; at++)
        if (*at == '@')
            host = at + 1;
    return host;
}

/* Writes what is shown of the URL that goes on at `from`, behind "://"; its path may have a URL in it. */
static char *put_shown(char *out, const char *from, const char *end) {
    from = skip_user(from, end);
    while (from < end && *from != '?' && *from != '#') {
        bool nested = end - from > 3 && memcmp(from, "://", 3) == 0;
        *out++ = *from++;
        if (!nested)
            continue;
        *out++ = *from++;
        *out++ = *from++;
        from = skip_user(from, end);
    }
    if (from < end)
        *out++ = '?';
    return out;
}

void source_url_scrub(char *line) {
    char *out = line;
    const char *at = line;
    while (*at) {
        if (strncmp(at, "://", 3) != 0) {
            *out++ = *at++;
            continue;
        }
        const char *end = at + 3;
        while (*end && !ends_url(*end))
            end++;
        memmove(out, at, 3);
        out = put_shown(out + 3, at + 3, end);
        at = end;
    }
    *out = 0;
}

static void show(struct source_url *url) {
    char text[SOURCE_URL_MAX + 1];
    strcpy(text, url->text);
    if (url->scheme != SOURCE_FILE)
        source_url_scrub(text);
    snprintf(url->shown, sizeof url->shown, "%s", text);
}

/* --- SRT's query --- */

static int hex(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* False: it is longer than `size`, badly encoded, or has a zero in it. */
static bool decode(const char *text, size_t len, char *out, size_t size) {
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c == '%') {
            int high = i + 2 < len ? hex(text[i + 1]) : -1, low = high < 0 ? -1 : hex(text[i + 2]);
            if (low < 0)
                return false;
            c = (char)(high << 4 | low);
            i += 2;
        }
        if (!c || n + 1 >= size)
            return false;
        out[n++] = c;
    }
    out[n] = 0;
    return true;
}

static bool number(const char *text, uint32_t *ret_number) {
    size_t len = strlen(text);
    *ret_number = (uint32_t)strtoul(text, NULL, 10);
    return len > 0 && len <= 6 && strspn(text, "0123456789") == len;
}

static const char *set_parameter(struct source_url *url, const char *key, size_t key_len, const char *value,
                                 size_t value_len) {
    char text[SRT_STREAM_ID_MAX + 1];
    if (!decode(value, value_len, text, sizeof text))
        return "has a parameter that is too long or badly encoded";
#define IS(name) (key_len == sizeof(name) - 1 && !memcmp(key, name, key_len))
    if (IS("streamid")) {
        strcpy(url->srt.stream_id, text);
    } else if (IS("passphrase")) {
        if (strlen(text) < SRT_PASSPHRASE_MIN || strlen(text) > SRT_PASSPHRASE_MAX)
            return "has a passphrase that is not 10 to 79 characters long";
        strcpy(url->srt.passphrase, text);
    } else if (IS("pbkeylen")) {
        if (!number(text, &url->srt.key_bytes) ||
            (url->srt.key_bytes != 16 && url->srt.key_bytes != 24 && url->srt.key_bytes != 32))
            return "has a pbkeylen other than 16, 24 and 32";
    } else if (IS("latency")) {
        if (!number(text, &url->srt.latency_ms) || url->srt.latency_ms < LATENCY_MIN_MS ||
            url->srt.latency_ms > LATENCY_MAX_MS)
            return "has a latency that is not 20 to 8000 (ms)";
    } else if (IS("mode")) {
        if (strcmp(text, "caller") != 0)
            return "has a mode other than caller";
    } else {
        return "has a parameter other than streamid, passphrase, pbkeylen, latency and mode";
    }
#undef IS
    return NULL;
}

/* Only "&" separates, so that a stream id may have a "?" of its own. */
static const char *parse_srt(struct source_url *url, const char *rest) {
    url->srt.latency_ms = SOURCE_LATENCY_MS;
    if (*rest == '/')
        rest++;
    if (*rest && *rest != '?')
        return "has a path, which SRT doesn't know";
    while (*rest) {
        rest++;
        size_t len = strcspn(rest, "&"), key_len = strcspn(rest, "=");
        if (len && key_len >= len)
            return "has a parameter without a value";
        const char *why = len ? set_parameter(url, rest, key_len, rest + key_len + 1, len - key_len - 1) : NULL;
        if (why)
            return why;
        rest += len;
    }
    return NULL;
}

/* --- where it leads --- */

static const char *parse_port(struct source_url *url, const char *text, size_t len, uint16_t usual) {
    unsigned long port = usual;
    if (len > 0) {
        if (len > 6 || strspn(text + 1, "0123456789") < len - 1 || len == 1)
            return "has no port behind its colon";
        port = strtoul(text + 1, NULL, 10);
        if (port > UINT16_MAX)
            return "has a port beyond 65535";
    }
    url->port = (uint16_t)port;
    return port ? NULL : "has no port";
}

/* Reads host and port; *ret_rest is what follows. */
static const char *parse_authority(struct source_url *url, const char *at, uint16_t usual, const char **ret_rest) {
    size_t len = strcspn(at, "/?#");
    *ret_rest = at + len;
    for (size_t i = len; i > 0; i--)
        if (at[i - 1] == '@') {
            if (url->scheme != SOURCE_HTTP && url->scheme != SOURCE_HTTPS)
                return "has a user, which only http and https know";
            at += i;
            len -= i;
            break;
        }
    bool v6 = len > 0 && *at == '[';
    const char *host = at + v6;
    size_t host_len = strspn(host, v6 ? IPV6_CHARS : HOST_CHARS), past = host_len + v6;
    if (v6 && (host_len == 0 || host[host_len] != ']'))
        return "has an IPv6 address that doesn't end";
    past += v6;
    if (host_len == 0 || host_len > SOURCE_HOST_MAX || past > len)
        return "has no host";
    if (past < len && at[past] != ':')
        return "has a host with characters that names don't have";
    memcpy(url->host, host, host_len);
    url->host[host_len] = 0;
    return parse_port(url, at + past, len - past, usual);
}

/* There is no name server that libsrt's thread could wait for. */
static bool is_literal(const char *host) {
    uint8_t ip[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, host, ip) == 1 || inet_pton(AF_INET6, host, ip) == 1;
}

/* What would end it in a line, too, has to be encoded: nothing behind such a character could be told to be secret. */
static bool is_one(const char *text) {
    for (; *text; text++)
        if (ends_url(*text) || (unsigned char)*text > '~')
            return false;
    return true;
}

static const char *parse(const char *text, struct source_url *url) {
    const char *rest;
    size_t len = strlen(text);
    if (len > SOURCE_URL_MAX)
        return "is longer than 1024 bytes";
    strcpy(url->text, text);
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        size_t prefix = strlen(schemes[i].prefix);
        if (strncmp(text, schemes[i].prefix, prefix) != 0)
            continue;
        url->scheme = schemes[i].scheme;
        if (url->scheme == SOURCE_FILE)
            return text[prefix] ? NULL : "names no file";
        if (!is_one(text))
            return "has characters that a URL has only percent-encoded";
        const char *why = parse_authority(url, text + prefix, schemes[i].port, &rest);
        if (why)
            return why;
        if (url->scheme == SOURCE_SRT)
            return is_literal(url->host) ? parse_srt(url, rest)
                                         : "has a name as its host, where SRT needs an IP address";
        bool rtmp = url->scheme == SOURCE_RTMP || url->scheme == SOURCE_RTMPS;
        return rtmp && (*rest != '/' || !rest[1] || !strchr(rest + 1, '/')) ? "names no app and stream" : NULL;
    }
    return "begins with none of srt://, rtmp://, rtmps://, http://, https://";
}

int source_url_parse(const char *text, struct source_url *ret_url, const char **ret_why) {
    struct source_url url = {0};
    const char *why = parse(text, &url);
    if (why) {
        *ret_why = why;
        return -EINVAL;
    }
    show(&url);
    *ret_url = url;
    return 0;
}
