/* Acceptable is only what every reader of the file would take the same way: numbers are plain decimal (no 010, no 0x10,
 * no 1_000), addresses are literal, so that no start-up waits for a name server. */
#include "conf/value.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/address.h"
#include "conf/conf.h"
#include "conf/schema.h"

#define DIGITS       "0123456789"
#define NAME_CHARS   "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" DIGITS "._-"
#define STREAM_CHARS NAME_CHARS "~"

enum { STREAM_COMPONENT_MAX = 64 };

static void *member(struct conf *conf, const struct setting *setting) {
    return (char *)conf + setting->offset;
}

static char *copy(const char *text) {
    char *out = strdup(text);
    if (!out)
        abort();
    return out;
}

/* --- what is acceptable --- */

static bool parse_number(const char *text, uint64_t max, uint64_t *ret_number) {
    size_t len = strlen(text);
    if (len == 0 || strspn(text, DIGITS) != len || (text[0] == '0' && len > 1))
        return false;
    errno = 0;
    unsigned long long number = strtoull(text, NULL, 10);
    if (errno || number > max)
        return false;
    *ret_number = number;
    return true;
}

static bool name_acceptable(const char *text) {
    size_t len = strlen(text);
    return len > 0 && len <= SETTING_NAME_MAX && strspn(text, NAME_CHARS) == len;
}

static bool address_acceptable(const char *text) {
    const char *colon = strrchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : 0;
    char host[INET6_ADDRSTRLEN + 2];
    uint8_t ip[sizeof(struct in6_addr)];
    uint64_t port;
    if (len == 0 || len >= sizeof host || !parse_number(colon + 1, UINT16_MAX, &port))
        return false;
    memcpy(host, text, len);
    host[len] = 0;
    if (host[0] != '[')
        return inet_pton(AF_INET, host, ip) == 1;
    if (host[len - 1] != ']')
        return false;
    host[len - 1] = 0;
    return inet_pton(AF_INET6, host + 1, ip) == 1;
}

/* One of the two components of a stream's name, "show"; `begun` when more of it may follow. */
static bool component_acceptable(const char *text, size_t len, bool begun) {
    bool dots = strspn(text, ".") >= len && len <= 2;
    return len <= STREAM_COMPONENT_MAX && strspn(text, STREAM_CHARS) >= len && (begun || (len > 0 && !dots));
}

/* What some stream's name can match: "app/name", or how one begins: "app/na*", "ap*", "*". */
static bool stream_pattern_acceptable(const char *text, size_t len) {
    bool begun = len > 0 && text[len - 1] == '*';
    size_t plain = begun ? len - 1 : len, app = strcspn(text, "/:");
    if (app >= plain)
        return begun && component_acceptable(text, plain, true);
    return component_acceptable(text, app, false) && component_acceptable(text + app + 1, plain - app - 1, begun);
}

/* "KEY" or "app/name:KEY" (common/auth/publish_key.h). In a URL "&" ends a KEY, so one that has it would match nothing;
 * neither would one with a colon, if what stands before it were not a stream's name. */
static bool key_acceptable(const char *text) {
    const char *colon = strchr(text, ':');
    const char *secret = colon ? colon + 1 : text;
    size_t len = strlen(secret);
    for (const char *c = secret; *c; c++)
        if (*c <= ' ' || *c > '~' || *c == '&')
            return false;
    return len > 0 && len <= SETTING_KEY_MAX && (!colon || stream_pattern_acceptable(text, (size_t)(colon - text)));
}

/* The same form; a passphrase may have spaces. */
static bool passphrase_acceptable(const char *text) {
    const char *colon = strchr(text, ':');
    const char *secret = colon ? colon + 1 : text;
    size_t len = strlen(secret);
    for (const char *c = secret; *c; c++)
        if (*c < ' ' || *c > '~')
            return false;
    return len >= SETTING_PASSPHRASE_MIN && len <= SETTING_PASSPHRASE_MAX &&
           (!colon || stream_pattern_acceptable(text, (size_t)(colon - text)));
}

/* "480:1200": digits, within limits. NULL: it isn't one; else what comes after it. */
static const char *rung_end(const char *text, uint64_t *ret_height) {
    char number[16];
    uint64_t kbps;
    size_t len = strcspn(text, ":");
    if (text[len] != ':' || len >= sizeof number)
        return NULL;
    snprintf(number, sizeof number, "%.*s", (int)len, text);
    if (!parse_number(number, SETTING_RUNG_HEIGHT_MAX, ret_height) || *ret_height < SETTING_RUNG_HEIGHT_MIN)
        return NULL;
    text += len + 1;
    len = strcspn(text, " ");
    if (len >= sizeof number)
        return NULL;
    snprintf(number, sizeof number, "%.*s", (int)len, text);
    if (!parse_number(number, SETTING_RUNG_KBPS_MAX, &kbps) || kbps < SETTING_RUNG_KBPS_MIN)
        return NULL;
    return text + len;
}

static bool rungs_acceptable(const char *text) {
    uint64_t heights[SETTING_RUNGS_MAX];
    size_t count = 0;
    for (; text && *text == ' '; count++) {
        text += strspn(text, " ");
        if (count == SETTING_RUNGS_MAX || !(text = rung_end(text, &heights[count])))
            return false;
        for (size_t i = 0; i < count; i++)
            if (heights[i] == heights[count])
                return false;
    }
    return count > 0 && !*text;
}

/* "app/na* 480:1200 240:150", "app/name auto", "app/name none" (ingest/rungs.h). */
static bool ladder_acceptable(const char *text) {
    size_t len = strcspn(text, " ");
    const char *rungs = text + len;
    if (!stream_pattern_acceptable(text, len))
        return false;
    return !strcmp(rungs, " auto") || !strcmp(rungs, " none") || rungs_acceptable(rungs);
}

static bool file_acceptable(const char *text) {
    for (const char *c = text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 127)
            return false;
    return *text && strlen(text) <= SETTING_FILE_MAX;
}

static bool printable(const char *text) {
    for (const char *c = text; *c; c++)
        if (*c <= ' ' || *c > '~')
            return false;
    return true;
}

static bool secret_acceptable(const char *text) {
    size_t len = strlen(text);
    return len >= SETTING_SECRET_MIN && len <= SETTING_KEY_MAX && printable(text);
}

/* "scheme://host:port", of at most `len` bytes and nothing behind: paths are ours. */
static bool url_acceptable(const char *text, size_t len) {
    size_t scheme = strncmp(text, "http://", 7) == 0 ? 7 : strncmp(text, "https://", 8) == 0 ? 8 : 0;
    char rest[SETTING_URL_MAX + 1];
    uint64_t port;
    if (!scheme || len <= scheme || len > SETTING_URL_MAX)
        return false;
    memcpy(rest, text + scheme, len - scheme);
    rest[len - scheme] = 0;
    char *colon = strrchr(rest, ':');
    if (!colon || !parse_number(colon + 1, UINT16_MAX, &port) || port == 0)
        return false;
    if (rest[0] == '[')
        return address_acceptable(rest);
    *colon = 0;
    return *rest && strspn(rest, NAME_CHARS) == strlen(rest);
}

static bool costed_acceptable(const char *text) {
    const char *space = strchr(text, ' ');
    uint64_t cost;
    return url_acceptable(text, space ? (size_t)(space - text) : strlen(text)) &&
           (!space || parse_number(space + 1, 60000, &cost));
}

/* --- setting --- */

static bool set_number(struct conf *conf, const struct setting *setting, const char *text) {
    uint64_t number;
    if (!parse_number(text, setting->max, &number) || number < setting->min)
        return false;
    if (setting->size == sizeof(uint64_t))
        *(uint64_t *)member(conf, setting) = number;
    else
        *(uint32_t *)member(conf, setting) = (uint32_t)number;
    return true;
}

/* Enums are as wide as unsigned int (gcc and clang); the table's size says so. */
static bool set_choice(struct conf *conf, const struct setting *setting, const char *text) {
    for (unsigned i = 0; setting->choices[i]; i++) {
        if (strcmp(setting->choices[i], text) == 0) {
            memcpy(member(conf, setting), &i, setting->size);
            return true;
        }
    }
    return false;
}

static bool set_text(struct conf *conf, const struct setting *setting, const char *text) {
    char **out = member(conf, setting);
    free(*out);
    *out = copy(text);
    return true;
}

bool value_set(struct conf *conf, const struct setting *setting, const char *text) {
    switch (setting->type) {
    case SETTING_INT:
        return set_number(conf, setting, text);
    case SETTING_ENUM:
        return set_choice(conf, setting, text);
    case SETTING_NAME:
        return name_acceptable(text) && set_text(conf, setting, text);
    case SETTING_ADDRESS:
        return address_acceptable(text) && set_text(conf, setting, text);
    case SETTING_URL:
        return url_acceptable(text, strlen(text)) && set_text(conf, setting, text);
    case SETTING_SECRET:
        return secret_acceptable(text) && set_text(conf, setting, text);
    case SETTING_ROLE:
        *(bool *)member(conf, setting) = true;
        return true;
    default:
        return false;
    }
}

static bool range_acceptable(const char *text) {
    struct address_range range;
    return address_range_parse(text, &range) == 0;
}

static bool item_acceptable(const struct setting *setting, const char *text) {
    switch (setting->type) {
    case SETTING_KEYS:
        return key_acceptable(text);
    case SETTING_PASSPHRASES:
        return passphrase_acceptable(text);
    case SETTING_LADDER:
        return ladder_acceptable(text);
    case SETTING_FILES:
        return file_acceptable(text);
    case SETTING_RANGES:
        return range_acceptable(text);
    case SETTING_URLS:
        return url_acceptable(text, strlen(text));
    case SETTING_COSTED:
        return costed_acceptable(text);
    case SETTING_STREAMS:
        return stream_pattern_acceptable(text, strlen(text));
    default:
        return address_acceptable(text);
    }
}

int value_add(struct conf *conf, const struct setting *setting, const char *text, uint32_t line) {
    struct conf_list *list = member(conf, setting);
    bool may_repeat = setting->type == SETTING_FILES; /* two certificates may have one key */
    if (!item_acceptable(setting, text))
        return -EINVAL;
    for (size_t i = 0; i < list->count && !may_repeat; i++)
        if (strcmp(list->items[i], text) == 0)
            return -EEXIST;
    if (list->count == CONF_LIST_MAX)
        return -ENOSPC;
    list->lines[list->count] = line;
    list->items[list->count++] = copy(text);
    return 0;
}

bool value_is_list(const struct setting *setting) {
    switch (setting->type) {
    case SETTING_ADDRESSES:
    case SETTING_KEYS:
    case SETTING_PASSPHRASES:
    case SETTING_LADDER:
    case SETTING_FILES:
    case SETTING_RANGES:
    case SETTING_URLS:
    case SETTING_COSTED:
    case SETTING_STREAMS:
        return true;
    default:
        return false;
    }
}

void value_set_default(struct conf *conf, const struct setting *setting, bool fileless) {
    const char *text = fileless && setting->fileless ? setting->fileless : setting->fallback;
    if (!text)
        return;
    bool ok = value_is_list(setting) ? !value_add(conf, setting, text, 0) : value_set(conf, setting, text);
    if (!ok)
        abort(); /* the table contradicts itself */
}

void value_clear(struct conf *conf, const struct setting *setting) {
    if (setting->type == SETTING_NAME || setting->type == SETTING_ADDRESS || setting->type == SETTING_SECRET ||
        setting->type == SETTING_URL) {
        free(*(char **)member(conf, setting));
        *(char **)member(conf, setting) = NULL;
    } else if (value_is_list(setting)) {
        struct conf_list *list = member(conf, setting);
        while (list->count > 0)
            free(list->items[--list->count]);
    }
}
