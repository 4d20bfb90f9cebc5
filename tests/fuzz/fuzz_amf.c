/* AMF0 values one after the other, and look-ups in those that are objects. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "ingest/amf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_into(const struct amf_value *value) {
    static const char *const names[] = {"app", "framerate", "encoder", ""};
    char text[32];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct amf_value property;
        if (amf_object_find(value, names[i], &property))
            amf_copy_string(&property, text, sizeof text);
    }
    if (value->type == AMF_STRING && value->len && !value->data)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct amf_reader reader;
    struct amf_value value;
    amf_reader_init(&reader, data, size);
    while (!amf_read(&reader, &value))
        look_into(&value);
    return 0;
}
