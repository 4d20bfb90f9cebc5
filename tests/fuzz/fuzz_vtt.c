/* Bytes as two chunks of subtitles, as another node may have sent them, made into a file. */
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/media/vtt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct buf file;
    buf_init(&file, VTT_FILE_MAX);
    vtt_file_begin(&file, 0);
    vtt_file_add(&file, data, size / 2);
    vtt_file_add(&file, data + size / 2, size - size / 2);
    size_t once = buf_len(&file);
    vtt_file_add(&file, data, size / 2); /* is in there */
    if (buf_len(&file) != once)
        abort();
    buf_finish(&file);
    return 0;
}
