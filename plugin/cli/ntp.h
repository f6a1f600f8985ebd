/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of `timehandoff ntp` share: printing for people and for programs, and applying.
 */
#ifndef TH_CLI_NTP_H
#define TH_CLI_NTP_H

#include <stdio.h>

#include "timehandoff/ntp.h"

/* How long the time daemon may take to answer. */
#define TH_NTP_ASK_NS (3 * TH_NS_PER_S)

void th_ntp_show_text(const struct th_ntp_status *status, FILE *out);
/* 0 or negative errno. */
int th_ntp_show_json(const struct th_ntp_status *status, FILE *out);
/* A section for timehandoff.conf(5). */
void th_ntp_export(const struct th_ntp_status *status, FILE *out);
/* One line a finding, each with what to do. */
void th_ntp_check_text(const struct th_ntp_findings *findings, const struct th_ntp_servers *wanted,
                       FILE *out);
int th_ntp_check_json(const struct th_ntp_findings *findings, FILE *out);

/* Writes the list for the time daemon, has it read it, and says what it then has. An exit status.
 */
int th_ntp_apply(const struct th_ntp_status *status, const struct th_ntp_servers *wanted,
                 bool dry_run);

#endif
