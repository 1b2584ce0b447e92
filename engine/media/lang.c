// SPDX-License-Identifier: Apache-2.0
#include "media/lang.h"
#include <ctype.h>
#include <string.h>
#include "base/str.h"

// ISO 639-2 (both kinds) to 639-1, five letters an entry.
static const char short_codes[] =
    "aaraaabkabafrafakaakamhamaraararganasmasavaavaveaeaymayazeazbakbabambmbelbebenbnbihbh"
    "bisbibodbotibbobosbsbrebrbulbgcatcacescsczecschachchecechucuchvcvcorkwcoscocrecrcymcy"
    "welcydandadeudegerdedivdvdzodzellelgreelengenepoeoesteteuseubaqeueweeefaofofasfaperfa"
    "fijfjfinfifrafrfrefrfryfyfulffglagdglegaglgglglvgvgrngngujguhaththauhahebheherhzhinhi"
    "hmohohrvhrhunhuhyehyarmhyiboigidoioiiiiiikuiuileieinaiaindidipkikislisiceisitaitjavjv"
    "jpnjakalklkanknkaskskatkageokakaukrkazkkkhmkmkikkikinrwkirkykomkvkonkgkorkokuakjkurku"
    "laololatlalavlvlimlilinlnlitltltzlblubluluglgmahmhmalmlmarmrmkdmkmacmkmlgmgmltmtmonmn"
    "mrimimaomimsamsmaymsmyamyburmynaunanavnvnblnrndendndongnepnenldnldutnlnnonnnobnbnorno"
    "nyanyociocojiojoriorormomossospanpaplipipolplporptpuspsquequrohrmronrorumrorunrnrusru"
    "sagsgsansasinsislksksloskslvslsmesesmosmsnasnsndsdsomsosotstspaessqisqalbsqsrdscsrpsr"
    "sswsssunsuswaswswesvtahtytamtatatttteltetgktgtgltlthathtirtitontotsntntsotstuktkturtr"
    "twitwuigugukrukurduruzbuzvenvevievivolvowlnwawolwoxhoxhyidyiyoryozhazazhozhchizhzulzu";

static const char *shorten(const char *three)
{
    for (const char *p = short_codes; *p; p += 5)
        if (!strncmp(p, three, 3))
            return p + 3;
    return NULL;
}

void lang_tag(const AVDictionary *meta, char out[LANG_TAG])
{
    const AVDictionaryEntry *t = av_dict_get(meta, "language", NULL, 0);
    const char *v = t ? t->value : "";
    size_t n = strlen(v), main = strcspn(v, "-");
    char low[4] = "";
    out[0] = '\0';
    if (n >= LANG_TAG || main < 2 || main > 3)
        return;
    for (size_t i = 0, part = 0; i < n; i++) {
        part = v[i] == '-' ? 0 : part + 1;
        bool fits =
            i < main ? isalpha((unsigned char)v[i]) : isalnum((unsigned char)v[i]) || v[i] == '-';
        if (!fits || part > 8 || (v[i] == '-' && (i + 1 == n || v[i + 1] == '-')))
            return;
    }
    for (size_t i = 0; i < main; i++)
        low[i] = (char)tolower((unsigned char)v[i]);
    // Undetermined, none, uncoded, several: nothing that a viewer could choose by.
    if (!strcmp(low, "und") || !strcmp(low, "zxx") || !strcmp(low, "mis") || !strcmp(low, "mul"))
        return;
    const char *two = main == 3 ? shorten(low) : NULL;
    size_t head = two ? 2 : main;
    memcpy(out, two ? two : low, head);
    memcpy(out + head, v + main, n - main + 1);
}

void lang_clean(const char *text, char *out, size_t max)
{
    size_t n = 0;
    if (!str_is_utf8(str_from(text)))
        text = "";
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (*p < 32 || *p == 127 || *p == '"' || *p == '\\' || *p == '<' || *p == '>')
            continue;
        size_t width = *p < 0x80 ? 1 : *p >= 0xf0 ? 4 : *p >= 0xe0 ? 3 : 2;
        if (n + width >= max)
            break;
        memcpy(out + n, p, width);
        n += width;
        p += width - 1;
    }
    out[n] = '\0';
}

void lang_label(const AVDictionary *meta, char out[LANG_LABEL])
{
    static const char *const machine[] = {"andler", "Media", "GPAC", "ISO", "Core"};
    const AVDictionaryEntry *t = av_dict_get(meta, "title", NULL, 0);
    out[0] = '\0';
    if (!t && (t = av_dict_get(meta, "handler_name", NULL, 0)))
        for (size_t i = 0; i < sizeof machine / sizeof *machine; i++)
            if (strstr(t->value, machine[i]))
                return;
    lang_clean(t ? t->value : "", out, LANG_LABEL);
}
