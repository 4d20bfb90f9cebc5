/* Values of settings: text in, members of struct conf out, by the table (conf/schema.h). Knows no YAML. Pure. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct conf;
struct setting;

/* Sets a setting of one value. False when the text is not acceptable; nothing is changed then. */
bool value_set(struct conf *conf, const struct setting *setting, const char *text);
/* Adds to a setting that is a list. 0, -EINVAL (not acceptable), -EEXIST (already there) or -ENOSPC (CONF_LIST_MAX).
 * `line` is where it stands in the file, or 0. */
int value_add(struct conf *conf, const struct setting *setting, const char *text, uint32_t line);
bool value_is_list(const struct setting *setting);
/* Sets the default, with `fileless` the one that holds without a file. */
void value_set_default(struct conf *conf, const struct setting *setting, bool fileless);
/* Frees what the setting holds. */
void value_clear(struct conf *conf, const struct setting *setting);
