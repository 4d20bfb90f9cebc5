#include "ingest/language.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* The usual ones; three letters are a valid tag, too. */
static const struct {
    char code[4], tag[3];
} languages[] = {
    {"alb", "sq"}, {"ara", "ar"}, {"arm", "hy"}, {"aze", "az"}, {"baq", "eu"}, {"bel", "be"}, {"ben", "bn"},
    {"bod", "bo"}, {"bos", "bs"}, {"bul", "bg"}, {"bur", "my"}, {"cat", "ca"}, {"ces", "cs"}, {"chi", "zh"},
    {"cym", "cy"}, {"cze", "cs"}, {"dan", "da"}, {"deu", "de"}, {"dut", "nl"}, {"ell", "el"}, {"eng", "en"},
    {"est", "et"}, {"eus", "eu"}, {"fas", "fa"}, {"fin", "fi"}, {"fra", "fr"}, {"fre", "fr"}, {"geo", "ka"},
    {"ger", "de"}, {"gle", "ga"}, {"glg", "gl"}, {"gre", "el"}, {"heb", "he"}, {"hin", "hi"}, {"hrv", "hr"},
    {"hun", "hu"}, {"hye", "hy"}, {"ice", "is"}, {"ind", "id"}, {"isl", "is"}, {"ita", "it"}, {"jpn", "ja"},
    {"kat", "ka"}, {"kaz", "kk"}, {"khm", "km"}, {"kor", "ko"}, {"lao", "lo"}, {"lav", "lv"}, {"lit", "lt"},
    {"mac", "mk"}, {"may", "ms"}, {"mkd", "mk"}, {"mon", "mn"}, {"msa", "ms"}, {"mya", "my"}, {"nld", "nl"},
    {"nor", "no"}, {"per", "fa"}, {"pol", "pl"}, {"por", "pt"}, {"ron", "ro"}, {"rum", "ro"}, {"rus", "ru"},
    {"slk", "sk"}, {"slo", "sk"}, {"slv", "sl"}, {"spa", "es"}, {"sqi", "sq"}, {"srp", "sr"}, {"swa", "sw"},
    {"swe", "sv"}, {"tam", "ta"}, {"tel", "te"}, {"tgl", "tl"}, {"tha", "th"}, {"tib", "bo"}, {"tur", "tr"},
    {"ukr", "uk"}, {"urd", "ur"}, {"uzb", "uz"}, {"vie", "vi"}, {"wel", "cy"}, {"zho", "zh"},
};

void language_tag(const char code[3], char ret_tag[LANGUAGE_LEN]) {
    char lower[4] = "";
    ret_tag[0] = 0;
    for (int i = 0; i < 3; i++) {
        if (!isascii((unsigned char)code[i]) || !isalpha((unsigned char)code[i]))
            return;
        lower[i] = (char)tolower((unsigned char)code[i]);
    }
    if (!strcmp(lower, "und") || !strcmp(lower, "mis") || !strcmp(lower, "zxx"))
        return; /* undetermined, uncoded, no language */
    snprintf(ret_tag, LANGUAGE_LEN, "%s", lower);
    for (size_t i = 0; i < sizeof languages / sizeof *languages; i++)
        if (!strcmp(languages[i].code, lower))
            snprintf(ret_tag, LANGUAGE_LEN, "%s", languages[i].tag);
}
