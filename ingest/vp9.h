/* VP9 configuration and frames: the vpcC record ("VP Codec ISO Media File Format Binding", without the box's version and flags), the
 * uncompressed header (VP9 bitstream specification §6.2). The record doesn't say how large pictures are; key frames do. Pure. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { VP9_CONFIG_LEN = 8 };

struct vp9_config {
    uint8_t profile, level, bit_depth;
    uint8_t chroma; /* subsampling: 0 4:2:0 vertical, 1 4:2:0 colocated, 2 4:2:2, 3 4:4:4 */
    bool full_range;
    uint8_t primaries, transfer, matrix;
};

struct vp9_frame {
    bool key;
    uint16_t width, height; /* of a key frame, else 0 */
};

/* 0, or -EBADMSG with *ret_why (static text). */
int vp9_config_parse(const uint8_t *vpcc, size_t len, struct vp9_config *ret_config, const char **ret_why);
/* "vp09.…", at most 33 bytes with its end: colours only where they aren't what is assumed without. */
void vp9_codecs(const struct vp9_config *config, char *out, size_t size);
/* The first frame of a superframe. False when it is malformed, or a key frame's size is out of range 16..8192. */
bool vp9_frame_parse(const uint8_t *data, size_t len, struct vp9_frame *ret_frame);
