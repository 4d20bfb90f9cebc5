/* What weir-fetch has to say, a line each on stderr, which the node logs; the last one is why it ended. */
#pragma once
#include <stdarg.h>

enum {
    EXIT_END = 0,      /* the source has ended */
    EXIT_TROUBLE = 1,  /* another time it may work */
    EXIT_UNUSABLE = 2, /* it never will, as far as can be told */
};

void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* With libavformat's word for its error. */
void say_error(const char *what, int error);
