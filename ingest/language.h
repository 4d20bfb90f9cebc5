/* Languages as broadcasters name them (ISO 639-2, three letters) and as playlists do (BCP 47: the two letters of ISO 639-1 where a language
 * has them). Pure. */
#pragma once
#include "common/media/record.h"

/* `code`: three letters of either case; the bibliographic ones ("ger") and the terminological ones ("deu") alike. "" for what is
 * none, or says that it is unknown. */
void language_tag(const char code[3], char ret_tag[LANGUAGE_LEN]);
