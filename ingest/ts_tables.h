/* The tables of an MPEG transport stream that say what is in it: PAT and PMT (ISO/IEC 13818-1 §2.4.4). Keeps to one
 * programme: the first one heard of that has video, else the first. Pure, bounded. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ingest/codec.h"
#include "ingest/ts_packet.h"

enum {
    TS_SECTION_MAX = 1024,
    TS_PROGRAMMES_MAX = 16,
    TS_IGNORED_MAX = 8,
    TS_AUDIO_MAX = 4, /* of a programme */
    TS_TYPE_PRIVATE = 0x06, /* what it is, a registration says */
    TS_TYPE_AAC = 0x0f, /* in ADTS */
    TS_TYPE_H264 = 0x1b,
    TS_TYPE_HEVC = 0x24,
};

struct ts_section {
    struct ts_counter counter;
    bool open;
    size_t len;
    uint8_t data[TS_SECTION_MAX];
};

/* One that is taken. */
struct ts_stream {
    uint16_t pid; /* 0: there is none */
    enum codec codec;
    uint8_t opus_channels;
    char language[3]; /* ISO 639-2; zeros: not said */
};

struct ts_programme {
    uint16_t number, pid;
    uint32_t heard, crc; /* times that its PMT came; of the last */
    struct ts_stream video, audio[TS_AUDIO_MAX]; /* in the table's order */
    uint32_t audio_count;
    uint8_t ignored[TS_IGNORED_MAX], ignored_count; /* stream types, each once */
    uint32_t audio_left_out;                        /* that there is no room for */
    struct ts_section section;
};

struct ts_tables {
    bool has_pat;
    uint32_t pat_crc;
    struct ts_section pat;
    struct ts_programme programmes[TS_PROGRAMMES_MAX];
    uint32_t count;
    struct ts_programme *chosen; /* NULL: none yet */
    uint64_t bad_sections;
};

/* Takes a packet that isn't media. True when `chosen`, or what is in it, became another. */
bool ts_tables_take(struct ts_tables *tables, const struct ts_packet *packet);
/* Packets are missing here. */
void ts_tables_gap(struct ts_tables *tables);
/* What a stream type stands for, in words (static text). */
const char *ts_type_name(uint8_t stream_type);
