#include <stdlib.h>

#include "ingest/aac.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct aac_config config;
    const char *why = NULL;
    if (aac_config_parse(data, size, &config, &why)) {
        if (!why)
            abort();
        return 0;
    }
    if (config.channels < 1 || config.channels > 8 || config.sample_rate < config.core_rate ||
        config.frame_samples < 960 || config.frame_samples > 2048)
        abort();
    return 0;
}
