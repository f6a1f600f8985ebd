/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The configuration while it is being read: what the files of this folder share. A loader is one
 * reading of all files; nothing of it outlives th_config_load.
 */
#ifndef TIMEHANDOFF_CONFIG_PARSE_H
#define TIMEHANDOFF_CONFIG_PARSE_H

#include "config/ini_text.h"
#include "timehandoff/config.h"

#define TH_CONFIG_MAX_KEYS 64
#define TH_CONFIG_MAX_DOMAINS 1024
#define TH_CONFIG_MAX_NETWORKS 1024
#define TH_CONFIG_MAX_FILE_SIZE (1u << 20)

struct th_config_loader {
    struct th_config *config;
    bool allow_seen;                     /* in any file: the default networks are gone */
    bool seen[TH_CONFIG_MAX_KEYS];       /* in this file */
    struct th_config_domain *in_domains; /* sections of this file, not yet in config */
    size_t n_in_domains;
    struct th_config_domain *in_domain; /* the one being read; NULL: another section */
};

/* One setting of the table: section, key, how its text is read and where it goes. */
struct th_config_key {
    const char *section;
    const char *key;
    /* 0; -EBADMSG with the reason in why; or -ENOMEM. */
    int (*read)(struct th_config_loader *loader, const struct th_config_key *key, const char *value,
                char *why);
    size_t offset;    /* of the target in struct th_config */
    int64_t min, max; /* for numbers and durations */
    bool repeats;
};

/* ---- values: config_value.c ---- */

int th_config_value_duration(struct th_config_loader *loader, const struct th_config_key *key,
                             const char *value, char *why);
/* A duration, or "off", which is 0. */
int th_config_value_recheck(struct th_config_loader *loader, const struct th_config_key *key,
                            const char *value, char *why);
/* A duration, or "none", which is -1. */
int th_config_value_max_step(struct th_config_loader *loader, const struct th_config_key *key,
                             const char *value, char *why);
int th_config_value_unsigned(struct th_config_loader *loader, const struct th_config_key *key,
                             const char *value, char *why);
int th_config_value_bool(struct th_config_loader *loader, const struct th_config_key *key,
                         const char *value, char *why);
/* enforce (false) or report (true). */
int th_config_value_report_only(struct th_config_loader *loader, const struct th_config_key *key,
                                const char *value, char *why);
int th_config_value_action(struct th_config_loader *loader, const struct th_config_key *key,
                           const char *value, char *why);
int th_config_value_handoff(struct th_config_loader *loader, const struct th_config_key *key,
                            const char *value, char *why);
int th_config_value_string(struct th_config_loader *loader, const struct th_config_key *key,
                           const char *value, char *why);
int th_config_value_path(struct th_config_loader *loader, const struct th_config_key *key,
                         const char *value, char *why);

/* Reads a duration within min..max. */
int th_config_value_read_duration(const char *value, int64_t min_ns, int64_t max_ns,
                                  int64_t *ret_ns, char *why);
/* Says what is wrong with a value and what would be right; returns -EBADMSG. */
int th_config_value_refuse(char *why, const char *value, const char *wanted);
/* Makes room for one more element in an array of n; returns where it is now. ret_result is 0;
 * -ENOMEM; or -EBADMSG, with words, if max is reached; the array stays as it was then. */
void *th_config_value_grow(void *array, size_t n, size_t element_size, size_t max, char *why,
                           int *ret_result);

/* ---- lists: config_list.c ---- */

int th_config_list_allow(struct th_config_loader *loader, const struct th_config_key *key,
                         const char *value, char *why);
int th_config_list_announce(struct th_config_loader *loader, const struct th_config_key *key,
                            const char *value, char *why);
int th_config_list_peer(struct th_config_loader *loader, const struct th_config_key *key,
                        const char *value, char *why);
int th_config_list_ntp_server(struct th_config_loader *loader, const struct th_config_key *key,
                              const char *value, char *why);
int th_config_list_ntp_pool(struct th_config_loader *loader, const struct th_config_key *key,
                            const char *value, char *why);
/* Fills in the default networks. */
int th_config_list_defaults(struct th_config *config);

/* ---- [domain ...]: config_domain.c ---- */

/* A section begins; pattern is what follows the word domain, never empty. */
int th_config_domain_begin(struct th_config_loader *loader, const char *pattern, char *why);
int th_config_domain_entry(struct th_config_loader *loader, const char *key, const char *value,
                           char *why);
/* A file has ended: its sections join those of the files before. 0 or negative errno, as above. */
int th_config_domain_merge(struct th_config_loader *loader, char *why);
/* Frees what a file that was not finished left. */
void th_config_domain_drop(struct th_config_loader *loader);

/* ---- the table: config_key.c ---- */

/* The th_ini_text_entry of configuration files; userdata is a loader. */
int th_config_key_entry(void *loader, const char *section, const char *key, const char *value,
                        char *why);

#endif
