/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * 128-bit integers, for products of times and rates that would not fit in 64 bits and that must
 * not be rounded on the way. Every compiler that builds this on a 64-bit machine has them; they are
 * an extension of the language, hence the one place that says so.
 */
#ifndef TIMEHANDOFF_BASE_WIDE_H
#define TIMEHANDOFF_BASE_WIDE_H

__extension__ typedef __int128 th_int128;
__extension__ typedef unsigned __int128 th_uint128;

#endif
