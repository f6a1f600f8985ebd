# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is made of measured values: medians, their spread, whether two series differ, and words."""

import math
import random
import statistics

# Of a permutation test: more shuffles would only tell p values below 0.001 apart.
SHUFFLES = 4000
# Above this, a difference is called none that statistics show.
SIGNIFICANT = 0.05
# What is neither met nor missed.
EVEN = "even"


class Spread:
    """The median of some values, and between what the middle four fifths of them lie.

    Of fewer than ten, between what all of them do.
    """

    def __init__(self, values):
        values = sorted(values)
        self.n = len(values)
        self.median = statistics.median(values)
        self.low = values[self.n // 10]
        self.high = values[self.n - 1 - self.n // 10]
        self.most = values[-1]

    def __str__(self):
        return f"{figure(self.median)} ({figure(self.low)} to {figure(self.high)})"


def figure(value):
    """A number with three digits that count, as a person would write it."""
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    if size >= 1:
        return f"{value:.2f}"
    return f"{value:.3g}" if size >= 0.0005 else "0" if size == 0 else f"{value:.1g}"


def times(theirs, ours):
    """How many times ours goes into theirs, in words."""
    if ours <= 0:
        return "-"
    return f"{figure(theirs / ours)}×"


def chance(one, other, seed=1):
    """How likely the difference of two medians, or a larger one, is without any difference.

    By shuffling which value belongs to which (a permutation test). None: with so few values, no
    difference could be told from chance.
    """
    if 2 / math.comb(len(one) + len(other), len(one)) > SIGNIFICANT:
        return None
    together, seen = list(one) + list(other), 0
    apart = abs(statistics.median(one) - statistics.median(other))
    shuffled = random.Random(seed)
    for _ in range(SHUFFLES):
        shuffled.shuffle(together)
        seen += abs(statistics.median(together[:len(one)]) -
                    statistics.median(together[len(one):])) >= apart
    return (seen + 1) / (SHUFFLES + 1)


def chance_in_words(p):
    return "too few runs to tell" if p is None else f"p = {p:.2f}"


def no_more(ours, theirs):
    """(whether the median of ours is no larger, words on how sure that is).

    EVEN where ours is the larger one, but by no more than chance explains.
    """
    p = chance(ours, theirs)
    if statistics.median(ours) <= statistics.median(theirs):
        return True, chance_in_words(p)
    return (EVEN if p is None or p > SIGNIFICANT else False), chance_in_words(p)
