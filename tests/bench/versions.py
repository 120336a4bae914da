#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Draws the figures of the versions that were measured.
  versions.py tests/bench/results --svg conf/docs/bench-versions.svg"""
import argparse
import glob
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
from page import gnuplot  # noqa: E402

# Title, and where a ratio is in a version's file.
LINES = (("running guest ÷ curl -T", ("upload", "stream", "live", "ratio_to_curl")),
         ("shut-off guest ÷ curl -T", ("upload", "stream", "cold", "ratio_to_curl")),
         ("five at once ÷ five curl -T", ("five", "stream", "ratio_to_curl")),
         ("zstd ÷ plain", ("compress", "zstd", "ratio_to_plain")))


def load(folder):
    """Returns the versions, the first measured first."""
    found = []
    for path in glob.glob(os.path.join(folder, "*.json")):
        with open(path) as file:
            found.append(json.load(file))
    return sorted(found, key=lambda version: (version["measured"], version["version"]))


def ratio(version, where):
    for name in where:
        version = (version or {}).get(name)
    return version


def rows(versions, where, shift):
    """A point for each version that has it. Without an interval, the point stands alone."""
    lines = []
    for at, version in enumerate(versions):
        found = ratio(version, where)
        if found:
            ends = (found[end] if found[end] is not None else found["median"] for end in ("low", "high"))
            lines.append(" ".join(str(value) for value in (at + shift, found["median"], *ends)))
    return "\n".join(lines) or "NaN NaN NaN NaN"


def plot(versions, path):
    blocks = "".join(f"$line{number} << EOD\n{rows(versions, where, (number - 1.5) * 0.04)}\nEOD\n"
                     for number, (_, where) in enumerate(LINES))
    tics = ", ".join(f'"{version["version"]}" {at}' for at, version in enumerate(versions))
    parts = ", ".join(f'$line{number} using 1:2:3:4 with yerrorlines lw 2 pt 7 ps 0.6 title "{title}"'
                      for number, (title, _) in enumerate(LINES))
    script = f"""set terminal svg size 640,360 font "sans,12" background "white"
set output "{path}"
{blocks}set xrange [-0.5:{len(versions) - 0.5}]
set yrange [0:*]
set xtics ({tics})
set ylabel "ratio of seconds"
set grid ytics
set key bottom left
set title "Versions: median of the ratios, 95 % interval where it was paired"
plot {parts}, 1 with lines lc "black" dt 2 notitle
"""
    gnuplot(script)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--svg", required=True)
    options = parser.parse_args()
    plot(load(options.folder), options.svg)


if __name__ == "__main__":
    main()
