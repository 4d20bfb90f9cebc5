#include "common/media/writer.h"

#include <string.h>

static const char *const ranks[CLAIM_RANKS] = {
    [CLAIM_SLATE] = "slate", [CLAIM_BACKUP] = "backup", [CLAIM_PRIMARY] = "primary"};

const char *claim_rank_name(enum claim_rank rank) {
    return ranks[rank];
}

bool claim_rank_parse(const char *name, enum claim_rank *ret_rank) {
    for (int rank = 0; rank < CLAIM_RANKS; rank++)
        if (!strcmp(name, ranks[rank])) {
            *ret_rank = (enum claim_rank)rank;
            return true;
        }
    return false;
}
