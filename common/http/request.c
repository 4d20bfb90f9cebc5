/* A request is one allocation: the struct, the table of its fields, and the text of its head, in which names are put in
 * lower case and names and values are ended by NUL in place (a name by its colon, a value by the blank or CR after it).
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/loop.h"
#include "common/http/internal.h"
#include "common/http/proxy.h"

static char *end_span(char *text, struct h1_span span) {
    text[span.off + span.len] = '\0';
    return text + span.off;
}

static void set_fields(struct http_request *req, char *text, const struct h1_head *head) {
    for (unsigned i = 0; i < head->field_count; i++) {
        char *name = end_span(text, head->fields[i].name);
        for (char *c = name; *c; c++)
            *c = (char)(*c >= 'A' && *c <= 'Z' ? *c + 32 : *c);
        req->fields[i] = (struct http_header){name, end_span(text, head->fields[i].value)};
    }
}

/* The normalised path into `out`, which has room for it as it came. H1_DONE or 400. */
static int set_path(const uint8_t *data, const struct h1_head *head, char *out) {
    const char *raw = (const char *)data + head->path.off;
    if (head->path.len == 0 || *raw == '*') { /* "http://host" means its root; "*" stands for itself */
        strcpy(out, head->path.len ? "*" : "/");
        return H1_DONE;
    }
    return http_path_normalize(raw, head->path.len, out, (size_t)head->path.len + 1) == 0 ? H1_DONE : 400;
}

int http_request_create(struct http_conn *conn, const uint8_t *data, const struct h1_head *head,
                        struct http_request **ret_req) {
    size_t table = head->field_count * sizeof(struct http_header);
    struct http_request *req = malloc(sizeof *req + table + head->size + head->path.len + 2);
    if (!req)
        abort();
    memset(req, 0, sizeof *req);
    req->urgency = HTTP_URGENCY_CLIENTS;
    char *text = (char *)req->fields + table, *path = text + head->size;
    if (set_path(data, head, path) != H1_DONE) {
        free(req);
        return 400;
    }
    memcpy(text, data, head->size);
    set_fields(req, text, head);
    req->query = head->query.len ? end_span(text, head->query) : "";
    req->path = path;
    req->conn = conn;
    req->method = head->method;
    req->minor = head->minor;
    req->keep_alive = head->keep_alive;
    req->chunked = head->chunked;
    req->expect_continue = head->expect_continue;
    req->body_remaining = head->content_length;
    req->field_count = head->field_count;
    buf_init(&req->body, (size_t)conn->server->limits.body_bytes_max);
    req->streams = conn->server->streams && conn->server->streams(conn->server->ctx, req);
    *ret_req = req;
    return H1_DONE;
}

/* Names are in lower case already (RFC 9113 §8.2). */
int http_request_create_h2(struct http_conn *conn, enum http_method method, const char *target, const char *fields,
                           size_t fields_len, unsigned count, struct http_request **ret_req) {
    size_t table = count * sizeof(struct http_header), target_len = strlen(target);
    size_t path_len = strcspn(target, "?");
    struct http_request *req = malloc(sizeof *req + table + fields_len + target_len + 2);
    if (!req)
        abort();
    memset(req, 0, sizeof *req);
    req->urgency = HTTP_URGENCY_CLIENTS;
    char *text = (char *)req->fields + table, *path = text + fields_len;
    if (strcmp(target, "*") == 0 && method == HTTP_OPTIONS)
        strcpy(path, "*");
    else if (http_path_normalize(target, path_len, path, path_len + 1)) {
        free(req);
        return 400;
    }
    req->path = path;
    req->query = "";
    if (target[path_len])
        req->query = strcpy(path + path_len + 1, target + path_len + 1);
    if (fields_len)
        memcpy(text, fields, fields_len);
    for (unsigned i = 0; i < count; i++) {
        req->fields[i].name = text;
        text += strlen(text) + 1;
        req->fields[i].value = text;
        text += strlen(text) + 1;
    }
    req->conn = conn;
    req->method = method;
    req->field_count = (uint16_t)count;
    buf_init(&req->body, (size_t)conn->server->limits.body_bytes_max);
    req->streams = conn->server->streams && conn->server->streams(conn->server->ctx, req);
    *ret_req = req;
    return H1_DONE;
}

void http_request_destroy(struct http_request *req) {
    if (!req)
        return;
    http_out_destroy(req->out);
    if (req->on_close)
        req->on_close(req->on_close_ctx);
    buf_finish(&req->body);
    free(req);
}

enum http_method http_request_method(const struct http_request *req) {
    return req->method;
}

const char *http_request_path(const struct http_request *req) {
    return req->path;
}

const char *http_request_query(const struct http_request *req) {
    return req->query;
}

const char *http_request_header(const struct http_request *req, const char *name) {
    for (unsigned i = 0; i < req->field_count; i++)
        if (req->fields[i].name[0] == name[0] && strcmp(req->fields[i].name, name) == 0)
            return req->fields[i].value;
    return NULL;
}

void http_peer_format(const struct sockaddr_in6 *peer, char out[HTTP_PEER_LEN]) {
    char address[INET6_ADDRSTRLEN];
    bool v4 = IN6_IS_ADDR_V4MAPPED(&peer->sin6_addr);
    inet_ntop(v4 ? AF_INET : AF_INET6, peer->sin6_addr.s6_addr + (v4 ? 12 : 0), address, sizeof address);
    snprintf(out, HTTP_PEER_LEN, v4 ? "%s:%u" : "[%s]:%u", address, ntohs(peer->sin6_port));
}

/* Whom a trusted proxy names; the last field counts, since proxies add at the end. */
static struct sockaddr_in6 client_of(const struct http_request *req) {
    struct sockaddr_in6 client = req->conn->peer, named;
    const struct http_server *server = req->conn->server;
    const char *value = NULL;
    for (unsigned i = 0; req->conn->trusted && i < req->field_count; i++)
        if (strcmp(req->fields[i].name, "x-forwarded-for") == 0)
            value = req->fields[i].value;
    return value && http_proxy_forwarded(value, server->trusted, server->trusted_count, &named) ? named : client;
}

const char *http_request_peer(const struct http_request *const_req) {
    struct http_request *req = (struct http_request *)const_req; /* written at first use: most are never asked */
    struct sockaddr_in6 client;
    if (req->peer[0])
        return req->peer;
    client = client_of(req);
    http_peer_format(&client, req->peer);
    return req->peer;
}

struct loop *http_request_loop(const struct http_request *req) {
    return req->conn->server->loop;
}

const uint8_t *http_request_body(const struct http_request *req, size_t *ret_len) {
    *ret_len = buf_len(&req->body);
    return *ret_len ? buf_head(&req->body) : (const uint8_t *)"";
}

void http_request_on_close(struct http_request *req, void (*fn)(void *ctx), void *ctx) {
    req->on_close = fn;
    req->on_close_ctx = ctx;
}

void http_request_set_urgency(struct http_request *req, uint8_t urgency) {
    req->urgency = urgency;
}

void http_request_on_body(struct http_request *req, bool (*fn)(void *ctx, const uint8_t *data, size_t len), void *ctx) {
    req->on_body = fn;
    req->on_body_ctx = ctx;
}

void http_request_give_body(struct http_request *req, const uint8_t *data, size_t len) {
    if (req->on_body && !req->on_body(req->on_body_ctx, data, len))
        req->held = true;
}

void http_request_read(struct http_request *req) {
    if (!req->held)
        return;
    req->held = false;
    loop_io_activate(req->conn->io, LOOP_READ);
}
