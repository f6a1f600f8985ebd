/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The files of the configuration, found and read in their order into one loader, the same way for
 * every program and for tests that name a folder of their own.
 */
#ifndef TIMEHANDOFF_CONFIG_FILE_H
#define TIMEHANDOFF_CONFIG_FILE_H

#include "config/config_parse.h"

/* Reads all files below folder. 0; -EBADMSG, "FILE:LINE: ..." in ret_error; or another negative
 * errno, "FILE: ..." there. */
int th_config_file_read_all(struct th_config_loader *loader, const char *folder, char *ret_error,
                            size_t error_size);

#endif
