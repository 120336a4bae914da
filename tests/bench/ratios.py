# SPDX-License-Identifier: LGPL-2.1-or-later
"""Ratios of two measurements that were taken one next to the other, and how sure their median is."""
import random
import statistics

RESAMPLES = 10000
METHOD = "percentile bootstrap of the median"


def interval(ratios):
    """Returns (median, low, high): the median of the ratios with its 95 % confidence interval. The interval is of a
    bootstrap: the medians of as many ratios, drawn at random with replacement. The same ratios give the same interval."""
    draw = random.Random(1)
    medians = sorted(statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    return statistics.median(ratios), medians[RESAMPLES * 25 // 1000], medians[RESAMPLES * 975 // 1000 - 1]


def paired(results, key, by, value="wall"):
    """Returns the ratios of the entries of two kinds in the same pair. `key`, `by`: the fields of each kind. Entries
    without a pair are left out."""
    def of(fields):
        return {entry["pair"]: entry[value] for entry in results
                if "pair" in entry and all(entry[name] == wanted for name, wanted in fields.items())}
    above, below = of(key), of(by)
    return [above[pair] / below[pair] for pair in above if pair in below]


def text(ratios):
    if not ratios:
        return ""
    median, low, high = interval(ratios)
    return f"{median:.3f} ({low:.3f} to {high:.3f})"
