/* H.264 configuration as publishers send it: AVCDecoderConfigurationRecord and SPS (ITU-T H.264 §7.3.2.1, Annex E; ISO/IEC
 * 14496-15 §5.3.3). Pure parsers of strangers' bytes: bounded, no allocation. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum h264_nal { /* nal_unit_type, table 7-1 */
    H264_NAL_SLICE = 1,
    H264_NAL_IDR = 5,
    H264_NAL_SEI = 6,
    H264_NAL_SPS = 7,
    H264_NAL_PPS = 8,
    H264_NAL_DELIMITER = 9,
    H264_NAL_FILLER = 12,
};

struct h264_config {
    uint8_t profile, constraints, level; /* for avc1.PPCCLL */
    uint8_t nal_length_size;             /* 1, 2 or 4 */
    uint16_t width, height;              /* after cropping */
    uint32_t fps_milli;                  /* from VUI timing, 0 when absent */
    bool has_reorder_hints;              /* bitstream_restriction_flag */
    uint8_t max_num_reorder_frames;      /* valid when has_reorder_hints */
    uint8_t transfer;                    /* characteristics, from VUI; 2 unspecified */
};

/* 0, or -EBADMSG with *ret_why (static text) when not usable (no SPS/PPS, sizes out of range 16..8192, truncated …). */
int h264_config_parse(const uint8_t *avcc, size_t len, struct h264_config *ret_config, const char **ret_why);

/* Writes into `out` the avcC with bitstream_restriction added to each SPS (max_num_reorder_frames = 0,
 * max_dec_frame_buffering = max_num_ref_frames), for streams known to have no B-frames: without it decoders hold frames.
 * Everything else in the SPS is kept. Returns the length, -ENOBUFS, or -EBADMSG. `avcc` must have passed h264_config_parse. */
int h264_config_add_reorder_hints(const uint8_t *avcc, size_t len, uint8_t *out, size_t size);

/* Whether an access unit with `nal_length_size` prefixes is well formed (lengths add up) and whether decoding can begin with
 * it (h264_entry.h). */
bool h264_access_unit_ok(const uint8_t *data, size_t len, uint8_t nal_length_size, bool *ret_independent);
