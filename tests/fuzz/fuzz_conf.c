/* Any bytes as a configuration: either it is refused with 1 to 20 lines, or what comes out keeps the rules that the
 * rest of the program counts on. */
#include <stdint.h>
#include <stdlib.h>

#include "common/base/buf.h"
#include "conf/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok) {
    if (!ok)
        abort();
}

static void check_accepted(const struct conf *conf) {
    check(conf->node && *conf->node);
    check(conf->ingest_on || conf->origin_on || conf->relay_on);
    check(!conf->ingest_on || conf->ingest.rtmp_listen.count > 0);
    check(!conf->relay_on || conf->http.listen.count > 0);
    check(conf->live.segment_ms >= 1000 && conf->live.part_ms >= 50 && conf->live.part_ms <= conf->live.segment_ms / 2);
    check(conf->live.window_s * 1000 >= 7 * conf->live.segment_ms);
    check(conf->auth.publish_keys.count <= CONF_LIST_MAX && conf->hls.muxed <= CONF_MUXED_NEVER);
}

static void check_refused(const struct buf *errors) {
    size_t lines = 0;
    for (size_t i = 0; i < buf_len(errors); i++)
        lines += buf_head(errors)[i] == '\n';
    check(!errors->overflow && lines >= 1 && lines <= 20);
    check(buf_head(errors)[buf_len(errors) - 1] == '\n');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct buf errors;
    buf_init(&errors, 64 << 10);
    struct conf *conf = conf_parse("f", (const char *)data, size, &errors);
    if (conf)
        check_accepted(conf);
    else
        check_refused(&errors);
    conf_destroy(conf);
    buf_finish(&errors);
    return 0;
}
