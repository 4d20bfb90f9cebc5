#include "common/base/language_names.h"

#include <string.h>

bool language_tag_ok(const char *tag, size_t len) {
    size_t subtag = 0;
    for (size_t i = 0; i < len; i++) {
        bool letter = (tag[i] | 32) >= 'a' && (tag[i] | 32) <= 'z', digit = tag[i] >= '0' && tag[i] <= '9';
        if (!letter && (i < 2 || !(digit || (tag[i] == '-' && subtag))))
            return false;
        subtag = tag[i] == '-' ? 0 : subtag + 1;
        if (subtag > 8)
            return false;
    }
    return len >= 2 && len < LANGUAGE_LEN && subtag > 0;
}

bool language_label_ok(const char *label) {
    for (const char *c = label; *c; c++)
        if ((unsigned char)*c < ' ' || *c == '"' || *c == 0x7f)
            return false;
    return strlen(label) < LABEL_LEN;
}
