#include "conf/schema.h"

#include <inttypes.h>
#include <string.h>

#include "common/base/buf.h"
#include "conf/conf.h"

#define AT(member) .offset = offsetof(struct conf, member), .size = sizeof((struct conf *)0)->member

static const char *const muxed_choices[] = {"auto", "always", "never", NULL};
static const char *const switch_choices[] = {"off", "on", NULL};
static const char *const auto_choices[] = {"auto", "off", NULL};
static const char *const pbkeylen_choices[] = {"auto", "16", "24", "32", NULL};
const char *const schema_presets[] = {"ultrafast", "superfast", "veryfast", "faster", "fast", "medium", NULL};
static const char *const level_choices[] = {"debug", "info", "warn", "error", NULL};
static const char *const format_choices[] = {"logfmt", "json", NULL};

/* clang-format off */
const struct setting schema_settings[] = {
    {"node", SETTING_NAME, AT(node),
     .text = "Name of this node, in every log line; none: the host name."},
    {"region", SETTING_NAME, AT(region),
     .text = "Where this node stands, such as `ap-southeast`; in every log line, too."},

    {"http.listen", SETTING_ADDRESSES, AT(http.listen), .fileless = "[::]:8080",
     .text = "Where viewers are served. `[::]` takes IPv4 too; port 0 lets the system choose."},
    {"http.connections_max", SETTING_INT, AT(http.connections_max), .min = 1, .max = 1000000, .fallback = "20000",
     .unit = "connections a worker", .text = "Viewers' connections; one more is answered 503."},
    {"http.connections_per_address", SETTING_INT, AT(http.connections_per_address), .min = 1, .max = 1000000,
     .fallback = "1000", .unit = "connections a worker", .text = "The same from one address (IPv6: from one /64)."},
    {"http.workers", SETTING_INT, AT(http.workers), .min = 0, .max = 64, .fallback = "0",
     .unit = "threads", .text = "Threads that serve viewers; 0: one a core."},
    {"http.congestion", SETTING_NAME, AT(http.congestion),
     .text = "TCP's congestion control towards viewers, such as `bbr`, where the kernel has it and allows it "
             "(`net.ipv4.tcp_allowed_congestion_control`); none, or else: the kernel's default."},
    {"http.io_uring", SETTING_ENUM, AT(http.io_uring), .choices = auto_choices, .fallback = "auto",
     .text = "Sends to many viewers by one system call, over HTTP/1.1 and TLS. `auto`: where the kernel has io_uring and allows it."},
    {"http.trusted_proxies", SETTING_RANGES, AT(http.trusted_proxies),
     .text = "Proxies whose word about their clients is taken: X-Forwarded-For, and the PROXY protocol if that is on. Not "
             "limited by `http.connections_per_address` themselves."},
    {"http.proxy_protocol", SETTING_ENUM, AT(http.proxy_protocol), .choices = switch_choices, .fallback = "off",
     .text = "`on`: each connection from a trusted proxy begins with the PROXY protocol's header (version 1 or 2), before "
             "TLS. Clients that it names are limited by `http.connections_per_address`."},
    {"http.tls.listen", SETTING_ADDRESSES, AT(http.tls.listen),
     .text = "Where viewers are served over TLS, with HTTP/2 or HTTP/1.1 as they wish."},
    {"http.tls.cert", SETTING_FILES, AT(http.tls.cert),
     .text = "Certificates in PEM, each with its chain behind it. Viewers get the one for the name they ask for, else the "
             "first. All are read again on SIGHUP, and when one of the files has changed."},
    {"http.tls.key", SETTING_FILES, AT(http.tls.key),
     .text = "Their private keys in PEM, without passphrase, in the same order."},
    {"http.tls.ktls", SETTING_ENUM, AT(http.tls.ktls), .choices = auto_choices, .fallback = "auto",
     .text = "Encryption by the kernel. `auto`: where it can (module `tls`)."},

    {"admin.listen", SETTING_ADDRESS, AT(admin.listen), .fileless = "127.0.0.1:8081",
     .text = "Metrics, health and the list of streams, for operators only: there is no log-in. Keep it on loopback or a "
             "private network."},

    {"feed.listen", SETTING_ADDRESSES, AT(feed.listen),
     .text = "Where relays are given streams. Anywhere but on loopback it takes `auth.feed.key`, or `feed.tls.client_ca` and TLS."},
    {"feed.tls.listen", SETTING_ADDRESSES, AT(feed.tls.listen), .text = "The same over TLS."},
    {"feed.tls.cert", SETTING_FILES, AT(feed.tls.cert),
     .text = "This node's certificate in PEM, its chain behind it: shown to the nodes that connect to it (`feed`, `origin`), and to those "
             "that it connects to."},
    {"feed.tls.key", SETTING_FILES, AT(feed.tls.key), .text = "Its private key in PEM, without passphrase."},
    {"feed.tls.ca", SETTING_FILES, AT(feed.ca),
     .text = "Certificates in PEM by which nodes that this one connects to must be signed; none: those that the system trusts."},
    {"feed.tls.client_ca", SETTING_FILES, AT(feed.client_ca),
     .text = "Certificates in PEM by which nodes must be signed that connect to this one over TLS; none: they need no certificate."},

    {"fleet.etcd", SETTING_URLS, AT(fleet.etcd),
     .text = "The fleet's registry: etcd's servers (v3), tried in turn. Nodes write about themselves there and learn of each other; relays "
             "take streams from all origins in it. `https` uses `feed.tls.ca`, and `feed.tls.cert` where it is asked for. None: no registry."},
    {"fleet.prefix", SETTING_NAME, AT(fleet.prefix), .fallback = "weir",
     .text = "What the fleet's keys in etcd begin with: fleets of different names don't see each other."},
    {"fleet.feed_url", SETTING_URL, AT(fleet.feed_url),
     .text = "Under which other nodes reach this one's `feed.listen`; none: they aren't told."},
    {"fleet.http_url", SETTING_URL, AT(fleet.http_url),
     .text = "Under which viewers reach this node; none: nobody is told."},
    {"fleet.ttl_s", SETTING_INT, AT(fleet.ttl_s), .min = 2, .max = 600, .fallback = "10", .unit = "s",
     .text = "How long a node that falls silent stays in the registry; others go on trying it for as long again."},

    {"ingest", SETTING_ROLE, AT(ingest_on), .fileless = "on", .text = "Takes streams from broadcasters."},
    {"ingest.rtmp.listen", SETTING_ADDRESSES, AT(ingest.rtmp_listen), .fileless = "[::]:1935",
     .text = "Where broadcasters push RTMP."},
    {"ingest.rtmp.tls.listen", SETTING_ADDRESSES, AT(ingest.rtmp_tls.listen),
     .text = "The same over TLS (RTMPS, `rtmps://`); 1936 and 443 are usual ports."},
    {"ingest.rtmp.tls.cert", SETTING_FILES, AT(ingest.rtmp_tls.cert),
     .text = "Certificates in PEM for it, each with its chain behind it; chosen and read again as `http.tls.cert`, whose files may be named "
             "here, too."},
    {"ingest.rtmp.tls.key", SETTING_FILES, AT(ingest.rtmp_tls.key),
     .text = "Their private keys in PEM, without passphrase, in the same order."},
    {"ingest.rtmp.connections_max", SETTING_INT, AT(ingest.rtmp_connections_max), .min = 1, .max = 65536,
     .fallback = "256", .unit = "connections", .text = "Broadcasters' connections; one more is closed at once."},
    {"ingest.rtmp.unpublished_per_address", SETTING_INT, AT(ingest.rtmp_unpublished_per_address), .min = 1, .max = 65536,
     .fallback = "16", .unit = "connections",
     .text = "Those of one address (IPv6: of one /64) that have not been let publish yet; one more is closed at once."},
    {"ingest.rtmp.drain_s", SETTING_INT, AT(ingest.rtmp_drain_s), .min = 0, .max = 600, .fallback = "10", .unit = "s",
     .text = "How long a node that is told to stop goes on for broadcasters that it has asked to connect anew (Enhanced RTMP's "
             "ReconnectRequest; the others aren't waited for). It stops when they have left."},
    {"ingest.rtmp.reconnect_url", SETTING_RTMP_URL, AT(ingest.rtmp_reconnect_url),
     .text = "Where they are to connect to, such as `rtmp://ingest-b.example:1935`; none: to where they did before."},

    {"ingest.srt.listen", SETTING_ADDRESSES, AT(ingest.srt_listen), .fileless = "[::]:8890",
     .text = "Where broadcasters push SRT (UDP): MPEG-TS with H.264 or HEVC, and AAC or Opus (up to four, as languages), the stream named by the stream id."},
    {"ingest.srt.latency_ms", SETTING_INT, AT(ingest.srt_latency_ms), .min = 20, .max = 8000, .fallback = "120", .unit = "ms",
     .text = "How long SRT may take to bring back what is lost; all of it is added to the delay. A broadcaster that asks for more gets more. "
             "Three to four times the round trip is usual."},
    {"ingest.srt.connections_max", SETTING_INT, AT(ingest.srt_connections_max), .min = 1, .max = 4096,
     .fallback = "256", .unit = "connections", .text = "Broadcasters' connections; one more is refused (1402)."},
    {"ingest.srt.connections_per_address", SETTING_INT, AT(ingest.srt_connections_per_address), .min = 1, .max = 4096,
     .fallback = "16", .unit = "connections", .text = "Those of one address (IPv6: of one /64); one more is refused (1402)."},
    {"ingest.srt.passphrases", SETTING_PASSPHRASES, AT(ingest.srt_passphrases),
     .text = "What streams are encrypted with. `PASSPHRASE` for any stream, `app/name:PASSPHRASE` for that one, `live/*:PASSPHRASE` where "
             "names begin so; the entry counts that names a stream most closely. A stream with a passphrase is taken only encrypted by it, "
             "one without only unencrypted."},
    {"ingest.srt.pbkeylen", SETTING_ENUM, AT(ingest.srt_pbkeylen), .choices = pbkeylen_choices, .fallback = "auto",
     .text = "Bytes of the AES keys that broadcasters are asked to use where there is a passphrase; `auto`: as they like, 16 if they don't "
             "care."},

    {"ingest.golive.ladder", SETTING_RUNGS, AT(ingest.golive_ladder),
     .text = "What OBS is told to encode by Enhanced Broadcasting, at `/api/golive` of `http.listen`: renditions by height (of the shorter side) "
             "and kb/s, those left out that are larger than the picture. `auto`: up to four, by what the picture is. None: it isn't told."},
    {"ingest.golive.url", SETTING_PUSH, AT(ingest.golive_url),
     .text = "Where it is told to push; none: to this node by the name that it was asked by, app `live`."},
    {"ingest.sources", SETTING_SOURCES, AT(ingest.sources),
     .text = "Streams that this node fetches itself: the name, and from where. `srt://` calls an encoder (`streamid`, `passphrase`, "
             "`pbkeylen`, `latency` in ms); `rtmp://`, `rtmps://`; `http://`, `https://`: HLS, MPEG-TS, FLV, DASH. `on-demand` behind "
             "the URL: only while somebody asks this node for the stream."},

    {"ingest.ladder", SETTING_LADDER, AT(ingest.ladder),
     .text = "Streams whose picture is transcoded to smaller ones, too (`v1`, `v2` …), which viewers choose from. A rung is its height (of a "
             "portrait picture: its width) and its kilobits a second; those that are not below the source's are left out. With FPS it has each second, fourth "
             "or eighth of the source's pictures, so that they are no more a second than that; PRESET is its own `ladder_preset`. `auto`: those of "
             "1080:5000, 720:2800, 480:1200, 360:600, 240@24:150 that are well below the source. The entry counts that names a stream most closely."},
    {"ingest.ladder_preset", SETTING_ENUM, AT(ingest.ladder_preset), .choices = schema_presets, .fallback = "superfast",
     .text = "x264's: the slower, the better the picture for its bits, and the more CPU time it takes."},
    {"ingest.ladder_encoder", SETTING_NAME, AT(ingest.ladder_encoder), .fallback = "libx264",
     .text = "An H.264 encoder by FFmpeg's name, such as `h264_nvenc` where there is the hardware for it."},
    {"ingest.ladder_on_demand_s", SETTING_INT, AT(ingest.ladder_on_demand_s), .min = 0, .max = 3600, .fallback = "0", .unit = "s",
     .text = "A rung runs only while somebody asks for it, and for so long after that; nobody does any more `relay.linger_s` after the last "
             "request, on whatever node. 0: rungs run always."},
    {"ingest.ladder_audio_kbps", SETTING_INT, AT(ingest.ladder_audio_kbps), .min = 0, .max = 128, .fallback = "40", .unit = "kb/s",
     .text = "Sound of a low rate beside the publisher's own, mono, where there is a ladder: for who can't have "
             "a picture. 0: none."},
    {"ingest.subtitles", SETTING_SUBTITLES, AT(ingest.subtitles),
     .text = "Languages in which streams have subtitles from the start: a BCP 47 tag, and what players call it. Others join a stream when their "
             "first cue is posted, which is a discontinuity. At most four a stream."},
    {"ingest.origins", SETTING_URLS, AT(ingest.origins),
     .text = "Origins that get each stream, all of them at once, by where they listen (`origin.listen`); none: this node's own."},

    {"ingest.rung_suffixes", SETTING_SUFFIXES, AT(ingest.rung_suffixes),
     .text = "How names end that are rungs of another: with `[_720, _low]` who publishes `app/name_low`, with the key of `app/name`, brings a smaller picture of that "
             "stream. So does who adds `rung=low` to its name's query."},
    {"ingest.backups", SETTING_PAIRS, AT(ingest.backups),
     .text = "Pairs `app/name app/other`: who publishes under the second name, with that one's key, is the backup publisher of the first, and "
             "takes over while its publisher is silent or gone. So is who adds `backup=1` to the name's query."},

    {"ingest.slate", SETTING_CLIPS, AT(ingest.slate),
     .text = "What a stream shows while nobody publishes it: `app/name FILE`, or `app/na* FILE` where names begin so; of two that match the first. "
             "FILE is a clip that is published as it is, in a loop (MP4 or MPEG-TS; H.264 and AAC). It begins where a publisher of this node's has left, or is "
             "silent, and no backup takes over."},
    {"ingest.slate_s", SETTING_INT, AT(ingest.slate_s), .min = 1, .max = 86400, .fallback = "600", .unit = "s",
     .text = "How long it may; then the stream ends as it does without."},

    {"origin", SETTING_ROLE, AT(origin_on), .fileless = "on", .text = "Holds the live window of every stream."},
    {"origin.listen", SETTING_ADDRESSES, AT(origin.listen),
     .text = "Where ingest nodes bring streams. Anywhere but on loopback it takes `auth.feed.key`, or `feed.tls.client_ca` and TLS."},
    {"origin.tls.listen", SETTING_ADDRESSES, AT(origin.tls_listen), .text = "The same over TLS, with the certificate of `feed.tls`."},
    {"origin.grace_s", SETTING_INT, AT(origin.grace_s), .min = 0, .max = 600, .fallback = "10", .unit = "s",
     .text = "How long a broadcaster that dropped may take to come back before its stream ends."},
    {"origin.takeover_ms", SETTING_INT, AT(origin.takeover_ms), .min = 200, .max = 10000, .fallback = "700", .unit = "ms",
     .text = "How long a broadcaster may be silent before its backup takes over. More than the time between two of its pictures."},

    {"relay", SETTING_ROLE, AT(relay_on), .fileless = "on", .text = "Serves viewers."},
    {"relay.max_lag_ms", SETTING_INT, AT(relay.max_lag_ms), .min = 500, .max = 60000, .fallback = "3000", .unit = "ms",
     .text = "A continuous viewer (`live.mp4`) that is further behind jumps to the newest independent frame. Below the "
             "broadcaster's key frame interval it is that interval that counts."},
    {"relay.upstreams", SETTING_COSTED, AT(relay.upstreams),
     .text = "Nodes to take streams from that are not here, by where they listen (`feed.listen`): origins, or other relays. The best is "
             "used; a cost makes one that much worse. None: only this node's own streams are served."},
    {"relay.shields", SETTING_COSTED, AT(relay.shields),
     .text = "Relays of this region, by where they listen (`feed.listen`), that share its streams by name: each stream comes into the "
             "region once, by the same shield for all relays that have this list. `relay.upstreams` stand by, and serve while a shield "
             "has failed and the next one takes over. None: `relay.upstreams` alone."},
    {"relay.race", SETTING_STREAMS, AT(relay.race),
     .text = "Streams that are taken from two upstreams at once, whoever is first: `app/name`, or `live/*` where names begin so."},
    {"relay.late_ms", SETTING_INT, AT(relay.late_ms), .min = 50, .max = 10000, .fallback = "200", .unit = "ms",
     .text = "An upstream that is later than another by more than this is left for that one; a shield by more than twice this."},
    {"relay.viewers_max", SETTING_INT, AT(relay.viewers_max), .min = 0, .max = 10000000, .fallback = "0", .unit = "connections",
     .text = "Viewers from which on new ones are steered to `relay.peers`; a tenth above it they are answered 503. 0: no limit."},
    {"relay.egress_mbps_max", SETTING_INT, AT(relay.egress_mbps_max), .min = 0, .max = 10000000, .fallback = "0", .unit = "Mb/s",
     .text = "The same by what this node sends."},
    {"relay.peers", SETTING_URLS, AT(relay.peers),
     .text = "Other relays that serve the same streams, as viewers reach them: with this one's scheme and port, which steering can't "
             "change. Players that know HLS Content Steering go there when this "
             "one fails or is full. With a registry, relays of the same region that have `fleet.http_url` are peers, too."},
    {"relay.redirect", SETTING_ENUM, AT(relay.redirect), .choices = switch_choices, .fallback = "off",
     .text = "`on`: above a limit, new viewers are sent to a peer at once (302), for players that don't know Content Steering."},
    {"relay.linger_s", SETTING_INT, AT(relay.linger_s), .min = 1, .max = 3600, .fallback = "30", .unit = "s",
     .text = "How long a stream, or a track of it, is still taken from upstream when nobody asks for it any more; at most two "
             "seconds when only other nodes have."},

    {"live.segment_ms", SETTING_INT, AT(live.segment_ms), .min = 1000, .max = 10000, .fallback = "2000", .unit = "ms",
     .text = "Target duration of a segment."},
    {"live.part_ms", SETTING_INT, AT(live.part_ms), .min = 50, .max = 2000, .fallback = "200", .unit = "ms",
     .text = "Wished duration of a part (rounded to whole video frames); at most half of `live.segment_ms`."},
    {"live.chunk_ms", SETTING_INT, AT(live.chunk_ms), .min = 0, .max = 2000, .fallback = "0", .unit = "ms",
     .text = "Wished duration of a chunk, at most `live.part_ms`; 0: one video frame."},
    {"live.stall_ms", SETTING_INT, AT(live.stall_ms), .min = 500, .max = 30000, .fallback = "2000", .unit = "ms",
     .text = "Silence of a broadcaster beyond which the stream goes on with a discontinuity."},
    {"live.window_s", SETTING_INT, AT(live.window_s), .min = 7, .max = 3600, .fallback = "30", .unit = "s",
     .text = "How much of a stream a node keeps and serves live; at least 7 × `live.segment_ms`."},

    {"limits.streams_max", SETTING_INT, AT(limits.streams_max), .min = 1, .max = 100000, .fallback = "1000",
     .unit = "streams", .text = "Streams at a time, those counted that ended within the last two windows; one more is refused."},
    {"limits.memory_mb", SETTING_INT, AT(limits.memory_mb), .min = 16, .max = 1048576, .fallback = "2048",
     .unit = "MiB", .text = "Media held, all streams together. From 90 % on no stream is begun; when it is full, the largest is removed."},
    {"limits.stream_memory_mb", SETTING_INT, AT(limits.stream_memory_mb), .min = 4, .max = 1048576, .fallback = "256",
     .unit = "MiB",
     .text = "Media held of one stream: a bit more than twice `live.window_s` of it. A publisher that needs more is closed; "
             "the default suffices for 30 Mb/s and the default window."},

    {"hls.muxed", SETTING_ENUM, AT(hls.muxed), .choices = muxed_choices, .fallback = "auto",
     .text = "Whether variants carry sound and picture together. `auto`: yes, unless there are several sound tracks."},
    {"hls.thumb_s", SETTING_INT, AT(hls.thumb_s), .min = 0, .max = 3600, .fallback = "5", .unit = "s",
     .text = "How long a thumbnail, `/{app}/{stream}/thumb.jpg`, is given before another is made, of each stream and width; 0: there are none."},

    {"auth.publish.keys", SETTING_KEYS, AT(auth.publish_keys),
     .text = "Who may publish. `KEY` admits to any stream, `app/name:KEY` only there, `live/*:KEY` where names begin so. "
             "None: anybody may."},
    {"auth.feed.key", SETTING_SECRET, AT(auth.feed_key),
     .text = "What all nodes of a fleet know and strangers don't: shown to the nodes that this one connects to, and asked of those that "
             "connect to it. Without TLS it can be read on the way."},

    {"log.level", SETTING_ENUM, AT(log.level), .choices = level_choices, .fallback = "info",
     .text = "The least that is logged."},
    {"log.format", SETTING_ENUM, AT(log.format), .choices = format_choices, .fallback = "logfmt",
     .text = "How a log line is written."},
};
/* clang-format on */
const size_t schema_count = sizeof schema_settings / sizeof *schema_settings;
_Static_assert(sizeof schema_settings / sizeof *schema_settings <= SCHEMA_MAX, "raise SCHEMA_MAX");

int schema_find(const char *path) {
    size_t len = strlen(path);
    for (size_t i = 0; i < schema_count; i++) {
        const char *other = schema_settings[i].path;
        if (strncmp(other, path, len) == 0 && (other[len] == 0 || other[len] == '.'))
            return (int)i;
    }
    return -1;
}

/* What follows "section." in a path; NULL when it lies elsewhere. */
static const char *path_within(const char *path, const char *section) {
    size_t len = strlen(section);
    if (len == 0)
        return path;
    return strncmp(path, section, len) == 0 && path[len] == '.' ? path + len + 1 : NULL;
}

const char *schema_child(const char *section, size_t *at, size_t *ret_len) {
    for (; *at < schema_count; ++*at) {
        const char *name = path_within(schema_settings[*at].path, section);
        const char *before = *at > 0 ? path_within(schema_settings[*at - 1].path, section) : NULL;
        size_t len = name ? strcspn(name, ".") : 0;
        if (name && !(before && strcspn(before, ".") == len && memcmp(name, before, len) == 0)) {
            ++*at;
            *ret_len = len;
            return name;
        }
    }
    return NULL;
}

static void describe_int(const struct setting *setting, struct buf *out) {
    buf_printf(out, "a number from %" PRIu64 " to %" PRIu64, setting->min, setting->max);
    if (setting->unit)
        buf_printf(out, " (%s)", setting->unit);
}

static void describe_enum(const struct setting *setting, struct buf *out) {
    buf_append_str(out, "one of");
    for (size_t i = 0; setting->choices[i]; i++)
        buf_printf(out, "%s %s", i ? "," : "", setting->choices[i]);
}

void schema_describe(const struct setting *setting, struct buf *out) {
    switch (setting->type) {
    case SETTING_ROLE:
        buf_append_str(out, "a section, {} when nothing in it is set");
        break;
    case SETTING_INT:
        describe_int(setting, out);
        break;
    case SETTING_ENUM:
        describe_enum(setting, out);
        break;
    case SETTING_NAME:
        buf_printf(out, "a name of at most %d letters, digits, \".\", \"_\", \"-\"", SETTING_NAME_MAX);
        break;
    case SETTING_ADDRESS:
        buf_append_str(out, "an IP address and port such as \"127.0.0.1:8081\" or \"[::]:8080\"");
        break;
    case SETTING_ADDRESSES:
        buf_append_str(out, "a list of IP addresses and ports such as [\"[::]:8080\"]");
        break;
    case SETTING_RANGES:
        buf_append_str(out, "a list of IP addresses and blocks of them such as [\"192.0.2.0/24\", \"2001:db8::/32\"]");
        break;
    case SETTING_FILES:
        buf_append_str(out,
                       "the name of a file, absolute or relative to the folder of this one, or a list of such names");
        break;
    case SETTING_SECRET:
        buf_printf(out, "%d to %d printable characters without spaces", SETTING_SECRET_MIN, SETTING_KEY_MAX);
        break;
    case SETTING_URL:
        buf_append_str(out, "a node such as \"http://192.0.2.7:8082\" or \"https://origin-a.example:8443\"");
        break;
    case SETTING_RTMP_URL:
        buf_append_str(out, "a node such as \"rtmp://ingest-b.example:1935\" or \"rtmps://192.0.2.7:1936\"");
        break;
    case SETTING_URLS:
        buf_append_str(out, "a list of nodes such as [\"http://192.0.2.7:8082\", \"https://origin-a.example:8443\"]");
        break;
    case SETTING_COSTED:
        buf_append_str(out, "a list of nodes, each with a cost in ms or without, such as "
                            "[\"https://origin-a.example:8443\", \"https://origin-b.example:8443 40\"]");
        break;
    case SETTING_STREAMS:
        buf_append_str(out, "a list of \"app/name\" or \"app/na*\"");
        break;
    case SETTING_SUFFIXES:
        buf_printf(out, "a list of endings of names such as [_720, _low], each 1 to %d letters, digits, \"_\" or \"-\"",
                   SETTING_SUFFIX_MAX);
        break;
    case SETTING_RUNGS:
        buf_append_str(out, "\"auto\", or a list of heights and kb/s such as [\"1080 6000\", \"720 3000\"]");
        break;
    case SETTING_PUSH:
        buf_append_str(out, "an address such as \"rtmps://push.example:1936/live/{stream_key}\"");
        break;
    case SETTING_CLIPS:
        buf_append_str(out, "a list of \"app/name /a/file.mp4\" or \"app/na* /a/file.mp4\"");
        break;
    case SETTING_PAIRS:
        buf_append_str(out, "a list of \"app/name app/other\"");
        break;
    case SETTING_SOURCES:
        buf_append_str(out, "a list of \"app/name URL\" or \"app/name URL on-demand\", such as "
                            "[\"live/cam rtmp://192.0.2.9/live/cam\"]");
        break;
    case SETTING_SUBTITLES:
        buf_append_str(out,
                       "a list of \"PATTERN LANGUAGE NAME\" or \"PATTERN LANGUAGE\", PATTERN being \"app/name\" or "
                       "\"app/na*\", such as [\"live/* de Deutsch\"]");
        break;
    case SETTING_LADDER:
        buf_printf(out,
                   "a list of \"PATTERN RUNG …\", \"PATTERN auto\" or \"PATTERN none\", PATTERN being \"app/name\" or "
                   "\"app/na*\" and a RUNG HEIGHT:KBPS, HEIGHT@FPS:KBPS or either with \":PRESET\" (%d to %d, %d to "
                   "%d, %d to %d), "
                   "at most %d of different heights",
                   SETTING_RUNG_HEIGHT_MIN, SETTING_RUNG_HEIGHT_MAX, SETTING_RUNG_FPS_MIN, SETTING_RUNG_FPS_MAX,
                   SETTING_RUNG_KBPS_MIN, SETTING_RUNG_KBPS_MAX, SETTING_RUNGS_MAX);
        break;
    case SETTING_PASSPHRASES:
        buf_printf(
            out,
            "a list of \"PASSPHRASE\", \"app/name:PASSPHRASE\" or \"app/na*:PASSPHRASE\", PASSPHRASE being %d to %d "
            "printable characters (one with a colon is written \"*:PASSPHRASE\")",
            SETTING_PASSPHRASE_MIN, SETTING_PASSPHRASE_MAX);
        break;
    case SETTING_KEYS:
        buf_printf(out,
                   "a list of \"KEY\", \"app/name:KEY\" or \"app/na*:KEY\", KEY being 1 to %d printable characters "
                   "without spaces or \"&\" (one with a colon is written \"*:KEY\")",
                   SETTING_KEY_MAX);
        break;
    }
}
