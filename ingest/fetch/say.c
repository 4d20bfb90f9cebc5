#include "ingest/fetch/say.h"

#include <libavutil/error.h>
#include <stdio.h>

void say(const char *format, ...) {
    char line[512];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    fprintf(stderr, "%s\n", line);
}

void say_error(const char *what, int error) {
    char why[AV_ERROR_MAX_STRING_SIZE];
    say("%s: %s", what, av_make_error_string(why, sizeof why, error));
}
