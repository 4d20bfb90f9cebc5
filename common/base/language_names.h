/* Languages and what players call them, as settings, the API and feeds have them. Pure. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

enum { LANGUAGE_LEN = 12, LABEL_LEN = 48 }; /* with the terminating zero */

/* Whether the first `len` bytes have the shape of a BCP 47 tag (RFC 5646 §2.1) of at most LANGUAGE_LEN - 1 bytes. */
bool language_tag_ok(const char *tag, size_t len);
/* Whether a name may stand in quotes in playlists: at most LABEL_LEN - 1 bytes, none of them a quote or a control character. */
bool language_label_ok(const char *label);
