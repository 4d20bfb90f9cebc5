#include "ingest/ts_packet.h"

#include <string.h>

enum {
    HEAD = 4,
    PCR_LEN = 6,
    HAS_PAYLOAD = 1,
    HAS_ADAPTATION = 2,
    FLAG_DISCONTINUITY = 0x80,
    FLAG_PCR = 0x10,
    FLAG_OPCR = 0x08,
    FLAG_SPLICE = 0x04,
    FLAG_PRIVATE = 0x02,
    FLAG_EXTENSION = 0x01,
};

/* Whether what the flags announce leaves bytes over. `field` is the adaptation field behind its length. */
static bool has_stuffing(const uint8_t *field, size_t len) {
    if (!len)
        return true; /* the length itself is there to fill a byte */
    size_t used = 1 + (field[0] & FLAG_PCR ? PCR_LEN : 0) + (field[0] & FLAG_OPCR ? PCR_LEN : 0) +
                  (field[0] & FLAG_SPLICE ? 1 : 0);
    for (uint8_t flag = FLAG_PRIVATE; flag >= FLAG_EXTENSION; flag >>= 1)
        if (field[0] & flag)
            used += 1 + (used < len ? field[used] : len);
    return used < len;
}

static bool read_adaptation(const uint8_t *data, bool has_payload, struct ts_packet *packet, size_t *pos) {
    size_t len = data[HEAD];
    if (len > TS_PACKET - HEAD - 1 - (has_payload ? 1 : 0))
        return false;
    packet->stuffed = has_stuffing(data + HEAD + 1, len);
    packet->discontinuity = len && data[HEAD + 1] & FLAG_DISCONTINUITY;
    *pos += 1 + len;
    return true;
}

bool ts_packet_parse(const uint8_t data[TS_PACKET], struct ts_packet *ret_packet) {
    bool damaged = data[1] & 0x80, scrambled = data[3] & 0xc0;
    uint8_t has = data[3] >> 4 & 3;
    if (data[0] != TS_SYNC || damaged || scrambled || !has)
        return false;
    *ret_packet = (struct ts_packet){.pid = (uint16_t)((data[1] & 0x1f) << 8 | data[2]),
                                     .counter = data[3] & 0x0f,
                                     .starts = data[1] & 0x40};
    size_t pos = HEAD;
    if (has & HAS_ADAPTATION && !read_adaptation(data, has & HAS_PAYLOAD, ret_packet, &pos))
        return false;
    if (has & HAS_PAYLOAD) {
        ret_packet->payload = data + pos;
        ret_packet->len = TS_PACKET - pos;
    }
    return true;
}

static bool same_payload(const struct ts_counter *counter, const struct ts_packet *packet) {
    return counter->last_len == packet->len && !memcmp(counter->last_payload, packet->payload, packet->len);
}

enum ts_continuity ts_counter_check(struct ts_counter *counter, const struct ts_packet *packet) {
    if (!packet->len)
        return TS_CONTINUES;
    if (counter->known && packet->counter == counter->last && same_payload(counter, packet))
        return TS_REPEATED;
    bool continues = !counter->known || packet->counter == ((counter->last + 1) & 0x0f);
    counter->known = true;
    counter->last = packet->counter;
    counter->last_len = (uint8_t)packet->len;
    memcpy(counter->last_payload, packet->payload, packet->len);
    return continues ? TS_CONTINUES : TS_BROKEN;
}
