/* Patterns of names, as settings have them: a name, or how names begin, with a "*" behind that. Pure. */
#pragma once
#include <stddef.h>

/* How closely the first `len` bytes of `pattern` name `name`: 0 not at all; of patterns that do, the longer the more; the name itself most. */
size_t pattern_closeness(const char *pattern, size_t len, const char *name);
