/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Three-valued truth in words. State files, JSON and messages all use these three words, so that
 * "we could not find out" is never shown, stored or read back as a yes or a no.
 */
#include "timehandoff/base.h"

#include <string.h>

const char *th_ternary_name(enum th_ternary value) {
    switch (value) {
    case TH_NO: return "no";
    case TH_YES: return "yes";
    case TH_UNKNOWN: break;
    }
    return "unknown";
}

enum th_ternary th_ternary_parse(const char *text) {
    if (!text) {
        return TH_UNKNOWN;
    }
    if (strcmp(text, "yes") == 0) {
        return TH_YES;
    }
    return strcmp(text, "no") == 0 ? TH_NO : TH_UNKNOWN;
}
