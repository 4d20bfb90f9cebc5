#include "ingest/amf.h"

#include <errno.h>
#include <string.h>

#include "common/base/buf.h"

/* Markers (AMF0 §2.1). */
enum {
    MARK_NUMBER = 0,
    MARK_BOOLEAN = 1,
    MARK_STRING = 2,
    MARK_OBJECT = 3,
    MARK_NULL = 5,
    MARK_UNDEFINED = 6,
    MARK_REFERENCE = 7,
    MARK_ECMA_ARRAY = 8,
    MARK_OBJECT_END = 9,
    MARK_STRICT_ARRAY = 10,
    MARK_DATE = 11,
    MARK_LONG_STRING = 12,
    MARK_UNSUPPORTED = 13,
    MARK_XML = 15,
    MARK_TYPED_OBJECT = 16,
};

static int read_value(struct amf_reader *reader, uint32_t depth, struct amf_value *ret_value);

void amf_reader_init(struct amf_reader *reader, const uint8_t *data, size_t len) {
    *reader = (struct amf_reader){.pos = data, .end = data + len};
}

/* The next `len` bytes, or NULL when there are fewer. */
static const uint8_t *take(struct amf_reader *reader, size_t len) {
    if ((size_t)(reader->end - reader->pos) < len)
        return NULL;
    const uint8_t *p = reader->pos;
    reader->pos += len;
    return p;
}

static int take_unsigned(struct amf_reader *reader, int bytes, uint32_t *ret_value) {
    const uint8_t *p = take(reader, (size_t)bytes);
    if (!p)
        return -EBADMSG;
    *ret_value = 0;
    for (int i = 0; i < bytes; i++)
        *ret_value = *ret_value << 8 | p[i];
    return 0;
}

static int take_number(struct amf_reader *reader, double *ret_number) {
    uint32_t high, low;
    if (take_unsigned(reader, 4, &high) || take_unsigned(reader, 4, &low))
        return -EBADMSG;
    uint64_t bits = (uint64_t)high << 32 | low;
    memcpy(ret_number, &bits, sizeof bits);
    return 0;
}

static int take_string(struct amf_reader *reader, int length_bytes, struct amf_value *ret_value) {
    uint32_t len;
    const uint8_t *p;
    if (take_unsigned(reader, length_bytes, &len) || !(p = take(reader, len)))
        return -EBADMSG;
    *ret_value = (struct amf_value){.type = AMF_STRING, .data = p, .len = len};
    return 0;
}

static int take_boolean(struct amf_reader *reader, struct amf_value *ret_value) {
    const uint8_t *p = take(reader, 1);
    if (!p)
        return -EBADMSG;
    ret_value->boolean = *p != 0;
    return 0;
}

static int count_property(struct amf_reader *reader) {
    return ++reader->properties > AMF_PROPERTIES_MAX ? -EBADMSG : 0;
}

/* One property, or the end of the object: 1. */
static int take_property(struct amf_reader *reader, uint32_t depth, struct amf_value *ret_name,
                         struct amf_value *ret_value) {
    int rc = take_string(reader, 2, ret_name);
    if (rc)
        return rc;
    if (!ret_name->len && reader->pos < reader->end && *reader->pos == MARK_OBJECT_END) {
        reader->pos++;
        return 1;
    }
    rc = count_property(reader);
    return rc ? rc : read_value(reader, depth + 1, ret_value);
}

static int skip_object(struct amf_reader *reader, uint32_t depth, struct amf_value *ret_value) {
    struct amf_value name, value;
    ret_value->data = reader->pos;
    int rc;
    do
        rc = take_property(reader, depth, &name, &value);
    while (!rc);
    ret_value->len = (size_t)(reader->pos - ret_value->data);
    return rc > 0 ? 0 : rc;
}

static int skip_array(struct amf_reader *reader, uint32_t depth) {
    struct amf_value element;
    uint32_t count;
    if (take_unsigned(reader, 4, &count))
        return -EBADMSG;
    for (; count; count--)
        if (count_property(reader) || read_value(reader, depth + 1, &element))
            return -EBADMSG;
    return 0;
}

static int read_date(struct amf_reader *reader, struct amf_value *ret_value) {
    return take_number(reader, &ret_value->number) || !take(reader, 2) ? -EBADMSG : 0;
}

static int read_object(struct amf_reader *reader, uint8_t mark, uint32_t depth, struct amf_value *ret_value) {
    struct amf_value class_name;
    if (mark == MARK_ECMA_ARRAY && !take(reader, 4)) /* a count that nobody can rely on */
        return -EBADMSG;
    if (mark == MARK_TYPED_OBJECT && take_string(reader, 2, &class_name))
        return -EBADMSG;
    return skip_object(reader, depth, ret_value);
}

static int read_marked(struct amf_reader *reader, uint8_t mark, uint32_t depth, struct amf_value *ret_value) {
    switch (mark) {
    case MARK_NUMBER:
        ret_value->type = AMF_NUMBER;
        return take_number(reader, &ret_value->number);
    case MARK_BOOLEAN:
        ret_value->type = AMF_BOOLEAN;
        return take_boolean(reader, ret_value);
    case MARK_STRING:
        return take_string(reader, 2, ret_value);
    case MARK_LONG_STRING:
    case MARK_XML:
        return take_string(reader, 4, ret_value);
    case MARK_OBJECT:
    case MARK_ECMA_ARRAY:
    case MARK_TYPED_OBJECT:
        ret_value->type = AMF_OBJECT;
        return read_object(reader, mark, depth, ret_value);
    case MARK_STRICT_ARRAY:
        ret_value->type = AMF_ARRAY;
        return skip_array(reader, depth);
    case MARK_DATE:
        ret_value->type = AMF_DATE;
        return read_date(reader, ret_value);
    case MARK_NULL:
    case MARK_UNDEFINED:
    case MARK_UNSUPPORTED:
        return 0;
    case MARK_REFERENCE:
        return take(reader, 2) ? 0 : -EBADMSG;
    default:
        return -EBADMSG;
    }
}

static int read_value(struct amf_reader *reader, uint32_t depth, struct amf_value *ret_value) {
    const uint8_t *mark = take(reader, 1);
    *ret_value = (struct amf_value){.type = AMF_NULL};
    return !mark || depth > AMF_DEPTH_MAX ? -EBADMSG : read_marked(reader, *mark, depth, ret_value);
}

int amf_read(struct amf_reader *reader, struct amf_value *ret_value) {
    struct amf_value value;
    if (reader->pos == reader->end)
        return -ENODATA;
    int rc = read_value(reader, 0, &value);
    if (rc)
        reader->pos = reader->end;
    else
        *ret_value = value;
    return rc;
}

int amf_read_string(struct amf_reader *reader, struct amf_value *ret_value) {
    struct amf_value value;
    int rc = amf_read(reader, &value);
    if (!rc && value.type != AMF_STRING)
        rc = -EBADMSG;
    if (!rc)
        *ret_value = value;
    return rc;
}

int amf_read_number(struct amf_reader *reader, double *ret_number) {
    struct amf_value value;
    int rc = amf_read(reader, &value);
    if (!rc && value.type != AMF_NUMBER)
        rc = -EBADMSG;
    if (!rc)
        *ret_number = value.number;
    return rc;
}

bool amf_object_find(const struct amf_value *object, const char *name, struct amf_value *ret_value) {
    if (object->type != AMF_OBJECT)
        return false;
    struct amf_reader reader;
    struct amf_value key, value;
    amf_reader_init(&reader, object->data, object->len);
    while (!take_property(&reader, 0, &key, &value)) {
        if (amf_is_string(&key, name)) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

bool amf_is_string(const struct amf_value *value, const char *text) {
    size_t len = strlen(text);
    return value->type == AMF_STRING && value->len == len && !memcmp(value->data, text, len);
}

bool amf_copy_string(const struct amf_value *value, char *out, size_t size) {
    if (value->type != AMF_STRING || value->len >= size || memchr(value->data, 0, value->len))
        return false;
    memcpy(out, value->data, value->len);
    out[value->len] = 0;
    return true;
}

/* --- writing --- */

static void put(struct buf *out, uint64_t value, int bytes) {
    uint8_t p[8];
    for (int i = bytes - 1; i >= 0; i--, value >>= 8)
        p[i] = (uint8_t)value;
    buf_append(out, p, (size_t)bytes);
}

void amf_write_number(struct buf *out, double number) {
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    put(out, MARK_NUMBER, 1);
    put(out, bits, 8);
}

void amf_write_string(struct buf *out, const char *text) {
    put(out, MARK_STRING, 1);
    amf_write_name(out, text);
}

void amf_write_null(struct buf *out) {
    put(out, MARK_NULL, 1);
}

void amf_write_object_begin(struct buf *out) {
    put(out, MARK_OBJECT, 1);
}

void amf_write_name(struct buf *out, const char *name) {
    size_t len = strlen(name);
    if (len > UINT16_MAX)
        len = UINT16_MAX;
    put(out, len, 2);
    buf_append(out, name, len);
}

void amf_write_object_end(struct buf *out) {
    put(out, MARK_OBJECT_END, 3); /* an empty name, then the marker */
}

void amf_write_array_begin(struct buf *out, uint32_t count) {
    put(out, MARK_STRICT_ARRAY, 1);
    put(out, count, 4);
}
