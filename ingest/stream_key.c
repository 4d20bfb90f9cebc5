#include "ingest/stream_key.h"

#include <stdio.h>
#include <string.h>

void stream_key_split(const char *full, char *name, size_t name_size, char *key, size_t key_size, bool *ret_backup) {
    size_t n = strcspn(full, "?");
    snprintf(name, name_size, "%.*s", (int)(n < name_size ? n : name_size), full);
    key[0] = 0;
    if (ret_backup)
        *ret_backup = false;
    for (const char *p = full + n; *p;) {
        p++;
        size_t len = strcspn(p, "&");
        if (len > 4 && !strncmp(p, "key=", 4) && len - 4 < key_size)
            snprintf(key, key_size, "%.*s", (int)(len - 4), p + 4);
        if (ret_backup && len == 8 && !strncmp(p, "backup=1", 8))
            *ret_backup = true;
        p += len;
    }
}
