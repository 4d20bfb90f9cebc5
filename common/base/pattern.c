#include "common/base/pattern.h"

#include <stdint.h>
#include <string.h>

size_t pattern_closeness(const char *pattern, size_t len, const char *name) {
    if (len && pattern[len - 1] == '*')
        return strncmp(pattern, name, len - 1) == 0 ? len : 0;
    return strlen(name) == len && memcmp(pattern, name, len) == 0 ? SIZE_MAX : 0;
}
