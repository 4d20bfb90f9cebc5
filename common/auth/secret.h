/* Secrets, compared in a time that says nothing of them. Pure. */
#pragma once
#include <stdbool.h>

enum { SECRET_MAX = 128 }; /* bytes; nothing longer is equal to anything */

/* An empty one is none: it isn't even equal to itself. NULL is empty. */
bool secret_equal(const char *a, const char *b);
/* Whether an Authorization header's value (NULL: there is none) bears the secret (RFC 6750 §2.1). */
bool secret_borne(const char *secret, const char *authorization);
