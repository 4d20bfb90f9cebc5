#include "common/fleet/fleet_json.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define NAME_CHARS   "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
#define STREAM_CHARS NAME_CHARS "~"

static const char *const role_names[] = {"ingest", "origin", "relay"}; /* by bit */
enum { ROLES = sizeof role_names / sizeof *role_names };

const char *fleet_role_next(uint32_t *roles) {
    for (uint32_t i = 0; i < ROLES; i++)
        if (*roles & 1u << i) {
            *roles &= ~(1u << i);
            return role_names[i];
        }
    return NULL;
}

/* --- keys --- */

static bool name_ok(const char *name) {
    size_t len = strlen(name);
    return len > 0 && len < FLEET_NAME_LEN && strspn(name, NAME_CHARS) == len;
}

enum fleet_key fleet_key_parse(const char *key, char stream[FLEET_STREAM_LEN], char node[FLEET_NAME_LEN]) {
    bool of_node = !strncmp(key, "nodes/", 6), of_stream = !strncmp(key, "streams/", 8);
    const char *name = of_node ? key + 6 : key + 8;
    size_t len = 0;
    if (of_stream) { /* APP/NAME/NODE */
        size_t app = strspn(name, STREAM_CHARS);
        size_t rest = app && name[app] == '/' ? strspn(name + app + 1, STREAM_CHARS) : 0;
        len = app + 1 + rest;
        if (!rest || len >= FLEET_STREAM_LEN || name[len] != '/')
            return FLEET_KEY_OTHER;
    }
    if ((!of_node && !of_stream) || !name_ok(of_stream ? name + len + 1 : name))
        return FLEET_KEY_OTHER;
    memcpy(stream, name, len);
    stream[len] = 0;
    strcpy(node, of_stream ? name + len + 1 : name);
    return of_stream ? FLEET_KEY_STREAM : FLEET_KEY_NODE;
}

/* --- writing --- */

static char *dump(json_t *json) {
    char *text = json_dumps(json, JSON_COMPACT | JSON_PRESERVE_ORDER);
    if (!text)
        abort();
    json_decref(json);
    return text;
}

char *fleet_node_write(const struct fleet_node *node) {
    json_t *roles = json_array();
    uint32_t left = node->roles;
    for (const char *role; (role = fleet_role_next(&left));)
        json_array_append_new(roles, json_string(role));
    return dump(json_pack("{s:o, s:s, s:s, s:s, s:s, s:{s:I, s:I, s:I}, s:{s:I, s:I}}", "roles", roles, "region",
                          node->region, "feed_url", node->feed_url, "http_url", node->http_url, "version",
                          node->version, "load", "viewers", (json_int_t)node->load.viewers, "egress_kbps",
                          (json_int_t)node->load.egress_kbps, "streams", (json_int_t)node->load.streams, "capacity",
                          "viewers", (json_int_t)node->capacity.viewers, "streams",
                          (json_int_t)node->capacity.streams));
}

char *fleet_holding_write(const struct fleet_holding *holding) {
    return dump(json_pack("{s:I, s:s, s:s}", "epoch", (json_int_t)holding->epoch, "feed_url", holding->feed_url,
                          "since", holding->since));
}

/* --- reading --- */

static bool get_text(json_t *object, const char *name, const char *chars, char *out, size_t size) {
    json_t *value = json_object_get(object, name);
    const char *text = value ? json_string_value(value) : "";
    size_t len = text ? strlen(text) : size;
    if (len >= size || (chars && strspn(text, chars) != len))
        return false;
    memcpy(out, text, len + 1);
    return true;
}

/* Requests go there: it is to be a scheme, a host and a port, and nothing else that one could be led astray with. */
static bool get_url(json_t *object, const char *name, char out[FLEET_URL_LEN]) {
    if (!get_text(object, name, NAME_CHARS "[]:/", out, FLEET_URL_LEN))
        return false;
    const char *host = !strncmp(out, "http://", 7) ? out + 7 : !strncmp(out, "https://", 8) ? out + 8 : NULL;
    return !*out || (host && *host && !strchr(host, '/'));
}

static bool get_number(json_t *object, const char *name, uint64_t *ret_number) {
    json_t *value = json_object_get(object, name);
    json_int_t number = json_integer_value(value);
    *ret_number = (uint64_t)number;
    return (!value || json_is_integer(value)) && number >= 0;
}

static bool get_roles(json_t *object, uint32_t *ret_roles) {
    json_t *roles = json_object_get(object, "roles"), *role;
    size_t at;
    *ret_roles = 0;
    json_array_foreach(roles, at, role) {
        for (uint32_t i = 0; i < ROLES && json_is_string(role); i++)
            if (!strcmp(json_string_value(role), role_names[i]))
                *ret_roles |= 1u << i;
    }
    return json_is_array(roles);
}

static bool read_node(json_t *json, struct fleet_node *node) {
    json_t *load = json_object_get(json, "load"), *capacity = json_object_get(json, "capacity");
    return get_roles(json, &node->roles) && get_text(json, "region", NAME_CHARS, node->region, sizeof node->region) &&
           get_text(json, "version", NAME_CHARS "+~", node->version, sizeof node->version) &&
           get_url(json, "feed_url", node->feed_url) && get_url(json, "http_url", node->http_url) &&
           get_number(load, "viewers", &node->load.viewers) &&
           get_number(load, "egress_kbps", &node->load.egress_kbps) &&
           get_number(load, "streams", &node->load.streams) &&
           get_number(capacity, "viewers", &node->capacity.viewers) &&
           get_number(capacity, "streams", &node->capacity.streams);
}

int fleet_node_parse(const char *text, size_t len, struct fleet_node *ret_node) {
    json_t *json = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    struct fleet_node node = {0};
    bool ok = json_is_object(json) && read_node(json, &node);
    json_decref(json);
    if (ok)
        *ret_node = node;
    return ok ? 0 : -EBADMSG;
}

int fleet_holding_parse(const char *text, size_t len, struct fleet_holding *ret_holding) {
    json_t *json = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    struct fleet_holding holding = {0};
    bool ok = json_is_object(json) && get_number(json, "epoch", &holding.epoch) &&
              get_url(json, "feed_url", holding.feed_url) &&
              get_text(json, "since", NAME_CHARS ":", holding.since, sizeof holding.since);
    json_decref(json);
    if (ok)
        *ret_holding = holding;
    return ok ? 0 : -EBADMSG;
}
