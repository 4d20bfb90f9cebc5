/* One packet of an MPEG transport stream (ISO/IEC 13818-1 §2.4.3): its header and adaptation field. Pure. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TS_PACKET = 188, TS_SYNC = 0x47, TS_PID_NULL = 0x1fff, TS_PID_FIRST = 0x10 /* below are tables */ };

struct ts_packet {
    uint16_t pid;
    uint8_t counter;    /* continuity_counter */
    bool starts;        /* payload_unit_start_indicator */
    bool discontinuity; /* discontinuity_indicator: the counter and the clock may jump here */
    bool stuffed;       /* its adaptation field has bytes that say nothing */
    const uint8_t *payload; /* within the packet's bytes */
    size_t len;         /* 0: no payload */
};

/* False when it is of no use: damaged on the way, scrambled or malformed. */
bool ts_packet_parse(const uint8_t data[TS_PACKET], struct ts_packet *ret_packet);

/* What a PID's continuity counter says of a packet. Those without payload don't count. */
enum ts_continuity { TS_CONTINUES, TS_REPEATED, TS_BROKEN };

struct ts_counter {
    bool known;
    uint8_t last, last_len;
    uint8_t last_payload[TS_PACKET]; /* a packet may be sent twice; fifteen lost ones look alike but for this */
};
enum ts_continuity ts_counter_check(struct ts_counter *counter, const struct ts_packet *packet);
