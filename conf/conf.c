/* Reads the configuration by libyaml's events, walking the table of settings (conf/schema.c) alongside; the only file
 * that includes libyaml. libcyaml would map YAML to structs for us, but its errors can't be worded as `file:line: what
 * is wrong, what would be right`, nor does its schema carry what the reference of settings needs.
 *
 * A mistake is reported and its value skipped, so that one run shows up to ERRORS_MAX of them; broken YAML ends the
 * reading. Recursion is only into sections that the table knows; all else is skipped by counting. Anchors and aliases
 * are refused: a configuration that must be expanded to be read can't be checked by eye. How settings fit together is
 * checked last, once each is right by itself. */
#include "conf/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

#include "common/base/buf.h"
#include "conf/schema.h"
#include "conf/value.h"

enum {
    ERRORS_MAX = 20,
    DEPTH_MAX = 16,
    FILE_BYTES_MAX = 1 << 20,
    PATH_LEN = 64,
    QUOTED_MAX = 60,
    TYPO_DISTANCE = 2,
    ORIGINS_MAX = 8, /* ingest.origins: as ingest/push.h has it */
    RUNGS_MAX = 6,   /* ingest.golive.ladder: as ingest/golive.h has it */
};

struct reader {
    yaml_parser_t yaml;
    yaml_event_t event; /* the one being read; YAML_NO_EVENT when stopped */
    struct conf *conf;
    const char *name;
    struct buf *errors;
    unsigned error_count;
    bool stopped;               /* nothing more will be read: broken YAML, or enough errors */
    uint32_t lines[SCHEMA_MAX]; /* where each setting was given; 0: not at all */
};

/* --- errors --- */

/* Opens a line of errors, to be closed by error_end. NULL when there are enough already. */
static struct buf *error_begin(struct reader *r, uint32_t line) {
    if (r->error_count == ERRORS_MAX)
        return NULL;
    buf_printf(r->errors, "%s:%u: ", r->name, line);
    return r->errors;
}

static void error_end(struct reader *r) {
    buf_append_str(r->errors, "\n");
    if (++r->error_count == ERRORS_MAX)
        r->stopped = true;
}

__attribute__((format(printf, 3, 4))) static void complain(struct reader *r, uint32_t line, const char *fmt, ...) {
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    struct buf *out = error_begin(r, line);
    if (!out)
        return;
    buf_append_str(out, text);
    error_end(r);
}

static uint32_t event_line(const struct reader *r) {
    return (uint32_t)r->event.start_mark.line + 1;
}

/* What stands in the file, safe for any terminal. */
static void print_quoted(struct buf *out, const char *text, size_t len) {
    buf_append_str(out, "\"");
    for (size_t i = 0; i < len && i < QUOTED_MAX; i++)
        buf_printf(out, "%c", text[i] >= ' ' && text[i] <= '~' ? text[i] : '?');
    buf_append_str(out, len > QUOTED_MAX ? "…\"" : "\"");
}

/* --- events --- */

static const char *scalar_text(const struct reader *r) {
    return (const char *)r->event.data.scalar.value;
}

static bool is_plain(const struct reader *r) {
    return r->event.type == YAML_SCALAR_EVENT && r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

static bool is_empty(const struct reader *r) {
    return is_plain(r) && (!*scalar_text(r) || !strcmp(scalar_text(r), "~") || !strcmp(scalar_text(r), "null"));
}

/* libyaml gives no line for bytes that are no text, only their offset. */
static uint32_t broken_line(const struct reader *r) {
    if (r->yaml.error != YAML_READER_ERROR)
        return (uint32_t)r->yaml.problem_mark.line + 1;
    uint32_t line = 1;
    size_t len = (size_t)(r->yaml.input.string.end - r->yaml.input.string.start);
    for (size_t i = 0; i < r->yaml.problem_offset && i < len; i++)
        line += r->yaml.input.string.start[i] == '\n';
    return line;
}

static void complain_broken(struct reader *r) {
    const yaml_parser_t *yaml = &r->yaml;
    const char *right = yaml->error == YAML_READER_ERROR ? "printable UTF-8 text"
                                                         : "balanced quotes and brackets, and indentation by spaces";
    if (yaml->context)
        complain(r, broken_line(r), "broken YAML: %s %s that begins on line %zu, %s would be right", yaml->problem,
                 yaml->context, yaml->context_mark.line + 1, right);
    else
        complain(r, broken_line(r), "broken YAML: %s, %s would be right",
                 yaml->problem ? yaml->problem : "out of memory", right);
}

static void refuse_sharing(struct reader *r) {
    const yaml_event_t *e = &r->event;
    bool scalar = e->type == YAML_SCALAR_EVENT, mapping = e->type == YAML_MAPPING_START_EVENT,
         sequence = e->type == YAML_SEQUENCE_START_EVENT;
    const yaml_char_t *anchor = scalar     ? e->data.scalar.anchor
                                : mapping  ? e->data.mapping_start.anchor
                                : sequence ? e->data.sequence_start.anchor
                                           : NULL;
    const yaml_char_t *tag = scalar     ? e->data.scalar.tag
                             : mapping  ? e->data.mapping_start.tag
                             : sequence ? e->data.sequence_start.tag
                                        : NULL;
    if (e->type == YAML_ALIAS_EVENT)
        complain(r, event_line(r),
                 "an alias (\"*…\"), the value itself would be right, in quotes if it begins with an asterisk");
    if (anchor)
        complain(r, event_line(r), "an anchor (\"&…\"), the value alone would be right");
    if (tag)
        complain(r, event_line(r), "a tag (\"!…\"), the value alone would be right");
}

static void next(struct reader *r) {
    yaml_event_delete(&r->event);
    if (r->stopped)
        return;
    if (yaml_parser_parse(&r->yaml, &r->event)) {
        refuse_sharing(r);
        return;
    }
    complain_broken(r);
    r->stopped = true;
}

static bool opens(const struct reader *r) {
    return r->event.type == YAML_MAPPING_START_EVENT || r->event.type == YAML_SEQUENCE_START_EVENT;
}

static bool closes(const struct reader *r) {
    return r->event.type == YAML_MAPPING_END_EVENT || r->event.type == YAML_SEQUENCE_END_EVENT;
}

/* Passes over the rest of the value that begins with the current event. */
static void skip(struct reader *r) {
    unsigned depth = opens(r);
    while (depth > 0 && !r->stopped) {
        next(r);
        depth += opens(r);
        depth -= closes(r);
        if (depth > DEPTH_MAX) {
            complain(r, event_line(r), "more than %d levels of nesting, at most 3 would be right", DEPTH_MAX);
            r->stopped = true;
        }
    }
}

/* --- values --- */

static void print_event(const struct reader *r, bool secret, struct buf *out) {
    if (r->event.type == YAML_SEQUENCE_START_EVENT)
        buf_append_str(out, "a list");
    else if (r->event.type == YAML_MAPPING_START_EVENT)
        buf_append_str(out, "a section");
    else if (is_empty(r))
        buf_append_str(out, "empty");
    else if (secret)
        buf_append_str(out, "not acceptable");
    else
        print_quoted(out, scalar_text(r), r->event.data.scalar.length);
}

static bool is_secret(const struct setting *setting) {
    return setting->type == SETTING_KEYS || setting->type == SETTING_PASSPHRASES || setting->type == SETTING_SECRET ||
           setting->type == SETTING_SOURCES;
}

static void complain_value(struct reader *r, const struct setting *setting) {
    struct buf *out = r->event.type == YAML_ALIAS_EVENT ? NULL : error_begin(r, event_line(r));
    if (!out)
        return;
    buf_printf(out, "%s is ", setting->path);
    print_event(r, is_secret(setting), out);
    buf_append_str(out, ", ");
    schema_describe(setting, out);
    bool quoted_number = setting->type == SETTING_INT && r->event.type == YAML_SCALAR_EVENT && !is_plain(r);
    buf_append_str(out, quoted_number ? " without quotes would be right" : " would be right");
    error_end(r);
}

/* The current event as text that a setting may take; NULL when it is none. */
static const char *usable_text(const struct reader *r, const struct setting *setting) {
    if (r->event.type != YAML_SCALAR_EVENT || is_empty(r) || (setting->type == SETTING_INT && !is_plain(r)))
        return NULL;
    const char *text = scalar_text(r);
    return strlen(text) == r->event.data.scalar.length ? text : NULL; /* "\0" ends no text */
}

static void read_single(struct reader *r, const struct setting *setting) {
    const char *text = usable_text(r, setting);
    if (text && value_set(r->conf, setting, text))
        return;
    complain_value(r, setting);
    skip(r);
}

/* A file's name as seen from the configuration's folder; to be freed. */
static char *locate(const struct reader *r, const char *file) {
    const char *slash = *file && *file != '/' ? strrchr(r->name, '/') : NULL;
    char *path = NULL;
    if (asprintf(&path, "%.*s%s", slash ? (int)(slash - r->name + 1) : 0, r->name, file) < 0)
        abort();
    return path;
}

static int add_item(struct reader *r, const struct setting *setting, const char *text) {
    char *path = setting->type == SETTING_FILES ? locate(r, text) : NULL;
    int rc = value_add(r->conf, setting, path ? path : text, event_line(r));
    free(path);
    return rc;
}

static void read_item(struct reader *r, const struct setting *setting) {
    const char *text = usable_text(r, setting);
    int rc = text ? add_item(r, setting, text) : -EINVAL;
    if (rc == -EINVAL)
        complain_value(r, setting);
    else if (rc == -EEXIST)
        complain(r, event_line(r), "%s has an item twice, once would be right", setting->path);
    else if (rc == -ENOSPC)
        complain(r, event_line(r), "%s has too many items, at most %d would be right", setting->path, CONF_LIST_MAX);
    skip(r);
}

static void read_list(struct reader *r, const struct setting *setting) {
    bool alone = setting->type == SETTING_FILES || setting->type == SETTING_RUNGS;
    if (alone && r->event.type == YAML_SCALAR_EVENT) {
        read_item(r, setting);
        return;
    }
    if (r->event.type != YAML_SEQUENCE_START_EVENT) {
        complain_value(r, setting);
        skip(r);
        return;
    }
    while (next(r), !r->stopped && r->event.type != YAML_SEQUENCE_END_EVENT)
        read_item(r, setting);
}

/* --- keys --- */

/* Levenshtein's distance; anything longer than a key of ours is far. */
static size_t distance(const char *a, size_t a_len, const char *b, size_t b_len) {
    size_t row[PATH_LEN];
    if (a_len >= PATH_LEN || b_len >= PATH_LEN)
        return PATH_LEN;
    for (size_t j = 0; j <= b_len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t cost = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            size_t gap = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            row[j] = cost < gap ? cost : gap;
        }
    }
    return row[b_len];
}

static bool suggest_near(const char *section, const char *key, struct buf *out) {
    const char *best = NULL;
    size_t best_len = 0, best_distance = TYPO_DISTANCE + 1, at = 0, len;
    for (const char *name; (name = schema_child(section, &at, &len));) {
        size_t far = distance(key, strlen(key), name, len);
        if (far < best_distance && far < len) {
            best = name;
            best_len = len;
            best_distance = far;
        }
    }
    if (best)
        buf_printf(out, ", did you mean \"%.*s\"?", (int)best_len, best);
    return best;
}

/* Right word, wrong section. */
static bool suggest_elsewhere(const char *key, struct buf *out) {
    for (size_t i = 0; i < schema_count; i++) {
        const char *path = schema_settings[i].path, *dot = strrchr(path, '.');
        if (strcmp(path, key) != 0 && !(dot && strcmp(dot + 1, key) == 0))
            continue;
        if (!dot)
            buf_printf(out, ", did you mean \"%s\" at the top?", path);
        else
            buf_printf(out, ", did you mean \"%s\" in \"%.*s\"?", dot + 1, (int)(dot - path), path);
        return true;
    }
    return false;
}

static void list_known(const char *section, struct buf *out) {
    size_t at = 0, len, count = 0;
    for (const char *name; (name = schema_child(section, &at, &len)); count++)
        buf_printf(out, "%s%.*s", count ? ", " : ", one of ", (int)len, name);
    buf_append_str(out, count ? " would be right" : ", an empty section would be right");
}

static void complain_key(struct reader *r, const char *section) {
    struct buf *out = r->event.type == YAML_ALIAS_EVENT ? NULL : error_begin(r, event_line(r));
    if (!out)
        return;
    bool text = r->event.type == YAML_SCALAR_EVENT;
    buf_append_str(out, text ? "unknown key " : "the key is ");
    print_event(r, false, out);
    if (*section)
        buf_printf(out, " in \"%s\"", section);
    const char *key = text ? scalar_text(r) : "";
    if (!suggest_near(section, key, out) && !suggest_elsewhere(key, out))
        list_known(section, out);
    error_end(r);
}

/* False when no path of ours can be meant. A dot in a key would let "http.listen" pass for a nested key. */
static bool path_join(char path[PATH_LEN], const char *section, const struct reader *r) {
    if (r->event.type != YAML_SCALAR_EVENT || strchr(scalar_text(r), '.'))
        return false;
    int len = snprintf(path, PATH_LEN, "%s%s%s", section, *section ? "." : "", scalar_text(r));
    return len < PATH_LEN && strlen(scalar_text(r)) == r->event.data.scalar.length;
}

static void read_section(struct reader *r, const char *section);

static void read_subsection(struct reader *r, const char *path, const struct setting *role) {
    if (r->event.type == YAML_MAPPING_START_EVENT) {
        read_section(r, path);
    } else if (!is_empty(r)) {
        if (r->event.type != YAML_ALIAS_EVENT)
            complain(r, event_line(r), "%s is no section, settings indented below it (or {}) would be right",
                     *path ? path : "the file");
        skip(r);
        return;
    }
    if (role)
        value_set(r->conf, role, "");
}

static void read_value(struct reader *r, const char *path, const struct setting *setting) {
    bool exact = strcmp(setting->path, path) == 0;
    if (!exact || setting->type == SETTING_ROLE)
        read_subsection(r, path, exact ? setting : NULL);
    else if (value_is_list(setting))
        read_list(r, setting);
    else
        read_single(r, setting);
}

/* Where in this mapping the key stood before; the first setting of a subsection stands for it. */
static bool is_repeated(struct reader *r, const char *path, uint32_t *seen) {
    if (!*seen) {
        *seen = event_line(r);
        return false;
    }
    complain(r, event_line(r), "%s is given again (first on line %u), once would be right", path, *seen);
    return true;
}

static void read_entry(struct reader *r, const char *section, uint32_t seen[SCHEMA_MAX]) {
    char path[PATH_LEN];
    int index = path_join(path, section, r) ? schema_find(path) : -1;
    if (index < 0)
        complain_key(r, section);
    bool wanted = index >= 0 && !is_repeated(r, path, &seen[index]);
    if (wanted && strcmp(schema_settings[index].path, path) == 0)
        r->lines[index] = event_line(r);
    skip(r); /* a key may be a list or section too */
    next(r);
    if (wanted)
        read_value(r, path, &schema_settings[index]);
    else
        skip(r);
}

static void read_section(struct reader *r, const char *section) {
    uint32_t seen[SCHEMA_MAX] = {0};
    while (next(r), !r->stopped && r->event.type != YAML_MAPPING_END_EVENT)
        read_entry(r, section, seen);
}

static void read_stream(struct reader *r) {
    next(r); /* the stream's start */
    next(r);
    if (r->event.type == YAML_DOCUMENT_START_EVENT) {
        next(r);
        read_subsection(r, "", NULL);
        next(r); /* the document's end */
        next(r);
    }
    if (!r->stopped && r->event.type != YAML_STREAM_END_EVENT)
        complain(r, event_line(r), "a second document (\"---\"), one document a file would be right");
}

/* --- how settings fit together --- */

static uint32_t line_of(const struct reader *r, const char *path) {
    return r->lines[schema_find(path)];
}

static uint32_t line_of_either(const struct reader *r, const char *path, const char *other) {
    uint32_t line = line_of(r, path) ? line_of(r, path) : line_of(r, other);
    return line ? line : 1;
}

static bool listens_to_nodes(const struct conf *conf) {
    return conf->feed.listen.count || conf->feed.tls.listen.count;
}

static void check_viewers(struct reader *r) {
    const struct conf *conf = r->conf;
    if (conf->relay_on && !conf->http.listen.count && !conf->http.tls.listen.count && !listens_to_nodes(conf))
        complain(r, line_of(r, "relay"), "relay listens nowhere, \"http: {listen: [\"[::]:8080\"]}\" would be right");
    if (conf->relay_on && !conf->origin_on && !conf->relay.upstreams.count && !conf->relay.shields.count &&
        !conf->fleet.etcd.count)
        complain(r, line_of(r, "relay"),
                 "relay has nothing to serve from, \"origin: {}\" in the same file, or \"upstreams:\" in it, would be "
                 "right");
    if (conf->relay.redirect == CONF_REDIRECT_ON && !conf->relay.peers.count)
        complain(r, line_of(r, "relay.redirect"),
                 "relay.redirect is on but there is nowhere to go, \"peers: [URL]\" beside it would be right");
    if (!conf->relay_on && conf->http.listen.count)
        complain(r, line_of(r, "http.listen"),
                 "http.listen is given but nobody serves viewers, \"relay: {}\" would be right");
    if (!conf->relay_on && conf->http.tls.listen.count)
        complain(r, line_of(r, "http.tls.listen"),
                 "http.tls.listen is given but nobody serves viewers, \"relay: {}\" would be right");
}

static void check_roles(struct reader *r) {
    const struct conf *conf = r->conf;
    uint32_t ingest = line_of(r, "ingest");
    if (!conf->ingest_on && !conf->origin_on && !conf->relay_on)
        complain(r, 1, "no role is on, at least one of \"ingest:\", \"origin:\", \"relay:\" would be right");
    if (conf->ingest_on && !conf->ingest.rtmp_listen.count && !conf->ingest.rtmp_tls.listen.count &&
        !conf->ingest.srt_listen.count && !conf->ingest.sources.count)
        complain(r, ingest, "ingest listens nowhere, \"rtmp: {listen: [\"[::]:1935\"]}\" in it would be right");
    if (conf->ingest.srt_passphrases.count && !conf->ingest.srt_listen.count)
        complain(
            r, line_of(r, "ingest.srt.passphrases"),
            "ingest.srt.passphrases is given but nobody listens, \"listen: [\"[::]:8890\"]\" beside it would be right");
    if (conf->ingest.origins.count > ORIGINS_MAX)
        complain(r, line_of(r, "ingest.origins"), "ingest.origins has %zu, at most %d would be right",
                 conf->ingest.origins.count, ORIGINS_MAX);
    if (conf->ingest_on && !conf->origin_on && !conf->ingest.origins.count)
        complain(
            r, ingest,
            "ingest has no origin to feed, \"origin: {}\" in the same file, or \"origins:\" in it, would be right");
    check_viewers(r);
}

static bool same_stream(const char *one, const char *other) {
    size_t len = strcspn(one, " ");
    return strncmp(one, other, len + 1) == 0;
}

static void check_sources(struct reader *r) {
    const struct conf *conf = r->conf;
    const struct conf_list *sources = &conf->ingest.sources;
    bool serves = conf->relay_on || listens_to_nodes(conf);
    for (size_t i = 0; i < sources->count; i++) {
        const char *item = sources->items[i], *last = strrchr(item, ' ');
        int name = (int)strcspn(item, " ");
        if (!serves && strcmp(last, " on-demand") == 0)
            complain(r, sources->lines[i],
                     "ingest.sources has \"%.*s\" on demand, but nobody asks this node for streams: without "
                     "\"on-demand\", or with \"relay: {}\" or \"feed: {listen: [...]}\", would be right",
                     name, item);
        for (size_t j = 0; j < i; j++)
            if (same_stream(item, sources->items[j]))
                complain(r, sources->lines[i], "ingest.sources has \"%.*s\" twice, once would be right", name, item);
    }
}

/* Certificates and keys of a section, and whether somebody uses them. */
static void check_pairs(struct reader *r, const struct conf_tls *tls, const char *section, bool listens) {
    char cert[PATH_LEN], key[PATH_LEN], listen[PATH_LEN];
    snprintf(cert, sizeof cert, "%s.cert", section);
    snprintf(key, sizeof key, "%s.key", section);
    snprintf(listen, sizeof listen, "%s.listen", section);
    if (listens && !tls->cert.count && !tls->key.count)
        complain(r, line_of(r, listen) ? line_of(r, listen) : line_of(r, "origin.tls.listen"),
                 "%s has no certificate, \"cert: FILE\" and \"key: FILE\" beside it would be right", listen);
    else if (tls->cert.count != tls->key.count)
        complain(r, line_of_either(r, key, cert),
                 "%s names %zu and %s %zu, a key for each certificate, in their order, would be right", cert,
                 tls->cert.count, key, tls->key.count);
    for (size_t i = 0; i < tls->cert.count; i++)
        for (size_t j = 0; j < i; j++)
            if (strcmp(tls->cert.items[i], tls->cert.items[j]) == 0)
                complain(r, tls->cert.lines[i], "%s has an item twice, once would be right", cert);
}

/* A section whose certificates are its own listener's alone. */
static void check_listener(struct reader *r, const struct conf_tls *tls, const char *section, unsigned port) {
    char cert[PATH_LEN];
    snprintf(cert, sizeof cert, "%s.cert", section);
    check_pairs(r, tls, section, tls->listen.count);
    if (tls->cert.count && tls->cert.count == tls->key.count && !tls->listen.count)
        complain(r, line_of(r, cert),
                 "%s is given but nobody listens, \"listen: [\"[::]:%u\"]\" beside it would be right", cert, port);
}

static void check_tls(struct reader *r) {
    const struct conf *conf = r->conf;
    check_listener(r, &conf->http.tls, "http.tls", 8443);
    check_listener(r, &conf->ingest.rtmp_tls, "ingest.rtmp.tls", 1936);
    check_pairs(r, &conf->feed.tls, "feed.tls", conf->feed.tls.listen.count || conf->origin.tls_listen.count);
}

/* Whoever reaches such a listener has every stream, or may write any. */
static void check_guarded(struct reader *r, const struct conf_list *listen, const char *path, bool tls) {
    const struct conf *conf = r->conf;
    if (conf->auth.feed_key || (tls && conf->feed.client_ca.count))
        return;
    for (size_t i = 0; i < listen->count; i++)
        if (strncmp(listen->items[i], "127.", 4) != 0 && strncmp(listen->items[i], "[::1]:", 6) != 0)
            complain(r, listen->lines[i],
                     "%s has \"%s\", which is open to strangers, \"auth: {feed: {key: SECRET}}\"%s would be right",
                     path, listen->items[i], tls ? " or \"client_ca: FILE\" in feed.tls" : "");
}

static void check_fleet(struct reader *r) {
    static const char *const paths[] = {"fleet.prefix", "fleet.feed_url", "fleet.http_url", "fleet.ttl_s"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths && !r->conf->fleet.etcd.count; i++)
        if (line_of(r, paths[i]))
            complain(r, line_of(r, paths[i]),
                     "%s is given but no registry, \"etcd: [\"http://127.0.0.1:2379\"]\" in \"fleet\" would be right",
                     paths[i]);
    if (r->conf->fleet.feed_url && !listens_to_nodes(r->conf))
        complain(r, line_of(r, "fleet.feed_url"),
                 "fleet.feed_url is given but no feeds are, \"feed: {listen: [\"10.0.0.5:8082\"]}\" would be right");
}

static void check_feeds(struct reader *r) {
    const struct conf *conf = r->conf;
    check_guarded(r, &conf->feed.listen, "feed.listen", false);
    check_guarded(r, &conf->feed.tls.listen, "feed.tls.listen", true);
    check_guarded(r, &conf->origin.listen, "origin.listen", false);
    check_guarded(r, &conf->origin.tls_listen, "origin.tls.listen", true);
    if (conf->feed.tls.cert.count > 1)
        complain(r, conf->feed.tls.cert.lines[1], "feed.tls.cert names more than one file, one would be right");
}

static void check_golive(struct reader *r) {
    const struct conf *conf = r->conf;
    const struct conf_list *ladder = &conf->ingest.golive_ladder;
    uint32_t line = line_of_either(r, "ingest.golive.ladder", "ingest.golive.url");
    if (conf->ingest.golive_url && !ladder->count)
        complain(r, line, "ingest.golive.url is given but no ladder, \"ladder: auto\" beside it would be right");
    if (ladder->count && !(conf->relay_on && (conf->http.listen.count || conf->http.tls.listen.count)))
        complain(r, line,
                 "ingest.golive.ladder is given but nobody can ask for it, \"relay: {}\" and \"http: {listen: "
                 "[\"[::]:8080\"]}\" would be right");
    if (ladder->count && !conf->ingest.golive_url && !conf->ingest.rtmp_listen.count &&
        !conf->ingest.rtmp_tls.listen.count)
        complain(r, line, "ingest.golive.ladder is pushed by RTMP, \"rtmp: {listen: [\"[::]:1935\"]}\" would be right");
    if (ladder->count > RUNGS_MAX)
        complain(r, line, "ingest.golive.ladder has %zu renditions, at most %d would be right", ladder->count,
                 RUNGS_MAX);
    for (size_t i = 0; i < ladder->count && ladder->count > 1; i++)
        if (strcmp(ladder->items[i], "auto") == 0)
            complain(r, ladder->lines[i],
                     "ingest.golive.ladder has \"auto\" among others, one or the other would be right");
}

static void check_proxies(struct reader *r) {
    const struct conf *conf = r->conf;
    if (conf->http.proxy_protocol == CONF_PROXY_PROTOCOL_ON && !conf->http.trusted_proxies.count)
        complain(r, line_of_either(r, "http.proxy_protocol", "http.trusted_proxies"),
                 "http.proxy_protocol is on, so whose word is taken must be said: http.trusted_proxies with the "
                 "addresses of "
                 "the proxies would be right");
}

static void check_times(struct reader *r) {
    const struct conf *conf = r->conf;
    uint32_t segment_ms = conf->live.segment_ms, part_ms = conf->live.part_ms;
    if (part_ms > segment_ms / 2)
        complain(r, line_of_either(r, "live.part_ms", "live.segment_ms"),
                 "live.part_ms is %u, at most half of live.segment_ms (%u) would be right", part_ms, segment_ms);
    if (conf->live.chunk_ms > part_ms)
        complain(r, line_of_either(r, "live.chunk_ms", "live.part_ms"),
                 "live.chunk_ms is %u, at most live.part_ms (%u) would be right", conf->live.chunk_ms, part_ms);
    if ((uint64_t)conf->live.window_s * 1000 < (uint64_t)segment_ms * 7)
        complain(r, line_of_either(r, "live.window_s", "live.segment_ms"),
                 "live.window_s is %u, at least 7 segments of live.segment_ms (%u), so %u or more, would be right",
                 conf->live.window_s, segment_ms, (segment_ms * 7 + 999) / 1000);
}

/* --- life --- */

static struct conf *create(bool fileless) {
    struct conf *conf = calloc(1, sizeof *conf);
    if (!conf)
        abort();
    for (size_t i = 0; i < schema_count; i++)
        value_set_default(conf, &schema_settings[i], fileless);
    conf->ingest.rtmp_tls.ktls = CONF_KTLS_OFF; /* which serves senders */
    return conf;
}

/* Not through the table's check of names: a host may be called what it likes. */
static void name_after_host(struct conf *conf) {
    char host[SETTING_NAME_MAX + 1] = "";
    if (conf->node)
        return;
    if (gethostname(host, sizeof host - 1) || !*host)
        strcpy(host, "weir");
    conf->node = strdup(host);
    if (!conf->node)
        abort();
}

struct conf *conf_create_default(void) {
    struct conf *conf = create(true);
    name_after_host(conf);
    return conf;
}

void conf_destroy(struct conf *conf) {
    if (!conf)
        return;
    for (size_t i = 0; i < schema_count; i++)
        value_clear(conf, &schema_settings[i]);
    free(conf);
}

static void read_all(struct reader *r, const char *text, size_t len) {
    if (!yaml_parser_initialize(&r->yaml))
        abort();
    yaml_parser_set_input_string(&r->yaml, (const unsigned char *)text, len);
    yaml_parser_set_encoding(&r->yaml, YAML_UTF8_ENCODING);
    read_stream(r);
    yaml_event_delete(&r->event);
    yaml_parser_delete(&r->yaml);
}

struct conf *conf_parse(const char *name, const char *text, size_t len, struct buf *errors) {
    struct reader r = {.conf = create(false), .name = name, .errors = errors};
    if (len > FILE_BYTES_MAX)
        complain(&r, 1, "the file is larger than %d bytes, a smaller one would be right", FILE_BYTES_MAX);
    else
        read_all(&r, text, len);
    if (!r.error_count) {
        check_roles(&r);
        check_sources(&r);
        check_tls(&r);
        check_feeds(&r);
        check_fleet(&r);
        check_proxies(&r);
        check_golive(&r);
        check_times(&r);
    }
    if (r.error_count) {
        conf_destroy(r.conf);
        return NULL;
    }
    name_after_host(r.conf);
    return r.conf;
}

/* Reads up to `max` bytes, whatever kind of file it is. Bytes read or negative errno. */
static ssize_t read_file(const char *path, char *out, size_t max) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    size_t len = 0;
    ssize_t n;
    while ((n = read(fd, out + len, max - len)) > 0)
        len += (size_t)n;
    int error = errno;
    close(fd);
    return n < 0 ? -error : (ssize_t)len;
}

struct conf *conf_load(const char *path, struct buf *errors) {
    size_t max = FILE_BYTES_MAX + 1; /* one more, to be told from too large */
    char *text = malloc(max);
    if (!text)
        abort();
    ssize_t len = read_file(path, text, max);
    struct conf *conf = NULL;
    if (len < 0)
        buf_printf(errors, "%s:1: can't be read (%s), a readable file would be right\n", path, strerror((int)-len));
    else
        conf = conf_parse(path, text, (size_t)len, errors);
    free(text);
    return conf;
}

/* --- reference --- */

static void print_default(const struct setting *setting, struct buf *out) {
    if (setting->fallback)
        buf_printf(out, "`%s`", setting->fallback);
    else if (setting->type == SETTING_ROLE)
        buf_append_str(out, "off; without a file on");
    else if (setting->fileless)
        buf_printf(out, "none; without a file `%s`", setting->fileless);
    else
        buf_append_str(out, "none");
}

void conf_print_reference(struct buf *out) {
    buf_append_str(
        out,
        "# Settings\n\n"
        "Made from the table in `conf/schema.c`; a test fails when this page is stale (it says how to renew it).\n\n"
        "`weir -c FILE` reads YAML; a dot in a name below is a level of nesting. With a file, only the roles and\n"
        "listeners that it names are on; without one, all are, on the default ports. `weir -t -c FILE` checks a\n"
        "file and exits. [conf/weir.yaml](../conf/weir.yaml) is a complete sample.\n\n"
        "| setting | value | default | meaning |\n|---|---|---|---|\n");
    for (size_t i = 0; i < schema_count; i++) {
        const struct setting *setting = &schema_settings[i];
        buf_printf(out, "| `%s` | ", setting->path);
        schema_describe(setting, out);
        buf_append_str(out, " | ");
        print_default(setting, out);
        buf_printf(out, " | %s |\n", setting->text);
    }
}
