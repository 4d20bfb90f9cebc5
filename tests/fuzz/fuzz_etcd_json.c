/* Bytes as an answer of etcd's, and as what nodes write there, with a key before it. What is taken is written again as
 * what says the same. */
#include <stdlib.h>
#include <string.h>

#include "common/fleet/etcd_json.h"
#include "common/fleet/fleet_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_node(const struct etcd_entry *entry) {
    struct fleet_node node, again;
    if (fleet_node_parse(entry->value, entry->value_len, &node))
        return;
    char *text = fleet_node_write(&node);
    if (fleet_node_parse(text, strlen(text), &again) || again.roles != node.roles ||
        strcmp(again.feed_url, node.feed_url) != 0 || again.load.viewers != node.load.viewers)
        abort();
    free(text);
}

static void check_holding(const struct etcd_entry *entry) {
    struct fleet_holding holding, again;
    if (fleet_holding_parse(entry->value, entry->value_len, &holding))
        return;
    char *text = fleet_holding_write(&holding);
    if (fleet_holding_parse(text, strlen(text), &again) || again.epoch != holding.epoch ||
        strcmp(again.feed_url, holding.feed_url) != 0)
        abort();
    free(text);
}

static void on_entry(void *ctx, const struct etcd_entry *entry) {
    char stream[FLEET_STREAM_LEN], node[FLEET_NAME_LEN];
    (void)ctx;
    if (fleet_key_parse(entry->key, stream, node) != FLEET_KEY_OTHER && strlen(stream) + strlen(node) >= ETCD_KEY_LEN)
        abort();
    if (!entry->value)
        return;
    check_node(entry);
    check_holding(entry);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct etcd_answer answer;
    etcd_json_answer((const char *)data, size, &answer, on_entry, NULL);
    const struct etcd_entry bare = {.key = "", .value = (const char *)data, .value_len = size};
    on_entry(NULL, &bare);
    char key[ETCD_KEY_LEN];
    size_t len = size < sizeof key - 1 ? size : sizeof key - 1;
    memcpy(key, data, len);
    key[len] = 0;
    const struct etcd_entry named = {.key = key};
    on_entry(NULL, &named);
    return 0;
}
