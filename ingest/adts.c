#include "ingest/adts.h"

#include <string.h>

#include "ingest/aac.h"

enum {
    HEAD = 7,
    CRC_LEN = 2,
    FRAME_SAMPLES = 1024,
};

struct header {
    size_t len, frame_len; /* frame_len: with the header */
    uint8_t config[ADTS_CONFIG_LEN];
    uint32_t sample_rate;
    bool several; /* raw blocks, whose ends only a decoder finds */
};

void adts_init(struct adts *adts) {
    *adts = (struct adts){0};
    buf_init(&adts->pending, ADTS_PENDING_MAX);
}

void adts_finish(struct adts *adts) {
    buf_finish(&adts->pending);
}

static bool parse_header(const uint8_t *p, struct header *header) {
    bool synced = p[0] == 0xff && (p[1] & 0xf6) == 0xf0; /* and layer 0 */
    uint8_t object_type = (uint8_t)((p[2] >> 6) + 1), rate = p[2] >> 2 & 0x0f;
    uint8_t channels = (uint8_t)((p[2] & 1) << 2 | p[3] >> 6);
    if (!synced || rate >= AAC_RATES)
        return false;
    *header = (struct header){.len = HEAD + (p[1] & 1 ? 0 : CRC_LEN),
                              .frame_len = (size_t)((p[3] & 3) << 11 | p[4] << 3 | p[5] >> 5),
                              .config = {(uint8_t)(object_type << 3 | rate >> 1), (uint8_t)(rate << 7 | channels << 3)},
                              .sample_rate = aac_rates[rate],
                              .several = p[6] & 3};
    return header->frame_len > header->len;
}

enum belief { BELIEVED, DISBELIEVED, UNDECIDED };

/* Media may look like a header, too. One is believed that says what those before it said, or whose frame is followed by
 * another like it, or ends with the PES packet. */
static enum belief judge(const struct adts *adts, const struct header *header) {
    size_t len = buf_len(&adts->pending);
    struct header next;
    if (adts->has_config && !memcmp(header->config, adts->config, ADTS_CONFIG_LEN))
        return BELIEVED;
    if (len == header->frame_len)
        return BELIEVED;
    if (len < header->frame_len + HEAD)
        return UNDECIDED;
    bool alike = parse_header(buf_head(&adts->pending) + header->frame_len, &next) &&
                 !memcmp(next.config, header->config, ADTS_CONFIG_LEN);
    return alike ? BELIEVED : DISBELIEVED;
}

/* A PES packet's time is of the first frame that begins in it: of the one whose first byte is at the front, whole or
 * not. */
static void bind_time(struct adts *adts) {
    if (!adts->has_next_time || adts->next_time_at || !buf_len(&adts->pending))
        return;
    adts->has_time = true;
    adts->has_next_time = false;
    adts->time_ts = adts->next_time_ts;
    adts->frames = 0;
}

static void consume(struct adts *adts, size_t len) {
    buf_consume(&adts->pending, len);
    adts->next_time_at -= adts->next_time_at < len ? adts->next_time_at : len;
    bind_time(adts);
}

int adts_push(struct adts *adts, const uint8_t *data, size_t len, bool has_time, int64_t pts_ts) {
    consume(adts, adts->consumed);
    adts->consumed = 0;
    if (has_time) {
        adts->next_time_at = buf_len(&adts->pending);
        adts->has_next_time = true;
        adts->next_time_ts = pts_ts;
    }
    int rc = buf_append(&adts->pending, data, len);
    if (rc) {
        adts_gap(adts);
        adts->dropped++;
    }
    bind_time(adts);
    return rc;
}

void adts_gap(struct adts *adts) {
    adts->consumed = 0;
    buf_clear(&adts->pending);
    adts->has_time = adts->has_next_time = false;
}

/* The time of a frame that begins at the front. False when there is none. */
static bool time_of(struct adts *adts, uint32_t sample_rate, int64_t *ret_ts) {
    uint64_t samples = adts->frames++ * FRAME_SAMPLES;
    *ret_ts = adts->time_ts + (int64_t)((samples * ADTS_HZ + sample_rate / 2) / sample_rate);
    return adts->has_time;
}

/* Brings a whole frame to the front. */
static bool find_frame(struct adts *adts, struct header *ret_header) {
    while (buf_len(&adts->pending) >= HEAD) {
        bool parsed = parse_header(buf_head(&adts->pending), ret_header);
        enum belief belief = parsed ? judge(adts, ret_header) : DISBELIEVED;
        if (belief != DISBELIEVED)
            return belief == BELIEVED && buf_len(&adts->pending) >= ret_header->frame_len;
        consume(adts, 1);
        adts->skipped_bytes++;
    }
    return false;
}

static bool set_config(struct adts *adts, const uint8_t config[ADTS_CONFIG_LEN]) {
    bool changed = !adts->has_config || memcmp(config, adts->config, ADTS_CONFIG_LEN) != 0;
    memcpy(adts->config, config, ADTS_CONFIG_LEN);
    adts->has_config = true;
    return changed;
}

bool adts_next(struct adts *adts, struct adts_frame *ret_frame) {
    consume(adts, adts->consumed);
    adts->consumed = 0;
    struct header header;
    while (find_frame(adts, &header)) {
        int64_t pts_ts;
        bool has_time = time_of(adts, header.sample_rate, &pts_ts);
        if (!has_time || header.several) {
            consume(adts, header.frame_len);
            adts->dropped++;
            continue;
        }
        *ret_frame = (struct adts_frame){.config_changed = set_config(adts, header.config),
                                         .pts_ts = pts_ts,
                                         .data = buf_head(&adts->pending) + header.len,
                                         .len = header.frame_len - header.len};
        adts->consumed = header.frame_len;
        return true;
    }
    return false;
}
