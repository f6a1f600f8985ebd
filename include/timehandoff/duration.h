/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Durations as people write and read them: a number with a unit, because a bare "500" in a file
 * that blocks migrations is a question, not a value.
 */
#ifndef TIMEHANDOFF_DURATION_H
#define TIMEHANDOFF_DURATION_H

#include <stddef.h>
#include <stdint.h>

#define TH_DURATION_TEXT_SIZE 32

/*
 * Reads "500ms", "1.5s", "2h", "0s". Units: ns us ms s min h d; one optional blank between number
 * and unit; no sign; at most 292 years. Returns 0, -EINVAL (not a number with a unit) or -ERANGE.
 */
int th_duration_parse(const char *text, int64_t *ret_ns);

/*
 * Writes a signed duration with about four significant digits and the unit that suits it, as in
 * "5.012 s", "-0.04 ms", "500 ms": sub-millisecond values stay in ms down to 0.01 ms, then us, ns.
 * Returns text.
 */
char *th_duration_format(int64_t duration_ns, char text[TH_DURATION_TEXT_SIZE]);

/*
 * The same with as many more digits as it takes to say it as exactly as it is known: the last place
 * is finer than bound_ns (positive), so that value and bound, printed side by side, hold the truth.
 */
char *th_duration_format_within(int64_t duration_ns, int64_t bound_ns,
                                char text[TH_DURATION_TEXT_SIZE]);

#endif
