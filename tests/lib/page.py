# SPDX-License-Identifier: LGPL-2.1-or-later
"""What reports share that put measured figures into a page: tables, plots, and the place between the markers."""
import statistics
import subprocess
import sys

BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"


def spread(values, digits):
    return " / ".join(f"{value:.{digits}f}" for value in
                      (min(values), statistics.median(values), max(values)))


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def gnuplot(script):
    subprocess.run(["gnuplot"], input=script, text=True, check=True, timeout=60)


def put_into(page, text):
    with open(page) as file:
        before, begin, rest = file.read().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"{page} lacks the markers {BEGIN.strip()} and {END.strip()}")
    with open(page, "w") as file:
        file.write(before + BEGIN + text + END + after)
