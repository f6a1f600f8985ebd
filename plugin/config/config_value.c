/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One value of the configuration from its text. Each function writes to the place that the table
 * names, and only if the value is good. The caller may rely on a refusal saying both what is wrong
 * and what would be right, in words for whoever edits the file.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "config/config_parse.h"
#include "timehandoff/duration.h"

static void *target(struct th_config_loader *loader, const struct th_config_key *key) {
    return (char *)loader->config + key->offset;
}

int th_config_value_refuse(char *why, const char *value, const char *wanted) {
    char clean[64];

    th_text_clean(value, clean, sizeof(clean));
    snprintf(why, TH_INI_TEXT_REASON_SIZE, "'%s' is not possible; write %s", clean, wanted);
    return -EBADMSG;
}

void *th_config_value_grow(void *array, size_t n, size_t element_size, size_t max, char *why,
                           int *ret_result) {
    void *grown = array;

    *ret_result = 0;
    if (n == max) {
        snprintf(why, TH_INI_TEXT_REASON_SIZE, "too many of these; at most %zu", max);
        *ret_result = -EBADMSG;
    } else if (n % 16 == 0) {
        /* In steps of 16, so that a long list isn't moved for each of its elements. */
        grown = reallocarray(array, n + 16, element_size);
        *ret_result = grown ? 0 : -ENOMEM;
    }
    return grown ? grown : array;
}

int th_config_value_read_duration(const char *value, int64_t min_ns, int64_t max_ns,
                                  int64_t *ret_ns, char *why) {
    char min[TH_DURATION_TEXT_SIZE], max[TH_DURATION_TEXT_SIZE], wanted[96];
    int64_t duration_ns;
    int r = th_duration_parse(value, &duration_ns);

    if (r == -EINVAL) {
        return th_config_value_refuse(why, value, "a number with a unit, such as 500ms or 2h");
    }
    if (r < 0 || duration_ns < min_ns || duration_ns > max_ns) {
        snprintf(wanted, sizeof(wanted), "a duration from %s to %s",
                 th_duration_format(min_ns, min), th_duration_format(max_ns, max));
        return th_config_value_refuse(why, value, wanted);
    }
    *ret_ns = duration_ns;
    return 0;
}

int th_config_value_duration(struct th_config_loader *loader, const struct th_config_key *key,
                             const char *value, char *why) {
    return th_config_value_read_duration(value, key->min, key->max, target(loader, key), why);
}

int th_config_value_recheck(struct th_config_loader *loader, const struct th_config_key *key,
                            const char *value, char *why) {
    int64_t *target_ns = target(loader, key);

    if (strcmp(value, "off") == 0 || strcmp(value, "0s") == 0) {
        *target_ns = 0;
        return 0;
    }
    return th_config_value_read_duration(value, key->min, key->max, target_ns, why);
}

int th_config_value_max_step(struct th_config_loader *loader, const struct th_config_key *key,
                             const char *value, char *why) {
    int64_t *target_ns = target(loader, key);

    if (strcmp(value, "none") == 0) {
        *target_ns = -1;
        return 0;
    }
    return th_config_value_read_duration(value, key->min, key->max, target_ns, why);
}

int th_config_value_unsigned(struct th_config_loader *loader, const struct th_config_key *key,
                             const char *value, char *why) {
    char wanted[64];
    char *end;
    unsigned long number;

    errno = 0;
    number = strtoul(value, &end, 10);
    /* strtoul takes signs; nothing here has one. */
    if (*value < '0' || *value > '9' || *end != '\0' || errno != 0 ||
        number < (unsigned long)key->min || number > (unsigned long)key->max) {
        snprintf(wanted, sizeof(wanted), "a number from %lu to %lu", (unsigned long)key->min,
                 (unsigned long)key->max);
        return th_config_value_refuse(why, value, wanted);
    }
    *(unsigned *)target(loader, key) = (unsigned)number;
    return 0;
}

int th_config_value_bool(struct th_config_loader *loader, const struct th_config_key *key,
                         const char *value, char *why) {
    enum th_ternary said = th_ternary_parse(value);

    if (said == TH_UNKNOWN) {
        return th_config_value_refuse(why, value, "yes or no");
    }
    *(bool *)target(loader, key) = said == TH_YES;
    return 0;
}

int th_config_value_report_only(struct th_config_loader *loader, const struct th_config_key *key,
                                const char *value, char *why) {
    bool report = strcmp(value, "report") == 0;

    if (!report && strcmp(value, "enforce") != 0) {
        return th_config_value_refuse(why, value, "enforce or report");
    }
    *(bool *)target(loader, key) = report;
    return 0;
}

int th_config_value_action(struct th_config_loader *loader, const struct th_config_key *key,
                           const char *value, char *why) {
    enum th_action action = th_action_parse(value);

    if (action == 0) {
        return th_config_value_refuse(why, value, "allow, warn or block");
    }
    *(enum th_action *)target(loader, key) = action;
    return 0;
}

int th_config_value_handoff(struct th_config_loader *loader, const struct th_config_key *key,
                            const char *value, char *why) {
    enum th_handoff_mode mode = th_handoff_mode_parse(value);

    if (mode == 0) {
        return th_config_value_refuse(why, value, "step, report or off");
    }
    *(enum th_handoff_mode *)target(loader, key) = mode;
    return 0;
}

int th_config_value_string(struct th_config_loader *loader, const struct th_config_key *key,
                           const char *value, char *why) {
    char **string = target(loader, key);
    char *copy;

    if (*value == '\0') {
        return th_config_value_refuse(why, value, "a value, or leave the line out");
    }
    copy = strdup(value);
    if (!copy) {
        return -ENOMEM;
    }
    free(*string);
    *string = copy;
    return 0;
}

int th_config_value_path(struct th_config_loader *loader, const struct th_config_key *key,
                         const char *value, char *why) {
    if (*value != '/' || strlen(value) >= PATH_MAX) {
        return th_config_value_refuse(why, value, "an absolute path");
    }
    return th_config_value_string(loader, key, value, why);
}
