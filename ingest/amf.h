/* AMF0 (the values in RTMP's commands and metadata): a reader over a stranger's bytes and a writer for our replies.
 * Pure, no allocation: a value is a view of the bytes it was read from and lives as long as they do. Whole values are
 * checked when they are read: depth at most 8, at most 256 properties and elements together in one message. AMF3 is
 * refused. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;

enum { AMF_DEPTH_MAX = 8, AMF_PROPERTIES_MAX = 256 };

enum amf_type {
    AMF_NUMBER,
    AMF_BOOLEAN,
    AMF_STRING, /* long strings and XML documents too */
    AMF_OBJECT, /* ECMA arrays and typed objects too: they differ in nothing that matters here */
    AMF_ARRAY,
    AMF_NULL, /* undefined, unsupported and references too */
    AMF_DATE,
};

struct amf_value {
    enum amf_type type;
    double number; /* AMF_NUMBER, AMF_DATE (ms since 1970) */
    bool boolean;
    const uint8_t *data; /* AMF_STRING: its bytes; AMF_OBJECT: its properties */
    size_t len;
};

struct amf_reader {
    const uint8_t *pos, *end;
    uint32_t properties; /* seen so far */
};

void amf_reader_init(struct amf_reader *reader, const uint8_t *data, size_t len);
/* The next value. 0, -ENODATA at the end, or -EBADMSG (malformed, too deep, too many properties; nothing more can be
 * read). */
int amf_read(struct amf_reader *reader, struct amf_value *ret_value);
/* The next value if it is a string (number); else -EBADMSG, -ENODATA. */
int amf_read_string(struct amf_reader *reader, struct amf_value *ret_value);
int amf_read_number(struct amf_reader *reader, double *ret_number);

/* A property of a value that amf_read returned; the first of that name. False when absent or `object` is no object. */
bool amf_object_find(const struct amf_value *object, const char *name, struct amf_value *ret_value);
bool amf_is_string(const struct amf_value *value, const char *text);
/* Copies a string, zero-terminated. False (`out` untouched) when it is none, too long, or has a zero within. */
bool amf_copy_string(const struct amf_value *value, char *out, size_t size);

/* Writers; overflow shows in `out`. Strings are at most 65535 bytes. */
void amf_write_number(struct buf *out, double number);
void amf_write_string(struct buf *out, const char *text);
void amf_write_null(struct buf *out);
/* An object: begin, then per property a name and a value, then end. */
void amf_write_object_begin(struct buf *out);
void amf_write_name(struct buf *out, const char *name);
void amf_write_object_end(struct buf *out);
/* A strict array; so many values follow. */
void amf_write_array_begin(struct buf *out, uint32_t count);
