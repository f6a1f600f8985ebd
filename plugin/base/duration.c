/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Durations in text: exact decimal arithmetic on integers, so that neither the locale nor binary
 * fractions change what a limit means. Whatever th_duration_format writes for a positive duration,
 * th_duration_parse reads.
 */
#include "timehandoff/duration.h"

#include "base/wide.h"
#include "timehandoff/base.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct unit {
    const char *name;
    uint64_t ns;
    uint64_t least_ns; /* written in this unit from here on */
};

/* Largest first: the first whose least_ns is reached is the one to write in. */
static const struct unit units[] = {
    {"d", UINT64_C(86400000000000), UINT64_C(172800000000000)},
    {"h", UINT64_C(3600000000000), UINT64_C(3600000000000)},
    {"min", UINT64_C(60000000000), UINT64_C(120000000000)},
    {"s", UINT64_C(1000000000), UINT64_C(1000000000)},
    {"ms", UINT64_C(1000000), UINT64_C(10000)},
    {"us", UINT64_C(1000), UINT64_C(1000)},
    {"ns", UINT64_C(1), UINT64_C(0)},
};

static const struct unit *unit_by_name(const char *name) {
    for (size_t i = 0; i < TH_ELEMENTS(units); i++) {
        if (strcmp(units[i].name, name) == 0) {
            return &units[i];
        }
    }
    return NULL;
}

static bool is_digit(char character) {
    return character >= '0' && character <= '9';
}

/* A decimal number as numerator over a power of ten. */
struct decimal {
    th_uint128 numerator;
    uint64_t denominator;
};

/* 19 digits before the point hold INT64_MAX ns, 15 after it are finer than 1 ns in any unit. Longer
 * ones are refused, which keeps numerator * unit below 2^128 / 8. */
#define MOST_WHOLE_DIGITS 19
#define MOST_FRACTION_DIGITS 15

/* Reads digits onto the number; returns how many there were. */
static size_t read_digits(const char *text, size_t most, struct decimal *number) {
    size_t n = 0;

    while (is_digit(text[n])) {
        if (n < most) {
            number->numerator = number->numerator * 10 + (unsigned)(text[n] - '0');
        }
        n++;
    }
    return n;
}

/* Reads "12" or "12.5"; moves the text on. */
static int read_decimal(const char **text, struct decimal *ret_number) {
    struct decimal number = {0, 1};
    const char *at = *text;
    size_t digits;

    while (at[0] == '0' && is_digit(at[1])) {
        at++;
    }
    digits = read_digits(at, MOST_WHOLE_DIGITS, &number);
    if (digits == 0) {
        return -EINVAL;
    }
    if (digits > MOST_WHOLE_DIGITS) {
        return -ERANGE;
    }
    at += digits;
    if (*at == '.') {
        digits = read_digits(at + 1, MOST_FRACTION_DIGITS, &number);
        if (digits == 0 || digits > MOST_FRACTION_DIGITS) {
            return -EINVAL;
        }
        at += 1 + digits;
        while (digits-- > 0) {
            number.denominator *= 10;
        }
    }
    *text = at;
    *ret_number = number;
    return 0;
}

int th_duration_parse(const char *text, int64_t *ret_ns) {
    struct decimal number;
    const struct unit *unit;
    th_uint128 ns;
    int r;

    if (!text) {
        return -EINVAL;
    }
    r = read_decimal(&text, &number);
    if (r < 0) {
        return r;
    }
    unit = unit_by_name(*text == ' ' ? text + 1 : text);
    if (!unit) {
        return -EINVAL;
    }
    /* In two steps, since the product of 34 digits and a day in ns would not fit. */
    ns = number.numerator / number.denominator;
    if (ns > INT64_MAX) {
        return -ERANGE;
    }
    ns = ns * unit->ns +
         ((number.numerator % number.denominator) * unit->ns + number.denominator / 2) /
             number.denominator;
    if (ns > INT64_MAX) {
        return -ERANGE;
    }
    *ret_ns = (int64_t)ns;
    return 0;
}

static const struct unit *unit_for(uint64_t magnitude_ns) {
    size_t i = 0;

    while (magnitude_ns < units[i].least_ns) {
        i++;
    }
    return &units[i];
}

/* Decimals that give four significant digits, three at most. */
static unsigned decimals_for(uint64_t magnitude_ns, const struct unit *unit) {
    uint64_t whole = magnitude_ns / unit->ns;
    unsigned decimals = 3;

    while (whole >= 10 && decimals > 0) {
        whole /= 10;
        decimals--;
    }
    return unit->ns == 1 ? 0 : decimals;
}

static uint64_t power_of_ten(unsigned exponent) {
    uint64_t power = 1;

    while (exponent-- > 0) {
        power *= 10;
    }
    return power;
}

/* The magnitude in units of the last decimal, rounded to the nearest. */
static uint64_t round_to_decimals(uint64_t magnitude_ns, const struct unit *unit,
                                  unsigned decimals) {
    th_uint128 scaled = (th_uint128)magnitude_ns * power_of_ten(decimals);

    return (uint64_t)((scaled + unit->ns / 2) / unit->ns);
}

/* Decimals that make the last place finer than a quarter of the bound. */
static unsigned decimals_within(int64_t bound_ns, const struct unit *unit, unsigned decimals) {
    while (unit->ns % power_of_ten(decimals + 1) == 0 &&
           unit->ns / power_of_ten(decimals) > (uint64_t)bound_ns / 4 + 1) {
        decimals++;
    }
    return decimals;
}

char *th_duration_format(int64_t duration_ns, char text[TH_DURATION_TEXT_SIZE]) {
    return th_duration_format_within(duration_ns, INT64_MAX, text);
}

char *th_duration_format_within(int64_t duration_ns, int64_t bound_ns,
                                char text[TH_DURATION_TEXT_SIZE]) {
    uint64_t magnitude_ns = duration_ns < 0 ? -(uint64_t)duration_ns : (uint64_t)duration_ns;
    const struct unit *unit = unit_for(magnitude_ns);
    unsigned decimals = decimals_within(bound_ns, unit, decimals_for(magnitude_ns, unit));
    uint64_t last_places = round_to_decimals(magnitude_ns, unit, decimals);
    uint64_t rounded_ns = last_places * (unit->ns / power_of_ten(decimals));
    const char *sign = duration_ns < 0 ? "-" : "";

    /* 999.96 ms rounds up to 1 s: the unit is chosen again for what will be shown. */
    if (rounded_ns <= INT64_MAX && unit_for(rounded_ns) != unit) {
        unit = unit_for(rounded_ns);
        decimals = decimals_within(bound_ns, unit, decimals_for(rounded_ns, unit));
        last_places = round_to_decimals(rounded_ns, unit, decimals);
    }
    while (decimals > 0 && last_places % 10 == 0) {
        last_places /= 10;
        decimals--;
    }
    if (decimals == 0) {
        (void)snprintf(text, TH_DURATION_TEXT_SIZE, "%s%" PRIu64 " %s", sign, last_places,
                       unit->name);
    } else {
        uint64_t power = power_of_ten(decimals);

        (void)snprintf(text, TH_DURATION_TEXT_SIZE, "%s%" PRIu64 ".%0*" PRIu64 " %s", sign,
                       last_places / power, (int)decimals, last_places % power, unit->name);
    }
    return text;
}
