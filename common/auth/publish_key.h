/* Stream keys for publishing. Pure; comparison takes the same time whatever the key. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

enum { PUBLISH_KEY_MAX = 128 }; /* bytes of a KEY */

/* `keys`: "KEY" admits to any stream; "app/name:KEY" only there, and a name that ends in an asterisk
 * ("live*:KEY") to all that begin so. The first colon ends the name, so a KEY that has one needs a name ("*:a:b").
 * A KEY has 1 to PUBLISH_KEY_MAX bytes; others admit nobody. `key` is what the publisher gave, NULL for none. No keys configured:
 * open to all. */
bool publish_key_admits(char *const *keys, size_t count, const char *stream, const char *key);
