/* Bytes as cues that are posted, WebVTT or JSON. What is taken must stay one cue when it is printed: no line of it is
 * empty, and nothing in it begins another; and a file that is made of it reads the same. */
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "ingest/cues.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct cue *cue) {
    if (cue->end_us <= cue->start_us || cue->end_us - cue->start_us > CUE_LONGEST_MS * INT64_C(1000) ||
        !cues_names_ok(cue->language, cue->label))
        abort();
    if (cue->text[0] == '\n' || strstr(cue->text, "\n\n") || strstr(cue->text, "-->") || strchr(cue->text, '\r') ||
        strpbrk(cue->settings, "\r\n") || strstr(cue->settings, "-->"))
        abort();
}

/* Printed as it is on its way to viewers, and read again. */
static void check_again(const struct cue *cue) {
    struct buf file;
    struct cues again;
    buf_init(&file, 4096);
    buf_printf(&file, "WEBVTT\n\n1\n00:00.000 --> 00:01.000%s%s\n%s%s\n", *cue->settings ? " " : "", cue->settings,
               cue->text, *cue->text ? "\n" : "");
    if (cues_parse_vtt(&again, buf_head(&file), buf_len(&file), "de", "", 0) || again.count != 1 ||
        strcmp(again.items[0].text, cue->text) != 0 || strcmp(again.items[0].settings, cue->settings) != 0)
        abort();
    cues_finish(&again);
    buf_finish(&file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    for (int vtt = 0; vtt < 2; vtt++) {
        struct cues cues;
        int rc = vtt ? cues_parse_vtt(&cues, data, size, "zh-Hans", "a name", INT64_C(1790000000000000))
                     : cues_parse_json(&cues, data, size, INT64_C(1790000000000000));
        if ((rc != 0) != (cues.why[0] != 0))
            abort();
        for (uint32_t i = 0; !rc && i < cues.count; i++) {
            check(&cues.items[i]);
            check_again(&cues.items[i]);
        }
        cues_finish(&cues);
    }
    return 0;
}
