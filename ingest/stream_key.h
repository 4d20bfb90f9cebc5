/* What broadcasters put into the field for the stream key: the stream's name, and behind it, as a query, the key that lets them publish, and whether
 * they are a backup (or join another's push: join_request.h). */
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* Splits "show?key=abc&backup=1" into the name and the key ("" when absent, or longer than `key_size` holds). A name that is too long is
 * cut. `ret_backup` may be NULL. */
void stream_key_split(const char *full, char *name, size_t name_size, char *key, size_t key_size, bool *ret_backup);
