#include "ingest/ts.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"

/* A track's PES packet is `open` from its first packet to its last. Between the two it may be found damaged, which
 * closes it; packets that come for a closed one are passed over. */
struct track {
    struct ts_stream stream; /* pid 0: there is no such track */
    enum track_kind kind;
    uint8_t number;
    struct ts_counter counter;
    struct buf pes;
    bool open;
    bool lost; /* something, since the last one that was given */
    /* stuffing as a sign of the end */
    bool stuffed;      /* the open one's latest packet */
    bool given_early;  /* the latest, by that sign; nothing of it may follow */
    bool stuffs_midst; /* the sign is worth nothing */
    uint32_t agreed;   /* how often it was there when the next one began */
};

enum {
    TRACKS = 1 + TS_AUDIO_MAX,
    AGREED_MIN = 2,   /* a probe waits for three frames anyway */
    PES_HEAD = 6,     /* to the end of PES_packet_length */
    PES_LONG = 9,     /* to the end of PES_header_data_length */
    PES_FULL = 60000, /* some keep a little below UINT16_MAX */
    STAMP_LEN = 5,
};

static const int64_t time_max = INT64_C(1)
                                << 50; /* unwrapped time begins anew there: no arithmetic comes near its end */

struct ts {
    bool in_step;
    size_t have;
    uint8_t packet[TS_PACKET + 1]; /* and the first byte of the next, to get in step */
    bool resumed;                  /* the packet was looked at, but what was before it had to be given first */
    struct ts_tables tables;
    struct track tracks[TRACKS]; /* the first is the picture */
    struct track *given;         /* its data is the user's until the next call */
    bool has_time;
    int64_t time_ts; /* latest, unwrapped */
    bool told[256];  /* stream types */
    struct ts_counters counters;
};

struct ts *ts_create(void) {
    struct ts *ts = calloc(1, sizeof *ts);
    if (!ts)
        abort();
    for (uint8_t i = 0; i < TRACKS; i++) {
        ts->tracks[i].kind = i ? TRACK_AUDIO : TRACK_VIDEO;
        ts->tracks[i].number = i ? i - 1 : 0;
        buf_init(&ts->tracks[i].pes, i ? TS_AUDIO_PES_MAX : TS_VIDEO_PES_MAX);
    }
    return ts;
}

void ts_destroy(struct ts *ts) {
    if (!ts)
        return;
    for (int i = 0; i < TRACKS; i++)
        buf_finish(&ts->tracks[i].pes);
    free(ts);
}

/* --- PES --- */

static void drop(struct ts *ts, struct track *track) {
    ts->counters.pes_dropped += track->open;
    track->open = track->given_early = false;
    track->lost = true;
    buf_clear(&track->pes);
}

/* §2.4.3.7: 33 bits among marker bits. */
static uint64_t read_stamp(const uint8_t *p) {
    return (uint64_t)(p[0] >> 1 & 7) << 30 | (uint64_t)p[1] << 22 | (uint64_t)(p[2] >> 1) << 15 | (uint64_t)p[3] << 7 |
           p[4] >> 1;
}

static int64_t unwrapped(int64_t near, uint64_t stamp) {
    int64_t delta = (int64_t)((stamp - (uint64_t)near) << 31) >> 31;
    return near + delta;
}

static void read_times(struct ts *ts, const uint8_t *pes, size_t header_len, struct ts_event *event) {
    bool has_pts = pes[7] & 0x80 && header_len >= STAMP_LEN;
    bool has_dts = has_pts && pes[7] & 0x40 && header_len >= 2 * STAMP_LEN;
    event->has_time = has_pts;
    if (!has_pts)
        return;
    uint64_t pts = read_stamp(pes + PES_LONG), dts = has_dts ? read_stamp(pes + PES_LONG + STAMP_LEN) : pts;
    if (!ts->has_time || llabs(ts->time_ts) > time_max)
        ts->time_ts = (int64_t)dts;
    ts->has_time = true;
    event->dts_ts = ts->time_ts = unwrapped(ts->time_ts, dts);
    event->pts_ts = unwrapped(event->dts_ts, pts);
}

/* 0 while it is not known, or unbounded. */
static size_t pes_len(const struct track *track) {
    const uint8_t *pes = buf_head(&track->pes);
    size_t len = buf_len(&track->pes) >= PES_HEAD ? (size_t)(pes[4] << 8 | pes[5]) : 0;
    return len ? PES_HEAD + len : 0;
}

/* The open packet is all there. False when there is nothing in it that can be used. */
static bool give(struct ts *ts, struct track *track, struct ts_event *event) {
    const uint8_t *pes = buf_head(&track->pes);
    size_t len = buf_len(&track->pes), total = pes_len(track), header_len = len >= PES_LONG ? pes[8] : 0;
    if (total && total < len)
        len = total; /* behind it there is nothing of meaning */
    size_t begin = PES_LONG + header_len;
    if (len < begin || (pes[6] & 0xc0) != 0x80 || pes[6] & 0x30) { /* no PES header, or scrambled */
        drop(ts, track);
        return false;
    }
    track->open = false;
    if (len == begin)
        return false;
    *event = (struct ts_event){.what = TS_PES,
                               .kind = track->kind,
                               .track = track->number,
                               .codec = track->stream.codec,
                               .after_loss = track->lost,
                               .full = total >= PES_FULL,
                               .data = pes + begin,
                               .len = len - begin};
    read_times(ts, pes, header_len, event);
    track->lost = false;
    ts->given = track;
    ts->counters.pes++;
    return true;
}

/* The next one begins. */
static bool end(struct ts *ts, struct track *track, struct ts_event *event) {
    track->given_early = false;
    if (!track->open)
        return false;
    if (pes_len(track)) {
        drop(ts, track); /* else it would have been given */
        return false;
    }
    track->agreed += track->stuffed && track->agreed < AGREED_MIN;
    return give(ts, track, event);
}

/* Whether media may be in a packet of this stream_id (§2.4.3.7). Those without flags and times are tables, keys, or
 * padding, which comes between pictures of a track that is sent at a constant rate. */
static bool may_be_media(uint8_t stream_id) {
    static const uint8_t others[] = {0xbc, 0xbe, 0xbf, 0xf0, 0xf1, 0xf2, 0xf8, 0xff};
    return !memchr(others, stream_id, sizeof others);
}

static void begin(struct ts *ts, struct track *track, const struct ts_packet *packet) {
    static const uint8_t prefix[] = {0, 0, 1};
    bool is_pes = packet->len >= sizeof prefix && !memcmp(packet->payload, prefix, sizeof prefix);
    buf_clear(&track->pes);
    track->stuffed = false;
    track->open = is_pes && (packet->len == sizeof prefix || may_be_media(packet->payload[sizeof prefix]));
    if (!is_pes) {
        ts->counters.pes_dropped++;
        track->lost = true;
    }
}

static void stuffs_midst(struct ts *ts, struct track *track) {
    track->stuffs_midst = true;
    if (track->given_early) { /* and what was given was cut off */
        ts->counters.pes_cut++;
        track->given_early = false;
        track->lost = true;
    }
}

static bool add(struct ts *ts, struct track *track, const struct ts_packet *packet, struct ts_event *event) {
    if (!packet->len)
        return false;
    if (track->given_early || (track->open && track->stuffed && !pes_len(track)))
        stuffs_midst(ts, track);
    if (!track->open)
        return false;
    size_t total = pes_len(track), n = packet->len;
    if (total && n > total - buf_len(&track->pes))
        n = total - buf_len(&track->pes);
    if (buf_append(&track->pes, packet->payload, n)) {
        drop(ts, track);
        return false;
    }
    track->stuffed = packet->stuffed;
    total = pes_len(track);
    if (total && buf_len(&track->pes) >= total)
        return give(ts, track, event);
    if (total || !track->stuffed || track->stuffs_midst || track->agreed < AGREED_MIN)
        return false;
    track->given_early = true;
    return give(ts, track, event);
}

/* A track's packet. True when there is an event; `resumed` then says whether the packet is still to be used. */
static bool media_packet(struct ts *ts, struct track *track, const struct ts_packet *packet, struct ts_event *event) {
    enum ts_continuity continuity = ts->resumed ? TS_CONTINUES : ts_counter_check(&track->counter, packet);
    if (continuity == TS_REPEATED)
        return false;
    bool announced = packet->discontinuity && packet->starts; /* what is open is as whole as ever */
    if (continuity == TS_BROKEN && !announced) {
        ts->counters.losses++;
        drop(ts, track);
    }
    if (packet->starts && packet->len && !ts->resumed) {
        ts->resumed = end(ts, track, event);
        if (ts->resumed)
            return true;
    }
    ts->resumed = false;
    if (packet->starts && packet->len)
        begin(ts, track, packet);
    return add(ts, track, packet, event);
}

/* --- programme --- */

/* `stream` NULL: there is none. */
static void set_track(struct ts *ts, struct track *track, const struct ts_stream *stream) {
    uint16_t pid = stream ? stream->pid : 0;
    bool same = track->stream.pid == pid && (!pid || track->stream.codec == stream->codec);
    if (track->stream.pid && !same)
        drop(ts, track);
    track->stream = stream ? *stream : (struct ts_stream){0};
    if (same)
        return;
    track->stuffs_midst = track->counter.known = false;
    track->agreed = 0;
}

static void tell_ignored(struct ts *ts, const struct ts_programme *programme, struct ts_event *event) {
    for (uint32_t i = 0; i < programme->ignored_count; i++) {
        uint8_t type = programme->ignored[i];
        if (!ts->told[type])
            event->ignored[event->ignored_count++] = type;
        ts->told[type] = true;
    }
}

static void tell_programme(struct ts *ts, struct ts_event *event) {
    const struct ts_programme *programme = ts->tables.chosen;
    *event = (struct ts_event){.what = TS_PROGRAMME, .gone = !programme};
    if (programme) {
        event->video = programme->video;
        memcpy(event->audio, programme->audio, sizeof event->audio);
        event->audio_count = programme->audio_count;
        event->audio_left_out = programme->audio_left_out;
        tell_ignored(ts, programme, event);
    }
    set_track(ts, &ts->tracks[0], programme ? &programme->video : NULL);
    for (uint32_t i = 0; i < TS_AUDIO_MAX; i++)
        set_track(ts, &ts->tracks[1 + i], i < event->audio_count ? &programme->audio[i] : NULL);
}

static struct track *find_track(struct ts *ts, uint16_t pid) {
    for (int i = 0; pid && i < TRACKS; i++)
        if (ts->tracks[i].stream.pid == pid)
            return &ts->tracks[i];
    return NULL;
}

static bool on_packet(struct ts *ts, struct ts_event *event) {
    struct ts_packet packet;
    ts->counters.packets += !ts->resumed;
    if (!ts_packet_parse(ts->packet, &packet)) {
        ts->counters.bad_packets++;
        return false;
    }
    struct track *track = find_track(ts, packet.pid);
    if (track)
        return media_packet(ts, track, &packet, event);
    if (!ts_tables_take(&ts->tables, &packet))
        return false;
    tell_programme(ts, event);
    return true;
}

/* --- packets out of bytes --- */

static void damage(struct ts *ts) {
    ts->counters.losses++;
    for (int i = 0; i < TRACKS; i++) {
        if (!ts->tracks[i].stream.pid)
            continue;
        drop(ts, &ts->tracks[i]);
        ts->tracks[i].counter.known = false;
    }
    ts_tables_gap(&ts->tables);
}

void ts_gap(struct ts *ts) {
    if (ts->given)
        buf_clear(&ts->given->pes);
    ts->given = NULL;
    ts->resumed = false;
    if (ts->have)
        ts->in_step = false;
    ts->have = 0;
    damage(ts);
}

static void shift(struct ts *ts, size_t n) {
    ts->have -= n;
    memmove(ts->packet, ts->packet + n, ts->have);
}

/* Out of step a packet counts when the one behind it begins where it should. */
static bool have_packet(struct ts *ts) {
    if (ts->in_step && ts->have && ts->packet[0] != TS_SYNC) {
        ts->in_step = false;
        damage(ts);
    }
    if (ts->in_step)
        return ts->have >= TS_PACKET;
    while (ts->have) {
        const uint8_t *sync = memchr(ts->packet, TS_SYNC, ts->have);
        size_t skip = sync ? (size_t)(sync - ts->packet) : ts->have;
        if (!skip && ts->have <= TS_PACKET)
            return false;
        if (!skip && ts->packet[TS_PACKET] == TS_SYNC)
            return ts->in_step = true;
        skip += !skip;
        ts->counters.skipped_bytes += skip;
        shift(ts, skip);
    }
    return false;
}

static size_t fill(struct ts *ts, const uint8_t *data, size_t len) {
    size_t want = (ts->in_step ? TS_PACKET : TS_PACKET + 1) - ts->have, n = len < want ? len : want;
    memcpy(ts->packet + ts->have, data, n);
    ts->have += n;
    return n;
}

int ts_read(struct ts *ts, const uint8_t *data, size_t len, size_t *ret_used, struct ts_event *ret_event) {
    size_t used = 0;
    if (ts->given)
        buf_clear(&ts->given->pes);
    ts->given = NULL;
    for (;;) {
        while (!have_packet(ts)) {
            if (used == len) {
                *ret_used = used;
                return 0;
            }
            used += fill(ts, data + used, len - used);
        }
        bool told = on_packet(ts, ret_event);
        if (!ts->resumed)
            shift(ts, TS_PACKET);
        if (told) {
            *ret_used = used;
            return 1;
        }
    }
}

const struct ts_counters *ts_counters(const struct ts *ts) {
    return &ts->counters;
}

uint64_t ts_bad_sections(const struct ts *ts) {
    return ts->tables.bad_sections;
}
