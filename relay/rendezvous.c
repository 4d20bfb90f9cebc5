/* FNV-1a (64 bits) because it is four lines, the same everywhere and fast on short names; what nodes choose must not
 * change with a library. By itself it is not enough: the last bytes hardly reach the high bits, which decide. Of five
 * URLs that differ in the last digit, one had a quarter more streams than its share. So the finaliser of MurmurHash3
 * comes after it, in which each bit changes each other with probability 1/2. Nobody is kept from choosing names that
 * all fall to one node: who may publish so much may send as much to one stream. */
#include "relay/rendezvous.h"

#include <string.h>

static uint64_t fnv1a(uint64_t hash, const char *text, size_t len) {
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)text[i]) * 0x100000001b3;
    return hash;
}

static uint64_t mix(uint64_t x) {
    x = (x ^ x >> 33) * 0xff51afd7ed558ccd;
    x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53;
    return x ^ x >> 33;
}

uint64_t rendezvous_weight(const char *stream, const char *node) {
    uint64_t hash =
        fnv1a(0xcbf29ce484222325, stream, strlen(stream) + 1); /* its end, too: "a" + "bc" is not "ab" + "c" */
    return mix(fnv1a(hash, node, strlen(node)));
}

uint32_t rendezvous_rank(const char *stream, const char *const *nodes, uint32_t count, uint32_t index) {
    uint64_t own = rendezvous_weight(stream, nodes[index]);
    uint32_t rank = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t weight = rendezvous_weight(stream, nodes[i]);
        rank += weight > own || (weight == own && strcmp(nodes[i], nodes[index]) < 0);
    }
    return rank;
}
