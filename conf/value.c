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
#include "common/base/language_names.h"
#include "conf/conf.h"
#include "conf/schema.h"

#define DIGITS       "0123456789"
#define LETTERS      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define NAME_CHARS   LETTERS DIGITS "._-"
#define SUFFIX_CHARS LETTERS DIGITS "_-"
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

/* "app/na* de", "app/name zh-Hans 简体" (ingest/subtitles.h). */
static bool subtitles_acceptable(const char *text) {
    size_t pattern = strcspn(text, " ");
    const char *tag = text + pattern + (text[pattern] == ' ');
    size_t len = strcspn(tag, " ");
    const char *name = tag + len + (tag[len] == ' ');
    return stream_pattern_acceptable(text, pattern) && language_tag_ok(tag, len) && (!tag[len] || *name) &&
           *name != ' ' && language_label_ok(name);
}

static bool file_acceptable(const char *text);

static bool clip_acceptable(const char *text) {
    size_t len = strcspn(text, " ");
    return text[len] && text[len + 1] == '/' && file_acceptable(text + len + 1) && stream_pattern_acceptable(text, len);
}

/* Two names, which are not one. */
static bool pair_acceptable(const char *text) {
    const char *space = strchr(text, ' ');
    size_t len = space ? (size_t)(space - text) : 0;
    if (!len || strchr(text, '*') || (strlen(space + 1) == len && strncmp(text, space + 1, len) == 0))
        return false;
    return stream_pattern_acceptable(text, len) && stream_pattern_acceptable(space + 1, strlen(space + 1));
}

static bool printable(const char *text, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (text[i] <= ' ' || text[i] > '~')
            return false;
    return true;
}

/* What the URL is about is checked by who knows its schemes (sources.h). */
static bool source_acceptable(const char *text) {
    size_t name = strcspn(text, " "), app = strcspn(text, "/");
    const char *url = text + name + (text[name] == ' ');
    size_t len = strcspn(url, " ");
    return app < name && component_acceptable(text, app, false) &&
           component_acceptable(text + app + 1, name - app - 1, false) && len > 0 && printable(url, len) &&
           (!url[len] || strcmp(url + len, " on-demand") == 0);
}

/* Digits up to one of `ends`, within limits. NULL: they aren't; else what comes after them. */
static const char *number_end(const char *text, const char *ends, uint64_t min, uint64_t max, uint64_t *ret_number) {
    char number[16];
    size_t len = strcspn(text, ends);
    if (len >= sizeof number)
        return NULL;
    snprintf(number, sizeof number, "%.*s", (int)len, text);
    return parse_number(number, max, ret_number) && *ret_number >= min ? text + len : NULL;
}

/* "480:1200", "240@15:150:veryfast". NULL: it isn't one; else what comes after it. */
static const char *rung_end(const char *text, uint64_t *ret_height) {
    uint64_t fps, kbps;
    text = number_end(text, "@:", SETTING_RUNG_HEIGHT_MIN, SETTING_RUNG_HEIGHT_MAX, ret_height);
    if (text && *text == '@')
        text = number_end(text + 1, ":", SETTING_RUNG_FPS_MIN, SETTING_RUNG_FPS_MAX, &fps);
    if (!text || *text != ':')
        return NULL;
    text = number_end(text + 1, ": ", SETTING_RUNG_KBPS_MIN, SETTING_RUNG_KBPS_MAX, &kbps);
    if (!text || *text != ':')
        return text;
    size_t len = strcspn(++text, " ");
    for (const char *const *preset = schema_presets; *preset; preset++)
        if (strlen(*preset) == len && !strncmp(*preset, text, len))
            return text + len;
    return NULL;
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

/* "app/na* 480:1200 240@15:150", "app/name auto", "app/name none" (ingest/rungs.h). */
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

static bool secret_acceptable(const char *text) {
    size_t len = strlen(text);
    return len >= SETTING_SECRET_MIN && len <= SETTING_KEY_MAX && printable(text, len);
}

/* What is behind a scheme that `schemes` names; NULL when it begins with none of them. */
static const char *behind_scheme(const char *text, const char *const *schemes) {
    for (; *schemes; schemes++)
        if (strncmp(text, *schemes, strlen(*schemes)) == 0)
            return text + strlen(*schemes);
    return NULL;
}

/* "scheme://host:port", of at most `len` bytes and nothing behind: paths are ours. */
static bool node_acceptable(const char *text, size_t len, const char *const *schemes) {
    const char *host = behind_scheme(text, schemes);
    size_t scheme = host ? (size_t)(host - text) : 0;
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

static bool url_acceptable(const char *text, size_t len) {
    static const char *const schemes[] = {"http://", "https://", NULL};
    return node_acceptable(text, len, schemes);
}

static bool rtmp_url_acceptable(const char *text) {
    static const char *const schemes[] = {"rtmp://", "rtmps://", NULL};
    return node_acceptable(text, strlen(text), schemes);
}

static bool costed_acceptable(const char *text) {
    const char *space = strchr(text, ' ');
    uint64_t cost;
    return url_acceptable(text, space ? (size_t)(space - text) : strlen(text)) &&
           (!space || parse_number(space + 1, 60000, &cost));
}

/* "_low"; not a separator alone, for the rest is the rung's name. */
static bool suffix_acceptable(const char *text) {
    size_t len = strlen(text);
    return len > strspn(text, "_-") && len <= SETTING_SUFFIX_MAX && strspn(text, SUFFIX_CHARS) == len;
}

/* "1080 6000": height, kb/s. */
static bool rung_acceptable(const char *text) {
    char height[8];
    size_t len = strcspn(text, " ");
    uint64_t number;
    if (strcmp(text, "auto") == 0)
        return true;
    if (len >= sizeof height || text[len] != ' ')
        return false;
    memcpy(height, text, len);
    height[len] = 0;
    return parse_number(height, 4320, &number) && number >= 90 && parse_number(text + len + 1, 100000, &number) &&
           number >= 50;
}

/* "rtmp://host:port/app/{stream_key}", with a port or without. */
static bool push_acceptable(const char *text) {
    size_t scheme = strncmp(text, "rtmp://", 7) == 0 ? 7 : strncmp(text, "rtmps://", 8) == 0 ? 8 : 0;
    const char *host = text + scheme, *app = host + strcspn(host, "/"), *mark = strstr(text, "/{stream_key}");
    if (!scheme || app == host || !mark || mark <= app || strcmp(mark, "/{stream_key}") != 0)
        return false;
    return strlen(text) <= SETTING_URL_MAX && strspn(host, NAME_CHARS ":[]") == (size_t)(app - host) &&
           component_acceptable(app + 1, (size_t)(mark - app - 1), false);
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
    case SETTING_RTMP_URL:
        return rtmp_url_acceptable(text) && set_text(conf, setting, text);
    case SETTING_SECRET:
        return secret_acceptable(text) && set_text(conf, setting, text);
    case SETTING_PUSH:
        return push_acceptable(text) && set_text(conf, setting, text);
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
    case SETTING_SOURCES:
        return source_acceptable(text);
    case SETTING_SUBTITLES:
        return subtitles_acceptable(text);
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
    case SETTING_SUFFIXES:
        return suffix_acceptable(text);
    case SETTING_RUNGS:
        return rung_acceptable(text);
    case SETTING_CLIPS:
        return clip_acceptable(text);
    case SETTING_PAIRS:
        return pair_acceptable(text);
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
    case SETTING_SUBTITLES:
    case SETTING_LADDER:
    case SETTING_FILES:
    case SETTING_RANGES:
    case SETTING_URLS:
    case SETTING_COSTED:
    case SETTING_STREAMS:
    case SETTING_SUFFIXES:
    case SETTING_RUNGS:
    case SETTING_CLIPS:
    case SETTING_PAIRS:
    case SETTING_SOURCES:
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
        setting->type == SETTING_URL || setting->type == SETTING_RTMP_URL || setting->type == SETTING_PUSH) {
        free(*(char **)member(conf, setting));
        *(char **)member(conf, setting) = NULL;
    } else if (value_is_list(setting)) {
        struct conf_list *list = member(conf, setting);
        while (list->count > 0)
            free(list->items[--list->count]);
    }
}
